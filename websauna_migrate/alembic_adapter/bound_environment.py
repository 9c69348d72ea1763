"""Alembic's environment while a package's ``env.py`` runs, bound to the run's own connection."""

from __future__ import annotations

import logging.config
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias, TypeGuard

from sqlalchemy import MetaData, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.internals import ProxiedEnvironment, run_migrations
from websauna_migrate.alembic_adapter.key_indexes import keep_key_indexes
from websauna_migrate.alembic_adapter.mysql_numbering import number_columns
from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.alembic_adapter.plain_env import is_plain
from websauna_migrate.alembic_adapter.sqlite_batches import keep_in_batches
from websauna_migrate.alembic_adapter.unnamed_constraints import find_unnamed_constraints
from websauna_migrate.alembic_adapter.unnamed_offline import write_lookups
from websauna_migrate.alembic_adapter.written_literals import write_all_literals
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import (
    BEFORE,
    BEHIND,
    SESSION,
    database_of,
    driver_of,
    safe_url,
    with_synchronous_driver,
)
from websauna_migrate.database.own_connections import errors_of, lent
from websauna_migrate.database.servers import place_of
from websauna_migrate.models.sqlalchemy_internals import write_as_server
from websauna_migrate.revision_scripts.script_error import ScriptRefused

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.environment import RenderItemFn


