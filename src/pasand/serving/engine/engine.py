"""Requests to answers: which variant answers whom, with which history, in as few calls as possible."""

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

MOST_EVENTS = 200
"""Recent events of a user that are read from the state."""
REMEMBERED = 10_000
"""Users whose recent events are kept for when the state is out of reach."""
CANARY = 32
"""Users that a new bundle is tried on before it answers anybody."""


def nothing(step: str, seconds: float) -> None:
    """Observe nothing."""


@dataclass(eq=False)
class Engine:
    """Answers from one or more variants and a state. Not to be called from two threads at once."""

    variants: list[Variant]
    """At least one, their names all different."""
    state: State
    clock: Callable[[], int]
    """Gives now, in seconds since 1970."""
    observe: Observe = nothing
    degraded: bool = field(default=False, init=False)
    """Whether the state was out of reach when it was last asked."""
    _recent_events: OrderedDict[tuple[str, str], RecentEvents] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    @property
    def n_remembered(self) -> int:
        """Users whose recent events are kept for when the state is out of reach, by variant."""
        return len(self._recent_events)

    def variant_of(self, user: str | None) -> Variant:
        """Return who answers a user: the same variant every time; for nobody in particular, one by chance."""
        if len(self.variants) == 1:
            return self.variants[0]
        name = secrets.token_bytes(8) if user is None else user.encode()
        drawn = int.from_bytes(hashlib.sha256(b"variant\0" + name).digest()[:8], "big") / 2**64
        whole = sum(one.share for one in self.variants)
        for one in self.variants:
            drawn -= one.share / whole
            if drawn < 0:
                return one
        return self.variants[-1]

    def named(self, name: str | None) -> Variant:
        """Return the variant of a name, the first for None; raises Refused where there is none of that name."""
        found = self.variants[0] if name is None else next((one for one in self.variants if one.name == name), None)
        if found is None:
            there = ", ".join(one.name for one in self.variants)
            raise RequestError(404, "unknown_variant", f"there is no variant {name!r}; there are: {there}", "variant")
        return found

    def answer(self, asks: Sequence[RecommendRequest]) -> list[RecommendResponse | RequestError]:
        """Return an answer to each request, or why there is none, in their order."""
        self.sync()
        out: list[RecommendResponse | RequestError | None] = [None] * len(asks)
        groups: dict[tuple[int, bytes], list[int]] = {}
        variants = [self.variant_of(ask.user) for ask in asks]
        for place, (ask, variant) in enumerate(zip(asks, variants, strict=True)):
            groups.setdefault((id(variant), variant.key(ask)), []).append(place)
        for places in groups.values():
            variant, mine = variants[places[0]], [asks[place] for place in places]
            for place, answer in zip(places, self._together(variant, mine), strict=True):
                out[place] = answer
        return [one for one in out if one is not None]

    def _together(self, variant: Variant, asks: Sequence[RecommendRequest]) -> list[RecommendResponse | RequestError]:
        """Return the answers of one variant to requests of one key; those that are refused do not harm the others."""
        recent_events, degraded = self.recent_events(variant, [ask.user for ask in asks])
        try:
            found = variant.answer(asks, recent_events, self.clock(), self.observe)
        except RequestError as error:
            if len(asks) == 1:
                return [error]
            return [answer for ask in asks for answer in self._together(variant, [ask])]
        return [
            RecommendResponse(secrets.token_hex(8), variant.name, variant.digest, known, degraded, items, notes)
            for known, items, notes in found
        ]

    def recent_events(self, variant: Variant, users: Sequence[str | None]) -> tuple[list[RecentEvents], bool]:
        """Return what users did since the bundle was trained, and whether that had to do without the state.

        Without it the answer is what was last read of the user, or nothing.
        """
        wanted = list(dict.fromkeys(user for user in users if user is not None))
        if not wanted:
            return [NO_RECENT_EVENTS] * len(users), False
        began = perf_counter()
        try:
            read = dict(zip(wanted, self.state.recent_events(wanted, MOST_EVENTS, variant.after), strict=True))
            self._missed(None)
        except StateUnavailable as error:
            self._missed(error)
            read = {user: self._recent_events.get((variant.name, user), NO_RECENT_EVENTS) for user in wanted}
        else:
            for user, past in read.items():
                self._recent_events[variant.name, user] = past
                self._recent_events.move_to_end((variant.name, user))
            while len(self._recent_events) > REMEMBERED:
                self._recent_events.popitem(last=False)
        self.observe("state", perf_counter() - began)
        return [NO_RECENT_EVENTS if user is None else read[user] for user in users], self.degraded

    def sync(self) -> None:
        """Take in the changes of the catalogue that any process has made since."""
        for variant in self.variants:
            try:
                changes = self.state.changes(variant.seen_change)
            except StateUnavailable as error:
                self._missed(error)
                return
            if changes:
                take_in(variant, changes)
        self._missed(None)

    def forget(self, user: str) -> None:
        """Drop what is remembered of a user here."""
        for key in [key for key in self._recent_events if key[1] == user]:
            del self._recent_events[key]

    def load(self, name: str, place: str) -> Variant:
        """Return a bundle ready to take the place of the variant of that name; may run on a thread of its own.

        Raises InputError as `bundle.read`, Refused where there is no such variant.
        """
        return Variant.read(name, place, self.named(name).share)

    def swap(self, fresh: Variant) -> Variant:
        """Put a bundle in the place of the variant of its name once it has proved itself, and return the old one.

        It takes in the changes of the catalogue and then answers for some users, which also warms it. Raises Refused,
        changing nothing, where an answer is empty or repeats an item.
        """
        old = self.named(fresh.name)
        fresh.share = old.share
        prove(fresh, self.state, self.clock())
        self.variants[self.variants.index(old)] = fresh
        for key in [key for key in self._recent_events if key[0] == fresh.name]:
            del self._recent_events[key]
        return old

    def _missed(self, error: StateUnavailable | None) -> None:
        if (error is not None) != self.degraded:
            told = (
                "the state is back" if error is None else f"the state is out of reach, answers go on without: {error}"
            )
            logger.warning("%s", told)
        self.degraded = error is not None


