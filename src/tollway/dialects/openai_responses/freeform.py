"""Custom tools, whose argument is free text, as functions with one string: for other dialects.

A model that knows only functions can still be given such a tool; its call is turned back before the
caller sees it. Rules: arguments that are not what was asked for are handed over as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from ... import conversation as said
from ..surrogates import decoded
from . import schema

_PARAMETERS = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},'
    b'"required":["input"],"additionalProperties":false}'
)


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    input: str


_wrapped_decoder = msgspec.json.Decoder(_Wrapped)


def function(tool: schema.Tool) -> said.Tool:
    """The grammar of the text, where there is one, is told in the description."""
    description = tool.description or ""
    grammar = (tool.format or {}).get("definition")
    if isinstance(grammar, str):
        syntax = (tool.format or {}).get("syntax", "")
        description = f"{description}\n\n`input` follows this {syntax} grammar:\n{grammar}".strip()
    return said.Tool(tool.name or "", description or None, _PARAMETERS)


def wrapped(text: str) -> str:
    """The arguments of a call with this text."""
    return msgspec.json.encode(_Wrapped(text)).decode()


def unwrapped(arguments: str) -> str:
    """The text of a call with these arguments."""
    try:
        return decoded(_wrapped_decoder, arguments.encode(errors="replace")).input
    except msgspec.DecodeError:
        return arguments


def names(fields: Mapping[str, Raw]) -> frozenset[str]:
    """Custom tools of a request."""
    raw = fields.get("tools")
    if raw is None or b'"custom"' not in bytes(raw):
        return frozenset()
    tools = msgspec.json.decode(raw, type=list[schema.Tool])
    return frozenset(tool.name for tool in tools if tool.type == "custom" and tool.name)
