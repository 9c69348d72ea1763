"""A package drops or changes what another one let go of by an earlier command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from runs import tables
from test_autogenerate_circles import MOOD, Circle, by_case, key, named, together, typed

N = "sa.Column('n', sa.Integer, unique=True),"


@pytest.fixture
def circle(workshop: Workshop, database_url: str) -> Circle:
    return Circle(workshop, database_url)


TO_N = "sa.Column('x', sa.Integer), sa.ForeignKeyConstraint(['x'], ['t_aaa.n'], name='fk_bbb'),"


def second(name: str, columns: str = "") -> str:
    """Source that ends a table's call and begins another one."""
    return (
        f"info={{'package': '{name}'}})\nsa.Table('t_second_{name}', metadata, "
        f"sa.Column('id', sa.Integer, primary_key=True), {columns}"
    )


#: What each package has at first; what ``bbb`` has then; what ``aaa`` has at last; what
#: ``revision`` is told besides.
CASES: dict[str, tuple[dict[str, str], str, str, dict[str, str]]] = {
    "column": ({"aaa": N, "bbb": TO_N}, "sa.Column('x', sa.Integer),", "", {}),
    "column_of_key": ({"aaa": N, "bbb": TO_N}, "", "", {}),
    "table_of_key": ({"aaa": N, "bbb": second("bbb", TO_N)}, "", "", {}),
    "unique": ({"aaa": N, "bbb": TO_N}, "", "sa.Column('n', sa.Integer),", {}),
    "type": ({"aaa": N, "bbb": TO_N}, "", "sa.Column('n', sa.String(9), unique=True),", {}),
    "table": ({"aaa": second("aaa"), "bbb": key("second_aaa")}, "", "", {}),
    "renamed_column": (
        {"aaa": N, "bbb": TO_N},
        "",
        "sa.Column('m', sa.Integer, unique=True),",
        {"rename_columns": "t_aaa.n:m"},
    ),
    "renamed_table": (
        {"aaa": second("aaa"), "bbb": key("second_aaa")},
        "",
        second("aaa").replace("t_second_aaa", "t_third_aaa"),
        {"rename_tables": "t_second_aaa:t_third_aaa"},
    ),
}


def test_what_was_let_go_of_goes(circle: Circle) -> None:
    users, owners = ([f"{case}_{name}" for case in CASES] for name in ("bbb", "aaa"))
    second_of = {name: {case: [(name, "Second")] for case in CASES} for name in ("aaa", "bbb")}
    circle.models(together({case: first for case, (first, *_) in CASES.items()}))
    circle.write()
    circle.service.upgrade()
    circle.models(together({case: {"bbb": without} for case, (_, without, *_) in CASES.items()}))
    found = circle.write("Second", packages=users, allow_drops=True)
    assert by_case(found) == second_of["bbb"]
    circle.service.upgrade()
    circle.models(together({case: {"aaa": last} for case, (*_, last, _) in CASES.items()}))
    renames: dict[str, list[str]] = {}
    for case, (*_, options) in CASES.items():
        for option, value in options.items():
            renames.setdefault(option, []).append(named(case, value))
    found = circle.write("Second", packages=owners, allow_drops=True, **renames)
    assert by_case(found) == second_of["aaa"]
    heads = {one.package: one for one in circle.service.heads()}
    assert {case: heads[f"{case}_aaa"].requires for case in CASES} == {
        case: (f"{case}_bbb@{heads[f'{case}_bbb'].id}",) for case in CASES
    }
    circle.is_good(first=owners)
    assert circle.service.check(fresh=True).ok


def test_the_remedy_for_applications_without_the_package_that_let_go(circle: Circle) -> None:
    """The order is said by the package above, so that the one below needs nothing of it."""
    circle.models({"aaa": second("aaa"), "bbb": key("second_aaa")})
    circle.write()
    circle.service.upgrade()
    circle.models({"bbb": ""})
    (given,) = circle.service.revision("Second", autogenerate=True, packages="bbb")
    circle.service.upgrade()
    circle.models({"aaa": ""})
    options: dict[str, Any] = {"packages": "aaa", "allow_drops": True}
    (taken,) = circle.service.revision("Second", autogenerate=True, **options)
    (warning,) = taken.warnings
    assert 'Package "aaa" now requires "bbb", which used what goes' in warning
    before = f'("aaa@{taken.revision}",)'
    assert f'take "bbb@{given.revision}" out of' in warning and f"run_before = {before}" in warning
    for script, name, value in ((taken, "requires", "()"), (given, "run_before", before)):
        lines = Path(script.path).read_text().splitlines()
        lines = [line for line in lines if not line.startswith(f"{name}:")]
        at = next(i for i, line in enumerate(lines) if line.startswith("down_revision"))
        lines.insert(at, f"{name} = {value}")
        Path(script.path).write_text("\n".join([*lines, ""]))
    circle.service.downgrade("-1", packages="bbb")
    # One package alone brings the other one's step with it.
    run = circle.service.upgrade(packages="aaa")
    assert [step.package for step in run.steps] == ["bbb", "aaa"]
    assert circle.service.check(fresh=True).ok
    circle.service.downgrade("base")
    circle.workshop.forget()
    sys.modules.pop("shared")
    alone = circle.workshop.service(circle.url, "aaa")
    alone.upgrade()
    assert "t_aaa" in tables(circle.url) and "t_second_aaa" not in tables(circle.url)


def test_a_type_that_another_package_used_goes(workshop: Workshop, postgresql_url: str) -> None:
    circle = typed(workshop, postgresql_url)
    circle.models({"aaa": MOOD, "bbb": MOOD})
    circle.write()
    circle.service.upgrade()
    circle.models({"bbb": "sa.Column('mood', sa.String(9)),"})
    assert circle.write("Second", packages="bbb") == [("bbb", "Second")]
    circle.service.upgrade()
    circle.models({"aaa": ""})
    assert circle.write("Second", packages="aaa") == [("aaa", "Second")]
    heads = {one.package: one for one in circle.service.heads()}
    assert heads["aaa"].requires == (f"bbb@{heads['bbb'].id}",)
    circle.is_good()


def test_a_key_that_stays_makes_nothing_required(workshop: Workshop, sqlite_url: str) -> None:
    """Of the package that refers nothing is required, or no application could leave it out."""
    circle = Circle(workshop, sqlite_url)
    circle.models({"aaa": N + "sa.Column('m', sa.Integer),", "bbb": key("aaa")})
    circle.write()
    circle.service.upgrade()
    circle.models({"bbb": key("aaa") + "sa.Column('y', sa.Integer),"})
    circle.write("Second", packages="bbb")
    circle.service.upgrade()
    circle.models({"aaa": N})
    circle.write("Second", packages="aaa")
    heads = {one.package: one for one in circle.service.heads()}
    assert heads["aaa"].requires == ()
    circle.is_good()
