"""Compression through the caller's dialects: what is kept, what is cut, and that it fits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from anthropic.types import MessageParam
from google.genai import types as gemini
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputParam
from plugins_support import (
    DIALECTS,
    FIELD,
    MODEL,
    OFF,
    ON,
    Exchange,
    entries,
    fit,
    parsed,
    pipeline,
    spoken,
    text,
    window,
)
from pydantic import TypeAdapter

from tollway.canon import Fault
from tollway.plugins.compression import MESSAGES_MAX, SMALL_TOKENS, halved
from tollway.plugins.threads import CUT_LEAST, cut, text_size

OFFICIAL: dict[str, TypeAdapter[Any]] = {
    "openai_chat": TypeAdapter(list[ChatCompletionMessageParam]),
    "openai_responses": TypeAdapter(ResponseInputParam),
    "anthropic_messages": TypeAdapter(list[MessageParam]),
    "gemini": TypeAdapter(list[gemini.Content]),
}
"""The types of the official packages: what they take, their APIs take."""

long = pytest.mark.parametrize("name", DIALECTS)


def some(count: int, asked: int = 400, **more: Any) -> list[Exchange]:
    return [Exchange(asked, answered=400, **more) for _ in range(count)]


def names(value: Any) -> list[str]:
    """Of the texts that are there, by their beginnings."""
    return re.findall(
        r"\b([qar]\d+(?:\.\d+)?):", re.sub(r":[qar]\d+(\.\d+)?", "", json.dumps(value))
    )


def ids(value: Any, *keys: str) -> list[str]:
    dumped = json.dumps(value)
    return [found for key in keys for found in re.findall(rf'"{key}": "(c[\d.]+)"', dumped)]


# ---- properties ----------------------------------------------------------------------------------

sizes = st.integers(30, 9_000)
exchanges = st.builds(
    Exchange,
    asked=sizes,
    results=st.lists(sizes, max_size=5).map(tuple),
    answered=st.sampled_from([0, 40, 300]),
    thinks=st.booleans(),
)


@long
@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(exchanges, min_size=1, max_size=9),
    tokens=st.integers(2_500, 9_000),
    escapes=st.booleans(),
)
def test_what_was_compressed_fits_and_keeps_its_ends_pairs_and_reasoning(
    name: str, said: list[Exchange], tokens: int, escapes: bool
) -> None:
    fields = spoken(name, said)
    request = parsed(name, {**fields, **ON}, escapes=escapes)
    shorter, made = fit(request, window(tokens))
    assert made.attempts, "whatever it was, it can be made to fit"
    if request.prompt_tokens_likely < tokens:
        assert shorter is request and made.pipeline == ()
        return
    assert shorter.prompt_tokens_likely < tokens
    assert made.attempts[0].fixed_pico < 4 * tokens * 10**6, "held for what is sent"
    before, after = entries(name, request), entries(name, shorter)
    OFFICIAL[name].validate_python(after)
    # The rest of the request is the caller's, byte for byte.
    beside = {k: bytes(v) for k, v in request.fields.items() if k != FIELD[name]}
    assert beside == {k: bytes(v) for k, v in shorter.fields.items() if k != FIELD[name]}
    # Ends: the first question (where there is room for it) and the last one, in the old order.
    kept, all_names = names(after), names(before)
    assert kept == [n for n in all_names if n in kept]
    assert f"q{len(said) - 1}" in kept
    # Calls and results in pairs, each once.
    calls = ids(after, "call_id", "id", "tool_use_id", "tool_call_id")
    assert all(calls.count(each) == 2 for each in calls)
    # What is not cut is as it was; what is cut kept both its ends; reasoning is never cut.
    for entry in after:
        if entry in before:
            continue
        assert "left out …]" in json.dumps(entry, ensure_ascii=False)
        assert "signature" not in json.dumps(entry) and "encrypted_content" not in entry
        for each in names(entry):
            assert f":{each}" in json.dumps(entry)
    data = pipeline(made)["data"]
    assert (data["messages_before"], data["messages_after"]) == (len(before), len(after))
    assert data["messages_shortened"] == sum(entry not in before for entry in after)
    assert data["tokens_after"] == shorter.prompt_tokens_likely < data["tokens_before"]


@long
def test_the_middle_goes_and_both_ends_stay(name: str) -> None:
    request = parsed(name, {**spoken(name, some(40)), **ON})
    shorter, made = fit(request, window(4_000))
    kept = [int(n[1:]) for n in names(entries(name, shorter)) if n[0] == "q"]
    first = sum(n < 20 for n in kept)
    last = len(kept) - first
    assert kept == [*range(first), *range(40 - last, 40)]
    assert abs(first - last) <= 1 and 8 < len(kept) < 20
    assert pipeline(made)["summary"].startswith(f"Kept {len(entries(name, shorter))} of ")


@long
def test_one_question_that_is_too_long_loses_its_own_middle(name: str) -> None:
    request = parsed(name, {**spoken(name, [Exchange(60_000)]), **ON})
    shorter, _ = fit(request, window(4_000))
    (said,) = [entry for entry in entries(name, shorter) if entry.get("role") != "system"]
    whole = json.dumps(said, ensure_ascii=False)
    assert "q0:wörd" in whole and "wörd :q0" in whole
    left_out = int(re.search(r"… ([\d,]+) characters", whole)[1].replace(",", ""))  # type: ignore[index]
    assert left_out + len(re.sub(r"\\n\[…[^]]*\]\\n", "", text_of(said))) == len(text("q0", 60_000))


def text_of(said: dict[str, Any]) -> str:
    value = said.get("content") or said["parts"][0]["text"]
    return json.dumps(value, ensure_ascii=False)[1:-1]


@long
def test_a_loop_of_tools_without_reasoning_loses_middle_steps_and_no_half_of_one(name: str) -> None:
    request = parsed(name, {**spoken(name, [Exchange(100, results=(600,) * 60)]), **ON})
    shorter, _ = fit(request, window(4_000))
    kept = names(entries(name, shorter))
    assert kept[0] == "q0" and kept[1] == "r0.0" and kept[-1] == "r0.59" and len(kept) < 25
    assert "left out" not in json.dumps(entries(name, shorter)[2])


@long
def test_a_loop_with_reasoning_keeps_every_step_and_loses_the_middles_of_results(name: str) -> None:
    request = parsed(
        name, {**spoken(name, [Exchange(100, results=(2_000,) * 20, thinks=True)]), **ON}
    )
    shorter, _ = fit(request, window(8_000))
    before, after = entries(name, request), entries(name, shorter)
    assert names(after) == names(before) and len(after) == len(before)
    thoughts = [e for e in before if re.search("ignature|encrypted", json.dumps(e))]
    assert len(thoughts) == 20 and all(thought in after for thought in thoughts)


def test_legacy_completions_and_a_plain_input_lose_the_middle_of_the_prompt() -> None:
    long_prompt = text("q0", 60_000)
    for name, field in (("openai_completions", "prompt"), ("openai_responses", "input")):
        shorter, _ = fit(parsed(name, {field: long_prompt, **ON}), window(4_000))
        said = json.loads(bytes(shorter.fields["messages" if field == "prompt" else "input"]))
        plain = said if isinstance(said, str) else said[0]["content"]
        assert plain.startswith("q0:") and plain.endswith(":q0") and len(plain) < 14_000
        assert shorter.dialect == name


def test_a_prefill_and_a_system_message_are_never_cut() -> None:
    said = spoken("openai_chat", [Exchange(60_000, answered=900)], system=2_000)
    request = parsed("openai_chat", {**said, **ON})
    shorter, _ = fit(request, window(3_000))
    before, after = entries("openai_chat", request), entries("openai_chat", shorter)
    assert (after[0], after[-1]) == (before[0], before[-1]) and after[1] != before[1]


def test_inline_media_count_as_tokens_and_go_with_their_exchange() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    looks = [
        {"role": "user", "content": [{"type": "text", "text": f"q{n}:"}, picture]} for n in range(9)
    ]
    request = parsed("openai_chat", {"messages": looks, **ON})
    assert request.media_tokens == 9 * 1_600
    shorter, made = fit(request, window(10_000, input_modalities=("text", "image")))
    assert made.attempts and names(entries("openai_chat", shorter)) == ["q0", "q1", "q7", "q8"]
    assert (shorter.images, shorter.media_tokens) == (4, 6_400)


def test_ids_that_are_used_again_do_not_glue_the_whole_history_together() -> None:
    step = [
        {"role": "user", "content": text("q1", 300)},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": text("r1", 300)},
    ]
    shorter, _ = fit(parsed("openai_chat", {"messages": step * 50, **ON}), window(3_000))
    after = entries("openai_chat", shorter)
    assert [e["role"] for e in after] == ["user", "assistant", "tool"] * (len(after) // 3)


# ---- when it is done -----------------------------------------------------------------------------


def test_small_windows_compress_unasked_and_larger_ones_when_asked() -> None:
    fields = spoken("openai_chat", some(100))
    plain, asked = parsed("openai_chat", fields), parsed("openai_chat", {**fields, **ON})
    assert fit(plain, window(SMALL_TOKENS))[1].attempts
    assert not fit(plain, window(SMALL_TOKENS + 1))[1].attempts
    assert fit(asked, window(SMALL_TOKENS + 1))[1].attempts
    off = parsed("openai_chat", {**fields, **OFF})
    refused, made = fit(off, window(SMALL_TOKENS))
    assert refused is off and not made.attempts and made.pipeline == ()


def test_the_old_field_says_the_same() -> None:
    fields = spoken("openai_chat", some(100))
    on = parsed("openai_chat", {**fields, "transforms": ["middle-out"]})
    assert fit(on, window(12_000))[1].attempts
    off = parsed("openai_chat", {**fields, "transforms": []})
    assert not fit(off, window(4_000))[1].attempts


def test_a_prompt_that_fits_one_endpoint_is_not_touched_for_another() -> None:
    request = parsed("openai_chat", {**spoken("openai_chat", some(100)), **ON})
    same, made = fit(request, window(8_000, "small"), window(64_000, "large"))
    assert same is request and [a.endpoint.tag for a in made.attempts] == ["large"]


def test_a_model_with_half_of_what_is_needed_is_aimed_at_else_the_largest() -> None:
    fields = {**spoken("openai_chat", some(100)), **ON, "models": ["acme/two", "acme/three"]}
    request = parsed("openai_chat", fields)
    needed = request.prompt_tokens_likely
    first = window(needed // 2 - 500)
    second = window(needed // 2 + 500, of="acme/two")
    third = window(needed - 100, of="acme/three")
    _, made = fit(request, first, second, third)
    assert pipeline(made)["data"]["context_length"] == needed // 2 + 500
    _, made = fit(
        request, window(3_000), window(4_000, of="acme/two"), window(2_000, of="acme/three")
    )
    assert pipeline(made)["data"]["context_length"] == 4_000


def test_models_that_only_make_images_are_given_the_prompt_whole_or_not_at_all() -> None:
    request = parsed("openai_chat", {**spoken("openai_chat", some(100)), **ON})
    draws = window(4_000, output_modalities=("image",))
    assert not fit(request, draws)[1].attempts
    both = window(4_000, output_modalities=("image", "text"))
    assert fit(request, both)[1].attempts


def test_room_is_left_for_the_answer_that_was_asked_for() -> None:
    fields = {**spoken("openai_chat", some(100)), **ON, "max_tokens": 3_000}
    shorter, _ = fit(parsed("openai_chat", fields), window(8_000))
    assert shorter.prompt_tokens_likely <= (8_000 - 3_000) * 9 // 10


def test_a_model_with_a_limit_of_messages_keeps_half_from_each_end() -> None:
    claude = "anthropic/claude-x"
    most = MESSAGES_MAX["anthropic"]
    fields = {**spoken("openai_chat", some(700, 40)), "model": claude}
    offer = window(10**6, of=claude)
    asked = parsed("openai_chat", {**fields, **ON})
    shorter, made = fit(asked, offer)
    after = entries("openai_chat", shorter)
    assert most - 2 < len(after) <= most and made.attempts
    questions = [int(n[1:]) for n in names(after) if n[0] == "q"]
    assert questions == [*range(250), *range(700 - (len(questions) - 250), 700)]
    plain = parsed("openai_chat", fields)
    assert fit(plain, offer)[0] is plain, "only when asked"
    other = parsed("openai_chat", {**fields, **ON, "model": MODEL})
    assert fit(other, window(10**6))[0] is other, "only where there is a limit"


def test_what_cannot_be_made_to_fit_is_refused_as_it_came() -> None:
    fields = spoken("openai_chat", [Exchange(100)], system=60_000)
    request = parsed("openai_chat", {**fields, **ON})
    same, made = fit(request, window(4_000))
    assert same is request and {d.reason for d in made.drops} == {"context_length"}


def test_a_thousand_ways_to_be_odd_are_refused_or_fitted_and_never_a_crash() -> None:
    odd: list[tuple[str, dict[str, Any]]] = [
        ("openai_chat", {"messages": [{"role": "system", "content": "x" * 60_000}]}),
        ("openai_chat", {"messages": [{"role": "tool", "tool_call_id": "z", "content": "x" * 60_000}]}),
        ("openai_chat", {"messages": [{"role": "assistant", "content": "x" * 60_000}]}),
        ("openai_chat", {"messages": [{"role": "user", "content": "\\u0000\\n" * 20_000}]}),
        ("openai_chat", {"messages": [{"role": "user", "content": "😀" * 20_000}]}),
        ("openai_chat", {"messages": [{"role": "user", "content": ""}] * 30_000}),
        ("openai_responses", {"input": [{"type": "compaction", "encrypted_content": "x" * 60_000}]}),
        ("openai_responses", {"input": [{"type": "web_search_call", "id": "w"}] * 3_000}),
        ("anthropic_messages", {"messages": [{"role": "system", "content": "x" * 60_000}]}),
        ("gemini", {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"a": "x" * 60_000}}}]}]}),
        ("gemini", {"contents": [{"role": "model", "parts": [{"text": "x" * 60_000, "thought": True}]}]}),
    ]  # fmt: skip
    fits = []
    for name, fields in odd:
        shorter, made = fit(parsed(name, {**fields, **ON}), window(4_000))
        assert not made.attempts or shorter.prompt_tokens_likely < 4_000
        fits.append(bool(made.attempts))
    assert fits == [False, True, False, True, True, True, False, False, False, True, False]


def test_a_cut_is_never_longer_than_it_may_be() -> None:
    for sample in ("x" * 5_000, '"\\\n' * 2_000, "\x01" * 3_000, "😀é" * 2_000, "a" * 161, _QUOTED):
        for most in (CUT_LEAST, 161, 200, 777, 4_999):
            assert text_size(cut(sample, most)) <= max(most, 0) or text_size(sample) <= most


_QUOTED = '"' * 1_000 + "a" * 4_000 + '"' * 1_000
"""Its ends weigh twice what its middle does."""


def test_an_answer_beside_reasoning_or_with_citations_is_never_cut() -> None:
    for name in DIALECTS:
        said = [Exchange(20_000, answered=6_000, thinks=True)]
        request = parsed(name, {**spoken(name, [*said, Exchange(100)]), **ON})
        shorter, made = fit(request, window(3_000))
        before, after = entries(name, request), entries(name, shorter)
        answer = next(entry for entry in before if "a0:" in json.dumps(entry))
        assert made.attempts and answer in after
        assert sum(entry not in before for entry in after) == 1
    block = {"type": "text", "text": "c" * 9_000, "citations": [{"type": "char_location"}]}
    said_so: list[dict[str, Any]] = [
        {"role": "user", "content": "u" * 20_000},
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": "and?"},
    ]
    fields = {"messages": said_so, "max_tokens": 50, **ON}
    shorter, _ = fit(parsed("anthropic_messages", fields), window(4_000))
    after = entries("anthropic_messages", shorter)
    assert after[1] == said_so[1] and len(after[0]["content"]) < 6_000


# ---- what a provider refused ---------------------------------------------------------------------

TOO_LONG = Fault(400, "context_length_exceeded", "too long", retry="larger")


@long
def test_what_was_refused_as_too_long_is_halved_and_says_so(name: str) -> None:
    fields = spoken(name, [Exchange(2_000, results=(900,), answered=400) for _ in range(8)])
    request, made = fit(parsed(name, {**fields, **ON}), window(60_000))
    assert made.pipeline == ()
    again = halved(request, made, 0, TOO_LONG)
    assert again is not None
    shorter, told = again
    assert 0.35 < shorter.prompt_tokens_likely / request.prompt_tokens_likely <= 0.5
    after = entries(name, shorter)
    OFFICIAL[name].validate_python(after)
    assert {"q0", "q7"} <= set(names(after)) < set(names(entries(name, request)))
    entry = pipeline(told)
    assert entry["summary"].endswith(", since Alpha refused it as too long.")
    assert entry["data"]["tokens_before"] == request.prompt_tokens_likely
    assert entry["data"]["tokens_after"] == shorter.prompt_tokens_likely
    assert entry["data"]["context_length"] == 60_000
    assert (told.attempts, told.wanted_nano) == (made.attempts, made.wanted_nano)


@pytest.mark.parametrize("asked", [{}, OFF, {"transforms": []}])
def test_what_was_refused_is_halved_for_who_asked_for_it_only(asked: dict[str, Any]) -> None:
    fields = spoken("openai_chat", some(8))
    request, made = fit(parsed("openai_chat", {**fields, **asked}), window(SMALL_TOKENS))
    assert made.attempts
    assert halved(request, made, 0, TOO_LONG) is None


def test_another_fault_or_what_cannot_be_left_out_halves_nothing() -> None:
    fields = spoken("openai_chat", some(8))
    request, made = fit(parsed("openai_chat", {**fields, **ON}), window(60_000))
    wrong = Fault(400, "invalid_request", "no", retry="never")
    assert halved(request, made, 0, wrong) is None
    fields = spoken("openai_chat", some(1), system=9_000)
    request, made = fit(parsed("openai_chat", {**fields, **ON}), window(60_000))
    assert halved(request, made, 0, TOO_LONG) is None
    fields = spoken("openai_chat", some(8))
    drawn = window(60_000, output_modalities=("image",))
    request, made = fit(parsed("openai_chat", {**fields, **ON}), drawn)
    assert made.attempts
    assert halved(request, made, 0, TOO_LONG) is None
