"""`Calibration`: lists whose categories are spread as in the user's own history, at the least loss of score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.reranking.attributes import Attributes
from pasand.reranking.calibrated_set import calibrated_set
from pasand.reranking.rules import Rules, finite
from pasand.reranking.scale import spread
from pasand.types import Array, Candidates, Queries, within


@dataclass(frozen=True)
class Calibration:
    """Returns k candidates that trade the sum of scores for categories spread as in the user's positive history.

    The trade is the mean score, in units of the difference between the first score and the median of the candidates,
    less `strength` times the Kullback-Leibler divergence of `calibrated_set`, summed over the features of `attributes`.
    So a strength means the same for lists of any length and for models of any scale. The chosen items keep their scores
    and are ordered by them. Lists are as long as without the stage. An item without a value is chosen by its score
    alone.

    With `rules`, which must then be no stage of its own, the list is chosen among those that keep them; where they
    cannot all hold, no violation exceeds that of `Rules`.
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
            fields = {"first": rule.first, "every_prefix": rule.every_prefix, "significance": rule.significance}
            if used := [name for name, value in fields.items() if value]:
                raise ValueError(
                    f"calibration keeps rules on whole lists only, and rule {rule.name!r} has {used[0]}: "
                    f"remove {used[0]} from it, or remove the calibration"
                )

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the chosen candidates, (B, min(k, K))."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        at = np.arange(len(queries))[:, None], self.positions(queries, candidates, k)
        propensity = candidates.propensity
        return Candidates(
            items=candidates.items[at],
            scores=candidates.scores[at],
            propensity=None if propensity is None else propensity[at],
        )

    def notes(self, queries: Queries, candidates: Candidates) -> list[list[str]]:
        """Return for each final list which rules do not hold in it, as sentences."""
        return [[] for _ in candidates.items] if self.rules is None else self.rules.notes(queries, candidates)

    def positions(self, queries: Queries, candidates: Candidates, k: int) -> Array:
        """Return the positions of the k <= K chosen candidates of each list in ascending order, (B, k).

        Where a list has fewer candidates they are the first k, padding included.
        """
        known, target = self.attributes, self.attributes.target(queries)
        rows = within(candidates.items, len(known.start) - 1)
        available = np.count_nonzero(candidates.items >= 0, axis=1)
        low = high = np.empty(0, np.int64)
        member, best = np.zeros(rows.shape, np.int64), np.zeros((len(rows), k), np.int64)
        if self.rules is not None:
            member = self.rules.groups.member(candidates.items, queries.time)
            best, _ = self.rules.solved(candidates, member, k)
        positions = np.tile(np.arange(k), (len(rows), 1))
        for b, n in enumerate(available.tolist()):
            if n <= k:
                continue  # all are chosen
            if self.rules is not None:
                bounds = self.rules.bounds(k)
                low, high = bounds[0][:, -1].copy(), bounds[1][:, -1].copy()
            scores = _scaled(finite(candidates.scores[b, :n])) / k
            wanted = known.codes, known.share, known.start, target[b], self.strength
            positions[b] = calibrated_set(scores, rows[b, :n], *wanted, member[b, :n], low, high, best[b])
        return positions


def _scaled(scores: Array) -> Array:
    """Return scores in units of their `spread`, (n,)."""
    return scores / spread(scores)
