"""What revision scripts create, read from their source."""

import inspect
import sysconfig
import textwrap
from pathlib import Path

import optuna
import pytest
from alembic.operations import Operations
from hypothesis import given, settings
from hypothesis import strategies as st

from websauna_migrate.errors import MigrationError, ScriptError
from websauna_migrate.planning.accesses import UNREADABLE, Access
from websauna_migrate.revision_scripts.operations import HARMLESS, OPERATIONS
from websauna_migrate.revision_scripts.script_reader import read_effects
from websauna_migrate.revision_scripts.script_tree import parse_script
from websauna_migrate.revision_scripts.sql_reader import read_sql
from websauna_migrate.revision_scripts.table_origins import CreatedObjects


def script(body, before="", after=""):
    """Return a script as Alembic writes it, with a body for its ``upgrade()``."""
    return (
        '"""Add offers"""\nfrom alembic import op\nimport sqlalchemy as sa\n'
        "from sqlalchemy.dialects import postgresql\n"
        "revision = '37e1cb6de47'\ndown_revision = None\n"
        f"{textwrap.dedent(before)}\n\ndef upgrade():\n"
        f"{textwrap.indent(textwrap.dedent(body).strip() or 'pass', '    ')}\n"
        f"{textwrap.dedent(after)}\n"
    )


def short(access):
    """Return an access as one line: ``add_column offers price``, with ``?`` if it is unsure."""
    words = [access.kind, named(access.schema, access.name)]
    if access.kind == "foreign_key":
        target = named(access.target_schema, access.target_table)
        words += [f"({','.join(access.columns)})"]
        words += ["->", f"{target}({','.join(access.target_columns)})"]
    else:
        words += list(access.columns) if access.kind != "create_table" else []
        if access.new_name:
            schema = None if access.kind == "rename_column" else access.new_schema
            words += ["->", named(schema, access.new_name)]
    return " ".join(word for word in words if word) + ("" if access.sure else "?")


def named(schema, name):
    return name if schema is None else f"{schema}.{name}"


def read(body, before="", after=""):
    """Return what a body does in short."""
    return [short(one) for one in read_effects(script(body, before, after), "x.py")]


def unreadable(body, before=""):
    """Return what a body does, and the lines of it that cannot be read, counted from 1."""
    source = script(body, before)
    first = source[: source.index("def upgrade")].count("\n") + 1
    found = read_effects(source, "x.py")
    return (
        [short(one) for one in found if one.kind not in UNREADABLE],
        [one.line - first for one in found if one.kind in UNREADABLE],
    )


# Operations


def test_every_operation_that_changes_tables_columns_or_types_is_read():
    assert read(
        """
        op.create_table("offers", sa.Column("id", sa.Integer()), schema="shop")
        op.drop_table("old", schema="shop")
        op.rename_table("a", "b")
        op.rename_table("a", "b", schema="shop")
        op.rename_table("a", "b", "shop")
        op.add_column("offers", sa.Column("price", sa.Numeric()))
        op.add_column("offers", sa.Column("price", sa.Numeric()), schema="shop")
        op.drop_column("offers", "price", schema="shop")
        op.alter_column("offers", "price", new_column_name="cost")
        op.alter_column("offers", "price", nullable=False)
        op.create_index(op.f("ix_offers_id"), "offers", ["id"])
        """
    ) == [
        "create_table shop.offers",
        "drop_table shop.old",
        "rename_table a -> b",
        "rename_table shop.a -> shop.b",
        "rename_table shop.a -> shop.b",
        "add_column offers price",
        "add_column shop.offers price",
        "drop_column shop.offers price",
        "rename_column offers price -> cost",
        "restrict_column offers price",
        "create_index offers id",
    ]


def test_arguments_may_be_given_by_name():
    assert read(
        """
        op.create_table(table_name="offers", schema=None)
        op.drop_table(table_name="old")
        op.rename_table(old_table_name="a", new_table_name="b")
        op.add_column(table_name="offers", column=sa.Column(name="price", type_=sa.Numeric()))
        op.drop_column(table_name="offers", column_name="price")
        op.alter_column(table_name="offers", column_name="price", new_column_name="cost")
        op.execute(sqltext="CREATE TABLE rates (id int)")
        op.create_foreign_key(
            constraint_name="fk", source_table="a", referent_table="b",
            local_cols=["b_id"], remote_cols=["id"],
        )
        """
    ) == [
        "create_table offers",
        "drop_table old",
        "rename_table a -> b",
        "add_column offers price",
        "drop_column offers price",
        "rename_column offers price -> cost",
        "create_table rates",
        "foreign_key a (b_id) -> b(id)",
    ]


def test_an_effect_has_the_line_of_its_operation():
    effects = read_effects(script("x = 1\nop.create_table(\n    'offers',\n)"), "x.py")
    assert effects == (Access("create_table", None, "offers", line=11),)


