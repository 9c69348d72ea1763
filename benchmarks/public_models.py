"""Models that nobody wrote for us: first scripts of public packages, beside their ``create_all``.

``python benchmarks/public_models.py [NAME ...]``: each package is installed from PyPI into an
environment of its own, kept below ``build/public``; a package that cannot be had is said to be so.
On each database that its own ``create_all`` takes: the first script is written, proved and applied;
the server's words are those of ``create_all``; ``check`` finds nothing on either; the way back
leaves nothing. The exit status is 1 if anything is not so. ``--write`` writes the page of results,
``docs/public-models.rst``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from report import Report, machine  # noqa: E402

from databases import Server, start_mariadb, start_postgresql  # noqa: E402

TRIP = REPOSITORY / "tests" / "public_trip.py"
TIMEOUT_S = 600


@dataclass(frozen=True)
class PublicModels:
    """Models of a public package.

    :ivar name: the package that registers them
    :ivar install: what pip is told, with spaces between
    :ivar source: sets ``metadata``
    """

    name: str
    install: str
    source: str


WALK = """
import importlib, pkgutil, {package} as package
for module in pkgutil.iter_modules(package.__path__, "{package}."):
    importlib.import_module(module.name)
"""

KEYSTONE = """
import contextlib, importlib, pkgutil, keystone
from keystone.common.sql import ModelBase
for module in pkgutil.walk_packages(keystone.__path__, "keystone."):
    if "backends.sql" in module.name or module.name.endswith(".sql"):
        importlib.import_module(module.name)
metadata = ModelBase.metadata
"""

DAGSTER = """
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata as events
from dagster._core.storage.runs.schema import RunStorageSqlMetadata as runs
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata as schedules
metadata = runs
for more in (events, schedules):
    for table in more.sorted_tables:
        if table.name not in runs.tables:
            table.to_metadata(runs)
"""

AIRFLOW = """
from airflow.models import import_all_models
from airflow.models.base import Base
import_all_models()
metadata = Base.metadata
"""


def base(module: str, name: str = "Base") -> str:
    """Return a source that takes the ``MetaData`` of a declarative base."""
    return f"from {module} import {name} as base\nmetadata = base.metadata"


PUBLIC = (
    PublicModels("airflow", "apache-airflow-core", AIRFLOW),
    PublicModels(
        "aiida",
        "aiida-core",
        WALK.format(package="aiida.storage.psql_dos.models")
        + base("aiida.storage.psql_dos.models.base"),
    ),
    PublicModels("barbican", "barbican", base("barbican.model.models", "BASE")),
    PublicModels("buildbot", "buildbot", base("buildbot.db.model", "Model")),
    PublicModels("cinder", "cinder", base("cinder.db.models", "BASE")),
    PublicModels("dagster", "dagster", DAGSTER),
    PublicModels(
        "flask_appbuilder",
        "flask-appbuilder",
        "import flask_appbuilder.security.sqla.models\n"
        + base("flask_appbuilder.models.sqla", "Model"),
    ),
    PublicModels("galaxy", "galaxy-data", base("galaxy.model", "mapper_registry")),
    PublicModels("jupyterhub", "jupyterhub", base("jupyterhub.orm")),
    PublicModels("keystone", "keystone", KEYSTONE),
    PublicModels(
        "mailman",
        "mailman",
        WALK.format(package="mailman.model") + base("mailman.database.model", "Model"),
    ),
    PublicModels("nova", "nova", base("nova.db.main.models", "BASE")),
    PublicModels("nova.db.api", "nova", base("nova.db.api.models", "BASE")),
    PublicModels("optuna", "optuna", base("optuna.storages._rdb.models", "BaseModel")),
    PublicModels("phoenix", "arize-phoenix", base("phoenix.db.models")),
    PublicModels(
        "placement", "openstack-placement", base("placement.db.sqlalchemy.models", "BASE")
    ),
    PublicModels(
        "privacyidea", "privacyidea", "from privacyidea.models import db\nmetadata = db.metadata"
    ),
)


def main() -> int:
    """Send the packages through, and say what became of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--databases", default="sqlite,postgresql,mariadb")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "public")
    parser.add_argument("--write", action="store_true", help="write docs/public-models.rst")
    given = parser.parse_args()
    chosen = [one for one in PUBLIC if not given.names or one.name in given.names]
    with servers(given.databases.split(",")) as running:
        rows = [row for models in chosen for row in journeys(models, given.folder, running)]
        versions = [f"{s.name} {s.version}" for s in running.values() if s]
    if given.write:
        write(rows, machine(*versions))
    return int(any(bad for *_, bad in rows))


