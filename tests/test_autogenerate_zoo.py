"""The round trip: models, generated script, unedited, upgrade, nothing left, downgrade, upgrade."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from zoo import CHANGES, FEATURES, Feature

MODELS = """
    import zoo
    class Base:
        metadata = zoo.{kind}["{name}"].metadata({version})
"""


class Cage:
    """Two databases of one product: one for the migrations, one for ``create_all``."""

    def __init__(self, product: str, url: str, reference_url: str, root: Path) -> None:
        self.product = product
        self.url = url
        self.engine = sa.create_engine(url)
        self.reference = sa.create_engine(reference_url)
        self.workshop = Workshop(root)

    def schema(self, engine: sa.Engine) -> dict[str, Any]:
        """Return everything that a database has, history tables and ledger left out."""
        with engine.connect() as connection, warnings.catch_warnings():
            # SQLAlchemy warns of what it does not reflect.
            warnings.simplefilter("ignore")
            return described(connection)

    def expected(self, feature: Feature, version: int) -> dict[str, Any]:
        """Return what ``create_all`` makes of the models."""
        metadata = feature.metadata(version)
        schemas = sorted({t.schema for t in metadata.tables.values() if t.schema} - {"public"})
        with self.reference.begin() as connection:
            for schema in schemas:
                connection.execute(sa.schema.CreateSchema(schema))
            metadata.create_all(connection)
        try:
            return self.schema(self.reference)
        finally:
            with self.reference.begin() as connection:
                if self.product == "sqlite":
                    # It drops no circle of foreign keys by ALTER, and needs none.
                    for table in metadata.tables.values():
                        connection.execute(sa.schema.DropTable(table))
                else:
                    metadata.drop_all(connection)
                for schema in schemas:
                    connection.execute(sa.schema.DropSchema(schema))

    def models(self, kind: str, feature: Feature, version: int) -> Any:
        """Make, or remake, the package of a feature, and return the service."""
        package = f"{self.product}_{feature.name}"
        source = MODELS.format(kind=kind, name=feature.name, version=version)
        if version == 1:
            self.workshop.package(package, source)
        else:
            path = self.workshop.root / package / "models.py"
            path.write_text("\n".join(line[4:] for line in source.splitlines()))
            self.workshop.forget()
        return self.workshop.service(self.url, package)

    def close(self) -> None:
        self.engine.dispose()
        self.reference.dispose()
        self.workshop.forget()


@pytest.fixture(scope="module")
def cages(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """``cages(product)``: the cage of a product, made when it is first asked for."""
    made: dict[str, Cage] = {}
    dropped: list[Any] = []

    def cage(product: str) -> Cage:
        if product not in made:
            root = tmp_path_factory.mktemp(product)
            sys.path.insert(0, str(root))
            if product == "sqlite":
                urls = [f"sqlite:///{root}/{name}.sqlite" for name in ("a", "b")]
            else:
                server = request.getfixturevalue(f"{product}_server")
                urls = [server.create_database() for _ in range(2)]
                dropped.extend((server, url) for url in urls)
            made[product] = Cage(product, *urls, root)
        return made[product]

    def renew(product: str) -> None:
        """Give up databases in which a failed test left something."""
        cage_ = made.pop(product)
        cage_.close()
        sys.path.remove(str(cage_.workshop.root))

    cage.renew = renew  # type: ignore[attr-defined]

    yield cage
    for one in made.values():
        one.close()
        sys.path.remove(str(one.workshop.root))
    for server, url in dropped:
        server.drop_database(url)


def described(connection: sa.Connection) -> dict[str, Any]:
    """Return a database's schema as plain data that can be compared."""
    inspector = sa.inspect(connection)
    default = inspector.default_schema_name
    schemas: list[str | None] = [None]
    if connection.dialect.name == "postgresql":
        schemas += [
            s for s in inspector.get_schema_names() if s not in (default, "information_schema")
        ]
    found: dict[str, Any] = {}
    for schema in schemas:
        if schema:
            found[f"schema {schema}"] = True
        for table in inspector.get_table_names(schema=schema):
            if not table.startswith(("alembic_history_", "websauna_migrate_ledger")):
                name = f"{schema}.{table}" if schema else table
                found[name] = describe_table(inspector, connection, schema, table)
    if connection.dialect.name == "postgresql":
        for one in inspector.get_enums(schema="*"):  # type: ignore[attr-defined]
            found[f"enum {one['schema']}.{one['name']}"] = one["labels"]
        for one in inspector.get_domains(schema="*"):  # type: ignore[attr-defined]
            if one["schema"] != "information_schema":
                found[f"domain {one['schema']}.{one['name']}"] = str(one)
    if connection.dialect.supports_sequences:
        for name in inspector.get_sequence_names():
            found[f"sequence {name}"] = True
    return found


