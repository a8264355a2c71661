"""A Responses request as a conversation, and a conversation as a Responses request."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from dialect_support import attempt
from matrix_support import OUTBOUND
from msgspec import Raw
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from tollway import conversation as said
from tollway.canon import Request
from tollway.conversation import Conversation, Turn
from tollway.dialects import dialect
from tollway.dialects.openai_responses import conversation, parse_request
from tollway.dialects.openai_responses.thoughts import items_of, joined, state_of
from tollway.dialects.openai_responses.written import written
from tollway.errors import CallerError

SENT = TypeAdapter(ResponseCreateParamsNonStreaming)
PNG = "data:image/png;base64,AAAA"


def asked(**fields: Any) -> Request:
    return parse_request(json.dumps({"model": "m", **fields}).encode())


def spoken(**fields: Any) -> Conversation:
    return conversation(asked(**fields))


def wrote(talk: Conversation, *quirks: str, **facts: Any) -> tuple[dict[str, Any], list[str]]:
    """Fields of a request, valid in the eyes of the SDK's own types; and what was lost."""
    import msgspec

    lost: dict[str, None] = {}
    fields = written(talk, attempt(quirks, **facts), 500, lost)
    body = json.loads(msgspec.json.encode(fields))
    SENT.validate_python({"model": "m", **body})
    return body, list(lost)


# ---- in ------------------------------------------------------------------------------------------


def test_instructions_are_a_system_turn_before_the_input() -> None:
    talk = spoken(input="hi", instructions="be brief")
    assert talk.turns == (
        Turn("system", (said.Text("be brief"),)),
        Turn("user", (said.Text("hi"),)),
    )


def test_adjacent_items_of_the_assistant_are_one_turn_in_their_order() -> None:
    talk = spoken(
        input=[
            {"role": "user", "content": "q"},
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "s"}],
                "encrypted_content": "E",
            },
            {"type": "message", "role": "assistant", "content": "a"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{bad"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_image", "image_url": PNG}],
            },
            {"role": "developer", "content": "d"},
        ]
    )
    thought = said.Thought(
        "s",
        (
            Raw(
                b'{"type":"reasoning.summary","summary":"s","id":"rs_1",'
                b'"format":"openai-responses-v1","index":0}'
            ),
            Raw(
                b'{"type":"reasoning.encrypted","data":"E","id":"rs_1",'
                b'"format":"openai-responses-v1","index":1}'
            ),
        ),
    )
    image = said.Image(said.Source(data="AAAA", media_type="image/png"))
    assert talk.turns == (
        Turn("user", (said.Text("q"),)),
        Turn(
            "assistant",
            (thought, said.Text("a"), said.Call("c1", "f", "{bad"), said.Call("c2", "g", "{}")),
        ),
        Turn(
            "user",
            (
                said.Result("c1", (said.Text("one"),), "f"),
                said.Result("c2", (image,), "g"),
            ),
        ),
        Turn("system", (said.Text("d"),)),
    )


def test_every_part_of_a_message_has_its_place() -> None:
    talk = spoken(
        input=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "input_text",
                        "text": "t",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                    },
                    {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"},
                    {"type": "input_file", "file_url": "https://x/y.pdf"},
                    {
                        "type": "input_file",
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,QQ==",
                    },
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
                    {"type": "input_video", "video_url": "https://x/y.mp4"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "text": "see",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "url": "u",
                                "title": "t",
                                "start_index": 0,
                                "end_index": 1,
                            }
                        ],
                    },
                    {"type": "refusal", "refusal": "no"},
                ],
            },
        ]
    )
    cited = Raw(
        b'{"type":"url_citation","url_citation":'
        b'{"url":"u","title":"t","start_index":0,"end_index":1}}'
    )
    assert talk.turns == (
        Turn(
            "user",
            (
                said.Text("t", said.Cache("12h")),
                said.Image(said.Source(url="https://x/y.png"), "high"),
                said.File(said.Source(url="https://x/y.pdf")),
                said.File(said.Source(data="QQ==", media_type="application/pdf"), "a.pdf"),
                said.Audio(said.Source(data="QQ==", media_type="audio/mp3"), "mp3"),
                said.Video(said.Source(url="https://x/y.mp4")),
            ),
        ),
        Turn("assistant", (said.Text("see", citations=(cited,)), said.Refusal("no"))),
    )


