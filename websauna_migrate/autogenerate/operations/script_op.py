"""An operation of a new script that Alembic has no name for: its lines, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation

__all__ = ["Lines", "ScriptOp", "on_dialect"]

#: Renders the lines of one direction; an empty line ends a block.
Lines = Callable[[AutogenContext], list[str]]


class ScriptOp(MigrateOperation):
    """Lines of a script that undo each other.

    The lines use SQLAlchemy and Alembic alone, so that plain Alembic can run the script.

    :ivar diff: the difference as a tuple whose first item says what is done, as Alembic's are
    """

    def __init__(
        self,
        diff: tuple[Any, ...],
        upgrade: Lines,
        downgrade: Lines,
        reverse_diff: tuple[Any, ...] = (),
    ) -> None:
        self.diff = diff
        self.reverse_diff = reverse_diff or diff
        self.upgrade = upgrade
        self.downgrade = downgrade

    def reverse(self) -> ScriptOp:
        """Return the operation that undoes this one."""
        return type(self)(self.reverse_diff, self.downgrade, self.upgrade, self.diff)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference."""
        return self.diff


@renderers.dispatch_for(ScriptOp)
def render_script_op(context: AutogenContext, operation: ScriptOp) -> list[str]:
    """Return the lines of an operation, for Alembic's printer."""
    return operation.upgrade(context)


def on_dialect(context: AutogenContext, name: str, lines: Sequence[str]) -> list[str]:
    """Return lines that run on one kind of database alone, wherever the script was made."""
    prefix = context.opts["alembic_module_prefix"]
    return [f"if {prefix}get_context().dialect.name == {name!r}:", *lines, ""]
