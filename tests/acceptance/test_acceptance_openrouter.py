"""The official `openrouter` package, unmodified, against a real server. Its models are generated
from OpenRouter's own description and validate every answer, so decoding at all is half the test."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acceptance_support import CITY, HELLO, SANDBOX_B, nano, settled_balance, tool
from openrouter import OpenRouter, errors

from support.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenRouter]:
    with OpenRouter(
        api_key=server.key, server_url=server.url, retry_config=None, timeout_ms=30_000
    ) as made:
        yield made


@pytest.fixture(scope="module")
def boss(server: Server) -> Iterator[OpenRouter]:
    """With a management key."""
    key = server.tollway("keys", "create", "--name", "boss", "--management", "--plain")
    with OpenRouter(api_key=key, server_url=server.url, retry_config=None) as made:
        yield made


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


FIRST: Any = {"order": ["tollway"], "allow_fallbacks": False}


# ---- chat ----------------------------------------------------------------------------------------


def test_a_chat_answer_and_its_generation_tell_the_same(client: OpenRouter) -> None:
    answer = client.chat.send(model="tollway/echo", messages=HELLO, provider=FIRST)
    assert answer.id.startswith("gen-") and answer.model == "tollway/echo"
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Hello there, world", "stop")
    usage = answer.usage
    assert usage is not None and usage.cost is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 5, 10)
    assert nano(usage.cost) == 5 * 1_000 + 5 * 2_000

    made = client.generations.get_generation(id=answer.id).data
    assert (made.id, made.model, made.provider_name) == (
        answer.id,
        "tollway/echo",
        "Tollway Sandbox",
    )
    assert (made.tokens_prompt, made.tokens_completion) == (5, 5)
    assert (made.native_tokens_prompt, made.native_tokens_completion) == (5, 5)
    assert made.total_cost == usage.cost == made.usage
    assert (made.streamed, made.cancelled, made.finish_reason) == (False, False, "stop")
    assert made.created_at.startswith(datetime.now(UTC).strftime("%Y-%m-"))


def test_a_stream_ends_with_one_usage_chunk_and_its_generation_agrees(client: OpenRouter) -> None:
    with client.chat.send(
        model="tollway/lorem", messages=says("[[tokens=30]]"), stream=True
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert len(text) == 30 * 4
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens == 30
    made = client.generations.get_generation(id=chunks[0].id).data
    assert (made.total_cost, made.tokens_completion, made.streamed) == (usage.cost, 30, True)


def test_tools_round_trip(client: OpenRouter) -> None:
    messages: list[Any] = says("What is the weather? [[parallel]]")
    tools: Any = [tool("get_weather"), tool("get_tides")]
    first = client.chat.send(model="tollway/tools", messages=messages, tools=tools)
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls or []
    assert [c.function.name for c in calls] == ["get_weather", "get_tides"]
    assert set(json.loads(calls[0].function.arguments)) == set(CITY["properties"])
    messages.append(first.choices[0].message)
    messages += [
        {"role": "tool", "tool_call_id": c.id, "content": f"result of {c.function.name}"}
        for c in calls
    ]
    second = client.chat.send(model="tollway/tools", messages=messages, tools=tools)
    assert second.choices[0].message.content == "The tool answered: result of get_tides"


def test_streamed_tool_calls_have_an_id_once_and_arguments_in_pieces(client: OpenRouter) -> None:
    tools: Any = [tool()]
    with client.chat.send(
        model="tollway/tools", messages=says("Weather"), tools=tools, stream=True
    ) as stream:
        deltas = [
            call
            for chunk in stream
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
        ]
    assert [bool(d.id) for d in deltas] == [True] + [False] * (len(deltas) - 1)
    arguments = "".join((d.function and d.function.arguments) or "" for d in deltas)
    assert json.loads(arguments)["days"] == 3


def test_structured_output_and_reasoning(client: OpenRouter) -> None:
    answer = client.chat.send(
        model="tollway/json",
        messages=says("Somewhere"),
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": CITY, "strict": True},
        },
    )
    assert json.loads(str(answer.choices[0].message.content))["days"] == 3
    thought = client.chat.send(
        model="tollway/reasoner", messages=says("Think"), reasoning={"effort": "low"}
    )
    message = thought.choices[0].message
    assert isinstance(message.reasoning, str) and len(message.reasoning) == 8 * 4
    (detail,) = message.reasoning_details or []
    assert (detail.type, detail.text) == ("reasoning.text", message.reasoning)  # type: ignore[union-attr]
    again = client.chat.send(
        model="tollway/reasoner", messages=[*says("Think"), message, *says("And now?")]
    )
    assert again.choices[0].message.content == "And now?"


def test_the_next_endpoint_and_the_next_model_answer(client: OpenRouter) -> None:
    answer = client.chat.send(
        model="tollway/fault",
        messages=says("Hold on [[fault status=503 at=tollway]]"),
        provider={"order": ["tollway", "tollway-b"]},
    )
    made = client.generations.get_generation(id=answer.id).data
    assert (answer.choices[0].message.content, made.provider_name) == ("Hold on", SANDBOX_B)
    assert [(r.provider_name, r.status) for r in made.provider_responses or []] == [
        ("Tollway Sandbox", 503),
        (SANDBOX_B, 200),
    ]
    other = client.chat.send(
        models=["tollway/fault", "tollway/json"],
        messages=says("Hold on [[fault status=500 at=fault]]"),
    )
    assert other.model == "tollway/json"


def test_an_error_inside_a_stream_is_a_last_chunk_with_an_error(
    server: Server, client: OpenRouter
) -> None:
    with client.chat.send(
        model="tollway/fault",
        messages=says("one two three four [[fault error_after=3]]"),
        stream=True,
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "one two "
    assert [c.error is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    last = chunks[-1]
    assert last.error is not None
    assert last.error.code == 503
    assert last.choices[0].finish_reason == "error"
    made = client.generations.get_generation(id=last.id).data
    assert made.total_cost == 0


# ---- the directory -------------------------------------------------------------------------------


def test_the_pages_of_the_model_list_hold_as_many_as_the_count(client: OpenRouter) -> None:
    page: Any = client.models.list()
    found: list[str] = []
    while page is not None and page.result.data:
        found += [model.id for model in page.result.data]
        page = page.next()
    assert len(found) == len(set(found)) == client.models.count().data.count
    assert {"tollway/echo", "openai/gpt-4o-mini"} <= set(found)


def test_filters_of_the_model_list(client: OpenRouter) -> None:
    def ids(**filters: Any) -> list[str]:
        page = client.models.list(**filters)
        assert page is not None
        return [model.id for model in page.result.data]

    assert set(ids(q="tollway")) >= {"tollway/echo", "tollway/lorem"}
    assert "tollway/echo" in ids(providers="tollway")
    assert set(ids(model_authors="tollway")) == {
        f"tollway/{name}"
        for name in ("echo", "lorem", "tools", "json", "reasoner", "fault", "auto", "free")
    }
    assert len(ids(limit=7)) == 7


def test_a_model_and_its_endpoints(client: OpenRouter) -> None:
    model = client.models.get(author="tollway", slug="echo").data
    assert (model.id, model.context_length, model.pricing.prompt) == (
        "tollway/echo",
        128_000,
        "0.000001",
    )
    found = client.endpoints.list(author="tollway", slug="echo").data
    assert {(e.provider_name, e.tag, e.pricing.prompt) for e in found.endpoints} == {
        ("Tollway Sandbox", "tollway", "0.000001"),
        ("Tollway Sandbox B", "tollway-b", "0.0000012"),
    }
    with pytest.raises(errors.NotFoundResponseError):
        client.models.get(author="tollway", slug="nothing")
    with pytest.raises(errors.NotFoundResponseError):
        client.endpoints.list(author="tollway", slug="nothing")


def test_every_model_and_endpoint_validates_against_the_sdks_types(client: OpenRouter) -> None:
    """The whole directory, not a sample: a single odd price or modality would be an exception."""
    models = client.models.list(output_modalities="all", limit=1000)
    assert models is not None and len(models.result.data) == 1000
    assert len(client.endpoints.list_zdr_endpoints().data) > 10
    providers = client.providers.list().data
    assert {"tollway", "openai"} <= {provider.slug for provider in providers}


def test_models_of_the_user_are_those_that_can_be_called(
    server: Server, client: OpenRouter
) -> None:
    page = client.models.list_for_user(security={"bearer": server.key})
    assert page is not None
    found = {model.id for model in page.result.data}
    assert "tollway/echo" in found and "openai/gpt-4o-mini" not in found


# ---- accounts ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(  # of the package's own model of `key`
    "ignore:warning. .. DEPRECATED:DeprecationWarning:pydantic.main"
)
def test_key_and_credits_move_by_the_cost_of_a_call(client: OpenRouter) -> None:
    key, credits = (
        client.api_keys.get_current_key_metadata().data,
        client.credits.get_credits().data,
    )
    answer = client.chat.send(model="tollway/lorem", messages=says("[[tokens=11]]"))
    assert answer.usage is not None and answer.usage.cost is not None
    client.generations.get_generation(id=answer.id)
    key_after = client.api_keys.get_current_key_metadata().data
    credits_after = client.credits.get_credits().data
    cost = nano(answer.usage.cost)
    assert nano(key_after.usage) - nano(key.usage) == cost
    assert nano(key_after.usage_daily) == nano(key_after.usage_monthly) == nano(key_after.usage)
    assert nano(credits_after.total_usage) - nano(credits.total_usage) == cost
    assert credits_after.total_credits == 5
    assert (key.is_management_key, key.limit, key.limit_remaining) == (False, None, None)


def test_keys_are_created_listed_changed_and_deleted(server: Server, boss: OpenRouter) -> None:
    made = boss.api_keys.create(
        name="ci",
        limit=1.5,
        limit_reset="monthly",
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    hash = made.data.hash
    assert (made.data.limit, made.data.limit_remaining, made.data.limit_reset) == (
        1.5,
        1.5,
        "monthly",
    )
    assert hash in {key.hash for key in boss.api_keys.list().data}
    with OpenRouter(api_key=made.key, server_url=server.url, retry_config=None) as fresh:
        answer = fresh.chat.send(model="tollway/echo", messages=HELLO)
        assert answer.usage is not None and answer.usage.cost is not None
        fresh.generations.get_generation(id=answer.id)
        spent = boss.api_keys.get(hash=hash).data
        assert nano(spent.usage) == nano(answer.usage.cost)
        assert nano(spent.limit_remaining or 0) == 1_500_000_000 - nano(spent.usage)

        changed = boss.api_keys.update(hash=hash, name="ci-2", disabled=True, limit=2).data
        assert (changed.name, changed.disabled, changed.limit) == ("ci-2", True, 2)
        with pytest.raises(errors.UnauthorizedResponseError, match="disabled"):
            fresh.chat.send(model="tollway/echo", messages=HELLO)
        assert hash not in {key.hash for key in boss.api_keys.list().data}
        assert hash in {key.hash for key in boss.api_keys.list(include_disabled=True).data}
        boss.api_keys.update(hash=hash, disabled=False)
        fresh.chat.send(model="tollway/echo", messages=HELLO)

        assert boss.api_keys.delete(hash=hash).DELETED is True
        with pytest.raises(errors.UnauthorizedResponseError):
            fresh.chat.send(model="tollway/echo", messages=HELLO)
    with pytest.raises(errors.NotFoundResponseError):
        boss.api_keys.get(hash=hash)


def test_a_key_that_has_expired_is_refused(server: Server, boss: OpenRouter) -> None:
    made = boss.api_keys.create(
        name="brief", expires_at=datetime.now(UTC) + timedelta(milliseconds=700)
    )
    with OpenRouter(api_key=made.key, server_url=server.url, retry_config=None) as brief:
        brief.chat.send(model="tollway/echo", messages=HELLO)
        until, refused = time.monotonic() + 5, None
        while refused is None and time.monotonic() < until:
            try:
                brief.chat.send(model="tollway/echo", messages=HELLO)
            except errors.UnauthorizedResponseError as error:
                refused = error
        assert refused is not None and "expired" in refused.message


def test_activity_is_for_management_keys_and_of_completed_days(
    client: OpenRouter, boss: OpenRouter
) -> None:
    assert boss.analytics.get_user_activity(request={}).data == []
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    assert boss.analytics.get_user_activity(request={"date": yesterday}).data == []
    with pytest.raises(errors.ForbiddenResponseError):
        client.analytics.get_user_activity(request={})


# ---- errors --------------------------------------------------------------------------------------


def test_each_refusal_has_its_class(server: Server, client: OpenRouter, boss: OpenRouter) -> None:
    with pytest.raises(errors.BadRequestResponseError) as bad:
        client.chat.send(model="tollway/ecco", messages=HELLO)
    assert "tollway/echo" in bad.value.message
    with pytest.raises(errors.NotFoundResponseError):
        client.chat.send(model="openai/gpt-4o-mini", messages=HELLO)
    with pytest.raises(errors.ForbiddenResponseError):
        boss.chat.send(model="tollway/echo", messages=HELLO)
    with pytest.raises(errors.TooManyRequestsResponseError):
        client.chat.send(model="tollway/fault", messages=says("[[fault status=429]]"))
    with pytest.raises(errors.ServiceUnavailableResponseError):
        client.chat.send(model="tollway/fault", messages=says("[[fault status=503]]"))
    with pytest.raises(errors.BadGatewayResponseError):
        client.chat.send(model="tollway/fault", messages=says("[[fault html]]"))
    with (
        OpenRouter(api_key="sk-or-v1-0", server_url=server.url) as stranger,
        pytest.raises(errors.UnauthorizedResponseError),
    ):
        stranger.chat.send(model="tollway/echo", messages=HELLO)
    key = server.tollway("keys", "create", "--name", "poor", "--limit", "0.00001", "--plain")
    with (
        OpenRouter(api_key=key, server_url=server.url) as poor,
        pytest.raises(errors.ForbiddenResponseError, match="limit"),
    ):
        poor.chat.send(model="tollway/echo", messages=HELLO, max_tokens=1_000)


def test_no_credit_is_payment_required() -> None:
    with (
        Server(env={"TOLLWAY_FIRST_CREDIT_USD": "0"}) as broke,
        OpenRouter(api_key=broke.key, server_url=broke.url) as client,
        pytest.raises(errors.PaymentRequiredResponseError, match="more credits"),
    ):
        client.chat.send(model="tollway/echo", messages=HELLO)


# ---- money ---------------------------------------------------------------------------------------


@pytest.fixture
def calm_server() -> Iterator[Server]:
    """No test before has put its endpoints in trouble, which puts retries on a budget."""
    with Server() as running:
        yield running


async def test_fifty_parallel_calls_cost_exactly_what_they_say(calm_server: Server) -> None:
    server = calm_server
    before = await asyncio.to_thread(server.balance_nano)
    async with OpenRouter(
        api_key=server.key, server_url=server.url, retry_config=None, timeout_ms=60_000
    ) as client:

        async def whole(n: int) -> tuple[str, int]:
            answer = await client.chat.send_async(
                model="tollway/fault",
                messages=says(f"{n} " + "y" * n + " [[fault status=503 at=tollway times=1]]"),
            )
            assert answer.usage is not None and answer.usage.cost is not None
            return answer.id, nano(answer.usage.cost)

        async def streamed(n: int) -> tuple[str, int]:
            last: Any = None
            stream = await client.chat.send_async(
                model="tollway/lorem", messages=says(f"{n} [[tokens={n}]]"), stream=True
            )
            async with stream:
                async for chunk in stream:
                    last = chunk
            return last.id, nano(last.usage.cost)

        told = await asyncio.gather(
            *(whole(n) for n in range(25)), *(streamed(n) for n in range(1, 26))
        )
        for id, cost in told:
            made = await client.generations.get_generation_async(id=id)
            assert nano(made.data.total_cost) == cost
    after = await asyncio.to_thread(settled_balance, server, told[-1][0])
    print(f"50 parallel calls: {before - after} nano-USD spent")
    assert before - after == sum(cost for _, cost in told) > 0
    server.assert_books()


def test_the_books_are_in_order_after_all_of_this(server: Server) -> None:
    server.assert_books()
    log = server.log()
    assert [x for x in log.splitlines() if " ERROR " in x or "Traceback" in x] == []
