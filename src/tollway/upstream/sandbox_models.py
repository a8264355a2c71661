"""What the sandbox's models say: from a request, as a provider gets it, to pieces of an answer.

Pure and deterministic: the same request gets the same answer, to the byte. Not wire format
(`sandbox_wire`), not faults (`sandbox_play`). Rules. A token is 4 bytes of UTF-8, rounded up over a
whole text; the output limit is kept to the token; the words of a directive are no part of what a
model reads, but they are counted, as everything that is sent is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from . import sandbox_grammar as grammar
from .sandbox_schema import example

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 85
"""Of an image or another part that is not text."""
CHOICES_MAX = 16

LOREM_TOKENS = 64
"""When a prompt names no number."""

REASONING_TOKENS = {"none": 0, "minimal": 4, "low": 8, "medium": 16, "high": 32, "xhigh": 64}


class Function(msgspec.Struct, frozen=True):
    name: str
    parameters: Any = None


class Tool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: Function | None = None


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Ask(msgspec.Struct, frozen=True):
    """The fields of a chat completion request that the sandbox understands."""

    model: str
    messages: list[Message]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    response_format: Any = None
    reasoning_effort: str | None = None
    reasoning: Any = None


class BadRequest(ValueError):
    """The sandbox refuses as a provider would; the message is fit for the caller."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Piece(msgspec.Struct, frozen=True):
    """A fragment of the answer: one event of a stream."""

    kind: Literal["text", "reasoning", "call"]
    text: str
    call: int = 0
    """Which tool call it belongs to; its first piece carries `id` and `name`."""
    id: str | None = None
    name: str | None = None


class Said(msgspec.Struct, frozen=True):
    """A whole answer (each choice says the same), before anything breaks it."""

    id: str
    model: str
    pieces: tuple[Piece, ...]
    finish: str
    choices: int
    prompt_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    completion_tokens: int
    """Of one choice, reasoning included."""


class Prompt(msgspec.Struct, frozen=True):
    """A request read as the models see it."""

    ask: Ask
    directives: tuple[grammar.Directive, ...]
    text: str
    """The last user message without its directives."""
    digest: str
    """Of the messages: the same conversation at any endpoint and with any limits."""
    id: str
    """Of the whole request."""


def read(body: bytes) -> Prompt:
    """Raises BadRequest (400) for what no provider would take, an unknown directive included."""
    try:
        ask = _ASK.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(400, "invalid_request", f"The request is not valid: {error}.") from None
    if not ask.messages:
        raise BadRequest(400, "invalid_request", "messages must not be empty.")
    if ask.n is not None and not 1 <= ask.n <= CHOICES_MAX:
        raise BadRequest(400, "invalid_request", f"n must be from 1 to {CHOICES_MAX}.")
    if _limit(ask) == 0:
        raise BadRequest(400, "invalid_request", "max_tokens must be at least 1.")
    directives: list[grammar.Directive] = []
    last = ""
    for message in ask.messages:
        if message.role == "user":
            try:
                found, last = grammar.parse(_text(message))
            except grammar.GrammarError as error:
                raise BadRequest(400, "unknown_directive", str(error)) from None
            directives += found
    digest = hashlib.sha256(msgspec.json.encode(ask.messages)).hexdigest()[:24]
    return Prompt(ask, tuple(directives), last, digest, hashlib.sha256(body).hexdigest()[:24])


def answer(prompt: Prompt, wishes: Mapping[str, object]) -> Said:
    """`wishes` are the words of the directives that hold. Raises BadRequest (404) for a model the
    sandbox does not have."""
    ask = prompt.ask
    model = MODELS.get(ask.model)
    if model is None:
        raise BadRequest(
            404,
            "model_not_found",
            f"The sandbox has no model {ask.model!r}; it has {', '.join(MODELS)}.",
        )
    pieces, finish = model(prompt, wishes)
    pieces, stopped = _stopped(pieces, [ask.stop] if isinstance(ask.stop, str) else ask.stop or [])
    limit = _limit(ask)
    pieces, cut = (pieces, False) if limit is None else _clamped(pieces, limit * BYTES_PER_TOKEN)
    finish = "length" if cut else "stop" if stopped else finish
    tokens = _prompt_tokens(ask)
    cached = wishes.get("cached")
    reasoning = _tokens(sum(_size(p) for p in pieces if p.kind == "reasoning"))
    return Said(
        id=prompt.id,
        model=ask.model,
        pieces=tuple(pieces),
        finish=finish,
        choices=ask.n or 1,
        prompt_tokens=tokens,
        cached_tokens=min(cached, tokens) if isinstance(cached, int) else 0,
        reasoning_tokens=reasoning,
        completion_tokens=max(_tokens(sum(map(_size, pieces))), reasoning),
    )


# ---- the models ----------------------------------------------------------------------------------

Spoken = tuple[list[Piece], str]
"""Pieces and the finish reason."""


def _echo(prompt: Prompt, wishes: Mapping[str, object]) -> Spoken:
    tokens = wishes.get("tokens")
    if isinstance(tokens, int):
        return _lorem(prompt, wishes)
    return _words(prompt.text or "ok"), "stop"


def _lorem(prompt: Prompt, wishes: Mapping[str, object]) -> Spoken:
    tokens = wishes.get("tokens")
    return _filler("text", tokens if isinstance(tokens, int) else LOREM_TOKENS), "stop"


