"""First scripts for tables that were made without one, written against an empty database."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.replay.fresh import prepare
from websauna_migrate.reports.check import Checker
from websauna_migrate.reworking.adoption_record import AdoptionRecord
from websauna_migrate.reworking.findings import EQUAL, Findings, directory_of

MESSAGE = "Tables that were there before migrations"


def write_first_scripts(found: Findings, given: Connection | Engine | None) -> None:
    """Write the first scripts of packages, and see that the database is what they make.

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
        created = scratch.revision(MESSAGE, packages=found.first, autogenerate=True, prove=prove)
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
