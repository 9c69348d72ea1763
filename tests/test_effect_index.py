"""The effects of scripts are remembered by their text, and read again when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from websauna_migrate.database.cache import Cache
from websauna_migrate.errors import ScriptError
from websauna_migrate.planning.accesses import Access
from websauna_migrate.revision_scripts import script_reader
from websauna_migrate.revision_scripts.script_files import list_script_files
from websauna_migrate.revision_scripts.script_index import ScriptIndex
from websauna_migrate.revision_scripts.script_reader import read_effects

SOURCE = """
from alembic import op
import sqlalchemy as sa

def upgrade():
    op.create_table("{table}", sa.Column("id", sa.Integer, sa.ForeignKey("far.a.id")))
    op.rename_table("old", "new", schema="s")
    sa.Enum("x", "y", name="{table}_state").create(op.get_bind())
    op.execute("ALTER TYPE {table}_kind ADD VALUE 'z'")
"""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def reading(source: bytes, path: str) -> tuple[Access, ...]:
        found.append(Path(path).name)
        return read_effects(source, path)

    monkeypatch.setattr(script_reader, "read_effects", reading)
    return found


def read(cache: Cache, path: Path) -> tuple[Access, ...]:
    index = ScriptIndex(cache, path.parent)
    effects = index.upgrade(str(path))
    index.save()
    return effects


def test_a_text_is_parsed_once(tmp_path: Path, parsed: list[str]) -> None:
    cache = Cache(tmp_path / "cache")
    path = tmp_path / "one.py"
    path.write_text(SOURCE.format(table="a"))
    first = read(cache, path)
    assert first and read(cache, path) == first
    assert parsed == ["one.py"]
    path.write_text(SOURCE.format(table="b"))
    assert read(cache, path) != first
    assert parsed == ["one.py"] * 2


def test_without_a_cache_every_text_is_parsed(tmp_path: Path, parsed: list[str]) -> None:
    path = tmp_path / "one.py"
    path.write_text(SOURCE.format(table="a"))
    assert read(Cache(None), path) == read(Cache(None), path)
    assert parsed == ["one.py"] * 2


def test_a_broken_script_is_an_error_each_time(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("def upgrade(:")
    for _ in range(2):
        with pytest.raises(ScriptError):
            read(Cache(tmp_path / "cache"), path)


def test_what_is_kept_of_a_script_is_lost_with_the_file_that_keeps_it(
    tmp_path: Path, parsed: list[str]
) -> None:
    cache = Cache(tmp_path / "cache")
    path = tmp_path / "one.py"
    path.write_text(SOURCE.format(table="a"))
    first = read(cache, path)
    (kept,) = (tmp_path / "cache").iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[-20] ^= 1
    kept.write_bytes(damaged)
    assert read(cache, path) == first
    assert parsed == ["one.py"] * 2


def test_literals_and_effects_are_kept(tmp_path: Path, parsed: list[str]) -> None:
    cache = Cache(tmp_path / "cache")
    folder = tmp_path / "versions"
    folder.mkdir()
    path = folder / "one.py"
    path.write_text('revision = "a"\ndown_revision = None\n' + SOURCE.format(table="a"))
    for _ in range(2):
        index = ScriptIndex(cache, folder)
        (revision,) = index.revisions("app", list_script_files([folder]))
        assert revision is not None and revision.id == "a"
        assert index.upgrade(str(path))
        index.save()
    assert parsed == ["one.py"]


TYPES = """
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

STATE = sa.Enum("no", name="outside")

def upgrade():
    op.alter_column("t", "x", type_=sa.Enum("b", "c", name="late"),
                    existing_type=sa.
                    Enum("a", name="late"))
    if True:
        postgresql.ENUM("x", "y", name="other").create(op.get_bind())
    op.add_column("t", sa.Column("w", sa.WIDEnum("w", name="wide", create_type=False)))
    op.add_column("t", sa.Column("v", sa.Enum(*values, name="unknown")))
    op.execute('alter type  s."other" RENAME TO more')
    later()

def later():
    sa.Enum("z", name="late").create(op.get_bind())

def downgrade():
    sa.Enum("a", name="late").create(op.get_bind())
""".replace("WIDE", "\uff25")


def test_the_values_of_types(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(TYPES)
    cache = Cache(tmp_path / "cache")
    for effects in (read(cache, path), read(cache, path)):
        assert [(one.kind, one.name, one.values) for one in effects if "type" in one.kind] == [
            ("use_type", "late", ("b", "c")),
            ("create_type", "other", ("x", "y")),
            ("use_type", "wide", ("w",)),
            ("create_type", "unknown", ()),
            ("rename_type", "other", ()),
            ("create_type", "late", ("z",)),
        ]
