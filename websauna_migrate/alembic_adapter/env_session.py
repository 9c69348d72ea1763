"""What a hand-written ``env.py`` sets on its own connection, found by running it to its migrations.

``SET search_path``, ``SET ROLE``, ``SET sql_mode``, ``PRAGMA`` are said on a connection
that ``env.py`` makes. The service works on one of its own: that gets the same settings, before it
looks for a history. What it cannot have is refused by name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from sqlalchemy import event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.entities import entities_apart
from websauna_migrate.alembic_adapter.env_run import attached, connections_ended, env_py_named
from websauna_migrate.alembic_adapter.internals import ProxiedEnvironment
from websauna_migrate.alembic_adapter.other_databases import changes_elsewhere_refused
from websauna_migrate.alembic_adapter.package_environment import (
    EnvironmentFailure,
    PackageEnvironment,
)
from websauna_migrate.alembic_adapter.plain_env import makes_engines, may_repeat
from websauna_migrate.database.engines import BEFORE, BEHIND, database_of, safe_url
from websauna_migrate.database.given_connections import translates_schemas
from websauna_migrate.database.servers import Place, place_of
from websauna_migrate.models.sqlalchemy_internals import rewrites_statements

#: Settings of a session on PostgreSQL, not the default, that another session can have too.
SETTINGS = text(
    "SELECT name, setting, source = 'client' AND name NOT IN ('search_path', 'statement_timeout') "
    "AS by_client FROM pg_catalog.pg_settings "
    "WHERE context IN ('user', 'superuser') AND name !~ '^(transaction_(i|r|d)|application_name|"
    "client_encoding|client_connection_check_interval)' AND source IN ('session', 'client') "
    # It is not in the view.
    "UNION ALL SELECT 'role', current_setting('role'), false WHERE current_setting('role') <> "
    "'none'"
)

#: All of them, as they are.
ALL_SETTINGS = text(
    "SELECT name, setting FROM pg_catalog.pg_settings "
    "UNION ALL SELECT 'role', current_setting('role')"
)

#: Settings with a name of the application's own, as policies and triggers read them: the view does
#: not have them.
OWN_SETTING = re.compile(
    r"(?:\bSET\s+(?:SESSION\s+|LOCAL\s+)?|['\"]|-c\s*|--)([a-z_]\w*\.[a-z_]\w*)", re.I
)

#: A statement that adds rows whenever it is said.
ADDS_ROWS = re.compile(
    r"\s*INSERT\s+INTO\b(?!.*\b(?:ON\s+CONFLICT|ON\s+DUPLICATE|NOT\s+EXISTS)\b)", re.I | re.S
)

#: Variables of MariaDB and MySQL that are a session's own state, or its driver's.
STATE = re.compile(
    r"(character_set_|collation_(?!connection)|debug|error_count|gtid|identity|in_|insert_id|last_|pseudo_|proxy_|"
    r"rand_seed|statement_id|thread_|timestamp|tx_read_only|transaction_|warning_count|skip_|"
    r"autocommit|external_user|resultset_metadata|unique_subquery|use_secondary)"
)

#: Variables of the application's own, ``SET @tenant = ...``, as MariaDB tells of them.
VARIABLES = (
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.USER_VARIABLES "
    "WHERE VARIABLE_VALUE IS NOT NULL"
)

#: What the schema and the rows of a database on SQLite depend on.
PRAGMAS = (
    *("foreign_keys", "recursive_triggers", "ignore_check_constraints", "legacy_alter_table"),
    *("reverse_unordered_selects", "trusted_schema", "temp_store", "secure_delete"),
)

SCHEMA = "version_table_schema"

NONE: Mapping[str, str] = {}


log = logging.getLogger(__name__)


class Reached(BaseException):
    """``env.py`` came to its migrations; it is no error, and no script catches it."""


class ProbingEnvironment(ProxiedEnvironment):
    """Alembic's environment that ends ``env.py`` at ``context.run_migrations``."""

    def __init__(
        self,
        owner: PackageEnvironment,
        ours: Connection,
        own: Mapping[str, str],
        tag: str | None,
    ) -> None:
        """Take over what ``env.py`` may ask for.

        :param own: the settings of ours, on PostgreSQL all of them
        """
        super().__init__(
            owner.config,
            owner.scripts,
            fn=lambda rows, context: (),
            as_sql=False,
            starting_rev=None,
            tag=tag or getattr(owner.options.arguments, "tag", None),
        )
        self.owner = owner
        self.ours = ours
        self.own = own
        source = owner.env_py.read_text(encoding="utf-8", errors="replace")
        #: What may be names of settings of the application's own.
        self.named = set(OWN_SETTING.findall(source))
        #: Whether ``env.py`` is run to its end, since it may run its migrations once more, or do
        #: something to another database.
        self.goes_on = may_repeat(source) or makes_engines(source)
        self.runs = 0
        #: Whether ``env.py`` has a transaction open when it configures, and speaks of a rollback.
        self.outer = False
        self.rolls_back = "rollback" in source
        #: Whether that transaction was rolled back behind the migrations.
        self.undone = False
        self.given: Connection | None = None
        self.place: Place | None = None
        #: The URL of what it connects to.
        self.address = ""
        self.settings: dict[str, str] = {}
        self.history: dict[str, str] = {}
        self.said: dict[str, str] = {}

    def configure(self, *args: Any, **kwargs: Any) -> None:
        """Configure Alembic on the connection that is given, with the package's history table."""
        given = args[0] if args else kwargs.get("connection")
        if not isinstance(given, Connection):
            raise Reached
        if translates_schemas(given):
            raise self.owner.failure(
                "gives its connection a schema_translate_map, which the history and the "
                "packages' other scripts would not go by. Nothing was changed. On PostgreSQL "
                "SET search_path on the connection in its place, as Alembic's cookbook does.",
            )
        if rewrites_statements(given, self.ours):
            raise self.owner.failure(
                "changes statements by a listener on an engine of its own, which the service's "
                "connection does not have. Nothing was changed. Register it on all engines: "
                'event.listens_for(sqlalchemy.Engine, "before_cursor_execute", retval=True), in a '
                "module that the application imports.",
            )
        self.given = given
        self.outer = self.rolls_back and given.in_transaction()
        if self.outer:
            event.listen(given, "rollback", self.note_rollback)
        self.history = {key: str(kwargs.get(key)) for key in ("version_table", SCHEMA)}
        self.owner.named_history = {key: kwargs.get(key) for key in self.history}
        kwargs["version_table"] = self.owner.package.history_table
        kwargs[SCHEMA] = self.owner.schema
        super().configure(*args, **kwargs)

    def get_revision_argument(self) -> str | tuple[str, ...]:
        """Return the newest revision, or all of them: no run is planned yet."""
        heads = tuple(self.script.get_heads())
        return heads[0] if len(heads) == 1 else heads

    def run_migrations(self, **arguments: object) -> None:
        """Look at the connection, as what is said in ``begin_transaction`` has left it.

        :raises EnvironmentFailure: if the migrations ran before, for another session
        """
        given = self.given
        if given is not None:
            place, settings = place_of(given), settings_of(given, self.own)
            settings.update(self.own_settings(given))
            # As under plain Alembic: also a command that only looks makes the schema.
            given.connection.commit()
            settings.update(self.local_settings(given, settings))
            address = safe_url(given.engine.url)
            if self.place is not None and self.place.server == place.server:
                address = self.address
            said = {"the database": str(place.database), "the server": address}
            said.update(self.history, **settings)
            if self.runs:
                self.owner.require_same(self.said, said)
            self.place, self.address, self.settings, self.said = place, address, settings, said
        self.runs += 1
        if not (self.goes_on or self.outer):
            raise Reached

    def note_names(self, said: str) -> None:
        """Keep the names in a statement, with its parameters, that may be those of settings.

        Warn of rows that each run of ``env.py`` adds.
        """
        self.named.update(OWN_SETTING.findall(said))
        if self.runs == 0 and ADDS_ROWS.match(said):
            log.warning(
                'The env.py of package "%s" (%s) says "%s ..." before its migrations: commands '
                "that only look add the row too, and others twice. Let a revision script say it, "
                "or add it where it is not yet: ON CONFLICT DO NOTHING, INSERT IGNORE.",
                self.owner.package.name,
                self.owner.env_py,
                " ".join(said.split()[:3]),
            )

    def own_settings(self, given: Connection) -> dict[str, str]:
        """Return the settings of names that PostgreSQL does not know: ``SET app.tenant = ...``."""
        if given.dialect.name != "postgresql":
            return {}
        names = sorted({name.lower() for name in self.named})
        asked = (
            "SELECT n, current_setting(n, true) FROM unnest(cast(:names AS text[])) AS n "
            "WHERE n NOT IN (SELECT name FROM pg_catalog.pg_settings)"
        )
        found = given.execute(text(asked), {"names": names})
        return {name: value for name, value in found if value}

    def local_settings(self, given: Connection, settings: Mapping[str, str]) -> dict[str, str]:
        """Return what SET LOCAL has set, by its key, with the value behind the transaction."""
        if given.dialect.name != "postgresql" or not settings:
            return {}
        asked = "SELECT n, current_setting(n, true) FROM unnest(cast(:names AS text[])) AS n"
        behind = settings_of(given, self.own) | self.own_settings(given)
        names = [name for name, value in settings.items() if behind.get(name) != value]
        return {
            f"{BEHIND}{name}": value or ""
            for name, value in given.execute(text(asked), {"names": names})
        }

    def settings_before(self) -> dict[str, str]:
        """Return what its settings are in front of an ``env.py`` that works on our connection."""
        if self.given is not self.ours or self.ours.dialect.name != "postgresql":
            return {}
        names = [name for name in self.settings if not name.startswith(BEHIND)]
        return {f"{BEFORE}{name}": self.own.get(name, "") for name in names}

    def note_rollback(self, connection: Connection) -> None:
        """Take notice of a rollback behind the migrations."""
        self.undone = self.undone or self.runs > 0

    def require_kept(self) -> None:
        """Refuse an ``env.py`` that undoes its migrations: plain Alembic would apply nothing.

        :raises EnvironmentFailure: if its transaction was rolled back
        """
        if self.undone:
            raise self.owner.failure(
                "rolls back the transaction that its migrations run in: plain alembic would apply "
                "nothing. Nothing was changed. Take the rollback out of env.py. A run that is "
                "rolled back is: ws-alembic upgrade --dry-run",
            )

    def run_standard(self, options: Mapping[str, object]) -> NoReturn:
        """Learn that the template's ``env.py`` leaves the connection to the service."""
        raise Reached


