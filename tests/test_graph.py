from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from websauna_migrate.errors import HistoryError, MigrationError, RequirementError, RevisionCycle
from websauna_migrate.planning.graph import Graph
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision


def rev(package: str, revision_id: str, *down: str, **rest: Any) -> Revision:
    return Revision(package, revision_id, down, path=f"/{package}/{revision_id}.py", **rest)


def chain(package: str, *ids: str, **requires: Sequence[str]) -> list[Revision]:
    """Return a line of revisions; a keyword names the requirements of one of them."""
    return [
        rev(package, one, *ids[max(place - 1, 0) : place], requires=tuple(requires.get(one, ())))
        for place, one in enumerate(ids)
    ]


def names(revisions: Sequence[Revision]) -> list[str]:
    return [str(revision) for revision in revisions]


def edges(graph: Graph, package: str, revision_id: str) -> list[tuple[str, str, str, bool]]:
    revision = graph.histories[package].revisions[revision_id]
    return [
        (str(edge.required), edge.kind, edge.text, edge.floating)
        for edge in graph.required_by(revision)
    ]


USER = chain("acme.user", "u100", "u200", "u300")


# What requirements mean


@pytest.mark.parametrize(
    ("text", "required", "floating"),
    [
        ("acme.user@u200", "u200", False),
        ("acme.user@u2", "u200", False),
        ("acme.user@head", "u300", True),
        ("acme.user@heads", "u300", True),
        ("acme.user@base", "u100", True),
    ],
)
def test_requirement(text: str, required: str, floating: bool) -> None:
    graph = Graph({"shop": chain("shop", "s1", s1=[text]), "acme.user": USER})
    assert edges(graph, "shop", "s1") == [(f"acme.user@{required}", "requires", text, floating)]


def test_all_heads_and_labels() -> None:
    user = [
        rev("user", "u1"),
        rev("user", "u2", "u1", branch_labels=("old",)),
        rev("user", "u3", "u1", branch_labels=("new",)),
        rev("user", "u4", "u3"),
    ]
    texts = ["user@head", "user@new", "user@new@head", "user@old@base"]
    graph = Graph({"user": user, "shop": chain("shop", "s1", s1=texts)})
    assert edges(graph, "shop", "s1") == [
        ("user@u2", "requires", "user@head", True),
        ("user@u4", "requires", "user@head", True),
        ("user@u3", "requires", "user@new", False),
        ("user@u4", "requires", "user@new@head", True),
        ("user@u1", "requires", "user@old@base", True),
    ]


def test_run_before_makes_the_target_require_it() -> None:
    graph = Graph({"shop": [rev("shop", "s1", run_before=("acme.user@u200",))], "acme.user": USER})
    assert edges(graph, "acme.user", "u200") == [("shop@s1", "run_before", "acme.user@u200", False)]
    assert names(graph.timeline()) == [
        "acme.user@u100",
        "shop@s1",
        "acme.user@u200",
        "acme.user@u300",
    ]


def test_run_before_heads_floats_and_base_does_not() -> None:
    graph = Graph(
        {
            "shop": [rev("shop", "s1", run_before=("acme.user@head", "acme.user@base"))],
            "acme.user": USER,
        }
    )
    assert edges(graph, "acme.user", "u300") == [("shop@s1", "run_before", "acme.user@head", True)]
    assert edges(graph, "acme.user", "u100") == [("shop@s1", "run_before", "acme.user@base", False)]


def test_run_before_a_package_that_is_not_there_is_ignored() -> None:
    graph = Graph({"shop": [rev("shop", "s1", run_before=("acme.user@u200",))]})
    assert graph.requirements == []


def test_package_requirement_holds_for_bases_without_one_of_their_own() -> None:
    shop = [
        rev("shop", "s1"),
        rev("shop", "s2", "s1"),
        rev("shop", "t1", requires=("acme.user@u100",)),
    ]
    graph = Graph({"shop": shop, "acme.user": USER}, {"shop": ("acme.user",)})
    assert edges(graph, "shop", "s1") == [("acme.user@u300", "package", "acme.user", True)]
    assert edges(graph, "shop", "s2") == []
    assert edges(graph, "shop", "t1") == [("acme.user@u100", "requires", "acme.user@u100", False)]


def test_package_requirement_on_a_revision() -> None:
    graph = Graph({"shop": chain("shop", "s1"), "acme.user": USER}, {"shop": ["acme.user@u2"]})
    assert edges(graph, "shop", "s1") == [("acme.user@u200", "package", "acme.user@u2", False)]


