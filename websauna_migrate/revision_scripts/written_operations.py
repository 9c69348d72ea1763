"""The operations that the upgrades of scripts call, and what they may change and do not say."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.script_runs import FunctionPart, Runs, parts_of
from websauna_migrate.revision_scripts.script_tree import parse_script
from websauna_migrate.revision_scripts.sql_reader import SEQUENCE_CHANGE
from websauna_migrate.revision_scripts.sql_text import UNKNOWN_PART

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


class Operation(NamedTuple):
    """A call of an operation.

    :ivar batch: schema and table of its batch
    :ivar runs: on which databases it runs, and whether it surely does
    """

    call: Call
    name: str
    batch: tuple[object, object]
    runs: Runs


#: SQL that changes rows alone.
ROWS = re.compile(r"\s*(INSERT|UPDATE|DELETE|SELECT)\b", re.IGNORECASE)

#: SQL that changes a sequence or an enum type alone.
APART = re.compile(
    r"(ALTER SEQUENCE|ALTER TYPE \S+ (RENAME TO|RENAME VALUE|ADD VALUE)|CREATE TYPE \S+ AS ENUM)\b"
    r"[^;]*$"
)

#: What makes an element of such.
ROW_METHODS = ("insert", "update", "delete", "select")

#: SQL that changes more of a table than what it names.
WHOLE = re.compile(
    r"\b(CREATE|DROP) TABLE\b|\bRENAME\b(?! (COLUMN|CONSTRAINT|INDEX)\b)", re.IGNORECASE
)


def may_change(
    call: Call, name: str, batch: tuple[object, object]
) -> Callable[[str, str], bool] | None:
    """Return what an operation may change that it does not say in a way that is understood.

    :returns: tells it of the names of a table, and of its column, constraint or index; ``None``
        where the operation says all
    """
    if name == FUNCTION:
        return everything
    if name in RUN_SQL:
        sql = call.value(0, "sqltext", "statement")
        if changes_rows(call) or (
            isinstance(sql, str) and (APART.match(sql) or SEQUENCE_CHANGE.fullmatch(sql))
        ):
            return None
        if not isinstance(sql, str) or UNKNOWN_PART in sql:
            return everything
        words = {*re.findall(r"\w+", sql)}
        whole = WHOLE.search(sql) is not None
        return lambda table, part: part in words or (whole and table in words)
    if name == "batch_alter_table":
        # SQLite's new table is made from what these say.
        key = batch_key(call, batch)
        table = None if key is None else key[1]
        made = {"copy_from", "reflect_args", "reflect_kwargs"} & call.keywords.keys() or call.open
        return (lambda name, part: table in (None, name)) if made else None
    if name not in CHANGES:
        return None
    place, part_place, words_of = CHANGES[name]
    key = batch_key(call, batch, place)
    part_place = 0 if batch[1] is not None and part_place is not None else part_place
    given = None if part_place is None else call.text(part_place, *words_of)
    if name == "drop_index" and key is None and given is not None:
        # It need not say its table.
        return lambda table, part: part == given
    if key is None:
        return everything
    said = call.args[0 if batch[1] is not None else 1 :]
    if (
        (part_place is not None and given is None)
        or call.open
        or (name == "add_column" and not all(isinstance(one, ast.Call) for one in said))
    ):
        return lambda table, part: table == key[1]
    if name == "drop_column":
        return lambda table, part: (table, part) == (key[1], given)
    return None


#: Operations, and changes of columns, that SQLite takes in a batch alone.
IN_A_BATCH = frozenset(
    {
        *("create_check_constraint", "create_foreign_key", "create_primary_key"),
        *("create_unique_constraint", "drop_constraint"),
    }
)
CHANGED_IN_A_BATCH = frozenset({"nullable", "server_default", "type_"})


def needs_batch(operation: Operation) -> bool:
    """True if a script surely fails on SQLite at an operation, for lack of a batch."""
    call, name, batch, runs = operation
    if batch != (None, None) or not runs.surely_runs(("sqlite",)):
        return False
    return name in IN_A_BATCH or (
        name == "alter_column" and not CHANGED_IN_A_BATCH.isdisjoint(call.keywords)
    )


def everything(table: str, part: str) -> bool:
    """Tell that an operation may change any part of any table."""
    return True


def changes_rows(call: Call) -> bool:
    """Tell whether a call runs SQL that changes rows alone: as text, or an element."""
    sql = call.value(0, "sqltext", "statement")
    if isinstance(sql, str):
        return ROWS.match(sql) is not None and ";" not in sql.rstrip("; \n")
    node = call.get(0, "sqltext", "statement")
    return node is not None and any(
        getattr(one, "attr", getattr(one, "id", None)) in ROW_METHODS
        for one in ast.walk(call.names.resolve(node))
    )


def operations_in(scripts: Iterable[str]) -> Iterator[Operation]:
    """Yield the calls of operations in the upgrades of scripts.

    :param scripts: their sources, in the order in which they are applied
    """
    for source in scripts:
        tree = parse_script(source, "<script>")
        names = Names(tree.body)
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
                yield from OperationReader().read(parts_of(function, names, Runs()))


class OperationReader:
    """Finds the operations of a function.

    :ivar batches: schema and table by the calls of a batch; those of several tables may have one
        name
    """

    def __init__(self) -> None:
        self.batches: dict[ast.Call, tuple[object, object]] = {}

    def read(self, parts: Iterable[FunctionPart]) -> Iterator[Operation]:
        """Yield the calls of operations in their order."""
        for part in parts:
            if isinstance(part.node, ast.expr):
                yield from self.expression(part.node, part)
                continue
            for item in part.node.items:
                yield from self.expression(item.context_expr, part)
                if isinstance(item.context_expr, ast.Call) and isinstance(
                    item.optional_vars, ast.Name
                ):
                    call = Call(item.context_expr, part.names)
                    key = (call.value(None, "schema"), call.value(0, "table_name"))
                    calls = calls_of(part.node, item.optional_vars.id)
                    self.batches.update(dict.fromkeys(calls, key))

    def expression(self, node: ast.expr, part: FunctionPart) -> list[Operation]:
        """Return the operations in an expression, in the order in which they stand."""
        waiting: list[tuple[ast.AST, Runs, bool]] = [(node, part.runs, False)]
        found: list[Operation] = []
        while waiting:
            one, runs, in_operation = waiting.pop()
            if isinstance(one, PERHAPS):
                runs = runs.perhaps()
            if isinstance(one, ast.Call):
                name = self.name_of(one, part.names, in_operation)
                if name is not None:
                    batch = self.batches.get(one, (None, None))
                    found.append(Operation(Call(one, part.names), name, batch, runs))
                in_operation = in_operation or (name is not None and name != FUNCTION)
            waiting += [(inner, runs, in_operation) for inner in inner_of(one)]
        return sorted(found, key=lambda one: (one.call.node.lineno, one.call.node.col_offset))

    def name_of(self, node: ast.Call, names: Names, in_operation: bool) -> str | None:
        """Return the name of the operation that a call is of; ``None`` for what changes nothing.

        :param in_operation: whether it is an argument of one, as a type is
        """
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if node in self.batches:
            return name
        dotted = names.dotted(node.func)
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
            own = names.function(word) is not None or not hasattr(builtins, word)
            return FUNCTION if own or word in OPEN else None
        if in_operation:
            return None
        if dotted is not None and dotted.lstrip(".").partition(".")[0] not in KNOWN:
            return FUNCTION
        given = [*node.args, *(one.value for one in node.keywords)]
        if any(names.dotted(one) == "alembic.op" for one in given):
            return FUNCTION
        if name in ("drop", "drop_all") and isinstance(node.func, ast.Attribute):
            made = names.resolve(node.func.value)
            words = ast.unparse(made.func) if isinstance(made, ast.Call) else ""
            return None if words.rpartition(".")[2] in NO_TABLE else FUNCTION
        return None


def inner_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of an expression that may have calls in them."""
    if isinstance(node, ast.Call):
        parts: Iterable[ast.AST] = (node.func, *node.args, *(one.value for one in node.keywords))
    elif isinstance(node, ast.Attribute):
        parts = (node.value,)
    else:
        parts = ast.iter_child_nodes(node)
    return (one for one in parts if not isinstance(one, PLAIN))


def calls_of(node: ast.AST, owner: str) -> Iterator[ast.Call]:
    """Yield the calls of the methods of a name."""
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Call)
            and isinstance(one.func, ast.Attribute)
            and isinstance(one.func.value, ast.Name)
            and one.func.value.id == owner
        ):
            yield one


def batch_key(call: Call, batch: tuple[object, object], place: int = 0) -> Key | None:
    """Return schema and name of the table that an operation is for; ``None`` if it is not known.

    :param batch: those of its batch, if it is one of a batch
    :param place: that of the table's name among the arguments
    """
    in_batch = batch[1] is not None
    names = ("table_name", "old_table_name")
    schema, table = batch if in_batch else (call.value(None, "schema"), call.value(place, *names))
    if not isinstance(table, str) or not (schema is None or isinstance(schema, str)):
        return None
    if UNKNOWN_PART in table or UNKNOWN_PART in (schema or ""):
        return None
    return schema, table
