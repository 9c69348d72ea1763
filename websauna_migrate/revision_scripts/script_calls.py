"""The calls of a script: what they call, if that may touch the database, and if it surely runs."""

from __future__ import annotations

import ast
import builtins
import sys

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import FunctionNode, Names
from websauna_migrate.revision_scripts.script_runs import Runs

#: Methods that send a statement, whatever they are called on.
ON_CONNECTIONS = frozenset(
    {"execute", "executemany", "executescript", "exec_driver_sql", "scalar", "scalars", "stream"}
)
#: Methods that may do anything to tables.
ON_METADATA = frozenset({"create_all", "drop_all", "run_sync"})
#: Methods of an ORM session or query: which tables they are about, only the mapper knows.
ON_SESSIONS = frozenset(
    {"query", "add", "add_all", "merge", "bulk_save_objects", "bulk_insert_mappings"}
    | {"bulk_update_mappings", "get_one", "refresh"}
)
DANGEROUS = frozenset({"exec", "eval", "setattr", "__import__", "globals", "compile"})
#: Modules that do nothing to a database by themselves.
QUIET = frozenset({*sys.stdlib_module_names, "sqlalchemy", "alembic", "alembic_utils", "zope"})


class Calls:
    """Tells calls apart that may touch the database from those that do not."""

    def __init__(self, names: Names) -> None:
        """Look at the calls of a function."""
        self.names = names
        #: The tables of batches by the names of their objects, as far as the function was read;
        #: ``None`` for one that is not known.
        self.batches: dict[str, Key | None] = {}
        self.touching: dict[FunctionNode, bool] = {}

    def called(self, node: ast.expr) -> str:
        """Return the full name of what a call calls, or the name of a method behind a dot."""
        if not isinstance(node, ast.Call):
            return ""
        dotted = self.names.dotted(node.func)
        if dotted is not None:
            return dotted
        return f".{node.func.attr}" if isinstance(node.func, ast.Attribute) else ""

    def is_collection(self, node: ast.Call) -> bool:
        """Return whether ``x.add()`` is about a set of the script's own."""
        owner = node.func.value if isinstance(node.func, ast.Attribute) else node
        owner = self.names.resolve(owner)
        return isinstance(owner, (ast.Set, ast.List, ast.Dict, ast.SetComp)) or (
            isinstance(owner, ast.Call)
            and isinstance(owner.func, ast.Name)
            and owner.func.id in ("set", "list", "dict", "frozenset")
        )

    def is_helper(self, node: ast.Call) -> bool:
        """Return whether a call is of a function of the script that touches the database."""
        if not isinstance(node.func, ast.Name):
            return False
        value = self.names.resolve(node.func)
        name = value.id if isinstance(value, ast.Name) else ""
        if (function := self.names.function(name)) is not None:
            return self.touches_database(function) or self.gives_access(node)
        return isinstance(value, ast.Lambda) or (
            name in DANGEROUS and self.names.imported(name) is None
        )

    def is_unknown(self, node: ast.expr) -> bool:
        """Return whether what a call calls has no name by which it is known.

        What begins with a capital letter is taken for a class.
        """
        if isinstance(node, ast.Call):
            name = self.called(node)
            return self.is_foreign(name, node) if name else self.is_unknown(node.func)
        value = self.names.resolve(node)
        if not isinstance(value, ast.Name):
            return not (isinstance(node, ast.Name) and node.id[:1].isupper())
        known = self.names.function(value.id) or self.names.class_of(value.id)
        return not (known or hasattr(builtins, value.id) or value.id[:1].isupper())

    def is_unseen(self, node: ast.Call) -> bool:
        """Return whether a call does what its text does not say.

        That is one of a class of the script that touches the database, one of Alembic's
        implementation, and one that lets something happen later.
        """
        root, names = node.func, []
        while isinstance(root, (ast.Attribute, ast.Call)):
            names += [root.attr] if isinstance(root, ast.Attribute) else []
            root = root.value if isinstance(root, ast.Attribute) else root.func
        own = self.names.class_of(root.id) if isinstance(root, ast.Name) else None
        touches = own is not None and any(self.is_operation(one) for one in ast.walk(own))
        return touches or "impl" in names[1:] or names[:1] == ["listen"]

    def is_operation(self, node: ast.AST) -> bool:
        """Return whether a part of a text is ``op``, or a method that sends statements."""
        if isinstance(node, ast.Name):
            return f"{self.names.imported(node.id)}.".startswith("alembic.op.")
        return isinstance(node, ast.Attribute) and node.attr in ON_CONNECTIONS | ON_METADATA

    def touches_database(self, function: FunctionNode) -> bool:
        """Return whether a function's text has anything to do with ``op`` or a connection."""
        if function not in self.touching:
            self.touching[function] = False
            self.touching[function] = any(self.is_touching(one) for one in ast.walk(function))
        return self.touching[function]

    def is_touching(self, node: ast.AST) -> bool:
        """Return whether a part of a function has to do with ``op`` or a connection."""
        if self.is_operation(node):
            return True
        if isinstance(node, ast.Name):
            inner = self.names.function(node.id)
            return inner is not None and self.touches_database(inner)
        if isinstance(node, ast.Attribute):
            return node.attr in ON_SESSIONS
        name = self.called(node) if isinstance(node, ast.Call) else ""
        # What a function is given, or has, may be called in it.
        return isinstance(node, ast.Call) and name != "" and self.is_foreign(name, node)

    def gives_access(self, node: ast.Call) -> bool:
        """Return whether a call hands on ``op``, a batch or a connection."""
        arguments = (*node.args, *(keyword.value for keyword in node.keywords))
        return any(map(self.is_connection, arguments))

    def is_connection(self, node: ast.expr) -> bool:
        """Return whether an expression is ``op``, a batch, ``op.get_bind()`` or a name of one."""
        if isinstance(node, ast.Name) and node.id in self.batches:
            return True
        if self.names.dotted(node) == "alembic.op":
            return True
        resolved = self.names.resolve(node)
        called = self.called(resolved)
        return called in ("alembic.op.get_bind", "alembic.op.get_context") or (
            called.startswith("sqlalchemy.orm") and called.endswith("Session")
        )

    def is_foreign(self, name: str, node: ast.Call) -> bool:
        """Return whether a call is of code outside of the script that may touch the database.

        What begins with a capital letter is taken for a class: it makes a value, say a type.
        """
        if not name:
            return self.is_unknown(node.func)
        if name.startswith("."):
            return self.gives_access(node) and name[1:2].islower()
        if name.partition(".")[0] in QUIET:
            return name.startswith("alembic.command")
        return self.gives_access(node) or not name.rpartition(".")[2][:1].isupper()


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


def certainty(runs: Runs) -> int:
    """Return how certain it is that a part of a script runs."""
    if runs.surely and not runs.tests:
        return SURELY
    return ON_POSTGRESQL if runs.surely_runs(("postgresql",)) else MAYBE
