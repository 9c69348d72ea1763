"""``locate`` and ``stamp --verified``: a database is found at each revision, whatever was done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import engine_of, execute, rows, table, tables
from websauna_migrate.errors import NotLocated

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
"""

#: Revisions of two packages: tables, enums, indexes, renames and rows.
SHOP = {
    "s01": """
op.create_table(
    "goods",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False, server_default="none"),
    sa.Column("kind", sa.Enum("a", "b", name="good_kind")),
)
""",
    "s02": 'op.create_index("ix_goods_name", "goods", ["name"])',
    "s03": """
op.execute("INSERT INTO goods (id, name) VALUES (1, 'x')")
""",
    "s04": 'op.rename_table("goods", "wares")',
    "s05": 'op.add_column("wares", sa.Column("price", sa.Numeric(10, 2)))',
    "s06": """
with op.batch_alter_table("wares") as batch:
    batch.alter_column("name", new_column_name="title", existing_type=sa.String(20),
        existing_nullable=False, existing_server_default="none")
""",
    "s07": """
op.create_table(
    "orders",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ware", sa.Integer, sa.ForeignKey("wares.id", name="fk_ware"), index=True),
    sa.Column("amount", sa.Integer),
    sa.CheckConstraint("amount > 0", name="ck_amount"),
)
""",
    "s08": """
with op.batch_alter_table("orders") as batch:
    batch.add_column(sa.Column("note", sa.Text))
""",
}

USER = {
    "u01": 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))',
    "u02": 'op.add_column("users", sa.Column("nick", sa.String(10)))',
}


def make(workshop: Workshop) -> None:
    """Make both packages; an order of the shop needs a user."""
    for package, scripts in (("shop", SHOP), ("user", USER)):
        workshop.package(package, MODELS, metadata=f"{package}.models.metadata")
        down = None
        for name, text in scripts.items():
            requires = ["user@u01"] if name == "s07" else []
            workshop.script(package, name, down, text, requires=requires)
            down = name


def id_of(revision: Any) -> str:
    return str(revision.id)


def forget(url: str) -> None:
    """Delete all that says what was applied."""
    for name in tables(url):
        if name.startswith(("alembic_history", "websauna_migrate")):
            execute(url, f"DROP TABLE {name}")


#: Rows alone tell these apart.
EQUAL = {"s02": {"s02", "s03"}, "s03": {"s02", "s03"}}