def describe_table(
    inspector: Any, connection: sa.Connection, schema: str | None, table: str
) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in sorted(value.items()) if v not in (None, [], {}, "")}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return value if isinstance(value, (int, bool)) else str(value)

    mariadb = connection.dialect.name == "mysql"
    columns = []
    for column in inspector.get_columns(table, schema=schema):
        type_ = column.pop("type")
        text = (
            "unknown" if isinstance(type_, sa.types.NullType) else type_.compile(connection.dialect)
        )
        columns.append({"type": text, **plain(column)})

    def names(facts: list[dict[str, Any]]) -> list[Any]:
        # SQLite's unnamed constraints get names from a script where SQLite could not drop them
        # otherwise; what counts is what they say.
        # MariaDB names them with numbers and columns, PostgreSQL and scripts with both.
        return sorted((plain(unnamed(one)) for one in facts), key=str)

    def cast_away(text: str) -> str:
        # PostgreSQL writes other casts and brackets when it reads what it wrote.
        return re.sub(r"::[a-z ]+(\[\])?|[() ]", "", text)

    def unnamed(one: dict[str, Any]) -> dict[str, Any]:
        automatic = connection.dialect.name == "sqlite" or (
            connection.dialect.name == "mysql"
            and re.search(r"^CONSTRAINT_|_ibfk_|_(fkey|key|check)\d*$", str(one["name"]))
        )
        if "sqltext" in one:
            one = {**one, "sqltext": cast_away(one["sqltext"])}
        automatic = automatic or one["name"] in one.get("column_names", ())
        return {
            k: v for k, v in one.items() if not automatic or k not in ("name", "duplicates_index")
        }

    facts: dict[str, Any] = {
        "columns": columns,
        "key": plain(inspector.get_pk_constraint(table, schema=schema)),
        "foreign keys": names(inspector.get_foreign_keys(table, schema=schema)),
        "indexes": names(inspector.get_indexes(table, schema=schema))
        if mariadb
        else sorted(plain(inspector.get_indexes(table, schema=schema)), key=str),
        "uniques": names(inspector.get_unique_constraints(table, schema=schema)),
        "checks": names(inspector.get_check_constraints(table, schema=schema)),
    }
    if connection.dialect.supports_comments:
        facts["comment"] = plain(inspector.get_table_comment(table, schema=schema))
    if connection.dialect.name == "sqlite":
        facts["key"].pop("name", None)
    return facts


def cases(features: dict[str, Feature]) -> list[Any]:
    return [
        pytest.param(product, name, id=f"{name}-{product}")
        for name, feature in features.items()
        for product in feature.on
    ]


def remaining(service: Any) -> list[str]:
    """Return what a check still finds."""
    return [
        problem.message for problem in service.check(packages=service.packages[0].name).problems
    ]


@contextmanager
def fresh_after_failure(cages: Any, product: str) -> Iterator[None]:
    """Let the next test have databases of its own if this one fails."""
    try:
        yield
    except BaseException:
        cages.renew(product)
        raise


@pytest.mark.parametrize(("product", "name"), cases(FEATURES))
def test_feature(cages: Any, product: str, name: str) -> None:
    cage = cages(product)
    feature = FEATURES[name]
    before = cage.schema(cage.engine)
    service = cage.models("FEATURES", feature, 1)
    (script,) = service.revision("one", autogenerate=True)
    print(Path(script.path).read_text())
    with fresh_after_failure(cages, product):
        service.upgrade()
        assert remaining(service) == []
        assert service.revision("two", autogenerate=True) == ()
        service.downgrade("base")
        assert cage.schema(cage.engine) == before
        service.upgrade()
        assert cage.schema(cage.engine) == {**before, **cage.expected(feature, 1)}
        service.downgrade("base")


@pytest.mark.parametrize(("product", "name"), cases(CHANGES))
def test_change(cages: Any, product: str, name: str) -> None:
    cage = cages(product)
    feature = CHANGES[name]
    service = cage.models("CHANGES", feature, 1)
    (first,) = service.revision("one", autogenerate=True)
    with fresh_after_failure(cages, product):
        service.upgrade()
        assert remaining(service) == []
        service = cage.models("CHANGES", feature, 2)
        scripts = service.revision("two", autogenerate=True)
        for script in scripts:
            print(Path(script.path).read_text())
        assert len(scripts) == 1
        service.upgrade()
        assert remaining(service) == []
        assert unordered(cage.schema(cage.engine)) == unordered(cage.expected(feature, 2))
        service.downgrade("-1")
        assert unordered(cage.schema(cage.engine)) == unordered(cage.expected(feature, 1))
        service.upgrade()
        assert unordered(cage.schema(cage.engine)) == unordered(cage.expected(feature, 2))
        assert remaining(service) == []
        service.downgrade("base")
        assert cage.schema(cage.engine) == {}


def unordered(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the order of columns: a new column comes last in an old table."""
    return {
        name: {**facts, "columns": sorted(facts["columns"], key=lambda c: c["name"])}
        if isinstance(facts, dict) and "columns" in facts
        else facts
        for name, facts in schema.items()
    }


def test_the_zoo_is_large() -> None:
    assert len(FEATURES) + len(CHANGES) >= 60
