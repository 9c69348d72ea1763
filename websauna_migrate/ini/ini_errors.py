"""What can be wrong with an INI file and with what it includes.

No message carries the value of an option, because any value may hold a password.
"""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.base_errors import MigrationError


class IniError(MigrationError):
    """Something is wrong with an INI file.

    :ivar path: the file
    :ivar kind: a word for the fault; each class lists its own. Of this class: ``uri``, for a name
        of a file that is no URI, and ``unreadable``, for one that the operating system refuses to
        read
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


class IniMalformed(IniError, ValueError, LookupError):
    """A file cannot be understood, or includes what cannot be included, or lacks what is looked up.

    :ivar kind: ``syntax``, or ``logging`` for a logging configuration that Python refuses; of what
        is included ``scheme`` for an unknown one, ``package`` for one that is not installed,
        ``circle`` for a file that includes itself, ``depth`` for too long a chain of includes; of
        sections and options ``name`` for a reference to an unknown name, ``global`` for a ``get``
        of one, ``loop`` for options that refer to each other, ``endless`` for a value that gets too
        long, ``section`` and ``ambiguous`` for a missing section and one of several
    :ivar line: the line of a fault of syntax, counted from 1; else 0
    :ivar names: the scheme, the package, the files of the circle or chain; the unknown name, the
        options of the loop, or the sections to choose from
    :ivar section: the section that was looked up, or that has the option; else empty
    :ivar option: the option with the reference; else empty
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
        section: str = "",
        option: str = "",
        included_by: str | None = None,
    ) -> None:
        self.line = line
        self.names = tuple(names)
        self.section = section
        self.option = option
        if line:
            problem = f"is malformed at line {line}: {problem}"
        super().__init__(path, kind, problem, remedy, included_by=included_by)
