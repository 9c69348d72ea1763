"""A generated history, walked step by step: ``locate`` names each place by the tables alone.

``WEBSAUNA_MIGRATE_WALK=300`` in the environment walks as many revisions.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator

from apps import Workshop
from conftest import REPOSITORY
from runs import execute
from walks import forget, hands, walk
from websauna_migrate.errors import NotLocated
from websauna_migrate.interfaces import IMigrationService

#: Revisions of both packages together.
REVISIONS = int(os.environ.get("WEBSAUNA_MIGRATE_WALK", "12"))

#: At each so many'th, a hand changes an object.
BY_HAND = max(7, REVISIONS // 20)


class Story:
    """Tells the steps of a package, and what its tables are behind each; the order of rows no."""

    def __init__(self, package: str, seed: int) -> None:
        self.package = package
        self.random = random.Random(seed)
        self.tables: dict[str, dict[str, str]] = {}
        self.number = 0

    def fresh(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}_{self.package}"

    def step(self) -> str:
        """Return the body of the next script, and change the tables."""
        kinds = ["table", "column", "index", "row", "gone", "rename", "enum", "length"]
        if not self.tables:
            return self.table("")
        table = self.random.choice(sorted(self.tables))
        return str(getattr(self, self.random.choice(kinds))(table))

    def table(self, _: str) -> str:
        name = self.fresh("t")
        self.tables[name] = {"id": "integer"}
        return f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))'

    def column(self, table: str) -> str:
        name = self.fresh("c")
        self.tables[table][name] = "string 20"
        return f'op.add_column("{table}", sa.Column("{name}", sa.String(20)))'

    def enum(self, _: str) -> str:
        name, kind = self.fresh("e"), self.fresh("kind")
        self.tables[name] = {"id": "integer", "state": kind}
        column = f'sa.Column("state", sa.Enum("a", "b", name="{kind}"))'
        return f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True), {column})'

    def strings(self, table: str) -> list[str]:
        return [one for one, kind in self.tables[table].items() if kind.startswith("string")]

    def index(self, table: str) -> str:
        if not self.strings(table):
            return self.column(table)
        name, column = self.fresh("ix"), self.random.choice(self.strings(table))
        self.tables[table][name] = f"index of {column}"
        return f'op.create_index("{name}", "{table}", ["{column}"])'

    def row(self, table: str) -> str:
        return f'op.execute("DELETE FROM {table} WHERE id = {self.random.randrange(9)}")'

    def gone(self, table: str) -> str:
        """Drop the newest index: so the tables may be what they were some steps before."""
        found = [one for one, kind in self.tables[table].items() if kind.startswith("index")]
        if not found:
            return self.index(table)
        del self.tables[table][found[-1]]
        return f'op.drop_index("{found[-1]}", "{table}")'

    def rename(self, table: str) -> str:
        name = self.fresh("r")
        self.tables[name] = self.tables.pop(table)
        return f'op.rename_table("{table}", "{name}")'

    def length(self, table: str) -> str:
        free = [one for one in self.strings(table) if self.tables[table][one] == "string 20"]
        if not free:
            return self.column(table)
        self.tables[table][free[0]] = "string 30"
        return (
            f'with op.batch_alter_table("{table}") as batch:\n'
            f'    batch.alter_column("{free[0]}", type_=sa.String(30),'
            " existing_type=sa.String(20))"
        )


def told(workshop: Workshop) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Write both histories.

    :returns: the steps in the order in which they are walked, and by package what its tables are
        before the first step and behind each
    """
    steps, states = [], {}
    for seed, package in enumerate(("left", "right")):
        workshop.package(package, None)
        story, down = Story(package, seed), None
        states[package] = [json.dumps({})]
        for number in range(REVISIONS // 2):
            revision = f"{package[0]}{number:03}"
            workshop.script(package, revision, down, story.step())
            down = revision
            states[package].append(json.dumps(story.tables, sort_keys=True))
            steps.append((number, package, revision))
    return [(package, revision) for _, package, revision in sorted(steps)], states


def equal_to(states: list[str], place: int, package: str) -> set[str]:
    """Return the names of the places whose tables are those of one."""
    names = ["", *(f"{package[0]}{number:03}" for number in range(len(states) - 1))]
    return {name for name, state in zip(names, states, strict=True) if state == states[place]}


def test_each_place_of_a_history_is_found_and_what_a_hand_changed(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    steps, states = told(workshop)
    service = workshop.service(database_url, cache=str(tmp_path / "cache"))
    places = dict.fromkeys(states, 0)
    chance = random.Random(1)
    for number, (package, revision) in enumerate(steps):
        service.upgrade(revision, packages=package)
        places[package] += 1
        expected = {name: equal_to(states[name], places[name], name) for name in states}
        if number % BY_HAND == BY_HAND - 1:
            change, undo, changed = chance.choice([*hands(database_url)])
            execute(database_url, change)
            found = service.locate()
            objects = [each.object for one in found.packages for each in one.differences]
            assert not found.ok and objects == [changed], revision
            execute(database_url, undo)
        if number % 3 and not database_url.startswith("sqlite") and REVISIONS < 100:
            continue
        forget(database_url)
        found = service.locate()
        candidates = {one.package: {"".join(e) for e in one.candidates} for one in found.packages}
        assert candidates == expected, revision
        try:
            service.stamp((), verified=True)
        except NotLocated:
            assert max(map(len, expected.values())) > 1
            for name, place in places.items():
                if place:
                    service.stamp(f"{name[0]}{place - 1:03}", packages=name, verified=True)


@pytest.fixture
def example(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service of the example's three packages, as they are in the checkout."""
    for project in ("user", "shop", "app"):
        monkeypatch.syspath_prepend(str(REPOSITORY / "examples" / project / "src"))
    cache = str(tmp_path / "cache")
    config = Configurator(
        settings={"sqlalchemy.url": database_url, "websauna_migrate.cache": cache}
    )
    config.include("websauna_migrate")
    for project in ("user", "shop", "app"):
        name = f"acme.{project}"
        # Without models: these are compared elsewhere, and each time cost more than the scripts.
        config.add_migration_package(name, script_location=f"{name}:alembic")
    config.commit()
    return config.registry.getUtility(IMigrationService)


def test_each_place_of_the_example_is_found_and_what_a_hand_changed(
    example: Any, database_url: str
) -> None:
    done = walk(example, database_url, each=2)
    assert done.places == 7 and done.by_hand == 4
