"""The commands of the how-to pages: each is understood, and is typed beside the example."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY
from documents import BLOCK, PLAYED_IN, Page, normal
from example_sites import make_example, paths_of
from test_documents import DOCS, STORIES
from websauna_migrate.cli.parser import make_parser

#: Pages beside ``docs/``, whose commands test_readme.py types.
BESIDE = {"README", "CONTRIBUTING"}

#: A command with arguments, within a sentence; what has brackets stands for several.
INLINE = re.compile(r"``ws-alembic ([^`\n\[|]+ [^`\n\[|]+)``")


def commands_of(text: str) -> list[str]:
    """Return what a page types, line by line."""
    return re.findall(r"^ +\$ ((?:[^\n]*\\\n)*[^\n]*)\n", text, re.M)


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page of the documentation with its text."""
    for path in [
        REPOSITORY / "README.rst",
        REPOSITORY / "CONTRIBUTING.rst",
        *sorted(DOCS.glob("*.rst")),
    ]:
        yield path.stem, path.read_text(encoding="utf-8")


def every_command() -> Iterator[tuple[str, str]]:
    """Yield each command of the documentation with its page."""
    for page, text in pages():
        for command in commands_of(text):
            yield page, command


def test_each_page_with_commands_is_typed_or_says_why_not() -> None:
    for page, text in pages():
        if page in BESIDE:
            continue
        blocks = [one for one in BLOCK.finditer(text) if one["language"] == "console"]
        # None hides from the tests by standing elsewhere.
        assert commands_of(text) == [
            found for one in blocks for found in commands_of(one["body"])
        ], page
        if page not in STORIES and not PLAYED_IN.search(text):
            left = [one["body"] for one in blocks if not one["excuse"]]
            assert not left, f'{page}: ".. played in: example", or ".. not typed: REASON"\n{left}'


def refused(words: list[str]) -> str:
    """Return what the parser says against a command line, empty if it understands it."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            make_parser().parse_args(words)
    except SystemExit as exc:
        return told.getvalue() if exc.code else ""
    return ""


def test_each_command_of_the_documentation_is_understood() -> None:
    seen = 0
    for page, command in every_command():
        for part in re.split(r"; | (?:&&|\||>>?) ", command):
            if part.startswith("ws-alembic "):
                told = refused(shlex.split(part, comments=True)[1:])
                assert not told, f"{page}: {command}\n{told}"
                seen += 1
    assert seen > 80


def test_each_command_within_a_sentence_is_understood() -> None:
    seen = 0
    for page, text in pages():
        for command in INLINE.findall(text):
            told = refused(shlex.split(command))
            assert not told, f"{page}: ws-alembic {command}\n{told}"
            seen += 1
    assert seen > 20


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, migrated."""
    root = tmp_path_factory.mktemp("example").resolve()
    make_example(root)
    page = Page(DOCS / "index.rst", root)
    page.pythonpath = paths_of(root)
    page.prepare("ws-alembic -q -x packages=all upgrade")
    return root


@pytest.mark.parametrize("name", [page for page, text in pages() if PLAYED_IN.search(text)])
def test_the_screens_of_a_page_are_real(name: str, tmp_path: Path, example: Path) -> None:
    root = tmp_path.resolve() / "site"
    shutil.copytree(example, root)
    page = Page(DOCS / f"{name}.rst", root)
    page.pythonpath = paths_of(root)
    assert normal(page.played()) == normal(page.text), f"python tests/documents.py docs/{name}.rst"
