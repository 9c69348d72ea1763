"""Alembic's operations: what each call of ``op`` does to the schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from websauna_migrate.revision_scripts.effects import Effect, Key, Kind
from websauna_migrate.revision_scripts.script_values import (
    UNKNOWN,
    Arguments,
    Batch,
    Built,
    Class,
    Dotted,
    Method,
    UnreadableError,
)
from websauna_migrate.revision_scripts.script_walker import Walker
from websauna_migrate.revision_scripts.sql_reader import read_sql

__all__ = ["HARMLESS", "OperationReader"]

#: Operations that make or rename no table, column or type.
HARMLESS = frozenset(
    {
        "add_enum_value",
        "bulk_insert",
        "create_check_constraint",
        "create_entity",
        "create_exclude_constraint",
        "create_index",
        "create_primary_key",
        "create_table_comment",
        "create_unique_constraint",
        "drop_constraint",
        "drop_entity",
        "drop_index",
        "drop_table_comment",
        "get_bind",
        "get_context",
        "implementation_for",
        "inline_literal",
        "register_operation",
        "replace_entity",
        "sync_enum_values",
    }
)
DATA_STATEMENTS = frozenset({"insert", "update", "delete", "select"})
ENUMS = frozenset({"Enum", "ENUM"})


class OperationReader(Walker):
    """Records the effects of operations, batch blocks, enum types, foreign keys and literal SQL.

    :ivar effects: what was recorded, in order
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        super().__init__()
        self.effects: list[Effect] = []

    def add(self, kind: Kind, schema: str | None, name: str, **details: Any) -> None:
        """Record an effect at the line of the operation."""
        self.effects.append(Effect(kind, schema, name, line=self.line, **details))

    def operate(self, name: str, given: Arguments) -> object:
        """Record the effects of one Alembic operation."""
        operation = getattr(self, f"op_{name}", None)
        if operation is not None:
            return operation(given)
        if name == "f":
            return given.get(0, "name", default=UNKNOWN)
        if name not in HARMLESS:
            raise UnreadableError
        return Built(Dotted(f"alembic.op.{name}"), given.args, given.keywords)

    def op_create_table(self, given: Arguments) -> object:
        schema = given.optional_text(None, "schema")
        name = given.text(0, "table_name", "name")
        self.create_table(schema, name, given.args[1:])
        return Built(Dotted("sqlalchemy.Table"), given.args, given.keywords)

    def op_drop_table(self, given: Arguments) -> None:
        schema = given.optional_text(None, "schema")
        self.add("drop_table", schema, given.text(0, "table_name", "name"))

    def op_rename_table(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        new_name = given.text(1, "new_table_name")
        old_name = given.text(0, "old_table_name")
        self.add("rename_table", schema, old_name, new_name=new_name, new_schema=schema)

    def op_add_column(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        self.add_column(schema, given.text(0, "table_name"), given.get(1, "column"))

    def op_drop_column(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        column = given.text(1, "column_name")
        self.add("drop_column", schema, given.text(0, "table_name"), column=column)

    def op_alter_column(self, given: Arguments) -> None:
        new_name = given.optional_text(None, "new_column_name", "name")
        if new_name is not None:
            schema = given.optional_text(None, "schema")
            column = given.text(1, "column_name")
            table = given.text(0, "table_name")
            self.add("rename_column", schema, table, column=column, new_name=new_name)

    def op_create_foreign_key(self, given: Arguments) -> None:
        source = given.text(1, "source_table", "source")
        schema = given.optional_text(None, "source_schema")
        local = given.get(3, "local_cols")
        remote = given.get(4, "remote_cols")
        target = given.text(2, "referent_table", "referent")
        target_schema = given.optional_text(None, "referent_schema")
        self.foreign_key((schema, source), local, (target_schema, target), remote)

    def op_batch_alter_table(self, given: Arguments) -> Batch:
        return Batch(given.get(0, "table_name", default=UNKNOWN), given.get(1, "schema"))

    def op_execute(self, given: Arguments) -> None:
        statement = given.get(0, "sqltext", default=UNKNOWN)
        if isinstance(statement, str):
            self.execute(statement)
        elif not is_data_statement(statement):
            raise UnreadableError

    def operate_batch(self, batch: Batch, name: str, given: Arguments) -> object:
        """Record the effects of one operation of a batch block."""
        table = Arguments([batch.table, batch.schema], {})
        if name == "add_column":
            self.add_column(table.optional_text(1), table.text(0), given.get(0, "column"))
        elif name == "drop_column":
            column = given.text(0, "column_name")
            self.add("drop_column", table.optional_text(1), table.text(0), column=column)
        elif name == "alter_column":
            new_name = given.optional_text(None, "new_column_name", "name")
            if new_name is not None:
                column = given.text(0, "column_name")
                key = (table.optional_text(1), table.text(0))
                self.add("rename_column", *key, column=column, new_name=new_name)
        elif name == "create_foreign_key":
            target = given.text(1, "referent_table", "referent")
            target_schema = given.optional_text(None, "referent_schema")
            self.foreign_key(
                (table.optional_text(1), table.text(0)),
                given.get(2, "local_cols"),
                (target_schema, target),
                given.get(3, "remote_cols"),
            )
        else:
            return self.operate(name, given)
        return None

    def execute(self, sql: str) -> None:
        """Record the effects of literal SQL."""
        found = read_sql(sql, self.line)
        self.effects += found.effects
        self.unreadable += found.unreadable

    def create_or_drop(self, built: Built, name: str) -> object:
        """Record ``Enum(...).create(bind)``, ``Table(...).create(bind)`` and their ``drop``."""
        given = Arguments(built.args, built.keywords)
        if built.kind in ENUMS or built.kind == "DOMAIN":
            key = self.type_key(built, None)
            if key is not None:
                self.add("create_type" if name == "create" else "drop_type", *key)
        elif built.kind == "Table":
            schema, table = given.optional_text(None, "schema"), given.text(0, "name")
            if name == "create":
                self.create_table(schema, table, built.args[1:])
            else:
                self.add("drop_table", schema, table)
        return UNKNOWN

    def create_table(self, schema: str | None, name: str, parts: list[object]) -> None:
        """Record a new table after its types, and its foreign keys after it."""
        columns = [part for part in parts if isinstance(part, Built)]
        for column in columns:
            self.create_types(column, schema)
        self.add("create_table", schema, name)
        for column in columns:
            self.foreign_keys((schema, name), column)

    def add_column(self, schema: str | None, table: str, column: object) -> None:
        """Record a new column with its type and foreign keys."""
        if not isinstance(column, Built):
            raise UnreadableError
        name = Arguments(column.args, column.keywords).text(0, "name")
        self.create_types(column, schema)
        self.add("add_column", schema, table, column=name)
        self.foreign_keys((schema, table), column)

    def create_types(self, column: Built, schema: str | None) -> None:
        """Record the enum types that a column brings, however deep in its type they are."""
        if column.kind.endswith("Constraint"):
            return
        for built in inside(column):
            named = built.kind in ENUMS or built.kind == "DOMAIN"
            off = {"native_enum", "create_type"}
            if named and not any(built.keywords.get(name) is False for name in off):
                try:
                    key = self.type_key(built, schema)
                except UnreadableError:
                    self.unreadable += 1
                else:
                    if key is not None:
                        self.add("create_type", *key)

    def type_key(self, built: Built, table_schema: str | None) -> Key | None:
        """Return the schema and name of an enum type; ``None`` if it is none of PostgreSQL's."""
        if ".mysql." in built.maker.name:
            return None
        given = Arguments(built.args, built.keywords)
        schema = given.optional_text(None, "schema")
        if schema is None and built.keywords.get("inherit_schema") is True:
            schema = table_schema
        if built.kind == "DOMAIN":
            return schema, given.text(0, "name")
        if "name" in built.keywords:
            name = given.optional_text(None, "name")
            return None if name is None else (schema, name)
        # Without a name SQLAlchemy takes that of the Python enum class.
        if len(built.args) == 1:
            if isinstance(built.args[0], Class):
                return schema, built.args[0].name.lower()
            if isinstance(built.args[0], Dotted):
                return schema, built.args[0].last.lower()
        return None

    def foreign_keys(self, key: Key, part: Built) -> None:
        """Record the foreign keys of a column or of a foreign key constraint."""
        given = Arguments(part.args, part.keywords)
        try:
            if part.kind == "ForeignKeyConstraint":
                targets = [split_target(one) for one in texts(given.get(1, "refcolumns"))]
                local = given.get(0, "columns")
                remote = [column for _, column in targets if column is not None]
                self.foreign_key(key, local, targets[0][0], remote)
                return
            for one in part.args:
                if isinstance(one, Built) and one.kind == "ForeignKey":
                    text = Arguments(one.args, one.keywords).text(0, "column")
                    table, column = split_target(text)
                    self.foreign_key(key, part.args[:1], table, [] if column is None else [column])
        except (UnreadableError, IndexError):
            self.unreadable += 1

    def foreign_key(self, key: Key, local: object, target: Key, remote: object) -> None:
        """Record one foreign key."""
        columns = local if isinstance(local, (tuple, list)) else ()
        column = columns[0] if len(columns) == 1 and isinstance(columns[0], str) else None
        self.add(
            "foreign_key",
            *key,
            column=column,
            target_schema=target[0],
            target_table=target[1],
            target_columns=tuple(texts(remote)),
        )


def inside(column: Built) -> Iterator[Built]:
    """Yield a built object and all that its arguments hold, each once."""
    seen: set[int] = set()
    waiting: list[object] = [column]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Built) and id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting += [*value.keywords.values(), *reversed(value.args)]


def texts(value: object) -> list[str]:
    """Return a list of strings that must all be known."""
    if not isinstance(value, (tuple, list)):
        raise UnreadableError
    return [Arguments([one], {}).text(0) for one in value]


def split_target(text: str) -> tuple[Key, str | None]:
    """Return table and column of ``schema.table.column``; the table alone may be written too."""
    *before, last_part = text.split(".")
    if not before:
        return (None, last_part), None
    *schema, table = before
    return (".".join(schema) or None, table), last_part


def is_data_statement(value: object) -> bool:
    """Tell whether a value is an ``insert()``, ``update()``, ``delete()`` or ``select()``."""
    while isinstance(value, Built):
        if value.kind in DATA_STATEMENTS:
            return True
        value = value.args[0] if value.args else None
        if isinstance(value, Method):
            value = value.owner
    return False
