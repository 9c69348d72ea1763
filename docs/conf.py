"""Sphinx's configuration: ``make docs``."""

project = "websauna_migrate"
author = "websauna_migrate contributors"
copyright = author
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "websauna_migrate"
# For programs that read the documentation: https://llmstxt.org
html_extra_path = ["llms.txt"]
nitpicky = False
# ``make linkcheck``; what answers programs with an error has no say.
linkcheck_timeout = 20
linkcheck_retries = 2
man_pages = [
    ("commands", "ws-alembic", "migrate the databases of a Pyramid application", author, 1),
    ("running", "ws-alembic-runs", "runs, locks, the ledger and repair", author, 7),
]
