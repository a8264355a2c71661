"""Mistral's chat, on the provider's side: OpenAI's with differences.

The registration: `render_request`, `parse_fault`, `parser`. Tool ids are nine letters or digits,
content may be a list of chunks of which some are thinking, `required` is `any`, the seed is
`random_seed`, and a field nobody knows is refused.
"""

from __future__ import annotations

from ..faults import parse_fault
from .answer import parser
from .render import render_request

__all__ = ["parse_fault", "parser", "render_request"]
