"""Alembic in one process, a package after the other: COMMAND INI ..."""

import sys

from alembic import command
from alembic.config import Config

verb, *inis = sys.argv[1:]
for ini in inis:
    config = Config(ini)
    if verb == "upgrade":
        command.upgrade(config, "heads")
    else:
        getattr(command, verb)(config)
