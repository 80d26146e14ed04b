"""Feature contributions of trees: equal to LightGBM's, to the sum over all feature subsets, and to a hand-made case."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from pasand.stages import decision_trees
from pasand.types import Array

lightgbm: Any = pytest.importorskip("lightgbm")


def grown(objective: str = "regression", seed: int = 0, rounds: int = 20, features: int = 5) -> tuple[Any, Array]:
    """Return a booster and its training rows, a fifth of whose values is missing."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(400, features))
    rows[rng.random(rows.shape) < 0.2] = np.nan
    known = np.nan_to_num(rows)
    label = known[:, 0] * known[:, 1] + np.isnan(rows[:, 2]) + 0.3 * rng.normal(size=len(rows))
    settings = {"verbosity": -1, "min_data_in_leaf": 5, "num_threads": 1, "objective": objective}
    target = (label > 0.5).astype(np.float64) if objective == "binary" else label
    return lightgbm.train(settings, lightgbm.Dataset(rows, target), rounds), rows


def expected(packed: dict[str, Array], row: Array, known: set[int]) -> float:
    """Return the trees' score with only some features known; splits on others average both sides by their examples."""

    def below(at: int) -> float:
        feature, count = int(packed["feature"][at]), packed["count"]
        if feature < 0:
            return float(packed["threshold"][at])
        sides = int(packed["left"][at]), int(packed["right"][at])
        if feature not in known:
            return sum(below(side) * float(count[side]) for side in sides) / float(count[at])
        value, missing_left = row[feature], packed["missing_left"][at]
        return below(sides[0] if (missing_left if np.isnan(value) else value <= packed["threshold"][at]) else sides[1])

    return sum(below(int(at)) for at in packed["first"][:-1])


@pytest.mark.parametrize("objective", ["regression", "binary"])
@pytest.mark.parametrize("seed", [0, 1])
def test_contributions_equal_those_of_lightgbm(objective: str, seed: int) -> None:
    booster, rows = grown(objective, seed)
    inputs = np.vstack([rows[:60], np.full((1, 5), np.nan), np.zeros((1, 5))])
    base, added = decision_trees.contributions(decision_trees.packed(booster.dump_model()), inputs)
    expected_contributions = booster.predict(inputs, pred_contrib=True)
    np.testing.assert_allclose(added, expected_contributions[:, :-1], atol=1e-12)
    np.testing.assert_allclose(expected_contributions[:, -1], base, atol=1e-12)


def test_they_sum_to_the_score_less_the_base() -> None:
    booster, rows = grown("binary", rounds=60)
    packed = decision_trees.packed(booster.dump_model())
    base, added = decision_trees.contributions(packed, rows)
    np.testing.assert_allclose(base + added.sum(axis=1), decision_trees.predict(packed, rows), atol=1e-12)
    assert base == pytest.approx(decision_trees.predict(packed, rows).mean())


def test_they_are_shapley_values_over_all_subsets_of_features() -> None:
    booster, rows = grown(rounds=2, features=4)
    packed = decision_trees.packed(booster.dump_model())
    _, added = decision_trees.contributions(packed, rows[:3])
    for row, expected_contributions in zip(rows[:3], added, strict=True):
        for feature in range(4):
            value, others = 0.0, [other for other in range(4) if other != feature]
            for size in range(4):
                share = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
                for known in itertools.combinations(others, size):
                    gain = expected(packed, row, {*known, feature}) - expected(packed, row, set(known))
                    value += share * gain
            assert expected_contributions[feature] == pytest.approx(value, abs=1e-12)


def test_one_split_by_hand_and_a_tree_of_one_leaf() -> None:
    # 30 examples go left to 1, 10 go right to 5: the base is 2, and only the tested feature contributes
    split = {
        "split_feature": 1, "threshold": 0.5, "decision_type": "<=", "missing_type": "NaN", "default_left": False,
        "internal_count": 40, "left_child": {"leaf_value": 1.0, "leaf_count": 30},
        "right_child": {"leaf_value": 5.0, "leaf_count": 10},
    }  # fmt: skip
    packed = decision_trees.packed({"tree_info": [{"tree_structure": split}, {"tree_structure": {"leaf_value": 0.25}}]})
    base, added = decision_trees.contributions(packed, np.array([[9, 0.5], [9, 0.6], [9, np.nan]]))
    assert base == 2.25
    assert added.tolist() == [[0, -1], [0, 3], [0, 3]]
    assert decision_trees.contributions(packed, np.empty((0, 2)))[0] == 2.25
