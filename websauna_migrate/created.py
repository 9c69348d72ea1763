"""What revision scripts create: read from their source, never run and never imported.

Three parts, each usable alone:

- :func:`read_effects` walks the ``upgrade()`` of a script with :mod:`ast` and returns its schema
  effects in order: Alembic operations, batch blocks, enum types, foreign keys and literal SQL,
  through import aliases, constants, helper functions of the file and loops over literals;
- :func:`read_sql` does the same for literal SQL;
- :class:`CreatedObjects` replays the effects of many scripts, to say which revision introduced a
  table, column or type that stands at the end.

Every branch of a script is taken to run, since nobody knows here which one will. What depends on
the database or on code outside of the file cannot be read; it is skipped and counted.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from websauna_migrate.errors import MigrationError

__all__ = [
    "CreatedObjects",
    "Effect",
    "ScriptEffects",
    "ScriptSyntaxError",
    "parse_script",
    "read_effects",
    "read_script",
    "read_sql",
]

#: How a table or type is named: its schema as written (``None``: none was written) and its name.
Key: TypeAlias = tuple[str | None, str]

#: Package and revision identifier.
Origin: TypeAlias = tuple[str, str]

Kind: TypeAlias = Literal[
    "create_table",
    "drop_table",
    "rename_table",
    "add_column",
    "drop_column",
    "rename_column",
    "create_type",
    "drop_type",
    "rename_type",
    "foreign_key",
]


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


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a script does to the schema.

    :ivar kind: what is done
    :ivar schema: schema of the table or type, as written; ``None`` where none was written
    :ivar name: the table or type; for a foreign key the table that has it
    :ivar column: the column, also the one column of a foreign key where that is known
    :ivar new_name: the name after a rename, of the table, column or type
    :ivar new_schema: the schema after a rename of a table or type, changed or not
    :ivar target_schema: schema of the table that a foreign key references, as written
    :ivar target_table: the table that a foreign key references
    :ivar target_columns: the columns that it references; empty where the script leaves them out
    :ivar line: line of the script, counted from 1
    """

    kind: Kind
    schema: str | None
    name: str
    column: str | None = None
    new_name: str | None = None
    new_schema: str | None = None
    target_schema: str | None = None
    target_table: str | None = None
    target_columns: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class ScriptEffects:
    """The effects of one function of a script.

    :ivar effects: in the order of execution
    :ivar unreadable: how many operations could not be read
    """

    effects: tuple[Effect, ...]
    unreadable: int


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


# What stands at the end


class CreatedObjects:
    """Who introduced the tables, columns and types that stand after a series of revisions.

    A table belongs to the revision that created it, or gave it its present name. While it stands,
    creating it once more changes nothing within one package (``IF NOT EXISTS``); by another package
    it is a second claim, and the last claim counts: so a table moves between packages. A drop takes
    away the claim of the dropping package if another has one, else the table. A type belongs to
    the revision that created it first, since a type is shared.
    """

    def __init__(self, revisions: Iterable[tuple[str, str, Iterable[Effect]]] = ()) -> None:
        """Replay revisions: package, identifier and effects of each, oldest first."""
        self._claims: dict[Key, dict[str, str]] = {}
        self._columns: dict[Key, dict[str, Origin]] = {}
        self._types: dict[Key, Origin] = {}
        self._packages: dict[Key, list[str]] = {}
        for package, revision, effects in revisions:
            self.apply(package, revision, effects)

    def apply(self, package: str, revision: str, effects: Iterable[Effect]) -> None:
        """Replay one more revision; whatever it requires must have been replayed before."""
        for effect in effects:
            self._apply(effect, (package, revision))

    @property
    def tables(self) -> Mapping[Key, Origin]:
        """The origin of every table that stands, in order of creation."""
        return {key: last(claims) for key, claims in self._claims.items()}

    @property
    def types(self) -> Mapping[Key, Origin]:
        """The origin of every named type that stands."""
        return MappingProxyType(self._types)

    def table_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return the package and revision that introduced a table under its present name."""
        claims = self._claims.get((schema, name))
        return last(claims) if claims else None

    def column_origin(self, schema: str | None, table: str, column: str) -> Origin | None:
        """Return the package and revision that added a column, else that of its table."""
        added = self._columns.get((schema, table), {}).get(column)
        return added or self.table_origin(schema, table)

    def type_origin(self, schema: str | None, name: str) -> Origin | None:
        """Return the package and revision that created a named type."""
        return self._types.get((schema, name))

    def packages_of_table(self, schema: str | None, name: str) -> tuple[str, ...]:
        """Return every package that ever created or received a table, also one dropped since."""
        return tuple(self._packages.get((schema, name), ()))

    def _apply(self, effect: Effect, origin: Origin) -> None:
        key = (effect.schema, effect.name)
        renamed = (effect.new_schema, effect.new_name or effect.name)
        package, revision = origin
        if effect.kind == "create_table":
            claims = self._claims.setdefault(key, {})
            if package not in claims:
                claims[package] = revision
                self._columns.pop(key, None)
            self._remember(key, package)
        elif effect.kind == "drop_table":
            claims = self._claims.get(key, {})
            if package in claims and len(claims) > 1:
                del claims[package]
            else:
                self._claims.pop(key, None)
                self._columns.pop(key, None)
        elif effect.kind == "rename_table":
            self._claims.pop(key, None)
            self._columns.pop(key, None)
            self._columns.pop(renamed, None)
            self._claims[renamed] = {package: revision}
            for earlier in (*self._packages.get(key, ()), package):
                self._remember(renamed, earlier)
        elif effect.kind == "add_column" and effect.column:
            self._columns.setdefault(key, {})[effect.column] = origin
        elif effect.kind == "drop_column" and effect.column:
            self._columns.get(key, {}).pop(effect.column, None)
        elif effect.kind == "rename_column" and effect.column and effect.new_name:
            columns = self._columns.setdefault(key, {})
            columns.pop(effect.column, None)
            columns[effect.new_name] = origin
        elif effect.kind == "create_type":
            self._types.setdefault(key, origin)
        elif effect.kind == "drop_type":
            self._types.pop(key, None)
        elif effect.kind == "rename_type":
            self._types.pop(key, None)
            self._types[renamed] = origin

    def _remember(self, key: Key, package: str) -> None:
        packages = self._packages.setdefault(key, [])
        if package not in packages:
            packages.append(package)


def last(claims: Mapping[str, str]) -> Origin:
    """Return the latest of the claims on a table."""
    package = next(reversed(list(claims)))
    return package, claims[package]


# Literal SQL

#: Stands in a string for a part that only the running script knows.
UNKNOWN_PART = "\x00"

IDENTIFIER = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[\w$\x00]+)'
QUALIFIED = rf"{IDENTIFIER}(?:\s*\.\s*{IDENTIFIER})*"


def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of SQL: ``I`` is an identifier, ``Q`` a qualified one, a space is space."""
    text = re.sub(r"\bI\b", lambda _: f"({IDENTIFIER})", text)
    text = re.sub(r"\bQ\b", lambda _: f"({QUALIFIED})", text)
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


