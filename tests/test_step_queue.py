"""Statements that wait on PostgreSQL: all that can be seen is as if they had not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import execute, ledger, rows, table, tables
from test_steps import DDL_TRIGGER, at_top, chain, taken_for_a_while
from websauna_migrate.errors import StepFailed


@pytest.fixture(params=["psycopg2", "psycopg"])
def url(request: pytest.FixtureRequest, postgresql_url: str) -> str:
    """The URL of an empty database, by each of PostgreSQL's drivers in turn."""
    pytest.importorskip(request.param)
    return postgresql_url.replace("+psycopg2:", f"+{request.param}:")


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent for steps in one message each."""
    from websauna_migrate.runs.step_queue import StepQueue

    found: list[str] = []

    def executed(self: Any, cursor: Any, sql: str, original: Any = StepQueue._execute) -> int:
        found.append(sql)
        return int(original(self, cursor, sql))

    monkeypatch.setattr(StepQueue, "_execute", executed)
    return found


SEEN = (
    'op.execute("INSERT INTO seen SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()")'
)
WORDS = 'op.create_table("seen", sa.Column("word", sa.String))'


def test_one_message_for_a_step(workshop: Workshop, url: str, messages: list[str]) -> None:
    chain(workshop, WORDS, f'{SEEN}\nop.add_column("t0", sa.Column("a", sa.Integer))')
    workshop.service(url).upgrade()
    # The server shows its beginning, the script's text in the ledger's row not whole.
    ((begun,),) = rows(url, "SELECT word FROM seen")
    message = messages[-1]
    assert len(begun) > 300 and begun[:-1] in message
    parts = message.split("\n;\n")
    assert parts[0] == "SET LOCAL lock_timeout = '100ms'"
    assert parts[1] == "SAVEPOINT websauna_migrate_message"
    assert parts[3] == "ALTER TABLE t0 ADD COLUMN a INTEGER"
    assert parts[4].startswith("WITH told AS (INSERT INTO websauna_migrate_ledger ")
    assert "UPDATE alembic_history_fooapp SET version_num=" in parts[4]
    assert len(parts) == 5
    assert {entry[3] for entry in ledger(url)} == {"done"}
    query = "SELECT count(*) FROM websauna_migrate_ledger WHERE ended >= started AND note = ''"
    assert rows(url, query) == [(3,)]


def test_what_reads_messages_is_asked_once_a_run(
    workshop: Workshop, url: str, messages: list[str]
) -> None:
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        asked.extend([statement] if "pg_event_trigger" in statement else [])

    chain(workshop, *(table(f"t{number}")["upgrade"] for number in range(1, 5)))
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        workshop.service(url).upgrade()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(asked) == 1
    assert sum("CREATE TABLE t" in message for message in messages) == 4


@pytest.mark.parametrize(
    "body",
    [
        # Whose answers are read.
        'assert op.get_bind().execute(sa.text("SELECT count(*) FROM t0")).scalar() == 2',
        'assert op.get_bind().exec_driver_sql("SELECT count(*) FROM t0").scalar() == 2',
        'assert op.get_bind().execute(sa.text("UPDATE t0 SET id = id")).rowcount == 2',
        'assert op.get_bind().exec_driver_sql("UPDATE t0 SET id = id").rowcount == 2',
        'assert op.get_bind().execute(sa.text("DELETE FROM t0 RETURNING id")).all()',
        'assert len(sa.inspect(op.get_bind()).get_columns("t0")) == 2',
        'assert op.get_bind().execute(sa.DDL("UPDATE t0 SET id = id")).rowcount == 2',
        'assert op.get_bind().execute(sa.DDL("SELECT count(*) FROM t0")).scalar() == 2',
        'rows = op.get_bind().execute(sa.text("SELECT id FROM t0"), '
        'execution_options={"stream_results": True})\nassert len(list(rows)) == 2',
        # Past SQLAlchemy.
        "cursor = op.get_bind().connection.cursor()\n"
        'cursor.execute("SELECT count(*) FROM t0")\nassert cursor.fetchone() == (2,)',
        "driver = op.get_bind().connection.dbapi_connection\ncursor = driver.cursor()\n"
        'op.execute("INSERT INTO t0 (id) VALUES (3)")\n'
        'cursor.execute("SELECT count(*) FROM t0")\nassert cursor.fetchone() == (3,)',
        "from websauna_migrate import data\nwith data.session() as session:\n"
        '    assert session.scalar(sa.text("SELECT count(*) FROM t0")) == 2',
        # What is more than content.
        'op.execute("SET LOCAL search_path TO public")\nop.execute("DELETE FROM t0")',
        "op.execute(\"DO $$BEGIN IF (SELECT count(*) FROM t0) <> 2 THEN RAISE 'no'; "
        'END IF; END$$")',
        'op.execute("LOCK TABLE t0")',
        "with op.get_bind().begin_nested() as inner:\n"
        '    op.execute("INSERT INTO t0 (id) VALUES (3)")\n    inner.rollback()\n'
        'assert op.get_bind().scalar(sa.text("SELECT count(*) FROM t0")) == 2',
        "try:\n    with op.get_bind().begin_nested():\n"
        '        op.execute("INSERT INTO t0 (id) VALUES (1)")\n'
        '        raise AssertionError("not refused")\n'
        "except sa.exc.IntegrityError as exc:\n    assert 'VALUES (1)' in exc.statement",
        "with op.get_context().autocommit_block():\n"
        '    op.execute("CREATE INDEX CONCURRENTLY i ON t0 (id)")\n'
        'op.execute("INSERT INTO t0 (id) VALUES (3)")',
        # Parameters, several sets of them, and what looks like them.
        'op.bulk_insert(sa.table("t0", sa.column("id")), [{"id": 3}, {"id": 4}])\n'
        'assert op.get_bind().scalar(sa.text("SELECT count(*) FROM t0")) == 4',
        'op.execute(sa.text("DELETE FROM t0 WHERE id = :id").bindparams(id=2))',
        "op.execute(\"UPDATE t0 SET a = '100%, %s, %(a)s'\")\n"
        "assert op.get_bind().scalar(sa.text('SELECT min(a) FROM t0')) == '100%, %s, %(a)s'",
        "op.execute(\"UPDATE t0 SET a = 'ä ☃'\")\n"
        "assert op.get_bind().scalar(sa.text('SELECT min(a) FROM t0')) == 'ä ☃'",
        'op.execute("INSERT INTO t0 (id) VALUES (3)", execution_options={"no_parameters": True})\n'
        'assert op.get_bind().scalar(sa.text("SELECT count(*) FROM t0")) == 3',
        'op.execute("DELETE FROM t0 -- and so on")\nop.execute("INSERT INTO t0 (id) VALUES (5)")',
    ],
)
def test_what_sends_the_statements_before_it(workshop: Workshop, url: str, body: str) -> None:
    before = (
        'op.add_column("t0", sa.Column("a", sa.String))\n'
        'op.execute("INSERT INTO t0 (id) VALUES (1)")\nop.execute("INSERT INTO t0 (id) VALUES (2)")'
    )
    chain(workshop, f"{before}\n{body}", table("t1")["upgrade"])
    assert len(workshop.service(url).upgrade().steps) == 3
    assert "t1" in tables(url)
    assert {entry[3] for entry in ledger(url)} == {"done"}


def test_a_copy_by_the_driver_s_own_connection(workshop: Workshop, url: str) -> None:
    if "+psycopg2:" in url:
        copy = 'cursor.copy_expert("COPY t1 FROM STDIN", io.StringIO("7\\n"))'
    else:
        copy = 'with cursor.copy("COPY t1 FROM STDIN") as copy:\n    copy.write("7\\n")'
    own = "cursor = op.get_bind().connection.cursor()"
    chain(workshop, f'{own}\nop.execute("CREATE TABLE t1 (id INTEGER)")\n{copy}')
    at_top(workshop, "r2", "import io")
    workshop.service(url).upgrade()
    assert rows(url, "SELECT id FROM t1") == [(7,)]


@pytest.mark.parametrize(
    ("line", "statement", "kind"),
    [
        (14, "INSERT INTO t0 (id) VALUES (99)", sa.exc.IntegrityError),
        (15, "ALTER TABLE nowhere ADD COLUMN a INTEGER", sa.exc.ProgrammingError),
        (16, "INSERT INTO t0 (id) VALUES (1, 2)", sa.exc.ProgrammingError),
        (17, "CREATE INDEX i ON t0 (nothing)", sa.exc.ProgrammingError),
    ],
)
@pytest.mark.parametrize("sent_by", ["end", "query", "slow"])
def test_an_error_is_of_its_statement(
    workshop: Workshop, url: str, line: int, statement: str, kind: type[Exception], sent_by: str
) -> None:
    bodies = [f'op.execute("INSERT INTO t0 (id) VALUES ({number})")' for number in range(4)]
    bodies[line - 14] = f'op.execute("{statement}")'
    if sent_by == "query":
        bodies += ["op.get_bind().scalar(sa.text('SELECT 1'))"]
    elif sent_by == "slow":
        # Alone in its message behind what took long.
        bodies = [bodies[line - 14], "op.get_bind().scalar(sa.text('SELECT 1'))"]
        line = 14
    chain(workshop, 'op.execute("INSERT INTO t0 (id) VALUES (99)")', "\n".join(bodies))
    with pytest.raises(StepFailed) as caught:
        workshop.service(url).upgrade()
    assert f"r3.py, line {line})" in str(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, kind) and isinstance(cause, sa.exc.DBAPIError)
    assert cause.statement == statement
    assert rows(url, "SELECT id FROM t0") == [(99,)]
    assert [entry[3] for entry in ledger(url)] == ["done", "done", "failed"]


def test_a_long_message_that_fails_is_not_sent_again(
    workshop: Workshop, url: str, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    monkeypatch.setattr("websauna_migrate.runs.step_queue.AGAIN_SECONDS", 0.2)
    chain(
        workshop,
        'op.execute("INSERT INTO t0 (id) SELECT 1 FROM pg_sleep(0.3)")\n'
        'op.execute("INSERT INTO t0 (id) VALUES (1)")',
    )
    with pytest.raises(StepFailed, match="duplicate key"):
        workshop.service(url).upgrade()
    assert len(messages) == 1
    assert rows(url, "SELECT * FROM t0") == []


def test_a_deferred_constraint_fails_at_the_commit(workshop: Workshop, url: str) -> None:
    chain(
        workshop,
        'op.execute("ALTER TABLE t0 ADD COLUMN o INTEGER REFERENCES t0 (id) '
        'DEFERRABLE INITIALLY DEFERRED")',
        'op.execute("INSERT INTO t0 (id, o) VALUES (1, 2)")',
    )
    with pytest.raises(StepFailed, match="violates foreign key"):
        workshop.service(url).upgrade()
    assert rows(url, "SELECT * FROM t0") == []
    assert [entry[3] for entry in ledger(url)] == ["done", "done", "failed"]


def test_a_history_that_does_not_fit(workshop: Workshop, url: str) -> None:
    chain(workshop, "op.execute(\"UPDATE alembic_history_fooapp SET version_num = 'x'\")")
    with pytest.raises(StepFailed, match="expected to match one row"):
        workshop.service(url).upgrade()
    assert rows(url, "SELECT * FROM alembic_history_fooapp") == [("r1",)]


def test_a_marker_that_is_taken_away(workshop: Workshop, url: str) -> None:
    chain(
        workshop,
        "op.get_bind().scalar(sa.text('SELECT 1'))\n"
        "op.execute(\"DELETE FROM websauna_migrate_ledger WHERE revision = 'r2'\")",
    )
    with pytest.raises(StepFailed, match="rolls its transaction back by itself"):
        workshop.service(url).upgrade()


AUDIT = (
    "CREATE TABLE audit (words TEXT)",
    "CREATE TABLE watched (id INTEGER)",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN INSERT INTO audit VALUES (current_query()); RETURN NEW; END$$",
    "CREATE TRIGGER note AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note()",
)
DEFAULT = (
    "CREATE TABLE audit (words TEXT DEFAULT current_query(), id INTEGER)",
    "CREATE VIEW watched AS SELECT id FROM audit",
)
TWICE = "\n".join(f'op.execute("INSERT INTO watched (id) VALUES ({n})")' for n in (1, 2))


@pytest.mark.parametrize("reader", [AUDIT, DEFAULT, DDL_TRIGGER])
@pytest.mark.parametrize("made_by", ["before", "a step", "the step"])
def test_what_reads_a_statement_reads_that_alone(
    workshop: Workshop, url: str, reader: tuple[str, ...], made_by: str
) -> None:
    work = TWICE if reader is not DDL_TRIGGER else 'op.create_index("i1", "t0", ["id"])'
    making = "\n".join(f'op.execute("{statement}")' for statement in reader)
    if made_by == "before":
        execute(url, *reader)
        chain(workshop, work)
    elif made_by == "a step":
        chain(workshop, making, work)
    else:
        chain(workshop, f"{making}\n{work}")
    workshop.service(url).upgrade()
    found = [
        words for (words,) in rows(url, "SELECT words FROM audit WHERE words NOT LIKE '%_ledger%'")
    ]
    expected = (
        {"CREATE INDEX i1 ON t0 (id)"}
        if reader is DDL_TRIGGER
        else {f"INSERT INTO watched (id) VALUES ({number})" for number in (1, 2)}
    )
    assert expected <= {words.strip() for words in found}
    assert not [words for words in found if ";\n" in words]


def test_what_a_script_makes_by_the_driver_may_read_too(workshop: Workshop, url: str) -> None:
    making = "\n".join(f"cursor.execute({statement!r})" for statement in DDL_TRIGGER)
    chain(
        workshop,
        f"cursor = op.get_bind().connection.cursor()\n{making}\ncursor.close()\n"
        'op.create_index("i1", "t0", ["id"])\nop.create_index("i2", "t0", ["id"])',
        'op.create_index("i3", "t0", ["id"])',
    )
    workshop.service(url).upgrade()
    found = rows(url, "SELECT words FROM audit WHERE words LIKE '%INDEX%'")
    assert found == [(f"CREATE INDEX i{number} ON t0 (id)",) for number in (1, 2, 3)]


@pytest.fixture
def engine_events() -> Iterator[list[tuple[str, str]]]:
    """What a listener to all engines is told, which keeps state on the connection."""
    found: list[tuple[str, str]] = []

    def before(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        conn.info.setdefault("nested", []).append(statement)
        found.append(("before", statement))

    def after(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        assert conn.info["nested"].pop() == statement
        found.append(("after", statement))

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    sa.event.listen(sa.Engine, "after_cursor_execute", after)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", before)
    sa.event.remove(sa.Engine, "after_cursor_execute", after)


def test_listeners_see_each_statement(
    workshop: Workshop, url: str, engine_events: list[tuple[str, str]]
) -> None:
    bodies = [f'op.execute("INSERT INTO t0 (id) VALUES ({number})")' for number in range(3)]
    chain(workshop, "\n".join(bodies))
    workshop.service(url).upgrade()
    seen = [pair for pair in engine_events if "INTO t0" in pair[1]]
    assert seen == [
        (when, f"INSERT INTO t0 (id) VALUES ({number})")
        for number in range(3)
        for when in ("before", "after")
    ]


def test_a_listener_that_executes_something_in_between(workshop: Workshop, url: str) -> None:
    counts: list[int] = []

    def after(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "INTO t0" in statement:
            counts.append(conn.scalar(sa.text("SELECT count(*) FROM t0")))

    bodies = [f'op.execute("INSERT INTO t0 (id) VALUES ({number})")' for number in range(3)]
    chain(workshop, "\n".join(bodies))
    sa.event.listen(sa.Engine, "after_cursor_execute", after)
    try:
        workshop.service(url).upgrade()
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", after)
    assert counts == [1, 2, 3]


def test_notices_are_logged(workshop: Workshop, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sqlalchemy.dialects.postgresql")
    chain(
        workshop,
        'op.execute("DROP TABLE IF EXISTS nowhere")\nop.get_bind().scalar(sa.text("SELECT 1"))',
    )
    workshop.service(url).upgrade()
    assert '"nowhere" does not exist, skipping' in caplog.text


def test_a_statement_timeout_is_of_each_statement(workshop: Workshop, url: str) -> None:
    sleep = 'op.execute("INSERT INTO t0 (id) SELECT {} FROM pg_sleep({})")'
    chain(workshop, "\n".join(sleep.format(number, 0.4) for number in range(3)), sleep.format(9, 5))
    with pytest.raises(StepFailed, match="statement timeout"):
        workshop.service(url, statement_timeout_ms=1000).upgrade()
    assert len(rows(url, "SELECT * FROM t0")) == 3


def test_a_lock_that_is_not_free_is_told_by_its_line(workshop: Workshop, url: str) -> None:
    chain(
        workshop,
        'op.create_table("t1", sa.Column("id", sa.Integer))\n'
        'op.add_column("t0", sa.Column("a", sa.Integer))',
    )
    with (
        pytest.raises(StepFailed, match=r"r2\.py, line 15\): a lock was not free"),
        taken_for_a_while(url, at=2) as stop,
    ):
        workshop.service(url, lock_budget=0.3).upgrade(stop=stop)
    assert "t1" not in tables(url)


def test_each_attempt_and_each_way_makes_the_same(
    workshop: Workshop, url: str, tmp_path: Any
) -> None:
    chain(workshop, *(table(f"t{number}")["upgrade"] for number in range(1, 4)))
    service = workshop.service(url)
    assert len(service.upgrade(dry_run=True).steps) == 4
    assert "t0" not in tables(url)
    assert len(service.upgrade("r2", packages="fooapp").steps) == 2
    assert len(service.upgrade(atomic=True).steps) == 2
    assert {"t0", "t1", "t2", "t3"} < tables(url)


def test_a_connection_class_of_the_application(workshop: Workshop, postgresql_url: str) -> None:
    """There is no queue then, and all is done one by one."""
    from psycopg2.extras import LoggingConnection

    class Logging(LoggingConnection):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.initialize(logging.getLogger("of the application"))

    def connect(dialect: Any, record: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        keywords["connection_factory"] = Logging

    chain(workshop, table("t1")["upgrade"])
    sa.event.listen(sa.Engine, "do_connect", connect)
    try:
        assert len(workshop.service(postgresql_url).upgrade().steps) == 2
    finally:
        sa.event.remove(sa.Engine, "do_connect", connect)
    assert "t1" in tables(postgresql_url)
