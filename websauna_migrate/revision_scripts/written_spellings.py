"""How scripts spell one expression on several databases."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from websauna_migrate.models.sqlalchemy_internals import escaped
from websauna_migrate.revision_scripts.script_names import Names
from websauna_migrate.revision_scripts.script_runs import dialects_of
from websauna_migrate.revision_scripts.script_tree import parse_script

#: Texts by the names of SQLAlchemy's dialects; that for all others by an empty name.
Spellings = Mapping[str, str]

#: What an option of an index ends with that is a condition, its dialect before it.
CONDITION = "_where"

#: An expression of a script: its texts, or a function or constant of SQLAlchemy's.
Written = Spellings | ColumnElement[object]

#: What takes SQL, at which place of its arguments.
TAKES_SQL = {
    "CheckConstraint": 0,
    "Computed": 0,
    "create_check_constraint": 2,
    "literal_column": 0,
    "text": 0,
}


def written_spellings(scripts: Iterable[str]) -> Iterator[Spellings]:
    """Yield the texts of each expression that scripts write.

    :param scripts: their sources, in the order in which they are applied
    """
    for source in scripts:
        tree = parse_script(source, "<script>")
        names = Names(tree.body)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            place = TAKES_SQL.get(name)
            if name == "create_check_constraint" and len(node.args) == 2:
                # That of a batch does not say the table.
                place = 1
            found = {}
            if place is not None and place < len(node.args):
                found = chosen(node.args[place])
            if found := found or conditions(node, names):
                yield found


def chosen(node: ast.expr) -> dict[str, str]:
    """Return the texts of ``'a' if op.get_context().dialect.name == 'postgresql' else 'b'``."""
    if isinstance(node, ast.Constant):
        return {"": node.value} if isinstance(node.value, str) else {}
    if not isinstance(node, ast.IfExp) or not isinstance(node.body, ast.Constant):
        return {}
    test, text, rest = dialects_of(node.test), node.body.value, chosen(node.orelse)
    if test is None or not test[1] or not isinstance(text, str) or not rest:
        return {}
    return {**rest, **dict.fromkeys(test[0], text)}


def conditions(node: ast.Call, names: Names) -> dict[str, str]:
    """Return the conditions of an index by the names of their dialects."""
    found = {}
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg.endswith(CONDITION):
            text = names.literal(keyword.value)
            if isinstance(text, str):
                found[keyword.arg.removesuffix(CONDITION)] = text
    return found


def default_in(node: ast.expr | None, names: Names) -> Written | None:
    """Return a server default; a plain string is a literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {"": escaped("'" + node.value.replace("'", "''") + "'")}
    return expression(node, names)


def expression(node: ast.expr | None, names: Names) -> Written | None:
    """Return an expression: texts, or a function without arguments or a constant of SQLAlchemy."""
    if not isinstance(node, ast.Call):
        return (None if node is None else chosen(node)) or None
    dotted = names.dotted(node.func) or ""
    name = dotted.rpartition(".")[2]
    if dotted in ("sqlalchemy.text", "sqlalchemy.literal_column") and node.args:
        return chosen(node.args[0]) or None
    if node.args or node.keywords:
        return None
    if dotted.startswith("sqlalchemy.func."):
        found: ColumnElement[object] = getattr(sa.func, name)()
        return found
    return getattr(sa, name)() if dotted in CONSTANTS else None


#: Functions of SQLAlchemy that give a constant.
CONSTANTS = ("sqlalchemy.true", "sqlalchemy.false", "sqlalchemy.null")
