"""Whatever database URL is set: an engine or a named error, and the password nowhere."""

from __future__ import annotations

import logging
import random
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from fuzz import SECRET, cases, forms_of, hostile_text, named, seeds, shown
from websauna_migrate.cli.clients.choose import dump_client, shell_client
from websauna_migrate.cli.clients.client import Client
from websauna_migrate.config.settings import parse_settings
from websauna_migrate.database.engines import connect, hide_password, make_engine, safe_url
from websauna_migrate.errors import DatabaseFailure, MigrationError, SettingError
from websauna_migrate.service import MigrationService

DIALECTS = (
    *("postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+pg8000", "postgres"),
    *(
        "postgresql+asyncpg",
        "mysql",
        "mysql+pymysql",
        "mariadb",
        "mariadb+mysqldb",
        "mysql+x",
        "sqlite",
    ),
    *(
        "sqlite+pysqlite",
        "oracle",
        "mssql+pyodbc",
        "nosuch",
        "nosuch+driver",
        "",
        "a b",
        "json",
        "é",
    ),
)

HOSTS = (
    *(
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::1",
        "::1",
        "",
        "a,b",
        "a:1,b:2",
        "h%2Fx",
        "é",
        "x" * 300,
    ),
    *("/tmp", "h h", "h\0", "999.1.1.1"),
)

PORTS = ("", "", ":1", ":5432", ":x", ":", ":-1", ":99999999", ":1:2", ":5432,5433")

#: What may stand in a query besides a password.
OPTIONS = (
    *(
        "sslmode=require",
        "host=a:1&host=b:2",
        "host=a,b&port=1,2",
        "host=a&port=x",
        "charset=utf8mb4",
    ),
    *(
        "connect_timeout=x",
        "service=x",
        "uri=true",
        "timeout=x",
        "ssl=true",
        "ssl_ca=/x",
        "plugin=x",
    ),
    *(
        "read_default_file=/x",
        "isolation_level=NONSENSE",
        "unix_socket=/x",
        "a=1&a=2",
        "=",
        "a",
        "%zz=%",
    ),
    *("options=-c%20x", "application_name=x", "client_encoding=nonsense", "mode=memory", "a%00b=c"),
)

SECRET_OPTIONS = ("password", "passwd", "sslpassword", "PASSWORD", "ssl_key_password")


def password(rng: random.Random) -> str:
    """Return a password with what means something in a URL, an INI file, SQL or a shell."""
    return hostile_text(rng).replace("\0", "")[:20] + SECRET + hostile_text(rng)[:20]


def encoded(rng: random.Random, text: str) -> str:
    """Return a password as a user may write it into a URL: right, or nearly."""
    return rng.choice(
        (quote, quote_plus, lambda t, safe="": quote(t, safe="/:"), lambda t, safe="": t)
    )(text, safe="")


class Case:
    """A URL, and the password that is in it."""

    def __init__(self, rng: random.Random) -> None:
        self.password = password(rng)
        words = encoded(rng, self.password)
        dialect = rng.choice(DIALECTS)
        user = rng.choice(("u", "u", "", "u%40x", "ü", "u u"))
        query = rng.choices(OPTIONS, k=rng.choice((0, 0, 1, 2)))
        if rng.random() < 0.3:
            query.append(f"{rng.choice(SECRET_OPTIONS)}={words}")
        tail = "?" + "&".join(query) if query else ""
        database = rng.choice(("/db", "/db", "", "/", "/-x", "/a/b", "/é", "/:memory:", "/d%00"))
        self.url = (
            f"{dialect}://{user}:{words}@{rng.choice(HOSTS)}{rng.choice(PORTS)}{database}{tail}"
        )
        if rng.random() < 0.1:
            self.url = self.url.replace("://", rng.choice((":", ":/", "//", "")), 1)

    def __repr__(self) -> str:
        return f"<{self.url!r}>"


urls = seeds().map(Case)


def nowhere(text: str) -> None:
    assert SECRET not in text


def engine_of(url: str) -> Engine:
    return make_engine(parse_settings({"sqlalchemy.url": url}).require_url())


