"""Alembic's operations: what each call of ``op``, or of a batch, does to tables and types."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace

from websauna_migrate.planning.accesses import Access, Key, Kind
from websauna_migrate.revision_scripts.core_statements import table_of
from websauna_migrate.revision_scripts.script_names import UNKNOWN, Call, Names
from websauna_migrate.revision_scripts.sql_text import UNKNOWN_PART, names_in

ENUMS = frozenset({"Enum", "ENUM"})

#: Operations that do nothing to tables, columns and types.
HARMLESS = frozenset(
    {
        *("add_enum_value", "create_entity", "drop_entity", "replace_entity", "sync_enum_values"),
        *("get_bind", "get_context", "implementation_for", "inline_literal"),
        *("register_operation", "f"),
    }
)


class UnreadableError(Exception):
    """An operation depends on what cannot be read.

    :ivar kind: whether it may do anything, or makes or changes something that has no known name
    """

    def __init__(self, kind: Kind = "unreadable_part") -> None:
        self.kind: Kind = kind


def known(text: str | None, kind: Kind = "unreadable_part") -> str:
    """Return a name that must be literal."""
    if text is None:
        raise UnreadableError(kind)
    return text


def key_of(call: Call, position: int, *names: str, schema: int | None = None) -> Key:
    """Return schema and name of the table that an operation is about."""
    found = call.value(schema, "schema")
    if found is UNKNOWN and schema is not None and len(call.args) <= schema:
        found = call.value(None, "schema")
    if not (found is None or (isinstance(found, str) and UNKNOWN_PART not in found)):
        raise UnreadableError
    return found or None, known(call.text(position, *names))


def columns_of(call: Call, position: int, *names: str) -> tuple[str, ...]:
    """Return the columns that an argument lists; those in SQL expressions too, none if unknown."""
    value = call.value(position, *names)
    parts = value if isinstance(value, list) else [value]
    found: list[str] = []
    for part in parts:
        if not isinstance(part, str):
            return ()
        found += [part] if part.isidentifier() else names_in(part)
    return tuple(found)


def built(node: ast.expr, names: Names) -> tuple[str, Call] | None:
    """Return the last part of what a call builds, and its arguments: ``Column``, ``ForeignKey``."""
    node = names.resolve(node)
    if not isinstance(node, ast.Call):
        return None
    dotted = names.dotted(node.func)
    if dotted is None:
        return None
    name = dotted.rpartition(".")[2]
    return ("mysql." if ".mysql." in dotted else "") + name, Call(node, names)


# Types


def created_types(node: ast.expr, names: Names, table_schema: str | None) -> Iterator[Access]:
    """Yield the named types that a column's expression creates or uses, however deep in it."""
    waiting, seen = [node], set()
    while waiting:
        one = names.resolve(waiting.pop(0))
        if id(one) in seen or not isinstance(one, ast.Call):
            continue
        seen.add(id(one))
        found = built(one, names)
        kind = found[0] if found else ""
        if kind.endswith("Constraint"):
            continue
        call = Call(one, names)
        if kind in ENUMS or kind == "DOMAIN":
            yield from named_type(kind, call, table_schema)
        if isinstance(one.func, ast.Attribute):
            # PostgreSQL, which alone has such types, has the variant in place of what it is of.
            is_variant = one.func.attr == "with_variant" and "postgresql" in map(
                names.literal, call.args[1:]
            )
            waiting += [] if is_variant else [one.func.value]
        waiting += [*call.args, *call.keywords.values()]


def named_type(kind: str, call: Call, table_schema: str | None) -> Iterator[Access]:
    """Yield that a type is created with its column, or used."""
    if call.value(None, "native_enum") is False:
        return
    try:
        key = type_key(kind, call, table_schema)
    except UnreadableError:
        yield Access("unreadable_part", None, "", sure=False)
        return
    if key is not None:
        uses = call.value(None, "create_type") is False
        values = enum_values(call) if kind in ENUMS else ()
        yield Access("use_type" if uses else "create_type", *key, values=values)


def enum_values(enum: Call) -> tuple[str, ...]:
    """Return the values of an ``Enum("a", "b")``; none where they are not all literal."""
    values = [enum.names.resolve(one) for one in enum.args]
    texts = [one.value for one in values if isinstance(one, ast.Constant)]
    return tuple(map(str, texts)) if len(texts) == len(values) else ()


def type_key(kind: str, call: Call, table_schema: str | None) -> Key | None:
    """Return schema and name of an enum type or domain; ``None`` if it is no type by itself."""
    schema = call.value(None, "schema")
    if schema is None and call.value(None, "inherit_schema") is True:
        schema = table_schema
    if not (schema is None or isinstance(schema, str)):
        raise UnreadableError
    if kind == "DOMAIN":
        return schema, known(call.text(0, "name"))
    if "name" in call.keywords:
        name = call.value(None, "name")
        return None if name is None else (schema, known(call.text(None, "name")))
    # Without a name SQLAlchemy takes that of the Python enum class.
    if len(call.args) == 1:
        (one,) = call.args
        dotted = call.names.dotted(one)
        if dotted is not None:
            return schema, dotted.rpartition(".")[2].lower()
        if isinstance(one, ast.Name) and call.names.class_of(one.id) is not None:
            return schema, one.id.lower()
    return None


