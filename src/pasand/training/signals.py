"""What rankers read of a request and an item: one pipeline for training and for answering. Plain arrays, no torch.

`of_queries`, `of_items` and `of_pairs` together are what a network reads. Everything is computed from the query
(history, time, features) and from what was learnt of the catalogue, so that an answer and a training example are read
by the same code; nothing is looked up by what happened after the query.

Numbers of a pair: "age" of the item (log days since it became available, or was first seen), "popular" (log of its
likings before the query's day), "recent" (of the last 30 days), "length" of the history, "again" (log days since an
event with this item), and for each shared category of items, such as genre, language or star, "since.NAME" (log days
since an event with an item that shares one) and "match.NAME" (share of the history that shares one); "shown" (how
often the item was shown to the user and not taken). Of rated logs also "rating.item" (mean of its ratings before the
query's day, less the mean of all until then), "rating.user" (mean of the history's ratings, each less its item's) and
"rating.NAME" (the same, of the history's items that share a category): sums divided by `SHRINKAGE` more than there are
ratings, so that few of them say little. "rating.expected", where it is asked for, is what the history's ratings foresee
of the item (see `expected`). All are standardised, 0 where not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Features
from pasand.training import expected, inputs
from pasand.types import Array, Arrays, Queries, Rows

DAY = 86_400
WINDOW = 30
"""Days that count as recent."""
SHARED_MOST = 20_000
"""Categories above which a feature is no category that histories are matched by."""
SHRINKAGE = 5.0
"""Ratings at the mean that are added to those there are."""
BASE = ("age", "popular", "recent", "length", "again", "shown")
"""Numbers of every pair, in their order."""
RATED = ("rating.item", "rating.user")
"""Further numbers where the log has ratings."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What is to be read; None: all that can be."""

    user_features: Sequence[str] | None = None
    item_features: Sequence[str] | None = None
    history_length: int = 20
    """Number of the latest likings that are read as codes."""
    ids: bool = True
    expected: bool = False
    """Whether "rating.expected" is among the numbers, where the log has ratings."""


def learn(data: Dataset, reads: Reads) -> dict[str, Array]:
    """Return what the others need: codes, tables of items, and when each item was liked. Scales come by `scaled`."""
    users, items = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
    users[data.user], items[data.item] = True, True
    everything = np.arange(data.n_items, dtype=np.int32)
    chosen = inputs.chosen(data.item_features, reads.item_features, "item_features")
    learnt: dict[str, Array] = {
        "user_code": inputs.numbered(users),
        "item_code": inputs.numbered(items),
        "positive_from": np.array([data.positive_from], np.float32),
        "history_length": np.array([reads.history_length]),
        "ids": np.array([reads.ids]),
    }
    people = inputs.chosen(data.user_features, reads.user_features, "user_features")
    learnt |= inputs.learn("user", people, np.flatnonzero(users).astype(np.int32))
    learnt |= inputs.learn("item", chosen, np.flatnonzero(items).astype(np.int32))
    read = [key.partition(".")[2] for key in inputs.parts("item", learnt)]
    learnt |= {f"item.{name}": chosen[name].take(everything) for name in read}
    for name in read:
        if f"item_codes.{name}" in learnt and len(chosen[name].names) <= SHARED_MOST:
            learnt[f"shared.{name}"] = chosen[name].take(everything).reshape(data.n_items, -1).astype(np.int32)
    learnt |= counts(data)
    if reads.expected and "rated_day" in learnt and len(learnt["rated_day"]):
        learnt |= expected.learn(data)
    learnt["known"] = items | inputs.anything(_items(learnt, everything), data.n_items)
    learnt["scale"] = np.stack([np.zeros(_width(learnt)), np.ones(_width(learnt))]).astype(np.float32)
    return learnt