def refuse_unusable(environment: PackageEnvironment, found: Mapping[str, str]) -> None:
    """Refuse settings that the service cannot keep.

    :raises EnvironmentFailure: naming the first
    """
    if not found.get("DateStyle", "ISO").startswith("ISO"):
        raise environment.failure(
            f'sets DateStyle to "{found["DateStyle"]}", which drivers for Python cannot read. '
            "Nothing was changed. Let it be ISO, with any order: SET DateStyle = 'ISO, DMY'.",
        )
    for key in found:
        if key.startswith(REGISTERED):
            raise environment.failure(
                f"registers the {key} on its own connection, which the service's does not get. "
                "Nothing was changed. Register it on all connections: event.listens_for("
                'sqlalchemy.Engine, "connect"), in a module that the application imports.',
            )


@connections_ended()
def session_of(
    environment: PackageEnvironment, ours: Connection, tag: str | None = None
) -> Mapping[str, str]:
    """Return the settings of the session that a package's ``env.py`` works in.

    :param ours: a connection as the application's settings say
    :param tag: as ``context.get_tag_argument()`` gives it
    :raises EnvironmentFailure: if it is in another database, or another user's
    """
    # Before env.py, which may be given this very connection.
    is_postgresql = ours.dialect.name == "postgresql"
    own = (
        {str(name): str(value) for name, value in ours.execute(ALL_SETTINGS)}
        if is_postgresql
        else settings_of(ours)
    )
    probing = ProbingEnvironment(environment, ours, own, tag)
    place = place_of(ours)
    ours.rollback()
    try:
        with (
            probing,
            entities_apart([]),
            attached(environment, probing, ours),
            env_py_named(environment, lambda: False),
            changes_elsewhere_refused(environment, place, probing.note_names),
            probing.failure_raised(),
        ):
            environment.scripts.run_env()
        probing.require_kept()
    except Reached:
        pass
    except EnvironmentFailure as exc:
        if isinstance(exc.__cause__, DBAPIError):
            # The run says of it what is to be said.
            return {}
        raise
    require_same_place(environment, probing, place)
    found = {
        key: value
        for key, value in probing.settings.items()
        if is_postgresql or own.get(key) != value
    }
    found.update(probing.settings_before())
    refuse_unusable(environment, found)
    return found