# Foreign keys


def foreign_keys(node: ast.expr, names: Names, key: Key) -> Iterator[Access]:
    """Yield the foreign keys of a column or of a foreign key constraint."""
    found = built(node, names)
    if found is None:
        return
    kind, call = found
    if kind == "ForeignKeyConstraint":
        targets = [split_target(text) for text in columns_listed(call, 1, "refcolumns")]
        label = call.text(None, "name")
        yield foreign_key(
            key,
            columns_of(call, 0, "columns"),
            targets[0][0] if targets else None,
            tuple(column for _, column in targets if column is not None),
            label,
        )
        return
    own = call.text(0, "name")
    for one in call.args:
        inner = built(one, names)
        if inner is not None and inner[0] == "ForeignKey":
            text = inner[1].text(0, "column")
            table, column = split_target(text) if text else (None, None)
            remote = () if column is None else (column,)
            local = () if own is None else (own,)
            yield foreign_key(key, local, table, remote, inner[1].text(None, "name"))


def columns_listed(call: Call, position: int, *names: str) -> list[str]:
    """Return a list of strings that must all be literal; empty if they are not."""
    value = call.value(position, *names)
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        return []
    return value


def foreign_key(
    key: Key, local: tuple[str, ...], target: Key | None, remote: tuple[str, ...], label: str | None
) -> Access:
    """Return one foreign key; one whose target is not literal is unreadable."""
    if target is None:
        return Access("unreadable_part", None, "", sure=False)
    return Access(
        "foreign_key",
        *key,
        local,
        target_schema=target[0],
        target_table=target[1],
        target_columns=remote,
        label=label,
    )


def split_target(text: str) -> tuple[Key, str | None]:
    """Return table and column of ``schema.table.column``; the table alone may be written too."""
    *before, last_part = text.split(".")
    if not before:
        return (None, last_part), None
    *schema, table = before
    return (".".join(schema) or None, table), last_part


# Operations


def create_table(call: Call, table: Key | None) -> Iterator[Access]:
    schema, name = table or key_of(call, 0, "table_name", "name")
    parts = call.args[1:]
    columns = []
    for part in parts:
        yield from created_types(part, call.names, schema)
        found = built(part, call.names)
        if found is not None and not found[0].endswith(("Constraint", "Index", "Identity")):
            columns.append(found[1].text(0, "name") or UNKNOWN_PART)
    # Options that are not written out may be prefixes.
    all_written = all(one.arg is not None for one in call.node.keywords)
    said = (call.get(None, "prefixes"), call.get(None, "if_not_exists"))
    sure = all_written and said == (None, None)
    complete = (
        not call.open
        and UNKNOWN_PART not in columns
        and len(columns) == len([one for one in parts if not is_constraint(one, call.names)])
    )
    yield Access("create_table", schema, name, tuple(columns) if complete else (), sure=sure)
    for part in parts:
        yield from foreign_keys(part, call.names, (schema, name))
        if is_constraint(part, call.names) is None:
            yield Access("unreadable_part", None, "", sure=False)
    if call.open:
        yield Access("unreadable_part", None, "", sure=False)


def is_constraint(node: ast.expr, names: Names) -> bool | None:
    """Return whether a part of a table is a constraint or index; ``None`` if it is unreadable."""
    found = built(node, names)
    return None if found is None else found[0].endswith(("Constraint", "Index"))


def drop_table(call: Call, table: Key | None) -> Iterator[Access]:
    yield Access("drop_table", *(table or drops(call, 0, "table_name", "name")))


def drops(call: Call, position: int, *names: str, schema: int | None = None) -> Key:
    """Return the table that an operation drops; one that is not literal may be any."""
    try:
        return key_of(call, position, *names, schema=schema)
    except UnreadableError as exc:
        raise UnreadableError("unreadable") from exc


def rename_table(call: Call, table: Key | None) -> Iterator[Access]:
    schema, name = drops(call, 0, "old_table_name", schema=2)
    new_name = known(call.text(1, "new_table_name"), "unreadable")
    yield Access("rename_table", schema, name, new_name=new_name, new_schema=schema)


def add_column(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 0, "table_name", schema=2)
    node = call.get(0 if table else 1, "column")
    found = None if node is None else built(node, call.names)
    if node is None or found is None:
        raise UnreadableError
    name = known(found[1].text(0, "name"))
    yield from created_types(node, call.names, key[0])
    sure = call.get(None, "if_not_exists") is None
    rule = "not null" if has_no_value(found[1]) else None
    yield Access("add_column", *key, (name,), sure=sure, rule=rule)
    yield from foreign_keys(node, call.names, key)


