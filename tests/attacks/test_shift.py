"""The gain of an attack: ranks and hit rates by hand, and what training weights leave of it."""

from __future__ import annotations

import numpy as np
import pytest

from pasand.attacks.injection import Attack
from pasand.attacks.shift import as_json, draw_targets, share_cut, shifts
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation.compare import model_entry
from pasand.models.classical.popularity import Popularity
from tests.attacks.market import market, rare_item


def positives(data: Dataset) -> np.ndarray:
    return np.bincount(data.item[data.is_positive], minlength=data.n_items)


def test_ranks_in_popularity_by_hand_and_with_training_weights() -> None:
    data, attack = market(), Attack(kind="random", share=0.05, filler=0.1)
    target = rare_item(data)
    entry = model_entry("popularity", Popularity())
    (found,) = shifts(data, [entry], attack, np.array([target], np.int32), robust=True, k=10, n_users=50)
    of = found.targets[0]
    assert of.target == data.items.ids([target])[0]
    users = np.random.default_rng([0, 1]).permutation(data.n_users)
    users = users[~np.isin(users, data.user[data.item == target])][:50]
    count = positives(data)
    order = np.lexsort([np.arange(data.n_items), -count])
    ranks = []
    for user in users:
        left = order[~np.isin(order, data.item[data.user == user])]
        ranks.append(1 + int(np.flatnonzero(left == target)[0]))
    assert of.clean.rank == pytest.approx(np.mean(ranks))
    assert of.clean.hit_rate == 0
    assert found.rank.mean == pytest.approx(of.clean.rank - of.attacked.rank)
    assert found.rank.mean > 20
    assert of.robust is not None
    assert found.cut is not None
    assert found.cut.mean > 0.8
    assert as_json(found)["cut"] == {"mean": found.cut.mean, "low": None, "high": None}


def test_shares_cut() -> None:
    one = np.array([100.0, 300.0])
    assert share_cut(one, np.zeros(2)).mean == 1
    assert share_cut(one, one).mean == 0
    assert share_cut(one, np.array([-20.0, 20.0])).mean == pytest.approx(0.9)
    assert np.isnan(share_cut(-one, one).mean)


def test_targets_are_drawn_from_items_with_few_events() -> None:
    data = market()
    targets = draw_targets(data, 5, np.random.default_rng(0))
    count = np.bincount(data.item, minlength=data.n_items)
    assert len(set(targets)) == 5
    assert ((count[targets] >= 5) & (count[targets] <= 20)).all()
    with pytest.raises(InputError, match="--target ID"):
        draw_targets(data, 250, np.random.default_rng(0))
