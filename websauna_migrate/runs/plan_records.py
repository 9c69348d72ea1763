"""Plans that are kept, and whether one is still what would run."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Iterator
from importlib.metadata import version

from sqlalchemy.engine import URL

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.base_errors import ExitCode, MigrationError
from websauna_migrate.database.cache import program_version
from websauna_migrate.interfaces import Packages, Targets
from websauna_migrate.planning.package_targets import as_targets
from websauna_migrate.planning.steps import Plan, Step
from websauna_migrate.results import RecordedPlan, RecordedStep
from websauna_migrate.runs.offline import quiet_alembic, render_step
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.site import Site


class PlanOutdated(MigrationError, RuntimeError):
    """Something else would run than a recorded plan says.

    :ivar causes: why, a clause each
    """

    exit_code = ExitCode.DRIFT

    def __init__(self, causes: list[str]) -> None:
        self.causes = tuple(causes)
        lines = "".join(f"\n  {cause}" for cause in causes)
        super().__init__(
            f"The plan is not what would run now, and nothing was changed:{lines}\n"
            "Look at what would run, and write the plan anew: ws-alembic plan --out FILE"
        )


def record_plan(
    site: Site, plan: Plan, revision: Targets, packages: Packages, *, ignore_order: bool
) -> RecordedPlan:
    """Return the plan of an upgrade with all by which it can be told later if it is the same.

    :param revision: what it was made for, as for :func:`.make_planner`
    """
    with PROCESS_LOCK.held():
        steps = tuple(record_steps(site, plan))
    return RecordedPlan(
        database=name_of(site.settings.require_url()),
        targets=as_targets(revision),
        packages=site.select(packages),
        ignore_order=ignore_order,
        versions=versions(),
        steps=steps,
    )


def versions() -> dict[str, str]:
    """Return the versions of what makes SQL of scripts."""
    return {
        "python": platform.python_version(),
        "websauna_migrate": program_version(),
        **{name: version(name) for name in ("alembic", "sqlalchemy")},
    }


def name_of(url: URL) -> str:
    """Return what tells a database from others: neither the user nor options do."""
    bare = url.set(drivername=url.get_backend_name(), query={})
    return bare._replace(username=None, password=None).render_as_string()


def record_steps(site: Site, plan: Plan) -> Iterator[RecordedStep]:
    """Yield a plan's steps with the checksums of their scripts and of their SQL.

    The caller holds :data:`websauna_migrate.runs.process_lock.PROCESS_LOCK`.
    """
    # Environments that no run uses: a script that is only looked at changes them.
    apart = site.loaded.again()
    for step in plan.steps:
        reader = site.loaded.environments[step.package].reader
        yield RecordedStep(
            step.package,
            step.revision.id,
            tuple(sorted(step.rows_before)),
            tuple(sorted(step.rows_after)),
            step.revision.path,
            reader.digest(step.revision),
            sql_checksum(apart, step),
        )


def sql_checksum(scripts: LoadedScripts, step: Step) -> str | None:
    """Return the SHA-256 of a step's SQL.

    :returns: ``None`` if it reads from the database, or gives other SQL each time
    """
    found = set()
    with quiet_alembic():
        for _ in range(2):
            output = io.StringIO()
            try:
                render_step(scripts, step, output, None, has_table=True)
            except (Exception, SystemExit):
                return None
            found.add(hashlib.sha256(output.getvalue().encode()).hexdigest())
    return found.pop() if len(found) == 1 else None


def refuse_missing(site: Site, recorded: RecordedPlan) -> None:
    """Refuse a plan for another database, or of packages that are not here.

    :raises PlanOutdated: naming them
    """
    causes, here = [], name_of(site.settings.require_url())
    if recorded.database != here:
        causes.append(f"another database: the plan is for {recorded.database}, this is {here}")
    names = {*recorded.packages, *(step.package for step in recorded.steps)}
    causes += [f"{name}: the package is missing" for name in sorted(names - {*site.packages})]
    if causes:
        raise PlanOutdated(causes)


def refuse_outdated(site: Site, recorded: RecordedPlan, plan: Plan) -> None:
    """Refuse to run a plan that is not the recorded one; called within the run.

    :raises PlanOutdated: naming each cause
    """
    if causes := list(differences(site, recorded, tuple(record_steps(site, plan)))):
        raise PlanOutdated(causes)


def differences(
    site: Site, recorded: RecordedPlan, steps: tuple[RecordedStep, ...]
) -> Iterator[str]:
    """Yield in what the steps that would run differ from the recorded ones, a clause each."""
    now = {(step.package, step.revision): step for step in steps}
    then = {(step.package, step.revision): step for step in recorded.steps}
    before = recorded.versions
    changed = [
        f"{name} {before.get(name)} then, {number} now"
        for name, number in versions().items()
        if before.get(name) != number
    ]
    for key, step in then.items():
        name = " ".join(key)
        if key in now:
            yield from (f"{name}: {one}" for one in changes(step, now[key], changed))
        elif step.revision in site.loaded.histories[step.package]:
            yield f"{name}: it would not run any more; the step was applied since"
        else:
            yield f"{name}: its script is missing"
    for key in now.keys() - then.keys():
        yield f"{' '.join(key)}: it would run too, and is not in the plan"
    if now.keys() == then.keys() and [*now] != [*then]:
        yield f"the order of the steps: {', '.join(' '.join(key) for key in now)}"


def changes(then: RecordedStep, now: RecordedStep, versions: list[str]) -> Iterator[str]:
    """Yield in what a step differs from the recorded one.

    :param versions: in what the programs differ
    """
    told = ", ".join(versions)
    if then.script != now.script:
        yield f"script edited ({now.path})"
    elif then.sql != now.sql:
        yield f"its SQL differs ({told or 'of something that the script imports or reads'})"
    elif now.sql is None and versions:
        yield f"its SQL is known only when it runs, and may differ ({told})"
    if (then.rows_before, then.rows_after) != (now.rows_before, now.rows_after):
        yield (
            f"the history is at {', '.join(now.rows_before) or 'base'} before it, "
            f"not at {', '.join(then.rows_before) or 'base'}"
        )
