"""Azure OpenAI's older URLs: the deployment in the path, an API version behind it.

Provider's side only. The base URL is the resource's, without a path. With its newer URLs
(`…/openai/v1`) Azure speaks plain `openai_chat`.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound, openai_chat
from .openai_chat import parse_fault, parser

__all__ = ["parse_fault", "parser", "render_request"]

API_VERSION = "2024-10-21"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `openai_chat.render_request`. The quirk `legacy_path` may name another path."""
    outbound = openai_chat.render_request(request, attempt, output_tokens_max)
    if outbound.path != openai_chat.PATH:
        return outbound
    deployment = quote(attempt.endpoint.id, safe="")
    path = f"/openai/deployments/{deployment}{openai_chat.PATH}?api-version={API_VERSION}"
    return msgspec.structs.replace(outbound, path=path)