def has_no_value(column: Call) -> bool:
    """Whether a new column is NOT NULL, and nothing gives the rows that are there a value."""
    if column.value(None, "nullable") is not False or column.open:
        return False
    made = {found[0] for one in column.args if (found := built(one, column.names)) is not None}
    return not (
        {"server_default", "primary_key"} & column.keywords.keys()
        or {"Identity", "Computed", "Sequence", "FetchedValue"} & made
    )


def drop_column(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 0, "table_name", schema=2)
    yield Access("drop_column", *key, (known(call.text(0 if table else 1, "column_name")),))


def alter_column(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 0, "table_name")
    columns = (known(call.text(0 if table else 1, "column_name")),)
    new_type = call.get(None, "type_")
    if new_type is not None:
        for one in created_types(new_type, call.names, key[0]):
            yield replace(one, kind="use_type") if one.kind == "create_type" else one
        found = built(new_type, call.names)
        is_enum = found is not None and found[0].removeprefix("mysql.") in ENUMS
        values = enum_values(found[1]) if found is not None and is_enum else ()
        rule = "enum value" if values else None
        yield Access("alter_column", *key, columns, rule=rule, values=values)
    elif {"nullable", "server_default", "default"} & call.keywords.keys():
        rule = "not null" if call.value(None, "nullable") is False else None
        yield Access("restrict_column", *key, columns, rule=rule)
    if call.get(None, "new_column_name", "name") is not None:
        new_name = known(call.text(None, "new_column_name", "name"))
        yield Access("rename_column", *key, columns, new_name=new_name)


def create_foreign_key(call: Call, table: Key | None) -> Iterator[Access]:
    shift = 0 if table is None else -1
    own = call.value(None, "source_schema")
    referred = call.value(None, "referent_schema")
    if any(not (one is None or isinstance(one, str)) for one in (own, referred)):
        raise UnreadableError
    key = table or (own, known(call.text(1, "source_table", "source")))
    target = call.text(2 + shift, "referent_table", "referent")
    yield foreign_key(
        key,  # type: ignore[arg-type]  # its schema was looked at above
        columns_of(call, 3 + shift, "local_cols"),
        None if target is None else (referred, target),  # type: ignore[arg-type]
        tuple(columns_listed(call, 4 + shift, "remote_cols")),
        call.text(0, "constraint_name", "name"),
    )


def constraint(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 1, "table_name", "source")
    columns = columns_of(call, 1 if table else 2, "columns", "local_cols", "condition")
    yield Access("add_constraint", *key, columns, label=call.text(0, "constraint_name", "name"))


def unique_constraint(call: Call, table: Key | None) -> Iterator[Access]:
    yield from (replace(access, rule="unique") for access in constraint(call, table))


def create_index(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 1, "table_name", "tablename")
    columns = columns_of(call, 1 if table else 2, "columns")
    rule = "unique" if call.value(None, "unique") is True else None
    yield Access("create_index", *key, columns, label=call.text(0, "index_name", "name"), rule=rule)


def drop_index(call: Call, table: Key | None) -> Iterator[Access]:
    if table or call.get(1, "table_name", "tablename") is not None:
        key = table or key_of(call, 1, "table_name", "tablename")
        yield Access("drop_index", *key, label=call.text(0, "index_name", "name"))


def drop_constraint(call: Call, table: Key | None) -> Iterator[Access]:
    key = table or key_of(call, 1, "table_name", "tablename")
    yield Access("drop_constraint", *key, label=call.text(0, "constraint_name", "name"))


def comment(call: Call, table: Key | None) -> Iterator[Access]:
    yield Access("comment_on", *(table or key_of(call, 0, "table_name")))


def bulk_insert(call: Call, table: Key | None) -> Iterator[Access]:
    node = call.get(0, "table")
    found = None if node is None else table_of(node, call.names)
    if found is None:
        raise UnreadableError
    yield Access("insert_rows", *found[0], found[1])


Reader = Callable[[Call, Key | None], Iterator[Access]]

#: What reads each operation; the second argument is the table of the batch that it stands in.
OPERATIONS: dict[str, Reader] = {
    "create_table": create_table,
    "drop_table": drop_table,
    "rename_table": rename_table,
    "add_column": add_column,
    "drop_column": drop_column,
    "alter_column": alter_column,
    "create_foreign_key": create_foreign_key,
    "create_unique_constraint": unique_constraint,
    "create_check_constraint": constraint,
    "create_primary_key": unique_constraint,
    "create_exclude_constraint": constraint,
    "create_index": create_index,
    "drop_index": drop_index,
    "drop_constraint": drop_constraint,
    "create_table_comment": comment,
    "drop_table_comment": comment,
    "bulk_insert": bulk_insert,
}


def read_operation(name: str, call: Call, table: Key | None = None) -> list[Access]:
    """Return what one operation does; what cannot be read of it is an access too.

    :param table: of the batch block that it stands in
    """
    if name in HARMLESS:
        return []
    reader = OPERATIONS.get(name)
    found: list[Access] = []
    try:
        if reader is None:
            raise UnreadableError("unreadable")
        for access in reader(call, table):
            found.append(access)
    except UnreadableError as exc:
        found.append(Access(exc.kind, None, "", sure=False))
    return found
