"""``adopt --undo``: database and files are as they were before, to the letter."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from apps import Workshop
from runs import engine_of, table, tables

BASE = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Thing(Base):
    __tablename__ = "{table}"
    id = sa.Column(sa.Integer, primary_key=True)
"""


@pytest.fixture
def dump(request: pytest.FixtureRequest, database_url: str) -> Any:
    """Return a function that writes a database out, whole."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return lambda: sorted(sqlite3.connect(str(url.database)).iterdump())
    if url.get_backend_name() == "postgresql":
        program = Path(request.getfixturevalue("postgresql_server").bin_dir) / "pg_dump"
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)

        def pg_dump() -> list[str]:
            done = subprocess.run([program, plain], capture_output=True, text=True, check=True)
            return sorted(re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout).splitlines())

        return pg_dump

    def shown() -> list[Any]:
        with engine_of(database_url).connect() as connection:
            quote = connection.dialect.identifier_preparer.quote
            return [
                [*map(tuple, connection.exec_driver_sql(f"{what} {quote(name)}"))]
                for name in sorted(tables(database_url))
                for what in ("SHOW CREATE TABLE", "SELECT * FROM")
            ]

    return shown


def version_table(url: str, name: str, *revisions: str) -> None:
    with engine_of(url).begin() as connection:
        key = sa.PrimaryKeyConstraint("version_num", name=f"{name}_pkc")
        column = sa.Column("version_num", sa.String(32), nullable=False)
        made = sa.Table(name, sa.MetaData(), column, key)
        made.create(connection)
        connection.execute(made.insert(), [{"version_num": one} for one in revisions])


#: Version tables with their rows, by layout; packages have the revisions ``aa01``, ``bb01``.
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "plain": {"alembic_version": ("aa01",)},
    "named": {"the %s version": ("aa01",)},
    "websauna": {"alembic_history_old_name": ("aa01",), "alembic_history_barapp": ("bb01",)},
    "shared": {"alembic_version": ("aa01", "bb01")},
    "with others'": {"alembic_version": ("aa01", "unknown")},
    "create_all": {},
    "long": {"v" * 55: ("aa01",)},
}


ADOPT = ("-x", "packages=all", "adopt", "--yes")


def site_of(workshop: Workshop, url: str, folder: Path, layout: str) -> Path:
    """Make two packages with their tables in a database, and an INI file with odd line ends."""
    for name, of_it in (("fooapp", "aa01"), ("barapp", "bb01")):
        workshop.package(name, BASE.format(table=f"{name}_things"))
        workshop.script(name, of_it, None, **table(f"{name}_things"))
        made = sa.Table(
            f"{name}_things", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)
        )
        made.create(engine_of(url))
    for name, revisions in LAYOUTS[layout].items():
        version_table(url, name, *revisions)
    ini = workshop.application("fooapp", folder / "site.ini", url)
    ini.write_bytes(
        ini.read_bytes().replace(b"sqlalchemy.url", b"database.url").replace(b"\n", b"\r\n")
    )
    return ini


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_is_as_it_was(
    workshop: Workshop, database_url: str, tmp_path: Path, dump: Any, layout: str
) -> None:
    ini = site_of(workshop, database_url, tmp_path, layout)
    before, text = dump(), ini.read_bytes()
    done = workshop.ws(ini, *ADOPT)
    assert done.status == 0 and "websauna_migrate_ledger" in tables(database_url), done
    assert dump() != before
    assert b"\r\nwebsauna_migrate.url = %(database.url)s\r\n" in ini.read_bytes()
    # Of one package alone, and then of all: the ledger stays as long as it tells of one.
    workshop.ws(ini, "-x", "packages=barapp", "adopt", "--undo", "--yes")
    undone = workshop.ws(ini, *ADOPT, "--undo")
    assert undone.status == 0, undone
    assert dump() == before
    assert ini.read_bytes() == text
    assert not [*tmp_path.rglob(".adopted")]


@pytest.mark.parametrize("layout", ["shared", "create_all"])
def test_what_ran_since_stays_told(
    workshop: Workshop, database_url: str, tmp_path: Path, layout: str
) -> None:
    ini = site_of(workshop, database_url, tmp_path, layout)
    assert workshop.ws(ini, *ADOPT).status == 0
    workshop.script("fooapp", "aa02", "aa01", **table("later"))
    assert workshop.ws(ini, "upgrade").status == 0
    assert workshop.ws(ini, *ADOPT, "--undo").status == 0
    assert "websauna_migrate_ledger" in tables(database_url)
