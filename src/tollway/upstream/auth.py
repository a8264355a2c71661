"""Credentials: from a provider's facts and an environment to the headers that open its door.

The environment is an argument. Not a store of keys, and no signing (`signers`): a scheme that is
known to neither is named as not supported, never half done. Rules. A provider is live when
everything it needs is there and usable; whoever asks why it is not gets a sentence that says what to
do, and never a piece of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from ..catalogue.entries import Provider
from . import signers
from .variables import ignored, own_keys, value

KEY_HEADER_SCHEMES = frozenset({"header", "bearer"})

_KEY_NAME = re.compile(r"_(KEY|TOKEN|PAT)$")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_URL_PART = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]+)?")


class Secret(str):
    """A header value that is sent and never shown: its `repr` is masked, and neither `msgspec` nor
    `pickle` writes it. It is a `str`, so formatting it on purpose still gives the value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not serialised")


def credential_headers(
    provider: Provider, environ: Mapping[str, str]
) -> tuple[tuple[str, str], ...] | None:
    """Headers to add to every request; None when the provider is not live, or is so by signing
    each request (`signers.signer`)."""
    auth = provider.auth
    if auth.scheme == "none":
        return ()
    if bearer := signers.aws_bearer(provider, environ):
        return (("Authorization", Secret(f"Bearer {bearer}")),)
    if auth.scheme not in KEY_HEADER_SCHEMES:
        return None
    for name in key_names(provider):
        key = value(environ, name)
        if key and _VISIBLE.fullmatch(key):
            return ((auth.header, Secret(auth.format.replace("{key}", key))),)
    return None


def base_url(
    provider: Provider, environ: Mapping[str, str], dialect: str | None = None
) -> str | None:
    """The base URL (of another `dialect` than the provider's first) with its placeholders filled,
    or None when one is missing or not fit for a URL.

    A value may be pasted as a URL (`https://host/`); the scheme and the slash are dropped.
    """
    url = provider.base_url if dialect is None else provider.dialects[dialect]
    if url is None:
        return None
    for placeholder in _PLACEHOLDER.findall(url):
        filling = _variable(environ, provider.variables.get(placeholder, ""))
        if not filling:
            return None
        url = url.replace(f"{{{placeholder}}}", filling)
    return _google_host(url) if "rep_hosts_for_some_regions" in provider.quirks else url


def why_not_live(provider: Provider, environ: Mapping[str, str]) -> str:
    """What is missing, as an instruction (`set GROQ_API_KEY`); empty when the provider is live."""
    if not provider.enabled:
        because = provider.disabled_because or "a fact it needs is unconfirmed"
        return f"switched off: {because}"
    keyed = provider.auth.scheme in KEY_HEADER_SCHEMES
    if provider.auth.scheme != "none" and not keyed and not signers.signs(provider):
        return f"its sign-in scheme {provider.auth.scheme} is not supported yet"
    if provider.base_url is None:
        return "its base URL is not known; name one in its file under providers/"
    missing, wrong = _credential(provider, environ)
    for placeholder in dict.fromkeys(_PLACEHOLDER.findall(provider.base_url)):
        name = provider.variables.get(placeholder, "")
        if not name:
            return f"no variable is named for {{{placeholder}}} in its base URL"
        if not value(environ, name):
            missing.append(name)
        elif not _variable(environ, name):
            wrong = f"{name} is not fit for a URL: letters, digits, dots and dashes only"
    if not missing:
        return wrong
    own = own_keys(environ, provider.auth.env)
    return f"set {' and '.join(missing)}" + (f" ({ignored(own)})" if own else "")


def key_names(provider: Provider) -> tuple[str, ...]:
    """Environment variables that may hold the key: the first, and further names that are other
    spellings of a key (`GOOGLE_API_KEY` beside `GEMINI_API_KEY`). The rest belong to the scheme."""
    names = provider.auth.env
    return names[:1] + tuple(name for name in names[1:] if _KEY_NAME.search(name))


def _credential(provider: Provider, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """What is missing of the credential, and what is wrong with what is there."""
    if provider.auth.scheme == "none" or signers.aws_bearer(provider, environ):
        return [], ""
    if signers.signs(provider):
        return signers.why_no_signer(provider, environ)
    return _missing_key(provider, environ), _wrong_key(provider, environ)


def _missing_key(provider: Provider, environ: Mapping[str, str]) -> list[str]:
    names = key_names(provider)
    if any(value(environ, name) for name in names):
        return []
    return [" or ".join(names) or "a key (its file names no variable)"]


def _wrong_key(provider: Provider, environ: Mapping[str, str]) -> str:
    given = [name for name in key_names(provider) if value(environ, name)]
    if not given or any(_VISIBLE.fullmatch(value(environ, name)) for name in given):
        return ""
    return f"{given[0]} holds a line break or another character that no header may hold"


def _variable(environ: Mapping[str, str], name: str) -> str:
    part = value(environ, name).removeprefix("https://").rstrip("/")
    return part if _URL_PART.fullmatch(part) else ""


def _google_host(url: str) -> str:
    """Vertex's host for places that are no single region: `global` has no prefix, the
    multi-regions have hosts of their own."""
    for place, host in _GOOGLE_HOSTS.items():
        prefix = f"https://{place}-aiplatform.googleapis.com/"
        if url.startswith(prefix):
            return f"https://{host}/{url.removeprefix(prefix)}"
    return url


_GOOGLE_HOSTS = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}
