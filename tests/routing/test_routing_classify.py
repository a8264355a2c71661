"""What a request seems to be, what it needs, and that every dialect is read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.canon import Request
from tollway.dialects import dialect
from tollway.routing.classify import LONG_TOKENS, ORDER, last_model, needs_of, work_of

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.com/a.pdf"}}


def chat(text: Any = "Hello", *, system: str | None = None, **more: Any) -> Request:
    messages: list[Any] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    return parsed("openai_chat", {"model": "tollway/auto", "messages": messages, **more})


def parsed(name: str, body: dict[str, Any], path: str = "") -> Request:
    request: Request = dialect(name).parse_request(json.dumps(body).encode(), {}, path)
    return request


def task(request: Request) -> str:
    return work_of(request, needs_of(request)).task


SEEN = [
    ("Hello, how are you today?", "chat"),
    ("What is the capital of France?", "chat"),
    ("Tell me about your favourite city.", "chat"),
    ("Write a python function that reverses a list", "code"),
    ("Fix this:\n```js\nconst a = () => {\n```", "code"),
    ("Why do I get this?\nTraceback (most recent call last):\n  File 'x.py', line 3", "code"),
    ("def f(x):\n    return x + 1\n\nthis gives None", "code"),
    ("SELECT name FROM users; -> gives nothing, import fails", "code"),
    ("Please debug my TypeScript and refactor the class", "code"),
    ("这段代码有什么问题", "code"),
    ("Prove that the sum of two even numbers is even", "math"),
    ("Solve the equation 3x + 4 = 19", "math"),
    ("What is 17 * 23?", "math"),
    ("12 + 7 * 3 - 4 = ?", "math"),
    (r"Evaluate \int_0^1 x^2 dx", "math"),
    ("What is the derivative of a polynomial?", "math"),
    ("请证明这个方程", "math"),
    ("Analyse the tradeoffs and compare both plans step by step", "reasoning"),
    ("A riddle: deduce who owns the fish", "reasoning"),
    ("Extract all names and classify each by sentiment", "extraction"),
    ("Translate to German: I am hungry", "translation"),
    ("Übersetze das bitte ins Englische", "translation"),
    ("把这句话翻译成英文", "translation"),
    ("Что это значит по-русски? Переведи: I would like a cup of tea", "translation"),
    ("Summarize the text below", "summary"),
    ("tl;dr of this thread please", "summary"),
    ("请总结这篇文章", "summary"),
    ("Write a poem about rain", "writing"),
    ("Rewrite this email in a friendlier tone", "writing"),
    ("Write me a short story for children", "writing"),
]


@pytest.mark.parametrize(("text", "expected"), SEEN)
def test_words_and_marks_say_what_a_request_is(text: str, expected: str) -> None:
    assert task(chat(text)) == expected


SHAPED = [
    (chat(tools=[TOOL]), "agent"),
    (chat("Fix my python code please", tools=[TOOL]), "agent"),
    (chat(response_format=SCHEMA), "extraction"),
    (chat(response_format={"type": "json_object"}), "extraction"),
    (chat(response_format={"type": "text"}), "chat"),
    (chat(reasoning={"effort": "high"}), "reasoning"),
    (chat(reasoning={"effort": "none"}), "chat"),
    (chat([{"type": "text", "text": "Who is this?"}, IMAGE]), "media"),
    (chat([{"type": "text", "text": "Read this"}, PDF]), "document"),
    (chat("x " * (2 * LONG_TOKENS + 100)), "document"),
    (chat("Go on", system="You are a programming assistant for python and sql."), "code"),
    (chat("Go on", system="You translate whatever the user says."), "translation"),
    (chat("", system="You translate. Translate everything: translation."), "translation"),
]


@pytest.mark.parametrize(("request_", "expected"), SHAPED)
def test_fields_inputs_and_the_system_prompt_count_too(request_: Request, expected: str) -> None:
    assert task(request_) == expected


def test_tools_that_have_answered_outweigh_words() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Translate: debug my python code ```x```"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ]
    body = {"model": "tollway/auto", "messages": messages, "tools": [TOOL]}
    work = work_of(request := parsed("openai_chat", body), needs_of(request))
    assert (work.task, work.points["agent"]) == ("agent", 9)


ALIKE: list[tuple[str, dict[str, Any], str]] = [
    (
        "openai_responses",
        {"model": "tollway/auto", "input": "Summarize this", "instructions": "Use python code"},
        "",
    ),
    (
        "openai_responses",
        {
            "model": "tollway/auto",
            "instructions": "Use python code",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Summarize this"}]}
            ],
        },
        "",
    ),
    (
        "anthropic_messages",
        {
            "model": "tollway/auto",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "Use python code"}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Summarize this"}]}],
        },
        "",
    ),
    (
        "gemini",
        {
            "systemInstruction": {"parts": [{"text": "Use python code"}]},
            "contents": [{"role": "user", "parts": [{"text": "Summarize this"}]}],
        },
        "/v1beta/models/tollway/auto:generateContent",
    ),
    (
        "gemini",
        {
            "system_instruction": {"parts": {"text": "Use python code"}},
            "contents": [{"parts": [{"text": "Summarize this"}]}],
        },
        "/v1beta/models/tollway/auto:generateContent",
    ),
    (
        "openai_chat",
        {
            "model": "tollway/auto",
            "messages": [
                {"role": "developer", "content": "Use python code"},
                {"role": "user", "content": "Summarize this"},
            ],
        },
        "",
    ),
]


@pytest.mark.parametrize(("name", "body", "path"), ALIKE)
def test_every_dialect_is_read_alike(name: str, body: dict[str, Any], path: str) -> None:
    request = parsed(name, body, path)
    work = work_of(request, needs_of(request))
    assert (work.task, work.points, work.turns) == ("summary", {"summary": 2, "code": 1}, 1)


NEEDED: list[tuple[str, dict[str, Any], str]] = [
    (
        "openai_chat",
        {
            "model": "tollway/auto",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]}],
            "tools": [TOOL],
            "response_format": SCHEMA,
            "reasoning_effort": "low",
        },
        "",
    ),
    (
        "openai_responses",
        {
            "model": "tollway/auto",
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "https://example.com/c.png"}],
                }
            ],
            "tools": [{"type": "function", "name": "w", "parameters": {"type": "object"}}],
            "text": {"format": {"type": "json_schema", "name": "p", "schema": {}}},
            "reasoning": {"effort": "low"},
        },
        "",
    ),
    (
        "anthropic_messages",
        {
            "model": "tollway/auto",
            "max_tokens": 2048,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"name": "w", "input_schema": {"type": "object"}}],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "url", "url": "https://example.com/c.png"},
                        }
                    ],
                }
            ],
        },
        "",
    ),
    (
        "gemini",
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "x"},
                        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                    ],
                }
            ],
            "tools": [{"functionDeclarations": [{"name": "w"}]}],
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"type": "OBJECT"},
                "thinkingConfig": {"thinkingBudget": 1000},
            },
        },
        "/v1beta/models/tollway/auto:generateContent",
    ),
]


@pytest.mark.parametrize(("name", "body", "path"), NEEDED)
def test_the_same_needs_in_every_dialect(name: str, body: dict[str, Any], path: str) -> None:
    needs = needs_of(parsed(name, body, path))
    assert needs.inputs == {"text", "image"}
    assert needs.outputs == {"text"}
    assert needs.features == {"tools", "structured_outputs", "reasoning"}


DECLINED: list[tuple[str, dict[str, Any], str]] = [
    ("openai_chat", {"reasoning": {"enabled": False}}, ""),
    ("openai_chat", {"reasoning_effort": "none"}, ""),
    ("openai_chat", {"reasoning": {"effort": "none"}}, ""),
    (
        "gemini",
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        "/v1beta/models/tollway/auto:generateContent",
    ),
]


@pytest.mark.parametrize(("name", "fields", "path"), DECLINED)
def test_who_asks_for_no_reasoning_needs_none(name: str, fields: dict[str, Any], path: str) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}]} if name == "gemini" else {}
    if name == "openai_chat":
        body = {"model": "tollway/auto", "messages": [{"role": "user", "content": "x"}]}
    assert needs_of(parsed(name, {**body, **fields}, path)).features == frozenset()


def test_what_is_to_be_written_is_a_need() -> None:
    asked = chat(modalities=["text", "image"])
    assert needs_of(asked).outputs == {"text", "image"}
    gemini = parsed(
        "gemini",
        {
            "contents": [{"parts": [{"text": "draw"}]}],
            "generationConfig": {"responseModalities": ["IMAGE"]},
        },
        "/v1beta/models/tollway/auto:generateContent",
    )
    assert needs_of(gemini).outputs == {"text", "image"}


def test_only_the_last_words_of_the_user_count() -> None:
    messages = [
        {"role": "user", "content": "Translate to French: hello"},
        {"role": "assistant", "content": "bonjour ```code``` theorem"},
        {"role": "user", "content": "Thanks! And how are you?"},
    ]
    request = parsed("openai_chat", {"model": "tollway/auto", "messages": messages})
    work = work_of(request, needs_of(request))
    assert (work.task, work.turns) == ("chat", 2)


def test_tool_results_are_not_the_users_words() -> None:
    messages = [
        {"role": "user", "content": "Write a poem about rain"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "w", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "theorem"}],
        },
    ]
    body = {"model": "tollway/auto", "max_tokens": 9, "messages": messages}
    assert task(parsed("anthropic_messages", body)) == "writing"


def test_words_alone_never_outweigh_what_is_plainly_there() -> None:
    text = "poem essay haiku lyrics sonnet story email\n```js\nfoo(); x => y\n```"
    request = chat(text)
    work = work_of(request, needs_of(request))
    assert (work.task, work.points) == ("code", {"writing": 4, "code": 7})


def test_a_question_behind_a_long_text_is_seen() -> None:
    long = "lorem ipsum dolor " * 1_000
    assert task(chat(f"{long}\nTranslate the above to German")) == "translation"


SCRIPTS = [
    ("Hello", "latin"),
    ("Привет, как дела", "cyrillic"),
    ("こんにちは、元気ですか。天気", "kana"),
    ("你好吗", "han"),
    ("안녕하세요", "hangul"),
    ("مرحبا", "arabic"),
    ("1234", "latin"),
    ("😀", "none"),
    ("", "none"),
]


@pytest.mark.parametrize(("text", "script"), SCRIPTS)
def test_the_writing_system_is_named(text: str, script: str) -> None:
    request = chat(text)
    assert work_of(request, needs_of(request)).script == script


def test_what_cannot_be_read_is_chat() -> None:
    import msgspec

    for raw in (b"7", b"[7]", b'[{"role":"user","content":{"a":1}}]', b'"\\ud800"', b"["):
        request = Request("openai_chat", ("tollway/auto",), False, {"messages": msgspec.Raw(raw)})
        assert task(request) == "chat"
        assert last_model(request) is None


def test_the_model_of_the_last_answer_is_found_for_pinning() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "model": "acme/first"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "model": "acme/second"},
        {"role": "user", "content": "e"},
    ]
    body: dict[str, Any] = {"model": "tollway/auto", "messages": messages}
    assert last_model(parsed("openai_chat", body)) == "acme/second"
    del messages[3]["model"]
    assert last_model(parsed("openai_chat", body)) is None


def test_every_kind_of_work_is_met_above() -> None:
    met = {expected for _, expected in SEEN} | {expected for _, expected in SHAPED}
    assert met == set(ORDER)
