"""The queries by which facts are read from PostgreSQL's catalogue, one for each kind of object.

Each begins with the schema and the name, and its other columns are called as the attributes of
facts; what belongs to an extension is left out. The search path is empty meanwhile, so that the
server writes every name with its schema.

Those of :data:`BY_UNIT` end with the unit: the oid of the table whose part a row is, or of what has
no table. It is 0 for views, whose texts follow from other relations, and for domains.
"""

from __future__ import annotations

SCHEMAS = """
WITH before AS MATERIALIZED (
    SELECT current_schema() AS schema, current_setting('search_path') AS path
)
SELECT n.nspname, obj_description(n.oid, 'pg_namespace'), b.schema, b.path,
       set_config('search_path', '', true)
FROM before b, pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""

IN_EXTENSION = """EXISTS (SELECT 1 FROM pg_depend e WHERE e.deptype = 'e'
    AND e.classid = '{0}'::regclass AND e.objid = {1})"""

OF_TABLE = IN_EXTENSION.format("pg_class", "c.oid")

#: What a server's name of an index is made from: a renamed column keeps its old name in indexes.
INDEX_COLUMNS = """(SELECT string_agg(coalesce(t.attname, a.attname), '_' ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attribute t
        ON t.attrelid = i.indrelid AND t.attnum = i.indkey[a.attnum - 1]
        WHERE a.attrelid = x.oid)"""

QUERIES = {
    "relations": f"""
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relpersistence::text AS persistence,
       CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS "partition bound",
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS "partitioned by",
       (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
        FROM pg_inherits i WHERE i.inhrelid = c.oid) AS parents,
       array_to_string(c.reloptions, ', ') AS options,
       array_to_string(t.reloptions, ', ') AS "options of TOAST",
       CASE WHEN c.relkind IN ('r', 'm') THEN nullif(am.amname, 'heap') END AS "access method",
       c.relrowsecurity AS "row security", c.relforcerowsecurity AS "row security for the owner",
       CASE WHEN c.relkind IN ('r', 'p', 'm') THEN c.relreplident::text END AS "replica identity",
       CASE WHEN c.reloftype <> 0 THEN c.reloftype::regtype::text END AS "of type",
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition,
       f.srvname AS server, array_to_string(f.ftoptions, ', ') AS "foreign options",
       sp.spcname AS tablespace, obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.relkind IN ('v', 'm') THEN 0 ELSE c.oid::bigint END AS unit
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace sp ON sp.oid = c.reltablespace
LEFT JOIN (SELECT ftrelid, srvname, ftoptions FROM pg_foreign_table
           JOIN pg_foreign_server s ON s.oid = ftserver) f ON f.ftrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND n.nspname IN :schemas AND NOT {OF_TABLE}
""",
    # Of the options of a column those that are documented: some builds keep numbers there.
    "columns": f"""
SELECT n.nspname AS schema, a.attname AS name, c.relname AS table, c.relkind = 'c' AS "of type",
       a.attnum AS position, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS "not null", pg_get_expr(d.adbin, d.adrelid) AS default,
       a.attidentity::text AS identity, a.attgenerated::text AS generated,
       CASE WHEN a.attcollation <> t.typcollation
            THEN a.attcollation::regcollation::text END AS collation,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage,
       nullif(a.attcompression::text, '') AS compression,
       nullif(a.attstattarget, -1) AS "statistics target",
       (SELECT string_agg(o, ', ') FROM unnest(a.attoptions) AS o
        WHERE o LIKE 'n\\_distinct%') AS options,
       array_to_string(a.attfdwoptions, ', ') AS "foreign options",
       NOT a.attislocal AS inherited, col_description(c.oid, a.attnum) AS comment,
       k.conname AS "name of NOT NULL", pg_get_constraintdef(k.oid) AS "options of NOT NULL",
       CASE WHEN c.relkind IN ('v', 'm') THEN 0 ELSE c.oid::bigint END AS unit
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'n' AND k.conislocal
     AND k.conkey[1] = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname IN :schemas
  AND (c.relkind IN ('r', 'p', 'f', 'c') OR (c.relkind IN ('v', 'm')
       AND (d.oid IS NOT NULL OR col_description(c.oid, a.attnum) IS NOT NULL)))
  AND NOT {OF_TABLE}
""",
    "constraints": f"""
SELECT n.nspname AS schema, k.conname AS name, coalesce(c.relname, t.typname) AS table,
       k.contype::text AS letter, t.oid IS NOT NULL AS "of type",
       pg_get_constraintdef(k.oid) AS definition, NOT k.convalidated AS "not valid",
       obj_description(k.oid, 'pg_constraint') AS comment,
       (SELECT string_agg(a.attname, '_' ORDER BY key.place)
        FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.number) AS columns,
       {INDEX_COLUMNS} AS "columns of the index",
       array_to_string(x.reloptions, ', ') AS "index options",
       NOT i.indisvalid AS "index not valid", i.indisclustered AS clustered,
       i.indisreplident AS "replica identity", sp.spcname AS "index tablespace",
       obj_description(x.oid, 'pg_class') AS "index comment", cardinality(k.conkey) AS count,
       k.conrelid::bigint AS unit
FROM pg_constraint k
LEFT JOIN pg_class c ON c.oid = k.conrelid
LEFT JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = coalesce(c.relnamespace, t.typnamespace)
LEFT JOIN pg_class x ON x.oid = k.conindid AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_index i ON i.indexrelid = x.oid
LEFT JOIN pg_tablespace sp ON sp.oid = x.reltablespace
WHERE k.contype NOT IN ('t', 'n') AND k.conparentid = 0 AND n.nspname IN :schemas
  AND NOT (k.coninhcount > 0 AND NOT k.conislocal)
  AND NOT {IN_EXTENSION.format("pg_class", "k.conrelid")}
  AND NOT {IN_EXTENSION.format("pg_type", "k.contypid")}
""",
    "indexes": f"""
SELECT n.nspname AS schema, x.relname AS name, c.relname AS table,
       pg_get_indexdef(x.oid) AS definition, quote_ident(x.relname) AS quoted,
       NOT i.indisvalid AS "not valid", i.indisclustered AS clustered,
       i.indisreplident AS "replica identity", obj_description(x.oid, 'pg_class') AS comment,
       {INDEX_COLUMNS} AS columns,
       (SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
        FROM pg_attribute a
        WHERE a.attrelid = x.oid AND a.attstattarget >= 0) AS "statistics targets",
       (SELECT h.inhparent::regclass::text FROM pg_inherits h
        WHERE h.inhrelid = x.oid) AS "attached to",
       (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace) AS tablespace,
       c.oid::bigint AS unit
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN :schemas AND c.relkind IN ('r', 'p', 'm') AND NOT {OF_TABLE}
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k
                  WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
""",
    "types": f"""
SELECT n.nspname AS schema, t.typname AS name, t.typtype::text AS kind,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid) AS values,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS type,
       t.typnotnull AS "not null",
       CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 0) END AS default,
       CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation
            THEN t.typcollation::regcollation::text END AS collation,
       CASE WHEN r.rngtypid IS NOT NULL
            THEN format_type(r.rngsubtype, NULL) || ' ' || o.opcname || ' '
                 || r.rngcollation::regcollation::text || ' ' || r.rngcanonical::text || ' '
                 || r.rngsubdiff::text END AS definition,
       obj_description(t.oid, 'pg_type') AS comment
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_opclass o ON o.oid = r.rngsubopc
WHERE t.typtype IN ('e', 'd', 'r') AND n.nspname IN :schemas
  AND NOT {IN_EXTENSION.format("pg_type", "t.oid")}
