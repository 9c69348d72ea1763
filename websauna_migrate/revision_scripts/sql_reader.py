"""What literal SQL creates, drops and renames: read statement by statement, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from websauna_migrate.revision_scripts.effects import Effect, Key, Kind, ScriptEffects

__all__ = ["UNKNOWN_PART", "parse_name", "read_sql"]

#: Stands in a string for a part that only the running script knows.
UNKNOWN_PART = "\x00"

IDENTIFIER = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[\w$\x00]+)'
QUALIFIED = rf"{IDENTIFIER}(?:\s*\.\s*{IDENTIFIER})*"


def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of SQL: ``I`` is an identifier, ``Q`` a qualified one, a space is space."""
    text = re.sub(r"\bI\b", lambda _: f"({IDENTIFIER})", text)
    text = re.sub(r"\bQ\b", lambda _: f"({QUALIFIED})", text)
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


#: What SQL is made of, as far as its statements are told apart: string, dollar string, comment.
LEXEME = re.compile(
    r"(?P<string>'(?:[^']|'')*')"
    r"|(?P<quoted>\"(?:[^\"]|\"\")*\")"
    r"|\$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$"
    r"|(?P<comment>--[^\n]*|/\*.*?\*/)"
    r"|(?P<end>;)",
    re.DOTALL,
)

#: What may stand before a statement inside a ``DO`` block.
BLOCK_START = pattern(
    r"\s*(?:begin|else|loop|declare\b.*?\bbegin|(?:els)?if\b.*?\bthen|exception when\b.*?\bthen) "
)
INTERESTING = re.compile(r"\b(?:create|alter|drop|rename)\b|^\s*\x00", re.IGNORECASE)
UNKNOWN_STATEMENT = re.compile(r"(?:(?:create|alter|drop|rename)\s+)?\x00", re.IGNORECASE)

CREATE_TABLE = pattern(r"create (?:(?:unlogged|virtual|foreign) )?table (?:if not exists )?Q(.*)")
DROP_TABLE = pattern(r"drop (?:foreign )?table (?:if exists )?(.*)")
RENAME_TABLES = pattern(r"rename tables? (.*)")
ONE_RENAME = pattern(r"\s*Q to Q\s*")
ALTER_TABLE = pattern(r"alter (?:foreign )?table (?:if exists )?(?:only )?Q\s*\*? (.*)")
CREATE_TYPE = pattern(r"create (?:type|domain) Q.*")
DROP_TYPE = pattern(r"drop (?:type|domain) (?:if exists )?(.*)")
ALTER_TYPE = pattern(r"alter (?:type|domain) Q (.*)")

RENAME_TO = pattern(r"rename (?:to|as) Q\s*")
SET_SCHEMA = pattern(r"set schema I\s*")
RENAME_COLUMN = pattern(r"rename (?!(?:constraint|index|key) )(?:column )?I to I\s*")
CHANGE_COLUMN = pattern(r"change (?:column )?(?:if exists )?I I .*")
NOT_A_COLUMN = (
    "(?!(?:constraint|primary|unique|foreign|check|exclude|index|key|fulltext|spatial|partition|"
    r"period|system)\b)"
)
ADD_COLUMN = pattern(rf"add {NOT_A_COLUMN}(?:column )?(?:if not exists )?I .*")
DROP_COLUMN = pattern(rf"drop {NOT_A_COLUMN}(?:column )?(?:if exists )?I.*")
REFERENCES = pattern(r"\breferences Q\s*(?:\(([^()]*)\))?")
FOREIGN_KEY = pattern(r"\bforeign key\s*(?:I\s*)?\(([^()]*)\)\s*$")
COLUMN_START = pattern(rf"\s*{NOT_A_COLUMN}I .*")


def read_sql(sql: str, line: int = 0) -> ScriptEffects:
    """Return the schema effects of literal SQL, of one statement or several.

    Keywords in any case, quoted identifiers and ``DO`` blocks are understood; an identifier without
    quotes is folded to lower case, as PostgreSQL does. Temporary tables are left out.

    :param line: what the effects give as their line
    """
    if not INTERESTING.search(sql):
        return ScriptEffects((), 0)
    effects: list[Effect] = []
    unreadable = 0
    for statement in split_statements(sql):
        if UNKNOWN_STATEMENT.match(statement):
            unreadable += 1
            continue
        for effect in read_statement(statement):
            if UNKNOWN_PART in repr_of(effect):
                unreadable += 1
            else:
                effects.append(replace(effect, line=line))
    return ScriptEffects(tuple(effects), unreadable)


