"""Who created what: the effects of many revisions replayed, to see what stands at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from websauna_migrate.revision_scripts.effects import Effect, Key, Origin

__all__ = ["CreatedObjects"]


class CreatedObjects:
    """Who introduced the tables, columns and types that stand after a series of revisions.

    A table belongs to the revision that created it, or gave it its present name. While it stands,
    creating it once more changes nothing within one package (``IF NOT EXISTS``); by another package
    it is a second claim, and the last claim counts: so a table moves between packages. A drop takes
    away the claim of the dropping package if another has one, else the table. A type belongs to
    the revision that created it first, since a type is shared.

    A table or type that a revision takes over belongs to that revision with all that it has; one
    that was given away and not taken over yet belongs to nobody.
    """

    def __init__(self, revisions: Iterable[tuple[str, str, Iterable[Effect]]] = ()) -> None:
        """Replay revisions: package, identifier and effects of each, oldest first."""
        self._claims: dict[Key, dict[str, str]] = {}
        self._columns: dict[Key, dict[str, Origin]] = {}
        self._types: dict[Key, Origin] = {}
        self._packages: dict[Key, list[str]] = {}
        # What was said before a table was given away, oldest first.
        self._former: dict[Key, list[Origin]] = {}
        self._former_columns: dict[Key, dict[str, Origin]] = {}
        for package, revision, effects in revisions:
            self.apply(package, revision, effects)

    def apply(self, package: str, revision: str, effects: Iterable[Effect]) -> None:
        """Replay one more revision; whatever it requires must have been replayed before."""
        for effect in effects:
            self._apply(effect, (package, revision))

    @property
    def tables(self) -> Mapping[Key, Origin]:
        """The origin of every table that stands, in order of creation."""
        return {key: last(claims) for key, claims in self._claims.items()}

    @property
    def types(self) -> Mapping[Key, Origin]:
        """The origin of every named type that stands."""
        return MappingProxyType(self._types)

    def table_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return the package and revision that introduced a table under its present name."""
        claims = self._claims.get((schema, name))
        return last(claims) if claims else None

    def column_origin(self, schema: str | None, table: str, column: str) -> Origin | None:
        """Return the package and revision that added a column, else that of its table."""
        added = self._columns.get((schema, table), {}).get(column)
        return added or self.table_origin(schema, table)

    def origins(
        self, schema: str | None, table: str, column: str | None = None
    ) -> tuple[Origin, ...]:
        """Return all revisions that a table, or a column of it, can be had from, newest first.

        There are several after a move: the table was there before the present owner took it over.
        """
        key = (schema, table)
        if column is not None:
            added = self._columns.get(key, {}).get(column)
            if added is not None:
                return (added,)
        former = tuple(reversed(self._former.get(key, ())))
        if column is not None and column in self._former_columns.get(key, {}):
            former = (self._former_columns[key][column],)
        present = self.table_origin(schema, table)
        return former if present is None else (present, *former)

    def type_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return the package and revision that created a named type."""
        return self._types.get((schema, name))

    def packages_of_table(self, schema: str | None, name: str) -> tuple[str, ...]:
        """Return every package that ever created or received a table, also one dropped since."""
        return tuple(self._packages.get((schema, name), ()))

    def _apply(self, effect: Effect, origin: Origin) -> None:
        key = (effect.schema, effect.name)
        renamed = (effect.new_schema, effect.new_name or effect.name)
        package, revision = origin
        if effect.kind == "create_table":
            claims = self._claims.setdefault(key, {})
            if package not in claims:
                claims[package] = revision
                self._columns.pop(key, None)
            self._remember(key, package)
        elif effect.kind == "drop_table":
            claims = self._claims.get(key, {})
            if package in claims and len(claims) > 1:
                del claims[package]
            else:
                self._forget(key)
        elif effect.kind == "rename_table":
            self._forget(key)
            self._forget(renamed)
            self._claims[renamed] = {package: revision}
            for earlier in (*self._packages.get(key, ()), package):
                self._remember(renamed, earlier)
        elif effect.kind == "add_column" and effect.column:
            self._columns.setdefault(key, {})[effect.column] = origin
        elif effect.kind == "drop_column" and effect.column:
            self._columns.get(key, {}).pop(effect.column, None)
        elif effect.kind == "rename_column" and effect.column and effect.new_name:
            columns = self._columns.setdefault(key, {})
            columns.pop(effect.column, None)
            columns[effect.new_name] = origin
        elif effect.kind == "give_table":
            if package in self._claims.get(key, {}):
                self._hand_over(key)
        elif effect.kind == "take_table":
            self._hand_over(key)
            self._claims[key] = {package: revision}
            self._remember(key, package)
        elif effect.kind == "give_type":
            if self._types.get(key, origin)[0] == package:
                self._types.pop(key, None)
        elif effect.kind == "take_type":
            self._types[key] = origin
        elif effect.kind == "create_type":
            self._types.setdefault(key, origin)
        elif effect.kind == "drop_type":
            self._types.pop(key, None)
        elif effect.kind == "rename_type":
            self._types.pop(key, None)
            self._types[renamed] = origin

    def _forget(self, key: Key) -> None:
        for known in (self._claims, self._columns, self._former, self._former_columns):
            known.pop(key, None)

    def _hand_over(self, key: Key) -> None:
        claims = self._claims.pop(key, None)
        if claims:
            self._former.setdefault(key, []).append(last(claims))
        columns = self._columns.pop(key, {})
        self._former_columns.setdefault(key, {}).update(columns)

    def _remember(self, key: Key, package: str) -> None:
        packages = self._packages.setdefault(key, [])
        if package not in packages:
            packages.append(package)


def last(claims: Mapping[str, str]) -> Origin:
    """Return the latest of the claims on a table."""
    package = next(reversed(list(claims)))
    return package, claims[package]