Row = tuple[str, str, str, str, bool]


def journeys(
    models: PublicModels, folder: Path, running: dict[str, Server | None]
) -> Iterator[Row]:
    """Yield for each database what became of it: package, version, database, result, a fault."""
    python = environment_of(models, folder)
    if python is None:
        print(f"{models.name}: cannot be installed")
        yield models.name, "", "", "cannot be installed", False
        return
    for product, server in running.items():
        with tempfile.TemporaryDirectory() as root, databases(server, Path(root)) as urls:
            dump = str(Path(str(server.bin_dir)) / "pg_dump") if product == "postgresql" else ""
            words = [python, str(TRIP), models.name, models.source, *urls, f"{root}/alembic", dump]
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env={"PATH": os.environ["PATH"], "HOME": root, "XDG_CACHE_HOME": root},
                cwd=root,
            )
        count, _, found = done.stdout.partition("\n")
        count = f"{count} tables"
        found = found.strip() or (done.stderr.strip() if done.returncode else "")
        refused = found.startswith("create_all:")
        print(f"{models.name} on {product}: {found or count + ' equal'}", flush=True)
        if refused:
            result = "its own create_all fails there"
        else:
            result = f"{len(found.splitlines())} differences" if found else f"{count}, equal"
        yield models.name, version_of(python, models), product, result, bool(found) and not refused


def environment_of(models: PublicModels, folder: Path) -> str | None:
    """Return the Python of the package's environment; ``None`` if pip does not find it all."""
    root = (folder / models.install.split()[0]).resolve()
    python = root / "bin" / "python"
    if not (root / "complete").exists():
        print(f"installing {models.install} ...", file=sys.stderr)
        venv.create(root, with_pip=True, clear=True)
        ours = ["-e", f"{REPOSITORY}[postgresql-binary,mysql]"]
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        if subprocess.run([*install, *ours, *models.install.split()]).returncode:
            return None
        (root / "complete").touch()
    return str(python)


def version_of(python: str, models: PublicModels) -> str:
    """Return the version of a package's distribution."""
    distribution = models.install.split()[0]
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{distribution} {done.stdout.strip()}"


@contextlib.contextmanager
def servers(products: list[str]) -> Iterator[dict[str, Server | None]]:
    running: dict[str, Server | None] = {}
    starts = {"postgresql": start_postgresql, "mariadb": start_mariadb}
    try:
        for product in products:
            running[product] = starts[product]() if product in starts else None
        yield running
    finally:
        for server in running.values():
            if server:
                server.stop()


@contextlib.contextmanager
def databases(server: Server | None, root: Path) -> Iterator[list[str]]:
    """Give the URLs of two empty databases."""
    if server is None:
        yield [f"sqlite:///{root}/{name}.sqlite" for name in ("expected", "found")]
        return
    urls = [server.create_database() for _ in range(2)]
    yield urls
    for url in urls:
        server.drop_database(url)


def write(rows: list[Row], where: str) -> None:
    """Write the page of results."""
    report = Report(
        "Models of public packages",
        f"Tried by ``python benchmarks/public_models.py --write`` on {where} Each package is "
        "installed as it is. Its first script is written, proved and applied; the server's own "
        "words (``sqlite_master``, ``pg_dump -s``, ``SHOW CREATE``) are then those of "
        "``create_all``; ``check`` and a second ``revision --autogenerate`` find nothing, on the "
        "database of the script and on that of ``create_all``; the way back leaves nothing.",
    )
    report.begin()
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, version, product, result, _ in rows:
        found.setdefault((name, version), {})[product] = result
    report.table(
        ["models of", "version", "SQLite", "PostgreSQL", "MariaDB"],
        [
            [name, version, *(of.get(p, "") for p in ("sqlite", "postgresql", "mariadb"))]
            for (name, version), of in found.items()
        ],
    )
    report.end("models")
    report.write(REPOSITORY / "docs" / "public-models.rst", ["models"])


if __name__ == "__main__":
    sys.exit(main())
