"""What every answer to a Responses caller has around its items: the response object, usage, errors.

Rules: the request is echoed as the caller wrote it, with the API's own words where nothing was
said; an error has the code this API knows (2.22 of the contract) and our `error_type` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ...canon import Request
from ...errors import TollwayError
from ...money import usd_from_nano
from .. import Bill, Head
from . import schema


def response(head: Head, request: Request | None) -> dict[str, Any]:
    """The response object of an answer that has just begun."""
    given: Mapping[str, Raw] = request.fields if request is not None else {}
    echoed: dict[str, Any] = {name: given.get(name, value) for name, value in _ECHOED.items()}
    echoed["tools"] = _tools(given["tools"]) if "tools" in given else []
    return {
        "id": head.id,
        "object": "response",
        "created_at": head.created,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **echoed,
    }


_ECHOED: Mapping[str, object] = {
    "frequency_penalty": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


def _tools(raw: Raw) -> list[object]:
    """Functions have all their fields in an answer."""
    tools: list[object] = []
    for given in schema.items_decoder.decode(raw):
        if msgspec.json.decode(given, type=schema.Tool).type == "function":
            said = schema.fields_decoder.decode(given)
            tools.append({"parameters": None, "strict": None, **said})
        else:
            tools.append(given)
    return tools


def usage(bill: Bill) -> dict[str, Any]:
    """OpenRouter's usage object in this skin; money in USD as JSON numbers."""
    used = bill.usage
    body: dict[str, Any] = {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": used.cached_tokens,
            "cache_write_tokens": used.cache_write_tokens + used.cache_write_1h_tokens,
        },
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "cost": usd_from_nano(bill.charge_nano),
        "is_byok": bill.is_byok,
        "cost_details": {
            "upstream_inference_cost": (
                usd_from_nano(bill.prompt_nano + bill.completion_nano) if bill.is_byok else None
            ),
            "upstream_inference_input_cost": usd_from_nano(bill.prompt_nano),
            "upstream_inference_output_cost": usd_from_nano(bill.completion_nano),
        },
    }
    if used.web_searches:
        body["server_tool_use_details"] = {"web_search_requests": used.web_searches}
    return body


# ---- errors --------------------------------------------------------------------------------------


def render_error(error: TollwayError) -> bytes:
    """The body of an error answer, as OpenAI's SDK reads it."""
    said = error.body()["error"]
    body: dict[str, Any] = {
        "message": error.message,
        "type": _type(error.status),
        "param": error.metadata.get("field"),
        "code": code_of(error),
        "metadata": said["metadata"],
    }
    if "availability" in said:
        body["availability"] = said["availability"]
    return msgspec.json.encode({"error": body, "error_type": error.error_type, **error.beside})


def failed(error: TollwayError) -> dict[str, Any]:
    """What a response object has when its answer broke off."""
    code = code_of(error)
    return {
        "status": "failed",
        "error": {"code": code, "message": error.message},
        "error_type": error.error_type,
    }


def code_of(error: TollwayError) -> str:
    return _CODES.get(error.error_type, "server_error")


_CODES: Mapping[str, str] = {
    "rate_limit_exceeded": "rate_limit_exceeded",
    "context_length_exceeded": "invalid_prompt",
    "invalid_request": "invalid_prompt",
    "invalid_prompt": "invalid_prompt",
    "content_policy_violation": "image_content_policy_violation",
}


def _type(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
