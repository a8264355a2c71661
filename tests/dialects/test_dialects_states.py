"""States: what another provider could not verify is left out and named; all else stays as it was."""

import json
from typing import Any

import pytest

from tollway.dialects import dialect
from tollway.dialects.states import LOST, without_state

SEALED = {"type": "reasoning", "id": "r1", "summary": [], "encrypted_content": "c2VjcmV0"}
OPEN = {"type": "reasoning", "id": "r2", "summary": [{"type": "summary_text", "text": "Hm"}]}
SAID = {"role": "user", "content": "Go on"}


def entry(form: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "format": form, "index": 0, **more}


OPENAI, CLAUDE = entry("openai-responses-v1", data="x"), entry("anthropic-claude-v1", data="y")
CALL = {"functionCall": {"name": "f", "args": {}}}

CASES: tuple[tuple[str, str, list[Any], list[Any]], ...] = (
    ("openai_responses", "input", [SEALED, OPEN, SAID], [OPEN, SAID]),
    (
        "openai_chat",
        "messages",
        [{"role": "assistant", "content": "A", "reasoning_details": [OPENAI, CLAUDE]}, SAID],
        [{"role": "assistant", "content": "A", "reasoning_details": [CLAUDE]}, SAID],
    ),
    (
        "gemini",
        "contents",
        [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "A", "thoughtSignature": "c2ln"},
                    {**CALL, "thoughtSignature": "c2ln"},
                ],
            },
        ],
        [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "A"},
                    {**CALL, "thoughtSignature": "skip_thought_signature_validator"},
                ],
            },
        ],
    ),
)


def parsed(name: str, field: str, said: list[Any]) -> Any:
    body = json.dumps({"model": "acme/one", field: said, "temperature": 0.5}).encode()
    if name == "gemini":
        body = json.dumps({field: said}).encode()
    return dialect(name).parse_request(body, {}, "/v1beta/models/acme/one:generateContent")


@pytest.mark.parametrize(("name", "field", "said", "left"), CASES, ids=[c[0] for c in CASES])
def test_state_is_left_out_and_named(name: str, field: str, said: list[Any], left: Any) -> None:
    asked = parsed(name, field, said)
    sent, lost = without_state(asked)
    assert json.loads(bytes(sent.fields[field])) == left
    assert lost == (LOST,)
    assert {**sent.fields, field: b""} == {**asked.fields, field: b""}
    assert without_state(sent) == (sent, ()), "once is enough"


@pytest.mark.parametrize(
    ("name", "field", "said"),
    [
        ("openai_chat", "messages", [SAID]),
        ("openai_chat", "messages", [{"role": "user", "content": "say encrypted_content"}]),
        (
            "openai_chat",
            "messages",
            [{"role": "assistant", "content": "A", "reasoning_details": [CLAUDE]}, SAID],
        ),
        ("openai_responses", "input", [OPEN, SAID]),
        ("gemini", "contents", [{"role": "user", "parts": [{"text": "thoughtSignature"}]}]),
    ],
)
def test_a_request_without_such_state_is_the_same_object(name: str, field: str, said: Any) -> None:
    asked = parsed(name, field, said)
    sent, lost = without_state(asked)
    assert sent is asked and lost == ()


def test_anthropics_signatures_are_good_on_every_platform_and_stay() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    body = {
        "model": "acme/one",
        "max_tokens": 9,
        "messages": [SAID, {"role": "assistant", "content": [thought]}, SAID],
    }
    asked = dialect("anthropic_messages").parse_request(json.dumps(body).encode())
    assert without_state(asked) == (asked, ())
