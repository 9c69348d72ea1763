"""Types of columns as scripts wrote them; SQLite and MariaDB keep less of some than PostgreSQL."""

from __future__ import annotations

import ast
from importlib import import_module
from typing import Any

from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import Boolean, SchemaType, TypeEngine

from websauna_migrate.models.sqlalchemy_internals import variants_of
from websauna_migrate.revision_scripts.script_names import Names


class NotKnown(Exception):
    """An expression is none that is understood."""


def type_in(node: ast.expr, names: Names) -> TypeEngine[Any] | None:
    """Return the type that an expression makes; ``None`` if that is not understood."""
    if node not in names.made:
        names.made[node] = type_made(node, names)
    found = names.made[node]
    return found if isinstance(found, TypeEngine) else None


def type_made(node: ast.expr, names: Names) -> object:
    """Return what an expression of a type makes; ``None`` if that is not understood."""
    if isinstance(node, ast.Call) and names.dotted(node.func) == "sqlalchemy.Boolean":
        # Its CHECK goes and comes by operations of its own.
        return Boolean()
    try:
        value = evaluated(node, names)
    except Exception:
        # What a type's class says to its arguments is of any class.
        return None
    return value() if isinstance(value, type) else value


def brings_more(type_: TypeEngine[Any]) -> bool:
    """Tell whether a type brings a constraint, or a type of the database."""
    there = variants_of(type_).get("postgresql", type_)
    if getattr(type_, "create_constraint", False):
        return True
    if isinstance(there, ENUM):
        return bool(there.create_type)
    return isinstance(there, SchemaType) and not isinstance(there, Boolean)


def checked_type(node: ast.expr, names: Names) -> TypeEngine[Any] | None:
    """Return the type that an expression makes, with the CHECK that it brings."""
    try:
        found = evaluated(node, names)
    except Exception:
        # What a type's class says to its arguments is of any class.
        return None
    return found if isinstance(found, TypeEngine) else None


def evaluated(node: ast.expr, names: Names) -> object:
    """Return what an expression of SQLAlchemy's own types and literals is.

    :raises NotKnown: for any other
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Call) and names.dotted(node.func) == "alembic.op.f":
        return conv(str(evaluated(node.args[0], names)))
    if isinstance(node, ast.Call):
        arguments = [evaluated(one, names) for one in node.args]
        keywords = {str(one.arg): evaluated(one.value, names) for one in node.keywords}
        called: Any
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
            if node.func.attr != "with_variant":
                raise NotKnown
            base: Any = evaluated(node.func.value, names)
            called = base.with_variant
        else:
            called = evaluated(node.func, names)
        return called(*arguments, **keywords)
    module, _, name = (names.dotted(node) or "").rpartition(".")
    if module.partition(".")[0] != "sqlalchemy":
        raise NotKnown
    value = getattr(import_module(module), name)
    if not (isinstance(value, type) and issubclass(value, TypeEngine)):
        raise NotKnown
    return value
