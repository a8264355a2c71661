"""The sandbox as a gateway meets it: bytes, faults, deadlines, counters."""

import asyncio
import json
import math
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tollway.upstream import AttemptFailed
from tollway.upstream.doors import Doors
from tollway.upstream.sandbox import SandboxAnswer, SandboxTransport
from tollway.upstream.sandbox_models import MODELS
from tollway.upstream.transport import HttpTransport

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


class Sandbox:
    """A transport whose time passes at once and is written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.transport = SandboxTransport(sleep=self._sleep)
        self.counters = self.transport.counters

    async def _sleep(self, seconds: float) -> None:
        assert math.isfinite(seconds) and seconds >= 0
        self.slept.append(round(seconds, 9))

    async def open(
        self,
        text: str | list[dict[str, Any]],
        model: str = "echo",
        provider: str = "tollway",
        total_s: float = 100,
        idle_s: float = 30,
        **fields: Any,
    ) -> SandboxAnswer:
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        if fields.get("stream"):
            fields.setdefault("stream_options", {"include_usage": True})
        return await self.transport.open(
            "POST",
            f"sandbox:{provider}/chat/completions",
            [],
            json.dumps({"model": model, "messages": messages, **fields}).encode(),
            total_timeout_s=total_s,
            idle_timeout_s=idle_s,
        )

    async def events(self, text: str, *args: Any, **more: Any) -> list[str]:
        """The data of every event, up to the end or the failure (as `!status`)."""
        answer = await self.open(text, *args, stream=True, **more)
        assert answer.status == 200
        found: list[str] = []
        try:
            while data := await answer.read():
                assert data.startswith(b"data: ") and data.endswith(b"\n\n")
                found.append(data[6:-2].decode())
        except AttemptFailed as failed:
            found.append(f"!{failed.fault.status}")
        await answer.close()
        return found

    async def chunks(self, text: Any, *args: Any, **more: Any) -> list[ChatCompletionChunk]:
        """The chunks of a whole stream, as the official SDK reads them."""
        *chunks, done = await self.events(text, *args, **more)
        assert done == "[DONE]"
        return [ChatCompletionChunk.model_validate_json(chunk) for chunk in chunks]

    async def body(self, text: Any, *args: Any, **more: Any) -> ChatCompletion:
        answer = await self.open(text, *args, **more)
        whole = await drain(answer)
        assert answer.status == 200, whole
        assert answer.headers["content-type"] == "application/json"
        return ChatCompletion.model_validate_json(whole)

    async def status(self, text: str, *args: Any, **more: Any) -> int | str:
        """The status of an answer read to its end, or the failure's as `!502`."""
        try:
            answer = await self.open(text, *args, **more)
            await drain(answer)
        except AttemptFailed as failed:
            return f"!{failed.fault.status}"
        return answer.status


async def drain(answer: SandboxAnswer) -> bytes:
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return b"".join(pieces)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


def text_of(chunks: list[ChatCompletionChunk], choice: int = 0) -> str:
    found = [c for chunk in chunks for c in chunk.choices if c.index == choice]
    return "".join(c.delta.content or "" for c in found)


# ---- bytes ---------------------------------------------------------------------------------------


async def test_a_streamed_answer_to_the_byte(sandbox: Sandbox) -> None:
    answer = await sandbox.open("Hello world", stream=True)
    frame = (
        '{"id":"chatcmpl-f0e73632bd91fb7d3e5d1e6c","object":"chat.completion.chunk",'
        '"created":1767225600,"model":"echo","system_fingerprint":"sandbox",'
    )
    frame = frame.replace("f0e73632bd91fb7d3e5d1e6c", answer.headers["x-request-id"][4:])

    def chunk(delta: str, finish: str = "null") -> bytes:
        one = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'
        return f'data: {frame}"choices":[{one}]}}\n\n'.encode()

    usage = (
        '{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6,'
        '"prompt_tokens_details":{"cached_tokens":0},'
        '"completion_tokens_details":{"reasoning_tokens":0}}'
    )
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [await answer.read() for _ in range(7)] == [
        chunk('{"role":"assistant","content":""}'),
        chunk('{"content":"Hello "}'),
        chunk('{"content":"world"}'),
        chunk("{}", '"stop"'),
        f'data: {frame}"choices":[],"usage":{usage}}}\n\n'.encode(),
        b"data: [DONE]\n\n",
        b"",
    ]


