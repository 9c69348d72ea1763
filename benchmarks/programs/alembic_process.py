"""``alembic``."""

import sys

from alembic.config import main

main(sys.argv[1:])
