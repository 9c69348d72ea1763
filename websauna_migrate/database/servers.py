"""The server's kind and abilities, which a run finds out before anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.database.engines import DatabaseFailure, driver_of, server_process
from websauna_migrate.database.given_connections import given_state

#: PostgreSQL then notices within this time that a client has gone, also in a long statement.
CHECK_INTERVAL = "1s"


def not_writable(what: str) -> DatabaseFailure:
    """Return the error of a standby, a read-only server, or one that is cut off from its cluster.

    :param what: the reason, as a noun phrase
    """
    return DatabaseFailure(
        "read-only",
        f"This database is {what}: migrations cannot run on it, and nothing was changed. Let "
        "the setting sqlalchemy.url (or websauna_migrate.url) name the primary.",
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A database server.

    :ivar kind: ``postgresql``, ``mysql``, ``sqlite`` or another dialect's name
    :ivar process: number of the connection at the server
    :ivar pooled: a pooler stands between, which may give each transaction another connection
    :ivar mariadb: it is MariaDB rather than MySQL
    :ivar galera: it is a node of a Galera cluster
    """

    kind: str
    process: int | None = None
    pooled: bool = False
    mariadb: bool = False
    galera: bool = False

    @property
    def transactional(self) -> bool:
        """Whether DDL can be rolled back."""
        return self.kind in ("postgresql", "sqlite")


def examine(connection: Connection, *, looks: bool = False) -> Server:
    """Look at the server; the connection is left without a transaction.

    :param looks: nothing is going to be written, so a server where this user may not write will do;
        not one that hears of another's runs later, and cannot tell which are in progress
    :raises DatabaseFailure: for a standby, which grants locks and would look as if there were
        nothing to do, and for every other server that does not accept writes
    """
    kind = connection.dialect.name
    if kind == "postgresql":
        return examine_postgresql(connection, looks=looks)
    if kind in ("mysql", "mariadb"):
        return examine_mysql(connection)
    return Server(kind)


def examine_postgresql(connection: Connection, *, looks: bool = False) -> Server:
    """Look at a PostgreSQL server and let it notice when this client is gone.

    The settings of a session that the caller gave stay as they are.
    """
    row = connection.execute(
        text(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), pg_backend_pid()"
        )
    ).one()
    connection.rollback()
    if row[0]:
        raise not_writable("a standby")
    if row[1] == "on" and not looks:
        raise not_writable("read-only for this user")
    told = server_process(driver_of(connection))
    # A pooler invents the number that it tells its clients.
    pooled = told is not None and told != row[2]
    if not pooled and not given_state(connection):
        try:
            # Older servers do not know it, and not every operating system can do it.
            connection.execute(
                text(
                    "SELECT set_config(name, :value, false) "
                    "FROM (SELECT 'client_connection_check_interval' AS name) AS known "
                    "WHERE current_setting(name, true) IS NOT NULL"
                ),
                {"value": CHECK_INTERVAL},
            )
            connection.commit()
        except DBAPIError:
            connection.rollback()
    return Server("postgresql", process=row[2], pooled=pooled)


def examine_mysql(connection: Connection) -> Server:
    """Look at a MariaDB or MySQL server."""
    variables = shown(connection, "VARIABLES", ("wsrep_on", "read_only", "version"))
    galera = variables.get("wsrep_on", "OFF").upper() in ("ON", "1")
    if galera:
        status = shown(connection, "STATUS", ("wsrep_cluster_status", "wsrep_ready"))
        if status.get("wsrep_cluster_status", "Primary").lower() != "primary":
            raise not_writable("a Galera node that is not part of the primary component")
        if status.get("wsrep_ready", "ON").upper() != "ON":
            raise not_writable("a Galera node that is not ready")
    if variables.get("read_only", "OFF").upper() in ("ON", "1"):
        raise not_writable("a read-only replica")
    process = connection.scalar(text("SELECT CONNECTION_ID()"))
    connection.rollback()
    return Server(
        "mysql",
        process=process,
        mariadb="mariadb" in variables.get("version", "").lower(),
        galera=galera,
    )


def shown(connection: Connection, what: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return variables of the server; a cut off Galera node answers nothing but SHOW."""
    listed = ", ".join(f"'{name}'" for name in names)
    rows = connection.exec_driver_sql(f"SHOW GLOBAL {what} WHERE Variable_name IN ({listed})")
    return {str(name).lower(): str(value) for name, value in rows}


class Place(NamedTuple):
    """Where a connection is.

    :ivar product: the dialect's name, ``mysql`` for MariaDB too
    :ivar database: its name; of SQLite the file
    :ivar server: by which one server, or one Galera cluster, is told from all others, whatever the
        address is and whatever stands between
    :ivar user: who is connected
    """

    product: str
    database: str | None
    server: str
    user: str


MYSQL = "SELECT DATABASE(), {server}, CURRENT_USER()"
ADDRESS = "concat_ws(':', @@hostname, @@port, @@datadir)"

#: Nodes of a cluster hold the same databases.
CLUSTER = (
    "coalesce((SELECT nullif(replace(VARIABLE_VALUE, '00000000-0000-0000-0000-000000000000', ''), "
    "'') FROM information_schema.GLOBAL_STATUS "
    f"WHERE VARIABLE_NAME = 'WSREP_CLUSTER_STATE_UUID'), {ADDRESS})"
)

PLACES = {
    # As a number: a session's TimeZone and DateStyle are in the text.
    "postgresql": "SELECT current_database(), "
    "extract(epoch FROM pg_postmaster_start_time())::text, session_user::text",
    "sqlite": "SELECT file, 'SQLite', '' FROM pragma_database_list WHERE name = 'main'",
}


def place_of(connection: Connection, *, unheard: bool = False) -> Place:
    """Return which database a connection is in, on which server, and whose it is.

    :param unheard: ask by the driver alone, as a listener has to: others that note the time of one
        statement know of none inside of it
    """
    product = connection.dialect.name
    if product in ("mysql", "mariadb"):
        product = "mysql"
        server = CLUSTER if getattr(connection.dialect, "is_mariadb", False) else ADDRESS
        query = MYSQL.format(server=server)
    elif product in PLACES:
        query = PLACES[product]
    else:
        url = connection.engine.url
        return Place(product, url.database, f"{url.host}:{url.port}", str(url.username))
    if not unheard:
        return Place(product, *connection.exec_driver_sql(query).one())
    cursor = connection.connection.cursor()
    try:
        cursor.execute(query)
        return Place(product, *(cursor.fetchone() or ()))
    finally:
        cursor.close()
