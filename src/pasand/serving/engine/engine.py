"""Engine that serves requests: chooses the variant, reads the user's recent events and groups compatible requests."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from pasand.errors import InputError
from pasand.serving.engine.variant import NO_RECENT_EVENTS, Observe, Variant
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states.contract import Change, RecentEvents, State, StateUnavailable

logger = logging.getLogger(__name__)

MAX_EVENTS = 200
"""Recent events of a user that are read from the state."""
MAX_CACHED_USERS = 10_000
"""Users whose recent events are cached in case the state cannot be reached."""
SMOKE_TEST_USERS = 32
"""Users that a new bundle is tested with before it is used."""


def ignore_step(step: str, seconds: float) -> None:
    """Observe nothing."""


@dataclass(eq=False)
class Engine:
    """Recommends with one or more variants and a state. Must not be called from two threads at once."""

    variants: list[Variant]
    """At least one, with different names."""
    state: State
    clock: Callable[[], int]
    """Returns the current time in seconds since 1970."""
    observe: Observe = ignore_step
    degraded: bool = field(default=False, init=False)
    """Whether the state could not be reached at the last access."""
    _recent_events: OrderedDict[tuple[str, str], RecentEvents] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    @property
    def n_cached_users(self) -> int:
        """Users, counted once per variant, whose recent events are cached in case the state cannot be reached."""
        return len(self._recent_events)

    def variant_of(self, user: str | None) -> Variant:
        """Return the variant that serves a user, always the same one; a random one for an anonymous user."""
        if len(self.variants) == 1:
            return self.variants[0]
        name = secrets.token_bytes(8) if user is None else user.encode()
        drawn = int.from_bytes(hashlib.sha256(b"variant\0" + name).digest()[:8], "big") / 2**64
        total = sum(variant.share for variant in self.variants)
        for variant in self.variants:
            drawn -= variant.share / total
            if drawn < 0:
                return variant
        return self.variants[-1]

    def variant_named(self, name: str | None) -> Variant:
        """Return the variant of this name, the first for None; raises RequestError if there is none."""
        for variant in self.variants:
            if name in (None, variant.name):
                return variant
        names = ", ".join(variant.name for variant in self.variants)
        raise RequestError(404, "unknown_variant", f"there is no variant {name!r}; there are: {names}", "variant")

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse | RequestError]:
        """Return for each request its response, or the error that it fails with, in the same order."""
        self.sync()
        results: list[RecommendResponse | RequestError | None] = [None] * len(requests)
        groups: dict[tuple[int, bytes], list[int]] = {}
        variants = [self.variant_of(request.user_id) for request in requests]
        for index, (request, variant) in enumerate(zip(requests, variants, strict=True)):
            groups.setdefault((id(variant), variant.group_key(request)), []).append(index)
        for indices in groups.values():
            variant, group = variants[indices[0]], [requests[index] for index in indices]
            for index, result in zip(indices, self._recommend_group(variant, group), strict=True):
                results[index] = result
        return [result for result in results if result is not None]

    def _recommend_group(
        self, variant: Variant, requests: Sequence[RecommendRequest]
    ) -> list[RecommendResponse | RequestError]:
        """Return the results of one variant for requests of one `group_key`; an invalid one does not affect others."""
        recent_events, degraded = self.recent_events(variant, [request.user_id for request in requests])
        try:
            results = variant.recommend(requests, recent_events, self.clock(), self.observe)
        except RequestError as error:
            if len(requests) == 1:
                return [error]
            return [result for request in requests for result in self._recommend_group(variant, [request])]
        return [
            RecommendResponse(secrets.token_hex(8), variant.name, variant.digest, known, degraded, items, notes)
            for known, items, notes in results
        ]

    def recent_events(self, variant: Variant, users: Sequence[str | None]) -> tuple[list[RecentEvents], bool]:
        """Return the users' events since the variant's bundle was trained, and whether they are degraded.

        Degraded: the state could not be reached, so that they are the events last read of the user, or none.
        """
        known = list(dict.fromkeys(user for user in users if user is not None))
        if not known:
            return [NO_RECENT_EVENTS] * len(users), False
        began = perf_counter()
        try:
            recent = self.state.recent_events(known, MAX_EVENTS, variant.state_upto)
            by_user = dict(zip(known, recent, strict=True))
            self._set_degraded(None)
        except StateUnavailable as error:
            self._set_degraded(error)
            by_user = {user: self._recent_events.get((variant.name, user), NO_RECENT_EVENTS) for user in known}
        else:
            for user, events in by_user.items():
                self._recent_events[variant.name, user] = events
                self._recent_events.move_to_end((variant.name, user))
            while len(self._recent_events) > MAX_CACHED_USERS:
                self._recent_events.popitem(last=False)
        self.observe("state", perf_counter() - began)
        return [NO_RECENT_EVENTS if user is None else by_user[user] for user in users], self.degraded

    def sync(self) -> None:
        """Apply the changes of the catalogue that any process has made since the last call."""
        for variant in self.variants:
            try:
                changes = self.state.changes(variant.last_change)
            except StateUnavailable as error:
                self._set_degraded(error)
                return
            if changes:
                apply_changes(variant, changes)
        self._set_degraded(None)

    def forget(self, user: str) -> None:
        """Remove a user's events from the cache."""
        for key in [key for key in self._recent_events if key[1] == user]:
            del self._recent_events[key]

    def load(self, name: str, folder: str) -> Variant:
        """Return a bundle ready to replace the variant of this name; may be called from another thread.

        Raises InputError as `bundle.read` does, RequestError if there is no such variant.
        """
        return Variant.read(name, folder, self.variant_named(name).share)

    def swap(self, new: Variant) -> Variant:
        """Replace the variant of the same name, after a check of the new bundle, and return the old one.

        The check also applies the changes of the catalogue and warms the bundle up. Raises RequestError, changing
        nothing, if the check fails.
        """
        old = self.variant_named(new.name)
        new.share = old.share
        check_bundle(new, self.state, self.clock())
        self.variants[self.variants.index(old)] = new
        for key in [key for key in self._recent_events if key[0] == new.name]:
            del self._recent_events[key]
        return old

    def _set_degraded(self, error: StateUnavailable | None) -> None:
        """Record whether the state can be reached, and log each change."""
        if (error is not None) != self.degraded:
            message = (
                "the state can be reached again"
                if error is None
                else f"the state cannot be reached, recommendations continue without it: {error}"
            )
            logger.warning("%s", message)
        self.degraded = error is not None


