"""Sphinx's configuration: ``make docs``."""

import logging

from docutils import nodes

# a11y_pygments, which the theme loads, gives the root logger a handler.
logging.getLogger("alembic").setLevel(logging.WARNING)

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


def setup(app):  # type: ignore[no-untyped-def]
    """Let man pages, which have no links to follow, say where a reference leads."""
    app.connect("builder-inited", name_pages)
    app.connect("doctree-resolved", write_out_references)


def write_out_references(app, tree, page):  # type: ignore[no-untyped-def]
    """Put a reference of a man page into words: its title, and the man page or the file."""
    if app.builder.name != "man":
        return
    names = {page: f"{name}({section})" for page, name, _, _, section in man_pages}
    for node in [*tree.findall(nodes.reference)]:
        if not node.get("internal"):
            continue
        target = node.get("refuri", "").partition("#")[0]
        where = names.get(target, f"docs/{target}.rst")
        text = node.astext() if target in ("", page) else f"{node.astext()} ({where})"
        node.replace_self(nodes.Text(text))


def name_pages(app):  # type: ignore[no-untyped-def]
    """Let references of man pages name the page that they lead to."""
    if app.builder.name == "man":
        app.builder.get_relative_uri = lambda source, target, typ=None: target
