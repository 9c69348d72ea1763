"""Packages whose tables and types need each other in a circle."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
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
        """Write the scripts; return the package and message of each.

        The first ones are proven only if it is said: what is behind them goes there and back.
        """
        options.setdefault("prove", "off" if message == "First" else "on")
        made = self.service.revision(message, autogenerate=True, **options)
        return [(one.package, one.message) for one in made]

    def is_good(self, first: Iterable[str] = ()) -> None:
        """Apply the scripts, there and back and there again, and compare with the models.

        :param first: packages that go alone at last, with what they require
        """
        service = self.service
        service.upgrade()
        service.downgrade("base")
        assert not [name for name in tables(self.url) if name.startswith("t_")]
        if first := [*first]:
            service.upgrade(packages=first)
        service.upgrade()
        assert [str(one) for one in service.check().problems if one.fatal] == []


def named(case: str, source: str) -> str:
    """Return a source with the packages of a case of its own: a letter three times is one."""
    return re.sub(r"([a-z])\1\1", rf"{case}_\g<0>", source)


def together(cases: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the columns of all cases, for one application: each case has its own packages."""
    return {
        named(case, package): named(case, columns)
        for case, models in cases.items()
        for package, columns in models.items()
    }


def by_case(written: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Return package and message of each script by its case, the package as the case has it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for package, message in written:
        case, _, name = package.rpartition("_")
        found.setdefault(case, []).append((name, message))
    return found


def key(name: str, column: str = "", more: str = "") -> str:
    return f"sa.Column('{column or name}_id', sa.ForeignKey('t_{name}.id'{more})),"


@pytest.fixture
def circle(workshop: Workshop, database_url: str) -> Circle:
    return Circle(workshop, database_url)


#: Models of a first script, and the scripts in their order.
FIRST: dict[str, tuple[dict[str, str], list[tuple[str, str]]]] = {
    "two": (
        {"aaa": key("bbb", more=", name='fk_a'"), "bbb": key("aaa")},
        [("aaa", "First"), ("bbb", "First"), ("aaa", "First: foreign keys")],
    ),
    # Only one of the ring gets a second script; who merely uses the ring comes behind it.
    "ring": (
        {
            "aaa": key("mmm") + key("nnn"),
            "mmm": key("nnn") + key("zzz"),
            "nnn": key("ooo"),
            "ooo": key("mmm", more=", ondelete='CASCADE'"),
            "zzz": "",
        },
        [
            ("zzz", "First"),
            ("mmm", "First"),
            ("ooo", "First"),
            ("nnn", "First"),
            ("aaa", "First"),
            ("mmm", "First: foreign keys"),
        ],
    ),
}

#: Joined-table inheritance, of a parent that refers to its child. Its key is not numbered.
CHILD = """
import sqlalchemy as sa
from shared import metadata
sa.Table('t_child_aaa', metadata,
    sa.Column('id', sa.ForeignKey('t_child_bbb.id'), primary_key=True),
    info={'package': 'child_aaa'})
"""


def test_circles_get_one_script_more(circle: Circle) -> None:
    circle.give_models("child_aaa", CHILD)
    first = {case: models for case, (models, _) in FIRST.items()}
    circle.models(together({**first, "child": {"bbb": key("aaa")}}))
    expected = {case: scripts for case, (_, scripts) in FIRST.items()}
    assert by_case(circle.write(prove="on")) == {**expected, "child": expected["two"]}
    heads = {one.package: one for one in circle.service.heads()}
    (b1,) = circle.service.history(packages="two_bbb")
    (a2, a1) = circle.service.history(packages="two_aaa")
    assert b1.revision.requires == (f"two_aaa@{a1.revision.id}",)
    assert a2.revision.requires == (f"two_bbb@{b1.revision.id}",)
    assert heads["two_aaa"] == a2.revision and a2.revision.down_revisions == (a1.revision.id,)
    assert dict(a2.revision.written_against) == {"two_bbb": b1.revision.id}
    circle.is_good()
    assert circle.service.check(fresh=True).ok
    again = circle.service.downgrade(a1.revision.id, packages="two_aaa", cascade=True)
    assert [step.revision for step in again.steps] == [a2.revision.id]


def new_table(package: str, columns: str = "") -> str:
    """Return source that ends a table's call and begins that of a new one."""
    return (
        f"info={{'package': '{package}'}})\nsa.Table('t_new_{package}', metadata, "
        f"sa.Column('id', sa.Integer, primary_key=True), {columns}"
    )


LET_GO = {"aaa": key("bbb"), "bbb": key("ccc"), "ccc": key("aaa")}

#: What models have one behind the other, and the scripts of each in their order.
LATER: dict[str, list[tuple[dict[str, str], list[tuple[str, str]]]]] = {
    # Tables that are there get keys to new ones of each other.
    "later": [
        ({"aaa": "", "bbb": key("aaa")}, [("aaa", "First"), ("bbb", "First")]),
        ({"aaa": key("bbb"), "bbb": key("aaa")}, [("aaa", "Second")]),
        # The older keys form a circle as well, but need no second script.
        (
            {
                "aaa": key("bbb") + new_table("aaa", key("new_bbb") + key("aaa", "up")),
                "bbb": key("aaa") + new_table("bbb"),
            },
            [("bbb", "Third"), ("aaa", "Third")],
        ),
    ],
    "column": [
        ({"aaa": "", "bbb": ""}, [("aaa", "First"), ("bbb", "First")]),
        (
            {
                "aaa": key("new_bbb") + new_table("aaa"),
                "bbb": key("new_aaa") + new_table("bbb"),
            },
            [("aaa", "Second"), ("bbb", "Second"), ("aaa", "Second: foreign keys")],
        ),
    ],
    # A key's column goes from a table whose own key is still referred to; then tables go.
    "let_go": [
        (
            LET_GO,
            [
                ("aaa", "First"),
                ("ccc", "First"),
                ("bbb", "First"),
                ("aaa", "First: foreign keys"),
            ],
        ),
        (
            dict.fromkeys(LET_GO, ""),
            [("aaa", "Second"), ("bbb", "Second"), ("ccc", "Second")],
        ),
    ],
}


def test_circles_that_come_later_and_go(circle: Circle) -> None:
    for number, message in enumerate(("First", "Second", "Third")):
        stages = {case: stages[number] for case, stages in LATER.items() if number < len(stages)}
        circle.models(together({case: models for case, (models, _) in stages.items()}))
        written = by_case(circle.write(message))
        # In what order a ring is let go of does not matter.
        written = {case: sorted(one) if case == "let_go" else one for case, one in written.items()}
        expected = {case: scripts for case, (_, scripts) in stages.items()}
        expected = {c: sorted(one) if c == "let_go" else one for c, one in expected.items()}
        assert written == expected
        circle.service.upgrade()
        if message == "First":
            execute(circle.url, "INSERT INTO t_let_go_aaa (id) VALUES (1)")
        if message == "Second":
            assert circle.service.check().ok
            for one in LET_GO:
                circle.service.downgrade("-1", packages=f"let_go_{one}", cascade=True)
            values = rows(circle.url, "SELECT id, let_go_bbb_id FROM t_let_go_aaa")
            assert values == [(1, None)]
            circle.service.upgrade()
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


#: The new type of a key that another package points at, by the case.
NEW_TYPES = {"text": "sa.String(36)", "big": "sa.BigInteger"}


def test_the_type_of_a_key_changes_that_other_packages_point_at(circle: Circle) -> None:
    """Their foreign keys go first, and come again behind the change."""

    def models(**types: str) -> None:
        # The package with the key has the later name.
        circle.models({"one": "", "two": "sa.Column('n', sa.Integer),"})
        for case, type_ in types.items():
            for name, more in (
                ("rrr", f"sa.Column('id', {type_}, primary_key=True, autoincrement=False),"),
                (
                    "aaa",
                    "sa.Column('id', sa.Integer, primary_key=True),"
                    f"sa.Column('role', {type_}, sa.ForeignKey('t_rrr.id', name='fk_aaa')),",
                ),
            ):
                source = (
                    "import sqlalchemy as sa\nfrom shared import metadata\n"
                    f"sa.Table('t_{name}', metadata, {more} info={{'package': '{name}'}})\n"
                )
                circle.give_models(named(case, name), named(case, source))

    models(**dict.fromkeys(NEW_TYPES, "sa.Integer"))
    packages = [f"{case}_{name}" for case in NEW_TYPES for name in ("aaa", "rrr")]
    assert sorted(circle.write()) == [(one, "First") for one in sorted([*packages, "one", "two"])]
    circle.service.upgrade()
    for case in NEW_TYPES:
        execute(
            circle.url,
            f"INSERT INTO t_{case}_rrr VALUES (1)",
            f"INSERT INTO t_{case}_aaa VALUES (1, 1)",
        )
    models(**NEW_TYPES)
    # On SQLite keys say nothing of types.
    apart = [("aaa", "Second"), ("rrr", "Second"), ("aaa", "Second: foreign keys")]
    on_sqlite = circle.url.startswith("sqlite")
    expected = [("rrr", "Second"), ("aaa", "Second")] if on_sqlite else apart
    assert by_case(circle.write("Second")) == dict.fromkeys(NEW_TYPES, expected)
    circle.service.upgrade()
    assert [str(p) for p in circle.service.check().problems] == []
    assert circle.write("Nothing") == []

    def joined() -> dict[str, list[tuple[int]]]:
        return {
            case: rows(
                circle.url,
                f"SELECT count(*) FROM t_{case}_aaa JOIN t_{case}_rrr ON t_{case}_rrr.id = role",
            )
            for case in NEW_TYPES
        }

    kept = {case: [(1,)] for case in NEW_TYPES}
    assert joined() == kept
    for name, _ in reversed(expected):
        circle.service.downgrade([f"{case}_{name}@-1" for case in NEW_TYPES])
    circle.service.upgrade()
    assert joined() == kept
    circle.is_good()
