"""No command imports what it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

#: Modules by the first names of which a command that only looks has no use.
FORBIDDEN = (
    "rich",
    "pytest",
    "hypothesis",
    "multiprocessing",
    "websauna_migrate.autogenerate",
    "websauna_migrate.revision_scripts.table_origins",
    "websauna_migrate.cli.plain_alembic",
    "websauna_migrate.alembic_adapter.bound_environment",
    "websauna_migrate.alembic_adapter.internals",
    "websauna_migrate.cli.ddl",
    "websauna_migrate.cli.clients",
    "websauna_migrate.lint.report",
    "websauna_migrate.lint.recorded_sql",
    "websauna_migrate.lint.squawk",
)

#: And those of a command that is understood without Alembic's parser.
QUICK_FORBIDDEN = (
    *FORBIDDEN,
    "alembic",
    "mako",
    "sqlalchemy.orm",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "websauna_migrate.reports.check",
    "websauna_migrate.runs.uninstalling",
    "websauna_migrate.revision_scripts.script_reader",
    "websauna_migrate.planning.accesses",
    "websauna_migrate.runs.locked_run",
    "websauna_migrate.revision_scripts.moved_tables",
    "websauna_migrate.runs.offline",
    "websauna_migrate.models.ownership",
    "websauna_migrate.runs.repair",
    "websauna_migrate.runs.stamping",
    "websauna_migrate.runs.statement_guard",
    "websauna_migrate.config.template",
)

#: And those of a command that does not ask what a run would do.
NO_RUN = (
    "websauna_migrate.runs.ledger",
    "websauna_migrate.runs.runner",
    "websauna_migrate.revision_scripts.script_literals",
)

APP = """\
from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("importing_package")
    return config.make_wsgi_app()
"""

SCRIPT = 'revision = "a1"\ndown_revision = None\nimport a_script_was_imported\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    versions = tmp_path / "importing_package" / "alembic" / "versions"
    versions.mkdir(parents=True)
    (versions / "a1.py").write_text(SCRIPT)
    (tmp_path / "importing_package" / "__init__.py").write_text(
        "def includeme(config):\n    config.add_migration_package()\n"
    )
    (tmp_path / "importing_app.py").write_text(APP)
    (tmp_path / "app.ini").write_text(
        "[app:main]\nuse = call:importing_app:main\nsqlalchemy.url = sqlite:///%(here)s/db.sqlite\n"
    )
    return tmp_path


#: Forks for each command that its standard input names, and prints what is imported at the end.
SERVER = f"""
import json, os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
import pyramid.paster, pyramid.config, sqlalchemy, plaster_pastedeploy
real = os.dup(1)
print(json.dumps([0, "", sorted(sys.modules)]), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if os.fork() == 0:
        os.close(0)
        sys.stdin = open(os.devnull)
        screen = os.open("screen", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.chdir(job["cwd"])
        sys.path.insert(0, job["cwd"])
        for number in (1, 2):
            os.dup2(screen, number)
        status = 1
        try:
            exec(job["prepare"])
            from websauna_migrate.cli.ws_alembic import main
            status = main(job["words"])
        except SystemExit as exc:
            status = exc.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.lseek(screen, 0, 0)
            text = os.read(screen, 100_000).decode()
            os.write(real, (json.dumps([status, text, sorted(sys.modules)]) + "\\n").encode())
            os._exit(0)
    os.wait()
"""

#: ``modules_of(project, *words, prepare="")``: the modules that a command has imported at its end.
Modules = Callable[..., set[str]]


@pytest.fixture(scope="module")
def modules_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    """Run commands in forks of a process that has only imported Pyramid and SQLAlchemy."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("screens"),
    )
    assert process.stdin is not None and process.stdout is not None
    before = set(json.loads(process.stdout.readline())[2])
    forbidden = ("websauna_migrate", "sqlite3", "psycopg2", *FORBIDDEN, *QUICK_FORBIDDEN)
    assert not found(before, forbidden)

    def run(project: Path, *words: str, prepare: str = "") -> set[str]:
        job = {"cwd": str(project), "words": words, "prepare": prepare}
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        status, screen, modules = json.loads(process.stdout.readline())
        # Nothing is applied in these projects where status is asked.
        assert status == (1 if "status" in words else 0), screen[-2000:]
        return set(modules)

    yield run
    process.communicate()


COMMANDS = [
    ("--help",),
    *(
        ("-c", "app.ini", "-x", "packages=all", verb)
        for verb in ("heads", "history", "plan", "current", "status")
    ),
]


def found(modules: set[str], names: tuple[str, ...]) -> set[str]:
    return {m for m in modules if any(m == n or m.startswith(n + ".") for n in names)}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[-1])