def counts(data: Dataset) -> dict[str, Array]:
    """Return what is learnt of the log's days: since when items are there, on which each was liked, and on which rated.

    The days of an item stand one after the other, so that a count up to any day is a search.
    """
    liked = data.positives()
    order = np.lexsort((liked.time, liked.item))
    days = (liked.time[order] // DAY).astype(np.int32)
    rated = _ratings(data) if data.values == "rating" and data.value is not None else {}
    return rated | {
        "available": _available(data),
        "liked_day": days,
        "liked_start": np.searchsorted(liked.item[order], np.arange(data.n_items + 1)).astype(np.int64),
        "last_day": np.array([days.max(initial=0)], np.int64),
    }


def scaled(learnt: Arrays, numbers: Array) -> Array:
    """Return the mean and deviation, (2, F), by which numbers like these, (n, F) of `raw`, are standardised."""
    known = np.isfinite(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers, 0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt((np.where(known, numbers - mean, 0) ** 2).sum(axis=0, dtype=np.float64) / count)
    return np.stack([mean, np.where(spread > 0, spread, 1)]).astype(np.float32)


def names(learnt: Arrays) -> list[str]:
    """Return the names of the numbers of a pair, in their order."""
    shared = sorted(key.removeprefix("shared.") for key in learnt if key.startswith("shared."))
    rated = "rated_day" in learnt
    kinds = ("since", "match", "rating") if rated else ("since", "match")
    last = ("rating.expected",) if "expected.item" in learnt else ()
    return [*BASE, *(RATED if rated else ()), *(f"{kind}.{name}" for name in shared for kind in kinds), *last]


def parts(learnt: Arrays) -> dict[str, int]:
    """Return what there is to read, as `inputs.parts`: codes by their largest code, numbers by minus their width."""
    found = {"pair": -_width(learnt)}
    if learnt["ids"][0]:
        found |= {"user": int(learnt["user_code"].max(initial=0)), "item": int(learnt["item_code"].max(initial=0))}
    if learnt["history_length"][0]:
        found["history"] = int(learnt["item_code"].max(initial=0))
    return found | inputs.parts("user", learnt) | inputs.parts("item", learnt)


def of_queries(learnt: Arrays, queries: Queries) -> dict[str, Array]:
    """Return the inputs that every pair of a query shares, (B, ...) each."""
    told = inputs.read("user", learnt, queries.features, len(queries))
    if learnt["ids"][0]:
        told["user"] = inputs.codes_of(queries.users, learnt["user_code"])[:, None]
    if learnt["history_length"][0]:
        liked = queries.liked(float(learnt["positive_from"][0]))
        told["history"] = inputs.recent(liked, learnt["item_code"], int(learnt["history_length"][0]))
    return told


def of_items(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    """Return the inputs that every pair of an item shares, (n, ...) each."""
    told = _items(learnt, rows)
    if learnt["ids"][0]:
        told["item"] = inputs.codes_of(rows, learnt["item_code"])[:, None]
    return told


def of_pairs(learnt: Arrays, queries: Queries, items: Rows) -> Array:
    """Return the numbers of each pair, standardised, 0 where not known; (B, K) -> (B * K, F) float32."""
    mean, spread = learnt["scale"]
    standard = np.clip((raw(learnt, queries, items) - mean) / spread, -inputs.FARTHEST, inputs.FARTHEST)
    return np.where(np.isfinite(standard), standard, 0).astype(np.float32)


def raw(learnt: Arrays, queries: Queries, items: Rows) -> Array:
    """Return the numbers of each pair as they are, nan where not known; (B, K) -> (B * K, F) float32."""
    n_items = len(learnt["known"])
    items = np.where((items >= 0) & (items < n_items), items, np.int32(-1)).astype(np.int32)
    history = np.where(queries.history < n_items, queries.history, np.int32(-1)).astype(np.int32)
    shown = np.asarray(queries.features.get("shown_not_taken", np.empty((len(items), 0), np.int32)), np.int32)
    base = _base(
        items,
        np.ascontiguousarray(history),
        np.ascontiguousarray(queries.history_time),
        queries.time,
        learnt["available"],
        learnt["liked_day"],
        learnt["liked_start"],
        np.ascontiguousarray(shown),
        int(learnt["last_day"][0]),
    )
    columns = [base]
    told = np.zeros(history.shape, np.float32)
    if "rated_day" in learnt:
        mean, told = _means(learnt, queries, items, history)
        columns.append(mean)
    for name in sorted(key for key in learnt if key.startswith("shared.")):
        n_codes = len(learnt[f"item_codes.{name.removeprefix('shared.')}"])
        shared = _shared(
            items, np.ascontiguousarray(history), queries.history_time, told, queries.time, learnt[name], n_codes
        )
        columns.append(shared if "rated_day" in learnt else shared[..., :2])
    if "expected.item" in learnt:
        columns.append(expected.of_pairs(learnt, queries, items)[..., None])
    numbers: Array = np.concatenate(columns, axis=-1)
    return numbers.reshape(items.size, numbers.shape[-1])


def _means(learnt: Arrays, queries: Queries, items: Rows, history: Rows) -> tuple[Array, Array]:
    """Return the numbers `RATED`, (B, K, 2), and each rating of the history less its item's mean, (B, H), else nan."""
    found: tuple[Array, Array] = _rated(
        items,
        np.ascontiguousarray(history),
        np.ascontiguousarray(queries.history_value),
        queries.time,
        learnt["rated_day"],
        learnt["rated_sum"],
        learnt["rated_start"],
        learnt["mean_day"],
        learnt["mean"],
    )
    return found


def _ratings(data: Dataset) -> dict[str, Array]:
    """Return the days on which each item was rated with running sums of its ratings, and the mean of all up to a day.

    "mean" (D,) is that of all ratings up to and on "mean_day" (D,), the days on which anything was rated.
    """
    assert data.value is not None
    event = np.flatnonzero(np.isfinite(data.value))
    day, value = (data.time[event] // DAY).astype(np.int32), data.value[event].astype(np.float64)
    last = np.append(day[1:] != day[:-1], True)[: len(event)]
    order = np.lexsort((data.time[event], data.item[event]))
    return {
        "rated_day": day[order],
        "rated_sum": np.append(0, np.cumsum(value[order])),
        "rated_start": np.searchsorted(data.item[event][order], np.arange(data.n_items + 1)).astype(np.int64),
        "mean_day": day[last],
        "mean": (np.cumsum(value) / np.arange(1, len(event) + 1))[last],
    }


def _items(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    tables = {k.removeprefix("item."): v for k, v in learnt.items() if k.startswith("item.")}
    taken: dict[str, Array] = {}
    for name, table in tables.items():
        inside = (rows >= 0) & (rows < len(table))
        values = table[np.where(inside, rows, 0)] if len(table) else np.empty((len(rows), *table.shape[1:]))
        if not inside.all():
            values[~inside] = np.nan if table.dtype.kind == "f" else -1
        taken[name] = values
    return inputs.read("item", learnt, taken, len(rows))


def grown(learnt: Arrays, features: Features, more: int) -> dict[str, Array]:
    """Return the entries of `learnt` that have a row for each item, with `more` new items appended."""
    found: dict[str, Array] = {}
    for key, table in learnt.items():
        kind, _, name = key.partition(".")
        if kind in ("item", "shared"):
            feature, absent = features.get(name), np.nan if table.dtype.kind == "f" else -1
            rows = np.full((more, *table.shape[1:]), absent, table.dtype)
            if feature is not None:
                values = feature.values.reshape(more, *([-1] * (table.ndim - 1)))
                if table.ndim > 1:
                    values = values[:, : table.shape[1]]
                    rows[:, : values.shape[1]] = values
                else:
                    rows[:] = values
            found[key] = np.concatenate([table, rows])
    code = np.concatenate([learnt["item_code"], np.zeros(more, np.int64)])
    for key in ("liked_start", "rated_start"):
        if key in learnt:
            found[key] = np.concatenate([learnt[key], np.full(more, learnt[key][-1])])
    came = features.get("available_from")
    when = came.values if came is not None and came.kind == "time" else np.full(more, TIME_UNKNOWN)
    if "expected.item" in learnt:
        table = learnt["expected.item"]
        found["expected.item"] = np.concatenate([table, np.zeros((more, *table.shape[1:]), table.dtype)])
    found |= {
        "item_code": code,
        "available": np.concatenate([learnt["available"], when.astype(np.int64)]),
    }
    rows = np.arange(len(learnt["known"]), len(learnt["known"]) + more, dtype=np.int32)
    described = inputs.anything(_items({**learnt, **found}, rows), more)
    return found | {"known": np.append(learnt["known"], described)}


def _width(learnt: Mapping[str, Array]) -> int:
    return len(names(learnt))


def _available(data: Dataset) -> Array:
    """Return when each item became available: what a feature says, else its first event, else unknown; (N,)."""
    first = np.full(data.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, data.item, data.time)
    first[first == np.iinfo(np.int64).max] = TIME_UNKNOWN
    told = [feature for feature in data.item_features.values() if feature.kind == "time"]
    for feature in told[:1]:
        values = feature.take(np.arange(data.n_items, dtype=np.int32))
        first = np.where(values != TIME_UNKNOWN, values, first)
    return first.astype(np.int64)


@njit(cache=True)
def _base(
    items: Rows,
    history: Rows,
    history_time: Array,
    time: Array,
    available: Array,
    liked_day: Array,
    liked_start: Array,
    shown: Rows,
    last_day: int,
) -> Array:
    n_queries, n = items.shape
    out = np.full((n_queries, n, 6), np.nan, np.float32)
    for b in range(n_queries):
        length = 0
        for h in range(history.shape[1]):
            length += history[b, h] >= 0
        day = min(time[b] // DAY, last_day + 1)  # behind the log's end the last days still say what is recent
        for k in range(n):
            i = items[b, k]
            out[b, k, 3] = np.log1p(length)
            out[b, k, 5] = 0.0
            if i < 0:
                continue
            for j in range(shown.shape[1]):
                out[b, k, 5] += shown[b, j] == i
            if available[i] != TIME_UNKNOWN:
                out[b, k, 0] = np.log1p(max(0, time[b] - available[i]) / DAY)
            begin, end = liked_start[i], liked_start[i + 1]
            days = liked_day[begin:end]
            upto = np.searchsorted(days, day)
            since = np.searchsorted(days, day - WINDOW)
            out[b, k, 1] = np.log1p(upto)
            out[b, k, 2] = np.log1p(upto - since)
            for h in range(history.shape[1] - 1, -1, -1):
                if history[b, h] == i:
                    out[b, k, 4] = np.log1p(max(0, time[b] - history_time[b, h]) / DAY)
                    break
    return out


@njit(cache=True)
def _above(item: int, day: int, mean: float, rated_day: Array, rated_sum: Array, rated_start: Array) -> float:
    """Return the shrunken mean of an item's ratings before a day less the mean of all, nan where it has none."""
    begin, end = rated_start[item], rated_start[item + 1]
    n = np.searchsorted(rated_day[begin:end], day)
    return (rated_sum[begin + n] - rated_sum[begin] - n * mean) / (n + SHRINKAGE) if n else np.nan


@njit(cache=True)
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
) -> tuple[Array, Array]:
    n_queries, n = items.shape
    out = np.full((n_queries, n, 2), np.nan, np.float32)
    told = np.full(history.shape, np.nan, np.float32)
    for b in range(n_queries):
        day = time[b] // DAY
        upto = np.searchsorted(mean_day, day)
        if not upto:
            continue
        mean, total, count = means[upto - 1], 0.0, 0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0 or np.isnan(history_value[b, h]):
                continue
            usual = _above(i, day, mean, rated_day, rated_sum, rated_start)
            told[b, h] = history_value[b, h] - mean - (0.0 if np.isnan(usual) else usual)
            total += told[b, h]
            count += 1
        for k in range(n):
            if count:
                out[b, k, 1] = total / (count + SHRINKAGE)
            if items[b, k] >= 0:
                out[b, k, 0] = _above(items[b, k], day, mean, rated_day, rated_sum, rated_start)
    return out, told


@njit(cache=True)
def _shared(
    items: Rows, history: Rows, history_time: Array, told: Array, time: Array, table: Rows, n_codes: int
) -> Array:
    n_queries, n = items.shape
    out = np.full((n_queries, n, 3), np.nan, np.float32)
    last = np.full(n_codes, -1, np.int64)
    count = np.zeros(n_codes, np.int64)
    rated, total = np.zeros(n_codes, np.int64), np.zeros(n_codes)
    for b in range(n_queries):
        length = 0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0:
                continue
            length += 1
            for c in range(table.shape[1]):
                if table[i, c] >= 0:
                    last[table[i, c]] = history_time[b, h]
                    count[table[i, c]] += 1
                    if not np.isnan(told[b, h]):
                        rated[table[i, c]] += 1
                        total[table[i, c]] += told[b, h]
        for k in range(n):
            i = items[b, k]
            if i < 0:
                continue
            latest, most, there = np.int64(-1), 0, False
            ratings, sum_ = 0, 0.0
            for c in range(table.shape[1]):
                code = table[i, c]
                if code >= 0:
                    there = True
                    most = max(most, count[code])
                    latest = max(latest, last[code])
                    ratings += rated[code]
                    sum_ += total[code]
            if most > 0:
                out[b, k, 0] = np.log1p(max(0, time[b] - latest) / DAY)
            if there and length > 0:
                out[b, k, 1] = most / length
            if ratings > 0:
                out[b, k, 2] = sum_ / (ratings + SHRINKAGE)
        for h in range(history.shape[1]):
            i = history[b, h]
            if i < 0:
                continue
            for c in range(table.shape[1]):
                if table[i, c] >= 0:
                    last[table[i, c]] = -1
                    count[table[i, c]] = 0
                    rated[table[i, c]] = 0
                    total[table[i, c]] = 0.0
    return out
