"""What an adoption looks for, and what it has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine
from sqlalchemy.engine import URL, Connection

from websauna_migrate.alembic_adapter.package_environment import AlembicOptions
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.settings import Settings
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.results import Adoption
from websauna_migrate.runs.other_histories import OtherHistory
from websauna_migrate.runs.site import Site

__all__ = ["EQUAL", "AdoptingService", "Findings", "Wanted", "directory_of"]

#: The proof of tables that are at the newest revision.
EQUAL = "its tables equal the models"


class AdoptingService(Protocol):
    """What is asked of the service."""

    options: AlembicOptions

    @property
    def settings(self) -> Settings:
        """What it is configured with."""

    @property
    def packages(self) -> tuple[MigrationPackage, ...]:
        """The registered packages."""

    @property
    def application(self) -> str | None:
        """The application's own package."""

    @property
    def ownership(self) -> Ownership:
        """Which package owns what of the models."""

    def _site_anew(self, given: Connection | Engine | None = None) -> Site:
        """Return the scripts as they are now, and the database."""

    def with_changes(
        self, settings: Settings, packages: Sequence[MigrationPackage]
    ) -> AdoptingService:
        """Return a service with other settings and packages."""

    def _at(self, url: URL) -> Any: ...

    def upgrade(self, revision: Any = "heads", *, packages: Any = None) -> Any:
        """Apply revisions."""

    def move_table(self, table: str, source: str, target: str) -> Any:
        """Write the two scripts that hand a table over."""


@dataclass
class Findings:
    """What an adoption is going to do.

    :ivar service: with the settings that are going to be added
    :ivar settings: those settings, by name
    :ivar files: the files that change, with their new texts, by package
    :ivar taken: histories that stand in other tables
    :ivar stamped: of packages without any history, the rows that their tables prove, and how
    :ivar first: packages whose tables are there and which have no script
    :ivar moves: tables that other packages own by now: table, former and present owner
    """

    service: AdoptingService
    selected: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[Path, str]] = field(default_factory=dict)
    taken: list[OtherHistory] = field(default_factory=list)
    stamped: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    moves: list[tuple[str, str, str]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

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


def directory_of(service: AdoptingService, name: str) -> Path:
    """Return a package's script directory."""
    return next(one.script_directory for one in service.packages if one.name == name)
