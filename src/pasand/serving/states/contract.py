"""What a store of events, catalogue changes and wishes to be forgotten promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec


class StateUnavailable(Exception):
    """Raised where a store cannot be reached or cannot keep what it is given; nothing of the call is acknowledged."""


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Somebody watched, bought or rated something.

    Whoever sends an event again sends the same `id`, and it is kept once. `time` is in seconds since 1970, UTC. `value`
    (a rating or strength) and `watched_seconds` are finite; they are None where they are not known, as is `request_id`,
    the answer that the item was taken from.
    """

    id: str
    user: str
    item: str
    time: int
    value: float | None = None
    request_id: str | None = None
    watched_seconds: float | None = None


class Change(msgspec.Struct, frozen=True):
    """The latest that was told of an item of the catalogue."""

    number: int
    """Changes are numbered in rising order, from 1."""
    item: str
    features: dict[str, Any] | None
    """By name, as JSON knows them; None where the item was removed."""
    removed: bool


class RecentEvents(NamedTuple):
    """What the store knows of a user."""

    events: list[Event]
    """Oldest first: by time, and those of one time in order of arrival."""
    forgotten: bool
    """Whether the bundle's own history of the user must not be used; then `events` are all since the forgetting."""


@runtime_checkable
class State(Protocol):
    """Keeps events in order of arrival, numbered from 1; a number is never given twice.

    Every method may be called from any thread, and raises StateGone where the store cannot be reached; the next call
    tries anew. Several processes may use one store at once.
    """

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Keep events, durably before it returns, all or none; False for those whose id was there already."""

    def recent_events(self, users: Sequence[str], most: int, after: int = 0) -> list[RecentEvents]:
        """Return of each user the newest `most` events of those numbered above `after`.

        Of users who were forgotten, the newest of all that came since, whatever `after` is: no bundle's history of
        them is used, so what a bundle has learnt must come from here too.
        """

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Keep durably that an item is in the catalogue, with features as of JSON; return the change's number."""

    def remove_item(self, item: str) -> int:
        """Keep durably that an item is not in the catalogue; return the change's number."""

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if numbered above `after`, in order; cheap where there is none."""

    def forget(self, user: str) -> int:
        """Remove the user's events and return how many; of the id itself only a digest is kept."""

    def events(self, after: int, most: int) -> list[tuple[int, Event]]:
        """Return the first `most` events numbered above `after`, in order of arrival, with their numbers."""

    def last(self) -> int:
        """Return the highest number that an event has been given, 0 before the first."""

    def close(self) -> None:
        """Let go of connections and files; doing so again does no harm."""


NEVER = -(2**53)
"""The latest time before a user's first event; times lie above it, and below 2 ** 53."""

read_events = msgspec.json.Decoder(list[Event]).decode
"""Returns the events of a JSON array, the form in which stores keep them."""


def newest(arrivals: Callable[[int], tuple[list[Event], int]], most: int) -> list[Event]:
    """Return a user's newest `most` events by time and then by arrival, oldest first.

    `arrivals(n)` gives the n that arrived last, the last one first, and the latest time of the user's events before
    them. Time mostly rises with arrival, and then no others are looked at; that latest time tells where clocks were set
    back, or events came late.

    >>> late = [Event(name, "u", "i", time) for name, time in (("c", 30), ("b", 20), ("a", 50))]
    >>> [event.id for event in newest(lambda n: (late[:n], 50), 2)]
    ['c', 'a']
    """
    if most < 1:
        return []
    asked = most
    while True:
        events, before = arrivals(asked)
        whole = len(events) < asked
        events.reverse()
        events.sort(key=_time)
        del events[:-most]
        if whole or events[0].time >= before:
            return events
        asked *= 4


_time = attrgetter("time")


def digest(user: str) -> bytes:
    """Return what is kept of the id of a user who was forgotten, 16 bytes: only who has the id can find it."""
    return hashlib.blake2b(user.encode(), digest_size=16, person=b"pasand forgotten").digest()
