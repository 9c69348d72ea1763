"""Steps that ended half done: always found, and settled by somebody who looked."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from apps import Workshop
from runs import execute, exit_status, fork, forked, ledger, rows, steps, table, tables, wait_for
from websauna_migrate.cli.render.runs import render_interrupted
from websauna_migrate.errors import InterruptedSteps, MigrationError, StepFailed, UsageError
from websauna_migrate.runs.ledger import Ledger

HALF = """
op.create_table("half", sa.Column("id", sa.Integer))
op.execute("COMMIT")
op.execute("SELECT nonsense FROM nowhere")
"""


@pytest.fixture
def half(workshop: Workshop) -> Workshop:
    """An app whose second revision breaks after a literal COMMIT."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", upgrade=HALF)
    workshop.script("fooapp", "f300", "f200", **table("f3"))
    return workshop


def interrupt(workshop: Workshop, url: str) -> None:
    with pytest.raises(StepFailed) as caught:
        workshop.service(url).upgrade()
    assert caught.value.half_done


def history(url: str) -> list[str]:
    return [row[0] for row in rows(url, "SELECT version_num FROM alembic_history_fooapp")]


def test_the_refusal_says_what_is_known(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    with pytest.raises(InterruptedSteps) as caught:
        half.service(database_url).upgrade()
    message = str(caught.value)
    (entry,) = caught.value.entries
    assert message == (
        "An earlier run ended in the middle of a step, parts of which may have been applied:\n"
        '  upgrade of revision "f200" of package "fooapp", started '
        f"{entry.started:%Y-%m-%d %H:%M:%S} UTC by process {os.getpid()} on {entry.host}\n"
        '    Its history table "alembic_history_fooapp" does not have its row (rows: "f100").\n'
        "Nothing was changed now. See what is there, and settle it: ws-alembic repair"
    )
    assert caught.value.exit_code == 3


def test_every_change_is_refused_while_a_step_is_half_done(
    half: Workshop, database_url: str
) -> None:
    interrupt(half, database_url)
    service = half.service(database_url)
    for call in (
        service.upgrade,
        lambda: service.downgrade("base"),
        lambda: service.stamp("heads"),
        lambda: service.uninstall("fooapp"),
        service.ensure_version,
    ):
        with pytest.raises(InterruptedSteps):
            call()
    assert service.current()[0].rows == ("f100",)


def test_looking_changes_nothing(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    before = ledger(database_url)
    (found,) = half.service(database_url).repair()
    assert (found.name, found.action) == ("fooapp@f200", None)
    assert ledger(database_url) == before


def test_nothing_to_repair(half: Workshop, database_url: str) -> None:
    service = half.service(database_url)
    assert service.repair() == ()
    assert service.repair("done") == ()
    service.upgrade("f100")
    with pytest.raises(UsageError) as caught:
        service.repair("done", "fooapp@f100")
    assert str(caught.value) == ('No step "fooapp@f100" ended half done. Those that did: none.')


def test_done_writes_the_history(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    service = half.service(database_url)
    (found,) = service.repair("done", "fooapp@f200")
    assert found.action == "done"
    assert history(database_url) == ["f200"]
    assert steps(service.upgrade()) == ["fooapp@f300"]
    ((note,),) = rows(
        database_url,
        "SELECT note FROM websauna_migrate_ledger WHERE revision = 'f200'",
    )
    assert note.startswith("repair --done by ")
    assert [entry[3] for entry in ledger(database_url)] == ["done", "done", "done"]


def test_undone_leaves_the_history(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    service = half.service(database_url)
    execute(database_url, "DROP TABLE half")
    service.repair("undone")
    assert history(database_url) == ["f100"]
    assert ("fooapp", "f200", "upgrade", "undone") in ledger(database_url)
    half.script("fooapp", "f200", "f100", **table("half"))
    assert steps(half.service(database_url).upgrade()) == ["fooapp@f200", "fooapp@f300"]


def test_undone_takes_a_row_back_that_was_written(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    execute(database_url, "UPDATE alembic_history_fooapp SET version_num = 'f200'")
    half.service(database_url).repair("undone")
    assert history(database_url) == ["f100"]


def test_rerun_runs_that_step_and_no_other(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    execute(database_url, "DROP TABLE half")
    half.script("fooapp", "f200", "f100", **table("half"))
    service = half.service(database_url)
    (found,) = service.repair("rerun")
    assert found.action == "rerun"
    assert history(database_url) == ["f200"]
    assert "f3" not in tables(database_url)


def test_a_half_done_downgrade(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", downgrade=HALF)
    service = workshop.service(database_url)
    service.upgrade()
    with pytest.raises(StepFailed):
        service.downgrade("f100")
    with pytest.raises(InterruptedSteps):
        service.upgrade()
    service.repair("done")
    assert history(database_url) == ["f100"]
    assert steps(service.upgrade()) == ["fooapp@f200"]


def test_a_step_of_a_package_that_is_gone(half: Workshop, database_url: str) -> None:
    half.package("other")
    interrupt(half, database_url)
    service = half.service(database_url, "other")
    with pytest.raises(MigrationError) as caught:
        service.repair("done")
    assert str(caught.value) == (
        'Revision "f200" of package "fooapp" cannot be settled: the package is not registered any '
        "more. Install it again, or use --undone. Nothing was changed."
    )
    (found,) = service.repair("undone")
    assert found.known == "Its package is not registered any more."
    assert service.repair() == ()


@pytest.mark.parametrize(
    "words",
    [
        'op.execute("ROLLBACK"); op.execute("CREATE TABLE two (id INTEGER)")',
        'op.get_bind().rollback(); op.execute("INSERT INTO f1 VALUES (1)")',
    ],
)
def test_a_script_that_rolls_back_by_itself_is_an_error(
    workshop: Workshop, database_url: str, words: str
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", upgrade=words)
    with pytest.raises(StepFailed) as caught:
        workshop.service(database_url).upgrade()
    assert "the script rolls its transaction back by itself" in str(caught.value)
    assert history(database_url) == ["f100"]
    assert "two" not in tables(database_url)


def test_a_script_says_that_it_is_not_transactional(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    path = workshop.script(
        "fooapp",
        "f100",
        upgrade="""
        op.create_table("one", sa.Column("id", sa.Integer))
        op.execute("INSERT INTO one VALUES (1)")
        raise RuntimeError("half way")
        """,
    )
    path.write_text(path.read_text() + "\ntransactional = False\n")
    service = workshop.service(database_url)
    with pytest.raises(StepFailed) as caught:
        service.upgrade()
    assert caught.value.half_done
    assert rows(database_url, "SELECT id FROM one") == [(1,)]
    with pytest.raises(InterruptedSteps):
        service.upgrade()
    service.repair("done")
    assert service.upgrade().steps == ()


KINDS = {
    "autocommit": """
        with op.get_context().autocommit_block():
            op.execute("CREATE TABLE one (id INTEGER)")
            SLEEP
        """,
    "only": """
        with op.get_context().autocommit_block():
            SLEEP
            op.execute("CREATE TABLE one (id INTEGER)")
        """,
    "commit": """
        op.execute("CREATE TABLE one (id INTEGER)")
        op.execute("COMMIT")
        SLEEP
        """,
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_killed_step_is_found(workshop: Workshop, database_url: str, kind: str) -> None:
    flag = workshop.root / "flag"
    sleep = f'__import__("pathlib").Path({str(flag)!r}).touch(); import time; time.sleep(60)'
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", upgrade=KINDS[kind].replace("SLEEP", sleep))
    service = workshop.service(database_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        os.kill(pid, signal.SIGKILL)
        assert exit_status(pid) == -signal.SIGKILL
    with pytest.raises(InterruptedSteps) as caught:
        workshop.service(database_url, lock_wait="20").upgrade()
    (entry,) = caught.value.entries
    assert (entry.package, entry.revision, entry.process) == ("fooapp", "f200", pid)


def test_a_killed_transactional_step_leaves_nothing(
    workshop: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    flag = workshop.root / "flag"
    workshop.package("fooapp")
    path = workshop.script(
        "fooapp",
        "f100",
        upgrade=f"""
        op.create_table("one", sa.Column("id", sa.Integer))
        __import__("pathlib").Path({str(flag)!r}).touch(); import time; time.sleep(60)
        """,
    )
    service = workshop.service(url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    path.write_text(path.read_text().replace("time.sleep(60)", "time.sleep(0)"))
    assert steps(workshop.service(url, lock_wait="20").upgrade()) == ["fooapp@f100"]
    outcomes = ("unfinished", "done")
    assert ledger(url) == [("fooapp", "f100", "upgrade", outcome) for outcome in outcomes]


def test_a_rerun_that_fails_again_keeps_the_mark(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    half.script("fooapp", "f200", "f100", upgrade='op.execute("SELECT nonsense FROM nowhere")')
    service = half.service(database_url)
    with pytest.raises(StepFailed) as caught:
        service.repair("rerun")
    assert caught.value.exit_code == 3
    assert "The step is half done as before, and stays marked so" in str(caught.value)
    (found,) = service.repair()
    assert found.name == "fooapp@f200"
    with pytest.raises(InterruptedSteps):
        service.upgrade()
    execute(database_url, "DROP TABLE half")
    half.script("fooapp", "f200", "f100", **table("half"))
    service = half.service(database_url)
    service.repair("rerun")
    assert service.repair() == ()
    assert steps(service.upgrade()) == ["fooapp@f300"]
    outcomes = [entry[3] for entry in ledger(database_url) if entry[1] == "f200"]
    assert sorted(outcomes) == ["done", "failed", "undone"]


def test_a_rerun_that_ends_half_done_is_one_step(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    execute(database_url, "DROP TABLE half")
    service = half.service(database_url)
    with pytest.raises(StepFailed) as caught:
        service.repair("rerun")
    assert caught.value.half_done
    (found,) = service.repair()
    assert found.name == "fooapp@f200"
    service.repair("done")
    assert service.repair() == ()
    assert steps(service.upgrade()) == ["fooapp@f300"]


def test_a_killed_rerun_keeps_the_mark(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    flag = half.root / "flag"
    sleep = f'__import__("pathlib").Path({str(flag)!r}).touch(); import time; time.sleep(60)'
    half.script("fooapp", "f200", "f100", upgrade=sleep)
    service = half.service(database_url)
    with forked(lambda: service.repair("rerun") and 0) as pid:
        wait_for(flag.exists)
        os.kill(pid, signal.SIGKILL)
        assert exit_status(pid) == -signal.SIGKILL
    service = half.service(database_url, lock_wait="20")
    with pytest.raises(InterruptedSteps):
        service.upgrade()
    (found,) = service.repair()
    assert (found.name, found.running) == ("fooapp@f200", None)


def test_a_rerun_that_is_killed_at_its_end_leaves_a_mark(half: Workshop, database_url: str) -> None:
    """Behind a script's COMMIT there may be no transaction: each statement counts at once."""
    interrupt(half, database_url)
    again = 'op.execute("DROP TABLE IF EXISTS half"); op.execute("COMMIT")'
    half.script("fooapp", "f200", "f100", upgrade=again)
    service = half.service(database_url)
    end = Ledger.end

    def end_and_die(*arguments: Any, **given: Any) -> None:
        end(*arguments, **given)
        os._exit(9)

    def killed() -> int:
        Ledger.end = end_and_die  # type: ignore[method-assign]
        return len(service.repair("rerun"))

    assert exit_status(fork(killed)) == 9
    with pytest.raises(InterruptedSteps):
        service.upgrade()
    service.repair("rerun")
    assert steps(service.upgrade()) == ["fooapp@f300"]
    assert [entry[3] for entry in ledger(database_url) if entry[1] == "f200"][-1] == "done"


def test_a_step_at_work_did_not_end(workshop: Workshop, database_url: str) -> None:
    flag = workshop.root / "flag"
    sleep = f'__import__("pathlib").Path({str(flag)!r}).touch(); import time; time.sleep(60)'
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade=KINDS["commit"].replace("SLEEP", sleep))
    service = workshop.service(database_url)
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        (found,) = workshop.service(database_url).repair()
        assert found.running is not None and found.running.step == found.entry
        assert found.entry.process == pid
        assert workshop.service(database_url).readiness().half_done == ()
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    service = workshop.service(database_url)

    def ended() -> bool:
        # The server may take a moment to see that its client is gone.
        return service.repair()[0].running is None

    wait_for(ended)
    assert [entry.revision for entry in service.readiness().half_done] == ["f100"]


def set_outcome(url: str, before: str, after: str) -> None:
    table = "websauna_migrate_ledger"
    execute(url, f"UPDATE {table} SET outcome = '{after}' WHERE outcome = '{before}'")


@pytest.fixture
def two_half_done(half: Workshop, database_url: str) -> Workshop:
    """Two steps of different packages that ended half done."""
    interrupt(half, database_url)
    half.package("other", None)
    half.script("other", "o100", upgrade=HALF.replace('"half"', '"other_half"'))
    set_outcome(database_url, "running", "x")
    with pytest.raises(StepFailed):
        half.service(database_url).upgrade(packages="other")
    set_outcome(database_url, "x", "running")
    return half


def test_two_half_done_steps(two_half_done: Workshop, database_url: str) -> None:
    service = two_half_done.service(database_url)
    assert [one.name for one in service.repair()] == ["fooapp@f200", "other@o100"]
    with pytest.raises(UsageError) as caught:
        service.repair("done")
    assert str(caught.value) == (
        "Several steps ended half done; name the one that is meant: fooapp@f200, other@o100"
    )
    service.repair("done", "other@o100")
    assert [one.name for one in service.repair()] == ["fooapp@f200"]


def test_a_release_was_rolled_back(half: Workshop, database_url: str) -> None:
    interrupt(half, database_url)
    versions = half.root / "fooapp" / "alembic" / "versions"
    for name in ("f200.py", "f300.py"):
        (versions / name).unlink()
    service = half.service(database_url)
    for action in ("done", "rerun"):
        with pytest.raises(MigrationError) as caught:
            service.repair(action)
        assert "no script of the package defines this revision" in str(caught.value)
    looked = service.repair()
    undone = "; take back by hand what the step left: no script is there to run it again"
    assert looked[0].choices["undone"] == f"the history stays f100{undone}"
    last = "Settle it: ws-alembic repair --undone, and PACKAGE@REVISION where there are several."
    assert [*render_interrupted(looked)][-1] == last
    execute(database_url, "DROP TABLE half")
    service.repair("undone")
    assert history(database_url) == ["f100"]
    assert service.repair() == ()
    assert service.upgrade().steps == ()


MANY = """
with op.get_context().autocommit_block():
    op.create_table("half", sa.Column("id", sa.Integer), sa.Column("nick", sa.String(99)))
    op.execute("INSERT INTO half VALUES (1, 'secret-value')")
    op.execute("CREATE UNIQUE INDEX ix_half ON half (nick)")
    op.execute("INSERT INTO half VALUES (2, 'secret-value')")
    op.create_table("later", sa.Column("id", sa.Integer))
"""


def test_what_ran_and_what_did_not(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade=MANY)
    with pytest.raises(StepFailed):
        workshop.service(database_url).upgrade()
    (found,) = workshop.service(database_url).repair()
    assert [one.kind for one in found.entry.statements] == [
        "CREATE TABLE half",
        "INSERT INTO half",
        "CREATE UNIQUE INDEX ix_half",
    ]
    assert found.entry.error and found.entry.kind == "INSERT INTO half"
    assert not found.entry.error.startswith("(")
    lines = [one.line for one in found.entry.statements]
    assert found.entry.line == lines[0] + 3
    assert found.not_run[-1] == f'line {found.entry.line + 1}: creates table "later"'
    assert 'no table "later"' in found.objects
    assert any(one.startswith('table "half", columns id, nick') for one in found.objects)
    assert found.choices["done"] == "the history writes f100 in place of base"
    assert found.choices["undone"].startswith("the history stays base")
    everything = repr(rows(database_url, "SELECT * FROM websauna_migrate_ledger"))
    assert "secret-value" not in everything
    workshop.service(database_url).repair("done")


def test_a_step_that_went_well_leaves_no_statements(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade=MANY.replace("(2, 'secret-value')", "(2, 'x')"))
    workshop.service(database_url).upgrade()
    assert rows(database_url, "SELECT statements FROM websauna_migrate_ledger") == [(None,)]


@pytest.mark.parametrize("lost", ["note", "session", "error", "installed_by"])
def test_a_ledger_without_a_column(half: Workshop, database_url: str, lost: str) -> None:
    """As an earlier release made it, or another hand left it."""
    service = half.service(database_url)
    service.upgrade("f100")
    execute(database_url, f"ALTER TABLE websauna_migrate_ledger DROP COLUMN {lost}")
    assert service.repair() == ()
    assert service.check().problems
    interrupt(half, database_url)
    (found,) = service.repair()
    assert found.failure


def test_what_a_half_done_step_made_is_told_of_its_run(
    workshop: Workshop, database_url: str
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.service(database_url).upgrade()
    not_transactional(workshop, upgrade=TWO_THEN_ONE)
    with pytest.raises(StepFailed):
        workshop.service(database_url).upgrade()
    service = workshop.service(database_url)
    run = service.repair()[0].entry.run[:8]

    def told() -> str:
        (one,) = [one for one in service.drift().found if '"qty"' in one.object]
        assert "fooapp@f200" in one.made
        return one.when

    whose = f", by run {run}, whose upgrade of fooapp@f200 "
    assert told().endswith(f"{whose}ended half done")
    service.repair("undone")
    assert told().endswith(f"{whose}was settled as not done")
    problems = [one for one in service.check().problems if one.kind == "database-changed"]
    assert any('column "qty" is new since run' in str(one) for one in problems), problems
    assert all(f"{whose}was settled as not done." in str(one) for one in problems), problems


TWO_THEN_ONE = """
op.add_column("f1", sa.Column("qty", sa.Integer))
op.create_index("ix_qty", "f1", ["qty"])
op.create_index("ix_nope", "nope", ["qty"])
"""


def not_transactional(workshop: Workshop, **bodies: str) -> None:
    """Write the second revision of an app, which is no transaction."""
    path = workshop.script("fooapp", "f200", "f100", **bodies)
    path.write_text(path.read_text() + "\ntransactional = False\n")


def kinds(found: Any) -> list[str]:
    return [one.kind for one in found.entry.statements]


def test_what_the_first_attempt_did_is_remembered(workshop: Workshop, database_url: str) -> None:
    """Also where the script was mended, so that its lines are others, before it was run again."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    not_transactional(workshop, upgrade=TWO_THEN_ONE)
    with pytest.raises(StepFailed):
        workshop.service(database_url).upgrade()
    (before,) = workshop.service(database_url).repair()
    for words in ("", "# It is mended.\n\n"):
        not_transactional(workshop, upgrade=words + TWO_THEN_ONE.replace('"nope"', '"f1"'))
        with pytest.raises(StepFailed) as caught:
            workshop.service(database_url).repair("rerun")
        assert caught.value.half_done
        if not words:
            told = "An earlier attempt at this step did that already (ALTER TABLE f1, line "
            assert told in str(caught.value), str(caught.value)
        (found,) = workshop.service(database_url).repair()
        assert kinds(found) == kinds(before) == ["ALTER TABLE f1", "CREATE INDEX ix_qty"]
        (left,) = found.not_run
        assert left.endswith(': makes an index of table "f1" (qty)')
    with pytest.raises(InterruptedSteps) as refused:
        workshop.service(database_url).upgrade()
    assert str(refused.value).count('revision "f200"') == 1
    assert len(workshop.service(database_url).readiness().half_done) == 1
    # What was settled is forgotten.
    service = workshop.service(database_url)
    service.repair("undone")
    execute(database_url, "DROP TABLE f1", "CREATE TABLE f1 (id INTEGER)")
    not_transactional(workshop, upgrade='op.execute("SELECT nonsense FROM nowhere")')
    with pytest.raises(StepFailed):
        workshop.service(database_url).upgrade()
    assert [kinds(one) for one in workshop.service(database_url).repair()] in ([], [[]])


def test_a_half_done_downgrade_is_told_as_an_upgrade(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    up = 'op.add_column("f1", sa.Column("qty", sa.Integer))\n'
    up += 'op.create_index("ix_qty", "f1", ["qty"])'
    down = """
    sa.inspect(op.get_bind()).get_indexes("f1")
    op.drop_index("ix_qty", "f1")
    op.drop_column("f1", "nope")
    op.drop_column("f1", "qty")
    """
    not_transactional(workshop, upgrade=up, downgrade=down)
    service = workshop.service(database_url)
    service.upgrade()
    for run in (lambda: service.downgrade("f100"), lambda: service.repair("rerun")):
        with pytest.raises(StepFailed) as caught:
            run()
        (found,) = service.repair()
        ((number, kind),) = [(one.number, one.kind) for one in found.entry.statements]
        assert (number, kind) == (1, "DROP INDEX ix_qty")
        assert [one.partition(": ")[2] for one in found.not_run] == [
            'drops column "nope" of table "f1"',
            'drops column "qty" of table "f1"',
        ]
        assert found.objects == ('table "f1", columns id, qty',)
    told = "An earlier attempt at this step did that already (DROP INDEX ix_qty, line "
    assert told in str(caught.value)
    assert "Where the models give none" not in str(caught.value)
    if not database_url.startswith("sqlite"):
        assert found.entry.failed_at.endswith(", statement 1: DROP INDEX ix_qty)")
