"""The pages of an application: who may see them, what they say, and that it stays text."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pyramid.authorization import ACLHelper, Allow, Everyone
from webtest import TestApp

from apps import Workshop
from runs import execute
from websauna_migrate import IMigrationService
from websauna_migrate.errors import MigrationError
from websauna_migrate.plain_text import to_json
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.revision_scripts import revision_reader, script_files

HERE = {"REMOTE_ADDR": "127.0.0.1"}
PAGES = ("", "/status.json", "/graph", "/graph.svg", "/step/aaa/a1")
HOSTILE = "<script>alert('x')</script> & \"quoted\" \u202etxt.exe \x1b[31m"


class Policy:
    """Grants what the root's ACL says."""

    def identity(self, request: Any) -> None:
        return None

    def authenticated_userid(self, request: Any) -> None:
        return None

    def permits(self, request: Any, context: Any, permission: str) -> Any:
        return ACLHelper().permits(context, [Everyone], permission)

    def remember(self, request: Any, userid: str, **kw: Any) -> list[Any]:
        return []

    def forget(self, request: Any, **kw: Any) -> list[Any]:
        return []


@pytest.fixture
def packages(workshop: Workshop) -> Workshop:
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a1", upgrade='op.create_table("t", sa.Column("x", sa.Integer))')
    workshop.script("bbb", "b1", requires=("aaa@a1",))
    return workshop


def site(workshop: Workshop, url: str, acl: Any = None, **settings: Any) -> TestApp:
    config = workshop.configure(url, **settings)
    if acl is not None:
        config.set_security_policy(Policy())
        config.set_root_factory(lambda request: type("Root", (), {"__acl__": acl})())
    config.include("websauna_migrate.web")
    return TestApp(config.make_wsgi_app())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'pages.sqlite'}"


def test_denied_unless_granted(packages: Workshop, url: str) -> None:
    for acl in (None, [], [(Allow, Everyone, "view")]):
        app = site(packages, url, acl)
        for path in PAGES:
            app.get(f"/migrations{path}", status=403, extra_environ=HERE)
        app.get("/migrations/ready", status=503)
    app = site(packages, url, [(Allow, Everyone, "websauna_migrate.view")])
    for path in PAGES:
        app.get(f"/migrations{path}", status=200)


def test_from_this_machine_alone(packages: Workshop, url: str) -> None:
    app = site(packages, url, web_localhost="on")
    app.get("/migrations", extra_environ=HERE, status=200)
    app.get("/migrations", extra_environ={"REMOTE_ADDR": "::1"}, status=200)
    app.get("/migrations", extra_environ={"REMOTE_ADDR": "192.0.2.1"}, status=403)
    # Through a proxy on this machine, and by a name that somebody else gave to it.
    app.get("/migrations", extra_environ=HERE, headers={"X-Forwarded-For": "::1"}, status=403)
    app.get("/migrations", extra_environ=HERE, headers={"Host": "evil.example"}, status=403)


def test_what_a_browser_is_told(packages: Workshop, url: str) -> None:
    app = site(packages, url, web_localhost="on")
    for path in PAGES:
        found = app.get(f"/migrations{path}", extra_environ=HERE)
        policy = found.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy and "script" not in policy
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Cache-Control"] == "no-store"
        if found.content_type == "text/html":
            assert "<script" not in found.text and "<style" not in found.text
            assert " style=" not in found.text and " on" not in found.html.find("main").attrs
    assert app.get("/migrations/style.css", status=200).content_type == "text/css"
    app.post("/migrations", extra_environ=HERE, status=404)


def test_the_same_data_everywhere(packages: Workshop, url: str) -> None:
    app = site(packages, url, web_localhost="on")
    service = app.app.registry.getUtility(IMigrationService)
    service.upgrade(packages="aaa")
    found = app.get("/migrations/status.json", extra_environ=HERE)
    assert found.text == to_json(service.current())
    assert [(one["package"], one["pending"]) for one in json.loads(found.text)] == [
        ("aaa", 0),
        ("bbb", 1),
    ]
    text = app.get("/migrations", extra_environ=HERE).html.get_text(" ", strip=True)
    assert "1 step is pending" in text and "aaa ✓ current a1 Revision a1 a1" in text
    assert "bbb ○ 1 pending nothing b1" in text and "1 bbb b1 Revision b1 requested" in text
    service.upgrade()
    page = app.get("/migrations", extra_environ=HERE).html.get_text(" ", strip=True)
    assert "All revisions are applied" in page and "Nothing: every revision is applied." in page


