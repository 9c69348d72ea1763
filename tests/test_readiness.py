"""Readiness: what a probe is told while an application waits for its migrations."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from webtest import TestApp

from apps import Workshop

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


def test_requests_at_once_share_a_look(site: Any) -> None:
    looks = 0
    service = site.app.app.registry.getUtility(type_of_service())
    original = service.readiness

    def counted() -> Any:
        nonlocal looks
        looks += 1
        barrier.wait(20)
        return original()

    barrier = threading.Event()
    service.readiness = counted
    threads = [threading.Thread(target=site.ask, args=(503,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    barrier.set()
    for thread in threads:
        thread.join(30)
    assert 1 <= looks < 20


def type_of_service() -> Any:
    from websauna_migrate.interfaces import IMigrationService

    return IMigrationService


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
