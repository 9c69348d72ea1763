"""What autogenerate writes, for which package, and what it refuses to write."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.autogenerate.write.names import Unresolved, free_names, imports_for
from websauna_migrate.errors import MigrationError, RevisionFailed

BASE = """
    import datetime, decimal, enum, uuid
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.types import TypeDecorator, UserDefinedType
    class Base(DeclarativeBase):
        pass
"""

TABLE = """
    class {cls}(Base):
        __tablename__ = "{table}"
        id = sa.Column(sa.Integer, primary_key=True)
        x = sa.Column({column})
"""


def written(script: Any) -> str:
    return Path(script.path).read_text(encoding="utf-8")


def one_column(workshop: Workshop, url: str, column: str, before: str = "", **settings: Any) -> Any:
    """Return the service of a package with one table of one column."""
    table = TABLE.format(cls="Thing", table="things", column=column)
    workshop.package("shop", BASE + before + table)
    return workshop.service(url, **settings)


def remake(workshop: Workshop, package: str, models: str, url: str) -> Any:
    """Change a package's models, and return the service of a new application."""
    path = workshop.root / package / "models.py"
    path.write_text("\n".join(line[4:] for line in models.splitlines()))
    workshop.forget()
    return workshop.service(url)


def scripts_of(workshop: Workshop) -> list[Path]:
    return sorted(workshop.root.rglob("versions/*.py"))


# The older documentation's cases


