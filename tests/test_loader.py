"""The ``ws://`` plaster loader: as PasteDeploy, on the merged file, for real programs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path
from textwrap import dedent

import plaster
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyramid.paster import bootstrap, get_app, get_appsettings
from pyramid.scripts.pserve import PServeCommand

from websauna_migrate.errors import IniError, IniMalformed, IniNotFound, MigrationError
from websauna_migrate.ini.loader import Loader, config_uri

# What the INI files of this module use; it is both this process's and a subprocess's module.
APP = '''
from pyramid.config import Configurator
from pyramid.response import Response


def main(global_config, **settings):
    """A Pyramid application that shows one of its settings."""
    config = Configurator(settings=settings)
    config.add_route("home", "/")
    config.add_view(lambda request: Response(settings["greeting"]), route_name="home")
    return config.make_wsgi_app()


class Recorded:
    """What any factory here returns: its arguments."""

    def __init__(self, kind, global_conf, settings, *inner):
        self.kind, self.global_conf, self.settings = kind, global_conf, settings
        self.inner = inner


def app(global_conf, **settings):
    return Recorded("app", global_conf, settings)


def composite(loader, global_conf, **settings):
    inner = [loader.get_app(value, global_conf=global_conf) for value in settings.values()]
    return Recorded("composite", global_conf, settings, *inner)


def filter(global_conf, **settings):
    return lambda app: Recorded("filter", global_conf, settings, app)


def filter_app(app, global_conf, **settings):
    return Recorded("filter_app", global_conf, settings, app)


def server(global_conf, **settings):
    return lambda app: Recorded("server", global_conf, settings, app)
'''


@pytest.fixture(autouse=True)
def module(tmp_path_factory, monkeypatch):
    """Put the module ``ws_demo_app`` where it can be imported; return its directory."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "ws_demo_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(directory))
    yield directory
    sys.modules.pop("ws_demo_app", None)


@pytest.fixture
def write(tmp_path):
    def write_tree(files: dict[str, str]) -> str:
        """Write files below the temporary directory; return the URI of the first."""
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(dedent(text), encoding="utf-8")
        return config_uri(str(tmp_path / next(iter(files))))

    return write_tree


def load(uri: str) -> Loader:
    loader = plaster.get_loader(uri, protocols=["wsgi"])
    assert isinstance(loader, Loader)
    return loader


# URIs


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("ws://top.ini", {"x": "1"}),
        ("ws:top.ini", {"x": "1"}),
        ("ws://./top.ini", {"x": "1"}),
        ("ws://{tmp_path}/top.ini", {"x": "1"}),
        ("ws:{tmp_path}/top.ini", {"x": "1"}),
        ("websauna-migrate+ws://top.ini", {"x": "1"}),
        ("ws://sub/top.ini", {"x": "sub"}),
        ("ws:sub/top.ini", {"x": "sub"}),
        ("ws://sub/../top.ini", {"x": "1"}),
        ("ws://top.ini#other", {"x": "2"}),
        ("ws://{tmp_path}/top.ini?y=5%2B&z=%20#third", {"x": "5+ "}),
    ],
)
def test_every_form_of_the_uri(write, tmp_path, monkeypatch, uri, expected):
    write(
        {
            "top.ini": "[app:main]\nx = 1\n[other]\nx = 2\n[third]\nx = %(y)s%(z)s",
            "sub/top.ini": "[app:main]\nx = sub",
        }
    )
    monkeypatch.chdir(tmp_path)
    uri = uri.format(tmp_path=tmp_path)
    loader = load(uri)
    assert loader.get_settings(None if "#" in uri else "app:main") == expected
    # pserve watches this path.
    name = "sub/top.ini" if expected == {"x": "sub"} else "top.ini"
    assert Path(loader.uri.path).resolve() == tmp_path / name


def test_loader_does_not_follow_a_change_of_the_current_directory(write, tmp_path, monkeypatch):
    write({"top.ini": "[s]\nx = %(here)s"})
    monkeypatch.chdir(tmp_path)
    loader = load("ws://top.ini")
    monkeypatch.chdir("/")
    assert loader.get_settings("s") == {"x": str(tmp_path)}


STRANGE = [
    "plain",
    "a b",
    " lead and trail ",
    "100%",
    "a%20b",
    "a%%b",
    "%(x)s",
    "a#b",
    "a?b=c",
    "a@b",
    "u:p@h",
    "[x]",
    "a;b",
    "a&b=c+d",
    "café-日本",
    "tab\there",
    "new\nline",
    "x.ini",
    "x.ini#y",
    "back\\slash",
    "~",
]


