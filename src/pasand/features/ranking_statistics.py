"""Learns the counts, codes and scales that rankers' features need from a log. Plain arrays, no torch.

`ranking_features.RankingFeatures` computes the features, with the same code in training and in serving. Everything
comes from the query (history, time, features) and from the arrays learnt here; no feature reads events after the query.

Pair features, one number of each pair of query and item, standardised, 0 where unknown:

- "item_age": log days since the item became available, or was first seen;
- "popularity": log of the item's positives before the query's day; "recent_popularity": of the last 30 days;
- "history_length": log of the number of events in the history;
- "days_since_item": log days since the user's last event with this item;
- "times_shown": how often the item was shown to the user and not clicked;
- "days_since.NAME", for each shared category of items, such as genre, language or star: log days since the last event
  with an item that shares a value;
- "history_share.NAME": share of the history that has such a value.

Logs with ratings also have means, each a sum divided by `SHRINKAGE` more than the number of ratings, so that means of
few ratings are close to 0:

- "mean_rating.item": the item's ratings before the query's day, less the mean of all ratings until then;
- "mean_rating.user": the history's ratings, each less the mean rating of its item;
- "mean_rating.NAME": the same for the history's items that share a category;
- "predicted_rating", where selected: the user's rating of the item predicted from the history (`predicted_ratings`).

A ranker with `inherits` also counts what an item inherits from similar items (`inherited`) in "popularity",
"recent_popularity" and "mean_rating.item".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Features
from pasand.features import encoding, history_shares, inherited, predicted_ratings
from pasand.features.training_weights import thinned_events
from pasand.growable import extended
from pasand.layouts import Entry
from pasand.layouts import check as check_layout
from pasand.types import Array, Arrays, Rows

DAY = 86_400
WINDOW = 30
"""Days that count as recent."""
MAX_CATEGORIES = 20_000
"""Largest number of categories for which a feature is compared with the history."""
SHRINKAGE = 5.0
"""Number of ratings equal to the mean that are added to the known ones."""
BASE = ("item_age", "popularity", "recent_popularity", "history_length", "days_since_item", "times_shown")
"""Features of every pair, in their order."""
RATED = ("mean_rating.item", "mean_rating.user")
"""Further features of pairs where the log has ratings."""
PREDICTED = "predicted_rating"
"""The last feature of pairs, where it is selected and the log has ratings."""

RATING_ARRAYS = {"rated_day", "rated_sum", "rated_start", "mean_day", "mean"}
LAYOUT = {
    "known": Entry("bool", "N"),
    "user_code": Entry("int64", "U", lowest=0, below="U+1"),
    "item_code": Entry("int64", "N", lowest=0, below="N+1"),
    "positive_from": Entry("float32", "1", infinite=True),
    "history_length": Entry("int64", "1", lowest=0, below=encoding.MAX_WIDTH),
    "ids": Entry("bool", "1"),
    "item.*": Entry("any", "N ...", gaps=True, infinite=True),
    "shared.*": Entry("int32", "N l", lowest=-1),
    "available": Entry("int64", "N"),
    "liked_day": Entry("int32", "E"),
    "liked_start": Entry("int64", "N+1", rises_to="E"),
    "last_day": Entry("int64", "1"),
    "rated_day": Entry("int32", "R", optional=True),
    "rated_sum": Entry("float64", "R+1", optional=True),
    "rated_start": Entry("int64", "N+1", rises_to="R", optional=True),
    "mean_day": Entry("int32", "M", optional=True),
    "mean": Entry("float64", "M", optional=True),
    "scale": Entry("float32", "2 F"),
    **encoding.LAYOUT,
    **predicted_ratings.LAYOUT,
    **inherited.LAYOUT,
}
"""Layout of the arrays of `learn`."""


@dataclass(frozen=True, kw_only=True)
class FeatureSelection:
    """Which features a ranker reads; None: all that can be encoded."""

    user_features: Sequence[str] | None = None
    item_features: Sequence[str] | None = None
    history_length: int = 20
    """Number of the latest positives whose item codes are read; 0: none."""
    ids: bool = True
    """Whether the codes of the user and of the item are read."""
    history_shares: Sequence[str] = ()
    """Item features over whose categories the history is spread, as an input of each query (`history_shares`)."""
    half_life_days: float | None = None
    """Half-life of an event's weight in these shares, in days; None: no decay."""
    predicted_rating: bool = False
    """Whether "predicted_rating" is among the features of pairs, where the log has ratings."""


