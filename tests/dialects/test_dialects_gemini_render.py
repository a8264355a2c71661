"""dialects/gemini/{render,config,writing}.py and vertex_gemini: what providers are sent. Every body
is validated by Google's own request types, which refuse unknown names."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from dialect_support import attempt
from google.genai import types

from tollway.canon import Preferences
from tollway.dialects import Outbound, gemini, openai_chat, vertex_gemini
from tollway.dialects.gemini.signatures import UNSIGNED, envelope
from tollway.routing.entries import Attempt

PATH = "/v1beta/models/google/gemini-2.5-pro:generateContent"
_TYPES: dict[str, Any] = {
    "contents": types.Content,
    "systemInstruction": types.Content,
    "tools": types.Tool,
    "toolConfig": types.ToolConfig,
    "safetySettings": types.SafetySetting,
}
_ELSEWHERE = {"thinkingConfig", "imageConfig", "speechConfig"}
"""Of the configuration, in Google's type of the whole request."""


def checked(out: Outbound) -> dict[str, Any]:
    """The body, valid by Google's types."""
    body: dict[str, Any] = json.loads(out.body)
    for name, kind in _TYPES.items():
        value = body.get(name)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            kind.model_validate(one)
    config = body["generationConfig"]
    types.GenerateContentConfig.model_validate(config)
    known = {field.alias for field in types.GenerationConfig.model_fields.values()}
    assert set(config) - _ELSEWHERE <= known
    assert set(body) - set(_TYPES) <= {"generationConfig", "serviceTier", "cachedContent", "labels"}
    return body


def to(model: str, dropped: tuple[str, ...] = (), tier: str | None = None, **facts: Any) -> Attempt:
    made = attempt(dropped=dropped, service_tier=tier, **facts)
    return msgspec.structs.replace(made, endpoint=msgspec.structs.replace(made.endpoint, id=model))


def from_chat(target: Attempt, limit: int = 1000, **fields: Any) -> tuple[dict[str, Any], Outbound]:
    body = {"model": "google/x", "messages": [{"role": "user", "content": "hi"}], **fields}
    out = gemini.render_request(openai_chat.parse_request(json.dumps(body).encode()), target, limit)
    return checked(out), out


def from_gemini(target: Attempt, **fields: Any) -> tuple[dict[str, Any], Outbound]:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}
    request = gemini.parse_request(json.dumps(body).encode(), {}, PATH)
    out = gemini.render_request(request, target, 77)
    return checked(out), out


def test_a_plain_question_is_sent_with_the_limit_and_nothing_else() -> None:
    body, out = from_chat(to("gemini-2.5-pro"))
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 1000},
    }
    assert (out.path, out.dropped) == ("/models/gemini-2.5-pro:generateContent", ())
    _, streamed = from_chat(to("gemini-2.5-pro"), stream=True)
    assert streamed.path == "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


def test_vertex_has_the_same_body_under_its_own_paths() -> None:
    body = {"model": "google/x", "messages": [{"role": "user", "content": "hi"}]}
    request = openai_chat.parse_request(json.dumps(body).encode())
    for model, path in {
        "gemini-2.5-pro": "/publishers/google/models/gemini-2.5-pro:generateContent",
        "endpoints/12": "/endpoints/12:generateContent",
        "publishers/x/models/a?b": "/publishers/x/models/a%3Fb:generateContent",
    }.items():
        out = vertex_gemini.render_request(request, to(model), 5)
        assert (out.path, out.body) == (path, gemini.render_request(request, to(model), 5).body)


def test_a_tool_loop_alternates_and_answers_follow_their_calls() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    bad = {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "oops"}}
    body, out = from_chat(
        to("gemini-3-pro-preview"),
        messages=[
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": None, "tool_calls": [call, bad]},
            {"role": "tool", "tool_call_id": "t2", "content": '{"x": 1}'},
            {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
            {"role": "user", "content": "so?"},
            {"role": "system", "content": "hurry"},
        ],
    )
    assert body["systemInstruction"] == {"parts": [{"text": "be kind"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"id": "t1", "name": "f", "args": {"a": 1}},
                    "thoughtSignature": UNSIGNED,
                },
                {"functionCall": {"id": "t2", "name": "g", "args": {"arguments": "oops"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "t1", "name": "f", "response": {"result": "sunny"}}},
                {"functionResponse": {"id": "t2", "name": "g", "response": {"x": 1}}},
                {"text": "so?"},
                {"text": "hurry"},
            ],
        },
    ]
    assert out.dropped == ("role of a later system message", "arguments that are no JSON object")


def replayed(*details: dict[str, Any], model: str = "gemini-3-pro-preview", **message: Any) -> Any:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], **message}
    body, out = from_chat(
        to(model),
        messages=[
            {"role": "user", "content": "a"},
            {**message, "reasoning_details": list(details)},
        ],
    )
    return body["contents"][1]["parts"], out.dropped