@pytest.mark.parametrize("name", STRANGE)
def test_directory_with_strange_name(write, tmp_path, name):
    """Also `use = config:` and includes, by relative path and by %(here)s, find their files."""
    uri = write(
        {
            f"{name}/top.ini": """
                [includes]
                include_ini_files = inc/a.ini %(here)s/b.ini
                [app:main]
                use = config:%(here)s/other.ini
                dir = %(here)s/var
                """,
            f"{name}/inc/a.ini": """
                [pipeline:relative]
                pipeline = config:c.ini
                [composite:both]
                use = call:ws_demo_app:composite
                one = config:c.ini#main
                two = relative
                """,
            f"{name}/b.ini": "[b]\nfile = %(__file__)s",
            f"{name}/other.ini": "[app:main]\nuse = call:ws_demo_app:app\nother = %(here)s",
            f"{name}/inc/c.ini": "[app:main]\nuse = call:ws_demo_app:app\nc = %(here)s",
        }
    )
    here = str(tmp_path / name)
    loader = load(uri)
    assert loader.uri.path == f"{here}/top.ini"
    assert loader.get_settings("b") == {"file": f"{here}/top.ini"}
    app = loader.get_wsgi_app()
    assert app.settings == {"dir": f"{here}/var", "other": here}
    assert app.global_conf == {"here": here, "__file__": f"{here}/top.ini"}
    assert loader.get_wsgi_app("relative").settings == {"c": f"{here}/inc"}
    assert [inner.settings for inner in loader.get_wsgi_app("both").inner] == [
        {"c": f"{here}/inc"},
        {"c": f"{here}/inc"},
    ]


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("suffix", ["", "#name", "?a=b%2Fc", "?a=x/y.ini#name"])
def test_config_uri_keeps_fragment_and_query(tmp_path, monkeypatch, name, suffix):
    """Whether the file exists or not, as long as the name of a missing one is not ambiguous."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for exists in (False, True):
        if not exists and name in ("x.ini", "x.ini#y", "u:p@h"):
            continue
        if exists:
            (tmp_path / name / "top.ini").touch()
        uri = config_uri(f"{name}/top.ini{suffix}")
        loader = load(uri)
        assert loader.uri.path == f"{tmp_path}/{name}/top.ini"
        assert loader.uri.fragment == ("name" if "#" in suffix else "")
        expected = {"a": "b/c"} if "%" in suffix else {"a": "x/y.ini"} if suffix[:1] == "?" else {}
        assert loader.uri.options == expected
        assert config_uri(uri) == uri


def test_config_uri_of_a_plain_path_is_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_uri("development.ini") == f"ws://{tmp_path}/development.ini"
    assert config_uri("conf/../x.ini#a") == f"ws://{tmp_path}/x.ini#a"
    assert config_uri("/etc/site.conf") == "ws:///etc/site.conf"
    assert config_uri("//etc/x.ini") == "ws:///etc/x.ini"
    assert config_uri("no_ending#app?x") == f"ws://{tmp_path}/no_ending#app?x"
    assert config_uri("x" * 300 + ".ini").endswith("/" + "x" * 300 + ".ini")


@pytest.mark.parametrize(
    "uri",
    [
        "ws://development.ini",
        "ws:development.ini#x",
        "ws:///a/b c.ini?x=y",
        "egg:mypkg#main",
        "pastedeploy+ini://development.ini",
        "file+ini:///x.ini",
        "yaml://x.yml",
    ],
)
def test_config_uri_keeps_explicit_uris(uri):
    assert config_uri(uri) == uri


def test_two_directories_that_differ_by_an_escape_are_not_mixed_up(write):
    first = write({"a#b/top.ini": "[s]\nx = hash"})
    second = write({"a%23b/top.ini": "[s]\nx = escape"})
    assert load(first).get_settings("s") == {"x": "hash"}
    assert load(second).get_settings("s") == {"x": "escape"}


def test_percent_in_a_path_may_be_written_bare_in_the_uri(write, tmp_path):
    write({"a%20b/top.ini": "[s]\nx = 1"})
    assert load(f"ws://{tmp_path}/a%20b/top.ini").get_settings("s") == {"x": "1"}


def test_repr_names_the_file_without_query_options():
    loader = load("ws:///etc/x.ini?password=geheim")
    assert repr(loader) == "websauna_migrate.ini.loader.Loader('/etc/x.ini')"


# Interpolation


def test_here_and_file_are_those_of_the_top_file_everywhere(write, tmp_path):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = sub/a.ini\n[s]\nx = %(here)s",
            "sub/a.ini": "[DEFAULT]\nd = %(here)s/d\n[s]\ny = %(here)s %(d)s\nf = %(__file__)s",
        }
    )
    assert load(uri).get_settings("s") == {
        "x": str(tmp_path),
        "y": f"{tmp_path} {tmp_path}/d",
        "f": f"{tmp_path}/top.ini",
    }


def test_names_resolve_after_merging(write):
    uri = write(
        {
            "top.ini": """
                [DEFAULT]
                db = live
                [includes]
                include_ini_files = a.ini
                [app:main]
                host = db.example.com
                """,
            "a.ini": """
                [DEFAULT]
                db = demo
                [app:main]
                host = localhost
                url = postgresql://%(host)s/%(db)s
                """,
        }
    )
    assert load(uri).get_settings("app:main") == {
        "host": "db.example.com",
        "url": "postgresql://db.example.com/live",
    }


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("postgresql://u:p%40ss@host/db", "postgresql://u:p%40ss@host/db"),
        ("postgresql://u:p%%40ss@host/db", "postgresql://u:p%40ss@host/db"),
        ("100%", "100%"),
        ("100%%", "100%"),
        ("%", "%"),
        ("%%%", "%%"),
        ("%%%%", "%%"),
        ("%%(here)s", "%(here)s"),
        ("%%%(w)s", "%word"),
        ("a%%%b", "a%%b"),
        ("%(levelname)-5.5s %()s %(w) %s", "%(levelname)-5.5s %()s %(w) %s"),
        ("%41%(w)s%", "%41word%"),
        ("%(pw)s@h", "p%40@h"),
        ("$x ${w} $(w)", "$x ${w} $(w)"),
    ],
)
def test_percent_that_is_no_reference_comes_out_as_written(write, raw, value):
    uri = write(
        {"top.ini": f"[app:main]\nuse=call:ws_demo_app:app\nx = {raw}\nw = word\npw = p%40"}
    )
    loader = load(uri)
    assert loader.get_settings("app:main")["x"] == value
    assert loader.get_wsgi_app().settings["x"] == value
    assert loader.get_wsgi_app_settings()["x"] == value


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12))
@example("%(here)s")
@example("%%(x)s%")
def test_any_text_with_doubled_percent_comes_out_as_it_is(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "top.ini"
    path.write_text(f"[s]\nx = {text.replace('%', '%%')}", encoding="utf-8")
    assert Loader(plaster.parse_uri(config_uri(str(path)))).get_settings("s") == {"x": text}


def test_reference_to_an_unknown_name(write, tmp_path):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = a.ini\n[app:main]\nx = %(url)s geheim",
            "a.ini": "[app:main]\nuse = call:ws_demo_app:app\nurl = geheim://%(no_such)s",
        }
    )
    loader = load(uri)
    for method in (
        loader.get_wsgi_app,
        loader.get_wsgi_app_settings,
        lambda: loader.get_settings("app:main"),
    ):
        with pytest.raises(IniMalformed) as caught:
            method()
        assert caught.value.kind == "name"
        assert str(caught.value) == (
            f"INI file '{tmp_path}/a.ini' refers to %(no_such)s in option 'url' of section "
            "[app:main], where no such name is known. Define 'no_such' in [app:main] or "
            "[DEFAULT]; if the text is meant literally, write %%(no_such)s."
        )
        # PasteDeploy's own parser would quote the value in the message and in its cause.
        assert "geheim" not in "".join(
            traceback.format_exception(caught.value.with_traceback(None))
        )
    assert isinstance(caught.value, MigrationError)
    assert isinstance(caught.value, LookupError)


def test_reference_to_an_unknown_name_in_default(write, tmp_path):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = a.ini\n[s]\ny = %(x)s",
            "a.ini": "[DEFAULT]\nx = %(no)s",
        }
    )
    with pytest.raises(IniMalformed) as caught:
        load(uri).get_settings("s")
    assert caught.value.kind == "name"
    assert (caught.value.path, caught.value.section, caught.value.option, caught.value.names) == (
        f"{tmp_path}/a.ini",
        "DEFAULT",
        "x",
        ("no",),
    )


def test_options_that_refer_to_each_other(write, tmp_path):
    uri = write({"top.ini": "[s]\na = %(b)s\nb = geheim %(c)s\nc = %(b)s"})
    with pytest.raises(IniMalformed) as caught:
        load(uri).get_settings("s")
    assert caught.value.kind == "loop"
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' has options in section [s] that refer to each other: "
        "'b' -> 'c' -> 'b'. Give one of them a value of its own."
    )


def test_files_are_read_once_for_many_sections_and_anew_afterwards(write, tmp_path):
    loader = load(write({"top.ini": "[DEFAULT]\nd = 1\n[a]\nx = %(d)s\n[b]\nget y = d"}))
    with loader.reading_once():
        (tmp_path / "top.ini").unlink()
        sections = {name: dict(loader.get_settings(name)) for name in loader.get_sections()}
        with pytest.raises(IniNotFound):
            loader.get_settings("a", {"d": "2"})
    assert sections == {"a": {"x": "1"}, "b": {"y": "1"}}
    (tmp_path / "top.ini").write_text("[c]")
    assert loader.get_sections() == ["c"]


# As PasteDeploy

WHOLE = """
    [DEFAULT]
    debug = false
    site = example
    Mail = %(site)s@example.com

    [app:main]
    use = call:ws_demo_app:app
    set debug = true
    get mail = Mail
    x = %(site)s
    filter-with = gzip

    [app:factory]
    paste.app_factory = ws_demo_app:app
    CamelCase = Yes
    doubled = 100%%

    [app:derived]
    use = factory
    set site = derived
    doubled = 200%%

    [app:elsewhere]
    use = config:elsewhere.ini#named
    set site = overridden
    local = %(site)s

    [filter:gzip]
    use = call:ws_demo_app:filter
    level = 3

    [filter:wrap]
    paste.filter_app_factory = ws_demo_app:filter_app
    depth = %(site)s

    [pipeline:pipe]
    pipeline = wrap gzip factory

    [filter-app:fa]
    use = gzip
    next = derived

    [composite:comp]
    use = call:ws_demo_app:composite
    / = factory
    /pipe = pipe

    [server:main]
    paste.server_factory = ws_demo_app:server
    port = %(http_port)s

    [pshell]
    get d = debug
    set e = f
    """
ELSEWHERE = """
    [DEFAULT]
    own = %(here)s

    [app:named]
    use = call:ws_demo_app:app
    y = %(site)s %(own)s
    """


def split_over_includes(text: str) -> dict[str, str]:
    """Put every section into a file of its own, in one directory, and include them all."""
    sections = [f"[{section}" for section in dedent(text).split("\n[")[1:]]
    files = {f"part{number}.ini": section for number, section in enumerate(sections)}
    return {"top.ini": f"[includes]\ninclude_ini_files = {' '.join(files)}", **files}


def plain(value):
    """Turn what the factories recorded into data."""
    if type(value).__name__ == "Recorded":
        return (value.kind, value.global_conf, value.settings, [plain(v) for v in value.inner])
    return value


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("defaults", [None, {"http_port": "80", "site": "given", "z": "100%"}])
@pytest.mark.parametrize("query", ["?http_port=8080", "?http_port=8080&site=query&debug=x"])
def test_all_that_pastedeploy_knows_loads_as_with_its_own_loader(write, split, defaults, query):
    if defaults:
        defaults = {key: value.replace("%", "%%") for key, value in defaults.items()}
    files = split_over_includes(WHOLE) if split else {"top.ini": WHOLE}
    ours = load(write({**files, "elsewhere.ini": ELSEWHERE}) + query)
    Path(ours.filepath).with_name("whole.ini").write_text(dedent(WHOLE))
    theirs = plaster.get_loader(
        str(Path(ours.filepath).with_name("whole.ini")) + query, protocols=["wsgi"]
    )
    assert not isinstance(theirs, Loader)

    def same(get):
        def place(value):
            text = repr(plain(value))
            return text.replace("whole.ini", "top.ini")

        expected = get(theirs)
        assert place(get(ours)) == place(expected)
        if hasattr(expected, "global_conf"):
            assert place(dict(get(ours).global_conf)) == place(dict(expected.global_conf))

    sections = [section for section in ours.get_sections() if section != "includes"]
    assert sections == theirs.get_sections()
    for section in [*sections, "missing", "DEFAULT"]:
        if section != "DEFAULT":
            same(lambda loader, section=section: loader.get_settings(section, defaults))
    for name in ("main", "factory", "derived", "elsewhere", "pipe", "fa", "comp", None):
        same(lambda loader, name=name: loader.get_wsgi_app(name, defaults))
        if name not in ("main", None):
            same(lambda loader, name=name: loader.get_wsgi_app_settings(name, defaults))
    same(lambda loader: loader.get_wsgi_filter("gzip", defaults)("app"))
    same(lambda loader: loader.get_wsgi_filter("wrap", defaults)("app"))
    same(lambda loader: loader.get_wsgi_server(None, defaults)("app"))
    if (
        defaults or "site" in query
    ):  # Asked for directly, it does not see [DEFAULT] of the top file.
        same(lambda loader: loader.get_wsgi_app("config:elsewhere.ini#named", defaults))


def test_fragment_names_application_server_and_section(write):
    uri = write(
        {
            "top.ini": """
                [app:blue]
                use = call:ws_demo_app:app
                [filter:blue]
                use = call:ws_demo_app:filter
                [server:blue]
                paste.server_factory = ws_demo_app:server
                """
        }
    )
    loader = load(uri + "#blue")
    assert loader.get_wsgi_app().kind == "app"
    assert loader.get_wsgi_server()("app").kind == "server"
    assert loader.get_wsgi_filter()("app").kind == "filter"


def test_defaults_need_not_be_strings(write):
    uri = write({"top.ini": "[app:main]\nuse = call:ws_demo_app:app\nport = %(http_port)s"})
    app = load(uri).get_wsgi_app(defaults={"http_port": 8080})
    assert app.settings == {"port": "8080"}
    assert app.global_conf["http_port"] == 8080
    assert load(uri).get_settings("app:main", {"http_port": 8080})["port"] == "8080"


def test_egg_reference_in_an_include(write):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = a.ini",
            "a.ini": "[server:main]\nuse = egg:waitress#main\nlisten = 127.0.0.1:1",
        }
    )
    assert callable(load(uri).get_wsgi_server())


def test_config_reference_is_relative_to_the_file_where_it_is_written(write):
    app = "[app:main]\nuse = call:ws_demo_app:app\nwhich = "
    uri = write(
        {
            "top.ini": """
                [includes]
                include_ini_files = sub/a.ini
                [app:here]
                use = config:x.ini
                [app:both]
                use = config:x.ini
                """,
            "x.ini": app + "top",
            "sub/a.ini": """
                [app:main]
                use = config:x.ini#main
                setting = config:x.ini
                [app:both]
                use = config:nowhere.ini
                [app:absolute]
                use = config:%(here)s/x.ini
                [app:outer]
                use = config:../x.ini
                [app:filtered]
                use = call:ws_demo_app:app
                filter-with = config:x.ini#f
                [pipeline:pipe]
                pipeline = config:x.ini#f config:x.ini
                """,
            "sub/x.ini": app + "sub\n[filter:f]\nuse = call:ws_demo_app:filter",
        }
    )
    loader = load(uri)
    assert loader.get_wsgi_app().settings == {"which": "sub", "setting": "config:x.ini"}
    for name in ("here", "both", "absolute", "outer"):
        assert loader.get_wsgi_app(name).settings == {"which": "top"}
    assert loader.get_wsgi_app("filtered").kind == "filter"
    assert loader.get_wsgi_app("pipe").inner[0].settings == {"which": "sub"}


def test_target_of_a_config_reference_may_include(write, tmp_path):
    uri = write(
        {
            "top.ini": """
                [DEFAULT]
                secret = p%%40%%%%%%(x)s
                [app:main]
                use = config:sub/other.ini#blue
                x = top
                """,
            "sub/other.ini": "[includes]\ninclude_ini_files = base.ini\n[app:blue]\nx = other",
            "sub/base.ini": """
                [app:blue]
                use = call:ws_demo_app:app
                x = base
                y = %(here)s
                z = %(secret)s
                """,
        }
    )
    app = load(uri).get_wsgi_app()
    # The secret goes from one file to the other, but is interpolated once.
    assert app.settings == {"x": "top", "y": f"{tmp_path}/sub", "z": "p%40%%%(x)s"}
    assert app.global_conf == {
        "here": str(tmp_path),
        "__file__": f"{tmp_path}/top.ini",
        "secret": "p%40%%%(x)s",
    }


def test_missing_target_of_a_config_reference_names_the_file_it_is_written_in(write, tmp_path):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = sub/a.ini",
            "sub/a.ini": "[app:main]\nuse = config:no.ini#x",
        }
    )
    with pytest.raises(IniNotFound) as caught:
        load(uri).get_wsgi_app()
    assert str(caught.value) == (
        f"INI file '{tmp_path}/sub/no.ini', included by '{tmp_path}/sub/a.ini', does not exist. "
        f"Create it, or correct its name in '{tmp_path}/sub/a.ini'."
    )


# Known mistakes


def test_missing_file(tmp_path):
    loader = load(f"ws://{tmp_path}/no.ini")
    for method in (
        loader.get_sections,
        loader.get_settings,
        loader.get_wsgi_app,
        loader.get_wsgi_app_settings,
        loader.get_wsgi_server,
        loader.get_wsgi_filter,
        loader.setup_logging,
    ):
        with pytest.raises(IniNotFound) as caught:
            method()
        assert str(caught.value) == (
            f"INI file '{tmp_path}/no.ini' does not exist. "
            "Check the path; a relative one starts at the current directory."
        )


def test_missing_application(write, tmp_path):
    uri = write({"top.ini": "[server:main]\nuse = egg:waitress"})
    for method in (load(uri).get_wsgi_app, load(uri).get_wsgi_app_settings):
        with pytest.raises(IniMalformed) as caught:
            method()
        assert caught.value.kind == "section"
        assert str(caught.value) == (
            f"INI file '{tmp_path}/top.ini' has no section [app:main], and no file that it "
            "includes has one. Add the section."
        )
    assert isinstance(caught.value, LookupError)


def test_missing_application_among_others(write, tmp_path):
    uri = write({"top.ini": "[app:blue]\n[pipeline:green]\n[filter:red]"})
    with pytest.raises(IniMalformed) as caught:
        load(uri).get_wsgi_app("red")
    assert caught.value.kind == "section"
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' has no section [app:red], and no file that it includes "
        "has one. Add the section, or name one of these instead: [app:blue], [pipeline:green]."
    )


@pytest.mark.parametrize(("kind", "method"), [("server", 1), ("filter", 2)])
def test_missing_server_or_filter(write, tmp_path, kind, method):
    loader = load(write({"top.ini": ""}))
    with pytest.raises(IniMalformed) as caught:
        (loader.get_wsgi_server if kind == "server" else loader.get_wsgi_filter)()
    assert caught.value.kind == "section"
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' has no section [{kind}:main], and no file that it "
        "includes has one. Add the section."
    )


def test_application_and_pipeline_of_one_name_from_two_files(write, tmp_path):
    uri = write(
        {
            "top.ini": "[includes]\ninclude_ini_files = a.ini\n[pipeline:main]\npipeline = x",
            "a.ini": "[app:main]\nuse = call:ws_demo_app:app",
        }
    )
    with pytest.raises(IniMalformed) as caught:
        load(uri).get_wsgi_app()
    assert caught.value.kind == "ambiguous"
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' has several sections for the name 'main': "
        f"[pipeline:main] of '{tmp_path}/top.ini' and [app:main] of '{tmp_path}/a.ini'. "
        "Rename all but one."
    )


# Logging


@pytest.fixture
def fresh_logging():
    """Take the handlers of the root logger away for a test, and put them back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


