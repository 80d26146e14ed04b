"""Tests the examples for learners against the library's kernel and against torch's derivatives."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pasand.models.ratings import biased_mf as library
from pasand.models.ratings import sgd
from pasand.types import Array
from tests.logs import tastes

FOLDER = Path(__file__).parents[2] / "examples" / "from_scratch"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"from_scratch_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


mf, ncf = module("biased_mf"), module("neural_cf")


def test_an_epoch_of_mf_equals_that_of_the_library() -> None:
    rng, n = np.random.default_rng(3), 400
    visits = {"user": rng.integers(0, 12, n), "item": rng.integers(0, 9, n), "value": rng.integers(1, 6, n) * 1.0}
    parameters = {
        "user_bias": rng.normal(size=12),
        "item_bias": rng.normal(size=9),
        "user_vectors": rng.normal(size=(12, 5)),
        "item_vectors": rng.normal(size=(9, 5)),
    }
    reference = [values.copy() for values in parameters.values()]
    for rate in (0.05, 0.02, 0.01):
        rmse = mf.epoch(parameters, visits, 3.2, rate, 0.1, 0.04)
        total = sgd.run_epoch(*reference, *visits.values(), 3.2, rate, 0.1, 0.04)
        assert rmse == pytest.approx(np.sqrt(total / n), abs=1e-9)
    for (name, own), other in zip(parameters.items(), reference, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-9, err_msg=name)


def test_mf_learns_the_same_parameters_as_the_library() -> None:
    """With the same initial vectors and the same order of ratings, drawn as the library draws them."""
    data, epochs = tastes(), 4
    assert data.value is not None
    fitted = library.BiasedMF(dimensions=6, epochs=epochs, validation_share=0).fit(data, rng=np.random.default_rng(7))
    rng, mean = np.random.default_rng(7), float(np.mean(data.value, dtype=np.float64))
    parameters: dict[str, Array] = {"user_bias": np.zeros(data.n_users), "item_bias": np.zeros(data.n_items)}
    for side, n in (("user_vectors", data.n_users), ("item_vectors", data.n_items)):
        parameters[side] = (rng.standard_normal((n, 6), np.float32) * np.float32(0.02)).astype(np.float64)
    for name, events, n in (("user_vectors", data.user, data.n_users), ("item_vectors", data.item, data.n_items)):
        parameters[name][np.bincount(events, minlength=n) == 0] = 0
    order = rng.permutation(len(data))
    visits = (data.user[order], data.item[order], data.value[order])
    for n in range(epochs):
        codes = [
            code[rng.integers(0, sgd.GROUPS, rows)]
            for code, rows in ((sgd.USER_CODES, data.n_users), (sgd.ITEM_CODES, data.n_items))
        ]
        with ThreadPoolExecutor(2) as pool:
            visits, ends = sgd.sort_by_block(pool, visits, codes[0], codes[1])
        quarters = [np.arange(ends[64 * q], ends[64 * q + 64]) for q in (0, 3, 1, 2)]
        user, item, value = (column[np.concatenate(quarters)] for column in visits)
        mf.epoch(parameters, {"user": user, "item": item, "value": value.astype(float)}, mean, 0.02 * 0.98**n)
    learnt = fitted.state()
    for name, own in parameters.items():
        assert np.abs(learnt[name]).max() > 0.01
        np.testing.assert_allclose(own, learnt[name], atol=1e-6, err_msg=name)


def network(parameters: dict[str, Any], users: Array, items: Array, liked: Array) -> Any:
    """Return torch's loss of the same network."""
    x = torch.cat([parameters["users"][users], parameters["items"][items]], dim=1)
    x = torch.relu(x @ parameters["weight0"] + parameters["bias0"])
    x = torch.relu(x @ parameters["weight1"] + parameters["bias1"])
    logits = (x @ parameters["weight2"] + parameters["bias2"])[:, 0]
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(liked, dtype=torch.float64))


def batch(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    return rng.integers(0, 7, 40), rng.integers(0, 11, 40), rng.integers(0, 2, 40)


def test_gradients_equal_those_of_torch() -> None:
    rng = np.random.default_rng(1)
    own = ncf.start(7, 11, 4, rng)
    own |= {name: rng.normal(size=values.shape) for name, values in own.items() if name.startswith("bias")}
    reference = {name: torch.tensor(values, requires_grad=True) for name, values in own.items()}
    users, items, liked = batch(rng)
    loss, gradients = ncf.loss_and_gradients(own, users, items, liked)
    expected = network(reference, users, items, liked)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    assert gradients.keys() == reference.keys()
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 1e-4, name
        np.testing.assert_allclose(gradient, reference[name].grad.numpy(), atol=1e-12, err_msg=name)


def test_training_steps_equal_those_of_torch() -> None:
    rng = np.random.default_rng(2)
    own = ncf.start(7, 11, 4, rng)
    reference = {name: torch.tensor(values.copy(), requires_grad=True) for name, values in own.items()}
    adam, peer = ncf.Adam(own, 0.01), torch.optim.Adam(list(reference.values()), lr=0.01)
    before = {name: values.copy() for name, values in own.items()}
    for _ in range(20):
        users, items, liked = batch(rng)
        adam.step(ncf.loss_and_gradients(own, users, items, liked)[1])
        peer.zero_grad()
        network(reference, users, items, liked).backward()
        peer.step()
    for name, values in own.items():
        assert np.abs(values - before[name]).max() > 0.01, name
        np.testing.assert_allclose(values, reference[name].detach().numpy(), atol=1e-6, err_msg=name)


def test_neural_cf_learns_the_tastes() -> None:
    data = tastes()
    model = ncf.NeuralCF(epochs=40, batch_size=64).fit(data, rng=np.random.default_rng(0))
    queries = data.queries(np.arange(data.n_users, dtype=np.int32), k=5)
    first = np.argsort(-model.score(queries, None), axis=1)[:, :5]
    assert np.mean(first % 3 == np.arange(data.n_users)[:, None] % 3) > 0.9
    unknown = data.queries(np.array([-1], np.int32), k=5)
    assert np.isneginf(model.score(unknown, None)).all()


@pytest.mark.parametrize("name", ["biased_mf", "neural_cf"])
def test_scripts_print_their_table(name: str) -> None:
    script = [sys.executable, str(FOLDER / f"{name}.py"), "bollywood:n_users=40"]
    output = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert "temporal" in output
    rows = {line[:14].strip(): line[14:].split() for line in output.splitlines()[-3:]}
    assert list(rows) == ["popularity", "from scratch", "pasand"]
    for row in rows.values():
        assert 0 <= float(row[0]) <= 1
        assert name == "neural_cf" or 0.5 < float(row[3]) < 2