def apply_changes(variant: Variant, changes: Sequence[Change]) -> None:
    """Apply changes of the catalogue to a variant; one that fails is logged and does not affect the others."""
    try:
        variant.apply_changes(changes)
    except Exception:
        for change in changes:
            try:
                variant.apply_changes([change])
            except Exception:
                logger.exception("variant %s cannot apply the change of item %s", variant.name, change.item_id)
                variant.last_change = change.number


def check_bundle(variant: Variant, state: State, now: int) -> None:
    """Smoke-test a bundle: apply the changes of the catalogue and recommend to some users and an anonymous one.

    This also compiles and loads all that recommending needs. Raises RequestError if the lists are empty though the
    catalogue is not, if a list repeats an item, if recommending fails, and if the bundle was refreshed from another
    state.
    """
    data = variant.bundle.data
    try:
        changes, last = state.changes(variant.last_change), state.last()
    except StateUnavailable:
        changes, last = [], variant.state_upto
    if variant.state_upto > last:
        cause = f"it was trained on {variant.state_upto:,} events of its state, but this state has had {last:,}"
        raise RequestError(422, "bundle_rejected", f"{cause}: new events would be treated as known ones", "bundle")
    if changes:
        apply_changes(variant, changes)
    users = data.users.ids(range(min(SMOKE_TEST_USERS, data.n_users)))
    for requests in (
        [RecommendRequest(user_id=user) for user in users],
        [RecommendRequest()],
        *([RecommendRequest(user_id=user, explain=True)] for user in users[:2]),
    ):
        if not requests or not data.n_items:
            continue
        try:
            results = variant.recommend(requests, [NO_RECENT_EVENTS] * len(requests), now, ignore_step)
        except (InputError, ValueError, IndexError, KeyError, RuntimeError) as error:
            raise RequestError(422, "bundle_rejected", f"the bundle cannot recommend: {error}", "bundle") from error
        for _, items, _ in results:
            ids = [item.item_id for item in items]
            if len(set(ids)) < len(ids):
                raise RequestError(422, "bundle_rejected", "the bundle recommends an item twice", "bundle")
        if not any(items for _, items, _ in results):
            raise RequestError(422, "bundle_rejected", "the bundle recommends nothing", "bundle")
