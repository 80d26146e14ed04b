"""State in a Redis server, shared by servers on several machines.

Acknowledged events are on the disk only if Redis runs with `appendonly yes` and `appendfsync always`. The first use
checks these settings and logs a warning if they differ.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from pasand.errors import InputError
from pasand.serving.states.contract import (
    MAX_SEEN,
    NEVER,
    Change,
    Counters,
    Event,
    RecentEvents,
    StateUnavailable,
    digest,
    newest,
    read_events,
)

logger = logging.getLogger(__name__)

# All keys contain {prefix}, so that a cluster keeps them together. A user's events are a sorted set with score = number
# and member = "number:latest time of the earlier ones:event". The log maps each number to the user of the event. A
# user's items are a sorted set with score = number of the last event and member = "=item". It is complete once it has
# the member "complete"; the items of events that an earlier version stored are added at the user's next event, or read.
OLDER_ITEMS = """
local function add_older_items(base, user)
  local key = base .. 'seen:' .. user
  if redis.call('ZSCORE', key, 'complete') then return end
  for _, row in ipairs(redis.call('ZRANGE', base .. 'user:' .. user, 0, -1)) do
    local number, event = string.match(row, '^(%d+):%-?%d+:(.*)$')
    redis.call('ZADD', key, number, '=' .. cjson.decode(event).item)
  end
  redis.call('ZADD', key, 0, 'complete')
end
"""
# A script that writes gets the time by Redis' clock until which its caller waits. A server that was stopped runs
# it later, when the caller has reported that nothing was stored, and perhaps after newer changes.
IN_TIME = """
local now, wait_until = redis.call('TIME'), tonumber(table.remove(ARGV))
if now[1] + now[2] / 1e6 > wait_until then return redis.error_reply('LATE: its caller no longer waited') end
"""
APPEND = f"""
{OLDER_ITEMS}
local base, new, complete = KEYS[1], {{}}, {{}}
for i = 1, #ARGV, 5 do
  local id, user, time, event, item = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if redis.call('SADD', base .. 'ids', id) == 1 then
    local number = redis.call('INCR', base .. 'last')
    local before = redis.call('HGET', base .. 'latest', user) or '{NEVER}'
    redis.call('ZADD', base .. 'user:' .. user, number, number .. ':' .. before .. ':' .. event)
    redis.call('ZADD', base .. 'log', number, user .. ':' .. number)
    if not complete[user] then add_older_items(base, user) end
    complete[user] = true
    redis.call('ZADD', base .. 'seen:' .. user, number, '=' .. item)
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
SEEN_ITEMS = f"""
{OLDER_ITEMS}
local base, user, after = KEYS[1], ARGV[1], ARGV[2]
if redis.call('EXISTS', base .. 'user:' .. user) == 1 then add_older_items(base, user) end
local key, above = base .. 'seen:' .. user, '(' .. after
return redis.call('ZREVRANGEBYSCORE', key, '+inf', above, 'WITHSCORES', 'LIMIT', 0, {MAX_SEEN})
"""
COUNTERS = """
local base = KEYS[1]
if redis.call('EXISTS', base .. 'identity') == 0 then redis.call('SET', base .. 'identity', ARGV[1]) end
return redis.call('MGET', base .. 'identity', base .. 'last change', base .. 'times forgotten')
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
redis.call('DEL', base .. 'user:' .. user, base .. 'seen:' .. user)
redis.call('INCR', base .. 'times forgotten')
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

ADD_COUNTS = """
local key = KEYS[1] .. 'added:' .. ARGV[1]
for i = 2, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[i], ARGV[i + 1]) end
return redis.call('HGETALL', key)
"""


def recognises(address: str) -> bool:
    """Return whether the address begins with redis://, rediss:// (encrypted) or unix://."""
    return address.startswith(("redis://", "rediss://", "unix://"))


def connect(address: str) -> Redis:
    """Return the store at the address without contacting the server yet; raises InputError for a wrong address."""
    return Redis(address)


