"""Script directories of every kind: the template's, older hand-written ones, and plain alembic."""

from __future__ import annotations

import logging
import py_compile
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import alembic
import alembic.config
import pytest
import sqlalchemy as sa

from apps import THING, Workshop
from in_process import beside, run_here
from projects import INI, MAIN
from runs import execute
from websauna_migrate.config.template import template_folder
from websauna_migrate.errors import EnvironmentFailure, MigrationError, StepFailed
from websauna_migrate.runs.runner import Runner

TEMPLATES = Path(alembic.__file__).parent / "templates"

COOKIECUTTER = """
from alembic import context
from pyramid.paster import get_appsettings, setup_logging
from sqlalchemy import engine_from_config

from fooapp.models import Base

config = context.config
setup_logging(config.config_file_name)
settings = get_appsettings(config.config_file_name)
target_metadata = Base.metadata


def run_migrations_offline():
    context.configure(url=settings["sqlalchemy.url"])
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online():
    engine = engine_from_config(settings, prefix="sqlalchemy.")
    connection = engine.connect()
    context.configure(connection=connection, target_metadata=target_metadata)
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.close()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""

UNGUARDED = """
from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
fileConfig(config.config_file_name)
target_metadata = None


def run_migrations_online():
    connectable = engine_from_config(
        config.get_section(config.config_ini_section), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    with connectable.connect() as connection:
        context.configure(
            connection, target_metadata=target_metadata
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations_online()
"""

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Offer(Base):
    __tablename__ = "offer"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


@pytest.fixture
def foo(workshop: Workshop) -> Workshop:
    """A package with models, and two scripts beside whatever env.py a test gives it."""
    folder = workshop.package("fooapp", MODELS)
    (folder / "__init__.py").write_text(
        MAIN.format(top="", registration='metadata="fooapp.models.Base"')
    )
    workshop.script(
        "fooapp",
        "f100",
        upgrade='op.create_table("offer", sa.Column("id", sa.Integer, primary_key=True))',
        downgrade='op.drop_table("offer")',
    )
    workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade='op.create_table("second", sa.Column("id", sa.Integer, primary_key=True))',
        downgrade='op.drop_table("second")',
    )
    return workshop


def write_env(workshop: Workshop, source: str | Path) -> None:
    directory = workshop.root / "fooapp" / "alembic"
    if isinstance(source, Path):
        for name in ("env.py", "script.py.mako"):
            shutil.copy(source / name, directory / name)
    else:
        (directory / "env.py").write_text(source)
        shutil.copy(TEMPLATES / "generic" / "script.py.mako", directory)


def write_ini(workshop: Workshop, url: str, more: str = "") -> Path:
    path = workshop.root.parent / "development.ini"
    path.write_text(INI.format(url=url.replace("%", "%%"), settings=more, alembic=""))
    return path


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


KINDS: dict[str, Any] = {
    "none": None,
    "the template's": template_folder(),
    "Alembic's generic": TEMPLATES / "generic",
    "Alembic's pyproject": TEMPLATES / "pyproject",
    "Pyramid's cookiecutter": COOKIECUTTER,
    "older, with fileConfig": UNGUARDED,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_environment_works_on_the_runs_own_connection(
    foo: Workshop, transactional_database_url: str, kind: str
) -> None:
    if KINDS[kind] is not None:
        write_env(foo, KINDS[kind])
    service = foo.service(transactional_database_url)
    service.use_ini(str(write_ini(foo, transactional_database_url)), {})
    assert len(service.upgrade().steps) == 2
    expected = {"offer", "second", "alembic_history_fooapp", "websauna_migrate_ledger"}
    assert tables(transactional_database_url) == expected
    assert [step.revision for step in service.downgrade("-1").steps] == ["f200"]
    assert "CREATE TABLE second" in service.sql("f100:f200")
    foo.script("fooapp", "f200", "f100", upgrade='op.execute("SELECT nonsense")')
    with pytest.raises(StepFailed):
        service.upgrade()
    assert service.current()[0].rows == ("f100",)


def test_an_older_environment_keeps_existing_loggers(foo: Workshop, sqlite_url: str) -> None:
    write_env(foo, UNGUARDED)
    logger = logging.getLogger("fooapp.existing")
    service = foo.service(sqlite_url)
    service.use_ini(str(write_ini(foo, sqlite_url)), {})
    service.upgrade()
    assert not logger.disabled


def test_options_of_an_older_environment_are_kept(foo: Workshop, sqlite_url: str) -> None:
    write_env(
        foo,
        UNGUARDED.replace(
            "connection, target_metadata=target_metadata",
            "connection, target_metadata=target_metadata, "
            "on_version_apply=lambda ctx, step, heads, run_args: seen.append(step.up_revision_id)",
        ).replace("target_metadata = None", "target_metadata = None\nfrom fooapp import seen"),
    )
    init = foo.root / "fooapp" / "__init__.py"
    init.write_text("seen = []\n" + init.read_text())
    service = foo.service(sqlite_url)
    service.upgrade()
    from fooapp import seen  # type: ignore[import-not-found]

    assert seen == ["f100", "f200"]


def test_another_database_is_refused_by_name(
    foo: Workshop, database_url: str, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path}/other.sqlite"
    env = UNGUARDED.replace(
        'config.get_section(config.config_ini_section), prefix="sqlalchemy."',
        f'{{"url": {other!r}}}, prefix=""',
    )
    assert other in env
    write_env(foo, env)
    with pytest.raises(EnvironmentFailure, match=r"other\.sqlite") as caught:
        foo.service(database_url).upgrade()
    assert "websauna_migrate.url" in str(caught.value)
    assert tables(database_url) <= {"websauna_migrate_ledger"}


def test_sql_for_a_second_database_is_refused(foo: Workshop, sqlite_url: str) -> None:
    """It would be written for the first one alone; as Flask's and Alembic's multidb do it."""
    loop = """
from alembic import context

for url in ("sqlite:///one.sqlite", "sqlite:///two.sqlite"):
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
"""
    write_env(foo, loop)
    service = foo.service(sqlite_url)
    with pytest.raises(EnvironmentFailure, match="several times: the database is") as caught:
        service.sql()
    assert "websauna_migrate.url" in str(caught.value)
    write_env(foo, loop.replace("two.sqlite", "one.sqlite"))
    assert service.sql().count("CREATE TABLE offer") == 1


@pytest.mark.parametrize("option", ["version_table", "version_table_schema"])
def test_another_history_table_is_refused_by_name(
    foo: Workshop, sqlite_url: str, option: str
) -> None:
    configure = "connection, target_metadata=target_metadata"
    env = UNGUARDED.replace(configure, f"{configure}, {option}='another'")
    write_env(foo, env)
    with pytest.raises(EnvironmentFailure, match=f"says {option}='another'") as caught:
        foo.service(sqlite_url).upgrade()
    assert f"set websauna_migrate.{option}" in str(caught.value)
    assert tables(sqlite_url) <= {"websauna_migrate_ledger"}
    if option == "version_table":
        foo.service(sqlite_url, **{"version_table.fooapp": "another"}).upgrade()
        assert "another" in tables(sqlite_url)


def test_the_default_schema_may_be_named(foo: Workshop, database_url: str) -> None:
    engine = sa.create_engine(database_url)
    schema = sa.inspect(engine).default_schema_name
    engine.dispose()
    configure = "connection, target_metadata=target_metadata"
    write_env(foo, UNGUARDED.replace(configure, f"{configure}, version_table_schema={schema!r}"))
    service = foo.service(database_url)
    assert service.upgrade().steps and not service.upgrade().steps
    assert "CREATE TABLE" in service.sql("base:heads") and service.check().problems


@pytest.mark.parametrize("call", ["upgrade", "check", "revision"])
def test_an_error_in_an_environment_names_it(foo: Workshop, sqlite_url: str, call: str) -> None:
    service = foo.service(sqlite_url)
    if call != "upgrade":
        service.upgrade()
    write_env(foo, "import nothing_of_this_name\n" + UNGUARDED)
    calls = {
        "upgrade": service.upgrade,
        "check": service.check,
        "revision": lambda: service.revision("x", autogenerate=True),
    }
    with pytest.raises(EnvironmentFailure) as caught:
        calls[call]()
    words = str(caught.value)
    assert "env.py" in words and "line 1" in words and "nothing_of_this_name" in words


#: What goes wrong in line 5 of an env.py, and what is said of it.
WRONG = {
    "os.environ['NOT_THERE_AT_ALL']": "line 5: KeyError: 'NOT_THERE_AT_ALL'",
    "from fooapp.models import Nothing": "line 5: ImportError: cannot import name 'Nothing'",
    "sys.exit('bye')": "line 5: SystemExit: bye",
    "nothing()": "line 5: NameError: name 'nothing' is not defined",
    "context.configure(connection=1, 2)": "SyntaxError: positional argument follows keyword",
}


def test_errors_of_every_kind_name_the_environment(
    foo: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    ini = foo.application("fooapp", tmp_path / "site.ini", sqlite_url)
    assert foo.ws(ini, "upgrade", "f100").status == 0
    commands = ["upgrade", "check", "status", "plan", "downgrade base", "stamp f200"]
    commands += ["upgrade --sql", "revision --autogenerate -m x"]
    for number, (line, said) in enumerate(WRONG.items()):
        write_env(foo, f"import os\nimport sys\nfrom alembic import context\n\n{line}\n")
        for command in commands if number == 0 else commands[number - 1 : number]:
            typed = foo.ws(ini, *command.split())
            assert typed.status, (line, command)
            assert "The env.py of package" in typed.err and said in typed.err, (command, typed)
            assert "Traceback" not in typed.err and "revision" not in typed.err, typed.err


def test_an_option_of_alembics_that_env_py_lacks_is_asked_for(
    foo: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    ini = foo.application("fooapp", tmp_path / "site.ini", sqlite_url)
    # A program of the project sets it by Config.set_main_option.
    asked = 'options = config.get_section(config.config_ini_section)\nurl = options.pop("url")\n'
    write_env(
        foo, UNGUARDED.replace("target_metadata = None\n", asked + "target_metadata = None\n")
    )
    typed = foo.ws(ini, "upgrade")
    assert typed.status and "KeyError: 'url'" in typed.err
    assert "has to be in the section [alembic] of site.ini." in typed.err
    ini.write_text(ini.read_text() + f"\n[alembic]\nurl = {sqlite_url}\n")
    assert foo.ws(ini, "upgrade").status == 0


def test_plain_alembic_beside_the_service_keeps_its_tables(
    foo: Workshop, sqlite_url: str, run: Any
) -> None:
    (foo.root / "fooapp" / "models.py").write_text(
        MODELS + "class Second(Base):\n    __tablename__ = 'second'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    env = COOKIECUTTER
    if find_spec("alembic.runtime.plugins") is None:
        # As docs/commands.rst says of Alembic before 1.18.
        env = env.replace(
            "target_metadata=target_metadata",
            "target_metadata=target_metadata, "
            "include_name=lambda name, type_, parents: type_ != 'table' or not "
            "name.startswith(('websauna_migrate_', 'alembic_history_'))",
        )
    write_env(foo, env)
    service = foo.service(sqlite_url, **{"version_table.fooapp": "alembic_version"})
    ini = write_ini(foo, sqlite_url)
    service.use_ini(str(ini), {})
    service.upgrade()
    assert "websauna_migrate_ledger" in tables(sqlite_url)
    program = [sys.executable, "-m", "alembic", "-c", str(ini), "check"]
    result = run(program, env={"PYTHONPATH": str(foo.root)}, cwd=foo.root)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_environment_that_runs_nothing_is_named(foo: Workshop, sqlite_url: str) -> None:
    write_env(foo, "from alembic import context\n")
    with pytest.raises(EnvironmentFailure) as caught:
        foo.service(sqlite_url).upgrade()
    path = foo.root / "fooapp" / "alembic" / "env.py"
    assert str(caught.value) == (
        f'The env.py of package "fooapp" ({path}) did not call context.run_migrations(). Nothing '
        "was changed. See Alembic's documentation of env.py, or replace it by the two lines of the "
        "template."
    )


@pytest.mark.parametrize("inside", [True, False])
def test_an_environment_that_fails_behind_its_migrations_is_named(
    foo: Workshop, database_url: str, inside: bool
) -> None:
    """What it raises in its own transaction takes the step back, as under plain Alembic."""
    call = "context.run_migrations()"
    place = next(line for line in UNGUARDED.splitlines() if line.strip() == call)
    failing = f"{place}\n{place.replace(call, '1 / 0')}" if inside else place
    write_env(foo, UNGUARDED.replace(place, failing) + ("" if inside else "\n1 / 0\n"))
    service = foo.service(database_url)
    with pytest.raises(EnvironmentFailure, match=r"line \d+: ZeroDivisionError") as caught:
        service.upgrade()
    assert "What is applied tells: ws-alembic status" in str(caught.value)
    write_env(foo, UNGUARDED)
    service.upgrade()
    assert service.upgrade().steps == ()


def test_x_arguments_reach_an_environment(foo: Workshop, sqlite_url: str) -> None:
    write_env(
        foo,
        UNGUARDED.replace(
            "target_metadata = None",
            "target_metadata = None\nfrom fooapp import seen\n"
            'seen.append(context.get_x_argument(as_dictionary=True)["tenant"])',
        ),
    )
    init = foo.root / "fooapp" / "__init__.py"
    init.write_text("seen = []\n" + init.read_text())
    service = foo.service(sqlite_url)
    from argparse import Namespace

    service.use_ini(None, {}, cmd_opts=Namespace(x=["tenant=one"]))
    service.upgrade()
    from fooapp import seen  # type: ignore[import-not-found]

    assert set(seen) == {"one"}


ASKING = UNGUARDED.replace("fileConfig(config.config_file_name)", "{asks}")

GIVING_UP = """
try:
    url = config.our_url
except AttributeError:
    raise SystemExit(1)
"""


def test_an_environment_that_misses_an_argument_of_the_command_line_is_told_the_way_out(
    foo: Workshop, sqlite_url: str
) -> None:
    ini = foo.application("site_app", foo.root / "site.ini", sqlite_url)
    by_key = 'tenant = context.get_x_argument(as_dictionary=True)["tenant"]'

    def fails(asks: str) -> str:
        write_env(foo, ASKING.format(asks=asks))
        typed = foo.ws(ini, "-x", "packages=all", "upgrade")
        assert typed.status == 1
        return typed.err

    assert 'If "tenant" is one: ws-alembic ' in fails(by_key)
    found = fails("tenant = config.cmd_opts.tenant")
    assert (
        'has no option "tenant". Let env.py say getattr(config.cmd_opts, "tenant", None)' in found
    )
    for asks in ("url = config.our_url", GIVING_UP):
        assert 'Let env.py say getattr(config, "our_url", None)' in fails(asks)
    # An error of something else is not taken for it.
    assert "Let env.py" not in fails("context.get_heads()")
    write_env(
        foo,
        ASKING.format(
            asks=by_key
            + '\ntenant = context.get_x_argument(as_dictionary=True).get("tenant")'
            + '\nassert getattr(config.cmd_opts, "tenant", None) is None'
            + '\nassert getattr(config, "our_url", None) is None'
        ),
    )
    assert foo.ws(ini, "-x", "packages=all", "-x", "tenant=blue", "upgrade").status == 0


def test_plain_alembic_works_with_the_template(
    foo: Workshop, transactional_database_url: str, run: Any
) -> None:
    write_env(foo, template_folder())
    ini = write_ini(foo, transactional_database_url)
    program = [sys.executable, "-m", "alembic", "-c", str(ini)]
    environment = {"PYTHONPATH": str(foo.root)}
    result = run([*program, "upgrade", "head"], env=environment, cwd=foo.root)
    assert result.returncode == 0, result.stderr
    assert tables(transactional_database_url) == {
        "offer",
        "second",
        "alembic_history_fooapp",
        "websauna_migrate_ledger",
    }
    current = run([*program, "current"], env=environment, cwd=foo.root)
    assert current.stdout == "f200 (head)\n"
    offline = run([*program, "upgrade", "f100", "--sql"], env=environment, cwd=foo.root)
    assert "CREATE TABLE offer" in offline.stdout
    assert "alembic_history_fooapp" in offline.stdout
    down = run([*program, "downgrade", "base"], env=environment, cwd=foo.root)
    assert down.returncode == 0, down.stderr
    assert tables(transactional_database_url) == {
        "alembic_history_fooapp",
        "websauna_migrate_ledger",
    }
    assert len(foo.service(transactional_database_url).upgrade().steps) == 2


def test_plain_alembic_works_with_an_ini_that_includes_another(
    foo: Workshop, sqlite_url: str
) -> None:
    write_env(foo, template_folder())
    ini = write_ini(foo, sqlite_url)
    (ini.parent / "base.ini").write_text(ini.read_text().replace("[alembic]", "[not_alembic]"))
    ini.write_text(
        "[includes]\ninclude_ini_files = base.ini\n[app:main]\n"
        "[alembic]\nscript_location = fooapp:alembic\n"
    )
    history = {"alembic_history_fooapp", "websauna_migrate_ledger"}
    for words, left in (
        (("upgrade", "head"), {"offer", "second", *history}),
        (("upgrade", "f200", "--sql"), {"offer", "second", *history}),
        (("downgrade", "base"), history),
    ):
        with beside(foo.root, "fooapp"):
            done = run_here(alembic.config.main, ["-c", str(ini), *words])
        assert done.returncode == 0, (words, done)
        assert tables(sqlite_url) == left, words


def test_plain_alembic_without_the_applications_ini_says_so(foo: Workshop, run: Any) -> None:
    write_env(foo, template_folder())
    path = foo.root / "alembic.ini"
    path.write_text("[alembic]\nscript_location = fooapp:alembic\n")
    result = run(
        [sys.executable, "-m", "alembic", "-c", str(path), "current"],
        env={"PYTHONPATH": str(foo.root)},
        cwd=foo.root,
    )
    assert result.returncode != 0
    assert result.stdout.startswith("FAILED: ") or "FAILED: " in result.stdout
    assert "app:main" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.fixture
def plain(foo: Workshop, database_url: str) -> Any:
    """Type a command of plain ``alembic`` in this process, with the settings given."""

    def call(*words: str, **settings: str) -> Any:
        ini = write_ini(foo, database_url)
        lines = "".join(f"websauna_migrate.{key} = {value}\n" for key, value in settings.items())
        ini.write_text(ini.read_text().replace("[app:main]\n", f"[app:main]\n{lines}"))
        with beside(foo.root, "fooapp"):
            return run_here(alembic.config.main, ["-c", str(ini), *words])

    write_env(foo, template_folder())
    return call


def test_plain_alembic_records_its_steps(foo: Workshop, database_url: str, plain: Any) -> None:
    for words in (("upgrade", "+1"), ("upgrade", "head"), ("downgrade", "-1")):
        done = plain(*words)
        assert done.returncode == 0, done.stderr
    service = foo.service(database_url)
    with service.make_engine().connect() as connection:
        entries = service.ledger.entries(connection)
    assert [(e.revision, e.direction, e.outcome) for e in entries] == [
        ("f100", "upgrade", "done"),
        ("f200", "upgrade", "done"),
        ("f200", "downgrade", "done"),
    ]
    assert service.current()[0].rows == ("f100",)
    assert plain("stamp", "head").returncode == 0
    assert service.current()[0].rows == ("f200",)


def test_compiled_scripts_go_the_same_ways(workshop: Workshop, tmp_path: Path, postgresql_url: str):
    package = workshop.package("shop", THING)
    table = 'op.create_table({!r}, sa.Column("id", sa.Integer, primary_key=True))'
    scripts = [
        workshop.script("shop", "a1", None, table.format("thing"), 'op.drop_table("thing")'),
        workshop.script("shop", "a2", "a1", table.format("more"), 'op.drop_table("more")'),
    ]
    for path in scripts:
        py_compile.compile(str(path), cfile=f"{path}c")
        path.unlink()
    shutil.copy(template_folder() / "env.py", package / "alembic")
    ini = workshop.application("shop", tmp_path / "app.ini", postgresql_url)
    ini.write_text(ini.read_text() + "[alembic]\nsourceless = true\n")

    for words in ("plan", "upgrade --dry-run", "upgrade", "check", "check --fresh", "downgrade -1"):
        typed = workshop.ws(ini, *words.split())
        assert typed.status == 0, (words, typed)
    assert f"({scripts[1]}c) may do anything" in typed.err
    # Compiled anew, by another Python, a script is no other.
    path = Path(f"{scripts[0]}c")
    path.write_bytes(path.read_bytes() + b"\0")
    assert workshop.ws(ini, "upgrade").status == 0
    assert "No changes" in workshop.ws(ini, "revision", "--autogenerate", "-m", "no").out
    assert workshop.ws(ini, "check") == (0, "No new upgrade operations detected.\n", "")
    typed = workshop.ws(ini, "squash")
    assert (typed.status, f'"{path}" has no plain function upgrade()' in typed.err) == (1, True)
    assert workshop.ws(ini, "downgrade", "base").status == 0
    assert workshop.ws(ini, "adopt").status == 0


@pytest.mark.parametrize(
    "words, left", [(("downgrade", "-1"), "f100"), (("stamp", "--purge", "f100"), "f100")]
)
def test_plain_alembic_takes_nothing_back_on_a_protected_database(
    foo: Workshop, database_url: str, plain: Any, words: tuple[str, ...], left: str
) -> None:
    assert plain("upgrade", "head", protected="on").returncode == 0
    refused = plain(*words, protected="on")
    assert refused.returncode != 0
    _, _, command = refused.stdout.partition("is meant all the same: ws-alembic -c ")
    assert f"-x packages=fooapp {' '.join(words)} --yes-on-production" in command
    assert foo.service(database_url).current()[0].rows == ("f200",)
    done = foo.ws(Path(command.split()[0]), *command.split()[1:])
    assert done.status == 0, done
    assert foo.service(database_url).current()[0].rows == (left,)


def test_plain_alembic_purges_what_no_script_has(
    foo: Workshop, database_url: str, plain: Any
) -> None:
    """Which is what ``stamp --purge`` is for."""
    assert plain("upgrade", "head").returncode == 0
    history = "alembic_history_fooapp"
    for target, rows in (("head", ("f200",)), ("f100", ("f100",)), ("base", ())):
        execute(database_url, f"UPDATE {history} SET version_num = 'gone'")
        if target == "head":
            assert plain("stamp", target).returncode != 0
        done = plain("stamp", "--purge", target)
        assert done.returncode == 0, done.stdout + done.stderr
        assert foo.service(database_url).current()[0].rows == rows


def test_plain_alembic_stops_at_a_half_done_step(
    foo: Workshop, database_url: str, plain: Any
) -> None:
    foo.script(
        "fooapp",
        "f300",
        "f200",
        upgrade="""
op.execute("CREATE TABLE half (x INT)")
op.execute("COMMIT")
raise ValueError("x")
""",
    )
    failed = plain("upgrade", "head")
    assert failed.returncode != 0 and "f300" in failed.stdout
    for words in (("upgrade", "head"), ("downgrade", "-1"), ("stamp", "f300")):
        again = plain(*words)
        assert again.returncode != 0
        assert "An earlier run ended in the middle of a step" in again.stdout
        assert "ws-alembic repair" in again.stdout
    assert foo.service(database_url).current()[0].rows == ("f200",)


def test_plain_alembic_takes_the_lock_of_the_service(
    foo: Workshop, postgresql_url: str, run: Any
) -> None:
    """Also where the history stands in a schema, which is part of the lock's name."""
    write_env(foo, template_folder())
    ini = write_ini(foo, postgresql_url)
    ini.write_text(
        ini.read_text().replace(
            "[app:main]\n",
            "[app:main]\nwebsauna_migrate.version_table_schema = meta\n"
            "websauna_migrate.lock_wait = 0\n",
        )
    )
    with sa.create_engine(postgresql_url).begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA meta")
    service = foo.service(postgresql_url, version_table_schema="meta")
    program = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    with Runner(service.site()).locked():
        done = run(program, env={"PYTHONPATH": str(foo.root)}, cwd=foo.root)
    assert done.returncode != 0
    assert "Another migration run is in progress" in done.stdout
    assert service.current()[0].rows == ()
    done = run(program, env={"PYTHONPATH": str(foo.root)}, cwd=foo.root)
    assert done.returncode == 0, done.stderr
    assert service.current()[0].rows == ("f200",)


@pytest.mark.parametrize(
    ("hook", "command"),
    [
        ("include_object", "check"),
        ("include_name", "check"),
        ("compare_type", "revision"),
        ("process_revision_directives", "revision"),
        ("on_version_apply", "upgrade"),
    ],
)
def test_a_hook_that_fails_is_named_with_env_py(
    workshop: Workshop, sqlite_url: str, hook: str, command: str
) -> None:
    """Also one of another module than ``env.py``."""
    workshop.package(
        "fooapp",
        """
        import sqlalchemy as sa
        from sqlalchemy.orm import declarative_base

        Base = declarative_base()
        sa.Table("t", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
        """,
    )
    workshop.script("fooapp", "a1", None, "op.create_table('t', sa.Column('id', sa.Text))")
    if command != "upgrade":
        workshop.service(sqlite_url).upgrade()
    (workshop.root / "fooapp" / "hooks.py").write_text(
        "def fails(*a, **k):\n    raise KeyError(7)\n"
    )
    (workshop.root / "fooapp" / "alembic" / "env.py").write_text(
        "from alembic import context\nfrom fooapp.hooks import fails\n"
        "from fooapp.models import Base\n"
        "connection = context.config.attributes['connection']\n"
        f"context.configure(connection, target_metadata=Base.metadata, {hook}=fails)\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )
    call = getattr(workshop.service(sqlite_url), command)
    with pytest.raises(
        MigrationError, match=rf"env.py.* gives {hook}=.* line 2 of .*hooks.py: Key"
    ):
        call(**({"message": "x", "autogenerate": True} if command == "revision" else {}))
