"""What SQLite keeps besides: options of tables, and what it does with rows that break a constraint.

Alembic has no operation for the former: the table is made anew with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Table

from websauna_migrate.autogenerate.fact_comparison import FoundDifferences
from websauna_migrate.autogenerate.operations.script_op import ScriptOp
from websauna_migrate.autogenerate.operations.table_changes import ComputedColumns, TableChanges
from websauna_migrate.autogenerate.package_objects import Key
from websauna_migrate.autogenerate.revision_errors import cannot_render
from websauna_migrate.facts.fact import Fact

#: Options that say what a table's columns may be. Where one goes, it goes before these change.
STRICT = ("strict", "autoincrement")


def option_changes(
    table: Table,
    key: Key,
    found: FoundDifferences,
    checks: Sequence[str],
    computed: ComputedColumns,
    *,
    first: bool,
) -> Iterator[TableChanges]:
    """Yield the change of a table's options.

    :param checks: sources of the CHECK constraints without a name that the table has by then
    :param computed: the computed columns that it has by then
    :param first: those that come before the changes of columns, else those behind
    """
    old, new = options_of(found.in_database(key)), options_of(found.in_models(key))
    names = [
        name for name in old if old[name] != new[name] and first is (name in STRICT and old[name])
    ]
    told = ("table options", str(table.name), *names)
    if not names:
        return
    change = TableChanges(str(table.name), [ScriptOp(told, nothing, nothing)], schema=table.schema)
    change.recreate = True
    change.databases = ("sqlite",)
    change.computed = computed
    change.options = (
        {f"sqlite_{name}": new[name] for name in names},
        {f"sqlite_{name}": old[name] for name in names},
    )
    change.table_args = (checks, checks)
    yield change


def nothing(context: object) -> list[str]:
    """Return the lines of a batch that changes nothing besides."""
    return ["pass"]


def options_of(facts: Sequence[Fact]) -> dict[str, bool]:
    """Return a table's options by SQLAlchemy's names."""
    written = next((str(one.get("options")) for one in facts if one.kind == "table"), "")
    return {
        "with_rowid": "WITHOUT ROWID" not in written,
        "strict": "STRICT" in written,
        "autoincrement": any(one.get("autoincrement") for one in facts if one.kind == "column"),
    }


def require_no_conflict(package: str, key: Key, found: FoundDifferences) -> None:
    """Refuse a change of ON CONFLICT that no operation of Alembic can make.

    :raises RevisionFailed: naming it
    """
    for one in found.of(key):
        sides = (one.left, one.right)
        of_column = one.attribute == "not null" and any(isinstance(s, str) for s in sides)
        of_key = one.fact.kind == "constraint" and any(
            text.startswith("PRIMARY KEY") and " ON CONFLICT " in text
            for text in (*map(str, sides), str(one.fact.get("definition")))
        )
        if of_column or of_key:
            what = f'column "{one.fact.name}"' if of_column else "primary key"
            raise cannot_render(
                package,
                f'the {what} of table "{key[1]}"',
                "has another ON CONFLICT than in the database, which no operation of Alembic's "
                "changes in a table that is there.",
                "Write the revision by hand, without --autogenerate: op.batch_alter_table("
                f'"{key[1]}", copy_from=..., recreate="always"), where copy_from is an sa.Table '
                "as the table is to be.",
            )
