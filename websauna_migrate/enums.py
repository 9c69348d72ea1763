"""Enum types in migration scripts: ``from websauna_migrate.enums import change_enum_values``."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from websauna_migrate.models.sqlalchemy_internals import escaped

__all__ = ["change_enum_values", "literal", "qualified_name"]

#: Makes a type anew. What depends on its values by name (defaults, CHECK constraints, expression
#: and partial indexes) is taken away first and put back afterwards, as it was written.
REBUILD = """\
DO $do$
DECLARE
    type_oid oid := {literal}::regtype;
    item record;
    later text[] := '{{}}';
    columns text[] := '{{}}';
BEGIN
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
    FOR item IN SELECT unnest(columns || later) AS statement LOOP
        EXECUTE item.statement;
    END LOOP;
    DROP TYPE {qualified_old};
END
$do$"""


def change_enum_values(name: str, values: Sequence[str], *, schema: str | None = None) -> None:
    """Give a PostgreSQL enum type other values, in an order: those left out go.

    The type is made anew and every column that has it is converted, which rewrites their tables.
    Defaults, CHECK constraints and indexes that name its values are put back as they were. A row
    with a value that goes, or such a constraint, fails it. All of it is one statement.

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


def qualified_name(schema: str | None, name: str) -> str:
    """Return a name as PostgreSQL reads it, in quotes where it needs them."""
    preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    quoted = str(preparer.quote(name))
    return f"{preparer.quote(schema)}.{quoted}" if schema else quoted


def literal(text: str) -> str:
    """Return a string constant in SQL."""
    return "'" + text.replace("'", "''") + "'"
