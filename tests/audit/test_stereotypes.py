"""The association of categories with gender beyond histories: exact on linear data, zero where histories explain it."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.audit.groups import item_grouping
from pasand.audit.stereotypes import association, category_shares
from tests.audit.small import SECOND, two_users

RNG = np.random.default_rng(0)
N = 400
INSIDE = RNG.random(N) < 0.5
HISTORY = RNG.dirichlet([2, 1, 1], N)
HISTORY[INSIDE] = RNG.dirichlet([1, 1, 3], int(INSIDE.sum()))
LENGTH = RNG.integers(1, 50, N).astype(np.float64)
NOISE = 0.05 * RNG.normal(size=(N, 3))


def test_what_histories_explain_is_no_association() -> None:
    shown = HISTORY @ np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]) + NOISE
    found, _ = association(shown, HISTORY, LENGTH, INSIDE, np.ones(N, np.bool_))
    assert abs(shown[INSIDE].mean(axis=0) - shown[~INSIDE].mean(axis=0)).max() > 0.1, "without the history there is"
    assert all(abs(one.value) < 3 * one.error for one in found)


def test_what_gender_adds_is_found_with_the_error_of_hc1() -> None:
    shown = HISTORY + NOISE + 0.05 * INSIDE[:, None] * [1, -1, 0]
    found, pooled = association(shown, HISTORY, LENGTH, INSIDE, np.ones(N, np.bool_))
    assert [one.value for one in found] == pytest.approx([0.05, -0.05, 0], abs=0.02)
    design = np.column_stack([HISTORY, np.log1p(LENGTH), INSIDE])
    inverse = np.linalg.inv(design.T @ design)
    residual = shown[:, 0] - design @ inverse @ design.T @ shown[:, 0]
    covariance = inverse @ (design.T * residual**2) @ design @ inverse * N / (N - 5)
    assert found[0].error == pytest.approx(np.sqrt(covariance[-1, -1]))
    assert pooled[0] == pytest.approx(np.sqrt(residual @ residual / (N - 5) * inverse[-1, -1]))


def test_a_small_group_that_is_never_shown_a_rare_category_has_the_pooled_error() -> None:
    inside = np.arange(N) < 30
    rare = (RNG.random((N, 1)) < 0.03) & ~inside[:, None]
    found, pooled = association(rare * 0.1, HISTORY, LENGTH, inside, np.ones(N, np.bool_))
    assert pooled[0] > 2 * found[0].error
    assert abs(found[0].value) < 2 * pooled[0]


def test_shares_of_categories_are_those_of_lists_and_histories() -> None:
    two = two_users()
    shown, before, length = category_shares(two, item_grouping("language", two.split.train))
    # item 1 has both languages and counts half in each; item 3 has none
    assert shown[0] == pytest.approx([1 / (1 + SECOND), SECOND / (1 + SECOND)])
    assert shown[1] == pytest.approx([0, 1])
    assert before == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert length.tolist() == [2, 1]
