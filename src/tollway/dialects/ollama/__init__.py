"""Ollama's own chat (`/api/chat`), on the provider's side.

The registration: `render_request`, `parse_fault`, `parser`. One JSON object a line; options in an
object of their own; images as bare base64; a tool call's arguments as an object.
"""

from __future__ import annotations

from ..faults import parse_fault
from .answer import parser
from .render import render_request

__all__ = ["parse_fault", "parser", "render_request"]
