# ruff: noqa: E501, RUF001
"""Reading a script's text gives what importing it gives, whatever the text is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from alembic.script.base import Script
from hypothesis import example, given, settings
from hypothesis import strategies as st

from websauna_migrate.errors import ScriptError
from websauna_migrate.revision_scripts.revision_reader import revision_in
from websauna_migrate.revision_scripts.script_index import revision_of
from websauna_migrate.revision_scripts.script_literals import read_literals

REPOSITORY = Path(__file__).resolve().parent.parent

TEMPLATE = '''"""Add a table

Revision ID: abc
Revises:

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "abc"
down_revision: Union[str, Sequence[str], None] = "aab"
branch_labels = ("blog", "posts")
depends_on = None
requires = (
    "websauna.user@37e1cb6de47",  # the table of users
    "fooapp@2d970929c35",
)
transactional = False
gives_tables = {
    "posts": "blog",
}


def upgrade() -> None:
    op.execute("CREATE TABLE t (revision INTEGER)")


def downgrade() -> None:
    op.drop_table("t")
'''


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> ScriptDirectory:
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "versions").mkdir()
    return ScriptDirectory(folder)


def imported(scripts: ScriptDirectory, source: bytes) -> Any:
    """Return what the import gives; ``None`` where it fails."""
    path = Path(scripts.dir) / "versions" / "abc.py"
    path.write_bytes(source)
    for compiled in (path.parent / "__pycache__").glob("*"):
        compiled.unlink()
    try:
        script = Script._from_path(scripts, path)
        assert script is not None
        return revision_in("pkg", script.path, script.module, script.revision, script.longdoc)
    except (ScriptError, Exception, SystemExit):
        return None


def assert_equal(scripts: ScriptDirectory, source: bytes) -> None:
    literals = read_literals(source)
    if literals is not None:
        expected = imported(scripts, source)
        if expected is not None:
            assert revision_of("pkg", expected.path, literals) == expected


def test_a_script_from_a_template_is_read(scripts: ScriptDirectory) -> None:
    source = TEMPLATE.encode()
    literals = read_literals(source)
    assert literals == {
        "id": "abc",
        "down_revisions": ("aab",),
        "branch_labels": ("blog", "posts"),
        "gives_tables": (("posts", "blog"),),
        "requires": ("websauna.user@37e1cb6de47", "fooapp@2d970929c35"),
        "doc": "Add a table\n\nRevision ID: abc\nRevises:",
    }
    assert revision_of("pkg", str(Path(scripts.dir, "versions/abc.py")), literals) == imported(
        scripts, source
    )


def test_the_projects_own_scripts_are_read_without_an_import(scripts: ScriptDirectory) -> None:
    found = [*REPOSITORY.glob("examples/**/versions/*.py")]
    assert found
    for path in found:
        assert read_literals(path.read_bytes()) is not None, path
        assert_equal(scripts, path.read_bytes())


MUST_IMPORT = {
    "a computed identifier": 'revision = "a" + "b"\ndown_revision = None\n',
    "a conditional one": 'down_revision = None\nif True:\n    revision = "a"\n',
    "two of them": 'revision = "a"\nrevision = "b"\ndown_revision = None\n',
    "one that is changed": 'revision = "a"\nrevision += "b"\ndown_revision = None\n',
    "one that is deleted": 'revision = "a"\ndown_revision = requires = None\ndel revision\n',
    "a star": 'from os import *\nrevision = "a"\ndown_revision = None\n',
    "globals": 'revision = "a"\ndown_revision = None\nglobals().update(revision="b")\n',
    "exec": 'revision = "a"\ndown_revision = None\nexec("revision = 1")\n',
    "an import of the name": "down_revision = None\nfrom os import name as revision\n",
    "a walrus": 'revision = "a"\ndown_revision = None\nprint((revision := "b"))\n',
    "a loop": 'revision = "a"\ndown_revision = None\nfor revision in "bc": pass\n',
    "a function of the name": 'revision = "a"\ndown_revision = None\ndef requires(): pass\n',
    "a match": 'revision = "a"\ndown_revision = None\nmatch "b":\n    case revision: pass\n',
    "a module's __getattr__": 'revision = "a"\ndown_revision = None\ndef __getattr__(n): return n\n',
    "a number": "revision = 1\ndown_revision = None\n",
    "no parent": 'revision = "a"\n',
    "itself as parent": 'revision = "a"\ndown_revision = "a"\n',
    "an illegal identifier": 'revision = "a@b"\ndown_revision = None\n',
    "a syntax error": 'revision = "a"\ndown_revision = None\n<<<<<<< HEAD\n',
    "no text at all": "\0",
    "another encoding": "revision = 'ä'\ndown_revision = None\n".encode("latin-1"),
    "a name in other letters": 'revision = "a"\ndown_revision = None\nｒｅvision = "b"\n',
    "a set": 'revision = "a"\ndown_revision = {"b", "c"}\n',
    "an unpacking": 'revision, down_revision = "a", None\n',
    "a chain": 'revision = down_revision = "a"\n',
    "a decorator": 'revision = "a"\ndown_revision = None\n@print\ndef upgrade(): pass\n',
    "a class": 'revision = "a"\ndown_revision = None\nclass revision: pass\n',
}


@pytest.mark.parametrize("source", MUST_IMPORT.values(), ids=MUST_IMPORT.keys())
def test_a_text_that_does_not_tell_has_to_be_imported(source: str | bytes) -> None:
    assert read_literals(source if isinstance(source, bytes) else source.encode()) is None


PARSED = {
    "another value": 'import logging\nlog = logging.getLogger("x")\nrevision = "a"\ndown_revision = None',
    "a text with an escape": 'revision = "\\x61"\ndown_revision = None',
    "a text of two": 'revision = "a" "b"\ndown_revision = None',
    "a text of many lines": 'revision = """a"""\ndown_revision = None',
    "Windows": 'revision = "a"\r\ndown_revision = None\r\n',
    "a coding": '# coding: latin-1\nrevision = "a"\ndown_revision = None',
    "a mark in front": '\ufeffrevision = "a"\ndown_revision = None',
    "a branch": 'revision = "a"\ndown_revision = None\nif True:\n    x = 1',
    "a keyword at the margin": 'revision = "a"\ndown_revision = None\ndef f():\n    dict(\nrequires="b")',
    "a text at the margin": 'revision = "a"\ndown_revision = None\ndef f():\n    """\nrevision = 1\n"""',
    "a raw docstring": 'r"""a\\b"""\nrevision = "a"\ndown_revision = None',
    "an escaped docstring": '"""a\\tb"""\nrevision = "a"\ndown_revision = None',
    "an indented docstring": '"""a\n    b\n\n\tc\n    """\nrevision = "a"\ndown_revision = None',
    "a short docstring": '"a"\nrevision = "a"\ndown_revision = None',
    "a docstring that goes on": '"""a""" "b"\nrevision = "a"\ndown_revision = None',
    "no docstring": '# x\nrevision = "a"\ndown_revision = []',
}


@pytest.mark.parametrize("source", PARSED.values(), ids=PARSED.keys())
def test_a_text_of_another_form_is_read_as_well(scripts: ScriptDirectory, source: str) -> None:
    literals = read_literals(source.encode())
    assert literals is not None
    expected = imported(scripts, source.encode())
    assert expected is not None
    assert revision_of("pkg", expected.path, literals) == expected


LINES = st.sampled_from(
    [
        *TEMPLATE.split("\n"),
        'revision = "b"',
        'gives_tables = {"b": "c", "a": "d"}',
        "takes_types = {",
        "takes_tables = {**{}}",
        "gives_types = {'a': ''}",
        "}",
        "revision = 'c' # d",
        "down_revision = ('a', 'b')",
        "down_revision = [",
        ")",
        "]",
        "(",
        '"""',
        "'''",
        'x = """',
        "    '''",
        'if revision == "a":',
        "    revision = 'z'",
        'requires="b"',
        "def upgrade(",
        "): pass",
        ") -> None:",
        "else:",
        "try:",
        "except Exception as depends_on:",
        "from os import (path,",
        "    sep as requires)",
        "import os; revision = 'y'",
        "revision: str",
        "branch_labels: list[str] = ['l']",
        "depends_on = None if 1 else 'x'",
        "x = dict(",
        "revision='q'",
        "x = 1 \\",
        "# \\",
        "\f",
        "print('''",
        "lambda: 1",
        "run_before = ''",
        'revision = "ä"',
        "with open('/dev/null') as requires:",
        "    pass",
        "\tpass",
    ]
)