@cases(500)
@given(urls)
def test_a_url_makes_an_engine_or_a_named_error(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    caplog.set_level(logging.DEBUG)
    found = named(lambda: engine_of(case.url))
    if isinstance(found, MigrationError):
        nowhere(shown(found))
    else:
        nowhere(safe_url(found.url))
        found.dispose()
    nowhere(caplog.text)
    nowhere("".join(capsys.readouterr()))


@cases(200)
@given(urls)
def test_no_repr_shows_it(case: Case) -> None:
    settings = named(
        lambda: parse_settings({"sqlalchemy.url": case.url, "sqlalchemy.echo": "true"})
    )
    if isinstance(settings, MigrationError):
        return
    service = MigrationService(settings)
    nowhere(shown(settings, service, service.ledger, service.options))
    assert isinstance(service.url, URL)


def found_everywhere(names: Any) -> str:
    return f"/usr/bin/{names[0]}"


@cases(400)
@given(urls)
def test_no_client_gets_it_in_its_arguments(case: Case) -> None:
    settings = named(lambda: parse_settings({"sqlalchemy.url": case.url}))
    if isinstance(settings, MigrationError):
        return
    url = settings.require_url()
    for make in (dump_client, shell_client):
        client = named(lambda make=make: make(url, ("-x",), find=found_everywhere))  # type: ignore[misc]
        if isinstance(client, Client):
            nowhere(" ".join(client.argv("/dev/fd/9")))
        nowhere(shown(client))


@cases(150)
@given(urls)
def test_a_driver_that_repeats_it_is_not_passed_on(case: Case) -> None:
    settings = named(lambda: parse_settings({"sqlalchemy.url": case.url}))
    if isinstance(settings, MigrationError) or SECRET not in str(settings.require_url().password):
        return
    url = settings.require_url()
    for form in forms_of(str(url.password)):
        nowhere(hide_password(f"connection to '{form}' failed, {form}", url))


@pytest.mark.parametrize("tail", ["", "/x", "?x", "?x&y=z", ":1"])
def test_an_at_sign_that_nobody_escaped_is_named(tail: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings({"sqlalchemy.url": f"postgresql://u:p@{SECRET}{tail}@host/db"})
    nowhere(shown(caught.value))
    assert "percent-encoded" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:1/db?client_encoding=%27",
        f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:1/db?nonsense=1",
        f"postgresql+psycopg2://u:{SECRET}%00@127.0.0.1:1/db",
        f"postgresql+psycopg2://127.0.0.1:1/db?sslpassword={SECRET}&sslmode=nonsense",
        f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:1/db?connect_timeout=x",
        f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:99999999/db",
        f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db",
        f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db?nonsense=1",
        f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db?charset=nonsense",
        f"mysql+pymysql://u:{SECRET}@127.0.0.1:1/db?connect_timeout=0",
        f"mysql+pymysql://u:{SECRET}@127.0.0.1:99999999/db",
        f"sqlite://u:{SECRET}@/db",
        f"sqlite:////nowhere/at/all.sqlite?password={SECRET}",
        "sqlite:////nowhere/at/all.sqlite?mode=ro&uri=true",
        "sqlite:///:memory:?isolation_level=NONSENSE",
        "sqlite:///a%00b",
    ],
)
def test_connecting_fails_with_a_name(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def look() -> None:
        engine = engine_of(url)
        with connect(engine) as connection:
            connection.rollback()

    found = named(look)
    if not url.startswith("sqlite:"):
        assert isinstance(found, MigrationError)
    nowhere(shown(found))
    nowhere(caplog.text)


SETTINGS = (
    *(
        "lock_wait",
        "lock_timeout_ms",
        "lock_budget",
        "statement_timeout_ms",
        "render_types",
        "cache",
    ),
    *(
        "url",
        "package",
        "version_table_schema",
        "script_location.x",
        "version_table.x",
        "lock_wait.x",
    ),
    *("nonsense", "", "é", "lock_budget.a.b", "version_locations.x", "lock_timeout_max_ms"),
)


def setting(rng: random.Random) -> dict[str, Any]:
    texts = ("", "1", "-1", "1e400", "nan", "inf", "0x10", "x", SECRET, None, 1, [], "9" * 400, "٣")
    return {
        f"websauna_migrate.{rng.choice(SETTINGS)}": rng.choice(texts)
        for _ in range(rng.randrange(1, 4))
    }


@cases(200)
@given(seeds().map(setting))
@example({"websauna_migrate.lock_timeout_ms": "9" * 5000})
def test_a_setting_is_read_or_named(given_settings: dict[str, Any]) -> None:
    found = named(lambda: parse_settings(given_settings))
    if isinstance(found, MigrationError):
        nowhere(shown(found))
        assert any(key in str(found) for key in given_settings)


def test_the_failure_keeps_no_password() -> None:
    with pytest.raises(DatabaseFailure) as caught:
        engine_of(f"nosuch://u:{SECRET}@h/db?password={SECRET}")
    nowhere(shown(caught.value, vars(caught.value)))
