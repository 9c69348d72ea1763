"""What a revision script says of itself, read from its text: nothing in it is executed.

Where the text is not enough to know what importing the script would give, say because an identifier
is computed, :func:`read_literals` returns ``None``, and the script has to be imported. What it does
return is what an import gives, if that succeeds.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

from websauna_migrate.planning.revisions import ATTRIBUTES, Literals, attributes_of, pairs_of
from websauna_migrate.revision_scripts.script_tree import assigned, parse_script

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


def read_literals(source: bytes) -> Literals | None:
    """Return what a script's text says, or ``None`` if only an import can tell.

    :param source: the content of the file
    """
    if _has_tricks(source):
        return None
    try:
        values = _read_tree(source)
        literals = attributes_of(values)
    except (ValueError, RecursionError, MemoryError):
        # An import raises the very same, and ScriptReader tells it.
        return None
    identifier = str(literals["id"])
    parents = (*literals.get("down_revisions", ()), *literals.get("depends_on", ()))
    if "down_revision" not in values or identifier in parents or ILLEGAL & {*identifier}:
        # Alembic refuses it.
        return None
    doc = str(values["__doc__"] or "").strip()
    return {**literals, "doc": doc} if doc else literals


def _has_tricks(source: bytes) -> bool:
    found = [word for word in TRICKS if word in source]
    if b"*" in source and STAR.search(source):
        return True
    # "op.execute" is no trick.
    return any(re.search(rb"(?<!\w)%b(?!\w)" % re.escape(word), source) for word in found)


def _read_tree(source: bytes) -> dict[str, object]:
    """Return the values of a script that binds each name at most once, to a literal.

    :raises ValueError: if it may be otherwise
    """
    tree = parse_script(source, "<script>")
    values: dict[str, object] = {"__doc__": _docstring_of_tree(tree)}
    bound: list[str] = []
    for statement in tree.body:
        target, value = assigned(statement)
        if target in NAMES and value is not None:
            values[target] = _literal_of(value)
            bound.append(target)
        else:
            bound += _bound(statement)
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


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement of a module binds or deletes, as often as it does."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        if node.decorator_list or isinstance(node, ast.ClassDef):
            # It gets hold of the function, and thereby of the module's names.
            raise ValueError
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0]
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
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
