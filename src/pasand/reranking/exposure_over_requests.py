"""`ExposureOverRequests`: item groups get a share of all slots of many lists, at less loss than a rule on each list."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from pasand.layouts import Entry, check
from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.groups import Groups
from pasand.reranking.rules import finite
from pasand.reranking.set_rules import best_set
from pasand.types import Array, Arrays, Candidates, Queries

LAYOUT = {
    "count": Entry("int64", "R", lowest=0),
    "multiplier": Entry("float64", "R", lowest=0),
    "slots": Entry("int64", lowest=0),
    "spread": Entry("float64", lowest=0),
    "lists": Entry("int64", lowest=0),
}
FIRST, LEAST = 50, 0.1
"""Lists over which the step halves, and the share of the first step that is kept for ever, to follow changes."""
REPAID = 3.0
"""How often a shortfall is paid back within the horizon, if nothing else changes."""
BUDGET = 100_000
"""States that the search for a list with required members may visit."""


@dataclass(frozen=True)
class ExposureOverRequests:
    """Returns the k best candidates by score plus the multipliers of their groups, which follow what was shown so far.

    A rule has a `min_share` only; it is the least share of the slots of all lists together. The ledger counts the slots
    and the members shown. After each list the multiplier of a group moves by its shortfall in that list, and by a part
    of its shortfall so far: a projected subgradient step on the dual of the offline problem (Balseiro, Lu and Mirrokni
    2020; as P-MMF without its solver). Its first step is such that a group which is short by the whole reserve gets the
    mean difference between the first score and the median of the candidates; later ones are smaller.

    The reserve is `tolerance` x `horizon` x k slots: if a group would fall short by more, the list must have as many of
    its members as prevent that, at most the number that a rule on each list demands. So after `horizon` requests and
    ever after the share is at least the target less the tolerance, in any order of the requests of one k, wherever the
    candidates of each list could keep the rule.

    Items are ordered by score. Each list that is returned counts as shown, in this process only. The ledger starts
    empty, or from `load_state`; it is not part of a bundle.
    """

    groups: Groups
    horizon: int = 1000
    """Requests after which the shares hold."""
    tolerance: float = 0.005

    _ledger: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon must be positive, got {self.horizon}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be in (0, 1), got {self.tolerance}")
        for rule in self.groups.rules:
            if rule.min_share is None:
                raise ValueError(f"rule {rule.name!r} has no min_share, the share of all slots that its group gets")
            used = [name for name in ("max_share", "max_count") if getattr(rule, name)] + rule.beyond_counts
            if used:
                raise ValueError(f"rule {rule.name!r} has {used[0]}, which needs a rule on each list: remove it")
        n = len(self.groups)
        self._ledger.update(
            count=np.zeros(n, np.int64),
            multiplier=np.zeros(n),
            slots=np.array(0),
            spread=np.array(0.0),
            lists=np.array(0),
        )

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K)), one list after the other, and add them to the ledger."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        member = self.groups.member(candidates.items, queries.time)
        target, ledger = np.array([float(rule.min_share or 0) for rule in self.groups.rules]), self._ledger
        positions = np.tile(np.arange(k), (len(queries), 1))
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            m, scores = min(n, k), finite(candidates.scores[b, :n])
            if not m:
                continue
            if n > k:
                ledger["lists"] += 1
                ledger["spread"] += (scores[0] - scores[n // 2] - ledger["spread"]) / ledger["lists"]
            reserve = self.tolerance * self.horizon * m
            step = float(ledger["spread"]) / reserve * max(LEAST, 1 / (1 + int(ledger["lists"]) / FIRST))
            shown, repaid = (ledger["count"], int(ledger["slots"]), ledger["multiplier"]), REPAID / self.horizon
            positions[b, :m] = next_list(scores, member[b, :n], target, *shown, step, repaid, reserve, m)
            ledger["slots"] += m
        at, propensity = (np.arange(len(queries))[:, None], positions), candidates.propensity
        return Candidates(
            items=candidates.items[at],
            scores=candidates.scores[at],
            propensity=None if propensity is None else propensity[at],
        )

    @property
    def shares(self) -> Values:
        """The share of the slots shown so far that each group had, (R,); nan before the first list."""
        slots = int(self._ledger["slots"])
        return self._ledger["count"] / slots if slots else np.full(len(self.groups), np.nan)

    def state(self) -> Arrays:
        """Return a copy of the ledger."""
        return {name: values.copy() for name, values in self._ledger.items()}

    def load_state(self, arrays: Arrays) -> None:
        """Continue a ledger that `state` returned; raises ValueError for arrays that it cannot have returned."""
        check(arrays, LAYOUT, R=len(self.groups))
        self._ledger.update({name: arrays[name].copy() for name in LAYOUT})

    def start_from(self, queries: Queries, candidates: Candidates, *, rounds: int = 500) -> None:
        """Set the multipliers to those of the offline optimum of these lists, which are not counted as shown.

        With lists of past requests the first new ones need not be the price of finding them. All lists must be filled.
        """
        member = self.groups.member(candidates.items, queries.time)
        scores = np.stack([finite(row) for row in candidates.scores])
        target = np.array([float(rule.min_share or 0) for rule in self.groups.rules])
        self._ledger["multiplier"][:] = offline_multipliers(scores, member, target, queries.k, rounds)[0]


@njit(cache=True, nogil=True)
def next_list(
    scores: Values,
    member: Counts,
    target: Values,
    count: Counts,
    slots: int,
    multiplier: Values,
    step: float,
    repaid: float,
    reserve: float,
    k: int,
) -> Counts:
    """Return the positions of the chosen candidates, ascending, (k,); `count` and `multiplier` are updated in place."""
    n_rules, priced = len(target), scores.copy()
    low, shown = np.zeros(n_rules, np.int64), np.zeros(n_rules, np.int64)
    for i in range(len(scores)):
        for r in range(n_rules):
            if member[i] >> r & 1:
                priced[i] += multiplier[r]
    order = np.argsort(-priced, kind="mergesort")
    keeps = True
    for r in range(n_rules):
        short = target[r] * (slots + k) - count[r] - reserve
        low[r] = min(k, max(0, int(np.ceil(short - 1e-9))), int(np.ceil(target[r] * k - 1e-9)))
        for j in range(k):
            shown[r] += member[order[j]] >> r & 1
        keeps = keeps and shown[r] >= low[r]
    chosen = order[:k]
    if not keeps:
        best, _, _ = best_set(priced[order], member[order], np.ones(k), low, np.full(n_rules, k), BUDGET)
        chosen = order[best]
    for r in range(n_rules):
        found = 0
        for i in chosen:
            found += member[i] >> r & 1
        count[r] += found
        short = target[r] * (slots + k) - count[r]
        multiplier[r] = max(0.0, multiplier[r] + step * (target[r] * k - found + repaid * short))
    return np.sort(chosen)


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
