"""Fingerprints: which tables are known to be equal to their models, from an earlier comparison.

A fingerprint covers all that a comparison of a table looks at: what was reflected, the model, the
versions of everything that takes part, and what of the database's surroundings decides how it
reads a model. In place of what is reflected SQLite gives the texts that decide it. A fingerprint is
kept only after a comparison found nothing, so a table whose fingerprint is known need not be
compared again. Which tables there are is compared each time.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import alembic
import sqlalchemy
from sqlalchemy import Table, text
from sqlalchemy.engine import URL, Connection, Dialect
from sqlalchemy.exc import DBAPIError

from websauna_migrate.autogenerate.facts import ReflectedTraits, Unstable
from websauna_migrate.autogenerate.owned import Key
from websauna_migrate.autogenerate.reflection import KINDS, Reflection
from websauna_migrate.autogenerate.traits import ModelTraits
from websauna_migrate.database.cache import Cache
from websauna_migrate.models.sqlalchemy_internals import has_reflection_listeners
from websauna_migrate.runs.ledger import program_version

__all__ = ["Fingerprints"]

#: Raised when a fingerprint has to cover something else than before.
FORMAT = 2

#: What decides besides a table and its model how a server reads the model: the names that an
#: expression may mean, and what this user may do.
SURROUNDINGS = {
    "postgresql": """
SELECT current_setting('search_path'), current_user,
    has_database_privilege(current_database(), 'TEMP'),
    (SELECT md5(string_agg(concat_ws(' ', oid, proname, pronamespace, proargtypes, prorettype,
        provariadic, pronargdefaults), ',' ORDER BY oid)) FROM pg_proc WHERE oid >= 16384),
    (SELECT md5(string_agg(concat_ws(' ', oid, oprname, oprnamespace, oprleft, oprright, oprcode),
        ',' ORDER BY oid)) FROM pg_operator WHERE oid >= 16384),
    (SELECT md5(string_agg(concat_ws(' ', oid, castsource, casttarget, castfunc, castcontext),
        ',' ORDER BY oid)) FROM pg_cast WHERE oid >= 16384),
    (SELECT md5(string_agg(concat_ws(' ', t.oid, typname, typnamespace, typbasetype, typtypmod,
        typnotnull, typdefault, typcollation, (SELECT string_agg(pg_get_constraintdef(c.oid), ' '
        ORDER BY c.oid) FROM pg_constraint c WHERE c.contypid = t.oid)), ',' ORDER BY t.oid))
        FROM pg_type t WHERE t.oid >= 16384 AND typtype <> 'c' AND typcategory <> 'A'),
    (SELECT md5(string_agg(concat_ws(' ', oid, collname, collnamespace), ',' ORDER BY oid))
        FROM pg_collation WHERE oid >= 16384),
    (SELECT md5(string_agg(concat_ws(' ', oid, nspname), ',' ORDER BY oid)) FROM pg_namespace
        WHERE oid >= 16384 AND nspname NOT LIKE 'pg\\_%')
