"""Steps of a run: each script runs once, really, on the run's connection."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.compiler import compiles, deregister

from apps import Workshop
from runs import blocking, execute, forked, ledger, rows, steps, table, tables, wait_for
from websauna_migrate.config.settings import parse_settings
from websauna_migrate.database.stopping import Stop
from websauna_migrate.errors import (
    MigrationError,
    RunStopped,
    ScriptError,
    SettingError,
    StepFailed,
)
from websauna_migrate.events import MigrationStepApplied
from websauna_migrate.interfaces import (
    IMigrationRunEnded,
    IMigrationRunStarted,
    IMigrationService,
    IMigrationStepApplied,
)

PLAIN_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["PLAIN_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, version_table="alembic_history_fooapp",
                      transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


def chain(workshop: Workshop, *upgrades: str, package: str = "fooapp") -> None:
    """Make a package of revisions ``r1``, ``r2`` ... of which the first makes table ``t0``."""
    workshop.package(package, None)
    workshop.script(package, "r1", None, **table("t0"))
    for number, upgrade in enumerate(upgrades, 2):
        workshop.script(package, f"r{number}", f"r{number - 1}", upgrade)


def versions(workshop: Workshop, package: str = "fooapp") -> Path:
    return workshop.root / package / "alembic" / "versions"


def at_top(workshop: Workshop, revision: str, code: str) -> None:
    """Put code at the top of a script."""
    path = versions(workshop) / f"{revision}.py"
    path.write_text(path.read_text().replace("\n\ndef upgrade", f"\n{code}\n\n\ndef upgrade"))


def plain_upgrade(workshop: Workshop, url: str) -> None:
    """Upgrade a package by Alembic alone."""
    home = workshop.root.parent / "plain"
    home.mkdir(exist_ok=True)
    (home / "env.py").write_text(PLAIN_ENV)
    config = Config()
    config.set_main_option("script_location", str(home))
    config.set_main_option("version_locations", str(versions(workshop)))
    config.set_main_option("path_separator", "newline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLAIN_URL", url)
        command.upgrade(config, "heads")


def contents(url: str) -> dict[str, Any]:
    """Return all tables with their columns, keys, indexes and rows, without the ledger's."""
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
                [key["referred_table"] for key in inspector.get_foreign_keys(name)],
                sorted(map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{name}"')), key=str),
            )
    engine.dispose()
    return found


def kind_of(url: str) -> str:
    return url.partition(":")[0].partition("+")[0]


# Each attempt executes the script's text anew

KEY = 'OWNER = sa.Column("owner", sa.Integer, sa.ForeignKey("t0.id"))'
READER = 'ROWS = iter([{"id": 1}, {"id": 2}])'


@contextlib.contextmanager
def taken_for_a_while(url: str, *, at: int) -> Iterator[Callable[[], bool]]:
    """Yield what is to be asked at each boundary; from the given one on table ``t0`` is locked."""
    is_file = url.startswith("sqlite")
    statement = "BEGIN IMMEDIATE" if is_file else "LOCK TABLE t0"
    asked = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def stop() -> bool:
            if next(asked) == at:
                stack.enter_context(blocking(url, statement, seconds=0.8))
            return False

        yield stop


@pytest.mark.parametrize("pipeline", ["off", None])
@pytest.mark.parametrize(
    ("top", "upgrade"),
    [
        (KEY, 'op.create_table("child", OWNER)\nop.execute("INSERT INTO t0 (id) VALUES (7)")'),
        (READER, 'op.bulk_insert(sa.table("t0", sa.column("id")), list(ROWS))'),
        (
            'META = sa.MetaData()\nCHILD = sa.Table("child", META, sa.Column("id", sa.Integer))',
            'CHILD.append_column(sa.Column("more", sa.Integer))\nCHILD.create(op.get_bind())\n'
            'op.execute("INSERT INTO t0 (id) VALUES (7)")',
        ),
        (
            'NAMES = ["a", "b"]',
            'while NAMES:\n    op.create_table(NAMES.pop(), sa.Column("id", sa.Integer))\n'
            'op.execute("INSERT INTO t0 (id) VALUES (7)")',
        ),
    ],
)
def test_a_module_is_not_used_twice_when_a_lock_was_waited_for(
    workshop: Workshop,
    transactional_database_url: str,
    tmp_path: Path,
    top: str,
    upgrade: str,
    pipeline: str | None,
) -> None:
    chain(workshop, upgrade)
    at_top(workshop, "r2", top)
    plain = f"sqlite:///{tmp_path}/plain.sqlite"
    plain_upgrade(workshop, plain)
    options = {} if pipeline is None else {"pipeline": pipeline}
    service = workshop.service(transactional_database_url, **options)
    with taken_for_a_while(transactional_database_url, at=2) as stop:
        run = service.upgrade(stop=stop)
    assert run.steps[1].seconds > 0.1
    if transactional_database_url.startswith("sqlite"):
        assert contents(transactional_database_url) == contents(plain)
    found, expected = contents(transactional_database_url), contents(plain)
    assert found.keys() == expected.keys()
    assert {name: (len(t[0]), *t[2:]) for name, t in found.items()} == {
        name: (len(t[0]), *t[2:]) for name, t in expected.items()
    }


