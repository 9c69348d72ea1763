"""Operations written from two databases: what the one has more, or other, than the other."""

from __future__ import annotations

import ast
import re
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    Enum,
    Index,
    MetaData,
    Table,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.reflected_tables import without_parameters
from websauna_migrate.autogenerate.compare.definitions import index_of
from websauna_migrate.autogenerate.compare.enum_types import last_values
from websauna_migrate.autogenerate.operations.rendering import CONDITIONS
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.template import create_script_directory
from websauna_migrate.database.engines import connect, make_engine
from websauna_migrate.facts.brackets import split_brackets, split_commas
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.models.sqlalchemy_internals import escaped
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.revision_scripts.script_parts import ScriptParts
from websauna_migrate.revision_scripts.written_operations import operations_in
from websauna_migrate.revision_scripts.written_schema import WrittenSchema
from websauna_migrate.reworking.squash.chains import Chain
from websauna_migrate.runs.base_service import Service

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ReflectedColumn

#: The name of the only package of the service that compares the two.
NAME = "websauna_migrate"

#: The history table of it, in the scratch database.
HISTORY = "alembic_history_of_a_squash"

#: Compares the tables that the steps changed, and leaves the others alone: of these, SQLAlchemy
#: may not reflect all. What older scripts say of expressions on other databases is kept.
ENV = """\
from websauna_migrate.environment import run_migrations

CHANGED = {changed!r}
SCRIPTS = {scripts!r}


def include_object(object, name, type_, reflected, compare_to):
    return type_ != "table" or name in CHANGED


run_migrations(include_object=include_object, older_scripts=SCRIPTS)
"""

#: Lines that Alembic writes around operations.
AROUND = re.compile(r"\s*# ### .* ###\s*")

#: The default of a serial column.
SERIAL = re.compile(r"nextval\('[^']+'::regclass\)")


@dataclass(frozen=True)
class Operations:
    """The operations of a stretch, as text.

    :ivar upgrade: the lines of the function, indented
    :ivar downgrade: the same of the way back
    :ivar imports: statements
    """

    upgrade: str
    downgrade: str
    imports: tuple[str, ...]


def operations_between(
    service: Service,
    before: Chain,
    after: Chain,
    changed: Collection[str],
    scripts: Sequence[Revision],
) -> Operations:
    """Return the operations that make one database of another, and the way back.

    :param before: a database that is only read
    :param changed: the names of the tables that differ
    :param scripts: the package's that made the other, in the order in which they are applied
    """
    with tempfile.TemporaryDirectory(prefix="websauna_migrate_squash_") as folder:
        with connect(make_engine(after.url, after.engine_options)) as connection:
            metadata = reflected(connection, after.facts())
            restore_types(metadata, connection.dialect, service.site().loaded, scripts)
        package = MigrationPackage(
            name=NAME,
            folder=Path(folder),
            metadata=(metadata,),
            script_directory=Path(folder) / "alembic",
            history_table=HISTORY,
        )
        databases = service.settings.databases_of(scripts[-1].package)
        settings = replace(
            service.settings,
            url=before.url,
            scratch_url=None,
            version_table={},
            package_databases={NAME: databases},
        )
        other = service.with_changes(settings, [package])
        create_script_directory(package)
        env = Path(folder) / "alembic" / "env.py"
        paths = [str(one.path) for one in scripts]
        env.write_text(ENV.format(changed=set(changed), scripts=paths), encoding="utf-8")
        there = [one.name for one in before.facts().objects if one.kind == "table"]
        if there:
            write_origin(other, there)
        created = other.revision(
            "squash", packages=NAME, autogenerate=True, prove="off", allow_drops=True
        )
        if not created:
            return Operations("", "", ())
        (script,) = created
        (revision,) = [
            one for one in other.site().loaded.histories[NAME] if one.id == script.revision
        ]
        return taken_out(ScriptParts(revision, Path(script.path).read_text(encoding="utf-8-sig")))


