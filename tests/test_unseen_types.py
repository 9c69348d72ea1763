"""Changes of types that the author's database has one word for, and another one has not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from apps import Workshop
from journeys import goes_and_comes, walk
from runs import engine_of, execute, rows

HEAD = """
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import declarative_base

Base = declarative_base(metadata=sa.MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}))
"""

TABLE = """
sa.Table("t", Base.metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("c", {}))
"""

PRODUCTS = ("sqlite", "postgresql", "mariadb")

#: Types before and behind, of which SQLite has one word for both; a value of a row.
ON_SQLITE = {
    "a time zone": ("sa.DateTime", "sa.DateTime(timezone=True)", "'2020-01-31 10:00:00'"),
    "a number": ("sa.Integer", "sa.BigInteger().with_variant(sa.Integer, 'sqlite')", "7"),
    "json": ("sa.JSON", "sa.JSON().with_variant(postgresql.JSONB, 'postgresql')", "'{\"a\": 1}'"),
    "uuid": ("sa.CHAR(32)", "sa.Uuid", "'62a5f96660c441f4ad9b000c6237bcd0'"),
    "a string": (
        "sa.String(36)",
        "sa.String(36).with_variant(postgresql.UUID, 'postgresql')",
        "'62a5f966-60c4-41f4-ad9b-000c6237bcd0'",
    ),
    "a long text": (
        "sa.Text",
        "sa.Text().with_variant(mysql.LONGTEXT, 'mysql', 'mariadb')",
        "'words'",
    ),
    "an array": (
        "sa.JSON().with_variant(postgresql.ARRAY(sa.Integer), 'postgresql')",
        "sa.JSON().with_variant(postgresql.ARRAY(sa.BigInteger), 'postgresql')",
        "NULL",
    ),
    "a collation": (
        "sa.String(9)",
        "sa.String(9).with_variant(sa.String(9, collation='C'), 'postgresql')"
        ".with_variant(sa.String(9, collation='utf8mb4_bin'), 'mysql', 'mariadb')",
        "'words'",
    ),
    "a precision": (
        "sa.DateTime",
        "sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')",
        "'2020-01-31 10:00:00'",
    ),
    "an address": (
        "sa.String(40)",
        "sa.String(40).with_variant(postgresql.INET, 'postgresql')",
        "'127.0.0.1'",
    ),
}


class Author:
    """An author, and sites on other databases that run what is written."""

    def __init__(self, workshop: Workshop, url: str, *sites: str) -> None:
        self.workshop = workshop
        self.url = url
        self.sites = sites
        self.models: Path | None = None
        self.number = 0
        self.values: dict[str, Any] = {}

    def says(self, models: str) -> None:
        """Write models."""
        if self.models is None:
            self.models = self.workshop.package("shop", HEAD + models) / "models.py"
        self.models.write_text(HEAD + models)
        self.workshop.forget()

    def fills(self, *values: str) -> None:
        """Put a row into the table on all databases, and keep what they say of it."""
        words = ", ".join(("1", *values)).replace(":", r"\:")
        for url in (self.url, *self.sites):
            execute(url, f"INSERT INTO t VALUES ({words})")
            self.values[url] = rows(url, "SELECT * FROM t")

    def takes_back(self, before: str, after: str) -> None:
        """Deploy a change, write the one back and deploy that; the rows are what they were."""
        self.deploys(before, after)
        assert len(self.writes(before)) == 1
        self.deploys(after, before)
        for url, first in self.values.items():
            assert rows(url, "SELECT * FROM t") == first

    def at(self, url: str) -> Any:
        """Return the service of a database, with the models and scripts as they are now."""
        self.workshop.forget()
        return self.workshop.service(url)

    def writes(self, models: str, **options: Any) -> list[Any]:
        """Write models and their script, and run it."""
        self.says(models)
        self.number += 1
        options = {"autogenerate": True, "allow_drops": True, **options}
        if self.number == 1:
            # Tables that are made and dropped are proven elsewhere.
            options["prove"] = "off"
        made = [*self.at(self.url).revision(f"step {self.number}", **options)]
        if made:
            self.at(self.url).upgrade()
        assert self.at(self.url).check().problems == ()
        return made

    def deploys(self, before: str | None = None, after: str | None = None) -> None:
        """Run the new scripts on all sites, there, back and there again; models are compared."""
        for url in self.sites:
            self.at(url).upgrade()
            if before is None:
                assert self.at(url).check().problems == ()
                continue
            path = sorted(Path(self.models.parent, "alembic", "versions").glob("*.py"))
            newest = next(one for one in path if f"step {self.number}" in one.read_text())
            self.at(url).downgrade("shop@-1")
            self.says(before)
            aside = newest.rename(newest.with_suffix(".aside"))
            assert self.at(url).check().problems == ()
            aside.rename(newest)
            self.says(after)
            self.at(url).upgrade()
            assert self.at(url).check().problems == ()


def table_of(types: Iterable[str]) -> str:
    """Return a table with a column of each type."""
    columns = "".join(f'sa.Column("c{n}", {one}),\n' for n, one in enumerate(types))
    return TABLE.replace('sa.Column("c", {}))', f"{columns})")


def test_changes_that_sqlite_does_not_see_are_written(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    types, others, values = zip(*ON_SQLITE.values(), strict=True)
    before, after = table_of(types), table_of(others)
    mariadb_url = mariadb_url.replace("mysql+", "mariadb+")
    author = Author(workshop, sqlite_url, postgresql_url, mariadb_url)
    author.writes(before)
    author.deploys()
    author.fills(*values)
    author.says(after)
    problems = author.at(sqlite_url).check().problems
    told = {one.message.partition(": ")[2].partition(":")[0] for one in problems}
    assert told == {f"modify type of t.c{n}" for n in range(len(ON_SQLITE))}
    assert {one.kind for one in problems} == {"drift"}
    (made,) = author.writes(after)
    text = Path(made.path).read_text()
    # SQLite's table stays as it is.
    assert "batch_alter_table" not in text and "dialect.name" in text
    assert author.at(sqlite_url).revision("nothing", autogenerate=True) == ()
    author.takes_back(before, after)


#: Types before and behind, of which a server has one word for both; the others that do not.
ELSEWHERE = {
    "a double": ("postgresql", "sa.Float(53)", "sa.Double", "0.5"),
    "no decimals": ("postgresql", "sa.Numeric(10)", "sa.Numeric(10, 0)", "7"),
    "a long text": ("postgresql", *ON_SQLITE["a long text"]),
    "a number": (
        "postgresql",
        "sa.BigInteger",
        "sa.BigInteger().with_variant(sa.Integer, 'sqlite')",
        "7",
    ),
    "a string": ("mariadb", *ON_SQLITE["a string"]),
    "a time zone": ("mariadb", *ON_SQLITE["a time zone"]),
    "json": ("mariadb", *ON_SQLITE["json"]),
}


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_changes_that_a_server_does_not_see_are_written(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    mine = [kind[1:] for kind in ELSEWHERE.values() if kind[0] == product]
    types, others, values = zip(*mine, strict=True)
    before, after = table_of(types), table_of(others)
    urls = {one: request.getfixturevalue(f"{one}_url") for one in PRODUCTS}
    url = urls.pop(product)
    author = Author(workshop, url, *urls.values())
    author.writes(before)
    author.deploys()
    author.fills(*values)
    author.says(after)
    assert len(author.at(url).check().problems) == len(mine)
    assert len(author.writes(after)) == 1
    assert author.at(url).revision("nothing", autogenerate=True) == ()
    author.takes_back(before, after)


KEYS = """
sa.Table("t", Base.metadata, sa.Column("id", {}, primary_key=True),
    sa.Column("note", sa.String(9), comment="of a shop", server_default="x", nullable=False))
