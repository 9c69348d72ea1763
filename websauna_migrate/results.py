"""What the service's methods return: plain, immutable data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from websauna_migrate.base_errors import UsageError
from websauna_migrate.plain_text import counted, plural
from websauna_migrate.planning.revisions import Revision as Revision
from websauna_migrate.planning.steps import Plan as Plan
from websauna_migrate.planning.steps import Step

# Where packages stand


@dataclass(frozen=True, slots=True)
class PackageState:
    """Where one package stands.

    :ivar installed: false for a package that is not registered, and known from its history table
        alone
    :ivar rows: the history table's rows, sorted; empty if there is no table
    :ivar applied: the revisions of ``rows``, those that scripts define
    :ivar unknown: the rows that no script defines
    :ivar implied: applied revisions that Alembic's ``current`` prints beside the rows
    :ivar heads: the newest revisions that the scripts define
    :ivar pending: how many of the package's revisions are not applied; ``None`` where a row that no
        script defines may stand for some of them
    :ivar adopts: squashes that the next upgrade takes as applied: the rows have what they replace
    :ivar elsewhere: other version tables that have its revisions, while its own has none
    :ivar half_done: its revisions with a step that ended half done
    :ivar running: its revision with the step that a run is at work on now
    :ivar importable: of a package that is not registered: true if it is installed all the same,
        and the application does not include it
    """

    package: str
    installed: bool
    history_table: str
    rows: tuple[str, ...] = ()
    applied: tuple[Revision, ...] = ()
    unknown: tuple[str, ...] = ()
    implied: tuple[Revision, ...] = ()
    heads: tuple[Revision, ...] = ()
    pending: int | None = 0
    adopts: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    half_done: tuple[str, ...] = ()
    running: str | None = None
    importable: bool = False


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A revision in a picture of the graph, or a chain of them that is drawn as one.

    :ivar revisions: the identifiers, oldest first
    :ivar message: the revision's; of a chain those of its ends
    :ivar state: ``applied``, ``pending``, ``running``, ``half done``, or ``unknown``: of a row that
        no script defines, and of what it may stand for
    :ivar is_head: true if no revision of the package comes after it
    :ivar touches: true if its script touches the table that was asked for
    """

    package: str
    revisions: tuple[str, ...]
    message: str
    state: str
    is_head: bool = False
    is_merge: bool = False
    touches: bool = False


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge between two nodes of a picture.

    :ivar earlier: index of the node that comes first; of a race the one that the plan has first
    :ivar later: index of the node that comes after it
    :ivar kind: ``down_revision``, ``depends_on``, ``requires``, ``run_before``, ``package``,
        ``authors`` for the authors' order, or ``race``, which puts neither first
    """

    earlier: int
    later: int
    kind: str


@dataclass(frozen=True, slots=True)
class GraphView:
    """What a picture of the graph shows.

    :ivar packages: dotted names, sorted
    :ivar nodes: in the order of the plan
    :ivar table: the table that was asked for
    :ivar hidden_orders: how many of the authors' orders are about revisions inside of folded chains
    """

    packages: tuple[str, ...]
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    table: str | None = None
    hidden_orders: int = 0


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A revision with what Alembic's listings say of it.

    :ivar labels: branch labels, inherited ones included
    :ivar children: the package's revisions that name it as their parent
    :ivar is_head: no revision of the package has it as its parent
    :ivar is_effective_head: and none depends on it (Alembic's "real" head)
    :ivar requires: resolved requirements on other packages, ``package@id`` each, those that other
        packages' ``run_before`` put on it included
    """

    revision: Revision
    labels: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    is_head: bool = False
    is_effective_head: bool = False
    is_branch_point: bool = False
    is_merge_point: bool = False
    requires: tuple[str, ...] = ()


# Runs, and plans that are kept


