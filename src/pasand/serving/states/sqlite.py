"""A file of SQLite: durable, for all processes of one machine, and nothing to install."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

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

Answer = TypeVar("Answer")

KIND = int.from_bytes(b"pasd")
"""What the file says it is."""
FORMAT = 1
"""Version of the tables, kept in the file; another one is refused."""

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
PRAGMA application_id = {KIND};
PRAGMA user_version = {FORMAT};
"""

LATEST = "SELECT latest FROM event WHERE user = ? ORDER BY number DESC LIMIT 1"
APPEND = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
# the rows' order survives: a query with a limit is not merged into the one around it. One value is read from SQLite
# instead of some for every event, which halves the time.
ARRIVALS = """
SELECT '[' || coalesce(group_concat(event), '') || ']', min(latest_before),
       EXISTS (SELECT 1 FROM forgotten WHERE digest = ?1)
FROM (SELECT event, latest_before FROM event
      WHERE user = ?2 AND number > CASE WHEN EXISTS (SELECT 1 FROM forgotten WHERE digest = ?1) THEN 0 ELSE ?3 END
      ORDER BY number DESC LIMIT ?4)
"""
EVENTS = "SELECT number, event FROM event WHERE number > ? ORDER BY number LIMIT ?"
CHANGES = "SELECT number, item, features FROM change WHERE number > ? ORDER BY number"

BRIEFLY = 100
"""Milliseconds that a wish to be forgotten waits for readers before it leaves emptying the write-ahead log to later."""


def recognises(place: str) -> bool:
    """Return whether the place is a path or sqlite:///PATH."""
    return "://" not in place or place.startswith("sqlite:///")


def opened(place: str) -> SQLite:
    """Return the store in the file, which is made where it is not there; raises InputError where it cannot be."""
    return SQLite(place.removeprefix("sqlite:///"))


