"""Predicted minutes are compared with minutes watched after the cut, with live histories as in serving."""

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


class PredictsHistoryLength:
    """Predicts as many minutes as the history has events, and records the data of `follow`."""

    def __init__(self, received: list[object]) -> None:
        self.received = received

    def __deepcopy__(self, memo: object) -> PredictsHistoryLength:
        return PredictsHistoryLength(self.received)

    def minutes(self, queries: Queries, items: Rows) -> Scores:
        assert (queries.history_time < queries.time[:, None]).all()
        length = (queries.history >= 0).sum(axis=1, keepdims=True)
        return np.where(items >= 0, length, 0).astype(np.float32)

    def follow(self, data: Dataset | None) -> None:
        self.received.append(data)


def test_all_impressions_from_the_cut_on_are_predicted_with_live_histories() -> None:
    received: list[object] = []
    found = watch_minutes.minutes_calibration(PredictsHistoryLength(received), split())
    shown = split().test.impressions
    assert found is not None
    assert shown is not None
    assert shown.watched_seconds is not None
    assert found.count.sum() == len(shown)
    assert found.count @ found.observed == pytest.approx(shown.watched_seconds.sum() / 60, rel=1e-5)
    log = data()
    earlier = [int(((log.user == u) & (log.time < t)).sum()) for u, t in zip(shown.user, shown.time, strict=True)]
    assert found.count @ found.predicted == pytest.approx(sum(earlier))
    (refreshed,) = received
    assert isinstance(refreshed, Dataset)
    assert len(refreshed) == len(log)


def test_of_many_impressions_whole_requests_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_minutes, "MAX_IMPRESSIONS", 400)
    found = watch_minutes.minutes_calibration(PredictsHistoryLength([]), split())
    assert found is not None
    assert 200 < found.count.sum() <= 400, "20 slates of at most 20"


def test_no_calibration_without_watched_minutes() -> None:
    bare = protocol("temporal").split(replace(data(), impressions=None))[0]
    frozen = protocol("temporal", histories="frozen").split(data())[0]
    assert watch_minutes.minutes_calibration(PredictsHistoryLength([]), bare) is None
    assert watch_minutes.minutes_calibration(PredictsHistoryLength([]), frozen) is None, "histories end at the cut"
    assert (
        watch_minutes.minutes_calibration(Popularity().fit(split().train, rng=np.random.default_rng(0)), split())
        is None
    )


def test_compare_reports_the_calibration_of_minutes(capsys: Output) -> None:
    pytest.importorskip("torch")
    few = ("--set", "youtube_ranking.epochs=1", "--set", "youtube_ranking.layers=8")
    arguments = ("compare", WORLD, "--models", "youtube_ranking", *few)
    minutes_too = ("--set", "youtube_ranking.objective=minutes")
    assert pasand(*arguments, *minutes_too) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "watched" in output
    assert "decile" in output
    assert pasand(*arguments, *minutes_too, "--json", "-") == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert len(models["youtube_ranking"]["minutes"]["error"]) == 10
    assert "minutes" not in models["popularity"]
    assert pasand(*arguments, "--set", "youtube_ranking.objective=clicked", "--json", "-") == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert "minutes" not in models["youtube_ranking"], "probabilities are not minutes"


def test_popularity_counts_follow_the_log_and_nothing_else_changes() -> None:
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
    popular = RankingFeatures(model._learnt).raw_of_pairs(late, items)[:, ranking_statistics.BASE.index("popularity")]
    liked = data().positives()
    today = liked.time // 86_400 < late.time[0] // 86_400
    np.testing.assert_allclose(popular, np.log1p(np.bincount(liked.item[today], minlength=30)), rtol=1e-6)
    with pytest.raises(InputError, match="31 items, but 30 are known"):
        model.follow(data().with_items(["new"], {}))
    model.follow(None)
    np.testing.assert_array_equal(model.score(late, items), stale)
