"""Pages from templates: everything that is put into one is escaped."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined
from markupsafe import Markup, escape
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid_jinja2 import IJinja2Environment

from websauna_migrate.pictures.svg import STYLE
from websauna_migrate.plain_text import visible, with_words, word
from websauna_migrate.web.commands import words_of_commands

if TYPE_CHECKING:
    from pyramid.config import Configurator

HERE = Path(__file__).parent

#: The ending of the pages' templates: what an application sets for ``.jinja2`` is not about them.
ENDING = ".ws_jinja2"


def includeme(config: Configurator) -> None:
    """Have pyramid_jinja2 render the pages' templates, in an environment of their own."""
    config.include("pyramid_jinja2")
    config.add_jinja2_renderer(ENDING, settings_prefix="websauna_migrate.jinja2.")
    config.add_jinja2_search_path("websauna_migrate.web:templates", name=ENDING)

    def prepare() -> None:
        environment = config.get_jinja2_environment(name=ENDING)
        environment.finalize = shown
        environment.undefined = StrictUndefined
        environment.trim_blocks = environment.lstrip_blocks = True
        environment.globals["word"] = word

    config.action("websauna_migrate.web.templating", prepare, order=1)


def shown(value: object) -> Markup:
    """Return a value escaped, its control characters visible."""
    if isinstance(value, Markup):
        return value
    return escape(visible(str(value)))


def render(registry: Registry, template: str, words: str, **values: object) -> Markup:
    """Return a template with values; it is safe to put into another one.

    :param registry: the application's, which includes :func:`includeme`
    :param template: its name, without the ending
    :param words: what commands need, as :func:`.words_of_commands` tells
    """
    environment = registry.getUtility(IJinja2Environment, name=ENDING)
    text = environment.get_template(f"{template}{ENDING}").render(values)
    return Markup(with_words(text, str(escape(words))))


def page(request: Request, template: str, status: int = 200, **values: object) -> Response:
    """Return a page."""
    # Another address for each version.
    tag = hashlib.sha256(stylesheet().encode()).hexdigest()[:12]
    style = request.route_path("websauna_migrate.style", _query={"v": tag})
    values |= {"request": request, "style": style}
    text = render(request.registry, template, words_of_commands(request.registry), **values)
    return Response(text, status=status, content_type="text/html", charset="utf-8")


@functools.cache
def stylesheet() -> str:
    """Return the pages' one stylesheet; that of pictures holds within a picture."""
    own = (HERE / "templates" / "style.css").read_text(encoding="utf-8")
    return f"{own}\n.picture {{\n{STYLE}\n}}\n"
