"""What can be wrong with an INI file and with what it includes.

No message carries the value of an option, because any value may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from websauna_migrate.errors import MigrationError

__all__ = [
    "IncludeCircle",
    "IncludePackageNotFound",
    "IncludeSchemeUnknown",
    "IncludesTooDeep",
    "IniError",
    "IniGlobalNotFound",
    "IniInterpolationEndless",
    "IniInterpolationLoop",
    "IniLoggingError",
    "IniLoggingRefused",
    "IniMalformed",
    "IniNameNotFound",
    "IniNotFound",
    "IniNotReadable",
    "IniSectionAmbiguous",
    "IniSectionNotFound",
]

#: What an option may be called.
_NAME = re.compile(r"[\w.\-]{1,64}")


class IniError(MigrationError):
    """Something is wrong with the INI file ``path``, which the file ``included_by`` includes."""

    def __init__(
        self, path: str, problem: str, remedy: str, *, included_by: str | None = None
    ) -> None:
        """Build the message from the file, what is wrong with it, and what helps."""
        self.path = path
        self.included_by = included_by
        included = f", included by '{included_by}'," if included_by else ""
        super().__init__(f"INI file '{path}'{included} {problem}. {remedy}")


class IniNotFound(IniError, FileNotFoundError):
    """An INI file does not exist."""

    def __init__(self, path: str, included_by: str | None = None) -> None:
        """Say where the name of the file can be corrected."""
        remedy = "Check the path; a relative one starts at the current directory."
        if included_by:
            remedy = f"Create it, or correct its name in '{included_by}'."
        super().__init__(path, "does not exist", remedy, included_by=included_by)


class IniNotReadable(IniError, OSError):
    """The operating system refuses to read an INI file; ``reason`` is its word for it."""

    def __init__(self, path: str, reason: str, included_by: str | None = None) -> None:
        """Pass on the reason of the operating system."""
        self.reason = reason
        remedy = "Name a file that this user may read."
        super().__init__(path, f"cannot be read: {reason}", remedy, included_by=included_by)


class IniMalformed(IniError, ValueError):
    """A file is not a valid INI file at ``line``, which counts from 1."""

    def __init__(
        self, path: str, line: int, fault: str, remedy: str, included_by: str | None = None
    ) -> None:
        """Name the line, never its text."""
        self.line = line
        super().__init__(
            path, f"is malformed at line {line}: {fault}", remedy, included_by=included_by
        )


class IncludeSchemeUnknown(IniError, ValueError):
    """``path`` includes something with a ``scheme`` that is not known here."""

    def __init__(self, path: str, scheme: str) -> None:
        """Name the scheme alone: the rest of a URL may hold a password."""
        self.scheme = scheme
        super().__init__(
            path,
            f"includes a file with the unknown scheme '{scheme}:'",
            "In include_ini_files, write a path (./name if the name holds a colon) or "
            "resource://dotted.package/path/in/it.ini.",
        )


class IncludePackageNotFound(IniError, LookupError):
    """``path`` includes a file of a ``package`` that is not there."""

    def __init__(self, path: str, package: str, fault: str) -> None:
        """Say what is wrong with the package."""
        self.package = package
        super().__init__(
            path,
            f"includes a file of the package '{package}', {fault}",
            "Install the package, or correct its dotted name in include_ini_files.",
        )


class IncludeCircle(IniError, ValueError):
    """INI files include each other; ``chain`` is the way from the top file to the repeated one."""

    def __init__(self, chain: Sequence[str]) -> None:
        """Name every file on the way."""
        self.chain = tuple(chain)
        way = " -> ".join(f"'{path}'" for path in chain)
        super().__init__(chain[-1], f"includes itself: {way}", "Remove one of these includes.")


class IncludesTooDeep(IniError, ValueError):
    """More files include each other in a row than anybody would write; ``depth`` is the limit."""

    def __init__(self, path: str, included_by: str, depth: int) -> None:
        """Name the file at which it is enough."""
        self.depth = depth
        super().__init__(
            path,
            f"is more than {depth} includes away from the file that was named",
            "Include it from a file nearer to that one.",
            included_by=included_by,
        )


class IniNameNotFound(IniError, LookupError):
    """The ``option`` of a ``section`` refers to a ``name`` that does not exist."""

    def __init__(self, path: str, section: str, option: str, name: str, remedy: str = "") -> None:
        """Name the place where the reference is written."""
        self.section = section
        self.option = option
        self.name = name
        # What no option would be called may be a password that happens to look like a reference.
        shown = name if _NAME.fullmatch(name) else "..."
        defined = f"'{name}'" if shown == name else "the name"
        super().__init__(
            path,
            f"refers to %({shown})s in option '{option}' of section [{section}], "
            "where no such name is known",
            remedy
            or f"Define {defined} in [{section}] or [DEFAULT]; if the text is meant literally, "
            f"write %%({shown})s.",
        )


class IniGlobalNotFound(IniError, LookupError):
    """An ``option`` of a ``section`` gets what no ``[DEFAULT]`` and nothing else sets."""

    def __init__(self, path: str, section: str, option: str) -> None:
        """Name the place, not what is written there."""
        self.section = section
        self.option = option
        super().__init__(
            path,
            f"has '{option}' in section [{section}], for a name that is not set",
            "Name an option of [DEFAULT].",
        )


class IniInterpolationLoop(IniError, ValueError):
    """The options of a ``section`` refer to each other; ``chain`` is the way around."""

    def __init__(self, path: str, section: str, chain: Sequence[str]) -> None:
        """Name every option on the way."""
        self.section = section
        self.chain = tuple(chain)
        way = " -> ".join(f"'{option}'" for option in chain)
        super().__init__(
            path,
            f"has options in section [{section}] that refer to each other: {way}",
            "Give one of them a value of its own.",
        )


class IniInterpolationEndless(IniError, ValueError):
    """An ``option`` of a ``section`` refers to more than can be put together."""

    def __init__(self, path: str, section: str, option: str) -> None:
        """Name the option."""
        self.section = section
        self.option = option
        super().__init__(
            path,
            f"refers in option '{option}' of section [{section}] to too many other options, "
            "which refer to others in turn",
            "Write the value out.",
        )


class IniSectionNotFound(IniError, LookupError):
    """A ``section`` is asked for that neither the file nor its includes have."""

    def __init__(self, path: str, section: str, known: Sequence[str]) -> None:
        """List the sections of the same kind that there are."""
        self.section = section
        self.known = tuple(known)
        others = ", ".join(f"[{name}]" for name in known)
        super().__init__(
            path,
            f"has no section [{section}], and no file that it includes has one",
            f"Add the section, or name one of these instead: {others}."
            if known
            else "Add the section.",
        )


class IniSectionAmbiguous(IniError, LookupError):
    """Several sections are meant by one name; ``sections`` maps each to its file."""

    def __init__(self, path: str, name: str, sections: dict[str, str]) -> None:
        """Name all of them with their files."""
        self.name = name
        self.sections = sections
        places = " and ".join(f"[{section}] of '{file}'" for section, file in sections.items())
        super().__init__(
            path, f"has several sections for the name '{name}': {places}", "Rename all but one."
        )


class IniLoggingError(IniError, ValueError):
    """The logging sections name a section, option or handler (``missing``) that does not exist."""

    def __init__(self, path: str, missing: str) -> None:
        """Name what is missing."""
        self.missing = missing
        super().__init__(
            path,
            f"configures logging, but neither it nor a file that it includes defines '{missing}'",
            "Define it, or take it out of the sections [loggers], [handlers] and [formatters].",
        )


class IniLoggingRefused(IniError, ValueError):
    """Python's logging refuses a configuration; ``error`` is the name of its error's class."""

    def __init__(self, path: str, error: BaseException) -> None:
        """Name the kind of error alone: its words may hold an argument of a handler."""
        self.error = type(error).__name__
        super().__init__(
            path,
            f"configures logging in a way that Python refuses: {self.error}",
            "Correct the class, args and level in its sections [handler_...] and [logger_...].",
        )
