"""The pages: where the packages stand, what an upgrade would do, and the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.engines import safe_url
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.pictures.svg import to_svg
from websauna_migrate.pictures.text_picture import to_text
from websauna_migrate.plain_text import counted, to_json
from websauna_migrate.planning.steps import Step
from websauna_migrate.results import (
    CheckProblem,
    GraphView,
    LedgerRun,
    LintFinding,
    LogFilter,
    PackageState,
    Plan,
    Readiness,
    SqlStatement,
    StepSql,
)
from websauna_migrate.revision_scripts.script_files import readable_text
from websauna_migrate.web.commands import with_ini
from websauna_migrate.web.templating import page, stylesheet

if TYPE_CHECKING:
    from websauna_migrate.service import MigrationService

#: So many steps of a plan are shown at once.
STEPS_SHOWN = 200

#: And so many runs of the ledger.
RUNS_SHOWN = 20


@dataclass(frozen=True)
class Look:
    """What the overview and the toolbar's panel show.

    :ivar url: the database, without its password
    :ivar plan: of an upgrade of all packages; ``None`` if there is none
    :ivar runs: the newest ones of the ledger, where they were asked for
    :ivar problem: why there is no plan, or why the database cannot be read
    """

    url: str
    states: tuple[PackageState, ...] = ()
    readiness: Readiness | None = None
    plan: Plan | None = None
    races: tuple[CheckProblem, ...] = ()
    runs: tuple[LedgerRun, ...] = ()
    problem: str | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The pending steps, in the order of the plan."""
        return () if self.plan is None else self.plan.steps

    @property
    def half_done(self) -> bool:
        """True if a step ended half done: no other runs before it is settled."""
        return self.readiness is not None and bool(self.readiness.half_done)

    @property
    def settled(self) -> bool:
        """True if nothing is pending, or half done."""
        return self.problem is None and not self.plan and not self.half_done

    @property
    def verdict(self) -> tuple[str, str]:
        """What it comes to: a word for the style sheet, and a sentence."""
        ready, steps = self.readiness, len(self.steps)
        if self.half_done:
            return "bad", "A step ended half done"
        if ready is not None and ready.running is not None:
            return "busy", "A run is in progress"
        if self.problem is not None:
            return "bad", "It cannot be told what is pending"
        if steps:
            return "pending", f"{counted(steps, 'step is', 'steps are')} pending"
        return "good", "All revisions are applied"


def look(service: MigrationService, *, runs: int = 0) -> Look:
    """Look at scripts and database, without a lock; what goes wrong is part of the answer.

    :param runs: how many of the newest runs are wanted
    """
    found = Look(safe_url(service.url))
    try:
        with service.one_look():
            found = replace(found, states=service.status())
            found = replace(found, readiness=service.readiness())
            found = replace(found, plan=service.plan())
            found = replace(found, races=service.races() if found.plan else ())
            found = replace(found, runs=service.log(LogFilter(limit=runs)) if runs else ())
    except MigrationError as exc:
        found = replace(found, problem=str(exc))
    return found


def service_of(request: Request) -> MigrationService:
    """Return the application's migration service."""
    service: MigrationService = request.registry.getUtility(IMigrationService)
    return service


def overview(request: Request) -> Response:
    """Show where the packages stand and what an upgrade would do."""
    seen = look(service_of(request), runs=RUNS_SHOWN)
    return page(request, "overview", look=seen, limit=STEPS_SHOWN, here="overview")


def status_json(request: Request) -> Response:
    """Answer as ``ws-alembic status --json`` does."""
    service = service_of(request)
    try:
        with service.one_look():
            states = service.status()
    except MigrationError as exc:
        body, status = to_json({"error": with_ini(request.registry, str(exc))}), 503
    else:
        body, status = to_json(states), 200
    return Response(body, status=status, content_type="application/json", charset="utf-8")