def test_a_database_is_found_at_each_revision(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    make(workshop)
    service = workshop.service(database_url, cache=str(tmp_path / "cache"))
    places = [("shop", one) for one in SHOP] + [("user", one) for one in USER]
    known = {"shop": "", "user": ""}
    empty = service.locate()
    assert [one.rows for one in empty.packages] == [(), ()] and empty.ok
    assert empty.scripts == len(places)
    for package, revision in places:
        if not database_url.startswith("sqlite") and revision not in AT_SERVERS:
            continue
        for step in service.upgrade(revision, packages=package).steps:
            known[step.package] = step.revision
        forget(database_url)
        if known["shop"] in EQUAL:
            with pytest.raises(NotLocated, match="name one") as refused:
                service.stamp((), verified=True)
            (one,) = refused.value.found
            assert {"".join(each) for each in one.candidates} == EQUAL[known["shop"]]
            assert one.between == ("shop@s03",)
            service.stamp(known["shop"], packages="shop", verified=True)
            assert service.locate().packages[0].verdict == "recorded"
        else:
            service.stamp((), verified=True)
        found = {one.package: "".join(map(id_of, one.applied)) for one in service.current()}
        assert found == known
    with pytest.raises(NotLocated, match=r"are those of .*, not of what was named"):
        service.stamp("s02", packages="shop", verified=True)
    assert service.locate().scripts == 0
    notes = rows(database_url, "SELECT note FROM websauna_migrate_ledger")
    assert all(note.startswith("located by replay: facts ") for (note,) in notes) and notes


#: Where it is looked at servers, which take longer.
AT_SERVERS = ("s01", "s03", "s06", "u02")


#: What a hand did, and what is told of it: the object, and what made it.
HANDS = {
    "ALTER TABLE wares DROP COLUMN price": ('column "price"', "as shop@s05 made it"),
    "DROP INDEX ix_orders_ware": ('index "ix_orders_ware"', "as shop@s07 made it"),
    "ALTER TABLE wares ADD COLUMN extra INTEGER": ('column "extra"', "no revision makes it"),
    "CREATE INDEX ix_by_hand ON wares (title)": ('index "ix_by_hand"', "no revision makes it"),
}


def test_what_a_hand_changed_is_named(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    make(workshop)
    ini = workshop.application(
        "shop", tmp_path / "site.ini", database_url, cache=str(tmp_path / "cache")
    )
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    done = []
    for statement, told in HANDS.items():
        # MariaDB keeps the index of a foreign key.
        if statement.startswith("DROP INDEX") and "mysql" in database_url:
            continue
        execute(database_url, statement)
        done.append(told)
        found = workshop.ws(ini, "-x", "packages=all", "locate", "--json")
        assert found.status == 8
        shop, user = json.loads(found.out)["packages"]
        assert user["verdict"] == "proven" and shop["verdict"] == "nearest"
        names = {each["object"].partition(", ")[2]: each["made"] for each in shop["differences"]}
        assert shop["rows"] == ["s08"] and names == dict(done)
    refused = workshop.ws(ini, "stamp", "--verified")
    assert refused.status == 8 and "Nothing was stamped" in refused.err
    assert f"ws-alembic -c {ini} locate" in refused.err and 'column "extra"' in refused.err
    shown = workshop.ws(ini, "-x", "packages=all", "locate")
    assert "equals no revision; nearest" in shown.out and "no revision makes it" in shown.out
    drift = f"ws-alembic -c {ini} -x packages=shop drift --sql"
    assert f"  If it is that one: {drift}\n" in shown.out
    assert workshop.ws(ini, "stamp", "s01").status == 0
    remedy = f": ws-alembic -c {ini} -x packages=shop stamp --purge s08, then {drift}\n"
    assert remedy in workshop.ws(ini, "-x", "packages=all", "locate").out
    assert workshop.ws(ini, "-x", "packages=shop", "stamp", "s08").status == 0
    assert workshop.ws(ini, "-x", "packages=shop", "drift", "--sql").status == 8


def test_what_is_known_in_front_of_a_step_that_fails_is_not_read_again(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", MODELS, metadata="fooapp.models.metadata")
    (folder / "names.py").write_text('COLUMN = "first"\n')
    column = "from fooapp.names import COLUMN\nop.add_column('a', sa.Column(COLUMN, sa.Integer))"
    workshop.script("fooapp", "f01", None, **table("a"))
    workshop.script("fooapp", "f02", "f01", column)
    # Needs a row.
    workshop.script(
        "fooapp", "f03", "f02", 'assert op.get_bind().scalar(sa.text("SELECT 1 FROM a"))'
    )
    workshop.script("fooapp", "f04", "f02", **table("b"))
    service = workshop.service(database_url, cache=str(tmp_path / "cache"))
    service.upgrade("f04")
    for _ in range(2):
        found = service.locate()
        (one,) = found.packages
        assert (one.verdict, one.rows) == ("several", ("f04",)), one
        (failed,) = found.not_replayed
        assert (failed.revision, found.scripts) == ("f03", 3)
        # What a script imports is not looked at: so a look would tell.
        (folder / "names.py").write_text('COLUMN = "second"\n')
        workshop.forget()


OFFERS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Offer(Base):
    __tablename__ = "offers"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String(20))
"""


def test_tables_that_the_models_made_stand_at_the_head(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp", OFFERS)
    # No replay can do the first step: it begins with a table that somebody else makes.
    workshop.script("fooapp", "f01", None, 'op.add_column("elder", sa.Column("a", sa.Integer))')
    workshop.script("fooapp", "f02", "f01")
    ini = workshop.application("fooapp", tmp_path / "site.ini", database_url)
    execute(database_url, "CREATE TABLE elder (id INTEGER)")
    shown = workshop.ws(ini, "locate")
    assert shown.status == 8
    assert "fooapp   -          <base>    not replayed" in shown.out
    assert "fooapp@f01 could not be replayed: " in shown.out
    assert "so neither could fooapp@f02" in shown.out
    assert 'table "elder" is of no script' in shown.out
    execute(database_url, "CREATE TABLE offers (id INTEGER NOT NULL, title VARCHAR(20))")
    assert workshop.ws(ini, "stamp", "--verified").status == 8
    execute(database_url, "DROP TABLE offers")
    workshop.forget()
    models = __import__("fooapp.models").models
    models.Base.metadata.create_all(engine_of(database_url))
    assert "equals the models" in workshop.ws(ini, "locate").out
    assert workshop.ws(ini, "stamp", "--verified").out == "fooapp  <base> -> f02\n"
    assert "not replayed" not in workshop.ws(ini, "upgrade").err


def verified_rows(workshop: Workshop) -> None:
    """Write a script that makes a table, and one that fills it and verifies the row."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f01", None, **table("a"))
    script = workshop.script("fooapp", "f02", "f01", 'op.execute("INSERT INTO a VALUES (7)")')
    query = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM a WHERE id = 7)"
    script.write_text(
        script.read_text() + f'\n\ndef verify(check):\n    check.none("{query}", "7 is missing")\n'
    )


