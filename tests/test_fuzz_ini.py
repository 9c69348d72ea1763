"""Whatever an INI file holds: a named error, or what a plain parser reads from it."""

from __future__ import annotations

import configparser
import itertools
import logging
import random
from pathlib import Path
from typing import Any

import plaster.loaders
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from fuzz import SECRET, cases, named, seeds, shown
from websauna_migrate.cli import ws_alembic
from websauna_migrate.cli.clients.start import database_url
from websauna_migrate.errors import IniError, MigrationError
from websauna_migrate.ini.loader import config_uri

LOADERS = ("ws", "ws+ini", "file+ini", "file", "ini", "egg")

KNOWN: dict[str, Any] = {}

NUMBERS = itertools.count()

SECTIONS = ("app:main", "app:x", "DEFAULT", "alembic", "includes", "server:main", "a b", "é")

OPTIONS = (
    "a",
    "b",
    "A",
    "use",
    "sqlalchemy.url",
    "include_ini_files",
    "set a",
    "get a",
    "here",
    "é",
)

FRAGMENTS = (
    *("x", "y z", "%", "%%", "%(", "%()s", "%(here)s", "%(__file__)s", "%(a)s", "%(b)s", "%(é)s"),
    *(
        "%(nowhere)s",
        "=",
        ":",
        "#",
        ";",
        "[",
        "]",
        "\n ",
        "\n\n  ",
        "\t",
        "'",
        '"',
        "\\",
        "é",
        "\U0001f600",
    ),
    *("egg:nothing", "config:a.ini", "config:a.ini#x", "call:nowhere:main", "sqlite://", SECRET),
)

INCLUDES = (
    *(
        "a.ini",
        "b.ini",
        "./a.ini",
        "top.ini",
        "../top.ini",
        "missing.ini",
        ".",
        "/",
        "%(here)s/a.ini",
    ),
    *("%(here)s/%%", "%(nowhere)s/a.ini", "http://example.com/a.ini", "RESOURCE://json/a.ini"),
    *(
        "resource://json/a.ini",
        "resource://",
        "resource:///a.ini",
        "resource://.x/a.ini",
        "file:a.ini",
    ),
    *(
        "resource://no_such_package/a.ini",
        "resource://os.path/a.ini",
        "resource://a\0b/a.ini",
        "a\0b",
    ),
    *("resource://json/../../etc/passwd", "resource://json", "é.ini", "x" * 5000, "x:y", ","),
)


FILES = ("include_ini_files", "use")

JUNK = (b"", b"", b"\0", b"\xff", b"\r", b"\x85", b"\n[", b"\nx\n", b"\n[DEFAULT]\n", b"=" * 10_000)


def value(rng: random.Random) -> str:
    return "".join(rng.choices(FRAGMENTS, k=rng.choice((0, 1, 1, 2, 3))))


def ini_file(rng: random.Random, includes: bool) -> bytes:
    """Return what may stand in an INI file, or nearly."""
    lines: list[str] = []
    for section in rng.sample(SECTIONS, rng.randrange(5)) + rng.choices(
        SECTIONS, k=rng.random() < 0.1
    ):
        lines.append(f"[{section}]")
        chosen = rng.sample(OPTIONS, rng.randrange(4)) + rng.choices(OPTIONS, k=rng.random() < 0.1)
        # The name of a file is no secret.
        texts = [(o, value(rng).replace(SECRET, "z") if o in FILES else value(rng)) for o in chosen]
        lines += [f"{option} = {text}" for option, text in texts]
    if includes and rng.random() < 0.6:
        named_files = rng.choices(INCLUDES, k=rng.choice((1, 1, 2, 3)))
        lines += ["[includes]", "include_ini_files =", *(f"    {name}" for name in named_files)]
    content = "\n".join(lines).encode(rng.choice(["utf-8"] * 9 + ["utf-8-sig", "utf-16"]))
    if rng.random() < 0.2:
        place = rng.randrange(len(content) + 1)
        junk = rng.choice(JUNK) or rng.randbytes(rng.randrange(6))
        content = content[:place] + junk + content[place:]
    return content


def ini_files(*, includes: bool = True) -> st.SearchStrategy[bytes]:
    """Draw an INI file; from a seed, or else most of the time would go into drawing."""
    return seeds().map(lambda rng: ini_file(rng, includes))


@pytest.fixture(autouse=True)
def quick_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plaster look for loaders once: it reads the metadata of all that is installed."""
    look = plaster.loaders._iter_ep_in_dists
    monkeypatch.setattr(
        plaster.loaders,
        "_iter_ep_in_dists",
        lambda scheme, groups: KNOWN.setdefault(scheme, None) or look_up(look, scheme, groups),
    )


def look_up(look: Any, scheme: str, groups: list[str]) -> list[Any]:
    KNOWN[scheme] = list(look(scheme, groups)) if scheme in LOADERS else []
    return KNOWN[scheme]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def write(folder: Path, top: bytes, *others: bytes) -> str:
    """Write a case's files and return the path of the top one."""
    place = folder / str(next(NUMBERS))
    place.mkdir()
    for name, content in zip(("top.ini", "a.ini", "b.ini"), (top, *others), strict=False):
        (place / name).write_bytes(content)
    return str(place / "top.ini")


def read_all(path: str) -> dict[str, dict[str, str]]:
    """Return all that a loader says of a file."""
    loader = plaster.get_loader(config_uri(path), protocols=["wsgi"])
    found = {section: dict(loader.get_settings(section)) for section in loader.get_sections()}
    found["DEFAULT"] = dict(loader.get_settings("DEFAULT"))
    return found


NESTED = (
    b"[app:main]\n"
    + b"\n".join(b"a%d = %%(a%d)s%%(a%d)s" % (n, n + 1, n + 1) for n in range(40))
    + b"\na40 = x\n"
)

