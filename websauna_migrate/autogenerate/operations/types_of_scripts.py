"""Types that a downgrade gives back: as older scripts wrote them, not as a database keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops

from websauna_migrate.alembic_adapter.autogenerate_internals import columns_that_come_back
from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.script_op import single
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.models.type_words import are_one
from websauna_migrate.revision_scripts.written_types import brings_more


def say_written_types(
    operations: Sequence[ops.MigrateOperation],
    owned: PackageObjects,
    context: AutogenContext,
    renames: Renames,
) -> None:
    """Let columns that go, and types that change, come back of the types that older scripts wrote.

    Where the database keeps less of a type, another one would come back elsewhere. One that this
    database would keep otherwise than it does is left out.

    :param renames: those of the new script, which come before the operations
    """
    if len(written_for(context)) == 1:
        return
    going = [*types_that_go(operations, owned)]
    if not going:
        return
    known = owned.written.types
    for key, name, holder, attribute in going:
        there = getattr(holder, attribute)
        old = {new: old for old, new in renames.columns_of(*key).items()}
        before = (key[0], renames.old_table(*key))
        written = known.get(before, {}).get(old.get(name, name))
        if (
            written is not None
            and not brings_more(written)
            and type(written) is not type(there)
            and are_one(written, there, context.dialect)
        ):
            setattr(holder, attribute, written)


def types_that_go(
    operations: Sequence[ops.MigrateOperation], owned: PackageObjects
) -> Iterator[tuple[Key, str, object, str]]:
    """Yield table and name of columns whose types a downgrade gives back, and what holds those."""
    for op in single(*operations):
        if not isinstance(op, (ops.DropTableOp, ops.DropColumnOp, ops.AlterColumnOp)):
            continue
        key = owned.key_of(op)
        if isinstance(op, ops.DropTableOp):
            for column in columns_that_come_back(op):
                yield key, str(column.name), column, "type"
        elif isinstance(op, ops.DropColumnOp):
            yield key, op.column_name, op.to_column(), "type"
        elif op.modify_type is not None and not getattr(op, "only", ()):
            yield key, op.column_name, op, "existing_type"
