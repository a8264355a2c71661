"""Pages of keys: the key that asks, and for management keys all others.

Not here: what keys are (accounts), what the books say (ledger.reads), the shapes (shapes). Money
leaves as USD numbers, times as ISO 8601 in UTC. What a key has used includes every answer that
ended before it was asked: reads of the books wait for what is queued. A change is in force in this process before it is
answered.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..accounts import keys
from ..accounts.keyformat import ENTROPY_BYTES
from ..accounts.keys import DEFAULT_WORKSPACE, KeyChange, KeyRecord, NewKey
from ..gateway import Gateway
from ..ledger import reads
from ..ledger.reads import KeyUsage
from ..money import usd_from_nano
from ..routing.free import day_and_minute
from . import asked, shapes
from .replies import iso, json_reply


async def get_current_key(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    await gateway.ledger.barrier()
    usage = await gateway.store.read(reads.key_usage, caller.hash, _now_ms(gateway))
    budget = _budget(caller, usage)
    free = await _free(gateway, caller)
    view = shapes.CurrentKey(
        **_spending(caller, usage),
        label=caller.label,
        name=caller.name,
        is_management_key=caller.management,
        is_provisioning_key=caller.management,
        creator_user_id=caller.creator_user_id,
        workspace_id=caller.workspace_id,
        expires_at=iso(caller.expires_ms),
        budgets=[budget] if budget else [],
        effective_budget=budget,
        free_model_daily_requests=free,
        rate_limit=_rate_limit(caller),
    )
    return json_reply(shapes.CurrentKeyResponse(view))


async def list_keys(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    query = request.query_params
    now_ms = _now_ms(gateway)
    records = await keys.list_keys(
        gateway.store,
        now_ms=now_ms,
        workspace_id=query.get("workspace_id") or DEFAULT_WORKSPACE,
        include_disabled=asked.flag(query, "include_disabled"),
        include_expired=asked.flag(query, "include_expired"),
        offset=asked.offset(query),
    )
    await gateway.ledger.barrier()
    usage = await gateway.store.read(reads.all_key_usage, now_ms)
    views = [_key_view(gateway, record, usage.get(record.hash)) for record in records]
    return json_reply(shapes.KeysResponse(views))


async def create_key(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    body = await asked.body(request, shapes.CreateKeyRequest)
    now_ms = _now_ms(gateway)
    if body.external is not None and body.external.api_key is not None:
        raise errors.bad_field("external.api_key", "keys are made here; bring none along")
    new = NewKey(
        name=body.name,
        workspace_id=body.workspace_id or DEFAULT_WORKSPACE,
        limit_nano=asked.limit(body.limit),
        limit_reset=body.limit_reset,
        include_byok_in_limit=body.include_byok_in_limit,
        expires_ms=asked.expiry(body.expires_at, now_ms),
        creator_user_id=body.creator_user_id,
        external_user=body.external.user if body.external else None,
        requests_per_minute=body.requests_per_minute,
        requests_per_day=body.requests_per_day,
    )
    record, text = await keys.create_key(
        gateway.store,
        gateway.keys.pepper,
        new,
        now_ms=now_ms,
        entropy=secrets.token_bytes(ENTROPY_BYTES),
    )
    with suppress(errors.Unavailable):  # the key is made and its text exists only here
        await gateway.keys.refresh()
    view = _key_view(gateway, record, None)
    return json_reply(shapes.CreateKeyResponse(view, text), 201, {"Cache-Control": "no-store"})


async def get_key(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    record = await keys.get_key(gateway.store, request.path_params["hash"])
    return await _key_reply(gateway, record)


async def update_key(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    body = await asked.body(request, shapes.UpdateKeyRequest)
    if all(getattr(body, name) is msgspec.UNSET for name in body.__struct_fields__):
        known = ", ".join(body.__struct_fields__)
        raise errors.bad_field("", f"nothing to change; known fields are {known}")
    change = KeyChange(
        name=body.name,
        disabled=body.disabled,
        limit_nano=msgspec.UNSET if body.limit is msgspec.UNSET else asked.limit(body.limit),
        limit_reset=body.limit_reset,
        include_byok_in_limit=body.include_byok_in_limit,
        workspace_id=body.workspace_id,
        requests_per_minute=body.requests_per_minute,
        requests_per_day=body.requests_per_day,
    )
    key_id = request.path_params["hash"]
    record = await keys.update_key(gateway.store, key_id, change, now_ms=_now_ms(gateway))
    await gateway.keys.refresh()
    return await _key_reply(gateway, record)


async def delete_key(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    await keys.delete_key(gateway.store, request.path_params["hash"])
    await gateway.keys.refresh()
    return json_reply(shapes.DeleteKeyResponse())


HANDLERS = {
    "get_current_key": get_current_key,
    "list_keys": list_keys,
    "create_key": create_key,
    "get_key": get_key,
    "update_key": update_key,
    "delete_key": delete_key,
}


# ---- views ---------------------------------------------------------------------------------------


async def _key_reply(gateway: Gateway, record: KeyRecord) -> Response:
    await gateway.ledger.barrier()
    usage = await gateway.store.read(reads.key_usage, record.hash, _now_ms(gateway))
    return json_reply(shapes.KeyResponse(_key_view(gateway, record, usage)))


def _key_view(gateway: Gateway, record: KeyRecord, usage: KeyUsage | None) -> shapes.KeyView:
    return shapes.KeyView(
        **_spending(record, usage),
        hash=record.hash,
        label=record.label,
        name=record.name,
        disabled=record.disabled,
        created_at=iso(record.created_ms) or "",
        updated_at=iso(record.updated_ms),
        last_used_at=iso(gateway.keys.last_used_ms(record)),
        expires_at=iso(record.expires_ms),
        creator_user_id=record.creator_user_id,
        workspace_id=record.workspace_id,
        external_user=record.external_user,
        is_management_key=record.management,
        requests_per_minute=record.requests_per_minute,
        requests_per_day=record.requests_per_day,
    )


async def _free(gateway: Gateway, caller: KeyRecord) -> shapes.FreeModelDailyRequests:
    """What the key's workspace has asked of free models today; -1 where that is not limited."""
    limits = gateway.free_limits
    if limits is None:
        return shapes.FreeModelDailyRequests()
    _, by_day = day_and_minute(caller.workspace_id, limits)
    used, limit = await gateway.store.read(
        reads.admitted, by_day, caller.workspace_id, _now_ms(gateway)
    )
    return shapes.FreeModelDailyRequests(used, limit, max(0, limit - used))


