"""What the tests of Converse share: event-stream frames made by hand, an attempt at Bedrock."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

import msgspec
from dialect_support import attempt

from tollway.routing.entries import Attempt


def header(name: str, kind: int, value: bytes = b"") -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def text_header(name: str, value: str) -> bytes:
    data = value.encode()
    return header(name, 7, struct.pack(">H", len(data)) + data)


def frame(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", crc32(prelude))
    whole = prelude + headers + payload
    return whole + struct.pack(">I", crc32(whole))


def event(name: str, **fields: Any) -> bytes:
    headers = text_header(":event-type", name) + text_header(":content-type", "application/json")
    return frame(headers + text_header(":message-type", "event"), json.dumps(fields).encode())


def exception(name: str, message: str) -> bytes:
    headers = text_header(":exception-type", name)
    headers += text_header(":content-type", "application/json")
    payload = json.dumps({"message": message}).encode()
    return frame(headers + text_header(":message-type", "exception"), payload)


def delta(index: int, **fields: Any) -> bytes:
    return event("contentBlockDelta", delta=fields, contentBlockIndex=index)


def begun(index: int, name: str, call_id: str = "tooluse_1") -> bytes:
    use = {"toolUseId": call_id, "name": name}
    return event("contentBlockStart", start={"toolUse": use}, contentBlockIndex=index)


def ended(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


def closing(reason: str = "end_turn", **usage: Any) -> bytes:
    counts = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18, **usage}
    metadata = event("metadata", usage=counts, metrics={"latencyMs": 5})
    return event("messageStop", stopReason=reason) + metadata


def bedrock(author: str = "anthropic", dropped: tuple[str, ...] = (), **model: Any) -> Attempt:
    """An attempt at a model of `author` on Bedrock; keywords are facts of the model."""
    made = attempt((), dropped=dropped, **model)
    endpoint_id = f"us.{author}.one-20250101-v1:0"
    return msgspec.structs.replace(
        made,
        model=msgspec.structs.replace(made.model, author=author),
        endpoint=msgspec.structs.replace(made.endpoint, id=endpoint_id, dialect="bedrock_converse"),
    )
