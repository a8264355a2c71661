"""What a caller says to a model, in no dialect's shape: the pivot of requests.

Frozen values without I/O. A dialect that serves its own kind never builds one (its bytes are
passed on); between two dialects one side parses into this and the other renders from it. Opaque
state (signatures, encrypted reasoning) travels as `reasoning_details` entries, the one public
vocabulary for it. What a target cannot carry is named in `Outbound.dropped`, never lost silently.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw


class Cache(msgspec.Struct, frozen=True):
    """A cache breakpoint after the part that carries it. `ttl` as the caller wrote it (5m, 1h,
    30m, 12h), None = the provider's default."""

    ttl: str | None = None


class Source(msgspec.Struct, frozen=True):
    """Where media is: exactly one of `url` (https), `data` (base64) and `file_id`. `media_type`
    as given or read off a data URL; None when nobody said."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    media_type: str | None = None


class Text(msgspec.Struct, frozen=True, tag=True):
    text: str
    cache: Cache | None = None
    citations: tuple[Raw, ...] = ()
    """Annotations of an earlier answer, as `url_citation` entries."""


class Image(msgspec.Struct, frozen=True, tag=True):
    source: Source
    detail: str | None = None
    """auto, low, high or original."""
    cache: Cache | None = None


class File(msgspec.Struct, frozen=True, tag=True):
    """A document: PDF mostly; plain text as data with media type text/plain."""

    source: Source
    filename: str | None = None
    cache: Cache | None = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    source: Source
    format: str = "wav"
    cache: Cache | None = None


class Video(msgspec.Struct, frozen=True, tag=True):
    source: Source
    cache: Cache | None = None


class Thought(msgspec.Struct, frozen=True, tag=True):
    """Earlier reasoning, replayed. `details` are the provider's blocks, byte-equal; `text` is what
    can be shown where they cannot be sent."""

    text: str = ""
    details: tuple[Raw, ...] = ()


class Call(msgspec.Struct, frozen=True, tag=True):
    """A tool call of an earlier answer. `arguments` is JSON text as the model wrote it, which may
    not be JSON at all."""

    id: str
    name: str
    arguments: str
    cache: Cache | None = None


class Result(msgspec.Struct, frozen=True, tag=True):
    """What a tool gave back. It stands in a user turn."""

    call_id: str
    parts: tuple[Part, ...]
    name: str | None = None
    is_error: bool = False
    cache: Cache | None = None


class Refusal(msgspec.Struct, frozen=True, tag=True):
    text: str


Part = Text | Image | File | Audio | Video | Thought | Call | Result | Refusal
Role = Literal["system", "user", "assistant"]


class Turn(msgspec.Struct, frozen=True):
    """Adjacent turns may have the same role; a target that wants alternation merges them with
    `alternating`. System turns may stand anywhere; `split_system` takes the leading ones."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call. `parameters` is a JSON Schema object."""

    name: str
    description: str | None = None
    parameters: Raw | None = None
    strict: bool | None = None
    cache: Cache | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`named` goes with `name`."""

    kind: Literal["auto", "none", "required", "named"]
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """`json`: any JSON object. `schema`: JSON of `schema`."""

    kind: Literal["json", "schema"]
    name: str = "response"
    schema: Raw | None = None
    strict: bool | None = None
    description: str | None = None


class Thinking(msgspec.Struct, frozen=True):
    """`on` is None where the caller did not say whether to think at all. `budget` in tokens;
    `summary` auto, concise or detailed; `exclude`: think, but do not show it."""

    on: bool | None = None
    effort: str | None = None
    budget: int | None = None
    exclude: bool = False
    summary: str | None = None


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """None = not said, so not sent."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    top_a: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None


class Conversation(msgspec.Struct, frozen=True):
    """One request to a model, whole. `extras` are top-level fields of the caller's own dialect
    that have no place here, by their own names; a target that knows one may send it."""

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_calls: bool | None = None
    format: Format | None = None
    thinking: Thinking = Thinking()
    verbosity: str | None = None
    sampling: Sampling = Sampling()
    output_modalities: tuple[str, ...] = ()
    cache: Cache | None = None
    """Automatic trailing breakpoint, asked for at the top level."""
    cache_key: str | None = None
    extras: dict[str, Raw] = {}


def split_system(turns: tuple[Turn, ...]) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    """The text of the leading system turns, and everything after them."""
    leading = 0
    while leading < len(turns) and turns[leading].role == "system":
        leading += 1
    system = [part for turn in turns[:leading] for part in turn.parts if isinstance(part, Text)]
    return tuple(system), turns[leading:]


def alternating(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The same with adjacent turns of one role merged, in order."""
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, merged[-1].parts + turn.parts, merged[-1].name)
        else:
            merged.append(turn)
    return tuple(merged)


def data_url(source: Source) -> str | None:
    """A `data:` URL for inline media, the URL itself for remote media."""
    if source.data is not None:
        return f"data:{source.media_type or 'application/octet-stream'};base64,{source.data}"
    return source.url


def source_of(url: str) -> Source:
    """A Source from a URL that may be a `data:` URL. Its base64 text is kept, not decoded."""
    if not url.startswith("data:"):
        return Source(url=url)
    head, _, data = url.partition(",")
    media_type = head[5:].split(";")[0]
    return Source(data=data, media_type=media_type or None)