class BoundEnvironment(ProxiedEnvironment):
    """Alembic's environment, bound to a package and to the run's own connection."""

    def __init__(
        self,
        owner: PackageEnvironment,
        *,
        connection: Connection | None,
        output: TextIO | None,
        rows: tuple[str, ...] | None,
        insisted: dict[str, object],
        **options: Any,
    ) -> None:
        super().__init__(owner.config, owner.scripts, **options)
        self.owner = owner
        self.run_connection = connection
        #: Whether the caller's transaction is open, which the whole run is.
        self.in_transaction = connection is not None and connection.in_transaction()
        #: Whether a connection of ``env.py``'s own would wait for this one, which waits for it.
        self.in_the_way = (
            connection is not None
            and self.in_transaction
            and connection.dialect.name in ("sqlite", "postgresql")
        )
        self.output = output
        self.rows = rows
        self.insisted = insisted
        #: The connection that ``env.py`` configured with.
        self.given: object = None
        #: Whether Alembic would begin a transaction on it for all migrations, and commit it.
        self.commits = False
        self.settings: Mapping[str, str] = (
            {} if connection is None else connection.info.get(SESSION, {})
        )
        #: Whether the migrations have been run; their transaction may still be open.
        self.ended = False
        #: What ``env.py`` wrote SQL for.
        self.offline: Mapping[str, str] = {}
        #: The named types that the step created, see :mod:`.type_memory`.
        self.memo: dict[str, object] = {}

    def configure(self, *args: Any, **kwargs: Any) -> None:
        """Configure as ``env.py`` says, but for what the service is answerable for."""
        # The first parameter, and the only one that scripts give by position.
        if args:
            kwargs["connection"] = args[0]
        self.owner.refuse_other_history(kwargs, self.default_schemas())
        if self.run_connection is not None:
            self.refuse_sql(kwargs)
            self.given = kwargs.get("connection")
            self.commits = begins_on(self.given, kwargs)
            self.refuse_other_database(self.given)
            let_go(self.given, self.run_connection)
            if self.run_connection.in_transaction() and not self.in_transaction:
                # What env.py did on the run's connection is no part of a step.
                self.run_connection.commit()
        else:
            self.require_one_database(kwargs)
        for key in ("connection", "url", "dialect_name"):
            kwargs.pop(key, None)
        if self.run_connection is not None:
            kwargs["connection"] = self.run_connection
            kwargs.pop("literal_binds", None)
        else:
            assert self.owner.url is not None
            url = with_synchronous_driver(self.owner.url)
            if getattr(self.owner.asked, "is_mariadb", False):
                driver = url.drivername.partition("+")[2]
                url = url.set(drivername="+".join(filter(None, ("mariadb", driver))))
            kwargs["url"] = url
            kwargs["literal_binds"] = True
            # In the driver's own style, "%" would be doubled in every literal.
            kwargs["dialect_opts"] = {"paramstyle": "named", **(kwargs.get("dialect_opts") or {})}
            # It is text here, which the writer encodes.
            kwargs.pop("output_encoding", None)
            kwargs["output_buffer"] = self.output
        for key in HOOKS & kwargs.keys():
            kwargs[key] = self.hook_named(key, kwargs[key])
        for key, value in self.insisted.items():
            combine = COMBINED.get(key)
            given = kwargs.get(key)
            kwargs[key] = combine(given, value) if combine and given is not None else value
        kwargs["version_table"] = self.owner.package.history_table
        kwargs["version_table_schema"] = self.owner.schema
        kwargs["transaction_per_migration"] = True
        if self.owner.url is not None and self.owner.url.get_backend_name() == "sqlite":
            kwargs["transactional_ddl"] = True
        super().configure(**kwargs)
        context = self.get_context()
        for mend in (keep_in_batches, keep_key_indexes, number_columns, find_unnamed_constraints):
            mend(context.impl)
        self.memo = context.impl.memo
        if self.run_connection is None:
            write_as_server(context.dialect, self.owner.asked)
            write_all_literals(context.impl)
            write_lookups(context.impl)
        self.owner.types.attach(self.memo, self.run_connection)
        context.run_migrations = partial(run_migrations, context)  # type: ignore[method-assign]
        if (rows := self.rows) is not None:
            # In place of a query for what the run knows.
            context.get_current_heads = lambda: rows  # type: ignore[method-assign]

    def run_migrations(self, **arguments: Any) -> None:
        """Run the migrations, and keep that they were run."""
        if self.run_connection is not None:
            let_go(self.given, self.run_connection)
            if is_autocommit(self.given) and not self.in_transaction:
                # Each statement of env.py was a transaction there: SET LOCAL has ended with it.
                self.run_connection.commit()
            set_as(self.run_connection, self.settings, during=True)
        with lent(self.run_connection, back=True), errors_of(self.given, self.run_connection):
            super().run_migrations(**arguments)
        self.ended = True
        if self.run_connection is not None and self.is_apart(self.given):
            # SET LOCAL ended when its transaction was committed before the migrations.
            set_as(self.given, self.settings, BEHIND, during=True, local=True)

    @contextmanager
    def begin_transaction(self) -> Iterator[Any]:
        """Give Alembic's transaction; behind the migrations end what ``env.py`` did in it."""
        with super().begin_transaction() as transaction:
            yield transaction
        if self.run_connection is None or not self.ended:
            return
        if not self.is_apart(self.given):
            set_as(self.run_connection, self.settings, BEHIND)
        elif self.commits and self.given.in_transaction():
            self.given.commit()

    @contextmanager
    def session_lent(self) -> Iterator[None]:
        """Let ``env.py`` find the run's session as it was before it, and the run as it is."""
        ours, failed = self.run_connection, True
        if ours is None or not any(key.startswith((BEFORE, BEHIND)) for key in self.settings):
            yield
            return
        set_as(ours, self.settings, BEFORE)
        if not self.in_transaction:
            ours.commit()
        try:
            yield
            failed = False
        finally:
            if not (ours.closed or ours.invalidated):
                if failed:
                    ours.rollback()
                set_as(ours, self.settings, during=True)
                if failed or not self.in_transaction:
                    ours.commit()

    def is_apart(self, given: object) -> TypeGuard[Connection]:
        """True if ``env.py`` works on a connection of its own."""
        return isinstance(given, Connection) and given is not self.run_connection

    def default_schemas(self) -> tuple[str | None, ...]:
        """Return the schema of names without one; offline the one that the server has at first."""
        if self.run_connection is not None:
            return (self.run_connection.dialect.default_schema_name,)
        url = self.owner.url
        return ("public", "main", url.database if url is not None else None)

    def require_one_database(self, options: Mapping[str, Any]) -> None:
        """Refuse to write SQL for a second database or schema: a run of the service has one.

        :raises EnvironmentFailure: if ``env.py`` names another than before
        """
        given = getattr(options.get("connection"), "engine", None)
        url = options.get("url") if given is None else given.url
        said = {"the database": "" if url is None else safe_url(make_url(url))}
        if self.offline:
            self.owner.require_same(self.offline, said)
        self.offline = said

    def refuse_sql(self, options: Mapping[str, object]) -> None:
        """Refuse options by which plain Alembic would write SQL, or fail, and apply nothing.

        :raises EnvironmentFailure: if ``env.py`` gives one
        """
        for option in ("as_sql", "starting_rev"):
            if options.get(option):
                raise self.owner.failure(
                    f"says {option}={options[option]!r} with a connection: plain alembic would "
                    "apply nothing. Nothing was changed. Leave it out of env.py. The SQL of a run "
                    "is: ws-alembic upgrade --sql",
                )

    def leaves_home_alone(self, theirs: tuple[str, str | None]) -> bool:
        """True in a scratch database if ``env.py`` connects to the application's, and no more.

        Its text tells that it says nothing on that connection; what runs has ours.
        """
        home = self.owner.home
        if home is None or theirs != database_of(home):
            return False
        return is_plain(self.owner.env_py.read_text(encoding="utf-8", errors="replace"))

    def refuse_other_database(self, given: object) -> None:
        """Refuse a connection of ``env.py`` to another database, which would stay as it is.

        :raises EnvironmentFailure: if it is one
        """
        url = self.owner.url
        if not isinstance(given, Connection) or given is self.run_connection or url is None:
            return
        theirs, ours = database_of(given.engine.url), database_of(url)
        if theirs == ours or self.leaves_home_alone(theirs):
            return
        assert self.run_connection is not None
        # An engine with a function that connects has no name in its URL.
        if place_of(given)[:3] != place_of(self.run_connection)[:3]:
            raise self.owner.failure(
                f'connects to the database "{theirs[1]}" ({theirs[0]}), and the application to '
                f'"{ours[1]}" ({ours[0]}): a run works on one database. Let env.py use config\'s '
                "sqlalchemy.url, or name its database for all by the setting websauna_migrate.url.",
            )

    def hook_named(self, option: str, hook: object) -> object:
        """Return a hook of ``env.py`` that names it where it fails; what is none as it is."""
        if isinstance(hook, (list, tuple)):
            return [self.hook_named(option, one) for one in hook]
        if not callable(hook):
            return hook

        def call(*args: Any, **kwargs: Any) -> object:
            try:
                return hook(*args, **kwargs)
            except (MigrationError, DBAPIError):
                raise
            except Exception as exc:
                last = extract_tb(exc.__traceback__)[-1]
                said = (
                    f"gives {option}=..., which failed in line {last.lineno} of {last.filename}: "
                    f"{type(exc).__name__}: {exc}"
                )
                if option == "on_version_apply":
                    raise ScriptRefused("hook", f"env.py {said}.") from exc
                said = f"{said}\nNothing was changed."
                raise self.owner.failure(said) from exc

        return call

    def run_standard(self, options: Mapping[str, object]) -> None:
        """Do what every ``env.py`` does, with ``options`` for ``context.configure``."""
        self.configure(
            **{"target_metadata": target_metadata(self.owner.package.metadata), **options}
        )
        with self.begin_transaction():
            self.run_migrations()


