"""What a batch on SQLite has to keep: Alembic makes the table anew from what SQLAlchemy reflects.

SQLAlchemy reflects neither triggers nor collations, AUTOINCREMENT and its counter, ON CONFLICT,
WITHOUT ROWID, STRICT, the order of an index's columns, and no expression index. All of it stands in
``sqlite_master``: it is read before the table goes, and put into the new table or made again behind
it. What cannot be kept, because the batch takes away or renames a column that it needs, is refused
by name before anything is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise, zip_longest
from typing import Any

from alembic.ddl.impl import DefaultImpl
from alembic.operations.batch import ApplyBatchImpl
from sqlalchemy import (
    CheckConstraint,
    Column,
    Dialect,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import NullType, SchemaType, TypeEngine, UserDefinedType

from websauna_migrate.alembic_adapter.reflected_tables import (
    check_names,
    see_all_constraints,
    table_text,
)
from websauna_migrate.alembic_adapter.sqlite_values import converted
from websauna_migrate.facts.sqlite_sql import (
    ColumnSql,
    ConstraintSql,
    TableSql,
    bracket,
    names_in,
    of_kind,
    own_columns,
    read_table,
    split,
)
from websauna_migrate.facts.sqlite_tokens import (
    NotUnderstood,
    Token,
    as_written,
    write,
    written_tokens,
)
from websauna_migrate.models.model_sql import unquoted
from websauna_migrate.models.sqlalchemy_internals import escaped, variants_of
from websauna_migrate.revision_scripts.script_error import ScriptRefused

#: Marks a column to which a script gives a type.
GIVEN = "type given"

#: Names for SQLite's unnamed constraints while a batch of autogenerate's drops them: those that
#: they have on PostgreSQL, where the script runs as well.
REFLECTED_NAMES = {
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "pk": "%(table_name)s_pkey",
}
#: What a naming convention names so.
NAMED = {"fk": ForeignKeyConstraint, "uq": UniqueConstraint, "pk": PrimaryKeyConstraint}


def batch_refused(table: str, problem: str, remedy: str) -> ScriptRefused:
    """Return the error of a batch that would lose something of its table; nothing was changed."""
    return ScriptRefused("batch", f'The table "{table}" was not made anew: {problem}. {remedy}')


def keep_in_batches(impl: DefaultImpl) -> None:
    """Let an implementation of SQLite keep in a batch what SQLAlchemy does not reflect."""
    connection = impl.connection
    if impl.dialect.name != "sqlite" or connection is None or impl.as_sql:
        return
    see_all_constraints(impl, connection)
    rename_table, create_index = impl.rename_table, impl.create_index
    cast: Callable[[Column[Any], dict[str, Any], TypeEngine[Any]], None] = (
        impl.cast_for_batch_migrate
    )
    current: list[Rebuild] = []
    #: Texts of indexes that the batch makes again, by name.
    kept: dict[str, str] = {}

    def prep_table_for_batch(batch_impl: ApplyBatchImpl, table: Table) -> None:
        kept.clear()
        rebuild = Rebuild(connection, batch_impl, table)
        rebuild.prepare()
        current[:] = [rebuild]

    def rename(old_table_name: str, new_table_name: str, schema: str | None = None) -> None:
        rebuild = current.pop() if current else None
        if rebuild is None or rebuild.temporary != old_table_name:
            if old_table_name.lower() == new_table_name.lower():
                # SQLite makes no difference between the two: the table is there.
                between = f"_alembic_tmp_{new_table_name}"
                rename_table(old_table_name, between, schema=schema)
                old_table_name = between
            rename_table(old_table_name, new_table_name, schema=schema)
            return
        with references_left_alone(connection):
            rename_table(old_table_name, new_table_name, schema=schema)
        rebuild.finish()
        kept.update(rebuild.indexes)

    def create(index: Index, **kw: Any) -> None:
        text = kept.pop(str(index.name), None)
        if text is None:
            create_index(index, **kw)
        else:
            connection.exec_driver_sql(text)

    def cast_type(
        existing: Column[Any], transfer: dict[str, Any], new_type: TypeEngine[Any]
    ) -> None:
        # It is asked for each type that a script gives, be it the same.
        transfer[GIVEN] = True
        value = transfer["expr"]
        cast(existing, transfer, new_type)
        if transfer["expr"] is not value:
            transfer["expr"] = converted(
                value, transfer["expr"], existing.type, new_type, impl.dialect
            )

    impl.cast_for_batch_migrate = cast_type  # type: ignore[method-assign]
    impl.prep_table_for_batch = prep_table_for_batch  # type: ignore[method-assign]
    impl.rename_table = rename  # type: ignore[method-assign]
    impl.create_index = create  # type: ignore[method-assign]


class Rebuild:
    """One table that is made anew.

    :ivar temporary: the name of the new table while the old one is there
    :ivar indexes: the texts of indexes that Alembic makes again from what was reflected
    :ivar later: the statements that make again what Alembic does not know of
    """

    def __init__(self, connection: Connection, batch_impl: ApplyBatchImpl, table: Table) -> None:
        self.connection = connection
        self.batch_impl = batch_impl
        self.table = table
        assert batch_impl.new_table is not None
        self.new_table = batch_impl.new_table
        self.temporary: str = batch_impl.temp_table_name
        schema = (table.schema or "main").replace('"', '""')
        #: The database of the table, quoted, with a dot.
        self.database = f'"{schema}".'
        self.master = f"{self.database}sqlite_master"
        #: New names of the columns by the old ones; one that goes is not in it.
        self.columns = {
            name: str(transfer.get("name", name))
            for name, transfer in batch_impl.column_transfers.items()
        }
        #: Names of constraints that the script adds.
        self.new_names = {
            name
            for name, one in batch_impl.named_constraints.items()
            if one not in table.constraints
        }
        self.indexes: dict[str, str] = {}
        self.later: list[str] = []
        self.counter: int | None = None

    def prepare(self) -> None:
        """Read what has to be kept, and put into the new table what belongs there.

        :raises ScriptRefused: if something cannot be kept
        """
        self.refuse_leftover()
        self.carry_rows()
        name = str(self.table.name)
        text = table_text(self.connection, self.table.schema, name)
        if text is None:
            return
        written: TableSql | None = None
        with suppress(NotUnderstood):
            written = read_table(text, ())
        if self.batch_impl.reflected and written is not None:
            self.keep_checks(written)
            self.forget_given_names(written)
            self.keep_options(written)
        rows = self.connection.exec_driver_sql(
            f"SELECT type, name, sql FROM {self.master} WHERE tbl_name = ? AND sql IS NOT NULL "
            "AND type IN ('index', 'trigger') ORDER BY rowid",
            (name,),
        ).all()
        for kind, one, sql in rows:
            if kind == "trigger":
                self.require_columns(kind, one, sql)
                self.later.append(self.qualified(sql))
            else:
                self.keep_index(one, sql)
        if written is not None and is_numbered(written):
            self.counter = self.connection.exec_driver_sql(
                f"SELECT seq FROM {self.database}sqlite_sequence WHERE name = ?", (name,)
            ).scalar()

    def carry_rows(self) -> None:
        """Let rows stay of which no column does, as elsewhere: Alembic fails to copy none.

        A key that numbers itself numbers them; another column has NULL, or its default.
        """
        transfers: Mapping[str, dict[str, Any]] = self.batch_impl.column_transfers
        if any("expr" in one for one in transfers.values()):
            return
        first = next(iter(self.new_table.columns))
        old = next(iter(self.table.columns))
        default = getattr(first.server_default, "arg", None)
        missing = func.nullif(old, old)
        given = missing if default is None else func.coalesce(missing, default)
        transfers[str(first.name)]["expr"] = given

    def forget_given_names(self, written: TableSql) -> None:
        """Leave constraints without a name that autogenerate's naming convention alone gave one.

        A batch that it wrote needs it to find what is dropped; what stays had no name. Any other
        convention gives names, as with Alembic.
        """
        names = {one.name for one in written.constraints}
        convention = self.table.metadata.naming_convention
        ours = tuple(
            kind for key, kind in NAMED.items() if convention.get(key) == REFLECTED_NAMES[key]
        )
        given = {
            one.name
            for one in self.table.constraints
            if isinstance(one, ours) and isinstance(one.name, conv)
        }
        for one in self.new_table.constraints:
            if one.name in given - names and one.name not in self.new_names:
                one.name = None

    def refuse_leftover(self) -> None:
        """Refuse where another tool's batch left its table behind."""
        found = self.connection.exec_driver_sql(
            f"SELECT 1 FROM {self.master} WHERE name = ?", (self.temporary,)
        ).scalar()
        if found:
            raise batch_refused(
                str(self.table.name),
                f'the database has a table "{self.temporary}", which a batch of Alembic left that '
                "was interrupted",
                f'The rows of "{self.table.name}" are where they were. Look whether '
                f'"{self.temporary}" has any that you miss, then drop it, DROP TABLE '
                f'{self.database if self.table.schema else ""}"{self.temporary}"; and run the '
                "command again.",
            )

    def qualified(self, sql: str) -> str:
        """Return the text of an index or a trigger for the table's database.

        SQLite keeps it without the name of an attached database.
        """
        if self.table.schema is None:
            return sql
        head = re.compile(r"CREATE (?:UNIQUE )?(?:INDEX|TRIGGER) ")
        return head.sub(lambda match: match[0] + self.database, sql, count=1)

    def keep_index(self, name: str, sql: str) -> None:
        """Keep an index as it was written, unless the batch drops it.

        A table that the script gives (``copy_from``) has the indexes that it says, as with
        Alembic, which sees none of expressions.
        """
        reflected = name in {str(index.name) for index in self.table.indexes}
        if not (reflected or self.batch_impl.reflected or self.has_expressions(name)):
            return
        if reflected and name not in {str(one) for one in self.batch_impl.indexes}:
            return
        plain = reflected and not re.search(r"\b(desc|collate|where)\b", sql, re.IGNORECASE)
        if reflected and plain and self.names_in(sql):
            # Alembic knows what becomes of an index of plain columns.
            return
        self.require_columns("index", name, sql)
        if reflected:
            self.indexes[name] = self.qualified(sql)
        else:
            self.later.append(self.qualified(sql))

    def has_expressions(self, index: str) -> bool:
        """Tell whether an index is of expressions."""
        quoted = index.replace("'", "''")
        found = self.connection.exec_driver_sql(
            f"PRAGMA {self.database}index_info('{quoted}')"
        ).all()
        return any(column is None for _, _, column in found)

    def names_in(self, sql: str) -> list[str]:
        """Return the columns that go or get another name and that some SQL has."""
        found = [*written_tokens(sql), ""]
        # What is before a dot is a table, or a trigger's row.
        words = {
            unquoted(token).lower()
            for token, after in pairwise(found)
            if token[0] != "'" and after != "."
        }
        return [
            str(column.name)
            for column in self.table.columns
            if self.columns.get(str(column.name)) != column.name
            and str(column.name).lower() in words
            # A computed column that is taken out is put in again.
            and column.name not in {str(one.name) for one in self.new_table.columns}
        ]

    def require_columns(self, kind: str, name: str, sql: str) -> None:
        """Refuse to keep what needs a column that goes or gets another name."""
        for column in self.names_in(sql):
            raise batch_refused(
                str(self.table.name),
                f'its {kind} "{name}" has the column "{column}", which goes or is renamed',
                f'Let the script drop the {kind} before the batch, op.execute("DROP '
                f'{kind.upper()} {name}"), and make it again behind it as it shall be.',
            )

    def keep_options(self, written: TableSql) -> None:
        """Give the new table what CREATE TABLE said of the old one and is not reflected."""
        there: dict[str, bool] = {}
        if "WITHOUT ROWID" in written.options:
            there["with_rowid"] = False
        if "STRICT" in written.options:
            if "strict" not in (dict(SQLiteDialect.construct_arguments)[Table] or {}):
                raise batch_refused(
                    str(self.table.name),
                    "it is STRICT, which this version of SQLAlchemy leaves out",
                    "Install SQLAlchemy 2.0.37 or a newer one.",
                )
            there["strict"] = True
        dialect = self.connection.dialect
        numbered = any(
            compiled(column.type, dialect).upper() == "INTEGER"
            for column in self.new_table.primary_key.columns
        )
        if numbered and is_numbered(written):
            # No other type has it.
            there["autoincrement"] = True
        # What a script says of the new table counts.
        said = {str(name).removeprefix("sqlite_") for name in self.batch_impl.table_kwargs}
        options = self.new_table.dialect_options["sqlite"]
        options.update({name: value for name, value in there.items() if name not in said})
        new = {str(column.name): column for column in self.new_table.columns}
        for column in written.columns:
            name = self.columns.get(column.written)
            if name in new:
                self.keep_column(new[name], column)
        for key in of_kind(written, "primary", "unique"):
            self.keep_key(key, written)

    def keep_checks(self, written: TableSql) -> None:
        """Let the CHECK constraints without a name that stay follow their columns.

        None stays where the script says those of the table. One that lists values goes where its
        column becomes an enum or a boolean, for it may be that of the old one.
        """
        said = any(isinstance(one, CheckConstraint) for one in self.batch_impl.table_args)
        known = {column.name: column.written for column in written.columns}
        checks = [(one.name, bracket(one)) for one in of_kind(written, "check")]
        names = check_names(self.table, [(name, as_written(text)) for name, text in checks])
        old = {
            given: tokens
            for (name, tokens), given in zip(checks, names, strict=True)
            if name is None and given not in self.new_names
        }
        for one in [*self.new_table.constraints]:
            if not isinstance(one, CheckConstraint) or one.name not in old:
                continue
            tokens = old[one.name]
            columns = columns_in(tokens, known)
            is_list = re.fullmatch(r"\S+ IN \(.*\)", as_written(tokens), re.IGNORECASE)
            if (
                said
                or not all(column in self.columns for column in columns.values())
                or (is_list and 0 in columns and self.becomes_enum(columns[0]))
            ):
                self.new_table.constraints.discard(one)
            else:
                one.sqltext = text(escaped(as_written(self.renamed(tokens, columns))))

    def becomes_enum(self, column: str) -> bool:
        """Tell whether the script gives a column a type that may bring a CHECK."""
        given = GIVEN in self.batch_impl.column_transfers[column]
        return given and isinstance(self.new_table.c[self.columns[column]].type, SchemaType)

    def renamed(self, tokens: Sequence[Token], columns: Mapping[int, str]) -> list[Token]:
        """Return an expression with the columns' names of the new table.

        :param columns: the columns by the places of their tokens
        """
        quote = self.connection.dialect.identifier_preparer.quote_identifier
        new = {place: self.columns[column] for place, column in columns.items()}
        return [
            replace(token, written=quote(new[place]))
            if place in new and new[place] != columns[place]
            else token
            for place, token in enumerate(tokens)
        ]

    def keep_key(self, key: ConstraintSql, written: TableSql) -> None:
        """Let a key that stays have its ON CONFLICT, and the COLLATE and DESC of its columns."""
        parts = [] if key.column else [*split(bracket(key))]
        words = [
            as_written([t for t in part[1:] if not t.is_word("autoincrement")]) for part in parts
        ]
        names = [str(key.column)] if key.column else own_columns(names_in(bracket(key)), written)
        wanted = [self.columns.get(name, name) for name in names]
        unique = key.tokens[0].is_word("unique")
        kind, worded = (
            (UniqueConstraint, WordedUnique) if unique else (PrimaryKeyConstraint, WordedKey)
        )
        resolution = re.search(r" ON CONFLICT (\w+)$", key.definition)
        for one in [*self.new_table.constraints]:
            columns = [str(column.name) for column in one.columns] if isinstance(one, kind) else []
            if columns != wanted or one.name in self.new_names:
                continue
            if resolution:
                one.dialect_options["sqlite"]["on_conflict"] = resolution[1]
            if any(words):
                given: Any = one.name
                new = worded(*(self.new_table.c[name] for name in wanted), name=given)
                new.words = words
                new.dialect_options["sqlite"].update(one.dialect_options["sqlite"])
                self.new_table.constraints.discard(one)
                self.new_table.append_constraint(new)

    def keep_column(self, column: Column[Any], written: ColumnSql) -> None:
        """Give a new column the type as it was spelled, the collation and the ON CONFLICT."""
        dialect = self.connection.dialect
        collation = str(written.attributes.get("collation", ""))
        words = write([Token("name", collation)], [collation]) if collation else ""
        spelled = Spelled(written.spelled, words)
        if isinstance(column.type, NullType) and self.keeps_type(column, exactly=True):
            # A column may have no type; SQLAlchemy knows no DDL for that.
            column.type = spelled
        elif self.keeps_type(column, exactly=True) and (
            written.spelled != compiled(column.type, dialect)
        ):
            column.type = column.type.with_variant(spelled, "sqlite")
        elif self.keeps_type(column) and collation and hasattr(column.type, "collation"):
            column.type = column.type.copy()
            column.type.collation = collation.upper()
        if resolution := re.match(r"ON CONFLICT (\w+)", str(written.attributes.get("not null"))):
            column.dialect_options["sqlite"]["on_conflict_not_null"] = resolution[1]

    def keeps_type(self, column: Column[Any], *, exactly: bool = False) -> bool:
        """Tell whether a column has the type that it had.

        :param exactly: false where a script gave it the same one
        """
        old = next(one for one in self.table.columns if self.columns.get(one.name) == column.name)
        if exactly:
            transfer = self.batch_impl.column_transfers[old.name]
            # A column that is taken out and put in again has no rows to copy.
            return "expr" in transfer and GIVEN not in transfer
        dialect = self.connection.dialect
        return compiled(column.type, dialect) == compiled(old.type, dialect)

    def finish(self) -> None:
        """Make again what belongs to the table under its own name."""
        for statement in self.later:
            self.connection.exec_driver_sql(statement)
        if self.counter is not None:
            name = str(self.table.name)
            there = self.connection.exec_driver_sql(
                f"UPDATE {self.database}sqlite_sequence SET seq = max(seq, ?) WHERE name = ?",
                (self.counter, name),
            ).rowcount
            if not there:
                self.connection.exec_driver_sql(
                    f"INSERT INTO {self.database}sqlite_sequence (name, seq) VALUES (?, ?)",
                    (name, self.counter),
                )


