"""Pages from templates: everything that is put into one is escaped."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from mako.lookup import TemplateLookup
from markupsafe import Markup, escape
from pyramid.request import Request
from pyramid.response import Response

from websauna_migrate.pictures.svg import STYLE
from websauna_migrate.plain_text import visible, word

__all__ = ["page", "render", "stylesheet", "stylesheet_tag"]

HERE = Path(__file__).parent


def shown(value: object) -> Markup:
    """Return a value escaped, its control characters visible."""
    if isinstance(value, Markup):
        return value
    return escape(visible(str(value)))


@functools.cache
def templates() -> TemplateLookup:
    """Return the templates; each expression in them is escaped."""
    return TemplateLookup(
        [str(HERE / "templates")],
        default_filters=["shown"],
        imports=["from websauna_migrate.web.rendering import shown"],
        strict_undefined=True,
        filesystem_checks=False,
    )


def render(template: str, **values: Any) -> Markup:
    """Return a template with values; it is safe to put into another one."""
    return Markup(templates().get_template(template).render_unicode(word=word, **values))


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    text = render(template, request=request, style=stylesheet_url(request), **values)
    return Response(text, status=status, content_type="text/html", charset="utf-8")


@functools.cache
def stylesheet() -> str:
    """Return the pages' one stylesheet; that of pictures holds within a picture."""
    own = (HERE / "templates" / "style.css").read_text(encoding="utf-8")
    return f"{own}\n.picture {{\n{STYLE}\n}}\n"


@functools.cache
def stylesheet_tag() -> str:
    """Return what changes when the stylesheet does."""
    return hashlib.sha256(stylesheet().encode()).hexdigest()[:12]


def stylesheet_url(request: Request) -> str:
    """Return the stylesheet's path, another one for each version."""
    return str(request.route_path("websauna_migrate.style", _query={"v": stylesheet_tag()}))
