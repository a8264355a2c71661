"""Configuration: read once, here, into one typed value. Nothing else asks the environment.

Three sources, later ones win: `$TOLLWAY_HOME/tollway.toml`, environment (`TOLLWAY_PORT` for
`port`), command line. Provider credentials are not settings: they are looked up by name in
`Settings.environ` when the gateway is wired.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .money import parse_usd

MIB = 1024 * 1024


class SettingsError(Exception):
    """A setting is wrong. The message names its source, its name and what was expected."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, with its default; the docstring of a field is its documentation."""

    home: Path
    """Database, secrets, provider files."""
    environ: Mapping[str, str] = {}
    """Where provider credentials are looked up."""
    host: str = "127.0.0.1"
    port: int = 8787
    public: bool = False
    """Allow a host that is not loopback."""
    log_level: str = "info"
    """debug, info, warning or error."""

    body_limit_bytes: int = 32 * MIB
    """Largest request body, also after decompression. Anthropic's API has the same limit."""
    head_timeout_s: float = 15.0
    """A request's head must be complete this long after its first byte, or after connecting."""
    body_timeout_s: float = 60.0
    """…and its body this long after the head."""
    keep_alive_s: int = 75
    """Idle connections are kept this long; longer than the usual proxy's 60 s."""
    requests_max: int = 10_000
    """Inference requests running at once; above it the answer is 503 with Retry-After."""

    total_timeout_s: float = 600.0
    """One deadline for all attempts of a request and its whole answer."""
    idle_timeout_s: float = 120.0
    """A provider that sends nothing for this long has failed."""
    first_token_timeout_s: float = 300.0
    """A stream that has only kept its connection alive for this long has failed: another provider
    still has half of the time for all."""
    heartbeat_s: float = 10.0
    """A silent stream gets a comment after this long, so that proxies do not cut it."""
    stalled_client_s: float = 60.0
    """A client that reads nothing for this long is gone."""
    drain_s: float = 120.0
    """How long an answer is read to its end for its true usage when the client has left and the
    provider would bill it anyway."""
    drains_max: int = 64
    """…and how many at once."""
    shutdown_s: float = 30.0
    """Running answers may finish for this long after SIGTERM."""

    audit_s: float = 3600.0
    """The books are audited this often while serving; a broken invariant is logged and counted."""

    cache_bytes_max: int = 64 * MIB
    """Memory for answers that callers asked to be kept (`X-OpenRouter-Cache: true`), per process;
    0 switches the cache off. docs/caching.md."""
    cache_entries_max: int = 10_000
    """…and how many of them."""
    cache_answer_bytes_max: int = 8 * MIB
    """A larger answer is not kept."""
    cache_wait_s: float = 120.0
    """How long a request waits for the same one that is being answered, before it asks itself."""

    free_limits: bool = True
    """Limit how often a workspace uses free models of other people's capacity. docs/limits.md."""
    free_requests_per_minute: int = 20
    free_requests_per_day: int = 50
    free_requests_per_day_credited: int = 1_000
    """…of a workspace that was credited `free_credited_usd`."""
    free_credited_usd: str = "10"

    margin_ppm: int = 0
    """Margin on provider prices in parts per million; 50_000 = 5 %."""
    output_tokens_default: int = 32_768
    """Output limit held for and sent upstream when the caller names none."""
    first_credit_usd: str = "5"
    """Operator grant at the first start."""
    attempts_per_model: int = 3

    @property
    def database(self) -> Path:
        return self.home / "tollway.db"

    def check(self) -> Settings:
        """Self, if the values make sense together. Raises SettingsError."""
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port: expected 0 to 65535, got {self.port}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(
                f"log_level: expected debug, info, warning or error, got {self.log_level!r}"
            )
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}: must be 1 or more")
        for name in _DURATIONS:
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name}: must be more than 0 seconds")
        if not 0 <= self.margin_ppm <= 10_000_000:
            raise SettingsError("margin_ppm: expected 0 to 10,000,000 (parts per million)")
        if self.cache_bytes_max < 0:
            raise SettingsError("cache_bytes_max: must be 0 (off) or more")
        try:
            parse_usd(self.first_credit_usd, "first_credit_usd")
            parse_usd(self.free_credited_usd, "free_credited_usd")
        except ValueError as error:
            raise SettingsError(str(error)) from None
        if not 1 <= self.attempts_per_model <= 10:
            raise SettingsError("attempts_per_model: expected 1 to 10")
        if not self.public and not is_loopback(self.host):
            raise SettingsError(
                f"host: {self.host} can be reached from other machines. Every key holder there "
                "can spend this installation's credit, over plain HTTP unless a proxy adds TLS. "
                "If that is meant, say so with --public (or TOLLWAY_PUBLIC=1)."
            )
        return self


def load(overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from file, environment and `overrides` (command line; None values are unset).

    Raises SettingsError.
    """
    environ = dict(os.environ if environ is None else environ)
    given = {name: value for name, value in overrides.items() if value is not None}
    home = Path(given.get("home") or environ.get("TOLLWAY_HOME") or default_home(environ))
    home = home.expanduser().absolute()
    values: dict[str, Any] = {}
    file = home / "tollway.toml"
    if file.exists():
        values |= _from_file(file)
    for name in _NAMES:
        text = environ.get(f"TOLLWAY_{name.upper()}")
        if text is not None and text != "":
            values[name] = _convert(text, name, f"TOLLWAY_{name.upper()}", strict=False)
    values |= {k: v for k, v in given.items() if k in _NAMES}
    return Settings(home=home, environ=environ, **values).check()


def default_home(environ: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/tollway`, usually ~/.local/share/tollway."""
    data = environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "tollway"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


_NAMES = tuple(n for n in Settings.__struct_fields__ if n not in ("home", "environ"))
_TYPES = {f.name: f.type for f in msgspec.structs.fields(Settings)}
_AT_LEAST_ONE = (
    "body_limit_bytes",
    "requests_max",
    "output_tokens_default",
    "drains_max",
    "cache_entries_max",
    "cache_answer_bytes_max",
    "free_requests_per_minute",
    "free_requests_per_day",
    "free_requests_per_day_credited",
)
_DURATIONS = tuple(n for n in _NAMES if n.endswith("_s"))


def _from_file(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from None
    unknown = sorted(set(table) - set(_NAMES))
    if unknown:
        raise SettingsError(f"{file}: {unknown[0]}: no such setting; known: {', '.join(_NAMES)}")
    return {
        name: _convert(value, name, f"{file}: {name}", strict=True) for name, value in table.items()
    }


def _convert(value: Any, name: str, where: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, _TYPES[name], strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {error}, got {value!r}") from None
