"""Commands that need no application, with Alembic's own templates."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from websauna_migrate.cli.output import Output

__all__ = ["completion", "init", "list_templates"]


def completion(options: Namespace, output: Output) -> None:
    """Print what makes a shell complete ``ws-alembic``."""
    from websauna_migrate.cli.completion import SHELLS

    output.raw(SHELLS[options.shell])


def init(options: Namespace, output: Output) -> None:
    """Make a script directory for plain Alembic."""
    from alembic import command

    command.init(
        make_config(options, output),
        options.directory,
        template=options.template,
        package=options.package,
    )


def list_templates(options: Namespace, output: Output) -> None:
    """List Alembic's templates."""
    from alembic import command

    command.list_templates(make_config(options, output))


def make_config(options: Namespace, output: Output) -> Any:
    """Return Alembic's configuration for an INI file that need not be there."""
    from alembic.config import Config

    given = options.config or [os.environ.get("ALEMBIC_CONFIG") or "alembic.ini"]
    return Config(given[-1], ini_section=options.name, cmd_opts=options, stdout=output.stream)
