"""Conversations and answers made up at random, and what it means to keep their meaning.

`conversations(seed)` and `answers(seed)` give what no recorded case thinks of; the seed replays
them. `meaning(c)` is a conversation in a form that two dialects may be compared by, `differences`
what was lost between two of them, by kind; `unexplained` leaves what no name in `dropped` speaks
of. `Kit` is a dialect that exists in tests alone: its callers say a given conversation and its
providers answer given events, so any pair can be driven without a wire of its own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tollway import canon, dialects
from tollway import conversation as said
from tollway.canon import Event, Request
from tollway.conversation import Conversation
from tollway.dialects import Meter
from tollway.dialects.reasoning import joined_details

FORMATS = {
    "anthropic_messages": "anthropic-claude-v1",
    "bedrock_converse": "anthropic-claude-v1",
    "openai_responses": "openai-responses-v1",
    "gemini": "google-gemini-v1",
    "vertex_gemini": "google-gemini-v1",
    "vertex_anthropic": "anthropic-claude-v1",
}
"""Dialect to the format of the opaque reasoning state it takes back; chat completions of a router
take all."""


# ---- conversations -------------------------------------------------------------------------------


class Maker:
    """Parts with words that occur nowhere else, so that each can be found again in any wire."""

    def __init__(self, seed: int, format: str = "anthropic-claude-v1") -> None:
        self.random = Random(seed)
        self.format = format
        self._count = 0

    def word(self, kind: str = "w") -> str:
        self._count += 1
        return f"{kind}{self._count:04d}z"

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def text(self, marks: bool = True) -> said.Text:
        spice = self.random.choice(["", "", " é漢字", " \u2028", ' "quoted"\n', " 🙂"])
        cache = said.Cache(self.random.choice([None, "5m", "1h"]))
        marked = marks and self.chance(0.1)
        return said.Text(self.word() + spice, cache if marked else None)

    def data(self, kind: str) -> str:
        return base64.b64encode(f"{self.word(kind):<12}".encode() * 3).decode()

    def media(self) -> said.Part:
        match self.random.randrange(8):
            case 0:
                return said.File(
                    said.Source(data=self.data("pdf"), media_type="application/pdf"),
                    f"{self.word('file')}.pdf",
                )
            case 1:
                data = base64.b64encode(self.word("plain").encode()).decode()
                return said.File(said.Source(data=data, media_type="text/plain"), "note.txt")
            case 2:
                source = said.Source(data=self.data("wav"), media_type="audio/wav")
                return said.Audio(source, "wav")
            case 3:
                return said.Video(said.Source(data=self.data("mp4"), media_type="video/mp4"))
            case 4 | 5:
                return said.Image(said.Source(url=f"https://example.org/{self.word('url')}.png"))
            case _:
                return said.Image(said.Source(data=self.data("png"), media_type="image/png"))

    def thought(self, call_id: str | None) -> said.Thought:
        """Reasoning as the provider of `format` gives it back."""
        text, opaque = self.word("thought"), self.data("sig")
        match self.format:
            case "anthropic-claude-v1":
                entry = {"type": "reasoning.text", "text": text, "signature": opaque}
                entries: list[dict[str, Any]] = [{**entry, "format": self.format, "index": 0}]
            case "google-gemini-v1":
                entries = [
                    {"type": "reasoning.text", "text": text, "format": self.format, "index": 0}
                ]
                if call_id is not None:
                    state = {"type": "reasoning.encrypted", "data": opaque, "id": call_id}
                    entries.append({**state, "format": self.format, "index": 1})
            case _:
                name = f"rs_{self.word('id')}"
                common = {"id": name, "format": self.format, "index": 0}
                entries = [
                    {"type": "reasoning.summary", "summary": text, **common},
                    {"type": "reasoning.encrypted", "data": opaque, **common},
                ]
        return said.Thought(text, tuple(Raw(msgspec.json.encode(e)) for e in entries))

    def call(self) -> said.Call:
        values = {
            "q": self.word("arg"),
            "n": self.random.randrange(-5, 10**6),
            "deep": {"list": [1.5, None, True, "é"]},
        }
        arguments = json.dumps(values, ensure_ascii=self.chance(0.5))
        return said.Call(f"call_{self.word('c')}", f"tool_{self.random.randrange(3)}", arguments)

    def result(self, call: said.Call) -> said.Result:
        parts: list[said.Part] = [self.text(marks=False)]
        if self.chance(0.15):
            image = said.Source(data=self.data("png"), media_type="image/png")
            parts.append(said.Image(image))
        return said.Result(call.id, tuple(parts), call.name, self.chance(0.1))

    def turns(self, thinks: bool, tools: bool) -> Iterator[said.Turn]:
        if self.chance(0.7):
            yield said.Turn("system", tuple(self.text() for _ in range(self.random.choice([1, 2]))))
        yield self.asks()
        for _ in range(self.random.randrange(4)):
            calls = [self.call() for _ in range(self.random.randrange(4))] if tools else []
            parts: list[said.Part] = []
            if thinks and self.chance(0.7):
                parts.append(self.thought(calls[0].id if calls else None))
            if not calls or self.chance(0.5):
                parts.append(self.text())
            yield said.Turn("assistant", (*parts, *calls))
            results = tuple(self.result(call) for call in calls)
            if calls and self.chance(0.7):
                yield said.Turn("user", results)
            else:
                yield said.Turn("user", (*results, *self.asks().parts))

    def asks(self) -> said.Turn:
        parts: list[said.Part] = [self.text()]
        while self.chance(0.3):
            parts.append(self.media() if self.chance(0.7) else self.text())
        return said.Turn("user", tuple(parts))

    def schema(self) -> Raw:
        properties = {"q": {"type": "string", "description": self.word("d")}}
        shape = {"type": "object", "properties": properties, "required": ["q"]}
        return Raw(msgspec.json.encode({**shape, "additionalProperties": False}))

    def tool(self, number: int) -> said.Tool:
        cache = said.Cache() if self.chance(0.1) else None
        strict = True if self.chance(0.2) else None
        return said.Tool(f"tool_{number}", self.word("does"), self.schema(), strict, cache)

    def sampling(self) -> said.Sampling:
        possible: dict[str, Any] = {
            "temperature": 0.5,
            "top_p": 0.75,
            "top_k": 7,
            "min_p": 0.25,
            "frequency_penalty": 0.5,
            "presence_penalty": 0.25,
            "repetition_penalty": 1.25,
            "seed": 11,
            "stop": (self.word("stop"),),
        }
        return said.Sampling(**{n: v for n, v in possible.items() if self.chance(0.15)})

    def conversation(self) -> Conversation:
        tools, thinks = self.chance(0.6), self.chance(0.4)
        turns = tuple(self.turns(thinks, tools))
        choices = [said.ToolChoice("auto"), said.ToolChoice("required"), said.ToolChoice("none")]
        choices.append(said.ToolChoice("named", "tool_1"))
        thinking = [said.Thinking(True, effort="high"), said.Thinking(True, budget=2_048)]
        wants_schema = self.chance(0.2)
        shape = said.Format("schema", "answer", self.schema(), True) if wants_schema else None
        return Conversation(
            turns=turns,
            tools=tuple(self.tool(n) for n in range(3)) if tools else (),
            tool_choice=self.random.choice(choices) if tools and self.chance(0.4) else None,
            parallel_calls=False if tools and self.chance(0.2) else None,
            format=shape,
            thinking=self.random.choice(thinking) if thinks else said.Thinking(),
            sampling=self.sampling(),
        )


def conversations(
    seed: int, count: int = 50, format: str = "anthropic-claude-v1"
) -> Iterator[tuple[int, Conversation]]:
    """Each with the seed that makes it alone."""
    for n in range(count):
        yield seed + n, Maker(seed + n, format).conversation()


# ---- meaning -------------------------------------------------------------------------------------

Atom = tuple[str, ...]


def meaning(spoken: Conversation) -> list[Atom]:
    """What is said, in order: kind first, then what must be the same. Neighbouring texts of one
    speaker are one, because the line between them means nothing; the system's come first, because
    some dialects keep them apart."""
    system, rest = [], []
    for turn in said.alternating(spoken.turns):
        for part in turn.parts:
            (system if turn.role == "system" else rest).extend(_atoms(part, turn.role))
    return _joined(system) + _joined(rest)


def _joined(atoms: Sequence[Atom]) -> list[Atom]:
    joined: list[Atom] = []
    for atom in atoms:
        if joined and atom[0] == "text" and joined[-1][:2] == atom[:2]:
            joined[-1] = ("text", atom[1], joined[-1][2] + atom[2])
        else:
            joined.append(atom)
    return [a if a[0] != "text" else (*a[:2], "".join(a[2].split())) for a in joined]


def _atoms(part: said.Part, role: str) -> Iterator[Atom]:
    match part:
        case said.Text(text):
            if text:
                yield "text", role, text
        case said.Image(source) | said.Video(source) | said.Audio(source):
            yield type(part).__name__.lower(), source.data or source.url or ""
        case said.File(source, filename):
            if source.media_type == "text/plain" and source.data is not None:
                yield "text", role, base64.b64decode(source.data).decode()
            else:
                yield "file", source.data or source.url or ""
                if filename:
                    yield "filename", filename
        case said.Refusal(text):
            yield "refusal", text
        case said.Call():
            yield "call", part.id, part.name, json.dumps(json.loads(part.arguments), sort_keys=True)
        case said.Result():
            yield "result", part.call_id
            for inner in part.parts:
                yield from _atoms(inner, "tool")
        case said.Thought(text, details):
            if text:
                yield "thought", text
            for raw in details:
                entry = msgspec.json.decode(raw)
                for name in ("signature", "data"):
                    if entry.get(name):
                        yield "signature", entry[name]


def switches(spoken: Conversation) -> dict[str, Any]:
    """What is asked beside the messages, by name; equal when it means the same."""
    asked: dict[str, Any] = dict(msgspec.to_builtins(spoken.sampling))
    asked["tools"] = [
        [tool.name, tool.description, msgspec.json.decode(tool.parameters or b"null")]
        for tool in spoken.tools
    ]
    if any(tool.strict for tool in spoken.tools):
        asked["strict"] = [bool(tool.strict) for tool in spoken.tools]
    if spoken.tool_choice is not None and spoken.tool_choice.kind != "auto":
        asked["tool_choice"] = [spoken.tool_choice.kind, spoken.tool_choice.name]
    if spoken.parallel_calls is False:
        asked["parallel_tool_calls"] = False
    if spoken.format is not None:
        asked["response_format"] = [
            spoken.format.kind,
            msgspec.json.decode(spoken.format.schema or b"null"),
        ]
    if spoken.thinking.on is not None:
        asked["reasoning"] = spoken.thinking.on
    marks = [part.cache is not None for turn in spoken.turns for part in _marked(turn)]
    if any(marks):
        asked["cache_control"] = sum(marks)
    if any(tool.cache for tool in spoken.tools):
        asked["cache_control on tools"] = True
    if any(p.is_error for t in spoken.turns for p in t.parts if isinstance(p, said.Result)):
        asked["is_error"] = True
    return asked


def _marked(turn: said.Turn) -> list[said.Text]:
    return [part for part in turn.parts if isinstance(part, said.Text)]


def differences(before: Conversation, after: Conversation) -> dict[str, str]:
    """Kind of what is not the same to both sides of it, in words."""
    found: dict[str, str] = {}
    old, new = meaning(before), meaning(after)
    kinds = dict.fromkeys(atom[0] for atom in (*old, *new))
    lost = set()
    for kind in kinds:
        was, now = ([a for a in atoms if a[0] == kind] for atoms in (old, new))
        if kind == "filename":  # some wires want one: a made-up name takes nothing away
            now = [atom for atom in now if atom in was]
        if was != now:
            lost.add(kind)
            found[kind] = f"{was} became {now}"
    lost |= _UNPLACED
    was, now = ([a[0] for a in atoms if a[0] not in lost] for atoms in (old, new))
    if not found and was != now:
        found["order"] = f"{was} became {now}"
    first, second = switches(before), switches(after)
    for name in dict.fromkeys((*first, *second)):
        if first.get(name) != second.get(name):
            found[name] = f"{first.get(name)} became {second.get(name)}"
    return found


_UNPLACED = {"signature", "filename"}
"""Kinds that ride on others: on which part of an answer a signature stands is its maker's affair."""

