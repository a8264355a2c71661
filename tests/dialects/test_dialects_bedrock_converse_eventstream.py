"""Framing: botocore's reader is the oracle, cut at every byte; what is broken says so."""

import random
import struct
from typing import Any

import pytest
from bedrock_wire import delta, event, frame, header, text_header
from botocore.eventstream import EventStreamBuffer

from tollway.dialects.bedrock_converse.eventstream import MESSAGE_BYTES_MAX, Framer, Message

SEED = 20261122
EVERY_KIND = b"".join(
    (
        header("yes", 0),
        header("no", 1),
        header("byte", 2, struct.pack(">b", -3)),
        header("short", 3, struct.pack(">h", -300)),
        header("int", 4, struct.pack(">i", -70_000)),
        header("long", 5, struct.pack(">q", -(2**40))),
        header("bytes", 6, struct.pack(">H", 3) + b"\x00\xff\x01"),
        text_header("text", "Grüße"),
        header("when", 8, struct.pack(">q", 1_790_000_000_123)),
        header("who", 9, bytes(range(16))),
    )
)


def by_botocore(wire: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer: Any = EventStreamBuffer()
    buffer.add_data(wire)
    return [(dict(message.headers), message.payload) for message in buffer]


def plain(messages: list[Message]) -> list[tuple[dict[str, Any], bytes]]:
    return [(dict(message.headers), message.payload) for message in messages]


def test_messages_are_read_as_botocore_reads_them_cut_at_every_byte() -> None:
    wire = frame(EVERY_KIND.replace(header("who", 9, bytes(range(16))), b""), b"pay")
    wire += event("messageStart", role="assistant") + frame(b"", b"") + delta(0, text="Hallo")
    expected = by_botocore(wire)
    assert len(expected) == 4
    for cut in range(len(wire) + 1):
        framer = Framer()
        found = framer.feed(wire[:cut]) + framer.feed(wire[cut:])
        assert plain(found) == expected, f"cut at {cut}"
        assert not framer.cut and framer.broken is None
    framer = Framer()
    assert plain([m for byte in wire for m in framer.feed(bytes([byte]))]) == expected


def test_a_uuid_is_text() -> None:
    (message,) = Framer().feed(frame(EVERY_KIND, b""))
    assert message.headers["who"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert (message.text("text"), message.text("int"), message.text("gone")) == ("Grüße", "", "")


def test_random_streams_in_random_slices_are_read_as_botocore_reads_them() -> None:
    dice = random.Random(SEED)
    for n in range(200):
        wire = b"".join(
            frame(
                b"".join(
                    text_header(f"h{k}", "x" * dice.randint(0, 30))
                    for k in range(dice.randint(0, 4))
                ),
                dice.randbytes(dice.choice((0, 1, 50, 3_000))),
            )
            for _ in range(dice.randint(1, 6))
        )
        framer, found, at = Framer(), [], 0
        while at < len(wire):
            step = dice.choice((1, 7, 100, 5_000))
            found += framer.feed(wire[at : at + step])
            at += step
        assert plain(found) == by_botocore(wire), f"stream {n} of seed {SEED}"


def test_one_wrong_bit_anywhere_is_found() -> None:
    whole = frame(text_header("a", "b"), b"payload")
    for place in range(len(whole) * 8):
        wrong = bytearray(whole)
        wrong[place // 8] ^= 1 << (place % 8)
        framer = Framer()
        assert framer.feed(bytes(wrong)) == [], f"bit {place}"
        assert framer.broken is not None or framer.cut


def test_sound_messages_before_a_broken_one_are_given() -> None:
    wrong = bytearray(event("b"))
    wrong[-1] ^= 1
    framer = Framer()
    assert [m.text(":event-type") for m in framer.feed(event("a") + bytes(wrong))] == ["a"]
    assert framer.broken == "a message does not match its checksum"
    assert framer.feed(event("c")) == []


@pytest.mark.parametrize(
    ("total", "headers"),
    [(15, 0), (16, 1), (MESSAGE_BYTES_MAX + 1, 0), (2**32 - 1, 2**32 - 1), (200_000, 131_073)],
)
def test_a_length_that_cannot_be_is_refused_before_the_bytes_are_awaited(
    total: int, headers: int
) -> None:
    from zlib import crc32

    prelude = struct.pack(">II", total, headers)
    framer = Framer()
    framer.feed(prelude + struct.pack(">I", crc32(prelude)))
    assert framer.broken == f"a message of {total} bytes with {headers} bytes of headers"


@pytest.mark.parametrize(
    "headers",
    [b"\x05ab", header("a", 10), header("a", 7, b"\x00\x09xy"), b"\x01\xff\x00", header("a", 5)],
)
def test_headers_that_cannot_be_read_break_the_stream(headers: bytes) -> None:
    framer = Framer()
    framer.feed(frame(headers, b""))
    assert framer.broken is not None and framer.broken.startswith("the headers of a message")


def test_a_large_message_in_small_slices_costs_linear_work() -> None:
    payload = bytes(8_000_000)
    wire = frame(b"", payload)
    framer = Framer()
    found = [m for at in range(0, len(wire), 1_000) for m in framer.feed(wire[at : at + 1_000])]
    assert [m.payload for m in found] == [payload]
