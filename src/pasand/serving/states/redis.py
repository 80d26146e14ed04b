"""A Redis server: one state for servers on several machines.

What Redis acknowledges is on its disk only with `appendonly yes` and `appendfsync always`; it is asked for that at the
first use, and a warning tells where it is not so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from pasand.errors import InputError
from pasand.serving.states.contract import (
    NEVER,
    Change,
    Event,
    RecentEvents,
    StateUnavailable,
    digest,
    newest,
    read_events,
)

logger = logging.getLogger(__name__)

# All keys hold {prefix}, so that a cluster keeps them together. Of a user's events, score = number and member =
# "number:latest time of the earlier ones:event". The log holds whose event each number is.
APPEND = f"""
local base, new = KEYS[1], {{}}
for i = 1, #ARGV, 4 do
  local id, user, time, event = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('SADD', base .. 'ids', id) == 1 then
    local number = redis.call('INCR', base .. 'last')
    local before = redis.call('HGET', base .. 'latest', user) or '{NEVER}'
    redis.call('ZADD', base .. 'user:' .. user, number, number .. ':' .. before .. ':' .. event)
    redis.call('ZADD', base .. 'log', number, user .. ':' .. number)
    if tonumber(time) > tonumber(before) then redis.call('HSET', base .. 'latest', user, time) end
    new[#new + 1] = 1
  else
    new[#new + 1] = 0
  end
end
return new
"""
PASTS = """
local base, most, after, found = KEYS[1], ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 2 do
  local forgotten = redis.call('SISMEMBER', base .. 'forgotten', ARGV[i + 1])
  local above = forgotten == 1 and '-inf' or '(' .. after
  local rows = redis.call('ZREVRANGEBYSCORE', base .. 'user:' .. ARGV[i], '+inf', above, 'LIMIT', 0, most)
  found[#found + 1] = {forgotten, rows}
end
return found
"""
EVENTS = """
local base, found = KEYS[1], {}
local rows = redis.call('ZRANGEBYSCORE', base .. 'log', '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])
for _, row in ipairs(rows) do
  local user, number = string.match(row, '^(.*):(%d+)$')
  found[#found + 1] = redis.call('ZRANGEBYSCORE', base .. 'user:' .. user, number, number)[1]
end
return found
"""
FORGET = """
local base, user = KEYS[1], ARGV[1]
local rows = redis.call('ZRANGE', base .. 'user:' .. user, 0, -1)
for _, row in ipairs(rows) do
  local number, event = string.match(row, '^(%d+):%-?%d+:(.*)$')
  redis.call('SREM', base .. 'ids', cjson.decode(event).id)
  redis.call('ZREM', base .. 'log', user .. ':' .. number)
end
redis.call('DEL', base .. 'user:' .. user)
redis.call('HDEL', base .. 'latest', user)
redis.call('SADD', base .. 'forgotten', ARGV[2])
return #rows
"""
CHANGE = """
local base, item = KEYS[1], ARGV[1]
local number = redis.call('INCR', base .. 'last change')
redis.call('ZADD', base .. 'changes', number, item)
redis.call('HSET', base .. 'features', item, ARGV[2])
return number
"""
CHANGES = """
local base = KEYS[1]
local rows = redis.call('ZRANGEBYSCORE', base .. 'changes', '(' .. ARGV[1], '+inf', 'WITHSCORES')
for i = 1, #rows, 2 do
  rows[i] = {rows[i], rows[i + 1], redis.call('HGET', base .. 'features', rows[i])}
end
for i = #rows, 1, -2 do table.remove(rows, i) end
return rows
"""


def recognises(place: str) -> bool:
    """Return whether the place is redis://, rediss:// (encrypted) or unix://."""
    return place.startswith(("redis://", "rediss://", "unix://"))


def opened(place: str) -> Redis:
    """Return the store at the address; the server is not asked yet. Raises InputError for a wrong address."""
    return Redis(place)


class Redis:
    """Keeps the state on a server; every method is one round trip, and a script that nothing comes between."""

    def __init__(self, url: str, *, prefix: str = "pasand", patience: float = 2.0) -> None:
        """Prepare to ask the server; `prefix` begins all its keys, `patience`: seconds to wait for an answer.

        Raises InputError where the client is not installed or the address is none.
        """
        self._place = url.split("@")[-1]
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise InputError(self._place, cause=str(error), cure="install pasand[scale]") from None
        try:
            # asked again, an append that was kept would answer that nothing is new
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise InputError(self._place, cause=str(error), cure="give redis://HOST:PORT/DATABASE") from None
        self._errors = (redis.RedisError, OSError)
        self._base = f"{{{prefix}}}:"
        self._scripts: dict[str, Any] = {}
        self._looked = threading.Event()

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Keep events, all or none, as durably as the server does; False for those whose id was there already."""
        told = [part for event in events for part in (event.id, event.user, event.time, msgspec.json.encode(event))]
        return [new == 1 for new in self._run(APPEND, *told)]

    def recent_events(self, users: Sequence[str], most: int, after: int = 0) -> list[RecentEvents]:
        """Return of each user the newest `most` events numbered above `after`, of forgotten ones the newest of all."""
        most = max(most, 0)
        asked = max(most, 1)
        first = self._arrivals(users, asked, after) if users else []

        def past(user: str, found: Any) -> RecentEvents:
            def arrivals(count: int) -> tuple[list[Event], int]:
                rows = found[1] if count == asked else self._arrivals([user], count, after)[0][1]
                return _events(rows), _before(rows)

            return RecentEvents(newest(arrivals, asked)[:most], found[0] == 1)

        return [past(user, found) for user, found in zip(users, first, strict=True)]

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Keep that an item is in the catalogue, with its features; return the change's number."""
        return int(self._run(CHANGE, item, msgspec.json.encode(features)))

    def remove_item(self, item: str) -> int:
        """Keep that an item is not in the catalogue; return the change's number."""
        return int(self._run(CHANGE, item, b""))

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if it is numbered above `after`, in order."""
        return [
            Change(int(number), item.decode(), msgspec.json.decode(features) if features else None, not features)
            for item, number, features in self._run(CHANGES, after)
        ]

    def forget(self, user: str) -> int:
        """Remove the user's events and return how many; they leave the server's log when it next rewrites that."""
        return int(self._run(FORGET, user, digest(user)))

    def events(self, after: int, most: int) -> list[tuple[int, Event]]:
        """Return the first `most` events numbered above `after`, in order of arrival, with their numbers."""
        rows = self._run(EVENTS, after, max(most, 0))
        return [(int(row.split(b":", 1)[0]), event) for row, event in zip(rows, _events(rows), strict=True)]

    def last(self) -> int:
        """Return the highest number that an event has been given, 0 before the first."""
        return int(self._ask(lambda: self._client.get(f"{self._base}last")) or 0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _arrivals(self, users: Sequence[str], count: int, after: int) -> Any:
        return self._run(PASTS, count, after, *[part for user in users for part in (user, digest(user))])

    def _run(self, script: str, *told: Any) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        return self._ask(lambda: self._scripts[script](keys=[self._base], args=told))

    def _ask(self, what: Any) -> Any:
        """Return what the server answers; raises StateGone for whatever it does not."""
        try:
            if not self._looked.is_set():
                self._look()
            return what()
        except self._errors as error:
            raise StateUnavailable(f"{self._place}: {error}") from error

    def _look(self) -> None:
        """Warn, once, where the server does not keep on its disk what it acknowledges."""
        import redis

        self._client.ping()
        self._looked.set()
        try:
            told = self._client.config_get("append*")
        except redis.ResponseError:
            logger.warning("%s does not tell whether it is durable: set appendfsync always", self._place)
            return
        if (told.get("appendonly"), told.get("appendfsync")) != ("yes", "always"):
            logger.warning("%s may lose acknowledged events: set appendonly yes, appendfsync always", self._place)


def _events(rows: Sequence[bytes]) -> list[Event]:
    """Return the events of a user's rows, in their order."""
    return read_events(b"[" + b",".join([row.split(b":", 2)[2] for row in rows]) + b"]")


def _before(rows: Sequence[bytes]) -> int:
    """Return the latest time of the user's events before the last of the rows."""
    return int(rows[-1].split(b":", 2)[1]) if rows else NEVER
