"""The names of a script: what each is bound to, as far as its text alone can tell.

A name counts if it is bound once, by an import or by a plain assignment. What is not literal is
unknown: nothing of a script is run here.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator

from websauna_migrate.revision_scripts.sql_text import UNKNOWN_PART


class Unknown:
    """The value of what only the running script knows."""


UNKNOWN = Unknown()

#: Enough for any script; names that refer to each other in a circle come to an end.
DEEPEST = 30

#: Calls that hand their first argument on.
WRAPPERS = frozenset({"text", "DDL", "dedent", "cleandoc", "quoted_name", "conv", "f"})
#: Methods of a ``text()`` that leave its SQL as it is.
TEXT_METHODS = frozenset({"execution_options", "bindparams", "columns", "strip"})

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


def walk_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements of a scope in order, without those of functions and classes in it."""
    for node in nodes:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name in BODIES:
                if inner := getattr(node, name, None):
                    yield from walk_scope(inner)


class Call:
    """The arguments of a call, by position or name."""

    def __init__(self, node: ast.Call, names: Names) -> None:
        self.node = node
        self.names = names
        self.args: list[ast.expr] = []
        for one in node.args:
            if isinstance(one, ast.Starred):
                break
            self.args.append(one)
        self.keywords = {one.arg: one.value for one in node.keywords if one.arg is not None}
        #: Some arguments are not written out.
        self.open = len(self.args) < len(node.args) or len(self.keywords) < len(node.keywords)

    def get(self, position: int | None, *names: str) -> ast.expr | None:
        """Return the argument at a position or under one of its names, old ones too."""
        if position is not None and position < len(self.args):
            return self.args[position]
        return next((self.keywords[name] for name in names if name in self.keywords), None)

    def value(self, position: int | None, *names: str) -> object:
        """Return the literal value of an argument; ``None`` where it is left out."""
        found = self.get(position, *names)
        if found is None:
            return UNKNOWN if self.open and position is not None else None
        return self.names.literal(found)

    def text(self, position: int | None, *names: str) -> str | None:
        """Return an argument that must be a literal string."""
        value = self.value(position, *names)
        known = isinstance(value, str) and value and UNKNOWN_PART not in value
        return value if known else None  # type: ignore[return-value]


