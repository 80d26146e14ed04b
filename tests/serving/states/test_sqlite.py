"""What is special about the file of SQLite."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pasand.errors import InputError
from pasand.serving.states import open_state
from pasand.serving.states.contract import StateUnavailable
from pasand.serving.states.sqlite import SQLite
from tests.serving.states.servers import event


def test_a_path_and_a_url_name_the_same_file(tmp_path: Path) -> None:
    first, second = open_state(str(tmp_path / "a b.state")), open_state(f"sqlite:///{tmp_path}/a b.state")
    first.append([event(1)])
    assert second.last() == 1
    first.close()
    second.close()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder that can be written"):
        SQLite(tmp_path / "none" / "state")


def test_a_foreign_file_is_refused_and_not_changed(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no database at all\n" * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"cannot be used|not a state"):
            SQLite(path)
        assert path.read_bytes() == before


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    SQLite(tmp_path / "state").close()
    with closing(sqlite3.connect(tmp_path / "state")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="not a state in this version"):
        SQLite(tmp_path / "state")


def test_a_removed_file_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = SQLite(path)
    state.append([event(1)])
    state.close()
    for name in ("state", "state-wal", "state-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(tmp_path / f"away-{name}")
    with pytest.raises(StateUnavailable, match="No such file"):
        state.append([event(2)])
    assert not path.exists()
    (tmp_path / "away-state").rename(path)
    assert state.append([event(1), event(2)]) == [False, True]
    state.close()


def test_a_file_removed_while_open_is_not_written_to(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    state.append([event(1)])
    (tmp_path / "state").unlink()
    with pytest.raises(StateUnavailable):
        state.append([event(2)])
    state.close()


def test_a_lock_held_too_long_makes_the_state_unavailable(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state", timeout=0.05)
    with closing(sqlite3.connect(tmp_path / "state", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnavailable, match="locked"):
            state.append([event(1)])
        assert state.last() == 0
        other.execute("ROLLBACK")
    assert state.append([event(1)]) == [True]
    state.close()


def test_forgotten_users_are_not_in_the_files(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    for number in range(0, 300, 3):
        state.append([event(number, "one-user-who-leaves"), event(number + 1, "stays"), event(number + 2, "stays too")])
    assert state.forget("one-user-who-leaves") == 100
    for path in tmp_path.iterdir():
        assert b"one-user-who-leaves" not in path.read_bytes()
    assert len(state.events(0, 999)) == 200
    state.close()


def test_connections_close_with_their_threads(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    for _ in range(5):
        thread = threading.Thread(target=state.last)
        thread.start()
        thread.join()
    assert len(state._connections) == 1
    state.close()


def test_processes_that_write_all_the_time_leave_others_a_turn(tmp_path: Path) -> None:
    state, writes, ended = SQLite(tmp_path / "state", timeout=2.0), threading.Event(), threading.Event()

    def write_all_the_time() -> None:
        with closing(sqlite3.connect(tmp_path / "state", isolation_level=None, timeout=30)) as connection:
            while not ended.wait(0.003):
                connection.execute("BEGIN IMMEDIATE")
                writes.set()
                ended.wait(0.3)
                writes.clear()
                connection.execute("COMMIT")

    writer = threading.Thread(target=write_all_the_time)
    writer.start()
    try:
        for number in range(4):
            assert writes.wait(10)
            assert state.append([event(number)]) == [True]
    finally:
        ended.set()
        writer.join()
        state.close()
