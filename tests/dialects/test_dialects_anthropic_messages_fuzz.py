"""R20 for Messages: whatever comes in, requests end in a Request or a CallerError and answers in
an end or a fault; nothing else is raised. And bugs planted in the source are caught."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import msgspec
import pytest
from anthropic_support import RICH_BLOCKS, begun, ended, named, read_named, text_block
from dialect_support import BILL, HEAD, WHOLE, attempt, run

import tollway.dialects
from tollway.dialects import anthropic_messages, conversation, openai_chat
from tollway.errors import CallerError

SEED = int(os.environ.get("TOLLWAY_TEST_SEED", "20261122"))
REQUESTS, ANSWERS = 6_000, 4_000

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 1e308, 2**70, "", "x", "🙂", "x" * 300, [], [[]], [1], ["a"],
    [None], {}, {"a": 1}, {"type": "text"}, {"type": "enabled"}, {"type": "tool", "name": "f"},
    [{"role": "user"}], [{"type": "text", "text": "x"}], {"type": "ephemeral"}, "tollway.v1.e30=",
]  # fmt: skip
BASE: dict[str, Any] = {
    "model": "a/b",
    "max_tokens": 4_000,
    "system": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "url", "url": "https://x.org"}},
                {"type": "document", "source": {"type": "content", "content": "x"}},
                {"type": "search_result", "source": "u", "title": "t", "content": [{"type": "text", "text": "x"}]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "tollway.v1.e30="},
                {"type": "text", "text": "x", "citations": [{"url": "u"}]},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124"}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 2_000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "stop_sequences": ["x"],
    "temperature": 0.5,
    "metadata": {"user_id": "u"},
    "stream": True,
    "provider": {"options": {"acme": {"x": 1}}},
}  # fmt: skip
ANSWER: dict[str, Any] = {
    **begun()["message"],
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "x", "citations": [{"url": "u"}]},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
    ],
    "stop_reason": "end_turn",
    "stop_details": {"explanation": "x"},
}


def bent(random: Random, value: Any, share: float = 0.04) -> Any:
    """The same with something here and there replaced, added or missing."""
    if random.random() < share:
        return random.choice(VALUES)
    if isinstance(value, dict):
        kept = {k: bent(random, v, share) for k, v in value.items() if random.random() > share / 2}
        if random.random() < share:
            kept[random.choice(["type", "x", "index", "error", "content"])] = random.choice(VALUES)
        return kept
    if isinstance(value, list):
        return [
            bent(random, v, share) for v in value for _ in range(random.choice([1] * 20 + [0, 2]))
        ]
    return value


def broken(random: Random, data: bytes) -> bytes:
    if random.random() < 0.2 and data:
        at = random.randrange(len(data))
        data = data[:at] + random.randbytes(random.randrange(3)) + data[at + random.randrange(4) :]
    return data


def test_any_request_is_served_or_refused() -> None:
    random, ends = Random(SEED), Counter[str]()
    attempts = [
        attempt(),
        attempt(efforts=("low",), no_sampling=True),
        attempt(thinking_budget={"min": 1_024}, dropped=("tools", "stop")),
    ]
    for n in range(REQUESTS):
        data = broken(
            random, json.dumps(bent(random, BASE, random.choice([0.002, 0.01, 0.03]))).encode()
        )
        try:
            request = anthropic_messages.parse_request(data)
            for one in attempts:
                for limit in (5, 50_000):
                    msgspec.json.decode(anthropic_messages.render_request(request, one, limit).body)
            msgspec.json.decode(openai_chat.render_request(request, attempts[0], 100).body)
            conversation(request)
            anthropic_messages.count_tokens(data)
            ends["served"] += 1
        except CallerError as error:
            ends[str(error.status)] += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED}, request {n}: {data!r}") from error
    assert ends["served"] > REQUESTS // 20 and ends["400"] > REQUESTS // 10, ends


def test_any_answer_ends_or_is_a_fault() -> None:
    random, ends = Random(SEED + 1), Counter[str]()
    stream = [begun(cache_read_input_tokens=5), {"type": "ping"}, *RICH_BLOCKS, *ended("tool_use")]
    for n in range(ANSWERS):
        streamed = n % 2 == 0
        if streamed:
            events = [e for e in (bent(random, one, 0.01) for one in stream) if isinstance(e, dict)]
            data = b"".join(
                b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events
            )
        else:
            data = json.dumps(bent(random, ANSWER, 0.02)).encode()
        data = broken(random, data)
        at = random.randrange(len(data) + 1)
        head = HEAD if streamed else WHOLE
        try:
            same = anthropic_messages.relay(head, "anthropic_messages")
            chat = openai_chat.relay(head, "anthropic_messages")
            for way in (same, chat):
                run(way, [data[:at], data[at:]])
                assert (way.meter.fault is None) == way.meter.ended
                if way.meter.fault is None:
                    way.ending(BILL)
                way.meter.usage_or_estimate(5)
            assert same.meter.ended == chat.meter.ended
            ends["ended" if same.meter.ended else "fault"] += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED + 1}, answer {n}: {data!r}, cut {at}") from error
    assert min(ends["ended"], ends["fault"]) > ANSWERS // 10, ends


# ---- planted bugs --------------------------------------------------------------------------------

FOLDER = Path(anthropic_messages.__file__).parent
ROOM = "tollway.dialects.anthropic_messages"


@contextmanager
def mutated(module: str, old: str, new: str) -> Iterator[ModuleType]:
    """The dialect with `old` replaced by `new` in one of its modules."""
    text = (FOLDER / f"{module}.py").read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module}.py"
    name = f"{ROOM}.{module}"
    kept = {n: m for n, m in sys.modules.items() if n == ROOM or n.startswith(ROOM + ".")}
    known = dict(tollway.dialects._modules)
    for one in kept:
        del sys.modules[one]
    finder = _Finder(name, text.replace(old, new))
    sys.meta_path.insert(0, finder)
    try:
        fresh = importlib.import_module(ROOM)
        tollway.dialects._modules["anthropic_messages"] = fresh
        yield fresh
    finally:
        sys.meta_path.remove(finder)
        for one in [n for n in sys.modules if n == ROOM or n.startswith(ROOM + ".")]:
            del sys.modules[one]
        sys.modules.update(kept)
        tollway.dialects._modules.clear()
        tollway.dialects._modules.update(known)
        tollway.dialects.anthropic_messages = kept[ROOM]


class _Finder:
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, module.__name__, "exec"), module.__dict__)


STREAM = named(
    begun(cache_read_input_tokens=100, cache_creation={"ephemeral_1h_input_tokens": 9}),
    *RICH_BLOCKS,
    *ended("tool_use", output_tokens_details={"thinking_tokens": 7}, input_tokens=None),
)


def passes_on(dialect: ModuleType) -> None:
    way = dialect.relay(HEAD, "anthropic_messages")
    out = run(way, [STREAM])
    assert b"message_delta" not in out
    events = read_named(out + way.ending(BILL))
    assert [e for e in events if e[0].startswith("content")] == [
        e for e in read_named(STREAM) if e[0].startswith("content")
    ]
    assert events[0][1]["message"]["id"] == "gen-1"
    assert events[-2][1]["usage"]["cost"] == 1.5e-6
    assert events[-1][0] == "message_stop"
    usage = way.meter.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_1h_tokens) == (119, 100, 9)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (20, 7)
    assert usage.cache_write_tokens == 0
    assert way.meter.text_bytes == len('sof{"a": 1}') and way.meter.reasoning_bytes == 2


def holds_back(dialect: ModuleType) -> None:
    way = dialect.relay(HEAD, "anthropic_messages")
    way.feed(named(begun(), *text_block(0)))
    assert not way.meter.spoke
    broke = dialect.relay(HEAD, "anthropic_messages")
    run(broke, [named(begun(), *text_block(0, "x"))])
    assert broke.meter.fault is not None
    counted = dialect.relay(HEAD, "anthropic_messages")
    counted.feed(named(begun(cache_read_input_tokens=90), *text_block(0, "x" * 40)))
    usage = counted.meter.usage_or_estimate(1)
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 10)


def translates(dialect: ModuleType) -> None:
    parser = dialect.parser(True)
    kinds = [type(e).__name__ for e in parser.feed(STREAM)]
    assert kinds == ["Reasoning", "Reasoning", "Text", "Text", "ToolCall", "ToolCall", "ToolCall", "Finish", "Used", "Ended"]  # fmt: skip
    assert parser.finish() == []


def asks(dialect: ModuleType) -> None:
    fields = {
        "model": "a/b", "max_tokens": 9_000, "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "enabled", "budget_tokens": 8_000}, "speed": "fast", "user": "u",
    }  # fmt: skip
    request = dialect.parse_request(json.dumps(fields).encode())
    sent = json.loads(dialect.render_request(request, attempt(), 5_000).body)
    assert sent["max_tokens"] == 5_000 and sent["thinking"]["budget_tokens"] == 4_999
    assert not sent.keys() & {"speed", "user"}


MUTANTS: list[tuple[str, str, str, Callable[[ModuleType], None]]] = [
    ("usage", "plain + read + written", "plain + written", passes_on),
    ("usage", "cache_write_tokens=written - hour", "cache_write_tokens=written", passes_on),
    ("usage", "if value is not None}}", "}}", passes_on),
    ("usage", '"cost": usd_from_nano(bill.charge_nano),', "", passes_on),
    ("answer", "delta.text or delta.partial_json", "delta.text", passes_on),
    ("answer", "size(delta.thinking)", "0", passes_on),
    ("relay", "self._last.update(_copied(payload))", "self._out.append(payload)", passes_on),
    ("relay", '"id": head.id, ', "", passes_on),
    ("relay", 'named("message_stop", stop)', 'b""', passes_on),
    ("answer", 'block.type not in ("text", "thinking")', "True", holds_back),
    ("reading", "elif meter.finish is None:", "elif meter.finish is None and False:", holds_back),
    ("reading", "or self.started is None:", "or True:", holds_back),
    ("events", "events.append(canon.Ended())", "pass", translates),
    ("events", "if self._closed_off:\n            return events", "pass", translates),
    ("events", "if delta.signature:", "if not delta.signature:", translates),
    ("render", '"speed",', "", asks),
    ("render", '        "user",\n', "", asks),
    ("render", 'draft.fields["max_tokens"] = output_tokens_max', "pass", asks),
    ("render", '"budget_tokens": most}', '"budget_tokens": most + 1}', asks),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "check"), MUTANTS)
def test_a_planted_bug_is_caught(
    module: str, old: str, new: str, check: Callable[[ModuleType], None]
) -> None:
    check(anthropic_messages)
    with mutated(module, old, new) as dialect, pytest.raises((AssertionError, KeyError, TypeError)):
        check(dialect)
