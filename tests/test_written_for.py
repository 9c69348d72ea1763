"""Packages whose scripts are written for some databases alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import zoo
import zoo_reports  # noqa: F401  # They register features.
import zoo_together  # noqa: F401
from apps import Workshop
from runs import rows
from websauna_migrate.errors import SettingError

HEAD = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import declarative_base

Base = declarative_base(metadata=sa.MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}))


class Document(sa.types.TypeDecorator):
    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSONB())
        return dialect.type_descriptor(sa.JSON())


class User(Base):
    __tablename__ = "users"
    id = sa.Column(sa.Integer, primary_key=True)


"""

FIRST = """class Order(Base):
    __tablename__ = "orders"
    id = sa.Column(sa.Integer, primary_key=True)
    state = sa.Column(sa.Enum("new", "paid", name="state"), nullable=False)
    code = sa.Column(sa.String(20), unique=True)
    amount = sa.Column(sa.Integer, index=True)
    user_id = sa.Column(sa.ForeignKey("users.id"))
    data = sa.Column(Document())
    more = sa.Column(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
"""

SECOND = """class Order(Base):
    __tablename__ = "orders"
    id = sa.Column(sa.Integer, primary_key=True)
    state = sa.Column(sa.Enum("new", "sent", name="state"), nullable=False)
    code = sa.Column(sa.String(40), nullable=False)
    amount = sa.Column(sa.String(10), index=True)
    user_id = sa.Column(sa.Integer)
    data = sa.Column(Document())
    more = sa.Column(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
    __table_args__ = (sa.CheckConstraint("amount <> ''", name="amount"),)
"""

THIRD = SECOND.replace('"orders"', '"purchases"').replace("amount", "total")


