"""The dialect of Gemini's generateContent, as Google AI Studio serves it.

The registration: what other rooms call, each explained where it is written. Of the caller's side
`parse_request`, `count_tokens`, `conversation`, `relay`, `render_error`; of the provider's side
`render_request`, `parse_fault`, `parser`. Vertex has the same body under other paths
(`vertex_gemini`).
"""

from __future__ import annotations

from collections.abc import Collection

from ...canon import Request
from .. import Head, Relay, dialect
from ..translated import Parser, Translated
from .conversation import conversation
from .events import BodyParser, StreamParser
from .failing import parse_fault, render_error
from .relay import BodyRelay, StreamRelay
from .render import render_request
from .renderer import BodyRenderer, StreamRenderer
from .request import GeminiRequest, count_tokens, parse_request

MODEL_IN_PATH = True

__all__ = [
    "MODEL_IN_PATH",
    "conversation",
    "count_tokens",
    "parse_fault",
    "parse_request",
    "parser",
    "relay",
    "render_error",
    "render_request",
]


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound` to a caller of this dialect. `request` is read for the
    stream's framing and for whether thoughts are shown. Raises KeyError for a dialect that there is
    not."""
    asked = request if isinstance(request, GeminiRequest) else None
    sse = asked is None or asked.sse
    if outbound in ("gemini", "vertex_gemini"):
        return StreamRelay(head, sse) if head.stream else BodyRelay(head)
    source = dialect(outbound).parser(head.stream, quirks)
    shows = asked is None or asked.shows_thoughts
    if head.stream:
        return Translated(source, StreamRenderer(head, sse, shows))
    return Translated(source, BodyRenderer(head, shows))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return StreamParser(quirks) if stream else BodyParser(quirks)