def test_package_without_revisions() -> None:
    graph = Graph({"shop": chain("shop", "s1"), "user": []}, {"shop": ["user"], "later": ["user"]})
    assert graph.packages == ("later", "shop", "user")
    assert names(graph.timeline()) == ["shop@s1"]


def test_same_identifier_in_two_packages() -> None:
    graph = Graph({"a": chain("a", "r1", r1=["b@r1"]), "b": chain("b", "r1")})
    assert names(graph.timeline()) == ["b@r1", "a@r1"]


def test_takes_histories() -> None:
    history = PackageHistory("acme.user", USER)
    assert Graph({"acme.user": history}).histories["acme.user"] is history


def test_needs_follows_edges_of_any_kind() -> None:
    graph = Graph({"shop": chain("shop", "s1", "s2", s1=["acme.user@u200"]), "acme.user": USER})
    shop, user = graph.histories["shop"].revisions, graph.histories["acme.user"].revisions
    assert graph.needs(shop["s2"], user["u100"])
    assert graph.needs(shop["s2"], shop["s1"])
    assert not graph.needs(shop["s2"], user["u300"])
    assert not graph.needs(user["u300"], shop["s1"])


# Order


def test_requirement_comes_right_before_what_needs_it() -> None:
    graph = Graph(
        {
            "zoo": chain("zoo", "z1", "z2", "z3", "z4"),
            "app": chain("app", "a1", "a2", "a3", a1=["zoo@z1"], a3=["zoo@z3"]),
        }
    )
    assert names(graph.timeline()) == [
        "zoo@z1",
        "app@a1",
        "app@a2",
        "zoo@z2",
        "zoo@z3",
        "app@a3",
        "zoo@z4",
    ]
    assert names(graph.timeline(["zoo"])) == ["zoo@z1", "zoo@z2", "zoo@z3", "zoo@z4"]


def test_branches_stay_together() -> None:
    graph = Graph(
        {
            "app": [
                rev("app", "1"),
                rev("app", "a1", "1"),
                rev("app", "b1", "1"),
                rev("app", "a2", "a1"),
                rev("app", "b2", "b1"),
                rev("app", "m", "b2", "a2"),
            ]
        }
    )
    assert [one.id for one in graph.timeline()] == ["1", "a1", "a2", "b1", "b2", "m"]


# Errors


def error_of(
    packages: dict[str, list[Revision]], package_requires: dict[str, Sequence[str]] | None = None
) -> MigrationError:
    with pytest.raises(MigrationError) as info:
        Graph(packages, package_requires)
    return info.value


def test_unknown_package() -> None:
    error = error_of({"shop": chain("shop", "s1", s1=["acme.usr@u1"]), "acme.user": USER})
    assert isinstance(error, RequirementError) and error.kind == "unknown_package"
    assert isinstance(error, LookupError)
    assert str(error) == (
        'Revision "s1" of "shop" ("/shop/s1.py") has requires = "acme.usr@u1", but no package '
        '"acme.usr" is registered (did you mean "acme.user"?); registered are "acme.user", "shop". '
        'Include "acme.usr" in the application so that it registers itself with '
        "config.add_migration_package(), or correct the name. Where that is the application "
        "itself, give the command its INI file with -c, and -x packages=shop."
    )
    assert (error.package, error.attribute, error.text) == ("shop", "requires", "acme.usr@u1")
    assert error.revision is not None and error.revision.id == "s1"


def test_unknown_package_in_a_registration() -> None:
    error = error_of({"shop": chain("shop", "s1")}, {"shop": ["pay"]})
    assert str(error) == (
        'Package "shop" is registered with depends_on = "pay", but no package "pay" is registered; '
        'registered are "shop". Include "pay" in the application so that it registers itself with '
        "config.add_migration_package(), or correct the name. Where that is the application "
        "itself, give the command its INI file with -c, and -x packages=shop."
    )
    assert isinstance(error, RequirementError) and error.revision is None


def test_unknown_revision() -> None:
    error = error_of({"shop": chain("shop", "s1", s1=["acme.user@u201"]), "acme.user": USER})
    assert isinstance(error, RequirementError) and error.kind == "unknown_revision"
    assert str(error) == (
        'Revision "s1" of "shop" ("/shop/s1.py") has requires = "acme.user@u201", but package '
        '"acme.user" has no revision or branch label "u201"; close to it: "u200". '
        'Correct it, or install the release of "acme.user" that has the revision.'
    )


def test_unknown_revision_in_run_before() -> None:
    error = error_of(
        {"shop": [rev("shop", "s1", run_before=("acme.user@nope",))], "acme.user": USER}
    )
    assert isinstance(error, RequirementError) and error.kind == "unknown_revision"
    assert str(error).startswith(
        'Revision "s1" of "shop" ("/shop/s1.py") has run_before = "acme.user@nope", but package '
        '"acme.user" has no revision or branch label "nope".'
    )


