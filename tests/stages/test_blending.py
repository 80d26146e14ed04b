from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pytest
from numpy.random import Generator

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.recipe import build
from pasand.stages.blending import Blend, standardised
from pasand.stages.retrieval import Fallback, FromModel
from pasand.types import Array, Arrays, Queries, Rows, Scores
from tests.models.test_contract import clusters
from tests.stages.test_retrieval import queries

NO = -np.inf


@dataclass
class Table:
    """Scores query b by row b."""

    table: list[list[float]]
    _learnt: dict[str, Array] = field(default_factory=dict)

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        return self

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        return np.array(self.table, np.float32)[: len(queries)]

    def state(self) -> Arrays:
        return {}

    def load_state(self, arrays: Arrays) -> None:
        pass


def test_sums_by_hand() -> None:
    """Deviations are 2 and sqrt(2): (0, 2, 4, 6) -> -3 -1 1 3 over sqrt(5); the other is (1, 1, -1, -1) already."""
    models: list[Model] = [Table([[0, 2, 4, 6]]), Table([[8, 8, 2, 2]])]
    blend = Blend(models, [np.sqrt(5), 3])
    np.testing.assert_allclose(blend.score(queries(1, 4)), [[0, 2, -2, 0]], atol=1e-6)
    assert blend(queries(1, 4)).items.tolist()[0][0] == 1
    assert blend(queries(1, 4)).items.tolist()[0][3] == 2


def test_the_scale_of_scores_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(3, 50)), rng.normal(size=(3, 50))
    plain: list[Model] = [Table(first.tolist()), Table(second.tolist())]
    scaled: list[Model] = [Table((first * 1000 + 7).tolist()), Table((second * 0.01 - 3).tolist())]
    expected = Blend(plain, [1, 2]).score(queries(3, 5))
    np.testing.assert_allclose(Blend(scaled, [1, 2]).score(queries(3, 5)), expected, atol=1e-3)


def test_a_model_that_cannot_score_a_query_is_left_out() -> None:
    """The first query is scored by one model, the second by both, the third by none."""
    quiet, loud = Table([[NO] * 3, [3, 2, 1], [NO] * 3]), Table([[1, 2, 6], [1, 2, 6], [NO] * 3])
    found = Blend([quiet, loud], [9, 1])(queries(3, 3))
    assert found.items.tolist() == [[2, 1, 0], [0, 1, 2], [-1, -1, -1]]
    assert np.isneginf(found.scores[2]).all()
    batch = queries(3, 3)
    chain = Fallback([Blend([quiet, loud], [9, 1]), FromModel(Table([[1, 2, 3]]))])
    assert chain(batch).items.tolist() == [[2, 1, 0], [0, 1, 2], [2, 1, 0]]


def test_an_item_scored_by_one_model_alone_stays() -> None:
    scores = Blend([Table([[5, 1, NO, NO]]), Table([[0, 0, 9, NO]])]).score(queries(1, 4))
    assert np.isfinite(scores[0, :3]).all()
    assert np.isneginf(scores[0, 3])
    np.testing.assert_allclose(standardised(np.array([[5, 1, NO, NO]], np.float32)), [[1, -1, -1, -1]])


def test_filters_hold() -> None:
    batch = queries(1, 4, exclude=np.array([[3, -1]], np.int32), allowed=[True, True, False, True])
    found = Blend([Table([[1, 2, 3, 4]]), Table([[1, 2, 3, 4]])])(batch)
    assert found.items.tolist() == [[1, 0, -1, -1]]


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "one per model \\(2\\), got 1"), ([1.0, 0.0], "above 0, got \\[1.0, 0.0\\]"), ([1.0, np.nan], "above 0")],
)
def test_weights_are_checked(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blend([Table([[1]]), Table([[1]])], weights)


def test_a_recipe_with_a_blend() -> None:
    """A blend of a model with itself ranks as the model; of different weights, in between."""
    data, _ = clusters()
    text = """
        [items]
        class = "pasand.models.classical.item_knn:ItemKNN"
        [linear]
        class = "pasand.models.classical.ease:EASE"
        [blend]
        class = "pasand.stages.blending:Blend"
        models = ["@items", "@linear"]
        weights = [1.0, 2.5]
        [recommender]
        class = "pasand.recommender:Recommender"
        retriever = "@blend"
    """
    assembly = build(text).fit(data, seed=1)
    batch = data.queries(np.arange(10, dtype=np.int32), k=60)
    found = assembly.recommender(batch)
    items, linear = (standardised(assembly.components[name].score(batch, None)) for name in ("items", "linear"))
    expected = items + np.float32(2.5) * linear
    for b in range(10):
        listed = found.items[b][found.items[b] >= 0]
        assert not set(listed.tolist()) & set(batch.history[b].tolist())
        assert len(listed) == 60 - len(set(batch.history[b][batch.history[b] >= 0].tolist()))
        assert (np.diff(expected[b, listed]) <= 1e-6).all()
    again = assembly.recommender(replace(batch, k=5))
    np.testing.assert_array_equal(again.items, found.items[:, :5])
