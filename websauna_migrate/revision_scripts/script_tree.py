"""The syntax tree of a Python file: parsed, asked for assignments and calls, edited in place."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.revision_scripts.script_error import ScriptError
from websauna_migrate.revision_scripts.script_files import COMPILED, is_compiled


def parse_script(source: str | bytes, filename: str) -> ast.Module:
    """Return the syntax tree of a script; of a compiled one, that of :data:`.COMPILED`.

    :raises ScriptError: if the script is no valid Python; correct it
    """
    try:
        with warnings.catch_warnings():
            # A doubtful escape in a script is not this reader's business.
            warnings.simplefilter("ignore")
            compiled = isinstance(source, bytes) and is_compiled(source)
            return ast.parse(COMPILED if compiled else source, filename)
    except SyntaxError as exc:
        raise no_python(filename, exc.lineno, exc.msg) from exc
    except ValueError as exc:
        raise no_python(filename, None, str(exc)) from exc


def no_python(filename: str, line: int | None, problem: str) -> ScriptError:
    """Return the error of a script that is no valid Python, in the parser's words."""
    place = "" if line is None else f", line {line}"
    return ScriptError(
        "syntax",
        filename,
        f'Revision script "{filename}"{place} is not valid Python: {problem}. '
        "Correct the script and run the command again.",
        line=line,
    )


def assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """Return the name and the value of a statement that is ``name = value``; else an empty text."""
    target: ast.expr | None = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        return "", None
    return (target.id, statement.value) if isinstance(target, ast.Name) else ("", None)


def called(call: ast.Call) -> str:
    """Return the last part of what is called."""
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))


def edited(source: str, edits: Iterable[tuple[ast.expr, str]]) -> str:
    """Return a text with other words in place of some of its expressions.

    :param edits: the expressions, none within another, each with what takes its place
    """
    # In bytes, as the positions of ast are; from the end on, so that they stay right.
    lines = source.encode("utf-8").split(b"\n")
    for node, words in sorted(edits, key=lambda one: place(one[0]), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        head, tail = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [head + words.encode("utf-8") + tail]
    return b"\n".join(lines).decode("utf-8")


def place(node: ast.expr) -> tuple[int, int]:
    """Return where an expression stands: line and column."""
    return node.lineno, node.col_offset


#: The docstring's line of a script's parents.
REVISES = re.compile(r"^(Revises:[ \t]*)[^\r\n]*", re.MULTILINE)


def rewrite_attributes(source: str, path: str, values: Mapping[str, object]) -> str:
    """Return a script's text with other values of attributes that it assigns.

    :param path: of the script, for the error
    :param values: by name; one that the script does not assign is left out
    :raises MigrationError: if the script assigns ``down_revision`` in a way that is not plain
    """
    spans: dict[str, ast.expr] = {}
    for name, value in map(assigned, ast.parse(source).body):
        if name in values and value is not None:
            spans[name] = value
    if "down_revision" in values and "down_revision" not in spans:
        raise MigrationError(
            f'The script "{path}" does not assign "down_revision" in a line of its own. Write '
            f"there: down_revision = {values['down_revision']!r}"
        )
    return edited(source, ((node, repr(values[name])) for name, node in spans.items()))


def rewrite_revises(source: str, parents: Sequence[str]) -> str:
    """Return a script's text with other parents in its docstring's line ``Revises:``."""
    tree = ast.parse(source)
    if ast.get_docstring(tree) is None:
        return source
    end = tree.body[0].end_lineno or 1
    lines = source.split("\n")
    words = ", ".join(parents)
    head = REVISES.sub(lambda found: f"{found[1]}{words}", "\n".join(lines[:end]), count=1)
    return "\n".join([head, *lines[end:]])
