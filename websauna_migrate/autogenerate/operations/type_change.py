"""Changes of a column's type, in steps that every database can take with the data kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.dialects.postgresql.ranges import AbstractRange
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import Computed, DefaultClause, Identity
from sqlalchemy.types import SchemaType, TypeEngine

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialect_of, written_for
from websauna_migrate.autogenerate.operations.column_types import portable
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, mark
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.type_words import words_in_ddl

#: PostgreSQL has no cast between these and UUID: a number stands in the last digits of one.
INTEGERS = frozenset({"SMALLINT", "INTEGER", "BIGINT"})


#: Numbers, and bits, that have no cast to and from BOOLEAN.
OTHER_NUMBER = re.compile(
    r"(SMALLINT|BIGINT|NUMERIC|DECIMAL|FLOAT|REAL|DOUBLE PRECISION|BIT\()[^\[\]]*$"
)

#: What a further step of a change is, which is told already.
FURTHER_STEP = ("further_step",)

#: Types of strings, and those that have a length.
TEXT = re.compile(r"VARCHAR|CHAR\b|TEXT$")
SHORT_TEXT = re.compile(r"(?:VAR)?CHAR\((\d+)\)")

#: Types that a cast cuts values off for, without a word. What is assigned to one is checked.
CUTTING = re.compile(r"(VARCHAR|BIT VARYING)\(\d+\)|\bCHAR\b(?:\(\d+\))?")

#: Types whose values are texts, which are bytes in UTF-8.
READABLE = re.compile(r"(VARCHAR|CHAR|TEXT|JSONB?)\b[^\[]*$")


class TypeChange(ops.AlterColumnOp):
    """A change of a column's type that says to PostgreSQL how values are converted.

    :ivar numbered: whether MariaDB numbers the column, before and behind, where that changes
    :ivar only: the databases that see it, where the author's does not
    :ivar words: what the type is on these, before and behind; none for a further step of a change
    :ivar whole: the change that this is the first step of, where the author's database sees it
    """

    numbered: tuple[bool, bool] | None = None
    only: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, str]] = {}
    whole: TypeChange | None = None

    def to_diff_tuple(self) -> Any:
        """Return the difference; that of other databases has their words."""
        if self.whole is not None:
            return self.whole.to_diff_tuple()
        if not self.only:
            return super().to_diff_tuple()
        if not self.words:
            return FURTHER_STEP
        schema = f"{self.schema}." if self.schema else ""
        told = ", ".join(f"{old} -> {new} on {one}" for one, (old, new) in self.words.items())
        return ("modify_type_of", f"{schema}{self.table_name}.{self.column_name}: {told}")

    def reverse(self) -> ops.AlterColumnOp:
        """Return the change back; Alembic's own has the AUTO_INCREMENT of the way there."""
        back = super().reverse()
        if isinstance(back, TypeChange) and self.numbered is not None:
            back.numbered = (self.numbered[1], self.numbered[0])
            back.kw.pop("autoincrement", None)
            if back.numbered[1]:
                back.kw["autoincrement"] = True
        return back


@renderers.dispatch_for(TypeChange)
def render_type_change(context: AutogenContext, operation: TypeChange) -> str:
    """Return the source of a change of a type."""
    plain = ops.AlterColumnOp(operation.table_name, operation.column_name)
    plain.__dict__.update(operation.__dict__)
    for name in ("existing_type", "modify_type"):
        if (given := getattr(plain, name)) is not None:
            setattr(plain, name, portable(given, context))
    rendered: str = renderers.dispatch(plain)(context, plain)
    databases = written_for(context)
    if operation.kw.get("autoincrement") and set(databases) == {"postgresql"}:
        rendered = re.sub(r",\s*autoincrement=True", "", rendered)
    elif operation.kw.get("autoincrement"):
        # PostgreSQL warns of the word.
        prefix = context.opts["alembic_module_prefix"]
        mysql = f"{prefix}get_context().dialect.name in ('mysql', 'mariadb')"
        rendered = rendered.replace(
            "autoincrement=True", f"autoincrement=True if {mysql} else None"
        )
    using = conversion(plain)
    if using is None or "postgresql" not in databases:
        return rendered
    return f"{rendered[:-1]},\n           postgresql_using={using!r})"


