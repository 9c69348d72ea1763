"""Values of enums that go while rows may have them: a warning with the UPDATE that is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy.engine import Dialect

from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.enums import literal
from websauna_migrate.models.sqlalchemy_internals import escaped

#: What the warnings have in common.
WRITE_BEFORE = "Change such rows before, in the database or above it in the script"

STRING = re.compile(r"'((?:[^']|'')*)'")

#: MariaDB and MySQL have backslashes in theirs.
ESCAPED_STRING = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)

#: A CHECK that lists the values of a column.
LISTED = re.compile(
    r"""\s*["`]?(\w+)["`]? IN \((\s*{0}(?:\s*,\s*{0})*\s*)\)\s*""".format(
        r"'(?:[^'\\]|''|\\.|\\)*'"
    ),
    re.DOTALL,
)

ESCAPED = frozenset({"mysql", "mariadb"})


def lost_value_advice(
    operations: Sequence[ops.MigrateOperation], dialect: Dialect
) -> Iterator[tuple[str, ScriptOp]]:
    """Yield a warning, and the comment with its UPDATE, for each column that loses values.

    :param dialect: that of the database
    """
    quote = dialect.identifier_preparer.quote
    for op in operations:
        if isinstance(op, EnumChange):
            gone = [one for one in op.before if one not in (*op.after, *dict(op.renamed))]
            for column in op.columns if gone else ():
                table = column.table
                names = [quote(one) for one in (table.schema, table.name, column.name) if one]
                if isinstance(column.type, sa.ARRAY):
                    for value in gone:
                        yield advice(column.name, names, [value], listed=True)
                else:
                    yield advice(column.name, names, gone)
    for schema, table_name, name, gone in lost_in_checks(operations, dialect):
        yield advice(name, [quote(one) for one in (schema, table_name, name) if one], gone)


def lost_in_checks(
    operations: Sequence[ops.MigrateOperation], dialect: Dialect
) -> Iterator[tuple[str | None, str, str, list[str]]]:
    """Yield the columns whose CHECK comes again without some values, each with these.

    :returns: schema, table, column and values
    """
    inner = [
        ((op.schema, op.table_name, str(getattr(one, "constraint_name", None))), one)
        for op in operations
        if isinstance(op, ops.ModifyTableOps)
        for one in op.ops
    ]
    old = {
        key: str(getattr(one.to_constraint(), "sqltext", ""))
        for key, one in inner
        if isinstance(one, ops.DropConstraintOp) and one.constraint_type == "check"
    }
    for key, one in inner:
        if not isinstance(one, ops.CreateCheckConstraintOp) or key not in old:
            continue
        match = LISTED.fullmatch(str(one.condition))
        if match is None:
            continue
        left = values_in(match[2], dialect)
        gone = [value for value in values_in(old[key], dialect) if value not in left]
        if gone:
            yield key[0], key[1], match[1], gone


def values_in(sql: str, dialect: Dialect) -> list[str]:
    """Return the string constants in some SQL."""
    if dialect.name in ESCAPED:
        found = [re.sub(r"\\(.)", r"\1", one[1]) for one in ESCAPED_STRING.finditer(sql)]
    else:
        found = [one[1] for one in STRING.finditer(sql)]
    return [one.replace("''", "'") for one in found]


def advice(
    column: str, names: Sequence[str], gone: Sequence[str], *, listed: bool = False
) -> tuple[str, ScriptOp]:
    """Return the warning of one column, and the comment in the script.

    :param names: of schema, if there is one, table and column, as the database reads them
    :param gone: the values that go
    :param listed: true if the column is an array
    """
    *table, name = names
    values = ", ".join(map(literal, gone))
    new, where = "...", f"{name} = {values}" if len(gone) == 1 else f"{name} IN ({values})"
    if listed:
        new, where = f"array_replace({name}, {values}, ...)", f"{values} = ANY ({name})"
    update = f"UPDATE {'.'.join(table)} SET {name} = {new} WHERE {where}"
    told = ", ".join(f'"{one}"' for one in gone)
    fails = (
        "goes, which fails if a row has it"
        if len(gone) == 1
        else ("go, which fails if a row has one of them")
    )
    head = (
        f'The value{"s" * (len(gone) > 1)} {told} of column "{column}" of table '
        f'"{".".join(table)}" {fails}. {WRITE_BEFORE}'
    )
    warning = f"{head}: {update}"

    def lines(context: AutogenContext) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        call = f"{prefix}execute({json.dumps(escaped(update), ensure_ascii=False)})"
        # A value is the author's own: the warning stays one line of comment.
        return [f"# WARNING: {' '.join(head.split())}:", f"#   {call}"]

    return warning, ScriptOp(("warning", warning), lines, lambda context: [])
