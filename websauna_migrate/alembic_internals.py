"""Every private name of Alembic that this package touches, and nothing else.

Each use says why the public API does not do; ``tests/test_alembic_internals.py`` fails loudly when
an upstream release changes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic.context  # noqa: F401 - it is what fills EnvironmentContext's setups
from alembic.autogenerate.render import _repr_type
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script.base import Script, ScriptDirectory

__all__ = ["LoadedScriptDirectory", "ProxiedEnvironment", "render_type"]


class ProxiedEnvironment(EnvironmentContext):
    """Base of an environment context that ``alembic.context`` stands for while it is entered.

    The module forwards to instances of ``EnvironmentContext`` itself, not to those of a subclass:
    ``ModuleClsProxy._setups`` has the modules by class, and nothing public adds one.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._setups[cls] = cls._setups[EnvironmentContext]


class LoadedScriptDirectory(ScriptDirectory):
    """A script directory whose files are read once, by a reader that names what is wrong.

    ``ScriptDirectory._load_revisions`` is the one place where revision files are read; public
    methods read the same files again and report a broken one without naming it.
    """

    on_error: Callable[[Path, BaseException], None] | None = None
    _loaded: list[Script] | None = None

    @classmethod
    def load(
        cls, config: Config, on_error: Callable[[Path, BaseException], None] | None = None
    ) -> LoadedScriptDirectory:
        """Return the script directory that a configuration names; its files are read later."""
        plain = ScriptDirectory.from_config(config)
        scripts = cls(
            plain.dir,
            file_template=plain.file_template,
            truncate_slug_length=plain.truncate_slug_length,
            version_locations=plain.version_locations,
            sourceless=plain.sourceless,
            output_encoding=plain.output_encoding,
            timezone=plain.timezone,
            hooks=plain.hooks,
            recursive_version_locations=plain.recursive_version_locations,
            # Its messages go to stdout, where results belong.
            messaging_opts={"quiet": True},
        )
        scripts.on_error = on_error
        return scripts

    def load_scripts(self) -> list[Script]:
        """Return the scripts of all version locations, in file order.

        What ``on_error`` raises for a file that cannot be read comes through.
        """
        if self._loaded is None:
            scripts = []
            for path in self.list_files():
                try:
                    script = Script._from_path(self, path)
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as exc:
                    if self.on_error is not None:
                        self.on_error(path, exc)
                    raise
                if script is not None:
                    scripts.append(script)
            self._loaded = scripts
        return self._loaded

    def list_files(self) -> list[Path]:
        """Return the files that may be revision scripts, each real file once."""
        found: dict[Path, None] = {}
        for location in self._version_locations:
            if location.exists():
                for path in Script._list_py_dir(self, location):
                    found.setdefault(path.resolve())
        return list(found)

    def _load_revisions(self) -> Iterator[Script]:
        return iter(self.load_scripts())


def render_type(type_: Any, autogen_context: Any) -> str:
    """Return the Python source of a column type and note the imports that it needs.

    Public hooks replace the rendering of a type, but none gives the default rendering of another
    type, which a hook needs that renders a decorated type as what it stores.
    """
    return _repr_type(type_, autogen_context)
