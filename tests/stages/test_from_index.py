"""`FromIndex` returns what `FromModel` returns, for a tower of known vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from numpy.random import Generator

from pasand.contracts import Fits, Refreshes, SavesFile, TowerModel
from pasand.data.dataset import Dataset
from pasand.index.exact import Exact
from pasand.index.ivf_pq import IVF
from pasand.models.classical.popularity import Popularity
from pasand.recipe import build
from pasand.stages.retrieval import Fallback, FromIndex, FromModel
from pasand.types import Arrays, Queries, Rows, Scores, Vectors
from tests.logs import tastes

DATA = tastes(n_users=50, n_items=300, per_user=20)


@dataclass
class Towers:
    """Vectors drawn at random; user 3 and items below 5 have none."""

    users: Vectors
    items: Vectors

    def fit(self, data: Dataset, *, rng: Generator) -> Self:
        return self

    def embed_queries(self, queries: Queries) -> Vectors:
        return np.where((queries.users >= 0)[:, None], self.users[queries.users], np.float32(0))

    def embed_items(self, items: Rows) -> Vectors:
        return np.where((items >= 0)[..., None], self.items[items], np.float32(0))

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        vectors = self.embed_queries(queries)
        rows = np.broadcast_to(np.arange(len(self.items)), (len(vectors), len(self.items))) if items is None else items
        own = self.embed_items(rows.astype(np.int32))
        scores: Scores = np.einsum("bd,bkd->bk", vectors, own)
        scores[~vectors.any(axis=1)] = -np.inf
        return np.where(own.any(axis=2), scores, np.float32(-np.inf))

    def state(self) -> Arrays:
        return {}

    def load_state(self, arrays: Arrays) -> None: ...


def towers() -> Towers:
    rng = np.random.default_rng(0)
    found = Towers(
        users=rng.standard_normal((DATA.n_users, 8), dtype=np.float32),
        items=rng.standard_normal((DATA.n_items, 8), dtype=np.float32),
    )
    found.users[3], found.items[:5] = 0, 0
    return found


def fitted(model: Towers) -> FromIndex:
    return FromIndex(model, Exact()).fit(DATA, rng=np.random.default_rng(0))


def make_queries(users: list[int], k: int) -> Queries:
    return DATA.queries(np.array(users, np.int32), k=k)


def test_it_satisfies_the_contracts_of_its_recipe() -> None:
    retriever = FromIndex(towers(), Exact())
    assert isinstance(retriever.model, TowerModel)
    assert isinstance(retriever, Fits)
    assert isinstance(retriever, SavesFile)
    assert isinstance(retriever, Refreshes)
    retriever.load_state(retriever.state())


def test_items_and_scores_are_those_of_the_model() -> None:
    model = towers()
    rng = np.random.default_rng(1)
    allowed = rng.random((6, DATA.n_items)) < 0.3
    exclude = rng.integers(-1, DATA.n_items, (6, 20)).astype(np.int32)
    for queries in (
        make_queries([0, 1, 2, 4, 5, 6], 20),
        replace(make_queries([0, 1, 2, 4, 5, 6], 20), exclude=exclude),
        replace(make_queries([0, 1, 2, 4, 5, 6], 20), allowed=allowed, exclude=exclude),
        replace(make_queries([0, 3, 2, -1, 5, 6], 20), allowed=allowed),
        replace(make_queries([0, 1, 2, 4, 5, 6], 50), allowed=np.arange(DATA.n_items)[None] < 40),
    ):
        found, expected = fitted(model)(queries), FromModel(model)(queries)
        # half floats can only exchange items whose scores are within their rounding
        np.testing.assert_allclose(found.scores, expected.scores, atol=5e-3)
        assert (found.items == expected.items).mean() > 0.97
        np.testing.assert_allclose(
            found.scores,
            np.where(found.items >= 0, model.score(queries, found.items), -np.inf)[:, : queries.k],
            rtol=1e-5,
        )


def test_ties_go_to_the_lower_row() -> None:
    model = towers()
    model.items[10:] = model.items[10]
    found = fitted(model)(make_queries([0], 200))
    rows = [row for row in found.items[0].tolist() if row >= 10]
    assert rows == sorted(rows)


def test_queries_without_a_vector_leave_room_for_the_next_retriever() -> None:
    model = towers()
    found = fitted(model)(make_queries([3, -1, 0], DATA.n_items))
    assert (found.items[:2] == -1).all()
    assert np.isneginf(found.scores[:2]).all()
    assert sorted(found.items[2].tolist()) == [-1] * 5 + list(range(5, DATA.n_items))
    popular = FromModel(Popularity().fit(DATA, rng=np.random.default_rng(0)))
    full = Fallback([fitted(model), popular])(make_queries([3, 0], DATA.n_items)).items
    assert (np.sort(full) == np.arange(DATA.n_items)).all()


def test_items_are_found_once_refreshed() -> None:
    model = towers()
    retriever = fitted(model)
    model.items = np.vstack([model.items, 9 * model.users[:1]])
    model.items[2], model.items[7] = 8 * model.users[0], 0
    retriever.refresh(np.array([2, 7, 8, DATA.n_items], np.int32))
    assert retriever(make_queries([0], 2)).items.tolist() == [[DATA.n_items, 2]]
    assert 7 not in retriever(make_queries([0], 400)).items
    assert len(retriever.index) == DATA.n_items - 5 + 1


def test_a_file_restores_the_retriever(tmp_path: Path) -> None:
    model = towers()
    retriever, other = fitted(model), FromIndex(model, Exact())
    retriever.save(tmp_path / "index")
    other.load(tmp_path / "index")
    queries = make_queries([0, 3, 5], 30)
    assert other(queries).items.tolist() == retriever(queries).items.tolist()


def test_the_index_is_measured_on_the_queries_of_users() -> None:
    model = towers()
    index = IVF(exact_below=100, lists=7, target_recall=0.9)
    found = FromIndex(model, index).fit(DATA, rng=np.random.default_rng(0))(make_queries(list(range(50)), 100)).items
    best = FromModel(model)(make_queries(list(range(50)), 100)).items
    share = np.mean([len(np.intersect1d(one[one >= 0], other)) / 100 for one, other in zip(found, best, strict=True)])
    assert index.recall < 1
    assert share * 50 / 49 == pytest.approx(index.recall, abs=0.06)


def test_a_recipe_with_a_model_and_an_index() -> None:
    recipe = """
