"""Several constraints without a name on the same columns: each server names them in its own way."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps import Workshop
from journeys import walk

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base

Base = declarative_base()
metadata = Base.metadata
sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("code", sa.Integer, unique=True))
sa.Table("q", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""
TABLE = """
sa.Table("t{}", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("a", sa.Integer), sa.Column("b", sa.Integer), {})
"""

KEY = "sa.ForeignKeyConstraint(['{}'], ['{}']{})"
TO_P, TO_Q, TO_CODE = (KEY.format("a", target, "") for target in ("p.id", "q.id", "p.code"))
CASCADE = KEY.format("a", "p.id", ", ondelete='CASCADE'")
OTHER = KEY.format("b", "p.id", "")
LOW, HIGH, HIGHER = (f"sa.CheckConstraint('a {words}')" for words in ("> 1", "< 5", "< 9"))

CHANGES = {
    "first goes": ([TO_P, TO_Q], [TO_Q]),
    "second goes": ([TO_P, TO_Q], [TO_P]),
    "one changes": ([TO_P, TO_Q], [CASCADE, TO_Q]),
    "another column": ([TO_P, TO_Q], [TO_P, TO_CODE]),
    "both to one table": ([TO_P, TO_CODE], [TO_CODE]),
    "another key goes": ([TO_P, TO_Q, OTHER], [TO_P, TO_Q]),
    "check changes": ([LOW, HIGH], [LOW, HIGHER]),
    "first check goes": ([LOW, HIGH], [HIGH]),
}


def models(*tables: list[str]) -> str:
    """Return the models with a table for each list of constraints."""
    return MODELS + "".join(
        TABLE.format(number, ", ".join(parts)) for number, parts in enumerate(tables)
    )


def test_one_of_several_goes_or_changes(workshop: Workshop, database_url: str) -> None:
    states = [models(*(change[state] for change in CHANGES.values())) for state in (0, 1)]
    filled = ["p (id, code) VALUES (2, 2)", "q VALUES (2)"]
    filled += [f"t{number} VALUES (1, 2, 2)" for number in range(len(CHANGES))]
    rows = [f"INSERT INTO {row}" for row in filled]
    walk(workshop, database_url, [database_url], states, rows=rows)


@pytest.mark.parametrize("author", ["postgresql", "sqlite"])
def test_other_databases_are_left_and_warned_of(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    other = {"postgresql": "sqlite", "sqlite": "postgresql"}[author]
    url, there = (str(request.getfixturevalue(f"{one}_url")) for one in (author, other))
    folder = workshop.package("shop", models([TO_P, TO_Q]))
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    (folder / "models.py").write_text(models([TO_Q]))
    workshop.forget()
    service = workshop.service(url)
    (made,) = service.revision("two", autogenerate=True)
    assert 'The table "t0" has several foreign keys' in made.warnings[0]
    assert made.warnings[0] in Path(made.path).read_text()
    service.upgrade()
    elsewhere = workshop.service(there)
    elsewhere.upgrade()
    # No other key is lost, and check names the one that is still there.
    (problem,) = elsewhere.check().problems
    assert "remove fk" in problem.message and "(a) REFERENCES" in problem.message
