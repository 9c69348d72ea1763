"""SQLite's own SQL read by structure: what CREATE TABLE and CREATE INDEX say, part by part.

SQLite keeps each definition as it was written. Names, quotes, comments, spaces and the case of
words are made alike; nothing else is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = [
    "ColumnSql",
    "NotUnderstood",
    "TableSql",
    "Token",
    "read_table",
    "tokens_of",
    "unquoted",
    "write",
    "written_tokens",
]

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
TABLE_WORDS = frozenset({"constraint", "primary", "unique", "check", "foreign"})


class NotUnderstood(Exception):
    """A definition is not of the form that SQLite's documentation describes."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, name in quotes, string, number or sign; names and words in lower case, unquoted."""

    kind: str
    text: str

    def is_word(self, *words: str) -> bool:
        """True if it is one of some words, not in quotes."""
        return self.kind == "word" and self.text in words

    def is_sign(self, sign: str) -> bool:
        """True if it is a sign."""
        return self.kind == "sign" and self.text == sign


@dataclass
class ColumnSql:
    """A column of CREATE TABLE.

    :ivar attributes: what its constraints say that belong to the column alone
    """

    name: str
    type: str
    attributes: dict[str, str | bool] = field(default_factory=dict)


@dataclass
class TableSql:
    """What a CREATE TABLE says.

    :ivar constraints: their names, ``None`` where they have none, and definitions, those of columns
        in the form that they have at a table
    """

    columns: list[ColumnSql] = field(default_factory=list)
    constraints: list[tuple[str | None, str]] = field(default_factory=list)
    options: tuple[str, ...] = ()


def written_tokens(sql: str) -> Iterator[str]:
    """Yield the tokens of a statement as they are written, without spaces and comments."""
    return (match[0] for match in TOKEN.finditer(sql) if match.lastgroup != "space")


def tokens_of(sql: str) -> list[Token]:
    """Return the tokens of a statement, without spaces and comments."""
    found = []
    for match in TOKEN.finditer(sql):
        kind, text = str(match.lastgroup), match[0]
        if kind == "name":
            text = unquoted(text).lower()
        elif kind in ("word", "number"):
            text = text.lower()
        if kind != "space":
            found.append(Token(kind, text))
    return found


def unquoted(text: str) -> str:
    """Return a name without its quotes, if it has any."""
    if len(text) > 1 and text[0] in "\"`'":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text[1:-1] if text[0] == "[" else text


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
        if out and not (text in (",", ")", ".") or out[-1] in "(." or is_call(before, text)):
            out += " "
        out += text
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


def is_call(before: Token | None, text: str) -> bool:
    """True if a bracket follows the name of a function."""
    return (
        text == "("
        and before is not None
        and before.kind == "word"
        and (before.text not in RESERVED)
    )


class Reader:
    """Reads tokens from the first to the last."""

    def __init__(self, tokens: Sequence[Token], names: Collection[str]) -> None:
        """Begin at the first."""
        self.tokens = tokens
        self.names = names
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


def read_table(sql: str, names: Collection[str]) -> TableSql:
    """Return what a CREATE TABLE says.

    :param names: names of tables and columns, in lower case
    :raises NotUnderstood: if it is none, as that of a virtual table
    """
    reader = Reader(tokens_of(sql), names)
    reader.expect("create", "table")
    reader.name()
    body = reader.bracket()
    table = TableSql()
    options = reader.tokens[reader.place :]
    table.options = tuple(sorted(write(part).upper() for part in split(options) if part))
    in_columns = True
    for part in split(body):
        if not part:
            raise NotUnderstood
        inner = Reader(part, names)
        if in_columns and not part[0].is_word(*TABLE_WORDS):
            read_column(inner, table)
        else:
            in_columns = False
            read_constraints(inner, table)
    return table


