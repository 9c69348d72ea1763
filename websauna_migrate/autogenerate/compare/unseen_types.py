"""Types of columns that differ on other databases than this one, which has one word for both.

SQLite has one type for a time with a zone and one without. What a column is on the other databases
of a package the scripts say; what it has to be there, the models do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, ForeignKeyConstraint, Table
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.schema import DefaultClause
from sqlalchemy.types import NullType, TypeEngine

from websauna_migrate.alembic_adapter.autogenerate_internals import render_type
from websauna_migrate.alembic_adapter.written_expressions import DATABASES, dialects_of
from websauna_migrate.autogenerate.compare.by_hand import by_hand
from websauna_migrate.autogenerate.compare.columns import TYPE
from websauna_migrate.autogenerate.compare.leaning import ends
from websauna_migrate.autogenerate.fact_comparison import FoundDifferences, columns_in
from websauna_migrate.autogenerate.operations.column_types import UnfitType
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.type_change import INTEGERS, TypeChange, without_check
from websauna_migrate.autogenerate.package_objects import Key, PackageObjects
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.models.named_types import named_types
from websauna_migrate.models.sqlalchemy_internals import variants_of, with_other_variant
from websauna_migrate.models.type_words import are_one, is_castable, name_in, one_word, words_in_ddl
from websauna_migrate.revision_scripts.script_names import Names
from websauna_migrate.revision_scripts.written_operations import needs_batch
from websauna_migrate.revision_scripts.written_types import type_in

#: A column: the normal key of its table, and its name.
Place = tuple[Key, str]

#: The words of a type on the dialects of a database.
Words = tuple[str, ...]

#: Types of MariaDB that an index wants a length for.
LONG = re.compile(r"\w*(TEXT|BLOB)|JSON")


@dataclass
class UnseenType:
    """A type that differs on other databases.

    :ivar old: the type that the column has by the scripts, as each database spells it
    :ivar words: what it is and has to be, by database
    :ivar reasons: why a database's change is left to a person
    """

    column: Column[Any]
    old: TypeEngine[Any]
    words: dict[str, tuple[Words, Words]]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases on which a script changes it."""
        return tuple(one for one in self.words if one not in self.reasons)