#: What SQLite's connection has by code in Python.
REGISTERED = ("SQL function ", "collation ")


def settings_of(connection: Connection, own: Mapping[str, str] = NONE) -> dict[str, str]:
    """Return the settings of a session: all on SQLite, elsewhere those that were set.

    :param own: the settings of ours: on MariaDB these are returned too, and on PostgreSQL what the
        driver was told to set only where it differs
    """
    if connection.dialect.name == "postgresql":
        return {
            str(row.name): str(row.setting)
            for row in connection.execute(SETTINGS)
            if not row.by_client or own.get(row.name) != row.setting
        }
    if connection.dialect.name != "sqlite":
        # Most variables are the server's alone, and each node of a cluster has its own.
        at_first, now = (
            {
                str(key): str(value)
                for key, value in connection.execute(text(f"SHOW {one} VARIABLES"))
            }
            for one in ("GLOBAL", "SESSION")
        )
        found = {
            key: value
            for key, value in now.items()
            if (key in own or at_first.get(key) != value) and not STATE.match(key)
        }
        if getattr(connection.dialect, "is_mariadb", False):
            for name, value in connection.execute(text(VARIABLES)):
                found[f"@{name}"] = value
        return found
    settings = {
        f"PRAGMA {name}": str(connection.execute(text(f"PRAGMA {name}")).scalar())
        for name in PRAGMAS
    }
    for _, name, file in connection.execute(text("PRAGMA database_list")):
        if name not in ("main", "temp"):
            settings[f"ATTACH {name}"] = file
    for name in connection.execute(
        text("SELECT DISTINCT name FROM pragma_function_list")
    ).scalars():
        settings[f"SQL function {name}"] = ""
    for name in connection.execute(text("SELECT name FROM pragma_collation_list")).scalars():
        settings[f"collation {name}"] = ""
    return settings


