"""Packages whose tables and types need each other in a circle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import execute, rows, tables
from websauna_migrate.errors import RevisionFailed


class Circle:
    """An application of packages with one table each, all in one MetaData."""

    def __init__(self, workshop: Workshop, url: str) -> None:
        self.workshop, self.url = workshop, url
        (workshop.root / "shared.py").write_text(
            "import sqlalchemy\nmetadata = sqlalchemy.MetaData()\n"
        )

    def models(self, columns: Mapping[str, str]) -> None:
        """Give each package a table ``t_NAME`` with further columns."""
        for name, more in columns.items():
            source = (
                "import sqlalchemy as sa\nfrom shared import metadata\n"
                f"sa.Table('t_{name}', metadata, sa.Column('id', sa.Integer, primary_key=True),\n"
                f"    {more}\n    info={{'package': '{name}'}})\n"
            )
            self.give_models(name, source)

    def give_models(self, name: str, source: str) -> None:
        """Give a package its models, and make it if it is not there."""
        folder = self.workshop.root / name
        if folder.exists():
            (folder / "models.py").write_text(source)
        else:
            self.workshop.package(name, source, metadata=f"{name}.models.metadata")

    @property
    def service(self) -> Any:
        self.workshop.forget()
        sys.modules.pop("shared", None)
        return self.workshop.service(self.url)

    def write(self, message: str = "First", **options: Any) -> list[tuple[str, str]]:
        """Write the scripts; return the package and message of each."""
        made = self.service.revision(message, autogenerate=True, **options)
        return [(one.package, one.message) for one in made]

    def is_good(self) -> None:
        """Apply the scripts, there and back and there again, and compare with the models."""
        service = self.service
        service.upgrade()
        service.downgrade("base")
        assert not [name for name in tables(self.url) if name.startswith("t_")]
        service.upgrade()
        assert [str(one) for one in service.check().problems if one.fatal] == []
        assert service.revision("Nothing", autogenerate=True) == ()
        service.downgrade("base")


def key(name: str, column: str = "", more: str = "") -> str:
    return f"sa.Column('{column or name}_id', sa.ForeignKey('t_{name}.id'{more})),"


@pytest.fixture
def circle(workshop: Workshop, database_url: str) -> Circle:
    return Circle(workshop, database_url)


def test_two_packages_get_three_scripts(circle: Circle) -> None:
    circle.models({"aaa": key("bbb", more=", name='fk_a'"), "bbb": key("aaa")})
    expected = [("aaa", "First"), ("bbb", "First"), ("aaa", "First: foreign keys")]
    assert circle.write() == expected
    heads = {one.package: one for one in circle.service.heads()}
    (b1,) = [one for one in circle.service.history() if one.revision.package == "bbb"]
    (a2, a1) = [one for one in circle.service.history() if one.revision.package == "aaa"]
    assert b1.revision.requires == (f"aaa@{a1.revision.id}",)
    assert a2.revision.requires == (f"bbb@{b1.revision.id}",)
    assert heads["aaa"] == a2.revision and a2.revision.down_revisions == (a1.revision.id,)
    assert dict(a2.revision.written_against) == {"bbb": b1.revision.id}
    circle.is_good()
    circle.service.upgrade()
    assert circle.service.check(fresh=True).ok
    again = circle.service.downgrade(a1.revision.id, packages="aaa", cascade=True)
    assert [step.revision for step in again.steps] == [a2.revision.id]


def test_a_ring_with_packages_before_and_behind_it(circle: Circle) -> None:
    """Only one of the ring gets a second script; who merely uses the ring comes behind it."""
    circle.models(
        {
            "aaa": key("mmm") + key("nnn"),
            "mmm": key("nnn") + key("zzz"),
            "nnn": key("ooo"),
            "ooo": key("mmm", more=", ondelete='CASCADE'"),
            "zzz": "",
        }
    )
    assert circle.write() == [
        ("zzz", "First"),
        ("mmm", "First"),
        ("ooo", "First"),
        ("nnn", "First"),
        ("aaa", "First"),
        ("mmm", "First: foreign keys"),
    ]
    circle.is_good()


def test_a_circle_that_comes_later(circle: Circle) -> None:
    """Tables that are there get keys to new ones of each other."""
    circle.models({"aaa": "", "bbb": key("aaa")})
    assert circle.write() == [("aaa", "First"), ("bbb", "First")]
    circle.service.upgrade()
    circle.models({"aaa": key("bbb"), "bbb": key("aaa")})
    assert circle.write("Second") == [("aaa", "Second")]
    circle.service.upgrade()
    more = "info={'package': 'aaa'})\nsa.Table('t_new', metadata, "
    more += "sa.Column('id', sa.Integer, primary_key=True), " + key("other") + key("aaa", "up")
    other = "info={'package': 'bbb'})\nsa.Table('t_other', metadata, "
    other += "sa.Column('id', sa.Integer, primary_key=True), "
    circle.models({"aaa": key("bbb") + more, "bbb": key("aaa") + other})
    # The older keys form a circle as well, but need no second script.
    assert circle.write("Third") == [("bbb", "Third"), ("aaa", "Third")]
    circle.is_good()


def test_a_new_column_of_a_table_that_is_there(circle: Circle) -> None:
    circle.models({"aaa": "", "bbb": ""})
    circle.write()
    circle.service.upgrade()
    new = (
        "info={{'package': '{0}'}})\nsa.Table('t_new_{0}', metadata, "
        "sa.Column('id', sa.Integer, primary_key=True), "
    )
    circle.models(
        {
            "aaa": key("new_bbb") + new.format("aaa"),
            "bbb": key("new_aaa") + new.format("bbb"),
        }
    )
    found = circle.write("Second")
    assert found == [("aaa", "Second"), ("bbb", "Second"), ("aaa", "Second: foreign keys")]
    circle.is_good()


def test_a_key_that_refers_to_its_parent_is_not_numbered(circle: Circle) -> None:
    """Joined-table inheritance, of a parent that refers to its child."""
    source = (
        "import sqlalchemy as sa\nfrom shared import metadata\n"
        "sa.Table('t_{0}', metadata, {1} info={{'package': '{0}'}})\n"
    )
    child = "sa.Column('id', sa.ForeignKey('t_bbb.id'), primary_key=True),"
    circle.give_models("aaa", source.format("aaa", child))
    circle.models({"bbb": key("aaa")})
    expected = [("aaa", "First"), ("bbb", "First"), ("aaa", "First: foreign keys")]
    assert circle.write() == expected
    circle.is_good()


def test_rows_stay_when_the_keys_come(circle: Circle) -> None:
    more = "sa.CheckConstraint('n > 0'), sa.CheckConstraint(sa.column('own') != 'a%', name='c'),"
    more += "sa.Column('own', sa.String(9), sa.CheckConstraint(\"own <> 'x'\"), default='y'),"
    more += "sa.Column('n', sa.Integer), "
    more += "sa.Column('twice', sa.Integer, sa.Computed('n * 2', persisted=True)),"
    circle.models({"aaa": key("bbb") + more, "bbb": key("aaa")})
    circle.write()
    a1 = circle.service.history(packages="aaa")[-1].revision.id
    circle.service.upgrade(a1, packages="aaa")
    execute(circle.url, "INSERT INTO t_aaa (id, n) VALUES (7, 7)")
    circle.service.upgrade()
    assert rows(circle.url, "SELECT id, twice FROM t_aaa") == [(7, 14)]
    for values in ("0, 'b'", "8, 'x'", "8, 'a%'"):
        with pytest.raises(sa.exc.DBAPIError):
            execute(circle.url, f"INSERT INTO t_aaa (n, own) VALUES ({values})")
    assert [str(one) for one in circle.service.check().problems if one.fatal] == []


def test_one_of_two_names_the_command_for_both(circle: Circle) -> None:
    circle.models({"aaa": key("bbb"), "bbb": key("ccc"), "ccc": key("aaa"), "ddd": key("aaa")})
    with pytest.raises(RevisionFailed) as info:
        circle.write(packages="bbb")
    assert info.value.kind == "not-created"
    assert str(info.value) == (
        'No revision of package "bbb" was written: a model has a foreign key to table "t_ccc" of '
        'package "ccc", but no revision of "ccc" creates it. Write their revisions at once: '
        "ws-alembic -x packages=aaa,bbb,ccc revision --autogenerate"
    )
    assert not list(circle.workshop.root.rglob("versions/*.py"))
    assert len(circle.write(packages=["aaa", "bbb", "ccc"])) == 4
    with pytest.raises(RevisionFailed, match="not up to date"):
        circle.write(packages="aaa")
    circle.service.upgrade()
    assert circle.write(packages="ddd") == [("ddd", "First")]
    circle.is_good()


TYPES = """
import enum
class {name}(enum.Enum):
    x = "x"
    y = "y"