def conversion(operation: ops.AlterColumnOp) -> str | None:
    """Return PostgreSQL's expression that converts a column, ``None`` if it needs none."""
    old = name_of(operation.existing_type)
    new = name_of(operation.modify_type)
    if old is None or new is None:
        return None
    arrays = [one.endswith("[]") for one in (old, new)]
    alike = old.partition("(")[0] == new.partition("(")[0] and arrays[0] == arrays[1]
    if alike and not (old != new and new[:4] == "BIT("):
        # PostgreSQL takes a BIT for one of another length by a cast alone.
        return None
    column = quote_name(operation.column_name)
    types = [one for one in (operation.existing_type, operation.modify_type) if one is not None]
    whole = CUTTING.sub(lambda found: found[1] or "TEXT", new, count=1)
    if all(isinstance(one, AbstractRange) for one in types):
        return range_conversion(column, old, new)
    if "BOOLEAN" in (old, new) and any(OTHER_NUMBER.match(one) for one in (old, new)):
        # A truth value is cast to and from INTEGER alone.
        return f"{column}::integer::{new}"
    if old[:3] == "BIT" and new[:4] == "BIT(" and not any(arrays):
        # A cast cuts bits off as well, without which it is not what it was.
        return (
            f"(CASE WHEN {column}::{new}::{old} = {column} THEN {column}::{new} ELSE {column} END)"
        )
    if new == "UUID" and old in INTEGERS:
        return f"lpad(to_hex({column}::bigint), 32, '0')::uuid"
    if old == "UUID" and new in INTEGERS:
        digits = f"replace({column}::text, '-', '')"
        # What is no number that was converted fails, and is named by the server: no text with
        # dashes inside is a number.
        return (
            f"(CASE WHEN left({digits}, 16) = '{'0' * 16}' THEN ('x' || right({digits}, 16))"
            f"::bit(64)::bigint ELSE {column}::text::bigint END)::{new.lower()}"
        )
    if old == "UUID" and (length := SHORT_TEXT.fullmatch(new)) and int(length[1]) < 36:
        # All other databases store one without dashes.
        return f"replace({column}::text, '-', '')::{whole}"
    if old == "INET" and TEXT.match(new):
        # A cast writes /32 behind an address.
        return f"abbrev({column})::{whole}"
    if new == "BYTEA" and READABLE.match(old):
        # A cast reads backslashes as escapes.
        return f"convert_to({column}::text, 'UTF8')"
    if old == "BYTEA" and READABLE.match(new):
        # A cast writes hexadecimal digits.
        return f"convert_from({column}, 'UTF8')::{whole}"
    items = (one.item_type if isinstance(one, sa.ARRAY) else one for one in types)
    if any(isinstance(one, sa.Enum) for one in items):
        return f"{column}::text{'[]' if new.endswith('[]') and old.endswith('[]') else ''}::{whole}"
    return f"{column}::{whole}"


def range_conversion(column: str, old: str, new: str) -> str:
    """Return PostgreSQL's expression that converts a range: none is cast to another kind.

    A multirange of several ranges becomes no range: the server names it.

    :param old: the name of the type
    """
    several = ["MULTIRANGE" in one for one in (old, new)]
    if several == [False, True]:
        return f"('{{' || {column}::text || '}}')::{new}"
    if several == [True, False]:
        text = f"(CASE WHEN isempty({column}) THEN 'empty' ELSE btrim({column}::text, '{{}}') END)"
        return f"{text}::{new}"
    return f"{column}::text::{new}"


def name_of(type_: TypeEngine[Any] | None, dialect: Dialect | None = None) -> str | None:
    """Return PostgreSQL's name of a type, or that of another dialect.

    ``None`` where it has none there.
    """
    return None if type_ is None else words_in_ddl(type_, dialect or dialect_of("postgresql"))


def in_steps(
    operations: list[ops.MigrateOperation],
    model: Table | None,
    database: str,
    databases: Collection[str],
) -> list[ops.MigrateOperation]:
    """Return a table's changes, those of types in the steps that they need.

    :param model: the table as its model has it
    :param database: the author's
    :param databases: those that the script is written for
    """
    others = tuple(one for one in DATABASES if one in databases and one != "mysql")
    found: list[ops.MigrateOperation] = []
    for op in operations:
        if isinstance(op, ops.AlterColumnOp) and op.modify_type is not None:
            seen = "mysql" in databases and not getattr(op, "only", ())
            steps = own_uuid_in_steps(op, op.modify_type, model, others) if seen else []
            if steps:
                # The first that the author's database takes tells the whole change.
                own = next(one for one in steps if database in getattr(one, "only", ()))
                mark(own, whole=type_change_of(op))
            found += steps or type_change_in_steps(op, op.modify_type, model)
        elif isinstance(op, ops.AlterColumnOp) and op.kw.get("autoincrement"):
            # Its renderer knows that the word is MariaDB's.
            found.append(type_change_of(op))
        else:
            found.append(op)
    return found


