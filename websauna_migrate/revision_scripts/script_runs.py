"""The statements of a script's function in their order: on which databases they run, and if surely.

All that reads scripts goes through their statements by :class:`Walk`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from websauna_migrate.revision_scripts.script_names import Names, walk_scope
from websauna_migrate.revision_scripts.sql_text import UNKNOWN_PART

#: A function counts where it is called, and an import does nothing.
NOT_READ = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)

#: What a ``with`` calls whose block surely runs.
RUNS_SURELY = frozenset(
    {
        *("autocommit_block", "begin", "begin_nested", "begin_transaction", "batch_alter_table"),
        *("catch_warnings", "foreign_keys_aside", "nullcontext", "session", "Session"),
    }
)


@dataclass(frozen=True)
class Runs:
    """When a statement runs.

    :ivar tests: names of SQLAlchemy's dialects, and whether it runs on these or on all others
    :ivar surely: whether it runs there on any account
    """

    tests: tuple[tuple[frozenset[str], bool], ...] = ()
    surely: bool = True

    def on(self, names: Collection[str], wanted: bool) -> Runs:
        """Return when it runs within a further test of the dialect's name."""
        return replace(self, tests=(*self.tests, (frozenset(names), wanted)))

    def perhaps(self) -> Runs:
        """Return when it runs within a condition that is not understood."""
        return replace(self, surely=False)

    def may_run(self, dialects: Collection[str]) -> bool:
        """Tell whether it may run on a database.

        :param dialects: the names of those that run on it
        """
        return all(any(self.answers(dialects, *test)) for test in self.tests)

    def surely_runs(self, dialects: Collection[str]) -> bool:
        """Tell whether it runs on a database on any account, whichever of its dialects is used."""
        return self.surely and all(all(self.answers(dialects, *test)) for test in self.tests)

    def answers(
        self, dialects: Collection[str], names: Collection[str], wanted: bool
    ) -> Iterator[bool]:
        """Yield whether dialects pass a test."""
        return ((one in names) is wanted for one in dialects)


@dataclass(frozen=True, eq=False)
class FunctionPart:
    """A part of a function.

    :ivar node: an expression, or a ``with``, which comes before its block
    :ivar runs: when it runs
    :ivar names: those of the function that it stands in
    :ivar whole: whether it is a whole statement, or the value that one assigns
    """

    node: ast.expr | ast.With | ast.AsyncWith
    runs: Runs
    names: Names
    whole: bool = False


#: Yields the parts of statements in their order. Returns when the code behind these runs; ``None``
#: if it never does.
Parts: TypeAlias = Generator[FunctionPart, None, Runs | None]


def parts_of(function: ast.FunctionDef | ast.AsyncFunctionDef, names: Names, runs: Runs) -> Parts:
    """Yield the parts of a function, and of those without arguments that it calls.

    :param names: those of the script
    :param runs: when the function runs
    """
    return (yield from Walk(names, Names(function.body, names)).block(function.body, runs))