#: What SQL is made of, as far as its statements are told apart: string, dollar string, comment.
LEXEME = re.compile(
    r"(?P<string>'(?:[^']|'')*')"
    r"|(?P<quoted>\"(?:[^\"]|\"\")*\")"
    r"|\$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$"
    r"|(?P<comment>--[^\n]*|/\*.*?\*/)"
    r"|(?P<end>;)",
    re.DOTALL,
)

#: What may stand before a statement inside a ``DO`` block.
BLOCK_START = pattern(
    r"\s*(?:begin|else|loop|declare\b.*?\bbegin|(?:els)?if\b.*?\bthen|exception when\b.*?\bthen) "
)
INTERESTING = re.compile(r"\b(?:create|alter|drop|rename)\b|^\s*\x00", re.IGNORECASE)
UNKNOWN_STATEMENT = re.compile(r"(?:(?:create|alter|drop|rename)\s+)?\x00", re.IGNORECASE)

CREATE_TABLE = pattern(r"create (?:(?:unlogged|virtual|foreign) )?table (?:if not exists )?Q(.*)")
DROP_TABLE = pattern(r"drop (?:foreign )?table (?:if exists )?(.*)")
RENAME_TABLES = pattern(r"rename tables? (.*)")
ONE_RENAME = pattern(r"\s*Q to Q\s*")
ALTER_TABLE = pattern(r"alter (?:foreign )?table (?:if exists )?(?:only )?Q\s*\*? (.*)")
CREATE_TYPE = pattern(r"create (?:type|domain) Q.*")
DROP_TYPE = pattern(r"drop (?:type|domain) (?:if exists )?(.*)")
ALTER_TYPE = pattern(r"alter (?:type|domain) Q (.*)")

RENAME_TO = pattern(r"rename (?:to|as) Q\s*")
SET_SCHEMA = pattern(r"set schema I\s*")
RENAME_COLUMN = pattern(r"rename (?!(?:constraint|index|key) )(?:column )?I to I\s*")
CHANGE_COLUMN = pattern(r"change (?:column )?(?:if exists )?I I .*")
NOT_A_COLUMN = (
    "(?!(?:constraint|primary|unique|foreign|check|exclude|index|key|fulltext|spatial|partition|"
    r"period|system)\b)"
)
ADD_COLUMN = pattern(rf"add {NOT_A_COLUMN}(?:column )?(?:if not exists )?I .*")
DROP_COLUMN = pattern(rf"drop {NOT_A_COLUMN}(?:column )?(?:if exists )?I.*")
REFERENCES = pattern(r"\breferences Q\s*(?:\(([^()]*)\))?")
FOREIGN_KEY = pattern(r"\bforeign key\s*(?:I\s*)?\(([^()]*)\)\s*$")
COLUMN_START = pattern(rf"\s*{NOT_A_COLUMN}I .*")


def read_sql(sql: str, line: int = 0) -> ScriptEffects:
    """Return the schema effects of literal SQL, of one statement or several.

    Keywords in any case, quoted identifiers and ``DO`` blocks are understood; an identifier without
    quotes is folded to lower case, as PostgreSQL does. Temporary tables are left out.

    :param line: what the effects give as their line
    """
    if not INTERESTING.search(sql):
        return ScriptEffects((), 0)
    effects: list[Effect] = []
    unreadable = 0
    for statement in split_statements(sql):
        if UNKNOWN_STATEMENT.match(statement):
            unreadable += 1
            continue
        for effect in read_statement(statement):
            if UNKNOWN_PART in repr_of(effect):
                unreadable += 1
            else:
                effects.append(replace(effect, line=line))
    return ScriptEffects(tuple(effects), unreadable)


def repr_of(effect: Effect) -> str:
    """Return all names of an effect in one text."""
    names = (effect.schema, effect.name, effect.column, effect.new_name, effect.new_schema)
    targets = (effect.target_schema, effect.target_table, *effect.target_columns)
    return " ".join(name or "" for name in (*names, *targets))


def split_statements(sql: str) -> Iterator[str]:
    """Yield the statements of SQL without comments, and with all strings emptied."""
    parts: list[str] = []
    position = 0
    body = ""
    for found in LEXEME.finditer(sql):
        parts.append(sql[position : found.start()])
        position = found.end()
        if found["end"]:
            yield from finish_statement("".join(parts), body)
            parts, body = [], ""
        elif found["quoted"]:
            parts.append(found["quoted"])
        elif found["comment"]:
            parts.append(" ")
        else:
            parts.append("''")
            body = found["body"] or body
    parts.append(sql[position:])
    yield from finish_statement("".join(parts), body)


