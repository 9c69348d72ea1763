"""What the commands say: Alembic's own words for one package, and ours."""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import to_tuple

from websauna_migrate.cli.output import Output
from websauna_migrate.cli.render import runs, states, text
from websauna_migrate.cli.render.history import (
    render_branches,
    render_current,
    render_heads,
    render_history,
    render_show,
)
from websauna_migrate.plain_text import to_json
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan, Reason, Step
from websauna_migrate.results import (
    AppliedStep,
    CheckProblem,
    CheckReport,
    CreatedScript,
    HistoryEntry,
    PackageState,
    Run,
    StampedPackage,
)

# Alembic's own words

ENV = """
from alembic import context
from sqlalchemy import create_engine

with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

#: Revision, parents, dependencies, labels, docstring.
SCRIPTS: list[tuple[str, Any, Any, Any, str]] = [
    ("a1", None, None, ("main",), "The first revision"),
    ("a2", "a1", None, None, "Left\nof two lines\n\nWith a second paragraph.\n\n    Indented."),
    ("a3", "a1", None, None, "Right: 100 % [sic]"),
    ("a4", ("a2", "a3"), None, None, "Merge"),
    ("a5", "a4", None, None, ""),
    ("b1", None, None, ("other",), "Another base"),
    ("b2", "b1", "a2", None, "Depends on what is no head"),
    ("b3", "b1", ["a5", "c1"], None, "Depends on two heads"),
    ("c1", None, None, None, "A head and a base"),
    ("d1", None, "main", None, "Depends on a label"),
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Plain Alembic on a history with all shapes in it; its output is in ``config.stdout``."""
    directory = tmp_path / "alembic"
    (directory / "versions").mkdir(parents=True)
    (directory / "env.py").write_text(ENV, encoding="utf-8")
    for revision, parents, depends_on, labels, doc in SCRIPTS:
        (directory / "versions" / f"{revision}.py").write_text(
            f"{doc!r}\nrevision = {revision!r}\ndown_revision = {parents!r}\n"
            f"depends_on = {depends_on!r}\nbranch_labels = {labels!r}\n"
            "def upgrade(): pass\ndef downgrade(): pass\n",
            encoding="utf-8",
        )
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(directory))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{tmp_path / 'database.sqlite'}")
    return config


def printed(config: Config) -> str:
    """Return what Alembic has printed since the last time."""
    text = config.stdout.getvalue()  # type: ignore[attr-defined]
    config.stdout = io.StringIO()
    return str(text)


def ours(lines: Iterable[str]) -> str:
    """Return what we print for these lines."""
    stream = io.StringIO()
    Output(stream).lines(lines)
    return stream.getvalue()


def entry_of(script: Script) -> HistoryEntry:
    """Return Alembic's script as our data."""
    down = script._versioned_down_revisions
    return HistoryEntry(
        Revision(
            "fooapp",
            script.revision,
            down_revisions=tuple(down),
            depends_on=to_tuple(script.dependencies, default=()),
            doc=script.longdoc,
            path=script.path,
        ),
        labels=tuple(script.branch_labels),
        children=tuple(script.nextrev),
        is_head=script.is_head,
        is_effective_head=script._is_real_head,
        is_branch_point=script.is_branch_point,
        is_merge_point=script.is_merge_point,
    )


def history_of(config: Config, base: str = "base", head: str = "heads") -> list[HistoryEntry]:
    directory = ScriptDirectory.from_config(config)
    return [entry_of(script) for script in directory.walk_revisions(base, head)]


def stamp(config: Config, *revisions: str) -> PackageState:
    """Stamp with Alembic and return the state in our data."""
    command.stamp(config, list(revisions), purge=True)
    printed(config)
    directory = ScriptDirectory.from_config(config)
    shown = [entry_of(script).revision for script in directory.get_all_current(revisions)]  # type: ignore[arg-type]
    return PackageState(
        "fooapp",
        installed=True,
        history_table="alembic_version",
        rows=revisions,
        applied=tuple(revision for revision in shown if revision.id in revisions),
        implied=tuple(revision for revision in shown if revision.id not in revisions),
    )