def learn(data: Dataset, selection: FeatureSelection) -> dict[str, Array]:
    """Return the arrays that `RankingFeatures` reads: codes, item features, days of events, scale of pair features.

    "scale" (2, F) is the identity (mean 0, deviation 1) until the caller replaces it by that of `learn_scale`.
    """
    users, items = np.zeros(data.n_users, np.bool_), np.zeros(data.n_items, np.bool_)
    users[data.user], items[data.item] = True, True
    all_items = np.arange(data.n_items, dtype=np.int32)
    of_items = encoding.select_features(data.item_features, selection.item_features, "item_features")
    learnt: dict[str, Array] = {
        "user_code": encoding.consecutive_codes(users),
        "item_code": encoding.consecutive_codes(items),
        "positive_from": np.array([data.positive_from], np.float32),
        "history_length": np.array([selection.history_length]),
        "ids": np.array([selection.ids]),
    }
    of_users = encoding.select_features(data.user_features, selection.user_features, "user_features")
    learnt |= encoding.learn("user", of_users, np.flatnonzero(users).astype(np.int32))
    learnt |= encoding.learn("item", of_items, np.flatnonzero(items).astype(np.int32))
    encoded = [key.partition(".")[2] for key in encoding.input_sizes("item", learnt)]
    learnt |= {f"item.{name}": of_items[name].take(all_items) for name in encoded}
    for name in encoded:
        if f"item_codes.{name}" in learnt and len(of_items[name].names) <= MAX_CATEGORIES:
            learnt[f"shared.{name}"] = of_items[name].take(all_items).reshape(data.n_items, -1).astype(np.int32)
    learnt |= learn_counts(data) | history_shares.learn(data, selection.history_shares, selection.half_life_days)
    if selection.predicted_rating and "rated_day" in learnt and len(learnt["rated_day"]):
        learnt |= predicted_ratings.learn(data)
    learnt["known"] = items | encoding.any_known(_encoded_items(learnt, all_items), data.n_items)
    n_features = len(pair_features(learnt))
    learnt["scale"] = np.stack([np.zeros(n_features), np.ones(n_features)]).astype(np.float32)
    return learnt


def check(learnt: Arrays) -> dict[str, int]:
    """Return the sizes of the layout; raises ValueError for arrays that `learn` cannot have returned.

    Raises KeyError for an array that is missing.
    """
    groups = (RATING_ARRAYS, set(predicted_ratings.LAYOUT), set(inherited.LAYOUT))
    for every in groups:
        some = every & set(learnt)
        if some and some != every:
            raise KeyError(min(every - some))
    sizes = check_layout(learnt, LAYOUT, F=len(pair_features(learnt)))
    for name in shared_categories(learnt):
        codes = len(learnt[f"item_codes.{name}"])
        check_layout(learnt, {f"shared.{name}": Entry("int32", "N l", lowest=-1, below=codes)})
    history_shares.check_learnt(learnt, sizes["N"])
    return sizes


