"""``ws-alembic``."""

import sys

from websauna_migrate.scripts.alembic import main

sys.exit(main())
