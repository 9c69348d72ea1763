"""Commands that are typed in this process: the same ``main()``, with modules as they are now.

What a process is needed for, its streams, signals and exit, the tests of the console scripts have.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from projects import Project
from websauna_migrate.cli.ws_alembic import main as ws_alembic

__all__ = ["ProjectHere", "beside", "make_project_here", "run_here"]


@contextlib.contextmanager
def beside(folder: Path, *tops: str) -> Iterator[None]:
    """Make a folder the current one and importable, and let go of packages before and behind."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
        importlib.invalidate_caches()

    before = Path.cwd()
    path = str(folder)
    forget()
    os.chdir(folder)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        sys.path.remove(path)
        os.chdir(before)
        forget()


def run_here(
    main: Callable[[list[str]], Any], words: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Call the function of a console script; return what its process would have left."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([*words]) or 0
        except SystemExit as exc:
            status = exc.code or 0
        except Exception:
            traceback.print_exc()
            status = 1
    return subprocess.CompletedProcess([*words], int(status), out.getvalue(), err.getvalue())


class ProjectHere(Project):
    """A project whose commands of ``ws-alembic`` are typed in this process."""

    def _checked(
        self, program: list[str], ok: bool, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        if program[0] != "ws-alembic" or variables:
            return super()._checked(program, ok, variables)
        with beside(self.root, "fooapp"):
            done = run_here(ws_alembic, program[1:])
        said = f"{program}\n[{done.returncode}]\n{done.stdout}\n{done.stderr}"
        assert (done.returncode == 0) == ok, said
        assert "Traceback" not in done.stderr, said
        return done


@pytest.fixture
def make_project_here(tmp_path: Path, run: Any) -> Any:
    """``make_project_here(url)``: a :class:`ProjectHere`."""

    def make(url: str) -> ProjectHere:
        (tmp_path / "site").mkdir()
        return ProjectHere(tmp_path / "site", url, run)

    return make
