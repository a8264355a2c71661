"""What a generateContent request says, as a `Conversation`: for providers of another dialect.

Read from the fields that parse_request has checked. Opposite: writing. Rules: a call without an id
gets one that follows from its place, and a result without one belongs to the first unanswered call
of its name; signatures become reasoning_details; what the pivot has no place for becomes an extra
under its own name, so that a target can send it or name it as dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as said
from ...canon import Request
from ...conversation import Conversation
from . import schema
from .openapi import json_schema
from .request import kind_of, media_type_of
from .signatures import detail, opened


def conversation(request: Request) -> Conversation:
    fields = request.fields
    config = schema.Config()
    raw_config: dict[str, Raw] = {}
    if "generationConfig" in fields:
        config = schema.config_decoder.decode(fields["generationConfig"])
        raw_config = schema.fields_decoder.decode(fields["generationConfig"])
    extras = {name: raw for name, raw in fields.items() if name not in _TAKEN}
    extras |= {
        f"generationConfig.{name}": raw
        for name, raw in raw_config.items()
        if name not in _CONFIG_TAKEN and raw != _NULL
    }
    reader = _Reader()
    turns: list[said.Turn] = []
    if "systemInstruction" in fields:
        content = schema.content_decoder.decode(fields["systemInstruction"])
        texts = tuple(said.Text(part.text) for part in content.parts if part.text)
        turns.append(said.Turn("system", texts))
    for content in schema.contents_decoder.decode(fields["contents"]):
        turns.append(reader.turn(content))
    tools = _tools(fields, extras)
    choice = _tool_choice(fields)
    if isinstance(choice, frozenset):
        tools = tuple(tool for tool in tools if tool.name in choice)
        choice = said.ToolChoice("required")
    return Conversation(
        turns=tuple(turn for turn in turns if turn.parts),
        tools=tools,
        tool_choice=choice,
        format=_format(config),
        thinking=_thinking(config.thinking_config),
        sampling=_sampling(config),
        output_modalities=tuple(kind.lower() for kind in config.response_modalities or ()),
        extras=extras,
    )


_NULL = Raw(b"null")
_TAKEN = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        # the router's own, and what is set per endpoint
        "model",
        "models",
        "provider",
        "plugins",
        "transforms",
        "session_id",
        "user",
        "trace",
        "serviceTier",
        "service_tier",
        "store",
    }
)
_CONFIG_TAKEN = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "candidateCount",
        "maxOutputTokens",
        "stopSequences",
        "presencePenalty",
        "frequencyPenalty",
        "seed",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "thinkingConfig",
    }
)


# ---- contents ------------------------------------------------------------------------------------


class _Reader:
    """Reads the turns in order; knows the calls that still wait for their results."""

    def __init__(self) -> None:
        self._calls = 0
        self._waiting: list[tuple[str, str]] = []
        """Name and id."""

    def turn(self, content: schema.Content) -> said.Turn:
        parts: list[said.Part] = []
        for part in content.parts:
            self._part(part, parts)
        if content.role == "system":
            return said.Turn("system", tuple(p for p in parts if isinstance(p, said.Text)))
        return said.Turn("assistant" if content.role == "model" else "user", tuple(parts))

    def _part(self, part: schema.Part, parts: list[said.Part]) -> None:
        call, answer = part.function_call, part.function_response
        call_id = self._call_id(call) if call is not None else None
        if part.thought:
            signature = part.thought_signature
            parts.append(_thought(part.text or "", signature))
            return
        if part.thought_signature is not None:
            details = opened(part.thought_signature)
            if details is None:
                details = (detail(part.thought_signature, call_id),)
            parts.append(said.Thought("", details))
        if call is not None and call_id is not None:
            arguments = bytes(call.args).decode() if schema.is_given(call.args) else "{}"
            parts.append(said.Call(call_id, call.name, arguments))
        elif answer is not None:
            parts.append(self._result(answer))
        elif part.inline_data is not None:
            parts.append(_inline(part.inline_data))
        elif part.file_data is not None:
            parts.append(_file(part.file_data))
        elif part.executable_code is not None:
            code = part.executable_code
            parts.append(said.Text(f"```{(code.language or '').lower()}\n{code.code}\n```"))
        elif part.code_execution_result is not None:
            parts.append(said.Text(f"```\n{part.code_execution_result.output or ''}\n```"))
        elif part.text:
            parts.append(said.Text(part.text))

    def _call_id(self, call: schema.FunctionCall) -> str:
        self._calls += 1
        call_id = call.id or f"call_{self._calls}"
        self._waiting.append((call.name, call_id))
        return call_id

    def _result(self, answer: schema.FunctionResponse) -> said.Result:
        call_id = answer.id
        for n, (name, waiting) in enumerate(self._waiting):
            if waiting == call_id or (call_id is None and name == answer.name):
                call_id = waiting
                del self._waiting[n]
                break
        if call_id is None:
            self._calls += 1
            call_id = f"call_{self._calls}"
        text, is_error = _told(answer.response)
        parts: list[said.Part] = [said.Text(text)]
        for inner in answer.parts or ():
            if inner.inline_data is not None:
                parts.append(_inline(inner.inline_data))
            elif inner.file_data is not None:
                parts.append(_file(inner.file_data))
        return said.Result(call_id, tuple(parts), answer.name, is_error)


def _thought(text: str, signature: str | None) -> said.Thought:
    if signature is None:
        return said.Thought(text)
    details = opened(signature)
    return said.Thought(text, (detail(signature, text=text),) if details is None else details)


def _told(response: Raw) -> tuple[str, bool]:
    """Text of a function's response, and whether it is an error. A lone text under `result`,
    `output` or `error` is that text; anything else is its JSON."""
    if not schema.is_given(response):
        return "", False
    plain = bytes(response).decode()
    if not plain.startswith("{"):
        return plain, False
    fields = schema.fields_decoder.decode(response)
    if len(fields) != 1:
        return plain, False
    ((name, value),) = fields.items()
    if name in ("result", "output", "error") and bytes(value)[:1] == b'"':
        return msgspec.json.decode(value, type=str), name == "error"
    return plain, name == "error"


def _inline(blob: schema.Blob) -> said.Part:
    source = said.Source(data=blob.data, media_type=blob.mime_type)
    return _media(source, blob.mime_type, blob.display_name)


def _file(file: schema.FileData) -> said.Part:
    media_type = media_type_of(file)
    uri = file.file_uri
    if uri.startswith("https://generativelanguage.googleapis.com/"):
        source = said.Source(file_id=uri, media_type=media_type)
    else:
        source = said.Source(url=uri, media_type=media_type)
    return _media(source, media_type, file.display_name)


def _media(source: said.Source, media_type: str, name: str | None) -> said.Part:
    match kind_of(media_type):
        case "image":
            return said.Image(source)
        case "audio":
            form = media_type.partition("/")[2].partition(";")[0].removeprefix("x-")
            return said.Audio(source, {"mpeg": "mp3"}.get(form, form))
        case "video":
            return said.Video(source)
    return said.File(source, name)


# ---- tools, format, switches ---------------------------------------------------------------------


def _tools(fields: Mapping[str, Raw], extras: dict[str, Raw]) -> tuple[said.Tool, ...]:
    tools: list[said.Tool] = []
    for tool in schema.tools_decoder.decode(fields["tools"]) if "tools" in fields else ():
        for name, raw in tool.items():
            if name != "functionDeclarations":
                extras[f"tools.{name}"] = raw
            elif raw != _NULL:
                tools += map(_tool, schema.functions_decoder.decode(raw))
    return tuple(tools)


def _tool(function: schema.Function) -> said.Tool:
    parameters: Raw | None = None
    if schema.is_given(function.parameters_json_schema):
        parameters = function.parameters_json_schema
    elif function.parameters is not None:
        parameters = Raw(msgspec.json.encode(json_schema(function.parameters)))
    return said.Tool(function.name, function.description, parameters)


def _tool_choice(fields: Mapping[str, Raw]) -> said.ToolChoice | frozenset[str] | None:
    """The choice; or the only functions that may be called, where one of several must be."""
    if "toolConfig" not in fields:
        return None
    given = msgspec.json.decode(fields["toolConfig"], type=schema.ToolConfig)
    config = given.function_calling_config
    match config.mode if config is not None else None:
        case "AUTO" | "VALIDATED":
            return said.ToolChoice("auto")
        case "NONE":
            return said.ToolChoice("none")
        case "ANY":
            names = (config.allowed_function_names if config is not None else None) or []
            if len(names) == 1:
                return said.ToolChoice("named", names[0])
            return frozenset(names) if names else said.ToolChoice("required")
    return None


def _format(config: schema.Config) -> said.Format | None:
    media_type = config.response_mime_type or "text/plain"
    if media_type == "text/plain":
        return None
    given: Raw | None = None
    if schema.is_given(config.response_json_schema):
        given = config.response_json_schema
    elif config.response_schema is not None:
        given = Raw(msgspec.json.encode(json_schema(config.response_schema)))
    return said.Format("json") if given is None else said.Format("schema", schema=given)


def _thinking(config: schema.Thinking | None) -> said.Thinking:
    """Without `includeThoughts` a Gemini client is shown no thoughts, whoever thinks."""
    if config is None:
        return said.Thinking()
    hides = config.include_thoughts is not True
    budget, level = config.thinking_budget, config.thinking_level
    if budget == 0:
        return said.Thinking(False, exclude=hides)
    if budget is not None:
        return said.Thinking(True, budget=None if budget < 0 else budget, exclude=hides)
    if level and level.upper() in _LEVELS:
        return said.Thinking(True, effort=level.lower(), exclude=hides)
    return said.Thinking(exclude=hides)


_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")


def _sampling(config: schema.Config) -> said.Sampling:
    given: dict[str, Any] = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": None if config.top_k is None else int(config.top_k),
        "frequency_penalty": config.frequency_penalty,
        "presence_penalty": config.presence_penalty,
        "seed": config.seed,
        "logprobs": config.response_logprobs,
        "top_logprobs": config.logprobs,
    }
    return said.Sampling(stop=tuple(config.stop_sequences or ()), **given)
