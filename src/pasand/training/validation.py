"""The validation split of a training: the latest positives, for early stopping; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Array, Mask, Offsets, Queries, Rows

MAX_POSITIVES = 4000
"""Largest number of held-out positives."""
VALIDATION_SHARE = 0.1
"""Share of the events, the latest, that are held out by a split in time."""
MIN_USERS = 500
"""Number of users with positives before and after the split in time that such a split needs."""
MAX_PER_USER = 10
"""Largest number of held-out positives of a user."""


@dataclass(frozen=True, kw_only=True)
class ValidationSplit:
    """Training data split into a part to train on and queries with held-out positives."""

    train: Dataset
    queries: Queries
    query: Array
    """(R,) index in `queries` of each held-out positive."""
    item: Rows
    """(R,) items of the held-out positives; none is in its query's history."""


def split_latest(data: Dataset, rng: Generator) -> ValidationSplit | None:
    """Return a split that holds out the latest positives, up to `MAX_POSITIVES`; None where no user has two.

    With order "time" the latest `VALIDATION_SHARE` of all events are held out by a split in time, as in production, if
    `MIN_USERS` users have positives on both sides. Up to `MAX_PER_USER` positives of each become queries, with the
    history up to each. Where fewer users do (in MovieLens nearly all users have a single session), early stopping would
    depend on a handful of users and lose the new users after the split; then, and with order "sequence", the last
    positive of each user is held out with all later events. With order "none" no event is the last, so a random
    positive of each user is held out. Items that the user had events with before are not held out. Impressions of the
    training part end at the split, or at each user's held-out positive; with order "sequence" or "none" it has none.
    """
    found = _split_in_time(data, rng) if data.order == "time" else None
    return found or (_random_of_each_user(data, rng) if data.order == "none" else _last_of_each_user(data, rng))


def _split_in_time(data: Dataset, rng: Generator) -> ValidationSplit | None:
    """Return a split in time, or None where fewer than `MIN_USERS` users have positives on both sides."""
    if not len(data):
        return None
    before = data.time < data.time[int((1 - VALIDATION_SHARE) * len(data))]
    grouped = data.by_user
    user = data.user[grouped.event]
    started = np.zeros(data.n_users, np.bool_)
    started[data.user[before & data.is_positive]] = True
    index = np.flatnonzero(_new_positives(data) & ~before[grouped.event] & started[user])
    if len(np.unique(user[index])) < MIN_USERS:
        return None
    index = index[rng.permutation(len(index))]
    occurrence = _occurrence(user[index])
    by_occurrence = index[np.lexsort((np.arange(len(index)), occurrence))]
    chosen = by_occurrence[: int((occurrence < MAX_PER_USER).sum())][:MAX_POSITIVES]
    shown = data.impressions_before(int(data.time[int((1 - VALIDATION_SHARE) * len(data))]))
    return _held_out(data, data.select(before, impressions=shown), data, np.sort(chosen))


def _last_of_each_user(data: Dataset, rng: Generator) -> ValidationSplit | None:
    """Return a split that holds out each user's last positive and all later events."""
    grouped = data.by_user
    user = data.user[grouped.event]
    liked = np.flatnonzero(data.is_positive[grouped.event])
    last = liked[np.append(user[liked[1:]] != user[liked[:-1]], True)[: len(liked)]]
    chosen = _sample(last[_new_positives(data)[last]], rng)
    end = np.full(data.n_users, len(data))
    end[user[chosen]] = chosen
    keep = np.empty(len(data), np.bool_)
    keep[grouped.event] = np.arange(len(data)) < end[user]
    until = np.full(data.n_users, np.iinfo(np.int64).max)
    until[user[chosen]] = data.time[grouped.event[chosen]]
    return _held_out(data, data.select(keep, impressions=data.impressions_before(until)), data, chosen)


def _random_of_each_user(data: Dataset, rng: Generator) -> ValidationSplit | None:
    """Return a split that holds out a random positive of each user with more than one."""
    grouped = data.by_user
    user, liked = data.user[grouped.event], data.is_positive[grouped.event]
    _, back, count = np.unique(_pair_keys(data), return_inverse=True, return_counts=True)
    others = np.bincount(user[liked], minlength=data.n_users)[user] > 1
    index = np.flatnonzero(liked & others & (count[back] == 1))
    index = index[rng.permutation(len(index))]
    chosen = _sample(np.sort(index[_occurrence(user[index]) == 0]), rng)
    keep = np.ones(len(data), np.bool_)
    keep[grouped.event[chosen]] = False
    train = data.select(keep)
    return _held_out(data, train, train, chosen, full_histories=True)


def _held_out(
    data: Dataset, train: Dataset, known: Dataset, chosen: Offsets, *, full_histories: bool = False
) -> ValidationSplit | None:
    """Return the split that holds out the positives at these indices of `by_user`; None where there are none.

    The histories come from `known`: the events before each positive, or with `full_histories` all events.
    """
    if not len(chosen):
        return None
    grouped = data.by_user
    event = grouped.event[chosen]
    user = data.user[event]
    upto = None if full_histories else chosen - grouped.start[user]
    queries = known.queries(user, k=10, time=data.time[event], upto=upto)
    return ValidationSplit(train=train, queries=queries, query=np.arange(len(chosen)), item=data.item[event])


def _sample(indices: Offsets, rng: Generator) -> Offsets:
    """Return at most `MAX_POSITIVES` of the indices, drawn at random, rising."""
    return np.sort(rng.choice(indices, MAX_POSITIVES, replace=False)) if len(indices) > MAX_POSITIVES else indices


def _pair_keys(data: Dataset) -> Offsets:
    """Return a number that identifies the user and item of each event, in the order of `by_user`."""
    grouped = data.by_user
    return data.user[grouped.event].astype(np.int64) * data.n_items + grouped.item


def _new_positives(data: Dataset) -> Mask:
    """Return which events, in the order of `by_user`, are positives of a new item, and not the user's first positive.

    New is an item with which the user had no event before.
    """
    grouped = data.by_user
    liked = data.is_positive[grouped.event]
    first = np.zeros(len(data), np.bool_)
    first[np.unique(_pair_keys(data), return_index=True)[1]] = True
    before = np.append(0, np.cumsum(liked))
    has_earlier = before[:-1] > before[grouped.start[data.user[grouped.event]]]
    new: Mask = liked & first & has_earlier
    return new


def _occurrence(groups: Rows) -> Offsets:
    """Return how many earlier entries hold the same group, (n,).

    >>> _occurrence(np.array([5, 3, 5, 5, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(groups, kind="stable")
    grouped = groups[order]
    begin = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])[: len(groups)])
    occurrence = np.empty(len(groups), np.int64)
    occurrence[order] = np.arange(len(groups)) - np.repeat(begin, np.diff(np.append(begin, len(groups))))
    return occurrence
