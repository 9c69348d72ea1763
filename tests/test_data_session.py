"""Sessions of revision scripts: part of the step, whatever becomes of it."""

from __future__ import annotations

import pytest

from apps import Workshop
from runs import rows, table, tables
from websauna_migrate import data
from websauna_migrate.errors import StepFailed, UsageError


@pytest.fixture
def things(workshop: Workshop) -> Workshop:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("things"))
    return workshop


MODELS = """
from websauna_migrate import data
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)

"""


def migrate(workshop: Workshop, url: str, upgrade: str) -> list[int]:
    """Run a script that moves data, and return what is there then."""
    path = workshop.script("fooapp", "f200", "f100", upgrade=upgrade)
    source = path.read_text()
    path.write_text(source.replace("import sqlalchemy as sa", "import sqlalchemy as sa" + MODELS))
    workshop.service(url).upgrade()
    return found(url)


def found(url: str) -> list[int]:
    return [row[0] for row in rows(url, "SELECT id FROM things ORDER BY id")]


def test_a_with_block_commits_into_the_step(things: Workshop, database_url: str) -> None:
    script = """
    with data.session() as session:
        session.add(Thing(id=1))
        session.flush()
        session.execute(sa.insert(Thing.__table__).values(id=2))
    """
    assert migrate(things, database_url, script) == [1, 2]


def test_what_is_pending_at_the_end_is_written(things: Workshop, database_url: str) -> None:
    assert migrate(things, database_url, "data.session().add(Thing(id=1))") == [1]


def test_commit_and_rollback_are_the_sessions_own(things: Workshop, database_url: str) -> None:
    script = """
    session = data.session()
    session.add(Thing(id=1))
    session.commit()
    session.add(Thing(id=2))
    session.flush()
    session.rollback()
    session.add(Thing(id=3))
    session.commit()
    op.execute("INSERT INTO things VALUES (4)")
    """
    assert migrate(things, database_url, script) == [1, 3, 4]


def test_a_failing_step_takes_the_sessions_work_with_it(
    things: Workshop, database_url: str
) -> None:
    script = """
    with data.session() as session:
        session.add(Thing(id=1))
        session.commit()
    raise RuntimeError("no")
    """
    with pytest.raises(StepFailed) as caught:
        migrate(things, database_url, script)
    assert not caught.value.half_done
    assert found(database_url) == []
    assert things.service(database_url).current()[0].rows == ("f100",)


def test_a_block_that_fails_takes_its_own_work_back(things: Workshop, database_url: str) -> None:
    script = """
    op.execute("INSERT INTO things VALUES (1)")
    try:
        with data.session() as session:
            session.add(Thing(id=2))
            session.flush()
            raise KeyError
    except KeyError:
        pass
    """
    assert migrate(things, database_url, script) == [1]


def test_a_session_after_ddl_and_in_an_autocommit_block(
    things: Workshop, database_url: str
) -> None:
    script = """
    op.create_table("more", sa.Column("id", sa.Integer))
    with data.session() as session:
        session.add(Thing(id=1))
    with op.get_context().autocommit_block():
        with data.session() as session:
            session.add(Thing(id=2))
    with data.session() as session:
        session.add(Thing(id=3))
    """
    assert migrate(things, database_url, script) == [1, 2, 3]


def test_a_session_of_a_script_that_is_not_transactional(
    things: Workshop, database_url: str
) -> None:
    script = """
    with data.session() as session:
        session.add(Thing(id=1))
    data.session().add(Thing(id=2))
    """
    path = things.script("fooapp", "f200", "f100", upgrade=script)
    head = "import sqlalchemy as sa" + MODELS + "\ntransactional = False\n"
    path.write_text(path.read_text().replace("import sqlalchemy as sa", head))
    things.service(database_url).upgrade()
    assert found(database_url) == [1, 2]


def test_a_session_joins_the_steps_transaction_manager(things: Workshop, database_url: str) -> None:
    script = """
    session = data.session(join_transaction=True)
    session.execute(sa.insert(Thing.__table__).values(id=1))
    told = []
    manager = data.transaction_manager()
    manager.get().addAfterCommitHook(lambda done: open(NOTE, "a").write(str(done)) and None)
    """
    note = things.root / "note"
    script = script.replace(
        'open(NOTE, "a").write', f"__import__('pathlib').Path({str(note)!r}).write_text"
    )
    assert migrate(things, database_url, script) == [1]
    assert note.read_text() == "True"


def test_a_transaction_managers_work_is_aborted_with_the_step(
    things: Workshop, database_url: str
) -> None:
    script = """
    session = data.session(join_transaction=True)
    session.add(Thing(id=1))
    session.flush()
    raise RuntimeError("no")
    """
    with pytest.raises(StepFailed):
        migrate(things, database_url, script)
    assert found(database_url) == []


def test_a_doomed_transaction_manager_ends_the_step(
    things: Workshop, transactional_database_url: str
) -> None:
    script = """
    data.session(join_transaction=True).add(Thing(id=1))
    data.transaction_manager().doom()
    """
    with pytest.raises(StepFailed):
        migrate(things, transactional_database_url, script)
    assert found(transactional_database_url) == []


def test_data_belongs_to_scripts() -> None:
    with pytest.raises(UsageError) as caught:
        data.session()
    assert str(caught.value) == (
        "websauna_migrate.data is for revision scripts: no migration runs now."
    )


def test_data_needs_a_database(things: Workshop, sqlite_url: str) -> None:
    path = things.script("fooapp", "f200", "f100", upgrade="data.session()")
    path.write_text(path.read_text().replace("import op\n", "import op\n" + MODELS))
    with pytest.raises(UsageError) as caught:
        things.service(sqlite_url).sql()
    assert "cannot be written down with --sql" in str(caught.value)
    assert tables(sqlite_url) == set()
