"""Held-out positives are the latest, new to their users, and not in the training part."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasand.data.dataset import Dataset, Order
from pasand.training import validation
from pasand.training.validation import ValidationSplit, split_latest
from tests.models.test_contract import dataset


def split(data: Dataset, order: Order = "sequence", seed: int = 0) -> ValidationSplit:
    found = split_latest(replace(data, order=order), np.random.default_rng(seed))
    assert found is not None
    return found


def held_out(found: ValidationSplit) -> list[tuple[int, int, list[int]]]:
    """Return the user, held-out item and history of each query."""
    histories = [[int(item) for item in row if item >= 0] for row in found.queries.history[found.query]]
    users = found.queries.users[found.query]
    return sorted(zip(users.tolist(), found.item.tolist(), histories, strict=True))


def events(data: Dataset) -> list[tuple[int, int]]:
    return list(zip(data.user.tolist(), data.item.tolist(), strict=True))


def test_the_last_positive_of_each_user_is_held_out_with_all_later_events() -> None:
    value = np.array([5, 5, 5, 1, 5, 1, 5, 5, 5], np.float32)
    data = dataset([0, 1, 0, 0, 0, 0, 1, 2, 1], [0, 3, 1, 2, 3, 4, 4, 0, 4], value)
    found = split(data)
    # user 0: likes 3 last, rates 4 low after it; user 1 likes 4 twice, so the last is not new; user 2 likes one only
    assert held_out(found) == [(0, 3, [0, 1, 2])]
    assert events(found.train) == [(0, 0), (1, 3), (0, 1), (0, 2), (1, 4), (2, 0), (1, 4)]
    assert found.queries.time.tolist() == [4 * 3600]


def test_without_an_order_a_random_positive_is_held_out_and_nothing_else() -> None:
    data = dataset([0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 3, 1])
    held_out_items = set()
    for seed in range(20):
        found = split(data, "none", seed)
        ((user, item, history),) = held_out(found)  # user 1 has one item twice, user 2 has one
        assert user == 0
        assert sorted([item, *history]) == [0, 1, 2]
        assert len(found.train) == 5
        held_out_items.add(item)
    assert held_out_items == {0, 1, 2}


def test_without_a_user_with_two_positives_there_is_no_split() -> None:
    for order in ("time", "sequence", "none"):
        for data in (dataset([0, 1], [0, 0]), dataset([0, 0], [1, 1]), dataset([], [], n_users=2, n_items=3)):
            assert split_latest(replace(data, order=order), np.random.default_rng(0)) is None


def users_before_and_after(monkeypatch: pytest.MonkeyPatch, min_users: int) -> Dataset:
    """100 events of users 0 to 3 in turn, each item once, and of new users 4 and 5 in the last ten."""
    monkeypatch.setattr(validation, "MIN_USERS", min_users)
    user = [n % 4 for n in range(90)] + [0, 4, 1, 5, 0, 4, 1, 5, 2, 0]
    return dataset(user, list(range(100)))


def test_a_split_in_time_where_enough_users_have_positives_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    data = users_before_and_after(monkeypatch, min_users=3)
    found = split(data, "time")
    assert len(found.train) == 90
    assert found.train.time.max() < data.time[90]
    first = list(range(0, 90, 4))
    assert held_out(found) == [
        (0, 90, first),
        (0, 94, [*first, 90]),
        (0, 99, [*first, 90, 94]),
        (1, 92, list(range(1, 90, 4))),
        (1, 96, [*range(1, 90, 4), 92]),
        (2, 98, list(range(2, 90, 4))),
    ]
    assert found.queries.time[found.query].tolist() == (found.item.astype(np.int64) * 3600).tolist()


def test_positives_are_spread_over_users_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    data = users_before_and_after(monkeypatch, min_users=3)
    monkeypatch.setattr(validation, "MAX_POSITIVES", 4)
    assert sorted(user for user, _, _ in held_out(split(data, "time")))[:3] in ([0, 0, 1], [0, 1, 1])
    monkeypatch.setattr(validation, "MAX_POSITIVES", 4000)
    monkeypatch.setattr(validation, "MAX_PER_USER", 1)
    assert [user for user, _, _ in held_out(split(data, "time"))] == [0, 1, 2]


def test_the_last_of_each_user_where_few_users_have_positives_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    data = users_before_and_after(monkeypatch, min_users=4)
    found = split(data, "time")
    assert [user for user, _, _ in held_out(found)] == [0, 1, 2, 3, 4, 5]
    assert len(found.train) == 94


def test_no_more_than_the_maximum_are_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_POSITIVES", 7)
    data = dataset([n // 3 for n in range(150)], list(range(150)))
    for order in ("sequence", "none"):
        found = split(data, order)
        assert len(found.query) == 7
        assert len(found.train) == 143
    assert held_out(split(data, seed=1)) != held_out(split(data, seed=2))
    assert held_out(split(data, seed=1)) == held_out(split(data, seed=1))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.sampled_from([1.0, 5.0])), max_size=40),
    order=st.sampled_from(["time", "sequence", "none"]),
    min_users=st.integers(1, 4),
)
def test_held_out_positives_are_always_new_and_not_in_training(
    pairs: list[tuple[int, int, float]], order: Order, min_users: int
) -> None:
    columns = np.array(pairs, np.float64).reshape(-1, 3)
    data = dataset(
        columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32), columns[:, 2].astype(np.float32), n_users=5
    )
    default, validation.MIN_USERS = validation.MIN_USERS, min_users
    found = split_latest(replace(data, order=order), np.random.default_rng(0))
    validation.MIN_USERS = default
    if found is None:
        return
    liked = {(user, item) for user, item, value in pairs if value == 5}
    left = set(events(found.train))
    for user, item, history in held_out(found):
        assert (user, item) in liked
        assert (user, item) not in left
        assert item not in history
        assert any((user, other) in liked for other in history)
    assert all(a <= b for a, b in pairwise(found.train.time.tolist()))
