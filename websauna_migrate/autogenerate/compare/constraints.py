"""Constraints of tables: what differs in the facts, as Alembic's operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.environment import NameFilterType
from sqlalchemy import (
    CheckConstraint,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.schema import ColumnCollectionConstraint
from sqlalchemy.sql.elements import conv

from websauna_migrate.alembic_adapter.reflected_tables import name_apart
from websauna_migrate.alembic_adapter.written_expressions import DATABASES, Spelling, written_for
from websauna_migrate.autogenerate.compare.definitions import columns_of, kind_of, plain_name
from websauna_migrate.autogenerate.operations.ordering import name_of
from websauna_migrate.autogenerate.operations.script_op import mark
from websauna_migrate.autogenerate.operations.server_statements import KeyChange, ServerConstraint
from websauna_migrate.autogenerate.unreflected import ReflectedItem
from websauna_migrate.facts.brackets import split_brackets, split_commas, squeezed
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.postgresql import checked_column, make_name
from websauna_migrate.models.model_sql import applicable_checks, final_name, sql_text, unquoted
from websauna_migrate.models.sqlalchemy_internals import escaped, is_created, is_type_bound
from websauna_migrate.models.table_order import referenced_columns, referenced_key

#: Attributes of constraints that need no other constraint: statements change them.
KEPT = frozenset(
    {
        *("comment", "not valid", "clustered", "replica identity"),
        *("index comment", "index options", "index tablespace"),
    }
)


class ConstraintKind(NamedTuple):
    """A kind of constraints: its class, and what reflection and Alembic's filters call it."""

    model: type[ColumnCollectionConstraint]
    reading: str
    filter: NameFilterType | None = None


KINDS = {
    "primary": ConstraintKind(PrimaryKeyConstraint, "pk_constraint"),
    "unique": ConstraintKind(UniqueConstraint, "unique_constraints", "unique_constraint"),
    "foreignkey": ConstraintKind(ForeignKeyConstraint, "foreign_keys", "foreign_key_constraint"),
    "check": ConstraintKind(CheckConstraint, "check_constraints", "check_constraint"),
}


