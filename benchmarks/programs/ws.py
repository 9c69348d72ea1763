"""``ws-alembic``."""

import sys

from websauna_migrate.cli.ws_alembic import main

sys.exit(main())
