"""Foreign keys and CHECKs that have to go and come, since something changes that they lean on.

Where that is another package's, the package drops its foreign key in a revision before, and adds it
again in one behind. So it has to be written by the same command.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, ForeignKeyConstraint, Table, inspect

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialect_of
from websauna_migrate.autogenerate.compare.columns import equal_parts
from websauna_migrate.autogenerate.compare.constraints import (
    KEPT,
    ConstraintComparison,
    check_addition,
)
from websauna_migrate.autogenerate.compare.definitions import columns_of, kind_of
from websauna_migrate.autogenerate.compare.unnamed_checks import check_named_by_postgresql
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.script_op import mark
from websauna_migrate.autogenerate.operations.server_statements import columns_of_dropped_key
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.operations.type_change import INTEGERS, conversion, name_of
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import key_in_use
from websauna_migrate.facts.fact import Fact
from websauna_migrate.models.model_sql import applicable_checks
from websauna_migrate.models.sqlalchemy_internals import is_created
from websauna_migrate.models.table_order import referenced_columns, referenced_key

#: Schema and name of a table, and columns that are unique in it.
KeyColumns: TypeAlias = tuple[str | None, str, frozenset[str]]


def freed_keys(
    table: Table,
    known: ConstraintComparison,
    found: FoundDifferences,
    owned: PackageObjects,
    upgrade: ops.UpgradeOps,
    given_up: Collection[KeyColumns],
    *,
    needs_index: bool,
) -> Iterator[ops.MigrateOperation]:
    """Yield the drop and the creation of each foreign key of a table that is equal on both sides.

    The type of a column at an end of it changes, or the key goes that it leans on.

    :param known: tells the model's object of a fact
    :param upgrade: the operations found so far
    :param given_up: keys that another package's script drops
    :param needs_index: true for MariaDB, where the last index of a foreign key's own columns cannot
        be dropped while the key is there
    """
    inner = [
        (owned.key_of(op), one)
        for op in upgrade.ops
        if isinstance(op, ops.ModifyTableOps)
        for one in op.ops
    ]
    changed: dict[tuple[str | None, str, str], tuple[str, ...]] = {
        (*changing, op.column_name): getattr(op, "only", ())
        for changing, op in inner
        if isinstance(op, ops.AlterColumnOp) and op.modify_type is not None
    }
    dropped = [(changing, columns_of_dropped_key(op)) for changing, op in inner]
    gone = {*given_up, *((*changing, frozenset(columns)) for changing, columns in dropped)}
    key = owned.key_of(table)
    equal = [*equal_parts(found, key)]
    leads = [columns for changing, columns in dropped if changing == key]
    kept = [columns_of(one.fact) for one in equal if is_index(one.fact)]
    for one in equal:
        model = known.model_constraint(one.fact)
        if not isinstance(model, ForeignKeyConstraint):
            continue
        columns = [*model.column_keys]
        unindexed = needs_index and begins(leads, columns) and not begins(kept, columns)
        retyped = [changed[end] for end in ends(model, owned) if end in changed]
        if unindexed or target_of(model, owned) in gone or not all(retyped):
            only = None
        elif retyped:
            # Where the author's database sees no change; keys of SQLite say nothing of types.
            only = {name for names in retyped for name in names} - {"sqlite"}
        else:
            continue
        # It comes back under the name that it has.
        creation = known.creation(one.fact) if only != set() else None
        if creation is not None:
            moves = creation.reverse(), creation
            for op in moves:
                mark(op, only=tuple(name for name in DATABASES if name in (only or ())))
            if known.is_one_of_several(one.fact):
                known.keep_apart(moves)
            yield from moves


def begins(indexes: Iterable[Sequence[str]], columns: Sequence[str]) -> bool:
    """Tell whether one of some indexes begins with some columns, in any order of these."""
    return any(set(one[: len(columns)]) == set(columns) for one in indexes)


def is_index(fact: Fact) -> bool:
    """Tell whether a fact is one that a foreign key's own columns may be found by."""
    return (kind_of(fact) or fact.kind) in ("index", "primary", "unique")


