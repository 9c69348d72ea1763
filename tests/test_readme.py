"""The README's examples, run as they stand there; what they print is compared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from by_fork import programs_by_fork
from conftest import REPOSITORY, Run, build_wheel

README = (REPOSITORY / "README.rst").read_text(encoding="utf-8")
CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.rst").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language, without their indentation."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", README, re.M)
    return [re.sub(r"^    ", "", block, flags=re.M).strip() + "\n" for block in found]


def commands(block: str) -> list[tuple[str, str]]:
    """Return the command lines of a console block, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def normal(text: str) -> str:
    """Return a text without what differs from run to run: identifiers and times."""
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{12}(?![0-9a-z])", "REVISION", text)
    return re.sub(r"\d+\.\d+ s", "TIME", text)


def path_of(folder: Path) -> dict[str, str]:
    """Return the variable by which a shell finds our programs."""
    ours = programs_by_fork(folder.with_name(f"programs of {folder.name}"))
    return {"PATH": os.pathsep.join([ours, str(Path(sys.executable).parent), os.environ["PATH"]])}


def test_the_first_screen(tmp_path: Path, run: Run) -> None:
    package = tmp_path / "fooapp"
    package.mkdir()
    (package / "__init__.py").write_text(blocks("python")[0])
    (tmp_path / "development.ini").write_text(blocks("ini")[0])
    env = {**path_of(tmp_path), "PYTHONPATH": str(tmp_path)}
    for command, output in commands(blocks("console")[0]):
        result = run(["sh", "-c", command], cwd=tmp_path, env=env)
        assert result.returncode == 0, result.stderr
        printed = (result.stderr + result.stdout).replace(str(tmp_path), "/site")
        assert normal(printed).strip() == normal(output).strip()
    (tmp_path / "pyproject.toml").write_text(blocks("toml")[0])
    with zipfile.ZipFile(build_wheel(tmp_path, tmp_path.with_name("wheels"))) as archive:
        names = archive.namelist()
    assert [one for one in names if re.fullmatch(r"fooapp/alembic/versions/\w+\.py", one)]
    assert {"fooapp/alembic/env.py", "fooapp/alembic/script.py.mako"} <= {*names}


def test_the_example_application(tmp_path: Path, run: Run) -> None:
    # Not by an import: other tests make packages of their own in this process.
    assert distribution("acme.app"), "install the examples: make test does"
    shutil.copy(REPOSITORY / "development.ini", tmp_path)
    typed = commands(blocks("console")[3])
    assert typed[0][0] == "ws-alembic -x packages=all -c development.ini upgrade"
    for command, output in typed:
        result = run(["sh", "-c", command], cwd=tmp_path, env=path_of(tmp_path))
        assert normal(result.stderr + result.stdout).strip() == normal(output).strip()


def test_the_picture_of_the_example(tmp_path: Path, run: Run) -> None:
    """It is what the command draws, with one package applied."""
    shutil.copy(REPOSITORY / "development.ini", tmp_path)
    program = ["ws-alembic", "-c", "development.ini"]
    assert run([*program, "-x", "packages=acme.shop", "upgrade"], cwd=tmp_path).returncode == 0
    drawn = run([*program, "graph", "--format", "svg"], cwd=tmp_path).stdout
    assert drawn == (REPOSITORY / "docs" / "example-graph.svg").read_text(encoding="utf-8")
    assert ".. image:: docs/example-graph.svg\n" in README


def test_the_two_commands_of_the_checkout_exist(run: Run) -> None:
    for command, _ in commands(blocks("console")[1].split("make", 1)[0]):
        assert command.startswith("pip install")
    typed_targets = re.findall(r"^    \$ make ([\w-]+)", README + CONTRIBUTING, re.M)
    assert {"demo", "test", "lint", "docs", "test-matrix"} == {*typed_targets}
    for target in typed_targets:
        result = run(["make", "-n", target], cwd=REPOSITORY)
        assert result.returncode == 0, result.stderr


def test_the_test_that_a_contributor_runs_is_there(run: Run) -> None:
    (words,) = re.findall(r"^    \$ \.venv/bin/python -m (pytest .*)$", CONTRIBUTING, re.M)
    found = run([sys.executable, "-m", *shlex.split(words), "--collect-only", "-q"], cwd=REPOSITORY)
    assert found.returncode == 0, found.stdout
