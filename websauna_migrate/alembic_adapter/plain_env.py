"""Tell from its text that an ``env.py`` does nothing to a connection that it would be asked for.

What is not certain is taken for something, and such an ``env.py`` is run to its migrations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: Modules of which an ``env.py`` may call anything. The last is of an older Websauna: what only
#: looks goes without it, and a run says what to write.
HARMLESS_MODULES = (
    *("logging", "pyramid.paster", "websauna_migrate.environment"),
    "websauna.system.devop.alembic",
)

#: Methods that do nothing to a session.
HARMLESS_METHODS = frozenset(
    {
        *("begin", "begin_transaction", "close", "configure", "connect", "get", "get_main_option"),
        *("get_section", "is_offline_mode", "run_migrations"),
    }
)

#: Arguments of ``engine_from_config`` that do nothing to a session.
HARMLESS_ARGUMENTS = frozenset({"prefix", "poolclass", "future"})

#: Arguments of ``context.configure`` that say what is compared and how it is written.
NO_CONNECTION = frozenset(
    {
        *("target_metadata", "include_object", "include_name", "include_schemas", "render_item"),
        *("compare_type", "compare_server_default", "process_revision_directives"),
    }
)


def is_plain(source: str) -> bool:
    """True if an ``env.py`` certainly connects as ``sqlalchemy.url`` says, and sets nothing."""
    tree = parsed(source)
    return tree is not None and not any(map(EnvPy(tree).tells, ast.walk(tree)))


def parsed(source: str) -> ast.Module | None:
    """Return a source as a tree, ``None`` for one that cannot be read."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def may_repeat(source: str) -> bool:
    """True if an ``env.py`` may run its migrations several times: for tenants, or databases."""
    tree = parsed(source)
    if tree is None:
        return False
    names = {"run_migrations"}
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    # A function that runs them, then one that calls it, and so on.
    while more := {one.name for one in functions if refers(one, names)} - names:
        names |= more
    return any(isinstance(node, LOOPS) and refers(node, names) for node in ast.walk(tree)) or any(
        sum(refers(one, names) for one in block if not isinstance(one, DEFINITIONS)) > 1
        for node in ast.walk(tree)
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
        if isinstance(block, list)
    )


#: SQLAlchemy's functions that make an engine.
MAKERS = frozenset(
    {
        *("create_engine", "create_async_engine"),
        *("engine_from_config", "async_engine_from_config"),
    }
)


def makes_engines(source: str) -> bool:
    """True if an ``env.py`` may make more than one engine."""
    return sum(one in MAKERS for one in called_in(source)) > 1


def is_asynchronous(source: str) -> bool:
    """True if an ``env.py`` makes asynchronous engines alone, as Alembic's template does."""
    called = {*called_in(source)} if "async" in source.lower() else set()
    made = called & MAKERS
    return "AsyncEngine" in called or bool(
        made and not made & {"create_engine", "engine_from_config"}
    )


def called_in(source: str) -> list[str]:
    """Return the last names of what a source calls; none of one that cannot be read."""
    tree = parsed(source) or ast.Module([], [])
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [str(getattr(one, "id", getattr(one, "attr", ""))) for one in calls]


LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.GeneratorExp)

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def refers(tree: ast.AST, names: set[str]) -> bool:
    """True if a piece of an ``env.py`` names one of some functions."""
    return any(
        (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in names)
        for node in ast.walk(tree)
    )


class EnvPy:
    """The names of an ``env.py``."""

    def __init__(self, tree: ast.Module) -> None:
        #: What each imported name is, with dots.
        self.imported = dict(imports(tree))
        self.own = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        #: Nodes that name what is compared, where the application's modules are expected.
        self.compared: set[int] = set()
        for node in ast.walk(tree):
            value: ast.AST | None = None
            if (
                isinstance(node, ast.Assign)
                and all(isinstance(t, ast.Name) and t.id == "target_metadata" for t in node.targets)
            ) or (isinstance(node, ast.keyword) and node.arg in NO_CONNECTION):
                value = node.value
            self.compared |= {id(one) for one in ast.walk(value)} if value is not None else set()

    def tells(self, node: ast.AST) -> bool:
        """True if a node may do something to the connection, or its database be another one."""
        if isinstance(node, ast.Call):
            return not self.is_harmless(node)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            origin = self.imported.get(node.id)
            return origin is not None and not is_known(origin) and id(node) not in self.compared
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            return isinstance(node.ctx, ast.Store)
        return isinstance(node, (ast.AsyncFunctionDef, ast.Await))

    def is_harmless(self, call: ast.Call) -> bool:
        """True if a call does nothing to a session."""
        if isinstance(call.func, ast.Name):
            name = call.func.id
            origin = self.imported.get(name)
            if origin is None:
                return name in self.own or name in ("print", "dict", "list", "isinstance", "len")
            if origin == "sqlalchemy.engine_from_config":
                return is_ours(call)
            if origin.endswith(".get_appsettings"):
                # With a name it is of another application.
                return len(call.args) == 1 and not call.keywords
            return origin.startswith(HARMLESS_MODULES)
        if not isinstance(call.func, ast.Attribute):
            return False
        root = call.func.value
        while isinstance(root, ast.Attribute):
            root = root.value
        origin = self.imported.get(root.id) if isinstance(root, ast.Name) else None
        if origin is not None and origin.startswith(HARMLESS_MODULES):
            return True
        known = origin is None or origin == "alembic.context"
        if call.func.attr == "get_section" and not is_main_section(call):
            return False
        return known and call.func.attr in HARMLESS_METHODS


def is_ours(call: ast.Call) -> bool:
    """True if a call of ``engine_from_config`` takes the URL that the service sets, and no more."""
    prefixes = [word.value for word in call.keywords if word.arg == "prefix"] + call.args[1:]
    return (
        len(prefixes) <= 1
        and all(isinstance(one, ast.Constant) and one.value == "sqlalchemy." for one in prefixes)
        and {word.arg for word in call.keywords} <= HARMLESS_ARGUMENTS
    )


def is_main_section(call: ast.Call) -> bool:
    """True if a call of ``get_section`` asks for the one that plain ``alembic`` has chosen."""
    name = call.args[0] if call.args else None
    return isinstance(name, ast.Attribute) and name.attr == "config_ini_section"


def is_known(origin: str) -> bool:
    """True if a name is of Alembic, SQLAlchemy, Pyramid or Python's logging."""
    return origin.partition(".")[0] in ("alembic", "sqlalchemy", "typing", "__future__") or (
        origin.startswith(HARMLESS_MODULES)
    )


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported name with what it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                name = one.name if one.asname else one.name.partition(".")[0]
                yield one.asname or name, name
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                yield one.asname or one.name, f"{node.module or ''}.{one.name}"
