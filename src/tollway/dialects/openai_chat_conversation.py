"""What a chat completion request says, as a `Conversation`: for providers of another dialect.

Read from the fields that parse_request has checked. Opposite: openai_chat_written. Rules: what the
pivot has no place for becomes an extra under its own name (`tools.web_search`, `messages.audio`),
so that a target can send it or name it as dropped; nothing is forgotten here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from .. import conversation as said
from ..canon import Request
from ..conversation import Conversation
from . import openai_chat_schema as schema
from .openai_chat_render import OURS
from .reasoning import wanted


def conversation(request: Request) -> Conversation:
    """`request` is one of this dialect, or of legacy completions, whose fields are the same."""
    fields = request.fields
    extras = {name: raw for name, raw in fields.items() if name not in _TAKEN}
    turns = _turns(fields["messages"], extras)
    tools = _tools_of(fields, extras)
    return Conversation(
        turns=turns,
        tools=tools,
        tool_choice=_tool_choice(fields, extras),
        parallel_calls=_value(fields, "parallel_tool_calls", bool),
        format=_format(fields, extras),
        thinking=_thinking(fields),
        verbosity=_value(fields, "verbosity", str),
        sampling=_sampling(fields),
        output_modalities=tuple(_value(fields, "modalities", list[str]) or ()),
        cache=_cache(_value(fields, "cache_control", schema.CacheControl)),
        cache_key=_value(fields, "prompt_cache_key", str),
        extras=extras,
    )


_SAMPLING = frozenset(said.Sampling.__struct_fields__)
_TAKEN = (
    OURS - {"image_config"}
    | _SAMPLING
    | {
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "verbosity",
        "modalities",
        "prompt_cache_key",
        "stream",
        "n",
    }
)
_messages = msgspec.json.Decoder(list[schema.Message])


class _Kept(msgspec.Struct):
    """What of a message must come back byte for byte."""

    reasoning_details: Raw = Raw(b"")


_kept = msgspec.json.Decoder(list[_Kept])
_raws = msgspec.json.Decoder(list[Raw])


# ---- messages ------------------------------------------------------------------------------------


def _turns(messages: Raw, extras: dict[str, Raw]) -> tuple[said.Turn, ...]:
    names: dict[str, str] = {}
    """Tool call to the name of its function: results need not repeat it."""
    turns: list[said.Turn] = []
    for message, kept in zip(_messages.decode(messages), _kept.decode(messages), strict=True):
        match message:
            case schema.User():
                turns.append(said.Turn("user", _content(message.content), message.name))
            case schema.Assistant():
                parts = _assistant(message, kept, names, extras)
                turns.append(said.Turn("assistant", parts, message.name))
            case schema.Tool():
                name = message.name or names.get(message.tool_call_id)
                result = said.Result(message.tool_call_id, _content(message.content), name)
                turns.append(said.Turn("user", (result,)))
            case schema.System() | schema.Developer():
                if message.configuration_update is not None:
                    update = msgspec.json.encode(message.configuration_update)
                    extras["messages.configuration_update"] = Raw(update)
                turns.append(said.Turn("system", _content(message.content), message.name))
    return tuple(turns)


def _assistant(
    message: schema.Assistant, kept: _Kept, names: dict[str, str], extras: dict[str, Raw]
) -> tuple[said.Part, ...]:
    """Thoughts, then what was said and shown, then calls: the one order chat messages have."""
    parts: list[said.Part] = []
    thought = message.reasoning or message.reasoning_content
    entries = message.reasoning_details or ()
    details = tuple(_raws.decode(kept.reasoning_details)) if entries else ()
    if thought or details:
        shown = "".join(entry.text or entry.summary or "" for entry in entries)
        parts.append(said.Thought(thought or shown, details))
    content = list(_content(message.content or ()))
    if message.annotations:
        _cite(content, tuple(Raw(msgspec.json.encode(entry)) for entry in message.annotations))
    parts += content
    if message.refusal:
        parts.append(said.Refusal(message.refusal))
    for image in message.images or ():
        url = _url_of(image)
        if url:
            parts.append(said.Image(said.source_of(url)))
    if message.audio is not None:
        extras["messages.audio"] = Raw(msgspec.json.encode(message.audio))
    for call in message.tool_calls or ():
        if call.function is None:
            extras[f"messages.{call.type}"] = Raw(msgspec.json.encode(call))
            continue
        names[call.id] = call.function.name
        parts.append(said.Call(call.id, call.function.name, call.function.arguments))
    return tuple(parts)


def _cite(content: list[said.Part], citations: tuple[Raw, ...]) -> None:
    """Annotations belong to the message; they are kept with its last text."""
    for n in range(len(content) - 1, -1, -1):
        part = content[n]
        if isinstance(part, said.Text):
            content[n] = msgspec.structs.replace(part, citations=citations)
            return
    content.append(said.Text("", citations=citations))


def _url_of(image: Any) -> str | None:
    holder = image.get("image_url") if isinstance(image, dict) else None
    url = holder.get("url") if isinstance(holder, dict) else None
    return url if isinstance(url, str) else None


def _content(content: str | Sequence[schema.Part]) -> tuple[said.Part, ...]:
    if isinstance(content, str):
        return (said.Text(content),) if content else ()
    return tuple(_part(part) for part in content)


def _part(part: schema.Part) -> said.Part:
    match part:
        case schema.Text(text):
            cache = _cache(part.cache_control) or _breakpoint(part.prompt_cache_breakpoint)
            return said.Text(text, cache)
        case schema.RefusalPart(text):
            return said.Refusal(text)
        case schema.Image(image):
            source = said.source_of(image.url)
            return said.Image(source, image.detail, _cache(part.cache_control))
        case schema.Audio(audio):
            form = audio.format or "wav"
            source = said.Source(data=audio.data, media_type=f"audio/{form}")
            return said.Audio(source, form, _cache(part.cache_control))
        case schema.File(file):
            return said.File(_document(file), file.filename, _cache(part.cache_control))
        case schema.Video(video) | schema.LegacyVideo(video):
            return said.Video(said.source_of(video.url), _cache(part.cache_control))


def _document(file: schema.FileData) -> said.Source:
    """`file_data` is a data URL, bare base64 or, as routers take it, an address."""
    if file.file_id is not None:
        return said.Source(file_id=file.file_id)
    data = file.file_data or file.file_url or ""
    if data.startswith(("data:", "http://", "https://")):
        return said.source_of(data)
    return said.Source(data=data)


def _cache(marker: schema.CacheControl | None) -> said.Cache | None:
    return None if marker is None else said.Cache(marker.ttl)


def _breakpoint(marker: dict[str, Any] | None) -> said.Cache | None:
    if marker is None:
        return None
    ttl = marker.get("ttl")
    return said.Cache(ttl if isinstance(ttl, str) else None)


# ---- tools, format, switches ---------------------------------------------------------------------


_T = TypeVar("_T")


def _value(fields: Mapping[str, Raw], name: str, kind: type[_T]) -> _T | None:
    raw = fields.get(name)
    return None if raw is None else msgspec.json.decode(raw, type=kind)


def _tools_of(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> tuple[said.Tool, ...]:
    tools: list[said.Tool] = []
    for given in _value(fields, "tools", list[Raw]) or ():
        tool = msgspec.json.decode(given, type=schema.ToolDefinition)
        function = tool.function
        if tool.type != "function" or function is None:
            extras[f"tools.{tool.type}"] = given
            continue
        if tool.defer_loading is not None:
            extras["tools.defer_loading"] = Raw(msgspec.json.encode(tool.defer_loading))
        parameters = None
        if function.parameters is not None:
            parameters = Raw(msgspec.json.encode(function.parameters))
        tools.append(
            said.Tool(
                function.name,
                function.description,
                parameters,
                function.strict,
                _cache(tool.cache_control),
            )
        )
    return tuple(tools)


def _tool_choice(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> said.ToolChoice | None:
    raw = fields.get("tool_choice")
    if raw is None:
        return None
    choice = msgspec.json.decode(raw, type=str | schema.NamedChoice)
    match choice:
        case "auto" | "none" | "required":
            return said.ToolChoice(choice)
        case schema.NamedChoice(type="function", function=schema.FunctionName(name)):
            return said.ToolChoice("named", name)
    extras["tool_choice"] = raw
    return None


def _format(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> said.Format | None:
    wanted_format = _value(fields, "response_format", schema.ResponseFormat)
    if wanted_format is None or wanted_format.type == "text":
        return None
    if wanted_format.type == "json_object":
        return said.Format("json")
    given = wanted_format.json_schema
    if wanted_format.type != "json_schema" or given is None:
        extras["response_format"] = fields["response_format"]
        return None
    own = None if given.schema is None else Raw(msgspec.json.encode(given.schema))
    return said.Format("schema", given.name, own, given.strict, given.description)


def _thinking(fields: Mapping[str, Raw]) -> said.Thinking:
    asked = wanted(fields)
    given = _value(fields, "reasoning", schema.Reasoning) or schema.Reasoning()
    return said.Thinking(asked.on, asked.effort, asked.budget, asked.exclude, given.summary)


def _sampling(fields: Mapping[str, Raw]) -> said.Sampling:
    given: dict[str, Any] = {
        name: msgspec.json.decode(fields[name]) for name in _SAMPLING if name in fields
    }
    stop = given.get("stop")
    if isinstance(stop, str):
        given["stop"] = [stop]
    return msgspec.convert(given, said.Sampling)
