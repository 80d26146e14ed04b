"""Minutes foreseen are held against minutes watched after the cut, with what a system in use would know by then."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pasand.contracts import PredictsMinutes
from pasand.data.dataset import Dataset
from pasand.errors import InputError
from pasand.evaluation import watch_minutes
from pasand.evaluation.protocols import protocol
from pasand.evaluation.split import Split
from pasand.models.classical.popularity import Popularity
from pasand.simulation.world import World
from pasand.types import Queries, Rows, Scores
from tests.cli.test_commands import Output, pasand

WORLD = "bollywood:n_users=40,n_items=30,days=30"


@cache
def data() -> Dataset:
    return World(n_users=40, n_items=30, days=30).dataset()


@cache
def split() -> Split:
    return protocol("temporal").split(data())[0]


class Foreseer:
    """Foresees as many minutes as the history is long, and notes what it is told."""

    def __init__(self, told: list[object]) -> None:
        self.told = told

    def __deepcopy__(self, memo: object) -> Foreseer:
        return Foreseer(self.told)

    def minutes(self, queries: Queries, items: Rows) -> Scores:
        assert (queries.history_time < queries.time[:, None]).all()
        length = (queries.history >= 0).sum(axis=1, keepdims=True)
        return np.where(items >= 0, length, 0).astype(np.float32)

    def follow(self, data: Dataset) -> None:
        self.told.append(data)


def test_all_impressions_from_the_cut_on_are_asked_about_with_live_histories() -> None:
    told: list[object] = []
    found = watch_minutes.of_minutes(Foreseer(told), split())
    shown = split().test.impressions
    assert found is not None
    assert shown is not None
    assert shown.watched_seconds is not None
    assert found.count.sum() == len(shown)
    assert found.count @ found.came == pytest.approx(shown.watched_seconds.sum() / 60, rel=1e-5)
    log = data()
    earlier = [int(((log.user == u) & (log.time < t)).sum()) for u, t in zip(shown.user, shown.time, strict=True)]
    assert found.count @ found.predicted_and_watched == pytest.approx(sum(earlier))
    (refreshed,) = told
    assert isinstance(refreshed, Dataset)
    assert len(refreshed) == len(log)


def test_of_many_impressions_whole_requests_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_minutes, "MOST", 400)
    found = watch_minutes.of_minutes(Foreseer([]), split())
    assert found is not None
    assert 200 < found.count.sum() <= 400, "20 slates of at most 20"


def test_nothing_is_said_where_there_is_nothing_to_hold_against() -> None:
    bare = protocol("temporal").split(replace(data(), impressions=None))[0]
    frozen = protocol("temporal", histories="frozen").split(data())[0]
    assert watch_minutes.of_minutes(Foreseer([]), bare) is None
    assert watch_minutes.of_minutes(Foreseer([]), frozen) is None, "what was watched since is not known"
    assert watch_minutes.of_minutes(Popularity().fit(split().train, rng=np.random.default_rng(0)), split()) is None


def test_compare_tells_how_minutes_come_true(capsys: Output) -> None:
    pytest.importorskip("torch")
    few = ("--set", "youtube_ranking.epochs=1", "--set", "youtube_ranking.layers=8")
    asked = ("compare", WORLD, "--models", "youtube_ranking", *few)
    minutes_too = ("--set", "youtube_ranking.objective=minutes")
    assert pasand(*asked, *minutes_too) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "minutes foreseen of" in told
    assert "by tenth, least foreseen first" in told
    assert pasand(*asked, *minutes_too, "--json", "-") == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert len(models["youtube_ranking"]["minutes"]["error"]) == 10
    assert "minutes" not in models["popularity"]
    assert pasand(*asked, "--set", "youtube_ranking.objective=taken", "--json", "-") == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert "minutes" not in models["youtube_ranking"], "chances are no minutes"


def test_what_is_popular_follows_the_log_and_nothing_else_changes() -> None:
    pytest.importorskip("torch")
    from pasand.features import ranking_statistics
    from pasand.features.ranking_features import RankingFeatures
    from pasand.models.rankers.youtube_ranking import YouTubeRanking

    model = YouTubeRanking(epochs=1, patience=0, layers=(8,), dimensions=4).fit(
        split().train, rng=np.random.default_rng(0)
    )
    assert isinstance(model, PredictsMinutes)
    assert not isinstance(YouTubeRanking(objective="clicked"), PredictsMinutes)
    items = np.arange(30, dtype=np.int32)[None, :]
    early = split().train.queries(np.array([1], np.int32), k=1, time=np.array([int(data().time[len(data()) // 2])]))
    late = data().queries(np.array([1], np.int32), k=1)
    before, stale = model.score(early, items), model.score(late, items)
    model.follow(data())
    np.testing.assert_array_equal(model.score(early, items), before)
    assert (model.score(late, items) != stale).any()
    popular = RankingFeatures(model._learnt).raw(late, items)[:, ranking_statistics.BASE.index("popular")]
    liked = data().positives()
    today = liked.time // 86_400 < late.time[0] // 86_400
    np.testing.assert_allclose(popular, np.log1p(np.bincount(liked.item[today], minlength=30)), rtol=1e-6)
    with pytest.raises(InputError, match="31 items, but 30 are known"):
        model.follow(data().with_items(["new"], {}))
