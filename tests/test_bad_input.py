"""Broken scripts and databases: one message that names the thing and the remedy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from conftest import PostgreSQLServer
from websauna_migrate.errors import (
    DatabaseFailure,
    MigrationError,
    ScriptDirectoryError,
    ScriptError,
)

TABLE = 'op.create_table("one", sa.Column("id", sa.Integer, primary_key=True))'


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


@pytest.fixture
def foo(workshop: Workshop) -> Workshop:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade=TABLE, downgrade='op.drop_table("one")')
    return workshop


REMOVE = "Correct the script, or remove it."
IMPORTED = "Correct the script, or what it imports."
INSTALL = "Install what it imports, or correct the script."


@pytest.mark.parametrize(
    ("line", "problem", "remedy"),
    [
        ("def broken(:", "it has a syntax error in line 20: invalid syntax.", REMOVE),
        ("1 / 0", "it raises ZeroDivisionError in line 20: division by zero", IMPORTED),
        ("import nowhere", "it raises ModuleNotFoundError in line 20: No module named", INSTALL),
        ("requires = 42", "its requires is 42, neither a text nor a sequence of texts.", REMOVE),
    ],
)
def test_a_script_that_cannot_be_read_is_named(
    foo: Workshop, sqlite_url: str, line: str, problem: str, remedy: str
) -> None:
    path = foo.script("fooapp", "f200", "f100")
    path.write_text(path.read_text().rstrip("\n") + f"\n\n{line}\n")
    with pytest.raises(ScriptError) as caught:
        foo.service(sqlite_url).upgrade()
    message = str(caught.value)
    assert message.startswith(
        f'Revision script "{path}" of package "fooapp" cannot be read: {problem}'
    )
    assert message.endswith(f"{remedy} Nothing was changed.")
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_script_without_down_revision_is_named(foo: Workshop, sqlite_url: str) -> None:
    path = foo.script("fooapp", "f200", "f100")
    path.write_text(path.read_text().replace("down_revision", "something_else"))
    with pytest.raises(ScriptError, match='it has no "down_revision"'):
        foo.service(sqlite_url).upgrade()


def test_a_revision_that_is_there_twice_names_both_files(foo: Workshop, sqlite_url: str) -> None:
    first = foo.root / "fooapp" / "alembic" / "versions" / "f100.py"
    second = first.with_name("copy.py")
    second.write_text(first.read_text())
    with pytest.raises(MigrationError) as caught:
        foo.service(sqlite_url).upgrade()
    assert str(caught.value) == (
        f'Package "fooapp" has the revision "f100" twice: in "{second}" and in "{first}". Remove '
        "one of the files, or give it another identifier."
    )


def test_a_parent_that_is_missing_is_named(foo: Workshop, sqlite_url: str) -> None:
    path = foo.script("fooapp", "f300", "f200")
    with pytest.raises(MigrationError) as caught:
        foo.service(sqlite_url).upgrade()
    assert str(caught.value) == (
        f'Revision "f300" of "fooapp" ("{path}") has down_revision = "f200", but the package has '
        "no such revision. Restore the missing script, or correct down_revision."
    )


def test_a_script_directory_that_was_named_and_is_missing(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("fooapp", None, script_location="fooapp:migrations")
    with pytest.raises(ScriptDirectoryError) as caught:
        workshop.service(sqlite_url).upgrade()
    assert f'"{workshop.root / "fooapp" / "migrations"}" of package "fooapp" is missing' in str(
        caught.value
    )
    assert "websauna_migrate.script_location.fooapp" in str(caught.value)


def test_a_broken_script_of_one_package_stops_all_before_the_first_step(
    foo: Workshop, sqlite_url: str
) -> None:
    foo.package("addon")
    foo.script("addon", "a100", upgrade=TABLE).write_text("revision = (")
    with pytest.raises(ScriptError):
        foo.service(sqlite_url).upgrade(packages="fooapp")
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_a_script_directory_without_its_template_gets_it(foo: Workshop, sqlite_url: str) -> None:
    directory = foo.root / "fooapp" / "alembic"
    assert not (directory / "script.py.mako").exists() and not (directory / "env.py").exists()
    service = foo.service(sqlite_url)
    (script,) = service.revision("more")
    assert "revision: str" in Path(script.path).read_text()
    assert (directory / "script.py.mako").is_file()
    # One of the package's own stays.
    own = directory / "script.py.mako"
    own.write_text("# Ours\n" + own.read_text().split('"""', 2)[2])
    (script,) = service.revision("own", head=script.revision)
    assert Path(script.path).read_text().startswith("# Ours")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_names_the_setting(
    workshop: Workshop, sqlite_url: str
) -> None:
    folder = workshop.package("fooapp")
    folder.chmod(0o555)
    try:
        with pytest.raises(ScriptDirectoryError, match="is not writable"):
            workshop.service(sqlite_url).revision("first")
    finally:
        folder.chmod(0o755)


