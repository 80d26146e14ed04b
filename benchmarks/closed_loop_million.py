"""Time of one round of a closed loop in which a million viewers visit.

A recipe without a policy is fitted to the log, a million viewers get a list each and choose, all measures are computed,
and the choices join the log. The log before the round, a day of the market, is not part of the time.
"""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks.rows import Row
from pasand.closed_loop import loop
from pasand.closed_loop.measures import VISITS
from pasand.simulation.market import Market

MEASURES = ("closed_loop/loop.py", "closed_loop/measures.py", "simulation/market.py", "simulation/market_state.py")
MILLION = 1_450_000
"""Viewers of the market of which a million have arrived and visit in its round."""
FAST = """
[items]
class = "pasand.models.classical.ease:EASE"

[recent]
class = "pasand.models.classical.popularity:Popularity"
half_life_days = 30

[from_items]
class = "pasand.stages.retrieval:FromModel"
model = "@items"

[from_recent]
class = "pasand.stages.retrieval:FromModel"
model = "@recent"

[fallback]
class = "pasand.stages.retrieval:Fallback"
retrievers = ["@from_items", "@from_recent"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@fallback"
"""
"""The recipe of the million: a linear model of the items, and recent popularity."""


def run() -> list[Row]:
    """Return the time of the round."""
    market = Market(n_users=MILLION, n_items=100, rounds=1, warm_days=1, visits=3.0)
    log = market.log()
    small = replace(market, n_users=100)
    loop.run("fast", FAST, small, small.log(), k=10, retrain_every=1)  # compiles
    began = time.perf_counter()
    found = loop.run("fast", FAST, market, log, k=10, retrain_every=1)
    seconds = time.perf_counter() - began
    row = Row(
        target="seconds of a round in which a million viewers visit",
        value=seconds,
        limit=60.0,
        better="lower",
        detail=f"{found[VISITS][0]:,.0f} visits of {MILLION:,} viewers, {len(log):,} events in the log before",
        comparable=True,
        synthetic=True,
    )
    return [row]
