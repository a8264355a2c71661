"""A real inference engine behind Tollway: llama.cpp's own server on a tiny random model.

Nothing here is scripted: the engine templates, samples, follows grammars and refuses what does not
fit. Two instances with different context windows are two providers, configured as an operator
would, in `$TOLLWAY_HOME/providers/`. Run by `scripts/test --engine`.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.server import ROOT, Server, free_port

pytestmark = pytest.mark.engine

PYTHON = ROOT / ".venv-engine" / "bin" / "python"
SMALL, LARGE = 512, 2048
PROVIDER = """
id = "{id}"
name = "{name}"
dialect = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
auth = {{ scheme = "none" }}
private_network = true

[[endpoints]]
model = "{model}"
id = "tiny"
context_length = {context}
output_tokens_max = 256
pricing = {{ prompt = "0.000001", completion = "0.000002" }}
"""


def engine(model: Path, port: int, context: int) -> subprocess.Popen[bytes]:
    arguments = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--n_ctx", str(context), "--chat_format", "chatml-function-calling"]
    return subprocess.Popen(
        [str(PYTHON), "-m", "llama_cpp.server", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(port: int) -> None:
    import http.client

    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/v1/models")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the engine did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("engine")
    ports = {"small": free_port(), "large": free_port()}
    engines = []
    try:
        for (name, port), context in zip(ports.items(), (SMALL, LARGE), strict=True):
            model = folder / f"{name}.gguf"
            script = ROOT / "tests" / "engine" / "tiny_model.py"
            subprocess.run([str(PYTHON), str(script), str(model), str(context)], check=True)
            engines.append(engine(model, port, context))
        for port in ports.values():
            wait_for(port)
        providers = {
            # The small window is declared larger than it is: what does not fit is refused by the
            # engine itself, not filtered away beforehand.
            "small": PROVIDER.format(
                id="small", name="Small", port=ports["small"], model="tiny/llama", context=1024
            ),
            "large": PROVIDER.format(
                id="large", name="Large", port=ports["large"], model="tiny/llama", context=LARGE
            ),
        }
        with Server(providers=providers) as running:
            yield running
            running.assert_books()
    finally:
        for process in engines:
            process.terminate()
            process.wait()


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0)


HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
FIRST_SMALL = {"provider": {"order": ["small"]}}


def test_a_chat_is_answered_counted_and_charged(client: openai.OpenAI, server: Server) -> None:
    before = server.balance_nano()
    answer = client.chat.completions.create(
        model="tiny/llama", messages=HELLO, max_tokens=12, seed=1
    )
    usage = answer.usage
    assert usage is not None and answer.choices[0].finish_reason == "length"
    assert usage.completion_tokens == 12
    cost_nano = usage.prompt_tokens * 1000 + usage.completion_tokens * 2000
    assert before - server.balance_nano() == cost_nano
    print(f"\nchat: {usage.prompt_tokens} in, 12 out, {cost_nano} nano-USD")


def test_a_stream_without_usage_is_counted_and_marked_estimated(
    client: openai.OpenAI, server: Server
) -> None:
    stream = client.chat.completions.create(
        model="tiny/llama", messages=HELLO, max_tokens=24, stream=True
    )
    text, usage, generation = "", None, ""
    for chunk in stream:
        generation = chunk.id
        usage = chunk.usage or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text != "" and usage is not None and usage.completion_tokens > 0
    status, body, _ = server.ask("GET", f"/generation?id={generation}")
    assert status == 200 and body["data"]["total_cost"] > 0
    print(f"\nstream: {len(text)} characters, {usage.completion_tokens} tokens by our count")


def test_a_forced_tool_call_has_arguments_of_the_schema(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
    }
    answer = client.chat.completions.create(
        model="tiny/llama",
        messages=HELLO,
        max_tokens=200,
        tools=[{"type": "function", "function": {"name": "switch", "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": "switch"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert calls[0].function.name == "switch"
    assert type(json.loads(calls[0].function.arguments)["on"]) is bool


def test_json_mode_with_a_schema_gives_json_of_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
    }
    answer = client.chat.completions.create(
        model="tiny/llama",
        messages=HELLO,
        max_tokens=200,
        extra_body={"response_format": {"type": "json_object", "schema": schema}},
    )
    assert type(json.loads(answer.choices[0].message.content or "")["ok"]) is bool


def test_what_overflows_the_small_window_is_answered_by_the_large_one(server: Server) -> None:
    status, body, _ = server.chat("tiny/llama", "word " * 140, max_tokens=8, **FIRST_SMALL)
    assert status == 200, body
    assert body["provider"] == "Large"
    status, record, _ = server.ask("GET", f"/generation?id={body['id']}")
    tried = [(r["provider_name"], r["status"]) for r in record["data"]["provider_responses"]]
    assert tried == [("Small", 400), ("Large", 200)]
    print(f"\noverflow: {tried}, {body['usage']['prompt_tokens']} prompt tokens")


def test_a_short_prompt_stays_with_the_small_window(server: Server) -> None:
    status, body, _ = server.chat("tiny/llama", "Hello", max_tokens=4, **FIRST_SMALL)
    assert (status, body["provider"]) == (200, "Small")


def test_what_overflows_every_window_is_a_clear_400(server: Server) -> None:
    before = server.balance_nano()
    only = {"provider": {"only": ["small"]}}
    status, body, _ = server.chat("tiny/llama", "word " * 140, max_tokens=8, **only)
    assert (status, body["error"]["error_type"]) == (400, "context_length_exceeded")
    assert server.balance_nano() == before
