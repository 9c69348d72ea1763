"""Sphinx's configuration: ``make docs``."""

project = "websauna_migrate"
author = "websauna_migrate contributors"
copyright = author
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
html_theme = "alabaster"
nitpicky = False
