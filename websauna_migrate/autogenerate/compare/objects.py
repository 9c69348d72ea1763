"""Schemas and sequences: objects beside the tables, which Alembic leaves to the user."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.operations.column_types import TypeRenderer
from websauna_migrate.autogenerate.operations.model_columns import columns_in
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, on_dialect, single
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.models.sqlalchemy_internals import lonely_sequences
from websauna_migrate.revision_scripts.script_files import script_text

#: What a sequence may have besides its name.
SEQUENCE_OPTIONS = (
    *("start", "increment", "minvalue", "maxvalue"),
    *("nominvalue", "nomaxvalue", "cycle", "cache"),
)


#: How scripts that autogenerate wrote make and drop a sequence.
SEQUENCE_OPERATION = re.compile(r"(Create|Drop)Sequence\(\w*\.?Sequence\('([^']+)'(.*)")
SCHEMA_ARGUMENT = re.compile(r"\bschema='([^']+)'")

#: Where facts have the options of a sequence, and what the largest value of one is.
OPTION_FACTS = {
    "start": "start",
    "increment": "increment",
    "minvalue": "minimum",
    "maxvalue": "maximum",
    "cache": "cache",
}
LARGEST_NUMBER = 2**63 - 1


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
        dropped = {
            (op.schema, op.table_name) for op in upgrade.ops if isinstance(op, ops.DropTableOp)
        }
        in_use = {schema for schema, _ in self.owned.ownership.owners}
        for schema in sorted({schema for schema, _ in dropped if schema} - in_use):
            creator = creator_of_schema(self.owned.snapshot, schema)
            if creator == self.owned.package and self.is_left_empty(schema, dropped):
                yield schema_creation(schema).reverse()

    def is_left_empty(self, schema: str, dropped: Collection[Key]) -> bool:
        """Tell whether nothing is in a schema but tables that go, and types of the package."""
        created = self.owned.snapshot.created
        for one in self.reflection.facts.objects(schema):
            key = (schema, one.table or one.name)
            origin = created.sure_type_origin(*key)
            of_package = origin is not None and origin[0] == self.owned.package
            if key not in dropped and not of_package:
                return False
        return True

    def sequences(self, upgrade: ops.UpgradeOps) -> Iterator[ScriptOp]:
        """Yield the creation of each new sequence, and the drops of those that nothing uses."""
        used = self.of_models
        new_columns = {
            (op.table_name, column.name)
            for op in single(upgrade)
            if isinstance(op, (ops.CreateTableOp, ops.AddColumnOp))
            for column in columns_in(op)
        }
        for key, (sequence, columns) in sorted(used.items(), key=lambda item: str(item[0])):
            if self.dialect.supports_sequences:
                missing = key[1] not in self.reflection.facts.sequences(key[0])
            else:
                # One that no column uses is written wherever the script is made.
                wanted = not columns or new_columns & columns
                missing = bool(wanted) and key not in self.scripted
            if missing:
                yield sequence_creation(sequence)
        if self.dialect.supports_sequences:
            packages = self.owned.snapshot.packages if self.scripted else ()
            used_by_any = {key for package in packages for key, *_ in self.used_by(package)}
            for schema, name in sorted(self.scripted - used_by_any, key=str):
                if name in self.reflection.facts.sequences(schema):
                    yield sequence_creation(self.as_it_is(schema, name)).reverse()

    @cached_property
    def of_models(self) -> dict[Key, tuple[sa.Sequence, set[tuple[str, str]]]]:
        """The sequences of the package's columns and ``MetaData``, with the columns."""
        package, ownership = self.owned.package, self.owned.ownership
        found: dict[Key, tuple[sa.Sequence, set[tuple[str, str]]]] = {}
        for key, sequence, column in self.used_by(package):
            owner = ownership.sequence_owner(sequence.schema, key[1])
            if owner == package or (owner is None and column is not None):
                columns = found.setdefault(key, (sequence, set()))[1]
                columns.update([column] if column is not None else ())
        return found

    def used_by(self, package: str) -> Iterator[tuple[Key, sa.Sequence, tuple[str, str] | None]]:
        """Yield the sequences of a package, each with the table and name of a column.

        One in its ``MetaData`` need not be a column's.
        """
        for table in self.owned.ownership.tables_of(package):
            for column in table.columns:
                for sequence in sequences_of(column):
                    yield self.key_of(sequence), sequence, (table.name, column.name)
        for metadata in self.owned.snapshot.packages[package].metadata:
            for sequence in lonely_sequences(metadata):
                if not (sequence.optional and self.dialect.sequences_optional):
                    yield self.key_of(sequence), sequence, None

    def key_of(self, sequence: sa.Sequence) -> Key:
        """Return the normal key of a sequence."""
        return self.owned.normal(sequence.schema), str(sequence.name)

    def as_it_is(self, schema: str | None, name: str) -> sa.Sequence:
        """Return a sequence of the database, with its options on PostgreSQL."""
        if self.dialect.name != "postgresql":
            return sa.Sequence(name, schema=schema)
        fact = self.reflection.facts.sequences(schema)[name]
        options: dict[str, Any] = {
            word: int(str(fact.get(attribute) or 0))
            for word, attribute in OPTION_FACTS.items()
            if fact.get(attribute) not in (1, LARGEST_NUMBER)
        }
        kind = {"smallint": sa.SmallInteger, "integer": sa.Integer}.get(str(fact.get("type")))
        cycle = bool(fact.get("cycle")) or None
        return sa.Sequence(name, schema=schema, cycle=cycle, data_type=kind, **options)

    @cached_property
    def scripted(self) -> set[Key]:
        """The sequences that the package's scripts created and did not drop since."""
        found: set[Key] = set()
        for source in self.owned.scripts:
            for match in SEQUENCE_OPERATION.finditer(source.partition("def downgrade")[0]):
                schema = SCHEMA_ARGUMENT.search(match[3])
                key = (self.owned.normal(schema[1] if schema else None), match[2])
                (found.add if match[1] == "Create" else found.discard)(key)
        return found


def sequences_of(column: Column[Any]) -> Iterator[sa.Sequence]:
    """Yield the named sequences that a column takes its values from."""
    if isinstance(column.default, sa.Sequence):
        yield column.default
    sequence = getattr(getattr(column.server_default, "arg", None), "sequence", None)
    if isinstance(sequence, sa.Sequence) and sequence is not column.default:
        yield sequence


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


def creator_of_schema(snapshot: LoadedScripts, schema: str) -> str | None:
    """Return the package whose script is known to have made a schema that there was not before."""
    name = rf"\"?{re.escape(schema)}\b"
    pattern = re.compile(
        rf"(?P<create>CreateSchema\(\s*['\"]{re.escape(schema)}['\"]\)|CREATE\s+SCHEMA\s+{name})"
        rf"|DropSchema\(\s*['\"]{re.escape(schema)}['\"]|DROP\s+SCHEMA\b[^;'\"]*{name}",
        re.IGNORECASE,
    )
    creator: str | None = None
    for revision in snapshot.graph.timeline():
        source = script_text(revision.path).split("def downgrade")[0]
        for found in pattern.finditer(source):
            creator = revision.package if found["create"] else None
    return creator
