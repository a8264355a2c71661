"""Pages about the server itself: where the API is, health, metrics, the OpenAPI document."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from ..accounts.keys import KeyRecord
from ..gateway import Gateway
from ..metrics import CONTENT_TYPE
from . import openapi
from .replies import JSON, json_reply
from .shapes import Health, Welcome


async def welcome(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    """Paths only: what the server is called from outside is not for it to guess."""
    return json_reply(
        Welcome(
            name="Tollway",
            version=__version__,
            api="/api/v1",
            models="/api/v1/models",
            openapi="/openapi.json",
        )
    )


async def health_live(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    return json_reply(Health("ok"))


async def health_ready(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    if problems := gateway.problems():
        return json_reply(Health("unavailable", problems), 503, {"Retry-After": "1"})
    return json_reply(Health("ok"))


async def metrics(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    return Response(gateway.metrics.page(), media_type=CONTENT_TYPE)


async def openapi_document(
    gateway: Gateway, request: Request, caller: KeyRecord | None
) -> Response:
    return Response(openapi.document_json(), media_type=JSON)


HANDLERS = {
    "welcome": welcome,
    "welcome_api": welcome,
    "health_live": health_live,
    "health_ready": health_ready,
    "metrics": metrics,
    "openapi": openapi_document,
}
