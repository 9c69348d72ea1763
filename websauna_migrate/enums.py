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

#: Makes a type anew. What depends on it, or on a column that has it, is taken away first and put
#: back afterwards as it was written: foreign keys, computed columns, defaults, CHECK and EXCLUDE
#: constraints, expression and partial indexes; of a computed column its statistics and grants too.
#: What cannot be put back is refused by name.
REBUILD = """\
DO $do$
DECLARE
    type_oid oid := {literal}::regtype;
    types oid[] := ARRAY[type_oid, (SELECT typarray FROM pg_type WHERE oid = type_oid)];
    affected text[] := ARRAY(
        SELECT format('%s.%s', attrelid, attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid AND relkind IN ('r', 'p')
        WHERE atttypid = ANY (types) AND NOT attisdropped);
    leaning text[];
    computed text[];
    users text;
    item record;
    columns text[] := '{{}}';
    again text[] := '{{}}';
    later text[] := '{{}}';
    keys text[] := '{{}}';
    statement text;
BEGIN
    FOR round IN 1..2 LOOP
        leaning := ARRAY(
            SELECT DISTINCT format('%s.%s.%s', classid, objid, objsubid) FROM pg_depend
            WHERE refclassid = 'pg_type'::regclass AND refobjid = ANY (types)
            OR refclassid = 'pg_class'::regclass AND refobjsubid > 0
            AND format('%s.%s', refobjid, refobjsubid) = ANY (affected));
        IF round = 1 THEN
            computed := ARRAY(
                SELECT format('%s.%s', attrelid, attnum)
                FROM pg_attribute a JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
                WHERE attgenerated <> '' AND (
                    format('%s.%s', attrelid, attnum) = ANY (affected)
                    OR format('%s.%s.0', 'pg_attrdef'::regclass::oid, d.oid) = ANY (leaning)
                    OR format('%s.%s.%s', 'pg_class'::regclass::oid, attrelid, attnum)
                        = ANY (leaning)));
            affected := affected || computed;
        END IF;
    END LOOP;
    SELECT string_agg(DISTINCT name, ', ') INTO users FROM (
        SELECT pg_describe_object(
            CASE WHEN r.oid IS NULL THEN classid ELSE 'pg_class'::regclass::oid END,
            coalesce(ev_class, objid), 0) AS name
        FROM (SELECT DISTINCT split_part(one, '.', 1)::oid AS classid,
                              split_part(one, '.', 2)::oid AS objid FROM unnest(leaning) one) l
        LEFT JOIN pg_rewrite r ON classid = 'pg_rewrite'::regclass AND r.oid = objid
        LEFT JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
        WHERE classid NOT IN ('pg_class'::regclass, 'pg_constraint'::regclass,
                              'pg_attrdef'::regclass, 'pg_type'::regclass,
                              'pg_statistic_ext'::regclass)
        OR classid = 'pg_type'::regclass AND objid <> ALL (types)
        OR relkind NOT IN ('r', 'p', 'i', 'I')
        UNION ALL
        SELECT format('the partitions of table %s', partrelid::regclass)
        FROM pg_partitioned_table, unnest(partattrs) number
        WHERE format('%s.%s', partrelid, number) = ANY (affected)
    ) found;
    IF users IS NOT NULL THEN
        RAISE EXCEPTION 'the values of the enum type % are in use by: %. Let the script drop them '
            'before it changes the values, and create them again behind that',
            type_oid::regtype, users USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    FOR item IN
        SELECT conrelid::regclass AS relation, conname, contype = 'f' AS is_key,
               pg_get_constraintdef(c.oid) AS definition,
               obj_description(c.oid, 'pg_constraint') AS comment
        FROM pg_constraint c
        WHERE conrelid <> 0 AND conparentid = 0 AND (conislocal OR contype = 'f')
        AND (contype IN ('f', 'c', 'x') OR contype IN ('p', 'u') AND EXISTS (
            SELECT FROM unnest(conkey) number
            WHERE format('%s.%s', conrelid, number) = ANY (computed)))
        AND (format('%s.%s.0', 'pg_constraint'::regclass::oid, c.oid) = ANY (leaning)
             OR contype = 'x'
             AND format('%s.%s.0', 'pg_class'::regclass::oid, conindid) = ANY (leaning))
        ORDER BY contype <> 'f', 1, 2
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.relation, item.conname);
        statement := format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                            item.relation, item.conname, item.definition);
        IF item.is_key THEN keys := keys || statement; ELSE later := later || statement; END IF;
        IF item.comment IS NOT NULL THEN
            keys := keys || format('COMMENT ON CONSTRAINT %I ON %s IS %L',
                                   item.conname, item.relation, item.comment);
        END IF;
    END LOOP;
    FOR item IN
        SELECT indexrelid::regclass AS relation, pg_get_indexdef(indexrelid) AS definition,
               obj_description(indexrelid, 'pg_class') AS comment
        FROM pg_index i JOIN pg_class c ON c.oid = indexrelid AND NOT relispartition
        WHERE NOT EXISTS (SELECT FROM pg_constraint
                          WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
        AND format('%s.%s.0', 'pg_class'::regclass::oid, indexrelid) = ANY (leaning)
        AND (indexprs IS NOT NULL OR indpred IS NOT NULL OR EXISTS (
            SELECT FROM unnest(indkey) number
            WHERE format('%s.%s', indrelid, number) = ANY (computed)))
    LOOP
        EXECUTE format('DROP INDEX %s', item.relation);
        later := later || item.definition;
        IF item.comment IS NOT NULL THEN
            later := later || format('COMMENT ON INDEX %s IS %L', item.relation, item.comment);
        END IF;
    END LOOP;
    FOR item IN
        SELECT pg_get_statisticsobjdef(s.oid) AS definition,
               format('%I.%I', nspname, stxname) AS name,
               obj_description(s.oid, 'pg_statistic_ext') AS comment
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace
        WHERE EXISTS (SELECT FROM unnest(stxkeys) number
                      WHERE format('%s.%s', stxrelid, number) = ANY (computed))
    LOOP
        later := later || item.definition;
        IF item.comment IS NOT NULL THEN
            later := later || format('COMMENT ON STATISTICS %s IS %L', item.name, item.comment);
        END IF;
    END LOOP;
    FOR item IN
        SELECT attrelid::regclass AS relation, attname, privilege_type AS privilege,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
               CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS more
        FROM pg_attribute, aclexplode(attacl)
        WHERE format('%s.%s', attrelid, attnum) = ANY (computed)
    LOOP
        later := later || format('GRANT %s (%I) ON %s TO %s%s', item.privilege, item.attname,
                                 item.relation, item.grantee, item.more);
    END LOOP;
    FOR item IN
        SELECT attrelid::regclass AS relation, attname, attgenerated <> '' AS is_computed,
               pg_get_expr(adbin, adrelid) AS value, format_type(atttypid, atttypmod) AS type,
               (SELECT format(' COLLATE %I.%I', nspname, collname) FROM pg_collation o
                JOIN pg_namespace n ON n.oid = collnamespace
                WHERE o.oid = attcollation AND attcollation <> t.typcollation) AS collated,
               CASE attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END AS kind,
               CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END AS required,
               col_description(attrelid, attnum) AS comment
        FROM pg_attrdef d JOIN pg_attribute a ON (attrelid, attnum) = (adrelid, adnum)
        JOIN pg_type t ON t.oid = atttypid
        JOIN pg_class c ON c.oid = attrelid AND relkind IN ('r', 'p')
        WHERE (attgenerated = '' OR attinhcount = 0 AND NOT relispartition) AND (
            format('%s.%s', attrelid, attnum) = ANY (affected)
            OR format('%s.%s.0', 'pg_attrdef'::regclass::oid, d.oid) = ANY (leaning))
        ORDER BY attrelid, attnum
    LOOP
        IF item.is_computed THEN
            EXECUTE format('ALTER TABLE %s DROP COLUMN %I', item.relation, item.attname);
            again := again || format('ALTER TABLE %s ADD COLUMN %I %s%s GENERATED ALWAYS AS (%s) '
                '%s%s', item.relation, item.attname, item.type, item.collated, item.value,
                item.kind, item.required);
            IF item.comment IS NOT NULL THEN
                again := again || format('COMMENT ON COLUMN %s.%I IS %L',
                                         item.relation, item.attname, item.comment);
            END IF;
        ELSE
            EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I DROP DEFAULT',
                           item.relation, item.attname);
            again := again || format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s',
                                     item.relation, item.attname, item.value);
        END IF;
    END LOOP;
    FOR item IN
        SELECT attrelid::regclass AS relation, attname,
               CASE WHEN atttypid = type_oid THEN '' ELSE '[]' END AS array_of
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = attrelid AND relkind IN ('r', 'p') AND NOT relispartition
        WHERE atttypid = ANY (types) AND NOT attisdropped AND attinhcount = 0
        ORDER BY attrelid, attnum
    LOOP
        columns := columns || format(
            'ALTER TABLE %1$s ALTER COLUMN %2$I TYPE {in_format}%3$s '
            'USING %2$I::text%3$s::{in_format}%3$s',
            item.relation, item.attname, item.array_of);
    END LOOP;
    IF EXISTS (SELECT FROM pg_type WHERE oid = type_oid AND typacl IS NOT NULL) THEN
        later := later || format('REVOKE ALL ON TYPE {in_format} FROM PUBLIC');
    END IF;
    FOR item IN
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee,
               CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS more
        FROM pg_type, aclexplode(typacl) WHERE pg_type.oid = type_oid
    LOOP
        later := later || format('GRANT USAGE ON TYPE {in_format} TO %s%s',
                                 item.grantee, item.more);
    END LOOP;
    statement := obj_description(type_oid, 'pg_type');
    ALTER TYPE {name} RENAME TO {old};
    CREATE TYPE {name} AS ENUM ({values});
    IF statement IS NOT NULL THEN
        EXECUTE format('COMMENT ON TYPE {in_format} IS %L', statement);
    END IF;
    FOREACH statement IN ARRAY columns || again || later || keys LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION '%, in: %', SQLERRM, statement USING ERRCODE = SQLSTATE;
        END;
    END LOOP;
    DROP TYPE {qualified_old};
END
$do$"""


def change_enum_values(name: str, values: Sequence[str], *, schema: str | None = None) -> None:
    """Give a PostgreSQL enum type other values, in an order: those left out go.

    The type is made anew and every column that has it is converted, which rewrites their tables.
    Foreign keys of such columns, columns that are computed from them, and defaults, constraints and
    indexes that name its values, are put back as they were. A row with a value that goes, or such a
    constraint, fails it; so does what else uses the type: a view, a function, a trigger on such a
    column. All of it is one statement.

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
        in_format=qualified.replace("%", "%%").replace("'", "''"),
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
    whole = f"{preparer.quote(schema)}.{quoted}" if schema else quoted
    # The driver would read one percent sign of them.
    return whole.replace("%%", "%")


def literal(text: str) -> str:
    """Return a string constant in SQL."""
    return "'" + text.replace("'", "''") + "'"
