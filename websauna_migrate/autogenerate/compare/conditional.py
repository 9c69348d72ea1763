"""Constraints and indexes that some databases alone have, by ``ddl_if()``.

The facts tell what the author's database has of them. What the others have the scripts say.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import (
    CheckConstraint,
    Column,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ClauseElement, conv

from websauna_migrate.alembic_adapter.autogenerate_internals import parts_that_come_back
from websauna_migrate.alembic_adapter.unnamed_constraints import AUTOMATIC
from websauna_migrate.alembic_adapter.written_expressions import (
    DATABASES,
    SpelledText,
    Spelling,
    by_database,
    dialects_of,
    key_of,
)
from websauna_migrate.autogenerate.compare.by_hand import by_hand
from websauna_migrate.autogenerate.compare.constraints import check_addition, passes_filters
from websauna_migrate.autogenerate.operations.ordering import dropped_key
from websauna_migrate.autogenerate.operations.part_options import (
    ACTIONS,
    option_of,
    options_differ,
    options_of,
)
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, mark
from websauna_migrate.autogenerate.operations.table_changes import (
    TableChanges,
    computed_among,
    computed_columns,
)
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.models.model_sql import final_name
from websauna_migrate.models.sqlalchemy_internals import has_condition, is_created, is_type_bound
from websauna_migrate.revision_scripts.script_names import UNKNOWN
from websauna_migrate.revision_scripts.written_schema import Part, Parts, brings_check, renamed_part
from websauna_migrate.revision_scripts.written_spellings import chosen

Item: TypeAlias = Constraint | Index

CREATES = (ops.AddConstraintOp, ops.CreateIndexOp)
#: Places before and behind a table's other changes.
FIRST, LAST = -1, 10

DROPS = (ops.DropConstraintOp, ops.DropIndexOp)


@dataclass(eq=False)
class ConditionalParts:
    """What some databases of a package alone have of its tables.

    :ivar others: the databases besides the author's
    :ivar renames: those of the new script
    :ivar left: what is left to a person, by table
    """

    owned: PackageObjects
    context: AutogenContext
    others: Sequence[str]
    renames: Renames
    left: dict[Key, list[ScriptOp]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.context.connection is not None
        self.connection = self.context.connection
        self.own = self.connection.dialect.name.replace("mariadb", "mysql")
        self.databases = [one for one in DATABASES if one == self.own or one in self.others]

    @cached_property
    def written(self) -> Mapping[str, Parts | None]:
        """What the scripts made, by database; nothing if that is the same on all of them."""
        squashed = self.context.opts.get("older_scripts")
        older = self.owned.older_operations(squashed)
        items = [item for table in self.owned.tables for item in items_of(table)]
        tests = any(one.runs.tests for one in older) or any(map(self.is_apart, items))
        if (
            not tests
            and not any(map(options_of, items))
            and not any(options_of(one.call) or brings_check(one.call) for one in older)
        ):
            return dict.fromkeys(self.databases)
        return {one: self.owned.written(one, squashed).parts() for one in self.databases}

    def is_on(self, item: Item, database: str) -> bool:
        """Tell whether a database gets a constraint or index of the models."""
        own: Sequence[Dialect] = [self.connection.dialect]
        try:
            dialects = own if database == self.own else dialects_of(database)
            return any(is_created(item, one) for one in dialects)
        except Exception:
            # What an application's function says to a database that is not there is of any class.
            return False

    def is_partial(self, item: object) -> bool:
        """Tell whether a part of a table has a condition that some databases do not meet."""
        return (
            isinstance(item, Item)
            and has_condition(item)
            and not all(self.is_on(item, one) for one in self.databases)
        )

    def is_apart(self, item: object) -> bool:
        """Tell whether some databases alone get a part of a table, or a CHECK of a type."""
        if isinstance(item, CheckConstraint) and is_type_bound(item):
            return not all(self.is_on(item, one) for one in self.databases)
        return self.is_partial(item)

    # New tables

    def take_out(
        self, op: ops.CreateTableOp, table: Table, followers: Sequence[TableChanges]
    ) -> tuple[TableChanges, TableChanges]:
        """Take such parts out of a new table, and return what creates them behind it.

        :param followers: what creates the indexes of new tables
        :returns: the changes that create its constraints, and its indexes: SQLite makes the table
            anew for the former
        """
        items = [one for one in items_of(table) if self.is_partial(one)]
        names = {str(one.name) for one in items if isinstance(one, Index)}
        taken = {id(one) for one in items}
        op.columns = [one for one in op.columns if id(one) not in taken]
        mark(op, apart=[one for one in items if isinstance(one, ForeignKeyConstraint)])
        leave_indexes(followers, op, names)
        constraints = TableChanges(op.table_name, [], schema=op.schema)
        indexes = TableChanges(op.table_name, [], schema=op.schema)
        constraints.computed = computed_columns(table)
        for item in sorted(items, key=lambda one: str(one.name)):
            databases = [one for one in self.databases if self.is_on(item, one)]
            if databases and passes_filters(self.context, item, None):
                behind = indexes if isinstance(item, Index) else constraints
                behind.ops.append(self.creation(table, item, databases))
        return constraints, indexes

    # Tables that go

    def take_out_going(
        self, op: ops.DropTableOp, followers: Sequence[TableChanges]
    ) -> TableChanges:
        """Take such parts out of a table that goes, and return what drops them before it.

        They go with the table, and come back as the scripts made them.

        :param followers: what drops the indexes of such tables
        """
        table = op.to_table()
        changes = TableChanges(op.table_name, [], schema=op.schema)
        items = parts_that_come_back(op)
        changes.computed = computed_among([one for one in items if isinstance(one, Column)])
        there = {one: self.parts(one, table) for one in self.databases}
        known = {one: parts for one, parts in there.items() if parts is not None}
        if len(known) < len(there):
            return changes
        taken = set()
        for name in sorted(unlike([*known.values()])):
            made = {one: part for one, parts in known.items() if (part := parts.get(name))}
            if all(creation_of(part, table, name) for part in made.values()):
                taken.add(name)
                for databases in alike({one: words_of(part) for one, part in made.items()}):
                    self.drop(changes, table, name, None, made, databases)
        items[:] = [o for o in items if not isinstance(o, Constraint) or str(o.name) not in taken]
        mark(op, apart=[key for one in changes.ops if (key := dropped_key(one)) is not None])
        leave_indexes(followers, op, taken)
        return changes

    # Tables that are there

    @property
    def tables(self) -> Iterator[Key]:
        """The tables of the models that have such parts, or had them, or need other options."""
        for table in self.owned.tables:
            if self.names(table) or self.needs_options(table):
                yield self.owned.key_of(table)

    def needs_options(self, table: Table) -> bool:
        """Tell whether a part of a table has other options on a database than the models give."""
        spelling = Spelling(self.context)
        spelling.databases = self.databases
        found = self.with_options(table)
        for item in items_of(table) if found else ():
            name = final_name(item, self.connection)
            for database in self.others if name in found else ():
                part = (self.parts(database, table) or {}).get(str(name))
                if options_differ(part, item, database, spelling):
                    return True
        return False

    def with_options(self, table: Table) -> set[str]:
        """Return the names of what has options for some databases, or had them."""
        items = [one for one in items_of(table) if options_of(one)]
        found = {name for one in items if (name := final_name(one, self.connection)) is not None}
        for database in self.databases:
            parts = self.parts(database, table) or {}
            found.update(name for name, part in parts.items() if options_of(part))
        return found

    def names(self, table: Table) -> set[str]:
        """Return the names of what some databases alone have, or had, of a table."""
        items = [one for one in items_of(table) if self.is_apart(one)]
        found = {name for one in items if (name := final_name(one, self.connection)) is not None}
        there = [parts for one in self.databases if (parts := self.parts(one, table)) is not None]
        found.update(unlike(there))
        return found

    def complete(self, changes: TableChanges, table: Table) -> None:
        """Let a table's changes be made where they are needed, and add those of other databases."""
        known = {one: self.parts(one, table) for one in self.databases}
        # Those of types whose values change go and come with them.
        skipped = changes.checks.skipped if changes.checks is not None else set()
        with_types = {
            final_name(one, self.connection)
            for one in items_of(table)
            if isinstance(one, CheckConstraint) and is_type_bound(one)
            if {str(column.name) for column in one.columns} <= skipped
        }
        for name in sorted((self.names(table) | self.with_options(table)) - with_types):
            items = [one for one in items_of(table) if final_name(one, self.connection) == name]
            self.complete_part(changes, table, name, items, known)

    def parts(self, database: str, table: Table) -> Mapping[str, Part | None] | None:
        """Return what the scripts made of a table; ``None`` if that is not known."""
        written = self.written[database]
        schema, name = self.owned.key_of(table)
        if written is None:
            return None
        columns = self.renames.columns_of(schema, name)
        old = self.renames.old_table(schema, name)
        found: dict[str, Part | None] = {}
        for key in self.owned.forms(schema, old):
            found.update(written.get(key, {}))
        if columns:
            found = {one: renamed_part(part, old, columns) for one, part in found.items()}
        for one, new in self.renames.constraints.get((schema, name), {}).items():
            # The script renames it, where it is.
            if one != new and found.pop(one, None) is not None:
                found[new] = None
        return found

    def complete_part(
        self,
        changes: TableChanges,
        table: Table,
        name: str,
        items: Sequence[Item],
        known: Mapping[str, Mapping[str, Part | None] | None],
    ) -> None:
        """Complete the changes of a table by those of its constraints and indexes of one name.

        What is not known of another database, or the same there, is as on the author's.
        """
        own = {type_: self.operation(changes, type_, name) for type_ in (CREATES, DROPS)}
        models = {
            database: item
            for database in self.databases
            for item in items
            if self.is_on(item, database)
        }
        drops = [self.own] if own[DROPS] is not None else []
        adds = [self.own] if own[CREATES] is not None else []
        before = {one: (parts or {}).get(name) for one, parts in known.items()}
        written = before[self.own]
        spelling = Spelling(self.context)
        spelling.databases = self.databases
        for database in self.others:
            model, part, parts = models.get(database), before[database], known[database]
            unsure = parts is None or (name in parts and part is None)
            same = words_of(part) == words_of(written) and model is models.get(self.own)
            if same and model is not None and own[DROPS] is None and own[CREATES] is None:
                # What the author's database does not see of it.
                same = not options_differ(part, model, database, spelling)
            if unsure or same:
                drops += [database] if own[DROPS] is not None else []
                adds += [database] if own[CREATES] is not None and model is not None else []
                continue
            changed = model is not None and differs(part, model, database, spelling)
            if part is not None and (model is None or changed):
                drops.append(database)
            if model is not None and (part is None or changed):
                adds.append(database)
        for databases in alike({one: words_of(before[one]) for one in drops}):
            self.drop(changes, table, name, own[DROPS], before, databases)
        for databases in alike({one: id(models.get(one)) for one in adds}):
            op = own[CREATES]
            if self.own in databases and op is not None:
                self.limit(op, databases)
            elif passes_filters(self.context, models[databases[0]], None):
                changes.ops.append(self.creation(table, models[databases[0]], databases))

    def operation(
        self, changes: TableChanges, types: tuple[type[ops.MigrateOperation], ...], name: str
    ) -> ops.MigrateOperation | None:
        """Return the operation that creates or drops a constraint or index of a name."""
        for op in changes.ops:
            given: object = getattr(op, "constraint_name", getattr(op, "index_name", None))
            limited = getattr(op, "only", ())
            if isinstance(op, types) and not limited and given is not None and str(given) == name:
                return op
        return None

    def drop(
        self,
        changes: TableChanges,
        table: Table,
        name: str,
        op: ops.MigrateOperation | None,
        before: Mapping[str, Part | None],
        databases: Sequence[str],
    ) -> None:
        """Let what some databases have go there."""
        if self.own in databases and op is not None:
            self.limit(op, databases)
            return
        part = before[databases[0]]
        creation = None if part is None else creation_of(part, table, name)
        if creation is None:
            words = f'table "{table.name}": on {" and ".join(databases)} "{name}" goes or changes'
            words += ", and what made it is not read from the scripts"
            self.left.setdefault(self.owned.key_of(table), []).append(by_hand(words))
            return
        item: Item = (
            creation.to_index()
            if isinstance(creation, ops.CreateIndexOp)
            else creation.to_constraint()
        )
        if passes_filters(self.context, None, item):
            drop = creation.reverse()
            self.limit(drop, databases)
            changes.ops.append(drop)

    def creation(self, table: Table, item: Item, databases: Sequence[str]) -> ops.MigrateOperation:
        """Return the operation that creates a constraint or index on some databases."""
        op: ops.MigrateOperation
        if isinstance(item, Index):
            op = ops.CreateIndexOp.from_index(item)
        elif isinstance(item, CheckConstraint):
            op = check_addition(self.context, table, item)
        else:
            op = ops.AddConstraintOp.from_constraint(item)
        self.limit(op, databases)
        return op

    def limit(self, op: ops.MigrateOperation, databases: Sequence[str]) -> None:
        """Let an operation be for some databases; for all of them it needs no word."""
        only = () if len(databases) == len(self.databases) else tuple(databases)
        mark(op, only=only)
        if only and isinstance(op, (ops.CreateIndexOp, ops.DropIndexOp)):
            # SQLite's batches do not know one of expressions: it is not there meanwhile.
            mark(op, place=FIRST if isinstance(op, ops.DropIndexOp) else LAST)


