"""Amazon Bedrock's Converse: one wire for the models of many authors. Provider's side only.

The registration: `render_request`, `parse_fault`, `parser`, each explained where it is written.
"""

from __future__ import annotations

from collections.abc import Collection

from ..translated import Parser
from .answer import BodyParser
from .faults import parse_fault
from .render import render_request
from .stream import StreamParser

__all__ = ["parse_fault", "parser", "render_request"]


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, as event stream or JSON, to events."""
    return StreamParser() if stream else BodyParser()
