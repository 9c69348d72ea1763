from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from websauna_migrate.errors import DowngradeRefused, HistoryContradicted, TargetError, UsageError
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.plan import plan_downgrade, plan_stamp, plan_upgrade
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.state import State
from websauna_migrate.planning.steps import Plan


def rev(package: str, revision_id: str, *down: str, **rest: Any) -> Revision:
    return Revision(package, revision_id, down, path=f"/{package}/{revision_id}.py", **rest)


def chain(package: str, *ids: str, **requires: Sequence[str]) -> list[Revision]:
    return [
        rev(package, one, *ids[max(place - 1, 0) : place], requires=tuple(requires.get(one, ())))
        for place, one in enumerate(ids)
    ]


def names(steps: Any) -> list[str]:
    return [str(getattr(step, "revision", step)) for step in steps]


def reasons(plan: Plan) -> list[str]:
    return [f"{step.revision}: {step.reason}" for step in plan]


@pytest.fixture
def graph() -> Graph:
    """A shop that needs users and payments; a blog that only needs users."""
    return Graph(
        {
            "shop": chain("shop", "s1", "s2", "s3", s2=["user@u2"], s3=["pay@p1"]),
            "user": chain("user", "u1", "u2", "u3"),
            "pay": chain("pay", "p1", "p2", p1=["user@u1"]),
            "blog": chain("blog", "b1"),
        },
        {"blog": ["user"]},
    )


EVERYTHING = {"shop": ["s3"], "user": ["u3"], "pay": ["p2"], "blog": ["b1"]}


# Upgrade


def test_upgrade_brings_in_what_is_required_and_no_more(graph: Graph) -> None:
    plan = plan_upgrade(graph, {}, {"shop": "heads"})
    assert reasons(plan) == [
        "user@u1: required by pay p1",
        "user@u2: required by shop s2",
        "pay@p1: required by shop s3",
        "shop@s1: requested",
        "shop@s2: requested",
        "shop@s3: requested",
    ]
    assert plan.direction == "upgrade"
    assert plan.packages == ("pay", "shop", "user")
    assert plan.rows_after == {"shop": {"s3"}, "user": {"u2"}, "pay": {"p1"}}


def test_what_leads_to_a_requirement_is_there_for_the_same_reason(graph: Graph) -> None:
    plan = plan_upgrade(graph, {"pay": ["p1"], "user": ["u1"]}, {"blog": "heads"})
    assert reasons(plan) == [
        "user@u2: required by blog b1",
        "user@u3: required by blog b1",
        "blog@b1: requested",
    ]
    assert plan.steps[0].reasons[0].kind == "package"
    assert plan.steps[0].reasons[0].text == "user"


def test_upgrade_of_everything(graph: Graph) -> None:
    plan = plan_upgrade(graph, {})
    assert names(plan) == names(graph.timeline())
    assert plan.rows_after == {name: set(rows) for name, rows in EVERYTHING.items()}
    assert reasons(plan)[:2] == [
        "user@u1: requested; required by pay p1",
        "user@u2: requested; required by shop s2",
    ]


def test_nothing_to_do(graph: Graph) -> None:
    plan = plan_upgrade(graph, EVERYTHING)
    assert len(plan) == 0
    assert plan.as_data() == {"direction": "upgrade", "steps": [], "adopted": []}


def test_plan_as_json() -> None:
    graph = Graph(
        {
            "a": [Revision("a", "a1", (), doc="Make it\n\nMore.", path="/a1.py")],
            "b": [Revision("b", "b1", (), requires=("a@a1",), path="/b1.py")],
        }
    )
    plan = plan_upgrade(graph, {}, {"b": "b1"})
    assert json.loads(json.dumps(plan.as_data())) == {
        "direction": "upgrade",
        "steps": [
            {
                "package": "a",
                "revision": "a1",
                "direction": "upgrade",
                "message": "Make it",
                "path": "/a1.py",
                "reason": "required by b b1",
                "reasons": [
                    {
                        "why": "required",
                        "text": "a@a1",
                        "kind": "requires",
                        "package": "b",
                        "revision": "b1",
                    }
                ],
                "rows_before": [],
                "rows_after": ["a1"],
            },
            {
                "package": "b",
                "revision": "b1",
                "direction": "upgrade",
                "message": "",
                "path": "/b1.py",
                "reason": "requested",
                "reasons": [
                    {
                        "why": "requested",
                        "text": "b@b1",
                        "kind": None,
                        "package": None,
                        "revision": None,
                    }
                ],
                "rows_before": [],
                "rows_after": ["b1"],
            },
        ],
        "adopted": [],
    }


