"""Expression indexes: in the script of a new table and later, quiet when unchanged, both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from apps import Workshop

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
t = sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
             sa.Column("a", sa.Integer), sa.Column("b", sa.String(20)),
             sa.Column("at", sa.DateTime(timezone=True)))
"""

COMMON = {
    "function": 'sa.Index("ix", sa.func.lower(t.c.b))',
    "unique function": 'sa.Index("ix", sa.func.lower(t.c.b), unique=True)',
    "text": 'sa.Index("ix", sa.text("lower(b)"), _table=t)',
    "column and text": 'sa.Index("ix", t.c.a, sa.text("b DESC"))',
    "descending": 'sa.Index("ix", t.c.a.desc())',
    "column and function": 'sa.Index("ix", t.c.a, sa.func.lower(t.c.b))',
}

ON = {
    "sqlite": {**COMMON, "collation": 'sa.Index("ix", t.c.b.collate("NOCASE"))'},
    "postgresql": {
        **COMMON,
        "collation": 'sa.Index("ix", t.c.b.collate("C"))',
        "nulls last": 'sa.Index("ix", t.c.a.desc().nulls_last(), t.c.b)',
        "operator class": 'sa.Index("ix", "b", postgresql_ops={"b": "varchar_pattern_ops"},'
        " _table=t)",
        "order by an operator class": 'sa.Index("ix", "a", "b", postgresql_ops={"b": "DESC"},'
        " _table=t)",
        "cast": 'sa.Index("ix", sa.cast(t.c.b, sa.Text))',
        "rewritten function": "sa.Index(\"ix\", sa.text(\"to_tsvector('english', b || ' ' || b)\"),"
        ' _table=t, postgresql_using="gin")',
        "extract": 'sa.Index("ix", sa.text("extract(year from at at time zone \'UTC\')"),'
        " _table=t)",
        "predicate": 'sa.Index("ix", sa.func.lower(t.c.b), '
        'postgresql_where=sa.text("a IN (1, 2)"))',
    },
}

#: Whose script cannot be proven: a downgrade of what SQLAlchemy reflected lacks it.
LOST = "collation"


def indexes_of(url: str) -> dict[str, str]:
    """Return how the server keeps each index."""
    engine = sa.create_engine(url)
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE name LIKE 'ix%%'",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix%%'",
    }[engine.dialect.name]
    with engine.connect() as connection:
        found = {row[0]: row[1] for row in connection.exec_driver_sql(query)}
    engine.dispose()
    return found


@pytest.fixture
def models(workshop: Workshop) -> Callable[[str], None]:
    def write(more: str) -> None:
        if (workshop.root / "shop").exists():
            (workshop.root / "shop" / "models.py").write_text(MODELS + more + "\n")
        else:
            workshop.package("shop", MODELS + more + "\n", metadata="shop.models.metadata")
        workshop.forget()

    return write


@pytest.mark.parametrize("lost", [False, True], ids=["all others", LOST])
@pytest.mark.parametrize("backend", ON)
def test_expression_indexes_come_and_go(
    workshop: Workshop,
    models: Callable[[str], None],
    request: pytest.FixtureRequest,
    backend: str,
    lost: bool,
) -> None:
    url = request.getfixturevalue(f"{backend}_url")
    kinds = {kind: text for kind, text in ON[backend].items() if (kind == LOST) == lost}
    names = {kind: f"ix_{kind.replace(' ', '_')}" for kind in kinds}
    source = "\n".join(text.replace('"ix"', f'"{names[kind]}"') for kind, text in kinds.items())
    models(source)
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    made = indexes_of(url)
    assert set(made) == set(names.values())
    assert service.check().problems == ()
    assert service.revision("two", autogenerate=True) == ()
    # They go, and come back as they were.
    models("")
    service = workshop.service(url)
    prove = "off" if lost else None
    assert len(service.revision("three", autogenerate=True, prove=prove)) == 1
    service.upgrade()
    assert indexes_of(url) == {}
    assert service.check().problems == ()
    service.downgrade("-1")
    assert set(indexes_of(url)) == set(made)
    models(source)
    service = workshop.service(url)
    service.upgrade()
    # They come to a table that is there.
    assert len(service.revision("four", autogenerate=True)) == 1
    service.upgrade()
    assert indexes_of(url) == made
    assert service.check().problems == ()
    service.downgrade("-1")
    assert indexes_of(url) == {}


def test_an_index_that_is_wanted_concurrently_is_made_in_the_transaction(
    workshop: Workshop, transactional_database_url: str
) -> None:
    folder = workshop.package("shop", MODELS, metadata="shop.models.metadata")
    first, second = (
        f'sa.Index("ix_{name}", t.c.{name}, postgresql_concurrently=True)\n' for name in "ab"
    )
    for models in (first, first + second, "", first):
        (folder / "models.py").write_text(MODELS + models)
        workshop.forget()
        service = workshop.service(transactional_database_url)
        (made,) = service.revision("next", autogenerate=True)
        service.upgrade()
        assert service.check().problems == ()
        if models == first + second:
            (warning,) = made.warnings
            assert warning.startswith('The index "ix_b" of table "t" is made without CONCURRENTLY')
    service.downgrade("base")
