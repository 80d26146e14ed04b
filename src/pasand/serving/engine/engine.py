"""Engine that serves requests: chooses the variant, reads the user's recent events and groups compatible requests."""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from pasand.serving.engine.bundle_check import check_bundle
from pasand.serving.engine.catalogue_changes import follow_changes
from pasand.serving.engine.propensities import list_propensity
from pasand.serving.engine.seen import SeenItems
from pasand.serving.engine.variant import NO_RECENT_EVENTS, Observe, Variant, ignore_step
from pasand.serving.forgotten import ForgottenUsers
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states.contract import Counters, RecentEvents, State, StateUnavailable, digest
from pasand.serving.wording import Wording

logger = logging.getLogger(__name__)

MAX_EVENTS = 200
"""Recent events of a user that are read from the state."""
MAX_CACHED_USERS = 10_000
"""Users whose recent events are cached in case the state cannot be reached."""
SEEN_SECONDS = 0.03
"""Time after which no further user's seen items are read from a server for a batch."""


@dataclass(eq=False)
class Engine:
    """Recommends with one or more variants and a state. Must not be called from two threads at once."""

    variants: list[Variant]
    """At least one, with different names."""
    state: State
    clock: Callable[[], int]
    """Returns the current time in seconds since 1970."""
    observe: Observe = ignore_step
    forgotten: ForgottenUsers = field(default_factory=ForgottenUsers)
    """Users whose history in the bundles must be ignored, even if the state has lost that they were deleted."""
    wording: Wording | None = None
    """What the items are called; None: as the recipe or the data of a variant have it."""
    degraded: bool = field(default=False, init=False)
    """Whether the state could not be reached at the last access."""
    _recent_events: OrderedDict[tuple[str, str], RecentEvents] = field(
        default_factory=OrderedDict, init=False, repr=False
    )
    _seen: SeenItems = field(default_factory=SeenItems, init=False, repr=False)
    _counters: Counters | None = field(default=None, init=False, repr=False)
    """What the state's counters were when they were last read."""

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

    def recommend(
        self, requests: Sequence[RecommendRequest], until: float = math.inf
    ) -> list[RecommendResponse | Exception | None]:
        """Return for each request its response, or the error that it fails with, in the same order.

        None: its computation did not begin before the time `until`, in seconds of `time.perf_counter`. The first
        requests that can be computed together always are.
        """
        self.sync()
        results: list[RecommendResponse | Exception | None] = [None] * len(requests)
        groups: dict[tuple[int, bytes], list[int]] = {}
        variants = [self.variant_of(request.user_id) for request in requests]
        for index, (request, variant) in enumerate(zip(requests, variants, strict=True)):
            groups.setdefault((id(variant), variant.group_key(request)), []).append(index)
        recent = self._recent_events_of(variants, [request.user_id for request in requests])
        for number, indices in enumerate(groups.values()):
            if number and perf_counter() > until:
                break
            group = [(requests[index], recent[index]) for index in indices]
            for index, result in zip(indices, self._recommend_group(variants[indices[0]], group), strict=True):
                results[index] = result
        return results

    def responses(self, requests: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        """Return the response to each request; raises the error of the first one that fails."""
        responses = []
        for result in self.recommend(requests):
            if not isinstance(result, RecommendResponse):
                raise result or RuntimeError("a request was not computed")
            responses.append(result)
        return responses

    def _recent_events_of(
        self, variants: Sequence[Variant], users: Sequence[str | None]
    ) -> list[tuple[RecentEvents, bool] | None]:
        """Return what `recent_events` returns of each user of a batch, read once for each variant.

        None for the users of a read that failed, to be read again alone: the events of one may be at fault.
        """
        found: list[tuple[RecentEvents, bool] | None] = [None] * len(users)
        for variant in dict.fromkeys(variants):
            indices = [index for index, own in enumerate(variants) if own is variant]
            try:
                recent, degraded = self.recent_events(variant, [users[index] for index in indices])
            except Exception as error:
                logger.warning("the recent events of %d users are read one by one: %s", len(indices), error)
                continue
            for index, events in zip(indices, recent, strict=True):
                found[index] = events, degraded and users[index] is not None
        return found

    def _recommend_group(
        self, variant: Variant, group: Sequence[tuple[RecommendRequest, tuple[RecentEvents, bool] | None]]
    ) -> list[RecommendResponse | Exception]:
        """Return the results of one variant for requests of one `group_key`; one that fails does not affect others.

        Where a call fails, its requests are computed in two halves, down to the one that fails.
        """
        requests = [request for request, _ in group]
        try:
            recent = [read or self._read_alone(variant, request.user_id) for request, read in group]
            results = variant.recommend(requests, [events for events, _ in recent], self.clock(), self.observe)
        except Exception as error:  # whatever it is, it must not reach the requests of others
            if len(requests) == 1:
                return [error]
            half = len(requests) // 2
            return [*self._recommend_group(variant, group[:half]), *self._recommend_group(variant, group[half:])]
        return [
            RecommendResponse(
                request.request_id or secrets.token_hex(8),
                variant.name,
                variant.digest,
                known,
                degraded,
                items,
                notes,
                list_propensity(items),
            )
            for request, (known, items, notes), (_, degraded) in zip(requests, results, recent, strict=True)
        ]

    def _read_alone(self, variant: Variant, user: str | None) -> tuple[RecentEvents, bool]:
        (events,), degraded = self.recent_events(variant, [user])
        return events, degraded

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
            by_user, until = dict(zip(known, recent, strict=True)), perf_counter() + SEEN_SECONDS
            for user in [user for user, events in by_user.items() if len(events.events) == MAX_EVENTS]:
                if self.state.remote and perf_counter() > until:
                    raise StateUnavailable("the items that users have seen could not be read in time")
                by_user[user] = self._with_seen(variant, user, by_user[user])
            self._set_degraded(None)
        except StateUnavailable as error:
            self._set_degraded(error)
            by_user = {user: self._cached_events(variant, user) for user in known}
        else:
            for user, events in by_user.items():
                self._recent_events[variant.name, user] = events._replace(seen=None)
                self._recent_events.move_to_end((variant.name, user))
            while len(self._recent_events) > MAX_CACHED_USERS:
                self._recent_events.popitem(last=False)
        for user in known:
            if user in self.forgotten:
                by_user[user] = by_user[user]._replace(forgotten=True)
        self.observe("state", perf_counter() - began)
        return [NO_RECENT_EVENTS if user is None else by_user[user] for user in users], self.degraded

    def _cached_events(self, variant: Variant, user: str) -> RecentEvents:
        cached = self._recent_events.get((variant.name, user), NO_RECENT_EVENTS)
        return cached._replace(seen=self._seen.cached(variant, user))

    def _with_seen(self, variant: Variant, user: str, recent: RecentEvents) -> RecentEvents:
        return recent._replace(seen=self._seen.read(self.state, variant, user, recent))

    def sync(self) -> None:
        """Apply the changes that any process has made since the last call: of the catalogue, and forgotten users."""
        try:
            counters, before = self.state.counters(), self._counters
            replaced = before is not None and counters.identity != before.identity
            for variant in self.variants:
                follow_changes(variant, self.state, counters, replaced=replaced)
            if replaced or before is None or counters.forgotten != before.forgotten:
                self._forget_cached(self.state.forgotten())
            self._counters = counters
            self._set_degraded(None)
        except StateUnavailable as error:
            self._set_degraded(error)

    def forget(self, user: str) -> None:
        """Ignore what the bundles know of a user, and remove the user's events from the cache.

        Raises OSError if the file of forgotten users cannot be written; memory is changed in any case.
        """
        self._recent_events.clear()
        self._seen.forget()
        self.forgotten.add([digest(user)])

    def _forget_cached(self, digests: set[bytes]) -> None:
        """Empty the caches, which may hold events of forgotten users, and remember the users' digests."""
        self._recent_events.clear()
        self._seen.forget()
        try:
            self.forgotten.add(digests)
        except OSError as error:
            logger.error("the file of forgotten users cannot be written: %s", error)

    def load(self, name: str, folder: str) -> Variant:
        """Return a bundle ready to replace the variant of this name; may be called from another thread.

        Raises InputError as `bundle.read` does, RequestError if there is no such variant.
        """
        return Variant.read(name, folder, self.variant_named(name).share)

    def swap(self, new: Variant, record: Callable[[], None] = lambda: None) -> Variant:
        """Replace the variant of the same name, after a check of the new bundle, and return the old one.

        The check also applies the changes of the catalogue and warms the bundle up. Between check and replacement,
        `record` is called. Raises RequestError, changing nothing, if the check fails, and what `record` raises.
        """
        old = self.variant_named(new.name)
        new.share = old.share
        check_bundle(new, self.state, self.clock())
        record()
        self.variants[self.variants.index(old)] = new
        for key in [key for key in self._recent_events if key[0] == new.name]:
            del self._recent_events[key]
        self._seen.forget(new.name)
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
