"""Contextual rankers, served from ONNX graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.models.rankers.dcn import DCN
from pasand.models.rankers.fm import FM
from tests.logs import tastes

pytest.importorskip("torch")


def in_languages() -> Dataset:
    """Three tastes, each with a language of its own."""
    data = tastes()
    language = Feature(kind="categorical", values=np.arange(30, dtype=np.int32) % 3, names=("hi", "ta", "te"))
    return replace(data, item_features={"language": language})


def test_shares_of_the_history_are_read_and_follow_it() -> None:
    """The ranker reads no ids and no other history; new events change its scores at once."""
    options = {"epochs": 3, "patience": 0, "history_shares": ("language",), "history_length": 0, "use_ids": False}
    data = in_languages()
    fitted = FM(**options).fit(data, rng=np.random.default_rng(0))  # type: ignore[arg-type]
    assert "share.language" in fitted.features_read()
    queries = data.queries(np.array([0, 1], np.int32), k=5)
    items = np.tile(np.arange(6, dtype=np.int32), (2, 1))
    scores = fitted.score(queries, items)
    assert (scores != fitted.score_without(queries, items, "share.language")).all()
    swapped = replace(queries, history=queries.history[::-1].copy(), history_value=queries.history_value[::-1].copy())
    assert (np.abs(fitted.score(swapped, items) - scores) > 1e-4).all()
    loaded = FM(**options)  # type: ignore[arg-type]
    loaded.load_state(fitted.state())
    np.testing.assert_allclose(loaded.score(queries, items), scores, atol=1e-6)


def test_graphs_score_as_torch_does_and_so_do_those_of_older_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    data, options = (
        in_languages(),
        {"epochs": 1, "patience": 0, "layers": (8,), "rank": 4, "history_shares": ("language",)},
    )
    fitted = DCN(**options).fit(data, rng=np.random.default_rng(0))  # type: ignore[arg-type]
    graphs = fitted.export()
    assert set(graphs) == {"rank", "item", "rank_items"}
    queries = data.queries(np.array([0, 3, -1], np.int32), k=5)
    items = np.random.default_rng(0).integers(-1, data.n_items, (3, 9)).astype(np.int32)
    expected = fitted.score(queries, items)
    for given, min_shared_items in ((graphs, 1), (graphs, 100), ({"rank": graphs["rank"]}, 1)):
        monkeypatch.setattr("pasand.models.rankers.contextual.MIN_SHARED_ITEMS", min_shared_items)
        served = DCN(**options)  # type: ignore[arg-type]
        served.load_state(fitted.state())
        served.use(given)
        np.testing.assert_allclose(served.score(queries, items), expected, rtol=1e-5, atol=1e-5)
        assert served._network is None
