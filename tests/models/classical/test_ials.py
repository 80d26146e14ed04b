"""Implicit ALS against dense solves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pasand.errors import InputError
from pasand.models.classical.ials import IALS
from tests.models.test_contract import dataset

LIKED = np.random.default_rng(4).random((25, 12)) < 0.3
LIKED[:, 11] = False
LIKED[3] = False
USER, ITEM = (side.astype(np.int32) for side in np.nonzero(LIKED))
DATA = dataset(USER, ITEM, n_users=25, n_items=12)
SETTINGS = {"dimensions": 5, "unobserved_weight": 0.2, "l2": 0.03, "l2_exponent": 0.5}


def dense_side(liked: NDArray[np.bool_], others: NDArray[np.float64], active: int) -> NDArray[np.float64]:
    """Minimise the objective for every row by weighted least squares over all cells."""
    out = np.zeros((len(liked), others.shape[1]))
    for row, likes in enumerate(liked):
        if likes.any():
            weight = likes + 0.2
            target = likes / weight  # (1 - s)^2 + a s^2 = (1 + a)(s - 1 / (1 + a))^2 + constant
            penalty = 0.03 * (likes.sum() + 0.2 * active) ** 0.5
            system = (others.T * weight) @ others + penalty * np.eye(others.shape[1])
            out[row] = np.linalg.solve(system, (others.T * weight) @ target)
    return out


def dense_fit(epochs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    initial = np.random.default_rng(9).normal(0, 0.1 / np.sqrt(5), (12, 5))
    initial[np.bincount(ITEM, minlength=12) == 0] = 0
    items = initial.astype(np.float32).astype(np.float64)
    n_users, n_items = LIKED.any(axis=1).sum(), LIKED.any(axis=0).sum()
    for _ in range(epochs):
        users = dense_side(LIKED, items, n_items)
        items = dense_side(LIKED.T, users, n_users)
    return dense_side(LIKED, items, n_items), items


@pytest.mark.parametrize("conjugate_steps", [0, 12])
def test_factors_are_those_of_dense_solves(conjugate_steps: int) -> None:
    model = IALS(**SETTINGS, epochs=4, conjugate_steps=conjugate_steps)  # type: ignore[arg-type]
    model.fit(DATA, rng=np.random.default_rng(9))
    users, items = dense_fit(4)
    everyone = DATA.queries(np.arange(25, dtype=np.int32), k=1)
    np.testing.assert_allclose(model.embed_items(np.arange(12, dtype=np.int32)), items, atol=2e-3)
    np.testing.assert_allclose(model.embed_queries(everyone), users, atol=2e-3)
    scores = model.score(everyone, None)
    scored = np.bincount(USER, minlength=25) > 0
    assert np.isneginf(scores[3]).all()
    np.testing.assert_allclose(scores[scored], (users @ items.T)[scored], atol=2e-3)


def test_few_conjugate_steps_come_to_the_same_minimum() -> None:
    quick, exact = (
        IALS(**SETTINGS, epochs=100, conjugate_steps=steps).fit(DATA, rng=np.random.default_rng(9))  # type: ignore[arg-type]
        for steps in (3, 0)
    )
    everyone = DATA.queries(np.array([0, 1, 2], np.int32), k=1)
    np.testing.assert_allclose(quick.score(everyone, None), exact.score(everyone, None), atol=0.01)


def test_reasons_add_up_to_the_score() -> None:
    model = IALS(**SETTINGS).fit(DATA, rng=np.random.default_rng(9))  # type: ignore[arg-type]
    one = DATA.queries(np.array([0], np.int32), k=1)
    item = np.argmax(model.score(one, None), axis=1)[:, None].astype(np.int32)
    users, items = model.embed_queries(one), model.embed_items(item[0])
    liked = np.flatnonzero(LIKED[0])
    shares = {reason.item: reason.weight for reason in model.reasons(one, item)[0][0]}
    assert set(shares) <= set(liked.tolist())
    # the shares that are not positive are left out, so those named sum to the score or more
    assert sum(shares.values()) >= float((users @ items.T)[0, 0]) - 1e-4
    if len(shares) == len(liked):
        assert sum(shares.values()) == pytest.approx(float((users @ items.T)[0, 0]), abs=1e-4)


def test_an_unknown_user_with_the_same_history_gets_the_same_scores() -> None:
    model = IALS(**SETTINGS).fit(DATA, rng=np.random.default_rng(9))  # type: ignore[arg-type]
    known = DATA.queries(np.array([0], np.int32), k=1)
    liked = np.flatnonzero(LIKED[0]).tolist()
    unknown_user = dataset([0] * len(liked), liked, n_items=12)
    np.testing.assert_array_equal(
        model.score(known, None), model.score(unknown_user.queries(np.array([0], np.int32), k=1), None)
    )


@pytest.mark.parametrize("name", ["dimensions", "epochs", "unobserved_weight", "l2", "init_norm"])
def test_hyperparameters_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive.*, got 0"):
        IALS(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("l2", [1e-6, 1e-12, 1e-30])
def test_a_full_matrix_with_hardly_any_penalty(l2: float) -> None:
    """All items have the same users: conjugate gradients stop at the solution, and Cholesky is refused."""
    user, item = np.divmod(np.arange(480, dtype=np.int32), 12)
    data = dataset(user, item)
    scores = IALS(l2=l2).fit(data, rng=np.random.default_rng(0)).score(data.queries(user[:3], k=1), None)
    assert np.isfinite(scores).all()
    with pytest.raises(InputError, match=rf"ials.l2: {l2} is wrong: .*no solution in single precision.*Cure: raise l2"):
        IALS(l2=l2, conjugate_steps=0).fit(data, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="l2 must be positive and finite, got inf"):
        IALS(l2=np.inf)
    with pytest.raises(InputError, match=r"ials.l2: 1e\+30 is wrong"):
        IALS(l2=1e30).fit(data, rng=np.random.default_rng(0))
