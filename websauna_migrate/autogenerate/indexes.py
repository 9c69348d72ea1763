"""Partial and expression indexes, of which Alembic compares only a part."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Index, MetaData, Table, text
from sqlalchemy.engine import Connection

from websauna_migrate.autogenerate.checks import plain
from websauna_migrate.autogenerate.owned import OwnedObjects
from websauna_migrate.autogenerate.shadow import escaped, sql_text
from websauna_migrate.autogenerate.shadows import Shadows

__all__ = ["IndexComparison", "reads_alike"]


class IndexComparison:
    """Compares the predicates, expressions and methods of one table's indexes."""

    def __init__(self, table: Table, shadows: Shadows, inspector: Any, owned: OwnedObjects) -> None:
        self.table = table
        self.shadows = shadows
        self.connection = shadows.connection
        self.schema = owned.normal(table.schema)
        self.inspector = inspector

    def operations(self, known: list[Any]) -> list[Any]:
        """Return what makes the indexes the model's.

        :param known: the table's changes so far; an index in them is compared already
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
            if found is None or name in done or not self.differs(index, found):
                continue
            operations.append(ops.DropIndexOp.from_index(self.as_reflected(found)))
            operations.append(ops.CreateIndexOp.from_index(index))
        return operations

    def differs(self, index: Index, found: Any) -> bool:
        """Tell whether an index is another one to the database."""
        if reads_alike(index, found, self.connection):
            return False
        backend = self.connection.dialect.name
        shadow = self.shadows.of(self.table)
        made = shadow.indexes.get(str(index.name)) if shadow else None
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
