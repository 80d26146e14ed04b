"""Uniform exploration: every item of the pool has the same weight."""

from __future__ import annotations

import numpy as np

from pasand.reranking.counted_search import Values


def weights(n: int) -> Values:
    """Return weights of n items, (n,)."""
    return np.ones(n)