@dataclass(frozen=True)
class Walk:
    """A walk through the statements of a function.

    :ivar module: the names of the script
    :ivar names: those of the function as well
    :ivar inside: the functions that are being read in the place where they are called
    """

    module: Names
    names: Names
    inside: tuple[str, ...] = ()

    def block(self, statements: Iterable[ast.stmt], runs: Runs) -> Parts:
        """Go through statements in order, up to one that leaves the block."""
        now: Runs | None = runs
        for statement in statements:
            if now is None:
                break
            now = yield from self.statement(statement, now)
        return now

    def statement(self, node: ast.stmt, runs: Runs) -> Parts:
        """Go through a statement."""
        if isinstance(node, NOT_READ):
            return runs
        if isinstance(node, ast.If):
            return (yield from self.condition(node, runs))
        if isinstance(node, (ast.With, ast.AsyncWith)):
            yield FunctionPart(node, runs, self.names)
            surely = all(self.runs_surely(item.context_expr) for item in node.items)
            behind = yield from self.block(node.body, runs if surely else runs.perhaps())
            return behind if surely else self.behind(node, runs)
        value = node.value if isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign)) else None
        if (function := self.plain_function(value)) is not None:
            inner = (*self.inside, function.name)
            walk = Walk(self.module, Names(function.body, self.module), inner)
            yield from walk.block(function.body, runs)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield FunctionPart(child, runs, self.names, child is value)
        if isinstance(node, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
            return None
        # What runs only before the revision fails leaves nothing behind.
        handlers = [
            one.body
            for one in getattr(node, "handlers", ())
            if not isinstance(one.body[-1], ast.Raise)
        ]
        names = ("body", "orelse", "finalbody")
        bodies = [body for name in names if (body := getattr(node, name, None))]
        bodies += [*(case.body for case in getattr(node, "cases", ())), *handlers]
        happens = isinstance(node, ast.Try) and not handlers
        for body in bodies:
            yield from self.block(body, runs if happens else runs.perhaps())
        return self.behind(node, runs)

    def condition(self, node: ast.If, runs: Runs) -> Parts:
        """Go through an ``if``."""
        yield FunctionPart(node.test, runs, self.names)
        test = dialects_of(node.test, self.names)
        one = other = runs.perhaps()
        if test is not None:
            dialects, wanted = test
            one, other = runs.on(dialects, wanted), runs.on(dialects, not wanted)
        behind = yield from self.block(node.body, one)
        behind_other = yield from self.block(node.orelse, other)
        if test is not None and (behind is None or behind_other is None):
            # A branch that raises undoes the whole step, so it limits nothing behind it.
            ends = node.body if behind is None else node.orelse
            if not isinstance(ends[-1], ast.Raise):
                return behind or behind_other
        if behind is None and behind_other is None:
            return None
        return self.behind(node, runs)

    def behind(self, node: ast.stmt, runs: Runs) -> Runs:
        """Return when the code behind a statement runs: perhaps, if that may leave the function."""
        leaves = any(isinstance(one, ast.Return) for one in walk_scope([node]))
        return runs.perhaps() if leaves else runs

    def runs_surely(self, call: ast.expr) -> bool:
        """Tell whether the block of a ``with`` runs as if it were in none."""
        function = call.func if isinstance(call, ast.Call) else call
        name = self.names.dotted(function) or str(getattr(function, "attr", ""))
        return name.rpartition(".")[2] in RUNS_SURELY

    def plain_function(self, node: ast.expr | None) -> ast.FunctionDef | None:
        """Return the script's own function that a whole statement calls without arguments."""
        if not isinstance(node, ast.Call) or node.args or node.keywords:
            return None
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        function = self.module.functions.get(name)
        if not isinstance(function, ast.FunctionDef) or function.decorator_list:
            return None
        arguments = function.args
        takes = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        if takes or arguments.vararg or arguments.kwarg or name in self.inside:
            return None
        if any(isinstance(one, (ast.Yield, ast.YieldFrom)) for one in ast.walk(function)):
            # A call of a generator runs nothing of it.
            return None
        return function if self.names.function(name) is function else None


def dialects_of(test: ast.expr, names: Names | None = None) -> tuple[frozenset[str], bool] | None:
    """Return the names of dialects that a condition asks for, and whether it wants them.

    ``None`` for another condition.

    :param names: those of the script, if the condition may use them
    """
    test = test if names is None else names.resolve(test)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = dialects_of(test.operand, names)
        return None if inner is None else (inner[0], not inner[1])
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    left = test.left if names is None else names.resolve(test.left)
    if re.search(r"\b(dialect|engine)\.name$", ast.unparse(left)) is None:
        return None
    value = (names or Names(())).literal(test.comparators[0])
    operator = test.ops[0]
    if isinstance(operator, (ast.Eq, ast.NotEq)) and isinstance(value, str):
        value = [value]
    elif not isinstance(operator, (ast.In, ast.NotIn)) or not isinstance(value, list):
        return None
    if not all(isinstance(one, str) and UNKNOWN_PART not in one for one in value):
        return None
    return frozenset(value), isinstance(operator, (ast.Eq, ast.In))
