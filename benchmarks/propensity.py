"""Exactness and speed of the probabilities of random slots: against enumeration, a million draws a world, the clock.

Enumeration goes over all permutations of up to 8 items. A world of the chi-square test is a pool of 4 to 8 items with
random weights, random groups under two rules on counts (in half of the worlds) and a random method, from whose 2 or 3
slots a million lists are drawn one slot after the other, as `Explore` draws them. Each world tests the frequencies of
whole lists against the joint probabilities; p-values are those of one world, and the smallest also after Holm's
correction for all of them. Times are of the thread, for the three slots that a list shows.

The weights of Thompson sampling are compared with integrals on a fine grid, and, in worlds of 4 to 20 items, with how
often each item has the largest of the normal draws. A quarter of the worlds above draws by such weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from time import thread_time

import numpy as np
from scipy.special import log_ndtr
from scipy.stats import chisquare

from benchmarks.rows import Row
from pasand.reranking.exploration import thompson
from pasand.reranking.exploration.random_list import RandomList
from pasand.reranking.random_slots import mixture, slot_probabilities
from pasand.types import Array

MEASURES = (
    "reranking/exploration/random_list.py",
    "reranking/exploration/slot_draws.py",
    "reranking/exploration/thompson.py",
    "reranking/random_slots.py",
)
WORLDS, DRAWS, CASES, TIMED = 50, 1_000_000, 200, 300


def random_list(
    rng: np.random.Generator, n: int, n_slots: int, *, ranked: bool = False, rules: bool = False, normal: bool = False
) -> RandomList:
    """Return a list of 6 items with random slots, a pool of n items, and two rules on counts or none."""
    bits, shown = rng.integers(0, 4, n) * rules, rng.integers(0, 4, 6)
    cells, cell = np.unique(bits, return_inverse=True)
    slots = sorted(rng.permutation(6)[:n_slots].tolist())
    plain = thompson.weights(*scores(rng, n)) if normal else np.exp(rng.normal(0, 2, n))
    weights: Array = rng.permutation(n) + 1.0 if ranked else mixture(plain, 0.2)
    one = RandomList(
        items=np.arange(100, 106, dtype=np.int32),
        slots=slots,
        pool=np.arange(n, dtype=np.int32),
        weights=weights,
        ranked=ranked,
        uniform=0.2,
        cell=cell,
        cells=cells,
        leaving=shown[slots],
    )
    if rules:
        one.count = (shown[:, None] >> np.arange(2) & 1).sum(axis=0)
        one.first_count = one.count.copy()
        one.low, one.high = one.count - rng.integers(0, 2, 2), one.count + rng.integers(0, 2, 2)
    return one


def scores(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Return means and standard deviations of n items, of which the best known has a tenth of the largest."""
    return rng.normal(0, 1, n), np.exp(rng.uniform(np.log(0.1), 0, n))


def distribution(one: RandomList, numbers: tuple[int, ...]) -> Array | None:
    """Return the distribution of the slot after some draws; None if it keeps its item."""
    one.items[:], one.left[:], one.count = one.before, True, one.first_count.copy()
    for s, number in enumerate(numbers):
        if number >= 0:
            one.put(s, number)
    return one.distribution(len(numbers))


