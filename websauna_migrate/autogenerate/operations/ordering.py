"""The order of a script's operations: what is needed comes first, whatever Alembic found first.

PostgreSQL and SQLite have one index of a name, the index of a UNIQUE constraint among them on
PostgreSQL, and MariaDB one foreign key: an old one whose name comes to another table goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from itertools import groupby
from typing import Any, TypeAlias

from alembic.operations import ops
from sqlalchemy import Column, Computed, Constraint, ForeignKeyConstraint, UniqueConstraint

from websauna_migrate.autogenerate.operations.model_columns import changed
from websauna_migrate.autogenerate.operations.server_statements import (
    ServerConstraint,
    columns_of_dropped_key,
)
from websauna_migrate.autogenerate.operations.table_changes import (
    TableChanges,
    WithTable,
    computed_columns,
)
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.table_order import inherited_keys, referenced_columns, referenced_key

#: A table that is created or dropped.
WholeTable = ops.CreateTableOp | ops.DropTableOp


def arrange(upgrade: ops.UpgradeOps) -> None:
    """Put operations into an order in which each can run, the same every time.

    Tables are created before those that refer to them and dropped after them; a foreign key that
    closes a circle, or that leans on what changes in another table, is an operation of its own.
    Between tables that change, foreign keys go first and come last. So go first an index and a
    constraint whose names come to another table.
    """
    creates = [op for op in upgrade.ops if isinstance(op, ops.CreateTableOp)]
    drops = [op for op in upgrade.ops if isinstance(op, ops.DropTableOp)]
    drops.sort(key=lambda op: (op.schema or "", op.table_name))
    tables = {*map(key_of, creates), *map(key_of, drops)}
    # What belongs to a table that is created or dropped, its indexes, follows it.
    followers: dict[Key, list[TableChanges]] = {}
    changes: list[TableChanges] = []
    others: list[ops.MigrateOperation] = []
    for op in upgrade.ops:
        if isinstance(op, TableChanges):
            if key_of(op) in tables:
                followers.setdefault(key_of(op), []).append(op)
            else:
                changes.append(op)
        elif not isinstance(op, (ops.CreateTableOp, ops.DropTableOp)):
            others.append(op)
    ordered_creates, closing = cut_circles(creates, changes)
    ordered_drops, cut = cut_circles(drops, changes)
    opening: list[Constraint] = [*cut]
    names = coming_names(upgrade.ops)
    first, middle, last = split_early_and_late(changes, names)
    for place, drop in enumerate(ordered_drops):
        assert isinstance(drop, ops.DropTableOp)
        given_up = [*given_up_constraints(drop, names)]
        ordered_drops[place] = without(drop, given_up) if given_up else drop
        opening += given_up
        early, kept, _ = split_early_and_late(followers.get(key_of(drop), ()), names)
        first += early
        followers[key_of(drop)] = kept
    # Views and functions lean on tables: they go before any, and come after all that are new.
    going = [op for op in others if type(op).__name__.startswith("Drop")]
    coming = [op for op in others if op not in going]
    opened = [of_key(key, ops.DropConstraintOp.from_constraint(key)) for key in opening]
    closed = [of_key(key, ops.CreateForeignKeyOp.from_constraint(key)) for key in closing]
    arranged: list[ops.MigrateOperation] = [*going, *opened, *first]
    for op in ordered_creates:
        arranged += [op, *with_table(followers.get(key_of(op), ()), silent=False)]
    arranged += [*middle, *closed, *last, *coming]
    for op in reversed(ordered_drops):
        arranged += [*with_table(followers.get(key_of(op), ()), silent=True), op]
    upgrade.ops[:] = arranged


def with_table(changes: Iterable[TableChanges], *, silent: bool) -> list[WithTable]:
    """Return changes of a table that is created or dropped as what comes and goes with it."""
    found = []
    for op in changes:
        one = WithTable(op.table_name, op.ops, schema=op.schema)
        one.computed = op.computed
        one.silent = silent
        found.append(one)
    return found


def of_key(key: Constraint, op: ops.MigrateOperation) -> TableChanges:
    """Return a change of a table that is one of its key."""
    change = TableChanges(key.table.name, [op], schema=key.table.schema)
    change.computed = computed_columns(key.table)
    return change


def cut_circles(
    found: Sequence[WholeTable], changes: Sequence[TableChanges]
) -> tuple[list[WholeTable], list[ForeignKeyConstraint]]:
    """Return creations or drops of tables, those that are referred to first.

    :param changes: those of other tables
    :returns: the operations, and the foreign keys that close a circle, or lean on a column or key
        that changes, taken out of their tables
    """
    changed: dict[Key, list[ops.MigrateOperation]] = {}
    for one in changes:
        changed.setdefault(key_of(one), []).extend(one.ops)
    waiting = [(op, foreign_keys_of(op)) for op in found]
    ordered: list[WholeTable] = []
    cut: list[ForeignKeyConstraint] = []
    while waiting:
        keys = {key_of(op) for op, _ in waiting}
        op, constraints = next((one for one in waiting if not pending(*one, keys)), waiting[0])
        closing = [
            constraint
            for constraint in constraints
            if referenced_key(constraint) != key_of(op)
            and (
                referenced_key(constraint) in keys
                or constraint.use_alter
                or leans(constraint, changed.get(referenced_key(constraint), ()))
            )
        ]
        waiting.remove((op, constraints))
        ordered.append(without(op, closing) if closing else op)
        cut += closing
    return ordered, cut


def leans(key: ForeignKeyConstraint, changes: Iterable[ops.MigrateOperation]) -> bool:
    """True if a foreign key leans on what one of some changes of the other table makes or takes."""
    columns = {*referenced_columns(key)}
    for op in changes:
        if isinstance(op, ops.AddColumnOp):
            if op.column.name in columns:
                return True
        elif isinstance(op, (ops.AlterColumnOp, ops.DropColumnOp)):
            retyped = isinstance(op, ops.DropColumnOp) or op.modify_type is not None
            if retyped and op.column_name in columns:
                return True
        elif columns in ({*columns_of_dropped_key(one)} for one in (op, op.reverse())):
            return True
    return False


def foreign_keys_of(op: WholeTable) -> list[ForeignKeyConstraint]:
    """Return the foreign keys of a table that is created or dropped, in a fixed order."""
    items = op.to_table().constraints if isinstance(op, ops.DropTableOp) else op.columns
    found = [item for item in items if isinstance(item, ForeignKeyConstraint)]
    return sorted(found, key=lambda constraint: tuple(constraint.column_keys))


def pending(op: WholeTable, constraints: Sequence[ForeignKeyConstraint], keys: set[Key]) -> bool:
    """Tell whether a table refers to one of some others, or inherits from it."""
    options = op.kw if isinstance(op, ops.CreateTableOp) else op.table_kw
    constraints = [*constraints, *getattr(op, "apart", ())]
    return not keys.isdisjoint(inherited_keys(options)) or any(
        referenced_key(constraint) in keys - {key_of(op)}
        for constraint in constraints
        if not constraint.use_alter
    )


def without(op: WholeTable, constraints: Sequence[Constraint]) -> WholeTable:
    """Return the creation or drop of a table, without some of its keys."""
    if isinstance(op, ops.DropTableOp):
        table = op.to_table()
        gone = {*map(kind_and_columns, constraints)}
        for constraint in [*table.constraints]:
            if kind_and_columns(constraint) in gone:
                table.constraints.discard(constraint)
        return ops.DropTableOp.from_table(table)
    unwanted = {id(constraint) for constraint in constraints}
    names = {name for constraint in constraints for name in kind_and_columns(constraint)[1]}
    op.columns = [item for item in op.columns if id(item) not in unwanted]
    for place, item in enumerate(op.columns):
        # A primary key whose foreign key comes later would number itself.
        if (
            isinstance(item, Column)
            and item.key in names
            and item.primary_key
            and item.autoincrement == "auto"
        ):
            op.columns[place] = changed(item, autoincrement=False)
    return op


def kind_and_columns(constraint: Constraint) -> tuple[type[Constraint], tuple[str, ...]]:
    """Return what tells a key of a table from its others; it may have no name."""
    return type(constraint), tuple(getattr(constraint, "columns", {}).keys())


def split_early_and_late(
    changes: Sequence[TableChanges], names: Coming
) -> tuple[list[TableChanges], list[TableChanges], list[TableChanges]]:
    """Take out foreign keys that depend on the changes of another table, and names it takes over.

    :param names: those that come
    :returns: the drops of either, the changes without, the creations of foreign keys
    """
    changed = {key_of(op) for op in changes}
    first: list[TableChanges] = []
    middle: list[TableChanges] = []
    last: list[TableChanges] = []
    for op in changes:
        groups: tuple[list[ops.MigrateOperation], ...] = ([], [], [])
        for inner in op.ops:
            other = next(target_of(inner), None)
            far = other is not None and other != key_of(op) and other in changed
            early = (far and isinstance(inner, ops.DropConstraintOp)) or is_given_up(
                inner, key_of(op), names
            )
            groups[0 if early else 2 if far else 1].append(inner)
        for stage, part in zip((-1, 0, 1), in_parts(op, map(in_rank, groups)), strict=True):
            if part.ops:
                part.stage = stage
                (first, middle, last)[stage + 1].append(part)
    return first, middle, last


def statements_apart(op: ops.MigrateOperation) -> Iterator[ops.MigrateOperation]:
    """Yield what statements drop of a table, its other changes, and what statements create.

    Within a batch a statement would be sent before all that the batch collects, there and on the
    way back.
    """
    if isinstance(op, TableChanges):
        stages: tuple[list[ops.MigrateOperation], ...] = ([], [], [])
        for one in op.ops:
            stages[(2 if one.added else 0) if isinstance(one, ServerConstraint) else 1].append(one)
        if stages[1]:
            yield from in_parts(op, filter(None, stages))
            return
    yield op


def computed_before(changes: TableChanges) -> Iterator[tuple[Column[Any], str | None]]:
    """Yield the computed columns of a table before some changes of it."""
    dropped = {
        str(op.column_name): op.to_column()
        for op in changes.ops
        if isinstance(op, ops.DropColumnOp)
    }
    added = {op.column.name for op in changes.ops if isinstance(op, ops.AddColumnOp)}
    for column, previous in changes.computed:
        if column.name not in added:
            yield column, None if previous in added else previous
    for column in dropped.values():
        if is_computed(column):
            yield column, None


def apart_by_database(op: ops.MigrateOperation) -> Iterator[ops.MigrateOperation]:
    """Yield a table's changes, each stretch of those that some databases alone need by itself."""
    if not isinstance(op, TableChanges) or not any(getattr(one, "only", ()) for one in op.ops):
        yield op
        return
    stretches = groupby(op.ops, lambda one: getattr(one, "only", ()))
    for part in in_parts(op, ([*inner] for _, inner in stretches)):
        part.databases = getattr(part.ops[0], "only", ())
        yield part


