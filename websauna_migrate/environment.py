"""What a package's ``env.py`` calls: the public face of the environments."""

from __future__ import annotations

from websauna_migrate.alembic_adapter.env_run import current_environment

__all__ = ["run_migrations"]


def run_migrations(**options: object) -> None:
    """Run a package's migrations; the whole of the template's ``env.py``.

    Under ``ws-alembic`` and the service it hands over to the run in progress, on whose connection
    all work is done. Under plain ``alembic -c development.ini`` it boots the application of that
    INI file first and connects as its settings say.

    :param options: further options of Alembic's ``context.configure``, such as
        ``include_object`` or ``render_item``; they are read once in a run
    """
    environment = current_environment()
    if environment is not None:
        environment.owner.standard_options = options
        environment.run_standard(options)
    else:
        from websauna_migrate.cli.plain_alembic import run_plain

        run_plain(options)
