"""What an adoption looks for, and what it has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from websauna_migrate.results import Adoption
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.other_histories import OtherHistory

#: The proof of tables that are at the newest revision.
EQUAL = "its tables equal the models"


@dataclass
class Findings:
    """What an adoption is going to do.

    :ivar service: with the settings that are going to be added
    :ivar settings: those settings, by name
    :ivar files: the files that change, with their new texts, by package
    :ivar taken: histories that stand in other tables
    :ivar kept: packages whose histories stay in those tables: the caller asked for it, or their
        ``env.py`` cannot be told another one
    :ivar stamped: of packages without any history, the rows that their tables prove, and how
    :ivar first: packages whose tables are there and which have no script
    :ivar moves: tables that other packages own by now: table, former and present owner
    """

    service: Service
    selected: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[Path, str]] = field(default_factory=dict)
    taken: list[OtherHistory] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    stamped: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    moves: list[tuple[str, str, str]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def moves_together(self) -> dict[tuple[str, str], list[str]]:
        """The tables of each former and present owner."""
        found: dict[tuple[str, str], list[str]] = {}
        for table, source, target in self.moves:
            found.setdefault((source, target), []).append(table)
        return found

    def recorded(self, applied: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Return the rows of histories as they are going to be.

        :param applied: the rows of those that are there, or are in other tables
        """
        return {**applied, **{name: rows for name, (rows, _) in self.stamped.items()}}

    def result(self, *, done: bool) -> Adoption:
        """Return it as data."""
        return Adoption(
            tuple(self.actions), tuple(self.notes), tuple(self.drift), tuple(self.problems), done
        )


@dataclass(frozen=True)
class Wanted:
    """What the caller of an adoption asked for.

    :ivar table: the version table, where several have a package's revisions
    :ivar keep: leave the version table its name
    :ivar replace_env: replace each ``env.py`` by the template where nothing is lost
    """

    table: str | None = None
    keep: bool = False
    replace_env: bool = False


def directory_of(service: Service, name: str) -> Path:
    """Return a package's script directory."""
    return next(one.script_directory for one in service.packages if one.name == name)
