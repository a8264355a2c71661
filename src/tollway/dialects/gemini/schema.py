"""The request of generateContent as typed values: shapes, ranges, enumerations.

Validation only; what is sent on is the caller's own JSON. Names are the API's camelCase (spelling
turns snake_case into it). Fields that no rule of ours reads are typed as loosely as their contract
allows; unknown ones are ignored, except inside `provider`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from .. import openai_chat_schema as shared

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Mode = Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"]
Level = Literal["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]
BUDGET_MOST = 1_000_000
NOTHING = Raw(b"")


def is_given(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:4]) not in (b"", b"null")


# ---- contents ------------------------------------------------------------------------------------


class Blob(Struct, rename="camel"):
    data: str
    mime_type: str
    display_name: str | None = None


class FileData(Struct, rename="camel"):
    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class FunctionCall(Struct):
    name: str
    args: Raw = NOTHING
    id: str | None = None


class ResponsePart(Struct, rename="camel"):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(Struct):
    name: str
    response: Raw = NOTHING
    id: str | None = None
    parts: list[ResponsePart] | None = None


class ExecutableCode(Struct):
    code: str = ""
    language: str | None = None


class CodeResult(Struct):
    outcome: str | None = None
    output: str | None = None


class Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeResult | None = None
    tool_call: dict[str, Raw] | None = None
    tool_response: dict[str, Raw] | None = None

    @property
    def is_empty(self) -> bool:
        return all(
            value is None
            for value in (
                self.text,
                self.thought_signature,
                self.inline_data,
                self.file_data,
                self.function_call,
                self.function_response,
                self.executable_code,
                self.code_execution_result,
                self.tool_call,
                self.tool_response,
            )
        )


class Content(Struct):
    parts: list[Part] = []
    role: Literal["user", "model", "function", "tool", "system"] | None = None


# ---- tools, formats, switches --------------------------------------------------------------------


class Function(Struct, rename="camel"):
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: Raw = NOTHING


class Tool(Struct, rename="camel"):
    function_declarations: list[Function] | None = None


class CallingConfig(Struct, rename="camel"):
    mode: Mode | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(Struct, rename="camel"):
    function_calling_config: CallingConfig | None = None


class Thinking(Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: Annotated[int, Meta(ge=-1, le=BUDGET_MOST)] | None = None
    thinking_level: Level | str | None = None


class Config(Struct, rename="camel"):
    """`generationConfig`."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: shared.Unit | None = None
    top_k: Annotated[float, Meta(ge=0)] | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=8)] | None = None
    max_output_tokens: shared.Positive | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=5)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    response_logprobs: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Raw = NOTHING
    response_modalities: list[str] | None = None
    thinking_config: Thinking | None = None


# ---- the request ---------------------------------------------------------------------------------


class Generate(Struct, rename="camel"):
    """The body, and the router's own fields, which keep their spelling."""

    contents: Annotated[list[Content], Meta(min_length=1)]
    system_instruction: Content | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: Config | None = None
    safety_settings: list[dict[str, Raw]] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: str | None = None
    model: str | None = None
    models: Annotated[list[shared.Slug], Meta(max_length=shared.MODELS_MAX)] | None = None
    provider: shared.Provider | None = None
    plugins: list[dict[str, Any]] | None = None
    transforms: list[str] | None = None
    session_id: shared.Tag | None = msgspec.field(default=None, name="session_id")
    user: shared.Tag | None = None


class Count(Struct, rename="camel"):
    """The body of countTokens: contents alone, or a whole request."""

    contents: list[Content] | None = None
    generate_content_request: Raw = NOTHING


generate_decoder = msgspec.json.Decoder(Generate)
contents_decoder = msgspec.json.Decoder(list[Content])
content_decoder = msgspec.json.Decoder(Content)
config_decoder = msgspec.json.Decoder(Config)
tools_decoder = msgspec.json.Decoder(list[dict[str, Raw]])
functions_decoder = msgspec.json.Decoder(list[Function])
fields_decoder = msgspec.json.Decoder(dict[str, Raw])
