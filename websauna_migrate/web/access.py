"""Who may see the pages, and what their answers tell a browser."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable

from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.httpexceptions import HTTPForbidden
from pyramid.interfaces import ISecurityPolicy
from pyramid.request import Request
from pyramid.response import Response

from websauna_migrate.config.settings import parse_settings

#: The permissions: to see the pages, and to upgrade by a button.
VIEW, UPGRADE = "websauna_migrate.view", "websauna_migrate.upgrade"

#: A token in a cookie of its own, since an application may have no sessions.
CSRF = CookieCSRFStoragePolicy("websauna_migrate_csrf", httponly=True, samesite="Strict")

#: Headers by which a proxy says for whom it asks.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

View = Callable[[Request], Response]


def is_local(request: Request) -> bool:
    """True if a request comes from this machine itself, not through a proxy, to a local name.

    The name counts because a page of any site can send a browser to 127.0.0.1 by a name of its
    own (DNS rebinding).
    """
    if any(name in request.headers for name in FORWARDED):
        return False
    return is_loopback(request.remote_addr or "") and is_loopback(request.domain)


def is_loopback(name: str) -> bool:
    """True for ``localhost`` and the addresses of this machine's own network."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def may(request: Request, permission: str, context: object = None) -> bool:
    """True if the application's security policy grants a permission; without one nothing is."""
    if request.registry.queryUtility(ISecurityPolicy) is None:
        return False
    return bool(request.has_permission(permission, context))


def is_from_here(request: Request) -> bool:
    """True if a form was sent by a page of ours: its token, and the browser's word for it."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != request.host_url:
        return False
    token = request.POST.get("csrf_token", "")
    return bool(token) and bool(CSRF.check_csrf_token(request, token))


def require(view: View) -> View:
    """Let a view answer only those who may see the pages."""

    @functools.wraps(view)
    def guarded(request: Request) -> Response:
        settings = parse_settings(request.registry.settings or {})
        # With the pending page a browser on this machine sees what is pending anyway.
        is_open = settings.web_localhost or settings.on_pending == "page"
        if not (is_open and is_local(request)) and not may(request, VIEW, request.context):
            raise HTTPForbidden(
                f'These pages need the permission "{VIEW}", which the application\'s security '
                "policy grants to no one by itself."
            )
        return protect(view(request))

    return guarded


def protect(response: Response) -> Response:
    """Tell a browser to run no script, to load nothing from elsewhere, and to keep nothing."""
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # "no-referrer" would have a browser send forms with "Origin: null".
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
