"""Requirements on other packages: written by autogenerate, and missed by check."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from test_ws_alembic import TEMPLATE


@pytest.fixture
def two(workshop: Workshop) -> Workshop:
    """``addon`` with a table whose column ``code`` came later, and ``fooapp`` with one table."""
    workshop.package("addon", None)
    workshop.package("fooapp", None)
    workshop.script(
        "addon",
        "a100",
        None,
        'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))',
    )
    workshop.script(
        "addon",
        "a200",
        "a100",
        """
        with op.batch_alter_table("users") as batch:
            batch.add_column(sa.Column("code", sa.String(8)))
            batch.create_unique_constraint("uq_users_code", ["code"])
        """,
    )
    workshop.script("addon", "a300", "a200")
    workshop.script(
        "fooapp",
        "f100",
        None,
        'op.create_table("offers", sa.Column("id", sa.Integer, primary_key=True))',
    )
    return workshop


def requirement_problems(made: Workshop, url: str) -> list[Any]:
    report = made.service(url).check(packages="fooapp")
    found = [problem for problem in report.problems if problem.kind == "requirement"]
    assert all(problem.fatal and problem.package == "fooapp" for problem in found)
    assert not (found and report.ok)
    return found


TO_TABLE = [
    'op.create_table("t", sa.Column("x", sa.Integer, sa.ForeignKey("users.id")))',
    'op.create_table("t", sa.Column("x", sa.Integer), '
    'sa.ForeignKeyConstraint(["x"], ["users.id"], name="fk"))',
    'op.add_column("offers", sa.Column("x", sa.Integer, sa.ForeignKey("users.id")))',
    'op.create_foreign_key("fk", "offers", "users", ["id"], ["id"])',
    'with op.batch_alter_table("offers") as b: '
    'b.add_column(sa.Column("x", sa.Integer, sa.ForeignKey("users.id", name="fk")))',
    'with op.batch_alter_table("offers") as b: b.create_foreign_key("fk", "users", ["id"], ["id"])',
    'op.execute("ALTER TABLE offers ADD COLUMN x INTEGER REFERENCES users (id)")',
    'op.execute("CREATE TABLE t (x INTEGER, FOREIGN KEY (x) REFERENCES users)")',
]


@pytest.mark.parametrize("upgrade", TO_TABLE)
def test_check_fails_for_a_foreign_key_without_its_requirement(
    two: Workshop, sqlite_url: str, upgrade: str
) -> None:
    path = two.script("fooapp", "f200", "f100", upgrade)
    (problem,) = requirement_problems(two, sqlite_url)
    assert problem.message == (
        f'Revision "f200" of package "fooapp" ("{path}", line 14) has a foreign key to "users", '
        'which revision "a100" of package "addon" creates. Add to the script: requires = '
        '("addon@a100",)'
    )
    assert problem.details == "addon@a100"
    two.script("fooapp", "f200", "f100", upgrade, requires=["addon@a100"])
    assert requirement_problems(two, sqlite_url) == []


TO_COLUMN = [
    text.replace("id)", "code)").replace('"users.id"', '"users.code"') for text in TO_TABLE
]
TO_COLUMN = [text.replace('["id"], ["id"]', '["id"], ["code"]') for text in TO_COLUMN[:-1]]


@pytest.mark.parametrize("upgrade", TO_COLUMN)
@pytest.mark.parametrize("requires", [(), ("addon@a100",)])
def test_check_fails_where_the_column_came_later(
    two: Workshop, sqlite_url: str, upgrade: str, requires: tuple[str, ...]
) -> None:
    path = two.script("fooapp", "f200", "f100", upgrade, requires=requires)
    (problem,) = requirement_problems(two, sqlite_url)
    assert problem.message == (
        f'Revision "f200" of package "fooapp" ("{path}", line 14) has a foreign key to '
        '"users.code", which revision "a200" of package "addon" creates. Add to the script: '
        'requires = ("addon@a200",)'
    )
    two.script("fooapp", "f200", "f100", upgrade, requires=["addon@a300"])
    assert requirement_problems(two, sqlite_url) == []


def test_a_requirement_may_be_met_in_any_way(two: Workshop, sqlite_url: str) -> None:
    foreign_key = TO_TABLE[0]
    # By an older revision of the same package,
    two.script("fooapp", "f150", "f100", requires=["addon@a100"])
    two.script("fooapp", "f200", "f150", foreign_key)
    assert requirement_problems(two, sqlite_url) == []
    # by a third package,
    two.package("third", None)
    two.script("third", "c100", None, requires=["addon@a300"])
    two.script("fooapp", "f150", "f100")
    two.script("fooapp", "f200", "f150", foreign_key, requires=["third@c100"])
    assert requirement_problems(two, sqlite_url) == []
    # by what the other one says,
    two.script("fooapp", "f200", "f150", foreign_key)
    assert len(requirement_problems(two, sqlite_url)) == 1
    path = two.script("addon", "a250", "a200", run_before=["fooapp@f200"])
    assert requirement_problems(two, sqlite_url) == []
    path.unlink()
    # and by the registration of the package.
    init = two.root / "fooapp" / "__init__.py"
    init.write_text(init.read_text().replace("package(", "package(depends_on='addon@a100'"))
    two.forget()
    assert requirement_problems(two, sqlite_url) == []


def test_what_needs_no_requirement(two: Workshop, sqlite_url: str) -> None:
    two.script(
        "fooapp",
        "f200",
        "f100",
        """
        op.create_table(
            "t",
            sa.Column("own", sa.Integer, sa.ForeignKey("offers.id")),
            sa.Column("self", sa.Integer, sa.ForeignKey("t.own")),
            sa.Column("nobodys", sa.Integer, sa.ForeignKey("legacy.id")),
        )
        """,
    )
    assert requirement_problems(two, sqlite_url) == []


# Written by autogenerate

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str | None] = mapped_column(sa.String(8), unique=True)
"""

