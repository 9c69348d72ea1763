"""Unsafe changes: found by the real squawk, for a real PostgreSQL, told by the script's line."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import rows, table, tables
from test_run_commands import FACTORY, INI
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.config.settings import STYLE_RULES, parse_settings
from websauna_migrate.errors import LintNotPossible, MigrationError, SettingError, UnsafeChanges
from websauna_migrate.lint.lint_comments import ScriptComments
from websauna_migrate.lint.recorded_sql import split_sql
from websauna_migrate.lint.report import NewTables
from websauna_migrate.lint.squawk import run_squawk

#: The line of a script on which the body of its ``upgrade()`` begins.
FIRST = 14

BASE = """
op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Text),
                sa.Column("b", sa.Text), sa.Column("c", sa.Text))
"""


@pytest.fixture
def app(workshop: Workshop, postgresql_url: str) -> Callable[..., Any]:
    """Make an app with a table ``users`` and one pending script; return the report on that."""

    def lint(upgrade: str, **more: Any) -> Any:
        settings = more.pop("settings", {})
        workshop.package("fooapp")
        workshop.script("fooapp", "r1", upgrade=BASE)
        service = workshop.service(postgresql_url, **settings)
        service.upgrade()
        path = workshop.script("fooapp", "r2", "r1", upgrade=upgrade, message="Second", **more)
        assert path.read_text().splitlines()[FIRST - 1].startswith("    ")
        report = workshop.service(postgresql_url, **settings).lint()
        for one in (*report.findings, *report.accepted):
            assert (one.package, one.revision, one.path) == ("fooapp", "r2", str(path))
            assert one.message == "Second"
        assert report.steps == 1
        return report

    return lint


def told(findings: Any) -> list[tuple[int, str]]:
    """Return the lines, counted from that of the first operation, and the rules."""
    return [(one.line - FIRST, one.rule) for one in findings]


def test_what_is_unsafe(app: Callable[..., Any]) -> None:
    report = app("""
    op.add_column("users", sa.Column("d", sa.Integer, nullable=False))
    op.create_index("ix_a", "users", ["a"])
    op.drop_column("users", "b")
    op.alter_column("users", "c", type_=sa.BigInteger, postgresql_using="c::bigint")
    op.rename_table("users", "people")
    op.add_column("users", sa.Column("harmless", sa.String(30)))
    """)
    assert told(report.findings) == [
        (0, "adding-required-field"),
        (1, "require-concurrent-index-creation"),
        (2, "ban-drop-column"),
        (3, "changing-column-type"),
        (4, "renaming-table"),
    ]
    assert report.findings[2].statement == "ALTER TABLE users DROP COLUMN b"
    assert "concurrently" in report.findings[1].help.lower()
    assert not report.ok
    assert (report.accepted, report.unchecked, report.warnings) == ((), (), ())


def test_lines_of_calls_that_span_several(app: Callable[..., Any]) -> None:
    report = app("""
    op.add_column(
        "users",
        sa.Column("d", sa.Integer, nullable=False),
    )
    for column in ("a", "b"):
        op.drop_column("users", column)

    def drop(name):
        op.drop_column("users",
                       name)
    drop("c")
    with op.batch_alter_table("users") as batch:
        batch.drop_column("d")
    op.execute(\"\"\"
        SELECT 1;
        ALTER TABLE users DROP COLUMN x;
    \"\"\")
    """)
    assert told(report.findings) == [
        (0, "adding-required-field"),
        (5, "ban-drop-column"),
        (5, "ban-drop-column"),
        (8, "ban-drop-column"),
        (11, "ban-drop-column"),
        (13, "ban-drop-column"),
    ]
    assert [one.statement[-1] for one in report.findings] == ["L", "a", "b", "c", "d", "x"]


def test_a_helper_of_another_module(app: Callable[..., Any], workshop: Workshop) -> None:
    (workshop.root / "lint_helper.py").write_text(
        "from alembic import op\n\ndef drop(name):\n    op.drop_column('users', name)\n"
    )
    report = app(
        "from lint_helper import drop\ndrop('a')\ndrop('b')  # squawk-ignore ban-drop-column"
    )
    assert told(report.findings) == [(1, "ban-drop-column")]
    assert told(report.accepted) == [(2, "ban-drop-column")]


def test_comments_that_accept(app: Callable[..., Any]) -> None:
    report = app("""
    op.drop_column("users", "a")  # squawk-ignore ban-drop-column: nobody reads it
    # squawk-ignore ban-drop-column
    op.drop_column("users", "b")
    op.drop_column("users", "c")
    # squawk-ignore adding-required-field, ban-drop-column
    # (the table is small)
    op.add_column(
        "users",
        sa.Column("d", sa.Integer, nullable=False),
    )
    op.add_column(
        "users",
        # squawk-ignore adding-required-field
        sa.Column("e", sa.Integer, nullable=False),
    )

    def drop(name):
        op.drop_column("users", name)
    drop("f")
    drop("g")  # squawk-ignore ban-drop-column
    with op.batch_alter_table("users") as batch:
        batch.drop_column("h")  # squawk-ignore ban-drop-column
    op.execute("ALTER TABLE users DROP COLUMN i -- squawk-ignore ban-drop-column")
    text = "# squawk-ignore ban-drop-column"; op.drop_column("users", "j")
    # squawk-ignore ban-drop-column

    op.drop_column("users", "k")
    """)
    assert [one.statement[-1] for one in report.findings] == ["c", "f", "j", "k"]
    assert told(report.accepted) == [
        (0, "ban-drop-column"),
        (2, "ban-drop-column"),
        (6, "adding-required-field"),
        (10, "adding-required-field"),
        (17, "ban-drop-column"),
        (20, "ban-drop-column"),
    ]
    path = report.findings[0].path
    assert report.warnings == (
        f'{path}:{FIRST + 4}: "squawk-ignore ban-drop-column" accepts nothing here.',
        f'{path}:{FIRST + 24}: "squawk-ignore ban-drop-column" accepts nothing here.',
    )


def test_a_comment_on_a_table_that_is_still_new_is_of_use(app: Callable[..., Any]) -> None:
    report = app("""
    op.create_table("brand_new", sa.Column("a", sa.Integer), sa.Column("b", sa.Integer))
    op.drop_column("brand_new", "a")  # squawk-ignore ban-drop-column
    """)
    assert (report.findings, report.accepted, report.warnings) == ((), (), ())


@pytest.fixture
def scripts(workshop: Workshop, postgresql_url: str) -> Callable[..., Any]:
    """Make an app with one pending script for each body, on a table of its own; return the report.

    ``users`` stands for the table.
    """

    def lint(*bodies: str) -> Any:
        names = [f"users{number}" for number in range(len(bodies))]
        workshop.package("fooapp")
        workshop.script("fooapp", "r", upgrade="".join(BASE.replace("users", n) for n in names))
        workshop.service(postgresql_url).upgrade()
        down = "r"
        for number, (name, body) in enumerate(zip(names, bodies, strict=True)):
            text = textwrap.dedent(body).replace("users", name)
            workshop.script("fooapp", f"r{number}", down, upgrade=text)
            down = f"r{number}"
        report = workshop.service(postgresql_url).lint()
        assert report.steps == len(bodies)
        return report

    return lint


#: A comment, and the rules that are told all the same.
FOR_A_SCRIPT = [
    ("# squawk-ignore-file", []),
    ("# squawk-ignore-file ban-drop-column", ["renaming-column"]),
    ("# squawk-ignore-file: ban-drop-column,renaming-column", []),
    ('op.execute("-- squawk-ignore-file ban-drop-column")', ["renaming-column"]),
    ("# squawk-ignored", ["ban-drop-column", "renaming-column"]),
    ("# nosquawk", ["ban-drop-column", "renaming-column"]),
]


def test_comments_for_a_whole_script(scripts: Callable[..., Any]) -> None:
    report = scripts(
        *(
            f"""
            op.drop_column("users", "a")
            op.alter_column("users", "b", new_column_name="bb")
            {comment}
            """
            for comment, _ in FOR_A_SCRIPT
        )
    )
    for number, (comment, left) in enumerate(FOR_A_SCRIPT):
        revision = f"r{number}"
        found = [one.rule for one in report.findings if one.revision == revision]
        accepted = [one.rule for one in report.accepted if one.revision == revision]
        assert (found, len(accepted)) == (left, 2 - len(left)), comment
    assert report.warnings == ()


def test_comments_with_mistakes(app: Callable[..., Any]) -> None:
    report = app(
        """
        # squawk-ignore ban-drop-colum, ban-drop-column
        op.drop_column("users", "a")
        op.drop_column("users", "b")  # squawk-ignore
        op.drop_column("users", "c")  # squawk-ignore prefer-robust-stmts
        """,
        downgrade="pass  # squawk-ignore ban-drop-table",
        settings={"lint_exclude": "default, no-such-rule"},
    )
    assert told(report.findings) == [(2, "ban-drop-column"), (3, "ban-drop-column")]
    path = report.findings[0].path
    assert report.warnings == (
        'Setting "websauna_migrate.lint_exclude": squawk knows no rule "no-such-rule".',
        f'{path}:{FIRST}: squawk knows no rule "ban-drop-colum".',
        f'{path}:{FIRST + 2}: "squawk-ignore" names no rule, and accepts nothing.',
    )


def test_several_packages_and_the_tables_that_they_create(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp")
    workshop.package("addon")
    workshop.script("fooapp", "f1", upgrade=BASE)
    workshop.script("addon", "a1", upgrade=BASE.replace("users", "things"))
    workshop.service(postgresql_url).upgrade("f1", packages="fooapp")
    change = """
    op.drop_column("users", "a")
    op.drop_column("things", "a")
    op.create_index("ix_things", "things", ["b"])
    op.drop_index("ix_things")
    op.create_foreign_key("fk", "things", "users", ["id"], ["id"])
    op.rename_table("things", "goods")
    op.drop_column("goods", "b")
    op.drop_table("goods")
    """
    workshop.script("fooapp", "f2", "f1", upgrade=change, requires=["addon@a1"])
    path = workshop.script("addon", "a2", "a1", upgrade='op.drop_column("users", "b")')
    service = workshop.service(postgresql_url)
    found = [(f.package, f.revision, f.line - FIRST, f.rule) for f in service.lint().findings]
    assert sorted(found) == [
        ("addon", "a2", 0, "ban-drop-column"),
        ("fooapp", "f2", 0, "ban-drop-column"),
    ]
    assert service.lint("a2", packages="addon").findings[0].path == str(path)
    assert service.lint("a1", packages=["addon"]).findings == ()
    assert service.lint("a1", packages=["addon"]).steps == 1
    plan = service.plan("a2", packages="addon")
    assert service.lint(plan=plan) == service.lint("a2", packages="addon")


def test_an_empty_database_has_nothing_to_lose(workshop: Workshop, postgresql_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "r1", upgrade=BASE)
    workshop.script("fooapp", "r2", "r1", upgrade='op.drop_column("users", "a")')
    report = workshop.service(postgresql_url).lint()
    assert (report.steps, report.findings, report.warnings) == (2, (), ())
    assert tables(postgresql_url) == set()


# Scripts that are not plain


#: What a script reads, and what is told of it.
READING = [
    (
        'op.get_bind().execute(sa.text("SELECT 1")).scalar()',
        "AttributeError: 'NoneType' object has no attribute 'scalar'",
    ),
    ("from websauna_migrate import data\ndata.session()", "UsageError: "),
    ("raise SystemExit(3)", "SystemExit: 3"),
]


def test_a_script_that_needs_a_connection(scripts: Callable[..., Any]) -> None:
    report = scripts(
        *(
            f'op.drop_column("users", "a")\n{read}\nop.drop_column("users", "b")\n'
            '# squawk-ignore ban-drop-column\nop.drop_column("users", "c")'
            for read, _ in READING
        )
    )
    for number, (read, problem) in enumerate(READING):
        revision = f"r{number}"
        found = [one for one in report.findings if one.revision == revision]
        assert told(found) == [(0, "ban-drop-column")], read
        (unchecked,) = (one for one in report.unchecked if one.revision == revision)
        assert unchecked.package == "fooapp"
        assert unchecked.line == FIRST + 1 + read.count("\n"), read
        assert unchecked.reason.startswith(f"what follows is only known when it runs ({problem}"), (
            read
        )
    assert len(report.unchecked) == len(READING)
    assert report.warnings == ()
    assert report.ok is False


def test_sql_that_squawk_cannot_read(app: Callable[..., Any]) -> None:
    report = app("""
    op.drop_column("users", "a")
    op.execute("MAKE it so")
    op.execute("SELECT 1; MAKE it again")
    op.drop_column("users", "b")
    """)
    assert told(report.findings) == [(0, "ban-drop-column"), (3, "ban-drop-column")]
    assert [one.line - FIRST for one in report.unchecked] == [1, 2]
    assert "squawk cannot read this SQL: " in report.unchecked[0].reason


def test_what_is_not_in_the_transaction(app: Callable[..., Any]) -> None:
    report = app("""
    op.create_index("ix1", "users", ["a"], postgresql_concurrently=True)
    with op.get_context().autocommit_block():
        op.create_index("ix2", "users", ["b"], postgresql_concurrently=True)
    op.create_index("ix3", "users", ["c"], postgresql_concurrently=True)
    """)
    assert told(report.findings) == [
        (0, "ban-concurrent-index-creation-in-transaction"),
        (3, "ban-concurrent-index-creation-in-transaction"),
    ]


def test_a_script_that_is_no_transaction(workshop: Workshop, postgresql_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "r1", upgrade=BASE)
    workshop.service(postgresql_url).upgrade()
    change = """
    op.create_index("ix1", "users", ["a"], postgresql_concurrently=True)
    op.drop_index("ix0", postgresql_concurrently=True)
    op.create_index("ix2", "users", ["a"])
    """
    path = workshop.script("fooapp", "r2", "r1", upgrade=change)
    path.write_text(path.read_text() + "transactional = False\n")
    findings = workshop.service(postgresql_url).lint().findings
    assert told(findings) == [(2, "require-concurrent-index-creation")]


def test_a_check_that_was_validated_by_an_earlier_step(
    workshop: Workshop, postgresql_url: str
) -> None:
    """The steps of a plan are read together."""
    workshop.package("fooapp")
    workshop.script("fooapp", "r1", upgrade=BASE)
    workshop.service(postgresql_url).upgrade()
    for number, sql in enumerate(
        [
            "ALTER TABLE users ADD CONSTRAINT a_there CHECK (a IS NOT NULL) NOT VALID",
            "ALTER TABLE users VALIDATE CONSTRAINT a_there",
            "ALTER TABLE users ALTER COLUMN a SET NOT NULL",
        ],
        2,
    ):
        workshop.script("fooapp", f"r{number}", f"r{number - 1}", upgrade=f'op.execute("{sql}")')
    assert workshop.service(postgresql_url).lint().findings == ()


ENV = """
from alembic import context

context.configure(url="postgresql://elsewhere/x", literal_binds=True)
with context.begin_transaction():
    context.execute("ALTER TABLE users DROP COLUMN of_the_environment")
    context.run_migrations()
"""


@pytest.mark.parametrize(("end", "problem"), [("", None), ("\n1 / 0", "ZeroDivisionError")])
def test_a_hand_written_environment(
    workshop: Workshop, postgresql_url: str, end: str, problem: str | None
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "r1", upgrade=BASE)
    workshop.service(postgresql_url).upgrade()
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(ENV + end)
    workshop.script("fooapp", "r2", "r1", upgrade='op.drop_column("users", "a")')
    workshop.script("fooapp", "r3", "r2", upgrade='op.drop_column("users", "b")')
    report = workshop.service(postgresql_url).lint()
    assert [(one.revision, one.line) for one in report.findings] == [("r2", FIRST), ("r3", FIRST)]
    told = [(one.revision, one.line, problem in one.reason) for one in report.unchecked if problem]
    assert told == ([("r2", None, True), ("r3", None, True)] if problem else [])


def test_a_table_that_a_script_creates_after_it_has_read(
    workshop: Workshop, postgresql_url: str
) -> None:
    """What is created behind the end of what is checked is known from the source."""
    workshop.package("fooapp")
    read = "op.get_bind().execute(sa.text('SELECT 1')).scalar()"
    workshop.script("fooapp", "r1", upgrade=f"{read}\n{BASE}")
    change = """
    op.drop_column("users", "a")
    op.create_index("ix1", "users", ["b"], postgresql_concurrently=True)
    """
    workshop.script("fooapp", "r2", "r1", upgrade=change)
    report = workshop.service(postgresql_url).lint()
    assert [one.revision for one in report.unchecked] == ["r1"]
    # It fails, also where nobody is in its way.
    assert told(report.findings) == [(1, "ban-concurrent-index-creation-in-transaction")]


# Settings


def test_the_rules_that_are_left_out(app: Callable[..., Any], workshop: Workshop) -> None:
    style = """
    op.add_column("users", sa.Column("d", sa.Integer))
    op.create_table("new", sa.Column("e", sa.SmallInteger), sa.Column("f", sa.DateTime))
    op.drop_column("users", "a")
    """
    report = app(style, settings={"lint_exclude": "ban-drop-column"})
    assert told(report.findings) == [
        (0, "prefer-bigint-over-int"),
        (1, "prefer-bigint-over-smallint"),
        (1, "prefer-timestamp-tz"),
    ]


def test_reading_the_setting() -> None:
    def read(value: str) -> frozenset[str]:
        return parse_settings({"websauna_migrate.lint_exclude": value}).lint_exclude

    assert parse_settings({}).lint_exclude == STYLE_RULES
    assert read("") == frozenset()
    assert read("\n ban-drop-column\n renaming-table, x ") == {
        "ban-drop-column",
        "renaming-table",
        "x",
    }
    assert read("default, ban-drop-column") == STYLE_RULES | {"ban-drop-column"}
    with pytest.raises(SettingError, match="it must be names of squawk's rules"):
        read("ban_drop_column")


def test_every_rule_that_is_left_out_is_known_to_squawk() -> None:
    from websauna_migrate.lint.report import OURS
    from websauna_migrate.lint.squawk import find_squawk, question_about, unknown_names

    found = run_squawk(find_squawk(), question_about([*STYLE_RULES, *OURS, "nonsense"]))
    # A rule of older versions, which newer ones have divided.
    assert unknown_names(found) <= {"nonsense", "require-timeout-settings", "unused-ignore"}
    assert "nonsense" in unknown_names(found)


# Refusals


def test_an_upgrade_that_is_to_be_safe(
    app: Callable[..., Any], workshop: Workshop, postgresql_url: str
) -> None:
    report = app('op.drop_column("users", "a")\nop.drop_column("users", "b")')
    path = report.findings[0].path
    service = workshop.service(postgresql_url)
    with pytest.raises(UnsafeChanges) as caught:
        service.upgrade(fail_on_lint=True)
    assert caught.value.report == report
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        "The plan has 2 unsafe changes; nothing was run.\n"
        f'  "fooapp" revision "r2" ({path}:{FIRST}): ban-drop-column\n'
        f'  "fooapp" revision "r2" ({path}:{FIRST + 1}): ban-drop-column\n'
        "Change the script, or accept the change by a comment on its line: "
        "# squawk-ignore ban-drop-column"
    )
    assert rows(postgresql_url, "SELECT version_num FROM alembic_history_fooapp") == [("r1",)]
    assert rows(postgresql_url, "SELECT count(*) FROM websauna_migrate_ledger") == [(1,)]
    assert [step.revision for step in service.upgrade().steps] == ["r2"]
    assert service.upgrade(fail_on_lint=True).steps == ()
    assert service.lint().steps == 0


def test_a_type_that_was_created_by_a_look_is_created_by_the_run(
    workshop: Workshop, postgresql_url: str
) -> None:
    """A script that is looked at leaves nothing behind for the run that follows."""
    workshop.package("fooapp")
    column = 'sa.Column("e", sa.Enum("x", "y", name="mood"))'
    workshop.script("fooapp", "r1", upgrade=f'op.create_table("t1", {column})')
    workshop.script("fooapp", "r2", "r1", upgrade=f'op.create_table("t2", {column})')
    service = workshop.service(postgresql_url)
    with service.one_look():
        assert service.lint().ok
        assert len(service.upgrade(fail_on_lint=True).steps) == 2
    assert {"t1", "t2"} <= tables(postgresql_url)


@pytest.mark.parametrize("backend", ["sqlite", "mysql"])
def test_other_databases(workshop: Workshop, tmp_path: Path, backend: str) -> None:
    url = {"sqlite": f"sqlite:///{tmp_path}/x.db", "mysql": "mysql+pymysql://nobody@nowhere/x"}
    workshop.package("fooapp")
    workshop.script("fooapp", "r1", upgrade=BASE)
    service = workshop.service(url[backend])
    for call in (service.lint, lambda: service.upgrade(fail_on_lint=True)):
        with pytest.raises(LintNotPossible, match="PostgreSQL alone") as caught:
            call()
        assert (caught.value.kind, caught.value.about) == ("database", backend)
        assert caught.value.exit_code == 2
    assert not (tmp_path / "x.db").exists()


def test_a_downgrade_is_not_checked(
    app: Callable[..., Any], workshop: Workshop, postgresql_url: str
) -> None:
    app("pass")
    service = workshop.service(postgresql_url)
    plan = service.plan("base", direction="downgrade")
    with pytest.raises(MigrationError, match="a downgrade takes things away"):
        service.lint(plan=plan)


def fake(folder: Path, body: str) -> Path:
    """Put an executable of the linter's name into a folder."""
    folder.mkdir(exist_ok=True)
    program = folder / "squawk"
    program.write_text(f"#!{sys.executable}\nimport sys, os, time\n{body}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('no such option')", "its answer is not understood"),
        ("print('error: strange', file=sys.stderr); sys.exit(2)", "status 2. It said: error: str"),
        ("print('[{]')", "its answer is not understood (exit status 0). It said: [{]"),
        ("print('{}'); sys.exit(3)", "exit status 3. It said nothing."),
        ("print('[{\"line\": 1}]')", "its answer is not understood"),
        ("print('[7]')", "its answer is not understood"),
        ("print('null')", "its answer is not understood"),
        ("os.kill(os.getpid(), 9)", "exit status -9"),
        ("os.close(0); print('[]' * 3)", "its answer is not understood"),
        ("time.sleep(9)", "it gave no answer within 0.5 s."),
    ],
)
def test_a_linter_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    program = fake(tmp_path, body)
    monkeypatch.setattr(
        "websauna_migrate.lint.squawk.TIME_LIMIT", 5 if "sleep" not in body else 0.5
    )
    with pytest.raises(LintNotPossible) as caught:
        run_squawk(str(program), "SELECT 1;" * 100000, server_version=(17, 2))
    assert words in str(caught.value)
    assert (caught.value.kind, caught.value.about) == ("failed", str(program))


