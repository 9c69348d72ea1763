"""A package whose revisions stand in a version table that is not its own.

An application that ran under plain Alembic has its history in ``alembic_version``. Its own history
table here is empty, so everything would be run again. Such a table is found by the revisions in it,
whatever its name and schema; a run refuses, and ``adopt`` makes it the package's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from websauna_migrate.config.packages import lacks_scripts, project_of
from websauna_migrate.database.history_tables import (
    VersionTable,
    find_version_tables,
    history_table_name,
)
from websauna_migrate.plain_text import in_quotes, plural
from websauna_migrate.planning.history_errors import HistoryContradicted

if TYPE_CHECKING:
    from websauna_migrate.runs.site import Site

Applied = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class OtherHistory:
    """A version table with revisions of a package whose own history is empty.

    :ivar revisions: those of its rows that the package's scripts define
    :ivar folder: where these are, if the service does not know of them
    """

    package: str
    history_table: str
    table: VersionTable
    revisions: tuple[str, ...]
    folder: Path | None = None

    def __str__(self) -> str:
        """Return what was found as a sentence."""
        rows = in_quotes(self.revisions)
        many = plural(len(self.revisions), "revision")
        if self.folder is not None:
            return (
                f'Package "{self.package}" has no script where it is registered, but '
                f'"{self.folder}" has the {many} {rows} of the table "{self.table}".'
            )
        return (
            f'The history table "{self.history_table}" of package "{self.package}" is empty, but '
            f'the table "{self.table}" has its {many} {rows}.'
        )


def remedy_for(found: Iterable[OtherHistory]) -> str:
    """Return how the histories become the packages' own."""
    return "\n".join(
        f"  To go on with it, take out: websauna_migrate.{hiding_setting(one)}\n"
        f"  To take it over: ws-alembic -x packages={one.package} adopt"
        if one.table.name == history_table_name(one.package)
        else f"  To take it over: ws-alembic -x packages={one.package} adopt\n"
        + (
            f"  To share it with plain Alembic: ws-alembic -x packages={one.package} adopt --keep\n"
            if one.table.visible
            else ""
        )
        + f"  If it is another application's, set: websauna_migrate.version_table.{one.package} = "
        f"{one.history_table}"
        for one in found
    )


def hiding_setting(found: OtherHistory) -> str:
    """Return the setting by which the table that is a package's history by default is not."""
    hidden = found.history_table != found.table.name
    return f"version_table.{found.package}" if hidden else "version_table_schema"


def find_elsewhere(
    site: Site, connection: Connection, applied: Applied, packages: Collection[str]
) -> tuple[OtherHistory, ...]:
    """Return the histories of packages in version tables that are not theirs.

    No query is made where each package has a history or no script. A package whose table the
    settings name is taken at its word, unless the table that is its history by default has its
    revisions.

    :param applied: the rows of each package's own history table
    """
    without_rows = [name for name in sorted(packages) if not applied.get(name)]
    named = {name for name in without_rows if name in site.settings.version_table}
    empty = [
        name
        for name in without_rows
        if site.loaded.histories[name].ids
        and site.settings.version_table.get(name) != history_table_name(name)
    ]
    without = [
        name
        for name in without_rows
        if name not in named
        and any(one.tables for one in site.packages[name].metadata)
        and lacks_scripts(site.packages[name])
    ]
    if not empty and not without:
        return ()
    schema = site.schema
    own = {package.history_table for package in site.packages.values()}
    tables = find_version_tables(connection, {(schema, name) for name in own})
    found = [
        OtherHistory(
            name,
            site.packages[name].history_table,
            # The name alone would mean the package's own.
            replace(table, visible=table.visible and table.name not in own),
            revisions,
        )
        for name in empty
        for table in tables
        # The same table in another schema is another tenant's.
        if table.visible or table.name not in own
        if name not in named or (table.visible and table.name == history_table_name(name))
        if (revisions := tuple(r for r in table.rows if site.loaded.histories[name].knows(r)))
    ]
    # So is one of a name that finds another one here.
    names = {(one.package, one.table.name) for one in found if one.table.visible}
    found = [
        one for one in found if one.table.visible or (one.package, one.table.name) not in names
    ]
    claimed = {row for one in found for row in one.revisions}
    others = [table for table in tables if {*table.rows} - claimed]
    return (*found, *(one for name in without for one in in_other_folders(site, name, others)))


def in_other_folders(
    site: Site, name: str, tables: Sequence[VersionTable]
) -> Iterator[OtherHistory]:
    """Yield the tables with revisions of scripts that are in another folder of a project."""
    own = site.packages[name].history_table
    for folder, ids in other_folders(site, name) if tables else ():
        for table in tables:
            if revisions := tuple(row for row in table.rows if row in ids):
                yield OtherHistory(name, own, table, revisions, folder)


def other_folders(site: Site, name: str) -> Iterator[tuple[Path, Collection[str]]]:
    """Yield the folders of a package's project whose scripts no package has, and the revisions."""
    from websauna_migrate.revision_scripts.script_folders import find_script_folders, revisions_in

    known = {one.script_directory.resolve() for one in site.packages.values()}
    top = project_of(site.packages[name])
    for folder in find_script_folders(top, known):
        yield folder, revisions_in(folder, top)


def refuse_elsewhere(
    site: Site, connection: Connection, applied: Applied, packages: Collection[str]
) -> None:
    """Make sure that no package's revisions are recorded elsewhere.

    :raises HistoryContradicted: if they are
    """
    found = find_elsewhere(site, connection, applied, packages)
    if found:
        known = all(one.folder is None for one in found)
        connection.rollback()
        lines = "\n".join(f"{one}\n{remedy_for([one])}" for one in found)
        raise HistoryContradicted(
            "elsewhere",
            f"{lines}\nNothing was changed"
            + (": the revisions would have been applied again." if known else "."),
            ((one.package, row) for one in found for row in one.revisions),
        )
