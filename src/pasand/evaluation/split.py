"""What an evaluation asks: the events learnt from, the questions put, and the true answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.relevance import Relevance
from pasand.types import Mask, Offsets, Queries, Rows, Scores, Times

COLD_ITEMS = "items without an event in train; only they count as answers there, the lists are those of all items"
"""What the figures of cold items are, under every protocol."""
CELLS = 2**23
"""Queries x items (or history) that one batch may hold, which bounds the memory of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class TestQueries:
    """Questions and their answers, Q of them; T answers in all."""

    log: Dataset
    """The events that histories are read from."""
    user: Rows
    """(Q,)"""
    upto: Offsets
    """(Q,) the history is this user's first so many events of `log`."""
    time: Times
    """(Q,) when it is asked, seconds since 1970, UTC."""
    activity: Offsets
    """(Q,) events of the user that the model could learn from or be told at first; 0 is a cold user."""
    start: Offsets
    """(Q + 1,) the answers of question q stand at start[q]:start[q + 1]."""
    item: Rows
    """(T,) items that were relevant, or that were rated."""
    value: Scores
    """(T,) gains, or ratings."""
    among: Rows | None = None
    """(Q, C) the only items that may be answered, padded with -1; None: the whole catalogue."""

    def __len__(self) -> int:
        return len(self.user)

    def answers(self, which: Offsets) -> tuple[Rows, Scores]:
        """Return items, padded with -1, and values, padded with nan, of the questions at these positions; (B, R)."""
        count = self.start[which + 1] - self.start[which]
        place = np.arange(int(count.max(initial=0)))[None, :]
        real = place < count[:, None]
        source = (self.start[which][:, None] + place)[real]
        items = np.full(real.shape, -1, np.int32)
        values = np.full(real.shape, np.nan, np.float32)
        items[real], values[real] = self.item[source], self.value[source]
        return items, values

    def batches(self, size: int) -> Iterator[Offsets]:
        """Yield positions, at most `size` at once; histories of like length go together, so that little is padding."""
        order = np.argsort(self.upto, kind="stable")
        begin = 0
        while begin < len(order):
            end = min(begin + size, len(order))
            while end > begin + 1 and (end - begin) * int(self.upto[order[end - 1]]) > CELLS:
                end = begin + (end - begin) // 2
            yield order[begin:end]
            begin = end

    def queries(self, which: Offsets, k: int) -> Queries:
        """Return the questions at these positions as queries."""
        return self.log.queries(self.user[which], k=k, time=self.time[which], upto=self.upto[which])


@dataclass(frozen=True, kw_only=True)
class ListQueries:
    """A batch of questions for lists, with their answers."""

    which: Offsets
    """(B,) positions among the questions of the split."""
    queries: Queries
    relevant: Relevance


