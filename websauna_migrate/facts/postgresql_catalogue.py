"""The queries by which facts are read from PostgreSQL's catalogue, one for each kind of object.

Each begins with the schema and the name; what belongs to an extension is left out. The search path
is empty meanwhile, so that the server writes every name with its schema.

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

RELATIONS = f"""
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
       CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
       (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
        FROM pg_inherits i WHERE i.inhrelid = c.oid),
       array_to_string(c.reloptions, ', '), array_to_string(t.reloptions, ', '), am.amname,
       c.relrowsecurity, c.relforcerowsecurity, c.relreplident::text,
       CASE WHEN c.reloftype <> 0 THEN c.reloftype::regtype::text END,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
       f.srvname, array_to_string(f.ftoptions, ', '), sp.spcname,
       obj_description(c.oid, 'pg_class'),
       CASE WHEN c.relkind IN ('v', 'm') THEN 0 ELSE c.oid::bigint END AS unit
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_tablespace sp ON sp.oid = c.reltablespace
LEFT JOIN (SELECT ftrelid, srvname, ftoptions FROM pg_foreign_table
           JOIN pg_foreign_server s ON s.oid = ftserver) f ON f.ftrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND n.nspname IN :schemas AND NOT {OF_TABLE}
"""

# Of the options of a column those that are documented: some builds keep numbers of their own there.
COLUMNS = f"""
SELECT n.nspname, a.attname, c.relname, c.relkind::text, a.attnum,
       format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END,
       nullif(a.attcompression::text, ''), nullif(a.attstattarget, -1),
       (SELECT string_agg(o, ', ') FROM unnest(a.attoptions) AS o WHERE o LIKE 'n\\_distinct%'),
       array_to_string(a.attfdwoptions, ', '),
       a.attislocal, col_description(c.oid, a.attnum),
       (SELECT k.conname FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conislocal
          AND k.conkey[1] = a.attnum),
       (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conislocal
          AND k.conkey[1] = a.attnum),
       CASE WHEN c.relkind IN ('v', 'm') THEN 0 ELSE c.oid::bigint END AS unit
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname IN :schemas
  AND (c.relkind IN ('r', 'p', 'f', 'c') OR (c.relkind IN ('v', 'm')
       AND (d.oid IS NOT NULL OR col_description(c.oid, a.attnum) IS NOT NULL)))
  AND NOT {OF_TABLE}
"""

#: What a server's name of an index is made from: a renamed column keeps its old name in indexes.
INDEX_COLUMNS = """(SELECT string_agg(coalesce(t.attname, a.attname), '_' ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attribute t
        ON t.attrelid = i.indrelid AND t.attnum = i.indkey[a.attnum - 1]
        WHERE a.attrelid = x.oid)"""

CONSTRAINTS = f"""
SELECT n.nspname, k.conname, coalesce(c.relname, t.typname), k.contype::text, t.oid IS NOT NULL,
       pg_get_constraintdef(k.oid), k.convalidated, obj_description(k.oid, 'pg_constraint'),
       (SELECT string_agg(a.attname, '_' ORDER BY key.place)
        FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.number),
       {INDEX_COLUMNS},
       array_to_string(x.reloptions, ', '), i.indisvalid, i.indisclustered, i.indisreplident,
       sp.spcname, obj_description(x.oid, 'pg_class'), cardinality(k.conkey),
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
"""

INDEXES = f"""
SELECT n.nspname, x.relname, c.relname, pg_get_indexdef(x.oid), quote_ident(x.relname),
       i.indisvalid, i.indisclustered, i.indisreplident, obj_description(x.oid, 'pg_class'),
       {INDEX_COLUMNS},
       (SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0),
       (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.oid),
       (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace),
       c.oid::bigint AS unit
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN :schemas AND c.relkind IN ('r', 'p', 'm') AND NOT {OF_TABLE}
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k
                  WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
"""

TYPES = f"""
SELECT n.nspname, t.typname, t.typtype::text,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid),
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
       t.typnotnull, CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 0) END,
       CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation
            THEN t.typcollation::regcollation::text END,
       CASE WHEN r.rngtypid IS NOT NULL
            THEN format_type(r.rngsubtype, NULL) || ' ' || o.opcname || ' '
                 || r.rngcollation::regcollation::text || ' ' || r.rngcanonical::text || ' '
                 || r.rngsubdiff::text END,
       obj_description(t.oid, 'pg_type')
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_range r ON r.rngtypid = t.oid
LEFT JOIN pg_opclass o ON o.oid = r.rngsubopc
WHERE t.typtype IN ('e', 'd', 'r') AND n.nspname IN :schemas
  AND NOT {IN_EXTENSION.format("pg_type", "t.oid")}
