"""The texts of applied scripts, which the ledger keeps once for each checksum.

A text from a database is code, written by a role that may write to the table. It is looked at
freely, and run only where that was asked, if its checksum is the one that was recorded and the role
that migrates alone may write to the table.
"""

from __future__ import annotations

import base64
import binascii
import os
import zlib
from collections.abc import Collection

from sqlalchemy import Table, select, text
from sqlalchemy.engine import Connection

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import driver_of
from websauna_migrate.locks.file_locks import database_file
from websauna_migrate.revision_scripts.script_files import checksum_of
from websauna_migrate.runs.ledger_table import FEW, column_names, name_of

#: The longest text that is kept, in characters of its packed form: MariaDB's TEXT has 65,535.
LIMIT = 60_000


def pack(source: bytes | None, digest: str) -> str | None:
    """Return a script's text as the ledger keeps it, in letters that every database has.

    :param digest: its checksum; a file that has another by now is not kept
    """
    if source is None or checksum_of(source) != digest:
        return None
    packed = base64.b64encode(zlib.compress(source)).decode("ascii")
    return packed if len(packed) <= LIMIT else None


def kept_checksums(connection: Connection, table: Table, wanted: Collection[str]) -> frozenset[str]:
    """Return those of some checksums whose text is kept; the ledger must be there."""
    if "script" not in column_names(connection, table):
        return frozenset()
    query = select(table.c.checksum).where(table.c.script.is_not(None)).distinct()
    if len(wanted) < FEW:
        query = query.where(table.c.checksum.in_([*wanted]))
    return frozenset(connection.execute(query).scalars())


def kept_script(connection: Connection, table: Table, digest: str) -> bytes | None:
    """Return the text of a script by its checksum; ``None`` if it is not kept, or is another."""
    if not digest or "script" not in column_names(connection, table):
        return None
    query = select(table.c.script).where(table.c.checksum == digest, table.c.script.is_not(None))
    for packed in connection.execute(query).scalars():
        try:
            source = zlib.decompress(base64.b64decode(packed, validate=True))
        except (binascii.Error, ValueError, zlib.error):
            continue
        if checksum_of(source) == digest:
            return source
    return None


#: What was written until then, they may have written.
TRUSTED = (
    " Or, if you trust what they wrote until now, let its owner take from them what they have: "
    "REVOKE INSERT, UPDATE."
)

#: Who besides the current role may write to a table: the owner, and those with a grant on it or
#: on a column of it.
OTHERS = text(
    "SELECT pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c "
    "WHERE c.oid = to_regclass(:name) AND pg_catalog.pg_get_userbyid(c.relowner) <> current_user "
    "UNION SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' "
    "ELSE pg_catalog.pg_get_userbyid(a.grantee) END "
    "FROM pg_catalog.pg_class c CROSS JOIN LATERAL (SELECT c.relacl AS acl UNION ALL "
    "SELECT t.attacl FROM pg_catalog.pg_attribute t WHERE t.attrelid = c.oid) g, "
    "aclexplode(g.acl) a WHERE c.oid = to_regclass(:name) "
    "AND a.privilege_type IN ('INSERT', 'UPDATE') AND a.grantee <> c.relowner ORDER BY 1"
)


def require_trusted(connection: Connection, table: Table) -> None:
    """Make sure that this role alone may have written the texts in a ledger.

    :raises MigrationError: if others may, or if that cannot be told
    """
    others = other_writers(connection, table)
    if others:
        raise MigrationError(
            f"Scripts that the ledger keeps are not run: its table may be written by {others}. "
            "Get them from git, or install the release that has them."
            + (TRUSTED if connection.dialect.name == "postgresql" else "")
        )


def other_writers(connection: Connection, table: Table) -> str:
    """Return who besides this role may have written the texts in a ledger, empty if no one."""
    kind, others = connection.dialect.name, ""
    if kind == "postgresql":
        name = name_of(connection, table)
        others = ", ".join(map(str, connection.execute(OTHERS, {"name": name}).scalars()))
    elif kind == "sqlite":
        file = database_file(driver_of(connection))
        status = os.stat(file) if file else None  # noqa: PTH116
        if status is not None and status.st_uid != os.geteuid():
            others = f"uid {status.st_uid}, whose the file is"
        elif status is not None and status.st_mode & 0o022:
            others = "those of its group or all, by the file's mode"
    else:
        others = "others, which this server does not tell"
    return others
