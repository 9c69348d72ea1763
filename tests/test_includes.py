"""Reading and merging INI files: who wins, what is included from where, and each known mistake."""

from __future__ import annotations

import importlib
import subprocess
import sys
import traceback
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websauna_migrate.errors import IniError, IniMalformed, IniNotFound, MigrationError
from websauna_migrate.ini.includes import MergedIni, read_ini


@pytest.fixture
def write(tmp_path):
    """Write files below the temporary directory; return the first one's path."""

    def write_files(**files: str) -> str:
        return write_tree(tmp_path, {f"{name}.ini": text for name, text in files.items()})

    return write_files


def write_tree(directory: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(dedent(text), encoding="utf-8")
    return str(directory / next(iter(files)))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a directory for importable packages; forget what was imported from it afterwards."""
    directory = tmp_path / "site"
    directory.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(directory))
    importlib.invalidate_caches()
    yield directory
    for name in set(sys.modules) - before:
        del sys.modules[name]


def content(ini: MergedIni) -> dict[str, dict[str, str]]:
    return {section: ini.items(section) for section in ["DEFAULT", *ini.sections()]}


# Who wins


def test_including_file_wins_then_first_include_key_by_key(write):
    ini = read_ini(
        write(
            top="""
                [includes]
                include_ini_files = a.ini b.ini
                [app:main]
                x = top
                """,
            a="[app:main]\nx = a\ny = a",
            b="[app:main]\nx = b\ny = b\nz = b\n[server:main]\nport = 1",
        )
    )
    assert ini.items("app:main") == {"x": "top", "y": "a", "z": "b"}
    assert ini.items("server:main") == {"port": "1"}
    assert ini.sections() == ["includes", "app:main", "server:main"]


def test_what_an_include_includes_ranks_right_behind_it(write, tmp_path):
    ini = read_ini(
        write(
            top="[includes]\ninclude_ini_files = a.ini b.ini",
            a="[includes]\ninclude_ini_files = deep.ini\n[s]\nx = a",
            b="[s]\nx = b\ny = b",
            deep="[s]\nx = deep\ny = deep",
        )
    )
    assert ini.items("s") == {"x": "a", "y": "deep"}
    assert ini.files == [str(tmp_path / f"{name}.ini") for name in ("top", "a", "deep", "b")]


def test_what_the_including_file_names_too_ranks_where_it_is_named(write, tmp_path):
    """As in applications of Websauna, which list their own file before the framework's."""
    ini = read_ini(
        write(
            top="[includes]\ninclude_ini_files = development.ini app.ini base.ini",
            development="[includes]\ninclude_ini_files = base.ini\n[s]\nx = development",
            app="[s]\nx = app\ny = app",
            base="[s]\nx = base\ny = base\nz = base",
        )
    )
    assert ini.items("s") == {"x": "development", "y": "app", "z": "base"}
    names = ("top", "development", "app", "base")
    assert ini.files == [str(tmp_path / f"{name}.ini") for name in names]


def test_circle_of_files_that_the_top_file_names_too(write):
    path = write(
        top="[includes]\ninclude_ini_files = a.ini b.ini",
        a="[includes]\ninclude_ini_files = b.ini",
        b="[includes]\ninclude_ini_files = a.ini",
    )
    with pytest.raises(IniMalformed, match="includes itself"):
        read_ini(path)


def test_default_section_merges_key_by_key_and_stays_apart(write):
    ini = read_ini(
        write(
            top="[DEFAULT]\nx = top\n[includes]\ninclude_ini_files = a.ini",
            a="[DEFAULT]\nx = a\ny = a\n[s]\nx = mine",
        )
    )
    assert ini.items("DEFAULT") == {"x": "top", "y": "a"}
    assert ini.items("s") == {"x": "mine"}
    assert ini.sections() == ["includes", "s"]


def test_default_section_may_stand_twice_as_in_pastedeploy(write):
    ini = read_ini(write(top="[DEFAULT]\nx = 1\n[s]\n[DEFAULT]\ny = 2"))
    assert content(ini) == {"DEFAULT": {"x": "1", "y": "2"}, "s": {}}


def test_origin_is_the_file_that_gave_the_option(write, tmp_path):
    ini = read_ini(
        write(
            top="[includes]\ninclude_ini_files = a.ini\n[s]\nx = top",
            a="[DEFAULT]\nd = a\n[s]\nx = a\ny = a\n[t]",
        )
    )
    top, a = str(tmp_path / "top.ini"), str(tmp_path / "a.ini")
    assert ini.origin("s", "x") == top
    assert ini.origin("s", "y") == a
    assert ini.origin("s", "d") == a
    assert ini.origin("s", "z") is None
    assert (ini.origin("s"), ini.origin("t"), ini.origin("u")) == (top, a, None)


def test_option_names_keep_their_case_and_values_stay_raw(write):
    ini = read_ini(write(top="[s]\nKey = %(here)s\nkey = 100%%\nset Debug = ${x}"))
    assert ini.items("s") == {"Key": "%(here)s", "key": "100%%", "set Debug": "${x}"}


def test_repr_shows_no_values(write):
    assert "geheim" not in repr(read_ini(write(top="[s]\npassword = geheim")))


@pytest.mark.parametrize(
    "value",
    [
        "a.ini b.ini c.ini",
        "a.ini,b.ini,c.ini",
        "a.ini, b.ini ,\tc.ini,",
        "\n    a.ini\n    b.ini\n\n    # a comment\n    c.ini",
        "\n    a.ini,\n    ./b.ini c.ini",
        "a.ini b.ini a.ini c.ini b.ini",
    ],
)
def test_includes_are_separated_by_whitespace_newlines_or_commas(write, tmp_path, value):
    write(a="[a]", b="[b]", c="[c]")
    ini = read_ini(write(top=f"[includes]\ninclude_ini_files = {value}"))
    assert [Path(path).name for path in ini.files] == ["top.ini", "a.ini", "b.ini", "c.ini"]


@pytest.mark.parametrize("top", ["", "[includes]", "[includes]\ninclude_ini_files =", "[x]\ny=1"])
def test_no_include_is_fine(write, tmp_path, top):
    assert read_ini(write(top=top)).files == [str(tmp_path / "top.ini")]


def test_include_ini_files_counts_in_its_section_only(write, tmp_path):
    path = write(top="[app:main]\ninclude_ini_files = missing.ini")
    assert read_ini(path).files == [path]


def test_diamond_is_no_circle(write):
    ini = read_ini(
        write(
            top="[includes]\ninclude_ini_files = a.ini b.ini",
            a="[includes]\ninclude_ini_files = base.ini\n[s]\na = a",
            b="[includes]\ninclude_ini_files = base.ini\n[s]\nx = b",
            base="[s]\nx = base",
        )
    )
    assert ini.items("s") == {"a": "a", "x": "base"}


def test_many_diamonds_take_no_exponential_time(tmp_path):
    for i in range(60):
        includes = f"[includes]\ninclude_ini_files = a{i + 1}.ini b{i + 1}.ini" if i < 59 else ""
        for name in "ab":
            (tmp_path / f"{name}{i}.ini").write_text(f"{includes}\n[s]\n{name}{i} = 1")
    assert len(read_ini(str(tmp_path / "a0.ini")).files) == 119


KEYS = st.dictionaries(st.sampled_from("pqr"), st.text("xyz%", max_size=2), max_size=3)
FILES = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["DEFAULT", "s", "app:main"]), KEYS),
        st.lists(st.integers(1, 3), max_size=3),
    ),
    min_size=1,
    max_size=7,
)


