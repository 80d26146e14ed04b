"""Nothing of a forgotten user stays in the files of SQLite, also not where SQLite leaves copies of moved rows."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from pasand.serving.states.sqlite import SQLite
from tests.serving.states.servers import event, python


def fill(state: SQLite, user: str, n_events: int) -> None:
    """Store events of a user and of two others in turn, in such batches that rows move between pages."""
    users = [user, "a" * len(user), "~" * len(user)]
    for begin in range(0, n_events, 30):
        state.append([event(n, users[n % 3], f"item {n % 40}") for n in range(begin, begin + 30)])


def files_with(folder: Path, user: str) -> set[str]:
    return {path.name for path in folder.iterdir() if user.encode() in path.read_bytes()}


@pytest.mark.parametrize("lengths", [range(6, 23), range(23, 40), (64, 128, 256)])
def test_no_copy_is_left_whatever_the_length_of_the_id(tmp_path: Path, lengths: range) -> None:
    for length in lengths:
        folder = tmp_path / str(length)
        folder.mkdir()
        user = f"zq{'x' * (length - 4)}qz"
        state = SQLite(folder / "state")
        fill(state, user, 360)
        assert state.forget(user) == 120
        assert files_with(folder, user) == set(), length
        assert len(state.events(0, 999)) == 240
        assert state.append([event(999)]) == [True]
        with closing(sqlite3.connect(folder / "state")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        state.close()


def until_gone(folder: Path, user: str) -> None:
    end = time.monotonic() + 30
    while files_with(folder, user):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_a_reader_of_the_log_delays_is_done_when_it_ends(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    fill(state, "one-user-who-leaves", 90)
    with closing(sqlite3.connect(tmp_path / "state", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT * FROM event").fetchall()
        state.forget("one-user-who-leaves")
        assert "state-wal" in files_with(tmp_path, "one-user-who-leaves")
        assert state.append([event(999)]) == [True]
        assert reader.execute("SELECT * FROM event").fetchall() == before
        reader.execute("COMMIT")
    until_gone(tmp_path, "one-user-who-leaves")
    state.close()


def test_what_a_killed_process_had_not_overwritten_is_done_at_the_next_start(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    fill(state, "one-user-who-leaves", 360)
    with closing(sqlite3.connect(tmp_path / "state", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM event").fetchall()
        state.forget("one-user-who-leaves")
        state.close()
        assert files_with(tmp_path, "one-user-who-leaves")
    again = SQLite(tmp_path / "state")
    until_gone(tmp_path, "one-user-who-leaves")
    again.close()


WRITES = """
import sys
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
state, n = open_state(sys.argv[1]), 0
while True:
    for n in range(n, n + 20):
        state.append([Event(f"{sys.argv[2]}{n}-{i}", f"user {(n + i) % 7}", f"item {i}", n) for i in range(5)])
    n += 1
    print(n, flush=True)
"""


def test_events_are_stored_and_read_while_users_are_forgotten(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    fill(state, "the first who leaves", 360)
    writers = [python(WRITES, str(tmp_path / "state"), name) for name in "ab"]
    acknowledged = [0, 0]

    def read(which: int) -> None:
        output = writers[which].stdout
        assert output is not None
        for line in output:
            acknowledged[which] = int(line)

    readers = [threading.Thread(target=read, args=(which,)) for which in (0, 1)]
    for reader in readers:
        reader.start()
    try:
        for number in range(8):
            state.append([event(10_000 + 50 * number + i, f"leaves no {number:03}!", f"i{i}") for i in range(50)])
            state.forget(f"leaves no {number:03}!")
        while min(acknowledged) < 100:
            assert all(writer.poll() is None for writer in writers)
            time.sleep(0.05)
    finally:
        for writer in writers:
            writer.kill()
        for reader in readers:
            reader.join()
        for writer in writers:
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
    state.forget("the first who leaves")
    until_gone(tmp_path, "leaves no ")
    until_gone(tmp_path, "the first who leaves")
    kept = {one.id for _, one in state.events(0, 10**6)}
    for name, count in zip("ab", acknowledged, strict=True):
        assert {f"{name}{n}-{i}" for n in range(count) for i in range(5)} <= kept
    with closing(sqlite3.connect(tmp_path / "state")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    state.close()
