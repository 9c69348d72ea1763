"""Squashes that stand beside what they replace, or alone: what a database goes on by."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from apps import Workshop
from runs import execute, rows, table, tables
from websauna_migrate.errors import HistoryContradicted, HistoryError, MigrationError, TargetError
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_downgrade, plan_stamp, plan_upgrade
from websauna_migrate.planning.revisions import Revision

HISTORY = "alembic_history_fooapp"


def add_replaces(script: Path, *replaced: str) -> None:
    text = script.read_text()
    script.write_text(text.replace("depends_on = ", f"replaces = {replaced!r}\ndepends_on = ", 1))


def old_scripts(workshop: Workshop) -> list[Path]:
    workshop.package("fooapp")
    return [
        workshop.script("fooapp", f"aa0{n}", f"aa0{n - 1}" if n > 1 else None, **table(name))
        for n, name in enumerate("abc", 1)
    ]


def write_squash(workshop: Workshop, replaced: tuple[str, ...] = ("aa01", "aa02", "aa03")) -> Path:
    up = "; ".join(f"op.execute('CREATE TABLE {name} (id INTEGER)')" for name in "abc")
    down = "; ".join(f"op.execute('DROP TABLE {name}')" for name in "cba")
    script = workshop.script("fooapp", "sq01", None, up, down)
    add_replaces(script, *replaced)
    return script


@pytest.mark.parametrize("beside", [True, False])
def test_a_database_with_all_of_it_takes_the_squash_as_applied(
    workshop: Workshop, database_url: str, tmp_path: Path, beside: bool
) -> None:
    old = old_scripts(workshop)
    workshop.package("other")
    workshop.script("other", "bb01", requires=["fooapp@aa02"], **table("d"))
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    write_squash(workshop)
    for script in [] if beside else old:
        script.unlink()
    # Commands that look.
    assert "0 (sq01 adopted at the next upgrade)" in workshop.ws(ini, "status").out
    (state, _) = json.loads(workshop.ws(ini, "-x", "packages=all", "status", "--json").out)
    assert (state["rows"], state["adopts"], state["unknown"]) == (["aa03"], ["sq01"], [])
    assert workshop.ws(ini, "heads").out.startswith("sq01")
    assert "aa0" not in workshop.ws(ini, "history").out
    assert workshop.ws(ini, "-x", "packages=all", "check").status == 0
    assert workshop.ws(ini, "current", "--check-heads").status == 0
    plan = json.loads(workshop.ws(ini, "plan", "--json").out)
    assert [one["squashes"] for one in plan["adopted"]] == [["sq01"]] and not plan["steps"]
    assert rows(database_url, f"SELECT version_num FROM {HISTORY}") == [("aa03",)]
    # A dry run changes nothing.
    assert workshop.ws(ini, "upgrade", "--dry-run").status in (0, 1)
    assert rows(database_url, f"SELECT version_num FROM {HISTORY}") == [("aa03",)]
    done = workshop.ws(ini, "upgrade")
    assert done.status == 0 and "fooapp: squash sq01 adopted, in place of aa03." in done.out
    assert rows(database_url, f"SELECT version_num FROM {HISTORY}") == [("sq01",)]
    (note,) = rows(database_url, "SELECT note FROM websauna_migrate_ledger WHERE revision = 'sq01'")
    assert note == ("squash sq01 adopted: was at aa03",)
    assert "Nothing to do" in workshop.ws(ini, "upgrade").out
    assert "adopted" not in workshop.ws(ini, "status").out
    # It goes down as one, and what stands on it first.
    refused = workshop.ws(ini, "downgrade", "base")
    assert refused.status != 0 and "other@bb01" in refused.err
    assert workshop.ws(ini, "downgrade", "base", "--cascade", "--yes").status == 0
    assert not {*"abcd"} & tables(database_url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    assert {*"abcd"} <= tables(database_url)
    assert rows(database_url, f"SELECT version_num FROM {HISTORY}") == [("sq01",)]


def test_a_database_with_a_part_of_it_goes_on_by_the_old_scripts(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    old = old_scripts(workshop)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    assert workshop.ws(ini, "upgrade", "aa01").status == 0
    squash = write_squash(workshop)
    assert [line for line in workshop.ws(ini, "status").out.splitlines() if " 2" in line]
    plan = json.loads(workshop.ws(ini, "plan", "--json").out)
    assert [step["revision"] for step in plan["steps"]] == ["aa02", "aa03"]
    # Without them it says so, and by which release.
    moved = [script.rename(script.with_suffix(".old")) for script in old]
    broken = workshop.ws(ini, "upgrade")
    assert broken.status != 0 and 'It was squashed into "sq01"' in broken.err
    assert 'Install the last release of "fooapp" that has the old scripts' in broken.err
    assert "no script defines aa01" in workshop.ws(ini, "status").out
    assert workshop.ws(ini, "check").status != 0
    for script in moved:
        script.rename(script.with_suffix(".py"))
    # With them it is mended, and the squash adopted in the same run.
    done = workshop.ws(ini, "upgrade")
    assert done.status == 0 and "2 steps applied" in done.out, done.out
    assert "squash sq01 adopted, in place of aa03" in done.out
    assert rows(database_url, f"SELECT version_num FROM {HISTORY}") == [("sq01",)]
    assert {*"abc"} <= tables(database_url)
    assert squash.exists() and workshop.ws(ini, "check").status == 0


def test_the_commit_that_has_the_old_scripts_is_named(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    old = old_scripts(workshop)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    assert workshop.ws(ini, "upgrade", "aa01").status == 0
    git = ("git", "-C", str(workshop.root), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, "tag", "v1.9"], check=True)
    write_squash(workshop)
    for path in old:
        path.unlink()
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "b"], check=True)
    broken = workshop.ws(ini, "upgrade")
    assert broken.status != 0 and "v1.9 is the last release that has it" in broken.err
    (command,) = re.findall("To have the old scripts again: (git checkout .*)", broken.err)
    subprocess.run(command.split(), check=True, cwd=workshop.root)
    assert "squash sq01 adopted, in place of aa03" in workshop.ws(ini, "upgrade").out


def test_an_empty_database_gets_the_squash_and_what_stands_on_it(
    workshop: Workshop, sqlite_url: str
) -> None:
    old_scripts(workshop)
    write_squash(workshop)
    # Its parent was squashed.
    workshop.script("fooapp", "aa04", "aa03", **table("e"))
    service = workshop.service(sqlite_url)
    assert [one.revision for one in service.upgrade().steps] == ["sq01", "aa04"]
    with pytest.raises(TargetError, match='"aa02" of package "fooapp" is a part of the squash'):
        service.downgrade("aa02")
    assert [one.revision for one in service.downgrade("aa03").steps] == ["aa04"]


def test_adopted_in_one_transaction_with_what_follows(
    workshop: Workshop, transactional_database_url: str
) -> None:
    old_scripts(workshop)
    workshop.service(transactional_database_url).upgrade()
    write_squash(workshop)
    failing = workshop.script("fooapp", "aa04", "sq01", "op.execute('no SQL')")
    service = workshop.service(transactional_database_url)
    with pytest.raises(MigrationError):
        service.upgrade(atomic=True)
    query = f"SELECT version_num FROM {HISTORY}"
    assert rows(transactional_database_url, query) == [("aa03",)]
    failing.unlink()
    workshop.script("fooapp", "aa04", "sq01", **table("e"))
    run = workshop.service(transactional_database_url).upgrade(atomic=True)
    assert [(one.before, one.after) for one in run.adopted] == [(("aa03",), ("sq01",))]
    assert rows(transactional_database_url, query) == [("aa04",)]


def test_a_stamp_means_the_squash_or_a_part_of_it(workshop: Workshop, sqlite_url: str) -> None:
    old_scripts(workshop)
    write_squash(workshop)
    service = workshop.service(sqlite_url)
    execute(sqlite_url, "CREATE TABLE a (id INTEGER)", "CREATE TABLE b (id INTEGER)")
    assert [one.after for one in service.stamp("aa02")] == [("aa02",)]
    assert [one.revision for one in service.upgrade().steps] == ["aa03"]
    assert service.current()[0].rows == ("sq01",)


# Plans alone


def rev(id_: str, *down: str, replaces: tuple[str, ...] = (), package: str = "a") -> Revision:
    return Revision(package, id_, down, replaces=replaces, path=f"/{id_}.py")


OLD = [rev("a1"), rev("a2", "a1"), rev("a3", "a2"), rev("a4", "a3")]


def planned(revisions: list[Revision], *applied: str) -> tuple[list[str], list[str]]:
    plan = plan_upgrade(Graph({"a": revisions}), {"a": applied})
    adopted = [squash.id for one in plan.adopted for squash in one.squashes]
    return adopted, [step.revision.id for step in plan.steps]


def test_squashes_of_squashes() -> None:
    first = rev("s1", replaces=("a1", "a2"))
    second = rev("s2", replaces=("a1", "a2", "s1", "a3"))
    every = [*OLD, first, second]
    assert planned(every) == ([], ["s2", "a4"])
    assert planned(every, "a3") == (["s2"], ["a4"])
    assert planned(every, "s1") == ([], ["a3", "a4"])
    assert planned(every, "a2") == (["s1"], ["a3", "a4"])
    assert planned(every, "a1") == ([], ["a2", "a3", "a4"])
    assert planned(every, "a4") == planned(every, "s2", "a4") == ([], [])
    # The older scripts are gone, the former squash is not.
    some = [*OLD[2:], first, second]
    assert planned(some, "a2") == (["s1"], ["a3", "a4"])
    assert planned([rev("a4", "a3"), second], "a3") == (["s2"], ["a4"])
    with pytest.raises(HistoryContradicted, match='squashed into "s2"'):
        planned([rev("a4", "a3"), second], "s1")


def test_two_squashes_of_one_revision() -> None:
    with pytest.raises(HistoryError, match="neither replaces the other") as info:
        Graph({"a": [*OLD, rev("s1", replaces=("a1", "a2")), rev("s2", replaces=("a2", "a3"))]})
    assert info.value.kind == "replaced_twice"


def test_a_squash_in_the_middle() -> None:
    squash = rev("s1", "a1", replaces=("a2", "a3"))
    assert planned([*OLD, squash]) == ([], ["a1", "s1", "a4"])
    assert planned([*OLD, squash], "a1") == ([], ["s1", "a4"])
    assert planned([*OLD, squash], "a2") == ([], ["a3", "a4"])
    assert planned([*OLD, squash], "a3") == (["s1"], ["a4"])
    graph = Graph({"a": [*OLD, squash]})
    down = plan_downgrade(graph, {"a": ["a3"]}, {"a": "a1"})
    assert [step.revision.id for step in down.steps] == ["s1"] and len(down.adopted) == 1
    part = plan_downgrade(graph, {"a": ["a2"]}, {"a": "a1"})
    assert [step.revision.id for step in part.steps] == ["a2"]
    assert plan_stamp(graph, {"a": ()}, {"a": "a3"}) == {"a": {"s1"}}


def test_circles_between_packages_are_those_of_the_scripts_that_stand() -> None:
    other = [
        Revision("b", "b1", requires=("a@a1",)),
        Revision("b", "b2", ("b1",), requires=("a@a3",)),
    ]
    graph = Graph({"a": [*OLD, rev("s1", replaces=("a1", "a2", "a3"))], "b": other})
    order = [str(one) for one in graph.timeline()]
    assert order.index("a@s1") < order.index("b@b1")
    rest = plan_upgrade(graph, {"a": ["a2"], "b": ["b1"]})
    assert [str(step.revision) for step in rest.steps] == ["a@a3", "a@a4", "b@b2"]
