"""The estimate of memory before training."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.memory_estimate import Estimate
from pasand.errors import InputError
from pasand.evaluation.isolation import in_own_process
from pasand.evaluation.memory_estimate import CLEAR, check_memory, peak_mb, reset_peak, training_memory
from pasand.models.classical.ease import EASE
from pasand.models.classical.ials import IALS
from pasand.models.classical.slit import SLIT
from pasand.models.rankers.gmf import GMF
from pasand.models.towers.bpr_mf import BPRMF
from tests.evaluation.test_compare import tastes
from tests.models.test_contract import MODELS, clusters, dataset, log_for


def test_deep_models_hold_their_tables_five_times() -> None:
    data = tastes()
    rows = data.n_users + data.n_items
    assert training_memory(data, []).model == 0
    assert training_memory(data, [IALS(dimensions=20)]).model == 3 * 4 * 20 * rows
    assert training_memory(data, [BPRMF(dimensions=16, averaging=0.99)]).model == 6 * 4 * 16 * rows
    # weights, gradient, Adam's two means, the best epoch; models are fitted one after another, the largest counts
    two = [IALS(dimensions=20), BPRMF(dimensions=16), GMF(dimensions=16)]
    assert training_memory(data, two).model == 5 * 4 * 16 * rows
    assert training_memory(data, [IALS(dimensions=20), EASE()]).model == max(
        3 * 4 * 20 * rows, EASE().memory_needed(data)
    )


@pytest.mark.parametrize("model", [model for model in MODELS if model.__name__ != "Random"], ids=str)
def test_every_model_that_holds_something_of_the_catalogue_has_a_forecast(model: type[Model]) -> None:
    data = log_for(model, clusters()[0])
    assert training_memory(data, [model()]).model >= 4 * data.n_items


def many_items() -> Dataset:
    """Return a log of enough items that the matrices are larger than what malloc keeps after they are freed."""
    rng = np.random.default_rng(0)
    return dataset(
        rng.integers(0, 400, 20_000).astype(np.int32), rng.integers(0, 3000, 20_000).astype(np.int32), n_items=3000
    )


def peak_of_fit(model: EASE | SLIT) -> float:
    """Return the megabytes that a fit adds to the memory of its process at the peak."""
    data = many_items()
    model.fit(data.select(slice(0, 10)), rng=np.random.default_rng(0))  # compiles, and reserves the space of BLAS
    del model._learnt["weights"]
    reset_peak()
    before = peak_mb()
    model.fit(data, rng=np.random.default_rng(0))
    return peak_mb() - before


@pytest.mark.skipif(not CLEAR.exists(), reason="the peak of memory cannot be reset on this system")
@pytest.mark.parametrize("model", [EASE(l2=200), EASE(l2=0.01), SLIT()], ids=str)
def test_the_forecast_of_item_matrices_is_within_a_factor_of_two(model: EASE | SLIT) -> None:
    measured = in_own_process(peak_of_fit, model)  # this process may hold freed memory of other tests
    data = many_items()
    forecast = model.memory_needed(data) / 2**20
    assert forecast / 2 < measured < 2 * forecast
    assert training_memory(data, [model]).model == model.memory_needed(data)


def test_what_cannot_be_held_is_refused_with_numbers_and_a_cure() -> None:
    needed = Estimate(data=1_000, model=9_000_000_000, free=8_000_000_000)
    with pytest.raises(
        InputError, match=r"slit: too large.* about 9.0 GB .* free 8.0 GB.*Cure: choose a smaller model"
    ):
        check_memory(needed, "slit")
