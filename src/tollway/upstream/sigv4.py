"""AWS Signature Version 4: what a request's headers must gain to be accepted.

Pure: keys, region and time are arguments. Not a chain of credential sources. The rules are AWS's
("Create a signed AWS API request"); the path is encoded once more than it is sent (every service
but S3), so a model id's `:`, sent as `%3A`, is signed as `%253A`.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, urlsplit

import msgspec

ALGORITHM = "AWS4-HMAC-SHA256"

_UNSIGNED = frozenset(
    {"connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}
)
"""Headers that proxies may change on the way."""


class Keys(msgspec.Struct, frozen=True):
    """`session_token` comes with temporary keys and is signed too."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Keys(…)"


def sign(
    keys: Keys,
    region: str,
    service: str,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    now_s: float,
) -> list[tuple[str, str]]:
    """Headers to add to `headers`; those and the host are covered by the signature. `url` is as it
    is sent (its path and query percent-encoded once); `now_s` in Unix seconds."""
    at = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y%m%dT%H%M%SZ")
    added = [("X-Amz-Date", at)]
    if keys.session_token:
        added.append(("X-Amz-Security-Token", keys.session_token))
    signed = _canonical_headers(url, [*headers, *added])
    names = ";".join(signed)
    parts = urlsplit(url)
    canonical = "\n".join(
        (
            method,
            _canonical_path(parts.path),
            _canonical_query(parts.query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            sha256(body).hexdigest(),
        )
    )
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    digest = sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{at}\n{scope}\n{digest}"
    key = _signing_key(keys.secret_access_key, at[:8], region, service)
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    credential = f"Credential={keys.access_key_id}/{scope}"
    value = f"{ALGORITHM} {credential}, SignedHeaders={names}, Signature={signature}"
    return [*added, ("Authorization", value)]


def _canonical_headers(url: str, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case name to value, sorted; values of a repeated name are joined in order."""
    values: dict[str, list[str]] = {"host": [_host(url)]}
    for name, value in headers:
        lower = name.lower()
        if lower not in _UNSIGNED and lower != "host":
            values.setdefault(lower, []).append(" ".join(value.split()))
    return {name: ",".join(values[name]) for name in sorted(values)}


def _host(url: str) -> str:
    """As the Host header has it: without the port that the scheme implies."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, default) else f"{host}:{parts.port}"


def _canonical_path(path: str) -> str:
    """The path as sent, without empty, `.` and `..` segments, encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def _canonical_query(query: str) -> str:
    """`name=value` pairs sorted as they are sent: they are encoded already."""
    pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
    return "&".join(f"{name}={value}" for name, value in sorted((n, v) for n, _, v in pairs))


@lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The day's key for one service in one region: four HMACs that need not be repeated."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), sha256).digest()
    return key
