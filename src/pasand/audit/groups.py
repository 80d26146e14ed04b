"""Groups of users and of items by a feature: categories, bands of numbers, ages of times, popularity, history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.features import TIME_UNKNOWN, Feature, Features
from pasand.errors import InputError
from pasand.evaluation.history_groups import LENGTHS
from pasand.types import Array, Mask, Rows, Times

DAY = 86_400
AGES = (30, 90, 365)
"""Bounds of the bands of ages, in days."""
BANDS = 4
"""Bands of numbers, with equally many items or users each as far as ties permit."""
MOST = 30
"""Categories of one feature that become groups, the largest ones."""
HEAD, TAIL = 0.2, 0.2
"""Share of the positive train events that the most and the least popular items hold together."""
POPULARITY, HISTORY = "popularity", "history"
"""Names of the groupings of items and users that need no feature."""


@dataclass(frozen=True)
class Grouping:
    """The groups of rows, users or items, by one feature; they may overlap, and a row without a value is in none."""

    name: str
    labels: Sequence[str]
    table: Mask
    """(G, n) members; of ages: all False, as membership depends on the time."""
    times: Times | None = None
    """(n,) the times that ages are counted from; None: groups do not depend on the time."""
    note: str = ""
    """What the groups leave out, "" if nothing."""
    ages: Sequence[float] = AGES
    """Bounds of the bands of ages, in days; group g lies below bound g, and the last one above all."""

    def member(self, group: int, rows: Rows, time: Times) -> Mask:
        """Return whether rows are in a group at the times, which broadcast; False for row -1."""
        known = (rows >= 0) & (rows < self.table.shape[1])
        safe = np.where(known, rows, 0)
        if self.times is None:
            return np.asarray(known & self.table[group, safe])
        begin = self.times[safe]
        days = (time - np.where(begin == TIME_UNKNOWN, 0, begin)) / DAY
        inside: Mask = known & (begin != TIME_UNKNOWN) & (days >= 0) & (np.digitize(days, self.ages) == group)
        return inside


def user_grouping(name: str, train: Dataset) -> Grouping:
    """Return the groups of users by a feature, or by the number of train events (`history`).

    Ages are those at the end of train. Raises InputError for a feature that users do not have, or that has no groups.
    """
    if name == HISTORY and HISTORY not in train.user_features:
        count = np.bincount(train.user, minlength=train.n_users)
        bounds = [(low, np.inf if high is None else high) for low, high in LENGTHS.values()]
        table = np.array([(count >= low) & (count <= high) for low, high in bounds])
        return Grouping(name, list(LENGTHS), table)
    grouping = _by_feature(name, train.user_features, "users", [HISTORY])
    if grouping.times is None:
        return grouping
    end = train.time[-1:] if len(train) else np.zeros(1, np.int64)
    rows = np.arange(train.n_users, dtype=np.int32)
    table = np.array([grouping.member(g, rows, end) for g in range(len(grouping.labels))])
    return Grouping(name, grouping.labels, table, note=grouping.note)


def item_grouping(name: str, train: Dataset) -> Grouping:
    """Return the groups of items by a feature, or by popularity in train: head, middle and tail.

    The head is the most popular items that hold the first 20 % of the positive train events, the tail the least popular
    ones that hold the last 20 %, and items without events (Abdollahpouri et al., User-centered Evaluation of Popularity
    Bias in Recommender Systems, UMAP 2021). Raises InputError as `user_grouping` does.
    """
    if name == POPULARITY and POPULARITY not in train.item_features:
        head, tail = popularity_bands(np.bincount(train.positives().item, minlength=train.n_items))
        return Grouping(name, ["head", "middle", "tail"], np.array([head, ~(head | tail), tail]))
    return _by_feature(name, train.item_features, "items", [POPULARITY])


def popularity_bands(counts: Array) -> tuple[Mask, Mask]:
    """Return which items are of the head and of the tail, (N,) each, by their number of events.

    >>> head, tail = popularity_bands(np.array([2, 5, 1, 1, 1]))
    >>> np.flatnonzero(head).tolist(), np.flatnonzero(tail).tolist()
    ([1], [3, 4])
    """
    order = np.argsort(-counts, kind="stable")
    total = max(int(counts.sum()), 1)
    through = np.cumsum(counts[order])
    head, tail = np.zeros(len(counts), np.bool_), np.zeros(len(counts), np.bool_)
    head[order] = ((through - counts[order]) / total < HEAD) & (counts[order] > 0)
    tail[order] = ((through - counts[order]) / total >= 1 - TAIL - 1e-12) | (counts[order] == 0)
    return head, tail & ~head


def feature_named(name: str, features: Features) -> str | None:
    """Return the feature that a name means: itself, `price` for `price_band`, `seller_since` for `seller_age`.

    Bands are of numbers and ages of times; None if there is no such feature.
    """
    stem, kind = name.removesuffix("_band"), "number"
    wanted = [stem]
    if name.endswith("_age"):
        stem, kind = name.removesuffix("_age"), "time"
        wanted = [f"{stem}_since", f"{stem}_from", stem]
    found = [one for one in wanted if one in features and features[one].kind == kind]
    return name if name in features else next(iter(found), None)


def _by_feature(name: str, features: Features, of: str, also: list[str]) -> Grouping:
    found = feature_named(name, features)
    if found is None:
        known = ", ".join([one for one, feature in features.items() if feature.kind not in ("text", "vector")] + also)
        cause = f"{of} have no such feature"
        raise InputError(f"groups of {of}", value=name, cause=cause, cure=f"use one of: {known}")
    feature = features[found]
    missing = int(feature.is_missing().sum())
    note = f"{missing:,} of {len(feature):,} {of} have no {found} and are in none of its groups" if missing else ""
    if feature.kind in ("categorical", "bag"):
        return _categories(name, feature, note)
    if feature.kind == "time":
        low, middle, high = AGES
        labels = [f"under {low} days", f"{low} to {middle} days", f"{middle} to {high} days", f"over {high} days"]
        return Grouping(name, labels, np.zeros((len(labels), len(feature)), np.bool_), feature.values, note)
    if feature.kind == "number":
        return _bands(name, feature.values, note)
    cause, cure = f"it is {feature.kind}, which has no groups", "use a feature of categories, numbers or times"
    raise InputError(f"groups of {of}", value=name, cause=cause, cure=cure)


def _categories(name: str, feature: Feature, note: str) -> Grouping:
    row, code = feature.members()
    size = np.bincount(code, minlength=len(feature.names))
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST])
    kept = kept[size[kept] > 0]
    table = np.zeros((len(feature.names), len(feature)), np.bool_)
    table[code, row] = True
    n_left_out = int((size > 0).sum()) - len(kept)
    if n_left_out:
        note = "; ".join(filter(None, [note, f"the {n_left_out} smallest categories of {name} are left out"]))
    return Grouping(name, [feature.names[c] for c in kept], table[kept], note=note)


def _bands(name: str, values: Array, note: str) -> Grouping:
    known = values[~np.isnan(values)].astype(np.float64)
    edges = np.unique(np.quantile(known, np.arange(1, BANDS) / BANDS, method="inverted_cdf")) if len(known) else known
    edges = edges[edges < known.max(initial=-np.inf)]
    band = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="left"))
    texts = [f"{edge:g}" for edge in edges]
    labels = ["all values"] if not texts else [f"up to {texts[0]}"]
    labels += [f"above {low} to {high}" for low, high in pairwise(texts)]
    labels += [f"above {texts[-1]}"] if texts else []
    return Grouping(name, labels, np.array([band == b for b in range(len(labels))]), note=note)
