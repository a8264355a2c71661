"""What goes to Converse validates against AWS's own service model, and says what was said."""

import json
import random
from base64 import b64encode
from functools import cache
from typing import Any

import msgspec
import pytest
from bedrock_wire import bedrock
from botocore.session import Session
from botocore.validate import ParamValidator
from msgspec import Raw

from tollway import conversation as talk
from tollway.canon import Request
from tollway.conversation import Conversation, Format, Sampling, Source, Thinking, Tool, ToolChoice
from tollway.dialects import openai_chat
from tollway.dialects.bedrock_converse import render_request
from tollway.dialects.bedrock_converse.render import Draft
from tollway.routing.entries import Attempt

SEED = 20261122
PNG = b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
BUDGETS: dict[str, Any] = {"thinking_budget": {"min": 1024}, "capabilities": ("reasoning", "tools")}
ADAPTIVE: dict[str, Any] = {
    "efforts": ("low", "medium", "high", "max"),
    "capabilities": ("reasoning", "tools", "structured_outputs"),
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SPEC = {
    "toolSpec": {
        "name": "get_weather",
        "description": "Weather",
        "inputSchema": {"json": WEATHER["function"]["parameters"]},  # type: ignore[index]
    }
}


@cache
def input_shape() -> Any:
    session: Any = Session()
    return session.get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def checked(body: dict[str, Any]) -> dict[str, Any]:
    """The body, once AWS's own validator has nothing to say about it."""
    validator: Any = ParamValidator()
    report = validator.validate({"modelId": "m", **body}, input_shape())
    assert not report.has_errors(), report.generate_report()
    roles = [message["role"] for message in body["messages"]]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    return body


def asked(stream: bool = False, **fields: Any) -> Request:
    said = {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return openai_chat.parse_request(json.dumps({**said, "stream": stream}).encode())


def sent(attempt: Attempt | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    outbound = render_request(asked(**fields), attempt or bedrock(), 500)
    return checked(json.loads(outbound.body)), outbound.dropped


def test_the_model_is_in_the_path_encoded_once() -> None:
    outbound = render_request(asked(stream=True), bedrock(), 500)
    assert outbound.path == "/model/us.anthropic.one-20250101-v1%3A0/converse-stream"
    assert dict(outbound.headers)["Accept"] == "application/vnd.amazon.eventstream"
    outbound = render_request(asked(), bedrock(), 500)
    assert outbound.path == "/model/us.anthropic.one-20250101-v1%3A0/converse"
    assert json.loads(outbound.body) == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 500},
    }


def test_a_tool_loop_with_parallel_calls_alternates_and_results_come_first() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather"}}
    call["function"] = {"name": "get_weather", "arguments": '{"city": "Köln"}'}
    broken = {"id": "a b!", "type": "function"}
    broken["function"] = {"name": "get_weather", "arguments": "{not json"}  # type: ignore[assignment]
    body, dropped = sent(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "Looking.", "tool_calls": [call, broken]},
            {"role": "tool", "tool_call_id": "call_1", "content": "18"},
            {"role": "tool", "tool_call_id": "a b!", "content": ""},
            {"role": "user", "content": "And?"},
        ],
        tools=[WEATHER],
        tool_choice="required",
    )
    assert body["system"] == [{"text": "Be brief."}]
    _, assistant, user = body["messages"]
    other = assistant["content"][2]["toolUse"]["toolUseId"]
    assert assistant["content"] == [
        {"text": "Looking."},
        {"toolUse": {"toolUseId": "call_1", "name": "get_weather", "input": {"city": "Köln"}}},
        {
            "toolUse": {
                "toolUseId": other,
                "name": "get_weather",
                "input": {"raw_arguments": "{not json"},
            }
        },
    ]
    assert user["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "18"}]}},
        {"toolResult": {"toolUseId": other, "content": [{"text": "(no output)"}]}},
        {"text": "And?"},
    ]
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": {"any": {}}}
    assert dropped == ()