@dataclass(eq=False)
class UnseenTypes:
    """The columns of a package whose types differ on other databases than this one.

    :ivar context: its options say for which databases types are compared
    :ivar renames: those of the new script
    :ivar changes: by table and name
    :ivar asked: those of which Alembic asked whether the type differs: neither a filter nor a
        function of ``env.py`` has said it before
    """

    owned: PackageObjects
    context: AutogenContext
    found: FoundDifferences
    renames: Renames
    changes: dict[Place, UnseenType] = field(default_factory=dict)
    asked: set[Place] = field(default_factory=set)
    _runs: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.own = self.context.dialect.name.replace("mariadb", "mysql")
        wanted: Collection[str] = self.context.opts.get("compared_for", ())
        self.others = [one for one in DATABASES if one in wanted and one != self.own]
        if self.others:
            self.find()
        if self.changes:
            self.leave_to_a_person()

    @property
    def tables(self) -> set[Key]:
        """The tables that have such columns."""
        return {key for key, _ in self.changes}

    def differs(self, column: Column[Any]) -> bool:
        """Tell whether a script changes a column's type, and note that it was asked."""
        place = (self.owned.key_of(column.table), str(column.name))
        if place not in self.changes:
            return False
        self.asked.add(place)
        return bool(self.changes[place].databases)

    def by_hand(self, key: Key) -> Iterator[ScriptOp]:
        """Yield what stands in a script for changes of a table that are left to a person."""
        for (table, name), one in self.changes.items():
            if table != key or (table, name) not in self.asked:
                continue
            for database, reason in one.reasons.items():
                old, new = (words[-1] for words in one.words[database])
                yield by_hand(
                    f'table "{key[1]}", column "{name}": on {database} type is {old} by the '
                    f"scripts, {new} in the models, and {reason}"
                )

    # What differs

    def find(self) -> None:
        """Find the columns."""
        for key, table in self.owned.models.items():
            if key not in self.found.tables:
                continue
            there = columns_in(self.found.in_database(key))
            for column in table.columns:
                name = str(column.name)
                if name in there and not TYPE & self.found.of_column(key, name).keys():
                    change = self.change_of(column, (key, name))
                    if change is not None:
                        self.changes[key, name] = change

    def change_of(self, column: Column[Any], place: Place) -> UnseenType | None:
        """Return the change of a column, ``None`` if there is none that is sure."""
        if column.computed is not None or isinstance(column.type, NullType):
            return None
        own = self.written(place, self.own)
        everywhere = {self.written(place, one) for one in self.others}
        if own is None or all(one is None or are_alike(one, column.type) for one in everywhere):
            return None
        if [*named_types(own), *named_types(column.type)]:
            # Enum types are compared by themselves.
            return None
        differing = [
            (database, written)
            for database in self.others
            if (written := self.written(place, database)) is not None
            and self.differ(database, written, column.type) is not None
        ]
        if not differing or not are_one(own, column.type, self.context.dialect):
            return None
        # What a script says of the model's type counts: it is what will be read of it.
        model = self.as_rendered(column.type)
        if model is None:
            return None
        words = {
            database: different
            for database, written in differing
            if (different := self.differ(database, written, model)) is not None
        }
        return UnseenType(column, self.composite(place, own), words) if words else None

    def written(self, place: Place, database: str) -> TypeEngine[Any] | None:
        """Return the type that a column surely has on a database by the scripts."""
        (schema, table), name = place
        old = {new: old for old, new in self.renames.columns_of(schema, table).items()}
        before = (schema, self.renames.old_table(schema, table))
        types = self.owned.types_on(DATABASES[database])
        return types.get(before, {}).get(old.get(name, name))

    def differ(
        self, database: str, written: TypeEngine[Any], model: TypeEngine[Any]
    ) -> tuple[Words, Words] | None:
        """Return the words of two types if a database surely has another type for each."""
        old, new = (words_on(database, one) for one in (written, model))
        if old is None or new is None or old == new or not self.runs_on(database):
            return None
        if is_exact_name(database, written, model) or is_exact_name(database, model, written):
            return None
        return old, new

    def runs_on(self, database: str) -> bool:
        """Tell whether the package's scripts may run on a database: it has each type of theirs."""
        if database not in self._runs:
            types = self.owned.types_on(DATABASES[database])
            # Scripts that were written for other databases surely fail on SQLite.
            fails = database == "sqlite" and any(map(needs_batch, self.owned.operations))
            self._runs[database] = not fails and all(
                compiled(database, type_) is not None
                for table, columns in types.items()
                if self.owned.owns(*table)
                for type_ in columns.values()
            )
        return self._runs[database]

    def as_rendered(self, type_: TypeEngine[Any]) -> TypeEngine[Any] | None:
        """Return what a script would say of a type, read as older scripts are."""
        prefix = self.context.opts["sqlalchemy_module_prefix"] or ""
        given = self.context.opts
        self.context.opts = {**given, "written_for": [self.own, *self.others]}
        try:
            source = str(render_type(type_, self.context))
        except UnfitType:
            # It is told where it is written.
            return None
        finally:
            self.context.opts = given
        head = f"import sqlalchemy as {prefix.rstrip('.') or 'sa'}\n"
        dialects = "from sqlalchemy.dialects import mysql, postgresql, sqlite\n"
        try:
            tree = ast.parse(f"{head}{dialects}{source}")
        except SyntaxError:
            return None
        last = tree.body[-1]
        return type_in(last.value, Names(tree.body)) if isinstance(last, ast.Expr) else None

    def composite(self, place: Place, own: TypeEngine[Any]) -> TypeEngine[Any]:
        """Return one type for what a column has on all databases by the scripts."""
        types = {self.own: own}
        for database in self.others:
            if (written := self.written(place, database)) is not None:
                types[database] = written
        for one in types.values():
            if all(compiled(each, one) == compiled(each, types[each]) for each in types):
                return one
        found = own
        for database, one in types.items():
            if compiled(database, one) != compiled(database, own):
                for name in DATABASES[database]:
                    found = with_other_variant(found, name, variants_of(one).get(name, one))
        return found

    # What a statement cannot change

    def leave_to_a_person(self) -> None:
        """Note what no statement, or none that is right for all sites, changes."""
        keys = [*self.foreign_keys()]
        for (key, _), one in self.changes.items():
            for database in one.words:
                reason = self.reason(one, database)
                if reason is not None:
                    one.reasons[database] = reason
                for constraint, is_own in keys:
                    if (key, str(one.column.name)) in {*places(constraint, self.owned)}:
                        self.note_key(one, database, constraint, is_own)
        while self.spread(keys):
            pass

    def foreign_keys(self) -> Iterator[tuple[ForeignKeyConstraint, bool]]:
        """Yield the models' foreign keys, and whether both ends are the package's."""
        for table in self.owned.ownership.tables:
            for constraint in table.foreign_key_constraints:
                try:
                    tables = {place[0] for place in places(constraint, self.owned)}
                except InvalidRequestError:
                    # It names a table that no model has.
                    continue
                yield constraint, all(self.owned.owns(*one) for one in tables)

    def reason(self, one: UnseenType, database: str) -> str | None:
        """Return why a column's change is left to a person on a database."""
        (*_, old), (*_, new) = one.words[database]
        table = one.column.table
        name = str(one.column.name)
        if database == "sqlite":
            return None
        computed = [str(each.computed.sqltext) for each in table.columns if each.computed]
        if any(name in re.findall(r"\w+", each) for each in computed):
            return "a column is computed from it"
        if database == "postgresql":
            if not (is_castable(old, new) and is_castable(new, old)):
                return "no cast leads there and back"
            options = table.dialect_options["postgresql"]
            if options["partition_by"] or options["inherits"]:
                return "the table is partitioned or inherits"
            return None
        names = [{name_in(word) for word in words} for words in one.words[database]]
        if any(LONG.fullmatch(word) for words in names for word in words) and is_indexed(
            one.column
        ):
            return "an index is on it"
        return None

    def note_key(
        self, one: UnseenType, database: str, constraint: ForeignKeyConstraint, is_own: bool
    ) -> None:
        """Note why a column at an end of a foreign key is left to a person, if it is."""
        if database == "sqlite" or self.are_integers(one, database):
            return
        if not is_own:
            one.reasons.setdefault(database, "a foreign key leads to another package")
        elif database == "mysql" and not constraint.name:
            one.reasons.setdefault(database, "a foreign key there has no name of its own")
        elif any(
            self.written((key, name), database) is None
            for key, name in places(constraint, self.owned)
        ):
            one.reasons.setdefault(database, "the other end of a foreign key is not known")
        elif any(
            words_on(database, each.parent.type) != words_on(database, each.column.type)
            for each in constraint.elements
        ):
            one.reasons.setdefault(database, "the other end of a foreign key has another type")

    def are_integers(self, one: UnseenType, database: str) -> bool:
        """Tell whether a database takes one of both types in a foreign key to the other."""
        names = {word for words in one.words[database] for word in words}
        return database == "postgresql" and names <= INTEGERS

    def spread(self, keys: Collection[tuple[ForeignKeyConstraint, bool]]) -> bool:
        """Leave both ends of a foreign key to a person if one is, and tell if that was news."""
        news = False
        for constraint, _ in keys:
            ends_of = [
                self.changes[one] for one in places(constraint, self.owned) if one in self.changes
            ]
            for database in self.others:
                there = [one for one in ends_of if database in one.words]
                left = [one.reasons[database] for one in there if database in one.reasons]
                for one in there if left else ():
                    if database not in one.reasons and not self.are_integers(one, database):
                        one.reasons[database] = left[0]
                        news = True
        return news