class Redis:
    """Keeps the state on a Redis server; each method is one round trip that runs one atomic script."""

    remote = True

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
        self._timeout = timeout
        self._clock_ahead: float | None = None
        self._checked = threading.Event()

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Store events, all or none, as durably as the server does; return for each whether its id is new."""
        rows = [(event.id, event.user_id, event.time, msgspec.json.encode(event), event.item_id) for event in events]
        return [new == 1 for new in self._write(APPEND, *chain.from_iterable(rows))]

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
        return int(self._write(CHANGE, item, msgspec.json.encode(features)))

    def remove_item(self, item: str) -> int:
        """Store that an item is not in the catalogue; return the change's number."""
        return int(self._write(CHANGE, item, b""))

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if numbered above `after`, in order."""
        return [
            Change(int(number), item.decode(), msgspec.json.decode(features) if features else None, not features)
            for item, number, features in self._run(CHANGES, after)
        ]

    def forget(self, user: str) -> int:
        """Remove the user's events and return their number; the server's log drops them at its next rewrite."""
        return int(self._write(FORGET, user, digest(user)))

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return the first `limit` events numbered above `after` with their numbers, in order of arrival."""
        rows = self._run(EVENTS, after, max(limit, 0))
        return [(int(row.split(b":", 1)[0]), event) for row, event in zip(rows, _events(rows), strict=True)]

    def seen_items(self, user: str, after: int) -> tuple[list[str], int]:
        """Return a user's distinct items, of events numbered above `after`, and the number of the last such event."""
        rows = self._run(SEEN_ITEMS, user, max(after, 0))
        return [item[1:].decode() for item in rows[::2]], int(rows[1]) if rows else after

    def add_counts(self, ledger: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Add to the named counters of a ledger and return the totals of all its counters; without counts only read."""
        arguments = ledger, *chain.from_iterable(counts.items())
        rows = self._write(ADD_COUNTS, *arguments) if counts else self._run(ADD_COUNTS, *arguments)
        return {name.decode(): int(total) for name, total in zip(rows[::2], rows[1::2], strict=True)}

    def counters(self) -> Counters:
        """Return the identity of the state, the last change, and how often a user was forgotten."""
        return Counters(*(int(number or 0) for number in self._run(COUNTERS, secrets.randbits(62))))

    def forgotten(self) -> set[bytes]:
        """Return the digests of all forgotten users."""
        return set(self._call(lambda: self._client.smembers(f"{self._base}forgotten")))

    def last(self) -> int:
        """Return the highest event number so far, 0 before the first event."""
        return int(self._call(lambda: self._client.get(f"{self._base}last")) or 0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _arrivals(self, users: Sequence[str], count: int, after: int) -> Any:
        return self._run(RECENT_EVENTS, count, after, *[part for user in users for part in (user, digest(user))])

    def _script(self, text: str) -> Any:
        if text not in self._scripts:
            self._scripts[text] = self._client.register_script(text)
        return self._scripts[text]

    def _run(self, script: str, *arguments: Any) -> Any:
        run = self._script(script)
        return self._call(lambda: run(keys=[self._base], args=arguments))

    def _write(self, script: str, *arguments: Any) -> Any:
        """Return the result of a script that changes data, unless the server runs it after the time-out."""

        def operation() -> Any:
            ahead = self._clock_ahead
            if ahead is None:
                ahead = self._clock_ahead = self._read_clock()
            return script_of(keys=[self._base], args=[*arguments, wait_until + ahead])

        wait_until = time.monotonic() + self._timeout
        script_of = self._script(IN_TIME + script)
        return self._call(operation)

    def _read_clock(self) -> float:
        """Return by how many seconds the server's clock is ahead of this process's monotonic one, or a little less."""
        seconds, microseconds = self._client.time()
        return float(seconds + microseconds / 1e6 - time.monotonic())

    def _call(self, operation: Callable[[], Any]) -> Any:
        """Return the server's reply to an operation; raises StateUnavailable if it fails."""
        try:
            if not self._checked.is_set():
                self._check_durability()
            return operation()
        except self._errors as error:
            self._clock_ahead = None  # the clock may have been set, or be that of another server
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