@dataclass(frozen=True, slots=True)
class AppliedStep:
    """A step that was committed.

    :ivar direction: ``"upgrade"`` or ``"downgrade"``
    :ivar started: aware, UTC
    :ivar seconds: how long it took, its commit included
    :ivar reason: why it was in the plan, as a sentence fragment
    """

    package: str
    revision: str
    message: str
    direction: str
    started: datetime
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a plan.

    :ivar id: the run's identifier in the ledger
    :ivar steps: what was committed, in order; empty if there was nothing to do
    :ivar dry_run: whether it was all rolled back at the end: the steps are what would be committed
    :ivar adopted: packages of which squashes were taken as applied
    """

    id: str
    direction: str
    steps: tuple[AppliedStep, ...] = ()
    dry_run: bool = False
    adopted: tuple[StampedPackage, ...] = ()


@dataclass(frozen=True, slots=True)
class StampedPackage:
    """A history table that a stamp changed: its rows before and after."""

    package: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoredScript:
    """A script of an applied revision that this checkout has not.

    :ivar source: ``git`` and the branch or commit that has it, or ``ledger``
    :ivar checksum: SHA-256 of its text, hexadecimal
    """

    package: str
    revision: str
    source: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Switched:
    """Revisions taken down that this checkout has not, or that would be.

    :ivar scripts: by which
    :ivar losses: the rows and values that are lost
    :ivar run: ``None`` if nothing was run
    """

    scripts: tuple[RestoredScript, ...] = ()
    losses: tuple[Loss, ...] = ()
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step of a plan that is kept.

    :ivar rows_before: of the package's history table, sorted
    :ivar rows_after: likewise
    :ivar path: the script's, where the plan was made; another machine may have it elsewhere
    :ivar script: SHA-256 of the script's file, hexadecimal
    :ivar sql: SHA-256 of its SQL; ``None`` where that is only known when it runs
    """

    package: str
    revision: str
    rows_before: tuple[str, ...]
    rows_after: tuple[str, ...]
    path: str
    script: str
    sql: str | None


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """The plan of an upgrade, kept so that it, and nothing else, is run later.

    :ivar database: the database that it is for: product, server, port and name
    :ivar targets: as they were asked for
    :ivar packages: that the targets are meant for
    :ivar ignore_order: as in :meth:`.IMigrationService.upgrade`
    :ivar versions: of the programs that made it, by name
    """

    database: str
    targets: tuple[str, ...]
    packages: tuple[str, ...]
    ignore_order: bool
    versions: Mapping[str, str]
    steps: tuple[RecordedStep, ...]

    def as_data(self) -> dict[str, object]:
        """Return the plan as what JSON knows, with a SHA-256 over all of it as ``hash``."""
        data = {"format": 1, **asdict(self)}
        body = json.dumps(data, sort_keys=True)
        return {**data, "hash": hashlib.sha256(body.encode()).hexdigest()}

    @classmethod
    def of_json(cls, text: str) -> RecordedPlan:
        """Return the plan that JSON has.

        :raises UsageError: if it has none, or was changed since it was written
        """
        try:
            data: Any = json.loads(text)
            steps = []
            for one in data["steps"]:
                values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}
                steps.append(RecordedStep(**values))
            found = cls(
                data["database"],
                tuple(data["targets"]),
                tuple(data["packages"]),
                data["ignore_order"],
                data["versions"],
                tuple(steps),
            )
            is_whole = data["format"] == 1 and found.as_data()["hash"] == data["hash"]
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise UsageError(
                "The file holds no plan: write one with ws-alembic plan --out FILE"
            ) from exc
        if not is_whole:
            raise UsageError(
                "The plan was changed since it was written, or is of another version: its hash "
                "does not fit. Write it anew with ws-alembic plan --out FILE"
            )
        return found


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """A statement of a step.

    :ivar line: of the script that gives it, from 1; ``None`` for what the service adds
    """

    sql: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class StepSql:
    """The SQL of a step of a plan, as far as it is known without running it.

    :ivar problem: why the rest is only known when it runs, ``None`` if all of it is here
    :ivar line: the script's line from which on it is not known
    """

    step: Step
    statements: tuple[SqlStatement, ...]
    problem: str | None = None
    line: int | None = None


# What checks, verify and lint found