def write_origin(service: Service, tables: Iterable[str]) -> None:
    """Let a script say that it made the tables of the database, so that they can be dropped."""
    (created,) = service.revision("origin", packages=NAME, prove="off")
    path = Path(created.path)
    lines = "".join(f"    op.create_table({name!r})\n" for name in tables)
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(re.sub(r"(def upgrade\(\)[^\n]*\n)(?s:.*)", rf"\1{lines}", text))
    service.stamp("heads", packages=NAME, purge=True)


def taken_out(parts: ScriptParts) -> Operations:
    """Return the operations of a script."""
    imports = [
        part.text.strip()
        for part in parts.parts
        if isinstance(part.node, (ast.Import, ast.ImportFrom))
    ]
    return Operations(body_of(parts, "upgrade"), body_of(parts, "downgrade"), tuple(imports))


def body_of(parts: ScriptParts, name: str) -> str:
    """Return the lines of a function without its docstring; empty if it does nothing."""
    node = parts.by_name[name].node
    assert isinstance(node, ast.FunctionDef)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body or all(isinstance(one, ast.Pass) for one in body):
        return ""
    first, last = body[0].lineno, body[-1].end_lineno or body[-1].lineno
    lines = b"".join(parts.lines[first - 1 : last]).decode("utf-8").splitlines()
    return "\n".join(line for line in lines if not AROUND.fullmatch(line)) + "\n"


# Reflecting


def reflected(connection: Connection, facts: Facts) -> MetaData:
    """Return the tables of a database as SQLAlchemy has them."""
    metadata = MetaData()

    @event.listens_for(metadata, "column_reflect")
    def escape(inspector: object, table: Table, column: ReflectedColumn) -> None:
        without_parameters("columns", [column])

    plain = connection.dialect.name not in ("mysql", "mariadb")
    for one in facts.objects:
        if one.kind == "table" and not one.get("partition of"):
            schema = one.schema if plain and one.schema != facts.default_schema else None
            with warnings.catch_warnings():
                # The facts have them.
                warnings.filterwarnings("ignore", ".*reflection of expression-based index")
                Table(one.name, metadata, schema=schema, autoload_with=connection)
    for table in metadata.tables.values():
        table.info["package"] = NAME
        for column in table.columns:
            tidy(column, connection)
        for check in table.constraints:
            if isinstance(check, CheckConstraint):
                check.sqltext = as_written(check.sqltext)
        for index in table.indexes:
            index.unique = bool(index.unique)
            index.expressions = [as_written(one) for one in index.expressions]
            for name, value in index.dialect_kwargs.items():
                if name in CONDITIONS:
                    index.dialect_kwargs[name] = as_written(value)
        parts: list[Table | Index | Constraint] = [table, *table.indexes, *table.constraints]
        for part in parts:
            without_nothing(part)
        if connection.dialect.name == "sqlite":
            with_numbering(table, facts)
            with_expression_indexes(table, facts)
        elif connection.dialect.name == "postgresql":
            with_exclusions(table, facts)
    return metadata


def restore_types(
    metadata: MetaData, dialect: Dialect, loaded: LoadedScripts, scripts: Sequence[Revision]
) -> None:
    """Let columns be of the types that scripts wrote, of which a database may keep less.

    One that the database would keep otherwise than it does is left out, and so is an enum whose
    values are not known. The CHECK of one is the type's again.
    """
    known = WrittenSchema().read(operations_in(script_text(one.path) for one in scripts)).types
    values = last_values(loaded, scripts)
    for table in metadata.tables.values():
        types = known.get((table.schema, table.name), {})
        for column in table.columns:
            written: Any = types.get(column.name)
            if written is None:
                continue
            is_enum = isinstance(written, Enum)
            if is_enum and values.get(str(written.name)) != tuple(written.enums):
                continue
            try:
                same = written.compile(dialect) == column.type.compile(dialect)
            except Exception:
                # What SQLAlchemy says to a type that a database does not have is of any class.
                continue
            if not same:
                continue
            if makes_check(written, dialect):
                checks = [one for one in table.constraints if isinstance(one, CheckConstraint)]
                check = next((one for one in checks if one.name == written.name), None)
                if check is None:
                    continue
                table.constraints.discard(check)
            column.type = written