def test_switches_and_tools_are_read_and_the_rest_is_kept_by_name() -> None:
    talk = spoken(
        input=[{"role": "user", "content": "x"}, {"type": "computer_call", "id": "c"}],
        tools=[
            {"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}},
            {"type": "file_search"},
        ],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "n", "schema": {"b": 2}, "strict": True},
        },
        reasoning={"effort": "low", "summary": "concise"},
        temperature=0.1,
        stop="x",
        top_logprobs=3,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        prompt_cache_key="k",
        truncation="auto",
    )
    assert talk.tools == (said.Tool("f", "d", Raw(b'{"a":1}')),)
    assert talk.tool_choice == said.ToolChoice("named", "f")
    assert talk.parallel_calls is False
    assert talk.format == said.Format("schema", "n", Raw(b'{"b":2}'), True)
    assert talk.verbosity == "low"
    assert talk.thinking == said.Thinking(True, "low", summary="concise")
    assert talk.sampling == said.Sampling(
        temperature=0.1, stop=("x",), top_logprobs=3, logprobs=True
    )
    assert talk.cache_key == "k"
    assert set(talk.extras) == {"input.computer_call", "tools.file_search", "truncation"}


@pytest.mark.parametrize("more", [{}, {"instructions": "be brief"}])
def test_items_for_openai_alone_are_no_conversation(more: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match="input: holds nothing that a provider of another"):
        spoken(input=[{"type": "computer_call", "id": "c"}], **more)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "f"}, "auto", None])
@pytest.mark.parametrize("target", sorted(n for n in OUTBOUND if n != "openai_responses"))
def test_a_choice_goes_with_the_last_tool(target: str, choice: Any) -> None:
    request = asked(
        input="x", tools=[{"type": "file_search"}], tool_choice=choice, parallel_tool_calls=True
    )
    out = dialect(target).render_request(request, attempt(), 500)
    assert not re.search(rb"tool_?choice|parallel_?tool|tool_?config", out.body, re.IGNORECASE)
    lost = (
        {"tools.file_search"} if choice in ("auto", None) else {"tools.file_search", "tool_choice"}
    )
    assert set(out.dropped) == lost


# ---- out -----------------------------------------------------------------------------------------


def test_turns_become_items_in_the_same_order() -> None:
    own = (
        Raw(
            b'{"type":"reasoning.summary","summary":"s","id":"rs_9","format":"openai-responses-v1","index":0}'
        ),
        Raw(
            b'{"type":"reasoning.encrypted","data":"E","id":"rs_9","format":"openai-responses-v1","index":1}'
        ),
    )
    talk = Conversation(
        turns=(
            Turn("system", (said.Text("be brief"),)),
            Turn("user", (said.Text("q"), said.Image(said.Source(url="https://x/y")))),
            Turn(
                "assistant",
                (said.Thought("s", own), said.Text("a"), said.Call("c1", "f", "{}")),
            ),
            Turn(
                "user",
                (
                    said.Result("c1", (said.Text("one"),)),
                    said.Text("go on"),
                ),
            ),
        )
    )
    body, lost = wrote(talk)
    assert body["input"] == [
        {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "be brief"}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "q"},
                {"type": "input_image", "detail": "auto", "image_url": "https://x/y"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_9",
            "summary": [{"type": "summary_text", "text": "s"}],
            "encrypted_content": "E",
        },
        {"type": "message", "role": "assistant", "content": "a"},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "go on"}],
        },
    ]
    assert lost == []


