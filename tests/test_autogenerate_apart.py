"""Packages that each drop what the next one refers to, and refer to what is new there."""

from __future__ import annotations

import pytest

from apps import Workshop
from runs import execute, rows
from test_autogenerate_circles import Circle, key
from test_autogenerate_package_order import second


@pytest.fixture
def circle(workshop: Workshop, database_url: str) -> Circle:
    return Circle(workshop, database_url)


def replaced(column: str, target: str) -> str:
    """Return a unique column, and a key to the same one of another package's table."""
    return (
        f"sa.Column('{column}', sa.Integer, unique=True), sa.Column('to_{column}', sa.Integer),"
        f"sa.ForeignKeyConstraint(['to_{column}'], ['t_{target}.{column}']),"
    )


def test_a_ring_replaces_its_columns(circle: Circle) -> None:
    ring = {"aaa": "bbb", "bbb": "ccc", "ccc": "aaa"}
    circle.models({name: replaced("n", target) for name, target in ring.items()})
    circle.write()
    circle.service.upgrade()
    execute(circle.url, "INSERT INTO t_aaa (id) VALUES (1)")
    circle.models({name: replaced("m", target) for name, target in ring.items()})
    found = circle.write("Second")
    assert found[0] == ("ccc", "Second: foreign keys that go")
    assert [one for one in found if one[1] == "Second"] == [(name, "Second") for name in ring]
    circle.service.upgrade()
    assert circle.service.check(fresh=True).ok
    assert rows(circle.url, "SELECT id, m FROM t_aaa") == [(1, None)]
    circle.is_good()


def test_a_table_comes_again_under_another_target(circle: Circle) -> None:
    """``bbb`` refers to a table of ``aaa`` that another one replaces, as its own is replaced."""
    circle.models({"aaa": second("aaa"), "bbb": second("bbb", key("second_aaa"))})
    circle.write()
    circle.service.upgrade()
    circle.models(
        {
            "aaa": second("aaa").replace("t_second", "t_third"),
            "bbb": second("bbb", key("third_aaa")).replace("t_second", "t_third"),
        }
    )
    assert {package for package, _ in circle.write("Second", allow_drops=True)} == {"aaa", "bbb"}
    circle.service.upgrade()
    assert circle.service.check(fresh=True).ok
    circle.is_good()


def test_a_ring_of_keys_gets_another_type(circle: Circle) -> None:
    ring = {"aaa": "bbb", "bbb": "ccc", "ccc": "aaa"}

    def models(type_: str) -> dict[str, str]:
        return {
            name: replaced("n", target).replace("sa.Integer", type_)
            for name, target in ring.items()
        }

    circle.models(models("sa.Integer"))
    circle.write()
    circle.service.upgrade()
    values = "INSERT INTO t_ccc (id, n) VALUES (1, 5)"
    execute(circle.url, values, "INSERT INTO t_bbb (id, n, to_n) VALUES (1, 6, 5)")
    circle.models(models("sa.String(20)"))
    assert {package for package, _ in circle.write("Second")} == set(ring)
    circle.service.upgrade()
    assert circle.service.check(fresh=True).ok
    assert rows(circle.url, "SELECT to_n FROM t_bbb") == [("5",)]
    circle.is_good()


@pytest.mark.parametrize("before", ["", "sa.Column('n', sa.Integer),"])
def test_keys_to_what_is_unique_now(circle: Circle, before: str) -> None:
    circle.models({"aaa": before, "bbb": before})
    circle.write()
    circle.service.upgrade()
    circle.models({"aaa": replaced("n", "bbb"), "bbb": replaced("n", "aaa")})
    found = circle.write("Second")
    assert found == [("aaa", "Second"), ("bbb", "Second"), ("aaa", "Second: foreign keys")]
    circle.service.upgrade()
    assert circle.service.check(fresh=True).ok
    circle.is_good()


@pytest.mark.parametrize("now", ["sa.Integer, unique=True", "sa.String(9), unique=True"])
def test_a_key_requires_what_made_its_target_fit(circle: Circle, now: str) -> None:
    """The column is older than its key, or than its type."""
    circle.models({"aaa": "sa.Column('n', sa.Integer),", "bbb": ""})
    circle.write()
    circle.service.upgrade()
    circle.models({"aaa": f"sa.Column('n', {now}),"})
    circle.write("Second", packages="aaa")
    circle.service.upgrade()
    circle.models({"bbb": "sa.Column('n', sa.ForeignKey('t_aaa.n')),"})
    circle.write("Second", packages="bbb")
    heads = {one.package: one for one in circle.service.heads()}
    assert heads["bbb"].requires == (f"aaa@{heads['aaa'].id}",)
    circle.service.upgrade()
    circle.is_good()
