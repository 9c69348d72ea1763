"""Steps that are sent in one piece each: the same in all that anybody can see."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import sqlite3
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps import Workshop
from runs import blocking, execute, forked, ledger, rows, steps, table, tables, wait_for
from websauna_migrate import service
from websauna_migrate.config.settings import SettingError, parse_settings
from websauna_migrate.database.stopping import Stop
from websauna_migrate.database.timeouts import BadTimeout
from websauna_migrate.errors import MigrationError
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationService,
    IMigrationStepApplied,
)
from websauna_migrate.reading.plain_scripts import is_plain_script
from websauna_migrate.runs.batches import (
    Batch,
    Message,
    PostgreSQLBatches,
    SQLiteBatches,
    literal,
)
from websauna_migrate.runs.failures import RunStopped, StepFailed
from websauna_migrate.runs.ledger import Ledger
from websauna_migrate.runs.pipeline import AHEAD
from websauna_migrate.runs.run_events import StepApplied
from websauna_migrate.runs.sender import LOOK_SECONDS, Sender
from websauna_migrate.scripts.progress import Progress


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """The batches that were sent."""
    found: list[Batch] = []
    for kind in (PostgreSQLBatches, SQLiteBatches):
        tell_sent(monkeypatch, kind, found.append)
    return found


def tell_sent(
    patch: pytest.MonkeyPatch,
    kind: Any,
    before: Callable[[Batch], object] = lambda batch: None,
    after: Callable[[Batch], object] = lambda batch: None,
) -> None:
    """Call functions with each batch of a kind before and after it is sent."""
    made: dict[bytes, Batch] = {}

    def message(self: Any, batch: Batch, original: Any = kind.message) -> Any:
        found = original(self, batch)
        made[found.head] = batch
        return found

    def send(self: Any, text: bytes, original: Any = kind.send) -> None:
        # Others are made meanwhile.
        (batch,) = (made[head] for head in list(made) if text.startswith(head + b"'2"))
        before(batch)
        original(self, text)
        after(batch)

    patch.setattr(kind, "message", message)
    patch.setattr(kind, "send", send)


def ids(batches: list[Batch]) -> list[str]:
    return [batch.step.revision.id for batch in batches]


def chain(workshop: Workshop, *upgrades: str, package: str = "fooapp") -> None:
    """Make a package of revisions ``r1``, ``r2`` ... of which the first makes table ``t0``."""
    workshop.package(package, None)
    workshop.script(package, "r1", None, **table("t0"))
    for number, upgrade in enumerate(upgrades, 2):
        workshop.script(package, f"r{number}", f"r{number - 1}", upgrade)


def contents(url: str) -> dict[str, Any]:
    """Return all tables with their columns, indexes and rows; times and ids left out."""
    engine = sa.create_engine(url)
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for name in inspector.get_table_names():
            if name == "websauna_migrate_ledger":
                continue
            found[name] = (
                [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
                sorted(str(index["name"]) for index in inspector.get_indexes(name)),
                sorted(map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{name}"')), key=str),
            )
    engine.dispose()
    return found


# Which scripts


def function(body: str, **names: Any) -> Any:
    from alembic import op

    code = f"def upgrade():\n    {body}\n"
    known: dict[str, Any] = {"op": op, "sa": sa, **names}
    exec(compile(code, "script.py", "exec"), known)
    return known["upgrade"]


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        'op.drop_table("a")',
        'op.create_table("a", sa.Column("id", sa.Integer(), primary_key=True), schema="x")',
        'op.add_column("a", sa.Column("at", sa.DateTime(), server_default=sa.func.now()))',
        'op.alter_column("a", "b", existing_type=sa.String(3), nullable=False)',
        'op.create_index(op.f("ix"), "a", [sa.text("lower(b)")], unique=True)',
        'op.create_foreign_key(None, "a", "b", ["c"], ["id"], ondelete="CASCADE")',
        'op.execute("UPDATE a SET b = 1")',
        'op.execute(sa.text("UPDATE a SET b = 1")); op.drop_column("a", "c")',
        'op.add_column("a", Column("b", Integer))',
        'op.add_column("a", sa.Column("b", KIND, server_default=DEFAULT))',
        'op.add_column("a", sa.Column("b", postgresql.JSONB(none_as_null=True)))',
    ],
)
def test_what_is_plain(body: str) -> None:
    from sqlalchemy.dialects import postgresql

    made = function(
        body,
        Column=sa.Column,
        Integer=sa.Integer,
        KIND=sa.String(7),
        DEFAULT="x",
        postgresql=postgresql,
    )
    assert is_plain_script(made)


class OurType(sa.types.TypeDecorator[str]):
    impl = sa.String


@pytest.mark.parametrize(
    "body",
    [
        "op.get_bind()",
        "op.get_context()",
        'op.batch_alter_table("a")',
        'op.bulk_insert(sa.table("a"), [])',
        'print("now")',
        'open("file")',
        "import os",
        "from os import path",
        "[op.drop_table(name) for name in 'ab']",
        "(lambda: op.drop_table('a'))()",
        "def inner(): pass",
        "class Inner: pass",
        'sa.create_engine("sqlite://")',
        "sa.event.listen(1, 2, 3)",
        "sa.inspect(1)",
        "helper()",
        'op.add_column("a", sa.Column("b", OurType))',
        'op.add_column("a", sa.Column("b", our_type))',
        "state.append(1)",
        "op.create_entity(1)",
        "sa.orm.Session()",
        "yield",
        "getattr(op, 'get' + '_bind')()",
        "op.f.__globals__",
        "unknown",
        "for hook in HOOKS: hook()",
        "HOOKS[0]()",
        "global NUMBER; NUMBER += 1",
        "op.drop_table = None",
        "op.get_bind().engine",
        "sa.engine.create_engine(1)",
    ],
)
def test_what_is_not_plain(body: str) -> None:
    made = function(
        body,
        helper=lambda: None,
        OurType=OurType,
        our_type=OurType(),
        state=[],
        other=types,
        HOOKS=(print,),
        NUMBER=1,
        # As globals they are harmless, as attributes not.
        get_bind="a text",
        engine="a text",
        create_engine="a text",
    )
    assert not is_plain_script(made)


def test_what_is_no_function_of_a_script() -> None:
    def given(argument: int = 1) -> None:
        """Have an argument."""

    local = 1

    def closure() -> int:
        return local

    class Callable_:
        def __call__(self) -> None:
            """Do nothing."""

    for made in (None, given, closure, Callable_(), print, lambda *a: None, lambda **k: None):
        assert not is_plain_script(made)


# What goes this way


def test_every_plain_step_but_the_first(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))
    chain(workshop, table("b1")["upgrade"], package="barapp")
    (workshop.root / "barapp" / "alembic" / "versions" / "r1.py").write_text(
        (workshop.root / "barapp" / "alembic" / "versions" / "r1.py")
        .read_text()
        .replace('"t0"', '"b0"')
    )
    run = workshop.service(transactional_database_url).upgrade()
    assert [(b.step.package, b.step.revision.id, b.lasting) for b in sent] == [
        ("barapp", "r2", True),
        ("fooapp", "r1", transactional_database_url.startswith("sqlite")),
        ("fooapp", "r2", transactional_database_url.startswith("sqlite")),
        ("fooapp", "r3", transactional_database_url.startswith("sqlite")),
        ("fooapp", "r4", True),
    ]
    assert len(run.steps) == 6
    assert {entry[3] for entry in ledger(transactional_database_url)} == {"done"}
    assert rows(
        transactional_database_url,
        "SELECT count(*) FROM websauna_migrate_ledger WHERE ended >= started AND length(id) = 32 "
        "AND length(checksum) = 64 AND note = ''",
    ) == [(6,)]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r4",)]


def test_downgrades_go_the_same_way(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    workshop.package("fooapp", None)
    down = None
    for name in ("r1", "r2", "r3", "r4"):
        workshop.script("fooapp", name, down, **table(name))
        down = name
    service = workshop.service(transactional_database_url)
    service.upgrade()
    sent.clear()
    service.downgrade("base")
    # The last one leaves no row, which is not to replace one.
    assert ids(sent) == ["r3", "r2"]
    assert tables(transactional_database_url) == {
        "alembic_history_fooapp",
        "websauna_migrate_ledger",
    }


@pytest.mark.parametrize("how", ["setting", "atomic", "dry run"])
def test_where_each_step_is_run_by_itself(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch], how: str
) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    service = workshop.service(
        transactional_database_url, pipeline="off" if how == "setting" else "on"
    )
    run = service.upgrade(atomic=how == "atomic", dry_run=how == "dry run")
    assert len(run.steps) == 3
    assert sent == []


def test_mariadb_commits_by_itself(workshop: Workshop, mariadb_url: str, sent: list[Batch]) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    assert len(workshop.service(mariadb_url).upgrade().steps) == 3
    assert sent == []


def test_an_isolation_level_of_its_own(
    workshop: Workshop, postgresql_url: str, sent: list[Batch]
) -> None:
    level = "INSERT INTO levels VALUES (current_setting('transaction_isolation'))"
    chain(
        workshop,
        'op.create_table("levels", sa.Column("level", sa.String(40)))',
        f'op.execute("{level}")',
    )
    config = workshop.configure(postgresql_url)
    config.registry.settings["sqlalchemy.isolation_level"] = "SERIALIZABLE"
    from websauna_migrate.service import MigrationService

    service = config.registry.getUtility(IMigrationService)
    assert isinstance(service, MigrationService)
    object.__setattr__(
        service.settings, "engine_options", {"sqlalchemy.isolation_level": "SERIALIZABLE"}
    )
    assert len(service.upgrade().steps) == 3
    assert ids(sent) == ["r2", "r3"]
    assert rows(postgresql_url, "SELECT level FROM levels") == [("serializable",)]


def test_steps_behind_one_that_is_no_transaction(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    chain(workshop, *(table(f"t{number}")["upgrade"] for number in (1, 2, 3, 4)))
    path = workshop.root / "fooapp" / "alembic" / "versions" / "r3.py"
    path.write_text(path.read_text() + "\ntransactional = False\n")
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 5
    assert ids(sent) == ["r2", "r4", "r5"]
    assert {entry[3] for entry in ledger(transactional_database_url)} == {"done"}


@pytest.mark.parametrize("value", ["", "maybe", "2"])
def test_a_setting_that_is_neither_on_nor_off(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({"websauna_migrate.pipeline": value})
    assert str(caught.value) == 'Setting "websauna_migrate.pipeline": it must be "on" or "off".'


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t0 VALUES (1); END",
        "INSERT INTO t0 VALUES (1);COMMIT",
        "INSERT INTO t0 VALUES (1); abort",
        "COPY t0 FROM STDIN",
        "CREATE INDEX CONCURRENTLY i ON t0 (id)",
        "BEGIN",
        "START TRANSACTION",
        "PREPARE TRANSACTION 'x'",
        "COMMENT ON TABLE t0 IS 'the end'",
    ],
)
def test_a_statement_that_may_end_the_transaction(
    workshop: Workshop, postgresql_url: str, sent: list[Batch], statement: str
) -> None:
    chain(workshop, f'op.execute("{statement}")')
    with contextlib.suppress(MigrationError):
        workshop.service(postgresql_url).upgrade()
    assert sent == []
    engine = sa.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for (name,) in connection.exec_driver_sql("SELECT gid FROM pg_prepared_xacts").all():
            connection.exec_driver_sql(f"ROLLBACK PREPARED '{name}'")
    engine.dispose()


def test_a_script_that_catches_whatever_is_raised(
    workshop: Workshop, transactional_database_url: str
) -> None:
    caught = 'try:\n    op.execute("INSERT INTO t0 VALUES (1) -- start")\nexcept:\n    pass'
    chain(workshop, caught, "pass")
    workshop.service(transactional_database_url).upgrade()
    assert rows(transactional_database_url, "SELECT * FROM t0") == [(1,)]


@pytest.mark.parametrize(
    "bodies",
    [
        ["INSERT INTO t0 VALUES (1) \\0 + 1"],
        ["/* not now", "DROP TABLE t0", "*/"],
        ["SELECT '", "DROP TABLE t0", "'"],
        ["SELECT $$", "DROP TABLE t0", "$$"],
        ["SELECT 1; /*", "DROP TABLE t0", "*/ SELECT 1"],
        ["SELECT 1 /*", "DROP TABLE t0", "SELECT 1 -- */"],
        [
            "SET standard_conforming_strings = off",
            "COMMENT ON TABLE t0 IS 'C:\\\\new'",
        ],
        ["SELECT set_config('standard_conforming_strings', 'off', true)", "SELECT 'C:\\\\new'"],
        ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        ["SELECT '\\ud800'"],
        # To PostgreSQL a comment is over there.
        ["SELECT 1 --\\r, '", "DELETE FROM t0 --'"],
    ],
)
def test_statements_that_mean_something_else_among_others(
    workshop: Workshop, postgresql_url: str, sent: list[Batch], bodies: list[str]
) -> None:
    chain(workshop, "; ".join(f'op.execute("""{body}""")' for body in bodies), "pass")
    with contextlib.suppress(MigrationError, UnicodeError):
        workshop.service(postgresql_url).upgrade()
    assert "r2" not in ids(sent) or ledger(postgresql_url)[1][3] == "failed"


# The same as by itself

BODIES = st.lists(
    st.sampled_from(
        [
            'op.create_table("n{n}", sa.Column("id", sa.Integer), sa.Column("s", sa.String(9)))',
            'op.add_column("t0", sa.Column("c{n}", sa.Integer, server_default="7"))',
            'op.execute("INSERT INTO t0 (id) VALUES ({n})")',
            'op.execute("CREATE INDEX i{n} ON t0 (id) -- 100%; COMMENT")',
            "op.execute(sa.text(\"INSERT INTO words VALUES ('%(a)s \\\\:b 100%\\t;x')\"))",
            'op.get_bind().execute(sa.text("INSERT INTO t0 (id) VALUES (1{n}0)"))',
            'op.bulk_insert(sa.table("words", sa.column("word")), [{{"word": "{n}%"}}])',
            "pass",
            'op.execute("INSERT INTO nowhere VALUES (1)")',
            'op.execute("INSERT INTO t0 (id) VALUES (1)"); op.execute("nonsense")',
            "op.execute(\"UPDATE alembic_history_fooapp SET version_num = 'x'\")",
            "op.execute(\"INSERT INTO alembic_history_fooapp VALUES ('x')\")",
            'raise RuntimeError("in the script")',
            'op.create_table("t0")',
            'op.execute("SELECT 1; SELECT 2")',
            'op.execute("/* unfinished")',
            'op.execute("INSERT INTO t0 (id) VALUES (2) ; SELECT \'unfinished")',
            'op.execute("SAVEPOINT a; SELECT 1; RELEASE SAVEPOINT a")',
        ]
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(bodies=BODIES)
def test_both_ways_give_the_same(
    bodies: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    postgresql_server: Any,
) -> None:
    folder = tmp_path_factory.mktemp("ways")
    monkeypatch.setattr(service, "MANY_STEPS", 1)
    # What scripts give is remembered by the second run, proven by the third and used by it.
    ways = ("off", "on", "on", "on")
    for kind in ("sqlite", "postgresql"):
        found = []
        root = folder / kind
        root.mkdir()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(root))
            workshop = Workshop(root)
            workshop.package("aaapp", None)
            workshop.script("aaapp", "a1", None, **table("aa"))
            words = 'op.create_table("words", sa.Column("word", sa.String(40)))'
            chain(workshop, words, *(b.format(n=n) for n, b in enumerate(bodies)))
            for number, pipeline in enumerate(ways):
                url = f"sqlite:///{folder}/{number}.sqlite"
                if kind == "postgresql":
                    url = postgresql_server.create_database()
                found.append(outcome(workshop, url, pipeline, root))
                workshop.forget()
        assert found == found[:1] * len(ways)


def outcome(workshop: Workshop, url: str, pipeline: str, root: Path) -> Any:
    """Run all and return what can be seen of it."""
    config = workshop.configure(url, pipeline=pipeline)
    told: list[Any] = []
    config.add_subscriber(
        lambda event: told.append((event.step.revision, event.number, event.total)), StepApplied
    )
    config.commit()
    service = config.registry.getUtility(IMigrationService)
    try:
        result = str(steps(service.upgrade()))
    except MigrationError as exc:
        result = str(exc).replace(str(root), "")
    return result, told, contents(url), ledger(url)


def test_an_error_is_told_by_the_script_s_line(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    chain(workshop, 'op.execute("INSERT INTO t0 (id) VALUES (1)")\nop.execute("SELECT nothing")')
    with pytest.raises(StepFailed) as caught:
        workshop.service(transactional_database_url).upgrade()
    assert ids(sent) == ["r2"]
    assert "r2.py, line 15)" in str(caught.value)
    assert "nothing" in str(caught.value)
    assert "Nothing of it was applied." in str(caught.value)
    assert rows(transactional_database_url, "SELECT * FROM t0") == []


def test_a_script_that_is_not_plain_waits_for_the_step_before(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    chain(
        workshop,
        'op.execute("SELECT nothing")',
        f'open({str(tmp_path / "seen")!r}, "w").close()',
    )
    with pytest.raises(StepFailed):
        workshop.service(transactional_database_url).upgrade()
    assert not (tmp_path / "seen").exists()


def test_a_step_that_fails_takes_back_what_it_made_of_types(
    workshop: Workshop, postgresql_url: str
) -> None:
    enum = 'sa.Enum("a", "b", name="state")'
    chain(
        workshop,
        f'op.create_table("e1", sa.Column("s", {enum}))',
        f'op.create_table("e2", sa.Column("s", {enum}))',
        'op.drop_table("e1")',
        f'op.create_table("e3", sa.Column("s", {enum}))',
    )
    assert len(workshop.service(postgresql_url).upgrade().steps) == 5
    assert {"e2", "e3"} <= tables(postgresql_url)


def test_a_lock_that_is_taken_for_a_while(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    """The step is sent once, gives way, and is run by itself until the lock comes free."""
    chain(workshop, *(f'op.add_column("t0", sa.Column("c{n}", sa.Integer))' for n in range(3)))
    is_file = transactional_database_url.startswith("sqlite")
    holder = blocking(
        transactional_database_url, "BEGIN IMMEDIATE" if is_file else "LOCK TABLE t0", seconds=0.8
    )
    asked = itertools.count()

    def stop() -> bool:
        # The second step is on its way then, and the lock taken behind it, before the third.
        if next(asked) == 2:
            wait_for(lambda: len(ledger(transactional_database_url)) == 2)
            holder.__enter__()
        return False

    run = workshop.service(transactional_database_url).upgrade(stop=stop)
    holder.__exit__(None, None, None)
    assert steps(run) == ["fooapp@r1", "fooapp@r2", "fooapp@r3", "fooapp@r4"]
    assert ids(sent) == ["r2", "r3", "r4"]
    assert run.steps[2].seconds > 0.1


def test_a_stop_ends_the_run_behind_what_was_sent(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))
    answers = iter([False, False, False, True])
    with pytest.raises(RunStopped) as caught:
        workshop.service(transactional_database_url).upgrade(stop=lambda: next(answers))
    assert caught.value.done == 3
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
        ("r3", "upgrade", "done"),
        ("r4", "upgrade", "stopped"),
    ]
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 1


LONG = {
    "postgresql": 'op.execute("SELECT pg_sleep(60)")',
    "sqlite": 'op.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
    'WHERE i < 300000000) SELECT count(*) FROM n")',
}


#: What takes half a second or so.
WHILE = {
    "postgresql": LONG["postgresql"].replace("60", "0.5"),
    "sqlite": LONG["sqlite"].replace("300000000", "3000000"),
}


def test_a_request_ends_the_run_behind_the_step_that_is_sent(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    """Steps that were prepared by then are not begun."""
    kind = transactional_database_url.partition(":")[0].partition("+")[0]
    chain(workshop, "pass", WHILE[kind], *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))
    stop = Stop()

    def ask() -> None:
        wait_for(lambda: ids(sent) == ["r2", "r3"])
        stop.request()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(RunStopped) as caught:
        workshop.service(transactional_database_url).upgrade(stop=stop)
    thread.join()
    assert caught.value.done == 3
    assert ids(sent) == ["r2", "r3"]
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
        ("r3", "upgrade", "done"),
        ("r4", "upgrade", "stopped"),
    ]
    again = workshop.service(transactional_database_url).upgrade()
    assert steps(again) == ["fooapp@r4", "fooapp@r5", "fooapp@r6"]


def test_a_request_while_scripts_are_run_ahead(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    """What is on its way by then is done, and counted."""
    chain(workshop, *["pass"] * 40)
    stop = Stop()

    def sending(batch: Batch) -> None:
        if batch.step.revision.id == "r2":
            stop.request()
            time.sleep(0.5)

    with pytest.MonkeyPatch.context() as patch:
        for kind in (PostgreSQLBatches, SQLiteBatches):
            tell_sent(patch, kind, sending)
        with pytest.raises(RunStopped) as caught:
            workshop.service(transactional_database_url).upgrade(stop=stop)
    assert caught.value.done == 2
    assert ids(sent) == ["r2"]
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
        ("r3", "upgrade", "stopped"),
    ]


@pytest.mark.parametrize("watched", [False, True])
def test_how_far_a_run_is_ahead(
    workshop: Workshop, transactional_database_url: str, watched: bool
) -> None:
    """Whoever subscribes is told of a step before the next one begins, and nobody else waits."""
    kind = transactional_database_url.partition(":")[0].partition("+")[0]
    chain(workshop, "pass", WHILE[kind], *(["pass"] * 40))
    config = workshop.configure(transactional_database_url)
    at_event: list[tuple[int, int]] = []
    if watched:

        def applied(event: StepApplied) -> None:
            at_event.append((event.number, len(ledger(transactional_database_url))))

        config.add_subscriber(applied, IMigrationStepApplied)
        config.commit()
    furthest = 0
    original = Sender.put

    def put(self: Any, one: Any) -> None:
        nonlocal furthest
        original(self, one)
        furthest = max(furthest, len(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sender, "put", put)
        run = config.registry.getUtility(IMigrationService).upgrade()
    assert [step.revision for step in run.steps] == [f"r{n}" for n in range(1, 44)]
    assert furthest == (1 if watched else AHEAD)
    assert at_event == ([(n, n) for n in range(1, 44)] if watched else [])
    entries = rows(
        transactional_database_url,
        "SELECT revision FROM websauna_migrate_ledger ORDER BY started, number",
    )
    assert [entry[0] for entry in entries] == [step.revision for step in run.steps]


def test_a_second_request_cancels_what_was_sent(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    kind = transactional_database_url.partition(":")[0].partition("+")[0]
    chain(workshop, LONG[kind], table("t3")["upgrade"])
    stop = Stop()

    def ask() -> None:
        wait_for(lambda: ids(sent) == ["r2"])
        time.sleep(0.3)
        stop.request()
        stop.request()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(RunStopped) as caught:
        workshop.service(transactional_database_url).upgrade(stop=stop)
    thread.join()
    assert caught.value.done == 1
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "stopped"),
    ]


@contextlib.contextmanager
def done_to_the_sleeping(url: str, function: str, sent: list[Batch]) -> Iterator[None]:
    """Call one of PostgreSQL's functions for the session that sleeps in step ``r2``."""

    def call() -> None:
        wait_for(lambda: ids(sent) == ["r2"])
        time.sleep(0.3)
        execute(
            url,
            f"SELECT {function}(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' "
            "AND datname = current_database() AND pid <> pg_backend_pid()",
        )

    thread = threading.Thread(target=call)
    thread.start()
    yield
    thread.join()