def test_a_linter_that_cannot_be_started(tmp_path: Path) -> None:
    program = tmp_path / "squawk"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(LintNotPossible, match="it cannot be started"):
        run_squawk(str(program), "")


def test_what_the_linter_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No variable that may hold a password, and no configuration of the current folder."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["ban-drop-column"]')
    program = fake(
        tmp_path / "bin",
        "import json\n"
        "words = json.dumps([sys.argv[1:], sorted(os.environ), sys.stdin.read()])\n"
        "print(json.dumps([{'line': 0, 'rule_name': 'r', 'message': words, 'help': None}]))",
    )
    (found,) = run_squawk(str(program), "SELECT 'ü';", server_version=(17, 2, 1))
    arguments, variables, sql = json.loads(found.message)
    assert arguments == ["--reporter", "json", "--config", os.devnull, "--pg-version", "17.2"]
    assert "PGPASSWORD" not in variables
    assert sql == "SELECT 'ü';"
    from websauna_migrate.lint.squawk import find_squawk

    rules = {one.rule for one in run_squawk(find_squawk(), "ALTER TABLE a DROP COLUMN b;")}
    assert "ban-drop-column" in rules


def test_a_linter_that_never_reads_the_sql(
    app: Callable[..., Any],
    workshop: Workshop,
    postgresql_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app("pass")
    error = {"line": 0, "rule_name": "syntax-error", "message": "no"}
    program = fake(tmp_path / "bin", f"print({json.dumps([error])!r})")
    monkeypatch.setattr("websauna_migrate.lint.squawk.find_program", lambda names: str(program))
    with pytest.raises(LintNotPossible, match="it cannot read the SQL"):
        workshop.service(postgresql_url).lint()


# The parts


def test_new_tables() -> None:
    tables = NewTables()
    told = [
        ("CREATE TABLE a (id int);", False),
        ('create table "S"."B c" (id int)', False),
        ("CREATE TABLE IF NOT EXISTS old (id int)", False),
        ("ALTER TABLE old ADD x int", False),
        ("ALTER TABLE ONLY A ADD x int;", True),
        ('ALTER TABLE "S"."B c" ADD x int', True),
        ('ALTER TABLE s."B c" ADD x int', False),
        ("ALTER TABLE b.a ADD x int", False),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON a (x)", True),
        ("CREATE INDEX ON a (x)", True),
        ('CREATE INDEX "i on a" ON old (x)', False),
        ("CREATE INDEX IF NOT EXISTS j ON ONLY a USING gin (x) WHERE y", True),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", True),
        ("DROP INDEX i", False),
        ("DROP INDEX j, old_index", False),
        ("ALTER TABLE a ADD x int; ALTER TABLE old ADD x int;", False),
        ("TRUNCATE TABLE a", True),
        ("TRUNCATE a CASCADE", False),
        ("ALTER TABLE a RENAME TO b", True),
        ("ALTER TABLE a ADD x int", False),
        ("DROP TABLE b, old", False),
        ("DROP TABLE b CASCADE;", True),
        ("DROP TABLE b", False),
        ("", False),
        ("DO $$ BEGIN CREATE TABLE x (); DROP TABLE x; END $$", False),
    ]
    for sql, expected in told:
        assert tables.follow(sql) is expected, sql


def test_statements_of_a_text() -> None:
    assert list(split_sql("SELECT ';'; DO $$ a; b; $$; -- c;\n/* ; */")) == [
        "SELECT ';';",
        "DO $$ a; b; $$;",
        "-- c;\n/* ; */\n;",
    ]
    assert list(split_sql(" \n")) == []
    assert list(split_sql("a -- x;")) == ["a -- x\n;"]


@pytest.mark.parametrize("source", ["", "# squawk-ignore x\n(", "'''# squawk-ignore x'''", "\0#"])
def test_sources_without_comments(source: str) -> None:
    comments = ScriptComments(source)
    assert not comments.accepts("x", [1, 2, 3])
    assert comments.unused() == []


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    assert ScriptComments.of(str(tmp_path / "none.py")).found == []
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe4 squawk-ignore-file\n")
    assert len(ScriptComments.of(str(tmp_path / "latin.py")).found) == 1
    (tmp_path / "bad.py").write_bytes(b"# \xe4 squawk-ignore-file\n")
    assert ScriptComments.of(str(tmp_path / "bad.py")).found == []


# The commands


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


class Site:
    """An application whose commands are run in this process."""

    def __init__(self, workshop: Workshop, ini: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workshop = workshop
        self.ini = ini
        self._capsys = capsys

    def configure(self, url: str) -> None:
        self.ini.write_text(INI.format(url=url.replace("%", "%%"), settings=""))

    def __call__(self, *words: str) -> Done:
        self._capsys.readouterr()
        status = main(["-c", str(self.ini), *words]) or 0
        captured = self._capsys.readouterr()
        return Done(status, captured.out, captured.err)


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    workshop.package("fooapp")
    (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
    workshop.script("fooapp", "f100", **table("f1"), message="First")
    workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    return Site(workshop, tmp_path / "site.ini", capsys)


@pytest.fixture
def lint_site(site: Site, postgresql_url: str) -> Site:
    """An application at its second revision, with an unsafe third and a harmless fourth."""
    site.configure(postgresql_url)
    assert site("upgrade").returncode == 0
    site.workshop.script(
        "fooapp",
        "f300",
        "f200",
        'op.add_column("f1", sa.Column("x", sa.Integer, nullable=False))\n'
        'for t in ("f1", "f2"):\n    op.create_index(f"ix_{t}", t, ["id"])',
        message="Third",
    )
    site.workshop.script("fooapp", "f400", "f300", message="Fourth")
    return site


def path_of(site: Site, revision: str) -> Path:
    return site.workshop.root / "fooapp" / "alembic" / "versions" / f"{revision}.py"


def test_the_command(lint_site: Site, postgresql_url: str) -> None:
    path = path_of(lint_site, "f300")
    done = lint_site("lint")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(lint_site("lint", "--json").stdout)
    assert [one["line"] for one in data["findings"]] == [14, 16, 16]
    adding, index, _ = data["findings"]
    assert done.stdout == (
        "fooapp f300  Third\n"
        f"  {path}:14\n"
        "    ALTER TABLE f1 ADD COLUMN x INTEGER NOT NULL\n"
        f"    adding-required-field: {adding['text']}\n"
        f"      {adding['help']}\n"
        f"  {path}:16\n"
        "    CREATE INDEX ix_f1 ON f1 (id)\n"
        f"    require-concurrent-index-creation: {index['text']}\n"
        f"      {index['help']}\n"
        f"  {path}:16\n"
        "    CREATE INDEX ix_f2 ON f2 (id)\n"
        f"    require-concurrent-index-creation: {index['text']}\n"
        f"      {index['help']}\n"
        "\n3 unsafe changes in 2 pending steps.\n"
    )
    failed = lint_site("lint", "--fail-on-lint")
    assert (failed.returncode, failed.stdout) == (1, done.stdout)
    assert failed.stderr == (
        "The plan has 3 unsafe changes; nothing was run.\n"
        "Change the script, or accept the change by a comment on its line: "
        "# squawk-ignore adding-required-field\n"
    )
    assert lint_site("lint", "+1").stdout.endswith("\n3 unsafe changes in 1 pending step.\n")
    assert lint_site("lint", "f200").stdout == "Nothing to check: no step is pending.\n"
    assert lint_site("-x", "packages=nobody", "lint").returncode == 2

    refused = lint_site("upgrade", "--fail-on-lint")
    assert refused.returncode == 1
    assert f'"fooapp" revision "f300" ({path}:14): adding-required-field\n' in refused.stderr
    assert "applied" not in refused.stderr + refused.stdout
    assert rows(postgresql_url, "SELECT version_num FROM alembic_history_fooapp") == [("f200",)]

    text = path.read_text()
    path.write_text("# squawk-ignore-file: nobody is here yet\n" + text)
    warned = lint_site("lint", "--fail-on-lint")
    assert warned.returncode == 1
    assert f'WARNING: {path}:1: squawk knows no rule "nobody".\n' in warned.stderr
    path.write_text("# squawk-ignore-file\n" + text)
    done = lint_site("lint", "--fail-on-lint")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No unsafe changes in 2 pending steps, 3 accepted.\n"
    assert lint_site("upgrade", "--fail-on-lint").returncode == 0


def test_the_plan(lint_site: Site, postgresql_url: str, tmp_path: Path) -> None:
    path = path_of(lint_site, "f300")
    done = lint_site("plan")
    assert (done.returncode, done.stderr) == (0, "")
    table, findings = done.stdout.split("\n\n", 1)
    assert len(table.splitlines()) == 3
    assert findings == lint_site("lint").stdout
    assert lint_site("plan", "--no-lint").stdout == table + "\n"
    failed = lint_site("plan", "--fail-on-lint")
    assert (failed.returncode, failed.stdout) == (1, done.stdout)
    assert failed.stderr.startswith("The plan has 3 unsafe changes; nothing was run.\n")
    data = json.loads(lint_site("plan", "--json").stdout)
    assert [one["line"] for one in data["lint"]["findings"]] == [14, 16, 16]
    assert "lint" not in json.loads(lint_site("plan", "--json", "--no-lint").stdout)
    assert "unsafe" not in lint_site("plan", "--downgrade", "base").stdout
    for flag in ("--no-lint", "--downgrade"):
        wrong = lint_site("plan", "--fail-on-lint", flag)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert wrong.stderr == f"--fail-on-lint has no meaning with {flag}.\n"

    # A plan is a plan, whatever its scripts look like.
    path.write_text(path.read_text() + "import no_such_module\n")
    broken = lint_site("plan")
    assert (broken.returncode, broken.stdout) == (0, table + "\n")
    assert broken.stderr.startswith(f'WARNING: Revision script "{path}" of package "fooapp"')
    assert lint_site("lint").returncode == 1


def test_a_plan_of_harmless_steps_says_nothing(site: Site, postgresql_url: str) -> None:
    site.configure(postgresql_url)
    done = site("plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3
    assert site("lint").stdout == "No unsafe changes in 2 pending steps.\n"
    unread = "op.get_bind().execute(sa.text('SELECT 1')).one()"
    path = site.workshop.script("fooapp", "f300", "f200", unread)
    reason = "AttributeError: 'NoneType' object has no attribute 'one'"
    assert site("plan").stdout.endswith(
        f"\n\nfooapp f300  not checked: {path}:14: what follows is only known when it runs "
        f"({reason})\n\nNo unsafe changes in 3 pending steps, 1 step not checked to the end.\n"
    )
    assert site("plan", "--fail-on-lint").returncode == 0


def test_without_the_linter(lint_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The linter is looked for on ``PATH`` and beside Python; here it is in neither place."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    plan = lint_site("plan")
    assert (plan.returncode, plan.stderr, len(plan.stdout.splitlines())) == (0, "", 3)
    for words in (
        ("lint",),
        ("plan", "--fail-on-lint"),
        ("upgrade", "--fail-on-lint"),
        ("lint", "f200"),
    ):
        done = lint_site(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            'Unsafe changes are found by "squawk", which is not installed. Install it: '
            "pip install websauna_migrate[lint]\n"
        )


def test_with_a_broken_linter(
    lint_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    fake(tmp_path / "bin", "sys.exit(4)")
    plan = lint_site("plan")
    assert plan.returncode == 0
    assert len(plan.stdout.splitlines()) == 3
    assert re.match(r'WARNING: The linter ".*/bin/squawk" failed: exit status 4\.', plan.stderr)


def test_the_command_on_another_database(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    for words in (("lint",), ("plan", "--fail-on-lint"), ("upgrade", "--fail-on-lint")):
        done = site(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "Unsafe changes are found on PostgreSQL alone: the linter, squawk, does not know "
            '"sqlite".\n'
        )
    assert site("plan").stderr == ""
    done = site("upgrade", "--sql", "--fail-on-lint")
    assert (done.returncode, done.stdout) == (2, "")