def require_same_place(
    environment: PackageEnvironment, probing: ProbingEnvironment, own: Place
) -> None:
    """Refuse a connection to another database, and one of another user.

    :param own: the place of the service's own
    :raises EnvironmentFailure: naming both
    """
    if probing.place is None or probing.place == own:
        return
    place = probing.place
    if (place.product, place.database) != (own.product, own.database):
        what = f'connects to the database "{place.database}"'
    elif place.server != own.server:
        what = f'connects to the database "{place.database}" of another server, {probing.address}'
    else:
        what = f'connects as "{place.user}"'
    remedy = (
        "Name its database and user for all migrations by the setting websauna_migrate.url, or "
        "let env.py use config's sqlalchemy.url."
    )
    given = probing.given
    if given is not None and given.engine.url.username == own.user != place.user:
        remedy = (
            f'Say SET ROLE "{place.user}" in place of SET SESSION AUTHORIZATION: what is made is '
            "that role's too."
        )
    home = environment.home
    if (
        home is not None
        and given is not None
        and database_of(given.engine.url) == database_of(home)
    ):
        remedy = (
            "That is the application's own, and this is tried in a scratch database. Let env.py "
            'use config.attributes["connection"] where it is given, or config\'s sqlalchemy.url.'
        )
    raise environment.failure(
        f'{what} ({place.product}), and the application to "{own.database}" ({own.product})'
        + (f' as "{own.user}". ' if own.user else ". ")
        + f"Nothing was changed. {remedy}",
    )
