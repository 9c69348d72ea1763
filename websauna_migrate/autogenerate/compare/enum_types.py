"""Enum types and domains: PostgreSQL's types of their own, the column's type elsewhere.

A type is created once, by its owner's script, before the first table that uses it, and dropped in
that script's downgrade. The script is the same whichever database it was made on: what only
PostgreSQL has to do is in a branch for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import TypeEngine

from websauna_migrate.alembic_adapter.autogenerate_internals import columns_that_come_back
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.compare.domains import domain_changes, domain_drop
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, columns_in
from websauna_migrate.autogenerate.operations.column_types import TypeRenderer
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.rendering import typed_columns
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, on_dialect, single
from websauna_migrate.autogenerate.operations.server_statements import qualified, statements
from websauna_migrate.autogenerate.operations.type_change import TypeChange, without_check
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.named_types import ModelType, NamedType, is_array, named_types
from websauna_migrate.models.sqlalchemy_internals import types_of_metadata
from websauna_migrate.planning.revisions import Revision


@dataclass(eq=False)
class NamedTypes:
    """The named types of one package: in the models, in its scripts and in the database.

    :ivar context: its inspector answers as if the renames of the revision had been made
    :ivar coming: the types that the operations create, by key
    :ivar going: those that they drop
    """

    owned: PackageObjects
    reflection: Reflection
    found: FoundDifferences
    context: AutogenContext
    coming: dict[Key, ModelType] = field(default_factory=dict)
    going: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.inspector = self.context.inspector
        self.for_postgresql = "postgresql" in self.context.opts.get("compared_for", ())
        self.on_postgresql = self.reflection.connection.dialect.name == "postgresql"

    def operations(self, upgrade: ops.UpgradeOps) -> list[ScriptOp]:
        """Return what creates, changes and drops the package's types.

        :param upgrade: the operations found so far, which may use new types; a change of a column
            that a change of its type covers is taken out of them
        :raises RevisionFailed: if models disagree on a type
        """
        model = self.of_models()
        mine = {
            key: found
            for key, found in model.items()
            if self.owned.ownership.enum_owner(*key, self.owned.default_schema)
            == self.owned.package
        }
        used = self.used_by(upgrade)
        changes: list[ScriptOp] = []
        for key, found in mine.items():
            if self.exists(key):
                change = self.change(key, found, upgrade)
                if change is not None:
                    changes.append(change)
            elif key in used or self.on_postgresql or self.was_another(found):
                self.coming[key] = found
        going = self.unused(model) if self.for_postgresql else {}
        renamed = [*self.renamed(mine, used, going)]
        # A column may go over from a type that changes to a new one; a new domain may be of one.
        enums = {key: one for key, one in self.coming.items() if isinstance(one.type, sa.Enum)}
        domains = {key: one for key, one in self.coming.items() if key not in enums}
        operations = [creation(key, one) for key, one in enums.items()]
        operations += changes
        operations += [creation(key, one) for key, one in domains.items()]
        operations += domain_changes(self.owned.package, mine, self.found)
        operations += renamed
        self.going = {*going}
        # A domain may be of an enum type.
        for key, type_ in sorted(going.items(), key=lambda item: (item[1].kind, str(item[0]))):
            if type_.kind == "domain type":
                operations.append(domain_drop(key, self.reflection.facts.of(key)))
            else:
                values = enum_values(type_)
                dropped = ModelType(sa.Enum(*values, name=key[1], schema=key[0]))
                operations.append(creation(key, dropped).reverse())
        return operations

    def renamed(
        self, mine: Mapping[Key, ModelType], used: Collection[Key], going: dict[Key, Fact]
    ) -> Iterator[ScriptOp]:
        """Yield the renames of types that go while their columns stay as they are.

        PostgreSQL says by its columns what becomes of a type; elsewhere no column changes by it.

        :param used: types that new columns have
        :param going: those that no model has any more; such as are renamed are taken out, and their
            new names out of those that come
        """
        if self.on_postgresql:
            return
        for key, found in mine.items():
            if self.exists(key) or key in used or not found.columns:
                continue
            old = [
                (schema, name)
                for (schema, name), type_ in going.items()
                if schema == key[0] and found.values and tuple(enum_values(type_)) == found.values
            ]
            if len(old) == 1:
                del going[old[0]]
                self.coming.pop(key, None)
                yield statements(
                    ("rename_type", *old[0], key[1]),
                    [f"ALTER TYPE {qualified(*old[0])} RENAME TO {quote_name(key[1])}"],
                    [f"ALTER TYPE {qualified(*key)} RENAME TO {quote_name(old[0][1])}"],
                )

    def was_another(self, found: ModelType) -> bool:
        """Tell whether a type that no script creates has columns that had another type so far."""
        if not found.columns:
            return True
        return self.for_postgresql and any(
            column.name in self.owned.written().types.get(self.owned.key_of(column.table), {})
            for column in found.columns
        )

    def unseen_changes(self, table: sa.Table, changes: ops.ModifyTableOps) -> Iterator[TypeChange]:
        """Yield changes of columns to or from types that this database has no word for.

        A type that comes is that of columns which are there, and one that goes was theirs.
        """
        if self.on_postgresql or not (self.coming or self.going):
            return
        key = self.owned.key_of(table)
        written = self.owned.written().types.get(key, {})
        changing = {
            op.column_name
            for op in changes.ops
            if isinstance(op, ops.AlterColumnOp) and op.modify_type is not None
        }
        there = columns_in(self.found.in_database(key))
        for column in table.columns:
            if column.name in changing or column.name not in there:
                continue
            old = written.get(column.name)
            if old is None:
                continue
            comes = {self.key_of(one) for one in named_types(column.type)} & self.coming.keys()
            goes = {self.key_of(one) for one in named_types(old)} & self.going
            if comes or goes:
                yield TypeChange(
                    table.name,
                    column.name,
                    schema=key[0],
                    existing_type=without_check(old),
                    existing_nullable=not there[column.name].get("not null"),
                    existing_server_default=column.server_default or False,
                    existing_comment=column.comment,
                    modify_type=column.type,
                )

    def of_models(self) -> dict[Key, ModelType]:
        """Return the named types that the models of all packages use, by normal key.

        They are found once for all packages of a command.
        """
        known = self.reflection.model_types
        if known is not None:
            return known
        found: dict[Key, ModelType] = {}
        for package in sorted(self.owned.snapshot.packages):
            for table in self.owned.ownership.tables_of(package):
                for column in table.columns:
                    for type_ in named_types(column.type):
                        self.note(found, column, type_)
        for package in sorted(self.owned.snapshot.packages):
            for metadata in self.owned.snapshot.packages[package].metadata:
                for declared in types_of_metadata(metadata):
                    for type_ in named_types(declared):
                        # One that no column uses.
                        found.setdefault(self.key_of(type_), ModelType(type_))
        self.reflection.model_types = found
        return found

    def note(self, found: dict[Key, ModelType], column: Column[Any], type_: NamedType) -> None:
        """Add one use of a type."""
        key = self.key_of(type_)
        values = ModelType(type_).values
        known = found.setdefault(key, ModelType(type_))
        if known.values != values:
            first = known.columns[0]
            raise cannot_render(
                self.owned.package,
                f'column "{column.name}" of table "{column.table.fullname}"',
                f'has the enum type "{key[1]}" with the values {list(values)}, but column '
                f'"{first.name}" of table "{first.table.fullname}" has it with '
                f"{list(known.values)}.",
                "Use one enum, or give the types different names.",
            )
        known.columns.append(column)

    def key_of(self, type_: NamedType) -> Key:
        """Return the normal key of a type."""
        return (self.owned.normal(type_.schema), str(type_.name))

    def exists(self, key: Key) -> bool:
        """Tell whether a type is there already: in PostgreSQL, or else by the scripts."""
        if self.on_postgresql:
            return self.reflection.type_of(key) is not None
        forms = [*self.owned.forms(*key), ("public" if key[0] is None else key[0], key[1])]
        return any(self.owned.snapshot.created.type_origin(*form) for form in forms)

    @cached_property
    def last_values(self) -> Mapping[str, tuple[str, ...]]:
        """The values of enum types by the package's scripts, see :func:`last_values`."""
        snapshot = self.owned.snapshot
        return last_values(snapshot, snapshot.graph.timeline([self.owned.package]))

    def type_there(self, key: Key) -> Fact | None:
        """Return the type that PostgreSQL has; elsewhere the enum type that it has by the scripts.

        ``None`` if it is not known.
        """
        if self.on_postgresql:
            return self.reflection.type_of(key)
        values = self.last_values.get(key[1])
        return Fact.make("enum type", "", key[1], {"values": values}) if values else None

    def used_by(self, upgrade: ops.UpgradeOps) -> set[Key]:
        """Return the types that new columns have."""
        return {
            self.key_of(type_)
            for _, _, _, column_type in typed_columns(upgrade)
            for type_ in named_types(column_type)
        }

    def unused(self, model: Mapping[Key, ModelType]) -> dict[Key, Fact]:
        """Return those of PostgreSQL's types that the package surely created and no model has.

        One that something else of the database uses, which no package has, is left alone.
        """
        created = self.owned.snapshot.created
        found: dict[Key, Fact] = {}
        for written in created.types:
            origin = created.sure_type_origin(*written)
            keys = [(self.owned.normal(written[0]), written[1])]
            if written[0] == "public":
                keys.append((None, written[1]))
            for key in keys if origin and origin[0] == self.owned.package else ():
                type_ = self.type_there(key) if key not in model else None
                if type_ is not None:
                    found[key] = type_
        if not self.on_postgresql:
            return found
        users = {key: list(self.reflection.users_of_type(key)) for key in found}
        while others := {key for key in found if self.is_used_by_others(users[key], found)}:
            for key in others:
                del found[key]
        return found

    def is_used_by_others(self, users: Iterable[tuple[bool, Key]], going: Collection[Key]) -> bool:
        """Tell whether one of a type's users is no package's table, and no type that goes too."""
        return any(
            self.owned.owner_of(*user) is None if is_table else user not in going
            for is_table, user in users
        )

    def change(self, key: Key, found: ModelType, upgrade: ops.UpgradeOps) -> EnumChange | None:
        """Return the change of a type's values, ``None`` if they are the same."""
        if not isinstance(found.type, sa.Enum):
            return None
        type_ = self.type_there(key)
        before: Sequence[str] | None = (
            enum_values(type_) if type_ is not None and type_.kind == "enum type" else None
        )
        columns = [
            column
            for column in found.columns
            if self.owned.owner_of(column.table.schema, column.table.name) == self.owned.package
        ]
        names = {(*self.owned.key_of(column.table), column.name) for column in columns}
        if before == found.values or (
            before is None and not covered_changes(upgrade, key, self.owned, names)
        ):
            # The columns of the database need not be read.
            return None
        there = self.facts(columns)
        new = [column for column in columns if not self.has_already(column, key, there)]
        columns = [column for column in columns if column not in new]
        names = {(*self.owned.key_of(column.table), column.name) for column in columns}
        covered = covered_changes(upgrade, key, self.owned, names)
        if before is None:
            before = next(
                (
                    tuple(op.existing_type.enums)
                    for op in covered
                    if isinstance(op.existing_type, sa.Enum)
                ),
                None,
            )
        if before is None or tuple(before) == found.values:
            return None
        remove_changes(upgrade, covered)
        change = EnumChange(
            key,
            tuple(before),
            found.values,
            found.type,
            columns,
            self.facts(columns),
            in_keys=self.in_keys(columns),
            new_columns=new,
            at_once=(
                any((column.table.name, column.name) in there for column in new),
                any(self.loses(op, key) for op in single(upgrade)),
            ),
        )
        follow(upgrade, change)
        return change

    def has_already(
        self, column: Column[Any], key: Key, there: Mapping[tuple[str, str], ReflectedColumn]
    ) -> bool:
        """Tell whether a column of the models has a type in the database, under any values.

        Elsewhere than in PostgreSQL scripts tell what is not a string of another kind.

        :param there: the columns that the database has, by table and name
        """
        name = (column.table.name, column.name)
        if name not in there:
            return False
        type_ = self.type_before(self.owned.key_of(column.table), column.name, there[name]["type"])
        if type_ is None:
            return True
        return self.is_of(type_, key) and is_array(type_) == is_array(column.type)

    def loses(self, op: ops.MigrateOperation, key: Key) -> bool:
        """Tell whether an operation takes from a type what may need a value on the way back.

        That is a column which gets another type, or which goes with a server default.
        """
        if isinstance(op, ops.AlterColumnOp):
            old = self.type_before(self.owned.key_of(op), op.column_name, op.existing_type)
            new = op.modify_type
            return new is not None and self.is_of(old, key) and not self.is_of(new, key)
        if not isinstance(op, (ops.DropColumnOp, ops.DropTableOp)):
            return False
        columns = (
            [op.to_column()] if isinstance(op, ops.DropColumnOp) else columns_that_come_back(op)
        )
        return any(
            column.server_default is not None
            and self.is_of(self.type_before(self.owned.key_of(op), column.name, column.type), key)
            for column in columns
        )

    def type_before(
        self, table: Key, column: str, reflected: TypeEngine[Any] | None
    ) -> TypeEngine[Any] | None:
        """Return the type of a column of the database; elsewhere than on PostgreSQL by scripts.

        :param reflected: the one that the database tells
        """
        if self.on_postgresql:
            return reflected
        written = self.owned.written().types.get(table, {}).get(column)
        if written is None or not all(
            self.exists(self.key_of(one)) for one in named_types(written)
        ):
            # A type of another name by now.
            return None
        return written

    def is_of(self, type_: TypeEngine[Any] | None, key: Key) -> bool:
        """Tell whether a type is, or is made of, a named one."""
        return type_ is not None and any(self.key_of(one) == key for one in named_types(type_))

    def in_keys(self, columns: Iterable[Column[Any]]) -> bool:
        """Tell whether one of some columns is at an end of a foreign key."""
        names = {f"{column.table.fullname}.{column.name}" for column in columns}
        return any(
            key.target_fullname in names or f"{table.fullname}.{key.parent.name}" in names
            for table in self.owned.ownership.tables
            for key in table.foreign_keys
        )

    def facts(self, columns: Iterable[Column[Any]]) -> dict[tuple[str, str], ReflectedColumn]:
        """Return what columns are in the database, by table and name."""
        found: dict[tuple[str, str], ReflectedColumn] = {}
        for schema, name in {self.owned.key_of(column.table) for column in columns}:
            read = self.inspector.get_multi_columns(schema=schema, filter_names=[name])
            for facts in read.get((schema, name), ()):
                found[name, facts["name"]] = facts
        return found


