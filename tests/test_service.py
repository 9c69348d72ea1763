"""What the service does for packages with scripts, on every database."""

from __future__ import annotations

import pydoc
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate import IMigrationService
from websauna_migrate.errors import InterruptedSteps, StepFailed, UnknownPackage


def table(name: str) -> dict[str, str]:
    """Return the two bodies of a script that creates a table."""
    return {
        "upgrade": f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))',
        "downgrade": f'op.drop_table("{name}")',
    }


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def rows(url: str, query: str) -> list[Any]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]
    finally:
        engine.dispose()


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """An app that requires an add-on's second revision."""
    workshop.package("addon")
    workshop.package("fooapp")
    workshop.script("addon", "a100", **table("a1"))
    workshop.script("addon", "a200", "a100", **table("a2"))
    workshop.script("addon", "a300", "a200", **table("a3"))
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"), requires=["addon@a200"])
    return workshop


def steps(run: Any) -> list[str]:
    return [f"{step.package}@{step.revision}" for step in run.steps]


def test_help_tells_of_every_method(two: Workshop, sqlite_url: str) -> None:
    service = two.service(sqlite_url)
    assert [one for one in IMigrationService if not getattr(type(service), one).__doc__] == []
    assert ":raises" in pydoc.render_doc(service.upgrade)


def test_upgrade_applies_all_packages_along_the_graph(two: Workshop, database_url: str) -> None:
    service = two.service(database_url)
    run = service.upgrade()
    assert steps(run) == [
        "addon@a100",
        "addon@a200",
        "addon@a300",
        "fooapp@f100",
        "fooapp@f200",
    ]
    assert tables(database_url) == {
        "a1",
        "a2",
        "a3",
        "f1",
        "f2",
        "alembic_history_addon",
        "alembic_history_fooapp",
        "websauna_migrate_ledger",
    }
    assert service.upgrade().steps == ()
    assert rows(database_url, "SELECT version_num FROM alembic_history_addon") == [("a300",)]


def test_upgrade_of_one_package_brings_in_what_it_requires_and_no_more(
    two: Workshop, database_url: str
) -> None:
    service = two.service(database_url)
    run = service.upgrade(packages="fooapp")
    assert steps(run) == ["addon@a100", "addon@a200", "fooapp@f100", "fooapp@f200"]
    assert [step.reason for step in run.steps] == [
        "required by fooapp f200",
        "required by fooapp f200",
        "requested",
        "requested",
    ]
    (addon, fooapp) = service.current()
    assert (addon.rows, addon.pending) == (("a200",), 1)
    assert (fooapp.rows, fooapp.pending) == (("f200",), 0)


def test_downgrade_to_base_leaves_only_history_tables(two: Workshop, database_url: str) -> None:
    service = two.service(database_url)
    service.upgrade()
    run = service.downgrade("base")
    assert len(run.steps) == 5
    assert tables(database_url) == {
        "alembic_history_addon",
        "alembic_history_fooapp",
        "websauna_migrate_ledger",
    }
    assert rows(database_url, "SELECT * FROM alembic_history_addon") == []
    assert len(service.upgrade().steps) == 5


def test_each_step_is_in_the_ledger(two: Workshop, database_url: str) -> None:
    run = two.service(database_url).upgrade()
    found = rows(
        database_url,
        "SELECT number, package, revision, direction, outcome, run FROM websauna_migrate_ledger "
        "ORDER BY number",
    )
    assert found == [
        (number, step.package, step.revision, "upgrade", "done", run.id)
        for number, step in enumerate(run.steps, start=1)
    ]