def test_ambiguous_beginning() -> None:
    error = error_of({"shop": chain("shop", "s1", s1=["acme.user@u"]), "acme.user": USER})
    assert isinstance(error, RequirementError) and error.kind == "ambiguous"
    assert error.found == ("u100", "u200", "u300")
    assert str(error) == (
        'Revision "s1" of "shop" ("/shop/s1.py") has requires = "acme.user@u", but "u" is the '
        'beginning of several revisions of "acme.user": "u100", "u200", "u300". '
        "Write more of the identifier."
    )


def test_requirement_on_a_squashed_revision_means_the_squash() -> None:
    user = [rev("user", "new1", replaces=("old11111", "old22222"))]
    graph = Graph({"shop": chain("shop", "s1", s1=["user@old2"]), "user": user})
    (requirement,) = graph.requirements
    assert requirement.required == (user[0],)


def test_own_package() -> None:
    error = error_of({"shop": chain("shop", "s1", "s2", s2=["shop@s1"])})
    assert isinstance(error, RequirementError) and error.kind == "own_package"
    assert str(error) == (
        'Revision "s2" of "shop" ("/shop/s2.py") has requires = "shop@s1", but that is its own '
        "package. Between revisions of one package use down_revision or depends_on."
    )


@pytest.mark.parametrize("text", ["acme.user", "acme.user@", "@u100", "acme.user@u100+1"])
def test_malformed_requirement(text: str) -> None:
    error = error_of({"shop": chain("shop", "s1", s1=[text]), "acme.user": USER})
    assert isinstance(error, RequirementError) and error.kind == "malformed"
    assert str(error) == (
        f'Revision "s1" of "shop" ("/shop/s1.py") has requires = "{text}", but a requirement has '
        "the form package@revision. The revision is an identifier, a branch label, `head` or "
        "`base`."
    )


def test_cycle_across_packages_names_every_revision() -> None:
    packages = {
        "a": chain("a", "a1", "a2", a1=["b@b2"]),
        "b": chain("b", "b1", "b2", b1=["c@head"]),
        "c": [rev("c", "c1"), rev("c", "c2", "c1", requires=("a@a2",))],
    }
    error = error_of(packages)
    assert isinstance(error, RevisionCycle)
    assert names(error.revisions) == ["a@a1", "b@b2", "b@b1", "c@c2", "a@a2"]
    assert str(error) == (
        "These revisions wait for each other in a circle, so none can run:\n"
        '  "a@a1" ("/a/a1.py") requires "b@b2" (requires = "b@b2")\n'
        '  "b@b2" ("/b/b2.py") comes after "b@b1" (its down_revision)\n'
        '  "b@b1" ("/b/b1.py") requires "c@c2" (requires = "c@head")\n'
        '  "c@c2" ("/c/c2.py") requires "a@a2" (requires = "a@a2")\n'
        '  "a@a2" ("/a/a2.py") comes after "a@a1" (its down_revision)\n'
        "Remove one of these requirements; in place of a head or a whole package, require the one "
        "revision that is needed."
    )


def test_cycle_through_run_before_and_a_registration() -> None:
    packages = {
        "a": chain("a", "a1"),
        "b": [rev("b", "b1", depends_on=("b0",)), rev("b", "b0")],
        "c": [rev("c", "c1", run_before=("b@b0",), requires=("a@a1",))],
    }
    error = error_of(packages, {"a": ["b"]})
    assert str(error).splitlines()[1:-1] == [
        '  "a@a1" ("/a/a1.py") requires "b@b1" (depends_on = "b" of the package "a")',
        '  "b@b1" ("/b/b1.py") depends on "b@b0" (depends_on = "b0")',
        '  "b@b0" ("/b/b0.py") comes after "c@c1" (run_before = "b@b0" in "/c/c1.py")',
        '  "c@c1" ("/c/c1.py") requires "a@a1" (requires = "a@a1")',
    ]


def test_faults_of_a_package_that_nobody_asked_for() -> None:
    error = error_of({"a": chain("a", "a1"), "b": [rev("b", "b2", "b1")]})
    assert isinstance(error, HistoryError) and error.kind == "missing_revision"


# depends_on across packages, as where several share one version table under plain Alembic


