"""How a provider can fail, before its first token and after it: tables of scripts for the tests.

`BEFORE` takes whether a stream was asked for; `AFTER` are streams. Faults that are injected on the
way to a healthy provider, by the fault proxy, are in `test_reliability_proxied.py`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from reliability_support import words

from support.upstream import (
    DONE,
    Break,
    Reply,
    Step,
    chat_body,
    chat_chunk,
    chat_events,
    chat_reply,
    error_reply,
    event,
)

JSON = (("content-type", "application/json"),)
HTML = (("content-type", "text/html"),)
SSE = (("content-type", "text/event-stream"),)
PAGE = b"<html><head><title>502</title></head><body>cloud says no</body></html>"
ROLE = chat_chunk({"role": "assistant", "content": ""})
OVERLOADED = {"error": {"message": "Overloaded", "type": "overloaded_error", "code": 529}}


def _raw(*steps: Step) -> Reply:
    return Reply(framing="raw", steps=steps)


def _status(status: int, *headers: tuple[str, str]) -> Callable[[bool], Reply]:
    return lambda stream: error_reply(status, headers=headers)


def _json200(body: bytes) -> Callable[[bool], Reply]:
    return lambda stream: Reply(200, JSON, [body], framing="length")


def _lie(stream: bool) -> Reply:
    if stream:
        return Reply(200, SSE, [ROLE, Break.CLOSE], framing="length", length=5_000)
    body = chat_body(words(4))
    return Reply(200, JSON, [body[:-40], Break.CLOSE], framing="length", length=len(body))


def _packed(stream: bool) -> Reply:
    body = b"".join(chat_events(words(3))) if stream else chat_body(words(3))
    head = SSE if stream else JSON
    return Reply(
        200, (*head, ("content-encoding", "gzip")), [gzip.compress(body)], framing="length"
    )


def _broken_json(stream: bool) -> Reply:
    text = b'data: {"id": "x", "choices": [{"index": 0, "delta"\n\n'
    return Reply(200, SSE if stream else JSON, [text])


def _finish_error(stream: bool) -> Reply:
    if stream:
        return Reply(steps=[ROLE, chat_chunk({}, finish="error"), DONE])
    return chat_reply("", finish="error")


def _error_first(stream: bool) -> Reply:
    if stream:
        return Reply(steps=[event(OVERLOADED), DONE])
    return Reply(200, JSON, [json.dumps(OVERLOADED).encode()], framing="length")


def _says_nothing(stream: bool) -> Reply:
    return Reply(200, SSE if stream else JSON, [DONE if stream else b'{"choices": []}'])


def _short(stream: bool) -> Reply:
    if stream:
        return Reply(
            200, SSE, [ROLE, *chat_events("lost"), 0.5], framing="length", length=len(ROLE)
        )
    body = chat_body(words(4))
    return Reply(200, JSON, [body], framing="length", length=len(body) - 30)


def _chunks(stream: bool, broken: bytes) -> Reply:
    kind = (SSE if stream else JSON)[0][1].encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    return _raw(head, broken, Break.CLOSE)


BEFORE: dict[str, Callable[[bool], Reply]] = {
    "reset before the head": lambda s: _raw(Break.RESET),
    "closed before the head": lambda s: _raw(Break.CLOSE),
    "half-closed before the head": lambda s: _raw(Break.HALF_CLOSE),
    "garbage for a head": lambda s: _raw(b"\x16\x03\x01\x00\xffTLS?\r\n\r\n", Break.CLOSE),
    "half a head": lambda s: _raw(b"HTTP/1.1 200 OK\r\ncontent-ty", Break.CLOSE),
    "an endless head": lambda s: _raw(
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"y" * 200_000, Break.STALL
    ),
    "no head in time": lambda s: _raw(Break.STALL),
    "no first token in time": lambda s: Reply(steps=[ROLE, Break.STALL]),
    "401": _status(401),
    "402": _status(402),
    "403": _status(403),
    "404": _status(404),
    "408": _status(408),
    "429 without Retry-After": _status(429),
    "429 with Retry-After": _status(429, ("retry-after", "30")),
    "500": _status(500),
    "502": _status(502),
    "503": _status(503),
    "504": _status(504),
    "520": _status(520),
    "524": _status(524),
    "529": _status(529),
    "500 whose body never ends": lambda s: Reply(500, JSON, [b'{"error": ', Break.STALL]),
    "HTML with 200": lambda s: Reply(200, HTML, [PAGE], framing="length"),
    "empty 200": lambda s: Reply(200, SSE if s else JSON, [], framing="length"),
    "204": lambda s: Reply(204, (), [], framing="eof"),
    "JSON error with 200": _json200(json.dumps(OVERLOADED).encode()),
    "JSON null with 200": _json200(b"null"),
    "error for a first event": _error_first,
    "bad JSON for a first event": _broken_json,
    "cut before the first token": lambda s: Reply(200, SSE if s else JSON, [ROLE, Break.CLOSE]),
    "finish error without tokens": _finish_error,
    "an end without a word": _says_nothing,
    "a content-length that lies": _lie,
    "302": lambda s: Reply(302, (("location", "http://127.0.0.1:9/v1"),), [], framing="length"),
    "another content type": lambda s: Reply(
        200, (("content-type", "image/png"),), [b"\x89PNG\r\n\x1a\n" * 9], framing="length"
    ),
    "gzip nobody asked for": _packed,
    "two gigabytes promised": lambda s: Reply(
        200, SSE if s else JSON, [b" " * 99, Break.CLOSE], framing="length", length=2**31
    ),
    "a continuation, then the end": lambda s: _raw(b"HTTP/1.1 100 Continue\r\n\r\n", Break.CLOSE),
    "early hints for ever": lambda s: _raw(
        *[b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 0.2] * 200
    ),
    "switching protocols": lambda s: _raw(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        Break.STALL,
    ),
    "HTTP/2 spoken": lambda s: _raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Break.CLOSE),
    "HTTP/0.9 spoken": lambda s: _raw(PAGE, Break.CLOSE),
    "a status that is none": lambda s: _raw(b"HTTP/1.1 2OO OK\r\n\r\n", Break.CLOSE),
    "status 999": lambda s: Reply(999, JSON, [b"{}"], framing="length"),
    "a thousand headers": lambda s: _raw(
        b"HTTP/1.1 200 OK\r\n" + b"x-filler: yyyyyyyyyy\r\n" * 20_000, Break.STALL
    ),
    "a head with a NUL": lambda s: _raw(
        b"HTTP/1.1 200 OK\r\nx-a: \x00\r\ncontent-length: 2\r\n\r\n{}", Break.CLOSE
    ),
    "a head that drips": lambda s: _raw(b"HTTP/1.1 200 OK\r\nx-drip: ", *[b"y", 0.2] * 200),
    "two lengths": lambda s: _raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", Break.CLOSE
    ),
    "a length below zero": lambda s: _raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}", Break.CLOSE
    ),
    "a length that is too short": lambda s: _short(s),
    "no chunk where one is due": lambda s: _chunks(s, b"zz\r\n"),
    "a chunk of sixteen exabytes": lambda s: _chunks(s, b"ffffffffffffffffff\r\n"),
    "a chunk without its end": lambda s: _chunks(s, b"2\r\n{}{}\r\n"),
    "a chunk that is cut": lambda s: _chunks(s, b"fff\r\n" + (ROLE if s else b'{"cho')),
    "comments for ever": lambda s: Reply(
        200, SSE if s else JSON, [b": wait\n\n" if s else b" ", 0.2] * 200
    ),
    "a role and comments for ever": lambda s: Reply(
        200, SSE if s else JSON, [ROLE if s else b" ", *[b": wait\n\n" if s else b" ", 0.2] * 200]
    ),
    "HTML in a stream": lambda s: Reply(200, SSE if s else JSON, [PAGE]),
    "HTML as events": lambda s: Reply(200, SSE if s else JSON, [b"data: " + PAGE + b"\n\n"]),
    "an event that is a number": lambda s: Reply(200, SSE if s else JSON, [b"data: 7\n\n"]),
    "an event that is a list": lambda s: Reply(200, SSE if s else JSON, [b"data: []\n\n"]),
    "an event with choices of null": lambda s: Reply(
        200, SSE if s else JSON, [b'data: {"choices": null}\n\n' if s else b'{"choices": null}']
    ),
    "an event with a choice of null": lambda s: Reply(
        200, SSE if s else JSON, [b'data: {"choices": [null]}\n\n' if s else b'{"choices": [null]}']
    ),
    "a delta that is a string": lambda s: Reply(
        200,
        SSE if s else JSON,
        [b'data: {"choices": [{"delta": "hi"}]}\n\n' if s else b'{"choices": [{"message": "hi"}]}'],
    ),
    "content that is a number": lambda s: Reply(
        200,
        SSE if s else JSON,
        [
            b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'
            if s
            else b'{"choices": [{"message": {"content": 7}}]}'
        ],
    ),
    "a byte that is no UTF-8": lambda s: Reply(
        200,
        SSE if s else JSON,
        [
            b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n'
            if s
            else b'{"choices": [{"message": {"content": "\xff"}}]}'
        ],
    ),
    "gzip without saying so": lambda s: Reply(
        200, SSE if s else JSON, [gzip.compress(b"".join(chat_events("no")))], framing="length"
    ),
    "an unknown coding": lambda s: Reply(
        200, (*SSE, ("content-encoding", "br")), [b"\x0b\x02\x80data\x03"], framing="length"
    ),
}

SILENT = (
    "no head in time",
    "no first token in time",
    "early hints for ever",
    "a head that drips",
    "comments for ever",
    "a role and comments for ever",
)
"""Faults of streams only: a whole answer may take all its time before the first byte."""

SENT = 8
"""Words a dying provider gets out."""


def _dying(*ends: Step) -> Reply:
    events = chat_events(words(SENT, 500), usage={})[: SENT + 1]
    return Reply(steps=[*events, 0.03, *ends])


AFTER: dict[str, Callable[[], Reply]] = {
    "reset": lambda: _dying(Break.RESET),
    "closed": lambda: _dying(Break.CLOSE),
    "half-closed": lambda: _dying(Break.HALF_CLOSE),
    "stall": lambda: _dying(Break.STALL),
    "the body ends": lambda: _dying(),
    "[DONE] in half an event": lambda: _dying(b"data: [DO", Break.CLOSE),
    "half an event": lambda: _dying(chat_chunk({"content": "cut off"})[:-30], Break.CLOSE),
    "an error event": lambda: _dying(event(OVERLOADED), DONE),
    "an error, then words": lambda: _dying(
        event(OVERLOADED), chat_chunk({"content": "spliced"}), DONE
    ),
    "words and an error in one write": lambda: _dying(
        chat_chunk({"content": "more "}) + event(OVERLOADED) + chat_chunk({"content": "spliced"})
    ),
    "finish error": lambda: _dying(chat_chunk({}, finish="error"), DONE),
    "bad JSON": lambda: _dying(b'data: {"choices": [{"in\n\n', DONE),
    "bad UTF-8": lambda: _dying(b'data: {"choices": "\xff\xfe"}\n\n', DONE),
    "HTML": lambda: _dying(b"data: " + PAGE + b"\n\n", DONE),
    "an event without end": lambda: _dying(*[b"data: " + b"x" * 2**20] * 20, Break.CLOSE),
    "broken framing": lambda: Reply(
        framing="raw",
        steps=[
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n",
            *[b"%x\r\n%b\r\n" % (len(e), e) for e in chat_events(words(SENT, 500))[: SENT + 1]],
            0.03,
            b"zz\r\nnot a chunk\r\n",
            Break.CLOSE,
        ],
    ),
}
