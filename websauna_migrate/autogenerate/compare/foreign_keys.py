"""The indexes that MariaDB makes for foreign keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table, UniqueConstraint
from sqlalchemy.sql.elements import conv

from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.ordering import dropped_key, name_of
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key


def with_index_drops(
    found: Sequence[ops.MigrateOperation], models: Mapping[Key, Table]
) -> list[ops.MigrateOperation]:
    """Return a script's operations, with the drops of indexes that MariaDB makes.

    :param models: the tables as their models have them
    """
    arranged: list[ops.MigrateOperation] = []
    changes = [op for op in found if isinstance(op, TableChanges)]
    inner_ops = [((op.schema, op.table_name), inner) for op in changes for inner in op.ops]
    changed = [(key, foreign_key_columns(inner)) for key, inner in inner_ops]
    names = [(key, name_of(inner)) for key, inner in inner_ops]
    for op in found:
        before: list[ops.MigrateOperation] = []
        after: list[ops.MigrateOperation] = []
        if not isinstance(op, TableChanges):
            arranged.append(op)
            continue
        key = (op.schema, op.table_name)
        for inner in op.ops:
            table = models.get(key)
            columns = foreign_key_columns(inner)
            if table is None or not columns or is_indexed(table, columns):
                continue
            added = isinstance(inner, ops.CreateForeignKeyOp)
            both = changed.count((key, columns)) > 1
            stays = set(columns) <= {column.name for column in table.columns}
            keys = [one.column_keys for one in table.foreign_key_constraints]
            # What comes under its name, or comes back, makes room for itself.
            name = name_of(inner)
            taken = name is not None and names.count((key, name)) > 1
            # Another key on the same columns uses the index as well.
            if both or taken or not stays or keys.count(columns) > added:
                continue
            # What comes before the foreign key is undone behind it.
            (before if added else after).append(index_drop(name, op, upgrade=not added))
        arranged += [*before, op, *after]
    return arranged


def foreign_key_columns(op: ops.MigrateOperation) -> list[str]:
    """Return the columns of a foreign key that an operation adds or drops; else nothing."""
    if isinstance(op, ops.CreateForeignKeyOp):
        return list(op.local_cols)
    key = dropped_key(op)
    return [] if key is None else [*key.column_keys]


def index_drop(name: str | None, table: TableChanges, *, upgrade: bool) -> ScriptOp:
    """Return the operation that drops an index on MariaDB in one direction."""

    def lines(context: AutogenContext) -> list[str]:
        if "mysql" not in written_for(context):
            return []
        prefix = context.opts["alembic_module_prefix"]
        schema = f", schema={table.schema!r}" if table.schema else ""
        # The database shortens what the naming convention makes too long.
        text = f"{prefix}f({str(name)!r})" if isinstance(name, conv) else repr(str(name))
        arguments = f"{text}, table_name={str(table.table_name)!r}{schema}, if_exists=True"
        return [
            f"if getattr({prefix}get_context().dialect, 'is_mariadb', False):",
            f"{prefix}drop_index({arguments})",
            "",
        ]

    diff = ("implied_index", table.schema, table.table_name, str(name))
    drop = ScriptOp(diff, lines, lambda context: [])
    return drop if upgrade else drop.reverse()


def is_indexed(table: Table, columns: Sequence[str]) -> bool:
    """Tell whether a model has an index that begins with some columns."""
    indexes = [
        list(table.primary_key.columns),
        *(list(index.columns) for index in table.indexes),
        *(
            list(constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ),
    ]
    wanted = list(columns)
    return any([column.name for column in index[: len(wanted)]] == wanted for index in indexes)
