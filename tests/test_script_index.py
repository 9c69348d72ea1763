"""The index of revision scripts: never wrong, never needed, never somebody else's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps import Workshop
from websauna_migrate.database.cache import LOOKED_THROUGH, Cache, default_folder
from websauna_migrate.errors import ScriptError
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts import script_files, script_literals
from websauna_migrate.revision_scripts.script_index import ScriptIndex

SCRIPT = '''"""{message}"""
revision = "{revision}"
down_revision = {down!r}
'''

Write = Callable[..., Path]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache" / "websauna_migrate")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "alembic"
    (folder / "versions").mkdir(parents=True)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The texts that were read, and not known from an index."""
    found: list[bytes] = []
    original = script_literals.read_literals

    def read(source: bytes) -> Any:
        found.append(source)
        return original(source)

    monkeypatch.setattr(script_literals, "read_literals", read)
    monkeypatch.setattr(script_files, "SETTLED_NS", 0)
    yield found


def write(directory: Path, revision: str, down: str | None = None, message: str = "m") -> Path:
    path = directory / "versions" / f"{revision}.py"
    path.write_text(SCRIPT.format(message=message, revision=revision, down=down))
    return path


def read(cache: Cache, directory: Path) -> dict[str, Revision | None]:
    files = script_files.list_script_files([directory / "versions"])
    found = ScriptIndex(cache, directory).revisions("pkg", files)
    return dict(zip([Path(path).name for path in files], found, strict=True))


def index_file(cache: Cache) -> Path:
    assert cache.folder is not None
    (path,) = cache.folder.iterdir()
    return path


def test_a_script_is_read_once(cache: Cache, directory: Path, reads: list[bytes]) -> None:
    write(directory, "a1")
    write(directory, "b1", "a1", "Über\n\nmore")
    first = read(cache, directory)
    assert len(reads) == 2
    assert read(cache, directory) == first
    assert len(reads) == 2
    write(directory, "c1", "b1")
    (directory / "versions" / "a1.py").unlink()
    assert [*read(cache, directory)] == ["b1.py", "c1.py"]
    assert len(reads) == 3
    assert f"{os.sep}a1.py" not in index_file(cache).read_text()


def test_the_index_is_plain_data_that_nobody_else_can_write(cache: Cache, directory: Path) -> None:
    os.utime(write(directory, "a1"), (1, 1))
    assert cache.folder is not None
    read(cache, directory)
    # The file's status changed a moment ago: it is known by its text alone.
    ((stamp, _, _),) = json.loads(index_file(cache).read_bytes().split(b"\n")[1]).values()
    assert stamp is None
    index_file(cache).unlink()
    cache.write("scripts", "key", {"a": [1]})
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert index_file(cache).stat().st_mode & 0o777 == 0o600
    assert json.loads(index_file(cache).read_bytes().split(b"\n")[1]) == {"a": [1]}
    assert cache.read("scripts", "key") == {"a": [1]}
    assert cache.read("scripts", "another key") is None


