"""What an application does when it starts, or is asked, while revisions are pending."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pyramid.events import ApplicationCreated
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.interfaces import IRootFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.traversal import DefaultRootFactory
from pyramid.tweens import INGRESS

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.settings import parse_settings
from websauna_migrate.config.starting import is_for_a_command
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.plain_text import word
from websauna_migrate.revision_scripts.script_files import folder_times
from websauna_migrate.web.access import CSRF, UPGRADE, VIEW, is_from_here, is_local, may, protect
from websauna_migrate.web.commands import with_ini
from websauna_migrate.web.pages import Look, look
from websauna_migrate.web.templating import page

if TYPE_CHECKING:
    from pyramid.config import Configurator
    from pyramid.registry import Registry

    from websauna_migrate.service import MigrationService

log = logging.getLogger(__name__)

Handler = Callable[[Request], Response]

#: Seconds between two looks at the script folders' times.
PATIENCE = 1.0

#: How what is pending is applied, and how a half done step is settled, which comes first.
COMMAND = "ws-alembic -x packages=all upgrade"
REPAIR = "ws-alembic repair"

#: The toolbar's own requests go through.
TOOLBAR = "/_debug_toolbar/"


def includeme(config: Configurator) -> None:
    """Do what the setting ``websauna_migrate.on_pending`` says; nothing for a ``ws-`` command.

    ``config.include("websauna_migrate")`` includes this where the setting is set.
    """
    mode = parse_settings(config.registry.settings or {}).on_pending
    if is_for_a_command() or mode == "ignore":
        return
    if mode != "page":
        config.add_subscriber(application_created, ApplicationCreated)
        return
    config.include("websauna_migrate.web")
    prefix = parse_settings(config.registry.settings or {}).web_prefix
    config.add_route("websauna_migrate.upgrade", f"{prefix}/upgrade", request_method="POST")
    config.add_view(upgrade, route_name="websauna_migrate.upgrade", require_csrf=False)
    config.add_tween("websauna_migrate.web.pending.pending_tween", under=INGRESS)


def application_created(event: ApplicationCreated) -> None:
    """Warn of pending revisions, refuse to start, or apply them."""
    registry = event.app.registry
    mode = parse_settings(registry.settings or {}).on_pending
    service = registry.getUtility(IMigrationService)
    try:
        if mode == "upgrade":
            # Many workers may start at once: one holds the lock, the others find nothing to do.
            service.upgrade()
            return
        words = with_ini(registry, what_is_to_do(service))
    except MigrationError as exc:
        if mode in ("fail", "upgrade"):
            exc.args = (with_ini(registry, str(exc)), *exc.args[1:])
            raise
        problem = with_ini(registry, str(exc))
        log.warning("It cannot be told whether revisions are pending: %s", problem)
        return
    if words:
        if mode == "fail":
            raise MigrationError(words)
        log.warning("%s", words)


def what_is_to_do(service: MigrationService) -> str:
    """Return what is half done, or pending, and the command for it; empty if nothing is."""
    with service.one_look():
        if half_done := service.readiness().half_done:
            names = "; ".join(word(str(entry)) for entry in half_done)
            return f"A step ended half done: {names}. Settle it first: {REPAIR}"
        steps = service.plan().steps
    names = ", ".join(word(f"{one.package} {one.revision.id}") for one in steps[:10])
    more = f" and {len(steps) - 10} more" if len(steps) > 10 else ""
    return f"Revisions are pending: {names}{more}. Run: {COMMAND}" if steps else ""


class PendingWatch:
    """Knows if revisions are pending; looks again when a script folder has changed.

    While nothing is pending, a request costs one look at a clock, and once a second one at the
    time of each folder. While something is, each request looks at the database.
    """

    def __init__(self, service: MigrationService) -> None:
        self.service = service
        self._settled: tuple[int, ...] | None = None
        self._next = 0.0

    def is_settled(self) -> bool:
        """True if nothing was pending, and no folder has changed since."""
        now = time.monotonic()
        if now < self._next:
            return True
        if self._settled is None or self._settled != self._times():
            return False
        self._next = now + PATIENCE
        return True

    def look(self) -> Look:
        """Look at scripts and database."""
        times = self._times()
        found = look(self.service)
        if found.settled:
            self._settled, self._next = times, time.monotonic() + PATIENCE
        else:
            self._settled, self._next = None, 0.0
        return found

    def _times(self) -> tuple[int, ...]:
        return folder_times(
            folder for package in self.service.packages for folder in package.version_locations
        )


def pending_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer with the pending page in place of the application's while something is pending."""
    watch = PendingWatch(registry.getUtility(IMigrationService))
    prefix = parse_settings(registry.settings or {}).web_prefix
    ours = {f"{prefix}{one}" for one in ("", "/ready", "/status.json", "/upgrade", "/style.css")}
    ours |= {f"{prefix}/graph", f"{prefix}/graph.svg"}
    below = (f"{prefix}/step/", TOOLBAR)

    def tween(request: Request) -> Response:
        if watch.is_settled():
            return handler(request)
        if request.path_info in ours or request.path_info.startswith(below):
            return handler(request)
        found = watch.look()
        if found.settled:
            return handler(request)
        return pending_page(request, found)

    return tween


def pending_page(request: Request, found: Look, status: int = 503) -> Response:
    """Return the page that names the pending steps; those who may not know get no names."""
    is_here = is_local(request)
    root = (request.registry.queryUtility(IRootFactory) or DefaultRootFactory)(request)
    if not (is_here or may(request, VIEW, root)):
        text = "This application waits for its database to be migrated.\n"
        return protect(Response(text, status=503, content_type="text/plain", charset="utf-8"))
    offers = request.accept.acceptable_offers(["text/html", "text/plain"])
    if not offers or offers[0][0] == "text/plain":
        steps = "".join(
            f"{word(one.package)} {word(one.revision.id)}  {word(one.revision.message)}\n"
            for one in found.plan or ()
        )
        remedy = f"Settle it first: {REPAIR}" if found.half_done else f"Run: {COMMAND}"
        text = f"{found.problem or found.verdict[1]}\n{steps}{remedy}\n"
        text = with_ini(request.registry, text)
        return protect(Response(text, status=status, content_type="text/plain", charset="utf-8"))
    token = None
    if found.problem is None and not found.half_done and (is_here or may(request, UPGRADE, root)):
        token = CSRF.get_csrf_token(request)
    command = REPAIR if found.half_done else COMMAND
    values = {"look": found, "token": token, "command": command, "back": back(request)}
    return protect(page(request, "pending", status, here="", **values))


def back(request: Request) -> str:
    """Return where a browser goes when all is applied: a path of this application."""
    if request.method not in ("GET", "HEAD"):
        path = str(request.POST.get("back", "/"))
    else:
        path = str(request.path_qs)
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def upgrade(request: Request) -> Response:
    """Apply what is pending, and go back to where it was asked for."""
    if not (is_local(request) or may(request, UPGRADE, request.context)):
        raise HTTPForbidden(f'This needs the permission "{UPGRADE}", or a browser on the server.')
    if not is_from_here(request):
        raise HTTPForbidden("The form is too old, or of another site. Load the page again.")
    service = request.registry.getUtility(IMigrationService)
    try:
        service.upgrade()
    except MigrationError as exc:
        return pending_page(request, replace(look(service), problem=str(exc)), 500)
    return HTTPSeeOther(back(request))
