"""The impression log: complete files, bounded size, reported losses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import polars as pl
import pytest

from pasand.errors import InputError
from pasand.serving.logs.impressions import SCHEMA, ImpressionList, ImpressionLog, hash_user
from pasand.serving.logs.segments import ForgottenUser, add_forgotten, folder_lock, log_files, uptime, user_digest
from pasand.serving.schemas import Recommended
from tests.resources import small_disk
from tests.serving.states.servers import python


def impressions(
    number: int, user: str = "u", time: int = 1000, k: int = 3, propensity: float | None = None
) -> ImpressionList:
    """Return the impressions of one request: k items at positions 1 to k."""
    items = [Recommended(f"i{at}", "", at, 1 / at, propensity=propensity) for at in range(1, k + 1)]
    return ImpressionList(f"r{number}", time, user, items, "main", "digest")


def read(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in log_files(folder)] or [pl.DataFrame(schema=SCHEMA)])


def fill(opened: FileIO) -> None:
    while True:
        opened.write(b"x" * 4096)


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_impressions_are_written(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path)
    log.add(impressions(1, "ü"))
    item = Recommended("i1", "", 1, 1.0, propensity=0.1, slot_propensity=0.3)
    log.add(ImpressionList("r2", 1000, "v", [item], "main", "digest", 0.1))
    log.close()
    assert read(tmp_path).rows() == [
        ("r1", 1000, "ü", "i1", 1, 1.0, None, None, None, "main", "digest"),
        ("r1", 1000, "ü", "i2", 2, 0.5, None, None, None, "main", "digest"),
        ("r1", 1000, "ü", "i3", 3, pytest.approx(1 / 3), None, None, None, "main", "digest"),
        ("r2", 1000, "v", "i1", 1, 1.0, 0.1, 0.3, 0.1, "main", "digest"),
    ]
    assert dict(read(tmp_path).schema) == SCHEMA
    assert log.written == 4
    assert not log.lost


def test_without_impressions_there_are_no_files(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path)
    log.flush()
    log.close()
    log.close()
    assert not log_files(tmp_path)


def test_files_are_rotated_by_rows(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path, max_rows=3)
    for number in range(4):
        log.add(impressions(number))
        log.flush()
    log.close()
    assert [len(pl.read_parquet(path)) for path in log_files(tmp_path)] == [3, 3, 3, 3]
    assert read(tmp_path)["request_id"].unique(maintain_order=True).to_list() == ["r0", "r1", "r2", "r3"]


def test_files_are_rotated_by_seconds(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path, max_seconds=0.05)
    log.add(impressions(1))
    until(lambda: len(log_files(tmp_path)) == 1)
    log.add(impressions(2))
    until(lambda: len(log_files(tmp_path)) == 2)
    log.close()


def test_names_rise_when_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ImpressionLog(tmp_path)
    for number, clock in enumerate([9_000, 5_000, 5_000]):
        monkeypatch.setattr("time.time_ns", lambda clock=clock: clock * 1000)
        log.add(impressions(number))
        log.flush()
    log.close()
    assert [int(path.stem[-5:]) for path in log_files(tmp_path)] == [9000, 9001, 9002]
    assert read(tmp_path)["request_id"].unique(maintain_order=True).to_list() == ["r0", "r1", "r2"]


def test_files_are_written_without_forgotten_users_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, log = ImpressionLog(tmp_path), ImpressionLog(tmp_path, max_seconds=0.05)
    waiting.add(impressions(1, "gone"))
    monkeypatch.setattr("time.time", lambda: 1000.0)
    log.add(impressions(2))
    until(lambda: len(log_files(tmp_path)) == 1)
    log.forget("gone")
    waiting.close()
    log.close()
    assert read(tmp_path)["request_id"].unique().to_list() == ["r2"]


def test_requests_to_forget_from_before_a_reboot_are_ignored(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        add_forgotten(tmp_path, ForgottenUser(user_digest("u"), uptime() + 1000))
    log = ImpressionLog(tmp_path)
    log.add(impressions(1))
    log.close()
    assert log.written == 3


def test_the_oldest_files_are_removed(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path)
    log.add(impressions(0))
    log.flush()
    size = log_files(tmp_path)[0].stat().st_size
    log.max_bytes = int(3.5 * size)
    for number in range(1, 9):
        log.add(impressions(number))
        log.flush()
        assert sum(path.stat().st_size for path in log_files(tmp_path)) <= log.max_bytes
    log.close()
    assert read(tmp_path)["request_id"].unique(maintain_order=True).to_list() == ["r6", "r7", "r8"]
    assert not log.lost


def test_a_file_larger_than_the_limit_is_lost_and_nothing_else(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path, max_bytes=10)
    log.add(impressions(1))
    log.close()
    assert log.lost == {"disk full": 3}
    assert not log_files(tmp_path)


def test_impressions_beyond_the_queue_size_are_counted_as_lost(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path, queue_size=7)
    with folder_lock(tmp_path):
        log.add(impressions(0, k=1))
        flushing = threading.Thread(target=log.flush)
        flushing.start()
        until(lambda: not log._queue)  # now the thread waits for the folder
        for number in range(1, 5):
            log.add(impressions(number))
    flushing.join()
    log.close()
    assert log.lost == {"queue full": 6}
    assert log.written == 7
    log.add(impressions(9))
    assert log.lost == {"queue full": 6, "closed": 3}


def test_losses_are_logged_once_a_minute_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = ImpressionLog(tmp_path, queue_size=2)
    with caplog.at_level(logging.WARNING):
        log.add(impressions(1))
        until(lambda: len(caplog.records) == 1)
        for number in range(5):
            log.add(impressions(number))
            log.flush()
        assert len(caplog.records) == 1
        log.close()
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "3 impressions were lost; since the start: queue full 3",
        "15 impressions were lost; since the start: queue full 18",
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    with small_disk(tmp_path / "small", "64k") as folder:
        yield folder


def test_a_full_disk_loses_impressions_and_recovers(disk: Path) -> None:
    log = ImpressionLog(disk)
    log.add(impressions(1))
    log.flush()
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as opened, pytest.raises(OSError, match="No space"):
        fill(opened)
    log.add(impressions(2))
    log.flush()
    assert log.lost == {"disk full": 3}
    assert [path.suffix for path in disk.glob("shown*")] == [".parquet"]
    filler.unlink()
    log.add(impressions(3))
    log.close()
    assert read(disk)["request_id"].unique(maintain_order=True).to_list() == ["r1", "r3"]


LIMITED = """
import resource, signal, sys
from tests.serving.logs.test_impressions import impressions
from pasand.serving.logs.impressions import ImpressionLog
log = ImpressionLog(sys.argv[1])
log.add(impressions(1))
log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
log.add(impressions(2))
log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.add(impressions(3))
log.close()
print(dict(log.lost))
"""


def test_a_file_that_may_not_grow_is_like_a_full_disk(tmp_path: Path) -> None:
    process = python(LIMITED, str(tmp_path))
    assert process.communicate(timeout=60)[0] == "{'disk full': 3}\n"
    assert read(tmp_path)["request_id"].unique(maintain_order=True).to_list() == ["r1", "r3"]
    assert not list(tmp_path.glob("*.part"))


def test_a_removed_folder_loses_impressions_and_does_not_raise(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path / "log")
    (tmp_path / "log" / ".lock").unlink()
    (tmp_path / "log").rmdir()
    log.add(impressions(1))
    log.close()
    assert log.lost == {"error": 3}


def test_an_invalid_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"):
        ImpressionLog(tmp_path / "file" / "log")


KILLED = """
import itertools, sys
from tests.serving.logs.test_impressions import impressions
from pasand.serving.logs.impressions import ImpressionLog
log = ImpressionLog(sys.argv[1])
for number in itertools.count():
    log.add(impressions(number, k=200))
    log.flush()
    print(number, flush=True)
