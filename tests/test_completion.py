"""Completion of ws-alembic: what the parser says, and the real shells where they are installed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from websauna_migrate.cli.command_table import COMMANDS
from websauna_migrate.cli.shell_completion import SHELLS, candidates

MESSAGE = "Adding: a 'thing' $(touch hacked)"


@pytest.fixture
def site(workshop: Workshop, tmp_path: Path) -> Path:
    """A folder with the INI file of an application of two packages."""
    workshop.package("aaa")
    workshop.package("bbb.ccc")
    workshop.script("aaa", "a1")
    workshop.script("aaa", "a2", "a1", message=MESSAGE)
    workshop.script("bbb.ccc", "b1")
    (workshop.root / "completed_app.py").write_text(
        "from pyramid.config import Configurator\n\n\n"
        "def main(global_config, **settings):\n"
        "    print('starting up')\n"
        "    config = Configurator(settings=settings)\n"
        "    config.include('websauna_migrate')\n"
        "    config.include('aaa')\n    config.include('bbb.ccc')\n"
        "    return config.make_wsgi_app()\n"
    )
    folder = tmp_path / "site"
    folder.mkdir()
    text = "[app:main]\nuse = call:completed_app:main\nsqlalchemy.url = sqlite://\n"
    (folder / "development.ini").write_text(text)
    (folder / "other.ini").write_text(text)
    return folder


def names(*words: str) -> list[str]:
    return [name for name, _ in candidates(words)]


def test_commands_with_their_help() -> None:
    found = dict(candidates([""]))
    assert list(found) == list(COMMANDS)
    assert found["upgrade"] == "Upgrade to a later version"
    assert names("up") == ["upgrade"]
    assert names("-c", "x.ini", "-x", "packages=all", "sta") == ["status", "stamp"]
    assert names("nonsense") == []


def test_options_of_a_command_and_their_values() -> None:
    assert names("upgrade", "--dry") == ["--dry-run"]
    assert "--fail-on" in names("status", "--")
    assert names("status", "--fail-on", "") == ["pending", "unknown", "half-done", "never"]
    assert names("graph", "--format", "s") == ["svg"]
    assert names("--qu") == ["--quiet"]
    assert names("completion", "") == ["bash", "fish", "zsh"]
    assert names("status", "") == []


def test_packages_and_revisions(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    assert names("-c", "") == ["development.ini", "other.ini"]
    assert names("-x", "pack") == ["packages=all", "packages=aaa", "packages=bbb.ccc"]
    assert names("-x", "packages=aaa,") == ["packages=aaa,aaa", "packages=aaa,bbb.ccc"]
    assert names("uninstall", "") == ["aaa", "bbb.ccc"]
    assert sorted(names("upgrade", "")) == ["a1", "a2", "b1", "base", "head", "heads"]
    assert dict(candidates(["upgrade", "a"]))["a2"] == f"aaa: {MESSAGE}"
    assert names("-x", "packages=bbb.ccc", "downgrade", "b") == ["base", "b1"]
    assert names("graph", "--around", "aaa@") == ["aaa@a2", "aaa@a1"]
    assert names("history", "-r", "a1:a") == ["a1:a2", "a1:a1"]
    assert names("merge", "a1", "a2", "b1") == ["b1"]
    assert names("upgrade", "a1", "") == []


def test_an_application_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names("upgrade", "") == ["head", "heads", "base"]
    (tmp_path / "development.ini").write_text("[app:main]\nuse = call:nowhere:main\n")
    assert names("upgrade", "") == ["head", "heads", "base"]
    assert names("-x", "") == ["packages=all"]


def environment(site: Path, home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    root = str(site.parent / "src")
    return {**kept, "PATH": path, "PYTHONPATH": root, "HOME": str(home), "TERM": "dumb"}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def in_bash(site: Path, home: Path, line: str) -> list[str]:
    """Return what bash would offer for a line with the cursor at its end."""
    (home / "complete.bash").write_text(SHELLS["bash"])
    code = (
        f"source {home}/complete.bash\nCOMP_LINE=$1\nCOMP_POINT=${{#COMP_LINE}}\n"
        '_ws_alembic\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", code, "bash", line],
        cwd=site,
        env=environment(site, home),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash(site: Path, tmp_path: Path) -> None:
    assert in_bash(site, tmp_path, "ws-alembic upg") == ["upgrade"]
    # What bash takes for a word begins behind its breaks.
    assert in_bash(site, tmp_path, "ws-alembic -x packages=bb") == ["bbb.ccc"]
    assert in_bash(site, tmp_path, "ws-alembic graph --around aaa@a") == ["a2", "a1"]
    assert in_bash(site, tmp_path, "ws-alembic upgrade a") == ["a2", "a1"]
    assert not (site / "hacked").exists()


def test_fish(site: Path, tmp_path: Path) -> None:
    (tmp_path / "complete.fish").write_text(SHELLS["fish"])

    def offered(line: str) -> list[str]:
        code = f"source {tmp_path}/complete.fish; complete -C '{line}'"
        done = subprocess.run(
            [shell("fish"), "--no-config", "-c", code],
            cwd=site,
            env=environment(site, tmp_path),
            capture_output=True,
            text=True,
        )
        return done.stdout.splitlines()

    assert offered("ws-alembic upg") == ["upgrade\tUpgrade to a later version"]
    assert offered("ws-alembic upgrade a") == [f"a2\taaa: {MESSAGE}", "a1\taaa: Revision a1"]
    assert offered("ws-alembic -x packages=bb") == ["packages=bbb.ccc"]
    assert not (site / "hacked").exists()


def typed(argv: list[str], site: Path, home: Path, *keys: str) -> str:
    """Type keys into a shell on a terminal, each when the one before was answered."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(site)
        os.execve(argv[0], argv, environment(site, home))
    shown = ""
    for key, awaited in zip(keys[::2], keys[1::2], strict=True):
        os.write(terminal, key.encode())
        until, seen = time.monotonic() + 60, ""
        while awaited not in seen and time.monotonic() < until:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        shown += seen
    os.write(terminal, b"\x15exit\n")
    os.close(terminal)
    os.waitpid(child, 0)
    return shown


def test_zsh(site: Path, tmp_path: Path) -> None:
    (tmp_path / "complete.zsh").write_text(SHELLS["zsh"])
    (tmp_path / ".zshrc").write_text(
        f"autoload -Uz compinit; compinit -u; source {tmp_path}/complete.zsh\n"
        "PS1='ready> '; unsetopt zle_bracketed_paste\n"
    )
    shown = typed(
        [shell("zsh"), "-i"], site, tmp_path,
        "", "ready> ",
        "ws-alembic upg\t", "upgrade ",
        "a\t", "Revision a1",
        "\x15ws-alembic -x packages=bb\t", "packages=bbb.ccc",
    )  # fmt: skip
    assert "upgrade " in shown and "packages=bbb.ccc" in shown
    assert "a1  -- aaa: Revision a1" in shown and MESSAGE in shown
    assert not (site / "hacked").exists()


def test_the_command_prints_the_script(run: Any, tmp_path: Path) -> None:
    for name, script in SHELLS.items():
        done = run(["ws-alembic", "completion", name], cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, script, "")