def test_a_connection_that_is_cut_while_a_step_is_sent(
    workshop: Workshop, postgresql_url: str, sent: list[Batch]
) -> None:
    chain(workshop, LONG["postgresql"], table("t3")["upgrade"])
    with (
        done_to_the_sleeping(postgresql_url, "pg_terminate_backend", sent),
        pytest.raises(StepFailed) as caught,
    ):
        workshop.service(postgresql_url).upgrade()
    assert "cannot tell whether the step was applied" in str(caught.value)
    assert '"r2"' in str(caught.value)
    workshop.script("fooapp", "r2", "r1", **table("t2"))
    assert steps(workshop.service(postgresql_url).upgrade()) == ["fooapp@r2", "fooapp@r3"]


def test_a_history_that_somebody_else_changes(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    """The step does not fit any more; it is seen before anything of it stays."""
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    asked = itertools.count()

    def stop() -> bool:
        if next(asked) == 2:
            # On PostgreSQL nobody holds a lock on these rows between the steps.
            with contextlib.suppress(sa.exc.OperationalError):
                execute(
                    transactional_database_url,
                    "UPDATE alembic_history_fooapp SET version_num = 'r3' WHERE version_num = 'r2'",
                )
        return False

    service = workshop.service(transactional_database_url)
    if transactional_database_url.startswith("sqlite"):
        assert steps(service.upgrade(stop=stop)) == ["fooapp@r1", "fooapp@r2"]
    else:
        with pytest.raises(StepFailed) as caught:
            service.upgrade(stop=stop)
        assert "expected to match one row" in str(caught.value)
    assert "t2" not in tables(transactional_database_url)


def test_a_time_begins_with_its_step(workshop: Workshop, postgresql_url: str) -> None:
    """Not when it was prepared, while the step before was on its way."""
    chain(workshop, 'op.execute("SELECT pg_sleep(0.5)")', "pass")
    run = workshop.service(postgresql_url).upgrade()
    second, third = run.steps[1:]
    assert second.seconds >= 0.5 > third.seconds
    assert (third.started - second.started).total_seconds() >= 0.5
    assert rows(
        postgresql_url,
        "SELECT revision FROM websauna_migrate_ledger WHERE ended - started > interval '0.4 s'",
    ) == [("r2",)]


def test_whoever_cancels_a_step_is_obeyed(
    workshop: Workshop, postgresql_url: str, sent: list[Batch]
) -> None:
    chain(workshop, LONG["postgresql"])
    with (
        done_to_the_sleeping(postgresql_url, "pg_cancel_backend", sent),
        pytest.raises(StepFailed) as caught,
    ):
        workshop.service(postgresql_url).upgrade()
    assert "canceling statement due to user request" in str(caught.value)
    assert [entry[3] for entry in ledger(postgresql_url)] == ["done", "failed"]


def test_a_long_step_that_fails_is_not_run_again(
    workshop: Workshop, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("websauna_migrate.runs.pipeline.AGAIN_SECONDS", 0.2)
    chain(workshop, 'op.execute("SELECT pg_sleep(0.3)"); op.execute("SELECT nothing")')
    began = time.monotonic()
    with pytest.raises(StepFailed) as caught:
        workshop.service(postgresql_url).upgrade()
    assert time.monotonic() - began < 60
    assert 'r2.py): column "nothing" does not exist' in str(caught.value)
    assert rows(postgresql_url, "SELECT count(*) FROM websauna_migrate_ledger") == [(2,)]


def test_a_stop_that_raises_is_no_step_s_failure(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    asked = itertools.count()

    def stop() -> bool:
        if next(asked) == 2:
            raise ValueError("of the caller")
        return False

    with pytest.raises(ValueError, match="of the caller"):
        workshop.service(transactional_database_url).upgrade(stop=stop)
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
    ]


def test_a_subscriber_that_raises_is_no_step_s_failure(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2)))
    config = workshop.configure(transactional_database_url)

    def applied(event: StepApplied) -> None:
        if event.number == 2:
            raise ValueError("of the subscriber")

    config.add_subscriber(applied, StepApplied)
    config.commit()
    with pytest.raises(ValueError, match="of the subscriber"):
        config.registry.getUtility(IMigrationService).upgrade()
    assert {entry[3] for entry in ledger(transactional_database_url)} == {"done"}