def test_many_reasons_are_cut_short() -> None:
    packages = {f"p{n}": chain(f"p{n}", "r", r=["a@a1"]) for n in range(5)}
    plan = plan_upgrade(Graph({**packages, "a": chain("a", "a1")}), {})
    assert plan.steps[0].reason == "requested; required by p0 r; required by p1 r; 3 more"
    assert len(plan.steps[0].reasons) == 6


def test_several_targets_of_a_package() -> None:
    graph = Graph({"a": [rev("a", "1"), rev("a", "2", "1"), rev("a", "3", "1")]})
    plan = plan_upgrade(graph, {}, {"a": ["3", "2"]})
    assert names(plan) == ["a@1", "a@2", "a@3"]
    assert [reason.text for reason in plan.steps[0].reasons] == ["a@2", "a@3"]


def test_relative_target(graph: Graph) -> None:
    assert names(plan_upgrade(graph, {"user": ["u1"]}, {"user": "+1"})) == ["user@u2"]


def test_unknown_target(graph: Graph) -> None:
    with pytest.raises(TargetError):
        plan_upgrade(graph, {}, {"user": "zzz"})
    with pytest.raises(TargetError):
        plan_downgrade(graph, {}, {"user": "-1"})


def test_unknown_package(graph: Graph) -> None:
    with pytest.raises(UsageError) as info:
        plan_upgrade(graph, {}, {"usr": "heads"})
    assert str(info.value) == (
        'No package "usr" is registered for migrations; registered are "blog", "pay", "shop", '
        '"user".'
    )


def test_rows_of_a_package_that_is_gone_are_no_obstacle(graph: Graph) -> None:
    rows = {**EVERYTHING, "gone": ["g1"]}
    assert len(plan_upgrade(graph, rows)) == 0


def test_pending(graph: Graph) -> None:
    waiting = State(graph, {"user": ["u2"], "pay": ["p2"]}).pending()
    assert {name: names(revisions) for name, revisions in waiting.items()} == {
        "blog": ["blog@b1"],
        "pay": [],
        "shop": ["shop@s1", "shop@s2", "shop@s3"],
        "user": ["user@u3"],
    }


# Floating requirements


def test_pending_revision_waits_for_todays_heads_and_an_applied_one_does_not(graph: Graph) -> None:
    assert names(plan_upgrade(graph, {}, {"blog": "heads"})) == [
        "user@u1",
        "user@u2",
        "user@u3",
        "blog@b1",
    ]
    assert len(plan_upgrade(graph, {"user": ["u1"], "blog": ["b1"]}, {"blog": "heads"})) == 0


def test_downgrade_may_go_below_the_heads_of_a_floating_requirement(graph: Graph) -> None:
    applied = {"user": ["u3"], "blog": ["b1"]}
    assert names(plan_downgrade(graph, applied, {"user": "u1"})) == ["user@u3", "user@u2"]
    with pytest.raises(DowngradeRefused) as info:
        plan_downgrade(graph, applied, {"user": "base"})
    assert names(info.value.dependents) == ["blog@b1"]
    # b1 goes first even where the head that it waited for is not applied any more.
    plan = plan_downgrade(graph, {"user": ["u2"], "blog": ["b1"]}, {"user": "base"}, cascade=True)
    assert names(plan) == ["blog@b1", "user@u2", "user@u1"]


def test_floating_requirement_asks_for_one_base_only() -> None:
    user = [rev("user", "u1"), rev("user", "v1")]
    graph = Graph({"shop": chain("shop", "s1", s1=["user@heads"]), "user": user})
    applied = {"shop": ["s1"], "user": ["u1", "v1"]}
    assert names(plan_downgrade(graph, {**applied, "user": ["u1"]}, {"shop": "base"})) == [
        "shop@s1"
    ]
    with pytest.raises(DowngradeRefused):
        plan_downgrade(graph, {**applied, "user": ["u1"]}, {"user": "base"})


def test_run_before_a_head_that_has_run_asks_nothing() -> None:
    packages = {"a": [rev("a", "a1", run_before=("b@head",))], "b": chain("b", "b1")}
    assert names(plan_upgrade(Graph(packages), {"b": ["b1"]})) == ["a@a1"]
    assert names(plan_upgrade(Graph(packages), {}, {"b": "heads"})) == ["a@a1", "b@b1"]


# Downgrade


def test_downgrade_is_refused_while_others_need_it(graph: Graph) -> None:
    with pytest.raises(DowngradeRefused) as info:
        plan_downgrade(graph, EVERYTHING, {"user": "u1"})
    assert names(info.value.dependents) == ["shop@s3", "shop@s2"]
    assert str(info.value) == (
        "The downgrade would take away what applied revisions of other packages require. These "
        "would have to go first, in this order:\n"
        '  "shop@s3" ("/shop/s3.py"): requires user u2, which goes\n'
        '  "shop@s2" ("/shop/s2.py"): requires user u2, which goes\n'
        "Add `--cascade` to take them down too, or downgrade their packages first."
    )


