"""Draws without replacement for a few slots of a list, with exact probabilities of what was drawn."""

from __future__ import annotations

import hashlib

import numpy as np
from numba import njit

from pasand.reranking.counted_search import Values
from pasand.types import Array, Queries

NODES = 128
"""Nodes of the quadrature."""
EARLY, LATE = 1e-10, 40.0
"""Limits of the integral, in units of the mean time to the first arrival, and to the last one that counts."""
SMALLEST = 1e-300
"""Weight of a softmax at least, so that it is positive."""


def mixture(base: Values, uniform: float) -> Values:
    """Return the probabilities of a mixture of a distribution and the uniform one, (n,); none is below uniform / n.

    `base`, (n,), are weights of at least 0 of which one is positive; `uniform` in [0, 1] is the share of the uniform
    distribution.
    """
    mixed: Values = (1 - uniform) * base / base.sum() + uniform / len(base)
    return mixed


def softmax(scores: Values, temperature: float) -> Values:
    """Return exp(score / temperature), (n,), relative to the largest, at least `SMALLEST`.

    Draws without replacement by these weights are a Plackett-Luce ranking.
    """
    weights: Values = np.maximum(np.exp((scores - scores.max()) / temperature), SMALLEST)
    return weights


def uniform_number(queries: Queries, b: int, *numbers: int) -> float:
    """Return a number in [0, 1) that a query and some numbers, such as a seed, determine, in any batch and process.

    It depends on the user and the `draw` of the query; without one on the time in seconds and, of an anonymous user, on
    the history.
    """
    user = int(queries.users[b])
    if queries.draw is not None and queries.draw[b] >= 0:
        key = " ".join(map(str, ("draw", *numbers, user, int(queries.draw[b]))))
        return _fraction(key.encode())
    history = queries.history[b][queries.history[b] >= 0].tobytes() if user < 0 else b""
    key = " ".join(map(str, (*numbers, user, int(queries.time[b]), "")))
    return _fraction(key.encode() + history)


def uniform_numbers(queries: Queries, seed: int, numbers: Array) -> Values:
    """Return `uniform_number` of each query for a seed and each of some numbers, (S,); (B, S)."""
    users, times, draws = queries.users.tolist(), queries.time.tolist(), None
    if queries.draw is not None:
        draws = queries.draw.tolist()
    found, texts = np.empty((len(users), len(numbers))), [f"{seed} {number}" for number in numbers.tolist()]
    for b, (user, time) in enumerate(zip(users, times, strict=True)):
        draw, history = -1 if draws is None else draws[b], b""
        if draw < 0 and user < 0:
            history = queries.history[b][queries.history[b] >= 0].tobytes()
        for s, text in enumerate(texts):
            key = f"draw {text} {user} {draw}" if draw >= 0 else f"{text} {user} {time} "
            found[b, s] = _fraction(key.encode() + history)
    return found


def _fraction(key: bytes) -> float:
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def drawn(probability: Values, number: float) -> int:
    """Return the position that a number in [0, 1) draws from probabilities, (n,), by inversion."""
    rising = np.cumsum(probability)
    return int(np.searchsorted(rising, number * rising[-1], "right"))


def slot_probabilities(weights: Values, slots: int, nodes: int = NODES) -> Values:
    """Return the probability of each of n items in each of the first slots of a Plackett-Luce ranking, (n, slots).

    With arrival times that are exponential with rates w, P(i is at r) is the integral over t of w_i exp(-w_i t)
    P(r - 1 others have arrived by t). The number of arrivals is Poisson binomial: a dynamic programme from both ends of
    the items gives it without any one of them. The integral over log t is that of Gauss and Legendre. Raises ValueError
    for weights that are not positive, and for more slots than items.
    """
    n = len(weights)
    if n and not (np.isfinite(weights).all() and weights.min() > 0):
        raise ValueError("weights must be positive and finite")
    if not 0 < slots <= n:
        raise ValueError(f"slots must be from 1 to the {n} items, got {slots}")
    scaled = weights / weights.sum()
    if slots == 1:
        return np.asarray(scaled[:, None])
    # before exp(low) no item has arrived; after exp(high) more have than there are slots, even without any one
    low, high = np.log(EARLY), np.log(LATE / np.sort(scaled)[::-1][: slots + 1].min())
    points, shares = np.polynomial.legendre.leggauss(nodes)
    time = np.exp(low + (points + 1) / 2 * (high - low))
    found: Values = _slot_probabilities(scaled, slots, time, shares / 2 * (high - low) * time)
    return found


@njit(cache=True, nogil=True)
def _slot_probabilities(rates: Values, slots: int, time: Values, share: Values) -> Values:
    n = len(rates)
    out, later, earlier = np.zeros((n, slots)), np.zeros((n + 1, slots)), np.zeros(slots)
    absent = np.empty(n)
    for t in range(len(time)):
        for i in range(n):
            absent[i] = np.exp(-rates[i] * time[t])
        later[n, :] = 0.0
        later[n, 0] = 1.0
        for i in range(n - 1, -1, -1):
            p = 1 - absent[i]
            for r in range(slots):
                later[i, r] = later[i + 1, r] * absent[i] + (later[i + 1, r - 1] * p if r else 0.0)
        earlier[:] = 0.0
        earlier[0] = 1.0
        for i in range(n):
            arrives = rates[i] * absent[i] * share[t]
            for r in range(slots):
                others = 0.0
                for k in range(r + 1):
                    others += earlier[k] * later[i + 1, r - k]
                out[i, r] += arrives * others
            p = 1 - absent[i]
            for r in range(slots - 1, -1, -1):
                earlier[r] = earlier[r] * absent[i] + (earlier[r - 1] * p if r else 0.0)
    return out
