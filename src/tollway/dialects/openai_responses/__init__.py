"""The dialect of OpenAI's Responses, as OpenRouter extends it: stateless, with encrypted reasoning.

The registration: what other rooms call, each explained where it is written. Of the caller's side
`parse_request`, `conversation`, `relay`, `render_error`; of the provider's side `render_request`,
`parse_fault`, `parser`.
"""

from __future__ import annotations

from collections.abc import Collection

from ...canon import Request
from .. import Head, Relay, dialect
from ..faults import parse_fault
from ..translated import Translated
from .answer import render_error
from .conversation import conversation
from .parser import parser
from .relay import BodyRelay, StreamRelay
from .render import render_request
from .request import NAME, parse_request
from .writer import Writer

__all__ = [
    "conversation",
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
    """From a provider that speaks `outbound` to a caller of this dialect. `request` is echoed in
    the answer. Raises KeyError for a dialect that does not exist."""
    if outbound == NAME:
        return StreamRelay(head, quirks) if head.stream else BodyRelay(head, quirks)
    read = dialect(outbound).parser(head.stream, quirks)
    return Translated(read, Writer(head, request, read.meter))
