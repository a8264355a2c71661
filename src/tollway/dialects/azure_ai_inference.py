"""Azure's model inference API: chat completions with an API version. Provider's side only.

The base URL ends with `/models`. Fields that are not in its own schema are dropped there unless a
header asks to pass them to the model.
"""

from __future__ import annotations

import msgspec

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound, openai_chat
from .openai_chat import parse_fault, parser

__all__ = ["parse_fault", "parser", "render_request"]

API_VERSION = "2024-05-01-preview"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `openai_chat.render_request`."""
    outbound = openai_chat.render_request(request, attempt, output_tokens_max)
    return msgspec.structs.replace(
        outbound,
        path=f"{openai_chat.PATH}?api-version={API_VERSION}",
        headers=(*outbound.headers, ("extra-parameters", "pass-through")),
    )
