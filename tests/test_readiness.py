"""Readiness: what a probe is told while an application waits for its migrations."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from webtest import TestApp

from apps import Workshop
from runs import exit_status, fork, table
from websauna_migrate.reports.readiness import ReadinessWatch
from websauna_migrate.web import ready
from websauna_migrate.web.ready import SHARED_SECONDS

NOT_TRANSACTIONAL = """
op.create_table("made", sa.Column("x", sa.Integer))
op.execute("COMMIT")
raise ValueError("half way")
"""


@pytest.fixture
def site(workshop: Workshop, database_url: str) -> Any:
    """An application of two packages with the pages, its service and its database's URL."""
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a1", upgrade='op.create_table("t", sa.Column("x", sa.Integer))')
    workshop.script("aaa", "a2", "a1")
    workshop.script("bbb", "b1")
    return Site(workshop, database_url)


class Site:
    def __init__(self, workshop: Workshop, url: str) -> None:
        self.workshop = workshop
        self.url = url
        config = workshop.configure(url)
        config.include("websauna_migrate.web")
        self.app = TestApp(config.make_wsgi_app())
        self.service = workshop.service(url)

    def ask(self, status: int) -> list[str]:
        """Ask when the answer of an earlier question is no longer shared."""
        time.sleep(SHARED_SECONDS)
        return str(self.app.get("/migrations/ready", status=status).text).splitlines()


def test_behind_then_ready_for_good(site: Any) -> None:
    assert site.ask(503) == ["not ready", "aaa behind", "bbb behind"]
    site.service.upgrade(packages="aaa")
    assert site.ask(503) == ["not ready", "aaa current", "bbb behind"]
    site.service.upgrade()
    assert site.ask(200) == ["ready", "aaa current", "bbb current"]
    # The next release migrates; this process goes on serving.
    site.service.downgrade("base")
    assert site.ask(200)[0] == "ready"


