"""Items are candidates from their release on: lists, ground truth, encoders and coverage know no later item."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasand.contracts import Model
from pasand.data.dataset import Dataset
from pasand.data.features import AVAILABLE_FROM, TIME_UNKNOWN, Feature
from pasand.data.impressions import Impressions
from pasand.data.updates import NewEvents, append_events
from pasand.evaluation.compare import NEWEST, compare, evaluate_entry, model_entry
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols import names, protocol
from pasand.evaluation.protocols.temporal import Temporal
from pasand.evaluation.split import WHOLE_CATALOGUE, Split
from pasand.models.classical.content import Content
from pasand.models.classical.item_knn import ItemKNN
from pasand.models.classical.newest import Newest
from pasand.models.classical.popularity import Popularity
from pasand.models.classical.random import Random
from pasand.recommender import Recommender, fallback_chain
from pasand.types import Rows
from tests.evaluation.logs import SEEDS, Event, log, random_log

RNG = np.random.default_rng
GENRES = ("drama", "comedy", "opera")


def dated(seed: int) -> Dataset:
    """Return a random log with as many unseen items as seen ones; a third of the releases is unknown."""
    seen, rng = random_log(seed, n_items=8), RNG(seed)
    data = replace(seen, item_features={}).with_items([f"new{n}" for n in range(seen.n_items)], {})
    release = rng.integers(-5, 30, data.n_items)
    release[rng.random(data.n_items) < 1 / 3] = TIME_UNKNOWN
    genre = Feature(kind="categorical", values=rng.integers(0, 3, data.n_items).astype(np.int32), names=GENRES)
    return replace(data, item_features={AVAILABLE_FROM: Feature(kind="time", values=release), "genre": genre})


def is_available(data: Dataset, item: int, time: int) -> bool:
    """Return by a scan of the log whether an item can be recommended at a time."""
    release = int(data.item_features[AVAILABLE_FROM].values[item])
    if release != TIME_UNKNOWN:
        return release <= time
    first = [t for i, t in zip(data.item.tolist(), data.time.tolist(), strict=True) if i == item][:1]
    return not first or first[0] < time


@pytest.mark.parametrize("options", [{}, {"histories": "frozen"}, {"queries_per_user": 2}])
@given(seed=SEEDS, model=st.sampled_from([Random(), Newest(), Popularity(), ItemKNN(), Content()]))
@settings(max_examples=15)
def test_no_list_and_no_ground_truth_holds_an_item_before_its_release(
    options: dict[str, Any], seed: int, model: Model
) -> None:
    data = dated(seed)
    for split in Temporal(**options).split(data):
        recommender = fallback_chain(model.fit(split.train, rng=RNG(0)), Popularity().fit(split.train, rng=RNG(0)))
        for batch in split.list_batches(0):
            lists = recommender(batch.queries)
            for b, time in enumerate(batch.queries.time.tolist()):
                offered = {i for i in range(data.n_items) if is_available(data, i, time)}
                history = set(batch.queries.history[b].tolist())
                assert set(lists.items[b].tolist()) - {-1} == offered - history
                assert set(batch.relevant.items[b].tolist()) - {-1} <= offered
                assert batch.relevant.catalogue[b] == len(offered - history)


@pytest.mark.parametrize("histories", ["live", "frozen"])
@given(seed=SEEDS)
@settings(max_examples=15)
def test_positives_on_items_that_were_not_available_are_counted(histories: Any, seed: int) -> None:
    data = dated(seed)
    (split,) = Temporal(histories=histories, queries_per_user=1000).split(data)
    cut = len(split.train)
    pairs = list(zip(data.user.tolist(), data.item.tolist(), strict=True))
    positive = [e for e in range(cut, len(data)) if data.is_positive[e] and pairs[e] not in pairs[:e]]
    at = [int(data.time[e]) if histories == "live" else int(data.time[cut]) for e in positive]
    missing = sum(not is_available(data, int(data.item[e]), time) for e, time in zip(positive, at, strict=True))
    assert split.n_unavailable == missing
    assert len(split.test_queries.item) == len(positive) - missing
    assert split.rules["not available"].startswith(f"{missing} positive")


@given(seed=SEEDS)
@settings(max_examples=15)
def test_a_part_of_a_log_keeps_the_times_of_the_whole(seed: int) -> None:
    data = dated(seed)
    rng = RNG(seed)
    parts = [data.before(10), data.select(rng.random(len(data)) < 0.5), data.positives(), data.before(20).before(5)]
    parts += [part for name in ("temporal", "folds") for s in protocol(name).split(data) for part in (s.train, s.test)]
    for part in parts:
        assert np.array_equal(part.available_from, data.available_from)
        end = int(part.time[-1]) + 1 if len(part) else np.iinfo(np.int64).max
        expected = [is_available(data, i, end) or i in part.item for i in range(data.n_items)]
        assert part.known_items.tolist() == expected


def test_an_item_is_known_after_it_was_first_shown_or_watched() -> None:
    shown = Impressions(
        user=np.array([0], np.int32),
        item=np.array([1], np.int32),
        time=np.array([2]),
        position=np.array([1], np.int32),
        clicked=np.array([False]),
    )
    events: list[Event] = [("ann", "a", 5, 5), ("ann", "b", 6, 5), ("bob", "b", 7, 5)]
    data = replace(log(events, released=None), impressions=shown).with_items(["c"], {})
    assert data.available_from.tolist() == [6, 3, TIME_UNKNOWN]
    assert data.before(6).with_items(["d"], {}).available_from.tolist() == [6, 3, TIME_UNKNOWN, TIME_UNKNOWN]
    more = NewEvents(user=["bob"], item=["c"], time=np.array([9]), value=np.array([5], np.float32))
    assert append_events(data.before(6), more).available_from.tolist() == [6, TIME_UNKNOWN, 10]
    assert replace(data, order="sequence").available_from.tolist() == [TIME_UNKNOWN] * 3


def test_the_first_user_of_an_item_without_a_release_cannot_be_given_it() -> None:
    events: list[Event] = [("ann", "a", 1, 5), ("bob", "a", 2, 5), ("cat", "b", 3, 5), ("dan", "b", 4, 5)]
    (split,) = Temporal(train_share=0.5).split(log(events, released=None))
    assert split.n_unavailable == 1
    assert split.train.users.ids(split.test_queries.user) == ["dan"]
    (split,) = Temporal(train_share=0.5).split(log(events, released=3))
    assert split.train.users.ids(split.test_queries.user) == ["cat", "dan"]


def test_protocols_that_offer_the_whole_catalogue_say_so() -> None:
    data = dated(3)
    at_the_end = {"cold-items", "newest-items"}  # their queries are later than all events
    for name in set(names()) - {"sampled-negatives"} - at_the_end:
        for split in protocol(name).split(data):
            whole = split.available_from is None
            assert whole == (name != "temporal")
            assert (WHOLE_CATALOGUE in (split.leakage or "")) == whole
            assert split.n_unavailable == 0 or not whole


def changed(data: Dataset, which: Rows) -> Dataset:
    """Return the data with other features of some items."""
    features = dict(data.item_features)
    for name in ("genre", "year", "plot"):
        values = features[name].values.copy()
        values[which] = {"genre": 2, "year": 9999, "plot": "a spoiler about spoiler heroes"}[name]
        features[name] = replace(features[name], values=values)
    return replace(data, item_features=features)


def test_nothing_is_learnt_from_the_features_of_later_items() -> None:
    rng, n = RNG(0), 40
    events = [(f"u{rng.integers(12)}", f"i{rng.integers(n):02}", t, float(rng.integers(3, 6))) for t in range(600)]
    data = log(events, released=None)
    plots = np.array([f"{rng.choice(GENRES)} {rng.choice(['in', 'of'])} night" for _ in range(n)], "T")
    data = replace(
        data,
        item_features={
            AVAILABLE_FROM: Feature(kind="time", values=np.where(np.arange(n) % 2, 0, 10_000)),
            "genre": Feature(kind="categorical", values=rng.integers(0, 2, n).astype(np.int32), names=GENRES),
            "year": Feature(kind="number", values=rng.integers(1950, 2020, n).astype(np.float32)),
            "plot": Feature(kind="text", values=plots),
        },
    )
    data = data.select(data.item % 2 == 1)
    later = np.flatnonzero(~data.known_items).astype(np.int32)
    assert len(later) == n // 2
    one, other = (Content(dimensions=4).fit(d, rng=RNG(0)) for d in (data, changed(data, later)))
    for name, learnt in one.state().items():
        if name not in ("values", "columns", "offsets"):  # the rows of all items
            assert np.array_equal(learnt, other.state()[name]), name
    rows = np.flatnonzero(data.known_items).astype(np.int32)
    queries = data.queries(np.arange(data.n_users, dtype=np.int32), k=5)
    items = np.broadcast_to(rows, (len(queries), len(rows)))
    assert np.array_equal(one.score(queries, items), other.score(queries, items))
    spoiled = Content().fit(changed(data, rows[:20]), rng=RNG(0))
    assert "plot: spoiler" in spoiled._blocks.column_names()
    assert "plot: spoiler" not in other._blocks.column_names()


def test_coverage_is_of_the_items_that_were_candidates() -> None:
    events: list[Event] = [
        (user, item, t, 5)
        for t, (user, item) in enumerate([*[("a", "w"), ("b", "w"), ("a", "x"), ("b", "y")] * 3, ("c", "x")])
    ]
    data = log(events).with_items(["later", "much later"], {})
    release = Feature(kind="time", values=np.array([0, 0, 0, 10_000, 10_000]))
    (split,) = Temporal(train_share=0.9).split(replace(data, item_features={AVAILABLE_FROM: release}))
    everything = fallback_chain(Popularity().fit(split.train, rng=RNG(0)))
    assert split.offered.tolist() == [True] * 3 + [False] * 2
    assert evaluate(everything, split, ["coverage@5"], rng=RNG(0)).overall["coverage@5"].mean == 1


def test_the_newest_available_items_come_first_and_unseen_ones_before_them() -> None:
    day = 86_400
    events: list[Event] = [("ann", f"i{n}", 10 * day, 5) for n in range(3)]
    data = log(events).with_items([f"j{n}" for n in range(40)], {})
    days = np.array([3, 1, 2, *[5] * 20, *[6] * 19, 12])
    data = replace(data, item_features={AVAILABLE_FROM: Feature(kind="time", values=days * day)})
    model = Newest().fit(data, rng=RNG(0))
    users = np.arange(-1, 1, dtype=np.int32)
    queries = data.queries(users, k=60, time=np.array([11 * day, 11 * day]))
    found = Recommender(fallback_chain(model).retriever, filters=())(queries).items
    assert (found[:, -1] == -1).all()  # the last one is not released
    for row in found:
        assert days[row[:42]].tolist() == [6] * 19 + [5] * 20 + [3, 2, 1]
    assert found[0, :19].tolist() != found[1, :19].tolist()
    at_twelve = model.score(data.queries(users, k=1, time=np.array([12 * day] * 2)), None)
    assert (at_twelve.argmax(axis=1) == 42).all()


def cold_log() -> Dataset:
    """Return a log of 90 days; half of the items are released in its second half, and users choose at random."""
    rng, day = RNG(1), 86_400
    release = np.r_[np.zeros(60, np.int64), np.sort(rng.integers(45 * day, 89 * day, 60))]
    events: list[Event] = []
    for t in np.sort(rng.integers(0, 90 * day, 6000)).tolist():
        events.append((f"u{rng.integers(400)}", f"i{rng.integers(np.searchsorted(release, t, side='right')):03}", t, 5))
    data = log(events, released=None)
    known = release[[int(name[1:]) for name in data.items.series.to_list()]]
    return replace(data, item_features={AVAILABLE_FROM: Feature(kind="time", values=known)})


def test_newness_alone_finds_no_more_cold_items_than_chance() -> None:
    data = cold_log()
    (split,) = Temporal().split(data)
    newest = evaluate_entry(model_entry("newest", Newest()), [split], ["recall@5"], 0).evaluation
    chance = _chance_among_cold_items(split, 5)
    assert newest.cold_items["recall@5"].low <= chance <= newest.cold_items["recall@5"].high


def _chance_among_cold_items(split: Split, k: int) -> float:
    """Return the mean over users of the chance to find a cold item among k random available cold ones."""
    by_user: dict[int, list[float]] = {}
    for batch in split.list_batches(k):
        relevant = split.only_cold_items(batch.relevant).items
        for b in np.flatnonzero((relevant >= 0).any(axis=1)).tolist():
            allowed = np.ones(split.train.n_items, np.bool_)
            if batch.queries.allowed is not None:
                allowed = batch.queries.allowed[min(b, len(batch.queries.allowed) - 1)].copy()
            allowed[batch.queries.history[b][batch.queries.history[b] >= 0]] = False
            n = int((allowed & split.cold_items).sum())
            by_user.setdefault(int(batch.queries.users[b]), []).append(min(1.0, k / n))
    return float(np.mean([np.mean(values) for values in by_user.values()]))


def test_compare_shows_the_newest_items_first_beside_cold_items() -> None:
    found = compare(cold_log(), [], protocol("temporal"))
    (newest,) = [result for result in found.results if result.name == NEWEST]
    assert newest.role == "for cold items"
    assert newest.against_popularity is None
    assert newest.name not in found.baselines
    (shown,) = [model for model in found.as_json()["models"] if model["name"] == NEWEST]
    assert shown["role"] == "for cold items"
    assert shown["cold_items"]["ndcg@10"]["mean"] == newest.evaluation.cold_items["ndcg@10"].mean
    no_cold_items = compare(cold_log().before(40 * 86_400), [], protocol("temporal"))
    assert [result.name for result in no_cold_items.results if result.name == NEWEST] == []
