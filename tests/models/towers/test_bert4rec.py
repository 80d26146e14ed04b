from __future__ import annotations

import numpy as np
import pytest

from pasand.models.towers.bert4rec import BERT4Rec
from tests.models.towers.test_sasrec import N, asking, chain


def test_the_next_item_of_a_markov_chain_is_learnt() -> None:
    model = BERT4Rec(
        dimensions=16, epochs=25, batch_size=200, max_length=6, learning_rate=0.01, dropout=0.1, patience=0
    ).fit(chain(), rng=np.random.default_rng(0))
    scores = model.score(asking([[(i - 2) % N, (i - 1) % N, i] for i in range(N)]), None)
    assert scores.argmax(axis=1).tolist() == [(i + 1) % N for i in range(N)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0.0}, "hidden must be above 0 and at most 1, got 0.0"),
        ({"last": 1.5}, "last must be between 0 and 1, got 1.5"),
    ],
)
def test_impossible_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BERT4Rec(**options)  # type: ignore[arg-type]
