"""MMR and DPP: lists computed by hand, determinants by brute force, similarities, and refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.content import Content
from pasand.models.classical.popularity import Popularity
from pasand.reranking.diversity.dpp import DPP, NOISE
from pasand.reranking.diversity.mmr import MMR
from pasand.reranking.diversity.similarity import ItemSimilarity
from pasand.types import Array, Candidates, Queries
from tests.logs import tastes

RNG = np.random.default_rng(0)
N = 12
UNIT = RNG.normal(size=(30, 4)).astype(np.float32)
DATA = replace(
    tastes(),
    item_features={
        "group": Feature(kind="categorical", values=np.arange(30, dtype=np.int32) % 3, names=("a", "b", "c")),
        "parity": Feature(
            kind="categorical",
            values=np.where(np.arange(30) < 20, np.arange(30) % 2, -1).astype(np.int32),
            names=("e", "o"),
        ),
        "same": Feature(kind="categorical", values=np.zeros(30, np.int32), names=("x",)),
        "vector": Feature(kind="vector", values=UNIT),
    },
)


def queries(k: int) -> Queries:
    return DATA.queries(np.zeros(1, np.int32), k=k)


def candidates(items: list[int], scores: list[float]) -> Candidates:
    return Candidates(items=np.array([items], np.int32), scores=np.array([scores], np.float32))


def test_mmr_by_hand() -> None:
    """Items 0, 3, 6 are of group a; 1, 4 of b. The unit is 9 - 7 = 2: a repeated group costs .6 x 2 = 1.2."""
    stage = MMR(["group"], strength=0.6).fit(DATA, rng=RNG)
    result = stage(queries(3), candidates([0, 3, 6, 1, 4], [9, 8.5, 7, 7.4 - 0.5, 6]))
    assert result.items.tolist() == [[0, 3, 1, 6, 4]]
    np.testing.assert_allclose(result.scores, [[9, 7.3, 6.9, 5.8, 4.8]], rtol=1e-6)


def test_strength_0_changes_nothing_and_a_large_one_covers_all_groups() -> None:
    given_candidates = candidates([0, 3, 6, 9, 1, 4, 2, 5], [9, 8, 7, 6, 5, 4, 3, 2])
    for kind in (MMR, DPP):
        without = kind(["group"], strength=0.0).fit(DATA, rng=RNG)(queries(3), given_candidates)
        np.testing.assert_array_equal(without.items, given_candidates.items)
        np.testing.assert_array_equal(without.scores, given_candidates.scores)
        assert kind(["group"], strength=9.0).fit(DATA, rng=RNG)(queries(3), given_candidates).items[0, :3].tolist() == [
            0, 1, 2
        ]  # fmt: skip


@given(st.integers(0, 2**31), st.floats(0.01, 2), st.integers(1, N))
@settings(max_examples=50)
def test_dpp_adds_log_determinants(seed: int, strength: float, k: int) -> None:
    """Each choice has the largest log determinant of all one could add, and the scores are its increments."""
    rng = np.random.default_rng(seed)
    items = rng.permutation(30)[:N].astype(np.int32)
    scores = np.sort(rng.normal(size=N))[::-1].astype(np.float32)
    features = ["vector", "group"] if seed % 2 else ["vector"]
    stage = DPP(features, strength=strength).fit(DATA, rng=rng)
    result = stage(queries(k), candidates(items.tolist(), scores.tolist()))
    unit = strength * float(scores[0] - scores[N // 2])
    alike = (1 - NOISE) * stage.similarity.matrix(items) + NOISE * np.eye(N)

    def value(chosen: list[int]) -> float:
        quality = np.exp(scores[chosen].astype(np.float64) / (2 * unit))
        return unit * float(np.linalg.slogdet(quality[:, None] * alike[np.ix_(chosen, chosen)] * quality)[1])

    chosen: list[int] = []
    for j in range(N):
        adds = {i: value([*chosen, i]) - (value(chosen) if chosen else 0) for i in range(N) if i not in chosen}
        if j < k:
            best = max(adds, key=lambda i: adds[i])
            position = items.tolist().index(result.items[0, j])
            assert adds[position] == pytest.approx(adds[best], abs=1e-4)
            assert result.scores[0, j] == pytest.approx(adds[position], abs=1e-3)
            chosen.append(position)
    rest = {items[i]: more for i, more in adds.items()} if k < N else {}
    for item, score in zip(result.items[0, k:].tolist(), result.scores[0, k:].tolist(), strict=True):
        assert score == pytest.approx(rest[item], abs=1e-3)


def test_greedy_is_near_the_best_determinant() -> None:
    """For log determinants of at least 0 a greedy set has 1 - 1/e of the optimum; here nearly all of it."""
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        items = rng.permutation(30)[:9].astype(np.int32)
        scores = np.sort(rng.uniform(5, 6, 9))[::-1].astype(np.float32)
        stage = DPP(["vector"], strength=0.3).fit(DATA, rng=rng)
        unit = 0.3 * float(scores[0] - scores[4])
        alike = (1 - NOISE) * stage.similarity.matrix(items) + NOISE * np.eye(9)
        result = stage(queries(4), candidates(items.tolist(), scores.tolist()))
        optimum = max(
            float(scores[list(some)].sum()) + unit * float(np.linalg.slogdet(alike[np.ix_(some, some)])[1])
            for some in combinations(range(9), 4)
        )
        ratios.append(float(result.scores[0, :4].sum()) / optimum)
    assert min(ratios) > 0.98
    assert max(ratios) <= 1 + 1e-6


@given(st.integers(0, 2**31), st.floats(0.01, 2), st.integers(1, N))
@settings(max_examples=50)
def test_mmr_equals_its_definition(seed: int, strength: float, k: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.permutation(30)[:N].astype(np.int32)
    scores = np.sort(rng.normal(size=N))[::-1].astype(np.float32)
    stage = MMR(["vector", "parity"], strength=strength).fit(DATA, rng=rng)
    alike, weight = stage.similarity.matrix(items), strength * float(scores[0] - scores[N // 2])
    chosen: list[int] = []
    for _ in range(k):
        left = [i for i in range(N) if i not in chosen]
        nearest = {i: max([0.0, *(float(alike[i, j]) for j in chosen)]) for i in left}
        chosen.append(max(left, key=lambda i: scores[i] - weight * nearest[i]))
    result = stage(queries(k), candidates(items.tolist(), scores.tolist()))
    assert result.items[0, :k].tolist() == items[chosen].tolist()


def test_similarity_is_the_mean_cosine() -> None:
    """Items without a parity, from 20 on, are like no other by it; unknown items are like none."""
    alike = ItemSimilarity(["group", "parity"], None)
    alike.fit(DATA, "mmr")
    expected: Array = np.array(
        [[1, 0.5, 0.5, 0.5, 0], [0.5, 1, 0, 0.5, 0], [0.5, 0, 1, 0, 0], [0.5, 0.5, 0, 1, 0], [0, 0, 0, 0, 1]]
    )
    np.testing.assert_allclose(alike.matrix(np.array([0, 3, 2, 21, 40], np.int32)), expected, atol=1e-6)
    lists = np.array([[0, 3, 2], [0, 2, -1], [0, -1, -1]], np.int32)
    np.testing.assert_allclose(alike.within_lists(lists), [1 / 3, 0.5, np.nan], atol=1e-6)
    dense = ItemSimilarity(["vector"], None)
    dense.fit(DATA, "mmr")
    rows = UNIT[:5] / np.linalg.norm(UNIT[:5], axis=1, keepdims=True)
    np.testing.assert_allclose(dense.matrix(np.arange(5, dtype=np.int32)), rows @ rows.T, atol=1e-5)


def test_vectors_of_a_model() -> None:
    model = Content(dimensions=2).fit(replace(DATA, item_features={"vector": DATA.item_features["vector"]}), rng=RNG)
    alike = ItemSimilarity(["group"], model)
    alike.fit(DATA, "mmr")
    items = np.array([0, 3, 7, -1, 40], np.int32)
    vectors = model.embed_items(items)
    unit = vectors / np.where(vectors.any(axis=1), np.linalg.norm(vectors, axis=1), 1)[:, None]
    same = (items[:, None] % 3 == items % 3) & (items[:, None] >= 0) & (items < 30)
    same &= (items >= 0) & (items[:, None] < 30)
    expected = (unit @ unit.T + same) / 2
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(alike.matrix(items), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["genre"], "mmr: 'genre' is wrong: items have no such feature. Cure: use one of: group, parity, same, vector"),
        (["group", "same"], "'same' is wrong: it does not differ between items.* Cure: remove it"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(features: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MMR(features).fit(DATA, rng=RNG)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing to compare items by: give features = \[\"genres\"\], or model"):
        DPP()
    with pytest.raises(ValueError, match="features must be different"):
        MMR(["group", "group"])
    with pytest.raises(ValueError, match="Popularity has no vectors of items: give another model"):
        MMR(model=Popularity())  # type: ignore[arg-type]
    for strength in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="strength must be at least 0 and finite"):
            DPP(["group"], strength=strength)
    with pytest.raises(InputError, match=r"'model'.*Content has vectors of no dimension\. Cure: set its dimensions"):
        MMR(model=Content().fit(DATA, rng=RNG)).fit(DATA, rng=RNG)
