"""The documentation: its commands are typed, its screens are real, its tables are of the code."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import websauna_migrate
from conftest import REPOSITORY, Run
from databases import PostgreSQLServer
from documents import BEHIND, Page, normal
from websauna_migrate import errors
from websauna_migrate.cli.command_table import COMMANDS
from websauna_migrate.cli.commands.plain import meaning_of, read_meanings
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.config.settings import PER_PACKAGE, READERS, Settings
from websauna_migrate.database.timeouts import NAMES, Timeouts
from websauna_migrate.errors import (
    DOCUMENTATION,
    ExitCode,
    IniError,
    MigrationError,
    SettingError,
    UsageError,
)

DOCS = REPOSITORY / "docs"

#: Pages that are typed from an empty folder on, and show every screen.
STORIES = {"install", "tutorial", "month", "takeover", "failed-deployment"}

#: How the database URLs of the page on a deployment begin.
MARKET = "postgresql+psycopg2://market:secret"


@pytest.mark.parametrize("name", sorted(STORIES - {"tutorial", "failed-deployment"}))
def test_the_screens_of_a_story_are_real(name: str, tmp_path: Path) -> None:
    page = Page(DOCS / f"{name}.rst", tmp_path)
    played = page.played()
    for behind in BEHIND.findall(page.text):
        kept = (DOCS / f"{behind}.rst").read_text(encoding="utf-8")
        assert page.before is not None and normal(page.before) == normal(kept)
    assert normal(played) == normal(page.text)


def test_the_screens_of_a_deployment_are_real(
    tmp_path: Path, postgresql_server: PostgreSQLServer
) -> None:
    site, developer = (postgresql_server.create_database() for _ in range(2))
    urls = {f"{MARKET}@db1/market": site, f"{MARKET}@localhost/market": developer}
    page = Page(DOCS / "failed-deployment.rst", tmp_path, urls)
    page.programs = str(postgresql_server.bin_dir)
    assert normal(page.played()) == normal(page.text)
    for url in (site, developer):
        postgresql_server.drop_database(url)


def described_settings() -> dict[str, str]:
    """Return the settings that the page on settings has, with what it says of their defaults."""
    text = (DOCS / "settings.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - ``([\w.]+)``(?:\n       ``[^\n]*)?\n     - ([^\n]*)\n", text, re.M)
    return dict(rows)


def test_the_page_on_settings_has_each_with_its_default() -> None:
    found = described_settings()
    prefix = "websauna_migrate."
    ours = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    assert ours == {"url", *READERS, *(f"{name}.PACKAGE" for name in PER_PACKAGE)}
    fields = (*dataclasses.fields(Settings), *dataclasses.fields(Timeouts))
    defaults = {field.name: field.default for field in fields}
    for name in READERS:
        default = defaults[name]
        told = found[prefix + name]
        if default in (None, "off") or isinstance(default, frozenset):
            continue
        expected = f"{default:g}" if isinstance(default, float) else str(default)
        expected = "off" if default is False else expected
        assert told == f"``{expected}``", name
    text = (DOCS / "settings.rst").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"``{prefix}{name}.PACKAGE``" in text


def test_the_pages_of_commands_are_of_the_parser_and_the_example(tmp_path: Path, run: Run) -> None:
    program = [sys.executable, "-W", "ignore", DOCS / "write_commands.py", tmp_path]
    assert run(program).returncode == 0
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "commands").iterdir()}
    assert sorted(pages) == sorted(kept) == sorted(f"{name}.rst" for name in COMMANDS)
    for name, text in pages.items():
        assert normal(text) == normal(kept[name]), "python docs/write_commands.py docs/commands"


def test_the_page_on_commands_has_each_exit_status() -> None:
    text = (DOCS / "commands.rst").read_text(encoding="utf-8")
    for code in ExitCode:
        assert re.search(rf"^{code.value} +\S", text, re.M), code


def failures(base: type[MigrationError] = MigrationError) -> Iterator[type[MigrationError]]:
    """Yield every class of a known failure."""
    for module in pkgutil.walk_packages(websauna_migrate.__path__, "websauna_migrate."):
        with contextlib.suppress(ImportError):
            import_module(module.name)
    waiting = [base]
    while waiting:
        found = waiting.pop().__subclasses__()
        yield from found
        waiting += found


def address_of(failure: type[MigrationError]) -> str | None:
    """Return what a failure of a class names as its address."""
    return failure.__new__(failure).address


def test_a_failure_of_another_library_has_the_address_of_its_base() -> None:
    assert address_of(type("Own", (SettingError,), {"__module__": "fooapp"})) == address_of(
        SettingError
    )
    assert (address_of(MigrationError), address_of(UsageError)) == (None, None)


def test_the_page_on_messages_has_every_failure_and_case() -> None:
    text = (DOCS / "messages.rst").read_text(encoding="utf-8")
    # What a glossary has gets an address from Sphinx: term- and its words.
    headings = set(re.findall(r"^    (\w+)$", text, re.M))
    assert set(errors.ROOMS) | {"UsageError"} == headings
    # The page on the programming interface lists what the module has.
    assert {*errors.__all__} <= {*dir(errors)}
    for one in failures():
        if not one.__module__.startswith("websauna_migrate.") or one is UsageError:
            continue
        assert one.__name__ in headings
        assert getattr(errors, one.__name__) is one
        assert address_of(one) == f"{DOCUMENTATION}messages.html#term-{one.__name__}"
        kinds = re.search(r":ivar kind: (.*?)(?=:ivar|:param|$)", one.__doc__ or "", re.S)
        for kind in re.findall(r"``([a-z_ -]+)``", kinds[1]) if kinds else ():
            if not issubclass(one, IniError):
                assert f"``{kind}``" in text, f"{one.__name__}: {kind}"


def test_help_prints_what_the_page_on_messages_says(capsys: pytest.CaptureFixture[str]) -> None:
    meanings = read_meanings()
    assert set(meanings) == set(errors.ROOMS) | {"UsageError"}
    for name in meanings:
        lines = [*meaning_of(name)]
        assert max(map(len, lines)) <= 80 and not re.search(":[a-z]+:`", "".join(lines))
        for page in re.findall(r"docs/[\w-]+\.rst", "".join(lines)):
            assert (REPOSITORY / page).is_file()
    assert main(["help", "stepfailed"]) == 0
    assert capsys.readouterr().out.startswith("StepFailed\n  A script failed.")
    assert main(["help", "upgrade"]) == 0
    assert capsys.readouterr().out.startswith("usage: ws-alembic upgrade ")
    assert main(["help"]) == 0
    assert "every day:" in capsys.readouterr().out
    assert main(["help", "StepFaild"]) == ExitCode.USAGE
    assert 'Did you mean "StepFailed"?' in capsys.readouterr().err


def test_a_message_on_a_terminal_names_a_command_that_tells_more(tmp_path: Path) -> None:
    command = "ws-alembic -c missing.ini status"
    # script(1) is a part of util-linux.
    shown = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert shown[-1].startswith("More: ws-alembic help "), shown
    assert main(shown[-1].split()[2:]) == 0


def test_the_page_on_messages_has_what_check_finds() -> None:
    text = (DOCS / "messages.rst").read_text(encoding="utf-8")
    source = "".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "websauna_migrate").rglob("*.py")
    )
    kinds = set(re.findall(r"CheckProblem\(\s*\"([a-z-]+)\"", source))
    assert len(kinds) > 15
    assert [kind for kind in kinds if f"``{kind}``" not in text] == []


def test_llms_txt_names_every_page_of_the_index() -> None:
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    pages = re.findall(r"^   ([a-z-]+)$", index, re.M)
    listed = re.findall(r"\(([a-z-]+)\.html\)", (DOCS / "llms.txt").read_text(encoding="utf-8"))
    assert listed == pages
    assert {f"{page}.rst" for page in pages} | {"index.rst"} == {p.name for p in DOCS.glob("*.rst")}
