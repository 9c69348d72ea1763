"""Completion of ``ws-alembic`` in a shell: the parser says what may stand where.

A shell calls ``ws-alembic`` itself, with the words so far, and with :data:`VARIABLE` set. Commands
and options come from the parser alone; for the names of packages and revisions the application is
started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.command_table import COMMANDS
from websauna_migrate.cli.output import reserve_stdout
from websauna_migrate.cli.parser import DEFAULT_CONFIG, commands_of, make_parser
from websauna_migrate.plain_text import word

if TYPE_CHECKING:
    from websauna_migrate.service import MigrationService

#: Set by the shells' scripts.
VARIABLE = "_WS_ALEMBIC_COMPLETE"

#: Arguments, by what they are called in the options, that name a revision or a package.
REVISIONS = {"revision", "revisions", "rev", "rev_range", "head", "depends_on"}
NAMED_REVISIONS = {"requires", "around", "step"}
PACKAGES = {"package", "source", "target"}

#: What a word may be, and what it means.
Candidate = tuple[str, str]

BASH = """\
_ws_alembic() {
    # The words of the line up to the cursor: bash itself would part them at = and : too.
    local line="${COMP_LINE:0:COMP_POINT}" word rest kept
    local -a words
    read -ra words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    # bash replaces what is behind the last of its breaks.
    rest="${word##*[$COMP_WORDBREAKS]}"
    kept="${word%"$rest"}"
    COMPREPLY=()
    local found
    while IFS=$'\\t' read -r found _; do
        COMPREPLY+=("${found#"$kept"}")
    done < <(_WS_ALEMBIC_COMPLETE=1 "${words[0]}" "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _ws_alembic ws-alembic
"""

ZSH = """\
#compdef ws-alembic
_ws_alembic() {
    local -a found
    local name note
    while IFS=$'\\t' read -r name note; do
        found+=("${name//:/\\\\:}:${note}")
    done < <(_WS_ALEMBIC_COMPLETE=1 ${words[1]} "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( $#found )); then
        _describe -V 'ws-alembic' found
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_ws_alembic" ]; then
    _ws_alembic "$@"
else
    compdef _ws_alembic ws-alembic
fi
"""

FISH = """\
function __ws_alembic
    set -l typed (commandline -opc) (commandline -ct)
    _WS_ALEMBIC_COMPLETE=1 $typed[1] $typed[2..-1] 2>/dev/null
end
complete -c ws-alembic -f -k -a '(__ws_alembic)'
"""

SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def print_candidates(words: Sequence[str]) -> None:
    """Print what the last word may become, a line each with a tab before its meaning."""
    # What the application prints while it starts is no candidate.
    with reserve_stdout() as output:
        output.lines(f"{word(name)}\t{word(note)}" for name, note in candidates(words))


def candidates(words: Sequence[str]) -> list[Candidate]:
    """Return what the last of the words after ``ws-alembic`` may become."""
    *before, last = words or [""]
    found = Position(make_parser(), before).candidates(last)
    return [one for one in found if one[0].startswith(last)]


class Position:
    """A place in a command line, as the parser sees it.

    :ivar parser: of the command, once there is one
    :ivar verb: the command
    :ivar config: the INI file that ``-c`` names
    :ivar asked: what ``-x packages=`` says
    """

    def __init__(self, parser: argparse.ArgumentParser, before: Iterable[str]) -> None:
        self.parser = parser
        self.verb: str | None = None
        self.config: list[str] = []
        self.asked: list[str] = []
        self.open: argparse.Action | None = None
        self.positionals = 0
        for typed in before:
            self._pass(typed)

    def _pass(self, typed: str) -> None:
        """Go behind a word."""
        if self.open is not None:
            if self.verb is None and self.open.dest == "config":
                self.config.append(typed)
            elif self.open.dest == "x":
                self.asked.append(typed)
            self.open = None
        elif typed.startswith("-"):
            name, is_given, _ = typed.partition("=")
            action = self._options().get(name)
            if action is not None and action.nargs is None and not is_given:
                self.open = action
        elif self.verb is None:
            commands = commands_of(self.parser)
            if typed in commands:
                self.verb, self.parser = typed, commands[typed]
        else:
            self.positionals += 1

    def _options(self) -> dict[str, argparse.Action]:
        return {name: one for one in self.parser._actions for name in one.option_strings}

    def candidates(self, last: str) -> Iterator[Candidate]:
        """Yield what may stand here."""
        if self.open is not None:
            yield from self._values(self.open, last)
        elif last.startswith("-"):
            for name, action in sorted(self._options().items()):
                yield name, first_words(action.help)
        elif self.verb is None:
            for name, command in COMMANDS.items():
                yield name, first_words(command.help)
        else:
            fields = [one for one in self.parser._actions if not one.option_strings]
            # The last one may take any number of words.
            place = min(self.positionals, len(fields) - 1)
            if place >= 0 and (place == self.positionals or fields[place].nargs in ("+", "*")):
                yield from self._values(fields[place], last)

    def _values(self, action: argparse.Action, last: str) -> Iterator[Candidate]:
        """Yield what the value of an argument may be."""
        if action.choices is not None:
            yield from ((str(one), "") for one in action.choices)
        elif action.dest == "config":
            yield from ini_files(last)
        elif action.dest == "x":
            yield from self._packages(last)
        elif action.dest in PACKAGES:
            yield from ((name, "") for name in self._package_names())
        elif action.dest in REVISIONS or action.dest in NAMED_REVISIONS:
            yield from self._revisions(last, with_package=action.dest in NAMED_REVISIONS)

    def _packages(self, last: str) -> Iterator[Candidate]:
        """Yield what ``-x packages=`` may say; of several names, the last one is completed."""
        yield "packages=all", "all packages"
        given, comma, _ = last.rpartition(",")
        start = f"{given}," if comma else "packages="
        yield from ((f"{start}{name}", "") for name in self._package_names())

    def _package_names(self) -> list[str]:
        """Return the names of the registered packages."""
        with self._service() as service:
            return [] if service is None else [one.name for one in service.packages]

    def _revisions(self, last: str, *, with_package: bool) -> Iterator[Candidate]:
        """Yield revisions, newest first, with their messages."""
        # A range ends with what is completed.
        given, colon, _ = last.rpartition(":")
        start = f"{given}:" if colon else ""
        if not with_package:
            for symbol, note in (("head", "the newest"), ("heads", "all newest"), ("base", "none")):
                yield f"{start}{symbol}", note
        with self._service() as service:
            if service is None:
                return
            for entry in service.history(packages=self._selected(service)):
                one = entry.revision
                name = f"{one.package}@{one.id}" if with_package else one.id
                note = one.message if with_package else f"{one.package}: {one.message}"
                yield f"{start}{name}", note

    def _selected(self, service: MigrationService) -> list[str] | None:
        """Return the packages that ``-x`` names, if all of them are known."""
        known = {one.name for one in service.packages}
        names = {
            name.strip()
            for text in self.asked
            if text.startswith("packages=")
            for name in text.removeprefix("packages=").split(",")
        }
        return sorted(names) if names and names <= known else None

    @contextlib.contextmanager
    def _service(self) -> Iterator[MigrationService | None]:
        """Yield the application's service, or ``None`` where it does not start."""
        from websauna_migrate.cli.app import Application

        with contextlib.ExitStack() as stack:
            service = None
            with contextlib.suppress(MigrationError, UsageError):
                service = stack.enter_context(Application.chosen(self.config).service())
            with contextlib.suppress(MigrationError):
                yield service


def first_words(help: str | None) -> str:
    """Return the first sentence of a help text."""
    return " ".join((help or "").split()).partition(". ")[0].removesuffix(".")


def ini_files(last: str) -> Iterator[Candidate]:
    """Yield the INI files of a folder, and its folders."""
    start = last[: last.rfind(os.sep) + 1]
    folder = Path(start or ".")
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield f"{start}{path.name}{os.sep}", ""
            elif path.suffix == ".ini":
                yield f"{start}{path.name}", "default" if path.name == DEFAULT_CONFIG else ""
