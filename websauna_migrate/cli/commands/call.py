"""A command line of ``ws-alembic``, parsed, in a started application, and its packages."""

from __future__ import annotations

import contextlib
import difflib
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.command_table import Command
from websauna_migrate.cli.output import Output
from websauna_migrate.cli.render.states import render_losses
from websauna_migrate.cli.render.text import shown
from websauna_migrate.config.selection import parse_packages_argument, select_packages
from websauna_migrate.interfaces import IMigrationService
from websauna_migrate.plain_text import counted, to_json
from websauna_migrate.results import Loss, PackageState, Plan, Readiness

Scope = Sequence[str] | str | None


@dataclass(frozen=True)
class Call:
    """A command line, parsed, in a started application.

    :ivar service: the application's :class:`.IMigrationService`
    :ivar packages: those that the command works on; ``None`` for all, also those that are no
        longer installed
    :ivar asked: what ``-x packages=`` says of them, as :func:`read_scope` returns it
    """

    options: Namespace
    service: IMigrationService
    packages: tuple[str, ...] | None
    output: Output
    asked: Scope = None

    @property
    def several(self) -> bool:
        """True if lines must say of which package they tell."""
        return self.packages is None or len(self.packages) > 1

    def show(self, lines: Iterable[str], data: object = None) -> None:
        """Print a result: lines, or with ``--json`` the data."""
        if getattr(self.options, "json", False):
            self.output.raw(to_json(data) + "\n")
        else:
            self.output.lines(lines)

    def warn_of_races(self) -> None:
        """Write a warning for each two scripts whose order nothing says though it matters."""
        for problem in self.service.races(packages=self.packages):
            print(f"WARNING: {shown(problem.message)}", file=sys.stderr)

    def tell_pending_elsewhere(
        self, states: Iterable[PackageState] | None = None, *, planned: Plan | None = None
    ) -> None:
        """Write a line about the pending steps of other packages, which are easily forgotten.

        :param states: of all packages; read if they are not given
        :param planned: what the command shows; its steps are not forgotten
        """
        if self.packages is None or self.options.quiet:
            return
        if states is None:
            others = {package.name for package in self.service.packages} - {*self.packages}
            # Where the command was able to work, a remark is no reason to fail.
            with contextlib.suppress(MigrationError):
                states = self.service.status(packages=sorted(others)) if others else ()
        steps = Counter(step.package for step in planned.steps) if planned else Counter()
        left = [
            replace(one, pending=(one.pending or 0) - steps[one.package]) for one in states or ()
        ]
        if line := pending_elsewhere(left, self.packages):
            print(shown(line), file=sys.stderr)

    def tell_at_work(self) -> Readiness:
        """Write lines about a run in progress and half done steps, and return both."""
        found: Readiness = self.service.readiness()
        if found.running is not None:
            print(shown(f"running: {found.running}"), file=sys.stderr)
        for name in dict.fromkeys(f"{one.package}@{one.revision}" for one in found.half_done):
            print(shown(f"{name} ended half done. See: ws-alembic repair"), file=sys.stderr)
        return found

    def tell_losses(self, plan: Plan) -> tuple[Loss, ...]:
        """Write what a plan would lose to standard error, and return it."""
        losses: tuple[Loss, ...] = self.service.losses(plan)
        for line in render_losses(losses):
            print(shown(line), file=sys.stderr)
        return losses

    def sum_up(self, *lines: str, data: object = None) -> None:
        """Print what was done, unless only errors are wanted; with ``--json`` always the data."""
        if getattr(self.options, "json", False):
            self.output.raw_done(to_json(data))
        elif not self.options.quiet:
            self.output.done(lines)


def refuse_together(options: Namespace, flag: str, *others: str, why: str = "") -> None:
    """Refuse options that have no meaning with another.

    :param why: is said behind its name
    :raises UsageError: for the first of them
    """
    for name in others if is_given(options, flag) else ():
        if is_given(options, name):
            raise UsageError(f"{as_flag(name)} has no meaning with {as_flag(flag)}{why}.")


def is_given(options: Namespace, name: str) -> bool:
    """True if the command line has an option; 0 is a value like any other."""
    return getattr(options, name, None) not in (None, False)


def as_flag(name: str) -> str:
    """Return an option as the command line has it."""
    return f"--{name.replace('_', '-')}"


def require_unprotected(call: Call, doing: str) -> None:
    """Refuse a command on a database that is protected, unless the command line says to go on.

    :param doing: the command, as it was written
    :raises UsageError: if it does not
    """
    if call.service.is_protected and not call.options.yes_on_production:
        raise UsageError(
            f'"{doing}" was not begun: this database is protected by the setting '
            '"websauna_migrate.protected". If it is meant all the same, add --yes-on-production.'
        )


def ask(call: Call, lines: Iterable[str], question: str) -> None:
    """Show what is going to happen, and ask on the terminal if that is meant.

    :raises UsageError: if there is no terminal to ask on, and no ``--yes``
    :raises MigrationError: if the answer is not yes
    """
    if call.options.yes:
        return
    for line in lines:
        print(shown(line), file=sys.stderr)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "Nothing was changed: there is no terminal to ask on. If this is meant, add --yes."
        )
    print(f"{shown(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise MigrationError("Nothing was changed.")


#: How much like "packages" an unknown key is that is taken for it, from 0 to 1.
ALIKE = 0.8

#: Of how many packages a line tells by name.
NAMED = 3


def read_scope(x_arguments: Sequence[str]) -> Scope:
    """Return what ``-x packages=`` says: names, ``"all"``, or ``None`` without it.

    Other keys are for ``env.py``.

    :raises UsageError: if a key is almost ``packages``
    """
    for argument in x_arguments:
        key = argument.partition("=")[0].strip()
        if key != "packages" and difflib.get_close_matches(key.lower(), ["packages"], 1, ALIKE):
            value = argument.partition("=")[2] or "all"
            raise UsageError(f'"-x {argument}" is not understood. Write "-x packages={value}".')
    return parse_packages_argument(x_arguments)


def find_packages(
    command: Command, asked: Scope, service: IMigrationService
) -> tuple[str, ...] | None:
    """Return the packages that a command works on, ``None`` for all."""
    if asked == "all" or (asked is None and (command.everywhere or command.names_its_package)):
        return None
    if command.names_its_package:
        raise UsageError("This command names its package itself: leave out -x packages=.")
    names = tuple(package.name for package in service.packages)
    return select_packages(asked, names, service.application, Path.cwd())


def pending_elsewhere(states: Iterable[PackageState], packages: Sequence[str]) -> str:
    """Return a line about the pending steps of packages that a command does not work on.

    :param packages: those on which it works
    :returns: an empty text if there are none
    """
    # Where rows are not understood, an upgrade is not what helps.
    others = [
        (one.package, one.pending)
        for one in states
        if one.pending and not one.unknown and one.package not in packages
    ]
    said = [f"{name} has {counted(many, 'pending step')}" for name, many in others[:NAMED]]
    if len(others) > NAMED:
        said.append(f"so have {counted(len(others) - NAMED, 'other package')}")
    return f"{', '.join(said)}: -x packages=all" if said else ""
