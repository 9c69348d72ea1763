"""Small projects on disk with an INI file, run by processes of ours and of plain Alembic."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from apps import SCRIPT

__all__ = ["INI", "MAIN", "Project"]

MAIN = """
from pyramid.config import Configurator

{top}
def includeme(config):
    config.add_migration_package({registration})


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("fooapp")
    return config.make_wsgi_app()
"""

MODELS = """
from typing import Optional
import sqlalchemy as sa
from sqlalchemy import ForeignKey, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass

"""

#: The sections of a log on standard error.
LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARN
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = generic
[formatter_generic]
format = %(levelname)s %(message)s
"""

INI = (
    """
[app:main]
use = call:fooapp:main
sqlalchemy.url = {url}
{settings}

[alembic]
script_location = fooapp:alembic
{alembic}
"""
    + LOGGING
)


class Project:
    """An application ``fooapp`` in a folder of its own, with a database."""

    def __init__(self, root: Path, url: str, run: Any) -> None:
        self.root = root
        self.url = url
        self._run = run
        self.folder = root / "fooapp"
        self.versions = self.folder / "alembic" / "versions"
        self.folder.mkdir()
        self.ini()
        self.main()

    def main(self, top: str = "", **registration: Any) -> None:
        """Write the application's module."""
        words = ", ".join(f"{key}={value!r}" for key, value in registration.items())
        (self.folder / "__init__.py").write_text(MAIN.format(top=top, registration=words))

    def ini(self, settings: str = "", url: str | None = None) -> None:
        """Write the INI file."""
        url = (url or self.url).replace("%", "%%")
        text = INI.format(url=url, settings=settings, alembic=f"sqlalchemy.url = {url}")
        (self.root / "development.ini").write_text(text)

    def models(self, text: str, top: str = "", **registration: Any) -> None:
        """Write the models and register their base."""
        (self.folder / "models.py").write_text(MODELS + textwrap.dedent(text))
        self.main(top, **{"metadata": "fooapp.models.Base", **registration})

    def script(
        self,
        revision: str,
        down: str | None = None,
        upgrade: str = "pass",
        downgrade: str = "pass",
        top: str = "",
    ) -> Path:
        """Write a revision script."""
        text = SCRIPT.format(
            message=f"Revision {revision}",
            revision=revision,
            down=down,
            labels=None,
            depends_on=None,
            requires=(),
            run_before=(),
            upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
            downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
        )
        self.versions.mkdir(parents=True, exist_ok=True)
        path = self.versions / f"{revision}.py"
        path.write_text(text.replace("\nrevision =", f"\n{textwrap.dedent(top)}\nrevision =", 1))
        return path

    def env(self, text: str) -> None:
        """Write the ``env.py``."""
        self.versions.mkdir(parents=True, exist_ok=True)
        (self.folder / "alembic" / "env.py").write_text(textwrap.dedent(text))

    def ws(
        self, *words: str, ok: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``ws-alembic``.

        :param ok: whether it must go well
        """
        return self._checked(["ws-alembic", *words], ok, variables)

    def alembic(
        self, *words: str, ok: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run plain Alembic."""
        program = [sys.executable, "-m", "alembic", "-c", "development.ini", *words]
        return self._checked(program, ok, variables)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python that must go well."""
        return self._checked([sys.executable, "-c", textwrap.dedent(code)], True, {})

    def _checked(
        self, program: list[str], ok: bool, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        env = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        done: subprocess.CompletedProcess[str] = self._run(program, cwd=self.root, env=env)
        said = f"{program}\n[{done.returncode}]\n{done.stdout}\n{done.stderr}"
        assert (done.returncode == 0) == ok, said
        assert "Traceback" not in done.stderr, said
        return done


@pytest.fixture
def make_project(tmp_path: Path, run: Any) -> Any:
    """``make_project(url, name="site")``: a :class:`Project`."""

    def make(url: str, name: str = "site") -> Project:
        (tmp_path / name).mkdir()
        return Project(tmp_path / name, url, run)

    return make
