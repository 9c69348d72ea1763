"""Which calls of a script's function run: on which databases, and whether they surely do."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from websauna_migrate.revision_scripts.script_names import Names

#: The name of a call of a function that may do anything.
FUNCTION = "a function"

#: Methods that run SQL.
RUN_SQL = ("execute", "exec_driver_sql")

#: Operations that change what tables have: at which places outside of a batch the table is, and the
#: name of what changes, and what the argument with that name is called.
CHANGES: Mapping[str, tuple[int, int | None, tuple[str, ...]]] = {
    "add_column": (0, None, ()),
    "alter_column": (0, 1, ("column_name",)),
    "create_check_constraint": (1, 0, ("constraint_name", "name")),
    "create_index": (1, 0, ("index_name",)),
    "create_table": (0, None, ()),
    "drop_column": (0, 1, ("column_name",)),
    "drop_constraint": (1, 0, ("constraint_name", "name")),
    "drop_index": (1, 0, ("index_name",)),
    "drop_table": (0, None, ()),
    "rename_table": (0, 1, ("new_table_name",)),
}

#: Operations that change no column's type and no expression, besides those that are looked at.
HARMLESS = frozenset(
    {
        *("batch_alter_table", "bulk_insert", "create_exclude_constraint", "create_foreign_key"),
        *("create_primary_key", "create_table_comment", "create_unique_constraint"),
        *("drop_table_comment", "f", "get_bind", "get_context", "inline_literal"),
        # Those of alembic-utils.
        *("create_entity", "drop_entity", "replace_entity", "revert_entity"),
    }
)

#: Packages whose functions change nothing, their operations aside.
KNOWN = frozenset({*sys.stdlib_module_names, "alembic", "sqlalchemy", "websauna_migrate"})

#: Functions of Python that may call any other.
OPEN = frozenset({"__import__", "eval", "exec", "getattr"})

#: What may be dropped by a method of its own, and is no table.
NO_TABLE = ("DOMAIN", "ENUM", "Enum", "Index", "Sequence")


#: Expressions of which a part may not be evaluated.
PERHAPS = (
    *(ast.Lambda, ast.BoolOp, ast.IfExp, ast.ListComp, ast.SetComp, ast.DictComp),
    ast.GeneratorExp,
)

#: Expressions without a call in them.
PLAIN = (ast.Constant, ast.Name, ast.expr_context)


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


def runs_of(
    function: ast.FunctionDef, names: Names, batches: Container[ast.Call]
) -> Iterator[tuple[ast.Call, str, Runs]]:
    """Yield the calls of operations in their order, with the operation's name.

    :param batches: the calls of methods of batches
    """
    walk = Walk(names, Names(function.body, names), batches)
    walk.block(function.body, Runs())
    yield from walk.found


def parts_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of an expression that may have calls in them."""
    if isinstance(node, ast.Call):
        parts: Iterable[ast.AST] = (node.func, *node.args, *(one.value for one in node.keywords))
    elif isinstance(node, ast.Attribute):
        parts = (node.value,)
    else:
        parts = ast.iter_child_nodes(node)
    return (one for one in parts if not isinstance(one, PLAIN))


