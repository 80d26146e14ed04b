"""Ten minutes of requests at a constant rate of half the capacity: latency since each was due, failures, memory."""

from __future__ import annotations

import threading
import time

import numpy as np

from benchmarks import served
from benchmarks.rows import Row
from benchmarks.served import bundle_of, closed_loop, open_loop, server

MEASURES = served.MEASURES
ITEMS, SECONDS = 1_000_000, 600


def run() -> list[Row]:
    """Measure the capacity at 16 connections, then send requests at half that rate for ten minutes."""
    with server(bundle_of(ITEMS)) as served:
        closed_loop(served, 16, 5)
        capacity = closed_loop(served, 16, 10).rate
        open_loop(served, capacity / 2, 20)
        memory: list[float] = []
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(10):
                memory.append(served.resident_mb)

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.perf_counter()
        spent, failed = open_loop(served, capacity / 2, SECONDS)
        elapsed = time.perf_counter() - began
        ended.set()
        watching.join()
    p50, p99, worst = np.quantile(spent, [0.5, 0.99, 1.0])
    first, last = float(np.median(memory[: len(memory) // 4])), float(np.median(memory[-(len(memory) // 4) :]))
    detail = f"{len(spent):,} requests in {elapsed:.0f} s at {capacity / 2:,.0f}/s; p50 {p50:.2f}, worst {worst:.1f} ms"
    return [
        Row(
            target="constant rate of half the capacity: p99, ms",
            value=float(p99),
            limit=10,
            better="lower",
            comparable=True,
            detail=detail,
        ),
        Row(target="failed requests", value=float(failed), limit=0, better="lower", comparable=True),
        Row(
            target="memory in the last quarter divided by that in the first",
            value=last / first,
            limit=1.05,
            better="lower",
            comparable=True,
            detail=f"{first:,.0f} and {last:,.0f} MB",
        ),
    ]