def test_batch_blocks_are_read_under_any_name():
    assert read(
        """
        with op.batch_alter_table("offers", schema="shop") as batch_op:
            batch_op.add_column(sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id")))
            batch_op.drop_column("price")
            batch_op.alter_column("name", new_column_name="title", existing_type=sa.String())
            batch_op.create_foreign_key("fk", "tags", ["tag_id"], ["id"], referent_schema="t")
            batch_op.create_index(batch_op.f("ix"), ["title"])
            batch_op.drop_constraint("uq", type_="unique")
            batch_op.execute("CREATE TABLE x (id int)")
        with op.batch_alter_table(table_name="rates") as b, op.batch_alter_table("zones") as c:
            b.add_column(sa.Column("a", sa.Integer))
            c.add_column(sa.Column("b", sa.Integer))
        """
    ) == [
        "add_column shop.offers user_id",
        "foreign_key shop.offers (user_id) -> users(id)",
        "drop_column shop.offers price",
        "rename_column shop.offers name -> title",
        "foreign_key shop.offers (tag_id) -> t.tags(id)",
        "create_index shop.offers title",
        "drop_constraint shop.offers",
        "create_table x",
        "add_column rates a",
        "add_column zones b",
    ]


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from alembic import op as foo", "foo.create_table"),
        ("import alembic.op", "alembic.op.create_table"),
        ("import alembic", "alembic.op.create_table"),
        ("import alembic.op as foo", "foo.create_table"),
        ("from alembic.op import create_table as make", "make"),
        ("from alembic import *", "op.create_table"),
        ("from alembic.op import *", "create_table"),
        ("from sqlalchemy import *\nfrom alembic.op import *", "create_table"),
        ("from alembic import op\nmake = op.create_table", "make"),
        ("try:\n    from alembic import op\nexcept ImportError:\n    op = None", "op.create_table"),
        ("from alembic.operations import Operations\nfoo = Operations(ctx)", "foo.create_table"),
    ],
)
def test_operations_are_found_through_every_import(imports, call):
    effects = read_effects(f"{imports}\ndef upgrade():\n    {call}('offers')\n", "x.py")
    assert [short(effect) for effect in effects] == ["create_table offers"]


def test_an_import_inside_the_function_counts():
    source = "def upgrade():\n    from alembic import op\n    op.create_table('offers')\n"
    assert [short(effect) for effect in read_effects(source, "x.py")] == ["create_table offers"]


def test_what_is_not_alembics_op_is_unreadable():
    source = "from cooking import op\ndef upgrade():\n    op.create_table('kitchen')\n"
    assert [short(one) for one in read_effects(source, "x.py")] == ["unreadable"]


def test_downgrade_is_read_when_asked_for():
    source = script(
        "op.create_table('a')", after="def downgrade() -> None:\n    op.drop_table('a')"
    )
    assert [short(effect) for effect in read_effects(source, "x.py", "downgrade")] == [
        "drop_table a"
    ]
    assert read_effects(script("op.create_table('a')"), "x.py", "downgrade") == ()


def test_a_parsed_script_may_be_read_twice():
    tree = parse_script(script("op.create_table('a')", after="downgrade = upgrade"), "x.py")
    assert read_effects(tree, "x.py") == read_effects(tree, "x.py") != ()
    # What is no function in the script's own text is not followed.
    assert [one.kind for one in read_effects(tree, "x.py", "downgrade")] == ["unreadable"]


def test_a_script_in_bytes_is_decoded_as_it_says():
    source = (
        "# -*- coding: latin-1 -*-\nfrom alembic import op\ndef upgrade():\n    op.drop_table('é')"
    )
    assert [e.name for e in read_effects(source.encode("latin-1"), "x.py")] == ["é"]


# Names


def test_constants_and_composed_strings_are_followed():
    assert read(
        """
        name = PREFIX + "offers"
        op.create_table(TABLE, schema=SCHEMA)
        op.create_table(name)
        op.create_table(f"{PREFIX}rates")
        op.create_table(sa.sql.quoted_name("G", True), schema=None)
        op.create_table("a" "b")
        """,
        before="""
        TABLE: str = "tags"
        SCHEMA = "shop"
        PREFIX = "my_"
        """,
    ) == [
        "create_table shop.tags",
        "create_table my_offers",
        "create_table my_rates",
        "create_table G",
        "create_table ab",
    ]


@pytest.mark.parametrize(
    "body",
    [
        'op.create_table("%s_%s" % (PREFIX, "a"))',
        'op.create_table("{}_x".format(PREFIX))',
        'op.create_table(NAMES["e"])',
        "op.create_table(Config.TABLE)",
        "op.create_table(TWICE)",
        "op.create_table(name_of_today())",
        'op.create_table("a", schema=os.environ["SCHEMA"])',
        'op.add_column("b", imported_column())',
        'op.add_column("b", sa.Column(name_of_today(), sa.Text()))',
        'op.execute(f"INSERT INTO {name_of_today()} VALUES (1)")',
        "op.bulk_insert(Offer.__table__, [])",
        "session.add(offer)",
        "session.query(Offer).update({})",
    ],
)
def test_what_makes_or_writes_something_without_a_known_name_is_said(body):
    before = 'TWICE = "a"\nTWICE = "b"\nPREFIX = "x"\nclass Config:\n    TABLE = 1'
    found = read_effects(script(body, before=before), "x.py")
    assert "unreadable_part" in {one.kind for one in found}
    assert {one.line for one in found} == {14}
    assert not [one for one in found if one.kind == "create_table"]


