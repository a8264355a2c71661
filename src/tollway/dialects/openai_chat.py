"""The dialect of OpenAI's chat completions, as OpenRouter extends it.

The registration: what other rooms call, each explained where it is written. Of the caller's side
`parse_request`, `conversation`, `relay`, `render_error`; of the provider's side `render_request`,
`parse_fault`, `parser`.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ..canon import Request
from ..errors import TollwayError
from . import Head, Relay, dialect
from .faults import parse_fault
from .openai_chat_body import BodyRelay
from .openai_chat_conversation import conversation
from .openai_chat_events import BodyParser, StreamParser
from .openai_chat_render import PATH, render_request
from .openai_chat_renderer import BodyRenderer, StreamRenderer
from .openai_chat_request import parse_request
from .openai_chat_stream import StreamRelay
from .reasoning import wanted
from .translated import Parser, Translated

__all__ = [
    "PATH",
    "conversation",
    "parse_fault",
    "parse_request",
    "parser",
    "relay",
    "render_error",
    "render_request",
]

SAME = frozenset({"openai_chat", "vertex_openai", "azure_openai", "azure_ai_inference"})
"""Outbound dialects whose answers are this one's bytes."""


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound` to a caller of this dialect. `request` is read for
    `reasoning.exclude` only. Raises KeyError for a dialect that there is not."""
    hides = request is not None and wanted(request.fields).exclude
    if outbound in SAME:
        return (StreamRelay if head.stream else BodyRelay)(head, quirks, hides)
    source = dialect(outbound).parser(head.stream, quirks)
    return Translated(source, (StreamRenderer if head.stream else BodyRenderer)(head, hides))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return StreamParser(quirks) if stream else BodyParser(quirks)


def render_error(error: TollwayError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode(error.body())