@given(FILES)
def test_merge_equals_a_simple_model(tmp_path_factory, files):
    """Each file includes only later ones, so that there is no circle."""
    directory = tmp_path_factory.mktemp("model")
    for number, (sections, steps) in enumerate(files):
        lines = ["[includes]", "include_ini_files ="]
        lines += [f"  f{number + step}.ini" for step in steps if number + step < len(files)]
        for section, options in sections.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in options.items())]
        (directory / f"f{number}.ini").write_text("\n".join(lines))

    def model(number: int, named: frozenset[int] = frozenset()) -> dict[tuple[str, str], str]:
        """Merge from the weakest to the strongest: the last include first, the file itself last."""
        sections, steps = files[number]
        merged: dict[tuple[str, str], str] = {}
        includes = [number + step for step in steps if number + step < len(files)]
        for include in reversed(includes):
            if include not in named:
                merged = {**merged, **model(include, named.union(includes))}
        mine = {(s, key): value for s, keys in sections.items() for key, value in keys.items()}
        return {**merged, **mine}

    ini = read_ini(str(directory / "f0.ini"))
    merged = {
        (section, key): value
        for section, options in content(ini).items()
        if section != "includes"
        for key, value in options.items()
    }
    assert merged == model(0)


# Where includes are


def test_relative_include_starts_at_the_including_file(tmp_path, monkeypatch):
    top = write_tree(
        tmp_path,
        {
            "conf/top.ini": "[includes]\ninclude_ini_files = shared/a.ini ../out.ini",
            "conf/shared/a.ini": "[includes]\ninclude_ini_files = b.ini",
            "conf/shared/b.ini": "[b]",
            "out.ini": "[out]",
        },
    )
    monkeypatch.chdir("/")
    assert read_ini(top).sections() == ["includes", "b", "out"]