async def test_the_same_request_gets_the_same_bytes(sandbox: Sandbox) -> None:
    for model in MODELS:
        fields = {"tools": [WEATHER], "n": 2, "stream": True}
        one = await drain(await sandbox.open("Say it again, Sam", model, **fields))
        two = await drain(await Sandbox().open("Say it again, Sam", model, **fields))
        assert one == two and one.endswith(b"data: [DONE]\n\n")


async def test_a_whole_answer_says_what_a_streamed_one_says(sandbox: Sandbox) -> None:
    for model in MODELS:
        fields: dict[str, Any] = {"tools": [WEATHER], "max_tokens": 40}
        whole = await sandbox.body("One two, three", model, **fields)
        chunks = await sandbox.chunks("One two, three", model, **fields)
        choice = whole.choices[0]
        assert text_of(chunks) == (choice.message.content or "")
        finishes = [c.finish_reason for chunk in chunks for c in chunk.choices]
        assert finishes[-1] == choice.finish_reason and set(finishes[:-1]) == {None}
        assert chunks[-1].usage == whole.usage and chunks[-1].choices == []


async def test_echo_keeps_every_character_of_the_last_user_message(sandbox: Sandbox) -> None:
    text = "  Zwölf Boxkämpfer,\u2028\tjagen \n\n🦊 Viktor "
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": [{"type": "text", "text": text}]},
    ]
    assert text_of(await sandbox.chunks(messages)) == text
    assert (await sandbox.body(messages)).choices[0].message.content == text


async def test_usage_counts_four_bytes_a_token_over_all_that_was_sent(sandbox: Sandbox) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "system", "content": "x" * 400},
        {"role": "user", "content": [{"type": "text", "text": "y" * 41}, image]},
    ]
    usage = (await sandbox.body(messages, n=3)).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (111 + 85, 3 * 11)
    assert usage.total_tokens == 111 + 85 + 33
    assert sandbox.counters.tokens == 33
    streamed = (await sandbox.chunks("a b c d"))[-1].usage
    assert streamed is not None and streamed.completion_tokens == 2
    assert sandbox.counters.tokens == 33 + 2


async def test_usage_is_streamed_only_when_asked_for(sandbox: Sandbox) -> None:
    chunks = await sandbox.chunks("Hi", stream_options=None)
    assert [chunk.usage for chunk in chunks] == [None, None, None]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_output_limit_is_kept_to_the_token(sandbox: Sandbox, field: str) -> None:
    fields: dict[str, Any] = {field: 3}
    whole = await sandbox.body("ä" * 100, **fields)
    assert whole.choices[0].message.content == "ä" * 6
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None and whole.usage.completion_tokens == 3
    words = (await sandbox.body("ää ää ää", **{field: 2})).choices[0].message.content
    assert words == "ää ä"
    exact = await sandbox.body("x" * 12, **fields)
    assert exact.choices[0].finish_reason == "stop"


async def test_a_stop_sequence_ends_the_text_and_is_no_part_of_it(sandbox: Sandbox) -> None:
    whole = await sandbox.body("one two three four", stop=["zzz", "o th"])
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("one tw", "stop")
    chunks = await sandbox.chunks("one two three four", stop="two")
    assert text_of(chunks) == "one "
    assert text_of(await sandbox.chunks("one two", stop="one")) == ""


async def test_several_choices_are_answered_each(sandbox: Sandbox) -> None:
    chunks = await sandbox.chunks("a b", n=2)
    assert [text_of(chunks, n) for n in (0, 1)] == ["a b", "a b"]
    assert len((await sandbox.body("a b", n=2)).choices) == 2


async def test_cached_tokens_are_reported_when_the_directive_says_so(sandbox: Sandbox) -> None:
    usage = (await sandbox.body("[[cached=100]]" + "x" * 1000)).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (254, 100)
    short = (await sandbox.body("[[cached=100]]")).usage
    assert short is not None and short.prompt_tokens_details is not None
    assert short.prompt_tokens_details.cached_tokens == short.prompt_tokens == 4


# ---- models --------------------------------------------------------------------------------------


