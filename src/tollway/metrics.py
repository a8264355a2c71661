"""What the server counts, in Prometheus' terms.

Not here: who calls it (the road), what it means for health (routing.health).

Rules. The number of time series is bounded: a model or provider that is not in the catalogue is
counted as `other`, whatever a caller sends. A request counts six times, so what the road counts
are plain numbers: added to on the one thread of the event loop, put into Prometheus' form when
they are scraped. Money is counted in nano-USD, time in seconds. Figures that someone else keeps
(open holds, commits, memory) are read when they are scraped.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import Metric, SummaryMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from .canon import Usage
from .catalogue.entries import Catalogue
from .ledger.entries import Generation

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
_BUCKETS = (*(str(float(bound_s)) for bound_s in FIRST_TOKEN_BUCKETS_S), "+Inf")


class Metrics:
    """One per process. `known` is replaced whenever the catalogue is."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._bound: list[_Bound[Any]] = []
        self._models: frozenset[str] = frozenset()
        self._providers: frozenset[str] = frozenset()
        who = {"model": self._model, "provider": self._provider}
        self._requests = self._counter("requests", "Requests answered.", {**who, "status": str})
        self._tokens = self._counter("tokens", "Tokens billed.", {**who, "kind": str})
        self._charge = self._counter("charge_nano_usd", "Charged to customers.", who)
        self._attempts = self._counter(
            "upstream_attempts",
            "Attempts at providers.",
            {"provider": self._provider, "outcome": str},
        )
        self._cached = self._counter(
            "response_cache", "Requests that may be answered from the cache.", {"result": str}
        )
        self._loss = self._counter("platform_loss_nano_usd", "Charges nothing could pay.", {})
        self._loss[()].value = 0
        self._violations = Gauge(
            "tollway_audit_violations",
            "Broken invariants in the last audit.",
            registry=self.registry,
        )
        about = "Arrival of a request to its first token."
        self._first_token = self._bind("first_token_seconds", about, who, _Times)
        self.know(catalogue)

    def know(self, catalogue: Catalogue) -> None:
        """Take the label values that may appear from a catalogue."""
        self._models = frozenset(catalogue.models)
        self._providers = frozenset(catalogue.providers) | {
            p.name for p in catalogue.providers.values()
        }
        for bound in self._bound:
            bound.clear()

    # ---- what the road says ----------------------------------------------------------------------

    def request(self, model: str, provider: str, status: int) -> None:
        """One request ended. `provider` is empty when none answered."""
        self._requests[model, provider, status].value += 1

    def usage(self, model: str, provider: str, usage: Usage | Generation, charge_nano: int) -> None:
        """What one generation used and cost its customer."""
        tokens = self._tokens
        tokens[model, provider, "prompt"].value += usage.prompt_tokens
        tokens[model, provider, "completion"].value += usage.completion_tokens
        if usage.cached_tokens:
            tokens[model, provider, "cached"].value += usage.cached_tokens
        if usage.reasoning_tokens:
            tokens[model, provider, "reasoning"].value += usage.reasoning_tokens
        self._charge[model, provider].value += charge_nano

    def first_token(self, model: str, provider: str, seconds: float) -> None:
        self._first_token[model, provider].add(seconds)

    def attempt(self, provider: str, outcome: str) -> None:
        """One attempt at a provider. `outcome` is `ok` or an error_type: a small vocabulary."""
        self._attempts[provider, outcome].value += 1

    def cached(self, result: str) -> None:
        """How a request that may be answered from the cache was: hit, coalesced or miss."""
        self._cached[result,].value += 1

    def platform_loss(self, nano: int) -> None:
        self._loss[()].value += nano

    def audit_violations(self, count: int) -> None:
        self._violations.set(count)

    # ---- what is read when scraped ---------------------------------------------------------------

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """A figure kept elsewhere: `read` is called at every scrape and must not block."""
        Gauge(f"tollway_{name}", about, registry=self.registry).set_function(read)

    def summary(
        self,
        name: str,
        about: str,
        read: Callable[[], tuple[int, float, Sequence[tuple[float, float]]]],
    ) -> None:
        """A distribution kept elsewhere: `read` gives (count, sum, [(quantile, value), …])."""
        self.registry.register(_Summary(f"tollway_{name}", about, read))

    def page(self) -> bytes:
        """The scrape: Prometheus' text format (CONTENT_TYPE)."""
        return generate_latest(self.registry)

    def _counter(
        self, name: str, about: str, labels: Mapping[str, Callable[[Any], str]]
    ) -> _Bound[_Count]:
        return self._bind(name, about, labels, _Count)

    def _bind(
        self,
        name: str,
        about: str,
        labels: Mapping[str, Callable[[Any], str]],
        make: type[_S],
    ) -> _Bound[_S]:
        """The series of a metric. `labels`: each with what makes its value of the road's word."""
        family = _Family(f"tollway_{name}", about, labels, make)
        self.registry.register(family)
        bound = _Bound(family)
        self._bound.append(bound)
        return bound

    def _model(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _provider(self, provider: str) -> str:
        return provider if not provider or provider in self._providers else OTHER


class _Series(Protocol):
    """One time series, or the several of a histogram."""

    kind: str
    """Prometheus' type of the metric."""

    def tell(self, metric: Metric, labels: dict[str, str]) -> None:
        """Add its samples to a scrape."""


_S = TypeVar("_S", bound=_Series)


class _Count:
    """The one of a counter."""

    __slots__ = ("created_s", "value")
    kind = "counter"

    def __init__(self) -> None:
        self.created_s = time.time()
        self.value = 0

    def tell(self, metric: Metric, labels: dict[str, str]) -> None:
        metric.add_sample(f"{metric.name}_total", labels, self.value)
        metric.add_sample(f"{metric.name}_created", labels, self.created_s)


class _Times:
    """Those of a histogram of first tokens."""

    __slots__ = ("counts", "created_s", "sum_s")
    kind = "histogram"

    def __init__(self) -> None:
        self.created_s = time.time()
        self.counts = [0] * len(_BUCKETS)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(FIRST_TOKEN_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def tell(self, metric: Metric, labels: dict[str, str]) -> None:
        upto = 0
        for bound, count in zip(_BUCKETS, self.counts, strict=True):
            upto += count
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, upto)
        metric.add_sample(f"{metric.name}_count", labels, upto)
        metric.add_sample(f"{metric.name}_sum", labels, self.sum_s)
        metric.add_sample(f"{metric.name}_created", labels, self.created_s)


class _Family(Collector, Generic[_S]):
    """All series of one metric, by the values of their labels."""

    def __init__(
        self,
        name: str,
        about: str,
        labels: Mapping[str, Callable[[Any], str]],
        make: type[_S],
    ) -> None:
        self._name = name
        self._about = about
        self._labels = labels
        self._make = make
        self._series: dict[tuple[str, ...], _S] = {}

    def values(self, words: tuple[str | int, ...]) -> tuple[str, ...]:
        """The values of the labels for what the road says."""
        made = zip(self._labels.values(), words, strict=True)
        return tuple([value(word) for value, word in made])

    def of(self, values: tuple[str, ...]) -> _S:
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._make()
        return series

    def collect(self) -> Iterable[Metric]:
        metric = Metric(self._name, self._about, self._make.kind)
        for values, series in self._series.items():
            series.tell(metric, dict(zip(self._labels, values, strict=True)))
        yield metric


class _Bound(dict[tuple[str | int, ...], _S]):
    """Series by what the road says. Those that were counted before are found without a call."""

    def __init__(self, family: _Family[_S]) -> None:
        self._family = family

    def __missing__(self, words: tuple[str | int, ...]) -> _S:
        values = self._family.values(words)
        series = self._family.of(values)
        if OTHER not in values:  # names that callers invent must not fill the memory
            self[words] = series
        return series


class _Summary(Collector):
    def __init__(
        self,
        name: str,
        about: str,
        read: Callable[[], tuple[int, float, Sequence[tuple[float, float]]]],
    ) -> None:
        self._name = name
        self._about = about
        self._read = read

    def collect(self) -> Iterable[Metric]:
        count, total, quantiles = self._read()
        family = SummaryMetricFamily(self._name, self._about, count_value=count, sum_value=total)
        for quantile, value in quantiles:
            family.add_sample(self._name, {"quantile": f"{quantile:g}"}, value)
        yield family
