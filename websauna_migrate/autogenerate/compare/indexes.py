"""Indexes of tables: what differs in the facts, as Alembic's operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Constraint, Index, MetaData, Table, UniqueConstraint
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import conv
from sqlalchemy.types import NULLTYPE

from websauna_migrate.alembic_adapter.autogenerate_internals import parts_that_come_back
from websauna_migrate.alembic_adapter.written_expressions import written_for
from websauna_migrate.autogenerate.compare.constraints import (
    each_once,
    is_for_others,
    passes_filters,
    sides,
    told,
)
from websauna_migrate.autogenerate.compare.definitions import columns_of, index_of
from websauna_migrate.autogenerate.fact_comparison import columns_in
from websauna_migrate.autogenerate.operations.enum_change import EnumChange
from websauna_migrate.autogenerate.operations.ordering import dropped_key, name_of
from websauna_migrate.autogenerate.operations.script_op import ScriptOp, mark, on_dialect, rendered
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, WithTable
from websauna_migrate.autogenerate.package_objects import (
    Key,
    PackageObjects,
    constraint_names,
    indexes_of,
)
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact
from websauna_migrate.facts.mysql import is_numbered
from websauna_migrate.models.model_sql import final_name
from websauna_migrate.models.sqlalchemy_internals import is_created
from websauna_migrate.revision_scripts.written_operations import Operation

#: Attributes of indexes that need no other index: statements change them, or nothing does.
KEPT = frozenset(
    {
        *("comment", "clustered", "replica identity", "statistics targets", "attached to"),
        "tablespace",
    }
)


class IndexComparison:
    """Turns what differs in the indexes of one table into operations."""

    def __init__(
        self,
        context: AutogenContext,
        table: Table,
        differences: Sequence[Difference],
        facts: Sequence[Fact],
        owned: PackageObjects,
    ) -> None:
        """Keep what the operations are made from.

        :param context: Alembic's, of the comparison
        :param differences: all of the table
        :param facts: those of the table in the database
        """
        self.context = context
        self.table = table
        self.differences = [one for one in differences if one.fact.kind == "index"]
        assert context.connection is not None
        self.connection = context.connection
        self.dialect = self.connection.dialect.name
        self.owned = owned
        self.columns = [*columns_in(facts)]
        keys = [
            one
            for one in facts
            if one.kind == "constraint" and str(one.get("definition")).startswith("FOREIGN KEY")
        ]
        #: Foreign keys of the database: MariaDB makes an index for each, of the same name.
        self.foreign_keys = {one.name for one in keys}
        #: The columns of those without a name, whose index has the name of the first.
        self.unnamed_keys = [columns_of(one) for one in keys if one.server_named]

        self.new_keys = {one.fact.name for one in differences if one.fact.kind == "constraint"}

    def operations(self) -> list[ops.MigrateOperation]:
        """Return what makes the table's indexes the model's."""
        found: list[ops.MigrateOperation] = []
        for one in self.differences:
            if one.attribute in KEPT:
                continue
            old, new = sides(one)
            model = self.model_of(new) or self.of_listener(new) if new is not None else None
            reflected = self.reflected(old) if old is not None else None
            if model is None and reflected is None:
                continue
            if not passes_filters(self.context, model, reflected):
                continue
            if reflected is not None and old is not None:
                found += told([self.removal(reflected, model)], old)
            if model is not None and new is not None:
                made = (
                    ops.CreateIndexOp.from_index(model)
                    if isinstance(model, Index)
                    else ops.AddConstraintOp.from_constraint(model)
                )
                found += told([made], new)
        return [*each_once(found)]

    def reflected(self, fact: Fact) -> Index | None:
        """Return an index of the database; ``None`` for one that comes and goes with a key."""
        if self.dialect in ("mysql", "mariadb") and self.is_of_key(fact):
            return None
        table, schema = str(self.table.name), self.table.schema
        return index_of(fact, table, schema, self.dialect, self.columns, written_for(self.context))

    def is_of_key(self, fact: Fact) -> bool:
        """True if MariaDB made an index for a foreign key."""
        return fact.name in self.foreign_keys or (
            fact.server_named
            and is_for_others(self.context)
            and columns_of(fact) in self.unnamed_keys
            and str(fact.get("definition")).startswith("KEY ")
        )

    def removal(self, reflected: Index, model: object) -> ops.MigrateOperation:
        """Return the operation that drops an index, or the UNIQUE constraint that it is.

        MariaDB has one thing for both: what no script created as an index is a constraint.

        :param model: what the models have in its place
        """
        made = None
        if is_for_others(self.context) and not isinstance(model, Index):
            made = as_constraint(reflected, self.written, self.connection)
        if made is None:
            return ops.DropIndexOp.from_index(reflected)
        drop = made.reverse()
        mark(drop, server_name=reflected.name)
        return drop

    @property
    def written(self) -> Sequence[Operation]:
        """The operations of scripts: the package's, or of what is squashed."""
        return self.owned.older_operations(self.context.opts.get("older_scripts"))

    def model_of(self, fact: Fact) -> Index | UniqueConstraint | None:
        """Return the model's index, on MariaDB also its UNIQUE constraint."""
        for index in self.table.indexes:
            if not is_created(index, self.connection.dialect):
                continue
            if final_name(index, self.connection) == fact.name or str(index.name) == fact.name:
                return index
        uniques = [one for one in self.table.constraints if isinstance(one, UniqueConstraint)]
        for one in uniques:
            if final_name(one, self.connection) == fact.name:
                return one
        columns = columns_of(fact)
        return next(
            (
                one
                for one in uniques
                if one.name is None and [column.name for column in one.columns] == columns
            ),
            None,
        )

    def of_listener(self, fact: Fact) -> Index | None:
        """Return an index that DDL of a listener makes; those that come with others are left out.

        A partition has those of its table, and a foreign key of MariaDB has one.
        """
        mine = self.dialect in ("mysql", "mariadb") and (
            fact.server_named or fact.name in self.new_keys
        )
        return None if mine or fact.get("attached to") else self.reflected(fact)


