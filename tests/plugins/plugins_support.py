"""Conversations in every caller's dialect, from one description; and a road that ends at the plan.

Every text begins with `<name>:` and ends with `:<name>`, so that what is left of it says which it
was and whether both its ends are there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "routing"))

from routing_builders import MODEL, NOW, model, offered

from tollway.canon import Request
from tollway.dialects import dialect
from tollway.plugins.compression import fitted
from tollway.routing.entries import Offer, Plan, Policy
from tollway.routing.health import Health
from tollway.routing.plan import plan

ON = {"plugins": [{"id": "context-compression"}]}
OFF = {"plugins": [{"id": "context-compression", "enabled": False}]}
DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
FIELD = {
    "openai_chat": "messages",
    "openai_responses": "input",
    "anthropic_messages": "messages",
    "gemini": "contents",
}
GEMINI_PATH = f"/v1beta/models/{MODEL}:generateContent"


@dataclass(frozen=True)
class Exchange:
    """A question of `asked` bytes, a loop of tool calls with results of these sizes, an answer of
    `answered` bytes (0: none yet)."""

    asked: int
    results: tuple[int, ...] = ()
    answered: int = 0
    thinks: bool = False


def text(name: str, size: int) -> str:
    return f"{name}:{'wörd ' * (max(0, size - 20) // 6)}:{name}"


def spoken(name: str, exchanges: list[Exchange], system: int = 40) -> dict[str, Any]:
    """The fields of a request of this dialect that say it."""
    write = {
        "openai_chat": _chat,
        "openai_responses": _responses,
        "anthropic_messages": _messages,
        "gemini": _gemini,
    }[name]
    entries: list[dict[str, Any]] = []
    for n, exchange in enumerate(exchanges):
        entries += write(n, exchange)
    said = text("sys", system)
    if name == "openai_chat":
        return {"messages": [{"role": "system", "content": said}, *entries]}
    if name == "openai_responses":
        return {"input": entries, "instructions": said}
    if name == "anthropic_messages":
        return {"messages": entries, "system": said, "max_tokens": 200}
    return {"contents": entries, "systemInstruction": {"parts": [{"text": said}]}}


def _chat(n: int, exchange: Exchange) -> list[dict[str, Any]]:
    thought = {
        "reasoning": f"t{n}",
        "reasoning_details": [{"type": "reasoning.text", "text": f"t{n}", "signature": "s" * 60}],
    }
    more = thought if exchange.thinks else {}
    said: list[dict[str, Any]] = [{"role": "user", "content": text(f"q{n}", exchange.asked)}]
    for k, size in enumerate(exchange.results):
        call = {"id": f"c{n}.{k}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        said.append({"role": "assistant", "content": None, "tool_calls": [call], **more})
        result = text(f"r{n}.{k}", size)
        said.append({"role": "tool", "tool_call_id": f"c{n}.{k}", "content": result})
    if exchange.answered:
        answer = text(f"a{n}", exchange.answered)
        said.append({"role": "assistant", "content": answer, **more})
    return said


def _responses(n: int, exchange: Exchange) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [{"role": "user", "content": text(f"q{n}", exchange.asked)}]

    def think(k: int) -> None:
        if exchange.thinks:
            said.append(
                {
                    "type": "reasoning",
                    "id": f"rs_{n}_{k}",
                    "summary": [],
                    "encrypted_content": "e" * 60,
                }
            )

    for k, size in enumerate(exchange.results):
        think(k)
        named = {"call_id": f"c{n}.{k}"}
        said.append({"type": "function_call", **named, "name": "f", "arguments": "{}"})
        output = text(f"r{n}.{k}", size)
        said.append({"type": "function_call_output", **named, "output": output})
    if exchange.answered:
        think(99)
        part = {
            "type": "output_text",
            "text": text(f"a{n}", exchange.answered),
            "annotations": [],
        }
        said.append(
            {
                "type": "message",
                "id": f"msg_{n}",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    return said


def _messages(n: int, exchange: Exchange) -> list[dict[str, Any]]:
    thought = [{"type": "thinking", "thinking": f"t{n}", "signature": "s" * 60}]
    more = thought if exchange.thinks else []
    said: list[dict[str, Any]] = [{"role": "user", "content": text(f"q{n}", exchange.asked)}]
    for k, size in enumerate(exchange.results):
        call = {"type": "tool_use", "id": f"c{n}.{k}", "name": "f", "input": {}}
        said.append({"role": "assistant", "content": [*more, call]})
        content = [{"type": "text", "text": text(f"r{n}.{k}", size)}]
        result = {"type": "tool_result", "tool_use_id": f"c{n}.{k}", "content": content}
        said.append({"role": "user", "content": [result]})
    if exchange.answered:
        answer = {"type": "text", "text": text(f"a{n}", exchange.answered)}
        said.append({"role": "assistant", "content": [*more, answer]})
    return said


def _gemini(n: int, exchange: Exchange) -> list[dict[str, Any]]:
    more = {"thoughtSignature": "c2ln" * 15} if exchange.thinks else {}
    said: list[dict[str, Any]] = [
        {"role": "user", "parts": [{"text": text(f"q{n}", exchange.asked)}]}
    ]
    for k, size in enumerate(exchange.results):
        call = {"functionCall": {"id": f"c{n}.{k}", "name": "f", "args": {}}, **more}
        said.append({"role": "model", "parts": [call]})
        response = {"result": text(f"r{n}.{k}", size)}
        answer = {"functionResponse": {"id": f"c{n}.{k}", "name": "f", "response": response}}
        said.append({"role": "user", "parts": [answer]})
    if exchange.answered:
        part = {"text": text(f"a{n}", exchange.answered), **more}
        said.append({"role": "model", "parts": [part]})
    return said


# ---- the road to the plan ------------------------------------------------------------------------


def parsed(name: str, fields: dict[str, Any], *, escapes: bool = False) -> Request:
    """`escapes`: in the JSON of the caller, who need not write UTF-8."""
    given = fields if name == "gemini" else {"model": MODEL, **fields}
    body = json.dumps(given, ensure_ascii=escapes).encode()
    request: Request = dialect(name).parse_request(body, {}, GEMINI_PATH)
    return request


def fit(request: Request, *offers: Offer) -> tuple[Request, Plan]:
    """As the gateway does it."""
    by_model: dict[str, list[Offer]] = {slug: [] for slug in request.models}
    for offer in offers:
        by_model[offer.model.id].append(offer)

    def decided(asked: Request) -> Plan:
        return plan(asked, by_model, Health(), Policy(), now_s=NOW, random=Random(1))

    return fitted(request, decided(request), by_model, decided)


def window(tokens: int, tag: str = "alpha", of: str = MODEL, **facts: Any) -> Offer:
    return offered(tag, of=model(of, **facts), context_length=tokens)


def entries(name: str, request: Request) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bytes(request.fields[FIELD[name]]))
    return found


def pipeline(made: Plan) -> dict[str, Any]:
    (entry,) = made.pipeline
    return entry
