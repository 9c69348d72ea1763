"""Carrying renames out: tables and columns, and what is named after them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Table, text
from sqlalchemy.engine import Connection
from sqlalchemy.schema import DefaultClause, FetchedValue
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialect_of
from websauna_migrate.autogenerate.compare.constraints import KINDS, constraint_addition
from websauna_migrate.autogenerate.compare.definitions import made_index
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.script_op import (
    ScriptOp,
    branches,
    rendered,
    single,
)
from websauna_migrate.autogenerate.operations.server_statements import (
    KeyChange,
    qualified,
    statements,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, computed_columns
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects, constraint_names
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import (
    NO_RENAMES,
    ColumnRename,
    Renames,
    TableRename,
    bad_rename,
)
from websauna_migrate.autogenerate.unreflected import ReflectedItem
from websauna_migrate.facts.mysql import quoted, quoted_key
from websauna_migrate.facts.postgresql import OWN, quote_name
from websauna_migrate.models.model_sql import applicable_checks, final_name
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created

#: How PostgreSQL ends the names that it gives by itself.
AUTOMATIC = ("_pkey", "_fkey", "_key", "_check")


class Existing(NamedTuple):
    """What a column is before it changes."""

    type: TypeEngine[Any]
    nullable: bool
    default: FetchedValue | None
    comment: str | None


def applicable(renames: Renames, owned: PackageObjects, reflection: Reflection) -> Renames:
    """Return those of some renames that are of a package's tables.

    :raises UsageError: for one that the database or the models contradict
    """
    models = owned.models
    tables = []
    for one in renames.tables:
        schema = owned.normal(one.schema)
        if (schema, one.new) not in models:
            continue
        if (schema, one.old) in models:
            raise bad_rename(one.option, f'the models still have the table "{one.old}".')
        if not reflection.has_table(schema, one.old):
            raise bad_rename(one.option, f'the database has no table "{one.old}".')
        if reflection.has_table(schema, one.new):
            raise bad_rename(one.option, f'the database has a table "{one.new}" already.')
        if owned.owner_of(schema, one.old) != owned.package:
            raise bad_rename(
                one.option, f'the table "{one.old}" is not of package "{owned.package}".'
            )
        tables.append(TableRename(schema, one.old, one.new))
    found = Renames(tuple(tables))
    columns = []
    for column in renames.columns:
        schema = owned.normal(column.schema)
        table = models.get((schema, column.table))
        if table is None:
            continue
        old_table = found.old_table(schema, column.table)
        facts = reflection.read("columns", schema).get((schema, old_table), ())
        existing = {fact["name"] for fact in facts}
        names = {one.name for one in table.columns}
        if column.new not in names or column.old in names:
            raise bad_rename(
                column.option,
                f'the model of table "{column.table}" must have the column "{column.new}" and not '
                f'"{column.old}".',
            )
        if column.old not in existing or column.new in existing:
            raise bad_rename(
                column.option,
                f'the table "{old_table}" must have the column "{column.old}" and not '
                f'"{column.new}".',
            )
        columns.append(ColumnRename(schema, column.table, column.old, column.new))
    return replace(found, columns=tuple(columns))


class Renaming:
    """The renames of one package, and the operations that make them.

    :ivar plain: its own
    :ivar known: those and the ones of other packages' new scripts
    """

    def __init__(
        self,
        owned: PackageObjects,
        reflection: Reflection,
        renames: Renames,
        others: Renames = NO_RENAMES,
    ) -> None:
        self.owned = owned
        self.reflection = reflection
        self.models = owned.models
        self.plain = renames
        self.known = renames.beside(others)
        self.renames = replace(
            self.known,
            constraints={key: self.new_names(key) for key in self.models} if self.known else {},
        )

    def new_names(self, key: Key) -> dict[str, str]:
        """Return the new names of a table's constraints and indexes that were named after it."""
        return {old: new for _, old, new, _ in self.following(key)}

    def following(self, key: Key) -> Iterator[tuple[str, str, str, ReflectedItem]]:
        """Yield kind, old and new name, and facts of what is named after something renamed."""
        schema, name = key
        old_table = self.plain.old_table(schema, name)
        if not self.reflection.has_table(schema, old_table):
            return
        words = {one.old: one.new for one in self.known.tables}
        columns = self.plain.columns_of(schema, name)
        words.update(columns)
        wanted = names_of(self.models[key], self.reflection.connection)
        indexes = {str(index.name) for index in self.models[key].indexes}
        keys: set[str] = set()
        mysql = self.reflection.connection.dialect.name in ("mysql", "mariadb")
        for kind in (
            "pk_constraint",
            "foreign_keys",
            "unique_constraints",
            "check_constraints",
            "indexes",
        ):
            try:
                facts = self.reflection.read(kind, schema).get((schema, old_table)) or ()
            except NotImplementedError:
                continue
            for one in [facts] if isinstance(facts, dict) else facts:
                old = one.get("name")
                if old is None and kind == "pk_constraint":
                    old = self.written_key(key, words)
                new = substituted(str(old), words) if old else None
                if new not in wanted and old and str(old).startswith(f"{old_table}_"):
                    # The server makes a name of those of table and columns.
                    new = name + substituted(str(old).removeprefix(old_table), columns)
                # MariaDB makes that of a UNIQUE constraint of its first column.
                of_column = mysql and one.get("column_names", [])[:1] == [old]
                named = new in wanted or of_column or str(new).endswith(AUTOMATIC)
                if new and new != old and named:
                    if kind == "indexes" and (one.get("duplicates_constraint") or old in keys):
                        # It goes and comes with its constraint.
                        continue
                    if one.get("duplicates_index") and new in indexes:
                        # MariaDB tells of it as of a constraint too.
                        continue
                    keys.add(str(old))
                    yield kind, str(old), new, one

    def written_key(self, key: Key, words: Mapping[str, str]) -> str | None:
        """Return the name that scripts gave to a table's primary key, which not all databases have.

        :param words: what is renamed
        """
        name = final_name(self.models[key].primary_key, self.reflection.connection)
        old = substituted(name or "", {new: old for old, new in words.items()})
        written = self.owned.older_operations(None)
        return old if old in constraint_names(written, "create_primary_key") else None

    def operations(self, upgrade: ops.UpgradeOps) -> list[ScriptOp]:
        """Return what makes the renames, tables first.

        :param upgrade: the operations that come after them
        """
        if not self.known:
            return []
        found = [table_rename(one) for one in self.plain.tables]
        found += [self.column_rename(column, upgrade) for column in self.plain.columns]
        for key in self.models:
            for kind, old, new, facts in self.following(key):
                found += self.constraint_rename(key, kind, old, new, facts)
        for one in self.plain.tables:
            found += self.sequence_renames(one)
        return found

    def column_rename(self, one: ColumnRename, upgrade: ops.UpgradeOps) -> ScriptOp:
        """Return the rename of a column; MariaDB wants to hear all that it is."""
        table = self.models[one.schema, one.table]
        model: Column[Any] = next(c for c in table.columns if c.name == one.new)
        values = next(
            (op for op in upgrade.ops if isinstance(op, EnumChange) and model in op.columns), None
        )
        changes = [
            op
            for op in single(upgrade)
            if isinstance(op, ops.AlterColumnOp)
            and (op.table_name, op.column_name) == (one.table, one.new)
        ]
        before = Existing(model.type, bool(model.nullable), model.server_default, model.comment)
        if changes or values is not None:
            before = self.existing(one, model.comment, changes, values)

        def lines(context: AutogenContext, old: str, new: str) -> list[str]:
            change = ops.AlterColumnOp(
                one.table,
                old,
                schema=one.schema,
                modify_name=new,
                existing_type=before.type,
                existing_nullable=before.nullable,
                existing_server_default=(
                    before.default if isinstance(before.default, DefaultClause) else False
                ),
                existing_comment=before.comment,
            )
            plain = rendered(context, change)
            if model.computed is not None:
                # MariaDB would be told of a plain column.
                return branches(
                    context, {"mysql": [rename_statement(context, table, old, new)]}, plain
                )
            if table.autoincrement_column is not model:
                return plain
            # PostgreSQL warns of the word.
            change.kw["autoincrement"] = True
            return branches(context, {"mysql": rendered(context, change)}, plain)

        return ScriptOp(
            ("rename_column", one.schema, one.table, one.old, one.new),
            lambda context: lines(context, one.old, one.new),
            lambda context: lines(context, one.new, one.old),
        )

    def existing(
        self,
        one: ColumnRename,
        comment: str | None,
        changes: Sequence[ops.AlterColumnOp],
        values: EnumChange | None,
    ) -> Existing:
        """Return what a column is before its rename, whose further changes come behind it.

        :param comment: the model's, which SQLite does not have
        :param changes: of the column
        :param values: the change of its enum's values
        """
        old_table = self.plain.old_table(one.schema, one.table)
        facts = next(
            facts
            for facts in self.reflection.read("columns", one.schema)[one.schema, old_table]
            if facts["name"] == one.old
        )
        type_ = values.with_values(values.before) if values is not None else facts["type"]
        if elsewhere := [op for op in changes if getattr(op, "only", ())]:
            # Other databases have another type than this one.
            type_ = elsewhere[0].existing_type or type_
        # It is SQL; a plain string would be quoted once more.
        sql = facts["default"] and text(str(facts["default"]).replace(":", "\\:"))
        if self.reflection.connection.dialect.name != "sqlite":
            comment = facts.get("comment")
        return Existing(
            type_, facts["nullable"], DefaultClause(sql) if sql is not None else None, comment
        )

    def constraint_rename(
        self, key: Key, kind: str, old: str, new: str, facts: ReflectedItem
    ) -> Iterator[ScriptOp]:
        """Yield the rename of a constraint or index."""
        model = self.models[key]
        databases = self.databases_with(model, kind, new)
        rename = ScriptOp(
            ("rename_constraint", *key, old, new),
            lambda context: rename_lines(
                context, model, kind, old, new, self.translated(key, kind, facts), databases
            ),
            lambda context: rename_lines(
                context, model, kind, new, old, self.translated(key, kind, facts), databases
            ),
        )
        if kind == "foreign_keys":
            one = self.translated(key, kind, facts)
            rename.referred = (one["referred_schema"], one["referred_table"], ())
        yield rename

    def databases_with(self, model: Table, kind: str, name: str) -> Sequence[str]:
        """Return the databases on which a model's constraint or index has a name.

        Each makes others from those of table and column; a type's own CHECK is there where the
        database has no such type.
        """
        connection = self.reflection.connection
        if name not in names_of(model, connection):
            return [connection.dialect.name.replace("mariadb", "mysql")]
        for check in applicable_checks(model, connection) if kind == "check_constraints" else ():
            if final_name(check, connection) == name:
                return [one for one in DATABASES if is_created(check, dialect_of(one))]
        return [*DATABASES]

    def translated(self, key: Key, kind: str, facts: ReflectedItem) -> ReflectedItem:
        """Return facts about a constraint as they are once tables and columns are renamed."""
        copy = {
            name: list(value) if isinstance(value, list) else value for name, value in facts.items()
        }
        old_table = self.plain.old_table(*key)
        one = copy if kind == "pk_constraint" else [copy]
        self.known.translate(kind, key[0], old_table, one)
        return copy

    def sequence_renames(self, one: TableRename) -> Iterator[ScriptOp]:
        """Yield the renames of PostgreSQL's own sequences of a table."""
        columns = self.plain.columns_of(one.schema, one.new)
        for fact in self.reflection.facts.of((one.schema, one.old)):
            old = f"{one.old}_{fact.name}_seq"
            new = f"{one.new}_{columns.get(fact.name, fact.name)}_seq"
            if fact.get("default") == OWN and old in self.reflection.facts.sequences(one.schema):
                yield statements(
                    ("rename_sequence", one.schema, old, new),
                    [f"ALTER SEQUENCE {qualified(one.schema, old)} RENAME TO {quote_name(new)}"],
                    [f"ALTER SEQUENCE {qualified(one.schema, new)} RENAME TO {quote_name(old)}"],
                )