def finish_statement(statement: str, body: str) -> Iterator[str]:
    """Yield one statement, or the statements of the body of a ``DO`` block."""
    if body and re.match(r"\s*do\b", statement, re.IGNORECASE):
        for inner in split_statements(body):
            while start := BLOCK_START.match(inner):
                inner = inner[start.end() :]
            yield inner.strip()
    else:
        yield statement.strip()


def read_statement(statement: str) -> Iterator[Effect]:
    """Yield the effects of one statement; none for a kind of statement that has none."""
    if found := CREATE_TABLE.match(statement):
        key = parse_name(found[1])
        yield Effect("create_table", *key)
        for part in split_list(found[2].strip().removeprefix("(")):
            column = COLUMN_START.match(part)
            yield from read_references(part, key, parse_name(column[1])[1] if column else None)
    elif found := DROP_TABLE.match(statement):
        for name in split_list(found[1]):
            yield from named_first(name, "drop_table")
    elif found := RENAME_TABLES.match(statement):
        for part in split_list(found[1]):
            if one := ONE_RENAME.match(part):
                schema, name = parse_name(one[1])
                new_schema, new_name = parse_name(one[2])
                yield Effect(
                    "rename_table", schema, name, new_name=new_name, new_schema=new_schema or schema
                )
    elif found := ALTER_TABLE.match(statement):
        key = parse_name(found[1])
        for action in split_list(found[2]):
            yield from read_action(action.strip(), key)
    elif found := CREATE_TYPE.match(statement):
        yield Effect("create_type", *parse_name(found[1]))
    elif found := DROP_TYPE.match(statement):
        for name in split_list(found[1]):
            yield from named_first(name, "drop_type")
    elif found := ALTER_TYPE.match(statement):
        yield from read_rename(found[2], "rename_type", parse_name(found[1]))


def read_action(action: str, key: Key) -> Iterator[Effect]:
    """Yield the effects of one action of ``ALTER TABLE``."""
    column: str | None = None
    if RENAME_TO.fullmatch(action) or SET_SCHEMA.fullmatch(action):
        yield from read_rename(action, "rename_table", key)
    elif found := RENAME_COLUMN.fullmatch(action) or CHANGE_COLUMN.match(action):
        old, new = (parse_name(found[group])[1] for group in (1, 2))
        if old != new:
            yield Effect("rename_column", *key, column=old, new_name=new)
    elif found := ADD_COLUMN.match(action):
        column = parse_name(found[1])[1]
        yield Effect("add_column", *key, column=column)
    elif found := DROP_COLUMN.match(action):
        yield Effect("drop_column", *key, column=parse_name(found[1])[1])
    yield from read_references(action, key, column)


def read_rename(action: str, kind: Kind, key: Key) -> Iterator[Effect]:
    """Yield the rename of a table or type, or its move to another schema."""
    schema, name = key
    if found := RENAME_TO.fullmatch(action):
        new_schema, new_name = parse_name(found[1])
        yield Effect(kind, schema, name, new_name=new_name, new_schema=new_schema or schema)
    elif found := SET_SCHEMA.fullmatch(action):
        yield Effect(kind, schema, name, new_name=name, new_schema=parse_name(found[1])[1])


def read_references(text: str, key: Key, column: str | None) -> Iterator[Effect]:
    """Yield the foreign key of a column or constraint definition."""
    if found := REFERENCES.search(text):
        if constraint := FOREIGN_KEY.search(text[: found.start()]):
            local = names_in(constraint[2])
            column = local[0] if len(local) == 1 else None
        target_schema, target_table = parse_name(found[1])
        yield Effect(
            "foreign_key",
            *key,
            column=column,
            target_schema=target_schema,
            target_table=target_table,
            target_columns=names_in(found[2] or ""),
        )


def named_first(text: str, kind: Kind) -> Iterator[Effect]:
    """Yield the effect on the table or type that a text begins with."""
    if found := re.match(rf"\s*({QUALIFIED})", text):
        yield Effect(kind, *parse_name(found[1]))


def names_in(text: str) -> tuple[str, ...]:
    """Return the identifiers of a list of columns."""
    return tuple(parse_name(found)[1] for found in re.findall(QUALIFIED, text))


def parse_name(text: str) -> Key:
    """Return the schema and name of a qualified identifier; a database before them is left out."""
    parts = [
        part[1:-1].replace('""', '"') if part[0] in '"`[' else part.lower()
        for part in re.findall(IDENTIFIER, text)
    ]
    return (parts[-2] if len(parts) > 1 else None, parts[-1])


def split_list(text: str) -> Iterator[str]:
    """Yield the parts of a list at commas outside of parentheses, up to one that closes it."""
    depth = start = 0
    for found in re.finditer(r'"[^"]*"|[(),]', text):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            depth -= 1
            if depth < 0:
                yield text[start : found.start()]
                return
        elif found[0] == "," and depth == 0:
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


# Scripts


class Unknown:
    """The value of what only the running script knows."""


UNKNOWN = Unknown()