@dataclass(frozen=True, slots=True)
class Verification:
    """What the ``verify()`` of an applied revision says.

    :ivar message: the revision's
    :ivar path: of the revision script
    :ivar outcome: ``holds``, ``fails``, or ``outdated`` where the database refuses its query since
        a later revision takes away what it asks for
    :ivar line: where it failed, counted from 1
    :ivar problem: why, a clause; empty if it holds
    """

    package: str
    revision: str
    message: str
    path: str
    outcome: str
    line: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CheckProblem:
    """Something that ``check`` found.

    :ivar kind: ``pending``, ``drift``, ``database-changed``, ``unknown-revision``, ``requirement``,
        ``unowned``, ``not-installed``, ``script-changed``, ``unsure``, ``race``, ``late``, ...
    :ivar fatal: false for what is only worth knowing
    :ivar details: a diff as Alembic gives it, with the server's words of both sides at its end, a
        table, ...: depends on ``kind``
    """

    kind: str
    package: str | None
    message: str
    fatal: bool = True
    details: Any = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of ``check``."""

    problems: tuple[CheckProblem, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(problem.fatal for problem in self.problems)


@dataclass(frozen=True, slots=True)
class LintFinding:
    """An unsafe change that a pending step would make.

    :ivar message: the revision's
    :ivar path: of the revision script
    :ivar line: where the script makes the change, counted from 1
    :ivar rule: squawk's name of the rule
    :ivar text: what is unsafe about it
    :ivar help: what to do instead, where squawk says so
    :ivar statement: the SQL
    """

    package: str
    revision: str
    message: str
    path: str
    line: int
    rule: str
    text: str
    help: str | None
    statement: str


@dataclass(frozen=True, slots=True)
class Loss:
    """What a step of a plan would lose, or rows that are in its way.

    :ivar path: of the revision script
    :ivar line: where the script does it, counted from 1; 0 if that is not known
    :ivar kind: ``drop_table``, ``drop_column``, or ``unreadable`` for what may do anything; in the
        way: ``not null``, ``unique``, ``enum value``, ``foreign_key``
    :ivar columns: of the table; empty for a whole table
    :ivar does: it in words
    :ivar count: how many rows or values; 100,001 for more than 100,000, ``None`` if unknown
    :ivar problem: why it is unknown
    :ivar accepted: what the script says of it by ``loses``; ``None`` if it says nothing
    """

    package: str
    revision: str
    path: str
    line: int
    kind: str
    table: str
    columns: tuple[str, ...]
    does: str
    count: int | None
    problem: str = ""
    accepted: str | None = None

    @property
    def is_loss(self) -> bool:
        """False for rows that are in the way: the step would fail, and lose nothing."""
        return self.kind in ("drop_table", "drop_column", "unreadable")

    def __str__(self) -> str:
        """Return it as a line."""
        what = {
            "drop_column": "value",
            "not null": "NULL",
            "unique": "duplicate",
            "enum value": "removed value",
            "foreign_key": "orphan",
        }.get(self.kind, "row")
        number = self.problem
        if self.count is not None:
            many = "more than 100,000" if self.count > 100_000 else f"{self.count:,}"
            number = f"{many} {plural(self.count, what)}"
        does = "may do anything" if self.kind == "unreadable" else self.does
        accepted = "" if self.accepted is None else f" (accepted: {self.accepted})"
        place = f"{self.path}, line {self.line}" if self.line else self.path
        return f"{self.package} {self.revision} ({place}) {does}: {number}{accepted}"


@dataclass(frozen=True, slots=True)
class UncheckedScript:
    """What the linter could not see of a pending step.

    :ivar line: from where on, or the line that could not be read; ``None`` where that is not known
    :ivar reason: why, a clause
    """

    package: str
    revision: str
    path: str
    line: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class LintReport:
    """What the linter says of a plan.

    :ivar steps: how many steps the plan has
    :ivar findings: the unsafe changes, in the order in which they would be made
    :ivar accepted: those that a comment in the script accepts
    :ivar unchecked: what could not be checked
    :ivar warnings: comments and settings that have no effect, a sentence each
    """

    steps: int = 0
    findings: tuple[LintFinding, ...] = ()
    accepted: tuple[LintFinding, ...] = ()
    unchecked: tuple[UncheckedScript, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing unsafe was found."""
        return not self.findings


