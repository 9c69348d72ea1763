"""Types, sequences and schemas that are not a package's for certain: never dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps import Workshop
from runs import execute, rows
from test_unsure_tables import made

BY_HAND = "CREATE TYPE mood AS ENUM ('a')"
MAKE = f"op.execute({BY_HAND!r})"
GUARDED = f"DO $$ BEGIN {BY_HAND}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"

#: Scripts, what a hand does behind them, and whether the type "mood" is the package's to drop.
TYPES: dict[str, tuple[list[str], str, bool]] = {
    "DO block": ([f"op.execute({GUARDED!r})"], "", False),
    "checkfirst": (["sa.Enum('a', name='mood').create(op.get_bind())"], "", False),
    "dropped since": ([MAKE, "op.execute('DROP TYPE public.mood')"], BY_HAND, False),
    "another's table": ([MAKE], "CREATE TABLE theirs (m mood)", False),
    "another's function": (
        [MAKE],
        "CREATE FUNCTION f(m mood) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        False,
    ),
    "made": ([MAKE], "", True),
    "made on PostgreSQL": (
        [f"if op.get_context().dialect.name == 'postgresql':\n    {MAKE}"],
        "",
        True,
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_dropped_if_it_is_the_packages_for_certain(
    workshop: Workshop, postgresql_url: str, name: str
) -> None:
    scripts, by_hand, dropped = TYPES[name]
    made(workshop, scripts)
    workshop.service(postgresql_url).upgrade()
    if by_hand:
        execute(postgresql_url, by_hand)
    created = workshop.service(postgresql_url).revision("x", autogenerate=True)
    text = "".join(Path(one.path).read_text() for one in created).split("def downgrade")[0]
    assert ("mood" in text) == dropped
    workshop.service(postgresql_url).upgrade()
    query = "SELECT count(*) FROM pg_type WHERE typname = 'mood'"
    assert rows(postgresql_url, query) == [(0 if dropped else 1,)]


MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("kept", metadata, sa.Column("id", sa.Integer, primary_key=True))
{}
"""
IN_SHOP = """
sa.Table("t", metadata, sa.Column("e", sa.Enum("a", name="shop_e", schema="shop")), schema="shop")
"""


def remodel(workshop: Workshop, more: str) -> None:
    workshop.forget()
    (workshop.root / "fooapp" / "models.py").write_text(MODELS.format(more))


def test_a_sequence_goes_once_and_comes_back_with_its_options(
    workshop: Workshop, postgresql_url: str
) -> None:
    source = MODELS.format("sa.Sequence('numbers', start=5, increment=3, metadata=metadata)")
    workshop.package("fooapp", source, metadata="fooapp.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True)
    workshop.service(postgresql_url).upgrade()
    remodel(workshop, "")
    workshop.service(postgresql_url).revision("two", autogenerate=True)
    service = workshop.service(postgresql_url)
    service.upgrade()
    service.downgrade("-1")
    query = "SELECT start_value, increment_by FROM pg_sequences WHERE sequencename = 'numbers'"
    assert rows(postgresql_url, query) == [(5, 3)]
    service.upgrade()
    execute(postgresql_url, "CREATE SEQUENCE numbers START 99")
    assert workshop.service(postgresql_url).revision("three", autogenerate=True) == ()


@pytest.mark.parametrize("theirs", ["CREATE SEQUENCE shop.s", ""])
def test_a_schema_goes_if_nothing_is_left_in_it(
    workshop: Workshop, postgresql_url: str, theirs: str
) -> None:
    workshop.package("fooapp", MODELS.format(IN_SHOP), metadata="fooapp.models.metadata")
    workshop.service(postgresql_url).revision("one", autogenerate=True)
    workshop.service(postgresql_url).upgrade()
    if theirs:
        execute(postgresql_url, theirs)
    remodel(workshop, "")
    workshop.service(postgresql_url).revision("two", autogenerate=True, allow_drops=True)
    workshop.service(postgresql_url).upgrade()
    query = "SELECT count(*) FROM pg_namespace WHERE nspname = 'shop'"
    assert rows(postgresql_url, query) == [(1 if theirs else 0,)]
