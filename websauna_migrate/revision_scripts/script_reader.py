"""The schema effects of a revision script: read from its source, never run and never imported.

The ``upgrade()`` of a script is walked with :mod:`ast`: Alembic operations, batch blocks, enum
types, foreign keys and literal SQL, through import aliases, constants, helper functions of the file
and loops over literals.

Every branch of a script is taken to run, since nobody knows here which one will. What depends on
the database or on code outside of the file cannot be read; it is skipped and counted.
"""

from __future__ import annotations

import ast
import warnings

from websauna_migrate.errors import MigrationError
from websauna_migrate.revision_scripts.effects import Effect, ScriptEffects
from websauna_migrate.revision_scripts.enum_values import NO_TYPES, TypeHistory, read_types
from websauna_migrate.revision_scripts.script_expressions import ExhaustedError
from websauna_migrate.revision_scripts.script_operations import OperationReader
from websauna_migrate.revision_scripts.script_values import Arguments, Function, Scope

__all__ = ["ScriptSyntaxError", "parse_script", "read_effects", "read_script", "read_upgrade"]


class ScriptSyntaxError(MigrationError, ValueError):
    """A revision script is no valid Python; ``filename`` and ``line`` say where."""

    def __init__(self, filename: str, line: int | None, problem: str) -> None:
        """Build the message from the place and what the parser says."""
        self.filename = filename
        self.line = line
        self.problem = problem
        place = "" if line is None else f", line {line}"
        super().__init__(
            f'Revision script "{filename}"{place} is not valid Python: {problem}. '
            "Correct the script and run the command again."
        )


def read_effects(
    source: str | bytes | ast.Module, filename: str, function: str = "upgrade"
) -> tuple[Effect, ...]:
    """Return the schema effects of one function of a script, in order.

    :param source: the script's text, or what :func:`parse_script` made of it
    :param filename: for messages
    :param function: ``upgrade`` or ``downgrade``; a script without it has no effects
    :raises ScriptSyntaxError: if the script is no valid Python; correct it
    """
    return read_script(source, filename, function).effects


def read_script(
    source: str | bytes | ast.Module, filename: str, function: str = "upgrade"
) -> ScriptEffects:
    """Return the effects as :func:`read_effects` does, and how many could not be read."""
    try:
        tree = source if isinstance(source, ast.Module) else parse_script(source, filename)
    except RecursionError:
        # Valid, but nested deeper than Python hands out as a tree.
        return ScriptEffects((), 1)
    return Reader().read(tree, function)


def read_upgrade(source: str, filename: str) -> tuple[tuple[Effect, ...], TypeHistory]:
    """Return the effects of a script's ``upgrade()``, and what the script says of enum types.

    :raises ScriptSyntaxError: if the script is no valid Python; correct it
    """
    try:
        tree = parse_script(source, filename)
    except RecursionError:
        return (), NO_TYPES
    return read_effects(tree, filename), read_types(tree, source)


def parse_script(source: str | bytes, filename: str) -> ast.Module:
    """Return the syntax tree of a script.

    :raises ScriptSyntaxError: if the script is no valid Python; correct it
    """
    try:
        with warnings.catch_warnings():
            # A doubtful escape in somebody's script is not this reader's business.
            warnings.simplefilter("ignore")
            return ast.parse(source, filename)
    except SyntaxError as exc:
        raise ScriptSyntaxError(filename, exc.lineno, exc.msg) from exc
    except ValueError as exc:
        raise ScriptSyntaxError(filename, None, str(exc)) from exc


class Reader(OperationReader):
    """Walks one function of a script and collects its effects."""

    def read(self, tree: ast.Module, function: str) -> ScriptEffects:
        """Return the effects of a function, after the module's own statements gave it its names."""
        module = Scope()
        try:
            self.block(tree.body, module)
            # What a script does while it is imported is no part of a migration.
            self.effects, self.unreadable = [], 0
            entry = module.find(function)
            if isinstance(entry, Function):
                self.run(entry, Arguments([], {}))
        except (ExhaustedError, RecursionError):
            self.unreadable += 1
        return ScriptEffects(tuple(self.effects), self.unreadable)