def google(**fields: Any) -> dict[str, Any]:
    return {"format": "google-gemini-v1", "index": 0, **fields}


def test_googles_signatures_go_back_on_the_parts_they_came_with() -> None:
    call = {"functionCall": {"id": "t1", "name": "f", "args": {}}}
    signed = google(type="reasoning.encrypted", data="AB+/", id="t1")
    assert replayed(signed) == ([{**call, "thoughtSignature": "AB+/"}], ())
    loose = google(type="reasoning.encrypted", data="CDEF")
    assert replayed(loose) == ([{**call, "thoughtSignature": "CDEF"}], ())
    assert replayed(loose, content="ok", model="gemini-2.5-pro") == (
        [{"text": "ok", "thoughtSignature": "CDEF"}, call],
        (),
    )
    thought = google(type="reasoning.text", text="hm", signature="EFGH")
    assert replayed(thought, signed) == (
        [
            {"text": "hm", "thought": True, "thoughtSignature": "EFGH"},
            {**call, "thoughtSignature": "AB+/"},
        ],
        (),
    )


def test_state_of_others_is_dropped_by_name_and_the_call_goes_unsigned() -> None:
    call = {"functionCall": {"id": "t1", "name": "f", "args": {}}}
    foreign = {
        "type": "reasoning.text",
        "text": "a",
        "signature": "s",
        "format": "anthropic-claude-v1",
    }
    dropped = ("reasoning signature (anthropic-claude-v1)",)
    assert replayed(foreign) == ([{**call, "thoughtSignature": UNSIGNED}], dropped)
    assert replayed(foreign, model="gemini-2.5-pro") == ([call], dropped)


@pytest.mark.parametrize(
    ("model", "facts", "reasoning", "limit", "expected"),
    [
        ("gemini-3-pro", {"efforts": ("low", "high")}, {"effort": "minimal"}, 100, {"thinkingLevel": "LOW"}),
        ("gemini-3-pro", {"efforts": ("low", "high")}, {"effort": "xhigh"}, 100, {"thinkingLevel": "HIGH"}),
        ("gemini-3-flash", {}, {"enabled": True}, 100, {"thinkingLevel": "MEDIUM"}),
        ("gemini-3-flash", {}, {"max_tokens": 500}, 100, {"thinkingBudget": 100}),
        ("gemini-2.5-flash", {}, {"effort": "high"}, 10_000, {"thinkingBudget": 8_000}),
        ("gemini-2.5-flash", {}, {"effort": "high"}, 90_000, {"thinkingBudget": 24_576}),
        ("gemini-2.5-pro", {"thinking_budget": {"min": 128, "max": 32_768}}, {"max_tokens": 99_000}, 200_000, {"thinkingBudget": 32_768}),
        ("gemini-2.5-flash", {}, {"effort": "low"}, 500, {"thinkingBudget": 499}),
        ("gemini-2.5-flash", {}, {"enabled": True}, 500, {"thinkingBudget": -1}),
    ],
)  # fmt: skip
def test_thinking_is_a_level_or_a_budget_by_the_model(
    model: str, facts: dict[str, Any], reasoning: dict[str, Any], limit: int, expected: Any
) -> None:
    body, _ = from_chat(to(model, **facts), limit, reasoning=reasoning)
    assert body["generationConfig"]["thinkingConfig"] == {**expected, "includeThoughts": True}


def test_thinking_that_is_off_hidden_or_unknown() -> None:
    off = {"enabled": False}
    body, _ = from_chat(to("gemini-2.5-flash"), reasoning=off)
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}
    least = {"thinking_budget": {"min": 128, "max": 32_768}}
    body, _ = from_chat(to("gemini-2.5-pro", **least), reasoning=off)
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 128}
    body, _ = from_chat(to("gemini-3-pro"), reasoning={"effort": "low", "exclude": True})
    assert body["generationConfig"]["thinkingConfig"]["includeThoughts"] is False
    body, out = from_chat(to("gemini-2.0-flash"), reasoning={"effort": "low"})
    assert "thinkingConfig" not in body["generationConfig"]
    assert out.dropped == ("reasoning",)