async def test_lorem_says_as_many_tokens_as_asked_at_the_rate_asked(sandbox: Sandbox) -> None:
    chunks = await sandbox.chunks("[[tokens=200 rate=50]] go", "lorem")
    content = [c.delta.content for chunk in chunks for c in chunk.choices if c.delta.content]
    assert len(content) == 200 and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 200
    assert sandbox.slept == [0.02] * 200
    assert sandbox.counters.tokens == 200


async def test_a_whole_answer_takes_as_long_as_a_streamed_one(sandbox: Sandbox) -> None:
    await sandbox.body("[[tokens=200 rate=50 delay=1]]", "lorem")
    assert sandbox.slept == [5.0]


async def test_tools_calls_the_first_tool_with_arguments_of_its_schema(sandbox: Sandbox) -> None:
    choice = (await sandbox.body("hi", "tools", tools=[WEATHER, CLOCK])).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    calls = [json.loads(c.model_dump_json()) for c in choice.message.tool_calls or []]
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("weather", '{"city":"city","days":2}')
    ]
    assert calls[0]["id"].startswith("call_")


async def test_tools_calls_every_tool_when_asked_for_parallel_calls(sandbox: Sandbox) -> None:
    tools = [WEATHER, CLOCK]
    chunks = await sandbox.chunks("[[parallel]] hi", "tools", tools=tools)
    calls: dict[int, dict[str, Any]] = {}
    for call in [t for c in chunks for o in c.choices for t in o.delta.tool_calls or []]:
        assert call.function is not None
        if call.id:
            calls[call.index] = {"id": call.id, "name": call.function.name, "arguments": ""}
        calls[call.index]["arguments"] += call.function.arguments or ""
    assert [(c["name"], c["arguments"]) for c in calls.values()] == [
        ("weather", '{"city":"city","days":2}'),
        ("clock", "{}"),
    ]
    assert len({c["id"] for c in calls.values()}) == 2
    assert chunks[-2].choices[0].finish_reason == "tool_calls"


async def test_tools_obeys_the_tool_choice(sandbox: Sandbox) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    choice = (await sandbox.body("hi", "tools", tools=[WEATHER, CLOCK], tool_choice=named)).choices[
        0
    ]
    assert [
        json.loads(c.model_dump_json())["function"]["name"] for c in choice.message.tool_calls or []
    ] == ["clock"]
    none = (await sandbox.body("hi", "tools", tools=[CLOCK], tool_choice="none")).choices[0]
    assert (none.message.content, none.finish_reason) == ("hi", "stop")


async def test_tools_answers_with_the_tools_result(sandbox: Sandbox) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12:30"},
    ]
    choice = (await sandbox.body(messages, "tools", tools=[CLOCK])).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("The tool answered: 12:30", "stop")


