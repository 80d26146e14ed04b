"""Reads requests and items as `signals` says: the inputs of a ranker's network. Plain arrays, no torch."""

from __future__ import annotations

from copy import copy

import numpy as np
from numba import njit

from pasand.data.features import TIME_UNKNOWN
from pasand.features import encoding, predicted_ratings, ranking_statistics
from pasand.features.encoding import FARTHEST
from pasand.features.ranking_statistics import BASE, DAY, RATED, SHRINKAGE, WINDOW
from pasand.growable import extended
from pasand.types import Array, Arrays, Queries, Rows

_AGE, _POPULAR, _RECENT, _LENGTH, _AGAIN, _SHOWN = range(len(BASE))
_DAY, _WINDOW, _SHRINKAGE, _FARTHEST = DAY, WINDOW, SHRINKAGE, np.float32(FARTHEST)


CODES = 4
"""Numbers told of an item before its categories: day and second when it came, likings, likings of late."""
NEVER = np.int32(-(2**31))
"""The day of items of which it is not known when they came."""


class RankingFeatures:
    """Reads what a network is given, out of what `ranking_statistics.learn` learnt; once that changes, make another."""

    def __init__(self, learnt: Arrays) -> None:
        """Arrange what was learnt for reading."""
        self.learnt, self.n_items = learnt, len(learnt["known"])
        self.names, self.parts = ranking_statistics.names(learnt), ranking_statistics.parts(learnt)
        self._ids, self._length = bool(learnt["ids"][0]), int(learnt["history_length"][0])
        self._positive_from = float(learnt["positive_from"][0])
        self._rated = "rated_day" in learnt
        self._last_day = int(learnt["last_day"][0])
        self._shared = [name.removeprefix("since.") for name in self.names if name.startswith("since.")]
        self._border = CODES + np.cumsum([0, *(learnt[f"shared.{name}"].shape[1] for name in self._shared)])
        self._n_codes = sum(len(learnt[f"item_codes.{name}"]) for name in self._shared)
        self._about = self._rows(learnt, 0)
        mean, spread = learnt["scale"].astype(np.float32)
        self._scale = (np.ascontiguousarray(mean), np.ascontiguousarray(spread))
        empty = np.empty(0)
        self._ratings = (
            learnt.get("rated_day", empty.astype(np.int32)),
            learnt.get("rated_sum", empty),
            learnt.get("rated_start", empty.astype(np.int64)),
            learnt.get("mean_day", empty.astype(np.int32)),
            learnt.get("mean", empty),
        )

    def grown(self, learnt: Arrays) -> RankingFeatures:
        """Return a reader of what `ranking_statistics.grown` made of what this one reads; only the new items are arranged."""
        more = copy(self)
        more.learnt, more.n_items = learnt, len(learnt["known"])
        more._about = extended(self._about, self._rows(learnt, self.n_items))
        return more

    def _rows(self, learnt: Arrays, begin: int) -> Rows:
        """Return all that is known of items from a row on, side by side, so that an item is one place in memory."""
        available, likings = learnt["available"][begin:], learnt["liked_start"][begin:]
        about, codes = np.empty((len(available), self._border[-1]), np.int32), 0
        day, second = np.divmod(available, DAY)
        about[:, 0], about[:, 1] = np.where(available == TIME_UNKNOWN, NEVER, day), second
        about[:, 2:CODES] = _lately(learnt["liked_day"], likings, self._last_day + 1).view(np.int32)
        for n, name in enumerate(self._shared):
            table = learnt[f"shared.{name}"][begin:]
            about[:, self._border[n] : self._border[n + 1]] = np.where(table >= 0, table + codes, -1)
            codes += len(learnt[f"item_codes.{name}"])  # those of all features count on
        return about

    def of_queries(self, queries: Queries) -> dict[str, Array]:
        """Return the inputs that every pair of a query shares, (B, ...) each."""
        told = encoding.read("user", self.learnt, queries.features, len(queries))
        if self._ids:
            told["user"] = encoding.codes_of(queries.users, self.learnt["user_code"])[:, None]
        if self._length:
            told["history"] = encoding.recent(
                queries.liked(self._positive_from), self.learnt["item_code"], self._length
            )
        return told

    def of_items(self, rows: Rows) -> dict[str, Array]:
        """Return the inputs that every pair of an item shares, (n, ...) each."""
        return ranking_statistics.of_items(self.learnt, rows)

    def of_pairs(self, queries: Queries, items: Rows) -> Array:
        """Return the numbers of each pair, standardised, 0 where not known; (B, K) -> (B * K, F) float32."""
        return self._numbers(queries, items, True)

    def raw(self, queries: Queries, items: Rows) -> Array:
        """Return the numbers of each pair as they are, nan where not known; (B, K) -> (B * K, F) float32."""
        return self._numbers(queries, items, False)

    def _numbers(self, queries: Queries, items: Rows, standard: bool) -> Array:
        shown = queries.features.get("shown_not_clicked")
        shown = np.empty((len(queries), 0), np.int32) if shown is None else np.asarray(shown, np.int32)
        out = np.empty((items.size, len(self.names)), np.float32)
        history = np.ascontiguousarray(queries.history, np.int32)
        times = np.ascontiguousarray(queries.history_time, np.int64)
        numbers, told = out.reshape(*items.shape, -1), np.empty(history.shape, np.float32)
        items = np.ascontiguousarray(items, np.int32)
        _base(
            items,
            history,
            times,
            queries.time,
            np.ascontiguousarray(shown),
            self._about,
            self.learnt["liked_day"],
            self.learnt["liked_start"],
            self._last_day,
            numbers,
        )
        if self._rated:
            values = np.ascontiguousarray(queries.history_value, np.float32)
            _rated(items, history, values, queries.time, *self._ratings, numbers, told)
        if self._n_codes:
            _categories(
                items,
                history,
                times,
                queries.time,
                told,
                self._rated,
                self._about,
                self._border,
                self._n_codes,
                numbers,
            )
        if "predicted_ratings.item" in self.learnt:
            numbers[..., -1] = predicted_ratings.of_pairs(self.learnt, queries, items)
        if standard:
            _standardise(out, *self._scale)
        return out


