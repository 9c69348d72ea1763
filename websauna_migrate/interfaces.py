"""The contracts: the migration service, a registered package, and the events of a run.

The full documentation of every method stands here; the classes that implement the interfaces
repeat nothing. ``packages`` arguments take a dotted name, an iterable of them, or ``None`` for all
registered packages. Revisions are named as in Alembic (``head``, ``heads``, ``base``, a full or
partial identifier, a branch label, ``label@head``, ``+1``, ``-2``); a symbol applies to each of
the packages, an identifier to those of them that have it.

Methods with ``**given`` take ``connection``, a ``sqlalchemy.Connection`` to work on in place of one
of the service's own, or ``engine``, a ``sqlalchemy.Engine`` to take it from: a database in memory,
or the transaction of a test. If the connection has a transaction open, the whole call is part of
that, and the caller commits it or rolls it back. Otherwise each step is a transaction that is
committed, and the connection has none afterwards either. See :doc:`running`, "On a connection of
one's own".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

from zope.interface import Attribute, Interface

from websauna_migrate.planning.package_targets import Targets as Targets

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine, Table
    from typing_extensions import Unpack

    from websauna_migrate import results
    from websauna_migrate.planning.revisions import Revision
    from websauna_migrate.planning.steps import Plan, Step


class Question(Protocol):
    """What is asked of the models' author."""

    @property
    def question(self) -> str:
        """The question, to be answered with yes or no."""

    @property
    def option(self) -> str:
        """The option of ``revision`` that answers it beforehand."""


class ReadinessLooks(Protocol):
    """Tells readiness again and again."""

    def look(self) -> results.Readiness:
        """Return how ready the database is now."""

    def close(self) -> None:
        """Close the connection that is kept."""


#: What ``packages`` arguments take.
Packages = str | Iterable[str] | None


class Given(TypedDict, total=False):
    """What a method works on, in place of the service's own connection: one of the two, or none."""

    connection: Connection | None
    engine: Engine | None


class RunKeywords(Given, total=False):
    """What each run may be asked for, as :meth:`IMigrationService.upgrade` says it."""

    tag: str | None
    atomic: bool
    dry_run: bool
    stop: Callable[[], bool] | None
    lock_wait: float | None
    lock_timeout_ms: int | None
    lock_budget: float | None
    statement_timeout_ms: int | None


class IMigrationPackage(Interface):
    """A package that registered itself for migrations."""

    name = Attribute("Dotted name, ``str``.")
    metadata = Attribute("The models' ``MetaData``, a tuple; empty where only scripts were given.")
    script_directory = Attribute("Absolute ``Path`` of the script directory; it may not exist yet.")
    version_locations = Attribute(
        "Absolute ``Path`` of each folder with revision scripts, a tuple."
    )
    depends_on = Attribute("Requirements of the whole package, a tuple of ``str``.")
    history_table = Attribute("Name of the package's history table, ``str``, without its schema.")
    place = Attribute("Where it was registered, file and line, for messages.")


