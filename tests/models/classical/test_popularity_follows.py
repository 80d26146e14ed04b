"""Popularity that follows a log equals a counter that counts for each query the events strictly before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.data.dataset import Dataset
from pasand.data.features import Feature
from pasand.data.vocabulary import Vocabulary
from pasand.models.classical.followed_counts import DAY
from pasand.models.classical.popularity import Popularity
from pasand.types import Array, Queries

N_USERS, N_ITEMS = 6, 5
BAGS = np.array([[0, 1], [0, -1], [1, -1], [1, 1], [-1, -1], [2, 0]], np.int32)
QUERY_BAGS = np.array([[0, -1], [2, 1], [-1, -1], [1, 1]], np.int32)


@st.composite
def logs(draw: st.DrawFn, strengths: bool) -> Dataset:
    """A log of 2 to 40 events over some days, with ties in time; values are ratings or strengths."""
    n = draw(st.integers(2, 40))
    scale = draw(st.sampled_from([1, DAY // 4, 400 * DAY]))
    integers = st.lists(st.integers(0, 30), min_size=n, max_size=n)
    time = np.sort(np.array(draw(integers), np.int64)) * scale + draw(st.sampled_from([0, 1_500_000_000]))
    value = np.array(draw(st.lists(st.sampled_from([1, 2, 4, 5, 7]), min_size=n, max_size=n)), np.float32)
    return Dataset(
        name="made",
        users=Vocabulary([f"u{i}" for i in range(N_USERS)]),
        items=Vocabulary([f"i{i}" for i in range(N_ITEMS)]),
        user=np.array(draw(integers), np.int32) % N_USERS,
        item=np.array(draw(integers), np.int32) % N_ITEMS,
        time=time,
        value=value,
        values="strength" if strengths else "rating",
        positive_from=-np.inf if strengths else 4,
        user_features={"language": Feature(kind="bag", values=BAGS, names=("hi", "ta", "te"))},
    )


def models() -> st.SearchStrategy[Popularity]:
    days = st.sampled_from([None, 0.25, 1.0, 7.3, 800.0])
    segment = st.sampled_from([None, "language"])
    return st.builds(Popularity, window_days=days, half_life_days=days, segment=segment, shrinkage=st.just(3.0))


def queries(data: Dataset, times: list[int]) -> Queries:
    users = np.full(len(times), -1, np.int32)
    features = {"language": QUERY_BAGS[np.arange(len(times)) % len(QUERY_BAGS)]}
    return data.queries(users, k=1, time=np.array(times, np.int64), features=features)


def times_around(data: Dataset) -> list[int]:
    """Times in no order: before, at and after events, and where an event leaves a window of a day."""
    found = [int(t) + shift for t in np.unique(data.time)[:12] for shift in (0, 1, DAY, DAY + 1, 90 * DAY)]
    return np.random.default_rng(0).permutation([0, *found]).tolist()  # type: ignore[no-any-return]


def counted(model: Popularity, train: Dataset, data: Dataset, time: int, bag: Array) -> Array:
    """Return the shares of the items at a time, (N,) float64, by their definition and by no code of pasand's."""
    strength = np.ones(len(data))
    if data.values == "strength" and train.value is not None and data.value is not None:
        strength = np.log2(1 + data.value / np.float32(np.median(train.value))).astype(np.float32).astype(np.float64)
    assert data.value is not None
    liked = ~(data.value < data.positive_from) & (data.time < time)
    all_time, recent = np.zeros(N_ITEMS), np.zeros(N_ITEMS)
    of_segments = np.zeros((3, N_ITEMS))
    for e in np.flatnonzero(liked):
        age = (time - data.time[e]) / DAY
        weight = strength[e] * (1 if model.half_life_days is None else 0.5 ** (age / model.half_life_days))
        weight = weight if model.window_days is None or age < model.window_days else 0
        all_time[data.item[e]] += strength[e]
        recent[data.item[e]] += weight
        for segment in set(BAGS[data.user[e]].tolist()) - {-1}:
            of_segments[segment, data.item[e]] += weight
    share = all_time / all_time.sum() if all_time.any() else np.full(N_ITEMS, 1 / N_ITEMS)
    if model.window_days is not None or model.half_life_days is not None:
        share = (recent + share) / (recent.sum() + 1)
    known = bag[bag >= 0]
    if model.segment is None or not len(known):
        return share
    own = [(of_segments[s] + model.shrinkage * share) / (of_segments[s].sum() + model.shrinkage) for s in known]
    return np.mean(own, axis=0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("strengths", [False, True])
@settings(max_examples=60)
@given(st.data())
def test_scores_equal_an_independent_counter(strengths: bool, draw: st.DataObject) -> None:
    data, model = draw.draw(logs(strengths)), draw.draw(models())
    train = data.select(slice(0, draw.draw(st.integers(1, len(data)))))
    model.fit(train, rng=np.random.default_rng(0)).follow(data)
    times = times_around(data)
    batch = queries(data, times)
    expected = [counted(model, train, data, t, batch.features["language"][b]) for b, t in enumerate(times)]
    found = model.score(batch, None)
    exact = not strengths and model.half_life_days is None and model.segment is None
    rtol, atol = (0, 0) if exact else (1e-5, 1e-12)
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=rtol, atol=atol)
    some = np.array([[2, -1, 0]] * len(times), np.int32)
    picked = np.where(some >= 0, np.take_along_axis(found, np.maximum(some, 0), 1), -np.inf)
    np.testing.assert_array_equal(model.score(batch, some), picked)


