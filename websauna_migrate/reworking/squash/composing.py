"""The text of a squash: what was written anew, and the functions of the steps that are kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from websauna_migrate.autogenerate.write.revision_files import insert
from websauna_migrate.revision_scripts.script_parts import OF_ITSELF, Part, ScriptParts
from websauna_migrate.reworking.squash.stretches import Stretch
from websauna_migrate.reworking.squash.written_anew import Operations

#: What every template imports.
IMPORTED = (
    "import sqlalchemy as sa",
    "from alembic import op",
    "from collections.abc import Mapping, Sequence",
)


@dataclass
class Composed:
    """The parts of a squash's text.

    :ivar upgrade: the lines of its function, indented but for the first one
    :ivar downgrade: the same of the way back
    :ivar imports: statements, for the top of the script
    :ivar functions: those of the kept steps, for its end
    """

    upgrade: str = ""
    downgrade: str = ""
    imports: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)


def compose(stretches: Sequence[tuple[Stretch, Operations | None]]) -> Composed:
    """Put stretches together, those that are kept as calls of their functions.

    :raises MigrationError: for a kept step that cannot be moved into another script
    """
    found = Composed()
    names = Names()
    up: list[str] = []
    down: list[str] = []
    for stretch, operations in stretches:
        if operations is not None:
            found.imports += [
                one for one in operations.imports if names.note(imported_by(ast.parse(one).body[0]))
            ]
            ids = ", ".join(one.id for one in stretch.revisions)
            head = f"    # {ids}\n"
            up.append(f"{head}{operations.upgrade}" if operations.upgrade else "")
            down.append(f"{head}{operations.downgrade}" if operations.downgrade else "")
            continue
        assert stretch.parts is not None
        (revision,) = stretch.revisions
        there, texts, imports = names.take(stretch.parts)
        found.imports += imports
        found.functions += texts
        title = f"  # {revision.id}: {revision.message}".rstrip(": ").replace("\n", " ")
        for name, lines in (("upgrade", up), ("downgrade", down)):
            if name in there:
                lines.append(f"    {there[name]}(){title}\n")
    found.upgrade = "".join(up).strip()
    found.downgrade = "".join(reversed(down)).strip()
    return found


class Names:
    """The names of the new script's module, and what they mean."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        for line in IMPORTED:
            self.note(imported_by(ast.parse(line).body[0]))

    def note(self, meanings: Mapping[str, str]) -> bool:
        """Note what is imported; return whether one of the names was not known."""
        new = meanings.items() - self.known.items()
        self.known.update(meanings)
        return bool(new)

    def take(self, parts: ScriptParts) -> tuple[dict[str, str], list[str], list[str]]:
        """Take the functions of a kept step.

        :returns: the new names of its functions, the texts, and statements of imports
        """
        suffix = re.sub(r"\W", "_", parts.revision.id)
        needed = parts.needed()
        functions = {
            name: f"{name}_{suffix}" for part in needed for name in FUNCTIONS & {*part.names}
        }
        renames = dict(functions)
        imports: list[str] = []
        own: list[Part] = []
        for part in needed:
            if isinstance(part.node, (ast.Import, ast.ImportFrom)):
                meanings = imported_by(part.node)
                clashing = {n for n, m in meanings.items() if self.known.get(n, m) != m}
                if clashing:
                    renames.update({name: f"{name}_{suffix}" for name in clashing})
                    imports += [renamed_import(part.node, name, suffix) for name in clashing]
                if self.note({n: m for n, m in meanings.items() if n not in clashing}):
                    imports.append(part.text.strip())
                continue
            own.append(part)
            for name in part.names:
                if name not in functions and (name in self.known or name in OF_ITSELF):
                    renames[name] = f"{name}_{suffix}"
        for part in own:
            self.known.update({renames.get(name, name): suffix for name in part.names})
        return functions, [parts.renamed(part, renames) for part in own], imports


FUNCTIONS = {"upgrade", "downgrade"}


def imported_by(node: ast.stmt) -> dict[str, str]:
    """Return the names that an import binds, each with what it means."""
    if isinstance(node, ast.Import):
        return {
            one.asname or one.name.partition(".")[0]: f"{one.name}|{one.asname}"
            for one in node.names
        }
    assert isinstance(node, ast.ImportFrom)
    return {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}


def renamed_import(node: ast.stmt, name: str, suffix: str) -> str:
    """Return the import of one name under another one."""
    assert isinstance(node, (ast.Import, ast.ImportFrom))
    alias = next(one for one in node.names if (one.asname or one.name) == name)
    line = f"import {alias.name} as {name}_{suffix}"
    return line if isinstance(node, ast.Import) else f"from {node.module} {line}"


#: The docstring's line of when a script was written.
CREATED = re.compile(r"^(Create Date: )[^\r\n]*", re.MULTILINE)


def finish(
    path: Path, composed: Composed, values: dict[str, tuple[str, ...]], date: datetime | None
) -> None:
    """Complete a script that was rendered: what it stands for, and the kept functions.

    :param values: attributes that a template does not know, by name
    :param date: when the last of the replaced scripts was written: what came later comes later
    """
    if date is not None:
        text = path.read_text(encoding="utf-8-sig")
        path.write_text(CREATED.sub(rf"\g<1>{date}", text, count=1), encoding="utf-8")
    insert(path, "".join(f"{name} = {lined(value)}\n" for name, value in values.items() if value))
    if composed.functions:
        text = path.read_text(encoding="utf-8-sig").rstrip()
        functions = "\n\n".join(one.rstrip() + "\n" for one in composed.functions)
        path.write_text(f"{text}\n\n\n{functions}", encoding="utf-8")


def lined(value: tuple[str, ...]) -> str:
    """Return a tuple of texts in lines that are not too long."""
    line = repr(value)
    if len(line) < 80:
        return line
    return "(\n" + "".join(f"    {one!r},\n" for one in value) + ")"
