"""Tables of PostgreSQL that inherit from others, of their own package and of another one."""

from __future__ import annotations

import pytest

from apps import Workshop
from test_autogenerate_circles import Circle

HEADER = "import sqlalchemy as sa\nfrom shared import metadata\n"

KEY = "sa.Column('id', sa.Integer, primary_key=True), "


def table(name: str, package: str, columns: str, inherits: str = "None") -> str:
    return (
        f"sa.Table('t_{name}', metadata, {columns} info={{'package': '{package}'}},\n"
        f"    postgresql_inherits={inherits})\n"
    )


def parent(package: str, name: str = "parent") -> str:
    return table(
        name, package, KEY.replace("id", f"{name}_id") + f"sa.Column('n_{name}', sa.Text),"
    )


#: By package its tables. A child's name comes before its parent's.
CASES = {
    "one package": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "'t_parent'") + parent("aaa")
    },
    "two parents": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "('t_parent', 't_second')")
        + parent("aaa")
        + parent("aaa", "second")
    },
    "two packages": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "'t_parent'"),
        "bbb": parent("bbb"),
    },
    "no columns of its own": {"aaa": table("child", "aaa", "", "'t_parent'") + parent("aaa")},
    "columns of both": {
        "aaa": table("child", "aaa", KEY.replace("id", "parent_id"), "'t_parent'"),
        "bbb": parent("bbb"),
    },
}


@pytest.mark.parametrize("case", list(CASES))
def test_children_come_behind_their_parents(
    workshop: Workshop, postgresql_url: str, case: str
) -> None:
    circle = Circle(workshop, postgresql_url)

    def give(of_parent: str = "", of_child: str = "") -> None:
        for name, source in CASES[case].items():
            source = source.replace("'t_parent', metadata, ", f"'t_parent', metadata, {of_parent}")
            source = source.replace("'t_child', metadata, ", f"'t_child', metadata, {of_child}")
            circle.give_models(name, HEADER + source)

    give()
    assert {package for package, _ in circle.write()} == set(CASES[case])
    circle.is_good()
    circle.service.upgrade()
    give("sa.Column('more', sa.Integer),", "sa.Column('own', sa.Integer),")
    circle.write("Second")
    circle.is_good()
    circle.service.upgrade()
    give()
    circle.write("Third")
    circle.is_good()
