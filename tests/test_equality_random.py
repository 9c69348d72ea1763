"""Evident equality never hides a difference: random changes of models and database."""

from __future__ import annotations

import copy
import itertools
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from apps import Workshop

#: Source of a table: columns with their type and keyword arguments, items, keyword arguments.
Spec = dict[str, dict[str, Any]]

HEADER = "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"

TYPES = (
    "sa.Integer",
    "sa.BigInteger",
    "sa.String(20)",
    "sa.String(40)",
    "sa.Text",
    "sa.Numeric(10, 2)",
    "sa.Numeric(12, 2)",
    "sa.Boolean",
    "sa.DateTime",
    "sa.DateTime(timezone=True)",
    "sa.Date",
    "sa.LargeBinary",
    "sa.JSON",
    "sa.Uuid",
    "sa.Enum('a', 'b', name='free_enum', native_enum=False, create_constraint=True)",
    "sa.Enum('a', 'b', 'c', name='free_enum', native_enum=False, create_constraint=True)",
)

numbers = itertools.count()


def table(target: str | None = None) -> dict[str, Any]:
    """Return a table with something of each kind."""
    items = {
        "unique": "sa.UniqueConstraint('code', name='uq_{t}')",
        "check": "sa.CheckConstraint('size > 0', name='ck_{t}')",
        "index": "sa.Index('ix_{t}', 'name')",
        "partial": "sa.Index('px_{t}', 'size', sqlite_where=sa.text('size > 1'), "
        "postgresql_where=sa.text('size > 1'))",
    }
    columns = {
        "id": ("sa.Integer", {"primary_key": "True"}),
        "name": ("sa.String(20)", {"nullable": "False", "server_default": "'x'"}),
        "code": ("sa.Integer", {}),
        "size": ("sa.Integer", {"comment": "'how much'"}),
        "made": ("sa.DateTime", {"server_default": "sa.func.now()"}),
        "twice": ("sa.Integer, sa.Computed('code * 2', persisted=True)", {}),
        "state": ("sa.Enum('a', 'b', name='{t}_state')", {"server_default": "'a'"}),
    }
    if target:
        columns["ref"] = ("sa.Integer", {})
        items["foreign"] = f"sa.ForeignKeyConstraint(['ref'], ['{target}.id'], name='fk_{{t}}')"
    return {"columns": columns, "items": items, "kw": {"comment": "'a table'"}}


def first_spec() -> Spec:
    spec = {"one": table(), "two": table("one"), "three": table("two")}
    # Without it a table is evidently equal.
    del spec["three"]["columns"]["twice"]
    return spec


def plain_spec() -> Spec:
    """Return tables of which all is evident."""
    spec = first_spec()
    for one in spec.values():
        one["columns"].pop("twice", None)
    return spec


def source(spec: Spec) -> str:
    text = HEADER
    for name, one in spec.items():
        parts = [repr(name), "metadata"]
        for column, (type_, keywords) in one["columns"].items():
            words = "".join(f", {k}={v}" for k, v in keywords.items())
            parts.append(f"sa.Column({column!r}, {type_.replace('{t}', name)}{words})")
        parts += [item.replace("{t}", name) for item in one["items"].values()]
        parts += [f"{k}={v}" for k, v in one["kw"].items()]
        text += f"sa.Table({', '.join(parts)})\n"
    return text


def models_of(spec: Spec) -> sa.MetaData:
    namespace: dict[str, Any] = {}
    exec(compile(source(spec), "models", "exec"), namespace)
    metadata: sa.MetaData = namespace["metadata"]
    return metadata


def keyword(column: str, name: str, *values: str) -> Callable[[Any, int], None]:
    """Return a change of a keyword argument of a column, which may be taken away as well."""

    def change(one: Any, number: int) -> None:
        if column in one["columns"]:
            keywords = one["columns"][column][1]
            keywords.pop(name, None)
            if number % (len(values) + 1) < len(values):
                keywords[name] = values[number % (len(values) + 1)]

    return change


def item(name: str, *values: str) -> Callable[[Any, int], None]:
    """Return a change of a constraint or index, which may be taken away as well."""

    def change(one: Any, number: int) -> None:
        one["items"].pop(name, None)
        if number % (len(values) + 1) < len(values):
            value = values[number % (len(values) + 1)]
            if "'ref'" not in value or "ref" in one["columns"]:
                one["items"][name] = value

    return change


def retype(one: Any, number: int) -> None:
    if "name" in one["columns"]:
        one["columns"]["name"] = (TYPES[number % len(TYPES)], one["columns"]["name"][1])
        one["columns"]["name"][1].pop("server_default", None)


