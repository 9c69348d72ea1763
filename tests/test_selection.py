"""Which packages a command line means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websauna_migrate.config.selection import parse_packages_argument, select_packages
from websauna_migrate.errors import UnknownPackage, UsageError

# -x packages=


@pytest.mark.parametrize(
    ("x_args", "expected"),
    [
        ([], None),
        (["setting=1", "flag"], None),
        (["packages=all"], "all"),
        (["packages=fooapp"], ("fooapp",)),
        (["packages=fooapp,websauna.user"], ("fooapp", "websauna.user")),
        (["packages=fooapp, websauna.user"], ("fooapp", "websauna.user")),
        (["packages= fooapp ,websauna.user ,"], ("fooapp", "websauna.user")),
        (["packages=b", "setting=1", "packages=a"], ("b", "a")),
        (["packages=a,b", "packages=b"], ("a", "b")),
        (["packages=a", "packages=all"], "all"),
        (["packages = a"], ("a",)),
        (["mypackages=a", "packages_=b", "setting=packages=c"], None),
    ],
)
def test_packages_argument(x_args: list[str], expected: object) -> None:
    assert parse_packages_argument(x_args) == expected


@pytest.mark.parametrize("argument", ["packages", "packages=", "packages= , ", " packages "])
def test_a_packages_argument_without_a_name_is_a_usage_error(argument: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_packages_argument(["packages=fooapp", argument])
    assert str(caught.value) == (
        f'"-x {argument}" names no package. '
        'Write "-x packages=all", "-x packages=fooapp" or "-x packages=fooapp,fooapp.blog".'
    )
    assert caught.value.exit_code == 2


names = st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True).filter(
    lambda name: name != "all"
)


@given(st.lists(names, min_size=1, unique=True), st.data())
def test_names_may_be_spread_over_arguments_in_any_way(
    given: list[str], data: st.DataObject
) -> None:
    x_args: list[str] = []
    for name in given:
        spaced = (
            f"{data.draw(st.sampled_from(['', ' ']))}{name}{data.draw(st.sampled_from(['', ' ']))}"
        )
        if x_args and data.draw(st.booleans()):
            x_args[-1] += f",{spaced}"
        else:
            x_args.append(f"packages={spaced}")
    assert parse_packages_argument(x_args) == tuple(given)


# The packages that are named


def test_named_packages_are_taken_in_the_order_given() -> None:
    assert select_packages(("b", "a"), ("a", "b", "c"), "a", Path("/")) == ("b", "a")


def test_all_means_every_registered_package() -> None:
    assert select_packages("all", ("a", "b"), None, Path("/")) == ("a", "b")


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UnknownPackage) as caught:
        select_packages(
            ("fooapp", "websauna.usr"), ("fooapp", "websauna.user"), "fooapp", Path("/")
        )
    assert str(caught.value) == (
        'No package "websauna.usr" is registered for migrations. Did you mean "websauna.user"?\n'
        'Registered are: "fooapp", "websauna.user".'
    )
    assert isinstance(caught.value, UsageError)
    assert caught.value.name == "websauna.usr"
    assert caught.value.kind == "name"


def test_a_prefix_of_a_name_is_not_the_name() -> None:
    with pytest.raises(UnknownPackage):
        select_packages(("foo",), ("foobar", "foo.bar"), None, Path("/"))


@pytest.mark.parametrize("argument", [None, "all", ("fooapp",)])
def test_an_application_without_packages_is_told_to_register_one(argument: object) -> None:
    with pytest.raises(UnknownPackage) as caught:
        select_packages(argument, (), None, Path("/"))  # type: ignore[arg-type]
    assert caught.value.kind == "none"
    assert str(caught.value) == (
        "The application registers no package for migrations. Call "
        '"config.add_migration_package(metadata=Base.metadata)" where it is configured.'
    )


# The current package

MakePackage = Callable[..., Path]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """``make_package(project, name, marker="setup.py")``: a package in a project below tmp_path."""

    def make(project: str, name: str, marker: str | None = "setup.py") -> Path:
        root = tmp_path / project
        folder = root.joinpath(*name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        if marker is not None:
            (root / marker).touch()
        monkeypatch.syspath_prepend(str(root))
        for known in list(sys.modules):
            if known.partition(".")[0] == name.partition(".")[0]:
                monkeypatch.delitem(sys.modules, known)
        return folder

    return make


@pytest.mark.parametrize("marker", ["setup.py", "pyproject.toml"])
@pytest.mark.parametrize(
    "below", [".", "docs", "sel_addon", "sel_addon/models", "alembic/versions"]
)
def test_the_package_of_the_project_is_the_current_one(
    make_package: MakePackage, tmp_path: Path, marker: str, below: str
) -> None:
    make_package("app", "sel_app")
    make_package("addon", "sel_addon", marker)
    cwd = tmp_path / "addon" / below
    cwd.mkdir(parents=True, exist_ok=True)
    assert select_packages(None, ("sel_addon", "sel_app"), "sel_app", cwd) == ("sel_addon",)


def test_outside_of_all_projects_the_application_is_the_current_package(
    make_package: MakePackage, tmp_path: Path
) -> None:
    make_package("app", "sel_app")
    make_package("addon", "sel_addon")
    assert select_packages(None, ("sel_addon", "sel_app"), "sel_app", tmp_path) == ("sel_app",)


def test_a_directory_whose_name_begins_alike_is_another_one(
    make_package: MakePackage, tmp_path: Path
) -> None:
    make_package("app", "sel_app")
    make_package("addon", "sel_addon")
    cwd = tmp_path / "addon2"
    cwd.mkdir()
    assert select_packages(None, ("sel_addon", "sel_app"), "sel_app", cwd) == ("sel_app",)


def test_a_package_of_a_namespace_package_has_a_project_of_its_own(
    make_package: MakePackage, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        folder = make_package(f"selns.{name}", f"selns.{name}")
        (folder.parent / "__init__.py").unlink(missing_ok=True)
    packages = ("selns.one", "selns.two")
    for name in packages:
        assert select_packages(None, packages, "selns.one", tmp_path / name) == (name,)


def test_a_symbolic_link_leads_to_the_project(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("app", "sel_app")
    make_package("addon", "sel_addon")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "addon", target_is_directory=True)
    assert select_packages(None, ("sel_addon", "sel_app"), "sel_app", link) == ("sel_addon",)


def test_a_project_within_a_project_wins(make_package: MakePackage, tmp_path: Path) -> None:
    make_package("app", "sel_app")
    make_package("app/addons/addon", "sel_addon")
    packages = ("sel_addon", "sel_app")
    inner = tmp_path / "app" / "addons" / "addon"
    assert select_packages(None, packages, "sel_app", inner) == ("sel_addon",)
    assert select_packages(None, packages, "sel_app", inner.parent) == ("sel_app",)


def test_of_several_packages_in_a_project_the_one_around_the_directory_wins(
    make_package: MakePackage, tmp_path: Path
) -> None:
    folders = {name: make_package("mono", name) for name in ("sel_a", "sel_a.inner", "sel_b")}
    for name, folder in folders.items():
        assert select_packages(None, tuple(folders), "sel_b", folder) == (name,)


def test_of_several_packages_in_a_project_the_application_is_next(
    make_package: MakePackage, tmp_path: Path
) -> None:
    for name in ("sel_a", "sel_b"):
        make_package("mono", name)
    cwd = tmp_path / "mono"
    assert select_packages(None, ("sel_a", "sel_b"), "sel_b", cwd) == ("sel_b",)


@pytest.mark.parametrize("application", ["sel_app", None])
def test_several_packages_in_a_project_and_none_of_them_the_application_is_an_error(
    make_package: MakePackage, tmp_path: Path, application: str | None
) -> None:
    make_package("app", "sel_app")
    for name in ("sel_a", "sel_b"):
        make_package("mono", name)
    cwd = tmp_path / "mono"
    with pytest.raises(UnknownPackage) as caught:
        select_packages(None, ("sel_a", "sel_app", "sel_b"), application, cwd)
    assert caught.value.kind == "unclear"
    assert str(caught.value) == (
        f'The project in "{cwd}" has several packages: "sel_a", "sel_b".\n'
        'Say which package is meant: -x packages=all, or one or more of "sel_a", "sel_b".'
    )


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        (None, "It is not known which package is the application's own"),
        ("sel_x", 'The application\'s own package "sel_x" is not registered for migrations'),
    ],
)
def test_no_current_package_is_an_error_that_lists_the_known_ones(
    make_package: MakePackage, tmp_path: Path, application: str | None, reason: str
) -> None:
    make_package("addon", "sel_addon")
    with pytest.raises(UnknownPackage) as caught:
        select_packages(None, ("sel_addon",), application, tmp_path)
    assert caught.value.kind == "unclear"
    assert str(caught.value) == (
        f'{reason}, and "{tmp_path}" is in no registered package.\n'
        'Say which package is meant: -x packages=all, or one or more of "sel_addon".\n'
        "To say once which one is the application's own, set: "
        "websauna_migrate.package = sel_addon"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("installed_in", ["site-packages", "dist-packages"])
def test_an_installed_package_has_no_project(
    make_package: MakePackage, tmp_path: Path, installed_in: str
) -> None:
    # A virtual environment often lies in the project of the application.
    make_package("app", "sel_app")
    folder = make_package(f"app/venv/{installed_in}", "sel_addon", None)
    packages = ("sel_addon", "sel_app")
    assert select_packages(None, packages, None, tmp_path / "app") == ("sel_app",)
    assert select_packages(None, packages, "sel_app", folder.parent) == ("sel_app",)
    assert select_packages(None, packages, "sel_app", folder) == ("sel_addon",)


def test_a_package_that_cannot_be_found_is_nowhere(tmp_path: Path) -> None:
    assert select_packages(None, ("sel_gone", "sel_app"), "sel_app", tmp_path) == ("sel_app",)