LOGGING = """
    [loggers]
    keys = root
    [handlers]
    keys = file
    [formatters]
    keys = generic
    [logger_root]
    level = INFO
    handlers = file
    [handler_file]
    class = FileHandler
    args = ('%(here)s/%(log_name)s', 'w')
    level = NOTSET
    formatter = generic
    [formatter_generic]
    format = %(levelname)-5.5s [%(name)s] %(message)s
    """


def test_logging_comes_from_the_merged_file(write, tmp_path, fresh_logging):
    uri = write(
        {
            "100%/top.ini": """
                [includes]
                include_ini_files = ../logging.ini
                [logger_root]
                level = WARNING
                """,
            "logging.ini": LOGGING,
        }
    )
    earlier = logging.getLogger("websauna_migrate.tests.earlier")
    load(uri).setup_logging({"log_name": "x.log"})
    assert not earlier.disabled
    earlier.info("quiet")
    earlier.warning("loud")
    text = (tmp_path / "100%/x.log").read_text()
    assert text == "WARNI [websauna_migrate.tests.earlier] loud\n"


def test_logging_without_configuration_goes_to_stderr(write):
    code = (
        "import sys, logging, plaster\n"
        "plaster.setup_logging(sys.argv[1])\n"
        "logging.getLogger('x').warning('hello')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, write({"top.ini": ""})],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("", "WARNING:x:hello\n")


def test_logging_that_names_something_missing(write, tmp_path, fresh_logging):
    uri = write(
        {
            "top.ini": """
                [includes]
                include_ini_files = logging.ini
                [logger_root]
                handlers = mail
                [handler_file]
                class = StreamHandler
                args = ()
                """,
            "logging.ini": LOGGING,
        }
    )
    with pytest.raises(IniMalformed) as caught:
        load(uri).setup_logging()
    assert caught.value.kind == "logging"
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' configures logging, but neither it nor a file that it "
        "includes defines 'mail'. "
        "Define it, or take it out of the sections [loggers], [handlers] and [formatters]."
    )
    assert isinstance(caught.value, IniError)


