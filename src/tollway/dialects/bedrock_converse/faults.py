"""AWS's exceptions as faults: their names, not their statuses, say what happened.

Not here: the table of causes that all providers share (dialects.faults), which decides once an
exception has been given the status that other providers use for it. Source: the service model of
bedrock-runtime and its error page. "Too many tokens, please wait" is a rate, whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from ...canon import Fault
from .. import faults

STATUSES: Mapping[str, int] = {
    "accessdeniedexception": 403,
    "expiredtokenexception": 403,
    "incompletesignatureexception": 403,
    "invalidclienttokenid": 403,
    "invalidsignatureexception": 403,
    "missingauthenticationtokenexception": 403,
    "optinrequired": 403,
    "signaturedoesnotmatch": 403,
    "unrecognizedclientexception": 403,
    "internalfailure": 500,
    "internalserverexception": 500,
    "modelerrorexception": 424,
    "modelnotreadyexception": 503,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "resourcenotfoundexception": 404,
    "serviceunavailableexception": 503,
    "servicequotaexceededexception": 429,
    "throttlingexception": 429,
    "toomanyrequestsexception": 429,
    "validationexception": 400,
}
"""Exception, lower case, to the status that stands for it in the shared table."""

_OURS = frozenset(name for name, status in STATUSES.items() if status == 403)
_SILENT = frozenset(
    name for name, status in STATUSES.items() if status in (403, 404, 408, 424, 500, 503)
)
"""Their text is about the service, so it decides nothing."""

_NOT_HERE = re.compile(
    r"model identifier is invalid|on-demand throughput|inference profile|end of its life"
    r"|access to the model|not supported in (?:this|your) region|isn.t supported in"
    r"|marked by provider as legacy|operation not allowed"
)
"""ValidationException about the model at this place, not about the request."""

_TOO_LONG = re.compile(
    r"input is too long|too many (?:input )?tokens|input token count|context window"
    r"|context length|prompt is too long|exceeds? the maximum (?:input|number of input)"
)
_OUTPUT = re.compile(r"maximum tokens you requested exceeds|max_?tokens.{0,60}exceed")


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """A refused call to a Fault. Never raises. `headers` have lower-case names."""
    fields = _fields(body)
    name = headers.get("x-amzn-errortype") or _text(fields.get("__type"))
    name = name.split(":")[0].rpartition("#")[2].strip()
    message = _text(fields.get("message")) or _text(fields.get("Message"))
    if not fields and not name:
        return faults.parse_fault(status, headers, body, now_s=now_s, quirks=quirks)
    return fault_of(name, message, status=status, headers=headers, now_s=now_s)


def fault_of(
    name: str,
    message: str,
    *,
    status: int = 500,
    headers: Mapping[str, str] | None = None,
    now_s: float | None = None,
) -> Fault:
    """An exception by its name, from an error answer or from the middle of a stream."""
    lower = name.lower()
    known = STATUSES.get(lower, status)
    text = message.lower()
    code = ""
    if lower == "validationexception":
        if _NOT_HERE.search(text):
            known, message = 404, ""
        elif _OUTPUT.search(text):
            code = "max_tokens_exceeded"
        elif _TOO_LONG.search(text):
            code = "context_length_exceeded"
    elif known == 429:
        code = "throttlingexception"
    told = {"code": code} if lower in _SILENT else {"code": code, "message": message}
    fault = faults.parse_fault(
        known, headers or {}, msgspec.json.encode({"error": told}), now_s=now_s
    )
    ours = lower in _OURS
    return msgspec.structs.replace(
        fault,
        retry="cool" if lower == "servicequotaexceededexception" else fault.retry,
        provider_code=name[:100] or str(status),
        raw=None if ours else (message[: faults.RAW_CHARS_MAX] or None),
    )


def _fields(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _text(value: object) -> str:
    return value[:2_000] if isinstance(value, str) else ""
