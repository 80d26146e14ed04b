"""Decision trees as arrays: what LightGBM learns, answered without LightGBM. A helper of `boosted`; no model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pasand.types import Array


def packed(dumped: dict[str, Any]) -> dict[str, Array]:
    """Return the trees of LightGBM's `Booster.dump_model()` as arrays, one row a node, trees one after the other.

    "first" (T + 1,) is where each tree begins; "feature" (nodes,), -1 at a leaf; "threshold" (nodes,): the value of a
    leaf, else a number that goes left is at most this; "left", "right" (nodes,): where to go on; "missing_left"
    (nodes,): whether nan goes left. Categorical splits are not known here: give no categorical features.
    """
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    missing: list[bool] = []
    first = [0]

    def add(node: dict[str, Any]) -> int:
        at = len(feature)
        leaf = "leaf_value" in node
        feature.append(-1 if leaf else int(node["split_feature"]))
        threshold.append(float(node["leaf_value"] if leaf else node["threshold"]))
        nan_is_zero = not leaf and node["missing_type"] == "None"
        missing.append(not leaf and (node["threshold"] >= 0 if nan_is_zero else bool(node["default_left"])))
        left.append(-1)
        right.append(-1)
        if not leaf:
            if node["decision_type"] != "<=":
                raise ValueError(f"splits must be numerical, got {node['decision_type']!r}")
            left[at] = add(node["left_child"])
            right[at] = add(node["right_child"])
        return at

    for tree in dumped["tree_info"]:
        add(tree["tree_structure"])
        first.append(len(feature))
    return {
        "first": np.array(first, np.int64),
        "feature": np.array(feature, np.int32),
        "threshold": np.array(threshold, np.float64),
        "left": np.array(left, np.int32),
        "right": np.array(right, np.int32),
        "missing_left": np.array(missing, np.bool_),
    }


def answer(trees: dict[str, Array], rows: Array) -> Array:
    """Return the sum of the trees' values for rows of features, (n, F) -> (n,) float64; nan is a missing feature."""
    names = ("first", "feature", "threshold", "left", "right", "missing_left")
    found: Array = _answer(np.ascontiguousarray(rows, np.float64), *(trees[name] for name in names))
    return found


@njit(cache=True)
def _answer(
    rows: Array, first: Array, feature: Array, threshold: Array, left: Array, right: Array, missing_left: Array
) -> Array:
    out = np.zeros(len(rows), np.float64)
    for tree in range(len(first) - 1):
        for n in range(len(rows)):
            at = first[tree]
            while feature[at] >= 0:
                value = rows[n, feature[at]]
                to_left = missing_left[at] if np.isnan(value) else value <= threshold[at]
                at = left[at] if to_left else right[at]
            out[n] += threshold[at]
    return out