def test_tools_are_declared_when_only_the_history_has_calls() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "old", "arguments": ""}}
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "y"},
    ]
    bare = {
        "toolSpec": {"name": "old", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    }
    body, _ = sent(messages=history)
    assert body["toolConfig"] == {"tools": [bare]}
    body, dropped = sent(messages=history, tools=[WEATHER], tool_choice="none")
    assert (body["toolConfig"], dropped) == ({"tools": [SPEC]}, ("tool_choice",))
    body, dropped = sent(tools=[WEATHER], tool_choice="none")
    assert ("toolConfig" in body, dropped) == (False, ())


@pytest.mark.parametrize(
    ("choice", "config", "own"),
    [
        ("auto", None, "auto"),
        ("required", {"any": {}}, "any"),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"tool": {"name": "get_weather"}},
            "tool",
        ),
    ],
)
def test_tool_choice_and_one_call_at_a_time(choice: Any, config: Any, own: str) -> None:
    body, _ = sent(tools=[WEATHER], tool_choice=choice)
    assert body["toolConfig"].get("toolChoice") == config
    body, dropped = sent(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    said = body["additionalModelRequestFields"]["tool_choice"]
    assert (said["type"], said["disable_parallel_tool_use"], dropped) == (own, True, ())
    assert "toolChoice" not in body["toolConfig"]
    nova = bedrock("amazon")
    body, dropped = sent(nova, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert (body["toolConfig"].get("toolChoice"), dropped) == (config, ("parallel_tool_calls",))


# ---- media ---------------------------------------------------------------------------------------


def test_media_go_as_bytes_and_documents_have_names_and_text_beside_them() -> None:
    pdf = f"data:application/pdf;base64,{b64encode(b'%PDF').decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"filename": "Q3/report_final.v2.pdf", "file_data": pdf}},
        {"type": "file", "file": {"filename": "Q3 report final v2.pdf", "file_data": pdf}},
    ]
    body, dropped = sent(messages=[{"role": "user", "content": parts}])
    content = body["messages"][0]["content"]
    assert content[0] == {"image": {"format": "png", "source": {"bytes": PNG}}}
    names = ["Q3 report final v2", "Q3 report final v2 2"]
    assert [block["document"]["name"] for block in content[1:3]] == names
    assert content[1]["document"]["format"] == "pdf"
    assert content[3:] == [{"text": "Q3 report final v2, Q3 report final v2 2"}]
    assert dropped == ()


@pytest.mark.parametrize("url", ["https://e.com/a.png", "s3://bucket/a.png"])
def test_what_is_only_referred_to_is_left_out_by_name(url: str) -> None:
    parts = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]
    body, dropped = sent(messages=[{"role": "user", "content": parts}])
    assert body["messages"] == [{"role": "user", "content": [{"text": "x"}]}]
    assert dropped == ("image by reference",)


def test_media_that_there_is_no_form_for_are_named() -> None:
    said = Conversation(
        turns=(
            talk.Turn(
                "user",
                (
                    talk.Text("x"),
                    talk.Image(Source(data="AAAA", media_type="image/tiff")),
                    talk.File(Source(data="AAAA", media_type="application/zip"), "a.zip"),
                    talk.Audio(Source(data="AAAA"), "amr"),
                    talk.Audio(Source(data="AAAA"), "wav"),
                    talk.Video(Source(data="AAAA", media_type="video/mp4")),
                ),
            ),
            talk.Turn("assistant", (talk.Image(Source(data=PNG)), talk.Text("y"))),
        )
    )
    body, dropped = drafted(said)
    assert [list(block) for block in body["messages"][0]["content"]] == [
        ["text"],
        ["audio"],
        ["video"],
    ]
    assert dropped == [
        "image (image/tiff)",
        "document (application/zip)",
        "audio (amr)",
        "media of the assistant",
    ]


def drafted(said: Conversation, attempt: Attempt | None = None) -> tuple[dict[str, Any], list[str]]:
    draft = Draft(asked(), attempt or bedrock(), 500)
    draft.write(said)
    return checked(json.loads(msgspec.json.encode(draft.fields))), list(draft.composer.dropped)


# ---- reasoning -----------------------------------------------------------------------------------


def thought(*details: dict[str, Any], text: str = "") -> Conversation:
    raws = tuple(Raw(json.dumps(detail).encode()) for detail in details)
    return Conversation(
        turns=(
            talk.Turn("user", (talk.Text("q"),)),
            talk.Turn("assistant", (talk.Thought(text, raws), talk.Text("a"))),
            talk.Turn("user", (talk.Text("q2"),)),
        )
    )


