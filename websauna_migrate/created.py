"""What revision scripts create: read from their source, never run and never imported.

Three parts, each usable alone:

- :func:`read_effects` walks the ``upgrade()`` of a script with :mod:`ast` and returns its schema
  effects in order: Alembic operations, batch blocks, enum types, foreign keys and literal SQL,
  through import aliases, constants, helper functions of the file and loops over literals;
- :func:`read_sql` does the same for literal SQL;
- :class:`CreatedObjects` replays the effects of many scripts, to say which revision introduced a
  table, column or type that stands at the end.

Every branch of a script is taken to run, since nobody knows here which one will. What depends on
the database or on code outside of the file cannot be read; it is skipped and counted.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from websauna_migrate.errors import MigrationError

__all__ = [
    "CreatedObjects",
    "Effect",
    "ScriptEffects",
    "ScriptSyntaxError",
    "parse_script",
    "read_effects",
    "read_script",
    "read_sql",
]

#: How a table or type is named: its schema as written (``None``: none was written) and its name.
Key: TypeAlias = tuple[str | None, str]

#: Package and revision identifier.
Origin: TypeAlias = tuple[str, str]

Kind: TypeAlias = Literal[
    "create_table",
    "drop_table",
    "rename_table",
    "add_column",
    "drop_column",
    "rename_column",
    "create_type",
    "drop_type",
    "rename_type",
    "foreign_key",
]


class ScriptSyntaxError(MigrationError, ValueError):
    """A revision script is no valid Python; ``filename`` and ``line`` say where."""

    def __init__(self, filename: str, line: int | None, problem: str) -> None:
        """Build the message from the place and what the parser says."""
        self.filename = filename
        self.line = line
        self.problem = problem
        place = "" if line is None else f", line {line}"
        super().__init__(
            f'Revision script "{filename}"{place} is not valid Python: {problem}. '
            "Correct the script and run the command again."
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a script does to the schema.

    :ivar kind: what is done
    :ivar schema: schema of the table or type, as written; ``None`` where none was written
    :ivar name: the table or type; for a foreign key the table that has it
    :ivar column: the column, also the one column of a foreign key where that is known
    :ivar new_name: the name after a rename, of the table, column or type
    :ivar new_schema: the schema after a rename of a table or type, changed or not
    :ivar target_schema: schema of the table that a foreign key references, as written
    :ivar target_table: the table that a foreign key references
    :ivar target_columns: the columns that it references; empty where the script leaves them out
    :ivar line: line of the script, counted from 1
    """

    kind: Kind
    schema: str | None
    name: str
    column: str | None = None
    new_name: str | None = None
    new_schema: str | None = None
    target_schema: str | None = None
    target_table: str | None = None
    target_columns: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class ScriptEffects:
    """The effects of one function of a script.

    :ivar effects: in the order of execution
    :ivar unreadable: how many operations could not be read
    """

    effects: tuple[Effect, ...]
    unreadable: int


def read_effects(
    source: str | bytes | ast.Module, filename: str, function: str = "upgrade"
) -> tuple[Effect, ...]:
    """Return the schema effects of one function of a script, in order.

    :param source: the script's text, or what :func:`parse_script` made of it
    :param filename: for messages
    :param function: ``upgrade`` or ``downgrade``; a script without it has no effects
    :raises ScriptSyntaxError: if the script is no valid Python; correct it
    """
    return read_script(source, filename, function).effects


def read_script(
    source: str | bytes | ast.Module, filename: str, function: str = "upgrade"
) -> ScriptEffects:
    """Return the effects as :func:`read_effects` does, and how many could not be read."""
    tree = source if isinstance(source, ast.Module) else parse_script(source, filename)
    return Reader().read(tree, function)


def parse_script(source: str | bytes, filename: str) -> ast.Module:
    """Return the syntax tree of a script.

    :raises ScriptSyntaxError: if the script is no valid Python; correct it
    """
    try:
        with warnings.catch_warnings():
            # A doubtful escape in somebody's script is not this reader's business.
            warnings.simplefilter("ignore")
            return ast.parse(source, filename)
    except SyntaxError as exc:
        raise ScriptSyntaxError(filename, exc.lineno, exc.msg) from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise ScriptSyntaxError(filename, None, str(exc) or "it is nested too deeply") from exc


# What stands at the end


class CreatedObjects:
    """Who introduced the tables, columns and types that stand after a series of revisions.

    A table belongs to the revision that created it, or gave it its present name. While it stands,
    creating it once more changes nothing within one package (``IF NOT EXISTS``); by another package
    it is a second claim, and the last claim counts: so a table moves between packages. A drop takes
    away the claim of the dropping package if another has one, else the table. A type belongs to
    the revision that created it first, since a type is shared.
    """

    def __init__(self, revisions: Iterable[tuple[str, str, Iterable[Effect]]] = ()) -> None:
        """Replay revisions: package, identifier and effects of each, oldest first."""
        self._claims: dict[Key, dict[str, str]] = {}
        self._columns: dict[Key, dict[str, Origin]] = {}
        self._types: dict[Key, Origin] = {}
        self._packages: dict[Key, list[str]] = {}
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

    def type_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return the package and revision that created a named type."""
        return self._types.get((schema, name))

    def packages_of_table(self, schema: str | None, name: str) -> tuple[str, ...]:
        """Return every package that ever created or received a table, also one dropped since."""
        return tuple(self._packages.get((schema, name), ()))

    def _apply(self, effect: Effect, origin: Origin) -> None:
        key = (effect.schema, effect.name)
        renamed = (effect.new_schema, effect.new_name or effect.name)
        columns = self._columns.setdefault(key, {})
        package, revision = origin
        if effect.kind == "create_table":
            claims = self._claims.setdefault(key, {})
            if package not in claims:
                columns.clear()
                claims[package] = revision
            self._remember(key, package)
        elif effect.kind == "drop_table":
            claims = self._claims.get(key, {})
            claims.pop(package, None)
            # Another package has taken the table over only where the dropping one had it too.
            taken_over = package in self._packages.get(key, ()) and claims
            if not taken_over or len(claims) == 0:
                self._claims.pop(key, None)
                columns.clear()
        elif effect.kind == "rename_table":
            self._claims.pop(key, None)
            self._columns.pop(key, None)
            self._columns.pop(renamed, None)
            self._claims[renamed] = {package: revision}
            for earlier in (*self._packages.get(key, ()), package):
                self._remember(renamed, earlier)
        elif effect.kind == "add_column" and effect.column:
            columns[effect.column] = origin
        elif effect.kind == "drop_column" and effect.column:
            columns.pop(effect.column, None)
        elif effect.kind == "rename_column" and effect.column and effect.new_name:
            columns.pop(effect.column, None)
            columns[effect.new_name] = origin
        elif effect.kind == "create_type":
            self._types.setdefault(key, origin)
        elif effect.kind == "drop_type":
            self._types.pop(key, None)
        elif effect.kind == "rename_type":
            self._types.pop(key, None)
            self._types[renamed] = origin

    def _remember(self, key: Key, package: str) -> None:
        packages = self._packages.setdefault(key, [])
        if package not in packages:
            packages.append(package)


def last(claims: Mapping[str, str]) -> Origin:
    """Return the latest of the claims on a table."""
    package = next(reversed(list(claims)))
    return package, claims[package]
