"""What is installed from the wheel is all there, and works away from the repository."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from mako.template import Template

from conftest import REPOSITORY, Environment, build_wheel, install_into, pip

TEMPLATE = REPOSITORY / "alembic_template"
TEMPLATE_FILES = {"README", "env.py", "script.py.mako", "versions/.gitkeep"}
SCRIPTS = ["ws-alembic", "ws-create-table", "ws-db-shell", "ws-dump-db"]
EXAMPLES = sorted(path.parent for path in REPOSITORY.glob("examples/*/pyproject.toml"))


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read_metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if re.search(rf"\.dist-info/(.*/)?{name}$", n))
        return archive.read(path).decode()


def test_the_wheel_holds_every_module_the_template_and_the_type_marker(names):
    modules = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "websauna_migrate").rglob("*.py")
    }
    pages = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "websauna_migrate" / "web" / "templates").iterdir()
    }
    pages |= {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "websauna_migrate" / "cli" / "project_templates").rglob("*.tmpl")
    }
    template = {f"websauna_migrate/alembic_template/{name}" for name in TEMPLATE_FILES}
    installed = {name for name in names if ".dist-info/" not in name}
    others = {"websauna_migrate/py.typed", "websauna_migrate/cli/messages.rst"}
    assert installed == modules | pages | template | others


def test_the_wheel_says_what_it_is_and_what_it_needs(wheel):
    metadata = read_metadata(wheel, "METADATA")
    assert re.search(r"^Name: websauna[-_]migrate$", metadata, re.MULTILINE)
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense: MIT\n" in metadata
    assert sorted(re.findall(r"Provides-Extra: (.*)", metadata)) == [
        "docs",
        "lint",
        "mysql",
        "otel",
        "png",
        "postgresql",
        "postgresql-binary",
        "postgresql-psycopg",
        "test",
    ]
    assert "MIT License" in read_metadata(wheel, "LICENSE")


def test_every_entry_point_names_a_module_of_the_wheel(wheel, names):
    entry_points = configparser.ConfigParser(delimiters="=")
    entry_points.read_string(read_metadata(wheel, "entry_points.txt"))
    assert sorted(entry_points["console_scripts"]) == SCRIPTS
    for group in entry_points.sections():
        for value in entry_points[group].values():
            module = value.split(":")[0].replace(".", "/")
            assert f"{module}.py" in names


def test_the_source_archive_builds_the_same_wheel(tmp_path, names, run):
    copy = tmp_path / "a copy"
    ignored = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "*.egg-info")
    shutil.copytree(REPOSITORY, copy, ignore=ignored)
    target = tmp_path / "target"
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", target, copy]
    result = run(build)
    assert result.returncode == 0, result.stdout + result.stderr
    (archive,) = target.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        # Python 3.10 and 3.11 have the filters only in their later releases.
        tar.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for name in ("README.rst", "CHANGES.rst", "LICENSE", "Makefile", "development.ini"):
        assert (unpacked / name).exists(), name
    with zipfile.ZipFile(build_wheel(unpacked, target)) as rebuilt:
        assert set(rebuilt.namelist()) == names


def test_the_installed_package_is_whole_and_stands_for_itself(installed_venv, run, tmp_path):
    environment = installed_venv()
    assert " " in str(environment.root)
    code = "import websauna_migrate; print(websauna_migrate.__file__)"
    result = run([environment.python, "-W", "ignore", "-c", code], cwd=tmp_path)
    assert result.stderr == ""
    installed = Path(result.stdout.strip()).parent
    assert installed == environment.site_packages / "websauna_migrate"
    assert (installed / "py.typed").exists()
    for name in TEMPLATE_FILES:
        copy = installed / "alembic_template" / name
        assert copy.read_bytes() == (TEMPLATE / name).read_bytes()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_console_script_explains_itself(installed_venv, run, tmp_path, script):
    result = run([installed_venv().program(script), "--help"], cwd=tmp_path, by_fork=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: {script} ")


def test_the_example_runs_from_wheels_in_a_directory_with_spaces(installed_venv, run, tmp_path):
    """An application in a namespace package, none of it editable."""
    environment = installed_venv(*EXAMPLES)
    site = tmp_path / "a site"
    site.mkdir()
    shutil.copy(REPOSITORY / "development.ini", site)
    ws_alembic = [environment.program("ws-alembic"), "-c", "development.ini"]
    upgrade = run([*ws_alembic, "-x", "packages=all", "upgrade"], cwd=site)
    assert upgrade.returncode == 0, upgrade.stderr
    check = run([*ws_alembic, "-x", "packages=all", "check"], cwd=site)
    assert check.returncode == 0, check.stdout + check.stderr
    assert [path.name for path in site.glob("*.sqlite")] == ["example.sqlite"]


def test_the_templates_environment_only_calls_the_package():
    assert (TEMPLATE / "env.py").read_text(encoding="utf-8") == (
        '"""Run this package\'s migrations: everything is in the application\'s INI file."""\n'
        "\n"
        "from websauna_migrate.environment import run_migrations\n"
        "\n"
        "run_migrations()\n"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, ()), ({"requires": ("acme.user@37e1cb6de47",)}, ("acme.user@37e1cb6de47",))],
    ids=["plain Alembic", "with requirements"],
)
def test_the_script_template_makes_a_revision_script(tmp_path, run, given, expected):
    template = Template(filename=str(TEMPLATE / "script.py.mako"))
    source = template.render(
        message="Add offers",
        up_revision="2d970929c35",
        down_revision=None,
        create_date="2026-01-01 00:00:00",
        imports="",
        branch_labels=None,
        depends_on=None,
        upgrades=None,
        downgrades=None,
        comma=str,
        **given,
    )
    assert source.startswith('"""Add offers\n\nRevision ID: 2d970929c35\n')
    script: dict[str, object] = {}
    exec(compile(source, "script.py", "exec"), script)
    assert script["revision"] == "2d970929c35"
    assert script["down_revision"] is None
    assert script["requires"] == expected
    path = tmp_path / "script.py"
    path.write_text(source, encoding="utf-8")
    checked = run(
        ["ruff", "check", "--isolated", "--select", "E,W,F,I,UP", "--ignore", "F401", path]
    )
    assert checked.returncode == 0, checked.stdout


