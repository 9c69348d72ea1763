"""The command line ``ws-alembic``, from what is typed to what is printed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic
import alembic.config
import pyramid.paster
import pytest
import sqlalchemy as sa

from apps import Workshop
from by_fork import programs_by_fork
from conftest import REPOSITORY
from websauna_migrate.cli.ws_alembic import main

TEMPLATE = Path(__file__).parent.parent / "alembic_template" / "script.py.mako"

FACTORY = """
from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("addon")
    config.add_migration_package()
    return config.make_wsgi_app()
"""

INI = """
[app:main]
use = call:fooapp:main
sqlalchemy.url = {url}
{settings}

{sections}
"""

#: An INI as Pyramid's cookiecutter makes it, but with the log on standard output.
LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = generic
[formatter_generic]
format = %(levelname)s [%(name)s] %(message)s
"""


@dataclass
class Result:
    """What a command left: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        assert self.status == 0, self.stderr
        return self.stdout.splitlines()


class Site:
    """An application ``fooapp`` with an add-on ``addon`` and an INI file."""

    def __init__(self, made: Workshop, root: Path, run: Any, invoke: Any) -> None:
        self.workshop = made
        self.root = root
        self.ini = root / "site" / "development.ini"
        self.ini.parent.mkdir()
        self._run = run
        self._invoke = invoke

    def configure(self, url: str, *, settings: str = "", sections: str = "") -> None:
        self.ini.write_text(INI.format(url=url, settings=settings, sections=sections))

    def factory(self, source: str) -> None:
        (self.workshop.root / "fooapp" / "__init__.py").write_text(source)

    def __call__(self, *words: str, cwd: Path | None = None) -> Result:
        """Run ``ws-alembic`` in this process, beside the INI."""
        return self._invoke(words, cwd or self.ini.parent)

    def process(self, *words: str, cwd: Path | None = None, **variables: str | None) -> Result:
        """Run ``ws-alembic`` as a process, beside the INI."""
        done = self._run(
            ["ws-alembic", *words],
            cwd=cwd or self.ini.parent,
            env={"PYTHONPATH": str(self.workshop.root), **variables},
        )
        return Result(done.returncode, done.stdout, done.stderr)


def table(name: str) -> dict[str, str]:
    """Return the two bodies of a script that creates a table."""
    return {
        "upgrade": f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))',
        "downgrade": f'op.drop_table("{name}")',
    }


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """``invoke(words, cwd)``: run a command line in this process."""
    monkeypatch.delenv("ALEMBIC_CONFIG", raising=False)

    def invoke(words: tuple[str, ...], cwd: Path) -> Result:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        try:
            status = main(words)
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return invoke


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path, run: Any, invoke: Any) -> Iterator[Site]:
    """The application, with scripts whose second one requires the add-on's second one."""
    for name in ("addon", "fooapp"):
        (workshop.package(name) / "alembic" / "versions").mkdir(parents=True)
        shutil.copy(TEMPLATE, workshop.root / name / "alembic")
    workshop.script("addon", "a100", **table("a1"), message="First of the add-on")
    workshop.script("addon", "a200", "a100", **table("a2"), message="Second of the add-on")
    workshop.script("addon", "a300", "a200", **table("a3"), message="Third of the add-on")
    workshop.script("fooapp", "f100", **table("f1"), message="First of the app")
    workshop.script(
        "fooapp", "f200", "f100", **table("f2"), message="Second", requires=["addon@a200"]
    )
    made = Site(workshop, tmp_path, run, invoke)
    made.factory(FACTORY)
    made.configure(f"sqlite:///{tmp_path / 'db.sqlite'}")
    yield made


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


# The parser


def test_the_version_names_both_programs(invoke: Callable[..., Result], tmp_path: Path) -> None:
    result = invoke(("--version",), tmp_path)
    assert result.status == 0
    assert re.fullmatch(
        rf"ws-alembic \d\S* \(Alembic {re.escape(alembic.__version__)}\)\n", result.stdout
    )


def test_no_command_is_a_usage_error(invoke: Callable[..., Result], tmp_path: Path) -> None:
    result = invoke((), tmp_path)
    assert (result.status, result.stdout) == (2, "")
    assert "too few arguments" in result.stderr


def test_alembics_templates_need_no_application(
    invoke: Callable[..., Result], tmp_path: Path
) -> None:
    listed = invoke(("list_templates",), tmp_path)
    assert listed.lines[0] == "Available templates:"
    init = ("-c", "plain.ini", "init", "-t", "generic")
    made = invoke((*init, "scripts"), tmp_path)
    assert (made.status, made.stdout) == (0, "")
    assert (tmp_path / "scripts" / "env.py").is_file()
    assert (tmp_path / "plain.ini").is_file()
    again = invoke((*init, "scripts"), tmp_path)
    assert again.status == 1
    assert "already exists and is not empty" in again.stderr


