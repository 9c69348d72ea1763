"""The statements and calls of a script, walked in the order of execution, every branch of it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from websauna_migrate.revision_scripts.script_expressions import Expressions
from websauna_migrate.revision_scripts.script_values import (
    LONGEST_LOOP,
    UNKNOWN,
    Arguments,
    Batch,
    Built,
    Class,
    Dotted,
    Function,
    Method,
    Scope,
    UnreadableError,
    added,
    call_text,
    same,
)

__all__ = ["Walker"]

DEEPEST_CALL = 25

#: Methods that may change the schema whatever they are called on: connections, sessions, MetaData.
ON_CONNECTIONS = frozenset({"execute", "exec_driver_sql", "create_all"})


class Walker(Expressions):
    """Runs statements and the script's own functions; Alembic's operations are the subclass's.

    :ivar unreadable: how many operations could not be read
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        super().__init__()
        self.unreadable = 0
        self.running: list[ast.AST] = []

    def operate(self, name: str, given: Arguments) -> object:
        """Record the effects of one Alembic operation."""
        raise NotImplementedError

    def operate_batch(self, batch: Batch, name: str, given: Arguments) -> object:
        """Record the effects of one operation of a batch block."""
        raise NotImplementedError

    def create_or_drop(self, built: Built, name: str) -> object:
        """Record ``Enum(...).create(bind)``, ``Table(...).create(bind)`` and their ``drop``."""
        raise NotImplementedError

    def execute(self, sql: str) -> None:
        """Record the effects of literal SQL."""
        raise NotImplementedError

    # Statements

    def block(self, statements: Iterable[ast.stmt], scope: Scope) -> None:
        """Run statements in order, up to one that leaves the block."""
        for statement in statements:
            self.step()
            handler = getattr(self, f"do_{type(statement).__name__}", None)
            if handler is not None:
                handler(statement, scope)
            if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
                return

    def do_Expr(self, node: ast.Expr, scope: Scope) -> None:
        self.value(node.value, scope)

    def do_Return(self, node: ast.Return, scope: Scope) -> None:
        self.returned[-1].append(None if node.value is None else self.value(node.value, scope))

    def do_Assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.value(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)

    def do_AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value, scope), scope)

    def do_AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:
        right = self.value(node.value, scope)
        left = self.value(node.target, scope)
        plus = isinstance(node.op, ast.Add)
        self.assign(node.target, added(left, right) if plus else UNKNOWN, scope)

    def do_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        scope.names[node.name] = Function(node, scope)

    do_AsyncFunctionDef = do_FunctionDef

    def do_ClassDef(self, node: ast.ClassDef, scope: Scope) -> None:
        inner = Scope(outer=scope)
        self.block(node.body, inner)
        scope.names[node.name] = Class(node.name, inner)

    def do_Import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            scope.names[alias.asname or top] = Dotted(alias.name if alias.asname else top)

    def do_ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name != "*":
                scope.names[alias.asname or alias.name] = Dotted(f"{module}.{alias.name}")
            elif module == "alembic":
                scope.names["op"] = Dotted("alembic.op")

    def do_If(self, node: ast.If, scope: Scope) -> None:
        self.value(node.test, scope)
        self.branches([node.body, node.orelse], scope)

    def do_Match(self, node: ast.Match, scope: Scope) -> None:
        self.value(node.subject, scope)
        self.branches([case.body for case in node.cases], scope)

    def do_While(self, node: ast.While, scope: Scope) -> None:
        self.value(node.test, scope)
        self.branches([[*node.body, *node.orelse]], scope)

    def do_For(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        for item in self.items(self.value(node.iter, scope)):
            self.assign(node.target, item, scope)
            self.block(node.body, scope)
        self.block(node.orelse, scope)

    do_AsyncFor = do_For

    def do_With(self, node: ast.With | ast.AsyncWith, scope: Scope) -> None:
        for item in node.items:
            value = self.value(item.context_expr, scope)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, value, scope)
        self.block(node.body, scope)

    do_AsyncWith = do_With

    def do_Try(self, node: ast.Try, scope: Scope) -> None:
        self.block(node.body, scope)
        tried = dict(scope.names)
        for handler in node.handlers:
            # What runs only before the revision fails leaves nothing behind.
            if not isinstance(handler.body[-1], ast.Raise):
                self.block(handler.body, scope)
        scope.names.update(tried)
        self.block(node.orelse, scope)
        self.block(node.finalbody, scope)

    do_TryStar = do_Try

    def branches(self, bodies: list[list[ast.stmt]], scope: Scope) -> None:
        """Run alternatives one after the other; a name that they leave different is unknown."""
        before = dict(scope.names)
        after: list[dict[str, object]] = []
        for body in bodies:
            scope.names.clear()
            scope.names.update(before)
            self.block(body, scope)
            after.append(dict(scope.names))
        for names in after:
            for name, value in names.items():
                values = [other[name] for other in after if name in other]
                scope.names[name] = value if same(values) else UNKNOWN

    # Calls

    def call(self, called: object, given: Arguments) -> object:
        """Return what a call gives, and record its effects."""
        try:
            if isinstance(called, Function):
                return self.run(called, given)
            if isinstance(called, Method):
                return self.call_method(called.owner, called.name, given)
            if isinstance(called, Dotted):
                if called.name.startswith("alembic.op."):
                    return self.operate(called.last, given)
                if called.last in ON_CONNECTIONS:
                    return self.call_method(UNKNOWN, called.last, given)
                return self.call_imported(called, given)
        except UnreadableError:
            self.unreadable += 1
        return UNKNOWN

    def run(self, function: Function, given: Arguments) -> object:
        """Run a function of the script, unless it is running already."""
        node = function.node
        if node in self.running or len(self.running) > DEEPEST_CALL:
            return UNKNOWN
        inner = Scope(outer=function.scope)
        parameters = node.args
        positional = [*parameters.posonlyargs, *parameters.args]
        defaults: dict[str, ast.expr | None] = {p.arg: None for p in positional}
        if parameters.defaults:
            late = positional[-len(parameters.defaults) :]
            defaults.update(zip((p.arg for p in late), parameters.defaults, strict=True))
        defaults.update(
            zip((p.arg for p in parameters.kwonlyargs), parameters.kw_defaults, strict=True)
        )
        for name, default in defaults.items():
            inner.names[name] = UNKNOWN if default is None else self.value(default, function.scope)
        inner.names.update((p.arg, value) for p, value in zip(positional, given.args, strict=False))
        inner.names.update(given.keywords)
        if parameters.vararg is not None:
            inner.names[parameters.vararg.arg] = tuple(given.args[len(positional) :])
        if parameters.kwarg is not None:
            inner.names[parameters.kwarg.arg] = {
                name: value for name, value in given.keywords.items() if name not in defaults
            }
        self.running.append(node)
        self.returned.append([])
        if isinstance(node, ast.Lambda):
            self.returned[-1].append(self.value(node.body, inner))
        else:
            self.block(node.body, inner)
        self.running.pop()
        values = self.returned.pop()
        return values[0] if values and same(values) else UNKNOWN

    def call_imported(self, called: Dotted, given: Arguments) -> object:
        """Return what a function from elsewhere gives, if it only hands its argument on."""
        first = given.get(0, "text", "name", default=UNKNOWN)
        if called.last in ("text", "DDL", "dedent", "quoted_name", "conv", "str", "cleandoc"):
            return first
        if called.last == "Operations":
            return Dotted("alembic.op")
        if called.name in ("list", "tuple", "set", "sorted", "reversed", "frozenset"):
            values = self.items(first)
            return values[::-1] if called.name == "reversed" else values
        if called.name == "enumerate":
            return [(UNKNOWN, item) for item in self.items(first)]
        if called.name == "zip":
            rows = zip(*(self.items(part) for part in given.args), strict=False)
            return [tuple(row) for row in rows]
        return Built(called, given.args, given.keywords)

    def call_method(self, owner: object, name: str, given: Arguments) -> object:
        """Return what a method gives, and record its effects."""
        if isinstance(owner, Batch):
            return self.operate_batch(owner, name, given)
        if isinstance(owner, Built) and name in ("create", "drop"):
            return self.create_or_drop(owner, name)
        if name == "create_all":
            raise UnreadableError
        if name in ON_CONNECTIONS:
            statement = given.get(0, "statement")
            if isinstance(statement, str):
                self.execute(statement)
        elif isinstance(owner, str):
            return call_text(owner, name, given)
        elif isinstance(owner, list) and name in ("append", "extend"):
            if len(owner) <= LONGEST_LOOP:
                first = given.get(0)
                owner.extend([first] if name == "append" else self.items(first))
            return None
        elif isinstance(owner, dict) and name in ("items", "keys", "values", "get"):
            views: dict[str, Callable[[], object]] = {
                "items": lambda: list(owner.items()),
                "keys": lambda: list(owner),
                "values": lambda: list(owner.values()),
                "get": lambda: UNKNOWN,
            }
            return views[name]()
        return Built(Dotted(name), [owner, *given.args], given.keywords)
