"""Our map of scripts, and the steps made from it, give what Alembic's own give."""

from __future__ import annotations

import io
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest
from alembic.runtime.migration import MigrationContext
from alembic.script.revision import RevisionMap
from hypothesis import given, settings
from sqlalchemy import Column, MetaData, String, Table

from random_graphs import Oracle, histories
from websauna_migrate.alembic_adapter.internals import (
    LazyScript,
    LinearRevisionMap,
    LoadedScriptDirectory,
    PlannedStep,
    RowWriter,
    planned_step,
    run_migrations,
)
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.plan import plan_downgrade, plan_upgrade
from websauna_migrate.planning.revisions import Revision


def scripts_of(revisions: list[Revision]) -> Any:
    """Return a script directory of revisions that no file has."""
    reader: Any = SimpleNamespace(
        history=PackageHistory("pkg", revisions),
        revisions=revisions,
        imported=lambda _: SimpleNamespace(upgrade=None, downgrade=None),
        fresh=lambda _: SimpleNamespace(upgrade=None, downgrade=None),
    )
    scripts = LoadedScriptDirectory.__new__(LoadedScriptDirectory)
    scripts.reader = reader
    scripts.revision_map = LinearRevisionMap(scripts._load_revisions, reader)
    return scripts


def facts(made: RevisionMap) -> Any:
    """Return all that a map says of its revisions."""
    return (
        [sorted(getattr(made, name)) for name in ("heads", "bases", "_real_heads", "_real_bases")],
        {
            str(name): one
            and (
                one.revision,
                one.nextrev,
                one._all_nextrev,
                one.branch_labels,
                set(one._resolved_dependencies),
                set(one._normalized_down_revisions),
                set(one._all_down_revisions),
                one._versioned_down_revisions,
                (one.is_head, one._is_real_head, one.is_base, one._is_real_base),
                (one.is_branch_point, one.is_merge_point, one._is_real_branch_point),
            )
            for name, one in made._revision_map.items()
        },
    )


@settings(max_examples=200)
@given(histories())
def test_the_map_says_what_alembics_says(drawn: tuple[list[Revision], random.Random]) -> None:
    revisions, rng = drawn
    scripts = scripts_of(revisions)
    oracle = Oracle(revisions)
    assert facts(scripts.revision_map) == facts(oracle.map)
    for one in revisions:
        assert isinstance(scripts.get_revision(one.id), LazyScript)
        assert scripts.get_revision(one.id).revision == one.id
        part = one.id[: rng.randint(4, 12)]
        try:
            expected: Any = oracle.map.get_revision(part).revision  # type: ignore[union-attr]
        except Exception as exc:
            expected = type(exc)
        try:
            found: Any = scripts.revision_map.get_revision(part).revision
        except Exception as exc:
            found = type(exc)
        assert found == expected


class Recorder:
    """Alembic's maintenance of a history table, with the statements that it would execute."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        context: Any = SimpleNamespace(
            as_sql=True,
            impl=SimpleNamespace(_exec=lambda s: self.statements.append(str(s))),
            _version=Table("history", MetaData(), Column("version_num", String(32))),
        )
        self.maintainer = RowWriter(context, ())


@settings(max_examples=150)
@given(histories())
def test_planned_steps_leave_the_rows_that_alembic_leaves(
    drawn: tuple[list[Revision], random.Random],
) -> None:
    revisions, _ = drawn
    scripts, oracle = scripts_of(revisions), Oracle(revisions)
    graph = Graph({"pkg": revisions})
    ours = Recorder()
    rows: frozenset[str] = frozenset()
    up = plan_upgrade(graph, {})
    for plan in (up, plan_downgrade(graph, {"pkg": up.rows_after["pkg"]}, {"pkg": "base"})):
        for step in plan.steps:
            if step.rows_before == step.rows_after:
                # Alembic has no step for it: see PackageHistory.rows_after.
                before = len(ours.statements)
                ours.maintainer.update_to_step(planned_step(scripts, step))
                assert len(ours.statements) == before
                return
            before = len(ours.statements)
            ours.maintainer.update_to_step(planned_step(scripts, step))
            upgrade = step.direction == "upgrade"
            try:
                rows = oracle.rows_after(rows, step.revision.id, upgrade=upgrade)
            except KeyError:
                # Alembic takes away a row that is not there, if a dependency is an ancestor of
                # another one; the plan's rows are right.
                rows = step.rows_after
            assert frozenset(ours.maintainer.heads) == rows == step.rows_after
            gone, new = step.rows_before - rows, rows - step.rows_before
            assert len(ours.statements) - before == max(len(gone), len(new))


def test_a_step_of_a_long_history_takes_no_longer_than_one_of_a_short() -> None:
    def seconds(count: int) -> float:
        revisions = [Revision("pkg", "0000")]
        for number in range(1, count):
            # Two lines side by side, so that there always is another row.
            down = f"{number - 2:04}" if number > 2 else "0000"
            revisions.append(Revision("pkg", f"{number:04}", (down,)))
        scripts = scripts_of(revisions)
        graph = Graph({"pkg": revisions})
        plan = plan_upgrade(graph, {})
        ours = Recorder()
        start = time.process_time()
        for step in plan.steps:
            made = planned_step(scripts, step)
            assert isinstance(made, PlannedStep)
            ours.maintainer.update_to_step(made)
            assert made.info.up_revision_id == step.revision.id
        return time.process_time() - start

    small, large = min(seconds(1000) for _ in range(3)), min(seconds(4000) for _ in range(3))
    assert large < 8 * small


@pytest.mark.parametrize("is_there", [True, False])
def test_a_sql_script_may_leave_the_history_table_out(is_there: bool) -> None:
    revisions = [Revision("pkg", "0000")]
    made = planned_step(scripts_of(revisions), plan_upgrade(Graph({"pkg": revisions}), {}).steps[0])
    made.migration_fn = lambda: None
    output = io.StringIO()
    options = {"as_sql": True, "output_buffer": output, "fn": lambda rows, context: [made]}
    context = MigrationContext.configure(
        dialect_name="sqlite", opts={**options, "dont_mutate": is_there}
    )
    run_migrations(context)
    assert ("CREATE TABLE alembic_version" in output.getvalue()) is not is_there
    assert "INSERT INTO alembic_version (version_num) VALUES ('0000')" in output.getvalue()
