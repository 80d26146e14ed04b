"""Service behind the HTTP routes: owns the bundles in use, the state, the logs and the metrics, from start to end."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

from msgspec import UNSET

from pasand.bundle import Bundle
from pasand.bundle_files import MANIFEST, read_manifest
from pasand.contracts import Index
from pasand.errors import InputError, failure_cause
from pasand.serving import active_bundles, forgotten, schemas, state_owner
from pasand.serving.clock import Clock
from pasand.serving.engine.batching import Batcher
from pasand.serving.engine.bundle_check import check_bundle
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.event_feed import EventFeed, catch_up
from pasand.serving.engine.shown_lists import ShownLists, shown_shares
from pasand.serving.engine.variant import Variant
from pasand.serving.http.security import FAILURES_PER_SECOND, Keys, Rate, local_key
from pasand.serving.logs.impressions import ImpressionList, ImpressionLog, hash_user
from pasand.serving.logs.requests import RequestLog
from pasand.serving.metrics import Metrics, shared_by_workers
from pasand.serving.private_files import make_private_folder
from pasand.serving.schemas import RecommendRequest, RecommendResponse, RequestError
from pasand.serving.states import contract, guarded, older, open_state
from pasand.serving.states.older import OlderState
from pasand.serving.states.writer import Busy, EventWriter
from pasand.serving.wording import Wording
from pasand.types import Rows

logger = logging.getLogger(__name__)

MAX_AHEAD = 300
"""Seconds by which the time of an event may lie in the future."""
LATEST = 1000
"""Events, the last to arrive, after which a clock of the log starts."""
POLL_SECONDS = 1.0
"""Seconds between two looks at which bundles should be in use."""
RETRY_SECONDS = 5.0
"""Seconds after which a bundle that could not be used is tried again, or ten times the attempt's time, if longer."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a service."""

    variants: Sequence[tuple[str, str, float]]
    """Name, folder of the bundle, share of the users."""
    folder: str
    """Folder of the state, the impression log and the file of the bundles in use."""
    state: str | None = None
    """Address of the state; None: an SQLite file in `folder`."""
    keys: Keys = field(default_factory=Keys)
    address: str = "127.0.0.1"
    """Address that the service listens on."""
    hosts: Sequence[str] = ()
    """Further names under which it may be called, and whose web pages may call it."""
    trusted_proxies: Sequence[str] = ()
    """Addresses of proxies whose X-Forwarded-For header names the caller."""
    rate: float = 0.0
    """Requests per second of one caller; 0: no limit."""
    largest_body: int = 2_000_000
    """Bytes of a request's body at most."""
    body_seconds: float = 10.0
    """Seconds within which a body must arrive."""
    impressions: bool = True
    """Whether impressions are logged."""
    impressions_size: int = 1_000_000_000
    """Bytes that the impression log takes at most."""
    hash_users: str | None = None
    """Secret with which user ids are hashed in logs; None: they are not hashed."""
    clock: str = "real"
    """"real", or "log": the time starts after the bundle's log and the latest stored events, for data of the past."""
    report: str | None = None
    """Leaderboard report that the page links to."""
    audit: str | None = None
    """Audit as JSON that the page shows."""
    wording: Wording | None = None
    """What the page calls the items; None: as the recipe or the data have it."""
    log_requests: bool = True
    """Whether a line of JSON is written for every request."""


