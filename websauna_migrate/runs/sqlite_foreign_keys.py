"""SQLite's foreign keys while a table is rebuilt.

With ``PRAGMA foreign_keys=ON``, DROP TABLE deletes the rows of the table first, and with them, or
in them, what the keys of other tables say. A rebuild (Alembic's batch: CREATE, copy, DROP, RENAME)
would lose rows of other tables by that. The pragma does nothing inside of a transaction, so it has
to be off before the step begins: it is where the script's text names the table that it rebuilds.
Where it does not, a step that comes to a rebuild is rolled back and begun anew. Before a step
without keys commits, its keys are checked, and afterwards the pragma is what it was. All other
steps run with the setting as it is, as under plain Alembic: what they delete takes with it what
their keys say; so a step that leaves rows which refer to nothing, and rebuilt no table after all,
is begun anew with them.
"""

from __future__ import annotations

import ast
import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExecutionContext

from websauna_migrate.database.engines import BEFORE_BEGIN, driver_of
from websauna_migrate.database.given_connections import given_state
from websauna_migrate.facts.sqlite_tokens import quoted
from websauna_migrate.models.model_sql import unquoted
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.steps import Step
from websauna_migrate.revision_scripts.script_error import ScriptRefused
from websauna_migrate.revision_scripts.script_files import readable_text
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.runs.statement_words import COMMENTS

NAME = r'(?:"(?:[^"]|"")+"|`(?:[^`]|``)+`|\[[^\]]+\]|[\w$]+)'
QUALIFIED = rf"(?:({NAME})\s*\.\s*)?({NAME})"
#: What begins a rebuild: Alembic's temporary table, or a new table that takes an older one's name;
#: and a script's own word on foreign keys.
CREATES = re.compile(
    rf"^{COMMENTS}CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{QUALIFIED}", re.I | re.S
)
DROPS = re.compile(rf"^{COMMENTS}DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?{QUALIFIED}", re.I | re.S)
RENAMES = re.compile(
    rf"^{COMMENTS}ALTER\s+TABLE\s+{QUALIFIED}\s+RENAME\s+TO\s+({NAME})", re.I | re.S
)
TURNS_OFF = re.compile(
    rf"^{COMMENTS}PRAGMA\s+foreign_keys\s*(?:=|\()\s*['\"]?(?:0|off|no|false)\b", re.I | re.S
)

COMMITS = re.compile(rf"^{COMMENTS}(?:COMMIT|END)\b", re.I | re.S)

TEMPORARY = "_alembic_tmp_"

#: Alembic cuts the names of its temporary tables off here.
TEMPORARY_LENGTH = 50

#: The keys that refer to a table of a database: the table that has each, and its column.
REFERRING = (
    'SELECT m.name, f."from" FROM {schema}.sqlite_master m, pragma_foreign_key_list(m.name, ?) f '
    "WHERE m.type = 'table' "
    'AND (lower(f."table") = ? OR (? AND lower(f."table") LIKE ? || \'%\'))'
)


def not_without_keys(table: str, *, fixed: bool = False) -> ScriptRefused:
    """Return the error of a step that would have to turn foreign keys off, and cannot.

    :param table: what it rebuilds; empty where it turns the keys off by itself
    :param fixed: whether the transaction is the caller's
    """
    does = f'rebuilds the table "{table}"' if table else "turns PRAGMA foreign_keys off"
    if fixed:
        problem = (
            "which does not work in the transaction of the connection given while PRAGMA "
            "foreign_keys is on. Turn it off before that transaction begins, or give a "
            "connection that is in none."
        )
    elif table:
        problem = (
            "while PRAGMA foreign_keys is on, behind the end of its transaction: rows that "
            "refer to it would be lost. Move the rebuild to a revision of its own."
        )
    else:
        problem = (
            "behind the end of its transaction. Move what comes after it to a revision of its own."
        )
    return ScriptRefused("keys", f"it {does}{',' if fixed else ''} {problem}")


def broken_references(
    counts: Counter[tuple[str, str]], renamed: Collection[tuple[str, str]]
) -> ScriptRefused:
    """Return the error of a step without foreign keys that leaves rows which refer to nothing.

    :param counts: how many rows, by the table that has them and the one that they refer to
    :param renamed: schema and new name of tables that the step renamed
    """
    found = "; ".join(
        f'{counted(count, "row")} of "{table}" that refer to no row of "{parent}"'
        for (table, parent), count in sorted(counts.items())
    )
    remedy = (
        "Let the script delete these rows or set their columns, or do that in a revision before."
    )
    if any(
        shown(schema, name) == parent.lower() for _, parent in counts for schema, name in renamed
    ):
        remedy = (
            "Their keys went with a table when it was renamed. Let the script make the new table "
            "under a name of its own, copy the rows, drop the old table, and rename the new one."
        )
    return ScriptRefused(
        "keys",
        f"it leaves {found}. It rebuilds a table, so PRAGMA foreign_keys is off in it, and no key "
        f"deletes or changes rows. {remedy}",
    )


