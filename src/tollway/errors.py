"""Errors: whose fault, which status, which public words. The one place where they are worded.

Rules. An error says by type whose fault it is: `CallerError` (mend the request), `Unavailable`
(try later or elsewhere), `Internal` (ours, masked). It carries what the next reader needs:
`error_type` is stable across dialects, `metadata` and `availability` follow OpenRouter's error
body. Provider faults are values (`canon.Fault`) until every attempt has failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .canon import Fault

DOCS_URL = "/openapi.json"
"""On the server that answered: the one address that is known wherever it runs."""


class TollwayError(Exception):
    """Anything an API caller may be told. `status` is HTTP; `retry_after_s` becomes a header."""

    status = 500
    error_type = "server"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        availability: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status if status is not None else type(self).status
        self.error_type = error_type if error_type is not None else type(self).error_type
        self.metadata = dict(metadata or {})
        self.availability = dict(availability) if availability else None
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})
        self.beside: Mapping[str, Any] = {}
        """What stands next to `error` in a body: router metadata, for callers who asked."""

    def body(self) -> dict[str, Any]:
        """OpenRouter's error body: `{"error": {code, message, metadata, availability}}`."""
        error: dict[str, Any] = {
            "code": self.status,
            "message": self.message,
            "error_type": self.error_type,
            "metadata": {**self.metadata, "error_type": self.error_type},
        }
        if self.availability:
            error["availability"] = self.availability
        return {"error": error, **self.beside}


class CallerError(TollwayError):
    """The request cannot be served as it stands."""

    status = 400
    error_type = "invalid_request"


class Unavailable(TollwayError):
    """The request is fine; we or the providers cannot serve it now."""

    status = 503
    error_type = "provider_overloaded"


class Internal(TollwayError):
    """Our own fault. The message is masked by construction."""

    def __init__(self, message: str = "Internal error. It has been recorded.") -> None:
        super().__init__(message)


# ---- the request itself --------------------------------------------------------------------------


def bad_field(path: str, problem: str) -> CallerError:
    """`path` as the caller would write it: `messages[2].content`."""
    where = f"{path}: " if path else ""
    return CallerError(f"{where}{problem}", metadata={"field": path} if path else {})


def no_model() -> CallerError:
    return bad_field(
        "model",
        "is required, unless models is given or the workspace has a default_text_model",
    )


def plugin_not_offered(path: str, name: str, what: str, known: Sequence[str]) -> CallerError:
    """A plugin of OpenRouter's that does not run here; doing nothing would be a lie."""
    return bad_field(
        path,
        f"{name!r} ({what}) is not offered here yet; offered are {', '.join(known)}. "
        "Leave it out, or send it with enabled: false",
    )


def bad_json(problem: str) -> CallerError:
    return CallerError(f"The body is not valid JSON: {problem}")


def not_an_object() -> CallerError:
    return CallerError("the body must be one JSON object")


def too_large(limit_bytes: int) -> CallerError:
    return CallerError(
        f"The request body is larger than {limit_bytes:,} bytes. Send less, or URLs instead of data.",
        status=413,
        error_type="payload_too_large",
        metadata={"limit_bytes": limit_bytes},
    )


def unsupported_encoding(encoding: str) -> CallerError:
    return CallerError(
        f"Content-Encoding {encoding!r} is not accepted; send the body as it is, or gzip.",
        status=415,
    )


def request_timeout(seconds: float) -> CallerError:
    return CallerError(
        f"The request did not arrive whole within {seconds:g} seconds.",
        status=408,
        error_type="timeout",
    )


def head_too_large(limit_bytes: int) -> CallerError:
    return CallerError(f"The request's headers are larger than {limit_bytes:,} bytes.", status=431)


def bad_http() -> CallerError:
    return CallerError("This is not a valid HTTP request.")


def no_route(path: str) -> CallerError:
    return CallerError(
        f"There is no route {path}. The API lives under /api/v1 and /v1.",
        status=404,
        error_type="not_found",
    )


def wrong_method(method: str, allowed: Sequence[str]) -> CallerError:
    return CallerError(
        f"{method} is not allowed here; allowed: {', '.join(allowed)}.",
        status=405,
        headers={"Allow": ", ".join(allowed)},
    )


def not_found(what: str) -> CallerError:
    return CallerError(f"{what} was not found.", status=404, error_type="not_found")