class Service:
    """The engine and the parts around it that all routes share, from start to end."""

    def __init__(self, settings: Settings, wall: Callable[[], float] = time) -> None:
        """Load and check the bundles and open the state; `wall` is the system's clock, in seconds since 1970.

        Raises InputError if a bundle or the state cannot be used, RequestError if a bundle fails its check.
        """
        self.settings, self.metrics = settings, Metrics()
        folder = Path(settings.folder)
        name, first, _ = settings.variants[0]
        if not folder.exists():
            read_manifest(Path(first))  # a wrong path makes no folder
        make_private_folder(folder)
        self.bundles_file = folder / active_bundles.NAME
        self.state = open_state(settings.state or str(folder / "state.sqlite"))
        active = active_bundles.read(self.bundles_file)
        if active.get(name, first) != first and (Path(first) / MANIFEST).exists():
            state_owner.check(folder, Path(first))
        variants = [Variant.read(name, active.get(name, bundle), share) for name, bundle, share in settings.variants]
        if active.get(name, first) == first:
            state_owner.check(folder, Path(first), variants[0].bundle.data)
        for variant, (_, given, _) in zip(variants[1:], settings.variants[1:], strict=True):
            if variant.folder == given:  # others were checked when they were activated
                state_owner.check_further(folder, Path(given), variant.bundle.data)
        users = forgotten.ForgottenUsers(folder / forgotten.NAME)
        self.older_state = OlderState(self.state, users, folder / older.NAME)
        self._check_state()
        self.engine = Engine(
            variants, self.state, _clock(settings, variants[0], self.state, wall), self._observe, users
        )
        self.engine.wording = settings.wording
        for variant in variants:
            catch_up(variant.followed, self.state)
            check_bundle(variant, self.state, self.engine.clock())
        self.feed = EventFeed(self.state, lambda: [variant.followed for variant in self.engine.variants])
        self.shown = ShownLists(self.state, lambda: self.engine.variants)
        self.state = self.engine.state = guarded(self.state)  # from here on an event loop reads it
        self.batcher = Batcher(self.engine, self.metrics.batch.observe)
        self.events = EventWriter(self.state)
        self._secret = None if settings.hash_users is None else settings.hash_users.encode()
        self.impressions = (
            ImpressionLog(folder / "impressions", max_bytes=settings.impressions_size, secret=self._secret)
            if settings.impressions
            else None
        )
        self._record_start(folder / active_bundles.STARTED)
        self.rate = Rate(settings.rate, shared_by_workers("rates"))
        self.failed_keys = Rate(FAILURES_PER_SECOND, shared_by_workers("failed-keys"))
        self.keys = settings.keys if settings.keys.scope else Keys(local=local_key(folder))
        self.ready = False
        self.body_bytes = 0
        """Bytes of the large bodies of the requests in progress."""
        self.previous: dict[str, str] = {}
        """Folder that each variant used before the current one, if it has used another since the start."""
        self.not_followed: dict[str, str] = {}
        """Why a variant keeps its bundle although another should be in use, by variant; "": why none is looked for."""
        self._state_error: contract.StateUnavailable | None = None
        self._swapping = asyncio.Lock()
        self._reported_impressions: dict[str, int] = {}
        self._reported_lines_lost = 0
        self._measured: dict[str, Bundle] = {}
        self._seen_versions = self._versions()
        self._retry_at = 0.0
        """Time, of `time.monotonic`, from which a bundle that could not be used is tried again."""
        self.log = RequestLog(settings.log_requests)

    def _check_state(self) -> None:
        try:
            self.older_state.check()
        except OSError as error:
            logger.warning("an older state would not be noticed: %s", error)

    def _record_start(self, file: Path) -> None:
        """Write down the bundles of the command line, which a refresh of a variant needs."""
        try:
            active_bundles.replace(file, {name: str(Path(path).absolute()) for name, path, _ in self.settings.variants})
        except OSError as error:
            logger.warning("a refresh will not know the variants: %s cannot be written: %s", file, error)

    def _observe(self, step: str, seconds: float) -> None:
        self.metrics.step.labels(step).observe(seconds)

    # bundles

    def _versions(self) -> tuple[int, ...]:
        """Return modification times that change when a bundle in use, or the file that names them, is replaced."""
        manifests = [Path(variant.folder) / "manifest.json" for variant in self.engine.variants]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in (self.bundles_file, *manifests))

    async def reload(self, name: str | None, folder: str | None) -> schemas.SwapResult:
        """Load and check a bundle next to the one in use, then use it; raises RequestError if it is rejected."""
        async with self._swapping:
            old = self.engine.variant_named(name)
            path = old.folder if folder is None else str(Path(folder).absolute())
            result = await self._swap(old, path, lambda: self._record(old.name, path))
            self.previous.setdefault(old.name, old.folder)  # a reload of the same folder can be repeated
            return result

    def _record(self, name: str, folder: str) -> None:
        """Write down which bundle a variant uses from now on; raises RequestError where that fails."""
        try:
            active_bundles.write(self.bundles_file, name, folder)
        except (OSError, InputError) as error:
            logger.error("the bundle is kept, since %s cannot be written: %s", self.bundles_file, error)
            cause = f"{active_bundles.NAME} cannot be written, so the bundle in use is kept; the cause is logged"
            raise RequestError(503, "not_recorded", cause) from None

    async def rollback(self, name: str | None) -> schemas.SwapResult:
        """Reload the folder that a variant used before; raises RequestError if there was none."""
        old = self.engine.variant_named(name)
        if old.name not in self.previous:
            raise RequestError(
                409, "no_previous_bundle", f"variant {old.name} has used no other folder since the start"
            )
        return await self.reload(old.name, self.previous[old.name])

    async def _swap(self, old: Variant, folder: str, record: Callable[[], None] = lambda: None) -> schemas.SwapResult:
        try:
            new = await asyncio.to_thread(self._load, old.name, folder)
        except InputError as error:
            raise RequestError(422, "bundle_rejected", str(error), "bundle") from None
        self.engine.swap(new, record)  # on this thread, so that no request is served meanwhile
        self.shown.carry_over(old, new)
        if folder != old.folder:
            self.previous[old.name] = old.folder
        self.not_followed.pop(old.name, None)
        self.metrics.swaps.labels(new.name).inc()
        logger.info("variant %s uses %s, bundle %s", new.name, folder, new.digest)
        return schemas.SwapResult(new.name, new.digest, old.digest)

    def _load(self, name: str, folder: str) -> Variant:
        """Return a bundle ready to replace the variant of this name, which has counted the stored events.

        Raises InputError if it cannot be read or has another catalogue than the service.
        """
        new = self.engine.load(name, folder)
        state_owner.check_further(self.bundles_file.parent, Path(folder), new.bundle.data)
        catch_up(new.followed, self.feed.state)
        return new

    async def follow(self) -> None:
        """Load bundles that another worker or a refresh has put in use, forever.

        One that cannot be used, whatever the cause, is logged once, stays in `not_followed` and is tried again, since
        its files may still be copied. Also updates the metrics, since another worker may be queried for them.
        """
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self._check_state)
            try:
                self.refresh_metrics()
                retry = bool(self.not_followed.keys() - {""}) and monotonic() >= self._retry_at
                if retry or self._versions() != self._seen_versions:
                    async with self._swapping:
                        await self._follow_once()
            except Exception as error:  # the next round must come, whatever happened in this one
                self._report_not_followed("", error)
            else:
                self.not_followed.pop("", None)

    async def _follow_once(self) -> None:
        self._seen_versions, began = self._versions(), monotonic()
        for old in list(self.engine.variants):
            try:
                folder = active_bundles.read(self.bundles_file).get(old.name, old.folder)
                if folder != old.folder or read_manifest(Path(folder)) != old.bundle.manifest:
                    await self._swap(old, folder)
                self.not_followed.pop(old.name, None)
            except Exception as error:  # whatever a bundle makes the code fail with, the one in use goes on
                self._report_not_followed(old.name, error)
        self._retry_at = monotonic() + max(RETRY_SECONDS, 10 * (monotonic() - began))

    def _report_not_followed(self, name: str, error: Exception) -> None:
        """Log why a variant keeps its bundle, or "" why following fails, once for the same cause."""
        cause = error.message if isinstance(error, RequestError) else failure_cause(error)
        if self.not_followed.get(name) != cause:
            logger.error("%s: %s", f"variant {name} keeps its bundle" if name else "bundles are not followed", cause)
        self.not_followed[name] = cause

    # responses and events

    def record(self, responses: Sequence[tuple[str | None, RecommendResponse]]) -> None:
        """Count responses and what they show, and log their impressions, given the user of each."""
        now = self.engine.clock()
        self.shown.add([response for _, response in responses], now)
        for user, response in responses:
            self.metrics.responses.labels(response.variant).inc()
            if not response.known:
                self.metrics.fallback.labels(response.variant).inc()
            if response.degraded:
                self.metrics.degraded.inc()
            if self.impressions is not None and user is not None:
                joint = None if response.list_propensity is UNSET else response.list_propensity
                shown = ImpressionList(
                    response.request_id, now, user, response.items, response.variant, response.bundle, joint
                )
                self.impressions.add(shown)

    async def append(self, received: Sequence[schemas.Event]) -> schemas.Accepted:
        """Store events durably.

        Raises RequestError for an event in the future, for a rating that is not on the scale of the log, and if the
        state is unavailable.
        """
        now, scale = self.engine.clock(), self.engine.variants[0].scale
        for i, event in enumerate(received):
            scale.check(event.value, f"events[{i}].value")
            if event.time is not None and event.time > now + MAX_AHEAD:
                raise RequestError(422, "future", f"its time is {event.time}, and now is {now}", f"events[{i}].time")
        events = [
            contract.Event(
                event.id or secrets.token_hex(12),
                event.user_id,
                event.item_id,
                now if event.time is None else event.time,
                scale.lowest if event.disliked and event.value is None else event.value,
                event.request_id,
                event.watched_seconds,
                event.disliked,
                event.undoes,
            )
            for event in received
        ]
        try:
            new = await self.events.append(events)
        except contract.StateUnavailable as error:
            self.metrics.events.labels("refused").inc(len(events))
            self._set_state_error(error)
            cause = "the events could not be stored; send them again with the same ids (the cause is logged)"
            raise RequestError(503, "state_unavailable", cause) from None
        except Busy:
            self.metrics.events.labels("refused").inc(len(events))
            cause = "events arrive faster than they can be stored; try again later"
            raise RequestError(503, "overloaded", cause) from None
        self._set_state_error(None)
        self.feed.wake()
        data = self.engine.variants[0].bundle.data
        unknown = int((data.items.rows([event.item_id for event in events]) < 0).sum())
        self.metrics.events.labels("accepted").inc(sum(new))
        self.metrics.events.labels("duplicate").inc(len(new) - sum(new))
        return schemas.Accepted(sum(new), len(new) - sum(new), unknown, [event.id for event in events])

    async def change(self, change: Callable[[], int], message: str) -> None:
        """Make a change of the state in the writer's thread; raises RequestError with the message if that fails."""
        try:
            await self.events.run(change)
        except contract.StateUnavailable as error:
            raise self.not_stored(message, error) from None
        except Busy:
            raise RequestError(503, "overloaded", f"{message}: too many changes wait; try again later") from None

    def not_stored(self, message: str, error: contract.StateUnavailable) -> RequestError:
        """Log why the state did not store a change, and return the error for the caller, without addresses."""
        logger.warning("%s: %s", message, error)
        return RequestError(503, "state_unavailable", f"{message}; the cause is logged")

    def _set_state_error(self, error: contract.StateUnavailable | None) -> None:
        """Log when events begin to be refused and when they are stored again, not each failure."""
        if (error is None) == (self._state_error is None):
            return
        self._state_error = error
        logger.warning("%s", "events are stored again" if error is None else f"events are refused: {error}")

    async def forget(self, user: str) -> schemas.ChangeResult:
        """Forget a user: events, the bundles' history, impressions; raises RequestError if the state is unavailable."""
        try:
            removed = await asyncio.to_thread(self.state.forget, user)
        except contract.StateUnavailable as error:
            raise self.not_stored("the user could not be forgotten", error) from None
        await asyncio.to_thread(self._check_state)  # to notice an older copy of the state that has the user's events
        try:
            self.engine.forget(user)
        except OSError as error:
            logger.warning("the file of forgotten users cannot be written: %s", error)
            cause = "the events are forgotten, but the file of forgotten users cannot be written; the cause is logged"
            raise RequestError(503, "log", cause) from None
        try:
            logged = 0 if self.impressions is None else await asyncio.to_thread(self.impressions.forget, user)
        except OSError as error:
            logger.warning("the impression log cannot be rewritten: %s", error)
            cause = "the events are forgotten, but the impression log cannot be rewritten; the cause is logged"
            raise RequestError(503, "log", cause) from None
        known = any((variant.bundle.data.users.rows([user]) >= 0).any() for variant in self.engine.variants)
        message = f"forgotten: {removed} events, {logged} impressions"
        return schemas.ChangeResult(message, known or removed > 0)

    async def search(self, text: str, language: str | None, k: int) -> list[schemas.CatalogueItem]:
        """Return the items that a text finds or, for "", popular items; raises RequestError as filters do."""
        self.engine.sync()
        variant = self.engine.variants[0]
        data = variant.bundle.data
        filters: dict[str, schemas.Scalar | list[schemas.Scalar] | schemas.Between] = {}
        if language is not None:
            name = next((name for name in data.item_features if name.lower() in ("language", "languages")), "language")
            filters = {name: language}
        request = RecommendRequest(k=k, filters=filters)
        if not text:
            response = (await self.batcher.recommend([request]))[0]
            rows = [variant.row(item.item_id) for item in response.items]
        else:
            matches = await asyncio.to_thread(data.search, text)  # the first one of a catalogue may need a second

            def matching() -> list[int]:
                allowed = variant.allowed(request, self.engine.clock())
                found: Rows = matches if allowed is None else matches[allowed[0, matches]]
                return list(map(int, found[:k]))

            rows = await self.batcher.compute(matching)
        return [schemas.CatalogueItem(data.items.ids([row])[0], data.title(row), variant.features(row)) for row in rows]

    def refresh_metrics(self) -> None:
        """Update the metrics that are not counted as events happen."""
        if self.impressions is not None:
            counts = {**self.impressions.lost, "written": self.impressions.written}
            for outcome, count in counts.items():
                self.metrics.impressions.labels(outcome).inc(count - self._reported_impressions.get(outcome, 0))
            self._reported_impressions = counts
        self.metrics.lines_lost.inc(self.log.lost - self._reported_lines_lost)
        self._reported_lines_lost = self.log.lost
        self.metrics.waiting.set(len(self.batcher))
        self.metrics.waiting_events.set(len(self.events))
        self.metrics.cached_users.set(self.engine.n_cached_users)
        for variant in self.engine.variants:
            self.metrics.items.labels(variant.name).set(variant.n_available)
            self.metrics.masks.labels(variant.name).set(variant.n_masks)
            for outcome, count in variant.mask_uses.items():
                self.metrics.mask_uses.labels(outcome).inc(count)
            variant.mask_uses.clear()
            for group, share in shown_shares(variant).items():
                self.metrics.exposure.labels(variant.name, group).set(share)
            for rule, count in variant.broken_rules.items():
                self.metrics.broken_rules.labels(rule).inc(count)
            variant.broken_rules.clear()
            if self._measured.get(variant.name) is not variant.bundle:  # counting an index may take milliseconds
                self._measured[variant.name] = variant.bundle
                self._measure_indexes(variant)

    def _measure_indexes(self, variant: Variant) -> None:
        for name, component in variant.bundle.assembly.components.items():
            if isinstance(component, Index):
                try:
                    self.metrics.vectors.labels(variant.name, name).set(len(component))
                except InputError as error:  # an index on a server that cannot be reached
                    logger.warning("the size of index %s is unknown: %s", name, error)

    def logged_name(self, user: str | None) -> str | None:
        """Return a user's id as logs may contain it, hashed if the settings require it."""
        return user if user is None or self._secret is None else hash_user(user, self._secret)

    def close(self) -> None:
        """Store what is waiting, and release the state and the logs; one that fails does not keep the others open."""
        with ExitStack() as parts:  # closed in reverse order
            parts.callback(self.state.close)
            parts.callback(self._check_state)
            parts.callback(self.log.close)
            if self.impressions is not None:
                parts.callback(self.impressions.close)
            parts.callback(self.events.close)
            parts.callback(self.shown.close)
            parts.callback(self.feed.close)


def _clock(settings: Settings, variant: Variant, state: contract.State, wall: Callable[[], float]) -> Clock:
    data = variant.bundle.data
    if settings.clock == "real" or data.order != "time" or not len(data):
        return Clock(wall)
    times = [int(data.time[-1]), *(event.time for event in _latest_events(state))]
    return Clock(wall, begin=max(times) + 1)


def _latest_events(state: contract.State) -> list[contract.Event]:
    """Return the last events that arrived, at most `LATEST`; none if the state cannot be reached."""
    try:
        return [event for _, event in state.events(max(0, state.last() - LATEST), LATEST)]
    except contract.StateUnavailable as error:
        logger.warning("the clock may start before the latest events: %s", error)
        return []
