"""Settings of all tests: one thread for each library, since the tests themselves run side by side."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Numba's pool, once started, gives torch as many threads as there are cores, and so other last bits of sums."""
    torch.set_num_threads(1)
