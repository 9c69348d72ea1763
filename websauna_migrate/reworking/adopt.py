"""``adopt``: an existing project is taken over with its scripts, its history and its database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.settings import PREFIX
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.replay.fresh import prepare
from websauna_migrate.reports.check import Checker
from websauna_migrate.results import Adoption
from websauna_migrate.reworking.adoption_record import AdoptionRecord, add_settings
from websauna_migrate.reworking.findings import EQUAL, Findings, Wanted, directory_of
from websauna_migrate.reworking.look import look, look_at_drift
from websauna_migrate.reworking.taking_back import take_back
from websauna_migrate.runs.adopting import (
    adopt_histories,
    adopted_packages,
    drop_empty_ledger,
    drop_histories,
    give_back,
)
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site

#: The message of a first script for tables that were made without one.
FIRST_MESSAGE = "Tables that were there before migrations"

OTHER_DATABASES = "Other databases that were taken over with these files need adopt --undo too."


def adopt(
    service: Service,
    selected: tuple[str, ...],
    wanted: Wanted,
    given: Connection | Engine | None,
    *,
    dry_run: bool = False,
) -> Adoption:
    """Look at a project and its database, and take both over unless ``dry_run``."""
    found = look(service, selected, wanted, given)
    if dry_run or not found.actions:
        return found.result(done=False)
    try:
        write_first_scripts(found, given)
        write_settings(found)
        for name, texts in found.files.items():
            AdoptionRecord(directory_of(found.service, name)).write(texts)
        taken = [one for one in found.taken if one.package not in found.kept]
        if taken or found.stamped:
            adopt_histories(found.service.site_anew(given), taken, found.stamped)
    except BaseException:
        take_files_back(found.service, selected, found.settings.__contains__)
        raise
    move_tables(found)
    look_at_drift(found, given)
    return found.result(done=True)


def undo_adoption(
    service: Service, selected: tuple[str, ...], given: Connection | Engine | None
) -> Adoption:
    """Give histories back to the tables that they came from, and let files be as they were.

    :raises UsageError: if nothing was adopted here, or later scripts stand on what it wrote
    """
    site = service.site_anew(given)
    created = {one for record in records(service, selected) for one in record.created}
    mine = [one for name in selected for one in site.loaded.histories[name] if one.path in created]
    going = {(one.package, one.id) for one in mine}
    refuse_later(site, selected, going)
    moved = [one for one in mine if one.gives_tables or one.takes_tables]
    remedy = "The tables that were moved have rows by now, so the adoption stays."
    take_back(site, moved, "adopt --undo", remedy)
    actions = []
    with Runner(site).locked("adopt --undo") as (connection, read):
        adopted = adopted_packages(site, connection, selected)
        if not adopted and not records(service, selected) and not settings_record(service):
            raise UsageError("Nothing was adopted here: there is nothing to undo.")
        for one in give_back(site, connection, adopted):
            rows = ", ".join(one.before)
            note = adopted[one.package].note.partition(", by ")[0]
            actions.append(f"{one.package}: given back ({rows}), {note}")
        # A package that got tables alone had no history before.
        got = {one.package for one in moved} - adopted.keys()
        drop_histories(site, connection, [name for name in got if not read()[name]])
        if drop_empty_ledger(site, connection, going):
            actions.append(f"{LEDGER_TABLE}: dropped, it told of adoptions alone")
        others = [name for name in site.packages if name not in selected]
        others_need = bool(adopted_packages(site, connection, others) or records(service, others))
        connection.commit()

    def goes(key: str) -> bool:
        return not others_need or key.removeprefix(PREFIX).partition(".")[2] in selected

    paths = take_files_back(service, selected, goes)
    actions += [f"{path}: as it was" for path in paths]
    notes = (OTHER_DATABASES,) if paths else ()
    return Adoption(tuple(actions), notes, undone=True, done=True)


def refuse_later(site: Site, selected: Sequence[str], going: Collection[tuple[str, str]]) -> None:
    """Refuse to take scripts away that others stand on.

    :param going: package and identifier of each
    :raises UsageError: naming the first one that was written since
    """
    for name in selected:
        for one in site.loaded.histories[name]:
            parents = [p for p in one.down_revisions if (name, p) in going]
            if parents and (name, one.id) not in going:
                raise UsageError(
                    f'"{one.id}" of package "{name}" ("{one.path}") was written since, and comes '
                    f'after "{parents[0]}", which would be taken away. Nothing was changed. Take '
                    f"it back and delete it first: ws-alembic -x packages={name} downgrade "
                    f"{parents[0]}"
                )


def records(service: Service, packages: Sequence[str]) -> list[AdoptionRecord]:
    """Return what is known of files of packages that were changed."""
    found = (AdoptionRecord(directory_of(service, name)) for name in packages)
    return [record for record in found if record.exists]


def settings_record(service: Service) -> AdoptionRecord | None:
    """Return what is known of the INI file, if it was changed."""
    if service.options.path is None:
        return None
    record = AdoptionRecord(Path(service.options.path).parent)
    return record if record.exists else None


def take_files_back(
    service: Service, selected: Sequence[str], goes: Callable[[str], bool]
) -> tuple[str, ...]:
    """Let files be as they were before an adoption.

    :param goes: tells of the key of a setting whether it goes
    """
    paths = [path for record in records(service, selected) for path in record.take_back()]
    if (record := settings_record(service)) is not None:
        paths += record.take_settings_back(goes)
    return tuple(paths)


def write_first_scripts(found: Findings, given: Connection | Engine | None) -> None:
    """Write the first scripts of packages against an empty database, and compare it with ours.

    :raises MigrationError: if it is not; the scripts are taken away with the rest of the adoption
    """
    if not found.first:
        return
    settings = found.service.settings
    with scratch_database(settings) as url:
        prepare(settings, url)
        scratch = found.service.at(url)
        names = [one.name for one in scratch.packages if one.name not in found.first]
        prove = None
        try:
            scratch.upgrade(packages=names)
        except MigrationError:
            # A history that does not begin at an empty schema: its tables are missing there.
            prove = "off"
            found.notes.append("The first scripts are not proven: other histories cannot begin")
        created = scratch.revision(
            FIRST_MESSAGE, packages=found.first, autogenerate=True, prove=prove
        )
    for one in created:
        AdoptionRecord(directory_of(found.service, one.package)).add_created([one.path])
        found.notes.append(f"new: {one.path}")
    site = found.service.site_anew(given)
    checker = Checker(site, found.service.ownership, found.first)
    with site.reading() as connection:
        problems = [] if connection is None else [*checker.drift(connection, site.applied(), ())]
    for problem in problems:
        if problem.details:
            raise MigrationError(
                f"{problem.package}: its tables differ from the models: "
                f"{'; '.join(map(str, problem.details))}. Nothing was changed. Let the models be "
                "as the tables are, adopt, and go on from there."
            )
    for name in found.first:
        found.stamped[name] = (site.loaded.histories[name].effective_heads, EQUAL)


def write_settings(found: Findings) -> None:
    """Write new settings into the INI file, or say that they have to be written."""
    ini = found.service.options.path
    if not found.settings:
        return
    text = None
    if ini is not None and Path(ini).is_file():
        text = add_settings(Path(ini).read_bytes().decode("utf-8"), found.settings)
    if ini is None or text is None:
        lines = "; ".join(f"{key} = {value}" for key, value in found.settings.items())
        found.problems.append(f"Write into the INI file: {lines}")
        return
    AdoptionRecord(Path(ini).parent).add_settings(Path(ini), text, found.settings)
    found.notes.append(f"Other INI files than {Path(ini).name} need the same settings.")


def move_tables(found: Findings) -> None:
    """Hand tables over to the packages that own them by now, and record that as applied."""
    for (source, target), tables in found.moves_together.items():
        for one in found.service.move_table(tables, source, target):
            record = AdoptionRecord(directory_of(found.service, one.package))
            record.add_created([one.path])
            found.notes += [f"new: {one.path}", *one.warnings]
    if found.moves:
        found.service.upgrade(
            packages=sorted({name for pair in found.moves_together for name in pair})
        )
