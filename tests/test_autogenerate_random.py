"""Random models of three packages: rows survive the way from one version to another, and back."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, reject, settings
from hypothesis import strategies as st

from apps import Workshop
from websauna_migrate.errors import RevisionFailed

#: What a column may be, in both versions: source of the type, a value that every form of it holds,
#: and whether the types of two versions are of one family.
FAMILIES: dict[str, tuple[list[str], str]] = {
    "number": (["sa.Integer", "sa.BigInteger"], "7"),
    "text": (["sa.String(20)", "sa.String(40)", "sa.Text"], "'it''s'"),
    "flag": (["sa.Boolean"], "true"),
    "money": (["sa.Numeric(10, 2)", "sa.Numeric(12, 2)"], "1.50"),
    "moment": (["sa.DateTime"], "'2020-01-31 12:00:00'"),
    "state": (["sa.Enum({values}, name='{enum}')"], "'b'"),
}

DEFAULTS = {
    "number": "'3'",
    "text": "'none'",
    "flag": "sa.false()",
    "money": "'0.25'",
    "moment": "sa.func.now()",
    "state": "'b'",
}

VALUES = [["a", "b"], ["b", "a"], ["a", "b", "c"], ["b"], ["x", "b", "a"]]

PACKAGES = ("alpha", "beta", "gamma")

HEADER = {
    "alpha": "import sqlalchemy as sa\nmetadata = sa.MetaData(naming_convention={convention!r})\n",
    "beta": "import sqlalchemy as sa\nfrom {alpha}.models import metadata\n",
    "gamma": "import sqlalchemy as sa\nfrom {alpha}.models import metadata\nimport {beta}.models\n",
}

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Column = dict[str, Any]
Table = dict[str, Column]
Models = dict[str, Table]


@st.composite
def columns(draw: Any, package: int, earlier: list[str]) -> Table:
    """Draw the columns of a table; the family of a column is the same in every version."""
    found: Table = {}
    for name, family in zip("abcdef", FAMILIES, strict=True):
        if not draw(st.booleans()):
            continue
        found[name] = {
            "family": family,
            "type": draw(st.sampled_from(FAMILIES[family][0])),
            "nullable": draw(st.booleans()),
            "default": draw(st.booleans()),
            "index": draw(st.booleans()) and family != "text",
            "unique": draw(st.booleans()) and family in ("number", "money"),
            "check": draw(st.booleans()) and family == "number",
        }
    if earlier and draw(st.booleans()):
        # A reference to another table is another column: its values mean other rows.
        target = draw(st.sampled_from(earlier))
        found[f"ref_{target}"] = {"family": "reference", "target": target}
    return found


@st.composite
def models(draw: Any) -> Models:
    """Draw a version: tables by name; the first letter is the package's."""
    found: Models = {}
    for number, package in enumerate(PACKAGES):
        for table in (f"{package[0]}_one", f"{package[0]}_two"):
            if draw(st.integers(0, 3)):
                found[table] = draw(columns(number, list(found)))
    return found


def source(
    package: str,
    names: dict[str, str],
    version: Models,
    values: dict[str, list[str]],
    conventions: bool,
) -> str:
    """Return the models of one package."""
    text = HEADER[package].format(convention=CONVENTION if conventions else {}, **names)
    if not conventions:
        text = text.replace("naming_convention={}", "")
    for table, found in version.items():
        if table[0] != package[0]:
            continue
        items = [f"{table!r}, metadata", "sa.Column('id', sa.Integer, primary_key=True)"]
        for name, column in found.items():
            items += column_source(table, name, column, values)
        items.append(f"info={{'package': {names[package]!r}}}")
        text += f"sa.Table({', '.join(items)})\n"
    return text


def column_source(table: str, name: str, column: Column, values: dict[str, list[str]]) -> list[str]:
    """Return a column and its CHECK."""
    if column["family"] == "reference":
        return [f"sa.Column({name!r}, sa.ForeignKey('{column['target']}.id'))"]
    enum = f"{table[0]}_state"
    type_ = column["type"].format(values=", ".join(map(repr, values[table[0]])), enum=enum)
    arguments = [repr(name), type_, f"nullable={column['nullable']}"]
    if column["default"] or not column["nullable"]:
        arguments.append(f"server_default={DEFAULTS[column['family']]}")
    if column["unique"] and (column["nullable"] and not column["default"]):
        # With a default, rows that are there could not be unique.
        arguments.append("unique=True")
    arguments.append(f"index={column['index']}")
    check = [f"sa.CheckConstraint('{name} > 0', name='{name}_plus')"] if column["check"] else []
    return [f"sa.Column({', '.join(arguments)})", *check]


numbers = itertools.count()


