"""Sessions for migration scripts that move data: bound to the step's connection.

What they do is part of the step, and committed with it::

    from websauna_migrate import data

    def upgrade():
        with data.session() as session:
            session.execute(sa.update(users).values(active=True))

A script defines the tables that it needs by itself (``sa.table``, a local declarative base), as
they are at that point of the history, and does not import the application's models.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import transaction
import zope.sqlalchemy
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import JoinTransactionMode
from zope.sqlalchemy.datamanager import STATUS_CHANGED

from websauna_migrate.base_errors import UsageError
from websauna_migrate.runs.step_data import running


class StepSession(Session):
    """A session in the step's transaction; at the end of a ``with`` block it is committed into it.

    Its ``commit()`` writes what is pending and its ``rollback()`` takes back what the session did;
    neither ends the step's transaction.
    """

    def __exit__(
        self,
        type_: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Commit into the step, unless an exception is on its way, and close."""
        try:
            if value is None and type_ is None:
                self.commit()
        finally:
            self.close()


def session(*, join_transaction: object = False, **options: Any) -> StepSession:
    """Return a session bound to the running step's connection; for use in a revision script.

    Work that is pending when ``upgrade()`` returns is written. Under plain Alembic, use the session
    in a ``with`` block.

    :param join_transaction: join the step's transaction manager by zope.sqlalchemy, or a
        ``transaction.TransactionManager`` of one's own; the manager decides then when to write,
        and ``session.commit()`` is not to be called
    :param options: further arguments of ``sqlalchemy.orm.Session``
    :raises UsageError: when the SQL is only written down (``--sql``), and there is no connection
    """
    connection = step_connection()
    options.setdefault("join_transaction_mode", join_mode(connection))
    made = StepSession(bind=connection, **options)
    data = running()
    if join_transaction is False or join_transaction is None:
        if data is not None:
            data.sessions.append(made)
        return made
    manager = transaction_manager() if join_transaction is True else join_transaction
    zope.sqlalchemy.register(
        made, initial_state=STATUS_CHANGED, transaction_manager=manager, keep_session=True
    )
    return made


def transaction_manager() -> transaction.TransactionManager:
    """Return the running step's ``transaction.TransactionManager``, in explicit mode and begun.

    It commits when ``upgrade()`` returns, before the step does, and aborts if that fails. Under
    plain Alembic it is new, and the script has to commit it.
    """
    data = running()
    manager = data.manager if data is not None else None
    if manager is None:
        manager = transaction.TransactionManager(explicit=True)
        manager.begin()
        if data is not None:
            data.manager = manager
    return manager


def step_connection() -> Connection:
    """Return the connection of the migration that runs.

    :raises UsageError: if there is none
    """
    try:
        from alembic import op

        context = op.get_context()
    except NameError:
        context = None
    # Alembic leaves the context of a script that failed behind.
    if context is None or (not context.as_sql and getattr(context.connection, "closed", True)):
        raise UsageError("websauna_migrate.data is for revision scripts: no migration runs now.")
    connection = context.connection
    if context.as_sql or connection is None:
        raise UsageError(
            "A data migration needs a database: this script cannot be written down with --sql."
        )
    return connection


def join_mode(connection: Connection) -> JoinTransactionMode:
    """Return how a session takes part in what the connection is doing.

    In a transaction it has a savepoint of its own, so that its rollback leaves the step's marker
    alone. In autocommit mode there is nothing to put a savepoint into.
    """
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return "rollback_only"
    return "create_savepoint"