def let_go(given: object, ours: Connection) -> None:
    """Commit what ``env.py`` did on a connection of its own before its migrations.

    The script's statements run on the run's connection, and would wait for the locks of that
    transaction. It is the driver's commit, since ``env.py`` may be inside of ``engine.begin()``.
    """
    if isinstance(given, Connection) and given is not ours and given.in_transaction():
        driver_of(given).commit()


def is_autocommit(given: object) -> bool:
    """True if each statement on a connection to PostgreSQL is a transaction of its own."""
    if not isinstance(given, Connection) or given.dialect.name != "postgresql":
        return False
    return bool(driver_of(given).autocommit)


def begins_on(given: object, options: Mapping[str, object]) -> bool:
    """True if Alembic's ``begin_transaction`` would begin a transaction for all migrations.

    :param options: those of ``context.configure``
    """
    if not isinstance(given, Connection) or given.in_transaction():
        return False
    is_transactional = options.get("transactional_ddl")
    if is_transactional is None:
        is_transactional = given.dialect.name == "postgresql"
    return bool(is_transactional) and not options.get("transaction_per_migration")


def set_as(
    connection: Connection,
    settings: Mapping[str, str],
    *prefixes: str,
    during: bool = False,
    local: bool = False,
) -> None:
    """Set in a session what ``env.py`` changes in it, and not for the whole of its time.

    The run's session has it as long as the run lasts, which is several transactions.

    :param settings: with values of other times, see :data:`.BEFORE`
    :param prefixes: of the keys of these; all if there is none
    :param during: as in the transaction of the migrations; else as at that time
    :param local: for the current transaction alone
    """
    for key, value in settings.items():
        if key.startswith(prefixes or (BEFORE, BEHIND)):
            name = key.partition(" ")[2]
            values = {"name": name, "value": settings[name] if during else value}
            connection.execute(text(f"SELECT set_config(:name, :value, {local})"), values)


