"""Scripts of different packages that conflict, and that no requirement puts in an order."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps import Workshop
from runs import rows
from test_ws_alembic import Site, invoke, site  # noqa: F401 - fixtures
from websauna_migrate.errors import MigrationError
from websauna_migrate.planning.accesses import Access
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.races import Accesses, find_races
from websauna_migrate.planning.revisions import Revision

USERS = (
    'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("nick", sa.String(20)), sa.Column("age", sa.Integer))'
)
DROP_NICK = 'with op.batch_alter_table("users") as batch:\n    batch.drop_column("nick")'
READ = 'op.execute("INSERT INTO profile (nick) SELECT nick FROM users")'
COPY = 'op.create_table("profile", sa.Column("nick", sa.String(20)))\n' + READ


@pytest.fixture
def team(workshop: Workshop) -> Workshop:
    """Package ``aaa`` with a table of users, and ``zzz``, which has no script yet."""
    workshop.package("aaa", None)
    workshop.package("zzz", None)
    workshop.script("aaa", "a1", None, USERS)
    return workshop


def told(made: Workshop, url: str, *kinds: str, packages: Any = None) -> list[Any]:
    """Return what ``check`` says of the order."""
    report = made.service(url).check(packages=packages)
    kinds = kinds or ("race", "late", "requirement", "unreadable")
    found = [one for one in report.problems if one.kind in kinds]
    assert report.ok is not any(one.fatal for one in report.problems)
    return found


def test_a_copy_and_the_drop_of_what_it_copies_are_a_race(team: Workshop, sqlite_url: str) -> None:
    a2 = team.script("aaa", "a2", "a1", DROP_NICK)
    z1 = team.script("zzz", "z1", None, COPY, requires=["aaa@a1"])
    (race,) = told(team, sqlite_url)
    assert (race.kind, race.package, race.fatal) == ("race", "zzz", True)
    assert race.message == (
        f'Revision "z1" of package "zzz" ("{z1}", line 15) reads table "users", revision "a2" of '
        f'package "aaa" ("{a2}", line 15) drops column "nick" of table "users", and no requirement '
        f'says which of them comes first. Write into "{z1}": run_before = ("aaa@a2",). A database '
        'that has "aaa@a2" and not "zzz@z1" is refused then; where there are such, write in its '
        'place: written_against = {"aaa": "a1"}'
    )
    assert race.details["line"] == 'run_before = ("aaa@a2",)'
    # What it says settles it, and a new database is made then.
    team.script("zzz", "z1", None, COPY, requires=["aaa@a1"], run_before=["aaa@a2"])
    assert told(team, sqlite_url) == []
    team.service(sqlite_url).upgrade()


@pytest.mark.parametrize("how", ["the user", "both"])
@pytest.mark.parametrize("line", ["line", "soft_line"])
def test_each_line_settles_the_race_on_its_databases(
    team: Workshop, tmp_path: Path, how: str, line: str
) -> None:
    """One database has the column's drop already, another one nothing.

    ``how``: which package knows of the other one.
    """
    old, new = (f"sqlite:///{tmp_path / name}.sqlite" for name in ("old", "new"))
    create, copy = COPY.split("\n")
    look = 'if "nick" in [one["name"] for one in sa.inspect(op.get_bind()).get_columns("users")]:'
    z1 = team.script(
        "zzz",
        "z1",
        "z0" if how == "both" else None,
        f"{create}\n{look}\n    {copy}",
        requires=["aaa@a1"],
    )
    a2 = team.script("aaa", "a2", "a1", DROP_NICK, requires=["zzz@z0"] if how == "both" else [])
    if how == "both":
        team.script("zzz", "z0")
        a2.write_text(a2.read_text() + '\nwritten_against = {"zzz": "z0"}\n')
        z1.write_text(z1.read_text() + '\nwritten_against = {"aaa": "a1"}\n')
    # In the second case each of them records that it had not the other one.
    (race,) = told(team, new, "race")
    script = Path(race.details["script"])
    team.service(old).upgrade("a2", packages="aaa", ignore_order=True)
    script.write_text(f"{script.read_text()}\n{race.details[line]}\n")
    assert told(team, new, "race") == []
    team.service(new).upgrade()
    assert rows(new, "SELECT count(*) FROM profile") == [(0,)]
    if line == "line":
        with pytest.raises(MigrationError, match="lack what they require"):
            team.service(old).upgrade()
        return
    team.service(old).upgrade()
    assert rows(old, "SELECT count(*) FROM profile") == [(0,)]


def test_the_package_that_knows_the_other_one_says_it(team: Workshop, sqlite_url: str) -> None:
    team.script("aaa", "a2", "a1", DROP_NICK, requires=["mmm@m1"])
    team.package("mmm", None)
    team.script("mmm", "m1")
    team.script("zzz", "z1", None, COPY, requires=["aaa@a1"])
    assert told(team, sqlite_url, "race")[0].details["line"] == 'run_before = ("aaa@a2",)'
    # Where neither knows the other one, the second says it, beside what it says already.
    team.script("zzz", "z1", None, COPY.replace("users", "other"))
    team.script("zzz", "z2", "z1", 'op.execute("UPDATE users SET nick = 1")')
    races = [one.details["line"] for one in told(team, sqlite_url, "race")]
    assert 'requires = ("mmm@m1", "zzz@z2")' in races


ON_USERS = {
    "rename of the column": 'op.alter_column("users", "nick", new_column_name="name")',
    "type of the column": 'op.alter_column("users", "nick", type_=sa.Text())',
    "drop of the table": 'op.drop_table("users")',
    "rename of the table": 'op.rename_table("users", "people")',
    "drop by SQL": 'op.execute("ALTER TABLE users DROP COLUMN nick")',
    "rows": 'op.execute("UPDATE users SET nick = lower(nick)")',
    "new rows": 'op.bulk_insert(sa.table("users", sa.column("nick")), [{"nick": "x"}])',
    "on one database": 'if op.get_context().as_sql:\n    op.drop_table("users")',
}
OF_USERS = {
    "copy": COPY,
    "select": 'op.get_bind().execute(sa.text("SELECT nick FROM users")).all()',
    "expression": 'u = sa.table("users", sa.column("nick"))\nop.execute(sa.select(u.c.nick))',
    "view": 'op.execute("CREATE VIEW v AS SELECT nick FROM users")',
}


@pytest.mark.parametrize("change", ON_USERS)
@pytest.mark.parametrize("use", OF_USERS)
def test_what_changes_is_a_race_with_what_reads(
    team: Workshop, sqlite_url: str, change: str, use: str
) -> None:
    team.script("aaa", "a2", "a1", ON_USERS[change])
    team.script("zzz", "z1", None, OF_USERS[use], requires=["aaa@a1"])
    rows = change in ("rows", "new rows")
    assert len(told(team, sqlite_url)) == (0 if rows and use == "view" else 1)
    team.script("zzz", "z1", None, OF_USERS[use], requires=["aaa@a2"])
    assert told(team, sqlite_url) == []


@pytest.mark.parametrize(
    "change",
    [
        'op.add_column("users", sa.Column("more", sa.Integer))',
        'with op.batch_alter_table("users") as b: b.drop_column("age")',
        'op.create_index("ix", "users", ["nick"])',
        'op.execute("UPDATE users SET age = 1")',
        'op.create_table("other", sa.Column("id", sa.Integer))',
        "op.execute(\"COMMENT ON TABLE users IS 'nick'\")",
        'op.alter_column("users", "nick", nullable=True)',
        "helper = 1",
    ],
)
def test_what_does_not_matter_to_the_other_one_is_no_race(
    team: Workshop, sqlite_url: str, change: str
) -> None:
    team.script("aaa", "a2", "a1", change)
    team.script("zzz", "z1", None, COPY, requires=["aaa@a1"])
    assert told(team, sqlite_url) == []


def test_foreign_keys_and_types_are_races_too(team: Workshop, sqlite_url: str) -> None:
    key = 'op.create_table("t", sa.Column("u", sa.Integer, sa.ForeignKey("users.id")))'
    team.script("zzz", "z1", None, key, requires=["aaa@a1"])
    team.script("aaa", "a2", "a1", 'op.alter_column("users", "id", type_=sa.BigInteger())')
    assert [one.kind for one in told(team, sqlite_url)] == ["race"]
    team.script("aaa", "a2", "a1", "op.execute(\"CREATE TYPE mood AS ENUM ('a')\")")
    team.script("zzz", "z2", "z1", "op.execute(\"ALTER TYPE mood ADD VALUE 'b'\")")
    assert [one.kind for one in told(team, sqlite_url)] == ["race"]


@pytest.mark.parametrize(
    "use",
    [
        'op.execute("INSERT INTO zzz_t (a) SELECT nick FROM users")',
        'op.execute("UPDATE users SET nick = 1")',
        'op.execute(sa.text("DELETE FROM users"))',
        'op.get_bind().execute(sa.text("SELECT nick FROM users"))',
        'op.bulk_insert(sa.table("users", sa.column("nick")), [])',
        'u = sa.table("users", sa.column("nick"))\nop.execute(u.update().values(nick=None))',
    ],
)
def test_rows_of_another_package_need_a_requirement(
    team: Workshop, sqlite_url: str, use: str
) -> None:
    team.script("zzz", "z1", None, use)
    problems = told(team, sqlite_url, packages="zzz")
    assert [one.kind for one in problems] == ["requirement"]
    assert problems[0].message.endswith(
        'which revision "a1" of package "aaa" creates. Add to the script: requires = ("aaa@a1",)'
    )
    team.script("zzz", "z1", None, use, requires=["aaa@a1"])
    assert told(team, sqlite_url) == []


def test_rows_need_the_revision_that_added_the_column(team: Workshop, sqlite_url: str) -> None:
    team.script("aaa", "a2", "a1", 'op.add_column("users", sa.Column("mail", sa.String(9)))')
    use = 'op.execute("UPDATE users SET mail = nick")'
    team.script("zzz", "z1", None, use, requires=["aaa@a1"])
    (problem,) = told(team, sqlite_url)
    assert (problem.kind, problem.details) == ("requirement", "aaa@a2")


def test_what_cannot_be_read_is_counted_and_fails_nothing(team: Workshop, sqlite_url: str) -> None:
    z1 = team.script("zzz", "z1", None, "for t in 'ab': op.drop_table(t)\nop.execute(x())")
    (problem,) = told(team, sqlite_url)
    assert problem.message == (
        f'2 operations of package "zzz" could not be read ("{z1}" lines 14, 15): what '
        "they do to tables of other packages is not known here."
    )
    assert not problem.fatal


@pytest.mark.parametrize(
    "drop",
    [
        'op.execute("DROP SCHEMA IF EXISTS public CASCADE")',
        'op.execute("DROP SCHEMA other, public CASCADE")',
        'op.execute(sa.schema.DropSchema("public", cascade=True))',
        'op.execute("DROP EXTENSION citext CASCADE")',
        'op.execute("DROP DOMAIN money CASCADE")',
    ],
)
def test_what_goes_with_something_else_is_not_taken_for_nothing(
    team: Workshop, sqlite_url: str, drop: str
) -> None:
    z1 = team.script("zzz", "z1", None, drop)
    (problem,) = told(team, sqlite_url)
    assert problem.message.startswith(f'1 operation of package "zzz" could not be read ("{z1}"')


def test_a_package_that_is_added_late_is_told(team: Workshop, sqlite_url: str) -> None:
    team.script("aaa", "a2", "a1", DROP_NICK)
    team.service(sqlite_url).upgrade()
    z1 = team.script("zzz", "z1", None, COPY, requires=["aaa@a1"])
    (late,) = told(team, sqlite_url, "late")
    assert late.fatal and late.package == "zzz"
    assert f'("{z1}", line 15) reads table "users" and is pending' in late.message
    assert "ws-alembic -x packages=zzz stamp z1" in late.message
    assert [one.kind for one in team.service(sqlite_url).races()] == ["race", "late"]
    # The remedy was followed: what is left says on what it hangs.
    team.script("zzz", "z1", None, "if op.get_bind() is None:\n    " + READ, requires=["aaa@a1"])
    (late,) = told(team, sqlite_url, "late")
    assert "perhaps reads" in late.message
    assert "can run here only if its script looks" in late.message
    # What was made again is there.
    team.script("aaa", "a3", "a2", 'op.add_column("users", sa.Column("nick", sa.String(20)))')
    team.service(sqlite_url).upgrade(packages="aaa")
    assert told(team, sqlite_url, "late") == []


def test_a_race_between_many_steps_is_told_once(team: Workshop, sqlite_url: str) -> None:
    down = "a1"
    for number in range(2, 7):
        team.script("aaa", f"a{number}", down, 'op.execute("UPDATE users SET nick = 1")')
        down = f"a{number}"
    team.script("zzz", "z1", None, COPY, requires=["aaa@a1"], run_before=["aaa@a2"])
    assert told(team, sqlite_url) == []
    team.script("zzz", "z1", None, COPY, requires=["aaa@a1"])
    assert len(told(team, sqlite_url)) == 1


# On the command line


@pytest.fixture
def racing(site: Site) -> Site:  # noqa: F811
    """The site, whose application copies what the add-on drops afterwards."""
    site.workshop.script("addon", "a150", "a100", USERS)
    site.workshop.script("addon", "a200", "a150", message="Second of the add-on")
    site.workshop.script("addon", "a300", "a200", DROP_NICK)
    site.workshop.script("fooapp", "f200", "f100", COPY, requires=["addon@a200"])
    return site


def test_check_fails_for_a_race_and_says_so_to_machines(racing: Site) -> None:
    checked = racing("-x", "packages=all", "check", "--json")
    assert checked.status == 8
    (race,) = [one for one in json.loads(checked.stdout)["problems"] if one["kind"] == "race"]
    assert race["details"]["line"] == 'run_before = ("addon@a300",)'
    assert race["details"]["first"]["revision"] == "fooapp@f200"
    assert race["details"]["first"]["does"] == 'reads table "users"'
    assert race["details"]["second"]["line"] == 15
    assert race["details"]["script"].endswith("f200.py")


def test_plan_warns_of_a_race(racing: Site) -> None:
    planned = racing("-x", "packages=all", "plan")
    assert planned.status == 0
    assert 'WARNING: Revision "f200" of package "fooapp"' in planned.stderr
    assert 'run_before = ("addon@a300",)' in planned.stderr
    # With the line, a new database can be made.
    racing.workshop.script(
        "fooapp", "f200", "f100", COPY, requires=["addon@a200"], run_before=["addon@a300"]
    )
    assert racing("-x", "packages=all", "plan").stderr == ""
    assert racing("-x", "packages=all", "upgrade").status == 0


MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    age: Mapped[int | None]
"""


