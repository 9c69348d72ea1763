"""The effects of scripts are remembered by their text, and read again when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from websauna_migrate.cache import Cache
from websauna_migrate.reading import script_reader
from websauna_migrate.reading.effect_index import EffectIndex
from websauna_migrate.reading.effects import Effect
from websauna_migrate.reading.script_reader import ScriptSyntaxError, read_effects

SOURCE = """
from alembic import op
import sqlalchemy as sa

def upgrade():
    op.create_table("{table}", sa.Column("id", sa.Integer, sa.ForeignKey("far.a.id")))
    op.rename_table("old", "new", schema="s")
"""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def reading(source: str, path: str) -> tuple[Effect, ...]:
        found.append(Path(path).name)
        return read_effects(source, path)

    monkeypatch.setattr(script_reader, "read_effects", reading)
    return found


def read(cache: Cache, path: Path) -> tuple[Effect, ...]:
    index = EffectIndex(cache, path.parent)
    effects = index.read(str(path))
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
        with pytest.raises(ScriptSyntaxError):
            read(Cache(tmp_path / "cache"), path)