def test_a_timezone_given_as_an_object_needs_no_edit(workshop: Workshop, sqlite_url: str) -> None:
    service = one_column(workshop, sqlite_url, "sa.DateTime(timezone=datetime.timezone.utc)")
    (script,) = service.revision("one", autogenerate=True)
    assert "sa.Column('x', sa.DateTime(timezone=True), nullable=True)" in written(script)
    service.upgrade()
    assert service.check().problems == ()


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
def test_an_enum_value_is_added(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    models = BASE + TABLE.format(cls="Order", table="orders", column="sa.Enum({}, name='status')")
    workshop.package("shop", models.format("'new', 'paid'"))
    service = workshop.service(url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    service = remake(workshop, "shop", models.format("'new', 'paid', 'refunded'"), url)
    (script,) = service.revision("two", autogenerate=True, prove="off")
    assert "ALTER TYPE status ADD VALUE 'refunded'" in written(script)
    assert "change_enum_values('status', ['new', 'paid'])\n" in written(script)
    assert "DO $do$" not in written(script)
    assert "type_=postgresql.ENUM('new', 'paid', 'refunded', name='status'" in written(script)
    service.upgrade()
    assert service.check().problems == ()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO orders (id, x) VALUES (1, 'refunded')")
        connection.exec_driver_sql("DELETE FROM orders")
    engine.dispose()
    service.downgrade("base")


def test_a_script_runs_on_every_database(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, mariadb_url: str
) -> None:
    """It is generated on a developer's SQLite."""
    first = BASE + TABLE.format(cls="A", table="a", column="sa.Enum('x', 'y', name='letters')")
    second = first.replace("'x', 'y'", "'x', 'w', 'y', 'z'").replace(
        "id = sa.Column(sa.Integer",
        "at = sa.Column(sa.DateTime, server_default=sa.func.now())\n"
        "        flag = sa.Column(sa.Boolean, server_default=sa.false(), nullable=False)\n"
        "        parent = sa.Column(sa.ForeignKey('a.id'), index=True)\n"
        "        id = sa.Column(sa.Integer",
    )
    workshop.package("shop", first)
    for models in (first, second):
        service = remake(workshop, "shop", models, sqlite_url)
        (script,) = service.revision("change", autogenerate=True)
        print(written(script))
        service.upgrade()
        assert service.check().problems == ()
    for url in (postgresql_url, mariadb_url):
        other = workshop.service(url)
        other.upgrade()
        assert other.check().problems == ()
        other.downgrade("base")
        other.upgrade()


# Imports


def test_free_names_are_those_that_nothing_defines() -> None:
    source = """
import sqlalchemy as sa
def upgrade():
    local = sa.Integer()
    with thing(local) as other:
        print(other, [item for item in missing], Decimal("1"))
"""
    assert free_names(source) == ["Decimal", "missing", "thing"]


@pytest.mark.parametrize(
    ("expression", "statement"),
    [
        ("datetime.timezone.utc", "import datetime"),
        ("datetime.datetime(2020, 1, 1)", "import datetime"),
        ("decimal.Decimal('1.5')", "import decimal"),
        ("Decimal('1.5')", "from decimal import Decimal"),
        ("UUID('0')", "from uuid import UUID"),
        ("timedelta(1)", "from datetime import timedelta"),
        ("Text()", "from sqlalchemy import Text"),
        ("JSONB(astext_type=sa.Text())", "from sqlalchemy.dialects.postgresql import JSONB"),
        ("sqlalchemy.dialects.postgresql.HSTORE()", "import sqlalchemy.dialects.postgresql"),
    ],
)
def test_known_names_are_imported(expression: str, statement: str) -> None:
    source = f"import sqlalchemy as sa\nx = {expression}\n"
    assert imports_for(source, free_names(source)) == [statement]


def test_an_unknown_name_says_where_it_is_used() -> None:
    source = "op.create_table('offers', sa.Column('price', Mystery(3)))"
    with pytest.raises(Unresolved) as caught:
        imports_for(source, ["Mystery"])
    assert (caught.value.table, caught.value.column, caught.value.line) == ("offers", "price", 1)


def test_scripts_import_nothing_from_the_models(workshop: Workshop, sqlite_url: str) -> None:
    service = one_column(
        workshop,
        sqlite_url,
        "sa.Enum(Status), server_default='NEW'",
        """
    class Status(enum.Enum):
        NEW = "n"
        OLD = "o"
    class Money(TypeDecorator):
        impl = sa.Numeric(10, 2)
        cache_ok = True
    class Inner(TypeDecorator):
        impl = Money
        cache_ok = True
    class Short(sa.String):
        def __init__(self):
            super().__init__(7)
    class More(Base):
        __tablename__ = "more"
        id = sa.Column(sa.Integer, primary_key=True)
        money = sa.Column(Money)
        inner = sa.Column(Inner())
        short = sa.Column(Short())
""",
    )
    (script,) = service.revision("one", autogenerate=True)
    source = written(script)
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    }
    assert imported == {"collections.abc", "sqlalchemy", "alembic", "sqlalchemy.dialects"}
    for column in (
        "sa.Column('money', sa.Numeric(precision=10, scale=2), nullable=True)",
        "sa.Column('inner', sa.Numeric(precision=10, scale=2), nullable=True)",
        "sa.Column('short', sa.String(length=7), nullable=True)",
        "sa.Column('x', postgresql.ENUM('NEW', 'OLD', name='status', create_type=False), "
        "server_default='NEW', nullable=True)",
    ):
        assert column in source


def test_a_setting_keeps_custom_types(workshop: Workshop, sqlite_url: str) -> None:
    service = one_column(
        workshop,
        sqlite_url,
        "Money",
        """
    class Money(TypeDecorator):
        impl = sa.Numeric
        cache_ok = True
""",
        render_types="keep",
    )
    (script,) = service.revision("one", autogenerate=True)
    assert "import shop.models\n" in written(script)
    assert "sa.Column('x', shop.models.Money(), nullable=True)" in written(script)
    service.upgrade()


def test_what_cannot_be_rendered_names_model_and_column(
    workshop: Workshop, sqlite_url: str
) -> None:
    service = one_column(
        workshop,
        sqlite_url,
        "Odd(object())",
        """
    class Odd(sa.types.UserDefinedType):
        cache_ok = True
        def __init__(self, thing):
            self.thing = thing
""",
    )
    with pytest.raises(RevisionFailed) as caught:
        service.revision("one", autogenerate=True)
    assert str(caught.value).startswith(
        'No revision of package "shop" was written: Table "things", column "x": AttributeError: '
    )
    assert not (workshop.root / "shop" / "alembic").exists()


def test_a_hook_that_forgets_its_import_leaves_no_file(workshop: Workshop, sqlite_url: str) -> None:
    service = one_column(workshop, sqlite_url, "sa.Integer")
    env(
        workshop,
        "shop",
        "render_item=lambda kind, item, context: 'mystery.Type()' if kind == 'type' else False",
    )
    with pytest.raises(RevisionFailed) as caught:
        service.revision("one", autogenerate=True)
    assert str(caught.value) == (
        'No revision of package "shop" was written: column "id" of table "things" '
        '(class "shop.models.Thing") needs the name "mystery", which nothing in the script '
        "defines. Let the render_item hook of the package's env.py add the import to "
        "autogen_context.imports, or add it to the package's script.py.mako."
    )
    assert scripts_of(workshop) == []


def test_models_that_disagree_on_an_enum_are_refused(workshop: Workshop, sqlite_url: str) -> None:
    service = one_column(
        workshop,
        sqlite_url,
        "sa.Enum('a', 'b', name='letters')",
        TABLE.format(cls="Other", table="others", column="sa.Enum('a', name='letters')"),
    )
    with pytest.raises(RevisionFailed) as caught:
        service.revision("one", autogenerate=True)
    assert '"letters" with the values [' in str(caught.value)


# Ownership


def test_each_package_gets_its_own_and_nothing_of_others(
    workshop: Workshop, database_url: str
) -> None:
    workshop.package("addon", BASE + TABLE.format(cls="A", table="a", column="sa.Integer"))
    workshop.package(
        "fooapp",
        "    import sqlalchemy as sa\n    from addon.models import Base\n"
        + TABLE.format(cls="B", table="b", column="sa.ForeignKey('a.id'), index=True"),
    )
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE nobodys (id INTEGER)")
    engine.dispose()
    service = workshop.service(database_url)
    first, second = service.revision("one", autogenerate=True)
    assert (first.package, second.package) == ("addon", "fooapp")
    assert "'b'" not in written(first) and "create_table('a'" not in written(second)
    assert f"requires: tuple[str, ...] = ('addon@{first.revision}',)" in written(second)
    service.upgrade()
    assert service.revision("two", autogenerate=True) == ()
    (unowned,) = service.check().problems
    assert (unowned.kind, unowned.fatal) == ("unowned", False)


def test_a_deleted_model_is_dropped_by_its_creator(workshop: Workshop, database_url: str) -> None:
    thing = TABLE.format(
        cls="Thing", table="things", column="sa.String(20), index=True, server_default='it'"
    )
    workshop.package("addon", BASE + TABLE.format(cls="A", table="a", column="sa.Integer") + thing)
    workshop.package("fooapp", BASE + TABLE.format(cls="B", table="b", column="sa.Integer"))
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    models = BASE + TABLE.format(cls="A", table="a", column="sa.Integer")
    service = remake(workshop, "addon", models, database_url)
    (script,) = service.revision("two", autogenerate=True, allow_drops=True)
    assert script.package == "addon"
    upgrade, downgrade = written(script).split("def downgrade")
    assert "op.drop_table('things')" in upgrade
    assert "op.create_table('things'" in downgrade and "ix_things_x" in downgrade
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("-1", packages="addon")
    engine = sa.create_engine(database_url)
    assert [one["name"] for one in sa.inspect(engine).get_indexes("things")] == ["ix_things_x"]
    engine.dispose()


def test_only_the_package_itself_must_be_up_to_date(workshop: Workshop, sqlite_url: str) -> None:
    for name in ("addon", "fooapp"):
        workshop.package(
            name, BASE + TABLE.format(cls="A", table=f"{name}_table", column="sa.Integer")
        )
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade(packages="fooapp")
    assert service.revision("two", packages="fooapp", autogenerate=True) == ()
    with pytest.raises(RevisionFailed, match="not up to date") as caught:
        service.revision("two", packages="addon", autogenerate=True)
    assert (caught.value.package, caught.value.kind) == ("addon", "pending")


def test_history_tables_are_invisible_in_every_schema(
    workshop: Workshop, postgresql_url: str
) -> None:
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA admin")
    engine.dispose()
    table = TABLE.format(cls="A", table="a", column="sa.Integer")
    workshop.package("shop", BASE + table + '        __table_args__ = {"schema": "admin"}\n')
    service = workshop.service(postgresql_url, version_table_schema="admin")
    (script,) = service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.revision("two", autogenerate=True) == ()
    assert "history" not in written(script)
    assert service.check().problems == ()


def test_a_shared_enum_is_created_once(workshop: Workshop, postgresql_url: str) -> None:
    column = "sa.Enum('a', 'b', name='letters')"
    workshop.package("addon", BASE + TABLE.format(cls="A", table="a", column=column))
    workshop.package(
        "fooapp",
        BASE + TABLE.format(cls="B", table="b", column=column),
        depends_on=["addon"],
    )
    service = workshop.service(postgresql_url)
    first, second = service.revision("one", autogenerate=True, prove="off")
    assert ".create(op.get_bind()" in written(first)
    assert ".create(op.get_bind()" not in written(second)
    assert f"addon@{first.revision}" in written(second)
    service.upgrade()
    assert service.check().problems == ()
    models = BASE + TABLE.format(cls="A", table="a", column="sa.Enum('b', name='letters')")
    remake(workshop, "addon", models, postgresql_url)
    models = BASE + TABLE.format(cls="B", table="b", column="sa.Enum('b', name='letters')")
    service = remake(workshop, "fooapp", models, postgresql_url)
    (script,) = service.revision("two", autogenerate=True, prove="off")
    assert script.package == "addon"
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("base")


def test_a_type_that_nothing_uses_is_dropped(workshop: Workshop, postgresql_url: str) -> None:
    models = BASE + TABLE.format(cls="A", table="a", column="sa.Enum('x', 'y', name='letters')")
    workshop.package("shop", models)
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TYPE nobodys AS ENUM ('x')")
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    models = BASE + TABLE.format(cls="A", table="a", column="sa.Integer")
    service = remake(
        workshop, "shop", models.replace("        x = ", "        y = "), postgresql_url
    )
    service.revision("two", autogenerate=True, prove="off")
    service.upgrade()
    enums = sa.inspect(engine).get_enums()  # type: ignore[attr-defined]
    assert [one["name"] for one in enums] == ["nobodys"]
    service.downgrade("base")
    engine.dispose()


# What users of Alembic have


def env(workshop: Workshop, package: str, options: str, before: str = "") -> Path:
    """Make a script directory whose ``env.py`` hands over options."""
    folder = workshop.root / package / "alembic"
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    template = Path(__file__).parent.parent / "alembic_template" / "script.py.mako"
    (folder / "script.py.mako").write_text(template.read_text())
    path = folder / "env.py"
    path.write_text(
        "from websauna_migrate.environment import run_migrations\n"
        f"{before}\nrun_migrations({options})\n"
    )
    return path


@pytest.fixture
def shop(workshop: Workshop, sqlite_url: str) -> Any:
    """The service of a package with two tables and an index."""
    tables = TABLE.format(cls="A", table="a", column="sa.Integer, index=True") + TABLE.format(
        cls="B", table="b", column="sa.String(10)"
    )
    workshop.package("shop", BASE + tables)
    return workshop.service(sqlite_url)


def test_include_object_and_include_name(workshop: Workshop, shop: Any) -> None:
    env(
        workshop,
        "shop",
        "include_object=lambda o, name, type_, reflected, other: name not in ('b', 'ix_a_x'), "
        "include_name=lambda name, type_, parents: name != 'c'",
    )
    (script,) = shop.revision("one", autogenerate=True)
    assert "create_table('a'" in written(script)
    assert "create_table('b'" not in written(script) and "ix_a_x" not in written(script)


def test_include_object_gets_the_name_of_a_check(workshop: Workshop, sqlite_url: str) -> None:
    models = BASE + TABLE.format(cls="A", table="a", column="sa.Integer")
    workshop.package("shop", models)
    env(workshop, "shop", "include_object=lambda o, name, *others: not name.startswith('own_')")
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    checks = (
        "sa.CheckConstraint('x > 0', name='plus'), sa.CheckConstraint('x < 9', name='own_less')"
    )
    models += f"        __table_args__ = ({checks})\n"
    (script,) = remake(workshop, "shop", models, sqlite_url).revision("two", autogenerate=True)
    assert "'plus'" in written(script) and "own_less" not in written(script)


def test_render_item_comes_before_ours(workshop: Workshop, shop: Any) -> None:
    env(
        workshop,
        "shop",
        "render_item=render",
        "def render(kind, item, context):\n"
        "    if kind == 'type' and type(item).__name__ == 'String':\n"
        "        context.imports.add('import uuid  # from a hook')\n"
        "        return 'sa.String(99)'\n"
        "    return False\n",
    )
    # What it makes is not what the models say.
    (script,) = shop.revision("one", autogenerate=True, prove="off")
    assert "sa.String(99)" in written(script) and "import uuid  # from a hook" in written(script)


def test_process_revision_directives_sees_and_changes_everything(
    workshop: Workshop, shop: Any
) -> None:
    env(
        workshop,
        "shop",
        "process_revision_directives=process",
        "def process(context, revision, directives):\n"
        "    (script,) = directives\n"
        "    script.message = 'by a hook'\n"
        "    script.upgrade_ops.ops = script.upgrade_ops.ops[:1]\n"
        "    script.downgrade_ops.ops = script.downgrade_ops.ops[-1:]\n",
    )
    # A part is missing.
    (script,) = shop.revision("one", autogenerate=True, prove="off")
    assert script.message == "by a hook"
    assert written(script).count("create_table") == written(script).count("drop_table") == 1


def test_a_hook_may_empty_a_revision(workshop: Workshop, shop: Any) -> None:
    env(
        workshop,
        "shop",
        "process_revision_directives=process",
        "def process(context, revision, directives):\n    directives[:] = []\n",
    )
    assert shop.revision("one", autogenerate=True) == ()
    assert scripts_of(workshop) == []


def test_options_of_env_py_win_where_they_are_the_users(workshop: Workshop, shop: Any) -> None:
    env(workshop, "shop", "compare_type=False, render_as_batch=False")
    shop.revision("one", autogenerate=True)
    shop.upgrade()
    models = BASE + TABLE.format(cls="A", table="a", column="sa.BigInteger, index=True")
    models += TABLE.format(cls="B", table="b", column="sa.String(10)")
    service = remake(workshop, "shop", models, shop.settings.url)
    assert service.revision("two", autogenerate=True) == ()


def test_a_hand_written_env_py_keeps_its_hooks(workshop: Workshop, shop: Any) -> None:
    path = env(workshop, "shop", "")
    path.write_text(
        "from alembic import context\n"
        "from sqlalchemy import engine_from_config, pool\n"
        "from shop.models import Base\n"
        "config = context.config\n"
        "def only_a(o, name, type_, reflected, other):\n"
        "    return type_ != 'table' or name == 'a'\n"
        "engine = engine_from_config(config.get_section(config.config_ini_section), "
        "poolclass=pool.NullPool)\n"
        "with engine.connect() as connection:\n"
        "    context.configure(connection=connection, target_metadata=Base.metadata, "
        "include_object=only_a)\n"
        "    with context.begin_transaction():\n"
        "        context.run_migrations()\n"
    )
    (script,) = shop.revision("one", autogenerate=True)
    assert "create_table('a'" in written(script) and "create_table('b'" not in written(script)
    shop.upgrade()
    assert shop.revision("two", autogenerate=True) == ()


def test_post_write_hooks_of_the_ini(workshop: Workshop, shop: Any) -> None:
    shop.use_ini(
        None,
        {
            "post_write_hooks": {
                "hooks": "ruff",
                "ruff.type": "exec",
                "ruff.executable": str(Path(sys.executable).with_name("ruff")),
                "ruff.options": "format --line-length 60 REVISION_SCRIPT_FILENAME",
            }
        },
    )
    (script,) = shop.revision("one", autogenerate=True)
    assert 'op.create_table(\n        "a",\n' in written(script)
    shop.upgrade()


def test_file_templates_and_the_arguments_of_revision(workshop: Workshop, shop: Any) -> None:
    shop.use_ini(None, {"alembic": {"file_template": "%(rev)s_on_%(slug)s"}})
    (first,) = shop.revision("My Message", autogenerate=True, rev_id="abc123", branch_label="main")
    assert Path(first.path).name == "abc123_on_my_message.py"
    assert "branch_labels: str | Sequence[str] | None = ('main',)" in written(first)
    shop.upgrade()
    (second,) = shop.revision("empty", rev_id="def456", depends_on="abc123", head="abc123")
    (third,) = shop.revision("beside", rev_id="aaa789", head="abc123", splice=True)
    assert "depends_on: str | Sequence[str] | None = 'abc123'" in written(second)
    assert len(shop.heads()) == 2
    assert third.revision == "aaa789"
    with pytest.raises(RevisionFailed) as caught:
        shop.revision("which")
    assert str(caught.value).startswith(
        'No revision of package "shop" was written: Multiple heads are present; please specify'
    )
    assert "-x packages=shop merge heads. Or" in str(caught.value)
    assert str(caught.value).endswith("-x packages=shop rebase")
    with pytest.raises(RevisionFailed) as caught:
        shop.revision("again", rev_id="abc123", head="aaa789")
    assert str(caught.value) == (
        'No revision of package "shop" was written: revision "abc123" is there already '
        f'("{first.path}").'
    )


def test_a_version_path_is_followed(workshop: Workshop, shop: Any, tmp_path: Path) -> None:
    locations = [str(workshop.root / "shop" / "alembic" / name) for name in ("versions", "more")]
    url = shop.settings.url
    service = workshop.service(url, **{"version_locations.shop": "\n".join(locations)})
    service.revision("one", autogenerate=True, version_path=locations[0])
    service.upgrade()
    (script,) = service.revision("two", version_path=locations[1])
    assert Path(script.path).parent == Path(locations[1])


def test_alembic_plugins_take_part(workshop: Workshop, shop: Any) -> None:
    plugins = pytest.importorskip("alembic.runtime.plugins")
    util = pytest.importorskip("alembic.util")
    from alembic.operations import ops

    def compare(context: Any, upgrade: Any, schemas: Any) -> Any:
        upgrade.ops.append(ops.CreateTableOp("plugged", [sa.Column("id", sa.Integer)]))
        return util.PriorityDispatchResult.CONTINUE

    plugin = plugins.Plugin("websauna_migrate.test")
    plugin.add_autogenerate_comparator(compare, "schema")
    env(
        workshop,
        "shop",
        "autogenerate_plugins=['alembic.autogenerate.*', 'websauna_migrate.test']",
    )
    try:
        # No model has the table.
        (script,) = shop.revision("one", autogenerate=True, prove="off")
    finally:
        plugin.remove()
    assert "op.create_table('plugged'" in written(script)


COMPARATOR = """
from alembic.autogenerate import comparators
from alembic.operations import ops


class RefreshView(ops.MigrateOperation):
    def __init__(self, name):
        self.view_name = name

    def reverse(self):
        return self


@comparators.dispatch_for("schema")
def compare(context, upgrade, schemas):
    {does}
"""


@pytest.mark.usefixtures("comparators_apart")
@pytest.mark.parametrize(
    ("library", "does", "problem"),
    [
        ("others", 'upgrade.ops.append(RefreshView("hot"))', "RefreshView hot"),
        ("more", "[].pop()", r"line 16 of .*more.py failed: IndexError: pop from"),
        ("alembic_pg_enum_generator", "[].pop()", None),
    ],
)
def test_what_another_library_compares(
    workshop: Workshop, shop: Any, library: str, does: str, problem: str | None
) -> None:
    """It is told in words, and so is its own error; the values of enums are compared once."""
    shop.revision("one", autogenerate=True, prove="off")
    shop.upgrade()
    (workshop.root / f"{library}.py").write_text(COMPARATOR.format(does=does))
    env(workshop, "shop", "", f"import {library}")
    try:
        found = str(shop.check().problems)
    except MigrationError as exc:
        found = str(exc)
        with pytest.raises(MigrationError, match=str(problem)):
            shop.revision("two", autogenerate=True)
    assert re.search(problem, found) if problem else found == "()", found


VIEWS = """
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_view import PGView
from alembic_utils.replaceable_entity import register_entities
register_entities([
    PGView("public", "{package}_view", "SELECT {columns} FROM {package}_table"),
    PGFunction("public", "{package}_seven()", "RETURNS integer LANGUAGE sql AS $$ SELECT 7 $$"),
][{first}:])
"""


@pytest.mark.usefixtures("comparators_apart")
def test_views_and_functions_of_alembic_utils(workshop: Workshop, postgresql_url: str) -> None:
    pytest.importorskip("alembic_utils")

    def register(package: str, columns: str = "id", first: int = 0) -> None:
        views = VIEWS.format(package=package, columns=columns, first=first)
        env(workshop, package, "", views)

    for package in ("addon", "fooapp"):
        table = TABLE.format(cls="A", table=f"{package}_table", column="sa.Integer")
        workshop.package(package, BASE + table)
    service = workshop.service(postgresql_url)
    service.revision("tables", autogenerate=True, prove="off")
    service.upgrade()
    for package in ("addon", "fooapp"):
        register(package)
    scripts = service.revision("views", autogenerate=True)
    for script in scripts:
        other = {"addon": "fooapp", "fooapp": "addon"}[script.package]
        assert f"{script.package}_view" in written(script)
        assert f"{other}_view" not in written(script)
    assert len(scripts) == 2
    service.upgrade()
    assert service.check().problems == ()
    register("fooapp", "id, x")
    (script,) = service.revision("another view", autogenerate=True)
    assert script.package == "fooapp" and "replace_entity" in written(script)
    service.upgrade()
    register("fooapp", first=1)
    (script,) = service.revision("no view", autogenerate=True)
    assert script.package == "fooapp" and "drop_entity" in written(script)
    service.upgrade()
    assert service.check().problems == ()
    service.downgrade("base")


# SQLite's batch


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression")
def test_a_batch_keeps_rows_and_everything_about_the_table(
    workshop: Workshop, sqlite_url: str
) -> None:
    before = """
    class Parent(Base):
        __tablename__ = "parents"
        id = sa.Column(sa.Integer, primary_key=True)
"""
    column = (
        "sa.ForeignKey('parents.id', ondelete='CASCADE'), index=True)\n"
        "        s = sa.Column(sa.String(10), sa.CheckConstraint(\"s <> 'no'\"), unique=True)\n"
        "        n = sa.Column(sa.Integer, server_default='3', nullable=False)\n"
        "        __table_args__ = (sa.CheckConstraint('n > 0', name='plus'), "
        "sa.CheckConstraint('n < 99'), sa.Index('ix_part', 'n', sqlite_where=sa.text('n > 5')), "
        "sa.Index('ix_lower', sa.text('lower(s)')))\n        last = sa.Column(sa.Integer"
    )
    service = one_column(workshop, sqlite_url, column, before)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO parents (id) VALUES (1)")
        connection.exec_driver_sql("INSERT INTO things (id, x, s, n) VALUES (1, 1, 'yes', 7)")
    facts = table_facts(engine)
    changed = column.replace("String(10)", "String(20)")
    table = TABLE.format(cls="Thing", table="things", column=changed)
    service = remake(workshop, "shop", BASE + before + table, sqlite_url)
    (script,) = service.revision("two", autogenerate=True)
    print(written(script))
    service.upgrade()
    assert service.check().problems == ()
    assert table_facts(engine) == facts
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, x, s, n FROM things").all()
    assert [tuple(row) for row in rows] == [(1, 1, "yes", 7)]
    service.downgrade("-1")
    assert table_facts(engine) == facts
    engine.dispose()


def table_facts(engine: sa.Engine) -> Any:
    """Return the constraints and indexes of the table, as SQLite says them."""
    inspector = sa.inspect(engine)
    with engine.connect() as connection:
        indexes = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
        ).all()
    return (
        sorted(one["sqltext"] for one in inspector.get_check_constraints("things")),
        [(one["options"], one["referred_table"]) for one in inspector.get_foreign_keys("things")],
        [one["column_names"] for one in inspector.get_unique_constraints("things")],
        [(name, " ".join((sql or "").replace('"', "").split())) for name, sql in indexes],
    )


