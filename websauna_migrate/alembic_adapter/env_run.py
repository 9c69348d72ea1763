"""Running a package's ``env.py``, with the run's own connection and the run's own steps."""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from traceback import StackSummary, extract_tb
from typing import TYPE_CHECKING, Any, TextIO
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from websauna_migrate.alembic_adapter.entities import entities_apart
from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.packages import project_of
from websauna_migrate.database.engines import driver_of, driver_words, hide_password
from websauna_migrate.database.lock_errors import is_lock_failure
from websauna_migrate.database.own_connections import lent
from websauna_migrate.revision_scripts.old_websauna import what_to_write
from websauna_migrate.revision_scripts.script_folders import sections_of

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep

    from websauna_migrate.alembic_adapter.bound_environment import BoundEnvironment

#: Where a running environment is found by the template's ``env.py``.
ATTRIBUTE = "websauna_migrate"

Steps = Callable[[Iterable[str], "MigrationContext"], Iterable["RevisionStep | StampStep"]]

#: What to do where ``env.py`` fails when the migrations were run, and before.
BEHIND = "It did so when its migrations had been run. What is applied tells: ws-alembic status"
BEFORE = "Its migrations were not run."
REPEATED = (
    " Each command runs env.py, some twice: what it says to the database before its migrations has "
    "to work again, as CREATE TABLE IF NOT EXISTS does."
)
ALONE = (
    " It works on a connection of its own, and a lock that it needs was not free; this command's "
    "transaction, which waits for env.py, may have it. Let it do so on "
    'config.attributes["connection"], or a revision script.'
)


#: Connections that an ``env.py`` has opened.
OPENED: WeakSet[Connection] = WeakSet()

#: Engines by which an ``env.py`` has connected.
ENGINES: WeakSet[Engine] = WeakSet()


def note_opened(connection: Connection) -> None:
    """Take notice of a connection that an ``env.py`` opens."""
    OPENED.add(connection)
    ENGINES.add(connection.engine)


def empty_pools() -> None:
    """Close the connections in the pools of engines: sessions, which may hold advisory locks.

    One in use stays, and so does the only connection to a database in memory. Those of an
    asynchronous driver cannot be closed behind its event loop.
    """
    for one in [*ENGINES]:
        ENGINES.discard(one)
        if isinstance(one.pool, QueuePool) and not one.dialect.is_async:
            one.dispose()


def end_left_open() -> None:
    """End connections that an ``env.py`` has left open, and to which nothing refers any more."""
    # Its module refers to itself by its functions. It is young, and the application's models many.
    for generation in range(3):
        if all(one.closed for one in OPENED):
            break
        gc.collect(generation)
    OPENED.clear()


@contextmanager
def calling(name: str, function: Callable[..., None]) -> Iterator[None]:
    """Call a function at each event of a name within the block, if it is of this thread."""
    thread = threading.get_ident()

    def call(*args: object) -> None:
        if threading.get_ident() == thread:
            function(*args)

    event.listen(Engine, name, call)
    try:
        yield
    finally:
        event.remove(Engine, name, call)


@contextmanager
def connections_ended() -> Iterator[None]:
    """End the connections of this thread that ``env.py`` opens and leaves open behind it.

    Under plain Alembic the process ends with it. Here another run of it would wait for their locks.
    What something else still refers to, such as the application's session, stays.
    """
    end_left_open()
    try:
        with calling("engine_connect", note_opened):
            yield
    finally:
        empty_pools()
        if sys.exc_info()[0] is None:
            end_left_open()
        else:
            # The error refers to what there was at its time.
            for one in [*OPENED]:
                with suppress(Exception):
                    driver_of(one).rollback()