def pieces(text: str) -> list[str]:
    """Return lines or paragraphs, sorted: Alembic keeps some of them in a set."""
    return sorted(text.split("Rev: ")) if "Rev: " in text else sorted(text.splitlines())


verbosity = pytest.mark.parametrize("verbose", [False, True], ids=["short", "verbose"])


@verbosity
@pytest.mark.parametrize("rev_range", [None, "a1:a4", ":b2", "a4:a5"])
def test_history_is_that_of_alembic(config: Config, verbose: bool, rev_range: str | None) -> None:
    command.history(config, rev_range, verbose=verbose)
    base, _, head = (rev_range or ":").partition(":")
    entries = history_of(config, base or "base", head or "heads")
    assert ours(render_history(entries, verbose=verbose)) == printed(config)


@verbosity
def test_history_with_the_current_revisions_is_that_of_alembic(
    config: Config, verbose: bool
) -> None:
    state = stamp(config, "a4", "b1")
    command.history(config, verbose=verbose, indicate_current=True)
    expected = printed(config)
    assert expected.count("(current)") == 2
    applied = {("fooapp", row) for row in state.rows}
    assert ours(render_history(history_of(config), verbose=verbose, applied=applied)) == expected


@verbosity
@pytest.mark.parametrize("resolve_dependencies", [False, True])
def test_heads_are_those_of_alembic(
    config: Config, verbose: bool, resolve_dependencies: bool
) -> None:
    command.heads(config, verbose=verbose, resolve_dependencies=resolve_dependencies)
    heads = [
        entry
        for entry in history_of(config)
        if (entry.is_effective_head if resolve_dependencies else entry.is_head)
    ]
    assert pieces(ours(render_heads(heads, verbose=verbose))) == pieces(printed(config))


@verbosity
def test_branches_are_those_of_alembic(config: Config, verbose: bool) -> None:
    command.branches(config, verbose=verbose)
    expected = printed(config)
    assert "->" in expected
    assert ours(render_branches(history_of(config), verbose=verbose)) == expected


@verbosity
@pytest.mark.parametrize("rows", [("a4",), ("a4", "b1"), ("a5", "b3"), ("b2",), ("d1",)])
def test_current_is_that_of_alembic(config: Config, verbose: bool, rows: Sequence[str]) -> None:
    state = stamp(config, *rows)
    command.current(config, verbose=verbose)
    url = config.get_main_option("sqlalchemy.url")
    assert url is not None
    text = ours(render_current([state], history_of(config), url=url, verbose=verbose))
    assert pieces(text) == pieces(printed(config))


@pytest.mark.parametrize("revision", [script[0] for script in SCRIPTS])
def test_show_is_that_of_alembic(config: Config, revision: str) -> None:
    command.show(config, revision)
    entries = [entry for entry in history_of(config) if entry.revision.id == revision]
    assert ours(render_show(entries)) == printed(config)


# Several packages

USER1 = HistoryEntry(
    Revision("websauna.user", "37e1", doc="Users", path="/user/37e1.py"),
    children=("4f00",),
    is_head=True,
    is_effective_head=True,
)
FOO1 = HistoryEntry(
    Revision("fooapp", "1a2b", doc="First", path="/foo/1a2b.py"),
    labels=("foo",),
    children=("2d97", "3e08"),
    is_branch_point=True,
)
FOO2 = HistoryEntry(
    Revision("fooapp", "2d97", ("1a2b",), doc="Offers", path="/foo/2d97.py"),
    labels=("foo",),
    is_head=True,
    is_effective_head=True,
    requires=("websauna.user@37e1", "x@y"),
)
FOO3 = HistoryEntry(Revision("fooapp", "3e08", ("1a2b",)), is_head=True, is_effective_head=True)
TIMELINE = (FOO3, FOO2, USER1, FOO1)


