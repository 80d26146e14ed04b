"""Closing an SQLite state while other threads read it: in a process of its own, as a mistake would crash it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading
from pasand.serving.states.contract import StateUnavailable
from pasand.serving.states.sqlite import SQLite

state, ended, failed = SQLite(sys.argv[1]), threading.Event(), []

def read():
    while not ended.is_set():
        try:
            state.counters()
            state.events(0, 10)
        except StateUnavailable:
            pass
        except BaseException as error:
            failed.append(error)
            return

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(100):
    state.close()
ended.set()
for thread in threads:
    thread.join()
sys.exit(repr(failed) if failed else 0)
"""


def test_a_state_may_be_closed_while_threads_read_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
