"""Schemas and sequences: objects beside the tables, which Alembic leaves to the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.operations.column_types import TypeRenderer
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, on_dialect, written_for
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.models.sqlalchemy_internals import lonely_sequences

__all__ = ["SchemaObjects", "creator_of_schema"]

#: What a sequence may have besides its name.
SEQUENCE_OPTIONS = (
    "start",
    "increment",
    "minvalue",
    "maxvalue",
    "nominvalue",
    "nomaxvalue",
    "cycle",
    "cache",
)


class SchemaObjects:
    """The schemas and sequences that a package's tables need."""

    def __init__(self, owned: PackageObjects, reflection: Reflection) -> None:
        self.owned = owned
        self.reflection = reflection
        self.dialect = reflection.connection.dialect

    def operations(self, upgrade: ops.UpgradeOps) -> list[ScriptOp]:
        """Return what creates and drops them; schemas first."""
        return [*self.schemas(upgrade), *self.sequences(upgrade)]

    def schemas(self, upgrade: ops.UpgradeOps) -> Iterator[ScriptOp]:
        """Yield the creation of each schema that a new table is the first in, and the drops."""
        if self.dialect.name != "postgresql":
            return
        created = {op.schema for op in upgrade.ops if isinstance(op, ops.CreateTableOp)}
        existing = self.reflection.schema_names
        for schema in sorted(name for name in created if name and name not in existing):
            yield schema_creation(schema)
        dropped = {op.schema for op in upgrade.ops if isinstance(op, ops.DropTableOp)}
        in_use = {schema for schema, _ in self.owned.ownership.owners}
        for schema in sorted(name for name in dropped - in_use if name):
            creator = creator_of_schema(self.owned.snapshot, schema)
            if creator and creator[0] == self.owned.package:
                yield schema_creation(schema).reverse()

    def sequences(self, upgrade: ops.UpgradeOps) -> Iterator[ScriptOp]:
        """Yield the creation of each new sequence, and the drops of those that nothing uses."""
        used = self.of_models
        new_columns = set(columns_added(upgrade))
        for key, (sequence, columns) in sorted(used.items(), key=lambda item: str(item[0])):
            if self.dialect.supports_sequences:
                missing = key[1] not in self.reflection.sequence_names(key[0])
            else:
                # One that no column uses is written wherever the script is made.
                wanted = not columns or new_columns & columns
                missing = bool(wanted) and not self.scripted(key[1])
            if missing:
                yield sequence_creation(sequence)
        if self.dialect.supports_sequences:
            scripted = self.scripted_names
            unused = scripted and scripted - {name for _, name in self.all_used}
            for name in sorted(unused):
                if name in self.reflection.sequence_names(None):
                    yield sequence_creation(sa.Sequence(name)).reverse()

    @cached_property
    def of_models(self) -> dict[Key, tuple[sa.Sequence, set[tuple[str, str]]]]:
        """The sequences of the package's columns and ``MetaData``, with the columns."""
        found: dict[Key, tuple[sa.Sequence, set[tuple[str, str]]]] = {}
        for table in self.owned.tables:
            for column in table.columns:
                for sequence in sequences_of(column):
                    key = (self.owned.normal(sequence.schema), str(sequence.name))
                    owner = self.owned.ownership.sequence_owner(sequence.schema, key[1])
                    if owner in (None, self.owned.package):
                        columns = found.setdefault(key, (sequence, set()))[1]
                        columns.add((table.name, column.name))
        for sequence in self.lonely(self.owned.package):
            if self.owned.ownership.sequence_owner(sequence.schema, str(sequence.name)) == (
                self.owned.package
            ):
                key = (self.owned.normal(sequence.schema), str(sequence.name))
                found.setdefault(key, (sequence, set()))
        return found

    def lonely(self, package: str) -> Iterator[sa.Sequence]:
        """Yield the sequences in a package's ``MetaData`` that are no column's own default."""
        for metadata in self.owned.snapshot.packages[package].metadata:
            for sequence in lonely_sequences(metadata):
                if not (sequence.optional and self.dialect.sequences_optional):
                    yield sequence

    @cached_property
    def all_used(self) -> set[Key]:
        """The sequences that any package's columns or ``MetaData`` have."""
        packages = self.owned.snapshot.packages
        found = [
            sequence
            for package in packages
            for table in self.owned.ownership.tables_of(package)
            for column in table.columns
            for sequence in sequences_of(column)
        ]
        found += [sequence for package in packages for sequence in self.lonely(package)]
        return {(self.owned.normal(one.schema), str(one.name)) for one in found}

    @cached_property
    def scripted_names(self) -> set[str]:
        """The sequences that the package's scripts create."""
        return {
            match[1]
            for _, source in sources(self.owned.snapshot, self.owned.package)
            for match in re.finditer(r"CreateSequence\(\w*\.?Sequence\('([^']+)'", source)
        }

    def scripted(self, name: str) -> bool:
        """Tell whether a script of the package creates a sequence."""
        return name in self.scripted_names