def test_the_same_in_one_transaction_for_the_whole_run(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp", None)
    workshop.script("fooapp", "r1", None, 'op.execute("SELECT 1")')
    execute(postgresql_url, "CREATE TABLE t0 (id INTEGER PRIMARY KEY)")
    workshop.script("fooapp", "r2", "r1", 'op.create_table("child", OWNER)')
    at_top(workshop, "r2", KEY)
    with taken_for_a_while(postgresql_url, at=2) as stop:
        workshop.service(postgresql_url).upgrade(atomic=True, stop=stop)
    assert contents(postgresql_url)["child"][2] == ["t0"]


@pytest.mark.parametrize("between", ["dry run", "sql", "downgrade", "one look"])
def test_a_module_is_not_used_twice_in_a_process(
    workshop: Workshop, transactional_database_url: str, between: str
) -> None:
    chain(workshop, 'op.create_table("child", OWNER)')
    at_top(workshop, "r2", KEY)
    path = versions(workshop) / "r2.py"
    path.write_text(path.read_text().replace("def downgrade():\n    pass", DOWNGRADE))
    service = workshop.service(transactional_database_url)
    if between == "dry run":
        service.upgrade(dry_run=True)
    elif between == "sql":
        service.sql()
    elif between == "downgrade":
        service.upgrade()
        service.downgrade("r1", packages="fooapp")
    else:
        with service.one_look():
            service.sql()
            service.upgrade(dry_run=True)
            service.upgrade()
    service.upgrade()
    assert contents(transactional_database_url)["child"][2] == ["t0"]


DOWNGRADE = 'def downgrade():\n    op.drop_table("child")\n'


def test_a_type_of_the_first_database_is_not_the_second_s(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    chain(workshop, 'op.create_table("child", sa.Column("data", DATA))')
    at_top(
        workshop,
        "r2",
        "from sqlalchemy.dialects import postgresql\n"
        'DATA = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")',
    )
    for url in (sqlite_url, postgresql_url, f"sqlite:///{tmp_path}/second.sqlite"):
        workshop.service(url).upgrade()
        expected = "JSONB" if url == postgresql_url else "JSON"
        assert contents(url)["child"][0][0][1] == expected


def test_a_type_that_is_rendered_otherwise_in_between(workshop: Workshop, tmp_path: Path) -> None:
    chain(workshop, 'op.create_table("child", sa.Column("data", sa.JSON()))', *["pass"] * 30)
    urls = [f"sqlite:///{tmp_path}/{number}.sqlite" for number in range(4)]

    def text(type_: Any, compiler: Any, **_: Any) -> str:
        return "TEXT"

    for url in urls[:2]:
        workshop.service(url).upgrade()
        assert contents(url)["child"][0][0][1] == "JSON"
    compiles(sa.JSON, "sqlite")(text)
    try:
        workshop.service(urls[2]).upgrade()
    finally:
        deregister(sa.JSON)
    assert contents(urls[2])["child"][0][0][1] == "TEXT"
    workshop.service(urls[3]).upgrade()
    assert contents(urls[3])["child"][0][0][1] == "JSON"


def test_a_time_has_its_zone(workshop: Workshop, transactional_database_url: str) -> None:
    moment = "datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone.utc)"
    chain(
        workshop,
        'op.create_table("times", sa.Column("at", sa.DateTime(timezone=True), '
        'server_default=sa.text("CURRENT_TIMESTAMP")))',
        f'op.bulk_insert(sa.table("times", sa.column("at", sa.DateTime(timezone=True))), '
        f'[{{"at": {moment}}}])',
    )
    at_top(workshop, "r3", "import datetime")
    workshop.service(transactional_database_url).upgrade()
    if transactional_database_url.startswith("postgresql"):
        assert contents(transactional_database_url)["times"][0][0][1] == "TIMESTAMP"
        assert rows(
            transactional_database_url, "SELECT at = '2026-01-02 03:00:00+00' FROM times"
        ) == [(True,)]
        kind = "SELECT data_type FROM information_schema.columns WHERE table_name = 'times'"
        assert rows(transactional_database_url, kind) == [("timestamp with time zone",)]
    else:
        assert rows(transactional_database_url, "SELECT at FROM times") == [
            ("2026-01-02 03:00:00.000000",)
        ]


DDL_TRIGGER = (
    "CREATE TABLE audit (words TEXT)",
    "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS "
    "$$BEGIN INSERT INTO audit VALUES (current_query()); END$$",
    "CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()",
)


def test_a_ddl_trigger_reads_the_script_s_statement_alone(
    workshop: Workshop, postgresql_url: str
) -> None:
    chain(
        workshop,
        'op.add_column("t0", sa.Column("a", sa.Integer))\nop.create_index("i", "t0", ["a"])',
        'op.execute("CREATE TABLE own (id INTEGER)")',
    )
    execute(postgresql_url, *DDL_TRIGGER)
    workshop.service(postgresql_url).upgrade()
    found = [" ".join(words.split()) for (words,) in rows(postgresql_url, "SELECT * FROM audit")]
    assert [words for words in found if "websauna" not in words and "alembic" not in words] == [
        "CREATE TABLE t0 ( id SERIAL NOT NULL, PRIMARY KEY (id) )",
        "ALTER TABLE t0 ADD COLUMN a INTEGER",
        "CREATE INDEX i ON t0 (a)",
        "CREATE TABLE own (id INTEGER)",
    ]
    assert not any(";" in words for words in found)


def count_runs(folder: Path) -> str:
    """Return code that counts how often the top of a script is executed."""
    return f'with open({str(folder / "count")!r}, "a") as file:\n    file.write("x")'


@pytest.mark.parametrize("use_index", [True, False])
def test_the_top_of_a_script_is_executed_once(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path, use_index: bool
) -> None:
    chain(workshop, 'op.create_table("child", sa.Column("id", sa.Integer))')
    at_top(workshop, "r2", count_runs(tmp_path))
    service = workshop.service(transactional_database_url)
    service.use_index = use_index
    service.upgrade()
    assert (tmp_path / "count").read_text() == "x"


@pytest.mark.parametrize("use_index", [True, False])
def test_a_stale_module_is_not_run(
    workshop: Workshop, transactional_database_url: str, use_index: bool
) -> None:
    """Python takes a module for a text's by its size and the second of its change."""
    import importlib.util

    chain(workshop, *(['op.execute("INSERT INTO t0 (id) VALUES (1)")'] * 2))
    path = versions(workshop) / "r3.py"
    spec = importlib.util.spec_from_file_location("r3", path)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(path.read_text().replace("VALUES (1)", "VALUES (2)"))
    os.utime(path, ns=times)
    service = workshop.service(transactional_database_url)
    service.use_index = use_index
    service.upgrade()
    assert rows(transactional_database_url, "SELECT id FROM t0 ORDER BY id") == [(1,), (2,)]


def test_a_script_knows_its_file_and_its_helpers(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    chain(workshop, HELPED)
    (versions(workshop) / "names.txt").write_text("child")
    (versions(workshop).parent / "helper.py").write_text("def name(text): return text.strip()\n")
    at_top(workshop, "r2", "import importlib.util, inspect, pathlib, sys\nHERE = __file__")
    plain = f"sqlite:///{tmp_path}/plain.sqlite"
    plain_upgrade(workshop, plain)
    workshop.service(transactional_database_url).upgrade()
    assert "child" in tables(plain) & tables(transactional_database_url)


HELPED = """
folder = pathlib.Path(HERE).parent
spec = importlib.util.spec_from_file_location("helper", folder.parent / "helper.py")
helper = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helper)
assert "HERE = __file__" in inspect.getsource(sys.modules.get(__name__) or inspect.currentframe())
assert __name__ not in sys.modules
op.create_table(helper.name((folder / "names.txt").read_text()), sa.Column("id", sa.Integer))
"""


def test_a_script_of_before_sqlalchemy_2(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, 'op.get_bind().execute("SELECT 1")')
    with pytest.raises(StepFailed, match=r"executes no plain string: write sa\.text"):
        workshop.service(sqlite_url).upgrade()
    workshop.script("app", "one", None, "op.get_bind().execute(object())")
    with pytest.raises(StepFailed, match="Not an executable object") as caught:
        workshop.service(sqlite_url).upgrade()
    assert "plain string" not in str(caught.value)
    workshop.script("app", "one", None, 'op.get_bind().execute(sa.text("SELECT 1"))')
    assert workshop.service(sqlite_url).upgrade().steps


def test_a_statement_that_no_transaction_may_have_is_told_its_place(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, 'op.execute("VACUUM")')
    with pytest.raises(StepFailed, match=r"with op\.get_context\(\)\.autocommit_block\(\):"):
        workshop.service(postgresql_url).upgrade()


def test_a_script_without_a_downgrade(workshop: Workshop, sqlite_url: str) -> None:
    """As those of projects that never go back."""
    workshop.package("app")
    path = workshop.script("app", "one", None)
    path.write_text(path.read_text().partition("def downgrade")[0])
    service = workshop.service(sqlite_url)
    service.upgrade()
    with pytest.raises(StepFailed, match=r"the script has no function downgrade\(\)\."):
        service.downgrade("base")


def test_a_script_broken_at_its_top_is_found_before_the_first_step(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, "pass", "pass")
    at_top(workshop, "r3", 'raise RuntimeError("at the top")')
    with pytest.raises(MigrationError, match=r"r3\.py.*RuntimeError in line 12: at the top"):
        workshop.service(transactional_database_url).upgrade()
    if transactional_database_url.startswith("postgresql"):
        assert tables(transactional_database_url) == set()


# The old setting


@pytest.mark.parametrize("value", ["", "maybe", "2"])
def test_a_setting_that_is_neither_on_nor_off(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({"websauna_migrate.pipeline": value})
    assert str(caught.value) == 'Setting "websauna_migrate.pipeline": it must be "on" or "off".'


@pytest.mark.parametrize("value", ["on", "off", None])
def test_the_setting_has_no_effect_and_that_is_said_once(
    workshop: Workshop, sqlite_url: str, value: str | None
) -> None:
    chain(workshop, "pass", "pass")
    service = workshop.service(sqlite_url, **({} if value is None else {"pipeline": value}))
    told: list[str] = []
    service.on_wait = told.append
    assert len(service.upgrade().steps) == 3
    assert [words for words in told if "pipeline" in words] == (
        []
        if value is None
        else ['The setting "websauna_migrate.pipeline" has no effect any more: remove it.']
    )


# The same as by Alembic alone

BODIES = st.lists(
    st.sampled_from(
        [
            'op.create_table("n{n}", sa.Column("id", sa.Integer), sa.Column("s", sa.String(9)))',
            'op.add_column("t0", sa.Column("c{n}", sa.Integer, server_default="7"))',
            'op.execute("INSERT INTO t0 (id) VALUES ({n})")',
            'op.execute("CREATE INDEX i{n} ON t0 (id) -- 100%; COMMENT")',
            "op.execute(sa.text(\"INSERT INTO words VALUES ('%(a)s \\\\:b 100%\\t;x')\"))",
            'op.get_bind().execute(sa.text("INSERT INTO t0 (id) VALUES (1{n}0)"))',
            'op.get_bind().exec_driver_sql("INSERT INTO t0 (id) VALUES (2{n}0)")',
            'assert op.get_bind().execute(sa.text("UPDATE t0 SET id = id")).rowcount >= 0',
            'op.execute(sa.text("INSERT INTO t0 (id) VALUES (:n)").bindparams(n=3{n}0))',
            'op.bulk_insert(sa.table("words", sa.column("word")), [{{"word": "{n}%"}}])',
            "op.execute(\"INSERT INTO words SELECT 'n' || count(*) FROM t0\")",
            'if sa.inspect(op.get_bind()).has_table("t0"): op.drop_table("t0")',
            "pass",
            'op.execute("INSERT INTO nowhere VALUES (1)")',
            'op.execute("INSERT INTO t0 (id) VALUES (1)"); op.execute("nonsense")',
            'raise RuntimeError("in the script")',
            'op.create_table("t0")',
            'op.execute("/* unfinished")',
            "try:\n    op.execute('INSERT INTO t0 (id) VALUES (1)')\nexcept sa.exc.DBAPIError:\n"
            "    op.create_table('caught{n}', sa.Column('id', sa.Integer))",
            "with op.get_bind().begin_nested() as inner:\n    op.execute('DELETE FROM t0')\n"
            "    inner.rollback()",
            "with op.get_context().autocommit_block():\n    op.execute('DELETE FROM t0')",
        ]
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=16,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(bodies=BODIES)
def test_the_same_as_by_alembic_alone(
    bodies: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    postgresql_server: Any,
) -> None:
    root = tmp_path_factory.mktemp("ways")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(root / "src"))
        workshop = Workshop(root / "src")
        workshop.root.mkdir()
        words = 'op.create_table("words", sa.Column("word", sa.String(40)))'
        chain(workshop, words, *(b.format(n=n) for n, b in enumerate(bodies)))
        url = postgresql_server.create_database()
        other = postgresql_server.create_database()
        try:
            expected: str | None = None
            try:
                plain_upgrade(workshop, other)
            except Exception as exc:
                expected = str(getattr(exc, "orig", exc)).splitlines()[0]
            try:
                workshop.service(url).upgrade()
                assert expected is None
            except MigrationError as exc:
                assert expected is not None
                # Where a script goes on after an error that it caught, Alembic names what is
                # refused then, and a step the statement that was refused first.
                assert expected in str(exc) or expected.startswith("current transaction is aborted")
            assert contents(url) == contents(other)
        finally:
            workshop.forget()
            postgresql_server.drop_database(url)
            postgresql_server.drop_database(other)


def test_an_isolation_level_of_its_own(workshop: Workshop, postgresql_url: str) -> None:
    level = "INSERT INTO levels VALUES (current_setting('transaction_isolation'))"
    chain(
        workshop,
        'op.create_table("levels", sa.Column("level", sa.String(40)))',
        f'op.execute("{level}")',
    )
    service = workshop.service(postgresql_url)
    object.__setattr__(
        service.settings, "engine_options", {"sqlalchemy.isolation_level": "SERIALIZABLE"}
    )
    assert len(service.upgrade().steps) == 3
    assert rows(postgresql_url, "SELECT level FROM levels") == [("serializable",)]


def test_steps_around_one_that_is_no_transaction(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, *(table(f"t{number}")["upgrade"] for number in (1, 2, 3, 4)))
    path = versions(workshop) / "r3.py"
    path.write_text(path.read_text() + "\ntransactional = False\n")
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 5
    assert {entry[3] for entry in ledger(transactional_database_url)} == {"done"}


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
    urls = [f"sqlite:///{tmp_path}/{way}.sqlite" for way in ("ours", "plain")]
    assert len(workshop.service(urls[0]).upgrade().steps) == 7
    plain_upgrade(workshop, urls[1])
    query = "SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE '%ledger' ORDER BY name"
    assert rows(urls[0], query) == rows(urls[1], query)


# Failures


def test_an_error_is_told_by_the_script_s_line(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, 'op.execute("INSERT INTO t0 (id) VALUES (1)")\nop.execute("SELECT nothing")')
    with pytest.raises(StepFailed) as caught:
        workshop.service(transactional_database_url).upgrade()
    assert "r2.py, line 15)" in str(caught.value)
    assert "nothing" in str(caught.value)
    assert "Nothing of it was applied." in str(caught.value)
    assert rows(transactional_database_url, "SELECT * FROM t0") == []


@pytest.mark.parametrize("failing", range(4))
def test_the_line_of_each_statement(
    workshop: Workshop, transactional_database_url: str, failing: int
) -> None:
    """Also where the server finds out when all of them have arrived."""
    lines = [f'op.execute("INSERT INTO t0 (id) VALUES ({number})")' for number in range(4)]
    lines[failing] = 'op.execute("INSERT INTO t0 (id) VALUES (99)")'
    chain(workshop, 'op.execute("INSERT INTO t0 (id) VALUES (99)")', "\n".join(lines))
    with pytest.raises(StepFailed) as caught:
        workshop.service(transactional_database_url).upgrade()
    assert f"r3.py, line {14 + failing})" in str(caught.value)
    assert isinstance(caught.value.__cause__, sa.exc.IntegrityError)
    assert caught.value.__cause__.statement == "INSERT INTO t0 (id) VALUES (99)"
    assert rows(transactional_database_url, "SELECT id FROM t0") == [(99,)]


def test_a_script_waits_for_the_step_before(
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
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, *(f'op.add_column("t0", sa.Column("c{n}", sa.Integer))' for n in range(3)))
    with taken_for_a_while(transactional_database_url, at=3) as stop:
        run = workshop.service(transactional_database_url).upgrade(stop=stop)
    assert steps(run) == ["fooapp@r1", "fooapp@r2", "fooapp@r3", "fooapp@r4"]
    assert run.steps[2].seconds > 0.1
    assert len(ledger(transactional_database_url)) == 4


def test_a_history_that_somebody_else_changes(
    workshop: Workshop, transactional_database_url: str
) -> None:
    """The step does not fit any more; it is seen before anything of it stays."""
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    asked = itertools.count()

    def stop() -> bool:
        if next(asked) == 2:
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


def test_a_limit_that_is_no_number_is_told_at_its_step(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, table("t1")["upgrade"], table("t2")["upgrade"])
    path = versions(workshop) / "r3.py"
    path.write_text(path.read_text() + "\nlock_budget = 'soon'\n")
    with pytest.raises(ScriptError):
        workshop.service(transactional_database_url).upgrade()
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
    ]


def test_an_application_that_executes_something_in_every_transaction(
    workshop: Workshop, postgresql_url: str
) -> None:
    chain(
        workshop,
        'op.create_table("tenants", sa.Column("name", sa.String(9)))',
        "op.execute(\"INSERT INTO tenants VALUES (current_setting('app.tenant'))\")",
    )

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL app.tenant = 'x'")

    sa.event.listen(sa.Engine, "begin", begin)
    try:
        assert len(workshop.service(postgresql_url).upgrade().steps) == 3
    finally:
        sa.event.remove(sa.Engine, "begin", begin)
    assert rows(postgresql_url, "SELECT name FROM tenants") == [("x",)]


def test_a_time_begins_with_its_step(workshop: Workshop, postgresql_url: str) -> None:
    chain(workshop, 'op.execute("SELECT pg_sleep(0.5)")', "pass")
    run = workshop.service(postgresql_url).upgrade()
    second, third = run.steps[1:]
    assert second.seconds >= 0.5 > third.seconds
    assert (third.started - second.started).total_seconds() >= 0.5
    assert rows(
        postgresql_url,
        "SELECT revision FROM websauna_migrate_ledger WHERE ended - started > interval '0.4 s'",
    ) == [("r2",)]


# Stops, cancels and interrupts

LONG = {
    "postgresql": 'op.execute("SELECT pg_sleep(60)")',
    "sqlite": 'op.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
    'WHERE i < 300000000) SELECT count(*) FROM n")',
}


def test_a_stop_ends_the_run_between_two_steps(
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


def test_a_request_from_within_a_step(workshop: Workshop, transactional_database_url: str) -> None:
    chain(workshop, "import fooapp\nfooapp.stop.request()", *["pass"] * 5)
    service = workshop.service(transactional_database_url)
    import fooapp  # type: ignore[import-not-found]

    fooapp.stop = Stop()
    with pytest.raises(RunStopped) as caught:
        service.upgrade(stop=fooapp.stop)
    assert caught.value.done == 2
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "done"),
        ("r3", "upgrade", "stopped"),
    ]


@contextlib.contextmanager
def in_a_while(url: str, function: Callable[[], object]) -> Iterator[None]:
    """Call a function while step ``r2`` is at work on its long statement."""

    def call() -> None:
        wait_for(lambda: "t0" in readable_tables(url))
        time.sleep(0.5)
        function()

    thread = threading.Thread(target=call)
    thread.start()
    yield
    thread.join()


def readable_tables(url: str) -> set[str]:
    with contextlib.suppress(sa.exc.OperationalError):
        return tables(url)
    return set()


def test_a_second_request_cancels_the_statement(
    workshop: Workshop, transactional_database_url: str
) -> None:
    chain(workshop, LONG[kind_of(transactional_database_url)], table("t3")["upgrade"])
    stop = Stop()

    def ask() -> None:
        stop.request()
        stop.request()

    with (
        in_a_while(transactional_database_url, ask),
        pytest.raises(RunStopped) as caught,
    ):
        workshop.service(transactional_database_url).upgrade(stop=stop)
    assert caught.value.done == 1
    assert [entry[1:] for entry in ledger(transactional_database_url)] == [
        ("r1", "upgrade", "done"),
        ("r2", "upgrade", "stopped"),
    ]


def test_a_second_request_cancels_a_statement_that_nobody_reads(
    workshop: Workshop, postgresql_url: str
) -> None:
    long = 'op.execute("INSERT INTO t0 (id) SELECT 1 FROM pg_sleep(60)")'
    chain(workshop, f"{long}\n{long}", table("t3")["upgrade"])
    stop = Stop()

    def ask() -> None:
        stop.request()
        stop.request()

    with in_a_while(postgresql_url, ask), pytest.raises(RunStopped) as caught:
        workshop.service(postgresql_url).upgrade(stop=stop)
    # It did not run to its end.
    assert "canceling statement due to user request" in str(caught.value.__cause__)
    assert [entry[3] for entry in ledger(postgresql_url)] == ["done", "stopped"]


def call_for_the_sleeping(url: str, function: str) -> None:
    """Call one of PostgreSQL's functions for the session that sleeps."""
    execute(
        url,
        f"SELECT {function}(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' "
        "AND datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_a_connection_that_is_cut_within_a_step(workshop: Workshop, postgresql_url: str) -> None:
    chain(workshop, LONG["postgresql"], table("t3")["upgrade"])
    with (
        in_a_while(
            postgresql_url, lambda: call_for_the_sleeping(postgresql_url, "pg_terminate_backend")
        ),
        pytest.raises(StepFailed) as caught,
    ):
        workshop.service(postgresql_url).upgrade()
    assert "cannot tell whether the step was applied" in str(caught.value)
    assert '"r2"' in str(caught.value)
    workshop.script("fooapp", "r2", "r1", **table("t2"))
    assert steps(workshop.service(postgresql_url).upgrade()) == ["fooapp@r2", "fooapp@r3"]


def test_whoever_cancels_a_step_is_obeyed(workshop: Workshop, postgresql_url: str) -> None:
    chain(workshop, LONG["postgresql"])
    with (
        in_a_while(
            postgresql_url, lambda: call_for_the_sleeping(postgresql_url, "pg_cancel_backend")
        ),
        pytest.raises(StepFailed) as caught,
    ):
        workshop.service(postgresql_url).upgrade()
    assert "canceling statement due to user request" in str(caught.value)
    assert [entry[3] for entry in ledger(postgresql_url)] == ["done", "failed"]


def test_ctrl_c_within_a_step(workshop: Workshop, transactional_database_url: str) -> None:
    chain(workshop, "import fooapp\nfooapp.interrupt()", table("t2")["upgrade"])
    service = workshop.service(transactional_database_url)
    import fooapp

    def interrupt() -> None:
        raise KeyboardInterrupt

    fooapp.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        service.upgrade()
    assert [entry[3] for entry in ledger(transactional_database_url)] == ["done", "stopped"]
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r1",)]
    fooapp.interrupt = lambda: None
    again = workshop.service(transactional_database_url).upgrade()
    assert steps(again) == ["fooapp@r2", "fooapp@r3"]


def test_a_run_that_is_killed_again_and_again(workshop: Workshop, sqlite_url: str) -> None:
    chain(workshop, *(table(f"t{n}")["upgrade"] for n in range(1, 100)))
    path = Path(sqlite_url.partition("///")[2])

    def made() -> list[Any]:
        with contextlib.suppress(sa.exc.OperationalError):
            return rows(sqlite_url, "SELECT 1 FROM sqlite_master WHERE name GLOB 't[0-9]*'")
        return []

    for least in (20, 40):
        service = workshop.service(sqlite_url)
        with forked(lambda service=service: bool(service.upgrade()) and 0) as pid:
            wait_for(lambda least=least: path.exists() and len(made()) > least)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        done = [entry[1] for entry in ledger(sqlite_url) if entry[3] == "done"]
        assert rows(sqlite_url, "SELECT * FROM alembic_history_fooapp") == [(done[-1],)]
        assert len(made()) == len(done)
        assert rows(sqlite_url, "PRAGMA integrity_check") == [("ok",)]
    workshop.service(sqlite_url).upgrade()
    assert len(made()) == 100


# Those who are told


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


@pytest.mark.parametrize("how", ["subscriber", "on_step"])
def test_whoever_is_told_raises(
    workshop: Workshop, transactional_database_url: str, how: str
) -> None:
    """It is no step's failure, and what was applied by then is counted."""
    chain(workshop, *["pass"] * 4, 'op.execute("SELECT nothing")')
    config = workshop.configure(transactional_database_url)
    ended: list[Any] = []
    config.add_subscriber(ended.append, IMigrationRunEnded)

    def applied(event: Any) -> None:
        if event.number == 3:
            raise ValueError("of step 3")

    if how == "subscriber":
        config.add_subscriber(applied, MigrationStepApplied)
    config.commit()
    service: Any = config.registry.getUtility(IMigrationService)
    if how == "on_step":
        service.on_step = applied
    with pytest.raises(ValueError, match="of step 3"):
        service.upgrade()
    entries = ledger(transactional_database_url)
    assert [entry[3] for entry in entries] == ["done"] * 3
    assert len(ended[0].run.steps) == 3


def test_a_subscriber_that_comes_with_the_run(
    workshop: Workshop, transactional_database_url: str
) -> None:
    """It is told of each step before the next one begins."""
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


# The first step of a package


def two_packages(workshop: Workshop, upgrade: str, *upgrades: str) -> None:
    """Make a package that comes first, and another whose first script is given."""
    workshop.package("aaapp", None)
    workshop.script("aaapp", "a1", None, **table("aa"))
    chain(workshop, *upgrades)
    workshop.script("fooapp", "r1", None, upgrade)


def test_a_history_begins_with_its_first_step(
    workshop: Workshop, transactional_database_url: str
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
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
    workshop: Workshop, transactional_database_url: str
) -> None:
    two_packages(workshop, f'{table("t0")["upgrade"]}; op.execute("INSERT INTO no VALUES (1)")')
    with pytest.raises(StepFailed, match=r"r1\.py, line 14"):
        workshop.service(transactional_database_url).upgrade()
    assert not {"t0", "alembic_history_fooapp"} & tables(transactional_database_url)
    workshop.forget()
    workshop.script("fooapp", "r1", None, **table("t0"))
    assert steps(workshop.service(transactional_database_url).upgrade()) == ["fooapp@r1"]


def test_a_history_that_is_there_and_empty(
    workshop: Workshop, transactional_database_url: str
) -> None:
    two_packages(workshop, table("t0")["upgrade"])
    create = "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    execute(transactional_database_url, create)
    workshop.service(transactional_database_url).upgrade()
    assert rows(transactional_database_url, "SELECT * FROM alembic_history_fooapp") == [("r1",)]


@pytest.mark.parametrize("there", [True, False])
def test_a_history_that_somebody_else_begins(
    workshop: Workshop, transactional_database_url: str, there: bool
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    create = "CREATE TABLE alembic_history_fooapp (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    if there:
        execute(transactional_database_url, create)
    asked = itertools.count()

    def stop() -> bool:
        if next(asked) == 1:
            # Nobody who knows the run's lock does that.
            if not there:
                execute(transactional_database_url, create)
            execute(
                transactional_database_url,
                "CREATE TABLE t0 (id INTEGER)",
                "INSERT INTO alembic_history_fooapp VALUES ('r1')",
            )
        return False

    service = workshop.service(transactional_database_url)
    if transactional_database_url.startswith("sqlite"):
        # The lock is one of files: the history is read again before each step.
        assert steps(service.upgrade(stop=stop)) == ["aaapp@a1", "fooapp@r2"]
    else:
        with pytest.raises(StepFailed, match="already exists"):
            service.upgrade(stop=stop)
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
    workshop: Workshop, transactional_database_url: str
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(ENV)
    assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    assert {"before", "t0", "t1"} < tables(transactional_database_url)


def test_a_session_that_env_py_sets_up(workshop: Workshop, postgresql_url: str) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    execute(postgresql_url, "CREATE SCHEMA tenant")
    words = "SET search_path TO tenant, public"
    env = ENV.replace("CREATE TABLE before (id INTEGER)", words)
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(env)
    assert len(workshop.service(postgresql_url).upgrade().steps) == 3
    assert {"t0", "t1"} < set(
        sa.inspect(sa.create_engine(postgresql_url)).get_table_names("tenant")
    )


@pytest.mark.parametrize("question", [1, 2, 3])
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


@pytest.mark.parametrize("name", ["app$history", "log-end", "end", "it's", 'a"b', "a%b", "%(new)s"])
def test_a_history_with_an_odd_name(
    workshop: Workshop, transactional_database_url: str, name: str
) -> None:
    two_packages(workshop, table("t0")["upgrade"], table("t1")["upgrade"])
    service = workshop.service(transactional_database_url, **{"version_table.fooapp": name})
    assert len(service.upgrade().steps) == 3
    assert name in tables(transactional_database_url)


def test_a_listener_that_wants_something_of_each_table(
    workshop: Workshop, transactional_database_url: str
) -> None:
    def look(target: Any, connection: sa.Connection, **_: Any) -> None:
        assert connection.scalar(sa.text(f"SELECT count(*) FROM {target.name}")) == 0

    two_packages(workshop, 'op.execute("CREATE TABLE t0 (id INTEGER)")', table("t1")["upgrade"])
    sa.event.listen(sa.Table, "after_create", look)
    try:
        assert len(workshop.service(transactional_database_url).upgrade().steps) == 3
    finally:
        sa.event.remove(sa.Table, "after_create", look)


@pytest.mark.parametrize(
    "ends",
    [
        "import sys; sys.exit(0)",
        "import argparse; argparse.ArgumentParser().parse_args(['--no-such-flag'])",
        "raise GeneratorExit",
        "raise KeyboardInterrupt",
        "raise BaseException('odd')",
    ],
)
def test_a_script_that_ends_the_process_is_a_failed_step(
    workshop: Workshop, database_url: str, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    # As the command line has it: Ctrl-C is heard by a handler, and raises nothing by itself.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        workshop.package("foo")
        workshop.script("foo", "one", None, 'op.create_table("t", sa.Column("x", sa.Integer))')
        workshop.script("foo", "two", "one", f"{ends}\n")
        workshop.script("foo", "three", "two")
        service = workshop.service(database_url)
        with pytest.raises(StepFailed, match='upgrade of revision "two" of package "foo" failed'):
            service.upgrade()
        assert service.current()[0].rows == ("one",)
    finally:
        signal.signal(signal.SIGINT, before)
    entries = recorded(service)
    assert entries[-1] == ("two", "failed")


def recorded(service: Any) -> list[tuple[str, str]]:
    with service.make_engine().connect() as connection:
        return [(e.revision, e.outcome) for e in service.ledger.entries(connection)]


def test_a_constraint_of_another_name_is_told_with_what_shows_it(
    workshop: Workshop, database_url: str
) -> None:
    workshop.package("shop", None)
    workshop.script("shop", "s1", None, 'op.execute("CREATE TABLE t (id INTEGER)")')
    drop = (
        'with op.batch_alter_table("t") as batch:\n'
        '    batch.drop_constraint("t_id_fkey", type_="foreignkey")'
    )
    workshop.script("shop", "s2", "s1", drop)
    said = r"let the script say the one that it has here \((SHOW CREATE|\\d|\.schema) TABLE shows"
    with pytest.raises(StepFailed, match=said):
        workshop.service(database_url).upgrade()
