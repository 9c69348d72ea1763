"""Keys and tables that go while another package's foreign key leans on them.

The other package drops its foreign key in a revision before, and adds it again in one behind. So it
has to be written by the same command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

from alembic.operations import ops
from sqlalchemy import inspect

from websauna_migrate.autogenerate.compare.leaning_keys import KeyColumns, keys_that_go
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import key_in_use

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
        read: Any = inspector.get_multi_foreign_keys(schema=schema, filter_names=sorted(known))
        for (_, table), keys in read.items():
            for one in keys:
                target = owned.normal(one["referred_schema"]), one["referred_table"]
                columns = frozenset(one["referred_columns"])
                found.append((str(known[table]), table, one["name"], (*target, columns)))
    return sorted(found, key=lambda one: str(one[:3]))