def test_foreign_reasoning_is_left_out_and_named() -> None:
    signed = Raw(
        b'{"type":"reasoning.text","text":"t","signature":"S","format":"anthropic-claude-v1"}'
    )
    plain = Raw(b'{"type":"reasoning.text","text":"t","format":"unknown"}')
    talk = Conversation(
        (Turn("assistant", (said.Thought("t", (signed,)), said.Thought("t", (plain,)))),)
    )
    body, lost = wrote(talk)
    assert body["input"] == []
    assert lost == ["reasoning signature (anthropic-claude-v1)", "reasoning text"]


def test_a_provider_with_a_format_of_its_own_gets_its_own_state() -> None:
    state = Raw(
        b'{"type":"reasoning.encrypted","data":"E","id":"rs_1","format":"xai-responses-v1"}'
    )
    talk = Conversation((Turn("assistant", (said.Thought("", (state,)),)),))
    body, lost = wrote(talk, "responses_reasoning_format=xai-responses-v1")
    assert [item["encrypted_content"] for item in body["input"]] == ["E"]
    assert lost == []
    assert wrote(talk)[1] == ["reasoning signature (xai-responses-v1)"]


def test_tools_formats_and_switches_are_written() -> None:
    talk = Conversation(
        (Turn("user", (said.Text("x"),)),),
        tools=(said.Tool("f", "d", Raw(b'{"a":1}'), True), said.Tool("g")),
        tool_choice=said.ToolChoice("named", "f"),
        parallel_calls=True,
        format=said.Format("schema", "n", Raw(b'{"b":2}'), None, "what"),
        thinking=said.Thinking(True, "medium", summary="auto"),
        verbosity="max",
        sampling=said.Sampling(temperature=0.5, top_k=4, logprobs=True, stop=("x",)),
        cache_key="k",
        extras={"metadata": Raw(b'{"a":"b"}'), "tools.odd": Raw(b"1")},
    )
    body, lost = wrote(talk)
    del body["input"]
    assert body == {
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"a": 1},
                "strict": True,
            },
            {
                "type": "function",
                "name": "g",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            },
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": True,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "n",
                "schema": {"b": 2},
                "description": "what",
            },
            "verbosity": "high",
        },
        "reasoning": {"summary": "auto", "effort": "medium"},
        "temperature": 0.5,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
    }
    assert lost == ["top_k", "stop", "tools.odd"]


def test_what_has_no_place_is_named() -> None:
    talk = Conversation(
        (
            Turn(
                "user",
                (
                    said.Audio(said.Source(data="A")),
                    said.Video(said.Source(url="https://x")),
                    said.Text("t", said.Cache("5m")),
                    said.Result("c", (said.Text("bad"),), is_error=True),
                ),
                "Ann",
            ),
        ),
        output_modalities=("text", "image"),
        cache=said.Cache(),
    )
    _, lost = wrote(talk)
    assert set(lost) == {
        "name",
        "input_audio",
        "input_video",
        "cache_control",
        "is_error",
        "modalities",
    }


def test_cache_markers_go_to_those_who_know_them() -> None:
    talk = Conversation((Turn("user", (said.Text("t", said.Cache("5m")),)),))
    body, lost = wrote(talk, "explicit_cache_breakpoints_on_new_models")
    assert body["input"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert lost == []


def test_files_keep_their_kind() -> None:
    talk = Conversation(
        (
            Turn(
                "user",
                (
                    said.File(said.Source(data="QQ==", media_type="application/pdf"), "a.pdf"),
                    said.File(said.Source(url="https://x/y.pdf")),
                    said.File(said.Source(file_id="file-1")),
                ),
            ),
        )
    )
    body, _ = wrote(talk)
    assert body["input"][0]["content"] == [
        {
            "type": "input_file",
            "file_data": "data:application/pdf;base64,QQ==",
            "filename": "a.pdf",
        },
        {"type": "input_file", "file_url": "https://x/y.pdf"},
        {"type": "input_file", "file_id": "file-1"},
    ]


def test_there_and_back_says_the_same() -> None:
    first = spoken(
        instructions="sys",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"role": "assistant", "content": "done"},
            {"role": "user", "content": "more"},
        ],
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        tool_choice="required",
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_object"}},
        temperature=1,
    )
    body, lost = wrote(first)
    assert lost == []
    assert spoken(**body) == first