@dataclass(slots=True)
class Scope:
    """The names of a module, class or function, inside those around it."""

    names: dict[str, object] = field(default_factory=dict)
    outer: Scope | None = None

    def find(self, name: str) -> object:
        """Return a name's value; a name that nothing binds stands for itself."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return Dotted(name)


@dataclass(frozen=True, slots=True)
class Dotted:
    """Something imported, by its full name: ``alembic.op.create_table``."""

    name: str

    @property
    def last(self) -> str:
        """The name without the module."""
        return self.name.rpartition(".")[2]


@dataclass(slots=True, eq=False)
class Built:
    """What a call returned that the reader does not run: ``sa.Column("id", sa.Integer())``."""

    maker: Dotted
    args: list[object]
    keywords: dict[str, object]

    @property
    def kind(self) -> str:
        """What was called, without its module."""
        return self.maker.last


@dataclass(frozen=True, slots=True)
class Batch:
    """The object of a ``batch_alter_table`` block."""

    table: object
    schema: object


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function or lambda of the script."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """A class of the script."""

    name: str
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """An attribute of any other value."""

    owner: object
    name: str


class UnreadableError(Exception):
    """An operation depends on what cannot be read."""


class ExhaustedError(Exception):
    """A script took more steps than any real one does."""


#: Enough for any script; loops over literals inside of loops could go on without an end.
MOST_STEPS = 200_000
LONGEST_LOOP = 2_000
LONGEST_TEXT = 100_000
DEEPEST_CALL = 25

#: Operations that make or rename no table, column or type.
HARMLESS = frozenset(
    {
        "bulk_insert",
        "create_check_constraint",
        "create_entity",
        "create_exclude_constraint",
        "create_index",
        "create_primary_key",
        "create_table_comment",
        "create_unique_constraint",
        "drop_constraint",
        "drop_entity",
        "drop_index",
        "drop_table_comment",
        "get_bind",
        "get_context",
        "implementation_for",
        "inline_literal",
        "register_operation",
        "replace_entity",
        "sync_enum_values",
    }
)
DATA_STATEMENTS = frozenset({"insert", "update", "delete", "select"})
ENUMS = frozenset({"Enum", "ENUM"})

#: Methods that may change the schema whatever they are called on: connections, sessions, MetaData.
ON_CONNECTIONS = frozenset({"execute", "exec_driver_sql", "create_all"})


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a call."""

    args: list[object]
    keywords: dict[str, object]

    def get(self, position: int | None, *names: str, default: object = None) -> object:
        """Return the argument at a position or under one of its names, old ones too."""
        if position is not None and position < len(self.args):
            return self.args[position]
        return next((self.keywords[name] for name in names if name in self.keywords), default)

    def text(self, position: int | None, *names: str) -> str:
        """Return an argument that must be a known string."""
        value = self.get(position, *names)
        if not isinstance(value, str) or not value or UNKNOWN_PART in value:
            raise UnreadableError
        return value

    def optional_text(self, position: int | None, *names: str) -> str | None:
        """Return an argument that must be a known string or ``None``."""
        return None if self.get(position, *names) is None else self.text(position, *names)


