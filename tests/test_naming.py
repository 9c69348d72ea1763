"""Constraints without a name get what the naming convention says, as under plain Alembic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from projects import Project
from runs import engine_of

CONVENTION = """
NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(column_0_label)s",
}
"""

MODELS = (
    CONVENTION
    + """
Base.metadata.naming_convention = NAMES
more = MetaData(naming_convention=NAMES)


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(9), unique=True)
    other: Mapped[int] = mapped_column(ForeignKey("thing.id"), unique=True)
"""
)

ONE = """
op.create_table(
    "thing",
    sa.Column("id", sa.Integer, nullable=False),
    sa.Column("name", sa.String(9), nullable=False),
    sa.Column("other", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["other"], ["thing.id"]),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("name"),
)
"""

TWO = 'op.create_unique_constraint(None, "thing", ["other"])'

ENV = """
from alembic import context
from fooapp.models import Base
from sqlalchemy import engine_from_config

config = context.config
engine = engine_from_config(config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()
"""


def names(url: str) -> dict[str, Any]:
    inspector = sa.inspect(engine_of(url))
    return {
        "primary": inspector.get_pk_constraint("thing")["name"],
        "unique": sorted(str(one["name"]) for one in inspector.get_unique_constraints("thing")),
        "foreign": [one["name"] for one in inspector.get_foreign_keys("thing")],
    }


@pytest.mark.parametrize(
    "metadata", ["fooapp.models.Base", ["fooapp.models.Base", "fooapp.models.more"]]
)
def test_names_are_plain_alembics(
    make_project: Callable[..., Project], postgresql_url: str, metadata: Any
) -> None:
    project = make_project(postgresql_url)
    project.models(MODELS, metadata=metadata)
    project.script("one", None, ONE, 'op.drop_table("thing")')
    project.script("two", "one", TWO)
    project.ws("upgrade")
    found = names(postgresql_url)
    assert found == {
        "primary": "pk_thing",
        "unique": ["uq_thing_name", "uq_thing_other"],
        "foreign": ["fk_thing_other"],
    }
    project.ws("check")
    with engine_of(postgresql_url).begin() as connection:
        connection.execute(sa.text("DROP TABLE thing"))
    project.env(ENV)
    project.alembic("upgrade", "head")
    assert names(postgresql_url) == found


def test_conventions_that_differ_are_left_alone(
    make_project: Callable[..., Project], postgresql_url: str
) -> None:
    project = make_project(postgresql_url)
    models = MODELS.replace("more = MetaData(naming_convention=NAMES)", "more = MetaData()")
    project.models(models, metadata=["fooapp.models.Base", "fooapp.models.more"])
    project.script("one", None, ONE)
    project.ws("upgrade")
    assert names(postgresql_url)["primary"] == "thing_pkey"


def test_a_name_that_is_too_long_is_told_once(workshop: Workshop, database_url: str) -> None:
    """The convention's name, which the database has shortened."""
    column = "of_the_thing_that_is_meant_by_the_word"
    models = f"""
    import sqlalchemy as sa
    metadata = sa.MetaData(naming_convention={{
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s"}})
    sa.Table("things_of_the_first", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("users", metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("{column}", sa.Integer, sa.ForeignKey("things_of_the_first.id")))
    """
    folder = workshop.package("app", models, metadata="app.models.metadata")
    made = f"""
    op.create_table("things_of_the_first", sa.Column("id", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_things_of_the_first"))
    op.create_table("users", sa.Column("id", sa.Integer), sa.Column("{column}", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_users"))
    """
    workshop.script("app", "one", None, made, 'op.drop_table("users")')
    service = workshop.service(database_url)
    service.upgrade()
    (told,) = service.check().problems
    assert "add fk" in told.message
    (script,) = service.revision("two", autogenerate=True)
    assert "by hand" not in (folder / "alembic" / "versions" / Path(script.path).name).read_text()
    service.upgrade()
    assert service.check().problems == ()


LATER = """
import sqlalchemy as sa
metadata = sa.MetaData({convention})
sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table(
    "t",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("a", sa.ForeignKey("p.id"), unique=True),
    sa.Column("b", sa.Integer, sa.CheckConstraint("b > 1", name="low"), index=True),
    sa.CheckConstraint("b < 9"{name}),
)
"""


def test_a_convention_that_comes_later_renames_what_had_a_name_alone(
    workshop: Workshop, database_url: str
) -> None:
    folder = workshop.package(
        "shop", LATER.format(convention="", name=""), metadata="shop.models.metadata"
    )
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    names = {
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "idx_%(column_0_label)s",
    }
    later = LATER.format(convention=f"naming_convention={names}", name=', name="high"')
    (folder / "models.py").write_text(later)
    workshop.forget()
    service = workshop.service(database_url)
    told = sorted(one.message.split(": ")[1] for one in service.check().problems)
    assert told == [
        "add constraint ck_t_low of table t",
        "add index idx_t_b of table t",
        "remove constraint low of table t",
        "remove index ix_t_b of table t",
    ]
    service.revision("two", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