@settings(max_examples=60)
@given(st.data())
def test_events_added_one_by_one_give_the_same_bits(draw: st.DataObject) -> None:
    data, model = draw.draw(logs(strengths=True)), draw.draw(models())
    cut = draw.draw(st.integers(1, len(data)))
    model.fit(data.select(slice(0, cut)), rng=np.random.default_rng(0))
    whole, served = model, replace(model)
    served.load_state(model.state())
    served.follow(data.select(slice(0, cut)))
    served.compact()
    later = draw.draw(st.permutations(range(cut, len(data))))  # an event may come late
    later = sorted(later, key=lambda e: (data.time[e] // DAY, later.index(e)))
    for event in later:
        served.add_events(data.select(np.array([event])))
        if draw.draw(st.booleans()):
            served.score(queries(data, [int(data.time[event]) + 1]), None)
        if draw.draw(st.integers(0, 4)) == 0:
            served.compact()
    order = np.array([*range(cut), *later], np.int64)
    order = order[np.argsort(data.time[order], kind="stable")]  # ties in order of arrival, as in the log of a refresh
    whole.follow(data.select(order))
    batch = queries(data, [int(data.time[-1]) + shift for shift in (DAY, 1, 90 * DAY)])
    found, expected = served.score(batch, None), whole.score(batch, None)
    in_order = all(data.time[a] <= data.time[b] for a, b in pairwise(later))
    rtol = 0 if in_order or model.half_life_days is None else 1e-6
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=0)


@settings(max_examples=40)
@given(st.data())
def test_no_event_at_or_after_a_query_changes_its_scores(draw: st.DataObject) -> None:
    data, model = draw.draw(logs(strengths=True)), draw.draw(models())
    cut = draw.draw(st.integers(1, len(data) - 1))
    model.fit(data.select(slice(0, cut)), rng=np.random.default_rng(0))
    batch = queries(data, [int(data.time[cut])])
    model.follow(data)
    found = model.score(batch, None)
    later = data.time >= data.time[cut]
    assert data.value is not None
    other = replace(
        data,
        item=np.where(later, (data.item + 1) % N_ITEMS, data.item).astype(np.int32),
        user=np.where(later, (data.user + 1) % N_USERS, data.user).astype(np.int32),
        value=np.where(later, data.value + 3, data.value),
        time=np.where(later, data.time + DAY, data.time),
    )
    for changed in (other, data.before(int(data.time[cut]))):
        model.follow(changed)
        np.testing.assert_array_equal(model.score(batch, None), found)


def test_without_a_log_to_follow_scores_are_those_of_the_fitted_events() -> None:
    data = Dataset(
        name="made",
        users=Vocabulary(["a"]),
        items=Vocabulary(["x", "y"]),
        user=np.array([0, 0, 0], np.int32),
        item=np.array([0, 1, 1], np.int32),
        time=np.array([0, 5, 6], np.int64) * DAY,
    )
    model = Popularity(window_days=3).fit(data.select(slice(0, 1)), rng=np.random.default_rng(0))
    batch = data.queries(np.array([0], np.int32), k=1, time=np.array([7 * DAY], np.int64))
    fitted = model.score(batch, None)
    model.add_events(data)  # nothing is followed yet
    np.testing.assert_array_equal(model.score(batch, None), fitted)
    model.follow(data)
    assert model.score(batch, None).tolist() == [[pytest.approx(1 / 9), pytest.approx((2 + 2 / 3) / 3)]]
    model.follow(None)
    np.testing.assert_array_equal(model.score(batch, None), fitted)
    model.follow(replace(data, order="sequence"))
    np.testing.assert_array_equal(model.score(batch, None), fitted)
    nobody = data.queries(np.empty(0, np.int32), k=1)
    assert model.score(nobody, None).shape == (0, 2)
    empty = Popularity().fit(data.select(slice(0, 0)), rng=np.random.default_rng(0))
    empty.follow(data)
    first = data.queries(np.array([0], np.int32), k=1, time=np.array([0], np.int64))
    assert empty.score(first, None).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("options", [{}, {"window_days": 2.0}, {"half_life_days": 1.5}])
def test_queries_of_one_time_share_their_scores_until_an_event_or_a_second_comes(options: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 9 * DAY, 60))
    data = Dataset(
        name="made",
        users=Vocabulary([f"u{i}" for i in range(N_USERS)]),
        items=Vocabulary([f"i{i}" for i in range(N_ITEMS)]),
        user=rng.integers(0, N_USERS, 60).astype(np.int32),
        item=rng.integers(0, N_ITEMS, 60).astype(np.int32),
        time=time,
    )
    model = Popularity(**options).fit(data, rng=rng)  # type: ignore[arg-type]
    early, now, later = 4 * DAY, 9 * DAY, 11 * DAY

    def alone(log: Dataset, at: int) -> Array:
        """The scores in a batch of queries of different times, by a model that saw no other query."""
        model.follow(log)
        queries = log.queries(np.full(2, -1, np.int32), k=1, time=np.array([early, at]))
        scores: Array = model.score(queries, None)[1]
        return scores

    expected = [alone(log, at) for log in (data.select(slice(0, 50)), data) for at in (now, later)]
    model.follow(data.select(slice(0, 50)))
    found = []
    for new in (None, data.select(slice(50, 60))):
        if new is not None:
            model.add_events(new)
        for at in (now, later):
            for _ in range(2):
                same = model.score(data.queries(np.full(3, -1, np.int32), k=1, time=np.full(3, at)), None)
                np.testing.assert_array_equal(same, same[:1].repeat(3, axis=0))
            found.append(same[0])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if not options.get("half_life_days"):  # late events may change the last bit of decayed sums
        np.testing.assert_array_equal(found, expected)
