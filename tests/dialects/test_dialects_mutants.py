"""R4, streams: bugs planted in the source, one at a time, are each caught by a named check.

A mutant is a copy of one module with one string replaced, imported into a fresh copy of the
package's dialects. The unchanged source must pass every check.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dialect_support import BILL, HEAD, WHOLE, attempt, chunk, read_chunks, run, said, wire

import tollway.dialects

ROOM = "tollway.dialects"
FOLDER = Path(tollway.dialects.__file__).parent
USAGE = {"prompt_tokens": 5, "completion_tokens": 7}
END = (chunk(finish="stop"), {"choices": [], "usage": USAGE})


class _Source(importlib.abc.Loader):
    def __init__(self, text: str) -> None:
        self.text = text

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, module.__name__, "exec"), module.__dict__)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, _Source(self.text))


@contextmanager
def mutated(module: str, old: str, new: str) -> Iterator[ModuleType]:
    """openai_chat with `old` replaced by `new` in one of its modules."""
    text = (FOLDER / f"{module}.py").read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {module}.py"
    finder = _Finder(f"{ROOM}.{module}", text.replace(old, new))
    kept = {name: m for name, m in sys.modules.items() if name.startswith(ROOM + ".")}
    attributes = dict(vars(tollway.dialects))
    for name in kept:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module(f"{ROOM}.openai_chat")
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.startswith(ROOM + ".")]:
            del sys.modules[name]
        sys.modules.update(kept)
        vars(tollway.dialects).update(attributes)


# ---- the checks ----------------------------------------------------------------------------------


def whole_stream(chat: ModuleType) -> None:
    way = chat.relay(HEAD, "openai_chat")
    out = run(way, [wire(chunk({"content": "é"}), chunk({"content": "b"}), *END)])
    out += way.ending(BILL)
    chunks = read_chunks(out)
    assert said(chunks)[0]["content"] == "éb"
    assert said(chunks)[0]["finish"] == ["stop"]
    assert way.meter.text_bytes == 3
    assert {one["model"] for one in chunks} == {"acme/one"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 12
    assert (way.meter.usage.prompt_tokens, way.meter.usage.completion_tokens) == (5, 7)
    assert out.endswith(b"data: [DONE]\n\n")
    assert out.count(b"[DONE]") == 1


def cut_anywhere(chat: ModuleType) -> None:
    pretty = json.dumps(chunk({"content": "a"}), indent=1).replace("\n", "\ndata: ").encode()
    data = wire(pretty, chunk({"content": "b"}), *END)
    for stream in (data, data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r")):
        for i in range(len(stream)):
            way = chat.relay(HEAD, "openai_chat")
            out = run(way, [stream[:i], stream[i:]])
            assert way.meter.ended
            assert said(read_chunks(out))[0]["content"] == "ab"
    way = chat.relay(HEAD, "openai_chat")
    event = wire(chunk({"content": "a"}), done=False)
    assert way.feed(event[:-1]) == b""
    assert said(read_chunks(way.feed(event[-1:])))[0]["content"] == "a"


def broken_off(chat: ModuleType) -> None:
    for data in (wire(chunk({"content": "a"}), done=False), wire(), b"", wire(b"{")):
        way = chat.relay(HEAD, "openai_chat")
        run(way, [data])
        assert way.meter.fault is not None
        assert not way.meter.ended


def fault_is_final(chat: ModuleType) -> None:
    error = chunk({"content": ""}, error={"message": "Overloaded", "code": 503})
    way = chat.relay(HEAD, "openai_chat")
    out = way.feed(wire(chunk({"content": "a"}), error, chunk({"content": "b"}), *END))
    assert said(read_chunks(out))[0]["content"] == "a"
    assert way.meter.fault.error_type == "provider_overloaded"
    assert not way.meter.ended
    assert way.feed(wire(chunk({"content": "c"}))) == b""


def usual_chunks_are_read(chat: ModuleType) -> None:
    padded = [chunk({"content": "a"}, obfuscation="x" * n) for n in range(3)]
    error = chunk({"content": "b"}, error={"message": "boom"}, obfuscation="xxxxx")
    way = chat.relay(HEAD, "openai_chat")
    way.feed(wire(*padded, error, done=False))
    assert way.meter.fault is not None
    way = chat.relay(HEAD, "openai_chat")
    counted = [
        chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": n}) for n in (1, 7)
    ]
    run(way, [wire(chunk({"content": "z"}), *counted, END[0])])
    assert way.meter.usage.completion_tokens == 7
    bad = b'{"choices":[{"index":0,"delta":{"content":"a","x":"%b"},"finish_reason":null}]}'
    way = chat.relay(HEAD, "openai_chat")
    run(way, [wire(bad % b"", bad % b"", bad % b"\xff")])
    assert way.meter.fault is not None


def last_finish_wins(chat: ModuleType) -> None:
    way = chat.relay(HEAD, "openai_chat")
    ends = chunk({"content": "b"}, finish="stop"), chunk(finish="length")
    out = run(way, [wire(chunk({"content": "a"}), *ends)]) + way.ending(BILL)
    assert said(read_chunks(out))[0]["content"] == "ab"
    assert said(read_chunks(out))[0]["finish"] == ["length"]
    way = chat.relay(HEAD, "openai_chat")
    run(way, [wire(chunk({"content": "a"}), chunk(finish="network_error"))])
    assert way.meter.fault is not None


def commit_point(chat: ModuleType) -> None:
    way = chat.relay(HEAD, "openai_chat")
    way.feed(wire(chunk({"role": "assistant", "content": ""}), done=False))
    assert not way.meter.spoke
    way.feed(wire(chunk({"reasoning_content": "hm"}), done=False))
    assert way.meter.spoke
    assert way.meter.reasoning_bytes == 2


def reasoning_names(chat: ModuleType) -> None:
    deltas = [{"reasoning_content": "a"}, {"reasoning_content": "b"}, {"content": "c"}]
    way = chat.relay(HEAD, "openai_chat")
    out = run(way, [wire(*map(chunk, deltas), *END)])
    assert said(read_chunks(out))[0]["reasoning"] == "ab"
    assert b"reasoning_content" not in out
    asked = b'{"model":"a","messages":[{"role":"user","content":"x"}],"reasoning":{"exclude":true}}'
    way = chat.relay(HEAD, "openai_chat", (), chat.parse_request(asked))
    assert b"reasoning" not in run(way, [wire(*map(chunk, deltas), *END)])


def separators(chat: ModuleType) -> None:
    raw = json.dumps(chunk({"content": "a\u2028\u2029\u0085"}), ensure_ascii=False).encode()
    out = chat.relay(HEAD, "openai_chat").feed(wire(raw, done=False))
    assert not any(mark.encode() in out for mark in ("\u2028", "\u2029", "\u0085"))


def usage_is_bounded(chat: ModuleType) -> None:
    for bad in (-1, 10**12, True, 1.5, "7"):
        way = chat.relay(HEAD, "openai_chat")
        usage = {"prompt_tokens": 5, "completion_tokens": bad}
        run(way, [wire(chunk({"content": "a"}), chunk(finish="stop", usage=usage))])
        assert way.meter.usage is None, bad


def whole_body(chat: ModuleType) -> None:
    body = {
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "eos"}],
        "id": "up",
    }
    way = chat.relay(WHOLE, "openai_chat")
    run(way, [json.dumps({**body, "usage": USAGE}).encode()])
    decoded = json.loads(way.ending(BILL))
    assert decoded["id"] == "gen-1"
    assert decoded["choices"][0]["finish_reason"] == "stop"
    assert decoded["choices"][0]["native_finish_reason"] == "eos"
    empty = json.dumps({"choices": [], "usage": USAGE}).encode()
    for bad in (b"<html>", empty, b'{"error":{"message":"x"}}'):
        way = chat.relay(WHOLE, "openai_chat")
        run(way, [bad])
        assert way.meter.fault is not None


def limit_holds(chat: ModuleType) -> None:
    body = {
        "model": "a",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "max_completion_tokens": 9_000,
        "user": "alice",
        "provider": {"options": {"acme": {"max_completion_tokens": 9_000, "n": 5}}},
    }
    request = chat.parse_request(json.dumps(body).encode())
    sent = json.loads(chat.render_request(request, attempt(), 7).body)
    assert sent == {
        "model": "one-v1",
        "messages": body["messages"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 7,
    }
    other = chat.render_request(request, attempt(["max_tokens_field=max_tokens"]), 7).body
    assert {k: v for k, v in json.loads(other).items() if "tokens" in k} == {"max_tokens": 7}


CHECKS: dict[str, Callable[[ModuleType], None]] = {
    check.__name__: check
    for check in (
        whole_stream,
        cut_anywhere,
        broken_off,
        fault_is_final,
        usual_chunks_are_read,
        last_finish_wins,
        commit_point,
        reasoning_names,
        separators,
        usage_is_bounded,
        whole_body,
        limit_holds,
    )
}

MUTANTS: list[tuple[str, str, str, str]] = [
    # module, what stands there, what a bug would make of it, the check that must notice
    ("sse", "self._after_cr and data[:1]", "False and data[:1]", "cut_anywhere"),
    ("sse", "or (data[0] == LF and pending[-1] == LF)", "", "cut_anywhere"),
    ("sse", "bytearray(blocks[-1])", "bytearray()", "cut_anywhere"),
    ("sse", 'data.find(b"\\xe2\\x80")', 'data.find(b"\\xe2\\x81")', "separators"),
    ("sse", "payload and LF not in payload and", "payload and", "cut_anywhere"),
    ("sse", 'replace(b"\\xc2\\x85"', 'replace(b"\\xc2\\x86"', "separators"),
    (
        "openai_chat_reading",
        "elif not self.finishes:\n            self._fail",
        "elif False:\n            self._fail",
        "broken_off",
    ),
    ("openai_chat_reading", "if nothing and not self.meter.spoke:", "if False:", "broken_off"),
    (
        "openai_chat_reading",
        "if self.meter.ended or self.meter.fault is not None:\n            return []\n        if self._stray",
        "if self.meter.ended:\n            return []\n        if self._stray",
        "fault_is_final",
    ),
    ("openai_chat_reading", "or top.error or", "or", "usual_chunks_are_read"),
    (
        "openai_chat_reading",
        "if not (payload.isascii() or _is_utf8(payload)):",
        "if False:",
        "usual_chunks_are_read",
    ),
    ("openai_chat_reading", 'if reason == "error":', "if False:", "last_finish_wins"),
    (
        "openai_chat_reading",
        "self.finishes[choice.index] = reason, native",
        "self.finishes.setdefault(choice.index, (reason, native))",
        "last_finish_wins",
    ),
    (
        "openai_chat_reading",
        "        if usage is not None:\n            self.meter.usage = usage",
        "        if usage is not None and self.meter.usage is None:\n            self.meter.usage = usage",
        "usual_chunks_are_read",
    ),
    (
        "openai_chat_stream",
        "not self._hides and choice.finish_reason is None",
        "not self._hides",
        "last_finish_wins",
    ),
    (
        "openai_chat_stream",
        "meter.text_bytes += len(text) if text.isascii() else size(text)",
        "pass",
        "whole_stream",
    ),
    (
        "openai_chat_stream",
        "if meter.fault is not None or meter.ended:\n                break",
        "",
        "fault_is_final",
    ),
    ("openai_chat_stream", 'whole.pop("reasoning_content", None)', "pass", "reasoning_names"),
    (
        "openai_chat_stream",
        "not self._hides and choice.finish_reason is None",
        "choice.finish_reason is None",
        "reasoning_names",
    ),
    (
        "openai_chat_stream",
        'self._top([]), **self.at_end, "usage"',
        'self._top([]), **self.at_end, "cost"',
        "whole_stream",
    ),
    (
        "openai_chat_stream",
        'escape_separators(b"".join(out)) + DONE',
        'escape_separators(b"".join(out))',
        "whole_stream",
    ),
    (
        "openai_chat_answer",
        "    if delta.content:\n        meter.text_bytes",
        "    said = True\n    if delta.content:\n        meter.text_bytes",
        "commit_point",
    ),
    (
        "openai_chat_answer",
        "delta is None or choice.finish_reason is not None or",
        "delta is None or",
        "last_finish_wins",
    ),
    (
        "openai_chat_answer",
        '"network_error": "error"',
        '"network_error": "stop"',
        "last_finish_wins",
    ),
    ("openai_usage", "and 0 <= value <= TOKENS_MAX", "", "usage_is_bounded"),
    (
        "openai_usage",
        "    if isinstance(value, bool):\n        return None\n",
        "",
        "usage_is_bounded",
    ),
    ("openai_chat_body", "if found is None or not found[0]:", "if found is None:", "whole_body"),
    ("openai_chat_body", 'whole["finish_reason"] = reason', "pass", "whole_body"),
    (
        "openai_chat_render",
        '        "max_completion_tokens",\n        "stream_options",',
        '        "stream_options",',
        "limit_holds",
    ),
    (
        "openai_chat_render",
        "_limit_field(given)] = output_tokens_max",
        '_limit_field(given)] = given["max_completion_tokens"]',
        "limit_holds",
    ),
    ("openai_chat_render", '    "n",\n}', "}", "limit_holds"),
    ("openai_chat_render", '        "user",\n', "", "limit_holds"),
    (
        "faults",
        'if body.get("error"):\n        return',
        "if False:\n        return",
        "fault_is_final",
    ),
]


@pytest.mark.parametrize("name", CHECKS)
def test_the_unchanged_source_passes_every_check(name: str) -> None:
    CHECKS[name](importlib.import_module(f"{ROOM}.openai_chat"))


def test_r4_every_planted_bug_is_caught_by_its_check() -> None:
    missed = []
    for module, old, new, name in MUTANTS:
        with mutated(module, old, new) as chat:
            try:
                CHECKS[name](chat)
            except Exception:  # noqa: BLE001 - a bug may show as any exception
                continue
        missed.append(f"{module}: {old!r} -> {new!r} ({name})")
    print(f"R4: {len(MUTANTS) - len(missed)} of {len(MUTANTS)} planted stream bugs caught")
    assert not missed, "\n".join(missed)