def table_rename(one: TableRename) -> ScriptOp:
    """Return the rename of a table."""

    def lines(context: AutogenContext, old: str, new: str) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        schema = f", schema={one.schema!r}" if one.schema else ""
        return [f"{prefix}rename_table({old!r}, {new!r}{schema})"]

    return ScriptOp(
        ("rename_table", one.schema, one.old, one.new),
        lambda context: lines(context, one.old, one.new),
        lambda context: lines(context, one.new, one.old),
    )


def rename_statement(context: AutogenContext, table: Table, old: str, new: str) -> str:
    """Return the line that renames a column on MariaDB, and says nothing else of it."""
    preparer = dialect_of("mysql").identifier_preparer
    names = f"{preparer.quote(old)} TO {preparer.quote(new)}"
    table_name = preparer.format_table(table)
    sql = f"ALTER TABLE {table_name} RENAME COLUMN {names}"
    return f"{context.opts['alembic_module_prefix']}execute({escaped(sql)!r})"


def substituted(name: str, words: Mapping[str, str]) -> str:
    """Return a name in which old words are replaced; a word ends at an underscore."""
    if not words:
        return name
    pattern = "|".join(re.escape(old) for old in sorted(words, key=len, reverse=True))
    return re.sub(rf"(?:(?<=_)|^)({pattern})(?=_|$)", lambda match: words[match[1]], name)


