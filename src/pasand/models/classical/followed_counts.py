"""Counts of events strictly before any time, by which popularity follows a log without being fitted again.

A batch of queries is sorted by time. The events before the first are counted once, then the counts roll forward from
query to query, and the next batch goes on from there if no event lies between. The same events give the same scores,
bit for bit, in an evaluation and in a server that received them one by one: sums of weights are exact, as weights are
multiples of `UNIT`, and decayed weights, whose sums are not, enter in the order of time.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pasand.features.inherited import Inherited, left
from pasand.growable import extended
from pasand.types import Array, Offsets, Rows, Scores, Times

DAY = 86_400
UNIT = 2.0**-26
"""Weights are multiples of this, so that their sums are exact up to 2 ** 27."""
MAX_SHIFT = 500
"""Half-lives after which decayed counts are rescaled, so that no weight overflows."""


@dataclass(kw_only=True)
class FollowedCounts:
    """Scores items by the events strictly before each query; `Popularity` defines the scores.

    Memory is the events, and counts of (1 + segments) x N.
    """

    n_items: int
    n_segments: int
    window_days: float | None
    half_life_days: float | None
    shrinkage: float
    segment: Rows
    """(T,) segments of the users, each once, user by user."""
    start: Offsets
    """(U + 1,) user u is in segment[start[u]:start[u + 1]]; users beyond U are in none."""
    time: Times = field(default_factory=lambda: np.empty(0, np.int64))
    """(E,) seconds since 1970, non-decreasing."""
    item: Rows = field(default_factory=lambda: np.empty(0, np.int32))
    """(E,)"""
    weight: Scores = field(default_factory=lambda: np.empty(0, np.float32))
    """(E,), or (0,) where every event weighs 1."""
    user: Rows = field(default_factory=lambda: np.empty(0, np.int32))
    """(E,), or (0,) without segments."""
    inherited: Inherited = field(default_factory=Inherited)
    """What items inherit from similar ones."""
    _base: _Counts | None = field(default=None, init=False, repr=False)
    """Counts of the events that are no longer held."""
    _counts: _Counts | None = field(default=None, init=False, repr=False)
    """Counts up to the last query."""
    _of_all: tuple[int, Scores] = field(default=(0, np.empty(0, np.float32)), init=False, repr=False)
    """Time of the last queries of the whole catalogue without segments, and their scores, (N,); empty: none."""

    def add(self, time: Times, item: Rows, user: Rows, weight: Scores | None) -> None:
        """Add events in any order of time; events with an item outside of the N are left out.

        An event earlier than the last query is counted at once, so that with a half-life the order of the sums, and the
        last bit of a score, may differ from those of events that come in order.
        """
        self._of_all = 0, np.empty(0, np.float32)
        known = (item >= 0) & (item < self.n_items)
        order = np.flatnonzero(known)[np.argsort(time[known], kind="stable")]
        if not len(order):
            return
        time, item = time[order], item[order].astype(np.int32)
        user = user[order].astype(np.int32) if self.n_segments else np.empty(0, np.int32)
        weight = (
            np.empty(0, np.float32) if weight is None else (np.round(weight[order] / UNIT) * UNIT).astype(np.float32)
        )
        if self._counts is not None:
            new = (time, item, user, weight, self.segment, self.start)
            _count_late(new, self._counts.arrays, *self._seconds())
        if not len(self.time):
            self.time, self.item, self.user, self.weight = time, item, user, weight
        else:
            first = int(np.searchsorted(self.time, time[0], side="right"))
            is_late = first < len(self.time)
            self.time, self.item = extended(self.time, time), extended(self.item, item)
            self.user, self.weight = extended(self.user, user), extended(self.weight, weight)
            if is_late:
                order = first + np.argsort(self.time[first:], kind="stable")
                for column in (self.time, self.item, self.user, self.weight):
                    if len(column):
                        column[first:] = column[order]

    def add_items(self, inherited: Inherited) -> None:
        """Append items without events; `inherited` is of all items then, so that its length is their number."""
        more = len(inherited.count) - self.n_items
        for counts in (self._base, self._counts):
            if counts is not None:
                counts.widen(more)
        self.n_items, self.inherited, self._of_all = self.n_items + more, inherited, (0, np.empty(0, np.float32))

    def compact(self) -> None:
        """Hold only the events that queries after the last event need; earlier queries are scored as at its time."""
        if not len(self.time):
            return
        start = self._base
        self.scores(self.time[-1:] + 1, np.empty((1, 0), np.int32), np.empty((1, 0), np.int32))
        assert self._counts is not None
        base, n = self._counts, int(self._counts.cursors[0])
        if self.window_days is not None:  # what is in the window enters again
            n = int(base.cursors[1])
            base = copy.deepcopy(start) if start is not None else self._empty()
            weight = self.weight[:n].astype(np.float64) if len(self.weight) else np.ones(n)
            np.add.at(base.all_time, self.item[:n], weight)
            base.totals[-1] = np.cumsum(np.append(base.totals[-1], weight))[-1]
        base.cursors[:2], base.cursors[3] = 0, np.iinfo(np.int64).min
        self.time, self.item = self.time[n:].copy(), self.item[n:].copy()
        self.user, self.weight = self.user[n:].copy(), self.weight[n:].copy()
        self._base, self._counts = base, None
        none = (self.time[:0], self.item[:0], self.user[:0], self.weight[:0], self.segment, self.start)
        _count_late(none, base.arrays, *self._seconds())  # compiles it before a late event comes

    def scores(self, times: Times, items: Rows | None, segments: Rows) -> Scores:
        """Return the score of each item for each query at its time; (B,), (B, K), (B, M) -> (B, K), or (B, N).

        Queries of one time, as a server makes in a second, share the scores of the whole catalogue.
        """
        if items is None and len(times) and (times == times[0]).all() and not (segments >= 0).any():
            time, share = self._of_all
            if not len(share) or time != times[0]:
                share = self._scores(times[:1], None, segments[:1])[0]
                self._of_all = int(times[0]), share
            return np.tile(share, (len(times), 1))
        return self._scores(times, items, segments)

    def _scores(self, times: Times, items: Rows | None, segments: Rows) -> Scores:
        times = np.ascontiguousarray(times)
        order = np.argsort(times, kind="stable")
        if self._counts is None or (len(times) and not self._holds_at(int(times[order[0]]))):
            self._counts = self._empty() if self._base is None else copy.deepcopy(self._base)
        out = np.empty((len(times), self.n_items) if items is None else items.shape, np.float32)
        _score(
            order,
            times,
            np.empty((len(times), 0), np.int32) if items is None else np.ascontiguousarray(items),
            items is None,
            np.ascontiguousarray(segments),
            (self.time, self.item, self.user, self.weight, self.segment, self.start),
            self._counts.arrays,
            *self._seconds(),
            self.shrinkage,
            (self.inherited.count, self.inherited.since),
            (self.inherited.strength, self.inherited.half_life_days * DAY),
            out,
        )
        return out

    def _seconds(self) -> tuple[int, float]:
        """Return window and half-life in seconds, 0 for none."""
        window = math.ceil(self.window_days * DAY) if self.window_days is not None else 0
        return window, float(self.half_life_days or 0) * DAY

    def _holds_at(self, time: int) -> bool:
        """Return whether the counts can roll forward from where they are to this time."""
        assert self._counts is not None
        entered, left = self._counts.cursors[:2].tolist()
        window, _ = self._seconds()
        return (not entered or bool(self.time[entered - 1] < time)) and (
            not left or bool(time - self.time[left - 1] >= window)
        )

    def _empty(self) -> _Counts:
        rows, is_recent = 1 + self.n_segments, self.window_days is not None or self.half_life_days is not None
        return _Counts(
            all_time=np.zeros(self.n_items if is_recent else 0),
            weight=np.zeros((rows, self.n_items)),
            number=np.zeros((rows, self.n_items if self.window_days is not None else 0), np.int32),
            totals=np.zeros(1 + rows),
            n=np.zeros(rows, np.int64),
            cursors=np.array([0, 0, 0, np.iinfo(np.int64).min]),
        )


@dataclass
class _Counts:
    """Counts up to a time; row 0 is of all users, the others of the segments."""

    all_time: NDArray[np.float64]
    """(N,) weights of all events so far; (0,) where `weight` holds them."""
    weight: NDArray[np.float64]
    """(1 + S, N) weights, decayed and within the window, times 2 ** shift."""
    number: NDArray[np.int32]
    """(1 + S, N) events within the window; (1 + S, 0) without a window."""
    totals: NDArray[np.float64]
    """(1 + S + 1,) sums of the rows of `weight`, then that of `all_time`."""
    n: Offsets
    """(1 + S,) sums of the rows of `number`."""
    cursors: Offsets
    """(4,) next event, oldest event within the window, shift in half-lives, and time of the latest query."""

    def widen(self, more: int) -> None:
        """Append this number of items without events."""
        self.all_time = np.append(self.all_time, np.zeros(more if len(self.all_time) else 0))
        self.weight = np.pad(self.weight, ((0, 0), (0, more)))
        self.number = np.pad(self.number, ((0, 0), (0, more if self.number.shape[1] else 0)))

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All arrays, in the order above."""
        return self.all_time, self.weight, self.number, self.totals, self.n, self.cursors


