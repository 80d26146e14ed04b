"""Data that grow: later events join them, and users leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.types import Array, Scores, Times


@dataclass(frozen=True, kw_only=True)
class NewEvents:
    """Events with external ids, E of them, in any order of time."""

    user: Sequence[str]
    item: Sequence[str]
    """All of them in the catalogue of the data that they are to join."""
    time: Times
    value: Scores
    """nan where an event has none."""
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)


def append_events(data: Dataset, later: NewEvents) -> Dataset:
    """Return the data with later events in their places by time, behind those of the same moment.

    Users of whom the data know nothing come after the others, without features. Values are left out where the data have
    none, as are columns that they do not have; one that the events do not have is nan. Impressions are left out. Raises
    ValueError for an item that is not in the catalogue.
    """
    fresh = set(later.user) - set(data.users.series.to_list())
    users = data.users.appended(sorted(fresh))
    known = {name: feature.extended(None, len(fresh)) for name, feature in data.user_features.items()}
    item = data.items.rows(later.item)
    if (item < 0).any():
        raise ValueError(f"an event's item is not in the catalogue: {later.item[int(np.argmax(item < 0))]!r}")
    time = np.concatenate([data.time, later.time if data.order == "time" else np.zeros(len(later), np.int64)])
    order = np.argsort(time, kind="stable")
    unknown = np.full(len(later), np.nan, np.float32)

    def whole(old: Array, new: Array) -> Array:
        return np.concatenate([old, new.astype(old.dtype)])[order]

    return replace(
        data,
        users=users,
        user=whole(data.user, users.rows(later.user)),
        item=whole(data.item, item),
        time=time[order],
        value=None if data.value is None else whole(data.value, later.value),
        columns={name: whole(column, later.columns.get(name, unknown)) for name, column in data.columns.items()},
        user_features=known,
        impressions=None,
    )


def remove_users(data: Dataset, users: Iterable[str]) -> Dataset:
    """Return the data without these users: no events, no features, no ids; the items stay. Impressions are left out."""
    rows = data.users.rows(users)
    keep = np.ones(data.n_users, np.bool_)
    keep[rows[rows >= 0]] = False
    if keep.all():
        return data
    row = (np.cumsum(keep) - 1).astype(np.int32)
    left = data.select(keep[data.user])
    known = {name: replace(feature, values=feature.values[keep]) for name, feature in data.user_features.items()}
    users_left = Vocabulary.in_order(data.users.series.filter(keep.tolist()))
    return replace(left, users=users_left, user=row[left.user], user_features=known)
