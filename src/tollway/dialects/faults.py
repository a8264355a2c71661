"""What a provider's error means: status, headers and body to a `canon.Fault`, by table.

For providers that speak OpenAI's dialect or nearly; their bodies differ in shape, their words
hardly. Not here: what is done about a fault (routing), how it is worded for our own errors
(errors.py).

Rules. The first row of `_RULES` that matches decides; else the status does. A refusal of *our*
credential or account is ours to mend: the caller sees 502 and never the provider's text, which may
quote the key. "Too many tokens" in a text about rates is a rate limit, not an oversized prompt.
Bodies are cut to `RAW_CHARS_MAX`, HTML never leaves whole. Sources: the providers' error pages;
one body of each is in tests/dialects/test_dialects_faults.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from ..canon import Fault, Retry
from .surrogates import anything, decoded

RAW_CHARS_MAX = 500
MESSAGE_CHARS_MAX = 500
RETRY_AFTER_MAX_S = 60.0
"""No provider is waited for longer than this, whatever it asks."""


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """A refused call (any status that is not an answer) to a Fault. Never raises.

    `headers` have lower-case names. `now_s` (Unix seconds) is needed for a Retry-After that is a
    date; without it such a date is ignored.
    """
    report = _report(body)
    overflow_without_body = any(q.startswith("overflow_400_or_413_without_body") for q in quirks)
    if status in (400, 413) and not body.strip() and overflow_without_body:
        report = _Report(message="maximum context length exceeded (no text was given)")
    wait_s = _retry_after(headers, report, now_s)
    return _classify(status, report, wait_s)


def fault_in_answer(error: object) -> Fault:
    """An error that came inside an answer with status 200: the `error` object or string of a
    stream or body, or a whole body that is an error in another shape."""
    report = _from_object(error if isinstance(error, Mapping) else {"error": error})
    return _classify(report.status or 500, report, _retry_after({}, report, None))


def error_inside(body: Mapping[str, Any]) -> Fault | None:
    """The fault a decoded answer declares, or None. Knows OpenAI's `error`, the bare
    `object: "error"` of older vLLM and MiniMax's `base_resp`."""
    if body.get("error"):
        return fault_in_answer(body)
    if body.get("object") == "error" or body.get("type") == "error":
        return fault_in_answer(body)
    base = body.get("base_resp")
    if isinstance(base, Mapping) and base.get("status_code") not in (0, None):
        return fault_in_answer(body)
    return None


def broken(message: str, raw: bytes = b"") -> Fault:
    """An answer that is no answer: bad JSON, HTML, an end too early."""
    return Fault(
        status=502,
        error_type="provider_unavailable",
        message=message,
        provider_code="invalid_answer",
        raw=_raw(raw) or None,
    )


# ---- the table -----------------------------------------------------------------------------------


class _Report(NamedTuple):
    """What a body says, whatever its shape."""

    code: str = ""
    kind: str = ""
    message: str = ""
    error_type: str = ""
    """OpenRouter's own word, when the provider is one of its kind."""
    status: int | None = None
    retry_after_s: float | None = None
    raw: str = ""


class _Rule(NamedTuple):
    codes: frozenset[str]
    """Codes or types, lower case, that decide alone."""
    pattern: re.Pattern[str] | None
    """Looked for in the message (lower case)."""
    statuses: frozenset[int] | None
    """The rule holds for these only; None = all."""
    status: int
    error_type: str
    retry: Retry


def _rule(
    codes: str,
    pattern: str | None,
    status: int,
    error_type: str,
    retry: Retry,
    statuses: Collection[int] | None = None,
) -> _Rule:
    return _Rule(
        frozenset(codes.split()),
        re.compile(pattern) if pattern else None,
        frozenset(statuses) if statuses is not None else None,
        status,
        error_type,
        retry,
    )


_GEO = (
    r"country, region,? or territory (?:is )?not supported|user location is not supported"
    r"|(?:your|this) (?:country|region|location|territory) is not (?:supported|available)"
    r"|not (?:available|supported|offered) in your (?:country|region|location|territory)"
    r"|from unsupported countries"
)
"""A refusal of the place we call from. OpenAI: `unsupported_country_region_territory`, "Country,
region, or territory not supported". Gemini: "User location is not supported for the API use".
Anthropic: "Access to Anthropic models is not allowed from unsupported countries, regions, or
territories"."""

_GEO_REFUSED = "The provider does not serve the country or region that this server calls from."

