"""The lines of a script that rename a constraint, an index or a sequence."""

from __future__ import annotations

from collections.abc import Collection

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table, text

from websauna_migrate.alembic_adapter.written_expressions import DATABASES
from websauna_migrate.autogenerate.compare.constraints import KINDS, constraint_addition
from websauna_migrate.autogenerate.compare.definitions import made_index
from websauna_migrate.autogenerate.operations.script_op import branches, on_dialect
from websauna_migrate.autogenerate.operations.server_statements import qualified
from websauna_migrate.autogenerate.operations.table_changes import TableChanges, computed_columns
from websauna_migrate.autogenerate.unreflected import ReflectedItem
from websauna_migrate.facts.mysql import quoted, quoted_key
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.models.sqlalchemy_internals import escaped

#: Alembic's kinds of constraints by how SQLAlchemy's reflection calls them.
READINGS = {one.reading: kind for kind, one in KINDS.items()}


def rename_lines(
    context: AutogenContext,
    table: Table,
    kind: str,
    old: str,
    new: str,
    facts: ReflectedItem,
    databases: Collection[str],
) -> list[str]:
    """Return the lines that rename a constraint or index.

    :param databases: those on which it has the name
    """
    prefix = context.opts["alembic_module_prefix"]
    schema, name = table.schema, str(table.name)
    statement = (
        f"ALTER INDEX {qualified(schema, old)} RENAME TO {quote_name(new)}"
        if kind == "indexes"
        else f"ALTER TABLE {qualified(schema, name)} RENAME CONSTRAINT {quote_name(old)} "
        f"TO {quote_name(new)}"
    )
    cases = {"postgresql": [f"{prefix}execute({statement!r})"]}
    if kind == "pk_constraint":
        return on_dialect(context, "postgresql", cases["postgresql"])
    if kind in ("indexes", "unique_constraints"):
        on_mariadb = (
            f"ALTER TABLE {quoted_key((schema, name))} RENAME INDEX {quoted(old)} TO {quoted(new)}"
        )
        cases["mysql"] = [f"{prefix}execute({on_mariadb!r})"]
    anew = made_anew(context, table, kind, old, new, facts)
    if len(databases) == len(DATABASES):
        return branches(context, cases, anew)
    return branches(context, {name: cases.get(name, anew) for name in databases})


def made_anew(
    context: AutogenContext, table: Table, kind: str, old: str, new: str, facts: ReflectedItem
) -> list[str]:
    """Return the lines that drop a constraint or index, and add it under its new name."""
    drop = addition(table, kind, {**facts, "name": old}).reverse()
    change = TableChanges(table.name, [drop, addition(table, kind, {**facts, "name": new})])
    change.schema = table.schema
    change.computed = computed_columns(table)
    for op in change.ops:
        context.opts.get("restore", [].append)(op)
    lines: list[str] = renderers.dispatch(change)(context, change)
    return lines


def addition(table: Table, kind: str, facts: ReflectedItem) -> ops.MigrateOperation:
    """Return the operation that adds a constraint or index that SQLAlchemy reflected."""
    if kind != "indexes":
        return constraint_addition(READINGS[kind], facts, table)
    parts = facts.get("expressions") or [f'"{name}"' for name in facts["column_names"]]
    where = (facts.get("dialect_options") or {}).get("sqlite_where")
    options = {"sqlite_where": text(escaped(str(where)))} if where is not None else {}
    unique, names = bool(facts["unique"]), table.columns.keys()
    index = made_index(facts["name"], str(table.name), table.schema, parts, unique, options, names)
    return ops.CreateIndexOp.from_index(index)
