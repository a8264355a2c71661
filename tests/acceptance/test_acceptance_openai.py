"""The official `openai` package, unmodified, against a real server: every value it decodes is
compared, and every USD it is told is found again in the wallet."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from acceptance_support import HELLO, SANDBOX, SANDBOX_B, nano, settled_balance, tool
from openai import AsyncOpenAI, OpenAI
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


# ---- routing -------------------------------------------------------------------------------------


def test_the_second_endpoint_answers_when_the_first_one_fails(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/fault",
        messages=says("Hold on [[fault status=503 at=tollway]]"),
        extra_body={"provider": {"order": ["tollway", "tollway-b"]}},
    )
    assert answer.choices[0].message.content == "Hold on"
    assert answer.provider == SANDBOX_B
    chunks = list(
        client.chat.completions.create(
            model="tollway/fault",
            messages=says("Hold on [[fault die=0 at=tollway]]"),
            stream=True,
            extra_body={"provider": {"order": ["tollway", "tollway-b"]}},
        )
    )
    assert {c.provider for c in chunks} == {SANDBOX_B}
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hold on"


def test_the_next_model_of_the_list_answers_when_the_first_one_fails(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tollway/fault",
        messages=says("Hold on [[fault status=500 at=fault]]"),
        extra_body={"models": ["tollway/reasoner", "tollway/echo"]},
    )
    assert (answer.model, answer.choices[0].message.content) == ("tollway/reasoner", "Hold on")
    chunks = list(
        client.chat.completions.create(
            model="tollway/fault",
            messages=says("Hold on [[fault html at=fault]]"),
            stream=True,
            extra_body={"models": ["tollway/lorem"]},
        )
    )
    assert {c.model for c in chunks} == {"tollway/lorem"}


def test_provider_preferences_decide_who_answers(client: OpenAI) -> None:
    def who(**provider: Any) -> str:
        answer = client.chat.completions.create(
            model="tollway/echo", messages=HELLO, extra_body={"provider": provider}
        )
        return str(answer.provider)

    assert {who(only=["tollway-b"]) for _ in range(4)} == {SANDBOX_B}
    assert {who(ignore=["tollway-b"]) for _ in range(4)} == {SANDBOX}
    assert {who(sort="price") for _ in range(4)} == {SANDBOX}
    assert {who(order=["tollway-b", "tollway"]) for _ in range(4)} == {SANDBOX_B}
    assert {who(max_price={"prompt": 1.1}) for _ in range(4)} == {SANDBOX}


def test_an_error_inside_a_stream_is_raised_after_the_text_before_it(
    server: Server, client: OpenAI
) -> None:
    before = server.balance_nano()
    stream = client.chat.completions.create(
        model="tollway/fault",
        messages=says("one two three four five [[fault error_after=3]]"),
        stream=True,
        extra_body=at("tollway"),
    )
    seen = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in stream:
            seen.append(chunk)
    text = "".join(c.choices[0].delta.content or "" for c in seen if c.choices)
    assert text == "one two "
    assert raised.value.body is not None
    assert raised.value.body["code"] == 503  # type: ignore[index]
    data = server.ask("GET", f"/generation?id={seen[0].id}")[1]["data"]
    assert (data["total_cost"], data["finish_reason"]) == (0, "error")
    assert server.balance_nano() == before


# ---- errors --------------------------------------------------------------------------------------


def test_a_wrong_or_missing_key_is_an_authentication_error(server: Server) -> None:
    for key in (
        "sk-not-a-key",
        server.key[:-1] + ("x" if server.key[-1] != "x" else "y"),
        "tlw_" + "0" * 49,
    ):
        with (
            OpenAI(base_url=server.url, api_key=key, max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError) as raised,
        ):
            stranger.chat.completions.create(model="tollway/echo", messages=HELLO)
        assert raised.value.status_code == 401
        assert raised.value.body["error_type"] == "authentication"  # type: ignore[index]


def test_a_management_key_may_not_infer(server: Server) -> None:
    key = server.tollway("keys", "create", "--name", "boss", "--management", "--plain")
    with (
        OpenAI(base_url=server.url, api_key=key, max_retries=0) as boss,
        pytest.raises(openai.PermissionDeniedError),
    ):
        boss.chat.completions.create(model="tollway/echo", messages=HELLO)


def test_bad_requests_name_the_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="tollway/echo", messages=HELLO, temperature=3)
    assert "temperature" in raised.value.message
    assert raised.value.body["metadata"]["field"] == "temperature"  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model="tollway/echo",
            messages=[{"role": "user", "content": 7}],  # type: ignore[list-item]
        )
    assert "messages[0].content" in raised.value.message


def test_an_unknown_model_is_a_bad_request_with_close_ones(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="tollway/ecco", messages=HELLO)
    assert raised.value.body["availability"]["code"] == "model_not_found"  # type: ignore[index]
    assert "tollway/echo" in raised.value.message


def test_a_model_nobody_here_can_call_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=HELLO)
    assert raised.value.body["availability"]["code"] == "no_endpoints"  # type: ignore[index]
    assert "OPENAI_API_KEY" in raised.value.message


def test_capacity_and_outage_have_their_own_classes(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(
            model="tollway/fault", messages=says("[[fault status=429 retry_after=7]]")
        )
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError) as down:
        client.chat.completions.create(model="tollway/fault", messages=says("[[fault status=503]]"))
    assert down.value.status_code == 503


def test_no_credit_is_402_and_an_exhausted_key_403(server: Server) -> None:
    key = server.tollway("keys", "create", "--name", "poor", "--limit", "0.00001", "--plain")
    with OpenAI(base_url=server.url, api_key=key, max_retries=0) as poor:
        with pytest.raises(openai.PermissionDeniedError) as raised:
            poor.chat.completions.create(model="tollway/echo", messages=HELLO, max_tokens=1_000)
        assert raised.value.body["metadata"]["scope"] == "key_limit"  # type: ignore[index]
    with Server(env={"TOLLWAY_FIRST_CREDIT_USD": "0"}) as broke:
        with (
            OpenAI(base_url=broke.url, api_key=broke.key, max_retries=0) as client,
            pytest.raises(openai.APIStatusError) as unpaid,
        ):
            client.chat.completions.create(model="tollway/echo", messages=HELLO)
        assert unpaid.value.status_code == 402
        assert unpaid.value.body["error_type"] == "payment_required"  # type: ignore[index]
        broke.assert_books()


def test_the_sdk_retries_what_may_be_retried(server: Server) -> None:
    """503 twice, then an answer: the SDK's own retries get there, and the wallet pays once."""
    with OpenAI(base_url=server.url, api_key=server.key, max_retries=3) as patient:
        answer = patient.chat.completions.create(
            model="tollway/fault",
            messages=says("Patience [[fault status=503 times=2]]"),
            extra_body=at("tollway"),
        )
    assert answer.choices[0].message.content == "Patience"