"""


def test_a_crash_leaves_complete_files_and_parts_that_are_removed(tmp_path: Path) -> None:
    process = python(KILLED, str(tmp_path))
    assert process.stdout is not None
    while int(process.stdout.readline()) < 20:
        pass
    process.kill()
    flushed = 20 + len(process.stdout.read().splitlines())
    process.wait()
    process.stdout.close()
    assert read(tmp_path)["request_id"].n_unique() in (flushed + 1, flushed + 2)
    (tmp_path / "shown-1.part").write_bytes(b"PAR1 begun")
    ImpressionLog(tmp_path).close()
    assert {path.suffix for path in tmp_path.glob("shown*")} == {".parquet"}


def test_users_are_hashed_by_a_secret(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path, secret=b"salt")
    log.add(impressions(1, "one"))
    log.add(impressions(2, "other"))
    log.flush()
    assert read(tmp_path)["user"].unique(maintain_order=True).to_list() == [
        hash_user("one", b"salt"),
        hash_user("other", b"salt"),
    ]
    assert hash_user("one", b"salt") != hash_user("one", b"pepper")
    assert log.forget("one") == 3
    assert read(tmp_path)["user"].unique().to_list() == [hash_user("other", b"salt")]
    log.close()


def test_forgotten_users_are_removed_from_files_and_the_queue(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path)
    for number, user in enumerate(["u", "v"]):
        log.add(impressions(number, user))
        log.add(impressions(10 + number, "gone"))
        log.flush()
    log.add(impressions(2, "gone"))
    log.flush()
    log.add(impressions(3, "gone"))
    log.add(impressions(4, "u"))
    assert log.forget("gone") == 12
    assert log.forget("gone") == 0
    assert len(log_files(tmp_path)) == 2
    log.add(impressions(5, "gone"))
    log.flush()
    assert read(tmp_path).group_by("user").len().sort("user").rows() == [("gone", 3), ("u", 6), ("v", 3)]
    assert not list(tmp_path.glob("*.part"))
    log.close()
    assert log.forget("gone") == 3
    assert set(read(tmp_path)["user"]) == {"u", "v"}


def test_another_process_drops_forgotten_users_too(tmp_path: Path) -> None:
    """Two logs in one folder know of each other through the folder alone."""
    one, other = ImpressionLog(tmp_path), ImpressionLog(tmp_path)
    other.add(impressions(1, "gone"))
    other.add(impressions(2, "stays"))
    assert one.forget("gone") == 0
    other.add(impressions(3, "gone"))
    other.close()
    one.close()
    assert read(tmp_path)["request_id"].unique(maintain_order=True).to_list() == ["r2", "r3"]
    assert b"gone" not in (tmp_path / ".forgotten").read_bytes()
