"""Every dialect a client may speak against every dialect a provider may speak.

The cells come from the registry: a new dialect is in the matrix by being there. What a cell cannot
carry must be named by the dialect itself (`Outbound.dropped`); docs/dialects.md lists these names
and is compared with what is found here; with WRITE_DOCS=1 in the environment it is written.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from matrix_support import (
    ANSWERS,
    CELLS,
    CLIENT,
    INBOUND,
    LIMIT,
    OUTBOUND,
    THINKER,
    WRITERS,
    as_said,
    head,
    parsed,
    read,
    relayed,
    wire,
)

from support.conversations import (
    FORMATS,
    Maker,
    answer,
    asking,
    conversations,
    differences,
    inlined,
    kit,
    meaning,
    not_found,
    thinking,
    told,
    unexplained,
)
from support.wires import WIRES
from tollway import canon, dialects, errors
from tollway.catalogue.load import load
from tollway.conversation import Conversation
from tollway.dialects import dialect
from tollway.routing.offers import KINDS

SEED = 20_261_122
COUNT = 40
"""Conversations a cell; each prints its own seed when it fails."""

DOC = Path(__file__).parents[2] / "docs" / "dialects.md"


# ---- requests ------------------------------------------------------------------------------------


class Passed(NamedTuple):
    """One conversation through one cell."""

    seed: int
    dropped: tuple[str, ...]
    lost: dict[str, str]
    """What is missing at the other end, and is not spoken of by `dropped`."""


def _through(given: str, target: str, seed: int, spoken: Conversation) -> Passed:
    request = as_said(spoken, given)
    heard = dialects.conversation(request)
    out = dialect(target).render_request(request, THINKER, LIMIT)
    if target in INBOUND:
        lost = differences(heard, dialects.conversation(parsed(target, out)))
    else:
        lost = not_found(heard, json.dumps(json.loads(out.body), ensure_ascii=False))
    return Passed(seed, out.dropped, unexplained(lost, out.dropped))


BY_ADDRESS = "pictures by address (refused with 400)"


@cache
def _requests(given: str, target: str) -> tuple[Passed, ...]:
    format = FORMATS.get(target, FORMATS.get(given, "anthropic-claude-v1"))
    made: list[Passed] = []
    for seed, spoken in conversations(SEED, COUNT, format):
        try:
            made.append(_through(given, target, seed, spoken))
        except errors.CallerError:
            passed = _through(given, target, seed, inlined(spoken))
            made.append(passed._replace(dropped=(*passed.dropped, BY_ADDRESS)))
    return tuple(made)


@pytest.mark.parametrize(("given", "target"), CELLS)
def test_a_request_keeps_its_meaning_or_the_loss_is_named(given: str, target: str) -> None:
    for passed in _requests(given, target):
        assert passed.lost == {}, f"seed {passed.seed}, dropped {passed.dropped}"


@pytest.mark.parametrize("name", INBOUND)
def test_what_is_passed_on_unchanged_loses_nothing_a_client_of_that_dialect_says(name: str) -> None:
    """What a dialect cannot say itself is no loss of a cell; all else comes back."""
    for seed, spoken in conversations(SEED, COUNT, FORMATS.get(name, "anthropic-claude-v1")):
        with kit(spoken):
            out = dialect(name).render_request(asking(), CLIENT, LIMIT)
        found = differences(spoken, dialects.conversation(parsed(name, out)))
        assert unexplained(found, out.dropped) == {}, f"seed {seed}, dropped {out.dropped}"


@pytest.mark.parametrize(("given", "target"), [c for c in CELLS if c[1] in FORMATS])
def test_state_of_another_provider_is_left_out_and_named(given: str, target: str) -> None:
    if given == target:
        return  # nobody else made it
    foreign = next(f for f in ("google-gemini-v1", "openai-responses-v1") if f != FORMATS[target])
    seen = 0
    for seed, spoken in conversations(SEED, COUNT, foreign):
        request = as_said(inlined(spoken), given)
        states = [a[1] for a in meaning(dialects.conversation(request)) if a[0] == "signature"]
        out = dialect(target).render_request(request, THINKER, LIMIT)
        seen += len(states)
        assert not any(state.encode() in out.body for state in states), f"seed {seed}"
        named = any("reasoning" in name or "signature" in name for name in out.dropped)
        assert named or not states, f"seed {seed}, dropped {out.dropped}"
    assert seen or FORMATS.get(given) not in (None, foreign)


@pytest.mark.parametrize("target", OUTBOUND)
def test_several_answers_are_asked_for_or_the_want_is_named(target: str) -> None:
    body = {"model": "a/b", "n": 77, "messages": [{"role": "user", "content": "hi"}]}
    request = dialect("openai_chat").parse_request(json.dumps(body).encode())
    out = dialect(target).render_request(request, THINKER, LIMIT)
    assert (b":77" in out.body) is not ("n" in out.dropped)


# ---- answers -------------------------------------------------------------------------------------


class Answered(NamedTuple):
    seed: int
    stream: bool
    lost: dict[str, str]


def _answered(given: str, target: str, seed: int, stream: bool) -> Answered:
    events = answer(seed, FORMATS.get(target, FORMATS.get(given, "anthropic-claude-v1")))
    data = wire(target, events, stream)
    out = relayed(given, target, data, stream, 97)
    assert out == relayed(given, target, data, stream, len(data)), f"seed {seed}: cutting matters"
    before, after = told(read(target, data, stream)), told(read(given, out, stream))
    for kind in ("text", "reasoning", "finish"):
        assert before[kind] == told(events)[kind], f"seed {seed}: {target} was misread"
    if not before["signature"]:  # some wires want one: a made-up one takes nothing away
        after["signature"] = []
    lost = {k: f"{v!r} became {after[k]!r}" for k, v in before.items() if after[k] != v}
    return Answered(seed, stream, lost)


@cache
def _answers(given: str, target: str) -> tuple[Answered, ...]:
    streams = (True,) if target in WIRES else (True, False)
    return tuple(
        _answered(given, target, seed, stream)
        for seed in range(SEED, SEED + COUNT)
        for stream in streams
    )


def _may_lose(given: str, target: str) -> set[str]:
    """A client's own dialect may have no place for the opaque state of another provider, and
    Gemini's does not know that writing to a cache may be billed."""
    lost = {"cache write tokens"} if given == "gemini" else set()
    return lost if FORMATS.get(given) in (None, FORMATS.get(target)) else {"signature", *lost}


