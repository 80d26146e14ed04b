"""`ExpectedExposure`: random lists in which groups have their share of the exposure on average over the draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pasand.reranking.counted_search import Counts, Values
from pasand.reranking.exposure.mixed_rankings import mixed_rankings
from pasand.reranking.random_slots import drawn, uniform_number
from pasand.reranking.rules.groups import Groups
from pasand.reranking.rules.rules import finite
from pasand.types import Candidates, Queries


@dataclass(frozen=True)
class ExpectedExposure:
    """Returns a ranking drawn such that the expected exposure of each group is its share of all, or more.

    An item at position j is exposed by 1 / log2(j + 1). A rule has a `min_share` or a `max_share` of the exposure of a
    list, which holds in expectation over the draw of one query; among the distributions over rankings with that
    property, that of the highest expected sum of scores, weighted by exposure, is used (Singh and Joachims, KDD 2018,
    with groups in place of their merit). It mixes at most one ranking more than there are bounds, see
    `mixed_rankings`, so that the lists that one user may see are nearly the same. `propensity` is the exact probability
    of an item at its position.

    The draw depends on the user, or for an anonymous one on the history, and on the time of the query in seconds: the
    same query gets the same list in any batch and process. Where the candidates cannot give a group its share, what is
    missing is least. Scores of items below one that was raised are lowered to its score, as scores may not rise.
    """

    groups: Groups
    seed: int = 0
    """Number that changes all draws."""

    def __post_init__(self) -> None:
        for rule in self.groups.rules:
            if rule.min_share is None and rule.max_share is None:
                raise ValueError(f"rule {rule.name!r} has no min_share or max_share, the share of the exposure")
            others = ("min_count", "max_count", "first", "every_prefix", "significance")
            if used := [name for name in others if getattr(rule, name)]:
                raise ValueError(f"rule {rule.name!r} has {used[0]}, which needs a rule on each list: remove it")

    def __call__(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return the drawn rankings, (B, min(k, K)), with the propensity of each item."""
        k = min(queries.k, candidates.items.shape[1])
        if not k or not len(queries):
            return candidates.top(k)
        member = self.groups.member(candidates.items, queries.time)
        positions = np.tile(np.arange(k), (len(queries), 1))
        propensity = np.full((len(queries), k), np.nan, np.float32)
        for b, n in enumerate(np.count_nonzero(candidates.items >= 0, axis=1).tolist()):
            if m := min(n, k):
                chance, rankings = self.rankings(finite(candidates.scores[b, :n]), member[b, :n], m)
                ranking = rankings[drawn(chance, uniform_number(queries, b, self.seed))]
                positions[b, :m] = ranking
                propensity[b, :m] = chance @ (rankings == ranking)
        at = np.arange(len(queries))[:, None], positions
        return Candidates(
            items=candidates.items[at],
            scores=np.minimum.accumulate(candidates.scores[at], axis=1),
            propensity=propensity,
        )

    def rankings(self, scores: Values, member: Counts, k: int) -> tuple[Values, Counts]:
        """Return the probabilities of the rankings that are mixed, (M,), and the positions of their items, (M, k).

        `scores` fall and `member` are the groups of the candidates as bits, (n,) with n >= k.
        """
        weights = 1 / np.log2(np.arange(k) + 2.0)
        bounds = [
            (r, sign, sign * share * weights.sum())
            for r, rule in enumerate(self.groups.rules)
            for sign, share in ((1.0, rule.min_share), (-1.0, rule.max_share))
            if share is not None
        ]
        group, sign, bound = (np.array(column) for column in zip(*bounds, strict=True))
        chance, rankings, _ = mixed_rankings(scores, member, weights, group, sign, bound)
        return chance, rankings