# ---- presets -------------------------------------------------------------------------------------


def preset_not_found(slug: str, close: Sequence[str] = ()) -> CallerError:
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    return CallerError(
        f"There is no preset {slug[:128]!r} in this workspace.{hint}",
        status=404,
        error_type="not_found",
        metadata={"preset": slug[:128]},
    )


def preset_not_active(slug: str, status: str) -> CallerError:
    return CallerError(
        f"The preset {slug!r} is {status}; `tollway presets enable {slug}` puts it to use again.",
        status=404,
        error_type="not_found",
        metadata={"preset": slug},
    )


def preset_archived(slug: str) -> CallerError:
    return CallerError(
        f"The preset {slug!r} is archived and takes no new version; "
        f"`tollway presets enable {slug}` puts it to use again.",
        status=409,
        metadata={"preset": slug},
    )


# ---- who is asking -------------------------------------------------------------------------------


def no_key() -> CallerError:
    return _unauthenticated(
        "No API key. Send it as 'Authorization: Bearer <key>'; `tollway keys create` makes one."
    )


def bad_key() -> CallerError:
    return _unauthenticated("This API key is not known here.")


def disabled_key() -> CallerError:
    return _unauthenticated("This API key is disabled.")


def expired_key() -> CallerError:
    return _unauthenticated("This API key has expired.")


def _unauthenticated(message: str) -> CallerError:
    return CallerError(
        message,
        status=401,
        error_type="authentication",
        headers={"WWW-Authenticate": "Bearer"},
    )


def management_only() -> CallerError:
    return CallerError(
        "This route needs a management key (`tollway keys create --management`).",
        status=403,
        error_type="permission_denied",
    )


def inference_refused() -> CallerError:
    return CallerError(
        "A management key cannot be used for inference; use an ordinary API key.",
        status=403,
        error_type="permission_denied",
    )


# ---- money ---------------------------------------------------------------------------------------


def not_enough_credit(needed_usd: str, available_usd: str, affordable_tokens: int) -> CallerError:
    afford = (
        f" or fewer max_tokens: you can afford {affordable_tokens:,}" if affordable_tokens else ""
    )
    return CallerError(
        f"This request requires more credits{afford}. It may cost up to {needed_usd} USD and "
        f"{available_usd} USD are available.",
        status=402,
        error_type="payment_required",
        metadata={
            "limit_source": "openrouter_credits",
            "reason": "weight_exceeds_budget",
            "affordable_tokens": affordable_tokens,
            "remedy_hint": "Add credit (`tollway credits grant`) or lower max_tokens.",
        },
    )


def credit_in_flight(available_usd: str) -> CallerError:
    """The balance would do, but requests that are still running hold it."""
    return CallerError(
        f"Requests still running hold the rest of the credit; {available_usd} USD are free now.",
        status=402,
        error_type="payment_required",
        metadata={
            "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted",
            "remedy_hint": "Wait for running requests to finish, or add credit.",
        },
        retry_after_s=1,
    )


def key_limit_reached(
    needed_usd: str,
    available_usd: str,
    limit_usd: float,
    spend_usd: float,
    reset: str | None,
    resets_at: str | None,
    *,
    in_flight: bool,
) -> CallerError:
    """The limit of a key stands in the way: used up, held by requests that still run
    (`in_flight`), or simply smaller than what this request may cost."""
    limit = f"{reset + ' ' if reset else ''}limit of {limit_usd:g} USD"
    if in_flight:
        message = f"Requests still running hold the rest of this API key's {limit}."
        remedy = "Wait for running requests to finish, or raise the key's limit."
    elif spend_usd >= limit_usd:
        message = f"This API key has used its {limit}."
        remedy = "Raise the key's limit, or wait for its reset."
    else:
        message = (
            f"This request may cost up to {needed_usd} USD, and {available_usd} USD are left of "
            f"this API key's {limit}."
        )
        remedy = "Lower max_tokens, raise the key's limit, or wait for its reset."
    metadata = {
        "limit_source": "openrouter_key_limit",
        "scope": "key_limit",
        "limit_usd": limit_usd,
        "spend_usd": spend_usd,
        "resets_at": resets_at,
        "remedy_hint": remedy,
    }
    if in_flight:
        metadata["reason"] = "in_flight_budget_exhausted"
    return CallerError(
        message,
        status=403,
        error_type="permission_denied",
        metadata=metadata,
        retry_after_s=1 if in_flight else None,
    )


