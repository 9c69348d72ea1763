"""What of the models is DDL besides tables, or cannot be written as DDL.

``create_all()`` needs named types, and sequences of their own. Parameters without a value are
written as NULL by SQLAlchemy, which says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from sqlalchemy import BindParameter, CheckConstraint, ClauseElement, Constraint, MetaData, Table
from sqlalchemy import Sequence as SqlSequence
from sqlalchemy.dialects.postgresql import ENUM, CreateDomainType, CreateEnumType
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import Computed, CreateColumn, DefaultClause
from sqlalchemy.sql.functions import next_value
from sqlalchemy.sql.visitors import iterate

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.models.named_types import NamedType, named_types, type_key
from websauna_migrate.models.sqlalchemy_internals import lonely_sequences

#: What is told of models by default.
NOT_CREATED = "cannot be created in the database"


class ModelsNotCreated(MigrationError, ValueError):
    """The models cannot be created: SQLAlchemy cannot write something, or the server refuses it.

    :ivar kind: ``refused``; ``type`` where two types of one name differ
    :ivar package: whose model it is; ``None`` if it is of no single one
    :ivar place: the model and what of it, in words; for a type its name, with the schema
    """

    def __init__(
        self,
        package: str | None,
        place: str,
        problem: str,
        what: str = NOT_CREATED,
        *,
        kind: str = "refused",
    ) -> None:
        self.kind = kind
        self.package = package
        self.place = place
        self.problem = problem
        owner = f' of package "{package}"' if package else ""
        message = f"The models{owner} {what}. {place}: {problem}"
        super().__init__(problem if kind == "type" else message)


def create_types(
    tables: Iterable[Table], dialect: Dialect
) -> list[CreateEnumType | CreateDomainType]:
    """Return the creation of all types that columns of tables need, each once.

    :raises ModelsNotCreated: if two of one name differ
    """
    if dialect.name != "postgresql":
        return []
    found: dict[tuple[str | None, str], dict[NamedType, CreateEnumType | CreateDomainType]] = {}
    for column in chain.from_iterable(table.columns for table in tables):
        for named in named_types(column.type):
            if named.create_type:
                kind = CreateEnumType if isinstance(named, ENUM) else CreateDomainType
                found.setdefault(type_key(named), {}).setdefault(named, kind(named))
    for key, alike in found.items():
        first, *others = (str(one.compile(dialect=dialect)).strip() for one in alike.values())
        for other in others:
            if other != first:
                name = ".".join(filter(None, key))
                raise ModelsNotCreated(
                    None,
                    name,
                    f'The models define the type "{name}" in two ways. Give one of them another '
                    f"name.\n  {first}\n  {other}",
                    kind="type",
                )
    return [next(iter(alike.values())) for alike in found.values()]


def used_sequences(tables: Iterable[Table], whole: Iterable[MetaData]) -> list[SqlSequence]:
    """Return the sequences that server defaults of the tables call, and all of whole MetaData.

    A sequence that is a column's own default is created with its table.
    """
    found: dict[SqlSequence, None] = {}
    for column in chain.from_iterable(table.columns for table in tables):
        default = column.server_default
        if isinstance(default, DefaultClause) and not isinstance(default.arg, str):
            calls = (part for part in iterate(default.arg) if isinstance(part, next_value))
            found.update(dict.fromkeys(call.sequence for call in calls))
    for metadata in whole:
        found.update(dict.fromkeys(lonely_sequences(metadata)))
    return sorted(found, key=lambda sequence: (sequence.schema or "", str(sequence.name)))


def dialect_creates(sequence: SqlSequence, dialect: Dialect) -> bool:
    """Tell whether a database needs a sequence."""
    return dialect.supports_sequences and not (dialect.sequences_optional and sequence.optional)


def write_checks_with_tables(dialect: Dialect) -> None:
    """Let a dialect write a column's own CHECK as one of its table.

    So do scripts. MariaDB takes no name for one in a column, and keeps one without as a part of it.

    :param dialect: that of an engine of its own
    """
    compiler: type[Any] = dialect.ddl_compiler

    class WithTables(compiler):  # type: ignore[misc]  # a class that is known at run time
        def visit_create_column(
            self, create: CreateColumn, first_pk: bool = False, **given: Any
        ) -> Any:
            if create.element.system:
                return None
            return self.get_column_specification(create.element, first_pk=first_pk)

        def create_table_constraints(self, table: Table, *args: Any, **given: Any) -> str:
            checks: list[Constraint] = []
            for column in table.columns:
                checks += sorted(column.constraints, key=lambda one: one._creation_order)
            texts = [super().create_table_constraints(table, *args, **given)]
            texts += [self.process(check) for check in checks]
            return ", \n\t".join(filter(None, texts))

    dialect.ddl_compiler = WithTables


def open_parameters(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the parameters without a value in what a table has, each with its place in words."""
    for place, expression in expressions_of(table):
        if isinstance(expression, ClauseElement):
            for part in iterate(expression):
                if isinstance(part, BindParameter) and part.required and part.callable is None:
                    yield place, str(part.key)


def expressions_of(table: Table) -> Iterator[tuple[str, object]]:
    """Yield the expressions that are written with a table, each with its place in words."""
    for column in table.columns:
        place = f'column "{column.name}"'
        default = column.server_default
        if isinstance(default, Computed):
            yield place, default.sqltext
        else:
            yield place, getattr(default, "arg", None)
        for check in column.constraints:
            yield place, getattr(check, "sqltext", None)
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint):
            yield f'constraint "{constraint.name}"', constraint.sqltext
    for index in table.indexes:
        place = f'index "{index.name}"'
        for expression in index.expressions:
            yield place, expression
        for options in index.dialect_options.values():
            yield place, options.get("where")