# Reflection


def test_one_reflection_serves_all_packages(workshop: Workshop, postgresql_url: str) -> None:
    for number in range(4):
        table = TABLE.format(cls="A", table=f"table{number}", column="sa.Integer, index=True")
        workshop.package(f"package{number}", BASE + table)
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    statements: list[str] = []
    engine = service.make_engine()
    sa.event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    service.make_engine = lambda *_: engine
    assert service.check().problems == ()
    assert sum("pg_catalog.pg_index" in statement for statement in statements) <= 3
    assert sum("pg_catalog.pg_attribute" in statement for statement in statements) <= 8


@pytest.mark.usefixtures("comparators_apart")
def test_alembic_postgresql_enum_compares_nothing_besides(
    workshop: Workshop, postgresql_url: str
) -> None:
    pytest.importorskip("alembic_postgresql_enum")
    models = BASE + TABLE.format(cls="Order", table="orders", column="sa.Enum({}, name='status')")
    other = BASE + TABLE.format(cls="Far", table="far", column="sa.Enum('x', 'y', name='far_kind')")
    workshop.package("shop", models.format("'new', 'paid'"))
    workshop.package("other", other)
    for package in ("shop", "other"):
        env(workshop, package, "", "import alembic_postgresql_enum")
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True, prove="off")
    service.upgrade()
    assert service.check().problems == ()
    service = remake(workshop, "shop", models.format("'new', 'paid', 'back'"), postgresql_url)
    (script,) = service.revision("two", autogenerate=True)
    assert written(script).count("ADD VALUE 'back'") == 1
    assert "sync_enum_values" not in written(script) and "far" not in written(script)
    service.upgrade()
    assert service.check().problems == ()
    # A script that the library wrote goes on to run.
    workshop.script(
        "shop",
        "f00d",
        script.revision,
        "from alembic_postgresql_enum import TableReference\n"
        "op.sync_enum_values(enum_schema='public', enum_name='status', "
        "new_values=['new', 'paid', 'back', 'lost'], "
        "affected_columns=[TableReference(table_schema='public', table_name='orders', "
        "column_name='x')], enum_values_to_rename=[])",
    )
    (done,) = service.upgrade().steps
    assert done.revision == "f00d"