#: A function that ``env.py`` or the service gives to Alembic.
Hook: TypeAlias = Callable[..., Any]


def both(first: Hook, second: Hook) -> Hook:
    """Return a filter that includes what both filters include."""
    return lambda *args: first(*args) and second(*args)


def either(first: RenderItemFn, second: RenderItemFn) -> RenderItemFn:
    """Return a renderer that asks the second where the first leaves it to the default."""

    def render(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
        rendered = first(kind, item, context)
        return second(kind, item, context) if rendered is False else rendered

    return render


def in_turn(first: Hook | Iterable[Hook], second: Hook | Iterable[Hook]) -> Hook:
    """Return a hook that calls one after the other; each may be one or a collection of them."""
    functions = [f for hooks in (first, second) for f in ([hooks] if callable(hooks) else hooks)]

    def call(*args: Any, **kwargs: Any) -> None:
        for function in functions:
            function(*args, **kwargs)

    return call


#: Options that are functions, which a step or a comparison of models calls.
HOOKS = frozenset(
    {
        *("include_name", "include_object", "render_item", "process_revision_directives"),
        *("compare_type", "compare_server_default", "on_version_apply"),
    }
)

#: Options that ``env.py`` and the service both have a say in; in all others the service insists.
COMBINED: Mapping[str, Callable[[Any, Any], Any]] = {
    "include_name": both,
    "include_object": both,
    "render_item": either,
    "process_revision_directives": in_turn,
    "on_version_apply": in_turn,
    "compare_type": lambda given, ours: given,
    "compare_server_default": lambda given, ours: given,
    "render_as_batch": lambda given, ours: given,
    "include_schemas": lambda given, ours: given or ours,
}


@contextmanager
def logging_left_alone(path: str | None) -> Iterator[None]:
    """Keep an older ``env.py`` from setting up logging again.

    ``fileConfig(config.config_file_name)`` is in every ``env.py`` of Alembic's own templates.
    Logging was set up from the application's INI already, includes and all, and a second reading
    of the bare file would fail without them, silence existing loggers, or log to stdout.
    """
    original = logging.config.fileConfig

    def file_config(fname: Any, *args: Any, **kwargs: Any) -> None:
        if fname is None or (
            path is not None and isinstance(fname, (str, os.PathLike)) and os.fspath(fname) == path
        ):
            return
        original(fname, *args, **kwargs)

    logging.config.fileConfig = file_config
    try:
        yield
    finally:
        logging.config.fileConfig = original


class SeveralMetaData(list[MetaData]):
    """Several MetaData that name their constraints alike.

    Alembic looks for ``naming_convention`` on what it is given, and finds none on a plain list:
    ``op.create_unique_constraint(None, ...)`` would be named by the database then.
    """

    def __init__(self, metadata: Sequence[MetaData], naming_convention: object) -> None:
        super().__init__(metadata)
        self.naming_convention = naming_convention


def target_metadata(metadata: Sequence[MetaData]) -> MetaData | list[MetaData]:
    """Return the one MetaData, or all of them with the naming convention on which they agree."""
    if len(metadata) == 1:
        return metadata[0]
    conventions = [dict(one.naming_convention) for one in metadata]
    if not conventions or any(one != conventions[0] for one in conventions):
        return list(metadata)
    return SeveralMetaData(metadata, metadata[0].naming_convention)
