"""Components follow the log up to each test query, and no further, wherever histories are live."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from pasand import recipe
from pasand.contracts import Follows
from pasand.data.dataset import Dataset
from pasand.data.vocabulary import Vocabulary
from pasand.evaluation.compare import baselines, compare
from pasand.evaluation.evaluate import evaluate
from pasand.evaluation.protocols.leave_last_out import LeaveLastOut
from pasand.evaluation.protocols.temporal import Temporal
from pasand.following import followers, following
from pasand.models.classical.followed_counts import DAY
from pasand.models.classical.popularity import Popularity
from pasand.recommender import fallback_chain
from pasand.stages.boosting import Boosted
from pasand.types import Array, Candidates, Queries

N_USERS, N_ITEMS = 60, 30


def drifting() -> Dataset:
    """A log of 200 days, each with favourites of its own."""
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 200 * DAY, 3000))
    item = (time // (10 * DAY) + rng.geometric(0.3, 3000)) % N_ITEMS
    return Dataset(
        name="drifting",
        users=Vocabulary([f"u{i:02}" for i in range(N_USERS)]),
        items=Vocabulary([f"i{i:02}" for i in range(N_ITEMS)]),
        user=rng.integers(0, N_USERS, 3000).astype(np.int32),
        item=item.astype(np.int32),
        time=time + 1_500_000_000,
    )


@dataclass
class Recorded:
    """Passes queries on, and keeps them with the lists."""

    popular: Popularity
    calls: list[tuple[Queries, Candidates]] = field(default_factory=list)

    def __call__(self, queries: Queries) -> Candidates:
        self.calls.append((queries, fallback_chain(self.popular)(queries)))
        return self.calls[-1][1]


def scores_at(data: Dataset, time: int, days: int) -> Array:
    """Return the score of each item by a counter of the events before a time, (N,)."""
    earlier = data.time < time
    recent = earlier & (time - data.time < days * DAY)
    all_time = np.bincount(data.item[earlier], minlength=N_ITEMS) / earlier.sum()
    counts = np.bincount(data.item[recent], minlength=N_ITEMS)
    return ((counts + all_time) / (recent.sum() + 1)).astype(np.float32)  # type: ignore[no-any-return]


def test_evaluations_follow_the_log_where_histories_are_live() -> None:
    data = drifting()
    (split,) = Temporal().split(data)
    model = Popularity(window_days=7).fit(split.train, rng=np.random.default_rng(0))
    recorded = Recorded(model)
    live = evaluate(recorded, split, ["ndcg@10"], rng=np.random.default_rng(0))
    assert sum(len(queries) for queries, _ in recorded.calls) == len(split.test_queries) > 100
    for queries, found in recorded.calls:
        for time, items, scores in zip(queries.time.tolist(), found.items, found.scores, strict=True):
            real = items >= 0
            np.testing.assert_array_equal(scores[real], scores_at(data, time, 7)[items[real]])
    for stands_still in (Temporal(histories="frozen"), LeaveLastOut()):
        assert stands_still.split(data)[0].followed is None
    frozen = evaluate(recorded, replace(split, followed=None), ["ndcg@10"], rng=np.random.default_rng(0))
    assert live.overall["ndcg@10"].mean > frozen.overall["ndcg@10"].mean + 0.03


def test_afterwards_components_score_from_their_training_data_again() -> None:
    (split,) = Temporal().split(drifting())
    model = Popularity(half_life_days=3).fit(split.train, rng=np.random.default_rng(0))
    queries = split.test_queries.queries(np.array([len(split.test_queries) - 1]), 5)
    before = model.score(queries, None)

    def fails(queries: Queries) -> Candidates:
        assert (model.score(queries, None) != np.broadcast_to(before, (len(queries), N_ITEMS))).any()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), following([model, fails], split.followed):
        fails(queries)
    np.testing.assert_array_equal(model.score(queries, None), before)
    evaluate(fallback_chain(model), split, ["ndcg@10"], rng=np.random.default_rng(0))
    np.testing.assert_array_equal(model.score(queries, None), before)


@pytest.mark.parametrize("number", [0, 40, 120])
def test_events_from_a_query_on_change_none_of_its_lists(number: int) -> None:
    data = drifting()
    (split,) = Temporal().split(data)
    order = np.argsort(split.test_queries.time, kind="stable")
    one = order[number : number + 1]
    time = int(split.test_queries.time[one[0]])
    changed = np.where(data.time >= time, np.roll(data.item, 7), data.item).astype(np.int32)
    models = [baseline.model for baseline in baselines(data)]
    for model in models:
        assert isinstance(model, Popularity)
        model.fit(split.train, rng=np.random.default_rng(0))
        lists = []
        for log in (data, replace(data, item=changed), data.before(time)):
            with following(model, log):
                lists.append(fallback_chain(model)(split.test_queries.queries(one, N_ITEMS)))
        assert all((found.items == lists[0].items).all() for found in lists)
        assert all((found.scores == lists[0].scores).all() for found in lists)


def test_the_verdict_is_against_the_best_of_the_baselines_that_follow() -> None:
    found = compare(drifting(), [], Temporal())
    means = {result.name: result.evaluation.overall["ndcg@10"].mean for result in found.results}
    assert set(means) == {"popularity", "popularity_7_days", "popularity_30_days", "popularity_half_life"}
    assert found.best_baseline == max(means, key=means.__getitem__) != "popularity"
    assert "before the test query" in found.rules["counts"]
    timeless = replace(drifting(), order="sequence", time=np.zeros(3000, np.int64))
    assert {result.name for result in compare(timeless, [], LeaveLastOut()).results} == {"popularity"}


def test_every_counter_inside_a_recommender_is_found_once() -> None:
    for name, n in (("classic", 2), ("meta", 2), ("languages", 2)):
        assembly = recipe.read(name)
        counters = [part for part in assembly.components.values() if isinstance(part, Follows)]
        found = followers(assembly.recommender)
        assert {id(part) for part in found} == {id(part) for part in counters}
        assert len(found) >= n
    model = Popularity()
    assert followers([Boosted(models=[model]), (model, "text"), None]) == [model]


def test_stacking_learns_from_base_models_that_follow() -> None:
    pytest.importorskip("lightgbm")
    data = drifting()
    times: list[Array] = []

    class Watched(Popularity):
        def follow(self, data: Dataset | None) -> None:
            times.append(np.empty(0) if data is None else data.time)
            super().follow(data)

    recent = Watched(window_days=7)
    Boosted(models=[recent], trees=5, min_leaf_examples=1).fit(data, rng=np.random.default_rng(0))
    assert [len(time) for time in times] == [len(data), 0]
