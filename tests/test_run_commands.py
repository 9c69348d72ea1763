"""``ws-alembic`` commands that run scripts: their flags, their exit statuses, and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from in_process import beside, run_here
from runs import ledger, rows, table, tables, wait_for
from websauna_migrate.cli.ws_alembic import main

INI = """
[app:main]
use = call:fooapp:main
sqlalchemy.url = {url}
{settings}
"""

FACTORY = """
from pyramid.config import Configurator

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.add_migration_package()
    return config.make_wsgi_app()
"""


class Site:
    def __init__(self, workshop: Workshop, ini: Path, run: Any) -> None:
        self.workshop = workshop
        self.ini = ini
        self._run = run

    def configure(self, url: str, **settings: str) -> None:
        lines = "\n".join(f"websauna_migrate.{key} = {value}" for key, value in settings.items())
        self.ini.write_text(INI.format(url=url.replace("%", "%%"), settings=lines))

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type a command in this process, beside the INI."""
        with beside(self.ini.parent, "fooapp"):
            return run_here(main, ["-c", str(self.ini), *words])

    def process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process, whose scripts may find our programs."""
        done: subprocess.CompletedProcess[str] = self._run(
            ["ws-alembic", "-c", self.ini, *words],
            cwd=self.ini.parent,
            env={"PYTHONPATH": str(self.workshop.root)},
        )
        return done


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, run: Callable[..., Any]) -> Site:
    workshop.package("fooapp")
    (workshop.root / "fooapp" / "__init__.py").write_text(FACTORY)
    workshop.script("fooapp", "f100", **table("f1"), message="First")
    workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    return Site(workshop, tmp_path / "site.ini", run)


def test_a_dry_run_is_a_result(site: Site, transactional_database_url: str) -> None:
    site.configure(transactional_database_url)
    done = site("upgrade", "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[1/2] fooapp  f100  First (")
    assert lines[1].startswith("[2/2] fooapp  f200  Second (")
    assert lines[2].startswith("Dry run: 2 steps executed in ")
    assert lines[2].endswith(" s and rolled back.")
    assert tables(transactional_database_url) == set()
    site("upgrade")
    assert site("upgrade", "--dry-run").stdout == "Dry run: nothing to do.\n"


def test_an_atomic_run(site: Site, transactional_database_url: str) -> None:
    site.configure(transactional_database_url)
    site.workshop.script("fooapp", "f300", "f200", upgrade='op.execute("nonsense")')
    done = site("upgrade", "--atomic")
    assert done.returncode == 6
    assert "Nothing of it was applied. The earlier steps of this run were rolled back" in (
        done.stderr
    )
    assert tables(transactional_database_url) == {"websauna_migrate_ledger"}
    assert site("upgrade", "f200", "--atomic").returncode == 0


@pytest.mark.parametrize("flag", ["--atomic", "--dry-run"])
def test_what_has_no_meaning_with_sql(site: Site, sqlite_url: str, flag: str) -> None:
    site.configure(sqlite_url)
    done = site("upgrade", "--sql", flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{flag} has no meaning with --sql, which runs nothing.\n"


@pytest.mark.parametrize("value", ["-1", "soon", "inf", "nan"])
def test_a_limit_that_is_no_number(site: Site, sqlite_url: str, value: str) -> None:
    site.configure(sqlite_url)
    done = site("upgrade", f"--lock-wait={value}")
    assert done.returncode == 2
    assert f'argument --lock-wait: "{value}" is not a number, 0 or more' in done.stderr
    assert "Traceback" not in done.stderr


def test_every_look_sees_a_half_done_step(site: Site, database_url: str) -> None:
    site.configure(database_url)
    half = 'op.create_table("half", sa.Column("id", sa.Integer))\nop.execute("COMMIT")\n'
    site.workshop.script("fooapp", "f300", "f200", upgrade=half + 'op.execute("nonsense")')
    assert site("upgrade").returncode == 3
    line = f"fooapp@f300 ended half done. See: ws-alembic -c {site.ini} repair\n"
    for command, status in (("status", 3), ("current", 0), ("plan", 3)):
        done = site(command, "--json")
        assert (done.returncode, done.stderr) == (status, line), command
        found = json.loads(done.stdout)
        if command == "plan":
            assert [one["revision"] for one in found["half_done"]] == ["f300"]
        else:
            assert found[0]["half_done"] == ["f300"]
    for words in (["plan"], ["plan", "--downgrade", "f200"]):
        done = site(*words)
        told = f"No {'downgrade' if len(words) > 1 else 'upgrade'} runs anything before this is "
        assert (done.returncode, done.stderr) == (3, line)
        assert f"{told}settled: fooapp@f300 ended half done.\n" in done.stdout
        assert "Nothing to do" not in done.stdout
    done = site("log", "last")
    assert "  half-done  " in done.stdout and "running" not in done.stdout
    done = site("check")
    assert done.returncode == 3
    assert 'Half done: upgrade of revision "f300" of package "fooapp", started ' in done.stdout
    assert "half-done" in {
        one["kind"] for one in json.loads(site("check", "--json").stdout)["problems"]
    }
    shown = site("repair").stdout
    assert "  It failed: " in shown and "(line 16, statement 3: NONSENSE)" in shown
    assert "  Statements that ended:\n    1  CREATE TABLE half  (line 14)\n" in shown
    assert '    table "half", columns id\n' in shown
    assert "  --done    the history writes f300 in place of f200\n" in shown


def test_every_look_sees_a_run(site: Site, transactional_database_url: str) -> None:
    """Also one whose step is one transaction, of which nothing else can be seen."""
    site.configure(transactional_database_url)
    look = (
        "import subprocess, pathlib\n"
        'for word in ("status", "plan"):\n'
        f'    words = ["ws-alembic", "-c", {str(site.ini)!r}, word]\n'
        # The linter would execute this script, and so on.
        '    words += ["--no-lint"] * (word == "plan")\n'
        "    done = subprocess.run(words, capture_output=True, text=True)\n"
        f'    seen = pathlib.Path({str(site.ini.parent)!r}, "seen." + word)\n'
        "    seen.write_text(done.stdout + done.stderr)\n"
    )
    site.workshop.script("fooapp", "f300", "f200", upgrade=f"op.get_bind()\n{look}")
    assert site.process("upgrade", "f200").returncode == 0
    assert site.process("upgrade").returncode == 0
    for word in ("status", "plan"):
        seen = (site.ini.parent / f"seen.{word}").read_text()
        assert "unning: upgrade in progress, at revision" in seen, seen


def test_repair_tells_a_step_that_is_at_work(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    look = (
        "import subprocess, sys\n"
        f'words = ["ws-alembic", "-c", {str(site.ini)!r}, "-x", "packages=all", "repair"]\n'
        "done = subprocess.run(words, capture_output=True, text=True)\n"
        f'__import__("pathlib").Path({str(site.ini.parent / "seen")!r}).write_text('
        'f"{done.returncode} {done.stdout}{done.stderr}")\n'
    )
    site.workshop.script("fooapp", "f300", "f200", upgrade=f'op.execute("COMMIT")\n{look}')
    assert site.process("upgrade").returncode == 0
    seen = (site.ini.parent / "seen").read_text()
    assert seen.startswith("0 fooapp@f300 is running on "), seen
    assert 'upgrade in progress, at revision "f300" of package "fooapp" since ' in seen


def test_repair_from_beginning_to_end(site: Site, database_url: str) -> None:
    site.configure(database_url)
    half = 'op.create_table("half", sa.Column("id", sa.Integer))\nop.execute("COMMIT")\n'
    site.workshop.script("fooapp", "f300", "f200", upgrade=half + 'op.execute("nonsense")')
    assert site("repair").stdout == "Nothing to repair: no step ended half done.\n"
    assert site("upgrade").returncode == 3
    refused = site("upgrade")
    assert refused.returncode == 3
    assert 'upgrade of revision "f300" of package "fooapp", started ' in refused.stderr
    listed = site("repair")
    assert listed.returncode == 3
    assert listed.stdout.startswith(
        'fooapp@f300: upgrade of revision "f300" of package "fooapp", started '
    )
    assert f"ws-alembic -c {site.ini} repair --rerun" in listed.stdout
    wrong = site("repair", "--done", "fooapp@f100")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        'No step "fooapp@f100" ended half done. Those that did: fooapp@f300.\n',
    )
    settled = site("repair", "--done", "fooapp@f300")
    assert (settled.returncode, settled.stdout) == (0, "fooapp@f300 counts as done.\n")
    assert site("upgrade").returncode == 0
    assert rows(database_url, "SELECT version_num FROM alembic_history_fooapp") == [("f300",)]


def test_a_signal_stops_the_command(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    flag = site.workshop.root / "flag"
    site.workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        import pathlib, time
        pathlib.Path({str(flag)!r}).touch()
        time.sleep(1)
        """,
    )
    site.workshop.script("fooapp", "f300", "f200", **table("f3"))
    program = Path(sys.executable).parent / "ws-alembic"
    with subprocess.Popen(
        [str(program), "-c", str(site.ini), "upgrade"],
        env={**os.environ, "PYTHONPATH": str(site.workshop.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        wait_for(flag.exists, 90)
        running.send_signal(signal.SIGTERM)
        stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == 143
    assert stdout == ""
    assert "Stopping when the step is done; a second time stops it at once.\n" in stderr
    assert stderr.endswith(
        'Stopped as asked, with 2 of 3 steps applied. The upgrade of revision "f300" of package '
        '"fooapp" was not begun. Run the command again to go on.\n'
    )
    assert [entry[3] for entry in ledger(sqlite_url)] == ["done", "done", "stopped"]


def test_scripts_that_others_may_change_are_reported(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    path = site.workshop.root / "fooapp" / "alembic" / "versions" / "f200.py"
    path.chmod(0o666)
    done = site("upgrade")
    assert done.returncode == 0
    assert (
        'Warning: The scripts of package "fooapp" may be changed by others: '
        f'"{path.relative_to(path.parents[4])}", every user of this machine may write to it. '
        "Whoever changes a script decides what this run does to the database.\n"
    ) in done.stderr


def test_no_password_is_shown_anywhere(site: Site, postgresql_url: str) -> None:
    from sqlalchemy.engine import make_url

    site.configure(postgresql_url)
    password = str(make_url(postgresql_url).password)
    site.workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade="raise RuntimeError(str(op.get_bind().engine.url.password))",
    )
    done = site("upgrade")
    assert done.returncode == 6
    assert "RuntimeError: ***." in done.stderr
    assert password not in done.stderr + done.stdout
    found = rows(postgresql_url, "SELECT * FROM websauna_migrate_ledger")
    assert password not in str(found)


def test_a_package_without_revisions_is_at_none(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    for name in ("fooapp", "bare", "void"):
        workshop.package(name, None)
    workshop.script("fooapp", "f1", **table("a"))
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    said = {
        "bare": "bare has no revision yet",
        "bare, void": "bare, void have no revision yet",
        "fooapp, bare": "fooapp is at its newest revision; bare has none yet",
        "all": "all packages are at their newest revision; bare, void have none yet",
    }
    assert workshop.ws(ini, "upgrade").status == 0
    for packages, words in said.items():
        typed = workshop.ws(ini, "-x", f"packages={packages}", "upgrade")
        assert (typed.status, typed.out) == (0, f"Nothing to do: {words}.\n")
