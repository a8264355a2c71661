"""Whether an answer may come from the cache, and under which key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.caching import Wanted, key_of, wanted
from tollway.dialects import dialect
from tollway.routing.entries import Policy

ON = {b"x-openrouter-cache": b"true"}


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    assert wanted({}) is None
    assert wanted({b"x-openrouter-cache-ttl": b"60"}) is None
    assert wanted({b"x-openrouter-cache": b"false"}) is None
    assert wanted({b"x-openrouter-cache": b"maybe"}) is None
    assert wanted(ON) == Wanted(300)
    assert wanted({b"x-openrouter-cache": b" TRUE "}) == Wanted(300)
    assert wanted({b"x-tollway-cache": b"true"}) == Wanted(300)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"60", 60),
        (b"600s", 600),
        (b" 42, 7", 42),
        (b"1", 1),
        (b"0", 1),
        (b"000120", 120),
        (b"86400", 86_400),
        (b"86401", 86_400),
        (b"9" * 5_000, 86_400),
        (b"12.9", 12),
        (b"-5", 300),
        (b"soon", 300),
        (b"", 300),
    ],
)
def test_the_leading_digits_are_the_ttl_within_its_bounds(said: bytes, seconds: int) -> None:
    assert wanted({**ON, b"x-openrouter-cache-ttl": said}) == Wanted(seconds)
    assert wanted({b"x-tollway-cache": b"true", b"x-tollway-cache-ttl": said}) == Wanted(seconds)


def test_a_fresh_answer_can_be_asked_for() -> None:
    assert wanted({**ON, b"x-openrouter-cache-clear": b"true"}) == Wanted(300, clear=True)
    assert wanted({**ON, b"x-tollway-cache-clear": b"true"}) == Wanted(300, clear=True)
    assert wanted({**ON, b"x-openrouter-cache-clear": b"false"}) == Wanted(300)


OFF = {b"x-openrouter-cache": b"false"}


@pytest.mark.parametrize(
    ("headers", "preset", "zdr", "on"),
    [
        ({}, None, False, False),
        ({}, True, False, True),
        ({}, False, False, False),
        (ON, None, False, True),
        (ON, True, False, True),
        (ON, False, False, False),
        (OFF, None, False, False),
        (OFF, True, False, False),
        (OFF, False, False, False),
        ({}, True, True, False),
        (ON, None, True, False),
        (ON, True, True, False),
    ],
)
def test_who_decides(headers: dict[bytes, bytes], preset: bool | None, zdr: bool, on: bool) -> None:
    """A preset's false beats everything, a header's false a preset's true, and a workspace that
    allows no retention keeps nothing."""
    assert (wanted(headers, preset, None, zdr) is not None) is on


def test_a_header_s_ttl_beats_a_preset_s_and_both_are_clamped() -> None:
    assert wanted({}, True, 900) == Wanted(900)
    assert wanted({}, True, 10**7) == Wanted(86_400)
    assert wanted({}, True, 0) == Wanted(1)
    assert wanted({b"x-openrouter-cache-ttl": b"5"}, True, 900) == Wanted(5)
    assert wanted({b"x-openrouter-cache-ttl": b"x"}, True, 900) == Wanted(900)


# ---- the key ---------------------------------------------------------------------------------------

BODY: dict[str, Any] = {
    "model": "acme/one",
    "messages": [{"role": "user", "content": "Say  two   spaces"}],
    "temperature": 0.50,
}
POLICY = Policy()


def key(
    body: bytes | dict[str, Any] = BODY,
    name: str = "openai_chat",
    path: str = "",
    key_id: str = "k1",
    policy: Policy = POLICY,
    heard: dict[str, str] | None = None,
) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = dialect(name).parse_request(raw, heard or {}, path)
    return key_of(request, raw, key_id=key_id, policy=policy, heard=heard or {})


def test_whitespace_between_tokens_does_not_matter_and_within_texts_it_does() -> None:
    plain = key()
    assert key(json.dumps(BODY, indent=4).encode()) == plain
    assert key(b"\r\n\t " + json.dumps(BODY, separators=(",", ":")).encode() + b"\n") == plain
    fewer = {**BODY, "messages": [{"role": "user", "content": "Say two spaces"}]}
    assert key(fewer) != plain


def test_the_order_of_properties_matters() -> None:
    assert key(dict(reversed(BODY.items()))) != key()


def test_how_a_number_is_written_matters() -> None:
    raw = json.dumps(BODY).encode()
    assert key(raw.replace(b"0.5", b"0.50")) != key(raw)


@pytest.mark.parametrize(
    "other",
    [
        {"key_id": "k2"},
        {"body": {**BODY, "model": "acme/two"}},
        {"body": {**BODY, "stream": True}},
        {"policy": Policy(ignore=("alpha",))},
        {"heard": {"anthropic-beta": "x"}},
    ],
)
def test_everything_that_could_change_the_answer_is_in_the_key(other: dict[str, Any]) -> None:
    assert key(**other) != key()


def test_the_session_and_an_equal_policy_are_not() -> None:
    assert key(heard={"x-session-id": "s"}) == key(policy=Policy())


def test_the_same_body_on_two_routes_has_two_keys() -> None:
    body = {"model": "acme/one", "max_tokens": 9, "messages": BODY["messages"]}
    assert key(body, "openai_chat") != key(body, "anthropic_messages")


def test_gemini_s_path_names_model_and_stream() -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    paths = [
        f"/v1beta/models/acme/{name}:{method}"
        for name in ("one", "two")
        for method in ("generateContent", "streamGenerateContent")
    ]
    assert len({key(body, "gemini", path) for path in paths}) == 4
