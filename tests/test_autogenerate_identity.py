"""An identity is never NULL: NOT NULL comes and goes with it, on PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import differences
from websauna_migrate.facts.fact import Facts

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("m", {}))
"""


def facts_of(url: str) -> Facts:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = read_facts(connection)
    engine.dispose()
    return found


@pytest.mark.parametrize("type_", ["sa.SmallInteger", "sa.BigInteger"])
def test_not_null_comes_and_goes_with_an_identity(
    workshop: Workshop, postgresql_url: str, type_: str
) -> None:
    plain, numbered = MODELS.format("sa.SmallInteger"), MODELS.format(f"{type_}, sa.Identity()")
    path = workshop.package("shop", plain, metadata="shop.models.metadata") / "models.py"
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    for text in (numbered, plain):
        before = facts_of(postgresql_url)
        path.write_text(text)
        workshop.forget()
        service = workshop.service(postgresql_url)
        (script,) = service.revision("more", autogenerate=True)
        assert script.proof is not None
        service.upgrade()
        assert service.check().problems == ()
        service.downgrade("-1")
        assert [*differences(before, facts_of(postgresql_url))] == []
        service.upgrade()


@pytest.mark.parametrize("number", [None, 50, 150])
@pytest.mark.parametrize(
    "options", ["start=100, minvalue=100, maxvalue=200", "start=-1, increment=-1, maxvalue=-1"]
)
def test_a_sequence_that_is_outside_of_its_new_range_begins_anew(
    workshop: Workshop, postgresql_url: str, options: str, number: int | None
) -> None:
    plain, other = (MODELS.format(f"sa.Integer, sa.Identity({one})") for one in ("", options))
    path = workshop.package("shop", plain, metadata="shop.models.metadata") / "models.py"
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        if number is not None:
            connection.exec_driver_sql(f"SELECT setval('t_m_seq', {number})")
    path.write_text(other)
    workshop.forget()
    service = workshop.service(postgresql_url)
    (script,) = service.revision("more", autogenerate=True)
    assert script.proof is not None
    service.upgrade()
    assert service.check().problems == ()
    begins = 100 if options.startswith("start=100") else -1
    goes_on = number == 150 and begins == 100
    with engine.connect() as connection:
        found = connection.exec_driver_sql("INSERT INTO t DEFAULT VALUES RETURNING m").scalar()
    engine.dispose()
    assert found == (151 if goes_on else begins)
    service.downgrade("-1")