@dataclass
class Walk:
    """One walk through the statements of a function.

    :ivar names: those of the script
    :ivar local: those of the function as well
    """

    names: Names
    local: Names
    batches: Container[ast.Call]
    found: list[tuple[ast.Call, str, Runs]] = field(default_factory=list)

    def block(self, statements: Iterable[ast.stmt], runs: Runs) -> Runs | None:
        """Go through statements.

        :returns: when what comes behind them runs; ``None`` if it never does
        """
        now: Runs | None = runs
        for statement in statements:
            if now is None:
                return None
            now = self.statement(statement, now)
        return now

    def statement(self, node: ast.stmt, runs: Runs) -> Runs | None:
        """Go through a statement, and return when what comes behind it runs."""
        if isinstance(node, ast.If):
            return self.condition(node, runs)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                self.expression(item.context_expr, runs)
            swallows = any("suppress" in ast.unparse(item.context_expr) for item in node.items)
            behind = self.block(node.body, runs.perhaps() if swallows else runs)
            return runs if swallows else behind
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return runs
        if isinstance(node, (ast.Return, ast.Raise)):
            self.expression(node, runs)
            return None
        if not any(isinstance(one, ast.stmt) for one in ast.iter_child_nodes(node)):
            self.expression(node, runs)
            return runs
        # Loops and the like: what is in them may run or not, and leave the function.
        leaves = any(isinstance(one, (ast.Return, ast.Raise)) for one in ast.walk(node))
        for one in ast.iter_child_nodes(node):
            if isinstance(one, ast.stmt):
                self.statement(one, runs.perhaps())
            elif isinstance(one, (ast.ExceptHandler, ast.match_case)):
                self.block(one.body, runs.perhaps())
            else:
                self.expression(one, runs)
        return runs.perhaps() if leaves else runs

    def condition(self, node: ast.If, runs: Runs) -> Runs | None:
        """Go through an ``if``."""
        self.expression(node.test, runs)
        test = dialects_of(node.test)
        if test is None:
            one = self.block(node.body, runs.perhaps())
            other = self.block(node.orelse, runs.perhaps())
            if one is None and other is None:
                return None
            return runs.perhaps() if None in (one, other) else runs
        dialects, wanted = test
        one = self.block(node.body, runs.on(dialects, wanted))
        other = self.block(node.orelse, runs.on(dialects, not wanted))
        if one is None or other is None:
            return other if one is None else one
        return runs if one.surely and other.surely else runs.perhaps()

    def expression(self, node: ast.AST, runs: Runs) -> None:
        """Note the calls in an expression, in the order in which they stand."""
        waiting: list[tuple[ast.AST, Runs, bool]] = [(node, runs, False)]
        calls: list[tuple[ast.Call, str, Runs]] = []
        while waiting:
            one, when, in_operation = waiting.pop()
            if isinstance(one, PERHAPS):
                when = when.perhaps()
            if isinstance(one, ast.Call):
                name = self.name_of(one, in_operation)
                if name is not None:
                    calls.append((one, name, when))
                in_operation = in_operation or (name is not None and name != FUNCTION)
            waiting += [(inner, when, in_operation) for inner in parts_of(one)]
        self.found += sorted(calls, key=lambda call: (call[0].lineno, call[0].col_offset))

    def name_of(self, node: ast.Call, in_operation: bool) -> str | None:
        """Return the name of the operation that a call is of; ``None`` for what changes nothing.

        :param in_operation: whether it is an argument of one, as a type is
        """
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if node in self.batches:
            return name
        dotted = self.names.dotted(node.func)
        if dotted is not None and dotted.startswith("alembic.op."):
            called = dotted.removeprefix("alembic.op.")
            known = called in HARMLESS or called in CHANGES or called in RUN_SQL
            return called if known else FUNCTION
        if name in RUN_SQL:
            return name
        if isinstance(node.func, ast.Name) and dotted is None:
            word = node.func.id
            if word == "getattr" and any(
                ast.unparse(one).endswith(".dialect") for one in node.args[:1]
            ):
                # Scripts ask it whether the server is MariaDB.
                return None
            own = self.names.function(word) is not None or not hasattr(builtins, word)
            return FUNCTION if own or word in OPEN else None
        if in_operation:
            return None
        if dotted is not None and dotted.lstrip(".").partition(".")[0] not in KNOWN:
            return FUNCTION
        given = [*node.args, *(one.value for one in node.keywords)]
        if any(self.names.dotted(one) == "alembic.op" for one in given):
            return FUNCTION
        if name in ("drop", "drop_all") and isinstance(node.func, ast.Attribute):
            made = self.local.resolve(node.func.value)
            words = ast.unparse(made.func) if isinstance(made, ast.Call) else ""
            return None if words.rpartition(".")[2] in NO_TABLE else FUNCTION
        return None


def dialects_of(test: ast.expr) -> tuple[frozenset[str], bool] | None:
    """Return the names of dialects that a condition asks for, and whether it wants them.

    ``None`` for another condition.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = dialects_of(test.operand)
        return None if inner is None else (inner[0], not inner[1])
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    if re.search(r"\bdialect\.name$", ast.unparse(test.left)) is None:
        return None
    try:
        value = ast.literal_eval(test.comparators[0])
    except ValueError:
        return None
    operator = test.ops[0]
    if isinstance(operator, (ast.Eq, ast.NotEq)) and isinstance(value, str):
        value = [value]
    elif not isinstance(operator, (ast.In, ast.NotIn)) or not isinstance(value, (list, tuple, set)):
        return None
    return frozenset(map(str, value)), isinstance(operator, (ast.Eq, ast.In))
