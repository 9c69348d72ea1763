"""Unsafe changes of a plan: squawk's findings on its SQL, told by package, revision and line."""

from __future__ import annotations

import re
import tokenize
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from websauna_migrate.effects import Key
from websauna_migrate.lint_comments import ScriptComments
from websauna_migrate.new_tables import NewTables, matters_for_new
from websauna_migrate.recorded_sql import RecordedStep, Statement, quiet_alembic, record_step
from websauna_migrate.results import LintFinding, LintReport, UncheckedScript
from websauna_migrate.settings import PREFIX, STYLE_RULES
from websauna_migrate.snapshot import Snapshot
from websauna_migrate.squawk import (
    SYNTAX_ERROR,
    RawFinding,
    SquawkFailed,
    question_about,
    run_squawk,
    unknown_names,
)
from websauna_migrate.steps import Plan, Step

__all__ = ["lint_plan"]

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


def lint_plan(
    snapshot: Snapshot,
    plan: Plan,
    *,
    program: str,
    server_version: Sequence[object],
    excluded: Collection[str],
) -> LintReport:
    """Check the SQL of a plan's steps; nothing is run, and no database is contacted.

    :param snapshot: of environments that no run uses: scripts leave things behind in them
    :param program: squawk's path
    :param excluded: rules that are not asked for
    """
    with quiet_alembic():
        recorded = [record_step(snapshot, step) for step in plan.steps]
    comments = {id(one): ScriptComments.of(one.step.revision.path) for one in recorded}
    places = list(places_of(recorded, comments))
    names = {
        rule
        for one in comments.values()
        for found in one.found
        for rule in found.rules
        # Older versions of squawk lack some of the rules about style.
    } | (set(excluded) - STYLE_RULES)
    raw, unread = ask(places, names, lambda sql: run_squawk(
        program, sql, server_version=server_version
    ))  # fmt: skip
    findings: list[LintFinding] = []
    accepted: list[LintFinding] = []
    for place, found in raw:
        rule, statement, step = found.rule, place.statement, place.recorded.step
        if rule in OURS or rule in excluded or not statement.lines:
            continue
        if place.on_new_table and not matters_for_new(rule):
            continue
        finding = LintFinding(
            package=step.package,
            revision=step.revision.id,
            message=step.revision.message,
            path=step.revision.path,
            line=statement.lines[0],
            rule=rule,
            text=found.message,
            help=found.help,
            statement=statement.sql.rstrip("; \n"),
        )
        is_accepted = comments[id(place.recorded)].accepts(rule, statement.lines)
        (accepted if is_accepted else findings).append(finding)
    unknown = unknown_names(found for _, found in raw)
    skipped = {*unknown, *OURS, *excluded}
    whole = {id(one.step) for one in recorded if one.problem is None}
    warnings = [
        f'Setting "{PREFIX}lint_exclude": squawk knows no rule "{name}".'
        for name in sorted(unknown & set(excluded) - STYLE_RULES)
    ]
    for one in recorded:
        warnings += warnings_of(
            one.step, comments[id(one)], unknown, skipped, complete=id(one.step) in whole
        )
    return LintReport(
        len(plan.steps),
        tuple(dict.fromkeys(findings)),
        tuple(dict.fromkeys(accepted)),
        tuple(unchecked_scripts(recorded, unread)),
        tuple(warnings),
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
    from websauna_migrate.script_reader import read_effects

    try:
        with tokenize.open(step.revision.path) as file:
            effects = read_effects(file.read(), step.revision.path)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return set()
    return {(one.schema, one.name) for one in effects if one.kind == "create_table"}


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
    raise SquawkFailed("squawk", "it cannot read the SQL of the plan.")


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
    step: Step,
    comments: ScriptComments,
    unknown: Collection[str],
    skipped: Collection[str],
    *,
    complete: bool,
) -> Iterable[str]:
    """Yield what is to be said of a script's comments.

    :param skipped: rules of which nothing can be found
    :param complete: whether all of the script was checked
    """
    for one in comments.found:
        place = f"{step.revision.path}:{one.line}"
        for name in sorted(one.rules & set(unknown)):
            yield f'{place}: squawk knows no rule "{name}".'
        if not one.rules and not one.whole_script:
            yield f'{place}: "squawk-ignore" names no rule, and accepts nothing.'
    for line, rule in comments.unused() if complete else ():
        if rule not in skipped:
            yield f'{step.revision.path}:{line}: "squawk-ignore {rule}" accepts nothing here.'
