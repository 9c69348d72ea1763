"""Renames keep rows and values; without being told, a script warns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
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


@pytest.fixture
def filled(workshop: Workshop, database_url: str) -> str:
    service = models(workshop, database_url, BEFORE)
    service.revision("one", autogenerate=True)
    service.upgrade()
    for statement in (
        "INSERT INTO parents (id) VALUES (7)",
        "INSERT INTO offers (id, title, code, parent_id) VALUES (1, 'A title', 'x', 7)",
        "INSERT INTO lines (id, offer_id) VALUES (3, 1)",
    ):
        rows(database_url, statement.replace("lines", sa_quote(database_url, "lines")))
    return database_url


def sa_quote(url: str, name: str) -> str:
    return f"`{name}`" if url.startswith("mysql") else f'"{name}"'


COLUMNS = ("offers.title:headline", "offers.code:sku", "offers.parent_id:above_id")


@pytest.mark.parametrize("kind", ["columns", "table", "both"])
def test_a_rename_keeps_the_rows(workshop: Workshop, filled: str, kind: str) -> None:
    table, columns = kind != "columns", kind != "table"
    before = {name: names(filled, name) for name in ("offers", "lines")}
    service = models(workshop, filled, renamed(BEFORE, table, columns))
    (script,) = service.revision(
        "two",
        autogenerate=True,
        rename_tables=["offers:deals"] if table else [],
        rename_columns=COLUMNS if columns else [],
    )
    print(Path(script.path).read_text())
    assert script.warnings == ()
    new = "deals" if table else "offers"
    title, code, parent = (
        ("headline", "sku", "above_id") if columns else ("title", "code", "parent_id")
    )
    for _ in range(2):
        service.upgrade()
        assert rows(filled, f"SELECT id, {title}, {code}, {parent} FROM {new}") == [
            (1, "A title", "x", 7)
        ]
        assert service.check(packages="shop").problems == ()
        assert service.revision("three", autogenerate=True) == ()
        assert {f"ix_{new}_{title}", f"uq_{new}_{code}", f"ck_{new}_{title}"} <= names(filled, new)
        assert f"fk_{new}_{parent}_parents" in names(filled, new)
        assert f"fk_lines_offer_id_{new}" in names(filled, "lines")
        service.downgrade("-1")
        assert rows(filled, "SELECT id, title, code, parent_id FROM offers") == [
            (1, "A title", "x", 7)
        ]
        assert {name: names(filled, name) for name in ("offers", "lines")} == before


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


def test_a_rename_may_come_with_other_changes(workshop: Workshop, filled: str) -> None:
    source = renamed(BEFORE, True, True).replace("String(40), nullable=False", "String(80)")
    source = source.replace("class Line(", "    more = sa.Column(sa.Integer)\n    class Line(")
    service = models(workshop, filled, source)
    service.revision(
        "two", autogenerate=True, rename_tables=["offers:deals"], rename_columns=COLUMNS
    )
    service.upgrade()
    assert service.check(packages="shop").problems == ()
    assert rows(filled, "SELECT headline, more FROM deals") == [("A title", None)]
    service.downgrade("-1")
    assert rows(filled, "SELECT title FROM offers") == [("A title",)]


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


@pytest.mark.parametrize(
    ("tables", "columns", "message"),
    [
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
    ],
)
def test_a_rename_that_cannot_be_is_refused(
    workshop: Workshop, sqlite_url: str, tables: list[str], columns: list[str], message: str
) -> None:
    service = models(workshop, sqlite_url, BEFORE)
    service.revision("one", autogenerate=True)
    service.upgrade()
    service = models(workshop, sqlite_url, renamed(BEFORE, table=True))
    before = sorted(workshop.root.rglob("*.py"))
    with pytest.raises(UsageError) as caught:
        service.revision("two", autogenerate=True, rename_tables=tables, rename_columns=columns)
    assert str(caught.value).endswith(message)
    assert sorted(workshop.root.rglob("*.py")) == before


THEIRS = """
import sqlalchemy as sa
metadata = sa.MetaData({convention})
sa.Table("{table}", metadata, sa.Column("{key}", sa.Integer, primary_key=True),
         info={{"package": "park"}})
"""
CONVENTION = (
    'naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s"}'
)
OURS = """
import sqlalchemy as sa
from park.models import metadata
sa.Table("keepers", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("ward", sa.ForeignKey("{table}.{key}")), info={{"package": "app"}})
"""


@pytest.mark.parametrize("convention", ["", CONVENTION])
def test_a_key_of_another_package_follows_a_rename(
    workshop: Workshop, database_url: str, convention: str
) -> None:
    kinds = {
        name: workshop.package(name, "", metadata="park.models.metadata")
        for name in ("park", "app")
    }

    def service(table: str, key: str) -> Any:
        text = THEIRS.format(convention=convention, table=table, key=key)
        (kinds["park"] / "models.py").write_text(text)
        (kinds["app"] / "models.py").write_text(OURS.format(table=table, key=key))
        (kinds["app"] / "__init__.py").write_text(
            "import app.models\n\ndef includeme(config):\n"
            "    config.add_migration_package(metadata='park.models.metadata')\n"
        )
        workshop.forget()
        return workshop.service(database_url)

    first = service("animals", "id")
    first.revision("one", autogenerate=True)
    first.upgrade()
    rows(database_url, "INSERT INTO animals VALUES (1)")
    rows(database_url, "INSERT INTO keepers VALUES (2, 1)")
    before = names(database_url, "keepers")
    second = service("beasts", "number")
    second.revision(
        "two",
        autogenerate=True,
        rename_tables=["animals:beasts"],
        rename_columns=["beasts.id:number"],
    )
    for _ in range(2):
        second.upgrade()
        assert second.check().problems == ()
        assert rows(database_url, "SELECT id, ward FROM keepers") == [(2, 1)]
        second.downgrade(["park@-1"], cascade=True)
        assert names(database_url, "keepers") == before
        assert rows(database_url, "SELECT id FROM animals") == [(1,)]
