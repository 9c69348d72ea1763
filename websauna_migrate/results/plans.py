"""Plans that are kept, and plans as SQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from websauna_migrate.base_errors import UsageError
from websauna_migrate.planning.steps import Step


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A step of a plan that is kept.

    :ivar rows_before: of the package's history table, sorted
    :ivar rows_after: likewise
    :ivar path: the script's, where the plan was made; another machine may have it elsewhere
    :ivar script: SHA-256 of the script's file, hexadecimal
    :ivar sql: SHA-256 of its SQL; ``None`` where that is only known when it runs
    """

    package: str
    revision: str
    rows_before: tuple[str, ...]
    rows_after: tuple[str, ...]
    path: str
    script: str
    sql: str | None


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """The plan of an upgrade, kept so that it, and nothing else, is run later.

    :ivar database: the database that it is for: product, server, port and name
    :ivar targets: as they were asked for
    :ivar packages: that the targets are meant for
    :ivar ignore_order: as in :meth:`.IMigrationService.upgrade`
    :ivar versions: of the programs that made it, by name
    """

    database: str
    targets: tuple[str, ...]
    packages: tuple[str, ...]
    ignore_order: bool
    versions: Mapping[str, str]
    steps: tuple[RecordedStep, ...]

    def as_data(self) -> dict[str, object]:
        """Return the plan as what JSON knows, with a SHA-256 over all of it as ``hash``."""
        data = {"format": 1, **asdict(self)}
        body = json.dumps(data, sort_keys=True)
        return {**data, "hash": hashlib.sha256(body.encode()).hexdigest()}

    @classmethod
    def of_json(cls, text: str) -> RecordedPlan:
        """Return the plan that JSON has.

        :raises UsageError: if it has none, or was changed since it was written
        """
        try:
            data: Any = json.loads(text)
            steps = []
            for one in data["steps"]:
                values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}
                steps.append(RecordedStep(**values))
            found = cls(
                data["database"],
                tuple(data["targets"]),
                tuple(data["packages"]),
                data["ignore_order"],
                data["versions"],
                tuple(steps),
            )
            is_whole = data["format"] == 1 and found.as_data()["hash"] == data["hash"]
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise UsageError(
                "The file holds no plan: write one with ws-alembic plan --out FILE"
            ) from exc
        if not is_whole:
            raise UsageError(
                "The plan was changed since it was written, or is of another version: its hash "
                "does not fit. Write it anew with ws-alembic plan --out FILE"
            )
        return found


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """A statement of a step.

    :ivar line: of the script that gives it, from 1; ``None`` for what the service adds
    """

    sql: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class StepSql:
    """The SQL of a step of a plan, as far as it is known without running it.

    :ivar problem: why the rest is only known when it runs, ``None`` if all of it is here
    :ivar line: the script's line from which on it is not known
    """

    step: Step
    statements: tuple[SqlStatement, ...]
    problem: str | None = None
    line: int | None = None
