"""Options of the automatic router: one entry of `plugins`, read strictly.

Pure. Not here: which plugins there are and whether they may stand together. A misspelt option is
refused, since a restriction that is silently ignored sends a prompt where it was not to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from .. import errors

Band = Literal["low", "medium", "high", "xhigh", "max"]
BANDS: tuple[Band, ...] = get_args(Band)

PATTERNS_MAX, PATTERN_CHARS_MAX, PATTERNS_CHARS_MAX = 1_024, 1_024, 65_536
"""OpenRouter's limits: patterns in a list, characters of one, characters of a list."""


class Options(msgspec.Struct, frozen=True):
    """What the caller asked of the router. Patterns are lower case; `*` stands for any text."""

    allowed: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    band: Band = "low"
    pin: bool = False
    enabled: bool = True


NO_OPTIONS = Options()


def auto_router_options(raw_plugin: Mapping[str, Any], path: str) -> Options:
    """Raises CallerError (400) naming the option below `path`, which is `plugins[0]` or the like.

    `cost_tier` wins over the older `cost_quality_tradeoff`; both may be there, and both must be
    sound. null means not said, an empty list of models too.
    """
    for name in raw_plugin:
        if name not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            raise errors.bad_field(f"{path}.{name}", f"no such option; known are {known}")
    tradeoff = _tradeoff(raw_plugin.get("cost_quality_tradeoff"), path)
    return Options(
        allowed=_patterns(raw_plugin.get("allowed_models"), f"{path}.allowed_models"),
        excluded=_patterns(raw_plugin.get("excluded_models"), f"{path}.excluded_models"),
        band=_band(raw_plugin.get("cost_tier"), path) or tradeoff or "low",
        pin=_switch(raw_plugin.get("pin_model"), f"{path}.pin_model", default=False),
        enabled=_switch(raw_plugin.get("enabled"), f"{path}.enabled", default=True),
    )


_KNOWN = frozenset(
    {
        "id",
        "enabled",
        "allowed_models",
        "excluded_models",
        "cost_tier",
        "cost_quality_tradeoff",
        "pin_model",
    }
)

_BY_TRADEOFF: tuple[Band, ...] = (
    *("max", "max", "max"),
    *("xhigh", "xhigh"),
    *("high", "high"),
    *("medium", "medium"),
    *("low", "low"),
)
"""`cost_quality_tradeoff` 0 (quality, whatever it costs) to 10 (the cheapest), in fifths."""


def _tradeoff(value: Any, path: str) -> Band | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= 10:
        problem = "expected a whole number from 0 to 10"
        raise errors.bad_field(f"{path}.cost_quality_tradeoff", problem)
    return _BY_TRADEOFF[value]


def _band(value: Any, path: str) -> Band | None:
    if value is None:
        return None
    for band in BANDS:
        if value == band:
            return band
    raise errors.bad_field(f"{path}.cost_tier", f"expected one of {', '.join(BANDS)}")


def _switch(value: Any, path: str, *, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise errors.bad_field(path, "expected true or false")
    return value


def _patterns(value: Any, path: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise errors.bad_field(path, "expected a list of model patterns such as 'anthropic/*'")
    if len(value) > PATTERNS_MAX:
        raise errors.bad_field(path, f"expected at most {PATTERNS_MAX:,} patterns")
    total = 0
    for n, pattern in enumerate(value):
        if not isinstance(pattern, str) or not pattern.strip():
            raise errors.bad_field(f"{path}[{n}]", "expected a model pattern such as 'anthropic/*'")
        if len(pattern) > PATTERN_CHARS_MAX:
            problem = f"expected at most {PATTERN_CHARS_MAX:,} characters"
            raise errors.bad_field(f"{path}[{n}]", problem)
        total += len(pattern)
    if total > PATTERNS_CHARS_MAX:
        problem = f"expected at most {PATTERNS_CHARS_MAX:,} characters in all its patterns"
        raise errors.bad_field(path, problem)
    return tuple(dict.fromkeys(pattern.strip().lower() for pattern in value))
