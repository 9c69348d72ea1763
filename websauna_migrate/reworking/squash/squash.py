"""``squash``: the scripts of a range become one, which is proven before it is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from alembic.util import rev_id as new_revision_id
from alembic.util.exc import CommandError

from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.autogenerate.write.revision_files import ensure_line, insert
from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.template import ensure_template, require_editable
from websauna_migrate.facts.fact import Facts
from websauna_migrate.facts.scratch_databases import scratch_database
from websauna_migrate.facts.units import Unit, unit_of
from websauna_migrate.interfaces import Packages
from websauna_migrate.locating.locate import Locator
from websauna_migrate.plain_text import counted
from websauna_migrate.planning.authors_order import create_date
from websauna_migrate.planning.package_targets import range_of
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.squash_ranges import SquashRange, squash_ranges
from websauna_migrate.planning.steps import is_transactional
from websauna_migrate.proving.not_proven import NotProven
from websauna_migrate.results import KeptStep, Squashed, SquashScript
from websauna_migrate.revision_scripts.revision_reader import ScriptReader
from websauna_migrate.revision_scripts.script_files import PROVED, digest_of
from websauna_migrate.reworking.redo import only_package
from websauna_migrate.reworking.squash.chains import Chain
from websauna_migrate.reworking.squash.composing import compose, finish
from websauna_migrate.reworking.squash.proof import left_by_downgrade, prove_squash
from websauna_migrate.reworking.squash.row_proof import Rows
from websauna_migrate.reworking.squash.stretches import Stretch, stretches_of
from websauna_migrate.reworking.squash.written_anew import Operations, operations_between
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.waiting import timeouts_of_script

#: A stretch with the operations that are written anew for it; none where its step is kept.
Written = tuple[Stretch, "Operations | None"]

#: The rows of two databases, by table.
TwiceRows = tuple[Mapping[str, Rows], Mapping[str, Rows]]


def squash(
    service: Service,
    packages: Packages,
    rev_range: str | None = None,
    *,
    message: str | None = None,
    rev_id: str | None = None,
) -> Squashed:
    """Write one script in place of those of a range; more where other packages come between.

    :param rev_range: ``start:end``, both included; default all
    :raises UsageError: if several packages are meant, or for a range of another form
    :raises MigrationError: naming what speaks against it; nothing was written
    """
    began = time.perf_counter()
    site = service.site_anew()
    name = only_package(site, packages, "squash")
    require_editable(site.packages[name])
    ensure_template(site.packages[name])
    history = site.loaded.histories[name]
    start, colon, end = (rev_range or "base:head").strip().partition(":")
    if not colon or ":" in end:
        raise UsageError(f'The range "{rev_range}" is not of the form [start]:[end].')
    ids = range_of(history, start, end or "head", ())
    if len(ids) < 2:
        raise UsageError(
            f'The range "{rev_range or "base:head"}" of package "{name}" has '
            f"{counted(len(ids), 'revision')}: there is nothing to squash."
        )
    ranges = squash_ranges(site.loaded.graph, name, ids)
    work = Squashing(service, site, ranges)
    scripts = work.write(message, rev_id)
    return Squashed(name, scripts, work.dialect, time.perf_counter() - began)


class Squashing:
    """The squash of some ranges of one package that come one behind the other."""

    def __init__(self, service: Service, site: Site, ranges: Sequence[SquashRange]) -> None:
        """Replay the history, as far as it is not known."""
        self.service = service
        self.site = site
        self.ranges = ranges
        self.package = ranges[0].package
        self.dialect = site.settings.require_url().get_backend_name()
        with site.reading() as connection:
            locator = Locator(site, service, self.package, connection)
        self.replayed = locator.replayed
        inside = {one.id for wanted in ranges for one in wanted.revisions}
        for failed in self.replayed.failed:
            blocked = {f"{self.package}@{one}" for one in inside}
            if blocked & {f"{failed.package}@{failed.revision}", *failed.follows}:
                raise MigrationError(
                    f'"{failed.revision}" of package "{failed.package}" cannot be replayed on an '
                    f"empty database: {failed.problem}\nNothing was written."
                )
        #: Steps that are kept because what was written anew for them is not the same.
        self.kept: dict[str, str] = {}
        #: What the downgrades of old scripts leave, by the numbers of ranges, as far as asked.
        self.left: dict[int, Facts | None] = {}

    def write(self, message: str | None, rev_id: str | None) -> tuple[SquashScript, ...]:
        """Write the scripts and prove them; keep more steps as they are where they differ.

        :raises NotProven: if they differ all the same
        """
        while True:
            made, after, rows = self.make()
            written: list[tuple[SquashRange, str]] = []
            paths: list[Path] = []
            try:
                parents: tuple[str, ...] = ()
                for number, (wanted, stretches) in enumerate(made):
                    own_id = rev_id if rev_id and not number else new_revision_id()
                    paths.append(self.write_one(wanted, stretches, parents, message, own_id))
                    written.append((wanted, own_id))
                    parents = (own_id,)
                site = self.service.site_anew()
                prove_squash(site, self.service, written, after, rows, self.left)
                return tuple(self.told(site, made, written))
            except NotProven as exc:
                unlink(paths)
                if not (self.keep_more(exc) or self.look_back(exc)):
                    raise
            except BaseException:
                unlink(paths)
                raise

    def keep_more(self, exc: NotProven) -> bool:
        """Note the steps that made what differs; return whether there are any."""
        makers = self.makers()
        found: dict[str, str] = dict.fromkeys(
            exc.failed_in, "its operations, written anew, do not run"
        )
        for one in exc.differences:
            unit = unit_of(one.fact)
            for other in (unit, (*unit[:2], "table", unit[1], "")):
                maker = makers.get(other)
                if maker is not None and maker not in {**self.kept, **found}:
                    found.setdefault(maker, f"{one.object} cannot be written otherwise")
                    break
        self.kept.update(found)
        return bool(found)

    def look_back(self, exc: NotProven) -> bool:
        """Look what the old scripts' own downgrade leaves, if it was not asked; it may be as much.

        :returns: whether that is known now
        """
        if exc.not_back is None or exc.not_back in self.left:
            return False
        ranges = self.ranges[: exc.not_back + 1]
        left = left_by_downgrade(self.site, self.service, ranges)
        self.left[exc.not_back] = left
        return left is not None

    def makers(self) -> Mapping[Unit, str]:
        """Return for each object the last step of the ranges that changed it."""
        inside = {one.id for wanted in self.ranges for one in wanted.revisions}
        return {
            unit: step.revision
            for step in self.replayed.objects.steps
            if step.package == self.package and step.revision in inside
            for unit in step.changes
        }

    def make(self) -> tuple[list[tuple[SquashRange, list[Written]]], list[Facts], TwiceRows]:
        """Return the stretches of each range with their operations, and what the old scripts give.

        Two databases run the old scripts: one is a stretch ahead of the other. The rows are those
        of both.
        """
        made: list[tuple[SquashRange, list[Written]]] = []
        after: list[Facts] = []
        with ExitStack() as stack:
            urls = [stack.enter_context(scratch_database(self.site.settings)) for _ in range(2)]
            behind, ahead = (Chain(self.site, self.service, url) for url in urls)
            for wanted in self.ranges:
                inside = {one.id for one in wanted.revisions}
                found: list[Written] = []
                made.append((wanted, found))
                for stretch in stretches_of(
                    self.replayed.objects, wanted, self.site.loaded.effects, self.kept
                ):
                    ids = [one.id for one in stretch.revisions]
                    ahead.upgrade(self.package, ids, inside)
                    operations = None
                    if not stretch.why:
                        behind.need(self.package, ids, inside)
                        operations = operations_between(
                            self.service, behind, ahead, self.changed_by(ids), self.scripts_to(ids)
                        )
                    found.append((stretch, operations))
                    behind.upgrade(self.package, ids, inside)
                after.append(ahead.facts())
            elided = any(stretch.elided for _, found in made for stretch, _ in found)
            # Where rows are left out, those that are left tell nothing.
            rows: TwiceRows = ({}, {}) if elided else (ahead.rows(), behind.rows())
        return made, after, rows

    def changed_by(self, ids: Sequence[str]) -> set[str]:
        """Return the names of the tables and types that steps change."""
        return {
            unit[1]
            for step in self.replayed.objects.steps
            if step.package == self.package and step.revision in ids
            for unit in step.changes
        }

    def scripts_to(self, ids: Sequence[str]) -> list[Revision]:
        """Return the package's revisions up to the last of some, as they are applied."""
        revisions = self.site.loaded.graph.timeline([self.package])
        last = max(place for place, one in enumerate(revisions) if one.id in ids)
        return [*revisions[: last + 1]]

    def write_one(
        self,
        wanted: SquashRange,
        stretches: Sequence[Written],
        behind: tuple[str, ...],
        message: str | None,
        own_id: str,
    ) -> Path:
        """Write one script.

        :param behind: the squash that was written before, if there is one
        """
        composed = compose(stretches)
        loaded = self.service.site_anew().loaded
        environment = loaded.environments[self.package]
        reader = self.site.loaded.environments[self.package].reader
        first, last = wanted.revisions[0], wanted.last
        parents = behind or wanted.parents
        title = f"{first.message} ... {last.message}"
        against = {
            package: tuple(id_ for name, id_ in last.written_against if name == package)
            for package, _ in last.written_against
        }
        try:
            script = environment.scripts.generate_revision(
                own_id,
                message or title.replace('"', "'").splitlines()[0],
                refresh=False,
                head=list(parents) or "base",
                splice=True,
                depends_on=list(wanted.depends_on) or None,
                version_path=str(environment.package.location_of(last.path)),
                config=environment.config,
                requires=wanted.requires,
                written_against=against,
                upgrades=composed.upgrade,
                downgrades=composed.downgrade,
                imports="\n".join(sorted(composed.imports)),
            )
            assert script is not None
        except CommandError as exc:
            raise RevisionFailed(self.package, str(exc)) from exc
        path = Path(script.path)
        try:
            ensure_line(script, "requires", wanted.requires)
            if wanted.labels:
                # Alembic's own map has the old scripts, which have them as well.
                insert(path, f"branch_labels = {wanted.labels!r}\n")
            values = {"run_before": wanted.run_before, "replaces": wanted.replaces}
            finish(path, composed, values, create_date(last))
            lines = [*said_of_steps(reader, wanted, stretches)]
            insert(path, "".join(f"{name} = {value!r}\n" for name, value in lines))
            # What ends the command before the proof leaves a script that says so.
            insert(path, 'proved = ""\n')
        except BaseException:
            path.unlink()
            raise
        return path

    def told(
        self,
        site: Site,
        made: Sequence[tuple[SquashRange, Sequence[Written]]],
        written: Sequence[tuple[SquashRange, str]],
    ) -> Iterator[SquashScript]:
        """Write the digest of the proof into each script, and yield what is to be told."""
        revisions = site.loaded.histories[self.package].revisions
        for (wanted, stretches), (_, own_id) in zip(made, written, strict=True):
            revision = revisions[own_id]
            there = site.loaded.histories[self.package].replacements.written
            replaced = [there[one] for one in wanted.replaces if one in there]
            proved = digest_of(revision, replaced)
            path = Path(revision.path)
            text = path.read_text(encoding="utf-8-sig")
            path.write_text(PROVED.sub(f'proved = "{proved}"\n', text, count=1), encoding="utf-8")
            yield SquashScript(
                own_id,
                revision.path,
                wanted.replaces,
                tuple(
                    KeptStep(one.id, stretch.why)
                    for stretch, _ in stretches
                    if stretch.why
                    for one in stretch.revisions
                ),
                tuple(one.id for stretch, _ in stretches for one in stretch.elided),
                proved,
            )


def said_of_steps(
    reader: ScriptReader, wanted: SquashRange, stretches: Sequence[Written]
) -> Iterator[tuple[str, object]]:
    """Yield what the old scripts say of how their steps run, for the new one.

    The longest limit holds for all. What is written anew can be one transaction, and loses nothing.
    """
    limits: dict[str, list[float]] = {}
    for one in wanted.revisions:
        for name, value in timeouts_of_script(reader.imported(one), one.path).items():
            limits.setdefault(name, []).append(value)
    for name, values in limits.items():
        # 0 milliseconds are no limit.
        yield name, 0 if name.endswith("_ms") and 0 in values else max(values)
    kept = [one for stretch, _ in stretches if stretch.why for one in stretch.revisions]
    if not all(is_transactional(reader.imported(one)) for one in kept):
        yield "transactional", False
    if loses := {name: why for one in kept for name, why in one.loses}:
        yield "loses", loses


def unlink(paths: Sequence[Path]) -> None:
    """Remove scripts that are not kept."""
    for path in paths:
        path.unlink(missing_ok=True)