class Names:
    """The names of a module or function, inside those of the module around it."""

    def __init__(self, body: Iterable[ast.stmt], outer: Names | None = None) -> None:
        self.outer = outer
        self.imports: dict[str, str] = {}
        #: The modules of which all names are imported.
        self.stars: list[str] = []
        self.functions: dict[str, FunctionNode] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self.values: dict[str, ast.expr | None] = {}
        #: What expressions make, as far as it was asked for.
        self.made: dict[ast.expr, object] = {}
        counts: dict[str, int] = {}
        for node in walk_scope(body):
            for name in self._bound(node):
                counts[name] = counts.get(name, 0) + 1
        for name, count in counts.items():
            if count > 1:
                self.values[name] = None

    def _bound(self, node: ast.AST) -> Iterator[str]:
        """Yield the names that a node binds, and keep what to."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self.imports[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    self.stars.append(module)
                else:
                    self.imports[alias.asname or alias.name] = f"{module}.{alias.name}"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            plain = not isinstance(node, ast.AugAssign) and len(targets) == 1
            for target in targets:
                if plain and isinstance(target, ast.Name) and node.value is not None:
                    self.values.setdefault(target.id, node.value)
                yield from self._unknown(target)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            yield from self._unknown(node.target)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if item.optional_vars is not None:
                    yield from self._unknown(item.optional_vars)
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                yield from self._unknown(target)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.values.setdefault(node.name, None)
        elif isinstance(node, ast.match_case):
            for part in ast.walk(node.pattern):
                if isinstance(part, (ast.MatchAs, ast.MatchStar)) and part.name:
                    self.values[part.name] = None
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from [*node.names, *node.names]

    def _unknown(self, target: ast.expr) -> Iterator[str]:
        """Yield the names of a target, which is no plain name of one value if it is not known."""
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.values.setdefault(node.id, None)
                yield node.id

    def find(self, name: str) -> tuple[ast.expr | None, Names | None]:
        """Return what a name is bound to, once, and where; ``None`` if that is not known."""
        if name in self.values:
            return self.values[name], self
        return (None, None) if self.outer is None else self.outer.find(name)

    def function(self, name: str) -> FunctionNode | None:
        """Return a function of the script."""
        found = self.functions.get(name)
        return found if found is not None or self.outer is None else self.outer.function(name)

    def class_of(self, name: str) -> ast.ClassDef | None:
        """Return a class of the script."""
        found = self.classes.get(name)
        return found if found is not None or self.outer is None else self.outer.class_of(name)

    def imported(self, name: str) -> str | None:
        """Return the full name of what a name was imported as.

        What is bound nowhere is of a module of which all names are imported; of several it is the
        one that may do most.
        """
        if name in self.imports or self.is_bound(name):
            return self.imports.get(name)
        if self.outer is not None:
            return self.outer.imported(name)
        if not self.stars or hasattr(builtins, name):
            return None
        module = min(
            self.stars,
            key=lambda one: (one != "alembic.op", one.partition(".")[0] == "sqlalchemy"),
        )
        return f"{module}.{name}"

    def is_bound(self, name: str) -> bool:
        """Tell whether a name is bound here, by no import alone."""
        return name in self.values or name in self.functions or name in self.classes

    def dotted(self, node: ast.expr, depth: int = 0) -> str | None:
        """Return the full name of something imported: ``alembic.op.create_table``."""
        if depth > DEEPEST:
            return None
        if isinstance(node, ast.Name):
            if (imported := self.imported(node.id)) is not None:
                return imported
            value, where = self.find(node.id)
            return None if value is None or where is None else where.dotted(value, depth + 1)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value, depth + 1)
            return None if base is None else f"{base}.{node.attr}"
        if isinstance(node, ast.Call):
            called = self.dotted(node.func, depth + 1)
            return "alembic.op" if called == "alembic.operations.Operations" else None
        return None

    def resolve(self, node: ast.expr, depth: int = 0) -> ast.expr:
        """Return the expression that a name stands for, or the node itself."""
        if isinstance(node, ast.Name) and depth <= DEEPEST:
            value, where = self.find(node.id)
            if value is not None and where is not None:
                return where.resolve(value, depth + 1)
        return node

    def literal(self, node: ast.expr, depth: int = 0) -> object:
        """Return a literal string, number, ``None``, a list or dictionary of such; else unknown.

        A part of a string that is not literal is marked in it.
        """
        if depth > DEEPEST:
            return UNKNOWN
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            value, where = self.find(node.id)
            known = value is not None and where is not None
            return where.literal(value, depth + 1) if known else UNKNOWN  # type: ignore
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return [self.literal(one, depth + 1) for one in node.elts]
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self.literal(one, depth + 1) for one in node.keys if one is not None]
            if all(isinstance(one, str) for one in keys):
                values = [self.literal(one, depth + 1) for one in node.values]
                return dict(zip(keys, values, strict=True))
        if isinstance(node, ast.JoinedStr):
            return "".join(self.part(one, depth) for one in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = [self.literal(one, depth + 1) for one in (node.left, node.right)]
            if any(isinstance(side, str) for side in sides):
                return "".join(side if isinstance(side, str) else UNKNOWN_PART for side in sides)
        if isinstance(node, ast.Call) and node.args:
            name = (self.dotted(node.func) or "").rpartition(".")[2]
            if name in WRAPPERS or (isinstance(node.func, ast.Attribute) and node.func.attr == "f"):
                inner = self.literal(node.args[0], depth + 1)
                if name == "DDL" and isinstance(inner, str):
                    # Its context is not in its text.
                    return re.sub(r"%\(\w+\)s", UNKNOWN_PART, inner)
                return inner
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return UNKNOWN
        is_text = node.func.attr in TEXT_METHODS
        return self.literal(node.func.value, depth + 1) if is_text else UNKNOWN

    def part(self, node: ast.expr, depth: int) -> str:
        """Return a part of an f-string, the mark of an unknown part if it is not literal."""
        if isinstance(node, ast.FormattedValue):
            if node.format_spec is not None or node.conversion not in (-1, ord("s")):
                return UNKNOWN_PART
            node = node.value
        value = self.literal(node, depth + 1)
        return str(value) if isinstance(value, (str, int)) else UNKNOWN_PART