def test_logging_by_a_class_that_is_not_installed_names_its_module(write, tmp_path):
    handler = "[handler_file]\nclass = not_installed.ColourHandler\nargs = ()\n"
    uri = write({"top.ini": "[includes]\ninclude_ini_files = l.ini\n" + handler, "l.ini": LOGGING})
    with pytest.raises(IniMalformed) as caught:
        load(uri).setup_logging()
    assert str(caught.value) == (
        f"INI file '{tmp_path}/top.ini' configures logging with a class of the module "
        "'not_installed', which is not installed. "
        "Install it, or name another class in the section [handler_...] that has it."
    )


# Real programs

SITE = {
    "top.ini": """
        [includes]
        include_ini_files = conf/base.ini
        [app:main]
        greeting = hello 100%% from %(site)s
        """,
    "conf/base.ini": """
        [DEFAULT]
        site = base
        [app:main]
        use = call:ws_demo_app:main
        greeting = overridden
        [server:main]
        use = egg:waitress#main
        listen = 127.0.0.1:%(port)s
        [pserve]
        watch_files =
            static/x.css
        """
    + LOGGING.replace("%(log_name)s", "site.log"),
}


def test_pyramid_bootstrap(write):
    uri = write(SITE) + "?port=0"
    with bootstrap(uri) as env:
        assert env["registry"].settings["greeting"] == "hello 100% from base"
    assert get_app(uri) is not None
    assert get_appsettings(uri, options={"site": "given"})["greeting"] == "hello 100% from base"


