"""A key goes while another package's foreign key leans on it."""

from __future__ import annotations

import pytest

from apps import Workshop
from runs import execute, rows
from test_autogenerate_circles import Circle, by_case
from websauna_migrate.errors import RevisionFailed

ID = "sa.Column('id', sa.Integer, {}),"
PRIMARY = "primary_key=True, autoincrement=False"
PLAIN = "nullable=False, unique=True"

#: What the package with the key has, and the other one; before and behind.
CHANGES = {
    "exchanged": (
        (ID.format(PRIMARY) + "sa.Column('code', sa.String(9), nullable=False),", "id"),
        (ID.format(PLAIN) + "sa.Column('code', sa.String(9), primary_key=True),", "id"),
    ),
    "another_one": (
        (ID.format(PRIMARY) + "sa.Column('code', sa.Integer, unique=True),", "code"),
        (
            ID.format(PRIMARY)
            + "sa.Column('code', sa.Integer),sa.Column('mark', sa.Integer, unique=True),",
            "mark",
        ),
    ),
    "released": (
        (ID.format(PRIMARY) + "sa.Column('code', sa.Integer, unique=True),", "code"),
        (ID.format(PRIMARY) + "sa.Column('code', sa.Integer),", None),
    ),
}


def models(circle: Circle, columns: str, target: str | None, case: str = "") -> None:
    """Write the models of a package with a key, and of one with a foreign key.

    :param case: goes before their names
    """
    circle.models({"one": "", "two": "sa.Column('n', sa.Integer),"})
    lean = f", sa.ForeignKey('t_{case}roles.{target}', name='fk_role')" if target else ""
    role = f"sa.Column('id', sa.Integer, primary_key=True),sa.Column('role', sa.Integer{lean}),"
    for name, items in (("roles", columns), ("access", role)):
        name = f"{case}{name}"
        circle.give_models(
            name,
            "import sqlalchemy as sa\nfrom shared import metadata\n"
            f"sa.Table('t_{name}', metadata, {items} info={{'package': '{name}'}})\n",
        )


@pytest.mark.parametrize(
    ("product", "changes"),
    [("sqlite", ["another_one"]), ("postgresql", [*CHANGES]), ("mariadb", ["another_one"])],
)
def test_another_packages_key_goes_and_comes_back(
    workshop: Workshop, request: pytest.FixtureRequest, product: str, changes: list[str]
) -> None:
    database_url = request.getfixturevalue(f"{product}_url")
    circle = Circle(workshop, database_url)
    for change in changes:
        models(circle, *CHANGES[change][0], f"{change}_")
    circle.write()
    circle.service.upgrade()
    for change in changes:
        execute(
            database_url,
            f"INSERT INTO t_{change}_roles (id, code) VALUES (1, 1)",
            f"INSERT INTO t_{change}_access (id, role) VALUES (1, NULL)",
        )
        models(circle, *CHANGES[change][1], f"{change}_")
    written = by_case(circle.write("Second"))
    assert {*written} == {*changes}
    both = [("access", "Second"), ("roles", "Second")]
    if "released" in changes:
        assert sorted(written.pop("released")) == both
    last = ("access", "Second: foreign keys")
    assert written == {one: [*both, last] for one in written}
    # Each package goes alone with what it requires.
    circle.service.upgrade(packages=[f"{change}_roles" for change in changes])
    circle.service.upgrade()
    assert [str(p) for p in circle.service.check().problems] == []
    assert circle.write("Nothing") == []
    for name, cases in (("access", written), ("roles", changes), ("access", changes)):
        circle.service.downgrade([f"{case}_{name}@-1" for case in cases])
    circle.service.upgrade()
    found = {one: rows(database_url, f"SELECT id FROM t_{one}_roles") for one in changes}
    assert found == {one: [(1,)] for one in changes}


def test_without_the_other_package_the_command_is_named(
    workshop: Workshop, postgresql_url: str
) -> None:
    circle = Circle(workshop, postgresql_url)
    before, behind = CHANGES["another_one"]
    models(circle, *before)
    circle.write()
    circle.service.upgrade()
    models(circle, *behind)
    with pytest.raises(RevisionFailed) as failure:
        circle.write("Second", packages="roles")
    assert failure.value.kind == "key-in-use"
    assert str(failure.value) == (
        'No revision of package "roles" was written: the key on (code) of table "t_roles" goes, '
        'and the foreign key "fk_role" of table "t_access" of package "access" leans on it. Write '
        "the revisions of both at once, which takes the foreign key away before and puts it back "
        "behind: ws-alembic -x packages=access,roles revision --autogenerate"
    )
    assert len(circle.write("Second", packages=["access", "roles"])) == 3


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
def test_a_table_that_another_package_refers_to_does_not_go_alone(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    circle = Circle(workshop, request.getfixturevalue(f"{product}_url"))
    before, _ = CHANGES["another_one"]
    models(circle, *before)
    circle.write()
    circle.service.upgrade()
    circle.models({"one": "", "two": "sa.Column('n', sa.Integer),"})
    for name in ("roles", "access"):
        circle.give_models(name, "from shared import metadata\n")
    with pytest.raises(RevisionFailed) as failure:
        circle.write("Second", packages="roles", allow_drops=True)
    assert failure.value.kind == "key-in-use"
    assert str(failure.value) == (
        'No revision of package "roles" was written: table "t_roles" goes, and the foreign key '
        '"fk_role" of table "t_access" of package "access" leans on it. Write the revisions of '
        "both at once, which takes the foreign key away before: ws-alembic -x "
        "packages=access,roles revision --autogenerate"
    )
    # What the remedies say, one behind the other.
    with pytest.raises(RevisionFailed, match=r"-x packages=access,roles revision .*--allow-drops"):
        circle.write("Second", packages=["access", "roles"])
    both = circle.write("Second", packages=["access", "roles"], allow_drops=True)
    assert sorted(both) == [("access", "Second"), ("roles", "Second")]
    circle.service.upgrade()
    assert [str(p) for p in circle.service.check().problems] == []
