"""The round trip: models, generated script, unedited, upgrade, nothing left, downgrade, upgrade.

By the server's own words a database is empty behind the downgrade to it; an upgrade from there is
the first one again, and is not made.

Features go through it together, a group in one package. Where a group fails, each of its features
goes alone, and those at fault are told. The round trip is made here, so scripts are written without
the proof, which makes it too. ``WEBSAUNA_MIGRATE_ZOO=f_long_enum,t_uuid`` in the environment lets
these features go alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import zoo_catalogue  # noqa: F401  # They register features.
import zoo_conditions  # noqa: F401
import zoo_facts  # noqa: F401
import zoo_mariadb  # noqa: F401
import zoo_reports  # noqa: F401
import zoo_together  # noqa: F401
from apps import Workshop
from server_words import words_of
from zoo import CHANGES, FEATURES, Feature

GROUP = 24

MODELS = """
import zoo, zoo_facts, zoo_conditions, zoo_catalogue, zoo_mariadb, zoo_reports, zoo_together
METADATA = [zoo.{kind}[name].metadata({version}) for name in {names!r}]
"""

MARIADB_NAMES = """
SELECT table_name, constraint_name FROM information_schema.table_constraints
WHERE table_schema = DATABASE() UNION SELECT table_name, index_name
FROM information_schema.statistics WHERE table_schema = DATABASE()
"""


class Cage:
    """Two databases of one product: one for the migrations, one for ``create_all``."""

    def __init__(
        self, product: str, url: str, reference_url: str, root: Path, dump: str = ""
    ) -> None:
        self.product = product
        self.url = url
        self.reference_url = reference_url
        self.dump = dump
        self.engine = sa.create_engine(url)
        self.reference = sa.create_engine(reference_url)
        self.workshop = Workshop(root)
        sys.path.insert(0, str(root))

    def close(self) -> None:
        self.engine.dispose()
        self.reference.dispose()
        self.workshop.forget()
        sys.path.remove(str(self.workshop.root))

    def schema(self, engine: sa.Engine) -> set[str]:
        """Return what the server says of a database, history tables and ledger left out."""
        url = self.url if engine is self.engine else self.reference_url
        with engine.connect() as connection:
            return set(words_of(connection, url, self.dump))

    def names(self) -> set[tuple[str, ...]]:
        """Return names of constraints and indexes, where the server's words are without them."""
        if self.product == "postgresql":
            return set()
        with self.engine.connect() as connection:
            if self.product == "mariadb":
                return {tuple(row) for row in connection.exec_driver_sql(MARIADB_NAMES)}
            texts = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all()
        found = re.compile(r'constraint\s+("[^"]+"|\w+)', re.I)
        return {(name, one.strip('"')) for name, text in texts for one in found.findall(text or "")}

    def fill(self, features: Sequence[Feature]) -> None:
        """Fill the tables of the first version."""
        with self.engine.begin() as connection:
            for feature in features:
                for statement in filter(None, feature.rows.split(";")):
                    connection.exec_driver_sql(statement)

    def expected(self, features: Sequence[Feature], version: int) -> set[str]:
        """Return what the server says of what ``create_all`` makes of the models."""
        made = [feature.metadata(version) for feature in features]
        schemas = sorted(
            {t.schema for m in made for t in m.tables.values() if t.schema} - {"public"}
        )
        with self.reference.begin() as connection:
            for schema in schemas:
                connection.execute(sa.schema.CreateSchema(schema))
            for metadata in made:
                metadata.create_all(connection)
        try:
            return self.schema(self.reference)
        finally:
            with self.reference.begin() as connection:
                if self.product == "postgresql":
                    # Tables of several may have a type of one.
                    for table in (table for metadata in made for table in metadata.tables.values()):
                        name = self.reference.dialect.identifier_preparer.format_table(table)
                        connection.exec_driver_sql(f"DROP TABLE {name} CASCADE".replace("%", "%%"))
                for metadata in made:
                    self.drop_all(connection, metadata)
                for schema in schemas:
                    connection.execute(sa.schema.DropSchema(schema))

    def drop_all(self, connection: sa.Connection, metadata: sa.MetaData) -> None:
        if self.product == "sqlite":
            # It drops no circle of foreign keys by ALTER, and needs none.
            for table in metadata.tables.values():
                connection.execute(sa.schema.DropTable(table))
        else:
            metadata.drop_all(connection)

    def service(self, kind: str, features: Sequence[Feature], version: int) -> Any:
        """Make, or remake, the package of some features, and return its service."""
        names = [feature.name for feature in features]
        alone = names[0] if len(names) == 1 else f"group_{names[0]}"
        package = f"{self.product}_{kind}_{alone}".lower()
        source = MODELS.format(kind=kind, names=names, version=version)
        path = self.workshop.root / package / "models.py"
        if path.exists():
            path.write_text(source)
            self.workshop.forget()
        else:
            self.workshop.package(package, source, metadata=f"{package}.models.METADATA")
        return self.workshop.service(self.url, package)


