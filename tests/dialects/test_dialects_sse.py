"""dialects/sse.py"""

from __future__ import annotations

import time

import pytest
from dialect_support import read_sse

from tollway.dialects.sse import EventTooLarge, Framer, escape_separators, event


def frame(parts: list[bytes], **options: int) -> list[bytes]:
    framer = Framer(**options)
    return [p for part in parts for p in framer.feed(part)] + framer.finish()


CASES = {
    "lf": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\n", [b"a", b"b", b"c"]),
    "no space": (b"data:a\n\n", [b"a"]),
    "only one space is taken": (b"data:  a\n\n", [b" a"]),
    "several lines": (b"data: a\ndata: b\ndata:\ndata: c\n\n", [b"a\nb\n\nc"]),
    "comments": (b": hi\n\n:\ndata: a\n: there\n\n", [b"a"]),
    "unknown fields": (b"id: 7\nretry: 10\nfoo\ndata: a\nbar: x\n\n", [b"a"]),
    "empty events": (b"\n\n\ndata:\n\nevent: x\n\ndata: a\n\n\n\n", [b"a"]),
    "an empty value": (b"data: \n\ndata: a\n\ndata: \n\n", [b"a"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "a mark inside is data": (b"data: \xef\xbb\xbfa\n\n", [b"\xef\xbb\xbfa"]),
    "no end": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "one line end": (b"data: a\n", [b"a"]),
    "nul and bad utf-8": (b"data: a\x00\xff\n\n", [b"a\x00\xff"]),
    "unicode separators": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
        ["a\u2028b\u2029c\u0085d\x0be\x0cf".encode()],
    ),
    "a colon in the value": (b"data: {a: b}\n\n", [b"{a: b}"]),
    "a field that only begins like data": (b"database: x\ndata: a\n\n", [b"a"]),
    "nothing": (b"", []),
    "half a mark": (b"\xef\xbb", []),
}


@pytest.mark.parametrize("name", CASES)
def test_events_come_out_the_same_however_the_bytes_are_cut(name: str) -> None:
    stream, expected = CASES[name]
    assert frame([stream]) == expected
    assert frame([stream[n : n + 1] for n in range(len(stream))]) == expected
    for i in range(len(stream)):
        for j in range(i, len(stream)):
            assert frame([stream[:i], stream[i:j], stream[j:]]) == expected, (i, j)
    if name not in ("half a mark",):
        assert read_sse(stream) == expected


def test_names_of_events_belong_to_the_payloads_of_the_last_feed() -> None:
    framer = Framer()
    assert framer.feed(b"data: a\n\nevent: error\ndata: b\n\n") == [b"a", b"b"]
    assert framer.names == {1: b"error"}
    assert framer.feed(b"data: c\n\n") == [b"c"]
    assert framer.names == {}
    assert framer.feed(b"event:ping\ndata: d") == []
    assert framer.finish() == [b"d"]
    assert framer.names == {0: b"ping"}


def test_a_name_is_read_the_same_in_one_read_and_in_many() -> None:
    blocks = {
        b"event: x\ndata: a": (b"x", b"a"),
        b"event:x\ndata:a": (b"x", b"a"),
        b"event:  x\ndata:  a": (b" x", b" a"),
        b"event: a:b\ndata: c": (b"a:b", b"c"),
        b"event: \ndata: a": (None, b"a"),
        b"data: a\nevent: x": (b"x", b"a"),
        b"event: x\nid: 1\ndata: a": (b"x", b"a"),
        b"event: x\ndata: a\ndata: b": (b"x", b"a\nb"),
        b"event: x\nevent: y\ndata: a": (b"y", b"a"),
        b"\nevent: x\ndata: a": (b"x", b"a"),
    }
    for block, (name, payload) in blocks.items():
        stream = block + b"\n\n"
        for cut in range(len(stream)):
            framer = Framer()
            found = framer.feed(stream[:cut]) + framer.feed(stream[cut:])
            assert (found, framer.names.get(0)) == ([payload], name), (stream, cut)


def test_an_event_larger_than_the_cap_is_an_error_whole_or_in_pieces() -> None:
    big = b"data: " + b"x" * 100 + b"\n\n"
    with pytest.raises(EventTooLarge):
        frame([big], event_bytes_max=50)
    with pytest.raises(EventTooLarge):
        frame([big[n : n + 7] for n in range(0, len(big), 7)], event_bytes_max=50)
    assert frame([b"data: a\n\n" * 100], event_bytes_max=50) == [b"a"] * 100


def test_an_event_of_8_mb_in_many_pieces_takes_time_linear_in_its_size() -> None:
    def seconds(size: int) -> float:
        stream = b"data: " + b"x" * size + b"\n\n"
        start = time.process_time()
        assert len(frame([stream[n : n + 64] for n in range(0, len(stream), 64)])[0]) == size
        return time.process_time() - start

    seconds(100_000)
    small, large = seconds(1_000_000), seconds(8_000_000)
    print(f"1 MB {small * 1e3:.0f} ms, 8 MB {large * 1e3:.0f} ms of CPU in pieces of 64 bytes")
    assert large < 40 * max(small, 0.002)


def test_separators_are_escaped_and_other_punctuation_is_not() -> None:
    text = '{"t":"\u2018a\u2019 \u2028 \u2029 \u0085 \u2026 é"}'
    expected = '{"t":"\u2018a\u2019 \\u2028 \\u2029 \\u0085 \u2026 é"}'
    assert escape_separators(text.encode()) == expected.encode()
    assert event(b"{}") == b"data: {}\n\n"
