"""From catalogue files to the immutable `Catalogue`, and to the snapshot that starts fast.

`python -m tollway.catalogue.compile` writes the snapshot beside the shipped data. Here facts are
joined and checked against each other; what one file may say is in `files`, where files lie is in
`load`. Rules: an endpoint's key is `model@tag` and unique; the price of a service tier is the
tier's own where it is said, else the base price times the tier's ratio; a public base URL is
https, and only `private_network = true` allows loopback or private addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from ..money import RATE_NAMES, Override, Price, Rates, parse_price
from .entries import (
    DIALECTS,
    Auth,
    Benchmark,
    Catalogue,
    Endpoint,
    Family,
    Model,
    Provider,
    price_version,
    provider_names_of,
)
from .files import (
    AliasesFile,
    AuthRow,
    BenchmarksFile,
    EndpointRow,
    FamiliesFile,
    ModelRow,
    ModelsFile,
    ProviderFile,
    Source,
    read,
)

SANDBOX_URL = "sandbox:"
"""Base URL of the provider inside the process."""


def compiled(
    models: Iterable[Source],
    providers: Iterable[Source],
    aliases: Source | None,
    benchmarks: Source | None = None,
    families: Source | None = None,
) -> Catalogue:
    """The shipped facts as a catalogue. Raises CatalogueError."""
    draft = Draft()
    for source in models:
        for n, row in enumerate(read(source, ModelsFile).models):
            if row.id in draft.models:
                raise source.error(("models", n, "id"), f"{row.id} is listed twice")
            draft.add_model(row)
    for source in providers:
        file = read(source, ProviderFile)
        if file.id in draft.providers:
            raise source.error(("id",), f"{file.id} is listed twice")
        draft.add_provider(source, file)
    if aliases is not None:
        draft.add_aliases(aliases, read(aliases, AliasesFile))
    if benchmarks is not None:
        draft.add_benchmarks(benchmarks, read(benchmarks, BenchmarksFile))
    if families is not None:
        draft.add_families(families, read(families, FamiliesFile))
    return draft.catalogue()


def overlaid(
    catalogue: Catalogue, providers: Sequence[Source], benchmarks: Source | None = None
) -> Catalogue:
    """The catalogue with an operator's provider files, and benchmarks, on top. Raises
    CatalogueError."""
    draft = Draft(catalogue)
    for source in providers:
        draft.add_provider(source, read(source, ProviderFile))
    if benchmarks is not None:
        draft.add_benchmarks(benchmarks, read(benchmarks, BenchmarksFile))
    return draft.catalogue()


class Draft:
    """A catalogue being put together; `catalogue()` freezes it."""

    def __init__(self, base: Catalogue | None = None) -> None:
        self.own = base is not None
        """What is added now comes from the operator."""
        self.providers = dict(base.providers) if base else {}
        self.models = dict(base.models) if base else {}
        self.endpoints = dict(base.endpoints) if base else {}
        self.aliases = dict(base.aliases) if base else {}
        self.retired = dict(base.retired) if base else {}
        self.benchmarks = {b.name: b for b in base.benchmarks} if base else {}
        self.families = dict(base.families) if base else {}

    def catalogue(self) -> Catalogue:
        return Catalogue(
            providers=self.providers,
            models=self.models,
            endpoints={slug: self.endpoints.get(slug, ()) for slug in self.models},
            aliases={a: s for a, s in self.aliases.items() if a not in self.models},
            retired={r: s for r, s in self.retired.items() if r not in self.models},
            provider_names=provider_names_of(self.providers.values()),
            benchmarks=tuple(self.benchmarks.values()),
            families=self.families,
        )

    def add_model(self, row: ModelRow) -> None:
        """A known id overrides the fields that are said."""
        said = _said(row, Model)
        known = self.models.get(row.id)
        if known is None:
            author, _, name = row.id.partition("/")
            self.models[row.id] = Model(**{"author": author, "name": name, **said})
        else:
            self.models[row.id] = msgspec.structs.replace(known, **said)
        if (dated := said.get("canonical_slug")) is not None:
            self.aliases.setdefault(dated, row.id)

    def add_provider(self, source: Source, file: ProviderFile) -> None:
        """A new id adds a provider; a known one overrides the fields that are said, and adds or
        replaces endpoints by model and tag."""
        known = self.providers.get(file.id)
        said = _said(file, Provider)
        if file.auth is not UNSET:
            said["auth"] = _auth(source, file.auth)
        if said.get("enabled"):
            said.setdefault("disabled_because", None)
        if known is None:
            provider = Provider(**{"name": file.id, **said})
        else:
            provider = msgspec.structs.replace(known, **said)
        _check_provider(source, provider)
        if known is not None and known.dialect != provider.dialect:
            self._follow_dialect(known, provider)
        self.providers[file.id] = provider
        for row in file.models:
            self.add_model(row)
        seen: set[str] = set()
        for n, endpoint_row in enumerate(file.endpoints):
            for endpoint in _endpoints(source, n, endpoint_row, provider):
                if endpoint.key in seen:
                    raise source.error(
                        ("endpoints", n),
                        f"{endpoint.key} is listed twice; give one of the two a `tag`",
                    )
                seen.add(endpoint.key)
                if self.own:
                    endpoint = msgspec.structs.replace(endpoint, own=True)
                self._add_endpoint(endpoint)

    def add_aliases(self, source: Source, file: AliasesFile) -> None:
        for alias, slug in file.aliases.items():
            if slug not in self.models:
                raise source.error(("aliases", alias), f"{slug} is not a model of the catalogue")
            self.aliases[alias] = slug
        for slug, successors in file.retired.items():
            for successor in successors:
                if successor not in self.models:
                    problem = f"its successor {successor} is not a model of the catalogue"
                    raise source.error(("retired", slug), problem)
        self.retired.update(file.retired)

    def add_benchmarks(self, source: Source, file: BenchmarksFile) -> None:
        """A known name replaces the benchmark of that name. Other spellings of a slug count for
        the model they mean."""
        for n, row in enumerate(file.benchmarks):
            scores = {}
            for slug, score in row.scores.items():
                known = slug if slug in self.models else self.aliases.get(slug)
                if known is None:
                    path = ("benchmarks", n, "scores", slug)
                    raise source.error(path, f"{slug} is not a model of the catalogue")
                scores[known] = score
            self.benchmarks[row.name] = Benchmark(
                row.name, row.source, row.checked, scores, row.tasks
            )

    def add_families(self, source: Source, file: FamiliesFile) -> None:
        for n, row in enumerate(file.families):
            if row.id in self.families:
                raise source.error(("families", n, "id"), f"{row.id} is listed twice")
            for field, pattern in (("models", row.models), ("except", row.excluded)):
                try:
                    re.compile(pattern or "")
                except re.error as error:
                    problem = f"expected a regular expression, got {pattern!r}: {error}"
                    raise source.error(("families", n, field), problem) from None
            self.families[row.id] = Family(row.name, row.models, row.excluded)

    def _add_endpoint(self, endpoint: Endpoint) -> None:
        if endpoint.model not in self.models:
            author, _, name = endpoint.model.partition("/")
            self.models[endpoint.model] = Model(
                endpoint.model, name, author, context_length=endpoint.context_length
            )
        others = self.endpoints.get(endpoint.model, ())
        if any(other.key == endpoint.key for other in others):
            new = tuple(endpoint if other.key == endpoint.key else other for other in others)
        else:
            new = (*others, endpoint)
        self.endpoints[endpoint.model] = new

    def _follow_dialect(self, known: Provider, provider: Provider) -> None:
        """Endpoints that had their dialect from the provider go with it."""
        for slug, endpoints in self.endpoints.items():
            if any(e.provider == known.id and e.dialect == known.dialect for e in endpoints):
                self.endpoints[slug] = tuple(
                    msgspec.structs.replace(e, dialect=provider.dialect)
                    if e.provider == known.id and e.dialect == known.dialect
                    else e
                    for e in endpoints
                )


def _said(row: msgspec.Struct, shape: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        name: value
        for name in shape.__struct_fields__
        if (value := getattr(row, name, UNSET)) is not UNSET
    }


def _auth(source: Source, row: AuthRow) -> Auth:
    env = (row.env,) if isinstance(row.env, str) else row.env
    scheme = "header" if row.scheme == "bearer" else row.scheme
    form = "Bearer {key}" if row.format is UNSET else row.format
    if scheme == "header" and "{key}" not in form:
        raise source.error(("auth", "format"), f"expected {{key}} somewhere in it, got {form!r}")
    return Auth(scheme, env, row.header, form, row.service)


# ---- endpoints -----------------------------------------------------------------------------------


def _endpoints(source: Source, n: int, row: EndpointRow, provider: Provider) -> list[Endpoint]:
    """The endpoint of a row, and one more for each of its service tiers."""
    dialect = provider.dialect if row.dialect is UNSET else row.dialect
    if dialect not in DIALECTS:
        raise source.error(("endpoints", n, "dialect"), _unknown_dialect(dialect))
    parts = (row.variant, row.region, None if row.quantization == "unknown" else row.quantization)
    suffix = "-".join(part for part in parts if part)
    tag = f"{provider.id}/{suffix}" if suffix else provider.id
    if row.tag is not UNSET:
        tag = row.tag
        if tag != provider.id and not tag.startswith(provider.id + "/"):
            problem = f"expected {provider.id!r} or {provider.id + '/…'!r}, got {tag!r}"
            raise source.error(("endpoints", n, "tag"), problem)
    price = _price(source, ("endpoints", n, "pricing"), row.pricing)
    plain = Endpoint(
        key=f"{row.model}@{tag}",
        model=row.model,
        provider=provider.id,
        tag=tag,
        id=row.id,
        price=price,
        price_version=price_version(price),
        dialect=dialect,
        context_length=row.context_length,
        output_tokens_max=row.output_tokens_max,
        quantization=row.quantization,
        region=row.region,
        variant=row.variant,
        free_trial=row.free_trial,
        retires=row.retires,
        params=row.params,
        source=row.source,
    )
    found = [plain]
    for tier, table in row.service_tiers.items():
        own = _price(source, ("endpoints", n, "service_tiers", tier), table)
        tier_price = tiered(price, own)
        tier_tag = f"{tag}-{tier}" if "/" in tag else f"{tag}/{tier}"
        found.append(
            msgspec.structs.replace(
                plain,
                key=f"{row.model}@{tier_tag}",
                tag=tier_tag,
                price=tier_price,
                price_version=price_version(tier_price),
                service_tier=tier,
            )
        )
    return found


def _price(source: Source, path: tuple[str | int, ...], table: dict[str, Any]) -> Price:
    if not table:
        raise source.error(path, "expected at least one price, as a decimal string of USD")
    try:
        return parse_price(table)
    except ValueError as error:
        field, _, problem = str(error).partition(": ")
        steps = tuple(
            int(step) if step.isdigit() else step for step in re.split(r"[.\[\]]+", field) if step
        )
        raise source.error((*path, *steps), problem or str(error)) from None


_INPUT = (
    "prompt", "input_cache_read", "input_cache_write", "input_cache_write_1h", "audio",
    "input_audio_cache", "image_token",
)  # fmt: skip
_OUTPUT = ("completion", "internal_reasoning", "audio_output", "image_output_token")


def tiered(base: Price, tier: Price) -> Price:
    """The price of a service tier. Providers publish tiers as multiples of their base price and
    our sources name only the main rates, so a token rate the tier does not name is the base's
    times the tier's ratio of prompt (inputs) or completion (outputs), rounded up to a pico-USD;
    long-context and time-of-day entries follow. Rates per unit stay as they are."""
    scale_in = (tier.base.prompt, base.base.prompt)
    scale_out = (tier.base.completion, base.base.completion)

    def scaled(rates: Rates) -> dict[str, int | None]:
        new: dict[str, int | None] = {}
        for name in RATE_NAMES:
            rate: int | None = getattr(rates, name)
            over, under = (
                scale_in if name in _INPUT else scale_out if name in _OUTPUT else (None, None)
            )
            if rate is not None and over is not None and under:
                rate = -(-rate * over // under)
            new[name] = rate
        return new

    said = {name: rate for name in RATE_NAMES if (rate := getattr(tier.base, name)) is not None}
    overrides = tier.overrides or tuple(
        Override(Rates(**scaled(o.rates)), o.min_prompt_tokens, o.utc_start, o.utc_end, o.weekdays)
        for o in base.overrides
    )
    return Price(Rates(**{**scaled(base.base), **said}), overrides)


# ---- providers -----------------------------------------------------------------------------------


def _check_provider(source: Source, provider: Provider) -> None:
    if provider.dialect not in DIALECTS:
        raise source.error(("dialect",), _unknown_dialect(provider.dialect))
    if provider.base_url is None:
        if provider.enabled:
            raise source.error(("base_url",), "expected a URL, found none")
    else:
        _check_url(source, ("base_url",), provider.base_url, provider)
    for name, url in provider.dialects.items():
        if name not in DIALECTS:
            raise source.error(("dialects", name), _unknown_dialect(name))
        _check_url(source, ("dialects", name), url, provider)
    for region, url in provider.regions.items():
        _check_url(source, ("regions", region), url, provider)
    for name, value in provider.headers.items():
        at = ("headers", name) if name.isprintable() else ("headers",)  # an error is one line
        _check_header(source, at, at, name, value)
    if provider.auth.scheme == "header":
        auth = provider.auth
        _check_header(source, ("auth", "header"), ("auth", "format"), auth.header, auth.format)


def _check_header(
    source: Source,
    name_at: tuple[str | int, ...],
    value_at: tuple[str | int, ...],
    name: str,
    value: str,
) -> None:
    """Refuse what would not stay one header on the wire (RFC 9110, 5.1 and 5.5)."""
    if not _TOKEN.fullmatch(name):
        raise source.error(name_at, f"expected the name of a header, got {name!r}")
    if not _VALUE.fullmatch(value):
        problem = "expected printable ASCII without a space at either end"
        raise source.error(value_at, f"{problem}, got {value!r}")


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)?")


def _check_url(source: Source, path: tuple[str | int, ...], url: str, provider: Provider) -> None:
    if url == SANDBOX_URL:
        return
    parts = urlsplit(re.sub(r"\{(\w+)\}", r"\1", url))
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise source.error(path, f"expected a URL like https://host/v1, got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        problem = "expected scheme, host and path only; credentials belong in `auth`"
        raise source.error(path, problem)
    unnamed = [v for v in re.findall(r"\{(\w+)\}", url) if v not in provider.variables]
    if unnamed:
        problem = f"{{{unnamed[0]}}} needs an entry in `variables`, naming its environment variable"
        raise source.error(path, problem)
    if provider.private_network:
        return
    if parts.scheme != "https":
        problem = f"expected https, got {url!r}; only `private_network = true` allows http"
        raise source.error(path, problem)
    if _is_private(parts.hostname):
        problem = f"{parts.hostname} is a loopback or private address; "
        raise source.error(path, problem + "only `private_network = true` allows it")


def _is_private(host: str) -> bool:
    """By its spelling alone; what a name resolves to is judged when it is called."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        local = ("localhost", "local", "internal", "lan", "home.arpa")
        return host in local or host.endswith(tuple("." + name for name in local))


def _unknown_dialect(name: str) -> str:
    return f"expected one of {', '.join(sorted(DIALECTS))}, got {name!r}"


if __name__ == "__main__":
    from .load import write_shipped_snapshot

    write_shipped_snapshot()
