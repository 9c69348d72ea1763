"""A package whose scripts were left out of its wheel is no package without changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps import Workshop
from websauna_migrate.errors import ScriptDirectoryError

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

LOOKS: list[Callable[[Any], Any]] = [
    lambda service: service.upgrade(),
    lambda service: service.upgrade(packages="fooapp"),
    lambda service: service.plan(),
    lambda service: service.current(),
    lambda service: service.check(),
]


def installed(workshop: Workshop, how: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """Put packages where an installer does, with a record of what it installed or without."""
    workshop.root = tmp_path / ("site-packages" if how == "site-packages" else "target")
    workshop.root.mkdir()
    patch.syspath_prepend(str(workshop.root))
    if how == "target":
        information = workshop.root / "acme_user-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: acme.user\nVersion: 1.0\n"
        )
        (information / "RECORD").write_text("acme/user/__init__.py,,\nacme/user/models.py,,\n")


@pytest.mark.parametrize("how", ["site-packages", "target"])
@pytest.mark.parametrize("left", ["nothing", "no scripts"])
def test_it_fails_by_name_and_says_what_to_write(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sqlite_url: str,
    how: str,
    left: str,
) -> None:
    installed(workshop, how, tmp_path, monkeypatch)
    workshop.package("acme.user", MODELS)
    workshop.package("fooapp", None)
    if left == "no scripts":
        folder = workshop.root / "acme" / "user" / "alembic"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").touch()
    for look in LOOKS:
        with pytest.raises(ScriptDirectoryError) as info:
            look(workshop.service(sqlite_url))
        assert str(info.value) == (
            'Package "acme.user" owns tables ("users") and has no revision script: it was '
            f'installed without "{workshop.root}/acme/user/alembic". Nothing was run. In the '
            "package's own project, keep alembic/ inside the package and add to pyproject.toml:\n"
            "  [tool.setuptools.package-data]\n"
            '  "acme.user" = ["alembic/*", "alembic/versions/*.py"]\n'
            '(in setup.py: package_data={"acme.user": ["alembic/*", "alembic/versions/*.py"]}), '
            "then build and install it again. Or name the directory of scripts that are kept "
            "elsewhere: websauna_migrate.script_location.acme.user"
        )
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_scripts_that_the_application_keeps_are_enough(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    installed(workshop, "site-packages", tmp_path, monkeypatch)
    workshop.package("acme.user", MODELS)
    kept = tmp_path / "kept"
    kept.mkdir()
    service = workshop.service(sqlite_url, **{"script_location.acme.user": str(kept)})
    assert service.upgrade().steps == ()


def test_packages_without_tables_need_no_scripts(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    installed(workshop, "site-packages", tmp_path, monkeypatch)
    workshop.package("fooapp", None)
    assert workshop.service(sqlite_url).upgrade().steps == ()


@pytest.mark.parametrize("editable", [False, True])
def test_before_its_first_revision_a_package_has_none(
    workshop: Workshop, sqlite_url: str, editable: bool
) -> None:
    """In a checkout, or an editable installation: there the revision would be made."""
    workshop.package("acme.user", MODELS)
    if editable:
        # What setuptools leaves beside a package that is not below src/.
        information = workshop.root / "acme.user.egg-info"
        information.mkdir()
        (information / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: acme.user\n")
        (information / "SOURCES.txt").write_text("pyproject.toml\nacme/user/__init__.py\n")
    service = workshop.service(sqlite_url)
    assert service.upgrade().steps == ()
    assert [state.package for state in service.current()] == ["acme.user"]
    (made,) = service.revision("First", autogenerate=True)
    assert service.upgrade().steps[0].revision == made.revision
