"""The names that a new script uses: each must be defined by it or imported by it."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import symtable
import sys
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter

#: Modules whose values a ``repr`` shows without the module, ``Decimal('1')`` for one.
BARE = (
    *("datetime", "decimal", "uuid", "fractions", "ipaddress", "enum", "sqlalchemy"),
    *("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.mysql", "sqlalchemy.dialects.sqlite"),
)

#: What every module has without defining it.
PREDEFINED = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__"}


class Unresolved(NameError):
    """A script uses a name that nothing defines.

    :ivar line: where, counted from 1
    :ivar table: the table of the operation in which it is used, if that is known
    :ivar column: the column, if that is known
    """

    def __init__(self, name: str, line: int, table: str | None, column: str | None) -> None:
        self.line = line
        self.table = table
        self.column = column
        super().__init__(name)
        self.name = name


def free_names(source: str) -> list[str]:
    """Return the names that a module uses and does not define, sorted.

    :raises SyntaxError: if it does not compile
    """
    compile(source, "<revision script>", "exec", dont_inherit=True)
    top = symtable.symtable(source, "<revision script>", "exec")
    defined = {
        symbol.get_name()
        for symbol in top.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    used = {
        symbol.get_name()
        for table in scopes(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return sorted(used - defined - PREDEFINED)


def scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """Yield a scope and all scopes in it."""
    yield table
    for child in table.get_children():
        yield from scopes(child)


def imports_for(source: str, names: list[str]) -> list[str]:
    """Return the import statements that define names, in the order of the names.

    :raises Unresolved: for a name that nothing known defines
    """
    tree = ast.parse(source)
    statements = []
    for name in names:
        found = [statement_for(use) for use in uses_of(tree, name)]
        if not found or None in found:
            raise unresolved(tree, name)
        statements += [statement for statement in found if statement]
    return list(dict.fromkeys(statements))


def uses_of(tree: ast.AST, name: str) -> list[str]:
    """Return the dotted names, as far as they go, that begin with a name."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inner:
            dotted = ast.unparse(node)
            if re.fullmatch(rf"{name}(\.\w+)*", dotted):
                found.append(dotted)
    return list(dict.fromkeys(found))


def statement_for(dotted: str) -> str | None:
    """Return the import that makes a dotted name mean something, ``None`` if there is none."""
    parts = dotted.split(".")
    if len(parts) == 1:
        for module in BARE:
            if hasattr(importlib.import_module(module), dotted):
                return f"from {module} import {dotted}"
        return None
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        # A type that a model has is of a module that is loaded; only the standard library's
        # are looked for besides.
        if module not in sys.modules and parts[0] not in sys.stdlib_module_names:
            continue
        with suppress(ImportError, AttributeError):
            attrgetter(".".join(parts[length:]))(importlib.import_module(module))
            return f"import {module}"
    return None


def unresolved(tree: ast.AST, name: str) -> Unresolved:
    """Return the error that says where a name is used first."""
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    first = min(uses, key=lambda node: (node.lineno, node.col_offset))
    table, column = None, None
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or first not in ast.walk(call):
            continue
        argument = call.args[0] if call.args else None
        text = argument.value if isinstance(argument, ast.Constant) else None
        if isinstance(text, str):
            called = ast.unparse(call.func)
            # The walk comes from the outside in.
            if called.endswith("Column"):
                column = text
            elif called.startswith("op.") or called.endswith("batch_alter_table"):
                table = table or text
    return Unresolved(name, first.lineno, table, column)
