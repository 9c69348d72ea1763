"""What a revision script says of itself, read from its text: nothing in it is executed.

Almost every script is as ``script.py.mako`` wrote it: a docstring, imports, a few names with
literal values, functions. Such a text is read line by line. Another one is parsed, which takes
several times as long. Where not even that is enough to know what importing the script would give,
say because an identifier is computed, :func:`read_literals` returns ``None``, and the script has
to be imported. What it does return is what an import gives, if that succeeds.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from websauna_migrate.planning.revisions import (
    ATTRIBUTES,
    MAPPINGS,
    Literals,
    pairs_of,
)

NAMES = {name: attribute for attribute, name in ATTRIBUTES.items()}

#: These characters mean something to Alembic, which refuses them in an identifier.
ILLEGAL = frozenset("@-+:")

#: A script with one of these may set a name without writing ``name =``.
TRICKS = (
    *(b"globals", b"locals", b"vars", b"exec", b"eval", b"setattr", b"delattr", b"__dict__"),
    *(b"_getframe", b"currentframe", b"__builtins__", b"__import__", b"import_module", b"modules"),
    *(b"global", b"__doc__", b"_alembic_source_encoding", b":="),
)

STAR = re.compile(rb"\bimport[ \t(]+\*")

#: With these, lines are not what they seem: other line ends, indentation that begins anew, a line
#: that goes on, another encoding.
ODD_BYTES = (b"\r", b"\f", b"\0", b"\\\n", b"\xef\xbb\xbf", b"coding:", b"coding=")

BLANK = re.compile(r"[ \t]*(?:#.*)?")

TEXT = re.compile(r"[a-zA-Z]{0,3}['\"]")

IMPORT = re.compile(r"(?:import|from)[ \t]+[\w., \t]+(?:#.*)?")

#: A value that is one plain text, or none: what nearly all values are.
SIMPLE = re.compile(
    r"(\w+)[ \t]*(?::[ \t]*[\w.,| \t\[\]]+)?=[ \t]*"
    r"(?:'([^'\"\\\n]+)'|\"([^'\"\\\n]+)\"|(None|\(\))|(True|False|[0-9]+))[ \t]*(?:#.*)?"
)

ASSIGNMENT = re.compile(r"(\w+)[ \t]*(?::[ \t]*[\w.,| \t\[\]]+)?=(?!=)[ \t]*(.*)", re.DOTALL)

DEFINED = re.compile(r"^(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)

#: A line at the left margin that may not stand behind the first function.
NO_FUNCTION = re.compile(
    r"^(?!(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|[)\]}]+[ \t]*(?:->.*)?:?[ \t]*$|[# \t]|$)",
    re.MULTILINE,
)


def read_literals(source: bytes) -> Literals | None:
    """Return what a script's text says, or ``None`` if only an import can tell.

    :param source: the content of the file
    """
    if _has_tricks(source):
        return None
    for read in (_read_lines, _read_tree):
        try:
            values = read(source)
            if values is not None:
                return _checked(values)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # An import raises the very same, and ScriptReader tells it.
            continue
    return None


def _has_tricks(source: bytes) -> bool:
    found = [word for word in TRICKS if word in source]
    if b"*" in source and STAR.search(source):
        return True
    # "op.execute" is no trick.
    return any(re.search(rb"(?<!\w)%b(?!\w)" % re.escape(word), source) for word in found)


def _checked(values: dict[str, object]) -> Literals:
    """Return the values of a script as the attributes of a revision.

    :raises ValueError: for whatever Alembic or :func:`.to_revision` would complain about
    """
    if "revision" not in values or "down_revision" not in values:
        raise ValueError
    literals: Literals = {}
    for attribute, name in ATTRIBUTES.items():
        value = values.get(name)
        if attribute == "id":
            if not isinstance(value, str) or not value or not ILLEGAL.isdisjoint(value):
                raise ValueError
            literals["id"] = value
        elif attribute in MAPPINGS and isinstance(value, dict):
            if value:
                literals[attribute] = tuple(sorted(pairs_of(value)))
        elif value is not None and value != ():
            texts = (value,) if isinstance(value, str) else value
            if (
                attribute in MAPPINGS
                or not isinstance(texts, tuple)
                or not all(isinstance(t, str) and t for t in texts)
            ):
                raise ValueError
            literals[attribute] = tuple(texts)
    identifier = values["revision"]
    for attribute in ("down_revisions", "depends_on"):
        # Alembic stops at a revision that names itself.
        if identifier in literals.get(attribute, ()):
            raise ValueError
    doc = values.get("__doc__")
    if isinstance(doc, str) and doc.strip():
        literals["doc"] = doc.strip()
    return literals


# Line by line


def _read_lines(source: bytes) -> dict[str, object] | None:
    """Return the values of a script that is as a template writes it, else ``None``."""
    if any(odd in source for odd in ODD_BYTES):
        return None
    text = source.decode()
    start, doc = _docstring(text)
    if start < 0:
        return None
    values: dict[str, object] = {"__doc__": doc}
    functions = DEFINED.search(text, start)
    end = len(text) if functions is None else functions.start()
    if not _only_functions(text, end):
        return None
    lines = iter(text[start:end].split("\n"))
    for line in lines:
        if BLANK.fullmatch(line):
            continue
        if line.startswith(("import ", "from ")):
            if not _imports_nothing_of_note(line, lines):
                return None
            continue
        simple = SIMPLE.fullmatch(line)
        if simple is not None and simple[5] is None:
            name = simple[1]
            value: object = simple[2] or simple[3] or (() if simple[4] == "()" else None)
        else:
            assignment = ASSIGNMENT.match(line)
            if assignment is None:
                return None
            name = assignment[1]
            if simple is not None and name not in NAMES:
                value = None
            else:
                value = _value(name, _up_to_bracket(line, lines)[assignment.start(2) :])
        if not name.isascii() or name.startswith("__") or name in values:
            return None
        values[name] = value
    return values


def _value(name: str, text: str) -> object:
    """Return the value of a name; ``None`` where the name says nothing of the revision.

    :raises ValueError: if the text cannot be told, or binds names itself
    """
    expression = ast.parse(text, mode="eval").body
    if name in NAMES:
        return _literal_of(expression)
    if any(_bound(expression)):
        raise ValueError
    return None


def _imports_nothing_of_note(line: str, lines: Iterator[str]) -> bool:
    """Tell whether an import binds none of the names that matter."""
    statement = _up_to_bracket(line, lines).replace("\n", " ").replace("(", " ").replace(")", " ")
    names = re.findall(r"\w+", statement.partition("import")[2])
    return (
        IMPORT.fullmatch(statement) is not None
        and statement.isascii()
        and not any(name in NAMES or name.startswith("__") for name in names)
    )


def _only_functions(text: str, start: int) -> bool:
    """Tell whether nothing but functions follows, none of which has a name that matters."""
    return NO_FUNCTION.search(text, start) is None and not any(
        name in NAMES or name.startswith("__") or not name.isascii()
        for name in DEFINED.findall(text, start)
    )


def _docstring(text: str) -> tuple[int, str | None]:
    """Return where the text behind the docstring begins, and the docstring; -1 if unsure."""
    start = 0
    while True:
        end = text.find("\n", start)
        line = text[start:end] if end >= 0 else text[start:]
        if not BLANK.fullmatch(line):
            break
        if end < 0:
            return len(text), None
        start = end + 1
    quotes = text[start : start + 3]
    if quotes not in ('"""', "'''"):
        # A docstring of another form is left to the parser.
        return (-1, None) if TEXT.match(text, start) else (start, None)
    close = text.find(quotes, start + 3)
    after = text.find("\n", close)
    after = len(text) if after < 0 else after + 1
    raw = text[start + 3 : close]
    if close < 0 or not BLANK.fullmatch(text[close + 3 : after].rstrip("\n")):
        return -1, None
    return after, _docstring_of(raw, quotes)


