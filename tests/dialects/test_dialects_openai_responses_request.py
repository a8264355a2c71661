"""Requests of the Responses API: what is read off them, what is refused and how it is worded, and
what goes to a provider of the same dialect."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from dialect_support import attempt
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from tollway.canon import Request
from tollway.dialects import Outbound
from tollway.dialects.openai_responses import parse_request, render_request
from tollway.errors import CallerError

SENT = TypeAdapter(ResponseCreateParamsNonStreaming)
ENCRYPTED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "opaque=="}


def asked(**fields: Any) -> Request:
    return parse_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def refusal(**fields: Any) -> str:
    with pytest.raises(CallerError) as refused:
        asked(**fields)
    assert refused.value.status == 400
    return refused.value.message


def sent(request: Request, **facts: Any) -> tuple[dict[str, Any], Outbound]:
    """The body for a provider, valid in the eyes of the SDK's own types."""
    outbound = render_request(request, attempt(**facts), 500)
    body = json.loads(outbound.body)
    SENT.validate_python(body)
    assert outbound.path == "/responses"
    return body, outbound


def test_a_string_is_the_whole_input() -> None:
    request = asked(stream=True, max_output_tokens=9, models=["n"], user="u", session_id="s")
    assert request.dialect == "openai_responses"
    assert request.models == ("m", "n")
    assert request.stream is True
    assert request.output_tokens_max == 9
    assert (request.user, request.session_id) == ("u", "s")
    assert request.modalities == frozenset({"text"})
    assert request.prompt_bytes == len('"hi"')


def test_parameters_have_the_names_of_supported_parameters() -> None:
    request = asked(
        temperature=1,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
        text={"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        tools=[{"type": "function", "name": "f"}, {"type": "web_search"}],
        tool_choice="auto",
        reasoning={"effort": "low"},
    )
    assert request.params == {
        "temperature",
        "top_logprobs",
        "logprobs",
        "response_format",
        "structured_outputs",
        "verbosity",
        "tools",
        "tool_choice",
        "web_search_options",
        "reasoning",
    }


def test_media_are_counted_apart_from_text() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 4000},
        {"type": "input_file", "filename": "a.pdf", "file_data": "B" * 8000},
        {"type": "input_audio", "input_audio": {"data": "C" * 1000, "format": "wav"}},
    ]
    request = asked(input=[{"role": "user", "content": parts}])
    assert request.modalities == frozenset({"text", "image", "file", "audio"})
    assert request.images == 1
    assert request.media_tokens == 1_600 + 3_000 + 2
    assert request.prompt_bytes < 500


def test_a_cache_breakpoint_is_noticed() -> None:
    part = {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert asked(input=[{"role": "user", "content": [part]}]).cache_marked is True
    assert asked().cache_marked is False


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"store": True}, "store: only false is accepted: responses are not stored"),
        ({"background": True}, "background: only false"),
        ({"previous_response_id": "resp_1"}, "previous_response_id: is not supported"),
        ({"conversation": "conv_1"}, "conversation: is not supported"),
        ({"prompt": {"id": "p"}}, "prompt: is not supported"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]: an item_reference"),
        ({"input": []}, "input: must not be empty"),
        ({"input": ""}, "input: says nothing"),
        ({"input": [{"role": "user", "content": ""}]}, "input: says nothing"),
        ({"input": [{"role": "user", "content": []}, ENCRYPTED]}, "input: says nothing"),
        (
            {"input": [{"role": "user", "content": "x"}, {"type": "telepathy"}]},
            "input[1].type: 'telepathy' is not one of additional_tools, apply_patch_call,",
        ),
        ({"input": None}, "input: expected a string or an array, got null"),
        ({"input": [{"content": "x"}]}, "input[0].type: is required"),
        ({"input": [{"role": "bot", "content": "x"}]}, "input[0].role: 'bot' is not one of"),
        (
            {"input": ["a"]},
            "input[0]: expected an object, got a string",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
            "input[0].content[0].text: expected a string, got an integer",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].image_url: is required",
        ),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id: is required",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].name: is required"),
        ({"tool_choice": "maybe"}, "tool_choice: expected none, auto, required"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name: is required"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema: is"),
        ({"reasoning": {"effort": "low", "max_tokens": 5}}, "reasoning: effort and max_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens: expected an integer of at least 1"),
        ({"temperature": 3}, "temperature: expected a number of at most 2"),
        ({"n": 2}, "n: a response is one answer"),
        ({"provider": {"odd": 1}}, "provider.odd: there is no such field"),
    ],
)
def test_what_breaks_the_contract_is_refused_by_its_path(
    fields: dict[str, Any], message: str
) -> None:
    assert refusal(**fields).startswith(message)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input":"\xff"}', b'{"input":' * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        parse_request(body)


