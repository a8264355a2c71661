"""dialects/openai_chat_conversation.py"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from tollway import conversation as said
from tollway.conversation import Conversation
from tollway.dialects import conversation
from tollway.dialects.openai_chat import parse_request
from tollway.dialects.openai_completions import parse_request as parse_completion


def spoken(messages: list[dict[str, Any]], **fields: Any) -> Conversation:
    body = {"model": "a/b", "messages": messages, **fields}
    return conversation(parse_request(json.dumps(body).encode(), {}, "/chat/completions"))


HI = [{"role": "user", "content": "hi"}]


def test_every_kind_of_message_becomes_a_turn() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "s=", "index": 0}]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    messages = [
        {"role": "system", "content": "be"},
        {"role": "developer", "content": [{"type": "text", "text": "brief"}], "name": "d"},
        {"role": "user", "content": "go", "name": "u"},
        {
            "role": "assistant",
            "content": "a",
            "reasoning": "hm",
            "reasoning_details": details,
            "tool_calls": [call],
            "annotations": [{"type": "url_citation"}],
            "images": [{"type": "image_url", "image_url": {"url": "https://x.org/i.png"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "reasoning_content": "so"},
        {"role": "assistant", "reasoning_details": [{"summary": "a"}, {"data": "b"}]},
    ]
    citation = Raw(b'{"type":"url_citation"}')
    detail = Raw(json.dumps(details[0]).encode())
    assert spoken(messages).turns == (
        said.Turn("system", (said.Text("be"),)),
        said.Turn("system", (said.Text("brief"),), "d"),
        said.Turn("user", (said.Text("go"),), "u"),
        said.Turn(
            "assistant",
            (
                said.Thought("hm", (detail,)),
                said.Text("a", citations=(citation,)),
                said.Image(said.Source(url="https://x.org/i.png")),
                said.Call("c1", "f", "{"),
            ),
        ),
        said.Turn("user", (said.Result("c1", (said.Text("42"),), "f"),)),
        said.Turn("assistant", (said.Refusal("no"),)),
        said.Turn("assistant", (said.Thought("so"),)),
        said.Turn(
            "assistant", (said.Thought("a", (Raw(b'{"summary": "a"}'), Raw(b'{"data": "b"}'))),)
        ),
    )


def test_every_kind_of_part_becomes_a_part() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    pdf = "data:application/pdf;base64,AAAA"
    parts = [
        {"type": "text", "text": "a", **mark},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "https://x.org/i", "detail": "high"}, **mark},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "f.pdf", "file_data": pdf}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "https://x.org/f.pdf"}},
        {"type": "file", "file": {"file_data": "QUJD"}},
        {"type": "video_url", "video_url": {"url": "https://x.org/v.mp4"}},
    ]
    hour = said.Cache("1h")
    (turn,) = spoken([{"role": "user", "content": parts}]).turns
    assert turn.parts == (
        said.Text("a", hour),
        said.Text("b", said.Cache()),
        said.Image(said.Source(url="https://x.org/i"), "high", hour),
        said.Image(said.Source(data="QUJD", media_type="image/png")),
        said.Audio(said.Source(data="QQ==", media_type="audio/mp3"), "mp3"),
        said.File(said.Source(data="AAAA", media_type="application/pdf"), "f.pdf"),
        said.File(said.Source(file_id="file-1")),
        said.File(said.Source(url="https://x.org/f.pdf")),
        said.File(said.Source(data="QUJD")),
        said.Video(said.Source(url="https://x.org/v.mp4")),
    )


def test_tools_formats_and_switches_are_read() -> None:
    schema = {"type": "object"}
    function = {"name": "f", "description": "d", "parameters": schema, "strict": True}
    found = spoken(
        HI,
        tools=[{"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        reasoning={"effort": "low", "summary": "auto", "exclude": True},
        verbosity="high",
        modalities=["text", "image"],
        cache_control={"type": "ephemeral", "ttl": "5m"},
        prompt_cache_key="k",
        temperature=0.5,
        top_k=3,
        stop="end",
        logit_bias={"5": -1},
        logprobs=True,
        top_logprobs=2,
        max_tokens=5,
        user="who",
        provider={"sort": "price"},
        n=2,
        stream=True,
    )
    assert found == Conversation(
        turns=(said.Turn("user", (said.Text("hi"),)),),
        tools=(said.Tool("f", "d", Raw(b'{"type":"object"}'), True, said.Cache()),),
        tool_choice=said.ToolChoice("named", "f"),
        parallel_calls=False,
        format=said.Format("schema", "n", Raw(b'{"type":"object"}')),
        thinking=said.Thinking(True, "low", None, True, "auto"),
        verbosity="high",
        sampling=said.Sampling(
            temperature=0.5,
            top_k=3,
            stop=("end",),
            logit_bias={"5": -1.0},
            logprobs=True,
            top_logprobs=2,
        ),
        output_modalities=("text", "image"),
        cache=said.Cache("5m"),
        cache_key="k",
    )
    tools = [{"type": "function", "function": {"name": "f"}}]
    forced = spoken(HI, tools=tools, tool_choice="required")
    assert forced.tool_choice == said.ToolChoice("required")
    alone = spoken(HI, tool_choice="required", parallel_tool_calls=True)
    assert (alone.tool_choice, alone.parallel_calls, set(alone.extras)) == (
        None,
        None,
        {"tool_choice"},
    )
    assert spoken(HI, response_format={"type": "json_object"}).format == said.Format("json")
    assert spoken(HI, response_format={"type": "text"}).format is None
    assert spoken(HI, reasoning_effort="none").thinking == said.Thinking(False)


def test_what_has_no_place_is_an_extra_by_its_own_name() -> None:
    found = spoken(
        [
            {"role": "system", "content": "x", "configuration_update": {"a": 1}},
            *HI,
            {"role": "assistant", "content": "x", "audio": {"id": "a1"}},
        ],
        tools=[
            {"type": "web_search"},
            {"type": "function", "function": {"name": "f"}, "defer_loading": True},
        ],
        tool_choice={"type": "web_search"},
        response_format={"type": "grammar", "grammar": "g"},
        metadata={"a": "b"},
        prediction={"type": "content"},
    )
    assert set(found.extras) == {
        "messages.configuration_update",
        "messages.audio",
        "tools.web_search",
        "tools.defer_loading",
        "tool_choice",
        "response_format",
        "metadata",
        "prediction",
    }
    assert (found.tool_choice, found.format) == (None, None)


def test_a_legacy_prompt_is_one_turn() -> None:
    request = parse_completion(b'{"model":"a","prompt":"once","logprobs":2,"top_p":0.5}', {}, "")
    assert conversation(request) == Conversation(
        turns=(said.Turn("user", (said.Text("once"),)),), sampling=said.Sampling(top_p=0.5)
    )
