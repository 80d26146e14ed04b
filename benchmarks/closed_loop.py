"""Closed loops of the recipe `market` with and without its policy, and the time of a round of a million viewers.

Fifty rounds of three days, 10,000 viewers, 20 seeds, fitted every second round: what the policy (15 % new studios, 40 %
metro cap, language calibration, 10 % exploration) changes in the first sales of new studios and in the true
satisfaction of a visit, paired by seed, and the same for each of its tables alone. The second part times one round of a
market in which a million viewers visit: fit, lists, choices, measures and log, without the log before it.

`LOOP_USERS`, `LOOP_SEEDS` and `LOOP_ROUNDS` make it smaller, and `LOOP_PARTS=1` simulates each table alone as well. It
keeps finished loops in `.cache/closed-loop` and resumes from there.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from benchmarks.rows import ROOT, Row
from pasand.closed_loop import loop
from pasand.closed_loop.contenders import contenders
from pasand.closed_loop.measures import SALE_DAYS, VISITS
from pasand.closed_loop.results import Difference
from pasand.closed_loop.simulate import simulate
from pasand.simulation.market import Market

MEASURES = (
    "closed_loop/loop.py",
    "closed_loop/measures.py",
    "closed_loop/results.py",
    "closed_loop/market.toml",
    "simulation/market.py",
    "simulation/market_state.py",
    "simulation/choices.py",
    "simulation/true_value.py",
)
USERS, SEEDS, ROUNDS = (
    int(os.environ.get(f"LOOP_{name}", value)) for name, value in (("USERS", 10_000), ("SEEDS", 20), ("ROUNDS", 50))
)
PARTS = os.environ.get("LOOP_PARTS") == "1"
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
    """Return the changes by the policy, and the time of a round of a million viewers."""
    return [*_changes(), _million()]


def _changes() -> list[Row]:
    market = Market(n_users=USERS, rounds=ROUNDS)
    chosen = contenders(["market"], parts=PARTS)
    done = simulate(chosen, market, seeds=SEEDS, retrain_every=2, kept=ROOT / ".cache" / "closed-loop")
    if not done.complete:
        raise KeyboardInterrupt
    about = f"{ROUNDS} rounds, {USERS:,} viewers, {len(done.seeds)} seeds"
    rows = []
    for one in done.differences:
        named = {f"first sale in {SALE_DAYS} days": 0.15, "true satisfaction of a visit": None}
        target = f"{one.measure.name}: change by {one.contender.removeprefix('market, ')}, {about}"
        own = one.contender == "market" and one.measure.name in named
        limit = named[one.measure.name] if own else None
        value = one.difference.mean
        if own and limit is None:
            value, limit = value / one.reference.mean, -0.02
            target = target.replace("change", "relative change")
        rows.append(
            Row(
                target=target,
                value=value,
                limit=limit,
                better="lower" if one.measure.better == "lower" else "higher",
                detail=_detail(one),
                comparable=own,
                synthetic=True,
            )
        )
    return rows


def _detail(one: Difference) -> str:
    return f"{one.text(one.reference)} to {one.text(one.value)}; {one.text(one.difference, sign=True)}; {one.verdict}"


def _million() -> Row:
    market = Market(n_users=MILLION, n_items=100, rounds=1, warm_days=1, visits=3.0)
    log = market.log()
    small = replace(market, n_users=100)
    loop.run("fast", FAST, small, small.log(), k=10, retrain_every=1)  # compiles
    began = time.perf_counter()
    found = loop.run("fast", FAST, market, log, k=10, retrain_every=1)
    seconds = time.perf_counter() - began
    return Row(
        target="seconds of a round in which a million viewers visit",
        value=seconds,
        limit=60.0,
        better="lower",
        detail=f"{found[VISITS][0]:,.0f} visits of {MILLION:,} viewers, {len(log):,} events in the log before",
        comparable=True,
        synthetic=True,
    )
