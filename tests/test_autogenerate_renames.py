"""Renames keep rows and values; without being told, a script warns."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from journeys import DATABASES, walk
from websauna_migrate.errors import UsageError

BEFORE = """
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase
    class Base(DeclarativeBase):
        metadata = sa.MetaData(naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        })
    class Parent(Base):
        __tablename__ = "parents"
        id = sa.Column(sa.Integer, primary_key=True)
    class Offer(Base):
        __tablename__ = "offers"
        id = sa.Column(sa.Integer, primary_key=True)
        title = sa.Column(sa.String(40), nullable=False, index=True, server_default="none")
        code = sa.Column(sa.String(10), unique=True)
        parent_id = sa.Column(sa.ForeignKey("parents.id"))
        __table_args__ = (sa.CheckConstraint("title <> 'bad title'", name="title"),)
    class Line(Base):
        __tablename__ = "lines"
        id = sa.Column(sa.Integer, primary_key=True)
        offer_id = sa.Column(sa.ForeignKey("offers.id"), index=True)
"""


def renamed(source: str, table: bool = False, columns: bool = False) -> str:
    if columns:
        source = source.replace("title = ", "headline = ").replace('"title <>', '"headline <>')
        source = source.replace("code = ", "sku = ").replace("parent_id =", "above_id =")
        source = source.replace('name="title")', 'name="headline")')
    if table:
        source = source.replace('"offers"', '"deals"').replace("offers.id", "deals.id")
    return source


def models(workshop: Workshop, url: str, source: str) -> Any:
    path = workshop.root / "shop" / "models.py"
    if path.exists():
        path.write_text("\n".join(line[4:] for line in source.splitlines()))
        workshop.forget()
    else:
        workshop.package("shop", source)
    return workshop.service(url)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(sa.text(query))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def names(url: str, table: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        inspector = sa.inspect(engine)
        found = [
            *inspector.get_indexes(table),
            *inspector.get_foreign_keys(table),
            *inspector.get_unique_constraints(table),
            *inspector.get_check_constraints(table),
        ]
        return {str(one["name"]) for one in found}
    finally:
        engine.dispose()


#: A row of each table.
FILL = (
    "INSERT INTO parents (id) VALUES (7)",
    "INSERT INTO offers (id, title, code, parent_id) VALUES (1, 'A title', 'x', 7)",
    "INSERT INTO lines (id, offer_id) VALUES (3, 1)",
)


@pytest.fixture
def filled(workshop: Workshop, database_url: str) -> str:
    service = models(workshop, database_url, BEFORE)
    service.revision("one", autogenerate=True)
    service.upgrade()
    for statement in FILL:
        rows(database_url, statement.replace("lines", sa_quote(database_url, "lines")))
    return database_url


def sa_quote(url: str, name: str) -> str:
    return f"`{name}`" if url.startswith("mysql") else f'"{name}"'


COLUMNS = ("offers.title:headline", "offers.code:sku", "offers.parent_id:above_id")


def of_kind(kind: str, source: str) -> str:
    """Return models or names with tables of a kind's own."""
    return re.sub(r"\b(parents|offers|lines|deals)\b", rf"{kind}_\1", source)


def with_more(source: str) -> str:
    """Return models with other changes besides a rename."""
    source = source.replace("String(40), nullable=False", "String(80)")
    return source.replace("class Line(", "    more = sa.Column(sa.Integer)\n    class Line(")


#: What each package has behind: a table, columns, both, or both with other changes.
KINDS = {
    "columns": renamed(BEFORE, columns=True),
    "table": renamed(BEFORE, table=True),
    "both": renamed(BEFORE, True, True),
    "more": with_more(renamed(BEFORE, True, True)),
}


