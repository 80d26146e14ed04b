"""The service offers no item before its release, as evaluation does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pasand import bundle, default_recipe, recipe
from pasand.data.features import AVAILABLE_FROM, TIME_UNKNOWN, Feature
from pasand.evaluation.split import Split, TestQueries
from pasand.serving.engine.engine import Engine
from pasand.serving.engine.releases import released
from pasand.serving.engine.variant import Variant
from pasand.serving.schemas import Between, RecommendRequest
from pasand.serving.states import open_state
from tests.logs import log

DAY, START = 86_400, 1_000_000
RELEASES = [0, TIME_UNKNOWN, START + 2 * DAY, START + 4 * DAY, START + 10 * DAY, START]
EVENTS = [("ann", "i0", START, 5.0), ("bob", "i1", START + DAY, 5.0), ("bob", "i5", START + 3 * DAY, 5.0)]


class Clock:
    now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path, clock: Clock) -> Engine:
    data = log(EVENTS).with_items(["i2", "i3", "i4"], {})
    ids = data.items.series.to_list()
    times = np.array([RELEASES[int(item[1:])] for item in ids])
    data = replace(data, item_features={AVAILABLE_FROM: Feature(kind="time", values=times)})
    fitted = recipe.build(default_recipe.of_model("item_knn", {})).fit(data, seed=0)
    bundle.write(tmp_path / "bundle", fitted, data, seed=0)
    return Engine([Variant.read("main", str(tmp_path / "bundle"))], open_state(str(tmp_path / "state")), clock)


def offered(engine: Engine, request: RecommendRequest | None = None) -> list[str]:
    return sorted(one.item_id for one in engine.responses([request or RecommendRequest(k=10)])[0].items)


def test_an_item_is_offered_from_its_release_on_whichever_way_the_clock_goes(engine: Engine, clock: Clock) -> None:
    for days, expected in (
        (0, ["i0", "i1", "i2", "i5"]),  # the last event is on day 3
        (3.9, ["i0", "i1", "i2", "i5"]),
        (4, ["i0", "i1", "i2", "i3", "i5"]),
        (9.9, ["i0", "i1", "i2", "i3", "i5"]),
        (11, ["i0", "i1", "i2", "i3", "i4", "i5"]),
        (5, ["i0", "i1", "i2", "i3", "i5"]),
        (0, ["i0", "i1", "i2", "i5"]),
    ):
        clock.now = START + int(days * DAY)
        assert offered(engine) == expected
        only = RecommendRequest(k=10, allow=["i3", "i4", "i0"])
        assert offered(engine, only) == sorted({"i3", "i4", "i0"} & set(expected))


def test_the_service_offers_what_an_evaluation_has_as_candidates(engine: Engine) -> None:
    data = engine.variants[0].bundle.data
    for now in range(START + 3 * DAY + 1, START + 12 * DAY, DAY // 2):
        users, one = np.array([-1], np.int32), np.array([1], np.int64)
        queries = TestQueries(
            log=data,
            user=users,
            upto=one * 0,
            time=one * now,
            start=np.arange(2),
            item=users * 0,
            value=np.ones(1, np.float32),
        )
        split = Split(
            name="", leakage=None, train=data, test=data, test_queries=queries, available_from=data.available_from
        )
        ((batch,),) = [list(split.list_batches(3))]
        allowed = engine.variants[0].allowed(RecommendRequest(), now)
        everything = np.ones((1, data.n_items), np.bool_)
        of_split = everything if batch.queries.allowed is None else batch.queries.allowed
        assert np.array_equal(everything if allowed is None else allowed, of_split)


def test_a_filter_by_release_may_name_later_ones(engine: Engine, clock: Clock) -> None:
    clock.now = START + 5 * DAY
    soon = RecommendRequest(k=10, filters={AVAILABLE_FROM: Between(min=START + 5 * DAY)})
    assert offered(engine, soon) == ["i4"]


def test_an_item_that_is_announced_or_postponed_is_offered_from_then_on(engine: Engine, clock: Clock) -> None:
    clock.now = START + 5 * DAY
    assert "i3" in offered(engine)
    engine.state.put_item("i3", {AVAILABLE_FROM: START + 6 * DAY})
    engine.sync()
    assert "i3" not in offered(engine)
    engine.state.remove_item("i2")
    engine.sync()
    assert "i2" not in offered(engine)
    clock.now = START + 7 * DAY
    assert "i3" in offered(engine)
    assert "i2" not in offered(engine)


def test_without_releases_everything_is_released_for_ever() -> None:
    assert released(log(EVENTS), 5) == (None, (-1, np.iinfo(np.int64).max))