def items_of(table: Table) -> list[Item]:
    """Return the constraints and indexes of a table."""
    return [*table.constraints, *table.indexes]


def leave_indexes(
    followers: Sequence[TableChanges],
    op: ops.CreateTableOp | ops.DropTableOp,
    names: Collection[str],
) -> None:
    """Leave indexes of some names out of what follows a table."""
    for changes in followers:
        if (changes.schema, changes.table_name) == (op.schema, op.table_name):
            changes.ops[:] = [
                one for one in changes.ops if getattr(one, "index_name", None) not in names
            ]


def unlike(there: Sequence[Mapping[str, Part | None]]) -> Iterator[str]:
    """Yield the names of what scripts made otherwise on some databases than on others.

    :param there: what they made of a table, on each database
    """
    for name in {name for parts in there for name in parts}:
        states = {words_of(parts.get(name)) for parts in there}
        # One that may be there is left to the facts, and what has no name has several.
        unsure = any(name in parts and parts[name] is None for parts in there)
        if len(states) > 1 and not unsure and not AUTOMATIC.fullmatch(name):
            yield name


def alike(found: Mapping[str, object]) -> Iterator[list[str]]:
    """Yield databases, those together that have one value."""
    for value in dict.fromkeys(found.values()):
        yield [one for one, other in found.items() if other == value]