"""


def typed(workshop: Workshop, url: str) -> Circle:
    """Return an application of packages ``aaa`` and ``bbb`` with an enum type each."""
    circle = Circle(workshop, url)
    circle.models({"aaa": "", "bbb": ""})
    for name, class_ in (("aaa", "Mood"), ("bbb", "Size")):
        (workshop.root / name / "types_.py").write_text(TYPES.format(name=class_))
    return circle


MOOD = "sa.Column('mood', sa.Enum(__import__('aaa.types_').types_.Mood)),"
SIZE = "sa.Column('size', sa.Enum(__import__('bbb.types_').types_.Size)),"


def test_a_type_comes_first_and_a_key_later(workshop: Workshop, postgresql_url: str) -> None:
    """``aaa`` uses a type of ``bbb``, whose table refers to that of ``aaa``."""
    circle = typed(workshop, postgresql_url)
    circle.models({"aaa": SIZE, "bbb": SIZE + key("aaa")})
    expected = [("bbb", "First"), ("aaa", "First"), ("bbb", "First: foreign keys")]
    assert circle.write() == expected
    circle.is_good()


def test_types_of_each_other_are_made_in_two_steps(workshop: Workshop, postgresql_url: str) -> None:
    circle = typed(workshop, postgresql_url)
    both = {"aaa": MOOD + SIZE, "bbb": MOOD + SIZE}
    circle.models(both)
    with pytest.raises(RevisionFailed) as info:
        circle.write(packages="aaa")
    assert "Write their revisions at once: ws-alembic -x packages=aaa,bbb" in str(info.value)
    with pytest.raises(RevisionFailed) as info:
        circle.write()
    assert str(info.value) == (
        'No revision of package "aaa" was written: a model has a column of the type "size" of '
        'package "bbb", but no revision of "bbb" creates it. The packages use each other\'s types, '
        "so make them in two steps: leave that column out of the model, make and apply the "
        "revisions of both packages, then put it in and make the next revision."
    )
    assert not list(workshop.root.rglob("versions/*.py"))
    # What the message says.
    circle.models({"aaa": MOOD})
    assert {package for package, _ in circle.write()} == {"aaa", "bbb"}
    circle.service.upgrade()
    circle.models(both)
    assert circle.write("Second") == [("aaa", "Second")]
    circle.is_good()


@pytest.mark.parametrize("new", ["sa.String(36)", "sa.BigInteger"])
def test_the_type_of_a_key_changes_that_other_packages_point_at(
    workshop: Workshop, database_url: str, new: str
) -> None:
    """Their foreign keys go first, and come again behind the change."""
    circle = Circle(workshop, database_url)

    def models(key: str) -> None:
        circle.models({"one": "", "two": "sa.Column('n', sa.Integer),"})
        for name, more in (
            ("roles", f"sa.Column('id', {key}, primary_key=True, autoincrement=False),"),
            (
                "access",
                "sa.Column('id', sa.Integer, primary_key=True),"
                f"sa.Column('role', {key}, sa.ForeignKey('t_roles.id', name='fk_role')),",
            ),
        ):
            source = (
                "import sqlalchemy as sa\nfrom shared import metadata\n"
                f"sa.Table('t_{name}', metadata, {more} info={{'package': '{name}'}})\n"
            )
            folder = workshop.root / name
            if folder.exists():
                (folder / "models.py").write_text(source)
            else:
                workshop.package(name, source, metadata=f"{name}.models.metadata")

    models("sa.Integer")
    assert sorted(circle.write()) == [(one, "First") for one in ("access", "one", "roles", "two")]
    circle.service.upgrade()
    execute(database_url, "INSERT INTO t_roles VALUES (1)", "INSERT INTO t_access VALUES (1, 1)")
    models(new)
    # On SQLite keys say nothing of types.
    apart = [("access", "Second"), ("roles", "Second"), ("access", "Second: foreign keys")]
    on_sqlite = database_url.startswith("sqlite")
    expected = [("roles", "Second"), ("access", "Second")] if on_sqlite else apart
    assert circle.write("Second") == expected
    circle.service.upgrade()
    assert [str(p) for p in circle.service.check().problems] == []
    assert circle.write("Nothing") == []
    joined = "SELECT count(*) FROM t_access JOIN t_roles ON t_roles.id = role"
    assert rows(database_url, joined) == [(1,)]
    for package, _ in reversed(expected):
        circle.service.downgrade("-1", packages=package)
    circle.service.upgrade()
    assert rows(database_url, joined) == [(1,)]
    circle.is_good()


def test_a_ring_is_let_go_of(circle: Circle) -> None:
    """A key's column goes from a table whose own key is still referred to; then tables go."""
    whole = {"aaa": key("bbb"), "bbb": key("ccc"), "ccc": key("aaa")}
    circle.models(whole)
    circle.write()
    circle.service.upgrade()
    execute(circle.url, "INSERT INTO t_aaa (id) VALUES (1)")
    circle.models(dict.fromkeys(whole, ""))
    assert sorted(circle.write("Second")) == [(one, "Second") for one in whole]
    circle.service.upgrade()
    assert circle.service.check().ok
    for one in whole:
        circle.service.downgrade("-1", packages=one, cascade=True)
    assert rows(circle.url, "SELECT id, bbb_id FROM t_aaa") == [(1, None)]
    circle.is_good()
