"""The texts of scripts that define functions and literal values, and do no more."""

from __future__ import annotations

import ast
import types

__all__ = ["plain_module"]

#: Packages whose modules a script may import, by the first part of their names: what is imported
#: of them does nothing that another import has not done.
IMPORTED = frozenset({"__future__", "alembic", "collections", "sqlalchemy", "typing"})

#: What an annotation does not do by being evaluated.
DOING = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)


def plain_module(source: bytes, path: str) -> types.ModuleType | None:
    """Return the module that a script's text is, made of nothing but the text.

    An import may take a module from ``__pycache__`` that was made of another text with the same
    size and the same second of change.

    :returns: ``None`` if the text does more than to define functions and literal values
    """
    try:
        tree = ast.parse(source, path)
        if not all(map(is_plain_statement, tree.body)):
            return None
        module = types.ModuleType("script")
        module.__file__ = path
        exec(compile(tree, path, "exec", dont_inherit=True), vars(module))
    except Exception:
        # Whatever it is, an import tells it.
        return None
    return module


def is_plain_statement(node: ast.stmt) -> bool:
    """Tell whether a statement of a module defines something, and does nothing."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            return True
        case ast.Import(names=names):
            return all(is_known_package(name.name) for name in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return is_known_package(module) and all(name.name != "*" for name in names)
        case ast.Assign(targets=targets, value=value):
            return all(map(is_name, targets)) and is_literal(value)
        case ast.AnnAssign(target=target, annotation=annotation, value=ast.expr() as value):
            return is_name(target) and is_literal(value) and is_quiet(annotation)
        case ast.FunctionDef(decorator_list=[], args=arguments, returns=returns):
            return not ast.unparse(arguments) and (returns is None or is_quiet(returns))
    return False


def is_known_package(module: str) -> bool:
    """Tell whether a module may be imported."""
    return module.partition(".")[0] in IMPORTED


def is_name(node: ast.expr) -> bool:
    """Tell whether a value is given to a name that means nothing to Python itself."""
    return isinstance(node, ast.Name) and not node.id.startswith("__")


def is_literal(node: ast.expr) -> bool:
    """Tell whether a value is written out."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def is_quiet(annotation: ast.expr) -> bool:
    """Tell whether an annotation calls nothing."""
    return not any(isinstance(node, DOING) for node in ast.walk(annotation))
