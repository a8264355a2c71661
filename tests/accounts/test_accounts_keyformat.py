import os
import random
import zlib

import pytest

from tollway.accounts.keyformat import (
    KEY_LENGTH,
    key_digest,
    key_hash,
    key_label,
    key_text,
    looks_like_key,
)

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _value(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 62 + DIGITS.index(digit)
    return value


def test_a_key_holds_its_32_bytes_and_their_check_digits() -> None:
    for entropy in (bytes(32), b"\xff" * 32, os.urandom(32)):
        key = key_text(entropy)
        assert len(key) == KEY_LENGTH == 53
        assert key[:4] == "tlw_"
        assert _value(key[4:47]) == int.from_bytes(entropy, "big")
        assert _value(key[47:]) == zlib.crc32(key[:47].encode())
        assert looks_like_key(key)


def test_a_key_needs_exactly_32_bytes() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32 random bytes"):
            key_text(bytes(size))


def test_one_wrong_character_anywhere_is_noticed_without_a_database() -> None:
    key = key_text(os.urandom(32))
    for at in range(4, len(key)):
        other = DIGITS[(DIGITS.index(key[at]) + 1) % 62]
        assert not looks_like_key(key[:at] + other + key[at + 1 :]), at


def test_other_texts_do_not_look_like_keys() -> None:
    key = key_text(os.urandom(32))
    for text in (
        "",
        "tlw_",
        key[:-1],
        key + "0",
        "sk-or-v1-" + "0" * 44,
        key.replace("tlw", "tlx"),
    ):
        assert not looks_like_key(text)
    assert not looks_like_key("tlw_" + "é" * 49)


def test_random_texts_of_the_right_length_almost_never_look_like_keys() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    texts = ("tlw_" + "".join(dice.choices(DIGITS, k=49)) for _ in range(20_000))
    assert sum(looks_like_key(text) for text in texts) == 0


def test_the_label_shows_three_characters_at_each_end_and_no_more() -> None:
    key = key_text(bytes(range(32)))
    assert key_label(key) == f"tlw_{key[4:7]}…{key[-4:]}"


def test_the_digest_depends_on_the_pepper_and_the_public_id_on_the_digest() -> None:
    key = key_text(bytes(range(32)))
    one, two = key_digest(b"1" * 32, key), key_digest(b"2" * 32, key)
    assert len(one) == 32
    assert one != two
    assert one == key_digest(b"1" * 32, key)
    assert key_hash(one) != key_hash(two)
    assert len(key_hash(one)) == 64
    assert key_hash(one) != one.hex()