def _reasoner(prompt: Prompt, wishes: Mapping[str, object]) -> Spoken:
    tokens = wishes.get("reasoning")
    if not isinstance(tokens, int):
        effort = prompt.ask.reasoning_effort
        if effort is None and isinstance(prompt.ask.reasoning, Mapping):
            effort = prompt.ask.reasoning.get("effort")
        tokens = REASONING_TOKENS.get(str(effort), REASONING_TOKENS["medium"])
    said, finish = _echo(prompt, wishes)
    return [*_filler("reasoning", tokens), *said], finish


def _json(prompt: Prompt, wishes: Mapping[str, object]) -> Spoken:
    wanted = prompt.ask.response_format
    value: Any = {"text": prompt.text or "ok"}
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        inner = wanted.get("json_schema")
        value = example(inner.get("schema", {}) if isinstance(inner, Mapping) else {})
    return _cut("text", msgspec.json.encode(value).decode()), "stop"


def _tools(prompt: Prompt, wishes: Mapping[str, object]) -> Spoken:
    ask = prompt.ask
    last = ask.messages[-1]
    if last.role == "tool":
        return _words(f"The tool answered: {_text(last)}"), "stop"
    offered = [tool.function for tool in ask.tools or [] if tool.function is not None]
    if not offered or ask.tool_choice == "none":
        return _words(prompt.text or "No tools were given."), "stop"
    choice = ask.tool_choice
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        offered = [f for f in offered if f.name == choice["function"].get("name")] or offered
    elif "parallel" not in wishes:
        offered = offered[:1]
    pieces: list[Piece] = []
    for n, function in enumerate(offered):
        arguments = example(function.parameters or {"type": "object"})
        pieces.append(Piece("call", "", n, f"call_{prompt.digest[:16]}{n}", function.name))
        pieces += _cut("call", msgspec.json.encode(arguments).decode(), n)
    return pieces, "tool_calls"


MODELS: dict[str, Callable[[Prompt, Mapping[str, object]], Spoken]] = {
    "echo": _echo,
    "lorem": _lorem,
    "tools": _tools,
    "json": _json,
    "reasoner": _reasoner,
    "fault": _echo,
}


# ---- pieces --------------------------------------------------------------------------------------

_LOREM = ("sit ", "sed ", "est ", "qui ", "non ", "aut ", "vel ", "nam ", "per ", "hic ")
"""Words of one token each."""

_WORD = re.compile(r"\s*\S+\s*|\s+")


def _filler(kind: Literal["text", "reasoning"], tokens: int) -> list[Piece]:
    return [Piece(kind, _LOREM[n % len(_LOREM)]) for n in range(tokens)]


def _words(text: str) -> list[Piece]:
    """A piece a word; blanks stay with the word before them."""
    return [Piece("text", word) for word in _WORD.findall(text)]


def _cut(kind: Literal["text", "call"], text: str, call: int = 0, size: int = 16) -> list[Piece]:
    return [Piece(kind, text[at : at + size], call) for at in range(0, len(text), size)]


def _stopped(pieces: list[Piece], stops: list[str]) -> tuple[list[Piece], bool]:
    """The answer's text up to the first stop sequence, which is not part of it."""
    whole = "".join(piece.text for piece in pieces if piece.kind == "text")
    at = min((i for stop in stops if stop and (i := whole.find(stop)) >= 0), default=-1)
    if at < 0:
        return pieces, False
    kept: list[Piece] = []
    for piece in pieces:
        if piece.kind == "text":
            piece, at = msgspec.structs.replace(piece, text=piece.text[:at]), at - len(piece.text)
            if not piece.text:
                break
        kept.append(piece)
        if at <= 0 and piece.kind == "text":
            break
    return kept, True


def _clamped(pieces: list[Piece], room: int) -> tuple[list[Piece], bool]:
    """As many pieces as fit in `room` bytes; the last is cut at a character."""
    kept: list[Piece] = []
    for piece in pieces:
        size = _size(piece)
        if size > room:
            text = piece.text.encode()[:room].decode(errors="ignore")
            if text:
                kept.append(msgspec.structs.replace(piece, text=text))
            return kept, True
        kept.append(piece)
        room -= size
    return kept, False


# ---- counting ------------------------------------------------------------------------------------


def _prompt_tokens(ask: Ask) -> int:
    size = tokens = 0
    for message in ask.messages:
        size += len(_text(message).encode())
        if isinstance(message.content, list):
            tokens += MEDIA_TOKENS * sum(part.get("type") != "text" for part in message.content)
        if message.tool_calls:
            size += len(msgspec.json.encode(message.tool_calls))
    if ask.tools:
        size += len(msgspec.json.encode(ask.tools))
    if ask.response_format is not None:
        size += len(msgspec.json.encode(ask.response_format))
    return max(tokens + _tokens(size), 1)


def _limit(ask: Ask) -> int | None:
    limits = [n for n in (ask.max_tokens, ask.max_completion_tokens) if n is not None]
    return max(min(limits), 0) if limits else None


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _size(piece: Piece) -> int:
    return len(piece.text.encode())


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    parts = content or []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


_ASK = msgspec.json.Decoder(Ask)