class Zoo:
    """The cages of all products."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.cages: dict[str, Cage] = {}

    def go(self, journey: Any, kind: str, names: Sequence[str], product: str) -> None:
        """Send a group of features on a journey, and each of them alone if that fails."""
        features = FEATURES if kind == "FEATURES" else CHANGES
        members = [features[name] for name in names]
        try:
            self.travel(journey, kind, members, product)
        except Exception as together:
            if len(members) == 1:
                raise
            failed = {"together": together}
            for one in members:
                try:
                    self.travel(journey, kind, [one], product)
                except Exception as exc:
                    failed[one.name] = exc
            told = "\n\n".join(f"{name}: {exc}" for name, exc in failed.items())
            raise AssertionError(told) from None

    def travel(self, journey: Any, kind: str, members: Sequence[Feature], product: str) -> None:
        if product not in self.cages:
            self.cages[product] = self.make(product)
        try:
            journey(self.cages[product], kind, members)
        except BaseException:
            # The next journey begins with an empty database again.
            self.cages.pop(product).close()
            raise


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    dropped: list[Any] = []

    def make(product: str) -> Cage:
        root = tmp_path_factory.mktemp(product)
        if product == "sqlite":
            return Cage(product, *(f"sqlite:///{root}/{n}.sqlite" for n in ("a", "b")), root)
        server = request.getfixturevalue(f"{product}_server")
        urls = [server.create_database() for _ in range(2)]
        dropped.extend((server, url) for url in urls)
        dump = str(server.bin_dir / "pg_dump") if product == "postgresql" else ""
        return Cage(product, *urls, root, dump)

    found = Zoo(make)
    yield found
    for cage in found.cages.values():
        cage.close()
    for server, url in dropped:
        server.drop_database(url)


def first_journey(cage: Cage, kind: str, members: Sequence[Feature]) -> None:
    """From nothing to the models, and back to nothing."""
    service = cage.service(kind, members, 1)
    (script,) = service.revision("one", autogenerate=True, allow_drops=True, prove="off")
    print(Path(script.path).read_text())
    service.upgrade()
    assert remaining(service) == []
    assert service.revision("two", autogenerate=True, allow_drops=True, prove="off") == ()
    require_same(cage.schema(cage.engine), cage.expected(members, 1))
    service.downgrade("base")
    assert cage.schema(cage.engine) == set()


def second_journey(cage: Cage, kind: str, members: Sequence[Feature]) -> None:
    """From the first version of models to the second, and back, and there again."""
    service = cage.service(kind, members, 1)
    service.revision("one", autogenerate=True, allow_drops=True, prove="off")
    service.upgrade()
    cage.fill(members)
    names = cage.names()
    service = cage.service(kind, members, 2)
    (script,) = service.revision("two", autogenerate=True, allow_drops=True, prove="off")
    print(Path(script.path).read_text())
    service.upgrade()
    assert remaining(service) == []
    second = cage.expected(members, 2)
    require_same(cage.schema(cage.engine), second)
    service.downgrade("-1")
    first, found = cage.expected(members, 1), cage.schema(cage.engine)
    require_same(found, first, written_back=True)
    if found != first or cage.names() != names:
        # What is written otherwise means the same.
        Path(script.path).rename(f"{script.path}.aside")
        assert remaining(cage.service(kind, members, 1)) == []
        Path(f"{script.path}.aside").rename(script.path)
        service = cage.service(kind, members, 2)
    service.upgrade()
    require_same(cage.schema(cage.engine), second)
    service.downgrade("base")
    assert cage.schema(cage.engine) == set()


def remaining(service: Any) -> list[str]:
    """Return what a check still finds."""
    name = service.packages[0].name
    return [problem.message for problem in service.check(packages=name).problems]


def require_same(found: set[str], wanted: set[str], *, written_back: bool = False) -> None:
    """Require that two databases are the same, in the server's own words.

    :param written_back: true if a script has expressions as the server wrote them, who writes some
        otherwise then
    """
    if written_back:
        found, wanted = ({without_casts(w) for w in words} for words in (found, wanted))
    lines = [f"only here: {w}" for w in found - wanted]
    lines += [f"only there: {w}" for w in wanted - found]
    assert not lines, "\n".join(sorted(lines))


def without_casts(text: str) -> str:
    """Return an expression without casts, brackets and spaces."""
    return re.sub(r"::[a-z ]+(\[\])?|[() ]", "", text)


def groups(features: dict[str, Feature]) -> list[Any]:
    """Return the groups of features for each product."""
    found = []
    alone = [name for name in os.environ.get("WEBSAUNA_MIGRATE_ZOO", "").split(",") if name]
    for product in ("sqlite", "postgresql", "mariadb"):
        names = [name for name, feature in features.items() if product in feature.on]
        size = 1 if alone else GROUP
        if alone:
            names = [name for name in names if name in alone]
        for start in range(0, len(names), size):
            group = names[start : start + size]
            found.append(pytest.param(product, group, id=f"{product}-{group[0]}"))
    return found


@pytest.mark.parametrize(("product", "names"), groups(FEATURES))
def test_features(zoo: Zoo, product: str, names: list[str]) -> None:
    zoo.go(first_journey, "FEATURES", names, product)


@pytest.mark.parametrize(("product", "names"), groups(CHANGES))
def test_changes(zoo: Zoo, product: str, names: list[str]) -> None:
    zoo.go(second_journey, "CHANGES", names, product)


def test_the_zoo_is_large() -> None:
    assert len(FEATURES) + len(CHANGES) >= 60
