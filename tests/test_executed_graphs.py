"""Random graphs of packages, executed: however they are installed, the schema is the same."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from random_graphs import PACKAGES, RandomGraph, graphs
from websauna_migrate.config.packages import make_package
from websauna_migrate.config.settings import parse_settings
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.service import MigrationService

Node = tuple[str, str]

SCRIPT = '''"""{doc}"""
from alembic import op

revision = {revision.id!r}
down_revision = {revision.down_revisions!r} or None
branch_labels = {revision.branch_labels!r} or None
depends_on = {revision.depends_on!r} or None
requires = {revision.requires!r}
run_before = {revision.run_before!r}


def upgrade():
    for statement in {up!r}:
        op.execute(statement)


def downgrade():
    for statement in {down!r}:
        op.execute(statement)
'''


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """Importable packages of all names that a graph may have; their scripts are elsewhere."""
    root = tmp_path_factory.mktemp("packages")
    for name in PACKAGES:
        folder = root.joinpath(*real(name).split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield


def real(name: str) -> str:
    """Return a name for a package of a graph that no other package has."""
    return f"drawn_{name}"


def real_target(text: str) -> str:
    package, at, target = text.partition("@")
    return real(package) + at + target


def runnable(drawn: RandomGraph) -> RandomGraph:
    """Return a graph that Alembic can run.

    One with several parents and dependencies of which one is an ancestor of another may end in a
    ``KeyError`` of Alembic's, also without us.
    """

    def older(revisions: dict[str, Revision], one: str) -> set[str]:
        found: set[str] = set()
        waiting = [one]
        while waiting:
            revision = revisions[waiting.pop()]
            names = (*revision.down_revisions, *revision.depends_on)
            parents = {revisions[name].id for name in names}
            waiting += parents - found
            found |= parents
        return found

    made: dict[Node, Revision] = {}
    for package, revisions in drawn.packages.items():
        known = {label: one for one in revisions for label in (one.id, *one.branch_labels)}
        for one in revisions:
            parents = (*one.down_revisions, *one.depends_on)
            above = set().union(*(older(known, parent) for parent in parents))
            ids = {known[parent].id for parent in one.down_revisions}
            one = replace(
                one,
                down_revisions=tuple(p for p in one.down_revisions if p not in above),
                depends_on=tuple(p for p in one.depends_on if known[p].id not in above | ids),
            )
            made[package, one.id] = one
    return replace(
        drawn,
        packages={
            name: [made[name, one.id] for one in revisions]
            for name, revisions in drawn.packages.items()
        },
        order=[made[one.package, one.id] for one in drawn.order],
    )


class Site:
    """The scripts of a drawn graph as files.

    Each revision makes a table, and an index on the table of each revision that it needs: so it
    fails where one of them is missing, and nothing that it makes depends on the order otherwise.
    Its downgrade fails where a needed revision went before it.
    """

    def __init__(self, drawn: RandomGraph, root: Path) -> None:
        self.drawn = drawn
        self.root = root
        self.needs = drawn.needs()
        for revision in drawn.order:
            self.write(revision)

    def write(self, revision: Revision) -> None:
        node = (revision.package, revision.id)
        # What another package says by run_before is not there before that package is.
        own = {text.partition("@")[0] for text in revision.requires} | {revision.package}
        if not revision.down_revisions:
            own |= {t.partition("@")[0] for t in self.drawn.package_requires.get(node[0], ())}
        needed = sorted({other for other, _ in self.needs[node] if other[0] in own})
        table = self.table(node)
        indexes = [f"{table}__{self.table(other)}" for other in needed]
        up = [f"CREATE TABLE {table} (id INTEGER)"]
        up += [
            f"CREATE INDEX {index} ON {self.table(other)} (id)"
            for index, other in zip(indexes, needed, strict=True)
        ]
        down = [f"DROP INDEX {index}" for index in indexes] + [f"DROP TABLE {table}"]
        versions = self.root / revision.package / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        named = replace(
            revision,
            requires=tuple(map(real_target, revision.requires)),
            run_before=tuple(map(real_target, revision.run_before)),
        )
        (versions / f"{revision.id}.py").write_text(
            SCRIPT.format(doc=f"{revision}", revision=named, up=up, down=down)
        )

    def table(self, node: Node) -> str:
        return f"t{PACKAGES.index(node[0])}_{node[1]}"

    def service(self, database: Path, names: Iterable[str]) -> MigrationService:
        configuration = parse_settings({"sqlalchemy.url": f"sqlite:///{database}"})
        service = MigrationService(configuration)
        for name in names:
            service.add_package(
                make_package(
                    real(name),
                    configuration,
                    script_location=str(self.root / name),
                    depends_on=[
                        real_target(text) for text in self.drawn.package_requires.get(name, ())
                    ],
                    # "b.c" and "b_c" would share one.
                    version_table=f"history_{PACKAGES.index(name)}",
                )
            )
        return service

    @property
    def names(self) -> list[str]:
        """The packages that have revisions."""
        return sorted({revision.package for revision in self.drawn.order})

    def later(self) -> str | None:
        """Return a package that can come later: nobody waits for it."""
        waiting = {
            text.partition("@")[0] for revision in self.drawn.order for text in revision.requires
        }
        waiting |= {
            text.partition("@")[0]
            for texts in self.drawn.package_requires.values()
            for text in texts
        }
        waiting |= {
            revision.package
            for revision in self.drawn.order
            if any(text.partition("@")[0] in self.names for text in revision.run_before)
        }
        return next((name for name in self.names if name not in waiting), None)


def schema_of(database: Path) -> tuple[set[Sequence[str]], dict[str, set[str]]]:
    """Return all tables and indexes but the ledger's, and the rows of the history tables."""
    connection = sqlite3.connect(database)
    try:
        found = {
            row
            for row in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
            if not row[2].startswith(("websauna_migrate", "sqlite_"))
        }
        rows = {
            name: {row for (row,) in connection.execute(f"SELECT version_num FROM {name}")}
            for kind, name, _, _ in found
            if kind == "table" and name.startswith("history_")
        }
        return found, rows
    finally:
        connection.close()


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(max_packages=5, max_revisions=25))
def test_the_schema_does_not_depend_on_the_way_to_it(drawn: RandomGraph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        drawn = runnable(drawn)
        site = Site(drawn, root / "scripts")
        if not site.names:
            return

        at_once = root / "at_once.sqlite"
        run = site.service(at_once, site.names).upgrade()
        assert len(run.steps) == len(drawn.order)
        expected = schema_of(at_once)
        tables = {name for kind, name, _, _ in expected[0] if kind == "table"}
        assert {site.table((one.package, one.id)) for one in drawn.order} <= tables

        # Registered in another order, package by package, those that are required first.
        one_by_one = root / "one_by_one.sqlite"
        last = {revision.package: place for place, revision in enumerate(drawn.order)}
        for name in sorted(site.names, key=last.__getitem__):
            service = site.service(one_by_one, reversed(site.names))
            service.upgrade(packages=real(name))
            assert {state.package: state.pending for state in service.current()}[real(name)] == 0
        assert schema_of(one_by_one) == expected

        # In any order: an upgrade brings what it requires.
        in_any_order = root / "in_any_order.sqlite"
        for name in drawn.rng.sample(site.names, len(site.names)):
            site.service(in_any_order, site.names).upgrade(packages=real(name))
        assert schema_of(in_any_order) == expected

        # One is not there at first.
        late = site.later()
        if late is not None:
            one_later = root / "one_later.sqlite"
            site.service(one_later, [name for name in site.names if name != late]).upgrade()
            site.service(one_later, site.names).upgrade()
            assert schema_of(one_later) == expected

        # And all the way back.
        site.service(at_once, site.names).downgrade("base")
        left, rows = schema_of(at_once)
        assert {name for kind, name, _, _ in left if kind == "table"} == set(rows)
        assert not any(rows.values())