def step(request: Request) -> Response:
    """Show the SQL of a pending step below the lines of its script, with what is unsafe in it."""
    service = service_of(request)
    package, revision = request.matchdict["package"], request.matchdict["revision"]
    try:
        with service.one_look():
            plan = service.plan()
            found = [one for one in plan if (one.package, one.revision.id) == (package, revision)]
            if not found:
                raise HTTPNotFound("This revision is not pending.")
            sql: StepSql = service.step_sql(found[0])
            findings, note = lint_of(service, Plan((found[0],), "upgrade"))
    except MigrationError as exc:
        return page(request, "problem", 503, problem=str(exc), here="")
    return page(
        request,
        "step",
        step=found[0],
        sql=sql,
        blocks=list(blocks_of(sql, findings)),
        note=note,
        path=short_path(found[0].revision.path),
        here="",
    )


def short_path(path: str) -> str:
    """Return a path from the working folder on, if it is below that."""
    found = Path(path)
    return str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)


def lint_of(service: MigrationService, plan: Plan) -> tuple[tuple[LintFinding, ...], str | None]:
    """Return the unsafe changes of a plan, or why they are not known."""
    try:
        return service.lint(plan=plan).findings, None
    except MigrationError as exc:
        return (), str(exc)


@dataclass(frozen=True)
class Block:
    """A line of a script with the SQL that it gives."""

    line: int | None
    code: str
    statements: tuple[SqlStatement, ...]
    findings: tuple[LintFinding, ...]


def blocks_of(sql: StepSql, findings: tuple[LintFinding, ...]) -> Iterator[Block]:
    """Yield the statements of a step, those of one line together, in their order."""
    text = readable_text(sql.step.revision.path).splitlines()
    by_line: dict[int, tuple[LintFinding, ...]] = {}
    for one in findings:
        by_line[one.line] = (*by_line.get(one.line, ()), one)
    group: list[SqlStatement] = []
    for place, statement in enumerate(sql.statements):
        group.append(statement)
        following = sql.statements[place + 1 : place + 2]
        if following and following[0].line == statement.line:
            continue
        line = statement.line
        code = text[line - 1].strip() if line is not None and line <= len(text) else ""
        yield Block(line, code, tuple(group), by_line.pop(line or 0, ()))
        group = []


def graph(request: Request) -> Response:
    """Show the graph, and what may be asked of it."""
    service = service_of(request)
    asked = {name: request.GET.get(name, "").strip() for name in ("package", "around", "table")}
    values: dict[str, object] = {
        "asked": asked,
        "packages": [one.name for one in service.packages],
        "here": "graph",
    }
    try:
        with service.one_look():
            view = graph_asked(service, request.GET)
    except MigrationError as exc:
        return page(request, "graph", 400, picture="", text="", problem=str(exc), **values)
    picture = Markup(to_svg(view, inline=True))
    return page(request, "graph", 200, picture=picture, text=to_text(view), problem=None, **values)


def picture(request: Request) -> Response:
    """Return the graph as an SVG file."""
    service = service_of(request)
    try:
        with service.one_look():
            view = graph_asked(service, request.GET)
    except MigrationError as exc:
        text = with_ini(request.registry, str(exc))
        return Response(text, status=400, content_type="text/plain", charset="utf-8")
    return Response(to_svg(view), content_type="image/svg+xml", charset="utf-8")


def graph_asked(service: MigrationService, asked: Mapping[str, str]) -> GraphView:
    """Return the graph that a query string asks for."""
    package, around, table = (
        asked.get(name, "").strip() or None for name in ("package", "around", "table")
    )
    return service.graph(packages=package, around=around, table=table, fold="whole" not in asked)


def style(request: Request) -> Response:
    """Return the style sheet; its address changes with it."""
    response = Response(stylesheet(), content_type="text/css", charset="utf-8")
    response.cache_control.public = True
    response.cache_control.max_age = 86400
    return response