def test_a_limit_that_is_no_number_is_told_at_its_step(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    path = workshop.root / "fooapp" / "alembic" / "versions" / "r3.py"
    path.write_text(path.read_text() + "\nlock_budget = 'soon'\n")
    with pytest.raises(BadTimeout):
        workshop.service(transactional_database_url).upgrade()
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
    ]


def test_an_application_that_executes_something_in_every_transaction(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])

    def begin(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL app.tenant = 'x'")
        elif not connection.connection.in_transaction:  # type: ignore[attr-defined]
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    sa.event.listen(sa.Engine, "begin", begin)
    try:
        if transactional_database_url.startswith("postgresql"):
            assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
            assert sent == []
    finally:
        sa.event.remove(sa.Engine, "begin", begin)


@pytest.fixture
def lazy_url(postgresql_url: str) -> Iterator[str]:
    """A database whose server writes only when it is told to."""
    engine = sa.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = on")
        connection.exec_driver_sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        time.sleep(0.5)
        yield postgresql_url
        connection.exec_driver_sql("ALTER SYSTEM RESET wal_writer_delay")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    engine.dispose()


class Positions:
    """Where the server's log was when each step was applied, and if it was on the disk by then."""

    def __init__(self, url: str, fail_at: int = 0) -> None:
        self.url = url
        self.fail_at = fail_at
        self.applied: list[str] = []
        self.written: list[bool] = []

    def __call__(self, event: StepApplied) -> None:
        query = "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn()::text"
        (position, _) = rows(self.url, query)[0]
        self.applied.append(position)
        self.written.append(self.on_disk())
        if event.number == self.fail_at:
            raise ValueError

    def on_disk(self, step: int = -1) -> bool:
        """Tell whether an applied step is on the disk, and what was written until it was told."""
        query = f"SELECT pg_current_wal_flush_lsn() >= '{self.applied[step]}'::pg_lsn"
        return bool(rows(self.url, query)[0][0])

    def service(self, workshop: Workshop) -> Any:
        config = workshop.configure(self.url)
        config.add_subscriber(self, StepApplied)
        config.commit()
        return config.registry.getUtility(IMigrationService)


def test_all_is_on_the_disk_when_a_run_ends(workshop: Workshop, lazy_url: str) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in range(1, 9)))
    positions = Positions(lazy_url, fail_at=5)
    with pytest.raises(ValueError):
        positions.service(workshop).upgrade()
    # In the middle it is not, or this test would show nothing.
    assert positions.written[1:4] == [False, False, False]
    assert positions.on_disk()
    positions = Positions(lazy_url)
    positions.service(workshop).upgrade()
    # Behind the commit of the last step somebody else may have written a little by now.
    assert len(positions.applied) == 4
    assert positions.on_disk(-2)


