"""Drops of constraints that the models give no name.

Each server names such a constraint in its own way: ``t_c_fkey`` on PostgreSQL, ``t_ibfk_1`` on
MariaDB; and one keeps its name where its table or column gets another. A script says the name that
PostgreSQL gives, by the names of table and columns that it knows. Where the database has none of
that name, the constraint of the same kind on those columns is dropped, if there is just one.
A script that handles the error, or drops it if it exists, means the very name.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from alembic.ddl.impl import DefaultImpl
from alembic.operations.batch import BatchOperationsImpl
from sqlalchemy import Constraint, Index, Table, inspect
from sqlalchemy.engine import Inspector
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.sql.elements import conv

from websauna_migrate.facts import mysql, postgresql

#: A name that PostgreSQL may have given: what it is of, and the number of one that was taken.
AUTOMATIC = re.compile(r".*_(pkey|fkey|key|check)(\d*)", re.DOTALL)


class Found(NamedTuple):
    """A constraint or index that a table has."""

    name: str
    columns: list[str]


def find_unnamed_constraints(impl: DefaultImpl) -> None:
    """Let an implementation find constraints that it drops by the name that PostgreSQL gives."""
    connection = impl.connection
    if connection is None or impl.as_sql:
        return
    drop_constraint = impl.drop_constraint
    drop_index = impl.drop_index
    requires_recreate = impl.requires_recreate_in_batch

    def find(const: Constraint) -> None:
        if AUTOMATIC.fullmatch(str(const.name)) and not is_error_handled():
            const.name = conv(constraint_name(inspect(connection), const.table, str(const.name)))

    def drop(const: Constraint, **kw: Any) -> None:
        if not kw.get("if_exists"):
            find(const)
        drop_constraint(const, **kw)

    def find_in_batch(batch_op: BatchOperationsImpl) -> bool:
        for operation, arguments, _ in batch_op.batch:
            if operation == "drop_constraint":
                find(arguments[0])
        return requires_recreate(batch_op)

    def drop_of_key(index: Index, **kw: Any) -> None:
        name, table = str(index.name), index.table
        if table is not None and name.endswith("_fkey") and not is_error_handled():
            index.name = conv(index_name(inspect(connection), table, name))
        drop_index(index, **kw)

    if impl.dialect.name == "sqlite":
        # It makes the table anew from constraints by their names.
        impl.requires_recreate_in_batch = find_in_batch  # type: ignore[method-assign]
        return
    impl.drop_constraint = drop  # type: ignore[method-assign]
    if impl.dialect.name != "postgresql":
        impl.drop_index = drop_of_key  # type: ignore[method-assign]


def constraint_name(inspector: Inspector, table: Table, name: str) -> str:
    """Return the name that a constraint has on this database, by the one that PostgreSQL gives.

    It is the same where there is one of that name, or not just one that may be meant.
    """
    match = AUTOMATIC.fullmatch(name)
    assert match is not None
    ending = match[1]
    there: list[Found] = []
    with suppress(NoSuchTableError):
        there += constraints(inspector, str(table.name), table.schema, ending)
    if name in {one.name for one in there}:
        return name
    meant = [one for one in there if is_name_of(name, str(table.name), one, ending)]
    servers = [one for one in meant if is_servers(one, str(table.name), ending)]
    numbered = [one for one in servers if one.name.endswith(f"_{ending}{match[2]}")]
    if not servers and ending in ("pkey", "key"):
        # No two of them are on the same columns. MariaDB keeps the name of a column in it.
        servers = meant
    chosen = servers if len(servers) == 1 else numbered
    return chosen[0].name if len(chosen) == 1 else name


def constraints(
    inspector: Inspector, table: str, schema: str | None, ending: str
) -> Iterator[Found]:
    """Yield a table's constraints of one kind; of a CHECK the column after which it is named."""
    found: list[tuple[str | None, list[str]]] = []
    if ending == "pkey":
        key = inspector.get_pk_constraint(table, schema)
        found += [(key["name"], [])] if key["constrained_columns"] else []
    elif ending == "fkey":
        keys = inspector.get_foreign_keys(table, schema)
        found += [(one["name"], one["constrained_columns"]) for one in keys]
    elif ending == "key":
        uniques = inspector.get_unique_constraints(table, schema)
        found += [(one["name"], one["column_names"]) for one in uniques]
    else:
        columns = [str(one["name"]) for one in inspector.get_columns(table, schema)]
        for check in inspector.get_check_constraints(table, schema):
            checked = postgresql.checked_column(check["sqltext"], columns)
            found.append((check["name"], [checked] if checked else []))
    for name, named_after in found:
        # On SQLite one without a name has that of PostgreSQL while the table is made anew.
        yield Found(name or written_name(table, named_after, ending), named_after)