def in_parts(
    changes: TableChanges, groups: Iterable[list[ops.MigrateOperation]]
) -> list[TableChanges]:
    """Return a table's changes in parts, each with the computed columns that are there behind it.

    :param groups: the changes of each part, in order
    """
    parts: list[TableChanges] = []
    computed = changes.computed
    for inner in reversed([*groups]):
        part = part_of(changes, inner)
        part.computed = computed
        computed = [*computed_before(part)]
        parts.insert(0, part)
    return parts


def part_of(changes: TableChanges, inner: list[ops.MigrateOperation]) -> TableChanges:
    """Return some of a table's changes."""
    part = copy(changes)
    part.ops = inner
    return part


#: The order of a table's changes: what is in the way goes first, what leans on others comes last.
RANKS: tuple[tuple[type[ops.MigrateOperation], str | None, int], ...] = (
    (ops.DropConstraintOp, "foreignkey", 0),
    (ops.DropConstraintOp, "check", 1),
    (ops.DropConstraintOp, None, 2),
    (ops.DropIndexOp, None, 2),
    (ops.AddColumnOp, None, 3),
    (ops.AlterColumnOp, None, 4),
    (ops.CreateIndexOp, None, 6),
    (ops.CreateUniqueConstraintOp, None, 6),
    (ops.CreateCheckConstraintOp, None, 7),
    (ops.CreateForeignKeyOp, None, 8),
    (ops.AddConstraintOp, None, 6),
    (ops.DropColumnOp, None, 9),
)


