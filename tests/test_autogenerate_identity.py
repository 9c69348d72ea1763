"""An identity is never NULL: NOT NULL comes and goes with it, on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from apps import Workshop
from runs import execute
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import differences
from websauna_migrate.facts.fact import Facts


def models(**columns: str) -> str:
    """Return models of tables with a column of each its own type."""
    return "import sqlalchemy as sa\nmetadata = sa.MetaData()\n" + "".join(
        f"sa.Table('{name}', metadata, sa.Column('id', sa.Integer, primary_key=True), "
        f"sa.Column('m', {column}))\n"
        for name, column in columns.items()
    )


def facts_of(url: str) -> Facts:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = read_facts(connection)
    engine.dispose()
    return found


def test_not_null_comes_and_goes_with_an_identity(workshop: Workshop, postgresql_url: str) -> None:
    types = {"small": "sa.SmallInteger", "big": "sa.BigInteger"}
    plain = models(**dict.fromkeys(types, "sa.SmallInteger"))
    numbered = models(**{name: f"{type_}, sa.Identity()" for name, type_ in types.items()})
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


RISING = "start=100, minvalue=100, maxvalue=200"
FALLING = "start=-1, increment=-1, maxvalue=-1"

#: By the table: the options of its identity, what its sequence stands at, and the next number.
RANGES = {
    "rising": (RISING, None, 100),
    "rising_below": (RISING, 50, 100),
    "rising_inside": (RISING, 150, 151),
    "falling": (FALLING, None, -1),
    "falling_above": (FALLING, 50, -1),
    "falling_far_above": (FALLING, 150, -1),
}


def test_a_sequence_that_is_outside_of_its_new_range_begins_anew(
    workshop: Workshop, postgresql_url: str
) -> None:
    plain = models(**dict.fromkeys(RANGES, "sa.Integer, sa.Identity()"))
    path = workshop.package("shop", plain, metadata="shop.models.metadata") / "models.py"
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    for name, (_, number, _) in RANGES.items():
        if number is not None:
            execute(postgresql_url, f"SELECT setval('{name}_m_seq', {number})")
    path.write_text(models(**{n: f"sa.Integer, sa.Identity({r[0]})" for n, r in RANGES.items()}))
    workshop.forget()
    service = workshop.service(postgresql_url)
    (script,) = service.revision("more", autogenerate=True)
    assert script.proof is not None
    service.upgrade()
    assert service.check().problems == ()
    engine = sa.create_engine(postgresql_url)
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(
                f"INSERT INTO {name} DEFAULT VALUES RETURNING m"
            ).scalar()
            for name in RANGES
        }
    engine.dispose()
    assert found == {name: expected for name, (*_, expected) in RANGES.items()}
    service.downgrade("-1")
