"""INI files that include others: read them, and merge them raw into one.

The section ``[includes]`` of an INI file names further files in ``include_ini_files``. The
including file wins over them, and an earlier include over a later one, key by key. What an include
itself includes ranks right behind it, unless the including file names that too: then it ranks where
it is named there. Nothing is interpolated here but ``%(here)s`` and
``%(__file__)s`` in that one option: the rest resolves after merging, in
:mod:`websauna_migrate.ini.loader`.

No message of an error carries the value of an option, because any value may hold a password.
"""

from __future__ import annotations

import configparser
import importlib.util
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from websauna_migrate.ini.ini_errors import IniError, IniMalformed, IniNotFound

#: The escape ``%%``, or a reference ``%(name)s`` with its name as the only group.
REFERENCE = re.compile(r"%%|%\(([^)]+)\)s")

#: So many files may include each other in a row: more are a generator's mistake.
MAX_DEPTH = 200

#: What an option may be called.
_NAME = re.compile(r"[\w.\-]{1,64}")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_+.\-]*):")


class MergedIni:
    """An INI file and all that it includes, merged, not interpolated.

    :ivar path: the top file, absolute: the one that was named on the command line
    :ivar files: every file that was read, by rank: the top file first
    """

    def __init__(self, path: str) -> None:
        """Start empty; :func:`read_ini` fills it."""
        self.path = path
        self.files: list[str] = []
        self._options: dict[str, dict[str, tuple[str, str]]] = {}
        self._first: dict[str, str] = {}

    def sections(self) -> list[str]:
        """Return the names of all sections without ``DEFAULT``."""
        return [section for section in self._first if section != configparser.DEFAULTSECT]

    def items(self, section: str) -> dict[str, str]:
        """Return the raw options of a section.

        :param section: ``DEFAULT`` is a section like any other here
        :returns: only its own options, those of ``DEFAULT`` are not in it; empty if there is none
        """
        return {option: text for option, (text, _) in self._options.get(section, {}).items()}

    def origin(self, section: str, option: str | None = None) -> str | None:
        """Return the file that an option, or a section as such, comes from.

        :param section: ``DEFAULT`` is asked too if the section itself has no such option
        :param option: without it, the highest ranking file that has the section
        :returns: an absolute path, or ``None`` if no file has the option
        """
        if option is None:
            return self._first.get(section)
        for where in (section, configparser.DEFAULTSECT):
            if found := self._options.get(where, {}).get(option):
                return found[1]
        return None

    def add(self, path: str, section: str, options: dict[str, str]) -> None:
        """Add what a file has in a section behind everything that is already there."""
        self._first.setdefault(section, path)
        mine = self._options.setdefault(section, {})
        for option, text in options.items():
            mine.setdefault(option, (text, path))


def read_ini(path: str, included_by: str | None = None) -> MergedIni:
    """Read an INI file with everything it includes.

    :param path: the top file; a relative path starts at the current directory
    :param included_by: the file to name in an error as the one in which ``path`` is written
    :returns: the merged file
    :raises IniNotFound: a file does not exist; create it or correct the name
    :raises IniError: it is a directory, or permissions forbid it
    :raises IniMalformed: a file is not UTF-8, or not an INI file, or an include cannot be followed;
        correct the line. One that refers to more than ``%(here)s``: write the path out
    """
    ini = MergedIni(_absolute(path))
    read: dict[str, _File] = {}
    _read(ini, read, ini.path, included_by, ())
    _merge(ini, read, ini.path, frozenset())
    return ini


@dataclass(frozen=True, slots=True)
class _File:
    """One file.

    :ivar options: its options, by section, ``DEFAULT`` first if it has any
    :ivar includes: absolute paths of the files that it includes, as it names them
    """

    options: dict[str, dict[str, str]]
    includes: tuple[str, ...]


def _not_readable(path: str, reason: str, included_by: str | None) -> IniError:
    """Return the error of a file that the operating system refuses to read.

    :param reason: its words
    """
    remedy = "Name a file that this user may read."
    problem = f"cannot be read: {reason}"
    return IniError(path, "unreadable", problem, remedy, included_by=included_by)


def _absolute(path: str | Path) -> str:
    """Return an absolute path without ``..``; as in PasteDeploy, symbolic links stay."""
    return os.path.normpath(Path(path).absolute())


def _read(
    ini: MergedIni,
    read: dict[str, _File],
    path: str,
    included_by: str | None,
    chain: tuple[str, ...],
) -> None:
    """Read a file, then depth first what it includes."""
    if "\0" in path:
        raise _not_readable(path, "its name has a NUL character", included_by)
    # The real path, because a symbolic link to a directory can make a circle of ever new names.
    if os.path.realpath(path) in map(os.path.realpath, chain):
        names = (*chain, path)
        way = " -> ".join(f"'{name}'" for name in names)
        remedy = "Remove one of these includes."
        raise IniMalformed(path, "circle", f"includes itself: {way}", remedy, names=names)
    if len(chain) > MAX_DEPTH:
        problem = f"is more than {MAX_DEPTH} includes away from the file that was named"
        remedy = "Include it from a file nearer to that one."
        raise IniMalformed(path, "depth", problem, remedy, names=chain, included_by=chain[-1])
    if path in read:
        return
    parser = _parse(path, included_by)
    # Taken out first: items() of a section would otherwise mix the defaults in.
    defaults = dict(parser.defaults())
    for option in defaults:
        parser.remove_option(configparser.DEFAULTSECT, option)
    options = {configparser.DEFAULTSECT: defaults} if defaults else {}
    options |= {name: dict(parser.items(name, raw=True)) for name in parser.sections()}
    references = re.split(r"[\s,]+", parser.get("includes", "include_ini_files", fallback=""))
    includes = []
    for reference in filter(None, references):
        includes.append(_locate(ini, path, reference))
        _read(ini, read, includes[-1], path, (*chain, path))
    read[path] = _File(options, tuple(includes))


