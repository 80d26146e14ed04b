"""`ProviderExposure`: every provider gets a share of the slots of many lists, or the least exposed are raised."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
from numba import njit

from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exposure.exposure_over_requests import FIRST, LEAST, REPAID, reordered
from pasand.reranking.exposure.ledger import Ledger
from pasand.reranking.exposure.providers import Providers
from pasand.reranking.rules.rules import finite
from pasand.types import Arrays, Candidates, Queries, Rows, Times

LAYOUT = {
    "count": Entry("int64", "G", lowest=0),
    "slots": Entry("int64", lowest=0),
    "multiplier": Entry("float64", "G", lowest=0),
    "spread": Entry("float64", lowest=0),
    "lists": Entry("int64", lowest=0),
}
HIGHEST = 4.0
"""Largest multiplier, in differences between the first score and the median of the candidates."""


@dataclass(eq=False)
class ProviderExposure:
    """Returns the k best candidates by score plus the multipliers of their providers, which follow what was shown.

    With the aim "share" each provider gets `ratio` times its share of `providers`. Its multiplier moves after each list
    by its shortfall in that list and a part of its shortfall so far, as in `ExposureOverRequests`; the first step
    raises a provider by one spread, the mean difference between the first score and the median of the candidates, when
    it is short by as many slots as its exposure would vary if it were drawn at random. With the aim "max-min" the sum
    of scores is traded for the least exposure relative to that share: the multipliers are those of the dual of P-MMF
    (Xu et al., WWW 2023) by exponential weights, `strength` spreads shared out among the providers of each list's
    candidates, and most for the one that was shown least. Its own dual step solves a programme for each request; this
    one costs a pass over the providers.

    A provider is exposed where it is among the candidates; there is no reserve that guarantees a share, and no
    multiplier exceeds 4 spreads. Calling the stage counts nothing: `shown` counts final lists.
    """

    providers: Providers
    aim: Literal["share", "max-min"] = "share"
    ratio: float = 0.5
    """For "share": part of its share that each provider gets, in (0, 1]; 1: exactly its share, at a high price."""
    strength: float = 0.2
    """For "max-min": spreads that a list may lose on average for the least exposed provider."""
    horizon: int = 1000
    """Requests after which the shares should hold."""
    last: bool = True
    """Whether lists are cut to k and ordered by score; see `ExposureOverRequests`."""

    counts_returned: bool = field(default=False, init=False, repr=False)
    """Whether a recommender counts each list that it returns as shown."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon must be positive, got {self.horizon}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {self.ratio}")
        if not 0 < self.strength < np.inf:
            raise ValueError(f"strength must be positive and finite, got {self.strength}")
        self._spread, self._seen = 0.0, 0
        self._ledger, self._up, self._least = Ledger(()), np.empty(0), np.empty(0)

    @property
    def ledger(self) -> Ledger:
        """What was shown of each provider; empty until the providers are known."""
        if self._ledger.names != self.providers.names:
            self._ledger, self._up = Ledger(self.providers.names), np.zeros(len(self.providers.names))
            self._least = self.providers.share * (self.ratio if self.aim == "share" else 0.0)
        return self._ledger

    @property
    def ledger_key(self) -> str:
        """Identifies what is counted and why: stages of equal keys count together."""
        providers = [self.providers.feature, self.providers.share_of]
        content = ["providers", providers, self.aim, self.ratio, self.strength, self.horizon]
        return hashlib.blake2b(msgspec.json.encode(content), digest_size=12).hexdigest()

    @property
    def shares(self) -> Values:
        """The share of the slots shown so far that each provider had, (G,); nan before the first list."""
        slots = self.ledger.slots
        return self.ledger.count / slots if slots else np.full(len(self.providers.names), np.nan)

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K)), or with `last` False all, (B, K)."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k) if self.last else candidates
        codes, ledger = self.providers.codes(candidates.items), self.ledger
        order, scores = np.tile(np.arange(candidates.items.shape[1]), (len(queries), 1)), candidates.scores.copy()
        count, slots, up = ledger.count.copy(), ledger.slots, self._up.copy()
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            m, values, code = min(n, k), finite(candidates.scores[b, :n]), codes[b, :n]
            if not m:
                continue
            if n > k:
                self._seen += 1
                self._spread += (float(values[0] - values[n // 2]) - self._spread) / self._seen
            wanted = m if self.last else n
            order[b, :wanted], priced = self._chosen(values, code, count, up, m, wanted)
            if self.last:
                order[b, :m].sort()
            else:
                scores[b, :n] = np.where(np.isfinite(candidates.scores[b, :n]), priced, -np.inf)
            slots += m
            self._count(code[order[b, :m]], count, slots, up, m)
        return reordered(candidates, order[:, :k] if self.last else order, scores)

    def _chosen(
        self, scores: Values, code: Rows, count: Counts, up: Values, k: int, wanted: int
    ) -> tuple[Counts, Values]:
        """Return the best positions of a list of k slots, (wanted,), and the scores with multipliers, (n,)."""
        prices = up
        if self.aim == "max-min":
            prices = max_min_prices(code, count, self.providers.share, self._rate(k), self._highest)
        best, priced = by_price(scores, code, prices, wanted)
        return best, priced

    def _count(self, code: Rows, count: Counts, slots: int, up: Values, k: int) -> None:
        """Add the providers of a list to `count`, and move the multipliers in place; `slots` includes the list."""
        step = self._spread * max(LEAST, 1 / (1 + self._seen / FIRST))
        counted(code, count, slots, self._least, up, k, self.horizon, step, self._highest)

    def _rate(self, k: int) -> float:
        return 1 / math.sqrt(self.horizon * k * max(1, len(self.providers.names)))

    @property
    def _highest(self) -> float:
        return self._spread * (HIGHEST if self.aim == "share" else self.strength)

    def shown(self, items: Rows, time: Times) -> None:
        """Count final lists, (B, K) padded with -1, and move the multipliers."""
        ledger = self.ledger
        codes, n_slots = self.providers.codes(items), np.count_nonzero(items >= 0, axis=1)
        for code, m in zip(codes, n_slots.tolist(), strict=True):
            if m:
                before = ledger.count.copy()
                count = before.copy()
                self._count(code, count, ledger.slots + m, self._up, m)
                ledger.add(count - before, m)

    def empty(self) -> None:
        """Begin with an empty ledger and without multipliers."""
        self._ledger, self._up = Ledger(()), np.empty(0)
        self._spread, self._seen = 0.0, 0

    def state(self) -> Arrays:
        """Return a copy of the ledger and the multipliers."""
        ledger = self.ledger
        return {
            "count": ledger.count.copy(),
            "slots": np.array(ledger.slots),
            "multiplier": self._up.copy(),
            "spread": np.array(self._spread),
            "lists": np.array(self._seen),
        }

    def load_state(self, arrays: Arrays) -> None:
        """Continue a ledger that `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT, G=len(self.providers.names))
        self.ledger.replace(arrays["count"], int(arrays["slots"]))
        self._up = arrays["multiplier"].copy()
        self._spread, self._seen = float(arrays["spread"]), int(arrays["lists"])

    def continue_from(self, other: ProviderExposure) -> None:
        """Take over the ledger and the multipliers of another stage of the same key, by the names of the providers."""
        self.ledger.continue_from(other.ledger)
        multiplier = dict(zip(other.ledger.names, other._up.tolist(), strict=True))
        self._up = np.array([multiplier.get(name, 0.0) for name in self.ledger.names])
        self._spread, self._seen = other._spread, other._seen


@njit(cache=True, nogil=True)
def by_price(scores: Values, code: Rows, price: Values, k: int) -> tuple[Counts, Values]:
    """Return the first k positions by the sum of score and provider's price, best first, (k,), and all sums, (n,).

    Items of equal sums are in their order. Scores fall, so that few items are inserted before the last of the best.
    """
    n, priced = len(scores), scores.copy()
    best = np.empty(k, np.int64)
    for i in range(n):
        if code[i] >= 0:
            priced[i] += price[code[i]]
        j = min(i, k)
        if j == k and priced[i] <= priced[best[k - 1]]:
            continue
        j = min(j, k - 1)
        while j > 0 and priced[best[j - 1]] < priced[i]:
            best[j] = best[j - 1]
            j -= 1
        best[j] = i
    return best, priced


@njit(cache=True, nogil=True)
def max_min_prices(code: Rows, count: Counts, share: Values, rate: float, strength: float) -> Values:
    """Return the price of each provider, (G,): `strength` spread by exponential weights over a list's providers.

    The weights are share x exp(-rate x count / share), so that a price is `strength` at equal exposure per share.
    """
    price, inside = np.zeros(len(count)), np.zeros(len(count), np.bool_)
    for c in code:
        if c >= 0:
            inside[c] = share[c] > 0
    least = np.inf
    for g in range(len(count)):
        if inside[g]:
            least = min(least, count[g] / share[g])
    total, shares = 0.0, 0.0
    for g in range(len(count)):
        if inside[g]:
            price[g] = np.exp(-rate * (count[g] / share[g] - least))
            total += share[g] * price[g]
            shares += share[g]
    for g in range(len(count)):
        price[g] *= strength * shares / total if total > 0 else 0.0
    return price


@njit(cache=True, nogil=True)
def counted(
    code: Rows,
    count: Counts,
    slots: int,
    least: Values,
    up: Values,
    k: int,
    horizon: int,
    step: float,
    highest: float,
) -> None:
    """Add a list's providers to `count` and move the multipliers, both in place; `slots` includes the list's k."""
    found = np.zeros(len(count), np.int64)
    for c in code:
        if c >= 0:
            found[c] += 1
    for g in range(len(count)):
        count[g] += found[g]
        wanted = least[g] * k
        if wanted > 0:
            short = wanted - found[g] + REPAID / horizon * (least[g] * slots - count[g])
            up[g] = min(highest, max(0.0, up[g] + step * short / np.sqrt(wanted * horizon)))