def as_constraint(
    index: Index, written: Sequence[Operation], connection: Connection
) -> ops.CreateUniqueConstraintOp | None:
    """Return what creates an index of MariaDB as a UNIQUE constraint; ``None`` if it is none.

    What no script names has a name of the server, may be that of a column before its rename.

    :param written: the operations of scripts
    """
    name, columns = str(index.name), [str(column.name) for column in index.columns]
    if (
        not index.unique
        or len(columns) < len(index.expressions)
        or index.dialect_kwargs
        or name in final_names(indexes_of(written), connection)
    ):
        return None
    assert index.table is not None
    named = final_names(constraint_names(written, "create_unique_constraint"), connection)
    of_server = is_numbered(name, columns[0]) or name not in named
    given = None if of_server else conv(name)
    return ops.CreateUniqueConstraintOp(
        given, str(index.table.name), columns, schema=index.table.schema
    )


def final_names(names: Iterable[str], connection: Connection) -> set[str | None]:
    """Return names that scripts say as the database has them, which shortens long ones."""
    column = Column("x", NULLTYPE)
    Table("names", MetaData(), column)
    return {final_name(UniqueConstraint(column, name=conv(one)), connection) for one in names}


def leave_to_servers(
    drop: ops.DropTableOp,
    facts: Sequence[Fact],
    followers: Iterable[TableChanges],
    written: Sequence[Operation],
    connection: Connection,
) -> None:
    """Let the constraints of a table that goes be as the models had them on MariaDB.

    Without the names that the server gave, for others give others; UNIQUE ones as such.

    :param facts: of the table
    :param followers: the changes of tables, in which its indexes go
    :param written: the operations of scripts
    """
    parts = parts_that_come_back(drop)
    given = {one.name for one in facts if one.kind == "constraint" and one.server_named}
    for part in parts:
        if isinstance(part, Constraint) and part.name in given:
            part.name = None
    for changes in followers:
        if (changes.schema, changes.table_name) != (drop.schema, drop.table_name):
            continue
        for op in [one for one in changes.ops if isinstance(one, ops.DropIndexOp)]:
            made = as_constraint(op.to_index(), written, connection)
            if made is not None:
                changes.ops.remove(op)
                parts.append(made.to_constraint())