def take_unseen(
    changes: ops.ModifyTableOps, table: Table, key: Key, unseen: UnseenTypes, database: str
) -> Iterator[TypeChange]:
    """Take changes of types that this database does not see out of a table's changes.

    What else changes of such a column comes behind.

    :returns: those changes, for the databases that see them
    """
    for op in [one for one in changes.ops if isinstance(one, ops.AlterColumnOp)]:
        place = (key, str(op.column_name))
        if op.modify_type is None or place not in unseen.asked:
            continue
        one = unseen.changes[place]
        default = op.existing_server_default
        if op.modify_server_default is False:
            default = one.column.server_default
        change = TypeChange(
            table.name,
            op.column_name,
            schema=key[0],
            existing_type=without_check(one.old),
            existing_nullable=op.existing_nullable,
            existing_server_default=default if isinstance(default, DefaultClause) else False,
            # SQLite has none.
            existing_comment=one.column.comment if database == "sqlite" else op.existing_comment,
            modify_type=one.column.type,
        )
        if op.kw.get("autoincrement"):
            change.kw["autoincrement"] = True
        change.only = one.databases
        change.words = {
            name: (one.words[name][0][-1], one.words[name][1][-1]) for name in change.only
        }
        yield change
        op.modify_type = None
        if not op.has_changes():
            changes.ops.remove(op)


