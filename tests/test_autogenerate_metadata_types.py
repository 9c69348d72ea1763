"""Types that belong to a MetaData and that no column uses: ``create_all()`` makes them too.

So does it those that name the default schema.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import sqlalchemy as sa

from apps import Workshop

MODELS = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
metadata = sa.MetaData()
things = sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True))
{}
"""

NONE = ""
KIND = 'kind = sa.Enum({}, name="kind", metadata=metadata)'
TWO, THREE = KIND.format('"a", "b"'), KIND.format('"a", "b", "c"')
USED = TWO + '\nthings.append_column(sa.Column("kind", kind))'
PUBLIC = 'things.append_column(sa.Column("kind", sa.Enum({}, name="kind", schema="public")))'
DOMAIN = 'postgresql.DOMAIN("small", sa.Integer, check="VALUE < {}", metadata=metadata)'


def types_of(url: str) -> Mapping[str, str]:
    """Return the enums and domains of a database, each with what it may be."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT t.typname, coalesce((SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder)"
            " FROM pg_enum WHERE enumtypid = t.oid), (SELECT string_agg(pg_get_constraintdef(oid),"
            " '') FROM pg_constraint WHERE contypid = t.oid)) FROM pg_type t"
            " WHERE typtype IN ('e', 'd') AND typnamespace = 'public'::regnamespace"
        ).all()
    engine.dispose()
    return dict(map(tuple, rows))


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (NONE, TWO, "add type kind"),
        (TWO, NONE, "remove type kind"),
        (TWO, THREE, "change type kind"),
        (THREE, TWO, "change type kind"),
        (TWO, USED, "add column things.kind"),
        (USED, TWO, "remove column things.kind"),
        (NONE, PUBLIC.format('"a"'), "add column things.kind"),
        (PUBLIC.format('"a"'), PUBLIC.format('"c", "a"'), "change type kind"),
        (NONE, DOMAIN.format(5), "add type small"),
        (DOMAIN.format(5), DOMAIN.format(6), "small"),
        (DOMAIN.format(5), NONE, "remove type small"),
    ],
)
def test_there_and_back(
    workshop: Workshop, postgresql_url: str, first: str, then: str, words: str
) -> None:
    found = []
    folder = workshop.package("shop", MODELS.format(first), metadata="shop.models.metadata")
    for models in (first, then):
        (folder / "models.py").write_text(MODELS.format(models))
        workshop.forget()
        service = workshop.service(postgresql_url)
        if models is then:
            assert any(words in one.message for one in service.check().problems)
        service.revision("more", autogenerate=True)
        service.upgrade()
        assert service.check().problems == ()
        found.append(types_of(postgresql_url))
    assert (found[0] == found[1]) == (words.endswith("column things.kind") and TWO in first)
    service.downgrade("-1")
    assert types_of(postgresql_url) == found[0]


def test_a_script_made_on_sqlite_makes_it(
    workshop: Workshop, sqlite_url: str, postgresql_url: str
) -> None:
    workshop.package("shop", MODELS.format(TWO), metadata="shop.models.metadata")
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
    service = workshop.service(postgresql_url)
    service.upgrade()
    assert service.check().problems == ()
    assert types_of(postgresql_url) == {"kind": "a,b"}