def test_top_file_may_be_relative_to_the_current_directory(tmp_path, monkeypatch, write):
    write(top="[includes]\ninclude_ini_files = a.ini", a="[a]")
    monkeypatch.chdir(tmp_path)
    ini = read_ini("top.ini")
    assert ini.path == str(tmp_path / "top.ini")
    assert ini.origin("a") == str(tmp_path / "a.ini")


def test_absolute_include(write, tmp_path):
    write(a="[a]")
    ini = read_ini(write(top=f"[includes]\ninclude_ini_files = {tmp_path}/a.ini"))
    assert "a" in ini.sections()


def test_here_in_an_include_is_the_directory_of_the_top_file(tmp_path):
    top = write_tree(
        tmp_path,
        {
            "my, dir 100%/top.ini": "[includes]\ninclude_ini_files = sub/a.ini",
            "my, dir 100%/sub/a.ini": "[includes]\ninclude_ini_files = %(here)s/b.ini x%%y.ini",
            "my, dir 100%/b.ini": "[b]",
            "my, dir 100%/sub/x%y.ini": "[xy]",
        },
    )
    assert read_ini(top).sections() == ["includes", "b", "xy"]


def test_resource_inside_a_package_without_importing_it(write, site):
    write_tree(
        site,
        {
            "plain_pkg/__init__.py": "raise RuntimeError('imported')",
            "plain_pkg/conf/base.ini": "[includes]\ninclude_ini_files = more/deep.ini ../up.ini",
            "plain_pkg/conf/more/deep.ini": "[deep]",
            "plain_pkg/up.ini": "[up]",
        },
    )
    ini = read_ini(
        write(top="[includes]\ninclude_ini_files = resource://plain_pkg/conf/base.ini, a.ini", a="")
    )
    assert ini.sections() == ["includes", "deep", "up"]
    assert ini.origin("deep") == str(site / "plain_pkg/conf/more/deep.ini")


def test_resource_inside_a_subpackage_imports_only_the_package_around_it(write, site):
    write_tree(
        site,
        {
            "outer_pkg/__init__.py": "",
            "outer_pkg/inner/__init__.py": "raise RuntimeError('imported')",
            "outer_pkg/inner/conf/base.ini": "[base]",
        },
    )
    ini = read_ini(
        write(top="[includes]\ninclude_ini_files = RESOURCE://outer_pkg.inner/conf/base.ini")
    )
    assert ini.sections() == ["includes", "base"]


