"""Run this package's migrations: everything is in the application's INI file."""

from websauna_migrate.environment import run_migrations

run_migrations()
