"""Partial and expression indexes, of which Alembic compares only a part."""

from __future__ import annotations

from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Index, MetaData, Table, text

from websauna_migrate.autogenerate.checks import plain
from websauna_migrate.autogenerate.owned import OwnedObjects
from websauna_migrate.autogenerate.shadow import Shadows, escaped, sql_text

__all__ = ["IndexComparison"]


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
        options = found.get("dialect_options") or {}
        backend = self.connection.dialect.name
        where = index.kwargs.get(f"{backend}_where")
        stored = options.get(f"{backend}_where")
        wanted = None if where is None else sql_text(where, self.connection)
        same_where = plain(wanted or "") == plain("" if stored is None else str(stored))
        method = str(index.kwargs.get(f"{backend}_using") or "")
        same_method = method.lower() == str(options.get(f"{backend}_using") or "").lower()
        same_expressions = self.expressions(index) == stored_expressions(found)
        if same_where and same_method and same_expressions:
            return False
        shadow = self.shadows.of(self.table)
        made = shadow.indexes.get(str(index.name)) if shadow else None
        if made is None:
            # SQLite keeps what was written. Elsewhere Alembic has compared what texts can tell.
            return backend == "sqlite" or (not same_where and (wanted is None or stored is None))
        return comparable(made, backend) != comparable(found, backend)

    def expressions(self, index: Index) -> list[str]:
        """Return what a model's index is on."""
        return [
            plain(one.name if isinstance(one, Column) else sql_text(one, self.connection))
            for one in index.expressions
        ]

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