def names_of(table: Table, connection: Connection) -> set[str]:
    """Return the names that a model gives to a table's constraints and indexes."""
    parts = [*applicable_checks(table, connection), *table.constraints]
    found = {name for one in parts if (name := final_name(one, connection))}
    return found | {str(index.name) for index in table.indexes}


# The lines of a script that rename a constraint or an index

#: Alembic's kinds of constraints by how SQLAlchemy's reflection calls them.
READINGS = {one.reading: kind for kind, one in KINDS.items()}


def rename_lines(
    context: AutogenContext,
    table: Table,
    kind: str,
    old: str,
    new: str,
    facts: ReflectedItem,
    databases: Collection[str],
) -> list[str]:
    """Return the lines that rename a constraint or index.

    :param databases: those on which it has the name
    """
    prefix = context.opts["alembic_module_prefix"]
    schema, name = table.schema, str(table.name)
    statement = (
        f"ALTER INDEX {qualified(schema, old)} RENAME TO {quote_name(new)}"
        if kind == "indexes"
        else f"ALTER TABLE {qualified(schema, name)} RENAME CONSTRAINT {quote_name(old)} "
        f"TO {quote_name(new)}"
    )
    cases = {"postgresql": [f"{prefix}execute({statement!r})"]}
    if kind == "pk_constraint":
        # MariaDB calls each PRIMARY, and SQLite has no name beside AUTOINCREMENT.
        without = [
            "mysql",
            *(["sqlite"] if table.dialect_options["sqlite"]["autoincrement"] else []),
        ]
        databases = [one for one in databases if one not in without]
    if kind in ("indexes", "unique_constraints"):
        on_mariadb = (
            f"ALTER TABLE {quoted_key((schema, name))} RENAME INDEX {quoted(old)} TO {quoted(new)}"
        )
        cases["mysql"] = [f"{prefix}execute({on_mariadb!r})"]
    anew = made_anew(context, table, kind, old, new, facts)
    if len(databases) == len(DATABASES):
        return branches(context, cases, anew)
    return branches(context, {name: cases.get(name, anew) for name in databases})


