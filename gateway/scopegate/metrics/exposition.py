"""The metrics as Prometheus reads them. Only the control plane needs this, and its library."""

from __future__ import annotations

import time
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from scopegate.metrics.families import FAMILIES, PREFIX, Counter, Delay, Gauge, Histogram, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from scopegate.metrics.area import MetricsArea


class AreaCollector(Collector):
    """Reads an area each time that it is asked."""

    def __init__(self, area: MetricsArea, *, version: str) -> None:
        self._area = area
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """All metrics as they are now."""
        for family in FAMILIES:
            if isinstance(family, Counter):
                yield self._counter(family)
            elif isinstance(family, Histogram):
                yield self._histogram(family)
            elif isinstance(family, Gauge):
                yield self._gauge(family)
            else:
                yield self._worst(family)
        build = GaugeMetricFamily(
            f"{PREFIX}build_info", "The version that runs; always 1.", labels=["version"]
        )
        build.add_metric([self._version], 1)
        yield build

    def _counter(self, family: Counter) -> Metric:
        metric = CounterMetricFamily(PREFIX + family.name, family.help, labels=family.labels)
        for cell, series in enumerate(family.series, family.first):
            value = self._area.total(cell)
            if value or series not in family.rare:
                metric.add_metric(series, value)
        return metric

    def _gauge(self, family: Gauge) -> Metric:
        return GaugeMetricFamily(PREFIX + family.name, family.help, value=self._area.total(family.first))

    def _worst(self, family: Measurement | Delay) -> Metric:
        metric = GaugeMetricFamily(PREFIX + family.name, family.help, labels=())
        measured = self._area.measured(family, time.monotonic())
        if measured:
            metric.add_metric((), max(measured, key=abs))
        return metric

    def _histogram(self, family: Histogram) -> Metric:
        bounds = [*map(floatToGoString, family.bounds), "+Inf"]
        counts = accumulate(self._area.total(cell) for cell in range(family.first, family.sum))
        return HistogramMetricFamily(
            PREFIX + family.name,
            family.help,
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._area.total_of_floats(family.sum),
        )


def exposition(collector: Collector, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that an ``Accept`` header asks for, and its media type.

    What cannot be made out is answered with the format that every scraper reads.
    """
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encode, media_type = choose_encoder("")
    return encode(collector), media_type
