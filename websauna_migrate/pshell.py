"""The service in Pyramid's shell: ``setup = websauna_migrate.pshell.setup`` in ``[pshell]``."""

from __future__ import annotations

from typing import Any

from websauna_migrate.interfaces import IMigrationService


def setup(env: dict[str, Any]) -> None:
    """Add ``migrations``, the application's migration service, to the names of a shell."""
    env["migrations"] = env["registry"].getUtility(IMigrationService)