@dataclass(frozen=True, kw_only=True)
class RatingQueries:
    """A batch of questions for ratings, with their answers."""

    which: Offsets
    """(B,) positions among the rating questions of the split."""
    queries: Queries
    items: Rows
    """(B, K) padded with -1."""
    actual: Scores
    """(B, K) padded with nan."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One division of a log by a protocol."""

    name: str
    """The protocol and what it did, in a sentence."""
    leaks: str | None
    """What the protocol lets models know that they could not know in use; None: nothing."""
    rules: dict[str, str] = field(default_factory=dict)
    """What counts as relevant, seen, warm and cold here, and how often users are asked."""
    train: Dataset
    test: Dataset
    """The events that were held back."""
    lists: TestQueries
    ratings: TestQueries | None = None
    """None where the log has no ratings."""

    @cached_property
    def cold_items(self) -> Mask:
        """(N,) which items have no event in train, whatever their histories or features tell."""
        cold: Mask = np.bincount(self.train.item, minlength=self.train.n_items) == 0
        return cold

    def of_cold_items(self, relevant: Relevance) -> Relevance:
        """Return the relevance in which cold items alone are relevant; the catalogue stays whole."""
        cold = (relevant.items >= 0) & self.cold_items[relevant.items]
        return replace(relevant, items=np.where(cold, relevant.items, np.int32(-1)))

    def queries(self, k: int, size: int = 0) -> Iterator[ListQueries]:
        """Yield the questions for lists of k items (0: the whole catalogue) in batches of at most `size` (0: chosen).

        No relevant item is one that the user's history holds; such items count as excluded from the catalogue.
        """
        n_items = self.train.n_items
        size = size or int(np.clip(CELLS // max(n_items, 1), 1, 1024))
        for which in self.lists.batches(size):
            queries = self.lists.queries(which, k or n_items)
            items, gains = self.lists.answers(which)
            catalogue = n_items - distinct(queries.history)
            if self.lists.among is not None:
                among = self.lists.among[which]
                allowed = only(among, n_items)
                catalogue = allowed.sum(axis=1)
                queries = replace(queries, allowed=allowed, k=among.shape[1])
            relevant = Relevance(items=items, gains=gains, catalogue=catalogue.astype(np.int32))
            yield ListQueries(which=which, queries=queries, relevant=relevant)

    def rated(self, size: int = 0) -> Iterator[RatingQueries]:
        """Yield the questions for ratings in batches of at most `size` (0: chosen); nothing where there are none."""
        if self.ratings is None:
            return
        for which in self.ratings.batches(size or 1024):
            items, actual = self.ratings.answers(which)
            yield RatingQueries(which=which, queries=self.ratings.queries(which, 1), items=items, actual=actual)


def distinct(rows: Rows) -> Rows:
    """Return how many different items each row holds, padding aside; (B, H) -> (B,).

    >>> distinct(np.array([[-1, 3, 3], [1, 2, 3]], np.int32))
    array([1, 3], dtype=int32)
    """
    ordered = np.sort(rows, axis=1)
    new = np.ones(ordered.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts: Rows = (new & (ordered >= 0)).sum(axis=1).astype(np.int32)
    return counts


def only(rows: Rows, n_items: int) -> Mask:
    """Return the mask, (B, N), that allows just the listed items, (B, C) padded with -1."""
    mask = np.zeros((len(rows), n_items), np.bool_)
    query, place = np.nonzero(rows >= 0)
    mask[query, rows[query, place]] = True
    return mask


def grouped(question: Offsets, items: Rows, values: Scores, n_questions: int) -> tuple[Offsets, Rows, Scores]:
    """Return start, item and value of answers that name their question, (T,) each, in order of question."""
    order = np.argsort(question, kind="stable")
    start = np.zeros(n_questions + 1, np.int64)
    np.cumsum(np.bincount(question, minlength=n_questions), out=start[1:])
    return start, items[order], values[order]


def first_times(data: Dataset) -> Mask:
    """Return which events are the user's first with that item; (E,)."""
    order = data.by_user.event
    keys = data.user[order].astype(np.int64) * max(data.n_items, 1) + data.item[order]
    first = np.zeros(len(data), np.bool_)
    first[order[np.unique(keys, return_index=True)[1]]] = True
    return first


def hidden_positives(data: Dataset, hidden: Mask) -> Offsets:
    """Return the hidden likings of items that the user has in no event left open, each item of a user once."""
    keys = data.user.astype(np.int64) * max(data.n_items, 1) + data.item
    event = np.flatnonzero(hidden & data.liked)
    event = event[~np.isin(keys[event], keys[~hidden])]
    chosen: Offsets = np.sort(event[np.unique(keys[event], return_index=True)[1]])
    return chosen


def rated_among(data: Dataset, hidden: Mask) -> Offsets | None:
    """Return the hidden events that have a rating; None where the log has no ratings."""
    if data.values != "rating" or data.value is None:
        return None
    return np.flatnonzero(hidden & np.isfinite(data.value))


def event_positions(data: Dataset) -> Offsets:
    """Return how many events of the same user stand before each event; (E,)."""
    histories = data.by_user
    place = np.empty(len(data), np.int64)
    place[histories.event] = np.arange(len(data)) - histories.start[data.user[histories.event]]
    return place


def events_earlier(data: Dataset) -> Offsets:
    """Return how many events of the same user lie at a strictly earlier time than each event; (E,)."""
    histories = data.by_user
    user, time = data.user[histories.event], data.time[histories.event]
    new = np.ones(len(data), np.bool_)
    new[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    begin = np.maximum.accumulate(np.where(new, np.arange(len(data)), 0)) if len(data) else np.empty(0, np.int64)
    earlier = np.empty(len(data), np.int64)
    earlier[histories.event] = begin - histories.start[user]
    return earlier


def event_counts(data: Dataset) -> Offsets:
    """Return the number of events of each user; (U,)."""
    return np.diff(data.by_user.start)
