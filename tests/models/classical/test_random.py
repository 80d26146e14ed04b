"""Random scores are uniform, and depend on seed, user and history alone."""

from __future__ import annotations

import numpy as np

from pasand.models.classical.random import Random
from tests.models.test_contract import dataset

DATA = dataset([0, 1, 0], [0, 1, 2], n_users=200, n_items=500)


def scores(seed: int, users: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    model = Random().fit(DATA, rng=np.random.default_rng(seed))
    return model.score(DATA.queries(np.array(users, np.int32), k=1), None)


def test_scores_are_uniform() -> None:
    drawn = scores(0, list(range(200)))
    assert ((drawn >= 0) & (drawn < 1)).all()
    share = np.histogram(drawn, 10, (0, 1))[0] / drawn.size
    np.testing.assert_allclose(share, 0.1, atol=0.005)
    between = np.asarray(np.corrcoef(drawn))[np.triu_indices(200, 1)]
    assert abs(between).max() < 0.25
    assert abs(np.asarray(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel()))[0, 1]) < 0.02


def test_seed_and_user_change_the_scores_and_nothing_else_does() -> None:
    np.testing.assert_array_equal(scores(0, [0, 1])[1], scores(0, [1])[0])
    assert (scores(0, [0]) != scores(1, [0])).mean() > 0.99
    assert (scores(0, [0])[0] != scores(0, [1])[0]).mean() > 0.99
