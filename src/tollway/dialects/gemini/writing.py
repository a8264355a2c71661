"""A `Conversation` as `contents`, `systemInstruction`, `tools` and `toolConfig`.

Opposite of conversation. Not here: the configuration (render). Rules: roles alternate; the results
of calls come first in the turn after them, in the calls' order; a signature of Gemini's own goes
back byte for byte on the part it came with, any other is dropped by name; what cannot be said is
named in `dropped`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as said
from ...conversation import Conversation
from ..surrogates import object_of
from .request import MEDIA_TYPES
from .signatures import FORMAT, UNSIGNED

Json = dict[str, Any]


class Pen:
    """Writes turns; remembers what there is no place for, in the order it was met."""

    def __init__(self, *, wants_signatures: bool) -> None:
        self.dropped: dict[str, None] = {}
        self._wants_signatures = wants_signatures
        self._names: dict[str, str] = {}
        """Call to the name of its function."""

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def fields(self, spoken: Conversation) -> dict[str, object]:
        system, turns = said.split_system(spoken.turns)
        for turn in spoken.turns:
            for part in turn.parts:
                if getattr(part, "cache", None) is not None:
                    self.drop("cache_control")
        contents = self._contents(turns)
        texts = [{"text": part.text} for part in system if part.text]
        if not contents:
            contents, texts = [{"role": "user", "parts": texts or [{"text": ""}]}], []
        fields: dict[str, object] = {"contents": contents}
        if texts:
            fields["systemInstruction"] = {"parts": texts}
        if spoken.tools:
            fields["tools"] = [{"functionDeclarations": [self._tool(t) for t in spoken.tools]}]
            if spoken.tool_choice is not None:
                fields["toolConfig"] = {"functionCallingConfig": _choice(spoken.tool_choice)}
        return fields

    # ---- turns -----------------------------------------------------------------------------------

    def _contents(self, turns: tuple[said.Turn, ...]) -> list[Json]:
        if any(turn.role == "system" for turn in turns):
            self.drop("role of a later system message")
            turns = tuple(
                msgspec.structs.replace(turn, role="user") if turn.role == "system" else turn
                for turn in turns
            )
        if any(turn.name is not None for turn in turns):
            self.drop("messages.name")
        contents: list[Json] = []
        order: dict[str, int] = {}
        for turn in said.alternating(turns):
            if turn.role == "assistant":
                parts = self._answer(turn.parts)
                order = {
                    part.id: n for n, part in enumerate(turn.parts) if isinstance(part, said.Call)
                }
                role = "model"
            else:
                parts = self._user(turn.parts, order)
                role = "user"
            if parts:
                contents.append({"role": role, "parts": parts})
        return contents

    def _user(self, parts: Sequence[said.Part], order: dict[str, int]) -> list[Json]:
        results = [part for part in parts if isinstance(part, said.Result)]
        results.sort(key=lambda result: order.get(result.call_id, len(order)))
        written = [self._result(result) for result in results]
        for part in parts:
            if not isinstance(part, said.Result):
                written += self._part(part)
        return written

    def _answer(self, parts: Sequence[said.Part]) -> list[Json]:
        """A turn of the model, its signatures on the parts they belong to."""
        signed = _Signed(parts)
        for name in signed.foreign:
            self.drop(name)
        last_text = max(
            (n for n, part in enumerate(parts) if isinstance(part, said.Text) and part.text),
            default=None,
        )
        calls = [n for n, part in enumerate(parts) if isinstance(part, said.Call)]
        loose = signed.loose
        written: list[Json] = []
        for n, part in enumerate(parts):
            if isinstance(part, said.Thought):
                written += signed.thoughts(part)
                continue
            pieces = self._part(part)
            if isinstance(part, said.Call):
                signature = signed.of_call.get(part.id)
                if signature is None and n == calls[0]:
                    if loose is not None and last_text is None:
                        signature, loose = loose, None
                    elif self._wants_signatures:
                        signature = UNSIGNED
                if signature is not None:
                    pieces[0]["thoughtSignature"] = signature
            elif n == last_text and loose is not None:
                pieces[-1]["thoughtSignature"], loose = loose, None
            written += pieces
        if loose is not None:
            written.append({"text": "", "thoughtSignature": loose})
        return written

    # ---- parts -----------------------------------------------------------------------------------

    def _part(self, part: said.Part) -> list[Json]:
        match part:
            case said.Text(text) | said.Refusal(text):
                return [{"text": text}] if text else []
            case said.Image(source, detail):
                if detail not in (None, "auto"):
                    self.drop("image detail")
                return self._media(source, "image/jpeg")
            case said.File(source, filename):
                return self._media(source, "application/pdf", filename)
            case said.Audio(source, form):
                if source.media_type is None:
                    kind = MEDIA_TYPES.get(form, f"audio/{form}")
                    source = msgspec.structs.replace(source, media_type=kind)
                return self._media(source, "audio/wav")
            case said.Video(source):
                return self._media(source, "video/mp4")
            case said.Call(call_id, name, arguments):
                self._names[call_id] = name
                call = {"id": call_id, "name": name, "args": self._arguments(arguments)}
                return [{"functionCall": call}]
            case said.Result():
                return [self._result(part)]
        return []

    def _media(self, source: said.Source, otherwise: str, name: str | None = None) -> list[Json]:
        media_type = source.media_type
        if name:
            self.drop("filename")
        if source.data is not None:
            kind = media_type or _by_ending(name) or otherwise
            return [{"inlineData": {"mimeType": kind, "data": source.data}}]
        uri = source.url or source.file_id or ""
        if not uri.startswith(("https://", "http://")):
            self.drop("file_id")  # foreign ids mean nothing; gs:// would be read with our rights
            return []
        kind = media_type or _by_ending(uri) or _by_ending(name) or otherwise
        return [{"fileData": {"mimeType": kind, "fileUri": uri}}]

    def _arguments(self, text: str) -> object:
        """The arguments as the model wrote them where they are an object; a Gemini call has no
        place for anything else."""
        if not text.strip():
            return {}
        found = object_of(text)
        if found is not None:
            return found
        self.drop("arguments that are no JSON object")
        return {"arguments": text}

    def _result(self, result: said.Result) -> Json:
        texts = [part.text for part in result.parts if isinstance(part, said.Text)]
        text = "\n".join(texts)
        response: object = {"error" if result.is_error else "result": text}
        if not result.is_error and text[:1] == "{" and _is_object(text):
            response = Raw(text.encode())
        name = result.name or self._names.get(result.call_id) or result.call_id
        answer: Json = {"id": result.call_id, "name": name, "response": response}
        media = [
            piece
            for part in result.parts
            if not isinstance(part, said.Text)
            for piece in self._part(part)
        ]
        if media:
            answer["parts"] = media
        return {"functionResponse": answer}

    def _tool(self, tool: said.Tool) -> Json:
        if tool.cache is not None:
            self.drop("cache_control")
        if tool.strict:
            self.drop("tools.strict")
        function: Json = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parametersJsonSchema"] = tool.parameters
        return function


class _Signed:
    """The opaque state in a turn of the model, sorted by where it belongs."""

    def __init__(self, parts: Sequence[said.Part]) -> None:
        self.of_call: dict[str, str] = {}
        self.loose: str | None = None
        """Of the answer's text, or of a call whose id nobody kept."""
        self.foreign: dict[str, None] = {}
        self._blocks: dict[int, list[Json]] = {}
        calls = {part.id for part in parts if isinstance(part, said.Call)}
        for part in parts:
            if not isinstance(part, said.Thought):
                continue
            if part.text and not part.details:
                self.foreign["reasoning"] = None
            for raw in part.details:
                self._sort(msgspec.json.decode(raw, type=dict[str, Any]), part, calls)

    def thoughts(self, thought: said.Thought) -> list[Json]:
        return self._blocks.get(id(thought), [])

    def _sort(self, entry: Json, thought: said.Thought, calls: set[str]) -> None:
        form = entry.get("format") or "unknown"
        if form != FORMAT:
            opaque = entry.get("signature") or entry.get("data")
            self.foreign[f"reasoning signature ({form})" if opaque else "reasoning"] = None
        elif isinstance(entry.get("data"), str):
            call_id = entry.get("id")
            if call_id in calls:
                self.of_call[call_id] = entry["data"]
            else:
                self.loose = entry["data"]
        elif entry.get("text") or entry.get("signature"):
            block: Json = {"text": entry.get("text") or "", "thought": True}
            if isinstance(entry.get("signature"), str):
                block["thoughtSignature"] = entry["signature"]
            self._blocks.setdefault(id(thought), []).append(block)


def _choice(choice: said.ToolChoice) -> Json:
    match choice.kind:
        case "auto":
            return {"mode": "AUTO"}
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case "named":
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _by_ending(name: str | None) -> str | None:
    plain = (name or "").partition("?")[0].partition("#")[0]
    if "." not in plain.rpartition("/")[2]:
        return None
    return MEDIA_TYPES.get(plain.rpartition(".")[2].lower())