def test_init_makes_what_the_first_revision_makes(
    invoke: Callable[..., Result], tmp_path: Path
) -> None:
    made = invoke(("init", "scripts"), tmp_path)
    names = ["README", "env.py", "script.py.mako"]
    assert (made.status, made.lines) == (0, [f"scripts/{name}" for name in names])
    assert made.stderr.startswith("It is found without a setting as alembic/ inside the package")
    template = REPOSITORY / "alembic_template"
    for name in names:
        assert (tmp_path / "scripts" / name).read_bytes() == (template / name).read_bytes()
    assert (tmp_path / "scripts" / "versions").is_dir()
    (tmp_path / "scripts" / "env.py").unlink()
    assert invoke(("init", "--package", "scripts"), tmp_path).lines == [
        "scripts/env.py",
        "scripts/__init__.py",
        "scripts/versions/__init__.py",
    ]
    assert invoke(("init", "scripts"), tmp_path).lines == ['"scripts" has all its files already.']


def test_init_without_a_folder_completes_the_script_directories(make_project: Any) -> None:
    project = make_project("sqlite:///%(here)s/site.sqlite".replace("%(here)s", "."))
    directory = project.folder / "alembic"
    made = project.ws("init").stdout.splitlines()
    names = ("README", "env.py", "script.py.mako")
    assert made == [f"fooapp/alembic/{name}" for name in names]
    (directory / "env.py").unlink()
    assert project.ws("init").stdout == "fooapp/alembic/env.py\n"
    nothing = "Nothing to do: each script directory has all its files.\n"
    assert project.ws("init").stdout == nothing
    refused = project.ws("init", "-t", "generic", ok=False)
    assert refused.returncode == 2
    assert "ws-alembic init --template TEMPLATE FOLDER" in refused.stderr


# A story


def test_a_site_from_empty_to_newest_and_back(
    site: Site, transactional_database_url: str, run: Any
) -> None:
    url = transactional_database_url
    site.configure(url, sections=LOGGING)
    assert site.process("status", "--fail-on=never").lines == [
        "PACKAGE  APPLIED  MESSAGE  NEWEST  PENDING",
        "addon    -        -        a300    3",
        "fooapp   -        -        f200    2",
    ]
    assert tables(url) == set()
    heading, *steps = site.process("plan").lines
    assert heading == "UPGRADE  PACKAGE  REVISION  MESSAGE               REASON"
    assert len(steps) == 4
    assert steps[1] == "2        addon    a200      Second of the add-on  required by fooapp f200"
    assert steps[3] == "4        fooapp   f200      Second                requested"
    upgraded = site.process("upgrade")
    assert re.fullmatch(r"4 steps applied in \d+\.\d\d s\.\n", upgraded.stdout)
    progress = re.findall(r"^\[.*$", upgraded.stderr, re.MULTILINE)
    assert [re.sub(r"\d\.\d\d", "T", line) for line in progress] == [
        "[1/4] addon   a100  First of the add-on (T s)",
        "[2/4] addon   a200  Second of the add-on (T s)",
        "[3/4] fooapp  f100  First of the app (T s)",
        "[4/4] fooapp  f200  Second (T s)",
    ]
    assert "INFO [" in upgraded.stderr
    assert site.process("upgrade").stdout == "Nothing to do: fooapp is at its newest revision.\n"
    assert site.process("-x", "packages=all", "current").lines == [
        "addon   a200",
        "fooapp  f200 (head)",
    ]
    assert site.process("current").lines == ["f200 (head)"]
    refused = site.process("-x", "packages=addon", "downgrade", "base")
    assert (refused.status, refused.stdout) == (1, "")
    assert '"fooapp@f200"' in refused.stderr
    assert "Traceback" not in refused.stderr
    cascaded = site.process("-x", "packages=addon", "downgrade", "base", "--cascade")
    assert re.fullmatch(r"3 steps taken back in \d+\.\d\d s\.\n", cascaded.stdout)
    assert "[1/3] downgrade fooapp  f200  Second" in cascaded.stderr
    assert site.process("-x", "packages=all", "-q", "upgrade").stdout == ""
    assert site.process("-x", "packages=all", "upgrade").stdout == (
        "Nothing to do: all packages are at their newest revision.\n"
    )
    assert {"a1", "a2", "a3", "f1", "f2"} <= tables(url)


# Results go to standard output and everything else to standard error


def test_what_others_print_does_not_get_among_the_results(site: Site) -> None:
    site.factory(
        'import os\nprint("printed by the module")\n'
        + FACTORY.replace(
            "    config = ",
            '    print("printed by the factory")\n    os.system("echo printed by a child")\n'
            "    config = ",
        )
    )
    site.configure(f"sqlite:///{site.root / 'db.sqlite'}", sections=LOGGING)
    site.workshop.script("fooapp", "f300", "f200", 'print("printed by a script")')
    result = site.process("upgrade", "--sql")
    assert result.status == 0
    for printed in ("the module", "the factory", "a child", "a script"):
        assert f"printed by {printed}" in result.stderr
        assert f"printed by {printed}" not in result.stdout
    assert "INFO [" in result.stderr
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.executescript(result.stdout)
        assert {"a1", "a2", "f1", "f2"} <= set(sa.inspect(connection).get_table_names())
    engine.dispose()


