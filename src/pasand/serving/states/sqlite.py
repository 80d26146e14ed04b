"""State in an SQLite file: durable, shared by all processes of one machine, nothing to install."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pasand.errors import InputError
from pasand.serving.private_files import make_private_file
from pasand.serving.states import sqlite_counts, sqlite_seen
from pasand.serving.states.contract import (
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
from pasand.serving.states.sqlite_acknowledged import Acknowledged, numbers_of
from pasand.serving.states.sqlite_connection import Connection, file_of
from pasand.serving.states.sqlite_scrub import Scrubber, is_due

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

APPLICATION_ID = int.from_bytes(b"pasd")
"""Marks the file as a state of pasand."""
FORMAT = 1
"""Version of the tables, stored in the file; other versions are rejected."""

TABLES = f"""
CREATE TABLE event (
    user TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, event TEXT NOT NULL,
    latest INTEGER NOT NULL,  -- time among this and the earlier events of the user
    latest_before INTEGER NOT NULL,
    PRIMARY KEY (user, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX event_number ON event (number);
CREATE TABLE change (item TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, features TEXT) WITHOUT ROWID;
CREATE TABLE forgotten (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('event', 0), ('change', 0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""

COUNTERS = "SELECT name, last FROM counter"
LATEST = "SELECT latest FROM event WHERE user = ? ORDER BY number DESC LIMIT 1"
APPEND = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
# The rows keep their order, since SQLite does not flatten a subquery with a limit. Reading one value from SQLite, not
# several for every event, halves the time.
ARRIVALS = """
SELECT '[' || coalesce(group_concat(event), '') || ']', min(latest_before),
       EXISTS (SELECT 1 FROM forgotten WHERE digest = ?1)
FROM (SELECT event, latest_before FROM event
      WHERE user = ?2 AND number > CASE WHEN EXISTS (SELECT 1 FROM forgotten WHERE digest = ?1) THEN 0 ELSE ?3 END
      ORDER BY number DESC LIMIT ?4)
"""
EVENTS = "SELECT number, event FROM event WHERE number > ? ORDER BY number LIMIT ?"
CHANGES = "SELECT number, item, features FROM change WHERE number > ? ORDER BY number"

READ_SECONDS = 0.05
"""Longest wait of a read for a process that has locked the whole file, since reads are made on an event loop."""


class EventsLost(StateUnavailable):
    """Raised if the file lacks events or changes that were acknowledged."""


def recognises(address: str) -> bool:
    """Return whether the address is a path or sqlite:///PATH."""
    return "://" not in address or address.startswith("sqlite:///")


def connect(address: str) -> SQLite:
    """Return the store in the file, which is created if missing; raises InputError if that fails."""
    return SQLite(address.removeprefix("sqlite:///"))


class SQLite:
    """Keeps the state in one file, with one connection per thread; open it after a fork, not before."""

    remote = False

    def __init__(self, path: str | Path, *, timeout: float = 5.0) -> None:
        """Open or create the file; `timeout` is in seconds and limits the wait for other processes that write.

        Raises InputError if the file is not a state of pasand, or cannot be created.
        """
        self.path, self.timeout = Path(path).absolute(), timeout
        self._local = threading.local()
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._scrubber, self._acknowledged = Scrubber(self.path), Acknowledged(self.path)
        try:
            self._reject_foreign()
            self._write(_create_tables)
            # so that the file has its identity even if its write-ahead log is removed
            self._run(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
            if self._run(is_due):
                self._scrubber.begin()
        except EventsLost as error:
            self.close()
            cure = f"put {self.path}-wal or a newer copy back, or go on without them: pasand state accept {self.path}"
            raise InputError(path, cause=str(error), cure=cure) from None
        except (OSError, sqlite3.Error, StateUnavailable) as error:
            cure = "name a file in a folder that can be written"
            raise InputError(path, cause=f"cannot be used as a store: {error}", cure=cure) from None

    def _reject_foreign(self) -> None:
        """Create the file if missing; raises InputError if it exists and is no state of pasand."""
        make_private_file(self.path)
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=self.timeout)) as connection:
            empty = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
            found = _number(connection, "application_id"), _number(connection, "user_version")
        if not empty and found != (APPLICATION_ID, FORMAT):
            cause = f"it is a database, but not a state in this version's format ({FORMAT})"
            raise InputError(self.path, cause=cause, cure="name another file")

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Store events in one transaction, on the disk when it returns; return for each whether its id is new."""
        return self._write(lambda connection: _append(connection, events))

    def recent_events(self, users: Sequence[str], limit: int, after: int = 0) -> list[RecentEvents]:
        """Return for each user the newest `limit` events above `after`; for forgotten users, the newest of all."""
        return self._run(lambda connection: _recent_events(connection, users, limit, after))

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Store that an item is in the catalogue, with its features; return the change's number."""
        return self._change(item, msgspec.json.encode(features).decode())

    def remove_item(self, item: str) -> int:
        """Store that an item is not in the catalogue; return the change's number."""
        return self._change(item, None)

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if numbered above `after`, in order."""
        rows = self._run(lambda connection: connection.execute(CHANGES, (after,)).fetchall())
        return [
            Change(number, item, None if features is None else msgspec.json.decode(features), features is None)
            for number, item, features in rows
        ]

    def forget(self, user: str) -> int:
        """Remove the user's events, overwriting them in the file, and return their number.

        What others that read the file delay is overwritten soon after.
        """
        removed = self._write(lambda connection: _forget(connection, user))
        self._scrubber.scrub()
        return removed

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return the first `limit` events numbered above `after` with their numbers, in order of arrival."""
        rows = self._run(lambda connection: connection.execute(EVENTS, (after, limit)).fetchall())
        return list(zip([row[0] for row in rows], read_events(f"[{','.join(row[1] for row in rows)}]"), strict=True))

    def seen_items(self, user: str, after: int) -> tuple[list[str], int]:
        """Return a user's distinct items, of events numbered above `after`, and the number of the last such event."""
        rows = self._run(lambda connection: sqlite_seen.items(connection, user, after))
        return [item for item, _ in rows], rows[0][1] if rows else after

    def add_counts(self, ledger: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Add to the named counters of a ledger and return the totals of all its counters; without counts only read."""
        if not counts:
            return self._run(lambda connection: sqlite_counts.totals(connection, ledger))
        return self._write(lambda connection: sqlite_counts.add(connection, ledger, counts))

    def counters(self) -> Counters:
        """Return the identity of the state, the last change, and how often a user was forgotten."""
        last = dict(self._run(lambda connection: connection.execute(COUNTERS).fetchall()))
        return Counters(last.get("identity", 0), last["change"], last.get("forgotten", 0))

    def forgotten(self) -> set[bytes]:
        """Return the digests of all forgotten users."""
        rows = self._run(lambda connection: connection.execute("SELECT digest FROM forgotten").fetchall())
        return {row[0] for row in rows}

    def last(self) -> int:
        """Return the highest event number so far, 0 before the first event."""
        return self._run(lambda connection: _last(connection, "event"))

    def close(self) -> None:
        """Close the connections of all threads, each after the operation in progress."""
        self._scrubber.end()
        for connection in list(self._connections):
            connection.close()
        self._local = threading.local()

    def _change(self, item: str, features: str | None) -> int:
        return self._write(lambda connection: _change(connection, item, features))

    def _connect(self, *, to_write: bool) -> Connection:
        """Return this thread's connection to the current file, reconnecting if the file was removed or replaced.

        Reads check for that once a second, writes every time.
        """
        current: Connection | None = getattr(self._local, "connection", None)
        if current is not None and not to_write and time.monotonic() < current.checked_until:
            return current
        if current is None or current.file != file_of(self.path):
            wait = self.timeout if current is None or to_write else READ_SECONDS
            if current is not None:
                current.close()
            self._local.connection = None
            current = Connection(self.path, wait)
            self._refuse_losses(current)
            self._local.connection = current
            self._connections.add(current)
        current.checked_until = time.monotonic() + 1
        return current

    def _refuse_losses(self, connection: Connection) -> None:
        """Raise EventsLost, closing the connection, if the file lacks what was acknowledged."""
        acknowledged = self._acknowledged.read()  # before the database, to which others may write meanwhile
        if acknowledged.identity and (lost := acknowledged.lost_from(numbers_of(connection.connection))):
            connection.close()
            raise EventsLost(f"{lost} were acknowledged and are missing, since a file was removed or replaced")

    def _run(self, operation: Callable[[sqlite3.Connection], Result], *, to_write: bool = False) -> Result:
        """Return the result of an operation on this thread's connection; raises StateUnavailable if it fails.

        To write, a transaction is begun, which the operation ends.
        """
        try:
            current = self._connect(to_write=to_write)
            with current.lock:
                if current.is_closed:
                    raise StateUnavailable(f"{self.path} was closed")
                if to_write:
                    current.begin(self.timeout)
                else:
                    current.wait(READ_SECONDS)
                return operation(current.connection)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            raise StateUnavailable(f"{self.path}: {error}") from error

    def _write(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return the result of a change, made in an exclusive transaction, once it is on the disk."""

        def transaction(connection: sqlite3.Connection) -> Result:
            try:
                result = operation(connection)
                numbers = numbers_of(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            try:
                self._acknowledged.add(numbers)
            except OSError as error:  # what was stored is stored
                logger.warning("%s cannot be written, losses may go unnoticed: %s", self._acknowledged.path, error)
            return result

        return self._run(transaction, to_write=True)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    number: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return number


def _last(connection: sqlite3.Connection, name: str) -> int:
    last: int = connection.execute("SELECT last FROM counter WHERE name = ?", (name,)).fetchone()[0]
    return last


def _create_tables(connection: sqlite3.Connection) -> None:
    if not _number(connection, "user_version"):
        for statement in TABLES.split(";\n"):
            connection.execute(statement)
        sqlite_seen.create(connection)


def _append(connection: sqlite3.Connection, events: Sequence[Event]) -> list[bool]:
    number = first = _last(connection, "event")
    new: list[bool] = []
    complete: set[str] = set()
    for event in events:
        row = connection.execute(LATEST, (event.user_id,)).fetchone()
        before = row[0] if row else NEVER
        text = msgspec.json.encode(event).decode()
        values = (event.user_id, number + 1, event.id, text, max(before, event.time), before)
        new.append(connection.execute(APPEND, values).rowcount == 1)
        if new[-1]:
            number += 1
            sqlite_seen.add(connection, event, number, complete)
    if number > first:
        connection.execute("UPDATE counter SET last = ? WHERE name = 'event'", (number,))
    return new


def _change(connection: sqlite3.Connection, item: str, features: str | None) -> int:
    number = _last(connection, "change") + 1
    connection.execute("REPLACE INTO change VALUES (?, ?, ?)", (item, number, features))
    connection.execute("UPDATE counter SET last = ? WHERE name = 'change'", (number,))
    return number


def _forget(connection: sqlite3.Connection, user: str) -> int:
    removed = connection.execute("DELETE FROM event WHERE user = ?", (user,)).rowcount
    sqlite_seen.forget(connection, user)
    connection.execute("INSERT INTO forgotten VALUES (?) ON CONFLICT DO NOTHING", (digest(user),))
    return removed


def _recent_events(connection: sqlite3.Connection, users: Sequence[str], limit: int, after: int) -> list[RecentEvents]:
    if len(users) == 1:
        return [_recent(connection, users[0], limit, after)]
    connection.execute("BEGIN")  # one read lock for all users
    try:
        return [_recent(connection, user, limit, after) for user in users]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _recent(connection: sqlite3.Connection, user: str, limit: int, after: int) -> RecentEvents:
    user_digest, forgotten = digest(user), 0

    def arrivals(count: int) -> tuple[list[Event], int]:
        nonlocal forgotten
        text, before, forgotten = connection.execute(ARRIVALS, (user_digest, user, after, count)).fetchone()
        return read_events(text), NEVER if before is None else before

    events = newest(arrivals, max(limit, 1))
    return RecentEvents(events[:limit], bool(forgotten))