def test_cascade(graph: Graph) -> None:
    plan = plan_downgrade(graph, EVERYTHING, {"user": "base"}, cascade=True)
    assert reasons(plan) == [
        "shop@s3: requires pay p1, which goes",
        "shop@s2: requires user u2, which goes",
        "pay@p2: requires user u1, which goes",
        "pay@p1: requires user u1, which goes",
        "blog@b1: requires user u1, which goes",
        "user@u3: requested",
        "user@u2: requested",
        "user@u1: requested",
    ]
    assert plan.rows_after == {"shop": {"s1"}, "pay": set(), "user": set(), "blog": set()}


def test_packages_that_are_named_together_go_together(graph: Graph) -> None:
    targets = {"user": "u1", "shop": "s1"}
    plan = plan_downgrade(graph, EVERYTHING, targets)
    assert reasons(plan) == [
        "shop@s3: requested",
        "shop@s2: requested; requires user u2, which goes",
        "user@u3: requested",
        "user@u2: requested",
    ]


def test_everything_to_base(graph: Graph) -> None:
    plan = plan_downgrade(graph, EVERYTHING, dict.fromkeys(graph.packages, "base"))
    assert names(plan) == names(reversed(graph.timeline()))
    assert set(plan.rows_after.values()) == {frozenset()}


def test_run_before_protects_the_runner() -> None:
    packages = {"a": [rev("a", "a1", run_before=("b@b1",))], "b": chain("b", "b1")}
    with pytest.raises(DowngradeRefused):
        plan_downgrade(Graph(packages), {"a": ["a1"], "b": ["b1"]}, {"a": "base"})


# A history that violates the graph


def test_violation_is_found_before_anything_runs(graph: Graph) -> None:
    with pytest.raises(HistoryContradicted, match="lack what they require") as info:
        plan_upgrade(graph, {"shop": ["s2"], "user": ["u1"]}, {"pay": "heads"})
    assert str(info.value) == (
        "Applied revisions lack what they require, and nothing was run:\n"
        '  "shop@s2" ("/shop/s2.py") requires "user@u2" (requires = "user@u2"), '
        "which is not applied\n"
        'If the schema has what "user@u2" makes, record that with `ws-alembic -x packages=user '
        'stamp u2`. If it has not, take "shop@s2" down with `ws-alembic -x packages=shop '
        "downgrade s1` and upgrade again: then the order is right."
    )


def test_violation_of_a_floating_requirement(graph: Graph) -> None:
    with pytest.raises(HistoryContradicted, match="lack what they require") as info:
        plan_upgrade(graph, {"blog": ["b1"]})
    assert '(depends_on = "user" of the package "blog"), but nothing of that package' in str(
        info.value
    )
    assert info.value.revisions == ("blog@b1",)


def test_every_violation_is_listed(graph: Graph) -> None:
    with pytest.raises(HistoryContradicted, match="lack what they require") as info:
        plan_upgrade(graph, {"shop": ["s3"], "blog": ["b1"]})
    assert info.value.revisions == ("blog@b1", "shop@s2", "shop@s3")
    assert info.value.packages == ("blog", "shop")


def test_package_added_later_with_run_before_something_applied() -> None:
    packages = {"a": [rev("a", "a1", run_before=("b@b1",))], "b": chain("b", "b1")}
    with pytest.raises(HistoryContradicted, match="lack what they require") as info:
        plan_upgrade(Graph(packages), {"b": ["b1"]})
    assert '"b@b1" ("/b/b1.py") comes after "a@a1" (run_before = "b@b1" in "/a/a1.py")' in str(
        info.value
    )


@pytest.mark.parametrize("applied", [{"shop": ["s3"], "blog": ["b1"]}, {"shop": ["s3"]}])
def test_the_remedies_work(graph: Graph, applied: Mapping[str, Collection[str]]) -> None:
    """However many violations there are, each can be downgraded away, or stamped."""
    rows: dict[str, Collection[str]] = dict(applied)
    while violations := State(graph, rows).violations():
        revision = violations[0].dependent
        below = revision.down_revisions[0] if revision.down_revisions else "base"
        rows |= plan_downgrade(graph, rows, {revision.package: below}, cascade=True).rows_after
    assert plan_upgrade(graph, rows)
    rows = dict(applied)
    while violations := State(graph, rows).violations():
        missing = violations[0].missing[0]
        rows |= plan_stamp(graph, rows, {missing.package: missing.id})
    assert plan_upgrade(graph, rows)


