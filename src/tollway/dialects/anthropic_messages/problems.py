"""Errors as Anthropic words them: `{"type": "error", "error": {type, message}}`.

The type is one of the vendor's, by status; `error_type` beside it is the contract's own word, the
same in every dialect. Nothing else of an error is shown here: that is the contract of this shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...errors import TollwayError

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    412: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OTHERWISE = "api_error"


def render_error(error: TollwayError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({**_body(error), "request_id": None})


def failure_event(error: TollwayError) -> bytes:
    """The same in a stream that has begun; nothing follows it."""
    return b"event: error\ndata: %s\n\n" % msgspec.json.encode(_body(error))


def _body(error: TollwayError) -> dict[str, Any]:
    kind = TYPES.get(error.status, OTHERWISE)
    if error.status == 503 and error.error_type == "server":
        kind = OTHERWISE
    said = {"type": kind, "message": error.message, "error_type": error.error_type}
    return {"type": "error", "error": said, **error.beside}