def take_in(variant: Variant, changes: Sequence[Change]) -> None:
    """Let a variant take in changes of the catalogue; one that it cannot take is logged, and harms no other."""
    try:
        variant.change(changes)
    except Exception:
        for one in changes:
            try:
                variant.change([one])
            except Exception:
                logger.exception("variant %s cannot take in what was told of item %s", variant.name, one.item)
                variant.seen_change = one.number


def prove(variant: Variant, state: State, now: int) -> None:
    """Let a bundle take in the changes of the catalogue and answer for some of its users and for nobody.

    This also compiles and touches all that answering needs. Raises Refused where an answer is empty though the
    catalogue is not, repeats an item, or fails; and where the bundle was refreshed from another state.
    """
    data = variant.bundle.data
    try:
        changes, last = state.changes(variant.seen_change), state.last()
    except StateUnavailable:
        changes, last = [], variant.after
    if variant.after > last:
        told = f"it has learnt {variant.after:,} events of its state, and this one has had {last:,}"
        raise RequestError(422, "bundle_refused", f"{told}: the next ones would be taken for known", "bundle")
    if changes:
        take_in(variant, changes)
    some = data.users.ids(range(min(CANARY, data.n_users)))
    for asks in (
        [RecommendRequest(user=user) for user in some],
        [RecommendRequest()],
        *([RecommendRequest(user=user, explain=True)] for user in some[:2]),
    ):
        if not asks or not data.n_items:
            continue
        try:
            found = variant.answer(asks, [NO_RECENT_EVENTS] * len(asks), now, nothing)
        except (InputError, ValueError, IndexError, KeyError, RuntimeError) as error:
            raise RequestError(422, "bundle_refused", f"the bundle cannot answer: {error}", "bundle") from error
        for _, items, _ in found:
            ids = [one.item for one in items]
            if len(set(ids)) < len(ids):
                raise RequestError(422, "bundle_refused", "the bundle answers with an item twice", "bundle")
        if not any(items for _, items, _ in found):
            raise RequestError(422, "bundle_refused", "the bundle answers with empty lists", "bundle")
