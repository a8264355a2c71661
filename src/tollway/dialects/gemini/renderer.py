"""Events to a generateContent answer, streamed or whole: answers of providers of another dialect.

Opposite of events. Rules: a call is written once it is whole, because Gemini has no fragments of
one; thoughts are shown only to callers that asked for them, their opaque state always goes along
(signatures): on the first call, else on a last empty text part, as Gemini itself does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event
from ...errors import TollwayError
from .. import Bill, Head
from ..reasoning import joined_details
from ..surrogates import object_of
from .answer import FINISH, NATIVE
from .failing import render_error
from .framing import Framing, ending_fields
from .grounding import grounding_metadata, logprobs_result
from .signatures import FORMAT, envelope

Json = dict[str, Any]


class StreamRenderer:
    """Events to chunks. See `translated.Renderer`."""

    def __init__(self, head: Head, sse: bool = True, shows_thoughts: bool = True) -> None:
        self._head = head
        self._framing = Framing(head, sse)
        self._shows = shows_thoughts
        self._candidates: dict[int, _Candidate] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for said in events:
            if isinstance(said, canon.Text):
                candidate = self._candidate(said.choice)
                if candidate.calls:
                    self._write(out, said.choice, candidate.whole_calls())
                candidate.texts.append(said.text)
                self._write_parts(out, said.choice, _TEXT + msgspec.json.encode(said.text) + b"}]")
            elif not isinstance(said, canon.Used | canon.Ended | canon.Failed):
                self._write(out, said.choice, self._candidate(said.choice).take(said))
        return b"".join(out)

    def ending(self, bill: Bill) -> bytes:
        if not self._candidates:
            self._candidate(0)
        candidates = [one.ending(index) for index, one in sorted(self._candidates.items())]
        last = {"candidates": candidates, **ending_fields(self._head, bill)}
        return self._framing.chunk(msgspec.json.encode(last)) + self._framing.close()

    def failure(self, error: TollwayError) -> bytes:
        return self._framing.chunk(render_error(error)) + self._framing.close()

    def _candidate(self, index: int) -> _Candidate:
        found = self._candidates.get(index)
        if found is None:
            found = self._candidates[index] = _Candidate(self._shows)
        return found

    def _write(self, out: list[bytes], index: int, parts: list[Json]) -> None:
        if parts:
            self._write_parts(out, index, msgspec.json.encode(parts))

    def _write_parts(self, out: list[bytes], index: int, parts: bytes) -> None:
        json = b'%b%b,"role":"model"},"index":%d}]%b' % (_BEFORE, parts, index, self._framing.after)
        out.append(self._framing.chunk(json))


_BEFORE = b'{"candidates":[{"content":{"parts":'
_TEXT = b'[{"text":'


class BodyRenderer:
    """Events to one body. See `translated.Renderer`."""

    def __init__(self, head: Head, shows_thoughts: bool = True) -> None:
        self._head = head
        self._shows = shows_thoughts
        self._candidates: dict[int, _Candidate] = {}
        self._parts: dict[int, list[Json]] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        for said in events:
            if isinstance(said, canon.Used | canon.Ended | canon.Failed):
                continue
            candidate = self._candidates.setdefault(said.choice, _Candidate(self._shows))
            self._add(said.choice, candidate.take(said))
        return b""

    def ending(self, bill: Bill) -> bytes:
        candidates = []
        for index, candidate in sorted(self._candidates.items()):
            last = candidate.ending(index)
            content = last.pop("content", None)
            self._add(index, content["parts"] if content is not None else [])
            parts = [part for part in self._parts.get(index, ()) if part != {"text": ""}]
            if parts or content is not None:
                whole = {"parts": parts or [{"text": ""}], "role": "model"}
                last = {"content": whole, **last}
            candidates.append(last)
        body = {"candidates": candidates, **ending_fields(self._head, bill)}
        return msgspec.json.encode(body)

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)

    def _add(self, index: int, parts: list[Json]) -> None:
        """Pieces of one text are one part; a signature that follows a text stands on it."""
        known = self._parts.setdefault(index, [])
        for part in parts:
            last = known[-1] if known else None
            if last is None or "text" not in part or not _continues(last, part):
                known.append(part)
            else:
                known[-1] = {**last, **part, "text": last["text"] + part["text"]}


def _continues(last: Json, part: Json) -> bool:
    plain = "text" in last and "thoughtSignature" not in last
    return plain and last.get("thought") == part.get("thought")


class _Candidate:
    """One answer while it is being said."""

    def __init__(self, shows_thoughts: bool) -> None:
        self.texts: list[str] = []
        self.calls: dict[int, _Called] = {}
        """Calls that are not written yet."""
        self._shows = shows_thoughts
        self._finish: canon.Finish | None = None
        self._foreign: list[Raw] = []
        self._signatures: dict[str, str] = {}
        self._cited: list[Raw] = []
        self._logprobs: list[Json] = []

    def take(self, said: Event) -> list[Json]:
        """The parts that this event completes."""
        match said:
            case canon.Text(text) | canon.Refusal(text):
                calls = self.whole_calls()
                self.texts.append(text)
                return [*calls, {"text": text}] if text else calls
            case canon.Reasoning():
                return self._reasoning(said)
            case canon.ToolCall():
                known = self.calls.setdefault(said.index, _Called())
                known.id = said.id or known.id
                known.name = said.name or known.name
                known.arguments.append(said.arguments)
            case canon.Extra():
                return self._extra(said)
            case canon.Finish():
                self._finish = said
        return []

    def ending(self, index: int) -> Json:
        """What is left to say, with the reason why the answer ended."""
        parts = self.whole_calls(everything=True)
        state = self._state()
        if state is not None:
            parts.append({"text": "", "thoughtSignature": state})
        finish = self._finish or canon.Finish("stop")
        native = finish.native or ""
        same = FINISH.get(native) == ("stop" if finish.reason == "tool_calls" else finish.reason)
        candidate: Json = {}
        if parts or finish.reason in ("stop", "length", "tool_calls"):
            candidate["content"] = {"parts": parts or [{"text": ""}], "role": "model"}
        candidate["finishReason"] = native if same else NATIVE[finish.reason]
        candidate["index"] = index
        sources = grounding_metadata(self._cited, "".join(self.texts)) if self._cited else None
        if sources is not None:
            candidate["groundingMetadata"] = sources
        if self._logprobs:
            candidate["logprobsResult"] = {
                name: [entry for result in self._logprobs for entry in result[name]]
                for name in ("chosenCandidates", "topCandidates")
            }
        return candidate

    def whole_calls(self, everything: bool = False) -> list[Json]:
        """Calls that are complete, because something else follows them."""
        if not self.calls:
            return []
        parts: list[Json] = []
        for index, called in sorted(self.calls.items()):
            args = called.args()
            if args is None and not everything:
                break
            del self.calls[index]
            call = {"id": called.id, "name": called.name}
            told: object = {"arguments": "".join(called.arguments)} if args is None else args
            part: Json = {"functionCall": {**call, "args": told}}
            signature = self._signatures.pop(called.id, None) or self._state(calls=True)
            if signature is not None:
                part["thoughtSignature"] = signature
            parts.append(part)
        return parts

    def _reasoning(self, said: canon.Reasoning) -> list[Json]:
        parts: list[Json] = []
        signature: str | None = None
        for raw in said.details:
            entry = msgspec.json.decode(raw, type=dict[str, Any])
            if entry.get("format") != FORMAT:
                self._foreign.append(raw)
            elif entry.get("id") and entry.get("data"):
                self._signatures[entry["id"]] = entry["data"]
            elif entry.get("data"):
                parts.append({"text": "", "thoughtSignature": entry["data"]})
            else:
                signature = entry.get("signature") or signature
        if said.text and self._shows:
            block: Json = {"text": said.text, "thought": True}
            if signature is not None:
                block["thoughtSignature"] = signature
            parts.insert(0, block)
        return [*self.whole_calls(), *parts] if parts else []

    def _state(self, calls: bool = False) -> str | None:
        """Opaque state of other providers, once: what is signed, and beside a call also the plain
        thoughts, because some models want them back there."""
        if not self._foreign:
            return None
        details = joined_details(self._foreign)
        if not calls and not any(one.get("signature") or one.get("data") for one in details):
            return None
        self._foreign.clear()
        return envelope(details)

    def _extra(self, said: canon.Extra) -> list[Json]:
        if said.name == "annotations":
            self._cited += msgspec.json.decode(said.value, type=list[Raw])
        elif said.name == "logprobs":
            result = logprobs_result(said.value)
            if result is not None:
                self._logprobs.append(result)
        elif said.name in ("images", "audio"):
            return [*self.whole_calls(), *_media(said)]
        return []


class _Called:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []

    def args(self) -> object:
        """The arguments as an object, {} where there are none; None while they are not one."""
        text = "".join(self.arguments)
        return object_of(text) if text.strip() else {}


def _media(said: canon.Extra) -> list[Json]:
    value = msgspec.json.decode(said.value)
    if said.name == "audio":
        data = value.get("data") if isinstance(value, dict) else None
        kind = "audio/L16;codec=pcm;rate=24000"
        return [{"inlineData": {"mimeType": kind, "data": data}}] if data else []
    parts: list[Json] = []
    for image in value if isinstance(value, list) else [value]:
        holder = image.get("image_url") if isinstance(image, dict) else None
        url = holder.get("url") if isinstance(holder, dict) else None
        if not isinstance(url, str):
            continue
        head, _, data = url.partition(",")
        if url.startswith("data:"):
            kind = head[5:].partition(";")[0] or "image/png"
            parts.append({"inlineData": {"mimeType": kind, "data": data}})
        else:
            parts.append({"fileData": {"mimeType": "image/png", "fileUri": url}})
    return parts