@settings(max_examples=400)
@given(st.lists(LINES, max_size=14))
@example(["revision = 'a'", "down_revision = None", "def f():", "    g(", "requires='b'", "    )"])
def test_lines_in_any_order(scripts: ScriptDirectory, lines: list[str]) -> None:
    assert_equal(scripts, "\n".join(lines).encode())
    head = "revision = 'a'\ndown_revision = None\n"
    assert_equal(scripts, (head + "\n".join(lines)).encode())


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["delete", "double", "swap", "insert", "cut"]),
            st.floats(0, 1),
            st.floats(0, 0.2),
            st.sampled_from(
                ['"', "'", "\n", "(", ")", "#", "\\", "=", " ", "\0", "\r", "é", ",", ":"]
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_script(
    scripts: ScriptDirectory, damages: list[tuple[str, float, float, str]]
) -> None:
    text = TEMPLATE
    for kind, where, length, character in damages:
        start = int(where * len(text))
        end = start + int(length * len(text))
        part = text[start:end]
        changed = {
            "delete": "",
            "double": part * 2,
            "swap": part[::-1],
            "insert": part + character,
            "cut": None,
        }[kind]
        text = text[:start] if changed is None else text[:start] + changed + text[end:]
    assert_equal(scripts, text.encode())


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\\\r\0"), max_size=60))
def test_any_docstring(scripts: ScriptDirectory, text: str) -> None:
    doc = text.replace('"""', "").rstrip('"')
    assert_equal(scripts, f'"""{doc}"""\nrevision = "a"\ndown_revision = None\n'.encode())
    assert_equal(
        scripts,
        f"'''{doc.replace(chr(39), '')}'''\nrevision = 'a'\ndown_revision = None\n".encode(),
    )


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes(scripts: ScriptDirectory, data: bytes) -> None:
    assert_equal(scripts, data)
    assert_equal(scripts, b"revision = 'a'\ndown_revision = None\n" + data)