sa.Table("u", Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("t_id", {}, sa.ForeignKey("t.id", ondelete="CASCADE"), index=True))
"""


def numbered(models: str, number: int) -> str:
    """Return models whose tables "t" and "u" have a number behind their names."""
    return re.sub(r'"([tu])(?=[".])', rf'"\g<1>{number}', models)


KEY_TYPES = {
    "a number": ("sa.Integer", "sa.BigInteger().with_variant(sa.Integer, 'sqlite')", "1"),
    "uuid": ("sa.CHAR(32)", "sa.Uuid", "'62a5f96660c441f4ad9b000c6237bcd0'"),
}


def test_a_key_changes_with_all_that_points_at_it(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    before, after = (
        "".join(
            numbered(KEYS.format(kind[state], kind[state]), number)
            for number, kind in enumerate(KEY_TYPES.values())
        )
        for state in (0, 1)
    )
    mariadb_url = mariadb_url.replace("mysql+", "mariadb+")
    author = Author(workshop, sqlite_url, postgresql_url, mariadb_url)
    author.writes(before)
    author.deploys()
    for url in (sqlite_url, postgresql_url, mariadb_url):
        for number, (*_, value) in enumerate(KEY_TYPES.values()):
            row = f"INSERT INTO t{number} (id) VALUES ({value})"
            execute(url, row, f"INSERT INTO u{number} VALUES (1, {value})")
    (made,) = author.writes(after)
    text = Path(made.path).read_text()
    assert "batch_alter_table" not in text
    for number, kind in enumerate(KEY_TYPES):
        assert text.count(f"'t{number}'") and text.count(f"'u{number}'"), kind
    author.deploys(before, after)
    assert len(author.writes(before)) == 1
    author.deploys(after, before)
    for url in (sqlite_url, postgresql_url, mariadb_url):
        for number, kind in enumerate(KEY_TYPES):
            query = f"SELECT t.note FROM t{number} t JOIN u{number} u ON u.t_id = t.id"
            assert rows(url, query) == [("x",)], kind


#: What scripts say of a type, that were written by hand or by plain Alembic, and what models do.
WIDER_KEY = """
sa.Table("t", Base.metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("b", sa.Integer, {}), sa.Column("w", sa.DateTime({})))
"""


def test_a_primary_key_changes_beside_a_type_of_others(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    narrow = HEAD + WIDER_KEY.format("nullable=False", "timezone=True")
    wide = HEAD + WIDER_KEY.format("primary_key=True, autoincrement=False", "")
    walk(workshop, sqlite_url, [sqlite_url, postgresql_url, mariadb_url], [narrow, wide])


EQUAL = """
sa.VARCHAR(20) | sa.String(20)
sa.VARCHAR(length=20) | sa.Unicode(20)
sa.INTEGER() | sa.Integer
sa.Integer | sa.Integer().with_variant(sa.Integer, 'postgresql')
sa.SMALLINT() | sa.SmallInteger()
sa.BIGINT() | sa.BigInteger
sa.Boolean() | sa.Boolean
sa.BOOLEAN() | sa.Boolean(create_constraint=False)
sa.TEXT() | sa.Text
sa.Text() | sa.UnicodeText()
sa.FLOAT() | sa.Float
sa.Float() | sa.Float(asdecimal=True)
sa.DECIMAL(10, 2) | sa.Numeric(10, 2)
sa.DECIMAL(precision=10, scale=2) | sa.Numeric(10, 2, asdecimal=False)
sa.DATE() | sa.Date
sa.TIME() | sa.Time
sa.DATETIME() | sa.DateTime
sa.TIMESTAMP() | sa.DateTime
sa.TIMESTAMP(timezone=True) | sa.DateTime(timezone=True)
postgresql.TIMESTAMP(timezone=True) | sa.DateTime(True)
postgresql.UUID(as_uuid=True) | sa.Uuid
postgresql.UUID() | sa.Uuid(as_uuid=False)
sa.UUID() | sa.Uuid
sa.DOUBLE_PRECISION() | sa.Double
postgresql.DOUBLE_PRECISION(precision=53) | sa.Float(53)
sa.Double() | sa.Double(asdecimal=True)
postgresql.INTERVAL() | sa.Interval
sa.Interval() | sa.Interval(native=True)
sa.JSON() | sa.JSON(none_as_null=True)
postgresql.JSONB(astext_type=sa.Text()) | postgresql.JSONB
sa.JSON().with_variant(postgresql.JSONB(), 'postgresql') | Document
postgresql.ARRAY(sa.String()) | sa.ARRAY(sa.String)
postgresql.BYTEA() | sa.LargeBinary
sa.LargeBinary() | sa.PickleType
sa.BLOB() | sa.LargeBinary
mysql.TINYINT(1) | sa.Boolean
mysql.LONGTEXT() | sa.Text().with_variant(mysql.LONGTEXT(), 'mysql', 'mariadb')
mysql.DATETIME(fsp=6) | sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
mysql.VARCHAR(length=20, collation='utf8mb4_bin') | sa.String(20, collation='utf8mb4_bin')
sa.String(9) | Decorated
sa.String(length=6) | sa.Enum('a', 'paying', native_enum=False)
sa.Enum('a', 'b', name='kind') | sa.Enum('a', 'b', name='kind')
postgresql.ENUM('a', 'b', name='kind2') | sa.Enum('a', 'b', name='kind2')
sa.CHAR(32) | sa.Uuid(native_uuid=False)
elsewhere.Type() | Decorated
sa.VARCHAR(9) | Decorated
sa.NCHAR(3) | sa.CHAR(3)
sa.CLOB() | sa.Text
sa.REAL() | sa.Float(24)
sa.Numeric() | sa.DECIMAL
sa.types.VARBINARY(9) | sa.VARBINARY(9)
"""

LIBRARY = """
class Decorated(sa.types.TypeDecorator):
    impl = sa.String(9)
    cache_ok = True

