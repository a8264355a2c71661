"""The dialect of OpenAI's embeddings, as OpenRouter extends it, on the caller's side.

The registration: `parse_request`, `relay`, `render_error`. What providers speak is `embed_openai`,
`embed_cohere`, … .
"""

from __future__ import annotations

from ..openai_chat import render_error
from .answer import relay
from .request import parse_request

__all__ = ["parse_request", "relay", "render_error"]
