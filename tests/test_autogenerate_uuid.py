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
