"""The catalogue known at a time: described items without events are kept, and no item is offered before its release.

The split is temporal with live histories. A film is a candidate from its release on: in `bollywood` from its
`available_from`, in `ml-1m-2999-users`, which gives none, from just after its first event in the whole log. On cold
items, those without a train event, a recommender that only puts unseen items first, in random order, must be no better
than chance: the expected NDCG of a random order of the n cold items that were available and that the user had not seen,
which has the relevant one at each rank with probability 1 / n. The same figure with the whole catalogue as candidates
is given for comparison. `newest`, the reference that every comparison shows, may be better than chance without knowing
the future: a film that users passed over for weeks is less often chosen next than the film of today.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.random import Generator

from benchmarks.rows import Row, data_folder
from pasand.data.dataset import Dataset
from pasand.data.encoding.encode import encode
from pasand.data.features import TIME_UNKNOWN
from pasand.data.log import Batches
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import ListQueries, Split
from pasand.models.classical.content import Content
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.newest import Newest
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.random import Random
from pasand.recommender import fallback_chain
from pasand.sources import load, open_log
from pasand.types import Array, Mask, Queries, Rows, Scores

K = 10
METRIC = f"ndcg@{K}"
SEED = 0
MEASURES = (
    "data/dataset.py:Dataset.available_from",
    "data/dataset.py:Dataset.select",
    "data/encoding/encode.py",
    "evaluation/protocols/temporal.py",
    "evaluation/split.py",
    "models/classical/content.py",
    "models/classical/newest.py",
    "simulation",
)


def rng() -> Generator:
    """Return a new generator with the same seed each time."""
    return np.random.default_rng(SEED)


@dataclass
class UnseenFirst:
    """Scores items without an event above all others, and both in random order."""

    _random: Random = field(default_factory=Random)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        """Draw the order."""
        self._random.fit(data, rng=rng)
        self._cold = (np.bincount(data.item, minlength=data.n_items) == 0).astype(np.float32)
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        """Return random numbers, 1 higher for items without an event."""
        cold = self._cold[None, :] if items is None else self._cold[np.maximum(items, 0)]
        scores: Scores = np.add(self._random.score(queries, items), cold, dtype=np.float32)
        return scores

    def state(self) -> dict[str, Array]:
        """Return no arrays."""
        return {}

    def load_state(self, arrays: Any) -> None:
        """Restore nothing."""


def half_watched(folder: str) -> tuple[int, Dataset]:
    """Return the films that MovieLens describes, and its log without the events of every second one of them."""
    log = open_log(folder)
    assert log.items is not None
    kept = log.items["id"].cast(pl.String)[::2]

    def batches(read: Batches) -> Any:
        for frame in read():
            yield frame.filter(frame["item"].cast(pl.String).is_in(kept.implode()))

    assert callable(log.events)
    return len(log.items), encode(replace(log, events=partial(batches, log.events)))


def candidates_of(batch: ListQueries, split: Split, b: int) -> Mask:
    """Return the unseen candidates of a query of a batch; (N,)."""
    allowed = batch.queries.allowed
    mask = np.ones(split.train.n_items, np.bool_) if allowed is None else allowed[min(b, len(allowed) - 1)].copy()
    history = batch.queries.history[b]
    mask[history[history >= 0]] = False
    return mask


def chance(split: Split) -> float:
    """Return the mean over users of the expected NDCG of a random order of the unseen cold candidates of a query."""
    discounts = np.cumsum(1 / np.log2(np.arange(2, K + 2)))
    by_user: dict[int, list[float]] = {}
    for batch in split.list_batches(K):
        relevant = split.only_cold_items(batch.relevant).items
        assert relevant.shape[1] == 1  # live: the item of one event
        for b in np.flatnonzero(relevant[:, 0] >= 0).tolist():
            n = int((candidates_of(batch, split, b) & split.cold_items).sum())
            by_user.setdefault(int(batch.queries.users[b]), []).append(discounts[min(K, n) - 1] / n)
    return float(np.mean([np.mean(values) for values in by_user.values()]))


def offered_early(split: Split, data: Dataset) -> int:
    """Return how many items of all lists of five models were neither released nor, without a release, seen before."""
    release = data.item_features.get("available_from")
    known = np.full(data.n_items, TIME_UNKNOWN) if release is None else release.values
    first = {int(item): int(time) for item, time in zip(data.item[::-1], data.time[::-1], strict=True)}
    seen_from = np.array([first.get(item, TIME_UNKNOWN) for item in range(data.n_items)])
    early = 0
    for model in (Random(), Newest(), Popularity(), ItemKNN(), Content()):
        recommender = fallback_chain(model.fit(split.train, rng=rng()), Popularity().fit(split.train, rng=rng()))
        for batch in split.list_batches(K):
            items = recommender(batch.queries).items
            time, listed = batch.queries.time[:, None], items >= 0
            dated = known[items] != TIME_UNKNOWN
            late = np.where(dated, known[items] > time, (seen_from[items] != TIME_UNKNOWN) & (seen_from[items] >= time))
            early += int((late & listed).sum())
    return early


def of_cold_items(split: Split, build: Callable[[], Any]) -> tuple[float, float, float]:
    """Return NDCG on cold items of a recommender that is fitted to train, with its 95 % interval over users."""
    recommender = fallback_chain(build().fit(split.train, rng=rng()))
    found = evaluate(recommender, split, [METRIC], rng=rng()).cold_items[METRIC]
    return found.mean, found.low, found.high


def rows_of(name: str, data: Dataset, *, synthetic: bool) -> list[Row]:
    """Return the rows of one data set."""
    (split,) = Temporal().split(data)
    whole = replace(split, available_from=None)
    by_chance = chance(split)
    detail = (
        f"{int(split.cold_items.sum()):,} cold items of {data.n_items:,}; {split.n_unavailable:,} positives on items "
        f"that were not available are not relevant; {len(split.test_queries):,} test queries"
    )
    reason = "a property of the evaluation, not a figure of a model"
    n_cold = int(split.cold_items[split.test_queries.item].sum())
    rows = [
        Row(
            target=f"{name}: items offered before their release, lists of five models",
            value=float(offered_early(split, data)),
            limit=0,
            better="lower",
            detail=detail,
            reason=reason,
            synthetic=synthetic,
        )
    ]
    for label, build in (("newest first", Newest), ("unseen items first, in random order", UnseenFirst)):
        mean, low, high = of_cold_items(split, build)
        before = of_cold_items(whole, UnseenFirst)[0] if build is UnseenFirst else None
        rows.append(
            Row(
                target=f"{name}: {METRIC} on cold items of {label}, lower end of its interval",
                value=low,
                limit=by_chance if build is UnseenFirst else None,
                better="lower",
                peer="chance among the cold items that were available",
                peer_value=by_chance,
                detail=f"{mean:.4f} [{low:.4f}, {high:.4f}], {n_cold} test queries with a relevant cold item"
                + ("" if before is None else f"; with the whole catalogue as candidates {before:.4f}"),
                reason=reason,
                synthetic=synthetic,
            )
        )
    return rows


def run() -> list[Row]:
    """Return the rows of the kept catalogue, of `bollywood` and of `ml-1m-2999-users`."""
    logging.getLogger("pasand").setLevel(logging.ERROR)
    folder = str(data_folder("ml-1m-2999-users"))
    described, half = half_watched(folder)
    without = int((np.bincount(half.item, minlength=half.n_items) == 0).sum())
    kept = Row(
        target="share of a described catalogue that is kept, half of it never watched",
        value=half.n_items / described,
        limit=1,
        better="higher",
        detail=f"{half.n_items:,} of {described:,} films of ml-1m-2999-users, {without:,} without an event",
        reason="a property of reading, not a figure of a model",
    )
    return [
        kept,
        *rows_of("bollywood of 2,000 users", load("bollywood:n_users=2000"), synthetic=True),
        *rows_of("ml-1m-2999-users", load(folder), synthetic=False),
    ]
