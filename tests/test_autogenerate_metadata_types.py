"""Types that belong to a MetaData and that no column uses: ``create_all()`` makes them too.

So does it those that name the default schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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


#: What models have before and behind, and words of what ``check`` says in between.
CASES = dict(
    enumerate(
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
        ]
    )
)


def of_case(case: int, source: str) -> str:
    """Return a source with the names of a case of its own."""
    return re.sub("things|kind|small", rf"\g<0>_{case}", source)


def test_there_and_back(workshop: Workshop, postgresql_url: str) -> None:
    found = []
    packages = [f"shop_{case}" for case in CASES]
    for name in packages:
        workshop.package(name, "", metadata=f"{name}.models.metadata")
    for state in (0, 1):
        for case, texts in CASES.items():
            models = workshop.root / f"shop_{case}" / "models.py"
            models.write_text(of_case(case, MODELS.format(texts[state])))
        workshop.forget()
        service = workshop.service(postgresql_url)
        if state:
            told = [one.message for one in service.check().problems]
            for case, (*_, words) in CASES.items():
                start = f'Package "shop_{case}": '
                said = [one for one in told if one.startswith(start)]
                assert any(of_case(case, words) in one for one in said), (case, said)
        assert len(service.revision("more", autogenerate=True)) == len(CASES)
        service.upgrade()
        assert service.check().problems == ()
        found.append(types_of(postgresql_url))
    for case, (first, _, words) in CASES.items():
        before, behind = ({n: t for n, t in one.items() if n.endswith(f"_{case}")} for one in found)
        stays = words.endswith("column things.kind") and TWO in first
        assert (before == behind) == stays, case
    service.downgrade([f"{name}@-1" for name in packages])
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
