"""The caller's `plugins` array to `canon.Plugins`. Shapes are read strictly: an option that is
misspelt, or a plugin that is not run here, must not be taken for one that is.

Not here: what a plugin does (`tollway.plugins`, `routing` for routers). The legacy field
`transforms` is read too: it was the first spelling of context compression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import errors
from ..canon import NO_PLUGINS, PluginOptions, Plugins

COMPRESSION, HEALING = "context-compression", "response-healing"
ROUTERS = frozenset({"auto-router", "auto-beta-router"})
"""Their options are read by the router that is asked, and only by it."""

NOT_OFFERED: Mapping[str, str] = {
    "web": "web search",
    "web-fetch": "fetching pages",
    "file-parser": "parsing files",
    "moderation": "moderation",
    "fusion": "fusion",
    "pareto-router": "the pareto router",
    "jev-router": "the jev router",
    "switchyard-router": "the switchyard router",
    "alignment": "alignment",
    "armor": "armor",
}
"""OpenRouter's plugins that Tollway knows and does not run."""

_OWN: Mapping[str, frozenset[str]] = {
    COMPRESSION: frozenset({"id", "enabled", "engine"}),
    HEALING: frozenset({"id", "enabled"}),
}
KNOWN = (*_OWN, *sorted(ROUTERS))


def plugins(
    given: Sequence[Mapping[str, Any]] | None, transforms: Sequence[str] | None = None
) -> Plugins:
    """Raises CallerError (400) for an unknown plugin or option, for one that is given twice, and
    for one that is not offered here, unless it is switched off."""
    if not given and transforms is None:
        return NO_PLUGINS
    compression = _transforms(transforms)
    healing = False
    options: dict[str, PluginOptions] = {}
    seen: set[str] = set()
    for n, plugin in enumerate(given or ()):
        path = f"plugins[{n}]"
        name, enabled = _named(plugin, path), _enabled(plugin, path)
        if name in seen:
            raise errors.bad_field(f"{path}.id", f"{name!r} is given twice")
        seen.add(name)
        if name in _OWN:
            _check_options(name, plugin, path)
        if name == COMPRESSION:
            compression = enabled
        elif name == HEALING:
            healing = enabled
        elif enabled and name in ROUTERS:
            options[name] = PluginOptions(path, dict(plugin))
    return Plugins(compression, healing, options)


def _named(plugin: Mapping[str, Any], path: str) -> str:
    """The plugin's id. One that is not run here may be named to switch it off."""
    name = plugin.get("id")
    if name is None:
        raise errors.bad_field(f"{path}.id", "is required")
    if not isinstance(name, str):
        raise errors.bad_field(f"{path}.id", "expected a string")
    if name in NOT_OFFERED:
        if plugin.get("enabled") is not False:
            raise errors.plugin_not_offered(f"{path}.id", name, NOT_OFFERED[name], KNOWN)
    elif name not in KNOWN:
        raise errors.bad_field(f"{path}.id", f"{name[:80]!r} is not one of {', '.join(KNOWN)}")
    return name


def _enabled(plugin: Mapping[str, Any], path: str) -> bool:
    enabled = plugin.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise errors.bad_field(f"{path}.enabled", "expected a boolean")
    return enabled is not False


def _check_options(name: str, plugin: Mapping[str, Any], path: str) -> None:
    for option in plugin:
        if option not in _OWN[name]:
            raise errors.bad_field(f"{path}.{option[:80]}", f"{name} has no such option")
    engine = plugin.get("engine")
    if engine is not None and engine != "middle-out":
        raise errors.bad_field(f"{path}.engine", "expected middle-out")


def _transforms(transforms: Sequence[str] | None) -> bool | None:
    """`["middle-out"]` is on, `[]` is off; `plugins` has the last word."""
    for n, transform in enumerate(transforms or ()):
        if transform != "middle-out":
            problem = f"{transform[:80]!r} is not known; the only transform is middle-out"
            raise errors.bad_field(f"transforms[{n}]", problem)
    return None if transforms is None else bool(transforms)