@njit(cache=True, nogil=True)
def _score(
    order: Offsets,
    times: Times,
    items: Rows,
    catalogue: bool,
    segments: Rows,
    events: tuple[Array, ...],
    counts: tuple[Array, ...],
    window: int,
    half_life: float,
    shrinkage: float,
    inherited: tuple[Array, Array],
    decay: tuple[float, float],
    out: Scores,
) -> None:
    """Write the scores of each query; `window` and `half_life` are in seconds, 0: none."""
    inherits = len(inherited[0]) > 0
    all_time, weight, _, totals, _, cursors = counts
    n_items, is_recent = weight.shape[1], window > 0 or half_life > 0
    share, mean = np.empty(n_items), np.empty(n_items)
    for b in order:
        _advance(times[b], events, counts, window, half_life)
        scale = 1.0
        if half_life > 0 and totals[-1] > 0:
            age = times[b] / half_life
            whole = math.floor(age)
            scale = math.ldexp(2.0 ** (whole - age), _bounded(cursors[2] - whole))
        n_segments = 0
        for m in range(segments.shape[1]):
            n_segments += segments[b, m] >= 0
        if catalogue:
            _of_all(all_time if is_recent else weight[0], weight[0], totals, scale, is_recent, share)
            if inherits and totals[-1] > 0:
                n_all = totals[0] * scale + 1.0 if is_recent else totals[-1]
                for i in range(n_items):
                    own = all_time[i] if is_recent else weight[0, i]
                    share[i] += left(i, own, times[b], inherited, decay) / n_all
            if not n_segments:
                for i in range(n_items):
                    out[b, i] = share[i]
                continue
            for i in range(n_items):
                mean[i] = 0.0
            for m in range(segments.shape[1]):
                if segments[b, m] >= 0:
                    row = 1 + segments[b, m]
                    total = totals[row] * scale + shrinkage
                    for i in range(n_items):
                        mean[i] += (weight[row, i] * scale + shrinkage * share[i]) / total
            for i in range(n_items):
                out[b, i] = mean[i] / n_segments
            continue
        for k in range(items.shape[1]):
            i = items[b, k]
            if i < 0:
                out[b, k] = -np.inf
                continue
            one = 1.0 / n_items
            if totals[-1] > 0:
                one = (all_time[i] if is_recent else weight[0, i]) / totals[-1]
            if is_recent:
                one = (weight[0, i] * scale + one) / (totals[0] * scale + 1.0)
            if inherits and totals[-1] > 0:
                n_all = totals[0] * scale + 1.0 if is_recent else totals[-1]
                one += left(i, all_time[i] if is_recent else weight[0, i], times[b], inherited, decay) / n_all
            if n_segments:
                of_segments = 0.0
                for m in range(segments.shape[1]):
                    if segments[b, m] >= 0:
                        row = 1 + segments[b, m]
                        of_segments += (weight[row, i] * scale + shrinkage * one) / (totals[row] * scale + shrinkage)
                one = of_segments / n_segments
            out[b, k] = one


