"""Scripts that create an enum type in passing, once more than there is need."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from apps import Workshop
from test_service import tables
from websauna_migrate.errors import StepFailed


def table_with(name: str, schema: str | None = None) -> str:
    """Return a script's call that makes a table and the type of its column."""
    return (
        f'op.create_table("{name}", sa.Column("kind", sa.Enum("a", "b", name="kind", '
        f"schema={schema!r})))"
    )


def enums(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        inspector: sa.Inspector = sa.inspect(engine)
        return {enum["name"] for enum in inspector.get_enums()}  # type: ignore[attr-defined]
    finally:
        engine.dispose()


@pytest.fixture
def one(workshop: Workshop) -> Workshop:
    workshop.package("one", None)
    workshop.script("one", "a100", None, table_with("first"))
    return workshop


def test_a_type_is_created_once_in_a_run(one: Workshop, postgresql_url: str) -> None:
    one.script("one", "a200", "a100", table_with("second"))
    one.script("one", "a300", "a200", table_with("third"))
    one.service(postgresql_url).upgrade()
    assert {"first", "second", "third"} <= tables(postgresql_url)


def test_also_in_a_script_of_sql(one: Workshop) -> None:
    one.script("one", "a200", "a100", table_with("second"))
    script = one.service("postgresql+psycopg2://nobody@nowhere.invalid/none").sql()
    assert script.count("CREATE TYPE kind AS ENUM") == 1
    assert script.count("CREATE TABLE second") == 1


def test_a_type_that_was_dropped_is_created_again(one: Workshop, postgresql_url: str) -> None:
    one.script("one", "a200", "a100", 'op.drop_table("first")\nop.execute("DROP TYPE kind")')
    one.script("one", "a300", "a200", table_with("third"))
    one.service(postgresql_url).upgrade()
    assert enums(postgresql_url) == {"kind"}
    assert "third" in tables(postgresql_url)


def test_a_type_of_a_step_that_failed_is_not_remembered(one: Workshop, postgresql_url: str) -> None:
    one.script("one", "a100", None, table_with("first") + '\nop.execute("SELECT nonsense")')
    service = one.service(postgresql_url)
    with pytest.raises(StepFailed):
        service.upgrade()
    assert enums(postgresql_url) == set()
    one.script("one", "a100", None, table_with("first"))
    service.upgrade()
    assert enums(postgresql_url) == {"kind"}


def test_a_type_of_another_schema_is_another_type(one: Workshop, postgresql_url: str) -> None:
    one.script(
        "one", "a200", "a100", 'op.execute("CREATE SCHEMA other")\n' + table_with("second", "other")
    )
    one.script("one", "a300", "a200", table_with("third", "other"))
    one.service(postgresql_url).upgrade()
    assert {"first", "second", "third"} <= tables(postgresql_url)
