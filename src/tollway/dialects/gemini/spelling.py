"""The other spellings of a Gemini request, as the one the rest reads.

The API is protobuf's JSON: every name may be camelCase or snake_case, and one value may stand where
a list is expected (its documentation writes `"parts": {"text": …}`). Rules: only the names of the
API itself change; schemas, arguments and results of functions are the caller's data and are not
looked into.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_SNAKE = """
system_instruction generation_config safety_settings tool_config cached_content inline_data file_data
mime_type file_uri display_name function_call function_response function_declarations
function_calling_config allowed_function_names executable_code code_execution_result
thought_signature video_metadata media_resolution start_offset end_offset parameters_json_schema
response_json_schema response_schema response_mime_type response_modalities response_logprobs
candidate_count max_output_tokens stop_sequences top_p top_k presence_penalty frequency_penalty
thinking_config thinking_budget thinking_level include_thoughts speech_config voice_config
prebuilt_voice_config voice_name language_code image_config aspect_ratio image_size google_search
google_search_retrieval code_execution url_context generate_content_request service_tier
task_type output_dimensionality embed_content_config auto_truncate document_ocr
audio_track_extraction audio_timestamp multi_speaker_voice_config speaker_voice_configs
""".split()  # noqa: SIM905


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


_RENAMED = {name: _camel(name) for name in _SNAKE}
_LISTS = frozenset(
    {
        "contents",
        "requests",
        "parts",
        "tools",
        "functionDeclarations",
        "safetySettings",
        "stopSequences",
        "responseModalities",
        "allowedFunctionNames",
    }
)
_OPAQUE = frozenset(
    {
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "labels",
        "provider",
        "plugins",
    }
)

_snake = re.compile(rb'"(?:' + "|".join(_SNAKE).encode() + rb')"\s*:')


def has_snake_case(body: bytes) -> bool:
    """A name of the API may be spelled the other way somewhere in it."""
    return _snake.search(body) is not None


def respelled(body: bytes) -> bytes:
    """`body` with the API's own names in camelCase and lists where lists are expected. Raises what
    decoding JSON raises."""
    return msgspec.json.encode(_value(msgspec.json.decode(body)))


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    written: dict[str, Any] = {}
    for name, inner in value.items():
        known = str(_RENAMED.get(name, name))
        if known not in _OPAQUE:
            inner = _value(inner)
        if known in _LISTS and isinstance(inner, dict | str):
            inner = [inner]
        written[known] = inner
    return written
