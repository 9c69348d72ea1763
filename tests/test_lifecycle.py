"""Packages come, go and come back; what they leave is reported and can be taken away."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from apps import Workshop
from test_service import rows, steps, table, tables
from test_ws_alembic import TEMPLATE, Site, invoke, site  # noqa: F401 - fixtures
from websauna_migrate.errors import (
    DowngradeRefused,
    MigrationError,
    RequirementError,
    UnknownPackage,
    UsageError,
)


@pytest.fixture
def made(workshop: Workshop) -> Workshop:
    """An application ``fooapp``, which requires nothing, and an add-on ``acorp.shop``."""
    (workshop.package("fooapp", None) / "alembic").mkdir()
    shutil.copy(TEMPLATE, workshop.root / "fooapp" / "alembic")
    workshop.package("acorp.shop", None)
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("acorp.shop", "s100", **table("s1"))
    workshop.script("acorp.shop", "s200", "s100", **table("s2"))
    return workshop


def test_a_package_is_added_later(made: Workshop, database_url: str) -> None:
    made.service(database_url, "fooapp").upgrade()
    service = made.service(database_url)
    (shop, fooapp) = service.current()
    assert (shop.package, shop.installed, shop.rows, shop.pending) == ("acorp.shop", True, (), 2)
    assert fooapp.pending == 0
    assert steps(service.upgrade()) == ["acorp.shop@s100", "acorp.shop@s200"]
    assert service.check().ok


def test_a_package_that_came_later_is_required_by_old_revisions_of_none(
    made: Workshop, database_url: str
) -> None:
    made.service(database_url, "fooapp").upgrade()
    made.script("fooapp", "f200", "f100", **table("f2"), requires=["acorp.shop@s100"])
    service = made.service(database_url)
    assert steps(service.upgrade(packages="fooapp")) == ["acorp.shop@s100", "fooapp@f200"]
    assert steps(service.upgrade()) == ["acorp.shop@s200"]


def test_a_removed_package_is_reported_and_all_else_works(
    made: Workshop, database_url: str
) -> None:
    made.service(database_url).upgrade()
    made.script("fooapp", "f200", "f100", **table("f2"))
    service = made.service(database_url, "fooapp")
    (_, gone) = service.current()
    assert (gone.package, gone.installed, gone.history_table, gone.rows, gone.pending) == (
        "acorp.shop",
        False,
        "alembic_history_acorp_shop",
        ("s200",),
        0,
    )
    assert [state.package for state in service.current(packages="fooapp")] == ["fooapp"]
    assert [str(step.revision) for step in service.plan()] == ["fooapp@f200"]
    assert steps(service.upgrade()) == ["fooapp@f200"]
    assert [str(entry.revision) for entry in service.history()] == ["fooapp@f200", "fooapp@f100"]
    report = service.check()
    assert report.ok
    assert {problem.kind for problem in report.problems} == {"not-installed", "unowned"}
    (created,) = service.revision("More", packages="fooapp")
    assert steps(service.upgrade()) == [f"fooapp@{created.revision}"]
    assert len(service.downgrade("base").steps) == 3
    assert {"s1", "s2", "alembic_history_acorp_shop"} <= tables(database_url)
    assert rows(database_url, "SELECT version_num FROM alembic_history_acorp_shop") == [("s200",)]


def test_a_removed_package_without_a_ledger_is_named_after_its_table(
    made: Workshop, sqlite_url: str
) -> None:
    made.service(sqlite_url).stamp()
    service = made.service(sqlite_url, "fooapp")
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS websauna_migrate_ledger"))
    engine.dispose()
    assert [state.package for state in service.current()] == ["fooapp", "acorp_shop"]
    service.uninstall("acorp_shop", forget=True)
    assert [state.package for state in service.current()] == ["fooapp"]


def test_a_package_that_is_still_required_cannot_just_be_removed(
    made: Workshop, sqlite_url: str
) -> None:
    made.script("fooapp", "f200", "f100", **table("f2"), requires=["acorp.shop@s100"])
    made.service(sqlite_url).upgrade()
    with pytest.raises(RequirementError) as caught:
        made.service(sqlite_url, "fooapp").upgrade()
    assert 'requires = "acorp.shop@s100", but no package "acorp.shop" is registered' in str(
        caught.value
    )


def test_a_package_comes_back(made: Workshop, database_url: str) -> None:
    made.service(database_url).upgrade()
    made.service(database_url, "fooapp").upgrade()
    made.script("acorp.shop", "s300", "s200", **table("s3"))
    service = made.service(database_url)
    assert [state.installed for state in service.current()] == [True, True]
    assert steps(service.upgrade()) == ["acorp.shop@s300"]
    assert {"s1", "s2", "s3"} <= tables(database_url)


# Uninstalling


def test_uninstall_takes_back_all_that_a_package_did(made: Workshop, database_url: str) -> None:
    service = made.service(database_url)
    service.upgrade()
    run = service.uninstall("acorp.shop")
    assert steps(run) == ["acorp.shop@s200", "acorp.shop@s100"]
    assert tables(database_url) == {"f1", "alembic_history_fooapp", "websauna_migrate_ledger"}
    # Once more changes nothing; and it comes back as new.
    assert service.uninstall("acorp.shop").steps == ()
    assert steps(service.upgrade()) == ["acorp.shop@s100", "acorp.shop@s200"]


def test_uninstall_is_refused_while_others_require_the_package(
    made: Workshop, database_url: str
) -> None:
    path = made.script("fooapp", "f200", "f100", **table("f2"), requires=["acorp.shop@s200"])
    service = made.service(database_url)
    service.upgrade()
    before = tables(database_url)
    with pytest.raises(DowngradeRefused) as caught:
        service.uninstall("acorp.shop")
    assert str(caught.value) == (
        "The downgrade would take away what applied revisions of other packages require. These "
        "would have to go first, in this order:\n"
        f'  "fooapp@f200" ("{path}"): requires acorp.shop s200, which goes\n'
        "Add `--cascade` to take them down too, or downgrade their packages first."
    )
    assert tables(database_url) == before
    run = service.uninstall("acorp.shop", cascade=True)
    assert steps(run) == ["fooapp@f200", "acorp.shop@s200", "acorp.shop@s100"]
    assert tables(database_url) == {"f1", "alembic_history_fooapp", "websauna_migrate_ledger"}


def test_uninstall_of_a_package_without_scripts(made: Workshop, database_url: str) -> None:
    made.package("bare", None)
    service = made.service(database_url)
    service.upgrade()
    service.ensure_version(packages="bare")
    assert "alembic_history_bare" in tables(database_url)
    assert service.uninstall("bare").steps == ()
    assert "alembic_history_bare" not in tables(database_url)


def test_uninstall_where_there_is_no_database(made: Workshop, sqlite_url: str) -> None:
    service = made.service(sqlite_url)
    assert service.uninstall("acorp.shop").steps == ()
    with pytest.raises(UnknownPackage):
        service.uninstall("nowhere")
    assert not Path(make_url(sqlite_url).database or "").exists()


def test_uninstall_of_an_unknown_name(made: Workshop, database_url: str) -> None:
    service = made.service(database_url)
    for forget in (False, True):
        with pytest.raises(UnknownPackage) as caught:
            service.uninstall("acorp.shpo", forget=forget)
        assert str(caught.value).startswith(
            'No package "acorp.shpo" is registered for migrations. Did you mean "acorp.shop"?'
        )
    assert tables(database_url) == set()


def test_uninstall_of_a_package_that_is_gone(made: Workshop, database_url: str) -> None:
    made.service(database_url).upgrade()
    service = made.service(database_url, "fooapp")
    before = tables(database_url)
    with pytest.raises(MigrationError) as caught:
        service.uninstall("acorp.shop")
    assert str(caught.value) == (
        'Package "acorp.shop" is installed, but the application does not include it, so its '
        'revisions cannot be taken back; its history table "alembic_history_acorp_shop" has s200. '
        'To drop its tables, include it: config.include("acorp.shop"), and run: ws-alembic '
        "uninstall acorp.shop\n"
        "To leave its tables as they are and drop the history table alone: ws-alembic uninstall "
        "--forget acorp.shop"
    )
    assert tables(database_url) == before
    assert service.uninstall("acorp.shop", forget=True).steps == ()
    assert tables(database_url) == before - {"alembic_history_acorp_shop"}
    assert [state.package for state in service.current()] == ["fooapp"]
    assert {problem.kind for problem in service.check().problems} == {"unowned"}


@pytest.mark.parametrize("name", ["acorp.shop", "acorp_shop"])
def test_a_package_that_is_gone_is_known_by_either_name(
    made: Workshop, sqlite_url: str, name: str
) -> None:
    made.service(sqlite_url).upgrade()
    made.service(sqlite_url, "fooapp").uninstall(name, forget=True)
    assert "alembic_history_acorp_shop" not in tables(sqlite_url)


def test_a_package_that_is_there_is_not_forgotten(made: Workshop, sqlite_url: str) -> None:
    service = made.service(sqlite_url)
    service.upgrade()
    with pytest.raises(UsageError) as caught:
        service.uninstall("acorp.shop", forget=True)
    assert str(caught.value) == (
        'Package "acorp.shop" is registered for migrations; --forget is for packages that are '
        "gone. To take its revisions back: ws-alembic uninstall acorp.shop"
    )
    assert "alembic_history_acorp_shop" in tables(sqlite_url)


# The command line

WITHOUT_ADDON = """
from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.add_migration_package()
    return config.make_wsgi_app()