def sequences_of(column: Column[Any]) -> Iterator[sa.Sequence]:
    """Yield the named sequences that a column takes its values from."""
    if isinstance(column.default, sa.Sequence):
        yield column.default
    sequence = getattr(getattr(column.server_default, "arg", None), "sequence", None)
    if isinstance(sequence, sa.Sequence) and sequence is not column.default:
        yield sequence


def columns_added(upgrade: ops.UpgradeOps) -> Iterator[tuple[str, str]]:
    """Yield table and name of each column that is new."""
    for op in upgrade.ops:
        if isinstance(op, ops.CreateTableOp):
            for column in op.columns:
                if isinstance(column, Column):
                    yield op.table_name, column.name
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                if isinstance(inner, ops.AddColumnOp):
                    yield op.table_name, inner.column.name


def schema_creation(schema: str) -> ScriptOp:
    """Return the operation that creates a schema."""

    def lines(context: AutogenContext, element: str) -> list[str]:
        execute = f"{context.opts['alembic_module_prefix']}execute"
        prefix = context.opts["sqlalchemy_module_prefix"] or ""
        return on_dialect(
            context, "postgresql", [f"{execute}({prefix}schema.{element}({schema!r}))"]
        )

    return ScriptOp(
        ("add_schema", schema),
        lambda context: lines(context, "CreateSchema"),
        lambda context: lines(context, "DropSchema"),
        ("remove_schema", schema),
    )


def sequence_creation(sequence: sa.Sequence) -> ScriptOp:
    """Return the operation that creates a sequence, where the database has sequences."""
    arguments = [repr(str(sequence.name))]
    for option in SEQUENCE_OPTIONS:
        value = getattr(sequence, option, None)
        if value is not None:
            arguments.append(f"{option}={value!r}")
    data_type = sequence.data_type
    if sequence.schema:
        arguments.append(f"schema={str(sequence.schema)!r}")

    def lines(context: AutogenContext, element: str) -> list[str]:
        operations = context.opts["alembic_module_prefix"]
        prefix = context.opts["sqlalchemy_module_prefix"] or ""
        typed = [f"data_type={TypeRenderer(context).source(data_type)}"] if data_type else []
        made = f"{prefix}Sequence({', '.join([*arguments, *typed])})"
        line = f"{operations}execute({prefix}schema.{element}({made}))"
        if set(written_for(context)) == {"postgresql"}:
            return [line]
        return [f"if {operations}get_context().dialect.supports_sequences:", line, ""]

    name = str(sequence.name)
    return ScriptOp(
        ("add_sequence", sequence.schema, name),
        lambda context: lines(context, "CreateSequence"),
        lambda context: lines(context, "DropSequence"),
        ("remove_sequence", sequence.schema, name),
    )


def creator_of_schema(snapshot: LoadedScripts, schema: str) -> tuple[str, str] | None:
    """Return package and revision of the script that creates a schema."""
    pattern = re.compile(
        rf"CreateSchema\(\s*['\"]{re.escape(schema)}['\"]"
        rf"|CREATE\s+SCHEMA\s+(?:IF\s+NOT\s+EXISTS\s+)?\"?{re.escape(schema)}\b",
        re.IGNORECASE,
    )
    for revision in snapshot.graph.timeline():
        if pattern.search(
            Path(revision.path).read_text(encoding="utf-8").split("def downgrade")[0]
        ):
            return revision.package, revision.id
    return None


def sources(snapshot: LoadedScripts, package: str) -> Iterator[tuple[str, str]]:
    """Yield identifier and source of each script of a package."""
    for revision in snapshot.graph.timeline([package]):
        yield revision.id, Path(revision.path).read_text(encoding="utf-8")
