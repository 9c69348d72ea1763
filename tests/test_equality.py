"""Equality that a table is equal to its model: never where a comparison in full finds anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from apps import Workshop
from test_equality_random import CHANGES, Spec, models_of, source, table
from websauna_migrate.autogenerate.compare.equality import Equality
from websauna_migrate.autogenerate.completion import Completion
from websauna_migrate.autogenerate.reflection import Reflection


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plain_spec() -> Spec:
    """Return tables of which all is evident."""
    spec = {"one": table(), "two": table("one")}
    for one in spec.values():
        del one["columns"]["twice"]
    return spec


@pytest.fixture(params=["postgresql", "sqlite"])
def connection(request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    engine = sa.create_engine(request.getfixturevalue(f"{request.param}_url"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def evident(connection: sa.Connection, metadata: sa.MetaData) -> set[str]:
    """Return the tables that are evidently equal to their models."""
    default = connection.dialect.default_schema_name
    schemas = {one: None if one.schema == default else one.schema for one in metadata.sorted_tables}
    wanted = {(schema, one.name) for one, schema in schemas.items()}
    equality = Equality(Reflection(connection, wanted))
    return {one.name for one, schema in schemas.items() if equality.equal(one, schema)}


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_no_changed_table_is_evidently_equal(connection: sa.Connection, kind: str) -> None:
    before = plain_spec()
    no_comments = connection.dialect.name == "sqlite" and "comment" in kind
    models_of(before).create_all(connection)
    assert evident(connection, models_of(before)) == {"one", "two"}
    seen = 0
    for number in range(6):
        after = copy.deepcopy(before)
        CHANGES[kind](after["two"], number)
        if after == before or kind == "enum":
            # The values of an enum type are compared for all tables that have it.
            continue
        seen += 1
        same = no_comments or same_to_alembic(after)
        assert evident(connection, models_of(after)) <= {"one"} or same
    assert seen or kind == "enum"


def same_to_alembic(spec: Spec) -> bool:
    """Tell whether a change is none to Alembic."""
    default = spec["two"]["columns"]["name"][1].get("server_default")
    unique = spec["two"]["items"].get("unique", "")
    return (
        default == "sa.text(\"'x'\")"
        or "deferrable" in unique
        or unique == "sa.UniqueConstraint('code')"
    )


ODD: dict[str, Callable[[sa.MetaData], Any]] = {
    "nulls that are not distinct": lambda m: sa.Table(
        "t",
        m,
        sa.Column("x", sa.Integer),
        sa.UniqueConstraint("x", postgresql_nulls_not_distinct=True),
    ),
    "an exclusion": lambda m: sa.Table(
        "t", m, sa.Column("x", postgresql.INT4RANGE), postgresql.ExcludeConstraint(("x", "&&"))
    ),
    "a computed column": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Integer), sa.Column("y", sa.Integer, sa.Computed("x"))
    ),
    "an identity": lambda m: sa.Table("t", m, sa.Column("x", sa.Integer, sa.Identity())),
    "a default that the model does not know": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Integer, server_default=sa.FetchedValue())
    ),
    "a rewritten check": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Integer), sa.CheckConstraint("x IN (1, 2)", name="c")
    ),
    "a check without a name": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Integer), sa.CheckConstraint("x > 1")
    ),
    "an index on an expression": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Text), sa.Index("i", sa.text("lower(x)"))
    ),
    "an order": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Text), sa.Index("i", sa.text("x DESC"))
    ),
    "a method": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Text), sa.Index("i", "x", postgresql_using="hash")
    ),
    "a class of operators": lambda m: sa.Table(
        "t",
        m,
        sa.Column("x", sa.Text),
        sa.Index("i", "x", postgresql_ops={"x": "text_pattern_ops"}),
    ),
    "the default schema by name": lambda m: sa.Table(
        "t", m, sa.Column("x", sa.Integer), schema=m.info["default"]
    ),
    "a type without a name": lambda m: sa.Table("t", m, sa.Column("x")),
}


#: What is plain on SQLite, which keeps what it is told, and what it does not know.
NOT_ON_SQLITE = {"an exclusion", "a rewritten check", "a method", "a class of operators"}


@pytest.mark.parametrize("kind", sorted(ODD))
def test_what_is_not_plain_is_never_evident(connection: sa.Connection, kind: str) -> None:
    if connection.dialect.name == "sqlite" and kind in NOT_ON_SQLITE:
        return
    metadata = sa.MetaData(info={"default": connection.dialect.default_schema_name})
    made = ODD[kind](metadata)
    if kind == "a type without a name":
        connection.exec_driver_sql("CREATE TABLE t (x integer)")
    else:
        metadata.create_all(connection)
    assert made.name == "t"
    assert evident(connection, metadata) == set()


def test_unique_constraints_without_a_name_are_known_by_their_columns(
    connection: sa.Connection,
) -> None:
    forms = {
        "one": [sa.UniqueConstraint("x")],
        "both": [sa.UniqueConstraint("x"), sa.UniqueConstraint("y", "x")],
        "one named": [sa.UniqueConstraint("x"), sa.UniqueConstraint("y", "x", name="u")],
        "other columns": [sa.UniqueConstraint("y")],
        "another name": [sa.UniqueConstraint("x"), sa.UniqueConstraint("y", "x", name="v")],
        "none": [],
    }
    made = {}
    for form, constraints in forms.items():
        made[form] = sa.MetaData()
        columns = [sa.Column(name, sa.Integer) for name in "xy"]
        sa.Table("t", made[form], *columns, *constraints)
    for form, metadata in made.items():
        metadata.create_all(connection)
        found = {other for other, models in made.items() if evident(connection, models)}
        # Any name does for one that the model gives none, and SQLite keeps that there is none.
        expected = {"one named", "another name"} & {form}
        assert found == {form} | ({"both"} if expected else set())
        metadata.drop_all(connection)


def test_a_name_that_a_convention_may_change_is_not_evident(connection: sa.Connection) -> None:
    found = []
    for convention in (None, {"uq": "uq_%(table_name)s_%(constraint_name)s"}):
        metadata = sa.MetaData(naming_convention=convention)
        sa.Table("t", metadata, sa.Column("x", sa.Integer), sa.UniqueConstraint("x", name="q"))
        metadata.drop_all(connection)
        metadata.create_all(connection)
        found.append(evident(connection, metadata))
        one = next(
            c for c in metadata.tables["t"].constraints if isinstance(c, sa.UniqueConstraint)
        )
        if convention:
            # As if somebody had taken the convention's mark from it.
            one.name = "q"
            assert evident(connection, metadata) == set()
    assert found == [{"t"}, {"t"}]


def test_a_listener_to_reflection_makes_nothing_evident(connection: sa.Connection) -> None:
    metadata = models_of(plain_spec())
    metadata.create_all(connection)

    def listener(*args: Any) -> None:
        pass

    sa.event.listen(sa.Table, "column_reflect", listener)
    try:
        assert evident(connection, metadata) == set()
    finally:
        sa.event.remove(sa.Table, "column_reflect", listener)


def test_nothing_is_evident_on_mariadb(mariadb_url: str) -> None:
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("x", sa.Integer))
    engine = sa.create_engine(mariadb_url)
    with engine.connect() as connection:
        metadata.create_all(connection)
        assert evident(connection, metadata) == set()
    engine.dispose()


ODD_ON_SQLITE = {
    "a quote that hides a bracket": (
        """CREATE TABLE t (x TEXT DEFAULT "it's")""",
        lambda: sa.Column("x", sa.Text, server_default=sa.text("""\"it's\"""")),
    ),
    "an index in another order": (
        "CREATE TABLE t (x TEXT); CREATE INDEX ix_t_x ON t (x DESC)",
        lambda: sa.Column("x", sa.Text, index=True),
    ),
}


