"""Constraints and indexes of scripts: as operations, and beside those of the models."""

from __future__ import annotations

import ast
from typing import Any

from alembic.operations import ops
from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    text,
)
from sqlalchemy.sql.elements import conv

from websauna_migrate.alembic_adapter.written_expressions import (
    SpelledText,
    Spelling,
    by_database,
    key_of,
)
from websauna_migrate.revision_scripts.script_names import UNKNOWN
from websauna_migrate.revision_scripts.written_schema import Part
from websauna_migrate.revision_scripts.written_spellings import chosen

Operation = ops.AddConstraintOp | ops.CreateIndexOp


def creation_of(part: Part, table: Table, name: str) -> Operation | None:
    """Return the operation that made a part of a table; ``None`` if it is not understood."""
    given, place, schema = conv(name), str(table.name), table.schema
    if part.kind == "check":
        texts = by_database(chosen(part.said[0])) if part.said else {}
        if not texts:
            return None
        check = CheckConstraint(SpelledText(next(iter(texts.values())), texts), name=given)
        Table(place, MetaData(), schema=schema).append_constraint(check)
        return ops.CreateCheckConstraintOp.from_constraint(check)
    options = {one: part.call.value(None, one) for one in part.call.keywords}
    for said_already in ("schema", "name", "source_schema"):
        options.pop(said_already, None)
    if part.call.open or UNKNOWN in options.values():
        return None
    kw: dict[str, Any] = {
        key: text(str(one)) if key.endswith("_where") else one for key, one in options.items()
    }
    match part.kind, values(part):
        case "unique", [[*columns]]:
            return ops.CreateUniqueConstraintOp(given, place, columns, schema=schema, **kw)
        case "index", [[*columns]]:
            return ops.CreateIndexOp(given, place, columns, schema=schema, **kw)
        case "foreignkey", [str(other), [*local], [*remote]]:
            kw["source_schema"] = schema
            return ops.CreateForeignKeyOp(given, place, other, local, remote, **kw)
    return None


def words_of(part: Part | None) -> str:
    """Return what a script says of a part, however it was made; nothing if there is none."""
    if part is None:
        return ""
    if part.kind in ("unique", "foreignkey") and (found := values(part)):
        return f"{part.kind} {found}"
    return f"{part.kind} {[ast.dump(one) for one in [*part.said, *part.call.node.keywords]]}"


def values(part: Part) -> list[Any]:
    """Return what a script says of a part: columns, the table and columns of a foreign key.

    Nothing where that is not understood.
    """
    found: list[Any] = [part.call.names.literal(one) for one in part.said]
    if part.kind == "unique" and found and isinstance(found[0], str):
        # It stands in the creation of the table.
        found = [found]
    if part.kind == "foreignkey" and len(found) == 2 and isinstance(found[1], list):
        targets = [str(one).rpartition(".") for one in found[1]]
        found = [targets[0][0], found[0], [column for *_, column in targets]]
    if part.kind == "index" and part.said and isinstance(part.said[0], ast.List):
        found = [[element(one) for one in part.said[0].elts]]
    known = all(UNKNOWN not in one for one in found if isinstance(one, list))
    return found if known and UNKNOWN not in found else []


def element(node: ast.expr) -> object:
    """Return an element of an index: the name of a column, or an expression."""
    if isinstance(node, ast.Constant):
        return node.value
    texts = chosen(node.args[0]) if isinstance(node, ast.Call) and node.args else {}
    return text(texts[""]) if len(texts) == 1 else UNKNOWN


def differs(
    part: Part | None, model: Constraint | Index, database: str, spelling: Spelling
) -> bool:
    """Tell whether a part surely is another one than the model's on a database."""
    if part is None:
        return False
    if isinstance(model, CheckConstraint):
        if part.kind != "check":
            return True
        there = by_database(chosen(part.said[0])).get(database) if part.said else None
        wanted = spelling.texts(model.sqltext).get(database)
        return there is not None and wanted is not None and key_of(there) != key_of(wanted)
    found = values(part)
    if isinstance(model, ForeignKeyConstraint):
        return bool(found) and (part.kind, found[1:]) != (
            "foreignkey",
            [[*model.column_keys], [one.column.name for one in model.elements]],
        )
    parts = [*model.expressions] if isinstance(model, Index) else [*getattr(model, "columns", ())]
    names = [one.name if isinstance(one, Column) else None for one in parts]
    if part.kind == "exclude" or not found or not all(isinstance(one, str) for one in found[0]):
        return False
    unique = not isinstance(model, Index) or bool(model.unique)
    same_kind = (part.kind == "index") is isinstance(model, Index)
    was_unique = part.kind == "unique" or part.call.value(None, "unique") is True
    return not same_kind or unique is not was_unique or found[0] != names
