"""Pages of presets: made from an inference body, listed, looked at.

Not here: what a preset keeps (tollway.presets), where (accounts.presets), what it does to a request
(preset_door). Every ordinary key of a workspace sees its presets and may add to them. A change is in
force in this process before it is answered.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..accounts import presets
from ..accounts.keys import KeyRecord
from ..accounts.presets import NewVersion
from ..gateway import Gateway
from ..presets.capture import capture
from ..presets.entries import Preset, Version, slug_of
from . import asked, shapes
from .replies import iso, json_reply

BODY_LIMIT_BYTES = 4 * 1024 * 1024
"""An inference body may be posted as it is, conversation and all; what is kept of it is far less."""
PAGE, PAGE_MOST = 50, 1_000
_NUMBER = re.compile(r"[0-9]{1,9}")


async def list_presets(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    offset, limit = _page(request)
    found, total = await gateway.store.read(
        presets.page, caller.workspace_id, offset=offset, limit=limit
    )
    views = [shapes.PresetView(**_fields(preset)) for preset in found]
    return json_reply(shapes.ListPresetsResponse(views, total))


async def get_preset(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    preset, version = await gateway.store.read(
        presets.with_version, caller.workspace_id, _slug(request)
    )
    return json_reply(shapes.GetPresetResponse(_whole(preset, version)))


async def list_preset_versions(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    offset, limit = _page(request)
    found, total = await gateway.store.read(
        presets.versions, caller.workspace_id, _slug(request), offset=offset, limit=limit
    )
    return json_reply(shapes.ListPresetVersionsResponse(list(map(_version, found)), total))


async def get_preset_version(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    text = request.path_params["version"]
    if not _NUMBER.fullmatch(text):
        raise errors.bad_field("version", f"expected a number, got {text[:64]!r}")
    version = await gateway.store.read(
        presets.version_of, caller.workspace_id, _slug(request), int(text)
    )
    return json_reply(shapes.GetPresetVersionResponse(_version(version)))


async def create_from_chat(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    return await _create(gateway, request, caller, "openai_chat")


async def create_from_messages(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    return await _create(gateway, request, caller, "anthropic_messages")


async def create_from_responses(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    return await _create(gateway, request, caller, "openai_responses")


async def _create(gateway: Gateway, request: Request, caller: KeyRecord, dialect: str) -> Response:
    slug = slug_of(request.path_params["slug"])
    config, system_prompt = capture(dialect, await asked.data(request, BODY_LIMIT_BYTES))
    new = NewVersion(
        workspace_id=caller.workspace_id,
        slug=slug,
        preset_id=str(uuid4()),
        version_id=str(uuid4()),
        dialect=dialect,
        config=config,
        system_prompt=system_prompt,
        creator_user_id=caller.creator_user_id,
        creator_id=caller.creator_user_id or caller.hash,
    )
    made = await gateway.store.write(presets.add, new, int(gateway.clock() * 1000))
    with suppress(errors.Unavailable):  # it is made; others see it within a second as well
        await gateway.presets.refresh()
    return json_reply(shapes.CreatePresetFromInferenceResponse(_whole(*made)))


HANDLERS = {
    "list_presets": list_presets,
    "get_preset": get_preset,
    "list_preset_versions": list_preset_versions,
    "get_preset_version": get_preset_version,
    "create_preset_from_chat": create_from_chat,
    "create_preset_from_messages": create_from_messages,
    "create_preset_from_responses": create_from_responses,
}


# ---- views ---------------------------------------------------------------------------------------


def _fields(preset: Preset) -> dict[str, Any]:
    return {
        "id": preset.id,
        "slug": preset.slug,
        "name": preset.name,
        "description": preset.description,
        "status": preset.status,
        "status_updated_at": iso(preset.status_updated_ms),
        "creator_user_id": preset.creator_user_id,
        "workspace_id": preset.workspace_id,
        "designated_version_id": preset.version_id,
        "created_at": iso(preset.created_ms),
        "updated_at": iso(preset.updated_ms),
    }


def _whole(preset: Preset, version: Version) -> shapes.PresetWithVersion:
    return shapes.PresetWithVersion(**_fields(preset), designated_version=_version(version))


def _version(version: Version) -> shapes.PresetVersionView:
    """A version never changes, so it was updated when it was made."""
    return shapes.PresetVersionView(
        id=version.id,
        preset_id=version.preset_id,
        version=version.number,
        config=version.config,
        system_prompt=version.system_prompt,
        creator_id=version.creator_id,
        created_at=iso(version.created_ms) or "",
        updated_at=iso(version.created_ms) or "",
    )


def _slug(request: Request) -> str:
    """Any text: one that cannot be a slug is simply not found."""
    slug: str = request.path_params["slug"]
    return slug.lower()


def _page(request: Request) -> tuple[int, int]:
    return asked.offset(request.query_params), asked.limit_rows(
        request.query_params, default=PAGE, most=PAGE_MOST
    )
