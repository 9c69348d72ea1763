"""The limits that a revision script sets for its own step."""

from __future__ import annotations

import math

from websauna_migrate.database.timeouts import NAMES
from websauna_migrate.revision_scripts.script_error import ScriptError

__all__ = ["timeouts_of_script"]


def timeouts_of_script(module: object, path: str) -> dict[str, float]:
    """Return the limits that a revision script sets for itself, by name.

    :raises ScriptError: if one is not a number, or below 0
    """
    found: dict[str, float] = {}
    for name in NAMES:
        value = getattr(module, name, None)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
            or value < 0
        ):
            raise ScriptError(
                "limit",
                path,
                f'Revision script "{path}" has {name} = {value!r}: it must be a number, 0 or more. '
                "Correct the script. Nothing of it was applied.",
            )
        found[name] = value
    return found