def test_an_installed_package_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    root = tmp_path / "lib" / "site-packages"
    root.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(root))
    made = Workshop(root)
    folder = made.package("fooapp")
    try:
        with pytest.raises(ScriptDirectoryError) as caught:
            made.service(sqlite_url).revision("first")
        assert caught.value.kind == "not editable"
        target = folder / "alembic"
        assert str(caught.value) == (
            f'A revision of package "fooapp" cannot be written to "{target}": it is inside an '
            'installed package. Install the package with "pip install -e", or keep its scripts '
            'elsewhere with the setting "websauna_migrate.script_location.fooapp = '
            '%(here)s/alembic/fooapp".'
        )
        assert not target.exists()
        kept = tmp_path / "kept"
        service = made.service(sqlite_url, **{"script_location.fooapp": str(kept)})
        (script,) = service.revision("first")
        assert Path(script.path).is_relative_to(kept)
    finally:
        made.forget()


def test_a_database_that_is_down(foo: Workshop) -> None:
    service = foo.service("postgresql+psycopg2://someone:s3cr3t@127.0.0.1:1/none")
    with pytest.raises(DatabaseFailure) as caught:
        service.upgrade()
    message = str(caught.value)
    assert message.startswith(
        'Cannot use the database "postgresql+psycopg2://someone:***@127.0.0.1:1/none": '
    )
    assert "s3cr3t" not in message
    assert message.count("\n") == 1


def test_a_password_that_is_refused(foo: Workshop, postgresql_server: PostgreSQLServer) -> None:
    url = sa.make_url(postgresql_server.url_of("postgres")).set(password="wr0ng-one")
    service = foo.service(url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseFailure) as caught:
        service.upgrade()
    assert "password authentication failed" in str(caught.value)
    assert "wr0ng-one" not in str(caught.value)


def test_a_database_that_does_not_exist(foo: Workshop, postgresql_server: PostgreSQLServer) -> None:
    service = foo.service(postgresql_server.url_of("not_there_at_all"))
    with pytest.raises(DatabaseFailure, match='database "not_there_at_all" does not exist'):
        service.upgrade()


def test_a_folder_of_an_sqlite_file_that_does_not_exist(foo: Workshop, tmp_path: Path) -> None:
    service = foo.service(f"sqlite:///{tmp_path / 'nowhere' / 'x.sqlite'}")
    with pytest.raises(DatabaseFailure) as caught:
        service.upgrade()
    assert str(caught.value).endswith("Check that its folder exists and that you may write there.")


@pytest.mark.parametrize(
    ("dialect", "module", "wanted"),
    [
        ("postgresql", "psycopg2", '"websauna_migrate[postgresql-binary]"'),
        ("postgresql+psycopg2", "psycopg2", '"websauna_migrate[postgresql-binary]"'),
        ("postgresql+psycopg", "psycopg", '"websauna_migrate[postgresql-psycopg]"'),
        ("postgresql+pg8000", "pg8000", "pg8000"),
        ("mysql", "MySQLdb", '"websauna_migrate[mysql]"'),
        ("mysql+pymysql", "pymysql", '"websauna_migrate[mysql]"'),
        ("mysql+mysqldb", "MySQLdb", "mysqlclient"),
        ("oracle+oracledb", "oracledb", "oracledb"),
    ],
)
def test_a_driver_that_is_not_installed(
    foo: Workshop, monkeypatch: pytest.MonkeyPatch, dialect: str, module: str, wanted: str
) -> None:
    for one in ("psycopg2", "psycopg", "pymysql", "MySQLdb"):
        monkeypatch.setitem(sys.modules, one, None)  # type: ignore[arg-type]
    service = foo.service(f"{dialect}://someone@127.0.0.1/none")
    with pytest.raises(DatabaseFailure) as caught:
        service.upgrade()
    message = str(caught.value)
    assert f'the driver "{module}" is not installed.\nInstall it: pip install {wanted}' in message


def test_a_dialect_of_an_older_name(foo: Workshop) -> None:
    service = foo.service("postgres://someone@127.0.0.1/none")
    with pytest.raises(DatabaseFailure) as caught:
        service.upgrade()
    assert str(caught.value).endswith("Its name is postgresql: correct the setting sqlalchemy.url.")


def test_a_url_without_a_driver_takes_the_one_that_is_installed(
    foo: Workshop, postgresql_url: str
) -> None:
    service = foo.service(postgresql_url.replace("postgresql+psycopg2:", "postgresql:"))
    assert len(service.upgrade().steps) == 1
    assert "one" in tables(postgresql_url)