def test_autogenerate_warns_of_a_race_that_the_new_script_makes(site: Site) -> None:  # noqa: F811
    folder = site.workshop.root / "addon"
    (folder / "models.py").write_text(MODELS)
    init = folder / "__init__.py"
    init.write_text(init.read_text().replace("package(", 'package(metadata="addon.models.Base"'))
    for name in ("a200", "a300"):
        (folder / "alembic" / "versions" / f"{name}.py").unlink()
    site.workshop.script("addon", "a100", None, USERS)
    site.workshop.script("fooapp", "f200", "f100", COPY, requires=["addon@a100"])
    assert site("-x", "packages=all", "upgrade").status == 0
    site.workshop.forget()
    written = site("-x", "packages=addon", "revision", "--autogenerate", "-m", "No nick")
    assert written.status == 0
    assert 'drops column "nick" of table "users"' in written.stderr
    assert "WARNING: " in written.stderr and "Write into" in written.stderr


# Every order of a random team


Operation = tuple[str, str, str, str]


class Team:
    """Authors who see all that there is, and write truthfully what they require."""

    def __init__(self, seed: int, count: int) -> None:
        rng = random.Random(seed)
        packages = ("a", "b", "c")
        self.revisions: list[Revision] = []
        self.done: dict[tuple[str, str], list[Operation]] = {}
        state: dict[str, set[str]] = {}
        heads: dict[str, str] = {}
        for number in range(count):
            package = rng.choice(packages)
            name = f"{package}{number}"
            operation = self.operation(rng, package, number, state)
            apply_to({k: dict.fromkeys(v, 0) for k, v in state.items()}, operation)
            learn(state, operation)
            # The author requires all that the others had written.
            requires = tuple(f"{p}@{h}" for p, h in sorted(heads.items()) if p != package)
            down = (heads[package],) if package in heads else ()
            self.revisions.append(Revision(package, name, down, requires=requires, path=name))
            self.done[package, name] = [operation]
            heads[package] = name

    @staticmethod
    def operation(
        rng: random.Random, package: str, number: int, state: dict[str, set[str]]
    ) -> Operation:
        tables = sorted(state)
        mine = [table for table in tables if table[0] == package]
        kind = rng.choice(["create", "add", "copy", "copy", "drop", "drop", "set", "rename"])
        if not tables or kind == "create" or (kind in ("add", "drop", "rename") and not mine):
            return ("create", f"{package}_t{number}", "x", "")
        if kind == "copy":
            source = rng.choice(tables)
            column = rng.choice(sorted(state[source]))
            return ("copy", f"{package}_t{number}", source, column)
        table = rng.choice(mine or tables)
        column = rng.choice(sorted(state[table]))
        if kind == "drop" and len(state[table]) == 1:
            kind = "add"
        return (
            kind,
            table,
            column if kind in ("drop", "set", "rename") else f"y{number}",
            str(number),
        )

    def accesses(self) -> dict[tuple[str, str], Sequence[Access]]:
        return {
            key: [one for op in ops for one in as_accesses(op)] for key, ops in self.done.items()
        }