def test_depends_on_a_revision_or_a_label_of_another_package() -> None:
    packages = {
        "a": [rev("a", "a1", depends_on=("b2",)), rev("a", "a2", "a1", depends_on=("bees", "a1"))],
        "b": [rev("b", "b1", branch_labels=("bees",)), rev("b", "b2", "b1")],
    }
    graph = Graph(packages)
    assert [str(one) for one in graph.timeline()] == ["b@b1", "b@b2", "a@a1", "a@a2"]
    (edge,) = graph.required_by(packages["a"][0])
    assert edge.describe() == '"a@a1" ("/a/a1.py") depends on "b@b2" (depends_on = "b2")'
    assert [str(edge.required) for edge in graph.required_by(packages["a"][1])] == ["b@b1"]


def test_the_own_revision_is_meant_where_another_package_has_one_of_that_name() -> None:
    packages = {"a": [rev("a", "1"), rev("a", "2", depends_on=("1",))], "b": [rev("b", "1")]}
    assert Graph(packages).requirements == []


def test_depends_on_what_several_packages_have() -> None:
    packages = {"a": [rev("a", "2", depends_on=("1",))], "b": [rev("b", "1")], "c": [rev("c", "1")]}
    error = error_of(packages)
    assert isinstance(error, RequirementError) and error.kind == "ambiguous"
    assert str(error) == (
        'Revision "2" of "a" ("/a/2.py") has depends_on = "1", but several packages have it: '
        '"b", "c". Write requires = ("b@1",) in its place, with the package that is meant.'
    )


def test_depends_on_what_no_package_has() -> None:
    error = error_of({"a": [rev("a", "a1", depends_on=("b@b1",))], "b": chain("b", "b1")})
    assert isinstance(error, HistoryError) and error.kind == "missing_revision"
    assert str(error) == (
        'Revision "a1" of "a" ("/a/a1.py") has depends_on = "b@b1", but no package has such a '
        "revision or branch label. Restore the missing script, or correct depends_on. One of "
        "another package is named without its package; if that is not registered, register it."
    )


# The authors' order


def dated(package: str, revision_id: str, *down: str, day: str, **rest: Any) -> Revision:
    return rev(package, revision_id, *down, doc=f"Words\n\nCreate Date: {day}\n", **rest)


def against(package: str, revision_id: str, *down: str, **heads: str | tuple[str, ...]) -> Revision:
    pairs = [(n, one) for n, h in heads.items() for one in ((h,) if isinstance(h, str) else h)]
    return rev(package, revision_id, *down, written_against=tuple(sorted(pairs)))


def test_a_script_comes_after_what_its_author_had_and_before_the_rest() -> None:
    graph = Graph({"a": chain("a", "a1", "a2", "a3"), "z": [against("z", "z1", a="a2")]})
    assert names(graph.timeline()) == ["a@a1", "a@a2", "z@z1", "a@a3"]
    assert graph.requirements == []
    graph = Graph({"b": chain("b", "b1", "b2"), "a": [against("a", "a1", b="b2")]})
    assert names(graph.timeline()) == ["b@b1", "b@b2", "a@a1"]


def test_it_comes_before_branches_that_its_author_had_not() -> None:
    a = [rev("a", "a1"), rev("a", "a2", "a1"), rev("a", "a3", "a1"), rev("a", "a4", "a2", "a3")]
    one = Graph({"a": a, "z": [against("z", "z1", a="a2")]})
    assert names(one.timeline()) == ["a@a1", "a@a2", "z@z1", "a@a3", "a@a4"]
    both = Graph({"a": a, "z": [against("z", "z1", a=("a2", "a3"))]})
    assert names(both.timeline()) == ["a@a1", "a@a2", "a@a3", "z@z1", "a@a4"]
    other_base = [*a, rev("a", "a0"), rev("a", "a9", "a0", "a4")]
    assert names(Graph({"a": other_base, "z": [against("z", "z1", a="a2")]}).timeline()) == [
        *("a@a1", "a@a2", "z@z1", "a@a0", "a@a3", "a@a4", "a@a9")
    ]


@pytest.mark.parametrize("known", ["gone", "a9"])
def test_what_is_not_there_is_ignored(known: str) -> None:
    z = rev("z", "z1", written_against=(("gone", "x"), ("a", known), ("z", "z1")))
    assert not Graph({"a": chain("a", "a1", "a2"), "z": [z]}).soft_orders


def test_a_squashed_revision_stands_for_the_one_that_took_its_place() -> None:
    a = [rev("a", "s", replaces=("a1", "a2")), rev("a", "a3", "s")]
    graph = Graph({"a": a, "z": [against("z", "z1", a="a1")]})
    assert names(graph.timeline()) == ["a@s", "z@z1", "a@a3"]