""",
    "sequences": f"""
SELECT n.nspname AS schema, c.relname AS name, o.relname AS table, a.attname AS column,
       d.deptype = 'i' AS identity, format_type(s.seqtypid, NULL) AS type, s.seqstart AS start,
       s.seqincrement AS increment, s.seqmin AS minimum, s.seqmax AS maximum,
       s.seqcache AS cache, s.seqcycle AS cycle, c.relpersistence::text AS persistence,
       obj_description(c.oid, 'pg_class') AS comment, c.oid::regclass::text AS quoted,
       o.relname || '.' || a.attname AS owner, coalesce(o.oid, c.oid)::bigint AS unit
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_class o ON o.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid
WHERE n.nspname IN :schemas AND NOT {OF_TABLE}
""",
    "functions": f"""
SELECT n.nspname AS schema,
       p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
       p.prokind::text AS kind,
       CASE WHEN p.prokind = 'a' THEN
            format_type(p.prorettype, NULL) || ' ' || g.aggkind::text || ' '
            || g.aggtransfn::text || ' ' || g.aggfinalfn::text || ' '
            || g.aggcombinefn::text || ' ' || format_type(g.aggtranstype, NULL) || ' '
            || coalesce(g.agginitval, '')
       ELSE pg_get_functiondef(p.oid) END AS definition,
       obj_description(p.oid, 'pg_proc') AS comment
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
WHERE n.nspname IN :schemas AND NOT {IN_EXTENSION.format("pg_proc", "p.oid")}
  AND NOT EXISTS (SELECT 1 FROM pg_depend i WHERE i.deptype = 'i'
                  AND i.classid = 'pg_proc'::regclass AND i.objid = p.oid)