def test_resource_inside_namespace_packages(write, site, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write_tree(site, {"ns_demo/one/__init__.py": "", "ns_demo/one/conf/x.ini": "[one]"})
    write_tree(
        other,
        {
            "ns_demo/two/__init__.py": "",
            "ns_demo/two/conf/x.ini": "[two]",
            "ns_demo/conf/y.ini": "[itself]",
            "ns_demo/nested/conf/z.ini": "[nested]",
        },
    )
    (site / "ns_demo/conf").mkdir()
    monkeypatch.syspath_prepend(str(other))
    importlib.invalidate_caches()
    ini = read_ini(
        write(
            top="""
                [includes]
                include_ini_files =
                    resource://ns_demo.one/conf/x.ini
                    resource://ns_demo.two/conf/x.ini
                    resource://ns_demo/conf/y.ini
                    resource://ns_demo.nested/conf/z.ini
                """
        )
    )
    assert ini.sections() == ["includes", "one", "two", "itself", "nested"]


def test_resource_of_an_installed_package(write):
    """The package is installed in editable mode here; any file in it will do that is no INI."""
    path = write(top="[includes]\ninclude_ini_files = resource://websauna_migrate/py.typed")
    assert Path(read_ini(path).files[1]).name == "py.typed"


def test_only_the_standard_library_is_imported():
    code = (
        "import sys, types, pathlib, importlib.util\n"
        "root = pathlib.Path(importlib.util.find_spec('websauna_migrate').origin).parent\n"
        "package = types.ModuleType('websauna_migrate')\n"
        "package.__path__ = [str(root)]\n"
        "sys.modules['websauna_migrate'] = package\n"
        "before = set(sys.modules)\n"
        "import websauna_migrate.ini.includes\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "['websauna_migrate']\n"


# Known mistakes


def message(error: type[IniError], kind: str, path: str) -> str:
    """Read, and return the message of the error, which has to be of a kind."""
    with pytest.raises(error) as caught:
        read_ini(path)
    assert caught.value.kind == kind
    assert isinstance(caught.value, MigrationError)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_missing_top_file(tmp_path):
    path = str(tmp_path / "no.ini")
    assert message(IniNotFound, "missing", path) == (
        f"INI file '{path}' does not exist. "
        "Check the path; a relative one starts at the current directory."
    )
    assert issubclass(IniNotFound, FileNotFoundError)


def test_missing_include_names_the_including_file(write, tmp_path):
    path = write(
        top="[includes]\ninclude_ini_files = a.ini",
        a="[includes]\ninclude_ini_files = sub/no.ini",
    )
    assert message(IniNotFound, "missing", path) == (
        f"INI file '{tmp_path}/sub/no.ini', included by '{tmp_path}/a.ini', does not exist. "
        f"Create it, or correct its name in '{tmp_path}/a.ini'."
    )


def test_missing_file_in_a_package(write, site):
    write_tree(site, {"bare_pkg/__init__.py": ""})
    path = write(top="[includes]\ninclude_ini_files = resource://bare_pkg/no.ini")
    assert message(IniNotFound, "missing", path) == (
        f"INI file '{site}/bare_pkg/no.ini', included by '{path}', does not exist. "
        f"Create it, or correct its name in '{path}'."
    )


@pytest.mark.parametrize("reference", ["..", ".", "resource://json", "resource://json/"])
def test_directory_instead_of_a_file(write, reference):
    path = write(top=f"[includes]\ninclude_ini_files = {reference}")
    with pytest.raises(IniError) as caught:
        read_ini(path)
    assert str(caught.value) == (
        f"INI file '{caught.value.path}', included by '{path}', cannot be read: Is a directory. "
        "Name a file that this user may read."
    )
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(
    ("reference", "scheme"),
    [
        ("http://user:geheim@example.com/x.ini", "http"),
        ("postgresql://user:geheim@host/db", "postgresql"),
        ("egg:mypkg", "egg"),
        ("my_pkg:conf/base.ini", "my_pkg"),
        ("resource:mypkg/base.ini", "resource"),
        ("ws://base.ini", "ws"),
    ],
)
def test_unknown_scheme(write, reference, scheme):
    path = write(top=f"[includes]\ninclude_ini_files = {reference}")
    assert message(IniMalformed, "scheme", path) == (
        f"INI file '{path}' includes a file with the unknown scheme '{scheme}:'. "
        "In include_ini_files, write a path (./name if the name holds a colon) or "
        "resource://dotted.package/path/in/it.ini."
    )


def test_colon_in_a_file_name(write, tmp_path):
    (tmp_path / "eu:west.ini").write_text("[eu]")
    path = write(top="[includes]\ninclude_ini_files = ./eu:west.ini")
    assert "eu" in read_ini(path).sections()


@pytest.mark.parametrize(
    ("package", "fault"),
    [
        ("no_such_package", "which is not installed"),
        ("no_such_package.sub", "which is not installed"),
        ("json.no_such_module", "which is not installed"),
        ("os.path", "which is a module and not a package"),
        ("textwrap", "which is a module and not a package"),
        ("textwrap.sub", "which is not installed"),
        ("json..tool", "which is not installed"),
        ("", "which is not installed"),
        ("my-dist", "which is not installed"),
    ],
)
def test_unknown_package(write, package, fault):
    path = write(top=f"[includes]\ninclude_ini_files = resource://{package}/conf/base.ini")
    assert message(IniMalformed, "package", path) == (
        f"INI file '{path}' includes a file of the package '{package}', {fault}. "
        "Install the package, or correct its dotted name in include_ini_files."
    )


def test_package_that_fails_to_import_something_else_keeps_its_own_error(write, site):
    write_tree(site, {"broken_pkg/__init__.py": "import no_such_dependency"})
    path = write(top="[includes]\ninclude_ini_files = resource://broken_pkg.sub/base.ini")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_dependency'"):
        read_ini(path)


def test_circle_names_the_whole_chain(write, tmp_path):
    path = write(
        top="[includes]\ninclude_ini_files = a.ini",
        a="[includes]\ninclude_ini_files = b.ini",
        b="[includes]\ninclude_ini_files = ./../" + tmp_path.name + "/a.ini",
    )
    top, a, b = (f"{tmp_path}/{name}.ini" for name in ("top", "a", "b"))
    assert message(IniMalformed, "circle", path) == (
        f"INI file '{a}' includes itself: '{top}' -> '{a}' -> '{b}' -> '{a}'. "
        "Remove one of these includes."
    )


def test_file_that_includes_itself(write):
    path = write(top="[includes]\ninclude_ini_files = top.ini")
    assert message(IniMalformed, "circle", path) == (
        f"INI file '{path}' includes itself: '{path}' -> '{path}'. Remove one of these includes."
    )


def test_circle_through_a_symbolic_link(write, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    path = write(top="[includes]\ninclude_ini_files = loop/top.ini")
    assert f"'{path}' -> '{tmp_path}/loop/top.ini'" in message(IniMalformed, "circle", path)


MALFORMED = {
    "[s]\nx = 1\n[t]\n[s]\npassword = geheim": (
        4,
        "section [s] is there twice. Make one section of the two.",
    ),
    "[s]\npassword = geheim\npassword = geheim": (
        3,
        "option 'password' of section [s] is there twice. Keep one of the two.",
    ),
    "# first\npassword = geheim": (
        2,
        "there is no [section] header above it. "
        "Write a header such as [app:main] above the first option.",
    ),
    "[s]\nx = 1\ngeheim\nalso geheim": (
        3,
        "it is neither a [section] header nor 'option = value'. "
        "Add the '=', indent the line to continue the one above, or make it a # comment.",
    ),
    "[s]\n= geheim": (
        2,
        "it is neither a [section] header nor 'option = value'. "
        "Add the '=', indent the line to continue the one above, or make it a # comment.",
    ),
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_file_names_file_line_and_includer_but_no_value(write, tmp_path, text):
    line, rest = MALFORMED[text]
    path = write(top="[includes]\ninclude_ini_files = bad.ini", bad=text)
    with pytest.raises(IniMalformed) as caught:
        read_ini(path)
    assert str(caught.value) == (
        f"INI file '{tmp_path}/bad.ini', included by '{path}', is malformed at line {line}: {rest}"
    )
    assert isinstance(caught.value, ValueError)
    # configparser quotes the line: it must not come back as the cause in a traceback either.
    shown = traceback.format_exception(caught.value.with_traceback(None))
    assert "geheim" not in "".join(shown)


def test_file_that_is_not_utf_8(write, tmp_path):
    (tmp_path / "bad.ini").write_bytes(b"[s]\nx = 1\nname = caf\xe9\n")
    path = write(top="[includes]\ninclude_ini_files = bad.ini")
    assert message(IniMalformed, "syntax", path) == (
        f"INI file '{tmp_path}/bad.ini', included by '{path}', is malformed at line 3: "
        "the text is not UTF-8. Save the file as UTF-8."
    )


def test_unicode_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "top.ini"
    path.write_bytes("\ufeff[s]\r\nname = café\r\nlong =\r\n  a\r\n  b\r\n".encode())
    assert read_ini(str(path)).items("s") == {"name": "café", "long": "\na\nb"}


def test_include_that_refers_to_another_option(write):
    path = write(
        top="[DEFAULT]\nenv = x\n[includes]\nother = y\ninclude_ini_files = %(env)s.ini",
    )
    assert message(IniMalformed, "name", path) == (
        f"INI file '{path}' refers to %(env)s in option 'include_ini_files' of section "
        "[includes], where no such name is known. "
        "Includes are read before names resolve: write the path, or %(here)s in it."
    )