@pytest.mark.parametrize("owner", ["class", "info"])
def test_a_package_has_tables_on_the_base_of_another(
    workshop: Workshop, tmp_path: Path, sqlite_url: str, owner: str
) -> None:
    base = BASE + TABLE.format(cls="Page", table="pages", column="sa.Integer")
    own = TABLE.format(cls="Note", table="notes", column='sa.ForeignKey("pages.id")')
    more = "        n = sa.Column(sa.Integer)\n"
    addon = workshop.package("addon", None)
    if owner == "class":
        init = addon / "__init__.py"
        init.write_text(
            init.read_text().replace("    config", "    from . import models\n    config")
        )
        path, before = addon / "models.py", "import sqlalchemy as sa\nfrom app.models import Base\n"
    else:
        own = own.replace('"notes"\n', '"notes"\n        __table_args__ = {"info": INFO}\n')
        path = workshop.root / "app" / "models.py"
        before = 'INFO = {"package": "addon"}\n' + dedent(base)
    workshop.package("app", base)
    path.write_text(before + dedent(own))
    ini = workshop.application("app", tmp_path / "app.ini", sqlite_url, "app", "addon")

    def ws(*words: str) -> Any:
        return workshop.ws(ini, "-x", "packages=all", *words)

    assert 'Package "addon" has 1 table in its models but no script' in ws("check").out
    assert ws("revision", "--autogenerate", "-m", "one").status == 0
    assert ws("upgrade").status == 0
    for words in (["check"], ["check", "--fresh"]):
        assert ws(*words) == (0, "No new upgrade operations detected.\n", "")
    path.write_text(before + dedent(own + more))
    assert ws("check").out == 'Package "addon": add column notes.n\n'
    assert ws("revision", "--autogenerate", "-m", "two").status == 0
    assert ws("upgrade").status == 0
    assert ws("check").status == 0
    assert len(list((addon / "alembic" / "versions").glob("*.py"))) == 2
    assert len(list((workshop.root / "app" / "alembic" / "versions").glob("*.py"))) == 1