def learn_counts(data: Dataset) -> dict[str, Array]:
    """Return when each item became available, and the days on which it was liked and rated.

    The days of an item are consecutive and rise, so that a count up to any day is a search. An event counts with the
    probability of its training weight.
    """
    counted = thinned_events(data)
    liked = counted.positives()
    order = np.lexsort((liked.time, liked.item))
    days = (liked.time[order] // DAY).astype(np.int32)
    rated = _rating_days(counted) if data.values == "rating" and data.value is not None else {}
    return rated | {
        "available": _available(data),
        "liked_day": days,
        "liked_start": np.searchsorted(liked.item[order], np.arange(data.n_items + 1)).astype(np.int64),
        "last_day": np.array([days.max(initial=0)], np.int64),
    }


def learn_scale(numbers: Array) -> Array:
    """Return the mean and deviation, (2, F), of raw pair features, (n, F); nan is left out."""
    known = np.isfinite(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, numbers, 0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt((np.where(known, numbers - mean, 0) ** 2).sum(axis=0, dtype=np.float64) / count)
    return np.stack([mean, np.where(spread > 0, spread, 1)]).astype(np.float32)


def shared_categories(learnt: Arrays) -> list[str]:
    """Return the names of the item features whose values are compared with the history, sorted."""
    return sorted(key.removeprefix("shared.") for key in learnt if key.startswith("shared."))


def pair_features(learnt: Arrays) -> list[str]:
    """Return the names of the features of a pair, in their order."""
    rated = "rated_day" in learnt
    kinds = ("days_since", "history_share", "mean_rating") if rated else ("days_since", "history_share")
    of_categories = (f"{kind}.{name}" for name in shared_categories(learnt) for kind in kinds)
    return [*BASE, *(RATED if rated else ()), *of_categories, *([PREDICTED] if predicts_ratings(learnt) else [])]


def predicts_ratings(learnt: Arrays) -> bool:
    """Return whether "predicted_rating" is among the features of a pair."""
    return f"{predicted_ratings.PREFIX}item" in learnt


def input_sizes(learnt: Arrays) -> dict[str, int]:
    """Return the size of each input of the network, as `encoding.input_sizes`: largest code, or minus the width."""
    sizes = {"pair": -len(pair_features(learnt))}
    if learnt["ids"][0]:
        sizes |= {"user": int(learnt["user_code"].max(initial=0)), "item": int(learnt["item_code"].max(initial=0))}
    if learnt["history_length"][0]:
        sizes["history"] = int(learnt["item_code"].max(initial=0))
    sizes |= encoding.input_sizes("user", learnt) | history_shares.input_sizes(learnt)
    return sizes | encoding.input_sizes("item", learnt)


def item_inputs(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    """Return the inputs that all pairs of an item share, (n, ...) each."""
    inputs = _encoded_items(learnt, rows)
    if learnt["ids"][0]:
        inputs["item"] = encoding.codes_of(rows, learnt["item_code"])[:, None]
    return inputs


def _encoded_items(learnt: Arrays, rows: Rows) -> dict[str, Array]:
    """Return the encoded features of items, (n, ...) each; rows outside the catalogue have none."""
    tables = {k.removeprefix("item."): v for k, v in learnt.items() if k.startswith("item.")}
    features: dict[str, Array] = {}
    for name, table in tables.items():
        inside = (rows >= 0) & (rows < len(table))
        values = table[np.where(inside, rows, 0)] if len(table) else np.empty((len(rows), *table.shape[1:]))
        if not inside.all():
            values[~inside] = np.nan if table.dtype.kind == "f" else -1
        features[name] = values
    return encoding.encode("item", learnt, features, len(rows))


def _rating_days(data: Dataset) -> dict[str, Array]:
    """Return the days on which each item was rated with running sums of its ratings, and the mean rating up to a day.

    "mean" (D,) is the mean of all ratings up to and on "mean_day" (D,), the days on which anything was rated.
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


def extended_with_items(learnt: Arrays, features: Features, n_new: int) -> dict[str, Array]:
    """Return the arrays of `learnt` that have a row for each item, with `n_new` new items appended."""
    arrays: dict[str, Array] = {}
    for key, table in learnt.items():
        kind, _, name = key.partition(".")
        if kind in ("item", "shared"):
            arrays[key] = extended(table, encoding.rows_like(table, features.get(name), n_new))
    for key in ("liked_start", "rated_start"):
        if key in learnt:
            arrays[key] = extended(learnt[key], np.full(n_new, learnt[key][-1]))
    arrays |= history_shares.extended_with_items(learnt, features, n_new)
    since = features.get("available_from")
    available = since.values if since is not None and since.kind == "time" else np.full(n_new, TIME_UNKNOWN)
    if predicts_ratings(learnt):
        key = f"{predicted_ratings.PREFIX}item"
        table = learnt[key]
        arrays[key] = extended(table, np.zeros((n_new, *table.shape[1:]), table.dtype))
    arrays |= {
        "item_code": extended(learnt["item_code"], np.zeros(n_new, np.int64)),
        "available": extended(learnt["available"], available.astype(np.int64)),
    }
    rows = np.arange(len(learnt["known"]), len(learnt["known"]) + n_new, dtype=np.int32)
    has_features = encoding.any_known(_encoded_items({**learnt, **arrays}, rows), n_new)
    return arrays | {"known": extended(learnt["known"], has_features)}


def _available(data: Dataset) -> Array:
    """Return when each item became available: by its time feature, else its first event, else unknown; (N,)."""
    first = np.full(data.n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, data.item, data.time)
    first[first == np.iinfo(np.int64).max] = TIME_UNKNOWN
    time_features = [feature for feature in data.item_features.values() if feature.kind == "time"]
    for feature in time_features[:1]:
        values = feature.take(np.arange(data.n_items, dtype=np.int32))
        first = np.where(values != TIME_UNKNOWN, values, first)
    return first.astype(np.int64)
