"""What a Responses request says, as a `Conversation`: for providers of another dialect.

Read from the fields that parse_request has checked. Opposite: written. Rules: adjacent items of the
assistant (reasoning, messages, calls) are one turn, in their order; what the pivot has no place for
becomes an extra under its own name (`tools.file_search`, `input.computer_call`), so that a target
can name it as dropped; nothing is forgotten here. Where nothing else is left, there is no
conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as said
from ... import errors
from ...canon import Request
from ...conversation import Conversation
from .. import openai_chat_schema as chat
from ..reasoning import wanted
from . import schema
from .freeform import function, wrapped
from .request import ENCRYPTED, LOGPROBS, decoded, items_of
from .rules import OURS
from .thoughts import details_of


def conversation(request: Request) -> Conversation:
    """Raises CallerError (400) where the input has items for a provider of this dialect alone."""
    fields = request.fields
    extras = {name: raw for name, raw in fields.items() if name not in _TAKEN}
    text: schema.TextConfig = decoded(fields, "text", schema.TextConfig) or schema.TextConfig()
    marker: chat.CacheControl | None = decoded(fields, "cache_control", chat.CacheControl)
    return Conversation(
        turns=_turns(fields, extras),
        tools=_tools(fields, extras),
        tool_choice=_tool_choice(fields, extras),
        parallel_calls=decoded(fields, "parallel_tool_calls", bool),
        format=_format(text.format),
        thinking=_thinking(fields),
        verbosity=text.verbosity,
        sampling=_sampling(fields, extras),
        output_modalities=tuple(decoded(fields, "modalities", list[str]) or ()),
        cache=None if marker is None else said.Cache(marker.ttl),
        cache_key=decoded(fields, "prompt_cache_key", str),
        extras=extras,
    )


_SAMPLING = frozenset(said.Sampling.__struct_fields__)
_TAKEN = (
    OURS - {"image_config"}
    | _SAMPLING
    | {
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "include",
        "modalities",
        "prompt_cache_key",
        "stream",
        "stream_options",
        "n",
    }
)

# ---- input items ---------------------------------------------------------------------------------


def _turns(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> tuple[said.Turn, ...]:
    turns: list[said.Turn] = []
    instructions = decoded(fields, "instructions", str)
    if instructions:
        turns.append(said.Turn("system", (said.Text(instructions),)))
    given: str | list[Raw] = decoded(fields, "input", str | list[Raw])
    if isinstance(given, str):
        turns.append(said.Turn("user", (said.Text(given),)))
        return tuple(turns)
    names: dict[str, str] = {}
    """Call to the name of its function: outputs do not repeat it."""
    answer: list[said.Part] = []
    """What the assistant has said since the last item of somebody else."""
    for raw, item in items_of(given):
        own = _own_parts(item, names)
        if own is not None:
            answer += own
            continue
        if answer:
            turns.append(said.Turn("assistant", tuple(answer)))
            answer = []
        match item:
            case schema.Message(role=role):
                whose: said.Role = "user" if role == "user" else "system"
                turns.append(said.Turn(whose, _content(item.content)))
            case schema.FunctionOutput(call_id, output):
                result = said.Result(call_id, _content(output), names.get(call_id))
                if turns and turns[-1].role == "user" and _only_results(turns[-1]):
                    turns[-1] = said.Turn("user", (*turns[-1].parts, result))
                else:
                    turns.append(said.Turn("user", (result,)))
            case str():
                extras[f"input.{item}"] = raw
    if answer:
        turns.append(said.Turn("assistant", tuple(answer)))
    if len(turns) == (1 if instructions else 0):
        raise errors.bad_field(
            "input", "holds nothing that a provider of another API can be told; add a message"
        )
    return tuple(turns)


def _only_results(turn: said.Turn) -> bool:
    return all(isinstance(part, said.Result) for part in turn.parts)


def _own_parts(item: schema.Item | str, names: dict[str, str]) -> list[said.Part] | None:
    """Parts of an assistant's item; None for an item of anybody else."""
    match item:
        case schema.Reasoning():
            text, details = details_of(item)
            return [said.Thought(text, details)] if text or details else []
        case schema.Message(role="assistant"):
            return list(_content(item.content))
        case schema.FunctionCall(call_id, name, arguments):
            names[call_id] = name
            return [said.Call(call_id, name, arguments)]
        case schema.CustomCall(call_id, name, text):
            names[call_id] = name
            return [said.Call(call_id, name, wrapped(text))]
    return None


