"""What no requirement puts in an order: races, late steps, and what of scripts is unreadable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.interfaces import Packages
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.accesses import Access
from websauna_migrate.planning.races import Accesses, find_late_steps, find_races, unreadable_lines
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import CheckProblem
from websauna_migrate.runs.site import Site


def races(site: Site, packages: Packages) -> tuple[CheckProblem, ...]:
    """Return all problems of the order of some packages' scripts."""
    loaded, selected = site.loaded, site.select(packages)
    if not has_several(loaded):
        return ()
    return (
        *order_problems(loaded, selected, site.applied()),
        *unreadable_operations(loaded, selected),
    )


def order_problems(
    loaded: LoadedScripts,
    selected: Collection[str],
    applied: Mapping[str, Sequence[str]],
    settled: Collection[tuple[str, str, str]] = (),
) -> Iterator[CheckProblem]:
    """Yield the races and late steps of some packages.

    :param applied: the rows of the history tables
    :param settled: package, revision and required package of requirements that are known to be
        missing: a race that they settle is not told a second time
    """
    if not has_several(loaded):
        return
    known = Accesses(loaded.graph, loaded.effects)
    for race in find_races(known):
        names = (race.second.package, race.second.id, race.first.package)
        if {race.first.package, race.second.package}.isdisjoint(selected):
            continue
        made = race.makes or race.before.kind in ("create_table", "add_column")
        if not (made and names in settled):
            package = race.script.package
            details = {
                "first": place_of(race.first, race.before),
                "second": place_of(race.second, race.after),
                "script": race.script.path,
                "line": race.line,
                "soft_line": race.soft_line,
            }
            yield CheckProblem("race", package, capitalised(str(race)), details=details)
    there = {
        name: history.applied(applied.get(name, ())) for name, history in loaded.histories.items()
    }
    for late in find_late_steps(known, there):
        if late.pending.package in selected:
            message = capitalised(str(late))
            details = {
                "pending": place_of(late.pending, late.needs),
                "applied": place_of(late.applied, late.destroyed),
            }
            yield CheckProblem("late", late.pending.package, message, details=details)


def place_of(revision: Revision, access: Access) -> dict[str, object]:
    """Return where a script does something, for machines."""
    return {
        "revision": str(revision),
        "path": revision.path,
        "line": access.line,
        "does": str(access),
        "sure": access.sure,
    }


def unreadable_operations(
    loaded: LoadedScripts, selected: Collection[str]
) -> Iterator[CheckProblem]:
    """Yield for each package how many operations of its scripts could not be read, and where."""
    if not has_several(loaded):
        return
    for name in selected:
        places = [
            (revision.path, line)
            for revision in loaded.histories[name]
            for line in unreadable_lines(loaded.effects[name, revision.id])
        ]
        if places:
            many = counted(len(places), "operation")
            yield CheckProblem(
                "unreadable",
                name,
                f'{many} of package "{name}" could not be read ({listed(places)}): what they do to '
                "tables of other packages is not known here.",
                fatal=False,
                details=tuple(places),
            )


def listed(places: Sequence[tuple[str, int]]) -> str:
    """Return the first of some lines in words, each script named once."""
    lines: dict[str, list[str]] = {}
    for path, line in places[:5]:
        lines.setdefault(path, []).append(str(line))
    shown = [
        f'"{path}" line{"s" * (len(found) > 1)} {", ".join(found)}' for path, found in lines.items()
    ]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return "; ".join(shown) + more


def has_several(loaded: LoadedScripts) -> bool:
    """Return whether several packages have scripts."""
    return sum(1 for history in loaded.histories.values() if history.revisions) > 1


def capitalised(text: str) -> str:
    """Return a sentence with a capital letter."""
    return text[:1].upper() + text[1:]