@pytest.mark.parametrize(
    "body",
    [
        'for name in ("a", "b"): op.drop_table(name)',
        "[op.drop_table(name) for name in NAMES]",
        'drop("a")',
        "Helper.run(op)",
        '(lambda name: op.drop_table(name))("f")',
        "helpers.drop_everything()",
        "drop_everything()",
        "imported(op.get_bind())",
        "op.execute(Path('x.sql').read_text())",
        'op.execute(f"DROP TABLE {name_of_today()}")',
        'op.execute(f"{verb()} TABLE x")',
        "op.execute('CALL f()')",
        "op.execute('DO $$ BEGIN EXECUTE x; END $$')",
        "op.invoke(something)",
        "op.run_async(something)",
        "Base.metadata.create_all(op.get_bind())",
        "Base.metadata.drop_all(bind=op.get_bind())",
        "Offer.__table__.drop(op.get_bind())",
        "op.get_bind().execute(statement)",
        "with op.batch_alter_table(name_of_today()) as batch_op: batch_op.drop_column('c')",
        "exec('op.drop_table(1)')",
        "getattr(op, 'drop_table')('a')",
        "list(map(op.drop_table, names))",
        "for drop in (op.drop_table,): drop('a')",
        "command.downgrade(config, 'base')",
    ],
)
def test_what_may_do_anything_is_said(body):
    before = """
    from fooapp import helpers
    from fooapp.helpers import drop_everything, imported
    from alembic import command

    class Helper:
        @staticmethod
        def run(operations):
            operations.drop_table("h")

    def drop(name):
        inner(name)

    def inner(name):
        op.drop_table(name)
    """
    found = read_effects(script(body, before=before), "x.py")
    assert sorted({one.kind for one in found}) == ["unreadable"]
    assert all(one.line > 15 for one in found)


def test_what_has_nothing_to_do_with_the_database_is_nothing():
    assert (
        read(
            """
            log.info("%s", slug("x"))
            now = datetime.datetime.now()
            names = {slug(n) for n in ("a", "b")}
            names.add("c")
            print(len(names), op.get_context().dialect.name)
            inspector = sa.inspect(op.get_bind())
            is_mariadb = getattr(op.get_context().dialect, "is_mariadb", False)
            columns = [column["name"] for column in inspector.get_columns("x")]
            """,
            before="""
            import datetime, logging
            log = logging.getLogger(__name__)

            def slug(text):
                return text.lower()
            """,
        )
        == []
    )


def test_what_stands_under_a_condition_may_happen():
    assert read(
        """
        bind = op.get_bind()
        if bind.dialect.name == "postgresql":
            op.create_table("a")
        elif bind.dialect.name == "sqlite":
            op.create_table("b")
        else:
            op.create_table("c")
        try:
            op.create_table("d")
        except Exception:
            op.create_table("e")
        while True:
            op.create_table("f")
            break
        with suppress(Exception):
            op.create_table("g")
        match bind.dialect.name:
            case "mysql":
                op.create_table("h")
            case _:
                op.create_table("i")
        op.create_table("j") if bind else op.create_table("k")
        """,
        before="from contextlib import suppress",
    ) == [f"create_table {name}?" for name in "abcdefghijk"]


def test_what_runs_in_any_case_is_sure():
    assert read(
        """
        with op.get_context().autocommit_block():
            op.create_table("a")
        try:
            op.create_table("b")
        finally:
            op.create_table("c")
        if op.get_context().as_sql:
            raise NotImplementedError
        op.create_table("d")
        """
    ) == [f"create_table {name}" for name in "abcd"]


def test_a_variant_for_postgresql_is_in_place_of_the_type():
    assert read(
        """
        own = postgresql.ENUM("x", name="own", create_type=False)
        op.create_table(
            "a",
            sa.Column("b", sa.Enum("x", name=op.f("ck")).with_variant(own, "postgresql")),
            sa.Column("c", sa.Enum("x", name="c").with_variant(sa.Text(), "mysql", "mariadb")),
        )
        """,
        before="from sqlalchemy.dialects import postgresql",
    ) == ["use_type own", "create_type c", "create_table a"]


def test_types_are_sure_wherever_the_database_is_postgresql():
    create = ".create(op.get_bind(), checkfirst=False)"
    assert read(
        f"""
        bind = op.get_bind()
        if bind.dialect.name == "postgresql":
            sa.Enum("x", name="a"){create}
        if bind.dialect.name in ("postgresql",):
            sa.Enum("x", name="b"){create}
        if bind.dialect.name != "postgresql":
            sa.Enum("x", name="c"){create}
        else:
            sa.Enum("x", name="d"){create}
        dialect = bind.engine.name
        if dialect in {{"postgresql", "oracle"}}:
            sa.Enum("x", name="e"){create}
        if not bind.dialect.name == "postgresql":
            return
        sa.Enum("x", name="f"){create}
        """
    ) == [f"create_type {name}" for name in ("a", "b", "c?", "d", "e", "f")]


def test_a_generator_is_not_read_where_it_is_called():
    steps = "def steps():\n    yield op.create_table('a')"
    assert unreadable("steps()", steps) == ([], [1])


def test_what_fails_in_a_branch_makes_nothing_behind_it_unsure():
    assert read(
        """
        if op.get_bind().scalar(sa.text("SELECT count(*) FROM a")) > 1:
            raise RuntimeError("delete all but one")
        op.create_table("b")
        if op.get_bind().dialect.name == "sqlite":
            raise RuntimeError("not here")
        op.create_table("c")
        """
    ) == ["read_table a a", "create_table b", "create_table c"]


def test_what_runs_only_before_the_revision_fails_has_no_effect():
    assert read(
        """
        try:
            op.create_table("offers")
        except Exception:
            op.drop_table("offers")
            raise
        """
    ) == ["create_table offers"]


def test_a_function_ends_at_its_return_and_what_follows_one_in_a_branch_may_happen():
    assert read(
        """
        op.create_table("before")
        with op.batch_alter_table("x") as batch:
            if skip:
                return
            batch.drop_column("y")
        op.create_table("a")
        return
        op.create_table("b")
        """
    ) == ["create_table before", "drop_column x y?", "create_table a?"]


def test_a_decorated_function_may_not_run():
    source = script("op.create_table('a')").replace("def upgrade", "@sometimes\ndef upgrade")
    assert [short(one) for one in read_effects(source, "x.py")] == ["create_table a?"]