def test_parameters_go_under_googles_names_and_the_rest_is_named() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body, out = from_chat(
        to("gemini-2.5-pro"),
        stream=True,
        temperature=1,
        top_p=0.5,
        top_k=3,
        seed=2**40,
        stop=["a", "b"],
        n=2,
        logprobs=True,
        top_logprobs=2,
        presence_penalty=1,
        frequency_penalty=-1,
        min_p=0.1,
        logit_bias={"1": 1},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": schema, "strict": True},
            }
        ],
        tool_choice={"type": "function", "function": {"name": "f"}},
        modalities=["text", "image"],
        image_config={"aspect_ratio": "1:1"},
    )
    assert body["generationConfig"] == {
        "temperature": 1,
        "topP": 0.5,
        "topK": 3,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 2,
        "presencePenalty": 1,
        "frequencyPenalty": -1,
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1"},
        "maxOutputTokens": 1000,
    }
    function = {"name": "f", "description": "d", "parametersJsonSchema": schema}
    assert body["tools"] == [{"functionDeclarations": [function]}]
    calling = {"mode": "ANY", "allowedFunctionNames": ["f"]}
    assert body["toolConfig"] == {"functionCallingConfig": calling}
    assert set(out.dropped) == {
        "seed (beyond 32 bits)", "min_p", "logit_bias", "parallel_tool_calls", "tools.strict",
    }  # fmt: skip


def test_media_by_value_and_by_address() -> None:
    def part(kind: str, **inner: Any) -> dict[str, Any]:
        return {"type": kind, kind: inner}

    body, out = from_chat(
        to("gemini-2.5-pro"),
        messages=[
            {
                "role": "user",
                "content": [
                    part("image_url", url="data:image/webp;base64,AAAA", detail="high"),
                    part("image_url", url="https://a.example/b.png?c=d.e"),
                    part("input_audio", data="AAAA", format="mp3"),
                    part("file", filename="a.pdf", file_data="data:application/pdf;base64,AAAA"),
                    part("file", file_id="file-1"),
                    part("video_url", url="https://youtu.be/1"),
                ],
            }
        ],
    )
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/b.png?c=d.e"}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/1"}},
    ]
    assert out.dropped == ("image detail", "filename", "file_id")


def test_a_system_message_alone_is_a_question() -> None:
    body, _ = from_chat(to("gemini-2.5-pro"), messages=[{"role": "system", "content": "hi"}])
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert "systemInstruction" not in body


# ---- the same dialect ----------------------------------------------------------------------------


def test_a_gemini_callers_own_json_is_sent_with_only_the_limit_changed() -> None:
    given = {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}},
        "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
        ],
        "cachedContent": "cachedContents/1",
    }
    config = {
        "temperature": 0.1,
        "maxOutputTokens": 9_999,
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    }
    body, out = from_gemini(
        to("gemini-2.5-pro", tier="flex"),
        generationConfig=config,
        provider={"only": ["acme"]},
        models=["a/b"],
        store=True,
        unknown=1,
        **given,
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        **given,
        "generationConfig": {**config, "maxOutputTokens": 77},
        "serviceTier": "flex",
    }
    assert out.dropped == ()


def test_parameters_an_endpoint_does_not_support_are_taken_out() -> None:
    body, _ = from_gemini(
        to("gemini-2.5-pro", ("top_k", "reasoning", "tools"), no_sampling=True),
        generationConfig={"topK": 3, "temperature": 1, "thinkingConfig": {}, "seed": 1},
        tools=[{"functionDeclarations": [{"name": "f"}]}],
        toolConfig={"functionCallingConfig": {"mode": "ANY"}},
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"seed": 1, "maxOutputTokens": 77},
    }
    body, out = from_gemini(
        to("gemini-2.5-pro", ("web_search_options",)), tools=[{"googleSearch": {}}]
    )
    assert "tools" not in body
    assert out.dropped == ("web_search_options",)


def test_envelopes_of_other_providers_never_reach_google() -> None:
    sealed = envelope(
        [{"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}]
    )
    call = {"functionCall": {"name": "f", "args": {}}}
    contents = [
        {"role": "user", "parts": [{"text": "a"}]},
        {
            "role": "model",
            "parts": [
                {**call, "thoughtSignature": sealed},
                {"text": "", "thoughtSignature": sealed},
            ],
        },
        {"role": "model", "parts": [{"text": "b", "thoughtSignature": "c2ln"}]},
    ]
    body, out = from_gemini(to("gemini-3-pro"), contents=contents)
    assert body["contents"] == [
        contents[0],
        {"role": "model", "parts": [{**call, "thoughtSignature": UNSIGNED}]},
        contents[2],
    ]
    assert out.dropped == ("reasoning signature (openai-responses-v1)",)


def test_options_for_a_provider_cannot_lift_the_limit() -> None:
    request = gemini.parse_request(
        json.dumps(
            {
                "contents": [{"parts": [{"text": "a"}]}],
                "provider": {"options": {"acme": {"labels": {"a": "b"}, "generationConfig": {}}}},
            }
        ).encode(),
        {},
        PATH,
    )
    assert isinstance(request.preferences, Preferences)
    body = checked(gemini.render_request(request, to("gemini-2.5-pro"), 5))
    assert body["labels"] == {"a": "b"}
    assert body["generationConfig"] == {"maxOutputTokens": 5}
