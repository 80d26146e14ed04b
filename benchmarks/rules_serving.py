"""What 3 rules and a calibration add to a served request over 1,000,000 items: 99th percentile of the latency.

Two bundles of the recipe of `serve`, one with a policy at its end, are served in turns, one server at a time, with
requests at a constant low rate over loopback. Components are seeded by their names, so models and indexes are the same.
The figure is the median over the turns of the difference between the percentiles of the pair. The policy also calls
the retriever again for each group with a minimum that the candidates lack, and this counts as well.

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
ITEMS, TURNS, SECONDS, RATE = 1_000_000, 5, 20, 100
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


def run() -> list[Row]:
    """Serve both bundles in turns, and return what the policy adds."""
    small = os.environ.get("PASAND_RULES_SERVING")
    items, turns, seconds = (ITEMS, TURNS, SECONDS) if small is None else (int(small), 1, 5)
    text = RECIPE if small is None else POPULAR
    folders = bundle_of(items, text), bundle_of(items, text + POLICY)
    found: list[list[Array]] = [[], []]
    failed = 0
    for _ in range(turns):
        for folder, spent in zip(folders, found, strict=True):
            with server(folder) as one:
                open_loop(one, RATE, 3, connections=4)
                times, missed = open_loop(one, RATE, seconds, connections=4)
            spent.append(times)
            failed += missed
    plain, ruled = (np.array([np.percentile(times, [50, 99]) for times in spent]) for spent in found)
    added = ruled - plain
    detail = f"{RATE} requests/s, {turns} turns of {seconds} s"
    rows = []
    for column, (name, limit) in enumerate((("median", None), ("99th percentile", 0.5))):
        rows.append(
            Row(
                target=f"{items:,} items, added by 3 rules and calibration, {name}, ms",
                value=float(np.median(added[:, column])),
                limit=limit if small is None else None,
                better="lower",
                detail=f"without {np.median(plain[:, column]):.2f}, with {np.median(ruled[:, column]):.2f}; {detail}",
                reason="" if limit is None or small is not None else "an absolute limit, on one machine",
                synthetic=True,
            )
        )
    return [*rows, Row(target="failed requests", value=float(failed), limit=0.0, better="lower", comparable=True)]
