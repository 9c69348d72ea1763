"""The SQL of a plan's steps, each statement with the lines of the script that it comes from.

A script is run as for ``upgrade --sql``. Whatever writes a statement, an operation of Alembic's, a
batch or a helper, stands somewhere below the script's own frames on the stack: their lines are what
the statement is told by.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.planning.steps import Step, is_transactional
from websauna_migrate.results import SqlStatement, StepSql
from websauna_migrate.revision_scripts.script_error import ScriptError, line_of, running_lines
from websauna_migrate.revision_scripts.sql_text import LEXEME
from websauna_migrate.runs.offline import quiet_alembic, render_step
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

#: What Alembic writes where a transaction begins and ends.
BEGIN, COMMIT = "BEGIN;", "COMMIT;"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; ``lines`` are those of the script that led to it, the innermost first.

    Empty for what no script says: the history table's rows, the transaction.
    """

    sql: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """The SQL of a step, as far as it can be written down.

    :ivar problem: why the rest cannot be, ``None`` if all of it is here
    :ivar line: the script's line at which that was
    """

    step: Step
    statements: tuple[Statement, ...]
    problem: str | None = None
    line: int | None = None


def record_step(snapshot: LoadedScripts, step: Step) -> RecordedStep:
    """Run a script in Alembic's offline mode and return its SQL; no database is contacted.

    The caller holds :data:`websauna_migrate.runs.process_lock.PROCESS_LOCK`.
    """
    scripts = snapshot.environments[step.package].scripts
    module = scripts.get_revision(step.revision.id).module
    path = step.revision.path
    recorder = Recorder(path, transactional=is_transactional(module))
    problem, line = None, None
    try:
        render_step(snapshot, step, recorder, None)
    except (Exception, SystemExit) as exc:
        cause = exc.__cause__ if isinstance(exc, ScriptError) and exc.__cause__ else exc
        words = " ".join(str(cause).split())
        problem = f"{type(cause).__name__}: {words}" if words else type(cause).__name__
        line = line_of(cause, path)
        recorder.finish()
    return RecordedStep(step, tuple(recorder.statements), problem, line)


class Recorder(io.StringIO):
    """What Alembic writes SQL to."""

    def __init__(self, path: str, *, transactional: bool) -> None:
        """Record nothing yet.

        :param path: the script's
        :param transactional: whether the step is a transaction, as it is at run time
        """
        super().__init__()
        self.path = path
        self.transactional = transactional
        self.statements: list[Statement] = []
        self._in_transaction = False

    def write(self, text: str) -> int:
        """Take one text, a statement as a rule, with the lines of the script on the stack."""
        words = text.strip()
        if words in (BEGIN, COMMIT):
            if self.transactional:
                self._in_transaction = words == BEGIN
                self.statements.append(Statement(words))
            return len(text)
        lines = tuple(running_lines(self.path))
        self.statements += [Statement(sql, lines) for sql in split_sql(words)]
        return len(text)

    def finish(self) -> None:
        """End a transaction that a script which failed has left open."""
        if self._in_transaction:
            self.statements.append(Statement(COMMIT))


def split_sql(text: str) -> Iterator[str]:
    """Yield the statements of a text as they stand there, comments and all, each with its end."""
    start = 0
    for found in LEXEME.finditer(text):
        if found["end"]:
            yield text[start : found.end()].strip()
            start = found.end()
    # What ends with a comment has its semicolon in there.
    if rest := text[start:].strip().removesuffix(";"):
        yield f"{rest}\n;"


def step_sql(site: Site, step: Step) -> StepSql:
    """Return the SQL of a step; no database is contacted."""
    with PROCESS_LOCK.held(), quiet_alembic():
        # Environments that no run uses: a script that is only looked at changes them.
        found = record_step(site.loaded.again(), step)
    return StepSql(
        step,
        tuple(
            SqlStatement(one.sql, next(iter(one.lines), None))
            for one in found.statements
            # Texts that only say what Alembic is at.
            if not all(line.startswith("--") or line == ";" for line in one.sql.splitlines())
        ),
        found.problem,
        found.line,
    )
