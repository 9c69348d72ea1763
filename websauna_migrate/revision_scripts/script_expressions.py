"""The expressions of a script: followed as far as they are literal, and no further."""

from __future__ import annotations

import ast

from websauna_migrate.revision_scripts.script_values import (
    LONGEST_LOOP,
    UNKNOWN,
    Arguments,
    Class,
    Dotted,
    Function,
    Method,
    Scope,
    added,
    as_part,
    limited,
    percent,
    same,
)
from websauna_migrate.revision_scripts.sql_reader import UNKNOWN_PART

__all__ = ["ExhaustedError", "Expressions"]

#: Enough for any script; loops over literals inside of loops could go on without an end.
MOST_STEPS = 200_000


class ExhaustedError(Exception):
    """A script took more steps than any real one does."""


class Expressions:
    """Values of expressions: strings, numbers, lists, tuples, dictionaries and imported names.

    Calls are left to the subclass.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self.line = 0
        self.steps = 0
        self.returned: list[list[object]] = [[]]

    def call(self, called: object, given: Arguments) -> object:
        """Return what a call gives, and record its effects."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one step.

        :raises ExhaustedError: after too many
        """
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ExhaustedError

    def assign(self, target: ast.expr, value: object, scope: Scope) -> None:
        """Bind the names of a target."""
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = list(value) if isinstance(value, (tuple, list)) else []
            fits = len(values) == len(target.elts)
            for number, part in enumerate(target.elts):
                starred = any(isinstance(one, ast.Starred) for one in target.elts)
                self.assign(part, values[number] if fits and not starred else UNKNOWN, scope)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, UNKNOWN, scope)

    def items(self, value: object) -> list[object]:
        """Return what a loop over a value goes through; one unknown item if nobody knows."""
        if isinstance(value, (tuple, list)) and len(value) <= LONGEST_LOOP:
            return list(value)
        if isinstance(value, dict) and len(value) <= LONGEST_LOOP:
            return list(value)
        return [UNKNOWN]

    def value(self, node: ast.expr, scope: Scope) -> object:
        """Return the value of an expression, as far as it is literal."""
        self.step()
        handler = getattr(self, f"of_{type(node).__name__}", None)
        return UNKNOWN if handler is None else handler(node, scope)

    def of_Constant(self, node: ast.Constant, scope: Scope) -> object:
        if isinstance(node.value, str) and UNKNOWN_PART in node.value:
            return UNKNOWN
        return node.value

    def of_Name(self, node: ast.Name, scope: Scope) -> object:
        return scope.find(node.id)

    def of_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> object:
        value = self.value(node.value, scope)
        self.assign(node.target, value, scope)
        return value

    def of_Await(self, node: ast.Await, scope: Scope) -> object:
        return self.value(node.value, scope)

    def of_Yield(self, node: ast.Yield, scope: Scope) -> object:
        # A context manager of the script hands its value to the ``with`` block.
        if node.value is not None:
            self.returned[-1].append(self.value(node.value, scope))
        return UNKNOWN

    def of_Tuple(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> object:
        values: list[object] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                values += self.items(self.value(element.value, scope))
            else:
                values.append(self.value(element, scope))
        return tuple(values) if isinstance(node, ast.Tuple) else values

    of_List = of_Set = of_Tuple

    def of_Dict(self, node: ast.Dict, scope: Scope) -> object:
        found: dict[object, object] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.value(item, scope)
            if key is None:
                if isinstance(value, dict):
                    found.update(value)
                continue
            name = self.value(key, scope)
            if isinstance(name, (str, int)):
                found[name] = value
        return found

    def of_Subscript(self, node: ast.Subscript, scope: Scope) -> object:
        owner, index = self.value(node.value, scope), self.value(node.slice, scope)
        if isinstance(owner, (tuple, list)) and isinstance(index, int):
            return owner[index] if -len(owner) <= index < len(owner) else UNKNOWN
        if isinstance(owner, dict) and isinstance(index, (str, int)):
            return owner.get(index, UNKNOWN)
        return UNKNOWN

    def of_IfExp(self, node: ast.IfExp, scope: Scope) -> object:
        self.value(node.test, scope)
        values = [self.value(node.body, scope), self.value(node.orelse, scope)]
        return values[0] if same(values) else UNKNOWN

    def of_BoolOp(self, node: ast.BoolOp, scope: Scope) -> object:
        known = (str, int, type(None))
        values = [self.value(part, scope) for part in node.values]
        for value in values[:-1]:
            if not isinstance(value, known):
                return UNKNOWN
            if bool(value) is isinstance(node.op, ast.Or):
                return value
        return values[-1]

    def of_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> object:
        value = self.value(node.operand, scope)
        return -value if isinstance(node.op, ast.USub) and isinstance(value, int) else UNKNOWN

    def of_Compare(self, node: ast.Compare, scope: Scope) -> object:
        for part in (node.left, *node.comparators):
            self.value(part, scope)
        return UNKNOWN

    def of_BinOp(self, node: ast.BinOp, scope: Scope) -> object:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(node.op, ast.Add):
            return added(left, right)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return percent(left, right)
        return UNKNOWN

    def of_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> object:
        return limited("".join(as_part(self.value(part, scope)) for part in node.values))

    def of_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> object:
        value = self.value(node.value, scope)
        return value if node.format_spec is None and node.conversion in (-1, ord("s")) else UNKNOWN

    def of_Lambda(self, node: ast.Lambda, scope: Scope) -> object:
        return Function(node, scope)

    def of_ListComp(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope
    ) -> object:
        found: list[object] = []

        def run(generators: list[ast.comprehension], inner: Scope) -> None:
            if not generators:
                found.append(self.value(node.elt, inner))
                return
            first, *rest = generators
            for item in self.items(self.value(first.iter, inner)):
                self.assign(first.target, item, inner)
                for test in first.ifs:
                    self.value(test, inner)
                run(rest, inner)

        run(node.generators, Scope(outer=scope))
        return found if len(found) <= LONGEST_LOOP else UNKNOWN

    of_SetComp = of_GeneratorExp = of_ListComp

    def of_Attribute(self, node: ast.Attribute, scope: Scope) -> object:
        owner = self.value(node.value, scope)
        if isinstance(owner, Dotted):
            return Dotted(f"{owner.name}.{node.attr}")
        if isinstance(owner, Class):
            return owner.scope.names.get(node.attr, UNKNOWN)
        return Method(owner, node.attr)

    def of_Call(self, node: ast.Call, scope: Scope) -> object:
        called = self.value(node.func, scope)
        args: list[object] = []
        for part in node.args:
            if isinstance(part, ast.Starred):
                args += self.items(self.value(part.value, scope))
            else:
                args.append(self.value(part, scope))
        keywords: dict[str, object] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords.update((name, v) for name, v in value.items() if isinstance(name, str))
        self.line = node.lineno
        return self.call(called, Arguments(args, keywords))
