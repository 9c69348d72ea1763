"""Many temporary tables in a fixed number of queries, on PostgreSQL.

A function of the session makes each table as a temporary one, reads how the server keeps it, and
takes it back before the next: a thousand temporary tables at a time would hold more locks than the
server has room for. Types are named by the server, and SQLAlchemy reflects one table that has a
column of each.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement
from sqlalchemy.types import TypeEngine

from websauna_migrate.autogenerate.compare.temporary_table import NAME, TemporaryTable, temporary

__all__ = ["make_together"]

#: A table has room for 1,600 columns.
TYPES_AT_ONCE = 1000

TYPES = "websauna_migrate_types"

#: Takes lists of statements, each making one table, and yields what became of each; null where
#: a statement failed. What is read is what SQLAlchemy reads, in its words.
FUNCTION = f"""
CREATE FUNCTION pg_temp.websauna_migrate_temporary_tables(wanted json) RETURNS SETOF text
LANGUAGE plpgsql AS $function$
DECLARE
    statements json;
    statement text;
    relation oid;
    failed boolean;
    made json;
BEGIN
    FOR statements IN SELECT value FROM json_array_elements(wanted) LOOP
        made := NULL;
        failed := false;
        BEGIN
            BEGIN
                FOR statement IN SELECT value FROM json_array_elements_text(statements) LOOP
                    EXECUTE statement;
                END LOOP;
            EXCEPTION WHEN OTHERS THEN
                failed := true;
            END;
            IF NOT failed THEN
                relation := to_regclass('pg_temp.{NAME}');
                made := json_build_object(
                    'columns', (
                        SELECT json_agg(json_build_object(
                            'name', a.attname,
                            'type', format_type(a.atttypid, a.atttypmod),
                            'collation', (
                                SELECT c.oid::regcollation::text
                                FROM pg_collation c JOIN pg_type t ON t.oid = a.atttypid
                                WHERE c.oid = a.attcollation AND c.oid <> t.typcollation),
                            'generated', a.attgenerated,
                            'default', pg_get_expr(d.adbin, d.adrelid)
                        ))
                        FROM pg_attribute a
                        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped),
                    'checks', (
                        SELECT json_agg(json_build_object(
                            'name', conname, 'text', pg_get_constraintdef(oid, true)))
                        FROM pg_constraint WHERE conrelid = relation AND contype = 'c'),
                    'indexes', (
                        SELECT json_agg(json_build_object(
                            'name', c.relname,
                            'unique', i.indisunique,
                            'definition', pg_get_indexdef(i.indexrelid),
                            'method', m.amname,
                            'where', pg_get_expr(i.indpred, i.indrelid),
                            'keys', i.indnkeyatts,
                            'options', i.indoption::int2[],
                            'expressions', 0 = ANY (i.indkey::int2[]),
                            'elements', (
                                SELECT json_agg(
                                    CASE WHEN k.number = 0 THEN to_json(
                                        pg_get_indexdef(i.indexrelid, k.place::int, true))
                                    ELSE to_json(a.attname) END ORDER BY k.place)
                                FROM unnest(i.indkey::int2[])
                                    WITH ORDINALITY AS k (number, place)
                                LEFT JOIN pg_attribute a
                                    ON a.attrelid = i.indrelid AND a.attnum = k.number)
                        ))
                        FROM pg_index i
                        JOIN pg_class c ON c.oid = i.indexrelid
                        JOIN pg_am m ON m.oid = c.relam
                        WHERE i.indrelid = relation AND NOT i.indisprimary)
                );
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'WSMIG';
        EXCEPTION WHEN SQLSTATE 'WSMIG' THEN
            NULL;
        END;
        RETURN NEXT made::text;
    END LOOP;
