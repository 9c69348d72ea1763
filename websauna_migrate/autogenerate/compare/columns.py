"""Columns: Alembic's proposals judged by the facts, computed columns made anew, and new ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, Constraint, DefaultClause, Table, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.schema import Computed, Identity, SchemaItem
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import TypeEngine

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, columns_in
from websauna_migrate.autogenerate.operations.column_types import (
    CharacterEnum,
    CheckedBoolean,
    CheckedEnum,
    collated,
)
from websauna_migrate.autogenerate.operations.model_columns import changed
from websauna_migrate.autogenerate.operations.rendering import EmptyTable
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.postgresql import OWN
from websauna_migrate.models.model_sql import column_checks, final_name, sql_text
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created, is_type_bound

#: Attributes of a column's type.
TYPE = frozenset({"type", "collation"})


def judge_columns(
    changes: TableChanges, table: Table, found: FoundDifferences, key: Key, database: str
) -> None:
    """Take out of a table's changes what the facts say is equal.

    What numbers a column by itself is changed in another way, see ``compare/numbering``.
    """
    there = columns_in(found.in_database(key))
    types = {str(column.name): column.type for column in table.columns}
    tables = (one for one in found.in_database(key) if one.kind == "table")
    of_table = {one.get("collation") for one in tables}
    for op in changes.ops:
        if not isinstance(op, ops.AlterColumnOp):
            continue
        differs = found.of_column(key, op.column_name)
        if op.modify_type is None and op.column_name in types and not TYPE & differs.keys():
            # MariaDB is told the type with every change, and the database's word for it may be
            # another type there.
            op.existing_type = types[op.column_name]
        if database == "sqlite" and op.column_name in types:
            # It has none; MariaDB is told them again with every change.
            op.existing_comment = table.columns[op.column_name].comment
        known = there.get(op.column_name)
        if (
            database == "postgresql"
            and isinstance(op.existing_server_default, DefaultClause)
            and known is not None
            and known.get("default") is None
        ):
            # SQLAlchemy reflects the default of a domain as that of the column.
            op.existing_server_default = None
        # SQLite's INTEGER PRIMARY KEY is never NULL, written or not; one of another type may be.
        retyped = database == "sqlite" and op.modify_type is not None
        if op.modify_nullable is not None and "not null" not in differs and not retyped:
            op.modify_nullable = None
        if op.modify_comment is not False and "comment" not in differs:
            op.modify_comment = False
        identities = (op.modify_server_default, op.existing_server_default)
        if any(isinstance(one, Identity) for one in identities):
            op.modify_server_default = False
        give_collation(op, differs, database, of_table)
        if "extra" in differs:
            sides = (differs["extra"].left, differs["extra"].right)
            op.numbered = tuple(one == "auto_increment" for one in sides)  # type: ignore[attr-defined]
        if op.kw.get("autoincrement") is False:
            # It is what every database does without the word, and PostgreSQL warns of it.
            del op.kw["autoincrement"]
    # A model does not name what its table inherits, and only the parent can drop it.
    inherited = {
        one.name
        for one in (*columns_in(found.in_models(key)).values(), *there.values())
        if one.get("inherited") and one.name not in table.columns
    }
    changes.ops[:] = [
        op
        for op in changes.ops
        if not (isinstance(op, ops.AlterColumnOp) and not op.has_changes())
        and not (isinstance(op, ops.DropColumnOp) and op.column_name in inherited)
    ]


def add_unsaid(
    changes: TableChanges,
    table: Table,
    found: FoundDifferences,
    key: Key,
    filters: Callable[..., bool],
) -> None:
    """Add changes that a model's columns do not say: DDL of a listener does.

    :param filters: those of ``env.py``
    """
    proposed = {op.column_name: op for op in changes.ops if isinstance(op, ops.AlterColumnOp)}
    for column in table.columns:
        differs = found.of_column(key, column.name)
        unsaid = [one for one in differs if is_unsaid(column, one, differs[one].right)]
        op = proposed.get(column.name)
        if not unsaid or (op is None and not filters(column, column.name, "column", False, column)):
            continue
        if op is None:
            op = ops.AlterColumnOp(
                table.name,
                column.name,
                schema=key[0],
                existing_type=column.type,
                existing_nullable=column.nullable,
                existing_server_default=column.server_default or False,
                existing_comment=column.comment,
            )
            changes.ops.append(op)
        for one in map(differs.__getitem__, unsaid):
            if one.attribute == "not null":
                op.existing_nullable, op.modify_nullable = not one.left, not one.right
            elif one.attribute == "default":
                sides = map(default_of, (one.left, one.right))
                op.existing_server_default, op.modify_server_default = sides
            else:
                words = (str(side) if side else None for side in (one.left, one.right))
                op.existing_comment, op.modify_comment = words


def say_unsaid(op: ops.CreateTableOp, found: FoundDifferences, key: Key) -> None:
    """Let the columns of a new table say what DDL of a listener says of them."""
    facts = columns_in(found.in_models(key))
    op.columns = [*op.columns]
    for place, column in enumerate(op.columns):
        if not isinstance(column, Column) or (fact := facts.get(str(column.name))) is None:
            continue
        said = {
            "not null": ("nullable", not fact.get("not null")),
            "default": ("server_default", default_of(fact.get("default"))),
            "comment": ("comment", str(fact.get("comment"))),
        }
        unsaid = [said[one] for one in UNSAID if is_unsaid(column, one, fact.get(one))]
        op.columns[place] = changed(column, **dict(unsaid))


#: Attributes of a column that DDL of a listener may say alone.
UNSAID = ("not null", "default", "comment")


def is_unsaid(column: Column[Any], attribute: str | None, value: object) -> bool:
    """Tell whether what the models' side has of a column is none that the column says."""
    if attribute == "not null":
        return bool(value) is bool(column.nullable)
    if attribute == "default":
        return column.server_default is None and value not in (None, OWN)
    return attribute == "comment" and column.comment is None and value is not None