""",
    "mysql": "SELECT @@sql_mode, @@collation_database, @@collation_connection, current_user(), "
    "@@version, @@default_storage_engine, @@explicit_defaults_for_timestamp",
    "sqlite": "SELECT sqlite_version()",
}


class Fingerprints:
    """The fingerprints of one database, for one command.

    :ivar full: nothing is taken as known; what is found is kept nonetheless
    """

    def __init__(self, cache: Cache, url: URL, *, full: bool = False) -> None:
        """Read what is known.

        :param url: the database; its password is no part of anything that is kept
        """
        self._cache = cache
        place = (url.get_backend_name(), url.host, url.port, url.database, url.username)
        self._key = repr(place)
        # A database in memory ends with the process.
        in_memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
        self.active = cache.folder is not None and not in_memory
        found = cache.read("tables", self._key) if self.active else None
        self._kept: dict[str, str] = found if isinstance(found, dict) else {}
        self._changed = False
        self._made: dict[Table, str | None] = {}
        self._common: str | None = None
        self.full = full
        self._models: ModelTraits | None = None
        self._reflected: ReflectedTraits | None = None

    @property
    def trusted(self) -> bool:
        """Whether anything short of a comparison in full may tell that a table is equal."""
        return self.active and not self.full

    def known(self, tables: Mapping[Table, str | None], reflection: Reflection) -> frozenset[Key]:
        """Return those of some tables that are known to be equal, by schema and name.

        :param tables: each with its schema, ``None`` for the default one
        """
        if not self.trusted or not self._kept:
            return frozenset()
        found = set()
        for table, schema in tables.items():
            key = (schema, str(table.name))
            kept = self._kept.get(repr(key))
            if kept is not None and kept == self.of(table, key, reflection):
                found.add(key)
        return frozenset(found)

    def keep(self, tables: Mapping[Table, str | None], reflection: Reflection) -> None:
        """Note tables that were compared and have no difference."""
        if not self.active:
            return
        for table, schema in tables.items():
            key = (schema, str(table.name))
            made = self.of(table, key, reflection)
            if made is not None and self._kept.get(repr(key)) != made:
                self._kept[repr(key)] = made
                self._changed = True

    def save(self) -> None:
        """Keep for the next command what is new."""
        if self._changed:
            self._cache.write("tables", self._key, self._kept)
            self._changed = False

    def of(self, table: Table, key: Key, reflection: Reflection) -> str | None:
        """Return a table's fingerprint.

        :returns: ``None`` if it has something that is not understood in full, or is not there
        """
        if table not in self._made:
            self._made[table] = self._make(table, key, reflection)
        return self._made[table]

    def _make(self, table: Table, key: Key, reflection: Reflection) -> str | None:
        if self._common is None:
            self._common = common(reflection.connection)
            self._models = ModelTraits(reflection.connection)
            self._reflected = ReflectedTraits(reflection.connection)
        if not self._common:
            return None
        assert self._models is not None and self._reflected is not None
        try:
            facts = self.facts(key, reflection)
            traits = (self._common, key, self._models.of(table), facts)
        except Unstable:
            return None
        return hashlib.blake2b(repr(traits).encode(), digest_size=16).hexdigest()

    def facts(self, key: Key, reflection: Reflection) -> Any:
        """Return all that was reflected of a table, or decides it, as plain data.

        :raises Unstable: if something is not known to be plain, or the table is not there
        """
        texts = reflection.texts_of(*key)
        if texts is not None:
            return ("texts", texts)
        assert self._reflected is not None
        found: list[Any] = []
        for kind in KINDS:
            try:
                read = reflection.read(kind, key[0])
            except NotImplementedError:
                found.append(None)
                continue
            if key not in read:
                if kind == "columns":
                    raise Unstable(key)
                found.append(())
                continue
            facts = self._reflected.of(read[key])
            if kind == "columns":
                # Of a serial column the default is left out.
                own = [reflection.is_serial(one) for one in read[key]]
                found.append((facts, own))
            elif isinstance(facts, list):
                # Constraints have no order that means something.
                found.append(sorted([repr(one) for one in facts]))
            else:
                found.append(facts)
        return found


def common(connection: Connection) -> str:
    """Return what counts for all tables of a database; empty if nothing can be known of them."""
    if has_reflection_listeners():
        # The application has a say in what is reflected.
        return ""
    dialect = connection.dialect
    backend = dialect.name.replace("mariadb", "mysql")
    query = SURROUNDINGS.get(backend)
    if query is None:
        return ""
    try:
        row = connection.execute(text(query)).one()
    except DBAPIError:
        connection.rollback()
        return ""
    cls = type(dialect)
    return repr(
        (
            FORMAT,
            program_version(),
            alembic.__version__,
            sqlalchemy.__version__,
            sys.version_info[:3],
            f"{cls.__module__}.{cls.__qualname__}",
            dialect.server_version_info,
            dialect.default_schema_name,
            dialect.max_identifier_length,
            types_by_name(dialect) if backend == "sqlite" else None,
            [str(value) for value in row],
        )
    )


def types_by_name(dialect: Dialect) -> list[tuple[str, str]]:
    """Return as what each name of a type is reflected."""
    classes: Mapping[str, type[Any]] = getattr(dialect, "ischema_names", {})
    return sorted((name, f"{one.__module__}.{one.__qualname__}") for name, one in classes.items())
