"""Statements of SQLAlchemy's expression language: the tables that they read and write."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from websauna_migrate.planning.accesses import Access, Key, Kind
from websauna_migrate.revision_scripts.script_names import Call, Names

VERBS: dict[str, Kind] = {
    "insert": "insert_rows",
    "update": "write_table",
    "delete": "write_table",
    "select": "read_table",
    "exists": "read_table",
}
TABLES = frozenset({"table", "Table", "TableClause"})


def table_of(node: ast.expr, names: Names) -> tuple[Key, tuple[str, ...]] | None:
    """Return schema, name and columns of ``sa.table("t", sa.column("c"))``; of a class its name."""
    node = names.resolve(node)
    if isinstance(node, ast.Name) and (mapped := names.class_of(node.id)) is not None:
        name = Names(mapped.body, names).literal(ast.Name("__tablename__"))
        return ((None, name), ()) if isinstance(name, str) else None
    if not isinstance(node, ast.Call):
        return None
    if (names.dotted(node.func) or "").rpartition(".")[2] not in TABLES:
        return None
    call = Call(node, names)
    name, schema = call.text(0, "name"), call.value(None, "schema")
    if name is None or not (schema is None or isinstance(schema, str)):
        return None
    parts = [names.resolve(one) for one in call.args[1:]]
    columns = (Call(one, names).text(0, "name") for one in parts if isinstance(one, ast.Call))
    return (schema, name), tuple(column for column in columns if column)


def read_core(statement: ast.expr, names: Names) -> Iterator[Access]:
    """Yield what a statement reads and writes; nothing if that cannot be told."""
    found = written_table(statement, names)
    if found is None:
        return
    verb, target, values = found
    tables: dict[Key, None] = {}
    columns: dict[str, None] = {}
    unknown = False
    for node in expressions(statement, names):
        if isinstance(node, (ast.Name, ast.Call)) and (table := table_of(node, names)):
            tables.setdefault(table[0])
        elif isinstance(node, ast.Attribute):
            owner = node.value
            is_column = isinstance(owner, ast.Attribute) and owner.attr in ("c", "columns")
            if is_column or (isinstance(owner, ast.Name) and names.class_of(owner.id)):
                columns.setdefault(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            columns.setdefault(str(node.slice.value))
        elif isinstance(node, ast.Name) and names.function(node.id):
            unknown = True
    if target is not None:
        yield Access(VERBS[verb], *target, () if verb == "delete" else values)
    for key in tables:
        if key != target or (columns and verb != "insert"):
            yield Access("read_table", *key, () if unknown else tuple(columns))


def written_table(
    statement: ast.expr, names: Names
) -> tuple[str, Key | None, tuple[str, ...]] | None:
    """Return the verb of a statement, the table that it writes to, and the columns it gives."""
    values: dict[str, None] = {}
    node = names.resolve(statement)
    while isinstance(node, ast.Call):
        function = node.func
        last = (names.dotted(function) or "").rpartition(".")[2]
        attribute = function.attr if isinstance(function, ast.Attribute) else ""
        if attribute == "values":
            values.update(dict.fromkeys(keys_given(node)))
        if last in VERBS:
            if last in ("select", "exists"):
                return "select", None, ()
            table = table_of(node.args[0], names) if node.args else None
            return None if table is None else (last, table[0], tuple(values))
        if not isinstance(function, ast.Attribute):
            return None
        if attribute in VERBS and (table := table_of(function.value, names)):
            key = None if VERBS[attribute] == "read_table" else table[0]
            return attribute, key, tuple(values)
        node = names.resolve(function.value)
    return None


def keys_given(call: ast.Call) -> Iterator[str]:
    """Yield the columns that ``values()`` names."""
    for keyword in call.keywords:
        if keyword.arg:
            yield keyword.arg
    for one in call.args:
        for key in one.keys if isinstance(one, ast.Dict) else ():
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.Attribute):
                yield key.attr


def expressions(node: ast.expr, names: Names) -> Iterator[ast.AST]:
    """Yield the parts of a statement, those of the names in it too, without tables' own."""
    seen: set[int] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, (ast.Name, ast.Call)) and table_of(one, names):
            continue
        if isinstance(one, ast.Name):
            waiting.append(names.resolve(one))
        waiting += ast.iter_child_nodes(one)
