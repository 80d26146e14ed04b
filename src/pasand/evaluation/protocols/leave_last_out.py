"""The leave-last-out protocol of most papers on sequences: the last positive of each user is the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import (
    WHOLE_CATALOGUE,
    Split,
    TestQueries,
    event_counts,
    event_positions,
    first_interactions,
    grouped_by_query,
    hidden_ratings,
)
from pasand.types import Mask, Offsets


@dataclass(frozen=True)
class LeaveLastOut:
    """Holds out each user's last positive on a new item, with all events after it, and tests on that positive.

    Applied to its own train part it holds out the positive before, which is the usual validation split.
    """

    min_events: int = 3
    """Users with fewer events are in train only."""

    def __post_init__(self) -> None:
        if self.min_events < 2:
            raise ValueError(f"min_events must be at least 2, got {self.min_events}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError if the order of events is unknown or no user has a test query."""
        if data.order == "none":
            cause = "leave-last-out needs the order of a user's events, and these data have none"
            raise InputError(data.name, cause=cause, cure="choose --protocol strong-generalisation or folds")
        position = event_positions(data)
        enough = event_counts(data)[data.user] >= self.min_events
        eligible = np.flatnonzero(first_interactions(data) & data.is_positive & enough & (position > 0))
        last = np.full(data.n_users, -1, np.int64)
        last[data.user[eligible]] = eligible  # events are in order of time: the last assignment wins
        event = last[last >= 0]
        if not len(event):
            cause = f"no user has {self.min_events} events with a positive after the first one"
            raise InputError(data.name, cause=cause, cure="lower --positive-from, or give more events")
        held_out_from = np.full(data.n_users, np.iinfo(np.int64).max)
        held_out_from[data.user[event]] = position[event]
        in_train = position < held_out_from[data.user]
        until = np.full(data.n_users, np.iinfo(np.int64).max)
        until[data.user[event]] = data.time[event]
        train = data.select(in_train, impressions=data.impressions_before(until))
        upto = position[event]
        test_queries = TestQueries(
            log=train,
            user=data.user[event],
            upto=upto,
            time=data.time[event],
            start=np.arange(len(event) + 1),
            item=data.item[event],
            value=np.ones(len(event), np.float32),
        )
        return [
            Split(
                name=f"leave-last-out, users with at least {self.min_events} events",
                leakage=f"train holds events of other users that are later than the test query, and {WHOLE_CATALOGUE}",
                rules={
                    "relevant": "the item of the user's last positive on an item that is new to the user",
                    "seen": "every event of the user before that positive; events after it are not used",
                    "test queries": "one per user",
                    "ratings": "all held-out ratings, the positive and those after it, as of just before the positive",
                },
                train=train,
                test=data.select(~in_train),
                test_queries=test_queries,
                rating_queries=_rating_queries(data, train, ~in_train, last, position),
            )
        ]


def _rating_queries(
    data: Dataset, train: Dataset, held_out: Mask, last: Offsets, position: Offsets
) -> TestQueries | None:
    """Return one query per user with all held-out ratings as targets; those of positives alone would be too high.

    `last`, (U,), is each user's held-out positive. None where the log has no ratings.
    """
    rated = hidden_ratings(data, held_out)
    if rated is None or data.value is None:
        return None
    users, query = np.unique(data.user[rated], return_inverse=True)
    start, item, value = grouped_by_query(query, data.item[rated], data.value[rated], len(users))
    first = last[users]
    return TestQueries(
        log=train,
        user=users,
        upto=position[first],
        time=data.time[first],
        start=start,
        item=item,
        value=value,
    )