def learn(state: dict[str, set[str]], operation: Operation) -> None:
    kind, table, one, two = operation
    if kind == "create":
        state[table] = {one}
    elif kind == "copy":
        state[table] = {"x"}
    elif kind == "add":
        state[table].add(one)
    elif kind == "drop":
        state[table].discard(one)
    elif kind == "rename":
        state[table].discard(one)
        state[table].add(f"r{two}")


def apply_to(database: dict[str, dict[str, int]], operation: Operation) -> None:
    """Do an operation to tables with one row each; fail as a database does."""
    kind, table, one, two = operation
    if kind == "create":
        database[table] = {one: 0}
    elif kind == "copy":
        database[table] = {"x": database[one][two]}
    elif kind == "add":
        database[table][one] = 0
    elif kind == "drop":
        del database[table][one]
    elif kind == "set":
        database[table][one]
        database[table][one] = int(two)
    elif kind == "rename":
        database[table][f"r{two}"] = database[table].pop(one)


def as_accesses(operation: Operation) -> list[Access]:
    kind, table, one, two = operation
    if kind == "create":
        return [Access("create_table", None, table, (one,))]
    if kind == "copy":
        read = Access("read_table", None, one, (two,))
        return [Access("create_table", None, table, ("x",)), read]
    if kind == "rename":
        return [Access("rename_column", None, table, (one,), new_name=f"r{two}")]
    kinds: Any = {"add": "add_column", "drop": "drop_column", "set": "write_table"}
    return [Access(kinds[kind], None, table, (one,))]


