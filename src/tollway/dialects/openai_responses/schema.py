"""The request of OpenAI's Responses API as typed values: shapes, ranges, enumerations.

Validation only; what is sent on is the caller's own JSON. Input items of kinds that no rule of
ours reads are typed by their `type` alone; unknown fields are ignored, except inside `provider`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from .. import openai_chat_schema as chat

# ---- content parts -------------------------------------------------------------------------------


class Breakpoint(Struct):
    mode: Literal["explicit"]
    ttl: str | None = None


class InputText(Struct, tag="input_text", tag_field="type"):
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class InputImage(Struct, tag="input_image", tag_field="type"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class InputFile(Struct, tag="input_file", tag_field="type"):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class AudioData(Struct):
    data: str
    format: str | None = None


class InputAudio(Struct, tag="input_audio", tag_field="type"):
    input_audio: AudioData


class InputVideo(Struct, tag="input_video", tag_field="type"):
    video_url: str
    processing: str | None = None


class OutputText(Struct, tag="output_text", tag_field="type"):
    text: str
    annotations: list[dict[str, Any]] | None = None


class RefusalPart(Struct, tag="refusal", tag_field="type"):
    refusal: str


Part = InputText | InputImage | InputFile | InputAudio | InputVideo | OutputText | RefusalPart


# ---- items ---------------------------------------------------------------------------------------


class Kind(Struct):
    """What decides which of the following an item is; messages may leave `type` out."""

    type: str | None = None
    role: str | None = None


class Message(Struct):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part] | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCall(Struct):
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    namespace: str | None = None


class CustomCall(Struct):
    """A call whose argument is free text."""

    call_id: str
    name: str
    input: str
    id: str | None = None


class FunctionOutput(Struct):
    """…or of a custom tool's output, which has the same fields."""

    call_id: str
    output: str | list[Part]
    id: str | None = None


class Thought(Struct):
    """Of `summary` and of `content`."""

    text: str
    type: str | None = None


class Reasoning(Struct):
    """`format` and `signature` are OpenRouter's, for state that OpenAI did not make."""

    id: str | None = None
    summary: list[Thought] | None = None
    content: list[Thought] | None = None
    encrypted_content: str | None = None
    format: str | None = None
    signature: str | None = None


Item = Message | FunctionCall | CustomCall | FunctionOutput | Reasoning


# ---- tools, formats ------------------------------------------------------------------------------


class Tool(Struct):
    """`name` is required of functions and custom tools."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Raw] | None = None
    strict: bool | None = None
    environment: dict[str, Any] | None = None
    format: dict[str, Any] | None = None
    """Of a custom tool: text, or a grammar."""


class NamedChoice(Struct):
    type: str
    name: str | None = None


class Format(Struct):
    """`name` and `schema` are required of a json_schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: chat.Name | None = None
    schema: dict[str, Raw] | None = None
    strict: bool | None = None
    description: str | None = None


class TextConfig(Struct):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None


# ---- the request ---------------------------------------------------------------------------------


class Asked(chat.Common, kw_only=True):
    input: str | Annotated[list[Raw], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: chat.Positive | None = None
    max_tool_calls: Annotated[int, Meta(ge=0)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    modalities: list[str] | None = None
    cache_control: chat.CacheControl | None = None
    debug: dict[str, Any] | None = None
    image_config: dict[str, Any] | None = None


asked_decoder = msgspec.json.Decoder(Asked)
fields_decoder = msgspec.json.Decoder(dict[str, Raw])
kind_decoder = msgspec.json.Decoder(Kind)
items_decoder = msgspec.json.Decoder(list[Raw])
PASSED = frozenset(
    """
    additional_tools apply_patch_call apply_patch_call_output code_interpreter_call compaction
    compaction_trigger computer_call computer_call_output configuration_update file_search_call
    image_generation_call local_shell_call local_shell_call_output mcp_approval_request
    mcp_approval_response mcp_call mcp_list_tools program program_output shell_call
    shell_call_output tool_search_call tool_search_output web_search_call
    """.split()  # noqa: SIM905
)
"""Items that a provider of the same dialect gets as they came, and nobody else."""

item_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(Message),
    "function_call": msgspec.json.Decoder(FunctionCall),
    "custom_tool_call": msgspec.json.Decoder(CustomCall),
    "function_call_output": msgspec.json.Decoder(FunctionOutput),
    "custom_tool_call_output": msgspec.json.Decoder(FunctionOutput),
    "reasoning": msgspec.json.Decoder(Reasoning),
}
