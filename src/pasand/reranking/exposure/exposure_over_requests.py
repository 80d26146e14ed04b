"""`ExposureOverRequests`: item groups get a share of all slots of many lists, at less loss than a rule on each list."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numba import njit

from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exposure.ledger import Ledger
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rules import finite
from pasand.reranking.rules.set_rules import best_sets
from pasand.types import Array, Arrays, Candidates, Queries, Rows, Scores, Times

LAYOUT = {
    "count": Entry("int64", "R", lowest=0),
    "slots": Entry("int64", lowest=0),
    "up": Entry("float64", "R", lowest=0),
    "down": Entry("float64", "R", lowest=0),
    "spread": Entry("float64", lowest=0),
    "lists": Entry("int64", lowest=0),
}
FIRST, LEAST = 50, 0.1
"""Lists over which the step halves, and the share of the first step that is kept for ever, to follow changes."""
REPAID = 3.0
"""How often a shortfall is paid back within the horizon, if nothing else changes."""
BUDGET = 100_000
"""States that the search for a list with required members may visit."""


@dataclass(eq=False)
class ExposureOverRequests:
    """Returns the k best candidates by score plus the multipliers of their groups, which follow what was shown so far.

    A rule has a `min_share` or a `max_share`, of the slots of all lists together. The ledger counts the slots and the
    members shown. After each list that was shown the multiplier of a group moves by its shortfall in that list, and by
    a part of its shortfall so far: a projected subgradient step on the dual of the offline problem (Balseiro, Lu and
    Mirrokni 2020; as P-MMF without its solver). Its first step is such that a group which is short by the whole reserve
    gets the mean difference between the first score and the median of the candidates; later ones are smaller. A
    `max_share` has a multiplier of its own, which is subtracted.

    The reserve is `tolerance` x `horizon` x k slots: if a group would fall short by more, the list must have as many of
    its members as prevent that, at most the number that a rule on each list demands; and if it would exceed its
    `max_share` by more, likewise as few. So after `horizon` requests and ever after the share is at least the target
    less the tolerance, in any order of the requests of one k, wherever the candidates of each list could keep the rule,
    the lists are shown as returned, and each is counted before the next one is chosen. Lists of other processes are
    known later (`Ledger`): of those that are not, the reserve knows nothing.

    Calling the stage counts nothing, so that an explanation changes nothing: `shown` counts final lists, whatever
    later stages did to them. Within one call the queries are treated as if each list were shown before the next. Within
    `pasand.following.counting` a recommender counts what it returns. The ledger starts empty, or from `load_state`; it
    is not part of a bundle.
    """

    groups: Groups
    horizon: int = 1000
    """Requests after which the shares hold."""
    tolerance: float = 0.005
    """Share of the slots by which a group may miss its share after these requests."""
    last: bool = True
    """Whether lists are cut to k and ordered by score. False: all candidates are returned, the chosen ones first, with
    their multipliers added to the scores, for the stages that follow."""

    counts_returned: bool = field(default=False, init=False, repr=False)
    """Whether a recommender counts each list that it returns as shown."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon must be positive, got {self.horizon}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be in (0, 1), got {self.tolerance}")
        for rule in self.groups.rules:
            if rule.min_share is None and rule.max_share is None:
                raise ValueError(
                    f"rule {rule.name!r} has no min_share or max_share, the share of all slots of its group"
                )
            used = [name for name in ("min_count", "max_count") if getattr(rule, name)] + rule.beyond_counts
            if used:
                raise ValueError(f"rule {rule.name!r} has {used[0]}, which needs a rule on each list: remove it")
        self._least = np.array([0.0 if rule.min_share is None else rule.min_share for rule in self.groups.rules])
        self._most = np.array([1.0 if rule.max_share is None else rule.max_share for rule in self.groups.rules])
        self.empty()

    @property
    def ledger_key(self) -> str:
        """Identifies the rules and their horizon: stages of equal keys count together."""
        content = [[rule.name, rule.where, rule.min_share, rule.max_share] for rule in self.groups.rules]
        encoded = msgspec.json.encode(["exposure", content, self.horizon, self.tolerance], order="deterministic")
        return hashlib.blake2b(encoded, digest_size=12).hexdigest()

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K)), or with `last` False all, (B, K)."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k) if self.last else candidates
        member = self.groups.member(candidates.items, queries.time)
        order, scores = np.tile(np.arange(candidates.items.shape[1]), (len(queries), 1)), candidates.scores.copy()
        count, slots, up, down = self.ledger.count.copy(), self.ledger.slots, self._up.copy(), self._down.copy()
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            m, values = min(n, k), finite(candidates.scores[b, :n])
            if not m:
                continue
            if n > k:
                self._seen += 1
                self._spread += (float(values[0] - values[n // 2]) - self._spread) / self._seen
            reserve = self.tolerance * self.horizon * m
            bounds = self._least, self._most, count, slots
            order[b, :n], priced, found = next_list(values, member[b, :n], *bounds, up, down, reserve, m)
            if self.last:
                order[b, :m].sort()
            else:
                scores[b, :n] = np.where(np.isfinite(candidates.scores[b, :n]), priced, -np.inf)
            count += found
            slots += m
            moved(up, down, found, self._least, self._most, count, slots, m, self._step(m), REPAID / self.horizon)
        return reordered(candidates, order[:, :k] if self.last else order, scores)

    def shown(self, items: Rows, time: Times) -> None:
        """Count final lists, (B, K) padded with -1, at the times of their queries, (B,), and move the multipliers."""
        member, slots = self.groups.member(items, time), np.count_nonzero(items >= 0, axis=1)
        for bits, m in zip(member, slots.tolist(), strict=True):
            if m:
                found = (bits[:, None] >> np.arange(len(self.groups)) & 1).sum(axis=0)
                self.ledger.add(found, m)
                known = self.ledger.count, self.ledger.slots
                aims = self._least, self._most, *known, m
                moved(self._up, self._down, found, *aims, self._step(m), REPAID / self.horizon)

    def _step(self, k: int) -> float:
        reserve = self.tolerance * self.horizon * k
        return self._spread / reserve * max(LEAST, 1 / (1 + self._seen / FIRST))

    @property
    def shares(self) -> Values:
        """The share of the slots shown so far that each group had, (R,); nan before the first list."""
        slots = self.ledger.slots
        return self.ledger.count / slots if slots else np.full(len(self.groups), np.nan)

    def empty(self) -> None:
        """Begin with an empty ledger and without multipliers."""
        n = len(self.groups)
        self.ledger = Ledger([rule.name for rule in self.groups.rules])
        self._up, self._down, self._spread, self._seen = np.zeros(n), np.zeros(n), 0.0, 0

    def state(self) -> Arrays:
        """Return a copy of the ledger and the multipliers."""
        return {
            "count": self.ledger.count.copy(),
            "slots": np.array(self.ledger.slots),
            "up": self._up.copy(),
            "down": self._down.copy(),
            "spread": np.array(self._spread),
            "lists": np.array(self._seen),
        }

    def load_state(self, arrays: Arrays) -> None:
        """Continue a ledger that `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT, R=len(self.groups))
        self.ledger.replace(arrays["count"], int(arrays["slots"]))
        self._up, self._down = arrays["up"].copy(), arrays["down"].copy()
        self._spread, self._seen = float(arrays["spread"]), int(arrays["lists"])

    def continue_from(self, other: ExposureOverRequests) -> None:
        """Take over the ledger and the multipliers of another stage of the same key."""
        self.ledger.continue_from(other.ledger)
        self._up, self._down = other._up.copy(), other._down.copy()
        self._spread, self._seen = other._spread, other._seen

    def start_from(self, queries: Queries, candidates: Candidates, *, rounds: int = 500) -> None:
        """Set the multipliers to those of the offline optimum of these lists, which are not counted as shown.

        With lists of past requests the first new ones need not be the price of finding them. All lists must be filled.
        Rules with a `max_share` keep their multipliers.
        """
        member = self.groups.member(candidates.items, queries.time)
        scores = np.stack([finite(row) for row in candidates.scores])
        self._up[:] = offline_multipliers(scores, member, self._least, queries.k, rounds)[0]


def reordered(candidates: Candidates, order: Array, scores: Scores) -> Candidates:
    """Return the candidates at these positions, (B, K), with scores, (B, N), lowered where they would rise."""
    at, propensity = (np.arange(len(order))[:, None], order), candidates.propensity
    return Candidates(
        items=candidates.items[at],
        scores=np.minimum.accumulate(scores[at], axis=1),
        propensity=None if propensity is None else propensity[at],
    )


@njit(cache=True, nogil=True)
def next_list(
    scores: Values,
    member: Counts,
    least: Values,
    most: Values,
    count: Counts,
    slots: int,
    up: Values,
    down: Values,
    reserve: float,
    k: int,
) -> tuple[Counts, Values, Counts]:
    """Return the positions of all candidates, the k chosen ones first, (n,), their priced scores and what was found.

    Both parts are in order of the priced scores, which are given at the original positions, (n,). Found are the members
    of each group among the chosen ones, (R,).
    """
    n_rules, priced = len(least), scores.copy()
    low, high, found = np.zeros(n_rules, np.int64), np.full(n_rules, k), np.zeros(n_rules, np.int64)
    for i in range(len(scores)):
        for r in range(n_rules):
            if member[i] >> r & 1:
                priced[i] += up[r] - down[r]
    order = np.argsort(-priced, kind="mergesort")
    keeps = True
    for r in range(n_rules):
        short = least[r] * (slots + k) - count[r] - reserve
        low[r] = min(k, max(0, int(np.ceil(short - 1e-9))), int(np.ceil(least[r] * k - 1e-9)))
        left = int(np.floor(most[r] * (slots + k) - count[r] + reserve + 1e-9))
        high[r] = max(low[r], min(k, max(left, int(np.floor(most[r] * k + 1e-9)))))
        for j in range(k):
            found[r] += member[order[j]] >> r & 1
        keeps = keeps and low[r] <= found[r] <= high[r]
    if keeps:
        return order, priced, found
    values, bits, n = priced[order].reshape(1, -1), member[order].reshape(1, -1), np.full(1, len(scores))
    best = best_sets(values, bits, n, np.zeros(1, np.int64), np.ones(k), low, high, BUDGET)[0][0]
    first = np.zeros(len(scores), np.bool_)
    first[best] = True
    found[:] = 0
    for i in order[best]:
        for r in range(n_rules):
            found[r] += member[i] >> r & 1
    return np.concatenate((order[first], order[~first])), priced, found


@njit(cache=True, nogil=True)
def moved(
    up: Values,
    down: Values,
    found: Counts,
    least: Values,
    most: Values,
    count: Counts,
    slots: int,
    k: int,
    step: float,
    repaid: float,
) -> None:
    """Move the multipliers in place after a list of k slots; `count` and `slots` include it."""
    for r in range(len(up)):
        short = least[r] * k - found[r] + repaid * (least[r] * slots - count[r])
        over = found[r] - most[r] * k + repaid * (count[r] - most[r] * slots)
        up[r] = max(0.0, up[r] + step * short)
        down[r] = max(0.0, down[r] + step * over)


@njit(cache=True, nogil=True)
def offline_multipliers(scores: Values, member: Counts, target: Values, k: int, rounds: int) -> tuple[Values, float]:
    """Return multipliers of groups and the upper bound that they give of the best sum of scores of all lists.

    `scores` and `member`, (B, n), are known for all lists, and each group must get its share of the B k slots. The
    bound is the dual function of that linear programme, whose least value is its optimum; steps along the subgradient
    shrink.
    """
    n_rules, (n_lists, n) = len(target), scores.shape
    now, best, best_bound = np.zeros(n_rules), np.zeros(n_rules), np.inf
    spread = 0.0
    for b in range(n_lists):
        spread += (scores[b].max() - np.median(scores[b])) / n_lists
    priced, slope = np.empty(n), np.empty(n_rules)
    for round_ in range(rounds):
        bound = 0.0
        for r in range(n_rules):
            slope[r] = target[r] * n_lists * k
            bound -= now[r] * slope[r]
        for b in range(n_lists):
            for i in range(n):
                priced[i] = scores[b, i]
                for r in range(n_rules):
                    if member[b, i] >> r & 1:
                        priced[i] += now[r]
            order = np.argsort(-priced, kind="mergesort")
            for i in order[:k]:
                bound += priced[i]
                for r in range(n_rules):
                    slope[r] -= member[b, i] >> r & 1
        if bound < best_bound:
            best_bound, best[:] = bound, now
        for r in range(n_rules):
            move = 4 * spread * slope[r] / (n_lists * k) / np.sqrt(1.0 + round_)
            now[r] = max(0.0, now[r] + move)
    return best, best_bound
