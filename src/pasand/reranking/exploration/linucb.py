"""LinUCB: items by the upper bound of a confidence interval for their score."""

from __future__ import annotations

from pasand.reranking.counted_search import Values


def bounds(mean: Values, deviation: Values) -> Values:
    """Return the upper bounds, (n,): the mean plus the deviation, which holds the width of the interval.

    Li, Chu, Langford & Schapire, A contextual-bandit approach to personalized news article recommendation, WWW 2010,
    algorithm 1: x'theta + alpha sqrt(x' A^-1 x). The best bound is certain to win, so it is mixed with a share of equal
    probabilities to leave a log that other policies can be evaluated on.
    """
    found: Values = mean + deviation
    return found
