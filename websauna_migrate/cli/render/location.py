"""Where a database stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from websauna_migrate.cli.render.text import NOTHING, Table, joined, one_line, render_table
from websauna_migrate.plain_text import counted
from websauna_migrate.results import DriftReport, Located, Location

#: A verdict in words.
WORDS = {
    "proven": "proven by replay",
    "models": "equals the models",
    "several": "one of several",
    "recorded": "one of several, as recorded",
    "ahead": "at least; the database is ahead",
    "nearest": "equals no revision; nearest",
    "unknown": "not replayed",
}


def render_location(location: Location) -> Iterator[str]:
    """Yield where each package stands, and what speaks against it."""
    rows = [
        (
            one.package,
            joined(one.rows, nothing="<base>") if one.verdict != "unknown" else NOTHING,
            joined(one.recorded, nothing="<base>"),
            WORDS[one.verdict],
        )
        for one in location.packages
    ]
    yield from render_table(Table(("PACKAGE", "STANDS AT", "RECORDED", "HOW"), tuple(rows)))
    for one in location.packages:
        yield from details(one)
    for failed in location.not_replayed:
        name = f"{failed.package}@{failed.revision}"
        yield f"{name} could not be replayed: {one_line(failed.problem)}"
        if failed.follows:
            yield f"  so neither could {joined(failed.follows)}"
    for name in location.unowned:
        yield f"{name} is of no script"
    for problem in location.problems:
        yield one_line(problem)
    odd = [one for one in location.packages if one.is_proven and one.rows != one.recorded]
    if location.ok and odd:
        yield "Next: ws-alembic -x packages=all stamp --verified"


def details(one: Located) -> Iterator[str]:
    """Yield what is to be said of a package besides its place."""
    if one.verdict in ("several", "nearest") and len(one.candidates) > 1:
        places = "; ".join(joined(rows, nothing="<base>") for rows in one.candidates)
        same = "the same objects at" if one.verdict == "several" else "as near"
        yield f"{one.package}: {same} {places}"
    if one.between and one.verdict == "several":
        yield f"{one.package}: no table tells whether these ran: {joined(one.between)}"
        yield f"  Choose: ws-alembic -x packages={one.package} stamp --verified REVISION"
    if one.between and one.verdict in ("ahead", "nearest"):
        yield f"{one.package}: no script defines what is applied: {joined(one.between)}"
        yield f"  See: ws-alembic -x packages={one.package} check"
    for answer in one.asked:
        yield f"{one.package}: {answer}"
    differing = [each for each in one.differences if not each.note]
    if differing:
        yield f"{one.package}: {counted(len(differing), 'difference')}"
    for each in one.differences:
        yield f"  {'note: ' if each.note else ''}{one_line(str(each))}"
    if one.verdict == "nearest":
        command = f"ws-alembic -x packages={one.package}"
        # Rows that no script defines, and those of other branches, stay in a stamp without it.
        purge = "--purge " if one.recorded else ""
        stamp = f"{command} stamp {purge}{' '.join(one.rows) or 'base'}, then "
        first = "" if one.rows == one.recorded else stamp
        yield f"  If it is that one: {first}{command} drift --sql"


#: On PostgreSQL, which has the names of schemas, grants go with a view.
VIEW_GOES = re.compile(r'DROP (?:MATERIALIZED )?VIEW ((?:"[^"]*"|\w+)\..*)')

#: Headings of what drifted, by kind.
HEADINGS = {
    "database-changed": "not as the applied scripts make it",
    "models-changed": "in the models alone, or otherwise there",
    "pending": "not applied",
    "unowned": "of no script",
    "not-compared": "not compared",
}


def render_drift(report: DriftReport) -> Iterator[str]:
    """Yield what drifted, by what kind of drift it is."""
    for kind, heading in HEADINGS.items():
        found = [one for one in report.found if one.kind == kind]
        if found:
            yield f"{heading}:"
        for one in found:
            package = f"{one.package}  " if one.package is not None else ""
            accepted = " (accepted)" if one.accepted else ""
            yield f"  {package}{one_line(str(one))}{accepted}"
    for problem in report.problems:
        yield one_line(problem)
    if not report.found and not report.problems:
        yield "No drift."


def render_mending(report: DriftReport) -> Iterator[str]:
    """Yield the SQL that brings back what was changed by hand; what has none, as comments."""
    for one in report.found:
        if one.not_written and not one.accepted:
            yield f"-- By hand: {one_line(one.text)}: {one_line(one.not_written)}"
    views = filter(None, map(VIEW_GOES.match, report.sql))
    if names := [found[1] for found in views]:
        yield f"-- Made anew without its grants, give them again: {joined(names)}"
    for statement in report.sql:
        yield f"{statement};"
    if not report.sql:
        yield "-- Nothing to run."