_RULES: tuple[_Rule, ...] = (
    # The place we call from, before our account: no credential would mend it.
    _rule(
        "unsupported_country_region_territory unsupported_country unsupported_region "
        "region_not_supported country_not_supported",
        _GEO,
        403,
        "permission_denied",
        "cool",
        {200, 400, 403, 451},
    ),
    # Money and quota on our side of the provider: rest the credential.
    _rule(
        "insufficient_quota exceeded_current_quota_error billing_error billing_not_active "
        "billing_hard_limit_reached insufficient_balance insufficient_user_quota arrearage "
        "1113 1008 1308 1309 account_deactivated",
        r"insufficient (?:\w+ )?(?:balance|credit|quota|funds)|exceeded your current quota"
        r"|credit balance is too low|not enough credits|billing|out of credits|payment required",
        502,
        "provider_unavailable",
        "cool",
        {200, 400, 401, 402, 403, 429, 500},
    ),
    _rule(
        "invalid_api_key invalid_authentication_error authentication_error 1004 1000 1001 1002_auth"
        " invalid_api_key_error token_expired",
        r"(?:invalid|incorrect|expired|missing|bad) (?:\w+ )?(?:api[ _-]?key|token|credential)"
        r"|api key (?:is )?(?:invalid|not valid|expired)",
        502,
        "provider_unavailable",
        "cool",
        {200, 400, 401, 403, 500},
    ),
    # A day's allowance is used up: not soon.
    _rule(
        "",
        r"(?:per|/) ?day|daily|\b[rt]pd\b|per[- ]?month|monthly|weekly",
        429,
        "rate_limit_exceeded",
        "cool",
        {429},
    ),
    # Rates, before sizes: "too many tokens, please wait" is a rate.
    _rule(
        "rate_limit_exceeded rate_limit_error rate_limit_reached_error throttling "
        "throttling.ratequota throttling.allocationquota throttlingexception requests tokens "
        "queue_exceeded too_many_tokens too_many_requests resource_exhausted 1302 1303 1305 1002 "
        "1039 limit_requests",
        r"throttl|rate[ _-]?limit|too many requests|requests per|tokens per|quota exceeded"
        r"|\b[rt]pm\b|concurrency limit|tokens?,? please wait",
        429,
        "rate_limit_exceeded",
        "elsewhere",
        {200, 400, 413, 429, 500, 503},
    ),
    _rule(
        "context_length_exceeded exceed_context_size_error string_above_max_length 1261 2013 "
        "context_window_exceeded model_context_window_exceeded",
        r"context[ _-]?(?:length|window|size)|maximum prompt length|reduce the length"
        r"|prompt is too long|input is too long|input length should be|too many (?:input )?tokens"
        r"|exceeded model token limit|longer than the model|tokens to keep from the initial prompt"
        r"|input token count .* exceeds|too large for model|prompt too long|maximum input length"
        r"|number of tokens .* exceed",
        400,
        "context_length_exceeded",
        "larger",
        {200, 400, 413, 422, 500},
    ),
    _rule(
        "content_policy_violation content_filter responsibleaipolicyviolation "
        "data_inspection_failed datainspectionfailed invalid_prompt 1301 1026 1027 "
        "content_moderation_violation sensitive_words_detected moderation_blocked",
        r"content[ _]polic|content (?:risk|exists risk|filter|management policy)|usage guidelines"
        r"|safety system|violat\w+ .*(?:polic|guideline|terms)|inappropriate content"
        r"|sensitive content|flagged|moderation",
        400,
        "content_policy_violation",
        "never",
        {200, 400, 403, 422, 451, 500},
    ),
    # A model that wrote a broken tool call may write a whole one elsewhere.
    _rule(
        "tool_use_failed json_validate_failed",
        r"failed to (?:call a function|generate json)",
        502,
        "provider_unavailable",
        "elsewhere",
        {400, 422},
    ),
    _rule(
        "overloaded_error overloaded engine_overloaded_error engine_overloaded server_overloaded "
        "capacity_exceeded 3505 model_overloaded service_unavailable serviceunavailable 2064",
        r"overload|over capacity|at capacity|currently busy|server is busy|too busy|slow down"
        r"|capacity exceeded|try again later|loading model|no available (?:server|worker)",
        503,
        "provider_overloaded",
        "elsewhere",
        {200, 429, 498, 500, 502, 503, 529},
    ),
    # Images.
    _rule(
        "invalid_image invalid_image_format invalid_base64_image image_parse_error",
        r"(?:invalid|unsupported|corrupt\w*) image|could not (?:process|decode|parse) (?:the )?image",
        400,
        "invalid_image",
        "never",
        {400, 422},
    ),
    _rule(
        "image_download_failed invalid_image_url",
        r"(?:failed to|could not|error while) (?:download|fetch)\w* .*(?:image|url|file)",
        400,
        "image_download_failed",
        "never",
        {400, 422},
    ),
    _rule(
        "model_not_found deploymentnotfound model_not_available invalid_model",
        r"model .{0,120}(?:not found|does not exist|not exist|not supported|no longer available"
        r"|has been deprecated|decommissioned|is not available)|no such model|unknown model",
        502,
        "provider_unavailable",
        "elsewhere",
        {200, 400, 403, 404, 410},
    ),
    _rule(
        "max_tokens_exceeded",
        r"max_(?:completion_)?tokens.{0,60}(?:too large|exceed|at most|less than or equal)",
        400,
        "max_tokens_exceeded",
        "elsewhere",
        {400, 422},
    ),
)

