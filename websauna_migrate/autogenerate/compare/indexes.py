"""Partial and expression indexes, of which Alembic compares only a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Index, MetaData, Table, text
from sqlalchemy.engine import Connection

from websauna_migrate.autogenerate.compare.checks import plain
from websauna_migrate.autogenerate.compare.temporary_table import escaped, sql_text
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, on_dialect
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, WithTable
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects

__all__ = ["IndexComparison", "missing_indexes", "reads_alike", "with_expression_indexes"]


class IndexComparison:
    """Compares the predicates, expressions and methods of one table's indexes."""

    def __init__(
        self,
        table: Table,
        temporary_tables: TemporaryTables,
        inspector: Any,
        owned: PackageObjects,
        definitions: Mapping[str, str],
    ) -> None:
        """Prepare the comparison.

        :param definitions: how PostgreSQL defines the table's indexes, by name; empty elsewhere
        """
        self.definitions = definitions
        self.table = table
        self.temporary_tables = temporary_tables
        self.connection = temporary_tables.connection
        self.schema = owned.normal(table.schema)
        self.inspector = inspector

    def operations(self, known: list[Any]) -> list[Any]:
        """Return what makes the indexes the model's.

        :param known: the table's changes so far; an index in them is compared already, but what is
            dropped and made again for other words alone is taken out
        """
        done = {
            str(op.index_name)
            for op in known
            if isinstance(op, (ops.CreateIndexOp, ops.DropIndexOp))
        }
        reflected = {
            str(one["name"]): one
            for one in self.inspector.get_indexes(self.table.name, schema=self.schema)
        }
        operations: list[Any] = []
        for index in sorted(self.table.indexes, key=lambda one: str(one.name)):
            name = str(index.name)
            found = reflected.get(name)
            if found is None:
                # Alembic leaves those of SQLite out.
                on_sqlite = self.connection.dialect.name == "sqlite"
                if on_sqlite and name not in done and has_expression(index):
                    operations.append(ops.CreateIndexOp.from_index(index))
                continue
            if name in done:
                # Alembic compares plain columns truly; words of an expression are the server's.
                doubtful = name in self.definitions or has_expression(index)
                if doubtful and not self.differs(index, found):
                    known[:] = [op for op in known if str(getattr(op, "index_name", "")) != name]
                continue
            if not self.differs(index, found):
                continue
            operations.append(ops.DropIndexOp.from_index(self.as_reflected(found)))
            operations.append(ops.CreateIndexOp.from_index(index))
        return operations

    def differs(self, index: Index, found: Any) -> bool:
        """Tell whether an index is another one to the database."""
        backend = self.connection.dialect.name
        alike = reads_alike(index, found, self.connection)
        if alike and not (str(index.name) in self.definitions and is_special(index, found)):
            return False
        temporary = self.temporary_tables.of(self.table)
        made = temporary.indexes.get(str(index.name)) if temporary else None
        defined = temporary.definitions.get(str(index.name)) if temporary else None
        if defined is not None and str(index.name) in self.definitions:
            return unnamed(defined) != unnamed(self.definitions[str(index.name)])
        if made is None:
            # SQLite keeps what was written. Elsewhere Alembic has compared what texts can tell.
            wanted, stored = predicates(index, found, self.connection)
            one_sided = plain(wanted or "") != plain(stored or "") and None in (wanted, stored)
            return backend == "sqlite" or one_sided
        return comparable(made, backend) != comparable(found, backend)

    def as_reflected(self, found: Any) -> Index:
        """Return a reflected index as an object."""
        table = Table(
            self.table.name,
            MetaData(),
            *(Column(name) for name in found["column_names"] if name),
            schema=self.table.schema,
        )
        names = found.get("expressions") or found["column_names"]
        options: dict[str, Any] = {
            key: text(escaped(str(value))) if key.endswith("_where") else value
            for key, value in (found.get("dialect_options") or {}).items()
            if value is not None and (key.endswith("_where") or value)
        }
        return Index(
            found["name"],
            *(table.c[one] if one in table.c else text(escaped(one)) for one in names),
            unique=found["unique"],
            _table=table,
            **options,
        )


def is_special(index: Index, found: Any) -> bool:
    """Tell whether an index has more to compare than columns, predicate and method."""
    return bool(index.kwargs) or has_expression(index) or any(map(found.get, SPECIAL))


#: What SQLAlchemy reflects of an index that has something special.
SPECIAL = ("expressions", "column_sorting", "include_columns", "dialect_options")


def unnamed(definition: str) -> tuple[bool, str]:
    """Return PostgreSQL's definition of an index without the names of index and table."""
    start, _, rest = definition.partition(" USING ")
    return start.startswith("CREATE UNIQUE "), rest