def test_an_edit_within_one_tick_of_the_clock_is_seen(cache: Cache, directory: Path) -> None:
    path = write(directory, "a1", message="aaa")
    before = path.stat()
    assert read(cache, directory)["a1.py"].doc == "aaa"  # type: ignore[union-attr]
    path.write_text(path.read_text().replace("aaa", "bbb"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(cache, directory)["a1.py"].doc == "bbb"  # type: ignore[union-attr]


def test_an_edit_that_restores_time_and_size_is_seen(
    cache: Cache, directory: Path, reads: list[bytes]
) -> None:
    path = write(directory, "a1", message="aaa")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert read(cache, directory)["a1.py"].doc == "aaa"  # type: ignore[union-attr]
    path.write_text(path.read_text().replace("aaa", "bbb"))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert read(cache, directory)["a1.py"].doc == "bbb"  # type: ignore[union-attr]


def test_a_copied_tree_has_an_index_of_its_own(
    cache: Cache, directory: Path, tmp_path: Path, reads: list[bytes]
) -> None:
    write(directory, "a1", message="aaa")
    read(cache, directory)
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    assert read(cache, copy)["a1.py"].path == str(copy / "versions" / "a1.py")  # type: ignore[union-attr]
    # And one that takes the place of another.
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    path = other / "versions" / "a1.py"
    path.write_text(path.read_text().replace("aaa", "bbb"))
    os.utime(path, ns=((directory / "versions" / "a1.py").stat().st_mtime_ns,) * 2)
    shutil.rmtree(directory)
    other.rename(directory)
    assert read(cache, directory)["a1.py"].doc == "bbb"  # type: ignore[union-attr]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, directory: Path
) -> None:
    tmp_path.joinpath("readonly").mkdir(mode=0o500)
    write(directory, "a1")
    assert read(Cache(tmp_path / "readonly" / "cache"), directory)["a1.py"] is not None


@pytest.mark.parametrize("folder", ["/proc/nowhere/cache", "/dev/null/cache"])
def test_a_cache_folder_that_cannot_be_made_is_done_without(
    folder: str, directory: Path, reads: list[bytes]
) -> None:
    write(directory, "a1")
    for _ in range(2):
        assert read(Cache(Path(folder)), directory)["a1.py"] is not None
    assert read(Cache(None), directory)["a1.py"] is not None
    assert len(reads) == 3


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_left_alone(
    cache: Cache, directory: Path, reads: list[bytes], mode: int
) -> None:
    assert cache.folder is not None
    write(directory, "a1")
    read(cache, directory)
    cache.folder.chmod(mode)
    assert read(cache, directory)["a1.py"] is not None
    assert len(reads) == 2
    index_file(cache).unlink()
    read(cache, directory)
    assert not [*cache.folder.iterdir()]


def test_a_file_that_others_may_write_or_a_link_is_not_read(
    cache: Cache, directory: Path, reads: list[bytes], tmp_path: Path
) -> None:
    write(directory, "a1")
    read(cache, directory)
    index_file(cache).chmod(0o666)
    read(cache, directory)
    assert len(reads) == 2
    path = index_file(cache)
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    read(cache, directory)
    assert len(reads) == 3


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_index_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    base = tmp_path_factory.getbasetemp() / "damaged"
    cache, directory = Cache(base / "cache"), base / "alembic"
    if not base.exists():
        (directory / "versions").mkdir(parents=True)
        for number in range(3):
            write(directory, f"a{number}", f"a{number - 1}" if number else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script_files, "SETTLED_NS", 0)
        expected = read(cache, directory)
        path = index_file(cache)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        assert read(cache, directory) == expected
        assert read(cache, directory) == expected


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                ["write", "same size", "delete", "rename", "touch", "break", "compute"]
            ),
            st.integers(0, 3),
            st.integers(0, 9),
        ),
        max_size=12,
    )
)
def test_after_any_changes_the_index_says_what_the_files_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    base = tmp_path_factory.mktemp("changes")
    cache, directory = Cache(base / "cache"), base / "alembic"
    versions = directory / "versions"
    versions.mkdir(parents=True)
    for kind, number, value in steps:
        path = versions / f"r{number}.py"
        if kind in ("write", "same size"):
            write(directory, f"r{number}", message=str(value) * (value if kind == "write" else 3))
        elif kind == "break":
            path.write_text("revision = (")
        elif kind == "compute":
            path.write_text(f"revision = str({value})\ndown_revision = None\n")
        elif path.exists():
            if kind == "delete":
                path.unlink()
            elif kind == "rename":
                path.rename(versions / f"r{(number + 1) % 4}.py")
            else:
                os.utime(path, (value, value))
        assert read(cache, directory) == read(Cache(None), directory)


def test_two_processes_at_once(workshop: Workshop, tmp_path: Path, cache_folder: Path) -> None:
    workshop.package("indexed")
    for number in range(50):
        workshop.script("indexed", f"r{number:03}", f"r{number - 1:03}" if number else None)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from websauna_migrate.revision_scripts import script_files as s\n"
        "from websauna_migrate.revision_scripts.script_index import ScriptIndex\n"
        "from websauna_migrate.database.cache import Cache\n"
        "s.SETTLED_NS = 0\n"
        "d = Path(sys.argv[2])\n"
        "for n in range(30):\n"
        "    if n % 3 == 0:\n"
        "        new = d / 'versions' / f'{n}-{sys.argv[4]}.new'\n"
        "        new.write_text(f'revision = \"x{n}{sys.argv[4]}\"\\ndown_revision = None')\n"
        "        new.rename(new.with_suffix('.py'))\n"
        "    files = s.list_script_files([d / 'versions'])\n"
        "    for r in ScriptIndex(Cache(Path(sys.argv[3])), d).revisions('pkg', files):\n"
        "        assert r.id in open(r.path).read()\n"
    )
    directory = workshop.root / "indexed" / "alembic"
    words = [sys.executable, "-c", program, str(Path.cwd()), str(directory), str(tmp_path / "c")]
    both = [subprocess.Popen([*words, name]) for name in ("one", "two")]
    assert [one.wait(120) for one in both] == [0, 0]
    assert all(not one.name.startswith(".") for one in (tmp_path / "c").iterdir())


