"""The test part of an audit: the events of a log that are later than all events that a bundle was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature, Features
from pasand.data.updates import NewEvents, append_events
from pasand.errors import InputError
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.types import Rows


def later_events(bundle: Bundle, source: Dataset, typed: str) -> tuple[Bundle, Split, Sequence[str]]:
    """Return the bundle with the items of the log, the split at the end of the bundle's data, and what was known.

    Train is what the bundle was fitted to. The test queries are those of the temporal protocol, with live histories, on
    the events of the log that are later than the bundle's last one. Rows are those of the bundle, with the new users
    and items of the log after them; items get their scores from their features, as while serving. Features of users
    are those of the log. The components of the bundle are changed in place. Raises InputError if there is no later
    event, naming the commands that fit to the earlier part; `typed` is how these name the log.
    """
    own = bundle.data
    _check(own, source)
    end = int(own.time[-1]) if len(own) else np.iinfo(np.int64).min
    first = int(np.searchsorted(source.time, end, side="right"))
    if first == len(source):
        cause = (
            f"it has no event after {_day(end)}, the end of the data that the bundle was fitted to, so nothing in it "
            "is new to the bundle"
        )
        fit = f"pasand fit {typed} --until 0.8 --out earlier"
        cure = f"fit to the earlier part first: {fit} && pasand audit earlier {typed}"
        raise InputError(source.name, cause=cause, cure=cure)
    later = source.select(slice(first, len(source)))
    new_items = np.flatnonzero(own.items.rows(source.items.series) < 0).astype(np.int32)
    if len(new_items):
        features = {name: one.select(new_items) for name, one in source.item_features.items()}
        bundle = bundle.add_items(source.items.ids(new_items), features)
    common = {name: column for name, column in own.columns.items() if name in source.columns}
    data = append_events(
        replace(bundle.data, columns=common),
        NewEvents(
            user=later.users.ids(later.user),
            item=later.items.ids(later.item),
            time=later.time,
            value=np.full(len(later), np.nan, np.float32) if later.value is None else later.value,
            columns={name: later.columns[name] for name in common},
        ),
    )
    data = replace(data, user_features=_user_features(data, source, own.n_users))
    cut = len(data) - len(later)
    known = [
        f"The bundle was fitted to {len(own):,} events up to {_day(end)} ({own.name}).",
        f"It is audited on the {len(later):,} later events of {source.name}, up to {_day(int(later.time[-1]))}, "
        "which it has not seen; histories and counts are those at the time of each test query, as while serving.",
    ]
    if first != len(own):
        had = (
            f"The log has {first:,} events up to that time, and the bundle {len(own):,}; those of the bundle are used."
        )
        known.append(had)
    if len(new_items):
        known.append(f"{len(new_items):,} items of the log are new to the bundle.")
    if not cut:
        raise InputError(
            "bundle", cause="it was fitted to no event", cure=f"pasand fit {typed} --until 0.8 --out earlier"
        )
    (split,) = Temporal(train_share=(cut + 0.5) / len(data)).split(data)
    return bundle, replace(split, name=f"test queries from {_day(int(later.time[0]))} on, live histories"), known


def _check(own: Dataset, source: Dataset) -> None:
    """Raise InputError for a log without times, or with values of another meaning."""
    for name, data in ((source.name, source), ("the bundle's data", own)):
        if data.order != "time":
            cause, cure = "an audit needs the time of each event", "name its column: --column time=NAME"
            raise InputError(name, cause=cause, cure=cure)
    if own.value is not None and own.values != source.values:
        cause = f"the values of its events are {source.values}, and the bundle was fitted to {own.values}"
        raise InputError(source.name, cause=cause, cure="give the log in the form that the bundle was fitted to")


def _user_features(data: Dataset, source: Dataset, n_own: int) -> Features:
    """Return the features of the users of the merged data: those of the log where it has the user and the feature."""
    row = source.users.rows(data.users.series)
    return {
        name: _merged(feature, source.user_features[name], row) if name in source.user_features else feature
        for name, feature in data.user_features.items()
    } | {name: one.select(row) for name, one in source.user_features.items() if name not in data.user_features}


def _merged(feature: Feature, of_source: Feature, row: Rows) -> Feature:
    """Return a feature with the values of the log in the rows that it has; `row`, (U,), -1 where it has none."""
    try:
        coded, _ = of_source.coded_as(feature)
    except ValueError:  # of another kind, so the bundle could not read it
        return feature
    both, n = feature.extended(coded, len(coded)), len(feature)
    return both.select(np.where(row >= 0, n + row, np.arange(n)).astype(np.int32))


def _day(seconds: int) -> str:
    return str(np.datetime64(seconds, "s"))[:16].replace("T", " ") + " UTC"
