"""Is the catalogue consistent, and are its prices sane? What `tollway catalogue check` prints.

Pure: a catalogue in, a report out. Reading already refused what cannot be meant (`files`,
`compile`); this looks at what can be read and is still probably wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator

import msgspec

from ..money import PICO_PER_USD, Rates
from .entries import DIALECTS, Catalogue, Endpoint, Model, Provider, price_version

TOKEN_RATE_MAX_PICO = PICO_PER_USD // 1_000
"""A chat token for more than a tenth of a cent (1,000 USD per million) is a slipped decimal point:
the dearest real one, o1-pro's output, is 600 USD per million."""

CACHE_WRITE_RATIO_MAX = 10
"""Writing a cache costs 1 to 2 times the prompt nearly everywhere; one host that gives prompts away
asks 9 times."""


class Report(msgspec.Struct, frozen=True):
    """What there is, and what is wrong with it; no problems = a sound catalogue. A warning is about
    what may be meant as it stands."""

    counts: dict[str, int]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def check(catalogue: Catalogue, known_quirks: Container[str] | None = None) -> Report:
    """Look at everything. Every problem is one line that starts with what it is about. Quirks that
    are not among `known_quirks` are warned of; None = whatever they are called."""
    problems = [
        *_providers(catalogue),
        *_models(catalogue),
        *_endpoints(catalogue),
        *_slugs(catalogue),
    ]
    warnings = () if known_quirks is None else _unknown_quirks(catalogue, known_quirks)
    return Report(counts(catalogue), tuple(problems), tuple(warnings))


def quirk_names(catalogue: Catalogue) -> set[str]:
    """Every quirk its providers name, without the values."""
    return {q.partition("=")[0] for p in catalogue.providers.values() for q in p.quirks}


def counts(catalogue: Catalogue) -> dict[str, int]:
    """Totals first, then by type and dialect, the most frequent first."""
    endpoints = [e for found in catalogue.endpoints.values() for e in found]
    sellers = {e.provider for e in endpoints}
    providers = catalogue.providers.values()
    types = Counter(m.type for m in catalogue.models.values())
    dialects = Counter(e.dialect for e in endpoints)
    return {
        "providers": len(catalogue.providers),
        "providers with endpoints": len(sellers),
        "providers disabled": sum(not p.enabled for p in providers),
        "models": len(catalogue.models),
        "endpoints": len(endpoints),
        "endpoints of disabled providers": sum(
            e.provider in catalogue.providers and not catalogue.providers[e.provider].enabled
            for e in endpoints
        ),
        "endpoints of a service tier": sum(e.service_tier is not None for e in endpoints),
        "aliases": len(catalogue.aliases),
        "retired slugs": len(catalogue.retired),
        **{f"models of type {name}": n for name, n in types.most_common()},
        **{f"endpoints in {name}": n for name, n in dialects.most_common()},
    }


def _providers(catalogue: Catalogue) -> Iterator[str]:
    spellings: dict[str, str] = {}
    for key, provider in catalogue.providers.items():
        at = f"provider {key}"
        if provider.id != key:
            yield f"{at}: is indexed under another id than its own, {provider.id}"
        if provider.enabled and provider.base_url is None:
            yield f"{at}: is enabled and has no base_url"
        if not provider.enabled and not provider.disabled_because:
            yield f"{at}: is disabled and does not say why (disabled_because)"
        for name in (provider.dialect, *provider.dialects):
            if name not in DIALECTS:
                yield f"{at}: {name} is not a dialect"
        yield from _credential(at, provider)
        for spelling in {s.lower() for s in (provider.id, provider.name, *provider.aliases)}:
            other = spellings.setdefault(spelling, key)
            if other != key:
                yield f"{at}: is also called {spelling!r}, as is {other}"


def _unknown_quirks(catalogue: Catalogue, known: Container[str]) -> Iterator[str]:
    for key, provider in catalogue.providers.items():
        for quirk in provider.quirks:
            name = quirk.partition("=")[0]
            if name not in known:
                yield f"provider {key}: the quirk {name!r} is unknown and changes nothing"


def _credential(at: str, provider: Provider) -> Iterator[str]:
    if provider.enabled and provider.auth.scheme != "none" and not provider.auth.env:
        yield f"{at}: needs a credential and names no environment variable (auth.env)"


def _models(catalogue: Catalogue) -> Iterator[str]:
    for slug, model in catalogue.models.items():
        if model.id != slug:
            yield f"model {slug}: is indexed under another id than its own, {model.id}"
        if not catalogue.endpoints.get(slug):
            yield f"model {slug}: no endpoint serves it"


def _endpoints(catalogue: Catalogue) -> Iterator[str]:
    keys: set[str] = set()
    for slug, found in catalogue.endpoints.items():
        for endpoint in found:
            at = f"endpoint {endpoint.key}"
            if endpoint.key in keys:
                yield f"{at}: is there twice"
            keys.add(endpoint.key)
            if endpoint.model != slug or endpoint.key != f"{slug}@{endpoint.tag}":
                yield f"{at}: does not belong to {slug}, under which it is indexed"
            if endpoint.provider not in catalogue.providers:
                yield f"{at}: its provider {endpoint.provider} does not exist"
            if endpoint.dialect not in DIALECTS:
                yield f"{at}: {endpoint.dialect} is not a dialect"
            if endpoint.price_version != price_version(endpoint.price):
                yield f"{at}: its price_version is not that of its price"
            model = catalogue.models.get(slug)
            if model is None:
                yield f"{at}: its model {slug} does not exist"
            else:
                yield from (f"{at}: {problem}" for problem in _price(model, endpoint))


def _price(model: Model, endpoint: Endpoint) -> Iterator[str]:
    price = endpoint.price
    yield from _rates(model, price.base, "")
    for n, override in enumerate(price.overrides):
        where = f"overrides[{n}]."
        yield from _rates(model, override.rates, where)
        for name in ("utc_start", "utc_end"):
            clock = getattr(override, name)
            if clock is not None and not (0 <= clock <= 2400 and clock % 100 < 60):
                yield f"{where}{name} {clock} is not a time of day (HHMM)"
        if any(not 1 <= day <= 7 for day in override.weekdays):
            yield f"{where}weekdays are 1 (Monday) to 7"


def _rates(model: Model, rates: Rates, where: str) -> Iterator[str]:
    if model.type in ("chat", "completion"):
        for name in ("prompt", "completion", "internal_reasoning"):
            rate = getattr(rates, name)
            if rate is not None and rate > TOKEN_RATE_MAX_PICO:
                yield f"{where}{name} is above 1,000 USD per million tokens"
    if not rates.prompt:
        return
    if rates.input_cache_read is not None and rates.input_cache_read > rates.prompt:
        yield f"{where}input_cache_read is dearer than prompt"
    for name in ("input_cache_write", "input_cache_write_1h"):
        rate = getattr(rates, name)
        if rate is not None and rate > CACHE_WRITE_RATIO_MAX * rates.prompt:
            yield f"{where}{name} is more than {CACHE_WRITE_RATIO_MAX} times prompt"


def _slugs(catalogue: Catalogue) -> Iterator[str]:
    for alias, slug in catalogue.aliases.items():
        if alias in catalogue.models:
            yield f"alias {alias}: is a model itself"
        if slug not in catalogue.models:
            yield f"alias {alias}: {slug} does not exist"
    for slug, successors in catalogue.retired.items():
        if slug in catalogue.models or slug in catalogue.aliases:
            yield f"retired {slug}: still answers"
        for successor in successors:
            if successor not in catalogue.models:
                yield f"retired {slug}: its successor {successor} does not exist"