def rate_limited(scope: str, period: str, limit: int, resets_ms: int, now_ms: int) -> CallerError:
    """A limit in number is used up: a key's own (`key`), or its workspace's for free models
    (`free`), in a `minute` or `day`. Times are Unix milliseconds, as in OpenRouter's header."""
    if scope == "free":
        name, whose = f"free-models-per-{_SHORT.get(period, period)}", "free models"
        remedy = "Wait, use the paid model, or ask the operator for credit: it raises the limit."
    else:
        name, whose = f"key-per-{_SHORT.get(period, period)}", "this API key"
        remedy = "Wait, or ask for a higher limit of the key."
    headers = {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(resets_ms),
    }
    return CallerError(
        f"Rate limit exceeded: {name}. {limit:,} requests a {period} are allowed for {whose}.",
        status=429,
        error_type="rate_limit_exceeded",
        metadata={"limit_source": name, "headers": headers, "remedy_hint": remedy},
        retry_after_s=max(0, resets_ms - now_ms) / 1000,
        headers=headers,
    )


_SHORT = {"minute": "min"}


# ---- models and endpoints ------------------------------------------------------------------------


def _availability(code: str, requested: Sequence[str], **more: Any) -> dict[str, Any]:
    retryable = code in ("capacity_exhausted", "temporarily_unavailable")
    found = {"code": code, "retryable": retryable, "requested_models": list(requested), **more}
    return {**found, "docs_url": DOCS_URL}


def model_not_found(slug: str, close: Sequence[str] = ()) -> CallerError:
    hint = f" Did you mean {', '.join(close)}?" if close else ""
    return CallerError(
        f"{slug} is not a model of this catalogue.{hint}",
        availability=_availability("model_not_found", [slug], fallback_models=list(close)),
    )


def in_path(error: TollwayError) -> TollwayError:
    """The same of a route that names its model in the path: one that does not exist is a path that
    does not exist."""
    if error.availability is not None and error.availability["code"] == "model_not_found":
        error.status, error.error_type = 404, "not_found"
    return error


def model_deprecated(slug: str, successors: Sequence[str]) -> CallerError:
    hint = f" Use {', '.join(successors)}." if successors else ""
    return CallerError(
        f"{slug} is no longer offered by any provider.{hint}",
        status=404,
        error_type="not_found",
        availability=_availability("model_deprecated", [slug], fallback_models=list(successors)),
    )


def free_variant_ended(slug: str, paid: str) -> CallerError:
    return no_endpoints(
        [slug],
        "free_variant_ended",
        (),
        f"its free variant is not offered here; {paid} is",
        fallback_models=[paid],
    )


def two_catalogue_variants(slug: str, suffixes: Sequence[str]) -> CallerError:
    named = " and ".join(f":{suffix}" for suffix in suffixes)
    return bad_field("model", f"{slug}: {named} are different models; name one of them")


def batch_only(slug: str, ordinary: str, *, sold: bool) -> CallerError:
    """`:batch` names prices of work that is done within hours. `sold`: somebody offers them."""
    if not sold:
        detail = f"no provider sells it at batch prices; {ordinary} answers at once"
        return no_endpoints([slug], "no_endpoints", (), detail, fallback_models=[ordinary])
    return CallerError(
        f"{slug} is the batch price of {ordinary}, which providers give to batch jobs only. This "
        f"route answers at once: ask for {ordinary}, or for {ordinary}:floor to pay least.",
        availability=_availability("wrong_endpoint", [slug], fallback_models=[ordinary]),
    )


def wrong_endpoint(slug: str, kind: str) -> CallerError:
    return CallerError(
        f"{slug} is a model of type {kind} and does not answer on this route.",
        availability=_availability("wrong_endpoint", [slug]),
    )


def patterns_too_costly() -> CallerError:
    return bad_field(
        "plugins",
        "allowed_models and excluded_models fit nearly every model many times over; send fewer "
        "patterns, or begin them with an author as in 'anthropic/*'",
    )


def router_takes_messages(slug: str) -> CallerError:
    return bad_field(
        "prompt",
        f"{slug} reads a conversation; send messages to /chat/completions, or name a model",
    )


