"""How certain it is that a part of a script runs, and runs in the application's database."""

from __future__ import annotations

import ast
import re

#: How certain it is that something happens: always, wherever there are types, or perhaps.
SURELY, ON_POSTGRESQL, MAYBE = 2, 1, 0

#: What makes an engine of a script's own; it may be for another database.
ENGINES = frozenset(
    {"create_engine", "create_mock_engine", "create_async_engine", "engine_from_config"}
)
#: What has ``connect()`` or ``configure()``, by which a script has a connection of its own.
CONNECTS = frozenset(
    {"sqlite3", "psycopg", "psycopg2", "asyncpg", "pymysql", "MySQLdb", "mariadb"}
    | {"MigrationContext"}
)


def opens_connections(tree: ast.Module) -> bool:
    """Return whether a script opens a connection of its own, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if any(alias.name in ENGINES for alias in node.names):
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, node.func.value
            if name in ENGINES:
                return True
            if name in ("connect", "configure"):
                last = getattr(owner, "attr", getattr(owner, "id", ""))
                if last in CONNECTS:
                    return True
    return False


def when(node: ast.stmt, body: list[ast.stmt]) -> int:
    """Return how certain it is that one body of a compound statement runs.

    :param body: one of its bodies; empty for what comes behind a statement that may return
    """
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare):
        return MAYBE
    test = ast.unparse(node.test)
    if body is node.body and re.search(r"\bdialect\.name == 'postgresql'$", test):
        return ON_POSTGRESQL
    if not node.orelse and re.search(r"\bdialect\.name != 'postgresql'$", test):
        return MAYBE if body else ON_POSTGRESQL
    return MAYBE
