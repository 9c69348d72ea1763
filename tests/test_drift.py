"""``drift``: what was changed by hand, after which run; what only models have; and accepting it."""

from __future__ import annotations

import json
from pathlib import Path

from apps import Workshop
from runs import execute, table

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Offer(Base):
    __tablename__ = "offers"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String(20))
"""

OFFERS = """
op.create_table(
    "offers",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("title", sa.String(20)),
)
"""


def test_drift_is_told_with_its_kind_and_its_time(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", MODELS)
    workshop.script("fooapp", "f01", None, OFFERS)
    ini = workshop.application(
        "fooapp", tmp_path / "site.ini", database_url, cache=str(tmp_path / "cache")
    )
    assert workshop.ws(ini, "upgrade").status == 0
    clean = workshop.ws(ini, "drift")
    assert (clean.status, clean.out) == (0, "No drift.\n")
    execute(database_url, "ALTER TABLE offers ADD COLUMN by_hand INTEGER")
    execute(database_url, "CREATE TABLE nobodys (id INTEGER)")
    # The models have one column more, and another script waits.
    with (folder / "models.py").open("a") as models:
        models.write("    price = sa.Column(sa.Integer)\n")
    found = workshop.ws(ini, "drift", "--json")
    told = {one["kind"]: one for one in json.loads(found.out)["found"]}
    assert found.status == 8 and sorted(told) == ["database-changed", "models-changed", "unowned"]
    by_hand = told["database-changed"]
    assert by_hand["object"] == 'table "offers", column "by_hand"'
    assert by_hand["made"] == "no revision makes it"
    assert by_hand["when"].startswith("changed after run ")
    assert by_hand["when"].endswith(" UTC, by no run")
    assert told["models-changed"]["object"] == 'table "offers", column "price"'
    assert told["unowned"]["object"] == 'table "nobodys"'
    workshop.script("fooapp", "f02", "f01", **table("second"))
    shown = workshop.ws(ini, "drift")
    assert 'not applied:\n  fooapp  package "fooapp" has not applied f02\n' in shown.out
    # A run that follows tells that it was so before it.
    assert workshop.ws(ini, "upgrade").status == 0
    later = json.loads(workshop.ws(ini, "drift", "--json").out)["found"][0]
    assert "and before run " in later["when"]
    accepted = workshop.ws(ini, "drift", "--accept")
    assert accepted.status == 0 and "Accepted" in accepted.err
    (now,) = (
        one
        for one in json.loads(workshop.ws(ini, "drift", "--json").out)["found"]
        if one["kind"] == "database-changed"
    )
    assert now["accepted"]
    # What is changed once more is not accepted.
    execute(database_url, "ALTER TABLE offers DROP COLUMN by_hand")
    execute(database_url, "ALTER TABLE offers DROP COLUMN title")
    (now,) = (
        one
        for one in json.loads(workshop.ws(ini, "drift", "--json").out)["found"]
        if one["kind"] == "database-changed"
    )
    assert now["object"] == 'table "offers", column "title"' and not now["accepted"]
    assert now["made"] == "as fooapp@f01 made it"
