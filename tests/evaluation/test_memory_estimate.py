"""The estimate of memory before training."""

from __future__ import annotations

from pasand.evaluation.memory_estimate import training_memory
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.models.towers.bpr_mf import BPRMF
from tests.evaluation.test_compare import tastes


def test_deep_models_hold_their_tables_five_times() -> None:
    data = tastes()
    rows = data.n_users + data.n_items
    assert training_memory(data, []).model == 0
    assert training_memory(data, [IALS(dimensions=20)]).model == 3 * 4 * 20 * rows
    assert training_memory(data, [BPRMF(dimensions=16, averaging=0.99)]).model == 6 * 4 * 16 * rows
    # weights, gradient, Adam's two means, the best epoch; models are fitted one after another, the largest counts
    assert training_memory(data, [IALS(dimensions=20), BPRMF(dimensions=16), EASE()]).model == (
        5 * 4 * 16 * rows + 2 * 8 * data.n_items**2
    )