def test_quiet_leaves_only_results_and_warnings(site: Site) -> None:
    site.configure(f"sqlite:///{site.root / 'db.sqlite'}", sections=LOGGING)
    upgraded = site.process("-q", "upgrade")
    assert (upgraded.status, upgraded.stdout, upgraded.stderr) == (0, "", "")
    assert site.process("-q", "current").stdout == "f200 (head)\n"


def test_a_reader_that_has_read_enough_is_no_error(site: Site) -> None:
    script = (
        f"cd '{site.ini.parent}' && ws-alembic -x packages=all history -v | true; "
        'exit "${PIPESTATUS[0]}"'
    )
    done = site._run(["bash", "-c", script], env={"PYTHONPATH": str(site.workshop.root)})
    assert done.returncode in (0, 1)
    assert done.stderr == ""


def test_nobody_reading_the_progress_stops_no_run(site: Site) -> None:
    ours = programs_by_fork(site.root / "ours")
    words = f"{ours}/ws-alembic -x packages=all upgrade"
    script = f"cd '{site.ini.parent}' && {words} 2>&1 | true"
    site._run(["bash", "-c", script], env={"PYTHONPATH": str(site.workshop.root)})
    assert [row["pending"] for row in json.loads(site("status", "--json").stdout)] == [0, 0]


def test_the_log_has_no_list_of_parts_of_alembic(site: Site) -> None:
    site.configure(f"sqlite:///{site.root / 'db.sqlite'}", sections=LOGGING)
    script = f"cd '{site.ini.parent}' && ws-alembic upgrade --sql"
    result = site._run(["bash", "-c", script], env={"PYTHONPATH": str(site.workshop.root)})
    assert "INFO [alembic.runtime.migration]" in result.stderr
    assert "setup plugin" not in result.stderr


