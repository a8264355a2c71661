"""Healing as a relay: for every caller's dialect, from providers of their own and another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tollway.caching.tape import Kept, replay
from tollway.canon import Request, Usage
from tollway.dialects import Bill, Head, Relay, dialect
from tollway.errors import Internal
from tollway.plugins.healing import Healing, relay_for

HEAD = Head("gen-1", "acme/one", "Acme", 1_700_000_000, False)
BILL = Bill(Usage(3, 4), 1_000, 400, 600, extra={"openrouter_metadata": {"x": 1}})
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
ON = {"plugins": [{"id": "response-healing"}]}
SAID = [{"role": "user", "content": "hi"}]


def _format(kind: str) -> dict[str, Any]:
    if kind == "object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


def asked(name: str, kind: str = "schema", **more: Any) -> Request:
    fields: dict[str, Any]
    match name:
        case "openai_chat":
            fields = {"messages": SAID, "response_format": _format(kind)}
        case "openai_completions":
            fields = {"prompt": "hi", "response_format": _format(kind)}
        case "openai_responses":
            form = {"type": "json_schema", "name": "n", "schema": SCHEMA}
            fields = {
                "input": "hi",
                "text": {"format": form if kind == "schema" else _format(kind)},
            }
        case "anthropic_messages":
            form = {"type": "json_schema", "schema": SCHEMA}
            fields = {"messages": SAID, "max_tokens": 99, "output_config": {"format": form}}
        case _:
            config = {"responseMimeType": "application/json"}
            if kind == "schema":
                own = {k: v for k, v in SCHEMA.items() if k != "additionalProperties"}
                config["responseSchema"] = own  # type: ignore[assignment]
            fields = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config}
    given = {**fields, **ON, **more}
    if name != "gemini":
        given = {"model": "acme/one", **given}
    path = "/models/acme/one:generateContent"
    request: Request = dialect(name).parse_request(json.dumps(given).encode(), {}, path)
    return request


# ---- answers of providers, whole -----------------------------------------------------------------


def chat(text: str, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode()


def responses(text: str, finish: str = "stop") -> bytes:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    body: dict[str, Any] = {"id": "r", "object": "response", "status": "completed"}
    if finish == "length":
        body = {
            **body,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
        }
    return json.dumps({**body, "output": [{**item, "content": [part]}]}).encode()


def messages(text: str, finish: str = "stop") -> bytes:
    stop = {"stop": "end_turn", "length": "max_tokens"}[finish]
    content = [{"type": "text", "text": text}]
    body = {"id": "m", "type": "message", "role": "assistant", "content": content, "model": "c"}
    usage = {"input_tokens": 3, "output_tokens": 4}
    return json.dumps({**body, "stop_reason": stop, "usage": usage}).encode()


def gemini(text: str, finish: str = "stop") -> bytes:
    half = len(text) // 2
    parts = [{"text": "hm", "thought": True}, {"text": text[:half]}, {"text": text[half:]}]
    candidate = {
        "content": {"role": "model", "parts": parts},
        "finishReason": {"stop": "STOP", "length": "MAX_TOKENS"}[finish],
    }
    return json.dumps({"candidates": [candidate]}).encode()


WIRES: dict[str, Callable[..., bytes]] = {
    "openai_chat": chat,
    "openai_responses": responses,
    "anthropic_messages": messages,
    "gemini": gemini,
}
CALLERS = (*WIRES, "openai_completions")


def told(name: str, answer: bytes) -> str:
    """What the caller reads."""
    body = json.loads(answer)
    match name:
        case "openai_chat":
            return str(body["choices"][0]["message"]["content"])
        case "openai_completions":
            return str(body["choices"][0]["text"])
        case "openai_responses":
            return str(body["output"][-1]["content"][0]["text"])
        case "anthropic_messages":
            return "".join(b["text"] for b in body["content"] if b["type"] == "text")
        case _:
            parts = body["candidates"][0]["content"]["parts"]
            return "".join(part["text"] for part in parts if not part.get("thought"))


def answered(request: Request, outbound: str, wire: bytes) -> tuple[Relay, bytes]:
    relay = relay_for(request, HEAD, outbound, ())
    for at in range(0, len(wire), 97):
        assert relay.feed(wire[at : at + 97]) == b""
    relay.finish()
    assert relay.meter.fault is None and relay.meter.ended
    return relay, relay.ending(BILL)


pairs = pytest.mark.parametrize(
    ("name", "outbound"), [(name, outbound) for name in CALLERS for outbound in WIRES]
)


@pairs
def test_a_broken_answer_is_repaired_and_told_so(name: str, outbound: str) -> None:
    relay, body = answered(asked(name), outbound, WIRES[outbound]('```json\n{"a": 1,}\n```'))
    assert json.loads(told(name, body)) == {"a": 1}
    assert json.loads(body)["openrouter_metadata"] == {"x": 1}
    (note,) = relay.meter.notes
    assert (note["type"], note["data"]) == ("response_healing", {"broken": 1, "healed": 1})


@pairs
def test_what_parses_passes_byte_for_byte(name: str, outbound: str) -> None:
    wire = WIRES[outbound]('{ "a":  1 }')
    relay, body = answered(asked(name), outbound, wire)
    _, plain = answered(asked(name, plugins=[]), outbound, wire)
    assert body == plain and relay.meter.notes == ()


@pairs
def test_a_body_can_be_rendered_twice(name: str, outbound: str) -> None:
    """What healing rests on."""
    relay = relay_for(asked(name, plugins=[]), HEAD, outbound, ())
    relay.feed(WIRES[outbound]("{a: 1}"))
    relay.finish()
    assert relay.ending(BILL) == relay.ending(BILL)


@pairs
def test_an_answer_that_was_cut_short_is_not_pretended_whole(name: str, outbound: str) -> None:
    relay, body = answered(asked(name), outbound, WIRES[outbound]('{"a": 1', "length"))
    assert told(name, body) == '{"a": 1' and relay.meter.notes == ()


@pytest.mark.parametrize("name", CALLERS)
def test_a_repair_that_breaks_the_schema_is_not_made(name: str) -> None:
    relay, body = answered(asked(name), "openai_chat", chat('{"b": 1,}'))
    assert told(name, body) == '{"b": 1,}'
    (note,) = relay.meter.notes
    assert note["data"] == {"broken": 1, "healed": 0}
    assert note["summary"] == "The answer is not JSON and could not be repaired."


@pytest.mark.parametrize(
    "name", ["openai_chat", "openai_completions", "openai_responses", "gemini"]
)
def test_without_a_schema_any_object_will_do_and_a_list_will_not(name: str) -> None:
    for text, wanted in (('{"b": 1,}', {"b": 1}), ("[1, 2,]", None), ("Sorry.", None)):
        _, body = answered(asked(name, "object"), "openai_chat", chat(text))
        assert (
            told(name, body) == text if wanted is None else json.loads(told(name, body)) == wanted
        )


@pytest.mark.parametrize("name", CALLERS)
def test_streams_plain_text_and_callers_without_the_plugin_have_their_own_relay(name: str) -> None:
    assert isinstance(relay_for(asked(name), HEAD, "openai_chat", ()), Healing)
    stream = msgspec.structs.replace(HEAD, stream=True)
    assert not isinstance(relay_for(asked(name), stream, "openai_chat", ()), Healing)
    assert not isinstance(relay_for(asked(name, plugins=[]), HEAD, "openai_chat", ()), Healing)
    free = {
        "openai_chat": {"response_format": None},
        "openai_completions": {"response_format": {"type": "text"}},
        "openai_responses": {"text": {"format": {"type": "text"}}},
        "anthropic_messages": {"output_config": None},
        "gemini": {"generationConfig": {}},
    }[name]
    relay = relay_for(asked(name, **free), HEAD, "openai_chat", ())
    relay.feed(chat("{a: 1}"))
    relay.finish()
    assert told(name, relay.ending(BILL)) == "{a: 1}" and relay.meter.notes == ()


def test_every_choice_is_looked_at_by_itself_and_calls_are_left_alone() -> None:
    def choice(n: int, content: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
        message = {"role": "assistant", "content": content, **more}
        return {"index": n, "message": message, "finish_reason": finish}

    call = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]
    choices = [
        choice(0, '{"a": 1}'),
        choice(1, '{"a": 2,}'),
        choice(2, '{"a": 3,}', "length"),
        choice(3, "{a: 4}", "tool_calls", tool_calls=call),
        choice(4, "nothing"),
        choice(5, None),
    ]
    wire = json.dumps({"id": "x", "choices": choices}).encode()
    relay, body = answered(asked("openai_chat", n=6), "openai_chat", wire)
    said = [each["message"]["content"] for each in json.loads(body)["choices"]]
    assert said == ['{"a": 1}', '{"a": 2}', '{"a": 3,}', "{a: 4}", "nothing", None]
    assert relay.meter.notes[0]["data"] == {"broken": 2, "healed": 1}


def test_a_fault_is_a_fault() -> None:
    relay = relay_for(asked("openai_chat"), HEAD, "openai_chat", ())
    relay.feed(b"<html>")
    relay.finish()
    assert relay.meter.fault is not None and relay.meter.notes == ()
    assert json.loads(relay.failure(Internal()))["error"]["code"] == 500


def test_an_answer_that_is_told_again_from_the_cache_is_repaired_again() -> None:
    """What is kept is what the provider said."""
    kept = Kept(
        "gen-0", "acme/one", "Acme", "acme/one@acme", "v1", "openai_chat", (),
        chat('{"a": 1,}'), True, "stop", "stop", 0.0, 0.0, 60,
    )  # fmt: skip
    body = b"".join(replay(kept, asked("openai_chat"), "gen-2", 1_700_000_000))
    assert json.loads(body)["id"] == "gen-2" and told("openai_chat", body) == '{"a": 1}'
    body = b"".join(replay(kept, asked("openai_chat", plugins=[]), "gen-3", 1_700_000_000))
    assert told("openai_chat", body) == '{"a": 1,}'