WORDS: dict[str, tuple[str, ...]] = {
    "thought": ("reasoning", "thinking", "thought"),
    "signature": ("reasoning", "signature", "thinking"),
    "text": ("file", "document"),
    "file": ("file", "document"),
    "order": ("place", "order", "media", "image"),
    "cache_control on tools": ("cache",),
    "cache_control": ("cache",),
    "response_format": ("response_format", "structured_outputs", "format"),
    "parallel_tool_calls": ("parallel",),
    "stop": ("stop",),
    "strict": ("strict",),
    "is_error": ("is_error", "error"),
}
"""Kind of difference to the words by which a dropped name speaks of it; its own name otherwise."""


def unexplained(found: dict[str, str], dropped: Collection[str]) -> dict[str, str]:
    return {
        kind: text
        for kind, text in found.items()
        if not any(word in name for name in dropped for word in WORDS.get(kind, (kind,)))
    }


def inlined(spoken: Conversation) -> Conversation:
    """The same with every picture by address replaced by one that is there."""
    return replace(spoken, turns=tuple(replace(t, parts=_inline(t.parts)) for t in spoken.turns))


def _inline(parts: tuple[said.Part, ...]) -> tuple[said.Part, ...]:
    return tuple(
        replace(part, source=_png(part.source.url))
        if isinstance(part, said.Image) and part.source.url
        else replace(part, parts=_inline(part.parts))
        if isinstance(part, said.Result)
        else part
        for part in parts
    )