def type_change_in_steps(
    op: ops.AlterColumnOp, new: TypeEngine[Any], model: Table | None
) -> list[ops.MigrateOperation]:
    """Return the steps of a change of a column's type to a new one.

    A default cannot be converted with its column on PostgreSQL: it goes first and comes last.
    """
    changed = type_change_of(op)
    changed.modify_type = without_check(new)
    if "mysql" in changed.only and (steps := uuid_in_steps(changed, *changed.words["mysql"])):
        changed.only = tuple(one for one in changed.only if one != "mysql")
        others = type_change_in_steps(changed, new, model) if changed.only else []
        if not others:
            steps[0].words = changed.words
        return [*others, *steps]
    wanted = op.modify_server_default
    old = isinstance(op.existing_server_default or None, DefaultClause)
    moves = (
        conversion(op) is not None
        and (old or isinstance(wanted or None, DefaultClause))
        and not isinstance(wanted or None, (Computed, Identity))
    )
    if not moves:
        return [changed]
    dropped = [change_of_default(op, op.existing_server_default, None)] if old else []
    changed.modify_server_default = False
    changed.existing_server_default = False
    if wanted is False and model is not None:
        wanted = next((c.server_default for c in model.columns if c.name == op.column_name), None)
    if not isinstance(wanted, DefaultClause):
        return [*dropped, changed]
    added = change_of_default(op, None, wanted)
    added.existing_type = new
    if op.modify_nullable is not None:
        added.existing_nullable = op.modify_nullable
    if op.modify_comment is not False:
        added.existing_comment = op.modify_comment
    return [*dropped, changed, added]


def own_uuid_in_steps(
    op: ops.AlterColumnOp, new: TypeEngine[Any], model: Table | None, others: tuple[str, ...]
) -> list[ops.MigrateOperation]:
    """Return the steps of :func:`uuid_in_steps` for a change that the author's database sees.

    :param others: the databases that the script is written for, but for MariaDB
    :returns: nothing for other types
    """
    old, wanted = (name_of(one, MariaDBDialect()) for one in (op.existing_type, new))
    if old is None or wanted is None:
        return []
    steps = uuid_in_steps(type_change_of(op), old, wanted)
    if steps is None:
        return []
    elsewhere = type_change_of(op)
    elsewhere.only = others
    return [*(type_change_in_steps(elsewhere, new, model) if others else ()), *steps]


def type_change_of(op: ops.AlterColumnOp) -> TypeChange:
    """Return the same change of a column, as one that says how it is done on each database."""
    change = TypeChange(op.table_name, op.column_name)
    change.__dict__.update(op.__dict__)
    return change


def uuid_in_steps(
    op: TypeChange, old: str, new: str
) -> tuple[TypeChange, ScriptOp, TypeChange] | None:
    """Return the steps on MariaDB between a UUID and a string that is too short for its dashes.

    :param old: the words of the types there
    :returns: ``None`` for other types
    """
    lengths = [SHORT_TEXT.fullmatch(word) for word in (old, new)]
    short = next((one for one in lengths if one and int(one[1]) < 36), None)
    if "UUID" not in (old, new) or short is None:
        return None

    def part(before: TypeEngine[Any], after: TypeEngine[Any]) -> TypeChange:
        found = type_change_of(op)
        found.existing_type, found.modify_type, found.only = before, after, ("mysql",)
        found.words = {}
        return found

    def without_dashes(context: AutogenContext) -> list[str]:
        sa_prefix = context.opts["sqlalchemy_module_prefix"] or ""
        schema = f", schema={op.schema!r}" if op.schema else ""
        column = f"{sa_prefix}column({op.column_name!r})"
        table = f"{sa_prefix}table({op.table_name!r}, {column}{schema})"
        value = f"{sa_prefix}func.replace({column}, '-', '')"
        return [
            f"{context.opts['alembic_module_prefix']}execute("
            f"{sa_prefix}update({table}).values({{{op.column_name!r}: {value}}}))"
        ]

    rows = ScriptOp(FURTHER_STEP, without_dashes, lambda context: [])
    if new == "UUID":
        rows = rows.reverse()
    rows.only = ("mysql",)
    between: TypeEngine[Any] = sa.CHAR(36)
    old_type, new_type = op.existing_type, op.modify_type
    assert old_type is not None and new_type is not None
    return part(old_type, between), rows, part(between, new_type)


def change_of_default(
    op: ops.AlterColumnOp, old: Any, new: DefaultClause | None
) -> ops.AlterColumnOp:
    """Return the change of a column's server default alone."""
    change = ops.AlterColumnOp(
        op.table_name,
        op.column_name,
        schema=op.schema,
        existing_type=op.existing_type,
        existing_nullable=op.existing_nullable,
        existing_server_default=old,
        existing_comment=op.existing_comment,
        modify_server_default=new,
    )
    mark(change, only=getattr(op, "only", ()))
    return change


def without_check(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return a type that brings no CHECK of its own: it is added by an operation of its own."""
    if isinstance(type_, SchemaType) and getattr(type_, "create_constraint", False):
        copy: Any = type_.copy()
        copy.create_constraint = False
        return copy  # type: ignore[no-any-return]
    return type_
