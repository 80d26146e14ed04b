"""A remote state that never keeps its callers waiting: reads with a deadline, and a circuit breaker.

A server that hangs accepts connections and does not reply. Without a guard, every request would wait for the time-out
of the connection, one after another, on the thread that recommends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, TypeAlias, TypeVar

from pasand.serving.states.contract import Change, Counters, Event, RecentEvents, State, StateUnavailable

Result = TypeVar("Result")
Kind: TypeAlias = Literal["read", "write"]

DEADLINE, PER_USER = 0.03, 0.001
"""Seconds that a read may take before the response is degraded, and those added for each user that it reads."""
FIRST_PROBE, LAST_PROBE = 0.05, 2.0
"""Seconds between two probes of a state that did not respond: the first wait, which doubles up to the last."""


class Circuit:
    """Which kinds of calls a state responds to: one that failed is refused until a probe of the state succeeds."""

    def __init__(self, probe: Callable[[], Any], deadline: float) -> None:
        """Refuse nothing yet; `probe` runs in a thread of its own, while anything is refused.

        Reads are accepted again after a probe that lasted at most `deadline` seconds, writes after any that succeeded.
        """
        self._probe, self._deadline = probe, deadline
        self._lock, self._ended, self._probing = threading.Lock(), threading.Event(), False
        self._errors: dict[Kind, StateUnavailable] = {}

    def check(self, kind: Kind) -> None:
        """Raise StateUnavailable at once if calls of this kind are refused."""
        error = self._errors.get(kind)
        if error is not None:
            raise StateUnavailable(f"{error} (refused until it responds again)")

    def open(self, kind: Kind, error: StateUnavailable) -> None:
        """Refuse calls of this kind from now on, and begin to probe the state unless that has begun."""
        with self._lock:
            self._errors[kind] = error
            if self._probing or self._ended.is_set():
                return
            self._probing = True
        threading.Thread(target=self._wait_until_it_responds, name="pasand state probe", daemon=True).start()

    def end(self) -> None:
        """Probe no more."""
        self._ended.set()

    def _wait_until_it_responds(self) -> None:
        wait = FIRST_PROBE
        while not self._ended.wait(wait):
            wait = min(2 * wait, LAST_PROBE)
            began = time.monotonic()
            try:
                self._probe()
            except Exception:  # whatever it is, the next probe may succeed
                continue
            with self._lock:
                self._errors.pop("write", None)
                if time.monotonic() - began <= self._deadline:
                    self._errors.pop("read", None)
                if not self._errors:
                    self._probing = False
                    return


class Guarded:
    """A state whose reads fail after `deadline` seconds, and whose calls fail at once while it does not respond.

    Reads run in threads of their own. Writes wait as long as the state does, since they are made where waiting harms no
    other request, and fail at once after one has failed, until the state responds. A late read of changes is not in
    vain: the next call for the same changes returns it, so that a read that takes longer than the deadline succeeds.
    """

    remote = True

    def __init__(self, state: State, deadline: float = DEADLINE) -> None:
        """Guard a state; the caller still owns it, but `close` closes both."""
        self._state, self._deadline = state, deadline
        self._threads = ThreadPoolExecutor(2, "pasand state")
        self._circuit = Circuit(state.last, deadline)
        self._late_changes: tuple[int, Future[list[Change]]] | None = None

    def recent_events(self, users: Sequence[str], limit: int, after: int = 0) -> list[RecentEvents]:
        """Return the recent events as the state does; raises StateUnavailable after the deadline."""
        return self._read(lambda: self._state.recent_events(users, limit, after), PER_USER * len(users))

    def seen_items(self, user: str, after: int) -> tuple[list[str], int]:
        """Return the distinct items of a user as the state does; raises StateUnavailable after the deadline."""
        return self._read(lambda: self._state.seen_items(user, after))

    def counters(self) -> Counters:
        """Return the counters as the state does; raises StateUnavailable after the deadline."""
        return self._read(self._state.counters)

    def forgotten(self) -> set[bytes]:
        """Return the digests of forgotten users as the state does; raises StateUnavailable after the deadline."""
        return self._read(self._state.forgotten)

    def changes(self, after: int) -> list[Change]:
        """Return the changes as the state does; after the deadline raises StateUnavailable and goes on reading."""
        self._circuit.check("read")
        if self._late_changes is None or self._late_changes[0] != after:
            self._late_changes = after, self._threads.submit(self._state.changes, after)
        future = self._late_changes[1]
        try:
            return self._in_time(future)
        finally:
            if future.done():
                self._late_changes = None

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return events as the state does; raises StateUnavailable after the deadline."""
        return self._read(lambda: self._state.events(after, limit))

    def last(self) -> int:
        """Return the number of the last event as the state does; raises StateUnavailable after the deadline."""
        return self._read(self._state.last)

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Store events as the state does; raises StateUnavailable at once while it does not respond."""
        return self._write(lambda: self._state.append(events))

    def add_counts(self, ledger: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Add to counters as the state does; raises StateUnavailable at once while it does not respond."""
        return self._write(lambda: self._state.add_counts(ledger, counts))

    def put_item(self, item: str, features: dict[str, Any]) -> int:
        """Store an item as the state does; raises StateUnavailable at once while it does not respond."""
        return self._write(lambda: self._state.put_item(item, features))

    def remove_item(self, item: str) -> int:
        """Store a removal as the state does; raises StateUnavailable at once while it does not respond."""
        return self._write(lambda: self._state.remove_item(item))

    def forget(self, user: str) -> int:
        """Forget a user as the state does; raises StateUnavailable at once while it does not respond."""
        return self._write(lambda: self._state.forget(user))

    def close(self) -> None:
        """End the threads, without waiting for calls that hang, and close the state."""
        self._circuit.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._state.close()

    def _read(self, operation: Callable[[], Result], extra: float = 0.0) -> Result:
        self._circuit.check("read")
        future = self._threads.submit(operation)
        try:
            return self._in_time(future, extra)
        finally:
            future.cancel()

    def _in_time(self, future: Future[Result], extra: float = 0.0) -> Result:
        error: StateUnavailable
        try:
            return future.result(self._deadline + extra)
        except StateUnavailable as failed:
            error = failed
        except TimeoutError:
            error = StateUnavailable(f"the state needed longer than {1000 * (self._deadline + extra):.0f} ms")
        self._circuit.open("read", error)
        raise error

    def _write(self, operation: Callable[[], Result]) -> Result:
        self._circuit.check("write")
        try:
            return operation()
        except StateUnavailable as error:
            self._circuit.open("write", error)
            raise