def lines(text: str) -> list[str]:
    return textwrap.dedent(text).strip("\n").splitlines()


def test_history_of_several_packages_is_a_timeline_with_requirements() -> None:
    applied = {("fooapp", "1a2b"), ("websauna.user", "37e1")}
    assert list(render_history(TIMELINE, several=True, applied=applied)) == lines(
        """
        fooapp         1a2b -> 3e08 (head), 
        fooapp         1a2b -> 2d97 (foo) (head), Offers [requires websauna.user@37e1, x@y]
        websauna.user  <base> -> 37e1 (head) (current), Users
        fooapp         <base> -> 1a2b (foo) (current) (branchpoint), First
        """  # noqa: W291
    )


def test_requirements_are_shown_for_one_package_too() -> None:
    assert list(render_history([FOO2])) == [
        "1a2b -> 2d97 (foo) (head), Offers [requires websauna.user@37e1, x@y]"
    ]


def test_a_paragraph_names_the_package_and_the_requirements() -> None:
    assert ours(render_show([FOO2], several=True)) == (
        "Package: fooapp\n"
        "Rev: 2d97 (head)\n"
        "Parent: 1a2b\n"
        "Requires: websauna.user@37e1, x@y\n"
        "Branch names: foo\n"
        "Path: /foo/2d97.py\n"
        "\n"
        "    Offers\n"
        "\n"
    )


def test_heads_of_several_packages() -> None:
    assert list(render_heads(TIMELINE[:3], several=True)) == [
        "fooapp         3e08 (head)",
        "fooapp         2d97 (foo) (head)",
        "websauna.user  37e1 (head)",
    ]


def test_branches_of_several_packages() -> None:
    assert list(render_branches(TIMELINE, several=True)) == [
        "fooapp  1a2b (foo) (branchpoint)",
        "fooapp       -> 2d97 (foo) (head)",
        "fooapp       -> 3e08 (head)",
        "",
    ]


STATES = (
    PackageState(
        "fooapp",
        installed=True,
        history_table="alembic_history_fooapp",
        rows=("1a2b",),
        applied=(FOO1.revision,),
        heads=(FOO2.revision, FOO3.revision),
        pending=2,
    ),
    PackageState(
        "websauna.gone", installed=False, history_table="t", rows=("abc",), unknown=("abc",)
    ),
    PackageState("websauna.new", installed=True, history_table="t"),
    PackageState(
        "websauna.user",
        installed=True,
        history_table="t",
        rows=("37e1", "ffff"),
        applied=(USER1.revision,),
        unknown=("ffff",),
        heads=(USER1.revision,),
    ),
)


def test_current_of_several_packages_tells_of_each() -> None:
    assert list(render_current(STATES, TIMELINE, several=True)) == [
        "fooapp         1a2b (branchpoint)",
        "websauna.gone  abc (not installed)",
        "websauna.new   <base>",
        "websauna.user  37e1 (head)",
        "websauna.user  ffff (no script defines it)",
    ]


def test_verbose_current_of_several_packages_has_a_paragraph_for_each() -> None:
    text = ours(render_current(STATES[1:3], (), url="x://", verbose=True, several=True))
    assert text == (
        "Current revision(s) for x://:\n"
        "Package: websauna.gone\nRev: abc (not installed)\n\n"
        "Package: websauna.new\nRev: <base>\n\n"
    )


def test_current_of_one_empty_package_is_empty_as_with_alembic() -> None:
    assert list(render_current(STATES[2:3], ())) == []


def test_verbose_current_names_the_database_once() -> None:
    text = ours(render_current(STATES[:1], TIMELINE, url="x://u:***@h/d", verbose=True))
    assert text.startswith("Current revision(s) for x://u:***@h/d:\nRev: 1a2b (branchpoint)\n")


def test_not_at_head_names_the_packages_that_are_behind() -> None:
    assert list(states.render_not_at_head(STATES)) == [
        'Package "fooapp" is at 1a2b, not on all head revisions: 2d97, 3e08.',
        'Package "websauna.user" is at 37e1, ffff, not on all head revisions: 37e1.',
        "Run: ws-alembic -x packages=fooapp upgrade",
    ]


