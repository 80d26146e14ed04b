from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.classical.content import Content
from pasand.models.classical.ials import IALS
from pasand.models.towers.two_tower import TwoTower
from pasand.recipe import build
from pasand.stages.augmenting import Augmented
from pasand.types import Arrays, Queries, Rows, Scores
from tests.models.test_contract import clusters

RECIPE = """
    [content]
    class = "pasand.models.classical.content:Content"
    dimensions = 4
    [tower]
    class = "pasand.models.towers.two_tower:TwoTower"
    dimensions = 8
    layers = [16]
    epochs = 30
    patience = 0
    use_ids = false
    [augmented]
    class = "pasand.stages.augmenting:Augmented"
    model = "@tower"
    source = "@content"
    [from_tower]
    class = "pasand.stages.retrieval:FromModel"
    model = "@augmented"
    [recommender]
    class = "pasand.recommender:Recommender"
    retriever = "@from_tower"
"""


class Recorder:
    """Records the features that it receives; its scores are 0."""

    def __init__(self) -> None:
        self.seen: list[Feature] = []

    def fit(self, data: Dataset, *, rng: np.random.Generator) -> Recorder:
        self.seen.append(data.item_features["factors"])
        return self

    def add_items(self, features: dict[str, Feature]) -> None:
        self.seen.append(features["factors"])

    def score(self, queries: Queries, items: Rows | None) -> Scores:
        return np.zeros((len(queries), 3 if items is None else items.shape[1]), np.float32)

    def state(self) -> Arrays:
        return {}

    def load_state(self, arrays: Arrays) -> None:
        pass


def with_plots() -> Dataset:
    """Return two clusters of items whose texts name their cluster."""
    data, _ = clusters()
    texts = np.array(
        [f"cluster{int(row >= data.n_items // 2)} film" for row in range(data.n_items)], np.dtypes.StringDType()
    )
    return replace(data, item_features={"plot": Feature(kind="text", values=texts)})


def test_the_model_reads_the_vectors_of_the_source() -> None:
    data, _ = clusters()
    recorder, source = Recorder(), IALS(dimensions=3)
    Augmented(model=recorder, source=source, name="factors").fit(data, rng=np.random.default_rng(0))
    assert recorder.seen[0].kind == "vector"
    np.testing.assert_array_equal(recorder.seen[0].values, source.embed_items(np.arange(data.n_items, dtype=np.int32)))


def test_the_vector_is_unknown_where_the_source_does_not_accept_items() -> None:
    data, _ = clusters()
    recorder = Recorder()
    model = Augmented(model=recorder, source=IALS(dimensions=3), name="factors").fit(data, rng=np.random.default_rng(0))
    model.add_items({"year": Feature(kind="number", values=np.array([1990.0, 2000.0], np.float32))})
    assert recorder.seen[1].is_missing().tolist() == [True, True]


def test_towers_learn_from_texts_through_content_vectors(tmp_path: Path) -> None:
    """A new item whose text is of one cluster is scored above one of the other, for users of that cluster."""
    data = with_plots()
    assembly = build(RECIPE).fit(data, seed=0)
    assert assembly.owned == {"content", "tower"}
    bundle.write(tmp_path / "bundle", assembly, data, seed=0)
    saved = bundle.read(tmp_path / "bundle")
    both = np.array(["cluster0 film", "cluster1 film"], np.dtypes.StringDType())
    for one in (assembly, saved.assembly):
        rows = np.arange(data.n_items, data.n_items + 2, dtype=np.int32)
        one.add_items({"plot": Feature(kind="text", values=both)}, rows)
    queries = data.queries(np.arange(data.n_users, dtype=np.int32), k=5)
    new = np.tile(np.arange(data.n_items, data.n_items + 2, dtype=np.int32), (len(queries), 1))
    model = assembly.components["augmented"]
    scores = model.score(queries, new)
    again = saved.assembly.components["augmented"].score(queries, new)  # on ONNX Runtime
    np.testing.assert_allclose(scores, again, rtol=1e-4, atol=1e-5)
    first = np.array([(row[row >= 0] < data.n_items // 2).mean() > 0.5 for row in queries.history])
    assert (scores[first, 0] > scores[first, 1]).mean() > 0.9
    assert (scores[~first, 1] > scores[~first, 0]).mean() > 0.9


def test_errors_name_the_cause() -> None:
    data = with_plots()
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"plot.*the items have a feature of that name"):
        Augmented(model=TwoTower(), source=Content(dimensions=2), name="plot").fit(data, rng=rng)
    with pytest.raises(InputError, match=r"Content.*no dimensions.*set its `dimensions`"):
        Augmented(model=TwoTower(), source=Content()).fit(data, rng=rng)


def test_a_component_has_one_owner() -> None:
    twice = RECIPE.replace(
        "[from_tower]",
        '[again]\nclass = "pasand.stages.augmenting:Augmented"\nmodel = "@tower"\nsource = "@content"\n[from_tower]',
    )
    with pytest.raises(InputError, match=r"\[augmented\], \[again\].*fitted by two"):
        build(twice)
