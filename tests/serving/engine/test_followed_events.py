"""Popularity in a server counts the stored events: what is served is what an evaluation measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle as bundles
from pasand import recipe
from pasand.bundle import Bundle
from pasand.data.dataset import Dataset
from pasand.following import followers, following
from pasand.models.classical.popularity import Popularity
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.event_feed import CHUNK, EventFeed, catch_up
from pasand.serving.engine.variant import Variant
from pasand.serving.refresh.training_data import gather
from pasand.serving.schemas import RecommendRequest
from pasand.serving.states.contract import Event
from pasand.serving.states.sqlite import connect
from pasand.types import Array, Queries
from tests.logs import tastes
from tests.serving.conftest import Served

RECIPE = """
[month]
class = "pasand.models.classical.popularity:Popularity"
window_days = 30

[decayed]
class = "pasand.models.classical.popularity:Popularity"
half_life_days = 7

[all]
class = "pasand.models.classical.popularity:Popularity"

[from_month]
class = "pasand.stages.retrieval:FromModel"
model = "@month"

[from_decayed]
class = "pasand.stages.retrieval:FromModel"
model = "@decayed"

[from_all]
class = "pasand.stages.retrieval:FromModel"
model = "@all"

[merged]
class = "pasand.stages.retrieval:Merge"
retrievers = ["@from_month", "@from_decayed", "@from_all"]

[recommender]
class = "pasand.recommender:Recommender"
retriever = "@merged"
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    data = tastes()
    bundles.write(tmp_path / "bundle", recipe.build(RECIPE).fit(data, seed=0), data, seed=0)
    return tmp_path / "bundle"


def posted(data: Dataset, n: int, seed: int = 0) -> list[Event]:
    """Return n events after the data, in order of time, of known users and a new one, and one of an unknown item."""
    rng, start = np.random.default_rng(seed), int(data.time[-1]) + 1
    events = []
    for i in range(n):
        user = str(rng.choice([*data.users.ids(range(5)), "new"]))
        item = data.items.ids([int(rng.integers(data.n_items))])[0]
        events.append(Event(f"e{seed}-{i}", user, item, start + 50 * i, float(rng.choice([1.0, 5.0]))))
    return [*events, Event(f"x{seed}", "new", "no such item", start + 50 * n)]


def scores(bundle: Bundle, queries: Queries) -> list[Array]:
    parts = bundle.assembly.components
    return [parts[name].score(queries, None) for name in ("month", "decayed", "all")]


def anonymous(data: Dataset, time: int) -> Queries:
    return data.queries(np.array([-1], np.int32), k=3, time=np.array([time]))


def test_served_scores_are_those_of_an_evaluation_on_the_longer_log(bundle: Path, tmp_path: Path) -> None:
    state = connect(str(tmp_path / "state.sqlite"))
    variant = Variant.read("main", str(bundle))
    data = variant.bundle.data
    before = scores(variant.bundle, anonymous(data, int(data.time[-1]) + 1))
    state.append(posted(data, CHUNK + 200))
    catch_up(variant.followed, state)
    assert variant.followed.upto == state.last() == CHUNK + 201
    now = int(data.time[-1]) + 90_000
    (response,) = Engine([variant], state, lambda: now).responses([RecommendRequest(k=3)])
    evaluated, gathered = bundles.read(bundle), gather(bundles.read(bundle), state).data
    queries = anonymous(gathered, now)
    with following(evaluated.assembly.recommender, gathered):
        expected = scores(evaluated, queries)
        found = evaluated.assembly.recommender(queries)
    for own, other, old in zip(scores(variant.bundle, queries), expected, before, strict=True):
        np.testing.assert_array_equal(own, other)
        assert (own != old).any()
    assert [item.item_id for item in response.items] == gathered.items.ids(found.items[0])
    assert [item.score for item in response.items] == found.scores[0].tolist()


def test_the_feed_counts_the_events_of_any_process(bundle: Path, tmp_path: Path) -> None:
    state = connect(str(tmp_path / "state.sqlite"))
    variants = [Variant.read(name, str(bundle)) for name in ("a", "b")]
    data = variants[0].bundle.data
    waiting: list[Callable[[], None]] = []
    feed = EventFeed(state, lambda: [variant.followed for variant in variants])
    feed.start(waiting.append)

    def until_counted(number: int) -> None:
        for _ in range(400):
            while waiting:
                waiting.pop(0)()
            if all(variant.followed.upto == number for variant in variants):
                return
            time.sleep(0.02)
        raise AssertionError(f"{[variant.followed.upto for variant in variants]} of {number} events are counted")

    try:
        connect(str(tmp_path / "state.sqlite")).append(posted(data, 30))
        feed.wake()
        until_counted(31)
        connect(str(tmp_path / "state.sqlite")).append(posted(data, CHUNK + 30, seed=1))
        until_counted(CHUNK + 62)  # without being woken
    finally:
        feed.close()
    queries = anonymous(data, int(data.time[-1]) + 10**6)
    alone = bundles.read(bundle)
    with following(alone.assembly.recommender, gather(alone, state).data):
        for variant in variants:
            for own, other in zip(scores(variant.bundle, queries), scores(alone, queries), strict=True):
                np.testing.assert_allclose(own, other, rtol=1e-6)


def test_counts_of_a_forgotten_user_stay_until_the_next_fit(bundle: Path, tmp_path: Path) -> None:
    state = connect(str(tmp_path / "state.sqlite"))
    variant = Variant.read("main", str(bundle))
    data = variant.bundle.data
    state.append(posted(data, 40))
    catch_up(variant.followed, state)
    queries = anonymous(data, int(data.time[-1]) + 10**6)
    counted = scores(variant.bundle, queries)
    assert state.forget("new") > 0
    catch_up(variant.followed, state)
    for own, other in zip(scores(variant.bundle, queries), counted, strict=True):
        np.testing.assert_array_equal(own, other)
    again = Variant.read("main", str(bundle))  # a new start counts what the state still holds
    catch_up(again.followed, state)
    assert any((own != other).any() for own, other in zip(scores(again.bundle, queries), counted, strict=True))


def test_logs_without_times_are_not_followed(tmp_path: Path) -> None:
    data = tastes()
    data = replace(data, order="sequence", time=np.zeros(len(data), np.int64))
    bundles.write(tmp_path / "bundle", recipe.build(RECIPE).fit(data, seed=0), data, seed=0)
    variant = Variant.read("main", str(tmp_path / "bundle"))
    assert variant.followed.components == []
    assert all(isinstance(part, Popularity) for part in followers(variant.recommender))


def test_posted_events_change_what_a_running_server_recommends(server: Served) -> None:
    first = server.request("POST", "/v1/recommend", json={"k": 50})["items"]
    item = first[-1]["item_id"]
    events = [{"user_id": f"new {i}", "item_id": item} for i in range(2000)]
    assert server.request("POST", "/v1/events", json={"events": events})["accepted"] == 2000
    for _ in range(100):
        top = server.request("POST", "/v1/recommend", json={"k": 1})["items"][0]["item_id"]
        if top == item:
            break
        time.sleep(0.1)
    assert top == item
