"""Numbers of the last event and change that were acknowledged, in a small file beside a database.

They show that a database has lost some: its write-ahead log was removed, or it was replaced by an older copy.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from struct import Struct
from typing import NamedTuple

NUMBERS = Struct("<qqq")
GENERATION = 1 << 20
"""Identities whose quotient by this is equal are of one database; the remainder changes when a loss is accepted."""
READ = "SELECT name, last FROM counter WHERE name IN ('identity', 'event', 'change')"


class Numbers(NamedTuple):
    """What is compared."""

    identity: int = 0
    """Of the database; others are not compared."""
    event: int = 0
    change: int = 0

    def lost_from(self, database: Numbers) -> str:
        """Return which of these numbers a database of the same identity lacks, "" if none."""
        if self.identity != database.identity:
            return ""
        pairs = (("event", self.event, database.event), ("change", self.change, database.change))
        return " and ".join(
            f"{kind} {there + 1:,}" if mine == there + 1 else f"{kind}s {there + 1:,} to {mine:,}"
            for kind, mine, there in pairs
            if mine > there
        )


class Acknowledged:
    """The file, which all processes that write to the database raise."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}-acknowledged")

    def read(self) -> Numbers:
        """Return the numbers, zeros if none were written; raises OSError if the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                return _unpacked(file.read())
        except FileNotFoundError:
            return Numbers()

    def add(self, numbers: Numbers) -> None:
        """Raise the numbers to these, or replace them if they are those of another database; not flushed to the disk.

        They survive the end of the process. After a power failure they may be older than the database, never newer.
        Raises OSError if the file cannot be written.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = _unpacked(os.pread(file, NUMBERS.size, 0))
            if before.identity == numbers.identity:
                numbers = Numbers(numbers.identity, *map(max, before[1:], numbers[1:]))
            if numbers != before:
                os.pwrite(file, NUMBERS.pack(*numbers), 0)
        finally:
            os.close(file)


def _unpacked(content: bytes) -> Numbers:
    return Numbers(*NUMBERS.unpack(content)) if len(content) == NUMBERS.size else Numbers()


def numbers_of(connection: sqlite3.Connection) -> Numbers:
    """Return the numbers in a database, zeros if it is new or was made by a version without an identity."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counter'").fetchone() is None:
        return Numbers()
    return Numbers(**dict(connection.execute(READ).fetchall()))


def is_successor(identity: int, former: int) -> bool:
    """Return whether a database got its identity when a loss of the database with the former one was accepted."""
    return identity != former and identity // GENERATION == former // GENERATION


def accept(path: Path) -> str:
    """Let a database go on without what it lost, and return what that was, "" if nothing.

    The lost numbers are not used again, and its identity changes, so that services read it from the beginning.
    """
    acknowledged, address = Acknowledged(path), f"{path.as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        before, there = acknowledged.read(), numbers_of(connection)
        lost = before.lost_from(there)
        if lost:
            identity = before.identity ^ (1 + secrets.randbelow(GENERATION - 1))  # another one of the same database
            there = Numbers(identity, *map(max, before[1:], there[1:]))
            rows = [(last, name) for name, last in there._asdict().items()]
            connection.executemany("UPDATE counter SET last = ? WHERE name = ?", rows)
        connection.execute("COMMIT")
        acknowledged.add(there)
        return lost
