"""What a service stores and knows is for its owner alone, and is written however the service ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from pathlib import Path

import polars as pl
import pytest

from pasand.serving.private_files import make_private_file, make_private_folder
from tests.serving.conftest import serving
from tests.serving.states.servers import python

READING = "reading-0123456789abcdef"
WRITING = "writing-0123456789abcdef"
SECRET = "a-secret-for-hashing-0123456789"


def test_new_files_and_folders_are_private_and_open_ones_cause_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = os.umask(0)
    try:
        make_private_folder(tmp_path / "new")
        make_private_file(tmp_path / "new" / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o600
    make_private_folder(tmp_path / "new")
    make_private_file(tmp_path / "new" / "file")
    assert not caplog.records
    (tmp_path / "it's open").mkdir(0o755)
    with caplog.at_level(logging.WARNING):
        make_private_folder(tmp_path / "it's open")
    (record,) = caplog.records
    subprocess.run(record.getMessage().partition("to end that: ")[2], shell=True, check=True)
    assert (tmp_path / "it's open").stat().st_mode & 0o777 == 0o700


def descendants(process: int) -> set[int]:
    children = {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}
    return children.union(*map(descendants, children))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_keys_are_in_no_environment_and_files_are_private(bundle_folder: Path, tmp_path: Path) -> None:
    environment = {"PASAND_API_KEYS": f"read {READING}\nwrite {WRITING}", "PASAND_HASH_SECRET": SECRET}
    before = os.umask(0)
    try:
        with serving(bundle_folder, tmp_path, "--workers", "2", "--hash-users", environment=environment) as served:
            served.request("POST", "/v1/recommend", 401, json={})
            write = {"authorization": f"Bearer {WRITING}"}
            served.request("POST", "/v1/events", json={"user_id": "new", "item_id": "PK"}, headers=write)
            served.request("POST", "/v1/recommend", json={"user_id": "new"}, headers=write)
            children = descendants(served.process.pid)
            assert len(children) >= 2
            for child in children:
                content = Path(f"/proc/{child}/environ").read_bytes()
                assert not any(text.encode() in content for text in (READING, WRITING, SECRET))
            served.process.send_signal(signal.SIGHUP)
            served.process.wait(timeout=60)
    finally:
        os.umask(before)
    files = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert {"state.sqlite", "impressions", "state.sqlite-acknowledged"} <= {path.name for path in files}
    assert [str(path) for path in files if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_waiting_impressions_are_written_at_every_orderly_end(
    bundle_folder: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    with serving(bundle_folder, tmp_path, "--no-log") as served:
        served.request("POST", "/v1/recommend", json={"user_id": "new", "k": 7})
        served.process.send_signal(ending)
        served.process.wait(timeout=60)
    assert len(pl.read_parquet(tmp_path / "state" / "impressions" / "*.parquet")) == 7


LOGS = """
import sys
from pasand.serving.logs.impressions import ImpressionList, ImpressionLog
from pasand.serving.schemas import Recommended
log = ImpressionLog(sys.argv[1])
log.add(ImpressionList("r", 1, "u", [Recommended("i", "title", 1, 0.5)], "main", "digest"))
raise SystemExit(int(sys.argv[2]))
"""


def test_a_process_that_forgets_to_close_the_log_writes_it(tmp_path: Path) -> None:
    for code in (0, 3):
        process = python(LOGS, str(tmp_path / str(code)), str(code))
        process.communicate(timeout=60)
        assert process.returncode == code
        assert len(pl.read_parquet(tmp_path / str(code) / "*.parquet")) == 1