def _docstring_of(raw: str, quotes: str) -> str | None:
    """Return what the compiler makes of the text of a docstring."""
    if sys.flags.optimize >= 2:
        return None
    if "\\" in raw or (sys.version_info >= (3, 13) and re.search(r"\n[ \t]|\t", raw)):
        namespace: dict[str, str | None] = {}
        # A single literal, so that nothing can happen; Python 3.13 takes its indentation away.
        exec(
            compile(f"{quotes}{raw}{quotes}\n", "<docstring>", "exec", dont_inherit=True), namespace
        )
        return namespace["__doc__"]
    return raw


def _up_to_bracket(line: str, lines: Iterator[str]) -> str:
    """Return a statement up to the line that closes its brackets.

    Brackets in texts and comments are counted too: what is returned may be too little or too much,
    and is no expression then.

    :raises ValueError: if they are never closed
    """
    found = line
    while sum(map(found.count, "([{")) > sum(map(found.count, ")]}")):
        more = next(lines, None)
        if more is None:
            raise ValueError
        found += "\n" + more
    return found


# Parsed


def _read_tree(source: bytes) -> dict[str, object]:
    """Return the values of a script that binds each name at most once, to a literal.

    :raises ValueError: if it may be otherwise
    """
    tree = ast.parse(source)
    values: dict[str, object] = {"__doc__": _docstring_of_tree(tree)}
    bound: list[str] = []
    for statement in tree.body:
        bound += _bound(statement)
        target, value = _assigned(statement)
        if target in NAMES:
            assert value is not None
            values[target] = _literal_of(value)
    for name in bound:
        if name.startswith("__") or (
            name in NAMES and (name not in values or bound.count(name) > 1)
        ):
            raise ValueError
    return values


def _docstring_of_tree(tree: ast.Module) -> str | None:
    first = tree.body[0] if tree.body else None
    if (
        sys.flags.optimize >= 2
        or not isinstance(first, ast.Expr)
        or not isinstance(first.value, ast.Constant)
        or not isinstance(first.value.value, str)
    ):
        return None
    namespace: dict[str, str | None] = {}
    only = ast.Module([first], [])
    exec(compile(only, "<docstring>", "exec", dont_inherit=True), namespace)
    return namespace["__doc__"]


def _assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """Return the name and the value of a statement that is ``name = value``."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target = statement.target
    else:
        return "", None
    return (target.id, statement.value) if isinstance(target, ast.Name) else ("", None)


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement of a module binds or deletes, as often as it does."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        if node.decorator_list or isinstance(node, ast.ClassDef):
            # It gets hold of the function, and thereby of the module's names.
            raise ValueError
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, ast.Match):
        raise ValueError
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _literal_of(node: ast.expr) -> object:
    """Return a literal text, ``None``, or a tuple, list or dictionary of texts.

    :raises ValueError: for anything else
    """
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str)):
        return node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        parts = [_literal_of(part) for part in node.elts]
        if all(isinstance(part, str) for part in parts):
            return tuple(parts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        names = [_literal_of(key) for key in node.keys if key is not None]
        values = [_literal_of(value) for value in node.values]
        if all(isinstance(name, str) and name for name in names):
            found = {str(name): value for name, value in zip(names, values, strict=True)}
            if all(isinstance(text, str) and text for _, text in pairs_of(found)):
                return found
    raise ValueError
