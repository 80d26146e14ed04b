"""ContentNeighbours: the formula, warm scores that stay, reasons that add up, new items, bundles, bad settings."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle
from pasand.data.bags import Bags
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.encoders.feature_blocks import FeatureBlocks
from pasand.errors import InputError
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.models.classical.ease import EASE
from pasand.models.classical.popularity import Popularity
from pasand.recipe import build
from pasand.stages.content_neighbours import ContentNeighbours
from pasand.types import Queries, Scores
from tests.logs import tastes

RNG = np.random.default_rng
N_WARM = 60
RECIPE = """
    [items]
    class = "pasand.models.classical.ease:EASE"
    l2 = 5.0
    [cold]
    class = "pasand.stages.content_neighbours:ContentNeighbours"
    model = "@items"
    [from_cold]
    class = "pasand.stages.retrieval:FromModel"
    model = "@cold"
    [recommender]
    class = "pasand.recommender:Recommender"
    retriever = "@from_cold"
"""


@cache
def films() -> Dataset:
    """Users of three tastes; genres are the taste, and some have no genre. The last 30 items have no event."""
    data = tastes(n_users=90, n_items=90, per_user=12)
    genre = np.where(np.arange(90) % 13 == 5, -1, np.arange(90) % 3).astype(np.int32)
    colour = RNG(3).integers(0, 3, 90).astype(np.int32)
    names = ("x", "y", "z")
    themes = [np.flatnonzero(row).astype(np.int32) for row in RNG(4).random((90, 3)) < 0.4]
    ends = np.cumsum([0, *map(len, themes)])
    features = {
        "themes": Feature(kind="bag", values=Bags.stored(np.concatenate(themes), ends), names=names),  # type: ignore[arg-type]
        "genre": Feature(kind="categorical", values=genre, names=names),
        "colour": Feature(kind="categorical", values=colour, names=names),
    }
    return replace(data.select(data.item < N_WARM), item_features=features)


def some_queries(data: Dataset) -> Queries:
    return data.queries(np.array([0, 1, 2, -1], np.int32), k=5)


@cache
def fitted(l2: float = 0.7, history_weight: float = 0.5) -> ContentNeighbours:
    model = ContentNeighbours(model=EASE(l2=5.0), l2=l2, history_weight=history_weight)
    return model.fit(films(), rng=RNG(0))


def by_hand(data: Dataset, own: Scores, queries: Queries, l2: float, history_weight: float) -> np.ndarray:
    """The formula of the docstring, item by item, with all items as neighbours."""
    blocks = FeatureBlocks()
    known = np.flatnonzero(data.known_items).astype(np.int32)
    blocks.fit({name: one.select(known) for name, one in data.item_features.items()})
    rows = blocks.rows(data.item_features, data.n_items).toarray().astype(float)
    width = rows.shape[1] // 3  # the blocks: colour, genre, themes
    themes = rows[:, 2 * width :]
    themes *= np.sqrt(np.maximum((themes > 0).sum(axis=1, keepdims=True), 1))
    rows /= np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-12)
    similarity = rows @ rows[:N_WARM].T
    liked = queries.liked(data.positive_from)
    everyone = data.queries(np.unique(data.user).astype(np.int32), k=1)
    theirs = everyone.liked(data.positive_from)
    unit = EASE(l2=5.0).fit(data, rng=RNG(0)).score(everyone, np.ascontiguousarray(theirs))[theirs >= 0].mean()
    out = np.zeros((len(queries), data.n_items - N_WARM))
    for b in range(len(queries)):
        y = np.where(np.isfinite(own[b, :N_WARM]), own[b, :N_WARM], 0).astype(float)
        for i in set(liked[b][liked[b] >= 0].tolist()):
            y[i] += history_weight * unit
        for j in range(out.shape[1]):
            near = np.flatnonzero(similarity[N_WARM + j] > 0)
            kernel = similarity[np.ix_(near, near)] + l2 * np.eye(len(near))
            out[b, j] = similarity[N_WARM + j, near] @ np.linalg.inv(kernel) @ y[near] if len(near) else 0
    return out


@pytest.mark.parametrize(("l2", "history_weight"), [(0.7, 0.5), (3.0, 0.0), (0.1, 2.0)])
def test_cold_items_have_the_scores_of_the_formula_and_others_those_of_the_model(
    l2: float, history_weight: float
) -> None:
    data, model = films(), fitted(l2, history_weight)
    queries = some_queries(data)
    own = EASE(l2=5.0).fit(data, rng=RNG(0)).score(queries, None)
    scores = model.score(queries, None)
    np.testing.assert_array_equal(scores[:, :N_WARM], own[:, :N_WARM])
    able = np.isfinite(own[:, :N_WARM]).any(axis=1)
    assert able.tolist() == [True, True, True, False]
    expected = by_hand(data, own, queries, l2, history_weight)
    np.testing.assert_allclose(scores[able, N_WARM:], expected[able], rtol=1e-4, atol=1e-6)
    assert np.isneginf(scores[~able]).all()
    items = np.array([[0, 70, -1, 89, 200]] * 4, np.int32)
    np.testing.assert_array_equal(model.score(queries, items)[:, [0, 1, 3]], scores[:, [0, 70, 89]])
    assert np.isneginf(model.score(queries, items)[:, [2, 4]]).all()


def test_only_the_most_similar_items_count() -> None:
    """With one neighbour, at the angle a, the score is cos a / (1 + l2) times the neighbour's."""
    data = films()
    angle = np.append(np.linspace(0, 1.5, N_WARM), np.linspace(0.01, 1.49, 30)).astype(np.float32)
    vectors = np.column_stack([np.cos(angle), np.sin(angle)])
    data = replace(data, item_features={"plot": Feature(kind="vector", values=vectors)})
    model = ContentNeighbours(model=EASE(l2=5.0), neighbours=1, l2=0.25, history_weight=0).fit(data, rng=RNG(0))
    queries = data.queries(np.array([0, 1], np.int32), k=1)
    scores = model.score(queries, None)
    for j in range(N_WARM, 90):
        nearest = np.abs(angle[:N_WARM] - angle[j]).argmin()
        expected = scores[:, nearest] * np.cos(angle[nearest] - angle[j]) / 1.25
        np.testing.assert_allclose(scores[:, j], expected, rtol=1e-4, atol=1e-6)


