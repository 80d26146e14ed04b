"""The protocols of cold items: a share of the items is held out with all their events, and ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN
from pasand.errors import InputError
from pasand.evaluation.leaking_features import followed_popularity
from pasand.evaluation.protocols.temporal import one_query_per_user
from pasand.evaluation.split import Split, event_counts, hidden_positives
from pasand.types import Mask, Offsets


@dataclass(frozen=True)
class ColdItems:
    """Holds random items of the catalogue out of train, and ranks them for the users who liked them.

    With `holdout_share` 0.2 and `events_share` 0.5 it is the protocol of the cold-start papers since Wei et al.
    (CLCRec), ACM MM 2021, and Huang et al. (ALDI), SIGIR 2023: all cold items are ranked, and half of their events
    count.
    """

    holdout_share: float = 0.2
    """Share of the items of the catalogue, with and without events, that are cold."""
    events_share: float = 1.0
    """Share of the events of cold items that are test events, drawn at random; the others are not used."""
    warm_share: float = 0.0
    """Share of the events of the other items that are test events as well, drawn at random. Above 0, lists rank the
    whole catalogue, so that the figures of all items show what cold items cost the others."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.holdout_share < 1:
            raise ValueError(f"holdout_share must be between 0 and 1, got {self.holdout_share}")
        if not 0 < self.events_share <= 1:
            raise ValueError(f"events_share must be above 0 and at most 1, got {self.events_share}")
        if not 0 <= self.warm_share < 1:
            raise ValueError(f"warm_share must be at least 0 and below 1, got {self.warm_share}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError if no positive of a cold item has a user with other events."""
        rng = np.random.default_rng(self.seed)
        cold = self._cold(data, rng)
        of_cold = cold[data.item]
        hidden = of_cold | (rng.random(len(data)) < self.warm_share)
        train = _without(data, hidden, cold)
        tested = ~of_cold | (rng.random(len(data)) < self.events_share)
        event = hidden_positives(data, hidden)
        event = event[tested[event] & (event_counts(train)[data.user[event]] > 0)]
        if not cold[data.item[event]].any():
            cause = f"none of the {int(cold.sum()):,} cold items has a positive of a user with other events"
            raise InputError(data.name, cause=cause, cure="give more events, or choose another protocol")
        now = int(data.time[-1]) + 1
        queries = one_query_per_user(data, train, event, time=now, ratings=False)
        if not self.warm_share:
            rows = np.flatnonzero(cold).astype(np.int32)
            queries = replace(queries, candidates=np.broadcast_to(rows, (len(queries), len(rows))))
        percent = f"{100 * self.holdout_share:g} %"
        return [
            Split(
                name=f"{self._name(percent)}, {int(cold.sum()):,} of {data.n_items:,} items cold",
                leakage=self._leakage(data, event, cold),
                rules={
                    "cold": f"{self._chosen(percent)}; train holds none of their events and impressions",
                    "candidates": "all items" if self.warm_share else "all cold items, and no others",
                    "relevant": "every liked item among the test events: "
                    f"{100 * self.events_share:g} % of the events of cold items"
                    + (f", {100 * self.warm_share:g} % of the others" if self.warm_share else ""),
                    "seen": "every event of the user in train",
                    "test queries": "one per user with events in train; averages are over users",
                },
                train=train,
                test=data.select(hidden & tested),
                test_queries=queries,
            )
        ]

    def _cold(self, data: Dataset, rng: np.random.Generator) -> Mask:
        """Return which items are cold, (N,)."""
        cold = np.zeros(data.n_items, np.bool_)
        cold[rng.permutation(data.n_items)[: self._number(data.n_items)]] = True
        return cold

    def _number(self, n_items: int) -> int:
        return min(max(1, round(self.holdout_share * n_items)), n_items)

    def _name(self, percent: str) -> str:
        return f"cold-items, {percent} of the items, seed {self.seed}"

    def _chosen(self, percent: str) -> str:
        return f"{percent} of the items, drawn at random"

    def _leakage(self, data: Dataset, event: Offsets, cold: Mask) -> str | None:
        """Return what train or the features reveal; None: nothing that is known."""
        count = np.bincount(data.item[event], minlength=data.n_items)[cold]
        features = {name: f.select(np.flatnonzero(cold).astype(np.int32)) for name, f in data.item_features.items()}
        found = [f"{name} ({value:.2f})" for name, value in followed_popularity(features, count).items()]
        parts = ["train holds events that are later than the test events"] if data.order == "time" else []
        if found:
            parts.append(
                "these item features follow the number of test events of an item (rank correlation), so its users may "
                f"have written them: {', '.join(found)}"
            )
        return "; ".join(parts) or None


@dataclass(frozen=True)
class NewestItems(ColdItems):
    """Holds out the items whose first event is latest, and ranks them as `ColdItems` does."""

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError for a log without times, and as `ColdItems` does."""
        if data.order != "time":
            cause = "the newest items are known by the times of events, and these data have none"
            raise InputError(data.name, cause=cause, cure="choose --protocol cold-items")
        return super().split(data)

    def _cold(self, data: Dataset, rng: np.random.Generator) -> Mask:
        """Return the items with the latest first events, (N,); items without events are never cold."""
        first = np.full(data.n_items, np.iinfo(np.int64).max)
        np.minimum.at(first, data.item, data.time)
        seen = np.flatnonzero(first < np.iinfo(np.int64).max)
        cold = np.zeros(data.n_items, np.bool_)
        cold[seen[np.argsort(-first[seen], kind="stable")][: self._number(len(seen))]] = True
        return cold

    def _name(self, percent: str) -> str:
        return f"newest-items, the last {percent} of the items with events"

    def _chosen(self, percent: str) -> str:
        return f"{percent} of the items with events, those whose first event is latest"


def _without(data: Dataset, hidden: Mask, cold: Mask) -> Dataset:
    """Return the visible events, without anything that the log knows of cold items: impressions and first events."""
    shown = data.impressions
    shown = None if shown is None else shown.select(~cold[shown.item])
    train = data.select(~hidden, impressions=shown)
    first = train.first_seen
    return replace(train, first_seen=None if first is None else np.where(cold, TIME_UNKNOWN, first))
