"""The contract of every model that exports ONNX: its graphs compute what torch computes. New models are found."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from pasand import models
from pasand.contracts import ExportsONNX
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.models.towers.tower import DeepTower
from pasand.training.export import export_method
from pasand.training.onnx_graphs import MIN_BYTES, Graphs
from pasand.types import Queries
from tests.logs import tastes

DEEP = [model for model in models.classes().values() if issubclass(model, DeepTower)]
every_deep_model = pytest.mark.parametrize("model", DEEP, ids=lambda model: model.__name__)


@cache
def featured() -> Dataset:
    """Return a log whose users and items have features of every kind."""
    data, rng = tastes(), np.random.default_rng(0)

    def features(n: int) -> dict[str, Feature]:
        codes = rng.integers(-1, 3, (n, 2)).astype(np.int32)
        numbers = rng.normal(size=(n, 4)).astype(np.float32)
        numbers[::5] = np.nan
        return {
            "colour": Feature(kind="categorical", values=codes[:, 0].copy(), names=("r", "g", "b")),
            "tags": Feature(kind="bag", values=codes, names=("x", "y", "z")),
            "weight": Feature(kind="number", values=numbers[:, 0].copy()),
            "picture": Feature(kind="vector", values=numbers),
        }

    return replace(
        data, user_features=features(data.n_users), item_features={**data.item_features, **features(data.n_items)}
    )


@cache
def fitted(model: type[DeepTower]) -> DeepTower:
    return model(epochs=1, patience=0, batch_size=64, learning_rate=0.01).fit(featured(), rng=np.random.default_rng(1))


@cache
def exported(model: type[DeepTower]) -> dict[str, bytes]:
    return fitted(model).export()


def loaded(model: type[DeepTower], graphs: dict[str, bytes]) -> DeepTower:
    """Return the model as it is loaded from a bundle."""
    other = model(epochs=1, patience=0, batch_size=64, learning_rate=0.01)
    other.load_state({name: array.copy() for name, array in fitted(model).state().items()})
    other.use(graphs)
    return other


def make_queries(n: int, length: int) -> Queries:
    """Return n queries with histories of at most this length, left-padded; some users are unknown."""
    data, rng = featured(), np.random.default_rng(n * 100 + length)
    queries = data.queries(rng.integers(-1, data.n_users, n).astype(np.int32), k=5)
    history = rng.integers(0, data.n_items, (n, length)).astype(np.int32)
    real = np.arange(length)[None, :] >= rng.integers(0, length + 1, n)[:, None]
    return replace(
        queries,
        history=np.where(real, history, np.int32(-1)),
        history_time=np.where(real, 1_000_000 + np.arange(length), 0),
        history_value=np.where(real, 5, np.nan).astype(np.float32),
    )


def test_there_are_deep_models() -> None:
    assert {"BPRMF", "SASRec"} <= {model.__name__ for model in DEEP}


@every_deep_model
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_graphs_embed_queries_as_torch_does(model: type[DeepTower], n: int) -> None:
    on_graphs = loaded(model, exported(model))
    for length in (0, 1, 3, 8, 130):
        queries = make_queries(n, length)
        expected = fitted(model).embed_queries(queries)
        found = on_graphs.embed_queries(queries)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        assert found.dtype == np.float32
    assert on_graphs._network is None


@every_deep_model
def test_graphs_embed_items_as_torch_does(model: type[DeepTower]) -> None:
    on_graphs, n_items = loaded(model, exported(model)), featured().n_items
    expected = fitted(model)._embed_all(n_items)
    np.testing.assert_allclose(on_graphs._embed_all(n_items), expected, rtol=1e-5, atol=1e-5)
    for n in (1, 2, 7):
        rows = np.arange(n, dtype=np.int32)
        found = on_graphs._run("item", on_graphs._item_inputs(rows))
        np.testing.assert_allclose(
            found[on_graphs._learnt["known"][:n]], expected[:n][on_graphs._learnt["known"][:n]], rtol=1e-5, atol=1e-5
        )


@every_deep_model
def test_graphs_are_exported_again_and_hold_no_large_weight(model: type[DeepTower]) -> None:
    assert issubclass(model, ExportsONNX)
    on_graphs = loaded(model, exported(model))
    assert on_graphs.export() == exported(model)
    assert model().export() == {}
    for name, weight in fitted(model).state().items():
        if name.startswith("weights.") and weight.nbytes >= MIN_BYTES:
            assert not any(weight.tobytes()[:1024] in graph for graph in exported(model).values())
    assert not any(b".py" in graph or b"pasand" in graph for graph in exported(model).values())


@every_deep_model
def test_without_graphs_torch_computes(model: type[DeepTower]) -> None:
    queries = make_queries(7, 5)
    np.testing.assert_array_equal(loaded(model, {}).embed_queries(queries), fitted(model).embed_queries(queries))


@every_deep_model
def test_graphs_run_in_several_threads(model: type[DeepTower]) -> None:
    on_graphs, queries = loaded(model, exported(model)), [make_queries(7, length) for length in range(12)]
    alone = [on_graphs.embed_queries(batch) for batch in queries]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, expected in zip(pool.map(on_graphs.embed_queries, queries), alone, strict=True):
                np.testing.assert_array_equal(found, expected)


def test_weights_are_used_without_a_copy() -> None:
    weight = np.arange(600, dtype=np.float32).reshape(60, 10)
    network = torch.nn.Module()
    network.items = torch.nn.Embedding.from_pretrained(torch.from_numpy(weight.copy()), freeze=False)
    network.item = lambda inputs: network.items(inputs["item"])
    found = Graphs({"item": export_method(network, "item", {"item": np.arange(3)})}, {"items.weight": weight})
    weight[7] = 5
    assert (found.run("item", {"item": np.array([7, 8])}) == weight[7:9]).all()


def test_graphs_that_cannot_be_run_are_refused() -> None:
    with pytest.raises(InputError, match="not an ONNX graph"):
        loaded(DEEP[0], {"query": b"no graph"}).embed_queries(make_queries(2, 3))
    other = loaded(DEEP[0], {})
    large = [
        name for name, weight in other.state().items() if name.startswith("weights.") and weight.nbytes >= MIN_BYTES
    ]
    other.load_state({**other.state(), **{name: np.zeros((300, 5), np.float32) for name in large}})
    other.use(exported(DEEP[0]))
    with pytest.raises(InputError, match="cannot be run by onnxruntime"):
        other.embed_queries(make_queries(2, 3))


def test_without_onnx_nothing_is_exported_and_a_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert fitted(DEEP[0]).export() == {}
    assert "scoring will need torch; onnx is not installed" in caplog.text
