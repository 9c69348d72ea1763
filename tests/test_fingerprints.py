"""Fingerprints: what is known of a table, what is not, and who may have a say."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from apps import Workshop
from test_fingerprints_random import CHANGES, first_spec, source
from websauna_migrate.autogenerate.differences import Completion
from websauna_migrate.autogenerate.facts import ReflectedTraits, Unstable
from websauna_migrate.autogenerate.traits import ModelTraits
from websauna_migrate.models.sqlalchemy_internals import has_reflection_listeners

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
# A table with a CHECK that has no name is never evidently equal.
sa.Table("plain", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("x", sa.String(9), default=lambda: "now"),
         sa.CheckConstraint("id > 0"))
sa.Table("other", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("plain_id", sa.ForeignKey("plain.id")),
         sa.CheckConstraint("id > 0"))
"""

ENV = (
    "from websauna_migrate.environment import run_migrations\n\n{more}\nrun_migrations({options})\n"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "websauna_migrate"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that were compared in full."""
    found: list[str] = []
    original = Completion.existing_tables

    def existing_tables(self: Completion) -> Any:
        tables = original(self)
        found.extend(table.name for table in tables)
        return tables

    monkeypatch.setattr(Completion, "existing_tables", existing_tables)
    return found


@pytest.fixture
def service(workshop: Workshop, tmp_path: Path) -> Any:
    workshop.package("known", MODELS, metadata="known.models.metadata")
    made = workshop.service(f"sqlite:///{tmp_path}/a.sqlite")
    made.revision("one", autogenerate=True)
    made.upgrade()
    return made


def looked_at(compared: list[str], question: Callable[[], Any]) -> list[str]:
    compared.clear()
    question()
    return sorted(compared)


def test_tables_known_to_be_equal_are_not_compared_again(service: Any, compared: list[str]) -> None:
    both = ["other", "plain"]
    assert looked_at(compared, service.check) == both
    assert looked_at(compared, service.check) == []
    assert looked_at(compared, lambda: service.revision("two", autogenerate=True)) == []
    assert looked_at(compared, lambda: service.check(full=True)) == both
    full = {"autogenerate": True, "full": True}
    assert looked_at(compared, lambda: service.revision("two", **full)) == both
    assert looked_at(compared, service.check) == []
    service.use_index = False
    assert looked_at(compared, service.check) == both


def test_a_table_with_a_difference_is_compared_each_time(
    service: Any, compared: list[str], tmp_path: Path
) -> None:
    service.check()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.sqlite")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE plain ADD COLUMN more INTEGER")
        connection.exec_driver_sql("ALTER TABLE other RENAME TO gone")
    engine.dispose()
    for _ in range(2):
        assert looked_at(compared, service.check) == ["plain"]
        messages = [problem.message for problem in service.check().problems]
        assert any("more" in message for message in messages)
        assert any("add table other" in message for message in messages)


@pytest.mark.parametrize("damage", ["nothing there", "no JSON", "another shape", "writable"])
def test_a_cache_that_cannot_be_trusted_is_not(
    service: Any, compared: list[str], own_cache: Path, damage: str
) -> None:
    service.check()
    (path,) = own_cache.glob("tables-*")
    if damage == "nothing there":
        path.unlink()
    elif damage == "writable":
        path.chmod(0o666)
    else:
        path.write_text("{" if damage == "no JSON" else "[]")
    assert looked_at(compared, service.check) == ["other", "plain"]


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ("def keep(*args): return True", "include_object=keep"),
        ("def keep(*args): return True", "include_name=keep"),
        ("def differ(*args): return None", "compare_type=differ"),
        ("", "compare_type=False"),
        ("def differ(*args): return None", "compare_server_default=differ"),
        ("", "compare_server_default=False"),
        ("", "an_option_of_a_later_alembic=True"),
    ],
)
def test_a_package_whose_env_py_has_a_say_is_compared_in_full(
    service: Any, compared: list[str], workshop: Workshop, more: str, options: str
) -> None:
    service.check()
    env = workshop.root / "known" / "alembic" / "env.py"
    env.write_text(ENV.format(more=more, options=options))
    for _ in range(2):
        assert looked_at(compared, service.check) == ["other", "plain"]


def test_hooks_that_get_operations_do_not_matter(
    service: Any, compared: list[str], workshop: Workshop
) -> None:
    service.check()
    env = workshop.root / "known" / "alembic" / "env.py"
    more = "def hook(context, revision, directives): pass"
    env.write_text(ENV.format(more=more, options="process_revision_directives=hook"))
    assert looked_at(compared, service.check) == []


def test_who_listens_to_reflection_has_a_say(service: Any, compared: list[str]) -> None:
    service.check()
    assert not has_reflection_listeners()

    def listener(*args: Any) -> None:
        pass

    sa.event.listen(sa.Table, "column_reflect", listener)
    try:
        assert has_reflection_listeners()
        assert looked_at(compared, service.check) == ["other", "plain"]
    finally:
        sa.event.remove(sa.Table, "column_reflect", listener)


# Traits


def traits(connection: sa.Connection, spec: Any, name: str) -> str:
    namespace: dict[str, Any] = {}
    exec(compile(source(spec), "models", "exec"), namespace)
    return repr(ModelTraits(connection).of(namespace["metadata"].tables[name]))


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_every_change_of_a_model_is_seen(connection: sa.Connection, kind: str) -> None:
    before = first_spec()
    name = "two"
    seen = 0
    for number in range(6):
        after = copy.deepcopy(before)
        CHANGES[kind](after[name], number)
        same = after == before
        assert (traits(connection, after, name) == traits(connection, before, name)) == same
        seen += not same
    assert seen


def test_traits_are_the_same_in_every_process(connection: sa.Connection) -> None:
    text = traits(connection, first_spec(), "two")
    assert text == traits(connection, first_spec(), "two")
    assert " at 0x" not in text


def test_what_a_referred_model_means_counts(connection: sa.Connection) -> None:
    found = set()
    for name in ("a", "b"):
        metadata = sa.MetaData()
        sa.Table("far", metadata, sa.Column(name, sa.Integer, key="k", primary_key=True))
        near = sa.Table("near", metadata, sa.Column("x", sa.ForeignKey("far.k")))
        found.add(repr(ModelTraits(connection).of(near)))
    assert len(found) == 2


def column_of(type_: Any, **keywords: Any) -> sa.Table:
    return sa.Table("t", sa.MetaData(), sa.Column("x", type_, **keywords))


class Odd(sa.types.UserDefinedType[Any]):
    def __init__(self, word: str) -> None:
        self.word = word

    def get_col_spec(self, **kw: Any) -> str:
        return self.word


def test_a_type_of_the_applications_is_what_the_database_is_told(
    connection: sa.Connection,
) -> None:
    one, two = (repr(ModelTraits(connection).of(column_of(Odd(word)))) for word in ("a", "b"))
    assert one != two


@pytest.mark.parametrize(
    "table",
    [
        column_of(sa.types.NullType()),
        column_of(sa.Integer, server_default=sa.FetchedValue()),
        sa.Table("t", sa.MetaData(), sa.Column("x", sa.ForeignKey("nowhere.id"))),
        sa.Table("t", sa.MetaData(), sa.Column("x", sa.Integer), sqlite_strict=object()),
        sa.Table(
            "t",
            sa.MetaData(naming_convention={"ix": "ix_%(odd)s", "odd": lambda c, t: "x"}),
            sa.Column("x", sa.Integer),
        ),
        sa.Table(
            "t",
            sa.MetaData(),
            sa.Column("x", postgresql.INT4RANGE),
            postgresql.ExcludeConstraint(("x", "&&")),
        ),
    ],
)
def test_what_is_not_understood_has_no_traits(connection: sa.Connection, table: sa.Table) -> None:
    with pytest.raises(Unstable):
        ModelTraits(connection).of(table)


def test_facts_that_are_not_understood_have_no_traits(connection: sa.Connection) -> None:
    assert ReflectedTraits(connection).of([{"name": "x", "type": sa.VARCHAR(3)}])
    for odd in (object(), Odd("a"), {"x": [lambda: None]}):
        with pytest.raises(Unstable):
            ReflectedTraits(connection).of(odd)


# SQLite's texts


def statements(service: Any, question: Callable[[], Any]) -> list[str]:
    """Return what a question asks of the database besides the histories."""
    found: list[str] = []
    engine = service.make_engine()
    service.make_engine = lambda: engine
    sa.event.listen(engine, "before_cursor_execute", lambda *args: found.append(args[2]))
    question()
    return [one for one in found if re.search("sqlite_master|pragma", one, re.IGNORECASE)]


def test_known_tables_are_not_reflected_on_sqlite(service: Any) -> None:
    service.check()
    asked = statements(service, service.check)
    assert not [one for one in asked if "pragma" in one.lower()]
    assert len([one for one in asked if "sqlite_temp_master" in one]) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX more ON plain (x)",
        "CREATE UNIQUE INDEX more ON plain (x) WHERE x > 1",
        "ALTER TABLE plain ADD COLUMN more REFERENCES other",
        "ALTER TABLE plain RENAME COLUMN x TO more",
        "CREATE TEMPORARY TABLE plain (more)",
    ],
)
def test_another_text_is_another_table(
    service: Any, compared: list[str], statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.check()
    engine = service.make_engine()
    monkeypatch.setattr(service, "make_engine", lambda: engine)

    @sa.event.listens_for(engine, "connect")
    def change(connection: Any, record: Any) -> None:
        if "TEMPORARY" in statement:
            connection.execute(statement)

    if "TEMPORARY" not in statement:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert "plain" in looked_at(compared, service.check)


def test_a_type_that_the_application_reflects_counts(
    service: Any, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.check()
    assert looked_at(compared, service.check) == []
    names = sqlite.base.SQLiteDialect.ischema_names
    monkeypatch.setitem(names, "VARCHAR", sa.CHAR)
    assert "plain" in looked_at(compared, service.check)
    monkeypatch.setitem(names, "VARCHAR", sa.VARCHAR)
    service.check()
    assert looked_at(compared, service.check) == []
    # How a class of the application's is written is not known.
    monkeypatch.setitem(names, "ODD", Odd)
    assert "plain" in looked_at(compared, service.check)


def test_a_key_that_names_no_columns_depends_on_the_other_table(
    workshop: Workshop, tmp_path: Path, compared: list[str]
) -> None:
    workshop.package("implied", MODELS, metadata="implied.models.metadata")
    url = f"sqlite:///{tmp_path}/b.sqlite"
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    engine = sa.create_engine(url)

    def replace(*statements: str) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    replace(
        "DROP TABLE other",
        "CREATE TABLE other (id INTEGER NOT NULL, plain_id INTEGER REFERENCES plain, "
        "CHECK (id > 0), PRIMARY KEY (id))",
    )
    assert looked_at(compared, service.check) == ["other", "plain"]
    assert service.check().ok
    assert looked_at(compared, service.check) == []
    replace(
        "DROP TABLE plain",
        "CREATE TABLE plain (id INTEGER NOT NULL, x VARCHAR(9) NOT NULL, CHECK (id > 0), "
        "PRIMARY KEY (x))",
    )
    assert looked_at(compared, service.check) == ["other", "plain"]
    messages = [problem.message for problem in service.check().problems]
    assert messages == [problem.message for problem in service.check(full=True).problems]
    assert any("fk" in one for one in messages)
    engine.dispose()
