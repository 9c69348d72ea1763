"""What a script does to tables and types, as plain data, and which of it two scripts may not mix.

Scripts are read elsewhere. Here, each thing that a script does is an *access*: it makes, changes,
destroys or uses a table, some of its columns, or a type. Two accesses *conflict* if the order in
which they run makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from websauna_migrate.plain_text import in_quotes, plural
from websauna_migrate.planning.revisions import Revision

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
    "alter_column",
    "restrict_column",
    "rename_column",
    "read_table",
    "insert_rows",
    "write_table",
    "create_index",
    "drop_index",
    "add_constraint",
    "drop_constraint",
    "foreign_key",
    "create_type",
    "alter_type",
    "rename_type",
    "drop_type",
    "use_type",
    "create_view",
    "use_table",
    "comment_on",
    "drop_schema",
    "give_table",
    "take_table",
    "give_type",
    "take_type",
    "use_other_schema",
    "roll_back",
    "unreadable",
    "unreadable_part",
]

#: An operation that may do anything, and one of which a part is unknown, but that drops nothing.
UNREADABLE: tuple[Kind, ...] = ("unreadable", "unreadable_part")


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a script does.

    :ivar kind: what is done; ``alter_column`` changes a type, ``restrict_column`` NOT NULL or a
        default, ``write_table`` changes or deletes rows
    :ivar schema: schema of the table or type, as written; ``None`` where none was written
    :ivar name: the table or type; for a foreign key the table that has it
    :ivar columns: the columns; empty for all of them, or where they are not known
    :ivar new_name: the name after a rename, of the table, column or type
    :ivar new_schema: the schema after a rename of a table or type, changed or not
    :ivar target_schema: schema of the table that a foreign key references, as written
    :ivar target_table: the table that a foreign key references
    :ivar target_columns: the columns that it references; empty where the script leaves them out
    :ivar label: the name of an index or constraint
    :ivar line: line of the script, counted from 1
    :ivar sure: false for what the script may do, or may not
    :ivar rule: what all rows have to keep from then on: ``not null``, ``unique`` or ``enum value``
    :ivar values: those of an enum type; with ``enum value``, the only ones that are allowed
    """

    kind: Kind
    schema: str | None
    name: str
    columns: tuple[str, ...] = ()
    new_name: str | None = None
    new_schema: str | None = None
    target_schema: str | None = None
    target_table: str | None = None
    target_columns: tuple[str, ...] = ()
    label: str | None = None
    line: int = 0
    sure: bool = True
    rule: str | None = field(default=None, compare=False)
    values: tuple[str, ...] = field(default=(), compare=False)

    @property
    def column(self) -> str | None:
        """The one column; ``None`` if there are several or none."""
        return self.columns[0] if len(self.columns) == 1 else None

    @property
    def key(self) -> Key:
        """Schema and name."""
        return self.schema, self.name

    def __str__(self) -> str:
        """Return a verb and an object: ``drops column "nick" of table "users"``."""
        table = f'table "{full_name(*self.key)}"'
        columns = in_quotes(self.columns)
        of = f"{plural(len(self.columns), 'column')} {columns} of {table}"
        with_columns = f"{table} ({', '.join(self.columns)})" if self.columns else table
        type_ = f'type "{full_name(*self.key)}"'
        target = f'table "{full_name(self.target_schema, self.target_table or "")}"'
        new = f'"{full_name(self.new_schema, self.new_name or "")}"'
        words = {
            "create_table": f"creates {table}",
            "drop_table": f"drops {table}",
            "rename_table": f"renames {table} to {new}",
            "add_column": f"adds {of}",
            "drop_column": f"drops {of}",
            "alter_column": f"changes {of}",
            "restrict_column": f"changes {of}",
            "rename_column": f'renames {of} to "{self.new_name}"',
            "read_table": f"reads {table}",
            "insert_rows": f"inserts into {table}",
            "write_table": f"writes {table}",
            "create_index": f"makes an index of {with_columns}",
            "drop_index": f'drops index "{self.label}" of {table}',
            "add_constraint": f"adds a constraint to {with_columns}",
            "drop_constraint": f'drops constraint "{self.label}" of {table}',
            "foreign_key": f"has a foreign key to {target}",
            "create_type": f"creates {type_}",
            "alter_type": f"changes {type_}",
            "rename_type": f"renames {type_}",
            "drop_type": f"drops {type_}",
            "use_type": f"uses {type_}",
            "create_view": f"has a view of {table}",
            "use_table": f"uses {table}",
            "comment_on": f"comments on {with_columns}",
            "drop_schema": f'drops schema "{self.name}"',
        }
        return words.get(self.kind, self.kind)


class Conflict(NamedTuple):
    """Two accesses whose order makes a difference."""

    one: Access
    other: Access


class Touch(NamedTuple):
    """How an access is about one object.

    :ivar thing: ``("table", schema, name)``, ``("type", schema, name)`` or ``("schema", "", name)``
    :ivar role: a key of :data:`AGAINST`
    :ivar columns: of a table; empty for all
    """

    thing: tuple[str, str, str]
    role: str
    columns: tuple[str, ...]


def against(
    *, every: Sequence[str] = (), common: Sequence[str] = (), named: Sequence[str] = ()
) -> dict[str, str]:
    """Return what a role cannot be mixed with.

    :param every: roles that it cannot be mixed with whatever the columns
    :param common: where they have a column in common; all columns count as any
    :param named: only where both name it
    """
    return {
        role: how
        for how, roles in (("all", every), ("common", common), ("named", named))
        for role in roles
    }


