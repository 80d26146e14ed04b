"""Test queries are grouped by the length of their history, as known by hand and for any log."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.evaluation.evaluate import Evaluation, evaluate
from pasand.evaluation.history_groups import LENGTHS, NOT_IN_TRAIN, history_groups
from pasand.evaluation.protocols import SplitsData
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.strong_generalisation import StrongGeneralisation
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import Split
from pasand.recommender import fallback_chain
from tests.evaluation.logs import SEEDS, ByRow, Event, log, random_log


def evaluated(split: Split, names: list[str]) -> Evaluation:
    """Return the evaluation of the model that recommends unseen items in the order of their rows."""
    rng = np.random.default_rng(0)
    model = ByRow().fit(split.train, rng=rng)
    return evaluate(fallback_chain(model), split, names, model=model, rng=rng)


def test_groups_of_live_histories_by_hand() -> None:
    train: list[Event] = [("old", f"i{n:02}", n, 5) for n in range(30)]
    train.append(("ann", "i30", 30, 5))
    test: list[Event] = [
        ("new", "i00", 40, 5),  # history: none; first of its list
        ("new", "i02", 41, 4),  # history: i00, of a user who is still not in train; behind i01
        ("ann", "i00", 42, 5),  # history: 1 to 5 events; all first but the fourth
        ("ann", "i01", 43, 5),
        ("ann", "i02", 44, 5),
        ("ann", "i04", 45, 5),
        ("ann", "i03", 46, 5),
        ("ann", "i07", 47, 5),  # history: 6 events; behind i05
        ("old", "i30", 48, 5),  # history: 30 events; the only item left
    ]
    (split,) = Temporal(train_share=31 / 40, queries_per_user=100).split(log(train + test))
    assert len(split.train) == 31
    found = evaluated(split, ["hit_rate@1", "rmse"])
    sizes = {group.name: (group.n_users, group.n_queries) for group in found.groups}
    assert sizes == {
        "0 events": (1, 1),
        "1-5 events": (2, 6),
        "6-20 events": (1, 1),
        "more than 20 events": (1, 1),
        "users not in train": (1, 2),
    }
    hits = {group.name: group.metrics["hit_rate@1"].mean for group in found.groups}
    assert hits == pytest.approx(
        {
            "0 events": 1,
            "1-5 events": (0 + 4 / 5) / 2,
            "6-20 events": 0,
            "more than 20 events": 1,
            "users not in train": 1 / 2,
        }
    )
    errors = {group.name: group.metrics["rmse"].mean for group in found.groups}
    assert errors["1-5 events"] == pytest.approx(np.sqrt((1 + 5 * 4) / 6))  # every rating is predicted as 3
    assert errors["users not in train"] == pytest.approx(np.sqrt((4 + 1) / 2))
    assert found.n_users == {"overall": 3, "not_in_train": 1, "cold_items": 0}
    assert found.overall["hit_rate@1"].mean == pytest.approx((1 / 2 + 4 / 6 + 1) / 3)


def test_users_not_in_train_may_have_long_histories() -> None:
    events: list[Event] = [(f"u{user}", f"i{n:02}", n, 5) for user in range(10) for n in range(user, user + 30)]
    (split,) = StrongGeneralisation(holdout_share=0.3).split(log(events))
    found = evaluated(split, ["ndcg@5"])
    by_name = {group.name: group for group in found.groups}
    assert list(by_name) == ["more than 20 events", NOT_IN_TRAIN]  # 24 of 30 events are given
    assert by_name[NOT_IN_TRAIN].n_users == found.n_users["overall"] == 3
    assert by_name[NOT_IN_TRAIN].metrics["ndcg@5"].mean == found.overall["ndcg@5"].mean


@given(lengths=st.lists(st.integers(0, 40)), seed=SEEDS)
def test_groups_by_length_partition_the_queries(lengths: list[int], seed: int) -> None:
    n_events = np.array(lengths, np.int64)
    in_train = np.random.default_rng(seed).random(len(lengths)) < 0.5
    groups = history_groups(n_events, in_train)
    assert np.array_equal(groups.pop(NOT_IN_TRAIN), ~in_train)
    assert list(groups) == list(LENGTHS)
    assert (np.sum(list(groups.values()), axis=0) == 1).all() if lengths else True
    for name, (low, high) in LENGTHS.items():
        assert [low <= n and (high is None or n <= high) for n in lengths] == groups[name].tolist()


@settings(max_examples=15)
@given(seed=SEEDS)
@pytest.mark.parametrize(
    "splitter",
    [Temporal(), Temporal(histories="frozen"), LeaveLastOut(), StrongGeneralisation(holdout_share=0.6)],
    ids=["live", "frozen", "last", "strong"],
)
def test_each_group_is_the_mean_over_users_of_their_queries_in_it(splitter: SplitsData, seed: int) -> None:
    (split,) = splitter.split(random_log(seed, n_users=12, n_items=40, n_events=150))
    test = split.test_queries
    found = evaluated(split, ["recall@5"])
    values = found.query_values["recall@5"]
    by_name = {group.name: group for group in found.groups}
    assert sum(group.n_queries for name, group in by_name.items() if name in LENGTHS) == len(test)
    in_train = set(split.train.user.tolist())
    for name, which in {
        **{name: (test.upto >= low) & (test.upto <= (high or 10**9)) for name, (low, high) in LENGTHS.items()},
        "0 events": test.upto == 0,
        NOT_IN_TRAIN: np.array([user not in in_train for user in test.user.tolist()], np.bool_),
    }.items():
        users = np.unique(test.user[which])
        assert (name in by_name and by_name[name].n_users > 0) == bool(len(users))
        if len(users):
            assert (by_name[name].n_users, by_name[name].n_queries) == (len(users), which.sum())
            means = [np.nanmean(values[which & (test.user == user)]) for user in users]
            assert by_name[name].metrics["recall@5"].mean == pytest.approx(np.nanmean(means))
