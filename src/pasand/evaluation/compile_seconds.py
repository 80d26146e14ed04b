"""Seconds that numba spends on compiling and loading kernels, which are no part of the time of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import event

LOCK = "numba:compiler_lock"
"""Event of numba around everything that it compiles, and reads from its cache of compiled code."""


@contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Give a list of one number: after the block, the seconds in it in which numba compiled or loaded kernels."""
    spent = [0.0]
    with event.install_listener(LOCK, event.TimingListener()) as listener:
        try:
            yield spent
        finally:
            spent[0] = listener.duration if listener.done else 0.0
