from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from hypothesis import given, settings

from random_graphs import Oracle, histories
from websauna_migrate.errors import HistoryError, RevisionCycle, TargetError
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.rows import Rows
from websauna_migrate.planning.targets import (
    downgrade_set,
    is_relative,
    resolve,
    resolve_one,
    stamp_rows,
    upgrade_targets,
)
from websauna_migrate.planning.walks import find_cycle


@contextmanager
def raising(error: type[Any], kind: str, match: str = "") -> Iterator[pytest.ExceptionInfo[Any]]:
    """Expect an error of a kind."""
    with pytest.raises(error, match=match or None) as info:
        yield info
    assert info.value.kind == kind


def rev(revision_id: str, *down: str, **rest: Any) -> Revision:
    return Revision("shop", revision_id, down, path=f"/shop/{revision_id}.py", **rest)


@pytest.fixture
def branched() -> PackageHistory:
    """``1000 - 2000 - 3000 (label trunk)``, ``2000 - 2aaa - 2bbb (label side)``, merged nowhere."""
    return PackageHistory(
        "shop",
        [
            rev("1000"),
            rev("2000", "1000"),
            rev("3000", "2000", branch_labels=("trunk",)),
            rev("2aaa", "2000", branch_labels=("side",)),
            rev("2bbb", "2aaa"),
        ],
    )


# What a history is made of


def test_heads_bases_children_labels(branched: PackageHistory) -> None:
    assert branched.heads == ("2bbb", "3000")
    assert branched.effective_heads == ("2bbb", "3000")
    assert branched.bases == ("1000",)
    assert branched.children("2000") == ("2aaa", "3000")
    assert branched.is_branch_point("2000") and not branched.is_branch_point("1000")
    assert branched.labels_of("2bbb") == {"side"}
    assert branched.labels_of("2000") == frozenset()
    assert branched.ancestors(["2aaa"]) == {"1000", "2000", "2aaa"}
    assert branched.descendants(["2aaa"]) == {"2aaa", "2bbb"}
    assert "3000" in branched and "trunk" not in branched
    assert len(branched) == 5
    assert [revision.id for revision in branched] == ["1000", "2000", "2aaa", "2bbb", "3000"]


def test_head_that_another_branch_depends_on_is_no_effective_head() -> None:
    history = PackageHistory("shop", [rev("a"), rev("b", depends_on=("a",))])
    assert history.heads == ("a", "b")
    assert history.effective_heads == ("b",)
    assert history.current(["b"]) == ("a", "b")


def test_empty_history() -> None:
    history = PackageHistory("shop")
    assert history.heads == history.bases == ()
    assert resolve(history, "head") == resolve(history, "heads") == ()
    assert resolve_one(history, "head") is None
    assert downgrade_set(history, "base", ()) == set()


def test_duplicate_identifier_names_both_files() -> None:
    with raising(HistoryError, "duplicate_revision") as info:
        PackageHistory("shop", [rev("a1"), Revision("shop", "a1", path="/shop/copy.py")])
    assert str(info.value) == (
        'Package "shop" has the revision "a1" twice: in "/shop/a1.py" and in "/shop/copy.py". '
        "Remove one of the files, or give it another identifier."
    )
    assert isinstance(info.value, ValueError)


def test_duplicate_label_names_both_files() -> None:
    with raising(HistoryError, "duplicate_label") as info:
        PackageHistory("shop", [rev("a", branch_labels=("x",)), rev("b", branch_labels=("x",))])
    assert str(info.value) == (
        'The branch label "x" of revision "b" of "shop" ("/shop/b.py") is already used by '
        'revision "a" ("/shop/a.py"). Labels are unique within a package: rename one of the two.'
    )


def test_label_that_is_an_identifier() -> None:
    with raising(HistoryError, "duplicate_label"):
        PackageHistory("shop", [rev("a", branch_labels=("b",)), rev("b")])


def test_illegal_identifier() -> None:
    with raising(HistoryError, "illegal_identifier", match="one of the characters @ - \\+ :"):
        PackageHistory("shop", [rev("a-1")])


def test_missing_parent_names_the_file() -> None:
    with raising(HistoryError, "missing_revision") as info:
        PackageHistory("shop", [rev("b", "a")])
    assert str(info.value) == (
        'Revision "b" of "shop" ("/shop/b.py") has down_revision = "a", but the package has no '
        "such revision. Restore the missing script, or correct down_revision."
    )
    assert isinstance(info.value, LookupError)


