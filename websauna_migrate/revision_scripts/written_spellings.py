"""How scripts spell one expression on several databases."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from websauna_migrate.revision_scripts.script_names import Names

#: Texts by the names of SQLAlchemy's dialects; that for all others by an empty name.
Spellings = Mapping[str, str]

#: What an option of an index ends with that is a condition, its dialect before it.
CONDITION = "_where"


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
        tree = ast.parse(source)
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
    test, text, rest = node.test, node.body.value, chosen(node.orelse)
    if (
        not isinstance(test, ast.Compare)
        or not ast.unparse(test.left).endswith(".dialect.name")
        or not isinstance(text, str)
        or not rest
    ):
        return {}
    compared = ast.literal_eval(test.comparators[0])
    return {**rest, **dict.fromkeys([compared] if isinstance(compared, str) else compared, text)}


def conditions(node: ast.Call, names: Names) -> dict[str, str]:
    """Return the conditions of an index by the names of their dialects."""
    found = {}
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg.endswith(CONDITION):
            text = names.literal(keyword.value)
            if isinstance(text, str):
                found[keyword.arg.removesuffix(CONDITION)] = text
    return found
