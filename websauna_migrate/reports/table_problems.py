"""What ``check`` finds of tables: whose they are, and which no script made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Table, inspect, text
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.config.template import is_editable
from websauna_migrate.database.history_tables import HISTORY_PREFIX, list_tables
from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.accesses import full_name, split_name
from websauna_migrate.results import CheckProblem
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.site import Site
from websauna_migrate.runs.uninstalling import list_departed

if TYPE_CHECKING:
    from websauna_migrate.models.ownership import Ownership

#: How many differences are named.
SHOWN = 5


def claimed_twice(
    owners: Mapping[tuple[str | None, str], str], connection: Connection
) -> Iterator[CheckProblem]:
    """Find tables that the models define twice: by names that are one table for the database.

    One without a schema and one in the default schema, or two that differ in case alone.

    :param owners: the owner of each table of the models, by schema and name
    """
    default, one_case = connection.dialect.default_schema_name, ignores_case(connection)
    found: dict[tuple[str | None, str], tuple[str | None, str]] = {}
    for (schema, name), owner in sorted(owners.items(), key=lambda one: (one[0][0] or "", one)):
        folded = name.lower() if one_case and name.isascii() else name
        place = (None if schema == default else schema, folded)
        first = found.setdefault(place, (schema, name))
        if first == (schema, name):
            continue
        other = owners[first]
        both = f'package "{owner}"' if owner == other else f'packages "{other}" and "{owner}"'
        how = f'as "{first[1]}", and as "{name}"'
        if first[1] == name:
            how = f'without a schema, and in "{schema}"'
        yield CheckProblem(
            "claimed-twice",
            owner,
            f'The models of {both} define the table "{name}" twice: {how}, which is the same '
            "place. Leave one of the definitions out, or give it another name.",
            details=(schema, name),
        )


def ignores_case(connection: Connection) -> bool:
    """Tell whether names of tables that differ in case alone are one table."""
    if connection.dialect.name in ("mysql", "mariadb"):
        return bool(connection.scalar(text("SELECT @@lower_case_table_names")))
    return connection.dialect.name == "sqlite"


def own_tables(loaded: LoadedScripts, ownership: Ownership, package: str) -> list[Table]:
    """Return the tables of a package by the models, but for those that others' scripts made."""
    return [
        table
        for table in ownership.tables_of(package)
        if (loaded.created.table_origin(table.schema, table.name) or (package,))[0] == package
    ]


def without_scripts(site: Site, ownership: Ownership, packages: Packages) -> tuple[str, ...]:
    """Return the packages that own tables and have no script."""
    return tuple(
        name
        for name in site.select(packages)
        if not site.loaded.histories[name].ids and own_tables(site.loaded, ownership, name)
    )


def moved_tables(
    loaded: LoadedScripts, ownership: Ownership, selected: Collection[str]
) -> Iterator[CheckProblem]:
    """Find tables that models and scripts have in different packages, one of them selected."""
    owners = ownership.owners
    for key, (package, revision) in loaded.created.tables.items():
        owner = owners.get(key)
        if owner is not None and owner != package and {owner, package} & {*selected}:
            table = full_name(*key)
            script = loaded.histories[package].revisions[revision]
            moved = key in [split_name(text) for text, _ in script.takes_tables]
            named = f'name the owner there: info={{"package": "{package}"}}.'
            if moved:
                remedy = f'Move its class to "{package}", or {named}'
            elif is_editable(loaded.packages[package]):
                remedy = (
                    f"Hand it over with: ws-alembic move-table {table} {package} {owner}, or "
                    f'move its class back to "{package}".'
                )
            else:
                remedy = f"To leave it to the add-on, {named}"
            yield CheckProblem(
                "moved",
                owner,
                f'Table "{table}" is in the models of package "{owner}", but by the scripts '
                f'it belongs to package "{package}" since revision "{revision}". {remedy}',
                fatal=False,
                details=key,
            )


def departed_packages(site: Site, connection: Connection) -> Iterator[CheckProblem]:
    """Find packages that are gone and left their history tables."""
    for one in list_departed(site, connection, list_tables(connection, site.schema)):
        rows = ", ".join(one.rows) or "no revision"
        yield CheckProblem(
            "not-installed",
            None,
            f'Package "{one.name}" {one.absence}; its history table '
            f'"{one.history_table}" has {rows}.',
            fatal=False,
            details=one.rows,
        )


def unowned_tables(
    site: Site, ownership: Ownership, connection: Connection
) -> Iterator[CheckProblem]:
    """Find tables that belong to no package."""
    schema = site.schema
    known = {package.history_table for package in site.packages.values()}
    known.add(LEDGER_TABLE)
    owners = ownership.owners
    default = inspect(connection).default_schema_name
    schemas = {schema_ for schema_, _ in owners} | {None, schema}
    for one in sorted(schemas, key=lambda s: s or ""):
        if one is not None and one == default:
            continue
        for table in sorted(list_tables(connection, one)):
            if one == schema and (table in known or table.startswith(HISTORY_PREFIX)):
                continue
            if (one, table) in owners:
                continue
            name = f"{one}.{table}" if one else table
            if (doubt := site.loaded.created.unsure_tables.get((one, table))) is not None:
                yield unsure(site.loaded, name, *doubt)
            elif not site.loaded.created.table_origin(one, table):
                yield CheckProblem(
                    "unowned",
                    None,
                    f'The table "{name}" belongs to no package: it is left alone.',
                    fatal=False,
                )


def unsure(
    loaded: LoadedScripts, table: str, package: str, revision: str, line: int
) -> CheckProblem:
    """Return that a table in no models may belong to a package, by a script of it."""
    path = loaded.histories[package].revisions[revision].path
    return CheckProblem(
        "unsure",
        package,
        f'The table "{table}" may belong to package "{package}": revision "{revision}" '
        f'("{path}", line {line}) leaves open whether it made the table, or whether the table '
        "is still the one that was made. It is left alone; a drop is written by hand.",
        fatal=False,
        details=table,
    )


def unrecorded(package: str, rows: Collection[str], differences: Sequence[str]) -> CheckProblem:
    """Return what is said of a package whose tables are there, and which scripts did not make.

    :param rows: of its history; their scripts do nothing
    :param differences: between the database and the models, in words
    """
    reason = "its applied scripts make nothing" if rows else "its history is empty"
    text = (
        f'The database has tables of package "{package}", but {reason}: they were made without its '
        "scripts. "
    )
    if not differences:
        text += (
            "They equal the models, so take the scripts as applied: "
            f"ws-alembic -x packages={package} adopt"
        )
    else:
        shown = "; ".join(differences[:SHOWN])
        more = len(differences) - SHOWN
        text += (
            f"They differ from the models: {shown}{f'; {more} more' if more > 0 else ''}. If they "
            "are those of a revision, that is found by replay, and recorded: "
            f"ws-alembic -x packages={package} adopt"
        )
    return CheckProblem("unrecorded", package, text, details=tuple(differences))


def first_script_missing(package: str) -> str:
    """Return what is said of a package that has no script, whose tables are in the database."""
    return (
        f'Package "{package}" has no script, and the database has its tables already: they were '
        "made without one. Write the first script against an empty scratch database, and take it "
        f"as applied here: ws-alembic -x packages={package} adopt"
    )