def test_a_rename_keeps_the_rows(workshop: Workshop, database_url: str) -> None:
    def site(**sources: str) -> Any:
        for kind, source in sources.items():
            path = workshop.root / kind / "models.py"
            if not path.exists():
                workshop.package(kind, "", metadata=f"{kind}.models.Base")
            path.write_text(of_kind(kind, textwrap.dedent(source)))
        workshop.forget()
        return workshop.service(database_url)

    def fetch(columns: str, table: str) -> list[tuple[Any, ...]]:
        return rows(database_url, f"SELECT {columns} FROM {table}")

    first = site(**dict.fromkeys(KINDS, BEFORE))
    first.revision("one", autogenerate=True, prove="off")
    first.upgrade()
    before = {}
    for kind in KINDS:
        for statement in FILL:
            rows(database_url, of_kind(kind, statement))
        for name in ("offers", "lines"):
            before[kind, name] = names(database_url, f"{kind}_{name}")
    service = site(**KINDS)
    scripts = service.revision(
        "two",
        autogenerate=True,
        rename_tables=[of_kind(kind, "offers:deals") for kind in KINDS if kind != "columns"],
        rename_columns=[of_kind(kind, one) for kind in KINDS if kind != "table" for one in COLUMNS],
    )
    assert {one.package: one.warnings for one in scripts} == dict.fromkeys(KINDS, ())
    row = (1, "A title", "x", 7)
    for again in (False, True):
        service.upgrade()
        assert service.check().problems == ()
        if not again:
            assert service.revision("three", autogenerate=True) == ()
        for kind in KINDS:
            new = f"{kind}_{'offers' if kind == 'columns' else 'deals'}"
            title, code, parent = (
                ("title", "code", "parent_id")
                if kind == "table"
                else ("headline", "sku", "above_id")
            )
            assert fetch(f"id, {title}, {code}, {parent}", new) == [row], kind
            found = names(database_url, new)
            assert {f"ix_{new}_{title}", f"uq_{new}_{code}", f"ck_{new}_{title}"} <= found
            assert f"fk_{new}_{parent}_{kind}_parents" in found
            keys = names(database_url, f"{kind}_lines")
            assert f"fk_{kind}_lines_offer_id_{new}" in keys
        assert fetch("more", "more_deals") == [(None,)]
        service.downgrade([f"{kind}@-1" for kind in KINDS])
        for kind in KINDS:
            assert fetch("id, title, code, parent_id", f"{kind}_offers") == [row], kind
        found_again = {(kind, name): names(database_url, f"{kind}_{name}") for kind, name in before}
        assert found_again == before


def test_an_index_keeps_its_condition_where_its_table_is_renamed(
    workshop: Workshop, sqlite_url: str
) -> None:
    source = f"""{BEFORE}
    sa.Index("ix_offers_good", Offer.code, sqlite_where=Offer.title != "bad")
    """
    models(workshop, sqlite_url, source).revision("one", autogenerate=True)
    workshop.service(sqlite_url).upgrade()
    source = renamed(source, table=True, columns=True).replace("Offer.title", "Offer.headline")
    source = source.replace("Offer.code", "Offer.sku").replace("ix_offers_", "ix_deals_")
    service = models(workshop, sqlite_url, source)
    service.revision(
        "two", autogenerate=True, rename_tables=["offers:deals"], rename_columns=COLUMNS
    )
    service.upgrade()
    ((text,),) = rows(sqlite_url, "SELECT sql FROM sqlite_master WHERE name = 'ix_deals_good'")
    assert text.endswith("ON deals (sku) WHERE headline != 'bad'")


ENUM = """
    import sqlalchemy as sa
    metadata = sa.MetaData()
    sa.Table("{table}", metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("{column}", sa.Enum({values}, name="state"), server_default="{default}"),
        sa.Column("{unique}", sa.Integer), sa.UniqueConstraint("{unique}", name={name!r}))
"""


def test_an_enum_and_the_name_of_a_key_may_change_with_a_rename(
    workshop: Workshop, database_url: str
) -> None:
    values, name = "'a', 'b', 'c'", None
    old = ENUM.format(
        table="offers", column="state", values=values, default="a", unique="code", name=name
    )
    values, name = "'b', 'c', 'd'", "uq_sku"
    new = ENUM.format(
        table="deals", column="stage", values=values, default="d", unique="sku", name=name
    )
    workshop.package("shop", old, metadata="shop.models.metadata")
    service = models(workshop, database_url, old)
    service.revision("one", autogenerate=True)
    service.upgrade()
    rows(database_url, "INSERT INTO offers (id, state) VALUES (1, 'b')")
    service = models(workshop, database_url, new)
    (script,) = service.revision(
        "two",
        autogenerate=True,
        rename_tables=["offers:deals"],
        rename_columns=["offers.state:stage", "offers.code:sku"],
    )
    service.upgrade()
    assert service.check().problems == ()
    assert rows(database_url, "SELECT stage FROM deals") == [("b",)]
    service.downgrade("-1")
    Path(script.path).unlink()
    assert models(workshop, database_url, old).check().problems == ()
    assert rows(database_url, "SELECT state FROM offers") == [("b",)]