def _png(url: str) -> said.Source:
    return said.Source(data=base64.b64encode(url.encode()).decode(), media_type="image/png")


def not_found(spoken: Conversation, wire: str) -> dict[str, str]:
    """The same question to a wire that nobody here can read back: kinds of which something cannot
    be found in it, and `order` where turns are in another one."""
    found: dict[str, str] = {}
    places: list[int] = []
    for turn in spoken.turns:
        for part in turn.parts:
            for kind, mark in _marks(part):
                at = wire.find(mark)
                if at < 0:
                    found[kind] = mark
                elif turn.role != "system" and kind in ("text", "call"):
                    places.append(at)
    if places != sorted(places):
        found["order"] = str(places)
    choice = spoken.tool_choice or said.ToolChoice("auto")
    for tool in spoken.tools if choice.kind != "none" else ():
        # Where a wire cannot name the one to call, sending that one alone means the same.
        needed = choice.kind != "named" or choice.name == tool.name
        if needed and (tool.description or tool.name) not in wire:
            found["tools"] = tool.name
    for word in spoken.sampling.stop:
        if word not in wire:
            found["stop"] = word
    return found


def _marks(part: said.Part) -> Iterator[tuple[str, str]]:
    match part:
        case said.Text(text):
            yield "text", text.split()[0]
        case said.Image(source) | said.Video(source) | said.Audio(source) | said.File(source):
            kind = type(part).__name__.lower()
            if source.media_type == "text/plain" and source.data is not None:
                return
            yield kind, source.data or source.url or ""
        case said.Call():
            yield "call", json.loads(part.arguments)["q"]
        case said.Result():
            for inner in part.parts:
                yield from _marks(inner)
        case said.Thought(text, details):
            yield "thought", text
            for raw in details:
                entry = msgspec.json.decode(raw)
                if entry.get("signature") or entry.get("data"):
                    yield "signature", entry.get("signature") or entry["data"]


