"""CHECK constraints without a name, which SQLite's batches lose unless a script has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import ops

from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["keep_unnamed_checks", "unnamed_checks"]

#: Tells Alembic that CHECK constraints were thought of where none without a name is left.
NO_CHECK = "sa.CheckConstraint('1').ddl_if(dialect='none')"


def keep_unnamed_checks(changes: TableChanges) -> None:
    """Let SQLite's new table have the CHECK constraints without a name of the old one."""
    checks = changes.checks
    if checks is None or not checks.unnamed:
        return
    if checks.lost:
        # The script is SQLite's own, so new ones without a name can stay without.
        moved = [
            op
            for op in changes.ops
            if isinstance(op, ops.CreateCheckConstraintOp) and op in checks.nameless
        ]
        changes.ops[:] = [op for op in changes.ops if op not in moved]
        new = [check_source(str(op.condition)) for op in moved]
    else:
        new = []
    sources = [check_source(text) for text in checks.unnamed]
    kept = [
        source
        for source, text in zip(sources, checks.unnamed, strict=True)
        if text not in checks.lost
    ]
    changes.table_args = ([*kept, *new] or [NO_CHECK], sources)


def unnamed_checks(
    upgrade: Any, owned: PackageObjects, key: Key, there: Sequence[str]
) -> Sequence[str]:
    """Return sources of the CHECK constraints without a name that a table has after an upgrade.

    :param there: the texts of those that it has before
    """
    for op in upgrade.ops:
        is_table = isinstance(op, TableChanges) and key == (owned.normal(op.schema), op.table_name)
        if is_table and op.table_args[0]:
            return list(op.table_args[0])
    return [check_source(text) for text in there]


def check_source(text: str) -> str:
    """Return the source of a CHECK without a name."""
    return f"sa.CheckConstraint({escaped(text)!r})"
