"""Acknowledged events that a file lacks are noticed; states are backed up, checked and accepted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pasand.cli import main
from pasand.errors import InputError
from pasand.serving.states import sqlite_acknowledged, sqlite_backup
from pasand.serving.states.contract import StateUnavailable
from pasand.serving.states.sqlite import SQLite
from tests.serving.states.servers import event, python

STORES = """
import sys
from pasand.serving.states import open_state
from pasand.serving.states.contract import Event
state = open_state(sys.argv[1])
for n in range(50):
    state.append([Event(f"e{n}", "u", "i", n)])
state.put_item("i", {})
print("stored", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs `pasand state` and returns what it prints."""

    def run(*arguments: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            main.run(["state", *map(str, arguments)])
        assert stopped.value.code == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A state with 50 events and a change, all in the write-ahead log of a process that was killed."""
    process = python(STORES, str(tmp_path / "state"))
    assert process.stdout is not None
    assert process.stdout.readline() == "stored\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert (tmp_path / "state-wal").stat().st_size
    return tmp_path / "state"


def test_a_removed_write_ahead_log_is_noticed_and_may_be_put_back(killed: Path, printed: Callable[..., str]) -> None:
    log = killed.with_name("state-wal")
    log.rename(killed.with_name("away"))
    killed.with_name("state-shm").unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(InputError, match=r"events 1 to 50 and change 1 .* missing.*state-wal.*pasand state accept"):
            SQLite(killed)
    assert printed("check", killed, code=1).startswith("events 1 to 50 and change 1")
    killed.with_name("away").rename(log)
    state = SQLite(killed)
    assert len(state.events(0, 99)) == 50
    state.close()
    assert "up to number 50, changes up to number 1" in printed("check", killed)


def test_an_older_copy_is_noticed_while_it_is_used(tmp_path: Path, printed: Callable[..., str]) -> None:
    state = SQLite(tmp_path / "state")
    state.append([event(1)])
    sqlite_backup.backup(tmp_path / "state", tmp_path / "copy")
    state.append([event(2)])
    state.close()
    (tmp_path / "copy").rename(tmp_path / "state")
    with pytest.raises(StateUnavailable, match="event 2 were acknowledged and are missing"):
        state.append([event(3)])
    before = sqlite_acknowledged.Acknowledged(tmp_path / "state").read()
    assert "event 2" in printed("accept", str(tmp_path / "state"))
    assert "nothing is missing" in printed("accept", str(tmp_path / "state"))
    assert state.append([event(3)]) == [True]
    assert [number for number, _ in state.events(0, 9)] == [1, 3]  # a number is never used twice
    assert state.counters().identity != before.identity
    state.close()


def test_another_state_in_its_place_is_no_loss(tmp_path: Path) -> None:
    state = SQLite(tmp_path / "state")
    state.append([event(1)])
    state.close()
    (tmp_path / "state").unlink()
    again = SQLite(tmp_path / "state")
    assert again.append([event(2)]) == [True]
    again.close()
    SQLite(tmp_path / "state").close()


def test_a_backup_holds_what_was_acknowledged_before_it(tmp_path: Path, printed: Callable[..., str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    state = SQLite(folder / "state.sqlite")
    for n in range(100):
        state.append([event(n)])
    copy = tmp_path / "copy.sqlite"
    assert "up to number 100" in printed("backup", str(folder), str(copy))
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "copy.sqlite"}
    assert copy.stat().st_mode & 0o077 == 0
    state.append([event(100)])
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(copy, restored / "state.sqlite")
    opened = SQLite(restored / "state.sqlite")
    assert [one.id for _, one in opened.events(0, 999)] == [f"e{n}" for n in range(100)]
    opened.close()
    state.close()
    with pytest.raises(InputError, match="exists already"):
        sqlite_backup.backup(folder, copy)
    with pytest.raises(InputError, match="there is no state"):
        sqlite_backup.backup(tmp_path / "none", tmp_path / "other")
    with pytest.raises(InputError, match="cannot be written"):
        sqlite_backup.backup(folder, tmp_path / "none" / "other")


def test_a_damaged_file_is_found(tmp_path: Path, printed: Callable[..., str]) -> None:
    state = SQLite(tmp_path / "state")
    state.append([event(n, f"user {n % 9}") for n in range(500)])
    state.close()
    content = bytearray((tmp_path / "state").read_bytes())
    content[2 * 4096 : 2 * 4096 + 8] = b"\xff" * 8
    (tmp_path / "state").write_bytes(content)
    assert printed("check", str(tmp_path / "state"), code=1)
