"""A proof: new scripts run up, down and up again, and what they make is compared.

On PostgreSQL and SQLite it is one transaction on the author's database that is rolled back, so that
the scripts meet the author's rows. Where that cannot be, it is done in a scratch database.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext
from sqlalchemy.exc import DBAPIError

from websauna_migrate.autogenerate.renames import DELETE_FIRST
from websauna_migrate.autogenerate.write.advice import WRITE_BEFORE
from websauna_migrate.autogenerate.write.revision_files import insert
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.lock_errors import sqlstate
from websauna_migrate.database.stopping import RunStopped
from websauna_migrate.facts.catalogue import facts_not_known
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.planning.plan import RoundTrip, plan_round_trip
from websauna_migrate.planning.steps import Plan
from websauna_migrate.proving.apart import prove_apart
from websauna_migrate.proving.judge import Judge
from websauna_migrate.proving.not_proven import KEEP, NotProven, fails, impossible
from websauna_migrate.results import CreatedScript, Proof
from websauna_migrate.revision_scripts.script_error import ScriptRefused
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.failures import InterruptedSteps, NotAtomic, StepFailed
from websauna_migrate.runs.run_context import RunOptions
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.step_data import running

#: Seconds for which a proof tries to get a table's lock. An author waits for it.
LOCK_BUDGET = 5.0

#: What PostgreSQL says of a statement that wants no transaction around it: it cannot run inside of
#: one; and a value of an enum type cannot be used before it is committed.
NOT_IN_TRANSACTION = ("25001", "55P04")

#: Constraints that are checked when a transaction commits.
DEFERRED = """
SELECT format('%I.%I', n.nspname, c.conname) FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace WHERE c.condeferred
"""


def keep_proven(
    created: tuple[CreatedScript, ...],
    *,
    site: Site,
    ownership: Ownership,
    at: Callable[[URL], Service],
    how: str,
    undo: Callable[[], None],
    keep: bool = False,
) -> tuple[CreatedScript, ...]:
    """Prove new scripts, and remove them if they do not stand it.

    :param how: ``on``, ``off`` or ``scratch``
    :param undo: removes the scripts
    :param keep: keep them all the same, marked
    :returns: the scripts with their proof, or with a warning
    :raises NotProven: saying why they are not kept
    """
    if how == "off" or not created:
        return created
    dialect = site.settings.require_url().get_backend_name()
    if dialect not in ("postgresql", "sqlite", "mysql", "mariadb"):
        return warned(created, f"Not proven: {facts_not_known(dialect)}")
    try:
        proof = prove(created, site=site, ownership=ownership, at=at, apart=how == "scratch")
    except NotProven as exc:
        if not keep:
            undo()
            raise advised(exc, created) from exc
        for script in created:
            mark_not_proven(script, exc.problem)
        return warned(created, f"Kept though the proof failed: {exc.problem}")
    except BaseException:
        undo()
        raise
    return tuple(replace(script, proof=proof) for script in created)


def advised(exc: NotProven, created: Sequence[CreatedScript]) -> NotProven:
    """Return the error of a step that fails with what the scripts' warnings say of it."""
    warnings = [warning for one in created for warning in one.warnings]
    renames = [one.replace(DELETE_FIRST, "run") for one in warnings if DELETE_FIRST in one]
    advice = [*renames, *(one for one in warnings if "NOT NULL" in one or WRITE_BEFORE in one)]
    if exc.kind != "fails" or not advice:
        return exc
    remedy = "\n".join([*advice, KEEP])
    return NotProven("fails", exc.problem, remedy, revision=exc.revision, exit_code=exc.exit_code)


def warned(created: tuple[CreatedScript, ...], warning: str) -> tuple[CreatedScript, ...]:
    """Return new scripts with a warning, which is told once."""
    first, *others = created
    return (replace(first, warnings=(*first.warnings, warning)), *others)


