"""The example: three distributions under ``examples/``, installed and run as their users do it."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyramid.paster import get_app
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from webtest import TestApp

from by_fork import by_fork
from conftest import REPOSITORY, Environment, Run

EXAMPLES = REPOSITORY / "examples"

#: In the order in which they need each other.
PROJECTS = ("user", "shop", "app")

SCRIPTS = sorted(EXAMPLES.glob("*/src/acme/*/alembic/versions/*.py"))

VISIT = """
import sys
import warnings
from datetime import date, datetime, timezone
from decimal import Decimal

import pyramid.paster
import webtest
from sqlalchemy.exc import SAWarning

from acme.app.models import Offer
from acme.shop.models import Order, OrderStatus, Product
from acme.user.models import Group, User

warnings.simplefilter("error", SAWarning)
app = pyramid.paster.get_app(sys.argv[1])
with app.registry["dbsession_factory"].begin() as session:
    author = User(email="ann@example.com", display_name="Ann", groups=[Group(name="sellers")])
    product = Product(sku="T-1", name="Teapot", price=Decimal("19.90"))
    session.add(Order(
        user=author, product=product, quantity=2, total=Decimal("39.80"),
        status=OrderStatus.REFUNDED, placed_at=datetime.now(timezone.utc),
    ))
    common = {"product": product, "author": author, "price": Decimal("9.95")}
    session.add(Offer(title="Half price", **common))
    session.add(Offer(title="Over", ends_on=date(2020, 2, 29), **common))
print(webtest.TestApp(app).get("/").text)
"""


@pytest.fixture(scope="session")
def environment(installed_venv: Callable[..., Environment]) -> Environment:
    """An environment with the three distributions in it, not editable."""
    return installed_venv(*(EXAMPLES / project for project in PROJECTS))


@pytest.fixture
def ini(tmp_path: Path, database_url: str) -> Path:
    """A site's own INI file, on each database in turn."""
    path = tmp_path / "site.ini"
    path.write_text(
        "[includes]\n"
        "include_ini_files = resource://acme.app/conf/production.ini\n"
        "[DEFAULT]\n"
        f"database_url = {database_url}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def ws_alembic(environment: Environment, run: Run) -> Callable[..., str]:
    """``ws_alembic(ini, *words)``: the output for all packages; failures are not expected."""

    def call(ini: Path, *words: str) -> str:
        argv = [environment.program("ws-alembic"), "-x", "packages=all", "-c", ini, *words]
        result = run(argv, cwd=ini.parent)
        assert result.returncode == 0, result.stdout + result.stderr
        return str(result.stdout)

    return call


@pytest.mark.parametrize("project", PROJECTS)
def test_wheel_carries_settings_and_scripts(environment: Environment, project: str) -> None:
    source = EXAMPLES / project / "src"
    installed = environment.site_packages
    expected = [p.relative_to(source) for p in source.glob("acme/**/*") if p.is_file()]
    missing = [path for path in expected if not (installed / path).is_file()]
    assert [path for path in missing if path.suffix != ".pyc"] == []
    assert not (installed / "acme" / "__init__.py").exists()


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("file", ["README", "env.py", "script.py.mako"])
def test_script_directory_is_made_from_the_template(project: str, file: str) -> None:
    script_directory = EXAMPLES / project / "src" / "acme" / project / "alembic"
    assert (script_directory / file).read_text() == (
        REPOSITORY / "alembic_template" / file
    ).read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_imports_nothing_from_the_models(script: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or ".")
    assert imported <= {"collections.abc", "sqlalchemy", "alembic"}


def test_example_goes_up_serves_goes_down_and_up_again(
    ini: Path,
    ws_alembic: Callable[..., str],
    environment: Environment,
    run: Run,
    database_url: str,
) -> None:
    ws_alembic(ini, "upgrade")
    ws_alembic(ini, "check")

    script = ini.with_name("visit.py")
    script.write_text(VISIT)
    visit = run([*by_fork(script, environment.python), f"ws://{ini}"], cwd=ini.parent)
    assert visit.returncode == 0, visit.stdout + visit.stderr
    assert json.loads(visit.stdout) == {
        "offers": [
            {"title": "Half price", "product": "Teapot", "price": "9.95 EUR", "author": "Ann"}
        ]
    }

    # With rows in the tables, one of them with the choice that a downgrade takes away.
    ws_alembic(ini, "downgrade", "base")
    engine = create_engine(make_url(database_url))
    left = set(inspect(engine).get_table_names())
    engine.dispose()
    assert not {"groups", "offers", "orders", "products", "users", "users_groups"} & left

    ws_alembic(ini, "upgrade")
    ws_alembic(ini, "check")


def test_development_ini_at_the_top_runs_the_example(
    tmp_path: Path, ws_alembic: Callable[..., str]
) -> None:
    ini = Path(shutil.copy(REPOSITORY / "development.ini", tmp_path))
    ws_alembic(ini, "upgrade")
    status = ws_alembic(ini, "status")
    for package in ("acme.app", "acme.shop", "acme.user"):
        assert package in status
    assert (tmp_path / "example.sqlite").is_file()


def test_the_example_is_served_as_the_demo_says(
    tmp_path: Path, ws_alembic: Callable[..., str]
) -> None:
    """Page, pending page and panel, as a newcomer sees them."""
    ini = Path(shutil.copy(REPOSITORY / "development.ini", tmp_path))
    here = {"REMOTE_ADDR": "127.0.0.1"}
    html = {"Accept": "text/html"}
    app = TestApp(get_app(f"ws://{ini}"), extra_environ=here)
    page = app.get("/", headers=html, status=503)
    assert "7 steps are pending" in page.text
    assert page.forms[0].submit(headers=html).status_int == 303
    assert app.get("/", status=200).json == {"offers": []}
    page = app.get("/migrations", status=200)
    assert "All revisions are applied" in page.text and "_debug_toolbar" in page.text
    assert "Migrations" in app.get("/_debug_toolbar/", status=200).text