def test_a_name_without_a_schema_may_be_another_after_set_search_path():
    assert read(
        """
        op.execute("SET search_path TO shop")
        op.create_table("a")
        op.create_table("b", schema="shop")
        op.execute("CREATE TABLE c (id int)")
        """
    ) == ["create_table a?", "create_table shop.b", "create_table c?"]


def test_what_may_be_another_table_is_unsure():
    assert read(
        """
        op.create_table("a", prefixes=["TEMPORARY"])
        op.create_table("b", if_not_exists=True)
        op.execute("CREATE TABLE IF NOT EXISTS c (id int)")
        op.execute("CREATE TEMP TABLE d (id int); DROP TABLE d")
        """
    ) == ["create_table a?", "create_table b?", "create_table c?"]


TRIGGER = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DROP TABLE c; END; "


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("/* a /* b */ CREATE TABLE c (id int); */", ["unreadable?"]),
        (
            r"INSERT INTO a VALUES ('\'; DROP TABLE b; --')",
            ["unreadable?", "insert_rows a?", "drop_table b?"],
        ),
        (r"INSERT INTO a VALUES (E'\'; DROP TABLE b; --')", ["insert_rows a"]),
        ("/*!40101 CREATE TABLE b (id int) */", ["unreadable?"]),
        ("DROP SCHEMA s CASCADE", ["drop_schema s"]),
        ("DROP OWNED BY x", ["unreadable?"]),
        (TRIGGER + "DROP TABLE d", ["use_table a", "drop_table d"]),
    ],
)
def test_sql_that_servers_read_in_different_ways(sql, expected):
    assert [short(one) for one in read_sql(sql)] == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "INSERT INTO profile (nick) SELECT u.nick FROM users u JOIN s.rates AS r USING (id)",
            ["insert_rows profile nick", "read_table users nick id", "read_table s.rates id"],
        ),
        ("INSERT INTO a SELECT * FROM b", ["insert_rows a", "read_table b"]),
        ("INSERT INTO a VALUES ('FROM b')", ["insert_rows a"]),
        ("REPLACE INTO a (b) VALUES (1)", ["insert_rows a b", "write_table a"]),
        ("INSERT INTO a (b) VALUES (1) ON CONFLICT DO UPDATE SET b = 2", 2),
        ("UPDATE a SET b = c, d = 1 WHERE e > 2", ["write_table a b d", "read_table a c e"]),
        ("UPDATE a SET b = 1", ["write_table a b"]),
        ("DELETE FROM a WHERE id IN (SELECT x FROM b)", ["write_table a", "read_table b"]),
        ("TRUNCATE a, b", ["write_table a", "write_table b"]),
        ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", 2),
        ("WITH q AS (SELECT id FROM b) INSERT INTO a (id) SELECT id FROM q", 2),
        ("WITH d AS (DELETE FROM a RETURNING id) SELECT id FROM d", 2),
        ("CREATE TABLE n AS SELECT id FROM b", ["create_table n", "read_table b"]),
        ("CREATE VIEW v AS SELECT id FROM b", ["create_view b"]),
        ("COMMENT ON COLUMN a.b IS 'x'", ["comment_on a b"]),
        ("ALTER TABLE a ALTER COLUMN b TYPE text", ["alter_column a b"]),
        ("ALTER TABLE a MODIFY b text", ["alter_column a b"]),
        ("ALTER TABLE a ALTER b SET NOT NULL", ["restrict_column a b"]),
        ("CREATE UNIQUE INDEX i ON a (b, lower(c))", ["create_index a b lower c"]),
        ("ALTER TYPE mood ADD VALUE 'glad'", ["alter_type mood"]),
        ("SELECT count(*) FROM a WHERE b IS DISTINCT FROM c", 1),
    ],
)
def test_rows_that_literal_sql_reads_and_writes(sql, expected):
    found = [short(one) for one in read_sql(sql)]
    if isinstance(expected, int):
        assert len(found) == expected, found
        return
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        # A query may name more than its columns, never fewer.
        assert set(other.split()) <= set(one.split()), found


def test_rows_are_read_wherever_statements_are_executed():
    assert read(
        """
        users = sa.table("users", sa.column("id"), sa.column("nick"))
        op.bulk_insert(users, [{"id": 1}])
        op.bulk_insert(sa.table("rates", sa.column("x"), schema="s"), rows())
        bind = op.get_bind()
        bind.execute(sa.insert(users).values(nick="a"))
        bind.execute(users.update().values({"nick": "b"}).where(users.c.id == 1))
        bind.execute(sa.delete(users))
        for row in bind.execute(sa.select(users.c.id).where(users.c.nick == "x")):
            bind.execute(sa.text("UPDATE rates SET x = :x"), {"x": row.id})
        op.execute(PROFILE.insert().from_select(["nick"], sa.select(users.c.nick)))
        """,
        before='PROFILE = sa.table("profile", sa.column("nick"))\ndef rows():\n    return []',
    ) == [
        "insert_rows users id nick",
        "insert_rows s.rates x",
        "insert_rows users nick",
        "write_table users nick",
        "read_table users id",
        "write_table users",
        "read_table users nick id",
        "write_table rates x?",
        "insert_rows profile",
        "read_table users nick",
    ]


def test_what_a_script_does_on_import_is_no_effect():
    assert read("pass", before="op.create_table('a')") == []


# Enum types


