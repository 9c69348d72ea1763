"""Readiness of an application, for a load balancer's or Kubernetes' probe."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyramid.request import Request
from pyramid.response import Response
from sqlalchemy.exc import SQLAlchemyError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.results import Readiness

if TYPE_CHECKING:
    from pyramid.registry import Registry

    from websauna_migrate.interfaces import ReadinessLooks

#: Seconds from the beginning of a look within which a request that comes gets its answer.
SHARED_SECONDS = 0.1


class ReadinessProbe:
    """Asks the database until it is ready, and remembers that for the life of the process.

    Once an application serves, its database may go ahead of it, when the next release migrates:
    that is no reason to stop.

    One request looks at a time. Those that come meanwhile get its answer, and so do those that come
    within :data:`SHARED_SECONDS` of its beginning: an answer is as old as that, or as one look
    takes, and no older.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._watch: ReadinessLooks | None = None
        self._looking = threading.Lock()
        #: What was found, or why nothing was; and when that look began and ended.
        self._found: Readiness | str | None = None
        self._began = self._ended = 0.0

    def look(self) -> Readiness | str:
        """Return the readiness, or the name of what made it impossible to tell."""
        if (remembered := self._found) is not None and is_final(remembered):
            return remembered
        asked = time.monotonic()
        with self._looking:
            found = self._found
            is_fresh = self._ended >= asked or self._began >= asked - SHARED_SECONDS
            if found is None or not (is_fresh or is_final(found)):
                self._began = time.monotonic()
                self._found = found = self._ask()
                self._ended = time.monotonic()
            return found

    def _ask(self) -> Readiness | str:
        """Look at the database."""
        if self._watch is None:
            self._watch = self._registry.getUtility(IMigrationService).watch_readiness()
        try:
            found: Readiness = self._watch.look()
        except (MigrationError, SQLAlchemyError) as exc:
            # Its words are for the operator's log: they may name what a caller is not to know.
            return type(exc).__name__
        if found.is_ready:
            self._watch.close()
        return found


def is_final(found: Readiness | str) -> bool:
    """True if it need not be asked again."""
    return isinstance(found, Readiness) and found.is_ready


def ready(request: Request) -> Response:
    """Answer with 200 if the database has what the application's scripts make, else with 503."""
    found = request.registry.websauna_migrate_probe.look()
    if isinstance(found, str):
        return answer(request, 503, "cannot tell", (f"cannot tell: {found}",), {})
    word = "ready" if found.is_ready else "not ready"
    return answer(request, 200 if found.is_ready else 503, word, found.lines(), found.packages)


def answer(
    request: Request,
    status: int,
    word: str,
    lines: tuple[str, ...],
    packages: Mapping[str, object],
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
