"""Rows of history tables that no script defines: why that is likely so, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version

from sqlalchemy.engine import Connection

from websauna_migrate.config.packages import is_installed, lacks_scripts
from websauna_migrate.planning.history_errors import HistoryContradicted
from websauna_migrate.planning.target_errors import TargetError
from websauna_migrate.results import LedgerEntry
from websauna_migrate.revision_scripts.git_history import last_release_with, where_it_is
from websauna_migrate.runs.kept_scripts import kept_checksums, other_writers
from websauna_migrate.runs.ledger import STAMP
from websauna_migrate.runs.other_histories import other_folders, refuse_elsewhere
from websauna_migrate.runs.site import Site

#: How many rows are explained.
SHOWN = 3


@contextmanager
def explained(site: Site) -> Iterator[None]:
    """Say more of revisions that no script defines, where they are the reason for a failure.

    What is required and not applied may be recorded in another version table, which then says more.
    """
    try:
        yield
    except TargetError as exc:
        names = [exc.package] if exc.package else [*site.packages]
        folders = [site.packages[name].script_directory for name in names if name in site.packages]
        told = filter(None, (where_it_is(folder, exc.target) for folder in folders))
        git = next(told, ()) if exc.kind in ("unknown", "unknown_everywhere") else ()
        if not git:
            raise
        words = "\n  ".join([f'"{exc.target}": {git[0]}', *git[1:]])
        remedy = f"{exc.remedy}\n{words}".strip()
        raise TargetError(
            exc.kind, exc.package, exc.target, exc.problem, remedy, exc.found
        ) from exc
    except HistoryContradicted as exc:
        if exc.kind == "requirements":
            with site.reading() as connection:
                if connection is not None:
                    refuse_elsewhere(site, connection, site.applied(), site.packages)
        if exc.kind != "unknown":
            raise
        pairs = [tuple(name.split("@", 1)) for name in exc.revisions]
        with site.reading() as connection:
            lines = [explain(site, connection, package, one) for package, one in pairs[:SHOWN]]
        found = [(package, one) for package, one in pairs]
        raise HistoryContradicted("unknown", "\n".join([str(exc), *lines]), found) from exc


def explain(
    site: Site,
    connection: Connection | None,
    package: str,
    revision: str,
    *,
    by_text: bool = True,
) -> str:
    """Return the likely cause of a row that no script defines, who applied it, and the commands.

    :param by_text: whether git or the ledger may have its text as it was applied
    """
    cause, *commands = cause_of(site, package, revision, by_text=by_text)
    entry = None if connection is None else last_applied(site, connection, package, revision)
    applied = ""
    if entry is not None and connection is not None:
        by = f" by {entry.installed_by}" if entry.installed_by else ""
        applied = f" It was applied on {entry.started:%Y-%m-%d %H:%M} UTC{by} on {entry.host}."
        digests = {entry.checksum}
        kept = by_text and kept_checksums(connection, site.ledger.table, digests) & digests
        if kept and not other_writers(connection, site.ledger.table):
            commands.append(
                "To take it down by the text that the ledger keeps: ws-alembic "
                f"-x packages={package} downgrade --from-ledger"
            )
    stamp = f"ws-alembic -x packages={package} stamp --verified"
    if entry is None and revision not in site.loaded.histories[package].replacements.meant:
        commands.append(f"To let the tables tell where the database is, and record that: {stamp}")
    elif not (by_text and commands):
        commands.append(f"If you take back by hand what it did, record that: {stamp} REVISION")
    table = site.packages[package].history_table
    return "\n  ".join([f'"{revision}" in the table "{table}": {cause}{applied}', *commands])


def cause_of(site: Site, package: str, revision: str, *, by_text: bool) -> Iterator[str]:
    """Yield why a script is likely missing, a sentence, and then what to do."""
    directory = site.packages[package].script_directory
    squash = site.loaded.histories[package].replacements.squashes.get(
        site.loaded.histories[package].replacements.meant.get(revision, "")
    )
    if squash is not None:
        # With the last one, all that it replaces went.
        yield from last_release_with(directory, squash.replaces[-1]) or (
            f"its script was taken away when it was squashed; {release_of(package)} is installed.",
        )
        return
    elsewhere = () if is_installed(directory) else other_folders(site, package)
    if folder := next((folder for folder, ids in elsewhere if revision in ids), None):
        yield f'its script is in "{folder}", where the package is not told to look.'
        if lacks_scripts(site.packages[package]):
            yield f"To have it: ws-alembic -x packages={package} adopt"
        else:
            yield f"To have it, set to that folder: websauna_migrate.script_location.{package}"
        return
    if found := where_it_is(directory, revision):
        yield from found
        if by_text and found[1].startswith("To have"):
            yield f"To take it down here: ws-alembic -x packages={package} switch"
        return
    if is_installed(directory):
        release = release_of(package)
        yield f"the package is older than the database: {release} is installed."
        yield f"To have it: pip install --upgrade {release.split()[0]}"
        return
    yield (
        "neither this checkout nor its git history has the script: it was never committed, or the "
        "database is that of another checkout."
    )


def release_of(package: str) -> str:
    """Return the distribution of an installed package, with its version."""
    top = package.partition(".")[0]
    name = next(iter(packages_distributions().get(top, ())), top)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def last_applied(
    site: Site, connection: Connection, package: str, revision: str
) -> LedgerEntry | None:
    """Return the ledger's newest row of an upgrade to a revision."""
    if not site.ledger.is_there(connection):
        return None
    table = site.ledger.table
    found = site.ledger.read(
        connection,
        table.c.package == package,
        table.c.revision == revision,
        table.c.outcome == "done",
        table.c.direction != STAMP,
    )
    upgrades = [entry for entry in found if entry.direction == "upgrade"]
    if not upgrades:
        return None
    # Who ran it stands in the row of a run's first step alone.
    steps = site.ledger.read(connection, table.c.run == upgrades[-1].run)
    who = next((entry.installed_by for entry in steps if entry.installed_by), "")
    return replace(upgrades[-1], installed_by=who)
