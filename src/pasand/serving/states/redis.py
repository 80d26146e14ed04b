"""State in a Redis server, shared by servers on several machines.

Acknowledged events are on the disk only if Redis runs with `appendonly yes` and `appendfsync always`. The first use
checks these settings and logs a warning if they differ.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import chain
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

# All keys contain {prefix}, so that a cluster keeps them together. A user's events are a sorted set with score = number
# and member = "number:latest time of the earlier ones:event". The log maps each number to the user of the event.
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
RECENT_EVENTS = """
local base, limit, after, found = KEYS[1], ARGV[1], ARGV[2], {}
for i = 3, #ARGV, 2 do
  local forgotten = redis.call('SISMEMBER', base .. 'forgotten', ARGV[i + 1])
  local above = forgotten == 1 and '-inf' or '(' .. after
  local rows = redis.call('ZREVRANGEBYSCORE', base .. 'user:' .. ARGV[i], '+inf', above, 'LIMIT', 0, limit)
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


def recognises(address: str) -> bool:
    """Return whether the address begins with redis://, rediss:// (encrypted) or unix://."""
    return address.startswith(("redis://", "rediss://", "unix://"))


def connect(address: str) -> Redis:
    """Return the store at the address without contacting the server yet; raises InputError for a wrong address."""
    return Redis(address)


class Redis:
    """Keeps the state on a Redis server; each method is one round trip that runs one atomic script."""

    def __init__(self, url: str, *, prefix: str = "pasand", timeout: float = 2.0) -> None:
        """Prepare the client; `prefix` begins all keys, `timeout` is in seconds.

        Raises InputError if the client library is not installed or the address is not valid.
        """
        self._address = url.split("@")[-1]
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise InputError(self._address, cause=str(error), cure="install pasand[scale]") from None
        try:
            # no retries: a repeated append that had succeeded would report that no event is new
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise InputError(self._address, cause=str(error), cure="give redis://HOST:PORT/DATABASE") from None
        self._errors = (redis.RedisError, OSError)
        self._base = f"{{{prefix}}}:"
        self._scripts: dict[str, Any] = {}
        self._checked = threading.Event()

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Store events, all or none, as durably as the server does; return for each whether its id is new."""
        rows = [(event.id, event.user_id, event.time, msgspec.json.encode(event)) for event in events]
        return [new == 1 for new in self._run(APPEND, *chain.from_iterable(rows))]

    def recent_events(self, users: Sequence[str], limit: int, after: int = 0) -> list[RecentEvents]:
        """Return for each user the newest `limit` events above `after`; for forgotten users, the newest of all."""
        limit = max(limit, 0)
        requested = max(limit, 1)
        first = self._arrivals(users, requested, after) if users else []

        def recent(user: str, reply: Any) -> RecentEvents:
            def arrivals(count: int) -> tuple[list[Event], int]:
                rows = reply[1] if count == requested else self._arrivals([user], count, after)[0][1]
                return _events(rows), _before(rows)

            return RecentEvents(newest(arrivals, requested)[:limit], reply[0] == 1)

        return [recent(user, reply) for user, reply in zip(users, first, strict=True)]

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Store that an item is in the catalogue, with its features; return the change's number."""
        return int(self._run(CHANGE, item, msgspec.json.encode(features)))

    def remove_item(self, item: str) -> int:
        """Store that an item is not in the catalogue; return the change's number."""
        return int(self._run(CHANGE, item, b""))

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if numbered above `after`, in order."""
        return [
            Change(int(number), item.decode(), msgspec.json.decode(features) if features else None, not features)
            for item, number, features in self._run(CHANGES, after)
        ]

    def forget(self, user: str) -> int:
        """Remove the user's events and return their number; the server's log drops them at its next rewrite."""
        return int(self._run(FORGET, user, digest(user)))

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return the first `limit` events numbered above `after` with their numbers, in order of arrival."""
        rows = self._run(EVENTS, after, max(limit, 0))
        return [(int(row.split(b":", 1)[0]), event) for row, event in zip(rows, _events(rows), strict=True)]

    def last(self) -> int:
        """Return the highest event number so far, 0 before the first event."""
        return int(self._call(lambda: self._client.get(f"{self._base}last")) or 0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _arrivals(self, users: Sequence[str], count: int, after: int) -> Any:
        return self._run(RECENT_EVENTS, count, after, *[part for user in users for part in (user, digest(user))])

    def _run(self, script: str, *arguments: Any) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        return self._call(lambda: self._scripts[script](keys=[self._base], args=arguments))

    def _call(self, operation: Callable[[], Any]) -> Any:
        """Return the server's reply to an operation; raises StateUnavailable if it fails."""
        try:
            if not self._checked.is_set():
                self._check_durability()
            return operation()
        except self._errors as error:
            raise StateUnavailable(f"{self._address}: {error}") from error

    def _check_durability(self) -> None:
        """Log a warning, once, if the server acknowledges events before they are on its disk."""
        import redis

        self._client.ping()
        self._checked.set()
        try:
            settings = self._client.config_get("append*")
        except redis.ResponseError:
            logger.warning("%s does not report its settings: set appendonly yes, appendfsync always", self._address)
            return
        if (settings.get("appendonly"), settings.get("appendfsync")) != ("yes", "always"):
            logger.warning("%s may lose acknowledged events: set appendonly yes, appendfsync always", self._address)


def _events(rows: Sequence[bytes]) -> list[Event]:
    """Return the events in rows of a user's sorted set, in the same order."""
    return read_events(b"[" + b",".join([row.split(b":", 2)[2] for row in rows]) + b"]")


def _before(rows: Sequence[bytes]) -> int:
    """Return the latest time among the user's events that precede the last row; NEVER if there are no rows."""
    return int(rows[-1].split(b":", 2)[1]) if rows else NEVER
