"""The service's own connections raise SQLAlchemy's errors, and keep a run in one transaction.

Applications listen to ``handle_error`` of all engines and raise errors of their own in place of
SQLAlchemy's: the driver's, or a class for each thing that went wrong, as oslo.db does. A script has
those, as it has them with plain Alembic. The service could not tell any more what happened.

An ``env.py`` may use the connection, begin a transaction around its migrations, commit behind them
and close the connection. Where steps begin and end is the service's to say, above all where a run
is one transaction that is rolled back at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError


class LentTransaction(AbstractContextManager["LentTransaction"]):
    """What an ``env.py`` gets of a connection that is lent to it: it ends nothing."""

    is_active = is_valid = True

    def commit(self) -> None:
        """Leave it to the service."""

    rollback = close = commit

    def __exit__(self, *_: object) -> None:
        """End nothing; what was raised goes on."""


class OwnConnection(Connection):
    """A connection on which an error stays SQLAlchemy's, whatever a listener raises.

    All listeners are called as ever. Nothing public keeps what they raise from taking the error's
    place.

    :ivar runs_script: True while a script runs: what the listeners raise is what it gets
    :ivar replaced: the last error that a script had, and SQLAlchemy's in place of which it was
    :ivar lent: True while the code of an ``env.py`` runs: it has no transaction of its own, and
        does not close the connection
    :ivar keeps_transaction: and neither commits nor rolls back, since one was open before it
    """

    runs_script = False
    replaced: tuple[BaseException, BaseException] | None = None
    lent = False
    keeps_transaction = False

    def begin(self) -> Any:
        """Begin a transaction; one that an ``env.py`` begins is not its own.

        SQLAlchemy calls it too, at the first statement.
        """
        if not self.lent:
            return super().begin()
        if not self.in_transaction():
            super().begin()
        return LentTransaction()

    def commit(self) -> None:
        """Commit, if that is for the caller to say."""
        if not (self.lent and self.keeps_transaction):
            super().commit()

    def rollback(self) -> None:
        """Roll back, if that is for the caller to say."""
        if not (self.lent and self.keeps_transaction):
            super().rollback()

    def close(self) -> None:
        """Close the connection, if that is for the caller to say."""
        if not self.lent:
            super().close()

    def _handle_dbapi_exception(
        self, e: BaseException, statement: str | None, parameters: Any, *further: Any, **more: Any
    ) -> NoReturn:
        try:
            super()._handle_dbapi_exception(e, statement, parameters, *further, **more)
        except DBAPIError:
            raise
        except Exception as raised:
            family = self.dialect.loaded_dbapi.Error
            if not isinstance(e, family):
                raise
            error = DBAPIError.instance(
                statement,
                parameters,
                e,
                family,
                hide_parameters=self.engine.hide_parameters,
                connection_invalidated=self.invalidated,
                dialect=self.dialect,
            )
            if self.runs_script:
                self.replaced = raised, error
                raise
            raise error from raised


def use_own_connections(engine: Engine) -> Engine:
    """Let an engine connect by :class:`OwnConnection`, and return it."""
    engine._connection_cls = OwnConnection
    return engine


@contextmanager
def running_script(connection: Connection) -> Iterator[None]:
    """Let listeners of the application raise errors of theirs within the block."""
    if not isinstance(connection, OwnConnection):
        yield
        return
    connection.runs_script, connection.replaced = True, None
    try:
        yield
    finally:
        connection.runs_script = False


@contextmanager
def errors_of(given: object, connection: Connection | None) -> Iterator[None]:
    """Let a script have the errors that listeners of another connection's engine raise.

    An ``env.py`` may have made that engine by the application's own functions, as oslo.db's.

    :param given: what ``env.py`` configured with
    """
    if not isinstance(given, Connection) or not isinstance(connection, OwnConnection):
        yield
        return
    known = [*connection.dialect.dispatch.handle_error]
    theirs = given.dialect.dispatch.handle_error
    added = [one for one in theirs if not any(one is other for other in known)]
    for one in added:
        event.listen(connection.engine, "handle_error", one, retval=True)
    try:
        yield
    finally:
        for one in added:
            event.remove(connection.engine, "handle_error", one)


@contextmanager
def lent(connection: Connection | None, *, back: bool = False) -> Iterator[None]:
    """Lend a connection to the code of an ``env.py`` within the block.

    :param back: use it for the service itself, in the middle of such a block
    """
    if not isinstance(connection, OwnConnection):
        yield
        return
    before = connection.lent
    if not back:
        connection.keeps_transaction = connection.in_transaction()
    connection.lent = not back
    try:
        yield
    finally:
        connection.lent = before


def as_sqlalchemy_raises_it(exc: BaseException, connection: Connection) -> BaseException:
    """Return what SQLAlchemy raised, for the error of a script that a listener put in its place."""
    replaced = connection.replaced if isinstance(connection, OwnConnection) else None
    if replaced is None or replaced[0] is not exc:
        return exc
    return replaced[1].with_traceback(exc.__traceback__)