class ConstraintComparison:
    """Turns what differs in the constraints of one table into operations.

    :ivar unnamed: the texts of the CHECK constraints without a name that the table has
    :ivar lost: those of them that no model has any more
    :ivar nameless: the additions of CHECK constraints that have no name in the models
    :ivar skipped: columns whose types bring their CHECK themselves in the same script
    """

    def __init__(
        self,
        context: AutogenContext,
        table: Table,
        differences: Sequence[Difference],
        facts: Sequence[Fact],
        model_facts: Sequence[Fact],
    ) -> None:
        """Keep what the operations are made from.

        :param context: Alembic's, of the comparison
        :param differences: all of the table
        :param facts: those of the table in the database
        :param model_facts: those of the table in the models
        """
        self.context = context
        self.table = table
        self.differences = [one for one in differences if is_constraint(one.fact)]
        self.facts = [one for one in facts if is_constraint(one)]
        self.model_facts = [one for one in model_facts if is_constraint(one)]
        assert context.connection is not None
        self.connection = context.connection
        self.inspector = context.inspector
        self.dialect = self.connection.dialect.name
        self.lost: list[str] = []
        self.skipped: set[str] = set()
        self.nameless: list[ops.CreateCheckConstraintOp] = []
        self.unnamed = [one["sqltext"] for one in self.read("check_constraints") if not one["name"]]

    @property
    def columns(self) -> list[str]:
        """The columns that the table has, in the database or the models."""
        there = [str(one["name"]) for one in self.read("columns")]
        return list(dict.fromkeys([*there, *(str(one.name) for one in self.table.columns)]))

    @property
    def schema(self) -> str | None:
        """The table's schema as the database is asked for it."""
        default = self.connection.dialect.default_schema_name
        return None if self.table.schema == default else self.table.schema

    def read(self, kind: str) -> list[ReflectedItem]:
        """Return what SQLAlchemy reflects of a kind."""
        try:
            found = getattr(self.inspector, f"get_{kind}")(self.table.name, schema=self.schema)
        except NotImplementedError:
            return []
        return found if isinstance(found, list) else [found]

    def operations(self) -> list[ops.MigrateOperation]:
        """Return what makes the table's constraints the model's."""
        found: list[ops.MigrateOperation] = []
        olds = (sides(one)[0] for one in self.differences if one.attribute not in KEPT)
        apart = {self.group(old) for old in olds if old is not None and self.is_one_of_several(old)}
        for one in self.differences:
            if one.attribute in KEPT:
                continue
            old, new = sides(one)
            model = self.model_constraint(new) if new is not None else None
            if self.comes_with_its_column(model) or not self.included(old, model, new):
                continue
            present = [side for side in (old, new) if side is not None]
            if any(needs_words(side) for side in present):
                # Both by statements, for a batch would send the one before the other.
                found += [self.by_definition(side, added=side is new) for side in present]
                continue
            made = [*told(self.removal(old), old)] if old is not None else []
            made += told(self.addition(new, model), new) if new is not None else []
            if any(self.group(side) in apart for side in present):
                self.keep_apart(made)
            found += made
        return [*each_once(found)]

    def group(self, fact: Fact) -> tuple[str, ...] | None:
        """Return what a server names a constraint after that has no name; ``None`` for others.

        Several of one group have names that each server chooses, and no other one knows.
        """
        kind = kind_of(fact)
        if not fact.server_named:
            return None
        if kind == "foreignkey":
            return (kind, *columns_of(fact))
        if kind == "check" and self.dialect != "sqlite":
            return (kind, checked_column(str(fact.get("definition")), self.columns))
        return None

    def is_one_of_several(self, fact: Fact) -> bool:
        """True for a constraint without a name if the table has another one of its group."""
        group = self.group(fact)
        return group is not None and [*map(self.group, self.facts)].count(group) > 1

    def keep_apart(self, operations: Iterable[ops.MigrateOperation]) -> None:
        """Let operations be for this database alone, which knows what they drop."""
        own = next(name for name, dialects in DATABASES.items() if self.dialect in dialects)
        for op in operations:
            mark(op, only=(own,), one_of_several=str(self.table.name))

    def comes_with_its_column(self, model: Constraint | None) -> bool:
        """Tell whether a column's type brings a CHECK in the same script."""
        return (
            isinstance(model, CheckConstraint)
            and is_type_bound(model)
            and {column.name for column in model.columns} <= self.skipped
        )

    def included(self, old: Fact | None, model: Constraint | None, new: Fact | None) -> bool:
        """Tell whether the filters of ``env.py`` let a difference through."""
        found = kind_of(old or new or Fact("", "", ""))
        if found is None or KINDS[found].filter is None:
            return True
        reflected = None
        if old is not None:
            creation = self.creation(old)
            reflected = creation.to_constraint() if creation is not None else None
        name = old.name if old is not None else None
        return passes_filters(self.context, model, reflected, name)

    # The database's side

    def removal(self, fact: Fact) -> list[ops.MigrateOperation]:
        """Return the operation that drops a constraint; SQLite's unnamed CHECK is left out."""
        if is_plain_key(fact):
            return [self.key_change(fact, added=False)]
        if fact.server_named and self.dialect == "sqlite" and kind_of(fact) == "check":
            self.lost += [text for text in self.unnamed if self.reads(text, fact)]
            return []
        creation = self.creation(fact)
        if creation is None:
            return [self.by_definition(fact, added=False)]
        return [ops.DropConstraintOp.from_constraint(creation.to_constraint())]

    def by_definition(self, fact: Fact, *, added: bool) -> ServerConstraint:
        """Return the operation that adds or drops a constraint in the server's own words."""
        return ServerConstraint(self.table, fact.name, str(fact.get("definition")), added=added)

    def key_change(self, fact: Fact, *, added: bool) -> KeyChange:
        """Return the operation that adds or drops a primary key."""
        name: str | None = fact.name
        if self.dialect not in ("postgresql", "sqlite"):
            # MariaDB calls each PRIMARY.
            name = final_name(self.table.primary_key, self.connection)
        elif fact.server_named:
            name = None
        if name is None:
            name = make_name(str(self.table.name), None, "pkey")
        return KeyChange(self.table, name, tuple(columns_of(fact)), added=added)

    def reads(self, text: str, fact: Fact) -> bool:
        """Tell whether a reflected CHECK is that of a fact."""
        definition = escaped(str(fact.get("definition")))
        return squeezed(f"CHECK({escaped(text)})") == squeezed(definition)

    def creation(self, fact: Fact) -> ops.AddConstraintOp | None:
        """Return the operation that would create a constraint of the database.

        ``None`` for one that Alembic has no operation for.
        """
        kind = kind_of(fact)
        one = self.reflected(kind, fact)
        if kind is None or one is None:
            return None
        if fact.server_named and self.is_one_of_several(fact):
            one = {**one, "name": one["name"] or self.name_apart(one)}
        elif fact.server_named and is_for_others(self.context):
            one = {**one, "name": None}
        return constraint_addition(kind, one, self.table, {**deferral(fact), **resolution(fact)})

    def name_apart(self, key: ReflectedItem) -> str:
        """Return the name that one of several unnamed foreign keys has in a batch of SQLite."""
        target, referred = key["referred_table"], key["referred_columns"]
        return name_apart(str(self.table.name), key["constrained_columns"], target, referred)

    def reflected(self, kind: str | None, fact: Fact) -> ReflectedItem | None:
        """Return what SQLAlchemy reflects of a constraint, ``None`` if it does not see it."""
        if kind is None:
            return None
        found = self.read(KINDS[kind].reading)
        for one in found:
            if kind == "primary" or (one["name"] and one["name"].lower() == fact.name.lower()):
                return one
        if not fact.server_named:
            return None
        if kind == "check":
            return next((one for one in found if self.reads(one["sqltext"], fact)), None)
        columns = [column.lower() for column in columns_of(fact)]
        key = "constrained_columns" if kind == "foreignkey" else "column_names"
        same = [o for o in found if [c.lower() for c in o[key]] == columns]
        if kind == "foreignkey":
            # A column may have several: the one with the same target comes first.
            same.sort(key=lambda o: not is_target(fact, o["referred_table"], o["referred_columns"]))
        return next(iter(same), None)

    # The models' side

    def addition(self, fact: Fact, model: Constraint | None) -> list[ops.MigrateOperation]:
        """Return the operation that adds a constraint of the models."""
        if is_plain_key(fact):
            return [self.key_change(fact, added=True)]
        if isinstance(model, CheckConstraint):
            operation = check_addition(self.context, self.table, model)
            if operation.constraint_name is None:
                self.nameless.append(operation)
            return [operation]
        if model is None or kind_of(fact) is None:
            return [self.by_definition(fact, added=True)]
        added = ops.AddConstraintOp.from_constraint(model)
        if isinstance(added, ops.CreateUniqueConstraintOp):
            # A column may say it of its constraint, which Alembic does not write.
            added.kw.update(resolution(fact))
        return [added]

    def model_constraint(self, fact: Fact) -> Constraint | None:
        """Return the model's own object of a fact, ``None`` if there is none that is known."""
        kind = kind_of(fact)
        if kind is None:
            return None
        parts: Iterable[Constraint] = self.table.constraints
        if kind == "check":
            parts = applicable_checks(self.table, self.connection)
        candidates = [
            one
            for one in parts
            if isinstance(one, KINDS[kind].model) and is_created(one, self.connection.dialect)
        ]
        names = [final_name(one, self.connection) for one in candidates]
        for one, name in zip(candidates, names, strict=True):
            if kind == "primary" or (name and name.lower() == fact.name.lower()):
                return one
        unnamed = [one for one, name in zip(candidates, names, strict=True) if name is None]
        if kind == "check":
            return self.unnamed_check(fact, unnamed, names)
        columns = [column.lower() for column in columns_of(fact)]
        same = [o for o in unnamed if [str(c.name).lower() for c in o.columns] == columns]
        # A column may have foreign keys to several tables.
        return next((one for one in same if points_at(one, fact)), next(iter(same), None))

    def unnamed_check(
        self, fact: Fact, unnamed: Sequence[Constraint], names: Sequence[str | None]
    ) -> CheckConstraint | None:
        """Return which of unnamed CHECKs is that of a fact, maybe by its place among them.

        :param names: those of the model's other CHECKs
        """
        checks = [one for one in unnamed if isinstance(one, CheckConstraint)]
        facts = [
            one for one in self.model_facts if kind_of(one) == "check" and one.name not in names
        ]
        known = {one.key: self.by_text(one, checks) for one in [*facts, fact]}
        if (found := known[fact.key]) is not None:
            return found
        # What is left has other words: MariaDB has octet_length() for length().
        left = [one for one in checks if one not in known.values()]
        return left[0] if len(left) == [*known.values()].count(None) == 1 else None

    def by_text(self, fact: Fact, unnamed: Sequence[CheckConstraint]) -> CheckConstraint | None:
        """Return which of unnamed CHECKs has the text of a fact, or alone its names and numbers."""
        texts = [sql_text(one.sqltext, self.connection) for one in unnamed]
        for one, text in zip(unnamed, texts, strict=True):
            if self.reads(text, fact):
                return one
        words = words_of(str(fact.get("definition")).removeprefix("CHECK"))
        found = [o for o, text in zip(unnamed, texts, strict=True) if words_of(text) == words]
        return found[0] if len(found) == 1 else None


