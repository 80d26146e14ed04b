"""Progress reports of long work: loops report their steps to a listener, such as the command line's progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Listener: TypeAlias = Callable[[str, int, int | None], None]
"""Called with a label, the number of steps done and the total (None: unknown); done == total closes the label."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Send all progress reports inside the block to `listener`; None drops them."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def step(label: str, done: int, total: int | None) -> None:
    """Report that `done` of `total` steps of `label` are finished; without a listener this does nothing."""
    listener = _listener.get()
    if listener is not None:
        listener(label, done, total)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, and report progress after each one.

    >>> with listening(lambda label, done, total: print(label, done, total)):
    ...     sum(track([1, 2], "adding"))
    adding 0 2
    adding 1 2
    adding 2 2
    3
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    done = 0
    step(label, done, total)
    for item in items:
        yield item
        done += 1
        step(label, done, total)
