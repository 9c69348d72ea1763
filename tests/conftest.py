"""Fixtures for every test: databases of real servers, processes, and environments to install into.

``WEBSAUNA_MIGRATE_REQUIRE=sqlite,postgresql,mariadb`` in the environment makes a database that
cannot be had, or that no test used, a failure. Otherwise its tests are skipped, and the summary at
the end says so.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import hashlib
import io
import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import venv
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from site import getsitepackages
from typing import IO, Any, NoReturn

import pytest
import sqlalchemy as sa
from hypothesis import settings

from apps import workshop  # noqa: F401 - a fixture of all tests
from databases import MariaDBServer, PostgreSQLServer, Unavailable, start_mariadb, start_postgresql
from fast_folder import choose_folder, short_folder
from fork_server import ask
from projects import make_project  # noqa: F401
from read_once import read_once

REPOSITORY = Path(__file__).resolve().parent.parent

PRODUCTS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}

#: What a developer's own shell says about databases must not lead a test to them.
FOREIGN_VARIABLES = re.compile(r"ALEMBIC_CONFIG|PG[A-Z]+|MYSQL_.*|MARIADB_.*|PYTHON(PATH|WARNINGS)")

settings.register_profile(
    "websauna_migrate",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
settings.load_profile("websauna_migrate")
read_once()
choose_folder()
gc.disable()


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own, for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "websauna_migrate"


# Which databases were tested


@dataclass
class Tested:
    """The databases that tests of this process used, and those that could not be had."""

    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def update(self, other: Tested) -> None:
        self.versions.update(other.versions)
        self.missing.update(other.missing)


TESTED = pytest.StashKey[Tested]()


def required() -> list[str]:
    """Return the keys of the databases that must be tested."""
    words = re.split(r"[\s,]+", os.environ.get("WEBSAUNA_MIGRATE_REQUIRE", "").lower())
    unknown = sorted(set(words) - {"", *PRODUCTS})
    if unknown:
        raise pytest.UsageError(
            f"WEBSAUNA_MIGRATE_REQUIRE: unknown database {unknown[0]!r}; "
            f"known are {', '.join(PRODUCTS)}"
        )
    return [key for key in PRODUCTS if key in words]


def not_tested(tested: Tested) -> dict[str, str]:
    """Return the reason for every database that no test has used."""
    return {
        key: tested.missing.get(key, "no selected test needs it")
        for key in PRODUCTS
        if key not in tested.versions
    }


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TESTED] = Tested()
    required()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let nothing of the modules that tests make be kept, and the collector look at them alone.

    A module that is written anew within the same second would be taken for the one before. The
    collector of reference cycles would look through all other modules again and again.
    """
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of pytest-xdist has tested."""
    output = getattr(node, "workeroutput", None)
    if output and "databases" in output:
        node.config.stash[TESTED].update(Tested(*output["databases"]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    tested = session.config.stash[TESTED]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["databases"] = (tested.versions, tested.missing)
    elif (
        session.exitstatus == pytest.ExitCode.OK
        and not session.config.option.collectonly
        and not_tested(tested).keys() & set(required())
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.option.collectonly:
        return
    tested = config.stash[TESTED]
    names = [
        f"{PRODUCTS[key]} {tested.versions[key]}" for key in PRODUCTS if key in tested.versions
    ]
    terminalreporter.write_line(f"databases tested: {', '.join(names) or 'none'}")
    for key, reason in not_tested(tested).items():
        terminalreporter.write_line(
            f"database not tested{', but required' if key in required() else ''}: "
            f"{PRODUCTS[key]} ({reason.splitlines()[0]})",
            yellow=True,
        )


# Servers


def give_up(config: pytest.Config, key: str, reason: str) -> None:
    """Skip the test that needs a database, or fail it where the database is required."""
    config.stash[TESTED].missing[key] = reason
    if key in required():
        pytest.fail(f"{PRODUCTS[key]} is required, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgresql_server(pytestconfig: pytest.Config) -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server: ``host port user password socket_dir bin_dir``, and ``url_of(name)``."""
    try:
        server = start_postgresql()
    except Unavailable as exc:
        give_up(pytestconfig, "postgresql", str(exc))
        raise
    pytestconfig.stash[TESTED].versions["postgresql"] = server.version
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb_server(pytestconfig: pytest.Config) -> Iterator[MariaDBServer]:
    """A MariaDB server: ``host port user password socket bin_dir``, and ``url_of(name)``."""
    try:
        server = start_mariadb()
    except Unavailable as exc:
        give_up(pytestconfig, "mariadb", str(exc))
        raise
    pytestconfig.stash[TESTED].versions["mariadb"] = server.version
    yield server
    server.stop()


# Databases: each test has one of its own


