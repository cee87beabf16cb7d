"""One registry of our own: gauges from the last look, counters that only grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from warmset.adapters.metrics.families import FAMILIES, Family, Kind

Gauges = Mapping[str, Mapping[tuple[str, ...], float]]
"""Family name -> label values -> value. A family without series is left out."""

_GAUGES = {family.name: family for family in FAMILIES if family.kind is Kind.GAUGE}


class Metrics:
    """All values of one process.

    Args:
        gauges: returns those that are still true; asked at every scrape.
        counts: whether there are counters: a single look has none.
    """

    def __init__(self, gauges: Callable[[], Gauges], *, counts: bool = True) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(_LastLook(gauges))
        self._counting: dict[str, Any] = {}
        if counts:
            prometheus_client.ProcessCollector(registry=self._registry)
            self._counting = {f.name: self._make(f) for f in FAMILIES if f.kind is not Kind.GAUGE}

    def count(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Adds to a counter; 0 makes its series visible, so that its first increase is seen."""
        self._child(name, labels).inc(amount)

    def measure(self, name: str, seconds: float, *labels: str) -> None:
        """Adds one value to a histogram."""
        self._child(name, labels).observe(seconds)

    def expect(self, name: str, *labels: str) -> None:
        """Makes a series visible before its first event."""
        self._child(name, labels)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Returns the text and its content type, in the form that a scraper asks for."""
        if not accept:
            return generate_latest(self._registry), "text/plain"
        encoder, kind = choose_encoder(accept)
        return encoder(self._registry), kind

    def _make(self, family: Family) -> Any:  # noqa: ANN401 - a counter or a histogram
        name, labels = family.full_name, family.labels
        if family.kind is Kind.COUNTER:
            return prometheus_client.Counter(name, family.help, labels, registry=self._registry)
        return prometheus_client.Histogram(
            name, family.help, labels, buckets=family.buckets, registry=self._registry
        )

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - as above
        metric = self._counting[name]
        return metric.labels(*labels) if labels else metric


class _LastLook(Collector):
    """Gauges made anew at every scrape: a model that is configured no more leaves no series."""

    def __init__(self, gauges: Callable[[], Gauges]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the families that have values."""
        for name, series in self._gauges().items():
            family = _GAUGES[name]
            metric = GaugeMetricFamily(family.full_name, family.help, labels=family.labels)
            for labels, value in series.items():
                metric.add_metric(labels, value)
            yield metric

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yields nothing: the registry need not look at a host to register this."""
        yield from ()
