"""Cold start of the server over 1,000,000 items: from the command to the first ready answer."""

from __future__ import annotations

import statistics

from benchmarks.rows import Row
from benchmarks.served import bundle_of, server

ITEMS, TURNS = 1_000_000, 5


def run() -> list[Row]:
    """Start and end the server some times."""
    place = bundle_of(ITEMS)
    seconds = []
    for _ in range(TURNS):
        with server(place) as served:
            seconds.append(served.seconds_to_ready)
    spread = ", ".join(f"{one:.2f}" for one in seconds)
    return [
        Row(
            target=f"{ITEMS:,} items: seconds to ready",
            value=statistics.median(seconds),
            limit=3,
            better="lower",
            detail=f"turns {spread}; files in the system's cache but at the first",
        )
    ]