""",
    "triggers": f"""
SELECT n.nspname AS schema, t.tgname AS name, c.relname AS table, 'trigger' AS kind,
       pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS fires,
       obj_description(t.oid, 'pg_trigger') AS comment
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND n.nspname IN :schemas AND NOT {OF_TABLE}
UNION ALL
SELECT n.nspname, r.rulename, c.relname, 'rule', pg_get_ruledef(r.oid), r.ev_enabled::text,
       obj_description(r.oid, 'pg_rewrite')
FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND n.nspname IN :schemas AND NOT {OF_TABLE}
""",
    "policies": f"""
SELECT n.nspname AS schema, p.polname AS name, c.relname AS table, 'policy' AS kind,
       p.polcmd::text AS command, NOT p.polpermissive AS restrictive,
       (SELECT string_agg(CASE WHEN r.oid = 0 THEN 'public' ELSE pg_get_userbyid(r.oid)::text END,
                          ', ' ORDER BY r.oid) FROM unnest(p.polroles) AS r (oid)) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using,
       pg_get_expr(p.polwithcheck, p.polrelid) AS "with check",
       obj_description(p.oid, 'pg_policy') AS comment
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN :schemas AND NOT {OF_TABLE}
""",
    "extensions": """
SELECT '' AS schema, e.extname AS name, 'extension' AS kind, n.nspname AS "in schema",
       e.extversion AS version, obj_description(e.oid, 'pg_extension') AS comment
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
""",
    "statistics": f"""
SELECT n.nspname AS schema, s.stxname AS name, c.relname AS table, 'statistics' AS kind,
       replace(pg_get_statisticsobjdef(s.oid), format('STATISTICS %I.%I ', n.nspname, s.stxname),
               'STATISTICS ') AS definition,
       nullif(s.stxstattarget, -1) AS "statistics target",
       obj_description(s.oid, 'pg_statistic_ext') AS comment
FROM pg_statistic_ext s
JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN pg_class c ON c.oid = s.stxrelid
WHERE n.nspname IN :schemas AND NOT {IN_EXTENSION.format("pg_statistic_ext", "s.oid")}
""",
}

#: Oids of what the server did not bring with it begin here.
FIRST = 16384

#: When a database may have an object of a kind, for those that are seldom.
SELDOM = {
    "types": f"EXISTS (SELECT FROM pg_type WHERE oid >= {FIRST} AND typtype IN ('e', 'd', 'r'))",
    "functions": f"EXISTS (SELECT FROM pg_proc WHERE oid >= {FIRST})",
    "triggers": "EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal) OR "
    f"EXISTS (SELECT FROM pg_rewrite WHERE oid >= {FIRST} AND rulename <> '_RETURN')",
    "policies": "EXISTS (SELECT FROM pg_policy)",
    "statistics": "EXISTS (SELECT FROM pg_statistic_ext)",
}

#: What is read of some relations alone where the others did not change.
BY_UNIT = frozenset({"relations", "columns", "constraints", "indexes", "sequences"})