def _merge(ini: MergedIni, read: dict[str, _File], path: str, named: frozenset[str]) -> None:
    """Add a file, then depth first what it includes.

    :param named: what the files on the way to it include; each of these has its rank from there
    """
    if path in ini.files:
        return  # Included before on another way, where it ranks higher: nothing is left to add.
    ini.files.append(path)
    for section, options in read[path].options.items():
        ini.add(path, section, options)
    includes = read[path].includes
    for include in includes:
        if include not in named:
            _merge(ini, read, include, named.union(includes))


class _RawParser(configparser.RawConfigParser):
    """Reads as PasteDeploy does, which keeps the case of option names, but interpolates nothing."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _parse(path: str, included_by: str | None) -> configparser.RawConfigParser:
    """Read one file. The errors of configparser quote the line, so they are not chained."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise IniNotFound(path, included_by) from None
    except OSError as exc:
        raise _not_readable(path, exc.strerror or type(exc).__name__, included_by) from exc
    parser = _RawParser()
    try:
        parser.read_file(io.StringIO(content.decode("utf-8-sig"), newline=None), path)
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        fault, remedy = "the text is not UTF-8", "Save the file as UTF-8."
    except configparser.DuplicateSectionError as exc:
        line = exc.lineno or 0
        fault = f"section [{exc.section}] is there twice"
        remedy = "Make one section of the two."
    except configparser.DuplicateOptionError as exc:
        line = exc.lineno or 0
        fault = f"option '{exc.option}' of section [{exc.section}] is there twice"
        remedy = "Keep one of the two."
    except configparser.MissingSectionHeaderError as exc:
        line = exc.lineno
        fault = "there is no [section] header above it"
        remedy = "Write a header such as [app:main] above the first option."
    except configparser.ParsingError as exc:
        line = getattr(exc, "lineno", None) or exc.errors[0][0]
        fault = "it is neither a [section] header nor 'option = value'"
        remedy = "Add the '=', indent the line to continue the one above, or make it a # comment."
    else:
        return parser
    raise IniMalformed(path, "syntax", fault, remedy, line=line, included_by=included_by)


def _locate(ini: MergedIni, path: str, reference: str) -> str:
    """Return the absolute path of what the file ``path`` includes as ``reference``."""
    known = {"here": str(Path(ini.path).parent), "__file__": ini.path}

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "%"
        if name not in known:
            remedy = "Includes are read before names resolve: write the path, or %(here)s in it."
            raise unknown_name(path, "includes", "include_ini_files", name, remedy)
        return known[name]

    # The scheme is looked for before %(here)s is replaced, since a directory name may hold a colon.
    scheme = _SCHEME.match(reference)
    reference = REFERENCE.sub(replace, reference)
    if scheme is None:
        return _absolute(Path(path).parent / reference)
    prefix = "resource://"
    if reference[: len(prefix)].lower() != prefix:
        # The scheme alone: the rest of a URL may hold a password.
        raise IniMalformed(
            path,
            "scheme",
            f"includes a file with the unknown scheme '{scheme[1]}:'",
            "In include_ini_files, write a path (./name if the name holds a colon) or "
            "resource://dotted.package/path/in/it.ini.",
            names=[scheme[1]],
        )
    package, _, inside = reference[len(prefix) :].partition("/")
    # A namespace package may lie in several directories; the first that has the file gives it.
    places = [place / inside for place in _package_directories(path, package)]
    return _absolute(next((place for place in places if place.is_file()), places[0]))


def _package_directories(path: str, package: str) -> list[Path]:
    """Return the directories of a package; only the packages that contain it get imported."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{package}.".startswith(f"{exc.name}."):
            raise  # A package is there and fails to import something else: its own traceback helps.
        spec = None
    except (ImportError, ValueError):
        # A name that is empty or begins with a dot.
        spec = None
    directories: list[Path] = []
    if spec is None:
        fault = "which is not installed"
    elif spec.submodule_search_locations is None:
        fault = "which is a module and not a package"
    else:
        fault = "which is not unpacked in a directory"
        places = map(Path, spec.submodule_search_locations)
        directories = [place for place in places if place.is_dir()]
    if not directories:
        raise IniMalformed(
            path,
            "package",
            f"includes a file of the package '{package}', {fault}",
            "Install the package, or correct its dotted name in include_ini_files.",
            names=[package],
        )
    return directories


def unknown_name(path: str, section: str, option: str, name: str, remedy: str = "") -> IniMalformed:
    """Return the error of an option that refers to an unknown name."""
    # A name that no option would have may be a password that looks like a reference.
    shown = name if _NAME.fullmatch(name) else "..."
    defined = f"'{name}'" if shown == name else "the name"
    return IniMalformed(
        path,
        "name",
        f"refers to %({shown})s in option '{option}' of section [{section}], "
        "where no such name is known",
        remedy
        or f"Define {defined} in [{section}] or [DEFAULT]; if the text is meant literally, "
        f"write %%({shown})s.",
        names=[name],
        section=section,
        option=option,
    )
