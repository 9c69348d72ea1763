"""Which steps of a range are written anew from facts, and which are kept as they are.

A step is written anew where all that it changes is told by facts, and where nothing of it has rows:
tables that the range itself made and that no kept step fills. All else is kept, in its place: what
changes rows, what makes a view or a function, what changes a table that was there before.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from websauna_migrate.facts.units import Group, Unit
from websauna_migrate.locating.object_histories import ObjectHistories
from websauna_migrate.planning.accesses import UNREADABLE, Access
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.squash_ranges import SquashRange
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.revision_scripts.script_parts import ScriptParts

#: What autogenerate writes of facts.
WRITTEN = frozenset({"table", "column", "constraint", "index", "enum type", "sequence"})

#: The statements of which facts tell the whole effect.
TOLD = re.compile(
    r"\s*(?:(?:CREATE|DROP)\s+(?:(?:UNLOGGED\s+)?TABLE|(?:UNIQUE\s+)?INDEX|TYPE)|ALTER\s+(?:TABLE|TYPE|INDEX)|"
    r"COMMENT\s+ON)\b(?!.*\bOWNER\s+TO\b)(?!.*\bAS\s+\(?\s*SELECT\b)",
    re.IGNORECASE | re.DOTALL,
)

#: The statements that fill no table, with these.
ROWLESS = re.compile(
    rf"{TOLD.pattern}|\s*(?:GRANT|REVOKE|(?:CREATE|DROP|ALTER)\s+(?:OR\s+REPLACE\s+)?"
    r"(?:MATERIALIZED\s+)?(?:VIEW|FUNCTION|PROCEDURE|TRIGGER|SCHEMA|EXTENSION|SEQUENCE|DOMAIN|"
    r"POLICY|RULE|AGGREGATE|COLLATION|STATISTICS|EVENT))\b",
    re.IGNORECASE | re.DOTALL,
)

#: The statements whose text has others within.
ROUTINE = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE|TRIGGER|EVENT)\b", re.IGNORECASE
)

Table = tuple[str, str]


@dataclass
class Stretch:
    """Steps that come one after the other.

    :ivar why: why the one step is kept; empty for steps that are written anew
    :ivar parts: the kept step's script
    :ivar elided: those of the steps whose changes of rows are left out, as they say
    """

    revisions: list[Revision]
    why: str = ""
    parts: ScriptParts | None = None
    elided: list[Revision] = field(default_factory=list)


def stretches_of(
    objects: ObjectHistories,
    wanted: SquashRange,
    effects: Mapping[tuple[str, str], Sequence[Access]],
    kept: Mapping[str, str],
) -> list[Stretch]:
    """Return the stretches of a range.

    :param objects: the replayed facts
    :param effects: what each script does, by package and revision
    :param kept: steps that are kept in any case, each with the reason
    """
    judge = Judge(objects, wanted, effects, kept)
    found: list[Stretch] = []
    for revision in wanted.revisions:
        parts = ScriptParts(revision, script_text(revision.path))
        elidable = parts.attribute("elidable") is True
        why = judge.why_kept(revision, parts, elidable=elidable)
        if why:
            found.append(Stretch([revision], why, parts))
        elif found and not found[-1].why:
            found[-1].revisions.append(revision)
        else:
            found.append(Stretch([revision]))
        if elidable and not why:
            found[-1].elided.append(revision)
    return found


class Judge:
    """Judges steps in their order."""

    def __init__(
        self,
        objects: ObjectHistories,
        wanted: SquashRange,
        effects: Mapping[tuple[str, str], Sequence[Access]],
        kept: Mapping[str, str],
    ) -> None:
        self.objects = objects
        self.effects = effects
        self.kept = kept
        inside = {one.id for one in wanted.revisions}
        self.changes = {(step.package, step.revision): step.changes for step in objects.steps}
        #: What was there before the range, and what is there now.
        self.there: dict[Table, None] = dict.fromkeys(unit[:2] for unit in objects.initial)
        for step in objects.steps:
            if step.package == wanted.package and step.revision in inside:
                break
            self.keep_track(step.changes)
        #: What may have rows, or be of a type that rows have.
        self.filled: set[Table] = {*self.there}

    def keep_track(self, changes: Mapping[Unit, Group]) -> None:
        """Follow which tables and types there are."""
        for unit, group in changes.items():
            if unit[1] == unit[3] or not unit[3]:
                if group:
                    self.there[unit[:2]] = None
                else:
                    self.there.pop(unit[:2], None)

    def why_kept(self, revision: Revision, parts: ScriptParts, *, elidable: bool) -> str:
        """Return why a step is kept as it is; empty if it is written anew."""
        key = (revision.package, revision.id)
        changes = self.changes.get(key, {})
        effects = self.effects[key]
        found = self.kept.get(revision.id, "") or next(self.reasons(changes), "")
        rows = [one for one in effects if one.kind in (*UNREADABLE, "insert_rows", "write_table")]
        if not elidable:
            found = found or reason_of_rows(rows) or reason_of_sql(parts, TOLD)
        if found:
            # Other SQL may have filled what it made, say by CREATE TABLE .. AS SELECT.
            self.fill(rows, changes if reason_of_sql(parts, ROWLESS) else {})
        self.keep_track(changes)
        return found

    def reasons(self, changes: Mapping[Unit, Group]) -> Iterator[str]:
        """Yield what of the changes of facts speaks against writing a step anew."""
        for unit, group in changes.items():
            kind, name = unit[2], unit[3] or unit[1]
            if kind not in WRITTEN:
                yield f'{kind} "{name}"'
            elif unit[:2] in self.filled:
                yield f'"{unit[1]}" may have rows'
            elif kind == "sequence" and group and group[0].table is None:
                yield f'sequence "{name}"'

    def fill(self, rows: Iterable[Access], changes: Mapping[Unit, Group]) -> None:
        """Note what may have rows behind a step that is kept."""
        schema = self.objects.default_schema
        self.filled.update(unit[:2] for unit in changes)
        for one in rows:
            if one.kind in UNREADABLE:
                self.filled.update(self.there)
            else:
                self.filled.add((one.schema or schema, one.name))


def reason_of_rows(rows: Sequence[Access]) -> str:
    """Return what a script does to rows, with its line; empty if it does nothing to them."""
    for one in rows:
        what = "is not readable" if one.kind in UNREADABLE else f'changes rows of "{one.name}"'
        return f"line {one.line} {what}"
    return ""


def reason_of_sql(parts: ScriptParts, known: re.Pattern[str]) -> str:
    """Return where a script executes other statements than some; empty if it does not.

    :param known: the beginning of these
    """
    part = parts.by_name.get("upgrade")
    for one in ast.walk(part.node) if part is not None else ():
        if (
            isinstance(one, ast.Call)
            and isinstance(one.func, ast.Attribute)
            and one.func.attr in ("execute", "exec_driver_sql")
        ):
            texts = [
                inner.value
                for inner in ast.walk(one)
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            ]
            statements = [
                text
                for one in texts
                for text in ([one] if ROUTINE.match(one) else one.split(";"))
                if text.strip()
            ]
            if not statements or not all(map(known.match, statements)):
                return f"line {one.lineno} runs SQL that is kept as it is"
    return ""