class Application:
    """Three packages whose models are random, over one database."""

    def __init__(self, url: str, conventions: bool) -> None:
        self.url = url
        self.conventions = conventions
        self.root = Path(tempfile.mkdtemp())
        sys.path.insert(0, str(self.root))
        self.workshop = Workshop(self.root)
        number = next(numbers)
        self.names = {package: f"{package}{number}" for package in PACKAGES}
        for package in PACKAGES:
            self.workshop.package(
                self.names[package], "", metadata=f"{self.names[package]}.models.metadata"
            )

    def service(self, version: Models, values: dict[str, list[str]]) -> Any:
        self.workshop.forget()
        for package in PACKAGES:
            path = self.root / self.names[package] / "models.py"
            path.write_text(source(package, self.names, version, values, self.conventions))
        return self.workshop.service(self.url)

    def close(self) -> None:
        self.workshop.forget()
        sys.path.remove(str(self.root))
        shutil.rmtree(self.root)


def fill(engine: sa.Engine, version: Models) -> None:
    """Insert a row into each table, with a value in each column."""
    with engine.begin() as connection:
        for table, found in version.items():
            names = ["id", *found]
            literals = ["1"]
            for column in found.values():
                if column["family"] == "reference":
                    literals.append("1")
                else:
                    value = FAMILIES[column["family"]][1]
                    if value == "true" and engine.dialect.name == "sqlite":
                        value = "1"
                    literals.append(value)
            connection.exec_driver_sql(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(literals)})"
            )


def rows(engine: sa.Engine, version: Models, other: Models) -> dict[str, Any]:
    """Return the values that both versions can hold."""
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        for table, columns_ in version.items():
            if table not in other:
                continue
            names = ["id", *(name for name in columns_ if name in other[table])]
            result = connection.exec_driver_sql(f"SELECT {', '.join(names)} FROM {table}")
            found[table] = [tuple(map(str, row)) for row in result]
    return found


def go(
    url: str, first: Models, second: Models, values: list[dict[str, list[str]]], conventions: bool
) -> None:
    application = Application(url, conventions)
    engine = sa.create_engine(url)
    try:
        service = application.service(first, values[0])
        service.revision("one", autogenerate=True, prove="off")
        service.upgrade()
        assert service.check().problems == ()
        before = {state.package: state.rows for state in service.current()}
        fill(engine, first)
        kept = rows(engine, first, second)
        service = application.service(second, values[1])
        try:
            scripts = service.revision("two", autogenerate=True, allow_drops=True, prove="off")
        except RevisionFailed as exc:
            assert exc.kind == "circle"
            reject()
        for script in scripts:
            note(Path(script.path).read_text())
        service.upgrade()
        assert [problem.message for problem in service.check().problems] == []
        assert rows(engine, second, first) == kept
        targets = [
            f"{script.package}@{(before[script.package] or ('base',))[0]}" for script in scripts
        ]
        if targets:
            service.downgrade(targets, cascade=True)
        service = application.service(first, values[0])
        problems = [p for p in service.check().problems if p.kind != "pending"]
        assert [problem.message for problem in problems] == []
        assert rows(engine, first, second) == kept
    finally:
        engine.dispose()
        application.close()


@st.composite
def enum_values(draw: Any) -> dict[str, list[str]]:
    return {package[0]: draw(st.sampled_from(VALUES)) for package in PACKAGES}


def journey(examples: int) -> Any:
    """Return the decorators of a property over two versions."""
    given_ = given(
        first=models(),
        second=models(),
        values=st.tuples(enum_values(), enum_values()).map(list),
        conventions=st.booleans(),
    )
    options = settings(
        max_examples=int(os.environ.get("WEBSAUNA_MIGRATE_TEST_EXAMPLES", examples)),
        derandomize="WEBSAUNA_MIGRATE_TEST_EXAMPLES" not in os.environ,
        # Each example is a second's work on three packages: a smaller one is not worth minutes.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda function: options(given_(function))


@journey(8)
def test_rows_survive_on_sqlite(
    tmp_path: Path, first: Models, second: Models, values: Any, conventions: bool
) -> None:
    url = f"sqlite:///{tmp_path}/{next(numbers)}.sqlite"
    go(url, first, second, values, conventions)


@journey(5)
def test_rows_survive_on_postgresql(
    postgresql_server: Any, first: Models, second: Models, values: Any, conventions: bool
) -> None:
    url = postgresql_server.create_database()
    try:
        go(url, first, second, values, conventions)
    finally:
        postgresql_server.drop_database(url)


@journey(4)
def test_rows_survive_on_mariadb(
    mariadb_server: Any, first: Models, second: Models, values: Any, conventions: bool
) -> None:
    url = mariadb_server.create_database()
    try:
        go(url, first, second, values, conventions)
    finally:
        mariadb_server.drop_database(url)
