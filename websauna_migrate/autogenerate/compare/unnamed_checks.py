"""CHECK constraints without a name, which SQLite's batches lose unless a script has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["check_source", "keep_unnamed_checks", "unnamed_checks"]

#: Tells Alembic that CHECK constraints were thought of where none without a name is left.
NO_CHECK = "sa.CheckConstraint('1').ddl_if(dialect='none')"


def keep_unnamed_checks(changes: TableChanges) -> None:
    """Let SQLite's new table have the CHECK constraints without a name of the old one."""
    checks = changes.checks
    if checks is None or not checks.unnamed:
        return
    sources = [check_source(text) for text in checks.unnamed]
    if changes.stage < 0:
        changes.table_args = (sources, sources)
        return
    new = []
    if checks.lost:
        # The script is SQLite's own, so new ones without a name can stay without.
        changes.ops[:] = [op for op in changes.ops if op not in checks.nameless]
        new = [check_source(str(op.condition)) for op in checks.nameless]
    kept = [
        source
        for source, text in zip(sources, checks.unnamed, strict=True)
        if text not in checks.lost
    ]
    after = [*kept, *new] or [NO_CHECK]
    changes.table_args = (after, after if changes.stage > 0 else sources)


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
