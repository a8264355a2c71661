"""What the tests over all pairs of dialects share: the registry, and both ends of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from pkgutil import iter_modules
from typing import Any

from dialect_support import attempt

from support.conversations import asking, kit
from support.wires import WIRES, used
from tollway import canon, dialects
from tollway.conversation import Conversation
from tollway.dialects import Bill, Head, dialect


def names() -> Iterator[str]:
    for module in iter_modules(dialects.__path__):
        if module.ispkg or module.name == "openai_chat":
            yield module.name


def speaks(name: str, *parts: str) -> bool:
    return all(hasattr(dialect(name), part) for part in parts)


def _of_chat(name: str) -> bool:
    return not any(word in name for word in ("embed", "rerank"))


OUTBOUND = sorted(name for name in dialects.OUTBOUND if _of_chat(name))
INBOUND = sorted(
    name
    for name in OUTBOUND
    if speaks(name, "parse_request", "conversation", "relay", "render_request")
)
CELLS = [(given, target) for given in INBOUND for target in OUTBOUND]

FACTS: dict[str, Any] = {
    "capabilities": ("tools", "reasoning", "structured_outputs", "vision"),
    "efforts": ("low", "medium", "high"),
    "output_tokens_max": 64_000,
}
THINKER = attempt(**FACTS)
CLIENT = attempt(("usage_cost_field", "thinking=openrouter"), **FACTS)
"""Writing to it is writing as a client does: nothing is kept back that the dialect can say."""
LIMIT = 32_000


# ---- a client of one dialect


def as_said(spoken: Conversation, name: str) -> canon.Request:
    """`spoken` as a client of dialect `name` would send it, parsed."""
    with kit(spoken):
        out = dialect(name).render_request(asking(), CLIENT, LIMIT)
    return parsed(name, out)


def parsed(name: str, out: dialects.Outbound) -> canon.Request:
    request: canon.Request = dialect(name).parse_request(
        out.body, {n.lower(): v for n, v in out.headers}, out.path
    )
    return request


# ---- a provider of the other


LIKE = {
    "mistral": "openai_chat",
    "azure_ai_inference": "openai_chat",
    "azure_openai": "openai_chat",
    "vertex_openai": "openai_chat",
    "vertex_gemini": "gemini",
    "vertex_mistral": "openai_chat",
    "vertex_anthropic": "anthropic_messages",
}
"""Dialects whose answers are those of another."""
WRITERS = [name for name in OUTBOUND if LIKE.get(name, name) in INBOUND]
"""Dialects whose wire can be written here, because clients are answered in it."""
ANSWERS = [c for c in CELLS if c[1] in WRITERS or c[1] in WIRES]


def wire(name: str, events: list[canon.Event], stream: bool) -> bytes:
    """`events` as a provider of dialect `name` sends them."""
    if name in WIRES:
        return WIRES[name](events)
    with kit(events=events):
        way = dialect(LIKE.get(name, name)).relay(head(stream), "kit")
        out = way.feed(b"x") + way.finish()
        return bytes(out + way.ending(bill(used(events))))


def head(stream: bool) -> Head:
    return Head("gen-1", "acme/one", "Acme", 1_700_000_001, stream)


def bill(usage: canon.Usage) -> Bill:
    return Bill(usage, 1_500, 500, 1_000)


def read(name: str, data: bytes, stream: bool) -> list[canon.Event]:
    reader = dialect(name).parser(stream, ())
    events: list[canon.Event] = reader.feed(data)
    return events + ([] if reader.meter.ended else reader.finish())


def relayed(given: str, target: str, data: bytes, stream: bool, size: int) -> bytes:
    """All the bytes a client of `given` gets for `data` of a provider of `target`."""
    way = dialect(given).relay(head(stream), target, (), None)
    out = b"".join(way.feed(data[n : n + size]) for n in range(0, len(data), size))
    out += b"" if way.meter.ended else way.finish()
    assert way.meter.fault is None, way.meter.fault
    assert way.meter.usage is not None, "no usage was read"
    return bytes(out + way.ending(bill(way.meter.usage)))
