"""Decision trees as arrays: scores and feature contributions of LightGBM's trees, computed without LightGBM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit

from pasand import mapped
from pasand.types import Array

SCORE_ARRAYS = ("first", "feature", "threshold", "left", "right", "missing_left")
"""Arrays that scores are computed from, in the order of the compiled functions' parameters."""


def packed(dumped: dict[str, Any]) -> dict[str, Array]:
    """Return the trees of LightGBM's `Booster.dump_model()` as arrays, one element per node, tree after tree.

    "first" (T + 1,) holds the first node of each of T trees. "feature" (nodes,) is the feature tested, -1 at a leaf.
    "threshold" (nodes,) is the value of a leaf, or the largest number that goes left. "left" and "right" (nodes,) are
    the child nodes. "missing_left" (nodes,) is whether nan goes left. "count" (nodes,) is the number of training
    examples that reached the node. Raises ValueError for categorical splits, which are not supported.
    """
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    missing: list[bool] = []
    count: list[int] = []
    first = [0]

    def add(node: dict[str, Any]) -> int:
        at = len(feature)
        leaf = "leaf_value" in node
        feature.append(-1 if leaf else int(node["split_feature"]))
        threshold.append(float(node["leaf_value"] if leaf else node["threshold"]))
        nan_is_zero = not leaf and node["missing_type"] == "None"
        missing.append(not leaf and (node["threshold"] >= 0 if nan_is_zero else bool(node["default_left"])))
        # a tree of one leaf has no counts, and needs none
        count.append(int(node.get("leaf_count", 1) if leaf else node["internal_count"]))
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
        "count": np.array(count, np.int64),
    }


def check(trees: Mapping[str, Array], n_features: int) -> None:
    """Raise ValueError unless trees from a file have the arrays of `packed`, of which every path ends at a leaf."""
    n = len(trees["feature"])
    mapped.check("feature", trees["feature"], np.int32, (n,), lowest=-1, below=n_features)
    mapped.check("threshold", trees["threshold"], np.float64, (n,))
    if np.isnan(trees["threshold"]).any():
        raise ValueError("threshold must be numbers, and one is nan")
    mapped.check("missing_left", trees["missing_left"], np.bool_, (n,))
    mapped.check("count", trees["count"], np.int64, (n,), lowest=1)
    mapped.check_offsets("first", trees["first"], n)
    first = trees["first"]
    if not len(first) or first[0] != 0 or (np.diff(first) <= 0).any():
        raise ValueError("every tree must have a node")
    end = np.repeat(first[1:], np.diff(first))
    split = trees["feature"] >= 0
    for side in ("left", "right"):
        mapped.check(side, trees[side], np.int32, (n,))
        below = trees[side][split]
        if (below <= np.flatnonzero(split)).any() or (below >= end[split]).any():
            raise ValueError(f"{side} must lead to later nodes of the same tree")


def predict(trees: dict[str, Array], rows: Array) -> Array:
    """Return the sums of the trees' values for rows of features, (n, F) -> (n,) float64; nan is a missing value."""
    scores: Array = _predict(np.ascontiguousarray(rows, np.float64), *(trees[name] for name in SCORE_ARRAYS))
    return scores


def contributions(trees: dict[str, Array], rows: Array) -> tuple[float, Array]:
    """Return a base and the features' contributions, (n, F) -> (n, F) float64; base + sum over F is `predict`.

    The base is the mean prediction, weighted by training examples. The contributions are Shapley values: where a
    feature is unknown, a split sends an example both ways, in proportion to its training examples (Lundberg, Erion &
    Lee, "Consistent individualized feature attribution for tree ensembles", 2018, algorithm 2). Each leaf is computed
    separately, as the product of the conditions on its path (Mitchell, Frank & Holmes, PeerJ CS 2022).
    """
    arrays = (trees[name] for name in SCORE_ARRAYS)
    base, added = _contributions(np.ascontiguousarray(rows, np.float64), *arrays, trees["count"])
    return float(base), added