def test_a_pending_step(packages: Workshop, database_url: str) -> None:
    packages.script(
        "aaa", "a2", "a1", upgrade='op.execute("CREATE INDEX i ON t (x)")\nraise KeyError'
    )
    app = site(packages, database_url, web_localhost="on")
    app.app.registry.getUtility(IMigrationService).upgrade("a1")
    page = app.get("/migrations/step/aaa/a2", extra_environ=HERE)
    text = page.html.get_text(" ", strip=True)
    assert "CREATE INDEX i ON t (x)" in text and 'op.execute("CREATE INDEX i ON t (x)")' in text
    assert "is only known when it runs" in text
    if database_url.startswith("postgresql"):
        assert "require-concurrent-index-creation" in text
    else:
        assert "Unsafe changes are found on PostgreSQL alone" in text
    for path in ("aaa/a1", "aaa/none", "none/a1"):
        app.get(f"/migrations/step/{path}", extra_environ=HERE, status=404)


def test_hostile_words_stay_text(workshop: Workshop, url: str) -> None:
    workshop.package("aaa")
    sql = "CREATE TABLE t (x TEXT DEFAULT '<b>bold</b>')"
    workshop.script("aaa", "a1", upgrade=f'op.execute("{sql}")')
    script = next(workshop.root.glob("aaa/alembic/versions/*a1*"))
    body = script.read_text().replace("Revision a1", HOSTILE.replace("\x1b", "\\x1b"), 1)
    script.write_text(body.replace('"""', 'r"""', 1) if "\\x1b" not in body else body)
    app = site(workshop, url, web_localhost="on")
    for path in ("", "/graph", "/step/aaa/a1"):
        found = app.get(f"/migrations{path}", extra_environ=HERE)
        assert "<script" not in found.text and "<b>" not in found.text
        assert "\u202e" not in found.text and "\x1b" not in found.text
        assert "alert('x')" in found.html.get_text()
    query = {"package": "", "around": '"><script>alert(1)</script>', "table": "<i>"}
    found = app.get("/migrations/graph", query, extra_environ=HERE, status=400)
    assert "<script" not in found.text and "<i>" not in found.text
    step = app.get("/migrations/step/aaa/a1", extra_environ=HERE)
    assert sql in step.html.get_text()


def test_graph_asks(packages: Workshop, url: str) -> None:
    app = site(packages, url, web_localhost="on")
    whole = app.get("/migrations/graph", extra_environ=HERE)
    assert "2 revisions of 2 packages" in whole.text
    one = app.get("/migrations/graph", {"package": "bbb", "whole": "1"}, extra_environ=HERE)
    assert "1 revisions of 1 packages" in one.text or "1 revision of 1 package" in one.text
    table = app.get("/migrations/graph", {"table": "t"}, extra_environ=HERE)
    assert "touches" in table.text
    picture = app.get("/migrations/graph.svg", {"around": "aaa@head"}, extra_environ=HERE)
    assert picture.text.startswith("<svg ") and "<style>" in picture.text


def test_a_database_that_cannot_be_reached(packages: Workshop) -> None:
    url = "postgresql+psycopg2://user:secret@127.0.0.1:1/none"
    app = site(packages, url, web_localhost="on")
    found = app.get("/migrations", extra_environ=HERE)
    assert "It cannot be told what is pending" in found.text and "secret" not in found.text
    found = app.get("/migrations/status.json", extra_environ=HERE, status=503)
    assert "error" in found.json and "secret" not in found.text


def test_pages_take_no_lock(packages: Workshop, database_url: str) -> None:
    """While a run holds its lock, and tables of a step, they answer and say that it runs."""
    app = site(packages, database_url, web_localhost="on")
    service = app.app.registry.getUtility(IMigrationService)
    seen: list[str] = []

    def look() -> bool:
        def ask() -> None:
            seen.append(app.get("/migrations", extra_environ=HERE).html.get_text(" ", strip=True))
            app.get("/migrations/status.json", extra_environ=HERE)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
        return False

    service.upgrade(stop=look)
    assert len(seen) >= 2 and any("A run is in progress" in text for text in seen)


