"""What is kept from training to see when to stop: the latest events, never a test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pasand.data.dataset import Dataset
from pasand.types import Array, Mask, Offsets, Queries, Rows

ASKED = 4000
"""Most likings asked for after each epoch."""
SHARE = 0.1
"""Of the events, the latest, that are withheld where there is a cut in time."""
SPANNING = 500
"""Users with likings on both sides of the cut, below which there is none."""
EACH = 10
"""Most likings of one user asked for."""


@dataclass(frozen=True, kw_only=True)
class ValidationSplit:
    """A validation inside the training data."""

    train: Dataset
    queries: Queries
    query: Array
    """(R,) position in `queries` of each withheld liking."""
    item: Rows
    """(R,) the withheld likings; none of them in its query's history."""


def latest(data: Dataset, rng: Generator) -> ValidationSplit | None:
    """Withhold the latest likings, up to `ASKED`, each with the history before it; None: nobody has two.

    With order "time" the latest `SHARE` of all events are withheld at one cut, as the future is from a system in use,
    if `SPANNING` users have likings on both sides: a few likings of each are asked for, with histories that roll
    forward. Where fewer do (in MovieLens nearly everybody comes once), stopping would follow the taste of a handful,
    and the newcomers behind the cut, of whom a model may learn nothing; then, and with order "sequence", each user's
    last liking is withheld with all that follows it. With order "none" no event is the last: any one liking of a user
    is withheld. A liking of something that the user had before is not asked for. Impressions go up to the cut, or to
    each user's own withheld liking; with order "sequence" or "none" there are none in the training part.
    """
    found = _after_a_cut(data, rng) if data.order == "time" else None
    return found or (_any_of_each(data, rng) if data.order == "none" else _last_of_each(data, rng))


def _after_a_cut(data: Dataset, rng: Generator) -> ValidationSplit | None:
    if not len(data):
        return None
    before = data.time < data.time[int((1 - SHARE) * len(data))]
    grouped = data.by_user
    user = data.user[grouped.event]
    started = np.zeros(data.n_users, np.bool_)
    started[data.user[before & data.liked]] = True
    place = np.flatnonzero(_new(data) & ~before[grouped.event] & started[user])
    if len(np.unique(user[place])) < SPANNING:
        return None
    place = place[rng.permutation(len(place))]
    turn = _turn(user[place])
    chosen = place[np.lexsort((np.arange(len(place)), turn))][: int((turn < EACH).sum())][:ASKED]
    shown = data.impressions_before(int(data.time[int((1 - SHARE) * len(data))]))
    return _asked(data, data.select(before, impressions=shown), data, np.sort(chosen))


def _last_of_each(data: Dataset, rng: Generator) -> ValidationSplit | None:
    grouped = data.by_user
    user = data.user[grouped.event]
    liked = np.flatnonzero(data.liked[grouped.event])
    last = liked[np.append(user[liked[1:]] != user[liked[:-1]], True)[: len(liked)]]
    chosen = _some(last[_new(data)[last]], rng)
    end = np.full(data.n_users, len(data))
    end[user[chosen]] = chosen
    keep = np.empty(len(data), np.bool_)
    keep[grouped.event] = np.arange(len(data)) < end[user]
    until = np.full(data.n_users, np.iinfo(np.int64).max)
    until[user[chosen]] = data.time[grouped.event[chosen]]
    return _asked(data, data.select(keep, impressions=data.impressions_before(until)), data, chosen)


def _any_of_each(data: Dataset, rng: Generator) -> ValidationSplit | None:
    grouped = data.by_user
    user, liked = data.user[grouped.event], data.liked[grouped.event]
    _, back, count = np.unique(_pairs(data), return_inverse=True, return_counts=True)
    others = np.bincount(user[liked], minlength=data.n_users)[user] > 1
    place = np.flatnonzero(liked & others & (count[back] == 1))
    place = place[rng.permutation(len(place))]
    chosen = _some(np.sort(place[_turn(user[place]) == 0]), rng)
    keep = np.ones(len(data), np.bool_)
    keep[grouped.event[chosen]] = False
    train = data.select(keep)
    return _asked(data, train, train, chosen, whole=True)


def _asked(
    data: Dataset, train: Dataset, known: Dataset, chosen: Offsets, *, whole: bool = False
) -> ValidationSplit | None:
    """Return the likings at places of `by_user`, asked with the histories before them, or with `whole` ones."""
    if not len(chosen):
        return None
    grouped = data.by_user
    event = grouped.event[chosen]
    user = data.user[event]
    upto = None if whole else chosen - grouped.start[user]
    queries = known.queries(user, k=10, time=data.time[event], upto=upto)
    return ValidationSplit(train=train, queries=queries, query=np.arange(len(chosen)), item=data.item[event])


def _some(places: Offsets, rng: Generator) -> Offsets:
    """Return at most `ASKED` of the places, drawn at random, rising."""
    return np.sort(rng.choice(places, ASKED, replace=False)) if len(places) > ASKED else places


def _pairs(data: Dataset) -> Offsets:
    """Return a number for the user and item of each event, in the order of `by_user`."""
    grouped = data.by_user
    return data.user[grouped.event].astype(np.int64) * data.n_items + grouped.item


def _new(data: Dataset) -> Mask:
    """Return which events, in the order of `by_user`, like what the user has not had before, after another liking."""
    grouped = data.by_user
    liked = data.liked[grouped.event]
    first = np.zeros(len(data), np.bool_)
    first[np.unique(_pairs(data), return_index=True)[1]] = True
    before = np.append(0, np.cumsum(liked))
    had = before[:-1] > before[grouped.start[data.user[grouped.event]]]
    new: Mask = liked & first & had
    return new


def _turn(groups: Rows) -> Offsets:
    """Return how many earlier places hold the same group, (n,).

    >>> _turn(np.array([5, 3, 5, 5, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(groups, kind="stable")
    grouped = groups[order]
    begin = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1])[: len(groups)])
    turn = np.empty(len(groups), np.int64)
    turn[order] = np.arange(len(groups)) - np.repeat(begin, np.diff(np.append(begin, len(groups))))
    return turn
