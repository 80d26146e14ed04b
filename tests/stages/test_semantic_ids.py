"""Semantic ids: planted hierarchies are found, new items have the same codes, and towers and rankers read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.recipe import build
from pasand.stages.semantic_ids import SemanticIds, residual_centres, residual_codes
from pasand.types import Array, Arrays, Queries, Rows, Scores
from tests.logs import tastes

RNG = np.random.default_rng


class Recorder:
    """Records the features that it receives; its scores are 0."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Feature]] = []

    def fit(self, data: Dataset, *, rng: np.random.Generator) -> Recorder:
        self.seen.append(dict(data.item_features))
        return self

    def add_items(self, features: dict[str, Feature]) -> None:
        self.seen.append(dict(features))

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        return np.zeros((len(queries), 3 if items is None else items.shape[1]), np.float32)

    def state(self) -> Arrays:
        return {}

    def load_state(self, arrays: Arrays) -> None:
        pass


def planted(n: int = 180) -> tuple[Array, Array]:
    """Return vectors of three groups far apart, each with the same three subgroups, and the number of each subgroup."""
    rng = RNG(1)
    top, sub = np.arange(n) % 3, np.arange(n) // 3 % 3
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    vectors = 10 * axes[top] + 2 * axes[3 + sub] + 0.05 * rng.normal(size=(n, 6))
    return vectors, np.stack([top, sub], axis=1)


def partition(codes: Array) -> set[frozenset[int]]:
    """Return the groups of rows with equal codes."""
    groups: dict[tuple[int, ...], set[int]] = {}
    for row, code in enumerate(codes.tolist()):
        groups.setdefault(tuple(code), set()).add(row)
    return {frozenset(rows) for rows in groups.values()}


def test_planted_hierarchies_are_found() -> None:
    vectors, truth = planted()
    centres = residual_centres(vectors - vectors.mean(axis=0), 2, 3, RNG(0))
    codes = residual_codes(vectors - vectors.mean(axis=0), centres)
    for level in (1, 2):
        assert partition(codes[:, :level]) == partition(truth[:, :level])


def test_codes_are_those_of_the_nearest_centres_by_hand() -> None:
    centres = np.array([[[0.0, 0.0], [10.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]]])
    vectors = np.array([[1.0, 0.0], [9.8, 2.1], [10.9, 0.2]])
    np.testing.assert_array_equal(residual_codes(vectors, centres), [[0, 0], [1, 1], [1, 0]])
    few = residual_centres(np.ones((4, 2)), 2, 3, RNG(0))  # all vectors are one: it takes a single centre
    assert np.isnan(few[:, 1:]).all()
    np.testing.assert_array_equal(residual_codes(np.ones((1, 2)), few), [[0, 0]])


def coded() -> tuple[Dataset, Recorder, SemanticIds]:
    data = tastes(n_users=40, n_items=90)
    vectors, _ = planted(data.n_items)
    data = replace(data, item_features={"picture": Feature(kind="vector", values=vectors.astype(np.float32))})
    recorder = Recorder()
    model = SemanticIds(model=recorder, levels=2, codes=3, dimensions=6).fit(data, rng=RNG(0))
    return data, recorder, model


def test_the_model_reads_prefixes_and_new_items_have_the_same_codes() -> None:
    data, recorder, model = coded()
    features = recorder.seen[0]
    assert sorted(features) == ["picture", "semantic_id_1", "semantic_id_2"]
    first, second = features["semantic_id_1"], features["semantic_id_2"]
    assert (len(first.names), len(second.names)) == (3, 9)
    _, truth = planted(data.n_items)
    assert partition(second.values[:, None]) == partition(truth)
    for row in range(20):  # a prefix begins with the shorter prefix
        assert second.names[second.values[row]].startswith(f"{first.names[first.values[row]]}-")
    new = data.item_features["picture"].select(np.array([7, -1, 30], np.int32))
    again = SemanticIds(model=Recorder(), levels=2, codes=3, dimensions=6)
    again.load_state(model.state())
    for one in (model, again):
        one.add_items({"picture": new})
    for added in (recorder.seen[1], again.model.seen[0]):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(added["semantic_id_2"].values, [second.values[7], -1, second.values[30]])
        assert added["semantic_id_2"].names == second.names
    states = [coded()[2].state() for _ in range(2)]
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])


def test_a_recipe_with_a_ranker_is_saved_and_takes_new_items(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    data = tastes()
    assembly = build(
        """
        [ranker]
        class = "pasand.models.rankers.fm:FM"
        epochs = 1
        patience = 0
        [coded]
        class = "pasand.stages.semantic_ids:SemanticIds"
        model = "@ranker"
        levels = 2
        [from_ranker]
        class = "pasand.stages.retrieval:FromModel"
        model = "@coded"
        [recommender]
        class = "pasand.recommender:Recommender"
        retriever = "@from_ranker"
        """
    ).fit(data, seed=0)
    assert "item.semantic_id_1" in assembly.components["ranker"]._features().input_sizes
    bundle.write(tmp_path / "bundle", assembly, data, seed=0)
    read = bundle.read(tmp_path / "bundle")
    queries = data.queries(np.array([0, 1], np.int32), k=31)
    np.testing.assert_allclose(
        read.assembly.recommender(queries).scores, assembly.recommender(queries).scores, rtol=1e-4, atol=1e-5
    )
    rows = np.array([4], np.int32)
    added = read.add_items(["new"], {name: feature.select(rows) for name, feature in data.item_features.items()})
    codes = read.assembly.components["ranker"]._features().of_items(np.array([4, data.n_items], np.int32))
    assert added.data.n_items == data.n_items + 1
    np.testing.assert_array_equal(codes["item.semantic_id_1"][0], codes["item.semantic_id_1"][1])
    assert codes["item.semantic_id_1"][1, 0] > 0


def test_bad_input() -> None:
    data, _, model = coded()
    for options in ({"levels": 0}, {"codes": 0}, {"dimensions": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            SemanticIds(model=Recorder(), **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no features"):
        SemanticIds(model=Recorder()).fit(replace(data, item_features={}), rng=RNG(0))
    with pytest.raises(InputError, match="colour"):
        SemanticIds(model=Recorder(), item_features=("colour",)).fit(data, rng=RNG(0))
    used = {"semantic_id_1": data.item_features["picture"]}
    with pytest.raises(InputError, match="feature of that name"):
        SemanticIds(model=Recorder()).fit(replace(data, item_features=used), rng=RNG(0))
    with pytest.raises(ValueError, match="codes"):
        model.load_state({**model.state(), "codes": np.zeros((2, 5), np.int32)})
