"""Types of columns as scripts wrote them; SQLite and MariaDB keep less of some than PostgreSQL."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.types import Boolean, SchemaType, TypeEngine

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.written_operations import (
    CHANGES,
    Operation,
    batch_key,
    everything,
    may_change,
    running_on,
)

#: Types by table and column.
Types = dict[Key, dict[str, "TypeEngine[object]"]]


class NotKnown(Exception):
    """An expression is none that is understood."""


#: Those that change no column.
UNTYPED = frozenset({"create_check_constraint", "create_index", "drop_constraint", "drop_index"})


def written_types(operations: Iterable[Operation]) -> Types:
    """Return the types that columns have behind the upgrades of scripts, as far as they tell it.

    What runs on some databases alone counts as if it did on all of them.

    :param operations: those of the scripts, see :func:`operations_in`
    """
    found: Types = {}
    for call, name, batch, _ in operations:
        if changes := may_change(call, name, batch):
            forget(found, changes)
        note(found, call, name, batch)
    return found


def types_on(
    dialects: Collection[str],
    scripts: Iterable[tuple[str, Sequence[Operation]]],
    normal: Callable[[str | None], str | None],
    is_of: Callable[[str, Key], bool],
) -> Types:
    """Return the types that columns surely have on a database behind the upgrades of scripts.

    :param dialects: the names of SQLAlchemy's dialects that run on it
    :param scripts: for each, in the order in which they are applied, its package and operations
    :param normal: returns a schema, ``None`` for the default one
    :param is_of: tells whether a table is a package's: what cannot be read of a script is about the
        tables of its own package
    """
    found: Types = {}
    for package, operations in scripts:
        for (call, name, batch, runs), changes in running_on(dialects, operations):
            if changes is everything:
                for one in [one for one in found if is_of(package, one)]:
                    del found[one]
            elif changes is not None:
                forget(found, changes)
            if name not in CHANGES:
                continue
            key = batch_key(call, batch)
            surely = runs.surely_runs(dialects) and "if_not_exists" not in call.keywords
            if surely and key is not None and key[0] == normal(key[0]):
                note(found, call, name, batch)
            elif key is not None and name not in UNTYPED:
                for table in {key[1], str(call.value(1, "new_table_name"))}:
                    found.pop((normal(key[0]), table), None)
    return found


#: Operations, and changes of columns, that SQLite takes in a batch alone.
IN_A_BATCH = frozenset(
    {
        *("create_check_constraint", "create_foreign_key", "create_primary_key"),
        *("create_unique_constraint", "drop_constraint"),
    }
)
CHANGED_IN_A_BATCH = frozenset({"nullable", "server_default", "type_"})


def needs_batch(operation: Operation) -> bool:
    """True if a script surely fails on SQLite at an operation, for lack of a batch."""
    call, name, batch, runs = operation
    if batch != (None, None) or not runs.surely_runs(("sqlite",)):
        return False
    return name in IN_A_BATCH or (
        name == "alter_column" and not CHANGED_IN_A_BATCH.isdisjoint(call.keywords)
    )


def forget(found: Types, changes: Callable[[str, str], bool]) -> None:
    """Take out the types that an operation may change."""
    for key, types in found.items():
        for one in [one for one in types if changes(key[1], one)]:
            del types[one]


def note(found: Types, call: Call, name: str, table: tuple[object, object]) -> None:
    """Note what an operation says of types.

    :param table: schema and name, where it is one of a batch
    """
    key = batch_key(call, table)
    if key is None:
        return
    rest = call.args if isinstance(table[1], str) else call.args[1:]
    if name in ("create_table", "drop_table"):
        found[key] = {}
    if name == "rename_table" and isinstance(new := call.value(1, "new_table_name"), str):
        found[key[0], new] = found.pop(key, {})
    elif name in ("create_table", "add_column"):
        for part in rest:
            if isinstance(part, ast.Call) and (call.names.dotted(part.func) or "").endswith(
                ".Column"
            ):
                column = Call(part, call.names)
                given = column.get(1, "type_")
                set_type(found.setdefault(key, {}), column.value(0, "name"), given, call.names)
    elif name == "alter_column" and rest:
        column_name = call.names.literal(rest[0])
        types = found.setdefault(key, {})
        if "type_" in call.keywords:
            set_type(types, column_name, call.keywords["type_"], call.names)
        new = call.value(None, "new_column_name")
        if isinstance(new, str) and isinstance(column_name, str) and column_name in types:
            types[new] = types.pop(column_name)


def set_type(
    types: dict[str, TypeEngine[object]], name: object, node: ast.expr | None, names: Names
) -> None:
    """Note the type of a column; one that is not understood is forgotten."""
    if not isinstance(name, str):
        return
    types.pop(name, None)
    type_ = None if node is None else type_in(node, names)
    if type_ is not None:
        types[name] = type_


def type_in(node: ast.expr, names: Names) -> TypeEngine[Any] | None:
    """Return the type that an expression makes; ``None`` if that is not understood."""
    if node not in names.made:
        names.made[node] = type_made(node, names)
    found = names.made[node]
    return found if isinstance(found, TypeEngine) else None


def type_made(node: ast.expr, names: Names) -> object:
    """Return what an expression of a type makes; ``None`` if that is not understood."""
    if isinstance(node, ast.Call) and names.dotted(node.func) == "sqlalchemy.Boolean":
        # Its CHECK goes and comes by operations of its own.
        return Boolean()
    try:
        value = evaluated(node, names)
    except Exception:
        # What a type's class says to its arguments is of any class.
        return None
    return value() if isinstance(value, type) else value


def brings_more(type_: TypeEngine[Any]) -> bool:
    """Tell whether a type brings a constraint, or a type of the database."""
    if isinstance(type_, ENUM):
        return bool(type_.create_type or type_.create_constraint)
    return isinstance(type_, SchemaType) and not isinstance(type_, Boolean)


def evaluated(node: ast.expr, names: Names) -> object:
    """Return what an expression of SQLAlchemy's own types and literals is.

    :raises NotKnown: for any other
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Call):
        arguments = [evaluated(one, names) for one in node.args]
        keywords = {str(one.arg): evaluated(one.value, names) for one in node.keywords}
        called: Any
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
            if node.func.attr != "with_variant":
                raise NotKnown
            base: Any = evaluated(node.func.value, names)
            called = base.with_variant
        else:
            called = evaluated(node.func, names)
        return called(*arguments, **keywords)
    module, _, name = (names.dotted(node) or "").rpartition(".")
    if module.partition(".")[0] != "sqlalchemy":
        raise NotKnown
    value = getattr(import_module(module), name)
    if not (isinstance(value, type) and issubclass(value, TypeEngine)):
        raise NotKnown
    return value