def enum_values(fact: Fact) -> tuple[str, ...]:
    """Return the values of an enum type of the database."""
    values = fact.get("values")
    return values if isinstance(values, tuple) else ()


def creation(key: Key, found: ModelType) -> ScriptOp:
    """Return the operation that creates a type."""

    def lines(context: AutogenContext, method: str) -> list[str]:
        prefix = context.opts["sqlalchemy_module_prefix"] or ""
        bind = f"{context.opts['alembic_module_prefix']}get_bind()"
        call = f"{method}({bind}, checkfirst=False)"
        if isinstance(found.type, postgresql.DOMAIN):
            source = TypeRenderer(context).domain_source(found.type)
            return on_dialect(context, "postgresql", [f"{source}.{call}"])
        arguments = [*map(repr, found.values), f"name={key[1]!r}"]
        if key[0]:
            arguments.append(f"schema={key[0]!r}")
        return [f"{prefix}Enum({', '.join(arguments)}).{call}"]

    return ScriptOp(
        ("add_type", *key, found.values),
        lambda context: lines(context, "create"),
        lambda context: lines(context, "drop"),
        ("remove_type", *key, found.values),
    )


def covered_changes(
    upgrade: ops.UpgradeOps,
    key: Key,
    owned: PackageObjects,
    columns: Collection[tuple[str | None, str, str]],
) -> list[ops.AlterColumnOp]:
    """Return the changes of columns from one form of an enum type to another.

    :param columns: those that have the type, by schema, table and name
    """
    return [
        op
        for op in single(upgrade)
        if isinstance(op, ops.AlterColumnOp)
        and op.modify_type is not None
        and (*owned.key_of(op), op.column_name) in columns
        and any(
            (owned.normal(type_.schema), str(type_.name)) == key
            for type_ in named_types(op.modify_type)
        )
        and isinstance(op.existing_type, (sa.Enum, sa.String))
    ]


