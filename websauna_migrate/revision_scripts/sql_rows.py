"""Which rows literal SQL reads and writes: tables, and every column that a statement may mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from websauna_migrate.planning.accesses import Access, Key
from websauna_migrate.revision_scripts.sql_text import (
    IDENTIFIER,
    QUALIFIED,
    UNKNOWN_PART,
    names_in,
    parse_name,
    pattern,
    split_list,
)

INSERT = pattern(
    r"(?P<verb>insert|replace)(?: (?:low_priority|ignore|or \w+))* (?:into )?Q"
    r"(?:\s+as\s+\w+)?\s*(?P<columns>\([^()]*\))?(?P<rest>.*)"
)
UPDATE = pattern(r"update (?:or \w+ )?(?:only )?Q\b(?P<alias>.*?)\bset\b(?P<rest>.*)")
DELETE = pattern(r"delete from (?:only )?Q(?P<rest>.*)")
MERGE = pattern(r"merge into (?:only )?Q(?P<rest>.*)")
TRUNCATE = pattern(r"truncate (?:table )?(?:only )?(?P<rest>.*)")
COPY_FROM = pattern(r"(?:copy|load data .* into table) Q\s*(?P<columns>\([^()]*\))?(?P<rest>.*)")
VIEW = pattern(
    r"(?:create|alter) (?:or replace )?(?:temp(?:orary)? )?(?:recursive )?(?:materialized )?view "
    r".*?\bas (?P<rest>.*)"
)
QUERY = re.compile(r"\(*\s*(?:select|with|table|values)\b", re.IGNORECASE)

#: A parameter, or a type behind a cast.
PARAMETER = re.compile(r"::?\s*\w+|%\(\w+\)s")

#: Ends the assignments of an UPDATE.
AFTER_SET = re.compile(r"\b(?:from|where|returning|order|limit)\b", re.IGNORECASE)
#: A name behind a table's, which no keyword is.
ALIAS = (
    r"(?:as\s+)?(?!(?:join|inner|left|right|full|cross|natural|straight_join|on|using|where|group|order"
    r"|having|limit|offset|fetch|for|window|union|intersect|except|returning|set|when|values|select"
    rf"|lateral|tablesample)\b){IDENTIFIER}"
)
SOURCE = re.compile(
    rf"(?<!distinct\s)\b(?:from|join|straight_join|using|table)\s+(?:only\s+|lateral\s+)?"
    rf"(?P<list>{QUALIFIED}(?!\s*\()(?:\s+{ALIAS})?"
    rf"(?:\s*,\s*(?:lateral\s+)?{QUALIFIED}(?!\s*\()(?:\s+{ALIAS})?)*)",
    re.IGNORECASE,
)
#: FROM inside of a function's brackets, where no table follows.
FUNCTION_FROM = re.compile(
    r"\b((?:extract|trim|substring|overlay)\s*\([^()]*?)\bfrom\b", re.IGNORECASE
)
FROM = re.compile(r"(?<!distinct\s)\bfrom\b", re.IGNORECASE)
#: Ends the list of a FROM.
AFTER_FROM = re.compile(
    r"\b(?:where|group|order|having|limit|offset|fetch|for|window|union|intersect|except|returning"
    r"|on|when|set|join|left|right|inner|full|cross|natural)\b|;",
    re.IGNORECASE,
)
BRACKETS = re.compile(r"\([^()]*\)")
ONE_SOURCE = re.compile(
    rf"\s*(?:lateral\s+)?(?P<name>{QUALIFIED})(?:\s+(?P<alias>{ALIAS}))?", re.IGNORECASE
)
WITH_NAME = pattern(r"I\s*(?:\([^()]*\))?\s*as (?:(?:not )?materialized )?\(")
INNER_WRITE = pattern(r"\(\s*(?P<write>(?:insert into|update|delete from|merge into) .*)")
STAR = re.compile(rf"(?:(?:\bselect|\bdistinct|\ball|,)\s*|({IDENTIFIER})\s*\.\s*)\*", re.I)
DOTTED = re.compile(rf"({IDENTIFIER})\s*\.\s*({IDENTIFIER})(?!\s*\.)")

KEYWORDS = frozenset(
    """
    all and any as asc between by case cast coalesce count cross current_timestamp date desc
    distinct do else end exists false for from full group having if in inner insert interval into
    is join left lateral like limit lower max min natural not null offset on only or order outer
    over partition replace returning right row select set sum table then true union update upper
    using values when where with
    """.split()  # noqa: SIM905 - one word a line would be a page
)
MAIN_VERB = re.compile(
    r"(?P<open>\()|(?P<close>\))|\b(?:select|insert|update|delete|merge)\b", re.I
)


def read_rows(statement: str) -> Iterator[Access]:
    """Yield what a statement reads and writes; nothing if it is no statement about rows."""
    rest, view = statement, False
    if found := VIEW.match(statement):
        rest, view = found["rest"], True
    elif found := INSERT.match(statement):
        key = parse_name(found[2])
        columns = names_in(found["columns"] or "")
        is_query = QUERY.match((found["columns"] or "").strip()) is not None
        yield Access("insert_rows", *key, () if is_query else columns)
        rest = (found["columns"] or "") * is_query + found["rest"]
        if found["verb"].lower() == "replace" or re.search(
            r"\bdo\s+update|duplicate key", rest, re.I
        ):
            yield Access("write_table", *key)
    elif found := UPDATE.match(statement):
        yield from read_update(found)
        return
    elif found := DELETE.match(statement) or MERGE.match(statement):
        yield Access("write_table", *parse_name(found[1]))
        rest = found["rest"]
    elif found := TRUNCATE.match(statement):
        for part in split_list(found["rest"]):
            if one := ONE_SOURCE.match(part):
                yield Access("write_table", *parse_name(one["name"]))
        return
    elif found := COPY_FROM.match(statement):
        incoming = re.match(r"\s*from\b", found["rest"], re.I) or statement[:4].lower() == "load"
        columns = names_in(found["columns"] or "")
        yield Access("insert_rows" if incoming else "read_table", *parse_name(found[1]), columns)
        return
    elif not QUERY.match(statement):
        return
    else:
        for written in writes_in(statement):
            yield from (one for one in read_rows(written) if one.kind != "read_table")
    for access in read_sources(rest):
        yield Access("create_view", *access.key, access.columns) if view else access


def writes_in(query: str) -> Iterator[str]:
    """Yield what a query with names for queries writes: in these, and itself."""
    if found := INNER_WRITE.search(query):
        yield found["write"]
    depth = 0
    for found in MAIN_VERB.finditer(query):
        depth += bool(found["open"]) - bool(found["close"])
        if depth == 0 and not found["close"] and found[0].lower() != "select":
            yield query[found.start() :]
            return


def read_update(found: re.Match[str]) -> Iterator[Access]:
    """Yield what an UPDATE writes, and what it reads of the same table and others."""
    key, rest = parse_name(found[1]), found["rest"]
    end = AFTER_SET.search(rest)
    assigned = rest[: end.start()] if end else rest
    written: list[str] = []
    values: list[str] = []
    for part in split_list(assigned):
        left, _, right = part.partition("=")
        written += names_in(left)
        values.append(right)
    others = " ".join(values) + " " + (rest[end.start() :] if end else "")
    if re.search(r",|\bjoin\b", found["alias"], re.IGNORECASE):
        # As MySQL has it: any of these tables may be written.
        list_ = f"from {found[1]}{found['alias']}"
        for table in sources_in(list_):
            yield Access("write_table", *table, tuple(dict.fromkeys(written)))
        yield from read_sources(f"{list_} where {others}")
        return
    yield Access("write_table", *key, tuple(dict.fromkeys(written)))
    alias = [one for one in names_in(found["alias"]) if one != "as"]
    yield from read_sources(others, {key: {key[1], *alias}})


def read_sources(text: str, known: dict[Key, set[str]] | None = None) -> Iterator[Access]:
    """Yield the tables that a query reads, each with all columns that it may mean of it.

    :param known: tables that are read besides, with the names that they go by
    """
    text = FUNCTION_FROM.sub(r"\1,", text)
    tables = {**sources_in(text), **(known or {})}
    stars = [parse_name(star)[1] if star else None for star in STAR.findall(text)]
    dotted = [(parse_name(of)[1], parse_name(name)[1]) for of, name in DOTTED.findall(text)]
    text = PARAMETER.sub(" ", text)
    plain = columns_in(re.sub(rf"{IDENTIFIER}\s*\.\s*(?:{IDENTIFIER}|\*)", " ", text))
    for key, names in tables.items():
        if any(star is None or star in names for star in stars):
            yield Access("read_table", *key)
            continue
        if UNKNOWN_PART in text and (known is None or key not in known):
            yield Access("read_table", *key)
            continue
        mine = [column for of, column in dotted if of in names]
        columns = tuple(dict.fromkeys([*mine, *plain]))
        if columns or known is None or key not in known:
            yield Access("read_table", *key, columns)


def sources_in(text: str) -> dict[Key, set[str]]:
    """Return the tables that a query reads, each with the names that it goes by."""
    tables: dict[Key, set[str]] = {}
    made_here = {parse_name(one)[1] for one in WITH_NAME.findall(text)}
    lists = [found["list"] for found in SOURCE.finditer(text)]
    for part in (part for list_ in (*lists, *later_sources(text)) for part in split_list(list_)):
        if one := ONE_SOURCE.match(part):
            key = parse_name(one["name"])
            if key[0] is None and (key[1] in made_here or key[1] in KEYWORDS):
                continue
            names = tables.setdefault(key, {key[1]})
            if one["alias"]:
                names.add(parse_name(names_in(one["alias"])[-1])[1])
    return tables


def later_sources(text: str) -> Iterator[str]:
    """Yield what stands behind a comma in a FROM that also has a query or a function."""
    for found in FROM.finditer(text):
        rest = up_to_close(text[found.end() :])
        if "(" not in rest:
            continue
        while (flat := BRACKETS.sub("\x01", rest)) != rest:
            rest = flat
        for part in AFTER_FROM.split(rest, maxsplit=1)[0].split(",")[1:]:
            if "\x01" not in part:
                yield part


def up_to_close(text: str) -> str:
    """Return a text up to the bracket that closes what was open before it."""
    depth = 0
    for found in re.finditer(r"[()]", text):
        depth += 1 if found[0] == "(" else -1
        if depth < 0:
            return text[: found.start()]
    return text


def columns_in(text: str) -> Iterable[str]:
    """Return the identifiers in a text that may be columns."""
    names = (parse_name(one)[1] for one in re.findall(IDENTIFIER, text))
    return [
        name
        for name in names
        if name not in KEYWORDS and not name.isdecimal() and UNKNOWN_PART not in name
    ]
