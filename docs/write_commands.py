"""Write the pages of the commands: from the parser, with screens of the example.

``python docs/write_commands.py docs/commands`` writes them anew, where the example is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from websauna_migrate.cli.command_table import COMMANDS
from websauna_migrate.cli.parser import commands_of, make_parser
from websauna_migrate.cli.ws_alembic import main

REPOSITORY = Path(__file__).parent.parent

#: What is typed in the example, in this order, and on whose page it is shown.
TYPED = (
    ("status", "status"),
    ("plan", "-x packages=acme.app plan"),
    ("upgrade", "-x packages=acme.app upgrade"),
    ("check", "-x packages=all check"),
    ("current", "-x packages=all current"),
    ("stamp", "-x packages=acme.user stamp head"),
    ("stamp", "-x packages=acme.user stamp b6d38663027e"),
    ("downgrade", "-x packages=acme.app downgrade --yes -1"),
    ("wait", "wait --timeout 0"),
    ("graph", "graph"),
    ("heads", "-x packages=all heads"),
    ("branches", "branches"),
    ("history", "-x packages=all history"),
    ("show", "show head"),
    ("verify", "verify"),
    ("repair", "repair"),
    ("log", "log"),
    ("log", "log last"),
    ("lint", "lint"),
    ("list_templates", "list_templates"),
    ("help", "help RunBlocked"),
    ("uninstall", "uninstall --yes acme.user"),
    ("uninstall", "uninstall --yes acme.app"),
)


def written(folder: Path) -> None:
    """Write a page for each command."""
    screens = dict.fromkeys(COMMANDS, "")
    for page, screen in played():
        screens[page] += screen
    for name, one in commands_of(make_parser()).items():
        (folder / f"{name}.rst").write_text(page_of(name, one, screens[name]), encoding="utf-8")


def page_of(name: str, parser: argparse.ArgumentParser, screens: str) -> str:
    """Return the page of a command."""
    title = f"ws-alembic {name}"
    lines = [title, "=" * len(title), "", str(parser.description), ""]
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        value = value_of(action)
        names = [f"``{one}{' ' + value if value else ''}``" for one in action.option_strings]
        lines += [", ".join(names) or f"``{value}``", f"    {help_of(action)}"]
    if screens:
        lines += ["", ".. code-block:: console", "", screens.rstrip()]
    return "\n".join(lines).rstrip() + "\n"


def value_of(action: argparse.Action) -> str:
    """Return what is written for the value of an argument, empty for a flag."""
    if action.option_strings and action.nargs == 0:
        return ""
    choices = "|".join(map(str, action.choices or ()))
    name = str(action.metavar or choices or action.dest.upper())
    ending = {"?": "[{}]", "*": "[{} ...]", "+": "{} [{} ...]"}.get(str(action.nargs), "{}")
    return ending.format(name, name)


def help_of(action: argparse.Action) -> str:
    """Return what an argument does."""
    words = " ".join((action.help or "one of Alembic's symbols, or an identifier").split())
    return words.replace("*", "\\*").replace("|", "\\|")


def played() -> Iterator[tuple[str, str]]:
    """Type the commands in the example, and yield each page with a screen."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = name
        site = Path(name).resolve() / "site"
        site.mkdir()
        shutil.copy(REPOSITORY / "development.ini", site)
        os.chdir(site)
        try:
            for page, words in TYPED:
                screen = io.StringIO()
                with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
                    main(words.split())
                shown = indent(anywhere(screen.getvalue(), site), "    ")
                yield page, f"    $ ws-alembic {words}\n{shown}"
        finally:
            os.chdir(here)


def anywhere(text: str, site: Path) -> str:
    """Return a screen without what is of this machine."""
    text = text.replace(str(REPOSITORY), "/src").replace(str(site), "/site")
    return re.sub(r" on \S+ by [^\n]*", " on web1 by Ann (deploy)", text).rstrip() + "\n"


if __name__ == "__main__":
    written(Path(sys.argv[1]).resolve())