# Constraints and indexes of scripts: as operations, and beside those of the models

Operation = ops.AddConstraintOp | ops.CreateIndexOp


def creation_of(part: Part, table: Table, name: str) -> Operation | None:
    """Return the operation that made a part of a table; ``None`` if it is not understood."""
    given, place, schema = conv(name), str(table.name), table.schema
    if part.kind == "check":
        texts = by_database(chosen(part.said[0])) if part.said else {}
        if not texts:
            return None
        check = CheckConstraint(SpelledText(next(iter(texts.values())), texts), name=given)
        Table(place, MetaData(), schema=schema).append_constraint(check)
        return ops.CreateCheckConstraintOp.from_constraint(check)
    options = {one: option_of(part, one) for one in part.call.keywords}
    for said_already in ("schema", "name", "source_schema"):
        options.pop(said_already, None)
    if part.call.open or UNKNOWN in options.values():
        return None
    kw: dict[str, Any] = {
        key: text(str(one)) if key.endswith("_where") else one for key, one in options.items()
    }
    match part.kind, values(part):
        case "unique", [[*columns]]:
            return ops.CreateUniqueConstraintOp(given, place, columns, schema=schema, **kw)
        case "index", [[*columns]]:
            return ops.CreateIndexOp(given, place, columns, schema=schema, **kw)
        case "foreignkey", [str(other), [*local], [*remote]]:
            kw["source_schema"] = schema
            return ops.CreateForeignKeyOp(given, place, other, local, remote, **kw)
    return None


