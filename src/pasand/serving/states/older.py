"""Notices that the state is an older copy, or another one, and deletes forgotten users from it again.

The numbers that a service has seen are in a file of its folder, since an older copy is mostly put back while it is off.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from pasand.serving.forgotten import ForgottenUsers
from pasand.serving.states.contract import State, StateUnavailable, digest
from pasand.serving.states.sqlite_acknowledged import is_successor

logger = logging.getLogger(__name__)

NAME = "state-numbers"
"""Name of the file in the service's folder."""
ACCEPTED = "what `pasand state accept` printed"
CONTENT = Struct("<qqqq")
PAGE = 10_000
"""Events that are read at once."""


class Numbers(NamedTuple):
    """What only rises while a state is the same."""

    identity: int = 0
    """Of the state; 0: none was seen yet."""
    event: int = 0
    change: int = 0
    """Number of the last change of the catalogue."""
    forgotten: int = 0
    """Times that a user was forgotten."""

    def lost_from(self, now: Numbers) -> str:
        """Return what a state lacks that these numbers were read from, "" if nothing."""
        if not self.identity:
            return ""
        accepted = is_successor(now.identity, self.identity)
        if self.identity != now.identity and not accepted:
            return "everything, since it is another state"
        counts = zip(("events", "changes of the catalogue", "deletions of users"), self[1:], now[1:], strict=True)
        lost = [f"{name}: {before - after:,}" for name, before, after in counts if before > after]
        return ", ".join([*[ACCEPTED] * accepted, *lost])


class OlderState:
    """Compares a state with what was seen of it before."""

    def __init__(self, state: State, forgotten: ForgottenUsers, file: Path) -> None:
        """Compare nothing yet; `file` keeps the numbers, and all processes of a service use the same one."""
        self._state, self._forgotten, self._file = state, forgotten, file
        self._before = Numbers()
        self.lost = ""
        """What the state lacked when it was last found to be older, "" if it never was."""

    def check(self) -> None:
        """Compare the state with the numbers in the file, and put its own into the file.

        Where it lacks something, the users who are known to be forgotten are deleted from it again, and `lost` and the
        log have what it lacked. Does nothing if the state cannot be reached; raises OSError as the file does. Reads
        all events of an older state, so it may take long.
        """
        file = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            seen = _unpacked(os.pread(file, CONTENT.size, 0))  # read first, since the numbers of the state rise
            now = self._numbers()
            lost = self._before.lost_from(now) or seen.lost_from(now)
            if lost:
                count = self._forget_again()
                self.lost = lost
                logger.error("the state lacks %s; users deleted from it again: %d", lost, count)
                now = self._numbers()
            self._before = now
            fcntl.flock(file, fcntl.LOCK_EX)
            written = _unpacked(os.pread(file, CONTENT.size, 0))
            if not lost and written.identity == now.identity:
                now = Numbers(now.identity, *map(max, written[1:], now[1:]))
            if now != written:
                os.pwrite(file, CONTENT.pack(*now), 0)
        except StateUnavailable:
            return
        finally:
            os.close(file)

    def _numbers(self) -> Numbers:
        counters = self._state.counters()
        return Numbers(counters.identity, self._state.last(), counters.change, counters.forgotten)

    def _forget_again(self) -> int:
        """Delete the forgotten users that the state does not know to be forgotten; return how many had events."""
        wanted, users, after = self._forgotten.digests - self._state.forgotten(), set[str](), 0
        while wanted and (page := self._state.events(after, PAGE)):
            after = page[-1][0]
            users.update(event.user_id for _, event in page)
        found = [user for user in users if digest(user) in wanted]
        for user in found:
            self._state.forget(user)
        return len(found)


def _unpacked(content: bytes) -> Numbers:
    return Numbers(*CONTENT.unpack(content)) if len(content) == CONTENT.size else Numbers()