def test_enum_types_come_before_the_table_or_column_that_uses_them():
    assert read(
        """
        op.create_table(
            "offers",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("kind", sa.Enum("A", "B", name="kind"), nullable=False),
            sa.Column("mood", postgresql.ENUM("A", name="mood", schema="types", create_type=True)),
            sa.Column("days", sa.ARRAY(postgresql.ENUM("MON", name="day"))),
            sa.Column("v", sa.String().with_variant(sa.Enum("A", name="var"), "postgresql")),
            sa.PrimaryKeyConstraint("id"),
        )
        op.add_column("offers", sa.Column("color", COLOR))
        """,
        before='COLOR = sa.Enum("RED", name="color")',
    ) == [
        "create_type kind",
        "create_type types.mood",
        "create_type day",
        "create_type var",
        "create_table offers",
        "create_type color",
        "add_column offers color",
    ]


def test_enum_types_that_are_not_created_there_are_left_out():
    assert read(
        """
        op.add_column("o", sa.Column("a", postgresql.ENUM("A", name="a", create_type=False)))
        op.add_column("o", sa.Column("b", sa.Enum("A", name="b", native_enum=False)))
        op.add_column("o", sa.Column("c", sa.Enum("A", "B")))
        op.add_column("o", sa.Column("d", mysql.ENUM("A", name="d")))
        op.alter_column("o", "e", type_=sa.Enum("A", name="e"), existing_type=sa.String())
        """,
        before="from sqlalchemy.dialects import mysql",
    ) == [
        "use_type a",
        *(f"add_column o {name}" for name in "abcd"),
        "use_type e",
        "alter_column o e",
    ]


def test_an_enum_type_may_be_created_and_dropped_by_itself():
    assert read(
        """
        kind = postgresql.ENUM("A", name="kind", create_type=False)
        kind.create(op.get_bind(), checkfirst=True)
        sa.Enum(Status).create(op.get_bind())
        sa.Enum(Local).create(op.get_bind())
        sa.Enum(name="old").drop(op.get_bind(), checkfirst=False)
        """,
        before="""
        import enum
        from fooapp.models import Status
        class Local(enum.Enum):
            A = 1
        """,
    ) == ["create_type kind?", "create_type status?", "create_type local?", "drop_type old"]


def test_an_enum_type_may_inherit_the_schema_of_its_table():
    assert read(
        """
        op.create_table(
            "a", sa.Column("b", sa.Enum("A", name="c", inherit_schema=True)), schema="shop"
        )
        """
    ) == ["create_type shop.c", "create_table shop.a"]


def test_a_table_object_may_be_created_and_dropped_by_itself():
    assert read(
        """
        rates = sa.Table("rates", sa.MetaData(), sa.Column("id", sa.ForeignKey("a.id")), schema="s")
        rates.create(op.get_bind())
        rates.drop(op.get_bind())
        op.execute(rates.insert().values(id=1))
        op.execute(sa.update(rates).where(rates.c.id == 1))
        """
    ) == [
        "create_table s.rates?",
        "foreign_key s.rates (id) -> a(id)",
        "drop_table s.rates",
        "insert_rows s.rates id",
        "write_table s.rates",
        "read_table s.rates id",
    ]


# Foreign keys


def test_foreign_keys_are_read_in_all_their_shapes():
    assert read(
        """
        op.create_table(
            "offers",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE")),
            sa.Column("zone_id", sa.ForeignKey("geo.zones.id")),
            sa.ForeignKeyConstraint(["a"], ["other.id"], name="fk"),
            sa.ForeignKeyConstraint(("a", "b"), ("shop.pair.x", "shop.pair.y")),
            sa.ForeignKeyConstraint(columns=["c"], refcolumns=["third.id"]),
            sa.PrimaryKeyConstraint("id"),
        )
        op.add_column("offers", sa.Column("d", sa.ForeignKey("fourth.id")), schema="shop")
        op.create_foreign_key("fk", "offers", "fifth", ["e"], ["id"])
        op.create_foreign_key(
            None, "offers", "sixth", ["e", "f"], ["x", "y"],
            source_schema="s", referent_schema="r", ondelete="CASCADE",
        )
        """
    ) == [
        "create_table offers",
        "foreign_key offers (user_id) -> users(id)",
        "foreign_key offers (zone_id) -> geo.zones(id)",
        "foreign_key offers (a) -> other(id)",
        "foreign_key offers (a,b) -> shop.pair(x,y)",
        "foreign_key offers (c) -> third(id)",
        "add_column shop.offers d",
        "foreign_key shop.offers (d) -> fourth(id)",
        "foreign_key offers (e) -> fifth(id)",
        "foreign_key s.offers (e,f) -> r.sixth(x,y)",
    ]


# Literal SQL

SCHEMA_KINDS = {
    *("create_table", "drop_table", "rename_table", "add_column", "drop_column", "rename_column"),
    *("foreign_key", "create_type", "drop_type", "rename_type", "unreadable", "unreadable_part"),
}