class IMigrationService(Interface):
    """The migrations of all registered packages, as one graph.

    Registered as a utility on the application's registry by ``config.include("websauna_migrate")``.
    No method prints or exits. Every known failure is a
    :class:`websauna_migrate.errors.MigrationError`.
    """

    packages = Attribute("The registered packages, a tuple of IMigrationPackage ordered by name.")
    application = Attribute("Dotted name of the application's own package, or ``None``.")
    url = Attribute("The database's ``sqlalchemy.engine.URL``; its ``repr`` hides the password.")
    is_protected = Attribute(
        "True if commands that take something back need ``--yes-on-production``, ``bool``."
    )

    def upgrade(
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        tag: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
        lock_wait: float | None = None,
        lock_timeout_ms: int | None = None,
        lock_budget: float | None = None,
        statement_timeout_ms: int | None = None,
        fail_on_lint: bool = False,
        ignore_order: bool = False,
        plan: results.RecordedPlan | None = None,
        max_loss: int | None = None,
        connection: Connection | None = None,
        engine: Engine | None = None,
    ) -> results.Run:
        """Run the upgrade plan on a connection of its own and record the run in the ledger.

        Requirements in other packages are brought in, and no more than that. Safe to call inside a
        request: neither the request's session nor its transaction is touched, and where a lock of
        the calling thread's own connections is in the way an error says so at once.

        :param revision: the target, a ``str`` or a sequence of them
        :param packages: whose target it is; default all
        :param tag: handed to ``env.py`` scripts as Alembic's ``--tag``
        :param atomic: make the whole run one transaction, across packages (PostgreSQL, SQLite)
        :param dry_run: run it in a transaction that is rolled back (PostgreSQL, SQLite)
        :param stop: asked before each step; the run ends there if it returns true
        :param lock_wait: seconds to wait for another run, 0 to fail at once; default: the setting
        :param lock_timeout_ms: milliseconds that a statement first waits for a table's lock;
            default: the script's own limit, else the setting
        :param lock_budget: seconds for which a step is tried again while a lock is taken; default
            likewise
        :param statement_timeout_ms: limit of each statement on PostgreSQL, 0 for none; default
            likewise
        :param fail_on_lint: run nothing if :meth:`lint` finds an unsafe change in the plan, and
            raise :class:`websauna_migrate.errors.UnsafeChanges` (PostgreSQL)
        :param ignore_order: also run a step that conflicts with a pending revision which was
            written before it and is not part of the plan
        :param plan: what :meth:`record_plan` returned, in place of ``revision``, ``packages`` and
            ``ignore_order``; if anything else would run,
            :class:`websauna_migrate.errors.PlanOutdated` names the causes and nothing is
        :param max_loss: run nothing if more rows and values than this would be lost besides what
            scripts accept, or if they cannot be counted, and raise
            :class:`websauna_migrate.errors.LossRefused`
        :returns: a :class:`websauna_migrate.results.Run`; its ``steps`` are empty if there was
            nothing to do
        :raises websauna_migrate.errors.MigrationError: when the graph, the history or a step is at
            fault; earlier steps of the run stay applied, the failing one is rolled back where the
            database can
        """

    def downgrade(
        revision: Targets,
        *,
        packages: Packages = None,
        cascade: bool = False,
        **asked: Unpack[RunKeywords],
    ) -> results.Run:
        """Run the downgrade plan; parameters and errors as in :meth:`upgrade`.

        :param cascade: take applied revisions of other packages that require what goes down
            first; without it they are the reason for a refusal that names them
        :returns: a :class:`websauna_migrate.results.Run`
        """

    def undo(
        run: str = "last", *, cascade: bool = False, **asked: Unpack[RunKeywords]
    ) -> results.Run:
        """Take back the revisions that one run applied, and no others, as a downgrade does.

        What is not applied any more is left out. The other parameters are those of
        :meth:`downgrade`.

        :param run: the run's identifier in the ledger, the beginning of it, or ``"last"`` for the
            newest that applied a revision
        :param cascade: first take back what was applied since and stands on them
        :returns: a :class:`websauna_migrate.results.Run`
        :raises websauna_migrate.errors.UsageError: if there is no such run, it applied nothing, or
            revisions that no script defines any more
        :raises websauna_migrate.errors.DowngradeRefused: if other applied revisions stand
            on them
        """

    def plan_undo(run: str = "last", *, cascade: bool = False, **given: Unpack[Given]) -> Plan:
        """Return the plan that :meth:`undo` would follow; run nothing."""

    def repair(
        action: str | None = None,
        step: str | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        **given: Unpack[Given],
    ) -> tuple[results.InterruptedStep, ...]:
        """Settle steps that an earlier run left half done, or look at them.

        :param action: ``"rerun"`` runs the step again, and it counts as half done until that has
            succeeded; ``"done"`` records it as applied and ``"undone"`` as not applied; ``None``
            changes nothing, and finds the step that a run is at work on too: see its ``running``
        :param step: ``package@revision``; it may be left out where there is only one
        :param stop: as in :meth:`upgrade`, for the steps that are run again
        :returns: what was found, with what is known of each
        """

    def plan(
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        cascade: bool = False,
        ignore_order: bool = False,
        **given: Unpack[Given],
    ) -> Plan:
        """Return the :class:`.Plan` that a run would follow; run nothing.

        :param direction: ``"upgrade"`` or ``"downgrade"``
        :param ignore_order: as in :meth:`upgrade`
        """

    def losses(plan: Plan, **given: Unpack[Given]) -> tuple[results.Loss, ...]:
        """Count what a plan would lose, and the rows that are in its way; nothing waits.

        :param plan: what :meth:`plan` returned
        :returns: a tuple of :class:`websauna_migrate.results.Loss`; nothing lost is left out
        """

    def record_plan(
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        ignore_order: bool = False,
        **given: Unpack[Given],
    ) -> results.RecordedPlan:
        """Return the plan of an upgrade with checksums of its scripts and their SQL; run nothing.

        Each script is executed twice as for :meth:`sql`; what it does besides its SQL happens.

        :param ignore_order: as in :meth:`upgrade`
        :returns: a :class:`websauna_migrate.results.RecordedPlan`, which :meth:`upgrade` takes
        """

    def lint(
        revision: Targets = "heads", *, packages: Packages = None, plan: Plan | None = None
    ) -> results.LintReport:
        """Return the unsafe changes that an upgrade would make on PostgreSQL; run nothing there.

        Each pending script is executed as for ``sql``, without a connection, and its SQL is read
        by squawk. What a script reads from the database makes it impossible to check the rest of
        it: that is part of the report.

        :param plan: the plan of an upgrade, where the caller has it already
        :returns: a :class:`websauna_migrate.results.LintReport`
        :raises LintNotPossible: if the database is no PostgreSQL, or squawk is not installed or
            fails
        """

    def sql(
        revision: Targets = "heads",
        *,
        packages: Packages = None,
        direction: str = "upgrade",
        tag: str | None = None,
        plan: Plan | None = None,
        **given: Unpack[Given],
    ) -> str:
        """Return the SQL script of a run as ``str``; without ``plan`` no database is contacted.

        The comments at its top, up to the first empty line, say what it begins at.

        :param revision: the target; ``start:end`` begins at ``start`` instead of an empty
            database. A downgrade needs ``start:end``.
        :param direction: ``"upgrade"``, ``"downgrade"``, ``"stamp"``, or ``"ensure_version"``,
            which creates the history tables and has no target
        :param plan: what :meth:`plan` returned, in place of the other parameters: its steps alone,
            from the histories as they are, each statement below the line of its script
        :raises websauna_migrate.errors.ScriptError: if a script reads from
            the database
        """

    def step_sql(step: Step) -> results.StepSql:
        """Return the SQL of a step of a plan, each statement with its script's line.

        The script is run in Alembic's offline mode; no database is contacted. What it reads from
        the database is only known when it runs: the result says from which line on.

        :param step: one of those that :meth:`plan` returned
        """

    def stamp(
        revisions: Targets = "heads",
        *,
        packages: Packages = None,
        purge: bool = False,
        with_requirements: bool = False,
        verified: bool = False,
        tag: str | None = None,
        **given: Unpack[Given],
    ) -> tuple[results.StampedPackage, ...]:
        """Write the history tables as if the revisions were applied; run no script.

        :param purge: erase the packages' history first, whatever stands in it
        :param with_requirements: stamp what the revisions require of other packages too
        :param verified: stamp only where :meth:`locate` proves that the packages stand there, all
            in one transaction; the ledger gets the proof. Without revisions, an empty tuple, each
            package gets the one that was found
        :raises NotLocated: with ``verified``, if that is not proven
        :returns: a tuple of :class:`websauna_migrate.results.StampedPackage`, only the changed ones
        """

    def locate(*, packages: Packages = None, **given: Unpack[Given]) -> results.Location:
        """Find where the database stands, whatever its history tables say; nothing is written.

        The scripts are replayed in a scratch database, and the facts behind each of them are
        compared with the database's. What was replayed once is kept in the user's cache folder.

        :returns: a :class:`websauna_migrate.results.Location`
        :raises ScratchRefused: if the user may not make a scratch database; the message has the
            grant
        """

    def drift(
        *, packages: Packages = None, accept: bool = False, **given: Unpack[Given]
    ) -> results.DriftReport:
        """Find what is not as the applied scripts make it, and since when; what only models have.

        The scripts are replayed as for :meth:`locate`. When something was changed is told by the
        facts that the ledger keeps behind each run.

        :param accept: from now on, take what differs now as accepted; nothing but the ledger is
            written
        :returns: a :class:`websauna_migrate.results.DriftReport`, of what there was before
        :raises ScratchRefused: if the user may not make a scratch database
        """

    def record_who(
        *, stop: bool = False, connection: Connection | None = None, engine: Engine | None = None
    ) -> None:
        """Let PostgreSQL record who changes the schema by hand, for :meth:`drift`.

        An event trigger is installed, which needs a superuser.

        :param stop: remove it, and what it recorded
        :raises websauna_migrate.errors.MigrationError: on other databases, or if the role may not
        """

    def without_scripts(*, packages: Packages = None) -> tuple[str, ...]:
        """Return the packages that have tables in their models and no script, sorted."""

    def adopt(
        *,
        packages: Packages = None,
        table: str | None = None,
        keep: bool = False,
        replace_env: bool = False,
        dry_run: bool = False,
        undo: bool = False,
        **given: Unpack[Given],
    ) -> results.Adoption:
        """Take an existing project over: version table, scripts, ``env.py``, settings.

        Histories are written in one transaction, with rows in the ledger. A package whose tables
        are there without any history is at its newest revision if they equal the models; if it has
        no script, its first one is written against an empty scratch database. Tables that another
        package owns by now are handed over by scripts.

        :param table: the version table, where several have revisions of a package
        :param keep: leave the version table its name, and share it with plain Alembic
        :param replace_env: replace ``env.py`` by the template, where that loses nothing
        :param dry_run: change nothing, and return what would be done
        :param undo: take back what was adopted: the histories by the ledger, and files by the
            record beside the scripts
        :returns: a :class:`websauna_migrate.results.Adoption`
        :raises UsageError: if it is not clear what is meant
        """

    def init(*, packages: Packages = None) -> tuple[str, ...]:
        """Make the script directories that the first revision of each package makes by itself.

        :param packages: whose; default all
        :returns: the paths of the files that were not there
        :raises ScriptDirectoryError: if one cannot be written to
        """

    def revision(
        message: str | None = None,
        *,
        packages: Packages = None,
        autogenerate: bool = False,
        head: str = "head",
        splice: bool = False,
        branch_label: str | None = None,
        version_path: str | None = None,
        rev_id: str | None = None,
        depends_on: str | Sequence[str] | None = None,
        requires: Sequence[str] = (),
        rename_tables: Sequence[str] = (),
        rename_columns: Sequence[str] = (),
        ask: Callable[[Question], bool | None] | None = None,
        allow_drops: bool = False,
        full: bool = False,
        prove: str | None = None,
        keep: bool = False,
        **given: Unpack[Given],
    ) -> tuple[results.CreatedScript, ...]:
        """Write a new revision script for each package.

        With ``autogenerate`` only packages with changes get one. A package without a script
        directory gets it from the template. Arguments are Alembic's.

        :param requires: requirements on other packages, ``package@revision`` each, besides those
            that autogenerate infers
        :param rename_tables: ``old:new`` or ``schema.old:new`` each, for autogenerate
        :param rename_columns: ``table.old:new`` or ``schema.table.old:new`` each
        :param ask: asks the author of the models whether a drop beside an addition is a rename, and
            whether half of a package's tables or more are to go; gets an object with a
            ``question``, a ``warning`` and the ``option`` that answers beforehand. Without it, and
            where it returns ``None``, the script and its ``warnings`` say what may be lost by a
            rename, and so many drops are refused.
        :param allow_drops: let a script drop half of a package's tables or more, or all of them
        :param full: has no meaning any more; every comparison looks at all tables
        :param prove: how new scripts of ``autogenerate`` are proven, by an upgrade, a downgrade and
            an upgrade before they are kept: ``on``, in a transaction on the database that is rolled
            back where it can be; ``scratch``, in a scratch database; ``off``; default: the setting
        :param keep: keep scripts that do not stand it, marked by ``proven = False`` and a comment,
            with a warning
        :returns: a tuple of :class:`websauna_migrate.results.CreatedScript`; empty if nothing
            changed
        :raises websauna_migrate.errors.MigrationError: when a package is not up to date, its
            script directory is not the user's to edit, or a script cannot be rendered; no file is
            left behind
        """

    def move_table(
        table: str | Sequence[str], source: str, target: str
    ) -> tuple[results.CreatedScript, results.CreatedScript]:
        """Write the two revisions that hand a table, or several, over to another package.

        They do nothing in the database: the table stays where it is with its rows, and belongs to
        ``target`` from then on. ``target``'s revision requires ``source``'s.

        :param table: ``schema.name``, or the name alone; of several, at least one
        :param source: the package whose scripts created the table
        :param target: the package that gets it
        :returns: the script of ``source`` and that of ``target``
        :raises websauna_migrate.errors.MigrationError: if the table is not ``source``'s to give, a
            package has several heads or is not the user's to edit, or their requirements would
            form a circle; no file is left behind
        """

    def merge(
        revisions: Targets,
        *,
        packages: Packages,
        message: str | None = None,
        branch_label: str | None = None,
        rev_id: str | None = None,
        splice: bool = False,
    ) -> tuple[results.CreatedScript, ...]:
        """Write a script that merges the given heads of one package.

        :returns: a tuple of one :class:`websauna_migrate.results.CreatedScript`
        """

    def status(
        *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.PackageState, ...]:
        """Return what is applied: a tuple of :class:`websauna_migrate.results.PackageState`.

        Without ``packages`` it includes packages that are no longer installed but left a history
        table. Nothing is created in the database.
        """

    def current(
        *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.PackageState, ...]:
        """Return what :meth:`status` returns, under its former name."""

    def heads(*, packages: Packages = None) -> tuple[Revision, ...]:
        """Return the newest revisions of each package: a tuple of Revision. No database access."""

    def history(
        rev_range: str | None = None, *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.HistoryEntry, ...]:
        """Return the revisions, newest first, as one timeline that follows the requirements.

        :param rev_range: ``start:end``, Alembic's ``-r``; both ends are included; ``current``
            means the applied revisions. Only ``current`` needs the database.
        :returns: a tuple of :class:`websauna_migrate.results.HistoryEntry`
        """

    def entries(revisions: Iterable[Revision]) -> tuple[results.HistoryEntry, ...]:
        """Return what listings say of some revisions, newest first. No database access."""

    def one_look(given: Connection | Engine | None = None) -> AbstractContextManager[None]:
        """Read the scripts once for all that this thread asks within a ``with`` block.

        :param given: what the calls within it are given as ``connection`` or ``engine``
        """

    def show(revision: str, *, packages: Packages = None) -> tuple[results.HistoryEntry, ...]:
        """Return the revisions named by a symbol: a tuple of HistoryEntry."""

    def readiness(**given: Unpack[Given]) -> results.Readiness:
        """Return whether the application may serve: what its database is to its scripts.

        Takes no lock, and asks three queries whatever the number of packages, two more while a run
        is in progress or has been cut off.

        :returns: a :class:`websauna_migrate.results.Readiness`
        """

    def watch_readiness() -> ReadinessLooks:
        """Return what tells readiness again and again, for little, to one thread at a time.

        It keeps a connection to the server, and what it read of the scripts until one of their
        folders changes.

        :returns: a :class:`ReadinessLooks`
        """

    def log(
        wanted: results.LogFilter | None = None, **given: Unpack[Given]
    ) -> tuple[results.LedgerRun, ...]:
        """Return the runs that the ledger has, newest first, each with its steps.

        :param wanted: which of them, a :class:`websauna_migrate.results.LogFilter`; default: all
        """

    def find_run(name: str, **given: Unpack[Given]) -> results.LedgerRun:
        """Return one run of the ledger with all of its steps.

        :param name: its identifier, the beginning of it, or ``"last"``
        :raises websauna_migrate.errors.UsageError: if there is none, or several begin so
        """

    def graph(
        *,
        packages: Packages = None,
        around: str | None = None,
        distance: int = 4,
        table: str | None = None,
        fold: bool = True,
    ) -> results.GraphView:
        """Return the graph of revisions as a picture shows it; nothing is changed.

        :param around: ``package@revision``: only what is near to it
        :param distance: how many edges away from it, at most
        :param table: ``schema.name`` or name: tell the scripts apart that touch it
        :param fold: make one node of a chain of revisions that has no other edges
        :returns: a :class:`websauna_migrate.results.GraphView`
        """

    def check(
        *,
        packages: Packages = None,
        full: bool = False,
        fresh: bool = False,
        **given: Unpack[Given],
    ) -> results.CheckReport:
        """Compare scripts, histories, models and database.

        :param full: has no meaning any more; every comparison looks at all tables
        :param fresh: instead, run all scripts on an empty scratch database and compare that with
            the models; the database itself may be in any state
        :returns: a :class:`websauna_migrate.results.CheckReport`; its ``ok`` says whether all is
            well
        """

    def verify(
        *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.Verification, ...]:
        """Run the ``verify(check)`` of applied revisions again; nothing is written.

        :returns: a tuple of :class:`websauna_migrate.results.Verification`, in the order of the
            graph, for each applied revision whose script has one
        """

    def ensure_version(*, packages: Packages = None, **given: Unpack[Given]) -> None:
        """Create the packages' history tables where they are missing."""

    def uninstall(
        package: str,
        *,
        cascade: bool = False,
        forget: bool = False,
        stop: Callable[[], bool] | None = None,
        **given: Unpack[Given],
    ) -> results.Run:
        """Downgrade a package to base, then drop its history table.

        :param cascade: as in :meth:`downgrade`; also allows the loss of a table that the package
            gave to another one by :meth:`move_table`
        :param forget: of a package that is not registered any more, drop the history table alone;
            its other tables stay as they are, without an owner
        :param stop: as in :meth:`upgrade`
        :returns: a :class:`websauna_migrate.results.Run`
        :raises websauna_migrate.errors.MigrationError: for a package that left a history
            table but no scripts; install it again, or ``forget`` it
        """

    def redo(
        message: str | None = None,
        *,
        packages: Packages = None,
        rename_tables: Sequence[str] = (),
        rename_columns: Sequence[str] = (),
        allow_drops: bool = False,
        **given: Unpack[Given],
    ) -> results.Redone:
        """Take the newest revision of one package back, write it anew from the models, apply it.

        It keeps its identifier, and its renames where the models still ask for them. Where that
        fails the script is as it was, and applied if it was.

        :param message: default: the former script's
        :param rename_tables: further renames, and ``rename_columns``: as for :meth:`revision`
        :param allow_drops: as for :meth:`revision`
        :returns: a :class:`websauna_migrate.results.Redone`
        :raises websauna_migrate.errors.RevisionFailed: if others may have
            applied it, by git's remote branches, tags and main branch; for a merge; for several
            heads
        :raises websauna_migrate.errors.LossRefused: if rows or values would be lost
        """

    def rebase(
        revision: str | None = None,
        *,
        packages: Packages = None,
        onto: str | None = None,
        downgrade: bool = False,
        **given: Unpack[Given],
    ) -> results.Rebased:
        """Put the revisions that lead to one head of a package alone behind another head.

        Their ``down_revision``, ``written_against`` and docstring are rewritten.

        :param revision: one of them; default: those that git's main branch does not have
        :param onto: the other head; needed where there are more than two
        :param downgrade: take back those first that are applied; else they are refused
        :returns: a :class:`websauna_migrate.results.Rebased`
        :raises websauna_migrate.errors.MigrationError: if others have one of them
        :raises websauna_migrate.errors.LossRefused: if rows or values would be lost
        """

    def squash(
        rev_range: str | None = None,
        *,
        packages: Packages = None,
        message: str | None = None,
        rev_id: str | None = None,
    ) -> results.Squashed:
        """Write one script in place of those of a range, from the facts that these make.

        It is proven in scratch databases before it is kept. The old scripts stay where they are; a
        database that has all of them takes the new one as applied at its next upgrade.

        :param rev_range: ``start:end``, both included; default all
        :param message: default the first one's and the last one's
        :returns: a :class:`websauna_migrate.results.Squashed`
        :raises websauna_migrate.errors.UsageError: if several packages are meant
        :raises websauna_migrate.errors.MigrationError: naming what speaks against it
        """

    def switch(
        revision: str | None = None,
        *,
        packages: Packages = None,
        from_ledger: bool = False,
        cascade: bool = False,
        **asked: Unpack[RunKeywords],
    ) -> results.Switched:
        """Take down revisions that are applied and that no script of this checkout defines.

        Their scripts are those of git that have the checksum of what was applied, else those that
        the ledger keeps. The latter are run only if the migrating role alone may write them. The
        parameters that are not told here are those of :meth:`downgrade`.

        :param revision: go on down to this one
        :param from_ledger: take the ledger's texts alone
        :param dry_run: run nothing, and return which scripts there are and what would be lost
        :returns: a :class:`websauna_migrate.results.Switched`
        :raises websauna_migrate.errors.MigrationError: if a script is not to be had or not trusted
        """

    def races(
        *, packages: Packages = None, **given: Unpack[Given]
    ) -> tuple[results.CheckProblem, ...]:
        """Return the scripts of different packages that conflict without a requirement.

        Steps that cannot run on this database, since another package has moved on, and operations
        that could not be read, are told as well; :meth:`check` has all of them.
        """

    def owner_of(table: Table) -> str:
        """Return the dotted name of the package that owns a ``sqlalchemy.Table`` of the models."""


