"""Prometheus metrics of the service, and latency quantiles of recent requests for the web page."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Upper bounds of the latency histograms, in seconds."""
RECENT = 2000
"""Number of recent requests that the quantiles describe."""
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the folder in which several workers share their metrics."""


def shared_by_workers(name: str) -> Path | None:
    """Return a file in the folder that the workers of this service share; None if there is one worker only."""
    folder = os.environ.get(SHARED_FOLDER)
    return None if folder is None else Path(folder) / name


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        several = SHARED_FOLDER in os.environ
        self._registry = CollectorRegistry()
        registry = None if several else self._registry

        def histogram(name: str, meaning: str, *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, registry=registry, buckets=BUCKETS)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str, shared: bool = False) -> Gauge:
            """Return a gauge that is summed over workers, unless it is `shared`: the same in all of them."""
            mode: Literal["livemostrecent", "livesum"] = "livemostrecent" if shared else "livesum"
            return Gauge(name, meaning, labels, registry=registry, multiprocess_mode=mode)

        self.request = histogram("pasand_request_seconds", "Time of a request, from its first byte.", "route", "status")
        self.step = histogram("pasand_step_seconds", "Time of one step of a batch of requests.", "step")
        self.batch = Histogram(
            "pasand_batch_requests", "Requests in a batch.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self.responses = counter("pasand_responses_total", "Responses with recommendations.", "variant")
        self.fallback = counter("pasand_fallback_total", "Responses to users without any history.", "variant")
        self.degraded = counter("pasand_degraded_total", "Responses made while the state was unavailable.")
        self.events = counter("pasand_events_total", "Events received.", "outcome")
        self.impressions = counter("pasand_impressions_total", "Impressions, by whether they were logged.", "outcome")
        self.lines_lost = counter("pasand_log_lines_lost_total", "Lines of the request log that could not be written.")
        self.errors = counter("pasand_errors_total", "Requests that failed.", "code")
        self.swaps = counter("pasand_swaps_total", "Activations of a bundle.", "variant")
        self.waiting = gauge("pasand_waiting_requests", "Requests that wait for a batch.")
        self.waiting_events = gauge("pasand_waiting_events", "Events that wait to be stored.")
        self.items = gauge("pasand_catalogue_items", "Items in the catalogue.", "variant", shared=True)
        self.vectors = gauge("pasand_index_vectors", "Vectors in an index.", "variant", "index", shared=True)
        self.exposure = gauge(
            "pasand_exposure_share",
            "Share of the shown slots of a group of the policy.",
            "variant",
            "group",
            shared=True,
        )
        self.masks = gauge("pasand_filter_masks", "Filters whose item masks are cached.", "variant")
        self.mask_uses = counter(
            "pasand_filter_mask_uses_total", "Uses of filter masks, cache hits and misses.", "outcome"
        )
        self.broken_rules = counter(
            "pasand_policy_broken_total",
            "Lists that did not keep a rule of the policy, by the name of the rule.",
            "rule",
        )
        self.cached_users = gauge("pasand_cached_users", "Users whose recent events are cached.")
        if several:
            multiprocess.MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._recent: deque[float] = deque(maxlen=RECENT)

    def observe_latency(self, seconds: float) -> None:
        """Add the time of a request to the sample behind the quantiles."""
        self._recent.append(seconds)

    def latency(self) -> dict[str, float | int | None]:
        """Return the median and the 99th percentile of recent requests in milliseconds, and the number of requests."""
        recent = np.array(self._recent)
        p50, p99 = (None, None) if not len(recent) else (1000 * np.quantile(recent, [0.5, 0.99])).round(3).tolist()
        return {"p50_ms": p50, "p99_ms": p99, "n": len(recent)}

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
