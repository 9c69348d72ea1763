"""Plans that are kept: ``plan --out FILE``, and ``upgrade --plan FILE`` that runs nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import execute, table, tables
from test_plan_sql import made_site  # noqa: F401 - the fixture "site"
from test_ws_alembic import FACTORY, Site, invoke  # noqa: F401 - a fixture


@pytest.fixture
def kept(site: Site, tmp_path: Path, database_url: str) -> tuple[Site, Path, str]:
    """A site with a plan that was written before anything was applied."""
    site.configure(database_url.replace("%", "%%"))
    file = tmp_path / "plan.json"
    done = site("plan", "--out", str(file))
    assert done.status == 0, done.stderr
    assert "f200" in done.stdout
    return site, file, database_url


def test_a_kept_plan_is_run(kept: tuple[Site, Path, str]) -> None:
    site, file, url = kept
    plan = json.loads(file.read_text())
    steps = [(step["package"], step["revision"]) for step in plan["steps"]]
    assert sorted(steps) == [
        ("addon", "a100"),
        ("addon", "a200"),
        ("fooapp", "f100"),
        ("fooapp", "f200"),
    ]
    last = next(step for step in plan["steps"] if step["revision"] == "f200")
    assert (last["rows_before"], last["rows_after"]) == (["f100"], ["f200"])
    assert all(re.fullmatch("[0-9a-f]{64}", step[key]) for step in plan["steps"]
               for key in ("script", "sql"))  # fmt: skip
    assert {"alembic", "sqlalchemy", "websauna_migrate", "python"} == {*plan["versions"]}
    assert plan["packages"] == ["fooapp"]
    assert "secret" not in file.read_text() and "@" not in plan["database"]
    done = site("upgrade", "--plan", str(file))
    assert done.status == 0, done.stderr
    assert {"a1", "a2", "f1", "f2"} <= tables(url)
    again = site("upgrade", "--plan", str(file))
    assert again.status == 8
    assert "fooapp f200: it would not run any more; the step was applied since" in again.stderr


def test_a_step_that_was_applied_since(kept: tuple[Site, Path, str]) -> None:
    site, file, url = kept
    assert site("upgrade", "f100").status == 0
    done = site("upgrade", "--plan", str(file))
    assert (done.status, done.stderr) == (
        8,
        "The plan is not what would run now, and nothing was changed:\n"
        "  fooapp f100: it would not run any more; the step was applied since\n"
        "Look at what would run, and write the plan anew: ws-alembic plan --out FILE\n",
    )
    assert "f2" not in tables(url)
    # The remedy.
    assert site("plan", "--out", str(file)).status == 0
    assert site("upgrade", "--plan", str(file)).status == 0
    assert "f2" in tables(url)


def refused(site: Site, file: Path) -> str:
    """Return why a plan is not run, without the first and the last line."""
    done = site("upgrade", "--plan", str(file))
    assert done.status == 8, done.stderr
    return "\n".join(done.stderr.splitlines()[1:-1])


@pytest.fixture
def on_sqlite(site: Site, tmp_path: Path, sqlite_url: str) -> tuple[Site, Path, str]:
    site.configure(sqlite_url)
    file = tmp_path / "plan.json"
    assert site("plan", "--out", str(file)).status == 0
    return site, file, sqlite_url


def test_a_script_that_was_edited(on_sqlite: tuple[Site, Path, str]) -> None:
    site, file, url = on_sqlite
    path = site.workshop.script("addon", "a200", "a100", **table("other"))
    assert refused(site, file) == f"  addon a200: script edited ({path})"
    assert not Path(url.removeprefix("sqlite:///")).exists()


def test_what_a_script_imports_was_edited(on_sqlite: tuple[Site, Path, str]) -> None:
    site, file, _ = on_sqlite
    names = site.workshop.root / "fooapp_names.py"
    names.write_text('NAME = "x1"\n')
    site.workshop.names.append("fooapp_names")
    site.workshop.script(
        "fooapp",
        "f300",
        "f200",
        'import fooapp_names\nop.execute(f"SELECT 1 AS {fooapp_names.NAME}")',
    )
    assert refused(site, file) == "  fooapp f300: it would run too, and is not in the plan"
    assert site("plan", "--out", str(file)).status == 0
    site.workshop.forget()
    names.write_text('NAME = "x22"\n')
    assert refused(site, file) == (
        "  fooapp f300: its SQL differs (of something that the script imports or reads)"
    )


def test_a_script_that_is_gone(on_sqlite: tuple[Site, Path, str]) -> None:
    site, file, _ = on_sqlite
    (site.workshop.root / "fooapp" / "alembic" / "versions" / "f200.py").unlink()
    assert "  fooapp f200: its script is missing" in refused(site, file).splitlines()


def test_another_database_and_a_package_that_is_missing(on_sqlite: Any, tmp_path: Path) -> None:
    site, file, url = on_sqlite
    site.configure(f"sqlite:///{tmp_path}/other.sqlite")
    site.factory(FACTORY.replace('config.include("addon")', "pass"))
    site.workshop.script("fooapp", "f200", "f100", **table("f2"))
    site.workshop.forget()
    assert refused(site, file) == (
        f"  another database: the plan is for {url}, this is sqlite:///{tmp_path}/other.sqlite\n"
        "  addon: the package is missing"
    )


def test_a_step_whose_sql_is_not_known_is_told_by_its_script(site: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite"
    site.configure(url)
    site.workshop.script(
        "fooapp", "f300", "f200", 'op.get_bind().execute(sa.text("SELECT 1")).all()'
    )
    site.workshop.script(
        "fooapp", "f400", "f300", "import uuid\nop.execute(f\"SELECT '{uuid.uuid4()}'\")"
    )
    file = tmp_path / "plan.json"
    assert site("plan", "--out", str(file)).status == 0
    steps = {step["revision"]: step for step in json.loads(file.read_text())["steps"]}
    assert (steps["f300"]["sql"], steps["f400"]["sql"]) == (None, None)
    other = {**json.loads(file.read_text())}
    assert site("upgrade", "--plan", str(file)).status == 0
    assert "f2" in tables(url)
    other["versions"]["alembic"] = "0.1"
    file.write_text(json.dumps(other))
    edited = site("upgrade", "--plan", str(file))
    assert edited.status == 2
    assert "was changed since it was written" in edited.stderr


def test_versions_are_a_cause_where_the_sql_is_not_known(
    site: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from websauna_migrate.runs import plan_records

    site.configure(f"sqlite:///{tmp_path}/db.sqlite")
    site.workshop.script(
        "fooapp", "f300", "f200", 'op.get_bind().execute(sa.text("SELECT 1")).all()'
    )
    file, found = tmp_path / "plan.json", plan_records.versions()
    with monkeypatch.context() as patch:
        patch.setattr(plan_records, "versions", lambda: {**found, "alembic": "1.0"})
        assert site("plan", "--out", str(file)).status == 0
    assert refused(site, file) == (
        "  fooapp f300: its SQL is known only when it runs, and may differ "
        f"(alembic 1.0 then, {found['alembic']} now)"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("upgrade", "f100", "--plan", "x"), "--plan FILE says what is run"),
        (("-x", "packages=all", "upgrade", "--plan", "x"), "--plan FILE says what is run"),
        (("upgrade", "--sql", "--plan", "x"), "--plan has no meaning with --sql"),
        (("plan", "--downgrade", "base", "--out", "x"), "--out has no meaning with --downgrade"),
        (("plan", "--sql", "--out", "x"), "--out has no meaning with --sql"),
        (("upgrade", "--plan", "bad.json"), "The file holds no plan"),
        (("upgrade", "--plan", "bytes.json"), "The file holds no plan"),
        (("upgrade", "--plan", "none.json"), 'The plan "none.json" cannot be read: No such file'),
        (("upgrade", "--max-loss", "-1"), '"-1" is not a whole number, 0 or more.'),
        (("log", "--number", "-1"), '"-1" is not a whole number, 0 or more.'),
        (("log", "--since", "soon"), '"soon" is no time such as 2026-11-30T08:00.'),
        (("wait", "--timeout", "soon"), '"soon" is not a number, 0 or more.'),
        (
            ("graph", "--around", "f100", "--distance", "-1"),
            '"-1" is not a whole number, 0 or more.',
        ),
    ],
)
def test_what_cannot_be_meant(site: Site, sqlite_url: str, words: Any, told: str) -> None:
    site.configure(sqlite_url)
    (site.ini.parent / "bad.json").write_text('{"steps": [{}]}')
    (site.ini.parent / "bytes.json").write_bytes(b"\xff\xfe\x00")
    done = site(*words)
    assert done.status == 2
    assert told in done.stderr


def test_a_step_applied_while_the_run_waits_for_the_lock(
    workshop: Workshop, postgresql_url: str
) -> None:
    """The plan is compared again under the lock."""
    from websauna_migrate.errors import PlanOutdated

    workshop.package("solo")
    workshop.script("solo", "s100", **table("s1"))
    service = workshop.service(postgresql_url)
    recorded = service.record_plan()
    service.ensure_version()
    looked = []

    def stamp_meanwhile(plan: Any) -> None:
        if not looked:
            looked.append(plan)
            execute(postgresql_url, "INSERT INTO alembic_history_solo VALUES ('s100')")

    from websauna_migrate.runs import plan_records

    original = plan_records.refuse_outdated

    def then_stamp(*arguments: Any) -> None:
        original(*arguments)
        stamp_meanwhile(arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_records, "refuse_outdated", then_stamp)
        with pytest.raises(PlanOutdated) as caught:
            service.upgrade(plan=recorded)
    assert caught.value.causes == (
        "solo s100: it would not run any more; the step was applied since",
    )


def test_a_plan_that_cannot_be_written_names_the_file(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("t1"))
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    for path, why in ((tmp_path / "gone" / "p.json", "No such file"), ("/dev/full", "No space")):
        failed = workshop.ws(ini, "plan", "--out", str(path))
        assert failed.status == 1 and f'cannot be written to "{path}": {why}' in failed.err
        assert "Nothing was changed in the database." in failed.err
    # What cannot be opened for writing, whoever asks, is a program that runs: the file stays.
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as running:
        try:
            failed = workshop.ws(ini, "plan", "--out", str(program))
        finally:
            running.kill()
    assert failed.status == 1 and "Text file busy" in failed.err
    assert program.read_bytes() == Path("/bin/sleep").read_bytes()


def test_a_lock_file_that_cannot_be_written_is_named(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("t1"))
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    lock = Path(f"{sqlite_url.removeprefix('sqlite:///')}-migrating")
    lock.mkdir()
    failed = workshop.ws(ini, "upgrade")
    assert failed.status == 1 and f'The lock file "{lock}" cannot be written: ' in failed.err
    assert "nothing was changed" in failed.err
    lock.rmdir()
    assert workshop.ws(ini, "upgrade").status == 0 and not lock.exists()
