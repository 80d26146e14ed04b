"""Counters in an SQLite state to which several processes add; a later version's table, made at the first use."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

TABLE = """
CREATE TABLE IF NOT EXISTS added (
    ledger TEXT, name TEXT, total INTEGER NOT NULL, PRIMARY KEY (ledger, name)
) WITHOUT ROWID
"""
ADD = "INSERT INTO added VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET total = total + excluded.total"
EXISTS = "SELECT 1 FROM sqlite_schema WHERE name = 'added'"


def add(connection: sqlite3.Connection, ledger: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Add to the counters of a ledger, within a transaction, and return the totals of all of them by name."""
    connection.execute(TABLE)
    connection.executemany(ADD, [(ledger, name, count) for name, count in counts.items()])
    return totals(connection, ledger)


def totals(connection: sqlite3.Connection, ledger: str) -> dict[str, int]:
    """Return the totals of the counters of a ledger by name."""
    if connection.execute(EXISTS).fetchone() is None:
        return {}
    return dict(connection.execute("SELECT name, total FROM added WHERE ledger = ?", (ledger,)).fetchall())
