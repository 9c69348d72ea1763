"""The authors' order: every database ends the same, whenever it was upgraded."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from apps import Workshop
from random_graphs import shuffled_packages
from random_teams import Team, Written
from runs import rows
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_upgrade

INI = """
[app:main]
use = call:zzz:main
sqlalchemy.url = {url}
"""

FACTORY = """
from pyramid.config import Configurator

def includeme(config):
    config.add_migration_package()

def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("aaa")
    config.add_migration_package()
    return config.make_wsgi_app()
"""

COPY = """
op.create_table("profile", sa.Column("nick", sa.String(20)))
op.execute("INSERT INTO profile SELECT nick FROM users")
"""

MAKE = """
op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("nick", sa.Text))
op.execute("INSERT INTO users VALUES (1, 'ann')")
"""

TEMPLATE = Path(__file__).parents[1] / "alembic_template" / "script.py.mako"

DATES = {"a1": "2026-01-01", "z1": "2026-02-01", "a2": "2026-03-01"}


class Result(NamedTuple):
    """What a command left: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str


class Story:
    """``aaa`` makes a column, ``zzz`` copies it, ``aaa`` drops it."""

    def __init__(self, workshop: Workshop, folder: Path, capsys: Any, how: str) -> None:
        self.workshop, self.folder, self.capsys, self.how = workshop, folder, capsys, how
        workshop.package("aaa", None)
        workshop.package("zzz", None)
        (workshop.root / "zzz" / "__init__.py").write_text(FACTORY)
        for name in ("aaa", "zzz"):
            (workshop.root / name / "alembic" / "versions").mkdir(parents=True)

    def write(self, revision: str) -> None:
        bodies = {
            "a1": {"upgrade": MAKE, "downgrade": 'op.drop_table("users")'},
            "z1": {"upgrade": COPY, "downgrade": 'op.drop_table("profile")'},
            "a2": {
                "upgrade": 'op.drop_column("users", "nick")',
                "downgrade": 'op.add_column("users", sa.Column("nick", sa.String(20)))',
            },
        }
        date = f"\n\nCreate Date: {DATES[revision]} 12:00:00\n" if self.how == "dated" else ""
        path = self.workshop.script(
            {"a": "aaa", "z": "zzz"}[revision[0]],
            revision,
            {"a2": "a1"}.get(revision),
            message=f"Script {revision}{date}",
            requires=["aaa@a1"] if revision == "z1" else [],
            **bodies[revision],
        )
        if revision == "z1" and self.how == "recorded":
            path.write_text(path.read_text() + '\nwritten_against = {"aaa": "a1"}\n')

    def __call__(self, url: str, *words: str) -> Result:
        ini = self.folder / "site.ini"
        ini.write_text(INI.format(url=url.replace("%", "%%")))
        self.capsys.readouterr()
        try:
            status = main(["-c", str(ini), *words])
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
        return Result(status, *self.capsys.readouterr())

    def upgrade(self, url: str) -> None:
        done = self(url, "-x", "packages=all", "upgrade")
        assert done.status == 0, done.stderr


