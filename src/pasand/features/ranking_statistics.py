"""What rankers learn of a log so as to read requests and items, which `reader.RankingFeatures` does. Plain arrays, no torch.

Training and answering read by the same code: everything is computed from the query (history, time, features) and from
what was learnt of the catalogue; nothing is looked up by what happened after the query.

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

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Features
from pasand.features import encoding, predicted_ratings
from pasand.growable import extended
from pasand.types import Array, Arrays, Rows

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
    chosen = encoding.chosen(data.item_features, reads.item_features, "item_features")
    learnt: dict[str, Array] = {
        "user_code": encoding.numbered(users),
        "item_code": encoding.numbered(items),
        "positive_from": np.array([data.positive_from], np.float32),
        "history_length": np.array([reads.history_length]),
        "ids": np.array([reads.ids]),
    }
    people = encoding.chosen(data.user_features, reads.user_features, "user_features")
    learnt |= encoding.learn("user", people, np.flatnonzero(users).astype(np.int32))
    learnt |= encoding.learn("item", chosen, np.flatnonzero(items).astype(np.int32))
    read = [key.partition(".")[2] for key in encoding.parts("item", learnt)]
    learnt |= {f"item.{name}": chosen[name].take(everything) for name in read}
    for name in read:
        if f"item_codes.{name}" in learnt and len(chosen[name].names) <= SHARED_MOST:
            learnt[f"shared.{name}"] = chosen[name].take(everything).reshape(data.n_items, -1).astype(np.int32)
    learnt |= counts(data)
    if reads.expected and "rated_day" in learnt and len(learnt["rated_day"]):
        learnt |= predicted_ratings.learn(data)
    learnt["known"] = items | encoding.anything(_items(learnt, everything), data.n_items)
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
    last = ("rating.expected",) if "predicted_ratings.item" in learnt else ()
    return [*BASE, *(RATED if rated else ()), *(f"{kind}.{name}" for name in shared for kind in kinds), *last]


def parts(learnt: Arrays) -> dict[str, int]:
    """Return what there is to read, as `encoding.parts`: codes by their largest code, numbers by minus their width."""
    found = {"pair": -_width(learnt)}
    if learnt["ids"][0]:
        found |= {"user": int(learnt["user_code"].max(initial=0)), "item": int(learnt["item_code"].max(initial=0))}
    if learnt["history_length"][0]:
        found["history"] = int(learnt["item_code"].max(initial=0))
    return found | encoding.parts("user", learnt) | encoding.parts("item", learnt)


def of_items(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    """Return the inputs that every pair of an item shares, (n, ...) each."""
    told = _items(learnt, rows)
    if learnt["ids"][0]:
        told["item"] = encoding.codes_of(rows, learnt["item_code"])[:, None]
    return told


def _items(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    tables = {k.removeprefix("item."): v for k, v in learnt.items() if k.startswith("item.")}
    clicked: dict[str, Array] = {}
    for name, table in tables.items():
        inside = (rows >= 0) & (rows < len(table))
        values = table[np.where(inside, rows, 0)] if len(table) else np.empty((len(rows), *table.shape[1:]))
        if not inside.all():
            values[~inside] = np.nan if table.dtype.kind == "f" else -1
        clicked[name] = values
    return encoding.read("item", learnt, clicked, len(rows))


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
            found[key] = extended(table, rows)
    for key in ("liked_start", "rated_start"):
        if key in learnt:
            found[key] = extended(learnt[key], np.full(more, learnt[key][-1]))
    came = features.get("available_from")
    when = came.values if came is not None and came.kind == "time" else np.full(more, TIME_UNKNOWN)
    if "predicted_ratings.item" in learnt:
        table = learnt["predicted_ratings.item"]
        found["predicted_ratings.item"] = extended(table, np.zeros((more, *table.shape[1:]), table.dtype))
    found |= {
        "item_code": extended(learnt["item_code"], np.zeros(more, np.int64)),
        "available": extended(learnt["available"], when.astype(np.int64)),
    }
    rows = np.arange(len(learnt["known"]), len(learnt["known"]) + more, dtype=np.int32)
    described = encoding.anything(_items({**learnt, **found}, rows), more)
    return found | {"known": extended(learnt["known"], described)}


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