class Spelled(UserDefinedType[Any]):
    """A type as a table has it, which may be spelled otherwise than SQLAlchemy does."""

    cache_ok = True

    def __init__(self, spelled: str, collation: str) -> None:
        """Keep the type.

        :param collation: as it stands in SQL, empty for none
        """
        self.spelled = spelled
        self.collation = collation

    def get_col_spec(self, **kw: Any) -> str:
        """Return the type with its collation."""
        return f"{self.spelled} COLLATE {self.collation}" if self.collation else self.spelled


class WordedUnique(UniqueConstraint):
    """A UNIQUE constraint whose columns have words of their own: COLLATE, DESC.

    :ivar words: those of each column
    """

    words: Sequence[str] = ()


class WordedKey(PrimaryKeyConstraint):
    """A primary key as :class:`WordedUnique` is."""

    words: Sequence[str] = ()


@compiles(WordedUnique, "sqlite")
@compiles(WordedKey, "sqlite")
def with_words(element: WordedUnique | WordedKey, compiler: DDLCompiler, **kw: Any) -> str:
    """Return the constraint with the words of its columns."""
    if isinstance(element, WordedUnique):
        text = compiler.visit_unique_constraint(element, **kw)
    else:
        text = compiler.visit_primary_key_constraint(element, **kw)
    names = [compiler.preparer.quote(column.name) for column in element.columns]
    parts = [f"{name} {words}".strip() for name, words in zip(names, element.words, strict=True)]
    return text.replace(f"({', '.join(names)})", f"({', '.join(parts)})", 1)


