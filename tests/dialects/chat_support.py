"""What the tests of the smaller chat dialects share: a request through the front door, cut wires,
and what events add up to."""

from __future__ import annotations

import json
from typing import Any

from dialect_support import attempt

from tollway import canon
from tollway.canon import Event, Request
from tollway.dialects import Outbound, dialect
from tollway.dialects.openai_chat import parse_request

PIXEL = "data:image/png;base64,aGk="
CALL = {
    "id": "call_abcdef123",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at":"sky"}'},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def asked(*messages: dict[str, Any], **fields: Any) -> Request:
    given = list(messages) or [{"role": "user", "content": "hi"}]
    return parse_request(json.dumps({"model": "acme/one", "messages": given, **fields}).encode())


def sent(name: str, request: Request, dropped: tuple[str, ...] = (), **facts: Any) -> Outbound:
    return dialect(name).render_request(request, attempt(dropped=dropped, **facts), 100)


def body(out: Outbound) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(out.body)
    return decoded


def heard(name: str, data: bytes, size: int, stream: bool = True) -> list[Event]:
    """The events of a wire that comes in pieces of `size` bytes."""
    parser = dialect(name).parser(stream)
    events: list[Event] = []
    for n in range(0, len(data), size):
        events += parser.feed(data[n : n + size])
    return events + parser.finish()


def sum_of(events: list[Event]) -> dict[str, Any]:
    """What they say, however it was cut."""
    total: dict[str, Any] = {"text": "", "reasoning": "", "calls": {}, "details": []}
    for one in events:
        match one:
            case canon.Text(text):
                total["text"] += text
            case canon.Reasoning(text, details):
                total["reasoning"] += text
                total["details"] += [json.loads(bytes(raw)) for raw in details]
            case canon.ToolCall(index, id, name, arguments):
                known = total["calls"].setdefault(index, [id, name, ""])
                known[2] += arguments
            case canon.Extra(name, value):
                total[name] = json.loads(bytes(value))
            case canon.Finish(reason, native):
                total["finish"] = (reason, native)
            case canon.Used(usage):
                total["usage"] = usage
            case canon.Failed(fault):
                total["fault"] = fault
            case canon.Ended():
                total["ended"] = True
    return total
