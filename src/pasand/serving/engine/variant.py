"""A bundle that is ready to answer: requests become the queries that evaluation asks, and rows become ids again."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from pasand import bundle as bundles
from pasand.bundle import Bundle
from pasand.contracts import Explains
from pasand.data.features import Feature
from pasand.growable import extended
from pasand.recommender import Recommender, reasons
from pasand.serving.engine.feature_values import coded, mask, shown
from pasand.serving.schemas import HistoryItem, ItemName, Recommended, RecommendRequest, RequestError
from pasand.serving.states.contract import Change, RecentEvents
from pasand.stages.filtering import DropSeen
from pasand.types import Array, Candidates, Mask, Queries, Rows, Times

logger = logging.getLogger(__name__)

MASKS, MASK_BYTES = 128, 128_000_000
"""Filters whose masks are kept at most, and what they may take together; one is kept whatever it takes."""
SPOKEN = 3
"""Items of the history that are named as reasons at most."""

Observe = Callable[[str, float], None]
"""Takes the name of a step and the seconds that it took."""
NO_RECENT_EVENTS = RecentEvents([], False)


@dataclass(eq=False)
class Variant:
    """One bundle in use. Not to be called from two threads at once."""

    name: str
    place: str
    """Folder that the bundle was read from."""
    bundle: Bundle
    share: float = 1.0
    """Of the users, how many it answers, in proportion to the other variants' shares."""
    seen_change: int = 0
    """Number of the latest change of the catalogue that it has taken in."""
    _removed: Mask = field(init=False, repr=False)
    _there: Mask | None = field(default=None, init=False, repr=False)
    """(1, N) what was not removed; None: everything."""
    _masks: OrderedDict[bytes, Mask] = field(default_factory=OrderedDict, init=False, repr=False)
    mask_uses: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    """Filters answered since somebody last looked: by a mask that was kept, or by one that was made."""
    _anything: Recommender = field(init=False, repr=False)
    _names: dict[int, str] = field(init=False, repr=False)
    _explains: bool = field(init=False, repr=False)
    digest: str = field(init=False)
    """What tells the bundle from others, in 16 hexadecimal digits."""

    def __post_init__(self) -> None:
        recommender, self.digest = self.recommender, self.bundle.digest[:16]
        self._removed = np.zeros(self.bundle.data.n_items, np.bool_)
        kept = [one for one in recommender.filters if not isinstance(one, DropSeen)]
        self._anything = replace(recommender, filters=kept)
        parts = self.bundle.assembly.components
        self._names = {id(part): name for name, part in parts.items()}
        self._explains = any(isinstance(part, Explains) for part in parts.values())

    @classmethod
    def read(cls, name: str, place: str, share: float = 1.0) -> Variant:
        """Load a bundle; raises InputError as `bundle.read`."""
        return cls(name, place, bundles.read(place), share)

    @property
    def recommender(self) -> Recommender:
        """What answers: the object that was evaluated."""
        return self.bundle.assembly.recommender

    @property
    def after(self) -> int:
        """Number of the last event of the state that the bundle was trained on; 0: of none."""
        return int(self.bundle.manifest.get("state_upto", 0))

    @property
    def n_offered(self) -> int:
        """Items of the catalogue that were not removed."""
        return len(self._removed) - int(np.count_nonzero(self._removed))

    @property
    def n_masks(self) -> int:
        """Filters whose masks are kept now."""
        return len(self._masks)

    def name_of(self, part: object) -> str:
        """Return the name of a component in the recipe, or its class."""
        return self._names.get(id(part), type(part).__name__)

    # answering

    def key(self, ask: RecommendRequest) -> bytes:
        """Return what requests that can be answered by one call have in common."""
        return msgspec.json.encode((ask.k, ask.exclude_seen, ask.allow, ask.filters))

    def answer(
        self, asks: Sequence[RecommendRequest], recent_events: Sequence[RecentEvents], now: int, observe: Observe
    ) -> list[tuple[bool, list[Recommended], list[str]]]:
        """Return for requests of one `key` whether the user is known, the items, and notes; raises Refused."""
        queries, notes = self.queries(asks, recent_events, now)
        recommender = self.recommender if asks[0].exclude_seen else self._anything
        found = self._run(recommender, queries, observe)
        causes = None
        if self._explains and any(ask.explain for ask in asks):
            causes = reasons(recommender, queries, found.items)
        answers = []
        for place, ask in enumerate(asks):
            why = causes[place] if causes is not None and ask.explain else None
            known = bool(queries.users[place] >= 0)
            answers.append((known, self._placed(found, place, why), notes[place]))
        return answers

    def _run(self, recommender: Recommender, queries: Queries, observe: Observe) -> Candidates:
        began = perf_counter()
        narrowed = recommender.narrowed(queries)
        for part, found in recommender.steps(narrowed):
            candidates, ended = found, perf_counter()
            observe(self.name_of(part), ended - began)
            began = ended
        return candidates.top(queries.k)

    def _placed(self, found: Candidates, place: int, why: list[Any] | None) -> list[Recommended]:
        data = self.bundle.data
        rows = found.items[place]
        rows = rows[rows >= 0]
        ids, scores = data.items.ids(rows), found.scores[place].tolist()
        drawn = None if found.propensity is None else found.propensity[place].tolist()
        items = []
        for at, (item, row) in enumerate(zip(ids, rows.tolist(), strict=True)):
            because = None if why is None else [self.named(reason.item) for reason in why[at][:SPOKEN]]
            chance = None if drawn is None or drawn[at] != drawn[at] else drawn[at]
            items.append(Recommended(item, data.title(row), at + 1, scores[at], because, chance))
        return items

    def queries(
        self, asks: Sequence[RecommendRequest], recent_events: Sequence[RecentEvents], now: int
    ) -> tuple[Queries, list[list[str]]]:
        """Return requests of one `key` as queries, with notes of what was left aside of each.

        A history is what the bundle knows of the user, unless that is forgotten, then the events of the state, then
        what the request tells; in order of time, as evaluation has it, where times say otherwise. Raises Refused as
        `coding.coded` does.
        """
        data = self.bundle.data
        notes: list[list[str]] = [[] for _ in asks]
        users = data.users.rows([ask.user or "" for ask in asks])
        users[[ask.user is None or past.forgotten for ask, past in zip(asks, recent_events, strict=True)]] = -1
        given = [[_clicked(one) for one in ask.history] for ask in asks]
        later = [
            [(event.item, event.time, event.value) for event in past.events]
            + [(one.item, one.time, one.value) for one in told]
            for past, told in zip(recent_events, given, strict=True)
        ]
        rows = data.items.rows([item for more in later for item, _, _ in more])
        last = int(data.time[-1]) if len(data) and data.order == "time" else 0
        latest = [
            past.events[-1].time if past.events else 0 for past in recent_events
        ]  # above now after a clock was set back
        time = np.maximum(np.array(latest, np.int64), max(now, last + 1))
        queries = data.queries(users, k=min(asks[0].k, data.n_items), time=time, features={})
        queries = self._with_events(queries, later, rows, notes)
        deny = self._denied(asks)
        return replace(
            queries, features=self._features(asks, users, notes), exclude=deny, allowed=self.allowed(asks[0])
        ), notes

    def _with_events(
        self, queries: Queries, later: list[list[tuple[str, int | None, float | None]]], rows: Rows, notes: list[Any]
    ) -> Queries:
        longest = max((len(more) for more in later), default=0)
        if not longest:
            return queries
        old = queries.history.shape[1]
        shape = (len(later), old + longest)
        history, value = np.full(shape, -1, np.int32), np.full(shape, np.nan, np.float32)
        times, at = np.zeros(shape, np.int64), 0
        for place, more in enumerate(later):
            mine = rows[at : at + len(more)]
            at += len(more)
            told = np.flatnonzero(mine >= 0)
            if len(told) < len(more):
                unknown = [more[one][0] for one in np.flatnonzero(mine < 0)[:3].tolist()]
                notes[place].append(f"not in the catalogue, and left aside: {', '.join(unknown)}")
            end, now = shape[1], int(queries.time[place])
            start = end - len(told)
            history[place, start:] = mine[told]
            times[place, start:] = [now if more[i][1] is None else more[i][1] for i in told.tolist()]
            value[place, start:] = [np.nan if more[i][2] is None else more[i][2] for i in told.tolist()]
            if old:
                history[place, start - old : start] = queries.history[place]
                times[place, start - old : start] = queries.history_time[place]
                value[place, start - old : start] = queries.history_value[place]
        if self.bundle.data.order == "time":
            history, times, value = _in_order(history, times, value)
        return replace(queries, history=history, history_time=times, history_value=value)

    def _features(self, asks: Sequence[RecommendRequest], users: Rows, notes: list[list[str]]) -> dict[str, Array]:
        known = self.bundle.data.user_features
        table = {name: feature.take(users) for name, feature in known.items()}
        for place, ask in enumerate(asks):
            if not ask.features:
                continue
            found, more = coded(ask.features, known, "features")
            notes[place] += more
            for name, feature in found.items():
                wide = feature.values.shape[1:]
                if wide > table[name].shape[1:]:
                    pad = ((0, 0), (0, wide[0] - table[name].shape[1]))
                    table[name] = np.pad(table[name], pad, constant_values=-1)
                table[name][place] = feature.values[0]
        return table

    def _denied(self, asks: Sequence[RecommendRequest]) -> Rows | None:
        longest = max(len(ask.deny) for ask in asks)
        if not longest:
            return None
        out = np.full((len(asks), longest), -1, np.int32)
        for place, ask in enumerate(asks):
            out[place, : len(ask.deny)] = self.bundle.data.items.rows(ask.deny)
        return out

    def allowed(self, ask: RecommendRequest) -> Mask | None:
        """Return the mask of a request's filters and of what was removed, (1, N); None: everything is allowed.

        Raises Refused for a filter that there cannot be.
        """
        if ask.allow is None and not ask.filters:
            return self._there
        key = msgspec.json.encode((ask.allow, ask.filters))
        found = self._masks.get(key)
        self.mask_uses["made" if found is None else "kept"] += 1
        if found is None:
            found = self._masks[key] = self._mask(ask)
            if len(self._masks) > max(1, min(MASKS, MASK_BYTES // found.nbytes)):
                self._masks.popitem(last=False)
        else:
            self._masks.move_to_end(key)
        return found

    def _mask(self, ask: RecommendRequest) -> Mask:
        data = self.bundle.data
        through = ~self._removed
        if ask.allow is not None:
            listed = np.zeros(data.n_items, np.bool_)
            rows = data.items.rows(ask.allow)
            listed[rows[rows >= 0]] = True
            through &= listed
        for name, wanted in ask.filters.items():
            feature = data.item_features.get(name)
            if feature is None:
                there = ", ".join(data.item_features) or "none"
                cause = f"items have no feature {name!r}; they have: {there}"
                raise RequestError(422, "unknown_feature", cause, f"filters.{name}")
            through &= mask(feature, wanted, f"filters.{name}")
        return through[None, :]

    # the catalogue

    def named(self, row: int) -> ItemName:
        """Return the id and the title of a row."""
        return ItemName(self.bundle.data.items.ids([row])[0], self.bundle.data.title(row))

    def row(self, item: str) -> int:
        """Return the row of an item that is in the catalogue and not removed, else -1."""
        row = int(self.bundle.data.items.rows([item])[0])
        return -1 if row >= 0 and self._removed[row] else row

    def features(self, row: int) -> dict[str, Any]:
        """Return what is known of an item, as JSON has it; vectors are left out."""
        told = self.bundle.data.item_features
        return {name: shown(feature, row) for name, feature in told.items() if feature.kind != "vector"}

    def change(self, changes: Sequence[Change]) -> None:
        """Take in changes of the catalogue: items that came, that changed what is known of them, or that went.

        New items are embedded by the models that read features. Of items that are there already, what is shown and
        filtered by changes at once, and what models have learnt of them stays until the bundle is fitted again.
        """
        fresh: list[Change] = []
        for one in changes:
            row = int(self.bundle.data.items.rows([one.item])[0])
            if row < 0 and not one.removed:
                fresh.append(one)
            elif row >= 0:
                self._removed[row] = one.removed
                if one.features:
                    self._mend(row, one.features)
        if fresh:
            self._add(fresh)
        self._there = ~self._removed[None, :] if self._removed.any() else None
        self.seen_change = max([self.seen_change, *(one.number for one in changes)])
        self._masks.clear()

    def check(self, features: dict[str, Any]) -> list[str]:
        """Return what of an item's features would be left aside; raises Refused as `coding.coded` does."""
        return coded(features, self.bundle.data.item_features, "features")[1]

    def _add(self, fresh: Sequence[Change]) -> None:
        known = self.bundle.data.item_features
        told = [self._read(one.features or {}) for one in fresh]
        table: dict[str, Feature] = {}
        for name, feature in known.items():
            whole = replace(feature, values=feature.values[:0])
            for mine in told:
                whole = whole.extended(mine.get(name), 1)
            table[name] = whole
        self.bundle = self.bundle.add_items([one.item for one in fresh], table)
        self._removed = extended(self._removed, np.zeros(len(fresh), np.bool_))

    def _read(self, features: dict[str, Any]) -> dict[str, Feature]:
        """Return the features that this bundle can read; another variant's may be others."""
        found: dict[str, Feature] = {}
        for name, value in features.items():
            try:
                found |= coded({name: value}, self.bundle.data.item_features, "features")[0]
            except RequestError as error:
                logger.warning("variant %s leaves aside feature %s of an item: %s", self.name, name, error)
        return found

    def _mend(self, row: int, features: dict[str, Any]) -> None:
        data = self.bundle.data
        table = dict(data.item_features)
        for name, feature in self._read(features).items():
            values = table[name].values.copy()
            if values.ndim > 1 and feature.values.shape[1] > values.shape[1]:
                wider = feature.values.shape[1] - values.shape[1]
                values = np.pad(values, ((0, 0), (0, wider)), constant_values=-1)
            values[row] = feature.values[0]
            table[name] = replace(table[name], values=values)
        self.bundle = replace(self.bundle, data=replace(data, item_features=table))


def _clicked(one: str | HistoryItem) -> HistoryItem:
    return HistoryItem(one) if isinstance(one, str) else one


def _in_order(history: Rows, times: Times, value: Array) -> tuple[Rows, Times, Array]:
    """Return histories in order of time, events of one time as they stand; (B, H) each, padding on the left."""
    if not ((times[:, 1:] < times[:, :-1]) & (history[:, :-1] >= 0)).any():
        return history, times, value
    order = np.argsort(np.where(history >= 0, times, np.iinfo(np.int64).min), axis=1, kind="stable")
    return (
        np.take_along_axis(history, order, 1),
        np.take_along_axis(times, order, 1),
        np.take_along_axis(value, order, 1),
    )