def test_ahead_is_ready(site: Any) -> None:
    site.service.upgrade()
    with sa.create_engine(site.url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_history_aaa SET version_num = 'a3'")
    assert site.ask(200) == ["ready", "aaa ahead", "bbb current"]


def test_half_done(site: Any) -> None:
    site.workshop.script("bbb", "b2", "b1", upgrade=NOT_TRANSACTIONAL)
    site = Site(site.workshop, site.url)
    with pytest.raises(Exception, match="half way"):
        site.service.upgrade()
    lines = site.ask(503)
    assert lines[:3] == ["not ready", "aaa current", "bbb behind"]
    assert lines[3].startswith('half done: upgrade of revision "b2" of package "bbb", started ')


def test_running(site: Any) -> None:
    """A run in progress is told, and the probe waits for no lock of it."""
    seen: list[list[str]] = []

    def look() -> bool:
        thread = threading.Thread(target=lambda: seen.append(site.ask(503)))
        thread.start()
        thread.join(20)
        return False

    site.service.upgrade(stop=look)
    assert len(seen) >= 3
    assert all(lines[0] == "not ready" for lines in seen)
    assert any("running: upgrade in progress" in line for lines in seen for line in lines)
    assert site.ask(200)[0] == "ready"


#: What locks a history table, or the file, for all others.
EXCLUSIVELY = {
    "sqlite": "BEGIN EXCLUSIVE",
    "postgresql": "LOCK TABLE alembic_history_aaa IN ACCESS EXCLUSIVE MODE",
    "mysql": "LOCK TABLES alembic_history_aaa WRITE",
}


def test_a_locked_history_table_keeps_no_probe_waiting(site: Any) -> None:
    site.service.upgrade(packages="aaa")
    engine = sa.create_engine(site.url)
    with engine.connect() as connection:
        connection.exec_driver_sql(EXCLUSIVELY[engine.dialect.name])
        assert site.ask(503) == [
            "not ready",
            "aaa unknown",
            "bbb unknown",
            "locked: a history table or the ledger cannot be read",
        ]
        assert not site.service.readiness().is_ready
        connection.invalidate()
    assert site.ask(503) == ["not ready", "aaa current", "bbb behind"]


def test_a_run_that_locks_a_history_table_is_told(
    workshop: Workshop, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.package("aaa")
    workshop.script("aaa", "a1")
    locking = (
        f"op.get_bind().exec_driver_sql({EXCLUSIVELY['postgresql']!r})\nimport sys\nsys.ask_probe()"
    )
    workshop.script("aaa", "a2", "a1", upgrade=locking)
    site = Site(workshop, postgresql_url)
    seen: list[list[str]] = []

    def ask() -> None:
        thread = threading.Thread(target=lambda: seen.append(site.ask(503)))
        thread.start()
        thread.join(20)

    monkeypatch.setattr("sys.ask_probe", ask, raising=False)
    site.service.upgrade()
    (lines,) = seen
    assert lines[1:3] == ["aaa unknown", "locked: a history table or the ledger cannot be read"]
    assert lines[3].startswith("running: a run is in progress (server process ")
    assert site.ask(200) == ["ready", "aaa current"]


def test_json_and_methods(site: Any) -> None:
    found = site.app.get("/migrations/ready", headers={"Accept": "application/json"}, status=503)
    assert found.json["status"] == "not ready"
    assert found.json["packages"] == {"aaa": "behind", "bbb": "behind"}
    assert found.headers["Cache-Control"].startswith("max-age=0")
    site.app.head("/migrations/ready", status=503)
    site.app.post("/migrations/ready", status=404)


def test_a_database_that_cannot_be_reached(workshop: Workshop, tmp_path: Path) -> None:
    workshop.package("aaa")
    workshop.script("aaa", "a1")
    site = Site(workshop, "postgresql+psycopg2://user:secret@127.0.0.1:1/none")
    lines = site.ask(503)
    assert lines == ["cannot tell", "cannot tell: DatabaseFailure"]


def test_the_prefix_is_a_setting(workshop: Workshop, tmp_path: Path) -> None:
    workshop.package("aaa")
    config = workshop.configure(f"sqlite:///{tmp_path / 'db.sqlite'}", web_prefix="/-/db/")
    config.include("websauna_migrate.web")
    app = TestApp(config.make_wsgi_app())
    assert app.get("/-/db/ready").text == "ready\naaa current\n"
    assert not (tmp_path / "db.sqlite").exists()


def test_requests_share_a_look(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One looks at a time; those that come meanwhile, or within a moment, get its answer."""
    looks = 0
    original = ReadinessWatch.look

    def counted(watch: ReadinessWatch) -> Any:
        nonlocal looks
        looks += 1
        barrier.wait(20)
        return original(watch)

    barrier = threading.Event()
    monkeypatch.setattr(ReadinessWatch, "look", counted)
    monkeypatch.setattr(ready, "SHARED_SECONDS", 600.0)
    threads = [threading.Thread(target=site.ask, args=(503,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    barrier.set()
    for thread in threads:
        thread.join(30)
    assert looks == 1
    site.service.upgrade()
    site.ask(503)
    monkeypatch.setattr(ready, "SHARED_SECONDS", 0.0)
    site.ask(200)
    assert looks == 2


def test_a_new_script_and_a_lost_connection(site: Any) -> None:
    """What a probe keeps is taken anew when it has changed, or is gone."""
    site.service.upgrade(packages="aaa")
    assert site.ask(503)[1:] == ["aaa current", "bbb behind"]
    site.workshop.script("aaa", "a3", "a2")
    engine = sa.create_engine(site.url)
    is_file = engine.dialect.name == "sqlite"
    assert is_file or end_other_sessions(engine) == 1
    assert site.ask(503)[1:] == ["aaa behind", "bbb behind"]
    site.workshop.service(site.url).upgrade()
    assert site.ask(200)[1:] == ["aaa current", "bbb current"]
    deadline = time.monotonic() + 20
    while not is_file and end_other_sessions(engine):
        assert time.monotonic() < deadline


# What the child has of a parent whose other thread forks is told by Python from 3.12 on.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_worker_that_is_forked_asks_on_a_connection_of_its_own(site: Any) -> None:
    site.ask(503)

    def ask() -> int:
        assert site.ask(503)[0] == "not ready"
        return count_sessions(site.url)

    pid = fork(ask)
    sessions = exit_status(pid)
    assert site.ask(503)[0] == "not ready"
    assert sessions == (0 if site.url.startswith("sqlite") else 2)


def count_sessions(url: str) -> int:
    """Return how many sessions others have in a database."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        return 0
    with engine.connect() as connection:
        return len(connection.exec_driver_sql(SESSIONS[engine.dialect.name][0]).all())


#: The sessions of others in the present database, and what ends one.
SESSIONS = {
    "postgresql": (
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "SELECT pg_terminate_backend({})",
    ),
    "mysql": (
        "SELECT id FROM information_schema.processlist "
        "WHERE db = database() AND id <> connection_id()",
        "KILL {}",
    ),
}


def end_other_sessions(engine: sa.Engine) -> int:
    """End the sessions of others, and return how many there were."""
    listing, ending = SESSIONS[engine.dialect.name]
    with engine.begin() as connection:
        found = connection.exec_driver_sql(listing).scalars().all()
        for number in found:
            # MariaDB refuses to end one that has ended by itself since.
            with suppress(sa.exc.OperationalError):
                connection.exec_driver_sql(ending.format(number))
    return len(found)


def test_the_command_waits(site: Any, tmp_path: Path, run: Any) -> None:
    ini = site.workshop.application("waiting_app", tmp_path / "site.ini", site.url)
    environment = {"PYTHONPATH": str(site.workshop.root)}
    program = ["ws-alembic", "-c", str(ini)]
    done = run([*program, "wait", "--timeout", "0"], env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aaa behind\nbbb behind\n"
    drawn = run([*program, "graph"], env=environment)
    assert drawn.returncode == 0 and "  ○ a1  Revision a1\n" in drawn.stdout
    thread = threading.Timer(1.0, site.service.upgrade)
    thread.start()
    done = run([*program, "wait", "--timeout", "60"], env=environment)
    thread.join()
    assert (done.returncode, done.stdout) == (0, "aaa current\nbbb current\n")
    drawn = run([*program, "graph", "--format", "svg", "--table", "t"], env=environment)
    assert drawn.returncode == 0 and drawn.stdout.startswith("<svg ")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda text: None, "site.ini"),
        (lambda text: "[app:main\n", "site.ini"),
        (lambda text: f"[includes]\ninclude_ini_files = gone.ini\n{text}", "gone.ini"),
        (lambda text: text.replace("sqlalchemy.url", "nothing"), "sqlalchemy.url"),
        (lambda text: text.replace("sqlite:", "postgres:"), "name is postgresql"),
        (
            lambda text: text.replace(
                "[app:main]\n", "[app:main]\nwebsauna_migrate.lok_wait = 3\n"
            ),
            "lok",
        ),
        (lambda text: text.replace("fooapp", "nowhere"), "did not start"),
        (
            lambda text: text.replace("sqlite:///", "postgresql+psycopg2://u@127.0.0.1:1"),
            "127.0.0.1",
        ),
    ],
)
def test_what_cannot_be_told_has_a_status_of_its_own(
    workshop: Workshop, tmp_path: Path, sqlite_url: str, write: Any, said: str
) -> None:
    """1 says that revisions are pending; where nothing can be read, nothing is known of that."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("t1"))
    ini = workshop.application("fooapp", tmp_path / "site.ini", sqlite_url)
    assert workshop.ws(ini, "status").status == 1
    text = write(ini.read_text())
    ini.unlink() if text is None else ini.write_text(text)
    for words in (["status"], ["status", "--fail-on", "never"], ["wait", "--timeout", "0"]):
        done = workshop.ws(ini, *words)
        assert (done.status, done.out) == (2, "") and said in done.err, (words, done)
    failed = workshop.ws(ini, "status", "--json")
    assert failed.status == 2 and json.loads(failed.out)["error"]["exit_code"] == 2