def missing_indexes(table: Table) -> list[ops.CreateIndexOp]:
    """Return the creations that Alembic leaves out of a new table on SQLite."""
    return [
        ops.CreateIndexOp.from_index(index)
        for index in sorted(table.indexes, key=lambda one: str(one.name))
        if has_expression(index)
    ]


def expressions_first(upgrade: ops.UpgradeOps, models: Mapping[Key, Table]) -> None:
    """Let expression indexes that go do so before the values of an enum of their table change.

    SQLite makes the table anew for those.
    """
    places = [place for place, op in enumerate(upgrade.ops) if isinstance(op, EnumChange)]
    changes: list[EnumChange] = [upgrade.ops[place] for place in places]  # type: ignore[misc]
    tables = {column.table for change in changes for column in change.plain_columns}
    keys = [key for key, table in models.items() if table in tables]
    first: list[ops.MigrateOperation] = []
    for op in upgrade.ops:
        if not isinstance(op, TableChanges) or (op.schema, op.table_name) not in keys:
            continue
        going = [
            o for o in op.ops if isinstance(o, ops.DropIndexOp) and has_expression(o.to_index())
        ]
        if going:
            first.append(op.plain([*going]))
            op.ops[:] = [one for one in op.ops if one not in going]
    if first:
        upgrade.ops[places[0] : places[0]] = first
        upgrade.ops[:] = [o for o in upgrade.ops if not isinstance(o, TableChanges) or o.ops]


def with_expression_indexes(
    op: ops.MigrateOperation,
    models: Mapping[Key, Table],
    is_kept: Callable[[Key, Index], bool],
) -> Iterator[ops.MigrateOperation]:
    """Yield an operation with what it needs for expression indexes.

    Those that change are taken out of a batch; those that stay are made again behind it on
    SQLite, where a batch makes the table anew.

    :param is_kept: tells whether SQLite has an index before all operations and behind them
    """
    before, behind = [], []
    keys: list[Key] = []
    if isinstance(op, EnumChange):
        tables = [column.table for column in op.plain_columns]
        keys = [key for key, table in models.items() if table in tables]
    elif isinstance(op, TableChanges) and not isinstance(op, WithTable) and op.needs_batch:
        drops, creates = (
            [one for one in op.ops if isinstance(one, kind) and has_expression(one.to_index())]
            for kind in (ops.DropIndexOp, ops.CreateIndexOp)
        )
        op.ops[:] = [one for one in op.ops if one not in drops and one not in creates]
        before, behind = ([op.plain([*found])] if found else [] for found in (drops, creates))
        keys = [(op.schema, op.table_name)] if op.ops else []
    kept = [
        index
        for key in keys
        if key in models
        for index in sorted(models[key].indexes, key=lambda one: str(one.name))
        if has_expression(index) and is_kept(key, index)
    ]
    yield from [*before, *(around(index, first=True) for index in kept)]
    if not isinstance(op, TableChanges) or isinstance(op, WithTable) or op.ops or op.recreate:
        yield op
    yield from [*(around(index, first=False) for index in kept), *behind]


def changed_indexes(found: Iterable[ops.MigrateOperation]) -> set[tuple[Key, str]]:
    """Return the indexes that operations drop or create on SQLite, each with its table's key."""
    return {
        ((op.schema, op.table_name), str(inner.index_name))
        for op in found
        if isinstance(op, TableChanges) and "sqlite" in (op.databases or ("sqlite",))
        for inner in op.ops
        if isinstance(inner, (ops.CreateIndexOp, ops.DropIndexOp))
    }


def has_expression(index: Index) -> bool:
    """Tell whether an index is on something besides plain columns."""
    return not all(isinstance(one, Column) for one in index.expressions)


