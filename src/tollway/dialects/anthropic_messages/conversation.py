"""A Messages request as a `Conversation`, for providers of another dialect.

Rules: blocks keep their order; a run of thinking blocks is one Thought, its signatures as
`reasoning_details`. What has no place in a conversation (the vendor's own tools and their
results, editing of the context) is named in `extras`, so that the target reports it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as talk
from ...canon import Request
from ...conversation import Conversation, Part, Turn
from . import schema
from .opaque import is_native, read_detail, redacted_detail, thinking_detail, unwrapped


def conversation(request: Request) -> Conversation:
    """What a request of this dialect says. Its fields have been validated."""
    fields = request.fields
    lost: set[str] = set()
    turns: list[Turn] = []
    if "system" in fields:
        system = msgspec.json.decode(fields["system"], type=str | list[schema.Block])
        turns.append(Turn("system", _parts(system, lost)))
    for message in schema.turns_decoder.decode(fields["messages"]):
        turns.append(_turn(message, lost))
    choice, parallel = _choice(fields)
    config = _read(fields, "output_config", schema.OutputConfig) or schema.OutputConfig()
    mark = _read(fields, "cache_control", schema.CacheControl)
    extras = {name: raw for name, raw in fields.items() if name in _EXTRAS}
    return Conversation(
        turns=tuple(turns),
        tools=_tools(fields, lost),
        tool_choice=choice,
        parallel_calls=parallel,
        format=_format(config.format),
        thinking=_thinking(fields, config.effort),
        sampling=_sampling(fields),
        cache=_cache(mark),
        extras={**extras, **{name: Raw(b"true") for name in sorted(lost)}},
    )


_EXTRAS = frozenset({"context_management", "container", "mcp_servers", "safeguards"})


def _read(fields: Mapping[str, Raw], name: str, kind: type[Any]) -> Any:
    return msgspec.json.decode(fields[name], type=kind) if name in fields else None


def _cache(mark: schema.CacheControl | None) -> talk.Cache | None:
    return None if mark is None else talk.Cache(mark.ttl)


# ---- messages ------------------------------------------------------------------------------------


def _turn(message: schema.Message, lost: set[str]) -> Turn:
    role = message.role
    assert role in ("user", "assistant", "system")
    return Turn(role, _parts(message.content, lost))  # type: ignore[arg-type]


def _parts(content: str | Sequence[schema.Block], lost: set[str]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (talk.Text(content),)
    parts: list[Part] = []
    thoughts = 0
    for block in content:
        if block.type in ("thinking", "redacted_thinking"):
            thought = _thought(block, thoughts)
            thoughts += 1
            if parts and isinstance(parts[-1], talk.Thought):
                before = parts.pop()
                assert isinstance(before, talk.Thought)
                thought = talk.Thought(before.text + thought.text, before.details + thought.details)
            parts.append(thought)
        else:
            parts += _part(block, lost)
    return tuple(parts)


def _part(block: schema.Block, lost: set[str]) -> tuple[Part, ...]:
    cache = _cache(block.cache_control)
    match block.type:
        case "text":
            return (talk.Text(block.text or "", cache, _citations(block.citations)),)
        case "image":
            assert isinstance(block.source, schema.Source)
            return (talk.Image(_source(block.source), cache=cache),)
        case "document":
            assert isinstance(block.source, schema.Source)
            return (talk.File(_source(block.source), block.title, cache),)
        case "tool_use":
            arguments = bytes(block.input).decode()
            return (talk.Call(block.id or "", block.name or "", arguments, cache),)
        case "tool_result":
            inner = block.content if isinstance(block.content, str | list) else ""
            parts = _parts(inner, lost) if inner else ()
            error = block.is_error is True
            return (talk.Result(block.tool_use_id or "", parts, is_error=error, cache=cache),)
        case "search_result":
            return (talk.Text(_search_result(block), cache),)
        case _:
            lost.add(f"messages.{block.type[:64]}")
            return ()


def _thought(block: schema.Block, index: int) -> talk.Thought:
    """Its signature as an entry of `reasoning_details`: Anthropic's, or another vendor's that was
    given to the client in this disguise. A thought without any is only text."""
    text = block.thinking or ""
    opaque = block.data if block.type == "redacted_thinking" else block.signature
    foreign = unwrapped(opaque or "")
    if foreign is not None:
        return talk.Thought(text, (_with_text(foreign, text),))
    if not is_native(opaque):
        return talk.Thought(text)
    if block.type == "redacted_thinking":
        return talk.Thought("", (redacted_detail(opaque or "", index),))
    return talk.Thought(text, (thinking_detail(text, opaque, index),))


def _with_text(entry: Raw, text: str) -> Raw:
    """A foreign entry, with the text that travelled beside it put back."""
    detail = read_detail(entry)
    name = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(
        detail.type if detail else ""
    )
    if not text or name is None:
        return entry
    return Raw(msgspec.json.encode({**schema.fields_decoder.decode(entry), name: text}))


def _source(source: schema.Source) -> talk.Source:
    match source.type:
        case "url":
            return talk.source_of(source.url or "")
        case "file":
            return talk.Source(file_id=source.file_id)
        case "text":
            return _as_text(source.data or "")
        case "content":
            return _as_text(_text_of(source.content))
        case _:
            return talk.Source(data=source.data, media_type=source.media_type)


def _as_text(text: str) -> talk.Source:
    data = b64encode(text.encode(errors="replace")).decode()
    return talk.Source(data=data, media_type="text/plain")


def _text_of(content: str | list[schema.Block] | None) -> str:
    if isinstance(content, list):
        return "\n".join(block.text for block in content if block.text)
    return content or ""


def _search_result(block: schema.Block) -> str:
    where = block.source if isinstance(block.source, str) else ""
    content = block.content if isinstance(block.content, str | list) else None
    return "\n".join(line for line in (block.title, where, _text_of(content)) if line)


def _citations(raw: Raw) -> tuple[Raw, ...]:
    """Citations of the web as annotations; those of documents point into the vendor's own count
    of blocks and pages and mean nothing elsewhere."""
    if bytes(raw)[:1] != b"[":
        return ()
    found = []
    for citation in msgspec.json.decode(raw):
        annotation = annotation_of(citation) if isinstance(citation, dict) else None
        if annotation is not None:
            found.append(Raw(msgspec.json.encode(annotation)))
    return tuple(found)


def annotation_of(citation: Mapping[str, Any]) -> dict[str, Any] | None:
    """A citation as a `url_citation` entry, or None where it cites no address."""
    url = citation.get("url") or citation.get("source")
    if not isinstance(url, str) or not url:
        return None
    entry = {"url": url, "title": citation.get("title"), "content": citation.get("cited_text")}
    return {
        "type": "url_citation",
        "url_citation": {name: value for name, value in entry.items() if isinstance(value, str)},
    }


# ---- tools and switches --------------------------------------------------------------------------


def _tools(fields: Mapping[str, Raw], lost: set[str]) -> tuple[talk.Tool, ...]:
    if "tools" not in fields:
        return ()
    tools = []
    for tool in schema.tools_decoder.decode(fields["tools"]):
        if tool.type not in (None, "custom"):
            lost.add(f"tools.{(tool.type or '')[:64]}")
            continue
        parameters = Raw(msgspec.json.encode(tool.input_schema))
        cache = _cache(tool.cache_control)
        tools.append(talk.Tool(tool.name or "", tool.description, parameters, tool.strict, cache))
    return tuple(tools)


_CHOICES: Mapping[str, Any] = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}


def _choice(fields: Mapping[str, Raw]) -> tuple[talk.ToolChoice | None, bool | None]:
    choice = _read(fields, "tool_choice", schema.ToolChoice)
    if choice is None:
        return None, None
    parallel = choice.disable_parallel_tool_use
    kind = _CHOICES[choice.type]
    name = choice.name if kind == "named" else None
    return talk.ToolChoice(kind, name), None if parallel is None else not parallel


def _format(wanted: schema.Format | None) -> talk.Format | None:
    if wanted is None:
        return None
    return talk.Format("schema", schema=Raw(msgspec.json.encode(wanted.schema)), strict=True)


def _thinking(fields: Mapping[str, Raw], effort: str | None) -> talk.Thinking:
    said = _read(fields, "thinking", schema.Thinking)
    if said is None:
        return talk.Thinking() if effort is None else talk.Thinking(on=True, effort=effort)
    if said.type == "disabled":
        return talk.Thinking(on=False)
    budget = said.budget_tokens if said.type == "enabled" else None
    hidden = said.display == "omitted"
    return talk.Thinking(True, None if budget else effort, budget, hidden)


def _sampling(fields: Mapping[str, Raw]) -> talk.Sampling:
    return talk.Sampling(
        temperature=_read(fields, "temperature", float),
        top_p=_read(fields, "top_p", float),
        top_k=_read(fields, "top_k", int),
        stop=tuple(_read(fields, "stop_sequences", list[str]) or ()),
    )
