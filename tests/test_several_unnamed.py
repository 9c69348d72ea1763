"""Several constraints without a name on the same columns: each server names them in its own way."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from test_other_dialects import goes_and_comes

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("code", sa.Integer, unique=True))
sa.Table("q", metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("a", sa.Integer), sa.Column("b", sa.Integer), {parts})
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


def models(parts: list[str]) -> str:
    return MODELS.format(parts=", ".join(parts))


@pytest.mark.parametrize("change", CHANGES)
def test_one_of_several_goes_or_changes(workshop: Workshop, database_url: str, change: str) -> None:
    old, new = CHANGES[change]
    folder = workshop.package("shop", models(old), metadata="shop.models.metadata")
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        for row in ("p (id, code) VALUES (2, 2)", "q VALUES (2)", "t VALUES (1, 2, 2)"):
            connection.exec_driver_sql(f"INSERT INTO {row}")
    engine.dispose()
    (folder / "models.py").write_text(models(new))
    workshop.forget()
    service = workshop.service(database_url)
    service.revision("two", autogenerate=True)
    goes_and_comes(service)


@pytest.mark.parametrize("author", ["postgresql", "sqlite"])
def test_other_databases_are_left_and_warned_of(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    other = {"postgresql": "sqlite", "sqlite": "postgresql"}[author]
    url, there = (str(request.getfixturevalue(f"{one}_url")) for one in (author, other))
    folder = workshop.package("shop", models([TO_P, TO_Q]), metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    (folder / "models.py").write_text(models([TO_Q]))
    workshop.forget()
    service = workshop.service(url)
    (made,) = service.revision("two", autogenerate=True)
    assert 'The table "t" has several foreign keys' in made.warnings[0]
    assert made.warnings[0] in Path(made.path).read_text()
    service.upgrade()
    elsewhere = workshop.service(there)
    elsewhere.upgrade()
    # No other key is lost, and check names the one that is still there.
    (problem,) = elsewhere.check().problems
    assert "remove fk" in problem.message and "(a) REFERENCES" in problem.message