def keys_that_go(found: FoundDifferences) -> Iterator[KeyColumns]:
    """Yield the keys of the database that no model has any more, or has otherwise."""
    for one in found.found:
        if one.left is not False and one.attribute not in KEPT and is_key(one.fact):
            yield (*found.key_of(one.fact), frozenset(columns_of(one.fact)))


def keys_that_come(found: FoundDifferences) -> Iterator[KeyColumns]:
    """Yield the keys of the models that the database has not."""
    for one in found.found:
        if one.attribute is None and one.left is False and is_key(one.fact):
            yield (*found.key_of(one.fact), frozenset(columns_of(one.fact)))


def is_key(fact: Fact) -> bool:
    """Tell whether a constraint or index is one that foreign keys may lean on."""
    if fact.kind == "constraint":
        return kind_of(fact) in ("primary", "unique")
    definition = str(fact.get("definition"))
    unique = fact.get("unique") or definition.startswith(("CREATE UNIQUE ", "UNIQUE KEY "))
    return fact.kind == "index" and bool(unique)


def ends(
    constraint: ForeignKeyConstraint, owned: PackageObjects
) -> Iterator[tuple[str | None, str, str]]:
    """Yield schema, table and name of the columns at both ends of a foreign key."""
    for element in constraint.elements:
        for column in (element.parent, element.column):
            yield (*owned.key_of(column.table), column.name)


def targets_of(table: Table, owned: PackageObjects) -> Iterator[tuple[str | None, str]]:
    """Yield schema and name of the tables that a model's foreign keys refer to."""
    for constraint in table.foreign_key_constraints:
        schema, name = referenced_key(constraint)
        yield owned.normal(schema), name


def target_of(constraint: ForeignKeyConstraint, owned: PackageObjects) -> KeyColumns:
    """Return schema, table and columns that a foreign key refers to."""
    columns = frozenset(referenced_columns(constraint))
    return (*owned.key_of(constraint.referred_table), columns)


def retyped_keys(
    tables: Iterable[Table], found: FoundDifferences, owned: PackageObjects
) -> frozenset[Key]:
    """Return the tables of which a column changes its type that a foreign key points at.

    :param tables: those whose foreign keys count
    """
    return frozenset(
        owned.key_of(element.column.table)
        for table in tables
        for constraint in table.foreign_key_constraints
        for element in constraint.elements
        if "type" in found.of_column(owned.key_of(element.column.table), element.column.name)
    )


# Keys and tables that go while another package's foreign key leans on them

#: A foreign key in the database: package, table, name, and what it leans on.
ForeignKey: TypeAlias = tuple[str, str, str | None, KeyColumns]


def given_up_keys(
    found: FoundDifferences,
    owned: PackageObjects,
    reflection: Reflection,
    packages: Collection[str],
) -> frozenset[KeyColumns]:
    """Return the keys of packages that go, and that foreign keys of other ones lean on.

    :param owned: tells what belongs to whom
    :param packages: those that get a revision
    :raises RevisionFailed: if such a foreign key is of a package that gets none
    """
    going = {one for one in keys_that_go(found) if owned.owner_of(*one[:2]) in packages}
    leaning: set[KeyColumns] = set()
    for package, table, name, target in foreign_keys(owned, reflection) if going else ():
        owner = owned.owner_of(*target[:2])
        if target not in going or owner == package:
            continue
        if package not in packages:
            raise key_in_use(str(owner), target[1], sorted(target[2]), package, table, name)
        leaning.add(target)
    return frozenset(leaning)


def keys_to_dropped(
    owned: PackageObjects,
    reflection: Reflection,
    operations: Sequence[ops.MigrateOperation],
    packages: Collection[str],
) -> list[ForeignKey]:
    """Return the foreign keys to tables that operations drop, of packages that get no revision.

    :param packages: those that get one
    """
    dropped = {owned.key_of(op) for op in operations if isinstance(op, ops.DropTableOp)}
    found = foreign_keys(owned, reflection) if dropped else []
    return [one for one in found if one[3][:2] in dropped and one[0] not in packages]


