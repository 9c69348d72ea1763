"""A package's revision scripts as revisions: from the index, from their text, or imported."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.database.cache import Cache
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision, attributes_of
from websauna_migrate.revision_scripts.old_websauna import what_to_write
from websauna_migrate.revision_scripts.script_error import ScriptError, line_of
from websauna_migrate.revision_scripts.script_files import (
    SCRIPT_NAME,
    ScriptFiles,
    checksum_of,
    is_compiled,
    list_script_files,
    read_script,
)
from websauna_migrate.revision_scripts.script_index import ScriptIndex

if TYPE_CHECKING:
    from alembic.script.base import Script


class ScriptDirectory(Protocol):
    """What is asked of Alembic's script directory."""

    def list_files(self) -> list[Path]:
        """Return the files that may be revision scripts, each real file once."""

    def import_script(self, path: Path) -> Script | None:
        """Import a file; ``None`` if it is no revision script after all."""


def broken(
    package: str, path: str, problem: str, remedy: str = "Correct the script, or remove it."
) -> ScriptError:
    """Return the error of a script that cannot be imported, or is wrong about itself."""
    return ScriptError(
        "broken",
        path,
        f'Revision script "{path}" of package "{package}" cannot be read: {problem}\n'
        f"{remedy} Nothing was changed.",
        package=package,
        problem=problem,
    )


def changed(package: str, path: str) -> ScriptError:
    """Return the error of a script that says something else than when it was read."""
    return ScriptError(
        "changed",
        path,
        f'Revision script "{path}" of package "{package}" was changed while the command ran, '
        "or computes what it says of itself in a way that its text does not show. Run the "
        "command again; if that does not help, run it with --no-index.",
        package=package,
    )


class ScriptReader:
    """Reads the scripts of one package, once.

    :ivar package: the package
    :ivar recursive: whether folders below its version locations are looked into
    :ivar cache: where the index is kept; ``None`` to import every script
    """

    def __init__(
        self,
        package: MigrationPackage,
        scripts: Callable[[], ScriptDirectory],
        *,
        cache: Cache | None,
        recursive: bool = False,
    ) -> None:
        """Prepare for reading.

        :param scripts: gives Alembic's script directory; called when a script has to be imported
        """
        self.package = package
        self.recursive = recursive
        self._scripts = scripts
        self.cache = cache
        #: The newest module of each script that was executed, by path.
        self._imported: dict[str, ModuleType] = {}
        #: Modules of which no function has run, by path.
        self._unused: dict[str, ModuleType] = {}
        #: The texts of executed scripts, and what they were compiled to, by path.
        self._texts: dict[str, bytes] = {}
        self._codes: dict[str, CodeType] = {}
        #: True if all that was read is in the scripts' texts, which is not so of what is computed.
        self.is_from_text = False

    @cached_property
    def files(self) -> ScriptFiles:
        """The files that may be scripts, as they are when this is first asked for."""
        return list_script_files(self.package.version_locations, recursive=self.recursive)

    @cached_property
    def index(self) -> ScriptIndex:
        """What was read before; nothing where no cache is wanted."""
        return ScriptIndex(self.cache or Cache(None), self.package.script_directory)

    @cached_property
    def revisions(self) -> list[Revision]:
        """The revisions, in the order of the files.

        :raises ScriptError: naming the file
        """
        if self.cache is None:
            found = [self._execute(str(path)) for path in self._scripts().list_files()]
            return [revision for revision in found if revision is not None]
        known = self.index.revisions(self.package.name, self.files)
        self.is_from_text = None not in known
        asked = (
            self._execute(path) if revision is None else revision
            for path, revision in zip(self.files, known, strict=True)
        )
        return [revision for revision in asked if revision is not None]

    @cached_property
    def history(self) -> PackageHistory:
        """The revisions, connected.

        :raises MigrationError: naming the script that is at fault
        """
        return PackageHistory(self.package.name, self.revisions)

    def make_nothing(self, rows: Collection[str]) -> bool:
        """True if no script that is applied does anything, or none is applied.

        Many histories begin with a script that stands for tables of ``create_all``.

        :param rows: of the history table
        """
        history = self.history
        if history.lost(rows):
            return False
        paths = [history.revisions[one].path for one in history.applied(rows)]
        return not any(self.index.upgrade(path) for path in paths)

    def imported(self, revision: Revision) -> ModuleType:
        """Return the module of a revision's script, to be looked at; it is executed if need be.

        :raises ScriptError: if it cannot be executed, or is not what it was when it was read
        """
        path = revision.path
        if path not in self._imported and self._execute(path) != self.as_written(revision):
            raise changed(self.package.name, path)
        return self._imported[path]

    def as_written(self, revision: Revision) -> Revision:
        """Return a revision as its script says it: a parent may have been squashed."""
        return self.history.replacements.written.get(revision.id, revision)

    def fresh(self, revision: Revision) -> ModuleType:
        """Return a module of a revision's script of which no function has run.

        The text is executed once before a run, and once more for each further attempt: a column,
        an iterator or a type at the top of a script is used up by the function that used it.

        :raises ScriptError: if it cannot be executed, or is not what it was when it was read
        """
        path = revision.path
        module: ModuleType | None = self.imported(revision)
        if self._unused.pop(path, None) is None:
            with reporting(self.package.name, path):
                module = load_module(path, self._codes.get(path))
            if module is None:
                raise changed(self.package.name, path)
            self._imported[path] = module
        assert module is not None
        return module

    def digest(self, revision: Revision) -> str:
        """Return the SHA-256 of a script's text, hexadecimal; empty if it cannot be read."""
        source = self.text(revision)
        return "" if source is None else checksum_of(source)

    def text(self, revision: Revision) -> bytes | None:
        """Return a script's text as it was executed; ``None`` if it has none that can be read."""
        found = self._texts.get(revision.path) or read_script(revision.path)
        return None if found is None or is_compiled(found) else found

    def _execute(self, path: str) -> Revision | None:
        """Execute a script's text in a new module, and return what it says of itself.

        It is the text that counts: Python's import would take what it once compiled from a text of
        the same size and time. A script without a text, or without an identifier of its own, is
        left to Alembic.
        """
        name = self.package.name
        source = read_script(path) if SCRIPT_NAME.match(os.path.basename(path)) else None  # noqa: PTH119
        if source is None:
            return self._import(path)
        with reporting(name, path):
            code = compile(source, path, "exec", dont_inherit=True)
            module = load_module(path, code)
        if module is None or not is_usual(module):
            return self._import(path)
        self._codes[path], self._texts[path] = code, source
        self._imported[path] = self._unused[path] = module
        doc = (module.__doc__ or "").strip()
        return revision_in(name, path, module, module.revision, doc)

    def _import(self, path: str) -> Revision | None:
        """Import a script as Alembic does."""
        name = self.package.name
        with reporting(name, path):
            script = self._scripts().import_script(Path(path))
        if script is None:
            return None
        self._imported[path] = self._unused[path] = script.module
        return revision_in(name, script.path, script.module, script.revision, script.longdoc)


