"""Write a new application or add-on: a project that installs, migrates and passes its test."""

from __future__ import annotations

import keyword
import secrets
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from string import Template

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.packages import is_importable
from websauna_migrate.config.template import create_files

TEMPLATES = Path(__file__).parent / "project_templates"

#: The end of the names of a template's files.
ENDING = ".tmpl"


def write_project(name: str, folder: Path, *, addon: bool) -> list[Path]:
    """Write the project of a new package, and return the paths of its files.

    :param name: the package's dotted name; the packages around the last one are namespaces
    :param folder: the project's; it must be empty or missing
    :raises UsageError: if the name cannot be that of a new package
    :raises MigrationError: if the folder has files, or cannot be written to
    """
    require_new_name(name)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise MigrationError(
                f'"{folder}" is not empty. Name another folder: ws-alembic new-package {name} '
                "FOLDER."
            )
        return sorted(write_files(name, folder, addon=addon))
    except OSError as exc:
        raise MigrationError(f'"{folder}" cannot be written: {exc.strerror}.') from exc


def require_new_name(name: str) -> None:
    """Refuse what cannot be the dotted name of a new package.

    :raises UsageError: saying why
    """
    parts = name.split(".")
    for part in parts:
        if keyword.iskeyword(part):
            raise UsageError(
                f'"{name}" is no name of a Python package: "{part}" is a word of the language. '
                "Choose another name."
            )
        if not part.isidentifier():
            raise UsageError(
                f'"{name}" is no name of a Python package. Write letters, digits and underscores, '
                "with dots between the names of packages, such as shop or acme.shop."
            )
    if parts[0] in sys.stdlib_module_names or is_importable(name):
        raise UsageError(f'A package "{name}" is there already. Choose another name.')


def write_files(name: str, folder: Path, *, addon: bool) -> Iterator[Path]:
    """Write the files of a project and yield their paths."""
    words = {
        "name": name,
        "short": name.rpartition(".")[2],
        "underline": "=" * len(name),
        "revision": secrets.token_hex(6),
        "created": str(datetime.now()),
    }
    for template in TEMPLATES / "common", TEMPLATES / ("addon" if addon else "application"):
        for source in template.rglob(f"*{ENDING}"):
            path = folder / target_of(source.relative_to(template), words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = Template(source.read_text(encoding="utf-8")).substitute(words)
            path.write_text(text, encoding="utf-8")
            yield path
    yield from create_files(folder / "src" / name.replace(".", "/") / "alembic")


def target_of(source: Path, words: dict[str, str]) -> str:
    """Return where a template's file goes, below the project's folder."""
    path = (
        source.as_posix().removesuffix(ENDING).replace("PACKAGE", words["name"].replace(".", "/"))
    )
    return ".gitignore" if path == "gitignore" else path.replace("REVISION", words["revision"])
