"""The text of SQLite's CREATE TABLE, taken apart as it was written."""

from __future__ import annotations

import re

from websauna_migrate.facts.sqlite_tokens import unquoted, written_tokens

#: What ends the type of a column.
COLUMN_WORDS = frozenset(
    {
        *("constraint", "primary", "not", "null", "unique", "check", "default", "collate"),
        *("references", "generated", "as"),
    }
)

ON_CONFLICT = re.compile(
    r"(not null|null|primary key(?: asc| desc)?|unique(?: \([^)]*\))?) on conflict (\w+)"
)


def spelling(item: str) -> str:
    """Return the type of a column as CREATE TABLE has it, with single spaces."""
    _, *rest = written_tokens(item)
    found: list[str] = []
    depth = 0
    for token in rest:
        if not depth and token.lower() in COLUMN_WORDS:
            break
        depth += {"(": 1, ")": -1}.get(token, 0)
        found.append(token)
    return re.sub(r" ?([(),]) ?", r"\1", " ".join(found)).replace(",", ", ")


def words_of(sql: str) -> list[str]:
    """Return the words of some SQL outside of brackets, in lower case; quoted ones as they are."""
    found: list[str] = []
    depth = 0
    for token in written_tokens(sql):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if not depth and token != ")":
            found.append(token.lower() if token[0] not in "'\"`[" else token)
    return found


def conflicts(words: list[str]) -> list[tuple[str, str]]:
    """Return the constraints with ON CONFLICT in the words of an item, each with its word."""
    return [(match[1], match[2].upper()) for match in ON_CONFLICT.finditer(" ".join(words))]


def key_parts(item: str) -> list[tuple[str, str]]:
    """Return the columns of a key in CREATE TABLE, each with the words behind it."""
    found: list[tuple[str, str]] = []
    name, words = "", ""
    for token in written_tokens(item[item.index("(") + 1 :]):
        if token in (",", ")"):
            found.append((name, words))
            name, words = "", ""
            if token == ")":
                break
        elif not name:
            name = unquoted(token)
        else:
            words = f"{words} {token}".strip()
    return found


def parts_of(text: str) -> tuple[list[str], str]:
    """Return the items in the brackets of a CREATE TABLE, and what follows them in lower case."""
    items: list[list[str]] = [[]]
    tail: list[str] = []
    depth = 0
    closed = False
    for token in written_tokens(text):
        if token == ")":
            depth -= 1
            closed = closed or not depth
            if not depth:
                continue
        if closed:
            tail.append(token.lower())
        elif depth == 1 and token == ",":
            items.append([])
        elif depth:
            items[-1].append(token)
        depth += token == "("
    return [" ".join(item) for item in items if item], " ".join(tail)
