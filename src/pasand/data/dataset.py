"""`Dataset`: interactions of users and items in columns, ordered by time, with features and impressions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import polars as pl
from numba import njit

from pasand.data.encoding.cells import as_values
from pasand.data.encodings import Encoding
from pasand.data.features import AVAILABLE_FROM, TIME_UNKNOWN, Feature, Features
from pasand.data.impressions import Impressions
from pasand.data.search import CatalogueSearch
from pasand.data.vocabulary import Vocabulary
from pasand.types import Array, Mask, Offsets, Queries, Rows, Scores, Times

if TYPE_CHECKING:
    from scipy import sparse

Values: TypeAlias = Literal["rating", "strength", "none"]
Order: TypeAlias = Literal["time", "sequence", "none"]

NO_TITLE = 5
"""Rank of a text feature that is no title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """The events grouped by user, oldest first: user u has the events start[u]:start[u + 1]."""

    start: Offsets
    """(U + 1,)"""
    event: Offsets
    """(E,) position of each event in the dataset's columns."""
    item: Rows
    """(E,)"""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A log in columns, ordered by time. Events with the same timestamp keep the order of the log."""

    name: str
    """Name of the data in reports and messages."""
    users: Vocabulary
    items: Vocabulary
    user: Rows
    """(E,) row of each event's user."""
    item: Rows
    """(E,) row of each event's item."""
    time: Times
    """(E,) seconds since 1970, UTC, non-decreasing; all 0 where `order` is not "time"."""
    value: Scores | None = None
    """(E,) rating or strength; None where the log has none."""
    values: Values = "none"
    """Meaning of `value`: a rating on a scale, the strength of an event (plays, seconds, amount), or none."""
    order: Order = "time"
    """Meaning of the order of events: time, only the sequence within each user, or none."""
    positive_from: float = -np.inf
    """An event is positive if its value is at least this, or if it has no value."""
    user_features: Features = field(default_factory=dict)
    item_features: Features = field(default_factory=dict)
    columns: Mapping[str, Array] = field(default_factory=dict)
    """(E,) further numbers about each event, such as watched seconds or the position shown."""
    notes: tuple[str, ...] = ()
    """Sentences about how the source was read: the meaning of each column, and the rows dropped and why."""
    impressions: Impressions | None = None
    """Items shown, clicked or not, over the period of the events; None: not known, or removed by a split."""
    first_seen: Times | None = None
    """(N,) time of each item's first event or impression in the whole log, of which this may be a part; `TIME_UNKNOWN`
    where it has none. None: this is the whole log."""
    encodings: tuple[Encoding, ...] = ()
    """How item features of kind vector were computed from texts and files, for items that are added later."""

    def __post_init__(self) -> None:
        for column in (self.item, self.time, self.value, *self.columns.values()):
            if column is not None and len(column) != len(self.user):
                raise ValueError(f"columns must have one length, got {len(self.user)} and {len(column)}")
        shown = self.impressions
        if shown is not None and not (
            shown.user.max(initial=-1) < self.n_users and shown.item.max(initial=-1) < self.n_items
        ):
            raise ValueError("impressions must be of users and items in the vocabularies")
        if self.first_seen is not None and len(self.first_seen) != self.n_items:
            raise ValueError(f"first_seen must have a time for each of {self.n_items} items")

    def __repr__(self) -> str:
        return f"<dataset {self.name}: {len(self):,} events of {self.n_users:,} users and {self.n_items:,} items>"

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of users in the vocabulary, with or without events."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the vocabulary, with or without events."""
        return len(self.items)

    @cached_property
    def is_positive(self) -> Mask:
        """(E,) whether each event is positive."""
        if self.value is None:
            return np.ones(len(self), np.bool_)
        return ~(self.value < np.float32(self.positive_from))

    @cached_property
    def available_from(self) -> Times:
        """(N,) time from which each item can be recommended, seconds since 1970, UTC; `TIME_UNKNOWN` is always.

        It is the item feature `available_from`, of kind time, where that is known. Any other item is known to be in the
        catalogue from one second after its first event or impression in the whole log: a query finds it once another
        user did, and not because it is new. An item without release, event and impression has always been in the
        catalogue, as its source lists it; so has every item of a log without times.
        """
        first = self._first_seen
        after = np.where(first == TIME_UNKNOWN, TIME_UNKNOWN, first + 1)
        release = self.item_features.get(AVAILABLE_FROM)
        if self.order != "time":
            return np.full(self.n_items, TIME_UNKNOWN)
        if release is None or release.kind != "time":
            return after
        known = release.take(np.arange(self.n_items, dtype=np.int32))
        return np.where(known == TIME_UNKNOWN, after, known)

    @property
    def seen_from(self) -> Times:
        """(N,) time of each item's first event or impression in the whole log; `TIME_UNKNOWN` where it has none."""
        return self._first_seen

    @cached_property
    def _first_seen(self) -> Times:
        if self.first_seen is not None:
            return self.first_seen
        never = np.iinfo(np.int64).max
        first: Times = np.full(self.n_items, never)
        np.minimum.at(first, self.item, self.time)
        if self.impressions is not None:
            np.minimum.at(first, self.impressions.item, self.impressions.time)
        first[first == never] = TIME_UNKNOWN
        return first

    @cached_property
    def known_items(self) -> Mask:
        """(N,) whether an item has an event here or was available just after the last one; all are without any event.

        Encoders, vocabularies and scales of features are learnt from these items, so that nothing later is in them.
        """
        if not len(self):
            return np.ones(self.n_items, np.bool_)
        known: Mask = self.available_from <= int(self.time[-1]) + 1
        known[self.item] = True
        return known

    @cached_property
    def by_user(self) -> Histories:
        """The events grouped by user, oldest first."""
        count = len(self.user)
        event = (
            np.sort((self.user.astype(np.int64) << 32) | np.arange(count)) & 0xFFFF_FFFF
        )  # faster than a stable sort
        start = np.zeros(self.n_users + 1, np.int64)
        np.cumsum(np.bincount(self.user, minlength=self.n_users), out=start[1:])
        return Histories(start=start, event=event, item=self.item[event])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of ids, events and impressions, hexadecimal; equal for equal data, whatever the file format."""
        digest = hashlib.sha256()
        for vocabulary in (self.users, self.items):
            digest.update("\0".join(vocabulary.series.to_list()).encode())
        for column in (self.user, self.item, self.time, self.value):
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        if self.impressions is not None:
            digest.update(self.impressions.fingerprint.encode())
        return digest.hexdigest()

    def title(self, row: int) -> str:
        """Return an item's title, from the text feature that `_titles` finds; "" if it has none."""
        feature = self._titles
        return "" if feature is None else feature.show(row)

    @cached_property
    def _titles(self) -> Feature | None:
        """The text feature "title", else "name", else the first whose name ends so, else the first without amounts."""
        ranks = {name: _title_rank(name, one) for name, one in self.item_features.items() if one.kind == "text"}
        best = min(ranks, key=lambda name: ranks[name], default="")
        return self.item_features[best] if ranks.get(best, NO_TITLE) < NO_TITLE else None

    def search(self, text: str) -> Rows:
        """Return the items that have the words of a text in title, names or year, (n,), best first.

        Spellings and scripts may differ; see `CatalogueSearch.find`.
        """
        return self._search.find(text)

    @cached_property
    def _search(self) -> CatalogueSearch:
        titles = self._titles
        texts = [""] * self.n_items if titles is None else titles.values.tolist()
        return CatalogueSearch(texts, self.item_features)

    def with_items(self, ids: Iterable[str | int], features: Features) -> Dataset:
        """Return the data with items appended to the catalogue, which have no events yet.

        `features` have a row for each id, coded as in `item_features`. A feature that is not given is missing for the
        new items, and one that is not in `item_features` is ignored. Raises ValueError for an id that exists already.
        """
        items = self.items.appended(ids)
        n_new = len(items) - len(self.items)
        extended = {name: feature.extended(features.get(name), n_new) for name, feature in self.item_features.items()}
        first_seen = self.first_seen
        if first_seen is not None:
            first_seen = np.append(first_seen, np.full(n_new, TIME_UNKNOWN))
        return replace(self, items=items, item_features=extended, first_seen=first_seen)

    def select(self, which: Mask | Offsets | slice, *, impressions: Impressions | None = None) -> Dataset:
        """Return the chosen events, given in order of time, with all of the vocabularies, features and `first_seen`.

        The impressions are those that are passed in: the clicks of the others would reveal the events left out.
        """
        return replace(
            self,
            impressions=impressions,
            first_seen=self._first_seen,
            user=self.user[which],
            item=self.item[which],
            time=self.time[which],
            value=None if self.value is None else self.value[which],
            columns={name: column[which] for name, column in self.columns.items()},
        )

    def positives(self) -> Dataset:
        """Return the positive events only, with all impressions."""
        return self if self.is_positive.all() else self.select(self.is_positive, impressions=self.impressions)

    def before(self, time: int) -> Dataset:
        """Return the events and the impressions strictly before a time; see `impressions_before`."""
        return self.select(slice(0, int(np.searchsorted(self.time, time))), impressions=self.impressions_before(time))

    def impressions_before(self, time: int | Times) -> Impressions | None:
        """Return the impressions before a time, or before a time of each user, (U,), without leakage of later clicks.

        An item shown before that time and clicked only later (the user's first event with the item is at that time or
        after it) is left out, as its `clicked` would leak the future. None: there are no impressions, or the log has
        no timestamps.
        """
        if self.impressions is None or self.order != "time":
            return None
        shown = self.impressions.before(time)
        later = self.time >= (time[self.user] if isinstance(time, np.ndarray) and time.ndim else time)
        if not later.any():
            return shown
        n_items = max(self.n_items, 1)
        events = self.user.astype(np.int64) * n_items + self.item
        pairs = shown.user.astype(np.int64) * n_items + shown.item
        leaking = shown.clicked & np.isin(pairs, np.setdiff1d(events[later], events[~later]))
        return shown.select(~leaking) if leaking.any() else shown

    def matrix(self) -> sparse.csr_array:
        """Return the interaction matrix, (U, N) float32: 1 where a user has a positive event with an item."""
        from scipy import sparse  # slow to import, and not needed for serving

        positives = self.positives()
        ones = np.ones(len(positives), np.float32)
        matrix = sparse.csr_array((ones, (positives.user, positives.item)), shape=(self.n_users, self.n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def queries(
        self,
        users: Rows,
        *,
        k: int,
        time: Times | None = None,
        upto: Offsets | None = None,
        features: Mapping[str, Array] | None = None,
    ) -> Queries:
        """Return queries of users, with the histories that they have in these events.

        `time` (B,) is the time of each query; None: one second after the last event. `upto` (B,) is the number of
        events of each history to keep, from the oldest, which is how a live evaluation rolls forward; None: all. User
        -1 has no history. `features` replaces the user features of the dataset.
        """
        grouped = self.by_user
        history, times, values = _histories(
            np.asarray(users, np.int32),
            grouped.start,
            grouped.event,
            self.item,
            self.time,
            np.empty(0, np.float32) if self.value is None else self.value,
            np.empty(0, np.int64) if upto is None else np.asarray(upto, np.int64),
        )
        if time is None:
            last = int(self.time[-1]) if len(self) else 0
            time = np.full(len(users), last + 1, np.int64)
        if features is None:
            features = {name: feature.take(users) for name, feature in self.user_features.items()}
        return Queries(
            users=users,
            history=history,
            history_time=times,
            history_value=values,
            time=time,
            features=features,
            k=k,
        )


def _title_rank(name: str, feature: Feature) -> int:
    """Return how little a text feature suits as the title, from 0 on; `NO_TITLE` for one of amounts of money.

    Of its name only letters and digits are compared: "Product_Name" ends in "name".
    """
    spelling = "".join(filter(str.isalnum, name.lower()))
    words = ("title", "name")
    if spelling in words:
        return words.index(spelling)
    if spelling.endswith(words):
        return 2 if spelling.endswith("title") else 3
    texts = pl.Series([text for text in feature.values[:1_000].tolist() if text.strip()], dtype=pl.String)
    return NO_TITLE if 2 * as_values(texts).count() > len(texts) else 4


@njit(cache=True, nogil=True)
def _histories(
    users: Rows, start: Offsets, events: Array, item: Rows, time: Times, value: Scores, upto: Offsets
) -> tuple[Rows, Times, Scores]:
    """Return items, times and values of the users' events, (B, H) each, left-padded.

    `value` is empty where events have none. `upto` (B,) is the number of events of each history to keep, from the
    oldest; empty: all.
    """
    count, longest = np.zeros(len(users), np.int64), 0
    for b in range(len(users)):
        if 0 <= users[b] < len(start) - 1:
            count[b] = start[users[b] + 1] - start[users[b]]
            if len(upto):
                count[b] = min(count[b], upto[b])
        longest = max(longest, count[b])
    items, times = np.full((len(users), longest), -1, np.int32), np.zeros((len(users), longest), np.int64)
    values = np.full((len(users), longest), np.nan, np.float32)
    for b in range(len(users)):
        for h in range(count[b]):
            event, at = events[start[users[b]] + h], longest - count[b] + h
            items[b, at], times[b, at] = item[event], time[event]
            if len(value):
                values[b, at] = value[event]
    return items, times, values
