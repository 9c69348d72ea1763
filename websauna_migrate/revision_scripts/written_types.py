"""Types of columns as scripts wrote them; SQLite and MariaDB keep less of some than PostgreSQL."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.types import Boolean, SchemaType, TypeEngine

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names

#: Types by table and column.
Types = dict[Key, dict[str, "TypeEngine[object]"]]


class NotKnown(Exception):
    """An expression is none that is understood."""


def written_types(scripts: Iterable[str]) -> Types:
    """Return the types that columns have behind the upgrades of scripts, as far as they tell it.

    :param scripts: their sources, in the order in which they are applied
    """
    found: Types = {}
    for source in scripts:
        tree = ast.parse(source)
        names = Names(tree.body)
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
                for call, name, table in calls_in(function, names):
                    note(found, call, name, table)
    return found


def calls_in(
    function: ast.FunctionDef, names: Names
) -> Iterator[tuple[Call, str, tuple[object, object]]]:
    """Yield the calls of operations in their order, each with its name, and its batch's table."""
    batches: dict[str, tuple[object, object]] = {}
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    for node in ast.walk(function):
        for item in getattr(node, "items", ()) if isinstance(node, ast.With) else ():
            if isinstance(item.context_expr, ast.Call) and isinstance(item.optional_vars, ast.Name):
                call = Call(item.context_expr, names)
                key = (call.value(None, "schema"), call.value(0, "table_name"))
                batches[item.optional_vars.id] = key
    for node in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner = node.func.value.id
            yield Call(node, names), node.func.attr, batches.get(owner, (None, None))


def batch_key(call: Call, batch: tuple[object, object], place: int = 0) -> Key | None:
    """Return schema and name of the table that an operation is for; ``None`` if it is not known.

    :param batch: those of its batch, if it is one of a batch
    :param place: that of the table's name among the arguments
    """
    in_batch = isinstance(batch[1], str)
    names = ("table_name", "old_table_name")
    schema, table = batch if in_batch else (call.value(None, "schema"), call.value(place, *names))
    if not isinstance(table, str) or not (schema is None or isinstance(schema, str)):
        return None
    return schema, table


def note(found: Types, call: Call, name: str, table: tuple[object, object]) -> None:
    """Note what an operation says of types.

    :param table: schema and name, where it is one of a batch
    """
    key = batch_key(call, table)
    if key is None:
        return
    rest = call.args if isinstance(table[1], str) else call.args[1:]
    if name == "create_table":
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
    if isinstance(node, ast.Call) and names.dotted(node.func) == "sqlalchemy.Boolean":
        # Its CHECK goes and comes by operations of its own.
        truth: TypeEngine[Any] = Boolean()
        types[name] = truth
        return
    try:
        value = None if node is None else evaluated(node, names)
    except Exception:
        # What a type's class says to its arguments is of any class.
        return
    value = value() if isinstance(value, type) and issubclass(value, TypeEngine) else value
    if isinstance(value, TypeEngine):
        types[name] = value


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
