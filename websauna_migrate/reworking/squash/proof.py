"""The proof of a squash: the old scripts and the new one in two databases, up and down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from websauna_migrate.facts.differences import differences, listed
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.planning.squash_ranges import SquashRange
from websauna_migrate.proving.not_proven import squash_differs
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.reworking.squash.chains import Chain
from websauna_migrate.reworking.squash.row_proof import Rows, differing
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.failures import StepFailed
from websauna_migrate.runs.site import Site

#: The sides of a comparison, in words.
UP = ("behind the old scripts", "behind the squash")
BACK = ("before the squash", "behind its downgrade")

#: Of so many tables it is said how their rows differ.
TOLD = 5


def prove_squash(
    site: Site,
    service: Service,
    written: Sequence[tuple[SquashRange, str]],
    after: Sequence[Facts],
    rows: Sequence[Mapping[str, Rows]],
    left: Mapping[int, Facts | None],
) -> None:
    """Run each squash up, down and up in a scratch database.

    :param site: with the squashes
    :param written: each range with the identifier of its squash
    :param after: the facts behind the old scripts of each range
    :param rows: those that the old scripts leave, in each of two databases
    :param left: what the downgrades of old scripts leave, by the numbers of ranges, where it is
        known
    :raises NotProven: saying what differs
    """
    with ExitStack() as stack:

        def chain_behind(number: int) -> Chain:
            """Return a new chain, with so many squashes applied."""
            chain = Chain(site, service, stack.enter_context(scratch_database(site.settings)))
            for wanted, squash in written[:number]:
                chain.upgrade(wanted.package, [squash], [squash])
            return chain

        try:
            chain = chain_behind(0)
            for number, (wanted, squash) in enumerate(written):
                name = wanted.package
                chain.need(name, [squash], [squash])
                before = chain.facts()
                chain.upgrade(name, [squash])
                compare(after[number], chain.facts(), wanted, *UP)
                # Nothing stands on it yet.
                chain.take_back(name, [squash])
                old = left.get(number)
                if old is None:
                    compare(before, chain.facts(), wanted, *BACK, number)
                    chain.upgrade(name, [squash])
                else:
                    compare(old, chain.facts(), wanted, "behind their downgrade", BACK[1])
                    chain = chain_behind(number + 1)
            old_rows, again = rows
            if [*differing(old_rows, again, chain.rows())]:
                # A downgrade may leave rows, as that of an old script does: up alone tells.
                chain = chain_behind(len(written))
                if others := [*differing(old_rows, again, chain.rows())]:
                    found = "".join(f"\n  {one}" for one in others[:TOLD])
                    raise squash_differs(f"tables have other rows:{found}")
        except StepFailed as exc:
            where = f" (line {exc.line})" if exc.line is not None else ""
            raise squash_differs(
                f'the {exc.direction} of "{exc.revision}" fails{where}: {exc.problem}',
                failed_in=steps_at(exc.path, exc.line, written),
            ) from exc


def left_by_downgrade(site: Site, service: Service, ranges: Sequence[SquashRange]) -> Facts | None:
    """Return what the downgrade of the last of some ranges leaves; ``None`` where it fails.

    :param site: with the old scripts alone
    """
    with scratch_database(site.settings) as url:
        chain = Chain(site, service, url)
        for wanted in ranges:
            ids = [one.id for one in wanted.revisions]
            chain.upgrade(wanted.package, ids, ids)
        try:
            chain.take_back(wanted.package, ids)
        except StepFailed:
            return None
        return chain.facts()


def steps_at(
    path: str, line: int | None, written: Sequence[tuple[SquashRange, str]]
) -> Sequence[str]:
    """Return the steps whose operations stand at a line of a squash; none for a kept step."""
    known = {one.id for wanted, _ in written for one in wanted.revisions}
    lines = script_text(path).splitlines()[: line or 0]
    for text in reversed(lines):
        ids = text.strip().removeprefix("# ").split(", ")
        if text.startswith("    # ") and known.issuperset(ids):
            return ids
        if text.startswith("def "):
            break
    return ()


def compare(
    left: Facts,
    right: Facts,
    wanted: SquashRange,
    here: str,
    there: str,
    number: int | None = None,
) -> None:
    """Compare facts.

    :param number: of a range of which it is not known what the downgrade of the old scripts leaves
    :raises NotProven: naming what differs
    """
    found = [one for one in differences(left, right) if not one.note]
    if found:
        raise squash_differs(
            f'the squash of "{wanted.last.id}" of package "{wanted.package}" and what it replaces '
            f"differ:{listed(found, here, there)}",
            found if there == UP[1] else (),
            not_back=number,
        )