_STATUSES: dict[int, tuple[int, str, Retry]] = {
    # provider's status: (the caller's, error_type, retry)
    400: (400, "invalid_request", "never"),
    401: (502, "provider_unavailable", "cool"),
    402: (502, "provider_unavailable", "cool"),
    403: (502, "provider_unavailable", "cool"),
    404: (502, "provider_unavailable", "elsewhere"),
    408: (504, "timeout", "elsewhere"),
    412: (412, "precondition_failed", "elsewhere"),
    413: (413, "payload_too_large", "never"),
    415: (400, "invalid_request", "never"),
    422: (422, "unprocessable", "never"),
    424: (502, "provider_unavailable", "elsewhere"),
    429: (429, "rate_limit_exceeded", "elsewhere"),
    498: (503, "provider_overloaded", "elsewhere"),
    503: (503, "provider_overloaded", "elsewhere"),
    504: (504, "timeout", "elsewhere"),
    522: (504, "timeout", "elsewhere"),
    524: (504, "timeout", "elsewhere"),
    529: (503, "provider_overloaded", "elsewhere"),
}
_OTHERWISE: tuple[int, str, Retry] = (502, "provider_unavailable", "elsewhere")

_OWN_WORDS: dict[str, tuple[int, str, Retry]] = {
    # `error_type` of a provider that is a router itself.
    "context_length_exceeded": (400, "context_length_exceeded", "larger"),
    "token_limit_exceeded": (400, "token_limit_exceeded", "larger"),
    "max_tokens_exceeded": (400, "max_tokens_exceeded", "elsewhere"),
    "string_too_long": (400, "string_too_long", "never"),
    "invalid_request": (400, "invalid_request", "never"),
    "invalid_prompt": (400, "invalid_prompt", "never"),
    "content_policy_violation": (400, "content_policy_violation", "never"),
    "refusal": (400, "refusal", "never"),
    "unprocessable": (422, "unprocessable", "never"),
    "payload_too_large": (413, "payload_too_large", "never"),
    "rate_limit_exceeded": (429, "rate_limit_exceeded", "elsewhere"),
    "provider_overloaded": (503, "provider_overloaded", "elsewhere"),
    "provider_unavailable": (502, "provider_unavailable", "elsewhere"),
    "timeout": (504, "timeout", "elsewhere"),
    "authentication": (502, "provider_unavailable", "cool"),
    "permission_denied": (502, "provider_unavailable", "cool"),
    "payment_required": (502, "provider_unavailable", "cool"),
    "invalid_image": (400, "invalid_image", "never"),
    "image_too_large": (400, "image_too_large", "never"),
    "image_too_small": (400, "image_too_small", "never"),
    "unsupported_image_format": (400, "unsupported_image_format", "never"),
    "image_download_failed": (400, "image_download_failed", "never"),
    "image_not_found": (404, "image_not_found", "never"),
}

_OURS_TO_MEND = "The provider refused this server's own account; the operator has to look at it."
_WORDS = {
    "provider_unavailable": "The provider could not serve the request.",
    "provider_overloaded": "The provider is overloaded.",
    "timeout": "The provider did not answer in time.",
    "rate_limit_exceeded": "The provider is rate limiting this server.",
    "payload_too_large": "The request is too large for the provider.",
}
"""Where nothing in the request is at fault, the provider's own sentence helps nobody: it speaks
to the account's owner, of the account's limits. It is kept in `raw`."""


def _classify(status: int, report: _Report, wait_s: float | None) -> Fault:
    caller_status, error_type, retry = _verdict(status, report)
    code = report.code or report.kind or None
    said = " ".join(report.message.split())[:MESSAGE_CHARS_MAX]
    raw: str | None = report.raw[:RAW_CHARS_MAX] or None
    geo = caller_status == 403 and error_type == "permission_denied"
    if geo:
        message = _GEO_REFUSED
    elif retry == "cool" and error_type == "provider_unavailable":
        message, raw = _OURS_TO_MEND, None
    elif error_type in _WORDS or not said:
        message = _WORDS.get(error_type, "The provider refused the request.")
    else:
        message = said
    return Fault(
        status=caller_status,
        error_type=error_type,
        message=message,
        retry=retry,
        retry_after_s=wait_s,
        provider_code=code[:100] if code else str(status),
        raw=raw,
        geo=geo,
    )