# ---- answers -------------------------------------------------------------------------------------


def answer(seed: int, format: str) -> list[Event]:
    """One answer as a provider streams it: thoughts, text, calls side by side, usage, the end."""
    make = Maker(seed, format)
    events: list[Event] = []
    calls = [make.call() for _ in range(make.random.randrange(4))]
    if make.chance(0.6):
        thought = make.thought(calls[0].id if calls else None)
        events += thinking(thought)
    if not calls or make.chance(0.5):
        events += [canon.Text(make.text().text) for _ in range(make.random.randrange(1, 5))]
    for index, call in enumerate(calls):
        cut = make.random.randrange(len(call.arguments) + 1)
        events.append(canon.ToolCall(index, call.id, call.name, call.arguments[:cut]))
        if cut < len(call.arguments):
            events.append(canon.ToolCall(index, None, None, call.arguments[cut:]))
    reason: canon.FinishReason = "tool_calls" if calls else make.random.choice(["stop", "length"])
    events.append(canon.Finish(reason))
    events.append(canon.Used(usage(make.random)))
    events.append(canon.Ended())
    return events


def thinking(thought: said.Thought) -> Iterator[Event]:
    """The text with its entry, then the opaque entries without text, as providers send them."""
    for raw in thought.details:
        entry = msgspec.json.decode(raw)
        text = entry.get("text") or entry.get("summary") or ""
        if text and entry.get("signature"):
            open_entry = {name: v for name, v in entry.items() if name != "signature"}
            yield canon.Reasoning(text, (Raw(msgspec.json.encode(open_entry)),))
            yield canon.Reasoning("", (Raw(msgspec.json.encode({**entry, "text": ""})),))
        else:
            yield canon.Reasoning(text, (raw,))