def split(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield what stands between commas that are in no brackets."""
    part: list[Token] = []
    depth = 0
    for token in tokens:
        depth += token.is_sign("(") - token.is_sign(")")
        if token.is_sign(",") and not depth:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def read_column(reader: Reader, table: TableSql) -> None:
    """Read a column with its constraints."""
    name = reader.name()
    type_: list[Token] = []
    while reader.peek().kind != "end" and not reader.peek().is_word(*COLUMN_WORDS):
        if reader.peek().is_sign("("):
            type_ += [Token("sign", "("), *reader.bracket(), Token("sign", ")")]
        else:
            type_.append(reader.take())
    column = ColumnSql(name, write(type_).upper())
    table.columns.append(column)
    quoted = write([Token("name", name)], reader.names)
    given: str | None = None
    while reader.peek().kind != "end":
        if reader.accept("constraint"):
            given = reader.name()
            continue
        found = read_column_constraint(reader, column, quoted)
        if found:
            table.constraints.append((given, found))
        given = None


def read_column_constraint(reader: Reader, column: ColumnSql, quoted: str) -> str | None:
    """Read a constraint of a column; return those that a table may have too, in its words."""
    attributes = column.attributes
    if reader.accept("primary", "key"):
        order = "DESC" if reader.accept("desc") else ""
        reader.accept("asc")
        conflict = reader.conflict()
        attributes["autoincrement"] = reader.accept("autoincrement")
        return f"PRIMARY KEY {order + ' ' if order else ''}({quoted}){conflict}"
    if reader.accept("unique"):
        return f"UNIQUE ({quoted}){reader.conflict()}"
    if reader.accept("check"):
        return f"CHECK {reader.in_brackets()}{reader.conflict()}"
    if reader.accept("references"):
        return f"FOREIGN KEY ({quoted}) {references(reader)}"
    if reader.accept("not", "null"):
        attributes["not null"] = reader.conflict().strip() or True
    elif reader.accept("null"):
        reader.conflict()
    elif reader.accept("collate"):
        name = reader.name()
        if name.upper() != "BINARY":  # which is what a column without the word has
            attributes["collation"] = name
    elif reader.accept("default"):
        attributes["default"] = read_default(reader)
    elif reader.accept("generated", "always", "as") or reader.accept("as"):
        text = reader.in_brackets()
        stored = reader.accept("stored")
        reader.accept("virtual")
        attributes["generated"] = f"{text} {'stored' if stored else 'virtual'}"
    elif reader.accept("not", "deferrable") or reader.accept("deferrable"):
        # It follows REFERENCES, where it was read already; alone it means nothing.
        raise NotUnderstood
    else:
        raise NotUnderstood
    return None


def read_default(reader: Reader) -> str:
    """Read a default, without the brackets around it: SQLite's own description has none."""
    if reader.peek().is_sign("("):
        return write(reader.bracket(), reader.names)
    sign = reader.take()
    if sign.is_sign("+") or sign.is_sign("-"):
        return write([sign, reader.take()]).replace(" ", "")
    return write([sign])


def references(reader: Reader) -> str:
    """Read what follows REFERENCES."""
    out = f"REFERENCES {write([Token('name', reader.name())], reader.names)}"
    if reader.peek().is_sign("("):
        out += f" {reader.in_brackets()}"
    actions = []
    while True:
        if reader.accept("on"):
            event = reader.take().text.upper()
            action = reader.take().text.upper()
            if action in ("SET", "NO"):
                action += f" {reader.take().text.upper()}"
            if action != "NO ACTION":
                actions.append(f"ON {event} {action}")
        elif reader.accept("match"):
            # SQLite reads it and does nothing with it.
            reader.name()
        else:
            break
    out += "".join(f" {action}" for action in sorted(actions))
    negated = reader.accept("not", "deferrable")
    if negated or reader.accept("deferrable"):
        deferred = reader.accept("initially", "deferred")
        reader.accept("initially", "immediate")
        if deferred and not negated:
            out += " DEFERRABLE INITIALLY DEFERRED"
    return out


def read_constraints(reader: Reader, table: TableSql) -> None:
    """Read constraints of a table; SQLite takes several without a comma between them."""
    given: str | None = None
    while reader.peek().kind != "end":
        if reader.accept("constraint"):
            given = reader.name()
            continue
        if reader.accept("primary", "key"):
            columns = reader.bracket()
            if columns and columns[-1].is_word("autoincrement"):
                name = columns[0].text
                columns = columns[:-1]
                for column in table.columns:
                    if column.name == name:
                        column.attributes["autoincrement"] = True
            text = f"PRIMARY KEY ({write(columns, reader.names)}){reader.conflict()}"
        elif reader.accept("unique"):
            text = f"UNIQUE {reader.in_brackets()}{reader.conflict()}"
        elif reader.accept("check"):
            text = f"CHECK {reader.in_brackets()}{reader.conflict()}"
        elif reader.accept("foreign", "key"):
            columns_text = reader.in_brackets()
            reader.expect("references")
            text = f"FOREIGN KEY {columns_text} {references(reader)}"
        else:
            raise NotUnderstood
        table.constraints.append((given, text))
        given = None
