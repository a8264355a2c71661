"""Gemini on Vertex AI: the body and the answers of `gemini` under Vertex's paths.

Of the provider's side only: clients of Vertex speak `gemini` to us. The base URL ends with project
and location; who is calling is said by an OAuth token (upstream).
"""

from __future__ import annotations

from urllib.parse import quote

from ...canon import Request
from ...routing.entries import Attempt
from .. import Outbound
from ..gemini import parse_fault, parser
from ..gemini.render import method, rendered

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """See `gemini.render_request`."""
    path = _path(attempt.endpoint.id, request.stream)
    return rendered(request, attempt, output_tokens_max, path)


def _path(model: str, stream: bool) -> str:
    """Below `…/projects/{project}/locations/{location}`. An id that names its publisher, or a
    tuned model's endpoint, is a path already."""
    name = model
    if not model.startswith(("publishers/", "endpoints/")):
        name = f"publishers/google/models/{model}"
    return f"/{quote(name, safe='/@')}:{method(stream)}"
