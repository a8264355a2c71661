"""The dialect of Gemini's embeddings, as Google AI Studio serves them.

The registration: what other rooms call, each explained where it is written. Of the caller's side
`parse_request`, `relay`, `render_error`; of the provider's side `render_request`, `parse_fault`,
`parser`.
"""

from __future__ import annotations

from ..faults import parse_fault
from ..gemini.failing import render_error
from .answer import relay
from .provider import parser, render_request
from .request import PURPOSES, parse_request

MODEL_IN_PATH = True

__all__ = [
    "MODEL_IN_PATH",
    "PURPOSES",
    "parse_fault",
    "parse_request",
    "parser",
    "relay",
    "render_error",
    "render_request",
]
