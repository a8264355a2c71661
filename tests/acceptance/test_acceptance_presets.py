"""Presets through the unmodified SDKs, against a real server: made, versioned, listed and used; what
a provider is sent is compared field by field."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from acceptance_support import HELLO
from google import genai
from openrouter import OpenRouter, errors

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen

FILE = """
id = "acme"
name = "Acme"
dialect = "{dialect}"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true

[[endpoints]]
model = "acme/{dialect}"
id = "native"
context_length = 128000
output_tokens_max = 4096
pricing = {{ prompt = "0.000001", completion = "0.000002" }}
"""
CHAT = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "native",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TIDES = {"type": "function", "function": {"name": "tides", "parameters": SCHEMA}}


class Acme:
    """A provider in a loop of its own thread, that keeps what it is sent."""

    def __init__(self) -> None:
        self.provider = ScriptedProvider(_answer)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self.provider.__aenter__)

    @property
    def last(self) -> dict[str, Any]:
        return self.provider.seen[-1].json

    def close(self) -> None:
        self._do(self.provider.__aexit__)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, work: Callable[..., Any]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)


def _answer(seen: Seen) -> Reply:
    headers = (("content-type", "application/json"),)
    return Reply(headers=headers, steps=[json.dumps(CHAT).encode()], framing="length")


@pytest.fixture(scope="module")
def acme() -> Iterator[Acme]:
    opened = Acme()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(acme: Acme) -> Iterator[Server]:
    file = FILE.format(dialect="openai_chat", url=acme.provider.base_url)
    with Server(providers={"acme": file}) as running:
        yield running
        running.assert_books()


@pytest.fixture
def router(server: Server) -> Iterator[OpenRouter]:
    with OpenRouter(api_key=server.key, server_url=server.url, retry_config=None) as made:
        yield made


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0, timeout=30)


def make(router: OpenRouter, slug: str, **settings: Any) -> Any:
    messages: Any = [
        {"role": "system", "content": settings.pop("system", "Be brief.")},
        {"role": "user", "content": "This is not kept."},
    ]
    made = router.presets.create_presets_chat_completions(
        slug=slug, messages=messages, stream=True, **settings
    )
    return made.data


# ---- the resource --------------------------------------------------------------------------------


def test_presets_are_made_versioned_and_listed(router: OpenRouter) -> None:
    first = make(router, "sdk-one", model="acme/openai_chat", temperature=0.25, tools=[WEATHER])
    version = first.designated_version
    assert (first.slug, first.status, version.version) == ("sdk-one", "active", 1)
    assert version.system_prompt == "Be brief."
    assert version.config["temperature"] == 0.25
    assert version.config["tools"] == [WEATHER]
    assert not version.config.keys() & {"messages", "stream"}
    second = router.presets.create_presets_messages(
        slug="sdk-one",
        model="acme/openai_chat",
        max_tokens=64,
        messages=[{"role": "user", "content": "Hi"}],
        system="Be thorough.",
    ).data
    third = router.presets.create_presets_responses(
        slug="sdk-one", input="Hi", instructions="Be kind.", max_output_tokens=32
    ).data
    assert [row.designated_version.version for row in (second, third)] == [2, 3]
    make(router, "sdk-two", model="tollway/echo")

    listed = router.presets.list()
    assert listed is not None
    slugs = [row.slug for row in listed.result.data]
    assert slugs.index("sdk-two") < slugs.index("sdk-one")
    assert listed.result.total_count == len(slugs)
    found = router.presets.get(slug="sdk-one").data
    assert found.designated_version is not None
    assert found.designated_version.id == third.designated_version.id == found.designated_version_id
    assert found.designated_version.config["max_tokens"] == 32
    versions = router.presets.list_versions(slug="sdk-one")
    assert versions is not None
    assert [v.system_prompt for v in versions.result.data if v] == [
        "Be brief.",
        "Be thorough.",
        "Be kind.",
    ]
    old = router.presets.get_version(slug="sdk-one", version="1").data
    assert old is not None and old.id == version.id
    with pytest.raises(errors.NotFoundResponseError, match="sdk-one"):
        router.presets.get(slug="sdk-oen")


# ---- use -----------------------------------------------------------------------------------------


def test_a_chat_uses_a_preset_by_every_spelling_of_its_name(
    router: OpenRouter, client: openai.OpenAI, acme: Acme
) -> None:
    preset = make(
        router,
        "spelt",
        model="acme/openai_chat",
        temperature=0.25,
        max_completion_tokens=77,
        stop=["END"],
        tools=[WEATHER],
    )
    asks: list[dict[str, Any]] = [
        {"model": "@preset/spelt"},
        {"model": "acme/openai_chat@preset/spelt"},
        {"model": "acme/openai_chat", "extra_body": {"preset": "spelt"}},
    ]
    for ask in asks:
        answer = client.chat.completions.create(messages=HELLO, **ask)
        assert (answer.model, answer.choices[0].message.content) == ("acme/openai_chat", "Yes")
        sent = acme.last
        limit = sent.pop("max_tokens", None) or sent.pop("max_completion_tokens")
        assert (limit, sent) == (
            77,
            {
                "model": "native",
                "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
                "temperature": 0.25,
                "stop": ["END"],
                "tools": [WEATHER],
            },
        )
        made = router.generations.get_generation(id=answer.id).data
        assert made.preset_id == preset.id


def test_what_the_request_says_beats_the_preset(
    router: OpenRouter, client: openai.OpenAI, acme: Acme
) -> None:
    make(router, "beaten", model="tollway/echo", temperature=0.25, tools=[WEATHER, TIDES], seed=7)
    mine = {"type": "function", "function": {"name": "tides", "description": "Mine"}}
    own: list[Any] = [{"role": "system", "content": "Mine."}, *HELLO]
    client.chat.completions.create(
        model="acme/openai_chat@preset/beaten",
        messages=own,
        temperature=1,
        tools=[mine],  # type: ignore[list-item]
    )
    sent = acme.last
    assert (sent["messages"], sent["temperature"], sent["seed"]) == (own, 1, 7)
    assert sent["tools"] == [WEATHER, mine]


def test_every_other_dialect_uses_it_too(
    server: Server, router: OpenRouter, client: openai.OpenAI, acme: Acme
) -> None:
    make(
        router,
        "everywhere",
        model="acme/openai_chat",
        top_p=0.5,
        max_tokens=60,
        stop="END",
        tools=[WEATHER],
        tool_choice="auto",
    )
    root = server.url.removesuffix("/v1")
    claude = anthropic.Anthropic(base_url=root, api_key=server.key, max_retries=0)
    google = genai.Client(api_key=server.key, http_options={"base_url": root})
    preset = "@preset/everywhere"

    def of_responses() -> str:
        return client.responses.create(model=preset, input="Hello there, world").output_text

    def of_messages() -> Any:
        body: Any = claude.messages.create(model=preset, max_tokens=50, messages=HELLO)  # type: ignore[call-overload]
        return body.content[0].text

    def of_gemini() -> Any:
        return google.models.generate_content(model=preset, contents="Hello there, world").text

    for ask, limit in ((of_responses, 60), (of_messages, 50), (of_gemini, 60)):
        assert ask() == "Yes"
        sent = acme.last
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert sent["messages"][0]["content"] in (
            "Be brief.",
            [{"type": "text", "text": "Be brief."}],
        )
        assert (sent["top_p"], sent["stop"]) == (0.5, ["END"]) or sent["stop"] == "END"
        assert sent["tools"][0]["function"]["name"] == "weather"
        assert sent["tools"][0]["function"]["parameters"] == SCHEMA
        assert sent["tool_choice"] == "auto"
        assert limit == (sent.get("max_tokens") or sent.get("max_completion_tokens"))
    old = client.completions.create(model=preset, prompt="Hello")
    assert old.choices[0].text == "Yes"
    assert [m["content"] for m in acme.last["messages"]] == ["Be brief.", "Hello"]
    assert "tools" not in acme.last


def test_the_latest_version_is_used_at_once_and_an_older_one_after_a_roll_back(
    server: Server, router: OpenRouter, client: openai.OpenAI, acme: Acme
) -> None:
    for seed in (1, 2):
        make(router, "rolled", model="acme/openai_chat", seed=seed)
        client.chat.completions.create(model="@preset/rolled", messages=HELLO)
        assert acme.last["seed"] == seed
    assert server.tollway("presets", "use", "rolled", "1") == "rolled: version 1 is in force."
    until = time.monotonic() + 5
    while acme.last["seed"] != 1 and time.monotonic() < until:
        client.chat.completions.create(model="@preset/rolled", messages=HELLO)
    assert acme.last["seed"] == 1


def test_an_operator_lists_shows_disables_and_deletes(
    server: Server, router: OpenRouter, client: openai.OpenAI
) -> None:
    make(router, "operated", model="acme/openai_chat", seed=1)
    rows = json.loads(server.tollway("presets", "list", "--json"))
    assert "operated" in {row["slug"] for row in rows}
    shown = json.loads(server.tollway("presets", "show", "operated"))
    assert (shown["version"], shown["in_force"], shown["config"]["seed"]) == (1, 1, 1)
    assert server.tollway("presets", "disable", "operated") == "operated is disabled."
    until, refused = time.monotonic() + 5, None
    while refused is None and time.monotonic() < until:
        try:
            client.chat.completions.create(model="@preset/operated", messages=HELLO)
        except openai.NotFoundError as error:
            refused = error
    assert refused is not None and "'operated' is disabled" in refused.message
    assert server.tollway("presets", "enable", "operated") == "operated is active."
    assert server.tollway("presets", "delete", "operated") == "operated is deleted."
    with pytest.raises(errors.NotFoundResponseError):
        router.presets.get(slug="operated")


def test_an_unknown_preset_and_a_model_that_is_gone_are_told_apart(
    router: OpenRouter, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError, match="no preset 'nothing'"):
        client.chat.completions.create(model="@preset/nothing", messages=HELLO)
    make(router, "gone", model="tollway/ecco")
    with pytest.raises(openai.BadRequestError, match="tollway/ecco is not a model"):
        client.chat.completions.create(model="@preset/gone", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="presets are for chats"):
        client.embeddings.create(model="@preset/gone", input="x")


def test_a_suffix_behind_a_preset_is_one_of_the_models_it_names(
    server: Server, router: OpenRouter, client: openai.OpenAI
) -> None:
    make(router, "swift", model="tollway/echo")
    body = {"model": "@preset/Swift:nitro", "messages": HELLO}
    status, answer, _ = server.ask("POST", "/api/v1/route/explain", body)
    assert (status, answer["data"]["sort"]) == (200, "throughput")
    done = client.chat.completions.create(model="@preset/swift:floor", messages=HELLO)
    assert done.model == "tollway/echo"
    with pytest.raises(openai.BadRequestError, match="tollway/echo:what is not a model"):
        client.chat.completions.create(model="@preset/swift:what", messages=HELLO)


def test_an_estimate_counts_the_prompt_of_the_preset(server: Server, router: OpenRouter) -> None:
    make(router, "long", model="acme/openai_chat", system="x" * 4_000)
    root = server.url.removesuffix("/v1")
    claude = anthropic.Anthropic(base_url=root, api_key=server.key, max_retries=0)
    short = claude.messages.count_tokens(model="acme/openai_chat", messages=HELLO)
    counted = claude.messages.count_tokens(model="@preset/long", messages=HELLO)
    assert 1_000 <= counted.input_tokens - short.input_tokens <= 1_020


def test_a_plan_is_explained_for_the_models_of_the_preset(
    server: Server, router: OpenRouter
) -> None:
    make(router, "explained", models=["acme/openai_chat", "tollway/echo"], max_tokens=9)
    status, answer, _ = server.ask(
        "POST", "/api/v1/route/explain", {"preset": "explained", "messages": HELLO}
    )
    assert status == 200
    assert answer["data"]["requested"] == ["acme/openai_chat", "tollway/echo"]
    path = "/api/v1/route/explain?api=gemini&model=@preset/explained"
    said = {"contents": [{"parts": [{"text": "Hello"}]}]}
    status, answer, _ = server.ask("POST", path, said)
    assert status == 200
    assert answer["data"]["requested"] == ["acme/openai_chat", "tollway/echo"]
    assert answer["data"]["order"][0]["output_tokens_max"] == 9


# ---- docs/presets.md -----------------------------------------------------------------------------

DOC = Path(__file__).parents[2] / "docs" / "presets.md"


def test_the_examples_of_the_docs_work_as_written(server: Server) -> None:
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", DOC.read_text("utf-8"), re.S))
    curls = re.findall(
        r"^curl \$TOLLWAY(\S+) -H \"Authorization: Bearer \$KEY\"(?: -d '(.*?)')?(?: +#[^\n]*)?$",
        lines,
        re.M | re.S,
    )
    assert len(curls) == lines.count("curl ") == 6
    for path, body in curls:
        given = json.loads(body) if body else None
        status, answer, _ = server.ask("POST" if given else "GET", f"/api/v1{path}", given)
        assert status == 200, (path, answer)
        if path == "/chat/completions":
            assert answer["choices"][0]["message"]["content"] == "Where is my order?"
    commands = re.findall(r"^tollway (presets [^#\n]+)", lines, re.M)
    assert len(commands) == 6
    for command in commands:
        server.tollway(*command.split())
