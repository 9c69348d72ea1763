"""What can be wrong with an INI file and with what it includes.

No message carries the value of an option, because any value may hold a password.
"""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.errors import MigrationError

__all__ = [
    "IncludeError",
    "IniError",
    "IniLookupError",
    "IniMalformed",
    "IniNotFound",
    "IniNotReadable",
]


class IniError(MigrationError):
    """Something is wrong with an INI file.

    :ivar path: the file
    :ivar kind: a word for the fault; each class lists its own. Of this class: ``uri``, for a name
        of a file that is no URI
    :ivar included_by: the file that includes it, ``None`` for the file that was named first
    """

    def __init__(
        self, path: str, kind: str, problem: str, remedy: str, *, included_by: str | None = None
    ) -> None:
        """Build the message from the file, what is wrong with it, and what helps."""
        self.path = path
        self.kind = kind
        self.included_by = included_by
        included = f", included by '{included_by}'," if included_by else ""
        super().__init__(f"INI file '{path}'{included} {problem}. {remedy}")


class IniNotFound(IniError, FileNotFoundError):
    """An INI file does not exist; kind ``missing``."""

    def __init__(self, path: str, included_by: str | None = None) -> None:
        remedy = "Check the path; a relative one starts at the current directory."
        if included_by:
            remedy = f"Create it, or correct its name in '{included_by}'."
        super().__init__(path, "missing", "does not exist", remedy, included_by=included_by)


class IniNotReadable(IniError, OSError):
    """The operating system refuses to read an INI file; kind ``unreadable``.

    :ivar reason: the words of the operating system
    """

    def __init__(self, path: str, reason: str, included_by: str | None = None) -> None:
        self.reason = reason
        remedy = "Name a file that this user may read."
        problem = f"cannot be read: {reason}"
        super().__init__(path, "unreadable", problem, remedy, included_by=included_by)


class IniMalformed(IniError, ValueError):
    """A file cannot be understood, or includes what cannot be included.

    :ivar kind: ``syntax``, or ``logging`` for a logging configuration that Python refuses; of what
        is included ``scheme`` for an unknown one, ``package`` for one that is not installed,
        ``circle`` for a file that includes itself, ``depth`` for too long a chain of includes
    :ivar line: the line of a fault of syntax, counted from 1; else 0
    :ivar names: the scheme, the package, or the files of the circle or chain
    """

    def __init__(
        self,
        path: str,
        kind: str,
        problem: str,
        remedy: str,
        *,
        line: int = 0,
        names: Sequence[str] = (),
        included_by: str | None = None,
    ) -> None:
        self.line = line
        self.names = tuple(names)
        if line:
            problem = f"is malformed at line {line}: {problem}"
        super().__init__(path, kind, problem, remedy, included_by=included_by)


#: Its former name for what cannot be included.
IncludeError = IniMalformed


class IniLookupError(IniError, LookupError):
    """A section or option does not exist, is there twice, or cannot be interpolated.

    :ivar kind: ``name`` for a reference to an unknown name, ``global`` for a ``get`` of one,
        ``loop`` for options that refer to each other, ``endless`` for a value that gets too long,
        ``section`` and ``ambiguous`` for a missing section and one of several
    :ivar section: the section that was looked up, or that has the option
    :ivar option: the option with the reference, empty for a section
    :ivar names: the unknown name, the options of the loop, or the sections to choose from
    """

    def __init__(
        self,
        path: str,
        kind: str,
        section: str,
        option: str,
        names: Sequence[str],
        problem: str,
        remedy: str,
    ) -> None:
        self.section = section
        self.option = option
        self.names = tuple(names)
        super().__init__(path, kind, problem, remedy)
