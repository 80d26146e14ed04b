"""`Calibration`: lists whose categories are spread as in the user's own history, at the least loss of score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pasand.reranking.calibration.attributes import Attributes
from pasand.reranking.calibration.calibrated_set import calibrated_set, calibrated_sets
from pasand.reranking.counted_search import Counts
from pasand.reranking.rules.caps import Caps
from pasand.reranking.rules.rules import Rules
from pasand.reranking.scale import finite_lists
from pasand.types import Array, Candidates, Queries, within

MAX_ROWS = 60
"""Rules and values at most that swaps look at, as bits of one number."""
NONE: Counts = np.empty(0, np.int64)
"""Bounds of no rules."""


@dataclass(frozen=True)
class Calibration:
    """Returns k candidates that trade the sum of scores for categories spread as in the user's positive history.

    The trade is the mean score, in units of the difference between the first score and the median of the candidates,
    less `strength` times the Kullback-Leibler divergence of `calibrated_set`, summed over the features of `attributes`.
    So a strength means the same for lists of any length and for models of any scale. The chosen items keep their scores
    and are ordered by them. Lists are as long as without the stage. An item without a value is chosen by its score
    alone.

    With `rules`, which must then be no stage of its own, the list is chosen among those that keep them; where they
    cannot all hold, no violation exceeds that of `Rules`. A maximum of each value (`each`) holds in the same way.
    """

    attributes: Attributes
    strength: float = 0.2
    """Weight of the divergence; 0: the k best candidates."""
    rules: Rules | None = None
    """Rules of the policy, on whole lists only."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < np.inf:
            raise ValueError(f"strength must be at least 0 and finite, got {self.strength}")
        for rule in [] if self.rules is None else self.rules.groups.rules:
            if used := [name for name in rule.beyond_counts if name not in ("each", "user")]:
                raise ValueError(
                    f"calibration keeps rules on whole lists only, and rule {rule.name!r} has {used[0]}: "
                    f"remove {used[0]} from it, or remove the calibration"
                )

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K))."""
        return self._lists(queries, candidates, 0)

    def without(self, queries: Queries, candidates: Candidates) -> Iterator[tuple[str, Candidates]]:
        """Yield each rule and the calibration in words, and the lists that the stage would return without it."""
        for r, rule in enumerate([] if self.rules is None else self.rules.groups.rules):
            yield f"rule `{rule.name}`", self._lists(queries, candidates, 1 << r)
        yield "calibration", candidates.top(queries.k) if self.rules is None else self.rules(queries, candidates)

    def _lists(self, queries: Queries, candidates: Candidates, ignored: int) -> Candidates:
        """Return the lists without some rules, given as bits."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        at = np.arange(len(queries))[:, None], self.positions(queries, candidates, k, ignored)
        propensity = candidates.propensity
        return Candidates(
            items=candidates.items[at],
            scores=candidates.scores[at],
            propensity=None if propensity is None else propensity[at],
        )

    def notes(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list which rules do not hold in it, as sentences."""
        return [[] for _ in candidates.items] if self.rules is None else self.rules.notes(queries, candidates)

    def broken(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list the names of the rules that do not hold in it, in order."""
        return [[] for _ in candidates.items] if self.rules is None else self.rules.broken(queries, candidates)

    def positions(self, queries: Queries, candidates: Candidates, k: int, ignored: int = 0) -> Array:
        """Return the positions of the k <= K chosen candidates of each list in ascending order, (B, k).

        Where a list has fewer candidates they are the first k, padding included. `ignored` are rules that do not
        count, as bits.
        """
        known, rules = self.attributes, self.rules
        available = np.count_nonzero(candidates.items >= 0, axis=1)
        values, units = finite_lists(candidates.scores, available)
        rows, shares = (
            np.ascontiguousarray(within(candidates.items, len(known.start) - 1)),
            (known.codes, known.share, known.start),
        )
        lists, target = (values / units[:, None] / k, rows, available), known.target(queries)
        member, void = np.zeros(rows.shape, np.int64), np.zeros(len(rows), np.int64)
        whole: tuple[Counts, Counts] | None = (NONE, NONE)
        if rules is not None:
            member, void, whole = rules.member(queries, candidates.items), rules.void(queries) | ignored, rules.whole(k)
        if rules is not None and whole is None:
            best, _ = rules.solved_within(member, void, candidates, k)
            for b in np.flatnonzero(available > k).tolist():
                n = available[b]
                scores, items, bounds = lists[0][b, :n], rows[b, :n], rules.bounds(k).without(int(void[b]))
                solve = partial(calibrated_set, scores, items, *shares, target[b], self.strength)
                caps = rules.caps(candidates.items[b, :n], member[b, :n], bounds)
                best[b] = _within(solve, caps, best[b])
            best[available <= k] = np.arange(k)
            return best
        assert whole is not None
        best = np.empty((len(rows), k), np.int64)
        positions: Counts
        positions, lacks = calibrated_sets(*lists, *shares, target, self.strength, member, void, *whole, best, False)
        if rules is not None and lacks.any():
            at = np.flatnonzero(lacks)
            groups, some = (member[at], void[at]), (values[at], member[at], available[at], void[at])
            best, _ = rules.best_whole(*some, k)
            one_more = tuple(part[at] for part in lists)
            positions[at], _ = calibrated_sets(
                *one_more, *shares, target[at], self.strength, *groups, *whole, best, True
            )
        return positions


def _within(solve: Callable[[Counts, Counts, Counts, Counts], Counts], caps: Caps, best: Counts) -> Counts:
    """Return the chosen positions such that no cap is broken more than by the best list within the rules, `best`.

    Values that the choice has too many of become rules, until there are none; if they are too many, it is `best`.
    """
    while True:
        member, low, high, owner = caps.rows()
        if len(owner) > MAX_ROWS:
            return np.sort(best)
        chosen = solve(member, low[:, -1].copy(), high[:, -1].copy(), best)
        new = [(r, value) for r, value in caps.broken(chosen) if value not in caps.ruled[r]]
        if not new:
            return chosen
        for r, value in new:
            caps.ruled[r].append(value)