def in_rank(found: list[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    """Return a table's changes in order; a column that is made anew goes before it comes.

    A column that is computed from others comes once these are there and have their types, and goes
    before they change.
    """
    added = {op.column.name for op in found if isinstance(op, ops.AddColumnOp)}

    def place(op: ops.MigrateOperation) -> float:
        if isinstance(op, ops.DropColumnOp) and (
            op.column_name in added or is_computed(op.to_column())
        ):
            return 2.5
        if isinstance(op, ops.AddColumnOp) and is_computed(op.column):
            return 4.5
        return rank(op)

    return sorted(found, key=place)


def is_computed(column: Column[Any]) -> bool:
    """Tell whether a column is computed from others."""
    return isinstance(column.server_default, Computed)


def rank(op: ops.MigrateOperation) -> int:
    """Return the place of a change among a table's changes."""
    own = getattr(op, "place", None)
    if own is not None:
        return int(own)
    for kind, constraint_type, place in RANKS:
        if isinstance(op, kind) and constraint_type in (
            None,
            getattr(op, "constraint_type", None),
        ):
            return place
    return 5


def target_of(op: ops.MigrateOperation) -> Iterator[Key]:
    """Yield the table that a foreign key refers to, if an operation is about one."""
    if isinstance(op, ops.CreateForeignKeyOp):
        yield op.kw.get("referent_schema"), op.referent_table
    elif (key := dropped_key(op)) is not None:
        yield referenced_key(key)


def dropped_key(op: ops.MigrateOperation) -> ForeignKeyConstraint | None:
    """Return the foreign key that an operation drops, ``None`` for others and an unknown one."""
    if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "foreignkey":
        # Alembic does not know more than the name of one that a hook adds.
        with suppress(ValueError):
            constraint = op.to_constraint()
            return constraint if isinstance(constraint, ForeignKeyConstraint) else None
    return None


def key_of(op: WholeTable | ops.ModifyTableOps) -> Key:
    """Return schema and name of an operation's table."""
    return op.schema, op.table_name


# Names of indexes and constraints that those of another table take over

#: Schema and name of an index or constraint that comes, and the table that gets it.
Coming: TypeAlias = set[tuple[str | None, str, str]]

#: Constraints whose names are there once, and what makes one, or an index.
KINDS = (ForeignKeyConstraint, UniqueConstraint)
CREATIONS = (ops.CreateIndexOp, ops.CreateUniqueConstraintOp, ops.CreateForeignKeyOp)


def coming_names(found: Iterable[ops.MigrateOperation]) -> Coming:
    """Return the names of the indexes and constraints that some operations make."""
    coming: Coming = set()
    for op in found:
        if isinstance(op, ops.CreateTableOp):
            names = [one.name for one in op.columns if isinstance(one, KINDS)]
        elif isinstance(op, ops.ModifyTableOps):
            names = [name_of(one) for one in op.ops if isinstance(one, CREATIONS)]
        else:
            continue
        coming |= {(op.schema, str(name), op.table_name) for name in names if name}
    return coming


def is_given_up(op: ops.MigrateOperation, key: Key, coming: Coming) -> bool:
    """Tell whether an operation drops what has the name of one that comes to another table."""
    dropped = isinstance(op, ops.DropIndexOp) or (
        isinstance(op, ops.DropConstraintOp) and op.constraint_type in ("unique", "foreignkey")
    )
    return dropped and is_taken(name_of(op), key, coming)


def given_up_constraints(drop: ops.DropTableOp, coming: Coming) -> Iterator[Constraint]:
    """Yield the constraints of a table that goes whose names come to another table."""
    key = drop.schema, drop.table_name
    for one in sorted(drop.to_table().constraints, key=lambda one: str(one.name)):
        if isinstance(one, KINDS) and is_taken(one.name, key, coming):
            yield one


def is_taken(name: object, key: Key, coming: Coming) -> bool:
    """Tell whether a name of a table comes to another one."""
    return any(one[:2] == (key[0], name) and one[2] != key[1] for one in coming)


def name_of(op: ops.MigrateOperation) -> str | None:
    """Return the name of the index or constraint that an operation makes or drops."""
    return getattr(op, "index_name", None) or getattr(op, "constraint_name", None)
