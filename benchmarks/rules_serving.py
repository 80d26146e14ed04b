"""What 3 rules and a calibration add to a served request over 1,000,000 items: median and 99th percentile.

Two bundles of the recipe of `serve`, one with a policy at its end, are served at once, both on the server's core, and
get requests in turns of a few seconds, at a constant low rate over loopback, so that the other one is idle.
Components are seeded by their names, so models and indexes are the same. Percentiles are of all turns; the intervals
are of the difference between them over turns drawn again. The policy calls the retriever again for each group with a
minimum that the candidates lack, and this counts as well.

`PASAND_RULES_SERVING` in the environment makes a smaller run: the number of items, whose candidates are then the most
popular ones, without a network.
"""

from __future__ import annotations

import os

import numpy as np

from benchmarks import served
from benchmarks.rows import Row
from benchmarks.served import RECIPE, bundle_of, open_loop, server
from pasand.types import Array

MEASURES = (*served.MEASURES, "reranking")
ITEMS, TURNS, SECONDS, RATE = 1_000_000, 30, 4, 60
POPULAR = """
[recent]
class = "pasand.models.classical.popularity:Popularity"

[from_recent]
class = "pasand.stages.retrieval:FromModel"
model = "@recent"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@from_recent"
n_candidates = 200
"""
POLICY = """
[[policy]]
name = "new"
where = { year = { min = 2020 } }
min_share = 0.15

[[policy]]
name = "two languages"
where = { language = ["language 0", "language 1"] }
max_share = 0.3

[[policy]]
name = "another language"
where = { language = "language 2" }
min_count = 2

[[policy]]
kind = "calibration"
attributes = ["genre", "language"]
"""


def difference(plain: Array, ruled: Array, share: float) -> tuple[float, float, float]:
    """Return the difference of a percentile of two arrays of milliseconds (turns, B), and its 95 % interval."""
    rng = np.random.default_rng(0)
    turns = rng.integers(0, len(plain), (1000, len(plain)))
    drawn = [np.percentile(ruled[t], share) - np.percentile(plain[t], share) for t in turns]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.percentile(ruled, share) - np.percentile(plain, share)), float(low), float(high)


def run() -> list[Row]:
    """Serve both bundles, and return what the policy adds."""
    small = os.environ.get("PASAND_RULES_SERVING")
    items, turns, seconds = (ITEMS, TURNS, SECONDS) if small is None else (int(small), 5, 2)
    text = RECIPE if small is None else POPULAR
    found: tuple[list[Array], list[Array]] = [], []
    failed = 0
    with server(bundle_of(items, text)) as plain, server(bundle_of(items, text + POLICY)) as ruled:
        for one in (plain, ruled):
            open_loop(one, RATE, 5, connections=4)
        for turn in range(turns):
            for which in (turn % 2, 1 - turn % 2):
                times, missed = open_loop((plain, ruled)[which], RATE, seconds, connections=4)
                found[which].append(times)
                failed += missed
    without, with_policy = (np.array(times) for times in found)
    rows = []
    for share, name, limit in ((50, "median", None), (99, "99th percentile", 0.5 if small is None else None)):
        added, low, high = difference(without, with_policy, share)
        was, now = np.percentile(without, share), np.percentile(with_policy, share)
        rows.append(
            Row(
                target=f"{items:,} items, added by 3 rules and calibration, {name}, ms",
                value=added,
                limit=limit,
                better="lower",
                detail=f"{low:.2f} to {high:.2f}; {was:.2f} without, {now:.2f} with; {turns} turns of {seconds} s",
                reason="" if limit is None else "an absolute limit, on one machine",
                synthetic=True,
            )
        )
    return [*rows, Row(target="failed requests", value=float(failed), limit=0.0, better="lower", comparable=True)]
