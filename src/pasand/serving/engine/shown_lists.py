"""Shown lists: counts the responses of a service in the stages that choose by what was shown, with all its workers.

A response is counted in memory when it is shown, as its impressions are. A thread adds the counts of this process to
the state and reads the totals of all processes, soon after every few lists and once a second. No request waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np

from pasand.errors import failure_cause
from pasand.reranking.exposure.ledger import HasLedger
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendResponse
from pasand.serving.states.contract import State

logger = logging.getLogger(__name__)

LISTS = 20
"""Lists of this process after which its counts are added to the state soon."""
POLL_SECONDS, MIN_SECONDS = 1.0, 0.05
"""Seconds between two additions: usually, and at least."""


class ShownLists:
    """Counts lists at once in this process, and in the state in a thread of its own."""

    def __init__(self, state: State, variants: Callable[[], Sequence[Variant]]) -> None:
        """Count for the stages of what `variants` returns at each call; the state may be slow."""
        self._state, self._variants = state, variants
        self._wake, self._ended, self._failed = threading.Event(), threading.Event(), False
        self._thread: threading.Thread | None = None

    def add(self, responses: Sequence[RecommendResponse], now: int) -> None:
        """Count responses as shown; call it on the thread that recommends."""
        for variant in self._variants():
            if not variant.counters:
                continue
            shown = [response.items for response in responses if response.variant == variant.name and response.items]
            for items in shown:
                rows = variant.bundle.data.items.rows([item.item_id for item in items])
                for stage in variant.counters:
                    stage.shown(rows[None, :], np.array([now]))
            if any(stage.ledger.pending >= LISTS for stage in _with_ledger(variant)):
                self._wake.set()

    def carry_over(self, old: Variant, new: Variant) -> None:
        """Let the stages of a new bundle go on with the ledgers and multipliers of the same policy in the old one."""
        before = {stage.ledger_key: stage for stage in _with_ledger(old)}
        for stage in _with_ledger(new):
            if type(before.get(stage.ledger_key)) is type(stage):
                stage.continue_from(before[stage.ledger_key])

    def start(self) -> None:
        """Start the thread, which reads the totals first."""
        self._wake.set()
        self._thread = threading.Thread(target=self._work, name="pasand shown", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and add what is left to the state, if that responds."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * POLL_SECONDS)
            self._try()

    def sync(self) -> None:
        """Add the counts of this process to the state, and read the totals; raises StateUnavailable."""
        for variant in self._variants():
            for stage in _with_ledger(variant):
                ledger, pending = stage.ledger, stage.ledger.take()
                try:
                    totals = self._state.add_counts(stage.ledger_key, pending)
                except BaseException:
                    ledger.give_back(pending)
                    raise
                ledger.settle(totals)

    def _work(self) -> None:
        while not self._ended.wait(MIN_SECONDS):
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            self._try()

    def _try(self) -> None:
        try:
            self.sync()
            self._failed = False
        except Exception as error:  # whatever it is, the next round must come
            self._report(error)

    def _report(self, error: Exception) -> None:
        if not self._failed:
            logger.warning("shown lists are not counted with those of other workers: %s", failure_cause(error))
        self._failed = True


def shown_shares(variant: Variant) -> dict[str, float]:
    """Return the share of the shown slots that each group had, by name; {} before the first list."""
    shares: dict[str, float] = {}
    for stage in _with_ledger(variant):
        if stage.ledger.slots:
            shares |= dict(zip(stage.ledger.names, (stage.ledger.count / stage.ledger.slots).tolist(), strict=True))
    return shares


def _with_ledger(variant: Variant) -> list[HasLedger]:
    return [stage for stage in variant.counters if isinstance(stage, HasLedger)]
