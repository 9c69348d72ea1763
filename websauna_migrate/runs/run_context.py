"""What is asked of a run, and in what state its connection is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.database.given_connections import the_given


@dataclass(frozen=True)
class RunOptions:
    """What the caller of a run may ask for.

    :ivar tag: handed to ``env.py`` scripts as Alembic's ``--tag``
    :ivar atomic: the whole run shall be one transaction
    :ivar dry_run: and it shall be rolled back at its end
    :ivar stop: asked at each step's boundary whether to stop, see :class:`.Stop`
    :ivar lock_wait: seconds to wait for another run; ``None`` for the setting
    :ivar limits: in place of the settings of the same names; ``None`` for no change
    :ivar marks: the half done steps that the run is for: ids of the ledger's rows, and what is
        noted there once the run's first step has gone well
    :ivar observe: called in the transaction of a run that is one, with the connection and the
        number of steps that are done: at the start, and behind each; what it raises ends the run
    """

    tag: str | None = None
    atomic: bool = False
    dry_run: bool = False
    stop: Callable[[], bool] | None = None
    lock_wait: float | None = None
    limits: Mapping[str, float | None] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    observe: Callable[[Connection, int], None] | None = None


def run_options(
    *,
    tag: str | None = None,
    atomic: bool = False,
    dry_run: bool = False,
    stop: Callable[[], bool] | None = None,
    lock_wait: float | None = None,
    lock_timeout_ms: int | None = None,
    lock_budget: float | None = None,
    statement_timeout_ms: int | None = None,
    connection: Connection | None = None,
    engine: Engine | None = None,
) -> tuple[RunOptions, Connection | Engine | None]:
    """Return what is asked of a run, and what it is to work on, from the keywords of a method.

    See :class:`.RunKeywords`.
    """
    limits = {
        "lock_timeout_ms": lock_timeout_ms,
        "lock_budget": lock_budget,
        "statement_timeout_ms": statement_timeout_ms,
    }
    options = RunOptions(tag, atomic, dry_run, stop, lock_wait, limits)
    return options, the_given(connection, engine)


def is_gone(connection: Connection) -> bool:
    """Tell whether a connection is known to be closed or broken."""
    return connection.closed or connection.invalidated


def clean(connection: Connection) -> None:
    """Leave no transaction open, whatever state the connection is in."""
    try:
        if connection.closed or connection.get_transaction() is None:
            return
        connection.rollback()
        if connection.dialect.driver == "pysqlite" and not connection.invalidated:
            # After a COMMIT that failed, as it does while another connection reads, SQLAlchemy
            # takes the transaction to be over. SQLite keeps it open.
            connection.connection.rollback()
    except SQLAlchemyError:
        connection.invalidate()