def test_all_is_on_the_disk_when_a_connection_was_lost(workshop: Workshop, lazy_url: str) -> None:
    chain(
        workshop,
        table("t1")["upgrade"],
        table("t2")["upgrade"],
        'op.execute("SELECT pg_terminate_backend(pg_backend_pid())")',
        table("t3")["upgrade"],
    )
    positions = Positions(lazy_url)
    with pytest.raises(StepFailed):
        positions.service(workshop).upgrade()
    assert positions.written[1:] == [False, False]
    assert positions.on_disk()


def test_all_is_on_the_disk_before_a_step_that_is_run_by_itself(
    workshop: Workshop, lazy_url: str
) -> None:
    chain(
        workshop,
        table("t1")["upgrade"],
        table("t2")["upgrade"],
        "from fooapp import look\nlook()",
    )
    (workshop.root / "fooapp" / "__init__.py").write_text(
        "look = None\ndef includeme(config):\n    config.add_migration_package()\n"
    )
    positions = Positions(lazy_url)
    service = positions.service(workshop)
    import fooapp  # type: ignore[import-not-found]

    found: list[bool] = []
    fooapp.look = lambda: found.append(positions.on_disk())
    service.upgrade()
    assert positions.written[1:3] == [False, False]
    assert found == [True]


def test_threads_take_turns_as_before(workshop: Workshop, sqlite_url: str) -> None:
    before = sys.getswitchinterval()
    count = threading.active_count()
    chain(workshop, table("t1")["upgrade"], 'op.execute("nonsense")')
    with pytest.raises(StepFailed):
        workshop.service(sqlite_url).upgrade()
    assert sys.getswitchinterval() == before
    assert threading.active_count() == count