APP = """
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from addon.models import Base


class Offer(Base):
    __tablename__ = "offers"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


@pytest.fixture
def modelled(two: Workshop) -> Workshop:
    """The same with models."""
    for name, source in (("addon", MODELS), ("fooapp", APP)):
        (two.root / name / "models.py").write_text(source)
        shutil.copy(TEMPLATE, two.root / name / "alembic")
        init = two.root / name / "__init__.py"
        init.write_text(
            init.read_text().replace("package(", f'package(metadata="{name}.models.Base"')
        )
    two.forget()
    return two


def requires_of(path: str) -> Any:
    for node in ast.parse(Path(path).read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "requires":
            assert node.value is not None
            return ast.literal_eval(node.value)
    raise AssertionError(path)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('user_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))', "addon@a100"),
        (
            'user_code: Mapped[str | None] = mapped_column(sa.ForeignKey("users.code"))',
            "addon@a200",
        ),
    ],
)
@pytest.mark.parametrize("new_table", [False, True])
def test_autogenerate_requires_the_revision_of_the_table_or_column(
    modelled: Workshop,
    transactional_database_url: str,
    more: str,
    expected: str,
    new_table: bool,
) -> None:
    service = modelled.service(transactional_database_url)
    service.upgrade()
    assert service.revision(autogenerate=True) == ()
    source = APP + f"    {more}\n"
    if new_table:
        source = (
            f"{APP}\n\nclass Sale(Base):\n"
            '    __tablename__ = "sales"\n'
            "    id: Mapped[int] = mapped_column(primary_key=True)\n"
            f"    {more}\n"
        )
    (modelled.root / "fooapp" / "models.py").write_text(source)
    modelled.forget()
    service = modelled.service(transactional_database_url)
    (created,) = service.revision("Users", autogenerate=True)
    assert created.package == "fooapp"
    assert requires_of(created.path) == (expected,)
    service = modelled.service(transactional_database_url)
    service.upgrade()
    assert service.check().problems == ()


OWNED = '    __tablename__ = "users"\n    __table_args__ = {"info": {"package": "fooapp"}}\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("sa.String(8), ", "sa.String(80), ", "addon@a200"),
        ("unique=True", "unique=False", "addon@a200"),
        ("code:", "note: Mapped[str | None]\n    code:", "addon@a100"),
    ],
)
def test_autogenerate_requires_what_another_packages_script_made(
    modelled: Workshop, transactional_database_url: str, old: str, new: str, expected: str
) -> None:
    """The table is this package's by now, as where it moved or is shared."""
    modelled.service(transactional_database_url).upgrade()
    source = MODELS.replace('    __tablename__ = "users"\n', OWNED).replace(old, new)
    (modelled.root / "addon" / "models.py").write_text(source)
    modelled.forget()
    service = modelled.service(transactional_database_url)
    (created,) = service.revision("Users", autogenerate=True)
    assert created.package == "fooapp"
    assert requires_of(created.path) == (expected,)


def test_without_the_requirement_a_new_database_would_be_made_in_a_wrong_order(
    two: Workshop, postgresql_url: str
) -> None:
    # "abba" comes before "addon": without a word, its script would run first and fail.
    two.package("abba", None)
    foreign_key = 'op.create_table("t", sa.Column("x", sa.Integer, sa.ForeignKey("users.id")))'
    two.script("abba", "x100", None, foreign_key)
    assert str(two.service(postgresql_url).plan().steps[0].revision) == "abba@x100"
    problems = two.service(postgresql_url).check(packages="abba").problems
    (problem,) = [one for one in problems if one.kind == "requirement"]
    two.script("abba", "x100", None, foreign_key, requires=[problem.details])
    two.service(postgresql_url).upgrade()
    engine = sa.create_engine(postgresql_url)
    (found,) = sa.inspect(engine).get_foreign_keys("t")
    engine.dispose()
    assert found["referred_table"] == "users"