def missing_indexes(table: Table) -> list[Any]:
    """Return the creations that Alembic leaves out of a new table on SQLite."""
    return [
        ops.CreateIndexOp.from_index(index)
        for index in sorted(table.indexes, key=lambda one: str(one.name))
        if has_expression(index)
    ]


def reads_alike(index: Index, found: Any, connection: Connection) -> bool:
    """Tell whether a model's index and a reflected one have the same texts and method."""
    backend = connection.dialect.name
    wanted, stored = predicates(index, found, connection)
    method = str(index.kwargs.get(f"{backend}_using") or "")
    options = found.get("dialect_options") or {}
    return (
        plain(wanted or "") == plain(stored or "")
        and method.lower() == str(options.get(f"{backend}_using") or "").lower()
        and model_expressions(index, connection) == stored_expressions(found)
    )


def predicates(index: Index, found: Any, connection: Connection) -> tuple[str | None, str | None]:
    """Return the predicates of a model's index and of a reflected one."""
    key = f"{connection.dialect.name}_where"
    where, stored = index.kwargs.get(key), (found.get("dialect_options") or {}).get(key)
    return (
        None if where is None else sql_text(where, connection),
        None if stored is None else str(stored),
    )


def model_expressions(index: Index, connection: Connection) -> list[str]:
    """Return what a model's index is on."""
    return [
        plain(one.name if isinstance(one, Column) else sql_text(one, connection))
        for one in index.expressions
    ]


def stored_expressions(found: Any) -> list[str]:
    """Return what a reflected index is on."""
    return [plain(str(one)) for one in found.get("expressions") or found["column_names"]]


def comparable(found: Any, backend: str) -> tuple[Any, ...]:
    """Return what tells a reflected index from another one."""
    options = found.get("dialect_options") or {}
    where = options.get(f"{backend}_where")
    return (
        stored_expressions(found),
        bool(found["unique"]),
        plain("" if where is None else str(where)),
        options.get(f"{backend}_using") or "",
        list(options.get(f"{backend}_include") or ()),
        sorted((found.get("column_sorting") or {}).items()),
    )


def with_expression_indexes(op: Any, models: Mapping[Key, Table], inspector: Any) -> Iterator[Any]:
    """Yield an operation with what it needs for expression indexes.

    Those that change are taken out of a batch; those that stay are made again behind it on
    SQLite, where a batch makes the table anew.
    """
    if not isinstance(op, TableChanges) or isinstance(op, WithTable) or not op.needs_batch:
        yield op
        return
    drops: list[Any] = [
        one for one in op.ops if isinstance(one, ops.DropIndexOp) and is_expression(one)
    ]
    creates: list[Any] = [
        one for one in op.ops if isinstance(one, ops.CreateIndexOp) and is_expression(one)
    ]
    op.ops[:] = [one for one in op.ops if one not in drops and one not in creates]
    changed = {str(one.index_name) for one in [*drops, *creates]}
    kept = []
    table = models.get((op.schema, op.table_name))
    if table is not None and op.ops and has_expressions(table):
        there = {str(one["name"]) for one in inspector.get_indexes(op.table_name, schema=op.schema)}
        kept = [
            index
            for index in sorted(table.indexes, key=lambda one: str(one.name))
            if str(index.name) in there - changed and has_expression(index)
        ]
    if drops:
        yield TableChanges(op.table_name, drops, schema=op.schema)
    for index in kept:
        yield around(index, first=True)
    if op.ops or op.recreate:
        yield op
    for index in kept:
        yield around(index, first=False)
    if creates:
        yield TableChanges(op.table_name, creates, schema=op.schema)


def has_expressions(table: Table) -> bool:
    """Tell whether a model has an expression index."""
    return any(has_expression(index) for index in table.indexes)


def is_expression(op: Any) -> bool:
    """Tell whether an operation is about an expression index."""
    return has_expression(op.to_index())


def has_expression(index: Index) -> bool:
    """Tell whether an index is on something besides plain columns."""
    return not all(isinstance(one, Column) for one in index.expressions)


def around(index: Index, *, first: bool) -> ScriptOp:
    """Return the drop of an index before a batch, or its creation behind it, on SQLite."""
    create = ops.CreateIndexOp.from_index(index)
    drop = ops.DropIndexOp.from_index(index)

    def lines(context: AutogenContext, op: Any) -> list[str]:
        return on_dialect(context, "sqlite", [str(renderers.dispatch(op)(context, op))])

    before, after = (drop, create) if first else (create, drop)
    return ScriptOp(
        ("kept_index", str(index.name)),
        lambda context: lines(context, before),
        lambda context: lines(context, after),
    )
