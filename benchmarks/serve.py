"""Latency and throughput of complete requests over 1,000,000 items, measured at the client.

A request reads the state, runs the tower, searches the index, ranks 200 candidates and returns JSON. The server has one
core and the load generator (wrk) the other. Each figure is the median of its turns.
"""

from __future__ import annotations

import statistics

from benchmarks import served
from benchmarks.rows import Row
from benchmarks.served import as_text, bundle_of, closed_loop, server

MEASURES = served.MEASURES
ITEMS, SECONDS, TURNS = 1_000_000, 8, 3


def run() -> list[Row]:
    """Serve, and send requests over one connection and over sixteen, in turns."""
    with server(bundle_of(ITEMS)) as served:
        closed_loop(served, 4, 3)
        single, sixteen = [], []
        for _ in range(TURNS):
            single.append(closed_loop(served, 1, SECONDS))
            sixteen.append(closed_loop(served, 16, SECONDS))
        memory = served.resident_mb
    failed = sum(load.failed for load in [*single, *sixteen])
    p50, p99 = (statistics.median(getattr(load, name) for load in single) for name in ("p50", "p99"))
    p99_of_16, rate = (statistics.median(getattr(load, name) for load in sixteen) for name in ("p99", "rate"))
    figures = (
        ("one connection: median, ms", p50, 1.0, "lower", as_text(single)),
        ("one connection: 99th percentile, ms", p99, 3.0, "lower", ""),
        ("16 connections: 99th percentile, ms", p99_of_16, 10.0, "lower", as_text(sixteen)),
        ("16 connections: requests per second", rate, 2000.0, "higher", ""),
        ("failed requests", float(failed), 0.0, "lower", f"the server uses {memory:,.0f} MB"),
    )
    return [
        Row(target=f"{ITEMS:,} items, {name}", value=value, limit=limit, better=better, comparable=True, detail=detail)  # type: ignore[arg-type]
        for name, value, limit, better, detail in figures
    ]