def recompute(one: Any, number: int) -> None:
    texts = ("code * 2", "code * 3", "code + code", "2 * code")
    text = texts[number % len(texts)]
    one["columns"]["twice"] = (f"sa.Integer, sa.Computed({text!r}, persisted=True)", {})


def identify(one: Any, number: int) -> None:
    always = ("sa.Integer", "sa.Integer, sa.Identity()", "sa.Integer, sa.Identity(start=5)")
    one["columns"]["id"] = (always[number % len(always)], {"primary_key": "True"})


def revalue(one: Any, number: int) -> None:
    if "state" in one["columns"]:
        values = ("'a', 'b'", "'a', 'b', 'c'", "'b', 'a'")[number % 3]
        one["columns"]["state"] = (f"sa.Enum({values}, name='{{t}}_state')", {})


def add_or_drop_column(one: Any, number: int) -> None:
    name = f"extra{number % 2}"
    if name in one["columns"]:
        del one["columns"][name]
    else:
        one["columns"][name] = (TYPES[number % len(TYPES)], {})


CHANGES: dict[str, Callable[[Any, int], None]] = {
    "type": retype,
    "nullable": keyword("name", "nullable", "False", "True"),
    "default": keyword("name", "server_default", "'x'", "'y'", "sa.text(\"'x'\")"),
    "default of a time": keyword(
        "made", "server_default", "sa.func.now()", "sa.func.current_date()"
    ),
    "comment": keyword("size", "comment", "'how much'", "'how many'"),
    "computed": recompute,
    "identity": identify,
    "enum": revalue,
    "column": add_or_drop_column,
    "unique": item(
        "unique",
        "sa.UniqueConstraint('code', name='uq_{t}')",
        "sa.UniqueConstraint('code', 'size', name='uq_{t}')",
        "sa.UniqueConstraint('code', name='uq_{t}', deferrable=True)",
        "sa.UniqueConstraint('code')",
    ),
    "check": item(
        "check",
        "sa.CheckConstraint('size > 0', name='ck_{t}')",
        "sa.CheckConstraint('size > 1', name='ck_{t}')",
        "sa.CheckConstraint('size > 0', name='cc_{t}')",
        "sa.CheckConstraint('size IN (1, 2)', name='ck_{t}')",
    ),
    "index": item(
        "index",
        "sa.Index('ix_{t}', 'name')",
        "sa.Index('ix_{t}', 'name', unique=True)",
        "sa.Index('ix_{t}', 'name', 'size')",
        "sa.Index('ix_{t}', sa.text('lower(name)'))",
    ),
    "partial index": item(
        "partial",
        *(
            f"sa.Index('px_{{t}}', 'size', sqlite_where=sa.text('size > {n}'), "
            f"postgresql_where=sa.text('size > {n}'))"
            for n in (1, 2)
        ),
    ),
    "foreign key": item(
        "foreign",
        "sa.ForeignKeyConstraint(['ref'], ['one.id'], name='fk_{t}')",
        "sa.ForeignKeyConstraint(['ref'], ['one.id'], name='fk_{t}', ondelete='CASCADE')",
        "sa.ForeignKeyConstraint(['ref'], ['one.id'], name='fk_{t}', deferrable=True)",
    ),
    "table comment": lambda one, number: one["kw"].update(comment=repr(f"table {number % 2}")),
}

#: What a database alone can have.
STATEMENTS: dict[str, tuple[str, ...]] = {}
STATEMENTS["postgresql"] = (
    "ALTER TYPE one_state ADD VALUE IF NOT EXISTS 'c'",
    "ALTER SEQUENCE one_id_seq OWNED BY NONE",
    "ALTER TABLE one ALTER COLUMN id SET DEFAULT 7",
    "ALTER TABLE two RENAME COLUMN code TO kode",
    "ALTER TABLE two RENAME COLUMN kode TO code",
    "CREATE TABLE stranger (id INTEGER)",
    "ALTER TABLE one RENAME TO uno",
    "ALTER TABLE uno RENAME TO one",
)
STATEMENTS["sqlite"] = (
    "ALTER TABLE two RENAME COLUMN code TO kode",
    "ALTER TABLE two RENAME COLUMN kode TO code",
    "ALTER TABLE three ADD COLUMN more REFERENCES one",
    "ALTER TABLE three ADD COLUMN extra0 INTEGER",
    "ALTER TABLE three DROP COLUMN size",
    "CREATE INDEX more ON three (size DESC)",
    "DROP INDEX more",
    "CREATE UNIQUE INDEX more ON one (lower(name)) WHERE size > 1",
    "CREATE TABLE stranger (id INTEGER)",
    "ALTER TABLE one RENAME TO uno",
    "ALTER TABLE uno RENAME TO one",
    "DROP TABLE two",
)


