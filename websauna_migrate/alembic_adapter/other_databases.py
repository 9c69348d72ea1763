"""Statements of an ``env.py`` that change another database than the application's.

Commands that only look run ``env.py`` too: what it writes elsewhere would be written as often, and
under no lock, in no ledger. What it reads there is its own affair, and so is what a script does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.env_run import calling
from websauna_migrate.alembic_adapter.package_environment import (
    EnvironmentFailure,
    PackageEnvironment,
)
from websauna_migrate.database.engines import database_of, safe_url
from websauna_migrate.database.servers import Place, place_of

#: How statements begin that change nothing but their own session.
READING = (
    *("SELECT", "SHOW", "PRAGMA", "SET", "WITH", "VALUES", "EXPLAIN", "DESC", "USE", "BEGIN"),
    *("COMMIT", "ROLLBACK"),
)


@contextmanager
def changes_elsewhere_refused(
    environment: PackageEnvironment, ours: Place, note: Callable[[str], None]
) -> Iterator[None]:
    """Refuse statements of this thread on other databases that do more than to read.

    :param ours: where the application's database is
    :param note: called with each statement and its parameters
    :raises EnvironmentFailure: naming the statement, before it is sent
    """
    found: dict[Engine, bool] = {}
    refused: list[EnvironmentFailure] = []

    def look(
        connection: Connection, cursor: object, statement: str, parameters: object, *others: object
    ) -> None:
        note(f"{statement} {parameters}")
        words = statement.split()
        if not words or words[0].upper().startswith(READING):
            return
        engine = connection.engine
        if engine not in found:
            found[engine] = is_elsewhere(connection, environment, ours)
        if found[engine]:
            refused.append(
                environment.failure(
                    f'says "{" ".join(words[:3])} ..." to another database, '
                    f'"{safe_url(engine.url)}": a run works on one database, and commands that '
                    "only look would say it too. Nothing was changed. Leave it to an application "
                    "of its own, with another websauna_migrate.url, or to a revision script.",
                )
            )
            raise refused[-1]

    try:
        with calling("before_cursor_execute", look):
            yield
    finally:
        if refused:
            # Whatever env.py has made of it.
            raise refused[0]


def is_elsewhere(connection: Connection, environment: PackageEnvironment, ours: Place) -> bool:
    """True if a connection is in none of the application's databases.

    The same name may be that of a database on another server; one address says nothing, since a
    server may have several.
    """
    theirs = database_of(connection.engine.url)
    if environment.home is not None and theirs == database_of(environment.home):
        return False
    if environment.url is None or theirs != database_of(environment.url):
        return True
    return place_of(connection, unheard=True).server != ours.server