class IMigrationRunStarted(Interface):
    """A run is about to begin: it holds the lock, and no step has run yet.

    A dry run has no events. What a subscriber raises ends the run before its first step.
    """

    run_id = Attribute("Identifier of the run in the ledger, ``str``.")
    plan = Attribute("The plan, :class:`websauna_migrate.planning.plan.Plan`.")
    direction = Attribute('``"upgrade"`` or ``"downgrade"``.')
    packages = Attribute("Dotted names of the packages that the plan touches, a sorted tuple.")
    look = Attribute(
        "A function that returns what the run does now, a "
        ":class:`websauna_migrate.results.Activity`; may be called from any thread until the run "
        "has ended. Where the database has servers it asks by a second connection."
    )


class IMigrationStep(Interface):
    """What the events of a step have in common."""

    run_id = Attribute("Identifier of the run in the ledger, ``str``.")
    package = Attribute("Dotted name of the step's package.")
    revision = Attribute("Identifier of its revision, ``str``.")
    direction = Attribute('``"upgrade"`` or ``"downgrade"``.')
    number = Attribute("Its place in the run, from 1.")
    total = Attribute("How many steps the run has.")


class IMigrationStepStarted(IMigrationStep):
    """A step of a run is about to begin.

    Told once for a step, however often it is tried again while a lock is taken; in an atomic run
    that is tried again, once for each try of the run. What a subscriber raises ends the run before
    the step.
    """

    step = Attribute("The step as planned, :class:`websauna_migrate.planning.steps.Step`.")
    started = Attribute("When, an aware ``datetime`` in UTC.")
    expected = Attribute(
        "How many seconds it took the last time on this database, as its ledger says; or ``None``."
    )


