"""``ws-alembic new-package``: what it writes installs, migrates and passes its own test."""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from conftest import Run, build_wheel, pip
from websauna_migrate import IMigrationService


def write(run: Run, folder: Path, *words: str) -> list[str]:
    """Write a project and return the paths of its files."""
    done = run(["ws-alembic", "new-package", *words], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert 'pip install -e ".[test]" && ws-alembic upgrade && pytest' in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "words", [("corp.shop",), ("noticeboard", "project", "--addon")], ids=["application", "add-on"]
)
def test_a_wheel_of_it_migrates_and_passes_its_own_test(
    tmp_path: Path, run: Run, words: tuple[str, ...]
) -> None:
    written = write(run, tmp_path, *words)
    name = words[0]
    project = tmp_path / (words[1] if len(words) > 1 else name)
    assert all((tmp_path / path).is_file() for path in written)
    wheel = build_wheel(project, tmp_path / "wheels")
    package = name.replace(".", "/")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in ("alembic/env.py", "alembic/script.py.mako", "alembic/README", "conf/base.ini"):
        assert f"{package}/{path}" in names
    assert [path for path in names if path.endswith("_adding_notes.py")]
    pip("install", "--quiet", "--no-deps", "--target", tmp_path / "installed", wheel)
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(project / "development.ini", site)
    shutil.copytree(project / "tests", site / "tests")
    env = {"PYTHONPATH": str(tmp_path / "installed")}
    for command in (
        ["ws-alembic", "upgrade"],
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
    ):
        done = run(command, cwd=site, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
    checked = run(["ws-alembic", "check"], cwd=site, env=env)
    assert checked.stdout == "No new upgrade operations detected.\n"


@pytest.mark.parametrize("addon", [(), ("--addon",)], ids=["application", "add-on"])
def test_its_first_script_makes_its_models(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, database_url: str, addon: tuple[str]
) -> None:
    write(run, tmp_path, "freshly.made", "project", *addon)
    monkeypatch.syspath_prepend(str(tmp_path / "project" / "src"))
    try:
        app = import_module("freshly.made").main({}, **{"sqlalchemy.url": database_url})
        service = app.registry.getUtility(IMigrationService)
        service.upgrade()
        assert service.check().problems == ()
        service.downgrade("base")
        if engine := app.registry.get("engine"):
            engine.dispose()
    finally:
        for module in [one for one in sys.modules if one.partition(".")[0] == "freshly"]:
            del sys.modules[module]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a-b", '"a-b" is no name of a Python package.'),
        (
            "acme.class",
            '"acme.class" is no name of a Python package: "class" is a word of the language.',
        ),
        ("", '"" is no name of a Python package.'),
        ("json", 'A package "json" is there already. Choose another name.'),
        ("pyramid.scripts", 'A package "pyramid.scripts" is there already. Choose another name.'),
    ],
)
def test_a_name_that_cannot_be_one(tmp_path: Path, run: Run, name: str, message: str) -> None:
    refused = run(["ws-alembic", "new-package", name], cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "blog2").mkdir()
    (tmp_path / "blog2" / "mine.txt").touch()
    refused = run(["ws-alembic", "new-package", "blog2"], cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == (
        '"blog2" is not empty. Name another folder: ws-alembic new-package blog2 FOLDER.\n'
    )
    write(run, tmp_path, "blog2", "elsewhere")
