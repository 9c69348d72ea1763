"""Pages of a running application: ``config.include("websauna_migrate.web")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyramid.config import Configurator

__all__ = ["includeme"]


def includeme(config: Configurator) -> None:
    """Add the pages to an application that includes ``websauna_migrate``.

    ``PREFIX/ready``
        readiness, for a probe: 200 or 503 as text, a line for each package; as JSON for
        ``Accept: application/json``. Open to everybody: it names packages and nothing else.
    ``PREFIX``
        where the packages stand, what an upgrade would do and why, and the newest runs; with pages
        of the graph and of each pending step
    ``PREFIX/status.json``
        what ``ws-alembic status --json`` prints

    All but the first need the permission ``websauna_migrate.view``, which is denied where the
    application has no security policy. Settings:

    ``websauna_migrate.web_prefix``
        the path, default ``/migrations``
    ``websauna_migrate.web_localhost``
        ``on`` to show the pages without the permission to a browser on this machine itself, which
        is meant for development; default ``off``
    """
    from websauna_migrate.config.settings import parse_settings
    from websauna_migrate.web import pages
    from websauna_migrate.web.access import require
    from websauna_migrate.web.ready import ReadinessProbe, ready

    config.include("websauna_migrate.web.templating")
    prefix = parse_settings(config.registry.settings or {}).web_prefix
    config.registry.websauna_migrate_probe = ReadinessProbe(config.registry)
    views = {
        "ready": ("/ready", ready),
        "overview": ("", require(pages.overview)),
        "status": ("/status.json", require(pages.status_json)),
        "graph": ("/graph", require(pages.graph)),
        "picture": ("/graph.svg", require(pages.picture)),
        "step": ("/step/{package}/{revision}", require(pages.step)),
        "style": ("/style.css", pages.style),
    }
    for name, (path, view) in views.items():
        route = f"websauna_migrate.{name}"
        config.add_route(route, f"{prefix}{path}" or "/", request_method=("GET", "HEAD"))
        config.add_view(view, route_name=route, http_cache=0 if name == "ready" else None)
