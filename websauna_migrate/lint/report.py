"""Unsafe changes of a plan: squawk's findings on its SQL, told by package, revision and line."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from websauna_migrate.base_errors import UsageError
from websauna_migrate.config.settings import PREFIX, STYLE_RULES
from websauna_migrate.lint.lint_comments import ScriptComments
from websauna_migrate.lint.lint_errors import LintNotPossible, UnsafeChanges
from websauna_migrate.lint.recorded_sql import RecordedStep, Statement, record_step
from websauna_migrate.lint.squawk import (
    SYNTAX_ERROR,
    RawFinding,
    find_squawk,
    question_about,
    run_squawk,
    unknown_names,
)
from websauna_migrate.planning.accesses import Key
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import LintFinding, LintReport, UncheckedScript
from websauna_migrate.revision_scripts.script_files import readable_text
from websauna_migrate.revision_scripts.sql_reader import read_sql
from websauna_migrate.revision_scripts.sql_text import parse_name, pattern, split_statements
from websauna_migrate.runs.offline import quiet_alembic
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site

#: Rules about what the service itself sees to: limits, transactions, and what is left of a step
#: that failed. The last one is about squawk's own comments.
OURS = frozenset(
    {
        "require-lock-timeout",
        "require-statement-timeout",
        "require-timeout-settings",
        "transaction-nesting",
        "ban-uncommitted-transaction",
        "prefer-robust-stmts",
        "unused-ignore",
    }
)

#: How often squawk is asked again without the statements that it could not read.
ATTEMPTS = 10

#: A comment in a script's SQL that would silence squawk for the steps of all packages.
WHOLE_FILE = re.compile(r"(?P<comment>(?:--|/\*)[ \t]*)?squawk-ignore-file[^\n]*")


@dataclass(frozen=True, slots=True)
class Place:
    """A statement in squawk's input."""

    recorded: RecordedStep
    statement: Statement
    on_new_table: bool


class Linter:
    """Finds the unsafe changes of plans; squawk is looked for once, for all plans of a call."""

    def __init__(self, site: Site) -> None:
        """Look for the linter.

        :raises LintNotPossible: if the database is no PostgreSQL
        """
        kind = site.settings.require_url().get_backend_name()
        if kind != "postgresql":
            raise LintNotPossible("database", kind)
        self.site = site
        self.program = find_squawk()

    def report(self, plan: Plan) -> LintReport:
        """Return the unsafe changes of an upgrade.

        :raises UsageError: for a downgrade
        """
        if plan.direction != "upgrade":
            raise UsageError("Unsafe changes are found in upgrades; a downgrade takes things away.")
        with PROCESS_LOCK.held():
            return self._report(plan)

    def refuse_unsafe(self, plan: Plan) -> None:
        """Raise if a plan has an unsafe change; called within the run.

        :raises UnsafeChanges: naming each
        """
        report = self._report(plan)
        if not report.ok:
            raise UnsafeChanges(report)

    def _report(self, plan: Plan) -> LintReport:
        if not plan.steps:
            return LintReport()
        with self.site.connecting() as connection:
            version = connection.dialect.server_version_info or ()
        # Environments that no run uses: a script that is only looked at changes them.
        scripts = self.site.loaded.again()
        excluded = self.site.settings.lint_exclude
        with quiet_alembic():
            recorded = [record_step(scripts, step) for step in plan.steps]
        comments = {id(one): ScriptComments.of(one.step.revision.path) for one in recorded}
        places = list(places_of(recorded, comments))
        # Not those that are left out by default: not every version of squawk has all of them.
        names = (set(excluded) - STYLE_RULES).union(
            *(found.rules for script in comments.values() for found in script.found)
        )
        run = functools.partial(run_squawk, self.program, server_version=version)
        raw, unread = ask(places, names, run)
        findings: list[LintFinding] = []
        accepted: list[LintFinding] = []
        for place, found in raw:
            rule, statement = found.rule, place.statement
            if rule in OURS or rule in excluded or not statement.lines:
                continue
            if place.on_new_table and not MATTERS.match(rule):
                continue
            finding = finding_of(place, found)
            is_accepted = comments[id(place.recorded)].accepts(rule, statement.lines)
            (accepted if is_accepted else findings).append(finding)
        for place in places:
            if place.on_new_table and comments[id(place.recorded)].found:
                comments[id(place.recorded)].excuse(place.statement.lines)
        unknown = unknown_names(found for _, found in raw)
        warnings = [
            f'Setting "{PREFIX}lint_exclude": squawk knows no rule "{name}".'
            for name in sorted((unknown & set(excluded)) - STYLE_RULES)
        ]
        skipped = {*unknown, *OURS, *excluded}
        for one in recorded:
            warnings += warnings_of(one, comments[id(one)], unknown, skipped)
        return LintReport(
            len(plan.steps),
            tuple(dict.fromkeys(findings)),
            tuple(dict.fromkeys(accepted)),
            tuple(unchecked_scripts(recorded, unread)),
            tuple(warnings),
        )


