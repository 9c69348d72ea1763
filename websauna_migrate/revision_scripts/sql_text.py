"""The text of SQL: statements told apart, strings and comments taken out, names parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

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
    r"(?P<escaped>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*')"
    r"|(?P<string>'(?:[^']|'')*')"
    r"|(?P<quoted>\"(?:[^\"]|\"\")*\")"
    r"|\$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$"
    r"|(?P<comment>--[^\n]*|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)"
    r"|(?P<nested>/\*)"
    r"|(?P<end>;)",
    re.DOTALL,
)
#: Begins a statement with statements of its own, up to an END of its own.
WITH_BODY = re.compile(
    r"\s*create\s+(?:or\s+replace\s+)?(?:definer\s*=\s*\S+\s+)?(?:temp(?:orary)?\s+)?"
    r"(?:trigger|function|procedure|event)\b.*\bbegin\b",
    re.IGNORECASE | re.DOTALL,
)
BODY_END = re.compile(r"\s*end\b(?!\s+(?:if|loop|case|while|repeat)\b)", re.IGNORECASE)


class Statement(NamedTuple):
    """One statement, without comments and with all strings emptied.

    :ivar body: what a dollar string in it holds
    """

    text: str
    body: str


class SqlText:
    """SQL of one statement or several.

    :ivar doubtful: servers read it in different ways: ``\\'`` in a string ends it or does not,
        comments inside of comments, comments that MySQL executes
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.doubtful = bool(re.search(r"/\*!|^\s*#", sql, re.MULTILINE))
        self._statements = list(self._split())

    def statements(self) -> Iterator[Statement]:
        """Yield the statements; the body of a trigger or procedure is no statement."""
        inside = False
        for statement in self._statements:
            if inside:
                inside = BODY_END.match(statement.text) is None
                continue
            yield statement
            inside = WITH_BODY.match(statement.text) is not None

    def _split(self) -> Iterator[Statement]:
        parts: list[str] = []
        position, body = 0, ""
        while found := LEXEME.search(self.sql, position):
            parts.append(self.sql[position : found.start()])
            position = found.end()
            if found["end"]:
                yield Statement("".join(parts).strip(), body)
                parts, body = [], ""
            elif found["quoted"]:
                parts.append(found["quoted"])
            elif found["nested"]:
                self.doubtful = True
                position = end_of_comment(self.sql, found.start())
                parts.append(" ")
            elif found["comment"]:
                parts.append(" ")
            else:
                self.doubtful |= bool(found["string"]) and "\\'" in found["string"]
                parts.append("''")
                body = found["body"] or body
        parts.append(self.sql[position:])
        yield Statement("".join(parts).strip(), body)


def end_of_comment(sql: str, start: int) -> int:
    """Return where a comment ends that has comments in it, as PostgreSQL reads it."""
    depth = 0
    for found in re.finditer(r"/\*|\*/", sql[start:]):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return start + found.end()
    return len(sql)


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of SQL without comments, and with all strings emptied."""
    return (statement.text for statement in SqlText(sql).statements())


def names_in(text: str) -> tuple[str, ...]:
    """Return the identifiers of a list of columns."""
    return tuple(parse_name(found)[1] for found in re.findall(QUALIFIED, text))


def parse_name(text: str) -> tuple[str | None, str]:
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