def default_of(value: object) -> DefaultClause | None:
    """Return a default by its SQL."""
    return None if value is None else DefaultClause(text(escaped(str(value))))


def give_collation(
    op: ops.AlterColumnOp,
    differs: Mapping[str, Difference],
    database: str,
    of_table: Collection[object],
) -> None:
    """Let the old type of a column say its collation, which is not always reflected.

    On SQLite a batch keeps a collation until a script names another one. On MariaDB a type without
    any comes back with that of the table.

    :param of_table: the collations of the table
    """
    one = differs.get("collation")
    if one is not None and one.right is None and {one.left} == of_table:
        return
    old: Any = op.existing_type
    if one is None or op.modify_type is None or not hasattr(old, "collation"):
        return
    if isinstance(one.left, str) and old.collation is None:
        op.existing_type = collated(old, one.left.rpartition(".")[2].strip('"'))
    elif one.left is None and database == "sqlite":
        op.existing_type = collated(old, "BINARY")
    if one.right is None and database == "sqlite":
        op.modify_type = collated(op.modify_type, "BINARY")


def changed_columns(
    table: Table,
    schema: str | None,
    inspector: Inspector,
    found: FoundDifferences,
    databases: Collection[str],
) -> list[ops.MigrateOperation]:
    """Return the operations that make changed computed columns anew; they hold nothing of value.

    :param databases: those that the script is for
    """
    operations: list[ops.MigrateOperation] = []
    key = (schema, str(table.name))
    reflected = {one["name"]: one for one in inspector.get_columns(table.name, schema=schema)}
    for column in table.columns:
        one = reflected.get(column.name)
        if one is None or not (
            is_made_anew(column, key, found, inspector.dialect.name)
            or ("postgresql" in databases and has_retyped_source(column, key, found))
        ):
            continue
        operations += [
            ops.DropColumnOp.from_column_and_tablename(schema, table.name, as_column(one)),
            ops.AddColumnOp.from_column_and_tablename(schema, table.name, column),
        ]
    return operations


def equal_parts(found: FoundDifferences, key: Key) -> Iterator[Difference]:
    """Yield the equal indexes and constraints of a table, as if they differed.

    One without a name in the model has another name on both sides, as each server gave it.
    """
    different = {one.fact.key for one in found.of(key)}
    others = {one.key: one for one in found.in_models(key)}
    defined = {(one.kind, one.get("definition")): one for one in others.values()}
    for one in found.in_database(key):
        definition = str(one.get("definition") or "")
        is_part = one.kind in ("index", "constraint") and one.key not in different
        other = others.get(one.key) or defined.get((one.kind, one.get("definition")))
        if is_part and other is not None:
            yield Difference(one, "definition", definition, definition, other)


def parts_with(names: Collection[str], found: FoundDifferences, key: Key) -> Iterator[Difference]:
    """Yield the equal indexes and constraints that have one of some columns, as if they differed.

    They go with the columns, and have to come again.
    """
    pattern = re.compile(r"(?<![\w$])(" + "|".join(map(re.escape, names)) + r")(?![\w$])")
    for one in equal_parts(found, key):
        if pattern.search(re.sub(r"'(?:[^']|'')*'", "", str(one.left))):
            yield one


