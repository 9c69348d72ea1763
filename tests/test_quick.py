"""What is understood without Alembic is understood as Alembic's parser understands it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websauna_migrate.alembic_adapter.package_environment import with_command
from websauna_migrate.cli.command_line import CommandLine
from websauna_migrate.cli.quick import QUICK, quick_options

WORDS = st.sampled_from(
    [
        *("-c", "-x", "-n", "-q", "-v", "-i", "-r", "-h", "-V", "-qx", "-cfoo.ini", "-"),
        *(
            "--json",
            "--verbose",
            "--config",
            "--config=x.ini",
            "--quiet",
            "--raiseerr",
            "--no-index",
        ),
        *(
            "--rev-range",
            "--rev-range=a:b",
            "--indicate-current",
            "--resolve-dependencies",
            "--help",
        ),
        *(
            "--check-heads",
            "--downgrade",
            "--cascade",
            "--verb",
            "--name",
            "--version",
            "--",
            "--sql",
            "--tag=x",
            "--atomic",
            "--lock-wait=3",
        ),
        *("packages=all", "app.ini", "heads", "a1", ":current", "+1", "", "upgrade", *QUICK),
    ]
)


def whole(argv: list[str]) -> dict[str, Any] | None:
    """Return the options that the whole parser finds; ``None`` if it ends the program."""
    try:
        options = vars(CommandLine().parser.parse_args(argv))
    except SystemExit:
        return None
    # What to call of Alembic, which these commands do not.
    options.pop("cmd", None)
    return options


def compare(argv: list[str]) -> Namespace | None:
    found = quick_options(argv)
    if found is not None:
        assert vars(found) == whole(argv)
    return found


@given(st.lists(WORDS, max_size=7))
def test_any_words(capsys_disabled: None, argv: list[str]) -> None:
    compare(argv)


@pytest.fixture(scope="module")
def capsys_disabled() -> None:
    """Say nothing; the parser's complaints are captured by pytest."""


@given(
    st.lists(WORDS, max_size=3),
    st.sampled_from([*QUICK]),
    st.lists(WORDS.filter(lambda word: word not in ("--help", "-h", "--version")), max_size=3),
)
def test_words_around_a_command(
    capsys_disabled: None, before: list[str], verb: str, after: list[str]
) -> None:
    compare([*before, verb, *after])


@pytest.mark.parametrize("verb", QUICK)
def test_every_argument_of_a_quick_command_is_known(verb: str) -> None:
    parser = CommandLine().subparsers.choices[verb]
    for action in parser._actions:
        for flag in action.option_strings:
            if flag in ("-h", "--help"):
                assert quick_options([verb, flag]) is None
                continue
            words = [flag] if action.nargs == 0 else [flag, "1" if action.type else "a:b"]
            assert compare([verb, *words]) is not None, flag
    assert compare(["-c", "x.ini", "-x", "packages=all", verb]) is not None


@pytest.mark.parametrize("words", [["upgrade"], ["upgrade", "a@b", "--sql"], ["history"]])
def test_an_environment_is_told_the_command(words: list[str]) -> None:
    found = quick_options(words)
    assert with_command(found).cmd == CommandLine().parser.parse_args(words).cmd


def test_abbreviations_help_and_other_commands_are_left_to_the_whole_parser() -> None:
    for words in (
        ["current", "--verb"],
        ["--help"],
        ["downgrade", "base"],
        ["current", "x"],
        ["heads", "-z"],
    ):
        assert quick_options(words) is None
