"""The command line is Alembic's, with what is ours beside it."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

import alembic.config
import pytest

from websauna_migrate.alembic_adapter.package_environment import with_command
from websauna_migrate.cli.command_table import COMMANDS
from websauna_migrate.cli.parser import GROUPS, make_parser
from websauna_migrate.cli.ws_alembic import main

#: What this Alembic may not have yet, or has in other words.
NEWER = {("current", "--check-heads"), ("merge", "--splice")}

#: Where ``ws-alembic`` differs, and why: the INI is the application's, a target has a default.
OWN_WORDS = {
    ("", "--version"),
    ("", "--config"),
    ("", "--name"),
    ("", "-x"),
    ("", "--quiet"),
    ("upgrade", "revision"),
    # With --run there is none.
    ("downgrade", "revision"),
    # It finds more than Alembic's.
    ("check", ""),
    ("ensure_version", ""),
    ("init", ""),
    # Without it, where each package's scripts are.
    ("init", "directory"),
    # With --verified there need be none.
    ("stamp", "revisions"),
    # Ours is no template of Alembic's.
    ("init", "--template"),
    ("list_templates", ""),
}

OURS = {"completion", "graph", "lint", "log", "move-table", "plan", "repair", "status"}
OURS |= {
    "adopt",
    "drift",
    "help",
    "locate",
    "new-package",
    "rebase",
    "redo",
    "squash",
    "switch",
    "uninstall",
    "verify",
    "wait",
}


def test_the_help_lists_each_command_once() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    text = make_parser().format_help()
    for name in listed:
        assert len(re.findall(rf"^  {name}( |$)", text, re.M)) == 1, name
    assert max(map(len, text.splitlines())) <= 80


def described(parser: ArgumentParser, name: str) -> dict[tuple[str, str], Any]:
    """Return all that a parser says of its arguments, by the command and the last flag."""
    return {
        (name, (action.option_strings or [action.dest])[-1]): (
            tuple(action.option_strings),
            action.dest,
            action.nargs,
            action.const,
            action.default,
            action.required,
            action.help,
        )
        for action in parser._actions
        if not hasattr(action, "choices") or action.choices is None
    }


def commands(parser: ArgumentParser) -> Any:
    (action,) = (one for one in parser._actions if isinstance(one.choices, dict))
    return action


def whole(parser: ArgumentParser) -> dict[tuple[str, str], Any]:
    found = described(parser, "")
    for name, one in commands(parser).choices.items():
        found |= described(one, name)
    for action in commands(parser)._choices_actions:
        found[action.dest, ""] = " ".join(action.help.replace(" .", ".").split())
    return found


def test_every_command_and_flag_of_alembic_is_there_in_its_words() -> None:
    theirs = whole(alembic.config.CommandLine().parser)
    ours = whole(make_parser())
    assert not set(theirs) - set(ours)
    assert {name for name, _ in set(ours) - set(theirs) if (name, "") not in theirs} - {""} == OURS
    different = {key for key in theirs if theirs[key] != ours[key]}
    assert different <= OWN_WORDS, {key: (theirs[key], ours[key]) for key in different}


@pytest.mark.parametrize(("command", "flag"), sorted(NEWER))
def test_flags_that_only_newer_versions_of_alembic_have_are_there(command: str, flag: str) -> None:
    assert flag in commands(make_parser()).choices[command]._option_string_actions


@pytest.mark.parametrize(("words", "revision"), [(["upgrade"], "heads"), (["upgrade", "+1"], "+1")])
def test_upgrade_without_a_revision_means_heads(words: list[str], revision: str) -> None:
    assert make_parser().parse_args(words).revision == revision


@pytest.mark.parametrize("words", [["upgrade", "a@b", "--sql"], ["history"], ["stamp", "a"]])
def test_an_environment_is_told_the_command_as_alembic_tells_it(words: list[str]) -> None:
    found = with_command(make_parser().parse_args(words))
    theirs = alembic.config.CommandLine().parser.parse_args(words)
    assert (found.cmd[0], list(found.cmd[2])) == (theirs.cmd[0], list(theirs.cmd[2]))


@pytest.mark.parametrize("words", [["status"], ["adopt"], ["redo"], ["plan", "a"]])
def test_a_command_that_alembic_lacks_is_one_that_looks_for_an_environment(
    words: list[str],
) -> None:
    found = with_command(make_parser().parse_args(words))
    assert found.cmd == alembic.config.CommandLine().parser.parse_args(["current"]).cmd


def test_python_collects_after_a_command_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    before = gc.get_threshold()
    assert main(["list_templates"]) == 0
    assert (gc.isenabled(), gc.get_threshold()) == (True, before)


def test_the_help_needs_neither_alembic_nor_pyramid() -> None:
    program = (
        "import sys; from websauna_migrate.cli.ws_alembic import main; status = main(['--help']);"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & {"alembic", "pyramid", "sqlalchemy", "plaster", "rich", "zope"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upgrad"], 'there is no command "upgrad". Did you mean "upgrade"?\n`ws-alembic --help`'),
        (["xyzzy"], 'there is no command "xyzzy"\n`ws-alembic --help` lists the commands.'),
        (["upgrade", "--alow-drops"], '--alow-drops. Did you mean "--allow-drops"?'),
        (["upgrade", "-c", "x.ini"], "-c. It stands before the command: ws-alembic -c ... COMMAND"),
        (["repair", "-y"], "unrecognized arguments: -y. It is an option of downgrade, "),
        (["plan", "--jsn=x"], 'unrecognized arguments: --jsn=x. Did you mean "--json"?'),
    ],
)
def test_what_is_mistyped_is_named(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