def finding_of(place: Place, found: RawFinding) -> LintFinding:
    """Return a finding with the place in a script that it is about."""
    step = place.recorded.step
    return LintFinding(
        package=step.package,
        revision=step.revision.id,
        message=step.revision.message,
        path=step.revision.path,
        line=place.statement.lines[0],
        rule=found.rule,
        text=found.message,
        help=found.help,
        statement=place.statement.sql.rstrip("; \n"),
    )


def places_of(
    recorded: Iterable[RecordedStep], comments: dict[int, ScriptComments]
) -> Iterable[Place]:
    """Yield all statements in order."""
    new_tables = NewTables()
    for one in recorded:
        for statement in one.statements:
            for found in WHOLE_FILE.finditer(statement.sql):
                if not found["comment"]:
                    continue
                comments[id(one)].add(found[0], statement.lines[0] if statement.lines else 0)
            yield Place(one, statement, new_tables.follow(statement.sql))
        if one.problem is not None:
            new_tables.tables |= created_by(one.step)


def created_by(step: Step) -> set[Key]:
    """Return the tables that a script creates as far as its source tells, which is not run."""
    from websauna_migrate.revision_scripts.script_reader import read_effects

    effects = read_effects(readable_text(step.revision.path), step.revision.path)
    return {(one.schema, one.name) for one in effects if one.kind == "create_table" and one.sure}


def ask(
    places: Sequence[Place], names: Collection[str], run: Callable[[str], list[RawFinding]]
) -> tuple[list[tuple[Place, RawFinding]], list[tuple[Place, RawFinding]]]:
    """Return what squawk finds, and what it cannot read: one syntax error hides all the rest."""
    unread: dict[int, RawFinding] = {}
    question = Place(RecordedStep(None, ()), Statement(""), False)  # type: ignore[arg-type]
    for _ in range(ATTEMPTS):
        starts: list[int] = []
        lines = 0
        parts: list[str] = []
        for number, place in enumerate(places):
            starts.append(lines)
            # What is behind a statement, up to the next one, still counts as its own.
            sql = "" if number in unread else WHOLE_FILE.sub("", place.statement.sql)
            parts.append(sql + "\n\n")
            lines += sql.count("\n") + 2
        starts.append(lines)
        found = run("".join(parts) + (question_about(names) if names else ""))
        located = [(bisect_right(starts, one.line) - 1, one) for one in found]
        wrong = {number: one for number, one in located if one.rule == SYNTAX_ERROR}
        if not wrong:
            all_places = [*places, question]
            return (
                [(all_places[number], one) for number, one in located],
                [(places[number], one) for number, one in sorted(unread.items())],
            )
        if not wrong.keys() - unread.keys() - {len(places)}:
            break
        unread |= {number: one for number, one in wrong.items() if number < len(places)}
    raise LintNotPossible("failed", "squawk", "it cannot read the SQL of the plan.")


