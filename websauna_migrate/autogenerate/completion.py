"""What a comparison finds besides that which Alembic finds, in an order that works."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Index, Table

from websauna_migrate.alembic_adapter.written_expressions import DATABASES, written_for
from websauna_migrate.autogenerate.compare.attributes import (
    attribute_changes,
    attributes_of_new,
    column_changes,
    created_parts,
    index_aside,
    keep_collations,
    mysql_option_changes,
    mysql_sequence_changes,
    require_no_conflict,
    sqlite_option_changes,
)
from websauna_migrate.autogenerate.compare.by_hand import changes_by_hand, changes_left, names_of
from websauna_migrate.autogenerate.compare.columns import (
    add_unsaid,
    changed_columns,
    finish_new,
    judge_columns,
    parts_with,
    say_unsaid,
)
from websauna_migrate.autogenerate.compare.conditional import ConditionalParts
from websauna_migrate.autogenerate.compare.constraints import ConstraintComparison, is_for_others
from websauna_migrate.autogenerate.compare.enum_types import NamedTypes
from websauna_migrate.autogenerate.compare.indexes import (
    IndexComparison,
    changed_indexes,
    expressions_first,
    leave_to_servers,
    missing_indexes,
    with_expression_indexes,
    with_index_drops,
)
from websauna_migrate.autogenerate.compare.leaning import freed_keys, freed_parts
from websauna_migrate.autogenerate.compare.numbering import (
    numbering_changes,
    numbers_elsewhere,
    sequence_changes,
)
from websauna_migrate.autogenerate.compare.objects import SchemaObjects
from websauna_migrate.autogenerate.compare.renaming import Renaming
from websauna_migrate.autogenerate.compare.unnamed_checks import (
    check_source,
    keep_unnamed_checks,
    unnamed_check,
)
from websauna_migrate.autogenerate.compare.unseen_types import UnseenTypes, take_unseen
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.enum_order import free_values
from websauna_migrate.autogenerate.operations.model_columns import changed, numbered
from websauna_migrate.autogenerate.operations.naming import name_constraints, unused
from websauna_migrate.autogenerate.operations.ordering import (
    apart_by_database,
    arrange,
    computed_before,
    statements_apart,
    target_of,
)
from websauna_migrate.autogenerate.operations.rendering import say_written_types
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, mark, single
from websauna_migrate.autogenerate.operations.server_statements import KeyChange
from websauna_migrate.autogenerate.operations.table_changes import (
    ComputedColumns,
    TableChanges,
    computed_columns,
)
from websauna_migrate.autogenerate.operations.type_change import in_steps, without_check
from websauna_migrate.autogenerate.package_objects import Key, has_custom_comparison
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.postgresql import check_name

#: What Alembic finds too, and the facts tell alone.
BY_FACTS = (ops.AddConstraintOp, ops.DropConstraintOp, ops.CreateIndexOp, ops.DropIndexOp)

#: Operations on the comment of a table.
COMMENTS = (ops.CreateTableCommentOp, ops.DropTableCommentOp)


@dataclass(eq=False)
class Completion:
    """The completion of one upgrade that Alembic found.

    :ivar found: what differs
    :ivar unseen: types that differ on other databases alone
    :ivar conditional: constraints and indexes that some databases alone have
    :ivar context: Alembic's, of the comparison
    """

    renaming: Renaming
    found: FoundDifferences
    unseen: UnseenTypes
    conditional: ConditionalParts
    context: AutogenContext
    upgrade: ops.UpgradeOps

    def __post_init__(self) -> None:
        self.owned, self.reflection = self.renaming.owned, self.renaming.reflection
        self.models = self.owned.models
        self.inspector = self.context.inspector
        self.database = self.reflection.connection.dialect.name.replace("mariadb", "mysql")

    @property
    def table_changes(self) -> list[TableChanges]:
        """The changes of tables that were found so far; one table's may stand in several parts."""
        return [op for op in self.upgrade.ops if isinstance(op, TableChanges)]

    @property
    def new_tables(self) -> list[tuple[ops.CreateTableOp, Key]]:
        """The creations of tables, with the tables' keys."""
        creations = [op for op in self.upgrade.ops if isinstance(op, ops.CreateTableOp)]
        return [(op, self.owned.key_of(op)) for op in creations]

    def run(self) -> None:
        """Complete and arrange the operations."""
        named = NamedTypes(self.owned, self.reflection, self.found, self.context)
        types = named.operations(self.upgrade)
        self.upgrade.ops[:] = [TableChanges.of(one) for one in self.upgrade.ops]
        for change in self.table_changes:
            if (table := self.models.get(self.owned.key_of(change))) is not None:
                change.computed = computed_columns(table)
        changes = [one for one in types if isinstance(one, EnumChange)]
        self.compare_tables(named, changes)
        beside = SchemaObjects(self.owned, self.reflection)
        objects = beside.operations(self.upgrade)
        self.keep_computed(changes)
        self.give_conditions()
        if is_for_others(self.context):
            self.leave_to_servers()
        finish_new(self.upgrade, self.models, self.reflection.connection)
        for op, key in self.new_tables:
            say_unsaid(op, self.found, key)
        arrange(self.upgrade)
        self.upgrade.ops[:] = [
            *(one for one in [*objects, *types] if not one.diff[0].startswith("remove_")),
            *self.upgrade.ops,
            *(one for one in [*types, *objects] if one.diff[0].startswith("remove_")),
        ]
        if self.database == "postgresql":
            free_values(self.upgrade, self.owned)
            found = [part for op in self.upgrade.ops for part in statements_apart(op)]
            self.upgrade.ops[:] = found
        say_written_types(self.upgrade.ops, self.owned, self.context, self.renaming.plain)
        self.order_changes()
        self.upgrade.ops[:] = [part for op in self.upgrade.ops for part in apart_by_database(op)]
        changed = changed_indexes(self.upgrade.ops)
        expressions_first(self.upgrade, self.models)
        self.upgrade.ops[:] = [
            part
            for op in self.upgrade.ops
            for part in with_expression_indexes(op, self.models, partial(self.is_kept, changed))
        ]
        aside = [*self.indexes_aside()]
        self.upgrade.ops[:] = [
            *self.renaming.operations(self.upgrade),
            *aside,
            *self.of_database(first=True),
            *with_index_drops(self.upgrade.ops, self.models),
            *self.by_hand(),
            *self.of_database(first=False),
            *self.numbers_elsewhere(),
            *(one.reverse() for one in aside),
            *self.sequences(beside),
        ]
        self.tell_the_rest()

    def is_kept(self, changed: Collection[tuple[Key, str]], key: Key, index: Index) -> bool:
        """Tell whether SQLite has an index before this script and behind it.

        :param changed: the indexes that the script drops or creates
        """
        if (key, str(index.name)) in changed or not self.conditional.is_on(index, "sqlite"):
            return False
        if not self.conditional.is_on(index, self.database):
            return True
        there = self.inspector.get_indexes(key[1], schema=key[0])
        return any(one["name"] == str(index.name) for one in there)

    def compare_tables(self, named: NamedTypes, types: Sequence[EnumChange]) -> None:
        """Complete the changes of each table.

        :param types: changes of types, which change their columns too
        """
        covered = {(one.table.name, one.name) for change in types for one in change.columns}
        for table in self.existing_tables.values():
            self.compare(table, covered)
        self.add_unseen(named)
        for table in self.existing_tables.values():
            self.free_keys(table)
        if self.database == "sqlite":
            self.complete_new_tables()

    def add_unseen(self, named: NamedTypes) -> None:
        """Add changes of columns that this database does not see, also of tables that are equal."""
        for table in self.owned.tables:
            changes = self.changes_of(table)
            changes.ops += [*named.unseen_changes(table, changes)]
            self.keep(changes)

    def give_conditions(self) -> None:
        """Let constraints and indexes come and go on the databases that they are for."""
        for table in self.existing_tables.values():
            changes = self.changes_of(table)
            self.conditional.complete(changes, table)
            self.keep(changes)
            self.free_parts(table)
        followers = self.table_changes
        for op, key in self.new_tables:
            if key in self.models:
                constraints, indexes = self.conditional.take_out(op, self.models[key], followers)
                place = self.upgrade.ops.index(op) + 1
                self.upgrade.ops[place:place] = [constraints] if constraints.ops else []
                self.keep(indexes)
        for drop in [one for one in self.upgrade.ops if isinstance(one, ops.DropTableOp)]:
            self.keep(self.conditional.take_out_going(drop, followers))

    def leave_to_servers(self) -> None:
        """Let tables that go come back as the models had them, on MariaDB."""
        written = self.owned.older_operations(self.context.opts.get("older_scripts"))
        for op in self.upgrade.ops:
            if isinstance(op, ops.DropTableOp):
                facts = self.reflection.facts.of(self.owned.key_of(op))
                leave_to_servers(op, facts, self.table_changes, written, self.reflection.connection)

    def keep_computed(self, changes: Sequence[EnumChange]) -> None:
        """Let changes of values keep the computed columns that their tables have before."""
        for change in changes:
            change.computed = {
                column.table.name: [*computed_before(self.changes_of(column.table))]
                for column in change.columns
            }

    def tell_the_rest(self) -> None:
        """Add what differs and no operation is about."""
        # With hooks of its own env.py says what is seen.
        if not has_custom_comparison(self.context, self.owned):
            named = [names_of(op, self.reflection.connection) for op in self.upgrade.ops]
            for key in self.existing_tables:
                self.upgrade.ops += changes_left(key, self.found, named)

    def order_changes(self) -> None:
        """Put each table's changes in order, and name its constraints.

        SQLite has no comments.
        """
        databases = written_for(self.context)
        commented = tuple(one for one in DATABASES if one in databases and one != "sqlite")
        for op in self.table_changes:
            model = self.models.get(self.owned.key_of(op))
            self.tell_types(op)
            op.ops[:] = in_steps(op.ops, model, self.database, databases)
            for one in op.ops:
                if isinstance(one, COMMENTS) and "sqlite" in databases:
                    mark(one, only=commented)
            columns = [column.name for column in model.columns] if model is not None else []
            name_constraints(op, self.taken_names(op, columns), columns)
            keep_unnamed_checks(op)

    def tell_types(self, changes: TableChanges) -> None:
        """Let changes of types know what the server calls both."""
        key = self.owned.key_of(changes)
        for op in changes.ops:
            if isinstance(op, ops.AlterColumnOp) and op.modify_type is not None:
                found = self.found.of_column(key, op.column_name).get("type")
                if found is not None:
                    mark(op, server_types=(found.left, found.right))

    def indexes_aside(self) -> Iterator[ScriptOp]:
        """Yield what gives numbered columns an index while the primary keys of tables change."""
        changes = [op for op in self.table_changes if any(isinstance(o, KeyChange) for o in op.ops)]
        for key in dict.fromkeys(map(self.owned.key_of, changes)):
            schema, name = key
            there = self.inspector.get_columns(name, schema=schema)
            numbered = {one["name"] for one in there if one.get("autoincrement") is True}
            if (model := self.models[key].autoincrement_column) is not None:
                numbered.add(model.name)
            if self.database == "sqlite":
                found = self.inspector.get_pk_constraint(name, schema=schema)
                numbered.update(found["constrained_columns"][:1])
            kept = {one["name"] for one in there} & {*self.models[key].columns.keys()}
            yield from (index_aside(key, name) for name in sorted(numbered & kept))

    def sequences(self, beside: SchemaObjects) -> Iterator[ScriptOp]:
        """Yield the changes of sequences that stand alone."""
        changes = sequence_changes if self.database == "postgresql" else mysql_sequence_changes
        for key in sorted(beside.of_models, key=str):
            yield from changes(key, self.found)

    def by_hand(self) -> Iterator[ScriptOp]:
        """Yield the changes that are left to a person."""
        for key in self.existing_tables:
            yield from changes_by_hand(key, self.found)
            yield from self.unseen.by_hand(key)
            yield from self.conditional.left.get(key, ())

    def of_database(self, *, first: bool) -> Iterator[ScriptOp | TableChanges]:
        """Yield the changes of tables that one kind of database alone knows.

        :param first: those that come before the changes of columns, else those behind
        """
        for key, table in self.existing_tables.items():
            if self.database == "postgresql":
                yield from numbering_changes(key, self.found, first=first)
                parts = created_parts(key, self.found, upgrade=not first)
                yield from attributes_of_new(key, parts, upgrade=not first)
                yield from () if first else attribute_changes(key, self.found)
            elif self.database == "sqlite":
                unnamed = self.constraints_of(table).unnamed
                checks: Sequence[str] = [*map(check_source, unnamed)]
                computed: ComputedColumns = [*computed_before(self.changes_of(table))]
                if not first:
                    for op in self.parts_of(key):
                        checks = op.table_args[0] or checks
                    computed = computed_columns(table)
                yield from sqlite_option_changes(
                    table, key, self.found, checks, computed, first=first
                )
            elif self.database == "mysql":
                inner = (one for op in self.parts_of(key) for one in op.ops)
                names = [str(getattr(one, "column_name", "")) for one in inner]
                yield from column_changes(key, self.found, names, first=first)
                yield from mysql_option_changes(key, self.found) if first else ()
        if self.database == "postgresql":
            # What is created in the upgrade is there in the end, what comes back before the rest.
            whole = ops.DropTableOp if first else ops.CreateTableOp
            of_side = self.reflection.facts.of if first else self.found.in_models
            for key in [self.owned.key_of(op) for op in self.upgrade.ops if isinstance(op, whole)]:
                yield from attributes_of_new(key, of_side(key), upgrade=not first)

    def numbers_elsewhere(self) -> Iterator[ScriptOp]:
        """Yield the changes of sequences that this database has none of."""
        if self.database != "postgresql" and "postgresql" in written_for(self.context):
            yield from numbers_elsewhere(self.upgrade.ops, self.models)

    def complete_new_tables(self) -> None:
        """Add the expression indexes of new tables, which Alembic leaves out on SQLite."""
        there = {str(getattr(one, "index_name", "")) for one in single(self.upgrade)}
        for op, key in self.new_tables:
            found = missing_indexes(self.models[key]) if key in self.models else []
            missing = [one for one in found if str(one.index_name) not in there]
            self.keep(TableChanges(op.table_name, missing, schema=op.schema))

    @cached_property
    def existing_tables(self) -> Mapping[Key, Table]:
        """The models' tables that the database has as well, by key."""
        names = {
            schema: set(self.inspector.get_table_names(schema=schema))
            for schema in {schema for schema, _ in self.models}
        }
        return {key: table for key, table in self.models.items() if key[1] in names[key[0]]}

    def compare(self, table: Table, covered: set[tuple[str, str]]) -> None:
        """Compare what Alembic does not compare of a table."""
        changes = self.changes_of(table)
        key = self.owned.key_of(table)
        differences = self.found.of(key)
        elsewhere = [*take_unseen(changes, table, key, self.unseen, self.database)]
        if self.database == "sqlite":
            require_no_conflict(self.owned.package, key, self.found)
        judge_columns(changes, table, self.found, key, self.database)
        if self.database == "mysql":
            keep_collations(changes, self.found, key)
        add_unsaid(changes, table, self.found, key, self.context.run_object_filters)
        changes.ops[:] = [numbered(op) for op in changes.ops if not isinstance(op, BY_FACTS)]
        for op in changes.ops:
            if isinstance(op, ops.AddColumnOp) and op.column.table is table:
                # The CHECK of its type comes by an operation of its own, and can go before it.
                op.column = changed(op.column, type=without_check(op.column.type))
        checks = self.constraints_of(table, differences)
        checks.skipped = {column for name, column in covered if name == table.name}
        found = checks.operations()
        changes.checks = checks
        changes.ops += found
        changes.ops += self.indexes_of(table, differences).operations()
        self.make_columns_anew(changes, table)
        if checks.lost:
            changes.recreate = True
            there = checks.unnamed
            changes.ops[:0] = [
                unnamed_check(table, one, there, checks.columns).reverse() for one in checks.lost
            ]
        changes.ops[:0] = elsewhere
        self.keep(changes)

    def constraints_of(
        self, table: Table, differences: Sequence[Difference] = ()
    ) -> ConstraintComparison:
        """Return the comparison of a table's constraints."""
        key = self.owned.key_of(table)
        there, models = self.found.in_database(key), self.found.in_models(key)
        return ConstraintComparison(self.context, table, differences, there, models)

    def indexes_of(self, table: Table, differences: Sequence[Difference]) -> IndexComparison:
        """Return the comparison of a table's indexes."""
        there = self.found.in_database(self.owned.key_of(table))
        return IndexComparison(self.context, table, differences, there, self.owned)

    def make_columns_anew(self, changes: TableChanges, table: Table) -> None:
        """Add what makes computed columns anew, with the indexes and constraints that go with them.

        Computed columns hold nothing of value.
        """
        key = self.owned.key_of(table)
        databases = written_for(self.context)
        again = changed_columns(table, key[0], self.inspector, self.found, databases)
        names = {op.column_name for op in again if isinstance(op, ops.DropColumnOp)}
        if not names:
            return
        changes.ops[:] = [
            op
            for op in changes.ops
            if not isinstance(op, ops.AlterColumnOp) or op.column_name not in names
        ]
        parts = [*parts_with(names, self.found, key)]
        changes.ops += self.constraints_of(table, parts).operations()
        changes.ops += self.indexes_of(table, parts).operations()
        changes.ops += again

    def free_keys(self, table: Table) -> None:
        """Let a table's foreign keys go and come where something at an end of them changes.

        SQLite alone, where foreign keys say nothing of types, makes the tables anew anyway. A
        script that is written there leaves keys to another package's tables, since these change
        in a script of their own.
        """
        if [*written_for(self.context)] == ["sqlite"]:
            return
        changes = self.changes_of(table)
        freed = freed_keys(
            table,
            self.constraints_of(table),
            self.found,
            self.owned,
            self.upgrade,
            self.reflection.given_up,
            needs_index=self.database == "mysql",
        )
        changes.ops += [
            op
            for op in freed
            if self.database != "sqlite"
            or bool(getattr(op, "only", None))
            or all(self.owned.owner_of(*key) == self.owned.package for key in target_of(op))
        ]
        self.keep(changes)

    def free_parts(self, table: Table) -> None:
        """Let CHECKs and indexes go and come on PostgreSQL where types change, unseen from here."""
        if self.database != "postgresql" and "postgresql" in written_for(self.context):
            changes = self.changes_of(table)
            changes.ops += freed_parts(table, changes, self.context)
            self.keep(changes)

    def changes_of(self, table: Table) -> TableChanges:
        """Return the changes of a table that were found so far."""
        key = self.owned.key_of(table)
        if parts := self.parts_of(key):
            return parts[0]
        changes = TableChanges(table.name, [], schema=key[0])
        changes.computed = computed_columns(table)
        return changes

    def parts_of(self, key: Key) -> list[TableChanges]:
        """Return the parts in which the changes of a table stand by now."""
        return [op for op in self.table_changes if self.owned.key_of(op) == key]

    def keep(self, changes: TableChanges) -> None:
        """Let the changes of a table be among the operations, unless there are none."""
        if changes not in self.upgrade.ops:
            self.upgrade.ops += [changes] if changes.ops else []
        elif not changes.ops:
            self.upgrade.ops.remove(changes)

    def taken_names(self, changes: TableChanges, columns: Sequence[str]) -> set[str]:
        """Return the names that constraints of a table have, and keep.

        :param columns: the table's
        """
        names: set[str] = set()
        schema = self.owned.normal(changes.schema)
        if changes.table_name not in self.inspector.get_table_names(schema=schema):
            return set()
        for kind in ("foreign_keys", "unique_constraints", "check_constraints", "indexes"):
            try:
                facts = getattr(self.inspector, f"get_{kind}")(changes.table_name, schema=schema)
            except NotImplementedError:
                continue
            names |= {str(one["name"]) for one in facts if one["name"]}
            if kind == "check_constraints":
                # SQLite's have none, and these on PostgreSQL.
                for one in facts:
                    if not one["name"]:
                        given = check_name(changes.table_name, one["sqltext"], columns)
                        names.add(unused(given, names))
        return names - {
            str(one.constraint_name)
            for op in self.parts_of((schema, changes.table_name))
            for one in op.ops
            if isinstance(one, ops.DropConstraintOp)
        }
