"""What an embeddings request says, read from its fields: for providers of every dialect.

`Request.fields` are those of OpenAI's route whatever the caller spoke; a caller's dialect with
another shape writes them in this one. An event of an answer is `canon.Extra("embedding", …)`,
`choice` = the input's index, value = an array of numbers or their little-endian 32-bit floats in
base64. Pure.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from ..canon import Request

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class EmbeddingRequest(Request, frozen=True):
    """A Request that says more than OpenAI's fields have a place for."""

    titles: tuple[str | None, ...] = ()
    """Of the documents, one an input; empty where there are none."""
    unsaid: tuple[str, ...] = ()
    """Names of what no provider but perhaps one of the caller's own dialect is told."""


def untold(request: Request) -> tuple[str, ...]:
    """What a provider that knows OpenAI's fields alone is not told, by name."""
    if not isinstance(request, EmbeddingRequest):
        return ()
    return (*request.unsaid, "title") if request.titles else request.unsaid


class Url(Struct):
    url: str


class TextPart(Struct, tag="text", tag_field="type"):
    text: str


class ImagePart(Struct, tag="image_url", tag_field="type"):
    image_url: Url


class Media(Struct):
    """`data` is base64 or a URL, as the caller's contract allows either."""

    data: str
    format: str | None = None


class AudioPart(Struct, tag="input_audio", tag_field="type"):
    input_audio: Media


class VideoPart(Struct, tag="input_video", tag_field="type"):
    input_video: Media


class FilePart(Struct, tag="input_file", tag_field="type"):
    input_file: Media


Part = TextPart | ImagePart | AudioPart | VideoPart | FilePart


class Mixed(Struct, omit_defaults=True):
    """One input made of several parts, embedded together."""

    content: Annotated[list[Part], Meta(min_length=1)]


Input = str | list[Token] | Mixed
Inputs = str | Annotated[list[str | Token | list[Token] | Mixed], Meta(min_length=1)]


def listed(given: Inputs) -> list[Input]:
    """The inputs, each of which gives one vector. Raises ValueError for a mixture of kinds."""
    if isinstance(given, str):
        return [given]
    if all(isinstance(one, int) for one in given):
        return [[one for one in given if isinstance(one, int)]]
    inputs = [one for one in given if not isinstance(one, int)]
    if len(inputs) < len(given) or len({type(one) for one in inputs}) > 1:
        raise ValueError("expected strings, tokens, arrays of tokens or objects, not a mixture")
    return inputs


def inputs_of(request: Request) -> list[Input]:
    """Of a request whose fields have been checked."""
    return listed(_inputs.decode(request.fields["input"]))


def texts_of(inputs: Sequence[Input]) -> list[str] | None:
    """The inputs as plain texts, or None when one of them is something else."""
    texts: list[str] = []
    for one in inputs:
        if isinstance(one, str):
            texts.append(one)
        elif isinstance(one, Mixed) and all(isinstance(part, TextPart) for part in one.content):
            texts.append("\n".join(p.text for p in one.content if isinstance(p, TextPart)))
        else:
            return None
    return texts


def dimensions_of(request: Request) -> int | None:
    raw = request.fields.get("dimensions")
    return None if raw is None else msgspec.json.decode(raw, type=int)


def purpose_of(request: Request) -> str | None:
    """`input_type`, lower case: `query`, `document`, or a provider's own word."""
    raw = request.fields.get("input_type")
    return None if raw is None else msgspec.json.decode(raw, type=str).lower()


def mapped(purpose: str | None, words: Mapping[str, str]) -> str | None:
    """The provider's word for a purpose; a word of its own passes in its own spelling."""
    if purpose is None:
        return None
    if purpose in words:
        return words[purpose]
    return next((own for own in words.values() if own.lower() == purpose), None)


def wants_base64(request: Request | None) -> bool:
    raw = request.fields.get("encoding_format") if request is not None else None
    return raw is not None and bytes(raw) == b'"base64"'


# ---- vectors -------------------------------------------------------------------------------------


def as_base64(vector: Raw) -> Raw:
    """Raises what decoding raises for a vector that is none."""
    if bytes(memoryview(vector)[:1]) == b'"':
        return vector
    numbers = array("f", msgspec.json.decode(vector, type=list[float]))
    if sys.byteorder == "big":
        numbers.byteswap()
    return Raw(b'"' + base64.b64encode(numbers.tobytes()) + b'"')


def as_numbers(vector: Raw) -> Raw:
    """Raises what decoding raises for a vector that is none."""
    if bytes(memoryview(vector)[:1]) != b'"':
        msgspec.json.decode(vector, type=list[float])
        return vector
    numbers = array("f")
    numbers.frombytes(base64.b64decode(msgspec.json.decode(vector, type=str), validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return Raw(msgspec.json.encode(numbers.tolist()))


_inputs = msgspec.json.Decoder(Inputs)
