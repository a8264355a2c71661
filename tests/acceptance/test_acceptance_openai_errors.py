"""The official `openai` package when things go wrong: failing over, errors inside streams, its
exception classes; and money, when fifty calls run at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from acceptance_support import HELLO, SANDBOX, SANDBOX_B, nano, settled_balance
from openai import AsyncOpenAI, OpenAI

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
