"""One text for an expression that PostgreSQL writes otherwise once its own words were written back.

A database from a dump has such texts. ``IN`` on VARCHAR casts its list as a whole, and each element
of it where that was read again; the brackets of a conjunction at the beginning of another one, as
``BETWEEN`` writes them, go (``makeAndExpr`` in the server's ``gram.y``).
"""

from __future__ import annotations

import re

from websauna_migrate.facts.brackets import brackets, is_one, split

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
