"""Readiness of an application, for a load balancer's or Kubernetes' probe."""

from __future__ import annotations

import threading
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from websauna_migrate.errors import MigrationError
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.results import Readiness

__all__ = ["ReadinessProbe", "ready"]


class ReadinessProbe:
    """Asks the database until it is ready, and remembers that for the life of the process.

    Once an application serves, its database may go ahead of it, when the next release migrates:
    that is no reason to stop. Requests that come at once share one look.
    """

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self._last: Readiness | None = None
        self._looks = 0
        self._looking = threading.Lock()

    def look(self) -> Readiness:
        """Return the readiness.

        :raises MigrationError: if the database or the scripts cannot be read
        """
        if self._last is not None and self._last.is_ready:
            return self._last
        looks = self._looks
        with self._looking:
            # Another request may have looked while this one waited for its turn.
            if self._looks == looks or self._last is None:
                service = self.registry.getUtility(IMigrationService)
                self._last = found = service.readiness()
                self._looks += 1
                return found  # type: ignore[no-any-return]
            return self._last


def ready(request: Request) -> Response:
    """Answer with 200 if the database has what the application's scripts make, else with 503."""
    try:
        found = request.registry.websauna_migrate_probe.look()
    except MigrationError as exc:
        # Its first sentence names what is at fault; the rest is for the operator's log.
        return answer(request, 503, "cannot tell", (f"cannot tell: {type(exc).__name__}",), {})
    word = "ready" if found.is_ready else "not ready"
    return answer(request, 200 if found.is_ready else 503, word, found.lines(), found.packages)


def answer(
    request: Request, status: int, word: str, lines: tuple[str, ...], packages: Any
) -> Response:
    """Return the response, as text or JSON."""
    offers = request.accept.acceptable_offers(["text/plain", "application/json"])
    if offers and offers[0][0] == "application/json":
        return Response(
            json_body={"status": word, "packages": dict(packages), "lines": list(lines)},
            status=status,
        )
    text = "".join(f"{line}\n" for line in (word, *lines))
    return Response(text, status=status, content_type="text/plain", charset="utf-8")
