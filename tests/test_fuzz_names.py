"""Names of packages, tables, schemas and revisions: refused by name, or quoted wherever they go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from pyramid.exceptions import ConfigurationError
from sqlalchemy.pool import NullPool

from apps import Workshop
from fuzz import PIECES, cases, hostile, named
from runs import table
from websauna_migrate.config.packages import make_package
from websauna_migrate.config.settings import Settings, parse_settings
from websauna_migrate.database.history_tables import MAX_NAME_BYTES, history_table_name
from websauna_migrate.errors import MigrationError, RegistrationError

INJECTIONS = (
    'x"; DROP TABLE canary; --',
    "x'; DROP TABLE canary; --",
    "x`; DROP TABLE canary; -- ",
    "x]; DROP TABLE canary; --",
    "100%",
    "%s %(name)s %%",
    ":name",
    "a:b",
    "select",
    "with.dot",
    "UPPER lower",
    "名前é",
    "$1 ? {} $$",
    "back\\slash",
    "new\nline",
    "quote\"s'`all",
    "a" * MAX_NAME_BYTES,
)


@cases(300)
@given(hostile)
@example("a\0b")
@example("")
@example(".x")
@example("json\ud800")
def test_a_package_of_any_name_is_refused_or_registered(name: str) -> None:
    found = named(lambda: make_package(name, Settings()))
    if isinstance(found, MigrationError):
        assert isinstance(found, RegistrationError)
    else:
        assert len(found.history_table.encode()) <= MAX_NAME_BYTES


@cases(300)
@given(hostile)
@example("a\0b")
@example("x" * 60)
@example("\ud800")
@example("sqlite_x")
def test_a_history_table_of_any_name_is_refused_or_fits(name: str) -> None:
    found = named(lambda: make_package("json", Settings(), version_table=name))
    if isinstance(found, MigrationError):
        assert isinstance(found, RegistrationError)
        assert "history table" in str(found)
    elif name.strip():
        assert found.history_table == name


@cases(100)
@given(hostile)
def test_the_default_name_always_fits_and_never_needs_luck(name: str) -> None:
    made = history_table_name(name)
    assert len(made.encode()) <= MAX_NAME_BYTES
    assert made == history_table_name(name)


@cases(100)
@given(hostile)
@example("a\0b")
def test_a_schema_of_any_name_is_refused_or_kept(name: str) -> None:
    found = named(lambda: parse_settings({"websauna_migrate.version_table_schema": name}))
    if not isinstance(found, MigrationError):
        assert found.version_table_schema == (name.strip() or None)


@cases(100)
@given(hostile)
def test_registration_arguments_of_any_text(name: str) -> None:
    named(lambda: make_package("json", Settings(), metadata=name))
    named(lambda: make_package("json", Settings(), script_location=name))
    named(lambda: make_package("json", Settings(), depends_on=name))


def look(url: str, query: str) -> list[Any]:
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(query))
        return [tuple(row) for row in result] if result.returns_rows else []


def live_through(service: Any, url: str, packages: int) -> None:
    """Use packages from their first upgrade to their end, and look after the canary."""
    look(url, "CREATE TABLE canary (id INTEGER)")
    assert len(service.upgrade().steps) == packages
    assert all(len(state.rows) == 1 for state in service.current())
    assert service.plan().steps == ()
    assert service.repair() == ()
    service.check()
    service.stamp("base")
    service.stamp("heads")
    assert "INSERT INTO" in service.sql("heads")
    assert len(service.downgrade("base").steps) == packages
    service.upgrade()
    for package in service.packages:
        service.uninstall(package.name)
    assert look(url, "SELECT * FROM canary") == []
    engine = sa.create_engine(url, poolclass=NullPool)
    assert not [name for name in sa.inspect(engine).get_table_names() if name.startswith("t_")]


def test_history_tables_are_quoted(workshop: Workshop, database_url: str) -> None:
    names = {f"pack{number}": name for number, name in enumerate(INJECTIONS)}
    for package in names:
        workshop.package(package)
        workshop.script(package, f"{package}r1", **table(f"t_{package}"))
    settings = {f"version_table.{package}": name for package, name in names.items()}
    live_through(workshop.service(database_url, **settings), database_url, len(names))


@pytest.mark.parametrize("name", INJECTIONS[:1] + INJECTIONS[5:8] + INJECTIONS[-2:])
def test_a_schema_is_quoted(workshop: Workshop, postgresql_url: str, name: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("t_1"))
    engine = sa.create_engine(postgresql_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    service = workshop.service(postgresql_url, version_table_schema=name)
    live_through(service, postgresql_url, 1)


def test_revisions_are_quoted(workshop: Workshop, database_url: str) -> None:
    workshop.package("fooapp")
    down = None
    ids = [name for name in INJECTIONS if len(name) <= 32 and not set("@-+:'\\\n") & set(name)]
    if database_url.startswith("mysql"):
        # Alembic makes the history table in the database's own character set.
        ids = [name for name in ids if name.isascii()]
    for number, name in enumerate(ids):
        path = workshop.script("fooapp", f"file{number}", down, message="Nothing")
        path.write_text(path.read_text().replace(f"'file{number}'", repr(name)))
        down = name
    look(database_url, "CREATE TABLE canary (id INTEGER)")
    service = workshop.service(database_url)
    assert [step.revision for step in service.upgrade().steps] == ids
    assert service.current()[0].rows == (ids[-1],)
    if database_url.startswith("sqlite"):
        written = service.sql("heads")
        for name in ids:
            assert "'" + name.replace("'", "''") + "'" in written
    assert [step.revision for step in service.downgrade("base").steps] == ids[::-1]
    assert look(database_url, "SELECT * FROM canary") == []


@pytest.mark.parametrize(
    "name", ["a@b", "a-b", "a+b", "a:b", "x'; y", "x\\", "x\ny", "x\0", "\u202ex"]
)
def test_a_revision_that_would_not_stay_in_its_quotes_names_its_file(
    workshop: Workshop, sqlite_url: str, name: str
) -> None:
    workshop.package("fooapp")
    path = workshop.script("fooapp", "f100", **table("f1"))
    path.write_text(path.read_text().replace("'f100'", repr(name)))
    with pytest.raises(MigrationError) as caught:
        workshop.service(sqlite_url).upgrade()
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 60, "a\0b", "sqlite_x", "\ud800"])
def test_a_table_that_cannot_be_is_refused_where_it_is_registered(
    workshop: Workshop, sqlite_url: str, name: str
) -> None:
    workshop.package("fooapp")
    with pytest.raises(ConfigurationError, match="history table"):
        workshop.service(sqlite_url, **{"version_table.fooapp": name})


def test_every_piece_is_tried() -> None:
    assert len(set(PIECES)) == len(PIECES)
