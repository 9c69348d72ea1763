"""CHECK constraints, which Alembic leaves out: added, removed and changed ones."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, MetaData, Table
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import conv

from websauna_migrate.autogenerate.compare.normal_sql import normal_sql
from websauna_migrate.autogenerate.compare.temporary_table import (
    applicable_checks,
    column_checks,
    escaped,
    sql_text,
)
from websauna_migrate.autogenerate.compare.temporary_tables import TemporaryTables
from websauna_migrate.autogenerate.operations.column_types import CheckedBoolean, CheckedEnum
from websauna_migrate.models.sqlalchemy_internals import is_type_bound

__all__ = ["CheckComparison", "final_name", "name_checks", "plain", "unquoted"]


class CheckComparison:
    """Compares the CHECK constraints of one table.

    :ivar unnamed: the texts of those without a name that the table has, as reflected
    :ivar lost: those of them that no model has any more
    :ivar nameless: the additions of constraints that have no name in the models
    :ivar skipped: columns whose types bring their CHECK themselves in the same script
    """

    def __init__(
        self,
        context: AutogenContext,
        table: Table,
        temporary_tables: TemporaryTables,
        inspector: Any,
    ) -> None:
        self.context = context
        self.table = table
        self.temporary_tables = temporary_tables
        assert context.connection is not None
        self.connection = context.connection
        try:
            self.reflected = inspector.get_check_constraints(table.name, schema=self.schema)
        except NotImplementedError:
            self.reflected = None
        self.unnamed = [one["sqltext"] for one in self.reflected or () if not one["name"]]
        self.lost: list[str] = []
        self.skipped: set[str] = set()
        self.nameless: list[Any] = []

    @property
    def schema(self) -> str | None:
        """The table's schema as the database is asked for it."""
        default = self.connection.dialect.default_schema_name
        return None if self.table.schema == default else self.table.schema

    def operations(self) -> list[Any]:
        """Return what makes the table's constraints the model's."""
        if self.reflected is None:
            return []
        applicable = list(enumerate(applicable_checks(self.table, self.connection)))
        wanted = [one for one in applicable if not self.is_skipped(one[1])]
        names = {final_name(one, self.connection) for _, one in applicable}
        names -= {final_name(one, self.connection) for _, one in wanted}
        found = [
            one
            for one in self.reflected
            if not self.is_implied(one) and (one["name"] is None or one["name"] not in names)
        ]
        pairs = []
        for same in (self.same_name, self.same_text, self.same_to_the_database):
            for number, check in list(wanted):
                partner = next((one for one in found if same(number, check, one)), None)
                if partner is not None:
                    wanted.remove((number, check))
                    found.remove(partner)
                    pairs.append((number, check, partner))
        operations: list[Any] = []
        for number, check, partner in pairs:
            if not self.same_text(number, check, partner) and not self.same_to_the_database(
                number, check, partner
            ):
                operations += [*self.removal(partner), *self.addition(check)]
        for partner in found:
            operations += self.removal(partner)
        for _, check in wanted:
            operations += self.addition(check)
        return operations

    def is_implied(self, one: Any) -> bool:
        """Tell whether the database has a constraint by itself: MariaDB checks JSON."""
        return getattr(self.connection.dialect, "is_mariadb", False) and normal_sql(
            one["sqltext"].replace("`", "")
        ).startswith("json_valid(")

    def is_skipped(self, check: CheckConstraint) -> bool:
        """Tell whether a type brings a constraint where its column is added or changed."""
        return is_type_bound(check) and {c.name for c in check.columns} <= self.skipped

    def same_name(self, number: int, check: CheckConstraint, one: Any) -> bool:
        """Tell whether a model's constraint and a table's have the same name."""
        return bool(one["name"]) and final_name(check, self.connection) == one["name"]

    def same_text(self, number: int, check: CheckConstraint, one: Any) -> bool:
        """Tell whether two constraints read the same."""
        if check.name and one["name"] and not self.same_name(number, check, one):
            return False
        return plain(sql_text(check.sqltext, self.connection)) == plain(one["sqltext"])

    def same_to_the_database(self, number: int, check: CheckConstraint, one: Any) -> bool:
        """Tell whether two constraints are the same to the database."""
        if check.name and one["name"] and not self.same_name(number, check, one):
            return False
        made = self.temporary_tables.of(self.table)
        text = made.checks.get(number) if made else None
        return text is not None and plain(text) == plain(one["sqltext"])

    def addition(self, check: CheckConstraint) -> list[Any]:
        """Return the operation that adds a constraint."""
        name = check.name
        if isinstance(name, str) and name:
            name = conv(final_name(check, self.connection) or str(name))
        else:
            name = None
        operation = self.operation(name, sql_text(check.sqltext, self.connection))
        if name is None:
            self.nameless.append(operation)
        return [operation]

    def removal(self, one: Any) -> list[Any]:
        """Return the operation that drops a constraint; SQLite's unnamed one is left out."""
        if not one["name"]:
            self.lost.append(one["sqltext"])
            return []
        add = self.operation(conv(one["name"]), one["sqltext"])
        return [ops.DropConstraintOp.from_constraint(add.to_constraint())]

    def operation(self, name: Any, text: str) -> Any:
        """Return the operation that adds a constraint of a name and text."""
        table = Table(self.table.name, MetaData(), schema=self.table.schema)
        check = CheckConstraint(text, name=name)
        table.append_constraint(check)
        return ops.CreateCheckConstraintOp.from_constraint(check)