# Where databases differ from what scripts make


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A step that fails on an empty database, which has no rows and may lack an extension.

    :ivar problem: why, a sentence
    :ivar follows: the revisions that could not be replayed either, ``package@id`` each
    """

    package: str
    revision: str
    problem: str
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundDifference:
    """An object that is not as the scripts make it.

    :ivar package: whose it is
    :ivar kind: ``table``, ``column``, ``index``, ...
    :ivar object: it in words
    :ivar attribute: what differs; ``None`` if one side lacks the whole object
    :ivar text: the difference, a clause
    :ivar made: which revision made it, a clause
    :ivar note: true for what is only worth knowing: a name that the server chose, an order of
        columns
    """

    package: str
    kind: str
    object: str
    attribute: str | None
    text: str
    made: str
    note: bool = False

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.text} ({self.made})"


@dataclass(frozen=True, slots=True)
class Located:
    """Where the tables of a package stand.

    :ivar verdict: ``proven``; ``models`` where they equal the models, which is where the heads are;
        ``several`` where they equal those of several revisions, ``recorded`` where the history
        table has one of these; ``ahead`` where a revision is recorded that no script defines, and
        nothing tells what it did; ``nearest`` where they equal none;
        ``unknown`` where no revision could be replayed
    :ivar rows: what the history table has there: of ``several`` and ``nearest`` the newest, of an
        empty one none
    :ivar recorded: what the history table has now
    :ivar candidates: the rows of each revision that it may be, oldest first
    :ivar between: the revisions of which nothing tells whether they are applied, ``package@id``; of
        ``ahead`` and ``nearest`` those that no script defines
    :ivar asked: what was asked of the scripts' ``verify()``, a clause each
    :ivar differences: from :attr:`rows`; notes in any case
    :ivar proof: by what it is proven, for the ledger
    """

    package: str
    verdict: str
    rows: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    candidates: tuple[tuple[str, ...], ...] = ()
    between: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    differences: tuple[FoundDifference, ...] = ()
    proof: str = ""

    @property
    def is_proven(self) -> bool:
        """True if there is one answer."""
        return self.verdict in ("proven", "models", "recorded")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database stands.

    :ivar packages: the selected ones, by name
    :ivar not_replayed: the steps that could not be replayed
    :ivar unowned: the objects that no script made, in words
    :ivar scripts: how many scripts ran for it; 0 if what they make was known
    :ivar problems: what could not be asked, a sentence each
    """

    packages: tuple[Located, ...]
    not_replayed: tuple[NotReplayed, ...] = ()
    unowned: tuple[str, ...] = ()
    scripts: int = 0
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is one answer for each package."""
        return all(one.is_proven for one in self.packages)


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that is not as it should be.

    :ivar kind: ``database-changed`` for an object that is not as the applied scripts make it,
        ``models-changed`` for one of the models that no script makes, ``pending``, ``unowned``, or
        ``not-compared`` where nothing tells what the scripts make
    :ivar package: whose it is; ``None`` for what has no owner
    :ivar object: the object in words, or the revisions that are pending
    :ivar text: what is to be said, a sentence without its full stop
    :ivar made: which revision made the object, a clause
    :ivar when: after which run it was changed, a clause; empty if nothing tells
    :ivar accepted: true if a person accepted it as it is
    :ivar sql: the statements that bring the object of a ``database-changed`` back
    :ivar not_written: why there are none, a clause
    :ivar who: the role, program, time and statement that changed it, a clause; empty where no event
        trigger records it
    """

    kind: str
    package: str | None
    object: str
    text: str
    made: str = ""
    when: str = ""
    accepted: bool = False
    sql: tuple[str, ...] = ()
    not_written: str = ""
    who: str = ""

    def __str__(self) -> str:
        """Return it as a line."""
        clauses = (self.made, self.when, self.who)
        return self.text + "".join(f"; {clause}" for clause in clauses if clause)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How a database, its scripts and the models differ.

    :ivar found: object by object
    :ivar problems: what could not be compared, a sentence each
    :ivar sql: the statements that bring back what was changed by hand and not accepted, in the
        order in which they have to run, without semicolons; for SQLite with their transaction, to
        be run on one connection that is in none
    """

    found: tuple[Drift, ...] = ()
    problems: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if all was compared, and what was found is accepted, or has no owner."""
        return not self.problems and all(
            one.accepted or one.kind == "unowned" for one in self.found
        )


# Scripts that were written, taken over, rebased, squashed or made anew


