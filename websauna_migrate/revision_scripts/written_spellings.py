"""How scripts spell one expression on several databases."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from websauna_migrate.facts.brackets import renamed_in
from websauna_migrate.models.sqlalchemy_internals import escaped
from websauna_migrate.planning.accesses import Key
from websauna_migrate.revision_scripts.script_names import Call, Names
from websauna_migrate.revision_scripts.script_runs import dialects_of
from websauna_migrate.revision_scripts.script_tree import parse_script
from websauna_migrate.revision_scripts.written_operations import Operation, batch_key, may_change

#: Texts by the names of SQLAlchemy's dialects; that for all others by an empty name.
Spellings = Mapping[str, str]

#: What an option of an index ends with that is a condition, its dialect before it.
CONDITION = "_where"

#: Schema and table, what it is, and the name of a column, constraint or index.
Place = tuple[str | None, str, str, str]

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


def expressions_in_place(operations: Iterable[Operation]) -> dict[Place, Written]:
    """Return the expressions of constraints, columns and indexes behind the upgrades of scripts.

    Of an index it is the condition.

    What is not understood is left out.

    :param operations: those of the scripts, see :func:`.operations_in`
    """
    found: dict[Place, Written] = {}
    for call, name, table, _ in operations:
        if changes := may_change(call, name, table):
            for one in [one for one in found if changes(one[1], one[3])]:
                del found[one]
        note(found, call, name, table)
    return found


def note(found: dict[Place, Written], call: Call, name: str, batch: tuple[object, object]) -> None:
    """Note what an operation says of expressions.

    :param batch: schema and table, where it is one of a batch
    """
    names = call.names
    if name in ("create_check_constraint", "drop_constraint"):
        key = batch_key(call, batch, place=1)
        constraint = call.value(0, "constraint_name", "name")
        if key is not None and isinstance(constraint, str):
            place = 1 if isinstance(batch[1], str) else 2
            node = call.get(place, "condition") if name == "create_check_constraint" else None
            keep(found, (*key, "constraint", constraint), expression(node, names))
        return
    if name in ("create_index", "drop_index"):
        key = batch_key(call, batch, place=1)
        index = call.value(0, "index_name")
        if key is not None and isinstance(index, str):
            keep(found, (*key, "index", index), conditions(call.node, names) or None)
        return
    key = batch_key(call, batch)
    if key is None:
        return
    rest = call.args if isinstance(batch[1], str) else call.args[1:]
    if name in ("create_table", "drop_table"):
        for one in [one for one in found if one[:2] == key]:
            del found[one]
    if name in ("create_table", "add_column"):
        for part in rest:
            note_part(found, key, part, names)
    elif name == "rename_table" and isinstance(new := call.value(1, "new_table_name"), str):
        rename_table(found, key, new)
    elif name == "alter_column" and rest:
        column, new = names.literal(rest[0]), call.value(None, "new_column_name")
        if not isinstance(column, str):
            return
        if (default := call.keywords.get("server_default")) is not None:
            keep(found, (*key, "column", column), default_in(default, names))
        if isinstance(new, str):
            rename_column(found, key, column, new)


def rename_table(found: dict[Place, Written], key: Key, new: str) -> None:
    """Let expressions be of a table's new name."""
    for one in [one for one in found if one[:2] == key]:
        found[key[0], new, one[2], one[3]] = found.pop(one)


def rename_column(found: dict[Place, Written], key: Key, old: str, new: str) -> None:
    """Let expressions be of a column's new name, and say that."""
    for place in [one for one in found if one[:2] == key]:
        value = found.pop(place)
        if isinstance(value, Mapping):
            value = {dialect: renamed_in(sql, {old: new}) for dialect, sql in value.items()}
        found[(*key, "column", new) if place[2:] == ("column", old) else place] = value


def note_part(found: dict[Place, Written], key: Key, part: ast.expr, names: Names) -> None:
    """Note what a column or constraint of a table says of expressions."""
    if not isinstance(part, ast.Call):
        return
    call = Call(part, names)
    kind = (names.dotted(part.func) or "").rpartition(".")[2]
    if kind == "CheckConstraint" and isinstance(name := call.value(None, "name"), str):
        keep(found, (*key, "constraint", name), expression(call.get(0), names))
    elif kind == "Column" and isinstance(name := call.value(0, "name"), str):
        value = default_in(call.keywords.get("server_default"), names)
        for one in call.args:
            if isinstance(one, ast.Call) and names.dotted(one.func) == "sqlalchemy.Computed":
                value = expression(next(iter(one.args), None), names)
        keep(found, (*key, "column", name), value)


def keep(found: dict[Place, Written], place: Place, value: Written | None) -> None:
    """Note an expression, or that there is none that is known."""
    found.pop(place, None)
    if value is not None:
        found[place] = value


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