def result_of(team: Team, order: Sequence[tuple[str, str]]) -> Any:
    database: dict[str, dict[str, int]] = {}
    for key in order:
        for operation in team.done[key]:
            try:
                apply_to(database, operation)
            except KeyError:
                return "failed"
    return {table: dict(sorted(row.items())) for table, row in sorted(database.items())}


def orders(graph: Graph, rng: random.Random, many: int) -> list[list[tuple[str, str]]]:
    """Return random orders that requirements allow."""
    found = []
    for _ in range(many):
        waiting = list(range(len(graph.revisions)))
        rng.shuffle(waiting)
        done: list[int] = []
        while waiting:
            node = next(n for n in waiting if set(graph.parents[n]) <= set(done))
            waiting.remove(node)
            done.append(node)
        found.append([(graph.revisions[n].package, graph.revisions[n].id) for n in done])
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 9))
def test_when_two_orders_differ_the_detector_names_a_pair(seed: int, count: int) -> None:
    team = Team(seed, count)
    rng = random.Random(seed)
    whole = Graph({p: [r for r in team.revisions if r.package == p] for p in "abc"})
    assert find_races(Accesses(whole, team.accesses())) == ()
    assert len({str(result_of(team, order)) for order in orders(whole, rng, 5)}) == 1
    # One author forgot some of what the script requires; rather one whose script destroys.
    crossing = [r for r in team.revisions if r.requires]
    if not crossing:
        return
    destroying = [r for r in crossing if team.done[r.package, r.id][0][0] in ("drop", "rename")]
    victim = rng.choice(destroying or crossing)
    kept = tuple(r for r in victim.requires if rng.random() < 0.3)
    revisions = [replace(one, requires=kept) if one is victim else one for one in team.revisions]
    # What follows its lines until nothing is told has one result, whatever the order.
    for _ in itertools.count():
        graph = Graph({p: [r for r in revisions if r.package == p] for p in "abc"})
        races = find_races(Accesses(graph, team.accesses()))
        results = {str(result_of(team, order)) for order in orders(graph, rng, 25)}
        if not races:
            assert len(results) == 1
            return
        race = races[0]
        revisions = [with_line(one, race) for one in revisions]


def with_line(revision: Revision, race: Any) -> Revision:
    """Return a revision with the line that a race asks for."""
    if revision != race.script:
        return revision
    name, _, text = race.line.partition(" = ")
    given: dict[str, Any] = {"requires": revision.requires, "run_before": revision.run_before}
    given[name] = tuple(eval(text))
    return replace(revision, **given)