END
$function$
"""

CALL = "SELECT made FROM pg_temp.websauna_migrate_temporary_tables(CAST(:wanted AS json)) AS made"


def make_together(
    connection: Connection, tables: Collection[Table]
) -> dict[Table, TemporaryTable | None]:
    """Return models' tables as temporary ones, ``None`` for one that the server does not make.

    :returns: nothing for tables that have to be asked about one by one: those that cannot be
        written as statements, and all where the server lets nobody make a function
    """
    version = connection.dialect.server_version_info or ()
    if version < (13,):
        # Collations have no name of that kind there.
        return {}
    written: dict[Table, tuple[list[str], dict[str, str]]] = {}
    for table in tables:
        try:
            written[table] = statements_of(table, connection)
        except (SQLAlchemyError, NotImplementedError):
            continue
    savepoint = connection.begin_nested()
    try:
        connection.exec_driver_sql(FUNCTION)
        wanted = json.dumps([statements for statements, _ in written.values()])
        rows = connection.execute(sa.text(CALL), {"wanted": wanted}).scalars().all()
        made = [None if row is None else json.loads(row) for row in rows]
        types = reflected_types(connection, made)
    except (DBAPIError, SQLAlchemyError):
        return {}
    finally:
        savepoint.rollback()
    return {
        table: None if found is None else as_reflected(found, types, names)
        for (table, (_, names)), found in zip(written.items(), made, strict=True)
    }


def statements_of(table: Table, connection: Connection) -> tuple[list[str], dict[str, str]]:
    """Return what makes a temporary copy of a table, and the copies' indexes by their names.

    :raises sqlalchemy.exc.SQLAlchemyError: if it cannot be written
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copy, indexes = temporary(table, connection)
        elements: list[ExecutableDDLElement] = [
            CreateTable(copy),
            *(CreateIndex(index) for index in indexes.values()),
        ]
        written = [str(element.compile(dialect=connection.dialect)) for element in elements]
    if connection.dialect.paramstyle in ("format", "pyformat"):
        # As the driver would send it.
        written = [one.replace("%%", "%") for one in written]
    return written, {str(index.name): name for name, index in indexes.items()}


def reflected_types(connection: Connection, made: Collection[Any]) -> Mapping[Any, TypeEngine[Any]]:
    """Return SQLAlchemy's types of all columns by type and collation, as the server names them."""
    names = sorted(
        {
            (column["type"], column["collation"] or "")
            for one in made
            if one is not None
            for column in one["columns"] or ()
        }
    )
    types: dict[Any, TypeEngine[Any]] = {}
    for start in range(0, len(names), TYPES_AT_ONCE):
        some = names[start : start + TYPES_AT_ONCE]
        columns = ", ".join(
            f"c{number} {name}" + (f" COLLATE {collation}" if collation else "")
            for number, (name, collation) in enumerate(some)
        )
        create = f"CREATE TEMPORARY TABLE {TYPES}{start} ({columns})"
        if connection.dialect.paramstyle in ("format", "pyformat"):
            create = create.replace("%", "%%")
        connection.exec_driver_sql(create)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = sa.inspect(connection).get_columns(f"{TYPES}{start}")
        types.update(zip(some, (column["type"] for column in found), strict=True))
    return types


def as_reflected(
    found: Any, types: Mapping[Any, TypeEngine[Any]], names: Mapping[str, str]
) -> TemporaryTable:
    """Return what the function read of one table in the shape of what SQLAlchemy reflects.

    :param names: the indexes' names in the model by those of their copies
    """
    columns = {}
    for one in found["columns"] or ():
        type_ = types[one["type"], one["collation"] or ""]
        text = one["default"]
        column: dict[str, Any] = {"name": one["name"], "type": type_, "default": text}
        if isinstance(type_, DOMAIN) and not text and type_.default is not None:
            # The column has what the domain says.
            column["default"] = type_.default
        if one["generated"]:
            column |= {"default": None, "computed": {"sqltext": text}}
        columns[one["name"]] = column
    checks = {}
    for one in found["checks"] or ():
        number = re.fullmatch(r"c(\d+)", one["name"])
        text = re.fullmatch(r"CHECK *\((.+)\)( NO INHERIT)?( NOT VALID)?", one["text"], re.DOTALL)
        if number:
            checks[int(number[1])] = text[1] if text else ""
    indexes = {names[one["name"]]: index(one) for one in found["indexes"] or ()}
    definitions = {names[one["name"]]: one["definition"] for one in found["indexes"] or ()}
    return TemporaryTable(columns, checks, indexes, definitions)


def index(found: Any) -> dict[str, Any]:
    """Return what the function read of an index in the shape of what SQLAlchemy reflects."""
    elements, included = found["elements"][: found["keys"]], found["elements"][found["keys"] :]
    sorting = {
        element: words
        for element, flags in zip(elements, found["options"], strict=False)
        if (words := SORTING[flags & 3])
    }
    options = {"postgresql_include": included}
    if found["where"]:
        options["postgresql_where"] = found["where"]
    if found["method"] != "btree":
        options["postgresql_using"] = found["method"]
    return {
        "name": found["name"],
        "unique": found["unique"],
        "column_names": elements,
        **({"expressions": elements} if found["expressions"] else {}),
        **({"column_sorting": sorting} if sorting else {}),
        "dialect_options": options,
    }


#: SQLAlchemy's words for the flags of a column of an index: 1 descending, 2 nulls first.
SORTING = ((), ("desc", "nulls_last"), ("nulls_first",), ("desc",))
