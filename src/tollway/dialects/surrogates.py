r"""Half surrogate pairs in a provider's JSON, such as `"a\ud83d"`.

Engines that cut tokens inside an emoji write one half of its pair as an escape. That is no
character, so our decoder refuses the whole text, though everything else in it is sound. Rule: a
text is looked through only after it could not be decoded; half a pair becomes U+FFFD, as with all
that is unreadable, and the text is read once more.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")
anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """What `decoder` makes of `data`, if need be without its half pairs. Raises what decoding
    raises."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        mended = paired(data)
        if mended is None:
            raise
        return decoder.decode(mended)


def object_of(text: str) -> Raw | None:
    """The JSON object that a model wrote as the arguments of a call; None where it wrote none."""
    data = text.strip().encode(errors="replace")
    try:
        found = anything.decode(data)
    except (msgspec.DecodeError, RecursionError):
        mended = paired(data)
        return None if mended is None else object_of(mended.decode())
    return Raw(data) if isinstance(found, dict) else None


def paired(data: bytes) -> bytes | None:
    """`data` with U+FFFD in place of each half pair; None when there is none."""
    mended, _ = _ESCAPES.subn(_whole, data)
    return mended if mended != data else None


def _whole(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


_ESCAPES = re.compile(
    rb"\\(?:u(?:d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(d[89a-f][0-9a-f]{2})|)|[^u])",
    re.IGNORECASE | re.DOTALL,
)
"""Every escape, so that the second backslash of `\\\\ud83d` begins none: a pair, half a pair (the
group), or any other."""
