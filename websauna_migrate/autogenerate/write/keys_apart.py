"""Foreign keys that go before all else that a package's scripts do, or come behind it.

Two packages whose new tables refer to each other cannot each come behind the other. So the first
one makes its tables without these keys, and gets a second revision, behind the other package's,
that adds them. The same way keys go and come where the type of what they point at changes.

Each of several packages may drop what the next one refers to, and refer to what is new in another:
no order of their scripts will do. So their foreign keys to each other go first, and come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from alembic import util
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Table

from websauna_migrate.alembic_adapter.written_expressions import dialect_of
from websauna_migrate.autogenerate.compare.unnamed_checks import check_source
from websauna_migrate.autogenerate.operations.naming import name_constraints
from websauna_migrate.autogenerate.operations.ordering import (
    WholeTable,
    computed_before,
    foreign_keys_of,
    target_of,
    without,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, computed_columns
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.table_order import referenced_key

#: An operation that adds, or drops, a foreign key.
KeyKind: TypeAlias = type[ops.CreateForeignKeyOp] | type[ops.DropConstraintOp]

#: A table that comes or goes, or changes, with the operations on its foreign keys.
Cut: TypeAlias = tuple[WholeTable | TableChanges, Sequence[ops.MigrateOperation]]

WHOLE: dict[KeyKind, type[WholeTable]] = {
    ops.CreateForeignKeyOp: ops.CreateTableOp,
    ops.DropConstraintOp: ops.DropTableOp,
}


def take_out(
    directives: Sequence[ops.MigrationScript], kind: KeyKind, is_far: Callable[[Key], bool]
) -> list[TableChanges]:
    """Take foreign keys that come, or that go, out of scripts, and return them by table.

    :param kind: what goes out of the upgrades; what undoes it goes out of the downgrades
    :param is_far: tells by schema and name of which tables they point at
    """
    (back,) = WHOLE.keys() - {kind}
    found: list[TableChanges] = []
    for script in directives:
        for upgrade, downgrade in zip(
            script.upgrade_ops_list, script.downgrade_ops_list, strict=True
        ):
            found += [changes_of(*one) for one in cut(upgrade, kind, is_far)]
            for _ in cut(downgrade, back, is_far):
                pass
    return found


def cut(container: ops.OpContainer, kind: KeyKind, is_far: Callable[[Key], bool]) -> Iterator[Cut]:
    """Take the operations on foreign keys out of an upgrade or downgrade, table by table."""
    for place, op in enumerate(container.ops):
        if isinstance(op, TableChanges):
            keys = [
                one for one in op.ops if isinstance(one, kind) and any(map(is_far, target_of(one)))
            ]
            op.ops[:] = [one for one in op.ops if one not in keys]
            if keys:
                yield op, keys
        elif isinstance(op, WHOLE[kind]):
            far = [one for one in foreign_keys_of(op) if is_far(referenced_key(one))]
            if far:
                container.ops[place] = without(op, far)
                yield op, [kind.from_constraint(one) for one in far]


def changes_of(op: WholeTable | TableChanges, keys: Sequence[ops.MigrateOperation]) -> TableChanges:
    """Return foreign keys as changes of their table, with names by which they can be dropped."""
    changes = TableChanges(op.table_name, keys, schema=op.schema)
    if isinstance(op, TableChanges):
        changes.databases = op.databases
    # SQLite makes the table anew, and reflects no CHECK without a name.
    if not isinstance(op, TableChanges):
        table = op.to_table()
        changes.computed = computed_columns(table)
        checks: Sequence[str] = unnamed_checks(table)
    elif isinstance(keys[0], ops.CreateForeignKeyOp):
        changes.computed = op.computed
        checks = op.table_args[0]
    else:
        changes.computed = [*computed_before(op)]
        changes.naming_convention = op.naming_convention
        checks = op.table_args[1]
    changes.table_args = (checks, checks)
    name_constraints(changes, set(), [])
    return changes


def unnamed_checks(table: Table) -> list[str]:
    """Return the sources of a table's CHECK constraints that have no name."""
    options = {"literal_binds": True, "include_table": False}
    return [
        check_source(str(one.sqltext.compile(dialect=dialect_of("sqlite"), compile_kwargs=options)))
        for one in table.constraints
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