def follow(upgrade: ops.UpgradeOps, change: EnumChange) -> None:
    """Let further changes of the columns come after the change of their type.

    MariaDB is told the whole column each time. Defaults that follow from renaming a value are
    taken out.
    """
    renamed = dict(change.renamed)
    columns = {(column.table.name, column.name): column for column in change.columns}
    for table in upgrade.ops:
        for op in table.ops if isinstance(table, ops.ModifyTableOps) else ():
            if isinstance(op, ops.AlterColumnOp) and (op.table_name, op.column_name) in columns:
                op.existing_type = columns[op.table_name, op.column_name].type
                if op.modify_server_default is False:
                    continue
                old = change.constant(str(getattr(op.existing_server_default, "arg", "")))
                new = str(getattr(op.modify_server_default, "arg", ""))
                if old is not None and renamed.get(old) == new:
                    op.existing_server_default = op.modify_server_default
                    op.modify_server_default = False
                elif old not in (None, *change.after) or new not in ("", *change.before):
                    change.defaults[op.table_name, op.column_name] = (
                        op.existing_server_default or None,
                        op.modify_server_default,
                    )
                    # MariaDB is told the default again with each further change of the column.
                    op.existing_server_default = op.modify_server_default or False
                    op.modify_server_default = False
    remove_changes(upgrade, [])


