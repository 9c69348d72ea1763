"""An operation of a new script that Alembic has no name for: its lines, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation, OpContainer

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, runs_on, written_for

#: Renders the lines of one direction; an empty line ends a block.
Lines = Callable[[AutogenContext], list[str]]

#: A difference as a tuple whose first item says what is done, as Alembic's are.
Diff: TypeAlias = tuple[Any, ...]


class ScriptOp(MigrateOperation):
    """Lines of a script that undo each other.

    The lines use SQLAlchemy and Alembic alone, so that plain Alembic can run the script.

    :ivar diff: the difference
    :ivar only: the databases that it is for; none for all
    :ivar referred: schema, table and columns that a foreign key which comes refers to
    """

    only: tuple[str, ...] = ()
    referred: tuple[str | None, str, tuple[str, ...]] | None = None

    def __init__(
        self,
        diff: Diff,
        upgrade: Lines,
        downgrade: Lines,
        reverse_diff: Diff = (),
    ) -> None:
        self.diff = diff
        self.reverse_diff = reverse_diff or diff
        self.upgrade = upgrade
        self.downgrade = downgrade

    def reverse(self) -> ScriptOp:
        """Return the operation that undoes this one."""
        return type(self)(self.reverse_diff, self.downgrade, self.upgrade, self.diff)

    def to_diff_tuple(self) -> Diff:
        """Return the difference."""
        return self.diff


def mark(op: MigrateOperation, **marks: object) -> None:
    """Give an operation attributes that Alembic does not know.

    :param marks: ``only``, the databases that it is for; ``place`` among a table's changes;
        ``apart``, foreign keys of a new table that are added behind it; ``server_name``, what the
        database calls a constraint; ``definition``, what the server says of it, ``server_types``
        what it calls the types of a column;
        ``one_of_several``, the table of one that others without a name are like
    """
    for name, value in marks.items():
        setattr(op, name, value)


def single(*operations: MigrateOperation) -> Iterator[MigrateOperation]:
    """Yield operations; of one that holds others, those in it."""
    for operation in operations:
        if isinstance(operation, OpContainer):
            yield from single(*operation.ops)
        else:
            yield operation


@renderers.dispatch_for(ScriptOp)
def render_script_op(context: AutogenContext, operation: ScriptOp) -> list[str]:
    """Return the lines of an operation, for Alembic's printer."""
    return operation.upgrade(context)


def rendered(context: AutogenContext, operation: MigrateOperation) -> list[str]:
    """Return the lines of an operation."""
    found = renderers.dispatch(operation)(context, operation)
    return [found] if isinstance(found, str) else [*found]


def on_dialect(context: AutogenContext, name: str, lines: Sequence[str]) -> list[str]:
    """Return lines that run on one kind of database alone, wherever the script was made."""
    return branches(context, {name: lines})


def on_databases(context: AutogenContext, names: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return lines that run on some kinds of databases alone, wherever the script was made."""
    wanted = written_for(context)
    if not lines or not {*names} & {*wanted}:
        return []
    if {*wanted} <= {*names}:
        return list(lines)
    return [f"if {runs_on(context, *names)}:", *lines, ""]


def not_on_dialect(context: AutogenContext, name: str, lines: Sequence[str]) -> list[str]:
    """Return lines that run on all databases of a script but one kind, as it is named there."""
    wanted = written_for(context)
    if name not in wanted:
        return list(lines)
    if len(wanted) == 1:
        return []
    return [f"if {runs_on(context, name, otherwise=True)}:", *lines, ""]


def branches(
    context: AutogenContext, cases: Mapping[str, Sequence[str]], others: Sequence[str] = ()
) -> list[str]:
    """Return lines for kinds of databases; those that the script is not written for are left out.

    :param cases: lines by the name in :data:`DATABASES`
    :param others: lines for the databases without a case
    """
    wanted = written_for(context)
    found: list[str] = []
    left = [name for name in DATABASES if name in wanted and name not in cases]
    chosen = {name: lines for name, lines in cases.items() if name in wanted}
    if not left and len(chosen) == 1:
        return [line for lines in chosen.values() for line in lines]
    if not chosen:
        return list(others) if left else []
    for name, lines in chosen.items():
        if not lines:
            continue
        word = "elif" if found else "if"
        found += [f"{word} {runs_on(context, name)}:", *lines]
    if left and others:
        found += ["else:", *others]
    return [*found, ""] if found else []