def test_pserve_watches_the_included_files_too(write, tmp_path):
    command = PServeCommand(["pserve", write(SITE)])
    loader = load(write(SITE))
    command.pserve_file_config(loader, global_conf={"port": "0"})
    assert command.watch_files == {f"{tmp_path}/conf/base.ini", f"{tmp_path}/static/x.css"}
    assert command.get_config_path(loader) == f"{tmp_path}/top.ini"


def test_watch_files_stay_alone_without_includes(write):
    loader = load(write({"top.ini": "[pserve]\nwatch_files = a"}))
    assert loader.get_settings("pserve") == {"watch_files": "a"}
    assert load(write({"top.ini": ""})).get_settings("pserve") == {}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def program(name: str, *arguments: str, module: Path, **options) -> subprocess.Popen:
    """Start one of Pyramid's programs, with the module of this test on its path."""
    code = f"import sys; from pyramid.scripts.{name} import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(module), "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_pserve_serves_the_merged_application(write, tmp_path, module):
    write(SITE)
    port = free_port()
    process = program("pserve", "ws://top.ini", f"port={port}", module=module, cwd=tmp_path)
    try:
        body = None
        deadline = time.monotonic() + 30
        while body is None and process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                body = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
    assert body == b"hello 100% from base", errors
    assert "Serving on http://127.0.0.1" in (tmp_path / "site.log").read_text()


def test_pshell_reads_a_script_from_stdin(write, tmp_path, module):
    write(SITE)
    process = program(
        "pshell",
        "-p",
        "python",
        "ws://top.ini",
        "port=0",
        module=module,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
    )
    output, errors = process.communicate("print(registry.settings['greeting'])\n", timeout=60)
    assert "hello 100% from base" in output, errors
    assert process.returncode == 0
