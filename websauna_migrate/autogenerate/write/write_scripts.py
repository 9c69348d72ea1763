"""Writing the scripts of a revision with what the database has, if there is one."""

from __future__ import annotations

from sqlalchemy.engine import make_url

from websauna_migrate.autogenerate.write.writer import ScriptWriter
from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.results import CreatedScript
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

__all__ = ["write_scripts"]


def write_scripts(
    site: Site, writer: ScriptWriter, *, autogenerate: bool
) -> tuple[CreatedScript, ...]:
    """Write the scripts of all packages of a writer.

    :param autogenerate: compare the models with the database
    """
    with PROCESS_LOCK:
        if not autogenerate:
            return writer.write(None, {})
        with site.reading() as connection:
            if connection is not None:
                site.settings.require_database(writer.packages, connection.dialect.name)
                applied = site.runner().read(connection)[0]
                connection.rollback()
                return writer.write(connection, applied)
        # The file of an SQLite database that was never migrated is not made by a look at it.
        site.settings.require_database(writer.packages, "sqlite")
        with connect(make_engine(make_url("sqlite://"))) as empty:
            return writer.write(empty, {})