# Tables


def test_status_is_a_table_of_all_packages() -> None:
    assert list(text.render_table(states.status_table(STATES))) == lines(
        """
        PACKAGE        APPLIED     MESSAGE  NEWEST      PENDING
        fooapp         1a2b        First    2d97, 3e08  2
        websauna.gone  abc         -        -           not installed
        websauna.new   -           -        -           0 (no script)
        websauna.user  37e1, ffff  Users    37e1        0 (no script defines ffff)
        """
    )


def test_how_many_are_pending_behind_an_unknown_revision_is_not_known() -> None:
    state = replace(STATES[3], rows=("ffff",), applied=(), pending=None)
    assert states.pending(state) == "? (no script defines ffff)"


def test_a_table_is_never_cut_where_it_is_not_read_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    wide = text.Table(("A", "B"), (("x" * 200, "[red]y"),), frozenset({0}))
    stream = io.StringIO()
    Output(stream).table(wide)
    assert stream.getvalue() == f"{'A':<200}  B\n{'x' * 200}  [red]y\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    yield Terminal()


MARKUP = text.Table(("PACKAGE", "MESSAGE"), (("fooapp", "[red]not markup[/red]"),), frozenset({0}))


def test_a_table_on_a_terminal_has_colour_and_no_markup(terminal: Terminal) -> None:
    Output(terminal).table(MARKUP)
    assert "\x1b[33m" in terminal.getvalue()
    assert "[red]not markup[/red]" in terminal.getvalue()