def text_of(path: str) -> str:
    """Return a script's functions."""
    return Path(path).read_text().partition("def upgrade")[2]


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
def test_a_script_for_one_database_says_nothing_of_others(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    folder = workshop.package("shop", HEAD + FIRST)
    renames = {
        "rename_tables": ["orders:purchases"],
        "rename_columns": ["purchases.amount:total"],
    }
    for models, options in ((FIRST, {}), (SECOND, {}), (THIRD, renames)):
        (folder / "models.py").write_text(HEAD + models)
        workshop.forget()
        service = workshop.service(url, databases=product)
        (script,) = service.revision("change", autogenerate=True, allow_drops=True, **options)
        text = text_of(script.path)
        imported = re.findall(r"dialects import (\w+)", Path(script.path).read_text())
        assert all(f"{name}." in text for name in imported)
        assert "dialect.name" not in text and ".with_variant(" not in text
        assert ("batch_alter_table" in text) <= (product == "sqlite")
        assert ("postgresql_" in text) <= (product == "postgresql")
        service.upgrade()
        assert service.check().problems == ()
    service.downgrade("base")
    service.upgrade()
    assert service.check().problems == ()


def test_another_database_is_refused_by_name(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("shop", HEAD + FIRST)
    workshop.package("club", None)
    workshop.script("club", "c1")
    service = workshop.service(sqlite_url, **{"databases.shop": "postgresql, mariadb"})
    refusal = (
        'Setting "websauna_migrate.databases.shop": the scripts of "shop" are written for '
        "postgresql and mysql, and this database is sqlite. Use another database, or, if they run "
        "here too, add sqlite to the setting."
    )
    for call in (
        lambda: service.revision("one", packages="shop", autogenerate=True),
        lambda: service.upgrade(),
        lambda: service.sql("head"),
    ):
        workshop.script("shop", "s1")
        with pytest.raises(SettingError, match=f"^{re.escape(refusal)}$"):
            call()
    assert [step.package for step in service.upgrade(packages="club").steps] == ["club"]


def test_the_setting_is_validated(workshop: Workshop, sqlite_url: str) -> None:
    with pytest.raises(SettingError, match="it must be one or more of postgresql, mysql"):
        workshop.service(sqlite_url, databases="oracle")


UNNAMED = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("shops", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("town", sa.Integer, unique={first}))
sa.Table("towns", metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("offers", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("shop", sa.Integer, sa.ForeignKey("{target}.id")),
    sa.Column("price", sa.Integer, sa.CheckConstraint("price > {least}")),
    sa.Column("kind", sa.String(9)),
    sa.Column("size", sa.Float), sa.CheckConstraint("size < {least}.5", name="ck_size"),
    sa.Column("sort", sa.String(9)), sa.CheckConstraint("sort IN ('a', '{least}')", name="ck_sort"),
    sa.Index("ix_sort", "size", postgresql_where=sa.text("sort <> '{least}'"),
        sqlite_where=sa.text("sort <> '{least}'")),
    sa.Column("open", sa.Boolean, server_default=sa.{open}()),
    sa.Column("day", sa.{day}), {more}
    sa.CheckConstraint("kind <> '{most}'"),
    sa.Index("ix_cheap", "price", postgresql_where=sa.text("price < {most}"),
        sqlite_where=sa.text("price < {most}")))
"""

MORE = (
    'sa.Column("photo", sa.LargeBinary), sa.Column("code", sa.String(9), unique=True),'
    ' sa.Column("closed", sa.Boolean, server_default=sa.true()),'
)


@pytest.mark.parametrize("written_on", ["sqlite", "postgresql"])
def test_a_script_made_on_one_database_is_the_same_on_another(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, written_on: str
) -> None:
    url, other = sqlite_url, postgresql_url
    if written_on == "postgresql":
        url, other = other, url
    versions = [
        UNNAMED.format(
            first=True, target="shops", least=0, open="true", day="Date", more=MORE, most=1000
        ),
        UNNAMED.format(
            first=False, target="towns", least=5, open="false", day="DateTime", more="", most=900
        ),
    ]
    if written_on == "postgresql":
        # What a CHECK without a name is on SQLite, PostgreSQL cannot tell, or its words for a text.
        versions = [re.sub(r", sa.CheckC\S+ . \d+.\)|    sa.CheckC.*\n", "", v) for v in versions]
    folder = workshop.package("shop", versions[0], metadata="shop.models.metadata")
    for models in versions:
        (folder / "models.py").write_text(models)
        workshop.forget()
        service = workshop.service(url)
        (script,) = service.revision("change", autogenerate=True, allow_drops=True)
        service.upgrade()
        assert service.check().problems == ()
    workshop.forget()
    service = workshop.service(other)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("-1")
    (folder / "models.py").write_text(versions[0])
    aside = Path(script.path).rename(f"{script.path}.aside")
    workshop.forget()
    assert workshop.service(other).check().problems == ()
    (folder / "models.py").write_text(versions[1])
    aside.rename(script.path)
    workshop.forget()
    service = workshop.service(other)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("base")


RENAMED = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("{table}", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("{column}", sa.Integer, unique=True), sa.Column("n", sa.{type}),
    sa.Column("twice", sa.BigInteger, sa.Computed("n * 2", persisted=True)))
"""


@pytest.mark.parametrize("written_on", ["sqlite", "postgresql"])
def test_renames_and_types_under_computed_columns_change_on_another(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, written_on: str
) -> None:
    url, other = sqlite_url, postgresql_url
    if written_on == "postgresql":
        url, other = other, url
    first = RENAMED.format(table="orders", column="code", type="Integer")
    folder = workshop.package("shop", first, metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("first", autogenerate=True)
    service.upgrade()
    second = RENAMED.format(table="purchases", column="sku", type="BigInteger")
    (folder / "models.py").write_text(second)
    workshop.forget()
    service = workshop.service(url)
    service.revision(
        "second",
        autogenerate=True,
        rename_tables=["orders:purchases"],
        rename_columns=["orders.code:sku"],
    )
    service = workshop.service(other)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("-1")
    service.upgrade()
    assert service.check().problems == ()


TYPED = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
metadata = sa.MetaData()
sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True), {})
"""
#: What SQLite and MariaDB keep less of.
KEPT = {
    "number": ("sa.Uuid()", "uuid"),
    "at": ("sa.DateTime(timezone=True)", "timestamp with time zone"),
    "took": ("sa.Interval()", "interval"),
    "host": ("sa.String(40).with_variant(postgresql.INET(), 'postgresql')", "inet"),
}


@pytest.mark.parametrize("product", ["sqlite", "mariadb"])
def test_types_come_back_as_older_scripts_wrote_them(
    workshop: Workshop, request: pytest.FixtureRequest, postgresql_url: str, product: str
) -> None:
    url = str(request.getfixturevalue(f"{product}_url"))
    columns = ", ".join(f"sa.Column({name!r}, {type_})" for name, (type_, _) in KEPT.items())
    more = 'sa.Table("others", metadata, sa.Column("id", sa.Uuid(), primary_key=True))'
    first = TYPED.format(columns) + more
    folder = workshop.package("shop", first, metadata="shop.models.metadata")
    workshop.service(url).revision("first", autogenerate=True)
    workshop.service(url).upgrade()
    retyped = columns.replace("sa.Uuid()", "sa.String(50)").partition(", sa.Column('at'")[0]
    (folder / "models.py").write_text(TYPED.format(retyped))
    workshop.forget()
    workshop.service(url).revision("second", autogenerate=True, allow_drops=True)
    service = workshop.service(postgresql_url)
    service.upgrade()
    service.downgrade("-1")
    query = (
        "SELECT a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a "
        "WHERE a.attrelid = '{}'::regclass AND a.attnum > 0 AND NOT a.attisdropped"
    )
    found = dict(rows(postgresql_url, query.format("orders")))
    assert {name: found[name] for name in KEPT} == {name: sql for name, (_, sql) in KEPT.items()}
    assert rows(postgresql_url, query.format("others")) == [("id", "uuid")]


def test_a_text_goes_and_comes_with_the_character_set_of_its_table(
    workshop: Workshop, mariadb_url: str
) -> None:
    body, charset = 'sa.Column("body", sa.Text)', 'mysql_charset="{}"'
    first = TYPED.format(f"{body}, {charset.format('utf8mb4')}")
    folder = workshop.package("shop", first, metadata="shop.models.metadata")
    workshop.service(mariadb_url).revision("first", autogenerate=True)
    workshop.service(mariadb_url).upgrade()
    (folder / "models.py").write_text(TYPED.format(charset.format("latin1")))
    workshop.forget()
    service = workshop.service(mariadb_url, databases="mariadb")
    assert service.revision("second", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()


ZOO = """
import zoo, zoo_reports, zoo_together
METADATA = [zoo.CHANGES[name].metadata({version}) for name in {names!r}]
"""
WRITTEN_ON = {
    # Foreign keys lean on what changes; an enum type goes that SQLite does not have.
    "sqlite": ["drop_tables", "drop_column", "r_renamed_unique", "k_key_type_integer_string"],
    # PostgreSQL tells of brackets of its own.
    "postgresql": ["drop_column", "computed_change", "k_computed_both_go", "t_computed_source"],
}


@pytest.mark.parametrize("written_on", WRITTEN_ON)
def test_changes_go_and_come_back_on_another(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, written_on: str
) -> None:
    url, other, names = sqlite_url, postgresql_url, WRITTEN_ON[written_on]
    if written_on == "postgresql":
        url, other = other, url
    models = workshop.package("shop", "", metadata="shop.models.METADATA") / "models.py"

    def service(url: str, version: int) -> Any:
        models.write_text(ZOO.format(names=names, version=version))
        workshop.forget()
        return workshop.service(url)

    for version in (1, 2):
        scripts = service(url, version).revision("change", autogenerate=True, allow_drops=True)
        service(url, version).upgrade()
    script = Path(scripts[0].path)
    aside = script.rename(f"{script}.aside")
    service(other, 1).upgrade()
    engine = sa.create_engine(other)
    with engine.begin() as connection:
        for name in names:
            for statement in filter(None, zoo.CHANGES[name].rows.split(";")):
                connection.exec_driver_sql(statement)
    engine.dispose()
    aside.rename(script)
    service(other, 2).upgrade()
    assert service(other, 2).check().problems == ()
    service(other, 2).downgrade("-1")
    script.rename(aside)
    assert service(other, 1).check().problems == ()
    aside.rename(script)
    service(other, 2).upgrade()
    assert service(other, 2).check().problems == ()