@pytest.mark.parametrize("kind", sorted(ODD_ON_SQLITE))
def test_what_only_sqlite_has_is_not_evident(sqlite_url: str, kind: str) -> None:
    statements, column = ODD_ON_SQLITE[kind]
    metadata = sa.MetaData()
    sa.Table("t", metadata, column())
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection:
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)
        assert evident(connection, metadata) == set()
    engine.dispose()


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
def service(workshop: Workshop, sqlite_url: str) -> Any:
    """A service whose one package has two tables of which all is evident."""
    workshop.package("known", source(plain_spec()), metadata="known.models.metadata")
    made = workshop.service(sqlite_url)
    made.revision("one", autogenerate=True)
    made.upgrade()
    return made


def looked_at(compared: list[str], question: Callable[[], Any]) -> list[str]:
    """Return the tables that were compared in full to answer a question."""
    compared.clear()
    question()
    return sorted(compared)


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_evidently_equal_tables_are_not_compared_in_full(
    workshop: Workshop, request: pytest.FixtureRequest, backend: str, compared: list[str]
) -> None:
    spec = plain_spec()
    # Its computed column is not evident.
    spec["three"] = table("one")
    name = f"evident_{backend}"
    workshop.package(name, source(spec), metadata=f"{name}.models.metadata")
    service = workshop.service(request.getfixturevalue(f"{backend}_url"))
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.check().ok
    assert looked_at(compared, service.check) == ["three"]
    assert looked_at(compared, lambda: service.revision("two", autogenerate=True)) == ["three"]


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
    write_env(workshop, more, options)
    assert looked_at(compared, service.check) == ["one", "two"]


def test_hooks_that_get_operations_do_not_matter(
    service: Any, compared: list[str], workshop: Workshop
) -> None:
    more = "def hook(context, revision, directives): pass"
    write_env(workshop, more, "process_revision_directives=hook")
    assert looked_at(compared, service.check) == []


def write_env(workshop: Workshop, more: str, options: str) -> None:
    (workshop.root / "known" / "alembic" / "env.py").write_text(
        f"from websauna_migrate.environment import run_migrations\n{more}\n"
        f"run_migrations({options})\n"
    )


def test_full_has_no_meaning_any_more(service: Any, compared: list[str]) -> None:
    with pytest.warns(FutureWarning, match="no meaning any more"):
        assert looked_at(compared, lambda: service.check(full=True)) == []
    with pytest.warns(FutureWarning, match="no meaning any more"):
        assert service.revision("two", autogenerate=True, full=True) == ()


@pytest.mark.parametrize("number", [1, 100, 101, 1000])
def test_any_number_of_tables_is_compared_in_full(
    workshop: Workshop, sqlite_url: str, compared: list[str], number: int
) -> None:
    # The CHECK has no name, so that no table is evidently equal.
    models = workshop.package(
        f"many{number}",
        "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"
        f"for number in range({number}):\n"
        '    sa.Table(f"t{number}", metadata, sa.Column("x", sa.Integer, primary_key=True),'
        ' sa.Column("y", sa.Integer), sa.CheckConstraint("x > 0"))\n',
        metadata=f"many{number}.models.metadata",
    )
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    compared.clear()
    assert service.check().ok
    assert len(compared) == number
    workshop.forget()
    source = (models / "models.py").read_text()
    (models / "models.py").write_text(source.replace('"y", sa.Integer', '"y", sa.String(9)'))
    problems = workshop.service(sqlite_url).check().problems
    assert [problem.kind for problem in problems] == ["drift"] * number