def test_an_interrupt_while_an_answer_is_waited_for(
    workshop: Workshop, transactional_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent is finished and counted, and the connection is given back in order."""
    kind = transactional_database_url.partition(":")[0].partition("+")[0]
    chain(workshop, WHILE[kind], *(table(f"t{n}")["upgrade"] for n in (1, 2)))
    with interrupting(monkeypatch, at=2), pytest.raises(KeyboardInterrupt):
        workshop.service(transactional_database_url).upgrade()
    done = [entry[1] for entry in ledger(transactional_database_url) if entry[3] == "done"]
    assert done == ["r1", "r2"]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]
    again = workshop.service(transactional_database_url).upgrade()
    assert steps(again) == ["fooapp@r3", "fooapp@r4"]


@contextlib.contextmanager
def interrupting(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """Raise what Ctrl-C raises, once, when an answer is waited for."""
    original: Callable[..., Any] = threading.Event.wait
    count = 0

    def wait(self: Any, timeout: float | None = None) -> Any:
        nonlocal count
        if threading.current_thread() is threading.main_thread() and timeout == LOOK_SECONDS:
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return original(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", wait)
        yield


def test_a_message_of_postgresql(
    workshop: Workshop, postgresql_url: str, sent: list[Batch]
) -> None:
    chain(workshop, 'op.execute("INSERT INTO t0 VALUES (5) -- it\'s 100%")', "pass")
    messages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        original = PostgreSQLBatches.message

        def message(self: Any, batch: Batch) -> Message:
            made = original(self, batch)
            messages.append(made.at(datetime(2026, 11, 26, 9)).decode())
            return made

        patch.setattr(PostgreSQLBatches, "message", message)
        workshop.service(postgresql_url).upgrade()
    first, last = (message.split("\n;\n") for message in messages)
    assert first[:3] == [
        "BEGIN",
        "SET LOCAL synchronous_commit = off",
        "SET LOCAL lock_timeout = '100ms'",
    ]
    assert first[3].startswith("PREPARE websauna_migrate_step (text, text, text, ")
    assert first[4] == "INSERT INTO t0 VALUES (5) -- it's 100%"
    assert first[5].startswith("EXECUTE websauna_migrate_step ('r2', 'r1', '")
    assert first[5].endswith(", '2026-11-26 09:00:00.000000')")
    assert first[6:] == ["COMMIT"]
    assert "SET LOCAL synchronous_commit = off" not in last
    assert not any(part.startswith("PREPARE") for part in last)


# The first step of a package


def two_packages(workshop: Workshop, upgrade: str, *upgrades: str) -> None:
    """Make a package that comes first, and another whose first script is given."""
    workshop.package("aaapp", None)
    workshop.script("aaapp", "a1", None, **table("aa"))
    chain(workshop, *upgrades)
    workshop.script("fooapp", "r1", None, upgrade)


def test_a_history_begins_with_its_first_step(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    assert ids(sent) == ["r1", "r2"]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]
    inspector = sa.inspect(sa.create_engine(transactional_database_url))
    for name in ("aaapp", "fooapp"):
        key = inspector.get_pk_constraint(f"alembic_history_{name}")
        assert (key["name"], key["constrained_columns"]) == (
            f"alembic_history_{name}_pkc",
            ["version_num"],
        )
    query = "SELECT outcome, note FROM websauna_migrate_ledger WHERE ended >= started"
    assert rows(transactional_database_url, query) == [("done", "")] * 3


def test_a_first_step_that_fails_leaves_no_history(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, f'{table("t0")["upgrade"]}; op.execute("INSERT INTO no VALUES (1)")')
    with pytest.raises(StepFailed, match=r"r1\.py, line 14"):
        workshop.service(transactional_database_url).upgrade()
    assert ids(sent) == ["r1"]
    assert not {"t0", "alembic_history_fooapp"} & tables(transactional_database_url)
    workshop.forget()
    workshop.script("fooapp", "r1", None, **table("t0"))
    assert steps(workshop.service(transactional_database_url).upgrade()) == ["fooapp@r1"]


def test_a_history_that_is_there_and_empty(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, table("t0")["upgrade"])
    create = "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    execute(transactional_database_url, create)
    workshop.service(transactional_database_url).upgrade()
    assert [len(batch.statements) for batch in sent] == [1]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r1",)]


@pytest.mark.parametrize("there", [True, False])
def test_a_history_that_somebody_else_begins(
    workshop: Workshop,
    transactional_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    create = "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    if there:
        execute(transactional_database_url, create)

    def before(batch: Batch) -> None:
        if batch.step.revision.id == "r1":
            # Nobody who knows the run's lock does that.
            if not there:
                execute(transactional_database_url, create)
            execute(
                transactional_database_url,
                "CREATE TABLE t0 (id INTEGER)",
                "INSERT INTO alembic_history_fooapp VALUES ('r1')",
            )

    for kind in (PostgreSQLBatches, SQLiteBatches):
        tell_sent(monkeypatch, kind, before)
    service = workshop.service(transactional_database_url)
    if transactional_database_url.startswith("sqlite"):
        # The lock is one of files: the history is read again before each step.
        assert steps(service.upgrade()) == ["aaapp@a1", "fooapp@r2"]
    else:
        with pytest.raises(StepFailed, match="already exists"):
            service.upgrade()
        assert steps(service.upgrade()) == ["fooapp@r2"]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]


ENV = """
import sqlalchemy as sa
from alembic import context
from websauna_migrate.environment import run_migrations

context.configure()
context.get_bind().execute(sa.text("CREATE TABLE before (id INTEGER)"))
with context.begin_transaction():
    context.run_migrations()
"""


def test_an_env_py_that_does_something_before(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(ENV)
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    # It belongs to the first step, which is run by itself.
    assert ids(sent) == ["r2"]
    assert {"before", "t0", "t1"} < tables(transactional_database_url)


def test_a_session_that_env_py_sets_up(
    workshop: Workshop, postgresql_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    execute(postgresql_url, "CREATE SCHEMA tenant")
    words = "SET search_path TO tenant, public"
    env = ENV.replace("CREATE TABLE before (id INTEGER)", words)
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(env)
    assert len(workshop.service(postgresql_url).upgrade().steps) == 3
    assert {"t0", "t1"} < set(
        sa.inspect(sa.create_engine(postgresql_url)).get_table_names("tenant")
    )


@pytest.mark.parametrize("question", [1, 2, 3, 4])
def test_a_stop_before_a_first_step(
    workshop: Workshop, transactional_database_url: str, question: int
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= question

    with pytest.raises(RunStopped) as caught:
        workshop.service(transactional_database_url).upgrade(stop=stop)
    made = {"aa", "t0", "t1"} & tables(transactional_database_url)
    assert len(made) == caught.value.done < 3
    # No step is begun behind a question that was answered.
    assert len(asked) <= question + 1


@pytest.mark.parametrize("name", ["app$history", "log-end", "end"])
def test_a_history_that_is_made_by_itself(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch], name: str
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    service = workshop.service(transactional_database_url, **{"version_table.fooapp": name})
    assert len(service.upgrade().steps) == 3
    assert name in tables(transactional_database_url)


def test_a_listener_that_wants_something_of_each_table(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    def look(target: Any, connection: sa.Connection, **_: Any) -> None:
        assert connection.scalar(sa.text("SELECT 1")) == 1

    two_packages(workshop, 'op.execute("CREATE TABLE t0 (id INTEGER)")', "pass")
    sa.event.listen(sa.Table, "after_create", look)
    try:
        assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    finally:
        sa.event.remove(sa.Table, "after_create", look)
    assert ids(sent) == ["r2"]


def test_a_first_script_that_is_not_plain(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch]
) -> None:
    two_packages(workshop, "op.get_bind()", table("t1")["upgrade"])
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    assert ids(sent) == ["r2"]


@contextlib.contextmanager
def connecting(connected: Callable[[Any, object], None]) -> Iterator[None]:
    """Call a function for each connection of the driver."""
    sa.event.listen(sa.Engine, "connect", connected)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "connect", connected)


@contextlib.contextmanager
def journals(*databases: str) -> Iterator[list[str]]:
    """Yield the journal modes of some databases before each step that is sent."""
    seen: list[str] = []
    original = SQLiteBatches.send

    def send(self: Any, text: bytes) -> None:
        for name in databases:
            seen.append(self.driver.execute(f"PRAGMA {name}.journal_mode").fetchone()[0])
        original(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteBatches, "send", send)
        yield seen


@pytest.mark.parametrize("mode", ["delete", "truncate", "wal"])
def test_a_journal_of_sqlite_is_as_before(
    workshop: Workshop, sqlite_url: str, tmp_path: Path, mode: str
) -> None:
    """One file serves all steps that are sent, unless the database has a mode of its own."""
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))

    def connected(connection: Any, record: object) -> None:
        connection.execute(f"PRAGMA journal_mode = {mode}")

    with connecting(connected), journals("main") as seen:
        assert len(workshop.service(sqlite_url).upgrade().steps) == 4
    assert seen == [{"delete": "persist"}.get(mode, mode)] * 3
    path = Path(sqlite_url.partition("///")[2])
    left = [name.name for name in path.parent.glob(f"{path.name}-journal")]
    assert left == ([f"{path.name}-journal"] if mode == "truncate" else [])


@pytest.mark.parametrize(
    ("mode", "level", "last", "levels", "flush"),
    [
        ("wal", 2, "pass", [1, 1, 1, 2], []),
        ("wal", 3, "pass", [1, 1, 1, 3], []),
        ("wal", 2, "print()", [1, 1, 1], [2]),
        ("wal", 1, "print()", [1, 1, 1], []),
        ("delete", 2, "print()", [2, 2, 2], []),
    ],
)
def test_which_commits_of_sqlite_are_waited_for(
    workshop: Workshop,
    sqlite_url: str,
    mode: str,
    level: int,
    last: str,
    levels: list[int],
    flush: list[int],
) -> None:
    """With a write-ahead log the last one of a row, or one more before a step by itself."""
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)), last)
    seen: list[int] = []
    after: list[int] = []

    def connected(connection: Any, record: object) -> None:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute(f"PRAGMA synchronous = {level}")

    def of(connection: Any) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    original = SQLiteBatches.send

    def send(self: Any, text: bytes) -> None:
        original(self, text)
        seen.append(of(self.driver))

    def touch(self: Any, connection: Any, entry: str, original: Any = Ledger.touch) -> None:
        after.append(of(connection.connection.dbapi_connection))
        original(self, connection, entry)

    with connecting(connected), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteBatches, "send", send)
        patch.setattr(Ledger, "touch", touch)
        assert len(workshop.service(sqlite_url).upgrade().steps) == 5
    assert (seen, after) == (levels, flush)


def test_a_reader_does_not_mind_the_journal(workshop: Workshop, sqlite_url: str) -> None:
    """One that reads in between sees what was committed, and one that writes does so in turn."""
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))

    def committed(batch: Batch) -> None:
        assert rows(sqlite_url, "SELECT version_num FROM alembic_history_fooapp") == [
            (batch.step.revision.id,)
        ]
        execute(sqlite_url, "INSERT INTO t0 (id) VALUES (NULL)")

    with pytest.MonkeyPatch.context() as patch:
        tell_sent(patch, SQLiteBatches, after=committed)
        assert len(workshop.service(sqlite_url).upgrade().steps) == 4
    assert rows(sqlite_url, "SELECT count(*) FROM t0") == [(3,)]
    assert rows(sqlite_url, "PRAGMA integrity_check") == [("ok",)]
    assert not Path(sqlite_url.partition("///")[2] + "-journal").exists()


def test_a_script_of_sqlite(workshop: Workshop, sqlite_url: str, sent: list[Batch]) -> None:
    """What is no part of a text is not collected, and what a text quotes stays as it is."""
    chain(
        workshop,
        """op.execute("INSERT INTO t0 (id) VALUES (length('a;b''c'))")""",
        'op.execute("INSERT INTO t0 (id) VALUES (8) -- it\'s")',
        'op.execute(sa.text("INSERT INTO t0 (id) VALUES (:n)").bindparams(n=7))',
        'op.execute("SELECT 1 AS [a"); op.execute("DROP TABLE t0"); op.execute("SELECT 1 AS b]")',
    )
    with pytest.raises(StepFailed) as caught:
        workshop.service(sqlite_url).upgrade()
    assert "r5.py, line" in str(caught.value)
    assert ids(sent) == ["r2"]
    assert rows(sqlite_url, "SELECT id FROM t0") == [(5,), (7,), (8,)]


def test_sqlite_keeps_the_same_texts(workshop: Workshop, tmp_path: Path) -> None:
    """Of what it creates, as it was written, to the last space."""
    chain(
        workshop,
        'op.execute("CREATE INDEX  i1 ON t0 (id)  ")',
        'op.execute("CREATE INDEX i2 ON t0 (id) ;  ")',
        'op.execute("CREATE VIEW v1 AS\\n SELECT id  FROM t0\\n")',
        'op.execute("CREATE INDEX i3 ON t0 (id) -- c")',
        'op.create_table("t2", sa.Column("id", sa.Integer, primary_key=True))',
        'op.execute("CREATE TABLE t3 (id INTEGER PRIMARY KEY) WITHOUT ROWID ")',
    )
    found = []
    for pipeline in ("on", "off"):
        url = f"sqlite:///{tmp_path}/{pipeline}.sqlite"
        assert len(workshop.service(url, pipeline=pipeline).upgrade().steps) == 7
        found.append(rows(url, "SELECT name, sql FROM sqlite_master ORDER BY name"))
    assert found[0] == found[1]


@pytest.mark.parametrize("value", ["it's", "", None, 0, 12, "a\\'; --", "ü\n☃"])
def test_a_literal_of_sqlite(value: Any) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute(f"SELECT {literal(value)}").fetchone() == (value,)


@pytest.mark.parametrize("sign", ["?", "?1", "@x", r"\\:x", "#1"])
def test_a_parameter_that_nobody_gave(
    workshop: Workshop, sqlite_url: str, sent: list[Batch], sign: str
) -> None:
    """As one of several statements it would be NULL."""
    words = 'op.create_table("words", sa.Column("word", sa.String(9)))'
    chain(workshop, words, f'op.execute("INSERT INTO words VALUES ({sign})")')
    with pytest.raises(StepFailed) as caught:
        workshop.service(sqlite_url).upgrade()
    assert "r3.py, line 14" in str(caught.value)
    assert ids(sent) == ["r2"]
    assert rows(sqlite_url, "SELECT * FROM words") == []


def test_the_text_that_sqlite_keeps(workshop: Workshop, tmp_path: Path) -> None:
    chain(
        workshop,
        'op.create_index("i1", "t0", ["id"])',
        'op.execute("CREATE TABLE s (id INTEGER) STRICT")',
        'op.execute("CREATE VIEW v AS SELECT 1 AS one;")',
    )
    found = []
    for pipeline in ("on", "off"):
        url = f"sqlite:///{tmp_path}/{pipeline}.sqlite"
        workshop.service(url, pipeline=pipeline).upgrade()
        found.append(rows(url, "SELECT name, sql FROM sqlite_master"))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["it's", 'a"b', "a%b", "%(new)s"])
def test_a_history_with_an_odd_name(
    workshop: Workshop, transactional_database_url: str, sent: list[Batch], name: str
) -> None:
    """Its steps are not run a second time by themselves."""
    chain(workshop, "pass", "pass")
    done: list[Batch] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in (PostgreSQLBatches, SQLiteBatches):
            tell_sent(patch, kind, after=done.append)
        settings = {"version_table.fooapp": name}
        workshop.service(transactional_database_url, **settings).upgrade()
    assert ids(done) == ["r2", "r3"]


@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_the_journal_of_an_attached_database(
    workshop: Workshop, sqlite_url: str, tmp_path: Path, mode: str
) -> None:
    other = tmp_path / "other.sqlite"
    execute(f"sqlite:///{other}", "CREATE TABLE x (id INTEGER)")
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])

    def connected(connection: Any, record: object) -> None:
        connection.execute("ATTACH ? AS other", (str(other),))
        connection.execute(f"PRAGMA other.journal_mode = {mode}")

    with connecting(connected), journals("main", "other") as seen:
        assert len(workshop.service(sqlite_url).upgrade().steps) == 3
    assert seen == ["persist", mode] * 2
    assert rows(f"sqlite:///{other}", "PRAGMA journal_mode") == [
        ("wal" if mode == "wal" else "delete",)
    ]


@pytest.mark.parametrize("at", ["r2", "r4"])
@pytest.mark.parametrize("stays", [True, False])
def test_an_application_that_turns_to_wal_meanwhile(
    workshop: Workshop, sqlite_url: str, at: str, stays: bool
) -> None:
    """That is for everybody, and the run does not take it back, nor fail of it."""
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in (1, 2, 3)))
    path = sqlite_url.partition("///")[2]
    opened: list[sqlite3.Connection] = []

    def applied(batch: Batch) -> None:
        if batch.step.revision.id == at:
            opened.append(sqlite3.connect(path, check_same_thread=False))
            assert opened[0].execute("PRAGMA journal_mode = wal").fetchone() == ("wal",)
            assert opened[0].execute("SELECT * FROM t0").fetchall() == []
            if not stays:
                opened[0].close()

    with pytest.MonkeyPatch.context() as patch:
        tell_sent(patch, SQLiteBatches, after=applied)
        assert len(workshop.service(sqlite_url).upgrade().steps) == 4
    opened[0].close()
    assert rows(sqlite_url, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("query", ["PRAGMA main.journal_mode", "PRAGMA main.journal_mode = delete"])
def test_a_journal_mode_that_cannot_be_set(workshop: Workshop, sqlite_url: str, query: str) -> None:
    """It is no reason to fail."""
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])

    class Locked:
        def __init__(self, cursor: Any) -> None:
            self.cursor = cursor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.cursor, name)

        def execute(self, sql: str) -> Any:
            if sql == query:
                raise sqlite3.OperationalError("database is locked")
            return self.cursor.execute(sql)

    original = SQLiteBatches._journal_kept

    @contextlib.contextmanager
    def kept(self: Any) -> Iterator[None]:
        self.cursor = Locked(self.cursor)
        with original(self):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteBatches, "_journal_kept", kept)
        assert len(workshop.service(sqlite_url).upgrade().steps) == 3


def test_a_journal_that_a_killed_run_left(workshop: Workshop, sqlite_url: str) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in range(1, 200)))
    path = Path(sqlite_url.partition("///")[2])
    for least in (30, 60, 90):
        service = workshop.service(sqlite_url)
        with forked(lambda service=service: bool(service.upgrade()) and 0) as pid:
            wait_for(lambda least=least: path.exists() and len(tables_of_file(path)) > least)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        done = [entry[1] for entry in ledger(sqlite_url) if entry[3] == "done"]
        assert rows(sqlite_url, "SELECT * FROM alembic_history_fooapp") == [(done[-1],)]
        assert len(tables_of_file(path)) == len(done)
        assert rows(sqlite_url, "PRAGMA integrity_check") == [("ok",)]
    workshop.service(sqlite_url).upgrade()
    assert len(tables_of_file(path)) == 200
    assert not path.with_name(f"{path.name}-journal").exists()


def tables_of_file(path: Path) -> list[Any]:
    """Return the tables that steps made; none while they cannot be read."""
    with contextlib.suppress(sa.exc.OperationalError):
        return rows(f"sqlite:///{path}", "SELECT 1 FROM sqlite_master WHERE name GLOB 't[0-9]*'")
    return []


def test_whoever_is_impatient_with_a_long_step(workshop: Workshop, sqlite_url: str) -> None:
    """Ctrl-C again and again: nobody rolls back what the sender is in the middle of."""
    chain(
        workshop,
        "\n".join([WHILE["sqlite"], *(table(f"a{n}")["upgrade"] for n in range(100))]),
        table("t3")["upgrade"],
    )
    over = threading.Event()
    begun = threading.Event()

    def interrupt() -> None:
        assert begun.wait(10)
        while not over.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)

    def count_one(number: int, frame: object) -> None:
        if not over.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, count_one)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            tell_sent(patch, SQLiteBatches, lambda batch: begun.set(), lambda batch: over.set())
            with pytest.raises(KeyboardInterrupt):
                workshop.service(sqlite_url).upgrade()
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert rows(sqlite_url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]
    assert [entry[1:] for entry in ledger(sqlite_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
    ]
    assert len([name for name in tables(sqlite_url) if name.startswith("a")]) == 101
    assert steps(workshop.service(sqlite_url).upgrade()) == ["fooapp@r3"]


def test_whoever_is_told_afterwards_raises(
    workshop: Workshop, transactional_database_url: str
) -> None:
    """It is no step's failure, and what was applied by then is counted."""
    chain(workshop, *["pass"] * 10, 'op.execute("SELECT nothing")', "pass")
    config = workshop.configure(transactional_database_url)
    ended: list[Any] = []
    config.add_subscriber(ended.append, IMigrationRunEnded)
    config.commit()
    service = config.registry.getUtility(IMigrationService)

    def applied(event: Any) -> None:
        if event.number >= 5:
            time.sleep(0.1)
            raise ValueError(f"of step {event.number}")

    service.on_step = applied
    with pytest.raises(ValueError, match="of step 5"):
        service.upgrade()
    entries = ledger(transactional_database_url)
    assert {entry[3] for entry in entries} == {"done"}
    assert len(ended[0].run.steps) == len(entries)


def test_a_subscriber_that_comes_with_the_run(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, "pass", "pass")
    config = workshop.configure(transactional_database_url)
    told: list[tuple[int, int]] = []

    def applied(event: Any) -> None:
        told.append((event.number, len(ledger(transactional_database_url))))

    def started(event: Any) -> None:
        config.registry.registerHandler(applied, (IMigrationStepApplied,))

    config.add_subscriber(started, IMigrationRunStarted)
    config.commit()
    config.registry.getUtility(IMigrationService).upgrade()
    assert told == [(1, 1), (2, 2), (3, 3)]


def test_progress_of_a_service_that_hands_on(workshop: Workshop, sqlite_url: str) -> None:
    class Service:
        def __init__(self, other: Any) -> None:
            self.other = other

        def __getattr__(self, name: str) -> Any:
            return getattr(self.other, name)

    chain(workshop, "pass", "pass")
    registry = workshop.configure(sqlite_url).registry
    service = Service(registry.getUtility(IMigrationService))
    stream = io.StringIO()
    Progress(stream).subscribe(registry, service)
    service.upgrade()
    assert len(stream.getvalue().splitlines()) == 3