def test_an_interrupt_is_one_line(site: Site) -> None:
    site.factory(
        "import sys, time\n"
        + FACTORY.replace(
            "    config = ", '    print("started", flush=True)\n    time.sleep(60)\n    config = '
        )
    )
    variables = {**os.environ, "PYTHONPATH": str(site.workshop.root)}
    process = subprocess.Popen(
        [Path(sys.executable).parent / "ws-alembic", "upgrade"],
        cwd=site.ini.parent,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    assert process.stderr is not None
    while process.stderr.readline() != "started\n":
        assert process.poll() is None
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (130, "", "Interrupted.\n")


# Which INI


@pytest.mark.parametrize("words", [(), ("-c", "development.ini"), ("-c", "ws://development.ini")])
def test_the_ini_is_a_path_or_a_uri_or_the_default(site: Site, words: tuple[str, ...]) -> None:
    assert site(*words, "heads").lines == ["f200 (head)"]


def test_the_ini_may_come_from_the_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def heads() -> Result:
        monkeypatch.setenv("ALEMBIC_CONFIG", str(site.ini))
        return site("heads", cwd=tmp_path)

    assert heads().lines == ["f200 (head)"]


def test_no_ini_says_how_to_name_one(site: Site, tmp_path: Path) -> None:
    result = site("heads", cwd=tmp_path)
    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == (
        f'There is no "development.ini" in "{tmp_path}". Name the application\'s INI file: '
        "ws-alembic -c INI COMMAND, or set the environment variable ALEMBIC_CONFIG.\n"
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("-c", "missing.ini"), 1, "missing.ini' does not exist"),
        (("-c", "development.ini#other"), 1, "[app:other]"),
        (("-c", "nothing://x.ini"), 2, "The INI file cannot be read"),
        (("-c", "a.ini", "-c", "b.ini"), 2, "Only one INI file may be given"),
        (("-n", "nothing"), 2, "has no section [nothing]"),
    ],
)
def test_a_wrong_ini_is_one_message(
    site: Site, words: tuple[str, ...], status: int, said: str
) -> None:
    result = site(*words, "heads")
    assert (result.status, result.stdout) == (status, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


# The application


def test_an_application_that_raises_shows_its_own_traceback(site: Site) -> None:
    site.factory(FACTORY.replace("    config = ", '    settings["nothing"]\n    config = '))
    result = site.process("upgrade")
    assert (result.status, result.stdout) == (1, "")
    first, blank, *traceback = result.stderr.splitlines()
    assert (
        first == f'The application "call:fooapp:main" of "{site.ini.name}" did not start: KeyError.'
    )
    assert blank == ""
    assert traceback[0] == "Traceback (most recent call last):"
    assert f'File "{site.workshop.root}/fooapp/__init__.py", line 6, in main' in traceback[1]
    assert traceback[-1] == "KeyError: 'nothing'"
    assert "/pyramid/" not in result.stderr


def test_raiseerr_shows_the_whole_traceback(site: Site) -> None:
    site.factory("raise LookupError('no such luck')\n")
    result = site.process("--raiseerr", "upgrade")
    assert result.status == 1
    assert "/pyramid/paster.py" in result.stderr
    assert "LookupError: no such luck" in result.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def main(:\n", "SyntaxError"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_shown(site: Site, source: str, said: str) -> None:
    site.factory(source)
    result = site("heads")
    assert (result.status, result.stdout) == (1, "")
    assert (
        f'The application "call:fooapp:main" of "{site.ini.name}" did not start: ' in result.stderr
    )
    assert said in result.stderr
    assert str(site.workshop.root / "fooapp" / "__init__.py") in result.stderr


def test_an_application_that_is_not_there_needs_no_traceback(site: Site) -> None:
    site.ini.write_text("[app:main]\nuse = call:no_such_application:main\n")
    result = site("heads")
    assert result.status == 1
    assert result.stderr == (
        f'The application "call:no_such_application:main" of "{site.ini.name}" did not start: '
        "ModuleNotFoundError.\n\nModuleNotFoundError: No module named 'no_such_application'\n"
        "Install the project that has it into this environment: pip install -e .\n"
    )


def test_a_package_without_the_service_is_told_what_to_write(site: Site) -> None:
    left_out = FACTORY.replace('    config.include("websauna_migrate")\n', "")
    assert left_out != FACTORY
    site.factory(left_out)
    result = site("heads")
    assert result.status == 1
    assert result.stderr.endswith(
        "AttributeError: add_migration_package\n"
        'Add before that line: config.include("websauna_migrate")\n'
    )


def test_an_application_without_the_service_is_told_what_to_write(site: Site) -> None:
    site.factory(
        "from pyramid.config import Configurator\n"
        "def main(global_config, **settings):\n"
        "    return Configurator(settings=settings).make_wsgi_app()\n"
    )
    result = site("upgrade")
    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == (
        f'The application "call:fooapp:main" of "{site.ini.name}" does not include '
        'websauna_migrate. Add "config.include("websauna_migrate")" to the code that configures '
        "it.\n"
    )


def test_a_known_failure_while_the_application_starts_is_one_message(site: Site) -> None:
    site.factory(FACTORY.replace(".add_migration_package()", '.add_migration_package("nowhere")'))
    result = site("upgrade")
    assert (result.status, result.stdout) == (1, "")
    assert 'Package "nowhere" cannot be registered' in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_the_application_is_closed_whatever_happens(
    site: Site, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    closed: list[bool] = []
    original = pyramid.paster.bootstrap

    def bootstrap(uri: str) -> dict[str, Any]:
        env = dict(original(uri))
        closer = env["closer"]
        env["closer"] = lambda: (closed.append(True), closer())
        return env

    monkeypatch.setattr("pyramid.paster.bootstrap", bootstrap)
    result = site("show", "zzz" if fails else "f100")
    assert (result.status, closed) == (int(fails), [True])


# Packages


def test_the_package_around_the_directory_is_the_current_one(site: Site) -> None:
    cwd = site.workshop.root / "addon" / "alembic"
    assert site("-c", str(site.ini), "heads", cwd=cwd).lines == ["a300 (head)"]
    assert site("-x", "packages=fooapp", "-c", str(site.ini), "heads", cwd=cwd).lines == [
        "f200 (head)"
    ]


@pytest.mark.parametrize(
    ("x_args", "said"),
    [
        (["packages=fooap"], 'Did you mean "fooapp"?'),
        (["packages=addon,nope"], 'No package "nope" is registered'),
        (["packages"], '"-x packages" names no package.'),
        (["packages="], '"-x packages=" names no package.'),
    ],
)
@pytest.mark.parametrize("command", ["current", "upgrade", "ensure_version", "revision"])
def test_a_wrong_packages_argument_creates_nothing(
    site: Site, x_args: list[str], said: str, command: str
) -> None:
    words = [word for argument in x_args for word in ("-x", argument)]
    result = site(*words, command)
    assert (result.status, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (site.root / "db.sqlite").exists()


# What lies outside of a command's scope

ELSEWHERE = "addon has 3 pending steps: -x packages=all\n"


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        # The plan has the other two.
        (("plan",), "addon has 1 pending step: -x packages=all\n"),
        (("plan", "--json"), "addon has 1 pending step: -x packages=all\n"),
        (("plan", "f100"), ELSEWHERE),
        (("current",), ELSEWHERE),
        (("check",), ELSEWHERE),
        (("upgrade", "f100"), ELSEWHERE),
        (("-q", "upgrade", "f100"), ""),
        (("-x", "packages=all", "plan"), ""),
        (("-x", "packages=addon", "plan"), "fooapp has 2 pending steps: -x packages=all\n"),
        (("plan", "--downgrade", "base"), ""),
        (("status",), ""),
        (("revision", "-m", "x", "--rev-id", "f300"), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_pending_steps_of_other_packages_are_told(
    site: Site, words: tuple[str, ...], elsewhere: str
) -> None:
    result = site(*words)
    assert result.status in (0, 1, 7)
    assert "".join(line for line in result.stderr.splitlines(True) if "pending step" in line) == (
        elsewhere
    )
    if "--json" in words:
        json.loads(result.stdout)


def test_pending_steps_that_an_upgrade_left_are_told_until_they_are_applied(site: Site) -> None:
    left = "addon has 1 pending step: -x packages=all"
    assert site("upgrade").stderr.splitlines()[-1] == left
    assert site("upgrade").stderr.splitlines() == [left]
    assert site("-x", "packages=all", "upgrade").status == 0
    assert site("upgrade").stderr == ""


def test_many_other_packages_are_counted(site: Site) -> None:
    lines = ""
    for number in range(6):
        site.workshop.package(f"more{number}")
        site.workshop.script(f"more{number}", f"m{number}00")
        lines += f'    config.include("more{number}")\n'
    site.factory(FACTORY.replace("    config.add", lines + "    config.add"))
    assert site("current").stderr == (
        "addon has 3 pending steps, more0 has 1 pending step, more1 has 1 pending step, "
        "so have 4 other packages: -x packages=all\n"
    )


@pytest.mark.parametrize(
    "key", ["package", "pakages", "Packages", "packags", "PACKAGE", "package s"]
)
def test_a_key_that_is_almost_packages_is_a_mistake(site: Site, key: str) -> None:
    result = site("-x", f"{key}=all", "upgrade")
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr == f'"-x {key}=all" is not understood. Write "-x packages=all".\n'
    assert not (site.root / "db.sqlite").exists()


@pytest.mark.parametrize("key", ["tenant", "package_name", "pages", "p", "data"])
def test_other_keys_are_for_env_py(site: Site, key: str) -> None:
    assert site("-x", f"{key}=all", "heads").status == 0


@pytest.mark.parametrize("words", [("repair",), ("uninstall", "fooapp", "--yes")])
def test_all_packages_may_be_named_everywhere(site: Site, words: tuple[str, ...]) -> None:
    assert site("-x", "packages=all", *words).status == 0


# A database in memory

MEMORY = [
    ("sqlite://", ":memory:"),
    ("sqlite:///:memory:", ":memory:"),
    ("sqlite:///file::memory:?uri=true", "file::memory:"),
    ("sqlite:///file:name?mode=memory&cache=shared&uri=true", "file:name"),
    ("sqlite+pysqlite://", ":memory:"),
]


@pytest.mark.parametrize(("url", "name"), MEMORY)
@pytest.mark.parametrize(
    "words",
    [("upgrade",), ("status",), ("stamp", "heads"), ("revision", "--autogenerate", "-m", "x")],
    ids=lambda words: words[0],
)
def test_a_database_in_memory_is_refused(
    site: Site, url: str, name: str, words: tuple[str, ...]
) -> None:
    site.configure(url)
    result = site(*words)
    assert (result.status, result.stdout) == (2 if words == ("status",) else 1, "")
    assert result.stderr == (
        f'The SQLite database "{name}" is in memory: it would be empty now, and gone when the '
        "command ends. Set a file in the setting sqlalchemy.url: sqlite:////path/to/file.sqlite\n"
    )


@pytest.mark.parametrize(
    "words", [("heads",), ("history",), ("upgrade", "--sql"), ("revision", "-m", "x")]
)
def test_what_looks_at_no_database_works_beside_one_in_memory(
    site: Site, words: tuple[str, ...]
) -> None:
    site.configure("sqlite://")
    assert site(*words).status == 0


# What status says by its exit status


def half_done(site: Site) -> None:
    site.workshop.script("fooapp", "f300", "f200", 'op.execute("COMMIT")\nraise ValueError("half")')
    assert site("upgrade").status == 3


def unknown(site: Site) -> None:
    assert site("upgrade").status == 0
    with sqlite3.connect(site.root / "db.sqlite") as connection:
        connection.execute("UPDATE alembic_history_addon SET version_num = 'zzz'")
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "statuses"),
    [
        (lambda site: site("-x", "packages=all", "upgrade"), (0, 0, 0, 0)),
        (lambda site: site("upgrade"), (1, 0, 0, 0)),
        (unknown, (2, 2, 0, 0)),
        (half_done, (3, 3, 3, 0)),
        (lambda site: site.configure("postgresql://u:p@127.0.0.1:1/d"), (2, 2, 2, 2)),
    ],
    ids=["applied", "pending", "unknown", "half-done", "unreachable"],
)
def test_status_says_by_its_exit_status_where_the_packages_stand(
    site: Site, prepare: Callable[[Site], object], statuses: tuple[int, ...]
) -> None:
    prepare(site)
    assert site("status").status == statuses[0]
    levels = ("pending", "unknown", "half-done", "never")
    assert tuple(site("status", f"--fail-on={level}").status for level in levels) == statuses


def test_what_an_unknown_row_may_stand_for_is_not_pending(site: Site) -> None:
    unknown(site)
    told = json.loads(site("-x", "packages=all", "status", "--json").stdout)
    states = {one["package"]: one for one in told}
    assert (states["addon"]["unknown"], states["addon"]["pending"]) == (["zzz"], None)
    assert states["fooapp"]["pending"] == 0
    drawn = site("-x", "packages=all", "graph")
    addon, fooapp, legend = drawn.stdout.split("\n\n")
    assert drawn.status == 0 and "○" not in addon + fooapp and "✓" not in addon
    assert "? zzz  no script defines it" in addon and "? a100" in addon
    assert "? unknown" in legend
    for form in ("svg", "dot", "mermaid"):
        drawn = site("-x", "packages=all", "graph", "--format", form)
        assert "no script defines it" in drawn.stdout


def test_status_names_a_half_done_step(site: Site) -> None:
    half_done(site)
    result = site("status", "--json")
    assert {row["package"] for row in json.loads(result.stdout)} == {"addon", "fooapp"}
    assert result.stderr == "fooapp@f300 ended half done. See: ws-alembic repair\n"


def test_a_half_done_step_is_settled_in_one_way(site: Site) -> None:
    half_done(site)
    result = site("repair", "--done", "--undone")
    assert (result.status, result.stdout) == (2, "")
    assert "not allowed with argument --done" in result.stderr
    assert site("status").status == 3


def test_uninstall_names_its_package_itself(site: Site) -> None:
    assert site("-x", "packages=all", "upgrade").status == 0
    wrong = site("-x", "packages=addon", "uninstall", "fooapp")
    assert wrong.status == 2
    refused = site("uninstall", "addon")
    assert (refused.status, refused.stdout) == (1, "")
    assert site("uninstall", "--yes", "fooapp").lines == [
        "fooapp is uninstalled: 2 steps taken back, history table dropped."
    ]
    left = tables(f"sqlite:///{site.root / 'db.sqlite'}")
    assert "alembic_history_fooapp" not in left
    assert "alembic_history_addon" in left


def test_status_shows_a_package_that_was_removed(site: Site) -> None:
    assert site("-x", "packages=all", "upgrade").status == 0
    site.workshop.script("fooapp", "f200", "f100", **table("f2"), message="Second")
    site.factory(FACTORY.replace('    config.include("addon")\n', ""))
    site.workshop.forget()
    assert site("status").lines == [
        "PACKAGE  APPLIED  MESSAGE  NEWEST  PENDING",
        "fooapp   f200     Second   f200    0",
        "addon    a300     -        -       not included",
    ]


# Commands


@pytest.fixture
def upgraded(site: Site) -> Site:
    """The site with all of the app's revisions and what they require."""
    assert site("upgrade").status == 0
    return site


def test_history_is_one_timeline_of_several_packages(upgraded: Site) -> None:
    assert upgraded("-x", "packages=fooapp, addon", "history", "-i").lines == [
        "fooapp  f100 -> f200 (head) (current), Second [requires addon@a200]",
        "fooapp  <base> -> f100, First of the app",
        "addon   a200 -> a300 (head), Third of the add-on",
        "addon   a100 -> a200 (current), Second of the add-on",
        "addon   <base> -> a100, First of the add-on",
    ]
    assert upgraded("history", "-r", "f200:").lines == [
        "f100 -> f200 (head), Second [requires addon@a200]"
    ]
    assert upgraded("history", "-r", "f200").status == 2


def test_show_prints_paragraphs(upgraded: Site) -> None:
    path = upgraded.workshop.root / "fooapp" / "alembic" / "versions" / "f100.py"
    assert upgraded("show", "f100").stdout == (
        f"Rev: f100\nParent: <base>\nPath: {path}\n\n    First of the app\n\n"
    )
    assert upgraded("show", "current").stdout.startswith("Rev: f200 (head)\n")


def test_current_can_check_the_heads(upgraded: Site) -> None:
    assert upgraded("current", "--check-heads").status == 0
    behind = upgraded("-x", "packages=all", "current", "-c")
    assert behind.stdout == "addon   a200\nfooapp  f200 (head)\n"
    assert behind.status == 7
    assert behind.stderr == (
        'Package "addon" is at a200, not on all head revisions: a300.\n'
        "Run: ws-alembic -x packages=addon upgrade\n"
    )


def test_current_never_shows_a_password(site: Site, postgresql_url: str) -> None:
    site.configure(postgresql_url)
    result = site("current", "-v")
    assert ":***@" in result.lines[0]


@pytest.mark.parametrize("command", ["current", "heads", "history", "status", "plan"])
def test_programs_get_json(upgraded: Site, command: str) -> None:
    result = upgraded("-x", "packages=all", command, "--json")
    assert result.status == (1 if command == "status" else 0)
    found = json.loads(result.stdout)
    assert found


@pytest.mark.parametrize("stamped", ["head", "f100"])
def test_a_head_and_its_ancestor_as_rows_are_stamped_as_one(upgraded: Site, stamped: str) -> None:
    """As somebody leaves them who copies rows by hand."""
    two_rows(upgraded)
    left = "f100" if stamped == "f100" else "f200"
    assert upgraded("stamp", stamped).lines == [f"fooapp  f100, f200 -> {left}"]


def test_a_head_and_its_ancestor_as_rows_are_no_fork(upgraded: Site) -> None:
    two_rows(upgraded)
    assert upgraded("downgrade", "-1").status == 0
    assert upgraded("current").lines[0].startswith("f100")
    with sqlite3.connect(upgraded.root / "db.sqlite") as connection:
        found = connection.execute("SELECT version_num FROM alembic_history_fooapp").fetchall()
    connection.close()
    assert found == [("f100",)]


def two_rows(site: Site) -> None:
    with sqlite3.connect(site.root / "db.sqlite") as connection:
        connection.execute("INSERT INTO alembic_history_fooapp VALUES ('f100')")
    connection.close()


def test_stamp_says_what_it_changed(site: Site) -> None:
    assert site("stamp", "f100").lines == ["fooapp  <base> -> f100"]
    assert site("stamp", "f100").lines == ["Nothing to do: the history tables say so already."]
    assert site("stamp", "heads", "--with-requirements").lines == [
        "addon  <base> -> a200",
        "fooapp  f100 -> f200",
    ]
    assert site("stamp", "base", "--purge").lines == ["fooapp  f200 -> <base>"]


def test_ensure_version_makes_the_history_table(site: Site) -> None:
    result = site("ensure_version")
    assert (result.status, result.stdout) == (0, "")
    assert "alembic_history_fooapp" in tables(f"sqlite:///{site.root / 'db.sqlite'}")


def test_revision_prints_the_path_of_the_script_alone(site: Site) -> None:
    site.configure(
        f"sqlite:///{site.root / 'db.sqlite'}",
        sections="[alembic]\nfile_template = new_%%(rev)s\n"
        "[post_write_hooks]\nhooks = say\nsay.type = exec\nsay.executable = echo\n"
        "say.options = printed by the hook\n",
    )
    result = site.process("revision", "-m", "New", "--rev-id", "f300", "--requires", "addon@a300")
    path = site.workshop.root / "fooapp" / "alembic" / "versions" / "new_f300.py"
    assert result.lines == [str(path)]
    assert "printed by the hook" in result.stderr
    assert "addon@a300" in path.read_text()
    assert site("-x", "packages=all", "history", "-r", "f300:").lines == [
        "fooapp  f200 -> f300 (head), New [requires addon@a300]"
    ]


MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass


class F1(Base):
    __tablename__ = "f1"
    id = sa.Column(sa.Integer, primary_key=True)


class F2(Base):
    __tablename__ = "f2"
    id = sa.Column(sa.Integer, primary_key=True)
"""


def test_check_and_autogenerate_tell_of_changes_or_of_none(upgraded: Site) -> None:
    models = upgraded.workshop.root / "fooapp" / "models.py"
    models.write_text(MODELS)
    upgraded.factory(FACTORY.replace("_package()", '_package(metadata="fooapp.models.Base")'))
    upgraded.workshop.forget()
    assert upgraded("check").lines == ["No new upgrade operations detected."]
    assert json.loads(upgraded("check", "--json").stdout) == {"ok": True, "problems": []}
    assert upgraded("revision", "--autogenerate").lines == ["No changes: no script was written."]
    for words in (("check", "--full"), ("revision", "--autogenerate", "--full")):
        result = upgraded(*words)
        assert (result.status, result.stderr.count("--full has no meaning any more")) == (0, 1)
    models.write_text(MODELS + "    note = sa.Column(sa.String(5))\n")
    upgraded.workshop.forget()
    changed = upgraded("check")
    assert changed.status == 8
    assert "note" in changed.stdout
    assert not json.loads(upgraded("check", "--json").stdout)["ok"]
    (path,) = upgraded("revision", "--autogenerate", "-m", "Adding a note").lines
    assert Path(path).read_text().startswith('"""Adding a note\n')
    assert upgraded("upgrade").status == 0
    assert upgraded("check").status == 0


@pytest.mark.parametrize(
    "words",
    [
        ("history",),
        ("history", "-v"),
        ("history", "-r", "a100:b300"),
        ("heads",),
        ("heads", "-v"),
        ("heads", "--resolve-dependencies"),
        ("branches",),
        ("branches", "-v"),
        ("show", "b300"),
        ("show", "heads"),
    ],
    ids=" ".join,
)
def test_one_package_is_described_as_alembic_does(site: Site, words: tuple[str, ...]) -> None:
    script = site.workshop.script
    script("addon", "b100", "a300", labels="left")
    script("addon", "b200", "a300", labels="right", message="Two\nlines\n\nand more")
    script("addon", "b300", ("b100", "b200"), message="Merged")
    script("addon", "c100", depends_on="b300")
    script("addon", "c200", "c100", depends_on=["left", "a100"])
    script("addon", "d100")
    ours = site("-x", "packages=addon", *words)
    config = alembic.config.Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(site.workshop.root / "addon" / "alembic"))
    config.set_main_option("path_separator", "os")
    line = alembic.config.CommandLine()
    line.run_cmd(config, line.parser.parse_args(words))
    theirs = config.stdout.getvalue()
    separator = "Rev: " if "-v" in words or "show" in words else "\n"
    assert theirs.strip()
    # Alembic keeps labels, heads and branches in sets: their order differs from run to run.
    assert sorted(map(sorted_names, ours.stdout.split(separator))) == sorted(
        map(sorted_names, theirs.split(separator))
    )


def sorted_names(text: str) -> str:
    """Return a text in which names between commas or on lines with arrows are sorted."""
    lines = [
        re.sub(r"\w+(, \w+)+", lambda names: ", ".join(sorted(names[0].split(", "))), line)
        for line in text.splitlines()
    ]
    return "\n".join(sorted(lines))


def test_merge_prints_the_path_of_the_script(site: Site) -> None:
    site.workshop.script("fooapp", "f201", "f100")
    result = site("merge", "heads", "-m", "Both", "--rev-id", "f300")
    (path,) = result.lines
    assert Path(path).parent.parent.parent.name == "fooapp"
    assert site("heads").lines == ["f300 (head)"]


def test_branches_are_printed(site: Site) -> None:
    site.workshop.script("fooapp", "f201", "f100")
    assert site("branches").lines == [
        "f100 (branchpoint)",
        "     -> f200 (head)",
        "     -> f201 (head)",
        "",
    ]


def test_edit_gives_the_terminal_to_the_editor(site: Site) -> None:
    editor = site.root / "editor"
    editor.write_text("#!/bin/sh\necho editing $1\n")
    editor.chmod(0o755)
    result = site.process("edit", "f100", EDITOR=str(editor))
    path = site.workshop.root / "fooapp" / "alembic" / "versions" / "f100.py"
    assert result.lines == [f"editing {path}"]
    assert site.process("edit", "current", EDITOR=str(editor)).stderr == (
        '"current" indicates no revision of package fooapp. '
        '"ws-alembic history" lists what there is.\n'
    )


@pytest.mark.parametrize(
    "words",
    [
        ("upgrade", "f100:f200"),
        ("downgrade", "f200:f100"),
        ("downgrade", "f100", "--sql"),
        ("revision", "--sql"),
        ("stamp", "heads", "--sql", "--purge"),
        ("uninstall", "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(upgraded: Site, words: tuple[str, ...]) -> None:
    result = upgraded(*words)
    assert (result.status, result.stdout) == (2, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_history_tables_as_sql_can_be_run(upgraded: Site, sqlite_url: str, tmp_path: Path) -> None:
    stamp = upgraded("stamp", "f100", "--sql")
    assert (stamp.status, stamp.stderr) == (0, "")
    assert "BEGIN;" in stamp.stdout and "COMMIT;" in stamp.stdout
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.executescript(stamp.stdout)
    found = connection.execute("SELECT version_num FROM alembic_history_fooapp").fetchall()
    assert found == [("f100",)]
    forward = upgraded("stamp", "f100:f200", "--sql").stdout
    connection.executescript(forward)
    found = connection.execute("SELECT version_num FROM alembic_history_fooapp").fetchall()
    assert found == [("f200",)]
    connection.close()
    tables = upgraded("-x", "packages=all", "ensure_version", "--sql").stdout
    assert tables.count("CREATE TABLE alembic_history_") == 2


def test_downgrade_as_sql(upgraded: Site) -> None:
    result = upgraded("downgrade", "f200:f100", "--sql")
    assert result.status == 0
    assert "DROP TABLE f2;" in result.stdout
    assert "DROP TABLE f1;" not in result.stdout


def test_x_arguments_reach_the_scripts(site: Site) -> None:
    site.workshop.script(
        "fooapp",
        "f300",
        "f200",
        "from alembic import context\n"
        'op.create_table(context.get_x_argument(as_dictionary=True)["table"],'
        ' sa.Column("id", sa.Integer))',
    )
    assert site("-x", "table=named", "upgrade").status == 0
    assert "named" in tables(f"sqlite:///{site.root / 'db.sqlite'}")


def test_a_failing_script_names_itself_and_leaves_a_status(site: Site) -> None:
    site.workshop.script("fooapp", "f300", "f200", 'op.execute("SELECT * FROM nowhere")')
    result = site("upgrade")
    assert (result.status, result.stdout) == (6, "")
    assert '"f300"' in result.stderr
    assert '"fooapp"' in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("words", [("upgrade",), ("upgrade", "--sql")])
def test_a_script_that_exits_does_not_make_a_command_succeed(
    site: Site, words: tuple[str, ...]
) -> None:
    site.workshop.script("fooapp", "f300", "f200", "raise SystemExit(0)")
    result = site.process(*words)
    assert result.status not in (0, None)
    assert result.stderr


def test_a_database_that_is_down_is_one_message(site: Site) -> None:
    site.configure("postgresql://me:secret%%40@127.0.0.1:1/db")
    result = site("current")
    assert (result.status, result.stdout) == (5, "")
    assert "127.0.0.1" in result.stderr
    assert "secret" not in result.stderr
    assert "Traceback" not in result.stderr
