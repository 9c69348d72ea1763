"""What the service's methods return: plain, immutable data."""

from __future__ import annotations

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan
from websauna_migrate.results.checks import (
    CheckProblem,
    CheckReport,
    LintFinding,
    LintReport,
    Loss,
    UncheckedScript,
    Verification,
)
from websauna_migrate.results.found_differences import (
    Drift,
    DriftReport,
    FoundDifference,
    Located,
    Location,
    NotReplayed,
)
from websauna_migrate.results.ledger_entries import (
    LedgerEntry,
    LedgerRun,
    LedgerStatement,
    LogFilter,
)
from websauna_migrate.results.package_states import (
    GraphEdge,
    GraphNode,
    GraphView,
    HistoryEntry,
    PackageState,
)
from websauna_migrate.results.plans import (
    RecordedPlan,
    RecordedStep,
    SqlStatement,
    StepSql,
)
from websauna_migrate.results.run_results import (
    AppliedStep,
    RestoredScript,
    Run,
    StampedPackage,
    Switched,
)
from websauna_migrate.results.scripts import (
    Adoption,
    CreatedScript,
    KeptStep,
    Proof,
    Rebased,
    RebasedScript,
    Redone,
    Squashed,
    SquashScript,
)
from websauna_migrate.results.work_in_progress import (
    Activity,
    InterruptedStep,
    Readiness,
    RunInProgress,
)

__all__ = [
    "Activity",
    "Adoption",
    "AppliedStep",
    "CheckProblem",
    "CheckReport",
    "CreatedScript",
    "Drift",
    "DriftReport",
    "FoundDifference",
    "GraphEdge",
    "GraphNode",
    "GraphView",
    "HistoryEntry",
    "InterruptedStep",
    "KeptStep",
    "LedgerEntry",
    "LedgerRun",
    "LedgerStatement",
    "LintFinding",
    "LintReport",
    "Located",
    "Location",
    "LogFilter",
    "Loss",
    "NotReplayed",
    "PackageState",
    "Plan",
    "Proof",
    "Readiness",
    "Rebased",
    "RebasedScript",
    "RecordedPlan",
    "RecordedStep",
    "Redone",
    "RestoredScript",
    "Revision",
    "Run",
    "RunInProgress",
    "SqlStatement",
    "SquashScript",
    "Squashed",
    "StampedPackage",
    "StepSql",
    "Switched",
    "UncheckedScript",
    "Verification",
]
