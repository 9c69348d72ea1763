"""Keys that go while another package's foreign key leans on them.

The other package drops its foreign key in a revision before, and adds it again in one behind. So it
has to be written by the same command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import inspect

from websauna_migrate.autogenerate.compare.leaning_keys import KeyColumns, keys_that_go
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import key_in_use

__all__ = ["given_up_keys"]


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
    for package in sorted(owned.snapshot.packages) if going else ():
        for table, name, target in foreign_keys(owned.beside(package), reflection):
            owner = owned.owner_of(*target[:2])
            if target not in going or owner == package:
                continue
            if package not in packages:
                raise key_in_use(str(owner), target[1], sorted(target[2]), package, table, name)
            leaning.add(target)
    return frozenset(leaning)


def foreign_keys(
    owned: PackageObjects, reflection: Reflection
) -> Iterator[tuple[str, str | None, KeyColumns]]:
    """Yield the foreign keys that a package has in the database: table, name, what they lean on."""
    inspector = inspect(reflection.connection)
    for schema in sorted({schema for schema, _ in owned.keys}, key=str):
        names = [name for one, name in owned.keys if one == schema]
        there = [name for name in names if reflection.has_table(schema, name)]
        read: Any = inspector.get_multi_foreign_keys(schema=schema, filter_names=there)
        for (_, table), keys in sorted(read.items(), key=str) if there else ():
            for one in keys:
                target = owned.normal(one["referred_schema"]), one["referred_table"]
                yield table, one["name"], (*target, frozenset(one["referred_columns"]))