def test_reasons_are_the_features_whose_contributions_add_up_to_the_score() -> None:
    data, model = films(), fitted()
    queries, items = some_queries(data), np.array([[61, 75, 3]] * 4, np.int32)
    scores = model.score(queries, items)
    for b, row in enumerate(model.matches(queries, items)[:3]):
        assert row[2] == []
        for k in (0, 1):
            assert sum(value for _, value in row[k]) == pytest.approx(scores[b, k], rel=1e-5)
            assert {name.split(":")[0] for name, _ in row[k]} <= {"genre", "colour", "themes"}
        if b < 2:  # of their taste
            assert row[1 - b][0][0].startswith("genre: ")
    assert model.reasons(queries, items)[0][0] == []
    assert ContentNeighbours(model=Popularity()).fit(data, rng=RNG(0)).reasons(queries, items) == [[[], [], []]] * 4


def test_withheld_items_are_ranked_by_taste() -> None:
    whole = tastes(n_users=90, n_items=90, per_user=12)
    data = replace(whole, item_features=films().item_features)
    (split,) = ColdItems(seed=1).split(data)
    model = ContentNeighbours(model=EASE(l2=5.0)).fit(split.train, rng=RNG(0))
    cold = np.flatnonzero(split.cold_items & (np.arange(90) % 13 != 5)).astype(np.int32)
    users = np.arange(30, dtype=np.int32)
    scores = model.score(split.train.queries(users, k=1), np.tile(cold, (30, 1)))
    best = cold[scores.argmax(axis=1)] % 3
    assert (best == users % 3).mean() > 0.9


def test_a_new_item_is_scored_as_one_of_its_features_in_a_bundle_too(tmp_path: Path) -> None:
    data = films()
    bundle.write(tmp_path / "b", build(RECIPE).fit(data, seed=0), data, seed=0)
    loaded = bundle.read(tmp_path / "b")
    model = loaded.assembly.components["cold"]
    assert isinstance(model, ContentNeighbours)
    queries = some_queries(data)
    before = model.score(queries, None)
    model.add_items({name: one.select(np.array([80], np.int32)) for name, one in data.item_features.items()})
    after = model.score(queries, None)
    np.testing.assert_array_equal(after[:, :90], before)
    np.testing.assert_allclose(after[:, 90], after[:, 80], rtol=1e-6)


def test_bad_settings_and_data_without_features_are_named() -> None:
    for name, value in (
        ("neighbours", 0),
        ("l2", 0.0),
        ("l2", float("inf")),
        ("history_weight", -1.0),
        ("min_texts", 0),
    ):
        with pytest.raises(ValueError, match=f"{name} must"):
            ContentNeighbours(model=EASE(), **{name: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no features by which items could be compared"):
        ContentNeighbours(model=EASE()).fit(replace(films(), item_features={}), rng=RNG(0))
