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
sa.Table("{}", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", {}))
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


def with_rows(workshop: Workshop, url: str, **changes: tuple[str, str, str]) -> Any:
    """Return the service of models with another type than their table has, which has a row.

    :param changes: by the package, whose table has its name: the old type, the new one, a value
    """
    for name, (old, *_) in changes.items():
        workshop.package(name, MODELS.format(name, old), metadata=f"{name}.models.metadata")
    workshop.service(url).revision("one", autogenerate=True)
    workshop.service(url).upgrade()
    workshop.forget()
    for name, (_, new, value) in changes.items():
        execute(url, f"INSERT INTO {name} VALUES (1, {value})")
        (workshop.root / name / "models.py").write_text(MODELS.format(name, new))
    return workshop.service(url)


def test_a_value_that_is_too_long_is_not_cut_off(workshop: Workshop, postgresql_url: str) -> None:
    changes = {f"t{number}": change for number, change in enumerate(TOO_LONG)}
    service = with_rows(workshop, postgresql_url, **changes)
    for name, (*_, value) in changes.items():
        with pytest.raises(NotProven, match=r"too long for type|does not match type") as caught:
            service.revision("two", packages=name, autogenerate=True)
        assert "change such rows before, in the database" in str(caught.value), name
        assert rows(postgresql_url, f"SELECT x = {value} FROM {name}") == [(True,)], name
        execute(postgresql_url, f"UPDATE {name} SET x = NULL")
    assert len(service.revision("two", autogenerate=True)) == len(changes)


#: The old type and the new one, a value, and what becomes of it.
CONVERTED = {
    "bytes_to_text": ("sa.LargeBinary", "sa.Text", r"'a\\b\303\244'::bytea", r"'a\bä'"),
    "text_to_bytes": ("sa.Text", "sa.LargeBinary", r"'a\bä'", r"'a\\b\303\244'::bytea"),
    "string_to_bytes": ("sa.String(9)", "sa.LargeBinary", "'abc'", "'abc'::bytea"),
    "bytes_to_json": ("sa.LargeBinary", "postgresql.JSONB", "'[1]'::bytea", "'[1]'::jsonb"),
}


def test_texts_and_bytes_become_each_other(workshop: Workshop, postgresql_url: str) -> None:
    changes = {name: (old, new, value) for name, (old, new, value, _) in CONVERTED.items()}
    service = with_rows(workshop, postgresql_url, **changes)
    assert len(service.revision("two", autogenerate=True)) == len(changes)
    service.upgrade()
    for name, (*_, converted) in CONVERTED.items():
        assert rows(postgresql_url, f"SELECT x = {converted} FROM {name}") == [(True,)], name
    service.downgrade([f"{name}@-1" for name in changes])
    for name, (*_, value) in changes.items():
        assert rows(postgresql_url, f"SELECT x = {value} FROM {name}") == [(True,)], name


def test_what_has_no_cast_is_converted_by_hand(workshop: Workshop, postgresql_url: str) -> None:
    change = ("postgresql.JSONB", "sa.ARRAY(sa.Integer)", "'[1, 2]'")
    service = with_rows(workshop, postgresql_url, t=change)
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
    models = MODELS.replace("metadata = sa.MetaData()", listener).format("t", "Pair()")
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