def makes_check(written: TypeEngine[Any], dialect: Dialect) -> bool:
    """True if a type makes a CHECK beside its column."""
    if not isinstance(written, Enum) or not written.create_constraint:
        return False
    return not (dialect.supports_native_enum and written.native_enum)


def as_written(expression: Any) -> Any:
    """Return a text that was reflected as one in which SQLAlchemy reads no ``:name``."""
    words = expression.text if isinstance(expression, TextClause) else expression
    return text(escaped(words)) if isinstance(words, str) else expression


def with_numbering(table: Table, facts: Facts) -> None:
    """Let a table of SQLite number its rows as it did, which SQLAlchemy does not reflect."""
    for one in facts.objects:
        if one.kind == "table" and one.name == table.name and one.get("autoincrement"):
            table.dialect_options["sqlite"]["autoincrement"] = True


def parts_of(table: Table, facts: Facts, kind: str) -> Iterator[Fact]:
    """Yield the facts of a kind of a table's parts."""
    schema = table.schema or facts.default_schema
    for one in facts.objects:
        if (one.kind, one.schema, one.table) == (kind, schema, table.name):
            yield one


def with_expression_indexes(table: Table, facts: Facts) -> None:
    """Give a table of SQLite its indexes of expressions, which SQLAlchemy does not reflect."""
    there = {index.name for index in table.indexes}
    names = [str(column.name) for column in table.columns]
    for one in parts_of(table, facts, "index"):
        if one.name in there:
            continue
        found = index_of(one, str(table.name), None, "sqlite", names, ("sqlite",))
        parts = [
            table.c[part.name] if isinstance(part, Column) else part for part in found.expressions
        ]
        Index(one.name, *parts, unique=found.unique, _table=table, **found.dialect_kwargs)


def with_exclusions(table: Table, facts: Facts) -> None:
    """Give a table of PostgreSQL its EXCLUDE constraints, which SQLAlchemy does not reflect."""
    for one in parts_of(table, facts, "constraint"):
        if (constraint := exclusion(one)) is not None:
            table.append_constraint(constraint)


def exclusion(fact: Fact) -> ExcludeConstraint | None:
    """Return the EXCLUDE constraint that a fact tells of; ``None`` for another, or other words."""
    definition = str(fact.get("definition"))
    begin = re.match(r"EXCLUDE USING (\w+) (?=\()", definition)
    if begin is None:
        return None
    inside, rest = split_brackets(definition[begin.end() :])
    where = None
    if rest.startswith(" WHERE ("):
        condition, rest = split_brackets(rest.removeprefix(" WHERE "))
        where = text(escaped(condition))
    deferred = re.fullmatch(r"( DEFERRABLE)?(?: INITIALLY (\w+))?", rest)
    parts = [part.rpartition(" WITH ") for part in split_commas(inside)]
    if deferred is None or not all(word for _, word, _ in parts):
        return None
    return ExcludeConstraint(
        *((text(escaped(part)), operator) for part, _, operator in parts),
        name=fact.name,
        using=begin[1],
        where=where,
        deferrable=True if deferred[1] else None,
        initially=deferred[2],
    )


def without_nothing(part: Table | Index | Constraint) -> None:
    """Leave out options of a table, index or constraint that say nothing."""
    for name, value in [*part.dialect_kwargs.items()]:
        if value in (False, None) or value == []:
            del part.dialect_kwargs[name]


def tidy(column: Column[Any], connection: Connection) -> None:
    """Write a column as a person would, where that means the same to the server."""
    default = getattr(column.server_default, "arg", None)
    if (
        connection.dialect.name == "postgresql"
        and column.primary_key
        and default is not None
        and SERIAL.fullmatch(str(default))
    ):
        column.server_default = None
        column.autoincrement = True
    if not column.primary_key:
        column.autoincrement = "auto"
    # Not every type is there on every database.
    with suppress(NotImplementedError, CompileError):
        generic, dialect = column.type.as_generic(), connection.dialect
        if generic.compile(dialect=dialect) == column.type.compile(dialect=dialect):
            column.type = generic
