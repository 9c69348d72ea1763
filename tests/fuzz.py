"""What the fuzz tests share: how many cases there are, what may come out, and odd texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from pyramid.exceptions import ConfigurationError

from websauna_migrate.errors import MigrationError

__all__ = [
    "SECRET",
    "cases",
    "chain_of",
    "forms_of",
    "hostile",
    "hostile_text",
    "named",
    "seeds",
    "shown",
]

T = TypeVar("T")

#: Stands in a random password, and nowhere else.
SECRET = "Zq7Xv9"


def cases(count: int) -> settings:
    """Return the settings of a fuzz test: the same cases each time, so that CI is no lottery."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def named(function: Callable[[], T]) -> T | MigrationError:
    """Return what a function gives, or the named error that it raises: nothing else may come."""
    try:
        return function()
    except MigrationError as exc:
        message = str(exc)
        assert message.strip(), f"{type(exc).__name__} says nothing"
        assert "Traceback" not in message
        return exc
    except ConfigurationError as exc:
        pytest.fail(f"no name of ours: {exc!r}")


def chain_of(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that Python would print with it."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def shown(*things: Any) -> str:
    """Return all that could be seen of some objects; of an error also what it came from."""
    words = []
    for thing in things:
        parts = list(chain_of(thing)) if isinstance(thing, BaseException) else [thing]
        words += [text for part in parts for text in (str(part), repr(part))]
    return "\n".join(words)


def forms_of(password: str) -> set[str]:
    """Return a password as it may stand in a URL, in a log line or in a repr."""
    return {password, quote(password, safe=""), quote_plus(password), repr(password)[1:-1]}


#: What means something to SQL, to a format, to a driver, to a path or to a terminal.
PIECES = (
    *(
        "'",
        '"',
        "`",
        ";",
        "--",
        "/*",
        "*/",
        "\\",
        ".",
        "%",
        "%s",
        "%(x)s",
        ":name",
        "?",
        "$1",
        "{}",
    ),
    *(
        "$$",
        "[",
        "]",
        "(",
        ")",
        " ",
        "\t",
        "\n",
        "\r",
        "\0",
        "\x1b[31m",
        "@",
        "+",
        "-",
        ":",
        ",",
        "#",
    ),
    *(
        "é",
        "ß",
        "İ",
        "名前",
        "\u202e",
        "\U0001f600",
        "\ufeff",
        "\u0301",
        "a",
        "B",
        "select",
        "user",
    ),
    *("DROP TABLE canary", 'x"; DROP TABLE canary; --', "x'; DROP TABLE canary; --"),
    *("x`; DROP TABLE canary; -- ", "pg_catalog", "sqlite_master", "0", "1e9", "None", "a" * 70),
)


def seeds() -> st.SearchStrategy[random.Random]:
    """Draw a source of choices: drawing each choice would take most of the time of a test."""
    return st.integers(0, 2**40).map(random.Random)


def hostile_text(rng: random.Random) -> str:
    """Return a text that begins or ends something wherever it is put in unquoted."""
    return "".join(rng.choices(PIECES, k=rng.choice((0, 1, 1, 2, 3, 5))))


hostile = seeds().map(hostile_text)
