"""Training on a GPU gives the result of a CPU, up to rounding. Skipped without a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.models.rankers.dcn import DCN
from pasand.models.rankers.neumf import NeuMF
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.models.towers.sasrec import SASRec
from pasand.models.towers.two_tower import TwoTower
from pasand.simulation.world import World
from pasand.types import Scores

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is available")

FEW: dict[str, Any] = {"epochs": 3, "dimensions": 8, "batch_size": 256, "patience": 0}
SETTINGS: dict[type[Any], dict[str, Any]] = {
    TwoTower: {"id_dropout": 0.0},
    SASRec: {"dropout": 0.0},
    YouTubeRanking: {"layers": (16,)},
    DCN: {"layers": (16,)},
    NeuMF: {"layers": (16, 8), "pretrain_epochs": 2, "averaging": 0.9},
}
"""Without dropout, which each device draws in its own way."""
every_model = pytest.mark.parametrize("model", SETTINGS, ids=lambda model: model.__name__)


@cache
def data() -> Dataset:
    return World(n_users=120, n_items=40, days=40).dataset()


def fitted(model: type[Any], device: str, **more: Any) -> Any:
    settings = FEW | SETTINGS[model] | more
    return model(**settings, device=device).fit(data(), rng=np.random.default_rng(0))


def scores(model: Any) -> Scores:
    found: Scores = model.score(data().queries(np.arange(120, dtype=np.int32), k=10), None)
    return found


@every_model
def test_it_equals_training_on_a_cpu(model: type[Any]) -> None:
    on_gpu, on_cpu = fitted(model, "cuda"), fitted(model, "cpu")
    np.testing.assert_allclose(on_gpu.curves()["train loss"], on_cpu.curves()["train loss"], rtol=1e-3)
    np.testing.assert_allclose(scores(on_gpu), scores(on_cpu), atol=0.02)


@every_model
def test_it_learns_in_bfloat16(model: type[Any]) -> None:
    curve = fitted(model, "cuda", bf16=True, learning_rate=0.01).curves()["train loss"]
    assert np.isfinite(curve).all()
    assert curve[-1] < curve[0]


@every_model
def test_it_stops_early_and_scores_without_the_gpu(model: type[Any]) -> None:
    """The state learnt on a GPU consists of arrays, which a model on a CPU loads."""
    trained = fitted(model, "cuda", patience=1)
    served = model(**FEW | SETTINGS[model], device="cpu")
    served.load_state(trained.state())
    np.testing.assert_allclose(scores(served), scores(trained), atol=1e-5)
