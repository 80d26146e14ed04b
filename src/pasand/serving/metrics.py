"""What the service tells Prometheus, and the quantiles that the page shows."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Seconds."""
RECENT = 2000
"""Answers whose times the quantiles are taken over."""
SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
"""Names a folder in which several workers keep their figures, so that each can tell the sums of all."""


def shared_by_workers(name: str) -> Path | None:
    """Return a file in the folder that the workers of this service share; None: there is one worker."""
    folder = os.environ.get(SEVERAL)
    return None if folder is None else Path(folder) / name


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        several = SEVERAL in os.environ
        self._registry = CollectorRegistry()
        own = None if several else self._registry

        def histogram(name: str, told: str, *labels: str) -> Histogram:
            return Histogram(name, told, labels, registry=own, buckets=BUCKETS)

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(name, told, labels, registry=own)

        def gauge(name: str, told: str, *labels: str, shared: bool = False) -> Gauge:
            """Of a `shared` figure all workers tell the same, so that it is not summed."""
            mode: Literal["livemostrecent", "livesum"] = "livemostrecent" if shared else "livesum"
            return Gauge(name, told, labels, registry=own, multiprocess_mode=mode)

        self.request = histogram("pasand_request_seconds", "Time of a request, from its first byte.", "route", "status")
        self.step = histogram("pasand_step_seconds", "Time of a step of a batch of requests.", "step")
        self.batch = Histogram(
            "pasand_batch_requests", "Requests answered together.", registry=own, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self.answers = counter("pasand_answers_total", "Answers to requests for items.", "variant")
        self.fallback = counter("pasand_fallback_total", "Answers to users that the log does not know.", "variant")
        self.degraded = counter("pasand_degraded_total", "Answers given while the state was out of reach.")
        self.events = counter("pasand_events_total", "Events.", "outcome")
        self.impressions = counter(
            "pasand_impressions_total", "Items shown, as far as the log of them goes.", "outcome"
        )
        self.lines_lost = counter("pasand_log_lines_lost_total", "Lines of the log that could not be written.")
        self.errors = counter("pasand_errors_total", "Requests that were not answered.", "code")
        self.swaps = counter("pasand_swaps_total", "Bundles taken into use.", "variant")
        self.waiting = gauge("pasand_waiting_requests", "Requests that wait for a batch.")
        self.waiting_events = gauge("pasand_waiting_events", "Events that wait to be kept.")
        self.items = gauge("pasand_catalogue_items", "Items of the catalogue.", "variant", shared=True)
        self.vectors = gauge("pasand_index_vectors", "Vectors in an index.", "variant", "index", shared=True)
        self.masks = gauge("pasand_filter_masks", "Filters whose items are remembered.", "variant")
        self.mask_uses = counter(
            "pasand_filter_mask_uses_total", "Filters, by whether they were remembered.", "outcome"
        )
        self.remembered = gauge("pasand_remembered_users", "Users who are answered if the state is out of reach.")
        if several:
            multiprocess.MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        self._recent: deque[float] = deque(maxlen=RECENT)

    def answered(self, seconds: float) -> None:
        """Remember the time of an answer for the quantiles."""
        self._recent.append(seconds)

    def latency(self) -> dict[str, float | int | None]:
        """Return the median and the 99th percentile of the latest answers in milliseconds, and their number."""
        recent = np.array(self._recent)
        p50, p99 = (None, None) if not len(recent) else (1000 * np.quantile(recent, [0.5, 0.99])).round(3).tolist()
        return {"p50_ms": p50, "p99_ms": p99, "n": len(recent)}

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self._registry)
