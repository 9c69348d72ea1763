"""Models of a public package: their first script, and whether it says what ``create_all`` says.

NAME MODELS URL URL FOLDER [PG_DUMP]: the package's name, a Python source that sets ``metadata``,
two empty databases, a folder for the script and, for PostgreSQL, its dump program. Standard output
gets the number of tables, then what is not as it should be; what the package prints goes to
standard error.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyramid.config import Configurator
from sqlalchemy.engine import URL, Connection, make_url

from websauna_migrate.interfaces import IMigrationService

# What the package warns of is its own.
warnings.simplefilter("ignore")

#: Names that a database chooses otherwise than a script does, and what SQLite keeps of a text.
CHOSEN = {
    "mysql": r"(?:CONSTRAINT `[^`]+` (?=FOREIGN|CHECK)|(?<=KEY )`[^`]+` (?=\())",
    "sqlite": r"""[\s"]""",
}


def main(name: str, source: str, *rest: str) -> None:
    """Send the models there and back."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    there: dict[str, Any] = {}
    exec(source, there)
    trip = Trip(name, there["metadata"], *rest)
    print(len(trip.metadata.tables), file=results)
    try:
        for problem in trip.problems():
            print(problem, file=results)
    except Exception as exc:
        print(f"{trip.stage}: {type(exc).__name__}: {exc}", file=results)
    results.close()


class Trip:
    """Two databases with one package's models: by ``create_all``, and by a script."""

    def __init__(
        self,
        name: str,
        metadata: sa.MetaData,
        expected: str,
        url: str,
        folder: str,
        dump: str = "",
    ) -> None:
        self.name = name
        self.metadata = metadata
        self.expected = expected
        self.url = url
        self.folder = Path(folder)
        self.dump = dump
        self.stage = "create_all"

    def problems(self) -> Iterator[str]:
        """Yield what is not as it should be."""
        self.create_all()
        self.stage = "first script"
        service = self.service(self.url)
        service.revision("first", autogenerate=True)
        before = self.words(self.url)
        self.stage = "upgrade"
        service.upgrade()
        yield from self.quiet("check after upgrade", service)
        self.stage = "comparison"
        found, wanted = self.words(self.url), self.words(self.expected)
        yield from (f"only create_all: {one}" for one in sorted(wanted - found))
        yield from (f"only the script: {one}" for one in sorted(found - wanted))
        self.stage = "check after create_all"
        service = self.service(self.expected)
        service.stamp("heads")
        yield from self.quiet("check after create_all", service)
        self.stage = "downgrade"
        service = self.service(self.url)
        service.downgrade("base")
        left = self.words(self.url) - before
        yield from (f"after downgrade: {one}" for one in sorted(left))

    def quiet(self, when: str, service: Any) -> Iterator[str]:
        for problem in service.check().problems:
            yield f"{when}: {problem.message}"
        for script in service.revision("again", autogenerate=True, prove="off"):
            yield f"{when}: a script again:\n{Path(script.path).read_text()}"
            Path(script.path).unlink()

    def create_all(self) -> None:
        with engine_of(self.expected) as connection:
            schemas = {t.schema for t in self.metadata.tables.values() if t.schema}
            for schema in sorted(schemas - {"public"}):
                connection.execute(sa.schema.CreateSchema(schema))
            self.metadata.create_all(connection)

    def service(self, url: str) -> Any:
        config = Configurator(settings={"sqlalchemy.url": url})
        config.include("websauna_migrate")
        config.add_migration_package(
            self.name, metadata=self.metadata, script_location=str(self.folder)
        )
        config.commit()
        return config.registry.getUtility(IMigrationService)

    def words(self, url: str) -> set[str]:
        """Return what the server says of all tables, our own left out."""
        if self.dump:
            lines = postgresql_words(self.dump, make_url(url)).split("\n\n")
        else:
            with engine_of(url) as connection:
                product = connection.dialect.name
                read = sqlite_words if product == "sqlite" else mysql_words
                lines = [re.sub(CHOSEN[product], "", one) for one in read(connection)]
        ours = ("alembic_history_", "websauna_migrate_")
        return {one.strip() for one in lines if not any(word in one for word in ours)}


@contextlib.contextmanager
def engine_of(url: str) -> Iterator[Connection]:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def postgresql_words(dump: str, url: URL) -> str:
    words = [dump, "-s", "-O", "-x", "-h", str(url.host), "-p", str(url.port)]
    words += ["-U", str(url.username), str(url.database)]
    done = subprocess.run(
        words, env={"PGPASSWORD": str(url.password)}, check=True, capture_output=True, text=True
    )
    return re.sub(r"^(--.*|SET .*|\\(un)?restrict .*)$", "", done.stdout, flags=re.MULTILINE)


def mysql_words(connection: Connection) -> Iterator[str]:
    for name, kind in connection.exec_driver_sql("SHOW FULL TABLES").all():
        what = "TABLE" if kind == "BASE TABLE" else kind
        text = str(connection.exec_driver_sql(f"SHOW CREATE {what} `{name}`").one()[1])
        yield from (f"{name}: {line.strip().rstrip(',')}" for line in text.splitlines())


def sqlite_words(connection: Connection) -> Iterator[str]:
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    for name, text in rows.all():
        # A CHECK of a column is one of its table; brackets around a default's word say nothing.
        plain = re.sub(r"""CONSTRAINT (?:"[^"]+"|\w+) """, "", str(text))
        plain = re.sub(r"(?<=[^,\s]) (?=CHECK )", ",\n", plain)
        plain = re.sub(r"DEFAULT \((\w+)\)", r"DEFAULT \1", plain)
        if name != "sqlite_sequence":
            yield from (f"{name}: {line.strip().rstrip(',')}" for line in plain.splitlines())


if __name__ == "__main__":
    main(*sys.argv[1:])
