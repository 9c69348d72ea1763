"""Databases by DDL that SQLAlchemy did not write become what random models say, and go back."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, settings

from apps import Workshop
from random_ddl import pairs
from server_words import split_list, words_of
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import differences
from websauna_migrate.facts.fact import EXPRESSIONS

numbers = itertools.count()


def pragmas(connection: sa.Connection) -> Iterator[str]:
    """Yield what SQLite's PRAGMAs say of all tables, and the CHECKs in their texts."""

    def ask(sql: str, *names: str) -> list[Any]:
        return [tuple(row) for row in connection.exec_driver_sql(sql, names)]

    for name, text in ask("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
        if name.startswith(("alembic_history_", "websauna_migrate_", "sqlite_")):
            continue
        ((wr, strict),) = ask("SELECT wr, strict FROM pragma_table_list WHERE name = ?", name)
        yield f"{name}: {[(wr, strict)]}"
        columns = "SELECT name, upper(replace(type, ' ', '')), [notnull], dflt_value, pk, hidden"
        found_columns = ask(f"{columns} FROM pragma_table_xinfo(?)", name)
        in_key = [kind for _, kind, _, _, pk, _ in found_columns if pk]
        # These are never NULL, whether it is written or not.
        never = bool(wr) or in_key == ["INTEGER"]
        for column, kind, filled, default, *rest in found_columns:
            # A number in quotes is the same one.
            plain = re.sub(r"^'(-?\d+)'$", r"\1", default) if default and "INT" in kind else default
            yield f"{name}: {(column, kind, int(filled or (never and rest[0] > 0)), plain, *rest)}"
        keys = "SELECT [table], [from], [to], on_update, on_delete FROM pragma_foreign_key_list(?)"
        yield from (f"{name}: {row}" for row in ask(keys, name))
        lists = "SELECT name, [unique], origin, partial FROM pragma_index_list(?)"
        for index, *more in ask(lists, name):
            own = "" if index.startswith("sqlite_") else index
            parts = ask("SELECT name, desc, coll, key FROM pragma_index_xinfo(?)", index)
            yield f"{name}: {own} {more} {parts}"
        for part in split_list(text[text.index("(") + 1 : text.rindex(")")]):
            for found in re.finditer(r"\bcheck *\((.*?)\)(?= check| constraint|$)", part, re.I):
                yield f"{name}: check {re.sub(r'[^a-z0-9<>]', '', found[1].lower())}"


def told(connection: sa.Connection, url: str, dump: str) -> list[str]:
    """Return what the server says of a database."""
    if connection.dialect.name == "sqlite":
        return sorted(pragmas(connection))
    # A name that PostgreSQL chose is as good as another one.
    words = (
        re.sub(r"CONSTRAINT \S+ ", "CONSTRAINT ", one) for one in words_of(connection, url, dump)
    )
    return sorted(words)


def go(url: str, reference: str, pair: tuple[str, str], dump: str = "") -> None:
    """Lead a database from its DDL to the models, and back."""
    ddl, source = pair
    note(ddl.replace(";;", ";\n"))
    note(source)
    root = Path(tempfile.mkdtemp())
    sys.path.insert(0, str(root))
    workshop = Workshop(root)
    engine, wanted = sa.create_engine(url), sa.create_engine(reference)
    name = f"ddl{next(numbers)}"
    try:
        with engine.begin() as connection:
            for statement in ddl.split(";;"):
                connection.exec_driver_sql(statement.replace("%", "%%"))
            before = read_facts(connection)
        there: dict[str, Any] = {}
        exec(source, there)
        with wanted.begin() as connection:
            there["metadata"].create_all(connection)
        workshop.package(name, source, metadata=f"{name}.models.metadata")
        service = workshop.service(url, name)
        scripts = service.revision("one", autogenerate=True, allow_drops=True)
        for script in scripts:
            note(Path(script.path).read_text())
        service.upgrade()
        with engine.connect() as connection, wanted.connect() as other:
            assert told(connection, url, dump) == told(other, reference, dump)
        if scripts:
            assert [problem.message for problem in service.check().problems] == []
        service.downgrade("base")
        with engine.connect() as connection:
            found = differences(before, read_facts(connection))
            ours = ("alembic_history_", "websauna_migrate_")
            assert [
                one.describe("before", "behind")
                for one in found
                if not one.note
                # PostgreSQL writes an expression otherwise once it is written back, as proofs know.
                and not (dump and one.other is not None and one.attribute in EXPRESSIONS)
                and not (one.fact.table or one.fact.name).startswith(ours)
            ] == []
    finally:
        engine.dispose()
        wanted.dispose()
        workshop.forget()
        sys.path.remove(str(root))
        shutil.rmtree(root)


def journey(database: str, examples: int) -> Any:
    """Return the decorators of a property over pairs."""
    options = settings(
        max_examples=int(os.environ.get("WEBSAUNA_MIGRATE_TEST_EXAMPLES", examples)),
        derandomize="WEBSAUNA_MIGRATE_TEST_EXAMPLES" not in os.environ,
        # A smaller example is not worth minutes.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda function: options(given(pair=pairs(database))(function))


@journey("sqlite", 10)
def test_any_sqlite_database_becomes_the_models(tmp_path: Path, pair: tuple[str, str]) -> None:
    urls = [f"sqlite:///{tmp_path}/{next(numbers)}.sqlite" for _ in range(2)]
    go(urls[0], urls[1], pair)


@journey("postgresql", 6)
def test_any_postgresql_database_becomes_the_models(
    postgresql_server: Any, pair: tuple[str, str]
) -> None:
    urls = [postgresql_server.create_database() for _ in range(2)]
    try:
        with warnings.catch_warnings():
            go(urls[0], urls[1], pair, str(postgresql_server.bin_dir / "pg_dump"))
    finally:
        for url in urls:
            postgresql_server.drop_database(url)


@journey("mariadb", 3)
def test_any_mariadb_database_becomes_the_models(
    mariadb_server: Any, pair: tuple[str, str]
) -> None:
    urls = [mariadb_server.create_database() for _ in range(2)]
    try:
        go(urls[0], urls[1], pair)
    finally:
        for url in urls:
            mariadb_server.drop_database(url)
