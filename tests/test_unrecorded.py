"""A database whose tables were made by ``create_all``: the messages lead out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest

from in_process import ProjectHere, beside, make_project_here  # noqa: F401
from runs import engine_of, execute, tables

MODELS = """
class A(Base):
    __tablename__ = "a"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), index=True)


class B(Base):
    __tablename__ = "b"
    id: Mapped[int] = mapped_column(primary_key=True)
    a_id: Mapped[int] = mapped_column(ForeignKey("a.id"))
"""


@pytest.fixture
def made(make_project_here: Callable[..., ProjectHere], database_url: str) -> ProjectHere:  # noqa: F811
    """A project without scripts whose tables are in the database."""
    project = make_project_here(database_url)
    project.models(MODELS)
    with beside(project.root, "fooapp"):
        import_module("fooapp.models").Base.metadata.create_all(engine_of(database_url))
    return project


ADOPT = "ws-alembic -x packages=fooapp adopt"


def test_the_messages_lead_out(made: ProjectHere, database_url: str) -> None:
    # Without a script: what is said is followed.
    done = made.ws("revision", "--autogenerate", "-m", "first")
    assert "No changes" in done.stdout and ADOPT in done.stderr
    assert ADOPT in made.ws("check", ok=False).stdout
    made.ws("adopt", "--yes")
    made.ws("check")
    # With scripts: every command says how.
    execute(database_url, "DROP TABLE alembic_history_fooapp")
    execute(database_url, "DROP TABLE websauna_migrate_ledger")
    refused = made.ws("upgrade", ok=False)
    assert "already exists" in refused.stderr and ADOPT in refused.stderr
    checked = made.ws("check", ok=False)
    assert "equal the models" in checked.stdout and ADOPT in checked.stdout
    assert "upgrade" not in checked.stdout
    made.ws("adopt", "--yes")
    assert "Nothing to do" in made.ws("upgrade").stdout


@pytest.mark.parametrize("empty", [False, True])
def test_a_history_that_begins_with_a_column(
    made: ProjectHere, database_url: str, empty: bool
) -> None:
    """As where the first tables were ever made by ``create_all``, behind a script for these."""
    if empty:
        made.script("b0")
    made.script("b1", "b0" if empty else None, 'op.add_column("a", sa.Column("name", sa.Text))')
    refused = made.ws("upgrade", ok=False)
    assert "name" in refused.stderr and ADOPT in refused.stderr
    checked = made.ws("check", ok=False)
    assert "equal the models" in checked.stdout and ADOPT in checked.stdout
    made.ws("adopt", "--yes")
    assert "Nothing to do" in made.ws("upgrade").stdout
    made.ws("adopt", "--undo", "--yes")
    made.ws("adopt", "--yes")
    made.ws("check")


def test_a_history_that_begins_where_the_tables_were(made: ProjectHere, database_url: str) -> None:
    """Its first script does nothing, and what comes behind it is to be applied."""
    made.script("b0")
    made.ws("upgrade")
    made.models(MODELS.replace("    name:", "    more: Mapped[Optional[int]]\n    name:"))
    made.script("b1", "b0", 'op.add_column("a", sa.Column("more", sa.Integer))')
    assert ADOPT not in (checked := made.ws("check", ok=False).stdout) and "upgrade" in checked
    assert "There is nothing to take over" in made.ws("adopt", "--yes").stdout
    made.ws("upgrade")
    made.ws("check")


def test_a_difference_is_named(made: ProjectHere, database_url: str) -> None:
    made.script("one", None, 'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))')
    execute(database_url, "ALTER TABLE b ADD COLUMN more INTEGER")
    checked = made.ws("check", ok=False)
    assert "differ from the models: remove column b" in checked.stdout.replace(" None", "")
    assert "found by replay" in checked.stdout and ADOPT in checked.stdout
    refused = made.ws("adopt", "--yes", ok=False)
    assert "left to you: fooapp" in refused.stdout and "locate" in refused.stdout


def test_nothing_of_it_is_said_where_it_is_not_true(
    make_project_here: Callable[..., ProjectHere],  # noqa: F811
    database_url: str,
) -> None:
    project = make_project_here(database_url)
    project.models(MODELS)
    project.script("one", None, 'op.create_table("a", sa.Column("id", sa.Integer))')
    project.script("two", "one", 'op.create_table("a", sa.Column("id", sa.Integer))')
    checked = project.ws("check", ok=False)
    assert "stamp" not in checked.stdout and "upgrade" in checked.stdout
    refused = project.ws("upgrade", ok=False)
    assert "already exists" in refused.stderr and "stamp" not in refused.stderr
    assert "a" in tables(database_url)