@njit(cache=True)
def _predict(
    rows: Array, first: Array, feature: Array, threshold: Array, left: Array, right: Array, missing_left: Array
) -> Array:
    out = np.zeros(len(rows), np.float64)
    for tree in range(len(first) - 1):
        for n in range(len(rows)):
            at = first[tree]
            while feature[at] >= 0:
                to_left = _goes_left(rows[n, feature[at]], threshold[at], missing_left[at])
                at = left[at] if to_left else right[at]
            out[n] += threshold[at]
    return out


@njit(cache=True)
def _goes_left(value: float, threshold: float, missing_left: bool) -> bool:
    return missing_left if np.isnan(value) else value <= threshold


@njit(cache=True)
def _contributions(
    rows: Array,
    first: Array,
    feature: Array,
    threshold: Array,
    left: Array,
    right: Array,
    missing_left: Array,
    count: Array,
) -> tuple[float, Array]:
    base, out = 0.0, np.zeros(rows.shape)
    parent = np.full(len(feature), -1, np.int32)
    for at in range(len(feature)):
        if feature[at] >= 0:
            parent[left[at]], parent[right[at]] = at, at
    for tree in range(len(first) - 1):
        for leaf in range(first[tree], first[tree + 1]):
            if feature[leaf] >= 0:
                continue
            base += threshold[leaf] * count[leaf] / count[first[tree]]
            tested, zero, one = _path(leaf, rows, parent, feature, threshold, left, missing_left, count)
            for n in range(len(rows)):
                weight = _weights(zero, one[n])
                for d in range(len(tested)):
                    out[n, tested[d]] += weight[d] * (one[n, d] - zero[d]) * threshold[leaf]
    return base, out


@njit(cache=True)
def _path(
    leaf: int,
    rows: Array,
    parent: Array,
    feature: Array,
    threshold: Array,
    left: Array,
    missing_left: Array,
    count: Array,
) -> tuple[Array, Array, Array]:
    """Return the features tested on the path to a leaf, (d,), with two products over each feature's splits on the path:

    the share of the training examples that go towards the leaf, (d,), and whether each row does, 1 or 0, (n, d).
    """
    index = np.full(rows.shape[1], -1, np.int64)
    tested, zero, one = np.empty(rows.shape[1], np.int64), np.ones(rows.shape[1]), np.ones(rows.shape)
    d, below = 0, leaf
    while parent[below] >= 0:
        at = parent[below]
        f = feature[at]
        if index[f] < 0:
            index[f], tested[d] = d, f
            d += 1
        zero[index[f]] *= count[below] / count[at]
        for n in range(len(rows)):
            if _goes_left(rows[n, f], threshold[at], missing_left[at]) != (below == left[at]):
                one[n, index[f]] = 0.0
        below = at
    return tested[:d], zero[:d], np.ascontiguousarray(one[:, :d])


@njit(cache=True)
def _weights(zero: Array, one: Array) -> Array:
    """Return, for each condition, the product of the others averaged over all orders of conditions, (d,) -> (d,).

    A condition that is earlier in the order is known and counts as `one`; a later one counts as `zero`.
    """
    d = len(zero)
    out = np.zeros(d)
    for left_out in range(d):
        # chosen[k]: sum over sets of k other conditions of the product of their `one` and the rest's `zero`
        chosen = np.zeros(d)
        chosen[0] = 1.0
        size = 0
        for other in range(d):
            if other == left_out:
                continue
            size += 1
            for k in range(size, 0, -1):
                chosen[k] = chosen[k] * zero[other] + chosen[k - 1] * one[other]
            chosen[0] *= zero[other]
        share = 1.0 / d  # k! (d - 1 - k)! / d!
        for k in range(d):
            out[left_out] += share * chosen[k]
            share *= (k + 1) / (d - 1 - k) if k < d - 1 else 0.0
    return out
