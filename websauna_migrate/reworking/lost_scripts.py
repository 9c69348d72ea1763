"""Taking down what this checkout has no script for, by the texts that git or the ledger keeps."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.results import RestoredScript, Switched
from websauna_migrate.revision_scripts.git_history import GitHistory
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.revision_scripts.script_files import checksum_of
from websauna_migrate.revision_scripts.script_tree import assigned, parse_script
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.failures import StepFailed
from websauna_migrate.runs.kept_scripts import kept_script, require_trusted
from websauna_migrate.runs.losses import find_losses
from websauna_migrate.runs.migrating import Planner, make_planner, make_taker, run_planner
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import explain, last_applied


@dataclass(frozen=True)
class TakeDown:
    """What is asked for.

    :ivar target: the revision to end at; ``None`` to take down what no script defines, no more
    :ivar from_ledger: take the texts from the ledger alone, not from git first
    :ivar cascade: first take back what other packages have and what requires it
    :ivar dry_run: look, and run nothing
    :ivar options: of the run
    """

    target: str | None = None
    from_ledger: bool = False
    cascade: bool = False
    dry_run: bool = False
    options: RunOptions | None = None


def take_down_unknown(
    service: Service,
    selected: tuple[str, ...],
    asked: TakeDown,
    given: Connection | Engine | None,
) -> Switched:
    """Take down revisions that are applied and that no script defines.

    :raises MigrationError: if a text is not to be had, or may not be trusted
    """
    site = service.site_anew(given)
    with site.reading() as connection:
        if connection is None:
            return Switched()
        texts = find_texts(site, connection, selected, from_ledger=asked.from_ledger)
        connection.rollback()
    scripts = tuple(script for script, _ in texts if script.package in selected)
    if not scripts and asked.target is None:
        return Switched()
    with restored(service, texts, given) as (whole, names):
        planner = planner_of(whole, selected, asked, scripts)
        plan = planner(whole.applied())
        losses = tuple(
            replace(loss, path=names.get(loss.path, loss.path))
            for loss in find_losses(whole, plan)
            if loss.is_loss
        )
        if asked.dry_run:
            return Switched(scripts, losses)
        run = run_planner(whole, "downgrade", planner, selected, asked.options)
        return Switched(scripts, losses, run)


def planner_of(
    site: Site, selected: tuple[str, ...], asked: TakeDown, scripts: tuple[RestoredScript, ...]
) -> Planner:
    """Return what plans the way down."""
    if asked.target is not None:
        return make_planner(site, "downgrade", asked.target, selected, cascade=asked.cascade)
    wanted = [(script.package, script.revision) for script in scripts]
    reason = "no script of this checkout defines it"
    return make_taker(site, wanted, reason, cascade=asked.cascade)


def find_texts(
    site: Site, connection: Connection, selected: tuple[str, ...], *, from_ledger: bool
) -> list[tuple[RestoredScript, bytes]]:
    """Return the scripts of all revisions that are applied and that no script defines.

    Those of other packages are found too, where they can be: the selected ones may require them.

    :raises MigrationError: naming the one of the selected packages that is not to be had
    """
    applied = site.read(connection)[0]
    found: list[tuple[RestoredScript, bytes]] = []
    for name in site.packages:
        try:
            found += texts_of(site, connection, name, applied[name], from_ledger=from_ledger)
        except MigrationError:
            if name in selected:
                raise
    if any(script.source == "ledger" for script, _ in found):
        require_trusted(connection, site.ledger.table)
    return found


def texts_of(
    site: Site, connection: Connection, package: str, rows: tuple[str, ...], *, from_ledger: bool
) -> list[tuple[RestoredScript, bytes]]:
    """Return the scripts of one package's applied revisions that no script defines.

    :raises MigrationError: naming the one that is not to be had
    """
    history = site.loaded.histories[package].standing_for(rows)
    found: dict[str, tuple[RestoredScript, bytes]] = {}
    left = [*history.lost(rows)]
    while left:
        revision = left.pop()
        if revision not in found:
            found[revision] = text_of(site, connection, package, revision, from_ledger=from_ledger)
            script, source = found[revision]
            left += [one for one in parents_in(source, script) if not history.knows(one)]
    return [*found.values()]


def text_of(
    site: Site, connection: Connection, package: str, revision: str, *, from_ledger: bool
) -> tuple[RestoredScript, bytes]:
    """Return a script as it was when it was applied."""
    entry = last_applied(site, connection, package, revision)
    digest = entry.checksum if entry is not None else ""
    git = GitHistory(site.packages[package].script_directory)
    for added in () if from_ledger else git.added(revision):
        for source in git.versions(added):
            if not digest or checksum_of(source) == digest:
                where = f"git {added.branch or added.commit}"
                return RestoredScript(package, revision, where, checksum_of(source)), source
    kept = kept_script(connection, site.ledger.table, digest) if digest else None
    if kept is None:
        raise MigrationError(
            f'The script of revision "{revision}" of package "{package}" is neither in git as it '
            "was applied nor kept by the ledger, and nothing was changed.\n"
            + explain(site, connection, package, revision, by_text=False)
        )
    return RestoredScript(package, revision, "ledger", digest), kept


def parents_in(source: bytes, script: RestoredScript) -> tuple[str, ...]:
    """Return the ``down_revision`` of a text, without running it.

    :raises MigrationError: if it cannot be read
    """
    try:
        for name, node in map(assigned, parse_script(source, script.source).body):
            if name == "down_revision" and node is not None:
                value = ast.literal_eval(node)
                return () if value is None else (value,) if isinstance(value, str) else tuple(value)
    except (ValueError, TypeError):
        pass
    raise MigrationError(
        f'The text of revision "{script.revision}" of package "{script.package}", from '
        f"{script.source}, does not say its down_revision plainly. Nothing was changed."
    )


@contextmanager
def restored(
    service: Service,
    texts: list[tuple[RestoredScript, bytes]],
    given: Connection | Engine | None,
) -> Iterator[tuple[Site, dict[str, str]]]:
    """Give the scripts of all packages with those that were restored, in a folder of their own.

    And what the files are in words, by their paths: messages say that, since they are gone then.

    :raises MigrationError: naming the one that cannot be imported here
    """
    packages = {one.name: one for one in service.packages}
    scripts: dict[str, RestoredScript] = {}
    names: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="websauna_migrate_") as root:
        for script, source in texts:
            folder = Path(root) / script.package
            folder.mkdir(exist_ok=True)
            path = folder / f"restored_{script.checksum[:16]}.py"
            path.write_bytes(source)
            scripts[str(path)] = script
            origin = "the ledger" if script.source == "ledger" else script.source
            names[str(path)] = f'script of "{script.revision}" from {origin}'
            package = packages[script.package]
            if folder not in package.version_locations:
                locations = (*package.version_locations, folder)
                packages[script.package] = replace(package, own_version_locations=locations)
        whole = service.with_changes(service.settings, tuple(packages.values()))
        try:
            yield whole.site_anew(given), names
        except ScriptError as exc:
            if (one := scripts.get(exc.path)) is None or not exc.problem:
                raise named(exc, names) from exc.__cause__
            raise MigrationError(
                f'The text of revision "{one.revision}" of package "{one.package}" ({one.source}) '
                f"needs what is not here: {exc.problem}\nNothing was changed. Take it down where "
                "the release is installed, or the commit checked out, that has it."
            ) from exc
        except StepFailed as exc:
            exc.path = names.get(exc.path, exc.path)
            raise named(exc, names) from exc.__cause__
        except MigrationError as exc:
            raise named(exc, names) from exc.__cause__


def named(error: MigrationError, names: dict[str, str]) -> MigrationError:
    """Return an error whose message says what files are, in place of their paths."""
    text = str(error)
    for path, name in names.items():
        text = text.replace(path, name)
    error.args = (text, *error.args[1:])
    return error
