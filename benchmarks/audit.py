"""The audit finds a planted bias of exposure of 10 %, and raises no alarm where none is planted.

The films and viewers are those of `bollywood` with studios. Each viewer has a set of films, drawn by true preference
and in random order: the first are the history, the next are chosen at test queries, and the lists are drawn from the
rest. So history, choices and lists have one distribution, whatever the group of items, and the features of viewers are
dealt out at random. The bias makes films of studios of one region a tenth less exposed. An alarm is any of the audit's
tests that shows a difference; a bias is found if that region's exposure is shown to be lower.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.rows import Row
from pasand.audit.audit import Audit, audit
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.recipe import Assembly
from pasand.recommender import Recommender
from pasand.simulation.world import START, World
from pasand.types import Array, Candidates, Queries, Rows

MEASURES = (
    "audit/estimates.py",
    "audit/groups.py",
    "audit/item_exposure.py",
    "audit/lists.py",
    "audit/popularity.py",
    "audit/prices.py",
    "audit/stereotypes.py",
    "audit/user_metrics.py",
)
SEEDS = int(os.environ.get("PASAND_AUDIT_SEEDS", "100"))
BIAS = 0.1
K, HISTORY, CHOSEN, SET = 10, 8, 4, 60
"""Length of lists, films in a history, test queries of a viewer, and films of a viewer's set."""
HIT = 0.3
"""Probability that the chosen film is in the list."""
USER_GROUPS = ("gender", "city_tier", "age_band", "language", "state")
ITEM_GROUPS = ("studio_region", "studio_size", "language", "price_band", "popularity")


@dataclass(frozen=True)
class Given:
    """A retriever that returns lists fixed in advance, by user and time of the query."""

    lists: Rows
    """(U, T, K) the list at the t-th second after `begin`."""
    begin: int

    def __call__(self, queries: Queries) -> Candidates:
        items = self.lists[queries.users, queries.time - self.begin]
        scores = np.broadcast_to(-np.arange(items.shape[1], dtype=np.float32), items.shape)
        return Candidates(items=items, scores=scores)


def planted(seed: int, bias: float, n_users: int = 3000, n_items: int = 200) -> tuple[Bundle, Dataset, str]:
    """Return a bundle, its log, and the region of studios whose exposure is reduced by the share `bias`."""
    world = World(n_users=n_users, n_items=n_items, seed=seed, studios=40, new_films=0)
    rng = np.random.default_rng([seed, 99])
    everyone = np.arange(n_users, dtype=np.int32)
    preference = world.preference(everyone, np.tile(np.arange(n_items, dtype=np.int32), (n_users, 1)))
    odds = preference.astype(np.float64) / (1 - np.minimum(preference, 0.99))
    films = rng.permuted(drawn(np.log(odds), SET, rng), axis=1)
    history, chosen, rest = np.split(films, [HISTORY, HISTORY + CHOSEN], axis=1)
    items = world.item_features()
    region = items["studio_region"]
    shares = np.bincount(region.values[films].ravel(), minlength=len(region.names)) / films.size
    group = int(np.argmin(np.abs(shares - 0.3)))
    weight = (1 - bias) * (1 - shares[group]) / (1 - (1 - bias) * shares[group])
    log_weight = np.where(region.values[rest] == group, np.log(weight), 0.0)
    lists = np.stack([np.take_along_axis(rest, drawn(log_weight, K, rng), 1) for _ in range(CHOSEN)], axis=1)
    hit = np.nonzero(rng.random((n_users, CHOSEN)) < HIT)
    # a hit has the weight of its group, so that it does not dilute the bias
    kept = (region.values[chosen[hit]] != group) | (rng.random(len(hit[0])) < weight)
    hit = hit[0][kept], hit[1][kept]
    lists[*hit, rng.integers(0, K, len(hit[0]))] = chosen[hit]
    log = _log(world, history, chosen)
    recommender = Recommender(Given(lists.astype(np.int32), START + HISTORY), filters=())
    assembly = Assembly(text="", components={"recommender": recommender})
    fitted = replace(log.before(START + HISTORY), first_seen=None)
    return Bundle(assembly, fitted, {"files": {}}), log, region.names[group]


def drawn(log_weight: Array, k: int, rng: np.random.Generator) -> Array:
    """Return k columns of each row, drawn in order without replacement by their weights, (n, m) -> (n, k)."""
    noisy = log_weight + rng.gumbel(size=log_weight.shape)
    return np.argsort(-noisy, axis=1)[:, :k]


def _log(world: World, history: Rows, chosen: Rows) -> Dataset:
    """Return the log of histories and choices, with the features of viewers dealt out at random."""
    n = len(history)
    films = np.concatenate([history, chosen], axis=1)
    column = np.tile(np.arange(films.shape[1]), n)
    user = np.repeat(np.arange(n, dtype=np.int32), films.shape[1])
    order = np.lexsort((user, column))
    shuffled = np.random.default_rng([world.seed, 98]).permutation(n).astype(np.int32)
    features = {name: feature for name, feature in world.item_features().items() if name != "available_from"}
    return Dataset(
        name="planted",
        users=Vocabulary(world.viewers.ids),
        items=Vocabulary(world.films.ids),
        user=user[order],
        item=films.ravel()[order].astype(np.int32),
        time=(START + column[order]).astype(np.int64),
        user_features={name: feature.select(shuffled) for name, feature in world.user_features().items()},
        item_features=features,
    )


def audited(seed: int, bias: float) -> tuple[Audit, str]:
    """Return the audit of a log with this planted bias, and the region that it concerns."""
    bundle, log, region = planted(seed, bias)
    return audit(bundle, log, user_groups=USER_GROUPS, item_groups=ITEM_GROUPS, k=K), region


def found(done: Audit, region: str) -> bool:
    """Return whether the exposure of the region is shown to be lower."""
    return any(
        (finding.measure, finding.attribute, finding.group) == ("exposure", "studio_region", region)
        and finding.verdict == "lower"
        for finding in done.findings
    )


def run() -> list[Row]:
    """Return the shares of seeds in which the bias is found, and in which there is an alarm without one."""
    n_found, n_alarms, n_tests, alarms = 0, 0, 0, set()
    for seed in range(SEEDS):
        n_found += found(*audited(seed, BIAS))
        clean, _ = audited(seed, 0.0)
        n_alarms += bool(clean.shown)
        n_tests = clean.n_tests
        alarms |= {f"{finding.name} {finding.measure}" for finding in clean.shown}
    detail = f"{SEEDS} seeds, 3,000 viewers with 4 test queries, 200 films, {n_tests} tests, Holm"
    reason = "a property of the method, not a comparison of accuracy or speed"
    shown = f"; alarms: {', '.join(sorted(alarms))}" if alarms else ""
    return [
        Row(
            target="planted exposure bias of 10 % found, share of seeds",
            value=n_found / SEEDS,
            limit=0.95,
            better="higher",
            detail=detail,
            reason=reason,
            synthetic=True,
        ),
        Row(
            target="any alarm without a bias, share of seeds",
            value=n_alarms / SEEDS,
            limit=0.05,
            better="lower",
            detail=detail + shown,
            reason=reason,
            synthetic=True,
        ),
    ]
