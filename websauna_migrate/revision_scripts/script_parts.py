"""The functions of a revision script, with what they need of its module, for another script."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.database.timeouts import NAMES
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts.script_tree import parse_script

#: What a script says of itself in its module.
OF_ITSELF = frozenset(
    {"revision", "down_revision", "branch_labels", "depends_on", "requires", "run_before"}
    | {"written_against", "replaces", "elidable", "transactional", "loses", "proved", *NAMES}
)


@dataclass(frozen=True)
class Part:
    """A statement of a script's module.

    :ivar names: what it binds
    :ivar text: its lines
    """

    node: ast.stmt
    names: tuple[str, ...]
    text: str


class ScriptParts:
    """One script, taken apart."""

    def __init__(self, revision: Revision, source: str) -> None:
        """Read a script.

        :raises ScriptError: if it is no Python
        """
        self.revision = revision
        self.source = source
        self.tree = parse_script(source, revision.path)
        self.lines = source.encode("utf-8").splitlines(keepends=True)
        self.parts = [*self._parts()]
        self.by_name = {name: part for part in self.parts for name in part.names}

    def _parts(self) -> Iterator[Part]:
        for node in self.tree.body:
            names: list[str] = []
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [(one.asname or one.name).partition(".")[0] for one in node.names]
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names = [node.name]
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [
                    one.id
                    for target in targets
                    for one in ast.walk(target)
                    if isinstance(one, ast.Name)
                ]
            yield Part(node, tuple(names), self.text_of(node))

    def text_of(self, node: ast.stmt) -> str:
        """Return the lines of a statement, its decorators included."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        assert node.end_lineno is not None
        return b"".join(self.lines[first - 1 : node.end_lineno]).decode("utf-8").rstrip() + "\n"

    def attribute(self, name: str) -> object:
        """Return a literal that the script says of itself; ``None`` if it does not say it."""
        part = self.by_name.get(name)
        value = getattr(part.node, "value", None) if part is not None else None
        return value.value if isinstance(value, ast.Constant) else None

    def needed(self) -> list[Part]:
        """Return the functions of the script and what they need, in its order.

        :raises MigrationError: for what cannot be told from the text, naming the line
        """
        self.refuse_more()
        found: set[str] = set()
        waiting = ["upgrade", "downgrade"]
        while waiting:
            name = waiting.pop()
            part = self.by_name.get(name)
            if part is None or name in found:
                continue
            found.update(part.names)
            for one in ast.walk(part.node):
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load):
                    waiting.append(one.id)
        for name in ("upgrade", "downgrade"):
            part = self.by_name.get(name)
            node = part.node if part is not None else self.tree
            is_plain = isinstance(node, ast.FunctionDef) and not (
                node.decorator_list or node.args.args
            )
            if not is_plain and (name == "upgrade" or part is not None):
                self.refuse(node, f"has no plain function {name}()")
        return [part for part in self.parts if found.intersection(part.names)]

    def refuse_more(self) -> None:
        """Refuse a module that does more than to bind names.

        :raises MigrationError: naming the line
        """
        for part in self.parts:
            node = part.node
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, ast.ImportFrom) and any(one.name == "*" for one in node.names):
                self.refuse(node, "imports all names of a module")
            if not part.names and not is_text and not is_type_checking(node):
                self.refuse(node, "does something when the script is read")
        # What a logger is called is nothing to a schema.
        loggers = {id(one) for call in ast.walk(self.tree) for one in named_loggers(call)}
        for one in ast.walk(self.tree):
            if id(one) in loggers:
                continue
            if isinstance(one, ast.Name) and one.id in ("__file__", "__name__", "globals"):
                self.refuse(one, f"uses {one.id}, which is another one in another script")
            if isinstance(one, ast.Global):
                self.refuse(one, "changes a name of the module")

    def refuse(self, node: ast.AST, problem: str) -> None:
        """Refuse to take the script apart.

        :raises MigrationError: always
        """
        one = self.revision
        raise MigrationError(
            f'"{one.id}" of package "{one.package}" changes what has rows, so it would be kept as '
            f'it is; but line {getattr(node, "lineno", 1)} of "{one.path}" {problem}. Let it say '
            "elidable = True if a new database needs nothing of it; or squash only what is before "
            "it, or behind it. Nothing was written."
        )

    def renamed(self, part: Part, names: Mapping[str, str]) -> str:
        """Return the text of a part with other names.

        :raises MigrationError: if a name means several things in the script
        """
        own = part.node
        first = min([own.lineno, *(one.lineno for one in getattr(own, "decorator_list", ()))])
        spots: list[tuple[int, int, str]] = []
        for one in ast.walk(own):
            if isinstance(one, ast.Name) and one.id in names:
                spots.append((one.lineno, one.col_offset, one.id))
            elif isinstance(one, (ast.FunctionDef, ast.ClassDef)) and one.name in names:
                line = self.lines[one.lineno - 1]
                word = re.search(rb"\b" + one.name.encode() + rb"\b", line[one.col_offset :])
                assert word is not None
                spots.append((one.lineno, one.col_offset + word.start(), one.name))
            elif isinstance(one, ast.arg) and one.arg in names:
                self.refuse(one, f'uses "{one.arg}" for an argument, and for something else')
            elif isinstance(one, ast.JoinedStr) and any(
                isinstance(inner, ast.Name) and inner.id in names for inner in ast.walk(one)
            ):
                self.refuse(one, "has a name in a formatted text that another script has as well")
        assert own.end_lineno is not None
        lines = list(self.lines[first - 1 : own.end_lineno])
        for number, column, name in sorted(set(spots), reverse=True):
            line = lines[number - first]
            end = column + len(name.encode())
            lines[number - first] = line[:column] + names[name].encode() + line[end:]
        return b"".join(lines).decode("utf-8").rstrip() + "\n"


def is_type_checking(node: ast.stmt) -> bool:
    """Return whether a statement is for type checkers alone."""
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, (ast.Name, ast.Attribute)) and ast.unparse(test).endswith(
        "TYPE_CHECKING"
    )


def named_loggers(node: ast.AST) -> list[ast.expr]:
    """Return the arguments of a call that asks for a logger, as ``getLogger(__name__)``."""
    function = getattr(node, "func", None)
    name = getattr(function, "attr", getattr(function, "id", None))
    return node.args if isinstance(node, ast.Call) and name in ("getLogger", "get_logger") else []
