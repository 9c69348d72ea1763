"""A scratch database in which the steps of a history run, some at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy.engine import URL

from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.units import read_plain
from websauna_migrate.locating.object_histories import is_left_out
from websauna_migrate.planning.plan import plan_undo, plan_upgrade
from websauna_migrate.planning.steps import Step
from websauna_migrate.replay.fresh import prepare
from websauna_migrate.reworking.squash.row_proof import Rows, read_rows_of
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.migrating import run_steps
from websauna_migrate.runs.site import Site


class Chain:
    """One scratch database with its own site.

    :ivar url: the database's
    """

    def __init__(self, author: Site, service: Service, url: URL) -> None:
        """Prepare an empty database.

        :param author: of the application's own database
        """
        self.url = url
        self.author = author
        self.site: Site = service.at(url).site()
        self.engine_options = author.settings.engine_options
        prepare(author.settings, url, self.site.loaded.graph.revisions)

    def upgrade(self, package: str, ids: Iterable[str], inside: Collection[str] = ()) -> None:
        """Apply revisions; first what they need besides the range.

        :param inside: the identifiers of the range
        """
        ids = [*ids]
        self.need(package, ids, inside)
        run_steps(self.site, self.steps_to(package, ids))

    def need(self, package: str, ids: Iterable[str], inside: Collection[str]) -> None:
        """Apply what revisions need besides the range, and none of the range."""
        steps = self.steps_to(package, ids)
        run_steps(
            self.site,
            [one for one in steps if one.package != package or one.revision.id not in inside],
        )

    def steps_to(self, package: str, ids: Iterable[str]) -> tuple[Step, ...]:
        """Return the steps that apply revisions, with all that they need."""
        targets = {package: tuple(sorted(ids))}
        return plan_upgrade(self.site.loaded.graph, self.site.applied(), targets).steps

    def take_back(self, package: str, revisions: Iterable[str]) -> None:
        """Take revisions back, on which nothing else stands."""
        those = [(package, one) for one in revisions]
        plan = plan_undo(self.site.loaded.graph, self.site.applied(), those, reason="proof")
        run_steps(self.site, plan.steps)

    def facts(self) -> Facts:
        """Return what the database is, without the service's own tables."""
        histories = {package.history_table for package in self.site.packages.values()}
        with connect(make_engine(self.url, self.engine_options)) as connection:
            found = read_plain(connection)
        return found.only(lambda one: not is_left_out(one, histories))

    def rows(self) -> dict[str, Rows]:
        """Return the rows of each table."""
        facts = self.facts()
        with connect(make_engine(self.url, self.engine_options)) as connection:
            return read_rows_of(connection, facts)
