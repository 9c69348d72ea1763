"""Which packages a command line means: ``-x packages=`` and the current-package rule."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from websauna_migrate.base_errors import UsageError
from websauna_migrate.config.packages import (
    RegistrationError,
    is_installed,
    package_folder,
    project_folder,
)
from websauna_migrate.plain_text import in_quotes

ALL: Literal["all"] = "all"

FORM = 'Write "-x packages=all", "-x packages=fooapp" or "-x packages=fooapp,fooapp.blog".'


class UnknownPackage(UsageError, LookupError):
    """It is not known which package is meant.

    :ivar kind: ``name`` for a name that is not registered, ``none`` where the application
        registers no package, ``unclear`` where no name was given and several are possible
    :ivar name: the name that was given, empty if none was
    :ivar packages: the names from which to choose
    """

    def __init__(
        self, name: str, packages: Sequence[str], *, reason: str = "", remedy: str = ""
    ) -> None:
        """Build the message.

        :param reason: why a name has to be given
        :param remedy: what else helps, a line of its own
        """
        self.name = name
        self.packages = tuple(packages)
        if not packages:
            self.kind = "none"
            message = (
                "The application registers no package for migrations. Call "
                '"config.add_migration_package(metadata=Base.metadata)" where it is configured.'
            )
        elif reason:
            self.kind = "unclear"
            message = (
                f"{reason}\nSay which package is meant: -x packages=all, or one or more of "
                f"{in_quotes(packages)}.{remedy}"
            )
        else:
            self.kind = "name"
            close = difflib.get_close_matches(name, packages)
            hint = f" Did you mean {in_quotes(close, ' or ')}?" if close else ""
            message = (
                f'No package "{name}" is registered for migrations.{hint}\n'
                f"Registered are: {in_quotes(packages)}."
            )
        super().__init__(message)


def parse_packages_argument(x_args: Iterable[str]) -> tuple[str, ...] | Literal["all"] | None:
    """Read ``packages=`` from the values of ``-x``; other values of ``-x`` are left alone.

    Names are separated by commas, spaces around them do not count, and several ``-x packages=``
    add up. A name that is there twice counts once.

    :returns: the names in the order given, ``"all"``, or ``None`` where nothing was said
    :raises UsageError: if the value or its ``=`` is missing: write one of the forms that the
        message shows
    """
    names: dict[str, None] = {}
    for argument in x_args:
        key, _, value = argument.partition("=")
        if key.strip() != "packages":
            continue
        given = [name.strip() for name in value.split(",") if name.strip()]
        if not given:
            raise UsageError(f'"-x {argument}" names no package. {FORM}')
        names.update(dict.fromkeys(given))
    if ALL in names:
        return ALL
    return tuple(names) or None


def select_packages(
    argument: Sequence[str] | Literal["all"] | None,
    packages: Sequence[str],
    application: str | None,
    cwd: Path,
) -> tuple[str, ...]:
    """Return the names of the packages that a command works on.

    :param argument: what :func:`parse_packages_argument` returned
    :param packages: the names of the registered packages
    :param application: the name of the application's own package, if it is known
    :param cwd: the directory in which the command runs
    :raises UnknownPackage: if a name is not registered, or if no name was given and neither the
        directory nor the application tells which package is meant: use ``-x packages=``
    """
    if not packages:
        raise UnknownPackage("", ())
    if argument is None:
        return (current_package(packages, application, cwd),)
    if argument == ALL:
        return tuple(packages)
    for name in argument:
        if name not in packages:
            raise UnknownPackage(name, packages)
    return tuple(argument)


def current_package(packages: Sequence[str], application: str | None, cwd: Path) -> str:
    """Return the package in whose project a directory lies, else the application's own.

    The rule is that of DESIGN.md, "The current package". A project within a project wins over the
    outer one, and so does a package within a package.

    :raises UnknownPackage: if that leaves several packages or none
    """
    here = cwd.resolve()
    candidates = deepest(
        (territory, name)
        for name in packages
        for territory in territories(name)
        if here.is_relative_to(territory)
    )
    if len(candidates) == 1:
        return candidates[0]
    # Of the packages of one project, outside the folders of all of them, the application's wins.
    if application is not None and application in (candidates or packages):
        return application
    if candidates:
        reason = f'The project in "{here}" has several packages: {in_quotes(candidates)}.'
        raise UnknownPackage("", candidates, reason=reason)
    reason = (
        "It is not known which package is the application's own"
        if application is None
        else f'The application\'s own package "{application}" is not registered for migrations'
    )
    reason = f'{reason}, and "{here}" is in no registered package.'
    remedy = (
        "\nTo say once which one is the application's own, set: "
        f"websauna_migrate.package = {packages[0]}"
    )
    raise UnknownPackage("", packages, reason=reason, remedy=remedy)


def territories(name: str) -> tuple[Path, ...]:
    """Return the directories in which a package is the current one: its folder and its project."""
    try:
        folder = package_folder(name)
    except RegistrationError:
        return ()
    project = None if is_installed(folder) else project_folder(folder)
    return (folder,) if project is None or project == folder else (folder, project.resolve())


def deepest(found: Iterable[tuple[Path, str]]) -> tuple[str, ...]:
    """Return the names with the longest path, sorted."""
    places = sorted(found, key=lambda place: (-len(place[0].parts), place[1]))
    return tuple(name for path, name in places if len(path.parts) == len(places[0][0].parts))