# ---- money ---------------------------------------------------------------------------------------


def test_a_generation_can_be_looked_up_at_once_with_the_same_figures(
    server: Server, client: OpenAI
) -> None:
    for _ in range(20):
        answer = client.chat.completions.create(model="tollway/echo", messages=HELLO)
        status, body, _ = server.ask("GET", f"/generation?id={answer.id}")
        assert status == 200, body
        data, usage = body["data"], answer.usage
        assert usage is not None
        assert (data["id"], data["model"], data["provider_name"]) == (
            answer.id,
            "tollway/echo",
            answer.provider,
        )
        assert (data["tokens_prompt"], data["tokens_completion"]) == (
            usage.prompt_tokens,
            usage.completion_tokens,
        )
        assert data["total_cost"] == usage.cost
        assert data["streamed"] is False


async def test_fifty_parallel_calls_cost_exactly_what_they_say(server: Server) -> None:
    before = await asyncio.to_thread(server.balance_nano)
    async with AsyncOpenAI(
        base_url=server.url, api_key=server.key, max_retries=0, timeout=60
    ) as client:

        async def whole(n: int) -> tuple[str, int]:
            answer = await client.chat.completions.create(
                model="tollway/echo", messages=says(f"Number {n} " + "x" * n)
            )
            assert answer.choices[0].message.content == f"Number {n} " + "x" * n
            assert answer.usage is not None
            return answer.id, nano(answer.usage.cost)

        async def streamed(n: int) -> tuple[str, int]:
            last: Any = None
            stream = await client.chat.completions.create(
                model="tollway/lorem",
                messages=says(f"{n} [[tokens={n} rate=500]]"),
                stream=True,
            )
            async for chunk in stream:
                last = chunk
            assert last.usage.completion_tokens == n
            return last.id, nano(last.usage.cost)

        started = time.perf_counter()
        told = await asyncio.gather(
            *(whole(n) for n in range(25)), *(streamed(n) for n in range(1, 26))
        )
        elapsed = time.perf_counter() - started
    assert len({id for id, _ in told}) == 50
    await asyncio.to_thread(settled_balance, server, told[-1][0])
    for id, _ in told:
        assert (await asyncio.to_thread(server.ask, "GET", f"/generation?id={id}"))[0] == 200
    spent = before - await asyncio.to_thread(server.balance_nano)
    print(f"50 parallel calls: {elapsed:.2f} s, {spent} nano-USD spent")
    assert spent == sum(cost for _, cost in told) > 0


def test_the_books_are_in_order_after_all_of_this(server: Server) -> None:
    server.assert_books()
    errors = [
        line for line in server.log().splitlines() if " ERROR " in line or "Traceback" in line
    ]
    assert errors == []
