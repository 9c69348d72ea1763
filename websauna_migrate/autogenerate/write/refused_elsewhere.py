"""What models say that another database of the script refuses, be it by ``create_all``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from alembic.operations import ops
from sqlalchemy import CheckConstraint, Table

from websauna_migrate.alembic_adapter.written_expressions import dialect_of
from websauna_migrate.autogenerate.operations.script_op import single
from websauna_migrate.models.sqlalchemy_internals import is_created

#: Names of databases in a sentence.
PRODUCTS = {"mysql": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}

NULLS = re.compile(r"\bNULLS\s+(FIRST|LAST)\b", re.IGNORECASE)


def refused_elsewhere(
    operations: Sequence[ops.MigrateOperation], tables: Iterable[Table], databases: Collection[str]
) -> list[str]:
    """Return a warning for each part of the models that a database refuses.

    :param tables: the package's models
    :param databases: those that the script is written for
    """
    changed = {getattr(op, "table_name", None) for op in operations}
    return [
        *nulls_warnings(operations, databases),
        *(
            warning
            for table in tables
            if table.name in changed
            for warning in check_warnings(table, databases)
        ),
    ]


def nulls_warnings(
    operations: Sequence[ops.MigrateOperation], databases: Collection[str]
) -> Iterator[str]:
    """Yield the warnings of indexes that say where NULL stands."""
    refusing = [name for name in ("sqlite", "mysql") if name in databases]
    for op in [one for outer in operations for one in single(outer)]:
        if not refusing or not isinstance(op, ops.CreateIndexOp):
            continue
        index = op.to_index()
        if any(NULLS.search(str(one)) for one in index.expressions):
            yield (
                f'The index "{op.index_name}" of table "{op.table_name}" says NULLS FIRST or '
                f"NULLS LAST, which is refused by {names_of(refusing)}: the script fails there, as "
                "create_all of the models does. Leave it out of the model, or let the setting "
                "websauna_migrate.databases name those that take it."
            )


def check_warnings(table: Table, databases: Collection[str]) -> Iterator[str]:
    """Yield the warnings of CHECK constraints of one name, of which SQLite alone takes several."""
    for database in ("postgresql", "mysql"):
        names = Counter(
            str(one.name)
            for one in table.constraints
            if isinstance(one, CheckConstraint)
            and isinstance(one.name, str)
            and database in databases
            and is_created(one, dialect_of(database))
        )
        for name in [name for name, count in names.items() if count > 1]:
            yield (
                f'The table "{table.name}" has several CHECK constraints "{name}", which is '
                f"refused by {PRODUCTS[database]}: the script fails there, as create_all of the "
                "models does. Give the Enum of each column a name of its own."
            )


def names_of(databases: Sequence[str]) -> str:
    """Return the names of databases in a sentence."""
    return " and ".join(PRODUCTS[one] for one in databases)
