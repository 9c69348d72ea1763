"""What databases keep besides: options, storage, comments of constraints and the like.

Alembic has no operation for these. On PostgreSQL and MariaDB each is a statement that gives an
object the value of a side; SQLite's table is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from alembic.operations import ops
from sqlalchemy import Table

from websauna_migrate.autogenerate.compare.constraints import sides
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, columns_in, told
from websauna_migrate.autogenerate.operations.column_types import collated
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.server_statements import qualified, statements
from websauna_migrate.autogenerate.operations.table_changes import ComputedColumns, TableChanges
from websauna_migrate.autogenerate.operations.type_change import FURTHER_STEP
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.enums import literal
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import AS_WRITTEN, Fact, Value
from websauna_migrate.facts.mysql import column_definition, own_check, quoted, quoted_key
from websauna_migrate.facts.postgresql import make_name, quote_name

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


# MariaDB and MySQL: options of tables and words of columns, as the server itself writes them

OPTIONS = frozenset({"engine", "collation", "row format", AS_WRITTEN})

#: What a statement says for an option that a table is not to have any more.
WITHOUT = {
    "CHECKSUM": "0",
    "DELAY_KEY_WRITE": "0",
    "KEY_BLOCK_SIZE": "0",
    "PACK_KEYS": "DEFAULT",
    "PAGE_CHECKSUM": "DEFAULT",
    "STATS_AUTO_RECALC": "DEFAULT",
    "STATS_PERSISTENT": "DEFAULT",
    "STATS_SAMPLE_PAGES": "DEFAULT",
    "TRANSACTIONAL": "DEFAULT",
    "`PAGE_COMPRESSED`": "DEFAULT",
}

#: AUTO_INCREMENT, ON UPDATE, INVISIBLE and the like.
WORDS = frozenset({"extra", AS_WRITTEN})


def mysql_option_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of a table's options; columns that change take its new character set."""
    changed = (one for one in found.of(key) if one.fact.kind == "table")
    one = next((one for one in changed if one.attribute in OPTIONS), None)
    if one is None or one.other is None:
        return
    diff = ("change_attribute", told(one))
    up, down = (
        [f"ALTER TABLE {quoted_key(key)} {words}" for words in mysql_options(*sides)]
        for sides in ((one.other, one.fact), (one.fact, one.other))
    )
    yield statements(diff, up, down, "mysql")


def mysql_options(fact: Fact, other: Fact) -> Iterator[str]:
    """Yield a table's options as the server writes them, and what it leaves out.

    An option of an engine goes once the table has another one.

    :param other: the table on the other side, whose options stay unless a statement says otherwise
    """
    (written, parts), (gone, other_parts) = (
        re.split(r"\n\s*(?=PARTITION BY )|$", str(one.get(AS_WRITTEN)), maxsplit=1)
        for one in (fact, other)
    )
    yield written if "ROW_FORMAT=" in written else f"{written} ROW_FORMAT=DEFAULT"
    left = [
        f"{name}={nothing}"
        for name, nothing in WITHOUT.items()
        if f" {name}=" in gone and f" {name}=" not in written
    ]
    if left:
        yield " ".join(left)
    if parts != other_parts:
        yield parts or "REMOVE PARTITIONING"


def column_changes(
    key: Key, found: FoundDifferences, others: Collection[str], *, first: bool
) -> Iterator[ScriptOp]:
    """Yield the changes of columns that no operation of Alembic's makes.

    Alembic's operations on a column leave these words out: they come behind those in the upgrade,
    and, as a script is undone from its end, before them in the list for the downgrade.

    :param others: the columns that have an operation of Alembic's
    :param first: whether what is wanted is to stand before Alembic's operations
    """
    done = set()
    for one in found.of(key):
        name = one.fact.name
        if one.fact.kind != "column" or name in done or one.fact.get("generated"):
            continue
        if one.other is None:
            if first and one.left and own_check(one.fact):
                done.add(name)
                yield check_drop(key, one)
            continue
        has_check = own_check(one.fact) != own_check(one.other)
        if one.other.get("generated") or not (has_check or one.attribute in WORDS):
            continue
        if name in others and not has_check and (one.attribute != "extra" or is_numbered(one)):
            continue
        done.add(name)
        up, down = (modified(key, name, column_definition(side)) for side in (one.other, one.fact))
        sides = ([], [down]) if first else ([up], [])
        yield statements(("change_attribute", told(one)), *sides, "mysql")


def keep_collations(changes: TableChanges, found: FoundDifferences, key: Key) -> None:
    """Let columns that go name their collations, where that of their table changes as well.

    They come back before it does.
    """
    if not any(one.fact.kind == "table" and one.attribute in OPTIONS for one in found.of(key)):
        return
    there = columns_in(found.in_database(key))
    for op in [one for one in changes.ops if isinstance(one, ops.DropColumnOp)]:
        if op.column_name in there and (collation := there[op.column_name].get("collation")):
            column = op.to_column()
            column.type = collated(column.type, str(collation))