def test_downgrade_of_what_stands_on_a_violation_is_a_way_back() -> None:
    graph = Graph(
        {
            "a": chain("a", "a1", a1=["b@b1"]),
            "b": chain("b", "b1"),
            "c": chain("c", "c1", c1=["a@a1"]),
            "d": chain("d", "d1"),
        }
    )
    applied = {"a": ["a1"], "c": ["c1"], "d": ["d1"]}
    assert names(plan_downgrade(graph, applied, {"c": "base"})) == ["c@c1"]
    with pytest.raises(HistoryContradicted, match="lack what they require"):
        plan_downgrade(graph, applied, {"d": "base"})


def test_downgrade_below_what_is_missing_is_refused_all_the_same() -> None:
    graph = Graph({"a": chain("a", "a1", a1=["b@b2"]), "b": chain("b", "b1", "b2")})
    with pytest.raises(DowngradeRefused):
        plan_downgrade(graph, {"a": ["a1"], "b": ["b1"]}, {"b": "base"})


# Rows that no script defines


def test_lost_revision_stops_what_touches_its_package(graph: Graph) -> None:
    applied = {**EVERYTHING, "user": ["u9"]}
    with pytest.raises(HistoryContradicted, match="which no script of the package defines") as info:
        plan_upgrade(graph, applied)
    assert str(info.value) == (
        'The history table of "user" has the row "u9", which no script of the package defines. '
        'Restore the missing script, or install the release of "user" that has it.'
    )
    with pytest.raises(HistoryContradicted, match="which no script of the package defines"):
        plan_upgrade(graph, {"user": ["u9"]}, {"shop": "heads"})
    with pytest.raises(HistoryContradicted, match="which no script of the package defines"):
        plan_downgrade(graph, applied, {"user": "base"})


def test_lost_revision_is_no_obstacle_elsewhere(graph: Graph) -> None:
    applied = {"user": ["u2", "u9"], "shop": ["s2"], "blog": ["b1"]}
    assert State(graph, applied).lost == {"user": ("u9",)}
    assert names(plan_upgrade(graph, applied, {"shop": "heads"})) == ["pay@p1", "shop@s3"]
    assert names(plan_downgrade(graph, applied, {"shop": "s1"})) == ["shop@s2"]
    # The row may well stand for the revision that is missing.
    assert State(graph, {**applied, "user": ["u9"]}).violations() == ()


def test_cascade_into_a_package_with_lost_revisions(graph: Graph) -> None:
    applied = {"user": ["u3"], "shop": ["s2", "s9"]}
    with pytest.raises(HistoryContradicted, match="which no script of the package defines"):
        plan_downgrade(graph, applied, {"user": "base"}, cascade=True)


def test_rows_with_a_part_of_a_squash_whose_old_scripts_are_gone() -> None:
    graph = Graph({"a": [rev("a", "new1", replaces=("old1", "old2"))]})
    with pytest.raises(HistoryContradicted, match="which no script of the package defines") as info:
        plan_upgrade(graph, {"a": ["old1"]})
    assert str(info.value) == (
        'The history table of "a" has the row "old1", which no script of the package defines. It '
        'was squashed into "new1" ("/a/new1.py"), and the database has a part of that: it lacks '
        'what leads to "old2". Install the last release of "a" that has the old scripts, upgrade, '
        "and come back. If the schema has all of it, record that with `ws-alembic -x packages=a "
        "stamp --purge new1`."
    )


# Stamp


def test_stamp(graph: Graph) -> None:
    assert plan_stamp(graph, EVERYTHING, {"user": "u1"}) == {"user": {"u1"}}
    assert plan_stamp(graph, {}, {"shop": "heads"}) == {"shop": {"s3"}}
    assert plan_stamp(graph, {"user": ["u2"]}, {"user": "base"}) == {"user": set()}


def test_stamp_with_requirements(graph: Graph) -> None:
    after = plan_stamp(graph, {}, {"shop": "heads"}, with_requirements=True)
    assert after == {"shop": {"s3"}, "user": {"u2"}, "pay": {"p1"}}
    after = plan_stamp(graph, {"user": ["u3"]}, {"shop": "s2"}, with_requirements=True)
    assert after == {"shop": {"s2"}}
    after = plan_stamp(graph, {}, {"blog": "heads"}, with_requirements=True)
    assert after == {"blog": {"b1"}, "user": {"u3"}}
    after = plan_stamp(graph, {"user": ["u1"]}, {"blog": "heads"}, with_requirements=True)
    assert after == {"blog": {"b1"}}


def test_stamp_over_lost_rows_needs_purge(graph: Graph) -> None:
    with pytest.raises(HistoryContradicted, match="which no script of the package defines"):
        plan_stamp(graph, {"user": ["u9"]}, {"user": "u2"})
    assert plan_stamp(graph, {"user": ["u9"]}, {"user": "u2"}, purge=True) == {"user": {"u2"}}
    with pytest.raises(HistoryContradicted, match="which no script of the package defines"):
        plan_stamp(graph, {"user": ["u9"]}, {"shop": "s2"}, with_requirements=True)
