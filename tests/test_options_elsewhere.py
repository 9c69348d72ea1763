"""Options that another database than the author's has change there, and come back."""

from __future__ import annotations

import pytest

from apps import Workshop
from journeys import DATABASES, walk

HEAD = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base

Base = declarative_base()

def table(name, *parts, **kw):
    sa.Table(name, Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("n", sa.Integer), sa.Column("s", sa.String(20)), *parts, **kw)

"""


def index(name: str, *options: str, column: str = "n") -> tuple[str, ...]:
    """Return an index with other options in each state."""
    return tuple(f'sa.Index("ix_{name}", "{column}", {one})' for one in options)


#: What each table has, by state; no table where there is ``None``.
PARTS: dict[str, tuple[str | None, ...]] = {
    "conditions": index(
        "conditions",
        *(f'postgresql_where=sa.text("n > {one}")' for one in range(3)),
        'sqlite_where=sa.column("n") > 3',
    ),
    "one_of_two": index(
        "one_of_two",
        *(
            f'unique=True, sqlite_where=sa.text("n > {one}"), '
            f'postgresql_where=sa.text("n > {other}")'
            for one, other in ((0, 0), (0, 1), (2, 1), (2, 2))
        ),
    ),
    "added": index("added", "", 'postgresql_where=sa.text("n > 3")', "", "mysql_using='hash'"),
    "operators": index(
        "operators",
        'postgresql_ops={"s": "varchar_pattern_ops"}',
        'postgresql_ops={"s": "text_pattern_ops"}',
        "",
        'postgresql_ops={"s": "varchar_pattern_ops"}, postgresql_with={"fillfactor": 50}',
        column="s",
    ),
    "methods": index(
        "methods",
        "",
        'postgresql_using="hash"',
        'postgresql_include=["n"]',
        'postgresql_using="BTREE"',
        column="s",
    ),
    "lengths": index(
        "lengths",
        "",
        "mysql_length=5",
        'mysql_length={"s": 7}',
        'mysql_length={"s": 7}',
        column="s",
    ),
    "equal_nulls": (
        'sa.UniqueConstraint("n", name="uq")',
        'sa.UniqueConstraint("n", name="uq", postgresql_nulls_not_distinct=True)',
        "",
        'sa.UniqueConstraint("n", name="uq", postgresql_nulls_not_distinct=True)',
    ),
    "conflicts": (
        'sa.UniqueConstraint("n", "s", name="uqc")',
        'sa.UniqueConstraint("n", "s", name="uqc", sqlite_on_conflict="IGNORE")',
        "",
        'sa.UniqueConstraint("n", "s", name="uqc", sqlite_on_conflict="FAIL")',
    ),
    # PostgreSQL would keep casts in indexes of a column of another type.
    "retyped": tuple(
        f'sa.Column("m", sa.{type_}), sa.Index("ix_e", sa.text("(m + n)"))'
        '.ddl_if(dialect=("sqlite", "postgresql")), sa.Index("ix_w", "n", '
        'postgresql_where=sa.text("m > 0"), sqlite_where=sa.text("m > 0"))'
        for type_ in ("Integer", "Numeric(12, 2)", "Integer", "BigInteger")
    ),
    # It comes back with all of them.
    "goes": (
        'sa.Index("ix_n", "n", postgresql_where=sa.text("n > 0")), '
        'sa.Index("ix_s", "s", mysql_length=4, postgresql_ops={"s": "varchar_pattern_ops"})',
        None,
        'sa.Index("ix_n", "n", sqlite_where=sa.text("n > 0"))',
        None,
    ),
    "built": index("built", "", "postgresql_concurrently=False", "", ""),
}


def models(state: int) -> str:
    """Return the models."""
    parts = {name: one[state] for name, one in PARTS.items()}
    found = [f"table({name!r}, {one})" for name, one in parts.items() if one is not None]
    return HEAD + "\n".join(found)


@pytest.mark.parametrize("author", DATABASES)
def test_each_database_has_its_options(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    walk(workshop, urls[author], [*urls.values()], [models(state) for state in range(4)])
    assert workshop.service(urls[author]).revision("nothing", autogenerate=True) == ()


@pytest.mark.parametrize("author", ["postgresql", "mariadb"])
def test_the_comment_of_a_table_is_for_databases_with_comments(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    parts = (
        'comment="one"',
        'sa.Column("more", sa.Integer), comment="it\'s two"',
        'sa.Column("more", sa.BigInteger)',
        'sa.Column("more", sa.BigInteger), sa.CheckConstraint("n > 0", name="ck"), comment="x"',
    )
    states = [f"{HEAD}\ntable('told', {one})" for one in parts]
    walk(workshop, urls[author], [*urls.values()], states)
