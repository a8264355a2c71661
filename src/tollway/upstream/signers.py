"""Signers: credentials that are made anew for each request, behind one small port.

Not where requests are sent, not the algorithms (`sigv4`, `google_token`). Rules. `signer()` gives
one only when everything it needs is there and usable; `why_no_signer()` says what is missing, and
never a piece of a secret. A signer is shown by its kind alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from ..catalogue.entries import Provider
from . import Transport, sigv4
from .google_token import GoogleTokens, read_account
from .variables import value

Headers = list[tuple[str, str]]

GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
"""The variable that tells Google's scheme from others that exchange something for a bearer."""


class Signer(Protocol):
    async def headers(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes,
        *,
        now_s: float,
        transport: Transport,
    ) -> Headers:
        """Headers to add to a request that is otherwise ready; `url` as it will be sent, `now_s`
        in Unix seconds. `transport` fetches what the credential needs. Raises AttemptFailed."""


def signer(provider: Provider, environ: Mapping[str, str]) -> Signer | None:
    """None when the scheme has no signer, or something it needs is missing (`why_no_signer`)."""
    match provider.auth.scheme:
        case "aws-sigv4":
            keys, region = _aws_keys(provider, environ), aws_region(provider, environ)
            if keys is None or not region:
                return None
            return AwsSignature(keys, region, provider.auth.service or "bedrock")
        case "oauth2-bearer" if GOOGLE_FILE in provider.auth.env:
            try:
                account = read_account(value(environ, GOOGLE_FILE))
            except ValueError:
                return None
            return GoogleBearer(GoogleTokens(account))
    return None


def why_no_signer(provider: Provider, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Variables that are missing, and what is wrong with one that is set; both empty when
    `signer()` gives one, and for a scheme that is not known here see `signs`."""
    if provider.auth.scheme == "oauth2-bearer":
        path = value(environ, GOOGLE_FILE)
        if not path:
            return [GOOGLE_FILE], ""
        try:
            read_account(path)
        except ValueError as error:
            return [], f"{GOOGLE_FILE}: {error}"
        return [], ""
    names = _aws_names(provider)
    missing = [name for name in (names["id"], names["secret"]) if not value(environ, name)]
    if missing:
        bearer = f" (or {names['bearer']})" if names["bearer"] and len(missing) == 2 else ""
        return [" and ".join(missing) + bearer], ""
    for name in (names["id"], names["secret"], names["token"]):
        if not _TOKEN.fullmatch(value(environ, name) or "-"):
            return [], f"{name} holds a space or another character that no AWS key has"
    return [], ""


def signs(provider: Provider) -> bool:
    """The provider's scheme is one that this version can sign for."""
    if provider.auth.scheme == "aws-sigv4":
        names = _aws_names(provider)
        return bool(names["id"] and names["secret"])
    return provider.auth.scheme == "oauth2-bearer" and GOOGLE_FILE in provider.auth.env


def aws_bearer(provider: Provider, environ: Mapping[str, str]) -> str:
    """A Bedrock API key, which goes before signing keys as in AWS's own clients; "" = none."""
    if provider.auth.scheme != "aws-sigv4":
        return ""
    bearer = value(environ, _aws_names(provider)["bearer"])
    return bearer if _TOKEN.fullmatch(bearer) else ""


def aws_region(provider: Provider, environ: Mapping[str, str]) -> str:
    region = value(environ, provider.variables.get("region", "AWS_REGION"))
    return region if _REGION.fullmatch(region) else ""


class AwsSignature:
    """SigV4 with long-lived or temporary keys."""

    def __init__(self, keys: sigv4.Keys, region: str, service: str) -> None:
        self._keys = keys
        self._region = region
        self._service = service

    def __repr__(self) -> str:
        return f"AwsSignature({self._region!r}, {self._service!r})"

    async def headers(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes,
        *,
        now_s: float,
        transport: Transport,
    ) -> Headers:
        return sigv4.sign(
            self._keys, self._region, self._service, method, url, headers, body, now_s
        )


class GoogleBearer:
    """A service account's token."""

    def __init__(self, tokens: GoogleTokens) -> None:
        self._tokens = tokens

    def __repr__(self) -> str:
        return f"GoogleBearer({self._tokens!r})"

    async def headers(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes,
        *,
        now_s: float,
        transport: Transport,
    ) -> Headers:
        token = await self._tokens.token(transport, now_s)
        return [("Authorization", f"Bearer {token}")]


def _aws_keys(provider: Provider, environ: Mapping[str, str]) -> sigv4.Keys | None:
    names = _aws_names(provider)
    key_id, secret = value(environ, names["id"]), value(environ, names["secret"])
    token = value(environ, names["token"])
    if not _TOKEN.fullmatch(key_id) or not _TOKEN.fullmatch(secret):
        return None
    if token and not _TOKEN.fullmatch(token):
        return None
    return sigv4.Keys(key_id, secret, token or None)


_AWS_ENDINGS = {
    "id": "ACCESS_KEY_ID",
    "secret": "SECRET_ACCESS_KEY",
    "token": "SESSION_TOKEN",
    "bearer": "BEARER_TOKEN_BEDROCK",
}


def _aws_names(provider: Provider) -> dict[str, str]:
    """Which of the provider's variables holds what, by how its name ends; "" = none."""
    return {
        part: next((name for name in provider.auth.env if name.endswith(ending)), "")
        for part, ending in _AWS_ENDINGS.items()
    }


_TOKEN = re.compile(r"[\x21-\x7e]+")
_REGION = re.compile(r"[a-z]{2}(-[a-z0-9]+)+")
