"""Presets at the inference door: a request that names one is completed before its dialect parses it.

Most requests name none and are parsed as they are; what they pay is a look at the parsed models.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import errors
from ..canon import Request
from ..catalogue.entries import Model
from ..dialects import dialect
from ..gateway import Gateway
from ..presets import merge
from ..presets.entries import Version
from ..presets.merge import Merged
from ..presets.naming import MARK, SPEAKS, names_preset


async def parsed(
    gateway: Gateway,
    workspace_id: str,
    name: str,
    body: bytes,
    heard: Mapping[str, str],
    path: str,
) -> Request:
    """The request in the dialect `name`. A body that is no request yet,
    because only its preset makes it one, is read again with it. Raises CallerError, Unavailable."""
    request: Request
    spoken = dialect(name)
    try:
        request = spoken.parse_request(body, heard, path)
        if not names_preset(request.models, request.fields):
            return request
        if name not in SPEAKS and any(MARK in model for model in request.models):
            raise errors.bad_field("model", "presets are for chats and messages; name a model")
    except errors.CallerError:
        if name not in SPEAKS or not may_name(body, path):
            raise
    found = await completed(gateway, workspace_id, name, body, path)
    if found is None:
        request = spoken.parse_request(body, heard, path)
        return request
    merged, version = found
    request = spoken.parse_request(merged.body, heard, merged.path)
    return merge.finished(request, merged.used, version)


def may_name(body: bytes, path: str) -> bool:
    """False where neither can hold the name of a preset."""
    return body.find(b"preset") >= 0 or "preset" in path


async def completed(
    gateway: Gateway, workspace_id: str, name: str, body: bytes, path: str
) -> tuple[Merged, Version] | None:
    """Body and path with the preset they name, None when they name none. Raises CallerError (400,
    404), Unavailable."""
    if name not in SPEAKS:
        return None
    asked = merge.read(name, body, path)
    if asked is None:
        return None
    preset, version = await gateway.presets.get(workspace_id, asked.slug)

    def find(slug: str) -> Model | None:
        base = slug.partition(":")[0]
        known = gateway.catalogue.resolve(slug) or gateway.catalogue.resolve(base)
        return None if known is None else gateway.catalogue.models.get(known)

    return merge.merge(name, asked, path, preset, version, find), version
