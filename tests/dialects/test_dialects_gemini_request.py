"""dialects/gemini/{request,spelling,conversation,openapi}.py: what a caller says, and how it is
refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway import conversation as said
from tollway.canon import Request
from tollway.dialects.gemini import conversation, count_tokens, parse_request
from tollway.dialects.gemini.openapi import json_schema
from tollway.dialects.gemini.request import GeminiRequest
from tollway.dialects.gemini.signatures import ENVELOPE_START, envelope, opened
from tollway.errors import CallerError

PATH = "/v1beta/models/google/gemini-2.5-pro:generateContent"
HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def parse(body: Any, path: str = PATH, **headers: str) -> GeminiRequest:
    request = parse_request(json.dumps(body).encode(), headers, path)
    assert isinstance(request, GeminiRequest)
    return request


def spoken(**fields: Any) -> said.Conversation:
    return conversation(parse({**HI, **fields}))


@pytest.mark.parametrize(
    ("path", "slug", "stream"),
    [
        ("/v1beta/models/google/gemini-3-pro:generateContent", "google/gemini-3-pro", False),
        ("/v1/models/a/b:free:streamGenerateContent", "a/b:free", True),
        ("/v1beta/models/google%2Fgemini-3-pro%3Anitro:generateContent?alt=sse",
         "google/gemini-3-pro:nitro", False),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "google/gemini-2.5-flash", True),
        ("/v1beta1/publishers/anthropic/models/claude:generateContent", "anthropic/claude", False),
        ("/api/v1beta/models/~google/gemini-latest:generateContent", "~google/gemini-latest", False),
    ],
)  # fmt: skip
def test_model_and_method_stand_in_the_path(path: str, slug: str, stream: bool) -> None:
    request = parse({**HI, "models": ["x/y", slug]}, path)
    assert (request.models, request.stream) == ((slug, "x/y"), stream)


@pytest.mark.parametrize(
    "path", ["", "/v1beta/models/a/b", "/v1beta/models/:generateContent", "/v1beta/models/a:embed"]
)
def test_another_path_is_no_route(path: str) -> None:
    with pytest.raises(CallerError) as caught:
        parse(HI, path)
    assert caught.value.status == 404


def test_a_request_is_read_whole() -> None:
    body = {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "q" * 100},
                    {"inlineData": {"mimeType": "image/png", "data": "A" * 4000}},
                    {"fileData": {"fileUri": "https://youtu.be/x"}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "A" * 4000}},
                ],
            }
        ],
        "tools": [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "temperature": 1,
            "topP": 0.5,
            "topK": 40,
            "maxOutputTokens": 50,
            "candidateCount": 2,
            "stopSequences": ["x"],
            "seed": 3,
            "responseLogprobs": True,
            "logprobs": 2,
            "presencePenalty": 1,
            "frequencyPenalty": 1,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"},
            "thinkingConfig": {"includeThoughts": True},
        },
        "provider": {"order": ["Google"], "sort": "price"},
        "serviceTier": "SERVICE_TIER_FLEX",
        "safetySettings": None,
        "user": "u",
    }
    request = parse(body, **{"x-session-id": "s", "x-tollway-alt": "sse"})
    assert not parse(HI).sse
    assert request.params == {
        "temperature", "top_p", "top_k", "stop", "seed", "logprobs", "top_logprobs",
        "presence_penalty", "frequency_penalty", "response_format", "structured_outputs",
        "reasoning", "tools", "tool_choice", "web_search_options",
    }  # fmt: skip
    assert request.modalities == {"text", "image", "video", "file"}
    assert (request.output_tokens_max, request.choices, request.images) == (50, 2, 1)
    assert request.media_tokens == 1_600 + 180_000 + 3_000
    assert 500 < request.prompt_bytes < 1500
    assert (request.session_id, request.user) == ("s", "u")
    assert (request.sse, request.shows_thoughts) == (True, True)
    assert request.preferences.order == ("google",)
    assert bytes(request.fields["service_tier"]) == b'"flex"'
    assert "safetySettings" not in request.fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contents": []}, "contents: must not be empty"),
        ({"contents": 5}, "contents: expected an array, got an integer"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]: says nothing"),
        ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role: "),
        (
            {"contents": [{"parts": [{"inlineData": {"data": "A"}}]}]},
            "contents[0].parts[0].inlineData.mimeType: is required",
        ),
        (
            {"contents": [{"parts": [{"fileData": {"fileUri": "gs://b/x"}}]}]},
            "contents[0].parts[0].fileData.fileUri: expected an https address",
        ),
        ({"generationConfig": {"temperature": 3}}, "generationConfig.temperature: "),
        ({"generationConfig": {"stopSequences": ["a"] * 6}}, "generationConfig.stopSequences: "),
        ({"generationConfig": {"logprobs": 3}}, "generationConfig.logprobs: needs"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}},
            "generationConfig.thinkingConfig: thinkingLevel and",
        ),
        ({"tools": [{"functionDeclarations": [{"name": ""}]}]}, "tools[0].functionDeclarations[0]"),
        ({"provider": {"sorted": 1}}, "provider.sorted: there is no such field"),
        ({"systemInstruction": {"parts": [{"text": 5}]}}, "systemInstruction.parts[0].text: "),
    ],
)
def test_a_broken_body_is_refused_with_the_path_of_the_field(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CallerError) as caught:
        parse({**HI, **change})
    assert caught.value.status == 400
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"contents": "\xff"}', b"[" * 200_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        parse_request(body, {}, PATH)


ARGS = {"top_p": 1, "parts": "a", "nested": {"mime_type": {"tools": {}}}}


def test_snake_case_and_single_values_are_the_same_request() -> None:
    camel = {
        "contents": [
            {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": ARGS}}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": 5}},
    }
    snake = {
        "contents": [
            {"role": "user", "parts": {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}},
            {"role": "model", "parts": {"function_call": {"name": "f", "args": ARGS}}},
        ],
        "system_instruction": {"parts": {"text": "s"}},
        "generation_config": {
            "max_output_tokens": 9,
            "thinking_config": {"thinking_budget": 5},
        },
    }
    one, other = parse(camel), parse(snake)
    assert {n: json.loads(bytes(raw)) for n, raw in one.fields.items()} == {
        n: json.loads(bytes(raw)) for n, raw in other.fields.items()
    }
    assert conversation(one) == conversation(other)
    call = conversation(other).turns[2].parts[0]
    assert isinstance(call, said.Call) and json.loads(call.arguments) == ARGS


def test_tokens_are_counted_by_estimate() -> None:
    path = "/v1beta/models/google/gemini-2.5-pro:countTokens"
    models, alone = count_tokens(json.dumps(HI).encode(), {}, path)
    assert models == ("google/gemini-2.5-pro",)
    whole = {"generateContentRequest": {"model": "models/x", **HI}}
    assert json.loads(alone) == {"totalTokens": parse(HI).prompt_tokens_likely}
    inside = json.loads(count_tokens(json.dumps(whole).encode(), {}, path).body)
    assert 0 <= json.loads(alone)["totalTokens"] - inside["totalTokens"] <= 1  # less whitespace


# ---- the conversation ----------------------------------------------------------------------------


def test_calls_without_ids_find_their_results_in_order() -> None:
    def call(**fields: Any) -> dict[str, Any]:
        return {"functionCall": {"name": "f", "args": {"n": 1}, **fields}}

    def result(**fields: Any) -> dict[str, Any]:
        return {"functionResponse": {"name": "f", **fields}}

    turns = spoken(
        contents=[
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [call(), call(id="own"), call()]},
            {
                "role": "user",
                "parts": [
                    result(response={"result": "a"}),
                    result(response={"error": "b"}, id="own"),
                    result(response={"x": 1, "y": 2}),
                    result(response={"result": {"z": 1}}),
                ],
            },
        ]
    ).turns
    calls = [part for part in turns[1].parts if isinstance(part, said.Call)]
    results = [part for part in turns[2].parts if isinstance(part, said.Result)]
    assert [c.id for c in calls] == ["call_1", "own", "call_3"]
    assert [(r.call_id, r.is_error, r.parts[0]) for r in results] == [
        ("call_1", False, said.Text("a")),
        ("own", True, said.Text("b")),
        ("call_3", False, said.Text('{"x":1,"y":2}'.replace(":", ": ").replace(",", ", "))),
        ("call_4", False, said.Text('{"result": {"z": 1}}')),
    ]


def test_a_result_without_an_id_belongs_to_a_call_of_its_own_name() -> None:
    names = ("f", "g")
    turns = spoken(
        contents=[
            {"role": "model", "parts": [{"functionCall": {"name": name}} for name in names]},
            {"parts": [{"functionResponse": {"name": name}} for name in reversed(names)]},
        ]
    ).turns
    results = [part for part in turns[1].parts if isinstance(part, said.Result)]
    assert [(result.name, result.call_id) for result in results] == [
        ("g", "call_2"),
        ("f", "call_1"),
    ]


def test_media_become_parts_of_their_kind() -> None:
    def inline(kind: str) -> dict[str, Any]:
        return {"inlineData": {"mimeType": kind, "data": "AAAA"}}

    parts = spoken(
        contents=[
            {
                "parts": [
                    inline("image/png"),
                    inline("audio/mpeg"),
                    inline("video/mp4"),
                    inline("application/pdf"),
                    {"fileData": {"fileUri": "https://a.example/x.webp"}},
                    {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                ]
            }
        ]
    ).turns[0].parts  # fmt: skip
    data = {"data": "AAAA"}
    assert parts == (
        said.Image(said.Source(media_type="image/png", **data)),
        said.Audio(said.Source(media_type="audio/mpeg", **data), "mp3"),
        said.Video(said.Source(media_type="video/mp4", **data)),
        said.File(said.Source(media_type="application/pdf", **data)),
        said.Image(said.Source(url="https://a.example/x.webp", media_type="image/webp")),
        said.Video(said.Source(url="https://www.youtube.com/watch?v=1", media_type="video/mp4")),
        said.Text("```python\n1\n```"),
    )


@pytest.mark.parametrize(
    ("config", "choice", "tools"),
    [
        ({}, None, "ab"),
        ({"mode": "AUTO"}, said.ToolChoice("auto"), "ab"),
        ({"mode": "VALIDATED"}, said.ToolChoice("auto"), "ab"),
        ({"mode": "NONE"}, said.ToolChoice("none"), "ab"),
        ({"mode": "ANY"}, said.ToolChoice("required"), "ab"),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, said.ToolChoice("named", "a"), "ab"),
        ({"mode": "ANY", "allowedFunctionNames": ["b", "c"]}, said.ToolChoice("required"), "b"),
    ],
)
def test_the_choice_of_tools(
    config: dict[str, Any], choice: said.ToolChoice | None, tools: str
) -> None:
    talk = spoken(
        tools=[{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}, {"urlContext": {}}],
        toolConfig={"functionCallingConfig": config},
    )
    assert (talk.tool_choice, "".join(tool.name for tool in talk.tools)) == (choice, tools)
    assert list(talk.extras) == ["tools.urlContext"]


@pytest.mark.parametrize(
    ("config", "thinking"),
    [
        ({"thinkingBudget": 0}, said.Thinking(False, exclude=True)),
        ({"thinkingBudget": -1, "includeThoughts": True}, said.Thinking(True)),
        ({"thinkingBudget": 99, "includeThoughts": True}, said.Thinking(True, budget=99)),
        ({"thinkingLevel": "LOW"}, said.Thinking(True, effort="low", exclude=True)),
        ({"includeThoughts": True}, said.Thinking()),
    ],
)
def test_thinking(config: dict[str, Any], thinking: said.Thinking) -> None:
    assert spoken(generationConfig={"thinkingConfig": config}).thinking == thinking


def test_what_the_pivot_has_no_place_for_becomes_an_extra() -> None:
    talk = spoken(
        safetySettings=[{"category": "X"}],
        cachedContent="cachedContents/1",
        generationConfig={"speechConfig": {}, "topP": 1, "mediaResolution": "LOW"},
    )
    assert sorted(talk.extras) == [
        "cachedContent",
        "generationConfig.mediaResolution",
        "generationConfig.speechConfig",
        "safetySettings",
    ]


def test_googles_schema_becomes_json_schema() -> None:
    google = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["a"], "format": "enum"},
            "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"},
            "any": {"anyOf": [{"type": "NUMBER"}], "nullable": True},
        },
        "required": ["type"],
        "propertyOrdering": ["type"],
    }
    assert json_schema(google) == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", None]},
            "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "any": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "required": ["type"],
    }


def test_state_of_other_providers_travels_in_an_envelope() -> None:
    entries = [{"type": "reasoning.text", "text": "é?>", "signature": "s+/="}] * 3
    sealed = envelope(entries)
    assert sealed.startswith(ENVELOPE_START)
    for spelled in (sealed, sealed.replace("+", "-").replace("/", "_").rstrip("=")):
        found = opened(spelled)
        assert found is not None and [json.loads(bytes(raw)) for raw in found] == entries
    assert opened("c2ln") is None
    assert opened(ENVELOPE_START + "AAAA") is None


def test_signatures_become_reasoning_details() -> None:
    foreign = {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}
    parts = spoken(
        contents=[
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True, "thoughtSignature": "AAAA"},
                    {"functionCall": {"name": "f"}, "thoughtSignature": "BBBB"},
                    {"functionCall": {"name": "g"}, "thoughtSignature": envelope([foreign])},
                ],
            }
        ]
    ).turns[0].parts  # fmt: skip
    google = {"format": "google-gemini-v1", "index": 0}
    details = [
        json.loads(bytes(raw)) for p in parts if isinstance(p, said.Thought) for raw in p.details
    ]
    assert details == [
        {"type": "reasoning.text", "text": "hm", "signature": "AAAA", **google},
        {"type": "reasoning.encrypted", "data": "BBBB", "id": "call_1", **google},
        foreign,
    ]


def test_a_plain_request_is_no_more_than_it_says() -> None:
    request: Request = parse(HI)
    assert (request.params, request.modalities) == (frozenset(), {"text"})
    assert (request.output_tokens_max, request.media_tokens, request.cache_marked) == (
        None,
        0,
        False,
    )
