"""Packages that each drop what the next one refers to, and refer to what is new there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from apps import Workshop
from runs import execute, rows
from test_autogenerate_circles import Circle, by_case, key, named, together
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


RING = {"aaa": "bbb", "bbb": "ccc", "ccc": "aaa"}
PAIR = {"aaa": "bbb", "bbb": "aaa"}


def ring(column: str, type_: str = "sa.Integer", of: Mapping[str, str] = RING) -> dict[str, str]:
    """Return columns that refer to each other in a ring."""
    return {
        name: replaced(column, target).replace("sa.Integer", type_) for name, target in of.items()
    }


#: What models have before and behind.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "columns": (ring("n"), ring("m")),
    # "bbb" refers to a table of "aaa" that another one replaces, as its own is replaced.
    "tables": (
        {"aaa": second("aaa"), "bbb": second("bbb", key("second_aaa"))},
        {
            "aaa": second("aaa").replace("t_second", "t_third"),
            "bbb": second("bbb", key("third_aaa")).replace("t_second", "t_third"),
        },
    ),
    "types": (ring("n"), ring("n", "sa.String(20)")),
    "new_unique": (dict.fromkeys(PAIR, ""), ring("n", of=PAIR)),
    "unique_now": (dict.fromkeys(PAIR, "sa.Column('n', sa.Integer),"), ring("n", of=PAIR)),
}


def test_what_others_refer_to_is_replaced(circle: Circle) -> None:
    circle.models(together({case: before for case, (before, _) in CASES.items()}))
    circle.write()
    circle.service.upgrade()
    execute(
        circle.url,
        "INSERT INTO t_columns_aaa (id) VALUES (1)",
        "INSERT INTO t_types_ccc (id, n) VALUES (1, 5)",
        "INSERT INTO t_types_bbb (id, n, to_n) VALUES (1, 6, 5)",
    )
    circle.models(together({case: behind for case, (_, behind) in CASES.items()}))
    found = by_case(circle.write("Second", allow_drops=True))
    assert found["columns"][0] == ("ccc", "Second: foreign keys that go")
    plain = [one for one in found["columns"] if one[1] == "Second"]
    assert plain == [(name, "Second") for name in RING]
    apart = [("aaa", "Second"), ("bbb", "Second"), ("aaa", "Second: foreign keys")]
    assert (found["new_unique"], found["unique_now"]) == (apart, apart)
    packages = {case: {name for name, _ in scripts} for case, scripts in found.items()}
    assert packages == {case: set(before) for case, (before, _) in CASES.items()}
    circle.service.upgrade()
    assert rows(circle.url, "SELECT id, m FROM t_columns_aaa") == [(1, None)]
    assert rows(circle.url, "SELECT to_n FROM t_types_bbb") == [("5",)]
    circle.is_good()
    assert circle.service.check(fresh=True).ok


#: What the target's column becomes, before another package refers to it.
FITTING = {"same": "sa.Integer, unique=True", "text": "sa.String(9), unique=True"}


def test_a_key_requires_what_made_its_target_fit(circle: Circle) -> None:
    """The column is older than its key, or than its type."""

    def give(package: str, columns: str) -> None:
        circle.models(
            together({case: {package: columns.format(now)} for case, now in FITTING.items()})
        )

    give("aaa", "sa.Column('n', sa.Integer),")
    give("bbb", "")
    circle.write()
    circle.service.upgrade()
    give("aaa", "sa.Column('n', {}),")
    found = circle.write("Second", packages=[named(case, "aaa") for case in FITTING])
    assert by_case(found) == {case: [("aaa", "Second")] for case in FITTING}
    circle.service.upgrade()
    give("bbb", "sa.Column('n', sa.ForeignKey('t_aaa.n')),")
    circle.write("Second", packages=[named(case, "bbb") for case in FITTING])
    heads = {one.package: one for one in circle.service.heads()}
    assert {case: heads[f"{case}_bbb"].requires for case in FITTING} == {
        case: (f"{case}_aaa@{heads[f'{case}_aaa'].id}",) for case in FITTING
    }
    circle.is_good()