@pytest.mark.parametrize(("given", "target"), ANSWERS)
def test_an_answer_keeps_its_meaning(given: str, target: str) -> None:
    for answered in _answers(given, target):
        lost = {k: v for k, v in answered.lost.items() if k not in _may_lose(given, target)}
        assert lost == {}, f"seed {answered.seed}, stream {answered.stream}"


@pytest.mark.parametrize(("given", "target"), [c for c in ANSWERS if c[1] in WRITERS])
def test_every_byte_is_a_place_to_cut(given: str, target: str) -> None:
    for seed in range(SEED, SEED + 3):
        data = wire(target, answer(seed, FORMATS.get(target, "anthropic-claude-v1")), True)
        assert relayed(given, target, data, True, 1) == relayed(
            given, target, data, True, len(data)
        ), f"seed {seed}"


@pytest.mark.parametrize("name", INBOUND)
def test_a_failure_in_mid_stream_is_understood_as_one(name: str) -> None:
    events = [canon.Text("so far"), canon.Reasoning("hm")]
    fault = canon.Fault(502, "provider_unavailable", "gone")
    with kit(events=events):
        way = dialect(name).relay(head(True), "kit")
        out = way.feed(b"x") + way.failure(errors.broken_stream("Acme", fault))
    found = read(name, out, True)
    assert told(found)["text"] == "so far"
    assert [type(event) for event in found if isinstance(event, canon.Failed | canon.Ended)] == [
        canon.Failed
    ]
    assert found[-1].fault.retry == "elsewhere"  # type: ignore[union-attr]


# ---- a tool loop: the client sends back what it got ----------------------------------------------

Body = dict[str, Any]


def _echo_chat(body: Body, call: canon.ToolCall) -> Body:
    result = {"role": "tool", "tool_call_id": call.id, "content": "42"}
    asked = {"role": "user", "content": "go"}
    return {"model": "a/b", "messages": [asked, body["choices"][0]["message"], result]}


def _echo_anthropic(body: Body, call: canon.ToolCall) -> Body:
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": body["content"]},
        {"role": "user", "content": [result]},
    ]
    return {"model": "a/b", "max_tokens": 500, "messages": messages}


def _echo_responses(body: Body, call: canon.ToolCall) -> Body:
    result = {"type": "function_call_output", "call_id": call.id, "output": "42"}
    asked = {"type": "message", "role": "user", "content": "go"}
    return {"model": "a/b", "input": [asked, *body["output"], result]}


