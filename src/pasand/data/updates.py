"""Updates of a dataset: appends new events, and removes users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.types import Array, Scores, Times


@dataclass(frozen=True, kw_only=True)
class NewEvents:
    """E events with external ids, in any order of time."""

    user: Sequence[str]
    item: Sequence[str]
    """Ids in the catalogue of the data to which the events are appended."""
    time: Times
    value: Scores
    """nan where an event has no value."""
    columns: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)


def append_events(data: Dataset, events: NewEvents) -> Dataset:
    """Return the data with new events merged in order of time, after existing events of the same timestamp.

    New users get the rows after the existing ones, and have no features. Values are dropped where the data have none,
    as are columns that the data do not have. A column that the new events do not have is nan for them. The result has
    no impressions. Raises ValueError for an item that is not in the catalogue.
    """
    new_users = set(events.user) - set(data.users.series.to_list())
    users = data.users.appended(sorted(new_users))
    user_features = {name: feature.extended(None, len(new_users)) for name, feature in data.user_features.items()}
    item = data.items.rows(events.item)
    if (item < 0).any():
        raise ValueError(f"an event's item is not in the catalogue: {events.item[int(np.argmax(item < 0))]!r}")
    time = np.concatenate([data.time, events.time if data.order == "time" else np.zeros(len(events), np.int64)])
    order = np.argsort(time, kind="stable")
    missing = np.full(len(events), np.nan, np.float32)

    def merged(old: Array, new: Array) -> Array:
        return np.concatenate([old, new.astype(old.dtype)])[order]

    return replace(
        data,
        users=users,
        user=merged(data.user, users.rows(events.user)),
        item=merged(data.item, item),
        time=time[order],
        value=None if data.value is None else merged(data.value, events.value),
        columns={name: merged(column, events.columns.get(name, missing)) for name, column in data.columns.items()},
        user_features=user_features,
        impressions=None,
        first_seen=None,
    )


def remove_users(data: Dataset, users: Iterable[str]) -> Dataset:
    """Return the data without these users, their events, features and ids. All items stay; impressions are removed.

    Where none of the users is in the data, they are returned as they are.
    """
    rows = data.users.rows(users)
    keep = np.ones(data.n_users, np.bool_)
    keep[rows[rows >= 0]] = False
    if keep.all():
        return data
    new_row = (np.cumsum(keep) - 1).astype(np.int32)
    events = data.select(keep[data.user])
    features = {name: replace(feature, values=feature.values[keep]) for name, feature in data.user_features.items()}
    vocabulary = Vocabulary.in_order(data.users.series.filter(keep.tolist()))
    return replace(events, users=vocabulary, user=new_row[events.user], user_features=features)