def no_endpoints(
    requested: Sequence[str],
    code: str,
    excluded_by: Sequence[str],
    detail: str,
    constraint: Mapping[str, str] | None = None,
    *,
    affected_providers: Sequence[str] = (),
    fallback_models: Sequence[str] = (),
) -> CallerError:
    """No endpoint is left after the filters. `code` is an availability code of the reference;
    `affected_providers` are those that were shut out."""
    more: dict[str, Any] = {"excluded_by": list(excluded_by)} if excluded_by else {}
    if affected_providers:
        more["affected_providers"] = list(affected_providers)
    if fallback_models:
        more["fallback_models"] = list(fallback_models)
    if constraint:
        more["constraint"] = dict(constraint)
    return CallerError(
        f"No endpoint of {', '.join(requested)} can serve this request: {detail}.",
        status=403 if code == "region_restricted" else 404,
        error_type="permission_denied" if code == "region_restricted" else "not_found",
        availability=_availability(code, requested, **more),
    )


def context_too_long(requested: Sequence[str], detail: str) -> CallerError:
    """No endpoint's window is large enough: the same word as a provider's own refusal, which is
    what clients look for before they shorten a conversation."""
    return CallerError(
        f"The request is longer than the context of {', '.join(requested)}: {detail}.",
        error_type="context_length_exceeded",
        availability=_availability(
            "constraint_filtered",
            requested,
            excluded_by=["context_length"],
            constraint={"field": "messages", "detail": detail},
        ),
    )


def all_attempts_failed(
    requested: Sequence[str], faults: Sequence[tuple[str, Fault]]
) -> TollwayError:
    """Every attempt failed: the last fault decides the status, all are listed.

    `faults` are (provider name, fault) in the order they happened, never empty. A refusal of the
    country we call from decides only where there is no other fault: the others may pass.
    """
    provider, last = next((f for f in reversed(faults) if not f[1].geo), faults[-1])
    waits = [f.retry_after_s for _, f in faults if f.retry_after_s is not None]
    metadata: dict[str, Any] = {
        "provider_name": provider,
        "previous_errors": [
            {"provider": name, "code": f.provider_code or f.status, "status": f.status}
            for name, f in faults
        ],
    }
    if last.provider_code:
        metadata["provider_code"] = last.provider_code
    if last.raw:
        metadata["raw"] = last.raw
    if last.retry in ("never", "larger"):
        return CallerError(
            last.message, status=last.status, error_type=last.error_type, metadata=metadata
        )
    more: dict[str, Any] = {"affected_providers": list(dict.fromkeys(n for n, _ in faults))}
    if any(fault.geo for _, fault in faults):
        more["excluded_by"] = ["geo"]
    if all(fault.geo for _, fault in faults):
        return CallerError(
            last.message,
            status=last.status,
            error_type=last.error_type,
            metadata=metadata,
            availability=_availability("region_restricted", requested, **more),
        )
    if waits:
        more["retry_after"] = min(waits)
    code = "capacity_exhausted" if last.status == 429 else "temporarily_unavailable"
    return Unavailable(
        last.message,
        status=last.status,
        error_type=last.error_type,
        metadata=metadata,
        availability=_availability(code, requested, **more),
        retry_after_s=min(waits) if waits else None,
    )


def broken_stream(provider: str, fault: Fault) -> Unavailable:
    """The provider failed after its answer had begun; nothing is charged."""
    metadata: dict[str, Any] = {"provider_name": provider}
    if fault.provider_code:
        metadata["provider_code"] = fault.provider_code
    return Unavailable(
        fault.message, status=fault.status, error_type=fault.error_type, metadata=metadata
    )


# ---- ourselves -----------------------------------------------------------------------------------


def store_unavailable() -> Unavailable:
    """Lost database: never a 401."""
    return Unavailable(
        "The accounts cannot be read or written right now. Nothing was charged; try again.",
        error_type="server",
        retry_after_s=1,
    )


def shutting_down() -> Unavailable:
    return Unavailable("The server is shutting down.", error_type="server", retry_after_s=1)


def overloaded(retry_after_s: float = 1) -> Unavailable:
    return Unavailable(
        "The server is at its limit of running requests.",
        error_type="server",
        retry_after_s=retry_after_s,
    )
