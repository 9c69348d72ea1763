"""Walking real histories: a database is put at each revision, and its tables have to tell it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from runs import engine_of, execute, tables
from websauna_migrate.errors import NotLocated

__all__ = ["Walked", "forget", "hands", "walk"]


@dataclass
class Walked:
    """What a walk has seen.

    :ivar places: that were located
    :ivar equal: of these, those that several revisions of a package may be
    :ivar by_hand: changes by hand that were named
    """

    places: int = 0
    equal: int = 0
    by_hand: int = 0


def forget(url: str) -> None:
    """Delete all that says what was applied."""
    for name in tables(url):
        if name.startswith(("alembic_history", "websauna_migrate")):
            execute(url, f"DROP TABLE {name}")


def hands(url: str) -> Iterator[tuple[str, str, str]]:
    """Yield what a hand does to a table, how that is undone, and the object."""
    with engine_of(url).connect() as connection:
        yield from found_by_hands(connection)


def found_by_hands(connection: sa.Connection) -> Iterator[tuple[str, str, str]]:
    """Yield the same by an open connection."""
    inspector, quote = sa.inspect(connection), connection.dialect.identifier_preparer.quote
    on_mysql = connection.dialect.name == "mysql"
    for name in sorted(inspector.get_table_names()):
        if name.startswith(("alembic_history", "websauna_migrate")):
            continue
        table = quote(name)
        yield (
            f"ALTER TABLE {table} ADD COLUMN by_hand INTEGER",
            f"ALTER TABLE {table} DROP COLUMN by_hand",
            f'table "{name}", column "by_hand"',
        )
        # MariaDB keeps the index that a foreign key needs.
        needed = [one["constrained_columns"][0] for one in inspector.get_foreign_keys(name)]
        for index in inspector.get_indexes(name):
            columns, options = index["column_names"], index.get("dialect_options", {})
            if None in columns or columns[0] in needed or "duplicates_constraint" in index:
                continue
            if any(value for key, value in options.items() if key != "postgresql_include"):
                continue
            unique = "UNIQUE " if index["unique"] else ""
            listed = ", ".join(quote(str(one)) for one in columns)
            called = quote(str(index["name"]))
            yield (
                f"DROP INDEX {called}{f' ON {table}' if on_mysql else ''}",
                f"CREATE {unique}INDEX {called} ON {table} ({listed})",
                f'table "{name}", index "{index["name"]}"',
            )
        column = quote(inspector.get_columns(name)[0]["name"])
        yield (
            f"CREATE INDEX ix_by_hand ON {table} ({column})",
            f"DROP INDEX ix_by_hand{f' ON {table}' if on_mysql else ''}",
            f'table "{name}", index "ix_by_hand"',
        )


def seen_from_outside(url: str) -> Mapping[str, str]:
    """Return what SQLAlchemy sees of each table."""
    with engine_of(url).connect() as connection:
        inspector = sa.inspect(connection)
        looks = (
            inspector.get_columns,
            inspector.get_pk_constraint,
            inspector.get_foreign_keys,
            inspector.get_unique_constraints,
            inspector.get_check_constraints,
            inspector.get_indexes,
            inspector.get_table_options,
        )
        return {
            name: repr(
                [
                    sorted(map(repr, found)) if isinstance(found := look(name), list) else found
                    for look in looks
                ]
            )
            for name in inspector.get_table_names()
            if not name.startswith(("alembic_history", "websauna_migrate"))
        }


def walk(service: Any, url: str, *, seed: int = 1, each: int = 1) -> Walked:
    """Put an empty database at every place of its histories in turn, and locate it.

    Each time without any history: the true revision of each package has to be among those that are
    named, and all of them have to be alike for who looks from outside. Before that a hand changes
    one object, and exactly that has to be named.

    :param each: at each so many'th place a hand changes something
    """
    walked, chance = Walked(), random.Random(seed)
    states: dict[tuple[str, str], Mapping[str, str]] = {}
    touched: dict[str, set[str]] = {}
    found_at: list[tuple[dict[str, str], dict[str, set[str]], Mapping[str, str]]] = []
    at: dict[str, str] = {}
    before = seen_from_outside(url)
    plan = service.plan()
    for package in plan.packages:
        at[package] = ""
        states[package, ""] = before
    for step in plan.steps:
        service.upgrade(step.revision.id, packages=step.package)
        # Branches have a row each.
        (state,) = service.status(packages=step.package)
        at[step.package] = ",".join(state.rows)
        now = seen_from_outside(url)
        changed = {name for name in {*before, *now} if before.get(name) != now.get(name)}
        touched.setdefault(step.package, set()).update(changed)
        states[step.package, at[step.package]] = before = now
        choices = [*hands(url)] if walked.places % each == 0 else []
        if choices:
            change, undo, named = chance.choice(choices)
            execute(url, change)
            located = service.locate()
            found = [each for one in located.packages for each in one.differences]
            objects = [each.object for each in found if not each.note]
            assert not located.ok and objects == [named], (step.revision.id, change, objects)
            execute(url, undo)
            walked.by_hand += 1
        forget(url)
        located = service.locate()
        named_ones = {
            one.package: {",".join(sorted(e)) for e in one.candidates} for one in located.packages
        }
        found_at.append((dict(at), named_ones, now))
        walked.places += 1
        walked.equal += max(map(len, named_ones.values())) > 1
        stamp(service, at)
    for true, named_ones, now in found_at:
        for package, names in named_ones.items():
            assert true[package] in names, (package, true[package], names)
            for name in names:
                if (there := states.get((package, name))) is None:
                    # A place of branches that another order would have reached.
                    continue
                odd = [one for one in touched[package] if there.get(one) != now.get(one)]
                assert not odd, (package, true[package], name, odd)
    return walked


def stamp(service: Any, at: Mapping[str, str]) -> None:
    """Let the history tables say what is proven, naming the place where several are equal."""
    try:
        service.stamp((), verified=True)
    except NotLocated:
        for package, revisions in at.items():
            if revisions:
                service.stamp(revisions.split(","), packages=package, verified=True)
