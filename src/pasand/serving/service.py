"""What the routes share: bundles in use, state, logs, figures; from start to end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

from pasand.bundle import Bundle
from pasand.contracts import Index
from pasand.errors import InputError
from pasand.serving import active_bundles, schemas
from pasand.serving.clock import Clock
from pasand.serving.engine.batching import Batcher
from pasand.serving.engine.engine import Engine, prove
from pasand.serving.engine.variant import Variant
from pasand.serving.http.security import Keys, Rate
from pasand.serving.logs.impressions import ImpressionLog, ShownList
from pasand.serving.logs.requests import Lines
from pasand.serving.metrics import Metrics, shared_by_workers
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states import contract, open_state
from pasand.serving.states.writer import Busy, EventWriter

logger = logging.getLogger(__name__)

SKEW = 300
"""Seconds by which the time of an event may lie ahead."""
POLL = 1.0
"""Seconds between two looks at which bundles are to be in use."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service is set up."""

    variants: Sequence[tuple[str, str, float]]
    """Name, folder of the bundle, share of the users."""
    folder: str = "pasand-state"
    """Where the state, the impressions and the file of the bundles in use lie."""
    state: str | None = None
    """Place of the state; None: an SQLite file in `folder`."""
    keys: Keys = field(default_factory=Keys)
    rate: float = 0.0
    """Requests a second of a caller; 0: no limit."""
    largest_body: int = 2_000_000
    """Bytes."""
    body_seconds: float = 10.0
    """Time in which a body must have come."""
    impressions: bool = True
    """Whether what is shown is logged."""
    impressions_size: int = 1_000_000_000
    """Bytes that the log of impressions takes at most."""
    hash_users: str | None = None
    """Secret by which the ids of users are hashed in logs; None: they are not."""
    clock: str = "real"
    """"real", or "log": now begins at the end of the bundle's log, for data of the past."""
    report: str | None = None
    """Leaderboard report that the page links to."""
    log_requests: bool = True


