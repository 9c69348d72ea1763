"""The tokens of SQLite's own SQL, and a reader that goes over them.

Names, quotes, comments, spaces and the case of words are made alike; nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from websauna_migrate.models.model_sql import unquoted

TOKEN = re.compile(
    r"""
      (?P<space> \s+ | --[^\n]*(?:\n|\Z) | /\*.*?(?:\*/|\Z) )
    | (?P<string> [xX]?'(?:[^']|'')*' )
    | (?P<name> "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<number> 0[xX][0-9a-fA-F]+ | (?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
    | (?P<sign> \|\||->>|->|<<|>>|<=|>=|<>|==|!= | . )
    """,
    re.VERBOSE | re.DOTALL,
)

#: Words that begin a column's constraint and so end its type.
COLUMN_WORDS = frozenset(
    {
        *("constraint", "primary", "not", "null", "unique", "check", "default", "collate"),
        *("references", "generated", "as"),
    }
)


class NotUnderstood(Exception):
    """A definition is not of the form that SQLite's documentation describes."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, name in quotes, string, number or sign; names and words in lower case, unquoted.

    :ivar written: as it stands in the statement
    :ivar start: where it stands in the statement
    """

    kind: str
    text: str
    written: str = field(default="", compare=False)
    start: int = field(default=0, compare=False)

    def is_word(self, *words: str) -> bool:
        """True if it is one of some words, not in quotes."""
        return self.kind == "word" and self.text in words

    def is_sign(self, sign: str) -> bool:
        """True if it is a sign."""
        return self.kind == "sign" and self.text == sign


def written_tokens(sql: str) -> Iterator[str]:
    """Yield the tokens of a statement as they are written, without spaces and comments."""
    return (match[0] for match in TOKEN.finditer(sql) if match.lastgroup != "space")


@lru_cache(maxsize=16)
def tokens_of(sql: str) -> tuple[Token, ...]:
    """Return the tokens of a statement, without spaces and comments.

    It is mostly asked twice for the same: for the words in it, and for what it says.
    """
    found = []
    for match in TOKEN.finditer(sql):
        kind, text = str(match.lastgroup), match[0]
        if kind == "name":
            text = unquoted(text).lower()
        elif kind in ("word", "number"):
            text = text.lower()
        if kind != "space":
            found.append(Token(kind, text, match[0], match.start()))
    return tuple(found)


def quoted(name: str) -> str:
    """Return a name in quotes: SQLite has more words of its own than PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def write(tokens: Sequence[Token], names: Collection[str] = ()) -> str:
    """Return tokens as text, the same for what means the same.

    :param names: names of tables and columns, in lower case: in quotes or not, they are these. What
        else stands in double quotes may be a string, as SQLite has it, and keeps them.
    """
    out = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        text = token.text
        if token.kind == "name" and (
            text not in names or not re.fullmatch(r"[^\W\d]\w*", text) or text in RESERVED
        ):
            text = '"' + text.replace('"', '""') + '"'
        # A bracket may follow the name of a function.
        named = before is not None and before.kind == "word" and before.text not in RESERVED
        if out and not (text in (",", ")", ".") or out[-1] in "(." or (named and text == "(")):
            out += " "
        out += text
    return out


def as_written(tokens: Sequence[Token]) -> str:
    """Return tokens as they were written, on one line and without comments."""
    out = ""
    end = 0
    for token in tokens:
        out += " " * bool(out and token.start > end) + token.written
        end = token.start + len(token.written)
    return out


#: Words that are written before a bracket and are no function.
RESERVED = frozenset(
    {
        *COLUMN_WORDS,
        *("and", "or", "in", "on", "key", "values", "using", "when", "then", "else", "between"),
        *("like", "glob", "is", "select", "where", "from", "exists", "foreign", "table", "index"),
        *("order", "group", "set", "to", "update", "delete", "insert", "into", "limit", "join"),
        *("case", "end", "desc", "asc", "escape", "having", "if", "transaction", "create", "drop"),
    }
)


class Reader:
    """Reads tokens from the first to the last."""

    def __init__(
        self,
        tokens: Sequence[Token],
        names: Collection[str],
        keys: Mapping[str, str] | None = None,
    ) -> None:
        """Begin at the first.

        :param names: names of tables and columns, in lower case
        :param keys: the columns of tables' primary keys in brackets
        """
        self.tokens = tokens
        self.names = names
        self.keys = keys or {}
        self.place = 0

    def peek(self) -> Token:
        """Return the next token, an empty one at the end."""
        return self.tokens[self.place] if self.place < len(self.tokens) else Token("end", "")

    def take(self) -> Token:
        """Return the next token and go behind it."""
        token = self.peek()
        if token.kind == "end":
            raise NotUnderstood
        self.place += 1
        return token

    def accept(self, *words: str) -> bool:
        """Go behind some words, if they are next; true if they were."""
        ahead = self.tokens[self.place : self.place + len(words)]
        if len(ahead) == len(words) and all(
            t.is_word(w) for t, w in zip(ahead, words, strict=True)
        ):
            self.place += len(words)
            return True
        return False

    def expect(self, *words: str) -> None:
        """Go behind some words that must be next."""
        if not self.accept(*words):
            raise NotUnderstood

    def name(self) -> str:
        """Return the next token as a name."""
        token = self.take()
        if token.kind in ("word", "name"):
            return token.text
        if token.kind == "string":
            return token.text[1:-1].replace("''", "'").lower()
        raise NotUnderstood

    def bracket(self) -> list[Token]:
        """Return what stands in the next pair of brackets."""
        if not self.take().is_sign("("):
            raise NotUnderstood
        depth, start = 1, self.place
        while depth:
            token = self.take()
            depth += token.is_sign("(") - token.is_sign(")")
        return list(self.tokens[start : self.place - 1])

    def in_brackets(self) -> str:
        """Return the next pair of brackets as text."""
        return f"({write(self.bracket(), self.names)})"

    def conflict(self) -> str:
        """Return an ON CONFLICT clause with a space in front, if it is next."""
        return f" ON CONFLICT {self.take().text.upper()}" if self.accept("on", "conflict") else ""
