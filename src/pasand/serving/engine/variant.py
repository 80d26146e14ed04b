"""Variant: a bundle ready to respond; turns requests into the same queries as evaluation, and rows back into ids."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from pasand import bundle as bundles
from pasand.bundle import Bundle
from pasand.contracts import CountsShown, Explains, KeepsRules, Matches, Notes
from pasand.data.encodings import with_columns
from pasand.data.features import AVAILABLE_FROM, Feature
from pasand.following import counters
from pasand.growable import extended
from pasand.recommender import Recommender, matches, reasons
from pasand.serving.engine.feature_values import feature_to_json, filter_mask, parse_features
from pasand.serving.engine.followed_events import FollowedEvents
from pasand.serving.engine.histories import add_events
from pasand.serving.engine.padding import groups_by_size, padded
from pasand.serving.engine.propensities import draws, known_of
from pasand.serving.engine.releases import released
from pasand.serving.engine.scale import Scale
from pasand.serving.schemas import HistoryItem, ItemName, Recommended, RecommendRequest, RequestError
from pasand.serving.states.contract import Change, RecentEvents
from pasand.serving.states.undone import without_undone
from pasand.serving.wording import Wording, of_bundle
from pasand.stages.filtering import DropSeen
from pasand.types import Array, Candidates, Mask, Queries, Rows

logger = logging.getLogger(__name__)

MAX_MASKS, MAX_MASK_BYTES = 128, 128_000_000
"""Cached masks of filters, and bytes that they take together, at most; one mask is cached whatever its size."""
MAX_REASONS = 3
"""Items of the history, or features of an item, that are named as reasons at most."""

Observe = Callable[[str, float], None]
"""Takes the name of a step and its duration in seconds."""
NO_RECENT_EVENTS = RecentEvents([], False)
OUTDATED = (0, 0)
"""Period of no time."""


def ignore_step(step: str, seconds: float) -> None:
    """Observe nothing."""


@dataclass(eq=False)
class Variant:
    """One bundle in use. Must not be called from two threads at once."""

    name: str
    folder: str
    """Folder that the bundle was read from."""
    bundle: Bundle
    share: float = 1.0
    """Share of the users that it serves, relative to the other variants' shares."""
    last_change: int = 0
    """Number of the latest change of the catalogue that was applied."""
    _removed: Mask = field(init=False, repr=False)
    _available: Mask | None = field(default=None, init=False, repr=False)
    """(1, N) items that were not removed and are released; None: all."""
    _holds: tuple[int, int] = field(default=OUTDATED, init=False, repr=False)
    """Times from which and before which `_available` holds."""
    _masks: OrderedDict[bytes, Mask] = field(default_factory=OrderedDict, init=False, repr=False)
    mask_uses: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    """Filters evaluated since the counter was last cleared, by use of the cache: hit or miss."""
    broken_rules: Counter[str] = field(default_factory=Counter, init=False, repr=False)
    """Lists since the counter was last cleared that did not keep a rule of the policy, by its name."""
    _with_seen: Recommender = field(init=False, repr=False)
    _names: dict[int, str] = field(init=False, repr=False)
    _explains: bool = field(init=False, repr=False)
    _matches: bool = field(init=False, repr=False)
    _with_notes: list[Notes] = field(init=False, repr=False)
    """Stages that report what they could not do."""
    _added_from: int = field(init=False, repr=False)
    """Row of the first item that was added while serving."""
    scale: Scale = field(init=False, repr=False)
    followed: FollowedEvents = field(init=False, repr=False)
    """Components that count the stored events."""
    counters: list[CountsShown] = field(init=False, repr=False)
    """Stages that choose by what was shown; see `ShownLists`."""
    wording: Wording = field(init=False)
    """What the items are called."""
    digest: str = field(init=False)
    """Identifies the bundle, 16 hexadecimal digits."""

    def __post_init__(self) -> None:
        self.bundle.counter("state_upto")  # raises InputError before the bundle is used
        recommender, self.digest = self.recommender, self.bundle.digest[:16]
        data = self.bundle.data
        self._removed, self._added_from = np.zeros(data.n_items, np.bool_), data.n_items
        self.scale = Scale.of(data)
        self.followed, self.counters = FollowedEvents(self.bundle, self.scale), counters(recommender)
        filters = [one for one in recommender.filters if not isinstance(one, DropSeen)]
        self._with_seen = replace(recommender, filters=filters)
        components = self.bundle.assembly.components
        self.wording = of_bundle(components.values(), data)
        self._names = {id(component): name for name, component in components.items()}
        self._with_notes = [stage for stage in recommender.stages if isinstance(stage, Notes)]
        self._explains = any(isinstance(component, Explains) for component in components.values())
        self._matches = any(isinstance(component, Matches) for component in components.values())

    @classmethod
    def read(cls, name: str, folder: str, share: float = 1.0) -> Variant:
        """Load a bundle; raises InputError as `bundle.read` does, and for a number of events that is none."""
        return cls(name, folder, bundles.read(folder), share)

    @property
    def recommender(self) -> Recommender:
        """The recommender, the same object as was evaluated."""
        return self.bundle.assembly.recommender

    @property
    def state_upto(self) -> int:
        """Number of the state's last event that the bundle was trained on, 0 if on none."""
        return self.bundle.counter("state_upto")

    @property
    def n_available(self) -> int:
        """Items of the catalogue that were not removed."""
        return len(self._removed) - int(np.count_nonzero(self._removed))

    @property
    def n_masks(self) -> int:
        """Filters whose masks are cached."""
        return len(self._masks)

    def name_of(self, component: object) -> str:
        """Return the name of a component in the recipe, or else its class."""
        return self._names.get(id(component), type(component).__name__)

    # recommending

    def group_key(self, request: RecommendRequest) -> bytes:
        """Return a key that is equal for requests that one call can serve."""
        return msgspec.json.encode((request.k, request.exclude_seen, request.allow, request.filters))

    def recommend(
        self, requests: Sequence[RecommendRequest], recent_events: Sequence[RecentEvents], now: int, observe: Observe
    ) -> list[tuple[bool, list[Recommended], list[str]]]:
        """Return for each request of one `group_key` whether the user is known, the items, and notes.

        Raises RequestError as `queries` does. Requests with much longer histories than the others are computed apart
        from them, so that they do not pad the others' histories.
        """
        groups = groups_by_size(self._sizes(requests, recent_events)) if len(requests) > 1 else []
        if len(groups) > 1:
            results: dict[int, tuple[bool, list[Recommended], list[str]]] = {}
            for group in groups:
                part = [requests[i] for i in group], [recent_events[i] for i in group]
                results |= zip(group, self.recommend(*part, now, observe), strict=True)
            return [results[i] for i in range(len(requests))]
        queries, notes = self.queries(requests, recent_events, now)
        recommender = self.recommender if requests[0].exclude_seen else self._with_seen
        candidates = self._run(recommender, queries, observe)
        for stage in self._with_notes:
            found = stage.notes(queries, candidates)
            notes = [old + new for old, new in zip(notes, found, strict=True)]
            if any(found) and isinstance(stage, KeepsRules):
                for names in stage.broken(queries, candidates):
                    self.broken_rules.update(names)
        all_reasons, all_matches = None, None
        if any(request.explain for request in requests):
            all_reasons = reasons(recommender, queries, candidates.items) if self._explains else None
            all_matches = matches(recommender, queries, candidates.items) if self._matches else None
        responses = []
        for row, request in enumerate(requests):
            why = [each[row] if each is not None and request.explain else None for each in (all_reasons, all_matches)]
            is_known = bool(queries.users[row] >= 0) or bool((queries.history[row] >= 0).any())
            responses.append((is_known, self._recommended(candidates, row, why, notes[row]), notes[row]))
        return responses

    def _sizes(self, requests: Sequence[RecommendRequest], recent_events: Sequence[RecentEvents]) -> list[int]:
        """Return how many entries each request takes in a batch: the events of its user and the items seen."""
        start = self.bundle.data.by_user.start
        rows = self.bundle.data.users.rows([request.user_id or "" for request in requests])
        events = np.where(rows >= 0, start[rows + 1] - start[rows], 0).tolist()
        return [
            n + len(recent.events) + len(request.history) + (0 if recent.seen is None else len(recent.seen))
            for n, request, recent in zip(events, requests, recent_events, strict=True)
        ]

    def _run(self, recommender: Recommender, queries: Queries, observe: Observe) -> Candidates:
        """Return the top candidates, and pass the duration of each step to `observe`."""
        began = perf_counter()
        narrowed = recommender.narrowed(queries)
        for component, candidates in recommender.steps(narrowed):
            top, ended = candidates, perf_counter()
            observe(self.name_of(component), ended - began)
            began = ended
        return top.top(queries.k)

    def _recommended(
        self, candidates: Candidates, row: int, why: Sequence[list[Any] | None], notes: list[str]
    ) -> list[Recommended]:
        """Return the items of a list, without those whose score is not finite: JSON has no such numbers."""
        data, items = self.bundle.data, candidates.items[row]
        shown = np.flatnonzero((items >= 0) & np.isfinite(candidates.scores[row]))
        n_left_out = int(np.count_nonzero(items >= 0)) - len(shown)
        if n_left_out:
            notes.append(f"left out, since their scores are not finite: {n_left_out} items")
        items = items[shown]
        ids, scores = data.items.ids(items), candidates.scores[row, shown].tolist()
        propensities = known_of(candidates.propensity, row, shown)
        alone = known_of(candidates.slot_propensity, row, shown)
        recommended = []
        for i, (item_id, item) in enumerate(zip(ids, items.tolist(), strict=True)):
            of_history, of_content = (None if each is None else each[int(shown[i])][:MAX_REASONS] for each in why)
            reason = None if of_history is None else [self.item_name(one.item) for one in of_history]
            found = None if reason or not of_content else of_content
            title = data.title(item)
            recommended.append(Recommended(item_id, title, i + 1, scores[i], reason, found, propensities[i], alone[i]))
        return recommended

    def queries(
        self, requests: Sequence[RecommendRequest], recent_events: Sequence[RecentEvents], now: int
    ) -> tuple[Queries, list[list[str]]]:
        """Return requests of one `group_key` as queries, with notes on what was ignored of each.

        A history consists of the bundle's events of the user, unless the user was forgotten, then the recent events,
        then the history of the request; it leaves out events that were undone and, in a log without ratings, rejected
        items, which are excluded. It is sorted by time, as in evaluation, if it is not in that order. Stored
        ratings outside the log's scale count as its nearest end. Raises RequestError as `parse_features` and `allowed`
        do, and for a rating of a request that is outside the scale.
        """
        data = self.bundle.data
        notes: list[list[str]] = [[] for _ in requests]
        users = data.users.rows([request.user_id or "" for request in requests])
        pairs = list(zip(requests, recent_events, strict=True))
        users[[request.user_id is None or recent.forgotten for request, recent in pairs]] = -1
        counted = [without_undone(recent.events) for recent in recent_events]
        rejected: list[list[str]] = [[] for _ in requests]
        if self.scale.lowest is None:  # a history without ratings cannot hold what a user rejects
            rejected = [[event.item_id for event in events if event.disliked] for events in counted]
            counted = [[event for event in events if not event.disliked] for events in counted]
        new_events = [
            [(event.item_id, event.time, self.scale.nearest(event.value)) for event in events]
            + [(item.item_id, item.time, item.value) for item in map(_history_item, request.history)]
            for request, events in zip(requests, counted, strict=True)
        ]
        for request in requests:
            for i, item in enumerate(request.history):
                if not isinstance(item, str):
                    self.scale.check(item.value, f"history[{i}].value")
        rows = data.items.rows([item for events in new_events for item, _, _ in events])
        last = int(data.time[-1]) if len(data) and data.order == "time" else 0
        # later than now if a clock was set back
        latest = [recent.events[-1].time if recent.events else 0 for recent in recent_events]
        time = np.maximum(np.array(latest, np.int64), max(now, last + 1))
        queries = data.queries(users, k=min(requests[0].k, data.n_items), time=time, features={})
        queries = add_events(queries, new_events, rows, notes, sort=data.order == "time")
        features = self._features(requests, users, notes)
        denied = [[*request.deny, *items] for request, items in zip(requests, rejected, strict=True)]
        exclude = padded([data.items.rows(items) if items else None for items in denied])
        seen = padded([recent.seen for recent in recent_events]) if requests[0].exclude_seen else None
        allowed = self.allowed(requests[0], now)
        queries = replace(queries, features=features, exclude=exclude, seen=seen, allowed=allowed)
        return replace(queries, draw=draws(requests)), notes

    def _features(self, requests: Sequence[RecommendRequest], users: Rows, notes: list[list[str]]) -> dict[str, Array]:
        """Return the user features of the bundle, replaced by those of the requests."""
        known = self.bundle.data.user_features
        table = {name: feature.take(users) for name, feature in known.items()}
        given: dict[str, dict[int, Feature]] = {}
        for row, request in enumerate(requests):
            if request.features:
                features, ignored = parse_features(request.features, known, "features")
                notes[row] += ignored
                for name, feature in features.items():
                    given.setdefault(name, {})[row] = feature
        for name, values in given.items():
            table[name] = known[name].select(users).replaced(values).take(np.arange(len(users), dtype=np.int32))
        return table

    def allowed(self, request: RecommendRequest, now: int) -> Mask | None:
        """Return the mask of the items that a request's filters allow and that are available, (1, N); None: all.

        Available are the items that were not removed and are released (`released`). A filter by `available_from` allows
        items that are released later, too. Raises RequestError for an invalid filter.
        """
        if not self._holds[0] <= now < self._holds[1]:
            self._find_available(now)
        if request.allow is None and not request.filters:
            return self._available
        key = msgspec.json.encode((request.allow, request.filters))
        mask = self._masks.get(key)
        self.mask_uses["miss" if mask is None else "hit"] += 1
        if mask is None:
            mask = self._masks[key] = self._mask(request)
            if len(self._masks) > max(1, min(MAX_MASKS, MAX_MASK_BYTES // mask.nbytes)):
                self._masks.popitem(last=False)
        else:
            self._masks.move_to_end(key)
        return mask

    def _find_available(self, now: int) -> None:
        """Set `_available` and the times between which it holds, and forget the masks of filters."""
        are_released, self._holds = released(self.bundle.data, now)
        available = ~self._removed if are_released is None else are_released & ~self._removed
        self._available = None if available.all() else available[None, :]
        self._masks.clear()

    def _forget_available(self) -> None:
        """Let the next request find out which items are available."""
        self._holds = OUTDATED
        self._masks.clear()

    def _mask(self, request: RecommendRequest) -> Mask:
        data = self.bundle.data
        mask = ~self._removed
        if self._available is not None and AVAILABLE_FROM not in request.filters:
            mask &= self._available[0]
        if request.allow is not None:
            listed = np.zeros(data.n_items, np.bool_)
            rows = data.items.rows(request.allow)
            listed[rows[rows >= 0]] = True
            mask &= listed
        for name, wanted in request.filters.items():
            feature = data.item_features.get(name)
            if feature is None:
                names = ", ".join(data.item_features) or "none"
                cause = f"items have no feature {name!r}; they have: {names}"
                raise RequestError(422, "unknown_feature", cause, f"filters.{name}")
            mask &= filter_mask(feature, wanted, f"filters.{name}")
        return mask[None, :]

    # the catalogue

    def item_name(self, row: int) -> ItemName:
        """Return the id and the title of a row."""
        return ItemName(self.bundle.data.items.ids([row])[0], self.bundle.data.title(row))

    def row(self, item: str) -> int:
        """Return the row of an item that is in the catalogue and not removed, else -1."""
        row = int(self.bundle.data.items.rows([item])[0])
        return -1 if row >= 0 and self._removed[row] else row

    def features(self, row: int) -> dict[str, Any]:
        """Return the features of an item, as JSON represents them; vectors are left out."""
        features = self.bundle.data.item_features
        return {name: feature_to_json(feature, row) for name, feature in features.items() if feature.kind != "vector"}

    def reset_changes(self) -> None:
        """Undo which items were removed or added, to apply the changes of another state from the first one."""
        self._removed[: self._added_from], self._removed[self._added_from :] = False, True
        self._forget_available()
        self.last_change = 0

    def apply_changes(self, changes: Sequence[Change]) -> None:
        """Apply changes of the catalogue: items that were added, changed or removed.

        New items are embedded by the models that read features. Of existing items, the features shown and filtered by
        change at once; the models' parameters change only when the bundle is fitted again.
        """
        new_items: list[Change] = []
        updates: dict[int, dict[str, Any]] = {}
        for change in changes:
            row = int(self.bundle.data.items.rows([change.item_id])[0])
            if row < 0 and not change.removed:
                new_items.append(change)
            elif row >= 0:
                self._removed[row] = change.removed
                if change.features:
                    updates[row] = {**updates.get(row, {}), **change.features}
        self._update_features(updates)
        if new_items:
            self._add_items(new_items)
        self._forget_available()
        self.last_change = max([self.last_change, *(change.number for change in changes)])

    def check_features(self, features: dict[str, Any]) -> list[str]:
        """Return notes on what of an item's features would be ignored; raises RequestError as `parse_features` does."""
        return parse_features(features, self._accepted(), "features")[1]

    def _add_items(self, changes: Sequence[Change]) -> None:
        items = [self._readable_features(change.features or {}) for change in changes]
        table: dict[str, Feature] = {}
        given = {name for features in items for name in features}
        computed = {one.feature for one in self.bundle.data.encodings} - given
        for name, known in self._accepted().items():
            if name in computed:
                continue
            feature = replace(known, values=known.values[:0])
            for features in items:
                feature = feature.extended(features.get(name), 1)
            table[name] = feature
        self.bundle = self.bundle.add_items([change.item_id for change in changes], table)
        self.followed.use(self.bundle.data)
        self._removed = extended(self._removed, np.zeros(len(changes), np.bool_))

    def _accepted(self) -> dict[str, Feature]:
        """Return the features that an item may have: those of the data, and columns of files that were encoded."""
        return with_columns(self.bundle.data.item_features, self.bundle.data.encodings)

    def _readable_features(self, features: dict[str, Any]) -> dict[str, Feature]:
        """Return the features that this bundle can read; another variant's may differ."""
        readable: dict[str, Feature] = {}
        for name, value in features.items():
            try:
                readable |= parse_features({name: value}, self._accepted(), "features")[0]
            except RequestError as error:
                logger.warning("variant %s ignores feature %s of an item: %s", self.name, name, error)
        return readable

    def _update_features(self, updates: Mapping[int, dict[str, Any]]) -> None:
        """Replace features of items, given by row; each feature's table is copied once, however many rows change."""
        if not updates:
            return
        data = self.bundle.data
        values: dict[str, dict[int, Feature]] = {}
        for row, features in updates.items():
            for name, feature in self._readable_features(features).items():
                values.setdefault(name, {})[row] = feature
        kept = {name: by_row for name, by_row in values.items() if name in data.item_features}
        changed = {name: data.item_features[name].replaced(by_row) for name, by_row in kept.items()}
        self.bundle = replace(self.bundle, data=replace(data, item_features={**data.item_features, **changed}))


def _history_item(item: str | HistoryItem) -> HistoryItem:
    return HistoryItem(item) if isinstance(item, str) else item