# ---- to a provider of the same dialect -----------------------------------------------------------


def test_the_callers_own_json_goes_up_with_what_must_change() -> None:
    request = asked(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        instructions="be brief",
        models=["n"],
        provider={"sort": "price"},
        user="somebody",
        metadata={"a": "b"},
        truncation="auto",
        max_output_tokens=900,
        temperature=0.5,
        parallel_tool_calls=False,
        stream_options={"include_obfuscation": False},
        prompt_cache_key="k",
        vendor_field={"deep": [1, 2]},
    )
    body, outbound = sent(request)
    assert body == {
        "model": "one-v1",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "instructions": "be brief",
        "metadata": {"a": "b"},
        "truncation": "auto",
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "stream_options": {"include_obfuscation": False},
        "prompt_cache_key": "k",
        "vendor_field": {"deep": [1, 2]},
        "store": False,
        "max_output_tokens": 500,
    }
    assert outbound.dropped == ()


def test_reasoning_is_asked_for_in_encrypted_form_from_models_that_think() -> None:
    request = asked(reasoning={"effort": "xhigh", "summary": "auto", "context": "all_turns"})
    body, _ = sent(request, capabilities=("reasoning",), efforts=("low", "high"))
    assert body["reasoning"] == {"effort": "high", "summary": "auto", "context": "all_turns"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "include" not in sent(asked())[0]
    assert sent(asked(), capabilities=("reasoning",))[0]["include"]
    off = asked(reasoning={"enabled": False})
    assert sent(off, capabilities=("reasoning",))[0]["reasoning"] == {"effort": "none"}
    assert "include" not in sent(off, capabilities=("reasoning",))[0]


def test_a_budget_becomes_an_effort() -> None:
    body, _ = sent(asked(reasoning={"max_tokens": 400}))
    assert body["reasoning"] == {"effort": "high"}


def test_reasoning_state_goes_back_to_those_who_made_it_only() -> None:
    foreign = {**ENCRYPTED, "id": "rs_2", "format": "anthropic-claude-v1", "signature": "s"}
    bare = {"type": "reasoning", "id": "rs_3", "summary": [{"type": "summary_text", "text": "t"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "odd": 1}
    own = {**ENCRYPTED, "id": "rs_4", "format": "openai-responses-v1", "signature": "s"}
    body, outbound = sent(asked(input=[ENCRYPTED, call, foreign, bare, own]))
    assert body["input"] == [ENCRYPTED, call, {**ENCRYPTED, "id": "rs_4"}]
    assert outbound.dropped == (
        "reasoning signature (anthropic-claude-v1)",
        "reasoning without encrypted_content",
    )


def test_tools_that_cost_the_operator_unseen_are_left_out_by_name() -> None:
    function = {"type": "function", "name": "f", "parameters": {}, "strict": False}
    custom = {"type": "custom", "name": "apply_patch"}
    shell = {"type": "shell", "environment": {"type": "container_auto"}}
    search = {"type": "web_search"}
    hosted = [{"type": "code_interpreter", "container": "c"}, shell]
    body, outbound = sent(asked(tools=[function, *hosted, custom, search]))
    assert body["tools"] == [function, custom, search]
    assert outbound.dropped == ("tools.code_interpreter", "tools.shell")
    body, outbound = sent(
        asked(tools=[search], tool_choice="auto"), dropped=("web_search_options",)
    )
    assert "tools" not in body and "tool_choice" not in body
    assert outbound.dropped == ("tools.web_search",)
    choice = {"type": "code_interpreter"}
    body, outbound = sent(asked(tools=[function, *hosted], tool_choice=choice))
    assert (body["tools"], "tool_choice" in body) == ([function], False)
    assert outbound.dropped == ("tools.code_interpreter", "tools.shell", "tool_choice")
    body, _ = sent(asked(tools=[function, *hosted], tool_choice="required"))
    assert body["tool_choice"] == "required"


def test_parameters_the_endpoint_lacks_are_not_sent() -> None:
    request = asked(
        temperature=1,
        text={"format": {"type": "json_object"}, "verbosity": "max"},
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": None}],
        tool_choice="required",
        reasoning={"effort": "low", "summary": "auto"},
    )
    dropped = ("reasoning", "response_format", "temperature", "tool_choice", "tools")
    body, _ = sent(request, dropped=dropped)
    assert set(body) == {"model", "input", "store", "max_output_tokens", "text"}
    assert body["text"] == {"verbosity": "high"}


def test_what_only_other_dialects_have_is_named() -> None:
    body, outbound = sent(asked(top_k=5, stop=["x"], frequency_penalty=1))
    assert not {"top_k", "stop", "frequency_penalty"} & set(body)
    assert set(outbound.dropped) == {"top_k", "stop", "frequency_penalty"}


def test_models_without_sampling_get_none() -> None:
    body, _ = sent(asked(temperature=1, top_p=0.5), no_sampling=True)
    assert "temperature" not in body and "top_p" not in body


def test_nothing_the_caller_writes_lifts_the_limit_or_the_tier() -> None:
    request = asked(
        max_tokens=10**6,
        service_tier="priority",
        provider={"options": {"acme": {"max_output_tokens": 10**6, "store": True, "fine": 1}}},
    )
    body, _ = sent(request)
    assert body["max_output_tokens"] == 500
    assert body["store"] is False
    assert body["fine"] == 1
    assert "max_tokens" not in body and "service_tier" not in body
    assert sent(request, service_tier="flex")[0]["service_tier"] == "flex"


def test_every_input_item_of_the_sdk_is_taken_or_refused_for_a_reason() -> None:
    """Kinds of items nobody here reads pass to the same dialect as they came."""
    from openai.types.responses import response_input_item_param as params

    kinds = set()
    for member in get_args(params.ResponseInputItemParam):
        hint = member.__annotations__.get("type")
        kinds |= set(_literals(str(getattr(hint, "__forward_arg__", hint))))
    assert len(kinds) > 20
    read = {"message", "item_reference", "function_call", "function_call_output"}
    read |= {"custom_tool_call", "custom_tool_call_output"}
    for kind in kinds - read:
        item = {"type": kind, "summary": []} if kind == "reasoning" else {"type": kind, "x": 1}
        given = [{"role": "user", "content": "x"}, item]
        request = asked(input=given)
        if kind != "reasoning":
            outbound = render_request(request, attempt(), 5)
            assert json.loads(outbound.body)["input"] == given


def _literals(text: str) -> list[str]:
    import re

    return re.findall(r"Literal\[['\"]([a-z_]+)['\"]\]", text)


def test_only_what_this_dialect_has_a_place_for_is_routed_to_it() -> None:
    from tollway.dialects import carried

    every = frozenset({"text", "image", "file", "audio", "video"})
    assert carried("openai_responses", every) >= {"text", "image", "file"}
    assert not carried("openai_responses", every) & {"audio", "video"}
