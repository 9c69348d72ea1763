"""Enum types in migration scripts: ``from websauna_migrate.enums import change_enum_values``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["change_enum_values", "foreign_keys_aside", "literal", "qualified_name"]

#: Makes a type anew. What depends on it or on its values by name (foreign keys, defaults, CHECK
#: constraints, expression and partial indexes) is taken away first and put back afterwards, as it
#: was written.
REBUILD = """\
DO $do$
DECLARE
    type_oid oid := {literal}::regtype;
    item record;
    later text[] := '{{}}';
    columns text[] := '{{}}';
    keys text[] := '{{}}';
BEGIN
    FOR item IN
        SELECT c.conrelid::regclass AS relation, conname, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conparentid = 0 AND EXISTS (
            SELECT FROM pg_attribute a WHERE a.atttypid = type_oid
            AND (a.attrelid, true) IN ((c.conrelid, a.attnum = ANY (c.conkey)),
                                       (c.confrelid, a.attnum = ANY (c.confkey))))
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.relation, item.conname);
        keys := keys || format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                               item.relation, item.conname, item.definition);
    END LOOP;
    FOR item IN
        SELECT conrelid::regclass AS relation, conname, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c
        WHERE c.contype = 'c' AND c.conrelid <> 0 AND c.conislocal AND EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass
            AND d.objid = c.oid AND d.refclassid = 'pg_type'::regclass AND d.refobjid = type_oid)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.relation, item.conname);
        later := later || format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                                 item.relation, item.conname, item.definition);
    END LOOP;
    FOR item IN
        SELECT i.indexrelid::regclass AS relation, pg_get_indexdef(i.indexrelid) AS definition
        FROM pg_index i
        WHERE EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_type'::regclass
            AND d.refobjid = type_oid)
    LOOP
        EXECUTE format('DROP INDEX %s', item.relation);
        later := later || item.definition;
    END LOOP;
    FOR item IN
        SELECT a.attrelid::regclass AS relation, a.attname, t.oid <> type_oid AS is_array,
               pg_get_expr(d.adbin, d.adrelid) AS value
        FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid AND (t.oid = type_oid OR t.typelem = type_oid)
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE NOT a.attisdropped AND a.attislocal AND NOT c.relispartition
    LOOP
        IF item.value IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT',
                           item.relation, item.attname);
            later := format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s',
                            item.relation, item.attname, item.value) || later;
        END IF;
        columns := columns || format(
            CASE WHEN item.is_array
            THEN 'ALTER TABLE %1$s ALTER COLUMN %2$I TYPE {name}[] USING %2$I::text[]::{name}[]'
            ELSE 'ALTER TABLE %1$s ALTER COLUMN %2$I TYPE {name} USING %2$I::text::{name}' END,
            item.relation, item.attname);
    END LOOP;
    ALTER TYPE {name} RENAME TO {old};
    CREATE TYPE {name} AS ENUM ({values});
    FOR item IN SELECT unnest(columns || later || keys) AS statement LOOP
        EXECUTE item.statement;
    END LOOP;
    DROP TYPE {qualified_old};
END
$do$"""


def change_enum_values(name: str, values: Sequence[str], *, schema: str | None = None) -> None:
    """Give a PostgreSQL enum type other values, in an order: those left out go.

    The type is made anew and every column that has it is converted, which rewrites their tables.
    Foreign keys of such columns, and defaults, CHECK constraints and indexes that name its values,
    are put back as they were. A row with a value that goes, or such a constraint, fails it. All of
    it is one statement.

    :param name: of the type, without quotes
    :param values: all that it has from then on
    :param schema: of the type; without it, where the search path finds it
    """
    qualified = qualified_name(schema, name)
    old = qualified_name(None, f"{name[:57]}__old")
    statement = REBUILD.format(
        literal=literal(qualified),
        name=qualified,
        old=old,
        qualified_old=qualified_name(schema, f"{name[:57]}__old"),
        values=", ".join(map(literal, values)),
    )
    op.execute(sa.text(escaped(statement)))


#: The tables with a foreign key that has one of some columns at an end, on MariaDB.
KEYS = """
SELECT DISTINCT table_name, constraint_name FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND referenced_table_schema = DATABASE() AND (
    concat(table_name, '.', column_name) IN :columns
    OR concat(referenced_table_name, '.', referenced_column_name) IN :columns
) ORDER BY 1, 2
"""


@contextmanager
def foreign_keys_aside(*columns: str) -> Iterator[None]:
    """Take away the foreign keys at some columns on MariaDB and MySQL, and put them back.

    These refuse to change the type of such a column, an ``ENUM``'s values among it. The rows are
    checked when the keys come back. Other databases are left alone.

    :param columns: each as ``table.column``
    :raises MigrationError: where SQL is written without a database
    """
    context = op.get_context()
    if context.dialect.name not in ("mysql", "mariadb"):
        yield
        return
    if context.as_sql:
        raise MigrationError(
            "The foreign keys of an ENUM are not known without a database. Run the revision "
            "online, or write the DROP and ADD of its foreign keys by hand."
        )
    connection = op.get_bind()
    query = sa.text(KEYS).bindparams(sa.bindparam("columns", expanding=True))
    drops, creations = [], []
    for table, key in connection.execute(query, {"columns": columns}).all():
        quoted = f"`{table.replace('`', '``')}`"
        text = connection.execute(sa.text(escaped(f"SHOW CREATE TABLE {quoted}"))).one()[1]
        name = re.escape(f"`{key.replace('`', '``')}`")
        definition = re.search(rf"^\s*(CONSTRAINT {name} FOREIGN KEY .*?),?$", text, re.MULTILINE)
        if definition is not None:
            drops.append(f"ALTER TABLE {quoted} DROP FOREIGN KEY `{key.replace('`', '``')}`")
            creations.append(f"ALTER TABLE {quoted} ADD {definition[1]}")
    for statement in drops:
        op.execute(sa.text(escaped(statement)))
    try:
        yield
    except BaseException:
        for statement in creations:
            with suppress(DBAPIError):
                op.execute(sa.text(escaped(statement)))
        raise
    for statement in creations:
        op.execute(sa.text(escaped(statement)))


def qualified_name(schema: str | None, name: str) -> str:
    """Return a name as PostgreSQL reads it, in quotes where it needs them."""
    preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    quoted = str(preparer.quote(name))
    return f"{preparer.quote(schema)}.{quoted}" if schema else quoted


def literal(text: str) -> str:
    """Return a string constant in SQL."""
    return "'" + text.replace("'", "''") + "'"
