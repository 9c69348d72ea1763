"""Differences between models and database, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from sqlalchemy import Computed, Constraint, DefaultClause, Index, Sequence, Table
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


def differences_of(operations: Iterable[ops.MigrateOperation]) -> list[AlembicDiff]:
    """Return the differences of operations; what goes and comes again is one, a change."""
    found = [diff for operation in operations for diff in diffs_of(operation)]
    going = {subject_of(diff) for diff in found if is_of(diff, "remove_")}
    coming = {subject_of(diff) for diff in found if is_of(diff, "add_")}
    told = []
    for diff in found:
        if not isinstance(diff, tuple) or subject_of(diff) not in going & coming:
            told.append(diff)
        elif is_of(diff, "add_"):
            told.append((f"change_{diff[0].removeprefix('add_')}", *diff[1:]))
    return told


def is_of(diff: AlembicDiff, start: str) -> TypeGuard[Diff]:
    """Tell whether a difference is of a kind."""
    return isinstance(diff, tuple) and str(diff[0]).startswith(start)


def subject_of(diff: Diff) -> tuple[str, ...]:
    """Return what a difference speaks of: its kind, and the names that follow."""
    kind = str(diff[0]).partition("_")[2]
    names = [named(part) for part in diff[1:]]
    # Behind the name and the table of a constraint is its definition.
    return (kind, *(names[:2] if kind == "constraint" else names))


def diffs_of(operation: ops.MigrateOperation) -> list[AlembicDiff]:
    """Return an operation's differences as Alembic's tuples, flat."""
    if hasattr(operation, "ops"):
        return [diff for inner in operation.ops for diff in diffs_of(inner)]
    try:
        diff = operation.to_diff_tuple()
    except NotImplementedError:
        # Of a plugin of Alembic: its name, and what it is about.
        words = [one for one in vars(operation).values() if isinstance(one, str)]
        diff = (type(operation).__name__, *words)
    return [] if diff[0] in BESIDES else [diff]


def describe(diff: AlembicDiff) -> str:
    """Return a difference in words: what a script would do."""
    if isinstance(diff, list):
        return "; ".join(describe(one) for one in diff)
    words = str(diff[0]).replace("_", " ")
    if diff[0] in ("add_column", "remove_column", "change_column"):
        _, schema, table, column = diff
        return f"{words} {full_name(schema, table)}.{column.name}"
    if diff[0] in CHANGES_OF_COLUMNS:
        _, schema, table, column, _, old, new = diff
        return f"{words} of {full_name(schema, table)}.{column}: {value(old)} -> {value(new)}"
    if words.endswith(" constraint") and len(diff) == 4:
        _, name, table, definition = diff
        said = definition if isinstance(definition, str) else f"({', '.join(definition)})"
        return f"{words} {name} of table {table}: {said}"
    rest = [part for part in diff[1:] if part is not None]
    return " ".join([words, *map(named, rest)])


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