def places(constraint: ForeignKeyConstraint, owned: PackageObjects) -> Iterator[Place]:
    """Yield the columns at both ends of a foreign key."""
    for schema, table, name in ends(constraint, owned):
        yield (schema, table), name


def is_exact_name(database: str, exact: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Tell whether a type is another one by its exact name on a database.

    Scripts that were written by hand, or from what a database says, have such: ``sa.TIMESTAMP``.
    """
    name = DATABASES[database][0]
    if name in {*variants_of(exact), *variants_of(other)} or not type(exact).__name__.isupper():
        return False
    if isinstance(exact, sa.Float) and isinstance(other, sa.Float):
        return True
    try:
        generic = exact.as_generic()
    except NotImplementedError:
        return False
    return words_on(database, generic) == words_on(database, other)


def are_alike(one: TypeEngine[Any], other: TypeEngine[Any]) -> bool:
    """Tell whether two types evidently are the same on every database."""
    return (
        type(one) is type(other)
        and not variants_of(one)
        and not variants_of(other)
        and plain_parts(one) == plain_parts(other)
    )


def plain_parts(type_: TypeEngine[Any]) -> dict[str, object]:
    """Return what was said of a type."""
    return {name: value for name, value in vars(type_).items() if not name.startswith("_")}


def is_indexed(column: Column[Any]) -> bool:
    """Tell whether a column is in a key or an index of its table."""
    table: Table = column.table
    parts = [*table.indexes, *table.constraints]
    kinds = (sa.Index, sa.PrimaryKeyConstraint, sa.UniqueConstraint)
    return any(
        isinstance(one, kinds) and any(each is column for each in one.columns) for one in parts
    )


def actual(database: str, type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return what a type is on a database: its variant, if there is one."""
    return variants_of(type_).get(DATABASES[database][0], type_)


def compiled(database: str, type_: TypeEngine[Any]) -> Words | None:
    """Return the words of a type on the dialects of a database; ``None`` if it has none."""
    found = [words_in_ddl(type_, dialect) for dialect in dialects_of(database)]
    return None if None in found else tuple(map(str, found))


def words_on(database: str, type_: TypeEngine[Any]) -> Words | None:
    """Return the words of a type on a database as all words for it are written.

    ``None`` if it is a type of another one, or is not known.
    """
    module = re.match(r"sqlalchemy\.dialects\.(\w+)", type(actual(database, type_)).__module__)
    if module and module[1] not in DATABASES[database]:
        return None
    found = []
    for words in compiled(database, type_) or ():
        if (word := one_word(database, words)) is None:
            return None
        found.append(word)
    return tuple(found) or None
