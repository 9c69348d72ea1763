"""New revision scripts: they are written, and kept if they stand their proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.engine import Connection, make_url

from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.autogenerate.write.writer import ScriptWriter
from websauna_migrate.base_errors import UsageError
from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.models import models_named
from websauna_migrate.interfaces import Packages, Question
from websauna_migrate.planning.state import State
from websauna_migrate.proving.prove import keep_proven
from websauna_migrate.results import CreatedScript
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.unknown_revisions import explained


@dataclass(frozen=True)
class Asked:
    """What new scripts are to be, as :meth:`.IMigrationService.revision` has it.

    :ivar alembic: the arguments of Alembic's ``revision`` command
    """

    alembic: Mapping[str, object]
    autogenerate: bool
    requires: Sequence[str]
    rename_tables: Sequence[str]
    rename_columns: Sequence[str]
    ask: Callable[[Question], bool | None] | None
    allow_drops: bool
    prove: str | None
    keep: bool


def new_scripts(
    service: Service, packages: Packages, asked: Asked, given: Connection | Engine | None
) -> tuple[CreatedScript, ...]:
    """Write a script for each package, prove them, and remove them if they do not stand that.

    :param given: what to work on, in place of a connection of the service's own
    """
    renames = Renames.parse(asked.rename_tables, asked.rename_columns)
    if renames and not asked.autogenerate:
        raise UsageError("A rename is written with --autogenerate alone.")
    selected = service.site().select(packages)
    site = service.site(selected, given)
    ownership = service.ownership
    writer = ScriptWriter(
        packages={name: site.packages[name] for name in selected},
        ownership=ownership,
        take_snapshot=lambda: service.site(selected, given).loaded,
        settings=service.settings,
        requires=asked.requires,
        renames=renames,
        ask=asked.ask,
        allow_drops=asked.allow_drops,
        arguments=asked.alembic,
    )
    with models_named(service.settings, ownership) if asked.autogenerate else nullcontext():
        created = write_scripts(site, writer, autogenerate=asked.autogenerate)
    return keep_proven(
        created,
        site=service.site(selected, given),
        ownership=ownership,
        at=service.at,
        how=(asked.prove or service.settings.prove) if asked.autogenerate else "off",
        undo=writer.undo,
        keep=asked.keep,
    )


def write_scripts(
    site: Site, writer: ScriptWriter, *, autogenerate: bool
) -> tuple[CreatedScript, ...]:
    """Write the scripts of all packages of a writer.

    :param autogenerate: compare the models with the database
    """
    with PROCESS_LOCK.held():
        if not autogenerate:
            return writer.write(None, {})
        with site.reading() as connection:
            if connection is not None:
                site.settings.require_database(writer.packages, connection.dialect.name)
                applied = site.read(connection)[0]
                connection.rollback()
                with explained(site):
                    State(site.loaded.graph, applied).refuse_lost(writer.packages)
                return writer.write(connection, applied)
        # The file of an SQLite database that was never migrated is not made by a look at it.
        site.settings.require_database(writer.packages, "sqlite")
        with connect(make_engine(make_url("sqlite://"))) as empty:
            return writer.write(empty, {})
