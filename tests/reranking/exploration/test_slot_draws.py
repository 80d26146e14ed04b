"""Slot probabilities: equal to the enumeration of all draws, within rules on counts and without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.reranking.exploration.random_list import RandomList
from pasand.reranking.exploration.slot_draws import kept_cells
from pasand.reranking.random_slots import mixture
from pasand.types import Array

SLOTS = (1, 3, 4)
N_RULES = 2


def random_list(seed: int, n: int, slots: tuple[int, ...], *, ranked: bool = False, rules: bool = True) -> RandomList:
    """Return a list of 6 items and a pool of n others, in random groups of two rules with random bounds."""
    rng = np.random.default_rng(seed)
    weights = np.exp(rng.normal(0, 2, n)) if ranked else mixture(np.exp(rng.normal(0, 2, n)), 0.2)
    bits, shown = rng.integers(0, 1 << N_RULES, n), rng.integers(0, 1 << N_RULES, 6)
    cells, cell = np.unique(bits if rules else np.zeros(n, np.int64), return_inverse=True)
    one = RandomList(
        items=np.arange(100, 106, dtype=np.int32),
        slots=slots,
        pool=np.arange(n, dtype=np.int32),
        weights=weights,
        ranked=ranked,
        uniform=0.2,
        cell=cell,
        cells=cells,
        leaving=shown[list(slots)],
    )
    if rules:
        one.count = (shown[:, None] >> np.arange(N_RULES) & 1).sum(axis=0)
        one.first_count = one.count.copy()
        one.low, one.high = np.maximum(one.count - rng.integers(-1, 2, 2), 0), one.count + rng.integers(-1, 2, 2)
    return one


def draws(one: RandomList) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield the numbers in all slots, -1 where nothing can be drawn, and the probability of each way to draw them."""

    def further(numbers: tuple[int, ...], chance: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(numbers) == len(one.slots):
            yield numbers, chance
            return
        one.items[:], one.left[:], one.count = one.before, True, one.first_count.copy()
        for s, number in enumerate(numbers):
            if number >= 0:
                one.put(s, number)
        found = one.distribution(len(numbers))
        if found is None:
            yield from further((*numbers, -1), chance)
            return
        assert found.sum() == pytest.approx(1)
        for number in np.flatnonzero(found).tolist():
            yield from further((*numbers, number), chance * found[number])

    yield from further((), 1.0)


def enumerated(one: RandomList) -> Array:
    """Return the probability of each number, and in the last row of none, in each slot, (n + 1, S)."""
    table = np.zeros((len(one.pool) + 1, len(one.slots)))
    for numbers, chance in draws(one):
        for s, number in enumerate(numbers):
            table[number, s] += chance
    return table


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 6),
    n_slots=st.integers(1, 3),
    ranked=st.booleans(),
    rules=st.booleans(),
)
def test_marginals_equal_enumeration(seed: int, n: int, n_slots: int, ranked: bool, rules: bool) -> None:
    one = random_list(seed, n, SLOTS[:n_slots], ranked=ranked, rules=rules)
    table = enumerated(one)
    np.testing.assert_allclose(table.sum(axis=0), 1, rtol=1e-9)
    for number in range(-1, n):
        found = one.marginals([number] * n_slots)
        np.testing.assert_allclose(found, table[number], rtol=1e-9, atol=1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), ranked=st.booleans())
def test_no_draw_breaks_a_rule_that_holds(seed: int, n: int, ranked: bool) -> None:
    one = random_list(seed, n, SLOTS, ranked=ranked)
    before = np.maximum(0, np.maximum(one.low - one.first_count, one.first_count - one.high))
    for numbers, _ in draws(one):
        count = one.first_count.copy()
        for s, number in enumerate(numbers):
            if number >= 0:
                count += (one.cells[one.cell[number]] >> np.arange(N_RULES) & 1) - (
                    one.leaving[s] >> np.arange(N_RULES) & 1
                )
        assert (np.maximum(0, np.maximum(one.low - count, count - one.high)) <= before).all()


def test_five_slots_have_marginals_without_rules_only() -> None:
    slots = (0, 1, 2, 3, 5)
    one = random_list(1, 6, slots, rules=False)
    table = enumerated(one)
    for number in range(6):
        np.testing.assert_allclose(one.marginals([number] * 5), table[number], rtol=1e-6)
    assert np.isnan(random_list(1, 6, slots).marginals([0] * 5)).all()
    assert np.isnan(random_list(1, 6, slots, ranked=True, rules=False).marginals([0] * 5)).all()


def test_cells_that_keep_a_rule() -> None:
    # one member of at least one is replaced: only the group itself keeps the rule; a broken rule may get no worse
    one = np.ones(1, np.int64)
    assert kept_cells(np.array([0, 1]), 1, one, one, 5 * one).tolist() == [False, True]
    assert kept_cells(np.array([0, 1]), 0, one, one, one).tolist() == [True, False]
    assert kept_cells(np.array([0, 1]), 0, 3 * one, 0 * one, one).tolist() == [True, False]
    assert kept_cells(np.array([0, 1]), 1, 3 * one, 0 * one, one).tolist() == [True, True]


def test_numbers_of_items() -> None:
    one = random_list(2, 4, (2,))
    assert [one.number_of(0, item) for item in (3, 102, 103, -1)] == [3, -1, -2, -2]
    assert one.marginals([-2]).tolist() == [0.0]
    one.pool = one.pool[:0]
    assert one.marginals([-1]).tolist() == [1.0]