@contextmanager
def waits_bounded() -> Iterator[None]:
    """Bound how long a connection to PostgreSQL that ``env.py`` opens waits for a lock.

    It would wait for the transaction that is open around ``env.py`` for ever.
    """

    def bound(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            driver = driver_of(connection)
            with closing(driver.cursor()) as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            driver.commit()

    with calling("engine_connect", bound):
        yield


@connections_ended()
def run_env(
    environment: PackageEnvironment,
    steps: Steps,
    *,
    connection: Connection | None = None,
    output: TextIO | None = None,
    rows: tuple[str, ...] | None = None,
    configure: Mapping[str, object] | None = None,
    **context_options: Any,
) -> None:
    """Run a package's environment once, with ``steps`` as Alembic's work function.

    :param connection: the connection that does the work; ``None`` for offline mode, whose SQL goes
        to ``output``
    :param rows: the history table's rows where they are known; ``None`` to read them
    :param configure: options of ``context.configure`` that the service insists on
    :param context_options: further options of Alembic's ``EnvironmentContext``, ``tag`` among them
    :raises EnvironmentFailure: if ``env.py`` fails, or never runs the migrations
    """
    # A command that only looks does without it, and without Alembic's.
    from websauna_migrate.alembic_adapter.bound_environment import BoundEnvironment

    called: list[Iterable[str]] = []

    def work(found: Iterable[str], context: MigrationContext) -> Iterable[RevisionStep | StampStep]:
        # An env.py may run its migrations in a loop; a second session is refused before.
        called.append(found)
        return steps(found, context) if len(called) == 1 else ()

    bound = BoundEnvironment(
        environment,
        connection=connection,
        output=output,
        rows=rows,
        insisted=dict(configure or {}),
        fn=work,
        as_sql=connection is None,
        **context_options,
    )
    with bound, entities_apart(environment.entities):
        if environment.standard_options is not None:
            bound.run_standard(environment.standard_options)
        elif not environment.env_py.exists():
            bound.run_standard({})
        else:
            named = env_py_named(
                environment, lambda: bool(called), lambda: bound.ended, alone=bound.in_the_way
            )
            attributes = attached(environment, bound, connection)
            bounded = waits_bounded() if bound.in_the_way else nullcontext()
            session, raised = bound.session_lent(), bound.failure_raised()
            with attributes, named, bounded, session, raised, lent(connection):
                environment.scripts.run_env()
    if not called:
        raise environment.failure(
            "did not call context.run_migrations(). Nothing was changed. See Alembic's "
            "documentation of env.py, or replace it by the two lines of the template.",
        )
    environment.types.keep(bound.memo)


@contextmanager
def attached(
    environment: PackageEnvironment, running: object, connection: Connection | None
) -> Iterator[None]:
    """Let ``env.py`` find what runs it, and the connection; keep it from setting up logging.

    :param running: what the template's ``env.py`` hands over to
    :param connection: the connection as in Alembic's cookbook, "Sharing a Connection"
    """
    from websauna_migrate.alembic_adapter.bound_environment import logging_left_alone

    attributes = environment.config.attributes
    before = dict(attributes)
    attributes[ATTRIBUTE] = running
    if connection is not None:
        attributes["connection"] = connection
        # An older cookbook has "with connectable.connect()" for an engine and for a connection,
        # which had the method up to SQLAlchemy 1.4.
        vars(connection)["connect"] = lambda: nullcontext(connection)
    try:
        with logging_left_alone(environment.options.path):
            yield
    finally:
        if connection is not None:
            vars(connection).pop("connect", None)
        attributes.clear()
        attributes.update(before)


@contextmanager
def env_py_named(
    environment: PackageEnvironment,
    begun: Callable[[], bool],
    ended: Callable[[], bool] = lambda: False,
    *,
    alone: bool = False,
) -> Iterator[None]:
    """Say of an error in ``env.py`` that it is one, and where.

    :param begun: tells if the migrations have begun; what is raised then is theirs, unless
        ``env.py`` itself raises it when they were run
    :param ended: tells whether they were run
    :param alone: whether a lock that is not free is this process's own
    :raises EnvironmentFailure: in place of what ``env.py`` raised
    """
    try:
        yield
    except MigrationError:
        raise
    except (Exception, SystemExit) as exc:
        path, url = str(environment.env_py), environment.url
        frames = extract_tb(exc.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        own = ended() and is_raised_below(frames, path)
        locked = url and is_lock_failure(exc, url.get_backend_name())
        if (begun() and not own) or (locked and not alone):
            raise
        where = f" in line {lines[-1]}" if lines else ""
        from_database = isinstance(exc, DBAPIError)
        words = " ".join(driver_words(getattr(exc, "orig", None) or exc).split())
        if url is not None:
            words = hide_password(words, url)
        raise environment.failure(
            f"failed{where}: {type(exc).__name__}: {words}{what_to_write(exc, env=True)}"
            + (
                missing_arguments(environment, exc)
                or missing_sections(environment)
                or missing_options(environment, exc)
            )
            + "\n"
            + (BEHIND if ended() else BEFORE)
            + (ALONE if locked else REPEATED if from_database and not ended() else ""),
        ) from exc


def missing_sections(environment: PackageEnvironment) -> str:
    """Return a line on sections of ``alembic.ini`` that the application's INI file lacks."""
    known, ini = environment.options.sections, environment.options.path
    missing = [one for one in sections_of(project_of(environment.package)) if one not in known]
    if not missing or ini is None:
        return ""
    named = ", ".join(f"[{one}]" for one in missing)
    return (
        f"\nalembic.ini has {named}, which is not read: copy what env.py needs into "
        f"{Path(ini).name}, [alembic]'s own options too."
    )


#: How an ``env.py`` asks for options of Alembic's, and what it may raise where one is missing.
ASKS_FOR_OPTIONS = re.compile(r"\bget_(?:main_option|section(?:_option)?)\(")
MISSING = (KeyError, TypeError, ValueError, AttributeError, ArgumentError)


def missing_options(environment: PackageEnvironment, exc: BaseException) -> str:
    """Return a line on where an ``env.py`` has options of Alembic's from, if it lacks one."""
    ini = environment.options.path
    if ini is None or not isinstance(exc, MISSING):
        return ""
    if not ASKS_FOR_OPTIONS.search(environment.env_py.read_text(encoding="utf-8")):
        return ""
    return (
        "\nAn option that env.py asks Alembic's configuration for has to be in the section "
        f"[{environment.options.main_section}] of {Path(ini).name}."
    )


def missing_arguments(environment: PackageEnvironment, exc: BaseException) -> str:
    """Return a line on how an ``env.py`` gets what it misses of the program that calls it."""
    config, source = environment.config, environment.env_py.read_text(encoding="utf-8")
    # An env.py that finds something missing may exit for it.
    for one in (exc, exc.__context__):
        if not isinstance(one, AttributeError):
            continue
        if one.obj is config:
            return (
                f"\nA program of the project sets config.{one.name}, which is not run here. Let "
                f'env.py say getattr(config, "{one.name}", None), and do without it.'
            )
        if one.obj is config.cmd_opts and "cmd_opts" in source:
            return (
                f'\nThe command line has no option "{one.name}". Let env.py say getattr('
                f'config.cmd_opts, "{one.name}", None), or take it from "-x {one.name}=VALUE" by '
                f'context.get_x_argument(as_dictionary=True).get("{one.name}").'
            )
    if isinstance(exc, KeyError) and "get_x_argument" in source:
        key = exc.args[0] if exc.args else None
        given = {one.partition("=")[0] for one in getattr(config.cmd_opts, "x", None) or ()}
        if isinstance(key, str) and key not in given:
            return f'\nenv.py reads arguments of -x. If "{key}" is one: ws-alembic -x {key}=VALUE'
    return ""


def is_raised_below(frames: StackSummary, path: str) -> bool:
    """Tell whether a file raised an error itself, or in what it calls besides Alembic and us.

    What a transaction raises at its end, Alembic's is.
    """
    import alembic

    places = [place for place, frame in enumerate(frames) if frame.filename == path]
    folders = (Path(str(alembic.__file__)).parent, Path(__file__).parent.parent)
    homes = tuple(f"{folder}{os.sep}" for folder in folders)
    return bool(places) and not any(
        frame.filename.startswith(homes) for frame in frames[places[-1] + 1 :]
    )


def current_environment() -> BoundEnvironment | None:
    """Return the environment that runs ``env.py`` at the moment; ``None`` under plain Alembic."""
    from alembic import context

    found: BoundEnvironment | None = context.config.attributes.get(ATTRIBUTE)
    return found