@njit(cache=True, nogil=True)
def _of_all(
    all_time: NDArray[np.float64],
    recent: NDArray[np.float64],
    totals: NDArray[np.float64],
    scale: float,
    is_recent: bool,
    share: NDArray[np.float64],
) -> None:
    """Write the shares of all items among all users, (N,); its loops have no branches."""
    n_items, total, recent_total = len(recent), totals[-1], totals[0] * scale + 1.0
    for i in range(n_items):
        share[i] = 1.0 / n_items
    if total > 0:
        for i in range(n_items):
            share[i] = all_time[i] / total
    if is_recent:
        for i in range(n_items):
            share[i] = (recent[i] * scale + share[i]) / recent_total


@njit(cache=True, nogil=True)
def _advance(until: int, events: tuple[Array, ...], counts: tuple[Array, ...], window: int, half_life: float) -> None:
    """Count the events before a time, and take out those that have left the window by then.

    Before an event enters, those leave that are too old at its time: the order does not depend on the queries.
    """
    time, cursors = events[0], counts[5]
    while cursors[0] < len(time) and time[cursors[0]] < until:
        if window > 0:
            _expire(time[cursors[0]], events, counts, window, half_life)
        _enter(cursors[0], events, counts, window, half_life, True)
        cursors[0] += 1
    if window > 0:
        _expire(until, events, counts, window, half_life)
    cursors[3] = max(cursors[3], until)