def is_name_of(name: str, table: str, found: Found, ending: str) -> bool:
    """True if PostgreSQL may give a name to a constraint; a script may have it in full length."""
    columns = "_".join(found.columns)
    return name == written_name(table, found.columns, ending) or postgresql.is_servers(
        name, table, columns, ending
    )


def written_name(table: str, columns: Sequence[str], ending: str) -> str:
    """Return the name that PostgreSQL gives to a constraint, in full length."""
    return "_".join([table, *columns, ending])


def is_servers(found: Found, table: str, ending: str) -> bool:
    """True if a server gave its name to a constraint, or a script that one of PostgreSQL."""
    return (
        re.fullmatch(rf".*_{ending}\d*", found.name, re.DOTALL) is not None
        or mysql.is_servers(found.name, table)
        or (ending == "key" and mysql.is_numbered(found.name, found.columns[0]))
    )


def index_name(inspector: Inspector, table: Table, name: str) -> str:
    """Return the name of the index that MariaDB made for a foreign key, by the key's name.

    It is that of the key's first column where the key had no name.
    """
    there: list[Found] = []
    with suppress(NoSuchTableError):
        there += [
            Found(str(one["name"]), [str(column) for column in one["column_names"]])
            for one in inspector.get_indexes(str(table.name), table.schema)
            if not one["unique"]
        ]
    if name in {one.name for one in there}:
        return name
    meant = [
        one.name
        for one in there
        if is_name_of(name, str(table.name), one, "fkey")
        and mysql.is_numbered(one.name, one.columns[0])
    ]
    return meant[0] if len(meant) == 1 else name


#: Packages that stand between a script and what it calls.
BETWEEN = ("alembic", "sqlalchemy", "contextlib", "websauna_migrate")


def is_error_handled() -> bool:
    """True if a script, or a function that it calls, has the running operation in a ``try``."""
    return any(
        frame.f_lineno in handled_lines(frame.f_code.co_filename) for frame in frames_of_script()
    )


def frames_of_script() -> Iterator[FrameType]:
    """Yield the frames of the script that runs and of what it calls, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    found = False
    while frame is not None:
        between = str(frame.f_globals.get("__name__")).partition(".")[0] in BETWEEN
        if not between:
            found = True
            yield frame
        elif found:
            # Where Alembic has called the script.
            return
        frame = frame.f_back


def handled_lines(path: str) -> frozenset[int]:
    """Return the lines of a file whose errors it handles itself; none if it cannot be read."""
    try:
        return lines_handled_in(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()


@functools.lru_cache(maxsize=8)
def lines_handled_in(source: bytes) -> frozenset[int]:
    """Return the lines of a source whose errors it handles itself: a script has many operations.

    :raises SyntaxError, ValueError: if it is no Python
    """
    return frozenset(
        line
        for node in ast.walk(ast.parse(source))
        if handles(node)
        for one in getattr(node, "body", ())
        for line in range(one.lineno, one.end_lineno + 1)
    )


def handles(node: ast.AST) -> bool:
    """True for a ``try`` with an ``except``, and for ``with suppress(...)``."""
    if isinstance(node, ast.With):
        calls = (one.context_expr for one in node.items)
        functions = (one.func for one in calls if isinstance(one, ast.Call))
        return any(
            "suppress" in (getattr(one, "id", ""), getattr(one, "attr", "")) for one in functions
        )
    return bool(getattr(node, "handlers", ()))