CLAUDES = {"format": "anthropic-claude-v1", "index": 0}


def test_signed_reasoning_goes_back_byte_for_byte_and_fragments_are_joined() -> None:
    said = thought(
        {"type": "reasoning.text", "text": "Let me ", **CLAUDES},
        {"type": "reasoning.text", "text": "see.\u2028", **CLAUDES},
        {"type": "reasoning.text", "signature": "EqQB/+==", **CLAUDES},
        {"type": "reasoning.encrypted", "data": "b3BhcXVl", **CLAUDES, "index": 1},
    )
    body, dropped = drafted(said)
    assert body["messages"][1]["content"] == [
        {
            "reasoningContent": {
                "reasoningText": {"text": "Let me see.\u2028", "signature": "EqQB/+=="}
            }
        },
        {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
        {"text": "a"},
    ]
    assert dropped == []


def test_reasoning_of_others_is_left_out_by_name() -> None:
    said = thought(
        {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1", "index": 0},
        {"type": "reasoning.text", "text": "plain", "format": "unknown", "index": 1},
        {"type": "reasoning.text", "text": "unsigned", **CLAUDES, "index": 2},
    )
    body, dropped = drafted(said)
    assert body["messages"][1]["content"] == [{"text": "a"}]
    assert dropped == ["reasoning signature (openai-responses-v1)", "reasoning without a signature"]
    signed = thought({"type": "reasoning.text", "text": "t", "signature": "s", **CLAUDES})
    _, dropped = drafted(signed, bedrock("amazon"))
    assert dropped == ["reasoning signature (anthropic-claude-v1)"]


@pytest.mark.parametrize(
    ("author", "facts", "reasoning", "more", "config"),
    [
        (
            "anthropic",
            BUDGETS,
            {"max_tokens": 2000},
            {"budget_tokens": 2000, "type": "enabled"},
            None,
        ),
        (
            "anthropic",
            BUDGETS,
            {"effort": "high"},
            {"budget_tokens": 3200, "type": "enabled"},
            None,
        ),
        ("anthropic", BUDGETS, {"enabled": False}, {"type": "disabled"}, None),
        (
            "anthropic",
            ADAPTIVE,
            {"effort": "xhigh"},
            {"type": "adaptive", "display": "summarized"},
            {"effort": "high"},
        ),
    ],
)
def test_claude_thinks_by_budget_or_adaptively(
    author: str, facts: Any, reasoning: Any, more: Any, config: Any
) -> None:
    outbound = render_request(asked(reasoning=reasoning), bedrock(author, **facts), 4000)
    body = checked(json.loads(outbound.body))
    assert body["additionalModelRequestFields"] == {"thinking": more}
    assert body.get("outputConfig") == config


def test_other_vendors_have_their_own_word_for_thinking() -> None:
    body, _ = sent(bedrock("amazon", **ADAPTIVE), reasoning={"effort": "minimal"})
    assert body["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}
    }
    body, _ = sent(bedrock("openai", efforts=("low", "medium", "high")), reasoning_effort="high")
    assert body["additionalModelRequestFields"] == {"reasoning_effort": "high"}
    for author, facts in (("deepseek", ADAPTIVE), ("anthropic", {})):
        body, dropped = sent(bedrock(author, **facts), reasoning={"effort": "low"})
        assert ("additionalModelRequestFields" in body, dropped) == (False, ("reasoning",))


def test_beside_thinking_sampling_and_forced_tools_give_way() -> None:
    fields: dict[str, Any] = {"reasoning": {"max_tokens": 1024}, "temperature": 0.3, "top_k": 5}
    outbound = render_request(asked(**fields), bedrock(**BUDGETS), 4000)
    assert json.loads(outbound.body)["inferenceConfig"] == {"maxTokens": 4000}
    assert outbound.dropped == ("temperature", "top_k")
    forced = asked(reasoning={"max_tokens": 1024}, tools=[WEATHER], tool_choice="required")
    outbound = render_request(forced, bedrock(**BUDGETS), 4000)
    assert outbound.dropped == ("reasoning (with a forced tool)",)


def test_a_budget_is_not_given_to_a_turn_that_began_without_a_signed_thought() -> None:
    call = {"id": "c", "type": "function"}
    call["function"] = {"name": "get_weather", "arguments": "{}"}  # type: ignore[assignment]
    signed = {"type": "reasoning.text", "text": "t", "signature": "s", **CLAUDES}

    def loop(facts: dict[str, Any], **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        answered = {"role": "assistant", "content": None, "tool_calls": [call], **more}
        result = {"role": "tool", "tool_call_id": "c", "content": "18"}
        history = [{"role": "user", "content": "x"}, answered, result]
        fields: dict[str, Any] = {"messages": history, "tools": [WEATHER]}
        request = asked(**fields, reasoning={"effort": "high"})
        outbound = render_request(request, bedrock(**facts), 4000)
        return checked(json.loads(outbound.body)), outbound.dropped

    body, dropped = loop(BUDGETS)
    assert dropped == ("reasoning (the turn began without a signed thought)",)
    assert "additionalModelRequestFields" not in body
    for facts, more in ((BUDGETS, {"reasoning_details": [signed]}), (ADAPTIVE, {})):
        body, dropped = loop(facts, **more)
        assert ("thinking" in body["additionalModelRequestFields"], dropped) == (True, ())


# ---- the rest ------------------------------------------------------------------------------------


def test_sampling_has_its_own_places_and_what_has_none_is_named() -> None:
    fields: dict[str, Any] = {"temperature": 1.7, "top_k": 5, "stop": ["END", " "], "seed": 1}
    body, dropped = sent(**fields, frequency_penalty=0.5, n=1)
    assert body["inferenceConfig"] == {"maxTokens": 500, "temperature": 1, "stopSequences": ["END"]}
    assert body["additionalModelRequestFields"] == {"top_k": 5}
    assert set(dropped) == {"stop (white space)", "seed", "frequency_penalty"}
    body, _ = sent(bedrock("amazon"), top_k=5, top_p=0.5)
    assert body["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}
    assert body["inferenceConfig"] == {"maxTokens": 500, "topP": 0.5}
    _, dropped = sent(bedrock("meta-llama"), top_k=5)
    assert dropped == ("top_k",)
    body, dropped = sent(bedrock(no_sampling=True), temperature=0.2, top_p=0.5)
    assert (body["inferenceConfig"], dropped) == ({"maxTokens": 500}, ("temperature", "top_p"))


def test_parameters_that_the_endpoint_does_not_take_are_not_sent() -> None:
    less = bedrock(dropped=("temperature", "tools", "stop", "top_k"))
    fields: dict[str, Any] = {"temperature": 0.5, "stop": "x", "top_k": 3, "tools": [WEATHER]}
    body, _ = sent(less, **fields)
    assert body == {
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 500},
    }


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "out", "schema": SCHEMA, "strict": True}}


def test_structured_output_is_native_or_a_tool_that_must_be_called() -> None:
    body, dropped = sent(bedrock(**ADAPTIVE), response_format=FORMAT)
    shape = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (shape["name"], json.loads(shape["schema"]), dropped) == ("out", SCHEMA, ())
    body, dropped = sent(bedrock("amazon", **ADAPTIVE), response_format=FORMAT)
    spec = body["toolConfig"]["tools"][0]["toolSpec"]
    assert spec["inputSchema"] == {"json": SCHEMA}
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": spec["name"]}}
    body, _ = sent(bedrock("amazon", **ADAPTIVE), response_format=FORMAT, tools=[WEATHER])
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    body, dropped = sent(bedrock("meta-llama"), response_format=FORMAT)
    assert ("system" in body, dropped) == (True, ("response_format (as an instruction)",))
    body, dropped = sent(response_format={"type": "json_object"})
    assert dropped == ("response_format (as an instruction)",)


def test_cache_points_follow_their_part_and_the_last_four_stay() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": f"t{n}", **mark} for n in range(4)]
    hour = {"type": "text", "text": "sys", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages = [{"role": "system", "content": [hour]}, {"role": "user", "content": parts}]
    body, dropped = sent(messages=messages[:1] + [{"role": "user", "content": parts[:1]}])
    assert body["system"] == [{"text": "sys"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert body["messages"][0]["content"] == [{"text": "t0"}, {"cachePoint": {"type": "default"}}]
    assert dropped == ()
    body, dropped = sent(messages=messages)
    assert body["system"] == [{"text": "sys"}]
    assert sum("cachePoint" in block for block in body["messages"][0]["content"]) == 4
    assert dropped == ("cache_control",)
    body, dropped = sent(bedrock("meta-llama"), messages=messages)
    assert "cachePoint" not in json.dumps(body)
    assert dropped == ("cache_control",)


def test_options_set_what_moves_neither_price_nor_limit() -> None:
    options = {
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
        "inferenceConfig": {"maxTokens": 9_999},
        "serviceTier": {"type": "priority"},
        "additionalModelRequestFields": {"max_tokens": 9_999},
    }
    body, _ = sent(provider={"options": {"acme": options}})
    assert body["guardrailConfig"] == options["guardrailConfig"]
    assert body["inferenceConfig"] == {"maxTokens": 500}
    assert not {"serviceTier", "additionalModelRequestFields"} & body.keys()


def a_conversation(dice: random.Random) -> Conversation:
    """Anything that a dialect may give: empty texts, lone results, answers first, foreign ids."""

    def part(role: str) -> talk.Part:
        cache = dice.choice((None, None, talk.Cache(), talk.Cache("1h"), talk.Cache("12h")))
        anyones: tuple[talk.Part, ...] = (
            talk.Text(dice.choice(("", " \n", "x", "Grüße\u2028")), cache),
            talk.Image(Source(data=PNG), dice.choice((None, "low")), cache),
            talk.File(Source(data="AAAA", media_type="application/pdf"), "a?.pdf", cache),
        )
        models: tuple[talk.Part, ...] = (
            talk.Call(dice.choice(("c", "é" * 80)), "f", dice.choice(("", "{}", "[1]")), cache),
            talk.Refusal("no"),
            talk.Thought("t", (Raw(b'{"type":"reasoning.text","signature":"s"}'),)),
        )
        users: tuple[talk.Part, ...] = (
            talk.Result(dice.choice(("c", "é" * 80)), (talk.Text("r"),), None, True, cache),
            talk.Result("c", (talk.Image(Source(data=PNG)), talk.Text(""))),
        )
        more = {"assistant": models, "user": users}.get(role, ())
        return dice.choice(anyones + more)

    roles: tuple[talk.Role, ...] = ("system", "user", "assistant")
    turns = tuple(
        talk.Turn(role, tuple(part(role) for _ in range(dice.randint(0, 4))))
        for role in (dice.choice(roles) for _ in range(dice.randint(1, 6)))
    )
    schema = Raw(dice.choice((b"{}", json.dumps(SCHEMA).encode())))
    return Conversation(
        turns=turns,
        tools=tuple(Tool(name, "", schema, True) for name in dice.choice(((), ("f",), ("f", "g")))),
        tool_choice=dice.choice((None, ToolChoice("none"), ToolChoice("named", "f"))),
        parallel_calls=dice.choice((None, True, False)),
        format=dice.choice((None, Format("json"), Format("schema", schema=schema))),
        thinking=Thinking(dice.choice((None, True, False)), dice.choice((None, "max"))),
        sampling=Sampling(temperature=dice.choice((None, 2.0)), top_p=0.3, top_k=4, stop=("a",)),
        cache=dice.choice((None, talk.Cache())),
    )


def test_whatever_is_said_validates_and_no_text_is_blank() -> None:
    dice = random.Random(SEED)
    for n in range(400):
        said = a_conversation(dice)
        author = dice.choice(("anthropic", "amazon", "openai", "meta-llama"))
        try:
            body, _ = drafted(said, bedrock(author, **dice.choice((BUDGETS, ADAPTIVE, {}))))
        except AssertionError as error:
            raise AssertionError(f"conversation {n} of seed {SEED}: {said}") from error
        for message in body["messages"]:
            assert message["content"]
            kinds = ["toolResult" in b for b in message["content"] if "cachePoint" not in b]
            assert kinds == sorted(kinds, reverse=True)
            assert all(b["text"].strip() for b in message["content"] if "text" in b)