class Service:
    """What the routes share: the engine and all that runs beside it, from start to end."""

    def __init__(self, settings: Settings, wall: Callable[[], float] = time) -> None:
        """Load the bundles, open the state and try them; raises InputError and Refused as those do.

        `wall` is the system's clock, in seconds since 1970.
        """
        self.settings, self.metrics = settings, Metrics()
        folder = Path(settings.folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.pointer = folder / active_bundles.NAME
        self.state = open_state(settings.state or str(folder / "state.sqlite"))
        chosen = active_bundles.read(self.pointer)
        variants = [Variant.read(name, chosen.get(name, place), share) for name, place, share in settings.variants]
        self.engine = Engine(variants, self.state, _clock(settings, variants[0], wall), self._observe)
        for variant in variants:
            prove(variant, self.state, self.engine.clock())
        self.batcher = Batcher(self.engine, self.metrics.batch.observe)
        self.events = EventWriter(self.state)
        secret = None if settings.hash_users is None else settings.hash_users.encode()
        self.shown = (
            ImpressionLog(folder / "impressions", most_bytes=settings.impressions_size, secret=secret)
            if settings.impressions
            else None
        )
        self.rate = Rate(settings.rate, shared_by_workers("rates"))
        self.ready = False
        self.before: dict[str, str] = {}
        self._refused: contract.StateUnavailable | None = None
        self._swapping = asyncio.Lock()
        self._logged: dict[str, int] = {}
        self._lines_lost = 0
        self._measured: dict[str, Bundle] = {}
        self._pointed_at = self._stamp()
        self.log = Lines(settings.log_requests)

    def _observe(self, step: str, seconds: float) -> None:
        self.metrics.step.labels(step).observe(seconds)

    # bundles

    def _stamp(self) -> tuple[int, ...]:
        """Return what changes when a variant's bundle, or the file that names them, is replaced."""
        places = [self.pointer, *(Path(one.place) / "manifest.json" for one in self.engine.variants)]
        return tuple(place.stat().st_mtime_ns if place.exists() else 0 for place in places)

    async def reload(self, name: str | None, place: str | None) -> schemas.SwapResult:
        """Load a bundle beside the one in use, try it, and take it into use; raises Refused where it is no good."""
        async with self._swapping:
            old = self.engine.named(name)
            where = old.place if place is None else str(Path(place).absolute())
            swapped = await self._swap(old, where)
            self.before[old.name] = old.place
            active_bundles.write(self.pointer, old.name, where)
            self._pointed_at = self._stamp()
            return swapped

    async def rollback(self, name: str | None) -> schemas.SwapResult:
        """Go back to the folder that a variant answered from before; raises Refused where there was none."""
        old = self.engine.named(name)
        if old.name not in self.before:
            raise RequestError(409, "no_before", f"variant {old.name} has had no other bundle since the start")
        return await self.reload(old.name, self.before[old.name])

    async def _swap(self, old: Variant, place: str) -> schemas.SwapResult:
        try:
            fresh = await asyncio.to_thread(self.engine.load, old.name, place)
        except InputError as error:
            raise RequestError(422, "bundle_refused", str(error), "bundle") from None
        self.engine.swap(fresh)  # on this thread: nothing is answered while it happens
        self.metrics.swaps.labels(fresh.name).inc()
        logger.info("variant %s answers from %s, bundle %s", fresh.name, place, fresh.digest)
        return schemas.SwapResult(fresh.name, fresh.digest, old.digest)

    async def follow(self) -> None:
        """Take into use what another worker, or a refresh, has put in place; a bundle that is no good is told once.

        Figures are brought up to date meanwhile, since another worker may be asked for them.
        """
        while True:
            await asyncio.sleep(POLL)
            self.refresh_metrics()
            if self._stamp() == self._pointed_at:
                continue
            async with self._swapping:
                self._pointed_at = self._stamp()
                for old in list(self.engine.variants):
                    try:
                        place = active_bundles.read(self.pointer).get(old.name, old.place)
                        if place != old.place or _manifest(place) != old.bundle.manifest:
                            await self._swap(old, place)
                            self.before[old.name] = old.place
                    except (RequestError, InputError) as error:
                        logger.error("variant %s keeps its bundle: %s", old.name, error)

    # what happens

    def keep(self, answers: Sequence[tuple[str | None, RecommendResponse]]) -> None:
        """Count answers, and log what they show."""
        now = self.engine.clock()
        for user, answer in answers:
            self.metrics.answers.labels(answer.variant).inc()
            if not answer.known:
                self.metrics.fallback.labels(answer.variant).inc()
            if answer.degraded:
                self.metrics.degraded.inc()
            if self.shown is not None and user is not None:
                self.shown.add(ShownList(answer.request_id, now, user, answer.items, answer.variant, answer.bundle))

    async def append(self, told: Sequence[schemas.Event]) -> schemas.Accepted:
        """Keep events durably; raises Refused for one from the future, and where the state is out of reach."""
        now = self.engine.clock()
        for place, one in enumerate(told):
            if one.time is not None and one.time > now + SKEW:
                raise RequestError(422, "future", f"its time is {one.time}, and now is {now}", f"events[{place}].time")
        events = [
            contract.Event(
                one.id or secrets.token_hex(12),
                one.user,
                one.item,
                now if one.time is None else one.time,
                one.value,
                one.request_id,
                one.watched_seconds,
            )
            for one in told
        ]
        try:
            new = await self.events.append(events)
        except contract.StateUnavailable as error:
            self.metrics.events.labels("refused").inc(len(events))
            self._refusing(error)
            raise RequestError(503, "state_gone", "the events could not be kept; the cause is logged") from None
        except Busy:
            self.metrics.events.labels("refused").inc(len(events))
            raise RequestError(503, "overloaded", "more events come than can be kept; try again later") from None
        self._refusing(None)
        data = self.engine.variants[0].bundle.data
        unknown = int((data.items.rows([one.item for one in events]) < 0).sum())
        self.metrics.events.labels("accepted").inc(sum(new))
        self.metrics.events.labels("duplicate").inc(len(new) - sum(new))
        return schemas.Accepted(sum(new), len(new) - sum(new), unknown, [one.id for one in events])

    def unkept(self, told: str, error: contract.StateUnavailable) -> RequestError:
        """Log why the state did not keep something, and return what the caller is told; places are not for callers."""
        logger.warning("%s: %s", told, error)
        return RequestError(503, "state_gone", f"{told}; the cause is logged")

    def _refusing(self, error: contract.StateUnavailable | None) -> None:
        """Log that events begin to be refused, and that they are kept again; not each one."""
        if (error is None) == (self._refused is None):
            return
        self._refused = error
        logger.warning("%s", "events are kept again" if error is None else f"events are refused: {error}")

    async def forget(self, user: str) -> schemas.ChangeResult:
        """Forget a user: events, what the bundles know, what was logged; raises Refused where the state is gone."""
        try:
            removed = await asyncio.to_thread(self.state.forget, user)
        except contract.StateUnavailable as error:
            raise self.unkept("the user could not be forgotten", error) from None
        self.engine.forget(user)
        try:
            logged = 0 if self.shown is None else await asyncio.to_thread(self.shown.forget, user)
        except OSError as error:
            logger.warning("the log of what was shown cannot be rewritten: %s", error)
            cause = "the events are forgotten, and the log of what was shown cannot be rewritten; the cause is logged"
            raise RequestError(503, "log", cause) from None
        known = any((one.bundle.data.users.rows([user]) >= 0).any() for one in self.engine.variants)
        told = f"forgotten: {removed} events, {logged} impressions"
        return schemas.ChangeResult(told, known or removed > 0)

    async def search(self, text: str, language: str | None, k: int) -> list[schemas.CatalogueItem]:
        """Return items whose title contains a text, or, without one, what is popular; raises Refused as filters do."""
        self.engine.sync()
        variant = self.engine.variants[0]
        data = variant.bundle.data
        filters: dict[str, schemas.Plain | list[schemas.Plain] | schemas.Between] = {}
        if language is not None:
            name = next((name for name in data.item_features if name.lower() in ("language", "languages")), "language")
            filters = {name: language}
        if not text:
            answer = (await self.batcher.ask([RecommendRequest(k=k, filters=filters)]))[0]
            rows = [variant.row(one.item) for one in answer.items]
        else:
            through = variant.allowed(RecommendRequest(k=k, filters=filters))
            found = data.search(text)
            rows = (found if through is None else found[through[0, found]])[:k].tolist()
        return [schemas.CatalogueItem(data.items.ids([row])[0], data.title(row), variant.features(row)) for row in rows]

    def refresh_metrics(self) -> None:
        """Bring figures that are not counted as they happen up to date."""
        if self.shown is not None:
            told = {**self.shown.lost, "written": self.shown.written}
            for outcome, count in told.items():
                self.metrics.impressions.labels(outcome).inc(count - self._logged.get(outcome, 0))
            self._logged = told
        self.metrics.lines_lost.inc(self.log.lost - self._lines_lost)
        self._lines_lost = self.log.lost
        self.metrics.waiting.set(len(self.batcher))
        self.metrics.waiting_events.set(len(self.events))
        self.metrics.remembered.set(self.engine.n_remembered)
        for one in self.engine.variants:
            self.metrics.items.labels(one.name).set(one.n_offered)
            self.metrics.masks.labels(one.name).set(one.n_masks)
            for outcome, count in one.mask_uses.items():
                self.metrics.mask_uses.labels(outcome).inc(count)
            one.mask_uses.clear()
            if self._measured.get(one.name) is not one.bundle:  # to count an index may take milliseconds
                self._measured[one.name] = one.bundle
                self._measure(one)

    def _measure(self, variant: Variant) -> None:
        for name, part in variant.bundle.assembly.components.items():
            if isinstance(part, Index):
                try:
                    self.metrics.vectors.labels(variant.name, name).set(len(part))
                except InputError as error:  # an index on a server that is out of reach
                    logger.warning("the size of index %s is not known: %s", name, error)

    def called(self, user: str | None) -> str | None:
        """Return a user's id as logs may have it."""
        secret = self.settings.hash_users
        if user is None or secret is None:
            return user
        return hashlib.blake2b(user.encode(), key=secret.encode()[:64], digest_size=16).hexdigest()

    def close(self) -> None:
        """Keep what is under way, and let go of everything."""
        self.events.close()
        if self.shown is not None:
            self.shown.close()
        self.log.flush()
        self.state.close()


def _clock(settings: Settings, variant: Variant, wall: Callable[[], float]) -> Clock:
    data = variant.bundle.data
    if settings.clock == "real" or data.order != "time" or not len(data):
        return Clock(wall)
    return Clock(wall, begin=int(data.time[-1]) + 1)


def _manifest(place: str) -> Any:
    try:
        return json.loads((Path(place) / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(place, cause=f"not a bundle: {error}", cure="give a folder that `pasand fit` wrote") from None
