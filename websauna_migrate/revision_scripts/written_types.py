"""Types of columns as scripts wrote them; SQLite and MariaDB keep less of some than PostgreSQL."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.types import Boolean, SchemaType, TypeEngine

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.script_tree import parse_script
from websauna_migrate.revision_scripts.sql_text import UNKNOWN_PART

#: A call of an operation, with its name, and schema and table of its batch.
Operation = tuple[Call, str, tuple[object, object]]

#: Types by table and column.
Types = dict[Key, dict[str, "TypeEngine[object]"]]


class NotKnown(Exception):
    """An expression is none that is understood."""


#: The name of a call of one of the script's own functions.
FUNCTION = "a function"

#: Methods that run SQL.
RUN_SQL = ("execute", "exec_driver_sql")

#: Operations that change what tables have: at which places outside of a batch the table is, and the
#: name of what changes.
CHANGES: Mapping[str, tuple[int, int | None]] = {
    "add_column": (0, None),
    "alter_column": (0, 1),
    "create_check_constraint": (1, 0),
    "create_index": (1, 0),
    "create_table": (0, None),
    "drop_column": (0, 1),
    "drop_constraint": (1, 0),
    "drop_index": (1, 0),
    "drop_table": (0, None),
    "rename_table": (0, 1),
}

#: What the arguments are called that name what changes.
PARTS: Mapping[str, tuple[str, ...]] = {
    "alter_column": ("column_name",),
    "create_check_constraint": ("constraint_name", "name"),
    "create_index": ("index_name",),
    "drop_column": ("column_name",),
    "drop_constraint": ("constraint_name", "name"),
    "drop_index": ("index_name",),
    "rename_table": ("new_table_name",),
}

#: SQL that changes rows alone.
ROWS = re.compile(r"\s*(INSERT|UPDATE|DELETE|SELECT)\b", re.IGNORECASE)

#: What makes an element of such.
ROW_METHODS = ("insert", "update", "delete", "select")

#: SQL that changes more of a table than what it names.
WHOLE = re.compile(r"\b(CREATE|DROP) TABLE\b|\bRENAME\b(?! CONSTRAINT\b)", re.IGNORECASE)


def may_change(
    call: Call, name: str, batch: tuple[object, object]
) -> Callable[[str, str], bool] | None:
    """Return what an operation may change that it does not say in a way that is understood.

    :returns: tells it of the names of a table, and of its column, constraint or index; ``None``
        where the operation says all
    """
    if name == FUNCTION:
        return lambda table, part: True
    if name in RUN_SQL:
        sql = call.value(0, "sqltext", "statement")
        if changes_rows(call):
            return None
        if not isinstance(sql, str) or UNKNOWN_PART in sql:
            return lambda table, part: True
        words = {*re.findall(r"\w+", sql)}
        whole = WHOLE.search(sql) is not None
        return lambda table, part: part in words or (whole and table in words)
    if name not in CHANGES:
        return None
    place, part_place = CHANGES[name]
    key = batch_key(call, batch, place)
    part_place = 0 if batch[1] is not None and part_place is not None else part_place
    words_of = PARTS.get(name, ())
    given = None if part_place is None else call.value(part_place, *words_of)
    if name == "drop_index" and key is None and isinstance(given, str):
        # It need not say its table.
        return lambda table, part: part == given
    if key is None:
        return lambda table, part: True
    said = call.args[0 if batch[1] is not None else 1 :]
    unknown = part_place is not None and not isinstance(given, str)
    if (
        unknown
        or call.open
        or (name == "add_column" and not all(isinstance(one, ast.Call) for one in said))
    ):
        return lambda table, part: table == key[1]
    if name == "drop_column":
        return lambda table, part: (table, part) == (key[1], given)
    return None


def changes_rows(call: Call) -> bool:
    """Tell whether a call runs SQL that changes rows alone: as text, or an element."""
    sql = call.value(0, "sqltext", "statement")
    if isinstance(sql, str):
        return ROWS.match(sql) is not None and ";" not in sql.rstrip("; \n")
    node = call.get(0, "sqltext", "statement")
    return node is not None and any(
        getattr(one, "attr", getattr(one, "id", None)) in ROW_METHODS
        for one in ast.walk(call.names.resolve(node))
    )


def written_types(scripts: Iterable[str]) -> Types:
    """Return the types that columns have behind the upgrades of scripts, as far as they tell it.

    :param scripts: their sources, in the order in which they are applied
    """
    found: Types = {}
    for call, name, table in operations_in(scripts):
        if changes := may_change(call, name, table):
            for key, types in found.items():
                for one in [one for one in types if changes(key[1], one)]:
                    del types[one]
        note(found, call, name, table)
    return found


def operations_in(scripts: Iterable[str]) -> Iterator[Operation]:
    """Yield the calls of operations in the upgrades of scripts.

    :param scripts: their sources, in the order in which they are applied
    """
    for source in scripts:
        tree = parse_script(source, "<script>")
        names = Names(tree.body)
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
                yield from calls_in(function, names)


def calls_in(function: ast.FunctionDef, names: Names) -> Iterator[Operation]:
    """Yield the calls of operations in their order."""
    #: Tables by calls; batches of several tables may have one name.
    batches: dict[ast.Call, tuple[object, object]] = {}
    for node in ast.walk(function):
        for item in getattr(node, "items", ()) if isinstance(node, ast.With) else ():
            if isinstance(item.context_expr, ast.Call) and isinstance(item.optional_vars, ast.Name):
                call = Call(item.context_expr, names)
                key = (call.value(None, "schema"), call.value(0, "table_name"))
                batches.update(dict.fromkeys(calls_of(node, item.optional_vars.id), key))
    for node in sorted(
        (one for one in ast.walk(function) if isinstance(one, ast.Call)),
        key=lambda one: (one.lineno, one.col_offset),
    ):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if isinstance(node.func, ast.Name) and node.func.id in names.functions:
            yield Call(node, names), FUNCTION, (None, None)
        elif node in batches or name in RUN_SQL or names.dotted(node.func) == f"alembic.op.{name}":
            yield Call(node, names), name, batches.get(node, (None, None))


def calls_of(node: ast.AST, owner: str) -> Iterator[ast.Call]:
    """Yield the calls of the methods of a name."""
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Call)
            and isinstance(one.func, ast.Attribute)
            and isinstance(one.func.value, ast.Name)
            and one.func.value.id == owner
        ):
            yield one


def batch_key(call: Call, batch: tuple[object, object], place: int = 0) -> Key | None:
    """Return schema and name of the table that an operation is for; ``None`` if it is not known.

    :param batch: those of its batch, if it is one of a batch
    :param place: that of the table's name among the arguments
    """
    in_batch = batch[1] is not None
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