def unchecked_scripts(
    recorded: Iterable[RecordedStep], unread: Iterable[tuple[Place, RawFinding]]
) -> Iterable[UncheckedScript]:
    """Yield what was not checked: what needs a connection, and SQL that squawk cannot read."""
    unread = list(unread)
    for one in recorded:
        revision = one.step.revision
        where = (one.step.package, revision.id, revision.path)
        for place, found in unread:
            if place.recorded is one:
                line = place.statement.lines[0] if place.statement.lines else None
                reason = f"squawk cannot read this SQL: {found.message}"
                yield UncheckedScript(*where, line, reason)
        if one.problem is not None:
            reason = f"what follows is only known when it runs ({one.problem})"
            yield UncheckedScript(*where, one.line, reason)


def warnings_of(
    recorded: RecordedStep,
    comments: ScriptComments,
    unknown: Collection[str],
    skipped: Collection[str],
) -> Iterable[str]:
    """Yield what is to be said of a script's comments.

    :param unknown: rules that squawk does not know
    :param skipped: rules of which nothing can be found
    """
    path = recorded.step.revision.path
    for one in comments.found:
        for name in sorted(one.rules & set(unknown)):
            yield f'{path}:{one.line}: squawk knows no rule "{name}".'
        if not one.rules and not one.whole_script:
            yield f'{path}:{one.line}: "squawk-ignore" names no rule, and accepts nothing.'
    # What was not checked may be what the comment is for.
    for line, rule in comments.unused() if recorded.problem is None else ():
        if rule not in skipped:
            yield f'{path}:{line}: "squawk-ignore {rule}" accepts nothing here.'


ALTER = pattern(r"alter (?:foreign )?table (?:if exists )?(?:only )?Q.*")
CREATE = pattern(r"create (?:(?:unlogged|temp|temporary|foreign) )?table (?!if not exists )Q.*")
CREATE_INDEX = pattern(
    r"create (?:unique )?index (?:concurrently )?(?:if not exists )?(?:(?!on )I )?on (?:only )?Q.*"
)
DROP = pattern(r"drop (?P<kind>table|index) (?:concurrently )?(?:if exists )?Q\s*"
               r"(?:cascade|restrict)?\s*")  # fmt: skip
TRUNCATE = pattern(r"truncate (?:table )?(?:only )?Q\s*;?\s*")

#: Rules that also matter for a new table, which has no locks, rows or readers: how a thing is
#: defined, and what fails in any case.
MATTERS = re.compile(
    "prefer-|ban-char-field|identifier-|require-table-schema|"
    "ban-concurrent-index-creation-in-transaction"
)


class NewTables:
    """The tables and indexes that the statements so far have created."""

    def __init__(self) -> None:
        self.tables: set[Key] = set()
        self.indexes: set[Key] = set()

    def follow(self, sql: str) -> bool:
        """Follow a statement; True if it works on a new table and on no other.

        ``CREATE TABLE IF NOT EXISTS`` may find a table that is old.
        """
        (statement, *more) = split_statements(sql.rstrip("; \n"))
        if more:
            return False
        if found := CREATE.fullmatch(statement):
            self.tables.add(parse_name(found[1]))
            return False
        if found := CREATE_INDEX.fullmatch(statement):
            table = parse_name(found[2])
            if table not in self.tables:
                return False
            if found[1]:
                self.indexes.add((table[0], parse_name(found[1])[1]))
            return True
        if found := DROP.fullmatch(statement):
            key = parse_name(found[2])
            known = self.tables if found["kind"].lower() == "table" else self.indexes
            is_new = key in known
            known.discard(key)
            return is_new
        if found := ALTER.fullmatch(statement):
            key = parse_name(found[1])
            is_new = key in self.tables
            for effect in read_sql(statement) if is_new else ():
                if effect.kind == "rename_table" and effect.new_name:
                    self.tables.discard(key)
                    self.tables.add((effect.new_schema, effect.new_name))
            return is_new
        found = TRUNCATE.fullmatch(statement)
        return found is not None and parse_name(found[1]) in self.tables