def test_no_color_is_honoured(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    Output(terminal).table(MARKUP)
    assert "\x1b[33m" not in terminal.getvalue()


def test_nothing_is_lost_on_a_narrow_terminal(terminal: Terminal) -> None:
    Output(terminal).table(text.Table(("A", "B"), (("x" * 50, "y" * 50),)))
    assert terminal.getvalue().count("x") == terminal.getvalue().count("y") == 50


# Runs


def step(
    package: str, revision: str, direction: str = "upgrade", message: str = "A\nb"
) -> AppliedStep:
    started = datetime(2025, 1, 2, tzinfo=timezone.utc)
    return AppliedStep(package, revision, message, direction, started, 0.036, "asked for")


def test_a_step_is_one_line() -> None:
    assert runs.render_step(step("fooapp", "2d97"), 2, 17, width=13) == (
        "[ 2/17] fooapp         2d97  A b (0.04 s)"
    )


def test_a_step_down_says_so() -> None:
    assert runs.render_step(step("fooapp", "2d97", "downgrade"), 1, 1) == (
        "[1/1] downgrade fooapp  2d97  A b (0.04 s)"
    )


def test_a_run_is_summed_up() -> None:
    steps = (step("a", "1"), step("b", "2"))
    assert runs.render_run(Run("x", "upgrade", steps), None) == "2 steps applied in 0.07 s."
    assert runs.render_run(Run("x", "downgrade", steps[:1]), None) == "1 step taken back in 0.04 s."


@pytest.mark.parametrize(
    ("packages", "newest", "expected"),
    [
        (None, True, "Nothing to do: all packages are at their newest revision."),
        (("fooapp",), True, "Nothing to do: fooapp is at its newest revision."),
        (("a", "b"), True, "Nothing to do: a, b are at their newest revision."),
        (None, False, "Nothing to do: the database is at that revision already."),
    ],
)
def test_a_run_without_steps(packages: tuple[str, ...] | None, newest: bool, expected: str) -> None:
    assert runs.render_run(Run("x", "upgrade"), packages, newest=newest) == expected


@pytest.mark.parametrize(
    ("packages", "without", "expected"),
    [
        (("a",), ["a"], "Nothing to do: a has no revision yet."),
        (("a", "b"), ["a", "b"], "Nothing to do: a, b have no revision yet."),
        (("a", "b"), ["b"], "Nothing to do: a is at its newest revision; b has none yet."),
        (None, ["b"], "Nothing to do: all packages are at their newest revision; b has none yet."),
    ],
)
def test_what_has_no_revision_is_at_none(
    packages: tuple[str, ...] | None, without: list[str], expected: str
) -> None:
    assert runs.render_run(Run("x", "upgrade"), packages, newest=True, without=without) == expected


def test_created_scripts_are_their_paths() -> None:
    created = [CreatedScript("a", "1", "m", "/a/1.py"), CreatedScript("b", "2", "m", "/b/2 x.py")]
    assert list(runs.render_created(created)) == ["/a/1.py", "/b/2 x.py"]


def test_no_created_script_is_said() -> None:
    assert list(runs.render_created([])) == ["No changes: no script was written."]


def test_stamped_packages_say_what_was_and_is() -> None:
    stamped = [StampedPackage("a", (), ("1", "2")), StampedPackage("b", ("3",), ())]
    assert list(runs.render_stamped(stamped)) == ["a  <base> -> 1, 2", "b  3 -> <base>"]
    assert list(runs.render_stamped([])) == ["Nothing to do: the history tables say so already."]


def test_a_check_without_findings_says_what_alembic_says() -> None:
    assert list(states.render_check(CheckReport())) == ["No new upgrade operations detected."]


def test_a_check_puts_what_is_fatal_first() -> None:
    report = CheckReport(
        (
            CheckProblem("unowned", None, "Table x is nobody's.", fatal=False),
            CheckProblem("pending", "fooapp", "2 revisions are pending."),
            CheckProblem("drift", "fooapp", 'Package "fooapp" has drift.'),
        )
    )
    assert list(states.render_check(report)) == [
        "fooapp: 2 revisions are pending.",
        'Package "fooapp" has drift.',
        "note: Table x is nobody's.",
    ]


def test_a_check_with_nothing_fatal_is_well() -> None:
    report = CheckReport((CheckProblem("unowned", None, "Table x.", fatal=False),))
    assert list(states.render_check(report)) == [
        "note: Table x.",
        "No new upgrade operations detected.",
    ]


# Plans


def test_a_plan_is_a_table_of_steps_and_reasons() -> None:
    required = Reason("required", "websauna.user@37e1", "script", "fooapp", "2d97")
    requested = Reason("requested", "fooapp@heads")
    rows = frozenset[str]()
    plan = Plan(
        (
            Step("websauna.user", USER1.revision, "upgrade", (required,), rows, rows),
            Step("fooapp", FOO2.revision, "upgrade", (requested,), rows, rows),
        ),
        "upgrade",
    )
    assert list(text.render_table(states.plan_table(plan))) == lines(
        """
        UPGRADE  PACKAGE        REVISION  MESSAGE  REASON
        1        websauna.user  37e1      Users    required by fooapp 2d97
        2        fooapp         2d97      Offers   requested
        """
    )


# JSON


def test_results_as_json_have_the_names_of_their_fields() -> None:
    (state,) = json.loads(to_json(STATES[:1]))
    assert state["package"] == "fooapp"
    assert state["rows"] == ["1a2b"]
    assert state["applied"][0]["message"] == "First"
    assert state["heads"][0]["down_revisions"] == ["1a2b"]
    (entry,) = json.loads(to_json([FOO2]))
    assert entry["requires"] == ["websauna.user@37e1", "x@y"]


def test_what_json_does_not_know_is_written_some_way() -> None:
    report = CheckReport((CheckProblem("x", None, "m", details={"path": Path("/x"), "o": {2, 1}}),))
    (problem,) = json.loads(to_json(report))["problems"]
    assert problem["details"] == {"path": "/x", "o": [1, 2]}
    assert json.loads(to_json(step("a", "1")))["started"] == "2025-01-02T00:00:00+00:00"
    assert json.loads(to_json([Exception])) == ["<class 'Exception'>"]
