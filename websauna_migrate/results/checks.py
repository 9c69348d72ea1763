"""What checks, verify and lint found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from websauna_migrate.plain_text import plural


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
