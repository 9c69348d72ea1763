"""The commands of the how-to pages: each is understood, and is typed in the example application."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest

from conftest import REPOSITORY
from documents import Page
from websauna_migrate.cli.parser import make_parser

DOCS = REPOSITORY / "docs"

#: Pages whose commands are typed in order where the example is, and the names that they give to
#: its packages.
PAGES = {
    "add-ons": {"addon": "acme.shop"},
    "autogenerate": {},
    "commands": {},
    "deploying": {},
    "existing-projects": {},
    "graph": {"aaa": "acme.user", "fooapp": "acme.app", "addon": "acme.shop"},
    "index": {},
    "many-workers": {},
    "moving-tables": {},
    "packages": {},
    "renames": {},
    "running": {},
    "several-packages": {"aaa,zzz": "acme.user,acme.shop"},
    "squashing": {"fooapp": "acme.user"},
    "table-sql": {},
    "testing": {},
}

#: Commands, of ``ws-alembic`` and others, that are not typed here, and why.
ONLY_READ = {
    "pip": "it needs an index of packages",
    "curl": "it needs a running server",
    "echo": "it changes the shell's own file",
    "uninstall": "it needs a package that has gone; the tutorial and test_lifecycle.py type it",
}

#: What ends in another exit status than 0 in the example.
OTHERWISE = {
    # Other packages need it, as the page says.
    "-x packages=acme.user downgrade base": 1,
    # squawk knows PostgreSQL alone.
    "-x packages=all plan --fail-on-lint": 2,
    "lint": 2,
}

#: Pages whose commands write scripts: each has an example of its own.
WRITES = {"moving-tables", "renames", "squashing"}

#: What a reader does to the example's models before a command: an option of it, and the edit.
EDITS = {
    "--rename-table": ('"offers"', '"deals"'),
    "--rename-column": ("title: Mapped", "headline: Mapped"),
}

#: What another page has had typed.
TYPED: set[tuple[str, ...]] = set()


def commands_of(text: str) -> list[str]:
    """Return what a page types, line by line."""
    return re.findall(r"^ +\$ ((?:[^\n]*\\\n)*[^\n]*)\n", text, re.M)


def every_command() -> Iterator[tuple[str, str]]:
    """Yield each command of the documentation with its page."""
    for path in [REPOSITORY / "README.rst", *sorted(DOCS.glob("*.rst"))]:
        for command in commands_of(path.read_text(encoding="utf-8")):
            yield path.name, command


def test_each_command_of_the_documentation_is_understood() -> None:
    seen = 0
    for page, command in every_command():
        for part in re.split(r"; | (?:&&|\||>>?) ", command):
            words = shlex.split(part, comments=True)
            if words[:1] != ["ws-alembic"]:
                continue
            told = io.StringIO()
            try:
                with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
                    make_parser().parse_args(words[1:])
            except SystemExit as exc:
                assert not exc.code, f"{page}: {command}\n{told.getvalue()}"
            seen += 1
    assert seen > 80


def typed(site: Page, words: list[str], program: str = "ws-alembic") -> tuple[int, str]:
    """Type a command where the site is now; return its exit status and what it prints."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(site.pythonpath)}
    env["XDG_CACHE_HOME"] = f"{site.root}/.cache"
    return site.asked({"program": program, "words": words, "env": env})


def edit_models(site: Page, words: list[str]) -> None:
    """Change the application's models as the reader of a command has done before it."""
    models = site.here / "examples/app/src/acme/app/models.py"
    for option in EDITS.keys() & set(words):
        text = models.read_text(encoding="utf-8")
        assert EDITS[option][0] in text
        models.write_text(text.replace(*EDITS[option]), encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The example in a folder of its own, migrated, with a server that types commands."""
    root = tmp_path_factory.mktemp("site").resolve()
    shutil.copytree(REPOSITORY / "examples", root / "examples")
    shutil.copy(REPOSITORY / "development.ini", root)
    page = Page(DOCS / "index.rst", root)
    page.pythonpath = [str(one) for one in sorted((root / "examples").glob("*/src"))]
    assert typed(page, ["-x", "packages=all", "upgrade"])[0] == 0
    yield page
    if page.server is not None:
        page.server.communicate()


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_work(name: str, site: Page) -> None:
    site.here = site.root / name
    site.here.mkdir()
    for ini in ("development.ini", "production.ini"):
        shutil.copy(site.root / "development.ini", site.here / ini)
    if name != "deploying":
        shutil.copy(site.root / "example.sqlite", site.here)
    source = site.here if name in WRITES else site.root
    if name in WRITES:
        shutil.copytree(site.root / "examples", site.here / "examples")
    site.pythonpath = [str(one) for one in sorted((source / "examples").glob("*/src"))]
    page = (DOCS / f"{name}.rst").read_text(encoding="utf-8")
    for command in commands_of(page):
        program, *words = shlex.split(command.partition(" > ")[0], comments=True)
        if program in ONLY_READ or ONLY_READ.keys() & set(words):
            continue
        assert program in ("ws-alembic", "ws-create-table"), command
        for theirs, ours in PAGES[name].items():
            words = [re.sub(rf"(?<![\w.]){theirs}(?![\w.])", ours, word) for word in words]
        if name in WRITES:
            edit_models(site, words)
        elif (program, *words) in TYPED:
            continue
        TYPED.add((program, *words))
        status, screen = typed(site, words, program)
        assert "Traceback" not in screen, f"{command}\n{screen}"
        expected = OTHERWISE.get(" ".join(words), 0)
        assert status == expected, f"{command}: {status}\n{screen}"
        assert "Proved" in screen or not EDITS.keys() & set(words), screen