def test_off_a_terminal_a_script_warns(workshop: Workshop, sqlite_url: str) -> None:
    service = models(workshop, sqlite_url, BEFORE)
    service.revision("one", autogenerate=True)
    service.upgrade()
    service = models(workshop, sqlite_url, renamed(BEFORE, columns=True))
    (script,) = service.revision("two", autogenerate=True)
    title = (
        'The column "title" of table "offers" is dropped with its values, and "headline" of the '
        "same type is added. If it was renamed, delete the script and run: "
        "ws-alembic -x packages=shop revision --autogenerate "
        "--rename-column offers.title:headline"
    )
    assert title in script.warnings
    assert len(script.warnings) == 3
    assert f"# WARNING: {title}" in Path(script.path).read_text()


def test_a_table_in_the_place_of_another_warns(workshop: Workshop, sqlite_url: str) -> None:
    service = models(workshop, sqlite_url, BEFORE)
    service.revision("one", autogenerate=True)
    service.upgrade()
    service = models(workshop, sqlite_url, renamed(BEFORE, table=True))
    (script,) = service.revision("two", autogenerate=True)
    assert script.warnings == (
        'The table "offers" is dropped with its rows, and "deals" is made with the same columns. '
        "If it was renamed, delete the script and run: ws-alembic -x "
        "packages=shop revision --autogenerate --rename-table offers:deals",
    )


def test_who_can_be_asked_decides(workshop: Workshop, filled: str) -> None:
    service = models(workshop, filled, renamed(BEFORE, columns=True))
    asked = []

    def ask(suspect: Any) -> bool:
        asked.append(suspect.question)
        return "title" in suspect.question

    (script,) = service.revision("two", autogenerate=True, ask=ask)
    assert asked[0] == 'Was the column "title" of table "offers" renamed to "headline"?'
    assert len(asked) == 3
    assert script.warnings == ()
    service.upgrade()
    assert rows(filled, "SELECT headline, sku FROM offers") == [("A title", None)]


#: Tables and columns as they are renamed, and how the refusal ends.
REFUSED: tuple[tuple[list[str], list[str], str], ...] = (
    (["offers"], [], "write --rename-table old:new, or schema.old:new."),
    ([], ["title:headline"], "write --rename-column table.old:new, or schema.table.old:new."),
    (["gone:deals"], [], 'the database has no table "gone".'),
    (["offers:parents"], [], 'the database has a table "parents" already.'),
    (["parents:deals"], [], 'the models still have the table "parents".'),
    (["offers:nothing"], [], "no model of the packages that get a revision has the new name."),
    (
        ["offers:deals"],
        ["deals.nothing:title"],
        'the table "offers" must have the column "nothing" and not "title".',
    ),
)


def test_a_rename_that_cannot_be_is_refused(workshop: Workshop, sqlite_url: str) -> None:
    service = models(workshop, sqlite_url, BEFORE)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    service = models(workshop, sqlite_url, renamed(BEFORE, table=True))
    before = sorted(workshop.root.rglob("*.py"))
    for tables, columns, message in REFUSED:
        with pytest.raises(UsageError) as caught:
            service.revision("two", autogenerate=True, rename_tables=tables, rename_columns=columns)
        assert str(caught.value).endswith(message)
        assert sorted(workshop.root.rglob("*.py")) == before, message


THEIRS = """
import sqlalchemy as sa
metadata = sa.MetaData({convention})
sa.Table("{table}_{site}", metadata, sa.Column("{key}", sa.Integer, primary_key=True),
         info={{"package": "park_{site}"}})
"""
CONVENTION = (
    'naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s"}'
)
OURS = """
import sqlalchemy as sa
from park_{site}.models import metadata
sa.Table("keepers_{site}", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("ward", sa.ForeignKey("{table}_{site}.{key}")),
         info={{"package": "app_{site}"}})
"""