@dataclass(frozen=True, slots=True)
class Proof:
    """New scripts were run up, down and up again, and what they make was compared.

    :ivar dialect: of the database, such as ``postgresql``
    :ivar scratch: it was done in a scratch database, not in a transaction on the application's own
    :ivar seconds: how long it took
    """

    dialect: str
    scratch: bool
    seconds: float

    def __str__(self) -> str:
        """Return the proof in a sentence."""
        where = (
            f" in a scratch database of {self.dialect}" if self.scratch else f" on {self.dialect}"
        )
        return f"Proved: upgrade, downgrade, upgrade{where} ({self.seconds:.2f} s)"


@dataclass(frozen=True, slots=True)
class CreatedScript:
    """A revision script that was written; ``path`` is absolute.

    :ivar warnings: what its author should look at, each with the remedy
    :ivar proof: that it works, together with the others of the command; ``None`` if it was not
        tried, or kept though it failed
    """

    package: str
    revision: str
    message: str
    path: str
    warnings: tuple[str, ...] = ()
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What of an existing project was taken over, or would be.

    :ivar actions: what is done, a line each that begins with the package or the file
    :ivar notes: what is worth knowing: what the template's ``env.py`` would lose, new files
    :ivar drift: how database and models differ, which was so before
    :ivar problems: what is left to a person
    :ivar done: false if nothing was changed, and what is told would be done
    :ivar undone: an adoption was taken back
    """

    actions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    done: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Redone:
    """The newest revision of a package, written anew and applied.

    :ivar script: the new script
    :ivar diff: how its text differs from the former one's, lines of a unified diff
    :ivar taken_back: the run that took the former one back; ``None`` if it was not applied
    :ivar applied: the run that applied the new one
    """

    package: str
    revision: str
    script: CreatedScript
    diff: tuple[str, ...]
    taken_back: Run | None
    applied: Run


@dataclass(frozen=True, slots=True)
class RebasedScript:
    """A revision script that was put behind another head: its parents before and after."""

    revision: str
    path: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebased:
    """Revisions of a package that were put behind another head.

    :ivar onto: that head; the only one, or ``None``, if there was nothing to do
    :ivar scripts: those that were rewritten, oldest first
    :ivar taken_back: the run that took back those that were applied; ``None`` if none was
    """

    package: str
    onto: str | None
    scripts: tuple[RebasedScript, ...] = ()
    taken_back: Run | None = None


@dataclass(frozen=True, slots=True)
class KeptStep:
    """A step that a squash has as it was, and why: ``line 12 changes rows of "users"``."""

    revision: str
    why: str


@dataclass(frozen=True, slots=True)
class SquashScript:
    """A script that stands for others.

    :ivar replaces: the identifiers of those, the last one last
    :ivar kept: steps that are in it as they were
    :ivar elided: steps whose changes of rows were left out, for they say ``elidable = True``
    :ivar proved: digest of the texts that were proven
    """

    revision: str
    path: str
    replaces: tuple[str, ...]
    kept: tuple[KeptStep, ...]
    elided: tuple[str, ...]
    proved: str


@dataclass(frozen=True, slots=True)
class Squashed:
    """A range of a package's scripts that became one script, or several.

    :ivar scripts: oldest first; several where other packages come between
    :ivar dialect: of the database on which it was proven
    :ivar seconds: how long all of it took
    """

    package: str
    scripts: tuple[SquashScript, ...]
    dialect: str
    seconds: float


# What the ledger says

#: The note of the step before which a run was stopped.
NOT_BEGUN = "not begun"


@dataclass(frozen=True, slots=True)
class LedgerStatement:
    """A statement that ended, of a step that is not one transaction.

    :ivar number: its place in the step, from 1, without those that only read the catalogue; several
        of one kind at one line are one here
    :ivar kind: what it does, to what, such as ``CREATE TABLE half``
    :ivar line: of the script, 0 if none of its lines gave it
    :ivar ended: UTC
    """

    number: int
    kind: str
    line: int
    ended: datetime


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One row of the ledger.

    :ivar id: 32 hexadecimal digits
    :ivar run: identifier of the run, 32 hexadecimal digits
    :ivar number: the step's place in its run, from 1
    :ivar direction: ``upgrade``, ``downgrade``, or ``stamp``, whose revision is the rows of the
        history table
    :ivar started: UTC
    :ivar ended: UTC, ``None`` while running; of a half done step, when it was settled
    :ivar outcome: ``planned``, ``running``, ``done``, ``failed``, ``stopped``, ``undone`` for a
        half done step that was settled with ``repair``, or ``unfinished`` for the first step of a
        run that was killed in it, and left nothing of it
    :ivar checksum: SHA-256 of the script as it was run, hexadecimal
    :ivar session: number of the server's session that held the run's lock, 0 where there is none
    :ivar note: who settled a half done step, and how; :data:`NOT_BEGUN` of the step before which a
        run was stopped; empty otherwise
    :ivar installed_by: who ran it: a person if one is known, the system's and the database's user;
        in the first row of each run
    :ivar error: why the step failed, in the database's words without values
    :ivar line: the script's line that failed
    :ivar statement: the number of the statement that failed, from 1
    :ivar kind: what that does, to what, such as ``CREATE TABLE half``
    :ivar statements: of a step that is not one transaction, those that ended, until the step has
    :ivar steps: how many steps the run was to have, in its first row; ``None`` in the others, and
        where an earlier release wrote it
    """

    id: str
    run: str
    package: str
    revision: str
    direction: str
    started: datetime
    outcome: str
    number: int = 0
    history_table: str = ""
    ended: datetime | None = None
    host: str = ""
    process: int = 0
    version: str = ""
    checksum: str = ""
    session: int = 0
    note: str = ""
    installed_by: str = ""
    error: str = ""
    line: int | None = None
    statement: int | None = None
    kind: str = ""
    statements: tuple[LedgerStatement, ...] = ()
    steps: int | None = None

    @property
    def settled_by(self) -> str:
        """The command that settled a half done step, such as ``repair --rerun``; else empty."""
        return self.note.partition(" by ")[0] if self.note.startswith("repair --") else ""

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` if it has no end, no beginning, or was settled afterwards."""
        if self.ended is None or self.settled_by or self.note == NOT_BEGUN:
            return None
        return (self.ended - self.started).total_seconds()

    @property
    def failed_at(self) -> str:
        """The line and the statement that failed, in brackets behind a space; empty if unknown."""
        place = [] if self.line is None else [f"line {self.line}"]
        if self.statement is not None:
            place.append(f"statement {self.statement}: {self.kind}")
        return f" ({', '.join(place)})" if place else ""

    def __str__(self) -> str:
        """Return the words that name the step and its run."""
        return (
            f'{self.direction} of revision "{self.revision}" of package "{self.package}", '
            f"started {self.started:%Y-%m-%d %H:%M:%S} UTC by process {self.process} on "
            f"{self.host}"
        )


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which runs of the ledger are meant; ``None`` is all.

    :ivar packages: those that have a step of one of these packages
    :ivar since: those with a step that started then or later; without a zone it is UTC
    :ivar until: those with a step that started before
    :ivar outcome: how they ended: ``done``, ``failed``, ``stopped``, ``half-done``, ``undone``,
        ``unfinished``
    :ivar host: where they ran
    :ivar person: a part of what :attr:`LedgerRun.installed_by` says, in any case
    :ivar run: the beginning of their identifiers
    :ivar limit: how many, the newest
    """

    packages: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    host: str | None = None
    person: str | None = None
    run: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerRun:
    """A run as the ledger has it.

    :ivar direction: ``upgrade``, ``downgrade`` or ``stamp``
    :ivar outcome: the worst of its steps': ``half-done``, ``running``, ``failed``, ``stopped``,
        ``unfinished``, ``undone`` or ``done``; ``unfinished`` also where it ended before the last
        of its steps, as when its process was killed or asked to stop between two
    :ivar started: aware, UTC
    :ivar ended: aware, UTC; ``None`` if a step has no end
    :ivar installed_by: who ran it, empty where an earlier release did
    :ivar steps: in the order in which they ran
    """

    id: str
    direction: str
    outcome: str
    started: datetime
    ended: datetime | None
    host: str
    process: int
    version: str
    installed_by: str
    steps: tuple[LedgerEntry, ...]

    @property
    def count(self) -> str:
        """How many steps it has in words, as ``1 of 2 steps`` where it did not get to all."""
        number, wanted = len(self.steps), self.steps[0].steps
        if self.outcome in ("unfinished", "stopped") and wanted is not None:
            done = sum(step.outcome == "done" for step in self.steps)
            return f"{done} of {counted(wanted, 'step')}"
        return counted(number, "step")

    @property
    def seconds(self) -> float | None:
        """How long it took; ``None`` if it has no end, or a step of it was settled afterwards."""
        if self.ended is None or any(step.settled_by for step in self.steps):
            return None
        return (self.ended - self.started).total_seconds()


@dataclass(frozen=True, slots=True)
class InterruptedStep:
    """A step that ended half done.

    :ivar entry: its newest row in the ledger, with the statements that ended in any of the attempts
        at it since it was last settled
    :ivar known: what can be said of it, a sentence
    :ivar action: how it was settled, ``rerun``, ``done`` or ``undone``; ``None`` after a look
    :ivar running: the run that is at work on it now, so that it did not end at all
    :ivar failure: why and where it failed; empty if its process was killed
    :ivar not_run: what its script does that no attempt came to, as far as it can be read
    :ivar objects: what the catalogue has of the tables that statements and script name
    :ivar script: what became of its script since; empty if it is as it was
    :ivar choices: what each action would do, a sentence by action
    """

    entry: LedgerEntry
    known: str
    action: str | None = None
    running: RunInProgress | None = None
    failure: str = ""
    not_run: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    script: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The step as ``package@revision``."""
        return f"{self.entry.package}@{self.entry.revision}"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a run's session does now; each is empty where it cannot be told.

    :ivar statement: such as ``CREATE INDEX ix_title``
    :ivar waits_for: who holds the lock that it waits for, in words
    :ivar done: how far it is, such as ``building index: scanning table, 42 %``
    """

    statement: str = ""
    waits_for: str = ""
    done: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        waits = f"waits for {self.waits_for}" if self.waits_for else ""
        return ", ".join(filter(None, (self.statement, self.done, waits)))


@dataclass(frozen=True, slots=True)
class RunInProgress:
    """The run that holds the database's lock now.

    :ivar holder: who holds it, in words, as the server or the lock's file says
    :ivar step: the newest row of the run in the ledger; ``None`` if it has none yet
    :ivar statement: what its session executes, such as ``CREATE INDEX ix_title``; empty where that
        cannot be told
    :ivar waits_for: who holds the lock that it waits for, in words
    :ivar done: how far the statement is
    """

    holder: str
    step: LedgerEntry | None = None
    statement: str = ""
    waits_for: str = ""
    done: str = ""

    def __str__(self) -> str:
        """Return the run in words."""
        activity = str(Activity(self.statement, self.waits_for, self.done))
        statement = f", {activity}" if activity else ""
        if self.step is None:
            return f"a run is in progress ({self.holder}{statement})"
        where = f'revision "{self.step.revision}" of package "{self.step.package}"'
        at = "at" if self.step.ended is None else "past"
        return (
            f"{self.step.direction} in progress, {at} {where} since "
            f"{self.step.started:%Y-%m-%d %H:%M:%S} UTC on {self.step.host} "
            f"({self.holder}{statement})"
        )


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether an application may serve: what its database is to its scripts.

    :ivar packages: where each registered package stands: ``current``, ``behind``, ``ahead`` if the
        history has revisions that no script defines, as after a release was rolled back, or
        ``unknown`` while a history table or the ledger is locked
    :ivar running: the run in progress
    :ivar half_done: steps that ended half done, which ``ws-alembic repair`` settles
    """

    packages: Mapping[str, str]
    running: RunInProgress | None = None
    half_done: tuple[LedgerEntry, ...] = ()

    @property
    def is_ready(self) -> bool:
        """True if nothing is pending, in progress or half done; *ahead* is ready."""
        standing = set(self.packages.values())
        return standing <= {"current", "ahead"} and self.running is None and not self.half_done

    def lines(self) -> tuple[str, ...]:
        """Return a line for each package, and for what is in progress or half done."""
        lines = [f"{name} {standing}" for name, standing in self.packages.items()]
        if "unknown" in self.packages.values():
            lines.append("locked: a history table or the ledger cannot be read")
        if self.running is not None:
            lines.append(f"running: {self.running}")
        lines += [f"half done: {entry}" for entry in self.half_done]
        return tuple(lines)