def _echo_gemini(body: Body, call: canon.ToolCall) -> Body:
    content = body["candidates"][0]["content"]
    answered = {"name": call.name, "id": call.id, "response": {"result": "42"}}
    contents = [
        {"role": "user", "parts": [{"text": "go"}]},
        content,
        {"role": "user", "parts": [{"functionResponse": answered}]},
    ]
    return {"contents": contents}


ECHOES = {
    "openai_chat": _echo_chat,
    "anthropic_messages": _echo_anthropic,
    "openai_responses": _echo_responses,
    "gemini": _echo_gemini,
}
LOOPS = [(g, t) for g, t in ANSWERS if g in ECHOES and t in FORMATS and t in WRITERS]


@pytest.mark.parametrize(("given", "target"), LOOPS)
def test_opaque_state_survives_a_tool_loop_byte_for_byte(given: str, target: str) -> None:
    """…to the provider that made it, whatever dialect the client in between speaks; a pair that
    loses it on the way out says so on the page."""
    make = Maker(SEED, FORMATS[target])
    call = make.call()
    events = [
        *thinking(make.thought(call.id)),
        canon.ToolCall(0, call.id, call.name, call.arguments),
        canon.Finish("tool_calls"),
        canon.Used(canon.Usage(10, 20)),
        canon.Ended(),
    ]
    body = json.loads(relayed(given, target, wire(target, events, False), False, 1_000))
    if "signature" in {kind for one in _answers(given, target) for kind in one.lost}:
        return
    back = json.dumps(ECHOES[given](body, canon.ToolCall(0, call.id, call.name))).encode()
    request = dialect(given).parse_request(back, {}, "/v1beta/models/a/b:generateContent")
    sent = dialect(target).render_request(request, THINKER, LIMIT)
    (state,) = told(events)["signature"]
    assert state.encode() in sent.body, f"dropped {sent.dropped}"
    assert call.id.encode() in sent.body


# ---- the page ------------------------------------------------------------------------------------

BEGIN, END = "<!-- matrix -->", "<!-- end of matrix -->"


def _cell(given: str, target: str) -> str:
    if given == target:
        return "bytes are passed on"
    names = sorted({name for passed in _requests(given, target) for name in passed.dropped})
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _back(given: str, target: str) -> str:
    if given == target:
        return "bytes are passed on"
    if (given, target) not in ANSWERS:
        return "–"
    names = sorted({kind for one in _answers(given, target) for kind in one.lost})
    return ", ".join(f"`{name}`" for name in names) or "nothing"


REASONS = {
    "fal_queue": "a queue of jobs that are polled, not a conversation",
    "openai_completions": "continues raw text: a conversation has no form there without the "
    "model's own template",
    "openai_decisions": "judgements with a schema of their own, not conversations",
    "systemone": "judgements with a schema of their own, not conversations",
    "watsonx": "wants a project and an exchange of IBM's tokens for every account",
}
"""Why a dialect of the catalogue is not spoken."""


def silent() -> dict[str, set[str]]:
    """Dialects of shipped chat, embedding and rerank endpoints that nobody here speaks, with the
    providers that cannot be called for it."""
    catalogue, found = load(), dict[str, set[str]]()
    for slug, endpoints in catalogue.endpoints.items():
        kind = catalogue.models[slug].type
        for endpoint in endpoints if kind in KINDS else ():
            name = dialects.for_kind(endpoint.dialect, KINDS[kind])
            if name not in dialects.OUTBOUND:
                found.setdefault(name, set()).add(catalogue.providers[endpoint.provider].name)
    return found


def page() -> str:
    """The generated part of the page."""
    missing = [
        f"| {name} | {', '.join(sorted(providers))} | {REASONS[name]} |"
        for name, providers in sorted(silent().items())
    ]
    rows = [
        "| client speaks | provider speaks | request loses | answer loses |",
        "|---|---|---|---|",
    ]
    rows += [f"| {g} | {t} | {_cell(g, t)} | {_back(g, t)} |" for g, t in CELLS]
    head_row = ["| dialect | providers | why |", "|---|---|---|"]
    rest = ["## Not spoken", "", *head_row, *missing] if missing else []
    return "\n".join([BEGIN, "", *rows, "", *rest, "", END])


def test_the_page_says_what_is_lost() -> None:
    text = DOC.read_text(encoding="utf-8")
    if "WRITE_DOCS" in os.environ:
        text = text.partition(BEGIN)[0] + page() + text.partition(END)[2]
        DOC.write_text(text, encoding="utf-8")
    assert page() in text, "run this test with WRITE_DOCS=1"
