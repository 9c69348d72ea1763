"""What ``ddl_if()`` gives some databases alone comes and goes there, whoever wrote the script."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps import Workshop
from journeys import DATABASES, goes_and_comes, walk
from runs import rows
from test_autogenerate_circles import Circle, key

HEAD = """
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import declarative_base

Base = declarative_base()
POSTGRESQL, SQLITE, MARIADB = "postgresql", "sqlite", ("mysql", "mariadb")

def check(text, name="told"):
    return sa.CheckConstraint(text, name=name)

def unique(name, *columns):
    return sa.UniqueConstraint(*columns, name=name)

def unless_sqlite(ddl, target, bind, dialect, **given):
    return dialect.name != "sqlite"

def table(name, *parts):
    sa.Table(name, Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("n", sa.Integer), sa.Column("s", sa.String(20)), *parts)

table("parent")
"""

KEY = 'sa.ForeignKeyConstraint(["n"], ["parent.id"], name="key")'

#: What each table has, by state; no table where there is ``None``.
PARTS: dict[str, tuple[str | None, ...]] = {
    **{
        f"{kind}_{database.lower()}": (
            f"{one}.ddl_if(dialect={database})",
            "",
            f"{other}.ddl_if(dialect={database})",
            other,
        )
        for database in ("POSTGRESQL", "SQLITE", "MARIADB")
        for kind, one, other in (
            ("checked", 'check("n > 0")', 'check("n > 1")'),
            ("indexed", 'sa.Index("ix_{}", "n")', 'sa.Index("ix_{}", "n", "s", unique=True)'),
            (
                "unique",
                'sa.UniqueConstraint("n", name="uq_{}")',
                'sa.UniqueConstraint("n", "s", name="uq_{}")',
            ),
        )
    },
    "key": (f"{KEY}.ddl_if(dialect=POSTGRESQL)", "", f"{KEY}.ddl_if(dialect=SQLITE)", KEY),
    "asked": (
        'check("n > 0").ddl_if(callable_=unless_sqlite)',
        'check("n > 5").ddl_if(callable_=unless_sqlite)',
        "",
        'check("n > 0").ddl_if(callable_=unless_sqlite)',
    ),
    "each": (
        'check("n > 0").ddl_if(dialect=POSTGRESQL), check("n > 1").ddl_if(dialect=SQLITE)',
        'check("n > 1").ddl_if(dialect=POSTGRESQL), check("n > 2").ddl_if(dialect=MARIADB)',
        'check("n > 1")',
        'check("n > 1").ddl_if(dialect=POSTGRESQL), check("n > 0").ddl_if(dialect=SQLITE)',
    ),
}


#: An index of expressions goes before the values of an enum of its table change.
ENUM = 'sa.Column("e", sa.Enum({}, name="kind")), '
SUM = 'sa.Index("ix_values", sa.text("{}")).ddl_if(dialect=("sqlite", "postgresql"))'
PARTS["values"] = (
    ENUM.format('"a", "b"') + SUM.format("(n + id)"),
    ENUM.format('"a", "b", "c"') + SUM.format("(n - id)"),
    ENUM.format('"a", "b", "c"'),
    ENUM.format('"a", "b", "c", "d"') + SUM.format("(n + id)"),
)
# One that stays is not there while SQLite makes its table anew.
for database in ("SQLITE", "POSTGRESQL"):
    values = ENUM.replace("kind", f"kind_{database.lower()}")
    index = f'sa.Index("ix_{database}", sa.text("(n + id)")).ddl_if(dialect={database})'
    PARTS[f"kept_{database.lower()}"] = (
        values.format('"a", "b"') + index,
        values.format('"a", "b", "c"') + index,
        values.format('"a", "b", "c"') + index + ', check("n > 3")',
        values.format('"a", "b", "c", "d"') + index + ', check("n > 4")',
    )

# SQLite makes its table anew where a CHECK without a name goes, and no other database does.
UNNAMED = 'sa.CheckConstraint("n <> 7"), '
for number, both in enumerate(("POSTGRESQL", "*MARIADB")):
    index = f'sa.Index("ix_anew_{number}", "s").ddl_if(dialect=(SQLITE, {both}))'
    PARTS[f"anew_{number}"] = (UNNAMED + index, "", UNNAMED + index, 'check("n > 1")')

# Words of one database alone, and what a key does.
for database in ("POSTGRESQL", "SQLITE"):
    PARTS[f"where_{database.lower()}"] = tuple(
        f'sa.Index("ix_{{}}", "n", {database.lower()}_where=sa.text("{where}"))'
        f".ddl_if(dialect={database})"
        for where in ("n > 0", "n > 1", "s IS NULL", "n > 0")
    )
PARTS["options"] = tuple(
    f'sa.Index("ix_{{}}", "s"{options}).ddl_if(dialect=POSTGRESQL)'
    for options in (
        ', postgresql_ops={"s": "varchar_pattern_ops"}',
        ', postgresql_ops={"s": "text_pattern_ops"}',
        ', postgresql_using="hash"',
        ', postgresql_include=["n"], postgresql_where=sa.column("n") > 3',
    )
)
PARTS["actions"] = tuple(
    f'sa.ForeignKeyConstraint(["n"], ["parent.id"], name="acts"{actions})'
    ".ddl_if(dialect=POSTGRESQL)"
    for actions in (
        "",
        ', ondelete="CASCADE"',
        ', ondelete="SET NULL", onupdate="CASCADE"',
        ', deferrable=True, initially="DEFERRED"',
    )
)

# SQLite makes a new table anew for its constraints: its computed columns and indexes stay.
COMPUTED = 'sa.Column("g", sa.BigInteger, sa.Computed("n * {}", persisted=True)), '
CHECKED = 'check("n > {}").ddl_if(dialect=("sqlite", "mysql", "mariadb"))'
UNIQUE = 'sa.UniqueConstraint("g", name="uq_g").ddl_if(dialect=SQLITE)'
UPPER = 'sa.Index("ix_upper", sa.text("upper(s)")).ddl_if(dialect=("sqlite", "postgresql")), '
OTHER = """check("s <> 'q'", "other").ddl_if(dialect=("sqlite", "postgresql")), """
PARTS["computed"] = (
    COMPUTED.format(2) + CHECKED.format(0),
    "",
    COMPUTED.format(3) + CHECKED.format(1) + ", " + UNIQUE,
    COMPUTED.format(4) + UNIQUE,
)
PARTS["expressions"] = (
    UPPER + OTHER,
    UPPER + COMPUTED.format(2),
    UPPER + OTHER + COMPUTED.format(3) + CHECKED.format(0),
    OTHER + CHECKED.format(1),
)

# What such a table has comes back with it, where it was.
GOES = (
    COMPUTED.format(2)
    + UPPER.replace("ix_upper", "ix_goes")
    + """check("s <> 'q'").ddl_if(dialect=POSTGRESQL),
    check("s <> 'z'", "z").ddl_if(dialect=SQLITE), sa.Index("ix_goes_n", "n").ddl_if(
        dialect=("sqlite", "postgresql")),
    sa.UniqueConstraint("n", name="uq_goes").ddl_if(dialect=MARIADB), sa.CheckConstraint("n > 7"),
    sa.ForeignKeyConstraint(["n"], ["owner.id"], name="key_goes").ddl_if(dialect=POSTGRESQL)"""
)
PARTS["goes"] = (GOES, None, 'check("n > 3").ddl_if(dialect=MARIADB)', None)
PARTS["owner"] = ("", None, "", None)

# CHECKs that types bring are where the database has no such type.
TYPED = 'sa.Column("c", sa.Enum("a", "b", name="as_{}", create_constraint=True))'
TRUE = 'sa.Column("c", sa.Boolean(create_constraint=True, name="{}"))'
PARTS["enum_goes"] = (TYPED, "", TYPED, 'sa.Column("c", sa.String(9))')
PARTS["enum_stays"] = (
    TYPED,
    TYPED.replace(", create_constraint=True", ""),
    TYPED,
    TYPED.replace("create", "native_enum=False, create"),
)
PARTS["truth"] = (TRUE, "", TRUE, 'sa.Column("c", sa.Boolean)')

# The words of "each" on one database are no others' words for this one.
PARTS["alike"] = (*('sa.CheckConstraint("n > 0")',) * 2, "", 'sa.CheckConstraint("n > 0")')


def models(state: int) -> str:
    """Return the models."""
    found = {name: parts[state] for name, parts in PARTS.items()}
    tables = [f"table({name!r}, {one})" for name, one in found.items() if one is not None]
    return HEAD + "\n".join(one.replace("{}", one.split("'")[1]) for one in tables)


@pytest.mark.parametrize("author", DATABASES)
def test_each_database_gets_what_create_all_gives_it(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    states = [models(state) for state in range(4)]
    written = walk(workshop, urls[author], [*urls.values()], states)
    assert [made.warnings for made in written] == [()] * len(states)
    sequences = rows(urls["postgresql"], "SELECT relname FROM pg_class WHERE relkind = 'S'")
    assert not [name for (name,) in sequences if "alembic_tmp" in name]
    assert workshop.service(urls[author]).revision("nothing", autogenerate=True) == ()


CHECKED_BOOLEANS = """
table("{}", sa.Column("c", sa.Boolean({}create_constraint=True)))
table("unnamed", sa.Column("c", sa.Boolean({}create_constraint=True)))
"""


def test_the_check_of_a_boolean_goes_where_it_is(
    workshop: Workshop, request: pytest.FixtureRequest
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    states = [HEAD + CHECKED_BOOLEANS.format("named", 'name="ck", ', "")]
    states.append(HEAD + 'table("renamed")\ntable("unnamed")')
    renames = {1: {"rename_tables": ["named:renamed"]}}
    walk(workshop, urls["sqlite"], [*urls.values()], states, options=renames)


#: What each table has besides a column that is renamed from the first to the second state.
BEHIND_RENAMES = {
    "comes": ("", 'check("{m} > 0").ddl_if(dialect=MARIADB)', ""),
    "changes": tuple(f'check("{{m}} > {one}").ddl_if(dialect=MARIADB)' for one in (0, 1, 1)),
    "goes": ('check("{m} > 0").ddl_if(dialect=MARIADB)', "", ""),
    "kept": ('check("{m} > 0").ddl_if(dialect=MARIADB)',) * 2 + ("",),
    "indexed": (
        'sa.Index("i", "{m}").ddl_if(dialect=SQLITE)',
        'sa.Index("i", "{m}", "n").ddl_if(dialect=SQLITE)',
        'sa.Index("i", "{m}", "n", sqlite_where=sa.text("{m} > 0")).ddl_if(dialect=SQLITE)',
    ),
    "where": (
        'sa.Index("w", "n", sqlite_where=sa.column("{m}") > 0).ddl_if(dialect=SQLITE)',
        'sa.Index("w", "n", sqlite_where=sa.column("{m}") > 0).ddl_if(dialect=SQLITE)',
        "",
    ),
    "unique": (
        'sa.UniqueConstraint("{m}", "s", name="u").ddl_if(dialect=MARIADB)',
        "",
        'sa.UniqueConstraint("{m}", name="u").ddl_if(dialect=MARIADB)',
    ),
}


@pytest.mark.parametrize("author", ["postgresql", "sqlite"])
def test_parts_of_other_databases_are_known_behind_the_rename_of_a_column(
    workshop: Workshop, request: pytest.FixtureRequest, author: str
) -> None:
    urls = {one: request.getfixturevalue(f"{one}_url") for one in DATABASES}
    states = [
        HEAD
        + "\n".join(
            f"table({table!r}, sa.Column({column!r}, sa.Integer), {parts[state]})"
            for table, parts in BEHIND_RENAMES.items()
        ).replace("{m}", column)
        for state, column in enumerate(("m", "m2", "m2"))
    ]
    renames = {1: {"rename_columns": [f"{table}.m:m2" for table in BEHIND_RENAMES]}}
    walk(workshop, urls[author], [*urls.values()], states, options=renames)


EXCLUDED = """
table("t"{})
"""
EXCLUSION = """, postgresql.ExcludeConstraint(("n", "="), name="ex", using="btree").ddl_if(
    dialect=POSTGRESQL)"""


def test_what_is_not_read_from_a_script_is_left_to_a_person(
    workshop: Workshop, sqlite_url: str, postgresql_url: str
) -> None:
    folder = workshop.package("shop", HEAD + EXCLUDED.format(EXCLUSION))
    workshop.service(sqlite_url).revision("begin", autogenerate=True)
    for url in (sqlite_url, postgresql_url):
        goes_and_comes(workshop.service(url))
    (folder / "models.py").write_text(HEAD + EXCLUDED.format(""))
    workshop.forget()
    (made,) = workshop.service(sqlite_url).revision("end", autogenerate=True)
    path = Path(made.path)
    source = path.read_text()
    (line,) = [
        one
        for one in source.partition("def downgrade")[0].splitlines()
        if 'on postgresql "ex" goes or changes, and what made it is not read' in one
    ]
    by_hand = """
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint("ex", "t")"""
    path.write_text(source.replace(line, line + by_hand, 1))
    for url in (sqlite_url, postgresql_url):
        workshop.forget()
        site = workshop.service(url)
        site.upgrade()
        assert site.check().problems == ()


KEY_OF_SOME = (
    "sa.Column('x', sa.Integer), sa.ForeignKeyConstraint(['x'], ['t_bbb.id'], name='fk_x')"
    ".ddl_if(dialect='postgresql'),"
)


def test_a_key_that_comes_behind_a_circle_is_for_its_databases(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    circle = Circle(workshop, postgresql_url)
    circle.models({"aaa": KEY_OF_SOME, "bbb": key("aaa")})
    assert circle.write()[-1] == ("aaa", "First: foreign keys")
    for url in (sqlite_url, postgresql_url, mariadb_url):
        circle.url = url
        circle.is_good()