DEEP = b"[app:main]\n" + b"\n".join(b"a%d = %%(a%d)s" % (n, n + 1) for n in range(2000))


@cases(500)
@given(ini_files(), ini_files(), ini_files())
@example(b"[includes]\ninclude_ini_files = a\0b\n", b"", b"")
@example(b"[includes]\ninclude_ini_files = resource://.x/a.ini\n", b"", b"")
@example(b"[app:main]\nget a = nowhere\n", b"", b"")
@example(NESTED, b"", b"")
@example(DEEP + b"\na2000 = x\n", b"", b"")
@example(b"", b"", b"")
def test_a_file_is_read_or_named(folder: Path, top: bytes, first: bytes, second: bytes) -> None:
    found = named(lambda: read_all(write(folder, top, first, second)))
    if isinstance(found, MigrationError):
        assert isinstance(found, IniError)
        assert SECRET not in shown(found)


@cases(200)
@given(ini_files(includes=False))
def test_without_includes_it_is_what_a_plain_parser_reads(folder: Path, content: bytes) -> None:
    path = write(folder, content)
    found = named(lambda: read_all(path))
    plain = configparser.RawConfigParser()
    plain.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        plain.read_string(content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"))
    except (configparser.Error, UnicodeDecodeError):
        assert isinstance(found, MigrationError)
        return
    if plain.has_section("includes") and plain.get("includes", "include_ini_files", fallback=""):
        return
    if isinstance(found, MigrationError):
        assert b"%(" in content or b"get a" in content
        return
    for section in plain.sections():
        for option, value in plain.items(section):
            if "%" not in value and not option.startswith(("set ", "get ")):
                changed = plain.has_option(section, f"set {option}")
                changed |= plain.has_option(section, f"get {option}")
                if changed or option == "here":
                    continue
                default = plain.defaults().get(option)
                assert found[section].get(option, default) == value


@cases(150)
@given(ini_files(), ini_files())
def test_the_database_is_found_or_an_error_named(folder: Path, top: bytes, first: bytes) -> None:
    path = write(folder, top, first)
    found = named(lambda: database_url(path))
    assert isinstance(found, URL | MigrationError)
    if isinstance(found, MigrationError):
        assert SECRET not in shown(found)


URI_PIECES = (
    *(
        "ws://",
        "file:",
        "#",
        "?",
        "%",
        "%00",
        "[",
        "]",
        "://",
        "/",
        "x.ini",
        "=",
        "&",
        "%(a",
        ":",
        "a",
    ),
    *("é", "\0", "\n", "..", "~", "//", "egg:", "\U0001f600", " "),
)

uris = seeds().map(lambda rng: "".join(rng.choices(URI_PIECES, k=rng.randrange(6))))


@cases(200)
@given(uris)
@example("ws://[")
@example("ws://x.ini?a=%(a")
@example("ws://%00.ini")
def test_what_is_typed_as_a_file_is_read_or_named(uri: str) -> None:
    found = named(lambda: database_url(uri))
    assert isinstance(found, MigrationError)


def command(capsys: Any, *words: str) -> tuple[int, str]:
    """Run ws-alembic in this process and return its status and all that it printed."""
    try:
        status = ws_alembic.main(words)
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    printed = capsys.readouterr()
    return status or 0, printed.out + printed.err


@cases(120)
@given(ini_files(), ini_files())
def test_the_command_says_it_in_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], top: bytes, first: bytes
) -> None:
    status, printed = command(capsys, "-c", write(folder, top, first), "status")
    assert status in (0, 1, 2)
    assert "Traceback" not in printed
    assert SECRET not in printed


@cases(120)
@given(uris)
def test_the_command_names_what_c_cannot_be(capsys: pytest.CaptureFixture[str], uri: str) -> None:
    status, printed = command(capsys, "-c", uri, "status")
    assert status in (1, 2)
    assert "Traceback" not in printed


LOGGING = """
[loggers]
keys = root, {0}
[handlers]
keys = {1}
[formatters]
keys = {2}
[logger_root]
level = {3}
handlers = {1}
[logger_x]
level = {4}
handlers =
qualname = fuzz.x
[handler_h]
class = {5}
args = {6}
level = {7}
formatter = {2}
[formatter_f]
format = {8}
"""

LOGGING_VALUES = (
    *("x", "h", "f", "", "WARN", "INFO", "warn", "y", "StreamHandler", "NullHandler", "nowhere.X"),
    *(
        "(sys.stderr,)",
        "()",
        "(",
        f"('{SECRET}',)",
        f"{SECRET}",
        "1/0",
        "%(message)s",
        "%",
        "%(x",
        "os",
    ),
)

USUAL = ("x", "h", "f", "WARN", "INFO", "NullHandler", "()", "NOTSET", "%(message)s")


def logging_file(rng: random.Random) -> bytes:
    """Return an INI file that configures logging, with a few of its values exchanged."""
    wrong = {rng.randrange(len(USUAL)): rng.choice(LOGGING_VALUES) for _ in range(rng.randrange(3))}
    texts = [wrong.get(n, usual) for n, usual in enumerate(USUAL)]
    # A handler's arguments may be secret, the names of sections are not.
    texts = [text if n == 6 else text.replace(SECRET, "z") for n, text in enumerate(texts)]
    return LOGGING.format(*texts).encode()


@cases(150)
@given(seeds().map(logging_file))
def test_logging_is_configured_or_an_error_named(folder: Path, content: bytes) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loader = plaster.get_loader(config_uri(write(folder, content)), protocols=["wsgi"])
    try:
        found = named(loader.setup_logging)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert found is None or isinstance(found, IniError)
    assert SECRET not in str(found)
