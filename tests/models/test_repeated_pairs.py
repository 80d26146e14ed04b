"""Users who rate or buy an item several times: every model stays finite, and predicted ratings stay on their scale."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np

from pasand.contracts import Model, PredictsRatings
from pasand.data.dataset import Dataset
from pasand.types import Rows
from tests.models.test_contract import MODELS, dataset, every_model, log_for, of_models, well_formed

QUICK = {"epochs": 2, "dimensions": 4, "pretrain_epochs": 1, "burn_in": 0}
"""Settings of models that take them, for logs of which twenty are fitted."""
BAYESIAN = {"epochs": 60, "burn_in": 20}
"""The samplers diverged after some dozen sweeps."""

RATING_MODELS = [model for model in MODELS if hasattr(model, "predict")]


@cache
def log(seed: int) -> Dataset:
    """12 to 30 users rate about three distinct items of 20 several times each, half of them with another value."""
    rng = np.random.default_rng(seed)
    n_users = int(rng.integers(12, 31))
    pairs = np.unique(rng.integers([0, 0], [n_users, 20], (6 * n_users, 2)), axis=0)
    times = rng.choice([1, 1, 2, 3, 12], len(pairs))
    events = np.repeat(pairs, times, axis=0)
    value = np.repeat(rng.integers(1, 6, len(pairs)), times)
    again = rng.random(len(value)) < 0.5
    value[again] = rng.integers(1, 6, again.sum())
    order = rng.permutation(len(events))
    user, item = events[order].astype(np.int32).T
    return dataset(user, item, value[order].astype(np.float32), n_users=n_users, n_items=20)


def quick(model: type[Model]) -> Model:
    settings = BAYESIAN if model.__name__.startswith("Bayesian") else QUICK
    names = {field.name for field in fields(model)}  # type: ignore[arg-type]
    return model(**{name: value for name, value in settings.items() if name in names})


@every_model
def test_twenty_logs_with_repeated_pairs(model: type[Model]) -> None:
    for seed in range(20):
        data = log_for(model, log(seed))
        fitted = quick(model).fit(data, rng=np.random.default_rng(seed))
        queries = data.queries(np.append(np.arange(data.n_users), -1).astype(np.int32), k=5)
        history, value = queries.history.copy(), queries.history_value.copy()
        history[-1], value[-1] = history[0], value[0]  # a new user
        queries = replace(queries, history=history, history_value=value)
        scores = fitted.score(queries, None)
        well_formed(scores, (len(queries), 20))
        assert np.abs(scores[np.isfinite(scores)]).max(initial=0) < 1000
        if isinstance(fitted, PredictsRatings):
            every = np.tile(np.arange(-1, 20, dtype=np.int32), (len(queries), 1))
            predicted = fitted.predict(queries, every)
            assert np.isfinite(predicted).all()
            assert predicted.min() >= 1
            assert predicted.max() <= 5


@of_models(RATING_MODELS)
def test_predicted_ratings_lie_inside_the_scale_for_extreme_histories(model: type[Model]) -> None:
    data = log(0)
    fitted = quick(model).fit(data, rng=np.random.default_rng(0))
    assert isinstance(fitted, PredictsRatings)
    queries = data.queries(np.full(6, -1, np.int32), k=5)
    history: Rows = np.tile(np.arange(20, dtype=np.int32), (6, 1))
    value = np.empty(history.shape, np.float32)
    value[:4] = np.array([1, 5, -1e9, 1e9])[:, None]
    value[4:] = [[1, 5] * 10, [5] * 19 + [1]]
    queries = replace(queries, history=history, history_time=np.zeros(history.shape, np.int64), history_value=value)
    predicted = fitted.predict(queries, np.tile(np.arange(-1, 20, dtype=np.int32), (6, 1)))
    assert np.isfinite(predicted).all()
    assert predicted.min() >= 1
    assert predicted.max() <= 5