@pytest.mark.parametrize(
    ("sql", "effects"),
    [
        ("CREATE TABLE offers (id int)", ["create_table offers"]),
        ("create table if not exists Shop.Offers(id int);", ["create_table shop.offers?"]),
        ('CREATE UNLOGGED TABLE "Shop"."Of""fers" (id int)', ['create_table Shop.Of"fers']),
        ("CREATE TABLE `offers` (id int)", ["create_table offers"]),
        ("CREATE TABLE db.shop.offers (id int)", ["create_table shop.offers"]),
        ("CREATE TABLE a AS SELECT 1", ["create_table a"]),
        ("CREATE TEMPORARY TABLE a (id int)", []),
        (
            "CREATE TABLE a (b_id int REFERENCES s.b (id), c numeric(1, 2), "
            'FOREIGN KEY (c, d) REFERENCES e (f, "G"), CONSTRAINT x FOREIGN KEY (h) REFERENCES i)',
            [
                "create_table a",
                "foreign_key a (b_id) -> s.b(id)",
                "foreign_key a (c,d) -> e(f,G)",
                "foreign_key a (h) -> i()",
            ],
        ),
        ("DROP TABLE a", ["drop_table a"]),
        ("drop table if exists a, s.b cascade", ["drop_table a", "drop_table s.b"]),
        ("ALTER TABLE a RENAME TO b", ["rename_table a -> b"]),
        ("ALTER TABLE IF EXISTS ONLY s.a RENAME TO b;", ["rename_table s.a -> s.b?"]),
        ("ALTER TABLE a SET SCHEMA s", ["rename_table a -> s.a"]),
        ("RENAME TABLE a TO b, c TO d", ["rename_table a -> b", "rename_table c -> d"]),
        ("ALTER TABLE a RENAME COLUMN b TO c", ["rename_column a b -> c"]),
        ("ALTER TABLE a RENAME b TO c", ["rename_column a b -> c"]),
        ("ALTER TABLE a RENAME CONSTRAINT b TO c", []),
        ("ALTER TABLE a CHANGE b c int", ["rename_column a b -> c"]),
        ("ALTER TABLE a CHANGE b b int", []),
        (
            'ALTER TABLE a ADD COLUMN IF NOT EXISTS b int, ADD "C" numeric(1, 2), DROP COLUMN d',
            ["add_column a b?", "add_column a C", "drop_column a d"],
        ),
        ('ALTER TABLE a DROP "b" CASCADE', ["drop_column a b"]),
        ("ALTER TABLE a ADD CONSTRAINT b UNIQUE (c), DROP CONSTRAINT d, ADD PRIMARY KEY (e)", []),
        (
            "ALTER TABLE a ADD CONSTRAINT b FOREIGN KEY (c) REFERENCES d (e), "
            "ADD f int REFERENCES g(h)",
            [
                "foreign_key a (c) -> d(e)",
                "add_column a f",
                "foreign_key a (f) -> g(h)",
            ],
        ),
        ("ALTER TABLE a ALTER COLUMN b TYPE text", []),
        ("CREATE TYPE mood AS ENUM ('sad', 'ok')", ["create_type mood"]),
        ('create type types."Mood" as enum ()', ["create_type types.Mood"]),
        ("CREATE DOMAIN price AS numeric CHECK (value > 0)", ["create_type price"]),
        ("DROP TYPE IF EXISTS mood, s.other", ["drop_type mood", "drop_type s.other"]),
        ("ALTER TYPE mood RENAME TO mood_old", ["rename_type mood -> mood_old"]),
        ("ALTER TYPE mood SET SCHEMA s", ["rename_type mood -> s.mood"]),
        ("ALTER TYPE mood ADD VALUE 'glad'", []),
        ("ALTER TYPE mood RENAME VALUE 'a' TO 'b'", []),
        ("-- CREATE TABLE a\n/* CREATE TABLE b; */ CREATE TABLE c ()", ["create_table c"]),
        ("INSERT INTO a VALUES ('; CREATE TABLE b (')", []),
        ("CREATE TABLE a (); CREATE TABLE b ()", ["create_table a", "create_table b"]),
        (
            "DO $$ BEGIN CREATE TYPE mood AS ENUM ('a'); "
            "EXCEPTION WHEN duplicate_object THEN null; END $$;",
            ["create_type mood?"],
        ),
        (
            "DO $do$\nBEGIN\n IF NOT EXISTS (SELECT 1 FROM pg_type) THEN\n"
            "CREATE TYPE mood AS ENUM ('a'); END IF; END $do$",
            ["create_type mood?"],
        ),
        ("CREATE FUNCTION f() RETURNS int AS $$ BEGIN DROP TABLE a; END $$ LANGUAGE x", []),
        ("CREATE INDEX i ON a (b); CREATE VIEW v AS SELECT 1; CREATE SCHEMA s", []),
        ("COMMIT", []),
        ("UPDATE a SET b = 'drop table c'", []),
    ],
)
def test_literal_sql_is_read(sql, effects):
    assert [short(one) for one in read_sql(sql) if one.kind in SCHEMA_KINDS] == effects


def test_sql_is_read_wherever_it_is_executed():
    assert read(
        '''
        op.execute("CREATE TABLE a (id int)")
        op.execute(sa.text("CREATE TABLE b (id int)").execution_options(autocommit=True))
        op.get_bind().execute(sa.text("CREATE TABLE c (id int)"))
        bind = op.get_bind()
        bind.exec_driver_sql("CREATE TABLE d (id int)")
        op.execute(f"CREATE TABLE {NAME} (id int)")
        op.execute("CREATE TABLE " "f" " (id int)")
        op.execute(
            """
            CREATE TABLE g (id int);
            """
        )
        op.execute(SQL)
        op.execute(textwrap.dedent("CREATE TABLE j ()"))
        op.execute(sa.DDL("CREATE TABLE k ()"))
        ''',
        before='import textwrap\nNAME = "e"\nSQL = "CREATE TABLE h (); CREATE TABLE i ();"',
    ) == [f"create_table {name}" for name in "abcdefghijk"]


# What cannot be read


def test_sql_of_which_only_unimportant_parts_are_unknown_is_readable():
    assert read(
        """
        op.execute(f"UPDATE offers SET price = {price}")
        op.execute(f"CREATE TABLE a (b int DEFAULT {price})")
        op.execute(f"ALTER TABLE a ADD CONSTRAINT {name()} UNIQUE (b)")
        """
    ) == ["write_table offers price", "create_table a", "add_constraint a b"]


