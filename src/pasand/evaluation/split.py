"""A train/test split: training events, test queries and their ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.relevance import Relevance
from pasand.types import Mask, Offsets, Queries, Rows, Scores, Times

COLD_ITEMS_RULE = "items without an event in train; only they count as relevant, but the lists rank all candidates"
"""How cold items are evaluated, under every protocol."""
WHOLE_CATALOGUE = "lists rank the whole catalogue, with items that were released or first seen after the test query"
"""What a protocol reveals that offers every item at every time, as published protocols do."""
MAX_CELLS = 2**23
"""Most cells, queries x items or queries x history, that one batch may hold; bounds the memory of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class TestQueries:
    """The test queries of a split, Q of them, with their ground truth of T targets in all."""

    __test__ = False  # or pytest would collect it

    log: Dataset
    """The events from which histories are read."""
    user: Rows
    """(Q,) row of the user."""
    upto: Offsets
    """(Q,) number of events in the history, which are the user's first ones in `log`."""
    time: Times
    """(Q,) time of the query, seconds since 1970, UTC."""
    start: Offsets
    """(Q + 1,) the targets of query q are at start[q]:start[q + 1]."""
    item: Rows
    """(T,) relevant items, or rated items."""
    value: Scores
    """(T,) gains of the relevant items, or ratings."""
    candidates: Rows | None = None
    """(Q, C) the only items that may be recommended, padded with -1; None: the whole catalogue."""

    def __len__(self) -> int:
        return len(self.user)

    def targets(self, which: Offsets) -> tuple[Rows, Scores]:
        """Return the targets of the queries at these positions: items, padded with -1, and values, with nan; (B, R)."""
        count = self.start[which + 1] - self.start[which]
        column = np.arange(int(count.max(initial=0)))[None, :]
        real = column < count[:, None]
        source = (self.start[which][:, None] + column)[real]
        items = np.full(real.shape, -1, np.int32)
        values = np.full(real.shape, np.nan, np.float32)
        items[real], values[real] = self.item[source], self.value[source]
        return items, values

    def batches(self, size: int) -> Iterator[Offsets]:
        """Yield positions of at most `size` queries at a time, sorted by history length so that padding stays small."""
        order = np.argsort(self.upto, kind="stable")
        begin = 0
        while begin < len(order):
            end = min(begin + size, len(order))
            while end > begin + 1 and (end - begin) * int(self.upto[order[end - 1]]) > MAX_CELLS:
                end = begin + (end - begin) // 2
            yield order[begin:end]
            begin = end

    def queries(self, which: Offsets, k: int) -> Queries:
        """Return the queries at these positions, with k items requested."""
        return self.log.queries(self.user[which], k=k, time=self.time[which], upto=self.upto[which])


@dataclass(frozen=True, kw_only=True)
class ListQueries:
    """A batch of test queries for top-k lists, with their ground truth."""

    which: Offsets
    """(B,) positions among the test queries of the split."""
    queries: Queries
    relevant: Relevance


