"""Tables of an SQLite state that later versions added: the items that each user has seen, and two counters."""

from __future__ import annotations

import secrets
import sqlite3
from operator import itemgetter

from pasand.serving.states.contract import MAX_SEEN, Event, read_events

# The last event of each user with each item. They are complete for users who have the row `COMPLETE`; of others, an
# earlier version stored events, whose items are added at the user's next event.
SEEN = "CREATE TABLE seen (user TEXT, item, number INTEGER NOT NULL, PRIMARY KEY (user, item)) WITHOUT ROWID"
COMPLETE = b""
IS_COMPLETE = "SELECT EXISTS (SELECT 1 FROM seen WHERE user = ? AND item = ?)"
SAW = "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = excluded.number"
SEEN_ITEMS = "SELECT item, number FROM seen WHERE user = ? AND number > ? ORDER BY number DESC LIMIT ?"
OLDER_EVENTS = "SELECT number, event FROM event WHERE user = ? ORDER BY number"


def upgrade(connection: sqlite3.Connection) -> None:
    """Add to a state of an earlier version, which may also be a backup put back while serving, what it lacks."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name IN ('counter', 'seen')")}
    if tables == {"counter"}:
        connection.execute("BEGIN IMMEDIATE")
        try:
            create(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def create(connection: sqlite3.Connection) -> None:
    """Add the table of seen items and the counters, unless they are there."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'seen'").fetchone() is None:
        connection.execute(SEEN)
        connection.execute("INSERT INTO counter VALUES ('identity', ?), ('forgotten', 0)", (secrets.randbits(62),))


def add(connection: sqlite3.Connection, event: Event, number: int, complete: set[str]) -> None:
    """Add the item of a stored event; `complete` holds the users whose older items are known to be there."""
    if event.user_id not in complete:
        complete.add(event.user_id)
        _complete(connection, event.user_id)
    connection.execute(SAW, (event.user_id, event.item_id, number))


def forget(connection: sqlite3.Connection, user: str) -> None:
    """Remove a user's items, and count that a user was forgotten."""
    connection.execute("DELETE FROM seen WHERE user = ?", (user,))
    connection.execute("UPDATE counter SET last = last + 1 WHERE name = 'forgotten'")


def _complete(connection: sqlite3.Connection, user: str) -> None:
    """Add the items of the events that an earlier version stored of a user."""
    if not connection.execute(IS_COMPLETE, (user, COMPLETE)).fetchone()[0]:
        rows = [(user, item, number) for item, number in _older_items(connection, user).items()]
        connection.executemany(SAW, [*rows, (user, COMPLETE, 0)])


def _older_items(connection: sqlite3.Connection, user: str) -> dict[str, int]:
    """Return the number of the last event of each item of a user, read from the events."""
    rows = connection.execute(OLDER_EVENTS, (user,)).fetchall()
    events = read_events(f"[{','.join(text for _, text in rows)}]")
    return {event.item_id: number for event, (number, _) in zip(events, rows, strict=True)}


def items(connection: sqlite3.Connection, user: str, after: int) -> list[tuple[str, int]]:
    """Return the newest items of a user and the numbers of their last events, of those above `after`, newest first."""
    if connection.execute(IS_COMPLETE, (user, COMPLETE)).fetchone()[0]:
        return connection.execute(SEEN_ITEMS, (user, max(after, 0), MAX_SEEN)).fetchall()
    pairs = [(item, number) for item, number in _older_items(connection, user).items() if number > after]
    return sorted(pairs, key=itemgetter(1), reverse=True)[:MAX_SEEN]
