"""Cohere's chat (v2), on the provider's side.

The registration: `render_request`, `parse_fault`, `parser`.
"""

from __future__ import annotations

from ..cohere_faults import parse_fault
from .answer import parser
from .render import render_request

__all__ = ["parse_fault", "parser", "render_request"]