def require_released(package: str, keys: Iterable[ForeignKey], requires: Iterable[str]) -> None:
    """Refuse to drop a table while a foreign key of another package refers to it.

    SQLite would drop it, and leave the foreign key.

    :param requires: the revisions that run before, as ``package@revision``
    :raises RevisionFailed: naming the foreign key
    """
    released = {one.partition("@")[0] for one in requires}
    for user, table, name, target in keys:
        if user not in released:
            raise key_in_use(package, target[1], (), user, table, name)


def foreign_keys(owned: PackageObjects, reflection: Reflection) -> list[ForeignKey]:
    """Return the packages' foreign keys in the database.

    Each schema is read once for all packages, also for those that get no revision.
    """
    inspector = inspect(reflection.connection)
    found = []
    packages = owned.snapshot.packages
    for schema in {schema for name in packages for schema in owned.beside(name).schemas}:
        owners = {name: owned.owner_of(schema, name) for name in reflection.table_names(schema)}
        known = {name: owner for name, owner in owners.items() if owner in packages}
        if not known:
            continue
        read = inspector.get_multi_foreign_keys(schema=schema, filter_names=sorted(known))
        for (_, table), keys in read.items():
            for one in keys:
                target = owned.normal(one["referred_schema"]), one["referred_table"]
                columns = frozenset(one["referred_columns"])
                found.append((str(known[table]), table, one["name"], (*target, columns)))
    return sorted(found, key=lambda one: str(one[:3]))


# CHECK constraints and indexes that lean on columns

#: The database that they go and come on.
ONLY = ("postgresql",)


def freed_parts(
    table: Table, changes: TableChanges, context: AutogenContext
) -> Iterator[ops.MigrateOperation]:
    """Yield the drop and the creation of each CHECK and index that is equal on both sides.

    Of the indexes it is those with an expression or a condition, in which a cast would stay. A
    CHECK without a name is left alone where others would have the same one on PostgreSQL.

    :param changes: those of the table that were found so far
    """
    retyped = {
        op.column_name
        for op in changes.ops
        if isinstance(op, ops.AlterColumnOp)
        and conversion(op) is not None
        and not {name_of(op.existing_type), name_of(op.modify_type)} <= INTEGERS
        and "postgresql" in (getattr(op, "only", ()) or ONLY)
    }
    if not retyped:
        return
    assert context.connection is not None
    there = {
        str(getattr(op, "constraint_name", getattr(op, "index_name", "")))
        for op in changes.ops
        if "postgresql" in (getattr(op, "only", ()) or ONLY)
    }
    columns = [str(column.name) for column in table.columns]
    found = []
    for model in applicable_checks(table, context.connection):
        creation = check_addition(context, table, model)
        text = str(creation.condition)
        if creation.constraint_name is None:
            named = check_named_by_postgresql(table, text, columns)
            creation.constraint_name = named.constraint_name
        found.append((str(creation.constraint_name), model, creation, text))
    names = [name for name, *_ in found]
    for name, model, creation, text in found:
        if (
            retyped & {*re.findall(r"\w+", text)}
            and names.count(name) == 1
            and name not in there
            and is_created(model, dialect_of("postgresql"))
        ):
            yield from freed(creation)
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        where = index.dialect_options["postgresql"]["where"]
        parts = [one for one in index.expressions if not isinstance(one, Column)]
        texts = [str(one) for one in (*parts, where) if one is not None]
        if (
            retyped & {*re.findall(r"\w+", " ".join(texts))}
            and str(index.name) not in there
            and is_created(index, dialect_of("postgresql"))
        ):
            yield from freed(ops.CreateIndexOp.from_index(index))


def freed(creation: ops.MigrateOperation) -> Iterator[ops.MigrateOperation]:
    """Yield the drop and the creation of a part of a table on PostgreSQL."""
    for op in (creation.reverse(), creation):
        mark(op, only=ONLY)
        yield op
