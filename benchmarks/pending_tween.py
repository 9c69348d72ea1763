"""What the pending page's tween costs a request while nothing is pending.

``python benchmarks/pending_tween.py`` prints microseconds a request, the least of 20 rounds, with
all that the tween does in that time: once a second it looks at the script folders.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from acme.app import Initializer
from pyramid.request import Request

from websauna_migrate import IMigrationService
from websauna_migrate.web.pending import pending_tween

ROUNDS, REQUESTS = 20, 100_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'acme.sqlite'}"
        initializer = Initializer({}, {"sqlalchemy.url": url})
        initializer.run()
        registry = initializer.make_wsgi_app().registry
        registry.getUtility(IMigrationService).upgrade()
        request = Request.blank("/")
        request.registry = registry

        def handler(request: object) -> None:
            return None

        tween = pending_tween(handler, registry)  # type: ignore[arg-type]
        tween(request)
        with_it = min(measure(tween, request) for _ in range(ROUNDS))
        without = min(measure(handler, request) for _ in range(ROUNDS))
        print(f"{(with_it - without) * 1e6:.2f} microseconds a request")


def measure(handler: object, request: Request) -> float:
    began = time.perf_counter()
    for _ in range(REQUESTS):
        handler(request)  # type: ignore[operator]
    return (time.perf_counter() - began) / REQUESTS


if __name__ == "__main__":
    main()