def test_every_operation_of_alembic_is_known_as_read_or_as_harmless():
    operations = {name for name, _ in inspect.getmembers(Operations, inspect.isfunction)}
    public = {name for name in operations if not name.startswith("_")}
    elsewhere = {"execute", "batch_alter_table"}
    assert public - OPERATIONS.keys() - HARMLESS - elsewhere == {"invoke", "run_async"}


def test_a_syntax_error_names_the_file_and_the_line():
    with pytest.raises(ScriptError) as failure:
        read_effects("x = 1\ndef upgrade(:\n", "/srv/alembic/versions/37e1_add.py")
    assert str(failure.value) == (
        'Revision script "/srv/alembic/versions/37e1_add.py", line 2 is not valid Python: '
        "invalid syntax. Correct the script and run the command again."
    )
    assert (failure.value.path, failure.value.line) == ("/srv/alembic/versions/37e1_add.py", 2)
    assert isinstance(failure.value, MigrationError)


def test_a_doubtful_escape_is_no_failure():
    assert read_effects("from alembic import op\ndef upgrade():\n    op.drop_table('\\d')", "x.py")


@pytest.mark.parametrize("source", ["x = '\x00'", "(" * 5000 + ")" * 5000])
def test_a_script_that_python_cannot_parse_is_a_named_error(source):
    with pytest.raises(ScriptError, match=r'^Revision script "x\.py"'):
        read_effects(source, "x.py")


@pytest.mark.parametrize(
    "body",
    [
        "x = 'ab'\nfor a in range(99):\n    x += x\nop.drop_table(x)",
        "x = [1]\n" + "x = x + x\n" * 60 + "op.drop_table(x)",
        "x = F()\n" + "x = F(x, x)\n" * 60 + "op.create_table('a', sa.Column('b', x))",
        "x = [1, 2]\nx.append(x)\nx.extend(x)\nop.execute(x)",
        "f = lambda g: g(g)\nf(f)",
        "op.create_table('%999999999d' % 1)\nop.create_table('{:>999999999}'.format(1))",
        "op.drop_table(" + "+".join(["'a'"] * 3000) + ")",
        "N = list(L)\nfor a in N:\n    for b in N:\n        for c in N:\n            op.f(a)",
    ],
)
def test_a_script_cannot_make_the_reader_run_away(body):
    read_effects(script(body, before=f"L = {list(range(500))}"), "x.py")


STDLIB = sorted(
    path
    for folder in ("", "asyncio", "email", "json", "unittest", "test")
    for path in (Path(sysconfig.get_path("stdlib")) / folder).glob("*.py")
    # Files that are invalid on purpose.
    if not path.name.startswith(("bad", "badsyntax"))
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(STDLIB), st.data())
def test_no_valid_python_file_is_too_much(path, data):
    source = path.read_bytes()
    tree = parse_script(source, path.name)
    functions = [node.name for node in tree.body if hasattr(node, "args")]
    function = data.draw(st.sampled_from([*functions, "upgrade"]))
    # A star import makes ``op`` known, so that calls in the file may look like operations.
    assert all(one.line >= 0 for one in read_effects(tree, path.name, function))


@given(st.text(alphabet="abc \"'$;(),.-\n", max_size=40), st.sampled_from(["", "DO $$ BEGIN "]))
def test_no_sql_is_too_much(rest, before):
    for start in ("create table ", "alter table a add ", "drop type ", "alter table "):
        list(read_sql(f"{before}{start}{rest}"))


# Real scripts


def test_the_scripts_of_optuna_are_read():
    folder = Path(optuna.__file__).parent / "storages/_rdb/alembic/versions"
    scripts = sorted(folder.glob("*.py"))
    found = {
        path.name.removesuffix(".py"): read_effects(path.read_bytes(), path) for path in scripts
    }
    assert len(found) == 10
    # These use an ORM session.
    assert sorted(
        name for name, one in found.items() if any(access.kind in UNREADABLE for access in one)
    ) == ["v1.3.0.a", "v2.4.0.a", "v3.0.0.a", "v3.0.0.b", "v3.0.0.c", "v3.0.0.d"]
    objects = CreatedObjects(("optuna", name, one) for name, one in found.items())
    first = ("optuna", "v0.9.0.a")
    assert objects.tables == {
        **{
            (None, name): first
            for name in (
                "studies",
                "version_info",
                "study_system_attributes",
                "study_user_attributes",
                "trials",
                "trial_params",
                "trial_system_attributes",
                "trial_user_attributes",
                "trial_values",
            )
        },
        (None, "study_directions"): ("optuna", "v2.4.0.a"),
        (None, "trial_intermediate_values"): ("optuna", "v2.4.0.a"),
    }
    assert objects.types == {
        (None, "studydirection"): first,
        (None, "trialstate"): first,
        (None, "trialintermediatevaluetype"): ("optuna", "v3.0.0.c"),
        (None, "trialvaluetype"): ("optuna", "v3.0.0.d"),
    }
    assert objects.column_origin(None, "trials", "number") == ("optuna", "v1.3.0.a")
    assert objects.column_origin(None, "trials", "state") == first
    assert objects.column_origin(None, "trial_values", "objective") == ("optuna", "v2.4.0.a")
    assert [short(e) for e in found["v0.9.0.a"] if e.kind == "foreign_key"] == [
        "foreign_key study_system_attributes (study_id) -> studies(study_id)",
        "foreign_key study_user_attributes (study_id) -> studies(study_id)",
        "foreign_key trials (study_id) -> studies(study_id)",
        "foreign_key trial_params (trial_id) -> trials(trial_id)",
        "foreign_key trial_system_attributes (trial_id) -> trials(trial_id)",
        "foreign_key trial_user_attributes (trial_id) -> trials(trial_id)",
        "foreign_key trial_values (trial_id) -> trials(trial_id)",
    ]


