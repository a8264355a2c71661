"""Anthropic's Messages on Vertex AI: the body without its model, under Vertex's paths.

Of the provider's side only: clients of Vertex speak `anthropic_messages` to us. The base URL ends
with project and location; who is calling is said by an OAuth token (upstream). Errors are
Anthropic's where the model was reached, Google's where it was not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import quote

import msgspec

from ...canon import Fault, Request
from ...routing.entries import Attempt
from .. import Outbound, anthropic_messages, gemini
from ..anthropic_messages import compile_body, parser
from ..anthropic_messages.request import VERSION_NEWEST

__all__ = ["parse_fault", "parser", "render_request"]

VERSION = "vertex-2023-10-16"
"""Vertex's name for 2023-06-01; the newer version has one name everywhere."""


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `anthropic_messages.render_request`."""
    draft = compile_body(request, attempt, output_tokens_max)
    version = draft.version if draft.version == VERSION_NEWEST else VERSION
    verb = "streamRawPredict" if request.stream else "rawPredict"
    model = quote(attempt.endpoint.id, safe="@")
    headers = [("Content-Type", "application/json")]
    if draft.betas:
        headers.append(("anthropic-beta", ",".join(draft.betas)))
    return Outbound(
        f"/publishers/anthropic/models/{model}:{verb}",
        msgspec.json.encode({"anthropic_version": version, **draft.fields}),
        tuple(headers),
        tuple(draft.composer.dropped),
    )


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """A refused call to a Fault. Never raises. `headers` have lower-case names."""
    # Google's errors name a status (RESOURCE_EXHAUSTED) and carry retry details; Anthropic's a type.
    google = b'"status"' in body[:4096]
    parse = gemini.parse_fault if google else anthropic_messages.parse_fault
    fault: Fault = parse(status, headers, body, now_s=now_s, quirks=quirks)
    return fault
