"""What websauna_migrate takes from Alembic below its public API is still there.

A failure here means that an upstream release changed it: adapt ``alembic_adapter/internals.py``.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic.autogenerate import RevisionContext, render
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.ddl.impl import DefaultImpl
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer, MigrationContext
from alembic.script.base import Script, ScriptDirectory

from websauna_migrate.alembic_adapter import internals as alembic_internals
from websauna_migrate.alembic_adapter.autogenerate_internals import (
    BoundedComparison,
    comparator_modules,
    compared_by,
    in_batch,
    render_column,
    render_type,
    written_plainly,
)
from websauna_migrate.alembic_adapter.internals import (
    ProxiedEnvironment,
    RowWriter,
)


@pytest.fixture
def context() -> AutogenContext:
    """A context in which something is rendered for PostgreSQL."""
    from sqlalchemy.dialects import postgresql

    options = {
        "sqlalchemy_module_prefix": "sa.",
        "alembic_module_prefix": "op.",
        "user_module_prefix": None,
        "render_item": None,
        "render_as_batch": True,
    }
    migration = MigrationContext.configure(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    return AutogenContext(migration, opts=options, autogenerate=False)


def test_the_module_alembic_context_stands_for_an_environment_of_ours(tmp_path: Path) -> None:
    from alembic import context as proxy

    class Ours(ProxiedEnvironment):
        pass

    scripts = ScriptDirectory(str(tmp_path))
    with Ours(Config(), scripts, fn=lambda rev, context: [], marker=17) as environment:
        assert proxy.get_tag_argument() is environment.get_tag_argument()
        assert proxy.config is environment.config
    assert EnvironmentContext in EnvironmentContext._setups


def test_types_and_columns_are_rendered(context: AutogenContext) -> None:
    assert render_type(sa.String(7), context) == "sa.String(length=7)"
    column: sa.Column[Any] = sa.Column("n", sa.Integer, sa.Computed("a + 1"))
    assert render_column(column, context) == (
        "sa.Column('n', sa.Integer(), sa.Computed('a + 1', ), nullable=True)"
    )


def test_a_renderer_knows_whether_it_is_in_a_batch(context: AutogenContext) -> None:
    seen = []

    class Probe(ops.MigrateOperation):
        pass

    @render.renderers.dispatch_for(Probe)
    def probe(inner: AutogenContext, op: Any) -> list[str]:
        seen.append(in_batch(inner))
        return ["pass"]

    block = ops.ModifyTableOps("t", [Probe()])
    render.renderers.dispatch(block)(context, block)
    assert seen == [True]
    assert in_batch(context) is False


def test_a_context_takes_given_tables_and_inspector(tmp_path: Path) -> None:
    engine = sa.create_engine("sqlite://")
    one, two = (
        sa.Table(name, sa.MetaData(), sa.Column("id", sa.Integer)) for name in ("one", "two")
    )
    (tmp_path / "versions").mkdir()
    with engine.connect() as connection:
        migration = MigrationContext.configure(
            connection, opts={"target_metadata": [one.metadata, two.metadata]}
        )
        migration.opts.update(
            process_revision_directives=None,
            # Comparators of plugins that another test has imported ask for it.
            include_schemas=False,
            upgrade_token="upgrades",
            downgrade_token="downgrades",
        )
        arguments: dict[str, Any] = dict.fromkeys(
            ("message", "splice", "branch_label", "version_path", "rev_id", "depends_on")
        )
        comparison = BoundedComparison(
            Config(), ScriptDirectory(str(tmp_path)), {**arguments, "head": "head", "sql": False}
        )
        comparison.tables = (two,)
        comparison.inspector = sa.inspect(connection)
        comparison.run_autogenerate((), migration)
        (script,) = comparison.generated_revisions
        assert script.upgrade_ops is not None
        names = [op.table_name for op in script.upgrade_ops.ops]  # type: ignore[attr-defined]
        assert names == ["two"]
        assert comparison.autogen_context.inspector is comparison.inspector
    engine.dispose()


def test_alembic_still_makes_and_keeps_its_context_where_ours_does() -> None:
    source = inspect.getsource(RevisionContext)
    for part in (
        "def _run_environment(",
        "self._last_autogen_context",
        "compare._populate_migration_script(",
        "_needs_render",
        "def _to_script(",
        "render._render_python_into_templatevars(",
    ):
        assert part in source, part
    assert "memoized_property" in inspect.getsource(AutogenContext)


def test_an_implementation_compares_through_ours_for_a_while() -> None:
    asked = []

    def differs(column: sa.Column[Any], attribute: str) -> bool:
        asked.append(attribute)
        return attribute == "type"

    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        impl = MigrationContext.configure(connection).impl
        with compared_by(impl, differs):
            column: Any = sa.Column("a", sa.Integer)
            assert impl.compare_type(column, sa.Column("a", sa.String(3))) is True
            assert impl.compare_server_default(column, column, None, "'x'") is False
            with warnings.catch_warnings(record=True) as caught:
                warnings.warn("Computed default on t.c cannot be modified", stacklevel=1)
            assert caught == []
        assert asked == ["type", "default"]
        assert "compare_type" not in vars(impl) and "compare_server_default" not in vars(impl)
    engine.dispose()
    compare = alembic_compare(), alembic_compare(defaults=True)
    for module, call in zip(compare, ("compare_type(", "compare_server_default("), strict=True):
        # Before 1.18 by the migration context, which asks the implementation.
        sources = inspect.getsource(module), inspect.getsource(MigrationContext)
        assert any(f"impl.{call}" in source for source in sources), call


def test_all_functions_that_compare_are_known_by_their_modules(comparators_apart: None) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        migration = MigrationContext.configure(
            connection, opts={"target_metadata": sa.MetaData(), "include_object": None}
        )
        context = AutogenContext(migration, metadata=sa.MetaData())
        before = comparator_modules(context)
        assert any(module.startswith("alembic.autogenerate.compare") for module in before)
        comparators = getattr(context, "comparators", alembic.autogenerate.comparators)
        comparators.dispatch_for("table")(test_script_files_are_listed_and_read_by_name)
        assert comparator_modules(context) - before == {__name__}
    engine.dispose()


def alembic_compare(*, defaults: bool = False) -> Any:
    """Return the module of Alembic that compares types or defaults, of any release."""
    import alembic.autogenerate.compare as compare

    return getattr(compare, "server_defaults" if defaults else "types", compare)


def test_percent_signs_are_single_in_a_script() -> None:
    from sqlalchemy.dialects import postgresql

    dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]
    impl = DefaultImpl(dialect, None, False, None, None, {})
    expression = sa.column("a", sa.String).like("x%")
    context: Any = SimpleNamespace(migration_context=SimpleNamespace(impl=impl), opts={})
    with written_plainly(context):
        assert impl.render_ddl_sql_expr(expression) == "a LIKE 'x%'"
    assert impl.render_ddl_sql_expr(expression) == "a LIKE 'x%%'"


def test_script_files_are_listed_and_read_by_name(tmp_path: Path) -> None:
    assert callable(Script._from_path) and callable(Script._list_py_dir)
    directory = ScriptDirectory(str(tmp_path))
    assert isinstance(directory._version_locations, (list, tuple))
    assert "_load_revisions" in vars(ScriptDirectory)


def test_two_modules_alone_touch_private_names() -> None:
    """Every import of a private name of Alembic stands in ``internals`` or beside it."""
    here = Path(alembic_internals.__file__)
    package = here.parent.parent
    known = {here, here.with_name("autogenerate_internals.py")}
    offenders = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        if path not in known
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("from alembic", "import alembic"))
        and any(word.lstrip("(").startswith("_") for word in line.split("import")[-1].split())
    ]
    assert offenders == []


def test_a_context_runs_steps_as_ours_does() -> None:
    """Ours repeats the method but for ``purge``, which it leaves out."""
    lines = inspect.getsource(MigrationContext.run_migrations).split('"""')[-1]
    code = "\n".join(line for line in lines.splitlines() if line.strip()[:1] != "#")
    found = hashlib.sha256("".join(code.split()).encode()).hexdigest()[:16]
    # Before 1.20 a SQL script dropped the table, which is no matter here.
    assert found in {"e0863a5d42242272", "c44645cd6fb864d0"}
    for name in ("_insert_version", "_delete_version", "_update_version", "update_to_step"):
        assert inspect.isfunction(getattr(HeadMaintainer, name))
    assert inspect.signature(HeadMaintainer._update_version) == inspect.signature(
        RowWriter._update_version
    )
