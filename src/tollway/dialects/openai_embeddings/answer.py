"""Vectors on their way to the caller: a list in the order of the inputs, in the encoding asked for.

Rules: an answer with another number of vectors than there were inputs, or with something that is
no vector, is broken. A vector in the caller's encoding passes as its own bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event, Request
from ...errors import TollwayError
from .. import Bill, Head, Relay, dialect, faults
from ..embeddings import as_base64, as_numbers, inputs_of, wants_base64
from ..openai_chat_answer import BAD_JSON
from ..openai_usage import render_usage
from ..translated import Parser


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound`. Raises KeyError for a dialect that there is not."""
    parser: Parser = dialect(outbound).parser(False, quirks)
    return Vectors(head, parser, request)


class Vectors:
    """See `dialects.Relay`."""

    def __init__(self, head: Head, parser: Parser, request: Request | None) -> None:
        self.meter = parser.meter
        self.request = request
        self._head = head
        self._parser = parser
        self._encode = as_base64 if wants_base64(request) else as_numbers
        self._inputs = len(inputs_of(request)) if request is not None else None
        self.vectors: dict[int, Raw] = {}

    def feed(self, data: bytes) -> bytes:
        self._parser.feed(data)
        return b""

    def finish(self) -> bytes:
        try:
            self._take(self._parser.finish())
        except (*BAD_JSON, ValueError):
            self._broken("The provider sent a vector that is none.")
        return b""

    def ending(self, bill: Bill) -> bytes:
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": self.vectors[index]}
                for index in sorted(self.vectors)
            ],
            "model": self._head.model,
            "id": self._head.id,
            "provider": self._head.provider,
            "usage": usage_without_output(bill),
            **bill.extra,
        }
        return msgspec.json.encode(body)

    def failure(self, error: TollwayError) -> bytes:
        return msgspec.json.encode(error.body())

    def _take(self, events: Sequence[Event]) -> None:
        for said in events:
            match said:
                case canon.Extra("embedding", vector, index):
                    self.vectors[index] = self._encode(vector)
        wanted = len(self.vectors) if self._inputs is None else self._inputs
        if self.meter.fault is None and sorted(self.vectors) != list(range(wanted)):
            self._broken(f"The provider sent {len(self.vectors)} vectors for {wanted} inputs.")

    def _broken(self, message: str) -> None:
        self.meter.fault = faults.broken(message)
        self.meter.ended = self.meter.spoke = False


def usage_without_output(bill: Bill) -> dict[str, Any]:
    usage = render_usage(bill)
    kept = ("prompt_tokens", "total_tokens", "cost", "is_byok", "cost_details")
    return {name: usage[name] for name in kept} | {
        "prompt_tokens_details": usage["prompt_tokens_details"]
    }