@pytest.fixture
def sqlite_url(tmp_path: Path, pytestconfig: pytest.Config) -> str:
    """The URL of a SQLite file that does not exist yet."""
    pytestconfig.stash[TESTED].versions["sqlite"] = sqlite3.sqlite_version
    return f"sqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    """The URL of an empty database, as a superuser whose password needs quoting."""
    url = postgresql_server.create_database()
    yield url
    postgresql_server.drop_database(url)


@pytest.fixture
def mariadb_url(mariadb_server: MariaDBServer) -> Iterator[str]:
    """The URL of an empty database, as a user who may do everything."""
    url = mariadb_server.create_database()
    yield url
    mariadb_server.drop_database(url)


@pytest.fixture(params=list(PRODUCTS))
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, on each product in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def transactional_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, on each product whose DDL can be rolled back."""
    return str(request.getfixturevalue(f"{request.param}_url"))


# Processes

Run = Callable[..., "subprocess.CompletedProcess[Any]"]

#: What changes how an interpreter begins, so that a fork of another one will not do.
AT_THE_START = re.compile(r"PYTHON(?!PATH$|DONTWRITEBYTECODE$).*|LANG|LC_.*|TZ")


@functools.cache
def fork_server(module: str, python: str) -> str:
    """Start a process that forks for each command of a module, and return its socket's path.

    :param python: that of the environment in which the module is installed
    """
    folder = tempfile.mkdtemp(prefix="forks-", dir=short_folder())
    program = [python, str(Path(__file__).parent / "fork_server.py"), f"{folder}/{module}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, cwd=folder)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"

    def stop(stdin: IO[str] = process.stdin) -> None:
        stdin.close()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(stop)
    return program[-1]


def server_of_forks(words: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """Return the socket of the process that forks for a command; none, where that will not do.

    Only the ``ws-`` scripts of an environment, and this Python's ``-m alembic``, are run so.
    """
    path = Path(words[0])
    python = path.with_name("python")
    plain = [*words[:3]] == [sys.executable, "-m", "alembic"]
    own = path.name.startswith("ws-") and python.exists()
    here = {key: value for key, value in os.environ.items() if AT_THE_START.fullmatch(key)}
    there = {key: value for key, value in variables.items() if AT_THE_START.fullmatch(key)}
    if not (own or plain) or here != there:
        return None
    module, python = ("alembic", path) if plain else ("websauna_migrate", python)
    return fork_server(module, str(python))


def run_process(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
    input: str | bytes | None = None,
    timeout: float = 120,
    text: bool = True,
    by_fork: bool = True,
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end and return what it printed, whatever its exit status is.

    The console scripts of this Python are found by name. Without ``input`` its standard input is
    empty.

    :param env: variables on top of this process's; ``None`` takes one away. What the developer's
        shell says about databases (``PGHOST`` ...) is not passed on.
    :param timeout: seconds; then the program and its children are killed, and the test fails with
        what they had printed
    :param text: ``False`` gives and takes bytes
    :param by_fork: ``False`` has console scripts started as a shell does
    """
    variables = {k: v for k, v in os.environ.items() if not FOREIGN_VARIABLES.fullmatch(k)}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    for key, value in (env or {}).items():
        if value is None:
            variables.pop(key, None)
        else:
            variables[key] = value
    words = [os.fspath(word) for word in argv]
    # The child's own PATH, not ours, decides which program is meant.
    words[0] = shutil.which(words[0], path=variables.get("PATH")) or words[0]
    server = server_of_forks(words, variables) if by_fork else None
    if server is not None:
        return run_by_fork(server, words, str(cwd or Path.cwd()), variables, input, timeout, text)
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8" if text else None,
        start_new_session=True,
    )
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException as exc:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            fail_late(words, timeout, stdout, stderr)
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def run_by_fork(
    server: str,
    words: list[str],
    folder: str,
    variables: Mapping[str, str],
    input: str | bytes | None,
    timeout: float,
    text: bool,
) -> subprocess.CompletedProcess[Any]:
    """Run a program by a fork of a server; its streams are files."""

    def read(stream: IO[bytes]) -> Any:
        stream.seek(0)
        said = stream.read()
        return io.TextIOWrapper(io.BytesIO(said), encoding="utf-8").read() if text else said

    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(input.encode() if isinstance(input, str) else input or b"")
        stdin.seek(0)
        streams = [stream.fileno() for stream in (stdin, stdout, stderr)]
        try:
            status = ask(server, words, folder, variables, streams, timeout)
        except TimeoutError:
            fail_late(words, timeout, read(stdout), read(stderr))
        return subprocess.CompletedProcess(words, status, read(stdout), read(stderr))


def fail_late(words: list[str], timeout: float, stdout: object, stderr: object) -> NoReturn:
    """Fail a test whose program did not end."""
    pytest.fail(
        f"{words} did not end within {timeout} s\nstdout:\n{stdout}\nstderr:\n{stderr}",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def run() -> Run:
    """``run(argv, cwd=, env=, input=, timeout=120, text=True, by_fork=True)``: ``run_process``."""
    return run_process


# Environments


@dataclass(frozen=True)
class Environment:
    """A virtual environment into which the project was installed as its users install it."""

    root: Path

    def program(self, name: str) -> Path:
        """Return the path of a console script."""
        return self.root / "bin" / name

    @property
    def python(self) -> Path:
        return self.program("python")

    @property
    def site_packages(self) -> Path:
        return next((self.root / "lib").glob("python*/site-packages"))


def pip(*words: str | os.PathLike[str]) -> None:
    """Run this Python's pip without any network."""
    result = run_process(
        [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *words],
        env={"PIP_NO_INDEX": "1"},
        timeout=300,
    )
    assert result.returncode == 0, f"pip {words}\n{result.stdout}\n{result.stderr}"


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of a copy of a source tree, which stays as it was, and return its path."""
    from build import ProjectBuilder
    from pyproject_hooks import quiet_subprocess_runner

    target.mkdir(parents=True, exist_ok=True)
    copy = target / f"source of {source.name}"
    ignored = shutil.ignore_patterns(
        ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "*.sqlite"
    )
    shutil.copytree(source, copy, ignore=ignored)
    # What pip does without isolation, in one process. Setuptools warns of its own settings.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Path(ProjectBuilder(copy, runner=quiet_subprocess_runner).build("wheel", target))


def link_dependencies(target: Path) -> Path:
    """Make a directory of links to what is installed in this Python, and return it.

    Only what came from a package index is linked: the project itself and its examples are in this
    Python too, and whoever looks for their entry points must not find two of each.
    """
    target.mkdir()
    for site_packages in map(Path, getsitepackages()):
        local = {
            path.parts[0]
            for distribution in distributions(path=[str(site_packages)])
            if "dir_info" in json.loads(distribution.read_text("direct_url.json") or "{}")
            for path in distribution.files or ()
        }
        for path in site_packages.iterdir():
            if path.name not in local and path.suffix != ".pth":
                (target / path.name).symlink_to(path)
    return target


def install_into(
    environment: Environment, wheels: Sequence[Path], like: Environment | None = None
) -> None:
    """Make an environment, and install wheels into it.

    :param like: an environment that has the project alone, which is taken over as it is there
    """
    venv.create(environment.root, symlinks=True)
    if like is not None:
        shutil.copytree(like.site_packages, environment.site_packages, dirs_exist_ok=True)
        for script in like.program("").glob("ws-*"):
            text = script.read_text(encoding="utf-8").replace(str(like.root), str(environment.root))
            environment.program(script.name).write_text(text, encoding="utf-8")
            shutil.copymode(script, environment.program(script.name))
    if wheels:
        pip("--python", environment.python, "install", "--quiet", "--no-deps", *wheels)
    dependencies = link_dependencies(environment.root / "dependencies")
    path = environment.site_packages / "dependencies.pth"
    path.write_text(f"{dependencies}\n", encoding="utf-8")


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Let one process at a time make a folder; tell whether it was made."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder.with_name(f"{folder.name}.made")
        yield made.exists()
        made.touch()


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of pytest-xdist together."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def wheel_of(of_all_workers: Path) -> Callable[[Path], Path]:
    """Builds the wheel of a source tree, once for each."""

    @functools.cache
    def build(source: Path) -> Path:
        folder = of_all_workers / f"wheel {digest_of(source)}"
        with alone(folder) as is_there:
            return next(folder.glob("*.whl")) if is_there else build_wheel(source, folder)

    return build


def digest_of(*paths: Path) -> str:
    """Return a short digest of paths."""
    return hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()[:16]


@pytest.fixture(scope="session")
def wheel(wheel_of: Callable[[Path], Path]) -> Path:
    """The project's wheel, built from this checkout."""
    return wheel_of(REPOSITORY)


@pytest.fixture(scope="session")
def installed_venv(
    wheel: Path, wheel_of: Callable[[Path], Path], of_all_workers: Path
) -> Callable[..., Environment]:
    """``installed_venv(*package_dirs)``: an :class:`Environment` in a directory with spaces.

    The project's wheel and those of the packages are installed into it, not editable. Their
    dependencies are those of the Python that runs the tests. The same packages give the same
    environment: do not change it.
    """

    def create(*package_dirs: str | os.PathLike[str]) -> Environment:
        sources = sorted(Path(directory).resolve() for directory in package_dirs)
        folder = of_all_workers / f"an environment {digest_of(*sources)}"
        environment = Environment(folder / "with spaces in its name")
        like = create() if sources else None
        with alone(folder) as is_there:
            if not is_there:
                wheels = [wheel_of(source) for source in sources] or [wheel]
                install_into(environment, wheels, like)
        return environment

    return create


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """A connection to an SQLite database in memory."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def comparators_apart() -> Iterator[None]:
    """Take back what a plugin compares besides Alembic, and would in all other tests."""
    from alembic.autogenerate import comparators

    found = comparators._registry
    before = {key: list(functions) for key, functions in found.items()}
    yield
    found.clear()
    found.update(before)
    plugins = {"alembic_utils", "alembic_postgresql_enum"}
    for name in [name for name in sys.modules if name.partition(".")[0] in plugins]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def loggers_stay() -> Iterator[None]:
    """Let loggers work in the next test too: ``fileConfig`` under plain Alembic turns them off."""
    yield
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("websauna_migrate") and isinstance(logger, logging.Logger):
            logger.disabled = False