def filter_of(item: object) -> NameFilterType | None:
    """Return what Alembic's filters call a constraint or index; ``None`` if they are not asked."""
    if isinstance(item, Index):
        return "index"
    return next((one.filter for one in KINDS.values() if isinstance(item, one.model)), None)


def passes_filters(
    context: AutogenContext,
    model: Constraint | Index | None,
    reflected: Constraint | Index | None,
    name: str | None = None,
) -> bool:
    """Tell whether the filters of ``env.py`` let a constraint or index through.

    :param name: its name, by default that of the model
    """
    item = model if model is not None else reflected
    kind = filter_of(item)
    if item is None or kind is None:
        return True
    other = reflected if model is not None else None
    given = name if name is not None else item.name
    return context.run_object_filters(item, given, kind, model is None, other)


def check_addition(
    context: AutogenContext, table: Table, check: CheckConstraint
) -> ops.CreateCheckConstraintOp:
    """Return the operation that adds a CHECK of a model's table."""
    assert context.connection is not None
    name = final_name(check, context.connection)
    text = Spelling(context).spelled_text(check.sqltext)
    plain = CheckConstraint(text, name=conv(name) if name else None)
    Table(table.name, MetaData(), schema=table.schema).append_constraint(plain)
    return ops.CreateCheckConstraintOp.from_constraint(plain)