class Document(sa.types.TypeDecorator):
    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect):
        own = postgresql.JSONB() if dialect.name == "postgresql" else sa.JSON()
        return dialect.type_descriptor(own)
"""


@pytest.mark.parametrize("product", PRODUCTS)
def test_types_that_scripts_spell_otherwise_are_no_difference(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    pairs = [line.split(" | ") for line in EQUAL.strip().splitlines()]
    url = request.getfixturevalue(f"{product}_url")
    (workshop.root / "elsewhere.py").write_text(
        "import sqlalchemy as sa\nType = lambda: sa.String(9)\n"
    )
    # Each has a package: one that cannot run on a database is not compared for it.
    for number, (written, model) in enumerate(pairs):
        name = f"shop{number}"
        if not is_taken(url, written):
            continue
        table = (
            f'"{name}", {{}}sa.Column("id", sa.Integer, primary_key=True), sa.Column("c", {{}}))'
        )
        models = f"sa.Table({table.format('Base.metadata, ', model)}"
        workshop.package(name, HEAD + LIBRARY + models)
        creation = f"op.create_table({table.format('', written)}"
        script = workshop.script(name, f"r{number}", None, creation, f'op.drop_table("{name}")')
        imports = "import elsewhere\nfrom sqlalchemy.dialects import mysql, postgresql\n"
        script.write_text(script.read_text().replace("from alembic", imports + "from alembic", 1))
    workshop.service(url).upgrade()
    alone = workshop.service(url, databases=product).check().problems
    # The database has another type for these.
    others = {one.package for one in alone}
    assert len(workshop.names) - len(others) > 25
    found = [one for one in workshop.service(url).check().problems if one.package not in others]
    assert found == []
    equal = sorted({*workshop.names} - others)
    assert workshop.service(url).revision("none", packages=equal, autogenerate=True) == ()


def is_taken(url: str, written: str) -> bool:
    """Tell whether a database takes a type."""
    names = {"sa": sa, "mysql": mysql, "postgresql": postgresql, "elsewhere": None}
    if written.startswith("elsewhere"):
        return True
    table = sa.Table("taken", sa.MetaData(), sa.Column("c", eval(written, names)))
    engine = engine_of(url)
    try:
        table.metadata.create_all(engine)
        table.metadata.drop_all(engine)
    except Exception:
        # It is of any class.
        return False
    return True


CHANGE = 'op.alter_column("{table}", "c", type_=sa.DateTime(timezone=True))'

#: How scripts by hand may have given a column its time zone on PostgreSQL.
BY_HAND = {
    "a branch": f"""
        if op.get_bind().dialect.name == "postgresql":
            {CHANGE}
    """,
    "the end": f"""
        if op.get_context().dialect.name not in ("postgresql",):
            return
        {CHANGE}
    """,
    "a name": f"""
        name = op.get_bind().dialect.name
        if name == "postgresql":
            {CHANGE}
    """,
    "a loop": f"""
        for name in ("c",) * (op.get_bind().dialect.name == "postgresql"):
            {CHANGE.replace('"c"', "name")}
    """,
    "an attempt": f"""
        try:
            op.get_bind().dialect.has_zones
            {CHANGE}
        except AttributeError:
            pass
    """,
    "an expression": f"""
        op.get_bind().dialect.name == "postgresql" and {CHANGE}
    """,
    "a function": f"""
        def change():
            {CHANGE}
        if op.get_bind().dialect.name == "postgresql":
            change()
    """,
    "a library": """
        import helpers
        helpers.with_zones(op, "{table}")
    """,
    "an operation of a library": """
        if op.get_bind().dialect.name == "postgresql":
            op.with_zones("{table}", "c")
    """,
    "another name of an operation": f"""
        change = op.alter_column
        if op.get_bind().dialect.name == "postgresql":
            {CHANGE.replace("op.alter_column", "change")}
    """,
    "SQL": """
        if op.get_bind().dialect.name == "postgresql":
            op.execute("ALTER TABLE {table} ALTER c TYPE timestamptz")
    """,
    "SQL of any text": """
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"ALTER TABLE {{'{table}'}} ALTER c TYPE timestamptz")
    """,
    "a new table": """
        op.drop_table("{table}")
        zones = {{}} if op.get_bind().dialect.name == "sqlite" else {{"timezone": True}}
        op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("c", sa.DateTime(**zones)))
    """,
    "a table of SQLAlchemy's": """
        found = sa.Table("{table}", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("c", sa.DateTime(timezone=True)))
        found.drop(op.get_bind())
        found.create(op.get_bind())
    """,
    "a column by another name": """
        with op.batch_alter_table("{table}") as batch:
            batch.alter_column("c", new_column_name="d")
        with op.batch_alter_table("{table}") as batch:
            batch.add_column(sa.Column("c", dict(one=sa.DateTime(timezone=True))["one"]))
        with op.batch_alter_table("{table}") as batch:
            batch.drop_column("d")
    """,
    "a table that may be there": """
        op.rename_table("{table}", "{table}_old")
        if not sa.inspect(op.get_bind()).has_table("{table}"):
            op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True),
                sa.Column("c", sa.DateTime()))
        op.drop_table("{table}_old")
    """,
    "nothing": "pass",
}


def test_what_scripts_by_hand_do_is_not_guessed(workshop: Workshop, sqlite_url: str) -> None:
    (workshop.root / "helpers.py").write_text("def with_zones(op, table):\n    pass\n")
    creation = 'op.create_table("{}", sa.Column("id", sa.Integer, primary_key=True), {})'
    model = "sa.Column('c', sa.DateTime(timezone=True))"
    for number, (how, text) in enumerate(BY_HAND.items()):
        name = f"shop{number}"
        models = f"sa.Table('{name}', Base.metadata, sa.Column('id', sa.Integer, primary_key=True),"
        workshop.package(name, f"{HEAD}{models} {model})")
        column = "sa.Column('c', sa.DateTime())"
        workshop.script(name, f"a{number}", None, creation.format(name, column), "pass")
        body = text.format(table=name) if how != "nothing" else text
        workshop.script(name, f"b{number}", f"a{number}", body, "pass")
    # Another package's script.
    workshop.package("club", HEAD + f"{models.replace(name, 'club')} {model})")
    workshop.script("club", "c1", None, creation.format("club", "sa.Column('c', sa.DateTime())"))
    workshop.package("guest", None)
    branch = 'if op.get_bind().dialect.name == "postgresql":\n    '
    change = branch + CHANGE.format(table="club")
    workshop.script("guest", "g1", None, change, requires=["club@c1"])
    workshop.service(sqlite_url).upgrade()
    problems = workshop.service(sqlite_url).check().problems
    # The others say that they cannot be read.
    (problem,) = [one for one in problems if one.kind == "drift"]
    zone = "TIMESTAMP -> TIMESTAMP WITH TIME ZONE on postgresql"
    assert problem.message == f'Package "{name}": modify type of {name}.c: {zone}'
    (made,) = workshop.service(sqlite_url).revision("zones", packages=None, autogenerate=True)
    assert made.package == name


HOOKS = {
    "compare_type=False": 0,
    "compare_type=lambda *words: False": 0,
    "compare_type=lambda *words: None": 1,
    "include_object=lambda one, name, kind, *others: (kind, name) != ('column', 'c')": 0,
    "render_item=lambda kind, one, context: kind == 'type' and 'sa.DateTime()'": 0,
    "render_item=lambda *words: False": 1,
    "include_name=lambda name, kind, parents: True": 1,
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_asked(workshop: Workshop, sqlite_url: str, hook: str) -> None:
    folder = workshop.package("shop", HEAD + TABLE.format("sa.DateTime"))
    workshop.service(sqlite_url).revision("begin", autogenerate=True, prove="off")
    workshop.service(sqlite_url).upgrade()
    (folder / "alembic" / "env.py").write_text(
        f"from websauna_migrate.environment import run_migrations\nrun_migrations({hook})\n"
    )
    (folder / "models.py").write_text(HEAD + TABLE.format("sa.DateTime(timezone=True)"))
    workshop.forget()
    assert len(workshop.service(sqlite_url).check().problems) == HOOKS[hook]
    made = workshop.service(sqlite_url).revision("zone", autogenerate=True)
    assert len(made) == HOOKS[hook]


FULL = """
sa.Table("{table}", Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("{name}", {type}, nullable={nullable}, server_default={default}, comment="of t",
        index=True), sa.Column("n", sa.Integer, sa.CheckConstraint("n > 0", name="least{number}")))