def final_name(check: CheckConstraint, connection: Any) -> str | None:
    """Return the name that a constraint has in the database, shortened and all."""
    if not isinstance(check.name, str) or not check.name:
        return None
    preparer = connection.dialect.identifier_preparer
    formatted = preparer.format_constraint(check)
    return None if formatted is None else unquoted(str(formatted))


def unquoted(name: str) -> str:
    """Return an identifier without the quotes of any database."""
    if len(name) > 1 and name[0] in '"`' and name[-1] == name[0]:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


def plain(text: str) -> str:
    """Return an expression without the quotes of identifiers and without meaningless marks."""
    return normal_sql(text.replace("`", "").replace('"', ""))


def name_checks(upgrade: Any, models: dict[Any, Table], connection: Connection) -> None:
    """Let the new columns' types say what their CHECK constraints are called.

    :param models: the package's tables by key
    """
    for op in upgrade.ops:
        table = models.get((getattr(op, "schema", None), getattr(op, "table_name", None)))
        if table is None:
            continue
        if isinstance(op, ops.CreateTableOp):
            op.columns = [named(item, table, connection) for item in op.columns]
            # Alembic leaves out what stands with a column.
            op.columns += [on_table(check, connection) for check in column_checks(table)]
        elif isinstance(op, ops.ModifyTableOps):
            for inner in op.ops:
                if isinstance(inner, ops.AddColumnOp):
                    inner.column = named(inner.column, table, connection)


def on_table(check: CheckConstraint, connection: Connection) -> CheckConstraint:
    """Return a CHECK of a column as one of its table."""
    name = final_name(check, connection)
    return CheckConstraint(
        escaped(sql_text(check.sqltext, connection)), name=conv(name) if name else None
    )


def named(item: Any, table: Table, connection: Connection) -> Any:
    """Return a column whose type names its CHECK as the model's table does; others as they are."""
    if not isinstance(item, Column) or not getattr(item.type, "create_constraint", False):
        return item
    check = next(
        (
            one
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and is_type_bound(one)
            and {column.name for column in one.columns} == {item.name}
        ),
        None,
    )
    name = None if check is None else final_name(check, connection)
    if name is None or name == getattr(item.type, "name", None):
        return item
    type_: Any
    if isinstance(item.type, sa.Enum):
        type_ = CheckedEnum.called(name)(
            *item.type.enums,
            name=item.type.name,
            schema=item.type.schema,
            native_enum=item.type.native_enum,
            create_constraint=True,
            length=item.type.length,
        )
    elif isinstance(item.type, sa.Boolean):
        type_ = CheckedBoolean(create_constraint=True, name=name)
    else:
        return item
    return Column(
        item.name,
        type_,
        key=item.key,
        nullable=item.nullable,
        server_default=item.server_default,
        comment=item.comment,
        primary_key=item.primary_key,
    )
