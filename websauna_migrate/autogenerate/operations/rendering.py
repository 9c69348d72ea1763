"""How the values of a new script are written, so that each means the same when it runs.

Types and expressions that come back are as older scripts wrote them, not as a database keeps them.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy.schema import (
    Computed,
    DefaultClause,
    FetchedValue,
    ForeignKeyConstraint,
    Identity,
    PrimaryKeyConstraint,
)
from sqlalchemy.sql import functions
from sqlalchemy.sql.elements import TextClause, conv
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.autogenerate_internals import (
    columns_that_come_back,
    render_constraint,
    render_type,
)
from websauna_migrate.alembic_adapter.written_expressions import (
    OlderTexts,
    SpelledText,
    Spelling,
    by_database,
    by_own_text,
    written_for,
)
from websauna_migrate.autogenerate.operations.column_types import TypeRenderer, UnfitType
from websauna_migrate.autogenerate.operations.model_columns import columns_in
from websauna_migrate.autogenerate.operations.part_options import take_options
from websauna_migrate.autogenerate.operations.script_op import (
    ScriptOp,
    not_on_dialect,
    rendered,
    single,
)
from websauna_migrate.autogenerate.operations.table_changes import TableChanges
from websauna_migrate.autogenerate.operations.type_change import without_check
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.models.type_words import are_one
from websauna_migrate.revision_scripts.script_files import script_text
from websauna_migrate.revision_scripts.written_schema import (
    Parts,
    Place,
    Types,
    rename_column,
    rename_table,
)
from websauna_migrate.revision_scripts.written_spellings import Written, written_spellings
from websauna_migrate.revision_scripts.written_types import brings_more

#: Functions without arguments that SQLAlchemy spells for each database.
PORTABLE_FUNCTIONS = frozenset(
    {
        *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("now", "random"),
    }
)

RenderItem = Callable[[str, Any, AutogenContext], str | bool]


def item_renderer(keep_types: bool) -> RenderItem:
    """Return Alembic's ``render_item`` hook.

    :param keep_types: write custom types as themselves, which makes old scripts depend on them
    """

    def render_item(kind: str, item: Any, context: AutogenContext) -> str | bool:
        if kind == "type":
            return TypeRenderer(context, keep=keep_types).source(item)
        if kind == "server_default":
            return render_default(item, context)
        if kind == "primary_key":
            return render_primary_key(item, context)
        if kind == "foreign_key":
            return render_foreign_key(item, context)
        return False

    return render_item


def render_primary_key(key: PrimaryKeyConstraint, context: AutogenContext) -> str | bool:
    """Return the source of a primary key with options, which Alembic leaves out.

    ``False`` leaves a key without options to Alembic.
    """
    options: dict[str, object] = {"deferrable": key.deferrable, "initially": key.initially}
    options.update(key.dialect_kwargs)
    options = {name: value for name, value in options.items() if value not in (None, [], ())}
    if not options or not key.columns:
        return False
    values = TypeRenderer(context)
    arguments = [repr(str(column.name)) for column in key.columns]
    if isinstance(key.name, str):
        name = values.final(key.name) if isinstance(key.name, conv) else repr(str(key.name))
        arguments.append(f"name={name}")
    for name, value in options.items():
        if isinstance(value, (list, tuple)):
            value = [str(getattr(one, "name", one)) for one in value]
        arguments.append(f"{name}={values.expression(value)}")
    return f"{values.prefix}PrimaryKeyConstraint({', '.join(arguments)})"


def render_foreign_key(key: ForeignKeyConstraint, context: AutogenContext) -> str | bool:
    """Return the source of a key with ``use_alter`` that stands in its table nevertheless.

    It points at its own table; with the option ``op.create_table`` would leave it out, and nothing
    would add it. ``False`` leaves other keys to Alembic.
    """
    if not key.use_alter:
        return False
    key.use_alter = False
    try:
        return render_constraint(key, context)
    finally:
        key.use_alter = True


class EmptyTable(ops.CreateTableOp):
    """A table without columns of its own: it has those that it inherits."""


@renderers.dispatch_for(EmptyTable)
def render_empty_table(context: AutogenContext, operation: EmptyTable) -> str:
    """Return the source of its creation, without the commas that Alembic writes around nothing."""
    source = str(renderers.dispatch(ops.CreateTableOp)(context, operation))
    return re.sub(r",\s*,", ",", source, count=1)


def render_default(default: object, context: AutogenContext) -> str | bool:
    """Return the source of a server default, ``False`` to leave it to Alembic."""
    prefix = context.opts["sqlalchemy_module_prefix"] or ""
    if isinstance(default, DefaultClause):
        value = default.arg
        if isinstance(value, str):
            # A member of an enum that is a string is that string.
            return repr(str.__str__(value))
        if isinstance(value, functions.FunctionElement):
            name = getattr(value, "name", "")
            if name in PORTABLE_FUNCTIONS and not list(value.clauses):
                return f"{prefix}func.{name}()"
        if default.reflected and len(written_for(context)) > 1:
            portable = portable_default(default, context.dialect.name)
            if portable is not None:
                return f"{prefix}{portable}"
        for name in ("true", "false", "null"):
            if isinstance(value, type(getattr(sa, name)())):
                return f"{prefix}{name}()"
        return False
    if isinstance(default, (Computed, Identity)):
        return False
    if isinstance(default, FetchedValue):
        # A default that something else makes, a trigger: there is nothing to write in DDL.
        return "None"
    return False


#: What PostgreSQL says of a default that SQLAlchemy spells for each database.
SPELLED = {"now()": "func.now()", "true": "true()", "false": "false()"}

#: PostgreSQL's names of types whose literals it writes with a cast, by SQLAlchemy's.
LITERALS = {"VARCHAR": "character varying", "CHAR": "bpchar", "TEXT": "text", "DATE": "date"}


def portable_default(default: DefaultClause, database: str) -> str | None:
    """Return how every database takes what one says of a default; ``None`` if that is not known.

    A string goes without PostgreSQL's cast to the column's own type, which that server writes
    again; 0 and 1 of a boolean are what PostgreSQL takes for none. Where the database has one word
    for both, the time is that of ``func.now()``.
    """
    said = str(default.arg)
    type_ = getattr(getattr(default, "column", None), "type", None)
    if said in SPELLED:
        return SPELLED[said]
    if database != "postgresql" and re.fullmatch(r"\(?current_timestamp(\(\))?\)?", said, re.I):
        return SPELLED["now()"]
    if isinstance(type_, sa.Boolean) and re.fullmatch(r"\(?'?[01]'?\)?", said):
        return "true()" if "1" in said else "false()"
    found = re.fullmatch(r"('(?:[^']|'')*')::([\w ]+)", said)
    if found is None or type_ is None:
        return None
    name = type_.name if isinstance(type_, sa.Enum) else LITERALS.get(type_.__visit_name__)
    return f"text({found[1]!r})" if name == found[2] else None


def require_renderable(
    owned: PackageObjects, context: AutogenContext, directives: Sequence[ops.MigrationScript]
) -> None:
    """Refuse a type that cannot be written as Python source.

    :raises RevisionFailed: naming model, table and column
    """
    for script in directives:
        for container in [*script.upgrade_ops_list, *script.downgrade_ops_list]:
            for schema, table, column, type_ in typed_columns(container):
                try:
                    ast.parse(str(render_type(type_, context)), mode="eval")
                except (UnfitType, SyntaxError) as exc:
                    problem = (
                        str(exc)
                        if isinstance(exc, UnfitType)
                        else f"has the type {type_!r}, which is not Python source"
                    )
                    raise cannot_render(
                        owned.package,
                        place_of(owned, schema, table, column),
                        problem,
                        "Use a type whose arguments are plain values, or write it yourself with "
                        "the render_item hook of the package's env.py.",
                    ) from exc


#: Options of an index that are conditions.
CONDITIONS = frozenset({"postgresql_where", "sqlite_where"})


#: Operations that create what has options for some databases.
WITH_OPTIONS = (ops.CreateIndexOp, ops.CreateUniqueConstraintOp)


def spell_for_databases(
    context: AutogenContext,
    owned: PackageObjects,
    directives: Sequence[ops.MigrationScript],
    renames: Renames,
) -> None:
    """Let expressions that come back be as older scripts spell them on other databases.

    So it is with all that a squash makes. The options of an index are written as the database
    spells them that they are for.

    :param renames: those of the new script, which come before its other operations
    """
    if len(written_for(context)) == 1:
        return
    squashed: Sequence[str] | None = context.opts.get("older_scripts")

    @functools.cache
    def older() -> OlderTexts:
        scripts = owned.scripts if squashed is None else map(script_text, squashed)
        return by_own_text(written_spellings(scripts), spelling.own)

    context.opts["spellings"] = older
    spelling = Spelling(context)

    @functools.cache
    def known() -> dict[Place, Written]:
        on_each = {one: owned.written(one, squashed).expressions for one in spelling.databases}
        return expressions_before(on_each, spelling.own, renames)

    def restore_all(op: ops.MigrateOperation, back: bool = True) -> None:
        for place, holder, attribute in expressions_that_stay(op, owned, back=back):
            restore(spelling, known(), place, holder, attribute)

    @functools.cache
    def parts() -> Parts:
        return owned.written(spelling.own, squashed).parts() or {}

    context.opts["restore"] = restore_all
    for script in directives:
        for container in [*script.upgrade_ops_list, *script.downgrade_ops_list]:
            elsewhere = made_elsewhere(container, spelling.own)
            for op in single(container):
                back = squashed is not None or isinstance(container, ops.DowngradeOps)
                restore_all(op, back)
                if back and isinstance(op, WITH_OPTIONS) and id(op) not in elsewhere:
                    name = (
                        op.index_name if isinstance(op, ops.CreateIndexOp) else op.constraint_name
                    )
                    made = parts().get(owned.key_of(op), {}).get(str(name))
                    if made is not None:
                        take_options(op.kw, made, spelling.own)
                if isinstance(op, (ops.CreateIndexOp, ops.DropIndexOp)):
                    if back and isinstance(op, ops.CreateIndexOp):
                        options = {*op.kw} if squashed is None else CONDITIONS
                        restore_condition(spelling, known(), owned, op, options)
                    op.kw = {key: spelling.of_database(key, one) for key, one in op.kw.items()}
            leave_truth_out(owned, squashed, container, renames)


def made_elsewhere(container: ops.OpContainer, own: str) -> set[int]:
    """Return the identities of operations that are for other databases than one."""
    return {
        id(op)
        for changes in container.ops
        if isinstance(changes, TableChanges) and changes.databases and own not in changes.databases
        for op in changes.ops
    }


def expressions_before(
    on_each: Mapping[str, Mapping[Place, Written]], own: str, renames: Renames
) -> dict[Place, Written]:
    """Return the expressions that scripts wrote, as they are behind the renames of a new one.

    What is in one place on several databases may have been written for each of them apart. Where a
    database is not known to have it, what was written for the author's tells its words.

    :param on_each: by database
    :param own: the author's database
    """
    found: dict[Place, Written] = {}
    for place, value in on_each[own].items():
        found[place] = value
        if isinstance(value, Mapping):
            texts = by_database(value)
            for database, written in on_each.items():
                there = written.get(place)
                if isinstance(there, Mapping) and database in (words := by_database(there)):
                    texts[database] = words[database]
            found[place] = texts
    for moved in renames.tables:
        rename_table(found, (moved.schema, moved.old), moved.new)
    for column in renames.columns:
        rename_column(found, (column.schema, column.table), column.old, column.new)
    for (schema, table, kind, name), value in [*found.items()]:
        new = renames.constraints.get((schema, table), {}).get(name)
        if kind != "column" and new is not None:
            found[schema, table, kind, new] = value
    return found


#: A CHECK that says of a column that it is true or false, where a database has no type for that.
TRUTH = re.compile(r'[(`"]*(\w+)[`"]*\s+in\s*\(\s*0\s*,\s*1\s*\)\)*', re.IGNORECASE)


def leave_truth_out(
    owned: PackageObjects,
    squashed: Sequence[str] | None,
    container: ops.MigrateOperation,
    renames: Renames,
) -> None:
    """Let the CHECKs of booleans go and come where they are: PostgreSQL has a type for them.

    :param squashed: see :meth:`.PackageObjects.written`
    :param renames: those of the new script, which come before the operations
    """
    models = owned.models
    for table in getattr(container, "ops", ()):
        if not isinstance(table, ops.ModifyTableOps):
            continue
        if isinstance(table, TableChanges) and table.databases:
            # They are for some databases already.
            continue
        key = owned.key_of(table)
        for place, op in enumerate(table.ops):
            text = check_text(op)
            found = TRUTH.fullmatch(text) if text else None
            if found is None:
                continue
            column = models[key].columns.get(found[1]) if key in models else None
            written = written_type(owned.written(squashed=squashed).types, key, found[1], renames)
            if isinstance(written if column is None else column.type, sa.Boolean):
                table.ops[place] = not_on_postgresql(op)


def check_text(op: ops.MigrateOperation) -> str | None:
    """Return the text of the CHECK that an operation adds or drops, ``None`` for others."""
    if isinstance(op, ops.CreateCheckConstraintOp):
        return str(op.condition)
    if isinstance(op, ops.DropConstraintOp) and op.constraint_type == "check":
        constraint = op.to_constraint()
        return str(constraint.sqltext) if isinstance(constraint, sa.CheckConstraint) else None
    return str(op.to_diff_tuple()[3]) if hasattr(op, "without_postgresql") else None


def not_on_postgresql(op: ops.MigrateOperation) -> ScriptOp:
    """Return an operation that other databases alone do."""
    found = getattr(op, "without_postgresql", None)
    if isinstance(found, ScriptOp):
        return found

    def lines(context: AutogenContext) -> list[str]:
        return not_on_dialect(context, "postgresql", rendered(context, op))

    return ScriptOp(op.to_diff_tuple(), lines, lines)


def restore_condition(
    spelling: Spelling,
    known: Mapping[Place, Written],
    owned: PackageObjects,
    op: ops.CreateIndexOp,
    options: Collection[str],
) -> None:
    """Let the condition of an index be as an older script has it, if one does.

    :param options: those that the operation may have
    """
    written = known.get((*owned.key_of(op), "index", str(op.index_name)))
    there = op.kw.get(f"{spelling.own}_where")
    words = there.text if type(there) is TextClause else there
    if written is None or not isinstance(words, str):
        return
    found = spelling.restored(str(words), written)
    if isinstance(found, SpelledText):
        # A condition of another database that no script has is made of this one's.
        named = {f"{database}_where" for database in found.spellings}
        op.kw.update({key: found for key in options if key in named})


def expressions_that_stay(
    op: ops.MigrateOperation, owned: PackageObjects, *, back: bool
) -> Iterator[tuple[Place, object, str]]:
    """Yield the expressions of the database that an operation gives again, and what holds each.

    :param back: whether it is one of a downgrade, where all that is created was there
    """
    if isinstance(op, ops.CreateCheckConstraintOp):
        yield (*owned.key_of(op), "constraint", str(op.constraint_name)), op, "condition"
    elif isinstance(op, ops.AlterColumnOp):
        place = (*owned.key_of(op), "column", op.column_name)
        if back and op.modify_server_default is not False:
            yield place, op, "modify_server_default"
        elif op.modify_server_default is False:
            yield place, op, "existing_server_default"
    elif back and isinstance(op, (ops.CreateTableOp, ops.AddColumnOp)):
        table = owned.key_of(op)
        for column in columns_in(op):
            yield (*table, "column", str(column.name)), column, "server_default"
        for part in getattr(op, "columns", ()):
            if isinstance(part, sa.CheckConstraint):
                yield (*table, "constraint", str(part.name)), part, "sqltext"


def restore(
    spelling: Spelling, known: Mapping[Place, Written], place: Place, holder: object, attribute: str
) -> None:
    """Let an expression of the database be as an older script has it, if one does."""
    value = getattr(holder, attribute)
    written = known.get(place)
    inner = {DefaultClause: "arg", Computed: "sqltext"}.get(type(value))
    there = value if inner is None else getattr(value, inner)
    if written is None or type(there) is not TextClause:
        return
    found = spelling.restored(str(there.text), written)
    if found is None:
        return
    if isinstance(value, Computed):
        value.sqltext = found
    else:
        setattr(holder, attribute, found if inner is None else DefaultClause(found))


def place_of(owned: PackageObjects, schema: str | None, table: str, column: str) -> str:
    """Return where a column is, in words, with the model if there is one."""
    model = owned.models.get((owned.normal(schema), table))
    claim = None if model is None else owned.ownership.claim_of(model)
    place = f" ({claim.place})" if claim is not None and claim.rule == "class" else ""
    return f'column "{column}" of table "{table}"{place}'


def typed_columns(
    operation: ops.MigrateOperation,
) -> Iterator[tuple[str | None, str, str, TypeEngine[Any]]]:
    """Yield schema, table, column and type wherever an operation writes a type."""
    for op in single(operation):
        if isinstance(op, ops.AlterColumnOp):
            for type_ in (op.modify_type, op.existing_type):
                if type_ is not None:
                    yield op.schema, op.table_name, op.column_name, type_
        elif isinstance(op, (ops.CreateTableOp, ops.AddColumnOp)):
            for column in columns_in(op):
                yield op.schema, op.table_name, column.name, column.type


# Types that a downgrade gives back


def say_written_types(
    operations: Sequence[ops.MigrateOperation],
    owned: PackageObjects,
    context: AutogenContext,
    renames: Renames,
) -> None:
    """Let columns that go, and types that change, come back of the types that older scripts wrote.

    Where the database keeps less of a type, another one would come back elsewhere. One that this
    database would keep otherwise than it does is left out.

    :param renames: those of the new script, which come before the operations
    """
    if len(written_for(context)) == 1:
        return
    going = [*types_that_go(operations, owned)]
    if not going:
        return
    known = owned.written().types
    for key, name, holder, attribute, alone in going:
        there = getattr(holder, attribute)
        written = written_type(known, key, name, renames)
        if written is not None and alone:
            # Its CHECK comes back by an operation of its own.
            written = without_check(written)
        if (
            written is not None
            and not brings_more(written)
            and type(written) is not type(there)
            and are_one(written, there, context.dialect)
        ):
            setattr(holder, attribute, written)


def written_type(
    known: Types, key: Key, column: str, renames: Renames
) -> TypeEngine[object] | None:
    """Return the type that scripts wrote of a column.

    :param key: of the table, as the column by the name behind the renames
    """
    old = {new: old for old, new in renames.columns_of(*key).items()}
    before = (key[0], renames.old_table(*key))
    return known.get(before, {}).get(old.get(column, column))


def types_that_go(
    operations: Sequence[ops.MigrateOperation], owned: PackageObjects
) -> Iterator[tuple[Key, str, object, str, bool]]:
    """Yield table and name of columns whose types a downgrade gives back, and what holds those.

    At last, whether it is a column of a table that stays.
    """
    for op in single(*operations):
        if not isinstance(op, (ops.DropTableOp, ops.DropColumnOp, ops.AlterColumnOp)):
            continue
        key = owned.key_of(op)
        if isinstance(op, ops.DropTableOp):
            for column in columns_that_come_back(op):
                yield key, str(column.name), column, "type", False
        elif isinstance(op, ops.DropColumnOp):
            yield key, op.column_name, op.to_column(), "type", True
        elif op.modify_type is not None and not getattr(op, "only", ()):
            yield key, op.column_name, op, "existing_type", True
