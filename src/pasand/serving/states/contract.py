"""Contract of the serving state: a store of events, catalogue changes and forgotten users."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from pasand.types import Rows


class StateUnavailable(Exception):
    """Raised if a store cannot be reached or cannot store what it is given; nothing of the call is acknowledged."""


STORED_NAMES = {"user_id": "user", "item_id": "item"}
"""Keys of an event in the stored JSON, by field, where they differ."""


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename=STORED_NAMES):
    """An interaction: a user watched, bought or rated an item.

    A client that sends an event again must send the same `id`; the event is then stored once. `time` is in seconds
    since 1970, UTC. `value` (a rating or strength) and `watched_seconds` are finite, or None if unknown. `request_id`
    is the response that recommended the item, None if unknown.
    """

    id: str
    user_id: str
    item_id: str
    time: int
    value: float | None = None
    request_id: str | None = None
    watched_seconds: float | None = None
    disliked: bool = False
    """Whether the user rejected the item instead of choosing it."""
    undoes: str | None = None
    """Id of an earlier event of the user that no longer counts; such an event counts for nothing else."""


class Change(msgspec.Struct, frozen=True):
    """The latest change of one item of the catalogue."""

    number: int
    """Changes are numbered in rising order, from 1."""
    item_id: str
    features: dict[str, Any] | None
    """JSON values by feature name; None if the item was removed."""
    removed: bool


class RecentEvents(NamedTuple):
    """The stored events of a user."""

    events: list[Event]
    """Oldest first: by time, and events of equal time in order of arrival."""
    forgotten: bool
    """Whether the user was forgotten: the bundle's history must be ignored, and `events` all came since then."""
    seen: Rows | None = None
    """(S,) rows of all items of the user's events, where `events` are not all of them; states leave it out."""


class Counters(NamedTuple):
    """What a server compares to notice that others changed the state, or that it is another one."""

    identity: int
    """Drawn at random when the state is created."""
    change: int
    """Number of the last change of the catalogue, 0 before the first."""
    forgotten: int
    """Times that a user was forgotten."""


@runtime_checkable
class State(Protocol):
    """Stores events in order of arrival, numbered from 1; a number is never used twice.

    Every method may be called from any thread and raises StateUnavailable if the store cannot be reached; the next call
    tries again. Several processes may use one store at the same time.
    """

    remote: bool
    """Whether the store is a server, which may be slow or hang; `Guarded` bounds the time of its calls."""

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Store events durably, all or none, and return for each whether it is new; False if its id was stored."""

    def recent_events(self, users: Sequence[str], limit: int, after: int = 0) -> list[RecentEvents]:
        """Return for each user the newest `limit` events of those numbered above `after`.

        For forgotten users, return the newest of all events that arrived since, whatever `after` is: the bundle's
        history of them is ignored, so the events that a bundle was trained on must come from here, too.
        """

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Store durably that an item is in the catalogue, with JSON features; return the change's number."""

    def remove_item(self, item: str) -> int:
        """Store durably that an item is not in the catalogue; return the change's number."""

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if numbered above `after`, in order; cheap if there are none."""

    def forget(self, user: str) -> int:
        """Remove the user's events and return their number; only a digest of the id is kept."""

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return the first `limit` events numbered above `after` with their numbers, in order of arrival."""

    def seen_items(self, user: str, after: int) -> tuple[list[str], int]:
        """Return a user's distinct items, of events numbered above `after`, and the number of the last such event.

        These are the newest `MAX_SEEN` items at most; `([], after)` if there are no such events. The time depends on
        the number of distinct items, not of events.
        """

    def add_counts(self, ledger: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Add to the named counters of a ledger, all or none, and return the totals of all its counters by name.

        Without counts it only reads. What was added may be lost in a crash of the machine. Where StateUnavailable is
        raised the counts may have been added.
        """

    def counters(self) -> Counters:
        """Return the counters that show whether anything but events has changed; cheap."""

    def forgotten(self) -> set[bytes]:
        """Return the digests of all forgotten users."""

    def last(self) -> int:
        """Return the highest event number so far, 0 before the first event."""

    def close(self) -> None:
        """Release connections and files; may be called again."""


MAX_SEEN = 100_000
"""Distinct items of a user that `State.seen_items` returns at most."""
NEVER = -(2**53)
"""Time before a user's first event; real times are above it, and below 2 ** 53."""

read_events = msgspec.json.Decoder(list[Event]).decode
"""Returns the events of a JSON array, the form in which stores keep them."""


def newest(arrivals: Callable[[int], tuple[list[Event], int]], limit: int) -> list[Event]:
    """Return a user's newest `limit` events by time and then by arrival, oldest first.

    `arrivals(n)` returns the last n events to arrive, latest first, and the latest time of the user's events before
    them. Time mostly rises with arrival, so that no other events need be read. If that latest time shows that a clock
    was set back, or that events arrived late, more are read.

    >>> late = [Event(name, "u", "i", time) for name, time in (("c", 30), ("b", 20), ("a", 50))]
    >>> [event.id for event in newest(lambda n: (late[:n], 50), 2)]
    ['c', 'a']
    """
    if limit < 1:
        return []
    count = limit
    while True:
        events, before = arrivals(count)
        complete = len(events) < count
        events.reverse()
        events.sort(key=_time)
        del events[:-limit]
        if complete or events[0].time >= before:
            return events
        count *= 4


_time = attrgetter("time")


def digest(user: str) -> bytes:
    """Return what is stored of a forgotten user's id: a 16-byte digest that only the id itself can reproduce."""
    return hashlib.blake2b(user.encode(), digest_size=16, person=b"pasand forgotten").digest()