class ForeignKeys:
    """Keeps rows while the tables that they refer to are rebuilt, on one connection to SQLite."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._step: Step | None = None
        #: Whether a transaction of the caller's is open: the pragma does nothing in it.
        self._fixed = given_state(connection) == "in transaction"
        #: Whether the step is run without foreign keys.
        self._off = False
        #: Whether that is for what its text says; ``None`` if it turned out wrong.
        self._guessed: bool | None = False
        #: Whether a table that rows refer to was rebuilt.
        self._rebuilds = False
        #: Whether the connection is without them by this class.
        self._turned_off = False
        #: Raised already; the script may have caught it, as whatever a statement raises.
        self._refused: ScriptRefused | None = None
        #: Whether a part of the step was committed, so that it cannot be begun anew.
        self._committed = False
        #: Schema and name.
        self._dropped: set[tuple[str, str]] = set()
        #: Schema and new name of tables that were renamed, with the name before.
        self._renamed: dict[tuple[str, str], str] = {}
        self._before: Counter[tuple[str, str]] = Counter()
        self._listeners = (
            ("before_cursor_execute", self._before_execute),
            ("commit", self._commit),
        )

    def watch(self) -> None:
        """Listen to the connection, where the database is SQLite.

        A transaction begins behind the application's listeners to all engines, which may turn the
        keys on. In the caller's there is nothing to turn.
        """
        if self.connection.dialect.name == "sqlite":
            for name, function in self._listeners:
                event.listen(self.connection, name, function)
            self.connection.info[BEFORE_BEGIN] = self._begin

    def close(self) -> None:
        """Listen no longer, and leave the setting as it was; no transaction is open."""
        if self.connection.dialect.name != "sqlite":
            return
        for name, function in self._listeners:
            event.remove(self.connection, name, function)
        if not self.connection.closed and not self.connection.invalidated:
            del self.connection.info[BEFORE_BEGIN]
            self._turn_on()

    def begin_step(self, step: Step) -> None:
        """Say that an attempt at a step begins; each step begins with the setting as it is.

        In a transaction that is open it stays as it is.
        """
        if not self.connection.in_transaction():
            self._rebuilds = False
            if step is not self._step:
                self._off, self._guessed = False, False
                self._expect([step])
        self._step = step
        self._refused = None
        self._committed = False
        self._dropped, self._renamed = set(), {}

    def begin_run(self, steps: Iterable[Step]) -> None:
        """Say that one transaction is about to begin for all steps."""
        self._rebuilds = False
        self._expect(steps)

    def _expect(self, steps: Iterable[Step]) -> None:
        """Do without foreign keys where a script names a table that it rebuilds."""
        if self._off or self._guessed is None or self._fixed:
            return
        if self.connection.dialect.name == "sqlite" and (self._turned_off or self._is_on()):
            self._off = self._guessed = any(
                self._has_references(schema, table)
                for step in steps
                for table in rebuilt_tables(readable_text(step.revision.path))
                for schema in self._schemas()
            )

    def give_way(self) -> bool:
        """Tell whether a step that failed and was rolled back is to be begun anew without keys."""
        refused, self._refused = self._refused, None
        self._dropped, self._renamed = set(), {}
        if refused is None or self._committed or self._fixed:
            return False
        if self._off:
            is_wrong = bool(self._guessed) and not self._rebuilds
            self._off, self._guessed = not is_wrong, None
            return is_wrong
        self._off, self._guessed = True, None
        return True

    # What SQLAlchemy calls

    def _begin(self) -> None:
        if not self._off:
            self._turn_on()
        elif self._is_on():
            self._turn_off()
        if self._turned_off:
            self._before = self._broken()

    def _commit(self, connection: Connection) -> None:
        try:
            self.require_whole()
        except ScriptRefused:
            # SQLAlchemy takes a transaction to be over whose commit failed.
            self._driver.rollback()
            raise
        self._committed = True

    def require_whole(self) -> None:
        """Refuse to commit what leaves rows that refer to nothing; only SQLite has to be asked.

        :raises ScriptRefused: naming the tables, or raised already and caught by the script
        """
        if self._refused is not None:
            raise self._refused
        if self._turned_off and self._driver.in_transaction:
            new = self._broken() - self._before
            if new:
                self._refused = broken_references(new, self._renamed)
                raise self._refused

    def _before_execute(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: ExecutionContext,
        many: bool,
    ) -> None:
        if COMMITS.match(statement):
            self._committed = True
        if self._turned_off:
            self._rebuilds = self._rebuilds or bool(self._rebuilt(statement))
            return
        table = self._rebuilt(statement)
        if table is None or not self._is_on():
            return
        if self._driver.in_transaction:
            self._refused = not_without_keys(table, fixed=self._fixed)
            raise self._refused
        if table:
            # By itself, behind the end of the step's transaction: here the pragma works.
            self._turn_off()

    # What it does

    def _rebuilt(self, statement: str) -> str | None:
        """Return the table that a statement begins to rebuild, if rows refer to it.

        :returns: an empty text for a script that turns the keys off itself, else ``None``
        """
        if TEMPORARY in statement and (match := CREATES.match(statement)):
            name = unquoted(match.group(2))
            table = name.removeprefix(TEMPORARY)
            schema = self._schema_of(match.group(1), table)
            if table != name and self._has_references(
                schema, table, cut=len(name) >= TEMPORARY_LENGTH
            ):
                return shown(schema, table)
        elif match := DROPS.match(statement):
            table = unquoted(match.group(2))
            schema = self._schema_of(match.group(1), table)
            if self._has_references(schema, table):
                self._dropped.add((schema, table.lower()))
                before = self._renamed.get((schema, table.lower()))
                if before is not None and self._schema_of(None, before, "") == schema:
                    # The new table has the name, and the keys went with the old one.
                    return shown(schema, before)
        elif match := RENAMES.match(statement):
            schema = self._schema_of(match.group(1), unquoted(match.group(2)))
            table = unquoted(match.group(3))
            if (schema, table.lower()) in self._dropped:
                return shown(schema, table)
            self._renamed[schema, table.lower()] = unquoted(match.group(2))
        elif TURNS_OFF.match(statement):
            return ""
        return None

    def _schemas(self) -> list[str]:
        """Return ``main`` and the names of the databases that are attached."""
        found = self._driver.execute("PRAGMA database_list").fetchall()
        return [name.lower() for _, name, _ in found if name != "temp"]

    def _schema_of(self, written: str | None, table: str, default: str = "main") -> str:
        """Return the database of a table: the one that is written, else the first that has it."""
        if written is not None:
            return unquoted(written).lower()
        for schema in self._schemas():
            if self._driver.execute(
                f"SELECT 1 FROM {quoted(schema)}.sqlite_master "
                "WHERE type = 'table' AND lower(name) = ?",
                (table.lower(),),
            ).fetchone():
                return schema
        return default

    def _has_references(self, schema: str, table: str, *, cut: bool = False) -> bool:
        """Tell whether rows refer to a table, its own among them.

        :param cut: whether its name may go on
        """
        name = table.lower()
        database = quoted(schema)
        found = self._driver.execute(
            REFERRING.format(schema=database), (schema, name, cut, name)
        ).fetchall()
        return any(
            self._driver.execute(
                f"SELECT 1 FROM {database}.{quoted(child)} "
                f"WHERE {quoted(column)} IS NOT NULL LIMIT 1"
            ).fetchone()
            for child, column in found
        )

    def _broken(self) -> Counter[tuple[str, str]]:
        """Return how many rows refer to nothing, by their table and the one they refer to."""
        driver = self._driver
        counts: Counter[tuple[str, str]] = Counter()
        for schema in self._schemas():
            names = f"SELECT name FROM {quoted(schema)}.sqlite_master WHERE type = 'table'"
            for (table,) in driver.execute(names).fetchall():
                # A key to columns that are not unique cannot be checked, nor enforced.
                with suppress(sqlite3.OperationalError):
                    check = f"PRAGMA {quoted(schema)}.foreign_key_check({quoted(table)})"
                    for row in driver.execute(check):
                        counts[shown(schema, row[0]), shown(schema, row[2])] += 1
        return counts

    @property
    def _driver(self) -> DBAPIConnection:
        """The driver's connection: what is executed on it is seen by no listener."""
        return driver_of(self.connection)

    def _is_on(self) -> bool:
        return bool(self._driver.execute("PRAGMA foreign_keys").fetchone()[0])

    def _turn_off(self) -> None:
        self._driver.execute("PRAGMA foreign_keys=OFF")
        self._turned_off = True

    def _turn_on(self) -> None:
        """Give the connection back what was taken."""
        if self._turned_off and not self._driver.in_transaction:
            self._driver.execute("PRAGMA foreign_keys=ON")
            self._turned_off = False


def shown(schema: str, table: str) -> str:
    """Return a table's name, with its database where that is an attached one."""
    return table if schema == "main" else f"{schema}.{table}"


#: What a text must have for its syntax to be looked at.
WORDS = re.compile(r"batch_alter_table|rename_table|\bRENAME\s+TO\b", re.I)

#: In literal SQL: the name that a new table takes.
TAKEN_NAMES = re.compile(r"\bRENAME\s+TO\s+[\"'`\[]?([\w$]+)", re.I)


def rebuilt_tables(source: str) -> frozenset[str]:
    """Return the names, of both directions, as far as the text has them.

    Nothing depends on it that all are found, or that those found are rebuilt.
    """
    if not WORDS.search(source):
        return frozenset()
    found = set(TAKEN_NAMES.findall(source))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset(found)
    outer = Names(tree.body)
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            names = Names(function.body, outer)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    found.add(table_of(node.func.attr, Call(node, names)))
    return frozenset(found - {""})


def table_of(method: str, call: Call) -> str:
    """Return the table that a call rebuilds, empty if none that is known."""
    if method == "batch_alter_table":
        return call.text(0, "table_name") or ""
    if method == "rename_table":
        return call.text(1, "new_table_name") or ""
    return ""
