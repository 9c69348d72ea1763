"""The settings that the packages' hand-written ``env.py`` give to the sessions of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

from sqlalchemy.engine import Engine

from websauna_migrate.alembic_adapter.package_environment import (
    EnvironmentFailure,
    PackageEnvironment,
)
from websauna_migrate.alembic_adapter.plain_env import is_plain, may_repeat
from websauna_migrate.database.engines import BEFORE, BEHIND, connect
from websauna_migrate.runs.process_lock import PROCESS_LOCK


def at_odds(
    name: str, values: Mapping[str, str], environments: Mapping[str, PackageEnvironment]
) -> EnvironmentFailure:
    """Return the error of packages that set a setting otherwise: one run has one session.

    :param values: by package
    """
    name, behind = name.removeprefix(BEHIND), name.startswith(BEHIND)
    moment = " for what comes behind the migrations" if behind else ""
    (package, value), *others = sorted(values.items())
    said = ", ".join(f'that of "{other}" to "{its}"' for other, its in others)
    return environments[package].failure(
        f'sets {name.removeprefix(BEFORE)} to "{value}", {said}{moment}. Nothing was changed. Let '
        "them agree, or migrate the packages of each value by an application of their own.",
    )


def sets_session(environment: PackageEnvironment) -> bool:
    """True if a package has an ``env.py`` that may do something to its connection."""
    try:
        source = environment.env_py.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return environment.env_py.exists()
    return not is_plain(source) or may_repeat(source)


def find_settings(
    environments: Mapping[str, PackageEnvironment],
    make_engine: Callable[[], Engine],
    tag: str | None = None,
) -> Mapping[str, str]:
    """Return the settings on which the packages' ``env.py`` agree.

    :param tag: as ``context.get_tag_argument()`` gives it to them
    :raises EnvironmentFailure: if they do not
    """
    found: dict[str, dict[str, str]] = {}
    for package, environment in sorted(environments.items()):
        if not sets_session(environment):
            continue
        from websauna_migrate.alembic_adapter.env_session import session_of

        with (
            nullcontext() if PROCESS_LOCK.is_held_here else PROCESS_LOCK.held(),
            connect(make_engine()) as connection,
        ):
            for name, value in session_of(environment, connection, tag).items():
                found.setdefault(name, {})[package] = value
    for name, values in found.items():
        if len(set(values.values())) > 1:
            raise at_odds(name, values, environments)
    return {name: next(iter(values.values())) for name, values in found.items()}
