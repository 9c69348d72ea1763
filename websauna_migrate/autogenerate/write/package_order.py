"""In which order the scripts of several packages are written, as their models need each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.models.named_types import named_types, type_key
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.models.table_order import inherited_keys, referenced_key

#: For each package those whose tables or types it uses.
Needs = Mapping[str, set[str]]


def needs_of(
    ownership: Ownership,
    packages: Iterable[str],
    counts: Callable[[Key], bool] = lambda key: True,
) -> tuple[Needs, Needs]:
    """Return which packages' tables foreign keys refer to, and which packages' types are used.

    :param packages: those that are of interest
    :param counts: tells which tables are, by schema and name
    """
    names = set(packages)
    tables: dict[str, set[str]] = {}
    types: dict[str, set[str]] = {}
    for name in names:
        by_keys: set[str | None] = set()
        by_types: set[str | None] = set()
        for table in ownership.tables_of(name):
            keys = map(referenced_key, table.foreign_key_constraints)
            by_keys.update(ownership.owners.get(key) for key in keys if counts(key))
            # A child can only be made behind its parent, as a column behind its type.
            by_types.update(map(ownership.owners.get, inherited_keys(table.kwargs)))
            used = chain.from_iterable(named_types(column.type) for column in table.columns)
            by_types.update(ownership.enum_owner(*type_key(named)) for named in used)
        tables[name], types[name] = ((names & found) - {name} for found in (by_keys, by_types))
    return tables, types


def circle_of(needs: Needs, package: str) -> set[str]:
    """Return the packages that one needs and that need it, over others if need be.

    :returns: an empty set if there are none, else with the package itself
    """
    return {one for one in reached(needs, package) if package in reached(needs, one)}


def reached(needs: Needs, package: str) -> set[str]:
    """Return all that a package needs; itself only if it is on a circle."""
    found: set[str] = set()
    stack = list(needs.get(package, ()))
    while stack:
        one = stack.pop()
        if one not in found:
            found.add(one)
            stack += needs.get(one, ())
    return found


def in_order(tables: Needs, types: Needs, new: Needs) -> list[str]:
    """Return packages so that one whose tables or types are used comes before the users.

    In a circle, one comes first whose foreign keys can be made later: that of no new table if there
    is one, else one that uses no type of those behind it.

    :param new: as ``tables``, of tables that no script makes yet
    """
    ordered: list[str] = []
    waiting = sorted(tables)
    while waiting:
        left = set(waiting)
        needs = {name: (tables[name] | types[name]) & left for name in waiting}
        chosen = next((name for name in waiting if not needs[name]), None)
        if chosen is None:
            on_circle = [name for name in waiting if reached(needs, name) == circle_of(needs, name)]
            chosen = min(
                on_circle,
                key=lambda name: (bool(types[name] & left), bool(new[name] & left), name),
            )
        ordered.append(chosen)
        waiting.remove(chosen)
    return ordered