def made_anew(
    context: AutogenContext, table: Table, kind: str, old: str, new: str, facts: ReflectedItem
) -> list[str]:
    """Return the lines that drop a constraint or index, and add it under its new name."""
    drop = addition(table, kind, {**facts, "name": old}).reverse()
    change = TableChanges(table.name, [drop, addition(table, kind, {**facts, "name": new})])
    change.schema = table.schema
    change.computed = computed_columns(table)
    for op in change.ops:
        context.opts.get("restore", [].append)(op)
    return rendered(context, change)


def addition(table: Table, kind: str, facts: ReflectedItem) -> ops.MigrateOperation:
    """Return the operation that adds a constraint or index that SQLAlchemy reflected."""
    if kind == "pk_constraint":
        return KeyChange(table, facts["name"], tuple(facts["constrained_columns"]), added=True)
    if kind != "indexes":
        return constraint_addition(READINGS[kind], facts, table)
    parts = facts.get("expressions") or [f'"{name}"' for name in facts["column_names"]]
    where = (facts.get("dialect_options") or {}).get("sqlite_where")
    options = {"sqlite_where": text(escaped(str(where)))} if where is not None else {}
    unique, names = bool(facts["unique"]), table.columns.keys()
    index = made_index(facts["name"], str(table.name), table.schema, parts, unique, options, names)
    return ops.CreateIndexOp.from_index(index)
