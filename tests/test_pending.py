"""What an application does about pending revisions when it starts, and when it is asked."""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path
from typing import Any

import plaster
import pytest
from pyramid.authorization import Allow, Everyone
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from webtest import TestApp

from apps import Workshop
from runs import exit_status, fork, ledger
from test_web_pages import HERE, Policy
from websauna_migrate import IMigrationService, Initializer, MigrationError
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.web import pending

HTML = {"Accept": "text/html"}


@pytest.fixture
def packages(workshop: Workshop) -> Workshop:
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a1")
    workshop.script("bbb", "b1")
    return workshop


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'pending.sqlite'}"


def start(workshop: Workshop, url: str, mode: str, acl: Any = None) -> TestApp:
    config = workshop.configure(url, on_pending=mode)
    if acl is not None:
        config.set_security_policy(Policy())
        config.set_root_factory(lambda request: type("Root", (), {"__acl__": acl})())
    config.add_route("home", "/")
    config.add_view(lambda request: Response("home"), route_name="home")
    return TestApp(config.make_wsgi_app())


def service_of(app: TestApp) -> Any:
    return app.app.registry.getUtility(IMigrationService)


def test_ignore(packages: Workshop, url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert start(packages, url, "ignore").get("/").text == "home"
    assert not caplog.records


def test_warn(packages: Workshop, url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        app = start(packages, url, "warn")
    command = "ws-alembic -c INI-OF-THIS-APPLICATION -x packages=all upgrade"
    words = f"Revisions are pending: aaa a1, bbb b1. Run: {command}"
    assert [record.getMessage() for record in caplog.records] == [words]
    assert app.get("/").text == "home"
    service_of(app).upgrade()
    caplog.clear()
    start(packages, url, "warn")
    assert not caplog.records


def test_warn_where_the_database_is_away(
    packages: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    away = "postgresql+psycopg2://user:secret@127.0.0.1:1/none"
    assert start(packages, away, "warn").get("/").text == "home"
    assert "It cannot be told whether revisions are pending" in caplog.text
    assert "secret" not in caplog.text
    with pytest.raises(MigrationError):
        start(packages, away, "fail")


def test_fail(packages: Workshop, url: str) -> None:
    with pytest.raises(MigrationError) as caught:
        start(packages, url, "fail")
    assert str(caught.value) == (
        "Revisions are pending: aaa a1, bbb b1. "
        "Run: ws-alembic -c INI-OF-THIS-APPLICATION -x packages=all upgrade"
    )
    packages.service(url).upgrade()
    assert start(packages, url, "fail").get("/").text == "home"


def test_a_word_that_means_nothing(packages: Workshop, url: str) -> None:
    with pytest.raises(ConfigurationError, match='"ignore", "warn", "page", "fail" or "upgrade"'):
        start(packages, url, "maybe")


def test_upgrade_by_many_workers_at_once(packages: Workshop, database_url: str) -> None:
    for number in range(2, 12):
        packages.script("aaa", f"a{number}", f"a{number - 1}")

    pids = [fork(lambda: start(packages, database_url, "upgrade") and None) for _ in range(4)]
    assert [exit_status(pid) for pid in pids] == [0] * 4
    entries = ledger(database_url)
    assert len(entries) == 12 and {entry[3] for entry in entries} == {"done"}


@pytest.mark.parametrize("mode", ["warn", "page", "fail", "upgrade"])
def test_a_command_triggers_nothing(
    packages: Workshop, url: str, tmp_path: Path, run: Any, mode: str
) -> None:
    ini = packages.application("pending_app", tmp_path / "site.ini", url, on_pending=mode)
    program = ["ws-alembic", "-c", str(ini)]
    done = run([*program, "status"], env={"PYTHONPATH": str(packages.root)})
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("Revision") == 0 and "aaa" in done.stdout
    assert not (tmp_path / "pending.sqlite").exists()


# Commands name the INI that the application was started from


def serve(ini: Path, scheme: str = "ws") -> TestApp:
    """Start an application as ``pserve`` does."""
    return TestApp(plaster.get_loader(f"{scheme}://{ini}", ["wsgi"]).get_wsgi_app())


@pytest.mark.parametrize("scheme", ["ws", "file+ini"])
def test_commands_name_the_ini(
    packages: Workshop, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, scheme: str
) -> None:
    ini = tmp_path / "the site.ini"
    packages.application("pending_app", ini, url, on_pending="warn", web_localhost="on")
    # PasteDeploy's own loader tells the application alone.
    name = shlex.quote(str(ini)) if scheme == "ws" else "INI-OF-THIS-APPLICATION"
    known = f"ws-alembic -c {name} "
    with ini.open("a") as file:
        file.write("pyramid.includes = websauna_migrate.web\n")
    with caplog.at_level(logging.WARNING):
        app = serve(ini, scheme)
    assert f"Run: {known}-x packages=all upgrade" in caplog.text
    page = app.get("/migrations", extra_environ=HERE).html.get_text(" ", strip=True)
    assert f"Run {known}-x packages=all upgrade" in page


def test_an_application_of_a_section(packages: Workshop, url: str, tmp_path: Path) -> None:
    ini = packages.application("pending_app", tmp_path / "site.ini", url, on_pending="fail")
    ini.write_text(ini.read_text().replace("[app:main]", "[app:other]"))
    with pytest.raises(MigrationError) as caught:
        plaster.get_loader(f"ws://{ini}", ["wsgi"]).get_wsgi_app("other")
    (command,) = re.findall(r"Run: ws-alembic (.*)", str(caught.value))
    done = packages.ws(ini, "status")
    assert done.status == 2
    packages.forget()
    assert main(shlex.split(command)) == 0
    assert plaster.get_loader(f"ws://{ini}", ["wsgi"]).get_wsgi_app("other")


class WithPackage(Initializer):
    def include_addons(self) -> None:
        self.config.include("aaa")


def test_an_initializer_knows_the_ini(
    packages: Workshop, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"sqlalchemy.url": url, "websauna_migrate.on_pending": "warn"}
    made = WithPackage({"__file__": "/srv/site.ini"}, settings)
    made.run()
    with caplog.at_level(logging.WARNING):
        made.make_wsgi_app()
    assert "Run: ws-alembic -c /srv/site.ini -x packages=all upgrade" in caplog.text


def test_an_upgrade_at_the_start_that_cannot_be(packages: Workshop, database_url: str) -> None:
    end_half_done(packages, database_url)
    with pytest.raises(MigrationError) as caught:
        start(packages, database_url, "upgrade")
    assert "settle it: ws-alembic -c INI-OF-THIS-APPLICATION repair" in str(caught.value)


# A step that ended half done


def end_half_done(packages: Workshop, url: str) -> None:
    half = (
        'op.create_table("h", sa.Column("x", sa.Integer))\nop.execute("COMMIT")\nraise ValueError'
    )
    packages.script("bbb", "b2", "b1", upgrade=half)
    with pytest.raises(MigrationError):
        packages.service(url).upgrade()


def test_half_done_at_the_start(
    packages: Workshop, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    end_half_done(packages, database_url)
    remedy = "Settle it first: ws-alembic -c INI-OF-THIS-APPLICATION repair"
    with caplog.at_level(logging.WARNING):
        start(packages, database_url, "warn")
    assert "A step ended half done: " in caplog.text and remedy in caplog.text
    with pytest.raises(MigrationError, match=remedy) as caught:
        start(packages, database_url, "fail")
    assert "b2" in str(caught.value)


def test_the_page_of_a_half_done_step(packages: Workshop, database_url: str) -> None:
    app = start(packages, database_url, "page")
    page = app.get("/", status=503, extra_environ=HERE, headers=HTML)
    end_half_done(packages, database_url)
    refused = page.forms[0].submit(extra_environ=HERE, headers=HTML, status=500)
    for shown in (refused, app.get("/", status=503, extra_environ=HERE, headers=HTML)):
        text = shown.html.get_text(" ", strip=True)
        assert "<form" not in shown.text
        assert "Settle it first: ws-alembic -c INI-OF-THIS-APPLICATION repair" in text
        assert "packages=all upgrade" not in text
        assert "cannot be told" not in shown.html.title.get_text()
    told = app.get("/", status=503, extra_environ=HERE).text
    assert "repair" in told and "packages=all upgrade" not in told
    service_of(app).repair("done", "bbb@b2")
    assert app.get("/", extra_environ=HERE).text == "home"


def test_a_downgrade_that_ended_half_done(packages: Workshop, database_url: str) -> None:
    half = (
        'op.create_table("h", sa.Column("x", sa.Integer))\nop.execute("COMMIT")\nraise ValueError'
    )
    packages.script("bbb", "b2", "b1", downgrade=half)
    app = start(packages, database_url, "page")
    service_of(app).upgrade()
    with pytest.raises(MigrationError):
        service_of(app).downgrade("b1", packages="bbb")
    text = app.get("/", status=503, extra_environ=HERE, headers=HTML).html.get_text(" ")
    assert "It answers again" not in text and "answers again when that step is settled." in text


# The page


def test_the_page_and_its_button(packages: Workshop, url: str) -> None:
    app = start(packages, url, "page")
    page = app.get("/?a=1", status=503, extra_environ=HERE, headers=HTML)
    text = page.html.get_text(" ", strip=True)
    assert "2 steps are pending" in text and "aaa a1 Revision a1 requested" in text
    assert "ws-alembic -c INI-OF-THIS-APPLICATION -x packages=all upgrade" in text
    assert "script" not in page.headers["Content-Security-Policy"]
    app.get("/migrations/style.css", status=200)
    # With "no-referrer" a browser would send the form with "Origin: null".
    assert page.headers["Referrer-Policy"] == "same-origin"
    page.click(href="step/aaa/a1", extra_environ=HERE)
    app.get("/migrations/ready", status=503)
    origin = {"Origin": "http://localhost"}
    done = page.forms[0].submit(extra_environ=HERE, headers=origin)
    assert (done.status_int, done.location) == (303, "http://localhost/?a=1")
    assert app.get("/", extra_environ=HERE).text == "home"
    assert [state.pending for state in service_of(app).current()] == [0, 0]


def test_a_new_script_shows_the_page_again(
    packages: Workshop, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "PATIENCE", 0.0)
    app = start(packages, url, "page")
    service_of(app).upgrade()
    assert app.get("/", extra_environ=HERE).text == "home"
    looks: list[Any] = []
    original = pending.look
    monkeypatch.setattr(pending, "look", lambda service: looks.append(1) or original(service))
    assert app.get("/", extra_environ=HERE).text == "home"
    assert looks == []
    packages.script("aaa", "a2", "a1")
    page = app.get("/", status=503, extra_environ=HERE, headers=HTML)
    assert "1 step is pending" in page.text and "Apply it now" in page.text


def test_who_may_press_the_button(packages: Workshop, url: str) -> None:
    app = start(packages, url, "page")
    page = app.get("/", status=503, extra_environ=HERE, headers=HTML)
    form = dict(page.forms[0].submit_fields())
    away = {"REMOTE_ADDR": "192.0.2.1"}
    app.post("/migrations/upgrade", form, status=403, extra_environ=away)
    app.post("/migrations/upgrade", {**form, "csrf_token": "x"}, status=403, extra_environ=HERE)
    app.post("/migrations/upgrade", {}, status=403, extra_environ=HERE)
    other = {"Origin": "http://evil.example"}
    app.post("/migrations/upgrade", form, status=403, extra_environ=HERE, headers=other)
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    app.post("/migrations/upgrade", form, status=403, extra_environ=HERE, headers=proxied)
    app.get("/migrations/upgrade", status=404, extra_environ=HERE)
    assert {state.rows for state in service_of(app).current()} == {()}
    # Somebody else learns nothing but that it waits.
    told = app.get("/", status=503, extra_environ=away, headers=HTML).text
    assert told == "This application waits for its database to be migrated.\n"
    # The page goes back to this application alone.
    form["back"] = "//evil.example/"
    done = app.post("/migrations/upgrade", form, extra_environ=HERE)
    assert done.location == "http://localhost/"


def test_permissions(packages: Workshop, url: str) -> None:
    away = {"REMOTE_ADDR": "192.0.2.1"}
    app = start(packages, url, "page", [(Allow, Everyone, "websauna_migrate.view")])
    page = app.get("/", status=503, extra_environ=away, headers=HTML)
    assert "2 steps are pending" in page.text and "<form" not in page.text
    both = [(Allow, Everyone, ("websauna_migrate.view", "websauna_migrate.upgrade"))]
    app = start(packages, url, "page", both)
    page = app.get("/", status=503, extra_environ=away, headers=HTML)
    assert page.forms[0].submit(extra_environ=away).status_int == 303


def test_a_step_that_fails(packages: Workshop, url: str) -> None:
    packages.script("bbb", "b2", "b1", upgrade='raise ValueError("<b>broken</b>")')
    app = start(packages, url, "page")
    page = app.get("/", status=503, extra_environ=HERE, headers=HTML)
    failed = page.forms[0].submit(extra_environ=HERE, headers=HTML, status=500)
    assert "<b>" not in failed.text and "<b>broken</b>" in failed.html.get_text()
    page = app.get("/", status=503, extra_environ=HERE, headers=HTML)
    assert "1 step is pending" in page.text


def test_what_a_program_gets(packages: Workshop, url: str) -> None:
    app = start(packages, url, "page")
    found = app.get("/", status=503, extra_environ=HERE, headers={"Accept": "application/json"})
    assert found.content_type == "text/plain"
    assert found.text == (
        "2 steps are pending\naaa a1  Revision a1\nbbb b1  Revision b1\n"
        "Run: ws-alembic -c INI-OF-THIS-APPLICATION -x packages=all upgrade\n"
    )