class IMigrationStepApplied(IMigrationStep):
    """A step of a run was committed; a subscriber is told before the next one begins.

    The steps of an atomic run are committed together, and told of behind that. What a subscriber
    raises ends the run; the step stays applied.
    """

    step = Attribute("The step, :class:`websauna_migrate.results.AppliedStep`.")


class IMigrationStepFailed(IMigrationStep):
    """A step of a run failed, or was stopped while it ran.

    Told when the transaction is rolled back and the ledger has its outcome. What a subscriber
    raises is logged, so that the failure itself reaches the caller.
    """

    step = Attribute("The step as planned, :class:`websauna_migrate.planning.steps.Step`.")
    started = Attribute("When it began, an aware ``datetime`` in UTC.")
    error = Attribute("The exception, mostly a :class:`websauna_migrate.errors.MigrationError`.")


class IMigrationRunEnded(Interface):
    """A run is over, well or not. Told for each run whose start was told.

    What a subscriber raises is logged if the run failed, so that the failure itself reaches the
    caller; else it is raised, and what was applied stays.
    """

    run = Attribute("The :class:`websauna_migrate.results.Run`.")
    error = Attribute("The exception that ended it, or ``None``.")
    direction = Attribute('``"upgrade"`` or ``"downgrade"``.')
    packages = Attribute("Dotted names of the packages that its plan touched, a sorted tuple.")
