"""Settings of all tests: one thread for each library, since the tests themselves run side by side."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