# Who introduced what stands


def replay(*revisions):
    """Return the objects of revisions, each written ``package@revision`` and its operations."""
    return CreatedObjects(
        (*name.split("@"), read_effects(script("\n".join(operations)), name))
        for name, *operations in revisions
    )


def test_a_table_belongs_to_the_revision_that_created_it():
    objects = replay(
        ("user@1", 'op.create_table("users", schema="auth")'),
        ("app@a", 'op.create_table("users")'),
    )
    assert objects.tables == {("auth", "users"): ("user", "1"), (None, "users"): ("app", "a")}
    assert objects.table_origin("auth", "users") == ("user", "1")
    assert objects.table_origin("other", "users") is None


def test_a_dropped_table_belongs_to_nobody_but_is_remembered():
    objects = replay(("app@1", 'op.create_table("a")'), ("app@2", 'op.drop_table("a")'))
    assert objects.tables == {}
    assert objects.table_origin(None, "a") is None
    assert objects.packages_of_table(None, "a") == ("app",)


def test_creating_a_standing_table_again_in_its_package_changes_nothing():
    create = "op.execute('CREATE TABLE IF NOT EXISTS a (id int)')"
    assert replay(("app@1", create), ("app@2", create)).tables == {(None, "a"): ("app", "1")}


@pytest.mark.parametrize(
    "order", [("create", "drop", "take"), ("create", "take", "drop")], ids="-".join
)
def test_a_table_moves_between_packages_in_either_order(order):
    revisions = {
        "create": ("app@1", 'op.create_table("a")', 'op.add_column("a", sa.Column("b"))'),
        "drop": ("app@2", 'op.drop_table("a")'),
        "take": ("addon@1", 'op.create_table("a")'),
    }
    objects = replay(*(revisions[step] for step in order))
    assert objects.tables == {(None, "a"): ("addon", "1")}
    assert objects.column_origin(None, "a", "b") == ("addon", "1")
    assert objects.packages_of_table(None, "a") == ("app", "addon")


def test_another_package_may_drop_a_table():
    objects = replay(("app@1", 'op.create_table("a")'), ("addon@1", 'op.drop_table("a")'))
    assert objects.tables == {}


def test_a_renamed_table_belongs_to_the_revision_that_gave_it_its_name():
    objects = replay(
        ("app@1", 'op.create_table("a")', 'op.add_column("a", sa.Column("b"))'),
        ("app@2", 'op.rename_table("a", "c")'),
        ("app@3", 'op.execute("ALTER TABLE c SET SCHEMA shop")'),
        ("app@4", 'op.add_column("c", sa.Column("d"), schema="shop")'),
    )
    assert objects.tables == {("shop", "c"): ("app", "3")}
    assert objects.column_origin("shop", "c", "b") == ("app", "3")
    assert objects.column_origin("shop", "c", "d") == ("app", "4")
    assert objects.packages_of_table("shop", "c") == ("app",)


def test_a_column_belongs_to_the_revision_that_added_or_renamed_it_else_to_that_of_its_table():
    objects = replay(
        ("app@1", 'op.create_table("a", sa.Column("id", sa.Integer()))'),
        ("addon@1", 'op.add_column("a", sa.Column("b"))'),
        ("app@2", 'op.alter_column("a", "b", new_column_name="c")'),
        ("app@3", 'op.add_column("a", sa.Column("d"))', 'op.drop_column("a", "d")'),
    )
    assert objects.column_origin(None, "a", "id") == ("app", "1")
    assert objects.column_origin(None, "a", "b") == ("app", "1")
    assert objects.column_origin(None, "a", "c") == ("app", "2")
    assert objects.column_origin(None, "a", "d") == ("app", "1")
    assert objects.column_origin(None, "unknown", "d") is None


def test_a_column_may_be_added_to_a_table_that_no_script_created():
    objects = replay(("app@1", 'op.add_column("legacy", sa.Column("b"))'))
    assert objects.column_origin(None, "legacy", "b") == ("app", "1")
    assert objects.table_origin(None, "legacy") is None


def test_a_shared_type_belongs_to_the_revision_that_created_it_first():
    use = 'op.add_column("{}", sa.Column("k", sa.Enum("A", name="kind")))'
    objects = replay(("app@1", use.format("a")), ("addon@1", use.format("b")))
    assert objects.types == {(None, "kind"): ("app", "1")}
    assert objects.type_origin(None, "kind") == ("app", "1")


def test_a_type_that_was_replaced_belongs_to_the_revision_that_replaced_it():
    objects = replay(
        ("app@1", "op.execute(\"CREATE TYPE kind AS ENUM ('a')\")"),
        (
            "app@2",
            'op.execute("ALTER TYPE kind RENAME TO kind_old")',
            "op.execute(\"CREATE TYPE kind AS ENUM ('a', 'b')\")",
            'op.execute("DROP TYPE kind_old")',
        ),
    )
    assert objects.types == {(None, "kind"): ("app", "2")}


def test_revisions_may_be_replayed_one_by_one():
    objects = CreatedObjects()
    objects.apply("app", "1", read_effects(script('op.create_table("a")'), "x.py"))
    assert objects.table_origin(None, "a") == ("app", "1")
    objects.apply("app", "2", read_effects(script('op.rename_table("a", "b")'), "x.py"))
    assert objects.table_origin(None, "a") is None
    assert objects.table_origin(None, "b") == ("app", "2")