@pytest.mark.parametrize("begins", ["by hand", "by autogenerate"])
def test_scripts_are_in_a_folder_of_their_own(
    workshop: Workshop, tmp_path: Path, sqlite_url: str, begins: str
) -> None:
    models = BASE + TABLE.format(cls="Thing", table="things", column="sa.Integer")
    package = workshop.package("shop", models)
    folder = tmp_path / "elsewhere" / "scripts"
    settings = {"version_locations.shop": "%(here)s/elsewhere/scripts"}
    ini = workshop.application("shop", tmp_path / "app.ini", sqlite_url, **settings)
    if begins == "by hand":
        columns = 'sa.Column("id", sa.Integer, primary_key=True), sa.Column("x", sa.Integer)'
        made = workshop.script(
            "shop", "a1", None, f'op.create_table("things", {columns})', 'op.drop_table("things")'
        )
        folder.parent.mkdir()
        made.parent.rename(folder)
        # There is no script directory beside it.
        made.parent.parent.rmdir()
    else:
        assert workshop.ws(ini, "revision", "--autogenerate", "-m", "one").status == 0
    assert len(list(folder.glob("*.py"))) == 1
    for words in ("upgrade", "check", "check --fresh", "downgrade -1", "upgrade"):
        typed = workshop.ws(ini, *words.split())
        assert typed.status == 0, (words, typed)
    assert "things" in sa.inspect(sa.create_engine(sqlite_url)).get_table_names()
    path = package / "models.py"
    path.write_text(path.read_text() + "    y = sa.Column(sa.Integer)\n")
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "two").status == 0
    assert len(list(folder.glob("*.py"))) == 2
    assert workshop.ws(ini, "upgrade").status == 0
    assert workshop.ws(ini, "check").status == 0
