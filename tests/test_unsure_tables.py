"""Tables that a script may have made, or may have dropped since: told, and never dropped."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from test_ws_alembic import TEMPLATE

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Kept(Base):
    __tablename__ = "kept"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

KEPT = 'op.create_table("kept", sa.Column("id", sa.Integer, primary_key=True))\n'

CREATE = 'op.create_table("staging", sa.Column("id", sa.Integer))\n'

#: Scripts that leave open whose the table "staging" is, and whether it is there after them.
LEFT_OPEN = {
    "temporary": [
        'op.create_table("staging", sa.Column("id", sa.Integer), prefixes=["TEMPORARY"])'
    ],
    "another database": [f'if op.get_context().dialect.name == "mysql":\n    {CREATE}'],
    "early return": [f'if op.get_context().dialect.name != "mysql":\n    return\n{CREATE}'],
    "if not exists": ['op.execute("CREATE TABLE IF NOT EXISTS staging (id int)")'],
    "helper of the script": [
        f"{CREATE}def drop(name):\n    op.drop_table(name)\ndrop('staging')"
    ],
    "loop": [CREATE, 'for name in ("staging",):\n    op.drop_table(name)'],
    "imported helper": [CREATE, "import fooapp\nfooapp.drop_it(op)"],
    "helper by another name": [CREATE, "import fooapp\ntidy = [fooapp.tidy][0]\ntidy()"],
    "item of a dictionary": [CREATE, "import fooapp\n{'tidy': fooapp.tidy}['tidy']()"],
    "helper of the script by another name": [
        f"{CREATE}def tidy():\n    op.drop_table('staging')\nrun = tidy\nrun()"
    ],
    "method by another name": [
        CREATE,
        "run = op.get_bind().exec_driver_sql\nrun('DROP TABLE staging')",
    ],
    "conditional drop": [CREATE, 'if op.get_bind():\n    op.drop_table("staging")'],
    "computed SQL": [CREATE, "op.execute(' '.join(['DROP TABLE', 'staging']))"],
    "savepoint": [f"point = op.get_bind().begin_nested()\n{CREATE}point.rollback()"],
    "another engine": [
        "with sa.create_engine('sqlite://').begin() as other:\n"
        "    other.execute(sa.text('CREATE TABLE staging (id int)'))"
    ],
    "options": [
        "more = dict(prefixes=['TEMPORARY'])\n"
        "op.create_table('staging', sa.Column('id', sa.Integer), **more)"
    ],
    "class of the script": [
        CREATE,
        "class Step:\n    def go(self):\n        op.drop_table('staging')\nStep().go()",
    ],
    "implementation": [
        CREATE,
        "op.get_context().impl.drop_table(sa.Table('staging', sa.MetaData()))",
    ],
    "context of DDL": [
        CREATE,
        "op.execute(sa.DDL('DROP TABLE %(t)s', context={'t': 'staging'}))",
    ],
}  # fmt: skip

ON_POSTGRESQL = {
    "search_path": [
        'op.execute("CREATE SCHEMA shop; SET LOCAL search_path TO shop; '
        'CREATE TABLE staging (id int); SET LOCAL search_path TO public")'
    ],
    "DO with EXECUTE": [
        CREATE,
        "op.execute(\"DO $$ BEGIN EXECUTE 'DROP ' || 'TABLE staging'; END $$\")",
    ],
    "function that is called": [
        f"{CREATE}op.execute('CREATE FUNCTION tidy() RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN DROP TABLE staging; END $$')",
        "op.execute('SELECT tidy()')",
    ],
    "schema named": [CREATE, "op.execute('DROP TABLE public.staging')"],
    "schema named, moved": [
        CREATE,
        "op.execute('ALTER TABLE public.staging RENAME TO gone; DROP TABLE gone')",
    ],
    "nested comment": [
        'op.execute("/* was: /* old */ CREATE TABLE staging (id int); */ SELECT 1")',
    ],
    "escaped quote": ["op.execute(\"SELECT '\\\\'; CREATE TABLE staging (id int)\")"],
    "escape string": ["op.execute(\"SELECT E'\\\\'; CREATE TABLE staging (id int); SELECT '\")"],
    "DROP SCHEMA": [
        CREATE.replace("sa.Integer)", 'sa.Integer), schema="shop"').join(
            ['op.execute("CREATE SCHEMA shop")\n', ""]
        ),
        'op.execute("DROP SCHEMA shop CASCADE")',
    ],
}


def made(workshop: Workshop, scripts: list[str]) -> None:
    """Make a package whose models have one table, and whose scripts do more."""
    folder = workshop.package("fooapp", MODELS)
    with (folder / "__init__.py").open("a") as file:
        file.write('\n\ndef drop_it(op):\n    op.drop_table("staging")\n')
        file.write("\n\ndef tidy():\n    from alembic import op\n\n    drop_it(op)\n")
    (folder / "alembic").mkdir()
    shutil.copy(TEMPLATE, folder / "alembic")
    down = None
    for number, body in enumerate([KEPT, *scripts]):
        workshop.script("fooapp", f"f{number}00", down, body)
        down = f"f{number}00"


def assert_left_alone(workshop: Workshop, url: str, *, told: str) -> None:
    """Assert that a table of the same name, with a row, is told and not dropped."""
    service = workshop.service(url)
    service.upgrade()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        if not sa.inspect(connection).has_table("staging"):
            connection.execute(sa.text("CREATE TABLE staging (id int)"))
        connection.execute(sa.text("INSERT INTO staging VALUES (7)"))
    service = workshop.service(url)
    assert service.revision("x", autogenerate=True) == ()
    report = service.check()
    assert report.ok
    problems: list[Any] = [one for one in report.problems if "staging" in one.message]
    assert [one.kind for one in problems] == [told]
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM staging")).scalars().all() == [7]
    engine.dispose()


@pytest.mark.parametrize("name", LEFT_OPEN)
def test_a_table_that_may_be_of_somebody_else_is_not_dropped(
    workshop: Workshop, sqlite_url: str, name: str
) -> None:
    made(workshop, LEFT_OPEN[name])
    assert_left_alone(workshop, sqlite_url, told="unsure")


def test_a_helper_of_a_module_of_which_all_names_are_imported(
    workshop: Workshop, sqlite_url: str
) -> None:
    made(workshop, [CREATE, "tidy()"])
    path = workshop.root / "fooapp" / "alembic" / "versions" / "f200.py"
    star = "import sqlalchemy as sa\nfrom fooapp import *"
    path.write_text(path.read_text().replace("import sqlalchemy as sa", star, 1))
    assert_left_alone(workshop, sqlite_url, told="unsure")


@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_a_table_on_postgresql_that_may_be_of_somebody_else_is_not_dropped(
    workshop: Workshop, postgresql_url: str, name: str
) -> None:
    made(workshop, ON_POSTGRESQL[name])
    unowned = ("nested comment", "escape string", "DROP SCHEMA")
    assert_left_alone(workshop, postgresql_url, told="unowned" if name in unowned else "unsure")


def test_a_table_that_the_scripts_are_known_to_have_made_is_dropped(
    workshop: Workshop, sqlite_url: str
) -> None:
    made(workshop, [CREATE])
    service = workshop.service(sqlite_url)
    service.upgrade()
    (created,) = workshop.service(sqlite_url).revision("x", autogenerate=True, allow_drops=True)
    with open(created.path) as file:  # noqa: PTH123
        assert "op.drop_table('staging')" in file.read().replace('"', "'")


def test_what_leaves_it_open_is_named_with_its_line(workshop: Workshop, sqlite_url: str) -> None:
    made(workshop, LEFT_OPEN["loop"])
    service = workshop.service(sqlite_url)
    service.upgrade()
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE staging (id int)"))
    engine.dispose()
    (problem,) = workshop.service(sqlite_url).check().problems
    path = workshop.root / "fooapp" / "alembic" / "versions" / "f200.py"
    assert problem.kind == "unsure" and problem.package == "fooapp"
    assert f'revision "f200" ("{path}", line 15)' in problem.message