@njit(cache=True, nogil=True)
def _count_late(events: tuple[Array, ...], counts: tuple[Array, ...], window: int, half_life: float) -> None:
    """Count those of some new events that are earlier than the latest query, as if they had come in time."""
    time, cursors = events[0], counts[5]
    for e in range(len(time)):
        if time[e] >= cursors[3]:
            break
        is_recent = window == 0 or cursors[3] - time[e] < window
        _enter(e, events, counts, window, half_life, is_recent)
        cursors[0] += 1
        cursors[1] += not is_recent


@njit(inline="always")  # a call would count references to all arrays
def _enter(
    e: int, events: tuple[Array, ...], counts: tuple[Array, ...], window: int, half_life: float, is_recent: bool
) -> None:
    """Add an event to the counts of all time and, if it is recent, to those of the window."""
    time, item, user, weights, segment, start = events
    all_time, weight, number, totals, n, cursors = counts
    plain = float(weights[e]) if len(weights) else 1.0
    w = plain
    if half_life > 0:
        whole = math.floor(time[e] / half_life)
        if totals[-1] == 0:
            cursors[2] = whole
        elif whole - cursors[2] > MAX_SHIFT:
            factor = math.ldexp(1.0, _bounded(cursors[2] - whole))
            for row in range(len(weight)):
                totals[row] *= factor
                for i in range(weight.shape[1]):
                    weight[row, i] *= factor
            cursors[2] = whole
        w = _decayed(plain, time[e], half_life, cursors[2])
    totals[-1] += plain
    if len(all_time):
        all_time[item[e]] += plain
    if not is_recent:
        return
    first, last = _members(e, user, start)
    for m in range(first - 1, last):
        row = 0 if m < first else 1 + segment[m]
        weight[row, item[e]] += w
        totals[row] += w
        if window > 0:
            number[row, item[e]] += 1
            n[row] += 1


@njit(inline="always")  # a call would count references to all arrays
def _expire(now: int, events: tuple[Array, ...], counts: tuple[Array, ...], window: int, half_life: float) -> None:
    """Take out the counted events that are at least `window` seconds old; what has no event left is exactly 0."""
    time, item, user, weights, segment, start = events
    _, weight, number, totals, n, cursors = counts
    while cursors[1] < cursors[0] and now - time[cursors[1]] >= window:
        e = cursors[1]
        w = float(weights[e]) if len(weights) else 1.0
        if half_life > 0:
            w = _decayed(w, time[e], half_life, cursors[2])
        first, last = _members(e, user, start)
        for m in range(first - 1, last):
            row = 0 if m < first else 1 + segment[m]
            number[row, item[e]] -= 1
            n[row] -= 1
            weight[row, item[e]] = weight[row, item[e]] - w if number[row, item[e]] else 0.0
            totals[row] = totals[row] - w if n[row] else 0.0
        cursors[1] = e + 1


@njit(inline="always")  # a call would count references to all arrays
def _members(event: int, user: Rows, start: Offsets) -> tuple[int, int]:
    """Return where the segments of an event's user begin and end."""
    if len(user) == 0 or user[event] < 0 or user[event] >= len(start) - 1:
        return 0, 0
    return start[user[event]], start[user[event] + 1]


@njit(cache=True, nogil=True)
def _decayed(weight: float, time: int, half_life: float, shift: int) -> float:
    """Return weight * 2 ** (time / half_life - shift); a weight of many half-lives ago is 0."""
    age = time / half_life
    whole = math.floor(age)
    return math.ldexp(weight * 2.0 ** (age - whole), _bounded(whole - shift))


@njit(cache=True, nogil=True)
def _bounded(exponent: int) -> int:
    """Return an exponent that fits into 32 bits; beyond +-1100 a double is 0 or infinite anyway."""
    return max(-1100, min(1100, int(exponent)))
