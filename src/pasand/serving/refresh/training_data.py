"""Training data of a refresh: the bundle's own data, plus the events and catalogue changes stored since."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.encodings import CATEGORIES
from pasand.data.features import Feature
from pasand.data.updates import NewEvents, append_events, remove_users
from pasand.encoders.columns import encode_new
from pasand.errors import InputError
from pasand.serving.engine.feature_values import parse_value
from pasand.serving.engine.scale import Scale
from pasand.serving.schemas import RequestError
from pasand.serving.states.contract import Change, Event, State
from pasand.serving.states.undone import without_undone
from pasand.types import Mask, Rows

logger = logging.getLogger(__name__)

CHUNK = 10_000
"""Events, or users, that are read from a state in one call."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The joined data of a bundle and a state."""

    data: Dataset
    changes: Sequence[Change]
    """All changes of the catalogue that the state holds."""
    last_event: int
    """Number of the state's last event that was read."""
    n_new: int
    """Events that the bundle's data do not contain."""
    n_unknown: int
    """Events since then that are left out, since their items are not in the catalogue."""
    forgotten: Sequence[str]
    """Users of the bundle's data who were forgotten."""

    @property
    def last_change(self) -> int:
        """Number of the last change of the catalogue, 0 if there is none."""
        return max((change.number for change in self.changes), default=0)

    @property
    def available(self) -> Mask:
        """(N,) which items have not been removed."""
        available = np.ones(self.data.n_items, np.bool_)
        rows = self.data.items.rows([change.item_id for change in self.changes if change.removed])
        available[rows[rows >= 0]] = False
        return available


def gather(bundle: Bundle, state: State, forgotten_users: Container[str] = ()) -> Gathered:
    """Return the data that a refresh of the bundle trains on.

    Of forgotten users, those of the state and the given ones, only their events since then are included. An item that
    was added with PUT is in the catalogue, together with its events that earlier bundles left out because they did not
    know the item. Events that were undone since are left out, and so are rejected items where the log has no ratings.

    Raises StateUnavailable if the state cannot be reached, InputError if it is not the state that the bundle was
    trained on.
    """
    after, last_event = bundle.counter("state_upto"), state.last()
    if last_event < after:
        cause = (
            f"it has {last_event:,} events, but the bundle was trained on {after:,}: it is the state of another service"
        )
        cure = "give the state of this service; with a new state, fit the bundle from its log again"
        raise InputError("state", cause=cause, cure=cure)
    changes = state.changes(0)
    forgotten = list(_forgotten(state, bundle.data.users.series.to_list(), forgotten_users))
    data = apply_to_catalogue(remove_users(bundle.data, forgotten), changes)
    new_items, gone = set(data.items.series.slice(bundle.data.n_items).to_list()), set(forgotten)
    events = []
    for number, event in _events(state, 0 if new_items or gone else after, last_event):
        if number <= after and event.item_id not in new_items and event.user_id not in gone:
            continue
        events.append(event)
    rates = Scale.of(bundle.data).lowest is not None
    events = [event for event in without_undone(events) if rates or not event.disliked]
    rows = data.items.rows([event.item_id for event in events])
    n_unknown = int((rows < 0).sum())
    return Gathered(
        data=append_events(data, _new_events(events, rows, Scale.of(bundle.data))),
        changes=changes,
        last_event=last_event,
        n_new=len(events) - n_unknown,
        n_unknown=n_unknown,
        forgotten=forgotten,
    )


def _forgotten(state: State, users: Sequence[str], also: Container[str]) -> Iterator[str]:
    for begin in range(0, len(users), CHUNK):
        chunk = users[begin : begin + CHUNK]
        recent_events = state.recent_events(chunk, 0)
        yield from (user for user, recent in zip(chunk, recent_events, strict=True) if recent.forgotten or user in also)


