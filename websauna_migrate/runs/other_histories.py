"""A package whose revisions stand in a version table that is not its own.

An application that ran under plain Alembic has its history in ``alembic_version``. Its own history
table here is empty, so everything would be run again. Such a table is found by the revisions in it,
whatever its name and schema; a run refuses, and ``adopt`` makes it the package's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import Connection

from websauna_migrate.config.packages import lacks_scripts, project_of
from websauna_migrate.database.history_tables import (
    VersionTable,
    find_version_tables,
    history_table_name,
)
from websauna_migrate.plain_text import in_quotes, plural
from websauna_migrate.planning.history_errors import HistoryContradicted
from websauna_migrate.runs.site import Site

Applied = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class OtherHistory:
    """A version table with revisions of a package whose own history is empty.

    :ivar revisions: those of its rows that the package's scripts define, and the newest of those
        that scripts of its other rows depend on
    :ivar folder: where these are, if the service does not know of them
    :ivar sharing: all packages with revisions in the table and an empty history, sorted
    """

    package: str
    history_table: str
    table: VersionTable
    revisions: tuple[str, ...]
    folder: Path | None = None
    sharing: tuple[str, ...] = ()

    @property
    def is_implied(self) -> bool:
        """True if the table has no row of the package, only of what depends on its revisions."""
        return self.folder is None and {*self.table.rows}.isdisjoint(self.revisions)

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

    @property
    def remedy(self) -> str:
        """How the history becomes the package's own."""
        adopt = f"ws-alembic -x packages={self.package} adopt"
        if self.table.name == history_table_name(self.package):
            # By which the table that is a package's history by default is not.
            hides = "version_table_schema"
            if self.history_table != self.table.name:
                hides = f"version_table.{self.package}"
            return (
                f"  To go on with it, take out: websauna_migrate.{hides}\n"
                f"  To take it over: {adopt}"
            )
        keep = f"  To share it with plain Alembic: {adopt} --keep\n" if self.table.visible else ""
        return (
            f"  To take it over: {adopt}\n{keep}"
            f"  If it is another application's, set: websauna_migrate.version_table.{self.package} "
            f"= {self.history_table}"
        )


@dataclass(frozen=True, slots=True)
class SharedHistory:
    """A version table with revisions of several packages whose own histories are empty.

    :ivar found: those of packages that were looked for
    """

    found: tuple[OtherHistory, ...]

    def __str__(self) -> str:
        """Return what was found as a sentence."""
        names = ", ".join(self.found[0].sharing)
        return (
            f'The table "{self.found[0].table}" has revisions of several packages whose own '
            f"history tables are empty: {names}."
        )

    @property
    def remedy(self) -> str:
        """How each package gets its part."""
        one = self.found[0]
        return (
            f"  To take it over: ws-alembic -x packages={','.join(one.sharing)} adopt\n"
            "  If a package has nothing in it, as it is another application's, set: "
            f"websauna_migrate.version_table.{one.package} = {one.history_table}"
        )


def by_table(found: Iterable[OtherHistory]) -> list[OtherHistory | SharedHistory]:
    """Return what was found, with the packages that share a table told as one."""
    shared: dict[VersionTable, list[OtherHistory]] = {}
    single: list[OtherHistory | SharedHistory] = []
    for one in found:
        if len(one.sharing) > 1:
            shared.setdefault(one.table, []).append(one)
        else:
            single.append(one)
    return [*single, *(SharedHistory(tuple(several)) for several in shared.values())]


def revisions_in(site: Site, table: VersionTable) -> dict[str, tuple[str, ...]]:
    """Return the revisions of each package that a version table says to be applied.

    Scripts that share a table name each other by ``depends_on``, and Alembic keeps no row of a
    revision that the script of another row depends on.
    """
    graph = site.loaded.graph
    rows = {
        name: tuple(row for row in table.rows if history.knows(row))
        for name, history in graph.histories.items()
    }
    starts = [
        graph.find(name, graph.histories[name].meant_by(row))
        for name, known in rows.items()
        for row in known
    ]
    beneath: dict[str, list[str]] = {}
    for node in graph.depended_on(starts):
        revision = graph.revisions[node]
        beneath.setdefault(revision.package, []).append(revision.id)
    found = {}
    for name, applied in beneath.items():
        history = graph.histories[name]
        seen = history.ancestors(map(history.meant_by, rows[name]))
        found[name] = (*rows[name], *sorted(history.reduce(applied) - seen))
    return found


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
        name for name in without_rows if name not in named and is_before_first_script(site, name)
    ]
    if not empty and not without:
        return ()
    schema = site.schema
    own = {package.history_table for package in site.packages.values()}
    tables = find_version_tables(connection, {(schema, name) for name in own})
    found = []
    # The same table in another schema is another tenant's.
    for table in (one for one in tables if one.visible or one.name not in own):
        revisions = revisions_in(site, table)
        sharing = tuple(
            name
            for name in sorted(revisions)
            if not applied.get(name) and name not in site.settings.version_table
        )
        found += [
            OtherHistory(
                name,
                site.packages[name].history_table,
                # The name alone would mean the package's own.
                replace(table, visible=table.visible and table.name not in own),
                revisions[name],
                sharing=sharing,
            )
            for name in empty
            if name in revisions
            if name not in named or (table.visible and table.name == history_table_name(name))
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


def scripts_left_out(site: Site, packages: Collection[str]) -> Iterator[str]:
    """Yield for packages without a script where their project has some, a line each."""
    for name in sorted(packages):
        if is_before_first_script(site, name):
            folders = [str(folder) for folder, ids in other_folders(site, name) if ids]
            if folders:
                yield (
                    f'Package "{name}" has no script where it is registered, but there are some in '
                    f"{in_quotes(folders)}. To take those over: ws-alembic -x packages={name} adopt"
                )


def is_before_first_script(site: Site, name: str) -> bool:
    """True if a package has tables and no script, and nothing says where scripts are to be."""
    package = site.packages[name]
    return any(one.tables for one in package.metadata) and lacks_scripts(package)


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
        lines = "\n".join(f"{one}\n{one.remedy}" for one in by_table(found))
        raise HistoryContradicted(
            "elsewhere",
            f"{lines}\nNothing was changed"
            + (": the revisions would have been applied again." if known else "."),
            ((one.package, row) for one in found for row in one.revisions),
        )
