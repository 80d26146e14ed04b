"""Closed loops of the recipe `market` with and without its policy, paired by seed.

Fifty rounds of three days, 10,000 viewers, 20 seeds, fitted every fifth round: what the policy (15 % new studios, 40 %
metro cap, language calibration, 10 % exploration) changes in the first sales of new studios and in the true
satisfaction of a visit, and in all other measures.

`LOOP_USERS`, `LOOP_SEEDS` and `LOOP_ROUNDS` make it smaller, and `LOOP_PARTS=1` simulates each table alone as well. It
keeps finished loops in `.cache/closed-loop` and resumes from there.
"""

from __future__ import annotations

import os

from benchmarks.rows import ROOT, Row
from pasand.closed_loop.contenders import contenders
from pasand.closed_loop.measures import SALE_DAYS
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
FULL = USERS >= 10_000 and SEEDS >= 20 and ROUNDS >= 50
"""Whether the market is that of the target, which takes two to three hours of a core."""
PARTS = os.environ.get("LOOP_PARTS") == "1"


def run() -> list[Row]:
    """Return the changes by the policy."""
    market = Market(n_users=USERS, rounds=ROUNDS)
    chosen = contenders(["market"], parts=PARTS)
    done = simulate(chosen, market, seeds=SEEDS, retrain_every=5, kept=ROOT / ".cache" / "closed-loop")
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
                comparable=own and FULL,
                reason="a smaller market than that of the target" if own and not FULL else "",
                synthetic=True,
            )
        )
    return rows


def _detail(one: Difference) -> str:
    return f"{one.text(one.reference)} to {one.text(one.value)}; {one.text(one.difference, sign=True)}; {one.verdict}"
