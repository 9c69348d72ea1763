"""The application's start, and each script run once with nowhere to go. INI DIALECT.

What no migration tool on Alembic's operations can leave out: a script's text is compiled and run
in a module of its own, and its operations write their statements. No database, no plan.
"""

import os
import sys
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from pyramid.paster import bootstrap

ini, dialect = sys.argv[1:]
environment = bootstrap(ini)
with Path(os.devnull).open("w") as nowhere:
    context = MigrationContext.configure(
        dialect_name=dialect, opts={"as_sql": True, "output_buffer": nowhere}
    )
    with Operations.context(context):
        for path in sorted(Path(ini).parent.glob("*/alembic/versions/*.py")):
            names: dict = {"__name__": path.stem}
            exec(compile(path.read_bytes(), path, "exec"), names)
            names["upgrade"]()
environment["closer"]()
