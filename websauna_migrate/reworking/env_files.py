"""What an ``env.py`` of another project says that the template's two lines would not."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from websauna_migrate.alembic_adapter.plain_env import HARMLESS_ARGUMENTS
from websauna_migrate.revision_scripts.script_tree import called, edited

#: Options of ``context.configure`` that the service says itself, or that are Alembic's default.
KNOWN_OPTIONS = frozenset(
    {
        *("connection", "url", "dialect_name", "target_metadata", "literal_binds", "dialect_opts"),
        *("transaction_per_migration", "version_table", "version_table_schema", "compare_type"),
    }
)

#: Modules whose functions make the application that an ``env.py`` of theirs needs.
GONE = ("websauna", "flask")


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What was read of an ``env.py``.

    :ivar is_template: it is the template's already
    :ivar gone: ``websauna`` or ``flask`` if it imports what the service does not need; else empty
    :ivar losses: what the template would lose, each a clause that begins with its lines
    """

    is_template: bool
    gone: str
    losses: tuple[str, ...]


def read_env(source: str) -> EnvFile:
    """Read an ``env.py`` without running it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return EnvFile(False, "", ("line 1: it cannot be read",))
    modules = {name for node in ast.walk(tree) for name in imported(node)}
    gone = next((one for one in GONE if one in {name.partition(".")[0] for name in modules}), "")
    lines: dict[str, list[int]] = {}
    for line, text in sorted({one for node in ast.walk(tree) for one in lost(node)}):
        lines.setdefault(text, []).append(line)
    losses = tuple(
        f"line{'s' if len(where) > 1 else ''} {', '.join(map(str, where))}: {text}"
        for text, where in lines.items()
    )
    return EnvFile("websauna_migrate.environment" in modules, gone, losses)


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules that a node imports."""
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module


def lost(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what the template would not do of what a node does: line and words."""
    if isinstance(node, ast.Attribute):
        if node.attr == "attributes" and isinstance(node.value, (ast.Name, ast.Attribute)):
            yield node.lineno, "config.attributes"
        elif node.attr in ("environ", "getenv"):
            yield node.lineno, "a variable of the environment"
    elif isinstance(node, ast.keyword) and node.arg == "naming_convention":
        yield node.value.lineno, "a naming convention"
    elif isinstance(node, ast.Call):
        name = called(node)
        if name in ("execute", "exec_driver_sql"):
            yield node.lineno, words_of(node)
        elif name in ("listen", "listens_for"):
            yield node.lineno, "a listener"
        elif name == "get_x_argument":
            yield node.lineno, "-x arguments"
        elif name == "set_main_option":
            yield node.lineno, "an option of its own: " + ast.unparse(node)
        elif name == "configure":
            for word in node.keywords:
                if word.arg not in KNOWN_OPTIONS:
                    yield word.value.lineno, f"the option {word.arg or '**'}"
        elif name in ("create_engine", "engine_from_config", "async_engine_from_config"):
            for word in node.keywords:
                if word.arg not in HARMLESS_ARGUMENTS:
                    yield word.value.lineno, f"the engine's {word.arg or '**'}"


def words_of(node: ast.Call) -> str:
    """Return the SQL of a call that executes it, or the call."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.strip():
            return " ".join(one.value.split())
    return ast.unparse(node)


def with_version_table(source: str, table: str, others: Mapping[str, str | None]) -> str | None:
    """Return an ``env.py`` that names a version table wherever it configures.

    :param others: new values of further options, where they are given
    :returns: ``None`` if that has to be written by hand
    """
    edits: dict[ast.expr, str] = {}
    for node in ast.walk(ast.parse(source)):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "configure"
            and isinstance(node.func.value, ast.Name)
        ):
            continue
        given = {word.arg: word.value for word in node.keywords}
        parts = [*node.args, *given.values()]
        if None in given or not parts:
            return None
        for option, new in {**others, "version_table": table}.items():
            if option in given:
                edits[given[option]] = "None" if new is None else f'"{new}"'
        if "version_table" not in given:
            last = max(parts, key=lambda part: (part.end_lineno or 0, part.end_col_offset or 0))
            text = edits.get(last) or ast.get_source_segment(source, last)
            edits[last] = f'{text}, version_table="{table}"'
    changed = edited(source, edits.items())
    try:
        ast.parse(changed)
    except SyntaxError:
        return None
    return changed if edits else None
