"""Differences between models and database, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from sqlalchemy import Column, Computed, Constraint, DefaultClause, Index, Sequence, Table
from sqlalchemy.types import TypeEngine

from websauna_migrate.planning.accesses import full_name

if TYPE_CHECKING:
    from alembic.operations import ops

    from websauna_migrate.autogenerate.operations.script_op import Diff

#: A difference as Alembic's operations tell it; several of one column are a list.
AlembicDiff: TypeAlias = "Diff | list[Diff]"

#: What a script does besides, on one kind of database, so that an operation beside it can run.
BESIDES = ("kept_index", "implied_index", "index_aside", "further_step")

#: Alembic's changes of a column, each with its table and both values.
CHANGES_OF_COLUMNS = ("modify_type", "modify_nullable", "modify_default", "modify_comment")


class Said(str):
    """What the server says of a constraint or index, or what a column is, without the name."""

    __slots__ = ()


def differences_of(operations: Iterable[ops.MigrateOperation]) -> list[AlembicDiff]:
    """Return the differences of operations; what goes and comes again is one, a change."""
    found = [diff for operation in operations for diff in diffs_of(operation)]
    going: dict[tuple[str, ...], list[Diff]] = {}
    for diff in found:
        if is_of(diff, "remove_"):
            going.setdefault(subject_of(diff), []).append(diff)
    replaced: dict[int, Diff] = {}
    for place, diff in enumerate(found):
        if is_of(diff, "add_") and (olds := going.get(subject_of(diff))):
            replaced[place] = olds.pop(0)
    gone = {id(old) for old in replaced.values()}
    return [
        change(replaced[place], diff) if place in replaced and isinstance(diff, tuple) else diff
        for place, diff in enumerate(found)
        if id(diff) not in gone
    ]


def change(old: Diff, new: Diff) -> Diff:
    """Return one difference in place of a removal and an addition: its last items say of what."""
    sides = said(old), said(new)
    names = (part for part in new[1:] if not isinstance(part, Said))
    return (f"change_{new[0].removeprefix('add_')}", *names, *(sides if all(sides) else ()))


def said(diff: Diff) -> Said | None:
    """Return what a difference says of its constraint, index or column besides the name."""
    last = diff[-1]
    if not isinstance(last, Column):
        return last if isinstance(last, Said) else None
    generated = last.server_default
    more = [f"AS ({value(generated)})"] if isinstance(generated, Computed) else []
    return Said(" ".join([value(last.type), *more]))


def is_of(diff: AlembicDiff, start: str) -> TypeGuard[Diff]:
    """Tell whether a difference is of a kind."""
    return isinstance(diff, tuple) and str(diff[0]).startswith(start)


def subject_of(diff: Diff) -> tuple[str, ...]:
    """Return what a difference speaks of: its kind, and the names that follow."""
    kind = str(diff[0]).partition("_")[2]
    return (kind, *(named(part) for part in diff[1:] if not isinstance(part, Said)))


def diffs_of(operation: ops.MigrateOperation) -> list[AlembicDiff]:
    """Return an operation's differences as Alembic's tuples, flat.

    Those of a constraint or index end with what the server says of it, those of a type with what it
    calls the old and the new one.
    """
    if hasattr(operation, "ops"):
        return [diff for inner in operation.ops for diff in diffs_of(inner)]
    try:
        diff = operation.to_diff_tuple()
    except NotImplementedError:
        # Of a plugin of Alembic: its name, and what it is about.
        words = [one for one in vars(operation).values() if isinstance(one, str)]
        diff = (type(operation).__name__, *words)
    if diff[0] in BESIDES:
        return []
    if diff[0] in ("add_constraint", "remove_constraint") and len(diff) == 4:
        *names, content = diff
        return [(*names, Said(content if isinstance(content, str) else f"({', '.join(content)})"))]
    if types := getattr(operation, "server_types", ()):
        words = [Said(one) for one in types]
        return [[(*one, *words) if one[0] == "modify_type" else one for one in diff]]
    definition = getattr(operation, "definition", "")
    return [(*diff, Said(definition))] if definition else [diff]


def describe(diff: AlembicDiff) -> str:
    """Return a difference in words: what a script would do."""
    if isinstance(diff, list):
        return "; ".join(describe(one) for one in diff)
    words = str(diff[0]).replace("_", " ")
    if diff[0] in CHANGES_OF_COLUMNS:
        _, schema, table, column, _, old, new, *types = diff
        told = " -> ".join(types or [value(old), value(new)])
        return f"{words} of {full_name(schema, table)}.{column}: {told}"
    if diff[0] == "change_type":
        _, schema, name, old, new = diff
        return f"{words} {full_name(schema, name)}: {old} -> {new}"
    if diff[0] == "add_table_comment":
        _, table, old = diff
        return f"modify comment of table {named(table)}: {value(old)} -> {value(table.comment)}"
    names = [part for part in diff[1:] if part is not None and not isinstance(part, Said)]
    if isinstance(names[-1], Column):
        _, schema, table, column, *_ = diff
        text = f"{words} {full_name(schema, table)}.{column.name}"
    elif words.endswith(" constraint") and len(names) == 2:
        text = f"{words} {names[0]} of table {names[1]}"
    else:
        text = " ".join([words, *map(named, names)])
    sides = dict.fromkeys(part for part in diff if isinstance(part, Said))
    return f"{text}: {' -> '.join(sides)}" if sides else text


def named(part: object) -> str:
    """Return an object by its schema, name and table; what has no name by its columns."""
    if isinstance(part, Constraint | Index):
        columns = ", ".join(column.name for column in getattr(part, "columns", ()))
        of = "" if part.table is None else f" of table {named(part.table)}"
        return f"{part.name or f'({columns})'}{of}"
    if isinstance(part, Table | Sequence):
        return full_name(part.schema, part.name)
    return str(getattr(part, "name", None) or part)


def value(part: object) -> str:
    """Return what an attribute of a column is: a default by its SQL, a type by its name."""
    if part is None:
        return "none"
    if isinstance(part, bool):
        return "NULL" if part else "NOT NULL"
    if isinstance(part, DefaultClause | Computed):
        expression = part.arg if isinstance(part, DefaultClause) else part.sqltext
        if isinstance(expression, str):
            return "'" + expression.replace("'", "''") + "'"
        return str(getattr(expression, "text", expression))
    if isinstance(part, TypeEngine):
        return str(part) if type(part).__module__.startswith("sqlalchemy.") else repr(part)
    return repr(part)