def usage(random: Random) -> canon.Usage:
    prompt, completion = random.randrange(100, 9_000), random.randrange(50, 900)
    return canon.Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=random.choice([0, prompt // 3]),
        cache_write_tokens=random.choice([0, prompt // 4]),
        reasoning_tokens=random.choice([0, completion // 2]),
    )


def told(events: Sequence[Event]) -> dict[str, Any]:
    """What events add up to for the first choice, by kind; nothing that was not said."""
    text = "".join(e.text for e in events if isinstance(e, canon.Text))
    thought = "".join(e.text for e in events if isinstance(e, canon.Reasoning))
    details = joined_details(
        raw for e in events if isinstance(e, canon.Reasoning) for raw in e.details
    )
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, canon.ToolCall):
            known = calls.setdefault(event.index, ["", "", ""])
            known[0] = event.id or known[0]
            known[1] = event.name or known[1]
            known[2] += event.arguments
    counted = next((e.usage for e in events if isinstance(e, canon.Used)), None)
    return {
        "text": text,
        "reasoning": thought,
        "signature": [d.get("signature") or d.get("data") for d in details if _is_opaque(d)],
        "call": [[i, name, json.loads(args or "{}")] for i, name, args in calls.values()],
        "finish": [e.reason for e in events if isinstance(e, canon.Finish)],
        "usage": None if counted is None else replace(counted, cache_write_tokens=0),
        "cache write tokens": None if counted is None else counted.cache_write_tokens,
        "ended": isinstance(events[-1], canon.Ended) if events else False,
        "failed": [e.fault.message for e in events if isinstance(e, canon.Failed)],
    }


def _is_opaque(entry: dict[str, Any]) -> bool:
    return bool(entry.get("signature") or entry.get("data"))


# ---- a dialect of its own ------------------------------------------------------------------------


class _Given:
    """A provider that answers given events: the first byte brings them all but what closes them."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.meter = Meter()
        self._events = list(events)

    def feed(self, data: bytes) -> list[Event]:
        events, self._events = self._events, []
        self.meter.ended = self.meter.spoke = True
        for event in events:
            if isinstance(event, canon.Used):
                self.meter.usage = event.usage
            if isinstance(event, canon.Finish):
                self.meter.finish = event.reason
        return events

    def finish(self) -> list[Event]:
        return []


KIT = "kit"


@contextmanager
def kit(spoken: Conversation | None = None, events: Sequence[Event] = ()) -> Iterator[ModuleType]:
    """For the length of the block, the dialect `kit` whose callers say `spoken` and whose
    providers answer `events`."""
    module: Any = ModuleType(KIT)
    module.conversation = lambda request: spoken
    module.parser = lambda stream, quirks=(): _Given(events)
    dialects._modules[KIT] = module
    try:
        yield module
    finally:
        del dialects._modules[KIT]


def asking(stream: bool = True) -> Request:
    """A request of the kit's dialect; what it says is for `kit` to answer."""
    return Request(dialect=KIT, models=("acme/one",), stream=stream, fields={})
