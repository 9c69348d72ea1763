"""Runs: the only part that changes the database."""
