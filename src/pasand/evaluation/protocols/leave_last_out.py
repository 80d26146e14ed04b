"""The protocol of most sequence papers: each user's last liking is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.split import Split, TestQueries, event_counts, event_positions, first_times


@dataclass(frozen=True)
class LeaveLastOut:
    """Holds back each user's last liking of a new item and whatever follows it; asks for it once.

    Applied to its own train part it holds back the liking before, the usual validation split.
    """

    at_least: int = 3
    """Users with fewer events are trained on and not asked."""

    def __post_init__(self) -> None:
        if self.at_least < 2:
            raise ValueError(f"at_least must be at least 2, got {self.at_least}")

    def split(self, data: Dataset) -> list[Split]:
        """Return the one split; raises InputError where the order of events is unknown or nobody can be asked."""
        if data.order == "none":
            cause = "leave-last-out needs the order of a user's events, and these data have none"
            raise InputError(data.name, cause=cause, cure="choose --protocol strong-generalisation or folds")
        place = event_positions(data)
        enough = event_counts(data)[data.user] >= self.at_least
        wanted = np.flatnonzero(first_times(data) & data.liked & enough & (place > 0))
        last = np.full(data.n_users, -1, np.int64)
        last[data.user[wanted]] = wanted  # events come in order of time: the last one stays
        event = last[last >= 0]
        if not len(event):
            cause = f"no user has {self.at_least} events and a liking among them after the first event"
            raise InputError(data.name, cause=cause, cure="lower --positive-from, or give more events")
        held = np.full(data.n_users, np.iinfo(np.int64).max)
        held[data.user[event]] = place[event]
        in_train = place < held[data.user]
        until = np.full(data.n_users, np.iinfo(np.int64).max)
        until[data.user[event]] = data.time[event]
        train = data.select(in_train, impressions=data.impressions_before(until))
        upto = place[event]
        lists = TestQueries(
            log=train,
            user=data.user[event],
            upto=upto,
            time=data.time[event],
            activity=upto,
            start=np.arange(len(event) + 1),
            item=data.item[event],
            value=np.ones(len(event), np.float32),
        )
        rated = None
        if data.values == "rating" and data.value is not None and np.isfinite(data.value[event]).all():
            rated = replace(lists, value=data.value[event])
        return [
            Split(
                name=f"leave-last-out, users with at least {self.at_least} events",
                leaks="train holds events of other users that are later than the question",
                rules={
                    "relevant": "the user's last liking of an item that is new to the user",
                    "seen": "every event of the user before it; events after it are not used",
                    "warm": "all: every user asked has events in train",
                    "cold": "none",
                    "asked": "each user once",
                },
                train=train,
                test=data.select(~in_train),
                lists=lists,
                ratings=rated,
            )
        ]