def _content(content: str | Sequence[schema.Part] | None) -> tuple[said.Part, ...]:
    if isinstance(content, str):
        return (said.Text(content),) if content else ()
    return tuple(_part(part) for part in content or ())


def _part(part: schema.Part) -> said.Part:
    match part:
        case schema.InputText(text):
            return said.Text(text, _cache(part.prompt_cache_breakpoint))
        case schema.OutputText(text):
            return said.Text(text, citations=citations(part.annotations or ()))
        case schema.RefusalPart(text):
            return said.Refusal(text)
        case schema.InputImage(url, file_id, detail):
            source = said.Source(file_id=file_id) if url is None else said.source_of(url)
            return said.Image(source, detail, _cache(part.prompt_cache_breakpoint))
        case schema.InputFile():
            return said.File(_document(part), part.filename, _cache(part.prompt_cache_breakpoint))
        case schema.InputAudio(audio):
            form = audio.format or "wav"
            return said.Audio(said.Source(data=audio.data, media_type=f"audio/{form}"), form)
        case schema.InputVideo(url):
            return said.Video(said.source_of(url))


def _document(file: schema.InputFile) -> said.Source:
    if file.file_id is not None:
        return said.Source(file_id=file.file_id)
    data = file.file_data or file.file_url or ""
    if data.startswith(("data:", "http://", "https://")):
        return said.source_of(data)
    return said.Source(data=data)


def _cache(marker: schema.Breakpoint | None) -> said.Cache | None:
    return None if marker is None else said.Cache(marker.ttl)


def citations(annotations: Sequence[Mapping[str, Any]]) -> tuple[Raw, ...]:
    """Annotations as the pivot has them: a `url_citation` holds its facts one level deeper."""
    found: list[Raw] = []
    for annotation in annotations:
        if annotation.get("type") == "url_citation" and "url_citation" not in annotation:
            facts = {name: value for name, value in annotation.items() if name != "type"}
            annotation = {"type": "url_citation", "url_citation": facts}
        found.append(Raw(msgspec.json.encode(annotation)))
    return tuple(found)


# ---- tools, format, switches ---------------------------------------------------------------------


def _tools(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> tuple[said.Tool, ...]:
    tools: list[said.Tool] = []
    for raw in decoded(fields, "tools", list[Raw]) or ():
        tool = msgspec.json.decode(raw, type=schema.Tool)
        if tool.type == "custom":
            tools.append(function(tool))
            continue
        if tool.type != "function" or tool.name is None:
            extras[f"tools.{tool.type}"] = raw
            continue
        parameters = None
        if tool.parameters is not None:
            parameters = Raw(msgspec.json.encode(tool.parameters))
        tools.append(said.Tool(tool.name, tool.description, parameters, tool.strict))
    return tuple(tools)


def _tool_choice(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> said.ToolChoice | None:
    choice = decoded(fields, "tool_choice", str | schema.NamedChoice)
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return said.ToolChoice(choice)
        case schema.NamedChoice("function" | "custom", str(name)):
            return said.ToolChoice("named", name)
    extras["tool_choice"] = fields["tool_choice"]
    return None


def _format(given: schema.Format | None) -> said.Format | None:
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return said.Format("json")
    own = None if given.schema is None else Raw(msgspec.json.encode(given.schema))
    return said.Format("schema", given.name or "response", own, given.strict, given.description)


def _thinking(fields: Mapping[str, Raw]) -> said.Thinking:
    asked = wanted(fields)
    given: chat.Reasoning = decoded(fields, "reasoning", chat.Reasoning) or chat.Reasoning()
    return said.Thinking(asked.on, asked.effort, asked.budget, asked.exclude, given.summary)


def _sampling(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> said.Sampling:
    given: dict[str, Any] = {
        name: msgspec.json.decode(fields[name]) for name in _SAMPLING if name in fields
    }
    stop = given.get("stop")
    if isinstance(stop, str):
        given["stop"] = [stop]
    for name in decoded(fields, "include", list[str]) or ():
        if name == LOGPROBS:
            given["logprobs"] = True
        elif name != ENCRYPTED:  # state is always given back here
            extras[f"include.{name}"] = fields["include"]
    return msgspec.convert(given, said.Sampling)