def test_cycle_within_a_package() -> None:
    with pytest.raises(RevisionCycle) as info:
        PackageHistory(
            "shop",
            [rev("a", "c"), rev("b", "a", branch_labels=("x",)), rev("c", depends_on=("x",))],
        )
    assert [revision.id for revision in info.value.revisions] == ["a", "c", "b"]
    assert str(info.value) == (
        "These revisions wait for each other in a circle, so none can run:\n"
        '  "shop@a" ("/shop/a.py") comes after "shop@c" (its down_revision)\n'
        '  "shop@c" ("/shop/c.py") depends on "shop@b" (depends_on = "x")\n'
        '  "shop@b" ("/shop/b.py") comes after "shop@a" (its down_revision)\n'
        'Correct one of these lines in the scripts of "shop".'
    )


def test_revision_that_is_its_own_parent() -> None:
    with pytest.raises(RevisionCycle) as info:
        PackageHistory("shop", [rev("a", "a")])
    assert [revision.id for revision in info.value.revisions] == ["a"]


def test_shortest_cycle_through_the_smallest_node() -> None:
    assert find_cycle([[1], [2], [0, 1], [0]]) == [0, 1, 2]
    assert find_cycle([[], [2, 3], [1], [1, 2]]) == [1, 2]
    assert find_cycle([[], [0], [1]]) == []


# Targets


def test_resolve(branched: PackageHistory) -> None:
    assert resolve(branched, "heads") == ("2bbb", "3000")
    assert resolve(branched, "base") == ()
    assert resolve(branched, "3000") == ("3000",)
    assert resolve(branched, "2b") == ("2bbb",)
    assert resolve(branched, "side") == ("2aaa",)
    assert resolve(branched, "si") == ("2aaa",)
    assert resolve(branched, "side@head") == ("2bbb",)
    assert resolve(branched, "side@heads") == ("2bbb",)
    assert resolve(branched, "side@2b") == ("2bbb",)
    assert resolve(branched, "trunk@base") == ()


def test_head_of_several(branched: PackageHistory) -> None:
    with raising(TargetError, "several_heads") as info:
        resolve(branched, "head")
    assert str(info.value) == (
        '"head" of package "shop" means several revisions: "2bbb", "3000". Say `heads` for all of '
        "them or `label@head` for one branch, or join them with "
        "`ws-alembic -x packages=shop merge heads`."
    )
    with raising(TargetError, "several_heads"):
        resolve_one(branched, "heads")


def test_unknown_revision_offers_close_ones(branched: PackageHistory) -> None:
    with raising(TargetError, "unknown") as info:
        resolve(branched, "3001")
    assert info.value.found == ("3000",)
    assert str(info.value) == (
        'Package "shop" has no revision or branch label "3001"; close to it: "3000". '
        "`ws-alembic -x packages=shop history` lists what it has."
    )
    with raising(TargetError, "unknown"):
        resolve(branched, "")
    with raising(TargetError, "unknown"):
        resolve(branched, "nobranch@base")


def test_unknown_revision_among_many_is_found_soon() -> None:
    history = PackageHistory("shop", [rev(f"{number:05}") for number in range(20_000)])
    with raising(TargetError, "unknown") as info:
        resolve(history, "00001x")
    assert "00001" in info.value.found


def test_ambiguous_beginning_lists_candidates(branched: PackageHistory) -> None:
    with raising(TargetError, "ambiguous") as info:
        resolve(branched, "2")
    assert info.value.found == ("2000", "2aaa", "2bbb")
    assert str(info.value) == (
        '"2" is the beginning of several revisions of "shop": "2000", "2aaa", "2bbb". '
        "Write more of the identifier."
    )


def test_revision_of_another_branch(branched: PackageHistory) -> None:
    with raising(TargetError, "not_on_branch") as info:
        resolve(branched, "side@3000")
    assert str(info.value) == (
        'Revision "3000" of "shop" is not on the branch "side". Leave the label away, or name a '
        "revision of that branch."
    )


