"""pyramid_debugtoolbar's panel, pshell and pyramid_services."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from apps import Workshop
from websauna_migrate import IMigrationService

HERE = {"REMOTE_ADDR": "127.0.0.1"}


@pytest.fixture
def packages(workshop: Workshop) -> Workshop:
    workshop.package("aaa")
    workshop.package("bbb")
    workshop.script("aaa", "a1", upgrade='op.create_table("t", sa.Column("x", sa.Integer))')
    workshop.script("bbb", "b1", requires=("aaa@a1",))
    return workshop


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'companions.sqlite'}"


def panel(app: TestApp) -> Any:
    """Ask for a page, then for the toolbar's page about it."""
    link = re.search(r"(/_debug_toolbar/\d+)", app.get("/", extra_environ=HERE).text)
    assert link
    return app.get(link[1], extra_environ=HERE).html.find(id="pDebugPanel-migrations-content")


TOOLBAR, OURS = "pyramid_debugtoolbar", "websauna_migrate"


def configured(url: str, *included: str) -> Configurator:
    config = Configurator(settings={"sqlalchemy.url": url})
    for name in (*included, "aaa", "bbb"):
        config.include(name)
    return config


@pytest.mark.parametrize("included", [(TOOLBAR, OURS), (OURS, TOOLBAR)])
def test_panel(packages: Workshop, url: str, included: tuple[str, str]) -> None:
    config = configured(url, *included)
    config.add_route("home", "/")
    body = "<html><body>home</body></html>"
    config.add_view(lambda request: Response(body), route_name="home")
    app = TestApp(config.make_wsgi_app())
    text = panel(app).get_text(" ", strip=True)
    assert "2 steps are pending" in text and "1 aaa a1 Revision a1" in text
    assert "CREATE TABLE t" in text and "-- line 14" in text
    assert panel(app).find("img")["src"].startswith("data:image/svg+xml;base64,")
    app.app.registry.getUtility(IMigrationService).upgrade()
    assert "All revisions are applied" in panel(app).get_text(" ", strip=True)


@pytest.mark.parametrize("included", [("pyramid_services", OURS), (OURS, "pyramid_services")])
def test_services(packages: Workshop, url: str, included: tuple[str, str]) -> None:
    config = configured(url, *included)
    config.add_route("home", "/")
    config.add_view(
        lambda request: Response(type(request.find_service(IMigrationService)).__name__),
        route_name="home",
    )
    assert TestApp(config.make_wsgi_app()).get("/").text == "MigrationService"


def test_pshell(packages: Workshop, url: str, tmp_path: Path, run: Any) -> None:
    ini = packages.application("shell_app", tmp_path / "site.ini", url, "aaa")
    with ini.open("a") as file:
        file.write("[pshell]\nsetup = websauna_migrate.pshell.setup\n")
    pshell = str(Path(sys.executable).with_name("pshell"))
    done = run(
        [pshell, "-p", "python", str(ini)],
        env={"PYTHONPATH": str(packages.root)},
        input="print([one.pending for one in migrations.current()])\n",
    )
    assert "[1]" in done.stdout, done.stderr
