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

    ``websauna_migrate.web_prefix``
        the path, default ``/migrations``
    """
    from websauna_migrate.config.settings import parse_settings
    from websauna_migrate.web.ready import ReadinessProbe, ready

    settings = parse_settings(config.registry.settings or {})
    config.registry.websauna_migrate_probe = ReadinessProbe(config.registry)
    config.add_route(
        "websauna_migrate.ready", f"{settings.web_prefix}/ready", request_method=("GET", "HEAD")
    )
    config.add_view(ready, route_name="websauna_migrate.ready", http_cache=0)
