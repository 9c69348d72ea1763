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


@pytest.mark.parametrize("value", ["00000000-0000-0001-0000-000000000005", "1" * 32, "f" * 32])
def test_a_uuid_that_was_no_number_does_not_become_one(
    workshop: Workshop, postgresql_url: str, value: str
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
    execute(postgresql_url, f"INSERT INTO things VALUES (4, '{value}')")
    with pytest.raises(StepFailed) as caught:
        service.downgrade("-1")
    assert "invalid input syntax for type bigint" in str(caught.value)
    found = "SELECT replace(number::text, '-', '') FROM things WHERE id = 4"
    assert rows(postgresql_url, found) == [(value.replace("-", ""),)]
    execute(postgresql_url, "DELETE FROM things WHERE id = 4")
    service.downgrade("-1")
    numbers = "SELECT number FROM things ORDER BY id"
    assert rows(postgresql_url, numbers) == [(7,), (-3,), (None,)]


BOTH = """
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("key", {key}), sa.Column("code", {code}))
"""

TEXTS = {"key": "sa.Uuid(native_uuid=False)", "code": "sa.String(32)"}
OTHERS = {"key": "sa.Uuid", "code": "sa.Integer"}


@pytest.mark.parametrize("author", ["mariadb", "postgresql", "sqlite"])
@pytest.mark.parametrize(("old", "new"), [(TEXTS, OTHERS), (OTHERS, TEXTS)])
def test_a_uuid_becomes_a_text_and_comes_back_on_each_database(
    workshop: Workshop,
    request: pytest.FixtureRequest,
    author: str,
    old: dict[str, str],
    new: dict[str, str],
) -> None:
    databases = [author, *({"mariadb", "postgresql", "sqlite"} - {author})]
    urls = [str(request.getfixturevalue(f"{one}_url")) for one in databases]
    folder = workshop.package("fooapp", BOTH.format(**old), metadata="fooapp.models.metadata")
    workshop.service(urls[0]).revision("one", autogenerate=True)
    for url in urls:
        workshop.service(url).upgrade()
        value = "00000000000000010000000000000005"
        execute(url, f"INSERT INTO things (id, {quoted(url)}, code) VALUES (1, '{value}', '7')")
    workshop.forget()
    (folder / "models.py").write_text(BOTH.format(**new))
    workshop.service(urls[0]).revision("two", autogenerate=True)
    for url in urls:
        service = workshop.service(url)
        service.upgrade()
        assert service.check().problems == ()
        service.downgrade("-1")
        service.upgrade()
        ((key, code),) = rows(url, f"SELECT {quoted(url)}, code FROM things")
        assert (str(key).replace("-", "").strip(), str(code)) == (value, "7")


def quoted(url: str) -> str:
    """Return the name of a column that is a word of MariaDB's."""
    return "`key`" if url.startswith("mysql") else '"key"'
