"""A table that moves to another package: its rows stay, and all agree on its owner."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from apps import Workshop
from conftest import PostgreSQLServer
from test_ws_alembic import TEMPLATE, Result, Site, invoke, site  # noqa: F401 - fixtures
from websauna_migrate.errors import (
    DowngradeRefused,
    RevisionFailed,
    ScriptDirectoryError,
    ScriptError,
    UnknownPackage,
)
from websauna_migrate.planning.accesses import Access
from websauna_migrate.revision_scripts.table_origins import CreatedObjects

BASE = """
import enum

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

OFFER = """

class OfferStatus(enum.Enum):
    open = 1
    sold = 2


class Offer(Base):
    __tablename__ = "offers"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(80), index=True)
    status: Mapped[OfferStatus] = mapped_column(sa.Enum(OfferStatus, name="offer_status"))
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
    note: Mapped[str | None]
"""

APP = """
import enum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shop.models import Base


class Line(Base):
    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

REFERENCE = """

class Reference{number}(Base):
    __tablename__ = "references{number}"
    id: Mapped[int] = mapped_column(primary_key=True)
    offer_id: Mapped[int] = mapped_column(sa.ForeignKey("offers.id"))
"""

CREATE_CUSTOMERS = """
op.create_table(
    "customers",
    sa.Column("id", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("id", name="pk_customers"),
)
"""
CREATE_OFFERS = """
op.create_table(
    "offers",
    sa.Column("id", sa.Integer, nullable=False),
    sa.Column("title", sa.String(80), nullable=False),
    sa.Column("status", sa.Enum("open", "sold", name="offer_status"), nullable=False),
    sa.Column("customer_id", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("id", name="pk_offers"),
    sa.ForeignKeyConstraint(
        ["customer_id"], ["customers.id"], name="fk_offers_customer_id"
    ),
)
op.create_index("ix_offers_title", "offers", ["title"])
"""
DROP_OFFERS = """
op.drop_table("offers")
if op.get_bind().dialect.name == "postgresql":
    op.execute("DROP TYPE offer_status")
"""
CREATE_LINES = """
op.create_table(
    "lines",
    sa.Column("id", sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint("id", name="pk_lines"),
)
"""


def write_models(made: Workshop, *, offer_in: str = "shop", **more: str) -> None:
    """Write the models of both packages, with the class of ``offers`` in one of them."""
    for name, source in (("shop", BASE), ("app", APP)):
        text = source + (OFFER if name == offer_in else "") + more.get(name, "")
        (made.root / name / "models.py").write_text(text)
    made.forget()


@pytest.fixture
def shop(workshop: Workshop) -> Workshop:
    """An add-on ``shop`` that has a table ``offers``, and ``app``, which is to get it."""
    for name in ("shop", "app"):
        folder = workshop.package(name, BASE)
        (folder / "alembic" / "versions").mkdir(parents=True)
        shutil.copy(TEMPLATE, folder / "alembic")
    workshop.script("shop", "a100", None, CREATE_CUSTOMERS, 'op.drop_table("customers")')
    workshop.script("shop", "a200", "a100", CREATE_OFFERS, DROP_OFFERS)
    workshop.script(
        "shop",
        "a300",
        "a200",
        'op.add_column("offers", sa.Column("note", sa.String))',
        'with op.batch_alter_table("offers") as batch:\n    batch.drop_column("note")',
    )
    workshop.script("app", "b100", None, CREATE_LINES, 'op.drop_table("lines")')
    write_models(workshop)
    return workshop


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """``make_url_of(name)``: the URL of an empty database, one for each name."""
    request.getfixturevalue("sqlite_url")
    made: dict[str, str] = {}
    if request.param == "sqlite":
        yield lambda name: made.setdefault(name, f"sqlite:///{tmp_path / name}.sqlite")
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    yield (
        lambda name: made[name] if name in made else made.setdefault(name, server.create_database())
    )
    for url in made.values():
        server.drop_database(url)


def execute(url: str, *statements: str) -> list[Any]:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.execute(sa.text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def schema_of(url: str) -> dict[str, Any]:
    """Return all that the database has but the rows, as plain data."""
    engine = sa.create_engine(url)
    try:
        inspector = sa.inspect(engine)
        found = {
            table: {
                "columns": [
                    {**column, "type": repr(column["type"])}
                    for column in inspector.get_columns(table)
                ],
                "primary key": inspector.get_pk_constraint(table),
                "foreign keys": inspector.get_foreign_keys(table),
                "indexes": inspector.get_indexes(table),
                "unique": inspector.get_unique_constraints(table),
            }
            for table in sorted(inspector.get_table_names())
        }
        if engine.dialect.name == "postgresql":
            found["types"] = inspector.get_enums()  # type: ignore[attr-defined]
        return found
    finally:
        engine.dispose()


def assigned(path: str) -> dict[str, Any]:
    """Return what a script assigns at its top."""
    found = {}
    for node in ast.parse(Path(path).read_text()).body:
        if isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found[ast.unparse(node.target)] = ast.literal_eval(node.value)
    return found


def files(made: Workshop) -> set[str]:
    return {str(path) for path in made.root.rglob("*") if "__pycache__" not in path.parts}


INSERT = (
    "INSERT INTO customers (id) VALUES (7)",
    "INSERT INTO offers (id, title, status, customer_id) VALUES (1, 'a', 'open', 7)",
    "INSERT INTO offers (id, title, status, customer_id) VALUES (2, 'b', 'sold', 7)",
)
ROWS = [(1, "a", "open", 7, None), (2, "b", "sold", 7, None)]
SELECT = "SELECT id, title, status, customer_id, note FROM offers ORDER BY id"


# The whole story


@pytest.mark.parametrize("moved_class", ["before", "after"])
def test_rows_survive_and_the_schema_is_the_same_whichever_is_upgraded_first(
    shop: Workshop, make_url_of: Callable[[str], str], moved_class: str
) -> None:
    used = [make_url_of("shop first"), make_url_of("app first")]
    fresh = [make_url_of("fresh, shop first"), make_url_of("fresh, app first")]
    for url in used:
        shop.service(url).upgrade()
        execute(url, *INSERT)
    if moved_class == "before":
        write_models(shop, offer_in="app")
    given, taken = shop.service(used[0]).move_table("offers", "shop", "app")
    write_models(shop, offer_in="app")

    for pair in (used, fresh):
        for url, order in zip(pair, (("shop", "app"), ("app", "shop")), strict=True):
            service = shop.service(url)
            for package in order:
                service.upgrade(packages=package)
            assert service.upgrade().steps == ()
    assert [execute(url, SELECT) for url in used] == [ROWS, ROWS]
    first, *others = [schema_of(url) for url in (*used, *fresh)]
    assert "offers" in first
    assert others == [first] * 3

    for url in (*used, *fresh):
        service = shop.service(url)
        report = service.check()
        assert report.ok and report.problems == (), report.problems
        assert service.revision(autogenerate=True) == ()
    heads = {revision.package: revision.id for revision in shop.service(used[0]).heads()}
    assert heads == {"shop": given.revision, "app": taken.revision}


def test_the_two_scripts_say_what_moves_and_do_nothing(shop: Workshop, sqlite_url: str) -> None:
    given, taken = shop.service(sqlite_url).move_table("offers", "shop", "app")
    assert (given.package, given.message) == ("shop", "Moving table offers to app")
    assert (taken.package, taken.message) == ("app", "Taking over table offers from shop")
    assert assigned(given.path) == {
        "revision": given.revision,
        "down_revision": "a300",
        "branch_labels": None,
        "depends_on": None,
        "requires": (),
        "gives_tables": {"offers": "app"},
        "gives_types": {"offer_status": "app"},
    }
    assert assigned(taken.path) == {
        "revision": taken.revision,
        "down_revision": "b100",
        "branch_labels": None,
        "depends_on": None,
        "requires": (f"shop@{given.revision}",),
        "written_against": {"shop": given.revision},
        "takes_tables": {"offers": "shop"},
        "takes_types": {"offer_status": "shop"},
    }
    for path in (given.path, taken.path):
        assert Path(path).read_text().count("    pass\n") == 2
    # Nothing was done in the database, which does not even exist.
    assert not Path(make_url(sqlite_url).database or "").exists()


def test_an_enum_type_that_other_tables_use_stays(shop: Workshop, sqlite_url: str) -> None:
    write_models(
        shop,
        shop="""

class Sale(Base):
    __tablename__ = "sales"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[OfferStatus] = mapped_column(sa.Enum(OfferStatus, name="offer_status"))
""",
    )
    given, taken = shop.service(sqlite_url).move_table("offers", "shop", "app")
    assert "gives_types" not in assigned(given.path)
    assert "takes_types" not in assigned(taken.path)


def test_a_later_foreign_key_requires_the_new_owners_revision(
    shop: Workshop, make_url_of: Callable[[str], str]
) -> None:
    url = make_url_of("one")
    _, taken = shop.service(url).move_table("offers", "shop", "app")
    folder = shop.package("third", BASE)
    (folder / "alembic" / "versions").mkdir(parents=True)
    shutil.copy(TEMPLATE, folder / "alembic")
    write_models(shop, offer_in="app", shop=REFERENCE.format(number=1))
    (folder / "models.py").write_text(
        APP.replace("Line", "Other").replace("lines", "others") + REFERENCE.format(number=2)
    )
    shop.service(url).upgrade()
    # The former owner refers to the table like everybody else now; that is no circle.
    created = shop.service(url).revision("References", autogenerate=True)
    assert [one.package for one in created] == ["shop", "third"]
    for one in created:
        assert assigned(one.path)["requires"] == (f"app@{taken.revision}",)
    service = shop.service(url)
    service.upgrade()
    assert service.check().problems == ()


def test_earlier_foreign_keys_to_the_table_need_no_new_requirement(
    shop: Workshop, sqlite_url: str
) -> None:
    shop.package("third", None)
    shop.script(
        "third",
        "c100",
        None,
        'op.create_table("c", sa.Column("x", sa.Integer, sa.ForeignKey("offers.id")))',
        requires=["shop@a200"],
    )
    shop.script(
        "shop",
        "a400",
        "a300",
        'op.create_table("d", sa.Column("x", sa.Integer, sa.ForeignKey("offers.id")))',
    )
    shop.service(sqlite_url).move_table("offers", "shop", "app")
    problems = shop.service(sqlite_url).check().problems
    assert [problem for problem in problems if problem.kind == "requirement"] == []


def test_check_notes_a_class_that_moved_alone(
    shop: Workshop, transactional_database_url: str
) -> None:
    write_models(shop, offer_in="app")
    service = shop.service(transactional_database_url)
    service.upgrade()
    (problem,) = service.check().problems
    assert (problem.kind, problem.package, problem.fatal) == ("moved", "app", False)
    assert problem.message == (
        'Table "offers" is in the models of package "app", but by the scripts it belongs to '
        'package "shop" since revision "a200". Hand it over with: ws-alembic move-table offers '
        'shop app, or move its class back to "shop".'
    )
    assert service.revision(autogenerate=True) == ()


def test_check_notes_a_table_that_moved_without_its_class(shop: Workshop, sqlite_url: str) -> None:
    _, taken = shop.service(sqlite_url).move_table("offers", "shop", "app")
    service = shop.service(sqlite_url)
    service.upgrade()
    (problem,) = service.check().problems
    assert problem.message == (
        'Table "offers" is in the models of package "shop", but by the scripts it belongs to '
        f'package "app" since revision "{taken.revision}". Move its class to "app", or name the '
        'owner there: info={"package": "app"}.'
    )


# Going back


def test_a_downgrade_drops_nothing_and_comes_back(
    shop: Workshop, make_url_of: Callable[[str], str]
) -> None:
    url = make_url_of("one")
    given, taken = shop.service(url).move_table("offers", "shop", "app")
    service = shop.service(url)
    service.upgrade()
    execute(url, *INSERT)
    service.downgrade("b100", packages="app")
    service.downgrade("a300", packages="shop")
    assert execute(url, SELECT) == ROWS
    steps = [f"{step.package}@{step.revision}" for step in service.upgrade().steps]
    assert steps == [f"shop@{given.revision}", f"app@{taken.revision}"]
    assert execute(url, SELECT) == ROWS
    service.downgrade("base")
    assert not {"offers", "customers", "lines"} & set(schema_of(url))


def test_the_former_owner_cannot_be_uninstalled_with_the_table(
    shop: Workshop, make_url_of: Callable[[str], str]
) -> None:
    url = make_url_of("one")
    given, taken = shop.service(url).move_table("offers", "shop", "app")
    service = shop.service(url)
    service.upgrade()
    execute(url, *INSERT)
    with pytest.raises(DowngradeRefused) as caught:
        service.uninstall("shop")
    versions = shop.root / "shop" / "alembic" / "versions"
    assert str(caught.value) == (
        "The downgrade would take away what applied revisions of other packages require. These "
        "would have to go first, in this order:\n"
        f'  "app@{taken.revision}" ("{taken.path}"): requires shop {given.revision}, which goes\n'
        f'Data would be lost: the downgrade of "shop@a300" ("{versions / "a300.py"}") drops column '
        f'"note" of table "offers", which "shop@{given.revision}" gave to "app".\n'
        f'Data would be lost: the downgrade of "shop@a200" ("{versions / "a200.py"}") drops table '
        '"offers" with '
        f'its rows, which "shop@{given.revision}" gave to "app".\n'
        "Add `--cascade` to take them down too, or downgrade their packages first."
    )
    assert execute(url, SELECT) == ROWS
    service.uninstall("shop", cascade=True)
    assert {"lines"} <= set(schema_of(url))
    assert not {"offers", "customers", "alembic_history_shop"} & set(schema_of(url))
    assert execute(url, "SELECT version_num FROM alembic_history_app") == [("b100",)]


def test_the_table_is_safe_before_its_new_owner_was_upgraded(
    shop: Workshop, make_url_of: Callable[[str], str]
) -> None:
    url = make_url_of("one")
    given, _ = shop.service(url).move_table("offers", "shop", "app")
    service = shop.service(url)
    service.upgrade(packages="shop")
    execute(url, *INSERT)
    # Giving is taken back alone; the table is the former owner's again.
    service.downgrade("-1", packages="shop")
    service.upgrade(packages="shop")
    for attempt in (
        lambda: service.uninstall("shop"),
        lambda: service.downgrade("a100", packages="shop", cascade=False),
        lambda: service.plan("base", packages="shop", direction="downgrade"),
    ):
        with pytest.raises(DowngradeRefused) as caught:
            attempt()
    versions = shop.root / "shop" / "alembic" / "versions"
    assert str(caught.value) == (
        "The downgrade would drop what belongs to another package, and nothing was run:\n"
        f'  the downgrade of "shop@a300" ("{versions / "a300.py"}") drops column "note" of table '
        f'"offers", which "shop@{given.revision}" gave to "app"\n'
        f'  the downgrade of "shop@a200" ("{versions / "a200.py"}") drops table "offers" with its '
        f'rows, which "shop@{given.revision}" gave to "app"\n'
        'Keep it: downgrade "shop" to "a300" and no further. Add `--cascade` to drop it with all '
        "that is in it."
    )
    with pytest.raises(DowngradeRefused, match='drops column "note"'):
        service.downgrade("a200", packages="shop")
    assert execute(url, SELECT) == ROWS
    # Also where the new owner is not installed any more.
    with pytest.raises(DowngradeRefused):
        shop.service(url, "shop").uninstall("shop")
    service.downgrade("base", packages=["shop", "app"])
    assert "offers" not in schema_of(url)


def test_a_table_that_came_back_is_the_packages_own_to_drop(
    shop: Workshop, sqlite_url: str
) -> None:
    shop.service(sqlite_url).move_table("offers", "shop", "app")
    _, taken = shop.service(sqlite_url).move_table("offers", "app", "shop")
    assert taken.package == "shop"
    service = shop.service(sqlite_url)
    service.upgrade()
    assert service.check().problems == ()
    # The way there and back is in the history: each package waits for the other in turn.
    with pytest.raises(DowngradeRefused) as caught:
        service.uninstall("shop")
    assert caught.value.losses == ()
    service.uninstall("shop", cascade=True)
    assert "offers" not in schema_of(sqlite_url)


def test_a_table_given_to_a_package_that_is_not_there_is_nobodys(
    shop: Workshop, sqlite_url: str
) -> None:
    shop.service(sqlite_url).move_table("offers", "shop", "app")
    write_models(shop, offer_in="app")
    alone = shop.service(sqlite_url, "shop")
    alone.upgrade()
    assert alone.revision(autogenerate=True) == ()
    (problem,) = alone.check().problems
    assert (problem.kind, problem.fatal) == ("unowned", False)


def test_the_new_owner_drops_the_table(shop: Workshop, make_url_of: Callable[[str], str]) -> None:
    url = make_url_of("one")
    shop.service(url).move_table("offers", "shop", "app")
    write_models(shop, offer_in="nobody")
    shop.service(url).upgrade()
    (created,) = shop.service(url).revision("Without offers", autogenerate=True, allow_drops=True)
    assert created.package == "app"
    assert "op.drop_table(" in Path(created.path).read_text()
    service = shop.service(url)
    service.upgrade()
    assert "offers" not in schema_of(url)
    service.downgrade("base")
    assert not {"offers", "customers"} & set(schema_of(url))


def make_it_itself(path: str, requirement: str, create: str) -> None:
    """Let the new owner's revision make the table itself, as the documentation says."""
    source = Path(path).read_text()
    assert requirement in source
    source = source.replace(f"('{requirement}',)", "()")
    guarded = f'if not sa.inspect(op.get_bind()).has_table("offers"):\n        {create}'
    Path(path).write_text(source.replace("    pass\n", f"    {guarded}\n", 1))


def test_an_application_gives_a_table_to_an_add_on_that_others_use(
    workshop: Workshop,
    make_url_of: Callable[[str], str],
) -> None:
    for name in ("addon", "fooapp"):
        (workshop.package(name, None) / "alembic" / "versions").mkdir(parents=True)
        shutil.copy(TEMPLATE, workshop.root / name / "alembic")
    create = 'op.create_table("offers", sa.Column("id", sa.Integer, primary_key=True))'
    workshop.script("fooapp", "f100", None, create, 'op.drop_table("offers")')
    given, taken = workshop.service(make_url_of("one")).move_table("offers", "fooapp", "addon")
    make_it_itself(taken.path, f"fooapp@{given.revision}", create)
    path = Path(given.path)
    path.write_text(path.read_text() + f"\nrun_before = ('addon@{taken.revision}',)\n")
    for url, order in (
        (make_url_of("one"), ("fooapp", "addon")),
        (make_url_of("two"), ("addon", "fooapp")),
    ):
        for package in order:
            workshop.service(url).upgrade(packages=package)
        assert workshop.service(url).check().problems == ()
        with pytest.raises(DowngradeRefused, match='drops table "offers"'):
            workshop.service(url).uninstall("fooapp")
    alone = workshop.service(make_url_of("alone"), "addon")
    alone.upgrade()
    assert schema_of(make_url_of("alone"))["offers"] == schema_of(make_url_of("one"))["offers"]


def test_the_former_owner_can_go_for_good(
    workshop: Workshop,
    make_url_of: Callable[[str], str],
) -> None:
    for name in ("shop", "app"):
        (workshop.package(name, None) / "alembic" / "versions").mkdir(parents=True)
        shutil.copy(TEMPLATE, workshop.root / name / "alembic")
    create = 'op.create_table("offers", sa.Column("id", sa.Integer, primary_key=True))'
    workshop.script("shop", "a100", None, create, 'op.drop_table("offers")')
    used, fresh = make_url_of("used"), make_url_of("fresh")
    given, taken = workshop.service(used).move_table("offers", "shop", "app")
    workshop.service(used).upgrade()
    execute(used, "INSERT INTO offers (id) VALUES (1)")
    make_it_itself(taken.path, f"shop@{given.revision}", create)
    service = workshop.service(used, "app")
    assert service.upgrade().steps == ()
    service.uninstall("shop", forget=True)
    assert execute(used, "SELECT id FROM offers") == [(1,)]
    assert [state.package for state in service.current()] == ["app"]
    workshop.service(fresh, "app").upgrade()
    without_history = [
        {name: found for name, found in schema_of(url).items() if name in ("offers", "types")}
        for url in (used, fresh)
    ]
    assert without_history[0] == without_history[1]


# Refusals


def refused(made: Workshop, url: str, *names: str) -> str:
    """Return why a move was refused; no file is left, none is changed."""
    before = files(made)
    with pytest.raises(RevisionFailed) as caught:
        made.service(url).move_table(*names)
    assert files(made) == before
    return str(caught.value)


def test_a_table_that_the_package_does_not_have(shop: Workshop, sqlite_url: str) -> None:
    assert refused(shop, sqlite_url, "offer", "shop", "app") == (
        'Table "offer" was not moved: no revision of "shop" creates it. Did you mean "offers"? Its '
        "tables: customers, offers."
    )
    assert refused(shop, sqlite_url, "sales.offers", "shop", "app") == (
        'Table "sales.offers" was not moved: no revision of "shop" creates it. Did you mean '
        '"offers"? Its tables: customers, offers.'
    )
    shop.package("empty", None)
    assert refused(shop, sqlite_url, "x", "empty", "app") == (
        'Table "x" was not moved: no revision of "empty" creates it. Its tables: none that a '
        "script creates."
    )


def test_a_table_of_another_package(shop: Workshop, sqlite_url: str) -> None:
    script = shop.root / "shop" / "alembic" / "versions" / "a200.py"
    shop.package("third", None)
    assert refused(shop, sqlite_url, "offers", "third", "app") == (
        f'Table "offers" was not moved: it belongs to package "shop" since revision "a200" '
        f'("{script}"). Move it from there: ws-alembic move-table offers shop app'
    )
    assert refused(shop, sqlite_url, "offers", "app", "shop") == (
        f'Table "offers" was not moved: it belongs to package "shop" since revision "a200" '
        f'("{script}"). Its scripts are there already.'
    )


def test_a_table_that_was_given_away_already(shop: Workshop, sqlite_url: str) -> None:
    shop.service(sqlite_url).move_table("offers", "shop", "app")
    shop.names.remove("app")
    shop.package("third", None)
    assert refused(shop, sqlite_url, "offers", "shop", "third") == (
        'Table "offers" was not moved: the scripts of "shop" dropped it or gave it away already. '
        "Nothing of it is left to move."
    )


def test_a_package_and_itself(shop: Workshop, sqlite_url: str) -> None:
    assert refused(shop, sqlite_url, "offers", "shop", "shop") == (
        'Table "offers" was not moved: "shop" would give it to itself. Name two packages: '
        "ws-alembic move-table TABLE FROM TO"
    )


def test_an_unknown_package(shop: Workshop, sqlite_url: str) -> None:
    for names in (("shop", "ap"), ("ap", "shop")):
        with pytest.raises(UnknownPackage, match=r'Did you mean "app"\?'):
            shop.service(sqlite_url).move_table("offers", *names)


@pytest.mark.parametrize("package", ["shop", "app"])
def test_several_heads(shop: Workshop, sqlite_url: str, package: str) -> None:
    shop.script(package, "x900")
    newest = {"shop": "a300", "app": "b100"}[package]
    assert refused(shop, sqlite_url, "offers", "shop", "app") == (
        f'Table "offers" was not moved: package "{package}" has several heads: {newest}, x900. '
        f'Merge them first: ws-alembic -x packages={package} merge -m "..." heads'
    )


@pytest.mark.parametrize("package", ["shop", "app"])
def test_a_package_that_is_not_the_users_to_edit(
    shop: Workshop, sqlite_url: str, package: str, tmp_path: Path
) -> None:
    scripts = tmp_path / "site-packages" / package / "alembic"
    shutil.copytree(shop.root / package / "alembic", scripts)
    before = files(shop)
    service = shop.service(sqlite_url, **{f"script_location.{package}": str(scripts)})
    with pytest.raises(ScriptDirectoryError):
        service.move_table("offers", "shop", "app")
    assert files(shop) == before
    assert len(list(scripts.glob("versions/*.py"))) == {"shop": 3, "app": 1}[package]


def test_requirements_that_would_form_a_circle(shop: Workshop, sqlite_url: str) -> None:
    init = shop.root / "shop" / "__init__.py"
    init.write_text(init.read_text().replace("(metadata", "(depends_on='app', metadata"))
    shop.forget()
    message = refused(shop, sqlite_url, "offers", "shop", "app")
    assert message.startswith(
        'Table "offers" was not moved: "app" would have to wait for "shop", which waits for it:\n'
        '  "app@'
    )
    assert message.endswith(
        "No file was written. Where a head or a whole package is required, require the one "
        "revision that is needed."
    )


def test_a_second_script_that_cannot_be_written_leaves_none(
    shop: Workshop, sqlite_url: str
) -> None:
    (shop.root / "app" / "alembic" / "script.py.mako").write_text("${nonsense.of_a_template}")
    before = files(shop)
    with pytest.raises(Exception, match=r"nonsense|Undefined|template"):
        shop.service(sqlite_url).move_table("offers", "shop", "app")
    assert files(shop) == before


# Script directories of other kinds


def test_a_package_without_scripts_gets_its_directory(shop: Workshop, sqlite_url: str) -> None:
    shop.package("third", None)
    _, taken = shop.service(sqlite_url).move_table("offers", "shop", "third")
    assert Path(taken.path).parent == shop.root / "third" / "alembic" / "versions"
    assert (shop.root / "third" / "alembic" / "env.py").exists()
    shop.service(sqlite_url).upgrade(packages="third")
    assert "offers" in schema_of(sqlite_url)


def test_the_directory_goes_again_if_the_move_fails(
    shop: Workshop, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from websauna_migrate.autogenerate.write.move_writer import MoveWriter

    def fail(self: MoveWriter) -> None:
        raise self.refused("of a reason", "Try again.")

    monkeypatch.setattr(MoveWriter, "require_runnable", fail)
    shop.package("third", None)
    refused(shop, sqlite_url, "offers", "shop", "third")


def test_a_template_that_knows_nothing_of_requirements(shop: Workshop, sqlite_url: str) -> None:
    for name in ("shop", "app"):
        (shop.root / name / "alembic" / "script.py.mako").write_text(
            '"""${message}"""\n\n'
            "revision = ${repr(up_revision)}\n"
            "down_revision = ${repr(down_revision)}\n\n\n"
            "def upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"
        )
    given, taken = shop.service(sqlite_url).move_table("offers", "shop", "app")
    found = assigned(taken.path)
    assert found["requires"] == (f"shop@{given.revision}",)
    assert found["takes_tables"] == {"offers": "shop"}
    assert "requires" not in assigned(given.path)
    shop.service(sqlite_url).upgrade(packages="app")


def test_a_table_in_a_schema(shop: Workshop, postgresql_url: str) -> None:
    shop.script(
        "shop",
        "a400",
        "a300",
        """
        op.execute("CREATE SCHEMA sales")
        op.create_table("offers", sa.Column("id", sa.Integer, primary_key=True), schema="sales")
        """,
        'op.drop_table("offers", schema="sales")\nop.execute("DROP SCHEMA sales")',
    )
    given, taken = shop.service(postgresql_url).move_table("sales.offers", "shop", "app")
    assert assigned(given.path)["gives_tables"] == {"sales.offers": "app"}
    service = shop.service(postgresql_url)
    created = service._snapshot().created
    assert created.table_origin("sales", "offers") == ("app", taken.revision)
    assert created.table_origin(None, "offers") == ("shop", "a200")
    service.upgrade()
    with pytest.raises(DowngradeRefused) as caught:
        service.uninstall("shop")
    assert 'drops table "sales.offers"' in str(caught.value)


def test_a_name_that_is_no_dictionary(shop: Workshop, sqlite_url: str) -> None:
    given, _ = shop.service(sqlite_url).move_table("offers", "shop", "app")
    path = Path(given.path)
    path.write_text(path.read_text().replace("{'offers': 'app'}", "('offers',)"))
    with pytest.raises(ScriptError) as caught:
        shop.service(sqlite_url).upgrade()
    assert "its gives_tables is ('offers',), not a dictionary of names and texts." in str(
        caught.value
    )


# What stands at the end


def test_given_and_taken_tables_among_created_objects() -> None:
    key = (None, "t")
    created = CreatedObjects(
        [
            ("a", "a1", [Access("create_type", None, "kind"), Access("create_table", *key)]),
            ("a", "a2", [Access("add_column", *key, columns=("x",))]),
        ]
    )
    created.apply("a", "a3", [Access("give_table", *key), Access("give_type", None, "kind")])
    assert created.table_origin(*key) is None
    assert created.tables == {} and created.types == {}
    assert created.origins(*key) == (("a", "a1"),)
    created.apply("b", "b1", [Access("take_type", None, "kind"), Access("take_table", *key)])
    assert created.tables == {key: ("b", "b1")}
    assert created.types == {(None, "kind"): ("b", "b1")}
    assert created.column_origin(*key, "x") == ("b", "b1")
    assert created.origins(*key) == (("b", "b1"), ("a", "a1"))
    assert created.origins(*key, "x") == (("b", "b1"), ("a", "a2"))
    assert created.packages_of_table(*key) == ("a", "b")
    created.apply("b", "b2", [Access("add_column", *key, columns=("y",))])
    assert created.origins(*key, "y") == (("b", "b2"),)
    created.apply("b", "b3", [Access("drop_table", *key)])
    assert created.tables == {} and created.origins(*key) == ()


def test_only_its_owner_gives_a_table_away() -> None:
    created = CreatedObjects([("a", "a1", [Access("create_table", None, "t")])])
    created.apply("b", "b1", [Access("give_table", None, "t")])
    assert created.table_origin(None, "t") == ("a", "a1")


# The command


def test_the_command_prints_both_paths(site: Site) -> None:  # noqa: F811
    result = site("move-table", "a1", "addon", "fooapp")
    assert (result.status, result.stderr) == (0, "")
    first, second = result.lines
    assert os.path.relpath(first, site.workshop.root).startswith("addon/alembic/versions/")
    assert os.path.relpath(second, site.workshop.root).startswith("fooapp/alembic/versions/")
    assert site("-x", "packages=all", "upgrade").status == 0
    refusal = site("uninstall", "addon")
    assert refusal.status == 1
    assert 'drops table "a1" with its rows' in refusal.stderr


def test_the_command_warns_of_an_add_on_that_needs_the_application(site: Site) -> None:  # noqa: F811
    result = site("move-table", "f1", "fooapp", "addon")
    given, taken = (Path(line).name.partition("_")[0] for line in result.lines)
    assert (result.status, result.stderr) == (
        0,
        'WARNING: Package "addon" now requires "fooapp", which is the application, so no other '
        f'application can use it. If one should, let revision "{taken}" make the table where it '
        f'is not there, without requires, and write run_before = ("addon@{taken}",) into revision '
        f'"{given}".\n',
    )


def test_the_command_says_what_is_left_to_do(
    shop: Workshop,
    sqlite_url: str,
    tmp_path: Path,
    invoke: Any,  # noqa: F811
) -> None:
    (shop.root / "app" / "__init__.py").write_text(
        "from pyramid.config import Configurator\n\n\n"
        "def main(global_config, **settings):\n"
        "    config = Configurator(settings=settings)\n"
        '    config.include("websauna_migrate")\n'
        '    config.include("shop")\n'
        '    config.add_migration_package(metadata="app.models.Base")\n'
        "    return config.make_wsgi_app()\n"
    )
    (tmp_path / "development.ini").write_text(
        f"[app:main]\nuse = call:app:main\nsqlalchemy.url = {sqlite_url}\n"
    )
    result: Result = invoke(("move-table", "offers", "shop", "app"), tmp_path)
    assert result.status == 0, result.stderr
    assert len(result.lines) == 2
    assert result.stderr == (
        'The models have table "offers" in "shop". Move its class to "app", or name the owner '
        'there: Table(..., info={"package": "app"}), in a class __table_args__ = {"info": '
        '{"package": "app"}}.\n'
    )
    refusal: Result = invoke(("-x", "packages=app", "move-table", "a", "b", "c"), tmp_path)
    assert refusal.status == 2
    assert "This command names its package itself" in refusal.stderr