#: The convention of the names, by the pair of packages.
CONVENTIONS = {"plain": "", "named": CONVENTION}


def test_a_key_of_another_package_follows_a_rename(workshop: Workshop, database_url: str) -> None:
    for site in CONVENTIONS:
        for name in (f"park_{site}", f"app_{site}"):
            workshop.package(name, "", metadata=f"park_{site}.models.metadata")
        (workshop.root / f"app_{site}" / "__init__.py").write_text(
            f"import app_{site}.models\n\ndef includeme(config):\n"
            f"    config.add_migration_package(metadata='park_{site}.models.metadata')\n"
        )

    def service(table: str, key: str) -> Any:
        for site, convention in CONVENTIONS.items():
            words = {"site": site, "convention": convention, "table": table, "key": key}
            for name, text in (("park", THEIRS), ("app", OURS)):
                path = workshop.root / f"{name}_{site}" / "models.py"
                path.write_text(text.format(**words))
        workshop.forget()
        return workshop.service(database_url)

    first = service("animals", "id")
    first.revision("one", autogenerate=True, prove="off")
    first.upgrade()
    for site in CONVENTIONS:
        rows(database_url, f"INSERT INTO animals_{site} VALUES (1)")
        rows(database_url, f"INSERT INTO keepers_{site} VALUES (2, 1)")
    before = {site: names(database_url, f"keepers_{site}") for site in CONVENTIONS}
    second = service("beasts", "number")
    second.revision(
        "two",
        autogenerate=True,
        rename_tables=[f"animals_{site}:beasts_{site}" for site in CONVENTIONS],
        rename_columns=[f"beasts_{site}.id:number" for site in CONVENTIONS],
    )
    for _ in range(2):
        second.upgrade()
        assert second.check().problems == ()
        for site in CONVENTIONS:
            assert rows(database_url, f"SELECT id, ward FROM keepers_{site}") == [(2, 1)], site
        second.downgrade([f"park_{site}@-1" for site in CONVENTIONS], cascade=True)
        assert {site: names(database_url, f"keepers_{site}") for site in CONVENTIONS} == before
        for site in CONVENTIONS:
            assert rows(database_url, f"SELECT id FROM animals_{site}") == [(1,)], site


NAMED = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base

Base = declarative_base(metadata=sa.MetaData(naming_convention={
    "ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s"}))

def table(name, *parts, **kw):
    sa.Table(name, Base.metadata, *parts, **kw)

def number(name, *parts, **kw):
    return sa.Column(name, sa.Integer, *parts, **kw)

table("p", number("id", primary_key=True), sa.Column("of", sa.ForeignKey("a.id")))
table("a", number("id", primary_key=True), number("n"), sqlite_autoincrement=True)
table("i", number("n", index=True, unique=True))
table("t", number("id", primary_key=True, autoincrement=False), number("b", nullable=False),
    sa.Column("p", sa.ForeignKey("p.id")), number("c", sa.Computed("b * 2", persisted=True)),
    number("n", sa.CheckConstraint("n > 0", name="n"), unique=True))
"""


@pytest.mark.parametrize("author", DATABASES)
def test_what_has_the_name_of_a_table_follows_it_on_each_database(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    renamed = re.sub(r'"([ait])(?=[".])', r'"new_\1', NAMED)
    changed = renamed.replace('"b", nullable=False', '"b", primary_key=True, autoincrement=False')
    inserts = [
        f"INSERT INTO {one}"
        for one in ("a (id) VALUES (1)", "p VALUES (1, 1)", "t (id, b, p, n) VALUES (1, 2, 1, 3)")
    ]
    walk(
        workshop,
        urls[author],
        [*urls.values()],
        [NAMED, renamed, changed],
        options={1: {"rename_tables": ["a:new_a", "i:new_i", "t:new_t"]}},
        rows=inserts,
    )
    for url in urls.values():
        assert rows(url, "SELECT id, b, p, c, n FROM new_t") == [(1, 2, 1, 4, 3)]
    (sql,) = rows(urls["sqlite"], "SELECT sql FROM sqlite_master WHERE name = 'new_t'")
    assert "pk_new_t" in sql[0]
