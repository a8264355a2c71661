"""Mistral's models on Vertex AI: Mistral's body under Vertex's path. Provider's side only.

The base URL ends with project and location; who is calling is said by an OAuth token (upstream).
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound, mistral
from .mistral import parse_fault, parser

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `mistral.render_request`."""
    outbound: Outbound = mistral.render_request(request, attempt, output_tokens_max)
    verb = "streamRawPredict" if request.stream else "rawPredict"
    model = quote(attempt.endpoint.id, safe="@")
    path = f"/publishers/mistralai/models/{model}:{verb}"
    return msgspec.structs.replace(outbound, path=path)
