"""What scripts of the running step have left pending, apart from what it takes to make it.

The ORM and zope.sqlalchemy are imported by scripts that move data (:mod:`websauna_migrate.data`),
and by no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from transaction import TransactionManager


class StepData:
    """The sessions and the transaction manager of one step."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sessions: list[Session] = []
        self.manager: TransactionManager | None = None

    def finish(self) -> None:
        """Write what is pending: first what joined the transaction manager, then the rest."""
        if self.manager is not None:
            self.manager.commit()
            self.manager = None
        for one in self.sessions:
            if one.in_transaction() or one.new or one.dirty or one.deleted:
                one.commit()
            one.close()
        self.sessions.clear()

    def abandon(self) -> None:
        """Let go of everything; the step's transaction is rolled back by the runner."""
        if self.manager is not None:
            self.manager.abort()
            self.manager = None
        for one in self.sessions:
            one.close()
        self.sessions.clear()


#: The running step's. There is one run at a time in a process, as with Alembic's ``op``.
_running: list[StepData] = []


@contextmanager
def data_of_step(connection: Connection) -> Iterator[None]:
    """Let scripts have sessions on a connection, and write what they left pending."""
    data = StepData(connection)
    _running.append(data)
    try:
        yield
        data.finish()
    except BaseException:
        data.abandon()
        raise
    finally:
        _running.remove(data)


def running() -> StepData | None:
    """Return the running step's data; ``None`` under plain Alembic."""
    return _running[-1] if _running else None
