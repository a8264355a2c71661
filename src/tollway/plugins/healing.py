"""Response healing: an answer that should be JSON and does not parse is repaired before it is told.

`relay_for` is how an attempt gets its relay; the plugin is a relay around the caller's own. It works
on the caller's body, so it is the same for every provider's dialect. Rules: streams pass as they
come; what parses is never touched; an answer that was cut short is not pretended to be whole; a
repair that breaks the caller's schema is not made. OpenRouter: plugins, response healing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from .. import dialects
from ..canon import Request, Usage
from ..conversation import Format
from ..dialects import Bill, Head, Meter, Relay, conversation
from ..dialects.sse import escape_separators
from ..errors import TollwayError
from .checking import keeps
from .mending import mended, parses


def relay_for(request: Request, head: Head, outbound: str, quirks: Collection[str]) -> Relay:
    """The relay of an answer, and of its replay, from a provider that speaks `outbound`."""
    relay = dialects.relay(request, head, outbound, quirks)
    if request.plugins.healing and not head.stream and "response_format" in request.params:
        return Healing(relay, request)
    return relay


class Healing:
    """See `dialects.Relay`. The inner relay's body is rendered twice: once when the answer is whole,
    to see what it says, so that what was done is known before the bill is; and once with the bill.
    """

    def __init__(self, relay: Relay, request: Request) -> None:
        self.meter: Meter = relay.meter
        self._relay = relay
        self._request = request
        self._texts: dict[int, str] = {}
        """Repaired texts by their number in the body."""
        self._looked = False

    def feed(self, data: bytes) -> bytes:
        passed = self._relay.feed(data)
        self._look()
        return passed

    def finish(self) -> bytes:
        passed = self._relay.finish()
        self._look()
        return passed

    def ending(self, bill: Bill) -> bytes:
        body = self._relay.ending(bill)
        if not self._texts:
            return body
        fields = msgspec.json.decode(body)
        for n, answer in enumerate(_answers(self._request.dialect, fields)):
            if n in self._texts:
                answer.write(self._texts[n])
        return escape_separators(msgspec.json.encode(fields))

    def failure(self, error: TollwayError) -> bytes:
        return self._relay.failure(error)

    def _look(self) -> None:
        meter = self.meter
        if self._looked or not meter.ended or meter.fault is not None:
            return
        self._looked = True
        fields = msgspec.json.decode(self._relay.ending(_NO_BILL))
        broken = [
            (n, answer.text)
            for n, answer in enumerate(_answers(self._request.dialect, fields))
            if not parses(answer.text)
        ]
        if not broken:
            return
        wanted = conversation(self._request).format
        if wanted is None:
            return
        for n, text in broken:
            whole = _repaired(text, wanted)
            if whole is not None:
                self._texts[n] = whole
        meter.notes = (*meter.notes, _note(len(broken), len(self._texts)))


_NO_BILL = Bill(Usage(), 0, 0, 0)


def _repaired(text: str, wanted: Format) -> str | None:
    """Of the kind that was asked for, or None."""
    whole = mended(text)
    if whole is None:
        return None
    value = msgspec.json.decode(whole)
    if wanted.kind == "json" or wanted.schema is None:
        return whole if isinstance(value, dict) else None
    return whole if keeps(value, bytes(wanted.schema)) else None


def _note(broken: int, healed: int) -> dict[str, Any]:
    """The entry of the pipeline."""
    if healed == broken:
        done = "The answer was not JSON and was repaired."
    elif healed:
        done = f"{healed} of {broken} answers that were not JSON were repaired."
    else:
        done = "The answer is not JSON and could not be repaired."
    return {
        "type": "response_healing",
        "name": "response-healing",
        "summary": done,
        "data": {"broken": broken, "healed": healed},
    }


# ---- where the text of an answer is --------------------------------------------------------------


class _Answer:
    """One answer's text in a caller's body: the texts of some parts of one list."""

    def __init__(self, parts: list[Any], places: list[int], key: str) -> None:
        self._parts, self._places, self._key = parts, places, key
        self.text = "".join(parts[n][key] for n in places)

    def write(self, text: str) -> None:
        """All of it in the first part; the others go, as some APIs refuse empty parts."""
        first, *others = self._places
        self._parts[first][self._key] = text
        for n in reversed(others):
            del self._parts[n]


def _answers(dialect: str, fields: Any) -> Iterator[_Answer]:
    """Whole answers only: one that ended for its length, a filter or a call is what it is."""
    return _READERS[dialect](fields)


def _chat(fields: Any) -> Iterator[_Answer]:
    for choice in fields.get("choices") or ():
        message = choice.get("message")
        if choice.get("finish_reason") != "stop" or not isinstance(message, dict):
            continue
        if isinstance(message.get("content"), str) and not message.get("tool_calls"):
            yield _Answer([message], [0], "content")


def _completions(fields: Any) -> Iterator[_Answer]:
    for choice in fields.get("choices") or ():
        if choice.get("finish_reason") == "stop" and isinstance(choice.get("text"), str):
            yield _Answer([choice], [0], "text")


def _responses(fields: Any) -> Iterator[_Answer]:
    if fields.get("status") != "completed":
        return
    items = [item for item in fields.get("output") or () if item.get("type") != "reasoning"]
    if len(items) == 1 and items[0].get("type") == "message":
        yield from _parts(items[0].get("content"), "output_text")


def _messages(fields: Any) -> Iterator[_Answer]:
    if fields.get("stop_reason") in ("end_turn", "stop_sequence"):
        yield from _parts(fields.get("content"), "text")


def _gemini(fields: Any) -> Iterator[_Answer]:
    for candidate in fields.get("candidates") or ():
        if candidate.get("finishReason") != "STOP":
            continue
        parts = (candidate.get("content") or {}).get("parts") or []
        said = [n for n, part in enumerate(parts) if "text" in part and not part.get("thought")]
        if said and not any("functionCall" in part for part in parts):
            yield _Answer(parts, said, "text")


def _parts(parts: Any, kind: str) -> Iterator[_Answer]:
    if isinstance(parts, list):
        said = [n for n, part in enumerate(parts) if part.get("type") == kind]
        if said:
            yield _Answer(parts, said, "text")


_READERS: Mapping[str, Callable[[Any], Iterator[_Answer]]] = {
    "openai_chat": _chat,
    "openai_completions": _completions,
    "openai_responses": _responses,
    "anthropic_messages": _messages,
    "gemini": _gemini,
}
