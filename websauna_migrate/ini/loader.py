"""The plaster loader behind ``ws://``: PasteDeploy's INI files, with includes.

``pserve ws://development.ini`` reads the file merged with all that it includes, as
:mod:`.includes` says. Everything else is as in plaster_pastedeploy, except that a
``%`` which begins neither ``%%`` nor ``%(name)s`` stands for itself, so that a password in a URL
needs no escape.
"""

from __future__ import annotations

import configparser
import logging
import logging.config
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import plaster
import plaster_pastedeploy
from paste.deploy import loadwsgi

from websauna_migrate.ini.includes import REFERENCE, MergedIni, read_ini, unknown_name
from websauna_migrate.ini.ini_errors import IniError, IniMalformed
from websauna_migrate.ini.started_from import starting_from

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: What options may be interpolated with besides the file's own.
Defaults = Mapping[str, str] | None

#: Of the URIs that :class:`Loader` is registered for.
SCHEME = "ws"

#: Options which PasteDeploy reads as references to other sections and files.
_REFERRING = {"use", "next", "filter-with", "pipeline"}

# Unlike Path.is_file it never raises, even if what was typed is longer than a file name may be.
_is_file: Callable[[str], bool] = os.path.isfile


def config_uri(argument: str) -> str:
    """Turn what a user types after ``-c`` into a plaster URI.

    :param argument: a path, or a plaster URI with a scheme; a fragment ``#name`` and a query
        ``?option=value`` may follow either
    :returns: for a path the ``ws://`` URI of the absolute path; a URI as it is
    :raises IniError: for a URI that cannot be read as one; name the file by its path
    """
    path, suffix = _split(argument, "#?", _is_file)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:(//)?", argument)
    # A relative path may begin like a URI: an existing file decides, unless there is a "://".
    if scheme and (scheme[1] or not _is_file(path)):
        try:
            urlsplit(argument)
        except ValueError:
            raise IniError(path, "uri", "is no URI", "Name the file by its path.") from None
        return argument
    # POSIX keeps two leading slashes, but in a URI a host name would follow them.
    path = "/" + os.path.normpath(Path(path).absolute()).lstrip("/")
    quoted = re.sub(r"[%#?\x00-\x1f\x7f]", lambda match: f"%{ord(match[0]):02X}", path)
    return f"{SCHEME}://{quoted}{suffix}"


def _split(text: str, marks: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """Split a path from the ``#`` or ``?`` behind it, also if a directory name has such a mark.

    The longest path that exists counts. If none does, the first that ends with ``.ini``, else
    what precedes the first mark.
    """
    ends = [match.start() for match in re.finditer(f"[{marks}]", text)] + [len(text)]
    for end in reversed(ends):
        if exists(text[:end]):
            return text[:end], text[end:]
    end = next((end for end in ends if text[:end].endswith(".ini")), ends[0])
    return text[:end], text[end:]


def _decode(path: str) -> str:
    """Decode the percent escapes in a path, unless only the path as it is written exists."""
    decoded = unquote(path, errors="surrogateescape")
    return path if _is_file(path) and not _is_file(decoded) else decoded


#: So many options may refer to each other in a row, and so long may become what results.
_MAX_CHAIN, _MAX_LENGTH = 100, 1_000_000


class _Interpolation(configparser.Interpolation):
    """Replaces ``%(name)s`` and ``%%``; any other ``%`` stands for itself."""

    def before_get(
        self, parser: Any, section: str, option: str, value: str, defaults: Mapping[str, str]
    ) -> str:
        if "%" not in value:
            return value
        return self._resolve(parser.ini, section, (option,), value, defaults, {})

    def _resolve(
        self,
        ini: MergedIni,
        section: str,
        chain: tuple[str, ...],
        text: str,
        names: Mapping[str, str],
        known: dict[str, str],
    ) -> str:
        """Return a text with everything replaced; ``known`` are the options resolved before."""
        length = len(text)

        def replace(match: re.Match[str]) -> str:
            nonlocal length
            name = match[1]
            if name is None:
                return "%"
            place = ini.origin(section, chain[-1]) or ini.path
            if name in chain:
                loop = (*chain[chain.index(name) :], name)
                way = " -> ".join(f"'{option}'" for option in loop)
                problem = f"has options in section [{section}] that refer to each other: {way}"
                remedy = "Give one of them a value of its own."
                raise IniMalformed(
                    place, "loop", problem, remedy, names=loop, section=section, option=chain[-1]
                )
            if name not in names:
                where = section if chain[-1] in ini.items(section) else configparser.DEFAULTSECT
                raise unknown_name(place, where, chain[-1], name)
            if name not in known and len(chain) < _MAX_CHAIN:
                found = self._resolve(ini, section, (*chain, name), names[name], names, known)
                known[name] = found
            length += len(known.get(name, ""))
            if name not in known or length > _MAX_LENGTH:
                problem = (
                    f"refers in option '{chain[0]}' of section [{section}] to too many other "
                    "options, which refer to others in turn"
                )
                remedy = "Write the value out."
                raise IniMalformed(
                    place,
                    "endless",
                    problem,
                    remedy,
                    names=chain,
                    section=section,
                    option=chain[0],
                )
            return known[name]

        return REFERENCE.sub(replace, text)


class MergedParser(configparser.ConfigParser):
    """A parser that holds a merged INI file; it stands in for PasteDeploy's ``NicerConfigParser``.

    :ivar ini: what it was made from
    """

    def __init__(self, ini: MergedIni) -> None:
        """Take over all options, and define ``here`` and ``__file__`` for the top file."""
        super().__init__(interpolation=_Interpolation())
        self.ini = ini
        self.set_default("here", Path(ini.path).parent)
        self.set_default("__file__", ini.path)
        self.read_dict(
            {
                section: {
                    o: self._anchor(section, o, text) for o, text in ini.items(section).items()
                }
                for section in (configparser.DEFAULTSECT, *ini.sections())
            }
        )

    def optionxform(self, optionstr: str) -> str:
        """Keep the case of option names, as PasteDeploy does."""
        return optionstr

    def defaults(self) -> dict[str, str]:
        """Return the options of ``DEFAULT``, interpolated, as PasteDeploy wants them."""
        return {option: self.get(self.default_section, option) for option in super().defaults()}

    def set_default(self, option: str, value: object, *, literal: bool = False) -> None:
        """Set an option of ``DEFAULT``.

        :param option: its name; ``here`` and ``__file__`` are always literal
        :param value: anything but a string is converted to one
        :param literal: whether ``%`` in the value has no meaning
        """
        text = str(value)
        if literal or option in ("here", "__file__"):
            text = text.replace("%", "%%")
        self.set(self.default_section, option, text)

    def _anchor(self, section: str, option: str, text: str) -> str:
        """Make ``config:x.ini`` in an included file relative to that file, not to the top file."""
        if option not in _REFERRING and not section.startswith(("composite:", "composit:")):
            return text
        directory = Path(self.ini.origin(section, option) or self.ini.path).parent
        if directory == Path(self.ini.path).parent:
            return text
        # Quoted, since a space would end an item of a pipeline; doubled, since text is raw.
        prefix = "config:" + quote(os.fsencode(directory)).replace("%", "%%") + "/"
        return re.sub(r"(?<!\S)config:(?![/%])", lambda _: prefix, text)


class _IniLoader(loadwsgi.ConfigLoader):  # type: ignore[misc]  # PasteDeploy has no types
    """PasteDeploy's own loader on merged files; :ivar parser: what it reads from."""

    def __init__(self, ini: MergedIni, given: Mapping[str, object]) -> None:
        """Load from ``ini``; ``given`` are the raw defaults of the caller, not yet applied."""
        self.filename = ini.path
        self.given = given
        self.parser = MergedParser(ini)
        self._writer: str | None = None

    def update_defaults(self, new_defaults: Mapping[str, object], overwrite: bool = True) -> None:
        """Apply defaults: the caller's raw, others literally, because they are interpolated."""
        for option, value in new_defaults.items():
            if overwrite or not self.parser.has_option(self.parser.default_section, option):
                literal = option not in self.given or self.given[option] != value
                self.parser.set_default(option, value, literal=literal)

    def get_context(
        self,
        object_type: object,
        name: str | None = None,
        global_conf: Mapping[str, object] | None = None,
    ) -> Any:
        """Load ``config:x.ini`` by the same rules, and leave everything else to PasteDeploy."""
        writer, self._writer = self._writer or self.filename, None
        if name is None or not name.lower().startswith("config:"):
            return super().get_context(object_type, name, global_conf)
        target = str(Path(self.filename).parent / name[len("config:") :])
        path, suffix = _split(target, "#", lambda path: _is_file(_decode(path)))
        other = _IniLoader(read_ini(_decode(path), writer), self.given)
        other.update_defaults(global_conf or {}, overwrite=False)
        return other.get_context(object_type, suffix[1:] or "main", global_conf)

    def _context_from_use(
        self,
        object_type: object,
        local_conf: object,
        global_conf: object,
        global_additions: object,
        section: str,
    ) -> Any:
        """Remember for an error which file has the ``use`` that is followed now."""
        self._writer = self.parser.ini.origin(section, "use")
        return super()._context_from_use(
            object_type, local_conf, global_conf, global_additions, section
        )

    def find_config_section(self, object_type: Any, name: str | None = None) -> str:
        """Find the section by PasteDeploy's rules.

        :raises IniMalformed: there is none, or several fit, such as app:main and pipeline:main;
            add it, or rename one
        """
        try:
            return str(super().find_config_section(object_type, name))
        except LookupError:
            pass
        name = name or "main"
        ini = self.parser.ini
        prefixes = loadwsgi._flatten(object_type.config_prefixes)
        known = [found for found in ini.sections() if found.partition(":")[0] in prefixes]
        fitting = [found for found in known if found.partition(":")[2].strip() == name]
        if fitting:
            places = " and ".join(
                f"[{section}] of '{ini.origin(section) or ini.path}'" for section in fitting
            )
            problem = f"has several sections for the name '{name}': {places}"
            remedy = "Rename all but one."
            raise IniMalformed(
                self.filename, "ambiguous", problem, remedy, names=fitting, section=name
            )
        section = f"{prefixes[0]}:{name}"
        others = ", ".join(f"[{found}]" for found in known)
        choice = f", or name one of these instead: {others}." if known else "."
        problem = f"has no section [{section}], and no file that it includes has one"
        remedy = f"Add the section{choice}"
        raise IniMalformed(self.filename, "section", problem, remedy, names=known, section=section)


def _unset(parser: MergedParser, section: str, exc: KeyError) -> IniMalformed:
    """Return the error of the ``get name = global`` that plaster_pastedeploy could not follow."""
    gets = [name for name in parser.options(section) if name.startswith("get ")]
    option = next((name for name in gets if parser.get(section, name) == exc.args[0]), "get")
    place = parser.ini.origin(section, option) or parser.ini.path
    problem = f"has '{option}' in section [{section}], for a name that is not set"
    remedy = "Name an option of [DEFAULT]."
    return IniMalformed(place, "global", problem, remedy, section=section, option=option)


class Loader(plaster_pastedeploy.Loader):  # type: ignore[misc]  # plaster_pastedeploy has no types
    """Loads settings, applications, servers, filters and logging from a merged INI file.

    The files are read anew at each call, as plaster_pastedeploy does, but for
    :meth:`reading_once`. Each method raises what
    :func:`websauna_migrate.ini.includes.read_ini` raises, and :class:`.IniMalformed` for an
    option that cannot be interpolated.
    """

    filepath: str

    def __init__(self, uri: plaster.PlasterURL) -> None:
        """Load from a parsed URI, whose path may hold percent escapes such as ``%23`` for ``#``."""
        self._held: tuple[object, MergedParser] | None = None
        path = _decode(uri.path)
        super().__init__(plaster.PlasterURL(uri.scheme, path, uri.options, uri.fragment))

    def __repr__(self) -> str:
        """Name the file, not the query: an option in it may hold a password."""
        return f"websauna_migrate.ini.loader.Loader('{self.filepath}')"

    def get_settings(self, section: str | None = None, defaults: Defaults = None) -> dict[str, str]:
        """Return the settings of a section.

        For ``pserve``, ``watch_files`` also names all included files, so that ``--reload`` sees
        a change in them too.

        :param section: default: the fragment of the URI
        :param defaults: names to interpolate; they win over ``[DEFAULT]``
        :returns: a dictionary, empty if there is no such section
        """
        with self.reading_once(defaults) as parser:
            try:
                settings: dict[str, str] = super().get_settings(section, defaults)
            except KeyError as exc:
                raise _unset(parser, self._maybe_get_default_name(section), exc) from None
        if section == "pserve" and (included := parser.ini.files[1:]):
            settings["watch_files"] = "\n".join([settings.get("watch_files", ""), *included])
        return settings

    @contextmanager
    def reading_once(self, defaults: Defaults = None) -> Iterator[MergedParser]:
        """Read the files now, and not again for the settings and sections that are asked within."""
        before = self._held
        parser = self._get_parser(defaults)
        self._held = (defaults, parser)
        try:
            yield parser
        finally:
            self._held = before

    def get_wsgi_app(self, name: str | None = None, defaults: Defaults = None) -> WSGIApplication:
        """Return a WSGI application.

        :param name: default: the fragment of the URI, else ``main``
        :param defaults: names to interpolate, and part of ``global_conf``
        :raises IniMalformed: there is no such application; add the section
        """
        context = self._context(loadwsgi.APP, name, defaults)
        section = name or self.uri.fragment or "main"
        suffix = "" if section == "main" else f"#{section}"
        with starting_from(f"{Path(self.filepath).absolute()}{suffix}"):
            application: WSGIApplication = context.create()
        return application

    def get_wsgi_server(
        self, name: str | None = None, defaults: Defaults = None
    ) -> Callable[[WSGIApplication], None]:
        """Return a callable that serves an application; see :meth:`get_wsgi_app`."""
        server: Callable[[WSGIApplication], None] = self._context(
            loadwsgi.SERVER, name, defaults
        ).create()
        return server

    def get_wsgi_filter(
        self, name: str | None = None, defaults: Defaults = None
    ) -> Callable[[WSGIApplication], WSGIApplication]:
        """Return a callable that filters an application; see :meth:`get_wsgi_app`."""
        found: Callable[[WSGIApplication], WSGIApplication] = self._context(
            loadwsgi.FILTER, name, defaults
        ).create()
        return found

    def get_wsgi_app_settings(
        self, name: str | None = None, defaults: Defaults = None
    ) -> dict[str, str]:
        """Return the settings that an application would get; see :meth:`get_wsgi_app`."""
        conf = self._context(loadwsgi.APP, name, defaults).config()
        settings: dict[str, str] = plaster_pastedeploy.ConfigDict(
            conf.local_conf, conf.global_conf, self
        )
        return settings

    def setup_logging(self, defaults: Defaults = None) -> None:
        """Configure logging from the merged file, or to stderr if it has no ``[loggers]``.

        :param defaults: names to interpolate; ``[DEFAULT]`` wins over them
        :raises IniMalformed: a section or option of the configuration is missing, or a handler or
            level cannot be made; correct it
        """
        parser = self._ini_loader(defaults, overwrite=False).parser
        if not parser.has_section("loggers"):
            logging.basicConfig()
            return
        try:
            logging.config.fileConfig(parser, disable_existing_loggers=False)
        except KeyError as exc:
            raise IniMalformed(
                self.filepath,
                "logging",
                "configures logging, but neither it nor a file that it includes defines "
                f"'{exc.args[0]}'",
                "Define it, or take it out of the sections [loggers], [handlers] and [formatters].",
            ) from exc
        except IniError:
            raise
        except ModuleNotFoundError as exc:
            raise IniMalformed(
                self.filepath,
                "logging",
                f"configures logging with a class of the module '{exc.name}', "
                "which is not installed",
                "Install it, or name another class in the section [handler_...] that has it.",
            ) from exc
        except Exception as exc:
            # The kind of error alone: its words may hold an argument of a handler.
            raise IniMalformed(
                self.filepath,
                "logging",
                f"configures logging in a way that Python refuses: {type(exc).__name__}",
                "Correct the class, args and level in its sections [handler_...] and [logger_...].",
            ) from exc

    def _get_parser(self, defaults: Defaults = None) -> MergedParser:
        if self._held is not None and self._held[0] == defaults:
            return self._held[1]
        parser: MergedParser = self._ini_loader(defaults, overwrite=True).parser
        return parser

    def _context(self, object_type: object, name: str | None, defaults: Defaults) -> Any:
        loader = self._ini_loader(defaults, overwrite=False)
        name = self._maybe_get_default_name(name) or "main"
        return loader.get_context(object_type, name, loader.given)

    def _ini_loader(self, defaults: Defaults, *, overwrite: bool) -> _IniLoader:
        """Read the files; ``overwrite``: whether the defaults win over ``[DEFAULT]`` in them."""
        loader = _IniLoader(read_ini(self.filepath), self._get_defaults(defaults))
        loader.update_defaults(loader.given, overwrite)
        return loader


def open_loader(uri: str) -> Any:
    """Return the loader of a plaster URI.

    plaster looks through the metadata of every installed distribution for it, each time; for a URI
    of our own scheme that is left out.

    :raises PlasterError: if there is none
    """
    parsed = plaster.parse_uri(uri)
    if parsed.scheme == SCHEME:
        return Loader(parsed)
    return plaster.get_loader(parsed, protocols=["wsgi"])
