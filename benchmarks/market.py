"""New sellers with a first sale within 30 days: the recipe `market` against itself without content, paired by seed.

Closed loops in the simulated marketplace: sellers join every week, the recipe is fitted every sixth round of three
days, and what it shows is bought or not. "none": neither tower nor ranker reads features of products, and nothing is
inherited, so that a product without a sale has no vector. "content": both read them. "content and inheritance": the
recipe as it is. "a random slot alone": "none" with the last of ten slots for a random product of a seller of at most 60
days, for information. The loss is that of the expected true satisfaction of a visit. All are trained for a fixed number
of epochs, without a validation split.

By default 3 seeds of 300 buyers, 400 products, 100 sellers and 24 rounds, which take less than 15 minutes of a core.
`MARKET_SEEDS`, `MARKET_USERS` and `MARKET_ROUNDS` change it. Finished loops are kept in `.cache/market`, from where an
interrupted run resumes.
"""

from __future__ import annotations

import os

from benchmarks.rows import ROOT, Row
from pasand import recipe
from pasand.closed_loop.contenders import Contender
from pasand.closed_loop.measures import SALE_DAYS
from pasand.closed_loop.results import Difference
from pasand.closed_loop.simulate import simulate
from pasand.simulation.seller_market import SellerMarket

MEASURES = (
    "closed_loop/loop.py",
    "closed_loop/measures.py",
    "closed_loop/results.py",
    "recipes/market.toml",
    "simulation/choices.py",
    "simulation/market.py",
    "simulation/market_state.py",
    "simulation/marketplace.py",
    "simulation/products.py",
    "simulation/seller_market.py",
    "simulation/sellers.py",
    "simulation/true_value.py",
)
SEEDS, USERS, ROUNDS = (
    int(os.environ.get(f"MARKET_{name}", value)) for name, value in (("SEEDS", 3), ("USERS", 300), ("ROUNDS", 24))
)
FULL = SEEDS >= 3 and USERS >= 300 and ROUNDS >= 24
"""Whether the run is not smaller than the default."""
QUICK = {
    "tower": {"epochs": 8, "patience": 0, "l2": 0.01},
    "ranking": {"epochs": 4, "patience": 0, "l2": 0.01, "examples": 30_000},
}
"""Settings of training in all contenders."""
SLOT = """
[[policy]]
kind = "explore"
slots = [10]
method = "uniform"
where = { seller_since = { max_age_days = 60 } }
"""
"""The last of ten slots for a product of a new seller, drawn at random: what a platform can do without content."""
ENCODE = ("description=tfidf",)
SALES, SATISFACTION = f"first sale in {SALE_DAYS} days", "true satisfaction of a visit"


def contenders() -> list[Contender]:
    """Return the recipe without content, with content alone, as it is, and without content but with a random slot."""
    tables = recipe.tables(recipe.read("market").text)
    tables |= {name: {**tables[name], **more} for name, more in QUICK.items()}
    ranking = {name: value for name, value in tables["ranking"].items() if name != "inherits"}
    content = {name: table for name, table in (tables | {"ranking": ranking}).items() if name != "similar"}
    none = content | {name: {**content[name], "item_features": []} for name in QUICK}
    texts = {"none": none, "content": content, "content and inheritance": tables}
    found = [Contender(name, recipe.dump(some)) for name, some in texts.items()]
    return [*found, Contender("a random slot alone", found[0].text + SLOT)]


def run() -> list[Row]:
    """Return what content changes."""
    market = SellerMarket(n_users=USERS, n_items=400, n_studios=100, rounds=ROUNDS)
    kept = ROOT / ".cache" / "market"
    done = simulate(contenders(), market, seeds=SEEDS, retrain_every=6, encode=ENCODE, kept=kept)
    if not done.complete:
        raise KeyboardInterrupt
    about = f"{ROUNDS} rounds, {USERS} buyers, {len(done.seeds)} seeds"
    return [_row(one, about) for one in done.differences]


def _row(one: Difference, about: str) -> Row:
    """Return a row of a measure; only the two of the target have a limit."""
    value, name, limit = one.difference.mean, f"{one.measure.name}: change", None
    of_target = "content" in one.contender
    if one.measure.name == SALES:
        name, limit = f"new sellers with a first sale in {SALE_DAYS} days: change", 0.15 if of_target else None
    elif one.measure.name == SATISFACTION:
        name, limit = "true utility of a visit: relative change", -0.01 if of_target else None
        value /= one.reference.mean
    values = f"{one.text(one.reference)} to {one.text(one.value)}"
    return Row(
        target=f"{name} by {one.contender}, {about}",
        value=value,
        limit=limit,
        better="lower" if one.measure.better == "lower" else "higher",
        detail=f"{values}; {one.text(one.difference, sign=True)}; {one.verdict}",
        comparable=limit is not None and FULL,
        reason="" if FULL or limit is None else "a smaller run than the default",
        synthetic=True,
    )
