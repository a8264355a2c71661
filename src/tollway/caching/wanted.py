"""Whether an answer may come from the cache, and under which key. Pure.

The rules are OpenRouter's; each header may also begin with `X-Tollway-`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from ..canon import Request
from ..routing.entries import Policy

TTL_DEFAULT_S = 300
TTL_MOST_S = 86_400


class Wanted(msgspec.Struct, frozen=True):
    """A caller that wants its answer kept, and takes a kept one."""

    ttl_s: int
    """How long an answer made for this request may be told again."""
    clear: bool = False
    """What is kept already is forgotten first: this answer is a new one."""


def wanted(
    headers: Mapping[bytes, bytes],
    preset_enabled: bool | None = None,
    preset_ttl: int | None = None,
    policy_zdr: bool = False,
) -> Wanted | None:
    """None: the cache is neither read nor written. A workspace that allows no retention never
    keeps anything; a preset's `false` beats every header, a header's `false` a preset's `true`.
    `headers` have lower-case names, as ASGI gives them. Values that are neither true nor false say
    nothing."""
    said = headers.get(_CACHE, headers.get(_CACHE_OURS))  # nearly every request ends here
    if said is None and not preset_enabled:
        return None
    if policy_zdr or preset_enabled is False:
        return None
    switch = _flag(said)
    if switch is False or (switch is None and not preset_enabled):
        return None
    return Wanted(_ttl(_header(headers, _TTL), preset_ttl), _flag(_header(headers, _CLEAR)) is True)


_CACHE, _CACHE_OURS = b"x-openrouter-cache", b"x-tollway-cache"
_TTL = (b"x-openrouter-cache-ttl", b"x-tollway-cache-ttl")
_CLEAR = (b"x-openrouter-cache-clear", b"x-tollway-cache-clear")


def _header(headers: Mapping[bytes, bytes], names: tuple[bytes, bytes]) -> bytes | None:
    first = headers.get(names[0])
    return headers.get(names[1]) if first is None else first


def _flag(value: bytes | None) -> bool | None:
    return None if value is None else _FLAGS.get(value.strip().lower())


_FLAGS = {b"true": True, b"false": False}


def _ttl(said: bytes | None, preset_s: int | None) -> int:
    """Leading digits count, as `600s` or `600, 60`; what has none says nothing."""
    digits = _DIGITS.match(said) if said is not None else None
    if digits is not None:
        # Beyond nine digits the number only has to be large, and int() of a long text is slow.
        seconds = int(digits[1][:10])
    else:
        seconds = TTL_DEFAULT_S if preset_s is None else preset_s
    return min(max(seconds, 1), TTL_MOST_S)


_DIGITS = re.compile(rb"\s*0*(\d+)")


def key_of(
    request: Request,
    body: bytes,
    *,
    key_id: str,
    policy: Policy,
    heard: Mapping[str, str] = {},
) -> bytes:
    """The key of an answer: who asks, which models and preset, on which route, streamed or not, under
    which policy, and the body without its insignificant whitespace. The order of properties counts.

    `heard` are the headers that dialects read: those that change what is asked count, the session
    does not, and attribution is not among them. `body` must be JSON.
    """
    asked = (
        key_id,
        request.dialect,
        request.kind,
        request.stream,
        request.models,
        None if request.preset is None else (request.preset.id, request.preset.version),
        policy,
        sorted((name, value) for name, value in heard.items() if name not in _NOT_ASKED),
    )
    state = hashlib.sha256(_encoder.encode(asked))
    state.update(b"\n")
    state.update(msgspec.json.format(body, indent=-1))
    return state.digest()


_NOT_ASKED = frozenset({"x-session-id"})
_encoder = msgspec.json.Encoder(order="deterministic")
