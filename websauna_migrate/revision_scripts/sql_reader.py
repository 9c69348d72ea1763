"""What literal SQL does to tables and types: read statement by statement, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from websauna_migrate.planning.accesses import Access, Key, Kind
from websauna_migrate.revision_scripts.sql_rows import read_rows
from websauna_migrate.revision_scripts.sql_text import (
    QUALIFIED,
    UNKNOWN_PART,
    SqlText,
    names_in,
    parse_name,
    pattern,
    split_list,
)

#: The beginning of the block by which ``revision --autogenerate`` gives an enum type other values.
ENUM_CHANGE = re.compile(
    r"DO \$do\$\s+DECLARE\s+type_oid oid := '((?:[^']|'')+)'::regtype;\s+"
    # Those of today, and of older scripts.
    r"(?:types oid\[\] := ARRAY\[type_oid,|item record;\s+later text)"
)

#: The block by which it gives a column's sequence another type, where another database's author
#: does so.
SEQUENCE_CHANGE = re.compile(
    r"DO \$\$ DECLARE found text; BEGIN "
    r"SELECT pg_get_serial_sequence\('((?:[^']|'')+)', '(?:[^']|'')+'\) INTO found; "
    r"IF found IS NOT NULL THEN EXECUTE 'ALTER SEQUENCE ' \|\| found \|\| ' AS \w+'; END IF; "
    r"END \$\$"
)

#: The values of an enum type, in SQL with its strings.
ENUM_VALUES = pattern(r"\bcreate type Q as enum\s*\(((?:\s*'(?:[^']|'')*'\s*,?)+)\)")

#: What may stand before a statement inside a ``DO`` block.
BLOCK_START = pattern(
    r"\s*(?:begin|else|loop|declare\b.*?\bbegin|(?:els)?if\b.*?\bthen|exception when\b.*?\bthen) "
)
#: The first words of statements that do nothing to tables, columns and types, as far as the
#: patterns below do not say otherwise.
HARMLESS = re.compile(
    r"(?:create|alter|drop|rename|comment|set|reset|show|begin|start|commit|end|rollback|savepoint"
    r"|release|grant|revoke|analyze|analyse|vacuum|explain|lock|unlock|pragma|notify|listen|reindex"
    r"|refresh|checkpoint|cluster|optimize|security|reassign|values|declare|fetch|close|deallocate"
    r"|return|raise|null|perform|if|elsif|else|loop|exit|get|delimiter)\b|\w+\s*:=|$",
    re.IGNORECASE,
)
#: Statements that may do anything to a table.
MAY_DO_ANYTHING = re.compile(
    r"drop (?:owned|database)\b|execute\b|exec\b|call\b|import\b|alter (?:database|role|user)\b"
    r".*\bsearch_path\b".replace(" ", r"\s+"),
    re.IGNORECASE | re.DOTALL,
)
#: A function that is called for what it does: no table is read beside it.
CALL = re.compile(
    rf"(?:select|perform)\s+(?:(?P<first>{QUALIFIED})\s*\((?!.*\bfrom\b)"
    rf"|.*?\bfrom\s+(?P<source>{QUALIFIED})\s*\()",
    re.IGNORECASE | re.DOTALL,
)
#: Functions of servers and of well-known extensions that drop and rename no table.
QUIET_FUNCTIONS = re.compile(
    r"(?:pg_|has_|to_|json|array_|string_|regexp_|quote_|generate_|gen_|uuid_|current_|date_|txid_"
    r"|st_|add_|create_|set_|get_|is_|release_|last_|sqlite_|row_)\w*"
    r"|addgeometrycolumn|cast|changes|char|coalesce|concat|count|currval|database|date|decode|encode"
    r"|exists|extract|format|found_rows|greatest|if|ifnull|lastval|least|left|length|lower|make_date"
    r"|md5|max|min|nextval|now|nullif|random|replace|right|round|schedule|setval|sleep|substring"
    r"|substr|sum|timezone|unnest|upper|user|values|version",
    re.IGNORECASE,
)
#: Statements that take columns, defaults and constraints of tables with them.
CASCADES = re.compile(
    r"drop\s+(?:extension|domain|function|procedure|routine|aggregate|operator|collation|cast)\b"
    r".*\bcascade\s*$",
    re.IGNORECASE | re.DOTALL,
)
#: Statements after which a name without a schema may mean another table.
OTHER_SCHEMA = re.compile(
    r"set\s+(?:(?:local|session)\s+)?(?:search_path|schema)\b|use\s|.*\bset_config\s*\(",
    re.IGNORECASE | re.DOTALL,
)
#: Statements that undo what was done before them.
ROLL_BACK = re.compile(r"rollback\b(?!\s+prepared\b)|abort\b", re.IGNORECASE)
TEMPORARY = pattern(r"create (?:(?:local|global) )?temp(?:orary)? table (?:if not exists )?Q.*")
CREATE_TABLE = pattern(
    r"create (?:(?:unlogged|virtual|foreign) )?table (?P<maybe>if not exists )?Q(.*)"
)
DROP_TABLE = pattern(r"drop (?:temporary )?(?:foreign )?table (?:if exists )?(.*)")
DROP_SCHEMA = pattern(r"drop schema (?:if exists )?(.*)")
RENAME_TABLES = pattern(r"rename tables? (.*)")
ONE_RENAME = pattern(r"\s*Q to Q\s*")
ALTER_TABLE = pattern(r"alter (?:foreign )?table (?P<maybe>if exists )?(?:only )?Q\s*\*? (.*)")
CREATE_TYPE = pattern(r"create (?:type|domain) Q.*")
DROP_TYPE = pattern(r"drop (?:type|domain) (?:if exists )?(.*)")
ALTER_TYPE = pattern(r"alter (?:type|domain) Q (.*)")
CREATE_INDEX = pattern(
    r"create (?:unique )?(?:fulltext |spatial )?index (?:concurrently )?(?P<maybe>if not exists )?"
    r"(?:(?!on )Q )?on (?:only )?Q(.*)"
)
DROP_INDEX = pattern(r"drop index (?:if exists )?I on Q.*")
#: Statements that need a table, and leave its rows and columns as they are.
USES = [
    pattern(r"create (?:or replace )?(?:constraint )?trigger I .*?\bon (?P<tables>Q)"),
    pattern(r"create (?:or replace )?rule I as on \w+ to (?P<tables>Q)"),
    pattern(r"(?:create|alter) policy I on (?P<tables>Q)"),
    pattern(r"drop (?:trigger|policy|rule) (?:if exists )?I on (?P<tables>Q)"),
    pattern(r"create statistics .*\bfrom (?P<tables>Q)"),
    pattern(r"create publication I for table (?:only )?(?P<tables>.*)"),
    pattern(r"cluster (?:verbose )?(?P<tables>Q) using"),
    pattern(r"reindex table (?:concurrently )?(?P<tables>Q)"),
    pattern(
        r"(?:analyze|analyse|vacuum)(?:\s*\([^()]*\))?(?: (?:full|freeze|verbose|analyze|table))* "
        "(?P<tables>Q.*)"
    ),
    pattern(r"lock (?:tables? )?(?:only )?(?P<tables>Q.*)"),
    pattern(
        r"(?:grant|revoke) (?!.*\bon (?:all|database|domain|foreign|function|language|large|"
        r"parameter|procedure|routine|schema|sequence|tablespace|type)\b)"
        r".*?\bon (?:table )?(?P<tables>.*?) (?:to|from)\b"
    ),
]
#: How a new table, or one that is altered, takes something from another one.
TABLES = ("like", "inherits", "parent")
USED_BY_NEW_TABLE = pattern(
    r"(?:^|[(,])\s*like (?P<like>Q)|\binherits\s*\((?P<inherits>[^()]*)\)"
    r"|^partition of (?P<parent>Q)"
)
USED_BY_ALTER = pattern(
    r"(?:(?:no )?inherit|(?:attach|detach) partition|exchange partition \w+ with table) Q"
)
COMMENT = pattern(r"comment on (?P<what>table|column) Q is .*")

RENAME_TO = pattern(r"rename (?:to|as) Q\s*")
SET_SCHEMA = pattern(r"set schema I\s*")
RENAME_COLUMN = pattern(r"rename (?!(?:constraint|index|key) )(?:column )?I to I\s*")
CHANGE_COLUMN = pattern(r"change (?:column )?(?:if exists )?I I .*")
NOT_A_COLUMN = (
    "(?!(?:constraint|primary|unique|foreign|check|exclude|index|key|like|fulltext|spatial|partition|"
    r"period|system)\b)"
)
ADD_COLUMN = pattern(rf"add {NOT_A_COLUMN}(?:column )?(?P<maybe>if not exists )?I (?P<rest>.*)")
#: What gives the rows that are there a value in a new column.
FILLED = re.compile(
    r"\b(?:default|generated|as|(?:small|big)?serial\d?|primary|auto_increment)\b", re.IGNORECASE
)
DROP_COLUMN = pattern(rf"drop {NOT_A_COLUMN}(?:column )?(?:if exists )?I.*")
ALTER_COLUMN = pattern(r"(?:alter|modify) (?:column )?(?:if exists )?I (?P<rest>.*)")
SET_NOT_NULL = pattern(r"set not null\s*")
ADD_CONSTRAINT = pattern(
    r"add (?:constraint I )?(?P<kind>primary key|unique|check|exclude|index|key)\b(.*)"
)
DROP_CONSTRAINT = pattern(r"drop (?:constraint|foreign key|index|key) (?:if exists )?I.*")
CONSTRAINT_NAME = pattern(r"(?:add )?constraint I foreign key.*")
REFERENCES = pattern(r"\breferences Q\s*(?:\(([^()]*)\))?")
FOREIGN_KEY = pattern(r"\bforeign key\s*(?:I\s*)?\(([^()]*)\)\s*$")
COLUMN_START = pattern(rf"\s*{NOT_A_COLUMN}I .*")


def read_sql(sql: str, line: int = 0, *, temporary: set[str] | None = None) -> Iterator[Access]:
    """Yield what literal SQL does, of one statement or several.

    Keywords in any case, quoted identifiers and ``DO`` blocks are understood; an identifier without
    quotes is folded to lower case, as PostgreSQL does. What depends on the server's way of reading
    is not sure, and neither is what a ``DO`` block does. After ``SET search_path``, a name without
    a schema may mean another table.

    :param line: what the accesses give as their line
    :param temporary: names of temporary tables, which are left out; new ones are added
    """
    if own := ENUM_CHANGE.match(sql):
        schema, name = parse_name(own[1].replace("''", "'"))
        yield with_values(Access("alter_type", schema, name, line=line), enum_values(sql))
        return
    if own := SEQUENCE_CHANGE.fullmatch(sql):
        yield Access("use_table", *parse_name(own[1].replace("''", "'")), line=line)
        return
    text = SqlText(sql)
    enums = enum_values(sql) if "enum" in sql.lower() else {}
    temporary = set() if temporary is None else temporary
    sure = not text.doubtful
    if text.doubtful:
        yield Access("unreadable", None, "", line=line, sure=False)
    for statement in text.statements():
        parts, inner_sure = [statement.text], sure
        if re.match(r"\s*do\b", statement.text, re.IGNORECASE):
            parts, inner_sure = list(block_statements(statement.body)), False
        for part in parts:
            if OTHER_SCHEMA.match(part):
                sure = inner_sure = False
                yield Access("use_other_schema", None, "", line=line, sure=False)
            elif ROLL_BACK.match(part):
                yield Access("roll_back", None, "", line=line, sure=False)
            elif found := TEMPORARY.match(part):
                temporary.add(parse_name(found[1])[1])
            for access in read_statement(part):
                if access.schema is not None or access.name not in temporary:
                    access = with_values(access, enums)
                    yield readable(access, line, sure=inner_sure)


def enum_values(sql: str) -> dict[Key, tuple[str, ...]]:
    """Return the values of the enum types that SQL creates, by schema and name."""
    return {
        parse_name(found[1]): tuple(
            value.replace("''", "'") for value in re.findall(r"'((?:[^']|'')*)'", found[2])
        )
        for found in ENUM_VALUES.finditer(sql)
    }


def with_values(access: Access, enums: Mapping[Key, tuple[str, ...]]) -> Access:
    """Return an access to a type with the values that it gets."""
    if access.kind not in ("create_type", "alter_type") or access.key not in enums:
        return access
    return replace(access, rule="enum value", values=enums[access.key])


def readable(access: Access, line: int, *, sure: bool) -> Access:
    """Return an access at its line, or that it cannot be read where a name of it is unknown."""
    names = [access.schema, access.name, access.new_name, access.new_schema]
    names += [access.target_schema, access.target_table]
    destroys = access.kind in ("drop_table", "rename_table", "drop_schema", "drop_type")
    if any(name and UNKNOWN_PART in name for name in names):
        kind: Kind = "unreadable" if destroys else "unreadable_part"
        return Access(kind, None, "", line=line, sure=False)
    if any(UNKNOWN_PART in one for one in (*access.columns, *access.target_columns)):
        access = replace(access, columns=(), target_columns=())
        if access.kind in ("add_column", "drop_column", "rename_column"):
            return Access("unreadable_part", None, "", line=line, sure=False)
    return replace(access, line=line, sure=sure and access.sure)


def block_statements(body: str) -> Iterator[str]:
    """Yield the statements of the body of a ``DO`` block; what it computes is unreadable."""
    if not body:
        yield "execute"
    for inner in SqlText(body).statements():
        part = inner.text
        while start := BLOCK_START.match(part):
            part = part[start.end() :]
        yield part.strip()
        if re.search(r"\bexecute\b", part, re.IGNORECASE):
            yield "execute"


def read_statement(statement: str) -> Iterator[Access]:
    """Yield what one statement does; nothing for a kind of statement that does nothing."""
    called = CALL.match(statement)
    if MAY_DO_ANYTHING.match(statement) or (
        called and not QUIET_FUNCTIONS.fullmatch(parse_name(called["first"] or called["source"])[1])
    ):
        yield Access("unreadable", None, "", sure=False)
    elif CASCADES.match(statement):
        yield Access("unreadable_part", None, "", sure=False)
    elif found := CREATE_TABLE.match(statement):
        yield from read_new_table(found)
    elif found := DROP_TABLE.match(statement):
        yield from named_first(found[1], "drop_table")
    elif found := RENAME_TABLES.match(statement):
        for part in split_list(found[1]):
            if one := ONE_RENAME.match(part):
                key, (new_schema, new_name) = parse_name(one[1]), parse_name(one[2])
                new_schema = new_schema or key[0]
                yield Access("rename_table", *key, new_name=new_name, new_schema=new_schema)
    elif found := ALTER_TABLE.match(statement):
        key = parse_name(found[2])
        for action in split_list(found[3]):
            does = list(read_action(action.strip(), key)) or [Access("use_table", *key)]
            for access in does:
                yield replace(access, sure=access.sure and not found["maybe"])
    elif found := CREATE_INDEX.match(statement):
        label = parse_name(found[2])[1] if found[2] else None
        columns = tuple(dict.fromkeys(names_in(found[4])))
        key = parse_name(found[3])
        yield Access("create_index", *key, columns, label=label, sure=not found["maybe"])
    elif found := DROP_INDEX.match(statement):
        yield Access("drop_index", *parse_name(found[2]), label=parse_name(found[1])[1])
    elif found := CREATE_TYPE.match(statement):
        yield Access("create_type", *parse_name(found[1]))
    elif found := DROP_TYPE.match(statement):
        yield from named_first(found[1], "drop_type")
    elif found := DROP_SCHEMA.match(statement):
        for access in named_first(found[1], "drop_schema"):
            yield replace(access, schema=None)
    elif found := ALTER_TYPE.match(statement):
        key = parse_name(found[1])
        yield from read_rename(found[2], "rename_type", key) or (Access("alter_type", *key),)
    elif found := COMMENT.match(statement):
        yield from read_comment(found)
    elif used := next(filter(None, (one.match(statement) for one in USES)), None):
        yield from named_first(used["tables"], "use_table")
    else:
        rows = list(read_rows(statement))
        yield from rows
        if not rows and not HARMLESS.match(statement) and not OTHER_SCHEMA.match(statement):
            yield Access("unreadable", None, "", sure=False)


def read_new_table(found: re.Match[str]) -> Iterator[Access]:
    """Yield what ``CREATE TABLE`` does."""
    key, rest = parse_name(found[2]), found[3].strip()
    parts = list(split_list(rest.removeprefix("("))) if rest.startswith("(") else []
    starts = [COLUMN_START.match(part) for part in parts]
    columns = tuple(parse_name(start[1])[1] for start in starts if start)
    sure = not found["maybe"]
    yield Access("create_table", *key, columns, sure=sure)
    for part, start in zip(parts, starts, strict=True):
        column = parse_name(start[1])[1] if start else None
        for access in read_references(part, key, column):
            yield replace(access, sure=sure)
    for used in USED_BY_NEW_TABLE.finditer(rest):
        yield from named_first(next(filter(None, used.group(*TABLES))), "use_table")
    if query := re.search(r"\bas\s*\(?\s*((?:select|with)\b.*)", rest, re.IGNORECASE | re.DOTALL):
        yield from read_rows(query[1])


def read_action(action: str, key: Key) -> Iterator[Access]:
    """Yield what one action of ``ALTER TABLE`` does."""
    column: str | None = None
    if RENAME_TO.fullmatch(action) or SET_SCHEMA.fullmatch(action):
        yield from read_rename(action, "rename_table", key)
    elif found := RENAME_COLUMN.fullmatch(action) or CHANGE_COLUMN.match(action):
        old, new = (parse_name(found[group])[1] for group in (1, 2))
        kind: Kind = "rename_column" if old != new else "alter_column"
        yield Access(kind, *key, (old,), new_name=new if old != new else None)
    elif found := ADD_CONSTRAINT.match(action):
        label = parse_name(found[1])[1] if found[1] else None
        rule = "unique" if found["kind"].lower().startswith(("unique", "primary")) else None
        columns = names_in(found[3])
        if re.match(r"\s*using\s+index\b", found[3], re.IGNORECASE):
            # The index is there: its rows are unique.
            rule, columns = None, ()
        yield Access("add_constraint", *key, columns, label=label, rule=rule)
    elif found := DROP_CONSTRAINT.match(action):
        yield Access("drop_constraint", *key, label=parse_name(found[1])[1])
    elif found := ADD_COLUMN.match(action):
        column = parse_name(found[2])[1]
        rest = found["rest"]
        empty = re.search(r"\bnot\s+null\b", rest, re.IGNORECASE) and not FILLED.search(rest)
        rule = "not null" if empty else None
        yield Access("add_column", *key, (column,), sure=not found["maybe"], rule=rule)
    elif found := DROP_COLUMN.match(action):
        yield Access("drop_column", *key, (parse_name(found[1])[1],))
    elif found := ALTER_COLUMN.match(action):
        restricts = re.match(r"(?:set|drop)\s+(?:not|default)\b", found["rest"], re.IGNORECASE)
        kind = "restrict_column" if restricts else "alter_column"
        rule = "not null" if SET_NOT_NULL.match(found["rest"]) else None
        yield Access(kind, *key, (parse_name(found[1])[1],), rule=rule)
    elif found := USED_BY_ALTER.match(action):
        yield Access("use_table", *key)
        yield Access("use_table", *parse_name(found[1]))
    yield from read_references(action, key, column)


def read_rename(action: str, kind: Kind, key: Key) -> tuple[Access, ...]:
    """Return the rename of a table or type, or its move to another schema."""
    schema, name = key
    if found := RENAME_TO.fullmatch(action):
        new_schema, new_name = parse_name(found[1])
        return (Access(kind, schema, name, new_name=new_name, new_schema=new_schema or schema),)
    if found := SET_SCHEMA.fullmatch(action):
        return (Access(kind, schema, name, new_name=name, new_schema=parse_name(found[1])[1]),)
    return ()


def read_references(text: str, key: Key, column: str | None) -> Iterator[Access]:
    """Yield the foreign key of a column or constraint definition."""
    if found := REFERENCES.search(text):
        columns: tuple[str, ...] = () if column is None else (column,)
        if constraint := FOREIGN_KEY.search(text[: found.start()]):
            columns = names_in(constraint[2])
        name = CONSTRAINT_NAME.match(text.strip())
        target_schema, target_table = parse_name(found[1])
        yield Access(
            "foreign_key",
            *key,
            columns,
            target_schema=target_schema,
            target_table=target_table,
            target_columns=names_in(found[2] or ""),
            label=parse_name(name[1])[1] if name else None,
        )


def read_comment(found: re.Match[str]) -> Iterator[Access]:
    """Yield what ``COMMENT ON`` is about."""
    if found["what"].lower() == "table":
        yield Access("comment_on", *parse_name(found[2]))
    else:
        table, _, column = found[2].rpartition(".")
        if table:
            yield Access("comment_on", *parse_name(table), names_in(column))


def named_first(text: str, kind: Kind) -> Iterator[Access]:
    """Yield an access to each table or type that a list begins its parts with."""
    for part in split_list(text):
        if found := re.match(rf"\s*({QUALIFIED})", part):
            yield Access(kind, *parse_name(found[1]))
