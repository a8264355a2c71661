"""Open models on Vertex AI: chat completions under Vertex's path. Provider's side only.

The base URL ends with project and location; a model's id names its publisher (`meta/…-maas`); who
is calling is said by an OAuth token (upstream).
"""

from __future__ import annotations

import msgspec

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound, openai_chat
from .openai_chat import parse_fault, parser

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `openai_chat.render_request`."""
    outbound = openai_chat.render_request(request, attempt, output_tokens_max)
    return msgspec.structs.replace(outbound, path=f"/endpoints/openapi{outbound.path}")