def prove(
    created: Sequence[CreatedScript],
    *,
    site: Site,
    ownership: Ownership,
    at: Callable[[URL], Service],
    apart: bool = False,
) -> Proof:
    """Prove new scripts, all of them together.

    :param site: with the new scripts
    :param at: returns the service for another database
    :param apart: in a scratch database, whatever could be done beside it
    :raises NotProven: saying why they are not to be kept
    """
    began = time.perf_counter()
    dialect = site.settings.require_url().get_backend_name()
    new: dict[str, list[str]] = {}
    for script in created:
        new.setdefault(script.package, []).append(script.revision)
    histories = site.loaded.histories
    revisions = [histories[name].revisions[one] for name, ids in new.items() for one in ids]
    judge = Judge(site.loaded, site.settings, ownership, revisions)
    transactional = dialect in ("postgresql", "sqlite")
    with explained():
        if apart or not transactional or not prove_beside(site, new, judge):
            apart = True
            prove_apart(site, new, judge, at)
    return Proof(dialect, apart, time.perf_counter() - began)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a run says of a step into an error about the new script."""
    try:
        yield
    except StepFailed as exc:
        raise fails(exc, busy=exc.busy) from exc
    except (NotProven, InterruptedSteps, RunStopped):
        raise
    except MigrationError as exc:
        raise impossible(str(exc), exc.exit_code) from exc


def prove_beside(site: Site, new: Mapping[str, Sequence[str]], judge: Judge) -> bool:
    """Prove in a transaction on the author's database; tell whether that was possible.

    :raises MigrationError: as a run does
    :raises NotProven: if the scripts leave a difference
    """
    graph = site.loaded.graph
    trips: list[RoundTrip] = []
    sequences = KeptSequences()

    def make_plan(applied: Mapping[str, tuple[str, ...]]) -> Plan:
        trips.append(plan_round_trip(graph, applied, new))
        for step in trips[-1].there:
            site.loaded.environments[step.package].reader.imported(step.revision)
        return trips[-1].plan

    def observe(connection: Connection, done: int) -> None:
        trip = trips[-1]
        start = len(trip.first)
        if done:
            check_deferred(connection)
        else:
            sequences.begin(connection)
        if done == start:
            judge.before(connection)
        elif done == start + len(trip.there):
            judge.up(connection)
        elif done == start + len(trip.there) + len(trip.back):
            judge.down(connection)

    options = RunOptions(dry_run=True, limits={"lock_budget": LOCK_BUDGET}, observe=observe)
    try:
        Runner(site, options).run("upgrade", make_plan)
    except NotAtomic:
        return False
    except StepFailed as exc:
        if wants_no_transaction(exc.__cause__):
            return False
        raise
    return True


def wants_no_transaction(exc: BaseException | None) -> bool:
    """True if a statement failed because there was a transaction around it."""
    if isinstance(exc, ScriptRefused):
        return exc.kind == "transaction"
    return isinstance(exc, DBAPIError) and sqlstate(exc) in NOT_IN_TRANSACTION


def check_deferred(connection: Connection) -> None:
    """Have PostgreSQL check now what it would check when a step commits."""
    if connection.dialect.name != "postgresql":
        return
    deferred = connection.exec_driver_sql(DEFERRED.replace("%", "%%")).scalars().all()
    if deferred:
        listed = ", ".join(deferred).replace("%", "%%")
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        connection.exec_driver_sql(f"SET CONSTRAINTS {listed} DEFERRED")


def mark_not_proven(script: CreatedScript, problem: str) -> None:
    """Say in a script that is kept all the same that it is not proven, and why."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in problem.splitlines()]
    comment = "".join(f"# {line}\n" for line in ["The proof of this script failed:", *lines])
    insert(Path(script.path), f"{comment}proven = False\n")


#: What takes no number from a sequence.
HARMLESS = re.compile(
    r"\s*(?:ALTER|COMMENT|CREATE|DROP|GRANT|RELEASE|REVOKE|ROLLBACK|SAVEPOINT|SET|SHOW)\b"
    r"(?!.*\bnextval\b)",
    re.IGNORECASE | re.DOTALL,
)

FREEZE = """\
DO $do$
DECLARE item record;
BEGIN
    FOR item IN
        SELECT s.seqrelid::regclass AS name, s.seqcache AS cache
        FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
        WHERE c.relpersistence <> 't' AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    LOOP
        EXECUTE format('ALTER SEQUENCE %s CACHE %s', item.name, item.cache);
    END LOOP;
END
$do$"""


class KeptSequences:
    """Lets no statement of scripts move a sequence for good, in a transaction that is undone."""

    def __init__(self) -> None:
        self._kept = False
        self._connection: Connection | None = None

    def begin(self, connection: Connection) -> None:
        """Say that the transaction begins."""
        self._kept = False
        if connection.dialect.name == "postgresql" and connection is not self._connection:
            self._connection = connection
            event.listen(connection, "before_cursor_execute", self._before)

    def _before(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: object,
        context: ExecutionContext,
        many: bool,
    ) -> None:
        if self._kept or running() is None or HARMLESS.match(statement):
            return
        # A savepoint of the script's own may take it back.
        self._kept = not connection.in_nested_transaction()
        # Past SQLAlchemy, which is in the middle of another statement.
        with closing(connection.connection.cursor()) as own:
            own.execute(FREEZE)
