"""The known failures of websauna_migrate, each under one name that stays.

``except websauna_migrate.errors.StepFailed as exc`` works wherever the class stands. The rooms have
their own failures; a class is imported when it is first asked for. What each means, and what to do,
is on the page "Messages" of the documentation.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from websauna_migrate.base_errors import DOCUMENTATION, ExitCode, MigrationError, UsageError

if TYPE_CHECKING:
    from websauna_migrate.alembic_adapter.package_environment import (
        EnvironmentFailure as EnvironmentFailure,
    )
    from websauna_migrate.autogenerate.revision_errors import RevisionFailed as RevisionFailed
    from websauna_migrate.cli.clients.client import ClientError as ClientError
    from websauna_migrate.config.packages import RegistrationError as RegistrationError
    from websauna_migrate.config.packages import ScriptDirectoryError as ScriptDirectoryError
    from websauna_migrate.config.selection import UnknownPackage as UnknownPackage
    from websauna_migrate.config.settings import SettingError as SettingError
    from websauna_migrate.database.engines import DatabaseFailure as DatabaseFailure
    from websauna_migrate.database.history_tables import RecordsBroken as RecordsBroken
    from websauna_migrate.database.stopping import RunStopped as RunStopped
    from websauna_migrate.facts.model_ddl import ModelsNotCreated as ModelsNotCreated
    from websauna_migrate.facts.scratch_databases import ScratchRefused as ScratchRefused
    from websauna_migrate.ini.ini_errors import IniError as IniError
    from websauna_migrate.ini.ini_errors import IniMalformed as IniMalformed
    from websauna_migrate.ini.ini_errors import IniNotFound as IniNotFound
    from websauna_migrate.lint.lint_errors import LintNotPossible as LintNotPossible
    from websauna_migrate.lint.lint_errors import UnsafeChanges as UnsafeChanges
    from websauna_migrate.locating.verified_stamp import NotLocated as NotLocated
    from websauna_migrate.locks.run_lock import RunBlocked as RunBlocked
    from websauna_migrate.models.ownership_errors import OwnershipError as OwnershipError
    from websauna_migrate.planning.edges import RevisionCycle as RevisionCycle
    from websauna_migrate.planning.history_errors import HistoryContradicted as HistoryContradicted
    from websauna_migrate.planning.history_errors import HistoryError as HistoryError
    from websauna_migrate.planning.order_checks import OrderViolated as OrderViolated
    from websauna_migrate.planning.plan import DowngradeRefused as DowngradeRefused
    from websauna_migrate.planning.requirements import RequirementError as RequirementError
    from websauna_migrate.planning.target_errors import TargetError as TargetError
    from websauna_migrate.proving.not_proven import NotProven as NotProven
    from websauna_migrate.revision_scripts.script_error import ScriptError as ScriptError
    from websauna_migrate.runs.failures import InterruptedSteps as InterruptedSteps
    from websauna_migrate.runs.failures import NotAtomic as NotAtomic
    from websauna_migrate.runs.failures import StepFailed as StepFailed
    from websauna_migrate.runs.losses import LossRefused as LossRefused
    from websauna_migrate.runs.plan_records import PlanOutdated as PlanOutdated
    from websauna_migrate.runs.script_checks import PrecheckFailed as PrecheckFailed

#: The room of each failure.
ROOMS = {
    "ClientError": "websauna_migrate.cli.clients.client",
    "DatabaseFailure": "websauna_migrate.database.engines",
    "DowngradeRefused": "websauna_migrate.planning.plan",
    "EnvironmentFailure": "websauna_migrate.alembic_adapter.package_environment",
    "HistoryContradicted": "websauna_migrate.planning.history_errors",
    "HistoryError": "websauna_migrate.planning.history_errors",
    "IniError": "websauna_migrate.ini.ini_errors",
    "IniMalformed": "websauna_migrate.ini.ini_errors",
    "IniNotFound": "websauna_migrate.ini.ini_errors",
    "InterruptedSteps": "websauna_migrate.runs.failures",
    "LintNotPossible": "websauna_migrate.lint.lint_errors",
    "LossRefused": "websauna_migrate.runs.losses",
    "ModelsNotCreated": "websauna_migrate.facts.model_ddl",
    "NotAtomic": "websauna_migrate.runs.failures",
    "NotLocated": "websauna_migrate.locating.verified_stamp",
    "NotProven": "websauna_migrate.proving.not_proven",
    "OrderViolated": "websauna_migrate.planning.order_checks",
    "OwnershipError": "websauna_migrate.models.ownership_errors",
    "PlanOutdated": "websauna_migrate.runs.plan_records",
    "PrecheckFailed": "websauna_migrate.runs.script_checks",
    "RecordsBroken": "websauna_migrate.database.history_tables",
    "RegistrationError": "websauna_migrate.config.packages",
    "RequirementError": "websauna_migrate.planning.requirements",
    "RevisionCycle": "websauna_migrate.planning.edges",
    "RevisionFailed": "websauna_migrate.autogenerate.revision_errors",
    "RunBlocked": "websauna_migrate.locks.run_lock",
    "RunStopped": "websauna_migrate.database.stopping",
    "ScratchRefused": "websauna_migrate.facts.scratch_databases",
    "ScriptDirectoryError": "websauna_migrate.config.packages",
    "ScriptError": "websauna_migrate.revision_scripts.script_error",
    "SettingError": "websauna_migrate.config.settings",
    "StepFailed": "websauna_migrate.runs.failures",
    "TargetError": "websauna_migrate.planning.target_errors",
    "UnknownPackage": "websauna_migrate.config.selection",
    "UnsafeChanges": "websauna_migrate.lint.lint_errors",
}

__all__ = ["DOCUMENTATION", "ExitCode", "MigrationError", "UsageError", *ROOMS]


def __getattr__(name: str) -> Any:
    """Return a failure's class from its room.

    :raises AttributeError: if there is no failure of this name
    """
    if name not in ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(ROOMS[name]), name)


def __dir__() -> list[str]:
    """Return all names of the module, those of the failures too."""
    return sorted({*globals(), *ROOMS})
