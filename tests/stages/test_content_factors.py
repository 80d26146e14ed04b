"""ContentFactors and ScoreAxes: the closed form, learnt weights, warm scores that stay, new items, bundles, no leak."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import check_grad

from pasand import bundle
from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.errors import InputError
from pasand.evaluation.protocols.cold_items import ColdItems
from pasand.explanation import explain
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.recipe import build
from pasand.recommender import matches
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states import open_state
from pasand.stages import field_ridge
from pasand.stages.content_factors import ContentFactors
from pasand.stages.field_ridge import FieldWeights, HeldOutItems, coefficients
from pasand.stages.score_axes import ScoreAxes
from tests.logs import tastes

RNG = np.random.default_rng
RECIPE = """
    [items]
    class = "pasand.models.classical.ease:EASE"
    l2 = 5.0
    [axes]
    class = "pasand.stages.score_axes:ScoreAxes"
    model = "@items"
    dimensions = 6
    [cold]
    class = "pasand.stages.content_factors:ContentFactors"
    model = "@axes"
    [from_cold]
    class = "pasand.stages.retrieval:FromModel"
    model = "@cold"
    [recommender]
    class = "pasand.recommender:Recommender"
    retriever = "@from_cold"
"""


@cache
def films() -> Dataset:
    """Users of three tastes; the genre of an item is its taste, and its colour means nothing."""
    data = tastes(n_users=90, n_items=90, per_user=12)
    genre = np.arange(90, dtype=np.int32) % 3
    colour = RNG(3).integers(0, 3, 90).astype(np.int32)
    names = ("x", "y", "z")
    features = {
        "genre": Feature(kind="categorical", values=genre, names=names),
        "colour": Feature(kind="categorical", values=colour, names=names),
    }
    return replace(data, item_features=features)


@cache
def fitted() -> tuple[Dataset, ContentFactors]:
    """A quarter of the items has no event in train."""
    (split,) = ColdItems(holdout_share=0.25, seed=2).split(films())
    return split.train, ContentFactors(model=IALS(dimensions=4, epochs=4)).fit(split.train, rng=RNG(0))


def by_hand(n: int, columns: int, seed: int) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    rng = RNG(seed)
    return (
        sparse.csr_array(rng.random((n, columns)).astype(np.float32)),
        np.arange(columns, dtype=np.int32) % 2,
        rng.normal(size=(n, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("direct", [field_ridge.DIRECT, 0])
def test_coefficients_equal_the_normal_equations(direct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_ridge, "DIRECT", direct)
    rows, feature, target = by_hand(20, 7, 0)
    weights = FieldWeights(weight=np.array([2.0, 0.5]), l2=0.7)
    x, s = rows.toarray().astype(np.float64), weights.weight[feature]
    expected = np.linalg.solve(x.T @ x + weights.l2 * np.diag(1 / s), x.T @ target)
    np.testing.assert_allclose(coefficients(rows, feature, target, weights), expected, rtol=2e-3, atol=2e-4)


def test_the_gradient_of_the_weights_is_that_of_finite_differences() -> None:
    rows, feature, target = by_hand(14, 6, 1)
    rng = RNG(2)
    liked = rng.random((5, 4)) < 0.5
    liked[:, 0] = True
    held = HeldOutItems(
        rows=rows,
        target=target[:10],
        mean=np.ones(3, np.float32),
        queries=rng.normal(size=(5, 3)).astype(np.float32),
        liked=sparse.csr_array(liked / liked.sum(axis=1, keepdims=True)),
    )
    kernels = []
    for i in range(2):
        block = rows[:, np.flatnonzero(feature == i)].toarray().astype(np.float64)
        kernels.append(block @ block.T)
    x = np.array([0.3, -0.4, 0.2, 0.1])

    def value(y: np.ndarray) -> float:
        return held._loss(y, kernels)[0]

    def gradient(y: np.ndarray) -> np.ndarray:
        return held._loss(y, kernels)[1]

    error = check_grad(value, gradient, x, epsilon=1e-3)
    assert error < 1e-2


def test_cold_items_of_the_taste_are_first_and_the_genre_weighs_most() -> None:
    data, model = fitted()
    weights = model.weights()
    assert weights["genre"] > 3 * weights["colour"]
    users = np.arange(9, dtype=np.int32)
    cold = np.flatnonzero(model.state()["cold"]).astype(np.int32)
    scores = model.score(data.queries(users, k=5), np.broadcast_to(cold, (9, len(cold))))
    best = cold[np.argsort(-scores, axis=1)[:, :3]]
    assert (best % 3 == users[:, None] % 3).all()


def test_scores_of_other_items_are_the_models_own_to_the_bit() -> None:
    data, model = fitted()
    queries = data.queries(np.array([0, 1, -1], np.int32), k=5)
    warm = ~model.state()["cold"]
    np.testing.assert_array_equal(model.score(queries, None)[:, warm], model.model.score(queries, None)[:, warm])
    assert (model.score(queries, None)[2] == -np.inf).all()
    items = np.array([[0, -1, 1000, 5]] * 3, np.int32)
    some, whole = model.score(queries, items), model.score(queries, None)
    np.testing.assert_allclose(some[:2, [0, 3]], whole[:2, [0, 5]], rtol=1e-5)
    assert (some[:, 1:3] == -np.inf).all()


def test_matches_add_up_to_the_score() -> None:
    data, model = fitted()
    queries, cold = data.queries(np.array([0], np.int32), k=5), np.flatnonzero(model.state()["cold"])[:1]
    items = cold[None, :].astype(np.int32)
    terms = dict(model.matches(queries, items)[0][0])
    base = float(model.embed_queries(queries)[0] @ model.state()["mean"])
    np.testing.assert_allclose(base + sum(terms.values()), model.score(queries, items)[0, 0], rtol=1e-4)
    assert {name.split(":")[0] for name in terms} == {"genre", "colour"}
    assert model.reasons(queries, items) == [[[]]]


def test_an_added_item_has_the_vector_of_a_cold_item_with_its_features() -> None:
    data, _ = fitted()
    model = ContentFactors(model=IALS(dimensions=3, epochs=2), holdout_share=0).fit(data, rng=RNG(0))
    cold = np.flatnonzero(model.state()["cold"]).astype(np.int32)
    model.add_items({name: feature.select(cold[:1]) for name, feature in data.item_features.items()})
    added = np.array([data.n_items, cold[0]], np.int32)
    first, second = model.embed_items(added)
    np.testing.assert_array_equal(first, second)
    assert first.any()
    model.add_items({"unknown": Feature(kind="number", values=np.ones(1, np.float32))})
    assert not model.embed_items(added[:1] + 1).any()


def test_a_recipe_with_ease_is_saved_and_reads_back_the_same(tmp_path: Path) -> None:
    data, _ = fitted()
    assembly = build(RECIPE).fit(data, seed=0)
    queries = data.queries(np.arange(6, dtype=np.int32), k=20)
    expected = assembly.recommender(queries)
    cold = assembly.components["cold"].state()["cold"]
    assert cold[expected.items].any()
    bundle.write(tmp_path / "bundle", assembly, data, seed=0)
    found = bundle.read(tmp_path / "bundle").assembly.recommender(queries)
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_axes_of_full_rank_give_the_scores() -> None:
    data = films()
    axes = ScoreAxes(model=EASE(l2=5), dimensions=90, history_weight=0).fit(data, rng=RNG(0))
    queries = data.queries(np.arange(5, dtype=np.int32), k=3)
    products = axes.embed_queries(queries) @ axes.embed_items(np.arange(90, dtype=np.int32)).T
    np.testing.assert_allclose(products, axes.score(queries, None), atol=1e-4)


def test_what_is_learnt_does_not_depend_on_held_out_events() -> None:
    """The vectors of cold items are not fitted to their events: other events of theirs give the same bits."""
    data = films()
    states = []
    for user in (0, 5):
        of_cold = ColdItems(holdout_share=0.25, seed=2).split(data)[0].cold_items[data.item]
        changed = replace(data, user=np.where(of_cold, user, data.user).astype(np.int32))
        (split,) = ColdItems(holdout_share=0.25, seed=2).split(changed)
        states.append(ContentFactors(model=IALS(dimensions=3, epochs=2)).fit(split.train, rng=RNG(0)).state())
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name])


def test_the_reasons_of_a_cold_item_are_the_features_that_match(tmp_path: Path) -> None:
    """In an explanation, in the lists of the library, and in a server's response for an item added to it."""
    data, _ = fitted()
    assembly = build(RECIPE).fit(data, seed=0)
    cold = np.flatnonzero(assembly.components["cold"].state()["cold"])
    item = int(cold[cold % 3 == 1][0])
    queries = data.queries(np.array([1], np.int32), k=20)
    (found,) = explain(assembly.recommender, queries, item, assembly.components).influences
    assert (found.name, found.method) == ("cold", "matches")
    assert found.features[0][0] == "genre: y"
    warm = int(np.flatnonzero(~assembly.components["cold"].state()["cold"])[0])
    rows = np.array([[item, warm, -1]], np.int32)
    named = matches(assembly.recommender, queries, rows)[0]
    assert (named[0][0], named[1:]) == ("genre: y", [[], []])
    bundle.write(tmp_path / "bundle", assembly, data, seed=0)
    state = open_state(str(tmp_path / "state"))
    engine = Engine([Variant.read("main", str(tmp_path / "bundle"))], state, lambda: int(data.time[-1]) + 9)
    state.put_item("new", {"genre": "y", "colour": "x"})
    plain, full = engine.responses(
        [RecommendRequest(user_id="u001", k=30, explain=value, exclude_seen=True) for value in (False, True)]
    )
    by_item = {one.item_id: one for one in full.items}
    assert by_item["new"].matches is not None
    assert by_item["new"].matches[0] == "genre: y"
    assert by_item["new"].reason == []
    with_reason = next(one for one in full.items if one.reason)
    assert with_reason.matches is None
    assert all(one.matches is None and one.reason is None for one in plain.items)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="features"):
        ContentFactors(model=IALS()).fit(replace(films(), item_features={}), rng=RNG(0))
    with pytest.raises(ValueError, match="holdout_share"):
        ContentFactors(model=IALS(), holdout_share=1)
    with pytest.raises(ValueError, match="dimensions"):
        ScoreAxes(model=EASE(), dimensions=0)
    _, model = fitted()
    state = dict(model.state())
    state["cold"] = ~state["cold"]
    with pytest.raises(ValueError, match="row"):
        ContentFactors(model=IALS(dimensions=4)).load_state(state)