def remove_changes(upgrade: ops.UpgradeOps, covered: Iterable[ops.AlterColumnOp]) -> None:
    """Take the change of the type out of changes of columns, and those that change nothing else."""
    for op in covered:
        op.modify_type = None
    for table in upgrade.ops:
        if isinstance(table, ops.ModifyTableOps):
            table.ops[:] = [
                op for op in table.ops if not isinstance(op, ops.AlterColumnOp) or op.has_changes()
            ]
    upgrade.ops[:] = [op for op in upgrade.ops if not isinstance(op, ops.ModifyTableOps) or op.ops]


def last_values(
    snapshot: LoadedScripts, revisions: Iterable[Revision]
) -> Mapping[str, tuple[str, ...]]:
    """Return the values of enum types by name, as the last of some scripts that says so has them.

    Only PostgreSQL can say what values a type has. On other databases the scripts tell, so that a
    value which was added on a developer's SQLite reaches the PostgreSQL where the script runs. A
    type that a later script changes by SQL of its own is left out.

    :param revisions: of a package, in the order in which they are applied
    """
    found: dict[str, tuple[str, ...]] = {}
    accesses = (snapshot.all_effects[one.package, one.id] for one in revisions)
    for access in chain.from_iterable(accesses):
        if access.kind == "rename_type" and access.name in found:
            found[str(access.new_name)] = found.pop(access.name)
        elif access.kind in ("create_type", "use_type", "alter_type") and access.values:
            found[access.name] = access.values
        elif access.kind == "alter_type":
            found.pop(access.name, None)
    return found
