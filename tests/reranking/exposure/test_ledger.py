"""Ledgers that share their counts through a store."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pasand.reranking.exposure.ledger import SLOTS, Ledger


def exchanged(ledger: Ledger, store: Counter[str]) -> None:
    store.update(ledger.take())
    ledger.settle(store)


def test_counts_of_this_process_are_known_at_once() -> None:
    ledger = Ledger(["a", "slots"])
    ledger.add(np.array([1, 0]), 5)
    ledger.add(np.array([2, 3]), 5)
    assert (ledger.count.tolist(), ledger.slots, ledger.pending) == ([3, 3], 10, 2)
    assert ledger.take() == {"=a": 3, "=slots": 3, SLOTS: 10}
    assert ledger.take() == {}
    assert (ledger.slots, ledger.pending) == (10, 0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans()), max_size=30))
def test_two_processes_come_to_the_same_totals(steps: list[tuple[int, int, bool]]) -> None:
    store: Counter[str] = Counter()
    ledgers = [Ledger(["a"]), Ledger(["a"])]
    for which, found, exchange in steps:
        ledgers[which].add(np.array([found]), 5)
        if exchange:
            exchanged(ledgers[which], store)
    for ledger in ledgers * 2:
        exchanged(ledger, store)
    for ledger in ledgers:
        assert ledger.count.tolist() == [sum(found for _, found, _ in steps)]
        assert ledger.slots == 5 * len(steps)


def test_what_is_added_during_an_exchange_is_kept() -> None:
    ledger = Ledger(["a"])
    ledger.add(np.array([1]), 5)
    taken = ledger.take()
    ledger.add(np.array([2]), 5)
    ledger.settle({"=a": 11, SLOTS: 55, "=other": 7})
    assert (taken, ledger.count.tolist(), ledger.slots) == ({"=a": 1, SLOTS: 5}, [13], 60)
    ledger.give_back(taken)
    assert ledger.take() == {"=a": 3, SLOTS: 10}


def test_a_ledger_goes_on_by_name() -> None:
    old, new = Ledger(["a", "b"]), Ledger(["b", "c"])
    old.add(np.array([1, 2]), 5)
    old.take()
    old.add(np.array([0, 1]), 5)
    new.continue_from(old)
    assert (new.count.tolist(), new.slots) == ([3, 0], 10)
    assert new.take() == {"=b": 1, SLOTS: 5}