NEEDS_COLUMN = ("change", "restrict", "constrain", "refer", "own")
SEES_COLUMN = ("view", "read", "insert")
ON_TABLE = ("make column", "destroy column", *NEEDS_COLUMN, *SEES_COLUMN)

AGAINST = {
    "destroy": against(every=("make", *ON_TABLE, "write", "label", "unlabel")),
    "make": against(every=(*ON_TABLE, "write", "label", "unlabel")),
    "make column": against(named=("destroy column", *NEEDS_COLUMN, "write"), common=SEES_COLUMN),
    "destroy column": against(named=NEEDS_COLUMN, common=(*SEES_COLUMN, "write")),
    "change": against(
        common=("change", "restrict", *SEES_COLUMN, "write"), named=("constrain", "refer", "own")
    ),
    "restrict": against(common=("restrict", "insert", "write")),
    "constrain": against(named=("refer", "write")),
    "read": against(every=("insert",), common=("write",)),
    "insert": against(every=("write",)),
    "write": against(common=("write",)),
    "label": against(named=("unlabel",)),
}

ROLES: dict[Kind, str] = {
    "create_table": "make",
    "drop_table": "destroy",
    "rename_table": "destroy",
    "add_column": "make column",
    "drop_column": "destroy column",
    "rename_column": "destroy column",
    "alter_column": "change",
    "restrict_column": "restrict",
    "read_table": "read",
    "insert_rows": "insert",
    "write_table": "write",
    "create_index": "constrain",
    "add_constraint": "constrain",
    "foreign_key": "own",
    "create_type": "make",
    "alter_type": "change",
    "rename_type": "destroy",
    "drop_type": "destroy",
    "use_type": "own",
    "create_view": "view",
    "use_table": "own",
    "comment_on": "own",
    "drop_schema": "destroy",
}

LABELLED: dict[Kind, str] = {
    "create_index": "label",
    "add_constraint": "label",
    "foreign_key": "label",
    "drop_index": "unlabel",
    "drop_constraint": "unlabel",
}

#: Schemas that a name without one is in.
DEFAULT_SCHEMAS = frozenset({None, "public", "main"})


def thing_of(kind: str, key: Key) -> tuple[str, str, str]:
    """Return what a table or type is known by, however its default schema was written."""
    schema, name = key
    return kind, "" if schema in DEFAULT_SCHEMAS else str(schema), name


def touches(access: Access) -> Iterator[Touch]:
    """Yield the objects that an access is about; none for what cannot be read."""
    kind = access.kind
    if kind == "drop_schema":
        yield Touch(("schema", "", access.name), "destroy", ())
        return
    what = "type" if kind.endswith("_type") else "table"
    thing = thing_of(what, access.key)
    if kind in ROLES:
        yield Touch(thing, ROLES[kind], () if kind == "create_table" else access.columns)
        if access.schema is not None:
            yield Touch(("schema", "", access.schema), "own", ())
    if kind in LABELLED and access.label:
        yield Touch(thing, LABELLED[kind], (access.label,))
    if kind in ("rename_table", "rename_type") and access.new_name:
        yield Touch(thing_of(what, (access.new_schema, access.new_name)), "make", ())
    elif kind == "rename_column" and access.new_name:
        yield Touch(thing, "make column", (access.new_name,))
    elif kind == "foreign_key" and access.target_table:
        target = thing_of("table", (access.target_schema, access.target_table))
        yield Touch(target, "refer", access.target_columns)


def do_conflict(one: Touch, other: Touch) -> bool:
    """Return whether the order of two touches of the same object makes a difference."""
    how = AGAINST.get(one.role, {}).get(other.role) or AGAINST.get(other.role, {}).get(one.role)
    if how is None or how == "all":
        return how is not None
    if not one.columns or not other.columns:
        return how == "common"
    return not set(one.columns).isdisjoint(other.columns)


def conflicts(some: Iterable[Access], others: Iterable[Access]) -> tuple[Conflict, ...]:
    """Return the accesses of two scripts whose order makes a difference, each pair once."""
    known: dict[tuple[str, str, str], list[tuple[Touch, Access]]] = {}
    for access in others:
        for touch in touches(access):
            known.setdefault(touch.thing, []).append((touch, access))
    found: dict[Conflict, None] = {}
    for access in some:
        for touch in touches(access):
            for other, second in known.get(touch.thing, ()):
                if do_conflict(touch, other):
                    found.setdefault(Conflict(access, second))
    return tuple(found)


def split_name(text: str) -> Key:
    """Return the schema, ``None`` if none is written, and the name of ``schema.name``."""
    schema, _, name = text.rpartition(".")
    return schema or None, name


def full_name(schema: str | None, name: str) -> str:
    """Return ``schema.name``, or the name alone where no schema is known."""
    return f"{schema}.{name}" if schema else name


def what_is_given(revision: Revision) -> Iterator[Access]:
    """Yield what a revision gives away; it comes after all else that the revision does.

    A table moves by two revisions, one in each package, which do nothing in the database:
    ``gives_tables = {"offers": "shop"}`` in a script of the package that had it, and
    ``takes_tables = {"offers": "app"}`` in one of the package that gets it, which requires the
    first.
    """
    for text, _ in revision.gives_tables:
        yield Access("give_table", *split_name(text))
    for text, _ in revision.gives_types:
        yield Access("give_type", *split_name(text))


def what_is_taken(revision: Revision) -> Iterator[Access]:
    """Yield what a revision takes over; it comes before all else that the revision does."""
    for text, _ in revision.takes_types:
        yield Access("take_type", *split_name(text))
    for text, _ in revision.takes_tables:
        yield Access("take_table", *split_name(text))
