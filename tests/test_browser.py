"""The pages in a real browser: accessible, wide and narrow, light and dark, without scripts.

Where Playwright and Chromium are there. ``WEBSAUNA_MIGRATE_SCREENSHOTS=docs pytest
tests/test_browser.py`` makes the pictures of the docs anew.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waitress import create_server

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

PICTURES = os.environ.get("WEBSAUNA_MIGRATE_SCREENSHOTS")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

#: Path, and the picture of the docs with its theme and width.
PAGES = {
    "/migrations": ("web-overview.png", "light", 1100),
    "/migrations/graph": ("web-graph-dark.png", "dark", 1100),
    "/migrations/step/acme.user/3d1b585a87cb": ("web-step-phone.png", "light", 390),
    "/": ("web-pending.png", "light", 900),
}


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the example, served with some of its steps applied."""
    # They are in the pictures.
    monkeypatch.setenv("WEBSAUNA_MIGRATE_BY", "Ada Lovelace")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "workshop")
    from acme.app import Initializer

    from websauna_migrate import IMigrationService

    if PICTURES is None:
        monkeypatch.chdir(tmp_path)
    database = "acme.sqlite"
    settings = {"sqlalchemy.url": f"sqlite:///{database}", "websauna_migrate.on_pending": "page"}
    started_from = {"__file__": "/srv/acme/production.ini"}
    settings["pyramid.includes"] = "pyramid_debugtoolbar"
    initializer = Initializer(started_from, settings)
    initializer.run()
    app = initializer.make_wsgi_app()
    service = app.registry.getUtility(IMigrationService)
    service.upgrade("23cc2921195b", packages="acme.shop")
    server = create_server(
        app, host="127.0.0.1", port=0, threads=4, clear_untrusted_proxy_headers=True
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()
    thread.join(20)
    Path(database).unlink()


def test_pages(site: str, browser: Any) -> None:
    """axe-core finds nothing, and no page is wider than its window."""
    for path, (name, scheme, width) in PAGES.items():
        # axe-core is a script, which the pages themselves do not allow.
        context = browser.new_context(
            viewport={"width": width, "height": 760}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        page.goto(site + path)
        page.add_style_tag(content="#pDebug { display: none !important }")
        violations = axe.Axe().run(page).response["violations"]
        nodes = [(one["id"], node["html"]) for one in violations for node in one["nodes"]]
        # The toolbar's button is not ours.
        assert [one for one in nodes if "pDebug" not in one[1]] == []
        if PICTURES:
            page.screenshot(path=Path(PICTURES, name), full_page=True)
        for window in (width, 1400, 340):
            page.set_viewport_size({"width": window, "height": 760})
            assert page.evaluate("document.documentElement.scrollWidth") <= window
        context.close()


def test_without_scripts_by_keyboard(site: str, browser: Any) -> None:
    """The button of the pending page works by the keyboard and without any script."""
    page = browser.new_context(java_script_enabled=False).new_page()
    assert page.goto(site + "/").status == 503
    page.get_by_role("button", name="Apply them now").press("Enter")
    page.wait_for_url(site + "/")
    assert page.goto(site + "/").status == 200
    page.goto(site + "/migrations")
    assert "All revisions are applied" in page.inner_text("main")
    page.get_by_role("link", name="Graph").first.press("Enter")
    page.get_by_label("Table").fill("users")
    page.get_by_role("button", name="Draw").press("Enter")
    page.wait_for_url("**/graph?**table=users**")
    page.locator("summary").press("Enter")
    assert "touches users" in page.inner_text("details")


def test_the_panel(site: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.goto(site + "/migrations")
    page.goto(site + "/_debug_toolbar/")
    page.get_by_role("link", name="Global").click()
    page.get_by_role("link", name="Migrations").click()
    panel = page.locator("#pDebugPanel-migrations-content")
    panel.get_by_text("4 steps are pending").wait_for()
    assert panel.locator("img").evaluate("image => image.naturalWidth") > 0
    if PICTURES:
        page.screenshot(path=Path(PICTURES, "web-panel.png"))