def index_aside(key: Key, column: str) -> ScriptOp:
    """Return the creation of an index for the time in which a table has no primary key.

    MariaDB keeps no numbered column without one.
    """
    name = quoted(make_name(key[1], column, "aside"))
    create = f"CREATE INDEX {name} ON {quoted_key(key)} ({quoted(column)})"
    drop = f"DROP INDEX {name} ON {quoted_key(key)}"
    return statements(("index_aside", *key, column), [create], [drop], "mysql")


def check_drop(key: Key, one: Difference) -> ScriptOp:
    """Return the drop of the CHECK of a column that goes: other columns may stand in it.

    The column comes back by Alembic's operation, which knows of none.
    """
    name, whole = one.fact.name, column_definition(one.fact)
    plain = whole.removesuffix(own_check(one.fact))
    diff = ("remove_constraint", "check", *key, name)
    return statements(diff, [modified(key, name, plain)], [modified(key, name, whole)], "mysql")


def modified(key: Key, name: str, definition: str) -> str:
    """Return the statement that gives a column another definition."""
    return f"ALTER TABLE {quoted_key(key)} MODIFY {quoted(name)} {definition}"


def is_numbered(one: Difference) -> bool:
    """Tell whether a difference is AUTO_INCREMENT alone, which Alembic's operations know."""
    return {one.left, one.right} <= {None, "auto_increment"}


def mysql_sequence_changes(key: Key, found: FoundDifferences) -> Iterator[ScriptOp]:
    """Yield the change of the options of a sequence that both sides have."""
    for one in found.of(key):
        if one.fact.kind != "sequence" or one.attribute != "definition" or one.other is None:
            continue
        name = quoted_key(key)
        up, down = (
            f"ALTER SEQUENCE {name} {str(fact.get('definition')).partition(' ENGINE')[0]}"
            for fact in (one.other, one.fact)
        )
        yield statements(("change_sequence", *key, told(one)), [up], [down], "mysql")


# SQLite: options of tables, and what it does with rows that break a constraint

#: Options that say what a table's columns may be. Where one goes, it goes before these change.
STRICT = ("strict", "autoincrement")


def sqlite_option_changes(
    table: Table,
    key: Key,
    found: FoundDifferences,
    checks: Sequence[str],
    computed: ComputedColumns,
    *,
    first: bool,
) -> Iterator[TableChanges]:
    """Yield the change of a table's options.

    :param checks: sources of the CHECK constraints without a name that the table has by then
    :param computed: the computed columns that it has by then
    :param first: those that come before the changes of columns, else those behind
    """
    old, new = sqlite_options(found.in_database(key)), sqlite_options(found.in_models(key))
    names = [
        name for name in old if old[name] != new[name] and first is (name in STRICT and old[name])
    ]
    told = ("table options", str(table.name), *names)
    if not names:
        return
    change = TableChanges(str(table.name), [ScriptOp(told, nothing, nothing)], schema=table.schema)
    change.recreate = True
    change.databases = ("sqlite",)
    change.computed = computed
    change.options = (
        {f"sqlite_{name}": new[name] for name in names},
        {f"sqlite_{name}": old[name] for name in names},
    )
    change.table_args = (checks, checks)
    yield change


def nothing(context: object) -> list[str]:
    """Return the lines of a batch that changes nothing besides."""
    return ["pass"]


def sqlite_options(facts: Sequence[Fact]) -> dict[str, bool]:
    """Return a table's options by SQLAlchemy's names."""
    written = next((str(one.get("options")) for one in facts if one.kind == "table"), "")
    return {
        "with_rowid": "WITHOUT ROWID" not in written,
        "strict": "STRICT" in written,
        "autoincrement": any(one.get("autoincrement") for one in facts if one.kind == "column"),
    }


def require_no_conflict(package: str, key: Key, found: FoundDifferences) -> None:
    """Refuse a change of ON CONFLICT that no operation of Alembic can make.

    :raises RevisionFailed: naming it
    """
    for one in found.of(key):
        sides = (one.left, one.right)
        of_column = one.attribute == "not null" and any(isinstance(s, str) for s in sides)
        of_key = one.fact.kind == "constraint" and any(
            text.startswith("PRIMARY KEY") and " ON CONFLICT " in text
            for text in (*map(str, sides), str(one.fact.get("definition")))
        )
        if of_column or of_key:
            what = f'column "{one.fact.name}"' if of_column else "primary key"
            raise cannot_render(
                package,
                f'the {what} of table "{key[1]}"',
                "has another ON CONFLICT than in the database, which no operation of Alembic's "
                "changes in a table that is there.",
                "Write the revision by hand, without --autogenerate: op.batch_alter_table("
                f'"{key[1]}", copy_from=..., recreate="always"), where copy_from is an sa.Table '
                "as the table is to be.",
            )
