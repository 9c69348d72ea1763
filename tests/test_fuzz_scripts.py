"""Whatever a revision script holds: a named error with its file, or what plain Alembic reads."""

from __future__ import annotations

import itertools
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from hypothesis import given

from apps import Workshop
from fuzz import cases, hostile_text, named, seeds
from runs import table
from websauna_migrate.errors import MigrationError

NUMBERS = itertools.count()

VALUES = (
    *(
        '"f200"',
        '"f100"',
        '"f999"',
        '"f300"',
        "None",
        '("f100",)',
        '("f100", "f200")',
        "()",
        "[]",
        "0",
    ),
    *(
        '""',
        "b'f100'",
        "('f100', 1)",
        "object()",
        "f'f{100}'",
        '"f" + "100"',
        '{"f100"}',
        "1 / 0",
        "...",
    ),
    *(
        '"fooapp@f100"',
        '"gone@head"',
        '"a@b@c"',
        '"@"',
        '"head"',
        "[[]]",
        '{"a": "b"}',
        "float('nan')",
    ),
)

NAMES = ("revision", "down_revision", "branch_labels", "depends_on", "requires", "run_before")

JUNK = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\f",
        b"\\\n",
        b"# coding: latin-1\n",
        b"\t",
        b"(",
    ),
    *(
        b'"""',
        b"# coding: nonsense\n",
        b"x = " + b"(" * 300 + b"\n",
        b"'",
        b"\n    y = 1\n",
        b"\x1a",
    ),
    *(
        b"raise SystemExit(3)\n",
        b"x = " + b"-" * 3000 + b"1\n",
        b"import nowhere_at_all\n",
        b"def f(:\n",
    ),
    *(
        b"from __future__ import nonsense\n",
        b"global revision\n",
        b"await x\n",
        b"return\n",
        b"\xc3",
    ),
)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Return a script in which a few things went wrong."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        lines = content.split(b"\n")
        kind = rng.randrange(8)
        place = rng.randrange(len(lines))
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[place])
        elif kind == 2:
            rng.shuffle(lines)
        elif kind in (3, 4):
            name = rng.choice(NAMES)
            value = rng.choice(VALUES) if rng.random() < 0.8 else repr(hostile_text(rng))
            lines.append(f"{name} = {value}".encode(errors="surrogateescape"))
        content = b"\n".join(lines)
        place = rng.randrange(len(content) + 1)
        if kind == 5:
            content = content[:place] + rng.choice(JUNK) + content[place:]
        elif kind == 6:
            content = content[:place]
        elif kind == 7 and place < len(content):
            content = content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
    return content if rng.random() < 0.97 else rng.randbytes(rng.randrange(60))


def shape(directory: Path) -> Any:
    """Return what plain Alembic reads."""
    scripts = ScriptDirectory(str(directory))
    return sorted(
        (s.revision, sorted(s._versioned_down_revisions)) for s in scripts.walk_revisions()
    )


@cases(130)
@given(seeds())
def test_a_script_is_read_as_alembic_does_or_named(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: Any, rng: random.Random
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package = f"pack{next(NUMBERS)}"
    workshop.package(package)
    first = workshop.script(package, "f100", **table("f1"))
    script = workshop.script(package, "f200", "f100", **table("f2"))
    script.write_bytes(mutated(rng, script.read_bytes()))
    url = f"sqlite:///{workshop.root / package}.sqlite"
    with warnings.catch_warnings():
        # What the compiler thinks of a mutated script.
        warnings.simplefilter("ignore")
        service = workshop.service(url, package)
        service.use_index = rng.random() < 0.7
        found = named(lambda: service.plan())
        again = named(lambda: workshop.service(url, package).upgrade(dry_run=True))
        if isinstance(found, MigrationError):
            assert str(script) in str(found) or str(first) in str(found)
            assert isinstance(again, MigrationError)
        else:
            revisions = sorted(
                (entry.revision.id, sorted(set(entry.revision.down_revisions)))
                for entry in service.history()
            )
            if not isinstance(again, MigrationError):
                assert revisions == shape(script.parent.parent)
    assert not Path(url.removeprefix("sqlite:///")).exists()
