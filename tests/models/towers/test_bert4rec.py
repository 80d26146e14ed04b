from __future__ import annotations

import numpy as np
import pytest

from pasand.models.towers.bert4rec import BERT4Rec
from tests.models.towers.test_sasrec import N, chain, queries_of


def test_the_next_item_of_a_markov_chain_is_learnt() -> None:
    model = BERT4Rec(
        dimensions=16, epochs=25, batch_size=200, history_length=6, learning_rate=0.01, dropout=0.1, patience=0
    ).fit(chain(), rng=np.random.default_rng(0))
    scores = model.score(queries_of([[(i - 2) % N, (i - 1) % N, i] for i in range(N)]), None)
    assert scores.argmax(axis=1).tolist() == [(i + 1) % N for i in range(N)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_share": 0.0}, "mask_share must be above 0 and at most 1, got 0.0"),
        ({"mask_last_share": 1.5}, "mask_last_share must be between 0 and 1, got 1.5"),
    ],
)
def test_impossible_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BERT4Rec(**options)  # type: ignore[arg-type]
