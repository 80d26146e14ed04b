"""Divergence and distance of distributions, by hand."""

from __future__ import annotations

import numpy as np

from pasand.metrics.miscalibration import hellinger, kl_divergence


def test_divergence_by_hand() -> None:
    """(.5, .5) against (1, 0): .5 log(.5 / .995) + .5 log(.5 / .005); an unseen target costs log 100 at most."""
    target = np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.0, 0.0]])
    shown = np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.3, 0.7]])
    first = 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)
    np.testing.assert_allclose(kl_divergence(target, shown), [first, 0, np.log(100), 0], atol=1e-12)


def test_distance_by_hand() -> None:
    target = np.array([[1.0, 0.0], [0.5, 0.5], [0.25, 0.75]])
    shown = np.array([[0.0, 1.0], [0.5, 0.5], [0.75, 0.25]])
    expected = [1, 0, np.sqrt(0.75) - 0.5]
    np.testing.assert_allclose(hellinger(target, shown), expected, atol=1e-12)
