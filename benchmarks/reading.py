"""Peak memory and time to read, encode and split 20 million rows of CSV with text ids."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rows import ROOT, Row
from pasand.progress import track

MEASURES = ("data", "sources")
ROWS = 20_000_000
USERS, ITEMS = 138_000, 27_000

OURS = """
import sys
from pasand.sources import load
data = load(sys.argv[1])
cut = int(.8 * len(data))
while cut < len(data) and data.time[cut] == data.time[cut - 1]:
    cut += 1
train, test = data.select(slice(0, cut)), data.select(slice(cut, None))
assert len(train) + len(test) == len(data)
events = len(data)
"""
THEIRS = """
import sys
import polars as pl
data = pl.read_csv(sys.argv[1], schema_overrides={"user_id": pl.String, "item_id": pl.String})
events = len(data)
"""
MEASURED = """
import json, time
start = time.perf_counter()
{body}
seconds = time.perf_counter() - start
lines = open("/proc/self/status").read().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({{"events": events, "seconds": seconds, "gigabytes": peak * 1024 / 1e9}}))
"""


def write(path: Path, rows: int = ROWS) -> None:
    """Write a log of random events in random order, part by part, with about 40 bytes per row."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for first in track(range(0, rows, 1_000_000), "writing"):
            n = min(1_000_000, rows - first)
            user = (USERS * rng.random(n) ** 2).astype(np.int64)
            item = (ITEMS * rng.random(n) ** 3).astype(np.int64)
            frame = pl.DataFrame(
                {
                    "user_id": pl.Series(user).cast(pl.String).str.zfill(8).str.replace("^", "u"),
                    "item_id": pl.Series(item).cast(pl.String).str.zfill(8).str.replace("^", "i"),
                    "rating": rng.integers(1, 11, n) / 2,
                    "timestamp": rng.integers(1_000_000_000, 1_700_000_000, n),
                }
            )
            frame.write_csv(file, include_header=first == 0)


def measure(body: str, path: Path) -> dict[str, float]:
    """Return events, seconds and peak memory in GB of a fresh process that runs the code."""
    command = [sys.executable, "-c", MEASURED.format(body=body), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=dict(os.environ))
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run() -> list[Row]:
    """Measure ours and polars, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="pasand-reading-") as folder:
        path = Path(folder) / "events.csv"
        write(path)
        size = path.stat().st_size / 1e9
        ours, theirs = measure(OURS, path), measure(THEIRS, path)
    peer = "polars.read_csv, neither encoded nor split"
    detail = f"{ROWS:,} rows, {size:.2f} GB of CSV, {int(ours['events']):,} events kept"
    return [
        Row(
            target="peak memory of load and temporal split, GB",
            value=ours["gigabytes"],
            limit=1.5,
            better="lower",
            comparable=True,
            peer=peer,
            peer_value=theirs["gigabytes"],
            detail=detail,
        ),
        Row(
            target="seconds of load and temporal split",
            value=ours["seconds"],
            limit=None,
            better="lower",
            reason="the peer only reads: it neither encodes nor splits",
            peer=peer,
            peer_value=theirs["seconds"],
            detail=detail,
        ),
    ]
