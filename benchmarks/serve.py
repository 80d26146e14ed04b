"""A served request, whole: state, tower, index of 1,000,000 items, 200 ranked, JSON; measured at the client.

The server has one core and the load generator (wrk) the other. Each figure is the median of its turns.
"""

from __future__ import annotations

import statistics

from benchmarks.rows import Row
from benchmarks.served import bundle_of, closed, server, told

ITEMS, SECONDS, TURNS = 1_000_000, 8, 3


def run() -> list[Row]:
    """Serve, and ask over one connection and over sixteen, in turns."""
    with server(bundle_of(ITEMS)) as served:
        closed(served, 4, 3)
        alone, many = [], []
        for _ in range(TURNS):
            alone.append(closed(served, 1, SECONDS))
            many.append(closed(served, 16, SECONDS))
        memory = served.resident_mb
    failed = sum(one.failed for one in [*alone, *many])
    figures = (
        ("one connection: median, ms", statistics.median(one.p50 for one in alone), 1.0, "lower", told(alone)),
        ("one connection: 99th percentile, ms", statistics.median(one.p99 for one in alone), 3.0, "lower", ""),
        ("16 connections: 99th percentile, ms", statistics.median(one.p99 for one in many), 10.0, "lower", told(many)),
        ("16 connections: requests a second", statistics.median(one.rate for one in many), 2000.0, "higher", ""),
        ("requests that failed", float(failed), 0.0, "lower", f"server holds {memory:,.0f} MB"),
    )
    return [
        Row(target=f"{ITEMS:,} items, {name}", value=value, limit=limit, better=better, detail=detail)  # type: ignore[arg-type]
        for name, value, limit, better, detail in figures
    ]