def sequences(one: RandomList) -> dict[tuple[int, ...], float]:
    """Return the probability of each sequence of draws, -1 where a slot keeps its item."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in one.slots:
        longer: dict[tuple[int, ...], float] = {}
        for numbers, chance in found.items():
            each = distribution(one, numbers)
            if each is None:
                longer[*numbers, -1] = chance
            else:
                longer |= {(*numbers, i): chance * each[i] for i in np.flatnonzero(each).tolist()}
        found = longer
    return found


def drawn(one: RandomList, n: int, rng: np.random.Generator) -> dict[tuple[int, ...], int]:
    """Return how often each sequence of draws occurs in n lists; lists with the same beginning are drawn together."""
    found: dict[tuple[int, ...], int] = {(): n}
    for _ in one.slots:
        longer: dict[tuple[int, ...], int] = {}
        for numbers, count in found.items():
            each = distribution(one, numbers)
            if each is None:
                longer[*numbers, -1] = count
                continue
            rising = np.cumsum(each)
            which = np.searchsorted(rising, rng.random(count) * rising[-1], "right")  # as `random_slots.drawn`
            hits = np.bincount(which, minlength=len(each))
            longer |= {(*numbers, i): int(hits[i]) for i in np.flatnonzero(hits).tolist()}
        found = longer
    return found


def largest_error(rng: np.random.Generator) -> tuple[float, float]:
    """Return the largest relative error of `marginals` and of `slot_probabilities` against enumeration."""
    within_rules = quadrature = 0.0
    for case in range(CASES):
        n = int(rng.integers(2, 9))
        n_slots = int(rng.integers(1, 4))
        one = random_list(rng, n, n_slots, ranked=case % 4 == 0, rules=case % 2 == 0, normal=case % 4 == 1)
        table = np.zeros((n + 1, len(one.slots)))
        for numbers, chance in sequences(one).items():
            for s, number in enumerate(numbers):
                table[number, s] += chance
        for number in range(-1, n):
            value, exact = one.marginals([number] * len(one.slots)), table[number]
            within_rules = max(within_rules, float((np.abs(value - exact) / np.maximum(exact, 1e-9)).max()))
        weights, slots = np.exp(rng.normal(0, 2, n)), min(n, 5)
        exact = np.zeros((n, slots))
        for ranking in itertools.permutations(range(n), slots):
            left, chance = weights.sum(), 1.0
            for i in ranking:
                chance, left = chance * weights[i] / left, left - weights[i]
            exact[list(ranking), range(slots)] += chance
        quadrature = max(quadrature, float(np.abs(slot_probabilities(weights, slots) / exact - 1).max()))
    return within_rules, quadrature


def p_values(rng: np.random.Generator) -> Array:
    """Return the p-value of each world."""
    found: list[float] = []
    while (world := len(found)) < WORLDS:
        n, n_slots = int(rng.integers(4, 9)), int(rng.integers(2, 4))
        one = random_list(rng, n, n_slots, ranked=world % 4 == 0, rules=world % 2 == 0, normal=world % 4 == 1)
        expected = sequences(one)
        if len(expected) < 2:  # the rules of this world leave no choice
            continue
        counted = drawn(one, DRAWS, rng)
        assert set(counted) <= set(expected)
        observed = np.array([counted.get(numbers, 0) for numbers in expected])
        found.append(float(chisquare(observed, np.array(list(expected.values())) * DRAWS).pvalue))
    return np.array(found)


def normal_error(rng: np.random.Generator) -> float:
    """Return the largest error of a weight of Thompson sampling against a sum over a fine grid."""
    worst = 0.0
    for n in (2, 5, 20, 50, 200):
        for _ in range(4):
            mean, deviation = scores(rng, n)
            grid = np.linspace((mean - 8 * deviation).max(), (mean + 8 * deviation).max(), 20_001)
            z = (grid - mean[:, None]) / deviation[:, None]
            below = log_ndtr(z)
            density = np.exp(-(z**2) / 2 + below.sum(axis=0) - below) / deviation[:, None]
            exact = density.sum(axis=1) / density.sum()
            worst = max(worst, float(np.abs(thompson.weights(mean, deviation) - exact).max()))
    return worst


def normal_p_values(rng: np.random.Generator) -> Array:
    """Return the p-value of the frequencies of the largest draw in each world; rare items count together."""
    found = []
    for _ in range(WORLDS):
        mean, deviation = scores(rng, int(rng.integers(4, 21)))
        counts = np.zeros(len(mean), np.int64)
        for _ in range(10):
            draws = mean + deviation * rng.standard_normal((DRAWS // 10, len(mean)))
            counts += np.bincount(draws.argmax(axis=1), minlength=len(mean))
        expected = thompson.weights(mean, deviation) * counts.sum()
        common = expected >= 10
        observed, of_all = counts[common], expected[common]
        if (~common).any() and expected[~common].sum() >= 10:
            observed, of_all = np.append(observed, counts[~common].sum()), np.append(of_all, expected[~common].sum())
        found.append(float(chisquare(observed, of_all / of_all.sum() * observed.sum()).pvalue))
    return np.array(found)


def after_holm(p: Array) -> float:
    """Return the smallest of some p-values after Holm's correction."""
    return float(min(1, np.sort(p)[0] * len(p)))