def _lately(liked_day: Array, liked_start: Array, day: int) -> Array:
    """Return the logs of the likings of each item before a day, and within `WINDOW` days before it; (N, 2)."""
    first = liked_start[:1]
    days = liked_day[int(first.sum()) :]
    recent = np.append(0, np.cumsum((days >= day - WINDOW) & (days < day)))
    before = np.append(0, np.cumsum(days < day))
    counts = np.stack([np.diff(total[liked_start - first]) for total in (before, recent)], axis=1)
    found: Array = np.ascontiguousarray(np.log1p(counts), np.float32)
    return found


@njit(cache=True, nogil=True)
def _base(
    items: Rows,
    history: Rows,
    history_time: Array,
    time: Array,
    shown: Rows,
    about: Rows,
    liked_day: Array,
    liked_start: Array,
    last_day: int,
    out: Array,
) -> None:
    """Write the numbers `BASE` of pairs, (B, K, F)."""
    n_items = len(about)
    for b in range(len(items)):
        length = 0
        for h in range(history.shape[1]):
            length += 0 <= history[b, h] < n_items
        log_length = np.float32(np.log1p(length))
        day = min(time[b] // _DAY, last_day + 1)  # behind the log's end the last days still say what is recent
        for k in range(items.shape[1]):
            i, told = items[b, k], out[b, k]
            told[:] = np.nan
            told[_LENGTH], told[_SHOWN] = log_length, 0
            if i < 0 or i >= n_items:
                continue
            for j in range(shown.shape[1]):
                told[_SHOWN] += shown[b, j] == i
            if about[i, 0] != NEVER:
                available = np.int64(about[i, 0]) * _DAY + about[i, 1]
                told[_AGE] = np.log1p(max(0, time[b] - available) / _DAY)
            if day > last_day:
                popular, recent = np.int32(about[i, 2]), np.int32(about[i, 3])
                told[_POPULAR], told[_RECENT] = popular.view(np.float32), recent.view(np.float32)
            else:
                days = liked_day[liked_start[i] : liked_start[i + 1]]
                before = np.searchsorted(days, day)
                told[_POPULAR] = np.log1p(before)
                told[_RECENT] = np.log1p(before - np.searchsorted(days, day - _WINDOW))
            for h in range(history.shape[1] - 1, -1, -1):
                if history[b, h] == i:
                    told[_AGAIN] = np.log1p(max(0, time[b] - history_time[b, h]) / _DAY)
                    break


@njit(cache=True, nogil=True)
def _above(item: int, day: int, mean: float, rated_day: Array, rated_sum: Array, rated_start: Array) -> float:
    """Return the shrunken mean of an item's ratings before a day less the mean of all, nan where it has none."""
    begin, end = rated_start[item], rated_start[item + 1]
    n = np.searchsorted(rated_day[begin:end], day)
    return (rated_sum[begin + n] - rated_sum[begin] - n * mean) / (n + _SHRINKAGE) if n else np.nan


@njit(cache=True, nogil=True)
def _rated(
    items: Rows,
    history: Rows,
    history_value: Array,
    time: Array,
    rated_day: Array,
    rated_sum: Array,
    rated_start: Array,
    mean_day: Array,
    means: Array,
    out: Array,
    told: Array,
) -> None:
    """Write the numbers `RATED` of pairs, (B, K, F), and each rating of the history less its item's mean, (B, H)."""
    n_items, at = len(rated_start) - 1, len(BASE)
    for b in range(len(items)):
        day = time[b] // _DAY
        upto = np.searchsorted(mean_day, day)
        told[b] = np.nan
        if not upto:
            continue
        mean, total, count = means[upto - 1], 0.0, 0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or i >= n_items or np.isnan(history_value[b, h]):
                continue
            usual = _above(i, day, mean, rated_day, rated_sum, rated_start)
            told[b, h] = history_value[b, h] - mean - (0.0 if np.isnan(usual) else usual)
            total += told[b, h]
            count += 1
        for k in range(items.shape[1]):
            if count:
                out[b, k, at + 1] = total / (count + _SHRINKAGE)
            if 0 <= items[b, k] < n_items:
                out[b, k, at] = _above(items[b, k], day, mean, rated_day, rated_sum, rated_start)


@njit(cache=True, nogil=True)
def _categories(
    items: Rows,
    history: Rows,
    history_time: Array,
    time: Array,
    told: Array,
    rated: bool,
    about: Rows,
    border: Array,
    n_codes: int,
    out: Array,
) -> None:
    """Write "since", "match" and, of rated logs, "rating" of each shared category of pairs, (B, K, F)."""
    n_items, first = len(about), len(BASE) + (len(RATED) if rated else 0)
    kinds = 3 if rated else 2
    last, count = np.full(n_codes, -1, np.int64), np.zeros(n_codes, np.int64)
    ratings, total = np.zeros(n_codes if rated else 0, np.int64), np.zeros(n_codes if rated else 0)
    for b in range(len(items)):
        length = 0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or i >= n_items:
                continue
            length += 1
            for code in about[i, CODES:]:
                if code >= 0:
                    last[code] = history_time[b, h]
                    count[code] += 1
                    if rated and not np.isnan(told[b, h]):
                        ratings[code] += 1
                        total[code] += told[b, h]
        for k in range(items.shape[1]):
            i = items[b, k]
            if i < 0 or i >= n_items:
                continue
            for f in range(len(border) - 1):
                latest, most, there = np.int64(-1), 0, False
                n, sum_ = 0, 0.0
                for c in range(border[f], border[f + 1]):
                    code = about[i, c]
                    if code >= 0:
                        there = True
                        most = max(most, count[code])
                        latest = max(latest, last[code])
                        if rated:
                            n += ratings[code]
                            sum_ += total[code]
                at = first + kinds * f
                if most > 0:
                    out[b, k, at] = np.log1p(max(0, time[b] - latest) / _DAY)
                if there and length > 0:
                    out[b, k, at + 1] = most / length
                if n > 0:
                    out[b, k, at + 2] = sum_ / (n + _SHRINKAGE)
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or i >= n_items:
                continue
            for code in about[i, CODES:]:
                if code >= 0:
                    last[code], count[code] = -1, 0
                    if rated:
                        ratings[code], total[code] = 0, 0.0


@njit(cache=True, nogil=True)
def _standardise(numbers: Array, mean: Array, spread: Array) -> None:
    """Subtract the means of numbers, (n, F), divide by their spreads, clip; 0 where not known."""
    for n in range(len(numbers)):
        for f in range(numbers.shape[1]):
            standard = (numbers[n, f] - mean[f]) / spread[f]
            numbers[n, f] = 0 if np.isnan(standard) else min(max(standard, -_FARTHEST), _FARTHEST)
