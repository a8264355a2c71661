"""The official `openai` package, unmodified, against a real server: every value it decodes is
compared, and every USD it is told is found again in the wallet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from acceptance_support import HELLO, SANDBOX, events, nano, settled_balance, tool
from openai import OpenAI
from pydantic import BaseModel

from support.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key=server.key, max_retries=0, timeout=30) as made:
        yield made


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


def at(*providers: str) -> dict[str, Any]:
    """These endpoints and in this order."""
    return {"provider": {"order": list(providers), "allow_fallbacks": False}}


# ---- answers -------------------------------------------------------------------------------------


def test_a_chat_answer_decodes_with_provider_usage_and_cost(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/echo", messages=says("Hello there"), extra_body=at("tollway")
    )
    assert answer.id.startswith("gen-")
    assert (answer.object, answer.model) == ("chat.completion", "tollway/echo")
    assert abs(answer.created - time.time()) < 60
    assert answer.provider == SANDBOX
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello there")
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    usage = answer.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 3, 6)
    assert nano(usage.cost) == 3 * 1_000 + 3 * 2_000
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 0


def test_cached_tokens_are_told_and_cheaper(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/echo",
        messages=says("A prompt of a few words [[cached=5]]"),
        extra_body=at("tollway"),
    )
    usage = answer.usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 5
    fresh = usage.prompt_tokens - 5
    assert nano(usage.cost) == fresh * 1_000 + 5 * 100 + usage.completion_tokens * 2_000


def test_several_choices_are_each_paid_for(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/echo", messages=says("abcd"), n=3, extra_body=at("tollway")
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"abcd"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert nano(answer.usage.cost) == 1_000 + 3 * 2_000


def test_an_output_limit_and_a_stop_sequence_are_kept(client: OpenAI) -> None:
    cut = client.chat.completions.create(
        model="tollway/lorem", messages=says("[[tokens=50]]"), max_tokens=7
    )
    assert cut.usage is not None
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 7)
    newer = client.chat.completions.create(
        model="tollway/lorem", messages=says("[[tokens=50]]"), max_completion_tokens=9
    )
    assert newer.usage is not None
    assert (newer.choices[0].finish_reason, newer.usage.completion_tokens) == ("length", 9)
    stopped = client.chat.completions.create(
        model="tollway/echo", messages=says("one two three"), stop=[" three"]
    )
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (
        "one two",
        "stop",
    )


def test_logprobs_may_be_asked_for_and_absent(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/echo", messages=HELLO, logprobs=True, top_logprobs=3
    )
    assert answer.choices[0].logprobs is None
    assert answer.choices[0].message.content == "Hello there, world"


def test_system_developer_and_content_parts_are_accepted(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/echo",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
                ],
            },
        ],
    )
    assert answer.choices[0].message.content == "What is this?"


# ---- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [None, {"include_usage": True}, {"include_usage": False}])
def test_a_stream_ends_with_exactly_one_usage_chunk_with_cost(client: OpenAI, options: Any) -> None:
    more = {} if options is None else {"stream_options": options}
    stream = client.chat.completions.create(
        model="tollway/echo",
        messages=HELLO,
        stream=True,
        extra_body=at("tollway"),
        **more,
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello there, world"
    assert {c.id for c in chunks} == {chunks[0].id}
    assert {(c.model, c.provider, c.object) for c in chunks} == {
        ("tollway/echo", SANDBOX, "chat.completion.chunk")
    }
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 5)
    assert nano(usage.cost) == 5 * 1_000 + 5 * 2_000


def test_nothing_follows_the_end_of_a_stream(server: Server) -> None:
    """What the package does not read: one usage, then one terminator, then the end."""
    for model in ("tollway/echo", "tollway/reasoner", "tollway/fault"):
        _, text, headers = server.chat(model, "One two three [[no_done]]", stream=True)
        assert headers["content-type"].startswith("text/event-stream")
        found = events(text)
        assert found.count("[DONE]") == 1 and found[-1] == "[DONE]"
        assert [n for n, e in enumerate(found[:-1]) if e.get("usage")] == [len(found) - 2]
        assert text.endswith("data: [DONE]\n\n")


def test_the_stream_helper_gathers_the_whole_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="tollway/lorem",
        messages=says("[[tokens=200]]"),
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        whole = stream.get_final_completion()
    assert len([delta for delta in deltas if delta]) == 200
    assert whole.choices[0].message.content == "".join(deltas)
    assert whole.usage is not None and whole.usage.completion_tokens == 200


def test_leaving_a_stream_early_charges_what_was_delivered(server: Server, client: OpenAI) -> None:
    before = server.balance_nano()
    stream = client.chat.completions.create(
        model="tollway/lorem",
        messages=says("[[tokens=4000 rate=200]]"),
        stream=True,
        extra_body=at("tollway"),
    )
    seen = [next(stream) for _ in range(5)]
    stream.close()
    id, until = seen[0].id, time.monotonic() + 5
    while server.ask("GET", f"/generation?id={id}")[0] != 200 and time.monotonic() < until:
        time.sleep(0.02)
    data = server.ask("GET", f"/generation?id={id}")[1]["data"]
    assert data["cancelled"] is True
    assert 3 <= data["tokens_completion"] < 1_000
    assert before - settled_balance(server, id) == nano(data["total_cost"]) > 0


# ---- tools ---------------------------------------------------------------------------------------


def test_a_tool_call_and_the_round_trip_with_its_result(client: OpenAI) -> None:
    messages: list[Any] = says("What is the weather?")
    first = client.chat.completions.create(
        model="tollway/tools", messages=messages, tools=[tool()], tool_choice="auto"
    )
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    assert message.content is None and message.tool_calls is not None
    (call,) = message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "days"}
    assert isinstance(arguments["city"], str) and arguments["days"] >= 3
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 °C"},
    ]
    second = client.chat.completions.create(
        model="tollway/tools", messages=messages, tools=[tool()]
    )
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content == "The tool answered: sunny, 21 °C"


def test_parallel_and_named_tool_calls(client: OpenAI) -> None:
    tools = [tool("get_weather"), tool("get_tides"), tool("get_traffic")]
    answer = client.chat.completions.create(
        model="tollway/tools",
        messages=says("Everything [[parallel]]"),
        tools=tools,
        parallel_tool_calls=True,
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [c.function.name for c in calls] == ["get_weather", "get_tides", "get_traffic"]
    assert len({c.id for c in calls}) == 3
    named = client.chat.completions.create(
        model="tollway/tools",
        messages=says("Only this"),
        tools=tools,
        tool_choice={"type": "function", "function": {"name": "get_tides"}},
    )
    (only,) = named.choices[0].message.tool_calls or []
    assert only.function.name == "get_tides"
    none = client.chat.completions.create(
        model="tollway/tools", messages=says("Just talk"), tools=tools, tool_choice="none"
    )
    assert (none.choices[0].message.tool_calls, none.choices[0].message.content) == (
        None,
        "Just talk",
    )


def test_streamed_tool_calls_are_gathered_by_the_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="tollway/tools",
        messages=says("Everything [[parallel]]"),
        tools=[tool("get_weather"), tool("get_tides")],
    ) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        whole = stream.get_final_completion()
    calls = whole.choices[0].message.tool_calls or []
    assert [c.function.name for c in calls] == ["get_weather", "get_tides"]
    assert [json.loads(c.function.arguments)["days"] for c in calls] == [3, 3]
    assert [e.name for e in done] == ["get_weather", "get_tides"]
    assert whole.choices[0].finish_reason == "tool_calls"


# ---- structured output, reasoning ----------------------------------------------------------------


class Invoice(BaseModel):
    number: str
    total: float
    paid: bool
    lines: list[str]


def test_structured_output_through_response_format(client: OpenAI) -> None:
    schema = Invoice.model_json_schema()
    answer = client.chat.completions.create(
        model="tollway/json",
        messages=says("An invoice"),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "invoice", "schema": schema, "strict": True},
        },
    )
    Invoice.model_validate_json(answer.choices[0].message.content or "", strict=True)
    loose = client.chat.completions.create(
        model="tollway/json", messages=says("Any"), response_format={"type": "json_object"}
    )
    assert json.loads(loose.choices[0].message.content or "") == {"text": "Any"}


def test_parse_returns_the_pydantic_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tollway/json", messages=says("An invoice"), response_format=Invoice
    )
    assert isinstance(answer.choices[0].message.parsed, Invoice)
    assert answer.choices[0].message.refusal is None


def test_reasoning_comes_as_text_and_details_and_is_counted(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/reasoner",
        messages=says("Think"),
        extra_body={"reasoning": {"effort": "high"}},
    )
    message: Any = answer.choices[0].message
    assert message.content == "Think"
    assert len(message.reasoning) == 32 * 4
    (detail,) = message.reasoning_details
    assert (detail["type"], detail["text"]) == ("reasoning.text", message.reasoning)
    usage = answer.usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 32
    assert nano(usage.cost) == usage.prompt_tokens * 1_000 + usage.completion_tokens * 2_000


def test_reasoning_streams_before_the_text_and_may_be_sent_back(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tollway/reasoner",
            messages=says("Think"),
            stream=True,
            reasoning_effort="low",
        )
    )
    deltas: list[Any] = [c.choices[0].delta for c in chunks if c.choices]
    kinds = [
        "reasoning" if getattr(d, "reasoning", None) else "text" if d.content else ""
        for d in deltas
    ]
    assert [k for k in kinds if k] == ["reasoning"] * 8 + ["text"]
    details = [d for delta in deltas for d in getattr(delta, "reasoning_details", None) or []]
    text = "".join(d["text"] for d in details)
    assert text == "".join(getattr(d, "reasoning", None) or "" for d in deltas)
    again = client.chat.completions.create(
        model="tollway/reasoner",
        messages=[
            *says("Think"),
            {"role": "assistant", "content": "Think", "reasoning_details": details},
            *says("More"),
        ],
    )
    assert again.choices[0].message.content == "More"


def test_reasoning_can_be_kept_out_of_the_answer_and_is_still_paid(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/reasoner",
        messages=says("Think"),
        extra_body={"reasoning": {"exclude": True}},
    )
    message: Any = answer.choices[0].message
    assert getattr(message, "reasoning", None) is None
    assert not getattr(message, "reasoning_details", None)
    usage = answer.usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 16


# ---- the directory, legacy completions -----------------------------------------------------------


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {"tollway/echo", "openai/gpt-4o-mini"} <= models.keys()
    assert len(models) > 500
    assert models["tollway/echo"].pricing["prompt"] == "0.000001"
    one = client.models.retrieve("tollway/echo")
    assert (one.id, one.object, one.owned_by) == ("tollway/echo", "model", "tollway")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("tollway/nothing")


def test_legacy_completions_whole_and_streamed(client: OpenAI) -> None:
    whole = client.completions.create(
        model="tollway/echo", prompt="Once upon a time", extra_body=at("tollway")
    )
    assert (whole.object, whole.choices[0].text) == ("text_completion", "Once upon a time")
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert nano(whole.usage.cost) == 4 * 1_000 + 4 * 2_000
    chunks = list(client.completions.create(model="tollway/echo", prompt="Once upon", stream=True))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "Once upon"
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]


def test_the_books_are_in_order_after_all_of_this(server: Server) -> None:
    server.assert_books()
    errors = [
        line for line in server.log().splitlines() if " ERROR " in line or "Traceback" in line
    ]
    assert errors == []
