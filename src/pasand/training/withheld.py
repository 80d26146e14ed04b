"""What is kept from training to see when to stop: the latest events, never a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Array, Queries, Rows

USERS = 4000
"""Most users asked after each epoch."""


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A validation inside the training data."""

    train: Dataset
    queries: Queries
    query: Array
    """(R,) position in `queries` of each withheld liking."""
    item: Rows
    """(R,) the withheld likings; none of them in its query's history."""


def latest(data: Dataset, rng: Generator) -> Withheld | None:
    """Withhold the last liking of up to `USERS` users who have others, with all that follows it; None: nobody has.

    Users keep everything else, so that the training data stay as near as possible to the whole.
    """
    grouped = data.by_user
    liked = data.liked[grouped.event]
    start = grouped.start
    users, cut = [], []
    for user in rng.permutation(data.n_users):
        first, end = start[user], start[user + 1]
        likings = np.flatnonzero(liked[first:end])
        if len(likings) < 2 or grouped.item[first + likings[-1]] in grouped.item[first : first + likings[-1]]:
            continue
        users.append(user)
        cut.append(likings[-1])
        if len(users) == USERS:
            break
    if not users:
        return None
    keep = np.ones(len(data), np.bool_)
    for user, place in zip(users, cut, strict=True):
        keep[grouped.event[start[user] + place : start[user + 1]]] = False
    chosen = np.array(users, np.int32)
    train = data.select(keep)
    time = np.array([data.time[grouped.event[start[u] + c]] for u, c in zip(users, cut, strict=True)])
    item = np.array([grouped.item[start[u] + c] for u, c in zip(users, cut, strict=True)], np.int32)
    return Withheld(
        train=train, queries=train.queries(chosen, k=10, time=time), query=np.arange(len(chosen)), item=item
    )