@pytest.fixture(params=["recorded", "dated"])
def story(
    request: pytest.FixtureRequest,
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Story:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALEMBIC_CONFIG", raising=False)
    return Story(workshop, tmp_path, capsys, request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """``urls(name)``: the URL of a new database of that name."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.sqlite"
    server = request.getfixturevalue("postgresql_server")
    made = []

    def create(name: str) -> str:
        made.append(server.create_database())
        return str(made[-1])

    request.addfinalizer(lambda: [server.drop_database(url) for url in made])
    return create


def content(url: str) -> dict[str, Any]:
    """Return the columns and rows of the packages' tables."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    names = [n for n in sa.inspect(engine).get_table_names() if n in ("users", "profile")]
    found = {}
    for name in sorted(names):
        columns = sorted(column["name"] for column in sa.inspect(engine).get_columns(name))
        found[name] = columns, rows(url, f"SELECT {', '.join(columns)} FROM {name}")
    return found


def test_every_database_ends_the_same(story: Story, urls: Callable[[str], str]) -> None:
    grown, lagging, fresh = urls("grown"), urls("lagging"), urls("fresh")
    story.write("a1")
    story.upgrade(grown)
    story.upgrade(lagging)
    story.write("z1")
    story.upgrade(grown)
    story.write("a2")
    expected = {"users": (["id"], [(1,)]), "profile": (["nick"], [("ann",)])}
    for url in (grown, lagging, fresh):
        story.upgrade(url)
        assert content(url) == expected
        done = story(url, "-x", "packages=all", "downgrade", "base")
        assert done.status == 0, done.stderr
        assert content(url) == {}


def test_the_plan_says_why(story: Story, sqlite_url: str) -> None:
    for revision in ("a1", "z1", "a2"):
        story.write(revision)
    done = story(sqlite_url, "-x", "packages=all", "plan")
    lines: list[str] = []
    for line in done.stdout.splitlines()[1:]:
        reason_of = line.split("  ")[-1].strip()
        if line.startswith(" "):
            # What does not fit goes on below.
            lines[-1] += f" {reason_of}"
        else:
            lines.append(reason_of)
    reason = {
        "recorded": "requested; before aaa a2: written against aaa a1",
        "dated": "requested; before aaa a2 by their Create Date",
    }
    assert lines == ["requested; required by zzz z1", reason[story.how], "requested"]


def test_an_upgrade_that_leaves_an_earlier_revision_out_is_refused(
    story: Story, urls: Callable[[str], str]
) -> None:
    url = urls("one")
    for revision in ("a1", "z1", "a2"):
        story.write(revision)
    assert story(url, "-x", "packages=aaa", "upgrade", "a1").status == 0
    before = content(url)
    line = 14 if story.how == "recorded" else 17
    versions = (story.workshop.root / "{0}/alembic/versions/{1}.py").relative_to(Path.cwd())
    for command in ("upgrade", "plan"):
        done = story(url, "-x", "packages=aaa", command)
        assert (done.status, done.stdout) == (1, "")
        assert done.stderr == (
            "The upgrade would change the order in which revisions were written:\n"
            f'  "zzz@z1" ("{str(versions).format("zzz", "z1")}") was written before "aaa@a2" '
            f'("{str(versions).format("aaa", "a2")}"), is not applied, and would run after it: '
            f'"zzz@z1" reads table "users" in line {line + 1}, and "aaa@a2" drops '
            f'column "nick" of table "users" in line {line}\n'
            "Nothing was run. Upgrade these packages together with "
            f"`ws-alembic -c {story.folder / 'site.ini'} -x packages=aaa,zzz upgrade`"
            ", or all with `-x packages=all`. With `--ignore-order` the "
            "upgrade runs all the same; what was left out may fail afterwards, or miss data.\n"
        )
    assert content(url) == before
    # The remedy.
    assert story(url, "-x", "packages=aaa,zzz", "upgrade").status == 0
    assert content(url)["profile"] == (["nick"], [("ann",)])


def test_the_order_may_be_ignored(story: Story, sqlite_url: str) -> None:
    for revision in ("a1", "z1", "a2"):
        story.write(revision)
    done = story(sqlite_url, "-x", "packages=aaa", "plan", "--ignore-order")
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["a1", "a2"]
    assert story(sqlite_url, "-x", "packages=aaa", "upgrade", "--ignore-order").status == 0
    assert content(sqlite_url) == {"users": (["id"], [(1,)])}
    # What is applied is a fact: there is no error about it, and no other order.
    done = story(sqlite_url, "-x", "packages=all", "plan")
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["z1"]
    wrong = story(sqlite_url, "plan", "--downgrade", "--ignore-order", "base")
    assert (wrong.status, wrong.stderr) == (
        2,
        "--ignore-order has no meaning with --downgrade.\n",
    )


def test_what_does_not_conflict_may_be_left_out(story: Story, sqlite_url: str) -> None:
    story.write("a1")
    story.write("z1")
    story.workshop.script(
        "aaa", "a2", "a1", 'op.create_table("other", sa.Column("id", sa.Integer))'
    )
    assert story(sqlite_url, "-x", "packages=aaa", "upgrade").status == 0
    story.upgrade(sqlite_url)
    assert content(sqlite_url)["profile"] == (["nick"], [("ann",)])


def test_a_step_is_refused_that_an_unapplied_one_was_to_come_before(
    workshop: Workshop, sqlite_url: str
) -> None:
    """The later script's author had the earlier one, but does not require it."""
    workshop.package("aaa", None)
    workshop.package("zzz", None)
    workshop.script("aaa", "a1", None, MAKE)
    workshop.script("aaa", "a2", "a1", 'op.alter_column("users", "nick", new_column_name="name")')
    path = workshop.script(
        "zzz", "z1", None, 'op.execute("DELETE FROM users WHERE nick IS NULL")', requires=["aaa@a1"]
    )
    path.write_text(path.read_text() + '\nwritten_against = {"aaa": "a2"}\n')
    service = workshop.service(sqlite_url)
    with pytest.raises(Exception, match=r'"aaa@a2" .* was written before "zzz@z1"') as info:
        service.upgrade(packages="zzz")
    assert type(info.value).__name__ == "OrderViolated"
    assert service.upgrade(packages="zzz", ignore_order=True).steps


# What is written


def test_new_scripts_say_what_they_were_written_against(
    workshop: Workshop, sqlite_url: str
) -> None:
    for name in ("aaa", "bbb", "other", "zzz"):
        workshop.package(name, None)
    workshop.script("aaa", "a1")
    workshop.script("aaa", "a2", "a1")
    workshop.script("aaa", "a3", "a1")
    workshop.script("other", "o1")
    workshop.script("bbb", "b1", requires=["aaa@a1"])
    workshop.script("zzz", "z1", requires=["bbb@b1"])
    for name in ("other", "zzz"):
        shutil.copy(TEMPLATE, workshop.root / name / "alembic")
    service = workshop.service(sqlite_url)
    made = service.revision("Next", packages="zzz")[0]
    expected = {"aaa": ("a2", "a3"), "bbb": "b1"}
    assert attribute(made.path, "written_against") == expected
    assert read_again(service, made) == (("aaa", "a2"), ("aaa", "a3"), ("bbb", "b1"))
    first = service.revision("First", packages="other")[0]
    assert attribute(first.path, "written_against") is None
    required = service.revision("More", packages="other", requires=["zzz@z1"])[0]
    assert attribute(required.path, "written_against") == {**expected, "zzz": made.revision}


def test_a_merge_says_it(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("aaa", None)
    workshop.package("zzz", None)
    workshop.script("aaa", "a1")
    workshop.script("zzz", "z1", requires=["aaa@a1"])
    workshop.script("zzz", "z2", "z1")
    workshop.script("zzz", "z3", "z1")
    shutil.copy(TEMPLATE, workshop.root / "zzz" / "alembic")
    service = workshop.service(sqlite_url)
    (made,) = service.merge("heads", packages="zzz")
    assert attribute(made.path, "written_against") == {"aaa": "a1"}


def test_a_template_of_ones_own_need_not_know_of_it(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("aaa", None)
    workshop.package("zzz", None)
    workshop.script("aaa", "a1")
    workshop.script("zzz", "z1", requires=["aaa@a1"])
    workshop.script("zzz", "z2", "z1")
    workshop.script("zzz", "z3", "z1")
    (workshop.root / "zzz" / "alembic" / "script.py.mako").write_text(
        '"""${message}"""\nrevision = ${repr(up_revision)}\n'
        "down_revision = ${repr(down_revision)}\n\n\n"
        "def upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"
    )
    service = workshop.service(sqlite_url)
    (merged,) = service.merge("heads", packages="zzz")
    (made,) = service.revision("More", packages="zzz")
    for one in (merged, made):
        assert attribute(one.path, "written_against") == {"aaa": "a1"}
        assert read_again(service, one) == (("aaa", "a1"),)


@pytest.mark.parametrize("value", ['"a1"', '{"aaa": 1}', '{"aaa": ("a1", None)}', '{1: "a1"}'])
def test_what_cannot_be_understood_names_the_file(
    workshop: Workshop, sqlite_url: str, value: str
) -> None:
    workshop.package("zzz", None)
    path = workshop.script("zzz", "z1")
    path.write_text(path.read_text() + f"\nwritten_against = {value}\n")
    with pytest.raises(Exception, match=f"{path.name}.* its written_against is "):
        workshop.service(sqlite_url).heads()


def attribute(path: str, name: str) -> Any:
    names: dict[str, Any] = {}
    exec(Path(path).read_text(), names)
    return names.get(name)


def read_again(service: Any, made: Any) -> Any:
    """Return what the service reads of a script, from its text and by an import."""
    found = set()
    for use_index in (True, False):
        service.use_index = use_index
        entry = service.show(made.revision, packages=made.package)[0]
        found.add(entry.revision.written_against)
    (one,) = found
    return one


# Random teams


@st.composite
def teams(draw: st.DrawFn, max_size: int = 30) -> Team:
    rng = random.Random(draw(st.integers(0, 2**32)))
    size = draw(st.integers(3, max_size))
    recorded_from = draw(st.sampled_from((0, size // 2, size)))
    lag = draw(st.sampled_from((0, 0.3, 0.8)))
    return Team(rng, size, recorded_from=recorded_from, lag=lag)


def content_of(database: sqlite3.Connection) -> Mapping[str, Any]:
    """Return the columns of all tables, and the rows, in no order."""
    found = {}
    names = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 't%'").fetchall()
    for (name,) in names:
        columns = sorted(row[1] for row in database.execute(f"PRAGMA table_info({name})"))
        values = database.execute(f"SELECT {', '.join(columns)} FROM {name}")
        found[name] = columns, sorted(map(repr, values))
    return found


def applied_rows(graph: Graph, scripts: list[Written]) -> dict[str, frozenset[str]]:
    return {
        name: graph.histories[name].reduce(
            {one.revision.id for one in scripts if one.revision.package == name}
        )
        for name in graph.packages
    }


@settings(max_examples=60)
@given(teams(), st.integers(0, 2**32))
def test_random_teams_end_the_same(team: Team, seed: int) -> None:
    """From wherever in its timeline a database starts, and in whatever order packages come."""
    by_name = {str(one.revision): one for one in team.timeline}
    rng = random.Random(seed)
    ends = []
    for applied in team.prefixes():
        graph = Graph(shuffled_packages(team.revisions(), rng))
        with sqlite3.connect(":memory:") as database:
            run = [
                *applied,
                *(
                    by_name[str(step.revision)]
                    for step in plan_upgrade(graph, applied_rows(graph, applied))
                ),
            ]
            assert len(run) == len(team.timeline)
            for statement in (statement for one in run for statement in one.statements):
                database.execute(statement)
            ends.append(content_of(database))
    assert all(end == ends[-1] for end in ends)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_random_teams_through_the_service(seed: int) -> None:
    """The same from files, by the service: a fresh database, a lagging one and a grown one."""
    import tempfile

    rng = random.Random(seed)
    team = Team(rng, 14, lag=0.5)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        patch.syspath_prepend(str(root))
        workshop = Workshop(root)
        for name in team.packages:
            workshop.package(name, None)
        ends = []
        stops = [0, rng.randrange(1, 14), *range(14)]
        urls = [f"sqlite:///{root / name}.sqlite" for name in ("fresh", "lagging", "grown")]
        try:
            for number, one in enumerate(team.timeline):
                write_script(workshop, one)
                names = rng.sample(team.packages, len(team.packages))
                for url, when in ((urls[1], {stops[1]}), (urls[2], range(14))):
                    if number in when:
                        workshop.service(url, *names).upgrade()
            for url in urls:
                workshop.service(url, *rng.sample(team.packages, len(team.packages))).upgrade()
                with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
                    ends.append(content_of(database))
        finally:
            workshop.forget()
    assert ends[0] == ends[2]
    assert ends[1] == ends[2]


def write_script(workshop: Workshop, one: Written) -> None:
    revision = one.revision
    body = "\n".join(f"op.execute({statement!r})" for statement in one.statements)
    against: dict[str, tuple[str, ...]] = {}
    for package, id_ in revision.written_against:
        against[package] = (*against.get(package, ()), id_)
    path = workshop.script(
        revision.package,
        revision.id,
        revision.down_revisions or None,
        body,
        message=revision.doc,
        requires=revision.requires,
    )
    path.write_text(path.read_text() + f"\nwritten_against = {against!r}\n")


ORDER = """
import random, sys
sys.path.insert(0, sys.argv[1])
from random_graphs import shuffled_packages
from random_teams import Team
from websauna_migrate.planning.graph import Graph

for seed in range(15):
    team = Team(random.Random(seed), 30, recorded_from=10, lag=0.8)
    graph = Graph(shuffled_packages(team.revisions(), random.Random(sys.argv[2])))
    print(*graph.timeline(), *map(str, graph.dropped_orders), *graph.soft_orders)
"""


def test_the_order_depends_on_the_scripts_alone() -> None:
    """Not on the hash seed, nor on the order of packages and files."""
    found = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", ORDER, str(Path(__file__).parent), seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        found.add(done.stdout)
    (only,) = found
    assert "@" in only


def test_of_two_scripts_that_did_not_know_each_other_the_older_one_comes_first() -> None:
    found = 0
    for seed in range(40):
        team = Team(random.Random(seed), 30, lag=0.8)
        graph = Graph(team.revisions())
        age = {str(one.revision): place for place, one in enumerate(team.timeline)}
        for earlier, later in graph.dropped_orders:
            found += 1
            # What was dropped is the newer one's word.
            assert age[str(earlier)] > age[str(later)]
    assert found > 20
