"""SQLite: a table is rebuilt while foreign keys are on, and no row that refers to it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from apps import Workshop
from projects import Project
from runs import execute, ledger, rows, steps, tables
from websauna_migrate.config.template import template_folder
from websauna_migrate.errors import StepFailed

PARENT = """
op.create_table(
    "run", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9))
)
"""

BATCH = """
with op.batch_alter_table("run") as batch:
    batch.alter_column("name", type_=sa.String(30), existing_type=sa.String(9))
"""

BACK = BATCH.replace("String(30)", "String(8)")


def turn_on(dbapi_connection: Any, record: Any) -> None:
    dbapi_connection.execute("PRAGMA foreign_keys=ON")


@contextmanager
def listening(target: Any) -> Iterator[None]:
    event.listen(target, "connect", turn_on)
    try:
        yield
    finally:
        event.remove(target, "connect", turn_on)


@pytest.fixture(params=[Engine, Pool], ids=["Engine", "Pool"])
def enforced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Foreign keys are on in every connection, by a listener as applications have it."""
    with listening(request.param):
        yield


def child(rule: str, name: str = "metric") -> str:
    return (
        f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True), '
        f'sa.Column("run_id", sa.Integer, sa.ForeignKey("run.id", {rule})))'
    )


def fill(url: str) -> None:
    execute(
        url,
        "INSERT INTO run VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO metric VALUES (1, 1), (2, 1), (3, 2)",
    )


def children(url: str) -> list[Any]:
    return rows(url, "SELECT id, run_id FROM metric ORDER BY id")


KEPT = [(1, 1), (2, 1), (3, 2)]

RULES = [
    "ondelete='CASCADE'",
    "ondelete='SET NULL'",
    "ondelete=None",
    "ondelete='SET DEFAULT'",
    "deferrable=True, initially='DEFERRED'",
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_rows_that_refer_to_a_rebuilt_table_stay(
    workshop: Workshop, sqlite_url: str, enforced: None, rule: str, atomic: bool
) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, PARENT + child(rule))
    workshop.script("app", "two", "one", BATCH, BACK)
    workshop.script("app", "three", "two", 'op.create_table("x", sa.Column("id", sa.Integer))')
    service = workshop.service(sqlite_url)
    service.upgrade("one")
    fill(sqlite_url)
    dry = service.upgrade(dry_run=True)
    assert steps(dry) == ["app@two", "app@three"]
    assert children(sqlite_url) == KEPT and "x" not in tables(sqlite_url)
    assert steps(service.upgrade(atomic=atomic)) == ["app@two", "app@three"]
    assert children(sqlite_url) == KEPT
    if not atomic:
        service.downgrade("one")
        assert children(sqlite_url) == KEPT
    assert rows(sqlite_url, "PRAGMA foreign_key_check") == []
    assert "_alembic_tmp_run" not in tables(sqlite_url)
    assert {outcome for *_, outcome in ledger(sqlite_url)} == {"done"}


