"""Deep rankers: the behaviour that all of them inherit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pasand import models
from pasand.contracts import PredictsRatings
from pasand.errors import InputError
from pasand.models.rankers.ranker import DeepRanker
from pasand.training import loop
from tests.logs import tastes

pytest.importorskip("torch")
RANKERS = [model for model in models.classes().values() if issubclass(model, DeepRanker)]
every_ranker = pytest.mark.parametrize("model", RANKERS, ids=lambda model: model.__name__)
FEW: dict[str, Any] = {"epochs": 2, "dimensions": 4, "batch_size": 256}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_members_are_found() -> None:
    assert {"GMF", "MLP", "NeuMF"} <= {model.__name__ for model in RANKERS}


@every_ranker
def test_a_graph_scores_as_torch_does(model: Any) -> None:
    data = tastes()
    fitted = model(**FEW).fit(data, rng=rng())
    queries = data.queries(np.array([3, 0, 7], np.int32), k=3)
    items = np.array([[0, 5, -1], [2, 2, 400], [29, 1, 0]], np.int32)
    expected_scores = fitted.score(queries, items)
    served = model(**FEW)
    served.load_state(fitted.state())
    served.use(fitted.export())
    assert served._network is None
    np.testing.assert_allclose(served.score(queries, items), expected_scores, atol=1e-5)
    np.testing.assert_allclose(served.score(queries, None), fitted.score(queries, None), atol=1e-5)
    assert {"rank"} <= set(served.export()) <= {"rank", "item", "rank_items"}
    one = np.vstack([served.score(queries.take(np.array([b])), items[[b]]) for b in range(3)])
    np.testing.assert_allclose(one, expected_scores, atol=1e-5)


@every_ranker
def test_ratings_are_predicted(model: Any) -> None:
    data = tastes(n_users=200)
    if "objective" not in model.__dataclass_fields__:
        pytest.skip("it predicts no ratings")
    assert not isinstance(model(), PredictsRatings)
    settings: Any = {"epochs": 40, "dimensions": 16, "batch_size": 64, "learning_rate": 0.01}
    fitted = model(**settings, objective="ratings").fit(data, rng=rng())
    assert isinstance(fitted, PredictsRatings)
    users = np.arange(30, dtype=np.int32)
    predicted = fitted.predict(data.queries(users, k=3), np.tile(np.arange(30, dtype=np.int32), (30, 1)))
    assert ((predicted >= 2) & (predicted <= 5)).all()
    own = np.arange(30)[None, :] % 3 == users[:, None] % 3
    assert predicted[own].mean() > predicted[~own].mean() + 0.5
    unknown_user = fitted.predict(data.queries(np.array([-1], np.int32), k=3), np.array([[0, -1]], np.int32))
    assert np.isfinite(unknown_user).all()


@every_ranker
def test_it_resumes_to_the_same_bits(model: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pasand.training import checkpoints

    data, fit = tastes(), model(**FEW | {"epochs": 3})
    whole = model(**FEW | {"epochs": 3}).fit(data, rng=rng())
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    done = [0]
    keep = loop._Run._save

    def dies(run: Any) -> None:
        keep(run)
        done[0] += 1
        if done[0] == 2:
            raise KeyboardInterrupt

    with checkpoints.saving_to(tmp_path / "kept"):
        monkeypatch.setattr(loop._Run, "_save", dies)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(data, rng=rng())
        fit.fit(data, rng=rng())
    queries = data.queries(np.arange(5, dtype=np.int32), k=3)
    assert np.array_equal(fit.score(queries, None), whole.score(queries, None))


def test_networks_are_those_of_the_paper() -> None:
    import torch

    from pasand.layers.ncf import NCF, DensePath, ProductPath

    torch.manual_seed(0)
    product, layers = ProductPath(3, 4, 2), DensePath(3, 4, {"user.age": -2}, 2, (3,), 0.0)
    inputs = {
        "user": torch.tensor([1, 3]),
        "item": torch.tensor([4, 0]),
        "user.age": torch.tensor([[0.5, 1.0], [-1.0, 1.0]]),
    }
    single = {"product": NCF({"product": product}), "layers": NCF({"layers": layers})}
    p, q = product.users.weight[[1, 3]], product.items.weight[[4, 0]]
    output = single["product"].output
    by_hand = (p * q) @ output.weight[0] + output.bias
    torch.testing.assert_close(single["product"].rank(inputs), by_hand)
    joined = torch.cat(
        [layers.users.weight[[1, 3]], layers.items.weight[[4, 0]], inputs["user.age"] @ layers.sides[0].weight.T], dim=1
    )
    hidden = torch.relu(joined @ layers.dense[0].weight.T + layers.dense[0].bias)
    output = single["layers"].output
    torch.testing.assert_close(single["layers"].rank(inputs), hidden @ output.weight[0] + output.bias)
    both = NCF({"product": ProductPath(3, 4, 2), "layers": DensePath(3, 4, {"user.age": -2}, 2, (3,), 0.0)})
    both.load_pretrained(
        {name: network.state_dict() for name, network in single.items()}, {"product": 0.3, "layers": 0.7}
    )
    expected = 0.3 * single["product"].rank(inputs) + 0.7 * single["layers"].rank(inputs)
    torch.testing.assert_close(both.rank(inputs), expected)


def test_wrong_settings_are_refused() -> None:
    from pasand.models.rankers.neumf import NeuMF

    with pytest.raises(ValueError, match="objective"):
        NeuMF(objective="clicks")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negatives"):
        NeuMF(negatives=0)
    from dataclasses import replace

    with pytest.raises(InputError, match="no ratings"):
        NeuMF(objective="ratings").fit(replace(tastes(), value=None, values="none"), rng=rng())
