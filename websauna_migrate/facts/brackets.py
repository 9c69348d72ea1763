"""Where brackets in SQL begin and end, and its parts between separators: strings are left out.

PostgreSQL writes an expression otherwise once its own words were written back, as in a database
from a dump; :func:`settled` gives one text for both. ``IN`` on VARCHAR casts its list as a whole,
and each element of it where that was read again; the brackets of a conjunction at the beginning of
another one, as ``BETWEEN`` writes them, go (``makeAndExpr`` in the server's ``gram.y``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

#: A string, a name in quotes, or a bracket.
PIECES = re.compile(
    r"E'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|[()\[\]]", re.DOTALL
)

Span = tuple[int, int]


def brackets(text: str) -> Iterator[Span]:
    """Yield where each pair of brackets of a text begins and ends, inner ones first."""
    opened = []
    for found in PIECES.finditer(text):
        if found[0] in ("(", "["):
            opened.append(found.start())
        elif found[0] in (")", "]") and opened:
            yield opened.pop(), found.start()


def outermost(text: str) -> list[Span]:
    """Return where the brackets of a text that are in no others begin and end."""
    found: list[Span] = []
    for start, end in brackets(text):
        while found and found[-1][0] > start:
            found.pop()
        found.append((start, end))
    return found


def split(text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators that are in no bracket and no string."""
    hidden = text
    for start, end in outermost(text):
        hidden = hidden[:start] + "x" * (end + 1 - start) + hidden[end + 1 :]
    hidden = PIECES.sub(lambda found: "x" * len(found[0]), hidden)
    places = [found.span() for found in re.finditer(separator, hidden)]
    starts = [0, *(end for _, end in places)]
    ends = [*(start for start, _ in places), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def is_one(text: str) -> bool:
    """True if a text is one pair of brackets, with all that is in it."""
    return outermost(text) == [(0, len(text) - 1)]


def split_brackets(sql: str) -> tuple[str, str]:
    """Return what is in the brackets that SQL begins with, and what follows them.

    Where it begins with none all of it follows; brackets that stay open hold all of it.
    """
    if not sql.startswith("("):
        return "", sql
    end = next((end for start, end in brackets(sql) if start == 0), len(sql))
    return sql[1:end], sql[end + 1 :]


def squeezed(text: str) -> str:
    """Return an expression without spaces, quotes, brackets, and the case of letters."""
    return re.sub(r'[\s()"`]', "", text).lower()


def split_commas(sql: str) -> Iterator[str]:
    """Yield the parts of a list."""
    yield from (one.strip() for one in split(sql, ","))


def renamed_in(text: str, columns: Mapping[str, str]) -> str:
    """Return an expression in SQL with columns renamed; what is in a string stays."""
    if not columns:
        return text
    words = "|".join(re.escape(old) for old in sorted(columns, key=len, reverse=True))
    pattern = re.compile(rf"'(?:[^']|'')*'|(?<![\w.$])({words})(?![\w$(])")
    return pattern.sub(lambda match: columns[match[1]] if match[1] else match[0], text)


#: What is written otherwise: a list whose elements are casts, a conjunction that begins with one.
MOVING = re.compile(r"ARRAY\[\(|\(\(.* (?:AND|OR) ", re.DOTALL)


def settled(value: object) -> object:
    """Return what the server said, in the one text of it; what is no text as it is."""
    if not isinstance(value, str) or not MOVING.search(value):
        return value
    before = None
    while before != value:
        before = value
        for start, end in brackets(value):
            inside = value[start + 1 : end]
            written = as_a_whole if value[start] == "[" else without_first_brackets
            found = written(inside)
            if found is None:
                continue
            if value[start] != "[":
                value = f"{value[: start + 1]}{found}{value[end:]}"
            elif value[:start].endswith("ARRAY"):
                value = f"{value[: start - 5]}(ARRAY[{found}])::text[]{value[end + 1 :]}"
            else:
                continue
            break
    return value


def as_a_whole(inside: str) -> str | None:
    """Return the elements of a list without their casts to text; ``None`` if one has none."""
    elements = split(inside, ", ")
    for one in elements:
        if not re.fullmatch(r"\(.*\)::text", one, re.DOTALL) or not is_one(one[:-6]):
            return None
    return ", ".join(one[1:-7] for one in elements)


def without_first_brackets(inside: str) -> str | None:
    """Return a conjunction or disjunction whose first operand is one itself as a single one."""
    for separator in (" AND ", " OR "):
        first, *rest = split(inside, separator)
        if rest and is_one(first) and len(split(first[1:-1], separator)) > 1:
            return separator.join([first[1:-1], *rest])
    return None
