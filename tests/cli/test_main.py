"""What the command line itself prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WARNS = """
import logging
from pasand.cli.main import run
try:
    run(["--version"])
except SystemExit:
    logging.getLogger("pasand.any").warning("a warning")
    print("goes on")
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_warning_that_cannot_be_printed_ends_nothing() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", WARNS], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.stdout.endswith(b"goes on\n")
