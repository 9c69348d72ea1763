"""Tables that the models claim twice are told by ``check``; and what a cut off batch left."""

from __future__ import annotations

import pytest

from apps import Workshop
from runs import execute, rows, table
from websauna_migrate.errors import StepFailed

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table
Base = MetaData()
other = MetaData()
Table("a", Base, Column("id", Integer, primary_key=True))
Table("a", {metadata}, Column("id", Integer, primary_key=True), schema={schema!r})
"""


def test_two_definitions_in_one_package(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package(
        "app",
        MODELS.format(metadata="other", schema=None),
        metadata=["app.models.Base", "app.models.other"],
    )
    workshop.script("app", "one", None, **table("a"))
    service = workshop.service(sqlite_url)
    for _ in range(2):
        problems = {one.kind: one for one in service.check().problems}
        assert '"a"' in problems["ownership"].message and problems["ownership"].fatal
        service.upgrade()


def test_two_packages_of_one_table(workshop: Workshop, sqlite_url: str) -> None:
    for name in ("app", "other"):
        models = MODELS.format(metadata="Base", schema="x")
        workshop.package(name, models)
        workshop.script(name, f"{name}1", None)
    (problem,) = (
        one for one in workshop.service(sqlite_url).check().problems if one.kind == "ownership"
    )
    assert "app" in problem.message and "other" in problem.message


def test_the_default_schema_by_name(workshop: Workshop, postgresql_url: str) -> None:
    workshop.package("app", MODELS.format(metadata="Base", schema="public"))
    workshop.script("app", "one", None, **table("a"))
    service = workshop.service(postgresql_url)
    service.upgrade()
    problems = {one.kind: one for one in service.check().problems}
    assert 'define the table "a" twice' in problems["claimed-twice"].message


def test_names_that_differ_in_case_alone(workshop: Workshop, database_url: str) -> None:
    for name, table_name in (("app", "Thing"), ("other", "thing")):
        workshop.package(
            name,
            f"""
            from sqlalchemy import Column, Integer, MetaData, Table
            Base = MetaData()
            Table("{table_name}", Base, Column("id", Integer, primary_key=True))
            """,
        )
        workshop.script(name, f"{name}1", None)
    service = workshop.service(database_url)
    service.upgrade()
    problems = {one.kind: one.message for one in service.check().problems}
    assert ("claimed-twice" in problems) == database_url.startswith("sqlite")
    if "claimed-twice" in problems:
        told = problems["claimed-twice"]
        assert 'packages "app" and "other" define' in told and 'as "Thing", and as "thing"' in told


def test_a_table_that_a_cut_off_batch_left(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, **table("token"))
    batch = (
        'with op.batch_alter_table("token", recreate="always") as batch:\n'
        '    batch.add_column(sa.Column("n", sa.Integer))'
    )
    workshop.script("app", "two", "one", batch)
    service = workshop.service(sqlite_url)
    service.upgrade("one")
    execute(sqlite_url, "CREATE TABLE _alembic_tmp_token (id INTEGER)")
    with pytest.raises(StepFailed, match='DROP TABLE "_alembic_tmp_token"'):
        service.upgrade()
    execute(sqlite_url, 'DROP TABLE "_alembic_tmp_token"')
    service.upgrade()


def test_a_table_that_a_batch_left_under_its_temporary_name_comes_back(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("app")
    workshop.script("app", "one", None, **table("token"))
    lines = 'with op.batch_alter_table("token", recreate="always") as batch:\n'
    lines += '    batch.add_column(sa.Column("n", sa.Integer))'
    workshop.script("app", "two", "one", lines)
    service = workshop.service(sqlite_url)
    service.upgrade("one")
    # As Alembic does it, cut off in front of the last of its statements.
    execute(
        sqlite_url,
        "INSERT INTO token (id) VALUES (7)",
        "CREATE TABLE _alembic_tmp_token (id INTEGER PRIMARY KEY, n INTEGER)",
        "INSERT INTO _alembic_tmp_token SELECT id, NULL FROM token",
        "DROP TABLE token",
    )
    remedy = 'ALTER TABLE "_alembic_tmp_token" RENAME TO "token"'
    with pytest.raises(StepFailed, match=f"{remedy}, and run the command again"):
        service.upgrade()
    execute(sqlite_url, remedy)
    service.upgrade()
    assert rows(sqlite_url, "SELECT id, n FROM token") == [(7, None)]
