"""Tables of PostgreSQL that inherit from others, of their own package and of another one."""

from __future__ import annotations

from apps import Workshop
from test_autogenerate_circles import Circle, named

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
    "one_package": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "'t_parent'") + parent("aaa")
    },
    "two_parents": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "('t_parent', 't_second')")
        + parent("aaa")
        + parent("aaa", "second")
    },
    "two_packages": {
        "aaa": table("child", "aaa", "sa.Column('x', sa.Integer),", "'t_parent'"),
        "bbb": parent("bbb"),
    },
    "no_columns_of_its_own": {"aaa": table("child", "aaa", "", "'t_parent'") + parent("aaa")},
    "columns_of_both": {
        "aaa": table("child", "aaa", KEY.replace("id", "parent_id"), "'t_parent'"),
        "bbb": parent("bbb"),
    },
}


def test_children_come_behind_their_parents(workshop: Workshop, postgresql_url: str) -> None:
    circle = Circle(workshop, postgresql_url)

    def give(of_parent: str = "", of_child: str = "") -> None:
        for case, packages in CASES.items():
            for name, source in packages.items():
                source = source.replace(
                    "'t_parent', metadata, ", f"'t_parent', metadata, {of_parent}"
                )
                source = source.replace("'t_child', metadata, ", f"'t_child', metadata, {of_child}")
                source = named(case, source.replace("'t_", f"'t_{case}_"))
                circle.give_models(named(case, name), HEADER + source)

    every = {named(case, name) for case, packages in CASES.items() for name in packages}
    give()
    assert {package for package, _ in circle.write(prove="on")} == every
    circle.is_good()
    give("sa.Column('more', sa.Integer),", "sa.Column('own', sa.Integer),")
    assert {package for package, _ in circle.write("Second")} == every
    circle.is_good()
    give()
    assert {package for package, _ in circle.write("Third")} == every
    circle.is_good()
