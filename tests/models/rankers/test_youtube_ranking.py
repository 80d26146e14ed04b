"""YouTube's ranking: minutes calibrated on the validation split, and id dropout for new users and items."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from pasand.data.dataset import Dataset
from pasand.models.rankers.youtube_ranking import YouTubeRanking
from pasand.simulation.world import World
from pasand.training.ranking_examples import Examples, examples
from pasand.training.validation import VALIDATION_SHARE

pytest.importorskip("torch")
FEW: dict[str, Any] = {"epochs": 3, "layers": (16,), "dimensions": 4, "batch_size": 512, "learning_rate": 0.01}


@cache
def data() -> Dataset:
    return World(n_users=120, n_items=40, days=40).dataset()


@cache
def fitted(**more: Any) -> YouTubeRanking:
    return YouTubeRanking(**FEW | more).fit(data(), rng=np.random.default_rng(0))


def held_out_examples() -> Examples:
    shown = data().impressions
    assert shown is not None
    whole = examples(data(), "minutes", 4, len(shown), np.random.default_rng(0))
    return whole.select(whole.time >= shown.time[int((1 - VALIDATION_SHARE) * len(shown))])


def ratio(model: YouTubeRanking, shown: Examples) -> float:
    """Return predicted minutes over watched minutes."""
    assert shown.minutes is not None
    predicted = 0.0
    for part, queries in shown.batches():
        predicted += float(model.minutes(queries, shown.items[part]).sum())
    return predicted / float(shown.minutes.sum())


def test_predicted_minutes_match_the_watched_ones_of_the_validation_split() -> None:
    assert ratio(fitted(), held_out_examples()) == pytest.approx(1, abs=0.05)
    assert "minutes_calibration" not in fitted(refit=True, epochs=1)._learnt, "another network would score"
    assert "minutes_calibration" not in fitted(patience=0, epochs=1)._learnt, "nothing was held out"
    assert "minutes_calibration" not in fitted(objective="clicked", epochs=1)._learnt


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


def test_ids_of_some_users_and_items_are_dropped_in_training() -> None:
    import torch

    from pasand.training.tasks.ranking import RankingTask

    class Noting(torch.nn.Module):
        def rank(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            self.inputs = inputs
            return torch.zeros(len(inputs["pair"]), requires_grad=True)

    shown_examples = examples(data(), "clicked", 4, 4000, np.random.default_rng(0))
    n = shown_examples.items.size
    codes = {"user": np.ones((len(shown_examples), 1), np.int64), "age": np.ones((len(shown_examples), 1), np.int64)}
    for share in (0.0, 0.3):
        task = RankingTask(
            Noting(),
            shown_examples,
            codes,
            {"item": np.ones((40, 1), np.int64)},
            np.zeros((n, 1), np.float32),
            objective="clicked",
            scale=(0, 1),
            positions=False,
            id_dropout=share,
            batch_size=4000,
            device=torch.device("cpu"),
        )
        generator = torch.Generator().manual_seed(0)
        (batch,) = task.batches(generator)
        task.loss(batch, generator)
        unknown = {name: float((values == 0).float().mean()) for name, values in task.network.inputs.items()}
        assert unknown["user"] == pytest.approx(share, abs=0.03)
        assert unknown["item"] == pytest.approx(share, abs=0.03)
        assert unknown["age"] == 0, "features are read with and without the id"
    both = (task.network.inputs["user"] == 0) & (task.network.inputs["item"] == 0)
    assert float(both.float().mean()) == pytest.approx(0.09, abs=0.02), "each by itself"
    with pytest.raises(ValueError, match="id_dropout must be at least 0 and below 1"):
        YouTubeRanking(id_dropout=1.0)