async def test_json_answers_in_the_schema_that_was_asked_for(sandbox: Sandbox) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"enum": [7, 8]}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    choice = (await sandbox.body("hi", "json", response_format=wanted)).choices[0]
    assert choice.message.content == '{"ok":true,"n":7}'
    chunks = await sandbox.chunks("hi", "json", response_format=wanted)
    assert text_of(chunks) == '{"ok":true,"n":7}'
    plain = await sandbox.body("hi", "json", response_format={"type": "json_object"})
    assert plain.choices[0].message.content == '{"text":"hi"}'


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [({}, 16), ({"reasoning_effort": "low"}, 8), ({"reasoning": {"effort": "high"}}, 32)],
)
async def test_reasoner_thinks_before_it_answers(
    sandbox: Sandbox, fields: dict[str, Any], tokens: int
) -> None:
    chunks = await sandbox.chunks("Hello", "reasoner", **fields)
    deltas = [c.delta.model_dump() for chunk in chunks for c in chunk.choices]
    thought = [d.get("reasoning_content") for d in deltas]
    assert sum(t is not None for t in thought) == tokens
    assert thought[1 : tokens + 1] == [t for t in thought if t is not None]
    assert text_of(chunks) == "Hello"
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == tokens
    assert usage.completion_tokens == tokens + 2
    cut = await sandbox.body("[[reasoning=50]] Hello", "reasoner", max_tokens=10)
    assert cut.choices[0].message.content == "" and cut.choices[0].finish_reason == "length"


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[fautl status=503]]", "'fautl'"),
        ("[[status=200]]", "'status=200'"),
        ("[[status]]", "'status'"),
        ("[[delay=-1]]", "'delay=-1'"),
        ("[[delay=soon]]", "'delay=soon'"),
        ("[[delay=inf]]", "'delay=inf'"),
        ("[[die=after]]", "'die=after'"),
        ("[[p=2]]", "'p=2'"),
        ("[[rate=0]]", "'rate=0'"),
        ("[[no_done=1]]", "'no_done=1'"),
        ("[[bad_json=0]]", "'bad_json=0'"),
        ("[[tokens=9999999999]]", "'tokens=9999999999'"),
        ("[[at]]", "'at'"),
    ],
)
async def test_a_word_that_is_not_understood_is_a_400_that_names_it(
    sandbox: Sandbox, text: str, named: str
) -> None:
    answer = await sandbox.open(f"hi {text}")
    error = json.loads(await drain(answer))["error"]
    assert (answer.status, error["code"]) == (400, "unknown_directive")
    assert named in error["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nonsense", 400),
        (b"[]", 400),
        (b'{"model":"echo"}', 400),
        (b'{"model":"echo","messages":[]}', 400),
        (b'{"model":"echo","messages":[{"content":"a"}]}', 400),
        (b'{"model":"echo","messages":[{"role":"user","content":"a"}],"n":0}', 400),
        (b'{"model":"echo","messages":[{"role":"user","content":"a"}],"max_tokens":0}', 400),
        (b'{"model":"gpt","messages":[{"role":"user","content":"a"}]}', 404),
    ],
)
async def test_a_request_no_provider_would_take_is_refused_in_openais_form(
    sandbox: Sandbox, body: bytes, status: int
) -> None:
    answer = await sandbox.transport.open(
        "POST", "sandbox:tollway/chat/completions", [], body, total_timeout_s=1, idle_timeout_s=1
    )
    error = json.loads(await drain(answer))["error"]
    assert (answer.status, error["type"]) == (status, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}


# ---- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "status", "headers", "code"),
    [
        ("[[fault status=503]]", 503, {}, "overloaded"),
        ("[[status=429 retry_after=7]]", 429, {"retry-after": "7"}, "rate_limit_exceeded"),
        ("[[status=429 retry_after=0.5]]", 429, {"retry-after": "0.5"}, "rate_limit_exceeded"),
        ("[[status=400 code=context_length_exceeded]]", 400, {}, "context_length_exceeded"),
        ("[[status=418]]", 418, {}, "sandbox_fault"),
    ],
)
async def test_a_status_is_answered_with_an_error_body(
    sandbox: Sandbox, stream: bool, text: str, status: int, headers: dict[str, str], code: str
) -> None:
    answer = await sandbox.open(text, stream=stream)
    assert answer.status == status
    assert answer.headers == {"content-type": "application/json", **headers}
    error = json.loads(await drain(answer))["error"]
    assert (error["code"], error["message"]) == (code, f"The sandbox was asked to answer {status}.")