def test_a_table_whose_name_is_a_word_of_sqlite_refers_to_it(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    """``transaction``, as Langflow has it, is none of PostgreSQL's words."""
    workshop.package("app")
    workshop.script("app", "one", None, PARENT + child(RULES[0], "transaction"))
    workshop.script("app", "two", "one", BATCH)
    orphans = BATCH + 'op.execute("DELETE FROM run WHERE id = 1")'
    workshop.script("app", "three", "two", orphans)
    service = workshop.service(sqlite_url)
    service.upgrade("one")
    execute(sqlite_url, "INSERT INTO run VALUES (1, 'a')")
    execute(sqlite_url, 'INSERT INTO "transaction" VALUES (1, 1)')
    assert steps(service.upgrade("two")) == ["app@two"]
    with pytest.raises(StepFailed, match='1 row of "transaction" that refer'):
        service.upgrade()
    assert rows(sqlite_url, 'SELECT * FROM "transaction"') == [(1, 1)]


def two_steps(workshop: Workshop, url: str, upgrade: str, rule: str = RULES[0]) -> Any:
    """Return the service of a package whose second step does something to filled tables."""
    workshop.package("app")
    workshop.script("app", "one", None, PARENT + child(rule))
    workshop.script("app", "two", "one", upgrade)
    service = workshop.service(url)
    service.upgrade("one")
    fill(url)
    return service


REBUILT_BY_HAND = """
op.execute("CREATE TABLE new_run (id INTEGER PRIMARY KEY, name VARCHAR(30))")
op.execute("INSERT INTO new_run SELECT * FROM run")
op.execute("DROP TABLE run")
op.execute("ALTER TABLE new_run RENAME TO run")
"""


@pytest.mark.parametrize(
    "upgrade",
    [
        pytest.param(REBUILT_BY_HAND, id="by hand"),
        pytest.param(
            "op.execute('PRAGMA foreign_keys=OFF')\n"
            + REBUILT_BY_HAND
            + "op.execute('PRAGMA foreign_keys=ON')",
            id="by hand, with its own pragma",
        ),
        pytest.param("op.execute('PRAGMA foreign_keys = off')\n" + BATCH, id="its own pragma"),
        pytest.param(
            "with op.get_context().autocommit_block():\n    "
            + BATCH.strip().replace("\n", "\n    "),
            id="autocommit",
        ),
        pytest.param(
            "try:\n    " + BATCH.strip().replace("\n", "\n    ") + "\nexcept Exception:\n    pass",
            id="swallowed",
        ),
    ],
)
def test_every_way_of_rebuilding_keeps_the_rows(
    workshop: Workshop, sqlite_url: str, enforced: None, upgrade: str
) -> None:
    service = two_steps(workshop, sqlite_url, upgrade)
    assert steps(service.upgrade()) == ["app@two"]
    assert children(sqlite_url) == KEPT
    assert rows(sqlite_url, "SELECT id, name FROM run ORDER BY id") == [(1, "a"), (2, "b")]
    assert (
        "VARCHAR(30)" in rows(sqlite_url, "SELECT sql FROM sqlite_master WHERE name = 'run'")[0][0]
    )


@pytest.fixture(params=["keys", "BEGIN"])
def begun_by_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """All engines have a listener at a transaction's beginning: for the keys, or that begins it."""

    def begin(connection: Any) -> None:
        said = "PRAGMA foreign_keys=ON" if request.param == "keys" else "BEGIN"
        connection.exec_driver_sql(said)

    with ExitStack() as stack:
        if request.param == "BEGIN":
            stack.enter_context(listening(Engine))
        event.listen(Engine, "begin", begin)
        stack.callback(event.remove, Engine, "begin", begin)
        yield


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
@pytest.mark.parametrize("upgrade", [BATCH, REBUILT_BY_HAND], ids=["batch", "by hand"])
def test_listeners_at_the_beginning_of_transactions_lose_no_rows(
    workshop: Workshop, sqlite_url: str, begun_by_others: None, upgrade: str, atomic: bool
) -> None:
    service = two_steps(workshop, sqlite_url, upgrade)
    assert steps(service.upgrade(atomic=atomic)) == ["app@two"]
    assert children(sqlite_url) == KEPT
    delete = 'op.execute("DELETE FROM run WHERE id = 2")\n'
    workshop.script("app", "three", "two", delete)
    assert steps(workshop.service(sqlite_url).upgrade(atomic=atomic)) == ["app@three"]
    assert children(sqlite_url) == KEPT[:2]
    workshop.script("app", "four", "three", delete.replace("2", "1") + PARENT)
    with pytest.raises(StepFailed):
        workshop.service(sqlite_url).upgrade(atomic=atomic)
    assert children(sqlite_url) == KEPT[:2]


RENAMED_AWAY = """
op.rename_table("run", "Old_Run")
op.execute("CREATE TABLE run (id INTEGER PRIMARY KEY, name VARCHAR(30))")
op.execute("INSERT INTO run SELECT * FROM old_run")
op.drop_table("old_run")
"""


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_keys_that_go_with_a_renamed_table_are_told(
    workshop: Workshop, sqlite_url: str, enforced: None, atomic: bool
) -> None:
    service = two_steps(workshop, sqlite_url, RENAMED_AWAY)
    with pytest.raises(StepFailed) as failed:
        service.upgrade(atomic=atomic)
    assert (
        str(failed.value)
        .partition("it leaves ")[2]
        .startswith(
            '3 rows of "metric" that refer to no row of "Old_Run". It rebuilds a table, so PRAGMA '
            "foreign_keys is off in it, and no key deletes or changes rows. Their keys went with a "
            "table when it was renamed. Let the script make the new table under a name of its own, "
            "copy the rows, drop the old table, and rename the new one."
        )
    )
    assert children(sqlite_url) == KEPT
    workshop.script("app", "two", "one", REBUILT_BY_HAND)
    assert steps(workshop.service(sqlite_url).upgrade()) == ["app@two"]
    assert children(sqlite_url) == KEPT
    workshop.script("app", "three", "two", 'op.rename_table("run", "gone")\nop.drop_table("gone")')
    assert steps(workshop.service(sqlite_url).upgrade()) == ["app@three"]
    assert children(sqlite_url) == []


def test_a_table_that_refers_to_itself_is_rebuilt(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    workshop.package("app")
    workshop.script(
        "app",
        "one",
        None,
        'op.create_table("run", sa.Column("id", sa.Integer, primary_key=True), '
        'sa.Column("name", sa.String(9)), '
        "sa.Column('up', sa.Integer, sa.ForeignKey('run.id', ondelete='CASCADE')))",
    )
    workshop.script("app", "two", "one", BATCH)
    service = workshop.service(sqlite_url)
    service.upgrade("one")
    execute(sqlite_url, "INSERT INTO run VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 2)")
    service.upgrade()
    assert rows(sqlite_url, "SELECT id, up FROM run ORDER BY id") == [(1, None), (2, 1), (3, 2)]
    found = rows(sqlite_url, "SELECT \"table\" FROM pragma_foreign_key_list('run')")
    assert found == [("run",)]


def test_the_setting_is_as_it_was_in_the_steps_around(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    on = 'assert op.get_bind().exec_driver_sql("PRAGMA foreign_keys").scalar() == 1'
    service = two_steps(workshop, sqlite_url, BATCH)
    workshop.script("app", "three", "two", on)
    assert steps(service.upgrade()) == ["app@two", "app@three"]


def test_what_a_script_deletes_takes_with_it_what_keys_say(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    service = two_steps(workshop, sqlite_url, 'op.execute("DELETE FROM run WHERE id = 1")')
    service.upgrade()
    assert children(sqlite_url) == [(3, 2)]


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_a_rebuild_that_leaves_orphans_fails(
    workshop: Workshop, sqlite_url: str, enforced: None, atomic: bool
) -> None:
    service = two_steps(workshop, sqlite_url, BATCH + 'op.execute("DELETE FROM run WHERE id = 1")')
    with pytest.raises(StepFailed) as caught:
        service.upgrade(atomic=atomic)
    assert str(caught.value).startswith('The upgrade of revision "two" of package "app" failed (')
    assert 'it leaves 2 rows of "metric" that refer to no row of "run".' in str(caught.value)
    assert "Nothing of it was applied." in str(caught.value)
    assert caught.value.exit_code == 6
    assert children(sqlite_url) == KEPT
    assert len(rows(sqlite_url, "SELECT * FROM run")) == 2
    assert ledger(sqlite_url)[-1][-1] == "failed"


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
@pytest.mark.parametrize(
    "batch",
    [
        BATCH,
        "name = 'run'\n" + BATCH.replace('"run"', "name"),
        """
op.execute("CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT)")
op.execute("INSERT INTO new SELECT * FROM run")
op.drop_table("run")
op.execute('ALTER TABLE new RENAME TO "run"')
""",
    ],
    ids=["literal", "local name", "SQL"],
)
def test_a_script_that_names_what_it_rebuilds_is_run_once(
    workshop: Workshop, sqlite_url: str, enforced: None, atomic: bool, batch: str
) -> None:
    note = f"with open({str(workshop.root / 'runs')!r}, 'a') as file:\n    file.write('x')\n"
    service = two_steps(workshop, sqlite_url, note + batch)
    workshop.script("app", "three", "two", note)
    service.upgrade(atomic=atomic)
    assert children(sqlite_url) == KEPT
    assert (workshop.root / "runs").read_text() == "xx"


@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_a_batch_that_rebuilds_nothing_leaves_keys_as_they_are(
    workshop: Workshop, sqlite_url: str, enforced: None, atomic: bool
) -> None:
    index = 'with op.batch_alter_table("run") as batch:\n    batch.create_index("ix", ["name"])\n'
    delete = 'op.execute("DELETE FROM run WHERE id = 1")'
    service = two_steps(workshop, sqlite_url, index + delete)
    service.upgrade(atomic=atomic)
    assert children(sqlite_url) == [(3, 2)]


def test_orphans_from_before_do_not_fail_the_step(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    service = two_steps(workshop, sqlite_url, BATCH)
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection:
        connection.connection.dbapi_connection.execute("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("INSERT INTO metric VALUES (9, 77)")
        connection.commit()
    engine.dispose()
    service.upgrade()
    assert children(sqlite_url) == [*KEPT, (9, 77)]


def test_a_rebuild_behind_a_commit_by_hand_loses_nothing(
    workshop: Workshop, sqlite_url: str, enforced: None
) -> None:
    # The text does not say which table it is: else keys are off from the beginning.
    batch = BATCH.replace('"run"', '"".join(["ru", "n"])')
    service = two_steps(workshop, sqlite_url, "op.execute('COMMIT')\nop.execute('BEGIN')\n" + batch)
    with pytest.raises(StepFailed, match='rebuilds the table "run"') as caught:
        service.upgrade()
    assert caught.value.half_done
    assert children(sqlite_url) == KEPT


def test_the_schema_is_the_one_without_foreign_keys(
    workshop: Workshop, sqlite_url: str, tmp_path: Any
) -> None:
    found = []
    other = f"sqlite:///{tmp_path}/other.sqlite"
    for url, listeners in ((sqlite_url, [Engine]), (other, [])):
        with listening_to(listeners):
            if not found:
                service = two_steps(workshop, url, BATCH)
            else:
                service = workshop.service(url)
                service.upgrade("one")
                fill(url)
            service.upgrade()
        found.append(rows(url, "SELECT name, sql FROM sqlite_master ORDER BY name"))
    assert found[0] == found[1]


@contextmanager
def listening_to(targets: list[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(listening(target))
        yield


ON = """
from sqlalchemy import event
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "connect")
def turn_on(connection, record):
    connection.execute("PRAGMA foreign_keys=ON")

"""


def test_plain_alembic_with_our_env_py_keeps_the_rows(
    make_project: Callable[..., Project], sqlite_url: str
) -> None:
    project = make_project(sqlite_url)
    project.main(ON)
    project.env((template_folder() / "env.py").read_text())
    project.script("one", None, PARENT + child(RULES[0]))
    project.script("two", "one", BATCH)
    project.alembic("upgrade", "one")
    fill(sqlite_url)
    project.alembic("upgrade", "+1")
    assert children(sqlite_url) == KEPT
    assert (
        "VARCHAR(30)" in rows(sqlite_url, "SELECT sql FROM sqlite_master WHERE name = 'run'")[0][0]
    )
    # The same with a step in between.
    project.script("three", "two", 'op.execute("CREATE TABLE x (id INTEGER)")')
    project.script("four", "three", BACK)
    project.alembic("upgrade", "head")
    assert children(sqlite_url) == KEPT


ATTACHED = """
op.execute("CREATE TABLE far.run (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(9))")
op.execute("CREATE TABLE far.metric (id INTEGER PRIMARY KEY, "
           "run_id INTEGER REFERENCES run ON DELETE CASCADE)")
op.execute("CREATE UNIQUE INDEX far.by_name ON run (name COLLATE NOCASE DESC)")
op.execute("CREATE TRIGGER far.lowers AFTER INSERT ON run "
           "BEGIN UPDATE run SET name = lower(name) WHERE id = new.id; END")
op.execute("INSERT INTO far.run (id, name) VALUES (1, 'A'), (2, 'b'), (7, 'c')")
op.execute("DELETE FROM far.run WHERE id = 7")
op.execute("INSERT INTO far.metric VALUES (1, 1), (2, 1), (3, 2)")
"""

FAR_BY_HAND = REBUILT_BY_HAND.replace("TABLE ", "TABLE far.").replace("INTO new", "INTO far.new")


@pytest.mark.parametrize(
    "upgrade",
    [
        BATCH.replace('"run")', '"run", schema="far")'),
        BATCH.replace('"run")', '"".join("run"), schema="far")'),
        pytest.param(FAR_BY_HAND.replace("FROM run", "FROM far.run"), id="by hand"),
    ],
)
@pytest.mark.parametrize("atomic", [False, True], ids=["steps", "atomic"])
def test_a_table_of_an_attached_database_is_rebuilt(
    workshop: Workshop, sqlite_url: str, upgrade: str, atomic: bool
) -> None:
    """Each database has keys of its own, and may have a table of the same name."""
    far = workshop.root / "far.sqlite"

    def attach(dbapi_connection: Any, record: Any) -> None:
        turn_on(dbapi_connection, record)
        dbapi_connection.execute("ATTACH ? AS far", (str(far),))

    event.listen(Engine, "connect", attach)
    try:
        workshop.package("app")
        workshop.script("app", "one", None, PARENT + ATTACHED)
        workshop.script("app", "two", "one", upgrade)
        workshop.script("app", "three", "two", 'op.execute("DELETE FROM far.run WHERE id = 2")')
        service = workshop.service(sqlite_url)
        service.upgrade("one")
        service.upgrade("two", atomic=atomic)
        found = f"sqlite:///{far}"
        assert children(found) == KEPT
        assert rows(found, "PRAGMA foreign_key_check") == []
        (text,) = rows(found, "SELECT sql FROM sqlite_master WHERE name = 'run'")[0]
        assert "VARCHAR(30)" in text
        if "batch" in upgrade:
            execute(found, "INSERT INTO run (name) VALUES ('D')")
            assert rows(found, "SELECT id, name FROM run WHERE id > 2") == [(8, "d")]
            kept = "SELECT name FROM sqlite_master WHERE type IN ('index', 'trigger') ORDER BY name"
            assert rows(found, kept) == [("by_name",), ("lowers",)]
        service.upgrade("three")
        assert children(found) == KEPT[:2]
    finally:
        event.remove(Engine, "connect", attach)
