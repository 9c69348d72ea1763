"""Public packages with migrations of their own, unmodified, side by side in one database.

Optuna, ten revisions, and WuttJamaican, nine: each has a hand-written ``env.py`` with an engine of
its own. WuttJamaican's asks its own settings for the database; its third revision adds constraints
to a table, which SQLite cannot do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.config import Config
from pyramid.config import Configurator

from conftest import PostgreSQLServer
from test_moving_tables import schema_of
from test_service import rows, tables
from walks import walk
from websauna_migrate.config.packages import package_folder
from websauna_migrate.errors import StepFailed
from websauna_migrate.interfaces import IMigrationService

pytest.importorskip("optuna", reason="optuna is not installed")
pytest.importorskip("wuttjamaican", reason="WuttJamaican is not installed")

# What they warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

OPTUNA = package_folder("optuna") / "storages" / "_rdb" / "alembic"
WUTTA = package_folder("wuttjamaican") / "db" / "alembic"

#: Of WuttJamaican, what SQLite can do.
SECOND = "d686f7abe3e0"


def includeme(config: Configurator) -> None:
    """Register both; this is all that an application does."""
    config.add_migration_package("optuna", script_location="optuna:storages/_rdb/alembic")
    config.add_migration_package("wuttjamaican", script_location="wuttjamaican:db/alembic")


def make_service(url: str, folder: Path) -> Any:
    config = Configurator(settings={"sqlalchemy.url": url})
    config.include("websauna_migrate")
    config.include(includeme)
    config.commit()
    service: Any = config.registry.getUtility(IMigrationService)
    ini = folder / "application.ini"
    ini.write_text(f"[wutta.db]\ndefault.url = {url.replace('%', '%%')}\n")
    service.use_ini(str(ini), {})
    return service


def count(scripts: Path) -> int:
    return len(list(scripts.glob("versions/*.py")))


def part(schema: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """Return of a schema what another one has too."""
    return {name: found for name, found in schema.items() if name in of}


@pytest.fixture
def second_postgresql_url(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    url = postgresql_server.create_database()
    yield url
    postgresql_server.drop_database(url)


def plain_upgrade(scripts: Path, url: str, ini: Path | None = None) -> None:
    """Upgrade as the package's own documentation says: by Alembic alone."""
    config = Config(ini)
    for key, value in {
        "script_location": str(scripts),
        "sqlalchemy.url": url.replace("%", "%%"),
        "path_separator": "newline",
    }.items():
        config.set_main_option(key, value)
    alembic.command.upgrade(config, "heads")


def test_both_stand_in_one_database(postgresql_url: str, tmp_path: Path) -> None:
    service = make_service(postgresql_url, tmp_path)
    run = service.upgrade()
    assert len(run.steps) == count(OPTUNA) + count(WUTTA)
    found = tables(postgresql_url)
    assert {"studies", "trials", "user", "role", "setting"} <= found
    assert {"alembic_history_optuna", "alembic_history_wuttjamaican"} <= found
    # The one that each of them would use.
    assert "alembic_version" not in found
    assert [(state.package, state.pending) for state in service.current()] == [
        ("optuna", 0),
        ("wuttjamaican", 0),
    ]
    assert service.upgrade().steps == ()
    assert service.check().ok


def test_one_goes_and_the_other_stays(postgresql_url: str, tmp_path: Path) -> None:
    service = make_service(postgresql_url, tmp_path)
    service.upgrade(packages="wuttjamaican")
    before = tables(postgresql_url)
    assert "studies" not in before
    service.upgrade(packages="optuna")
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO studies (study_id, study_name) VALUES (1, 'a')"))
    engine.dispose()
    run = service.uninstall("wuttjamaican")
    assert len(run.steps) == count(WUTTA)
    left = tables(postgresql_url)
    assert "studies" in left
    assert not {"user", "role", "setting", "alembic_history_wuttjamaican"} & left
    assert rows(postgresql_url, "SELECT study_name FROM studies") == [("a",)]
    assert len(service.upgrade().steps) == count(WUTTA)
    assert before <= tables(postgresql_url)


def test_the_schema_is_that_of_plain_alembic(
    postgresql_url: str, second_postgresql_url: str, tmp_path: Path
) -> None:
    make_service(postgresql_url, tmp_path).upgrade()
    found = schema_of(postgresql_url)
    types = {one["name"]: one for one in found.pop("types")}
    for scripts in (OPTUNA, WUTTA):
        ini = tmp_path / "plain.ini"
        ini.write_text(
            f"[alembic]\n[wutta.db]\ndefault.url = {second_postgresql_url.replace('%', '%%')}\n"
            "[loggers]\nkeys = root\n[handlers]\nkeys =\n[formatters]\nkeys =\n"
            "[logger_root]\nhandlers =\n"
        )
        plain_upgrade(scripts, second_postgresql_url, ini)
        expected = schema_of(second_postgresql_url)
        theirs = {one["name"]: one for one in expected.pop("types")}
        del expected["alembic_version"]
        assert part(found, expected) == expected
        assert part(types, theirs) == theirs
        engine = sa.create_engine(second_postgresql_url)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        engine.dispose()


def test_each_place_of_optuna_is_found_by_the_tables(sqlite_url: str, tmp_path: Path) -> None:
    settings = {"sqlalchemy.url": sqlite_url, "websauna_migrate.cache": str(tmp_path / "cache")}
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    # WuttJamaican's env.py asks a file for the database: a scratch one is refused. Optuna's scripts
    # make a type of PostgreSQL twice if they run one by one.
    config.add_migration_package("optuna", script_location="optuna:storages/_rdb/alembic")
    config.commit()
    done = walk(config.registry.getUtility(IMigrationService), sqlite_url, each=3)
    assert done.places == count(OPTUNA) and done.by_hand >= 3


def test_on_sqlite_as_far_as_they_go(sqlite_url: str, tmp_path: Path) -> None:
    service = make_service(sqlite_url, tmp_path)
    assert len(service.upgrade(SECOND, packages="wuttjamaican").steps) == 2
    assert len(service.upgrade(packages="optuna").steps) == count(OPTUNA)
    assert {"studies", "trials", "user", "role", "setting"} <= tables(sqlite_url)
    with pytest.raises(StepFailed, match="No support for ALTER of constraints in SQLite"):
        service.upgrade()
    (optuna, wutta) = service.current()
    assert (optuna.pending, wutta.rows, wutta.pending) == (0, (SECOND,), count(WUTTA) - 2)
    service.downgrade("base", packages="wuttjamaican")
    assert not {"user", "role", "setting"} & tables(sqlite_url)

    plain = f"sqlite:///{tmp_path / 'plain.sqlite'}"
    plain_upgrade(OPTUNA, plain)
    expected = schema_of(plain)
    del expected["alembic_version"]
    assert part(schema_of(sqlite_url), expected) == expected
