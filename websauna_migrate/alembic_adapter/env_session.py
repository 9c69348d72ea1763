"""What a hand-written ``env.py`` sets on its own connection, found by running it to ``configure``.

``SET search_path``, ``SET ROLE`` and the like are said on a connection that ``env.py`` makes. The
service works on one of its own: that gets the same settings, before it looks for a history. On
PostgreSQL alone; elsewhere a session has nothing that decides where a table is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.bound_environment import logging_left_alone
from websauna_migrate.alembic_adapter.entities import entities_apart
from websauna_migrate.alembic_adapter.internals import ProxiedEnvironment
from websauna_migrate.alembic_adapter.package_environment import ATTRIBUTE, EnvironmentFailure

if TYPE_CHECKING:
    from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment

__all__ = ["session_of"]

#: Settings of a session that somebody set, as far as another session can have them too.
SETTINGS = text(
    "SELECT name, setting FROM pg_catalog.pg_settings "
    "WHERE context IN ('user', 'superuser') AND name !~ '^(transaction_(i|r|d)|application_name|"
    "client_encoding|DateStyle|client_connection_check_interval)' AND (source = 'session' "
    "OR source = 'client' AND name IN ('search_path', 'statement_timeout')) "
    # It is not in the view.
    "UNION ALL SELECT 'role', current_setting('role') WHERE current_setting('role') <> 'none'"
)

#: Which database of which server it is, and who is connected.
PLACE = text("SELECT current_database(), pg_postmaster_start_time(), session_user::text")


class Reached(BaseException):
    """``env.py`` came to ``context.configure``; it is no error, and no script catches it."""


class ProbingEnvironment(ProxiedEnvironment):
    """Alembic's environment that ends ``env.py`` at ``context.configure``."""

    def __init__(self, owner: PackageEnvironment) -> None:
        super().__init__(owner.config, owner.scripts, fn=lambda rows, context: (), as_sql=False)
        self.owner = owner
        self.place: tuple[Any, ...] | None = None
        self.settings: dict[str, str] = {}

    def configure(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Look at the connection that is given."""
        given = args[0] if args else kwargs.get("connection")
        if isinstance(given, Connection) and given.dialect.name == "postgresql":
            self.place = tuple(given.execute(PLACE).one())
            for name, value in given.execute(SETTINGS):
                self.settings[name] = value
            # As under plain Alembic: also a command that only looks makes the schema.
            given.connection.commit()
        raise Reached

    def run_standard(self, options: Mapping[str, Any]) -> NoReturn:
        """Learn that the template's ``env.py`` leaves the connection to the service."""
        raise Reached


def session_of(environment: PackageEnvironment, ours: Connection) -> Mapping[str, str]:
    """Return the settings of the session that a package's ``env.py`` works in.

    :param ours: a connection as the application's settings say
    :raises EnvironmentFailure: if it is in another database, or another user's
    """
    probing = ProbingEnvironment(environment)
    attributes = environment.config.attributes
    before = dict(attributes)
    attributes.update({ATTRIBUTE: probing, "connection": ours})
    try:
        with (
            probing,
            entities_apart([]),
            logging_left_alone(environment.options.path),
            environment.env_py_named(lambda: False),
        ):
            environment.scripts.run_env()
    except Reached:
        pass
    except EnvironmentFailure as exc:
        if isinstance(exc.__cause__, DBAPIError):
            # The run says of it what is to be said.
            return {}
        raise
    finally:
        attributes.clear()
        attributes.update(before)
    require_same_place(environment, probing, ours)
    return probing.settings


def require_same_place(
    environment: PackageEnvironment, probing: ProbingEnvironment, ours: Connection
) -> None:
    """Refuse a connection to another database, and one of another user.

    :raises EnvironmentFailure: naming both
    """
    ours.rollback()
    own = tuple(ours.execute(PLACE).one())
    ours.rollback()
    if probing.place is None or probing.place == own:
        return
    (database, started, user), (own_database, own_started, own_user) = probing.place, own
    what = (
        f'connects to the database "{database}"'
        if (database, started) != (own_database, own_started)
        else f'connects as "{user}"'
    )
    raise EnvironmentFailure(
        environment.package.name,
        str(Path(environment.package.script_directory) / "env.py"),
        f'{what}, and the application to "{own_database}" as "{own_user}". Nothing was changed. '
        "Name its database and user for all migrations by the setting websauna_migrate.url, or "
        "let env.py use config's sqlalchemy.url.",
    )
