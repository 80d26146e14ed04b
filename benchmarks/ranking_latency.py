"""Milliseconds to rank the 200 candidates of one request, on one thread with ONNX Runtime.

The item embeddings, which do not depend on the request, are read from a table that is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np

from benchmarks.rows import Row
from pasand.models.rankers.contextual import ITEM_EMBEDDINGS, ContextualRanker
from pasand.models.rankers.dcn import DCN
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.sources.bollywood import World

MEASURES = (
    "features/ranking_features.py",
    "layers/interactions.py",
    "layers/network_shape.py",
    "models/deep_model.py",
    "models/rankers/contextual.py",
    "models/rankers/dcn.py",
    "models/rankers/youtube_ranking.py",
    "training/export.py",
    "training/onnx_external.py",
    "training/onnx_graphs.py",
)
CANDIDATES, REQUESTS, LIMIT = 200, 2000, 0.3
LAYERS = (256, 128)


def median(call: Callable[[int], object]) -> float:
    """Return the median milliseconds of a call over all requests, after a warm-up."""
    for number in range(50):
        call(number)
    spent = []
    for number in range(REQUESTS):
        began = perf_counter()
        call(number)
        spent.append(perf_counter() - began)
    return 1000 * float(np.median(spent))


def run() -> list[Row]:
    """Fit each network for an epoch, serve it from its graph, and score one request at a time."""
    data = World(n_users=500, n_items=2000).dataset(impressions=False)
    rng = np.random.default_rng(0)
    models: list[ContextualRanker] = [
        DCN(layers=LAYERS, epochs=1, patience=0),
        YouTubeRanking(layers=LAYERS, objective="clicked", epochs=1, patience=0),
    ]
    users = rng.integers(0, data.n_users, REQUESTS).astype(np.int32)
    items = np.stack([rng.choice(data.n_items, CANDIDATES, replace=False) for _ in users]).astype(np.int32)
    all_queries = data.queries(users, k=10)
    queries = [all_queries.take(np.array([number])) for number in range(REQUESTS)]
    rows = []
    for model in models:
        fitted = model.fit(data, rng=rng)
        served = replace(model)
        served.load_state(fitted.state())
        served.use(fitted.export())
        served.score(queries[0], items[:1])
        features, item_embeddings = served._features(), served._learnt[ITEM_EMBEDDINGS]
        query_inputs, pairs = features.of_queries(queries[0]), features.of_pairs(queries[0], items[:1])
        inputs = {**query_inputs, "items": item_embeddings[items[0]], "pair": pairs}
        graphs, fields = served._graphs, served._inputs(queries[0], items[:1])
        width = sum(values.shape[1] for values in fields.values())
        name = type(model).__name__
        rows.append(
            Row(
                target=f"{name}: ms to score {CANDIDATES} candidates of a request, network alone",
                value=median(lambda _, graphs=graphs, inputs=inputs: graphs.run("rank_items", inputs)),  # type: ignore[misc]
                limit=LIMIT,
                better="lower",
                comparable=True,
                detail=f"one thread; {len(fields)} fields, {width} codes and numbers per pair, layers {LAYERS}",
            )
        )
        rows.append(
            Row(
                target=f"{name}: ms to read the features of {CANDIDATES} candidates and score them",
                value=median(lambda n, served=served: served.score(queries[n], items[n : n + 1])),  # type: ignore[misc]
                limit=None,
                better="lower",
                detail="the same requests through `score`",
            )
        )
    return rows