# ---- opaque state --------------------------------------------------------------------------------


def test_foreign_state_survives_a_client_that_knows_no_foreign_fields() -> None:
    details = [
        Raw(
            b'{"type": "reasoning.text", "text": "hm\\u2028", "signature": "S==", "format": "anthropic-claude-v1", "index": 0}'
        ),
        Raw(b'{"type":"reasoning.encrypted","data":"R","format":"anthropic-claude-v1","index":1}'),
    ]
    state = state_of(details)
    assert state["format"] == "anthropic-claude-v1"
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "encrypted_content": state["encrypted_content"],
    }
    _, turn = spoken(input=[{"role": "user", "content": "q"}, item]).turns
    (thought,) = turn.parts
    assert isinstance(thought, said.Thought)
    assert [bytes(raw) for raw in thought.details] == [bytes(raw) for raw in details]


def test_openais_own_state_is_not_wrapped() -> None:
    detail = Raw(
        b'{"type":"reasoning.encrypted","data":"E","id":"rs_1","format":"openai-responses-v1"}'
    )
    assert state_of([detail]) == {"encrypted_content": "E"}
    assert state_of([Raw(b'{"type":"reasoning.text","text":"t"}')]) == {}


def test_encrypted_state_of_others_is_sealed() -> None:
    detail = Raw(b'{"type":"reasoning.encrypted","data":"E","format":"google-gemini-v1"}')
    state = state_of([detail])
    assert state["encrypted_content"] != "E"
    assert state["format"] == "google-gemini-v1"


def test_what_follows_a_signature_is_another_entry() -> None:
    pieces = [
        Raw(b'{"type":"reasoning.text","text":"a","signature":"S","index":0}'),
        Raw(b'{"type":"reasoning.text","text":"b","signature":"T","index":0}'),
    ]
    assert [bytes(raw) for raw in joined(pieces)] == [bytes(raw) for raw in pieces]


def test_results_keep_their_place_in_a_turn() -> None:
    one, two = said.Result("c1", (said.Text("1"),)), said.Result("c2", (said.Text("2"),))
    body, _ = wrote(Conversation((Turn("user", (said.Text("a"), one, said.Text("b"), two)),)))
    assert [item.get("call_id") for item in body["input"]] == [None, "c1", None, "c2"]


def test_pieces_of_a_stream_are_joined() -> None:
    pieces = [
        Raw(b'{"type":"reasoning.text","text":"a","format":"anthropic-claude-v1","index":0}'),
        Raw(b'{"type":"reasoning.text","text":"b","format":"anthropic-claude-v1","index":0}'),
        Raw(b'{"type":"reasoning.text","signature":"S","format":"anthropic-claude-v1","index":0}'),
        Raw(b'{"type":"reasoning.text","text":"c","format":"anthropic-claude-v1","index":1}'),
    ]
    whole = [json.loads(bytes(raw)) for raw in joined(pieces)]
    assert [(e.get("text"), e.get("signature")) for e in whole] == [("ab", "S"), ("c", None)]


def test_openrouters_own_fields_for_foreign_state_are_read() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "t"}],
        "format": "anthropic-claude-v1",
        "signature": "S",
    }
    _, turn = spoken(input=[{"role": "user", "content": "q"}, item]).turns
    (thought,) = turn.parts
    assert isinstance(thought, said.Thought)
    assert [json.loads(bytes(raw)) for raw in thought.details] == [
        {
            "type": "reasoning.text",
            "text": "t",
            "signature": "S",
            "id": "rs_1",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
    ]
    assert items_of(thought.details, "openai-responses-v1") == (
        [],
        ["reasoning signature (anthropic-claude-v1)"],
    )


def test_a_broken_seal_loses_its_state_and_nothing_else() -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": "tollway:details:1:%%%"}
    assert spoken(input=[item, {"role": "user", "content": "x"}]).turns == (
        Turn("user", (said.Text("x"),)),
    )