"""
PLAIN = {"table": "t{number}", "name": "c", "type": "sa.DateTime", "nullable": False}
PLAIN["default"] = "'2020-01-31 10:00:00'"
ZONE = {"type": "sa.DateTime(timezone=True)"}
CHANGES = {
    "alone": (PLAIN, {**PLAIN, **ZONE}),
    "with a default": ({**PLAIN, "default": None}, {**PLAIN, **ZONE}),
    "without one": (PLAIN, {**PLAIN, **ZONE, "default": None}),
    "and may be null": (PLAIN, {**PLAIN, **ZONE, "nullable": True}),
    "renamed": (PLAIN, {**PLAIN, **ZONE, "table": "goods", "name": "made"}),
}
RENAMES = {"rename_tables": ["t4:goods"], "rename_columns": ["goods.c:made"]}


def test_all_else_of_the_column_stays(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    before, after = (
        "".join(
            FULL.replace("{table}", change[state]["table"]).format(**change[state], number=number)
            for number, change in enumerate(CHANGES.values())
        )
        for state in (0, 1)
    )
    author = Author(workshop, sqlite_url, postgresql_url, mariadb_url)
    author.writes(before)
    author.deploys()
    for url in (sqlite_url, *author.sites):
        for number in range(len(CHANGES)):
            row = f"INSERT INTO t{number} (id, c) VALUES (1, '2020-01-31 10\\:00\\:00')"
            execute(url, row)
    author.writes(after, **RENAMES)
    author.deploys(before, after)
    author.writes(after.replace("(timezone=True)", ""))
    author.deploys(after, after.replace("(timezone=True)", ""))
    for number, (how, (_, second)) in enumerate(CHANGES.items()):
        query = f"SELECT {second['name']} FROM {second['table'].format(number=number)}"
        for url in (sqlite_url, *author.sites):
            ((kept,),) = rows(url, query)
            assert str(kept).partition(".")[0] == "2020-01-31 10:00:00", how


def test_a_squash_and_what_goes_keep_it(
    workshop: Workshop, sqlite_url: str, postgresql_url: str
) -> None:
    author = Author(workshop, sqlite_url, postgresql_url)
    zone = TABLE.format("sa.DateTime(timezone=True)")
    author.writes(TABLE.format("sa.DateTime"))
    author.writes(zone)
    author.at(sqlite_url).squash()
    author.at(sqlite_url).upgrade()
    author.deploys()
    gone = zone.replace(', sa.Column("c", sa.DateTime(timezone=True))', "")
    author.writes(gone)
    author.deploys(zone, gone)


def test_only_the_databases_of_the_scripts_count(workshop: Workshop, sqlite_url: str) -> None:
    author = Author(workshop, sqlite_url)
    author.writes(TABLE.format("sa.JSON"))
    jsonb = "sa.JSON().with_variant(postgresql.JSONB, 'postgresql')"
    author.says(TABLE.format(jsonb))
    for databases, told in (("sqlite", 0), ("sqlite, mariadb", 0), ("sqlite, postgresql", 1)):
        service = workshop.service(sqlite_url, databases=databases)
        assert len(service.check().problems) == told
    (made,) = service.revision("binary", autogenerate=True)
    assert "if op.get_context().dialect.name == 'postgresql':" in Path(made.path).read_text()


GUEST = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base
from shop.models import Base as Shop

Base = declarative_base()
sa.Table("guests", Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("t_id", {}, sa.ForeignKey(Shop.metadata.tables["t"].c.id, name="fk_guests_t_id")))
"""