def constraint_addition(
    kind: str,
    one: ReflectedItem,
    table: Table,
    options: Mapping[str, object] = MappingProxyType({}),
) -> ops.AddConstraintOp:
    """Return the operation that creates a constraint of a table, as SQLAlchemy reflected it.

    :param options: what is not reflected
    """
    schema, name = table.schema, str(table.name)
    given = conv(one["name"]) if one.get("name") else None
    if kind == "check":
        check = CheckConstraint(escaped(one["sqltext"]), name=given)
        Table(name, MetaData(), schema=schema).append_constraint(check)
        return ops.CreateCheckConstraintOp.from_constraint(check)
    if kind == "foreignkey":
        return ops.CreateForeignKeyOp(
            given,
            name,
            one["referred_table"],
            one["constrained_columns"],
            one["referred_columns"],
            source_schema=schema,
            referent_schema=one["referred_schema"],
            **one.get("options", {}),
        )
    made = ops.CreatePrimaryKeyOp if kind == "primary" else ops.CreateUniqueConstraintOp
    columns = one["constrained_columns" if kind == "primary" else "column_names"]
    kept = {**one.get("dialect_options", {}), **options}
    return made(given, name, columns, schema=schema, **{k: v for k, v in kept.items() if v})


def is_for_others(context: AutogenContext) -> bool:
    """True on MariaDB if a script is for others too, which have other names for what has none."""
    assert context.connection is not None
    own = context.connection.dialect.name
    return own in ("mysql", "mariadb") and len(written_for(context)) > 1


