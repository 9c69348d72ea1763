"""Foreign keys into tables of another package that is written later: a revision of their own.

Two packages whose new tables refer to each other cannot each come behind the other. So the first
one makes its tables without these keys, and gets a second revision, behind the other package's,
that adds them. The same way keys go and come where the type of what they point at changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from alembic import util
from alembic.operations import ops
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Table
from sqlalchemy.dialects import registry

from websauna_migrate.autogenerate.compare.columns import kept_columns
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.naming import name_constraints
from websauna_migrate.autogenerate.operations.ordering import (
    foreign_keys_of,
    key_of,
    referred_key,
    target_of,
    without,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects

SQLITE = registry.load("sqlite")()


def retyped_keys(
    tables: Iterable[Table], found: FoundDifferences, owned: PackageObjects
) -> frozenset[Key]:
    """Return the tables of which a column changes its type that a foreign key points at.

    :param tables: those whose foreign keys count
    """
    return frozenset(
        owned.key_of(element.column.table)
        for table in tables
        for constraint in table.foreign_key_constraints
        for element in constraint.elements
        if "type" in found.of_column(owned.key_of(element.column.table), element.column.name)
    )


def take_out(
    directives: Sequence[ops.MigrationScript],
    is_later: Callable[[Key], bool],
    models: Sequence[Table],
) -> list[TableChanges]:
    """Take foreign keys out of scripts, and return them as changes of their tables.

    :param is_later: tells by schema and name whether a table is made by a later script
    :param models: the package's tables
    """
    found: list[TableChanges] = []
    for script in directives:
        for upgrade, downgrade in zip(
            script.upgrade_ops_list, script.downgrade_ops_list, strict=True
        ):
            for place, op in enumerate(upgrade.ops):
                keys: list[ops.CreateForeignKeyOp] = []
                if isinstance(op, ops.CreateTableOp):
                    cut = [one for one in foreign_keys_of(op) if points_at(one, is_later)]
                    keys = [ops.CreateForeignKeyOp.from_constraint(one) for one in cut]
                    upgrade.ops[place] = without(op, cut) if cut else op
                elif isinstance(op, TableChanges):
                    keys = [
                        inner
                        for inner in op.ops
                        if isinstance(inner, ops.CreateForeignKeyOp)
                        and any(map(is_later, target_of(inner)))
                    ]
                    op.ops[:] = [inner for inner in op.ops if inner not in keys]
                    drop_from(downgrade, op, {str(one.constraint_name) for one in keys})
                else:
                    continue
                if keys:
                    found.append(changes_of(op, keys, models))
    return found


def points_at(constraint: ForeignKeyConstraint, is_later: Callable[[Key], bool]) -> bool:
    """Tell whether a foreign key refers to a table that is made later."""
    key = referred_key(constraint)
    return key is not None and is_later(key)


def drop_from(downgrade: ops.DowngradeOps, changes: TableChanges, names: set[str | None]) -> None:
    """Leave the drops of foreign keys out of a downgrade."""
    for op in downgrade.ops:
        if isinstance(op, TableChanges) and key_of(op) == key_of(changes):
            op.ops[:] = [
                inner
                for inner in op.ops
                if not (isinstance(inner, ops.DropConstraintOp) and inner.constraint_name in names)
            ]


def changes_of(
    op: ops.CreateTableOp | TableChanges,
    keys: list[ops.CreateForeignKeyOp],
    models: Sequence[Table],
) -> TableChanges:
    """Return foreign keys as changes of their table, with names by which they can be dropped."""
    changes = TableChanges(op.table_name, keys, schema=op.schema)
    model = next((one for one in models if (one.schema, one.name) == key_of(op)), None)
    if model is not None:
        changes.computed = kept_columns(model)
    # SQLite makes the table anew, and reflects no CHECK without a name.
    if isinstance(op, TableChanges):
        changes.table_args = (op.table_args[0], op.table_args[0])
    else:
        sources = unnamed_checks(op)
        changes.table_args = (sources, sources)
    name_constraints(changes, set(), [])
    return changes


def unnamed_checks(op: ops.CreateTableOp | ops.DropTableOp) -> list[str]:
    """Return the sources of a table's CHECK constraints that have no name."""
    options = {"literal_binds": True, "include_table": False}
    return [
        f"sa.CheckConstraint({str(one.sqltext.compile(dialect=SQLITE, compile_kwargs=options))!r})"
        for one in op.to_table().constraints
        if isinstance(one, CheckConstraint) and one.name is None
    ]


def script_of_keys(
    first: ops.MigrationScript,
    behind: str | None,
    changes: Sequence[TableChanges],
    words: str = "foreign keys",
) -> ops.MigrationScript:
    """Return the script that adds foreign keys, or drops them.

    :param first: the script that they were taken out of
    :param behind: the revision before: where they are added, that of the script itself
    :param words: what the message says of it
    """
    former, former_down = first.upgrade_ops_list[0], first.downgrade_ops_list[0]
    upgrade = ops.UpgradeOps(list(changes), upgrade_token=former.upgrade_token)
    downgrade = ops.DowngradeOps([], downgrade_token=former_down.downgrade_token)
    upgrade.reverse_into(downgrade)
    script = ops.MigrationScript(
        util.rev_id(),
        upgrade,
        downgrade,
        message=f"{first.message or 'New tables'}: {words}",
        head=behind,
        version_path=first.version_path,
    )
    script._needs_render = True
    return script
