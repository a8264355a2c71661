"""The dialect of Anthropic's Messages, as OpenRouter extends it; API versions 2023-06-01 and
2026-10-21.

The registration: what other rooms call, each explained where it is written. Of the caller's side
`parse_request`, `conversation`, `relay`, `render_error`, `count_tokens`; of the provider's side
`render_request`, `parse_fault`, `parser`, and `compile_body` for hosts of this dialect under
another path or framing.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ...canon import Request
from .. import Head, Relay, dialect
from ..translated import Parser, Translated
from . import schema
from .answer import parse_fault
from .conversation import conversation
from .events import BodyParser, StreamParser
from .problems import render_error
from .relay import BodyRelay, StreamRelay
from .render import compile_body, render_request
from .request import MessagesRequest, count_tokens, parse_request
from .writer import BodyWriter, StreamWriter

__all__ = [
    "compile_body",
    "conversation",
    "count_tokens",
    "parse_fault",
    "parse_request",
    "parser",
    "relay",
    "render_error",
    "render_request",
]

KEEP_ALIVE = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What keeps a silent stream open here: this dialect has a word for it."""

SAME = frozenset({"anthropic_messages", "vertex_anthropic"})
"""Outbound dialects whose answers are this one's bytes."""


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound` to a caller of this dialect. A structured answer may
    come in a tool call and is always translated. Raises KeyError for a dialect that does not
    exist."""
    formatted = isinstance(request, MessagesRequest) and request.formatted
    if outbound in SAME and not formatted:
        return StreamRelay(head, quirks) if head.stream else BodyRelay(head, quirks)
    spoken: Parser = dialect(outbound).parser(head.stream, quirks)
    hides = request is not None and _hides(request)
    return Translated(spoken, StreamWriter(head, hides) if head.stream else BodyWriter(head, hides))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return StreamParser(quirks) if stream else BodyParser(quirks)


def _hides(request: Request) -> bool:
    """The caller wants the thinking, but not its text."""
    if "thinking" not in request.fields:
        return False
    return (
        msgspec.json.decode(request.fields["thinking"], type=schema.Thinking).display == "omitted"
    )
