"""What PostgreSQL keeps besides: options, storage, comments of constraints and the like.

Alembic has no operation for these. Each is a statement that gives an object the value of a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from websauna_migrate.autogenerate.compare.constraints import sides
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, told
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.server_statements import qualified, statements
from websauna_migrate.autogenerate.operations.type_change import FURTHER_STEP
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.enums import literal
from websauna_migrate.facts.fact import Fact, Value
from websauna_migrate.facts.postgresql import quote_name

#: Returns the statement that gives an object a value; ``None`` for one that it does not have.
Statement = Callable[[Fact, str, Value, Value], str | None]


def attribute_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the changes of a table's attributes that have no operation of Alembic's."""
    for one in found.of(key):
        write = STATEMENTS.get((one.fact.kind, one.attribute or ""))
        if write is None or one.other is None:
            continue
        whole = qualified(key[0], key[1])
        up = write(one.fact, whole, one.right, one.left)
        down = write(one.other, whole, one.left, one.right)
        diff = ("change_attribute", told(one))
        yield statements(diff, [up] if up else [], [down] if down else [])


def attributes_of_new(key: Key, facts: Iterable[Fact], *, upgrade: bool) -> Iterator[ScriptOp]:
    """Yield the statements for what no operation says of the objects that it creates.

    :param key: that of the table, which is one of them or has them
    :param upgrade: true for what the upgrade creates, false for what the downgrade does
    """
    for fact in facts:
        for (kind, attribute), write in STATEMENTS.items():
            value = fact.get(attribute)
            if kind != fact.kind or not value or (kind, attribute) in SAID:
                continue
            if (text := write(fact, qualified(key[0], key[1]), value, None)) is not None:
                up, down = ([text], []) if upgrade else ([], [text])
                yield statements(FURTHER_STEP, up, down)


def created_parts(key: Key, found: FoundDifferences, *, upgrade: bool) -> list[Fact]:
    """Return the parts of a table that the upgrade creates, or that the downgrade does.

    A constraint or an index that changes is made anew.
    """
    parts: dict[tuple[str, str], Fact] = {}
    for one in found.of(key):
        kept = one.fact.kind not in ("constraint", "index") or (
            (one.fact.kind, one.attribute) in STATEMENTS
        )
        if one.attribute is not None and kept:
            continue
        part = sides(one)[1 if upgrade else 0]
        if part is not None and part.kind in ("column", "constraint", "index"):
            parts[part.kind, part.name] = part
    return [*parts.values()]


def set_to(clause: str, absent: str, word: Callable[[str], str] = str) -> Statement:
    """Return the statement for an attribute of a table, or of a column.

    :param clause: with ``{}`` for the value
    :param absent: the value for one that there is not
    :param word: returns how a value stands in SQL
    """

    def write(fact: Fact, table: str, value: Value, other: Value) -> str | None:
        shown = absent if value is None else word(str(value))
        part = f"ALTER COLUMN {quote_name(fact.name)} " if fact.kind == "column" else ""
        return f"ALTER TABLE {table} {part}{clause.format(shown)}"

    return write


def options(prefix: str = "") -> Statement:
    """Return the statement for the options of a table, or of a column."""

    def write(fact: Fact, table: str, value: Value, other: Value) -> str | None:
        part = f"ALTER COLUMN {quote_name(fact.name)} " if fact.kind == "column" else ""
        changes = [part + clause for clause in changed_options(value, other, prefix)]
        return f"ALTER TABLE {table} {', '.join(changes)}" if changes else None

    return write


def changed_options(value: Value, other: Value, prefix: str = "") -> Iterator[str]:
    """Yield the clauses that give an object options in place of others, as facts have them.

    :param prefix: what stands before each name
    """
    new, old = (
        dict(part.partition("=")[::2] for part in str(one or "").split(", ") if part)
        for one in (value, other)
    )
    if given := [f"{prefix}{name} = {text}" for name, text in new.items() if old.get(name) != text]:
        yield f"SET ({', '.join(given)})"
    if gone := [prefix + name for name in old if name not in new]:
        yield f"RESET ({', '.join(gone)})"


def comment(what: str) -> Statement:
    """Return the statement for the comment of a part of a table."""

    def write(fact: Fact, table: str, value: Value, other: Value) -> str | None:
        text = "NULL" if value is None else literal(str(value))
        name = quote_name(fact.name)
        if what == "INDEX":
            return f"COMMENT ON INDEX {table} IS {text}"
        return f"COMMENT ON {what} {name} ON {table} IS {text}"

    return write


def of_index(write: Statement) -> Statement:
    """Return the statement for an attribute of an index, or of that of a constraint."""

    def write_index(fact: Fact, table: str, value: Value, other: Value) -> str | None:
        schema, dot, _ = table.rpartition(".")
        text = write(fact, f"{schema}{dot}{quote_name(fact.name)}", value, other)
        return text and text.replace("ALTER TABLE ", "ALTER INDEX ", 1)

    return write_index


#: How PostgreSQL's catalogue calls methods of compression.
COMPRESSION = {"p": "pglz", "l": "lz4"}

TABLESPACE = set_to("SET TABLESPACE {}", "pg_default", quote_name)


def validity(fact: Fact, table: str, value: Value, other: Value) -> str | None:
    """Return the statement that validates a constraint; none makes one invalid."""
    return None if value else f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote_name(fact.name)}"


STATEMENTS: Mapping[tuple[str, str], Statement] = {
    ("table", "access method"): set_to("SET ACCESS METHOD {}", "heap", quote_name),
    ("table", "options"): options(),
    ("table", "options of TOAST"): options("toast."),
    ("table", "persistence"): set_to("SET {}", "LOGGED", str.upper),
    ("table", "row security"): set_to("{} ROW LEVEL SECURITY", "DISABLE", lambda _: "ENABLE"),
    ("table", "row security for the owner"): set_to(
        "{} ROW LEVEL SECURITY", "NO FORCE", lambda _: "FORCE"
    ),
    ("table", "replica identity"): set_to("REPLICA IDENTITY {}", "DEFAULT", str.upper),
    ("table", "tablespace"): TABLESPACE,
    ("column", "storage"): set_to("SET STORAGE {}", "DEFAULT"),
    ("column", "compression"): set_to("SET COMPRESSION {}", "default", COMPRESSION.__getitem__),
    ("column", "statistics target"): set_to("SET STATISTICS {}", "-1"),
    ("column", "options"): options(),
    ("constraint", "comment"): comment("CONSTRAINT"),
    ("constraint", "not valid"): validity,
    ("constraint", "index comment"): of_index(comment("INDEX")),
    ("constraint", "index options"): of_index(options()),
    ("constraint", "index tablespace"): of_index(TABLESPACE),
    ("index", "comment"): of_index(comment("INDEX")),
    ("index", "tablespace"): of_index(TABLESPACE),
    ("trigger", "comment"): comment("TRIGGER"),
    ("policy", "comment"): comment("POLICY"),
}

#: What the operations say that create an object, or what is not said of a new one.
SAID = frozenset(
    {
        *(("table", "access method"), ("table", "options"), ("table", "options of TOAST")),
        *(("table", "persistence"), ("table", "tablespace"), ("index", "tablespace")),
        *(("constraint", "not valid"), ("constraint", "index options")),
        ("constraint", "index tablespace"),
    }
)