@dataclass(frozen=True, kw_only=True)
class RatingQueries:
    """A batch of test queries for rating prediction, with the true ratings."""

    which: Offsets
    """(B,) positions among the rating queries of the split."""
    queries: Queries
    items: Rows
    """(B, K) rated items, padded with -1."""
    actual: Scores
    """(B, K) true ratings, padded with nan."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One train/test split of a log, made by an evaluation protocol."""

    name: str
    """The protocol and its options, in words."""
    leakage: str | None
    """What train reveals that a deployed model could not know at the time of a test query; None: no leakage."""
    rules: dict[str, str] = field(default_factory=dict)
    """What the protocol means by relevant and seen, and how it chooses its test queries; by term."""
    train: Dataset
    test: Dataset
    """The held-out events."""
    test_queries: TestQueries
    """The queries for top-k lists."""
    rating_queries: TestQueries | None = None
    """The queries for rating prediction; None where the log has no ratings."""
    followed: Dataset | None = None
    """The log that components follow up to each query (`pasand.following`), where histories are live; None: they score
    from train alone."""
    available_from: Times | None = None
    """(N,) time from which each item is a candidate, as `Dataset.available_from`; None: all items always are."""
    n_unavailable: int = 0
    """Positives that no test query has as relevant, as their item was not available at the time of the query."""

    @cached_property
    def offered(self) -> Mask:
        """(N,) whether an item is a candidate of at least one test query; all are where the split has none."""
        if self.available_from is None or not len(self.test_queries):
            return np.ones(self.train.n_items, np.bool_)
        offered: Mask = self.available_from <= self.test_queries.time.max()
        return offered

    @cached_property
    def cold_items(self) -> Mask:
        """(N,) whether an item has no event in train; its features and events in histories do not matter."""
        cold: Mask = np.bincount(self.train.item, minlength=self.train.n_items) == 0
        return cold

    def only_cold_items(self, relevant: Relevance) -> Relevance:
        """Return the ground truth restricted to cold items; the catalogue stays whole."""
        cold = (relevant.items >= 0) & self.cold_items[relevant.items]
        return replace(relevant, items=np.where(cold, relevant.items, np.int32(-1)))

    def list_batches(self, k: int, size: int = 0) -> Iterator[ListQueries]:
        """Yield the test queries for lists of k items (0: the whole catalogue).

        A batch holds at most `size` queries; 0: a size that bounds memory. Items that are not available at the time of
        a query are not allowed. No relevant item is in the user's history, and the items of the history do not count
        as part of the catalogue.
        """
        n_items = self.train.n_items
        size = size or int(np.clip(MAX_CELLS // max(n_items, 1), 1, 1024))
        for which in self.test_queries.batches(size):
            queries = self.test_queries.queries(which, k or n_items)
            items, gains = self.test_queries.targets(which)
            catalogue = n_items - count_distinct(queries.history)
            allowed = self._available(queries.time)
            if allowed is not None:
                catalogue = allowed.sum(axis=1) - count_distinct(_allowed_only(queries.history, allowed))
                queries = replace(queries, allowed=allowed)
            if self.test_queries.candidates is not None:
                candidates = self.test_queries.candidates[which]
                allowed = allowed_mask(candidates, n_items)
                catalogue = allowed.sum(axis=1)
                queries = replace(queries, allowed=allowed, k=candidates.shape[1])
            relevant = Relevance(items=items, gains=gains, catalogue=catalogue.astype(np.int32))
            yield ListQueries(which=which, queries=queries, relevant=relevant)

    def _available(self, time: Times) -> Mask | None:
        """Return the items available at each time, (B, N), or (1, N) if all are the same; None: all items are."""
        if self.available_from is None or (len(time) and self.available_from.max(initial=0) <= time.min()):
            return None
        distinct = np.unique(time)
        available: Mask = self.available_from[None, :] <= (distinct if len(distinct) == 1 else time)[:, None]
        return available

    def rating_batches(self, size: int = 0) -> Iterator[RatingQueries]:
        """Yield the rating queries in batches of at most `size` (0: 1024); nothing where the log has no ratings."""
        if self.rating_queries is None:
            return
        for which in self.rating_queries.batches(size or 1024):
            items, actual = self.rating_queries.targets(which)
            yield RatingQueries(which=which, queries=self.rating_queries.queries(which, 1), items=items, actual=actual)


def count_distinct(rows: Rows) -> Rows:
    """Return the number of distinct items in each row, without padding; (B, H) -> (B,).

    >>> count_distinct(np.array([[-1, 3, 3], [1, 2, 3]], np.int32))
    array([1, 3], dtype=int32)
    """
    ordered = np.sort(rows, axis=1)
    new = np.ones(ordered.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts: Rows = (new & (ordered >= 0)).sum(axis=1).astype(np.int32)
    return counts


def _allowed_only(rows: Rows, allowed: Mask) -> Rows:
    """Return the rows, (B, H), with those that a mask, (1, N) or (B, N), does not allow replaced by -1."""
    query = np.arange(len(rows))[:, None] if len(allowed) > 1 else 0
    kept: Rows = np.where((rows >= 0) & allowed[query, rows], rows, np.int32(-1))
    return kept


def allowed_mask(rows: Rows, n_items: int) -> Mask:
    """Return the mask, (B, N), that allows only the listed items, (B, C) padded with -1."""
    mask = np.zeros((len(rows), n_items), np.bool_)
    query, column = np.nonzero(rows >= 0)
    mask[query, rows[query, column]] = True
    return mask


def grouped_by_query(query: Offsets, items: Rows, values: Scores, n_queries: int) -> tuple[Offsets, Rows, Scores]:
    """Return `start`, `item` and `value` of `TestQueries` from targets, (T,), and the query of each, (T,)."""
    order = np.argsort(query, kind="stable")
    start = np.zeros(n_queries + 1, np.int64)
    np.cumsum(np.bincount(query, minlength=n_queries), out=start[1:])
    return start, items[order], values[order]


def first_interactions(data: Dataset) -> Mask:
    """Return whether an event is its user's first with that item; (E,)."""
    order = data.by_user.event
    keys = data.user[order].astype(np.int64) * max(data.n_items, 1) + data.item[order]
    first = np.zeros(len(data), np.bool_)
    first[order[np.unique(keys, return_index=True)[1]]] = True
    return first


def hidden_positives(data: Dataset, hidden: Mask) -> Offsets:
    """Return the hidden positives, each user-item pair once, without pairs that also have a visible event."""
    keys = data.user.astype(np.int64) * max(data.n_items, 1) + data.item
    event = np.flatnonzero(hidden & data.is_positive)
    event = event[~np.isin(keys[event], keys[~hidden])]
    chosen: Offsets = np.sort(event[np.unique(keys[event], return_index=True)[1]])
    return chosen


def hidden_ratings(data: Dataset, hidden: Mask) -> Offsets | None:
    """Return the hidden events with a rating; None where the log has no ratings."""
    if data.values != "rating" or data.value is None:
        return None
    return np.flatnonzero(hidden & np.isfinite(data.value))


def event_positions(data: Dataset) -> Offsets:
    """Return the position of each event in its user's history, from 0; (E,)."""
    histories = data.by_user
    position = np.empty(len(data), np.int64)
    position[histories.event] = np.arange(len(data)) - histories.start[data.user[histories.event]]
    return position


def n_earlier_events(data: Dataset) -> Offsets:
    """Return the number of strictly earlier events of the same user, for each event; (E,)."""
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