"""


@pytest.fixture
def alone(site: Site, workshop: Workshop) -> Site:  # noqa: F811
    """The application of the command line's tests after its add-on is gone."""
    workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    assert site("-x", "packages=all", "upgrade").status == 0
    site.factory(WITHOUT_ADDON)
    workshop.forget()
    return site


def test_the_status_shows_what_is_gone(alone: Site) -> None:
    assert alone("status").lines == [
        "PACKAGE  APPLIED  MESSAGE  NEWEST  PENDING",
        "fooapp   f200     Second   f200    0",
        "addon    a300     -        -       not included",
    ]
    assert alone("upgrade").lines == ["Nothing to do: fooapp is at its newest revision."]
    check = alone("-x", "packages=all", "check")
    assert check.lines[0] == (
        'note: Package "addon" is installed, but the application does not include it; its history '
        'table "alembic_history_addon" has a300.'
    )


def test_the_command_forgets_what_is_gone(alone: Site) -> None:
    refused: Any = alone("uninstall", "addon")
    assert refused.status == 1
    assert refused.stderr.endswith(
        "drop the history table alone: ws-alembic uninstall --forget addon\n"
    )
    assert alone("uninstall", "--yes", "--forget", "addon").lines == [
        "addon is forgotten: history table dropped, its tables left."
    ]
    assert len(alone("status").lines) == 2
    again = alone("uninstall", "--yes", "--forget", "addon")
    assert again.status == 2
    assert 'No package "addon" is registered for migrations.' in again.stderr
    # Nobody is asked about what is not there.
    again = alone("uninstall", "--forget", "addon")
    assert again.status == 2 and "--yes" not in again.stderr