def test_the_default_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/websauna_migrate")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_folder() == Path("/home/me/.cache/websauna_migrate")
    assert Cache.of("off").folder is None
    assert Cache.of("~/x").folder == Path("/home/me/x")


def test_files_that_were_not_needed_for_long_are_taken_away(cache: Cache) -> None:
    assert cache.folder is not None
    cache.write("scripts", "old", 1)
    (cache.folder / "a user's own").touch()
    for path in cache.folder.iterdir():
        os.utime(path, (1, 1))
    # As another process, which looks through the folder once.
    LOOKED_THROUGH.discard(cache.folder)
    cache.write("scripts", "new", 2)
    assert cache.read("scripts", "old") is None
    assert cache.read("scripts", "new") == 2
    assert (cache.folder / "a user's own").exists()


# In the service


def test_scripts_are_not_imported_to_look_at_them(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("lazyapp")
    path = workshop.script("lazyapp", "a1", upgrade="pass")
    path.write_text(path.read_text().replace("import sqlalchemy as sa", "import no_such_module"))
    service = workshop.service(sqlite_url)
    assert [str(one) for one in service.heads()] == ["lazyapp@a1"]
    assert len(service.history()) == 1
    assert service.current()[0].pending == 1
    assert len(service.plan()) == 1
    with pytest.raises(ScriptError) as caught:
        service.upgrade()
    assert "it raises ModuleNotFoundError in line" in str(caught.value)
    service.use_index = False
    with pytest.raises(ScriptError, match="it raises ModuleNotFoundError"):
        service.heads()


def test_a_script_that_says_something_else_when_imported_is_not_run(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("changing")
    path = workshop.script("changing", "a1")
    service = workshop.service(sqlite_url)
    snapshot = service._snapshot()
    assert snapshot.histories["changing"].heads == ("a1",)
    path.write_text(path.read_text().replace("depends_on = None", "requires = ('x@y',)"))
    path.write_text(path.read_text().replace("requires = ()", ""))
    with pytest.raises(ScriptError) as caught:
        _ = snapshot.environments["changing"].scripts.get_revision("a1").module
    assert str(caught.value) == (
        f'Revision script "{path}" of package "changing" was changed while the command ran, or '
        "computes what it says of itself in a way that its text does not show. Run the command "
        "again; if that does not help, run it with --no-index."
    )


def test_a_script_with_a_computed_identifier_is_imported(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("computing")
    path = workshop.script("computing", "a1")
    path.write_text(path.read_text().replace("revision = 'a1'", "revision = 'a' + str(2)"))
    service = workshop.service(sqlite_url)
    assert [str(one) for one in service.heads()] == ["computing@a2"]
    assert [step.revision for step in service.upgrade().steps] == ["a2"]


@pytest.mark.parametrize("index", [True, False])
def test_links_and_folders_are_seen_as_alembic_sees_them(
    workshop: Workshop, sqlite_url: str, tmp_path: Path, index: bool
) -> None:
    workshop.package("linking")
    workshop.script("linking", "a1")
    path = workshop.script("linking", "b1", "a1")
    versions = path.parent
    moved = tmp_path / "elsewhere.py"
    path.rename(moved)
    (versions / "link.txt").symlink_to(moved)
    (versions / "again.py").symlink_to(versions / "a1.py")
    (versions / "folder.py").mkdir()
    (versions / "__init__.py").touch()
    (versions / ".#a1.py").write_text("no script")
    service = workshop.service(sqlite_url)
    service.use_index = index
    snapshot = service._snapshot()
    assert [r.path for r in snapshot.histories["linking"]] == [str(versions / "a1.py"), str(moved)]
    (versions / "broken.py").symlink_to(tmp_path / "nowhere.py")
    with pytest.raises(ScriptError, match=r"nowhere\.py.*Can't find Python file"):
        service.heads()