async def test_a_stream_breaks_after_the_event_that_was_named(sandbox: Sandbox) -> None:
    whole = await sandbox.events("a b c")
    assert len(whole) == 7
    assert await sandbox.events("[[die=0]] a b c") == ["!502"]
    broken = await sandbox.events("[[die=3]] a b c")
    assert [json.loads(e)["choices"][0]["delta"] for e in broken[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a "},
        {"content": "b "},
    ]
    assert broken[-1] == "!502"
    assert (await sandbox.events("[[die=7]] a b c"))[-2:] == ["[DONE]", "!502"]
    assert (await sandbox.events("[[die=8]] a b c"))[-1] == "[DONE]"
    assert await sandbox.status("[[die=before]] a", stream=True) == "!502"


async def test_a_stall_ends_at_the_idle_deadline(sandbox: Sandbox) -> None:
    events = await sandbox.events("[[stall=2]] a b c", idle_s=30)
    assert (len(events), events[-1], sandbox.slept) == (3, "!504", [30])
    assert await sandbox.status("[[stall=before]] a", idle_s=20) == "!504"
    assert sandbox.slept == [30, 20]
    assert sandbox.counters.broken == 1


async def test_waits_are_kept_within_the_total_deadline(sandbox: Sandbox) -> None:
    with pytest.raises(AttemptFailed, match="did not finish within 5 seconds") as failed:
        await drain(await sandbox.open("[[tokens=10 rate=1]]", stream=True, total_s=5))
    assert failed.value.fault.local
    assert sandbox.slept == [1, 1, 1, 1, 1]


async def test_delays_stand_where_they_are_said_to(sandbox: Sandbox) -> None:
    answer = await sandbox.open("[[slow_headers=2 delay=1.5]] a", stream=True)
    assert sandbox.slept == [2]
    await answer.read()
    assert sandbox.slept == [2, 1.5]
    await sandbox.body("[[slow_headers=2 delay=1.5]] a")
    assert sandbox.slept == [2, 1.5, 2, 1.5]


async def test_one_event_can_be_broken_json(sandbox: Sandbox) -> None:
    events = await sandbox.events("[[bad_json=2]] a b")
    valid = []
    for event in events[:-1]:
        try:
            json.loads(event)
            valid.append(True)
        except ValueError:
            valid.append(False)
    assert valid == [True, False, True, True, True]
    with pytest.raises(ValueError):
        json.loads(await drain(await sandbox.open("[[bad_json=1]] a b")))


async def test_an_error_can_stand_inside_a_200(sandbox: Sandbox) -> None:
    events = await sandbox.events("[[error_after=2]] a b")
    assert len(events) == 3 and json.loads(events[-1])["error"]["code"] == "overloaded"
    first = await sandbox.events("[[error_after=0]] a b")
    assert [json.loads(e)["error"]["code"] for e in first] == ["overloaded"]
    body = json.loads(await drain(await sandbox.open("[[error_after=2]] a b")))
    assert list(body) == ["error"]


async def test_pages_and_nothing_at_all_come_with_status_200(sandbox: Sandbox) -> None:
    page = await sandbox.open("[[html]]", stream=True)
    assert (page.status, page.headers["content-type"]) == (200, "text/html")
    assert (await drain(page)).startswith(b"<!doctype html>")
    nothing = await sandbox.open("[[empty]]")
    assert (nothing.status, await drain(nothing)) == (200, b"")


async def test_usage_can_be_missing_or_absurd(sandbox: Sandbox) -> None:
    assert (await sandbox.body("[[no_usage]] a")).usage is None
    assert all(chunk.usage is None for chunk in await sandbox.chunks("[[no_usage]] a"))
    negative = (await sandbox.body("[[negative_usage]] a")).usage
    assert negative is not None
    assert (negative.prompt_tokens, negative.completion_tokens) == (-5, -7)
    huge = (await sandbox.chunks("[[huge_usage]] a"))[-1].usage
    assert huge is not None and huge.completion_tokens == 10**15


async def test_the_ending_can_be_changed(sandbox: Sandbox) -> None:
    assert (await sandbox.events("[[no_done]] a"))[-1] != "[DONE]"
    events = await sandbox.events("[[finish=network_error]] a")
    assert json.loads(events[2])["choices"][0]["finish_reason"] == "network_error"


async def test_a_body_breaks_in_the_middle(sandbox: Sandbox) -> None:
    whole = await drain(await sandbox.open("a"))
    answer = await sandbox.open("a [[die=1]]")
    first = await answer.read()
    assert 0 < len(first) < len(whole) and first.startswith(b'{"id":"chatcmpl-')
    with pytest.raises(AttemptFailed):
        await answer.read()
    assert await sandbox.status("a [[stall=1]]") == "!504"


# ---- where and how often -------------------------------------------------------------------------


async def test_one_endpoint_fails_and_the_next_answers(sandbox: Sandbox) -> None:
    for at in ("tollway", "tollway/echo"):
        text = f"[[fault status=503 at={at}]] hi"
        assert await sandbox.status(text, provider="tollway") == 503
        assert await sandbox.status(text, provider="tollway-b") == 200
    both = "[[status=503 at=lorem]] hi"
    assert await sandbox.status(both, "lorem", provider="tollway-b") == 503
    assert await sandbox.status(both, "echo") == 200


async def test_a_fault_happens_as_often_as_said_and_then_begins_again(sandbox: Sandbox) -> None:
    asked = [await sandbox.status("[[status=500 times=2]] a") for _ in range(7)]
    assert asked == [500, 500, 200, 500, 500, 200, 500]
    other = [await sandbox.status("[[status=500 times=2]] b") for _ in range(3)]
    assert other == [500, 500, 200]
    never = [await sandbox.status("[[status=500 times=0]] a") for _ in range(2)]
    assert never == [200, 200]


async def test_attempts_elsewhere_are_not_counted(sandbox: Sandbox) -> None:
    text = "[[status=500 times=1 at=tollway]] a"
    asked = [
        await sandbox.status(text, provider=p)
        for p in ("tollway-b", "tollway", "tollway-b", "tollway")
    ]
    assert asked == [200, 500, 200, 200]


async def test_a_share_of_attempts_fails_by_seed(sandbox: Sandbox) -> None:
    async def run(text: str) -> list[int | str]:
        box = Sandbox()
        return [await box.status(f"{text} {n}") for n in range(400)]

    one = await run("[[status=503 p=0.3 seed=1]]")
    assert one == await run("[[status=503 p=0.3 seed=1]]")
    assert one != await run("[[status=503 p=0.3 seed=2]]")
    assert 90 <= one.count(503) <= 150
    assert (await run("[[status=503 p=0]]")).count(503) == 0
    assert (await run("[[status=503 p=1]]")).count(503) == 400


async def test_directives_of_all_user_messages_hold_and_later_words_win(sandbox: Sandbox) -> None:
    messages = [
        {"role": "user", "content": "[[status=500 retry_after=3]]"},
        {"role": "assistant", "content": "[[html]]"},
        {"role": "user", "content": "x [[status=502]]"},
    ]
    answer = await sandbox.open(messages)
    assert (answer.status, answer.headers["retry-after"]) == (502, "3")


# ---- leaving -------------------------------------------------------------------------------------


async def test_a_closed_answer_generates_nothing_more(sandbox: Sandbox) -> None:
    answer = await sandbox.open("[[tokens=1000 rate=100]]", "lorem", stream=True)
    for _ in range(11):
        await answer.read()
    assert sandbox.counters.open == 1
    await answer.close()
    await answer.close()
    assert (sandbox.counters.tokens, sandbox.counters.open) == (10, 0)
    assert (sandbox.counters.closed_early, sandbox.counters.whole) == (1, 0)
    assert await answer.read() == b""
    assert sandbox.counters.tokens == 10


async def test_counters_balance_over_every_kind_of_end(sandbox: Sandbox) -> None:
    for text in (
        "a",
        "[[die=2]] a",
        "[[stall=1]] a",
        "[[status=500]]",
        "[[error_after=1]] a",
        "[[foo]]",
    ):
        await sandbox.status(text, stream=True)
    counters = sandbox.counters
    assert (counters.answers, counters.open) == (6, 0)
    assert (counters.whole, counters.broken, counters.closed_early) == (4, 2, 0)


async def test_cancelling_a_stalled_read_stops_at_once_and_loses_nothing() -> None:
    transport = SandboxTransport()
    body = {
        "model": "echo",
        "stream": True,
        "messages": [{"role": "user", "content": "[[delay=0.05 stall=1]] a"}],
    }
    answer = await transport.open(
        "POST",
        "sandbox:tollway/chat/completions",
        [],
        json.dumps(body).encode(),
        total_timeout_s=60,
        idle_timeout_s=60,
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer.read(), 0.01)
    assert b'"role":"assistant"' in await answer.read()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.read(), 0.01)
    await answer.close()
    assert (transport.counters.open, transport.counters.closed_early) == (0, 1)


async def test_the_doors_pick_by_scheme_and_close_both() -> None:
    doors = Doors(HttpTransport(), SandboxTransport())
    body = b'{"model":"echo","messages":[{"role":"user","content":"hi"}]}'
    answer = await doors.open(
        "POST", "sandbox:tollway/chat/completions", [], body, total_timeout_s=1, idle_timeout_s=1
    )
    assert (
        ChatCompletion.model_validate_json(await answer.read()).choices[0].message.content == "hi"
    )
    with pytest.raises(AttemptFailed, match="refused"):
        await doors.open(
            "POST", "http://127.0.0.1:1/", [], body, total_timeout_s=1, idle_timeout_s=1
        )
    await doors.close()
    with pytest.raises(AttemptFailed, match="shutting down"):
        await doors.open(
            "POST", "http://127.0.0.1:1/", [], body, total_timeout_s=1, idle_timeout_s=1
        )