def _events(state: State, after: int, last: int) -> Iterator[tuple[int, Event]]:
    """Yield the events numbered above `after`, up to `last`, with their numbers."""
    while after < last:
        events = state.events(after, CHUNK)
        if not events:
            return
        yield from ((number, event) for number, event in events if number <= last)
        after = events[-1][0]


def _new_events(events: Sequence[Event], rows: Rows, scale: Scale) -> NewEvents:
    """Return the events whose items are in the catalogue, given the row of each event's item, -1 if unknown.

    Ratings outside the scale, which earlier versions stored, count as its nearest end, as while serving.
    """
    known = [event for event, row in zip(events, rows.tolist(), strict=True) if row >= 0]
    values = [scale.nearest(event.value) for event in known]
    outside = sum(value != event.value for value, event in zip(values, known, strict=True))
    if outside:
        logger.warning("%d ratings are outside the scale from %g to %g: its nearest end is used", outside, *scale)
    watched = [np.nan if event.watched_seconds is None else event.watched_seconds for event in known]
    return NewEvents(
        user=[event.user_id for event in known],
        item=[event.item_id for event in known],
        time=np.array([event.time for event in known], np.int64),
        value=np.array([np.nan if value is None else value for value in values], np.float32),
        columns={"watched_seconds": np.array(watched, np.float32)},
    )


def apply_to_catalogue(data: Dataset, changes: Sequence[Change]) -> Dataset:
    """Return the data with the items that changes added, and with the changed features of existing items.

    Categories that no item had before are added. Values that do not fit their feature are ignored, as while serving.
    """
    puts = [(change.item_id, change.features) for change in changes if change.features is not None]
    existing = data.items.rows([item for item, _ in puts])
    new_items = [item for (item, _), row in zip(puts, existing.tolist(), strict=True) if row < 0]
    extended = data.with_items(new_items, {})
    table = dict(extended.item_features)
    rows = extended.items.rows([item for item, _ in puts]).tolist()
    for name, feature in table.items():
        values = {row: features[name] for row, (_, features) in zip(rows, puts, strict=True) if name in features}
        table[name] = _with_values(name, feature, values)
    return replace(extended, item_features=_encoded(table, data, rows, [features for _, features in puts]))


def _encoded(
    table: dict[str, Feature], data: Dataset, rows: Sequence[int], given: Sequence[Mapping[str, Any]]
) -> dict[str, Feature]:
    """Return the features with vectors of the texts and files that changes gave, by the encoders of the data."""
    for one in data.encodings:
        if one.feature not in table:
            continue
        old = table[one.feature]
        is_filled = old.is_missing() < (one.kind in CATEGORIES)  # by a column of the items, which counts more
        texts = {
            row: str(values[one.column])
            for row, values in zip(rows, given, strict=True)
            if one.column in values and not is_filled[row]
        }
        if not texts:
            continue
        column = Feature(kind="text", values=np.array(list(texts.values()), np.dtypes.StringDType()))
        found = encode_new([one], {one.column: column}).get(one.feature)
        if found is not None:
            old = replace(old, names=tuple(dict.fromkeys([*old.names, *found.names])))
            found, _ = found.coded_as(old)
            by_row = {row: found.select(np.array([at], np.int32)) for at, row in enumerate(texts)}
            table[one.feature] = old.replaced(by_row)
    return table


def _with_values(name: str, feature: Feature, values: dict[int, Any]) -> Feature:
    """Return a feature with new values, as JSON gives them, in some rows."""
    parsed: dict[int, Feature] = {}
    for row, value in values.items():
        try:
            parsed[row] = parse_value(value, feature, f"features.{name}")
        except RequestError:  # the service has logged it
            continue
    categories = [category for one in parsed.values() for category in one.names]
    feature = replace(feature, names=tuple(dict.fromkeys([*feature.names, *categories])))
    coded: dict[int, Feature] = {}
    for row, one in parsed.items():
        try:
            coded[row] = one.coded_as(feature)[0]
        except ValueError:  # a vector of another width
            continue
    return feature.replaced(coded)
