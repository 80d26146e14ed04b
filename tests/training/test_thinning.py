"""Training weights of deep models: how often an example is drawn, and what a pushed item gains."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pasand.contracts import Model
from pasand.features.training_weights import COLUMN
from pasand.models.deep_model import DeepModel
from pasand.training.fused_softmax import multi_positive_softmax
from pasand.training.thinning import thinned, weight_tensor
from tests.models.test_contract import FEW_EVENTS, MODELS, dataset

CPU = torch.device("cpu")
DEEP = [model for model in MODELS if issubclass(model, DeepModel)]
N_GENUINE, N_FAKE, N_ITEMS = 60, 30, 24
PUSHED = N_ITEMS - 1


def test_an_example_is_drawn_with_the_probability_of_its_weight() -> None:
    generator, order = torch.Generator().manual_seed(0), torch.arange(4)
    weight = weight_tensor(np.array([1, 0.5, 0, 0.1], np.float32), CPU)
    count = torch.zeros(4)
    for _ in range(2000):
        for batch in thinned(order, 3, weight, generator):
            count[batch] += 1
    assert count[0] == 2000
    assert count[2] == 0
    for which, share in ((1, 0.5), (3, 0.1)):
        assert abs(float(count[which]) / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)


def test_without_weights_or_with_weights_of_one_nothing_is_drawn() -> None:
    assert weight_tensor(None, CPU) is None
    assert weight_tensor(np.ones(3, np.float32), CPU) is None
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert [batch.tolist() for batch in thinned(torch.arange(5), 2, None, generator)] == [[0, 1], [2, 3], [4]]
    assert torch.equal(before, generator.get_state())


def test_batches_without_examples_are_left_out() -> None:
    assert list(thinned(torch.arange(5), 2, torch.zeros(5), torch.Generator())) == []


def test_the_loss_of_positives_without_weight_is_zero() -> None:
    states = torch.ones(2, 3, requires_grad=True)
    vectors, items = torch.ones(2, 1, 3), torch.zeros(2, 1, dtype=torch.long)
    loss = multi_positive_softmax(states, vectors, torch.ones(4, 3), items, torch.arange(4), torch.zeros(2, 1))
    loss.backward()
    assert loss.item() == 0
    assert states.grad is not None
    assert not states.grad.any()


@pytest.mark.parametrize("model", DEEP, ids=lambda model: model.__name__)
def test_a_pushed_item_gains_less_where_fake_profiles_have_small_weights(model: type[Model]) -> None:
    """Fake users have the popular items and the pushed one; of weight 1 they are as all others."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_GENUINE + N_FAKE, dtype=np.int32), 6)
    chosen = [rng.permutation(12 if u % 2 else PUSHED)[:6] for u in range(N_GENUINE)]
    chosen += [np.append(rng.permutation(12)[:5], PUSHED) for _ in range(N_FAKE)]
    item = np.concatenate(chosen).astype(np.int32)
    data = dataset(user, item, np.full(len(user), 5, np.float32), n_items=N_ITEMS)
    fake = user >= N_GENUINE

    def scores(weight: float) -> np.ndarray:
        weights = np.where(fake, weight, 1).astype(np.float32)
        weighed = data if math.isnan(weight) else replace(data, columns={COLUMN: weights})
        settings = {**FEW_EVENTS.get(model.__name__, {}), "patience": 0, "epochs": 12}
        trained = model(**settings).fit(weighed, rng=np.random.default_rng(0))
        return trained.score(data.queries(np.arange(N_GENUINE, dtype=np.int32), k=5), None)

    plain, ones, small = scores(math.nan), scores(1.0), scores(0.001)
    np.testing.assert_array_equal(ones, plain)
    above = [float((one[:, :PUSHED] > one[:, PUSHED:]).mean()) for one in (plain, small)]
    assert above[1] > above[0] + 0.1
