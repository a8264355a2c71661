"""The control side of HTTP as one ASGI app: everything in the route table that is not inference.

Not here: what each route answers (the pages), who may call it (routes), how errors look (replies).

Rules. A handler is reached only through its row of the table, and only after the row's policy has
been met: authorisation hangs on the route, not on the handler. A row without a handler, or a
handler without a row, stops the start.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.routing import Router

from .. import errors
from ..accounts.keys import KeyRecord
from ..gateway import Gateway
from ..settings import is_loopback
from . import (
    account_pages,
    book_pages,
    catalogue_pages,
    preset_pages,
    service_pages,
    workspace_pages,
)
from .replies import App, Edge, Receive, Scope, Send
from .routes import ROUTES, Auth, Route

Handler = Callable[[Gateway, Request, Any], Awaitable[Response]]
"""(gateway, request, caller) → answer. `caller` is a KeyRecord, or None where the policy lets
anyone in."""

HANDLERS: dict[str, Handler] = {
    **catalogue_pages.HANDLERS,
    **account_pages.HANDLERS,
    **book_pages.HANDLERS,
    **preset_pages.HANDLERS,
    **service_pages.HANDLERS,
    **workspace_pages.HANDLERS,
}


def control_app(gateway: Gateway, routes: Iterable[Route] = ROUTES) -> App:
    """The ASGI app of every `control` route, under all its prefixes, and of every path that does
    not exist. Raises KeyError for a route without a handler."""
    by_path: dict[str, dict[str, App | None]] = {}
    private: set[str] = set()
    for route in routes:
        page = None
        if route.door == "control":
            page = _Page(gateway, route, HANDLERS[route.operation])
        if route.auth is Auth.OPERATOR:
            private.update(route.paths)
        for path in route.paths:
            by_path.setdefault(path.replace("{slug}", "{slug:path}"), {})[route.method] = page
    router = Router(
        [Path(path, _Methods(pages)) for path, pages in by_path.items()],
        redirect_slashes=False,  # Starlette builds that redirect from the Host header
        default=_no_route,
    )
    return Edge(router, private)


async def authorise(gateway: Gateway, auth: Auth, scope: Scope) -> KeyRecord | None:
    """Who is calling, if `auth` lets them. Raises CallerError (401, 403), Unavailable (503)."""
    sent = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _KEYS}
    authorization, x_api_key = sent.get(b"authorization"), sent.get(b"x-api-key")
    if auth is Auth.NONE:
        if authorization is None and x_api_key is None:
            return None
        try:
            return await gateway.keys.authenticate(authorization, x_api_key)
        except errors.TollwayError:
            return None  # public answers do not depend on a key
    keyless = authorization is None and x_api_key is None
    if auth is Auth.OPERATOR and keyless and not gateway.settings.public and _is_local(scope):
        return None
    caller = await gateway.keys.authenticate(authorization, x_api_key)
    if auth is Auth.KEY and caller.management:
        raise errors.inference_refused()
    if auth in (Auth.MANAGEMENT, Auth.OPERATOR) and not caller.management:
        raise errors.management_only()
    return caller


_KEYS = frozenset({b"authorization", b"x-api-key"})
_ELSEWHERE = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via", b"origin"})
"""Headers that say a request comes from elsewhere: through a proxy, or from a page in a browser."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")


def _is_local(scope: Scope) -> bool:
    """The peer is this machine, it asks for this machine, and no header says that it speaks for
    another. A browser on this machine is a loopback peer too, and may be led here under any name
    that resolves to it: the name in Host is then not a loopback one."""
    client = scope.get("client")
    if client is None or any(name in _ELSEWHERE for name, _ in scope["headers"]):
        return False
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    named = _HOST.fullmatch(hosts[0].decode("latin-1").lower()) if len(hosts) == 1 else None
    if named is None or not is_loopback(named[1]):
        return False
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:
        return False


class _Page:
    """One row of the table at work: policy, then handler."""

    def __init__(self, gateway: Gateway, route: Route, handler: Handler) -> None:
        self._gateway = gateway
        self._route = route
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = await authorise(self._gateway, self._route.auth, scope)
        reply = await self._handler(self._gateway, Request(scope, receive), caller)
        await reply(scope, receive, send)


class _Methods:
    """All rows of one path, by method; None where another door answers it."""

    def __init__(self, pages: Mapping[str, App | None]) -> None:
        self._pages = pages
        allowed = {*pages, "OPTIONS", *(["HEAD"] if "GET" in pages else [])}
        self._allowed = sorted(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            reply = Response(status_code=204, headers={"Allow": ", ".join(self._allowed)})
            await reply(scope, receive, send)
            return
        page = self._pages.get("GET" if method == "HEAD" else method)
        if page is None:
            raise errors.wrong_method(method, self._allowed)
        await page(scope, receive, send)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise errors.no_route(scope["path"])