def test_plain_alembic_renders_the_script_template(tmp_path, run):
    """``alembic revision`` knows nothing of requirements."""
    scripts = tmp_path / "scripts"
    shutil.copytree(TEMPLATE, scripts)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = scripts\n")
    result = run(["alembic", "revision", "-m", "One"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (script,) = (scripts / "versions").glob("*.py")
    assert "\nrequires: tuple[str, ...] = ()\n" in script.read_text(encoding="utf-8")


def test_nothing_that_was_built_is_committed():
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a checkout")
    files = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split("\n")
    assert [f for f in files if re.search(r"\.egg-info|__pycache__|\.sqlite$|^\.venv", f)] == []


def test_scripts_that_were_left_out_of_a_wheel(installed_venv, wheel_of, run, tmp_path):
    """The message's own line puts them in."""
    left_out = tmp_path / "user"
    ignored = shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
    shutil.copytree(REPOSITORY / "examples" / "user", left_out, ignore=ignored)
    project = left_out / "pyproject.toml"
    found = 'where = ["src"]'
    source = project.read_text(encoding="utf-8")
    assert found in source
    source = source.replace(found, f'{found}\nexclude = ["*.alembic*"]')
    project.write_text(source, encoding="utf-8")
    others = [wheel_of(path) for path in EXAMPLES if path.name != "user"]
    environment = Environment(tmp_path / "an environment")
    wheel = build_wheel(left_out, tmp_path / "left out")
    install_into(environment, [wheel, *others], installed_venv())
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(REPOSITORY / "development.ini", site)

    def upgrade():
        program = environment.program("ws-alembic")
        return run([program, "-x", "packages=all", "upgrade"], cwd=site, by_fork=False)

    refused = upgrade()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert 'Package "acme.user" owns tables (' in refused.stderr
    assert list(site.glob("*.sqlite")) == []
    section = "[tool.setuptools.package-data]\n"
    line = re.search(r'^ *("acme.user" = .*)$', refused.stderr, re.MULTILINE)
    assert section in refused.stderr and line is not None
    project.write_text(source.replace(section, f"{section}{line[1]}\n"), encoding="utf-8")
    mended = build_wheel(left_out, tmp_path / "mended")
    words = ("install", "--quiet", "--no-deps", "--force-reinstall", mended)
    pip("--python", environment.python, *words)
    done = upgrade()
    assert done.returncode == 0, done.stderr
