"""The dialect of rerank requests (Cohere's v2 as OpenRouter extends it), on the caller's side.

The registration: `parse_request`, `relay`, `render_error`. What providers speak is
`rerank_cohere`, `rerank_voyage`, `rerank_tei`.
"""

from __future__ import annotations

from ..openai_chat import render_error
from .answer import relay
from .request import parse_request

__all__ = ["parse_request", "relay", "render_error"]