def _verdict(status: int, report: _Report) -> tuple[int, str, Retry]:
    own = _OWN_WORDS.get(report.error_type)
    if own:
        return own
    codes = {report.code.lower(), report.kind.lower()} - {""}
    text = report.message.lower()
    for rule in _RULES:
        if rule.statuses is not None and status not in rule.statuses:
            continue
        if codes & rule.codes or (rule.pattern is not None and rule.pattern.search(text)):
            return rule.status, rule.error_type, rule.retry
    return _STATUSES.get(status, _OTHERWISE)


# ---- reading bodies ------------------------------------------------------------------------------


def _report(body: bytes) -> _Report:
    try:
        said = decoded(anything, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Report(raw=_raw(body))
    found = _from_object(said)
    return found._replace(raw=_raw(body))


def _from_object(body: object) -> _Report:
    """Every shape of error body met so far; see the tests for one of each."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, str):
        return _Report(message=body)
    if not isinstance(body, Mapping):
        return _Report()
    inner: Any = body.get("error", body)
    base = body.get("base_resp")
    if isinstance(base, Mapping):
        return _Report(
            code=_text(base.get("status_code")), message=_text(base.get("status_msg"), 2_000)
        )
    if not isinstance(inner, Mapping):
        return _Report(code=_text(body.get("code")), message=_text(inner, 2_000))
    metadata = inner.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    details = inner.get("innererror")
    details = details if isinstance(details, Mapping) else {}
    code = _text(inner.get("code")) or _text(details.get("code"))
    message = _text(
        inner.get("message") or inner.get("detail") or inner.get("msg") or inner.get("error"), 2_000
    )
    raw = metadata.get("raw")
    if isinstance(raw, str):
        message = f"{message} {raw[:2_000]}"
    number = int(code) if code.isdecimal() and len(code) == 3 else 0
    return _Report(
        code=code,
        kind=_text(inner.get("type")) or _text(inner.get("status")),
        message=message,
        error_type=_text(metadata.get("error_type") or inner.get("error_type")),
        status=number if 400 <= number <= 599 else None,
        retry_after_s=_retry_delay(inner.get("details")),
    )


def _text(value: object, chars_max: int = 100) -> str:
    if isinstance(value, str):
        return value[:chars_max]
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return str(value)[:chars_max]
    return msgspec.json.encode(value)[:chars_max].decode(errors="replace")


def _raw(body: bytes) -> str:
    """The start of a body as text. A page of HTML is reduced to its title."""
    text = body[:20_000].decode(errors="replace").replace("\x00", "").strip()
    if text[:1] == "<":
        title = _TITLE.search(text)
        return f"(HTML) {' '.join(title[1].split())}"[:RAW_CHARS_MAX] if title else "(HTML)"
    return text[:RAW_CHARS_MAX]


_TITLE = re.compile(r"<title[^>]*>([^<]{1,400})", re.IGNORECASE)


# ---- how long to wait ----------------------------------------------------------------------------


def _retry_after(headers: Mapping[str, str], report: _Report, now_s: float | None) -> float | None:
    """Seconds, at most `RETRY_AFTER_MAX_S`: `retry-after-ms`, `retry-after` (seconds or a date),
    the body's RetryInfo, or what the text asks for."""
    for value in (
        _number(headers.get("retry-after-ms"), 1_000),
        _number(headers.get("retry-after"), 1),
        _date(headers.get("retry-after"), now_s),
        report.retry_after_s,
        _asked(report.message),
    ):
        if value is not None:
            return min(max(value, 0.0), RETRY_AFTER_MAX_S)
    return None


def _number(text: str | None, divisor: float) -> float | None:
    try:
        value = float(text or "") / divisor
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _date(text: str | None, now_s: float | None) -> float | None:
    if not text or now_s is None:
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_s


def _retry_delay(details: object) -> float | None:
    """`details: [{"@type": "…RetryInfo", "retryDelay": "34.4s"}]`."""
    for entry in details if isinstance(details, list) else ():
        delay = entry.get("retryDelay") if isinstance(entry, Mapping) else None
        if isinstance(delay, str):
            return _number(delay.removesuffix("s"), 1)
    return None


def _asked(message: str) -> float | None:
    found = _TRY_AGAIN.search(message)
    if not found:
        return None
    minutes, amount, unit = found[1], found[2], found[3]
    seconds = _number(amount, 1_000 if unit == "ms" else 1)
    return None if seconds is None else seconds + 60 * float(minutes or 0)


_TRY_AGAIN = re.compile(r"try again in (?:(\d{1,4})m)?(\d{1,6}(?:\.\d{1,6})?)(ms|s)")
