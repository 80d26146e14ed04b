"""Cold to warm: NDCG of a new item's audience after 0 to 20 interactions, against the retrained model.

A fifth of the items is cold: `ContentFactors` is fitted without any of their events. The users who like such an item
are split at random: half of them are its audience, which is never learnt from; the others interact, in a random order.
After n of these interactions have been added (`add_events`, as a server does), all users with a history are ranked for
the item by the inner products with its vector, without the interacting ones; the audience is relevant, and NDCG has no
cutoff. Users have the histories of train. A mean is over items, with a 95 % interval.

The retrained model is the model alone, without content, fitted to train and all interactions of the cold items, twenty
and more of every item. For comparison it is also fitted to train and the first five of every item. Items have at least
20 interactions and an audience of 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, data_folder
from pasand.contracts import TowerModel
from pasand.data.dataset import Dataset
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.sources import load
from pasand.stages.content_factors import ContentFactors
from pasand.stages.score_axes import ScoreAxes
from pasand.types import Array, Mask, Rows, Vectors

MEASURES = (
    "encoders/feature_blocks.py",
    "evaluation/protocols/cold_items.py",
    "models/classical/ease.py",
    "models/classical/ials.py",
    "stages/content_factors.py",
    "stages/field_ridge.py",
    "stages/item_fold_in.py",
    "stages/moving_vectors.py",
    "stages/score_axes.py",
)
COUNTS = (0, 1, 2, 5, 10, 20)
TARGET = 5
"""Interactions after which the figure is to be inside the interval of the retrained model."""
LEAST_INTERACTIONS, LEAST_AUDIENCE = 20, 10
MODELS: dict[str, Callable[[], TowerModel]] = {
    "EASE": lambda: ScoreAxes(model=EASE(l2=500.0), dimensions=64),
    "iALS": lambda: IALS(dimensions=64),
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A log in parts: train, the interactions of cold items, and their audience."""

    log: Dataset
    train: Dataset
    interactions: Dataset
    audience: Dataset

    @classmethod
    def of(cls, log: Dataset, seed: int = 0) -> Parts:
        """Return the parts; users without a history in train are in neither audience nor interactions."""
        (split,) = ColdItems(seed=seed).split(log)
        has_history = np.bincount(split.train.user, minlength=log.n_users) > 0
        of_cold = split.cold_items[log.item] & log.is_positive & has_history[log.user]
        first = np.random.default_rng(seed).random(len(log)) < 0.5
        return cls(
            log=log,
            train=split.train,
            interactions=log.select(of_cold & first),
            audience=log.select(of_cold & ~first),
        )

    @cached_property
    def items(self) -> Rows:
        """Cold items with enough interactions and audience."""
        n = self.log.n_items
        enough = np.bincount(self.interactions.item, minlength=n) >= LEAST_INTERACTIONS
        return np.flatnonzero(enough & (np.bincount(self.audience.item, minlength=n) >= LEAST_AUDIENCE)).astype(
            np.int32
        )

    @cached_property
    def users(self) -> Rows:
        """Users with a history in train."""
        return np.unique(self.train.user).astype(np.int32)

    def interacting(self, item: int) -> Rows:
        """Return the users who interact with an item, in the order in which they count."""
        users = self.interactions.user[self.interactions.item == item]
        return np.random.default_rng(item).permutation(users)

    def warm(self, interactions: Dataset) -> Dataset:
        """Return train and these interactions, in order of time."""
        kept = np.concatenate([_keys(self.train), _keys(interactions)])
        return self.log.select(np.isin(_keys(self.log), kept))

    def first_interactions(self, n: int) -> Dataset:
        """Return the first n interactions of each item, at the end of the log."""
        users = [self.interacting(item)[:n] for item in self.items.tolist()]
        item = np.repeat(self.items, [len(part) for part in users])
        keys = np.concatenate(users).astype(np.int64) * self.log.n_items + item if n else np.empty(0, np.int64)
        return self.interactions.select(np.isin(_keys(self.interactions), keys))


def _keys(data: Dataset) -> Array:
    return data.user.astype(np.int64) * data.n_items + data.item


def ndcg(scores: Array, relevant: Mask) -> float:
    """Return the NDCG of a ranking of all users by their scores; 1 at most."""
    gains = 1 / np.log2(np.arange(len(scores)) + 2)
    order = np.argsort(-scores, kind="stable")
    return float(gains[relevant[order]].sum() / gains[: relevant.sum()].sum())


def of_items(parts: Parts, model: TowerModel, vectors: Vectors) -> NDArray[np.float64]:
    """Return the NDCG of each item's audience, given the items' vectors; (n,)."""
    queries = model.embed_queries(parts.train.queries(parts.users, k=1))
    able: Mask = np.asarray(queries.any(axis=1))
    row = np.full(parts.log.n_users, -1)
    row[parts.users] = np.arange(len(parts.users))
    found = []
    for item, vector in zip(parts.items.tolist(), vectors, strict=True):
        ranked, relevant = able.copy(), np.zeros(len(able), np.bool_)
        ranked[row[parts.interacting(item)]] = False
        relevant[row[parts.audience.user[parts.audience.item == item]]] = True
        found.append(ndcg((queries @ vector)[ranked], relevant[ranked]))
    return np.array(found)


def curve(parts: Parts, make: Callable[[], TowerModel]) -> tuple[dict[int, NDArray[np.float64]], list[Array]]:
    """Return the NDCG of each item by number of interactions, and with models retrained on all and on five of them."""
    model = ContentFactors(model=make()).fit(parts.train, rng=np.random.default_rng(0))
    by_count = {}
    for n in COUNTS:
        model.follow(parts.train)
        model.add_events(parts.first_interactions(n))
        by_count[n] = of_items(parts, model, model.embed_items(parts.items))
    retrained = []
    for interactions in (parts.interactions, parts.first_interactions(TARGET)):
        warm = make().fit(parts.warm(interactions), rng=np.random.default_rng(0))
        retrained.append(of_items(parts, warm, warm.embed_items(parts.items)))
    return by_count, retrained


def half_width(values: NDArray[np.float64]) -> float:
    """Return half the width of the 95 % interval of a mean."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def run() -> list[Row]:
    """Draw the curves of both models on both logs."""
    logs = {"bollywood": load("bollywood:n_items=400,n_users=1000"), "ml-1m": load(data_folder("ml-1m-2999-users"))}
    rows = []
    for name, log in logs.items():
        parts = Parts.of(log)
        for model, make in MODELS.items():
            by_count, (retrained, on_five) = curve(parts, make)
            means = {n: float(values.mean()) for n, values in by_count.items()}
            ends = [float(values.mean()) - half_width(values) for values in (retrained, on_five)]
            print(name, model, means, f"retrained {retrained.mean():.4f}, on five {on_five.mean():.4f}", flush=True)
            detail = "; ".join(f"{n}: {value:.4f} ± {half_width(by_count[n]):.4f}" for n, value in means.items())
            rows += [
                Row(
                    target=f"NDCG of an item's audience after {TARGET} interactions, {name}, {model}",
                    value=means[TARGET],
                    limit=end,
                    better="higher",
                    peer=f"retrained on {which}",
                    peer_value=float(values.mean()),
                    detail=f"{detail}; retrained ± {half_width(values):.4f}; {len(parts.items)} items",
                    reason="a limit of our own: the lower end of the retrained model's interval",
                    synthetic=name == "bollywood",
                )
                for which, values, end in (
                    ("all interactions", retrained, ends[0]),
                    (f"these {TARGET}", on_five, ends[1]),
                )
            ]
    return rows
