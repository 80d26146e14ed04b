"""What a bundle would be fitted to by now: its own data, and what its service has been told since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.updates import NewEvents, append_events, remove_users
from pasand.errors import InputError
from pasand.serving.engine.feature_values import coded
from pasand.serving.schemas import RequestError
from pasand.serving.states.contract import Change, Event, State
from pasand.types import Mask, Rows

AT_ONCE = 10_000
"""Events, and users, that are asked of a state in one call."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The data of a bundle and of the state, joined."""

    data: Dataset
    changes: Sequence[Change]
    """Of the catalogue, all that the state has."""
    upto: int
    """Number of the last event of the state that is among them."""
    n_new: int
    """Events that the bundle's data do not have."""
    n_strange: int
    """Events since then that are left out, since their items are not in the catalogue."""
    forgotten: Sequence[str]
    """Users of the bundle's data of whom it must use nothing."""

    @property
    def changed_upto(self) -> int:
        """Number of the last change of the catalogue."""
        return max((one.number for one in self.changes), default=0)

    @property
    def offered(self) -> Mask:
        """(N,) which items have not been removed."""
        found = np.ones(self.data.n_items, np.bool_)
        rows = self.data.items.rows([one.item for one in self.changes if one.removed])
        found[rows[rows >= 0]] = False
        return found


def gather(bundle: Bundle, state: State) -> Gathered:
    """Return what the bundle would be fitted to by now; raises StateGone where the state cannot be reached.

    Raises InputError where it is another state than the one that the bundle was fitted to.

    Of users who were forgotten there is what they did since then alone. An item that came with PUT is in the catalogue,
    together with the events of it that earlier bundles left out because they did not know it.
    """
    after, upto = int(bundle.manifest.get("state_upto", 0)), state.last()
    if upto < after:
        cause = f"it has {upto:,} events, and the bundle was fitted to {after:,}: it is the state of another service"
        raise InputError("state", cause=cause, cure="give its own; with a new state, fit the bundle from its log again")
    changes = state.changes(0)
    forgotten = list(_forgotten(state, bundle.data.users.series.to_list()))
    data = catalogue(remove_users(bundle.data, forgotten), changes)
    fresh, gone = set(data.items.series.slice(bundle.data.n_items).to_list()), set(forgotten)
    kept = []
    for number, event in _events(state, 0 if fresh or gone else after, upto):
        if number <= after and event.item not in fresh and event.user not in gone:
            continue
        kept.append(event)
    rows = data.items.rows([event.item for event in kept])
    strange = int((rows < 0).sum())
    return Gathered(
        data=append_events(data, _later(kept, rows)),
        changes=changes,
        upto=upto,
        n_new=len(kept) - strange,
        n_strange=strange,
        forgotten=forgotten,
    )


def _forgotten(state: State, users: Sequence[str]) -> Iterator[str]:
    for begin in range(0, len(users), AT_ONCE):
        some = users[begin : begin + AT_ONCE]
        yield from (user for user, past in zip(some, state.recent_events(some, 0), strict=True) if past.forgotten)


def _events(state: State, after: int, upto: int) -> Iterator[tuple[int, Event]]:
    while after < upto:
        found = state.events(after, AT_ONCE)
        if not found:
            return
        yield from (one for one in found if one[0] <= upto)
        after = found[-1][0]


def _later(events: Sequence[Event], rows: Rows) -> NewEvents:
    known = [event for event, row in zip(events, rows.tolist(), strict=True) if row >= 0]
    watched = [np.nan if one.watched_seconds is None else one.watched_seconds for one in known]
    return NewEvents(
        user=[one.user for one in known],
        item=[one.item for one in known],
        time=np.array([one.time for one in known], np.int64),
        value=np.array([np.nan if one.value is None else one.value for one in known], np.float32),
        columns={"watched_seconds": np.array(watched, np.float32)},
    )


def catalogue(data: Dataset, changes: Sequence[Change]) -> Dataset:
    """Return the data with the items that changes put there, and with what they tell of those that were there already.

    Categories that no item had before are new ones. What a feature cannot be is left out, as while serving.
    """
    told = [(one.item, one.features) for one in changes if one.features is not None]
    there = data.items.rows([item for item, _ in told])
    fresh = [item for (item, _), row in zip(told, there.tolist(), strict=True) if row < 0]
    wider = data.with_items(fresh, {})
    table = dict(wider.item_features)
    rows = wider.items.rows([item for item, _ in told]).tolist()
    for name, feature in table.items():
        values = {row: features[name] for row, (_, features) in zip(rows, told, strict=True) if name in features}
        table[name] = _told(name, feature, values)
    return replace(wider, item_features=table)


def _told(name: str, feature: Feature, values: dict[int, Any]) -> Feature:
    """Return a feature in which some rows have other values, as JSON gave them."""
    if feature.kind in ("categorical", "bag"):
        spoken = [str(one) for value in values.values() for one in (value if isinstance(value, list) else [value])]
        feature = replace(feature, names=tuple(dict.fromkeys([*feature.names, *spoken])))
    found: dict[int, Feature] = {}
    for row, value in values.items():
        try:
            found[row] = coded({name: value}, {name: feature}, "features")[0][name]
        except RequestError:  # the service has told so in its log
            continue
    if feature.kind == "bag" and found:
        widest = max(found.values(), key=lambda one: one.values.shape[1])
        feature = feature.extended(replace(widest, values=widest.values[:0]), 0)
    table = feature.values.copy()
    for row, one in found.items():
        if feature.kind == "bag":
            table[row] = -1
            table[row, : one.values.shape[1]] = one.values[0]
        else:
            table[row] = one.values[0]
    return replace(feature, values=table)
