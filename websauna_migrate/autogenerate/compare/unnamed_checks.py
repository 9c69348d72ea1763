"""CHECK constraints without a name, which SQLite's batches lose unless a script has them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table
from sqlalchemy.sql.elements import conv

from websauna_migrate.autogenerate.operations.naming import default_name
from websauna_migrate.autogenerate.operations.script_op import (
    Lines,
    ScriptOp,
    not_on_dialect,
    on_databases,
    rendered,
    single,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.models.sqlalchemy_internals import escaped

if TYPE_CHECKING:
    from websauna_migrate.autogenerate.compare.constraints import ConstraintComparison

#: Tells Alembic that CHECK constraints were thought of where none without a name is left.
NO_CHECK = "sa.CheckConstraint('1').ddl_if(dialect='none')"


def keep_unnamed_checks(changes: TableChanges) -> None:
    """Let SQLite's new table have the CHECK constraints without a name of the old one."""
    checks: ConstraintComparison | None = changes.checks
    if checks is None or not checks.unnamed:
        return
    sources = [check_source(text) for text in checks.unnamed]
    if changes.stage < 0:
        changes.table_args = (sources, sources)
        return
    new = []
    if checks.lost:
        # Where SQLite's table is made anew, new ones without a name can stay without.
        texts = {id(op): str(op.condition) for op in checks.nameless}
        new = [check_source(text) for text in texts.values()]
        then = [*(text for text in checks.unnamed if text not in checks.lost), *texts.values()]
        changes.ops[:] = [
            unnamed_check(checks.table, texts[id(op)], then, checks.columns)
            if id(op) in texts
            else op
            for op in changes.ops
        ]
    kept = [
        source
        for source, text in zip(sources, checks.unnamed, strict=True)
        if text not in checks.lost
    ]
    after = [*kept, *new] or [NO_CHECK]
    changes.table_args = (after, after if changes.stage > 0 else sources)


def unnamed_check(
    table: Table, text: str, among: Sequence[str], columns: Sequence[str]
) -> ScriptOp:
    """Return the operation that adds a CHECK without a name, of which SQLite's new table knows.

    PostgreSQL is told of it by the name that it gives, where that is no other one's as well.

    :param among: the texts of all CHECKs without a name that the table has then
    :param columns: those that the table has, or had
    """
    made = check_named_by_postgresql(table, text, columns)
    names = [check_named_by_postgresql(table, one, columns).constraint_name for one in among]
    diffs = [(word, "check", table.name, text) for word in ("add_constraint", "remove_constraint")]
    if names.count(made.constraint_name) > 1:
        return NumberedCheck(diffs[0], lambda _: ["pass"], lambda _: ["pass"], diffs[1])

    def written(operation: ops.MigrateOperation, *only: str) -> Lines:
        def lines(context: AutogenContext) -> list[str]:
            found = rendered(context, operation)
            if only:
                return on_databases(context, only, found) or ["pass"]
            return not_on_dialect(context, "sqlite", found) or ["pass"]

        return lines

    op = UnnamedCheck(diffs[0], written(made), written(made.reverse()), diffs[1])
    back = made.reverse()
    op.without_postgresql = ScriptOp(
        diffs[0], written(made, "mysql"), written(back, "mysql"), diffs[1]
    )
    return op


class UnnamedCheck(ScriptOp):
    """A CHECK without a name.

    :ivar without_postgresql: the same, where PostgreSQL has none
    """

    without_postgresql: ScriptOp | None = None

    def reverse(self) -> ScriptOp:
        """Return the operation that undoes this one."""
        back = super().reverse()
        if isinstance(back, UnnamedCheck) and self.without_postgresql is not None:
            back.without_postgresql = self.without_postgresql.reverse()
        return back


class NumberedCheck(ScriptOp):
    """A CHECK without a name, one of several that PostgreSQL would give the same one.

    It numbers them, in an order that the script does not know.
    """


def one_of_several_warnings(
    operations: Sequence[ops.MigrateOperation], databases: Collection[str]
) -> list[str]:
    """Return a warning for each table of which a script changes constraints here alone.

    :param databases: those that the script is written for
    """
    apart = (getattr(one, "one_of_several", None) for one in single(*operations))
    several = [
        f'The table "{table}" has several foreign keys or CHECK constraints without a name on the '
        "same columns, which each database names in its own way: the script changes them on this "
        "one alone. `ws-alembic check` names what differs elsewhere; write that into the script, "
        "and give new ones a name."
        for table in dict.fromkeys(apart)
        if table and len(databases) > 1
    ]
    if "postgresql" not in databases:
        return several
    found = (one for one in single(*operations) if isinstance(one, NumberedCheck))
    tables = dict.fromkeys(one.to_diff_tuple()[2] for one in found)
    return several + [
        f'The table "{table}" has several CHECK constraints without a name on the same columns, '
        "which PostgreSQL numbers: the script leaves them as they are there. `ws-alembic check` "
        "names what differs on PostgreSQL; write that into the script, and give new ones a name."
        for table in tables
    ]


def check_named_by_postgresql(
    table: Table, text: str, columns: Sequence[str]
) -> ops.CreateCheckConstraintOp:
    """Return what adds a CHECK by the name that PostgreSQL gives to one without."""
    made = ops.CreateCheckConstraintOp(None, table.name, text, schema=table.schema)
    made.constraint_name = conv(default_name(made, columns) or "")
    return made


def check_source(text: str) -> str:
    """Return the source of a CHECK without a name."""
    return f"sa.CheckConstraint({escaped(text)!r})"