@pytest.mark.parametrize(
    ("target", "rows", "expected"),
    [
        ("heads", (), ("2bbb", "3000")),
        ("+1", (), ("1000",)),
        ("+2", (), ("2000",)),
        ("+1", ("2bbb",), None),
        ("side@+1", ("2000",), ("2aaa",)),
        ("side@+2", ("3000",), ("2bbb",)),
        ("1000+1", (), ("2000",)),
        ("side@2000+1", (), ("2aaa",)),
        ("side@head-1", (), ("2aaa",)),
        ("3000-2", (), ("1000",)),
        ("base", ("2000",), ()),
    ],
)
def test_upgrade_targets(
    branched: PackageHistory, target: str, rows: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    if expected is None:
        with raising(TargetError, "leads_nowhere"):
            upgrade_targets(branched, target, rows)
    else:
        assert upgrade_targets(branched, target, rows) == expected


def test_step_up_where_the_way_forks(branched: PackageHistory) -> None:
    with raising(TargetError, "several_ways") as info:
        upgrade_targets(branched, "+1", ["2000"])
    assert str(info.value) == (
        '"+1" has more than one meaning in "shop", where the way forks between "2aaa", "3000". '
        "Say which branch is meant with `label@`, or name a revision."
    )


@pytest.mark.parametrize("target", ["-1", "3000-3", "heads-1"])
def test_targets_that_lead_nowhere_up(branched: PackageHistory, target: str) -> None:
    with pytest.raises(TargetError):
        upgrade_targets(branched, target, ["2000"])


@pytest.mark.parametrize(
    ("target", "rows", "expected"),
    [
        ("base", ("3000", "2aaa"), {"1000", "2000", "3000", "2aaa"}),
        ("side@base", ("2bbb",), {"1000", "2000", "2aaa", "2bbb"}),
        ("2000", ("3000", "2aaa"), {"3000", "2aaa"}),
        ("side@2000", ("3000", "2aaa"), {"2aaa"}),
        ("-1", ("3000",), {"3000"}),
        ("-2", ("2bbb",), {"2aaa", "2bbb"}),
        ("side@-1", ("3000", "2bbb"), {"2bbb"}),
        ("1000+1", ("3000",), {"3000"}),
        ("2bbb", ("2bbb",), set()),
    ],
)
def test_downgrade_set(
    branched: PackageHistory, target: str, rows: tuple[str, ...], expected: set[str]
) -> None:
    assert downgrade_set(branched, target, rows) == expected


def test_step_down_from_several_rows_asks_which(branched: PackageHistory) -> None:
    with raising(TargetError, "several_ways"):
        downgrade_set(branched, "-1", ["3000", "2bbb"])


def test_downgrade_to_what_is_not_applied(branched: PackageHistory) -> None:
    with raising(TargetError, "not_applied") as info:
        downgrade_set(branched, "3000", ["2bbb"])
    assert str(info.value) == (
        '"shop" cannot go down to "3000": it is at "2bbb". '
        "`ws-alembic -x packages=shop current` shows what is applied."
    )


@pytest.mark.parametrize("target", ["+1", "base+0", "1000-2", "-9"])
def test_targets_that_lead_nowhere_down(branched: PackageHistory, target: str) -> None:
    with raising(TargetError, "leads_nowhere"):
        downgrade_set(branched, target, ["2000"])


def test_step_down_from_nothing(branched: PackageHistory) -> None:
    with raising(TargetError, "leads_nowhere", match="has nothing applied to go down from"):
        downgrade_set(branched, "-1", [])


@pytest.mark.parametrize(
    ("targets", "rows", "expected"),
    [
        (["heads"], [], {"2bbb", "3000"}),
        (["heads"], ["2aaa"], {"2bbb", "3000"}),
        (["2000"], ["2bbb", "3000"], {"2000"}),
        (["2aaa"], ["2bbb", "3000"], {"2aaa", "3000"}),
        (["base"], ["2bbb", "3000"], set()),
        (["3000"], ["2bbb"], {"2bbb", "3000"}),
        (["2bbb", "2aaa"], [], {"2bbb"}),
        # Alembic itself would lose the first of these two.
        (["2bbb", "3000"], ["2bbb", "2000"], {"2bbb", "3000"}),
    ],
)
def test_stamp(
    branched: PackageHistory, targets: list[str], rows: list[str], expected: set[str]
) -> None:
    assert stamp_rows(branched, targets, rows) == expected


def test_stamp_takes_no_steps(branched: PackageHistory) -> None:
    with raising(TargetError, "leads_nowhere") as info:
        stamp_rows(branched, ["+1"], [])
    assert str(info.value) == (
        '"+1" is not understood by stamp in package "shop". Name a revision.'
    )


# Rows


def test_rows_through_a_merge() -> None:
    history = PackageHistory("shop", [rev("a"), rev("b"), rev("m", "a", "b")])
    assert history.rows_after({"a", "b"}, "m", upgrade=True) == {"m"}
    assert history.rows_after({"m"}, "m", upgrade=False) == {"a", "b"}
    assert history.rows_after({"a"}, "a", upgrade=False) == frozenset()


def test_lost_rows_stand_for_nothing(branched: PackageHistory) -> None:
    assert branched.lost(["zz", "2000", "aa"]) == ("aa", "zz")
    assert branched.applied(["zz", "2000"]) == {"1000", "2000"}


def test_a_row_too_many_before_the_walk() -> None:
    history = PackageHistory("shop", [rev("a"), rev("b", "a"), rev("c", "b")])
    rows = Rows(history, {"a", "b"})
    assert rows.upgrade("c") == {"a", "c"}
    assert rows.downgrade("c") == {"a", "b"}


# Alembic as the oracle


def outcome(work: Callable[[], Any], errors: Any) -> tuple[str, Any]:
    try:
        return "found", work()
    except errors as exc:
        return "error", exc


def resolved_set(history: PackageHistory, target: str) -> set[str]:
    return set(resolve(history, target))


def upgrade_set(history: PackageHistory, target: str, rows: frozenset[str]) -> set[str]:
    return history.ancestors(upgrade_targets(history, target, rows)) - history.applied(rows)


def random_rows(history: PackageHistory, rng: random.Random) -> frozenset[str]:
    some = rng.sample(history.ids, rng.randint(0, min(4, len(history))))
    return history.reduce(history.ancestors(some))


def random_target(history: PackageHistory, rng: random.Random) -> str:
    names = [*history.ids, *history.labels]
    part = rng.choice(names)
    symbol = rng.choice(["head", "heads", "base", rng.choice(names), part[: rng.randint(1, 6)]])
    label = rng.choice([*history.labels, rng.choice(history.ids)])
    steps = rng.choice(["+1", "+2", "+0", "-1", "-2", "-3"])
    if symbol == "base" and steps in ("+0", "-1", "-2", "-3"):
        steps = "+1"  # Alembic takes "base-1" for the head.
    relative = [steps, f"{label}@{steps}", f"{symbol}{steps}", f"{label}@{symbol}{steps}"]
    return rng.choice([symbol, symbol, f"{label}@{symbol}", *relative])


@given(histories())
def test_structure_is_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle = Oracle(rng.sample(drawn_revisions, len(drawn_revisions)))
    history = PackageHistory("pkg", rng.sample(drawn_revisions, len(drawn_revisions)))
    assert set(history.heads) == set(oracle.map.heads)
    assert set(history.effective_heads) == set(oracle.map._real_heads)
    assert set(history.bases) == set(oracle.map.bases)
    for revision in drawn_revisions:
        theirs = oracle.map.get_revision(revision.id)
        assert theirs is not None
        assert set(history.children(revision.id)) == theirs.nextrev
        assert history.labels_of(revision.id) == theirs.branch_labels
        assert history.is_branch_point(revision.id) == theirs.is_branch_point
        assert history.is_merge_point(revision.id) == theirs.is_merge_point
        assert set(history.normalized_down_revisions(revision.id)) == set(
            theirs._normalized_down_revisions
        )
    rows = random_rows(history, rng)
    assert set(history.current(rows)) == {
        one.revision  # type: ignore[union-attr]
        for one in oracle.map._get_all_current(tuple(rows))
    }


@given(histories())
def test_absolute_targets_are_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle, history = Oracle(drawn_revisions), PackageHistory("pkg", drawn_revisions)
    for _ in range(10):
        target = random_target(history, rng)
        if not is_relative(target):
            theirs = outcome(partial(oracle.resolve, target), RevisionError)
            ours = outcome(partial(resolved_set, history, target), TargetError)
            assert ours[0] == theirs[0] and (ours[0] == "error" or ours[1] == theirs[1]), target


@given(histories())
def test_upgrade_sets_are_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle, history = Oracle(drawn_revisions), PackageHistory("pkg", drawn_revisions)
    for _ in range(10):
        target, rows = random_target(history, rng), random_rows(history, rng)
        # Alembic fails with assertions too.
        theirs = outcome(partial(oracle.upgrade_set, target, rows), Exception)
        ours = outcome(partial(upgrade_set, history, target, rows), TargetError)
        if theirs[0] == "error" and "overlaps with" in str(theirs[1]):
            # Of "label@heads" one head may depend on another; here the newest is enough.
            assert ours[0] == "found"
        else:
            assert ours[0] == theirs[0] and (ours[0] == "error" or ours[1] == theirs[1]), target


@given(histories())
def test_downgrade_sets_are_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle, history = Oracle(drawn_revisions), PackageHistory("pkg", drawn_revisions)
    for _ in range(10):
        target, rows = random_target(history, rng), random_rows(history, rng)
        if len(rows) > 1 and target.startswith("-"):
            # Alembic takes the first row, whichever that is, with a warning.
            with raising(TargetError, "several_ways"):
                downgrade_set(history, target, rows)
            continue
        theirs = outcome(partial(oracle.downgrade_set, target, rows), Exception)
        ours = outcome(partial(downgrade_set, history, target, rows), TargetError)
        assert ours[0] == theirs[0] and (ours[0] == "error" or ours[1] == theirs[1]), target


@given(histories())
def test_stamps_are_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle, history = Oracle(drawn_revisions), PackageHistory("pkg", drawn_revisions)
    for _ in range(10):
        target, rows = random_target(history, rng), random_rows(history, rng)
        _label, at, symbol = target.partition("@")
        if is_relative(target) or (at and symbol not in ("head", "heads", "base", *history.ids)):
            continue
        ours = outcome(partial(stamp_rows, history, [target], rows), TargetError)
        if ours[0] == "found" and len(resolve(history, target)) > 1:
            # With several targets Alembic may lose one that is a row already, or fail.
            assert history.applied(ours[1]) >= history.ancestors(resolve(history, target))
            continue
        theirs = outcome(partial(oracle.stamp, (target,), rows), (CommandError, RevisionError))
        assert ours[0] == theirs[0] and (ours[0] == "error" or ours[1] == theirs[1]), target


@given(histories())
@settings(max_examples=200)
def test_rows_are_alembics(drawn: Any) -> None:
    drawn_revisions, rng = drawn
    oracle, history = Oracle(drawn_revisions), PackageHistory("pkg", drawn_revisions)
    rows = random_rows(history, rng)
    walk = Rows(history, rows)
    applied = history.applied(rows)
    for _ in range(20):
        ready = [
            one
            for one in history.ids
            if one not in applied and history.ancestors([one]) <= applied | {one}
        ]
        loose = [one for one in applied if history.descendants([one]) & applied == {one}]
        upgrade = bool(ready) and (not loose or rng.random() < 0.5)
        one = rng.choice(ready if upgrade else sorted(loose))
        after = history.rows_after(rows, one, upgrade=upgrade)
        assert (walk.upgrade(one) if upgrade else walk.downgrade(one)) == after
        # A merge of parents that are each other's ancestors makes Alembic look for a row that is
        # not there.
        theirs = outcome(partial(oracle.rows_after, rows, one, upgrade=upgrade), LookupError)
        if theirs[0] == "found":
            assert after == theirs[1]
        else:
            assert upgrade
            if rows == history.reduce(applied):
                assert after == history.reduce(applied | {one})
        applied = applied | {one} if upgrade else applied - {one}
        assert history.applied(after) == applied
        rows = after


# Growth


@pytest.mark.parametrize("shape", ["chain", "merged", "labelled"])
def test_twenty_thousand_revisions_in_one_package(shape: str) -> None:
    count = 20_000
    made = [rev("00000")]
    for number in range(1, count):
        down: tuple[str, ...] = (f"{number - 1:05}",)
        rest: dict[str, Any] = {}
        if shape == "merged" and number > 2:
            down = (f"{number - 1:05}", f"{number - 2:05}")
            rest["depends_on"] = (f"{number // 4:05}",)
        if shape == "labelled" and number % 1000 == 0:
            rest["branch_labels"] = (f"label{number}",)
        made.append(rev(f"{number:05}", *down, **rest))
    start = time.process_time()
    history = PackageHistory("shop", reversed(made))
    assert history.effective_heads == (f"{count - 1:05}",)
    assert len(history.applied(history.heads)) == count
    assert len(history.labels_of(history.heads[0])) == (19 if shape == "labelled" else 0)
    assert len(downgrade_set(history, "base", history.heads)) == count
    walk = Rows(history, ())
    for one in history.ids:
        walk.upgrade(one)
    assert walk.rows == set(history.effective_heads)
    for one in reversed(history.ids):
        walk.downgrade(one)
    assert walk.rows == frozenset()
    # Some 0.3 s; what is quadratic takes minutes.
    assert time.process_time() - start < 5
