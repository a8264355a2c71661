"""What leaves the server outside inference: JSON bodies, error bodies, CORS, and the last catch.

Not here: what the answers say. Rules. Every error is JSON with the headers it needs; an unexpected
one is masked, and recorded without what the caller sent. Browsers may call from any origin but
never with cookies, because there are none: CORS is `*` without credentials. What is private to the
operator has no CORS headers at all. No answer is made from the Host header.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Container, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from .. import errors

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("tollway.http")

JSON = "application/json"
_encode = msgspec.json.Encoder().encode

EXPOSED_HEADERS = (
    "X-Generation-Id, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Tollway-Output-Limit, X-OpenRouter-Cache-Status, X-OpenRouter-Cache-Age, "
    "X-OpenRouter-Cache-TTL, X-OpenRouter-Cache-Source-Id, X-Tollway-Cache-Coalesced"
)
CORS_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
)
"""On every public answer, errors included: without them a browser hides even the error."""

PREFLIGHT_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
    # `*` does not cover Authorization (Fetch standard), so it is named.
    (b"access-control-allow-headers", b"Authorization, *"),
    (b"access-control-max-age", b"86400"),
)


def json_reply(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`value` may hold msgspec structs and `Raw` pieces that are encoded already."""
    return Response(_encode(value), status, dict(headers or {}), JSON)


def error_reply(error: errors.TollwayError) -> Response:
    return json_reply(error.body(), error.status, error_headers(error))


def error_headers(error: errors.TollwayError) -> dict[str, str]:
    """The headers an error needs besides its body: its own, and Retry-After in whole seconds,
    rounded up so that nobody comes too early."""
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return headers


def iso(at_ms: int | None) -> str | None:
    """Unix milliseconds as ISO 8601 in UTC: `2026-11-22T19:06:54.123Z`."""
    if at_ms is None:
        return None
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


async def send_preflight(send: Send) -> None:
    """204 for a browser that asks whether it may call."""
    await send({"type": "http.response.start", "status": 204, "headers": list(PREFLIGHT_HEADERS)})
    await send({"type": "http.response.body", "body": b""})


class Edge:
    """The outermost layer of the control side: preflight, CORS headers, HEAD without a body, and
    every exception turned into the error it is. Pure ASGI. Answers of the paths in `private`
    carry no CORS headers: no page in a browser may read them."""

    def __init__(self, app: App, private: Container[str] = ()) -> None:
        self._app = app
        self._private = private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        public = scope["path"] not in self._private
        if public and is_preflight(scope):
            await send_preflight(send)
            return
        started = False
        head = scope["method"] == "HEAD"

        async def outward(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if public:
                    message["headers"] = [*message["headers"], *CORS_HEADERS]
            elif head:
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, outward)
        except errors.TollwayError as error:
            if started:
                raise
            await error_reply(error)(scope, receive, outward)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  the request ends here
            record_unexpected(scope, error)
            if not started:
                await error_reply(errors.Internal())(scope, receive, outward)


def record_unexpected(scope: Scope, error: BaseException) -> None:
    """Log an exception nobody foresaw. Path, type and places in the code, but neither its text nor
    query or headers: they may hold what the caller sent, keys included."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    log.error(
        "unexpected %s at %s %s: %s",
        type(error).__name__,
        scope.get("method"),
        scope.get("path"),
        " > ".join(places),
    )