class SQLite:
    """Keeps the state in one file, through one connection for each thread; open it after a fork, not before."""

    def __init__(self, path: str | Path, *, patience: float = 5.0) -> None:
        """Open or make the file; `patience`: seconds to wait for another process that writes.

        Raises InputError for what is no state of pasand, and where it cannot be made.
        """
        self.path, self.patience = Path(path).absolute(), patience
        self._local = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()
        try:
            self._refuse_others()
            self._write(_make)
        except (OSError, sqlite3.Error, StateUnavailable) as error:
            cure = "name a file in a folder that can be written"
            raise InputError(path, cause=f"cannot be used as a store: {error}", cure=cure) from None

    def _refuse_others(self) -> None:
        """Make the file, or look whether it is a state of pasand before anything in it is touched."""
        self.path.touch()
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=self.patience)) as connection:
            empty = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
            found = _number(connection, "application_id"), _number(connection, "user_version")
        if not empty and found != (KIND, FORMAT):
            cause = f"it is a database, but not a state as this version of pasand keeps it ({FORMAT})"
            raise InputError(self.path, cause=cause, cure="name another file")

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Keep events in one transaction, on the disk when it returns; False for those whose id was there already."""
        return self._write(lambda connection: _append(connection, events))

    def recent_events(self, users: Sequence[str], most: int, after: int = 0) -> list[RecentEvents]:
        """Return of each user the newest `most` events numbered above `after`, of forgotten ones the newest of all."""
        return self._ask(lambda connection: _recent_events(connection, users, most, after))

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Keep that an item is in the catalogue, with its features; return the change's number."""
        return self._change(item, msgspec.json.encode(features).decode())

    def remove_item(self, item: str) -> int:
        """Keep that an item is not in the catalogue; return the change's number."""
        return self._change(item, None)

    def changes(self, after: int) -> list[Change]:
        """Return the latest change of each item, if it is numbered above `after`, in order."""
        rows = self._ask(lambda connection: connection.execute(CHANGES, (after,)).fetchall())
        return [
            Change(number, item, None if features is None else msgspec.json.decode(features), features is None)
            for number, item, features in rows
        ]

    def forget(self, user: str) -> int:
        """Remove the user's events, overwriting them in the file, and return how many."""
        removed = self._write(lambda connection: _forget(connection, user))
        self._ask(self._empty_log)
        return removed

    def events(self, after: int, most: int) -> list[tuple[int, Event]]:
        """Return the first `most` events numbered above `after`, in order of arrival, with their numbers."""
        rows = self._ask(lambda connection: connection.execute(EVENTS, (after, most)).fetchall())
        return list(zip([row[0] for row in rows], read_events(f"[{','.join(row[1] for row in rows)}]"), strict=True))

    def last(self) -> int:
        """Return the highest number that an event has been given, 0 before the first."""
        return self._ask(lambda connection: _last(connection, "event"))

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in list(self._all):
            connection.close()
        self._local = threading.local()

    def _change(self, item: str, features: str | None) -> int:
        return self._write(lambda connection: _change(connection, item, features))

    def _connect(self, *, to_write: bool) -> sqlite3.Connection:
        """Return this thread's connection to the file that is there now, not to one that was taken away or replaced.

        What is only read is looked after once a second.
        """
        here: _Connection | None = getattr(self._local, "connection", None)
        if here is not None and not to_write and time.monotonic() < here.until:
            return here.connection
        status = os.stat(self.path)
        file = (status.st_dev, status.st_ino)
        if here is None or here.file != file:
            if here is not None:
                here.close()
            here = self._local.connection = _Connection(self.path, file, self.patience)
            self._all.add(here)
        here.until = time.monotonic() + 1
        return here.connection

    def _ask(self, what: Callable[[sqlite3.Connection], Answer], *, to_write: bool = False) -> Answer:
        """Return what a question to this thread's connection answers; raises StateGone where it cannot."""
        try:
            return what(self._connect(to_write=to_write))
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError):
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            raise StateUnavailable(f"{self.path}: {error}") from error

    def _write(self, what: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Return what a change answers, once it is on the disk; it is made alone, and whole or not at all."""

        def alone(connection: sqlite3.Connection) -> Answer:
            connection.execute("BEGIN IMMEDIATE")
            try:
                answer = what(connection)
                connection.execute("COMMIT")
                return answer
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        return self._ask(alone, to_write=True)

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Empty the write-ahead log, which holds what was removed; while it is read, that waits until it is full."""
        connection.execute(f"PRAGMA busy_timeout = {BRIEFLY}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {int(1000 * self.patience)}")


class _Connection:
    """A connection that is closed with the thread it belongs to."""

    def __init__(self, path: Path, file: tuple[int, int], patience: float) -> None:
        self.file, self.until = file, 0.0
        address = f"{path.as_uri()}?mode=rw"
        self.connection = sqlite3.connect(
            address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False
        )
        self.close = weakref.finalize(self, self.connection.close)
        for pragma in ("synchronous = FULL", "secure_delete = ON", f"cache_size = {-(1 << 15)}"):
            self.connection.execute(f"PRAGMA {pragma}")
        self._log_ahead(time.monotonic() + patience)

    def _log_ahead(self, until: float) -> None:
        """Use a write-ahead log; where several processes make the file at once, SQLite refuses without waiting."""
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    number: int = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    return number


def _last(connection: sqlite3.Connection, name: str) -> int:
    last: int = connection.execute("SELECT last FROM counter WHERE name = ?", (name,)).fetchone()[0]
    return last


def _make(connection: sqlite3.Connection) -> None:
    if not _number(connection, "user_version"):
        for statement in TABLES.split(";\n"):
            connection.execute(statement)


def _append(connection: sqlite3.Connection, events: Sequence[Event]) -> list[bool]:
    number = first = _last(connection, "event")
    new = []
    for event in events:
        row = connection.execute(LATEST, (event.user,)).fetchone()
        before = row[0] if row else NEVER
        text = msgspec.json.encode(event).decode()
        values = (event.user, number + 1, event.id, text, max(before, event.time), before)
        new.append(connection.execute(APPEND, values).rowcount == 1)
        number += new[-1]
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
    connection.execute("INSERT INTO forgotten VALUES (?) ON CONFLICT DO NOTHING", (digest(user),))
    return removed


def _recent_events(connection: sqlite3.Connection, users: Sequence[str], most: int, after: int) -> list[RecentEvents]:
    if len(users) == 1:
        return [_past(connection, users[0], most, after)]
    connection.execute("BEGIN")  # the file is locked for reading once, not for each user
    try:
        return [_past(connection, user, most, after) for user in users]
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def _past(connection: sqlite3.Connection, user: str, most: int, after: int) -> RecentEvents:
    name, forgotten = digest(user), 0

    def arrivals(count: int) -> tuple[list[Event], int]:
        nonlocal forgotten
        text, before, forgotten = connection.execute(ARRIVALS, (name, user, after, count)).fetchone()
        return read_events(text), NEVER if before is None else before

    events = newest(arrivals, max(most, 1))
    return RecentEvents(events[:most], bool(forgotten))