class Reader:
    """Walks one function of a script in the order of execution and collects its effects.

    Values are followed as far as they are literal: strings, numbers, lists, tuples, dictionaries,
    imported names, and calls that build columns, constraints and types. Everything else is unknown.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self.effects: list[Effect] = []
        self.unreadable = 0
        self.line = 0
        self.steps = 0
        self.running: list[ast.AST] = []
        self.returned: list[list[object]] = [[]]

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

    def step(self) -> None:
        """Count one step.

        :raises ExhaustedError: after too many
        """
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ExhaustedError

    def add(self, kind: Kind, schema: str | None, name: str, **details: Any) -> None:
        """Record an effect at the line of the operation."""
        self.effects.append(Effect(kind, schema, name, line=self.line, **details))

    # Statements

    def block(self, statements: Iterable[ast.stmt], scope: Scope) -> None:
        """Run statements in order, up to one that leaves the block."""
        for statement in statements:
            self.step()
            handler = getattr(self, f"do_{type(statement).__name__}", None)
            if handler is not None:
                handler(statement, scope)
            if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
                return

    def do_Expr(self, node: ast.Expr, scope: Scope) -> None:
        self.value(node.value, scope)

    def do_Return(self, node: ast.Return, scope: Scope) -> None:
        self.returned[-1].append(None if node.value is None else self.value(node.value, scope))

    def do_Assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.value(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)

    def do_AnnAssign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value, scope), scope)

    def do_AugAssign(self, node: ast.AugAssign, scope: Scope) -> None:
        right = self.value(node.value, scope)
        left = self.value(node.target, scope)
        plus = isinstance(node.op, ast.Add)
        self.assign(node.target, added(left, right) if plus else UNKNOWN, scope)

    def do_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        scope.names[node.name] = Function(node, scope)

    do_AsyncFunctionDef = do_FunctionDef

    def do_ClassDef(self, node: ast.ClassDef, scope: Scope) -> None:
        inner = Scope(outer=scope)
        self.block(node.body, inner)
        scope.names[node.name] = Class(node.name, inner)

    def do_Import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            scope.names[alias.asname or top] = Dotted(alias.name if alias.asname else top)

    def do_ImportFrom(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name != "*":
                scope.names[alias.asname or alias.name] = Dotted(f"{module}.{alias.name}")
            elif module == "alembic":
                scope.names["op"] = Dotted("alembic.op")

    def do_If(self, node: ast.If, scope: Scope) -> None:
        self.value(node.test, scope)
        self.branches([node.body, node.orelse], scope)

    def do_Match(self, node: ast.Match, scope: Scope) -> None:
        self.value(node.subject, scope)
        self.branches([case.body for case in node.cases], scope)

    def do_While(self, node: ast.While, scope: Scope) -> None:
        self.value(node.test, scope)
        self.branches([[*node.body, *node.orelse]], scope)

    def do_For(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        for item in self.items(self.value(node.iter, scope)):
            self.assign(node.target, item, scope)
            self.block(node.body, scope)
        self.block(node.orelse, scope)

    do_AsyncFor = do_For

    def do_With(self, node: ast.With | ast.AsyncWith, scope: Scope) -> None:
        for item in node.items:
            value = self.value(item.context_expr, scope)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, value, scope)
        self.block(node.body, scope)

    do_AsyncWith = do_With

    def do_Try(self, node: ast.Try, scope: Scope) -> None:
        self.block(node.body, scope)
        tried = dict(scope.names)
        for handler in node.handlers:
            # What runs only before the revision fails leaves nothing behind.
            if not isinstance(handler.body[-1], ast.Raise):
                self.block(handler.body, scope)
        scope.names.update(tried)
        self.block(node.orelse, scope)
        self.block(node.finalbody, scope)

    do_TryStar = do_Try

    def branches(self, bodies: list[list[ast.stmt]], scope: Scope) -> None:
        """Run alternatives one after the other; a name that they leave different is unknown."""
        before = dict(scope.names)
        after: list[dict[str, object]] = []
        for body in bodies:
            scope.names.clear()
            scope.names.update(before)
            self.block(body, scope)
            after.append(dict(scope.names))
        for names in after:
            for name, value in names.items():
                values = [other[name] for other in after if name in other]
                scope.names[name] = value if same(values) else UNKNOWN

    def assign(self, target: ast.expr, value: object, scope: Scope) -> None:
        """Bind the names of a target."""
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = list(value) if isinstance(value, (tuple, list)) else []
            fits = len(values) == len(target.elts)
            for number, part in enumerate(target.elts):
                starred = any(isinstance(one, ast.Starred) for one in target.elts)
                self.assign(part, values[number] if fits and not starred else UNKNOWN, scope)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, UNKNOWN, scope)

    def items(self, value: object) -> list[object]:
        """Return what a loop over a value goes through; one unknown item if nobody knows."""
        if isinstance(value, (tuple, list)) and len(value) <= LONGEST_LOOP:
            return list(value)
        if isinstance(value, dict) and len(value) <= LONGEST_LOOP:
            return list(value)
        return [UNKNOWN]

    # Expressions

    def value(self, node: ast.expr, scope: Scope) -> object:
        """Return the value of an expression, as far as it is literal."""
        self.step()
        handler = getattr(self, f"of_{type(node).__name__}", None)
        return UNKNOWN if handler is None else handler(node, scope)

    def of_Constant(self, node: ast.Constant, scope: Scope) -> object:
        if isinstance(node.value, str) and UNKNOWN_PART in node.value:
            return UNKNOWN
        return node.value

    def of_Name(self, node: ast.Name, scope: Scope) -> object:
        return scope.find(node.id)

    def of_NamedExpr(self, node: ast.NamedExpr, scope: Scope) -> object:
        value = self.value(node.value, scope)
        self.assign(node.target, value, scope)
        return value

    def of_Await(self, node: ast.Await, scope: Scope) -> object:
        return self.value(node.value, scope)

    def of_Yield(self, node: ast.Yield, scope: Scope) -> object:
        # A context manager of the script hands its value to the ``with`` block.
        if node.value is not None:
            self.returned[-1].append(self.value(node.value, scope))
        return UNKNOWN

    def of_Tuple(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> object:
        values: list[object] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                values += self.items(self.value(element.value, scope))
            else:
                values.append(self.value(element, scope))
        return tuple(values) if isinstance(node, ast.Tuple) else values

    of_List = of_Set = of_Tuple

    def of_Dict(self, node: ast.Dict, scope: Scope) -> object:
        found: dict[object, object] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.value(item, scope)
            if key is None:
                if isinstance(value, dict):
                    found.update(value)
                continue
            name = self.value(key, scope)
            if isinstance(name, (str, int)):
                found[name] = value
        return found

    def of_Subscript(self, node: ast.Subscript, scope: Scope) -> object:
        owner, index = self.value(node.value, scope), self.value(node.slice, scope)
        if isinstance(owner, (tuple, list)) and isinstance(index, int):
            return owner[index] if -len(owner) <= index < len(owner) else UNKNOWN
        if isinstance(owner, dict) and isinstance(index, (str, int)):
            return owner.get(index, UNKNOWN)
        return UNKNOWN

    def of_IfExp(self, node: ast.IfExp, scope: Scope) -> object:
        self.value(node.test, scope)
        values = [self.value(node.body, scope), self.value(node.orelse, scope)]
        return values[0] if same(values) else UNKNOWN

    def of_BoolOp(self, node: ast.BoolOp, scope: Scope) -> object:
        known = (str, int, type(None))
        values = [self.value(part, scope) for part in node.values]
        for value in values[:-1]:
            if not isinstance(value, known):
                return UNKNOWN
            if bool(value) is isinstance(node.op, ast.Or):
                return value
        return values[-1]

    def of_UnaryOp(self, node: ast.UnaryOp, scope: Scope) -> object:
        value = self.value(node.operand, scope)
        return -value if isinstance(node.op, ast.USub) and isinstance(value, int) else UNKNOWN

    def of_Compare(self, node: ast.Compare, scope: Scope) -> object:
        for part in (node.left, *node.comparators):
            self.value(part, scope)
        return UNKNOWN

    def of_BinOp(self, node: ast.BinOp, scope: Scope) -> object:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(node.op, ast.Add):
            return added(left, right)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return percent(left, right)
        return UNKNOWN

    def of_JoinedStr(self, node: ast.JoinedStr, scope: Scope) -> object:
        return limited("".join(as_part(self.value(part, scope)) for part in node.values))

    def of_FormattedValue(self, node: ast.FormattedValue, scope: Scope) -> object:
        value = self.value(node.value, scope)
        return value if node.format_spec is None and node.conversion in (-1, ord("s")) else UNKNOWN

    def of_Lambda(self, node: ast.Lambda, scope: Scope) -> object:
        return Function(node, scope)

    def of_ListComp(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope
    ) -> object:
        found: list[object] = []

        def run(generators: list[ast.comprehension], inner: Scope) -> None:
            if not generators:
                found.append(self.value(node.elt, inner))
                return
            first, *rest = generators
            for item in self.items(self.value(first.iter, inner)):
                self.assign(first.target, item, inner)
                for test in first.ifs:
                    self.value(test, inner)
                run(rest, inner)

        run(node.generators, Scope(outer=scope))
        return found if len(found) <= LONGEST_LOOP else UNKNOWN

    of_SetComp = of_GeneratorExp = of_ListComp

    def of_Attribute(self, node: ast.Attribute, scope: Scope) -> object:
        owner = self.value(node.value, scope)
        if isinstance(owner, Dotted):
            return Dotted(f"{owner.name}.{node.attr}")
        if isinstance(owner, Class):
            return owner.scope.names.get(node.attr, UNKNOWN)
        return Method(owner, node.attr)

    def of_Call(self, node: ast.Call, scope: Scope) -> object:
        called = self.value(node.func, scope)
        args: list[object] = []
        for part in node.args:
            if isinstance(part, ast.Starred):
                args += self.items(self.value(part.value, scope))
            else:
                args.append(self.value(part, scope))
        keywords: dict[str, object] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords.update((name, v) for name, v in value.items() if isinstance(name, str))
        self.line = node.lineno
        return self.call(called, Arguments(args, keywords))

    def call(self, called: object, given: Arguments) -> object:
        """Return what a call gives, and record its effects."""
        try:
            if isinstance(called, Function):
                return self.run(called, given)
            if isinstance(called, Method):
                return self.call_method(called.owner, called.name, given)
            if isinstance(called, Dotted):
                if called.name.startswith("alembic.op."):
                    return self.operate(called.last, given)
                if called.last in ON_CONNECTIONS:
                    return self.call_method(UNKNOWN, called.last, given)
                return self.call_imported(called, given)
        except UnreadableError:
            self.unreadable += 1
        return UNKNOWN

    def run(self, function: Function, given: Arguments) -> object:
        """Run a function of the script, unless it is running already."""
        node = function.node
        if node in self.running or len(self.running) > DEEPEST_CALL:
            return UNKNOWN
        inner = Scope(outer=function.scope)
        parameters = node.args
        positional = [*parameters.posonlyargs, *parameters.args]
        defaults: dict[str, ast.expr | None] = {p.arg: None for p in positional}
        if parameters.defaults:
            late = positional[-len(parameters.defaults) :]
            defaults.update(zip((p.arg for p in late), parameters.defaults, strict=True))
        defaults.update(
            zip((p.arg for p in parameters.kwonlyargs), parameters.kw_defaults, strict=True)
        )
        for name, default in defaults.items():
            inner.names[name] = UNKNOWN if default is None else self.value(default, function.scope)
        inner.names.update((p.arg, value) for p, value in zip(positional, given.args, strict=False))
        inner.names.update(given.keywords)
        if parameters.vararg is not None:
            inner.names[parameters.vararg.arg] = tuple(given.args[len(positional) :])
        if parameters.kwarg is not None:
            inner.names[parameters.kwarg.arg] = {
                name: value for name, value in given.keywords.items() if name not in defaults
            }
        self.running.append(node)
        self.returned.append([])
        if isinstance(node, ast.Lambda):
            self.returned[-1].append(self.value(node.body, inner))
        else:
            self.block(node.body, inner)
        self.running.pop()
        values = self.returned.pop()
        return values[0] if values and same(values) else UNKNOWN

    def call_imported(self, called: Dotted, given: Arguments) -> object:
        """Return what a function from elsewhere gives, if it only hands its argument on."""
        first = given.get(0, "text", "name", default=UNKNOWN)
        if called.last in ("text", "DDL", "dedent", "quoted_name", "conv", "str", "cleandoc"):
            return first
        if called.last == "Operations":
            return Dotted("alembic.op")
        if called.name in ("list", "tuple", "set", "sorted", "reversed", "frozenset"):
            values = self.items(first)
            return values[::-1] if called.name == "reversed" else values
        if called.name == "enumerate":
            return [(UNKNOWN, item) for item in self.items(first)]
        if called.name == "zip":
            rows = zip(*(self.items(part) for part in given.args), strict=False)
            return [tuple(row) for row in rows]
        return Built(called, given.args, given.keywords)

    def call_method(self, owner: object, name: str, given: Arguments) -> object:
        """Return what a method gives, and record its effects."""
        if isinstance(owner, Batch):
            return self.operate_batch(owner, name, given)
        if isinstance(owner, Built) and name in ("create", "drop"):
            return self.create_or_drop(owner, name)
        if name == "create_all":
            raise UnreadableError
        if name in ON_CONNECTIONS:
            statement = given.get(0, "statement")
            if isinstance(statement, str):
                self.execute(statement)
        elif isinstance(owner, str):
            return call_text(owner, name, given)
        elif isinstance(owner, list) and name in ("append", "extend"):
            if len(owner) <= LONGEST_LOOP:
                first = given.get(0)
                owner.extend([first] if name == "append" else self.items(first))
            return None
        elif isinstance(owner, dict) and name in ("items", "keys", "values", "get"):
            views: dict[str, Callable[[], object]] = {
                "items": lambda: list(owner.items()),
                "keys": lambda: list(owner),
                "values": lambda: list(owner.values()),
                "get": lambda: UNKNOWN,
            }
            return views[name]()
        return Built(Dotted(name), [owner, *given.args], given.keywords)

    # Operations

    def operate(self, name: str, given: Arguments) -> object:
        """Record the effects of one Alembic operation."""
        operation = getattr(self, f"op_{name}", None)
        if operation is not None:
            return operation(given)
        if name == "f":
            return given.get(0, "name", default=UNKNOWN)
        if name not in HARMLESS:
            raise UnreadableError
        return Built(Dotted(f"alembic.op.{name}"), given.args, given.keywords)

    def op_create_table(self, given: Arguments) -> object:
        schema = given.optional_text(None, "schema")
        name = given.text(0, "table_name", "name")
        self.create_table(schema, name, given.args[1:])
        return Built(Dotted("sqlalchemy.Table"), given.args, given.keywords)

    def op_drop_table(self, given: Arguments) -> None:
        schema = given.optional_text(None, "schema")
        self.add("drop_table", schema, given.text(0, "table_name", "name"))

    def op_rename_table(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        new_name = given.text(1, "new_table_name")
        old_name = given.text(0, "old_table_name")
        self.add("rename_table", schema, old_name, new_name=new_name, new_schema=schema)

    def op_add_column(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        self.add_column(schema, given.text(0, "table_name"), given.get(1, "column"))

    def op_drop_column(self, given: Arguments) -> None:
        schema = given.optional_text(2, "schema")
        column = given.text(1, "column_name")
        self.add("drop_column", schema, given.text(0, "table_name"), column=column)

    def op_alter_column(self, given: Arguments) -> None:
        new_name = given.optional_text(None, "new_column_name", "name")
        if new_name is not None:
            schema = given.optional_text(None, "schema")
            column = given.text(1, "column_name")
            table = given.text(0, "table_name")
            self.add("rename_column", schema, table, column=column, new_name=new_name)

    def op_create_foreign_key(self, given: Arguments) -> None:
        source = given.text(1, "source_table", "source")
        schema = given.optional_text(None, "source_schema")
        local = given.get(3, "local_cols")
        remote = given.get(4, "remote_cols")
        target = given.text(2, "referent_table", "referent")
        target_schema = given.optional_text(None, "referent_schema")
        self.foreign_key((schema, source), local, (target_schema, target), remote)

    def op_batch_alter_table(self, given: Arguments) -> Batch:
        return Batch(given.get(0, "table_name", default=UNKNOWN), given.get(1, "schema"))

    def op_execute(self, given: Arguments) -> None:
        statement = given.get(0, "sqltext", default=UNKNOWN)
        if isinstance(statement, str):
            self.execute(statement)
        elif not is_data_statement(statement):
            raise UnreadableError

    def operate_batch(self, batch: Batch, name: str, given: Arguments) -> object:
        """Record the effects of one operation of a batch block."""
        table = Arguments([batch.table, batch.schema], {})
        if name == "add_column":
            self.add_column(table.optional_text(1), table.text(0), given.get(0, "column"))
        elif name == "drop_column":
            column = given.text(0, "column_name")
            self.add("drop_column", table.optional_text(1), table.text(0), column=column)
        elif name == "alter_column":
            new_name = given.optional_text(None, "new_column_name", "name")
            if new_name is not None:
                column = given.text(0, "column_name")
                key = (table.optional_text(1), table.text(0))
                self.add("rename_column", *key, column=column, new_name=new_name)
        elif name == "create_foreign_key":
            target = given.text(1, "referent_table", "referent")
            target_schema = given.optional_text(None, "referent_schema")
            self.foreign_key(
                (table.optional_text(1), table.text(0)),
                given.get(2, "local_cols"),
                (target_schema, target),
                given.get(3, "remote_cols"),
            )
        else:
            return self.operate(name, given)
        return None

    def execute(self, sql: str) -> None:
        """Record the effects of literal SQL."""
        found = read_sql(sql, self.line)
        self.effects += found.effects
        self.unreadable += found.unreadable

    def create_or_drop(self, built: Built, name: str) -> object:
        """Record ``Enum(...).create(bind)``, ``Table(...).create(bind)`` and their ``drop``."""
        given = Arguments(built.args, built.keywords)
        if built.kind in ENUMS or built.kind == "DOMAIN":
            key = self.type_key(built, None)
            if key is not None:
                self.add("create_type" if name == "create" else "drop_type", *key)
        elif built.kind == "Table":
            schema, table = given.optional_text(None, "schema"), given.text(0, "name")
            if name == "create":
                self.create_table(schema, table, built.args[1:])
            else:
                self.add("drop_table", schema, table)
        return UNKNOWN

    def create_table(self, schema: str | None, name: str, parts: list[object]) -> None:
        """Record a new table after its types, and its foreign keys after it."""
        columns = [part for part in parts if isinstance(part, Built)]
        for column in columns:
            self.create_types(column, schema)
        self.add("create_table", schema, name)
        for column in columns:
            self.foreign_keys((schema, name), column)

    def add_column(self, schema: str | None, table: str, column: object) -> None:
        """Record a new column with its type and foreign keys."""
        if not isinstance(column, Built):
            raise UnreadableError
        name = Arguments(column.args, column.keywords).text(0, "name")
        self.create_types(column, schema)
        self.add("add_column", schema, table, column=name)
        self.foreign_keys((schema, table), column)

    def create_types(self, column: Built, schema: str | None) -> None:
        """Record the enum types that a column brings, however deep in its type they are."""
        if column.kind.endswith("Constraint"):
            return
        for built in inside(column):
            named = built.kind in ENUMS or built.kind == "DOMAIN"
            off = {"native_enum", "create_type"}
            if named and not any(built.keywords.get(name) is False for name in off):
                try:
                    key = self.type_key(built, schema)
                except UnreadableError:
                    self.unreadable += 1
                else:
                    if key is not None:
                        self.add("create_type", *key)

    def type_key(self, built: Built, table_schema: str | None) -> Key | None:
        """Return the schema and name of an enum type; ``None`` if it is none of PostgreSQL's."""
        if ".mysql." in built.maker.name:
            return None
        given = Arguments(built.args, built.keywords)
        schema = given.optional_text(None, "schema")
        if schema is None and built.keywords.get("inherit_schema") is True:
            schema = table_schema
        if built.kind == "DOMAIN":
            return schema, given.text(0, "name")
        if "name" in built.keywords:
            name = given.optional_text(None, "name")
            return None if name is None else (schema, name)
        # Without a name SQLAlchemy takes that of the Python enum class.
        if len(built.args) == 1:
            if isinstance(built.args[0], Class):
                return schema, built.args[0].name.lower()
            if isinstance(built.args[0], Dotted):
                return schema, built.args[0].last.lower()
        return None

    def foreign_keys(self, key: Key, part: Built) -> None:
        """Record the foreign keys of a column or of a foreign key constraint."""
        given = Arguments(part.args, part.keywords)
        try:
            if part.kind == "ForeignKeyConstraint":
                targets = [split_target(one) for one in texts(given.get(1, "refcolumns"))]
                local = given.get(0, "columns")
                remote = [column for _, column in targets if column is not None]
                self.foreign_key(key, local, targets[0][0], remote)
                return
            for one in part.args:
                if isinstance(one, Built) and one.kind == "ForeignKey":
                    text = Arguments(one.args, one.keywords).text(0, "column")
                    table, column = split_target(text)
                    self.foreign_key(key, part.args[:1], table, [] if column is None else [column])
        except (UnreadableError, IndexError):
            self.unreadable += 1

    def foreign_key(self, key: Key, local: object, target: Key, remote: object) -> None:
        """Record one foreign key."""
        columns = local if isinstance(local, (tuple, list)) else ()
        column = columns[0] if len(columns) == 1 and isinstance(columns[0], str) else None
        self.add(
            "foreign_key",
            *key,
            column=column,
            target_schema=target[0],
            target_table=target[1],
            target_columns=tuple(texts(remote)),
        )