def words_of(part: Part | None) -> str:
    """Return what a script says of a part, however it was made; nothing if there is none."""
    if part is None:
        return ""
    if part.kind in ("unique", "foreignkey") and (found := values(part)):
        names = [*options_of(part), *(one for one in ACTIONS if one in part.call.keywords)]
        return f"{part.kind} {found} {[(one, option_of(part, one)) for one in sorted(names)]}"
    return f"{part.kind} {[ast.dump(one) for one in [*part.said, *part.call.node.keywords]]}"


def values(part: Part) -> list[Any]:
    """Return what a script says of a part: columns, the table and columns of a foreign key.

    Nothing where that is not understood.
    """
    found: list[Any] = [part.call.names.literal(one) for one in part.said]
    if part.kind == "unique" and found and isinstance(found[0], str):
        # It stands in the creation of the table.
        found = [found]
    if part.kind == "foreignkey" and len(found) == 2 and isinstance(found[1], list):
        targets = [str(one).rpartition(".") for one in found[1]]
        found = [targets[0][0], found[0], [column for *_, column in targets]]
    if part.kind == "index" and part.said and isinstance(part.said[0], ast.List):
        found = [[element(one) for one in part.said[0].elts]]
    known = all(UNKNOWN not in one for one in found if isinstance(one, list))
    return found if known and UNKNOWN not in found else []


