"""The contract of every model: a new file in `pasand/models` is tested here without being listed."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import pasand.models
from pasand.contracts import Explains, Model, PredictsRatings, Refreshes, TowerModel
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.errors import InputError
from pasand.types import Queries, Rows, Scores

IMPERSONAL = {"Newest", "Popularity", "Random", "SegmentPopularity"}
"""Baselines, which need not beat popularity."""

CONTEXTUAL = {"learning_rate": 0.01, "batch_size": 256, "patience": 5}

FEW_EVENTS: dict[str, dict[str, float]] = {
    "BiasedMF": {"learning_rate": 0.05},
    "BPRMF": {"learning_rate": 0.05, "batch_size": 128},
    "GMF": {"learning_rate": 0.02, "batch_size": 512},
    "MLP": {"learning_rate": 0.01, "batch_size": 512},
    "NeuMF": {"learning_rate": 0.01, "batch_size": 512},
    **{name: dict(CONTEXTUAL) for name in ("FM", "WideDeep", "DeepFM", "DCN", "YouTubeRanking")},
}
"""Settings of models whose default steps are made for more than two thousand events."""


def members() -> list[type[Model]]:
    """Return every public class of the folder that satisfies `Model`."""
    found = []
    for module in pasand.models.modules().values():
        loaded = importlib.import_module(module)
        for name, member in inspect.getmembers(loaded, inspect.isclass):
            own = member.__module__ == module and not name.startswith("_") and ABC not in member.__bases__
            if own and issubclass(member, Model) and not inspect.isabstract(member):
                found.append(member)
    return found


MODELS = members()

OF_FEATURES = {"Content"}
"""Models that read only item features; they refuse data without any."""


def of_models(models: list[type[Model]]) -> pytest.MarkDecorator:
    """Run the test for each of these models."""
    return pytest.mark.parametrize("model", models, ids=lambda model: model.__name__)


every_model = of_models(MODELS)


def dataset(user: list[int] | Rows, item: list[int] | Rows, value: Scores | None = None, **sizes: int) -> Dataset:
    user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
    n_users, n_items = sizes.get("n_users", 1 + user.max(initial=-1)), sizes.get("n_items", 1 + item.max(initial=-1))
    return Dataset(
        name="made",
        users=Vocabulary(f"u{i:04}" for i in range(n_users)),
        items=Vocabulary(f"i{i:04}" for i in range(n_items)),
        user=user,
        item=item,
        time=np.arange(len(user), dtype=np.int64) * 3600,
        value=value,
        values="none" if value is None else "rating",
        positive_from=-np.inf if value is None else 4.0,
    )


@cache
def clusters() -> tuple[Dataset, Rows]:
    """Four tastes of 15 items each; 160 users rate 12 items, mostly of their own taste, which they rate 4 or 5.

    Returned with one liked item for each user that is not in the data.
    """
    rng = np.random.default_rng(5)
    events, held_out = [], np.empty(160, np.int32)
    for user in range(160):
        taste = user % 4
        own = 15 * taste + rng.permutation(15)
        strange = rng.permutation(np.setdiff1d(np.arange(60), own))
        held_out[user] = own[0]
        events += [(user, item, rng.integers(4, 6)) for item in own[1:9]]
        events += [(user, item, rng.integers(1, 4)) for item in strange[:4]]
    order = rng.permutation(len(events))
    user, item, value = np.array(events)[order].T
    return dataset(user.astype(np.int32), item.astype(np.int32), value.astype(np.float32), n_items=60), held_out


def log_for(model: type[Model], data: Dataset) -> Dataset:
    """Return the data, with a feature that separates the tastes for models that need one."""
    if model.__name__ not in OF_FEATURES:
        return data
    taste = Feature(kind="categorical", values=np.arange(data.n_items, dtype=np.int32) // 15, names=tuple("abcd"))
    return replace(data, item_features={"taste": taste})


@cache
def fitted(model: type[Model]) -> Model:
    return model().fit(log_for(model, clusters()[0]), rng=np.random.default_rng(1))


def some_queries() -> Queries:
    """Known users, an unknown one with a history, one without, and one who liked nothing."""
    data, _ = clusters()
    queries = data.queries(np.array([0, 1, 2, -1, -1, 3], np.int32), k=5)
    history, value = queries.history.copy(), queries.history_value.copy()
    history[3], value[3] = history[0], value[0]
    value[5] = np.where(history[5] >= 0, 1, np.nan)
    return replace(queries, history=history, history_value=value)


def well_formed(scores: Scores, shape: tuple[int, ...]) -> None:
    assert scores.shape == shape
    assert scores.dtype == np.float32
    assert not np.isnan(scores).any()
    assert not np.isposinf(scores).any()


def refuses(model: type[Model], data: Dataset) -> bool:
    try:
        model().fit(data, rng=np.random.default_rng(0))
    except InputError as error:
        return "rating" in str(error) or "features" in str(error)
    return False


def hit_rate(model: Model) -> float:
    data, held_out = clusters()
    queries = data.queries(np.arange(160, dtype=np.int32), k=5)
    scores = model.score(queries, None).copy()
    scores[data.user, data.item] = -np.inf
    top = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return float((top == held_out[:, None]).any(axis=1).mean())


def test_the_folder_is_found() -> None:
    assert {"Popularity", "Random", "ItemKNN", "UserKNN", "EASE", "IALS"} <= {model.__name__ for model in MODELS}


@every_model
def test_scores_are_well_formed(model: type[Model]) -> None:
    queries = some_queries()
    whole = fitted(model).score(queries, None)
    well_formed(whole, (6, 60))
    items = np.random.default_rng(2).integers(-1, 60, (6, 9)).astype(np.int32)
    some = fitted(model).score(queries, items)
    well_formed(some, items.shape)
    assert np.isneginf(some[items < 0]).all()
    expected = np.take_along_axis(whole, np.maximum(items, 0), axis=1)
    np.testing.assert_allclose(some[items >= 0], expected[items >= 0], rtol=1e-4, atol=1e-5)


@every_model
def test_a_row_is_finite_or_all_unknown(model: type[Model]) -> None:
    finite = np.isfinite(fitted(model).score(some_queries(), None))
    assert (finite.all(axis=1) | ~finite.any(axis=1)).all()
    assert finite[:3].all()


@every_model
def test_scores_do_not_depend_on_the_batch(model: type[Model]) -> None:
    queries = some_queries()
    whole = fitted(model).score(queries, None)
    for b in range(len(queries)):
        one = fitted(model).score(queries.take(np.array([b])), None)
        np.testing.assert_allclose(one[0], whole[b], rtol=1e-4, atol=1e-5)


@every_model
def test_padding_changes_nothing(model: type[Model]) -> None:
    queries = some_queries()
    wider = replace(
        queries,
        history=np.pad(queries.history, ((0, 0), (3, 0)), constant_values=-1),
        history_time=np.pad(queries.history_time, ((0, 0), (3, 0))),
        history_value=np.pad(queries.history_value, ((0, 0), (3, 0)), constant_values=np.nan),
    )
    np.testing.assert_array_equal(fitted(model).score(wider, None), fitted(model).score(queries, None))


@every_model
def test_state_comes_back_to_the_bit(model: type[Model]) -> None:
    state = fitted(model).state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    other = model()
    other.load_state({name: array.copy() for name, array in state.items()})
    queries = some_queries()
    np.testing.assert_array_equal(other.score(queries, None), fitted(model).score(queries, None))
    again = other.state()
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)


@every_model
def test_rows_beyond_the_catalogue_are_unknown(model: type[Model]) -> None:
    """Such rows exist once items were added that the model cannot take."""
    queries, rng, small = some_queries(), np.random.default_rng(3), fitted(model)
    drawn = (rng.random(queries.history.shape) < 0.4) & (queries.history >= 0)
    beyond = np.where(rng.random(queries.history.shape) < 0.5, 60, 70_000).astype(np.int32)
    foreign = replace(queries, history=np.where(drawn, beyond, queries.history))
    clean = replace(queries, history=np.where(drawn, np.int32(-1), queries.history))
    items = rng.integers(0, 60, (6, 6)).astype(np.int32)
    items[:, :2], blank = [60, 70_000], items.copy()
    blank[:, :2] = -1
    np.testing.assert_array_equal(small.score(foreign, None), small.score(clean, None))
    np.testing.assert_array_equal(small.score(foreign, items), small.score(clean, blank))
    assert np.isneginf(small.score(foreign, items)[:, :2]).all()
    if isinstance(small, PredictsRatings):
        np.testing.assert_array_equal(small.predict(foreign, items), small.predict(clean, blank))
    if isinstance(small, Explains):
        assert small.reasons(foreign, items) == small.reasons(clean, blank)
    if isinstance(small, TowerModel):
        np.testing.assert_array_equal(small.embed_queries(foreign), small.embed_queries(clean))
        assert (small.embed_items(items)[:, :2] == 0).all()


@every_model
def test_no_model_has_a_method_named_refresh(model: type[Model]) -> None:
    """An assembly that takes new items calls `refresh(rows)` of whatever has a method of that name."""
    assert not issubclass(model, Refreshes)


@every_model
def test_one_seed_gives_one_model(model: type[Model]) -> None:
    again = model().fit(log_for(model, clusters()[0]), rng=np.random.default_rng(1))
    np.testing.assert_array_equal(again.score(some_queries(), None), fitted(model).score(some_queries(), None))


@every_model
@pytest.mark.parametrize(
    "data",
    [
        dataset([0, 0, 0], [0, 1, 2], n_items=4),
        dataset([0, 1, 2], [0, 0, 0], n_users=4),
        dataset([0], [0]),
        dataset([0, 0, 0, 1], [0, 0, 1, 0], np.array([5, np.nan, 2, 4], np.float32)),
        dataset([0, 1], [0, 1], np.array([1, 1], np.float32)),
        dataset([], [], n_users=2, n_items=3),
    ],
    ids=["one user", "one item", "one event", "repeats and a missing value", "nothing liked", "no events"],
)
def test_small_data_are_safe(model: type[Model], data: Dataset) -> None:
    rated = data.value is not None and len(data) > 0
    refusing = (issubclass(model, PredictsRatings) and not rated) or model.__name__ in OF_FEATURES
    if refusing and refuses(model, data):
        return  # a clear error is safe, too
    small = model().fit(data, rng=np.random.default_rng(0))
    queries = data.queries(np.array([0, -1], np.int32), k=1)
    well_formed(small.score(queries, None), (2, data.n_items))
    well_formed(small.score(queries, np.array([[0, -1], [-1, 0]], np.int32)), (2, 2))


@of_models([model for model in MODELS if model.__name__ not in IMPERSONAL])
def test_personal_models_beat_popularity(model: type[Model]) -> None:
    popularity = next(other for other in MODELS if other.__name__ == "Popularity")
    personal = fitted(model)
    if model.__name__ in FEW_EVENTS:
        personal = model(**FEW_EVENTS[model.__name__]).fit(clusters()[0], rng=np.random.default_rng(1))
    assert hit_rate(personal) > hit_rate(fitted(popularity)) + 0.2


@of_models([model for model in MODELS if hasattr(model, "reasons")])
def test_reasons_come_from_the_history(model: type[Model]) -> None:
    explaining = fitted(model)
    assert isinstance(explaining, Explains)
    queries = some_queries()
    items = np.argsort(-explaining.score(queries, None), axis=1)[:, :4].astype(np.int32)
    items[:, 3] = -1
    reasons = explaining.reasons(queries, items)
    assert [len(row) for row in reasons] == [4] * len(queries)
    for b, row in enumerate(reasons):
        assert row[3] == []
        for why in row:
            assert {reason.item for reason in why} <= set(queries.history[b].tolist())
            weights = [reason.weight for reason in why]
            assert weights == sorted(weights, reverse=True)
    assert reasons[0][0]
    assert all(why == [] for why in reasons[4])


@of_models([model for model in MODELS if hasattr(model, "embed_queries")])
def test_towers_multiply_to_the_score(model: type[Model]) -> None:
    tower = fitted(model)
    assert isinstance(tower, TowerModel)
    queries, every = some_queries(), np.arange(60, dtype=np.int32)
    product = tower.embed_queries(queries) @ tower.embed_items(every).T
    scores = tower.score(queries, None)
    scored = np.isfinite(scores).all(axis=1)
    np.testing.assert_allclose(product[scored], scores[scored], rtol=1e-4, atol=1e-5)
    assert (tower.embed_items(np.array([[-1]], np.int32)) == 0).all()


@of_models([model for model in MODELS if hasattr(model, "predict")])
def test_predicted_ratings_are_finite(model: type[Model]) -> None:
    rating = fitted(model)
    assert isinstance(rating, PredictsRatings)
    items = np.tile(np.arange(-1, 8, dtype=np.int32), (6, 1))
    predicted = rating.predict(some_queries(), items)
    well_formed(predicted, items.shape)
    assert np.isfinite(predicted).all()