def sides(one: Difference) -> tuple[Fact | None, Fact | None]:
    """Return an object as the database has it, and as the models do; ``None`` where it is not."""
    if one.attribute is None:
        return (one.fact, None) if one.left else (None, one.fact)
    return one.fact, one.other


def points_at(model: Constraint, fact: Fact) -> bool:
    """Tell whether a model's foreign key refers to the columns that a fact does."""
    if not isinstance(model, ForeignKeyConstraint) or not (key := referenced_key(model)):
        return False
    return is_target(fact, key[1], referenced_columns(model))


def is_target(fact: Fact, table: str, columns: Iterable[str]) -> bool:
    """Tell whether a foreign key of a database refers to columns of a table."""
    _, _, referred = str(fact.get("definition")).partition(" REFERENCES ")
    name, bracket, rest = referred.partition("(")
    inside, _ = split_brackets(bracket + rest)
    there = [unquoted(name.strip().rpartition(".")[2]), *map(plain_name, split_commas(inside))]
    return [one.lower() for one in there] == [one.lower() for one in (table, *columns)]


def is_constraint(fact: Fact) -> bool:
    """Tell whether a fact is a constraint of a table."""
    return fact.kind == "constraint" and not fact.get("of type")


def is_plain_key(fact: Fact) -> bool:
    """Tell whether a constraint is a primary key without options."""
    return (
        kind_of(fact) == "primary"
        and str(fact.get("definition")).rstrip().endswith(")")
        and not needs_words(fact)
    )


def needs_words(fact: Fact) -> bool:
    """Tell whether a constraint needs the server's own words.

    Alembic's operation for one that includes columns knows those of its key alone, and it writes
    no change of a primary key.
    """
    definition = str(fact.get("definition"))
    return " INCLUDE (" in definition or (
        kind_of(fact) == "primary" and " DEFERRABLE" in definition
    )


def deferral(fact: Fact) -> dict[str, object]:
    """Return when a constraint is checked, which SQLAlchemy does not reflect of a UNIQUE one."""
    definition = str(fact.get("definition"))
    if " NOT DEFERRABLE" in definition or " DEFERRABLE" not in definition:
        return {}
    initially = re.search(r" INITIALLY (\w+)", definition)
    return {"deferrable": True, **({"initially": initially[1]} if initially else {})}


def resolution(fact: Fact) -> dict[str, str]:
    """Return what SQLite does with a row that breaks a constraint, which is not reflected."""
    found = re.search(r" ON CONFLICT (\w+)$", str(fact.get("definition")))
    return {"sqlite_on_conflict": found[1]} if found else {}


def words_of(text: str) -> list[str]:
    """Return the names, numbers and strings in an expression, sorted, without casts and schemas."""
    plain = re.sub(r"\bOPERATOR\(\w+\.([^()]+)\)", r"\1", text)
    plain = re.sub(r"::[a-z_][\w. ]*(\[\])?", "", plain)
    plain = re.sub(r"\b[a-z_]\w*\.(?=[a-z_\"])", "", plain)
    found = re.findall(r"'(?:[^']|'')*'|\w+", plain)
    return sorted(one.lower() for one in found if one.lower() not in IDLE)


#: Words that a server adds to an expression, or takes out of it.
IDLE = frozenset({"any", "array", "in", "or", "and", "cast", "as"})


def told(operations: Iterable[ops.MigrateOperation], fact: Fact) -> Iterator[ops.MigrateOperation]:
    """Yield operations that know what the server says of the constraint or index, but its name."""
    words = [name for name, value in fact.attributes if value is True]
    for op in operations:
        mark(op, definition=" ".join([*words, str(fact.get("definition"))]))
        yield op


def each_once(found: Sequence[ops.MigrateOperation]) -> Iterator[ops.MigrateOperation]:
    """Yield operations, of drops and additions of one name the first alone."""
    seen: set[tuple[type[object], str | None]] = set()
    for op in found:
        name = name_of(op)
        key = (type(op), name)
        if name is None or key not in seen:
            seen.add(key)
            yield op
