"""The words of messages and tables: plurals, paths, differences, what is not there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.cli.render.text import Table, render_table, shown
from websauna_migrate.config.packages import is_importable
from websauna_migrate.plain_text import counted
from websauna_migrate.reports.model_differences import Said, describe

METADATA = sa.MetaData()
UNIQUE = sa.UniqueConstraint("title")
OFFERS = sa.Table(
    "offers",
    METADATA,
    sa.Column("title", sa.String(80)),
    sa.Index("ix_title", "title"),
    UNIQUE,
)


def test_one_and_several() -> None:
    assert [counted(number, "table") for number in (0, 1, 2)] == ["0 tables", "1 table", "2 tables"]
    assert counted(1, "revision is", "revisions are") == "1 revision is"
    assert counted(2, "revision is", "revisions are") == "2 revisions are"


def test_paths_begin_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = next(one for one in sys.path if one.endswith("site-packages"))
    monkeypatch.chdir(tmp_path)
    assert shown(f'("{tmp_path}/fooapp/a1.py", line 3)') == '("fooapp/a1.py", line 3)'
    assert shown(f'"{installed}/acme/a1.py"') == '"acme/a1.py"'
    for kept in (f'in "{tmp_path}"', f"sqlite:///{tmp_path}/x", f"/other{tmp_path}/x", "/srv/x"):
        assert shown(kept) == kept
    monkeypatch.chdir("/")
    assert shown(f'"{tmp_path}/fooapp"') == f'"{tmp_path}/fooapp"'


def test_a_table_keeps_80_columns_and_cuts_nothing() -> None:
    message = "Adding the last day of an offer, the first one, and what else there is to say"
    reason = "requested; required by acme.shop 77e667a14ac0; before acme.user 095d8def3d22"
    rows = (("1", "acme.app", "e490215501e6", message, reason),)
    headings = ("UPGRADE", "PACKAGE", "REVISION", "MESSAGE", "REASON")
    lines = list(render_table(Table(headings, rows, prose=frozenset({"MESSAGE", "REASON"}))))
    assert max(map(len, lines)) <= 80
    start = lines[0].index("REASON")
    assert " ".join(line[start:].strip() for line in lines[1:]) == reason
    identifier = "x" * 100
    assert list(render_table(Table(("A",), ((identifier,),)))) == ["A", identifier]


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (("add_table", OFFERS), "add table offers"),
        (("remove_column", "s", "offers", OFFERS.c.title), "remove column s.offers.title"),
        (("add_index", next(iter(OFFERS.indexes))), "add index ix_title of table offers"),
        (
            ("modify_nullable", None, "offers", "title", {"existing": object()}, True, False),
            "modify nullable of offers.title: NULL -> NOT NULL",
        ),
        (
            ("modify_type", None, "offers", "title", {}, sa.String(80), sa.Text()),
            "modify type of offers.title: VARCHAR(80) -> TEXT",
        ),
        (
            [("modify_default", None, "a", "b", {}, None, sa.DefaultClause(sa.text("now()")))],
            "modify default of a.b: none -> now()",
        ),
        (
            ("modify_default", None, "a", "b", {}, sa.DefaultClause("5"), sa.Computed("c + 1")),
            "modify default of a.b: '5' -> c + 1",
        ),
        (
            (
                "add_constraint",
                next(c for c in OFFERS.constraints if isinstance(c, sa.UniqueConstraint)),
            ),
            "add constraint (title) of table offers",
        ),
        (
            ("change_constraint", "a_pkey", "a", Said("(b)"), Said("(b, c)")),
            "change constraint a_pkey of table a: (b) -> (b, c)",
        ),
    ],
)
def test_a_difference_shows_no_object_of_python(diff: Any, words: str) -> None:
    assert describe(diff) == words
    assert "object at 0x" not in describe(diff)


def test_check_tells_a_default_by_its_sql(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package(
        "shop",
        """
        import sqlalchemy as sa
        from sqlalchemy.orm import DeclarativeBase

        class Base(DeclarativeBase):
            pass

        sa.Table("a", Base.metadata, sa.Column("b", sa.Integer, server_default="7"))
        """,
    )
    made = 'op.create_table("a", sa.Column("b", sa.Integer, server_default="5"))'
    workshop.script("shop", "s1", None, made)
    service = workshop.service(sqlite_url)
    service.upgrade()
    (problem,) = service.check().problems
    assert problem.message == "Package \"shop\": modify default of a.b: '5' -> '7'"


KEYS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

sa.Table("p", Base.metadata, sa.Column("id", sa.Integer, primary_key=True), comment="{comment}")
sa.Table(
    "a",
    Base.metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("b", sa.Integer),
    sa.Column("c", sa.Integer, sa.Computed("b + {number}")),
    sa.ForeignKeyConstraint(["b"], ["p.id"], name="k"{action}),
    sa.CheckConstraint("b > {number}", name="low"),
    sa.CheckConstraint("b < {number}00"),
    sa.Index("ix", "b"{more}),
    sa.UniqueConstraint("b"{more}, name="uq"),
)
"""

OLD = KEYS.format(number=1, action="", more="", comment="old")
NEW = KEYS.format(number=2, action=", ondelete='CASCADE'", more=', "id"', comment="new")


def test_check_tells_both_sides_of_what_changes(workshop: Workshop, database_url: str) -> None:
    folder = workshop.package("shop", OLD)
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    (folder / "models.py").write_text(NEW)
    workshop.forget()
    problems = workshop.service(database_url).check().problems
    told = dict(one.message.partition(": ")[2].split(": ", 1) for one in problems)
    assert {"change index ix of table a", "change constraint low of table a"} <= told.keys()
    key = "FOREIGN KEY (b) REFERENCES p (id)"
    change = told["change fk k of table a"].replace("`", "").replace("public.p", "p ")
    assert change == f"{key} -> {key} ON DELETE CASCADE"
    if "sqlite" not in database_url:
        assert told["modify comment of table p"] == "'old' -> 'new'"
    for name, words in told.items():
        old, arrow, new = words.partition(" -> ")
        assert (arrow and old != new) or name.startswith(("add", "remove")), name


def test_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "outer" / "inner" / "__init__.py").touch()
    (tmp_path / "one_module.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_importable("outer") and is_importable("outer.inner") and is_importable("one_module")
    for name in ("outer.other", "one_module.x", "no_such_thing", "acorp_shop", "", "..", "a b"):
        assert not is_importable(name), name


def test_status_is_the_name_and_current_its_alias(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("shop", None)
    workshop.script("shop", "s1")
    service = workshop.service(sqlite_url)
    assert service.status() == service.current()
    assert service.status()[0].pending == 1
