"""YouTube's ranking: minutes that are calibrated on what was withheld, and newcomers that it has learnt to expect."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.simulation.world import World
from pasand.training.ranking_examples import Examples, examples
from pasand.training.validation import SHARE

pytest.importorskip("torch")
FEW: dict[str, Any] = {"epochs": 3, "layers": (16,), "dimensions": 4, "batch_size": 512, "learning_rate": 0.01}


@cache
def data() -> Dataset:
    return World(n_users=120, n_items=40, days=40).dataset()


@cache
def fitted(**more: Any) -> YouTubeRanking:
    return YouTubeRanking(**FEW | more).fit(data(), rng=np.random.default_rng(0))


def withheld() -> Examples:
    shown = data().impressions
    assert shown is not None
    whole = examples(data(), "minutes", 4, len(shown), np.random.default_rng(0))
    return whole.select(whole.time >= shown.time[int((1 - SHARE) * len(shown))])


def ratio(model: YouTubeRanking, asked: Examples) -> float:
    """Return minutes foreseen over minutes watched."""
    assert asked.minutes is not None
    told = 0.0
    for part, queries in asked.batches():
        told += float(model.minutes(queries, asked.items[part]).sum())
    return told / float(asked.minutes.sum())


def test_minutes_are_those_that_were_watched_of_what_was_withheld() -> None:
    assert ratio(fitted(), withheld()) == pytest.approx(1, abs=0.05)
    assert "minutes_map" not in fitted(refit=True, epochs=1)._learnt, "another network would answer"
    assert "minutes_map" not in fitted(patience=0, epochs=1)._learnt, "nothing was withheld"
    assert "minutes_map" not in fitted(objective="clicked", epochs=1)._learnt


def test_the_order_is_that_of_the_scores_and_padding_takes_no_time() -> None:
    queries = data().queries(np.arange(20, dtype=np.int32), k=5)
    items = np.column_stack([np.tile(np.arange(40, dtype=np.int32), (20, 1)), np.full(20, -1, np.int32)])
    scores, minutes = fitted().score(queries, items), fitted().minutes(queries, items)
    ordered = np.take_along_axis(minutes, np.argsort(scores, axis=1), axis=1)
    assert (np.diff(ordered, axis=1) >= 0).all()
    assert (minutes[:, -1] == 0).all()
    assert (minutes[:, :-1] > 0).all()


def test_the_map_and_the_counts_of_all_data_are_part_of_the_state() -> None:
    again = YouTubeRanking(**FEW)
    again.load_state(fitted().state())
    queries = data().queries(np.arange(5, dtype=np.int32), k=5)
    items = np.tile(np.arange(40, dtype=np.int32), (5, 1))
    np.testing.assert_allclose(again.minutes(queries, items), fitted().minutes(queries, items), rtol=1e-5)
    assert len(fitted().state()["liked_day"]) == len(data().positives())


def test_some_users_and_items_are_strangers_in_training() -> None:
    import torch

    from pasand.training.tasks.ranking import Requests

    class Noting(torch.nn.Module):
        def rank(self, told: dict[str, torch.Tensor]) -> torch.Tensor:
            self.told = told
            return torch.zeros(len(told["pair"]), requires_grad=True)

    made = examples(data(), "clicked", 4, 4000, np.random.default_rng(0))
    n = made.items.size
    codes = {"user": np.ones((len(made), 1), np.int64), "age": np.ones((len(made), 1), np.int64)}
    for share in (0.0, 0.3):
        task = Requests(
            Noting(),
            made,
            codes,
            {"item": np.ones((40, 1), np.int64)},
            np.zeros((n, 1), np.float32),
            objective="clicked",
            scale=(0, 1),
            positions=False,
            id_dropout=share,
            batch_size=4000,
            where=torch.device("cpu"),
        )
        generator = torch.Generator().manual_seed(0)
        (batch,) = task.batches(generator)
        task.loss(batch, generator)
        unknown = {name: float((values == 0).float().mean()) for name, values in task.network.told.items()}
        assert unknown["user"] == pytest.approx(share, abs=0.03)
        assert unknown["item"] == pytest.approx(share, abs=0.03)
        assert unknown["age"] == 0, "what is told of strangers is read"
    both = (task.network.told["user"] == 0) & (task.network.told["item"] == 0)
    assert float(both.float().mean()) == pytest.approx(0.09, abs=0.02), "each by itself"
    with pytest.raises(ValueError, match="strangers must be at least 0 and below 1"):
        YouTubeRanking(id_dropout=1.0)