def test_what_rows_tell_is_asked_of_the_scripts(workshop: Workshop, sqlite_url: str) -> None:
    verified_rows(workshop)
    service = workshop.service(sqlite_url)
    service.upgrade("f01")
    (found,) = service.locate().packages
    assert found.rows == ("f01",) and found.asked == ("verify() of fooapp@f02 fails",)
    service.upgrade()
    (found,) = service.locate().packages
    assert found.rows == ("f02",) and found.asked == ("verify() of fooapp@f02 holds",)


def test_a_verification_that_fails_proves_nothing_of_what_changes_rows_behind_it(
    workshop: Workshop, sqlite_url: str
) -> None:
    verified_rows(workshop)
    workshop.script("fooapp", "f03", "f02", 'op.execute("UPDATE a SET id = 8")')
    workshop.script("fooapp", "f04", "f03", **table("b"))
    service = workshop.service(sqlite_url)
    service.upgrade("f03")
    (found,) = service.locate().packages
    assert [*found.candidates] == [("f01",), ("f03",)] and found.verdict == "recorded"
    forget(sqlite_url)
    with pytest.raises(NotLocated, match="name one"):
        service.stamp((), verified=True)
    service.stamp("f03", packages="fooapp", verified=True)
    assert [one.revision for one in service.upgrade().steps] == ["f04"]


def test_a_branch_is_found_without_the_other(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f01", None, **table("a"))
    for name in ("left", "right"):
        workshop.script("fooapp", name, "f01", **table(name))
    workshop.script("fooapp", "f03", ["left", "right"], 'op.drop_table("a")')
    service = workshop.service(sqlite_url)
    for rows_then in (("right",), ("left", "right"), ("f03",)):
        service.upgrade(rows_then[0])
        (found,) = service.locate().packages
        assert found.verdict == "proven" and found.rows == rows_then


def test_the_remedy_where_a_row_is_unknown_or_one_too_many_can_be_followed(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    make(workshop)
    workshop.script("shop", "side", None)
    ini = workshop.application("shop", tmp_path / "site.ini", sqlite_url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    execute(sqlite_url, "ALTER TABLE orders ADD extra INTEGER")
    for statement in (
        "UPDATE alembic_history_shop SET version_num = 'gone' WHERE version_num = 's08'",
        "DELETE FROM alembic_history_shop WHERE version_num = 'side'",
    ):
        execute(sqlite_url, statement)
        shown = workshop.ws(ini, "-x", "packages=shop", "locate").out
        assert "shop: no script defines what is applied: shop@gone" in shown
        refused = workshop.ws(ini, "-x", "packages=shop", "stamp", "heads")
        assert refused.status != 0 and '"gone" in the table "alembic_history_shop"' in refused.err
        assert "stamp --verified" in refused.err
    follow(workshop, ini, shown)
    # The row of another branch alone.
    execute(sqlite_url, "DELETE FROM alembic_history_shop WHERE version_num != 'side'")
    follow(workshop, ini, workshop.ws(ini, "-x", "packages=shop", "locate").out)


def follow(workshop: Workshop, ini: Path, shown: str) -> None:
    """Type what ``locate`` says to, and look whether it does."""
    (told,) = (line for line in shown.splitlines() if "If it is that one: " in line)
    stamp, drift = told.partition("one: ")[2].split(", then ")
    beginning = f"ws-alembic -c {ini} "
    assert workshop.ws(ini, *stamp.removeprefix(beginning).split()).status == 0
    assert "orders" in workshop.ws(ini, *drift.removeprefix(beginning).split()).out
    again = workshop.ws(ini, "-x", "packages=shop", "locate").out
    assert f"If it is that one: {drift}" in again and "no script defines" not in again
