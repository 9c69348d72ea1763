"""Make a package's script directory from the template, in place of ``alembic init``."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from websauna_migrate.config.packages import MigrationPackage, ScriptDirectoryError, is_installed

#: The template's folder, in the installed package and at the top of a checkout.
NAME = "alembic_template"

#: What a revision script is made from.
MAKO = "script.py.mako"

#: The files of a script directory, besides its scripts.
FILES = ("README", "env.py", MAKO)


def not_editable(package: str, directory: Path, why: str) -> ScriptDirectoryError:
    """Return the error of a directory that the user cannot, or should not, write to."""
    return ScriptDirectoryError(
        "not editable",
        package,
        directory,
        f'A revision of package "{package}" cannot be written to "{directory}": {why}. '
        'Install the package with "pip install -e", or keep its scripts elsewhere with the '
        f'setting "websauna_migrate.script_location.{package} = %(here)s/alembic/{package}".',
    )


def template_folder() -> Path:
    """Return the folder that holds the template."""
    package = Path(__file__).parent.parent
    installed = package / NAME
    return installed if installed.is_dir() else package.parent / NAME


def require_editable(package: MigrationPackage, directory: Path | None = None) -> None:
    """Refuse to write into an installed package or a folder that the user cannot write to.

    :param directory: where a script is going to be written; default: the script directory
    :raises ScriptDirectoryError: naming the setting that redirects the package's scripts
    """
    target = directory or package.script_directory
    if is_installed(target):
        raise not_editable(package.name, target, "it is inside an installed package")
    existing = target
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise not_editable(package.name, target, f'"{existing}" is not writable')


def is_editable(package: MigrationPackage) -> bool:
    """True if a package's script directory may be written to; see :func:`require_editable`."""
    try:
        require_editable(package)
    except ScriptDirectoryError:
        return False
    return True


def ensure_template(package: MigrationPackage) -> None:
    """Put the template's ``script.py.mako`` into a script directory that has none.

    An empty directory, or none, gets it with all the rest. ``env.py`` is needed by plain Alembic
    alone, and is left to the package.

    :raises ScriptDirectoryError: if the directory cannot be written to
    """
    directory = package.script_directory
    if directory.is_dir() and any(directory.iterdir()) and not (directory / MAKO).is_file():
        require_editable(package)
        shutil.copyfile(template_folder() / MAKO, directory / MAKO)


def create_script_directory(package: MigrationPackage) -> bool:
    """Make a package's script directory unless it is there.

    All of it appears at once: a run that is stopped leaves nothing half written.

    :returns: True if it was made, False if it was there already
    :raises ScriptDirectoryError: if it is not the user's to make
    """
    directory = package.script_directory
    if directory.is_dir() and any(directory.iterdir()):
        return False
    require_editable(package)
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        list(create_files(work))
        work.chmod(0o755 & ~current_umask())
        if directory.is_dir():
            directory.rmdir()
        work.rename(directory)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return True


def complete_script_directory(package: MigrationPackage) -> list[Path]:
    """Make a package's script directory, or what is missing in it, and return the new files.

    :raises ScriptDirectoryError: if it is not the user's to make
    """
    directory = package.script_directory
    if create_script_directory(package):
        return [directory / name for name in FILES]
    # Alembic would take env.py for a script where it looks for them.
    wanted = (MAKO,) if directory in package.version_locations else FILES
    missing = [name for name in wanted if not (directory / name).exists()]
    if missing:
        require_editable(package)
    return list(create_files(directory, wanted)) if missing else []


def create_files(directory: Path, files: Sequence[str] = FILES) -> Iterator[Path]:
    """Copy the template's files into a script directory, and yield those that were not there."""
    if files == FILES:
        (directory / "versions").mkdir(parents=True, exist_ok=True)
    for source in map(template_folder().joinpath, files):
        if not (directory / source.name).exists():
            yield Path(shutil.copyfile(source, directory / source.name))


def current_umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
