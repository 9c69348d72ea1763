"""``upgrade()`` inside of a request whose own session has a transaction open."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
import zope.sqlalchemy
from webtest import TestApp

from apps import Workshop
from runs import execute, ledger, rows, steps, tables
from websauna_migrate import IMigrationService, Initializer
from websauna_migrate.errors import RunBlocked


@pytest.fixture
def site(workshop: Workshop) -> Callable[..., TestApp]:
    """Make an application whose view runs a function and then the upgrade."""
    workshop.package("addon")
    workshop.script(
        "addon",
        "a100",
        upgrade='op.add_column("busy", sa.Column("added", sa.Integer))',
        downgrade='op.drop_column("busy", "added")',
    )

    def make(url: str, before: Callable[[Any], object]) -> TestApp:
        execute(
            url,
            "CREATE TABLE busy (id INTEGER PRIMARY KEY)",
            "CREATE TABLE other (id INTEGER PRIMARY KEY)",
        )

        class Site(Initializer):
            def include_addons(self) -> None:
                self.config.include("addon")

            def configure_views(self) -> None:
                self.config.add_route("upgrade", "/")
                self.config.add_view(view, route_name="upgrade", renderer="json")

        def view(request: Any) -> Any:
            before(request.dbsession)
            service = request.registry.getUtility(IMigrationService)
            began = time.monotonic()
            try:
                found = steps(service.upgrade())
            except RunBlocked as exc:
                found = [str(exc)]
            return {"found": found, "seconds": time.monotonic() - began}

        site = Site({}, {"sqlalchemy.url": url})
        site.run()
        return TestApp(site.make_wsgi_app())

    return make


def nothing(session: Any) -> None:
    """Leave the session alone."""


def write_other(session: Any) -> None:
    session.execute(sa.text("INSERT INTO other VALUES (1)"))
    zope.sqlalchemy.mark_changed(session)


def test_a_session_that_did_nothing(site: Any, database_url: str) -> None:
    assert site(database_url, nothing).get("/").json["found"] == ["addon@a100"]


def test_a_session_that_read_other_tables(site: Any, database_url: str) -> None:
    app = site(database_url, lambda s: s.execute(sa.text("SELECT * FROM other")).all())
    assert app.get("/").json["found"] == ["addon@a100"]


@pytest.mark.parametrize("statement", ["SELECT * FROM busy", "INSERT INTO busy VALUES (7)"])
def test_a_session_that_holds_the_table(site: Any, postgresql_url: str, statement: str) -> None:
    app = site(postgresql_url, lambda s: s.execute(sa.text(statement)))
    answer = app.get("/").json
    assert "waits for a lock that the calling thread's own connection holds (" in answer["found"][0]
    assert answer["seconds"] < 5
    assert ledger(postgresql_url) == [("addon", "a100", "upgrade", "failed")]


def test_a_session_that_writes_another_table(site: Any, transactional_database_url: str) -> None:
    url = transactional_database_url
    app = site(url, write_other)
    answer = app.get("/").json
    if url.startswith("sqlite"):
        # There is one lock for the whole file.
        assert "holds (an open SQLite transaction)" in answer["found"][0]
        assert answer["seconds"] < 6
        assert "websauna_migrate_ledger" not in tables(url)
    else:
        assert answer["found"] == ["addon@a100"]


def test_the_requests_own_work_is_not_touched(site: Any, postgresql_url: str) -> None:
    app = site(postgresql_url, write_other)
    app.get("/")
    assert rows(postgresql_url, "SELECT * FROM other") == [(1,)]
