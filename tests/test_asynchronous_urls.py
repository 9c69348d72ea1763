"""URLs of asynchronous drivers, as applications with asyncio have them."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import steps, table, tables
from websauna_migrate.database import engines
from websauna_migrate.database.engines import with_synchronous_driver
from websauna_migrate.errors import DatabaseFailure

DRIVERS = {
    "sqlite": ["sqlite+aiosqlite"],
    "postgresql": ["postgresql+asyncpg", "postgresql+psycopg_async"],
    "mysql": ["mysql+aiomysql", "mysql+asyncmy"],
}


def test_they_run_through_a_synchronous_driver(workshop: Workshop, database_url: str) -> None:
    url = sa.make_url(database_url)
    workshop.package("app")
    workshop.script("app", "one", None, **table("a"))
    for driver in DRIVERS[url.get_backend_name()]:
        if driver.endswith("psycopg_async") and find_spec("psycopg") is None:
            continue
        given = url.set(drivername=driver).render_as_string(hide_password=False)
        service = workshop.service(given)
        assert "CREATE TABLE a" in service.sql()

        async def in_a_loop(service: object = service) -> None:
            assert steps(service.upgrade()) == ["app@one"]  # type: ignore[attr-defined]

        asyncio.run(in_a_loop())
        assert "a" in tables(database_url)
        service.downgrade("base")


def test_options_of_the_other_driver_are_translated() -> None:
    url = sa.make_url(
        "postgresql+asyncpg://u:p@h/d?ssl=require&prepared_statement_cache_size=0&x=1"
        "&command_timeout=60&direct_tls=false&max_cached_statement_lifetime=0"
    )
    found = with_synchronous_driver(url)
    assert dict(found.query) == {"sslmode": "require", "x": "1"}
    assert found.password == "p"


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_an_option_that_no_driver_here_knows_is_named(
    workshop: Workshop, request: pytest.FixtureRequest, tmp_path: Path, product: str
) -> None:
    """The server runs, and the URL for migrations is another one."""
    good = request.getfixturevalue(f"{product}_url")
    driver = {"postgresql": "postgresql+asyncpg", "mariadb": "mysql+aiomysql"}[product]
    url = sa.make_url(good).set(drivername=driver).update_query_dict({"pool_size": "3"})
    bad = url.render_as_string(hide_password=False)
    workshop.package("app")
    workshop.script("app", "one", None, **table("a"))
    with pytest.raises(DatabaseFailure, match=r"(?s)pool_size.* websauna_migrate\.url") as caught:
        workshop.service(bad).upgrade()
    assert "server runs" not in str(caught.value)
    ini = workshop.application("app", tmp_path / "site.ini", bad)
    with ini.open("a") as file:
        file.write(f"websauna_migrate.url = {good.replace('%', '%%')}\n")
    assert workshop.ws(ini, "upgrade").status == 0
    assert "a" in tables(good)


def test_a_driver_that_is_missing_is_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, **table("a"))
    service = workshop.service("postgresql+asyncpg://u:secret@localhost/d")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(DatabaseFailure, match=r"websauna_migrate\.url") as caught:
        service.upgrade()
    assert "asyncpg" in str(caught.value) and "websauna_migrate[postgresql-binary]" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)
