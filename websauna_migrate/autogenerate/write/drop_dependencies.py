"""What goes while other packages referred to it: which script has to run first.

A new foreign key makes its package need the other. One that goes makes the other need its package:
the table, or a column or key that it refers to, can be dropped or changed only behind it. It may be
gone for long, and stand in scripts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from alembic.operations import ops

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.operations.ordering import dropped_key, foreign_keys_of
from websauna_migrate.autogenerate.operations.server_statements import columns_of_dropped_key
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.table_order import referenced_columns, referenced_key
from websauna_migrate.planning.accesses import Access, thing_of, touches
from websauna_migrate.results import CreatedScript

#: A table, and the columns that are meant; ``None`` for all.
Columns = tuple[Key, frozenset[str] | None]

#: A table or type as accesses know it, and the columns that are meant.
Thing: TypeAlias = tuple[tuple[str, str, str], frozenset[str] | None]


def run_before(
    package: str,
    operations: Sequence[ops.MigrateOperation],
    dropped: Iterable[tuple[CreatedScript, Columns]],
) -> list[str]:
    """Return the scripts that some operations have to run before: they drop what these let go.

    :param dropped: what the scripts of the same command drop, from :func:`dropped_by`
    :returns: ``package@revision`` of other packages' scripts
    """
    released = [*released_by(operations)]
    return sorted(
        {
            f"{script.package}@{script.revision}"
            for script, (key, others) in dropped
            for own, columns in released
            if own == key and script.package != package and overlap(columns, others)
        }
    )


class Hold(NamedTuple):
    """What lets a table depend on a table or type of another package.

    :ivar columns: its columns with the foreign key or the type; ``None`` where they are not known
    :ivar label: the name of the foreign key
    :ivar kinds: the accesses to it that end that
    """

    thing: tuple[str, str, str]
    columns: frozenset[str] | None
    label: str | None
    kinds: tuple[str, ...]

    def ends_by(self, access: Access) -> bool:
        """Tell whether an access lets go."""
        if access.kind not in self.kinds or thing_of("table", access.key) != self.thing:
            return False
        if access.kind == "drop_constraint":
            return self.label is None or access.label in (None, self.label)
        return access.kind == "drop_table" or overlap(self.columns, some(access.columns))

    def renamed_by(self, access: Access) -> Hold:
        """Return what it is behind an access that may give it another name."""
        if thing_of("table", access.key) == self.thing and access.new_name:
            if access.kind == "rename_table":
                return self._replace(thing=thing_of("table", (access.new_schema, access.new_name)))
            if access.kind == "rename_column" and overlap(self.columns, some(access.columns)):
                return self._replace(columns=self.columns and self.columns | {access.new_name})
        return self


def releases(scripts: LoadedScripts, package: str, going: Sequence[Thing]) -> list[str]:
    """Return the newest revision in which each other package let go of what goes in a package.

    :param going: from :func:`gone_columns`
    :returns: ``package@revision``
    """
    found: dict[str, str] = {}
    held: dict[str, list[Hold]] = {}
    for revision in scripts.graph.timeline() if going else ():
        accesses = scripts.effects[revision.package, revision.id]
        if revision.package == package:
            continue
        holds = held.setdefault(revision.package, [])
        for access in accesses:
            if any(one.ends_by(access) for one in holds):
                found[revision.package] = str(revision)
            holds[:] = [one.renamed_by(access) for one in holds]
        holds += new_holds(accesses, going)
    return sorted(found.values())


def release_warnings(package: str, revision: str, released: Sequence[str]) -> list[str]:
    """Return what it means to require the packages that let go of what a new script drops.

    :param released: from :func:`releases`
    """
    return [
        f'Package "{package}" now requires "{other}", which used what goes: no application without '
        f'"{other}" can use it from here on. If one should, take "{other}@{given}" out of the '
        f'requires of revision "{revision}", and write run_before = ("{package}@{revision}",) into '
        f'revision "{given}" of "{other}".'
        for other, _, given in (one.partition("@") for one in released)
    ]


def new_holds(accesses: Sequence[Access], going: Sequence[Thing]) -> Iterator[Hold]:
    """Yield what a script makes depend on what goes."""
    for access in accesses:
        if access.kind == "foreign_key" and access.target_table:
            target = thing_of("table", (access.target_schema, access.target_table))
            wanted = some(access.target_columns)
            kinds = ("drop_table", "drop_column", "drop_constraint")
            if any(thing == target and overlap(columns, wanted) for thing, columns in going):
                own = thing_of("table", access.key)
                yield Hold(own, some(access.columns), access.label, kinds)
        elif access.kind in ("use_type", "create_type") and any(
            thing == thing_of("type", access.key) for thing, _ in going
        ):
            # Which column has the type is not told.
            kinds = ("drop_table", "drop_column", "alter_column")
            for one in accesses:
                if one.kind in ("create_table", "add_column", "alter_column"):
                    yield Hold(thing_of("table", one.key), some(one.columns), None, kinds)


def gone_columns(
    accesses: Iterable[Access], operations: Sequence[ops.MigrateOperation]
) -> list[Thing]:
    """Return what a new script drops, renames or gives another type.

    :param operations: the script's, which know the columns of keys that are dropped
    """
    keys = [(thing_of("table", key), columns) for key, columns in dropped_by(operations)]
    return keys + [
        (touch.thing, some(touch.columns))
        for access in accesses
        for touch in touches(access)
        # Nothing may refer to an object meanwhile.
        if touch.role in ("destroy", "destroy column", "change")
    ]


def some(columns: Sequence[str]) -> frozenset[str] | None:
    """Return the columns of an access, which names none where it may be any."""
    return folded(columns) if columns else None


def folded(names: Iterable[str]) -> frozenset[str]:
    """Return columns as they are compared: databases differ in whether case counts."""
    return frozenset(name.casefold() for name in names)


def overlap(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Tell whether two sets of a table's columns have one in common; ``None`` is all of them."""
    return one is None or other is None or bool(one & other)


def dropped_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield the tables of which operations drop all, or columns a foreign key may refer to.

    What changes its type counts as dropped: a foreign key could not stay.
    """
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            yield (op.schema, op.table_name), None
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                key = op.schema, op.table_name
                is_plain = isinstance(inner, ops.DropIndexOp) and not inner.to_index().unique
                columns = columns_of_dropped_key(inner)
                if isinstance(inner, ops.DropColumnOp) or (
                    isinstance(inner, ops.AlterColumnOp) and inner.modify_type is not None
                ):
                    yield key, folded([inner.column_name])
                elif columns and not is_plain:
                    # An expression in an index has no name: it may be any column.
                    yield key, folded(columns) if "" not in columns else None


def released_by(operations: Sequence[ops.MigrateOperation]) -> Iterator[Columns]:
    """Yield what the foreign keys refer to which operations drop."""
    for op in operations:
        if isinstance(op, ops.DropTableOp):
            dropped = foreign_keys_of(op)
        else:
            inner = getattr(op, "ops", ())
            dropped = [key for one in inner if (key := dropped_key(one)) is not None]
        for key in dropped:
            yield referenced_key(key), folded(referenced_columns(key))