def repr_of(effect: Effect) -> str:
    """Return all names of an effect in one text."""
    names = (effect.schema, effect.name, effect.column, effect.new_name, effect.new_schema)
    targets = (effect.target_schema, effect.target_table, *effect.target_columns)
    return " ".join(name or "" for name in (*names, *targets))


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of SQL without comments, and with all strings emptied."""
    parts: list[str] = []
    position = 0
    body = ""
    for found in LEXEME.finditer(sql):
        parts.append(sql[position : found.start()])
        position = found.end()
        if found["end"]:
            yield from finish_statement("".join(parts), body)
            parts, body = [], ""
        elif found["quoted"]:
            parts.append(found["quoted"])
        elif found["comment"]:
            parts.append(" ")
        else:
            parts.append("''")
            body = found["body"] or body
    parts.append(sql[position:])
    yield from finish_statement("".join(parts), body)


def finish_statement(statement: str, body: str) -> Iterator[str]:
    """Yield one statement, or the statements of the body of a ``DO`` block."""
    if body and re.match(r"\s*do\b", statement, re.IGNORECASE):
        for inner in split_statements(body):
            while start := BLOCK_START.match(inner):
                inner = inner[start.end() :]
            yield inner.strip()
    else:
        yield statement.strip()


def read_statement(statement: str) -> Iterator[Effect]:
    """Yield the effects of one statement; none for a kind of statement that has none."""
    if found := CREATE_TABLE.match(statement):
        key = parse_name(found[1])
        yield Effect("create_table", *key)
        for part in split_list(found[2].strip().removeprefix("(")):
            column = COLUMN_START.match(part)
            yield from read_references(part, key, parse_name(column[1])[1] if column else None)
    elif found := DROP_TABLE.match(statement):
        for name in split_list(found[1]):
            yield from named_first(name, "drop_table")
    elif found := RENAME_TABLES.match(statement):
        for part in split_list(found[1]):
            if one := ONE_RENAME.match(part):
                schema, name = parse_name(one[1])
                new_schema, new_name = parse_name(one[2])
                yield Effect(
                    "rename_table", schema, name, new_name=new_name, new_schema=new_schema or schema
                )
    elif found := ALTER_TABLE.match(statement):
        key = parse_name(found[1])
        for action in split_list(found[2]):
            yield from read_action(action.strip(), key)
    elif found := CREATE_TYPE.match(statement):
        yield Effect("create_type", *parse_name(found[1]))
    elif found := DROP_TYPE.match(statement):
        for name in split_list(found[1]):
            yield from named_first(name, "drop_type")
    elif found := ALTER_TYPE.match(statement):
        yield from read_rename(found[2], "rename_type", parse_name(found[1]))


def read_action(action: str, key: Key) -> Iterator[Effect]:
    """Yield the effects of one action of ``ALTER TABLE``."""
    column: str | None = None
    if RENAME_TO.fullmatch(action) or SET_SCHEMA.fullmatch(action):
        yield from read_rename(action, "rename_table", key)
    elif found := RENAME_COLUMN.fullmatch(action) or CHANGE_COLUMN.match(action):
        old, new = (parse_name(found[group])[1] for group in (1, 2))
        if old != new:
            yield Effect("rename_column", *key, column=old, new_name=new)
    elif found := ADD_COLUMN.match(action):
        column = parse_name(found[1])[1]
        yield Effect("add_column", *key, column=column)
    elif found := DROP_COLUMN.match(action):
        yield Effect("drop_column", *key, column=parse_name(found[1])[1])
    yield from read_references(action, key, column)


def read_rename(action: str, kind: Kind, key: Key) -> Iterator[Effect]:
    """Yield the rename of a table or type, or its move to another schema."""
    schema, name = key
    if found := RENAME_TO.fullmatch(action):
        new_schema, new_name = parse_name(found[1])
        yield Effect(kind, schema, name, new_name=new_name, new_schema=new_schema or schema)
    elif found := SET_SCHEMA.fullmatch(action):
        yield Effect(kind, schema, name, new_name=name, new_schema=parse_name(found[1])[1])


def read_references(text: str, key: Key, column: str | None) -> Iterator[Effect]:
    """Yield the foreign key of a column or constraint definition."""
    if found := REFERENCES.search(text):
        if constraint := FOREIGN_KEY.search(text[: found.start()]):
            local = names_in(constraint[2])
            column = local[0] if len(local) == 1 else None
        target_schema, target_table = parse_name(found[1])
        yield Effect(
            "foreign_key",
            *key,
            column=column,
            target_schema=target_schema,
            target_table=target_table,
            target_columns=names_in(found[2] or ""),
        )


def named_first(text: str, kind: Kind) -> Iterator[Effect]:
    """Yield the effect on the table or type that a text begins with."""
    if found := re.match(rf"\s*({QUALIFIED})", text):
        yield Effect(kind, *parse_name(found[1]))


def names_in(text: str) -> tuple[str, ...]:
    """Return the identifiers of a list of columns."""
    return tuple(parse_name(found)[1] for found in re.findall(QUALIFIED, text))


def parse_name(text: str) -> Key:
    """Return the schema and name of a qualified identifier; a database before them is left out."""
    parts = [
        part[1:-1].replace('""', '"') if part[0] in '"`[' else part.lower()
        for part in re.findall(IDENTIFIER, text)
    ]
    return (parts[-2] if len(parts) > 1 else None, parts[-1])


def split_list(text: str) -> Iterator[str]:
    """Yield the parts of a list at commas outside of parentheses, up to one that closes it."""
    depth = start = 0
    for found in re.finditer(r'"[^"]*"|[(),]', text):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            depth -= 1
            if depth < 0:
                yield text[start : found.start()]
                return
        elif found[0] == "," and depth == 0:
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]
