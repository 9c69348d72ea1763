"""Looks at a PostgreSQL database again and again, which read what changed since the one before.

Each look reads marks of the catalogue's rows: the transaction that wrote a row stands in it. A
*unit* is a table with its columns, constraints, indexes and sequences; what belongs to none is the
*rest*. Where the mark of a unit is another one, its facts are read again. The texts of other units
follow from the names that they use: where a name changed, or something beside the units that may
be named, everything is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from websauna_migrate.facts.catalogue import Look, snapshot
from websauna_migrate.facts.fact import Pieces
from websauna_migrate.facts.postgresql import (
    Reading,
    needed_queries,
    rows_of,
    schema_pieces,
    without_path,
)
from websauna_migrate.facts.postgresql_catalogue import BY_UNIT, FIRST, QUERIES

PARTS = """
WITH part AS MATERIALIZED (
    SELECT c.oid, coalesce(i.indrelid, d.refobjid, c.oid) AS unit, n.nspname, c.relname,
           concat(c.xmin, ' ', t.xmin) AS version
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
    LEFT JOIN pg_depend d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass
         AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
         AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    WHERE n.nspname IN :schemas
)
"""

#: The mark of a row is its writer, by the row's own number; those of a unit add up.
UNITS = f"""{PARTS}
SELECT unit::bigint, sum(mark)::text FROM (
    SELECT unit, hashtextextended(version, oid::bigint) AS mark FROM part
    UNION ALL
    SELECT unit, hashtextextended(a.xmin::text, a.attrelid::bigint * 2048 + a.attnum)
    FROM part JOIN pg_attribute a ON a.attrelid = part.oid AND a.attnum > 0
    UNION ALL
    SELECT unit, hashtextextended(x.xmin::text, x.oid::bigint)
    FROM part JOIN pg_attrdef x ON x.adrelid = part.oid
    UNION ALL
    SELECT unit, hashtextextended(concat(x.xmin, ' ', m.xmin), x.oid::bigint)
    FROM part JOIN pg_constraint x ON x.conrelid = part.oid
    LEFT JOIN pg_description m ON m.objoid = x.oid AND m.classoid = 'pg_constraint'::regclass
    UNION ALL
    SELECT unit, hashtextextended(concat(x.xmin, ' ', x.indisvalid), x.indexrelid::bigint)
    FROM part JOIN pg_index x ON x.indexrelid = part.oid
    UNION ALL
    SELECT unit, hashtextextended(x.xmin::text, x.inhrelid::bigint + x.inhseqno)
    FROM part JOIN pg_inherits x ON x.inhrelid = part.oid
    UNION ALL
    SELECT unit, hashtextextended(x.xmin::text, x.ftrelid::bigint)
    FROM part JOIN pg_foreign_table x ON x.ftrelid = part.oid
    UNION ALL
    SELECT unit, hashtextextended(x.xmin::text, x.objoid::bigint * 2048 + x.objsubid)
    FROM part JOIN pg_description x ON x.objoid = part.oid AND x.classoid = 'pg_class'::regclass
    UNION ALL
    SELECT unit, hashtextextended(concat(x.xmin, ' ', x.refobjid), x.objid::bigint)
    FROM part JOIN pg_depend x ON x.objid = part.oid AND x.classid = 'pg_class'::regclass
         AND x.deptype IN ('a', 'i', 'e')
    UNION ALL
    SELECT unit, hashtextextended(x.xmin::text, x.seqrelid::bigint)
    FROM part JOIN pg_sequence x ON x.seqrelid = part.oid
) AS marked GROUP BY unit
"""

NAMES = f"""{PARTS}
SELECT oid::bigint AS part, 0 AS number, concat(quote_ident(nspname), '.', quote_ident(relname))
FROM part WHERE unit::bigint IN :units
UNION ALL
SELECT oid::bigint, attnum, attname::text
FROM part JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
WHERE unit::bigint IN :units
"""

#: Catalogues of what a text may name, by the condition of their rows.
NAMED = {
    "pg_namespace": "nspname !~ '^pg_'",
    # The types of tables are called as these, those of arrays as their elements.
    "pg_type": f"oid >= {FIRST} AND typrelid = 0 AND typcategory <> 'A'",
    **dict.fromkeys(
        (
            *("pg_enum", "pg_proc", "pg_operator", "pg_opclass", "pg_opfamily", "pg_collation"),
            *("pg_am", "pg_foreign_server", "pg_ts_config", "pg_ts_dict", "pg_extension"),
        ),
        f"oid >= {FIRST}",
    ),
}
UNNAMED = {
    "pg_constraint": "conrelid = 0",
    "pg_trigger": "NOT tgisinternal",
    **dict.fromkeys(("pg_rewrite", "pg_policy", "pg_statistic_ext"), f"oid >= {FIRST}"),
}
REST = " UNION ALL ".join(
    [
        *(
            f"SELECT '{name}', oid::bigint, xmin::text FROM {name} WHERE {condition}"
            for name, condition in (NAMED | UNNAMED).items()
        ),
        "SELECT 'pg_roles', 0, md5(string_agg(rolname, ' ' ORDER BY oid)) FROM pg_roles",
        "SELECT 'pg_description', 0, sum(hashtextextended(xmin::text, objoid::bigint))::text "
        f"FROM pg_description WHERE classoid = 'pg_namespace'::regclass "
        f"OR (objoid >= {FIRST} AND classoid <> 'pg_class'::regclass)",
        "SELECT 'pg_depend', 0, sum(hashtextextended(xmin::text, objid::bigint))::text "
        "FROM pg_depend WHERE deptype = 'e'",
    ]
)


@dataclass
class Marks:
    """What the catalogue's rows were like.

    :ivar units: the mark of each unit, by its oid
    :ivar rest: by catalogue and oid
    """

    units: Mapping[int, str]
    rest: Mapping[tuple[str, int], str]


class PostgreSQLLook(Look):
    """Looks at a PostgreSQL database, and knows what it saw.

    :ivar parts: facts of each unit, by the words in which the server told them; of 0 the rest
    """

    def forget(self) -> None:
        """Let the next look take all for new."""
        self.marks = Marks({}, {})
        self.parts: dict[int, Pieces] = {}
        self.names: dict[tuple[int, int], str] = {}

    def look(self) -> tuple[str, Pieces, Pieces]:
        """Return the default schema, the facts that came, and those that went."""
        with snapshot(self.connection), without_path(self.connection) as (default, schemas):
            wanted = [row[0] for row in schemas]
            before, self.marks = (
                self.marks,
                Marks(
                    {row[0]: row[1] for row in rows_of(self.connection, UNITS, wanted)},
                    {(row[0], row[1]): row[2] for row in rows_of(self.connection, REST, wanted)},
                ),
            )
            units = self.changed(before, wanted)
            changed = {0, *self.parts, *self.marks.units} if units is None else units
            queries = needed_queries(self.connection) if 0 in changed else QUERIES
            rows = {
                name: rows_of(self.connection, query, wanted, units if name in BY_UNIT else None)
                for name, query in queries.items()
                if 0 in changed or (changed and name in BY_UNIT)
            }
        former: Pieces = {}
        for unit in changed:
            former |= self.parts.pop(unit, {})
        now: Pieces = schema_pieces(schemas) if 0 in changed else {}
        if now:
            self.parts[0] = dict(now)
        for unit, key, facts in Reading(rows).pieces(former) if rows else ():
            self.parts.setdefault(unit, {})[key] = now[key] = facts
        came = {key: facts for key, facts in now.items() if key not in former}
        return default, came, {key: facts for key, facts in former.items() if key not in now}

    def changed(self, before: Marks, schemas: Sequence[str]) -> set[int] | None:
        """Return the units that are to be read again, with 0 for the rest; ``None`` for all."""
        now = self.marks
        changed = {unit for unit, _ in before.units.items() ^ now.units.items()}
        names: dict[tuple[int, int], str] = {}
        if changed:
            for part, number, name in rows_of(self.connection, NAMES, schemas, changed):
                names[part, number] = name
        renamed = any(self.names.get(key, name) != name for key, name in names.items())
        self.names |= names
        if renamed or any(
            before.rest.get(key, mark) != mark
            for key, mark in now.rest.items()
            if key[0] in (*NAMED, "pg_roles")
        ):
            return None
        if before.rest != now.rest or not before.units.keys().isdisjoint(changed):
            # The texts of views follow from what they stand on.
            changed.add(0)
        return changed
