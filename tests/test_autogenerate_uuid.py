"""Integers that become UUID on PostgreSQL, and come back."""

from __future__ import annotations

import pytest

from apps import Workshop
from runs import execute, rows
from websauna_migrate.errors import StepFailed

MODELS = """
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("number", {}))
"""


#: Values that were no numbers before.
UUIDS = ("00000000-0000-0001-0000-000000000005", "1" * 32, "f" * 32)


def test_a_uuid_that_was_no_number_does_not_become_one(
    workshop: Workshop, postgresql_url: str
) -> None:
    integers = MODELS.format("sa.BigInteger")
    folder = workshop.package("fooapp", integers, metadata="fooapp.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True)
    workshop.service(postgresql_url).upgrade()
    execute(postgresql_url, "INSERT INTO things VALUES (1, 7), (2, -3), (3, NULL)")
    workshop.forget()
    (folder / "models.py").write_text(MODELS.format("sa.Uuid"))
    service = workshop.service(postgresql_url)
    service.revision("two", autogenerate=True)
    service.upgrade()
    found = "SELECT replace(number::text, '-', '') FROM things WHERE id = 4"
    for value in UUIDS:
        execute(postgresql_url, f"INSERT INTO things VALUES (4, '{value}')")
        with pytest.raises(StepFailed) as caught:
            service.downgrade("-1")
        assert "invalid input syntax for type bigint" in str(caught.value), value
        assert rows(postgresql_url, found) == [(value.replace("-", ""),)]
        execute(postgresql_url, "DELETE FROM things WHERE id = 4")
    service.downgrade("-1")
    numbers = "SELECT number FROM things ORDER BY id"
    assert rows(postgresql_url, numbers) == [(7,), (-3,), (None,)]


BOTH = """
import sqlalchemy as sa

metadata = sa.MetaData()
for name, key, code in {tables}:
    sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True),
             sa.Column("key", key), sa.Column("code", code))
"""

#: The types of both columns.
TEXTS = "sa.Uuid(native_uuid=False), sa.String(32)"
OTHERS = "sa.Uuid, sa.Integer"


def both(**types: str) -> str:
    """Return models with the types of both columns, by the table."""
    tables = "".join(f"('{name}', {one}), " for name, one in types.items())
    return BOTH.format(tables=f"[{tables}]")


@pytest.mark.parametrize("author", ["mariadb", "postgresql", "sqlite"])
def test_a_uuid_becomes_a_text_and_comes_back_on_each_database(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    databases = [author, *({"mariadb", "postgresql", "sqlite"} - {author})]
    urls = [str(request.getfixturevalue(f"{one}_url")) for one in databases]
    models = both(texts=TEXTS, others=OTHERS)
    folder = workshop.package("fooapp", models, metadata="fooapp.models.metadata")
    workshop.service(urls[0]).revision("one", autogenerate=True)
    value = "00000000000000010000000000000005"
    for url in urls:
        workshop.service(url).upgrade()
        for name in ("texts", "others"):
            columns = f"{name} (id, {quoted(url)}, code)"
            execute(url, f"INSERT INTO {columns} VALUES (1, '{value}', '7')")
    workshop.forget()
    (folder / "models.py").write_text(both(texts=OTHERS, others=TEXTS))
    workshop.service(urls[0]).revision("two", autogenerate=True)
    for url in urls:
        service = workshop.service(url)
        service.upgrade()
        assert service.check().problems == ()
        service.downgrade("-1")
        service.upgrade()
        for name in ("texts", "others"):
            ((key, code),) = rows(url, f"SELECT {quoted(url)}, code FROM {name}")
            found = (name, str(key).replace("-", "").strip(), str(code))
            assert found == (name, value, "7")


def quoted(url: str) -> str:
    """Return the name of a column that is a word of MariaDB's."""
    return "`key`" if url.startswith("mysql") else '"key"'