def around(index: Index, *, first: bool) -> ScriptOp:
    """Return the drop of an index before a batch, or its creation behind it, on SQLite."""
    create = ops.CreateIndexOp.from_index(index)
    drop = ops.DropIndexOp.from_index(index)

    before, after = (drop, create) if first else (create, drop)
    return ScriptOp(
        ("kept_index", str(index.name)),
        lambda context: on_dialect(context, "sqlite", rendered(context, before)),
        lambda context: on_dialect(context, "sqlite", rendered(context, after)),
    )


# Indexes that MariaDB makes for foreign keys


def with_index_drops(
    found: Sequence[ops.MigrateOperation], models: Mapping[Key, Table]
) -> list[ops.MigrateOperation]:
    """Return a script's operations, with the drops of indexes that MariaDB makes.

    :param models: the tables as their models have them
    """
    arranged: list[ops.MigrateOperation] = []
    changes = [op for op in found if isinstance(op, TableChanges)]
    inner_ops = [((op.schema, op.table_name), inner) for op in changes for inner in op.ops]
    changed = [(key, foreign_key_columns(inner)) for key, inner in inner_ops]
    names = [(key, name_of(inner)) for key, inner in inner_ops]
    for op in found:
        before: list[ops.MigrateOperation] = []
        after: list[ops.MigrateOperation] = []
        if not isinstance(op, TableChanges):
            arranged.append(op)
            continue
        key = (op.schema, op.table_name)
        for inner in op.ops:
            table = models.get(key)
            columns = foreign_key_columns(inner)
            if table is None or not columns or is_indexed(table, columns):
                continue
            added = isinstance(inner, ops.CreateForeignKeyOp)
            both = changed.count((key, columns)) > 1
            stays = set(columns) <= {column.name for column in table.columns}
            keys = [one.column_keys for one in table.foreign_key_constraints]
            # What comes under its name, or comes back, makes room for itself.
            name = name_of(inner)
            taken = name is not None and names.count((key, name)) > 1
            # Another key on the same columns uses the index as well.
            if both or taken or not stays or keys.count(columns) > added:
                continue
            # What comes before the foreign key is undone behind it.
            (before if added else after).append(index_drop(name, op, upgrade=not added))
        arranged += [*before, op, *after]
    return arranged


def foreign_key_columns(op: ops.MigrateOperation) -> list[str]:
    """Return the columns of a foreign key that an operation adds or drops; else nothing."""
    if isinstance(op, ops.CreateForeignKeyOp):
        return list(op.local_cols)
    key = dropped_key(op)
    return [] if key is None else [*key.column_keys]


def index_drop(name: str | None, table: TableChanges, *, upgrade: bool) -> ScriptOp:
    """Return the operation that drops an index on MariaDB in one direction."""

    def lines(context: AutogenContext) -> list[str]:
        if "mysql" not in written_for(context):
            return []
        prefix = context.opts["alembic_module_prefix"]
        schema = f", schema={table.schema!r}" if table.schema else ""
        # The database shortens what the naming convention makes too long.
        text = f"{prefix}f({str(name)!r})" if isinstance(name, conv) else repr(str(name))
        arguments = f"{text}, table_name={str(table.table_name)!r}{schema}, if_exists=True"
        return [
            f"if getattr({prefix}get_context().dialect, 'is_mariadb', False):",
            f"{prefix}drop_index({arguments})",
            "",
        ]

    diff = ("implied_index", table.schema, table.table_name, str(name))
    drop = ScriptOp(diff, lines, lambda context: [])
    return drop if upgrade else drop.reverse()


def is_indexed(table: Table, columns: Sequence[str]) -> bool:
    """Tell whether a model has an index that begins with some columns."""
    indexes = [
        list(table.primary_key.columns),
        *(list(index.columns) for index in table.indexes),
        *(
            list(constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ),
    ]
    wanted = list(columns)
    return any([column.name for column in index[: len(wanted)]] == wanted for index in indexes)
