"""Revision files: completed before they are written, and looked at before they are kept."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from pathlib import Path

from alembic.script.base import Script, ScriptDirectory
from alembic.util.exc import CommandError

from websauna_migrate.autogenerate.operations.rendering import place_of
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.autogenerate.write.names import Unresolved, free_names, imports_for
from websauna_migrate.results import CreatedScript
from websauna_migrate.revision_scripts.script_tree import assigned

#: How the import of a dialect begins, as Alembic and this package write it.
DIALECT = "from sqlalchemy.dialects import "


def complete_imports(scripts: ScriptDirectory, body: str, imports: set[str]) -> None:
    """Add the imports of names that rendering left to the reader, and drop those of no use.

    A type that was rendered only to be compared has left the import of its dialect.

    :param body: the two functions of the script
    :param imports: the statements so far, which are changed
    """
    for statement in [one for one in imports if one.startswith(DIALECT)]:
        if f"{statement.removeprefix(DIALECT)}." not in body:
            imports.discard(statement)
    template = Path(scripts.dir, "script.py.mako").read_text(encoding="utf-8")
    known = [line for line in template.splitlines() if line.startswith(("import ", "from "))]
    source = "\n".join([*known, *sorted(imports), body])
    missing = free_names(source)
    try:
        imports.update(imports_for(source, missing))
    except Unresolved:
        # The whole file is looked at once it is written; the template may have more.
        return


def require_names(package: str, path: Path, owned: PackageObjects | None) -> None:
    """Refuse a script that uses a name which nothing in it defines.

    :raises RevisionFailed: naming model, table and column
    """
    source = path.read_text(encoding="utf-8-sig")
    missing = free_names(source)
    if not missing:
        return
    try:
        imports_for(source, missing)
        place = f'the script "{path.name}"'
    except Unresolved as exc:
        place = f'the script "{path.name}", line {exc.line},'
        if owned is not None and exc.table and exc.column:
            place = place_of(owned, None, exc.table, exc.column)
    raise cannot_render(
        package,
        place,
        f'needs the name "{missing[0]}", which nothing in the script defines.',
        "Let the render_item hook of the package's env.py add the import to "
        "autogen_context.imports, or add it to the package's script.py.mako.",
    )


def ensure_line(script: Script, name: str, value: Collection[str]) -> None:
    """Put a line such as ``requires = (...)`` into a script whose template does not know of it."""
    if value and getattr(script.module, name, None) is None:
        written = value if isinstance(value, dict) else tuple(value)
        insert(Path(script.path), f"{name} = {written!r}\n")


#: What says of a script where it stands.
IDENTIFIERS = (
    *("revision", "down_revision", "branch_labels", "depends_on"),
    *("requires", "run_before", "written_against"),
)


def insert(path: Path, text: str) -> None:
    """Put lines behind the identifiers of a script."""
    source = path.read_text(encoding="utf-8-sig")
    statements = ast.parse(source).body
    places = [one.end_lineno or 0 for one in statements if assigned(one)[0] in IDENTIFIERS]
    if not places:
        raise CommandError(
            f"{path} has no down_revision line to put its requirements behind; "
            "mend the package's script.py.mako"
        )
    lines = source.splitlines(keepends=True)
    path.write_text("".join([*lines[: max(places)], text, *lines[max(places) :]]), encoding="utf-8")


def created(package: str, script: Script, warnings: Sequence[str] = ()) -> CreatedScript:
    """Return a written script as data."""
    return CreatedScript(
        package=package,
        revision=script.revision,
        message=script.doc,
        path=str(Path(script.path).resolve()),
        warnings=tuple(warnings),
    )
