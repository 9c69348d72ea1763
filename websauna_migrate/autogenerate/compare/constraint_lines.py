"""The lines of a script that rename a constraint, an index or a sequence."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from websauna_migrate.autogenerate.operations.script_op import (
    DATABASES,
    branches,
    on_dialect,
    written_for,
)
from websauna_migrate.facts.mysql import quoted as in_backquotes


def rename_lines(
    context: AutogenContext,
    table: Table,
    kind: str,
    old: str,
    new: str,
    facts: Any,
    databases: Collection[str],
) -> list[str]:
    """Return the lines that rename a constraint or index.

    :param databases: those on which it has the name
    """
    prefix = context.opts["alembic_module_prefix"]
    table_name = dotted(table.schema, table.name)
    statement = (
        f"ALTER INDEX {dotted(table.schema, old)} RENAME TO {quoted(new)}"
        if kind == "indexes"
        else f"ALTER TABLE {table_name} RENAME CONSTRAINT {quoted(old)} TO {quoted(new)}"
    )
    cases = {"postgresql": [f"{prefix}execute({statement!r})"]}
    if kind == "pk_constraint":
        return on_dialect(context, "postgresql", cases["postgresql"])
    if kind in ("indexes", "unique_constraints"):
        on_mariadb = (
            f"ALTER TABLE {backquoted(table.name, table.schema)} RENAME INDEX {backquoted(old)} "
            f"TO {backquoted(new)}"
        )
        cases["mysql"] = [f"{prefix}execute({on_mariadb!r})"]
    anew = made_anew(context, table, kind, old, new, facts)
    if len(databases) == len(DATABASES):
        return branches(context, cases, anew)
    return branches(context, {name: cases.get(name, anew) for name in databases})


def made_anew(
    context: AutogenContext, table: Table, kind: str, old: str, new: str, facts: Any
) -> list[str]:
    """Return the lines that drop a constraint or index, and add it under its new name."""
    prefix = context.opts["alembic_module_prefix"]
    on_sqlite = "sqlite" in written_for(context)
    on = "batch_op." if on_sqlite else prefix
    schema = [f"schema={table.schema!r}"] if table.schema else []
    dropped = "drop_index" if kind == "indexes" else "drop_constraint"
    option = [] if kind == "indexes" else [f"type_={TYPES[kind]!r}"]
    lines = []
    for (called, more), name in (((dropped, option), old), (addition(kind, facts), new)):
        arguments = [f"{prefix}f({name!r})", *more]
        if not on_sqlite:
            arguments[1:1] = [f"{'table_name=' * (called == 'drop_index')}{str(table.name)!r}"]
            own = "source_schema" if called == "create_foreign_key" else "schema"
            arguments += [f"{own}={table.schema!r}"] if table.schema else []
        lines.append(f"{on}{called}({', '.join(arguments)})")
    if not on_sqlite:
        return lines
    place = ", ".join([repr(str(table.name)), *schema])
    return [f"with {prefix}batch_alter_table({place}) as batch_op:", *lines, ""]


TYPES = {
    "foreign_keys": "foreignkey",
    "unique_constraints": "unique",
    "check_constraints": "check",
}


def addition(kind: str, facts: Any) -> tuple[str, list[str]]:
    """Return the operation that adds a constraint or index, and its further arguments."""
    if kind == "indexes":
        unique = bool(facts["unique"])
        return "create_index", [repr(facts["column_names"]), f"unique={unique!r}"]
    if kind == "unique_constraints":
        return "create_unique_constraint", [repr(facts["column_names"])]
    if kind == "check_constraints":
        return "create_check_constraint", [repr(str(facts["sqltext"]))]
    more = [
        f"{option}={value!r}"
        for option, value in sorted((facts.get("options") or {}).items())
        if value
    ]
    if facts.get("referred_schema"):
        more.append(f"referent_schema={facts['referred_schema']!r}")
    keys = ("referred_table", "constrained_columns", "referred_columns")
    return "create_foreign_key", [*(repr(facts[key]) for key in keys), *more]


def postgresql_only(statement: str) -> Any:
    """Return the lines that run a statement on PostgreSQL."""

    def lines(context: AutogenContext) -> list[str]:
        prefix = context.opts["alembic_module_prefix"]
        return on_dialect(context, "postgresql", [f"{prefix}execute({statement!r})"])

    return lines


def dotted(schema: str | None, name: str) -> str:
    """Return a name with its schema as PostgreSQL needs it."""
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)


def quoted(name: str) -> str:
    """Return an identifier as PostgreSQL needs it."""
    preparer = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]
    return str(preparer.quote(name))


def backquoted(name: str, schema: str | None = None) -> str:
    """Return an identifier as MariaDB needs it."""
    parts = [schema, name] if schema else [name]
    return ".".join(in_backquotes(part) for part in parts)