def test_what_a_script_requires_its_author_had() -> None:
    """A requirement may have been added later."""
    z = rev("z", "z1", requires=("a@a2",), written_against=(("a", "a1"),))
    graph = Graph({"a": chain("a", "a1", "a2", "a3"), "z": [z]})
    assert names(graph.timeline()) == ["a@a1", "a@a2", "z@z1", "a@a3"]
    assert graph.dropped_orders == ()


@pytest.mark.parametrize(
    ("day", "place"),
    [
        ("2026-02-01 12:00:00.123456", 1),
        ("2026-04-02", 2),
        ("2026-04-01 12:30:00+02:00", 1),
        ("2026-04-01 12:30:00-02:00", 2),
        ("2020-01-01", 1),
        ("2030-01-01", 3),
        ("some day", 3),
    ],
)
def test_dates_tell_it_where_nothing_is_recorded(day: str, place: int) -> None:
    a = [
        dated("a", "a1", day="2026-01-01"),
        dated("a", "a2", "a1", day="2026-04-01 12:00:00"),
        rev("a", "a3", "a2"),
        dated("a", "a4", "a3", day="2026-06-01"),
    ]
    z = dated("z", "z1", day=day, requires=("a@a1",))
    expected = ["a@a1", "a@a2", "a@a3", "a@a4"]
    expected.insert({1: 1, 2: 2, 3: 4}[place], "z@z1")
    assert names(Graph({"a": a, "z": [z]}).timeline()) == expected


def test_a_date_counts_for_what_its_revision_comes_after() -> None:
    """A rebase keeps dates: the second revision was there when the third was written."""
    a = [
        dated("a", "a1", day="2026-01-01"),
        dated("a", "a2", "a1", day="2026-09-01"),
        dated("a", "a3", "a2", day="2026-02-01"),
        dated("a", "a4", "a3", day="2026-10-01"),
    ]
    z = dated("z", "z1", day="2026-03-01", requires=("a@a1",))
    assert names(Graph({"a": a, "z": [z]}).timeline()) == [
        *("a@a1", "a@a2", "a@a3", "z@z1", "a@a4")
    ]


def test_dates_say_nothing_of_packages_that_a_script_does_not_require() -> None:
    a = [dated("a", "a1", day="2026-05-01")]
    assert not Graph({"a": a, "z": [dated("z", "z1", day="2026-01-01")]}).soft_orders


def test_of_contradicting_orders_the_newest_is_dropped() -> None:
    def second(package: str, other: str, day: int) -> Revision:
        return dated(
            package,
            f"{package}2",
            f"{package}1",
            day=f"2026-01-0{day}",
            written_against=((other, f"{other}1"),),
        )

    for older, newer in (("a", "b"), ("b", "a")):
        graph = Graph(
            {
                older: [rev(older, f"{older}1"), second(older, newer, 1)],
                newer: [rev(newer, f"{newer}1"), second(newer, older, 2)],
            }
        )
        expected = [f"{older}@{older}2", f"{newer}@{newer}2"]
        assert names(graph.timeline())[2:] == expected
        # What was dropped is the newer one's word.
        assert [names(pair) for pair in graph.dropped_orders] == [expected[::-1]]


def test_what_dates_tell_is_dropped_first() -> None:
    a = [
        dated("a", "a1", day="2026-01-01"),
        dated("a", "a2", "a1", day="2025-01-01", requires=("z@z1",)),
        rev("a", "a3", "a2"),
    ]
    z = [rev("z", "z1"), dated("z", "z2", "z1", day="2026-09-09", written_against=(("a", "a1"),))]
    graph = Graph({"a": a, "z": z})
    assert names(graph.timeline()) == ["a@a1", "z@z1", "z@z2", "a@a2", "a@a3"]
    assert [names(pair) for pair in graph.dropped_orders] == [["a@a2", "z@z2"]]


def test_where_requirements_settle_it_nothing_is_dropped_that_matters() -> None:
    """The script requires what its author had not, by another package."""
    b = [rev("b", "b1", requires=("a@a3",))]
    z = rev("z", "z1", requires=("b@b1",), written_against=(("a", "a1"),))
    graph = Graph({"a": chain("a", "a1", "a2", "a3", "a4"), "b": b, "z": [z]})
    assert names(graph.timeline()) == ["a@a1", "a@a2", "a@a3", "b@b1", "z@z1", "a@a4"]
    assert graph.dropped_orders == ()


def test_a_circle_of_requirements_is_an_error_with_soft_orders_too() -> None:
    a = [rev("a", "a1", requires=("z@z1",))]
    z = [rev("z", "z1", requires=("a@a1",), written_against=(("a", "a1"),))]
    with pytest.raises(RevisionCycle):
        Graph({"a": a, "z": z})
