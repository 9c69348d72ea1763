"""Indexes that the models want CONCURRENTLY, which PostgreSQL refuses in a transaction."""

from __future__ import annotations

from collections.abc import Iterable

from alembic.operations import ops

from websauna_migrate.autogenerate.operations.script_op import single

OPTION = "postgresql_concurrently"


def without_concurrently(scripts: Iterable[ops.MigrationScript]) -> list[str]:
    """Let scripts make and drop indexes in their transaction; return a warning for each one.

    A script that leaves its transaction is half done where it fails, so its author says so.
    """
    warnings: list[str] = []
    for script in scripts:
        new = {
            op.table_name
            for container in script.upgrade_ops_list
            for op in container.ops
            if isinstance(op, ops.CreateTableOp)
        }
        for container in [*script.upgrade_ops_list, *script.downgrade_ops_list]:
            for op in single(container):
                if not isinstance(op, (ops.CreateIndexOp, ops.DropIndexOp)):
                    continue
                wanted = op.kw.pop(OPTION, False)
                if wanted and isinstance(op, ops.CreateIndexOp) and op.table_name not in new:
                    warnings.append(warning(op))
    return warnings


def warning(op: ops.CreateIndexOp) -> str:
    """Return the warning of an index that is made in the transaction."""
    return (
        f'The index "{op.index_name}" of table "{op.table_name}" is made without CONCURRENTLY, so '
        "that the script is one transaction: no session can write to the table until it is built. "
        "Where that takes long, put it into `with op.get_context().autocommit_block():` with "
        f"{OPTION}=True."
    )
