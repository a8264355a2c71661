"""Pages of the books: credit, one generation, activity.

Not here: the books (ledger.reads), the shapes (shapes). A caller sees its own workspace; whatever
belongs to another one is not found. Every page waits for what is queued for the books.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import apsw
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..accounts import keys, workspaces
from ..accounts.keys import KeyRecord
from ..canon import Usage
from ..gateway import Gateway
from ..ledger import reads
from ..ledger.entries import Generation
from ..ledger.reads import Activity
from ..ledger.windows import day_from, day_of
from ..money import PICO_PER_NANO, usd_from_nano
from . import asked, shapes
from .decided import decided
from .replies import iso, json_reply

ENDING_WAIT_S = 0.5
"""A client may ask for its generation in the instant between its last byte and the booking."""


async def get_credits(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    workspace_id = request.query_params.get("workspace_id") or caller.workspace_id
    if workspace_id != caller.workspace_id and not caller.management:
        raise errors.management_only()
    await gateway.store.read(workspaces.require, workspace_id)
    await gateway.ledger.barrier()
    totals = await gateway.store.read(reads.totals, workspace_id)
    credit = shapes.Credits(usd_from_nano(totals.granted_nano), usd_from_nano(totals.used_nano))
    return json_reply(shapes.CreditsResponse(credit))


async def get_generation(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    generation_id = request.query_params.get("id")
    if not generation_id:
        raise errors.bad_field("id", "say which generation: ?id=gen-…")
    waited_s = 0.0
    while generation_id in gateway.calls and waited_s < ENDING_WAIT_S:
        await asyncio.sleep(0.01)
        waited_s += 0.01
    await gateway.ledger.barrier()
    found = await gateway.store.read(reads.generation, generation_id, caller.workspace_id)
    if found is None:
        raise errors.not_found(f"The generation {generation_id[:128]!r}")
    return json_reply(shapes.GenerationResponse(generation_view(found)))


async def get_activity(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    query = request.query_params
    now_ms = int(gateway.clock() * 1000)
    date = asked.day(query, "date")
    day = None if date is None else day_from(date)
    today = day_of(now_ms)
    if day is not None and not today - reads.ACTIVITY_DAYS <= day < today:
        raise errors.bad_field("date", "expected one of the last 30 completed UTC days")
    grouped = query.get("group_by")
    if grouped not in (None, "", "workspace"):
        raise errors.bad_field("group_by", f"expected workspace, got {grouped!r}")
    await gateway.ledger.barrier()
    rows = await gateway.store.read(
        _activity,
        now_ms,
        day,
        query.get("workspace_id") or None,
        query.get("api_key_hash") or None,
        query.get("user_id") or None,
        bool(grouped),
    )
    return json_reply(shapes.ActivityResponse(rows))


HANDLERS = {
    "get_credits": get_credits,
    "get_generation": get_generation,
    "get_activity": get_activity,
}


# ---- a generation --------------------------------------------------------------------------------


class _Attempt(msgspec.Struct, frozen=True):
    provider_name: str = ""
    endpoint_id: str = ""
    model_permaslug: str = ""
    status: int | None = None


class _Cost(msgspec.Struct, frozen=True):
    cache_discount_pico: int = 0


class _Detail(msgspec.Struct, frozen=True):
    """The parts of a record's detail that are shown. All optional: rows of years ago and rows of
    a recovery lack them."""

    usage: Usage = Usage()
    cost: _Cost = _Cost()
    attempts: tuple[_Attempt, ...] = ()
    native_finish_reason: str | None = None
    upstream_id: str | None = None
    service_tier: str | None = None
    http_referer: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    preset_id: str | None = None
    response_cache_source_id: str | None = None
    router: str | None = None


_decode_detail = msgspec.json.Decoder(_Detail).decode


def generation_view(made: Generation) -> shapes.GenerationView:
    """A record of the books as the lookup shows it."""
    try:
        detail = _decode_detail(made.detail)
    except msgspec.DecodeError:
        detail = _Detail()  # a lookup must not fail over an old row's extras
    usage, charge = detail.usage, usd_from_nano(made.charge_nano)
    saved = detail.cost.cache_discount_pico / PICO_PER_NANO
    return shapes.GenerationView(
        id=made.id,
        created_at=iso(made.at_ms) or "",
        model=made.model,
        total_cost=charge,
        usage=charge,
        origin=detail.http_referer or "",
        cache_discount=saved / 1e9 if saved else None,
        provider_name=made.provider or None,
        provider_responses=[_provider_response(attempt) for attempt in detail.attempts],
        upstream_id=detail.upstream_id,
        api_type="completions",
        streamed=made.streamed,
        cancelled=made.status == "cancelled",
        finish_reason=made.finish_reason,
        native_finish_reason=detail.native_finish_reason,
        latency=made.latency_ms,
        generation_time=made.duration_ms,
        tokens_prompt=made.prompt_tokens,
        tokens_completion=made.completion_tokens,
        native_tokens_prompt=made.prompt_tokens,
        native_tokens_completion=made.completion_tokens,
        native_tokens_reasoning=made.reasoning_tokens,
        native_tokens_cached=made.cached_tokens,
        native_tokens_completion_images=usage.image_output_tokens,
        num_media_prompt=usage.images or None,
        num_media_completion=None,
        http_referer=detail.http_referer,
        user_agent=detail.user_agent,
        service_tier=detail.service_tier,
        workspace_id=made.workspace,
        request_id=detail.request_id,
        session_id=detail.session_id,
        preset_id=detail.preset_id,
        response_cache_source_id=detail.response_cache_source_id,
        router=detail.router,
        tollway=decided(made),
    )


def _provider_response(attempt: _Attempt) -> shapes.ProviderResponse:
    return shapes.ProviderResponse(
        status=attempt.status,
        provider_name=attempt.provider_name,
        endpoint_id=attempt.endpoint_id,
        model_permaslug=attempt.model_permaslug,
    )


# ---- activity ------------------------------------------------------------------------------------


def _activity(
    connection: apsw.Connection,
    now_ms: int,
    day: int | None,
    workspace: str | None,
    key_id: str | None,
    user_id: str | None,
    by_workspace: bool,
) -> list[shapes.ActivityRow]:
    """One read for every combination of filters. A user's activity is that of the keys they
    created; `by_workspace` asks each workspace for itself."""
    key_ids: list[str | None] = [key_id]
    if user_id is not None:
        made = keys.created_by(connection, user_id)
        key_ids = [made_id for made_id in made if key_id in (None, made_id)]
    groups = [workspace]
    if by_workspace and workspace is None:
        groups = [found.id for found in workspaces.every(connection)]
    rows: list[shapes.ActivityRow] = []
    for group in groups:
        found = [
            row
            for one in key_ids
            for row in reads.activity(connection, now_ms, workspace=group, key_id=one, day=day)
        ]
        rows += _added_up(found, group if by_workspace else None)
    return sorted(rows, key=lambda row: row.date, reverse=True)


_SUMMED = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "charge_nano",
)


def _added_up(found: Iterable[Activity], workspace: str | None) -> list[shapes.ActivityRow]:
    """Rows of several keys for the same day, model and endpoint become one."""
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for row in found:
        at = (row.date, row.model, row.endpoint, row.provider)
        figures = [getattr(row, name) for name in _SUMMED]
        sums[at] = [a + b for a, b in zip(sums.get(at, [0] * 6), figures, strict=True)]
    return [
        shapes.ActivityRow(
            date=date,
            model=model,
            model_permaslug=model,
            endpoint_id=endpoint,
            provider_name=provider,
            usage=usd_from_nano(nano),
            byok_usage_inference=0.0,
            requests=requests,
            prompt_tokens=prompt,
            completion_tokens=completion,
            reasoning_tokens=reasoning,
            cached_tokens=cached,
            workspace_id=msgspec.UNSET if workspace is None else workspace,
        )
        for (date, model, endpoint, provider), (
            requests,
            prompt,
            completion,
            reasoning,
            cached,
            nano,
        ) in sums.items()
    ]
