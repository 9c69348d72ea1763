"""Sphinx's configuration: ``make docs``."""

project = "websauna_migrate"
author = "websauna_migrate contributors"
copyright = author
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
html_theme = "alabaster"
nitpicky = False
man_pages = [
    ("commands", "ws-alembic", "migrate the databases of a Pyramid application", author, 1),
    ("running", "ws-alembic-runs", "runs, locks, the ledger and repair", author, 7),
]
