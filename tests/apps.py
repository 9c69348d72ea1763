"""Small applications that tests make: real packages on ``sys.path`` with models and scripts."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pyramid.config import Configurator

from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.interfaces import IMigrationService

__all__ = ["THING", "Typed", "Workshop"]

SCRIPT = '''"""{message}"""
from alembic import op
import sqlalchemy as sa

revision = {revision!r}
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends_on!r}
requires = {requires!r}
run_before = {run_before!r}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
'''


#: Models with one table of one column; its class comes last.
THING = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Thing(Base):
    __tablename__ = "thing"
    id = sa.Column(sa.Integer, primary_key=True)
"""

HEAD_OF_MAIN = "\n\ndef main(global_config, **settings):\n"

MAIN = (
    HEAD_OF_MAIN
    + """    from pyramid.config import Configurator

    config = Configurator(settings=settings)
    config.include("websauna_migrate")
{includes}    return config.make_wsgi_app()
"""
)


class Typed(NamedTuple):
    """What a command that was typed has given."""

    status: int
    out: str
    err: str


class Workshop:
    """Makes packages below a folder that is on ``sys.path`` for the time of a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []

    def package(self, name: str, models: str | None = "", **registration: Any) -> Path:
        """Make a package; ``models`` is the source of its ``models.py``, with ``Base`` in it."""
        # The module of a test would be let go of with it.
        assert not Path(__file__).with_name(f"{name}.py").exists()
        folder = self.root.joinpath(*name.split("."))
        folder.mkdir(parents=True)
        for parent in [*folder.relative_to(self.root).parents][:-1]:
            (self.root / parent / "__init__.py").touch()
        arguments = {**registration}
        if models is not None:
            (folder / "models.py").write_text(textwrap.dedent(models))
            if "Base" in models:
                arguments.setdefault("metadata", f"{name}.models.Base")
        words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        (folder / "__init__.py").write_text(
            f"def includeme(config):\n    config.add_migration_package({words})\n"
        )
        self.names.append(name)
        # Another test may have left an installed package of the name.
        self.forget()
        importlib.invalidate_caches()
        return folder

    def script(
        self,
        package: str,
        revision: str,
        down: str | Sequence[str] | None = None,
        upgrade: str = "pass",
        downgrade: str = "pass",
        *,
        message: str = "",
        labels: Any = None,
        depends_on: Any = None,
        requires: Sequence[str] = (),
        run_before: Sequence[str] = (),
    ) -> Path:
        """Write a revision script of a package."""
        versions = self.root.joinpath(*package.split("."), "alembic", "versions")
        versions.mkdir(parents=True, exist_ok=True)
        path = versions / f"{revision}.py"
        path.write_text(
            SCRIPT.format(
                message=message or f"Revision {revision}",
                revision=revision,
                down=down,
                labels=labels,
                depends_on=depends_on,
                requires=tuple(requires),
                run_before=tuple(run_before),
                upgrade=textwrap.indent(textwrap.dedent(upgrade).strip(), "    "),
                downgrade=textwrap.indent(textwrap.dedent(downgrade).strip(), "    "),
            )
        )
        return path

    def configure(self, url: str, *packages: str, **settings: Any) -> Configurator:
        """Return a configurator of an application that includes packages; default all made ones."""
        config = Configurator(
            settings={
                "sqlalchemy.url": url,
                **{f"websauna_migrate.{key}": value for key, value in settings.items()},
            }
        )
        config.include("websauna_migrate")
        for name in packages or self.names:
            config.include(name)
        config.commit()
        return config

    def service(self, url: str, *packages: str, **settings: Any) -> Any:
        """Return the service of such an application."""
        return self.configure(url, *packages, **settings).registry.getUtility(IMigrationService)

    def application(
        self, module: str, ini: Path, url: str, *packages: str, **settings: Any
    ) -> Path:
        """Write an application that includes packages, default all made ones, and its INI file.

        :param module: has ``main``; it may be one of the packages, which is then the application's
        :returns: the INI file
        """
        package = self.root / module / "__init__.py"
        path = package if package.exists() else self.root / f"{module}.py"
        includes = "".join(f"    config.include({name!r})\n" for name in packages or self.names)
        text = path.read_text().partition(HEAD_OF_MAIN)[0] if path.exists() else ""
        path.write_text(text + MAIN.format(includes=includes))
        lines = [f"sqlalchemy.url = {url.replace('%', '%%')}"]
        lines += [f"websauna_migrate.{key} = {value}" for key, value in settings.items()]
        ini.write_text("\n".join([f"[app:main]\nuse = call:{module}:main", *lines, ""]))
        return ini

    def ws(self, ini: Path, *words: str) -> Typed:
        """Type a command of ``ws-alembic``, in this process, with all modules as they are now."""
        self.forget()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["-c", str(ini), *words])
        return Typed(status, out.getvalue(), err.getvalue())

    def forget(self) -> None:
        """Let go of imported modules."""
        tops = {name.partition(".")[0] for name in self.names}
        for module in [m for m in sys.modules if m.partition(".")[0] in tops]:
            del sys.modules[module]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop in the test's own folder."""
    root = tmp_path / "src"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    made = Workshop(root)
    yield made
    made.forget()
