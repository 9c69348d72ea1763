"""Random teams: scripts whose authors see something of what there is, and write what is true.

A team is a timeline of scripts. An author has a package's older revisions, some state of the other
packages, and knows of no script besides. What is true is that the script could be applied when it
was written, and that its author had seen all that it depends on: ``requires`` names what made a
table or column of another package, and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from websauna_migrate.planning.revisions import Revision

NAMES = ("aaa", "bbb.core", "mmm", "zzz")

#: What a script reads, and what it makes, changes or takes away: a table, or a column of one.
Thing = tuple[str, str]


@dataclass
class Written:
    """A script, and what is true of it."""

    revision: Revision
    statements: list[str]
    reads: set[Thing] = field(default_factory=set)
    writes: set[Thing] = field(default_factory=set)

    def conflicts(self, other: Written) -> bool:
        return bool(
            self.writes & (other.reads | other.writes) or self.reads & (other.reads & other.writes)
        ) or bool(self.reads & other.writes)


@dataclass
class Table:
    name: str
    package: str
    columns: dict[str, Written]
    maker: Written


class Team:
    """Writes scripts, one after the other.

    :ivar timeline: the scripts in the order in which they were written and applied
    """

    def __init__(
        self, rng: random.Random, size: int, *, recorded_from: int = 0, lag: float = 0.5
    ) -> None:
        """Let a team write.

        :param recorded_from: from which script on it is recorded what authors had
        :param lag: how often an author has not the newest of other packages
        """
        self.rng = rng
        self.timeline: list[Written] = []
        self.tables: dict[str, Table] = {}
        self.packages = sorted(rng.sample(NAMES, rng.choice((2, 3, 3, 4))))
        self.recorded_from = recorded_from
        self.lag = lag
        self._of: dict[str, Written] = {}
        while len(self.timeline) < size:
            self.write()

    def write(self) -> None:
        rng = self.rng
        package = rng.choice(self.packages)
        own = [one for one in self.timeline if one.revision.package == package]
        tips = self.heads(own)
        down: tuple[Written, ...] = ()
        if own:
            kind = rng.random()
            if kind < 0.25 and len(tips) > 1:
                down = tuple(tips)
            elif kind < 0.4:
                down = (rng.choice(own),)
            else:
                down = (rng.choice(tips),)
        line = self.closure(down, own_only=True)
        view = self.view(down)
        number = len(self.timeline)
        made = self.invent(package, line, view, number)
        if made is None:
            return
        statements, reads, writes, needed = made
        requires = {str(one.revision) for one in needed if one.revision.package != package}
        scope = {one.revision.package for one in self.closure(down)} | {
            one.revision.package for one in self.closure(tuple(needed))
        }
        against = [
            (other, one.revision.id)
            for other in sorted(scope - {package})
            for one in self.heads([w for w in view if w.revision.package == other])
        ]
        date = datetime(2026, 1, 1) + timedelta(hours=number)
        revision = Revision(
            package,
            f"{package[0]}{rng.randrange(16**6):06x}",
            tuple(sorted(one.revision.id for one in down)),
            requires=tuple(sorted(requires)),
            written_against=tuple(sorted(against)) if number >= self.recorded_from else (),
            doc=f"Script {number}\n\nCreate Date: {date}",
        )
        one = Written(revision, statements, reads, writes)
        if not self.is_true(one, line, view):
            return
        self.timeline.append(one)
        self._of[str(revision)] = one
        self.note(one)

    # What an author has

    def heads(self, scripts: Collection[Written]) -> list[Written]:
        named = {id_ for one in scripts for id_ in one.revision.down_revisions}
        return [one for one in scripts if one.revision.id not in named]

    def closure(self, starts: tuple[Written, ...], *, own_only: bool = False) -> list[Written]:
        found: dict[str, Written] = {}
        stack = list(starts)
        while stack:
            one = stack.pop()
            revision = one.revision
            if str(revision) in found:
                continue
            found[str(revision)] = one
            parents = [f"{revision.package}@{id_}" for id_ in revision.down_revisions]
            stack += [self._of[name] for name in parents]
            if not own_only:
                stack += [self._of[name] for name in revision.requires]
        return list(found.values())

    def view(self, down: tuple[Written, ...]) -> list[Written]:
        """Return what an author has: some packages as they were some time ago."""
        rng, count = self.rng, len(self.timeline)
        oldest = min(self.recorded_from, count)
        starts = list(down)
        for package in self.packages:
            seen = rng.randint(oldest, count) if rng.random() < self.lag else count
            starts += [one for one in self.timeline[:seen] if one.revision.package == package]
        return self.closure(tuple(starts))

    # What an author writes

    def invent(
        self, package: str, line: list[Written], view: list[Written], number: int
    ) -> tuple[list[str], set[Thing], set[Thing], list[Written]] | None:
        rng = self.rng
        mine = [t for t in self.tables.values() if t.package == package and t.maker in line]
        theirs = [t for t in self.tables.values() if t.package != package and t.maker in view]
        kind = rng.choice(("create", "add", "fill", "copy", "copy", "copy", "drop", "drop_table"))
        if kind == "create" or not mine:
            name = f"t{number}"
            return (
                [
                    f"CREATE TABLE {name} (a TEXT, b TEXT)",
                    f"INSERT INTO {name} VALUES ('{name}', 'x')",
                ],
                set(),
                {(name, ""), (name, "a"), (name, "b")},
                [],
            )
        table = rng.choice(mine)
        columns = [c for c, maker in table.columns.items() if maker in line]
        if kind == "add":
            column = f"c{number}"
            # The rows of that moment get a value that is made from what is in them.
            return (
                [
                    f"ALTER TABLE {table.name} ADD COLUMN {column} TEXT",
                    f"UPDATE {table.name} SET {column} = '{number}'",
                ],
                {(table.name, "")},
                {(table.name, "rows"), (table.name, column)},
                [],
            )
        if kind == "drop" and len(columns) > 1:
            column = rng.choice(columns)
            return (
                [f"ALTER TABLE {table.name} DROP COLUMN {column}"],
                {(table.name, "")},
                {(table.name, column)},
                [],
            )
        if kind == "drop_table" and rng.random() < 0.4:
            things = {(table.name, c) for c in ("", "rows", *table.columns)}
            return [f"DROP TABLE {table.name}"], set(), things, []
        if not columns:
            return None
        column = rng.choice(columns)
        reads = {(table.name, ""), (table.name, column)}
        if kind == "copy" and theirs:
            other = rng.choice(theirs)
            seen = [c for c, maker in other.columns.items() if maker in view]
            if not seen:
                return None
            source = rng.choice(seen)
            return (
                [
                    f"INSERT INTO {table.name} ({column}) SELECT {source} || '{number}' "
                    f"FROM {other.name} WHERE {source} IS NOT NULL"
                ],
                reads | {(other.name, ""), (other.name, "rows"), (other.name, source)},
                {(table.name, "rows")},
                [other.maker, other.columns[source]],
            )
        return (
            [f"INSERT INTO {table.name} ({column}) VALUES ('{number}')"],
            reads,
            {(table.name, "rows")},
            [],
        )

    def is_true(self, one: Written, line: list[Written], view: list[Written]) -> bool:
        """Tell whether the author had seen all that matters.

        Of what others wrote about the author's own tables he has no need to know: their scripts say
        that they came before.
        """
        package = one.revision.package
        touched = {self.tables[name].package for name, _ in one.reads if name in self.tables}
        for other in self.timeline:
            if not one.conflicts(other):
                continue
            owner = other.revision.package
            if owner == package:
                if other not in line:
                    return False
            elif owner in touched and other not in view:
                return False
        return True

    def note(self, one: Written) -> None:
        package = one.revision.package
        for statement in one.statements:
            words = statement.split()
            if statement.startswith("CREATE"):
                self.tables[words[2]] = Table(words[2], package, {"a": one, "b": one}, one)
            elif statement.startswith("DROP TABLE"):
                del self.tables[words[2]]
            elif "ADD COLUMN" in statement:
                self.tables[words[2]].columns[words[5]] = one
            elif "DROP COLUMN" in statement:
                del self.tables[words[2]].columns[words[5]]

    # As packages

    def revisions(self) -> dict[str, list[Revision]]:
        found: dict[str, list[Revision]] = {name: [] for name in self.packages}
        for one in self.timeline:
            found[one.revision.package].append(one.revision)
        return found

    def prefixes(self) -> Iterator[list[Written]]:
        """Yield what a database has that was upgraded at some time."""
        for count in range(len(self.timeline) + 1):
            yield self.timeline[:count]
