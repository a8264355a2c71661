"""What the server counts, in Prometheus' terms.

Not here: who calls it (the road), what it means for health (routing.health).

Rules. The number of time series is bounded: a model or provider that is not in the catalogue is
counted as `other`, whatever a caller sends. Children are bound once and kept, so that counting
costs about a microsecond. Money is counted in nano-USD, time in seconds. Figures that someone else
keeps (open holds, commits, memory) are read when they are scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric, SummaryMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from .canon import Usage
from .catalogue.entries import Catalogue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"

FIRST_TOKEN_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


class Metrics:
    """One per process. `known` is replaced whenever the catalogue is."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        who = ("model", "provider")
        self._requests = self._counter("requests", "Requests answered.", (*who, "status"))
        self._tokens = self._counter("tokens", "Tokens billed.", (*who, "kind"))
        self._charge = self._counter("charge_nano_usd", "Charged to customers.", who)
        self._attempts = self._counter(
            "upstream_attempts", "Attempts at providers.", ("provider", "outcome")
        )
        self._cached = self._counter(
            "response_cache", "Requests that may be answered from the cache.", ("result",)
        )
        self._loss = self._counter("platform_loss_nano_usd", "Charges nothing could pay.", ())
        self._violations = Gauge(
            "tollway_audit_violations",
            "Broken invariants in the last audit.",
            registry=self.registry,
        )
        self._first_token = Histogram(
            "tollway_first_token_seconds",
            "Arrival of a request to its first token.",
            who,
            buckets=FIRST_TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self._bound: dict[tuple[object, ...], Callable[[float], None]] = {}
        self.know(catalogue)

    def know(self, catalogue: Catalogue) -> None:
        """Take the label values that may appear from a catalogue."""
        self._models = frozenset(catalogue.models)
        self._providers = frozenset(catalogue.providers) | {
            p.name for p in catalogue.providers.values()
        }
        self._bound.clear()

    # ---- what the road says ----------------------------------------------------------------------

    def request(self, model: str, provider: str, status: int) -> None:
        """One request ended. `provider` is empty when none answered."""
        self._count(self._requests, (model, provider), str(status), 1)

    def usage(self, model: str, provider: str, usage: Usage, charge_nano: int) -> None:
        """What one generation used and cost its customer."""
        who = (model, provider)
        self._count(self._tokens, who, "prompt", usage.prompt_tokens)
        self._count(self._tokens, who, "completion", usage.completion_tokens)
        if usage.cached_tokens:
            self._count(self._tokens, who, "cached", usage.cached_tokens)
        if usage.reasoning_tokens:
            self._count(self._tokens, who, "reasoning", usage.reasoning_tokens)
        self._count(self._charge, who, None, charge_nano)

    def first_token(self, model: str, provider: str, seconds: float) -> None:
        self._count(self._first_token, (model, provider), None, seconds)

    def attempt(self, provider: str, outcome: str) -> None:
        """One attempt at a provider. `outcome` is `ok` or an error_type: a small vocabulary."""
        self._count(self._attempts, (provider,), outcome, 1)

    def cached(self, result: str) -> None:
        """How a request that may be answered from the cache was: hit, coalesced or miss."""
        self._cached.labels(result).inc()

    def platform_loss(self, nano: int) -> None:
        self._loss.inc(nano)

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

    def _counter(self, name: str, about: str, labels: Sequence[str]) -> Counter:
        return Counter(f"tollway_{name}", about, labels, registry=self.registry)

    def _count(
        self, metric: Counter | Histogram, who: tuple[str, ...], last: str | None, amount: float
    ) -> None:
        """Add to the child of these labels. `who` is (model, provider) or (provider,)."""
        key = (metric, who, last)
        count = self._bound.get(key)
        if count is None:
            labels = [*map(self._model, who[:-1]), self._provider(who[-1])]
            child = metric.labels(*labels, *([] if last is None else [last]))
            count = child.inc if isinstance(child, Counter) else child.observe
            if OTHER not in labels:  # names that callers invent must not fill the memory
                self._bound[key] = count
        count(amount)

    def _model(self, model: str) -> str:
        return model if model in self._models else OTHER

    def _provider(self, provider: str) -> str:
        return provider if not provider or provider in self._providers else OTHER


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