def element(node: ast.expr) -> object:
    """Return an element of an index: the name of a column, or an expression."""
    if isinstance(node, ast.Constant):
        return node.value
    texts = chosen(node.args[0]) if isinstance(node, ast.Call) and node.args else {}
    return text(texts[""]) if len(texts) == 1 else UNKNOWN


def differs(
    part: Part | None, model: Constraint | Index, database: str, spelling: Spelling
) -> bool:
    """Tell whether a part surely is another one than the model's on a database."""
    if part is None:
        return False
    if options_differ(part, model, database, spelling):
        return True
    if isinstance(model, CheckConstraint):
        if part.kind != "check":
            return True
        there = by_database(chosen(part.said[0])).get(database) if part.said else None
        wanted = spelling.texts(model.sqltext).get(database)
        return there is not None and wanted is not None and key_of(there) != key_of(wanted)
    if isinstance(model, Index) and part.kind == "index":
        return index_differs(part, model, database, spelling)
    found = values(part)
    if isinstance(model, ForeignKeyConstraint):
        return bool(found) and (part.kind, found[1:]) != (
            "foreignkey",
            [[*model.column_keys], [one.column.name for one in model.elements]],
        )
    columns = [*model.expressions] if isinstance(model, Index) else [*getattr(model, "columns", ())]
    names = [one.name if isinstance(one, Column) else None for one in columns]
    if part.kind == "exclude" or not found or not all(isinstance(one, str) for one in found[0]):
        return False
    # What is UNIQUE is a constraint or an index.
    same_kind = (part.kind == "unique") is not isinstance(model, Index)
    return not same_kind or found[0] != names


def index_differs(part: Part, model: Index, database: str, spelling: Spelling) -> bool:
    """Tell whether an index of scripts surely is another one than the model's on a database."""
    if (part.call.value(None, "unique") is True) is not bool(model.unique):
        return True
    if not part.said or not isinstance(part.said[0], ast.List):
        return False
    there = [
        one.value
        if isinstance(one, ast.Constant)
        else by_database(chosen(one.args[0])).get(database)
        if isinstance(one, ast.Call) and one.args
        else None
        for one in part.said[0].elts
    ]
    expressions = [one for one in model.expressions if isinstance(one, ClauseElement)]
    wanted = [
        one.name if isinstance(one, Column) else spelling.texts(one, is_index=True).get(database)
        for one in expressions
    ]
    if None in there or None in wanted:
        return False
    return [*map(key_of, map(str, there))] != [*map(key_of, map(str, wanted))]