def inside(column: Built) -> Iterator[Built]:
    """Yield a built object and all that its arguments hold, each once."""
    seen: set[int] = set()
    waiting: list[object] = [column]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Built) and id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting += [*value.keywords.values(), *reversed(value.args)]


def same(values: list[object]) -> bool:
    """Tell whether all values are known to be equal."""
    first = values[0]
    plain = (str, int, type(None), Dotted, Batch)
    return all(
        value is first
        or (isinstance(value, plain) and type(value) is type(first) and value == first)
        for value in values
    )


def texts(value: object) -> list[str]:
    """Return a list of strings that must all be known."""
    if not isinstance(value, (tuple, list)):
        raise UnreadableError
    return [Arguments([one], {}).text(0) for one in value]


def split_target(text: str) -> tuple[Key, str | None]:
    """Return table and column of ``schema.table.column``; the table alone may be written too."""
    *before, last_part = text.split(".")
    if not before:
        return (None, last_part), None
    *schema, table = before
    return (".".join(schema) or None, table), last_part


def is_data_statement(value: object) -> bool:
    """Tell whether a value is an ``insert()``, ``update()``, ``delete()`` or ``select()``."""
    while isinstance(value, Built):
        if value.kind in DATA_STATEMENTS:
            return True
        value = value.args[0] if value.args else None
        if isinstance(value, Method):
            value = value.owner
    return False