def test_a_command_that_looks(project: Path, modules_of: Modules, words: tuple[str, ...]) -> None:
    forbidden = {*(FORBIDDEN if words[-1] == "--help" else QUICK_FORBIDDEN)}
    if words[-1] == "--help":
        # It starts neither the service nor a driver.
        forbidden |= {"websauna_migrate.service", "websauna_migrate.runs.runner"}
        forbidden |= {"psycopg2", "sqlite3"}
    if words[-1] == "plan":
        # It counts what its steps would lose.
        forbidden -= {"websauna_migrate.planning.accesses"}
    if words[-1] == "status":
        # It looks for half done steps.
        forbidden -= {"websauna_migrate.runs.repair", "websauna_migrate.runs.stamping"}
    assert not found(modules_of(project, *words), tuple(forbidden))


@pytest.mark.parametrize("verb", ["heads", "history", "current"])
def test_what_asks_for_no_plan(
    project: Path, modules_of: Modules, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    settled = "import websauna_migrate.revision_scripts.script_files as s; s.SETTLED_NS = 0"
    words = ("-c", "app.ini", "-x", "packages=all", verb)
    modules_of(project, *words, prepare=settled)
    # It looks for half done steps.
    forbidden = {*NO_RUN} - ({"websauna_migrate.runs.ledger"} if verb == "current" else set())
    assert not found(modules_of(project, *words), tuple(sorted(forbidden)))


def test_an_upgrade_after_a_run_with_a_ledger(project: Path, modules_of: Modules) -> None:
    script = project / "importing_package" / "alembic" / "versions" / "a1.py"
    script.write_text('revision = "a1"\ndown_revision = None\ndef upgrade():\n    pass\n')
    words = ("-c", "app.ini", "-x", "packages=all", "upgrade")
    assert "alembic" in modules_of(project, *words)
    assert not found(modules_of(project, *words), QUICK_FORBIDDEN)


def pretend_all_is_applied(project: Path) -> None:
    import sqlite3

    with sqlite3.connect(project / "db.sqlite") as connection:
        connection.execute("CREATE TABLE alembic_history_importing_package (version_num VARCHAR)")
        connection.execute("INSERT INTO alembic_history_importing_package VALUES ('a1')")
    connection.close()


def test_a_check_of_models_without_classes_needs_no_orm(project: Path, modules_of: Modules) -> None:
    (project / "importing_package" / "__init__.py").write_text(
        "import sqlalchemy\n\nmetadata = sqlalchemy.MetaData()\n\n"
        "def includeme(config):\n    config.add_migration_package(metadata=metadata)\n"
    )
    pretend_all_is_applied(project)
    modules = modules_of(project, "-c", "app.ini", "-x", "packages=all", "check")
    assert "websauna_migrate.autogenerate.comparison" in modules
    unused = ("sqlalchemy.orm", "rich", "websauna_migrate.lint.report", "a_script_was_imported")
    assert not found(modules, unused)


def test_an_upgrade_with_nothing_to_do(project: Path, modules_of: Modules) -> None:
    pretend_all_is_applied(project)
    modules = modules_of(project, "-c", "app.ini", "-x", "packages=all", "upgrade")
    assert not found(modules, QUICK_FORBIDDEN)


def test_an_upgrade_with_steps(project: Path, modules_of: Modules) -> None:
    (project / "a_script_was_imported.py").touch()
    (project / "importing_package" / "alembic" / "versions" / "a1.py").write_text(
        f'{SCRIPT}\nfrom alembic import op\ndef upgrade():\n    op.execute("SELECT 1")\n'
    )
    modules = modules_of(project, "-c", "app.ini", "-x", "packages=all", "upgrade")
    assert "a_script_was_imported" in modules
    assert not found(
        modules,
        (
            "sqlalchemy.orm",
            "zope.sqlalchemy",
            "websauna_migrate.data",
            "websauna_migrate.autogenerate",
            "websauna_migrate.lint.report",
            "websauna_migrate.runs.repair",
        ),
    )


@pytest.mark.parametrize("verb", ["plan", "lint"])
def test_the_linter_is_for_pending_steps(
    project: Path, modules_of: Modules, postgresql_url: str, verb: str
) -> None:
    ini = project / "app.ini"
    url = postgresql_url.replace("%", "%%")
    ini.write_text(f"[app:main]\nuse = call:importing_app:main\nsqlalchemy.url = {url}\n")
    words = ("-c", "app.ini", "-x", "packages=all", verb)
    (project / "a_script_was_imported.py").touch()
    (project / "importing_package" / "alembic" / "versions" / "a1.py").write_text(
        f"{SCRIPT}\ndef upgrade():\n    pass\n"
    )
    linter = ("websauna_migrate.lint.report", "alembic")
    assert found(modules_of(project, *words), linter)
    modules_of(project, "-c", "app.ini", "-x", "packages=all", "upgrade")
    modules = modules_of(project, *words)
    assert not found(modules, ("alembic", "mako", "a_script_was_imported"))
    if verb == "plan":
        forbidden = set(QUICK_FORBIDDEN) - {"sqlalchemy.dialects.postgresql"}
        assert not found(modules, tuple(forbidden))


def test_the_service_needs_no_alembic() -> None:
    program = "import sys, websauna_migrate.service; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert not found(set(done.stdout.split()), ("alembic", "mako"))
