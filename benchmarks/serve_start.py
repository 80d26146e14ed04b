"""Start of the server over 1,000,000 items: seconds from the command to the first response of readiness.

Python keeps the bytecode of modules, as it does by default; the first turn may have to write it.
"""

from __future__ import annotations

import os
import statistics

from benchmarks import served
from benchmarks.rows import Row
from benchmarks.served import bundle_of, server

MEASURES = served.MEASURES
ITEMS, TURNS = 1_000_000, 5


def run() -> list[Row]:
    """Start and stop the server several times."""
    bundle = bundle_of(ITEMS)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds = []
    for _ in range(TURNS):
        with server(bundle) as served:
            seconds.append(served.seconds_to_ready)
    turns = ", ".join(f"{turn:.2f}" for turn in seconds)
    return [
        Row(
            target=f"{ITEMS:,} items: seconds to ready",
            value=statistics.median(seconds),
            limit=3,
            better="lower",
            comparable=True,
            detail=f"turns {turns}; all files are in the system's cache, except perhaps in the first",
        )
    ]