def test_a_failing_step_leaves_nothing_behind(
    two: Workshop, transactional_database_url: str
) -> None:
    path = two.script(
        "fooapp",
        "f300",
        "f200",
        upgrade="""
        op.create_table("half", sa.Column("id", sa.Integer))
        op.execute("SELECT nonsense FROM nowhere")
        """,
    )
    service = two.service(transactional_database_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade()
    message = str(caught.value)
    assert message.startswith(
        f'The upgrade of revision "f300" of package "fooapp" failed ({path}, line 15): '
    )
    assert message.endswith("Nothing of it was applied. 5 earlier steps of this run stay applied.")
    assert "half" not in tables(transactional_database_url)
    assert rows(transactional_database_url, "SELECT version_num FROM alembic_history_fooapp") == [
        ("f200",)
    ]
    path.write_text(path.read_text().replace("SELECT nonsense FROM nowhere", "SELECT 1"))
    assert steps(service.upgrade()) == ["fooapp@f300"]


def test_a_half_done_step_is_found_by_the_next_run(two: Workshop, database_url: str) -> None:
    path = two.script(
        "fooapp",
        "f300",
        "f200",
        upgrade="""
        op.create_table("half", sa.Column("id", sa.Integer))
        op.execute("COMMIT")
        op.execute("SELECT nonsense FROM nowhere")
        """,
    )
    service = two.service(database_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade()
    assert caught.value.half_done
    assert caught.value.exit_code == 3
    with pytest.raises(InterruptedSteps) as refused:
        service.upgrade()
    assert 'upgrade of revision "f300" of package "fooapp"' in str(refused.value)
    assert refused.value.exit_code == 3
    assert path.exists()


def test_a_script_may_use_an_autocommit_block(two: Workshop, database_url: str) -> None:
    two.script(
        "fooapp",
        "f300",
        "f200",
        upgrade="""
        op.create_table("one", sa.Column("id", sa.Integer))
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX one_id ON one (id)")
        op.create_table("two", sa.Column("id", sa.Integer))
        """,
    )
    service = two.service(database_url)
    service.upgrade()
    assert {"one", "two"} <= tables(database_url)
    assert service.upgrade().steps == ()
    assert set(rows(database_url, "SELECT outcome FROM websauna_migrate_ledger")) == {("done",)}


def test_stamp_with_requirements_and_without(two: Workshop, database_url: str) -> None:
    service = two.service(database_url)
    (stamped,) = service.stamp("f200", packages="fooapp")
    assert (stamped.package, stamped.before, stamped.after) == ("fooapp", (), ("f200",))
    changed = service.stamp("f200", packages="fooapp", with_requirements=True)
    assert [(one.package, one.after) for one in changed] == [("addon", ("a200",))]
    assert steps(service.upgrade()) == ["addon@a300"]


def test_an_unknown_package_is_refused_and_nothing_is_created(
    two: Workshop, database_url: str
) -> None:
    service = two.service(database_url)
    with pytest.raises(UnknownPackage) as caught:
        service.upgrade(packages=["foapp"])
    assert str(caught.value) == (
        'No package "foapp" is registered for migrations. Did you mean "fooapp"?\n'
        'Registered are: "addon", "fooapp".'
    )
    assert tables(database_url) == set()


def test_looking_creates_nothing(two: Workshop, database_url: str, sqlite_url: str) -> None:
    service = two.service(database_url)
    assert [state.pending for state in service.current()] == [3, 2]
    assert len(service.history()) == 5
    assert len(service.plan().steps) == 5
    assert tables(database_url) == set()


def test_history_is_one_timeline(two: Workshop, sqlite_url: str) -> None:
    service = two.service(sqlite_url)
    entries = service.history()
    assert [str(entry.revision) for entry in entries] == [
        "fooapp@f200",
        "fooapp@f100",
        "addon@a300",
        "addon@a200",
        "addon@a100",
    ]
    assert entries[0].requires == ("addon@a200",)
    assert [str(e.revision) for e in service.history("a100:a200", packages="addon")] == [
        "addon@a200",
        "addon@a100",
    ]


def test_sql_needs_no_database(two: Workshop) -> None:
    service = two.service("postgresql+psycopg2://nobody@nowhere.invalid/none")
    script = service.sql(packages="fooapp")
    assert script.index("CREATE TABLE a2") < script.index("CREATE TABLE f2")
    assert "CREATE TABLE a3" not in script
    assert script.count("BEGIN;") == script.count("COMMIT;") == 4


def test_a_removed_package_is_reported_by_name(two: Workshop, database_url: str) -> None:
    two.script("fooapp", "f200", "f100", **table("f2"))
    two.service(database_url).upgrade()
    service = two.service(database_url, "fooapp")
    (fooapp, gone) = service.current()
    assert (gone.package, gone.installed, gone.rows) == ("addon", False, ("a300",))
    assert fooapp.installed
    assert service.upgrade().steps == ()