def test_half_done(packages: Workshop, database_url: str) -> None:
    half = (
        'op.create_table("h", sa.Column("x", sa.Integer))\nop.execute("COMMIT")\nraise ValueError'
    )
    packages.script("bbb", "b2", "b1", upgrade=half)
    app = site(packages, database_url, web_localhost="on")
    with pytest.raises(Exception, match="b2"):
        app.app.registry.getUtility(IMigrationService).upgrade()
    text = app.get("/migrations", extra_environ=HERE).html.get_text(" ", strip=True)
    assert "A step ended half done" in text
    assert "Settle it first: ws-alembic -c INI-OF-THIS-APPLICATION repair" in text
    drawn = app.get("/migrations/graph", extra_environ=HERE).html
    assert "! b2" in drawn.find(class_="half-done").get_text() and "! b2" in drawn.pre.get_text()


def test_the_log(workshop: Workshop, database_url: str) -> None:
    """The newest runs with who, when, how it ended and why."""
    workshop.package("aaa")
    workshop.script("aaa", "a1")
    app = site(workshop, database_url, web_localhost="on")
    service = app.app.registry.getUtility(IMigrationService)
    assert "None: the ledger is empty." in app.get("/migrations", extra_environ=HERE)
    service.upgrade()
    quote = "`" if "mysql" in database_url else '\\"'
    text = f'op.execute("SELECT * FROM {quote}<b>nothing</b>\\u202e{quote}")'
    workshop.script("aaa", "a2", "a1", upgrade=text)
    with pytest.raises(MigrationError):
        service.upgrade()
    page = app.get("/migrations", extra_environ=HERE)
    log = page.html.find(attrs={"aria-labelledby": "log"})
    runs = [" ".join(one.get_text(" ").split()) for one in log.find_all("li")]
    assert runs[0].startswith("✗ failed upgrade 20") and runs[1].startswith("✓ done upgrade 20")
    assert "aaa a2 , line 14:" in runs[0] and "<b>nothing</b>" in runs[0]
    assert "<b>" not in str(log) and "\u202e" not in page.text
    # As if the first run had been killed in its second step.
    execute(database_url, "UPDATE websauna_migrate_ledger SET steps = 2 WHERE revision = 'a1'")
    page = app.get("/migrations", extra_environ=HERE)
    assert "✗ unfinished upgrade 1 of 2 steps 20" in " ".join(page.html.get_text(" ").split())


def test_many_packages(tmp_path: Path, workshop: Workshop) -> None:
    """No more queries for many packages than for two."""
    counts = []
    for number in (2, 30):
        for place in range(len(workshop.names), number):
            workshop.package(f"p{place}")
            workshop.script(f"p{place}", f"r{place}")
        app = site(workshop, f"sqlite:///{tmp_path / f'{number}.sqlite'}", web_localhost="on")
        app.app.registry.getUtility(IMigrationService).upgrade(packages="p0")
        seen: list[str] = []

        def note(c: Any, cursor: Any, statement: str, *rest: Any, seen: list[str] = seen) -> None:
            seen.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        app.get("/migrations", extra_environ=HERE, status=200)
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_scripts_are_read_again_when_they_change(
    packages: Workshop, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page read of the scripts serves the next one, as long as no file has changed."""
    read = []

    class Counted(PackageHistory):
        def __init__(self, package: str, *given: Any) -> None:
            read.append(package)
            super().__init__(package, *given)

    monkeypatch.setattr(revision_reader, "PackageHistory", Counted)
    app = site(packages, url, web_localhost="on")

    def rows() -> list[str]:
        page = app.get("/migrations", extra_environ=HERE).html
        return [one.code.get_text() for one in page.find(id="plan").parent.find_all("li")]

    # Shortly after a file was written it might be written again without a trace.
    assert rows() == rows() == ["a1", "b1"]
    assert read == ["aaa", "bbb"] * 2
    monkeypatch.setattr(script_files, "SETTLED_NS", 0)
    app.get("/migrations/graph", extra_environ=HERE)
    del read[:]
    assert rows() == ["a1", "b1"]
    app.get("/migrations/status.json", extra_environ=HERE)
    assert not read
    packages.script("aaa", "a2", "a1", requires=("bbb@b1",))
    assert rows() == ["a1", "b1", "a2"]
    path = packages.script("bbb", "b1", run_before=("aaa@a1",))
    assert rows() == ["b1", "a1", "a2"]
    path.unlink()
    assert app.get("/migrations", extra_environ=HERE).html.find(class_="problem")
