"""``ws-create-table``: the models as a SQL script."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from websauna_migrate.cli.app import Application
from websauna_migrate.cli.console_script import console_script
from websauna_migrate.cli.ddl import create_statements, select_tables, sql_dialect, tables_of
from websauna_migrate.cli.output import reserve_stdout

DESCRIPTION = """\
Print the SQL that would create the tables of the application's models in an empty database: types,
sequences, tables, indexes and comments, of all packages in the order in which they can be run. No
database is contacted.
"""

EPILOG = """\
examples:
  ws-create-table development.ini
  ws-create-table development.ini fooapp.blog
  ws-create-table development.ini users audit.log

The dialect is that of the application's database, its version is not known. So a type that only
newer servers have, such as MariaDB's UUID, is printed as the one that all have.

The exit status is 0, 1 if the models cannot be printed, 2 for wrong usage and unknown names.
"""


@console_script
def main(argv: Sequence[str]) -> int | None:
    """Print the models of an application as SQL."""
    parser = argparse.ArgumentParser(
        prog="ws-create-table",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ini", metavar="INI", help="the application's INI file, or a plaster URI")
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help='a package, whose own tables are meant, a table, or "schema.table"; default: all',
    )
    options = parser.parse_args(argv)
    with reserve_stdout() as output, Application(options.ini).service() as service:
        packages = service.packages
        tables = (
            select_tables(options.names, packages, service.owner_of)
            if options.names
            else tables_of(packages)
        )
        statements = create_statements(
            tables,
            sql_dialect(service.url),
            all_sequences=not options.names,
            owner_of=service.owner_of,
        )
        output.raw("".join(f"{statement};\n\n" for statement in statements))
        return output.finish(0)
