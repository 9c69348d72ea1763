"""A whole run as one transaction, and a run that is rolled back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import blocking, execute, ledger, rows, steps, table, tables
from websauna_migrate.errors import NotAtomic, StepFailed
from websauna_migrate.interfaces import IMigrationStepApplied


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """An app that requires an add-on."""
    workshop.package("addon")
    workshop.package("fooapp")
    workshop.script("addon", "a100", **table("a1"))
    workshop.script("addon", "a200", "a100", **table("a2"))
    workshop.script("fooapp", "f100", **table("f1"), requires=["addon@a200"])
    return workshop


BROKEN = 'op.execute("SELECT nonsense FROM nowhere")'


def test_an_atomic_run_applies_all(two: Workshop, transactional_database_url: str) -> None:
    config = two.configure(transactional_database_url)
    seen: list[Any] = []
    config.registry.registerHandler(seen.append, (IMigrationStepApplied,))
    from websauna_migrate.interfaces import IMigrationService

    service = config.registry.getUtility(IMigrationService)
    run = service.upgrade(atomic=True)
    assert steps(run) == ["addon@a100", "addon@a200", "fooapp@f100"]
    assert {"a1", "a2", "f1"} <= tables(transactional_database_url)
    assert [entry[3] for entry in ledger(transactional_database_url)] == ["done"] * 3
    assert [(event.number, event.total) for event in seen] == [(1, 3), (2, 3), (3, 3)]
    assert service.upgrade(atomic=True).steps == ()
    assert len(service.downgrade("base", atomic=True).steps) == 3
    assert not {"a1", "a2", "f1"} & tables(transactional_database_url)


@pytest.mark.parametrize("options", [{}, {"atomic": True}, {"dry_run": True}])
def test_env_py_runs_once_for_the_steps_of_a_package_in_a_row(
    two: Workshop, sqlite_url: str, options: dict[str, bool]
) -> None:
    for package in ("addon", "fooapp"):
        (two.root / package / "alembic" / "env.py").write_text(
            f'with open({str(two.root / "noted")!r}, "a") as file:\n'
            f'    file.write("{package} ")\n'
            "from alembic import context\n"
            'context.configure(connection=context.config.attributes["connection"])\n'
            "context.run_migrations()\n"
        )
    assert len(two.service(sqlite_url).upgrade(**options).steps) == 3
    # It runs first to tell how it connects, where that matters: what a dry run does goes with it.
    runs = 1 if options.get("dry_run") else 2
    assert (two.root / "noted").read_text() == "addon fooapp " * runs


def test_an_atomic_run_leaves_nothing_when_a_step_fails(
    two: Workshop, transactional_database_url: str
) -> None:
    two.script("fooapp", "f200", "f100", upgrade=BROKEN)
    service = two.service(transactional_database_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade(atomic=True)
    assert str(caught.value).endswith(
        "Nothing of it was applied. The earlier steps of this run were rolled back with it."
    )
    assert tables(transactional_database_url) == {"websauna_migrate_ledger"}
    assert ledger(transactional_database_url) == [("fooapp", "f200", "upgrade", "failed")]
    two.script("fooapp", "f200", "f100")
    assert len(two.service(transactional_database_url).upgrade().steps) == 4


def test_an_atomic_run_is_impossible_on_mariadb(two: Workshop, mariadb_url: str) -> None:
    with pytest.raises(NotAtomic) as caught:
        two.service(mariadb_url).upgrade(atomic=True)
    assert str(caught.value) == (
        "An atomic run (--atomic) is impossible on this database: it commits at each change of "
        "the schema. Nothing was changed.\n"
        "Run without it: each step is marked, and a half done one is found by the next run."
    )
    with pytest.raises(
        NotAtomic, match=r"A dry run is impossible.*\n.*alembic plan --sql"
    ) as shown:
        two.service(mariadb_url).upgrade(dry_run=True)
    assert "Run without it" not in str(shown.value)
    assert tables(mariadb_url) == set()


@pytest.mark.parametrize("option", ["atomic", "dry_run"])
def test_steps_that_cannot_be_part_of_it_are_named(
    two: Workshop, transactional_database_url: str, option: str
) -> None:
    block = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')"
    two.script("fooapp", "f200", "f100", upgrade=block)
    two.script("fooapp", "f300", "f200", downgrade=block)
    two.script("fooapp", "f400", "f300", upgrade='op.execute("COMMIT")')
    path = two.script("fooapp", "f500", "f400")
    path.write_text(path.read_text() + "\ntransactional = False\n")
    two.script("fooapp", "f600", "f500", upgrade='x = "CREATE INDEX CONCURRENTLY a ON b (c)"')
    two.script("fooapp", "f700", "f600", upgrade="dict(postgresql_concurrently=False)")
    service = two.service(transactional_database_url)
    with pytest.raises(NotAtomic) as caught:
        service.upgrade(**{option: True})
    expected = {
        "fooapp@f200": "line 14 uses autocommit_block()",
        "fooapp@f400": "line 14 has COMMIT",
        "fooapp@f500": "its script says transactional = False",
    }
    if transactional_database_url.startswith("postgresql"):
        expected["fooapp@f600"] = "line 14 has CONCURRENTLY"
    assert caught.value.reasons == expected
    assert tables(transactional_database_url) == set()
    assert len(service.upgrade("f100", atomic=True).steps) == 3


@pytest.mark.parametrize("option", ["atomic", "dry_run"])
def test_what_other_databases_run_is_not_in_the_way(
    two: Workshop, transactional_database_url: str, option: str
) -> None:
    name = transactional_database_url.partition(":")[0].partition("+")[0]
    other = "postgresql" if name == "sqlite" else "sqlite"
    block = "with op.get_context().autocommit_block():\n        op.execute('VACUUM')"
    two.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"bind = op.get_bind()\n"
        f"if bind.dialect.name == {other!r}:\n    {block}\n"
        f"elif bind.dialect.name != {name!r}:\n    {block}\n"
        f"else:\n    op.execute('SELECT 1')\n"
        f"dialect = bind.engine.name\n"
        f"is_other = dialect in {{{other!r}}}\n"
        f"if is_other:\n    {block}\n"
        f"if bind.dialect.name == {name!r}:\n    return\n"
        f"with op.get_context().autocommit_block():\n    op.execute('COMMIT')",
    )
    service = two.service(transactional_database_url)
    assert len(service.upgrade(**{option: True}).steps) == 4


def test_a_setting_of_the_database_is_not_in_the_way(two: Workshop, postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2]
    change = f'op.execute("ALTER DATABASE {name} SET statement_timeout = 0")'
    two.script("fooapp", "f200", "f100", upgrade=change)
    assert len(two.service(postgresql_url).upgrade(atomic=True).steps) == 4


def test_a_first_step_that_is_in_the_way_is_upgraded_to_without(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp")
    block = "with op.get_context().autocommit_block():\n    op.execute('VACUUM')"
    workshop.script("fooapp", "f100", upgrade=block)
    workshop.script("fooapp", "f200", "f100", upgrade='op.execute("SELECT 1")')
    ini = workshop.application("fooapp", tmp_path / "fooapp.ini", postgresql_url)
    refused = workshop.ws(ini, "-x", "packages=all", "upgrade", "--atomic")
    assert refused.status == 1
    assert "Upgrade to the last of these without it; the rest may be one" in refused.err
    assert workshop.ws(ini, "-x", "packages=all", "upgrade", "fooapp@f100").status == 0
    assert workshop.ws(ini, "-x", "packages=all", "upgrade", "--atomic").status == 0


@pytest.mark.parametrize("option", ["atomic", "dry_run"])
@pytest.mark.parametrize(
    "hidden",
    [
        'op.execute("COM" + "MIT")',
        'getattr(op.get_context(), "autocommit" + "_block")()',
        'op.execute("INSERT INTO a1 VALUES (1); COM" + "MIT")',
    ],
)
def test_a_hidden_commit_is_refused_when_it_runs(
    two: Workshop, postgresql_url: str, option: str, hidden: str
) -> None:
    two.script("fooapp", "f200", "f100", upgrade=hidden)
    with pytest.raises(StepFailed) as caught:
        two.service(postgresql_url).upgrade(**{option: True})
    assert "would end the transaction that the whole run is" in str(caught.value)
    assert tables(postgresql_url) <= {"websauna_migrate_ledger"}


def test_a_function_with_a_body_is_no_commit(two: Workshop, postgresql_url: str) -> None:
    two.script(
        "fooapp",
        "f200",
        "f100",
        upgrade='''
        op.execute("""
        CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM 1;
            COMMIT;
        END;
        $$
        """)
        ''',
    )
    assert len(two.service(postgresql_url).upgrade(atomic=True).steps) == 4


def test_an_atomic_run_is_tried_again_as_a_whole(
    two: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    execute(url, "CREATE TABLE busy (id INTEGER PRIMARY KEY)", "INSERT INTO busy VALUES (1)")
    two.script("fooapp", "f200", "f100", upgrade='op.add_column("busy", sa.Column("x", sa.Text))')
    hold = "UPDATE busy SET id = 1" if url.startswith("sqlite") else "SELECT * FROM busy"
    with blocking(url, hold, seconds=1):
        assert len(two.service(url).upgrade(atomic=True).steps) == 4
    assert [entry[3] for entry in ledger(url)] == ["done"] * 4


def test_a_dry_run_says_what_it_did_and_leaves_nothing(
    two: Workshop, transactional_database_url: str
) -> None:
    service = two.service(transactional_database_url)
    began = time.monotonic()
    run = service.upgrade(dry_run=True)
    assert run.dry_run
    assert steps(run) == ["addon@a100", "addon@a200", "fooapp@f100"]
    assert 0 < sum(step.seconds for step in run.steps) < time.monotonic() - began
    assert tables(transactional_database_url) == set()
    assert len(service.upgrade().steps) == 3
    before = rows(transactional_database_url, "SELECT * FROM websauna_migrate_ledger")
    assert len(service.downgrade("base", dry_run=True).steps) == 3
    assert rows(transactional_database_url, "SELECT * FROM websauna_migrate_ledger") == before
    assert {"a1", "a2", "f1"} <= tables(transactional_database_url)


def test_a_dry_run_makes_no_sqlite_file(two: Workshop, sqlite_url: str) -> None:
    assert len(two.service(sqlite_url).upgrade(dry_run=True).steps) == 3
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_dry_run_that_fails_says_where(two: Workshop, transactional_database_url: str) -> None:
    path = two.script("fooapp", "f200", "f100", upgrade=BROKEN)
    with pytest.raises(StepFailed) as caught:
        two.service(transactional_database_url).upgrade(dry_run=True)
    assert f"({path}, line 14)" in str(caught.value)
    assert tables(transactional_database_url) == set()
