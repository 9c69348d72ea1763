"""What scripts check by themselves: ``precheck(check)`` before a step, ``verify(check)`` behind it.

A precheck runs before the first step of a run if it is certain that no step before its own has a
say in what it asks. Otherwise it runs in its own step's transaction, in front of ``upgrade()``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.engines import driver_words, hide_password
from websauna_migrate.planning.accesses import UNREADABLE, Access
from websauna_migrate.planning.steps import Step
from websauna_migrate.revision_scripts.script_error import ScriptRefused, place_of

#: How a statement begins that only reads.
READS = re.compile(r"\s*(?:SELECT|WITH|VALUES|TABLE|\()", re.IGNORECASE)


class PrecheckFailed(MigrationError, RuntimeError):
    """Prechecks of a run's steps do not hold, and no step was begun.

    :ivar problems: by ``package@revision`` the place in the script and what it says
    """

    exit_code = ExitCode.SCRIPT_FAILED

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        lines = "".join(f"\n  {name} ({problem}" for name, problem in self.problems.items())
        super().__init__(
            f"The precheck() of pending steps says no, and nothing was changed:{lines}\n"
            "Put right what it names, then run the command again."
        )


class Check:
    """What ``precheck`` and ``verify`` get: it asks, and fails with a message of the script.

    Queries are text or SQLAlchemy's, their parameters are bound: ``:name`` and ``name=``.
    """

    def __init__(
        self, connection: Connection, before: Callable[[str], None] = lambda sql: None
    ) -> None:
        """Prepare to ask.

        :param before: gets each query before it is asked
        """
        self._connection = connection
        self._before = before
        #: The last query.
        self.sql = ""

    def none(self, query: str | ClauseElement, message: str, **parameters: object) -> None:
        """Fail with a message if a query has a row."""
        if self._first(query, parameters) is not None:
            raise ScriptRefused("check", message)

    def some(self, query: str | ClauseElement, message: str, **parameters: object) -> None:
        """Fail with a message if a query has no row."""
        if self._first(query, parameters) is None:
            raise ScriptRefused("check", message)

    def equal(
        self, query: str | ClauseElement, expected: object, message: str, **parameters: object
    ) -> None:
        """Fail with a message if the first column of a query's first row is not what is expected.

        The message has the number that was found; no other value is told.
        """
        row = self._first(query, parameters)
        found = None if row is None else row[0]
        if row is None or found != expected:
            told = "no row" if row is None else str(found) if isinstance(found, int) else "another"
            raise ScriptRefused("check", f"{message} ({told}, expected {expected!r})")

    def _first(
        self, query: str | ClauseElement, parameters: Mapping[str, object]
    ) -> Row[Any] | None:
        statement: Any = text(query) if isinstance(query, str) else query
        self.sql = str(statement.compile(dialect=self._connection.dialect))
        if not READS.match(self.sql):
            raise ValueError("a check only reads: by SELECT, WITH or VALUES")
        self._before(self.sql)
        return self._connection.execute(statement, parameters).first()


def check_function(module: ModuleType, name: str) -> Callable[[Check], None] | None:
    """Return a script's ``precheck`` or ``verify``; its one parameter must be called ``check``.

    A script may have a function of that name for another purpose.
    """
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        return None
    return function if [*inspect.signature(function).parameters] == ["check"] else None


@contextmanager
def read_only(connection: Connection) -> Iterator[None]:
    """Let nothing be written within the block: it is a transaction, or a savepoint, rolled back."""
    nested = connection.in_transaction()
    transaction = connection.begin_nested() if nested else connection.begin()
    kind = connection.dialect.name
    try:
        if kind == "postgresql":
            # Rolled back to the savepoint, it may be written again.
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        elif kind == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
        yield
    finally:
        try:
            if kind == "sqlite":
                connection.exec_driver_sql("PRAGMA query_only = OFF")
        finally:
            transaction.rollback()


def run_check(module: ModuleType, name: str, connection: Connection) -> None:
    """Run a script's ``precheck`` or ``verify`` in the step's transaction, if it has one.

    :raises ScriptRefused: if it does not hold
    """
    function = check_function(module, name)
    if function is not None:
        with read_only(connection):
            function(Check(connection))


class Touched:
    """What the steps so far of a plan have a say in."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        #: Rows anywhere: by triggers, cascades, or what cannot be read.
        self.all = False

    def add(self, accesses: Iterable[Access]) -> None:
        """Add what a step does."""
        for access in accesses:
            if access.kind in (*UNREADABLE, "insert_rows", "write_table"):
                self.all = True
            elif access.kind != "read_table":
                self.names |= {one.lower() for one in (access.name, access.new_name) if one}

    def refuse(self, sql: str) -> None:
        """Raise if a query is about any of it.

        :raises ScriptRefused: then
        """
        words = sql.lower()
        if self.all or any(name in words for name in self.names):
            raise ScriptRefused("early", "an earlier step does something to it.")


def run_prechecks(
    connection: Connection,
    steps: Iterable[Step],
    environments: Mapping[str, PackageEnvironment],
) -> frozenset[tuple[str, str]]:
    """Run the prechecks that can be reached before the first step; no transaction is open.

    :returns: package and revision of the steps whose precheck has to wait for its step
    :raises PrecheckFailed: naming each that fails
    """
    asked = list(steps)
    while asked and not has_precheck(asked[-1], environments):
        asked.pop()
    touched, waiting, problems = Touched(), set(), {}
    for step in asked:
        environment = environments[step.package]
        if has_precheck(step, environments):
            try:
                precheck(connection, environment, step, touched)
            except Exception as exc:
                early = isinstance(exc, ScriptRefused) and exc.kind == "early"
                if early or isinstance(exc, DBAPIError):
                    waiting.add((step.package, step.revision.id))
                else:
                    place = place_of(exc, step.revision.path)
                    problems[str(step.revision)] = f"{place}): {words_of(exc, connection)}"
        touched.add(environment.reader.index.upgrade(step.revision.path))
    if problems:
        raise PrecheckFailed(problems)
    return frozenset(waiting)


def has_precheck(step: Step, environments: Mapping[str, PackageEnvironment]) -> bool:
    """Tell whether a step's script has a precheck."""
    module = environments[step.package].reader.imported(step.revision)
    return check_function(module, "precheck") is not None


def precheck(
    connection: Connection, environment: PackageEnvironment, step: Step, touched: Touched
) -> None:
    """Run one precheck before the first step.

    :raises ScriptRefused: if it asks for what an earlier step touches
    """
    # A module of its own: what is at the top of a script may be used up by a function.
    function = check_function(environment.reader.fresh(step.revision), "precheck")
    assert function is not None
    with read_only(connection):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        function(Check(connection, touched.refuse))


def words_of(exc: Exception, connection: Connection) -> str:
    """Return what a check says that failed, on one line and without a password."""
    known = exc.orig if isinstance(exc, DBAPIError) else exc
    words = (
        str(known)
        if isinstance(exc, ScriptRefused)
        else f"{type(known).__name__}: {driver_words(known)}"
    )
    return hide_password(" ".join(words.split()), connection.engine.url)
