"""Fingerprints: what is known of a table, what is not, and who may have a say."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from apps import Workshop
from test_fingerprints_random import CHANGES, first_spec, source
from websauna_migrate.autogenerate.differences import Completion
from websauna_migrate.autogenerate.facts import ReflectedTraits, Unstable
from websauna_migrate.autogenerate.traits import ModelTraits
from websauna_migrate.sqlalchemy_internals import has_reflection_listeners

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("plain", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("x", sa.String(9), default=lambda: "now"))
sa.Table("other", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("plain_id", sa.ForeignKey("plain.id")))
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


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


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
