"""Foreign keys: schemas written in two ways, and the indexes that MariaDB makes for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Connection, Table, UniqueConstraint, inspect
from sqlalchemy.exc import NoSuchTableError

from websauna_migrate.autogenerate.compare.equality import OPTIONS, option
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key

__all__ = ["drop_equal_foreign_keys", "with_index_drops"]


def drop_equal_foreign_keys(
    changes: TableChanges,
    connection: Connection,
    normal: Callable[[str | None], str | None],
) -> None:
    """Take out foreign keys that differ only in how the default schema is written.

    SQLAlchemy reflects no schema for a referred table that the search path finds, so Alembic takes
    the one that the model writes for another. ``postgresql_ignore_search_path`` tells where it is.

    :param normal: returns a schema, ``None`` for the default one
    """
    removed = {
        str(op.constraint_name): op
        for op in changes.ops
        if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "foreignkey"
    }
    added = [op for op in changes.ops if isinstance(op, ops.CreateForeignKeyOp)]
    if not removed or not added:
        return
    try:
        found = reflected_foreign_keys(connection, changes)
    except NoSuchTableError:  # It is renamed by this very script.
        return
    for new in added:
        for one in found:
            options: Mapping[str, Any] = one.get("options", {})
            old = removed.get(str(one["name"]))
            if (
                old is not None
                and one["constrained_columns"] == list(new.local_cols)
                and one["referred_table"] == new.referent_table
                and one["referred_columns"] == list(new.remote_cols)
                and normal(one["referred_schema"]) == normal(new.kw.get("referent_schema"))
                and all(option(options.get(key)) == option(new.kw.get(key)) for key in OPTIONS)
            ):
                changes.ops[:] = [op for op in changes.ops if op is not new and op is not old]
                del removed[str(one["name"])]
                break


def reflected_foreign_keys(connection: Connection, table: TableChanges) -> Sequence[Any]:
    """Return a table's foreign keys, ``None`` for the default schema alone.

    :raises NoSuchTableError: if there is no such table
    """
    inspector = inspect(connection)
    found = inspector.get_foreign_keys(table.table_name, schema=table.schema)
    if connection.dialect.name != "postgresql":
        return found
    exact = inspector.get_foreign_keys(
        table.table_name, schema=table.schema, postgresql_ignore_search_path=True
    )
    schemas = {one["name"]: one["referred_schema"] for one in found}
    for one in exact:
        # SQLAlchemy then gives the table's own schema in place of the default one.
        if one["referred_schema"] == table.schema and schemas[one["name"]] is None:
            one["referred_schema"] = None
    return exact


def with_index_drops(found: Sequence[Any], models: Mapping[Key, Table]) -> list[Any]:
    """Return a script's operations, with the drops of indexes that nobody asked for.

    :param models: the tables as their models have them
    """
    arranged: list[Any] = []
    for op in found:
        before: list[Any] = []
        after: list[Any] = []
        inner: Any
        for inner in op.ops if isinstance(op, TableChanges) else ():
            table = models.get((op.schema, op.table_name))
            columns = foreign_key_columns(inner)
            if table is None or not columns or is_indexed(table, columns):
                continue
            added = isinstance(inner, ops.CreateForeignKeyOp)
            both = [foreign_key_columns(one) for one in op.ops].count(columns) > 1
            stays = set(columns) <= {column.name for column in table.columns}
            if both or not stays:
                continue
            # What comes before the foreign key is undone behind it.
            (before if added else after).append(
                index_drop(inner.constraint_name, op, upgrade=not added)
            )
        arranged += [*before, op, *after]
    return arranged


def foreign_key_columns(op: Any) -> list[str]:
    """Return the columns of a foreign key that an operation adds or drops; else nothing."""
    if isinstance(op, ops.CreateForeignKeyOp):
        return list(op.local_cols)
    if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "foreignkey":
        constraint: Any = op.to_constraint()
        return list(constraint.column_keys)
    return []


def index_drop(name: Any, table: TableChanges, *, upgrade: bool) -> ScriptOp:
    """Return the operation that drops an index on MariaDB in one direction."""

    def lines(context: AutogenContext) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        schema = f", schema={table.schema!r}" if table.schema else ""
        arguments = f"{str(name)!r}, table_name={str(table.table_name)!r}{schema}, if_exists=True"
        return [
            f"if getattr({prefix}get_context().dialect, 'is_mariadb', False):",
            f"{prefix}drop_index({arguments})",
            "",
        ]

    def nothing(context: AutogenContext) -> list[str]:
        return []

    diff = ("implied_index", table.schema, table.table_name, str(name))
    return ScriptOp(diff, *((lines, nothing) if upgrade else (nothing, lines)))


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