@st.composite
def changes(draw: Any) -> tuple[str, str, str, int]:
    """Draw one change: of which side, of what kind, of which table, and which of its forms."""
    side = draw(st.sampled_from(("model", "database", "statement", "back")))
    kind = draw(st.sampled_from(sorted([*CHANGES, "drop table", "new table"])))
    return side, kind, draw(st.sampled_from(("one", "two", "three"))), draw(st.integers(0, 15))


def changed(spec: Spec, kind: str, name: str, number: int) -> Spec:
    """Return tables with one change; an unfit one changes nothing."""
    found = copy.deepcopy(spec)
    if kind == "drop table":
        if name == "three":
            found.pop(name, None)
    elif kind == "new table":
        found["four"] = table("one")
    elif name in found:
        CHANGES[kind](found[name], number)
    try:
        exec(compile(source(found), "models", "exec"), {})
    except sa.exc.SQLAlchemyError:
        return spec
    return found


def rebuild(engine: sa.Engine, name: str, spec: Spec) -> None:
    """Make one table of the database anew."""
    with engine.begin() as connection:
        cascade = " CASCADE" if engine.dialect.name == "postgresql" else ""
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}{cascade}")
        if name in spec:
            models_of(spec).tables[name].create(connection)


def go(url: str, drawn: list[tuple[str, str, str, int]], spec: Spec) -> None:
    root = Path(tempfile.mkdtemp())
    sys.path.insert(0, str(root))
    workshop = Workshop(root)
    package = f"equal{next(numbers)}"
    engine = sa.create_engine(url)
    models = there = spec
    try:
        folder = workshop.package(package, "", metadata=f"{package}.models.metadata")

        def service() -> Any:
            workshop.forget()
            (folder / "models.py").write_text(source(models))
            return workshop.service(url)

        (folder / "models.py").write_text(source(models))
        service().revision("one", autogenerate=True)
        service().upgrade()
        assert service().check().problems == ()
        for side, kind, name, number in drawn:
            note(f"{side} {kind} {name} {number}")
            try:
                if side == "model":
                    models = changed(models, kind, name, number)
                elif side == "database":
                    after = changed(there, kind, name, number)
                    rebuild(engine, name, after)
                    there = after
                elif side == "back":
                    models = there
                else:
                    statements = STATEMENTS[engine.dialect.name]
                    with engine.begin() as connection:
                        connection.exec_driver_sql(statements[number % len(statements)])
            except sa.exc.DBAPIError as exc:
                note(f"not possible: {exc.orig}")
            current = service()
            env = folder / "alembic" / "env.py"
            found = answer(current)
            plain = env.read_text()
            # With a filter of its own, all tables are compared in full.
            env.write_text(plain.replace("run_migrations()", FILTERED))
            assert plain != env.read_text()
            assert found == answer(current)
            env.write_text(plain)
    finally:
        engine.dispose()
        workshop.forget()
        sys.path.remove(str(root))
        shutil.rmtree(root)


FILTERED = "run_migrations(include_object=lambda *args: True)"


def answer(service: Any) -> list[str] | str:
    """Return what a check says, or how it fails."""
    try:
        problems = service.check().problems
        return [re.sub(r" at 0x[0-9a-f]+", "", problem.message) for problem in problems]
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def journey(examples: int) -> Any:
    options = settings(
        max_examples=examples,
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    return lambda function: options(given(st.lists(changes(), min_size=6, max_size=9))(function))


@pytest.mark.filterwarnings("ignore")
@journey(8)
def test_nothing_is_hidden_on_sqlite(tmp_path: Path, drawn: Any) -> None:
    go(f"sqlite:///{tmp_path}/{next(numbers)}.sqlite", drawn, first_spec())


@pytest.mark.filterwarnings("ignore")
@journey(8)
def test_nothing_is_hidden_on_sqlite_where_all_is_evident(tmp_path: Path, drawn: Any) -> None:
    go(f"sqlite:///{tmp_path}/{next(numbers)}.sqlite", drawn, plain_spec())


@pytest.mark.filterwarnings("ignore")
@journey(4)
def test_nothing_is_hidden_on_postgresql(postgresql_server: Any, drawn: Any) -> None:
    url = postgresql_server.create_database()
    try:
        go(url, drawn, first_spec())
    finally:
        postgresql_server.drop_database(url)
