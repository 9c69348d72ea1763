"""``stamp --verified``: history tables get what was proven, and the ledger the proof."""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.locating.locate import Locator
from websauna_migrate.planning.package_targets import targets_for
from websauna_migrate.planning.plan import plan_stamp
from websauna_migrate.results import Located, StampedPackage
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.runner import Runner
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.stamping import write_stamps


class NotLocated(MigrationError, LookupError):
    """The database does not stand where a stamp says, or nothing proves where it stands.

    :ivar found: the packages that are in the way
    """

    exit_code = ExitCode.DRIFT

    def __init__(self, found: Sequence[Located], lines: Sequence[str]) -> None:
        self.found = tuple(found)
        super().__init__("Nothing was stamped:" + "".join(f"\n  {line}" for line in lines))


def stamp_verified(
    site: Site, service: Service, revisions: Targets, packages: Packages
) -> tuple[StampedPackage, ...]:
    """Write into the history tables where the packages stand, all in one transaction.

    :param revisions: which of several, whose tables are equal; empty to take what is proven alone
    :raises NotLocated: if that is not one place
    """
    with site.reading() as connection:
        # Replayed before the lock is taken: others need not wait for it.
        locator = Locator(site, service, packages, connection)
        found = locator.location(connection).packages
        if connection is not None:
            connection.rollback()
    with Runner(site).locked() as (connection, read):
        before = read()
        if locator.read(connection) != locator.live:
            raise NotLocated(found, ["the database was changed meanwhile: try again."])
        rows = {one.package: frozenset(one.rows) for one in found}
        if revisions:
            targets = targets_for(revisions, locator.selected, site.loaded.histories)
            rows |= plan_stamp(site.loaded.graph, before, targets, purge=True)
        refuse(found, rows, bool(revisions))
        notes = {one.package: one.proof for one in found}
        changed = write_stamps(site, connection, before, rows, notes)
        connection.commit()
    return changed


def refuse(found: Sequence[Located], rows: dict[str, frozenset[str]], named: bool) -> None:
    """Refuse rows that are not proven.

    :raises NotLocated: saying of each package why
    """
    lines = []
    odd = []
    for one in found:
        fits = any(frozenset(rows[one.package]) == frozenset(each) for each in one.candidates)
        if one.verdict in ("nearest", "unknown") or not fits or (not named and not one.is_proven):
            odd.append(one)
            lines.append(f'package "{one.package}": {reason(one, named)}')
    if lines:
        raise NotLocated(odd, [*lines, "See: ws-alembic locate"])


def reason(one: Located, named: bool) -> str:
    """Return why nothing is stamped for a package."""
    places = "; ".join(", ".join(each) or "base" for each in one.candidates)
    if one.verdict == "nearest":
        return (
            f"its tables equal those of no revision, nearest is {places}: "
            f"{one.differences[0] if one.differences else ''}"
        )
    if one.verdict == "unknown":
        return "no revision of it could be replayed"
    if named:
        return f"its tables are those of {places}, not of what was named"
    if one.verdict == "ahead":
        return (
            f"{', '.join(one.between)} is applied, which no script defines: see ws-alembic -x "
            f"packages={one.package} check. If all that it did is taken back, name what stays: "
            f"ws-alembic -x packages={one.package} stamp --verified {' '.join(one.rows) or 'base'}"
        )
    return (
        f"its tables are those of {places}, and no table tells which: name one, "
        f"ws-alembic -x packages={one.package} stamp --verified REVISION"
    )