"""

SEQUENCES = f"""
SELECT n.nspname, c.relname, o.relname, a.attname, d.deptype::text,
       format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
       s.seqcache, s.seqcycle, c.relpersistence::text, obj_description(c.oid, 'pg_class'),
       c.oid::regclass::text, coalesce(o.oid, c.oid)::bigint AS unit
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_class o ON o.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid
WHERE n.nspname IN :schemas AND NOT {OF_TABLE}
"""

FUNCTIONS = f"""
SELECT n.nspname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
       p.prokind::text,
       CASE WHEN p.prokind = 'a' THEN
            format_type(p.prorettype, NULL) || ' ' || g.aggkind::text || ' '
            || g.aggtransfn::text || ' ' || g.aggfinalfn::text || ' '
            || g.aggcombinefn::text || ' ' || format_type(g.aggtranstype, NULL) || ' '
            || coalesce(g.agginitval, '')
       ELSE pg_get_functiondef(p.oid) END,
       obj_description(p.oid, 'pg_proc')
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
WHERE n.nspname IN :schemas AND NOT {IN_EXTENSION.format("pg_proc", "p.oid")}
  AND NOT EXISTS (SELECT 1 FROM pg_depend i WHERE i.deptype = 'i'
                  AND i.classid = 'pg_proc'::regclass AND i.objid = p.oid)
"""

TRIGGERS = f"""
SELECT n.nspname, t.tgname, c.relname, 'trigger', pg_get_triggerdef(t.oid), t.tgenabled::text,
       obj_description(t.oid, 'pg_trigger')
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
"""

POLICIES = f"""
SELECT n.nspname, p.polname, c.relname, p.polcmd::text, p.polpermissive,
       (SELECT string_agg(CASE WHEN r.oid = 0 THEN 'public' ELSE pg_get_userbyid(r.oid)::text END,
                          ', ' ORDER BY r.oid) FROM unnest(p.polroles) AS r (oid)),
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),
       obj_description(p.oid, 'pg_policy')
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN :schemas AND NOT {OF_TABLE}
"""

EXTENSIONS = """
SELECT n.nspname, e.extname, e.extversion, obj_description(e.oid, 'pg_extension')
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
"""

STATISTICS = f"""
SELECT n.nspname, s.stxname, c.relname, pg_get_statisticsobjdef(s.oid),
       nullif(s.stxstattarget, -1), obj_description(s.oid, 'pg_statistic_ext'),
       quote_ident(n.nspname) || '.' || quote_ident(s.stxname)
FROM pg_statistic_ext s
JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN pg_class c ON c.oid = s.stxrelid
WHERE n.nspname IN :schemas AND NOT {IN_EXTENSION.format("pg_statistic_ext", "s.oid")}
"""

QUERIES = {
    "relations": RELATIONS,
    "columns": COLUMNS,
    "constraints": CONSTRAINTS,
    "indexes": INDEXES,
    "types": TYPES,
    "sequences": SEQUENCES,
    "functions": FUNCTIONS,
    "triggers": TRIGGERS,
    "policies": POLICIES,
    "extensions": EXTENSIONS,
    "statistics": STATISTICS,
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
