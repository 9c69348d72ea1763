"""Constraints and indexes as scripts made them, on one kind of database."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call
from websauna_migrate.revision_scripts.written_operations import (
    Operation,
    batch_key,
    everything,
    running_on,
)

#: What makes a constraint or index, with Alembic's word for its kind.
KINDS = {
    "CheckConstraint": "check",
    "ForeignKeyConstraint": "foreignkey",
    "UniqueConstraint": "unique",
    "create_check_constraint": "check",
    "create_exclude_constraint": "exclude",
    "create_foreign_key": "foreignkey",
    "create_index": "index",
    "create_unique_constraint": "unique",
}


class Part(NamedTuple):
    """A constraint or index that a script made.

    :ivar kind: Alembic's word
    :ivar call: what made it
    :ivar said: the arguments behind its name and its table
    """

    kind: str
    call: Call
    said: list[ast.expr]


#: By table and name; ``None`` for one that may be there or not.
Parts = dict[Key, dict[str, Part | None]]


def parts_on(dialects: Collection[str], operations: Iterable[Operation]) -> Parts | None:
    """Return what the tables of a database have behind the upgrades of scripts.

    Of what is created with a table it is what has a name. ``None`` where a script may have made or
    dropped anything.

    :param dialects: the names of SQLAlchemy's dialects that run on it
    :param operations: those of the scripts, see :func:`.operations_in`
    """
    found: Parts = {}
    #: Tables with types that bring CHECKs, whose names are not said.
    checked: set[Key] = set()
    for operation, changes in running_on(dialects, operations):
        call, name, batch, runs = operation
        if changes is everything:
            return None
        if changes is not None:
            # SQL may have made what it names.
            words = re.findall(r"\w+", str(call.value(0, "sqltext", "statement")))
            for (_, table), parts in found.items():
                parts.update(dict.fromkeys(one for one in [*parts, *words] if changes(table, one)))
        if (table_key := batch_key(call, batch)) and brings_check(call):
            checked.add(table_key)
        if name in KINDS or name in ("drop_constraint", "drop_index"):
            note(found, operation, surely=runs.surely_runs(dialects))
        elif (key := batch_key(call, batch)) is None:
            continue
        elif name == "drop_table":
            found.pop(key, None)
        elif name == "rename_table":
            found[key[0], str(call.value(1, "new_table_name"))] = found.pop(key, {})
        elif name == "create_table":
            found[key] = dict(parts_of(call))
        elif call.value(None, "new_column_name") is not None:
            # They may be on it.
            found[key] = dict.fromkeys(found.get(key, ()))
    for key in checked & found.keys():
        checks = [one for one, part in found[key].items() if part and part.kind == "check"]
        found[key].update(dict.fromkeys(checks))
    return found


def note(found: Parts, operation: Operation, *, surely: bool) -> None:
    """Note a constraint or index that an operation makes or drops."""
    call, name, batch, _ = operation
    part = call.value(0, "constraint_name", "index_name")
    key = batch_key(call, batch, place=1)
    if not isinstance(part, str):
        return
    if name in KINDS:
        if key is not None:
            said = call.args[1 if batch[1] is not None else 2 :]
            found.setdefault(key, {})[part] = Part(KINDS[name], call, said) if surely else None
        return
    for one, parts in found.items():
        # An index may be dropped without a word of its table.
        if part in parts and key in (one, None):
            parts[part] = None
            if surely:
                del parts[part]


def parts_of(call: Call) -> Iterable[tuple[str, Part]]:
    """Yield what is created with a table, by name."""
    for node in call.args[1:]:
        function = node.func if isinstance(node, ast.Call) else None
        kind = KINDS.get(getattr(function, "attr", ""))
        if kind is not None and isinstance(node, ast.Call):
            made = Call(node, call.names)
            if isinstance(name := made.value(None, "name"), str):
                yield name, Part(kind, made, made.args)


def brings_check(call: Call) -> bool:
    """Tell whether the type of a column that an operation has brings a CHECK."""
    columns = [one for one in call.args if isinstance(one, ast.Call)]
    types = [*(one.args[1] for one in columns if len(one.args) > 1), call.keywords.get("type_")]
    return any(
        isinstance(one, ast.keyword) and one.arg == "create_constraint"
        for type_ in types
        if isinstance(type_, ast.Call)
        for one in ast.walk(type_)
    )