def milliseconds(call: Callable[[], object]) -> Array:
    """Return the milliseconds of the thread over many calls."""
    times = []
    for _ in range(TIMED):
        began = thread_time()
        call()
        times.append(1000 * (thread_time() - began))
    return np.array(times)


def run() -> list[Row]:
    """Return errors, p-values and times."""
    rng = np.random.default_rng(0)
    within_rules, quadrature = largest_error(rng)
    p = p_values(rng)
    normal = normal_p_values(np.random.default_rng(1))
    nodes = float(
        np.abs(slot_probabilities(w := np.exp(rng.normal(size=200)), 3) / slot_probabilities(w, 3, 200) - 1).max()
    )
    rows = [
        Row(
            target="largest relative error of slot propensities against enumeration, up to 8 items and 3 slots",
            value=within_rules,
            limit=1e-6,
            better="lower",
            detail=f"{CASES} pools, half of them within two rules, a quarter greedy",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="the same for the quadrature without rules, up to 5 slots",
            value=quadrature,
            limit=1e-6,
            better="lower",
            detail="against all permutations",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="largest relative difference of the quadrature between 128 and 200 nodes, 3 slots of 200",
            value=nodes,
            limit=1e-9,
            better="lower",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target=f"smallest p-value of the joint frequencies of {DRAWS:,} lists, {WORLDS} worlds, after Holm",
            value=after_holm(p),
            limit=1e-3,
            better="higher",
            detail=f"smallest of one world {p.min():.3g}, {int((p < 0.05).sum())} of {WORLDS} below .05",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target="largest error of a weight of Thompson sampling against a fine grid, 2 to 200 items",
            value=normal_error(np.random.default_rng(2)),
            limit=1e-9,
            better="lower",
            detail="20 pools with standard deviations from 0.1 to 1",
            comparable=True,
            synthetic=True,
        ),
        Row(
            target=f"smallest p-value of the largest of {DRAWS:,} normal draws by item, {WORLDS} worlds, after Holm",
            value=after_holm(normal),
            limit=1e-3,
            better="higher",
            detail=f"smallest of one world {normal.min():.3g}, {int((normal < 0.05).sum())} of {WORLDS} below .05",
            comparable=True,
            synthetic=True,
        ),
    ]
    kinds: tuple[tuple[str, bool, bool, float | None], ...] = (
        ("", False, False, 0.15),
        (", within two rules", False, True, None),
        (", greedy", True, False, None),
    )
    for name, ranked, rules, limit in kinds:
        for n in (200, 50):
            one = random_list(rng, n, 3, ranked=ranked, rules=rules)
            one.marginals([3, 40, 7])
            times = milliseconds(lambda one=one: one.marginals([3, 40, 7]))  # type: ignore[misc]
            rows.append(
                Row(
                    target=f"slot propensities of the 3 items shown, 3 random slots of {n}{name}, median ms",
                    value=float(np.median(times)),
                    limit=limit if n == 200 else None,
                    better="lower",
                    detail=f"99th percentile {np.percentile(times, 99):.3f} ms; exact enumeration",
                    reason="an absolute limit" if limit and n == 200 else "",
                    synthetic=True,
                )
            )
    for n in (200, 50):
        mean, deviation = scores(rng, n)
        times = milliseconds(lambda of=(mean, deviation): thompson.weights(*of))  # type: ignore[misc]
        rows.append(
            Row(
                target=f"weights of Thompson sampling of {n} items, median ms",
                value=float(np.median(times)),
                limit=None,
                better="lower",
                detail=f"99th percentile {np.percentile(times, 99):.3f} ms",
                synthetic=True,
            )
        )
    return rows
