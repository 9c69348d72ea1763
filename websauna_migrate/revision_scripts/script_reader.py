"""What a revision script does to tables and types: read from its source, never run or imported.

The operations that stand in ``upgrade()`` itself are read, with literal arguments, or names that
are bound once to literals. What stands under a condition, in a loop or behind an early return *may*
happen. What a helper function with arguments does, or depends on what is computed, is
*unreadable*: it is said, with its line, and never taken for nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from websauna_migrate.planning.accesses import Access, Key
from websauna_migrate.revision_scripts.core_statements import read_core, table_of
from websauna_migrate.revision_scripts.operations import OPERATIONS, created_types, read_operation
from websauna_migrate.revision_scripts.script_calls import (
    MAYBE,
    ON_CONNECTIONS,
    ON_METADATA,
    ON_POSTGRESQL,
    ON_SESSIONS,
    SURELY,
    Calls,
    certainty,
    opens_connections,
)
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.script_runs import FunctionPart, Runs, parts_of
from websauna_migrate.revision_scripts.script_tree import parse_script
from websauna_migrate.revision_scripts.sql_reader import read_sql


def read_effects(
    source: str | bytes, filename: str, function: str = "upgrade"
) -> tuple[Access, ...]:
    """Return what one function of a script does, in order.

    :param source: the script's text
    :param filename: for messages
    :param function: ``upgrade`` or ``downgrade``; a script without it does nothing
    :raises ScriptError: if the script is no valid Python; correct it
    """
    try:
        return Reader(parse_script(source, filename)).read(function)
    except RecursionError:
        # Valid, but nested deeper than Python hands out as a tree.
        return (Access("unreadable", None, "", sure=False),)


#: What a new script calls to give an enum type other values.
ENUM_HELPER = "websauna_migrate.enums.change_enum_values"

#: What it calls to leave everything as it was.
KEYS_HELPER = "websauna_migrate.enums.foreign_keys_aside"


#: SQLAlchemy's elements that do nothing to tables.
BESIDE_TABLES = ("CreateSchema", "CreateSequence", "DropSequence")


class Reader:
    """Walks one function of a script and collects what it does."""

    def __init__(self, tree: ast.Module) -> None:
        self.module = Names(tree.body)
        self.names = self.module
        self.found: list[Access] = []
        self.certain = SURELY
        # Another database may be meant where a script opens a connection of its own.
        self.runs = Runs(surely=not opens_connections(tree))
        #: False after SET search_path: a name without a schema may mean another table.
        self.usual_schema = True
        self.temporary: set[str] = set()
        #: Calls that are whole statements.
        self.whole: set[ast.AST] = set()
        self.calls = Calls(self.module)
        #: By the names of each function that is read.
        self.scopes: dict[Names, Calls] = {}

    def read(self, function: str) -> tuple[Access, ...]:
        """Return what a function does."""
        node = self.module.functions.get(function)
        if node is None:
            if self.module.imported(function) or function in self.module.values:
                self.unreadable(0)
            return tuple(self.found)
        runs = self.runs.perhaps() if node.decorator_list else self.runs
        for part in parts_of(node, self.module, runs):
            self.part(part)
        return tuple(self.found)

    def add(self, accesses: Iterable[Access], line: int) -> None:
        """Keep accesses at a line."""
        for access in accesses:
            if access.kind == "use_other_schema":
                self.usual_schema = False
                continue
            if access.kind == "roll_back":
                self.roll_back()
                continue
            # Types of their own are on PostgreSQL alone.
            enough = ON_POSTGRESQL if access.kind.endswith("_type") else SURELY
            sure = self.certain >= enough and access.sure
            sure = sure and (self.usual_schema or access.schema is not None)
            self.found.append(replace(access, line=line, sure=sure))

    def roll_back(self) -> None:
        """Note that what was done so far may be undone, back to a savepoint."""
        self.found = [replace(access, sure=False) for access in self.found]

    def unreadable(self, line: int) -> None:
        """Note an operation that may do anything."""
        self.add([Access("unreadable", None, "")], line)

    def part(self, part: FunctionPart) -> None:
        """Read a part of a function."""
        self.names = part.names
        if part.names not in self.scopes:
            self.scopes[part.names] = Calls(part.names)
        self.calls = self.scopes[part.names]
        self.certain = certainty(part.runs)
        if isinstance(part.node, ast.expr):
            if part.whole:
                self.whole.add(part.node)
            self.expression(part.node)
            return
        for item in part.node.items:
            call = item.context_expr
            name = self.calls.called(call)
            if name == "alembic.op.batch_alter_table" and isinstance(call, ast.Call):
                self.batch(call, item.optional_vars)
            else:
                self.expression(call)

    def batch(self, node: ast.Call, target: ast.expr | None) -> None:
        """Remember the table of a batch by the name of its object."""
        call = Call(node, self.names)
        name, schema = call.text(0, "table_name"), call.value(1, "schema")
        readable = name is not None and (schema is None or isinstance(schema, str))
        if isinstance(target, ast.Name):
            key = (schema, name) if readable else None
            self.calls.batches[target.id] = key  # type: ignore[assignment]
        if not readable:
            self.unreadable(node.lineno)

    # Expressions

    def expression(self, node: ast.AST) -> None:
        """Read the calls in an expression, those inside before those around."""
        if isinstance(node, ast.Call):
            self.call(node)
        elif isinstance(node, (ast.IfExp, ast.BoolOp, ast.Lambda)) or hasattr(node, "generators"):
            before, self.certain = self.certain, MAYBE
            self.parts(node)
            self.certain = before
        else:
            if isinstance(node, ast.NamedExpr):
                self.names.values[node.target.id] = None
            if self.is_handed_on(node):
                self.unreadable(getattr(node, "lineno", 0))
            else:
                self.parts(node)

    def is_handed_on(self, node: ast.AST) -> bool:
        """Return whether an operation is not called but handed on, to be called elsewhere."""
        return (
            isinstance(node, (ast.Name, ast.Attribute))
            and node not in self.whole
            and (self.names.dotted(node) or "").startswith("alembic.op")
        )

    def parts(self, node: ast.AST) -> None:
        """Read the parts of an expression."""
        for child in ast.iter_child_nodes(node):
            self.expression(child)

    def call(self, node: ast.Call) -> None:
        """Read one call."""
        name, line = self.calls.called(node), node.lineno
        method = name.rpartition(".")[2]
        if name.startswith("alembic.op."):
            self.operation(method, node, None)
        elif name == ENUM_HELPER:
            self.enum_change(Call(node, self.names), line)
        elif name == KEYS_HELPER or (
            isinstance(node.func, ast.Attribute) and self.in_batch(node, node.func)
        ):
            pass
        elif self.calls.is_unseen(node):
            self.unreadable(line)
        elif method in ON_CONNECTIONS and isinstance(node.func, ast.Attribute):
            self.parts(node.func)
            self.execute(Call(node, self.names), line)
        elif method in ("create", "drop") and isinstance(node.func, ast.Attribute):
            self.create_or_drop(node.func.value, method, node)
        elif method == "rollback" and isinstance(node.func, ast.Attribute):
            self.roll_back()
        elif method in ON_METADATA or (
            isinstance(node.func, ast.Name) and self.calls.is_helper(node)
        ):
            self.unreadable(line)
        elif method in ON_SESSIONS and name.startswith("."):
            self.parts(node)
            if not self.calls.is_collection(node):
                self.add([Access("unreadable_part", None, "")], line)
        elif self.calls.is_foreign(name, node):
            # A value that is wanted is mostly computed from values.
            if node in self.whole or self.calls.gives_access(node):
                self.unreadable(line)
            else:
                self.add([Access("unreadable_part", None, "")], line)
        else:
            self.parts(node)

    def operation(self, name: str, node: ast.Call, table: Key | None) -> None:
        """Read one of Alembic's operations."""
        call = Call(node, self.names)
        if name == "execute":
            self.execute(call, node.lineno)
        elif name == "batch_alter_table":
            # Outside of a ``with``: what is done to it is not followed.
            self.unreadable(node.lineno)
        else:
            self.add(read_operation(name, call, table), node.lineno)
            for one in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(one, ast.Call) and self.calls.is_helper(one):
                    self.unreadable(one.lineno)

    def enum_change(self, call: Call, line: int) -> None:
        """Read a call of :func:`websauna_migrate.enums.change_enum_values`."""
        name, schema = call.text(0, "name"), call.value(None, "schema")
        values = call.value(1, "values")
        if name and not call.open and (schema is None or isinstance(schema, str)):
            access = Access("alter_type", schema, name)
            if isinstance(values, (list, tuple)) and all(isinstance(one, str) for one in values):
                access = replace(access, rule="enum value", values=tuple(values))
            self.add([access], line)
        else:
            self.unreadable(line)

    def in_batch(self, node: ast.Call, function: ast.Attribute) -> bool:
        """Read an operation of a batch; false if it is none."""
        if not isinstance(function.value, ast.Name) or function.value.id not in self.calls.batches:
            return False
        key = self.calls.batches[function.value.id]
        if key is not None or function.attr not in OPERATIONS:
            self.operation(function.attr, node, key)
        return True

    def execute(self, call: Call, line: int) -> None:
        """Read a statement: literal SQL, or one of SQLAlchemy's."""
        node = call.get(0, "sqltext", "statement")
        if node is None:
            if call.open:
                self.unreadable(line)
            return
        value = self.names.literal(node)
        if isinstance(value, str):
            self.add(read_sql(value, line, temporary=self.temporary), line)
            return
        resolved = self.names.resolve(node)
        ddl = self.ddl(resolved)
        found = [ddl] if ddl else list(read_core(resolved, self.names))
        if found:
            self.add(found, line)
        else:
            self.unreadable(line)

    def ddl(self, node: ast.expr) -> Access | None:
        """Return what SQLAlchemy's elements for schemas and sequences do."""
        last = self.calls.called(node).rpartition(".")[2]
        if last in BESIDE_TABLES:
            return Access("comment_on", None, "")
        if last == "DropSchema" and isinstance(node, ast.Call):
            name = Call(node, self.names).text(0, "name")
            return Access("drop_schema", None, name) if name else None
        return None

    def create_or_drop(self, owner: ast.expr, method: str, node: ast.Call) -> None:
        """Read ``Enum(...).create(bind)``, ``Table(...).create(bind)`` and their ``drop``."""
        if (table := table_of(owner, self.names)) is not None:
            resolved = self.names.resolve(owner)
            assert isinstance(resolved, ast.Call)
            call = Call(resolved, self.names)
            # A Table has its MetaData before its columns.
            call.args = [call.args[0], *call.args[2:]]
            maybe = self.keyword(node, "checkfirst") is not False
            accesses: list[Access] = (
                [replace(one, sure=False) if maybe and one.kind == "create_table" else one
                 for one in read_operation("create_table", call, table[0])]
                if method == "create"
                else [Access("drop_table", *table[0])]
            )  # fmt: skip
            self.add(accesses, node.lineno)
            return
        maybe = method == "create" and self.keyword(node, "checkfirst") is not False
        types = [
            replace(one, kind="create_type" if method == "create" else "drop_type", sure=not maybe)
            for one in created_types(owner, self.names, None)
            if one.kind in ("create_type", "use_type")
        ]
        if types:
            self.add(types, node.lineno)
        elif node.args or node.keywords:
            self.unreadable(node.lineno)

    def keyword(self, node: ast.Call, name: str) -> object:
        """Return the literal value of a keyword."""
        return Call(node, self.names).value(None, name)
