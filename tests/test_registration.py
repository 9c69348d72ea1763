"""Registering packages: the directive, the decorator, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from zope.interface.verify import verifyObject

from apps import Workshop
from websauna_migrate import Initializer
from websauna_migrate.database.history_tables import MAX_NAME_BYTES, history_table_name
from websauna_migrate.errors import RegistrationError, SettingError
from websauna_migrate.interfaces import IMigrationPackage, IMigrationService

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Offer(Base):
    __tablename__ = "offer"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


def make_config(**settings: str) -> Configurator:
    config = Configurator(settings={"sqlalchemy.url": "sqlite://", **settings})
    config.include("websauna_migrate")
    return config


def service_of(config: Configurator) -> object:
    config.commit()
    return config.registry.getUtility(IMigrationService)


def test_the_service_and_its_packages_keep_their_contract(workshop: Workshop) -> None:
    workshop.package("fooapp", MODELS)
    service = workshop.service("sqlite://")
    assert verifyObject(IMigrationService, service)
    (package,) = service.packages
    assert verifyObject(IMigrationPackage, package)
    assert [metadata.tables.keys() for metadata in package.metadata] == [{"offer": 0}.keys()]
    assert package.history_table == "alembic_history_fooapp"
    assert package.script_directory == workshop.root / "fooapp" / "alembic"


def test_the_name_defaults_to_the_package_whose_includeme_runs(workshop: Workshop) -> None:
    workshop.package("company.addon")
    service = workshop.service("sqlite://")
    assert [package.name for package in service.packages] == ["company.addon"]


def test_the_decorator_registers_when_the_application_scans(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workshop.package("fooapp", None)
    (folder / "__init__.py").write_text("")
    (folder / "models.py").write_text(
        MODELS.replace(
            "class Base",
            "from websauna_migrate import migration_package\n\n@migration_package()\nclass Base",
        )
    )
    config = make_config()
    config.scan("fooapp")
    service = service_of(config)
    (package,) = service.packages  # type: ignore[attr-defined]
    assert package.name == "fooapp"
    assert list(package.metadata[0].tables) == ["offer"]


@pytest.mark.parametrize(
    "kind", ["metadata", "base", "sequence", "dotted", "dotted with a colon", "nothing"]
)
def test_metadata_may_be_given_in_many_ways(workshop: Workshop, kind: str) -> None:
    workshop.package(
        "fooapp",
        MODELS.replace("Base(", "Model(")
        .replace("(Base)", "(Model)")
        .replace("DeclarativeModel", "DeclarativeBase"),
    )
    from fooapp.models import Model  # type: ignore[import-not-found]

    given = {
        "metadata": Model.metadata,
        "base": Model,
        "sequence": [Model, Model.metadata],
        "dotted": "fooapp.models.Model",
        "dotted with a colon": "fooapp.models:Model",
        "nothing": None,
    }[kind]
    config = make_config()
    config.add_migration_package("fooapp", metadata=given)
    (package,) = service_of(config).packages  # type: ignore[attr-defined]
    assert package.metadata == (() if given is None else (Model.metadata,))


def test_metadata_of_another_kind_is_refused(workshop: Workshop) -> None:
    workshop.package("fooapp")
    with pytest.raises(RegistrationError) as caught:
        make_config().add_migration_package("fooapp", metadata=42)
    assert str(caught.value) == (
        'Package "fooapp" cannot be registered for migrations: metadata=int is neither a MetaData '
        "nor a declarative base, nor a sequence of them, nor a dotted name of one."
    )


def test_a_dotted_name_that_leads_nowhere_is_refused(workshop: Workshop) -> None:
    workshop.package("fooapp", MODELS)
    with pytest.raises(RegistrationError, match=r'metadata="fooapp.models.Bas" cannot be resolved'):
        make_config().add_migration_package("fooapp", metadata="fooapp.models.Bas")


def test_a_name_that_is_no_package_is_refused(workshop: Workshop) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_config().add_migration_package("nowhere.to_be_found")
    assert str(caught.value) == (
        'Package "nowhere.to_be_found" cannot be registered for migrations: there is no such '
        "Python package. Name an importable package, dotted."
    )
    with pytest.raises(ConfigurationError, match="it is a module, not a package"):
        make_config().add_migration_package("json.decoder")


def test_two_names_of_one_history_table_are_refused_naming_both_places(
    workshop: Workshop,
) -> None:
    workshop.package("a.b")
    workshop.package("a_b")
    with pytest.raises(ConfigurationError) as caught:
        workshop.service("sqlite://")
    message = str(caught.value)
    assert 'its history table "alembic_history_a_b" is that of package "a.b"' in message
    assert f'"a.b" is registered in {workshop.root / "a" / "b" / "__init__.py"}, line 2' in message
    assert f'"a_b" is registered in {workshop.root / "a_b" / "__init__.py"}, line 2' in message


def test_a_package_that_is_registered_twice_is_a_conflict_of_both_lines(
    workshop: Workshop,
) -> None:
    workshop.package("fooapp")
    config = make_config()
    config.add_migration_package("fooapp")
    config.add_migration_package("fooapp", metadata=sa.MetaData())
    with pytest.raises(ConfigurationConflictError) as caught:
        config.commit()
    assert str(caught.value).count("test_registration.py") == 2


def test_one_script_directory_for_two_packages_is_refused(workshop: Workshop) -> None:
    workshop.package("one")
    workshop.package("two", None, script_location="one:alembic")
    workshop.script("one", "a100")
    with pytest.raises(ConfigurationError, match=r'directory ".*" is that of package "one"'):
        workshop.service("sqlite://")


def test_without_the_service_the_directive_does_not_exist() -> None:
    with pytest.raises(AttributeError):
        Configurator().add_migration_package("fooapp")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("fooapp:scripts", "fooapp/scripts"),
        ("other:migrations/foo", "other/migrations/foo"),
        ("scripts", "fooapp/scripts"),
        ("../beside", "beside"),
    ],
)
def test_a_script_location_never_depends_on_the_current_directory(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    location: str,
    expected: str,
) -> None:
    workshop.package("other")
    workshop.package("fooapp", None, script_location=location)
    monkeypatch.chdir(tmp_path)
    service = workshop.service("sqlite://")
    (package,) = [p for p in service.packages if p.name == "fooapp"]
    assert package.script_directory == (workshop.root / expected).resolve()


def test_a_setting_redirects_a_packages_scripts(workshop: Workshop, tmp_path: Path) -> None:
    workshop.package("company.addon")
    target = tmp_path / "kept here"
    service = workshop.service("sqlite://", **{"script_location.company.addon": str(target)})
    (package,) = service.packages
    assert package.script_directory == target


def test_scripts_beside_the_setup_file_are_found(workshop: Workshop) -> None:
    workshop.package("fooapp")
    (workshop.root / "setup.py").touch()
    (workshop.root / "alembic").mkdir()
    (package,) = workshop.service("sqlite://").packages
    assert package.script_directory == workshop.root / "alembic"
    (workshop.root / "fooapp" / "alembic").mkdir()
    (package,) = workshop.service("sqlite://").packages
    assert package.script_directory == workshop.root / "fooapp" / "alembic"


def test_an_unknown_setting_is_refused_with_the_likeliest_one() -> None:
    with pytest.raises(SettingError) as caught:
        make_config(**{"websauna_migrate.lock_wiat": "10"})
    assert str(caught.value).startswith(
        'Setting "websauna_migrate.lock_wiat": there is no such setting. Did you mean '
        '"websauna_migrate.lock_wait"? Known: '
    )


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_number_of_seconds_is_checked(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        make_config(**{"websauna_migrate.lock_wait": value})
    assert str(caught.value) == (
        'Setting "websauna_migrate.lock_wait": it must be a number of seconds, 0 or more.'
    )


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingError) as caught:
        make_config(**{"sqlalchemy.url": "postgresql//user:secret@host/db"})
    assert str(caught.value).startswith('Setting "sqlalchemy.url": it is no database URL.')
    assert "secret" not in str(caught.value)


def test_history_table_names() -> None:
    assert history_table_name("Company.Addon") == "alembic_history_company_addon"
    long = "company." + "x" * 80
    name = history_table_name(long)
    assert len(name.encode()) == MAX_NAME_BYTES == 59
    assert name == history_table_name(long)
    assert name != history_table_name(long + "y")
    umlauts = history_table_name("ä" * 40)
    assert len(umlauts.encode()) <= MAX_NAME_BYTES


def test_a_long_name_works_on_every_database(workshop: Workshop, database_url: str) -> None:
    name = "company_" + "x" * 70
    workshop.package(name)
    workshop.script(name, "a100")
    service = workshop.service(database_url)
    service.upgrade()
    assert [(s.installed, s.rows) for s in service.current()] == [(True, ("a100",))]


def test_a_table_claimed_by_two_packages_names_both_places(workshop: Workshop) -> None:
    workshop.package("one", MODELS)
    workshop.package("two", MODELS)
    service = workshop.service("sqlite://")
    from one.models import Offer  # type: ignore[import-not-found]

    with pytest.raises(ConfigurationError) as caught:
        service.owner_of(Offer.__table__)
    assert '"one": class "one.models.Offer"' in str(caught.value)
    assert '"two": class "two.models.Offer"' in str(caught.value)


def test_an_application_may_bring_its_own_service(workshop: Workshop) -> None:
    from websauna_migrate.config.settings import Settings
    from websauna_migrate.service import MigrationService

    class Mine(MigrationService):
        pass

    workshop.package("fooapp")
    config = make_config()
    config.set_migration_service(Mine(Settings()))
    config.include("fooapp")
    service = service_of(config)
    assert isinstance(service, Mine)
    assert [package.name for package in service.packages] == ["fooapp"]
    with pytest.raises(ConfigurationError, match="does not provide IMigrationService"):
        make_config().set_migration_service(object())


# The database's URL


def test_settings_that_are_made_after_the_include_are_seen(tmp_path: Path) -> None:
    config = make_config()
    config.add_settings(
        {
            "sqlalchemy.url": f"sqlite:///{tmp_path}/late.db",
            "websauna_migrate.package": "late.app",
            "websauna_migrate.lock_wait": "7",
        }
    )
    config.commit()
    service = config.registry.getUtility(IMigrationService)
    assert service.url.database == f"{tmp_path}/late.db"
    assert service.settings.lock_wait == 7


def test_a_late_setting_that_cannot_be_used_is_told_at_the_first_use() -> None:
    config = make_config()
    config.add_settings({"websauna_migrate.lock_wait": "soon"})
    config.commit()
    with pytest.raises(SettingError, match="it must be a number of seconds"):
        _ = config.registry.getUtility(IMigrationService).url


@pytest.mark.parametrize(
    ("settings", "hint", "more"),
    [
        ({}, "", ""),
        (
            {"database.url": "postgresql+psycopg2://u:secret@h/d", "celery.url": "redis://h"},
            ' "database.url" has a URL, but is not read.',
            " Or let it be taken over, with all else of an existing project: ws-alembic adopt",
        ),
    ],
)
def test_a_missing_url_names_the_settings_that_were_looked_at(
    settings: dict[str, str], hint: str, more: str
) -> None:
    config = make_config(**{"sqlalchemy.url": "", **settings})
    config.commit()
    with pytest.raises(SettingError) as caught:
        _ = config.registry.getUtility(IMigrationService).url
    assert str(caught.value) == (
        'Setting "sqlalchemy.url": it is missing, and so is "websauna_migrate.url".'
        f"{hint} Set one of the two in [app:main] to the database's URL.{more}"
    )


class Starter(Initializer):
    """Only the start of an application with a database."""


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({}, ""),
        (
            {"database.url": "sqlite://", "websauna_migrate.url": "postgresql://u:secret@h/d"},
            ' "database.url" has a URL, but is not read. "websauna_migrate.url" has a URL, but is '
            "not read.",
        ),
    ],
)
def test_an_application_without_a_url_is_told_which_one_is_missing(
    settings: dict[str, str], hint: str
) -> None:
    with pytest.raises(SettingError) as caught:
        Starter({}, settings).run()
    assert str(caught.value) == (
        f'Setting "sqlalchemy.url": it is missing.{hint} '
        "Set it in [app:main] to the database's URL."
    )
