"""Alembic as this package uses it: environments, loaded scripts, its private names."""
