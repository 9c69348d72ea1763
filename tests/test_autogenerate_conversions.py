"""What changes of types do on PostgreSQL to the rows that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import execute, rows
from websauna_migrate.errors import NotProven

MODELS = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", {}))
"""

#: The old type and the new one, and a value that does not fit into it.
TOO_LONG = [
    ("sa.Text", "sa.String(3)", "'abcdef'"),
    ("sa.Integer", "sa.String(3)", "12345"),
    ("sa.Enum('alpha', name='e')", "sa.CHAR(3)", "'alpha'"),
    ("sa.ARRAY(sa.Integer)", "sa.ARRAY(sa.String(3))", "'{12345}'"),
    ("postgresql.BIT(8)", "postgresql.BIT(4, varying=True)", "B'11111111'"),
    ("postgresql.BIT(8)", "postgresql.BIT(4)", "B'11111111'"),
]


def with_row(workshop: Workshop, url: str, old: str, new: str, value: str) -> Any:
    """Return the service of models with another type than the table has, which has a row."""
    folder = workshop.package("fooapp", MODELS.format(old), metadata="fooapp.models.metadata")
    workshop.service(url).revision("one", autogenerate=True)
    workshop.service(url).upgrade()
    execute(url, f"INSERT INTO t VALUES (1, {value})")
    workshop.forget()
    (folder / "models.py").write_text(MODELS.format(new))
    return workshop.service(url)


@pytest.mark.parametrize(("old", "new", "value"), TOO_LONG)
def test_a_value_that_is_too_long_is_not_cut_off(
    workshop: Workshop, postgresql_url: str, old: str, new: str, value: str
) -> None:
    service = with_row(workshop, postgresql_url, old, new, value)
    with pytest.raises(NotProven, match=r"too long for type|does not match type") as caught:
        service.revision("two", autogenerate=True)
    assert "change such rows before, in the database" in str(caught.value)
    assert rows(postgresql_url, f"SELECT x = {value} FROM t") == [(True,)]
    execute(postgresql_url, "UPDATE t SET x = NULL")
    service.revision("two", autogenerate=True)


@pytest.mark.parametrize(
    ("old", "new", "value", "converted"),
    [
        ("sa.LargeBinary", "sa.Text", r"'a\\b\303\244'::bytea", r"'a\bä'"),
        ("sa.Text", "sa.LargeBinary", r"'a\bä'", r"'a\\b\303\244'::bytea"),
        ("sa.String(9)", "sa.LargeBinary", "'abc'", "'abc'::bytea"),
        ("sa.LargeBinary", "postgresql.JSONB", "'[1]'::bytea", "'[1]'::jsonb"),
    ],
)
def test_texts_and_bytes_become_each_other(
    workshop: Workshop, postgresql_url: str, old: str, new: str, value: str, converted: str
) -> None:
    service = with_row(workshop, postgresql_url, old, new, value)
    service.revision("two", autogenerate=True)
    service.upgrade()
    assert rows(postgresql_url, f"SELECT x = {converted} FROM t") == [(True,)]
    service.downgrade("-1")
    assert rows(postgresql_url, f"SELECT x = {value} FROM t") == [(True,)]


def test_what_has_no_cast_is_converted_by_hand(workshop: Workshop, postgresql_url: str) -> None:
    service = with_row(
        workshop, postgresql_url, "postgresql.JSONB", "sa.ARRAY(sa.Integer)", "'[1, 2]'"
    )
    with pytest.raises(NotProven, match=r"cannot cast type jsonb to integer\[\]") as caught:
        service.revision("two", autogenerate=True)
    assert "postgresql_using=... in the script" in str(caught.value)
    (script,) = service.revision("two", autogenerate=True, keep=True)
    path = Path(script.path)
    using = "translate(x::text, '[]', '{}')::integer[]"
    path.write_text(path.read_text().replace("'x::INTEGER[]'", repr(using)))
    path.write_text(path.read_text().replace("x::JSONB", "to_jsonb(x)"))
    service = workshop.service(postgresql_url)
    service.upgrade()
    assert rows(postgresql_url, "SELECT x FROM t") == [([1, 2],)]
    service.downgrade("-1")


def test_a_type_that_a_listener_creates_is_written_by_hand(
    workshop: Workshop, postgresql_url: str
) -> None:
    listener = """
class Pair(sa.types.UserDefinedType):
    cache_ok = True

    def get_col_spec(self, **kw):
        return "pair"

metadata = sa.MetaData()
sa.event.listen(metadata, "before_create", sa.DDL("CREATE TYPE pair AS (a integer, b integer)"))
"""
    models = MODELS.replace("metadata = sa.MetaData()", listener).format("Pair()")
    workshop.package("fooapp", models, metadata="fooapp.models.metadata")
    service = workshop.service(postgresql_url)
    with pytest.raises(NotProven, match='type "pair" does not exist') as caught:
        service.revision("one", autogenerate=True)
    assert 'op.execute("CREATE ...") into a revision before' in str(caught.value)
    (script,) = service.revision("type")
    path = Path(script.path)
    create = 'op.execute("CREATE TYPE pair AS (a integer, b integer)")'
    path.write_text(path.read_text().replace("pass", create, 1))
    service = workshop.service(postgresql_url)
    service.upgrade()
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert rows(postgresql_url, "SELECT * FROM t") == []