def is_made_anew(column: Column[Any], key: Key, found: FoundDifferences, database: str) -> bool:
    """Tell whether a computed column changes, or a plain one becomes computed, or the other way.

    MySQL's statement for a column's comment has no expression.
    """
    differs = found.of_column(key, column.name)
    if "generated" in differs:
        return True
    if not isinstance(column.server_default, Computed):
        return False
    attributes = TYPE | {"comment", "extra"} if database in ("mysql", "mariadb") else TYPE
    return bool(attributes & differs.keys())


def has_retyped_source(column: Column[Any], key: Key, found: FoundDifferences) -> bool:
    """True if the type changes of what a column is computed from: PostgreSQL refuses that."""
    if not isinstance(column.server_default, Computed):
        return False
    words = set(re.findall(r"\w+", str(column.server_default.sqltext)))
    return any(
        TYPE & found.of_column(key, one.name).keys()
        for one in column.table.columns
        if one is not column and one.name in words
    )


def as_column(reflected: ReflectedColumn) -> Column[Any]:
    """Return a reflected column as an object."""
    computed = reflected.get("computed")
    extra: list[Computed | DefaultClause] = []
    if computed:
        extra = [Computed(str(computed["sqltext"]), persisted=computed.get("persisted"))]
    elif reflected.get("default") is not None:
        extra = [DefaultClause(text(str(reflected["default"])))]
    return Column(
        reflected["name"],
        reflected["type"],
        *extra,
        nullable=reflected["nullable"],
        comment=reflected.get("comment"),
    )


# New tables and columns, as the database makes them of their models; CHECKs are named as there


def finish_new(
    upgrade: ops.UpgradeOps, models: Mapping[Key, Table], connection: Connection
) -> None:
    """Let new tables and columns be no more than the database gets.

    :param models: the package's tables by key
    """
    for op in upgrade.ops:
        table = models.get((getattr(op, "schema", None), getattr(op, "table_name", "")))
        if isinstance(op, ops.CreateTableOp):
            finish_table(op, table, connection)
        elif isinstance(op, ops.ModifyTableOps) and table is not None:
            for inner in op.ops:
                if isinstance(inner, ops.AddColumnOp):
                    type_ = checked_type(inner.column, table, connection)
                    inner.column = changed(inner.column, type=type_)


def finish_table(op: ops.CreateTableOp, table: Table | None, connection: Connection) -> None:
    """Let a new table be as the database makes it of its model, if that is known.

    ``Table.info`` is the models' own, and may hold anything.
    """
    op.info = {}
    items: list[SchemaItem] = []
    for item in op.columns:
        if not isinstance(item, Column):
            if not isinstance(item, Constraint) or is_created(item, connection.dialect):
                items.append(item)
            continue
        type_ = checked_type(item, table, connection) if table is not None else item.type
        column = changed(item, type=CharacterEnum.of(type_))
        if isinstance(item.default, sa.Sequence):
            # It takes its values from there, and needs no sequence of its own.
            column = changed(column, default=None, autoincrement=False)
        items.append(column)
    if not any(isinstance(item, Column) for item in items):
        op.__class__ = EmptyTable
    # Alembic leaves out what stands with a column.
    for check in column_checks(table) if table is not None else ():
        items.append(on_table(check, connection))
    op.columns = items


def on_table(check: CheckConstraint, connection: Connection) -> CheckConstraint:
    """Return a CHECK of a column as one of its table."""
    name = final_name(check, connection)
    return CheckConstraint(
        escaped(sql_text(check.sqltext, connection)), name=conv(name) if name else None
    )


def checked_type(column: Column[Any], table: Table, connection: Connection) -> TypeEngine[Any]:
    """Return the type of a column, which names its CHECK as the model's table does."""
    type_ = column.type
    check = next(
        (
            one
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and is_type_bound(one)
            and {each.name for each in one.columns} == {column.name}
        ),
        None,
    )
    name = None if check is None else final_name(check, connection)
    if name is None or name == getattr(type_, "name", None):
        return type_
    if isinstance(type_, sa.Enum) and type_.create_constraint:
        return CheckedEnum.called(name)(
            *type_.enums,
            name=type_.name,
            schema=type_.schema,
            native_enum=type_.native_enum,
            create_constraint=True,
            length=type_.length,
        )
    if isinstance(type_, sa.Boolean) and type_.create_constraint:
        return CheckedBoolean(create_constraint=True, name=name)
    return type_