LEFT = {
    "a foreign key leads to another package": KEY_TYPES["uuid"][:2],
    "no cast leads there and back": (
        "sa.JSON",
        "sa.JSON().with_variant(postgresql.BYTEA, 'postgresql')",
    ),
    "a column is computed from it": ("sa.Integer", KEY_TYPES["a number"][1]),
    "an index is on it": (
        "sa.String(9)",
        "sa.String(9).with_variant(mysql.LONGTEXT, 'mysql', 'mariadb')",
    ),
    "the table is partitioned or inherits": ("sa.DateTime", ZONE["type"]),
    "a foreign key there has no name of its own": ("sa.Integer", KEY_TYPES["a number"][1]),
    "the other end of a foreign key has another type": ("sa.Integer", KEY_TYPES["a number"][1]),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_no_statement_changes_is_left_to_a_person(
    workshop: Workshop, sqlite_url: str, reason: str
) -> None:
    types = LEFT[reason]
    models = TABLE
    if "package" in reason:
        models = KEYS.replace("{}", "{0}")
        workshop.package("shop", HEAD + models.format(types[0]))
        workshop.package("guest", GUEST.format(types[0]))
    elif "computed" in reason:
        models = TABLE.replace("{}))", "{}), sa.Column('d', sa.Integer, sa.Computed('c + 1')))")
    elif "index" in reason:
        models = TABLE.replace("{}))", "{}, index=True))")
    elif "partitioned" in reason:
        models = TABLE.replace("{}))", "{}), postgresql_partition_by='RANGE (c)')")
    elif "another type" in reason:
        models = KEYS.replace("{}", "{0}", 1).replace("{}", "sa.Integer")
    elif "name" in reason:
        models = KEYS.replace("{}", "{0}")
    convention = '"fk": "fk_%(table_name)s_%(column_0_name)s", '
    head = HEAD.replace(convention, "") if "name" in reason else HEAD
    if "shop" not in workshop.names:
        workshop.package("shop", head + models.format(types[0]))
    workshop.service(sqlite_url).revision("begin", autogenerate=True, prove="off")
    workshop.service(sqlite_url).upgrade()
    assert workshop.service(sqlite_url).check().problems == ()
    (workshop.root / "shop" / "models.py").write_text(head + models.format(types[1]))
    if "package" in reason:
        (workshop.root / "guest" / "models.py").write_text(GUEST.format(types[1]))
    workshop.forget()
    problems = workshop.service(sqlite_url).check().problems
    assert any(f"{reason}; autogenerate cannot write it" in one.message for one in problems)
    (made, *_) = workshop.service(sqlite_url).revision("next", packages="shop", autogenerate=True)
    assert f"and {reason}" in Path(made.path).read_text()
    workshop.service(sqlite_url).upgrade()
    workshop.service(sqlite_url).downgrade("shop@-1")


@pytest.mark.parametrize("batch", [False, True])
def test_a_package_that_cannot_run_on_sqlite_is_not_compared_for_it(
    workshop: Workshop, postgresql_url: str, batch: bool
) -> None:
    author = Author(workshop, postgresql_url)
    (made,) = author.writes(TABLE.format("sa.Float(53)"))
    # As plain Alembic writes it, for SQLite or for others.
    changed = 'op.create_unique_constraint("uq", "t", ["c"])'
    if batch:
        changed = 'with op.batch_alter_table("t") as batch:\n'
        changed += '    batch.create_unique_constraint("uq", ["c"])'
    workshop.script("shop", "unique", made.revision, changed)
    author.at(postgresql_url).upgrade()
    unique = 'sa.Double), sa.UniqueConstraint("c", name="uq"'
    author.says(TABLE.format("sa.Double").replace("sa.Double", unique))
    told = [one.message for one in author.at(postgresql_url).check().problems]
    assert len([one for one in told if "on sqlite" in one]) == batch, told


KEY = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base

Base = declarative_base()
sa.Table("p", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("t", Base.metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("n", sa.Integer{}), sa.Column("at", sa.DateTime{}))
"""


def test_a_type_is_seen_behind_a_script_that_asks_for_mariadb(
    workshop: Workshop, sqlite_url: str, postgresql_url: str
) -> None:
    states = [(", sa.ForeignKey('p.id')", ""), ("", ""), ("", "(timezone=True)")]
    folder = workshop.package("shop", KEY.format(*states[0]))
    for state in states:
        (folder / "models.py").write_text(KEY.format(*state))
        workshop.forget()
        assert workshop.service(sqlite_url).revision("next", autogenerate=True)
        for url in (sqlite_url, postgresql_url):
            goes_and_comes(workshop.service(url))