def as_part(value: object) -> str:
    """Return a value as part of a string, the mark of an unknown part if it is none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and abs(value) < 10**18 else UNKNOWN_PART


def limited(text: str) -> object:
    """Return a string unless it has grown beyond reason."""
    return text if len(text) <= LONGEST_TEXT else UNKNOWN


def added(left: object, right: object) -> object:
    """Return the sum of two strings or sequences."""
    if isinstance(left, str) or isinstance(right, str):
        return limited(as_part(left) + as_part(right))
    if isinstance(left, (tuple, list)) and isinstance(right, (tuple, list)):
        total = [*left, *right]
        return total if len(total) <= LONGEST_LOOP else UNKNOWN
    return UNKNOWN


def percent(text: str, given: object) -> object:
    """Return a string with its ``%s`` and ``%(name)s`` filled in."""
    values = iter(given if isinstance(given, (tuple, list)) else (given,))

    def fill(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found["key"] is not None:
            return as_part(given.get(found["key"], UNKNOWN) if isinstance(given, dict) else UNKNOWN)
        value = next(values, UNKNOWN)
        return as_part(value) if found[0] in ("%s", "%d") else UNKNOWN_PART

    return limited(re.sub(r"%(?:\((?P<key>\w+)\))?[-+ #0-9.*]*[a-zA-Z%]", fill, text))


def call_text(text: str, name: str, given: Arguments) -> object:
    """Return what a method of a string gives."""
    if name == "format":
        positions = iter(range(len(given.args)))

        def fill(found: re.Match[str]) -> str:
            if found[0] in ("{{", "}}"):
                return found[0][0]
            key = found["key"]
            if key == "" or key.isdecimal():
                number = next(positions, -1) if key == "" else int(key[:9])
                known = 0 <= number < len(given.args)
                return as_part(given.args[number] if known else UNKNOWN)
            return as_part(given.keywords.get(key, UNKNOWN))

        return limited(re.sub(r"\{\{|\}\}|\{(?P<key>[^{}]*)\}", fill, text))
    if name == "join":
        first = given.get(0)
        parts = first if isinstance(first, (tuple, list)) else [UNKNOWN]
        return limited(text.join(as_part(part) for part in parts))
    if name in ("strip", "lstrip", "rstrip", "lower", "upper") and not given.args:
        return getattr(text, name)()
    if name in ("split", "splitlines"):
        separator = given.get(0)
        if name == "splitlines":
            return text.splitlines()
        return text.split(separator) if isinstance(separator, str) and separator else text.split()
    if name in ("bindparams", "execution_options", "columns"):
        return text
    return UNKNOWN