def _rate_limit(caller: KeyRecord) -> shapes.RateLimit:
    for requests, interval in ((caller.requests_per_minute, "1m"), (caller.requests_per_day, "1d")):
        if requests is not None:
            return shapes.RateLimit(requests, interval, "The key's own limit.")
    return shapes.RateLimit()


def _spending(record: KeyRecord, usage: KeyUsage | None) -> dict[str, Any]:
    """The fields every view of a key shares. Nothing is ever spent on a caller's own provider
    keys here, so the `byok_` figures are 0."""
    used = {"": 0, "_daily": 0, "_weekly": 0, "_monthly": 0}
    limit = remaining = record.limit_nano
    if usage is not None:
        limit, remaining = usage.limit_nano, usage.remaining_nano
        used = {
            "": usage.usage_nano,
            "_daily": usage.usage_daily_nano,
            "_weekly": usage.usage_weekly_nano,
            "_monthly": usage.usage_monthly_nano,
        }
    return {
        "limit": _usd(limit),
        "limit_remaining": _usd(remaining),
        "limit_reset": record.limit_reset,
        "include_byok_in_limit": record.include_byok_in_limit,
        **{f"usage{window}": usd_from_nano(nano) for window, nano in used.items()},
        **{f"byok_usage{window}": 0.0 for window in used},
    }


def _budget(record: KeyRecord, usage: KeyUsage) -> shapes.Budget | None:
    if usage.limit_nano is None:
        return None
    return shapes.Budget(
        scope="key_limit",
        limit_usd=usd_from_nano(usage.limit_nano),
        spend_usd=usd_from_nano(usage.spent_nano),
        remaining_usd=usd_from_nano(usage.remaining_nano or 0),
        reset_interval=usage.reset,
        resets_at=iso(usage.resets_at_ms),
        include_byok=record.include_byok_in_limit,
    )


# ---- helpers -------------------------------------------------------------------------------------


def _now_ms(gateway: Gateway) -> int:
    return int(gateway.clock() * 1000)


def _usd(nano: int | None) -> float | None:
    return None if nano is None else usd_from_nano(nano)
