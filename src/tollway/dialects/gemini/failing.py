"""Gemini's errors, both ways: a provider's refusal to a `canon.Fault`, ours to google.rpc's shape.

The table of all dialects (faults) decides most; here is what Google says in its own way: a quota's
period stands in `details`, every quota text speaks of billing, and its own key and region errors
come as 400. Rules: a quota of a day rests the credential, one of a minute does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from ... import errors
from ...canon import Fault, Retry
from .. import faults
from .answer import BAD_JSON


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """See `faults.parse_fault`. Never raises."""
    fault = faults.parse_fault(status, headers, body, now_s=now_s, quirks=quirks)
    try:
        decoded = msgspec.json.decode(body)
    except BAD_JSON:
        return fault
    return _ours(fault, status, decoded, body)


def fault_in_answer(decoded: object) -> Fault:
    """An error that came under status 200: `{"error": …}`, or a list of one."""
    inner = _inner(decoded)
    code = inner.get("code")
    status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    body = msgspec.json.encode(decoded)
    return _ours(faults.parse_fault(status, {}, body), status, decoded, body)


def _ours(fault: Fault, status: int, decoded: object, body: bytes) -> Fault:
    """The fault with what Google's own wording changes."""
    inner = _inner(decoded)
    word = inner.get("status")
    message = inner.get("message")
    text = message if isinstance(message, str) else ""
    name = word if isinstance(word, str) else fault.provider_code
    fault = msgspec.structs.replace(fault, provider_code=(name or str(status))[:100])
    if fault.geo:
        return fault
    if status == 429:
        retry: Retry = "cool" if _PER_DAY.search(_quota(inner, text)) else "elsewhere"
        return _changed(fault, 429, "rate_limit_exceeded", retry, body)
    for pattern, code, error_type, way in _RULES:
        if status in (400, 403, 404) and pattern.search(text):
            return _changed(fault, code, error_type, way, body, text)
    return fault


def _changed(
    fault: Fault, status: int, error_type: str, retry: Retry, body: bytes, text: str = ""
) -> Fault:
    message = _WORDS.get(error_type) or " ".join(text.split())[: faults.MESSAGE_CHARS_MAX]
    hidden = retry == "cool" and error_type == "provider_unavailable"
    raw = None if hidden else body[: faults.RAW_CHARS_MAX].decode(errors="replace")
    return msgspec.structs.replace(
        fault, status=status, error_type=error_type, retry=retry, message=message, raw=raw
    )


_WORDS = {
    "rate_limit_exceeded": "The provider is rate limiting this server.",
    "provider_unavailable": "The provider could not serve the request.",
    "payload_too_large": "The request is too large for the provider.",
}
_PER_DAY = re.compile(r"per[ _-]?day|daily|/day|per[ _-]?month|per[ _-]?week", re.IGNORECASE)


def _rule(
    pattern: str, status: int, error_type: str, retry: Retry
) -> tuple[re.Pattern[str], int, str, Retry]:
    return re.compile(pattern, re.IGNORECASE), status, error_type, retry


_RULES = (
    _rule(r"payload size exceeds", 413, "payload_too_large", "never"),
    _rule(r"input token count|exceeds the maximum number of (?:input )?tokens", 400, "context_length_exceeded", "larger"),
    _rule(r"unable to process input image|provided image is not valid", 400, "invalid_image", "never"),
    _rule(r"cannot fetch content from|failed to (?:fetch|retrieve)", 400, "image_download_failed", "never"),
    _rule(r"thought[ _]?signature", 400, "invalid_request", "elsewhere"),
)  # fmt: skip
"""A signature belongs to the provider that made it, so another may take what this one refused."""


def _inner(decoded: object) -> Mapping[str, Any]:
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    inner = decoded.get("error", decoded) if isinstance(decoded, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _quota(inner: Mapping[str, Any], text: str) -> str:
    """What names the period of the quota that ran out: the violations' ids, else the message."""
    details = inner.get("details")
    violations = [
        str(one.get("quotaId") or one.get("quotaMetric") or "")
        for entry in (details if isinstance(details, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("violations"), list)
        for one in entry["violations"]
        if isinstance(one, Mapping)
    ]
    return " ".join(violations) or text


# ---- our own errors ------------------------------------------------------------------------------


STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""HTTP status to the name of google.rpc.Code."""


def error_body(error: errors.TollwayError) -> dict[str, Any]:
    """`{"error": {code, message, status, details}}`. What our errors carry beyond that rides in the
    `metadata` of an ErrorInfo, whose values are strings."""
    metadata = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for name, value in (*error.metadata.items(), ("availability", error.availability))
        if value is not None
    }
    info = {
        "@type": f"{_TYPE}ErrorInfo",
        "reason": error.error_type.upper(),
        "domain": "tollway",
        "metadata": metadata,
    }
    details: list[dict[str, Any]] = [info]
    field = error.metadata.get("field")
    if isinstance(field, str):
        violation = {"field": field, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        wait = {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"}
        details.append(wait)
    name = STATUS.get(error.status, "UNKNOWN")
    told = {"code": error.status, "message": error.message, "status": name, "details": details}
    return {"error": told}


_TYPE = "type.googleapis.com/google.rpc."


def render_error(error: errors.TollwayError) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({**error_body(error), **error.beside})