@contextmanager
def references_left_alone(connection: Connection) -> Iterator[None]:
    """Let ALTER TABLE ... RENAME leave triggers and views of other tables as they are."""
    pragma = "PRAGMA legacy_alter_table"
    before = int(connection.exec_driver_sql(pragma).scalar() or 0)
    connection.exec_driver_sql(f"{pragma} = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"{pragma} = {before}")


def columns_in(tokens: Sequence[Token], known: Mapping[str, str]) -> dict[int, str]:
    """Return the columns that an expression names, by the places of their tokens.

    :param known: columns as the table spells them, by their names in lower case
    """
    return {
        place: known[token.text]
        for place, (token, after) in enumerate(zip_longest(tokens, tokens[1:]))
        if token.kind in ("word", "name")
        and token.text in known
        # A function may have the name of a column.
        and not (token.kind == "word" and after is not None and after.is_sign("("))
    }


def is_numbered(table: TableSql) -> bool:
    """Tell whether a table has a column with AUTOINCREMENT."""
    return any(column.attributes.get("autoincrement") for column in table.columns)


def compiled(type_: TypeEngine[Any], dialect: Dialect) -> str:
    """Return a type as SQLAlchemy spells it, empty for none."""
    if isinstance(type_, NullType) and not variants_of(type_):
        return ""
    return str(type_.compile(dialect))
