"""The dialect of OpenAI's legacy text completions, on the caller's side only.

The prompt becomes one user message of a chat; the answer's events are written back as `text`.
Rules: what a chat model cannot honour (`suffix`, `echo`, several prompts, token arrays) is refused
rather than ignored; `logprobs` has another shape here and is always null.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .. import canon, errors
from ..canon import Event, Request
from ..errors import TollwayError
from . import Bill, Head, Relay, dialect
from . import openai_chat_schema as schema
from .openai_chat import render_error
from .openai_chat_conversation import conversation
from .openai_chat_request import (
    ChatRequest,
    check_reasoning,
    models_of,
    output_limit,
    params_of,
    text_bytes,
)
from .openai_usage import render_usage
from .plugins import plugins
from .preferences import preferences
from .problems import bad_request
from .reasoning import wanted
from .sse import DONE, escape_separators, event
from .translated import Translated

__all__ = ["conversation", "parse_request", "relay", "render_error"]


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). The path says nothing here. `fields` of the result are those of a chat completion."""
    try:
        asked = schema.completion_decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    if asked.suffix:
        raise errors.bad_field("suffix", "is not supported; chat models only continue")
    if asked.echo:
        raise errors.bad_field("echo", "is not supported")
    check_reasoning(asked)
    prompt = asked.prompt if isinstance(asked.prompt, str) else asked.prompt[0]
    fields = {n: raw for n, raw in fields.items() if raw != _NULL and n not in _NOT_OF_CHATS}
    fields["messages"] = Raw(msgspec.json.encode([{"role": "user", "content": prompt}]))
    return ChatRequest(
        dialect="openai_completions",
        models=models_of(asked),
        stream=asked.stream is True,
        fields=fields,
        params=frozenset(params_of(fields)),
        output_tokens_max=output_limit(asked),
        choices=asked.n or 1,
        prompt_bytes=text_bytes(fields),
        preferences=preferences(asked.provider),
        plugins=plugins(asked.plugins, asked.transforms),
        session_id=asked.session_id or headers.get("x-session-id", "")[:256] or None,
        user=asked.user,
    )


_NULL = Raw(b"null")
_NOT_OF_CHATS = frozenset({"prompt", "suffix", "echo", "logprobs", "best_of"})


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound`. Raises KeyError for a dialect that there is not."""
    parser = dialect(outbound).parser(head.stream, quirks)
    hides = request is not None and wanted(request.fields).exclude
    renderer = _Stream(head, hides) if head.stream else _Body(head, hides)
    return Translated(parser, renderer)


class _Stream:
    """Events to `text_completion` chunks."""

    def __init__(self, head: Head, hides: bool) -> None:
        self._head = head
        self._hides = hides
        self._before = b"data: " + msgspec.json.encode(_top(head))[:-1] + b',"choices":[{"index":'
        self._finishes: list[canon.Finish] = []

    def render(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for said in events:
            match said:
                case canon.Text() | canon.Refusal():
                    self._write(out, said.choice, said.text, b"")
                case canon.Reasoning(text, _, choice) if text and not self._hides:
                    extra = b',"reasoning":' + msgspec.json.encode(text)
                    self._write(out, choice, "", extra)
                case canon.Finish():
                    self._finishes.append(said)
        return escape_separators(b"".join(out))

    def ending(self, bill: Bill) -> bytes:
        out = [
            event(msgspec.json.encode({**_top(self._head), "choices": [_finish(said)]}))
            for said in self._finishes
        ]
        last = {**_top(self._head), "choices": [], "usage": render_usage(bill), **bill.extra}
        return escape_separators(b"".join((*out, event(msgspec.json.encode(last))))) + DONE

    def failure(self, error: TollwayError) -> bytes:
        choice = _finish(canon.Finish("error", "error"))
        last = {**_top(self._head), "choices": [choice], "error": error.body()["error"]}
        return event(msgspec.json.encode(last))

    def _write(self, out: list[bytes], choice: int, text: str, extra: bytes) -> None:
        out += (
            self._before,
            b"%d" % choice,
            b',"text":',
            msgspec.json.encode(text),
            extra,
            b',"logprobs":null,"finish_reason":null}]}\n\n',
        )


class _Body:
    """Events to one `text_completion`."""

    def __init__(self, head: Head, hides: bool) -> None:
        self._head = head
        self._hides = hides
        self._choices: dict[int, dict[str, Any]] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        for said in events:
            match said:
                case canon.Text(text, choice) | canon.Refusal(text, choice):
                    self._choice(choice)["text"] += text
                case canon.Reasoning(text, _, choice) if text and not self._hides:
                    known = self._choice(choice)
                    known["reasoning"] = known.get("reasoning", "") + text
                case canon.Finish():
                    self._choice(said.choice).update(
                        finish_reason=said.reason, native_finish_reason=said.native or said.reason
                    )
        return b""

    def ending(self, bill: Bill) -> bytes:
        choices = [self._choices[index] for index in sorted(self._choices)]
        body = {**_top(self._head), "choices": choices, "usage": render_usage(bill), **bill.extra}
        return escape_separators(msgspec.json.encode(body))

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)

    def _choice(self, index: int) -> dict[str, Any]:
        if index not in self._choices:
            self._choices[index] = _finish(canon.Finish("stop", None, index))
        return self._choices[index]


def _top(head: Head) -> dict[str, Any]:
    return {
        "id": head.id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "provider": head.provider,
    }


def _finish(said: canon.Finish) -> dict[str, Any]:
    return {
        "index": said.choice,
        "text": "",
        "logprobs": None,
        "finish_reason": said.reason,
        "native_finish_reason": said.native or said.reason,
    }