def load_module(path: str, code: CodeType | None = None) -> ModuleType | None:
    """Make a script's module as Alembic does, outside of ``sys.modules``; ``None`` without a file.

    :param code: what its text was compiled to; ``None`` for what Python imports
    """
    if not os.path.isfile(path):  # noqa: PTH113
        return None
    name = re.sub(r"\W", "_", os.path.basename(path))  # noqa: PTH119
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    if code is None:
        spec.loader.exec_module(module)
    else:
        exec(code, vars(module))
    return module


def is_usual(module: ModuleType) -> bool:
    """Tell whether a module says what Alembic asks of it, in the way of these days."""
    names = vars(module)
    return (
        "revision" in names and "down_revision" in names and "_alembic_source_encoding" not in names
    )


@contextmanager
def reporting(package: str, path: str) -> Iterator[None]:
    """Name a script that cannot be imported.

    :raises ScriptError: whatever the script raises
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as exc:
        report(package, path, exc)


def report(package: str, path: str, exc: BaseException) -> NoReturn:
    """Name the script that cannot be imported."""
    from alembic.util.exc import CommandError

    if isinstance(exc, SyntaxError):
        where = f"line {exc.lineno}: {exc.msg}" if exc.lineno else exc.msg
        raise broken(package, path, f"it has a syntax error in {where}.") from exc
    if isinstance(exc, CommandError):
        raise broken(package, path, str(exc)) from exc
    if isinstance(exc, AttributeError) and "down_revision" in str(exc):
        raise broken(package, path, 'it has no "down_revision".') from exc
    line = line_of(exc, path)
    where = "" if line is None else f" in line {line}"
    problem = f"it raises {type(exc).__name__}{where}: {exc}{what_to_write(exc)}"
    remedy = "Correct the script, or what it imports."
    if isinstance(exc, ModuleNotFoundError):
        remedy = "Install what it imports, or correct the script."
    raise broken(package, path, problem, remedy) from exc


def revision_in(package: str, path: str, module: ModuleType, id_: object, doc: str) -> Revision:
    """Return what a script's module says.

    :raises ScriptError: when one of its identifiers is not a text or a sequence of texts
    """
    try:
        values: dict[str, Any] = attributes_of({**vars(module), "revision": id_})
    except ValueError as exc:
        raise broken(package, path, str(exc)) from exc
    return Revision(package=package, doc=doc, path=path, **values)
