"""Messages requests to providers: valid for the vendor's own SDK, with every loss named."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from anthropic_support import check
from dialect_support import attempt
from msgspec import Raw

from support.conversations import asking, conversations, kit
from tollway import conversation as said
from tollway.canon import Request
from tollway.conversation import Conversation, Format, Sampling, Thinking, Tool, ToolChoice, Turn
from tollway.dialects import Outbound, anthropic_messages
from tollway.dialects.anthropic_messages.opaque import wrapped
from tollway.dialects.anthropic_messages.render import ANSWER_TOOL

NEWEST: dict[str, Any] = {
    "capabilities": ("tools", "reasoning", "structured_outputs"),
    "efforts": ("low", "medium", "high", "xhigh", "max"),
    "no_sampling": True,
}
BUDGETED: dict[str, Any] = {
    "capabilities": ("tools", "reasoning"),
    "thinking_budget": {"min": 1_024},
}
SAMPLING = {"temperature", "top_p", "top_k"}
ASK = Turn("user", (said.Text("hi"),))
SHAPE = Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}')


def render(spoken: Conversation, *, limit: int = 32_000, **model: Any) -> Outbound:
    with kit(spoken):
        return anthropic_messages.render_request(asking(), attempt(**model), limit)


def sent(spoken: Conversation, **more: Any) -> dict[str, Any]:
    return without_stream(render(spoken, **more))


def without_stream(out: Outbound) -> dict[str, Any]:
    fields = check(out.body)
    fields.pop("stream", None)
    return fields


# ---- from a conversation -------------------------------------------------------------------------


@pytest.mark.parametrize("model", [NEWEST, BUDGETED, {}])
def test_whatever_is_said_is_valid_for_the_vendor(model: dict[str, Any]) -> None:
    for seed, spoken in conversations(7_000, 150):
        out = render(spoken, **model)
        try:
            fields = check(out.body)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert not model.get("no_sampling") or not fields.keys() & SAMPLING
        roles = [message["role"] for message in fields["messages"]]
        assert roles[0] == "user", f"seed {seed}"
        assert all(a != b for a, b in pairwise(roles)), f"seed {seed}"


def test_the_plain_case_is_plain() -> None:
    assert sent(Conversation((Turn("system", (said.Text("be"),)), ASK)), limit=9) == {
        "model": "one-v1",
        "system": "be",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
    }


def test_results_of_parallel_calls_come_first_in_one_turn() -> None:
    calls = (said.Call("a b", "f", '{"x":1}'), said.Call("call_2", "g", "not json"))
    turns = (
        ASK,
        Turn("assistant", calls),
        Turn("user", (said.Result("call_2", (said.Text("two"),), is_error=True),)),
        Turn("user", (said.Text("and"), said.Result("a b", ()))),
    )
    messages = sent(Conversation(turns))["messages"]
    first = messages[1]["content"][0]["id"]
    assert messages[1]["content"] == [
        {"type": "tool_use", "id": first, "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {"raw_arguments": "not json"}},
    ]
    assert first.startswith("toolu_")
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_2", "content": "two", "is_error": True},
        {"type": "tool_result", "tool_use_id": first},
        {"type": "text", "text": "and"},
    ]


def test_a_conversation_that_begins_with_an_answer_gets_a_beginning() -> None:
    turns = (Turn("assistant", (said.Text("so  "),)),)
    messages = sent(Conversation(turns))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["content"] == "so"


def test_media_is_carried_or_named() -> None:
    png, text = said.Source(data="iVBORw0KGgoAA"), said.Source(data="YWJj", media_type="text/csv")
    parts = (
        said.Image(png, detail="high"),
        said.Image(said.Source(data="AA", media_type="image/bmp")),
        said.File(text, "a.csv"),
        said.File(said.Source(file_id="file_1")),
        said.File(said.Source(data="AA", media_type="application/zip")),
        said.Audio(said.Source(data="AA")),
        said.Video(said.Source(url="https://x.org/v")),
    )
    out = render(Conversation((Turn("user", parts),)))
    assert without_stream(out)["messages"][0]["content"] == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAA"},
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "abc"},
            "title": "a.csv",
        },
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]
    assert out.dropped == (
        "image detail",
        "image (image/bmp)",
        "file (application/zip)",
        "input_audio",
        "video",
    )


def test_the_last_four_cache_breakpoints_stay() -> None:
    marks = tuple(said.Text(str(n), said.Cache("1h" if n else "30m")) for n in range(5))
    out = render(Conversation((Turn("user", marks),)))
    marked = ["cache_control" in block for block in check(out.body)["messages"][0]["content"]]
    assert marked == [False, True, True, True, True]
    assert out.dropped == ("cache_control",)


def thought(**entry: Any) -> Raw:
    return Raw(msgspec.json.encode({"format": "anthropic-claude-v1", "index": 0, **entry}))


def test_signed_thoughts_are_replayed_and_foreign_ones_named() -> None:
    details = (
        thought(type="reasoning.text", text="a"),
        thought(type="reasoning.text", text="b", signature="s+/1="),
        thought(type="reasoning.encrypted", data="d+/="),
        thought(type="reasoning.encrypted", data="x", format="openai-responses-v1"),
        thought(type="reasoning.text", text="loose"),
    )
    turns = (ASK, Turn("assistant", (said.Thought("ab", details), said.Text("so"))), ASK)
    out = render(Conversation(turns))
    assert check(out.body)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "ab", "signature": "s+/1="},
        {"type": "redacted_thinking", "data": "d+/="},
        {"type": "text", "text": "so"},
    ]
    assert out.dropped == (
        "reasoning signature (openai-responses-v1)",
        "reasoning without a signature",
    )


@pytest.mark.parametrize(
    ("wish", "model", "thinking", "config"),
    [
        (Thinking(), NEWEST, None, None),
        (Thinking(False), NEWEST, {"type": "disabled"}, None),
        (Thinking(False), {}, None, None),
        (
            Thinking(True, "minimal"),
            NEWEST,
            {"type": "adaptive", "display": "summarized"},
            {"effort": "low"},
        ),
        (
            Thinking(True, budget=30_000, exclude=True),
            NEWEST,
            {"type": "adaptive", "display": "omitted"},
            {"effort": "xhigh"},
        ),
        (Thinking(True, "high"), BUDGETED, {"type": "enabled", "budget_tokens": 25_600}, None),
        (Thinking(True, budget=1), BUDGETED, {"type": "enabled", "budget_tokens": 1_024}, None),
    ],
)
def test_how_much_is_thought_is_said_as_the_model_takes_it(
    wish: Thinking, model: dict[str, Any], thinking: Any, config: Any
) -> None:
    fields = sent(Conversation((ASK,), thinking=wish), **model)
    assert fields.get("thinking") == thinking
    assert fields.get("output_config") == config


def test_thinking_needs_room_and_an_unforced_choice() -> None:
    wish = Thinking(True, "high")
    small = render(Conversation((ASK,), thinking=wish), limit=1_000, **BUDGETED)
    assert small.dropped == ("reasoning (no room below max_tokens)",)
    forced = render(
        Conversation((ASK,), (Tool("f"),), ToolChoice("required"), thinking=wish), **BUDGETED
    )
    assert forced.dropped == ("reasoning (with a forced tool)",)
    assert check(forced.body)["tool_choice"] == {"type": "any"}


def test_thinking_is_not_switched_on_in_the_middle_of_a_turn() -> None:
    turns = (
        ASK,
        Turn("assistant", (said.Call("a", "f", "{}"),)),
        Turn("user", (said.Result("a", (said.Text("x"),)),)),
    )
    out = render(Conversation(turns, (Tool("f"),), thinking=Thinking(True, "high")), **BUDGETED)
    assert out.dropped == ("reasoning (the turn began without a signed thought)",)


def test_sampling_goes_as_far_as_the_model_takes_it() -> None:
    wish = Sampling(temperature=1.5, top_p=0.5, top_k=3, seed=1, min_p=0.1, stop=("a", " "))
    spoken = Conversation((ASK,), sampling=wish)
    out = render(spoken)
    fields = json.loads(out.body)
    assert (fields["temperature"], fields["top_p"], fields["top_k"]) == (1, 0.5, 3)
    assert fields["stop_sequences"] == ["a"]
    assert out.dropped == ("stop (white space)", "min_p", "seed")
    newest = render(spoken, **NEWEST)
    assert set(newest.dropped) >= {"temperature", "top_p", "top_k"}
    assert "temperature" not in json.loads(newest.body)
    budgeted = render(spoken, **BUDGETED)
    assert "top_p" in budgeted.dropped and "temperature" not in budgeted.dropped


def test_a_parameter_that_routing_dropped_is_not_sent() -> None:
    spoken = Conversation(
        (ASK,),
        (Tool("f"),),
        ToolChoice("auto"),
        thinking=Thinking(True),
        sampling=Sampling(temperature=0.5, stop=("x",)),
    )
    out = render(spoken, dropped=("tools", "reasoning", "temperature", "stop"), **BUDGETED)
    assert json.loads(out.body).keys() == {"model", "messages", "max_tokens", "stream"}


def test_a_structured_answer_is_native_where_the_model_has_it() -> None:
    spoken = Conversation((ASK,), format=Format("schema", schema=SHAPE))
    fields = sent(spoken, **NEWEST)
    assert fields["output_config"] == {
        "format": {"type": "json_schema", "schema": json.loads(bytes(SHAPE))}
    }
    old = sent(spoken, **BUDGETED)
    assert [tool["name"] for tool in old["tools"]] == [ANSWER_TOOL]
    assert old["tools"][0]["input_schema"] == json.loads(bytes(SHAPE))
    assert old["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    beside = sent(msgspec.structs.replace(spoken, tools=(Tool("f"),)), **BUDGETED)
    assert beside["tool_choice"] == {"type": "any"}


def test_json_of_any_shape_is_asked_for_in_words_and_said_so() -> None:
    out = render(Conversation((ASK,), format=Format("json")), **NEWEST)
    assert out.dropped == ("response_format (as an instruction)",)
    assert "JSON" in check(out.body)["system"][0]["text"]


def test_what_the_wire_has_no_word_for_is_named() -> None:
    spoken = Conversation(
        (ASK, Turn("system", (said.Text("now"),))),
        (Tool("f", strict=True),),
        output_modalities=("text", "image"),
        cache_key="k",
        verbosity="low",
        extras={"prediction": Raw(b"{}")},
    )
    out = render(spoken)
    assert out.dropped == (
        "tools.strict",
        "system message in mid-conversation",
        "verbosity",
        "modalities",
        "prompt_cache_key",
        "prediction",
    )
    assert check(out.body)["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "now"}],
        }
    ]


# ---- passthrough ---------------------------------------------------------------------------------


def asked(headers: dict[str, str] | None = None, **fields: Any) -> Request:
    base = {"model": "a/b", "max_tokens": 9_000, "messages": [{"role": "user", "content": "hi"}]}
    return anthropic_messages.parse_request(json.dumps({**base, **fields}).encode(), headers or {})


def passed(request: Request, limit: int = 9_000, **model: Any) -> Outbound:
    return anthropic_messages.render_request(request, attempt(**model), limit)


def test_the_callers_own_json_is_sent_but_for_what_is_ours() -> None:
    messages = '[{"role":"user",  "content":[{"type":"hologram","x":1.50}]}]'
    body = (
        '{"model":"a/b","models":["c/d"],"max_tokens":9000,"stream":true,"provider":{"zdr":true},'
        '"metadata":{"user_id":"u"},"service_tier":"auto","speed":"fast","user":"u",'
        '"context_management":{"edits":[]},"temperature":0.70,"messages":' + messages + "}"
    )
    out = passed(anthropic_messages.parse_request(body.encode()))
    assert messages.encode() in out.body
    assert b'"temperature":0.70' in out.body
    fields = json.loads(out.body)
    assert fields.keys() == {
        "model",
        "messages",
        "max_tokens",
        "stream",
        "temperature",
        "context_management",
    }
    assert (fields["model"], out.path) == ("one-v1", "/messages")
    assert out.dropped == ("speed",)


def test_the_version_is_the_newest_only_for_those_who_speak_it_and_set_no_sampling() -> None:
    newest = {"anthropic-version": "2026-10-21", "anthropic-beta": "b-1"}
    assert ("anthropic-version", "2026-10-21") in passed(asked(newest)).headers
    assert ("anthropic-beta", "b-1") in passed(asked(newest)).headers
    assert ("anthropic-version", "2023-06-01") in passed(asked(newest, top_k=4)).headers
    assert ("anthropic-version", "2023-06-01") in passed(asked()).headers


def test_a_clamped_limit_takes_the_thinking_with_it() -> None:
    request = asked(thinking={"type": "enabled", "budget_tokens": 8_000, "display": "omitted"})
    fields = check(passed(request, 5_000).body)
    assert fields["thinking"] == {"type": "enabled", "budget_tokens": 4_999, "display": "omitted"}
    out = passed(request, 500)
    assert check(out.body)["thinking"] == {"type": "disabled"}
    assert out.dropped == ("thinking (no room below max_tokens)",)
    assert check(passed(request).body)["thinking"]["budget_tokens"] == 8_000


def test_thoughts_that_no_provider_of_this_dialect_signed_are_left_out() -> None:
    foreign = wrapped({"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1"})
    content = [
        {"type": "thinking", "thinking": "plain", "signature": ""},
        {"type": "redacted_thinking", "data": foreign},
        {"type": "thinking", "thinking": "own", "signature": "sig"},
        {"type": "text", "text": "so"},
    ]
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}]
    out = passed(asked(messages=messages))
    assert check(out.body)["messages"][1]["content"] == content[2:]
    assert out.dropped == ("reasoning of another provider",)


def test_searches_without_a_price_are_not_passed_on() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    out = passed(asked(tools=[search], tool_choice={"type": "auto"}))
    assert not json.loads(out.body).keys() & {"tools", "tool_choice"}
    assert out.dropped == ("tools.web_search_20250305",)


def test_an_older_model_gives_a_structured_answer_by_a_tool_here_too() -> None:
    shape = {"type": "json_schema", "schema": json.loads(bytes(SHAPE))}
    request = asked(output_config={"format": shape}, context_management={"edits": []})
    fields = json.loads(passed(request, **BUDGETED).body)
    assert fields["tool_choice"] == {"type": "tool", "name": ANSWER_TOOL}
    assert fields["context_management"] == {"edits": []}
    native = check(passed(request, **NEWEST).body)
    assert native["output_config"] == {"format": shape}


def test_a_model_without_thinking_is_not_asked_to_think() -> None:
    edits = [{"type": "clear_thinking_20251015", "keep": "all"}]
    request = asked(
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        context_management={"edits": edits},
    )
    assert json.loads(passed(request).body)["context_management"] == {"edits": edits}
    out = passed(request, dropped=("reasoning",))
    wrong = {"thinking", "output_config", "context_management"}
    assert not json.loads(out.body).keys() & wrong
    assert out.dropped == ("context_management",)


def test_a_dearer_tier_is_bought_only_where_it_was_planned() -> None:
    request = asked(service_tier="priority", speed="fast")
    assert not json.loads(passed(request).body).keys() & {"service_tier", "speed"}
    fast = passed(request, service_tier="fast")
    assert json.loads(fast.body)["speed"] == "fast"
    assert ("anthropic-beta", "fast-mode-2026-02-01") in fast.headers
    assert json.loads(passed(request, service_tier="priority").body)["service_tier"] == "priority"
