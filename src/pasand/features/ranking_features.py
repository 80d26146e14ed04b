"""Computes the inputs of a ranker's network for queries, items and pairs of them. Plain arrays, no torch."""

from __future__ import annotations

from copy import copy

import numpy as np
from numba import njit

from pasand.data.features import TIME_UNKNOWN
from pasand.features import encoding, history_shares, inherited, predicted_ratings, ranking_statistics
from pasand.features.encoding import MAX_DEVIATIONS
from pasand.features.ranking_statistics import BASE, DAY, RATED, SHRINKAGE, WINDOW
from pasand.growable import extended
from pasand.types import Array, Arrays, Queries, Rows

_AGE, _POPULARITY, _RECENT, _LENGTH, _SINCE, _SHOWN = range(len(BASE))
_DAY, _WINDOW, _SHRINKAGE, _MAX_DEVIATIONS = DAY, WINDOW, SHRINKAGE, np.float32(MAX_DEVIATIONS)


CODES = 4
"""Columns of an item before its categories: day and second since when it is available, positives, recent positives."""
UNKNOWN_DAY = np.int32(-(2**31))
"""The day of items whose time of availability is unknown."""


class RankingFeatures:
    """Computes a ranker's inputs from the arrays of `ranking_statistics.learn`; make a new one when these change."""

    def __init__(self, learnt: Arrays) -> None:
        """Arrange the learnt arrays for fast reading."""
        self.learnt, self.n_items = learnt, len(learnt["known"])
        self.pair_features = ranking_statistics.pair_features(learnt)
        self.input_sizes = ranking_statistics.input_sizes(learnt)
        self._ids, self._length = bool(learnt["ids"][0]), int(learnt["history_length"][0])
        self._positive_from = float(learnt["positive_from"][0])
        self._rated = "rated_day" in learnt
        self._last_day = int(learnt["last_day"][0])
        self._shared = ranking_statistics.shared_categories(learnt)
        self._bounds = CODES + np.cumsum([0, *(learnt[f"shared.{name}"].shape[1] for name in self._shared)])
        self._n_codes = sum(len(learnt[f"item_codes.{name}"]) for name in self._shared)
        self._item_table = self._item_rows(learnt, 0)
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

    def extended_with_items(self, learnt: Arrays) -> RankingFeatures:
        """Return the features for arrays of `ranking_statistics.extended_with_items`; arranges the new items alone."""
        more = copy(self)
        more.learnt, more.n_items = learnt, len(learnt["known"])
        more._item_table = extended(self._item_table, self._item_rows(learnt, self.n_items))
        return more

    def _item_rows(self, learnt: Arrays, begin: int) -> Rows:
        """Return the data of items from a row on, (n, W), so that those of one item are adjacent in memory."""
        available, liked_start = learnt["available"][begin:], learnt["liked_start"][begin:]
        table, n_codes = np.empty((len(available), self._bounds[-1]), np.int32), 0
        day, second = np.divmod(available, DAY)
        table[:, 0], table[:, 1] = np.where(available == TIME_UNKNOWN, UNKNOWN_DAY, day), second
        popularity = _popularity(learnt["liked_day"], liked_start, self._last_day + 1)
        if "inherited_neighbour" in learnt and len(table):
            rows = np.arange(begin, begin + len(table), dtype=np.int32)[None]
            popularity = np.empty((1, len(table), 2), np.float32)
            self._write_inherited(learnt, rows, np.array([self._last_day + 1]), popularity)
        table[:, 2:CODES] = popularity.reshape(-1, 2).view(np.int32)
        for n, name in enumerate(self._shared):
            codes = learnt[f"shared.{name}"][begin:]
            table[:, self._bounds[n] : self._bounds[n + 1]] = np.where(codes >= 0, codes + n_codes, -1)
            n_codes += len(learnt[f"item_codes.{name}"])  # the codes of all features are numbered consecutively
        return table

    @staticmethod
    def _write_inherited(learnt: Arrays, items: Rows, day: Array, out: Array) -> None:
        """Write the popularity of pairs before a day, (B, K, 2), with what items inherit."""
        inherited.write_popularity(
            items,
            day,
            learnt["inherited_since"],
            learnt["liked_day"],
            learnt["liked_start"],
            learnt["inherited_neighbour"],
            learnt["inherited_share"],
            learnt["inherited_numbers"],
            WINDOW,
            out,
        )

    def of_queries(self, queries: Queries) -> dict[str, Array]:
        """Return the inputs that all pairs of a query share, (B, ...) each."""
        inputs = encoding.encode("user", self.learnt, queries.features, len(queries))
        inputs |= history_shares.of_queries(self.learnt, queries)
        if self._ids:
            inputs["user"] = encoding.codes_of(queries.users, self.learnt["user_code"])[:, None]
        if self._length:
            inputs["history"] = encoding.recent_codes(
                queries.liked(self._positive_from), self.learnt["item_code"], self._length
            )
        return inputs

    def of_items(self, rows: Rows) -> dict[str, Array]:
        """Return the inputs that all pairs of an item share, (n, ...) each."""
        return ranking_statistics.item_inputs(self.learnt, rows)

    def of_pairs(self, queries: Queries, items: Rows) -> Array:
        """Return the features of each pair, standardised, 0 where unknown; (B, K) -> (B * K, F) float32."""
        return self._of_pairs(queries, items, True)

    def raw_of_pairs(self, queries: Queries, items: Rows) -> Array:
        """Return the features of each pair before standardising, nan where unknown; (B, K) -> (B * K, F) float32."""
        return self._of_pairs(queries, items, False)

    def _of_pairs(self, queries: Queries, items: Rows, standardised: bool) -> Array:
        shown = queries.features.get("shown_not_clicked")
        shown = np.empty((len(queries), 0), np.int32) if shown is None else np.asarray(shown, np.int32)
        out = np.empty((items.size, len(self.pair_features)), np.float32)
        history = np.ascontiguousarray(queries.history, np.int32)
        times = np.ascontiguousarray(queries.history_time, np.int64)
        numbers, deviation = out.reshape(*items.shape, -1), np.empty(history.shape, np.float32)
        items = np.ascontiguousarray(items, np.int32)
        _write_base(
            items,
            history,
            times,
            queries.time,
            np.ascontiguousarray(shown),
            self._item_table,
            self.learnt["liked_day"],
            self.learnt["liked_start"],
            self._last_day,
            numbers,
        )
        inherits = "inherited_neighbour" in self.learnt
        early = np.flatnonzero(queries.time // DAY <= self._last_day) if inherits else ()
        if len(early):  # at later times the counts of the table have what is inherited
            popularity = numbers[early, :, _POPULARITY : _RECENT + 1]
            self._write_inherited(self.learnt, items[early], queries.time[early] // DAY, popularity)
            numbers[early, :, _POPULARITY : _RECENT + 1] = popularity
        if self._rated:
            values = np.ascontiguousarray(queries.history_value, np.float32)
            _write_mean_ratings(items, history, values, queries.time, *self._ratings, numbers, deviation)
            if inherits:
                inherited.write_mean_rating(
                    items,
                    queries.time,
                    self.learnt["inherited_neighbour"],
                    self.learnt["inherited_share"],
                    float(self.learnt["inherited_numbers"][0]),
                    *self._ratings,
                    numbers[..., len(BASE)],
                )
        if self._n_codes:
            _write_categories(
                items,
                history,
                times,
                queries.time,
                deviation,
                self._rated,
                self._item_table,
                self._bounds,
                self._n_codes,
                numbers,
            )
        if ranking_statistics.predicts_ratings(self.learnt):
            numbers[..., -1] = predicted_ratings.of_pairs(self.learnt, queries, items)
        if standardised:
            _standardise(out, *self._scale)
        return out


def _popularity(liked_day: Array, liked_start: Array, day: int) -> Array:
    """Return log(1 + positives) of each item before a day, and within `WINDOW` days before it; (N, 2) float32."""
    first = liked_start[:1]
    days = liked_day[int(first.sum()) :]
    recent = np.append(0, np.cumsum((days >= day - WINDOW) & (days < day)))
    before = np.append(0, np.cumsum(days < day))
    counts = np.stack([np.diff(total[liked_start - first]) for total in (before, recent)], axis=1)
    logs: Array = np.ascontiguousarray(np.log1p(counts), np.float32)
    return logs


@njit(cache=True, nogil=True)
def _write_base(
    items: Rows,
    history: Rows,
    history_time: Array,
    time: Array,
    shown: Rows,
    item_table: Rows,
    liked_day: Array,
    liked_start: Array,
    last_day: int,
    out: Array,
) -> None:
    """Write the features `BASE` of pairs, (B, K, F)."""
    n_items = len(item_table)
    for b in range(len(items)):
        length = 0
        for h in range(history.shape[1]):
            length += 0 <= history[b, h] < n_items
        log_length = np.float32(np.log1p(length))
        day = min(time[b] // _DAY, last_day + 1)  # after the end of the log its last days still count as recent
        for k in range(items.shape[1]):
            i, pair = items[b, k], out[b, k]
            pair[:] = np.nan
            pair[_LENGTH], pair[_SHOWN] = log_length, 0
            if i < 0 or i >= n_items:
                continue
            for j in range(shown.shape[1]):
                pair[_SHOWN] += shown[b, j] == i
            if item_table[i, 0] != UNKNOWN_DAY:
                available = np.int64(item_table[i, 0]) * _DAY + item_table[i, 1]
                pair[_AGE] = np.log1p(max(0, time[b] - available) / _DAY)
            if day > last_day:
                popularity, recent = np.int32(item_table[i, 2]), np.int32(item_table[i, 3])
                pair[_POPULARITY], pair[_RECENT] = popularity.view(np.float32), recent.view(np.float32)
            else:
                days = liked_day[liked_start[i] : liked_start[i + 1]]
                before = np.searchsorted(days, day)
                pair[_POPULARITY] = np.log1p(before)
                pair[_RECENT] = np.log1p(before - np.searchsorted(days, day - _WINDOW))
            for h in range(history.shape[1] - 1, -1, -1):
                if history[b, h] == i:
                    pair[_SINCE] = np.log1p(max(0, time[b] - history_time[b, h]) / _DAY)
                    break


@njit(cache=True, nogil=True)
def _item_deviation(item: int, day: int, mean: float, rated_day: Array, rated_sum: Array, rated_start: Array) -> float:
    """Return the shrunken mean of an item's ratings before a day less the mean of all; nan without ratings."""
    begin, end = rated_start[item], rated_start[item + 1]
    n = np.searchsorted(rated_day[begin:end], day)
    return (rated_sum[begin + n] - rated_sum[begin] - n * mean) / (n + _SHRINKAGE) if n else np.nan


@njit(cache=True, nogil=True)
def _write_mean_ratings(
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
    deviation: Array,
) -> None:
    """Write the features `RATED` of pairs, (B, K, F), and each rating of the history less its item's mean, (B, H)."""
    n_items, at = len(rated_start) - 1, len(BASE)
    for b in range(len(items)):
        day = time[b] // _DAY
        upto = np.searchsorted(mean_day, day)
        deviation[b] = np.nan
        if not upto:
            continue
        mean, total, count = means[upto - 1], 0.0, 0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or i >= n_items or np.isnan(history_value[b, h]):
                continue
            of_item = _item_deviation(i, day, mean, rated_day, rated_sum, rated_start)
            deviation[b, h] = history_value[b, h] - mean - (0.0 if np.isnan(of_item) else of_item)
            total += deviation[b, h]
            count += 1
        for k in range(items.shape[1]):
            if count:
                out[b, k, at + 1] = total / (count + _SHRINKAGE)
            if 0 <= items[b, k] < n_items:
                out[b, k, at] = _item_deviation(items[b, k], day, mean, rated_day, rated_sum, rated_start)


@njit(cache=True, nogil=True)
def _write_categories(
    items: Rows,
    history: Rows,
    history_time: Array,
    time: Array,
    deviation: Array,
    rated: bool,
    item_table: Rows,
    bounds: Array,
    n_codes: int,
    out: Array,
) -> None:
    """Write "days_since", "history_share" and, with ratings, "mean_rating" of each shared category, (B, K, F)."""
    n_items, first = len(item_table), len(BASE) + (len(RATED) if rated else 0)
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
            for code in item_table[i, CODES:]:
                if code >= 0:
                    last[code] = history_time[b, h]
                    count[code] += 1
                    if rated and not np.isnan(deviation[b, h]):
                        ratings[code] += 1
                        total[code] += deviation[b, h]
        for k in range(items.shape[1]):
            i = items[b, k]
            if i < 0 or i >= n_items:
                continue
            for f in range(len(bounds) - 1):
                latest, most, known = np.int64(-1), 0, False
                n, sum_ = 0, 0.0
                for c in range(bounds[f], bounds[f + 1]):
                    code = item_table[i, c]
                    if code >= 0:
                        known = True
                        most = max(most, count[code])
                        latest = max(latest, last[code])
                        if rated:
                            n += ratings[code]
                            sum_ += total[code]
                at = first + kinds * f
                if most > 0:
                    out[b, k, at] = np.log1p(max(0, time[b] - latest) / _DAY)
                if known and length > 0:
                    out[b, k, at + 1] = most / length
                if n > 0:
                    out[b, k, at + 2] = sum_ / (n + _SHRINKAGE)
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or i >= n_items:
                continue
            for code in item_table[i, CODES:]:
                if code >= 0:
                    last[code], count[code] = -1, 0
                    if rated:
                        ratings[code], total[code] = 0, 0.0


@njit(cache=True, nogil=True)
def _standardise(numbers: Array, mean: Array, spread: Array) -> None:
    """Standardise and clip numbers, (n, F), in place; 0 where unknown."""
    for n in range(len(numbers)):
        for f in range(numbers.shape[1]):
            z = (numbers[n, f] - mean[f]) / spread[f]
            numbers[n, f] = 0 if np.isnan(z) else min(max(z, -_MAX_DEVIATIONS), _MAX_DEVIATIONS)
