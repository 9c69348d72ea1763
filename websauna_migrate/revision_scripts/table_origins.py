"""Which revision made what: the accesses of many revisions replayed, to see what stands at last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from websauna_migrate.planning.accesses import DEFAULT_SCHEMAS, Access, Key, Origin


class CreatedObjects:
    """Which revision introduced the tables, columns and types that stand after a series of them.

    A table belongs to the revision that created it, or gave it its present name. While it stands,
    creating it once more changes nothing within one package (``IF NOT EXISTS``); by another package
    it is a second claim, and the last claim counts: so a table moves between packages. A drop takes
    away the claim of the dropping package if another has one, else the table. A type belongs to
    the revision that created it first, since a type is shared.

    A table or type that a revision takes over belongs to that revision with all that it has; one
    that was given away and not taken over yet belongs to no package.

    A claim is *unsure* where a script may have created the table or type, or may have dropped it
    since: it stands under a condition, or it is a part of a script that cannot be read. What must
    not be dropped by mistake asks for :attr:`sure_tables` and :meth:`sure_type_origin`.
    """

    def __init__(self, revisions: Iterable[tuple[str, str, Iterable[Access]]] = ()) -> None:
        """Replay revisions: package, identifier and accesses of each, oldest first."""
        self._claims: dict[Key, dict[str, str]] = {}
        self._columns: dict[Key, dict[str, Origin]] = {}
        self._types: dict[Key, Origin] = {}
        self._packages: dict[Key, list[str]] = {}
        #: The first place that makes the claims on a table unsure: package, revision and line.
        self._doubts: dict[Key, tuple[str, str, int]] = {}
        #: The types whose origin is unsure.
        self._unsure_types: set[Key] = set()
        # What was said before a table was given away, oldest first.
        self._former: dict[Key, list[Origin]] = {}
        self._former_columns: dict[Key, dict[str, Origin]] = {}
        for package, revision, effects in revisions:
            self.apply(package, revision, effects)

    def apply(self, package: str, revision: str, effects: Iterable[Access]) -> None:
        """Replay one more revision; what it requires must have been replayed before."""
        effects = tuple(effects)
        for effect in effects:
            self._apply(effect, (package, revision))
        for partly in [one for one in effects if one.kind == "unreadable"][:1]:
            for effect in effects:
                if effect.kind == "create_table":
                    self._doubt(effect.key, (package, revision), partly.line)
                elif effect.kind == "create_type":
                    self._unsure_types.add(effect.key)

    @property
    def tables(self) -> Mapping[Key, Origin]:
        """The origin of every table that may stand, in order of creation."""
        return {key: last(claims) for key, claims in self._claims.items()}

    @property
    def sure_tables(self) -> Mapping[Key, Origin]:
        """The origin of every table that the scripts are known to have made."""
        return {key: one for key, one in self.tables.items() if key not in self._doubts}

    @property
    def unsure_tables(self) -> Mapping[Key, tuple[str, str, int]]:
        """The tables that a package may have made, with the place that leaves it open."""
        return {key: one for key, one in self._doubts.items() if key in self._claims}

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

    def sure_type_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return what is known to have created the named type that there is now."""
        return None if (schema, name) in self._unsure_types else self.type_origin(schema, name)

    def packages_of_table(self, schema: str | None, name: str) -> tuple[str, ...]:
        """Return every package that ever created or received a table, also one dropped since."""
        return tuple(self._packages.get((schema, name), ()))

    def _apply(self, effect: Access, origin: Origin) -> None:
        key = effect.key
        renamed = (effect.new_schema, effect.new_name or effect.name)
        package, revision = origin
        if effect.kind == "create_table":
            self._create(key, origin, effect)
        elif effect.kind == "drop_table":
            self._drop(key, origin, effect)
        elif effect.kind == "drop_schema":
            for one in [one for one in self._claims if one[0] == effect.name]:
                self._drop(one, origin, effect)
            for one in self._claims if effect.name in DEFAULT_SCHEMAS else ():
                if one[0] is None:
                    self._doubt(one, origin, effect.line)
            for one in self._types:
                if one[0] == effect.name or (one[0] is None and effect.name in DEFAULT_SCHEMAS):
                    self._unsure_types.add(one)
        elif effect.kind == "unreadable":
            for one, claims in self._claims.items():
                if package in claims:
                    self._doubt(one, origin, effect.line)
            self._unsure_types.update(k for k, made in self._types.items() if made[0] == package)
        elif effect.kind == "rename_table":
            self._rename(key, renamed, origin, effect)
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
        elif effect.kind.endswith("_type"):
            self._apply_to_type(effect, renamed, origin)

    def _apply_to_type(self, effect: Access, renamed: Key, origin: Origin) -> None:
        key = effect.key
        if effect.kind == "give_type":
            if self._types.get(key, origin)[0] == origin[0]:
                self._forget_type(key)
        elif effect.kind == "take_type":
            self._forget_type(key)
            self._types[key] = origin
        elif effect.kind == "create_type":
            if key not in self._types and not effect.sure:
                self._unsure_types.add(key)
            self._types.setdefault(key, origin)
        elif effect.kind in ("drop_type", "rename_type"):
            self._doubt_twins(key, origin, effect.line)
            was_sure = key not in self._unsure_types
            if effect.sure:
                self._forget_type(key)
            else:
                self._unsure_types.add(key)
            if effect.kind == "rename_type":
                self._forget_type(renamed)
                self._types[renamed] = origin
                if not (effect.sure and was_sure):
                    self._unsure_types.add(renamed)

    def _forget_type(self, key: Key) -> None:
        self._types.pop(key, None)
        self._unsure_types.discard(key)

    def _create(self, key: Key, origin: Origin, effect: Access) -> None:
        package, revision = origin
        claims = self._claims.setdefault(key, {})
        if package not in claims:
            claims[package] = revision
            self._columns.pop(key, None)
            if not effect.sure:
                self._doubt(key, origin, effect.line)
        self._remember(key, package)

    def _doubt_twins(self, key: Key, origin: Origin, line: int) -> None:
        """Doubt the table that a name may mean too: that of the default schema, written or not."""
        schema, name = key
        twins = [(one, name) for one in DEFAULT_SCHEMAS] if schema is None else [(None, name)]
        if key not in self._claims and (schema is None or schema in DEFAULT_SCHEMAS):
            for twin in twins:
                if twin in self._claims:
                    self._doubt(twin, origin, line)
                if twin in self._types:
                    self._unsure_types.add(twin)

    def _drop(self, key: Key, origin: Origin, effect: Access) -> None:
        self._doubt_twins(key, origin, effect.line)
        claims = self._claims.get(key, {})
        if not effect.sure:
            self._doubt(key, origin, effect.line)
        elif origin[0] in claims and len(claims) > 1:
            del claims[origin[0]]
        else:
            self._forget(key)

    def _rename(self, key: Key, renamed: Key, origin: Origin, effect: Access) -> None:
        package, revision = origin
        self._doubt_twins(key, origin, effect.line)
        doubt = self._doubts.get(key)
        if effect.sure:
            self._forget(key)
            self._forget(renamed)
            if doubt is not None:
                self._doubts[renamed] = doubt
        else:
            self._doubt(key, origin, effect.line)
            self._doubt(renamed, origin, effect.line)
        self._claims[renamed] = {package: revision}
        for earlier in (*self._packages.get(key, ()), package):
            self._remember(renamed, earlier)

    def _doubt(self, key: Key, origin: Origin, line: int) -> None:
        self._doubts.setdefault(key, (*origin, line))

    def _forget(self, key: Key) -> None:
        for known in (self._claims, self._columns, self._former, self._former_columns):
            known.pop(key, None)
        self._doubts.pop(key, None)

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
