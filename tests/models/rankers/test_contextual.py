"""Contextual rankers, served from ONNX graphs."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.models.rankers.dcn import DCN
from tests.logs import tastes

pytest.importorskip("torch")


def test_graphs_score_as_torch_does_and_so_do_those_of_older_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tastes()
    fitted = DCN(epochs=1, patience=0, layers=(8,), rank=4).fit(data, rng=np.random.default_rng(0))
    graphs = fitted.export()
    assert set(graphs) == {"rank", "item", "rank_items"}
    queries = data.queries(np.array([0, 3, -1], np.int32), k=5)
    items = np.random.default_rng(0).integers(-1, data.n_items, (3, 9)).astype(np.int32)
    expected = fitted.score(queries, items)
    for given, min_shared_items in ((graphs, 1), (graphs, 100), ({"rank": graphs["rank"]}, 1)):
        monkeypatch.setattr("pasand.models.rankers.contextual.MIN_SHARED_ITEMS", min_shared_items)
        served = DCN(epochs=1, patience=0, layers=(8,), rank=4)
        served.load_state(fitted.state())
        served.use(given)
        np.testing.assert_allclose(served.score(queries, items), expected, rtol=1e-5, atol=1e-5)
        assert served._network is None
