"""alembic-utils' list of views, functions and triggers: one for the process, kept apart by package.

An ``env.py`` registers its package's entities each time it is run. What it registered is taken out
again, so that no other package's comparison finds it there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic_utils.replaceable_entity import ReplaceableEntity

MODULE = "alembic_utils.replaceable_entity"


@contextmanager
def entities_apart(
    remembered: list[ReplaceableEntity],
    belongs: Callable[[ReplaceableEntity], bool] = lambda entity: True,
) -> Iterator[None]:
    """Give an environment a list of entities of its own.

    :param remembered: what the environment registered before; what it registers now is added, since
        its ``env.py`` may be run only once
    :param belongs: True for an entity that models registered at their import and that counts in
        this environment
    """
    registry = registry_of_process()
    before = [] if registry is None else registry.entities()
    if registry is not None:
        registry.clear()
        registry.register([one for one in before if belongs(one)] + remembered)
    try:
        yield
        registry = registry_of_process()
        if registry is not None:
            known = {id(one) for one in (*before, *remembered)}
            remembered += [one for one in registry.entities() if id(one) not in known]
    finally:
        registry = registry_of_process()
        if registry is not None:
            registry.clear()
            registry.register(before)


def registry_of_process() -> Any:
    """Return alembic-utils' list, ``None`` where nothing has imported it."""
    return getattr(sys.modules.get(MODULE), "registry", None)