[towers]
class = "pasand.models.towers.bpr_mf:BPRMF"
epochs = 2
patience = 0
dimensions = 8

[index]
class = "pasand.index.ivf_pq:IVF"
target_recall = 0.95

[found]
class = "pasand.stages.retrieval:FromIndex"
model = "@towers"
index = "@index"

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@found"
"""
    assembly = build(recipe).fit(DATA, seed=1)
    queries = make_queries([0, 1, 2], 10)
    found = assembly.recommender(queries)
    whole = replace(assembly.recommender, retriever=FromModel(assembly.components["towers"]))(queries)
    assert (found.items >= 0).all()
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-4)


def test_product_codes_are_rescored_with_the_vectors_of_the_model() -> None:
    rng = np.random.default_rng(1)
    model = Towers(
        users=rng.standard_normal((DATA.n_users, 16), dtype=np.float32),
        items=rng.standard_normal((12_000, 16), dtype=np.float32),
    )
    index = IVF(exact_below=1000, codes="pq").build(model.items, rng=rng, queries=model.users)
    retriever = FromIndex(model, index)
    queries = make_queries(list(range(DATA.n_users)), k=10)
    best = FromModel(model)(queries).items
    coarse = index.search(model.embed_queries(queries), 10).items
    found = retriever(queries).items

    def recall(items: Rows) -> float:
        return float(np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(items, best, strict=True)]))

    assert found.shape == (50, 10)
    assert recall(coarse) < 0.9 < 0.98 < recall(found)
